//! Counting a packet in exactly one place: its flow, the candidates of its server, or the overflow of its server.
//!
//! A remote endpoint gets a slot only after traffic in both directions, so that a flood of random sources cannot take
//! the slots of players. A TCP handshake alone (SYN, SYN-ACK) is no traffic both ways.

use aya_ebpf::{EbpfContext, bindings::BPF_NOEXIST, helpers::bpf_ktime_get_ns};
use aya_log_ebpf::warn;
use gsmon_common::{
    flow::{
        DETAIL_BUCKETS, DetailDirection, FlowKey, FlowSide, FlowSlot, SEEN_RX, SEEN_TX, SIZE_BUCKETS, Traffic,
    },
    hist,
    server::{CADENCE_ENTRIES, CADENCE_GAP_NS, ServerDirection},
    stat::Stat,
};

use super::{
    Direction,
    netcode::{Netcode, Place},
    recent::slot_of,
};
use crate::{
    atomic::{add_packed, add_traffic, count},
    globals,
    maps::{CADENCE, CANDIDATES, DETAILS, FLOW_FREE, FLOW_SLOTS, FLOWS, SERVERS},
};

/// TCP flag that only handshakes carry.
const TCP_SYN: u8 = 0x02;

/// What a packet adds.
#[derive(Clone, Copy)]
pub struct Load {
    /// Datagrams or segments.
    pub packets: u64,
    /// IP-layer bytes.
    pub bytes: u64,
    /// TCP flags; 0 for UDP.
    pub tcp_flags: u8,
    /// Where the IP header begins.
    pub ip: u32,
    /// Where a UDP header begins; 0 for TCP, which has no netcode of its own.
    pub udp: u32,
}

/// Bytes of a UDP header.
const UDP_HEADER_BYTES: u32 = 8;

/// Counts a packet of a server.
#[inline(always)]
pub fn account<C: EbpfContext>(
    ctx: &C,
    packet: &impl Netcode,
    key: &FlowKey,
    direction: Direction,
    load: Load,
) {
    let slot = match slot_of(key) {
        Some(slot) => slot,
        None => match admit(ctx, key, direction, load) {
            Some(slot) => slot,
            None => return,
        },
    };
    let Some(flow) = FLOW_SLOTS.get_ptr_mut(slot) else {
        return;
    };
    // SAFETY: non-null map pointer; counters are added to atomically, the rest is estimates.
    unsafe {
        let side: *mut FlowSide = match direction {
            Direction::Receive => &raw mut (*flow).rx,
            Direction::Transmit => &raw mut (*flow).tx,
        };
        let detail = core::ptr::read_volatile(&raw const (*side).detail);
        add_packed(&raw mut (*side).carried, load.packets, load.bytes);
        if detail != 0 {
            describe(packet, detail, side, u32::from(key.server), direction, load);
        }
    }
}

/// Histograms of a flow with a detail slot, the send cadence of its server, and its netcode.
///
/// # Safety
/// `side` points into a live flow slot.
#[inline(always)]
unsafe fn describe(
    packet: &impl Netcode,
    slot: u32,
    side: *mut FlowSide,
    server: u32,
    direction: Direction,
    load: Load,
) {
    let Some(detail) = DETAILS.get_ptr_mut(slot) else {
        return;
    };
    // SAFETY: non-null map pointers; indices are checked against the lengths.
    unsafe {
        let distributions: *mut DetailDirection = match direction {
            Direction::Receive => &raw mut (*detail).rx,
            Direction::Transmit => &raw mut (*detail).tx,
        };
        let bytes = if load.packets > 1 {
            load.bytes / load.packets
        } else {
            load.bytes
        };
        let size_index = hist::SIZE.index(bytes);
        let now_ns = bpf_ktime_get_ns();
        let last_ns = (*side).last_ns;
        (*side).last_ns = now_ns;
        // The first packet has no predecessor; a racing CPU may have stored a later time.
        if last_ns != 0 && last_ns <= now_ns {
            let gap_index = hist::INTER_ARRIVAL.index(now_ns - last_ns);
            bump(distributions, SIZE_BUCKETS + gap_index, 1);
        }
        bump(distributions, size_index, load.packets as u32);
        if direction == Direction::Transmit
            && let Some(totals) = SERVERS.get_ptr_mut(server)
        {
            let previous_ns = (*totals).tx.last_ns;
            (*totals).tx.last_ns = now_ns;
            if now_ns.wrapping_sub(previous_ns) >= CADENCE_GAP_NS {
                begin_batch(server, now_ns);
            }
        }
        let layout = core::ptr::read_volatile(&raw const (*side).layout);
        if layout != 0 && load.udp != 0 {
            let place = Place {
                start: load.udp + UDP_HEADER_BYTES,
                // Of an aggregate the first datagram is read.
                length: (bytes as u32).wrapping_sub(load.udp - load.ip + UDP_HEADER_BYTES) & 0xffff,
                slot,
                layout,
            };
            packet.netcode(place, direction, now_ns);
        }
    }
}

