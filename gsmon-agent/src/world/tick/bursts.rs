//! Ticks from the bursts of one thread: which bursts belong together, and which groups are ticks.
//!
//! A burst is not a tick: a server that wakes for every packet has hundreds per tick, one that waits for a lock inside
//! its tick has several. So bursts are merged over gaps, groups below a size are left out, and of all combinations
//! (a grid of gap and size) the one is taken whose groups come most regularly and explain most of the thread's CPU.

use gsmon_common::sched::Burst;
use ndarray::Array2;

use super::{
    series::{Effort, FEWEST, Period, period},
    turns,
};

/// Gaps over which bursts are merged.
const MERGE_GAPS_NS: [u64; 9] = [
    0, 50_000, 100_000, 200_000, 500_000, 1_000_000, 2_000_000, 4_000_000, 8_000_000,
];
/// Least CPU of a group that counts as a tick, as log2 of microseconds; the first means "any".
const SIZES: usize = 15;
/// A gap may be at most this share of the period that results.
const GAP_SHARE: f64 = 0.3;
/// A better score must be better by this much before a larger gap or size is preferred.
const MARGIN: f64 = 0.02;
/// Share of regular gaps below which nothing is claimed.
const LEAST_REGULAR: f64 = 0.7;
/// Share of the thread's CPU that ticks must explain.
const LEAST_COVERAGE: f64 = 0.3;

/// What decides which groups are ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    gap: usize,
    size: usize,
}

impl Cut {
    /// Gap over which bursts are merged.
    pub fn gap_ns(self) -> u64 {
        MERGE_GAPS_NS[self.gap]
    }

    /// Least CPU of a group that counts.
    fn least_cpu_ns(self) -> u64 {
        if self.size == 0 { 0 } else { 1024 << self.size }
    }
}

/// Bursts merged into one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    /// When the thread became ready for the first burst: its timer rang, or its packet came.
    pub ready_ns: u64,
    /// When it first ran: later, where the CPUs were busy.
    pub start_ns: u64,
    /// End of the last burst.
    pub end_ns: u64,
    /// CPU of all bursts.
    pub cpu_ns: u64,
    /// Ticks that it is: more than one where a late loop caught up.
    pub turns: u32,
}

impl Group {
    /// Wall time of each of its ticks.
    pub fn walls_ns(&self) -> impl Iterator<Item = u64> {
        let turns = self.turns.max(1);
        let wall_ns = self.end_ns.saturating_sub(self.start_ns) / u64::from(turns);
        std::iter::repeat_n(wall_ns, turns as usize)
    }
}

/// Ticks of one thread.
#[derive(Clone, Debug, PartialEq)]
pub struct ThreadTicks {
    /// How they were found.
    pub cut: Cut,
    /// Their period.
    pub period: Period,
    /// Share of the thread's CPU that they explain.
    pub coverage: f64,
    /// The ticks.
    pub ticks: Vec<Group>,
    /// Share of the ticks due that took place; 1 until [`with_cut`] has counted.
    pub turned_ratio: f64,
}

impl ThreadTicks {
    /// Narrowness and completeness, 0 to 1.
    pub fn score(&self) -> f64 {
        score(&self.period, self.coverage)
    }

    /// Median wall time of a tick.
    pub fn median_wall_ns(&self) -> u64 {
        let mut walls: Vec<u64> = self.ticks.iter().flat_map(Group::walls_ns).collect();
        walls.sort_unstable();
        walls.get(walls.len() / 2).copied().unwrap_or(0)
    }
}

fn score(period: &Period, coverage: f64) -> f64 {
    period.regular_ratio * period.regular_ratio * (0.3 + 0.7 * coverage)
}

/// Ticks by a known cut, if they still look like ticks. `holes` are ends of bursts before which others were lost.
pub fn with_cut(bursts: &[Burst], holes: &[u64], cut: Cut, effort: Effort) -> Option<ThreadTicks> {
    let groups = merge(bursts, cut.gap_ns());
    let mut found = accept(evaluate(&groups, cut, effort)?)?;
    found.turned_ratio = turns::count(&mut found.ticks, &groups, holes, found.period.period_ns);
    Some(found)
}

