//! The last hour of every server, in memory: `measure` is what a frame can hold, `frame` makes frames of snapshots,
//! `ring` and `points`
//! (players' networks) keep them within bounds, `store` has one ring per server and answers who asks.
//!
//! Not here: disk, and any judgement (the analysis room).

pub mod frame;
pub mod measure;
mod points;
mod ring;
mod store;

pub use self::{
    frame::{Frame, HostFigures, PlayerPoint},
    measure::Measure,
    store::{History, PlayersAt, ServerFrames, UnknownServer},
};