/// Adds to a bucket of a distribution, plainly: two CPUs that count packets of one direction in the same nanosecond may
/// lose one of them, which changes no quantile; what the flow has carried is exact all the same. An atomic add would wait
/// for its cache line, and hold up whatever comes after it, in every packet.
///
/// # Safety
/// `distributions` points into a live map value.
#[inline(always)]
unsafe fn bump(distributions: *mut DetailDirection, index: usize, more: u32) {
    // SAFETY: by contract. All buckets together are a power of two: a mask bounds the index, with nothing to compare.
    unsafe {
        let bucket = distributions.cast::<u32>().add(index & (DETAIL_BUCKETS - 1));
        let count = core::ptr::read_volatile(bucket);
        core::ptr::write_volatile(bucket, count.wrapping_add(more));
    }
}

#[inline(always)]
fn begin_batch(server: u32, now_ns: u64) {
    let Some(cadence) = CADENCE.get_ptr_mut(server) else {
        return;
    };
    // SAFETY: non-null map pointer; the position is masked. Two CPUs may overwrite each other's entry: an estimate.
    unsafe {
        let head = (*cadence).head;
        let position = head as usize & (CADENCE_ENTRIES - 1);
        *(&raw mut (*cadence).start_ns).cast::<u64>().add(position) = now_ns;
        core::ptr::write_volatile(&raw mut (*cadence).head, head + 1);
    }
}

/// Slot for a flow that has none yet, or `None` after counting the packet elsewhere.
#[inline(never)]
fn admit<C: EbpfContext>(ctx: &C, key: &FlowKey, direction: Direction, load: Load) -> Option<u32> {
    let (mine, other) = match direction {
        Direction::Receive => (SEEN_RX, SEEN_TX),
        Direction::Transmit => (SEEN_TX, SEEN_RX),
    };
    let tag = tag(key);
    let candidate = CANDIDATES.get_ptr_mut(tag as u32 & globals::candidate_mask())?;
    // SAFETY: non-null map pointer. Races replace a candidate early, which delays its promotion.
    let both_ways = unsafe {
        if (*candidate).tag == tag {
            let seen = (*candidate).seen;
            (*candidate).seen = seen | mine;
            seen & other != 0
        } else {
            if (*candidate).tag != 0 {
                count(Stat::CandidateReplaced);
            }
            (*candidate).tag = tag;
            (*candidate).seen = mine;
            false
        }
    };
    if !both_ways || load.tcp_flags & TCP_SYN != 0 {
        add_outside(u32::from(key.server), direction, load, Outside::Candidate);
        return None;
    }
    match create(key) {
        Some(slot) => Some(slot),
        None => {
            add_outside(u32::from(key.server), direction, load, Outside::Overflow);
            if globals::kernel_log() != 0 {
                warn!(
                    ctx,
                    "no flow slot for a client of server {}",
                    u32::from(key.server)
                );
            }
            None
        }
    }
}

#[inline(always)]
fn create(key: &FlowKey) -> Option<u32> {
    let Ok(Some(slot)) = FLOW_FREE.pop() else {
        count(Stat::FlowSlotsExhausted);
        return None;
    };
    if FLOWS.insert(key, slot, BPF_NOEXIST as u64).is_err() {
        if FLOW_FREE.push(slot, 0).is_err() {
            count(Stat::SlotReturnFailed);
        }
        // SAFETY: as in `account`.
        return match unsafe { FLOWS.get(key) } {
            Some(slot) => {
                count(Stat::FlowInsertRaced);
                Some(*slot)
            }
            None => {
                count(Stat::FlowInsertFailed);
                None
            }
        };
    }
    let flow: *mut FlowSlot = FLOW_SLOTS.get_ptr_mut(slot)?;
    // SAFETY: non-null map pointer; the slot came off the free queue, so only its creator writes key and generation.
    // Other CPUs may already add to its counters.
    unsafe {
        (*flow).key = *key;
        let generation = core::ptr::read_volatile(&raw const (*flow).generation);
        core::ptr::write_volatile(&raw mut (*flow).generation, generation.wrapping_add(1));
    }
    count(Stat::FlowCreated);
    Some(slot)
}

/// Where a packet outside any flow is counted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Outside {
    /// One direction only so far.
    Candidate,
    /// No slot.
    Overflow,
    /// XDP or tc has counted it; the firewall let it through.
    Delivered,
}

/// Counts a packet of `server` outside its flows.
#[inline(always)]
pub fn add_outside(server: u32, direction: Direction, load: Load, place: Outside) {
    let Some(slot) = SERVERS.get_ptr_mut(server) else {
        return;
    };
    // SAFETY: non-null map pointer.
    unsafe {
        let side: *mut ServerDirection = match direction {
            Direction::Receive => &raw mut (*slot).rx,
            Direction::Transmit => &raw mut (*slot).tx,
        };
        let traffic: *mut Traffic = match place {
            Outside::Candidate => &raw mut (*side).candidate,
            Outside::Overflow => &raw mut (*side).overflow,
            Outside::Delivered => &raw mut (*side).delivered,
        };
        add_traffic(traffic, load.packets, load.bytes);
    }
}

/// Seeded hash of a key, never 0. The seed is random per load, so that senders cannot aim for a bucket.
#[inline(always)]
fn tag(key: &FlowKey) -> u64 {
    // SAFETY: FlowKey is 24 bytes without implicit padding and 4-aligned.
    let words = unsafe { core::mem::transmute::<FlowKey, [u32; 6]>(*key) };
    let mut hash = globals::hash_seed();
    for word in words {
        // The finaliser of MurmurHash3, a public-domain mixing function, per word.
        hash ^= word as u64;
        hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
        hash ^= hash >> 33;
    }
    hash | 1 << 63
}
