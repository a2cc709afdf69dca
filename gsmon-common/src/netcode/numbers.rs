//! Keys and differences of sequence numbers, and the time of stamps: what the other modules count with.

/// Numbers so far from the others are strays.
pub(super) const STRAY: u32 = 1_000;
/// Bits of a stamp that are its time.
pub(super) const TIME_BITS: u32 = 40;
/// Those bits.
pub(super) const TIME_MASK: u64 = (1 << TIME_BITS) - 1;

#[inline(always)]
pub(super) fn key_of(channel: u32, number: u32) -> u32 {
    number ^ channel.wrapping_mul(0x0101_0101)
}

/// Neighbours far apart (Knuth's multiplicative hashing); `places` is a power of two.
#[inline(always)]
pub(super) fn spread(key: u32, places: usize) -> usize {
    (key.wrapping_mul(0x9e37_79b1) >> 26) as usize & (places - 1)
}

/// `number - before` in numbers of `bits` bits, from -half to half.
#[inline(always)]
pub(super) fn ahead(number: u32, before: u32, bits: u8) -> i32 {
    let unused = 32u32.wrapping_sub(bits as u32) & 31;
    (number.wrapping_sub(before) << unused) as i32 >> unused
}

#[inline(always)]
pub(super) fn microseconds(now_ns: u64) -> u64 {
    (now_ns / 1_000) & TIME_MASK
}
