//! Teeworlds' messages: a datagram holds chunks, mostly compressed with a fixed Huffman code, and a chunk holds a message.
//! Two of them tell a round trip: a snapshot carries the game tick it is of, and the client's input says which tick's
//! snapshot came last (that is how the game itself measures). Here they are found, bounded and without allocation.
//!
//! Not here: what lies behind the first [`STEPS`] symbols of a datagram.

use super::decode::{Payload, first_word};

/// Symbols of the code: bytes, and the end.
const SYMBOLS: usize = 257;
const END: u32 = 256;

/// The code, as the game builds it from its table of frequencies (teeworlds `src/engine/shared/huffman.cpp` and
/// `network.cpp`): bits in the upper half, the code in the lower, its first bit lowest.
#[rustfmt::skip]
const CODE: [u32; SYMBOLS] = [
    0x1_0001, 0x4_0008, 0x5_0002, 0x8_0016, 0x6_001e, 0x7_0076, 0x8_0036, 0x8_006e,
    0x5_0004, 0x7_004c, 0x7_007a, 0x8_00fe, 0x7_0072, 0x6_000e, 0x8_00f4, 0x9_00ee,
    0x7_006a, 0x9_00a6, 0x7_005c, 0x9_00aa, 0x8_00f0, 0xa_01be, 0x9_0034, 0x9_007c,
    0x7_0010, 0x9_013c, 0x9_0012, 0x9_00d0, 0x9_000a, 0x7_0066, 0x8_00ca, 0xa_012e,
    0x9_01ac, 0x9_008c, 0x9_01ba, 0xa_03a6, 0x9_0030, 0x9_008a, 0x9_01da, 0x9_00b2,
    0x7_0056, 0x8_003a, 0x9_0112, 0xa_017e, 0x9_01b4, 0xa_02b6, 0xa_022e, 0xa_0196,
    0xa_03ae, 0xa_013e, 0xa_00be, 0xa_035a, 0xb_023c, 0xc_0d1c, 0xd_06be, 0xc_038a,
    0xc_05d4, 0xc_0e70, 0xc_0a50, 0xc_0674, 0xd_1c3e, 0xb_0074, 0xd_05a6, 0xc_0152,
    0x8_004a, 0x9_01bc, 0xa_015a, 0xa_038c, 0xa_019a, 0xa_01b2, 0xa_003c, 0xa_0070,
    0xa_017c, 0x8_0094, 0xa_012a, 0x9_01aa, 0xa_030c, 0xa_01d0, 0xb_0426, 0xb_077e,
    0xb_00ae, 0xb_07be, 0xb_003e, 0x7_006c, 0xa_0214, 0x9_00ac, 0xb_00ba, 0xb_001a,
    0xa_0330, 0xb_0552, 0xd_0b8a, 0xc_079a, 0xd_1cba, 0xc_0c74, 0xd_077c, 0xd_139a,
    0xd_039a, 0xc_051c, 0xd_18b6, 0xd_11d4, 0xc_089c, 0xc_009c, 0xd_1e74, 0xd_0e74,
    0xd_15ae, 0xd_05ae, 0xd_1b9a, 0xd_0b9a, 0xe_04ae, 0xc_0474, 0xd_1dae, 0xd_08b6,
    0xd_0cba, 0xc_0670, 0xb_0270, 0xc_0a74, 0xc_0250, 0xd_14b6, 0xe_16be, 0xf_5b8a,
    0xd_0dae, 0xc_0e50, 0xd_01d4, 0xd_11ae, 0xd_04b6, 0xc_0b54, 0xe_24ae, 0xd_171c,
    0x5_0000, 0xa_027e, 0x9_012c, 0xb_037e, 0x9_011a, 0xb_01ee, 0x9_0052, 0xb_06ae,
    0x9_005a, 0xb_023e, 0x9_0132, 0xa_0014, 0x9_00b4, 0xb_047e, 0x9_01fc, 0xa_018c,
    0x9_0126, 0xb_007e, 0x9_002c, 0xa_0130, 0x6_0006, 0xa_018a, 0x9_0032, 0xb_0626,
    0x9_0134, 0xa_03b2, 0x9_002a, 0xb_02ba, 0x9_01d2, 0xb_063e, 0x9_019c, 0xa_029c,
    0x9_00fc, 0xa_021a, 0xa_033e, 0xa_03ee, 0x9_01b6, 0x9_000c, 0x9_0096, 0xa_010c,
    0x9_00da, 0xa_0396, 0x9_009a, 0xa_03d4, 0x9_00d2, 0xa_03d0, 0x9_00d4, 0xb_03be,
    0x8_00b0, 0x9_0054, 0x9_0170, 0xb_02ae, 0x9_0150, 0xb_0226, 0x9_010a, 0xb_072e,
    0x9_0114, 0xb_032e, 0x9_001c, 0xb_05ee, 0x9_00bc, 0xa_002e, 0x9_0174, 0xa_032a,
    0xc_0eba, 0xc_0b52, 0xc_0e3c, 0xc_0cb6, 0xc_0c9c, 0xc_06ba, 0xc_043e, 0xc_063c,
    0xc_0abe, 0xc_00b6, 0xc_049c, 0xc_0650, 0xc_0f8a, 0xc_0b7c, 0xc_0cae, 0xc_0352,
    0xc_0f52, 0xc_037c, 0xc_09a6, 0xc_04ba, 0xc_0850, 0xc_01a6, 0xc_078a, 0xc_0354,
    0xb_011c, 0xc_0826, 0xd_01ae, 0xc_0f7c, 0xd_141a, 0xc_0f54, 0xc_0754, 0xc_0da6,
    0xc_0b1c, 0xc_0954, 0xd_19ae, 0xc_0274, 0xd_177c, 0xc_0050, 0xc_0ebe, 0xd_041a,
    0xc_0154, 0xd_09ae, 0xc_0dd4, 0xc_0d54, 0xd_0c3e, 0xc_0026, 0xc_0c50, 0xc_0554,
    0xe_36be, 0xd_071c, 0xc_0f9a, 0xc_0752, 0xc_0952, 0xc_0450, 0xc_031c, 0xd_12be,
    0xe_3b8a, 0xd_02be, 0xd_14ae, 0xc_0f1c, 0xd_15a6, 0xc_09d4, 0xc_0c1a, 0x8_0092,
    0xf_1b8a,
];

