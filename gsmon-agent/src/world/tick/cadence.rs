//! The network tick: how often a server sends to its clients, and how evenly, from when its send batches began. What the
//! loop does in between is no part of it.
//!
//! A batch is what it sends without a pause (the kernel side starts a new one after 0.2 ms without sending); batches that
//! belong to one tick are merged over the gap that makes the most regular series. Half of the gaps must be whole periods
//! within 10 %, or nothing is claimed: a server that answers each client on its own has no network tick.

use super::{
    BATCH_GAPS_NS,
    series::{FEWEST, Period, merge},
    with_gap,
};

/// Share of regular gaps below which there is no network tick.
const LEAST_REGULAR: f64 = 0.5;
/// What is much shorter than the mean gap is a pause inside batches, and no period.
const LEAST_OF_MEAN: f64 = 0.25;
/// Share from which looking for a better gap is needless.
const CERTAIN: f64 = 0.95;
/// How long batches are kept, for servers that send less than [`FEWEST`] times in an interval.
const KEPT_NS: u64 = 4_000_000_000;
const MOST_KEPT: usize = 512;
/// Periods that a gap may span and still say something of jitter.
const MOST_PERIODS: f64 = 16.0;
/// Intervals between two searches over all gaps while none works.
const SEARCH_EVERY: u32 = 5;

/// Send cadence of one server in the last interval (or in the last four seconds, for slow ones).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NetworkTick {
    /// Send batches per second that it aims at; batches that are left out do not lower it.
    pub rate_hz: f64,
    /// Mean distance of the gaps between batches from the nearest whole number of periods: what RFC 3550 calls
    /// interarrival jitter, here where it is sent and without its smoothing.
    pub jitter_ns: f64,
    /// Share of gaps that are whole periods within 10 %.
    pub regular_ratio: f64,
}

/// Follows one server.
#[derive(Debug, Default)]
pub struct CadenceWatch {
    kept: Vec<u64>,
    gap_ns: Option<u64>,
    intervals_until_search: u32,
}

impl CadenceWatch {
    /// Takes in the starts of batches of an interval that ends at `now_ns` (CLOCK_MONOTONIC).
    pub fn update(&mut self, now_ns: u64, batches: &[u64]) -> Option<NetworkTick> {
        let oldest_ns = now_ns.saturating_sub(KEPT_NS);
        self.kept.extend_from_slice(batches);
        self.kept.retain(|start| *start >= oldest_ns);
        let excess = self.kept.len().saturating_sub(MOST_KEPT);
        self.kept.drain(..excess);
        let of_gap = |gap_ns: u64| {
            let enough = merge(batches, gap_ns).len() >= FEWEST;
            network_tick(if enough { batches } else { &self.kept }, gap_ns)
        };
        let usual = self.gap_ns.and_then(of_gap);
        if usual.is_some_and(|usual| usual.regular_ratio >= CERTAIN) {
            return usual;
        }
        if self.intervals_until_search > 0 {
            self.intervals_until_search -= 1;
            return usual;
        }
        self.intervals_until_search = SEARCH_EVERY;
        let best = BATCH_GAPS_NS
            .into_iter()
            .filter_map(|gap_ns| Some((gap_ns, of_gap(gap_ns)?)))
            .max_by(|(_, a), (_, b)| a.regular_ratio.total_cmp(&b.regular_ratio));
        self.gap_ns = best.map(|(gap_ns, _)| gap_ns);
        best.map(|(_, found)| found)
    }
}

fn network_tick(times: &[u64], gap_ns: u64) -> Option<NetworkTick> {
    let period: Period = with_gap(times, gap_ns).filter(|found| found.regular_ratio >= LEAST_REGULAR)?;
    let starts = merge(times, gap_ns);
    let (first, last) = (starts.first()?, starts.last()?);
    let mean_gap_ns = last.saturating_sub(*first) as f64 / (starts.len() - 1) as f64;
    if period.period_ns < LEAST_OF_MEAN * mean_gap_ns {
        return None;
    }
    Some(NetworkTick {
        rate_hz: 1e9 / period.period_ns,
        jitter_ns: jitter_ns(&starts, period.period_ns)?,
        regular_ratio: period.regular_ratio,
    })
}

