//! What happened, out of counters and gauges as they were scraped: joins, leaves, phases, actions, starts, how many
//! sessions began and ended, and single sessions where agents export series of them. To the scrape: an event has the time
//! of the first scrape that shows it. A counter that fell is an agent that was started anew: what happened around it is not
//! known. Pure but for the asking at the end. Not here: frames (`frames`).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    CHUNK_MS, Known, LONGEST_RAW_MS, PrometheusError, PrometheusSource,
    answer::{Row, Sample},
    no_longer_than,
    table::{ACTIONS, PHASES, STARTS, UP},
};
use crate::{
    history::{
        events::{Event, EventKind},
        source::{Absent, StoredSession, TimeRange},
    },
    world::session::{phase, resources::Resources},
};

/// Before the first scrape of a range, another is looked for so far back.
const BEFORE_MS: i64 = super::BEFORE_MS;
const PLAYER_EVENTS: &str = "gsmon_server_player_events_total";
const SESSIONS: &str = "gsmon_server_sessions_total";
const SESSION_PLAYERS: &str = "gsmon_session_players";
const SESSION_PEAK: &str = "gsmon_session_peak_resident_memory_bytes";

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

/// What sessions out of metrics never have.
pub const ABSENT_SESSIONS: &[Absent] = &[
    Absent {
        what: "sessions that began and ended between two scrapes",
        why: "nobody saw their series",
    },
    Absent {
        what: "external id, room, map, mode, phase, joins, leaves and whether CPU is an estimate",
        why: "they are no labels of a session's series",
    },
    Absent {
        what: "page faults, waiting and system calls of a session",
        why: "sessions have no such series",
    },
];

/// Series by name and the one label that tells them apart, each once, however often it was scraped.
type Series = BTreeMap<(String, String), Vec<Sample>>;

fn series(rows: Vec<Row>) -> Series {
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

fn get<'a>(all: &'a Series, name: &str) -> &'a [Sample] {
    let found = all.get(&(name.to_owned(), String::new()));
    found.map_or(&[][..], Vec::as_slice)
}

fn at(samples: &[Sample], unix_ms: i64) -> Option<f64> {
    let index = samples
        .binary_search_by_key(&unix_ms, |sample| sample.unix_ms)
        .ok()?;
    Some(samples[index].value).filter(|value| value.is_finite())
}

fn of_metric<'a>(all: &'a Series, metric: &'a str) -> impl Iterator<Item = (&'a str, &'a [Sample])> {
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

/// A session as its series tell of it, across the chunks that are asked for.
#[derive(Clone, Debug)]
struct Session {
    first_ms: i64,
    last_ms: i64,
    players_peak: f64,
    peak_rss_bytes: Option<f64>,
    used: BTreeMap<&'static str, f64>,
}

/// Counters of a session, by metric, and what tells two series of it apart.
const USED: [(&str, &str, &str); 7] = [
    ("gsmon_session_cpu_seconds_total", "", "cpu"),
    ("gsmon_session_packets_total", "receive", "rx_packets"),
    ("gsmon_session_packets_total", "transmit", "tx_packets"),
    ("gsmon_session_network_bytes_total", "receive", "rx_bytes"),
    ("gsmon_session_network_bytes_total", "transmit", "tx_bytes"),
    ("gsmon_session_disk_bytes_total", "read", "disk_read"),
    ("gsmon_session_disk_bytes_total", "write", "disk_write"),
];

/// Sessions of one server.
#[derive(Debug, Default)]
struct Sessions {
    found: BTreeMap<String, Session>,
    /// Times at which the agent was asked.
    asked: BTreeSet<i64>,
    /// Were there sessions at all, by the server's own count?
    ran: bool,
}

impl Sessions {
    fn look(&mut self, all: &Series) {
        self.asked
            .extend(get(all, UP.metric).iter().map(|sample| sample.unix_ms));
        self.ran |=
            of_metric(all, PHASES.metric).any(|(_, samples)| samples.iter().any(|sample| sample.value > 0.0));
        for (key, samples) in of_metric(all, SESSION_PLAYERS) {
            let id = key.split('\n').next().unwrap_or_default();
            let (Some(first), Some(last)) = (samples.first(), samples.last()) else {
                continue;
            };
            let session = self.found.entry(id.to_owned()).or_insert_with(|| Session {
                first_ms: first.unix_ms,
                last_ms: last.unix_ms,
                players_peak: 0.0,
                peak_rss_bytes: None,
                used: BTreeMap::new(),
            });
            session.first_ms = session.first_ms.min(first.unix_ms);
            session.last_ms = session.last_ms.max(last.unix_ms);
            let most = samples.iter().map(|sample| sample.value);
            session.players_peak = most.fold(session.players_peak, f64::max);
        }
        for (id, session) in &mut self.found {
            let newest = |metric: &str, of: &str| {
                let samples = all.get(&(metric.to_owned(), format!("{id}\n{of}")))?;
                samples
                    .last()
                    .map(|sample| sample.value)
                    .filter(|value| value.is_finite())
            };
            for (metric, of, name) in USED {
                if let Some(value) = newest(metric, of) {
                    session.used.insert(name, value);
                }
            }
            session.peak_rss_bytes = newest(SESSION_PEAK, "").or(session.peak_rss_bytes);
        }
    }

