//! What the game sockets of each server drop and hold over time: readings at most every five seconds, added up.
//!
//! A socket is asked for exactly (one system call each way); only where the kernel answers with another one on the same
//! port is there a dump. What a socket drops between its last reading and its end is not seen.

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    ops::RangeInclusive,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    discovery::OwnedSocket,
    socket_state::{ProtocolErrors, TcpState, UdpState},
    sockets::{BoundSocket, NetnsHandle, NetnsId, SocketError},
};
use crate::config::Protocol;

/// Time between two readings.
pub const READ_EVERY: Duration = Duration::from_secs(5);
/// Ports per server whose drops are kept apart; the rest is summed up under port 0.
pub const MOST_PORTS: usize = 32;
/// UDP sockets per server that are asked for.
const MOST_SOCKETS: usize = 64;
/// Established connections per server that are kept.
const MOST_CONNECTIONS: usize = 8_192;

/// A server whose sockets are read.
#[derive(Clone, Copy, Debug)]
pub struct WatchedServer<'a> {
    /// Name.
    pub name: &'a str,
    /// Its game sockets as of the last look.
    pub sockets: &'a [OwnedSocket],
    /// Was it there before it was looked for? Then what its sockets had dropped by the first reading does not count.
    pub history: History,
}

/// What a socket had dropped when it was read for the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum History {
    /// Counts: the agent has followed the server from its start.
    Counts,
    /// Does not: nobody knows when that was.
    Unknown,
}

/// One UDP socket at the last reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UdpReading {
    /// Local address and port.
    pub local: SocketAddr,
    /// State.
    pub state: UdpState,
    /// Drops since the agent follows it.
    pub drops: u64,
}

/// Sockets of one server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerSockets {
    /// When they were read.
    pub read_at: Option<Instant>,
    /// UDP sockets there were then.
    pub udp: Vec<UdpReading>,
    /// Drops of all its UDP sockets, ended ones included, since the agent follows it. `None` until one was read.
    pub udp_drops: Option<u64>,
    /// The same by local port; at most [`MOST_PORTS`], the rest under 0.
    pub udp_drops_by_port: BTreeMap<u16, u64>,
    /// Established connections by remote endpoint. Shared with every snapshot until the next reading.
    pub tcp: Arc<HashMap<SocketAddr, TcpState>>,
    /// Segments of all its connections since the agent follows it; `None` until it had a TCP port. What a connection
    /// sends between its last reading and its end is not seen.
    pub tcp_segments: Option<TcpSegments>,
    /// Error counters of its whole network namespace since the agent follows it, with the namespace.
    pub namespace: Option<(NetnsId, ProtocolErrors)>,
}

/// Segments that the kernel sent for a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpSegments {
    /// All, those sent again included.
    pub sent: u64,
    /// Sent again.
    pub sent_again: u64,
}

/// Readings of all servers.
#[derive(Debug, Default)]
pub struct SocketWatch {
    servers: HashMap<String, Followed>,
    next: Option<Instant>,
    /// Readings that failed, so far.
    pub failures: u64,
}

#[derive(Debug, Default)]
struct Followed {
    /// Drops of each socket at its last reading.
    before: HashMap<(NetnsId, u64), (u32, u64)>,
    /// Sockets that were asked for, whether or not there was an answer.
    asked: Vec<(NetnsId, u64)>,
    /// Segments sent, and sent again, of each connection at its last reading.
    segments_before: HashMap<(u16, SocketAddr), (u32, u32)>,
    /// Errors of the namespace at the last reading.
    namespace_before: Option<(NetnsId, ProtocolErrors)>,
    sockets: ServerSockets,
}

