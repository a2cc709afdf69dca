//! What happened, out of counters and gauges as they were scraped: joins, leaves, phases, actions, starts, and how many
//! sessions began and ended. To the scrape: an event has the time
//! of the first scrape that shows it. A counter that fell is an agent that was started anew: what happened around it is not
//! known. Pure but for the asking at the end. Not here: frames (`frames`), single sessions
//! (`sessions`).

use std::{collections::BTreeMap, sync::Arc};

use super::{
    CHUNK_MS, Known, LONGEST_RAW_MS, PrometheusError, PrometheusSource,
    answer::{Row, Sample},
    no_longer_than,
    table::{ACTIONS, PHASES, STARTS, UP},
};
use crate::{
    history::{
        events::{Event, EventKind},
        source::{Absent, TimeRange},
    },
    world::session::phase,
};

/// Before the first scrape of a range, another is looked for so far back.
const BEFORE_MS: i64 = super::BEFORE_MS;
const PLAYER_EVENTS: &str = "gsmon_server_player_events_total";
const SESSIONS: &str = "gsmon_server_sessions_total";

/// What events out of metrics never have.
pub const ABSENT_EVENTS: &[Absent] = &[
    Absent {
        what: "marks",
        why: "they are told to the agent of a host, and are no metric",
    },
    Absent {
        what: "updates",
        why: "a changed executable is no metric: only the start is seen",
    },
    Absent {
        what: "ids of sessions that began or ended",
        why: "servers count them; `history sessions` has those with series of their own",
    },
    Absent {
        what: "times within a scrape interval",
        why: "an event has the time of the first scrape that shows it",
    },
];

/// Series by name and the one label that tells them apart, each once, however often it was scraped.
pub(super) type Series = BTreeMap<(String, String), Vec<Sample>>;

pub(super) fn series(rows: Vec<Row>) -> Series {
    let mut all = Series::new();
    for mut row in rows {
        let name = row.label("__name__").to_owned();
        let label = match name.as_str() {
            PLAYER_EVENTS => row.label("kind").to_owned(),
            _ if name == ACTIONS.metric => row.label("action").to_owned(),
            _ if name == PHASES.metric => row.label("phase").to_owned(),
            _ if name.starts_with("gsmon_session_") => {
                let of = ["direction", "operation"].map(|label| row.label(label).to_owned());
                format!("{}\n{}", row.label("session"), of.concat())
            }
            _ => String::new(),
        };
        let mut samples = std::mem::take(&mut row.samples);
        // VictoriaMetrics hands out the mark of a series that has ended.
        samples.retain(|sample| sample.value.is_finite());
        let kept = all.entry((name, label)).or_default();
        // Two jobs that scrape one agent: the one that was there more often.
        if samples.len() > kept.len() {
            *kept = samples;
        }
    }
    all
}

pub(super) fn get<'a>(all: &'a Series, name: &str) -> &'a [Sample] {
    let found = all.get(&(name.to_owned(), String::new()));
    found.map_or(&[][..], Vec::as_slice)
}

fn at(samples: &[Sample], unix_ms: i64) -> Option<f64> {
    let index = samples
        .binary_search_by_key(&unix_ms, |sample| sample.unix_ms)
        .ok()?;
    Some(samples[index].value).filter(|value| value.is_finite())
}

pub(super) fn of_metric<'a>(
    all: &'a Series,
    metric: &'a str,
) -> impl Iterator<Item = (&'a str, &'a [Sample])> {
    let named = all.iter().filter(move |((name, _), _)| name == metric);
    named.map(|((_, label), samples)| (label.as_str(), samples.as_slice()))
}

/// Events by time and sort, added up where several series tell of the same.
#[derive(Default)]
struct Found(BTreeMap<(i64, u8, Option<String>), (EventKind, f64)>);

impl Found {
    fn add(&mut self, unix_ms: i64, kind: EventKind, word: Option<&str>, times: f64) {
        let key = (unix_ms, kind as u8, word.map(str::to_owned));
        self.0.entry(key).or_insert((kind, 0.0)).1 += times;
    }

    /// What a counter grew by between scrapes that follow each other.
    fn counted(&mut self, samples: &[Sample], after_ms: i64, kind: EventKind, word: Option<&str>) {
        for pair in samples.windows(2) {
            let growth = pair[1].value - pair[0].value;
            if pair[1].unix_ms > after_ms && growth >= 1.0 && growth.is_finite() {
                self.add(pair[1].unix_ms, kind, word, growth);
            }
        }
    }
}

