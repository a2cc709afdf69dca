//! A flow as it was before a packet, so that a bench can have the same packet read again and again: each time as the first.
//! No agent that measures uses this.

use super::{
    numbers::{TIME_BITS, TIME_MASK, microseconds},
    slot::{CHANNELS, NetcodeCounts, NetcodeSlot, RESENT, STAMPS},
};

/// Stamps that are put back: no packet changes more.
const MOST: usize = 8;

/// What a packet changes, as it was before. Times are ages.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Before {
    counts: NetcodeCounts,
    highest: [u64; CHANNELS],
    resent: [u64; RESENT],
    stamps: [u64; MOST],
    /// Places of those.
    places: [u32; MOST],
}

impl Before {
    /// What makes `before` out of `after`, which is `before` and one packet that came at `now_ns`.
    pub fn new(before: &NetcodeSlot, after: &NetcodeSlot, now_ns: u64) -> Self {
        let mut counts = before.counts;
        for time in [
            &mut counts.arrival_ns,
            &mut counts.spin_edge_ns,
            &mut counts.due_ns,
        ] {
            *time = now_ns.wrapping_sub(*time);
        }
        let mut back = Self {
            counts,
            highest: before.highest,
            resent: before.resent,
            stamps: [0; MOST],
            places: [0; MOST],
        };
        let mut known = 0;
        for (place, stamp) in before.stamps.iter().enumerate() {
            if *stamp != after.stamps[place] && known < MOST {
                let age = microseconds(now_ns).wrapping_sub(*stamp) & TIME_MASK;
                back.stamps[known] = if *stamp == 0 { 0 } else { *stamp & !TIME_MASK | age };
                back.places[known] = place as u32;
                known += 1;
            }
        }
        // The rest is what the first is.
        for more in known..MOST {
            back.stamps[more] = back.stamps[0];
            back.places[more] = back.places[0];
        }
        if known == 0 {
            back.stamps = [before.stamps[STAMPS - 1]; MOST];
            back.places = [STAMPS as u32 - 1; MOST];
        }
        back
    }

    /// Puts it back.
    #[inline(always)]
    pub fn restore(&self, slot: &mut NetcodeSlot, now_ns: u64) {
        slot.counts = self.counts;
        slot.counts.arrival_ns = now_ns.wrapping_sub(self.counts.arrival_ns);
        slot.counts.spin_edge_ns = now_ns.wrapping_sub(self.counts.spin_edge_ns);
        slot.counts.due_ns = now_ns.wrapping_sub(self.counts.due_ns);
        slot.highest = self.highest;
        slot.resent = self.resent;
        let now_us = microseconds(now_ns);
        for (stamp, place) in self.stamps.iter().zip(self.places) {
            let time = now_us.wrapping_sub(*stamp) & TIME_MASK;
            let tag = *stamp >> TIME_BITS << TIME_BITS;
            slot.stamps[place as usize & (STAMPS - 1)] = if *stamp == 0 { 0 } else { tag | time };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_packet_changed_is_as_it_was_only_later() {
        let mut before = NetcodeSlot::EMPTY;
        before.stamps[5] = 7 << TIME_BITS | 40;
        before.counts.arrival_ns = 30_000;
        before.highest[3] = 9;
        let mut after = before;
        after.stamps[5] = 0;
        after.highest[3] = 10;
        after.counts.arrival_ns = 50_000;
        Before::new(&before, &after, 50_000).restore(&mut after, 150_000);
        assert_eq!(after.stamps[5], 7 << TIME_BITS | 140);
        assert_eq!((after.counts.arrival_ns, after.highest[3]), (130_000, 9));
        // A stamp at a place that had none goes.
        let mut after = before;
        after.stamps[6] = 8 << TIME_BITS | 50;
        Before::new(&before, &after, 50_000).restore(&mut after, 150_000);
        assert_eq!((after.stamps[6], after.stamps[5]), (0, before.stamps[5]));
    }
}
