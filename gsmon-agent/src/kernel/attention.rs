//! How much of a line is read. Formats with commands, masks or resends cost more per packet than counting it does, and most
//! lines are calm most of the time: such a line is read for a while, then it rests, and costs nothing. A line that loses
//! something, or whose round trip rises, is read without a break, and so is every line when it begins; but only as long as
//! all reading stays within what it may cost ([`Budget`]): beyond that everybody is read as calm lines are.
//!
//! Decided at each drain from what was read. Not here: which format a flow is read by (the world's recognition decides), and
//! how a rest is told to kernel programs ([`super::flows`]).

use std::time::Duration;

use gsmon_common::netcode::{Layout, NetcodeCounts, Parts};

/// A line that begins is read for so long at least.
const FIRST: Duration = Duration::from_secs(30);
/// A line is read for so long after trouble.
const AFTER_TROUBLE: Duration = Duration::from_secs(10);
/// A calm line is read for so long at a time, and for one drain at least.
const CALM: Duration = Duration::from_secs(2);
/// No rest is longer: a picture of a line holds for 30 s.
const LONGEST_REST: Duration = Duration::from_secs(18);
/// A round trip that is longer than usual by this factor and by [`RTT_STEP_US`] is trouble.
const RTT_STEP: f64 = 1.5;
/// Microseconds.
const RTT_STEP_US: f64 = 5_000.0;
/// Weight of a reading in what is usual.
const USUAL_WEIGHT: f64 = 0.1;
/// Trouble of so many lines of a server at once, and of half of those that are read, wakes the others.
const TROUBLED_TOGETHER: u32 = 2;

/// A calm line is read one part of the time in so many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OneIn(u32);

impl OneIn {
    /// What a packet of it costs while it is read, nanoseconds, rounded up (the bench of packets).
    fn read_ns(self) -> u64 {
        match self.0 {
            10.. => 250,
            5.. => 115,
            _ => 60,
        }
    }

    /// By what a layout costs per packet (the bench of packets: commands 130 to 250 ns, masks and resends 55 to 115,
    /// numbers alone 35 to 50): so that a calm line comes to less than 30.
    pub fn of(layout: &Layout) -> Self {
        let dear = Parts::RESENT | Parts::RECEIVED | Parts::REFUSED | Parts::COVERED | Parts::SETTLED;
        if layout.rx.walk.there != 0 || layout.tx.walk.there != 0 {
            Self(10)
        } else if layout.has(dear) {
            Self(5)
        } else {
            Self(2)
        }
    }
}

/// Of a calm line that speaks this format, one part of the time in so many is read.
pub fn calm_one_in(layout: &Layout) -> u32 {
    OneIn::of(layout).0
}

/// What a reading says of its line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mood {
    /// Nothing that asks for more.
    Calm,
    /// Something was lost, or takes longer than it did.
    Troubled,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Now {
    /// So much longer.
    Reading(Duration),
    /// So much longer.
    Resting(Duration),
}

/// What a drain does with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Reads what came.
    Read,
    /// Leaves it alone.
    Rest,
    /// Has it read from now on.
    Wake,
}

/// Attention to one line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attention {
    now: Now,
    /// Read since the last rest.
    read: Duration,
    /// The last rest.
    rested: Duration,
    /// Not yet accounted for: drains since the last reading.
    since: Duration,
    /// Mean round trip of the readings so far, microseconds; 0 for none.
    usual_rtt_us: f64,
}

impl Attention {
    /// A line that begins.
    pub const NEW: Self = Self {
        now: Now::Reading(FIRST),
        read: Duration::ZERO,
        rested: Duration::ZERO,
        since: Duration::ZERO,
        usual_rtt_us: 0.0,
    };

