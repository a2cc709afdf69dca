//! Is a series of times periodic, and how narrowly?

/// Share of a period by which a gap may differ from it and still count as regular.
const TOLERANCE: f64 = 0.1;
/// Fewest events that say anything.
pub const FEWEST: usize = 8;

/// A period and how well it fits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Period {
    /// Nanoseconds.
    pub period_ns: f64,
    /// Share of gaps that are one period, within 10 %.
    pub regular_ratio: f64,
    /// Events.
    pub events: usize,
}

/// Period of ascending times, `None` for too few. Gaps of several periods (a missed tick, a pause) do not bend it.
pub fn period(times: &[u64]) -> Option<Period> {
    if times.len() < FEWEST {
        return None;
    }
    let gaps: Vec<f64> = times
        .windows(2)
        .map(|pair| pair[1].saturating_sub(pair[0]) as f64)
        .collect();
    let mut sorted = gaps.clone();
    let middle = sorted.len() / 2;
    let (_, median, _) = sorted.select_nth_unstable_by(middle, f64::total_cmp);
    let median = *median;
    if median < 1.0 {
        return None;
    }
    let (mut regular, mut time, mut periods) = (0usize, 0.0, 0.0);
    for gap in &gaps {
        let count = (gap / median).round();
        if (1.0..=1000.0).contains(&count) && (gap - count * median).abs() <= 2.5 * TOLERANCE * median {
            time += gap;
            periods += count;
        }
        if (gap - median).abs() <= TOLERANCE * median {
            regular += 1;
        }
    }
    (periods > 0.0).then(|| Period {
        period_ns: time / periods,
        regular_ratio: regular as f64 / gaps.len() as f64,
        events: times.len(),
    })
}

/// Do two periods agree: equal, or `slow` a whole multiple of `fast` (a server that sends every k-th tick)?
pub fn agree(fast_ns: f64, slow_ns: f64) -> bool {
    let ratio = slow_ns / fast_ns;
    let whole = ratio.round();
    (1.0..=40.0).contains(&whole) && (ratio - whole).abs() <= 0.03 * whole
}

/// Starts of batches: times less than `gap_ns` after their predecessor belong to its batch.
pub fn merge(times: &[u64], gap_ns: u64) -> Vec<u64> {
    let mut starts = Vec::with_capacity(times.len());
    let mut last = None;
    for time in times {
        if last.is_none_or(|last| time.saturating_sub(last) > gap_ns) {
            starts.push(*time);
        }
        last = Some(*time);
    }
    starts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missed_event_does_not_bend_the_period() {
        let times: Vec<u64> = (0..40u64)
            .filter(|n| n % 13 != 5)
            .map(|n| 1_000_000 + n * 50_000_000)
            .collect();
        let found = period(&times).unwrap();
        assert!((found.period_ns - 50e6).abs() < 1.0);
        assert!(found.regular_ratio > 0.85);
    }

    #[test]
    fn whole_multiples_agree() {
        assert!(agree(1e6, 20e6) && agree(16.6e6, 16.7e6));
        assert!(!agree(16.6e6, 25e6) && !agree(20e6, 10e6));
    }

    #[test]
    fn batches_are_merged() {
        assert_eq!(merge(&[0, 10, 20, 1000, 1005], 100), [0, 1000]);
    }
}
