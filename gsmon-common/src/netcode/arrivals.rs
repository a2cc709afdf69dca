//! The client's own numbers: which arrived, which are missing, which came late, twice, or from somewhere else.

use super::{
    layout::{Case, Parts},
    numbers::{STRAY, ahead},
    slot::{GAPS, NetcodeCounts, state},
};

/// What fills a gap sooner than this (30 ms, in the unit of [`gap_time`]) came by another way; later it was sent again.
const REORDERING: u16 = 28;

/// Counts a number of the client. By how much it goes beyond the highest; 0 where it does not.
#[inline(always)]
pub(super) fn number_from_client(
    counts: &mut NetcodeCounts,
    case: &Case,
    channel: u32,
    number: u32,
    choked: impl FnOnce() -> u32,
    now_ns: u64,
) -> u32 {
    if counts.state & state::UP == 0 {
        counts.state |= state::UP;
        counts.up_channel = channel.wrapping_add(1);
        begin(counts, number);
        return 0;
    }
    if counts.up_channel != channel.wrapping_add(1) {
        return 0;
    }
    let step = ahead(number, counts.up_highest, case.sequence_bits);
    if step > 0 && step <= STRAY as i32 {
        let step = step as u32;
        // Of numbers between that may have been in commands that nobody read it is not known whether they came: they are
        // not counted at all, and none of them is waited for.
        let unread = step > 1 && counts.state & state::LEFT != 0;
        counts.state &= !state::LEFT;
        let sent = if step == 1 || unread {
            1
        } else {
            let choked = choked();
            if choked < step { step - choked } else { 1 }
        };
        counts.up_expected = counts.up_expected.wrapping_add(sent);
        counts.up_received = counts.up_received.wrapping_add(1);
        counts.up_seen = if step < 64 {
            counts.up_seen << (step & 63) | 1
        } else {
            1
        };
        if unread {
            counts.up_seen |= if step < 64 {
                (1 << (step & 63)) - 1
            } else {
                u64::MAX
            };
        }
        counts.up_highest = number;
        counts.up_anew = 0;
        let mut back = 1;
        while back < step && back <= GAPS as u32 {
            counts.up_gaps[gap_of(number.wrapping_sub(back))] = gap_time(now_ns);
            back += 1;
        }
        return step;
    }
    if step <= 0 && step > -64 {
        let bit = 1u64 << (-step as u32 & 63);
        if counts.up_seen & bit != 0 {
            counts.up_repeated = counts.up_repeated.wrapping_add(1);
            return 0;
        }
        counts.up_seen |= bit;
        let missed_for = gap_time(now_ns).wrapping_sub(counts.up_gaps[gap_of(number)]);
        let resent = case.parts & Parts::RESENT != 0 && missed_for > reordering(counts);
        if !resent {
            counts.up_received = counts.up_received.wrapping_add(1);
            counts.up_reordered = counts.up_reordered.wrapping_add(1);
        }
        return 0;
    }
    // Far away. Two in a row are a client that has begun anew.
    if counts.up_anew != 0 && number == counts.up_anew - 1 {
        counts.up_restarts = counts.up_restarts.wrapping_add(1);
        begin(counts, number);
        return 0;
    }
    counts.up_strays = counts.up_strays.wrapping_add(1);
    counts.up_anew = next(number, case.sequence_bits).wrapping_add(1);
    0
}

/// Place of a missing number.
#[inline(always)]
fn gap_of(number: u32) -> usize {
    number as usize & (GAPS - 1)
}

/// For how long a missing number may be late. On a short line it is sent again sooner than [`REORDERING`], but not before
/// it has been missed for about a round trip.
#[inline(always)]
fn reordering(counts: &NetcodeCounts) -> u16 {
    let round_trip = counts.rtt_last_us >> 10;
    if counts.rtt_last_us == 0 || round_trip > REORDERING as u32 {
        REORDERING
    } else {
        (round_trip - (round_trip >> 2)).max(1) as u16
    }
}

/// Units of 2^20 ns, which go round in 69 s.
#[inline(always)]
fn gap_time(now_ns: u64) -> u16 {
    (now_ns >> 20) as u16
}

#[inline(always)]
fn next(number: u32, bits: u8) -> u32 {
    let unused = 32u32.wrapping_sub(bits as u32) & 31;
    number.wrapping_add(1) << unused >> unused
}

#[inline(always)]
fn begin(counts: &mut NetcodeCounts, number: u32) {
    counts.up_highest = number;
    // What comes late from before the beginning is not waited for.
    counts.up_seen = u64::MAX;
    counts.up_anew = 0;
    counts.up_expected = counts.up_expected.wrapping_add(1);
    counts.up_received = counts.up_received.wrapping_add(1);
}
