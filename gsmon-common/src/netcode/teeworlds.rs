//! Teeworlds' messages: a datagram holds chunks, mostly compressed with a fixed Huffman code, and a chunk holds a message.
//! Two of them tell a round trip: a snapshot carries the game tick it is of, and the client's input says which tick's
//! snapshot came last (that is how the game itself measures). Here they are found, bounded and without allocation.
//!
//! Unpacking costs several times what other formats cost. So one snapshot at a time is followed there and back, and what
//! is neither it nor an answer that is waited for is passed over ([`is_looked_at`]): a few round trips a second tell the same as one
//! with every snapshot.
//!
//! Not here: the code ([`huffman`]), and what lies behind [`STEPS`] symbols of other messages or [`CHUNKS`] chunks.

use super::{
    decode::{Payload, Way, first_word},
    huffman,
    numbers::{TIME_BITS, TIME_MASK, microseconds},
    slot::NetcodeSlot,
    trips::{STAMP_STALE_US, patience_us, round_trip},
};

/// Of the numbers that [`message`] gives, what says which message it is.
pub const KIND_AT: u32 = 24;
/// A snapshot.
pub const SNAPSHOT: u32 = 1;
/// A client's input.
pub const INPUT: u32 = 2;
/// The tick in the numbers that [`message`] gives: its lowest 24 bits, four days at 50 a second.
pub const TICK: u32 = (1 << KIND_AT) - 1;

/// Version 0.6, and DDNet.
pub const SIX: u8 = 6;
/// Version 0.7.
pub const SEVEN: u8 = 7;

/// Symbols that are gone through to come to the next message.
const STEPS: u32 = 48;
/// Chunks of a datagram that are looked at.
const CHUNKS: u32 = 4;

/// From one snapshot that is followed to the next, at least.
const APART_NS: u64 = 200_000_000;
/// And so many round trips: of far players no more of the inputs are unpacked than of near ones.
const APART_ROUND_TRIPS: u64 = 4;
/// Where nobody answers, the next is followed after this time.
const SILENCE_NS: u64 = 2_000_000_000;

/// Is a datagram that goes this way to be looked at? From the server: when the next snapshot is to be followed. From the
/// client: while an answer is waited for.
#[inline(always)]
pub fn is_looked_at(slot: &NetcodeSlot, way: Way, now_ns: u64) -> bool {
    match way {
        Way::Down => now_ns >= slot.counts.due_ns,
        Way::Up => slot.stamps[0] != 0,
    }
}

/// Takes in what [`message`] has found in a datagram that [`is_looked_at`]. True where it is what goes this way.
#[inline(always)]
pub fn follow(slot: &mut NetcodeSlot, way: Way, message: u32, now_ns: u64) -> bool {
    let (kind, tick) = (message >> KIND_AT, message & TICK);
    let now_us = microseconds(now_ns);
    let followed = slot.stamps[0];
    match way {
        Way::Down => {
            slot.stamps[0] = 0;
            slot.counts.due_ns = now_ns.wrapping_add(APART_NS);
            if followed != 0 {
                slot.counts.unmatched = slot.counts.unmatched.wrapping_add(1);
                slot.counts.due_ns = now_ns.wrapping_add(SILENCE_NS);
            } else if kind == SNAPSHOT {
                slot.stamps[0] = (tick as u64) << TIME_BITS | now_us;
                slot.counts.due_ns = now_ns.wrapping_add(patience_us(&slot.counts) * 1_000);
            }
            kind == SNAPSHOT
        }
        Way::Up => {
            if kind != INPUT {
                return false;
            }
            // By how much the client is ahead of what is followed, in 24 bits with a sign.
            let ahead = (tick.wrapping_sub((followed >> TIME_BITS) as u32) << (32 - KIND_AT)) as i32;
            if ahead < 0 {
                return true;
            }
            slot.stamps[0] = 0;
            let away_us = now_us.wrapping_sub(followed & TIME_MASK) & TIME_MASK;
            // Who is ahead has not got it, or has got the next one before it said so: that is followed at once.
            if ahead > 0 || away_us > STAMP_STALE_US {
                slot.counts.unmatched = slot.counts.unmatched.wrapping_add(1);
                slot.counts.due_ns = now_ns;
                return true;
            }
            let apart_ns = (away_us * 1_000 * APART_ROUND_TRIPS).max(APART_NS);
            slot.counts.due_ns = now_ns.wrapping_sub(away_us * 1_000).wrapping_add(apart_ns);
            round_trip(slot, away_us);
            true
        }
    }
}