    /// Those that were there within a range.
    fn stored(self, server: &str, range: TimeRange) -> Vec<StoredSession> {
        let server: Arc<str> = server.into();
        let whole = |value: f64| value.round().max(0.0) as u64;
        let sessions = self.found.into_iter().map(|(id, session)| {
            let used = |name: &str| session.used.get(name).copied();
            // The first time that the agent was asked and had it no more.
            let without = self.asked.range(session.last_ms + 1..).next().copied();
            StoredSession {
                server: server.clone(),
                id,
                external_id: None,
                room: None,
                map: None,
                mode: None,
                phase: None,
                begun_unix_ms: session.first_ms,
                ended_unix_ms: without,
                players_peak: whole(session.players_peak).try_into().unwrap_or(u32::MAX),
                joins: None,
                leaves: None,
                cpu_basis: None,
                used: Resources {
                    cpu_ns: used("cpu").map(|seconds| whole(seconds * 1e9)),
                    rx_packets: used("rx_packets").map(whole),
                    tx_packets: used("tx_packets").map(whole),
                    rx_bytes: used("rx_bytes").map(whole),
                    tx_bytes: used("tx_bytes").map(whole),
                    disk_read_bytes: used("disk_read").map(whole),
                    disk_write_bytes: used("disk_write").map(whole),
                    ..Resources::default()
                },
                peak_rss_bytes: session.peak_rss_bytes.map(whole),
            }
        });
        let mut sessions: Vec<StoredSession> = sessions
            .filter(|session| range.touches(session.begun_unix_ms, session.ended_unix_ms.unwrap_or(i64::MAX)))
            .collect();
        sessions.sort_by(|a, b| (a.begun_unix_ms, &a.id).cmp(&(b.begun_unix_ms, &b.id)));
        sessions
    }
}

impl PrometheusSource {
    /// Hands over series of these metrics of one server, hour by hour, with the time after which they are new.
    fn hours(
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

    /// Sessions of one server.
    pub(super) fn ran(
        &self,
        server: &Known,
        range: TimeRange,
    ) -> Result<Vec<StoredSession>, PrometheusError> {
        let metrics = format!("{}|{}|gsmon_session_.+", UP.metric, PHASES.metric);
        let mut sessions = Sessions::default();
        self.hours(server, range, &metrics, &mut |all, _| sessions.look(all))?;
        match sessions.found.is_empty() && sessions.ran {
            true => Err(PrometheusError::NoSessionSeries {
                server: server.name(),
            }),
            false => Ok(sessions.stored(&server.name(), range)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A scrape a second; NaN where the series is not there.
    fn row(name: &str, label: (&str, &str), values: &[f64]) -> Row {
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

    const NOT: f64 = f64::NAN;

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

    #[test]
    fn sessions_are_as_long_as_their_series() {
        let of = |values: &[f64], metric: &str, more: Option<(&str, &str)>| {
            let mut row = row(metric, ("session", "7-1"), values);
            if let Some((label, value)) = more {
                row.labels.insert(label.into(), value.into());
            }
            row
        };
        let rows = vec![
            row(UP.metric, ("x", ""), &[1.0; 5]),
            of(&[NOT, 2.0, 5.0, 3.0, NOT], SESSION_PLAYERS, None),
            of(
                &[NOT, 0.1, 0.2, 0.5, NOT],
                "gsmon_session_cpu_seconds_total",
                None,
            ),
            of(
                &[NOT, 10.0, 20.0, 30.0, NOT],
                "gsmon_session_packets_total",
                Some(("direction", "receive")),
            ),
        ];
        let mut sessions = Sessions::default();
        sessions.look(&series(rows));
        let found = sessions.stored("h/arena", TimeRange::ALL);
        assert_eq!(found.len(), 1);
        let session = &found[0];
        assert_eq!((&*session.id, session.players_peak), ("7-1", 5));
        assert_eq!(
            (session.begun_unix_ms, session.ended_unix_ms),
            (1_000, Some(4_000))
        );
        assert_eq!(
            (session.used.cpu_ns, session.used.rx_packets),
            (Some(500_000_000), Some(30))
        );
        assert_eq!(
            (session.joins, session.used.tx_packets, session.peak_rss_bytes),
            (None, None, None)
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
