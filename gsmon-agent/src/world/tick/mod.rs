//! Tick detection: how often a game loop turns, and how long one turn is busy, from outside.
//!
//! Two witnesses. The scheduler saw the bursts of the server's busiest threads ([`bursts`]); the network saw when the
//! server began to send ([`series`]). Where both speak they must agree, a whole multiple allowed (many servers send
//! every k-th tick); where they contradict each other, nothing is claimed. A loop that spins has no bursts: then the
//! cadence decides the rate, and tick time is absent.
//!
//! What it cannot tell apart: a server without a loop that answers one regular client looks like a loop of that
//! client's rate. Ticks that a loop drops under load lower its rate ([`turns`]); a cadence alone shows the one it aims
//! for. What it does not do: read a tick that the game itself states (log, query, probe), which would override it.

mod bursts;
pub mod cadence;
mod series;
#[cfg(test)]
mod tests;
mod turns;

use std::collections::HashMap;

use gsmon_common::sched::Burst;

use self::{
    bursts::{Cut, ThreadTicks},
    series::{Effort, Period, agree, merge, period},
};
use super::snapshot::TickMethod;

/// Share of the time from which a thread that runs or wants to run counts as spinning.
const SPINNING_SHARE: f64 = 0.9;
/// Share of regular gaps that makes a cadence a witness, and that makes looking for a better one needless.
const CADENCE_REGULAR: f64 = 0.8;
const CADENCE_CERTAIN: f64 = 0.95;
/// Intervals without ticks in the bursts of any thread after which a slower cadence alone is believed.
const FORGET_AFTER: u32 = 10;
/// Intervals between two searches of the whole grid while the known cut works, and while nothing is found.
const SEARCH_EVERY: u32 = 20;
const SEARCH_EVERY_WITHOUT_SUCCESS: u32 = 1;
/// Bursts kept per thread for slow ticks, and for how long.
const KEPT_BURSTS: usize = 2_048;
const KEPT_NS: u64 = 4_000_000_000;
/// What another period must score above the known one, and in how many searches in a row it must be found, before it
/// replaces it: a crowded second bends the bursts of a thread, a game changes its rate for longer.
const CHANGE_MARGIN: f64 = 0.1;
const CHANGE_SEARCHES: u32 = 2;
/// Periods that differ by less are one.
const SAME_PERIOD: f64 = 0.02;
/// Gaps over which send batches are merged.
const BATCH_GAPS_NS: [u64; 4] = [0, 500_000, 2_000_000, 5_000_000];

/// One thread in one interval.
#[derive(Clone, Debug)]
pub struct ThreadWindow<'a> {
    /// Thread id.
    pub tid: u32,
    /// Bursts that ended in the interval, oldest first.
    pub bursts: &'a [Burst],
    /// Older bursts of the interval that were overwritten.
    pub missed: u64,
    /// CPU in the interval.
    pub cpu_ns: u64,
    /// Run-queue wait in the interval.
    pub wait_ns: u64,
    /// Length of the interval.
    pub interval_ns: u64,
}

/// What one interval says of one server.
#[derive(Clone, Debug)]
pub struct Evidence<'a> {
    /// Its busiest threads.
    pub threads: &'a [ThreadWindow<'a>],
    /// Starts of its send batches, CLOCK_MONOTONIC.
    pub batches: &'a [u64],
}

/// A tick.
#[derive(Clone, Debug, PartialEq)]
pub struct TickEstimate {
    /// Ticks per second.
    pub rate_hz: f64,
    /// Which witnesses spoke.
    pub method: TickMethod,
    /// 0 to 1.
    pub confidence: f64,
    /// The loop's thread, where known.
    pub thread: Option<u32>,
    /// Wall time of each tick of the window, waits inside a tick included; empty where only the cadence is known.
    pub tick_times_ns: Vec<u64>,
    /// Wall time of the ticks that ended since the last estimate and are over for sure: every tick once.
    pub new_tick_times_ns: Vec<u64>,
    /// When those were.
    pub new_ticks: Vec<TickSpan>,
    /// Ticks of this interval.
    pub ticks: u64,
}

/// When a tick was, CLOCK_MONOTONIC; several in a row where a late loop caught up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TickSpan {
    /// When the loop's thread became ready for it.
    pub ready_ns: u64,
    /// When it first ran.
    pub start_ns: u64,
    /// When it went to sleep.
    pub end_ns: u64,
    /// Ticks that it is, at least one.
    pub turns: u32,
    /// From one tick to the next, usually.
    pub period_ns: f64,
}

