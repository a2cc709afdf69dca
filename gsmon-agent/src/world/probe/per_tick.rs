//! What a probed function took per tick of the game loop: sums of its calls by when they began, and ticks as they were
//! found, become one time per tick. Not here: how ticks are found (`world::tick`), what the times are shown as.
//!
//! One tick ends and the next begins in the middle of the sleep between them, so that calls of threads that the loop
//! waits for, or that still run when it sleeps, belong to the tick that they follow.

use serde::{Deserialize, Serialize};

use crate::{
    kernel::CallSum,
    world::{histogram::TickHistogram, tick::TickSpan},
};

/// Sums that wait for their tick, and for how long.
const MOST_PENDING: usize = 65_536;
const LONGEST_PENDING_NS: u64 = 10_000_000_000;
/// From so many periods to the next tick on, ticks are missing in between: overwritten, or the loop stood still.
const MISSING_FROM: f64 = 1.75;

/// Times per tick, ticks without a call among them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TickTimes {
    /// Ticks in which the function ran.
    pub times: TickHistogram,
    /// Ticks in which it did not: their time is zero.
    pub idle: u64,
}

impl TickTimes {
    /// Adds ticks.
    pub fn add(&mut self, times_ns: &[u64], idle: u64) {
        self.times.add(times_ns);
        self.idle += idle;
    }

    /// All ticks.
    pub fn count(&self) -> u64 {
        self.times.count() + self.idle
    }

    /// Quantile over all ticks, nanoseconds, by nearest rank; `None` without any.
    pub fn quantile_ns(&self, q: f64) -> Option<f64> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        let rank = ((q * count as f64).ceil() as u64).clamp(1, count);
        let Some(rank) = rank.checked_sub(self.idle).filter(|rank| *rank > 0) else {
            return Some(0.0);
        };
        let busy = self.times.count() as f64;
        // The middle of a rank's share: rounding cannot move it to its neighbour.
        self.times.quantile_ns((rank as f64 - 0.5) / busy)
    }
}

/// What an interval made known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Closed {
    /// Time of each tick in which the function ran.
    pub times_ns: Vec<u64>,
    /// Ticks in which it did not.
    pub idle: u64,
    /// Ticks whose time is not known: calls of theirs have no time, or ticks are missing beside them.
    pub left_out: u64,
}

/// One probe's calls on their way into ticks.
#[derive(Debug, Default)]
pub struct PerTick {
    pending: Vec<CallSum>,
    /// The newest tick: it ends when the next is known.
    open: Option<TickSpan>,
    /// Where it began, by the rule above; unknown for the first.
    open_from_ns: Option<u64>,
    /// Calls before have no time, or none that can be told.
    complete_from_ns: Option<u64>,
}

impl PerTick {
    /// Takes in an interval that ends at `now_ns`: what was called, whether that is all that was called, and the ticks
    /// that are over.
    pub fn advance(
        &mut self,
        sums: &[CallSum],
        completeness: Completeness,
        ticks: &[TickSpan],
        now_ns: u64,
    ) -> Closed {
        let newest = sums.len().saturating_sub(MOST_PENDING);
        self.pending.extend_from_slice(&sums[newest..]);
        if completeness == Completeness::Partial || self.complete_from_ns.is_none() || newest > 0 {
            self.complete_from_ns = Some(now_ns);
        }
        let mut closed = Closed::default();
        for tick in ticks {
            if let Some(open) = self.open {
                self.close(open, tick, &mut closed);
            }
            self.open = Some(*tick);
        }
        let oldest_ns = now_ns.saturating_sub(LONGEST_PENDING_NS);
        self.pending.retain(|sum| sum.start_ns >= oldest_ns);
        let excess = self.pending.len().saturating_sub(MOST_PENDING);
        self.pending.drain(..excess);
        closed
    }

    fn close(&mut self, open: TickSpan, next: &TickSpan, closed: &mut Closed) {
        let until_ns = open.end_ns + next.ready_ns.saturating_sub(open.end_ns) / 2;
        let time_ns: u64 = self
            .pending
            .extract_if(.., |sum| sum.start_ns < until_ns)
            .filter(|sum| self.open_from_ns.is_some_and(|from_ns| sum.start_ns >= from_ns))
            .map(|sum| sum.time_ns)
            .sum();
        let from_ns = self.open_from_ns.replace(until_ns);
        let Some(from_ns) = from_ns else { return };
        let turns = open.turns.max(1);
        let apart_ns = next.ready_ns.saturating_sub(open.ready_ns) as f64;
        if self.complete_from_ns.is_none_or(|complete| from_ns < complete)
            || apart_ns > MISSING_FROM * open.period_ns * f64::from(turns)
        {
            closed.left_out += u64::from(turns);
        } else if time_ns == 0 {
            closed.idle += u64::from(turns);
        } else {
            let each_ns = time_ns / u64::from(turns);
            closed
                .times_ns
                .extend(std::iter::repeat_n(each_ns, turns as usize));
        }
    }
}

