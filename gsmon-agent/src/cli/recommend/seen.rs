//! Who is there to advise on: servers that an agent, all agents of a fleet, or a Prometheus-compatible server tell of, each
//! with its history. A host that is silent has servers of which it is not known whether they run.

use std::collections::BTreeMap;

use crate::{
    analysis::advice::gather::{Runs, SeenServer},
    cli::{
        Failure,
        everywhere::{self, Host},
        fleet::FleetHosts,
        runtime,
        source::Asked,
    },
    history::{Resolution, TimeRange},
    serve::fetch_snapshot,
    world::snapshot::ServerSnapshot,
};

/// Everybody.
#[derive(Debug, Default)]
pub struct Seen {
    /// Servers with their history.
    pub servers: Vec<SeenServer>,
    /// Hosts that are silent.
    pub unknown_hosts: Vec<String>,
    /// Servers that neither run nor have a history.
    pub without_trace: Vec<String>,
    /// Players that are here now, by region; nobody has it where there are metrics only.
    pub players_by_region: Option<BTreeMap<String, u64>>,
}

impl Seen {
    /// Asks for servers, and for their history within a range.
    pub fn by(asked: &Asked<'_>, range: TimeRange) -> Result<Self, Failure> {
        let mut seen = match asked {
            Asked::Agent(socket) => {
                let snapshot = runtime()?.block_on(fetch_snapshot(&socket.socket))?;
                Self::of_agents(&snapshot.servers)
            }
            Asked::Fleet(socket) => {
                let hosts = FleetHosts::ask(socket)?;
                let mut seen = Self::of_agents(&hosts.servers);
                for (host, names) in hosts.unknown {
                    seen.unknown_hosts.push(host);
                    seen.servers.extend(names.into_iter().map(SeenServer::silent));
                }
                seen
            }
            Asked::Source(source) => {
                let mut seen = Self::default();
                let all = everywhere::servers(source)?;
                for (instance, host) in &all.hosts {
                    if *host == Host::Silent {
                        seen.unknown_hosts.push(instance.clone());
                    }
                }
                seen.servers = all.servers.into_iter().map(of_metrics).collect();
                seen.servers
                    .extend(all.silent.into_iter().map(SeenServer::silent));
                seen
            }
        };
        // The past of a fleet has servers that are not known to any agent, and may lack some that are.
        let with_past = match asked {
            Asked::Agent(_) => None,
            Asked::Fleet(_) | Asked::Source(_) => Some(asked.servers()?),
        };
        for server in &mut seen.servers {
            if with_past
                .as_ref()
                .is_none_or(|names| names.contains(&server.name))
            {
                server.frames = asked.frames(&server.name, Some(range), Resolution::Fitting)?;
            }
        }
        let traceless = seen
            .servers
            .iter()
            .filter(|server| server.runs == Runs::No && server.frames.is_empty());
        seen.without_trace = traceless.map(|server| server.name.clone()).collect();
        Ok(seen)
    }

    fn of_agents(servers: &[ServerSnapshot]) -> Self {
        let mut players = BTreeMap::<String, u64>::new();
        for (region, flows) in servers.iter().flat_map(|server| &server.flows_by_region) {
            *players.entry(region.to_string()).or_default() += flows;
        }
        Self {
            servers: servers.iter().map(SeenServer::from).collect(),
            players_by_region: Some(players),
            ..Self::default()
        }
    }
}

/// How long starts and stops took is a histogram there, without the single times: they are assumed or configured.
fn of_metrics(server: everywhere::Server) -> SeenServer {
    let whole = |value: f64| value.clamp(0.0, f64::from(u32::MAX)) as u32;
    SeenServer {
        name: server.name,
        runs: if server.up { Runs::Yes } else { Runs::No },
        mode: server.mode,
        region: server.region,
        players: server.players.map(whole),
        most_players: server.most_players.map(whole),
        ..SeenServer::default()
    }
}
