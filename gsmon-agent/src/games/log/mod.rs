//! Reading the logs of game servers: files across rotation and truncation, named pipes, standard input, journals of
//! systemd units. Lines go through the server's [`Grammar`](super::Grammar) and become events.
//!
//! One thread reads everything. It polls files instead of watching them with inotify: a poll of an idle file is one
//! `stat` and takes a hundred files together, while inotify wakes up for single writes (up to 5,000 times a second with
//! 100 servers at 50 lines/s), does not see what other hosts write to network file systems, and needs the same checks
//! for rotation and truncation anyway.
//!
//! Not here: what a line means (the families' grammars), what an event means (world).

mod feed;
pub mod file;
pub mod journal;
pub mod lines;
mod outbox;
pub mod pipe;
pub mod positions;
pub mod reader;
mod source;
pub mod statistics;
pub mod time;

pub use self::{
    reader::{LogInputs, LogReader, LogReaderError, LogTarget, Succession},
    statistics::{LogState, LogStatistics},
};
