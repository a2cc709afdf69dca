//! What runs on all hosts, as the fleet has it: servers that agents tell, and hosts that are silent. Client of the fleet's
//! socket.

use std::path::Path;

use serde::Deserialize;

use crate::{
    analysis::queue::{self, Running},
    cli::{Failure, source::of_fleet},
    fleet::{HostState, view::FleetDocument},
    serve::Route,
    world::snapshot::ServerSnapshot,
};

/// Servers of all hosts.
#[derive(Debug)]
pub struct FleetHosts {
    /// Servers of hosts that are known, called host/server.
    pub servers: Vec<ServerSnapshot>,
    /// Hosts that are silent, with the servers that they had when they were last heard, called host/server.
    pub unknown: Vec<(String, Vec<String>)>,
}

/// Of a server whose host is silent only this is there.
#[derive(Debug, Deserialize)]
struct Name {
    host: String,
    host_state: HostState,
    name: String,
}

impl FleetHosts {
    /// Asks the fleet.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn ask(socket: &Path) -> Result<Self, Failure> {
        let document: FleetDocument = of_fleet(socket, &Route::to(&["fleet"]))?;
        let servers: Vec<serde_json::Value> = of_fleet(socket, &Route::to(&["servers"]))?;
        let silent = document
            .agents
            .iter()
            .filter(|agent| agent.state == HostState::Unknown);
        let mut hosts = Self {
            servers: Vec::with_capacity(servers.len()),
            unknown: silent.map(|agent| (agent.host.to_string(), Vec::new())).collect(),
        };
        for row in servers {
            let of = Name::deserialize(&row)?;
            let name = format!("{}/{}", of.host, of.name);
            if of.host_state != HostState::Unknown {
                let mut server = ServerSnapshot::deserialize(row)?;
                server.name = name;
                hosts.servers.push(server);
                continue;
            }
            match hosts.unknown.iter_mut().find(|(host, _)| *host == of.host) {
                Some((_, names)) => names.push(name),
                // It fell silent between the two questions.
                None => hosts.unknown.push((of.host, vec![name])),
            }
        }
        Ok(hosts)
    }

    /// Servers that are known to run.
    pub fn running(&self) -> Vec<Running> {
        self.servers.iter().filter_map(queue::facts::running).collect()
    }

    /// Names of hosts that are silent.
    pub fn silent(&self) -> Vec<String> {
        self.unknown.iter().map(|(host, _)| host.clone()).collect()
    }
}
