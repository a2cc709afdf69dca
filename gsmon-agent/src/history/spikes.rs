//! Spikes as they are kept: rows that whoever looks for spikes hands in, and gets back when the frames are gone. Not here:
//! finding them (the analysis room), which also knows what the names of causes mean.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::measure::Measure;

/// A moment in which a figure of a server was far above what is usual.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredSpike {
    /// Server.
    pub server: Arc<str>,
    /// End of its first frame.
    pub unix_ms: i64,
    /// What rose.
    pub measure: Measure,
    /// How long it lasted.
    pub seconds: f64,
    /// Highest value, in the unit of the measure.
    pub peak: f64,
    /// What was usual before.
    pub usual: f64,
    /// Height above that, in standard deviations.
    pub deviations: f64,
    /// Causes that fit, the likeliest first; empty: unexplained.
    pub causes: Vec<StoredCause>,
    /// Causes that were not measured, and so are not excluded.
    pub not_measured: Vec<Arc<str>>,
}

/// A cause that fits a spike, with its evidence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredCause {
    /// Its name.
    pub cause: Arc<str>,
    /// The figure that shows it.
    pub measure: Measure,
    /// Its value just before or in the spike.
    pub value: f64,
    /// What is usual around it.
    pub usual: f64,
    /// 5 % and 95 % of what is usual.
    pub usual_range: (f64, f64),
    /// Chance that such a value was there without having to do with the spike.
    pub p_value: f64,
    /// How long before the spike it was highest.
    pub lead_seconds: f64,
    /// Frames that it was held against.
    pub observations: usize,
}
