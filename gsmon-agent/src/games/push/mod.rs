//! What engines push: JSON of `POST /api/v1/events` to [`GameEvent`](super::GameEvent)s, and the way from whoever
//! receives it to whoever understands it.
//!
//! [`parse`] reads and checks a body (pure); [`channel`] makes a bounded queue that knows the servers and the sessions
//! that pushes have opened, and takes a request whole or not at all. The format is `docs/push.schema.json`.
//!
//! Not here: HTTP, tokens (serve), what an event means for a session (world).

mod book;
mod parse;
mod queue;
mod read;
#[cfg(test)]
mod tests;

pub use self::{
    parse::{MOST_BYTES, MOST_EVENTS, ParseError, Pushed, parse},
    queue::{
        Drain, PushCounts, PushQueue, PushSink, QueueLimits, Refused, RefusedFor, channel, channel_with_bell,
    },
    read::{MOST_PROBLEMS, Problem, Problems},
};
