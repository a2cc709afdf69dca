//! What was sent and what the client says of it: stamps and round trips, what was sent again, reports and refusals, and the
//! spin bit.

use super::{
    layout::Case,
    numbers::{STRAY, TIME_BITS, TIME_MASK, ahead, microseconds, spread},
    slot::{CHANNELS, NetcodeCounts, NetcodeSlot, RESENT, RTT_BUCKETS, STAMPS, state},
};
use crate::hist;

/// Stamps older than this are of packets whose acknowledgement was lost.
pub(super) const STAMP_STALE_US: u64 = 2_000_000;
/// Stamps that are older than so many round trips make room.
const STAMP_ROUND_TRIPS: u64 = 4;
/// A shorter time is not waited for.
const STAMP_SHORTEST_US: u64 = 200_000;
/// A spin bit that turns faster is none.
const SPIN_SHORTEST_NS: u64 = 200_000;

/// Was this number sent on this channel before?
#[inline(always)]
pub(super) fn is_again(slot: &mut NetcodeSlot, channel: u32, number: u32, bits: u8) -> bool {
    let place = &mut slot.highest[spread(channel, CHANNELS)];
    let tag = channel.wrapping_add(1);
    if (*place >> 32) as u32 != tag {
        *place = (tag as u64) << 32 | number as u64;
        return false;
    }
    let step = ahead(number, *place as u32, bits);
    if step > 0 || step < -(STRAY as i32) {
        *place = (tag as u64) << 32 | number as u64;
        return false;
    }
    true
}

/// How long an acknowledgement is waited for.
#[inline(always)]
pub(super) fn patience_us(counts: &NetcodeCounts) -> u64 {
    let patience_us = (counts.rtt_last_us as u64 * STAMP_ROUND_TRIPS).max(STAMP_SHORTEST_US);
    if counts.rtt_last_us == 0 || patience_us > STAMP_STALE_US {
        STAMP_STALE_US
    } else {
        patience_us
    }
}

#[inline(always)]
pub(super) fn stamp(slot: &mut NetcodeSlot, key: u32, now_ns: u64, again: bool) {
    let now_us = microseconds(now_ns);
    let patience_us = patience_us(&slot.counts);
    let place = &mut slot.stamps[spread(key, STAMPS)];
    let tag = (key as u64) << TIME_BITS;
    if again {
        // Which of the two is acknowledged cannot be told.
        if *place & !TIME_MASK == tag {
            *place = 0;
        }
        return;
    }
    let age_us = now_us.wrapping_sub(*place & TIME_MASK) & TIME_MASK;
    // One that waits for its acknowledgement goes first, else nobody far away would ever be measured.
    if *place == 0 || age_us > patience_us {
        *place = tag | now_us;
    }
}

#[inline(always)]
pub(super) fn acknowledge(slot: &mut NetcodeSlot, key: u32, now_ns: u64, hold_us: u64) {
    let place = &mut slot.stamps[spread(key, STAMPS)];
    let tag = (key as u64) << TIME_BITS;
    let stamped = *place;
    let counts = &mut slot.counts;
    if stamped == 0 || stamped & !TIME_MASK != tag {
        counts.unmatched = counts.unmatched.wrapping_add(1);
        return;
    }
    *place = 0;
    let away_us = microseconds(now_ns).wrapping_sub(stamped & TIME_MASK) & TIME_MASK;
    if away_us > STAMP_STALE_US {
        counts.unmatched = counts.unmatched.wrapping_add(1);
        return;
    }
    // Who claims to have held it for longer than it was away has told nothing.
    if hold_us > away_us {
        return;
    }
    round_trip(slot, away_us - hold_us);
}

#[inline(always)]
pub(super) fn round_trip(slot: &mut NetcodeSlot, rtt_us: u64) {
    // The compiler knows that it is below, and would leave out the comparison that the kernel's verifier asks for.
    let index = core::hint::black_box(hist::RTT.index(rtt_us * 1_000));
    if index < RTT_BUCKETS {
        slot.rtt[index] = slot.rtt[index].wrapping_add(1);
    }
    let counts = &mut slot.counts;
    // 0 stands for none.
    let rtt = rtt_us.max(1) as u32;
    counts.rtt_sum_us = counts.rtt_sum_us.wrapping_add(rtt_us);
    counts.rtt_samples = counts.rtt_samples.wrapping_add(1);
    counts.rtt_last_us = rtt;
    if counts.rtt_min_us == 0 || rtt < counts.rtt_min_us {
        counts.rtt_min_us = rtt;
    }
}

