//! One log-linear histogram layout for kernel and agent (the scheme of HdrHistogram): every octave is cut into
//! `1 << SUB_BITS` equal sub-buckets, so the relative width of a bucket is at most `1 / (1 << SUB_BITS)`.
//!
//! With 4 sub-bits (16 sub-buckets) the middle of a bucket is within about 3 % of every value in it, with 2 within
//! 12.5 %. Values below the range go to the first bucket, above it to the last.

/// A layout: values from `1 << MIN_LOG2` to `1 << MAX_LOG2`, `1 << SUB_BITS` sub-buckets per octave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// log2 of the lower end of the range.
    pub min_log2: u32,
    /// log2 of the upper end of the range.
    pub max_log2: u32,
    /// log2 of the number of sub-buckets per octave.
    pub sub_bits: u32,
}

impl Layout {
    /// Number of buckets.
    pub const fn buckets(&self) -> usize {
        ((self.max_log2 - self.min_log2) as usize) << self.sub_bits
    }

    /// The bucket of `value`. Branch-light, without loops, so that BPF programs can use it.
    #[inline(always)]
    pub const fn index(&self, value: u64) -> usize {
        let low = 1u64 << self.min_log2;
        let high = (1u64 << self.max_log2) - 1;
        let v = if value < low {
            low
        } else if value > high {
            high
        } else {
            value
        };
        let octave = if self.max_log2 <= 32 {
            log2_u32(v as u32)
        } else {
            log2(v)
        };
        let sub = (v >> (octave - self.sub_bits)) & ((1 << self.sub_bits) - 1);
        (((octave - self.min_log2) << self.sub_bits) as u64 + sub) as usize
    }

    /// Lower (inclusive) and upper (exclusive) bound of bucket `index`.
    pub const fn bounds(&self, index: usize) -> (u64, u64) {
        let octave = self.min_log2 + (index >> self.sub_bits) as u32;
        let sub = (index & ((1 << self.sub_bits) - 1)) as u64;
        let width = 1u64 << (octave - self.sub_bits);
        let lower = (1u64 << octave) + sub * width;
        (lower, lower + width)
    }
}

/// Floor of log2; 0 for 0. BPF has no count-leading-zeros instruction, so this is five compares.
#[inline(always)]
pub const fn log2(value: u64) -> u32 {
    let mut v = value;
    let mut r = 0;
    if v >= 1 << 32 {
        v >>= 32;
        r += 32;
    }
    if v >= 1 << 16 {
        v >>= 16;
        r += 16;
    }
    if v >= 1 << 8 {
        v >>= 8;
        r += 8;
    }
    if v >= 1 << 4 {
        v >>= 4;
        r += 4;
    }
    if v >= 1 << 2 {
        v >>= 2;
        r += 2;
    }
    if v >= 1 << 1 {
        r += 1;
    }
    r
}

/// Multiplying a word of ones below its top bit by this puts a different number into its top five bits for each length
/// (a de Bruijn sequence; Leiserson, Prokop and Randall, 1998).
const DE_BRUIJN: u32 = 0x07c4_acdd;
const LENGTHS: [u8; 32] = lengths();

const fn lengths() -> [u8; 32] {
    let mut lengths = [0; 32];
    let mut n = 0;
    while n < 32 {
        let ones = u32::MAX >> (31 - n);
        lengths[(ones.wrapping_mul(DE_BRUIJN) >> 27) as usize] = n as u8;
        n += 1;
    }
    lengths
}

/// Floor of log2; 0 for 0. No branch: times between packets are random, and a CPU guesses their size wrongly.
#[inline(always)]
const fn log2_u32(value: u32) -> u32 {
    let mut ones = value;
    ones |= ones >> 1;
    ones |= ones >> 2;
    ones |= ones >> 4;
    ones |= ones >> 8;
    ones |= ones >> 16;
    LENGTHS[(ones.wrapping_mul(DE_BRUIJN) >> 27) as usize] as u32
}

