//! Finding configured servers: which processes and which sockets are a server's right now.
//!
//! Criteria of an entry are combined with AND. A port is matched in every network namespace that a process of the host
//! lives in; its owner is looked up in `/proc/PID/fd`, only when a socket is new. A server is its owners and their
//! descendants, unless another server claims those for itself.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    path::{Path, PathBuf},
    time::Instant,
};

use super::{
    process::{Process, ProcessTable, Touched, socket_inodes},
    sockets::{BoundSocket, NetnsHandle, NetnsId, RETRY_CLOSED_NETNS, SocketError},
    wanted::Wanted,
};
use crate::config::GameServer;

/// Where procfs is mounted.
const PROC: &str = "/proc";

/// A socket and the process that holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedSocket {
    /// The socket.
    pub socket: BoundSocket,
    /// A process that holds it; absent for strangers that nobody looked up.
    pub pid: Option<u32>,
    /// Cgroup v2 id of that process.
    pub cgroup_id: Option<u64>,
    /// Cookie of the network namespace.
    pub netns_cookie: Option<u64>,
}

/// One server as found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Its processes.
    pub pids: Vec<u32>,
    /// Its game sockets.
    pub sockets: Vec<OwnedSocket>,
}

/// What a refresh found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Discovered {
    /// In the order of the servers.
    pub servers: Vec<Found>,
    /// Sockets of nobody configured on ports of servers.
    pub strangers: Vec<OwnedSocket>,
}

/// What the last refresh went by and what came of it.
struct Last {
    processes: u64,
    sockets: Vec<(BoundSocket, Option<u64>)>,
    /// How often the connected sockets of each namespace had changed.
    connected: BTreeMap<NetnsId, u64>,
    /// Sockets on wanted ports whose holder was not found.
    orphans: bool,
    found: Discovered,
}

/// The search, with what it remembers between refreshes.
pub struct Discovery {
    wanted: Vec<Wanted>,
    processes: ProcessTable,
    namespaces: HashMap<NetnsId, NetnsHandle>,
    closed: HashMap<NetnsId, Instant>,
    owners: HashMap<u64, u32>,
    last: Option<Last>,
    /// Namespaces that could not be entered, so far.
    pub namespaces_refused: u64,
}

impl Discovery {
    /// Looks for `servers`; `cgroup_root` is where cgroup v2 is mounted.
    pub fn new(servers: &[GameServer], cgroup_root: Option<PathBuf>) -> Self {
        let mut discovery = Self {
            wanted: Vec::new(),
            processes: ProcessTable::new(cgroup_root),
            namespaces: HashMap::new(),
            closed: HashMap::new(),
            owners: HashMap::new(),
            last: None,
            namespaces_refused: 0,
        };
        discovery.set_servers(servers);
        discovery
    }

    /// Replaces the list of servers.
    pub fn set_servers(&mut self, servers: &[GameServer]) {
        self.last = None;
        self.wanted = servers.iter().map(Wanted::new).collect();
    }

    /// Bound and listening sockets of all namespaces as of the last refresh.
    pub fn sockets(&self) -> impl Iterator<Item = &BoundSocket> {
        self.last
            .iter()
            .flat_map(|last| &last.sockets)
            .map(|(socket, _)| socket)
            .chain(self.connected().map(|(socket, _)| socket))
    }

    fn connected(&self) -> impl Iterator<Item = (&BoundSocket, Option<u64>)> {
        self.namespaces
            .values()
            .flat_map(|handle| handle.connected().iter().map(|socket| (socket, handle.cookie)))
    }

    /// What the last refresh found, and the doors to the namespaces.
    pub fn found_and_namespaces(&mut self) -> (&[Found], &mut HashMap<NetnsId, NetnsHandle>) {
        let found = self.last.as_ref().map_or(&[][..], |last| &last.found.servers);
        (found, &mut self.namespaces)
    }

    /// The processes of the last refresh.
    pub fn processes(&self) -> &ProcessTable {
        &self.processes
    }

