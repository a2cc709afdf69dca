//! `[discovery]`: finding game servers that nobody configured.

use serde::{Deserialize, Serialize};

use super::FieldError;

/// `[discovery]`
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DiscoverySettings {
    /// When to look.
    pub mode: DiscoveryMode,
    /// A process counts as a server from this confidence on, more than 0 and at most 1.
    pub least_confidence: f64,
}

/// `discovery.mode`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DiscoveryMode {
    /// While no `[[server]]` is configured.
    #[default]
    Auto,
    /// Always: what is found joins what is configured.
    On,
    /// Never.
    Off,
}

impl Default for DiscoverySettings {
    fn default() -> Self {
        Self {
            mode: DiscoveryMode::Auto,
            least_confidence: 0.6,
        }
    }
}

impl DiscoverySettings {
    /// Is it on, with so many `[[server]]` entries?
    pub fn is_on(&self, configured_servers: usize) -> bool {
        match self.mode {
            DiscoveryMode::Auto => configured_servers == 0,
            DiscoveryMode::On => true,
            DiscoveryMode::Off => false,
        }
    }

    pub(super) fn check(&self) -> Result<(), FieldError> {
        // Also refuses NaN.
        if self.least_confidence > 0.0 && self.least_confidence <= 1.0 {
            return Ok(());
        }
        Err(FieldError::OutOfRange {
            field: "discovery.least_confidence".into(),
            value: self.least_confidence.to_string(),
            expected: "more than 0, at most 1",
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    fn parse(text: &str) -> Result<Config, String> {
        Config::parse(text, std::path::Path::new("gsmon.toml")).map_err(|error| error.to_string())
    }

    #[test]
    fn auto_is_on_while_nothing_is_configured() {
        let settings = parse("").unwrap().discovery;
        assert_eq!(settings.least_confidence, 0.6);
        assert!(settings.is_on(0) && !settings.is_on(1));
        let on = parse("[discovery]\nmode = \"on\"\nleast_confidence = 0.9\n")
            .unwrap()
            .discovery;
        assert!(on.is_on(3) && on.least_confidence == 0.9);
        assert!(!parse("[discovery]\nmode = \"off\"").unwrap().discovery.is_on(0));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for value in ["0.0", "-1.0", "1.01", "nan"] {
            let message = parse(&format!("[discovery]\nleast_confidence = {value}\n")).unwrap_err();
            assert!(message.contains("at most 1"), "{message}");
        }
        assert!(
            parse("[discovery]\nmode = \"maybe\"")
                .unwrap_err()
                .contains("line 2")
        );
    }
}
