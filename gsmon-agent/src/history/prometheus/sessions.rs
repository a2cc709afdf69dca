//! Sessions out of the series that agents export of each, where their configuration says so: as long as the series is there,
//! to the scrape. Pure but for the asking at the end. Not here: how many began and ended (`happened`).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    Known, PrometheusError, PrometheusSource,
    happened::{Series, get, of_metric},
    table::{PHASES, UP},
};
use crate::{
    history::source::{Absent, StoredSession, TimeRange},
    world::session::resources::Resources,
};

const SESSION_PLAYERS: &str = "gsmon_session_players";
const SESSION_PEAK: &str = "gsmon_session_peak_resident_memory_bytes";

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
    use super::{
        super::happened::{
            series,
            tests::{NOT, row},
        },
        *,
    };

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
}
