//! What can be asked for: any stored figure, and how fast memory grows; by the words that people use.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::history::Measure;

/// A figure whose dependence on players can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ScalingMetric {
    /// A figure of the frames.
    Stored(Measure),
    /// How fast resident memory grows, bytes per hour.
    MemoryGrowth,
}

/// Nobody knows this metric.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no metric `{name}`{}; there are: {}", did_you_mean(.nearest), .known.join(", "))]
pub struct UnknownMetric {
    /// What was asked for.
    pub name: String,
    /// What may have been meant.
    pub nearest: Option<String>,
    /// What there is.
    pub known: Vec<String>,
}

fn did_you_mean(nearest: &Option<String>) -> String {
    match nearest {
        Some(nearest) => format!(" (did you mean `{nearest}`?)"),
        None => String::new(),
    }
}

/// Words of people, and the metric they mean.
const WORDS: [(&str, ScalingMetric); 14] = [
    ("cpu", ScalingMetric::Stored(Measure::CpuCores)),
    ("cpu_usage", ScalingMetric::Stored(Measure::CpuCores)),
    ("tps", ScalingMetric::Stored(Measure::TickRateHz)),
    ("tick_rate", ScalingMetric::Stored(Measure::TickRateHz)),
    ("tick_time", ScalingMetric::Stored(Measure::TickP50Ms)),
    ("mspt", ScalingMetric::Stored(Measure::TickP50Ms)),
    ("memory", ScalingMetric::Stored(Measure::RssBytes)),
    ("rss", ScalingMetric::Stored(Measure::RssBytes)),
    ("memory_growth", ScalingMetric::MemoryGrowth),
    ("network_in", ScalingMetric::Stored(Measure::RxBytesPerSecond)),
    ("network", ScalingMetric::Stored(Measure::TxBytesPerSecond)),
    ("network_out", ScalingMetric::Stored(Measure::TxBytesPerSecond)),
    (
        "disk_read",
        ScalingMetric::Stored(Measure::DiskReadBytesPerSecond),
    ),
    (
        "disk_write",
        ScalingMetric::Stored(Measure::DiskWriteBytesPerSecond),
    ),
];

/// Figures that are players, or a consequence of how many there are by definition.
const NOT_ASKED: [Measure; 8] = [
    Measure::Players,
    Measure::Humans,
    Measure::Bots,
    Measure::Joins,
    Measure::Leaves,
    Measure::PhaseChanges,
    Measure::Actions,
    Measure::TickTargetHz,
];

impl ScalingMetric {
    /// What is asked for where nobody says what.
    pub const USUAL: [Self; 6] = [
        Self::Stored(Measure::CpuCores),
        Self::Stored(Measure::TickP50Ms),
        Self::Stored(Measure::TickRateHz),
        Self::Stored(Measure::RssBytes),
        Self::Stored(Measure::TxBytesPerSecond),
        Self::Stored(Measure::DiskWriteBytesPerSecond),
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stored(measure) => measure.name(),
            Self::MemoryGrowth => "memory_growth",
        }
    }

    /// Does it come in bursts that are costs like any other? Then nothing of it is left out as an outlier.
    pub(super) fn is_bursty(self) -> bool {
        match self {
            Self::Stored(measure) => matches!(
                measure,
                Measure::DiskReadBytesPerSecond
                    | Measure::DiskWriteBytesPerSecond
                    | Measure::MajorFaultsPerSecond
                    | Measure::UdpDropsPerSecond
            ),
            Self::MemoryGrowth => true,
        }
    }

    /// Factor and unit in which a person reads it.
    pub fn unit(self) -> (f64, &'static str) {
        let Self::Stored(measure) = self else {
            return (1.0 / f64::from(1 << 20), "MiB/h");
        };
        match measure {
            Measure::CpuCores | Measure::OtherServersCpuCores | Measure::OtherProcessesCpuCores => {
                (100.0, "% of a core")
            }
            Measure::RssBytes | Measure::RssAnonymousBytes => (1.0 / f64::from(1 << 20), "MiB"),
            name if name.name().ends_with("_bytes_per_second") => (1e-3, "kB/s"),
            name if name.name().ends_with("_per_second") => (1.0, "/s"),
            name if name.name().ends_with("_ms") => (1.0, "ms"),
            name if name.name().ends_with("_hz") => (1.0, "Hz"),
            name if name.name().ends_with("_cores") => (100.0, "% of a core"),
            name if name.name().ends_with("_ratio") => (100.0, "%"),
            _ => (1.0, ""),
        }
    }

    fn known() -> Vec<String> {
        let stored = Measure::ALL
            .iter()
            .filter(|measure| !NOT_ASKED.contains(measure))
            .map(|measure| measure.name());
        let mut known: Vec<String> = WORDS
            .iter()
            .map(|(word, _)| *word)
            .chain(stored)
            .map(str::to_owned)
            .collect();
        known.sort_unstable();
        known.dedup();
        known
    }
}

impl FromStr for ScalingMetric {
    type Err = UnknownMetric;

    fn from_str(name: &str) -> Result<Self, UnknownMetric> {
        if let Some((_, metric)) = WORDS.iter().find(|(word, _)| *word == name) {
            return Ok(*metric);
        }
        if let Some(measure) = Measure::named(name).filter(|measure| !NOT_ASKED.contains(measure)) {
            return Ok(Self::Stored(measure));
        }
        let known = Self::known();
        // Far names are no suggestion but a guess.
        let nearest = known
            .iter()
            .map(|word| (strsim::normalized_damerau_levenshtein(name, word), word))
            .filter(|(likeness, _)| *likeness >= 0.5)
            .max_by(|a, b| a.0.total_cmp(&b.0))
            .map(|(_, word)| word.clone());
        Err(UnknownMetric {
            name: name.to_owned(),
            nearest,
            known,
        })
    }
}

impl fmt::Display for ScalingMetric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for ScalingMetric {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for ScalingMetric {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        name.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_understood_and_wrong_ones_get_the_right_one() {
        for (word, metric) in WORDS {
            assert_eq!(word.parse(), Ok(metric));
            assert_eq!(metric.name().parse(), Ok(metric));
        }
        for (wrong, right) in [
            ("cpu_usge", "cpu_usage"),
            ("memory_grwth", "memory_growth"),
            ("tpss", "tps"),
        ] {
            let error = wrong.parse::<ScalingMetric>().unwrap_err();
            assert_eq!(error.nearest.as_deref(), Some(right));
            assert!(error.to_string().contains("did you mean"));
        }
        let players = "players".parse::<ScalingMetric>().unwrap_err();
        assert!(!players.known.contains(&"players".to_owned()));
        assert!("".parse::<ScalingMetric>().unwrap_err().nearest.is_none());
    }
}
