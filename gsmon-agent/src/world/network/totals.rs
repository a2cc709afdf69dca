//! What all lines of a server come to: monotonic counters and histograms for Prometheus, quantiles over lines.

use gsmon_common::hist;
use serde::{Deserialize, Serialize};

use super::line::{LineSnapshot, Reading};

/// Upper bounds of round trips and jitter, milliseconds.
pub const MILLISECONDS: [f64; 14] = [
    1.0, 2.0, 5.0, 10.0, 20.0, 35.0, 50.0, 75.0, 100.0, 150.0, 200.0, 300.0, 500.0, 1_000.0,
];
/// Upper bounds of loss.
pub const RATIOS: [f64; 14] = [
    0.0, 0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5,
];

/// Observations by upper bound. It never forgets; readers take differences.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// How many are at most each bound, not cumulative; what is beyond the last is in `count` only.
    pub counts: [u64; 14],
    /// All of them.
    pub count: u64,
    /// Their sum, in the unit of the bounds.
    pub sum: f64,
}

impl Spread {
    /// Adds one, or several of one value.
    fn add(&mut self, bounds: &[f64; 14], value: f64, times: u64) {
        if let Some(place) = bounds.iter().position(|bound| value <= *bound) {
            self.counts[place] += times;
        }
        self.count += times;
        self.sum += value * times as f64;
    }

    /// At most each bound, cumulative.
    pub fn cumulative<'a>(&'a self, bounds: &'a [f64; 14]) -> impl Iterator<Item = (f64, u64)> + 'a {
        bounds.iter().zip(&self.counts).scan(0, |sum, (bound, count)| {
            *sum += count;
            Some((*bound, *sum))
        })
    }
}

/// Since the agent follows the server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NetworkTotals {
    /// Packets that fit the format.
    pub packets_read: u64,
    /// Packets that do not.
    pub packets_unread: u64,
    /// Numbers that clients have used.
    pub up_sent: u64,
    /// Of them, lost. A packet that comes very late takes one back.
    pub up_lost: u64,
    /// Numbered packets to clients.
    pub down_sent: u64,
    /// Of them, lost.
    pub down_lost: u64,
    /// From clients, out of order.
    pub reordered: u64,
    /// From clients, twice.
    pub repeated: u64,
    /// Acknowledgements of what was not awaited: old, repeated or made up.
    pub acknowledgements_unmatched: u64,
    /// Every round trip, milliseconds.
    pub rtt_ms: Spread,
    /// Jitter of each line whenever it was read, milliseconds.
    pub jitter_ms: Spread,
    /// Loss on the way to the server, likewise.
    pub loss_up: Spread,
    /// Loss on the way to the player, likewise.
    pub loss_down: Spread,
}

impl NetworkTotals {
    /// Adds what was read of one line.
    pub(super) fn add(&mut self, read: &Reading, line: &LineSnapshot) {
        let signed = |total: &mut u64, more: i64| *total = total.saturating_add_signed(more);
        self.packets_read += read.read;
        self.packets_unread += read.unread;
        self.up_sent += read.up_sent;
        signed(&mut self.up_lost, read.up_lost);
        self.down_sent += read.down_sent;
        signed(&mut self.down_lost, read.down_lost);
        self.reordered += read.reordered;
        self.repeated += read.repeated;
        self.acknowledgements_unmatched += read.unmatched;
        for (bucket, count) in &read.rtt {
            let (lower, upper) = hist::RTT.bounds(usize::from(*bucket));
            // The sum is told by the samples themselves.
            let middle_ms = (lower + upper) as f64 / 2e6;
            let middle_ms = if *bucket == 0 { 0.5 } else { middle_ms };
            self.rtt_ms.add(&MILLISECONDS, middle_ms, u64::from(*count));
        }
        if read.read > 0 {
            if let Some(jitter) = line.jitter_ns {
                self.jitter_ms.add(&MILLISECONDS, jitter / 1e6, 1);
            }
            if let Some(loss) = line.loss_up_ratio {
                self.loss_up.add(&RATIOS, loss, 1);
            }
            if let Some(loss) = line.loss_down_ratio {
                self.loss_down.add(&RATIOS, loss, 1);
            }
        }
    }
}

/// Over lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Quantiles {
    /// The middle line.
    pub p50_ns: f64,
    /// Nineteen of twenty lines are better.
    pub p95_ns: f64,
}

impl Quantiles {
    /// Nearest rank; `None` of nothing.
    pub(super) fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_unstable_by(f64::total_cmp);
        let at = |q: f64| {
            let rank = (q * values.len() as f64).ceil() as usize;
            values.get(rank.max(1) - 1).copied()
        };
        Some(Self {
            p50_ns: at(0.5)?,
            p95_ns: at(0.95)?,
        })
    }
}
