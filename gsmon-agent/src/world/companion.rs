//! Companion processes (anti-cheat, voice, a sidecar): measured like a server, shown as a share of the server that they
//! stand beside.

use super::{
    model::{Interval, ServerModel},
    snapshot::{CompanionSnapshot, CountingPoints, Endpoint, ServerSnapshot, ServerTotals},
};
use crate::config::{Companion, Game, GameServer};

/// One companion over time.
pub struct CompanionModel {
    /// Name of its server.
    pub server: String,
    /// From the configuration.
    pub spec: Companion,
    /// What is measured.
    pub measured: ServerModel,
}

impl CompanionModel {
    /// Nothing is known yet.
    pub fn new(server: &GameServer, spec: Companion, unix_ms: i64) -> Self {
        Self {
            server: server.name.clone(),
            measured: ServerModel::new(Self::search(&spec), unix_ms),
            spec,
        }
    }

    /// What discovery looks for.
    pub fn search(spec: &Companion) -> GameServer {
        let mut search = GameServer::new(&spec.name, Game::Custom);
        search.executable.clone_from(&spec.executable);
        search.command_line.clone_from(&spec.command_line);
        search
    }

    /// Processes as discovery sees them now.
    pub fn found(&mut self, pids: &[u32], endpoints: Vec<Endpoint>) {
        self.measured
            .found(pids, None, endpoints, CountingPoints::default());
    }

    /// Adds an interval and makes the picture beside its server's.
    pub fn advance(&mut self, interval: &Interval<'_>, server: &ServerSnapshot) -> CompanionSnapshot {
        let own = self.measured.advance(interval);
        let share = |own: Option<f64>, server: Option<f64>| {
            let own = own?;
            let whole = own + server.unwrap_or(0.0);
            (whole > 0.0).then(|| own / whole)
        };
        let disk = |totals: &ServerTotals| Some((totals.disk_read_bytes? + totals.disk_write_bytes?) as f64);
        CompanionSnapshot {
            name: self.spec.name.clone(),
            cpu_share_ratio: share(own.rates.cpu_cores, server.rates.cpu_cores),
            rss_share_ratio: share(
                own.rates.rss_bytes.map(|bytes| bytes as f64),
                server.rates.rss_bytes.map(|bytes| bytes as f64),
            ),
            disk_share_ratio: share(disk(&own.totals), disk(&server.totals)),
            pids: own.pids,
            totals: own.totals,
            rates: own.rates,
        }
    }
}
