//! `[scaling]` and `[[agones]]` of a fleet: which Agones fleets are which mode and region, and how far they may grow. Not
//! here: plans and answers (the fleet room).

use std::{collections::HashSet, time::Duration};

use serde::{Deserialize, Serialize};

use super::{FieldError, duration};

/// How players shall fare, as a word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WantedExperience {
    /// Nearly nobody waits.
    Smooth,
    /// Short waits now and then.
    #[default]
    Responsive,
    /// Few servers.
    Economical,
}

impl WantedExperience {
    /// The word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Smooth => "smooth",
            Self::Responsive => "responsive",
            Self::Economical => "economical",
        }
    }
}

/// `[scaling]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ScalingSettings {
    /// How players shall fare.
    pub experience: WantedExperience,
    /// Time between two plans.
    #[serde(with = "duration")]
    pub every: Duration,
    /// A plan that is older is none.
    #[serde(with = "duration")]
    pub longest_age: Duration,
}

impl Default for ScalingSettings {
    fn default() -> Self {
        Self {
            experience: WantedExperience::default(),
            every: Duration::from_secs(300),
            longest_age: Duration::from_secs(1_800),
        }
    }
}

/// `[[agones]]`: one Agones fleet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Told")]
pub struct AgonesEntry {
    /// Name of the Fleet.
    pub fleet: String,
    /// Its Kubernetes namespace; any, where none is named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Mode that it plays; all, where none is named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// Region that it is in; all, where none is named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// GameServers that must run.
    pub minimum: u32,
    /// GameServers that may run.
    pub maximum: u32,
    /// Fewer are asked for only when no plan of so long wanted more.
    #[serde(with = "duration")]
    pub scale_down_delay: Duration,
    /// Players that one holds, where agents do not tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub players_per_server: Option<u32>,
}

/// As it is written; it is checked while it is read, so that an error has its line.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Told {
    fleet: String,
    namespace: Option<String>,
    mode: Option<String>,
    region: Option<String>,
    #[serde(default = "one")]
    minimum: u32,
    maximum: u32,
    #[serde(with = "duration", default = "ten_minutes")]
    scale_down_delay: Duration,
    players_per_server: Option<u32>,
}

fn one() -> u32 {
    1
}

fn ten_minutes() -> Duration {
    Duration::from_secs(600)
}

/// GameServers that one fleet may have.
const MOST: u32 = 100_000;

impl TryFrom<Told> for AgonesEntry {
    type Error = String;

    fn try_from(told: Told) -> Result<Self, String> {
        let name = told.fleet;
        let wrong = |what: String| Err(format!("[[agones]] `{name}`: {what}"));
        for (field, word) in [
            ("fleet", Some(&name)),
            ("namespace", told.namespace.as_ref()),
            ("mode", told.mode.as_ref()),
            ("region", told.region.as_ref()),
        ] {
            if word.is_some_and(|word| word.is_empty() || word.chars().count() > 253) {
                return wrong(format!("{field} must have 1 to 253 characters"));
            }
        }
        if told.minimum > told.maximum {
            return wrong(format!(
                "at least {} and at most {} contradict each other: correct minimum or maximum",
                told.minimum, told.maximum
            ));
        }
        if !(1..=MOST).contains(&told.maximum) {
            return wrong(format!("maximum must be 1 to {MOST}"));
        }
        if told.scale_down_delay > Duration::from_secs(86_400) {
            return wrong("scale_down_delay is 1day at most".to_owned());
        }
        if told
            .players_per_server
            .is_some_and(|players| !(1..=MOST).contains(&players))
        {
            return wrong(format!("players_per_server must be 1 to {MOST}"));
        }
        Ok(Self {
            fleet: name,
            namespace: told.namespace,
            mode: told.mode,
            region: told.region,
            minimum: told.minimum,
            maximum: told.maximum,
            scale_down_delay: told.scale_down_delay,
            players_per_server: told.players_per_server,
        })
    }
}