/// Bits that the first look goes by.
const FIRST_BITS: u32 = 10;
/// Bits of a second look, where a code is longer.
const SECOND_BITS: u32 = 5;
const TABLE: usize = 4_096;
/// Set where a second look is needed.
const LONGER: u16 = 1 << 15;
/// Where in an entry the length of the code is; below it the symbol.
const LENGTH_AT: u32 = 9;

/// What the next bits mean: by the first ten bits the symbol and its length, or the place of 32 entries for longer codes.
static MEANINGS: [u16; TABLE] = meanings();

const fn meanings() -> [u16; TABLE] {
    let mut table = [0; TABLE];
    let mut used = 1 << FIRST_BITS;
    let mut symbol = 0;
    while symbol < SYMBOLS {
        let (length, code) = (CODE[symbol] >> 16, CODE[symbol] & 0xffff);
        let entry = (length << LENGTH_AT) as u16 | symbol as u16;
        let first = (code & ((1 << FIRST_BITS) - 1)) as usize;
        // Every continuation of the code means the same.
        if length <= FIRST_BITS {
            let mut more = 0;
            while more < 1 << (FIRST_BITS - length) {
                table[first | more << length] = entry;
                more += 1;
            }
        } else {
            if table[first] == 0 {
                table[first] = LONGER | used as u16;
                used += 1 << SECOND_BITS;
            }
            let start = (table[first] & !LONGER) as usize;
            let rest = (code >> FIRST_BITS) as usize;
            let mut more = 0;
            while more < 1 << (FIRST_BITS + SECOND_BITS - length) {
                table[start + (rest | more << (length - FIRST_BITS))] = entry;
                more += 1;
            }
        }
        symbol += 1;
    }
    assert!(used <= TABLE);
    table
}

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

/// Symbols read of a datagram.
const STEPS: u32 = 48;

/// How a datagram is read: it is compressed.
const PACKED: u32 = 1;
/// It is of version 0.7.
const OF_SEVEN: u32 = 2;

/// What a step expects.
mod expects {
    pub const CHUNK: u32 = 0;
    pub const SIZE: u32 = 1;
    pub const NUMBER: u32 = 2;
    pub const MESSAGE: u32 = 3;
    pub const TICK: u32 = 4;
    pub const OTHER: u32 = 5;
}

