//! The last hour of every server, in memory: `measure` is what a frame can hold, `frame` makes frames of snapshots,
//! `ring`, `points`
//! (players' networks) and `scenes` (modes, maps, actions) keep them within bounds, `store` has one ring per server and answers who asks.
//!
//! Not here: disk, and any judgement (the analysis room).

pub mod frame;
pub mod measure;
mod points;
mod ring;
mod scenes;
mod store;

pub use self::{
    frame::{Acted, Frame, HostFigures, PlayerPoint},
    measure::Measure,
    store::{ActedAt, History, PlayersAt, Scene, ServerFrames, UnknownServer},
};
