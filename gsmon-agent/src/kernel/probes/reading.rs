//! What a drain finds of one probe: calls, times, and what is in force.

use std::sync::Arc;

use gsmon_common::probe::{CALL_BUCKETS, ProbeSlot};

use super::{cap::ProbeState, rings::CallSum};
use crate::config::ProbeSettings;

/// What one probe of one server did since the last drain.
#[derive(Clone, Debug)]
pub struct ProbeReading {
    /// From the configuration.
    pub settings: Arc<ProbeSettings>,
    /// What is in force.
    pub state: ProbeState,
    /// Calls and their times.
    pub calls: CallCounts,
    /// What each thread finished between two of its sleeps.
    pub by_sleep: Vec<CallSum>,
    /// What a call costs the server while it is probed like this, nanoseconds, as measured on this machine.
    pub cost_per_call_ns: Option<f64>,
}

/// Calls of a probed function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallCounts {
    /// All of them.
    pub calls: u64,
    /// Inside another call of the same function in the same thread.
    pub nested: u64,
    /// Counted and not timed, for the rate cap.
    pub untimed: u64,
    /// Not timed because the table of calls was full.
    pub full: u64,
    /// Timed and never returned.
    pub lost: u64,
    /// Timed and returned.
    pub finished: u64,
    /// Wall time of those.
    pub time_ns: u64,
    /// Of those (or sums of them): not in [`ProbeReading::by_sleep`].
    pub unbatched: u64,
    /// The same by `gsmon_common::hist::TICK`.
    pub buckets: Vec<u64>,
}

impl Default for CallCounts {
    fn default() -> Self {
        Self {
            calls: 0,
            nested: 0,
            untimed: 0,
            full: 0,
            lost: 0,
            finished: 0,
            time_ns: 0,
            unbatched: 0,
            buckets: vec![0; CALL_BUCKETS],
        }
    }
}

impl CallCounts {
    /// Adds what a slot has counted since `before`.
    pub(super) fn add_growth(&mut self, now: &ProbeSlot, before: &ProbeSlot) {
        self.calls += now.calls.saturating_sub(before.calls);
        self.nested += now.nested.saturating_sub(before.nested);
        self.untimed += now.untimed.saturating_sub(before.untimed);
        self.full += now.full.saturating_sub(before.full);
        self.lost += now.lost.saturating_sub(before.lost);
        self.finished += now.finished.saturating_sub(before.finished);
        self.time_ns += now.time_ns.saturating_sub(before.time_ns);
        self.unbatched += now.unbatched.saturating_sub(before.unbatched);
        let counted = now.buckets.iter().zip(&before.buckets);
        for (total, (now, before)) in self.buckets.iter_mut().zip(counted) {
            // 32 bits wrap.
            *total += u64::from(now.wrapping_sub(*before));
        }
    }

    /// Adds another process's calls.
    pub(super) fn add(&mut self, other: &Self) {
        self.calls += other.calls;
        self.nested += other.nested;
        self.untimed += other.untimed;
        self.full += other.full;
        self.lost += other.lost;
        self.finished += other.finished;
        self.time_ns += other.time_ns;
        self.unbatched += other.unbatched;
        for (total, more) in self.buckets.iter_mut().zip(&other.buckets) {
            *total += more;
        }
    }
}
