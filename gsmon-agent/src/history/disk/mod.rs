//! The history on disk: one SQLite file, one thread that writes it, any number of readers. `docs/history.md` describes the
//! file.
//!
//! `writer` is the thread and what it does when something fails, `file` writes intervals into the journal, `upkeep` makes
//! blocks and roll-ups of them and removes what is old, `packing` makes blocks of events and players' lines, `forgetting` sees to
//! players who are to be forgotten, `reader` and `told` read;
//! `code`, `samples`, `rollups`, `past` (events) and `lines` are the bytes, `names` the tables of names, `schema` the file as
//! such.
//!
//! Not here: the last hour in memory, and which of both answers (`recorded`).

pub mod check;
pub mod code;
pub mod file;
pub mod forgetting;
pub mod lines;
pub mod names;
mod packing;
pub mod past;
pub mod reader;
pub mod rollups;
pub mod samples;
pub mod schema;
#[cfg(test)]
mod tests;
mod told;
pub mod upkeep;
pub mod writer;

pub use self::{
    check::{CheckReport, HistoryStats, TableStats, vacuum},
    file::Interval,
    forgetting::Forgetting,
    reader::HistoryReader,
    schema::HistoryError,
    writer::HistoryWriter,
};
