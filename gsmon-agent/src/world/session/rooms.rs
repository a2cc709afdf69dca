//! Rooms inside one process: what each used.
//!
//! CPU is exact where threads carry the names of rooms. Everything else is shared by players and by traffic, whose mean
//! is the estimate; its interval is what the least and the most of these ways of sharing give, with the process itself
//! as one more room, and with players here taken to cost half or twice as much as elsewhere.
//!
//! A room's totals have a course like those of a server, so that sessions begin and end between two intervals.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use super::resources::Resources;

/// What is known of a room in an interval.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RoomFigures {
    /// Players in it.
    pub players: u32,
    /// Packets of its players, both ways.
    pub packets: u64,
    /// CPU of the threads that carry its name; `None` when there are none.
    pub thread_cpu_ns: Option<u64>,
}

/// Threads that carry the name of a room, in an interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NamedThreads {
    /// Their CPU.
    pub cpu_ns: u64,
    /// How many live at its end.
    pub alive: u32,
}

/// What a room is given.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RoomShare {
    /// The estimate.
    pub used: Resources,
    /// How its CPU is known.
    pub cpu: CpuBasis,
    /// Least CPU by any way of sharing.
    pub cpu_low_ns: u64,
    /// Most CPU by any way of sharing.
    pub cpu_high_ns: u64,
}

/// How a session's CPU is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CpuBasis {
    /// The kernel's own count of the whole process.
    #[default]
    Process,
    /// The kernel's own count of the threads that carry the room's name.
    NamedThreads,
    /// A share of the process by players and traffic: an estimate.
    Shared,
}

/// Players of one room may cost so many times as much as those of another.
const UNEVEN: f64 = 2.0;

/// Shares what a process used in an interval among its rooms.
pub fn share(delta: &Resources, figures: &BTreeMap<Arc<str>, RoomFigures>) -> BTreeMap<Arc<str>, RoomShare> {
    let all = Whole::of(figures.values());
    // The rest of a process with named threads may be all the work of the other rooms.
    let unnamed = Whole::of(figures.values().filter(|room| room.thread_cpu_ns.is_none()));
    // What named threads used is not shared a second time.
    let named: u64 = figures.values().filter_map(|room| room.thread_cpu_ns).sum();
    let shared_cpu = delta.cpu_ns.unwrap_or(0).saturating_sub(named) as f64;
    figures
        .iter()
        .map(|(name, room)| {
            let mean = all.estimate(room);
            let mut used = delta.share(mean);
            let (cpu, cpu_low_ns, cpu_high_ns) = match room.thread_cpu_ns {
                Some(exact) => {
                    used.cpu_ns = Some(exact);
                    (CpuBasis::NamedThreads, exact, exact)
                }
                None => {
                    used.cpu_ns = delta.cpu_ns.map(|_| (shared_cpu * mean) as u64);
                    (
                        CpuBasis::Shared,
                        (shared_cpu * all.least(room)) as u64,
                        (shared_cpu * unnamed.most(room)).ceil() as u64,
                    )
                }
            };
            let share = RoomShare {
                used,
                cpu,
                cpu_low_ns,
                cpu_high_ns,
            };
            (name.clone(), share)
        })
        .collect()
}

/// Rooms among whom something is shared.
#[derive(Default)]
struct Whole {
    rooms: f64,
    players: f64,
    packets: f64,
}

impl Whole {
    fn of<'a>(rooms: impl Iterator<Item = &'a RoomFigures>) -> Self {
        rooms.fold(Self::default(), |whole, room| Self {
            rooms: whole.rooms + 1.0,
            players: whole.players + f64::from(room.players),
            packets: whole.packets + room.packets as f64,
        })
    }

    /// A room's part by players, by packets, and evenly.
    fn parts(&self, room: &RoomFigures) -> [f64; 3] {
        let even = 1.0 / self.rooms.max(1.0);
        let part = |value: f64, whole: f64| if whole > 0.0 { value / whole } else { even };
        [
            part(f64::from(room.players), self.players),
            part(room.packets as f64, self.packets),
            even,
        ]
    }

    /// The mean of what is known.
    fn estimate(&self, room: &RoomFigures) -> f64 {
        let [players, packets, even] = self.parts(room);
        match (self.players > 0.0, self.packets > 0.0) {
            (true, true) => (players + packets) / 2.0,
            (true, false) => players,
            (false, true) => packets,
            (false, false) => even,
        }
    }

    fn least(&self, room: &RoomFigures) -> f64 {
        let least = self.parts(room).into_iter().fold(1.0, f64::min);
        // The process has work of its own, which is no room's: it is one room more.
        skewed(least, 1.0 / UNEVEN).min(1.0 / (self.rooms + 1.0))
    }

    fn most(&self, room: &RoomFigures) -> f64 {
        skewed(self.parts(room).into_iter().fold(0.0, f64::max), UNEVEN)
    }
}

/// A part, where each unit of it weighs so much more than elsewhere.
fn skewed(part: f64, weight: f64) -> f64 {
    part * weight / (part * weight + 1.0 - part)
}

/// What a room was given since it was first seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RoomTotals {
    /// Shares. Its CPU is that of intervals without a thread of the room's name.
    shared: Resources,
    low_ns: u64,
    high_ns: u64,
    /// CPU of threads that carry its name.
    named_ns: u64,
    /// Intervals in which there were such threads.
    named_intervals: u64,
}

