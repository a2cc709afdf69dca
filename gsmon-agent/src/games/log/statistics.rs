//! How reading a server's log goes: figures for metrics and for whoever looks for a mistake.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::lines::LineCounts;

/// What a log's source is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogState {
    /// Not looked at yet.
    #[default]
    Starting,
    /// Open, and read as it grows.
    Reading,
    /// There is nothing to read yet: no file, no pipe.
    Waiting,
    /// It cannot be read; see the last error. It is tried again.
    Failed,
    /// Standard input is over.
    Ended,
}

/// Of one server, since the reader was started. Counters never go back while the server is configured.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogStatistics {
    /// What the source is doing.
    pub state: LogState,
    /// Lines read.
    pub lines: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Events that the consumer was or will be given.
    pub events: u64,
    /// Events that were dropped because the consumer does not keep up.
    pub lost: u64,
    /// Those of them that move sessions, phases or players.
    pub lost_state: u64,
    /// Lines of which only the beginning was read.
    pub overlong: u64,
    /// Lines that were not wholly text.
    pub invalid: u64,
    /// Rotations, truncations and re-creations of a file; starts of journalctl after the first.
    pub restarts: u64,
    /// Bytes that are there and not read; `None` where that cannot be known (pipes, journals).
    pub lag_bytes: Option<u64>,
    /// The last thing that went wrong, even if it is over.
    pub last_error: Option<Arc<str>>,
}

impl LogStatistics {
    /// Takes over counters of a source that began when `before` stood.
    pub(super) fn take_over(&mut self, before: &Self, counts: LineCounts, restarts: u64) {
        self.lines = before.lines + counts.lines;
        self.bytes = before.bytes + counts.bytes;
        self.overlong = before.overlong + counts.overlong;
        self.invalid = before.invalid + counts.invalid;
        self.restarts = before.restarts + restarts;
    }
}