    /// Looks again. `touched` is `None` when nobody watched processes since the last time.
    pub fn refresh(&mut self, touched: Option<Touched<'_>>) -> Discovered {
        self.processes.refresh(touched);
        self.open_namespaces();
        let sockets = self.dump(if self.must_dump(touched) {
            NetnsHandle::dump
        } else {
            NetnsHandle::dump_if_changed
        });
        let connected: BTreeMap<NetnsId, u64> = self
            .namespaces
            .iter()
            .map(|(id, handle)| (*id, handle.connected_changes()))
            .collect();
        let unchanged = |last: &Last, processes: u64| {
            last.processes == processes && last.sockets == sockets && last.connected == connected
        };
        if let Some(last) = &self.last
            && !last.orphans
            && unchanged(last, self.processes.changes())
        {
            return last.found.clone();
        }
        if touched.is_some() {
            // New sockets may be of processes that forked and did not call exec.
            self.processes.read_list();
        }
        let connected_too: Vec<_> = self
            .connected()
            .map(|(socket, cookie)| (socket.clone(), cookie))
            .collect();
        let (claims, orphans) = self.claim(&sockets, &connected_too);
        let all: Vec<_> = sockets.iter().cloned().chain(connected_too).collect();
        let trees = self.grow(&claims);
        let found = self.collect(all, trees);
        self.last = Some(Last {
            processes: self.processes.changes(),
            sockets,
            connected,
            orphans,
            found: found.clone(),
        });
        found
    }

    /// Where the number of sockets tells nothing: before the first look, while a socket has no known holder, and when a
    /// process of a server has ended or become another program, since its successor may have bound a socket in the place
    /// of its own. That other processes come and go, as they do every second on many hosts, is no reason, unless nobody
    /// watches whose they are.
    fn must_dump(&self, touched: Option<Touched<'_>>) -> bool {
        let Some(last) = &self.last else { return true };
        let come_or_gone = last.processes != self.processes.changes();
        let of_a_server = || {
            let Some(touched) = touched else { return true };
            let mut pids = last.found.servers.iter().flat_map(|found| &found.pids);
            pids.any(|pid| {
                self.processes.get(*pid).is_none()
                    || touched.executed.contains(pid)
                    || touched.exited.contains(pid)
            })
        };
        last.orphans || (come_or_gone && of_a_server())
    }

    fn open_namespaces(&mut self) {
        let mut paths: BTreeMap<NetnsId, PathBuf> = BTreeMap::new();
        for process in self.processes.iter() {
            if let Some(id) = process.netns {
                paths
                    .entry(id)
                    .or_insert_with(|| PathBuf::from(format!("/proc/{}/ns/net", process.pid)));
            }
        }
        if paths.is_empty() {
            paths.extend(
                NetnsId::own()
                    .ok()
                    .map(|id| (id, PathBuf::from("/proc/self/ns/net"))),
            );
        }
        self.namespaces.retain(|id, _| paths.contains_key(id));
        self.closed
            .retain(|id, since| paths.contains_key(id) && since.elapsed() < RETRY_CLOSED_NETNS);
        for (id, path) in paths {
            if self.namespaces.contains_key(&id) || self.closed.contains_key(&id) {
                continue;
            }
            match NetnsHandle::open(&path) {
                Ok(handle) => {
                    self.namespaces.insert(id, handle);
                }
                Err(error) => {
                    self.namespaces_refused += 1;
                    tracing::debug!(%error, "a network namespace stays closed");
                    self.closed.insert(id, Instant::now());
                }
            }
        }
    }

    fn dump(
        &mut self,
        look: fn(&mut NetnsHandle) -> Result<Vec<BoundSocket>, SocketError>,
    ) -> Vec<(BoundSocket, Option<u64>)> {
        let mut all = Vec::new();
        let mut broken = Vec::new();
        for (id, handle) in &mut self.namespaces {
            match look(handle) {
                Ok(sockets) => {
                    let cookie = handle.cookie;
                    all.extend(sockets.into_iter().map(|socket| (socket, cookie)));
                }
                Err(error) => {
                    tracing::warn!(%error, "the sockets of a network namespace could not be read");
                    broken.push(*id);
                }
            }
        }
        for id in broken {
            self.namespaces.remove(&id);
            self.closed.insert(id, Instant::now());
        }
        all
    }

