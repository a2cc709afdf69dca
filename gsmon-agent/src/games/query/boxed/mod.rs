//! The crate gamedig, asked in a child process: the many games that gsmon has no reader of its own for, and first of all
//! those that it has one for (`super::reader` decides what becomes of the answer).
//!
//! The crate trusts what answers: one datagram can make it allocate until the process is aborted, a server that trickles
//! bytes keeps it reading for ever. So it never runs in the agent. [`Pool`] starts `gsmon query-worker` processes
//! ([`serve`]) that give up everything they do not need ([`confine`]), reads their answers, and ends those that hang or
//! have died; that costs the one question. [`relay`] carries the bytes between crate and server, and gives what the crate
//! lacks.
//!
mod ask;
mod confine;
#[cfg(test)]
mod left_out;
mod pool;
mod relay;
mod speech;
#[cfg(test)]
pub(super) mod tests;
mod worker;

pub(super) use self::{
    ask::{Ask, Conversation, wanted},
    pool::Pool,
    speech::{Known, Wanted},
};
pub use self::{
    pool::{WorkerStatistics, worker_program},
    worker::serve,
};
