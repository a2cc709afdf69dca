//! Documents about all hosts, made of one picture of the board; pure. A host that is unknown adds nothing to any figure,
//! and every figure says of how many hosts it is.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{
    board::{HostPicture, HostState},
    source::{HostFromSource, SourceDocument},
    verdict::{self, Verdict},
};
use crate::{
    games::event::PlayerKind,
    privacy::Pseudonym,
    serve::report::{AgentReport, KnownAs},
    world::{
        region::Region,
        session::picture::PlayerState,
        snapshot::{ServerSnapshot, ServerState},
    },
};

/// `GET /api/v1/fleet`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FleetDocument {
    /// The worst of all hosts.
    pub verdict: Verdict,
    /// Sums over hosts.
    pub totals: FleetTotals,
    /// Agents in the order of the configuration.
    pub agents: Vec<AgentDocument>,
    /// The source of the past, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<SourceDocument>,
}

/// Sums over the hosts that are known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FleetTotals {
    /// Hosts in the configuration.
    pub hosts: u64,
    /// Hosts that the following are of.
    pub of_hosts: u64,
    /// Of those: hosts that said it some time ago.
    pub stale_hosts: u64,
    /// Servers.
    pub servers: u64,
    /// Servers that run.
    pub servers_up: u64,
    /// Humans on servers that tell; absent where none does.
    pub humans: Option<u64>,
    /// Servers that these are of.
    pub humans_of_servers: u64,
    /// CPU of servers, cores; absent where none is measured.
    pub cpu_cores: Option<f64>,
    /// Servers that this is of.
    pub cpu_of_servers: u64,
    /// Resident memory of servers; absent where none is measured.
    pub rss_bytes: Option<u64>,
    /// Servers that this is of.
    pub rss_of_servers: u64,
}

/// One agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AgentDocument {
    /// Name from the fleet's configuration.
    pub host: Arc<str>,
    /// How much is known.
    pub state: HostState,
    /// Age of what it said; absent when it is unknown, as all the following but errors and readings.
    pub age_seconds: Option<f64>,
    /// Verdict.
    pub verdict: Verdict,
    /// Why.
    pub reasons: Vec<String>,
    /// Version of the agent.
    pub version: Option<String>,
    /// Fingerprint of the key of its players' pseudonyms; absent where it has none, too.
    pub player_key: Option<String>,
    /// Sums over its servers.
    pub totals: Option<FleetTotals>,
    /// The agent's own CPU since its start, seconds.
    pub agent_cpu_seconds: Option<f64>,
    /// The agent's own memory.
    pub agent_rss_bytes: Option<u64>,
    /// Why the last reading failed, if it did.
    pub error: Option<Arc<str>>,
    /// Readings that failed since the last that did not.
    pub failures_in_a_row: u64,
    /// Readings that succeeded.
    pub readings: u64,
    /// Readings that failed, by sort.
    pub errors: BTreeMap<String, u64>,
    /// What the source tells of the host; in no sum.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_source: Option<HostFromSource>,
}

/// One server of `GET /api/v1/servers`: the agent's own snapshot of it with the host in front. Of an unknown host only
/// the names are left.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum FleetServer<'a> {
    /// Of a host that is fresh or stale.
    Known {
        /// Host.
        host: &'a str,
        /// How much is known of it.
        host_state: HostState,
        /// Age of this.
        age_seconds: f64,
        /// The server.
        #[serde(flatten)]
        server: &'a ServerSnapshot,
    },
    /// Of a host that is unknown.
    Unknown {
        /// Host.
        host: &'a str,
        /// `unknown`
        host_state: HostState,
        /// Name of a server that was there when the agent was last heard.
        name: &'a str,
    },
}

/// `GET /api/v1/players`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FleetPlayers {
    /// Hosts in the configuration.
    pub hosts: u64,
    /// Hosts that this is of: those that are known.
    pub of_hosts: u64,
    /// Of those, hosts without a shared key: their players cannot be joined with others.
    pub hosts_without_key: Vec<Arc<str>>,
    /// Keys, and the hosts that use each; more than one means that players cannot be joined across them.
    pub keys: BTreeMap<String, Vec<Arc<str>>>,
    /// Bots, on all servers.
    pub bots: u64,
    /// Players without a pseudonym who are not known to be bots; each counts on each server.
    pub unnamed: u64,
    /// Players with a pseudonym, each once, wherever they are.
    pub players: Vec<FleetPlayer>,
}

/// One player, on as many servers as there are places.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FleetPlayer {
    /// Who.
    pub pseudonym: Pseudonym,
    /// Key of the pseudonym.
    pub player_key: String,
    /// What the pseudonym stands for: a name may be several people's.
    pub known_by: KnownAs,
    /// Where.
    pub places: Vec<Place>,
}

/// A player on one server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Place {
    /// Host.
    pub host: Arc<str>,
    /// How much is known of it.
    pub host_state: HostState,
    /// Server.
    pub server: Arc<str>,
    /// Human, where that is known.
    pub kind: Option<PlayerKind>,
    /// Connecting, or in the game.
    pub state: PlayerState,
    /// Session.
    pub session: Option<Arc<str>>,
    /// Room.
    pub room: Option<Arc<str>>,
    /// When first heard of there.
    pub joined_unix_ms: i64,
    /// Time in the game there.
    pub in_game_ms: i64,
    /// Where the player is.
    pub region: Option<Region>,
}