impl SocketWatch {
    /// Reads what is due: everything every five seconds, and the sockets of a server as soon as they are others.
    pub fn read(
        &mut self,
        now: Instant,
        servers: &[WatchedServer<'_>],
        namespaces: &mut HashMap<NetnsId, NetnsHandle>,
    ) {
        let due = self.next.is_none_or(|next| now >= next);
        if due {
            self.next = Some(now + READ_EVERY);
            self.servers
                .retain(|name, _| servers.iter().any(|server| server.name == name));
        }
        let mut read_now: Vec<(&WatchedServer<'_>, AskedSockets<'_>)> = Vec::new();
        for server in servers {
            let udp: Vec<&BoundSocket> = udp_sockets(server).collect();
            let known = self.servers.get(server.name);
            let others = known.map_or(!udp.is_empty(), |known| known.asked_for_others(&udp));
            if due || others {
                read_now.push((server, AskedSockets::ask(udp, namespaces)));
            }
        }
        self.failures += dump_missed(read_now.iter_mut().map(|(_, asked)| asked), namespaces);
        let mut errors: HashMap<NetnsId, Option<ProtocolErrors>> = HashMap::new();
        for (server, asked) in &read_now {
            self.failures += asked.failures;
            let followed = self.servers.entry(server.name.to_owned()).or_default();
            followed.add_udp(server.history, asked);
            let netns = server.sockets.first().map(|owned| owned.socket.netns);
            let counted = netns.and_then(|netns| {
                let counted = errors
                    .entry(netns)
                    .or_insert_with(|| namespaces.get(&netns)?.protocol_errors());
                Some((netns, (*counted)?))
            });
            followed.add_namespace(counted);
            followed.sockets.read_at = Some(now);
        }
        let read_now: Vec<&WatchedServer<'_>> = read_now.into_iter().map(|(server, _)| server).collect();
        self.read_tcp(&read_now, namespaces);
    }

    /// The sockets of a server, as last read.
    pub fn of(&self, server: &str) -> Option<&ServerSockets> {
        self.servers.get(server).map(|followed| &followed.sockets)
    }

    /// One dump per namespace that has TCP servers, over the range of their ports.
    fn read_tcp(&mut self, servers: &[&WatchedServer<'_>], namespaces: &mut HashMap<NetnsId, NetnsHandle>) {
        let mut ranges: BTreeMap<NetnsId, RangeInclusive<u16>> = BTreeMap::new();
        for socket in servers.iter().flat_map(|server| tcp_sockets(server)) {
            widen(&mut ranges, socket);
        }
        let mut read: HashMap<NetnsId, Vec<TcpState>> = HashMap::new();
        for (netns, ports) in ranges {
            let Some(handle) = namespaces.get_mut(&netns) else {
                continue;
            };
            match handle.tcp_states(ports) {
                Ok(states) => drop(read.insert(netns, states)),
                Err(error) => self.failures += refused(&error),
            }
        }
        for server in servers {
            let listening: Vec<&BoundSocket> = tcp_sockets(server).collect();
            let Some(followed) = self.servers.get_mut(server.name) else {
                continue;
            };
            if listening.is_empty() {
                continue;
            }
            let states = listening.iter().flat_map(|socket| {
                let states = read.get(&socket.netns).into_iter().flatten();
                states.filter(|state| state.port == socket.port)
            });
            followed.add_tcp(server.history, states.take(MOST_CONNECTIONS));
        }
    }
}

fn udp_sockets<'a>(server: &WatchedServer<'a>) -> impl Iterator<Item = &'a BoundSocket> {
    server
        .sockets
        .iter()
        .map(|owned| &owned.socket)
        .filter(|socket| socket.protocol == Protocol::Udp)
        .take(MOST_SOCKETS)
}

fn tcp_sockets<'a>(server: &WatchedServer<'a>) -> impl Iterator<Item = &'a BoundSocket> {
    server
        .sockets
        .iter()
        .map(|owned| &owned.socket)
        .filter(|socket| socket.protocol == Protocol::Tcp)
}

/// The UDP sockets of one server in one reading.
struct AskedSockets<'a> {
    /// Those that were asked for, whether or not there was an answer.
    asked: Vec<(NetnsId, u64)>,
    states: Vec<(&'a BoundSocket, UdpState)>,
    /// Those in whose place the kernel answered with another socket of the port, or with none.
    missed: Vec<&'a BoundSocket>,
    failures: u64,
}

impl<'a> AskedSockets<'a> {
    fn ask(udp: Vec<&'a BoundSocket>, namespaces: &mut HashMap<NetnsId, NetnsHandle>) -> Self {
        let mut read = Self {
            asked: udp.iter().map(|socket| (socket.netns, socket.cookie)).collect(),
            states: Vec::with_capacity(udp.len()),
            missed: Vec::new(),
            failures: 0,
        };
        for socket in udp {
            let Some(handle) = namespaces.get_mut(&socket.netns) else {
                continue;
            };
            match handle.udp_state(socket) {
                Ok(Some(state)) => read.states.push((socket, state)),
                Ok(None) => read.missed.push(socket),
                Err(error) => read.failures += refused(&error),
            }
        }
        read
    }
}

