//! Pure functions: frames in, report out. No I/O, no clock, no random state; every number comes with its uncertainty.
//!
//! `stats` is the mathematics, `series` cuts frames where they may be compared; `network` asks what players' networks do
//! to a server, `scaling` what players cost, `lag` what lag compensation costs, `spikes` what a spike came from, `netcode` whether a change of netcode
//! changed anything, `change` whether an update did (both by `matched`), `forecast` how many players will come, `advice`
//! how many servers that takes, `queue` what players who wait will need, `migration` what moving players did, `why` puts together what a ticket needs. Not
//! here: measuring, keeping, showing.

pub mod advice;
pub mod change;
pub mod forecast;
pub mod lag;
pub mod matched;
pub mod migration;
pub mod netcode;
pub mod network;
pub mod queue;
pub mod scaling;
pub mod series;
#[cfg(test)]
mod simulate;
pub mod spikes;
pub mod stats;
mod stored;
pub mod why;

#[cfg(test)]
mod properties;