/// What a cut calls ticks, whether they are regular or not.
pub fn ticks(bursts: &[Burst], holes: &[u64], cut: Cut, period_ns: f64) -> Vec<Group> {
    let groups = merge(bursts, cut.gap_ns());
    let mut ticks: Vec<Group> = groups
        .iter()
        .filter(|group| group.cpu_ns >= cut.least_cpu_ns())
        .copied()
        .collect();
    turns::count(&mut ticks, &groups, holes, period_ns);
    ticks
}

/// Ticks by the best cut of all.
pub fn search(bursts: &[Burst], holes: &[u64], effort: Effort) -> Option<ThreadTicks> {
    if bursts.len() < FEWEST {
        return None;
    }
    let mut scores = Array2::<f64>::zeros((MERGE_GAPS_NS.len(), SIZES));
    let mut groups_before = usize::MAX;
    for (gap, gap_ns) in MERGE_GAPS_NS.into_iter().enumerate() {
        let groups = merge(bursts, gap_ns);
        // What merges or leaves out nothing more scores the same, and of equals the first is taken.
        if std::mem::replace(&mut groups_before, groups.len()) == groups.len() {
            continue;
        }
        let mut ticks_before = usize::MAX;
        for size in 0..SIZES {
            let cut = Cut { gap, size };
            let ticks = groups
                .iter()
                .filter(|group| group.cpu_ns >= cut.least_cpu_ns())
                .count();
            if std::mem::replace(&mut ticks_before, ticks) == ticks {
                continue;
            }
            let Some(found) = evaluate(&groups, cut, effort) else {
                break;
            };
            if gap_ns as f64 <= GAP_SHARE * found.period.period_ns {
                scores[[gap, size]] = found.score();
            }
        }
    }
    let mut best: Option<(Cut, f64)> = None;
    for ((gap, size), score) in scores.indexed_iter() {
        if best.is_none_or(|(_, known)| *score > known + MARGIN) && *score > 0.0 {
            best = Some((Cut { gap, size }, *score));
        }
    }
    with_cut(bursts, holes, best?.0, effort)
}

fn accept(found: ThreadTicks) -> Option<ThreadTicks> {
    (found.period.regular_ratio >= LEAST_REGULAR && found.coverage >= LEAST_COVERAGE).then_some(found)
}

/// `None` when fewer groups are left than say anything.
fn evaluate(groups: &[Group], cut: Cut, effort: Effort) -> Option<ThreadTicks> {
    let ticks: Vec<Group> = groups
        .iter()
        .filter(|group| group.cpu_ns >= cut.least_cpu_ns())
        .copied()
        .collect();
    // A busy host delays the start of a tick, not the timer that calls for it.
    let calls: Vec<u64> = ticks.iter().map(|tick| tick.ready_ns).collect();
    let period = period(&calls, effort)?;
    let sum = |groups: &[Group]| groups.iter().map(|group| group.cpu_ns as f64).sum::<f64>();
    let all = sum(groups);
    let coverage = if all > 0.0 { sum(&ticks) / all } else { 0.0 };
    Some(ThreadTicks {
        cut,
        period,
        coverage,
        ticks,
        turned_ratio: 1.0,
    })
}

/// Bursts with less sleep than `gap_ns` between them; time in the run queue is no sleep.
fn merge(bursts: &[Burst], gap_ns: u64) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::with_capacity(bursts.len());
    for burst in bursts {
        let wall_ns = u64::from(burst.cpu_ns) + u64::from(burst.wait_ns);
        let start_ns = burst.end_ns.saturating_sub(wall_ns);
        let ready_ns = start_ns.saturating_sub(u64::from(burst.ready_wait_ns));
        match groups.last_mut() {
            Some(last) if gap_ns > 0 && ready_ns.saturating_sub(last.end_ns) <= gap_ns => {
                last.end_ns = last.end_ns.max(burst.end_ns);
                last.cpu_ns += u64::from(burst.cpu_ns);
            }
            _ => groups.push(Group {
                ready_ns,
                start_ns,
                end_ns: burst.end_ns,
                cpu_ns: u64::from(burst.cpu_ns),
                turns: 1,
            }),
        }
    }
    groups
}
