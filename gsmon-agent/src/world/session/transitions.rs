//! What it costs to get from one phase to the next, to start and to stop.
//!
//! A transition runs from the end of one settled phase (idle, lobby, active, ended) to the beginning of the next;
//! loading in between is the transition itself. It has the time that it took, what was used meanwhile, and how the rates
//! differ between the seconds before it and the seconds after it. Warm-up is from process start to ready, cool-down from
//! the last leave to the exit.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

use super::resources::{Course, Moment, Resources};
use crate::games::event::Phase;

/// Rates are compared over so much time before and after a transition.
const WINDOW_MS: i64 = 5_000;
/// Records kept of each kind.
const KEPT: usize = 128;

/// A transition that has happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Transition {
    /// Session that it led into, or out of.
    pub session: Option<Arc<str>>,
    /// Settled phase before.
    pub from: Phase,
    /// Settled phase after.
    pub to: Phase,
    /// When the phase before ended.
    pub began_unix_ms: i64,
    /// Time until the phase after began.
    pub took_ms: i64,
    /// Used in that time.
    pub used: Resources,
    /// Rates after it less rates before it; absent until there is an after.
    pub change: Option<RateChange>,
}

/// Difference of rates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RateChange {
    /// CPU in cores.
    pub cpu_cores: Option<f64>,
    /// Resident memory, bytes (a level, not a rate).
    pub rss_bytes: Option<f64>,
    /// Bytes from clients per second.
    pub rx_bytes_per_second: Option<f64>,
    /// Bytes to clients per second.
    pub tx_bytes_per_second: Option<f64>,
    /// Bytes from and to storage per second.
    pub disk_bytes_per_second: Option<f64>,
}

/// Start or stop of a process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LifeRecord {
    /// Which.
    pub kind: LifeKind,
    /// Start of the process, or last leave.
    pub began_unix_ms: i64,
    /// Until ready, or until exit.
    pub took_ms: i64,
    /// Used in that time.
    pub used: Resources,
    /// Largest resident memory in that time.
    pub peak_rss_bytes: Option<u64>,
}

/// Start or stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LifeKind {
    /// Start to ready.
    WarmUp,
    /// Last leave to exit.
    CoolDown,
}

/// Upper bounds of the duration histograms, milliseconds.
pub const BOUNDS_MS: [i64; 12] = [
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 300_000, 1_800_000,
];

/// Durations, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Durations {
    /// Counts by [`BOUNDS_MS`]; what is longer is in `count` only.
    pub buckets: [u64; BOUNDS_MS.len()],
    /// All.
    pub count: u64,
    /// Sum of all, milliseconds.
    pub sum_ms: u64,
}

impl Durations {
    fn add(&mut self, took_ms: i64) {
        let took_ms = took_ms.max(0);
        if let Some(index) = BOUNDS_MS.iter().position(|bound| took_ms <= *bound) {
            self.buckets[index] += 1;
        }
        self.count += 1;
        self.sum_ms += took_ms as u64;
    }
}

/// A settled phase that has ended, waiting for the next one.
#[derive(Clone, Copy, Debug)]
struct Open {
    from: Phase,
    since_ms: i64,
    start: Resources,
    before: Before,
}

/// A time that is under way: from when, what had been used until then, and the largest resident memory since.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// Its beginning.
    pub since_ms: i64,
    /// What is used from then on is known.
    counted_from_ms: i64,
    start: Resources,
    peak_rss_bytes: Option<u64>,
}

impl Span {
    /// Begins then.
    pub fn new(since_ms: i64, course: &Course) -> Self {
        Self::counted_from(since_ms, since_ms, course)
    }

    /// Begins at one time, and what is used from another on counts.
    pub fn counted_from(since_ms: i64, from_ms: i64, course: &Course) -> Self {
        Self {
            since_ms,
            counted_from_ms: from_ms,
            start: course.at(from_ms),
            peak_rss_bytes: None,
        }
    }

    /// The clock was set: it began so much later.
    pub fn shift(&mut self, by_ms: i64) {
        self.since_ms = self.since_ms.saturating_add(by_ms);
        self.counted_from_ms = self.counted_from_ms.saturating_add(by_ms);
    }