    /// A drain, so long after the one before.
    pub fn turn(&mut self, elapsed: Duration) -> Turn {
        match self.now {
            Now::Reading(_) => {
                self.since += elapsed;
                Turn::Read
            }
            Now::Resting(left) if left > elapsed => {
                self.now = Now::Resting(left - elapsed);
                self.rested += elapsed;
                Turn::Rest
            }
            Now::Resting(_) => {
                self.rested += elapsed;
                self.now = Now::Reading(CALM);
                self.read = Duration::ZERO;
                self.since = Duration::ZERO;
                Turn::Wake
            }
        }
    }

    /// Does it rest?
    pub fn rests(&self) -> bool {
        matches!(self.now, Now::Resting(_))
    }

    /// Ends a rest at the next drain.
    pub fn rouse(&mut self) {
        if self.rests() {
            self.now = Now::Resting(Duration::ZERO);
        }
    }

    /// Share of the time in which the line was read, of the last rest and the reading since.
    pub fn share(&self) -> f64 {
        let (read, rested) = (self.read.as_secs_f64(), self.rested.as_secs_f64());
        if rested == 0.0 {
            1.0
        } else {
            read / (read + rested)
        }
    }

    /// What was read in the time since the last reading.
    pub fn hear(&mut self, before: &NetcodeCounts, now: &NetcodeCounts) -> Mood {
        let mood = self.mood(before, now);
        let since = std::mem::take(&mut self.since);
        self.read += since;
        if let Now::Reading(left) = self.now {
            let left = left.saturating_sub(since);
            self.now = Now::Reading(match mood {
                Mood::Calm => left,
                Mood::Troubled => left.max(AFTER_TROUBLE),
            });
        }
        mood
    }

    /// Lets it rest where it has been read for long enough. True when a rest begins.
    pub fn settle(&mut self, one_in: OneIn, budget: Budget) -> bool {
        let Now::Reading(left) = self.now else {
            return false;
        };
        let enough = left.is_zero() || (budget.is_strained() && self.read >= CALM);
        if !enough {
            return false;
        }
        // In long intervals the last reading was longer than was asked for.
        let rest = (CALM.max(self.read.min(LONGEST_REST)) * (one_in.0 - 1)).min(LONGEST_REST);
        self.now = Now::Resting(rest);
        self.rested = Duration::ZERO;
        true
    }

    fn mood(&mut self, before: &NetcodeCounts, now: &NetcodeCounts) -> Mood {
        let since = |value: fn(&NetcodeCounts) -> u32| value(now).wrapping_sub(value(before));
        let lost = since(|counts| counts.up_expected) != since(|counts| counts.up_received)
            || since(|counts| counts.down_missing) != 0
            || since(|counts| counts.down_resent) != since(|counts| counts.down_needless);
        let strange = since(|counts| counts.up_restarts) != 0
            || since(|counts| counts.up_strays) != 0
            || (since(|counts| counts.read) == 0 && since(|counts| counts.unread) != 0);
        let slower = self.is_slower(
            now.rtt_sum_us.wrapping_sub(before.rtt_sum_us),
            since(|counts| counts.rtt_samples),
        );
        if lost || strange || slower {
            Mood::Troubled
        } else {
            Mood::Calm
        }
    }

    fn is_slower(&mut self, sum_us: u64, samples: u32) -> bool {
        if samples == 0 {
            return false;
        }
        let mean_us = sum_us as f64 / f64::from(samples);
        if self.usual_rtt_us == 0.0 {
            self.usual_rtt_us = mean_us;
            return false;
        }
        let slower = mean_us > self.usual_rtt_us * RTT_STEP && mean_us > self.usual_rtt_us + RTT_STEP_US;
        self.usual_rtt_us += USUAL_WEIGHT * (mean_us - self.usual_rtt_us);
        slower
    }
}

/// What reading may cost: so much per packet of all flows that have a format, whether they are read or rest.
const PER_PACKET_NS: u64 = 30;
/// And so much in any case, in a thousand: half a percent of one core. A host with few players can read all of them.
const FREE_IN_THOUSAND: u64 = 5;

