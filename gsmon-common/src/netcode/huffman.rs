//! The fixed Huffman code that Teeworlds compresses its datagrams with: its table, and the symbol that bits begin with.
//!
//! Not here: what the symbols say (`teeworlds`).

/// Symbols of the code: bytes, and the end.
pub(super) const SYMBOLS: usize = 257;
/// Ends a datagram.
pub const END: u32 = 256;

/// The code, as the game builds it from its table of frequencies (teeworlds `src/engine/shared/huffman.cpp` and
/// `network.cpp`): bits in the upper half, the code in the lower, its first bit lowest.
#[rustfmt::skip]
pub(super) const CODE: [u32; SYMBOLS] = [
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
pub const LENGTH_AT: u32 = 9;

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

/// The symbol that `bits` begin with: the lower bits are it, those from [`LENGTH_AT`] on how many bits it takes.
#[inline(always)]
pub fn symbol(bits: u64) -> u32 {
    let mut entry = MEANINGS[bits as usize & ((1 << FIRST_BITS) - 1)];
    if entry & LONGER != 0 {
        let start = (entry & !LONGER) as usize;
        let rest = (bits >> FIRST_BITS) as usize & ((1 << SECOND_BITS) - 1);
        entry = MEANINGS[(start + rest) & (TABLE - 1)];
    }
    entry as u32
}