/// 1 if this number is known to be acknowledged, else 0.
#[inline(always)]
pub(super) fn is_settled(counts: &NetcodeCounts, key: u32) -> u64 {
    let back = counts.down_judged.wrapping_sub(key);
    if back < 64 {
        counts.down_settled >> (back & 63) & 1
    } else {
        0
    }
}

/// What was sent again is acknowledged; twice, where it need not have been.
#[inline(always)]
pub(super) fn settle(slot: &mut NetcodeSlot, key: u32) {
    let counts = &mut slot.counts;
    let (step, back) = (
        key.wrapping_sub(counts.down_judged),
        counts.down_judged.wrapping_sub(key),
    );
    if back < 64 {
        counts.down_settled |= 1 << (back & 63);
    } else {
        // Of another channel, or after a long gap: nothing is known of those before.
        counts.down_settled = if step < 64 {
            counts.down_settled << (step & 63) | 1
        } else {
            1
        };
        counts.down_judged = key;
    }
    let place = &mut slot.resent[spread(key, RESENT)];
    if *place == 0 || (*place >> 32) as u32 != key {
        return;
    }
    if *place as u32 == 1 {
        *place += 1;
    } else {
        *place = 0;
        slot.counts.down_needless = slot.counts.down_needless.wrapping_add(1);
    }
}

/// All numbers below `next` arrived. Of one that was sent again and that nobody acknowledged, this is the acknowledgement,
/// and one of its own that follows says that it came twice. A datagram says `next` in front of each acknowledgement in
/// it, whatever it acknowledges further on: so it counts when another one has come.
#[inline(always)]
pub(super) fn cover(slot: &mut NetcodeSlot, next: u32) {
    let before = slot.counts.down_reported;
    if next == before {
        return;
    }
    slot.counts.down_reported = next;
    for place in &mut slot.resent {
        let below = before.wrapping_sub((*place >> 32) as u32);
        if *place as u32 == 1 && below > 0 && below <= STRAY {
            *place += 1;
        }
    }
}

/// Reads a report on the numbers up to `number`, those that were not judged before.
#[inline(always)]
pub(super) fn judge(counts: &mut NetcodeCounts, case: &Case, number: u32, received: u32) {
    if counts.state & state::DOWN == 0 {
        counts.state |= state::DOWN;
        counts.down_judged = number;
        return;
    }
    // Bit `settling` is of the newest number that is judged.
    let new = ahead(number, counts.down_judged, case.sequence_bits);
    if new <= 0 {
        if new < -(STRAY as i32) {
            counts.down_judged = number;
        }
        return;
    }
    counts.down_judged = number;
    let settling = case.settling as u32 & 31;
    let most = case.received_bits.saturating_sub(settling);
    let new = new as u32;
    // More than the report reaches back to: those are not known of.
    let judged = if new > most { most } else { new };
    let bits = received >> settling;
    let mask = if judged >= 32 {
        u32::MAX
    } else {
        (1u32 << (judged & 31)) - 1
    };
    let missing = ones(!bits & mask);
    counts.down_reported = counts.down_reported.wrapping_add(judged);
    counts.down_missing = counts.down_missing.wrapping_add(missing);
}

/// Number of ones. BPF has no instruction for it.
#[inline(always)]
const fn ones(word: u32) -> u32 {
    let mut v = word;
    v -= (v >> 1) & 0x5555_5555;
    v = (v & 0x3333_3333) + ((v >> 2) & 0x3333_3333);
    ((v + (v >> 4)) & 0x0f0f_0f0f).wrapping_mul(0x0101_0101) >> 24
}

/// The spin bit turns when what turned it has gone there and back (RFC 9312, 3.8.1).
#[inline(always)]
pub(super) fn spin(slot: &mut NetcodeSlot, bit: u32, now_ns: u64) {
    let counts = &mut slot.counts;
    let run = counts.spin_run;
    if counts.state & state::SPIN == 0 {
        counts.state |= state::SPIN;
        counts.spin_run = 2 | bit;
        return;
    }
    if run & 1 == bit {
        counts.spin_run = if run > u32::MAX / 2 { run } else { run + 2 };
        return;
    }
    counts.spin_run = 2 | bit;
    counts.spin_turns = counts.spin_turns.wrapping_add(1);
    if run >> 1 == 1 {
        counts.spin_single = counts.spin_single.wrapping_add(1);
    }
    let edge_ns = counts.spin_edge_ns;
    let spun = counts.state & state::SPUN != 0;
    counts.spin_edge_ns = now_ns;
    counts.state |= state::SPUN;
    let rtt_ns = now_ns.wrapping_sub(edge_ns);
    if spun && rtt_ns > SPIN_SHORTEST_NS && rtt_ns < STAMP_STALE_US * 1_000 {
        round_trip(slot, rtt_ns / 1_000);
    }
}