/// One dump per namespace for all that servers have missed there: a dump walks over all UDP sockets of the host, so that
/// one for each server would be dear. Returns how many dumps failed.
fn dump_missed<'a, 'b: 'a>(
    read: impl Iterator<Item = &'a mut AskedSockets<'b>>,
    namespaces: &mut HashMap<NetnsId, NetnsHandle>,
) -> u64 {
    let mut read: Vec<_> = read.filter(|asked| !asked.missed.is_empty()).collect();
    let mut ranges: BTreeMap<NetnsId, RangeInclusive<u16>> = BTreeMap::new();
    for socket in read.iter().flat_map(|asked| &asked.missed) {
        widen(&mut ranges, socket);
    }
    let mut failures = 0;
    for (netns, ports) in ranges {
        let Some(handle) = namespaces.get_mut(&netns) else {
            continue;
        };
        match handle.udp_states(ports) {
            Ok(found) => {
                let found: HashMap<u64, UdpState> = found.into_iter().collect();
                for asked in &mut read {
                    let here = asked.missed.iter().filter(|socket| socket.netns == netns);
                    asked
                        .states
                        .extend(here.filter_map(|socket| Some((*socket, *found.get(&socket.cookie)?))));
                }
            }
            Err(error) => failures += refused(&error),
        }
    }
    failures
}

fn widen(ranges: &mut BTreeMap<NetnsId, RangeInclusive<u16>>, socket: &BoundSocket) {
    let range = ranges.entry(socket.netns).or_insert(socket.port..=socket.port);
    *range = (*range.start()).min(socket.port)..=(*range.end()).max(socket.port);
}

impl Followed {
    fn asked_for_others(&self, udp: &[&BoundSocket]) -> bool {
        udp.len() != self.asked.len()
            || udp
                .iter()
                .zip(&self.asked)
                .any(|(socket, asked)| (socket.netns, socket.cookie) != *asked)
    }

    fn add_udp(&mut self, history: History, read: &AskedSockets<'_>) {
        self.asked = read.asked.clone();
        let mut now = HashMap::with_capacity(read.states.len());
        self.sockets.udp.clear();
        for (socket, state) in &read.states {
            let key = (socket.netns, socket.cookie);
            let (before, so_far) = match (self.before.get(&key), history) {
                (Some(known), _) => *known,
                (None, History::Counts) => (0, 0),
                (None, History::Unknown) => (state.drops, 0),
            };
            // The kernel's counter has 32 bits and wraps.
            let new = u64::from(state.drops.wrapping_sub(before));
            *self.sockets.udp_drops.get_or_insert(0) += new;
            let by_port = &mut self.sockets.udp_drops_by_port;
            let known = by_port.contains_key(&socket.port) || by_port.len() < MOST_PORTS;
            *by_port.entry(if known { socket.port } else { 0 }).or_default() += new;
            now.insert(key, (state.drops, so_far + new));
            self.sockets.udp.push(UdpReading {
                local: SocketAddr::new(socket.address, socket.port),
                state: *state,
                drops: so_far + new,
            });
        }
        self.before = now;
    }

    fn add_tcp<'a>(&mut self, history: History, states: impl Iterator<Item = &'a TcpState>) {
        let history = match self.sockets.tcp_segments {
            // A connection that was not there five seconds ago is new.
            Some(_) => History::Counts,
            None => history,
        };
        let segments = self.sockets.tcp_segments.get_or_insert_default();
        let mut now = HashMap::new();
        let mut tcp = HashMap::new();
        for state in states {
            let key = (state.port, state.remote);
            let counted = (state.segments_sent, state.retransmits);
            let (sent, again) = match (self.segments_before.get(&key), history) {
                // Fewer than before: another connection of the same endpoints.
                (Some(before), _) if before.0 <= counted.0 && before.1 <= counted.1 => *before,
                (None, History::Unknown) => counted,
                _ => (0, 0),
            };
            // Two listening sockets of one port (one per address) show a connection twice.
            if now.insert(key, counted).is_none() {
                segments.sent += u64::from(counted.0 - sent);
                segments.sent_again += u64::from(counted.1 - again);
            }
            tcp.insert(state.remote, *state);
        }
        self.segments_before = now;
        self.sockets.tcp = Arc::new(tcp);
    }

    fn add_namespace(&mut self, now: Option<(NetnsId, ProtocolErrors)>) {
        let Some((netns, counted)) = now else { return };
        let grown = match &self.namespace_before {
            Some((before_netns, before)) if *before_netns == netns => counted.since(before),
            _ => ProtocolErrors::default(),
        };
        let so_far = self
            .sockets
            .namespace
            .map_or_else(ProtocolErrors::default, |(_, so_far)| so_far);
        self.sockets.namespace = Some((netns, so_far.plus(&grown)));
        self.namespace_before = Some((netns, counted));
    }
}

/// A reading that failed is made again in five seconds.
fn refused(error: &SocketError) -> u64 {
    tracing::debug!(%error, "a socket could not be read");
    1
}

#[cfg(test)]
#[path = "socket_watch_tests.rs"]
mod tests;