impl AgonesEntry {
    /// Is it this Fleet's?
    pub fn is_of(&self, namespace: &str, fleet: &str) -> bool {
        self.fleet == fleet && self.namespace.as_deref().is_none_or(|own| own == namespace)
    }
}

pub(super) fn check(scaling: &ScalingSettings, entries: &[AgonesEntry]) -> Result<(), FieldError> {
    let range = |field: &str, value: Duration, expected| FieldError::OutOfRange {
        field: format!("scaling.{field}"),
        value: humantime::format_duration(value).to_string(),
        expected,
    };
    let (second, day) = (Duration::from_secs(1), Duration::from_secs(86_400));
    if scaling.every < second || scaling.every > day / 24 {
        return Err(range("every", scaling.every, "1s to 1h"));
    }
    if scaling.longest_age < 2 * scaling.every || scaling.longest_age > day {
        return Err(range(
            "longest_age",
            scaling.longest_age,
            "at least twice scaling.every, at most 1day",
        ));
    }
    let mut seen = HashSet::new();
    for entry in entries {
        if !seen.insert((entry.namespace.as_deref(), entry.fleet.as_str())) {
            return Err(FieldError::BadAgent {
                name: entry.fleet.clone(),
                message:
                    "two [[agones]] entries are for this fleet: each needs one, or a namespace of its own"
                        .into(),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::FleetConfig;

    const AGENT: &str =
        "[[agent]]\nname = \"a\"\nurl = \"https://a\"\ntoken_file = \"/t\"\nca_file = \"/c\"\n";

    #[test]
    fn what_contradicts_itself_is_named_with_file_and_line() {
        let parse = |text: &str| FleetConfig::parse(&format!("{AGENT}{text}"), Path::new("fleet.toml"));
        let good = parse("[[agones]]\nfleet = \"duel\"\nmaximum = 9\n").unwrap();
        let entry = &good.agones[0];
        assert_eq!((entry.minimum, entry.scale_down_delay.as_secs()), (1, 600));
        assert!(entry.is_of("default", "duel") && !entry.is_of("default", "race"));
        let again = toml::to_string(&good).unwrap();
        assert_eq!(FleetConfig::parse(&again, Path::new("fleet.toml")).unwrap(), good);
        for (text, part) in [
            (
                "[[agones]]\nfleet = \"duel\"\nminimum = 5\nmaximum = 2\n",
                "at least 5 and at most 2",
            ),
            ("[[agones]]\nfleet = \"\"\nmaximum = 2\n", "1 to 253"),
            (
                "[[agones]]\nfleet = \"duel\"\nminimum = 0\nmaximum = 0\n",
                "1 to 100000",
            ),
            ("[[agones]]\nfleet = \"duel\"\n", "maximum"),
            (
                "[[agones]]\nfleet = \"duel\"\nmaximum = 2\nscale_down_delay = \"2days\"\n",
                "1day at most",
            ),
            (
                "[[agones]]\nfleet = \"duel\"\nmaximum = 2\nplayers_per_server = 0\n",
                "players_per_server",
            ),
            (
                "[[agones]]\nfleet = \"duel\"\nmaximum = 2\nspeed = 2\n",
                "unknown field",
            ),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(
                error.contains(part)
                    && error.contains("fleet.toml")
                    && (error.contains("line 6") || error.contains("line 9")),
                "{text}: {error}"
            );
        }
        for (text, part) in [
            (
                "[[agones]]\nfleet = \"duel\"\nmaximum = 2\n[[agones]]\nfleet = \"duel\"\nmaximum = 3\n",
                "each needs one",
            ),
            ("[scaling]\nevery = \"1ms\"\n", "1s to 1h"),
            ("[scaling]\nlongest_age = \"6m\"\n", "twice scaling.every"),
            ("[scaling]\nexperience = \"perfect\"\n", "unknown variant"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
