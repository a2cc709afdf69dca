//! A quantile sketch: how many values fell into each of a row of buckets whose bounds grow by a constant factor. Two
//! sketches merge exactly, so that the p99 of a day is a p99 and no mean of p99s.
//!
//! Not here: writing it (`disk::rollups`). The layout is that of DDSketch. The crate sketches-ddsketch keeps its buckets to
//! itself, so that the sketches of an hour of minutes could not be packed together, and a minute of a figure has to fit
//! into a few bytes.

/// A quantile is within this share of the true value.
pub const ACCURACY_RATIO: f64 = 0.03;

const GAMMA: f64 = (1.0 + ACCURACY_RATIO) / (1.0 - ACCURACY_RATIO);
/// What is smaller counts as zero.
const SMALLEST: f64 = 1e-9;
/// Buckets on either side of zero; the last one begins near 1e17.
const MOST_KEYS: f64 = 1_000.0;

/// Bucket of a value.
pub fn key(value: f64) -> i16 {
    let size = value.abs();
    // NaN as well: nobody hands one in, and it must not become the largest of all.
    if size.is_nan() || size < SMALLEST {
        return 0;
    }
    let steps = ((size / SMALLEST).ln() / GAMMA.ln()).floor() + 1.0;
    let key = steps.min(MOST_KEYS) as i16;
    if value < 0.0 { -key } else { key }
}

/// The value that stands for a bucket: no further than [`ACCURACY_RATIO`] from any in it.
pub fn middle(key: i16) -> f64 {
    if key == 0 {
        return 0.0;
    }
    let low = SMALLEST * GAMMA.powi(i32::from(key.abs()) - 1);
    let middle = low * 2.0 * GAMMA / (1.0 + GAMMA);
    if key < 0 { -middle } else { middle }
}

/// Values, counted by bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sketch {
    /// Rising keys with how many values they have; none is zero.
    buckets: Vec<(i16, u32)>,
}

impl Sketch {
    /// From rising keys with their counts.
    pub fn of(buckets: Vec<(i16, u32)>) -> Self {
        Self { buckets }
    }

    /// Rising keys with their counts.
    pub fn buckets(&self) -> &[(i16, u32)] {
        &self.buckets
    }

    /// Adds a value.
    pub fn add(&mut self, value: f64) {
        self.add_key(key(value), 1);
    }

    fn add_key(&mut self, key: i16, count: u32) {
        match self.buckets.binary_search_by_key(&key, |(key, _)| *key) {
            Ok(index) => self.buckets[index].1 = self.buckets[index].1.saturating_add(count),
            Err(index) => self.buckets.insert(index, (key, count)),
        }
    }

    /// Adds all values of another.
    pub fn merge(&mut self, other: &Self) {
        for (key, count) in &other.buckets {
            self.add_key(*key, *count);
        }
    }

    /// How many values there are.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|(_, count)| u64::from(*count)).sum()
    }

    /// The value below which so large a share of all lies (0.5 is the median); `None` of an empty sketch.
    pub fn quantile(&self, share_ratio: f64) -> Option<f64> {
        let last = self.count().checked_sub(1)?;
        let rank = (share_ratio.clamp(0.0, 1.0) * last as f64).round() as u64;
        let mut below = 0;
        for (key, count) in &self.buckets {
            below += u64::from(*count);
            if below > rank {
                return Some(middle(*key));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sketch(values: &[f64]) -> Sketch {
        let mut sketch = Sketch::default();
        values.iter().for_each(|value| sketch.add(*value));
        sketch
    }

    #[test]
    fn what_is_nothing_has_no_quantile_and_zero_is_a_value() {
        assert_eq!(Sketch::default().quantile(0.5), None);
        assert_eq!(sketch(&[0.0, 0.0, 5.0]).quantile(0.5), Some(0.0));
        assert_eq!(key(f64::NAN), 0);
        assert_eq!(key(f64::INFINITY), 1_000);
    }

    proptest! {
        #[test]
        fn quantiles_are_as_near_as_promised_and_merging_loses_nothing(
            mut first in prop::collection::vec(prop_oneof![Just(0.0), -1e6..1e6f64, 1e-6..1e-3f64], 1..200),
            second in prop::collection::vec(-1e3..1e9f64, 0..200),
            share in 0.0..=1.0f64,
        ) {
            let mut merged = sketch(&first);
            merged.merge(&sketch(&second));
            first.extend(second);
            prop_assert_eq!(&merged, &sketch(&first));
            prop_assert_eq!(merged.count(), first.len() as u64);
            first.sort_by(f64::total_cmp);
            let truth = first[(share * (first.len() - 1) as f64).round() as usize];
            let told = merged.quantile(share).unwrap();
            prop_assert!((told - truth).abs() <= truth.abs() * ACCURACY_RATIO * 1.0001 + 1e-9, "{told} for {truth}");
        }

        #[test]
        fn larger_values_never_have_smaller_keys(a in -1e12..1e12f64, b in -1e12..1e12f64) {
            prop_assert!((a <= b) == (key(a) <= key(b)) || key(a) == key(b));
        }
    }
}
