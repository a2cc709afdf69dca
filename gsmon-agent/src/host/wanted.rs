//! What an entry of the configuration asks for, and which processes and sockets meet it.
//!
//! Criteria are combined with AND. Not here: looking for them (`discovery`).

use std::path::Path;

use regex::Regex;

use super::{
    process::Process,
    sockets::{BoundSocket, NetnsId},
};
use crate::config::{GameServer, PortMatch};

/// An entry, ready to be compared.
pub(super) struct Wanted {
    pub spec: GameServer,
    command_line: Option<Regex>,
}

fn address_fits(wanted: Option<std::net::IpAddr>, socket: &BoundSocket) -> bool {
    wanted.is_none_or(|address| socket.address == address || socket.address.is_unspecified())
}

impl Wanted {
    pub fn new(spec: &GameServer) -> Self {
        Self {
            spec: spec.clone(),
            // Checked with the configuration; a pattern that is none matches nothing.
            command_line: spec
                .command_line
                .as_deref()
                .and_then(|pattern| Regex::new(pattern).ok()),
        }
    }

    /// Does the process meet every criterion but the port?
    pub fn matches(&self, process: &Process) -> bool {
        let spec = &self.spec;
        let executable = spec.executable.as_deref().is_none_or(|wanted| {
            // Without privilege the executable of others cannot be read: then their own word for it has to do.
            let own_word = process.command_line.split(' ').next().map(Path::new);
            process.executable.as_deref().or(own_word).is_some_and(|path| {
                if wanted.contains('/') {
                    path == Path::new(wanted)
                } else {
                    path.file_name() == Some(wanted.as_ref())
                }
            })
        });
        let command_line = match (&spec.command_line, &self.command_line) {
            (None, _) => true,
            (Some(_), Some(pattern)) => pattern.is_match(&process.command_line),
            (Some(_), None) => false,
        };
        let netns = spec
            .netns
            .as_deref()
            .is_none_or(|path| NetnsId::of(path).is_ok_and(|wanted| process.netns == Some(wanted)));
        executable
            && command_line
            && netns
            && spec
                .cgroup
                .as_deref()
                .is_none_or(|cgroup| process.in_cgroup(cgroup))
            && spec
                .systemd_unit
                .as_deref()
                .is_none_or(|unit| process.systemd_unit() == Some(unit))
    }

    /// Is there a criterion besides port and place?
    pub fn names_processes(&self) -> bool {
        let spec = &self.spec;
        spec.executable.is_some()
            || spec.command_line.is_some()
            || spec.cgroup.is_some()
            || spec.systemd_unit.is_some()
    }

    /// Sockets on the wanted port: those of the very address, else those of any.
    pub fn choose<'a>(
        &self,
        sockets: &'a [(BoundSocket, Option<u64>)],
        port: &PortMatch,
        netns: Option<&std::io::Result<NetnsId>>,
    ) -> Vec<&'a BoundSocket> {
        let here = sockets.iter().map(|(socket, _)| socket).filter(|socket| {
            socket.port == port.port
                && socket.protocol == port.protocol
                && match netns {
                    None => true,
                    Some(Ok(id)) => socket.netns == *id,
                    Some(Err(_)) => false,
                }
        });
        let (exact, any): (Vec<_>, Vec<_>) = here
            .filter(|socket| address_fits(port.address, socket))
            .partition(|socket| port.address == Some(socket.address));
        if exact.is_empty() { any } else { exact }
    }

    pub fn is_game_socket(&self, socket: &BoundSocket) -> bool {
        self.spec.port_match().is_none_or(|port| {
            port.port == socket.port && port.protocol == socket.protocol && address_fits(port.address, socket)
        })
    }
}
