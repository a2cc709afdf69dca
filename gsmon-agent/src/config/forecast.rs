//! `[forecast]` and `[[event]]`: in which local time seasons lie, and announced times that are unlike others. Not here: the
//! forecast (the analysis room).

use std::collections::BTreeMap;

use jiff::{Timestamp, tz::TimeZone};
use serde::{Deserialize, Serialize};

use super::FieldError;

/// `[forecast]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ForecastSettings {
    /// Time zone of daily and weekly seasons, by its IANA name.
    pub timezone: String,
    /// `[forecast.timezones]`: those of regions, by their names.
    pub timezones: BTreeMap<String, String>,
}

impl Default for ForecastSettings {
    fn default() -> Self {
        Self {
            timezone: "UTC".to_owned(),
            timezones: BTreeMap::new(),
        }
    }
}

/// `[[event]]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnnouncedEvent {
    /// Name; what earlier events of one name did to players is expected of the next.
    pub name: String,
    /// Beginning, RFC 3339.
    pub from: String,
    /// End, RFC 3339.
    pub to: String,
    /// Players beside an ordinary time; without it, learned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub players_ratio: Option<f64>,
    /// Regions it is held in; all, where none is named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub regions: Vec<String>,
    /// Servers it is held on; all, where none is named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub servers: Vec<String>,
}

impl AnnouncedEvent {
    /// Beginning and end, in seconds since 1970; `None` where they are no times.
    pub fn span_unix_s(&self) -> Option<(i64, i64)> {
        let time = |text: &str| Some(text.parse::<Timestamp>().ok()?.as_second());
        Some((time(&self.from)?, time(&self.to)?))
    }
}

impl ForecastSettings {
    /// Time zone of a region, or of everything.
    pub fn zone(&self, region: Option<&str>) -> Result<TimeZone, FieldError> {
        let name = region
            .and_then(|region| self.timezones.get(region))
            .unwrap_or(&self.timezone);
        if name == "UTC" {
            return Ok(TimeZone::UTC);
        }
        TimeZone::get(name).map_err(|error| {
            FieldError::BadForecast(format!(
                "[forecast] `{name}` is no time zone of this machine (write an IANA name such as Europe/Berlin; the package tzdata has them): {error}"
            ))
        })
    }

    pub(super) fn check(&self) -> Result<(), FieldError> {
        self.zone(None)?;
        self.timezones
            .keys()
            .try_for_each(|region| self.zone(Some(region)).map(drop))
    }
}

/// Checks what the types cannot.
pub(super) fn check(events: &[AnnouncedEvent]) -> Result<(), FieldError> {
    for event in events {
        let bad = |message: &str| {
            Err(FieldError::BadForecast(format!(
                "[[event]] `{}`: {message}",
                event.name
            )))
        };
        match event.span_unix_s() {
            None => return bad("from and to must be RFC 3339 times such as 2026-03-01T20:00:00Z"),
            Some((from, to)) if from >= to => return bad("it ends before it begins"),
            Some(_) => {}
        }
        if event
            .players_ratio
            .is_some_and(|ratio| !(0.0..=100.0).contains(&ratio))
        {
            return bad("players_ratio must lie between 0 and 100");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::Config;

    #[test]
    fn zones_and_events_are_read_and_what_cannot_be_meant_is_refused() {
        let parse = |text: &str| Config::parse(text, Path::new("gsmon.toml"));
        let event = |from: &str, more: &str| {
            format!("[[event]]\nname = \"cup\"\nfrom = \"{from}\"\nto = \"2026-03-02T00:00:00Z\"\n{more}\n")
        };
        let zones = "[forecast]\ntimezone = \"Europe/Berlin\"\ntimezones = { us = \"America/New_York\" }\n";
        let config = parse(&format!(
            "{zones}{}",
            event("2026-03-01T00:00:00Z", "players_ratio = 1.5")
        ))
        .unwrap();
        assert_eq!(
            config.forecast.zone(Some("us")).unwrap().iana_name(),
            Some("America/New_York")
        );
        assert_eq!(
            config.forecast.zone(Some("eu")).unwrap().iana_name(),
            Some("Europe/Berlin")
        );
        assert_eq!(
            config.events[0].span_unix_s(),
            Some((1_772_323_200, 1_772_409_600))
        );
        for (text, wanted) in [
            (
                "[forecast]\ntimezone = \"Moon/Crater\"\n".to_owned(),
                "no time zone",
            ),
            (event("tomorrow", ""), "RFC 3339"),
            (event("2026-03-03T00:00:00Z", ""), "ends before"),
            (
                event("2026-03-01T00:00:00Z", "players_ratio = -1.0"),
                "players_ratio",
            ),
        ] {
            let refused = parse(&text).unwrap_err().to_string();
            assert!(refused.contains(wanted), "{refused}");
        }
    }
}
