//! gsmon: measures game servers in the kernel, attributes to servers, exposes.
//!
//! Rooms, lowest first; nothing lower imports anything higher: [`config`] and `gsmon_common` (words), [`kernel`] and
//! [`host`] (measure), [`games`] (what games say), [`world`] (the live model) and beside it [`privacy`] (what may be
//! written about players), [`history`] (the last hour), [`serve`] (expose), [`demo`] (real load and its truth), [`analysis`] (frames in,
//! report out), [`questions`] (asked of whoever has frames), [`cli`] and [`top`] (show). [`monitor`] joins the rooms of one host, [`fleet`] joins hosts.

pub mod analysis;
pub mod cli;
pub mod config;
pub mod demo;
pub mod fleet;
pub mod games;
pub mod history;
pub mod host;
pub mod kernel;
pub mod monitor;
pub mod privacy;
pub mod questions;
pub mod selftest;
pub mod serve;
pub mod top;
pub mod world;

pub use config::{Game, GameServer};
pub use monitor::GameServerMonitor;
pub use world::session::ask::{Metric, SessionFilter};
