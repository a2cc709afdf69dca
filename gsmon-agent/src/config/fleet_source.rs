//! `[source]` of a fleet: the Prometheus-compatible server that scrapes the agents, for figures of the past.

use std::{path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use super::{FieldError, duration};

/// `[source]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FleetSourceSettings {
    /// `http://prometheus:9090`, or `https://mimir/prometheus`.
    pub url: String,
    /// File with a bearer token for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
    /// Or a file with `user:password`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// Certificates (PEM) of those who may have signed its own; those that the system trusts where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// Time between two looks at what it has.
    #[serde(with = "duration", default = "usual_interval")]
    pub interval: Duration,
}

fn usual_interval() -> Duration {
    Duration::from_secs(15)
}

impl FleetSourceSettings {
    /// What can be said without asking it.
    pub(super) fn check(&self) -> Result<(), FieldError> {
        let wrong = |message| Err(FieldError::BadFleetSource { message });
        if !self.url.starts_with("http://") && !self.url.starts_with("https://") {
            return wrong("url must begin with http:// or https://");
        }
        if self.token_file.is_some() && self.password_file.is_some() {
            return wrong("give token_file or password_file, not both");
        }
        if self.ca_file.is_some() && !self.url.starts_with("https://") {
            return wrong("ca_file is for https:// only");
        }
        let second = Duration::from_secs(1);
        match (second..=300 * second).contains(&self.interval) {
            true => Ok(()),
            false => wrong("interval must be 1s to 5m"),
        }
    }
}