    /// What was used until then; nobody knows it where all of it was over before anything was counted.
    fn used(&self, until_ms: i64, course: &Course) -> Resources {
        if until_ms < self.counted_from_ms {
            return Resources::default();
        }
        course.at(until_ms).since(&self.start)
    }

    /// Call for every moment of the course.
    pub fn note(&mut self, moment: &Moment) {
        self.peak_rss_bytes = self
            .peak_rss_bytes
            .max(moment.rss_bytes)
            .max(moment.peak_rss_bytes);
    }
}

/// The transitions of one server or room.
#[derive(Debug, Default)]
pub struct Transitions {
    open: Option<Open>,
    records: Vec<Transition>,
    /// How it was before each of `records`.
    before: Vec<Before>,
    lives: Vec<LifeRecord>,
    durations: BTreeMap<(Phase, Phase), Durations>,
    warm_up: Durations,
    cool_down: Durations,
}

impl Transitions {
    /// A phase follows another.
    pub fn phase(&mut self, from: Phase, to: Phase, at_ms: i64, session: Option<&Arc<str>>, course: &Course) {
        if from != Phase::Loading {
            self.open = Some(Open {
                from,
                since_ms: at_ms,
                start: course.at(at_ms),
                before: Before {
                    window: course.between(at_ms - WINDOW_MS, at_ms),
                    rss_bytes: course.rss_before(at_ms),
                },
            });
        }
        if to == Phase::Loading {
            return;
        }
        let Some(open) = self.open.take() else { return };
        if open.from == to {
            return;
        }
        let took_ms = (at_ms - open.since_ms).max(0);
        self.durations.entry((open.from, to)).or_default().add(took_ms);
        keep(&mut self.before, open.before);
        keep(
            &mut self.records,
            Transition {
                session: session.cloned(),
                from: open.from,
                to,
                began_unix_ms: open.since_ms,
                took_ms,
                used: course.at(at_ms).since(&open.start),
                change: None,
            },
        );
    }

    /// A process has become ready, or has ended.
    pub fn life(&mut self, kind: LifeKind, span: &Span, ended_ms: i64, course: &Course) {
        let took_ms = ended_ms.saturating_sub(span.since_ms).max(0);
        match kind {
            LifeKind::WarmUp => self.warm_up.add(took_ms),
            LifeKind::CoolDown => self.cool_down.add(took_ms),
        }
        keep(
            &mut self.lives,
            LifeRecord {
                kind,
                began_unix_ms: span.since_ms,
                took_ms,
                used: span.used(ended_ms, course),
                // As of the next look, where there was none meanwhile.
                peak_rss_bytes: span.peak_rss_bytes.or_else(|| course.rss_at(ended_ms)),
            },
        );
    }

    /// The clock was set: everything happened so much later. What is recorded keeps its time, but for the newest, which
    /// still wait for what comes after them.
    pub fn shift(&mut self, by_ms: i64) {
        if let Some(open) = &mut self.open {
            open.since_ms = open.since_ms.saturating_add(by_ms);
        }
        for record in self.records.iter_mut().filter(|record| record.change.is_none()) {
            record.began_unix_ms = record.began_unix_ms.saturating_add(by_ms);
        }
    }

    /// Fills in what only later seconds show. Call once per interval.
    pub fn settle(&mut self, now_ms: i64, course: &Course) {
        for (record, before) in self.records.iter_mut().zip(&self.before).rev() {
            let end_ms = record.began_unix_ms + record.took_ms;
            if record.change.is_some() {
                break;
            }
            if now_ms >= end_ms + WINDOW_MS {
                record.change = Some(rate_change(before, end_ms, course));
            }
        }
    }

    /// The newest transitions, oldest first.
    pub fn records(&self) -> &[Transition] {
        &self.records
    }

    /// The newest starts and stops, oldest first.
    pub fn lives(&self) -> &[LifeRecord] {
        &self.lives
    }

    /// Durations by (from, to).
    pub fn durations(&self) -> impl Iterator<Item = ((Phase, Phase), &Durations)> {
        self.durations.iter().map(|(pair, durations)| (*pair, durations))
    }

    /// Durations of starts and of stops.
    pub fn life_durations(&self) -> [(LifeKind, &Durations); 2] {
        [
            (LifeKind::WarmUp, &self.warm_up),
            (LifeKind::CoolDown, &self.cool_down),
        ]
    }
}

