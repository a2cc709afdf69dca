//! One packet into a flow's slot. Bounded, without allocation, and branch-light: kernel programs run it per packet.
//!
//! Client to server ([`Way::Up`]) a packet brings numbers (loss and order on its way), acknowledgements (round trips and
//! loss on the way to the client) and the sender's clock (jitter, RFC 3550, 6.4.1). Server to client ([`Way::Down`]) what
//! will be acknowledged is stamped with the time. A number that is sent again is no measure of a round trip (Karn and
//! Partridge, 1987); an acknowledgement counts once.

use super::{
    layout::{
        ABSENT, BIG, Case, FIRST_BIG, FIRST_LITTLE, Field, Guard, Layout, Parts, Side, Test, WALK_COMMANDS,
        WALK_KINDS, Walk,
    },
    slot::{CHANNELS, GAPS, NetcodeCounts, NetcodeSlot, RESENT, RTT_BUCKETS, STAMPS, state},
};
use crate::hist;

/// Which way a packet goes, seen from the server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// Client to server.
    Up,
    /// Server to client.
    Down,
}

/// The payload of a datagram.
pub trait Payload {
    /// The `width` (1, 2, 4 or 8) bytes at `at` as a little-endian number; `None` beyond the end.
    fn load(&self, at: u32, width: u32) -> Option<u64>;
}

impl Payload for [u8] {
    fn load(&self, at: u32, width: u32) -> Option<u64> {
        let bytes = self.get(at as usize..at as usize + width as usize)?;
        Some(
            bytes
                .iter()
                .rev()
                .fold(0, |word, byte| word << 8 | u64::from(*byte)),
        )
    }
}

/// Stamps older than this are of packets whose acknowledgement was lost.
const STAMP_STALE_US: u64 = 2_000_000;
/// Stamps that are older than so many round trips make room.
const STAMP_ROUND_TRIPS: u64 = 4;
/// A shorter time is not waited for.
const STAMP_SHORTEST_US: u64 = 200_000;
/// Numbers so far from the others are strays.
const STRAY: u32 = 1_000;
/// What fills a gap sooner than this (30 ms, in the unit of [`gap_time`]) came by another way; later it was sent again.
const REORDERING: u16 = 28;
/// A spin bit that turns faster is none.
const SPIN_SHORTEST_NS: u64 = 200_000;
/// A jitter sample is at most this: what is longer is a silence.
const JITTER_LONGEST_NS: u64 = 1_000_000_000;

const TIME_BITS: u32 = 40;
const TIME_MASK: u64 = (1 << TIME_BITS) - 1;

/// Which kinds are looked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kinds {
    /// Of datagrams.
    Whole,
    /// Of commands.
    Commands,
}

/// What came of a datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// It fits one of the layout's kinds.
    pub fits: bool,
    /// There were more commands than are read.
    pub left: bool,
}

/// Reads a datagram of `length` payload bytes.
pub fn decode<P: Payload + ?Sized>(
    payload: &P,
    length: u32,
    layout: &Layout,
    way: Way,
    now_ns: u64,
    slot: &mut NetcodeSlot,
) -> Outcome {
    let outcome = positions(payload, length, side_of(layout, way), |kinds, base| {
        read_at(payload, length, layout, way, kinds, base, now_ns, slot)
    });
    note(&mut slot.counts, outcome);
    outcome
}

/// The side of a layout that a way goes by.
#[inline(always)]
pub fn side_of(layout: &Layout, way: Way) -> &Side {
    match way {
        Way::Up => &layout.rx,
        Way::Down => &layout.tx,
    }
}

/// Counts a datagram.
#[inline(always)]
pub fn note(counts: &mut NetcodeCounts, outcome: Outcome) {
    if outcome.fits {
        counts.read = counts.read.wrapping_add(1);
    } else {
        counts.unread = counts.unread.wrapping_add(1);
    }
    if outcome.left {
        counts.left = counts.left.wrapping_add(1);
    }
}

/// Calls `read_at` for the datagram, and for every command in it. It is true where a kind fits there.
#[inline(always)]
pub fn positions<P: Payload + ?Sized>(
    payload: &P,
    length: u32,
    side: &Side,
    mut read_at: impl FnMut(Kinds, u32) -> bool,
) -> Outcome {
    let fits = side.whole[0].parts != 0 && read_at(Kinds::Whole, 0);
    let whole = Outcome { fits, left: false };
    if side.walk.there == 0 {
        return whole;
    }
    let look = Look {
        payload,
        length,
        packet: first_word(payload, 0, length),
    };
    look.walk(&side.walk, whole, read_at)
}

