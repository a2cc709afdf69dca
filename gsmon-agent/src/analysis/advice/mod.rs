//! How many servers, where and when, and what that costs. Pure: demand, facts and prices in, advice out.
//!
//! `experience` says what is to be reached, `demand` is who will come, `profile` what stands in for a forecast; `simulate`
//! replays the past. Not here: forecasting, reading history, telling anybody.

pub mod demand;
pub mod experience;
pub mod profile;
pub mod simulate;