    /// Process to the server that names it itself; and whether a wanted socket's holder is not known.
    ///
    /// A connected socket makes nobody a server whose entry has a port and nothing else: clients get their ports by chance.
    fn claim(
        &mut self,
        bound: &[(BoundSocket, Option<u64>)],
        connected: &[(BoundSocket, Option<u64>)],
    ) -> (HashMap<u32, usize>, bool) {
        let mut claims = HashMap::new();
        let mut orphans = false;
        let mut claiming: Vec<(usize, &BoundSocket)> = Vec::new();
        // Those of a server's processes are its game sockets as well.
        let mut inodes: HashSet<u64> = HashSet::new();
        for (index, wanted) in self.wanted.iter().enumerate() {
            match wanted.spec.port_match() {
                None => {
                    for process in self.processes.iter().filter(|process| wanted.matches(process)) {
                        claims.entry(process.pid).or_insert(index);
                    }
                }
                Some(port) => {
                    let netns = wanted.spec.netns.as_deref().map(NetnsId::of);
                    let chosen = wanted.choose(bound, &port, netns.as_ref());
                    let clients = wanted.choose(connected, &port, netns.as_ref());
                    inodes.extend(clients.iter().map(|socket| socket.inode));
                    if chosen.is_empty() && wanted.names_processes() {
                        claiming.extend(clients.into_iter().map(|socket| (index, socket)));
                    }
                    claiming.extend(chosen.into_iter().map(|socket| (index, socket)));
                }
            }
        }
        inodes.extend(claiming.iter().map(|(_, socket)| socket.inode));
        self.find_owners(&inodes);
        for (index, socket) in claiming {
            let Some(process) = self
                .owners
                .get(&socket.inode)
                .and_then(|pid| self.processes.get(*pid))
            else {
                orphans = true;
                continue;
            };
            if self.wanted[index].matches(process) {
                claims.entry(process.pid).or_insert(index);
            }
        }
        (claims, orphans)
    }

    /// Learns who holds sockets that were not seen before.
    fn find_owners(&mut self, inodes: &HashSet<u64>) {
        let processes = &self.processes;
        self.owners
            .retain(|inode, pid| inodes.contains(inode) && processes.get(*pid).is_some());
        let mut unknown: HashSet<u64> = inodes
            .iter()
            .filter(|inode| !self.owners.contains_key(inode))
            .copied()
            .collect();
        if unknown.is_empty() {
            return;
        }
        // The oldest holder is the server; a child that inherited the descriptor comes later.
        let mut in_order: Vec<&Process> = processes.iter().collect();
        in_order.sort_unstable_by_key(|process| (process.start_ticks, process.pid));
        for process in in_order {
            for inode in socket_inodes(Path::new(PROC), process.pid) {
                if unknown.remove(&inode) {
                    self.owners.insert(inode, process.pid);
                }
            }
            if unknown.is_empty() {
                return;
            }
        }
    }

    /// Adds descendants to claimed processes.
    fn grow(&self, claims: &HashMap<u32, usize>) -> Vec<BTreeSet<u32>> {
        let children = self.processes.children();
        let mut trees = vec![BTreeSet::new(); self.wanted.len()];
        for (pid, index) in claims {
            let mut open = vec![*pid];
            while let Some(pid) = open.pop() {
                if !trees[*index].insert(pid) {
                    continue;
                }
                let heirs = children.get(&pid).into_iter().flatten();
                open.extend(heirs.filter(|child| !claims.contains_key(child)).copied());
            }
        }
        trees
    }