/// Reads what is said at `base`: of the datagram, or of a command of it. True where a kind fits.
#[inline(always)]
#[allow(
    clippy::too_many_arguments,
    reason = "a kernel function has them in registers"
)]
pub fn read_at<P: Payload + ?Sized>(
    payload: &P,
    length: u32,
    layout: &Layout,
    way: Way,
    kinds: Kinds,
    base: u32,
    now_ns: u64,
    slot: &mut NetcodeSlot,
) -> bool {
    let packet = first_word(payload, 0, length);
    let look = Look {
        payload,
        length,
        packet,
    };
    let first = if base == 0 {
        packet
    } else {
        first_word(payload, base, length)
    };
    let side = side_of(layout, way);
    let cases = match kinds {
        Kinds::Whole => &side.whole,
        Kinds::Commands => &side.each,
    };
    // Which one is found first and read after the loop: the kernel's verifier then follows the reading once.
    let mut found = &Case::NONE;
    for case in cases {
        if case.parts == 0 {
            break;
        }
        if look.fits(case, base, first) {
            found = case;
            break;
        }
    }
    if found.parts == 0 {
        return false;
    }
    let said = Said {
        look: &look,
        case: found,
        base,
        first,
        channel: if found.parts & Parts::CHANNEL != 0 {
            look.get(&found.channel, base, first)
        } else {
            0
        },
        now_ns,
    };
    match way {
        Way::Up => said.up(layout, slot),
        Way::Down => said.down(slot),
    }
    true
}

/// The eight bytes at `at`, as far as there are so many; the rest is zero.
#[inline(always)]
fn first_word<P: Payload + ?Sized>(payload: &P, at: u32, length: u32) -> u64 {
    if at + 8 <= length {
        return payload.load(at, 8).unwrap_or(0);
    }
    let mut word = 0;
    let mut place = 0;
    if at + 4 <= length {
        word = payload.load(at, 4).unwrap_or(0);
        place = 4;
    }
    if at + place + 2 <= length {
        word |= payload.load(at + place, 2).unwrap_or(0) << (8 * place);
        place += 2;
    }
    if at + place < length {
        word |= payload.load(at + place, 1).unwrap_or(0) << (8 * place);
    }
    word
}

struct Look<'a, P: ?Sized> {
    payload: &'a P,
    length: u32,
    /// First eight bytes of the datagram.
    packet: u64,
}

impl<P: Payload + ?Sized> Look<'_, P> {
    /// A field at `base`, whose first eight bytes are `first`. What is not there is zero.
    #[inline(always)]
    fn get(&self, field: &Field, base: u32, first: u64) -> u32 {
        let word = match field.reading {
            ABSENT => return 0,
            FIRST_LITTLE => first,
            FIRST_BIG => first.swap_bytes(),
            reading => {
                let width = field.width as u32;
                let word = self.payload.load(base + field.offset as u32, width).unwrap_or(0);
                if reading == BIG {
                    word.swap_bytes() >> ((64 - 8 * width) & 63)
                } else {
                    word
                }
            }
        };
        (word >> (field.shift & 63)) as u32 & field.mask
    }

    #[inline(always)]
    fn holds(&self, guard: &Guard, base: u32, first: u64) -> bool {
        let value = self.get(&guard.field, base, first);
        if guard.test == Test::Equal as u32 {
            value == guard.value
        } else if guard.test == Test::Below as u32 {
            value < guard.value
        } else if guard.test == Test::Differs as u32 {
            value != guard.value
        } else {
            true
        }
    }

    #[inline(always)]
    fn fits(&self, case: &Case, base: u32, first: u64) -> bool {
        base + case.bytes as u32 <= self.length
            && (case.parts & Parts::GUARD == 0 || self.holds(&case.guard, base, first))
            && (case.parts & Parts::PACKET_GUARD == 0 || self.holds(&case.packet, 0, self.packet))
    }

    /// Commands, one after the other.
    #[inline(always)]
    fn walk(&self, walk: &Walk, whole: Outcome, mut read_at: impl FnMut(Kinds, u32) -> bool) -> Outcome {
        let mut outcome = whole;
        if !self.holds(&walk.guard, 0, self.packet) {
            return outcome;
        }
        let longer =
            walk.longer_when.test != Test::Always as u32 && self.holds(&walk.longer_when, 0, self.packet);
        let mut base = if longer { walk.first_longer } else { walk.first } as u32;
        for _ in 0..WALK_COMMANDS {
            if base >= self.length {
                return outcome;
            }
            let kind = if walk.kind_mask == 0 {
                0
            } else {
                self.payload.load(base, 1).unwrap_or(0) as usize & walk.kind_mask as usize & (WALK_KINDS - 1)
            };
            let size = walk.sizes[kind] as u32;
            if size == 0 || base + size > self.length {
                return outcome;
            }
            outcome.fits |= read_at(Kinds::Commands, base);
            let length_at = walk.length_at[kind] as u32;
            let mut more = 0;
            if length_at != 0 {
                let width = walk.length_width as u32;
                let word = self.payload.load(base + length_at - 1, width).unwrap_or(0);
                more = if walk.length_big != 0 {
                    word.swap_bytes() >> ((64 - 8 * width) & 63)
                } else {
                    word
                };
            }
            // No datagram is longer: a wrong length ends the walk.
            if more > 0xffff {
                return outcome;
            }
            base += size + more as u32;
        }
        outcome.left = base < self.length;
        outcome
    }
}

