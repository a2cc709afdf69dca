//! An agent's own clock: read, note, wait; longer after failures.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::watch;

use super::{board::Board, reader::AgentReader};

/// However often an agent fails, it is tried this often.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// When an agent is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Between readings that succeed.
    pub interval: Duration,
    /// Before the first.
    pub first: Duration,
}

/// Reads an agent until `stop` turns true.
pub async fn follow(
    reader: AgentReader,
    index: usize,
    board: Arc<Board>,
    pace: Pace,
    mut stop: watch::Receiver<bool>,
) {
    let mut wait = pace.first;
    let mut failures = 0;
    loop {
        tokio::select! {
            // An error means that the sender has gone, which is a stop as well.
            _ = stop.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(wait) => {}
        }
        let outcome = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            outcome = reader.read() => outcome,
        };
        match &outcome {
            Ok(_) => {
                if failures > 0 {
                    tracing::info!(agent = reader.name(), "answers again");
                }
                failures = 0;
            }
            Err(error) => {
                if failures == 0 {
                    tracing::warn!(agent = reader.name(), "cannot be read: {error}");
                }
                failures += 1;
            }
        }
        board.note(index, outcome, Instant::now());
        wait = wait_after(failures, pace.interval);
    }
}

/// How long to wait after so many failures in a row.
fn wait_after(failures: u32, interval: Duration) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let longest = LONGEST_WAIT.max(interval);
    interval.saturating_mul(1 << doublings).min(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_fails_is_asked_less_and_less_but_never_given_up() {
        let interval = Duration::from_secs(5);
        let waits: Vec<u64> = (0..7).map(|n| wait_after(n, interval).as_secs()).collect();
        assert_eq!(waits, [5, 5, 10, 20, 40, 60, 60]);
        assert_eq!(wait_after(u32::MAX, interval), LONGEST_WAIT);
        let slow = Duration::from_secs(300);
        assert_eq!(wait_after(9, slow), slow);
    }
}