/// Where reading stands, in one word, since that is what kernel functions hand on.
mod state {
    /// Bits that were read: the lowest 16.
    pub const AT: u64 = 0xffff;
    /// What the next step expects.
    pub const EXPECTED_AT: u32 = 16;
    /// The chunk is numbered.
    pub const VITAL: u64 = 1 << 19;
    /// Bytes of the chunk that are not read: 12 bits.
    pub const LEFT_AT: u32 = 20;
    /// Bytes of the tick that are read: 2 bits.
    pub const PART_AT: u32 = 32;
    /// What is found: 26 bits.
    pub const FOUND_AT: u32 = 34;
    /// All of it.
    pub const DONE: u64 = 1 << 63;
}

/// The symbol that `bits` begin with, and how many of them it takes.
#[inline(always)]
fn symbol(bits: u64, how: u32) -> (u32, u32) {
    if how & PACKED == 0 {
        return (bits as u32 & 0xff, 8);
    }
    let mut entry = MEANINGS[bits as usize & ((1 << FIRST_BITS) - 1)];
    if entry & LONGER != 0 {
        let start = (entry & !LONGER) as usize;
        let rest = (bits >> FIRST_BITS) as usize & ((1 << SECOND_BITS) - 1);
        entry = MEANINGS[(start + rest) & (TABLE - 1)];
    }
    (entry as u32 & ((1 << LENGTH_AT) - 1), (entry >> LENGTH_AT) as u32)
}

/// Reads a symbol out of the next `bits`, from one state to the next.
#[inline(always)]
pub fn step(state: u64, bits: u64, how: u32) -> u64 {
    let (symbol, used) = symbol(bits, how);
    if symbol == END {
        return state::DONE;
    }
    let seven = how & OF_SEVEN != 0;
    let size_bits = if seven { 6 } else { 4 };
    let mut at = (state & state::AT) as u32 + used;
    let mut expected = (state >> state::EXPECTED_AT) as u32 & 7;
    let mut vital = state & state::VITAL;
    let mut left = (state >> state::LEFT_AT) as u32 & 0xfff;
    let mut part = (state >> state::PART_AT) as u32 & 3;
    let mut found = (state >> state::FOUND_AT) as u32 & 0x3ff_ffff;
    let mut done = 0;
    if expected == expects::CHUNK {
        vital = if symbol & 0x40 != 0 { state::VITAL } else { 0 };
        left = (symbol & 0x3f) << size_bits;
        expected = expects::SIZE;
    } else if expected == expects::SIZE {
        left |= symbol & ((1 << size_bits) - 1);
        expected = if vital != 0 {
            expects::NUMBER
        } else {
            expects::MESSAGE
        };
    } else if expected == expects::NUMBER {
        expected = expects::MESSAGE;
    } else if expected == expects::TICK {
        // Six bits and a sign, then seven at a time; the highest bit says that there are more.
        if part == 0 {
            if symbol & 0x40 != 0 {
                return state::DONE;
            }
            found |= symbol & 0x3f;
        } else {
            found |= (symbol & 0x7f) << (7 * part - 1) & TICK;
        }
        if symbol & 0x80 == 0 || part == 3 {
            done = state::DONE;
        }
        part = (part + 1) & 3;
    } else {
        if expected == expects::MESSAGE {
            // The lowest bit says that it is of the engine, not of the game; longer numbers are of no interest.
            let (snapshot, input) = if seven { (6, 20) } else { (5, 16) };
            let number = symbol >> 1;
            expected = if symbol & 0x81 != 1 {
                expects::OTHER
            } else if number.wrapping_sub(snapshot) < 4 {
                found = SNAPSHOT << KIND_AT;
                expects::TICK
            } else if number == input {
                found = INPUT << KIND_AT;
                expects::TICK
            } else {
                expects::OTHER
            };
        }
        if expected == expects::OTHER {
            left = left.saturating_sub(1);
            // What is not compressed need not be gone through.
            if how & PACKED == 0 {
                at += 8 * left;
                left = 0;
            }
            if left == 0 {
                expected = expects::CHUNK;
            }
        }
    }
    done | (at as u64 & state::AT)
        | (expected as u64) << state::EXPECTED_AT
        | vital
        | (left as u64) << state::LEFT_AT
        | (part as u64) << state::PART_AT
        | (found as u64) << state::FOUND_AT
}

