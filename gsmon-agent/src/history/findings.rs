//! Findings as they are kept: what detectors found about a server, with the evidence. Not here: finding (the analysis and
//! monitor rooms).

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Who found it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Detector {
    /// Memory that grows at equal players (`gsmon analyze memory`).
    MemoryGrowth,
}

impl Detector {
    /// All of them, with their names in the file.
    pub const ALL: [(&'static str, Self); 1] = [("memory_growth", Self::MemoryGrowth)];

    /// Name.
    pub fn name(self) -> &'static str {
        match self {
            Self::MemoryGrowth => "memory_growth",
        }
    }

    /// By its name.
    pub fn named(name: &str) -> Option<Self> {
        let found = Self::ALL.iter().find(|(known, _)| *known == name);
        found.map(|(_, detector)| *detector)
    }
}

/// How much it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth knowing.
    Low,
    /// Somebody should look at it.
    Medium,
    /// Somebody should look at it now.
    High,
}

impl Severity {
    /// Name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }

    /// By its name.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Low, Self::Medium, Self::High]
            .into_iter()
            .find(|severity| severity.name() == name)
    }
}

/// Something found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredFinding {
    /// Server.
    pub server: Arc<str>,
    /// When it was found first.
    pub unix_ms: i64,
    /// When it was found last; each look that finds it again moves this on.
    pub last_unix_ms: i64,
    /// Who found it.
    pub detector: Detector,
    /// How much it matters.
    pub severity: Severity,
    /// A sentence for an administrator.
    pub says: String,
    /// The detector's own report.
    pub evidence: serde_json::Value,
}
