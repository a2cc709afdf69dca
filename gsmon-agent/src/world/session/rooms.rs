//! Rooms inside one process: what each used.
//!
//! CPU is exact where threads carry the names of rooms. Everything else is shared by players and by traffic, whose mean
//! is the estimate; its interval is what the least and the most of these ways of sharing give, with the process itself
//! as one more room, and with players here taken to cost half or twice as much as elsewhere.
//!
//! A room's totals have a course like those of a server, so that sessions begin and end between two intervals. Threads
//! that carry its name are read at such moments as well; where they were not, CPU has an interval here too.

use std::{
    cmp::Ordering,
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

/// CPU that is known this well needs no interval: one part in so many.
const WELL_KNOWN: u64 = 100;

impl RoomShare {
    /// Least and most CPU, where it is an estimate: shared, or of threads that went on while the session began or ended
    /// and were not read at that moment.
    pub fn cpu_interval_ns(&self) -> Option<(u64, u64)> {
        let used_ns = self.used.cpu_ns?;
        let off_ns = self
            .cpu_high_ns
            .saturating_sub(used_ns)
            .max(used_ns.saturating_sub(self.cpu_low_ns));
        let wide = self.cpu == CpuBasis::Shared || off_ns > used_ns / WELL_KNOWN;
        wide.then_some((self.cpu_low_ns, self.cpu_high_ns))
    }
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
    named: NamedTotal,
}

/// CPU of threads that carry the name of a room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct NamedTotal {
    cpu_ns: u64,
    /// Between two readings it may have been so little, or so much.
    least_ns: u64,
    most_ns: u64,
    /// Readings that found such threads.
    readings: u64,
}

impl NamedTotal {
    fn read(cpu_ns: u64, readings: u64) -> Self {
        Self {
            cpu_ns,
            least_ns: cpu_ns,
            most_ns: cpu_ns,
            readings,
        }
    }
}