/// The first snapshot or input of a datagram of `length` bytes: its kind and tick; 0 where there is none.
#[inline(always)]
pub fn message<P: Payload + ?Sized>(payload: &P, length: u32, version: u8) -> u32 {
    message_by(length, version, |at| first_word(payload, at, length), step)
}

/// The same, by a function that gives the eight bytes at a place, zeros behind the end, and one that takes a step: in a
/// kernel program both are functions of their own, which the verifier checks once.
#[inline(always)]
pub fn message_by(
    length: u32,
    version: u8,
    word: impl Fn(u32) -> u64,
    step: impl Fn(u64, u64, u32) -> u64,
) -> u32 {
    // Flags of control messages, of those outside a connection, and those that the version does not have.
    let (header, compressed, other, seven) = if version == SEVEN {
        (7, 0x10, 0xe4, OF_SEVEN)
    } else {
        (3, 0x80, 0x30, 0)
    };
    if length <= header {
        return 0;
    }
    let flags = word(0) as u32;
    if flags & other != 0 {
        return 0;
    }
    let how = if flags & compressed != 0 {
        seven | PACKED
    } else {
        seven
    };
    let room = 8 * (length - header);
    let mut state = 0;
    let (mut fetched, mut from) = (word(header), 0);
    for _ in 0..STEPS {
        let at = (state & state::AT) as u32;
        // A symbol has 15 bits at most.
        if at.wrapping_sub(from) > 64 - 15 {
            from = at & !7;
            fetched = word(header + at / 8);
        }
        state = step(state, fetched >> (at.wrapping_sub(from) & 63), how);
        if (state & state::AT) as u32 > room {
            return 0;
        }
        if state & state::DONE != 0 {
            return (state >> state::FOUND_AT) as u32 & 0x3ff_ffff;
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::{
        super::{Way, layouts::Format, tests::Flow},
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
        let found = message(packet, packet.len() as u32, version);
        (found >> KIND_AT, found & TICK)
    }

    /// Teeworlds 0.7.5, its own server and client: the end of loading, then play.
    #[rustfmt::skip]
    const SEEN: [(u64, Way, &str); 42] = [
    (0, Up, "00070123c3421740010427"),
    (
        124,
        Down,
        "0004013dbbde0f40240809302e372e3500756e6e616d6564207365727665720000646d3100444d00000101080108",
    ),
    (
        42740,
        Down,
        "1004033dbbde0f4a364cede147de8e1e46ccdbb5bbf695e8144a38cab5732247c189134fa750c251ae9d13390a4e9c984ea1\
         84a35c3b2772149c38319d420947b9764ee428387162444444a82ef03deaba69957407d505be47ce8ac7f748573adf45952d\
         0a3ea6e80a9505038d9e1f45533d0b580526ede8d96115c0daa067032b019669e1b999a437a9ef1193a64cea7b4c585526f5\
         3d7f580756de939b744c3a3d07d631e9a0476f92dea4d37307abc0a4839e1ad681757aa6601598a4478f6b121aac5ad88cf5\
         5d10b0102a5e20ae342c04d65b5f8ff74f56dc00",
    ),
    (
        242885,
        Down,
        "1004013dbbde0f828f292d163eb260a0d1f3a368aa6701abc0a41d3d3bac02581bf46c6025c0322d3c3793f426f53d62d294\
         497d8f09abcaa4bee70febc0ca7b72938e49a7e7c03a261df4e84dd29b747aee60159874d053c33ab04ecf14ac0293f4e871\
         4d4283550b9bb1be0b021642c50bc4958685c07aebebf1fec98a1b",
    ),
    (
        446249,
        Down,
        "1004013dbbde0f828f291616305930d0e8f95134d5b3805560d28e9e1d5601ac0d7a36b0126099169e9b497a93fa1e3169ca\
         a4bec784556552dff3877560e53db949c7a4d373601d930e7af426e94d3a3d77b00a4c3ae8a9611d58a7670a5681497af4b8\
         26a1c1aa85cd58df05010ba1e205e24ac34260bdf5f578ff64c50d",
    ),
    (
        643365,
        Down,
        "1004013dbbde0f828f29e9163eb660a0d1f3a368aa6701abc0a41d3d3bac02581bf46c6025c0322d3c3793f426f53d62d294\
         497d8f09abcaa4bee70febc0ca7b72938e49a7e7c03a261df4e84dd29b747aee60159874d053c33ab04ecf14ac0293f4e871\
         4d4283550b9bb1be0b021642c50bc4958685c07aebebf1fec98a1b",
    ),
    (
        841978,
        Down,
        "1004013dbbde0f828f294b160c5930d0e8f95134d5b3805560d28e9e1d5601ac0d7a36b0126099169e9b497a93fa1e3169ca\
         a4bec784556552dff3877560e53db949c7a4d373601d930e7af426e94d3a3d77b00a4c3ae8a9611d58a7670a5681497af4b8\
         26a1c1aa85cd58df05010ba1e205e24ac34260bdf5f578ff64c50d",
    ),
    (994148, Up, "100a0123c34217b93ad22d685a58e3bf344f7103"),
    (1006246, Down, "0004023dbbde0f0005159803ef0600040fae0312"),
    (1047203, Down, "0004013dbbde0f00040fb00314"),
    (1056670, Up, "100a0123c34217b93a962c7465618dffee41c50d"),
    (1085178, Down, "0004023dbbde0f0005159b03f10600040fb2030c"),
    (1100208, Up, "100a0123c342174de9c05af8d8c21afffd52dc00"),
    (1130450, Down, "0004023dbbde0f0005159d03f50600040fb40304"),
    (1145389, Up, "100a0123c342174de9c0b5e0d4c21aff692b6e00"),
    (1166109, Down, "0004023dbbde0f0005159f03fa0600040fb60304"),
    (1191554, Up, "100a0123c342174de928b4a068618dff3c153700"),
    (1202255, Down, "0004023dbbde0f000415b8030800040fb80302"),
    (1236457, Up, "100a0123c342174de950b470af8535fed350dc00"),
    (1247369, Down, "0004023dbbde0f000415bb031900040fba0302"),
    (1281563, Up, "100a0123c342174de970b070c1c21aff218a1b"),
    (1287075, Down, "0004023dbbde0f000415bd031400040fbc0302"),
    (1325756, Down, "0004013dbbde0f00040fbe0304"),
    (1327949, Up, "100a0123c342174de9f0b250d9c21afff9286e00"),
    (1366235, Down, "0004023dbbde0f000415bf030d00040f800404"),
    (1370732, Up, "100a0123c342174de9d0b5f0d3b3c67f898a1b"),
    (1404222, Down, "0004023dbbde0f00041581040a00040f820404"),
    (1414967, Up, "100a0123c342174de9004fa3678dffb4153700"),
    (1446541, Down, "0004023dbbde0f00041584041a00040f840404"),
    (1462538, Up, "100a0123c342174de9b0f4a478d6f86f99e206"),
    (1483294, Down, "0004023dbbde0f00041586041300040f860404"),
    (1506861, Up, "100a0123c342174de968f4b478d6f84f5b7103"),
    (1522475, Down, "0004023dbbde0f00041588040e00040f880404"),
    (1548677, Up, "100a0123c342174de968f1647ad6f8ef9be206"),
    (1565150, Down, "0004023dbbde0f0004158a040c00040f8a0402"),
    (1598224, Up, "100a0123c342174de9c8f4fce859e33f447103"),
    (1603954, Down, "0004023dbbde0f0004158d041700040f8c0402"),
    (1643254, Up, "100a0123c342174de9d0f218f3acf19f86e206"),
    (1643358, Down, "0004013dbbde0f00040f8e0404"),
    (1683352, Down, "0004023dbbde0f0004158f041200040f900404"),
    (1688060, Up, "100a0123c342174de9f0f7fce059e33f6dc50d"),
    (1723446, Down, "0004023dbbde0f00041591040d00040f920404"),
    ];

    #[test]
    fn a_real_client_and_server_tell_their_round_trips() {
        let mut flow = Flow::new(Format::Teeworlds);
        for (at_us, way, hex) in SEEN {
            flow.see(way, &bytes(hex), at_us * 1_000);
        }
        // As an unpacker of others' (libtw2-huffman 0.2.2) has it: all but the two of loading and the first snapshot, which
        // lies behind long messages; each tick's first answer.
        let counts = &flow.slot.counts;
        assert_eq!((counts.read, counts.unread), (39, 3));
        assert_eq!(
            (
                counts.rtt_samples,
                counts.rtt_sum_us,
                counts.rtt_min_us,
                counts.unmatched
            ),
            (16, 1_169_028, 25_445, 0)
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
        let (_, _, input) = SEEN.into_iter().rev().find(|(_, way, _)| *way == Up).unwrap();
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
