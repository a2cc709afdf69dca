//! Times of ticks and of calls added up: a histogram in the layout [`hist::TICK`] (16 sub-buckets per octave, within 3 %), shared
//! between snapshots without a copy, written down sparsely. It never forgets; readers take differences.

use std::sync::Arc;

use gsmon_common::hist;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Counts of tick times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TickHistogram {
    counts: Arc<Vec<u64>>,
    sum_ns: u64,
}

impl Default for TickHistogram {
    fn default() -> Self {
        Self {
            counts: Arc::new(vec![0; hist::TICK.buckets()]),
            sum_ns: 0,
        }
    }
}

impl TickHistogram {
    /// Adds ticks of these lengths.
    pub fn add(&mut self, times_ns: &[u64]) {
        if times_ns.is_empty() {
            return;
        }
        let counts = Arc::make_mut(&mut self.counts);
        for time_ns in times_ns {
            counts[hist::TICK.index(*time_ns)] += 1;
            self.sum_ns = self.sum_ns.saturating_add(*time_ns);
        }
    }

    /// Adds counts in the same layout, and the sum of their times.
    pub fn add_counts(&mut self, counts: &[u64], sum_ns: u64) {
        if counts.iter().all(|count| *count == 0) {
            return;
        }
        let totals = Arc::make_mut(&mut self.counts);
        for (total, more) in totals.iter_mut().zip(counts) {
            *total = total.saturating_add(*more);
        }
        self.sum_ns = self.sum_ns.saturating_add(sum_ns);
    }

    /// Ticks counted.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// All of their times together.
    pub fn sum_ns(&self) -> u64 {
        self.sum_ns
    }

    /// What came since `before`, an older state of this histogram.
    pub fn since(&self, before: &Self) -> Self {
        let counts = self.counts.iter().zip(before.counts.iter());
        Self {
            counts: Arc::new(counts.map(|(now, then)| now.saturating_sub(*then)).collect()),
            sum_ns: self.sum_ns.saturating_sub(before.sum_ns),
        }
    }

    /// Quantile in nanoseconds; `None` when empty.
    pub fn quantile_ns(&self, q: f64) -> Option<f64> {
        hist::quantile(&hist::TICK, &self.counts, q)
    }

    /// Ticks shorter than each power of two from `1 << from_log2` to `1 << to_log2` nanoseconds, for readers that
    /// want cumulative buckets. Bounds are edges of the layout, so the counts are exact.
    pub fn cumulative(&self, from_log2: u32, to_log2: u32) -> Vec<(u64, u64)> {
        let per_octave = 1usize << hist::TICK.sub_bits;
        (from_log2.max(hist::TICK.min_log2)..=to_log2.min(hist::TICK.max_log2 - 1))
            .map(|log2| {
                let below = (log2 - hist::TICK.min_log2) as usize * per_octave;
                (1u64 << log2, self.counts[..below].iter().sum())
            })
            .collect()
    }
}

/// `buckets` holds `[lower bound in nanoseconds, count]` for every bucket that is not empty.
#[derive(Serialize, Deserialize)]
struct Sparse {
    count: u64,
    sum_ns: u64,
    buckets: Vec<(u64, u64)>,
}

impl Serialize for TickHistogram {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let filled = self.counts.iter().enumerate().filter(|(_, count)| **count > 0);
        Sparse {
            count: self.count(),
            sum_ns: self.sum_ns,
            buckets: filled
                .map(|(index, count)| (hist::TICK.bounds(index).0, *count))
                .collect(),
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for TickHistogram {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let sparse = Sparse::deserialize(deserializer)?;
        let mut counts = vec![0u64; hist::TICK.buckets()];
        for (lower_ns, count) in sparse.buckets {
            let bucket = &mut counts[hist::TICK.index(lower_ns)];
            *bucket = bucket.saturating_add(count);
        }
        Ok(Self {
            counts: Arc::new(counts),
            sum_ns: sparse.sum_ns,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_since_has_its_own_quantiles() {
        let mut histogram = TickHistogram::default();
        histogram.add(&[1_000_000; 100]);
        let before = histogram.clone();
        histogram.add(&[4_000_000; 10]);
        assert_eq!(before.count(), 100, "an older picture does not change");
        let new = histogram.since(&before);
        assert_eq!((new.count(), new.sum_ns()), (10, 40_000_000));
        assert!((new.quantile_ns(0.5).unwrap() / 4e6 - 1.0).abs() < 0.035);
        assert_eq!(TickHistogram::default().quantile_ns(0.5), None);
    }

    #[test]
    fn cumulative_buckets_end_below_their_bound() {
        let mut histogram = TickHistogram::default();
        histogram.add(&[(1 << 20) - 1, 1 << 20, 1 << 22]);
        assert_eq!(
            histogram.cumulative(20, 23),
            [(1 << 20, 1), (1 << 21, 2), (1 << 22, 2), (1 << 23, 3)]
        );
    }

    #[test]
    fn it_survives_json() {
        let mut histogram = TickHistogram::default();
        histogram.add(&[1, 5_000_000, 5_000_000, u64::MAX]);
        let text = serde_json::to_string(&histogram).unwrap();
        assert_eq!(serde_json::from_str::<TickHistogram>(&text).unwrap(), histogram);
    }
}