/// A kind that was found.
struct Said<'a, P: ?Sized> {
    look: &'a Look<'a, P>,
    case: &'a Case,
    base: u32,
    first: u64,
    channel: u32,
    now_ns: u64,
}

impl<P: Payload + ?Sized> Said<'_, P> {
    #[inline(always)]
    fn has(&self, part: u32) -> bool {
        self.case.parts & part != 0
    }

    #[inline(always)]
    fn get(&self, field: &Field) -> u32 {
        self.look.get(field, self.base, self.first)
    }

    /// What names a stamp.
    #[inline(always)]
    fn stamp_key(&self, field: &Field) -> u32 {
        let channel = if self.has(Parts::ECHO) { 0 } else { self.channel };
        key_of(channel, self.get(field))
    }

    #[inline(always)]
    fn down(&self, slot: &mut NetcodeSlot) {
        let mut again = false;
        if self.has(Parts::SEQUENCE) {
            let number = self.get(&self.case.sequence);
            slot.counts.down_sent = slot.counts.down_sent.wrapping_add(1);
            if self.has(Parts::RESENT) {
                again = is_again(slot, self.channel, number, self.case.sequence_bits);
                if again {
                    slot.counts.down_resent = slot.counts.down_resent.wrapping_add(1);
                    let key = key_of(self.channel, number);
                    // A server that looks at its socket once a tick sends again what is acknowledged already.
                    let acknowledged = is_settled(&slot.counts, key);
                    slot.resent[spread(key, RESENT)] = (key as u64) << 32 | (1 + acknowledged);
                }
            }
        }
        if self.has(Parts::STAMP) {
            let key = self.stamp_key(&self.case.stamp);
            stamp(slot, key, self.now_ns, again && !self.has(Parts::ECHO));
        }
    }

    #[inline(always)]
    fn up(&self, layout: &Layout, slot: &mut NetcodeSlot) {
        let case = self.case;
        if self.has(Parts::ACKNOWLEDGED) {
            let hold_us = if self.has(Parts::HOLD) {
                self.get(&case.hold) as u64 * 1_000
            } else {
                0
            };
            acknowledge(slot, self.stamp_key(&case.acknowledged), self.now_ns, hold_us);
        }
        if self.has(Parts::SETTLED) {
            settle(slot, key_of(self.channel, self.get(&case.settled)));
        }
        let counts = &mut slot.counts;
        if self.has(Parts::RECEIVED) {
            judge(
                counts,
                case,
                self.get(&case.acknowledged),
                self.get(&case.received),
            );
        }
        if self.has(Parts::REFUSED) {
            let range = self
                .get(&case.refused_last)
                .wrapping_sub(self.get(&case.refused))
                .wrapping_add(1);
            // A longer range names numbers that no window has: nonsense.
            if range <= STRAY {
                counts.down_missing = counts.down_missing.wrapping_add(range);
            }
        }
        if self.has(Parts::SEQUENCE) {
            let mut choked = 0;
            if self.has(Parts::CHOKED) && self.look.holds(&case.choked_when, self.base, self.first) {
                choked = self.get(&case.choked);
            }
            let number = self.get(&case.sequence);
            let advance = number_from_client(counts, case, self.channel, number, choked, self.now_ns);
            // A clock is better, and what is sent when there is something to say has no period.
            if layout.clock_step_ns == 0 && !self.has(Parts::RESENT) && advance != 0 {
                by_period(counts, advance, self.now_ns);
            }
        }
        if self.has(Parts::CLOCK) {
            by_clock(counts, layout, self.get(&case.clock), self.now_ns);
        }
        if self.has(Parts::SPIN) {
            spin(slot, self.get(&case.spin) & 1, self.now_ns);
        }
    }
}