impl FleetTotals {
    fn of(report: &AgentReport, state: HostState) -> Self {
        let servers = &report.snapshot.servers;
        let mut totals = Self {
            hosts: 1,
            of_hosts: 1,
            stale_hosts: u64::from(state == HostState::Stale),
            servers: servers.len() as u64,
            ..Self::default()
        };
        for server in servers {
            totals.servers_up += u64::from(server.state == ServerState::Up);
            add(
                &mut totals.humans,
                &mut totals.humans_of_servers,
                server.game_state.player_counts.humans,
                u64::saturating_add,
            );
            add(
                &mut totals.cpu_cores,
                &mut totals.cpu_of_servers,
                server.rates.cpu_cores,
                std::ops::Add::add,
            );
            add(
                &mut totals.rss_bytes,
                &mut totals.rss_of_servers,
                server.rates.rss_bytes,
                u64::saturating_add,
            );
        }
        totals
    }

    fn and(mut self, other: &Self) -> Self {
        self.hosts += other.hosts;
        self.of_hosts += other.of_hosts;
        self.stale_hosts += other.stale_hosts;
        self.servers += other.servers;
        self.servers_up += other.servers_up;
        self.humans = sum(self.humans, other.humans, u64::saturating_add);
        self.humans_of_servers += other.humans_of_servers;
        self.cpu_cores = sum(self.cpu_cores, other.cpu_cores, std::ops::Add::add);
        self.cpu_of_servers += other.cpu_of_servers;
        self.rss_bytes = sum(self.rss_bytes, other.rss_bytes, u64::saturating_add);
        self.rss_of_servers += other.rss_of_servers;
        self
    }
}

fn add<T: Copy>(total: &mut Option<T>, of: &mut u64, value: Option<T>, plus: impl Fn(T, T) -> T) {
    *of += u64::from(value.is_some());
    *total = sum(*total, value, plus);
}

/// What is not known adds nothing, and nothing known is no zero.
fn sum<T: Copy>(a: Option<T>, b: Option<T>, plus: impl Fn(T, T) -> T) -> Option<T> {
    match (a, b) {
        (Some(a), Some(b)) => Some(plus(a, b)),
        (a, b) => a.or(b),
    }
}

/// All agents and what they come to.
pub fn fleet(picture: &[HostPicture]) -> FleetDocument {
    let agents: Vec<AgentDocument> = picture.iter().map(agent).collect();
    let silent = FleetTotals {
        hosts: 1,
        ..FleetTotals::default()
    };
    let totals = agents.iter().fold(FleetTotals::default(), |sum, agent| {
        sum.and(agent.totals.as_ref().unwrap_or(&silent))
    });
    FleetDocument {
        verdict: verdict::worst(agents.iter().map(|agent| agent.verdict)),
        totals,
        agents,
        source: None,
    }
}

fn agent(host: &HostPicture) -> AgentDocument {
    let (verdict, reasons) = verdict::judge(host);
    let report = host.report.as_deref();
    AgentDocument {
        host: host.name.clone(),
        state: host.state,
        age_seconds: host.age.map(|age| age.as_secs_f64()),
        verdict,
        reasons,
        version: report.map(|report| report.version.clone()),
        player_key: report.and_then(|report| report.player_key.clone()),
        totals: report.map(|report| FleetTotals::of(report, host.state)),
        agent_cpu_seconds: report.map(|report| report.snapshot.agent.cpu_seconds),
        agent_rss_bytes: report.map(|report| report.snapshot.agent.rss_bytes),
        error: host.error.clone(),
        failures_in_a_row: host.failures_in_a_row,
        readings: host.readings,
        errors: host
            .errors
            .iter()
            .map(|(sort, count)| ((*sort).to_owned(), *count))
            .collect(),
        from_source: None,
    }
}

/// All servers of all hosts.
pub fn servers(picture: &[HostPicture]) -> Vec<FleetServer<'_>> {
    let mut found = Vec::new();
    for host in picture {
        match (&host.report, host.age) {
            (Some(report), Some(age)) => {
                found.extend(report.snapshot.servers.iter().map(|server| FleetServer::Known {
                    host: &host.name,
                    host_state: host.state,
                    age_seconds: age.as_secs_f64(),
                    server,
                }));
            }
            _ => found.extend(host.servers.iter().map(|name| FleetServer::Unknown {
                host: &host.name,
                host_state: host.state,
                name,
            })),
        }
    }
    found
}

/// All players of all hosts, joined.
pub fn players(picture: &[HostPicture]) -> FleetPlayers {
    let mut found = FleetPlayers {
        hosts: picture.len() as u64,
        of_hosts: 0,
        hosts_without_key: Vec::new(),
        keys: BTreeMap::new(),
        bots: 0,
        unnamed: 0,
        players: Vec::new(),
    };
    let mut joined: BTreeMap<(&str, Pseudonym), FleetPlayer> = BTreeMap::new();
    for host in picture {
        let Some(report) = &host.report else { continue };
        found.of_hosts += 1;
        match &report.player_key {
            Some(key) => found.keys.entry(key.clone()).or_default().push(host.name.clone()),
            None => found.hosts_without_key.push(host.name.clone()),
        }
        for player in &report.players {
            if player.kind == Some(PlayerKind::Bot) {
                found.bots += 1;
                continue;
            }
            let (Some(key), Some(pseudonym)) = (&report.player_key, player.pseudonym) else {
                found.unnamed += 1;
                continue;
            };
            let known_by = player.known_by.unwrap_or(KnownAs::Name);
            let entry = joined.entry((key, pseudonym)).or_insert_with(|| FleetPlayer {
                pseudonym,
                player_key: key.clone(),
                known_by,
                places: Vec::new(),
            });
            entry.places.push(Place {
                host: host.name.clone(),
                host_state: host.state,
                server: player.server.clone(),
                kind: player.kind,
                state: player.state,
                session: player.session.clone(),
                room: player.room.clone(),
                joined_unix_ms: player.joined_unix_ms,
                in_game_ms: player.in_game_ms,
                region: player.region.clone(),
            });
        }
    }
    found.players = joined.into_values().collect();
    found
}