/// What reading costs the host, drain by drain.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Budget {
    packets: u64,
    spent_ns: u64,
    strained: bool,
}

impl Budget {
    /// Packets of a flow that has a format.
    pub fn carry(&mut self, packets: u64) {
        self.packets += packets;
    }

    /// Packets of it that were read.
    pub fn spend(&mut self, packets: u64, one_in: OneIn) {
        self.spent_ns += packets * one_in.read_ns();
    }

    /// The end of a drain, so long after the one before.
    pub fn close(&mut self, elapsed: Duration) {
        let free_ns = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX) / 1_000 * FREE_IN_THOUSAND;
        let strained = self.spent_ns > (self.packets * PER_PACKET_NS).max(free_ns);
        *self = Self {
            strained,
            ..Self::default()
        };
    }

    /// Did reading cost more than it may, in the last drain?
    pub fn is_strained(self) -> bool {
        self.strained
    }
}

/// How the lines of one server fare, in one drain.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Together {
    read: u32,
    troubled: u32,
}

impl Together {
    /// One more line.
    pub fn add(&mut self, mood: Mood) {
        self.read += 1;
        self.troubled += u32::from(mood == Mood::Troubled);
    }

    /// Is it the server's or the host's trouble, and not one player's?
    pub fn wakes_all(self) -> bool {
        self.troubled >= TROUBLED_TOGETHER && self.troubled * 2 >= self.read
    }
}

#[cfg(test)]
mod tests {
    use gsmon_common::netcode::{NetcodeSlot, layouts::Format};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const NONE: NetcodeCounts = NetcodeSlot::EMPTY.counts;

    /// A second in which everything arrives after `rtt_us`.
    fn calm(before: &NetcodeCounts, rtt_us: u64) -> NetcodeCounts {
        NetcodeCounts {
            read: before.read + 60,
            up_expected: before.up_expected + 60,
            up_received: before.up_received + 60,
            rtt_samples: before.rtt_samples + 10,
            rtt_sum_us: before.rtt_sum_us + 10 * rtt_us,
            ..*before
        }
    }

    /// Seconds of `count` in which the line was read.
    fn read_in(attention: &mut Attention, counts: &mut NetcodeCounts, count: u32, one_in: OneIn) -> u32 {
        let mut read = 0;
        for _ in 0..count {
            if attention.turn(SECOND) == Turn::Read {
                let now = calm(counts, 40_000);
                attention.hear(counts, &now);
                *counts = now;
                attention.settle(one_in, Budget::default());
                read += 1;
            }
        }
        read
    }

    #[test]
    fn a_calm_line_rests_after_its_beginning() {
        for (format, of) in [
            (Format::ENet, 10),
            (Format::Kcp, 10),
            (Format::UnityTransport, 5),
            (Format::Source, 2),
        ] {
            let one_in = OneIn::of(&format.layout());
            assert_eq!(one_in.0, of, "{format:?}");
            let (mut attention, mut counts) = (Attention::NEW, NONE);
            assert_eq!(read_in(&mut attention, &mut counts, 30, one_in), 30);
            assert!(attention.rests());
            let read = f64::from(read_in(&mut attention, &mut counts, 1_000, one_in));
            let expected = 1_000.0 / f64::from(of);
            assert!((read - expected).abs() < 0.15 * expected, "{format:?}: {read}");
        }
    }

    #[test]
    fn trouble_is_read_without_a_break() {
        let one_in = OneIn::of(&Format::ENet.layout());
        let worse: [fn(&mut NetcodeCounts); 5] = [
            |counts| counts.up_received -= 1,
            |counts| counts.down_resent += 1,
            |counts| counts.down_missing += 1,
            |counts| counts.up_strays += 1,
            |counts| counts.rtt_sum_us += 10 * 40_000,
        ];
        for spoil in worse {
            let (mut attention, mut counts) = (Attention::NEW, NONE);
            read_in(&mut attention, &mut counts, 30, one_in);
            let mut rested = 0;
            while attention.turn(SECOND) == Turn::Rest {
                rested += 1;
                assert!(rested < 30);
            }
            assert_eq!(attention.turn(SECOND), Turn::Read);
            let mut now = calm(&counts, 40_000);
            spoil(&mut now);
            assert_eq!(attention.hear(&counts, &now), Mood::Troubled);
            counts = now;
            assert!(!attention.settle(one_in, Budget::default()));
            // And some time after it.
            assert_eq!(read_in(&mut attention, &mut counts, 9, one_in), 9);
        }
    }

