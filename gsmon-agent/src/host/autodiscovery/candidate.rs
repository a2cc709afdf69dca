//! A server as found, and the configuration entry that makes the monitor follow it.

use std::{
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
};

use super::{
    super::{
        container::{Container, Hosting},
        process::Process,
        sockets::NetnsId,
    },
    Roots,
    names::Place,
};
use crate::{
    config::{GameServer, LogSettings, Protocol},
    games::signature::Recognised,
};

/// Named network namespaces that are compared.
const MOST_NAMESPACES: usize = 4_096;

/// A server that nobody configured.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// Process that holds the game socket.
    pub pid: u32,
    /// Its start time, clock ticks since boot.
    pub start_ticks: u64,
    /// Unique on the host, at most 64 letters, digits, dots, underscores and dashes.
    pub name: String,
    /// What it is, how sure that is, and why.
    pub recognised: Recognised,
    /// Its container.
    pub container: Option<Container>,
    /// Who manages it.
    pub hosting: Option<Hosting>,
    /// Its executable, as it sees it.
    pub executable: Option<PathBuf>,
    /// Its network namespace.
    pub netns: Option<PathBuf>,
    /// Address of the main port, where another server shares the port.
    pub address: Option<IpAddr>,
    /// Its log, where there is one, as the agent reads it.
    pub log: Option<PathBuf>,
}

impl Candidate {
    /// Game ports, the main one first.
    pub fn ports(&self) -> &[(Protocol, u16)] {
        &self.recognised.ports
    }

    /// The entry by which configured discovery follows it. It names the namespace by the process where it has no other
    /// name, so it must be made anew when the server is started again.
    pub fn to_game_server(&self) -> GameServer {
        let mut server = GameServer::new(&*self.name, self.recognised.game);
        if let Some((protocol, port)) = self.ports().first() {
            server = server.port(*port).protocol(*protocol);
        }
        if let Some(executable) = self.executable.as_deref().and_then(Path::to_str) {
            server = server.executable(executable);
        }
        if let Some(netns) = &self.netns {
            server = server.netns(netns);
        }
        if let Some(address) = self.address {
            server = server.address(address);
        }
        server.log = self.log.as_ref().map(|file| LogSettings {
            file: Some(file.clone()),
            ..LogSettings::default()
        });
        server
    }
}

/// Where a process lives, for its name.
pub(super) fn place(named: &Path, process: &Process) -> Place {
    match process.netns {
        Some(netns) if NetnsId::own().is_ok_and(|own| own != netns) => match named_path(named, netns) {
            // Names that are made up anew for every pod say nothing.
            Some(path) => match path.file_name().and_then(|name| name.to_str()) {
                Some(name) if !name.starts_with("cni-") => Place::Named(name.to_owned()),
                _ => Place::Other,
            },
            None => Place::Other,
        },
        _ => Place::Own,
    }
}

/// A path to the namespace of a process, one that outlives the process where there is such.
pub(super) fn netns_path(roots: &Roots, process: &Process) -> Option<PathBuf> {
    let netns = process.netns?;
    if NetnsId::own().is_ok_and(|own| own == netns) {
        return Some(roots.proc.join("self/ns/net"));
    }
    named_path(&roots.netns, netns).or_else(|| Some(roots.proc.join(process.pid.to_string()).join("ns/net")))
}

fn named_path(named: &Path, netns: NetnsId) -> Option<PathBuf> {
    fs::read_dir(named)
        .ok()?
        .flatten()
        .take(MOST_NAMESPACES)
        .map(|entry| entry.path())
        .find(|path| NetnsId::of(path).is_ok_and(|found| found == netns))
}
