//! One packet into a flow's slot. Bounded, without allocation, and branch-light: kernel programs run it per packet.
//!
//! Client to server ([`Way::Up`]) a packet brings numbers (loss and order on its way), acknowledgements (round trips and
//! loss on the way to the client) and the sender's clock (jitter, RFC 3550, 6.4.1). Server to client ([`Way::Down`]) what
//! will be acknowledged is stamped with the time. A number that is sent again is no measure of a round trip (Karn and
//! Partridge, 1987); an acknowledgement counts once.

use super::{
    arrivals::number_from_client,
    layout::{
        ABSENT, BIG, Case, FIRST_BIG, FIRST_LITTLE, Field, Guard, Layout, Parts, Side, Test, WALK_COMMANDS,
        WALK_KINDS, Walk,
    },
    numbers::{STRAY, key_of, spread},
    slot::{NetcodeCounts, NetcodeSlot, RESENT, state},
    teeworlds,
    timing::{by_clock, by_period},
    trips::{acknowledge, cover, is_again, is_settled, judge, settle, spin, stamp},
};

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

    /// [`first_word`] of a payload of `length` bytes.
    fn word(&self, at: u32, length: u32) -> u64 {
        first_word(self, at, length)
    }
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

/// Reads a datagram of `length` payload bytes. Of formats of which one packet at a time is followed, most are passed over,
/// and do not fit.
pub fn decode<P: Payload + ?Sized>(
    payload: &P,
    length: u32,
    layout: &Layout,
    way: Way,
    now_ns: u64,
    slot: &mut NetcodeSlot,
) -> Outcome {
    if layout.messages != 0 {
        let mut fits = false;
        if teeworlds::is_looked_at(slot, way, now_ns) {
            fits = teeworlds::follow(slot, way, teeworlds::message(payload, length), now_ns);
            note(&mut slot.counts, way, Outcome { fits, left: false });
        }
        return Outcome { fits, left: false };
    }
    let outcome = positions(payload, length, side_of(layout, way), |kinds, base| {
        read_at(payload, length, layout, way, kinds, base, now_ns, slot)
    });
    note(&mut slot.counts, way, outcome);
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
pub fn note(counts: &mut NetcodeCounts, way: Way, outcome: Outcome) {
    if outcome.fits {
        counts.read = counts.read.wrapping_add(1);
    } else {
        counts.unread = counts.unread.wrapping_add(1);
    }
    if outcome.left {
        counts.left = counts.left.wrapping_add(1);
        if way == Way::Up {
            counts.state |= state::LEFT;
        }
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
    let look = Look { payload, length };
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
    let look = Look { payload, length };
    let first = payload.word(base, length);
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
pub fn first_word<P: Payload + ?Sized>(payload: &P, at: u32, length: u32) -> u64 {
    if at + 8 <= length {
        return payload.load(at, 8).unwrap_or(0);
    }
    // The last eight, less those before it.
    if length >= 8 && at < length {
        return payload.load(length - 8, 8).unwrap_or(0) >> ((8 * (at + 8 - length)) & 63);
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

    /// The guard on the datagram. Few commands have one: its first bytes are read again where one has.
    #[inline(always)]
    fn packet_holds(&self, case: &Case, base: u32, first: u64) -> bool {
        let packet = if base == 0 {
            first
        } else {
            self.payload.word(0, self.length)
        };
        self.holds(&case.packet, 0, packet)
    }

    #[inline(always)]
    fn fits(&self, case: &Case, base: u32, first: u64) -> bool {
        base + case.bytes as u32 <= self.length
            && (case.parts & Parts::GUARD == 0 || self.holds(&case.guard, base, first))
            && (case.parts & Parts::PACKET_GUARD == 0 || self.packet_holds(case, base, first))
    }

    /// Commands, one after the other.
    #[inline(always)]
    fn walk(&self, walk: &Walk, whole: Outcome, mut read_at: impl FnMut(Kinds, u32) -> bool) -> Outcome {
        let mut outcome = whole;
        let packet = self.payload.word(0, self.length);
        if !self.holds(&walk.guard, 0, packet) {
            return outcome;
        }
        let longer = walk.longer_when.test != Test::Always as u32 && self.holds(&walk.longer_when, 0, packet);
        let mut base = if longer { walk.first_longer } else { walk.first } as u32;
        for _ in 0..WALK_COMMANDS {
            if base >= self.length {
                return outcome;
            }
            let first = self.payload.word(base, self.length);
            let kind = first as usize & walk.kind_mask as usize & (WALK_KINDS - 1);
            let size = walk.sizes[kind] as u32;
            if size == 0 || base + size > self.length {
                return outcome;
            }
            outcome.fits |= read_at(Kinds::Commands, base);
            let length_at = walk.length_at[kind] as u32;
            let mut more = 0;
            if length_at != 0 {
                let width = walk.length_width as u32;
                let word = if length_at - 1 + width <= 8 {
                    first >> ((8 * (length_at - 1)) & 63) & (u64::MAX >> ((64 - 8 * width) & 63))
                } else {
                    self.payload.load(base + length_at - 1, width).unwrap_or(0)
                };
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
        if self.has(Parts::COVERED) {
            cover(slot, self.get(&case.received));
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
            // Asked for only where numbers are missing.
            let choked = || {
                if self.has(Parts::CHOKED) && self.look.holds(&case.choked_when, self.base, self.first) {
                    self.get(&case.choked)
                } else {
                    0
                }
            };
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
