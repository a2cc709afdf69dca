//! Flows: one remote endpoint on one game port of a server. Key, hot slot, detail slot.
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
    /// Server slot: at most 16,384 of them.
    pub server: u16,
    /// Local port, host byte order: what is spoken there may differ from port to port.
    pub local_port: u16,
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

/// What one direction of a flow has carried, in one word, so that one atomic add counts a packet: packets from bit 36 on,
/// bytes below. Both run over into nothing but themselves as long as it is read as a difference: every 64 GiB and every
/// 268 million packets of that direction at the latest.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PackedTraffic(pub u64);

const PACKED_BYTES_BITS: u32 = 36;

impl PackedTraffic {
    /// One word for `packets` and `bytes`.
    #[inline(always)]
    pub const fn new(packets: u64, bytes: u64) -> Self {
        Self((packets << PACKED_BYTES_BITS).wrapping_add(bytes))
    }

    /// What has come since `before`.
    #[inline(always)]
    pub const fn since(self, before: Self) -> Traffic {
        let grown = self.0.wrapping_sub(before.0);
        Traffic {
            packets: grown >> PACKED_BYTES_BITS,
            bytes: grown & ((1 << PACKED_BYTES_BITS) - 1),
        }
    }

    /// With more.
    #[inline(always)]
    pub const fn plus(self, packets: u64, bytes: u64) -> Self {
        Self(self.0.wrapping_add(Self::new(packets, bytes).0))
    }
}

/// Two slots of flows seen last on one line of the cache, newest first, as (tag, slot) of 12 and 20 bits each.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RecentFlows(pub u64);

const RECENT_SLOT_BITS: u32 = 20;

impl RecentFlows {
    /// The slot under a tag of 12 bits; `None` where there is none.
    #[inline(always)]
    pub const fn find(self, tag: u32) -> Option<u32> {
        let (first, second) = (self.0 as u32, (self.0 >> 32) as u32);
        let found = if first >> RECENT_SLOT_BITS == tag {
            first
        } else if second >> RECENT_SLOT_BITS == tag {
            second
        } else {
            0
        };
        match found & ((1 << RECENT_SLOT_BITS) - 1) {
            0 => None,
            slot => Some(slot),
        }
    }

    /// With one more in front; a slot number that does not fit is left out.
    #[inline(always)]
    pub const fn with(self, tag: u32, slot: u32) -> Self {
        if slot >> RECENT_SLOT_BITS != 0 {
            return self;
        }
        Self(self.0 << 32 | (tag << RECENT_SLOT_BITS | slot) as u64)
    }
}

/// One direction of a flow. Everything that a packet of that direction touches in the hot tier lies on one cache line,
/// and names the detail slot, so that nothing has to be fetched before it.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FlowSide {
    /// What it has carried.
    pub carried: PackedTraffic,
    /// CLOCK_MONOTONIC of the last packet, kept while there is a detail slot. Racy between CPUs: an estimate.
    pub last_ns: u64,
    /// Detail slot, written by the agent, the same on both sides; 0 for none.
    pub detail: u32,
    /// Place of its netcode layout in the table, written by the agent, the same on both sides; 0 for none. Only where
    /// there is a detail slot.
    pub layout: u32,
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
    pub pad_generation: u32,
    /// Zero.
    pub pad_rx: u64,
    /// Server to client.
    pub tx: FlowSide,
    /// Zero.
    pub pad_tx: [u64; 5],
}

/// Buckets of the size histogram.
pub const SIZE_BUCKETS: usize = hist::SIZE.buckets();
/// Buckets of the inter-arrival histogram.
pub const INTER_ARRIVAL_BUCKETS: usize = hist::INTER_ARRIVAL.buckets();

/// Buckets of both, a power of two, one after the other.
pub const DETAIL_BUCKETS: usize = SIZE_BUCKETS + INTER_ARRIVAL_BUCKETS;

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
const _: () = assert!(core::mem::offset_of!(FlowSlot, key) % 8 == 0);
const _: () = assert!(DETAIL_BUCKETS.is_power_of_two());
const _: () = assert!(size_of::<DetailDirection>() == size_of::<u32>() * DETAIL_BUCKETS);
const _: () = assert!(size_of::<DetailSlot>() == 512);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn packed_traffic_is_exact_across_overflow(
            start in any::<u64>(),
            steps in prop::collection::vec((1u64..64, 0u64..(1 << 20)), 0..200),
        ) {
            let before = PackedTraffic(start);
            let (mut now, mut packets, mut bytes) = (before, 0, 0);
            for (more_packets, more_bytes) in steps {
                now = now.plus(more_packets, more_bytes);
                packets += more_packets;
                bytes += more_bytes;
            }
            prop_assert_eq!(now.since(before), Traffic { packets, bytes });
        }

        #[test]
        fn the_two_latest_flows_of_a_line_are_found(tags in prop::collection::vec((0u32..4096, 1u32..1 << 20), 2..20)) {
            let mut line = RecentFlows::default();
            for (tag, slot) in &tags {
                line = line.with(*tag, *slot);
            }
            let [.., older, newer] = tags[..] else { unreachable!() };
            prop_assert_eq!(line.find(newer.0), Some(newer.1));
            if older.0 != newer.0 {
                prop_assert_eq!(line.find(older.0), Some(older.1));
            }
        }
    }

    #[test]
    fn an_empty_line_and_a_slot_too_large_name_nothing() {
        assert_eq!(RecentFlows::default().find(0), None);
        assert_eq!(RecentFlows::default().with(7, 1 << 20).find(7), None);
    }
}