    #[test]
    fn a_rest_ends_early_for_what_befalls_many() {
        let mut together = Together::default();
        together.add(Mood::Troubled);
        assert!(!together.wakes_all());
        together.add(Mood::Troubled);
        together.add(Mood::Calm);
        assert!(together.wakes_all());
        for _ in 0..2 {
            together.add(Mood::Calm);
        }
        assert!(!together.wakes_all());

        let one_in = OneIn::of(&Format::ENet.layout());
        let (mut attention, mut counts) = (Attention::NEW, NONE);
        read_in(&mut attention, &mut counts, 31, one_in);
        assert_eq!(attention.turn(SECOND), Turn::Rest);
        attention.rouse();
        assert_eq!(attention.turn(SECOND), Turn::Wake);
    }

    #[test]
    fn what_reading_costs_is_bounded_when_everybody_is_in_trouble() {
        for (format, most_ns) in [(Format::ENet, 30.0), (Format::Kcp, 30.0), (Format::Source, 30.0)] {
            let one_in = OneIn::of(&format.layout());
            // 2,000 lines of 120 packets a second, which lose something all the time.
            let mut lines = vec![(Attention::NEW, NONE); 2_000];
            let mut budget = Budget::default();
            let (mut spent_ns, mut packets) = (0, 0);
            for second in 0..300 {
                for (attention, counts) in &mut lines {
                    budget.carry(120);
                    packets += u64::from(second >= 60) * 120;
                    if attention.turn(SECOND) != Turn::Read {
                        continue;
                    }
                    let mut now = calm(counts, 40_000);
                    now.up_received -= 1;
                    attention.hear(counts, &now);
                    *counts = now;
                    budget.spend(120, one_in);
                    spent_ns += u64::from(second >= 60) * 120 * one_in.read_ns();
                    attention.settle(one_in, budget);
                }
                budget.close(SECOND);
            }
            let each_ns = spent_ns as f64 / packets as f64;
            assert!(each_ns <= most_ns, "{format:?}: {each_ns} ns per packet");
        }
        // A few players cost little: all of it is read.
        let mut budget = Budget::default();
        for _ in 0..100 {
            budget.carry(120);
            budget.spend(120, OneIn::of(&Format::Kcp.layout()));
        }
        budget.close(SECOND);
        assert!(!budget.is_strained());
        // The same packets in a tenth of the time are not few.
        for _ in 0..100 {
            budget.carry(120);
            budget.spend(120, OneIn::of(&Format::Kcp.layout()));
        }
        budget.close(SECOND / 10);
        assert!(budget.is_strained());
    }

    #[test]
    fn long_intervals_rest_no_longer_than_a_picture_holds() {
        let one_in = OneIn::of(&Format::Kcp.layout());
        for interval in [Duration::from_millis(100), SECOND, Duration::from_secs(60)] {
            let (mut attention, mut counts) = (Attention::NEW, NONE);
            let mut rests = Duration::ZERO;
            for _ in 0..2_000 {
                match attention.turn(interval) {
                    Turn::Rest => {
                        rests += interval;
                        assert!(rests <= LONGEST_REST);
                    }
                    Turn::Wake => rests = Duration::ZERO,
                    Turn::Read => {
                        let now = calm(&counts, 40_000);
                        attention.hear(&counts, &now);
                        counts = now;
                        attention.settle(one_in, Budget::default());
                    }
                }
            }
        }
    }
}
