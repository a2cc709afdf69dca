//! `[history]`: what is kept on disk, where, and for how long. Not here: keeping it (the history room).

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{FieldError, duration};

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);
/// Longest of all retentions.
const LONGEST: Duration = Duration::from_secs(3_660 * 86_400);

/// `history.write`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HistoryWriting {
    /// Samples, events and sessions go to disk.
    #[default]
    On,
    /// Nothing does; the last hour is in memory all the same.
    Off,
}

/// `[history]`. Changes with a restart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HistorySettings {
    /// Is anything written?
    pub write: HistoryWriting,
    /// The file; `history.db` in the state directory where none is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// How long samples of a second are kept, 2 h to 10 years.
    #[serde(with = "duration")]
    pub raw: Duration,
    /// How long roll-ups of a minute are kept, from `raw` on.
    #[serde(with = "duration")]
    pub minutes: Duration,
    /// How long roll-ups of an hour are kept, from `minutes` on.
    #[serde(with = "duration")]
    pub hours: Duration,
    /// How long events are kept, one hour to 10 years.
    #[serde(with = "duration")]
    pub events: Duration,
    /// How long players' lines of a minute are kept, one hour to 10 years; 0 s where none are to be written.
    #[serde(with = "duration")]
    pub lines: Duration,
    /// How long sessions, transitions, starts and stops are kept, one hour to 10 years.
    #[serde(with = "duration")]
    pub sessions: Duration,
}

impl Default for HistorySettings {
    fn default() -> Self {
        Self {
            write: HistoryWriting::On,
            path: None,
            raw: 48 * HOUR,
            minutes: 35 * DAY,
            hours: 730 * DAY,
            events: 35 * DAY,
            lines: 48 * HOUR,
            sessions: 730 * DAY,
        }
    }
}

impl HistorySettings {
    /// The file, in the state directory where none is named.
    pub fn file(&self, state_directory: &Path) -> PathBuf {
        let usual = || state_directory.join("history.db");
        self.path.clone().unwrap_or_else(usual)
    }

    /// The roll-ups of a tier are made of the tier below, so that none may be kept shorter than that.
    pub(super) fn check(&self) -> Result<(), FieldError> {
        let limits = [
            ("history.raw", self.raw, 2 * HOUR, "2h to 10years"),
            (
                "history.minutes",
                self.minutes,
                self.raw,
                "history.raw to 10years",
            ),
            (
                "history.hours",
                self.hours,
                self.minutes,
                "history.minutes to 10years",
            ),
            ("history.events", self.events, HOUR, "1h to 10years"),
            ("history.sessions", self.sessions, HOUR, "1h to 10years"),
        ];
        let limits = limits.into_iter().chain((!self.lines.is_zero()).then_some((
            "history.lines",
            self.lines,
            HOUR,
            "0s, or 1h to 10years",
        )));
        for (field, value, least, expected) in limits {
            if value < least || value > LONGEST {
                return Err(FieldError::OutOfRange {
                    field: field.into(),
                    value: humantime::format_duration(value).to_string(),
                    expected,
                });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn a_tier_that_ends_before_the_one_below_is_refused() {
        let parse = |text: &str| Config::parse(text, Path::new("gsmon.toml"));
        for (text, part) in [
            ("[history]\nraw = \"1h\"", "2h to 10years"),
            ("[history]\nraw = \"40days\"", "history.raw to 10years"),
            ("[history]\nhours = \"30days\"", "history.minutes to 10years"),
            ("[history]\nlines = \"5m\"", "1h to 10years"),
            ("[history]\nwrite = true", "line 2"),
        ] {
            let message = parse(text).unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        }
        let config =
            parse("[history]\nwrite = \"off\"\npath = \"/srv/h.db\"\nraw = \"6h\"\nlines = \"0s\"\n")
                .unwrap();
        assert_eq!(config.history.write, HistoryWriting::Off);
        assert_eq!(config.history.raw, 6 * HOUR);
        assert_eq!(config.history.minutes, HistorySettings::default().minutes);
    }
}
