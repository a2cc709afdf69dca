//! When the client's packets arrive, against when they were sent: jitter (RFC 3550, 6.4.1), late ones and bunches.

use super::{
    layout::Layout,
    slot::{NetcodeCounts, state},
};

/// A jitter sample is at most this: what is longer is a silence.
const JITTER_LONGEST_NS: u64 = 1_000_000_000;

/// Jitter against the sender's own clock.
#[inline(always)]
pub(super) fn by_clock(counts: &mut NetcodeCounts, layout: &Layout, now_clock: u32, now_ns: u64) {
    if layout.clock_ignored != 0 && now_clock == layout.clock_ignored {
        return;
    }
    let before = counts.clock;
    let known = counts.state & state::CLOCK != 0;
    let gap_ns = now_ns.wrapping_sub(counts.arrival_ns);
    let mut steps = now_clock.wrapping_sub(before);
    if layout.clock_wrap != 0 && now_clock < before {
        steps = steps.wrapping_add(layout.clock_wrap);
    }
    let sent_ns = steps as u64 * layout.clock_step_ns as u64;
    let half = if layout.clock_wrap != 0 {
        layout.clock_wrap / 2
    } else {
        u32::MAX / 2
    };
    // One that was overtaken leaves what the newest has left; one datagram with several commands is one packet.
    if known && (gap_ns == 0 || (steps > half && gap_ns < half as u64 * layout.clock_step_ns as u64)) {
        return;
    }
    counts.clock = now_clock;
    counts.arrival_ns = now_ns;
    counts.state |= state::CLOCK;
    // After a silence the clock may have gone round.
    if !known || gap_ns > JITTER_LONGEST_NS || sent_ns > JITTER_LONGEST_NS {
        return;
    }
    let late = gap_ns > sent_ns;
    let off_ns = if late { gap_ns - sent_ns } else { sent_ns - gap_ns };
    jitter(counts, off_ns);
    timing(counts, gap_ns, sent_ns, late, off_ns);
}

/// Jitter against the mean time between two numbers.
#[inline(always)]
pub(super) fn by_period(counts: &mut NetcodeCounts, advance: u32, now_ns: u64) {
    let gap_ns = now_ns.wrapping_sub(counts.arrival_ns);
    let known = counts.state & state::CLOCK != 0;
    counts.arrival_ns = now_ns;
    counts.state |= state::CLOCK;
    if !known || gap_ns > JITTER_LONGEST_NS || advance > 16 {
        return;
    }
    // A division takes as long as the rest of it.
    let each_ns = if advance == 1 {
        gap_ns as u32
    } else {
        gap_ns as u32 / advance
    };
    let each_16ns = each_ns << 4;
    if counts.period_16ns == 0 {
        counts.period_16ns = each_16ns.max(1);
        return;
    }
    let expected_ns = (counts.period_16ns >> 4) as u64 * advance as u64;
    let period = counts.period_16ns;
    // A slow mean: a client's rate changes seldom, and what arrives late is followed by what arrives early.
    counts.period_16ns = if each_16ns > period {
        period.wrapping_add((each_16ns - period) >> 6)
    } else {
        period.wrapping_sub((period - each_16ns) >> 6)
    };
    let late = gap_ns > expected_ns;
    let off_ns = if late {
        gap_ns - expected_ns
    } else {
        expected_ns - gap_ns
    };
    jitter(counts, off_ns);
    timing(counts, gap_ns, expected_ns, late, off_ns);
}

/// `J += (|D| - J) / 16`.
#[inline(always)]
fn jitter(counts: &mut NetcodeCounts, off_ns: u64) {
    let off_ns = if off_ns > (u32::MAX >> 5) as u64 {
        u32::MAX >> 5
    } else {
        off_ns as u32
    };
    let before = counts.jitter_16ns;
    counts.jitter_16ns = before.wrapping_add(off_ns).wrapping_sub((before + 8) >> 4);
}

#[inline(always)]
fn timing(counts: &mut NetcodeCounts, gap_ns: u64, expected_ns: u64, late: bool, off_ns: u64) {
    if expected_ns == 0 {
        return;
    }
    if late && off_ns > expected_ns {
        counts.late = counts.late.wrapping_add(1);
    }
    if gap_ns < expected_ns >> 2 {
        counts.bunched = counts.bunched.wrapping_add(1);
    }
}
