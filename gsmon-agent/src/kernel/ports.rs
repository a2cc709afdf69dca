//! Which port means which server: a pure plan from the sockets that discovery found, and writing its changes to the
//! kernel tables.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
};

use gsmon_common::{
    proto,
    server::{EndpointKey, EndpointKind, HOST_FLAG, Mode, PortEntry, ScopeKind, port_index},
};

use super::{
    KernelError, ServerSlotId,
    object::{KernelHash, Object},
};
use crate::config::Protocol;

/// A socket on a game port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketOwner {
    /// Its server; `None` for a stranger on the same port.
    pub server: Option<ServerSlotId>,
    /// Transport.
    pub protocol: Protocol,
    /// Local address; unspecified for any.
    pub address: IpAddr,
    /// Local port.
    pub port: u16,
    /// Socket cookie.
    pub cookie: u64,
    /// Cookie of its network namespace, where the kernel has them (5.14).
    pub netns_cookie: Option<u64>,
    /// Cgroup v2 id of its process.
    pub cgroup_id: Option<u64>,
    /// Where it lives.
    pub place: NetnsPlace,
}

/// Where a socket lives, seen from the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetnsPlace {
    /// In the agent's own network namespace, where XDP and tc programs of the agent see its packets.
    AgentsOwn,
    /// Elsewhere.
    Other,
}

/// Contents of the port and endpoint tables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// For hooks that see a socket.
    pub ports: HashMap<u32, PortEntry>,
    /// For XDP and tc.
    pub host_ports: HashMap<u32, PortEntry>,
    /// For both.
    pub endpoints: HashMap<EndpointKey, u32>,
    /// Sockets that nothing tells apart from another server's on this kernel: their traffic is not counted.
    pub ambiguous: Vec<SocketOwner>,
}

impl Plan {
    /// Decides how each port is resolved.
    pub fn new(kind: ScopeKind, sockets: &[SocketOwner]) -> Self {
        let mut by_port: BTreeMap<(Protocol, u16), Vec<&SocketOwner>> = BTreeMap::new();
        for socket in sockets {
            by_port
                .entry((socket.protocol, socket.port))
                .or_default()
                .push(socket);
        }
        let mut plan = Self::default();
        for ((protocol, port), sockets) in by_port {
            let index = port_index(u32::from(protocol == Protocol::Tcp), port);
            plan.port(kind, index, &sockets);
            plan.host_port(index, &sockets);
        }
        plan
    }

    fn port(&mut self, kind: ScopeKind, index: u32, sockets: &[&SocketOwner]) {
        let scope_of = |socket: &SocketOwner| match kind {
            ScopeKind::Netns => socket.netns_cookie,
            ScopeKind::Cgroup => socket.cgroup_id,
        };
        let servers: BTreeSet<ServerSlotId> = sockets.iter().filter_map(|socket| socket.server).collect();
        let Some(first) = servers.first().copied() else {
            return;
        };
        let scopes: BTreeSet<Option<u64>> = sockets
            .iter()
            .filter(|socket| socket.server.is_some())
            .map(|socket| scope_of(socket))
            .collect();
        let strangers_inside = sockets
            .iter()
            .any(|socket| socket.server.is_none() && scopes.contains(&scope_of(socket)));
        if let (1, 1, Some(Some(scope)), false) =
            (servers.len(), scopes.len(), scopes.first(), strangers_inside)
        {
            let host = sockets
                .iter()
                .any(|socket| socket.server.is_some() && socket.place == NetnsPlace::AgentsOwn);
            let server = first.0 | if host { HOST_FLAG } else { 0 };
            self.ports.insert(
                index,
                PortEntry {
                    scope: *scope,
                    server,
                    mode: Mode::Single as u32,
                },
            );
            return;
        }
        self.ports.insert(
            index,
            PortEntry {
                mode: Mode::Table as u32,
                ..PortEntry::default()
            },
        );
        // Who else claims the same scope and address: then only cookies tell them apart, which TCP children lack.
        let mut claims: HashMap<EndpointKey, BTreeSet<Option<ServerSlotId>>> = HashMap::new();
        let scope_key =
            |socket: &SocketOwner| scope_of(socket).map(|scope| endpoint(scope, EndpointKind::Scope, socket));
        for socket in sockets {
            if let Some(key) = scope_key(socket) {
                claims.entry(key).or_default().insert(socket.server);
            }
        }
        for socket in sockets {
            let Some(server) = socket.server else { continue };
            let value = server.0
                | if socket.place == NetnsPlace::AgentsOwn {
                    HOST_FLAG
                } else {
                    0
                };
            let by_cookie = socket.protocol == Protocol::Udp && socket.cookie != 0;
            if by_cookie {
                let key = EndpointKey {
                    scope: socket.cookie,
                    kind: EndpointKind::Cookie as u8,
                    ..EndpointKey::default()
                };
                self.endpoints.insert(key, value);
            }
            match scope_key(socket).filter(|key| claims[key].len() == 1) {
                Some(key) => {
                    self.endpoints.insert(key, value);
                }
                None if by_cookie => {}
                None => self.ambiguous.push((*socket).clone()),
            }
        }
    }