/// Bits on their way out of a datagram.
struct Bits<W, S> {
    word: W,
    symbol: S,
    /// Where they begin.
    header: u32,
    is_packed: bool,
    /// How many there are.
    room: u32,
    /// How many were read.
    at: u32,
    /// The next ones.
    fetched: u64,
    /// Where those begin.
    from: u32,
    /// Symbols that may still be gone through.
    steps: u32,
}

impl<W: Fn(u32) -> u64, S: Fn(u64) -> u32> Bits<W, S> {
    /// The next symbol; `None` at the end.
    #[inline(always)]
    fn next(&mut self) -> Option<u32> {
        // A symbol has 15 bits at most.
        if self.at.wrapping_sub(self.from) > 64 - 15 {
            self.from = self.at & !7;
            self.fetched = (self.word)(self.header + self.at / 8);
        }
        let bits = self.fetched >> (self.at.wrapping_sub(self.from) & 63);
        let symbol = if self.is_packed {
            let entry = (self.symbol)(bits);
            self.at += entry >> huffman::LENGTH_AT & 15;
            entry & ((1 << huffman::LENGTH_AT) - 1)
        } else {
            self.at += 8;
            bits as u32 & 0xff
        };
        if symbol == huffman::END || self.at > self.room {
            return None;
        }
        Some(symbol)
    }

    /// Goes on behind so many symbols.
    #[inline(always)]
    fn skip(&mut self, symbols: u32) -> Option<()> {
        // What is not compressed need not be gone through.
        if !self.is_packed {
            self.at += 8 * symbols;
            return if self.at > self.room { None } else { Some(()) };
        }
        if symbols > self.steps {
            return None;
        }
        self.steps -= symbols;
        for step in 0..STEPS {
            if step >= symbols {
                break;
            }
            self.next()?;
        }
        Some(())
    }

    /// A number: six bits and a sign, then seven at a time; the highest bit says that there are more.
    #[inline(always)]
    fn number(&mut self) -> Option<u32> {
        let symbol = self.next()?;
        if symbol & 0x40 != 0 {
            return None;
        }
        let mut number = symbol & 0x3f;
        let mut more = symbol & 0x80;
        for part in 1..4 {
            if more == 0 {
                break;
            }
            let symbol = self.next()?;
            number |= (symbol & 0x7f) << (7 * part - 1);
            more = symbol & 0x80;
        }
        Some(number & TICK)
    }
}

/// The first snapshot or input of a datagram of `length` bytes: its kind and tick; 0 where there is none.
#[inline(always)]
pub fn message<P: Payload + ?Sized>(payload: &P, length: u32) -> u32 {
    let mut found = 0;
    for version in [SEVEN, SIX] {
        if found == 0 {
            found = message_by(
                length,
                version,
                |at| first_word(payload, at, length),
                huffman::symbol,
            );
        }
    }
    found
}

/// The same of one version, by a function that gives the eight bytes at a place, zeros behind the end, and
/// [`huffman::symbol`]: in a kernel program both are functions of their own, which the verifier checks once.
#[inline(always)]
pub fn message_by(length: u32, version: u8, word: impl Fn(u32) -> u64, symbol: impl Fn(u64) -> u32) -> u32 {
    // Flags of control messages, of those outside a connection, and those that the version does not have.
    let (header, compressed, other, size_bits, snapshot, input) = if version == SEVEN {
        (7, 0x10, 0xe4, 6, 6, 20)
    } else {
        (3, 0x80, 0x30, 4, 5, 16)
    };
    if length <= header {
        return 0;
    }
    let start = word(0);
    if start as u32 & other != 0 {
        return 0;
    }
    let bits = Bits {
        is_packed: start as u32 & compressed != 0,
        header,
        room: 8 * (length - header),
        at: 0,
        // The word that begins with the header.
        fetched: start,
        from: 0u32.wrapping_sub(8 * header),
        steps: STEPS,
        word,
        symbol,
    };
    in_chunks(bits, size_bits, snapshot, input).unwrap_or(0)
}