/// Bursts of a thread over several intervals.
#[derive(Debug, Default)]
struct Kept {
    bursts: Vec<Burst>,
    /// Ends of those before which others were overwritten.
    holes: Vec<u64>,
}

/// What has been found out about a thread.
#[derive(Clone, Copy, Debug)]
struct Known {
    cut: Cut,
    period_ns: f64,
    /// Another period that searches have begun to find, and how many in a row.
    doubt: Option<(f64, u32)>,
}

/// Detection for one server over time.
#[derive(Debug, Default)]
pub struct Detector {
    kept: HashMap<u32, Kept>,
    known: HashMap<u32, Known>,
    kept_batches: Vec<u64>,
    /// Gap that made batches of the times of sending last.
    cadence_gap_ns: Option<u64>,
    intervals_until_search: u32,
    /// Intervals in a row in which no thread's bursts were ticks.
    intervals_without_bursts: u32,
    /// Start of the newest tick that was handed out as over.
    over_until_ns: u64,
}

impl Detector {
    /// Takes in one interval that ends at `now_ns`.
    pub fn update(&mut self, now_ns: u64, evidence: &Evidence<'_>) -> Option<TickEstimate> {
        let interval_ns = evidence
            .threads
            .iter()
            .map(|thread| thread.interval_ns)
            .max()
            .unwrap_or(1_000_000_000);
        let searching = self.intervals_until_search == 0;
        self.keep(now_ns, evidence);
        let candidates: Vec<(&ThreadWindow<'_>, ThreadTicks)> = evidence
            .threads
            .iter()
            .filter_map(|thread| Some((thread, self.thread_ticks(thread, searching)?)))
            .collect();
        self.intervals_until_search = match (searching, candidates.is_empty()) {
            (true, false) => SEARCH_EVERY,
            (true, true) => SEARCH_EVERY_WITHOUT_SUCCESS,
            (false, false) => self.intervals_until_search - 1,
            (false, true) => (self.intervals_until_search - 1).min(SEARCH_EVERY_WITHOUT_SUCCESS),
        };
        self.intervals_without_bursts = if candidates.is_empty() {
            self.intervals_without_bursts.saturating_add(1)
        } else {
            0
        };
        let cadence = self.cadence(evidence.batches);
        let mut estimate = decide(evidence, candidates, cadence, interval_ns)?;
        if self.only_sends(&estimate) {
            return None;
        }
        if let Some(thread) = estimate.thread.filter(|_| !estimate.tick_times_ns.is_empty()) {
            let (period_ns, over) = self.newly_over(thread, now_ns);
            estimate.new_tick_times_ns = over.iter().flat_map(bursts::Group::walls_ns).collect();
            estimate.new_ticks = over
                .into_iter()
                .map(|tick| TickSpan {
                    ready_ns: tick.ready_ns,
                    start_ns: tick.start_ns,
                    end_ns: tick.end_ns,
                    turns: tick.turns,
                    period_ns,
                })
                .collect();
        }
        Some(estimate)
    }

    /// The loop's ticks that nobody has been told of and that no later burst can prolong, and their period. From the kept
    /// bursts, since a tick may span two intervals.
    fn newly_over(&mut self, thread: u32, now_ns: u64) -> (f64, Vec<bursts::Group>) {
        let (Some(kept), Some(known)) = (self.kept.get(&thread), self.known.get(&thread)) else {
            return (0.0, Vec::new());
        };
        let settled_ns = now_ns.saturating_sub(known.cut.gap_ns());
        let over: Vec<_> = bursts::ticks(&kept.bursts, &kept.holes, known.cut, known.period_ns)
            .into_iter()
            .filter(|tick| tick.start_ns > self.over_until_ns && tick.end_ns < settled_ns)
            .collect();
        if let Some(last) = over.last() {
            self.over_until_ns = last.start_ns;
        }
        (known.period_ns, over)
    }

    fn keep(&mut self, now_ns: u64, evidence: &Evidence<'_>) {
        let oldest_ns = now_ns.saturating_sub(KEPT_NS);
        self.kept
            .retain(|tid, _| evidence.threads.iter().any(|thread| thread.tid == *tid));
        self.known
            .retain(|tid, _| evidence.threads.iter().any(|thread| thread.tid == *tid));
        for thread in evidence.threads {
            let kept = self.kept.entry(thread.tid).or_default();
            if let Some(first) = thread.bursts.first().filter(|_| thread.missed > 0) {
                kept.holes.push(first.end_ns);
            }
            kept.bursts.extend_from_slice(thread.bursts);
            kept.bursts.retain(|burst| burst.end_ns >= oldest_ns);
            let excess = kept.bursts.len().saturating_sub(KEPT_BURSTS);
            kept.bursts.drain(..excess);
            kept.holes.retain(|hole| *hole >= oldest_ns);
        }
        self.kept_batches.extend_from_slice(evidence.batches);
        self.kept_batches.retain(|start| *start >= oldest_ns);
        let excess = self.kept_batches.len().saturating_sub(KEPT_BURSTS);
        self.kept_batches.drain(..excess);
    }

    /// Ticks of one thread: in this interval if it has enough, else over the kept window.
    fn thread_ticks(&mut self, thread: &ThreadWindow<'_>, searching: bool) -> Option<ThreadTicks> {
        let (kept, holes) = self
            .kept
            .get(&thread.tid)
            .map_or((&[][..], &[][..]), |kept| (&kept.bursts, &kept.holes));
        let known = self.known.get(&thread.tid).copied();
        // A cut that fails once (a pause, a map change) is kept: it may well work again.
        let usual = known.and_then(|known| {
            bursts::with_cut(thread.bursts, &[], known.cut, Effort::Usual)
                .or_else(|| bursts::with_cut(kept, holes, known.cut, Effort::Crowded))
        });
        if !searching {
            return usual;
        }
        let other = bursts::search(thread.bursts, &[], Effort::Usual)
            .or_else(|| bursts::search(kept, holes, Effort::Crowded));
        let (found, known) = settle(known, usual, other);
        if let Some(known) = known {
            self.known.insert(thread.tid, known);
        }
        found
    }

    fn cadence(&mut self, batches: &[u64]) -> Option<Period> {
        let by_usual = self.cadence_gap_ns.and_then(|gap_ns| with_gap(batches, gap_ns));
        if let Some(found) = by_usual.filter(|found| found.regular_ratio >= CADENCE_CERTAIN) {
            return Some(found);
        }
        let of = |times: &[u64]| {
            BATCH_GAPS_NS
                .into_iter()
                .filter_map(|gap_ns| Some((gap_ns, with_gap(times, gap_ns)?)))
                .max_by(|(_, a), (_, b)| a.regular_ratio.total_cmp(&b.regular_ratio))
                .filter(|(_, found)| found.regular_ratio >= CADENCE_REGULAR)
        };
        let (gap_ns, found) = of(batches).or_else(|| of(&self.kept_batches))?;
        self.cadence_gap_ns = Some(gap_ns);
        Some(found)
    }

    /// Is a loop known that is faster than the cadence that speaks alone, and no thread spins? Then that is the rate at
    /// which it sends, and says nothing of its ticks, until its thread has been silent for long.
    fn only_sends(&self, estimate: &TickEstimate) -> bool {
        estimate.method == TickMethod::SendCadence
            && estimate.thread.is_none()
            && self.intervals_without_bursts <= FORGET_AFTER
            && self
                .known
                .values()
                .any(|known| known.period_ns * estimate.rate_hz < 1e9 * (1.0 - SAME_PERIOD))
    }
}

/// Period of the batches that a gap makes of times of sending.
fn with_gap(times: &[u64], gap_ns: u64) -> Option<Period> {
    let found = period(&merge(times, gap_ns), Effort::Usual)?;
    (gap_ns as f64 <= 0.3 * found.period_ns).then_some(found)
}

/// After a search: the ticks to believe in, and what is known from now on.
fn settle(
    known: Option<Known>,
    usual: Option<ThreadTicks>,
    other: Option<ThreadTicks>,
) -> (Option<ThreadTicks>, Option<Known>) {
    let Some(other) = other else {
        return (usual, known);
    };
    let believe = |ticks: ThreadTicks| {
        let known = Known {
            cut: ticks.cut,
            period_ns: ticks.period.period_ns,
            doubt: None,
        };
        (Some(ticks), Some(known))
    };
    let Some(mut known) = known else {
        return believe(other);
    };
    let period_ns = other.period.period_ns;
    if same(period_ns, known.period_ns) {
        return match usual {
            Some(usual) if usual.score() >= other.score() => believe(usual),
            _ => believe(other),
        };
    }
    if usual
        .as_ref()
        .is_some_and(|usual| other.score() <= usual.score() + CHANGE_MARGIN)
    {
        known.doubt = None;
        return (usual, Some(known));
    }
    let times = match known.doubt {
        Some((doubt_ns, times)) if same(doubt_ns, period_ns) => times + 1,
        _ => 1,
    };
    if times >= CHANGE_SEARCHES {
        return believe(other);
    }
    known.doubt = Some((period_ns, times));
    (usual, Some(known))
}

fn same(a_ns: f64, b_ns: f64) -> bool {
    (a_ns - b_ns).abs() <= SAME_PERIOD * b_ns
}

fn decide(
    evidence: &Evidence<'_>,
    candidates: Vec<(&ThreadWindow<'_>, ThreadTicks)>,
    cadence: Option<Period>,
    interval_ns: u64,
) -> Option<TickEstimate> {
    let spinning = evidence.threads.iter().find(|thread| {
        // On a busy host it does not get a whole CPU, but it always wants one.
        let wanted_ns = thread.cpu_ns + thread.wait_ns;
        wanted_ns as f64 >= SPINNING_SHARE * thread.interval_ns as f64 && thread.bursts.len() < 8
    });
    match (pick(candidates, cadence.as_ref()), cadence) {
        (None, None) => None,
        (None, Some(cadence)) => Some(from_cadence(
            &cadence,
            spinning.map(|thread| thread.tid),
            interval_ns,
        )),
        // The spinning thread is the loop; what else ticks in that process is a side show.
        (Some(_), Some(cadence)) if spinning.is_some() => Some(from_cadence(
            &cadence,
            spinning.map(|thread| thread.tid),
            interval_ns,
        )),
        (Some(_), None) if spinning.is_some() => None,
        (Some((thread, ticks)), cadence) => {
            let agreed = cadence.map(|cadence| agree(ticks.period.period_ns, cadence.period_ns));
            if agreed == Some(false) {
                return None;
            }
            Some(from_bursts(thread, ticks, agreed.is_some(), interval_ns))
        }
    }
}

/// The thread that is the loop. Those that agree with the cadence come first; among threads of one period the one whose
/// ticks last longest (it waits for the others); among different periods the one that works most.
fn pick<'a>(
    mut candidates: Vec<(&'a ThreadWindow<'a>, ThreadTicks)>,
    cadence: Option<&Period>,
) -> Option<(&'a ThreadWindow<'a>, ThreadTicks)> {
    if let Some(cadence) = cadence {
        let agrees = |ticks: &ThreadTicks| agree(ticks.period.period_ns, cadence.period_ns);
        if candidates.iter().any(|(_, ticks)| agrees(ticks)) {
            candidates.retain(|(_, ticks)| agrees(ticks));
        }
    }
    let heaviest = candidates.iter().max_by(|a, b| {
        let weight =
            |(thread, ticks): &(&ThreadWindow<'_>, ThreadTicks)| ticks.score() * thread.cpu_ns as f64;
        weight(a).total_cmp(&weight(b))
    })?;
    let period_ns = heaviest.1.period.period_ns;
    candidates.retain(|(_, ticks)| same(ticks.period.period_ns, period_ns));
    candidates
        .into_iter()
        .max_by_key(|(_, ticks)| ticks.median_wall_ns())
}

fn from_cadence(cadence: &Period, thread: Option<u32>, interval_ns: u64) -> TickEstimate {
    // One witness only, and none of the tick itself, unless the loop is known to spin.
    let trust = if thread.is_some() { 0.8 } else { 0.5 };
    TickEstimate {
        rate_hz: 1e9 / cadence.period_ns,
        method: TickMethod::SendCadence,
        confidence: trust * cadence.regular_ratio,
        thread,
        tick_times_ns: Vec::new(),
        new_tick_times_ns: Vec::new(),
        new_ticks: Vec::new(),
        ticks: (interval_ns as f64 / cadence.period_ns).round() as u64,
    }
}

fn from_bursts(
    thread: &ThreadWindow<'_>,
    found: ThreadTicks,
    agreed: bool,
    interval_ns: u64,
) -> TickEstimate {
    let trust = if agreed { 1.0 } else { 0.9 };
    let first_burst_ns = thread.bursts.first().map_or(u64::MAX, |burst| burst.end_ns);
    let in_interval = found
        .ticks
        .iter()
        .filter(|tick| tick.end_ns >= first_burst_ns)
        .map(|tick| u64::from(tick.turns))
        .sum();
    let rate_hz = found.turned_ratio * 1e9 / found.period.period_ns;
    let ticks = if thread.missed > 0 {
        (interval_ns as f64 / 1e9 * rate_hz).round() as u64
    } else {
        in_interval
    };
    TickEstimate {
        rate_hz,
        method: if agreed {
            TickMethod::BurstsAndCadence
        } else {
            TickMethod::SchedulerBursts
        },
        confidence: trust * found.score(),
        thread: Some(thread.tid),
        ticks,
        tick_times_ns: found.ticks.iter().flat_map(bursts::Group::walls_ns).collect(),
        new_tick_times_ns: Vec::new(),
        new_ticks: Vec::new(),
    }
}
