//! Servers that nobody configured: what automatic discovery finds joins what is configured, and stays for a while after
//! it has ended, so that its last session can be read.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use crate::{
    config::{Config, DiscoverySettings, GameServer},
    games::voices,
    host::{AutoDiscovery, BoundSocket, Candidate, ProcessTable},
    world::snapshot::DiscoveredSnapshot,
};

/// How long a server that has ended stays in the list.
const KEPT: Duration = Duration::from_secs(600);

struct Found {
    server: GameServer,
    about: DiscoveredSnapshot,
    gone_since: Option<Instant>,
}

/// What automatic discovery has found.
#[derive(Default)]
pub struct FoundServers {
    search: Option<(AutoDiscovery, DiscoverySettings)>,
    found: Vec<Found>,
}

impl FoundServers {
    /// Looks again, if it is to look at all. Returns whether the list of servers has changed.
    pub fn update(
        &mut self,
        config: &Config,
        configured_pids: &HashSet<u32>,
        processes: &ProcessTable,
        sockets: &[BoundSocket],
    ) -> bool {
        if !config.discovery.is_on(config.servers.len()) {
            self.search = None;
            let had = !self.found.is_empty();
            self.found.clear();
            return had;
        }
        if self
            .search
            .as_ref()
            .is_none_or(|(_, settings)| *settings != config.discovery)
        {
            let search = AutoDiscovery::new(config.discovery.least_confidence);
            self.search = Some((search, config.discovery));
        }
        let Some((search, _)) = &mut self.search else {
            return false;
        };
        let configured: HashSet<&str> = config.servers.iter().map(|server| server.name.as_str()).collect();
        let room = (config.limits.servers as usize).saturating_sub(config.servers.len());
        let candidates: Vec<&Candidate> = search
            .update(processes, sockets)
            .iter()
            .filter(|candidate| !configured_pids.contains(&candidate.pid))
            .filter(|candidate| !configured.contains(candidate.name.as_str()))
            .take(room)
            .collect();
        let mut changed = false;
        for candidate in &candidates {
            let server = listenable(candidate.to_game_server());
            let about = about(candidate);
            match self
                .found
                .iter_mut()
                .find(|found| found.server.name == server.name)
            {
                Some(found) => {
                    changed |= found.server != server;
                    *found = Found {
                        server,
                        about,
                        gone_since: None,
                    };
                }
                None => {
                    tracing::info!(
                        server = server.name,
                        title = about.title,
                        confidence = about.confidence,
                        "found a game server"
                    );
                    changed = true;
                    self.found.push(Found {
                        server,
                        about,
                        gone_since: None,
                    });
                }
            }
        }
        let now = Instant::now();
        let names: HashSet<&str> = candidates
            .iter()
            .map(|candidate| candidate.name.as_str())
            .collect();
        let before = self.found.len();
        self.found.retain_mut(|found| {
            if names.contains(found.server.name.as_str()) {
                return true;
            }
            now.duration_since(*found.gone_since.get_or_insert(now)) < KEPT
        });
        changed || self.found.len() != before
    }

    /// A server has answered the query of its game: what it is, is certain.
    pub fn confirm(&mut self, server: &str) {
        let game = self
            .found
            .iter()
            .find(|found| found.server.name == server)
            .map(|found| found.server.game);
        if let (Some((search, _)), Some(game)) = (&mut self.search, game) {
            search.confirm(server, game);
        }
    }

    /// The servers found, as entries of a configuration.
    pub fn servers(&self) -> impl Iterator<Item = &GameServer> {
        self.found.iter().map(|found| &found.server)
    }

    /// How a server was found; `None` for configured ones.
    pub fn about(&self, server: &str) -> Option<&DiscoveredSnapshot> {
        self.found
            .iter()
            .find(|found| found.server.name == server)
            .map(|found| &found.about)
    }
}

/// Without its log, where nothing can read it.
fn listenable(mut server: GameServer) -> GameServer {
    if voices::check(std::slice::from_ref(&server)).is_err() {
        server.log = None;
    }
    server
}

fn about(candidate: &Candidate) -> DiscoveredSnapshot {
    DiscoveredSnapshot {
        title: candidate.recognised.title.to_owned(),
        confidence: candidate.recognised.confidence,
        reasons: candidate
            .recognised
            .reasons
            .iter()
            .map(|reason| reason.to_string())
            .collect(),
        container: candidate.container.as_ref().map(|container| container.id.clone()),
        managed_by: candidate
            .hosting
            .as_ref()
            .map(|hosting| format!("{hosting:?}").to_lowercase()),
    }
}
