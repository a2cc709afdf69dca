//! Flows: one remote endpoint on one server. Key, hot slot, detail slot.
//!
//! Counters are monotonic over the life of the *slot*, not of the flow: they are never zeroed. The agent keeps a
//! baseline per slot and takes differences; `generation` tells it that a slot has a new occupant.

use crate::hist;

/// Who talks to which server. The local address is not part of it: both directions meet in one flow even behind
/// NAT, and a server that binds several addresses sees a client once.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct FlowKey {
    /// Remote address; IPv4 as IPv4-mapped IPv6 (RFC 4291, 2.5.5.2), network byte order.
    pub remote_addr: [u8; 16],
    /// Server slot.
    pub server: u32,
    /// Remote port, host byte order.
    pub remote_port: u16,
    /// IANA protocol number.
    pub protocol: u8,
    /// Zero.
    pub pad: u8,
}

/// What one direction of a flow has carried.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Traffic {
    /// UDP datagrams or TCP segments (aggregated segments counted one by one).
    pub packets: u64,
    /// IP-layer bytes, with the replicated headers of aggregated segments.
    pub bytes: u64,
}

/// One direction of a flow. Everything that a packet of that direction touches in the hot tier lies on one cache line,
/// and names the detail slot, so that nothing has to be fetched before it.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FlowSide {
    /// What it has carried.
    pub traffic: Traffic,
    /// CLOCK_MONOTONIC of the last packet, kept while there is a detail slot. Racy between CPUs: an estimate.
    pub last_ns: u64,
    /// Detail slot, written by the agent, the same on both sides; 0 for none.
    pub detail: u32,
    /// Zero.
    pub pad: u32,
}

/// Hot slot: 128 bytes, receive and transmit on their own cache lines. The key shares the receive line: it is
/// written once.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
pub struct FlowSlot {
    /// Client to server.
    pub rx: FlowSide,
    /// Occupant.
    pub key: FlowKey,
    /// Counts occupants of this slot.
    pub generation: u32,
    /// Zero.
    pub pad_rx: u32,
    /// Server to client.
    pub tx: FlowSide,
    /// Zero.
    pub pad_tx: [u64; 4],
}

/// Buckets of the size histogram.
pub const SIZE_BUCKETS: usize = hist::SIZE.buckets();
/// Buckets of the inter-arrival histogram.
pub const INTER_ARRIVAL_BUCKETS: usize = hist::INTER_ARRIVAL.buckets();

/// Distributions of one direction of a flow.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
pub struct DetailDirection {
    /// Packet sizes, layout [`hist::SIZE`]. An aggregate counts once, at its segments' mean size.
    pub size: [u32; SIZE_BUCKETS],
    /// Time since the previous packet of this direction, layout [`hist::INTER_ARRIVAL`].
    pub inter_arrival: [u32; INTER_ARRIVAL_BUCKETS],
}

/// Detail slot: distributions of both directions. Monotonic like the hot slot.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
pub struct DetailSlot {
    /// Client to server.
    pub rx: DetailDirection,
    /// Server to client.
    pub tx: DetailDirection,
}

/// One bucket of the candidate table: a remote endpoint seen in one direction only. Overwritten on collision, which
/// at worst delays the promotion of a real client by one more exchange; the packets are counted per server anyway.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Candidate {
    /// Seeded 64-bit hash of the flow key; 0 for empty.
    pub tag: u64,
    /// Directions seen, a mask of [`SEEN_RX`] and [`SEEN_TX`].
    pub seen: u64,
}

/// A candidate sent us something.
pub const SEEN_RX: u64 = 1;
/// We sent a candidate something.
pub const SEEN_TX: u64 = 2;

const _: () = assert!(size_of::<FlowKey>() == 24);
const _: () = assert!(size_of::<FlowSlot>() == 128);
const _: () = assert!(core::mem::offset_of!(FlowSlot, tx) == 64);
const _: () = assert!(size_of::<DetailSlot>() == 640);