/// What happened after a time.
fn events(all: &Series, server: &str, after_ms: i64) -> Vec<Event> {
    let mut found = Found::default();
    let starts = get(all, STARTS.metric);
    found.counted(starts, after_ms, EventKind::Start, None);
    for (kind, samples) in of_metric(all, PLAYER_EVENTS) {
        let kind = match kind {
            "join" | "inferred_join" => EventKind::Join,
            "leave" | "inferred_leave" => EventKind::Leave,
            _ => continue,
        };
        found.counted(samples, after_ms, kind, None);
    }
    for (action, samples) in of_metric(all, ACTIONS.metric) {
        found.counted(samples, after_ms, EventKind::Action, Some(action));
        // An agent shows an action once it has happened: where it was asked before and not started since, it began at zero.
        let Some(first) = samples.first().filter(|first| first.unix_ms > after_ms) else {
            continue;
        };
        let before = starts.iter().rev().find(|sample| sample.unix_ms < first.unix_ms);
        let now = at(starts, first.unix_ms);
        if before.zip(now).is_some_and(|(before, now)| now >= before.value) && first.value >= 1.0 {
            found.add(first.unix_ms, EventKind::Action, Some(action), first.value);
        }
    }
    let running = |unix_ms: i64| -> f64 {
        of_metric(all, PHASES.metric)
            .filter_map(|(_, samples)| at(samples, unix_ms))
            .sum()
    };
    let begun = get(all, SESSIONS);
    found.counted(begun, after_ms, EventKind::SessionBegun, None);
    for pair in begun.windows(2).filter(|pair| pair[1].unix_ms > after_ms) {
        let growth = pair[1].value - pair[0].value;
        let ended = running(pair[0].unix_ms) + growth - running(pair[1].unix_ms);
        if growth >= 0.0 && ended >= 1.0 {
            found.add(pair[1].unix_ms, EventKind::SessionEnded, None, ended);
        }
    }
    let mut last = None;
    for sample in get(all, UP.metric) {
        // The phase that all running sessions are in.
        let mut there = of_metric(all, PHASES.metric)
            .filter(|(_, samples)| at(samples, sample.unix_ms).is_some_and(|count| count > 0.0));
        let (Some((phase, _)), None) = (there.next(), there.next()) else {
            continue;
        };
        if last.is_some_and(|last| last != phase) && sample.unix_ms > after_ms {
            found.add(sample.unix_ms, EventKind::Phase, Some(phase), 1.0);
        }
        last = Some(phase);
    }
    let server: Arc<str> = server.into();
    let events = found
        .0
        .into_iter()
        .map(|((unix_ms, _, word), (kind, times))| Event {
            server: server.clone(),
            unix_ms,
            kind,
            word: word.map(Into::into),
            times: times.round().clamp(1.0, f64::from(u32::MAX)) as u32,
        });
    // Phases that this gsmon does not know are another's.
    events
        .filter(|event| {
            event.kind != EventKind::Phase
                || event
                    .word
                    .as_deref()
                    .is_some_and(|word| phase::named(word).is_some())
        })
        .collect()
}

impl PrometheusSource {
    /// Hands over series of these metrics of one server, hour by hour, with the time after which they are new.
    pub(super) fn hours(
        &self,
        server: &Known,
        range: TimeRange,
        metrics: &str,
        take: &mut dyn FnMut(&Series, i64),
    ) -> Result<(), PrometheusError> {
        no_longer_than(range, LONGEST_RAW_MS, "samples", "ask for less time")?;
        let own = format!(
            "{{__name__=~\"{metrics}\",{},{}}}",
            server.host_matcher(),
            server.server_matcher()
        );
        let mut from_ms = range.from_unix_ms;
        while from_ms < range.to_unix_ms {
            let to_ms = (from_ms + CHUNK_MS).min(range.to_unix_ms);
            let window_seconds = (to_ms - from_ms + BEFORE_MS) / 1_000 + 1;
            let rows = self.instant(format!("{own}[{window_seconds}s]"), to_ms)?;
            take(
                &series(rows),
                if from_ms == range.from_unix_ms {
                    from_ms - 1
                } else {
                    from_ms
                },
            );
            from_ms = to_ms;
        }
        Ok(())
    }

