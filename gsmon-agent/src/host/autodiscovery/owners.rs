//! Who holds a socket. Descriptors of processes are read sparingly: at once for processes that look like servers, in
//! small portions for all others and only for sockets that a game might use.

use std::{
    collections::{HashMap, HashSet},
    path::Path,
};

use super::super::{
    process::socket_inodes,
    sockets::{BoundSocket, NetnsId},
};
use crate::{
    config::Protocol,
    games::signature::{FIRST_EPHEMERAL, is_usual_port},
};

/// How much a process looks like a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Interest {
    /// By its program or arguments.
    Promising,
    /// Not at all.
    Ordinary,
}

/// A process, as far as this matters here.
#[derive(Clone, Debug)]
pub(super) struct Watched {
    pub pid: u32,
    pub start_ticks: u64,
    pub netns: Option<NetnsId>,
    pub interest: Interest,
    /// Seen for the first time (or after exec).
    pub is_fresh: bool,
    /// It has its game socket, or has had time enough to open one.
    pub is_settled: bool,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Held {
        pid: u32,
        interest: Interest,
    },
    /// Nobody known holds it; for so many refreshes.
    Sought {
        age: u32,
    },
    /// Everybody was asked.
    GivenUp,
}

/// So often processes that look like servers are asked about a new socket. More than once, since a process may become
/// known later than its socket.
const LOOKS: u32 = 3;
/// Ordinary processes whose descriptors are read in one refresh.
const PORTION: usize = 64;

/// Default range of host ports of Agones.
const AGONES_PORTS: std::ops::RangeInclusive<u16> = 7_000..=8_000;

/// Sockets and their holders.
#[derive(Debug, Default)]
pub(super) struct Owners {
    states: HashMap<u64, State>,
    queue: Vec<u32>,
    queue_for: HashSet<u64>,
}

impl Owners {
    /// Who holds the socket, where that is known.
    pub(super) fn holder(&self, inode: u64) -> Option<u32> {
        match self.states.get(&inode) {
            Some(State::Held { pid, .. }) => Some(*pid),
            _ => None,
        }
    }

    /// Brings holders up to date.
    pub(super) fn refresh(&mut self, proc: &Path, sockets: &[BoundSocket], mut watched: Vec<Watched>) {
        // The oldest holder is the server; a child that inherited the descriptor comes later.
        watched.sort_unstable_by_key(|process| (process.start_ticks, process.pid));
        let lives: HashSet<u32> = watched
            .iter()
            .filter(|process| !process.is_fresh)
            .map(|process| process.pid)
            .collect();
        // Sockets of the kernel itself have no inode.
        let present: HashMap<u64, &BoundSocket> = sockets
            .iter()
            .filter(|socket| socket.inode != 0)
            .map(|socket| (socket.inode, socket))
            .collect();
        self.states.retain(|inode, _| present.contains_key(inode));
        for inode in present.keys() {
            self.states
                .entry(*inode)
                .and_modify(|state| match state {
                    State::Held { pid, .. } if !lives.contains(pid) => *state = State::Sought { age: 0 },
                    State::Sought { age } => *age += 1,
                    State::Held { .. } | State::GivenUp => {}
                })
                .or_insert(State::Sought { age: 0 });
        }
        self.ask_promising(proc, &present, &watched);
        self.ask_others(proc, &present, &watched);
    }

    fn ask_promising(&mut self, proc: &Path, present: &HashMap<u64, &BoundSocket>, watched: &[Watched]) {
        let mut new: HashSet<NetnsId> = HashSet::new();
        let mut lasting: HashSet<NetnsId> = HashSet::new();
        for (inode, state) in &self.states {
            if let (State::Sought { age }, Some(socket)) = (state, present.get(inode))
                && *age < LOOKS
            {
                new.insert(socket.netns);
                // Clients ask the kernel for a port; a game port is chosen.
                if *age > 0 && (socket.port < FIRST_EPHEMERAL || is_usual_port(socket.protocol, socket.port))
                {
                    lasting.insert(socket.netns);
                }
            }
        }
        for process in watched
            .iter()
            .filter(|process| process.interest == Interest::Promising)
        {
            let within = |sought: &HashSet<NetnsId>| {
                process
                    .netns
                    .map_or(!sought.is_empty(), |netns| sought.contains(&netns))
            };
            // A server that has its sockets is not bothered for every short-lived socket of somebody else.
            let asked = process.is_fresh || within(&lasting) || (!process.is_settled && within(&new));
            if asked {
                for inode in socket_inodes(proc, process.pid) {
                    self.hold(inode, process.pid, Interest::Promising);
                }
            }
        }
    }

    fn ask_others(&mut self, proc: &Path, present: &HashMap<u64, &BoundSocket>, watched: &[Watched]) {
        let own = NetnsId::own().ok();
        for (inode, state) in &mut self.states {
            if let (State::Sought { age }, Some(socket)) = (*state, present.get(inode))
                && age >= LOOKS
                && !matters(socket, own)
            {
                *state = State::GivenUp;
            }
        }
        if self.queue.is_empty() {
            let sought: HashMap<u64, NetnsId> = self
                .states
                .iter()
                .filter(|(_, state)| matches!(state, State::Sought { age } if *age >= LOOKS))
                .filter_map(|(inode, _)| Some((*inode, present.get(inode)?.netns)))
                .collect();
            if sought.is_empty() {
                return;
            }
            let places: HashSet<NetnsId> = sought.values().copied().collect();
            // Taken from the end: the oldest first.
            self.queue = watched
                .iter()
                .rev()
                .filter(|process| process.interest == Interest::Ordinary)
                .filter(|process| process.netns.is_none_or(|netns| places.contains(&netns)))
                .map(|process| process.pid)
                .collect();
            self.queue_for = sought.into_keys().collect();
        }
        for _ in 0..PORTION {
            let Some(pid) = self.queue.pop() else {
                break;
            };
            for inode in socket_inodes(proc, pid) {
                self.hold(inode, pid, Interest::Ordinary);
            }
        }
        if self.queue.is_empty() {
            for inode in self.queue_for.drain() {
                if let Some(state @ State::Sought { .. }) = self.states.get_mut(&inode) {
                    *state = State::GivenUp;
                }
            }
        }
    }

    /// A process holds a socket. The first of its kind keeps it; one that looks like a server takes it from another.
    fn hold(&mut self, inode: u64, pid: u32, interest: Interest) {
        if let Some(state) = self.states.get_mut(&inode) {
            let is_taken = match state {
                State::Held { interest: holder, .. } => {
                    *holder == Interest::Promising || interest == Interest::Ordinary
                }
                State::Sought { .. } | State::GivenUp => false,
            };
            if !is_taken {
                *state = State::Held { pid, interest };
            }
        }
    }
}

/// Could an unknown program be a game server because of this socket? On a usual port, inside a container's namespace
/// where a panel or an orchestrator may vouch for it, or on one of the host's ports that Agones gives to game servers.
fn matters(socket: &BoundSocket, own: Option<NetnsId>) -> bool {
    is_usual_port(socket.protocol, socket.port)
        || (Some(socket.netns) != own && socket.port < FIRST_EPHEMERAL)
        || (socket.protocol == Protocol::Udp && AGONES_PORTS.contains(&socket.port))
}
