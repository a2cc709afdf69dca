//! Servers: how a packet finds its server, and what is counted per server and direction beside the flows.

/// What a (protocol, local port) means.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PortEntry {
    /// Scope in which the port belongs to `server` (see [`Mode`]).
    pub scope: u64,
    /// Server slot; 0 when the port is nobody's or needs the endpoint table.
    pub server: u32,
    /// A [`Mode`].
    pub mode: u32,
}

/// How a port is resolved to a server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Mode {
    /// No game server listens here.
    Closed = 0,
    /// One server in one scope owns every socket on this port: compare the scope.
    Single = 1,
    /// Several scopes or addresses: ask the endpoint table.
    Table = 2,
}

/// Set in a server number (of a port entry or endpoint): the server lives in the agent's own network namespace, so
/// that XDP or tc count its traffic on the interfaces marked in the interface table.
pub const HOST_FLAG: u32 = 1 << 31;

/// Flags of the interface table.
pub mod interface {
    /// XDP or tc counts ingress of the agent's own network namespace here.
    pub const INGRESS_COUNTED: u8 = 1;
    /// tc counts egress of the agent's own network namespace here.
    pub const EGRESS_COUNTED: u8 = 2;
    /// Packets have no link-layer header at the tc hook (TUN and the like).
    pub const NO_LINK_HEADER: u8 = 4;
}

/// Number of entries of a port table: UDP ports, then TCP ports.
pub const PORT_ENTRIES: u32 = 1 << 17;

/// Index of (protocol, port) in a port table.
#[inline(always)]
pub const fn port_index(is_tcp: u32, port: u16) -> u32 {
    is_tcp << 16 | port as u32
}

/// What the scope of a socket is on this kernel. A global of the kernel object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum ScopeKind {
    /// Cgroup id of the socket (`bpf_skb_cgroup_id`, since 4.18).
    Cgroup = 0,
    /// Network namespace cookie (`bpf_get_netns_cookie` in cgroup-skb programs, since 6.15).
    Netns = 1,
}

/// Endpoint of a server on a port that is resolved by table.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct EndpointKey {
    /// Socket cookie, or scope, or 0 for the agent's own network namespace (XDP, tc).
    pub scope: u64,
    /// Local address, IPv4 as mapped; all zero for any, and for cookies.
    pub addr: [u8; 16],
    /// Local port, host byte order; 0 for cookies.
    pub port: u16,
    /// IANA protocol number; 0 for cookies.
    pub protocol: u8,
    /// An [`EndpointKind`].
    pub kind: u8,
    /// Zero.
    pub pad: u32,
}

/// What `EndpointKey::scope` holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum EndpointKind {
    /// A socket cookie (`bpf_get_socket_cookie`, sock_diag's `idiag_cookie`).
    Cookie = 0,
    /// A scope of the kind in force.
    Scope = 1,
    /// The agent's own network namespace, for hooks that see no socket.
    Host = 2,
}

/// Packets and bytes of one kind.
pub use crate::flow::Traffic;

/// What one direction of a server saw outside its flows.
#[repr(C, align(64))]
#[derive(Clone, Copy, Default)]
pub struct ServerDirection {
    /// From or to remote endpoints without traffic both ways.
    pub candidate: Traffic,
    /// Both ways, but no slot was free.
    pub overflow: Traffic,
    /// At the cgroup hook, for traffic that XDP or tc counts: what the firewall let through.
    pub delivered: Traffic,
    /// CLOCK_MONOTONIC of the last packet of a flow with a detail slot; racy.
    pub last_ns: u64,
    /// Zero.
    pub pad: u64,
}

/// Per-server counters, monotonic over the life of the agent.
#[repr(C, align(64))]
#[derive(Clone, Copy, Default)]
pub struct ServerSlot {
    /// Clients to server.
    pub rx: ServerDirection,
    /// Server to clients.
    pub tx: ServerDirection,
}

/// Send batches kept per server. A power of two, so that a mask bounds the position.
pub const CADENCE_ENTRIES: usize = 256;
/// A pause in sending at least this long starts a new batch.
pub const CADENCE_GAP_NS: u64 = 200_000;

/// Start times of a server's send batches (CLOCK_MONOTONIC), newest at `head - 1` modulo the length.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
pub struct Cadence {
    /// Batches ever begun.
    pub head: u64,
    /// Batch start times.
    pub start_ns: [u64; CADENCE_ENTRIES],
}

const _: () = assert!(size_of::<PortEntry>() == 16);
const _: () = assert!(size_of::<EndpointKey>() == 32);
const _: () = assert!(size_of::<ServerSlot>() == 128);
const _: () = assert!(size_of::<Cadence>() == 2048 + 64);
