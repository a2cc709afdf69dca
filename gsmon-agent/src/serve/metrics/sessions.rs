//! Series of each running session, where the configuration asks for them. A session that has ended has none any more,
//! and there are never more than the configuration allows: the oldest sessions keep theirs, so that none comes and goes.

use super::{Page, float, seconds};
use crate::{
    config::{MetricsSettings, SessionSeries},
    world::{session::picture::SessionSnapshot, snapshot::Snapshot},
};

impl Page {
    pub(super) fn sessions(
        &self,
        snapshot: &Snapshot,
        settings: &MetricsSettings,
    ) -> Result<(), prometheus::Error> {
        if settings.sessions == SessionSeries::Off {
            return Ok(());
        }
        let mut running: Vec<(&str, &SessionSnapshot)> = snapshot
            .servers
            .iter()
            .flat_map(|server| {
                let sessions = server.game_state.sessions.iter();
                sessions.map(|session| (server.name.as_str(), session))
            })
            .collect();
        running.sort_by_key(|(_, session)| session.begun_unix_ms);
        let most = settings.most_sessions as usize;
        let left_out = running.len().saturating_sub(most);
        running.truncate(most);
        self.gauge(
            "gsmon_agent_sessions_without_series",
            "Running sessions that have no series of their own, since there are more than metrics.most_sessions.",
            &[],
        )?
        .with_label_values::<&str>(&[])
        .set(left_out as f64);
        self.used(&running)?;
        self.now(&running)
    }

    fn used(&self, running: &[(&str, &SessionSnapshot)]) -> Result<(), prometheus::Error> {
        let labels = &["server", "session"];
        let cpu = self.counter(
            "gsmon_session_cpu_seconds_total",
            "CPU time of the session; gsmon_session_cpu_estimated says where it is a share.",
            labels,
        )?;
        let with = |label| ["server", "session", label];
        let packets = self.counter(
            "gsmon_session_packets_total",
            "UDP datagrams and TCP segments of the session.",
            &with("direction"),
        )?;
        let bytes = self.counter(
            "gsmon_session_network_bytes_total",
            "IP-layer bytes of the session.",
            &with("direction"),
        )?;
        let disk = self.counter(
            "gsmon_session_disk_bytes_total",
            "Bytes fetched from or sent to storage in the session.",
            &with("operation"),
        )?;
        for (server, session) in running {
            let used = &session.used;
            let id = &*session.id;
            if let Some(value) = seconds(used.cpu_ns) {
                cpu.with_label_values(&[*server, id]).inc_by(value);
            }
            for (family, kind, value) in [
                (&packets, "receive", used.rx_packets),
                (&packets, "transmit", used.tx_packets),
                (&bytes, "receive", used.rx_bytes),
                (&bytes, "transmit", used.tx_bytes),
                (&disk, "read", used.disk_read_bytes),
                (&disk, "write", used.disk_write_bytes),
            ] {
                if let Some(value) = float(value) {
                    family.with_label_values(&[*server, id, kind]).inc_by(value);
                }
            }
        }
        Ok(())
    }

    fn now(&self, running: &[(&str, &SessionSnapshot)]) -> Result<(), prometheus::Error> {
        let labels = &["server", "session"];
        let estimated = self.gauge(
            "gsmon_session_cpu_estimated",
            "1 where the session's CPU is a share of its process by players and traffic, else 0.",
            labels,
        )?;
        let players = self.gauge("gsmon_session_players", "Players in the session.", labels)?;
        let peak = self.gauge(
            "gsmon_session_peak_resident_memory_bytes",
            "Largest resident memory of the process while the session ran.",
            labels,
        )?;
        for (server, session) in running {
            let values = &[*server, &*session.id];
            estimated
                .with_label_values(values)
                .set(f64::from(u8::from(session.cpu_is_estimated())));
            players.with_label_values(values).set(f64::from(session.players));
            if let Some(bytes) = float(session.peak_rss_bytes) {
                peak.with_label_values(values).set(bytes);
            }
        }
        Ok(())
    }
}