    /// What happened on one server.
    pub(super) fn happened(&self, server: &Known, range: TimeRange) -> Result<Vec<Event>, PrometheusError> {
        let metrics = [
            UP.metric,
            STARTS.metric,
            PHASES.metric,
            ACTIONS.metric,
            PLAYER_EVENTS,
            SESSIONS,
        ]
        .join("|");
        let (name, mut told) = (server.name(), Vec::new());
        self.hours(server, range, &metrics, &mut |all, after_ms| {
            told.extend(events(all, &name, after_ms));
        })?;
        Ok(told)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A scrape a second; NaN where the series is not there.
    pub fn row(name: &str, label: (&str, &str), values: &[f64]) -> Row {
        let mut labels = super::super::answer::Labels::new();
        labels.insert("__name__".into(), name.into());
        labels.insert(label.0.into(), label.1.into());
        let there = values.iter().enumerate().filter(|(_, value)| !value.is_nan());
        Row {
            labels,
            samples: there
                .map(|(second, value)| Sample {
                    unix_ms: second as i64 * 1_000,
                    value: *value,
                })
                .collect(),
        }
    }

    /// Not there.
    pub const NOT: f64 = f64::NAN;

    fn told(rows: Vec<Row>, after_ms: i64) -> Vec<(i64, EventKind, Option<String>, u32)> {
        events(&series(rows), "h/arena", after_ms)
            .into_iter()
            .map(|event| {
                (
                    event.unix_ms / 1_000,
                    event.kind,
                    event.word.map(|word| word.to_string()),
                    event.times,
                )
            })
            .collect()
    }

    #[test]
    fn counters_become_events_and_a_counter_that_fell_does_not() {
        let rows = vec![
            row(UP.metric, ("x", ""), &[1.0; 6]),
            row(STARTS.metric, ("x", ""), &[1.0, 1.0, 2.0, 2.0, 1.0, 1.0]),
            row(PLAYER_EVENTS, ("kind", "join"), &[3.0, 5.0, 5.0, 6.0, 0.0, 1.0]),
            row(
                PLAYER_EVENTS,
                ("kind", "inferred_join"),
                &[0.0, 1.0, 1.0, 1.0, 0.0, 0.0],
            ),
            row(
                PLAYER_EVENTS,
                ("kind", "repeated_join"),
                &[0.0, 9.0, 9.0, 9.0, 9.0, 9.0],
            ),
            row(PLAYER_EVENTS, ("kind", "leave"), &[0.0, 0.0, 0.0, 2.0, 0.0, 0.0]),
            // One from the beginning on, one that has happened for the first time, one that came with another agent.
            row(ACTIONS.metric, ("action", "dig"), &[4.0, 4.0, 7.0, 7.0, NOT, NOT]),
            row(
                ACTIONS.metric,
                ("action", "kill"),
                &[NOT, NOT, NOT, 2.0, NOT, NOT],
            ),
            row(ACTIONS.metric, ("action", "say"), &[NOT, NOT, NOT, NOT, 5.0, 5.0]),
        ];
        let (dig, kill) = (Some("dig".to_owned()), Some("kill".to_owned()));
        let all = [
            (1, EventKind::Join, None, 3),
            (2, EventKind::Action, dig, 3),
            (2, EventKind::Start, None, 1),
            (3, EventKind::Join, None, 1),
            (3, EventKind::Leave, None, 2),
            (3, EventKind::Action, kill, 2),
            (5, EventKind::Join, None, 1),
        ];
        let mut found = told(rows.clone(), -1);
        found.sort_by_key(|event| (event.0, event.3, event.1));
        let mut wanted = all.to_vec();
        wanted.sort_by_key(|event| (event.0, event.3, event.1));
        assert_eq!(found, wanted);
        // A chunk tells only what is new in it.
        assert!(told(rows, 3_000).iter().all(|event| event.0 > 3));
    }

    #[test]
    fn sessions_and_phases_come_out_of_how_many_run() {
        let rows = vec![
            row(UP.metric, ("x", ""), &[1.0; 5]),
            row(SESSIONS, ("x", ""), &[1.0, 2.0, 2.0, 3.0, 3.0]),
            row(PHASES.metric, ("phase", "lobby"), &[1.0, 0.0, 0.0, 1.0, 0.0]),
            row(PHASES.metric, ("phase", "active"), &[0.0, 2.0, 1.0, 1.0, 0.0]),
        ];
        let active = Some("active".to_owned());
        let mut found = told(rows, -1);
        found.sort_by_key(|event| (event.0, event.1));
        assert_eq!(
            found,
            [
                (1, EventKind::Phase, active, 1),
                (1, EventKind::SessionBegun, None, 1),
                (2, EventKind::SessionEnded, None, 1),
                (3, EventKind::SessionBegun, None, 1),
                (4, EventKind::SessionEnded, None, 2),
            ]
        );
    }

    proptest! {
        /// Whatever is scraped, events lie in their chunk and count at least one.
        #[test]
        fn any_series_are_events(
            values in prop::collection::vec(prop::collection::vec(prop::num::f64::ANY, 0..8), 6),
            after_ms in -1i64..6_000,
        ) {
            let rows = vec![
                row(UP.metric, ("x", ""), &values[0]),
                row(STARTS.metric, ("x", ""), &values[1]),
                row(SESSIONS, ("x", ""), &values[2]),
                row(PHASES.metric, ("phase", "active"), &values[3]),
                row(ACTIONS.metric, ("action", "dig"), &values[4]),
                row(PLAYER_EVENTS, ("kind", "join"), &values[5]),
            ];
            for event in events(&series(rows), "h/arena", after_ms) {
                prop_assert!(event.unix_ms > after_ms && event.times >= 1);
            }
        }
    }
}
