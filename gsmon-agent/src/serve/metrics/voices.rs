//! How each server is listened to: its log, its query, and how sure it is that a found server is one.

use super::Page;
use crate::{games::query::OwnReason, world::snapshot::Snapshot};

impl Page {
    pub(super) fn voices(&self, s: &Snapshot) -> Result<(), prometheus::Error> {
        self.server_counters(
            s,
            "gsmon_server_log_lines_total",
            "Lines of the server's log; kind overlong: only the beginning was read, invalid: not wholly text.",
            "kind",
            |server| {
                let log = server.log.as_ref();
                [
                    ("all", log.map(|log| log.lines as f64)),
                    ("overlong", log.map(|log| log.overlong as f64)),
                    ("invalid", log.map(|log| log.invalid as f64)),
                ]
            },
        )?;
        self.server_counters(
            s,
            "gsmon_server_log_events_total",
            "Events that the log told, by what became of them.",
            "outcome",
            |server| {
                let log = server.log.as_ref();
                [
                    ("taken", log.map(|log| log.events as f64)),
                    ("lost", log.map(|log| log.lost as f64)),
                ]
            },
        )?;
        self.server_counter(
            s,
            "gsmon_server_log_restarts_total",
            "Rotations, truncations and re-creations of the log.",
            |server| server.log.as_ref().map(|log| log.restarts as f64),
        )?;
        self.server_gauge(
            s,
            "gsmon_server_log_lag_bytes",
            "Bytes of the log that are there and not read yet.",
            |server| Some(server.log.as_ref()?.lag_bytes? as f64),
        )?;
        let asked = self.counter(
            "gsmon_server_queries_total",
            "Questions to the server, by result: answered, lost, or the sort of failure.",
            &["server", "result"],
        )?;
        for server in &s.servers {
            let Some(query) = &server.query else { continue };
            let results = [("answered", query.answered), ("lost", query.lost)];
            let failures = query.failed.iter().map(|(kind, count)| (kind.as_str(), *count));
            for (result, count) in results.into_iter().chain(failures) {
                asked
                    .with_label_values(&[server.name.as_str(), result])
                    .inc_by(count as f64);
            }
        }
        let readers = self.gauge(
            "gsmon_server_query_reader_info",
            "1 for who read the last answer to a query, and why gsmon did so itself.",
            &["server", "reader", "reason"],
        )?;
        for server in &s.servers {
            if let Some(query) = &server.query
                && let Some(reader) = query.read_by
            {
                let reason = query.read_by_reason.map_or("", OwnReason::label);
                readers
                    .with_label_values(&[server.name.as_str(), reader.label(), reason])
                    .set(1.0);
            }
        }
        self.server_gauge(
            s,
            "gsmon_server_query_round_trip_seconds",
            "Round trip of the last answer to a query.",
            |server| server.query.as_ref()?.round_trip_seconds,
        )?;
        self.server_gauge(
            s,
            "gsmon_server_discovery_confidence_ratio",
            "How sure it is that a server that nobody configured is one, 0 to 1.",
            |server| Some(server.discovered.as_ref()?.confidence),
        )
    }
}