/// Packet sizes (IP-layer bytes), 64 B to 2 KiB, 4 sub-buckets per octave. Games keep below an Ethernet frame; what is
/// outside goes to the ends.
pub const SIZE: Layout = Layout {
    min_log2: 6,
    max_log2: 11,
    sub_bits: 2,
};
/// Inter-arrival times in nanoseconds, 0.52 ms to 1.07 s, 4 sub-buckets per octave. Shorter gaps are one burst, longer
/// ones silence. The range is narrow on purpose: thousands of detail slots must fit the CPU's address cache.
pub const INTER_ARRIVAL: Layout = Layout {
    min_log2: 19,
    max_log2: 30,
    sub_bits: 2,
};
/// Tick times in nanoseconds, 1 us to 8.6 s, 16 sub-buckets per octave.
pub const TICK: Layout = Layout {
    min_log2: 10,
    max_log2: 33,
    sub_bits: 4,
};

/// Round trips in nanoseconds, 1 ms to 2.1 s, 16 sub-buckets per octave.
pub const RTT: Layout = Layout {
    min_log2: 20,
    max_log2: 31,
    sub_bits: 4,
};

/// Quantile `q` (0 to 1) of bucket counts: the middle of the bucket that holds it. `None` when empty.
pub fn quantile<T: Copy + Into<u64>>(layout: &Layout, counts: &[T], q: f64) -> Option<f64> {
    let total: u64 = counts.iter().map(|count| (*count).into()).sum();
    if total == 0 {
        return None;
    }
    // Rank of the nearest-rank method, at least the first value.
    let exact = q.clamp(0.0, 1.0) * total as f64;
    let mut rank = exact as u64;
    if (rank as f64) < exact || rank == 0 {
        rank += 1;
    }
    let mut seen = 0;
    for (index, count) in counts.iter().enumerate() {
        seen += (*count).into();
        if seen >= rank {
            let (lower, upper) = layout.bounds(index);
            return Some((lower + upper) as f64 / 2.0);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LAYOUTS: [Layout; 4] = [SIZE, INTER_ARRIVAL, TICK, RTT];

    proptest! {
        #[test]
        fn a_value_lies_in_the_bounds_of_its_bucket(value in any::<u64>(), which in 0usize..4) {
            let layout = LAYOUTS[which];
            let index = layout.index(value);
            prop_assert!(index < layout.buckets());
            let (lower, upper) = layout.bounds(index);
            let clamped = value.clamp(1 << layout.min_log2, (1 << layout.max_log2) - 1);
            prop_assert!(lower <= clamped && clamped < upper);
            prop_assert!((upper - lower) as f64 / lower as f64 <= 1.0 / (1u64 << layout.sub_bits) as f64);
        }

        #[test]
        fn log2_agrees_with_the_standard_library(value in 1u64..) {
            prop_assert_eq!(log2(value), value.ilog2());
            let low = value as u32;
            prop_assert_eq!(log2_u32(low), low.checked_ilog2().unwrap_or(0));
        }

        #[test]
        fn a_quantile_is_within_half_a_bucket(mut values in prop::collection::vec(1_000u64..1 << 32, 1..200), q in 0.0f64..1.0) {
            let mut counts = [0u64; TICK.buckets()];
            for v in &values { counts[TICK.index(*v)] += 1; }
            values.sort_unstable();
            let rank = ((q * values.len() as f64).ceil() as usize).max(1);
            let exact = values[rank - 1].max(1 << TICK.min_log2) as f64;
            let got = quantile(&TICK, &counts, q).unwrap();
            prop_assert!((got - exact).abs() / exact < 0.035, "{got} against {exact}");
        }
    }

    #[test]
    fn buckets_tile_the_range() {
        for layout in LAYOUTS {
            for index in 1..layout.buckets() {
                assert_eq!(layout.bounds(index - 1).1, layout.bounds(index).0);
            }
        }
    }

    #[test]
    fn nothing_counted_has_no_quantile() {
        assert_eq!(quantile(&TICK, &[0u64; TICK.buckets()], 0.5), None);
    }
}