impl RoomTotals {
    /// Where another session has ended at `given`: what its threads used is not this one's.
    pub fn after(mut self, given: &Self) -> Self {
        let (named, given) = (&mut self.named, &given.named);
        named.cpu_ns = named.cpu_ns.max(given.cpu_ns);
        named.least_ns = named.least_ns.max(given.least_ns);
        named.most_ns = named.most_ns.max(given.most_ns);
        named.readings = named.readings.max(given.readings);
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
        let (named, named_before) = (&self.named, &before.named);
        if named.readings > named_before.readings {
            used.cpu_ns = Some(named.cpu_ns.saturating_sub(named_before.cpu_ns));
            cpu = CpuBasis::NamedThreads;
            low = named.least_ns.saturating_sub(named_before.most_ns);
            high = named.most_ns.saturating_sub(named_before.least_ns);
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

/// The end of an interval.
#[derive(Clone, Copy, Debug, Default)]
struct RoomMoment {
    unix_ms: i64,
    shared: Resources,
    low_ns: u64,
    high_ns: u64,
}

/// A reading of the threads that carry its name, at the end of an interval or in the middle of one.
#[derive(Clone, Copy, Debug)]
struct ThreadsMoment {
    unix_ms: i64,
    cpu_ns: u64,
    readings: u64,
    /// How many live.
    alive: u32,
}

/// How long the course of a room is kept: events of rooms are told within it.
const KEPT_MS: i64 = 15_000;
const KEPT: usize = 64;
/// Clocks of events and readings count in so many nanoseconds.
const MILLISECOND_NS: u64 = 1_000_000;

/// Totals of a room over the last seconds.
#[derive(Clone, Debug, Default)]
pub struct RoomCourse {
    moments: VecDeque<RoomMoment>,
    threads: VecDeque<ThreadsMoment>,
    /// CPU of threads with its name at the end of the last interval.
    named_ns: u64,
}

impl RoomCourse {
    /// From `since_ms` on it is given something.
    pub fn new(since_ms: i64) -> Self {
        Self {
            moments: VecDeque::from([RoomMoment {
                unix_ms: since_ms,
                ..RoomMoment::default()
            }]),
            threads: VecDeque::from([ThreadsMoment {
                unix_ms: since_ms,
                cpu_ns: 0,
                readings: 0,
                alive: 0,
            }]),
            named_ns: 0,
        }
    }

    /// Adds an interval.
    pub fn push(&mut self, unix_ms: i64, share: Option<&RoomShare>, threads: Option<NamedThreads>) {
        let mut moment = self.moments.back().copied().unwrap_or_default();
        if let Some(share) = share {
            let mut used = share.used;
            if share.cpu == CpuBasis::NamedThreads {
                used.cpu_ns = used.cpu_ns.map(|_| 0);
            } else {
                moment.low_ns += share.cpu_low_ns;
                moment.high_ns += share.cpu_high_ns;
            }
            moment.shared.add(&used);
        }
        if moment.unix_ms >= unix_ms {
            self.moments.clear();
        }
        moment.unix_ms = unix_ms;
        self.moments.push_back(moment);
        shorten(&mut self.moments, |moment| moment.unix_ms);
        self.read_threads(unix_ms, threads);
        self.named_ns += threads.map_or(0, |threads| threads.cpu_ns);
    }

    /// Adds a reading of its threads in the middle of an interval: what they have used since the last one ended.
    pub fn read_threads(&mut self, unix_ms: i64, threads: Option<NamedThreads>) {
        let last = self.threads.back();
        let so_far_ns = self.named_ns + threads.map_or(0, |threads| threads.cpu_ns);
        let moment = ThreadsMoment {
            unix_ms,
            cpu_ns: so_far_ns.max(last.map_or(0, |last| last.cpu_ns)),
            readings: last.map_or(0, |last| last.readings) + u64::from(threads.is_some()),
            alive: threads.map_or(0, |threads| threads.alive),
        };
        match last.map(|last| last.unix_ms.cmp(&unix_ms)) {
            Some(Ordering::Greater) => self.threads.clear(),
            Some(Ordering::Equal) => drop(self.threads.pop_back()),
            Some(Ordering::Less) | None => {}
        }
        self.threads.push_back(moment);
        shorten(&mut self.threads, |moment| moment.unix_ms);
    }

    /// The clock was set: everything happened so much later.
    pub fn shift(&mut self, by_ms: i64) {
        let later = |ms: &mut i64| *ms = ms.saturating_add(by_ms);
        self.moments
            .iter_mut()
            .for_each(|moment| later(&mut moment.unix_ms));
        self.threads
            .iter_mut()
            .for_each(|moment| later(&mut moment.unix_ms));
    }

    /// Totals now.
    pub fn totals(&self) -> RoomTotals {
        self.at(i64::MAX, Edge::End)
    }

    /// Totals at a time. Between two moments they grow evenly.
    pub fn at(&self, unix_ms: i64, edge: Edge) -> RoomTotals {
        let named = self.named_at(unix_ms, edge);
        let whole = |moment: &RoomMoment| RoomTotals {
            shared: moment.shared,
            low_ns: moment.low_ns,
            high_ns: moment.high_ns,
            named,
        };
        let (from, to) = match around(&self.moments, |moment| moment.unix_ms < unix_ms) {
            (None, None) => return RoomTotals::default(),
            (None, Some(one)) | (Some(one), None) => return whole(one),
            (Some(from), Some(to)) => (from, to),
        };
        let part = part(unix_ms, from.unix_ms, to.unix_ms);
        let mut shared = from.shared;
        shared.add(&to.shared.grown_since(&from.shared).share(part));
        RoomTotals {
            shared,
            low_ns: cut(from.low_ns, to.low_ns, part),
            high_ns: cut(from.high_ns, to.high_ns, part),
            named,
        }
    }

    /// CPU of the threads that carry its name at a time. A thread that was not there at the reading before began after
    /// the session that it works for, and one that is not there at the next has ended before it. One that goes on is
    /// cut; and since a thread has no more CPU than there is time, a reading soon after leaves little to guess.
    fn named_at(&self, unix_ms: i64, edge: Edge) -> NamedTotal {
        let whole = |moment: &ThreadsMoment| NamedTotal::read(moment.cpu_ns, moment.readings);
        let (from, to) = match around(&self.threads, |moment| moment.unix_ms < unix_ms) {
            (None, None) => return NamedTotal::default(),
            (None, Some(one)) | (Some(one), None) => return whole(one),
            (Some(from), Some(to)) => (from, to),
        };
        match (from.alive > 0, to.alive > 0, edge) {
            (true, true, _) => {
                let later_ns = (to.unix_ms - unix_ms + 1)
                    .unsigned_abs()
                    .saturating_mul(MILLISECOND_NS);
                let threads = u64::from(from.alive.max(to.alive));
                let least_ns = to
                    .cpu_ns
                    .saturating_sub(later_ns.saturating_mul(threads))
                    .max(from.cpu_ns);
                let part = part(unix_ms, from.unix_ms, to.unix_ms);
                NamedTotal {
                    cpu_ns: cut(from.cpu_ns, to.cpu_ns, part).max(least_ns),
                    least_ns,
                    most_ns: to.cpu_ns,
                    readings: match edge {
                        Edge::Begin => from.readings,
                        Edge::End => to.readings,
                    },
                }
            }
            (false, true, _) | (false, false, Edge::Begin) => whole(from),
            (true, false, _) | (false, false, Edge::End) => whole(to),
        }
    }
}

/// The last moment before a time, and the first from it on.
fn around<T>(moments: &VecDeque<T>, is_before: impl FnMut(&T) -> bool) -> (Option<&T>, Option<&T>) {
    let after = moments.partition_point(is_before);
    let before = after.checked_sub(1).and_then(|index| moments.get(index));
    (before, moments.get(after))
}

fn part(unix_ms: i64, from_ms: i64, to_ms: i64) -> f64 {
    (unix_ms - from_ms) as f64 / (to_ms - from_ms) as f64
}

fn cut(from: u64, to: u64, part: f64) -> u64 {
    from + (to.saturating_sub(from) as f64 * part).round() as u64
}

/// Forgets what is too old; of what is older than that the newest stays, as the beginning.
fn shorten<T>(moments: &mut VecDeque<T>, unix_ms: impl Fn(&T) -> i64) {
    let Some(newest_ms) = moments.back().map(&unix_ms) else {
        return;
    };
    let oldest_ms = newest_ms.saturating_sub(KEPT_MS);
    while moments.len() > KEPT || (moments.len() > 2 && unix_ms(&moments[1]) < oldest_ms) {
        moments.pop_front();
    }
}

#[cfg(test)]
#[path = "rooms_tests.rs"]
mod tests;