/// Are all calls of an interval known with their times?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completeness {
    /// Yes.
    Whole,
    /// Some are missing.
    Partial,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PERIOD_NS: u64 = 50_000_000;

    fn tick(number: u64) -> TickSpan {
        TickSpan {
            ready_ns: number * PERIOD_NS,
            start_ns: number * PERIOD_NS + 10_000,
            end_ns: number * PERIOD_NS + 20_000_000,
            turns: 1,
            period_ns: PERIOD_NS as f64,
        }
    }

    fn call(tick: u64, offset_ns: u64, time_ns: u64) -> CallSum {
        CallSum {
            start_ns: tick * PERIOD_NS + offset_ns,
            time_ns,
        }
    }

    /// One that has seen a whole interval and the first tick.
    fn begun() -> PerTick {
        let mut per_tick = PerTick::default();
        per_tick.advance(&[], Completeness::Whole, &[], PERIOD_NS / 2);
        per_tick.advance(&[], Completeness::Whole, &[tick(1), tick(2)], 3 * PERIOD_NS);
        per_tick
    }

    #[test]
    fn calls_of_one_tick_are_one_time_and_none_is_zero() {
        let mut per_tick = begun();
        let calls = [
            call(2, 1_000_000, 300),
            call(2, 9_000_000, 400),
            // Still running when the loop sleeps, and one of a thread that is a little early.
            call(2, 21_000_000, 50),
            call(4, 5_000, 7_000),
        ];
        let ticks = [tick(3), tick(4), tick(5)];
        let closed = per_tick.advance(&calls, Completeness::Whole, &ticks, 6 * PERIOD_NS);
        assert_eq!(
            closed,
            Closed {
                times_ns: vec![750, 7_000],
                idle: 1,
                left_out: 0
            }
        );
    }

    #[test]
    fn what_is_told_later_is_added_to_its_tick() {
        let mut per_tick = begun();
        let first = per_tick.advance(
            &[call(2, 1_000_000, 300)],
            Completeness::Whole,
            &[],
            4 * PERIOD_NS,
        );
        assert_eq!(first, Closed::default());
        let more = [call(2, 1_000_000, 200)];
        let closed = per_tick.advance(&more, Completeness::Whole, &[tick(3)], 5 * PERIOD_NS);
        assert_eq!(closed.times_ns, [500]);
    }

    #[test]
    fn ticks_with_unknown_calls_or_missing_neighbours_are_left_out() {
        let mut per_tick = begun();
        let partial = per_tick.advance(&[], Completeness::Partial, &[tick(3)], 4 * PERIOD_NS);
        assert_eq!((partial.left_out, partial.idle), (1, 0));
        // Ticks 3 and 4 began in that interval; tick 6 is followed by nothing for three periods.
        let ticks = [tick(4), tick(5), tick(6), tick(9), tick(10)];
        let closed = per_tick.advance(&[], Completeness::Whole, &ticks, 11 * PERIOD_NS);
        assert_eq!((closed.left_out, closed.idle), (3, 2));
    }

    #[test]
    fn a_late_loop_that_catches_up_shares_its_time() {
        let mut per_tick = begun();
        let late = TickSpan { turns: 3, ..tick(3) };
        let closed = per_tick.advance(
            &[call(3, 1_000, 900)],
            Completeness::Whole,
            &[late, tick(6)],
            7 * PERIOD_NS,
        );
        assert_eq!((closed.times_ns, closed.idle), (vec![300; 3], 1));
    }

    #[test]
    fn quantiles_count_idle_ticks() {
        let mut times = TickTimes::default();
        assert_eq!(times.quantile_ns(0.5), None);
        times.add(&[1_000_000; 4], 6);
        assert_eq!((times.count(), times.quantile_ns(0.6)), (10, Some(0.0)));
        assert!((times.quantile_ns(0.61).unwrap() / 1e6 - 1.0).abs() < 0.035);
        assert!((times.quantile_ns(1.0).unwrap() / 1e6 - 1.0).abs() < 0.035);
    }

    proptest! {
        #[test]
        fn no_time_is_counted_twice_or_made_up(
            calls in prop::collection::vec((0u64..40, 0u64..50_000_000, 1u64..1_000_000), 0..80),
            cuts in prop::collection::vec(1usize..20, 0..6),
        ) {
            let mut calls: Vec<CallSum> = calls
                .into_iter()
                .map(|(number, offset, time)| call(number, offset, time))
                .collect();
            calls.sort_by_key(|call| call.start_ns);
            let ticks: Vec<TickSpan> = (1..40).map(tick).collect();
            let mut per_tick = PerTick::default();
            per_tick.advance(&[], Completeness::Whole, &[], 0);
            per_tick.advance(&calls, Completeness::Whole, &[], 40 * PERIOD_NS);
            let mut all = Closed::default();
            let mut left = &ticks[..];
            for cut in cuts.into_iter().chain([usize::MAX]) {
                let (now, later) = left.split_at(cut.min(left.len()));
                let closed = per_tick.advance(&[], Completeness::Whole, now, 40 * PERIOD_NS);
                all.times_ns.extend(closed.times_ns);
                all.idle += closed.idle;
                all.left_out += closed.left_out;
                left = later;
            }
            // The first tick has no beginning, the last no end.
            let (from, until) = (35_000_000 + PERIOD_NS, 35_000_000 + 38 * PERIOD_NS);
            let expected: u64 = calls
                .iter()
                .filter(|call| (from..until).contains(&call.start_ns))
                .map(|call| call.time_ns)
                .sum();
            prop_assert_eq!(all.times_ns.iter().sum::<u64>(), expected);
            prop_assert_eq!(all.times_ns.len() as u64 + all.idle, 37);
            prop_assert_eq!(all.left_out, 0);
        }
    }
}