fn keep<T>(records: &mut Vec<T>, record: T) {
    if records.len() == KEPT {
        records.remove(0);
    }
    records.push(record);
}

/// How it was before a transition: what was used in the window, and the memory.
#[derive(Clone, Copy, Debug, Default)]
struct Before {
    window: Resources,
    rss_bytes: Option<u64>,
}

fn rate_change(before: &Before, end_ms: i64, course: &Course) -> RateChange {
    let seconds = WINDOW_MS as f64 / 1e3;
    let (rss_before, before) = (before.rss_bytes, before.window);
    let after = course.between(end_ms, end_ms + WINDOW_MS);
    let rate = |of: fn(&Resources) -> Option<u64>| Some((of(&after)? as f64 - of(&before)? as f64) / seconds);
    let level = |bytes: Option<u64>| bytes.map(|bytes| bytes as f64);
    RateChange {
        cpu_cores: rate(|used| used.cpu_ns).map(|ns| ns / 1e9),
        rss_bytes: level(course.rss_at(end_ms + WINDOW_MS))
            .zip(level(rss_before))
            .map(|(after, before)| after - before),
        rx_bytes_per_second: rate(|used| used.rx_bytes),
        tx_bytes_per_second: rate(|used| used.tx_bytes),
        disk_bytes_per_second: rate(|used| Some(used.disk_read_bytes? + used.disk_write_bytes?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One core busy while loading (10 s to 13 s), a tenth of one afterwards, nothing before.
    fn course() -> Course {
        let mut course = Course::default();
        let mut cpu_ns = 0;
        for step in 0..300i64 {
            let ms = step * 100;
            cpu_ns += match ms {
                10_001..=13_000 => 100_000_000,
                13_001.. => 10_000_000,
                _ => 0,
            };
            course.push(Moment {
                unix_ms: ms,
                totals: Resources {
                    cpu_ns: Some(cpu_ns),
                    ..Resources::default()
                },
                rss_bytes: Some(if ms <= 10_000 { 100 } else { 300 }),
                peak_rss_bytes: (ms == 12_000).then_some(500),
            });
        }
        course
    }

    #[test]
    fn loading_is_the_transition_and_its_cost_is_what_was_used_meanwhile() {
        let course = course();
        let mut transitions = Transitions::default();
        transitions.phase(Phase::Lobby, Phase::Loading, 10_000, None, &course);
        assert!(transitions.records().is_empty());
        transitions.phase(Phase::Loading, Phase::Active, 13_000, None, &course);
        transitions.settle(14_000, &course);
        assert_eq!(transitions.records()[0].change, None, "there is no after yet");
        transitions.settle(20_000, &course);
        let [record] = transitions.records() else { panic!() };
        assert_eq!(
            (record.from, record.to, record.took_ms),
            (Phase::Lobby, Phase::Active, 3_000)
        );
        assert_eq!(record.used.cpu_ns, Some(3_000_000_000));
        let change = record.change.unwrap();
        assert!((change.cpu_cores.unwrap() - 0.1).abs() < 0.01, "{change:?}");
        assert_eq!(change.rss_bytes, Some(200.0));
        let (pair, durations) = transitions.durations().next().unwrap();
        assert_eq!(
            (pair, durations.count, durations.sum_ms),
            ((Phase::Lobby, Phase::Active), 1, 3_000)
        );
    }

    #[test]
    fn without_loading_a_transition_takes_no_time() {
        let mut transitions = Transitions::default();
        transitions.phase(Phase::Active, Phase::Ended, 5_000, None, &course());
        assert_eq!(transitions.records()[0].took_ms, 0);
    }

    #[test]
    fn starts_are_kept_with_their_peak() {
        let mut transitions = Transitions::default();
        let course = course();
        let mut span = Span::new(9_000, &course);
        for moment in course
            .moments()
            .filter(|moment| (9_001..=13_000).contains(&moment.unix_ms))
        {
            span.note(moment);
        }
        transitions.life(LifeKind::WarmUp, &span, 13_000, &course);
        let [record] = transitions.lives() else { panic!() };
        assert_eq!((record.took_ms, record.peak_rss_bytes), (4_000, Some(500)));
        assert_eq!(record.used.cpu_ns, Some(3_000_000_000));
        assert_eq!(transitions.life_durations()[0].1.buckets[6], 1);
    }
}
