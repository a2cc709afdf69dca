//! Real small game servers and bots, as processes of their own, that know the truth about themselves: for `gsmon demo`,
//! `gsmon selftest` and the integration tests.
//!
//! `protocol` is what they say to each other, `server` and `game_loop` the servers, `diary` the logs that they write,
//! `lag` their lag
//! compensation, `bots` the players, `truth` what both report, `planted` and `companion` do what they are told and say exactly what it
//! cost, `process` and `fleet` how a parent runs them. Not here: any judgement of the agent (cli/selftest).

pub mod bots;
pub mod companion;
pub mod diary;
pub mod fleet;
pub mod game_loop;
pub mod lag;
pub mod planted;
pub mod process;
pub mod protocol;
pub mod server;
pub mod truth;

pub use self::{
    fleet::{Fleet, FleetError},
    process::{DemoError, DemoProcess},
};
