//! What every server did: the last hour in memory, and on disk for as long as the configuration says.
//!
//! `measure` is what a frame can hold, `frame` makes frames of snapshots, `ring`, `points` (players' networks) and `scenes`
//! (modes, maps, actions) keep an hour of them within bounds, `store` has one ring per server. `events` is what happened
//! beside the figures, `spikes` the rows of spikes, `lines` players' networks by the minute, `rollup` and `sketch` make one row of many frames, `plain` the same where no distribution is asked for, `disk` is the file. `source` is what can be asked,
//! `recorded` answers from memory and file as if they were one, `prometheus` from a server that scrapes many hosts, `export` writes frames for other programs, `records`
//! spikes, players' lines, events and sessions.
//!
//! Not here: any judgement (the analysis room).

pub mod disk;
pub mod events;
pub mod export;
pub mod findings;
pub mod frame;
pub mod lines;
mod marks;
pub mod measure;
pub mod plain;
mod points;
pub mod prometheus;
mod recorded;
pub mod records;
mod ring;
pub mod rollup;
mod scenes;
pub mod sketch;
pub mod source;
pub mod spikes;
mod store;

pub use self::{
    findings::{Detector, Severity, StoredFinding},
    frame::{Acted, Frame, HostFigures, PlayerPoint, shared_scene},
    lines::{AskedPlayer, StoredLine},
    marks::{MOST_TEXT, Mark, MarkError, MarkedBy},
    measure::Measure,
    source::{HistorySource, Resolution, SourceError, TimeRange},
    spikes::{StoredCause, StoredSpike},
    store::{ActedAt, History, PlayersAt, Scene, ServerFrames, UnknownServer},
};