#[inline(always)]
fn key_of(channel: u32, number: u32) -> u32 {
    number ^ channel.wrapping_mul(0x0101_0101)
}

/// Neighbours far apart (Knuth's multiplicative hashing); `places` is a power of two.
#[inline(always)]
fn spread(key: u32, places: usize) -> usize {
    (key.wrapping_mul(0x9e37_79b1) >> 26) as usize & (places - 1)
}

/// `number - before` in numbers of `bits` bits, from -half to half.
#[inline(always)]
fn ahead(number: u32, before: u32, bits: u8) -> i32 {
    let unused = 32u32.wrapping_sub(bits as u32) & 31;
    (number.wrapping_sub(before) << unused) as i32 >> unused
}

#[inline(always)]
fn microseconds(now_ns: u64) -> u64 {
    (now_ns / 1_000) & TIME_MASK
}

/// Was this number sent on this channel before?
#[inline(always)]
fn is_again(slot: &mut NetcodeSlot, channel: u32, number: u32, bits: u8) -> bool {
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

#[inline(always)]
fn stamp(slot: &mut NetcodeSlot, key: u32, now_ns: u64, again: bool) {
    let now_us = microseconds(now_ns);
    let patience_us = (slot.counts.rtt_last_us as u64 * STAMP_ROUND_TRIPS).max(STAMP_SHORTEST_US);
    let patience_us = if slot.counts.rtt_last_us == 0 || patience_us > STAMP_STALE_US {
        STAMP_STALE_US
    } else {
        patience_us
    };
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
fn acknowledge(slot: &mut NetcodeSlot, key: u32, now_ns: u64, hold_us: u64) {
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
fn round_trip(slot: &mut NetcodeSlot, rtt_us: u64) {
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
fn is_settled(counts: &NetcodeCounts, key: u32) -> u64 {
    let back = counts.down_judged.wrapping_sub(key);
    if back < 64 {
        counts.down_settled >> (back & 63) & 1
    } else {
        0
    }
}

/// What was sent again is acknowledged; twice, where it need not have been.
#[inline(always)]
fn settle(slot: &mut NetcodeSlot, key: u32) {
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

/// Reads a report on the numbers up to `number`, those that were not judged before.
#[inline(always)]
fn judge(counts: &mut NetcodeCounts, case: &Case, number: u32, received: u32) {
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

/// Counts a number of the client. By how much it goes beyond the highest; 0 where it does not.
#[inline(always)]
fn number_from_client(
    counts: &mut NetcodeCounts,
    case: &Case,
    channel: u32,
    number: u32,
    choked: u32,
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
        let sent = if choked < step { step - choked } else { 1 };
        counts.up_expected = counts.up_expected.wrapping_add(sent);
        counts.up_received = counts.up_received.wrapping_add(1);
        counts.up_seen = if step < 64 {
            counts.up_seen << (step & 63) | 1
        } else {
            1
        };
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

/// Jitter against the sender's own clock.
#[inline(always)]
fn by_clock(counts: &mut NetcodeCounts, layout: &Layout, now_clock: u32, now_ns: u64) {
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
fn by_period(counts: &mut NetcodeCounts, advance: u32, now_ns: u64) {
    let gap_ns = now_ns.wrapping_sub(counts.arrival_ns);
    let known = counts.state & state::CLOCK != 0;
    counts.arrival_ns = now_ns;
    counts.state |= state::CLOCK;
    if !known || gap_ns > JITTER_LONGEST_NS || advance > 16 {
        return;
    }
    let each_16ns = (gap_ns as u32 / advance) << 4;
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

/// The spin bit turns when what turned it has gone there and back (RFC 9312, 3.8.1).
#[inline(always)]
fn spin(slot: &mut NetcodeSlot, bit: u32, now_ns: u64) {
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