    fn collect(&self, sockets: Vec<(BoundSocket, Option<u64>)>, trees: Vec<BTreeSet<u32>>) -> Discovered {
        let owner_tree: HashMap<u32, usize> = trees
            .iter()
            .enumerate()
            .flat_map(|(index, pids)| pids.iter().map(move |pid| (*pid, index)))
            .collect();
        // Servers without a port: everything that their processes are bound to is a game socket.
        let mut held: HashMap<u64, u32> = self.owners.clone();
        for (index, wanted) in self.wanted.iter().enumerate() {
            if wanted.spec.port.is_none() {
                for pid in &trees[index] {
                    held.extend(
                        socket_inodes(Path::new(PROC), *pid)
                            .into_iter()
                            .map(|inode| (inode, *pid)),
                    );
                }
            }
        }
        let mut servers: Vec<Found> = trees
            .into_iter()
            .map(|pids| Found {
                pids: pids.into_iter().collect(),
                sockets: Vec::new(),
            })
            .collect();
        let mut rest = Vec::new();
        for (socket, netns_cookie) in sockets {
            let pid = held.get(&socket.inode).copied();
            let owned = OwnedSocket {
                cgroup_id: pid
                    .and_then(|pid| self.processes.get(pid))
                    .and_then(|process| process.cgroup_id),
                pid,
                netns_cookie,
                socket,
            };
            let index = pid.and_then(|pid| owner_tree.get(&pid)).copied();
            match index.filter(|index| self.wanted[*index].is_game_socket(&owned.socket)) {
                Some(index) => servers[index].sockets.push(owned),
                None => rest.push(owned),
            }
        }
        let ports: HashSet<_> = servers
            .iter()
            .flat_map(|found| &found.sockets)
            .map(|owned| (owned.socket.protocol, owned.socket.port))
            .collect();
        rest.retain(|owned| ports.contains(&(owned.socket.protocol, owned.socket.port)));
        for stranger in &mut rest {
            // A stranger's cgroup decides whether the cgroup alone tells it apart; unknown counts as "in every one".
            stranger.cgroup_id = stranger
                .cgroup_id
                .or_else(|| self.cgroup_of_inode(stranger.socket.inode));
        }
        Discovered {
            servers,
            strangers: rest,
        }
    }

    fn cgroup_of_inode(&self, inode: u64) -> Option<u64> {
        self.processes
            .iter()
            .find(|process| socket_inodes(Path::new(PROC), process.pid).contains(&inode))
            .and_then(|p| p.cgroup_id)
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;
    use crate::config::Game;

    #[test]
    fn a_server_is_found_by_port_with_its_socket() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let spec = GameServer::new("a", Game::Custom).port(port);
        let mut discovery = Discovery::new(&[spec], None);
        let found = discovery.refresh(None);
        assert!(found.servers[0].pids.contains(&std::process::id()));
        assert_eq!(found.servers[0].sockets.len(), 1);
        drop(socket);
        let found = discovery.refresh(None);
        assert!(found.servers[0].pids.is_empty() && found.servers[0].sockets.is_empty());
    }

    #[test]
    fn all_criteria_must_hold() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let base = GameServer::new("a", Game::Custom).port(port);
        let me = std::env::current_exe().unwrap();
        let file_name = me.file_name().unwrap().to_str().unwrap();
        let specs = [
            base.clone().executable(file_name),
            base.clone().executable("no-such-server"),
            base.clone().command_line("^no such$"),
            base.clone().address("127.0.0.2".parse().unwrap()),
        ];
        for (spec, expected) in specs.into_iter().zip([true, false, false, false]) {
            let found = Discovery::new(std::slice::from_ref(&spec), None).refresh(None);
            assert_eq!(!found.servers[0].pids.is_empty(), expected, "{spec:?}");
        }
    }

    #[test]
    fn a_client_that_got_the_port_by_chance_is_no_server() {
        let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.connect(peer.local_addr().unwrap()).unwrap();
        let by_port = GameServer::new("a", Game::Custom).port(client.local_addr().unwrap().port());
        let me = std::env::current_exe().unwrap();
        let by_name = by_port
            .clone()
            .executable(me.file_name().unwrap().to_str().unwrap());
        for (spec, expected) in [(by_port, 0), (by_name, 1)] {
            let found = Discovery::new(std::slice::from_ref(&spec), None).refresh(None);
            assert_eq!(found.servers[0].pids.len(), expected, "{spec:?}");
            assert_eq!(found.servers[0].sockets.len(), expected, "{spec:?}");
        }
    }

    #[test]
    fn a_stranger_on_the_same_port_is_reported() {
        let mine = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = mine.local_addr().unwrap().port();
        let _other = UdpSocket::bind(("127.0.0.2", port)).unwrap();
        let spec = GameServer::new("a", Game::Custom)
            .port(port)
            .address("127.0.0.1".parse().unwrap());
        let found = Discovery::new(&[spec], None).refresh(None);
        assert_eq!(found.servers[0].sockets.len(), 1);
        assert_eq!(found.strangers.len(), 1);
    }
}
