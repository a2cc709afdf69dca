//! Histograms that the model has counted, passed on as Prometheus histograms. The crate's own histogram counts
//! observations itself.

use std::collections::HashMap;

use prometheus::{
    core::{Collector, Desc},
    proto::{Bucket, Histogram, LabelPair, Metric, MetricFamily, MetricType},
};

/// One histogram as it was counted.
pub(super) struct Counted {
    /// Values of the labels, in the order of their names.
    pub labels: Vec<String>,
    /// Upper bound in seconds, and how many observations are at most that long; ascending.
    pub cumulative: Vec<(f64, u64)>,
    /// All observations.
    pub count: u64,
    /// Sum of all, seconds.
    pub sum_seconds: f64,
}

/// A family of them.
pub(super) struct Histograms {
    desc: Desc,
    family: MetricFamily,
}

impl Histograms {
    /// A family; without members it has no text.
    pub(super) fn new(
        name: &str,
        help: &str,
        labels: &[&str],
        counted: impl Iterator<Item = Counted>,
    ) -> Result<Self, prometheus::Error> {
        let desc = Desc::new(
            name.into(),
            help.into(),
            labels.iter().map(|label| (*label).to_owned()).collect(),
            HashMap::new(),
        )?;
        let mut family = MetricFamily::default();
        family.set_name(name.into());
        family.set_help(help.into());
        family.set_field_type(MetricType::HISTOGRAM);
        family.set_metric(counted.map(|counted| metric(labels, counted)).collect());
        Ok(Self { desc, family })
    }
}

fn metric(names: &[&str], counted: Counted) -> Metric {
    let labels = names.iter().zip(counted.labels).map(|(name, value)| {
        let mut label = LabelPair::default();
        label.set_name((*name).into());
        label.set_value(value);
        label
    });
    let buckets = counted.cumulative.iter().map(|(bound, count)| {
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(*bound);
        bucket.set_cumulative_count(*count);
        bucket
    });
    let mut histogram = Histogram::default();
    histogram.set_sample_count(counted.count);
    histogram.set_sample_sum(counted.sum_seconds);
    histogram.set_bucket(buckets.collect());
    let mut metric = Metric::default();
    metric.set_label(labels.collect());
    metric.set_histogram(histogram);
    metric
}

impl Collector for Histograms {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        if self.family.get_metric().is_empty() {
            return Vec::new();
        }
        vec![self.family.clone()]
    }
}
