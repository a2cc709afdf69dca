//! Is a series of times periodic, and how narrowly?

/// Share of a period by which a gap may differ from it and still count as regular.
const TOLERANCE: f64 = 0.1;
/// Periods that one gap may span and still count as regular: ticks that ran late are caught up in one go.
const CAUGHT_UP: f64 = 16.0;
/// A median gap of several periods: how many at most, and how well the part must fit, above what the whole does.
const MOST_PARTS: u32 = 4;
const PART_REGULAR: f64 = 0.85;
const PART_MARGIN: f64 = 0.2;
/// Fewest events that say anything.
pub const FEWEST: usize = 8;

/// A period and how well it fits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Period {
    /// Nanoseconds.
    pub period_ns: f64,
    /// Share of gaps that are one period, or a few, within 10 % of a period.
    pub regular_ratio: f64,
    /// Events.
    pub events: usize,
}

/// How hard to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// The median gap is one period.
    Usual,
    /// It may be a few: more than half of the gaps are longer than one, and only a part of it fits nearly all.
    Crowded,
}

/// Period of ascending times, `None` for too few. Gaps of several periods (a missed tick, a pause) do not bend it.
pub fn period(times: &[u64], effort: Effort) -> Option<Period> {
    if times.len() < FEWEST {
        return None;
    }
    let mut gaps: Vec<f64> = times
        .windows(2)
        .map(|pair| pair[1].saturating_sub(pair[0]) as f64)
        .collect();
    let middle = gaps.len() / 2;
    let (_, median, _) = gaps.select_nth_unstable_by(middle, f64::total_cmp);
    let median = *median;
    if median < 1.0 {
        return None;
    }
    let whole = fit(&gaps, median, times.len());
    let regular_ratio = whole.map_or(0.0, |whole| whole.regular_ratio);
    if effort == Effort::Usual || regular_ratio >= PART_REGULAR {
        return whole;
    }
    (2..=MOST_PARTS)
        .filter_map(|parts| fit(&gaps, median / f64::from(parts), times.len()))
        .find(|part| part.regular_ratio >= PART_REGULAR.max(regular_ratio + PART_MARGIN))
        .or(whole)
}

fn fit(gaps: &[f64], step: f64, events: usize) -> Option<Period> {
    let (mut regular, mut time, mut periods) = (0usize, 0.0, 0.0);
    for gap in gaps {
        // Rounded by a cast: the function is not an instruction on every CPU, and this runs often.
        let count = (gap / step + 0.5) as u32 as f64;
        let off = (gap - count * step).abs();
        if (1.0..=1000.0).contains(&count) && off <= 2.5 * TOLERANCE * step {
            time += gap;
            periods += count;
        }
        if (1.0..=CAUGHT_UP).contains(&count) && off <= TOLERANCE * step {
            regular += 1;
        }
    }
    (periods > 0.0).then(|| Period {
        period_ns: time / periods,
        regular_ratio: regular as f64 / gaps.len() as f64,
        events,
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
        let found = period(&times, Effort::Usual).unwrap();
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