#[inline(always)]
fn in_chunks<W: Fn(u32) -> u64, S: Fn(u64) -> u32>(
    mut bits: Bits<W, S>,
    size_bits: u32,
    snapshot: u32,
    input: u32,
) -> Option<u32> {
    for _ in 0..CHUNKS {
        let first = bits.next()?;
        let size = (first & 0x3f) << size_bits | bits.next()? & ((1 << size_bits) - 1);
        // It is numbered.
        if first & 0x40 != 0 {
            bits.next()?;
        }
        // The lowest bit says that it is of the engine, not of the game; longer numbers are of no interest.
        let kind = bits.next()?;
        let number = kind >> 1;
        if kind & 0x81 == 1 {
            if number.wrapping_sub(snapshot) < 4 {
                return Some(SNAPSHOT << KIND_AT | bits.number()?);
            }
            if number == input {
                return Some(INPUT << KIND_AT | bits.number()?);
            }
        }
        bits.skip(size.saturating_sub(1))?;
    }
    None
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::{
        super::{
            captures::TEEWORLDS,
            huffman::{CODE, END, symbol},
            layouts::Format,
            tests::Flow,
        },
        *,
    };
    use Way::{Down, Up};

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
            .collect()
    }

    fn found(packet: &[u8], version: u8) -> (u32, u32) {
        let length = packet.len() as u32;
        let found = message_by(length, version, |at| first_word(packet, at, length), symbol);
        (found >> KIND_AT, found & TICK)
    }

    #[test]
    fn snapshots_and_inputs_of_a_real_server_and_client_are_found() {
        // As an unpacker of others' (libtw2-huffman 0.2.2) has it: all but the two of loading and the first snapshot, which
        // lies behind long messages.
        let kinds = TEEWORLDS.iter().map(|(_, way, hex)| {
            let (kind, _) = found(&bytes(hex), SEVEN);
            (*way == Up && kind == INPUT) || (*way == Down && kind == SNAPSHOT)
        });
        assert_eq!(kinds.filter(|found| *found).count(), TEEWORLDS.len() - 3);
    }

    #[test]
    fn a_real_client_and_server_tell_their_round_trips() {
        let mut flow = Flow::new(Format::Teeworlds);
        for (at_us, way, hex) in TEEWORLDS {
            flow.see(*way, &bytes(hex), at_us * 1_000);
        }
        let counts = &flow.slot.counts;
        assert_eq!((counts.read, counts.unread), (15, 1));
        assert_eq!(
            (
                counts.rtt_samples,
                counts.rtt_sum_us,
                counts.rtt_min_us,
                counts.unmatched
            ),
            (3, 137_220, 34_202, 3)
        );
    }

    #[test]
    fn version_six_packed_by_another_implementation() {
        // A reliable chat message, the timing of an input, and a snapshot; packed by libtw2-huffman 0.2.2.
        let down = bytes(
            "8005034a8cd96da26be50457c295b045aca1c4b572029c38611b557e544155500a8f36ee64aaa02a28159caa90cba3b0f0ec366e84a9f757dc00",
        );
        assert_eq!(found(&down, SIX), (SNAPSHOT, 61_728_394 & TICK));
        let up = bytes("820501e83192a982aaa094bf0aaa8252ebff8a1b");
        assert_eq!(found(&up, SIX), (INPUT, 61_728_394 & TICK));
        let unpacked = bytes("0205010104218a9aef3a8e9aef3a2800000000000000000000");
        assert_eq!(found(&unpacked, SIX), (INPUT, 61_728_394 & TICK));
        // The other version finds nothing in them.
        assert_eq!((found(&down, SEVEN), found(&up, SEVEN)), ((0, 0), (0, 0)));
    }

    #[test]
    fn what_is_cut_off_or_of_another_kind_tells_nothing() {
        let (_, _, input) = TEEWORLDS.iter().rev().find(|(_, way, _)| *way == Up).unwrap();
        let input = bytes(input);
        assert_eq!(found(&input, SEVEN).0, INPUT);
        for length in 0..=10 {
            assert_eq!(found(&input[..length], SEVEN), (0, 0), "{length}");
        }
        for flag in [0x04, 0x20, 0x40, 0x80] {
            let mut other = input.clone();
            other[0] |= flag;
            assert_eq!(found(&other, SEVEN), (0, 0));
        }
    }

    proptest! {
        #[test]
        fn anything_is_read_without_harm(packet in prop::collection::vec(any::<u8>(), 0..200)) {
            for version in [SIX, SEVEN] {
                let (kind, _) = found(&packet, version);
                prop_assert!(kind <= INPUT);
            }
        }

        #[test]
        fn the_code_is_read_back(symbols in prop::collection::vec(0usize..256, 1..20)) {
            // An input of a tick, behind a chunk with these bytes.
            let mut plain: Vec<usize> = std::vec![0, symbols.len() + 1, 0];
            plain.extend(&symbols);
            plain.extend([0, 3, 20 << 1 | 1, 0x80 | 5, 9]);
            let (mut packed, mut bits, mut used) = (std::vec![0x10, 0, 2, 1, 2, 3, 4], 0u64, 0);
            for symbol in plain.into_iter().chain([END as usize]) {
                bits |= u64::from(CODE[symbol] & 0xffff) << used;
                used += CODE[symbol] >> 16;
                while used >= 8 {
                    packed.push(bits as u8);
                    (bits, used) = (bits >> 8, used - 8);
                }
            }
            packed.push(bits as u8);
            prop_assert_eq!(found(&packed, SEVEN), (INPUT, 9 << 6 | 5));
        }
    }
}
