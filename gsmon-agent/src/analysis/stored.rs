//! Spikes as the history keeps them, both ways. Not here: finding them (`spikes`), keeping them (the history room).

use std::sync::Arc;

use serde::{Serialize, de::DeserializeOwned};

use super::spikes::{Cause, Evidence, Spike, SpikeOf};
use crate::history::{Measure, StoredCause, StoredSpike};

impl SpikeOf {
    /// The figure that rises.
    pub fn measure(self) -> Measure {
        match self {
            Self::Cpu => Measure::CpuCores,
            Self::TickTime => Measure::TickP99Ms,
        }
    }

    fn of(measure: Measure) -> Option<Self> {
        [Self::Cpu, Self::TickTime]
            .into_iter()
            .find(|of| of.measure() == measure)
    }
}

/// The word that a cause has in JSON.
fn word(cause: impl Serialize) -> Arc<str> {
    let json = serde_json::to_value(cause).ok();
    json.as_ref()
        .and_then(|json| json.as_str())
        .unwrap_or_default()
        .into()
}

fn meant<T: DeserializeOwned>(word: &str) -> Option<T> {
    serde_json::from_value(serde_json::Value::String(word.to_owned())).ok()
}

impl Spike {
    /// As the history keeps it.
    pub fn stored(&self, server: &str) -> StoredSpike {
        StoredSpike {
            server: server.into(),
            unix_ms: self.unix_ms,
            measure: self.of.measure(),
            seconds: self.seconds,
            peak: self.peak,
            usual: self.usual,
            deviations: self.deviations,
            causes: self
                .causes
                .iter()
                .map(|evidence| StoredCause {
                    cause: word(evidence.cause),
                    measure: evidence.measure,
                    value: evidence.value,
                    usual: evidence.usual,
                    usual_range: evidence.usual_range,
                    p_value: evidence.p_value,
                    lead_seconds: evidence.lead_seconds,
                    observations: evidence.observations,
                })
                .collect(),
            not_measured: self.not_measured.iter().map(word).collect(),
        }
    }

    /// What the history has kept; `None` where another figure rose than this gsmon looks for. Causes that it does not know
    /// are left out.
    pub fn of_stored(stored: &StoredSpike) -> Option<Self> {
        let causes = stored.causes.iter().filter_map(|told| {
            let cause: Cause = meant(&told.cause)?;
            Some(Evidence {
                cause,
                side: cause.side(),
                measure: told.measure,
                value: told.value,
                usual: told.usual,
                usual_range: told.usual_range,
                p_value: told.p_value,
                lead_seconds: told.lead_seconds,
                observations: told.observations,
            })
        });
        Some(Self {
            of: SpikeOf::of(stored.measure)?,
            unix_ms: stored.unix_ms,
            seconds: stored.seconds,
            peak: stored.peak,
            usual: stored.usual,
            deviations: stored.deviations,
            causes: causes.collect(),
            not_measured: stored
                .not_measured
                .iter()
                .filter_map(|told| meant(told))
                .collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{analysis::spikes::explain_spikes, history::Frame};

    #[test]
    fn a_spike_comes_back_as_it_was() {
        let mut frames: Vec<Frame> = (0..400)
            .map(|second| {
                Frame::new(1_700_000_000_000 + second * 1_000, 1.0)
                    .with(Measure::TickP99Ms, 5.0 + (second % 7) as f64 / 10.0)
                    .with(Measure::Joins, 0.0)
            })
            .collect();
        frames[300].set(Measure::TickP99Ms, Some(30.0));
        frames[300].set(Measure::Joins, Some(6.0));
        let spikes = explain_spikes(&frames);
        assert_eq!(spikes.len(), 1);
        assert_eq!(spikes[0].causes[0].cause, Cause::Joins);
        assert!(!spikes[0].not_measured.is_empty());
        let mut stored = spikes[0].stored("arena");
        assert_eq!(Spike::of_stored(&stored).as_ref(), Some(&spikes[0]));
        stored.causes[0].cause = "of_a_newer_gsmon".into();
        assert!(Spike::of_stored(&stored).unwrap().causes.is_empty());
        stored.measure = Measure::Players;
        assert_eq!(Spike::of_stored(&stored), None);
    }
}