    fn host_port(&mut self, index: u32, sockets: &[&SocketOwner]) {
        let here: Vec<_> = sockets
            .iter()
            .filter(|socket| socket.place == NetnsPlace::AgentsOwn)
            .collect();
        let owners: BTreeSet<Option<ServerSlotId>> = here.iter().map(|socket| socket.server).collect();
        if owners.iter().all(Option::is_none) {
            return;
        }
        if let (1, Some(Some(server))) = (owners.len(), owners.first()) {
            let entry = PortEntry {
                scope: 0,
                server: server.0 | HOST_FLAG,
                mode: Mode::Single as u32,
            };
            self.host_ports.insert(index, entry);
            return;
        }
        self.host_ports.insert(
            index,
            PortEntry {
                mode: Mode::Table as u32,
                ..PortEntry::default()
            },
        );
        for socket in here {
            if let Some(server) = socket.server {
                self.endpoints
                    .insert(endpoint(0, EndpointKind::Host, socket), server.0 | HOST_FLAG);
            }
        }
    }
}

fn endpoint(scope: u64, kind: EndpointKind, socket: &SocketOwner) -> EndpointKey {
    EndpointKey {
        scope,
        addr: if socket.address.is_unspecified() {
            [0; 16]
        } else {
            mapped(socket.address)
        },
        port: socket.port,
        protocol: match socket.protocol {
            Protocol::Udp => proto::UDP,
            Protocol::Tcp => proto::TCP,
        },
        kind: kind as u8,
        pad: 0,
    }
}

