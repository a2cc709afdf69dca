//! The place where the newest snapshot stands: one writer, many readers, none waits for another.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use tokio::sync::watch;

use super::snapshot::Snapshot;

/// Holds the newest snapshot.
#[derive(Debug)]
pub struct SnapshotCell {
    current: ArcSwapOption<Snapshot>,
    sequence: watch::Sender<u64>,
}

impl Default for SnapshotCell {
    fn default() -> Self {
        Self {
            current: ArcSwapOption::empty(),
            sequence: watch::Sender::new(0),
        }
    }
}

impl SnapshotCell {
    /// The newest snapshot; `None` before the first interval has ended.
    pub fn load(&self) -> Option<Arc<Snapshot>> {
        self.current.load_full()
    }

    /// Replaces it and wakes those who wait.
    pub fn store(&self, snapshot: Snapshot) {
        let sequence = snapshot.sequence;
        self.current.store(Some(Arc::new(snapshot)));
        self.sequence.send_replace(sequence);
    }

    /// Announces sequence numbers.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.sequence.subscribe()
    }
}