fn jitter_ns(starts: &[u64], period_ns: f64) -> Option<f64> {
    let (mut sum, mut gaps) = (0.0, 0u32);
    for pair in starts.windows(2) {
        let gap = pair[1].saturating_sub(pair[0]) as f64;
        let periods = (gap / period_ns).round();
        if (1.0..=MOST_PERIODS).contains(&periods) {
            sum += (gap - periods * period_ns).abs();
            gaps += 1;
        }
    }
    (gaps > 0).then(|| sum / f64::from(gaps))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// xorshift64*, -1 to 1.
    fn noise(state: &mut u64) -> f64 {
        *state ^= *state >> 12;
        *state ^= *state << 25;
        *state ^= *state >> 27;
        (state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }

    /// Starts of batches at `hz`, each up to `spread_ns` early or late; every batch is split in two by a pause.
    fn sends(hz: f64, spread_ns: f64, count: u32, seed: u64) -> Vec<u64> {
        let mut state = seed | 1;
        (1..=count)
            .flat_map(|n| {
                let at = f64::from(n) * 1e9 / hz + spread_ns * noise(&mut state);
                [at as u64, at as u64 + 300_000]
            })
            .collect()
    }

    #[test]
    fn planted_rate_and_jitter_are_found() {
        for (hz, spread_ratio, seed) in [
            (20.0, 0.0, 3),
            (20.0, 0.05, 5),
            (60.0, 0.1, 7),
            (128.0, 0.12, 9),
            (5.0, 0.05, 11),
        ] {
            let spread_ns = spread_ratio * 1e9 / hz;
            let mut watch = CadenceWatch::default();
            let all = sends(hz, spread_ns, (hz * 200.0) as u32, seed);
            let mut jitters = Vec::new();
            for second in 1..=200u64 {
                let window = (second - 1) * 1_000_000_000..second * 1_000_000_000;
                let batches: Vec<u64> = all.iter().copied().filter(|at| window.contains(at)).collect();
                let Some(found) = watch.update(window.end, &batches) else {
                    continue;
                };
                assert!((found.rate_hz / hz - 1.0).abs() < 0.02, "{found:?} for {hz} Hz");
                jitters.push(found.jitter_ns);
            }
            assert!(jitters.len() > 150, "{hz} Hz, {spread_ratio}: {}", jitters.len());
            // The mean difference of two even distributions of half width a is two thirds of a.
            let expected = spread_ns * 2.0 / 3.0;
            let mean = jitters.iter().sum::<f64>() / jitters.len() as f64;
            assert!(
                (mean - expected).abs() <= 0.1 * expected + 1_000.0,
                "{hz} Hz: {mean} for {expected}"
            );
        }
    }

    #[test]
    fn batches_left_out_are_no_jitter_and_do_not_lower_the_rate() {
        let times: Vec<u64> = (0..60u64)
            .filter(|n| n % 7 != 3)
            .map(|n| n * 25_000_000)
            .collect();
        let found = CadenceWatch::default().update(1_500_000_000, &times).unwrap();
        assert!(
            (found.rate_hz - 40.0).abs() < 0.01 && found.jitter_ns < 1.0,
            "{found:?}"
        );
    }

    #[test]
    fn answers_at_random_are_no_network_tick() {
        let mut state = 77;
        for _ in 0..50 {
            let mut at = 0.0;
            let times: Vec<u64> = (0..200)
                .map(|_| {
                    let unit = (noise(&mut state) + 1.0) / 2.0;
                    at += -5e6 * unit.max(1e-12).ln();
                    at as u64
                })
                .collect();
            assert_eq!(CadenceWatch::default().update(at as u64, &times), None);
        }
    }

    #[test]
    fn a_server_that_stops_sending_has_none_soon() {
        let mut watch = CadenceWatch::default();
        assert!(watch.update(1_000_000_000, &sends(20.0, 0.0, 19, 1)).is_some());
        for second in 6..20u64 {
            assert_eq!(watch.update(second * 1_000_000_000, &[]), None);
        }
    }

    proptest! {
        #[test]
        fn no_times_make_it_panic(times in prop::collection::vec(any::<u64>(), 0..100), now in any::<u64>()) {
            let mut watch = CadenceWatch::default();
            for _ in 0..2 {
                if let Some(found) = watch.update(now, &times) {
                    prop_assert!(found.rate_hz.is_finite() && found.jitter_ns >= 0.0);
                }
            }
        }
    }
}