/// IPv4 as IPv4-mapped IPv6.
pub fn mapped(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// [`PortEntry`] for aya's maps.
#[repr(transparent)]
#[derive(Clone, Copy)]
struct PortPod(PortEntry);
// SAFETY: `repr(C)` integers without padding.
unsafe impl aya::Pod for PortPod {}

/// [`EndpointKey`] for aya's maps.
#[repr(transparent)]
#[derive(Clone, Copy)]
struct EndpointPod(EndpointKey);
// SAFETY: `repr(C)` integers without implicit padding.
unsafe impl aya::Pod for EndpointPod {}

/// The kernel's tables and what they hold.
pub struct PortTables {
    kind: ScopeKind,
    ports: aya::maps::Array<aya::maps::MapData, PortPod>,
    host_ports: aya::maps::Array<aya::maps::MapData, PortPod>,
    endpoints: KernelHash<EndpointPod, u32>,
    in_force: Plan,
    /// What the plan in force was made of; `None` when writing it has failed.
    planned_for: Option<Vec<SocketOwner>>,
}

impl PortTables {
    /// Takes the tables of `object`.
    pub fn new(object: &mut Object) -> Result<Self, KernelError> {
        Ok(Self {
            kind: object.options.scope,
            ports: object.take("PORTS")?,
            host_ports: object.take("HOST_PORTS")?,
            endpoints: object.take("ENDPOINTS")?,
            in_force: Plan::default(),
            planned_for: None,
        })
    }

    /// Writes what changed. Endpoints come before the ports that ask for them and go after.
    pub fn apply(&mut self, sockets: &[SocketOwner]) -> Result<&Plan, KernelError> {
        if self.planned_for.as_deref() == Some(sockets) {
            return Ok(&self.in_force);
        }
        self.planned_for = None;
        let plan = Plan::new(self.kind, sockets);
        let failed = |name| move |source| KernelError::Map { name, source };
        for (key, server) in &plan.endpoints {
            if self.in_force.endpoints.get(key) != Some(server) {
                self.endpoints
                    .insert(EndpointPod(*key), server, 0)
                    .map_err(failed("ENDPOINTS"))?;
            }
        }
        write_ports(&mut self.ports, &self.in_force.ports, &plan.ports).map_err(failed("PORTS"))?;
        write_ports(&mut self.host_ports, &self.in_force.host_ports, &plan.host_ports)
            .map_err(failed("HOST_PORTS"))?;
        for key in self.in_force.endpoints.keys() {
            if !plan.endpoints.contains_key(key) {
                let _ = self.endpoints.remove(&EndpointPod(*key));
            }
        }
        self.in_force = plan;
        self.planned_for = Some(sockets.to_vec());
        Ok(&self.in_force)
    }
}

fn write_ports(
    table: &mut aya::maps::Array<aya::maps::MapData, PortPod>,
    before: &HashMap<u32, PortEntry>,
    after: &HashMap<u32, PortEntry>,
) -> Result<(), aya::maps::MapError> {
    for (index, entry) in after {
        if before.get(index) != Some(entry) {
            table.set(*index, PortPod(*entry), 0)?;
        }
    }
    for index in before.keys() {
        if !after.contains_key(index) {
            table.set(*index, PortPod(PortEntry::default()), 0)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(server: u32, address: &str, cookie: u64, netns: u64, cgroup: u64) -> SocketOwner {
        SocketOwner {
            server: (server != 0).then_some(ServerSlotId(server)),
            protocol: Protocol::Udp,
            address: address.parse().unwrap(),
            port: 27960,
            cookie,
            netns_cookie: Some(netns),
            cgroup_id: Some(cgroup),
            place: NetnsPlace::Other,
        }
    }

    fn mode(plan: &Plan) -> u32 {
        plan.ports[&port_index(0, 27960)].mode
    }

    #[test]
    fn one_server_in_one_scope_needs_no_table() {
        let plan = Plan::new(
            ScopeKind::Netns,
            &[socket(1, "0.0.0.0", 5, 7, 9), socket(1, "::", 6, 7, 9)],
        );
        assert_eq!(
            plan.ports[&port_index(0, 27960)],
            PortEntry {
                scope: 7,
                server: 1,
                mode: Mode::Single as u32
            }
        );
        assert!(plan.endpoints.is_empty() && plan.host_ports.is_empty());
    }

    #[test]
    fn a_stranger_in_another_scope_does_no_harm() {
        let sockets = [socket(1, "0.0.0.0", 5, 7, 9), socket(0, "0.0.0.0", 6, 8, 9)];
        assert_eq!(mode(&Plan::new(ScopeKind::Netns, &sockets)), Mode::Single as u32);
        assert_eq!(mode(&Plan::new(ScopeKind::Cgroup, &sockets)), Mode::Table as u32);
    }

    #[test]
    fn two_namespaces_on_one_port_are_told_apart_by_cookie_even_in_one_cgroup() {
        let sockets = [socket(1, "0.0.0.0", 5, 7, 9), socket(2, "0.0.0.0", 6, 8, 9)];
        let plan = Plan::new(ScopeKind::Cgroup, &sockets);
        assert_eq!(mode(&plan), Mode::Table as u32);
        let servers: BTreeSet<u32> = plan.endpoints.values().copied().collect();
        assert_eq!(servers, BTreeSet::from([1, 2]));
        assert!(
            plan.endpoints
                .keys()
                .all(|key| key.kind == EndpointKind::Cookie as u8)
        );
        assert!(plan.ambiguous.is_empty());
    }

    #[test]
    fn tcp_that_nothing_tells_apart_is_reported() {
        let mut sockets = [socket(1, "0.0.0.0", 5, 7, 9), socket(2, "0.0.0.0", 6, 8, 9)];
        for socket in &mut sockets {
            socket.protocol = Protocol::Tcp;
        }
        assert_eq!(Plan::new(ScopeKind::Cgroup, &sockets).ambiguous.len(), 2);
        assert!(Plan::new(ScopeKind::Netns, &sockets).ambiguous.is_empty());
    }

    #[test]
    fn two_addresses_on_one_port() {
        let mut sockets = [socket(1, "127.0.0.1", 5, 7, 9), socket(2, "127.0.0.2", 6, 7, 9)];
        for socket in &mut sockets {
            socket.protocol = Protocol::Tcp;
            socket.place = NetnsPlace::AgentsOwn;
        }
        let plan = Plan::new(ScopeKind::Netns, &sockets);
        assert_eq!(plan.ports[&port_index(1, 27960)].mode, Mode::Table as u32);
        assert_eq!(plan.host_ports[&port_index(1, 27960)].mode, Mode::Table as u32);
        assert_eq!(plan.endpoints.len(), 4);
        assert!(plan.endpoints.values().all(|server| server & HOST_FLAG != 0));
    }
}