impl RoomTotals {
    /// Where another session has ended at `given`: what its threads used is not this one's.
    pub fn after(mut self, given: &Self) -> Self {
        self.named_ns = self.named_ns.max(given.named_ns);
        self.named_intervals = self.named_intervals.max(given.named_intervals);
        self
    }

    /// What came since `before`. CPU is that of named threads as soon as there was one: what was shared until it came
    /// was a guess.
    pub fn since(&self, before: &Self) -> RoomShare {
        // What was not known then has been added since.
        let mut used = self.shared.grown_since(&before.shared);
        let (mut cpu, mut low, mut high) = (
            CpuBasis::Shared,
            self.low_ns.saturating_sub(before.low_ns),
            self.high_ns.saturating_sub(before.high_ns),
        );
        if self.named_intervals > before.named_intervals {
            let exact = self.named_ns.saturating_sub(before.named_ns);
            used.cpu_ns = Some(exact);
            (cpu, low, high) = (CpuBasis::NamedThreads, exact, exact);
        }
        RoomShare {
            used,
            cpu,
            cpu_low_ns: low,
            cpu_high_ns: high,
        }
    }
}

/// Which end of a session is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edge {
    /// Its beginning.
    Begin,
    /// Its end.
    End,
}

#[derive(Clone, Copy, Debug)]
struct RoomMoment {
    unix_ms: i64,
    totals: RoomTotals,
    /// Does a thread carry its name?
    threads: bool,
}

/// How long the course of a room is kept: events of rooms are told within it.
const KEPT_MS: i64 = 15_000;
const KEPT: usize = 64;

/// Totals of a room over the last seconds.
#[derive(Clone, Debug, Default)]
pub struct RoomCourse {
    moments: VecDeque<RoomMoment>,
}

impl RoomCourse {
    /// From `since_ms` on it is given something.
    pub fn new(since_ms: i64) -> Self {
        let first = RoomMoment {
            unix_ms: since_ms,
            totals: RoomTotals::default(),
            threads: false,
        };
        Self {
            moments: VecDeque::from([first]),
        }
    }

    /// Adds an interval.
    pub fn push(&mut self, unix_ms: i64, share: Option<&RoomShare>, threads: Option<NamedThreads>) {
        let mut totals = self.totals();
        if let Some(share) = share {
            let mut used = share.used;
            if share.cpu == CpuBasis::NamedThreads {
                used.cpu_ns = used.cpu_ns.map(|_| 0);
            } else {
                totals.low_ns += share.cpu_low_ns;
                totals.high_ns += share.cpu_high_ns;
            }
            totals.shared.add(&used);
        }
        if let Some(threads) = threads {
            totals.named_ns += threads.cpu_ns;
            totals.named_intervals += 1;
        }
        if self.moments.back().is_some_and(|last| last.unix_ms >= unix_ms) {
            self.moments.clear();
        }
        self.moments.push_back(RoomMoment {
            unix_ms,
            totals,
            threads: threads.is_some_and(|threads| threads.alive > 0),
        });
        let oldest_ms = unix_ms - KEPT_MS;
        while self.moments.len() > KEPT || (self.moments.len() > 2 && self.moments[1].unix_ms < oldest_ms) {
            self.moments.pop_front();
        }
    }

    /// The clock was set: everything happened so much later.
    pub fn shift(&mut self, by_ms: i64) {
        for moment in &mut self.moments {
            moment.unix_ms = moment.unix_ms.saturating_add(by_ms);
        }
    }

    /// Totals now.
    pub fn totals(&self) -> RoomTotals {
        self.moments.back().map(|last| last.totals).unwrap_or_default()
    }

    /// Totals at a time. Between two moments they grow evenly; but a thread that was not there at the first of them
    /// began after the session that it works for, and one that is not there at the second has ended before it.
    pub fn at(&self, unix_ms: i64, edge: Edge) -> RoomTotals {
        let after = self.moments.partition_point(|moment| moment.unix_ms < unix_ms);
        let next = self.moments.get(after);
        let previous = after.checked_sub(1).and_then(|index| self.moments.get(index));
        let (previous, next) = match (previous, next) {
            (None, None) => return RoomTotals::default(),
            (None, Some(one)) | (Some(one), None) => return one.totals,
            (Some(previous), Some(next)) => (previous, next),
        };
        let (from, to) = (previous.totals, next.totals);
        let part = (unix_ms - previous.unix_ms) as f64 / (next.unix_ms - previous.unix_ms) as f64;
        let cut = |from: u64, to: u64| from + (to.saturating_sub(from) as f64 * part).round() as u64;
        let mut shared = from.shared;
        shared.add(&to.shared.grown_since(&from.shared).share(part));
        let (named_ns, named_intervals) = match (previous.threads, next.threads, edge) {
            (true, true, Edge::Begin) => (cut(from.named_ns, to.named_ns), from.named_intervals),
            (true, true, Edge::End) => (cut(from.named_ns, to.named_ns), to.named_intervals),
            (false, true, _) | (false, false, Edge::Begin) => (from.named_ns, from.named_intervals),
            (true, false, _) | (false, false, Edge::End) => (to.named_ns, to.named_intervals),
        };
        RoomTotals {
            shared,
            low_ns: cut(from.low_ns, to.low_ns),
            high_ns: cut(from.high_ns, to.high_ns),
            named_ns,
            named_intervals,
        }
    }
}

#[cfg(test)]
#[path = "rooms_tests.rs"]
mod tests;
