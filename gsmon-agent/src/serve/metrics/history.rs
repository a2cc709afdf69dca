//! The history on disk: is it written, what does it take.

use super::Page;
use crate::world::snapshot::{HistoryStatus, Snapshot};

impl Page {
    pub(super) fn history(&self, snapshot: &Snapshot) -> Result<(), prometheus::Error> {
        let Some(history) = &snapshot.agent.history else {
            return Ok(());
        };
        for (name, help, value) in [
            (
                "gsmon_history_recording",
                "Is the history written? 0 before the first interval and while it fails.",
                f64::from(u8::from(history.status == HistoryStatus::Recording)),
            ),
            (
                "gsmon_history_bytes",
                "Size of the history on disk.",
                history.bytes as f64,
            ),
        ] {
            self.gauge(name, help, &[])?
                .with_label_values::<&str>(&[])
                .set(value);
        }
        for (name, help, value) in [
            (
                "gsmon_history_failures_total",
                "Times that the history could not be written.",
                history.failures as f64,
            ),
            (
                "gsmon_history_intervals_written_total",
                "Intervals that were written.",
                history.intervals_written as f64,
            ),
            (
                "gsmon_history_intervals_lost_total",
                "Intervals that are missing because the history could not be written.",
                history.intervals_lost as f64,
            ),
            (
                "gsmon_history_samples_written_total",
                "Samples (one server, one interval) that were written.",
                history.samples_written as f64,
            ),
            (
                "gsmon_history_damaged_blocks_total",
                "Blocks that could not be read again and were left out of roll-ups.",
                history.damaged_blocks as f64,
            ),
            (
                "gsmon_history_cpu_seconds_total",
                "CPU time of the thread that writes the history.",
                history.cpu_seconds,
            ),
        ] {
            self.counter(name, help, &[])?
                .with_label_values::<&str>(&[])
                .inc_by(value);
        }
        Ok(())
    }
}
