//! What is kept of one flow's netcode. Like the detail slot it is monotonic and read as differences; unlike it, a few
//! words are states. Two CPUs that handle packets of one flow in the same nanosecond may lose an update.

use crate::hist;

/// Buckets of the round-trip histogram.
pub const RTT_BUCKETS: usize = hist::RTT.buckets();
/// Stamps of packets whose acknowledgement is awaited.
pub const STAMPS: usize = 64;
/// Channels of numbered packets that are told apart.
pub const CHANNELS: usize = 8;
/// Numbers that were sent again and whose acknowledgement is awaited.
pub const RESENT: usize = 8;

/// Missing numbers of the client of which it is known since when; a power of two.
pub const GAPS: usize = 8;

/// Counters and states. Everything that the agent reads in every look.
#[repr(C, align(64))]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct NetcodeCounts {
    /// Arrival of the packet that the next one's jitter is held against, CLOCK_MONOTONIC.
    pub arrival_ns: u64,
    /// The last 64 numbers up to the highest: bit 0 is the highest.
    pub up_seen: u64,
    /// When the spin bit turned last.
    pub spin_edge_ns: u64,
    /// Which of the 64 numbers up to `down_judged` were acknowledged one by one: bit 0 is that one.
    pub down_settled: u64,
    /// Until then nothing is followed, of formats of which one packet at a time is.
    pub due_ns: u64,
    /// Sum of all round trips in microseconds.
    pub rtt_sum_us: u64,
    /// Datagrams that fit one of the layout's kinds, both directions.
    pub read: u32,
    /// Datagrams that fit none.
    pub unread: u32,
    /// Round trips measured.
    pub rtt_samples: u32,
    /// The shortest since the agent has put this back to `u32::MAX` (0: none yet).
    pub rtt_min_us: u32,
    /// The last one.
    pub rtt_last_us: u32,
    /// Acknowledgements of what was not sent, or acknowledged before.
    pub unmatched: u32,
    /// Highest number from the client.
    pub up_highest: u32,
    /// A number out of order, plus one: were the next to follow it, the client has begun anew.
    pub up_anew: u32,
    /// Channel whose numbers are counted, plus one; 0 for none yet.
    pub up_channel: u32,
    /// Numbers that the client has used.
    pub up_expected: u32,
    /// Of them, arrived.
    pub up_received: u32,
    /// Arrived twice.
    pub up_repeated: u32,
    /// Arrived after a higher one.
    pub up_reordered: u32,
    /// Times that the client's numbers began anew.
    pub up_restarts: u32,
    /// Numbers far from the others.
    pub up_strays: u32,
    /// Numbered packets to the client, those sent again included.
    pub down_sent: u32,
    /// Of them, sent again.
    pub down_resent: u32,
    /// Of those, needlessly: both copies were acknowledged.
    pub down_needless: u32,
    /// Numbers on which the client has reported; of formats that say below which all arrived, the newest such number.
    pub down_reported: u32,
    /// Of them, not arrived.
    pub down_missing: u32,
    /// Highest acknowledged number whose report is read; of formats that acknowledge one by one, the newest key.
    pub down_judged: u32,
    /// RFC 3550 jitter, nanoseconds, times 16.
    pub jitter_16ns: u32,
    /// Sender's clock of the packet before.
    pub clock: u32,
    /// Time between two numbers of the client, nanoseconds, times 16; without a clock.
    pub period_16ns: u32,
    /// Packets that came more than a period late.
    pub late: u32,
    /// Packets that came less than a quarter of a period after the one before.
    pub bunched: u32,
    /// Turns of the spin bit.
    pub spin_turns: u32,
    /// Of them, after a single packet: chance, not a round trip.
    pub spin_single: u32,
    /// Packets since the last turn, times 2, plus the bit.
    pub spin_run: u32,
    /// Commands beyond those that are read of one datagram.
    pub left: u32,
    /// Bits of [`state`].
    pub state: u32,
    /// Aggregates of which the first datagram was read.
    pub aggregates: u32,
    /// When each number was found missing, by its lowest bits, in units of 2^20 ns.
    pub up_gaps: [u16; GAPS],
}

/// States of a flow.
pub mod state {
    /// The client's numbers have begun.
    pub const UP: u32 = 1;
    /// `clock` and `arrival_ns` are of a packet.
    pub const CLOCK: u32 = 2;
    /// `down_judged` is a number.
    pub const DOWN: u32 = 4;
    /// The spin bit was seen.
    pub const SPIN: u32 = 8;
    /// The spin bit has turned.
    pub const SPUN: u32 = 16;
    /// The client's last datagram had more commands than are read: which numbers it brought is not known.
    pub const LEFT: u32 = 32;
}

/// Netcode of one flow: with its detail slot 2 KiB.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
pub struct NetcodeSlot {
    /// Counters and states.
    pub counts: NetcodeCounts,
    /// What was sent when: 24 bits of what an acknowledgement will name, 40 bits of microseconds. 0 for none.
    pub stamps: [u64; STAMPS],
    /// Highest number to the client by channel: channel plus one in the upper half.
    pub highest: [u64; CHANNELS],
    /// Sent again and not acknowledged: key in the upper half, acknowledgements plus one in the lower.
    pub resent: [u64; RESENT],
    /// Round trips, layout [`hist::RTT`], nanoseconds.
    pub rtt: [u32; RTT_BUCKETS],
}

impl NetcodeSlot {
    /// Nothing yet.
    pub const EMPTY: Self = Self {
        counts: NetcodeCounts {
            arrival_ns: 0,
            up_seen: 0,
            spin_edge_ns: 0,
            down_settled: 0,
            due_ns: 0,
            rtt_sum_us: 0,
            read: 0,
            unread: 0,
            rtt_samples: 0,
            rtt_min_us: 0,
            rtt_last_us: 0,
            unmatched: 0,
            up_highest: 0,
            up_anew: 0,
            up_channel: 0,
            up_expected: 0,
            up_received: 0,
            up_repeated: 0,
            up_reordered: 0,
            up_restarts: 0,
            up_strays: 0,
            down_sent: 0,
            down_resent: 0,
            down_needless: 0,
            down_reported: 0,
            down_missing: 0,
            down_judged: 0,
            jitter_16ns: 0,
            clock: 0,
            period_16ns: 0,
            late: 0,
            bunched: 0,
            spin_turns: 0,
            spin_single: 0,
            spin_run: 0,
            left: 0,
            state: 0,
            aggregates: 0,
            up_gaps: [0; GAPS],
        },
        stamps: [0; STAMPS],
        highest: [0; CHANNELS],
        resent: [0; RESENT],
        rtt: [0; RTT_BUCKETS],
    };
}

const _: () = assert!(size_of::<NetcodeCounts>() == 192);
const _: () = assert!(size_of::<NetcodeSlot>() == 1536);
const _: () = assert!(size_of::<NetcodeSlot>() + size_of::<crate::flow::DetailSlot>() == 2048);
