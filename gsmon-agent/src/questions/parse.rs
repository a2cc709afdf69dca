//! A question out of the parameters of a route: what `gsmon analyze` and `gsmon mark` have as arguments. What cannot be
//! meant is refused with what would be right. Not here: answering.

use std::{str::FromStr, time::Duration};

use crate::{
    analysis::{
        network::{Buckets, BucketsError, Regions},
        scaling::{By, Limit, ScalingMetric, Scope, UnknownMetric},
    },
    config::QueueMode,
    history::{TimeRange, source::RangeError},
};

/// What can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// What players cost.
    Players,
    /// What bots cost.
    Bots,
    /// What actions do.
    Actions,
    /// Is memory lost.
    Memory,
    /// What players' networks do.
    Network,
    /// Did a change of netcode change anything.
    Netcode,
    /// What changed with each mark.
    Mark,
    /// What a queue needs.
    Queue,
}

impl Kind {
    /// All that have a route below `/api/v1/analyze`, by their words.
    pub const ROUTES: [(&'static str, Self); 7] = [
        ("actions", Self::Actions),
        ("bots", Self::Bots),
        ("mark", Self::Mark),
        ("memory", Self::Memory),
        ("netcode", Self::Netcode),
        ("network", Self::Network),
        ("players", Self::Players),
    ];

    /// By its word.
    pub fn named(word: &str) -> Option<Self> {
        let found = Self::ROUTES.iter().find(|(name, _)| *name == word);
        found.map(|(_, kind)| *kind)
    }

    /// Its parameters.
    pub fn parameters(self) -> &'static [&'static str] {
        match self {
            Self::Players => &["server", "mode", "range", "metrics", "by"],
            Self::Bots | Self::Actions => &["server", "range"],
            Self::Memory => &["server", "range", "limit_mib"],
            Self::Network => &["server", "range", "regions", "buckets"],
            Self::Netcode => &["server", "before", "after"],
            Self::Mark => &["server", "window"],
            Self::Queue => &["range", "per_match"],
        }
    }
}

/// A question with all it needs.
#[derive(Clone, Debug)]
pub enum Question {
    /// See [`super::Analyses::players`].
    Players {
        /// Of which servers.
        scope: Scope,
        /// When.
        range: TimeRange,
        /// What.
        metrics: Vec<ScalingMetric>,
        /// Groups.
        by: Option<By>,
    },
    /// See [`super::Analyses::bots`].
    Bots {
        /// Server.
        server: String,
        /// When.
        range: TimeRange,
    },
    /// See [`super::Analyses::actions`].
    Actions {
        /// Server.
        server: String,
        /// When.
        range: TimeRange,
    },
    /// See [`super::Analyses::leak`].
    Memory {
        /// Server.
        server: String,
        /// When.
        range: TimeRange,
        /// What it may use.
        limit: Option<Limit>,
    },
    /// See [`super::Analyses::network`].
    Network {
        /// Server; all without.
        server: Option<String>,
        /// When; the last hour without.
        range: Option<TimeRange>,
        /// By region as well?
        regions: Regions,
        /// Latency buckets.
        buckets: Buckets,
    },
    /// See [`super::Analyses::netcode`].
    Netcode {
        /// Server.
        server: String,
        /// Window before the change.
        before: TimeRange,
        /// Window after it.
        after: TimeRange,
    },
    /// See [`super::Analyses::changes`].
    Mark {
        /// Server.
        server: String,
        /// How far a mark is looked around.
        window_ms: i64,
    },
    /// See [`super::Analyses::queue`].
    Queue {
        /// What costs are read out of.
        range: TimeRange,
        /// Players of one match; these come before the configuration's.
        sizes: Vec<QueueMode>,
    },
}

/// Why parameters are no question.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ParameterError {
    /// Not one of this question.
    #[error("`{name}` is no parameter here; known are: {}", .known.join(", "))]
    Unknown {
        /// What was given.
        name: String,
        /// What there is.
        known: &'static [&'static str],
    },
    /// More than once.
    #[error("the parameter `{0}` is given twice")]
    Twice(String),
    /// Needed.
    #[error("the parameter `{0}` is missing")]
    Missing(&'static str),
    /// No such metric.
    #[error(transparent)]
    Metric(#[from] UnknownMetric),
    /// No range.
    #[error(transparent)]
    Range(#[from] RangeError),
    /// No buckets.
    #[error(transparent)]
    Buckets(#[from] BucketsError),
    /// A value that is not one of a few words.
    #[error("`{text}` as `{name}` is not known; known are: {}", .known.join(", "))]
    Word {
        /// Parameter.
        name: &'static str,
        /// What was given.
        text: String,
        /// What there is.
        known: &'static [&'static str],
    },
    /// A value that cannot be read.
    #[error("`{text}` as `{name}` must be {must}")]
    Value {
        /// Parameter.
        name: &'static str,
        /// What was given.
        text: String,
        /// What would be right.
        must: &'static str,
    },
    /// Two that exclude each other.
    #[error("`{0}` and `{1}` cannot be given together")]
    Both(&'static str, &'static str),
}

impl ParameterError {
    /// What would have been right.
    pub fn known(&self) -> Vec<String> {
        let owned = |known: &[&str]| known.iter().map(|word| (*word).to_owned()).collect();
        match self {
            Self::Unknown { known, .. } | Self::Word { known, .. } => owned(known),
            Self::Missing(name) => owned(&[name]),
            Self::Metric(error) => error.known.clone(),
            _ => Vec::new(),
        }
    }
}

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);
const USUAL_WINDOW_MS: i64 = 1_800_000;

/// Parameters of a query, of which only known ones are there, each once.
struct Given<'a> {
    given: &'a [(String, String)],
    now_unix_ms: i64,
}

impl Given<'_> {
    /// Empty is not given, so that a form can be sent as it is.
    fn get(&self, name: &str) -> Option<&str> {
        let found = self.given.iter().find(|(given, _)| given == name);
        found
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    }

    fn server(&self) -> Result<String, ParameterError> {
        let server = self.get("server").ok_or(ParameterError::Missing("server"))?;
        Ok(server.to_owned())
    }

    fn range(&self, usual: Duration) -> Result<TimeRange, ParameterError> {
        Ok(match self.get("range") {
            Some(text) => TimeRange::parse(text, self.now_unix_ms)?,
            None => TimeRange::last(usual, self.now_unix_ms),
        })
    }

    fn window(&self, name: &'static str) -> Result<TimeRange, ParameterError> {
        let text = self.get(name).ok_or(ParameterError::Missing(name))?;
        Ok(TimeRange::parse(text, self.now_unix_ms)?)
    }

    fn listed<T>(
        &self,
        name: &'static str,
        read: impl Fn(&str) -> Result<T, ParameterError>,
    ) -> Result<Vec<T>, ParameterError> {
        let words = self.get(name).map(|text| text.split(',').map(str::trim));
        words.into_iter().flatten().map(read).collect()
    }
}

impl Question {
    /// Of these parameters, at this time.
    ///
    /// # Errors
    /// With what would have been right.
    pub fn parse(kind: Kind, given: &[(String, String)], now_unix_ms: i64) -> Result<Self, ParameterError> {
        let known = kind.parameters();
        for (index, (name, _)) in given.iter().enumerate() {
            if !known.contains(&name.as_str()) {
                return Err(ParameterError::Unknown {
                    name: name.clone(),
                    known,
                });
            }
            if given[..index].iter().any(|(earlier, _)| earlier == name) {
                return Err(ParameterError::Twice(name.clone()));
            }
        }
        let given = Given { given, now_unix_ms };
        Ok(match kind {
            Kind::Players => players(&given)?,
            Kind::Bots => Self::Bots {
                server: given.server()?,
                range: given.range(HOUR)?,
            },
            Kind::Actions => Self::Actions {
                server: given.server()?,
                range: given.range(HOUR)?,
            },
            Kind::Memory => Self::Memory {
                server: given.server()?,
                range: given.range(HOUR)?,
                limit: given.get("limit_mib").map(limit).transpose()?,
            },
            Kind::Network => network(&given)?,
            Kind::Netcode => Self::Netcode {
                server: given.server()?,
                before: given.window("before")?,
                after: given.window("after")?,
            },
            Kind::Mark => Self::Mark {
                server: given.server()?,
                window_ms: given.get("window").map_or(Ok(USUAL_WINDOW_MS), window)?,
            },
            Kind::Queue => Self::Queue {
                range: given.range(DAY)?,
                sizes: given.listed("per_match", size)?,
            },
        })
    }
}

fn players(given: &Given<'_>) -> Result<Question, ParameterError> {
    let scope = match (given.get("server"), given.get("mode")) {
        (Some(_), Some(_)) => return Err(ParameterError::Both("server", "mode")),
        (Some(server), None) => Scope::Server(server.to_owned()),
        (None, Some(mode)) => Scope::Mode(mode.to_owned()),
        (None, None) => Scope::All,
    };
    let by = match given.get("by") {
        None => None,
        Some("mode") => Some(By::Mode),
        Some("map") => Some(By::Map),
        Some("phase") => Some(By::Phase),
        Some(text) => {
            return Err(ParameterError::Word {
                name: "by",
                text: text.to_owned(),
                known: &["mode", "map", "phase"],
            });
        }
    };
    // Groups are those of one server.
    if by.is_some() && !matches!(scope, Scope::Server(_)) {
        return Err(ParameterError::Missing("server"));
    }
    let mut metrics = given.listed("metrics", |word| Ok(ScalingMetric::from_str(word)?))?;
    if metrics.is_empty() {
        metrics = ScalingMetric::USUAL.to_vec();
    }
    Ok(Question::Players {
        scope,
        range: given.range(HOUR)?,
        metrics,
        by,
    })
}

fn network(given: &Given<'_>) -> Result<Question, ParameterError> {
    let regions = match given.get("regions") {
        None | Some("false") => Regions::LeftOut,
        Some("true") => Regions::Included,
        Some(text) => {
            return Err(ParameterError::Word {
                name: "regions",
                text: text.to_owned(),
                known: &["true", "false"],
            });
        }
    };
    let bounds: Vec<f64> = given.listed("buckets", |text| {
        text.parse().map_err(|_| ParameterError::Value {
            name: "buckets",
            text: text.to_owned(),
            must: "lower bounds in milliseconds with commas between them: 0,50,100",
        })
    })?;
    let buckets = match bounds.is_empty() {
        true => Buckets::default(),
        false => Buckets::new(bounds)?,
    };
    let range = given
        .get("range")
        .map(|text| TimeRange::parse(text, given.now_unix_ms));
    Ok(Question::Network {
        server: given.get("server").map(str::to_owned),
        range: range.transpose()?,
        regions,
        buckets,
    })
}

fn limit(text: &str) -> Result<Limit, ParameterError> {
    let mib: Option<u64> = text.parse().ok().filter(|mib| *mib > 0);
    let mib = mib.ok_or_else(|| ParameterError::Value {
        name: "limit_mib",
        text: text.to_owned(),
        must: "a number of MiB from 1",
    })?;
    Ok(Limit {
        bytes: mib as f64 * f64::from(1 << 20),
    })
}

fn window(text: &str) -> Result<i64, ParameterError> {
    let length = humantime::parse_duration(text)
        .ok()
        .filter(|length| !length.is_zero());
    let ms = length.and_then(|length| i64::try_from(length.as_millis()).ok());
    ms.ok_or_else(|| ParameterError::Value {
        name: "window",
        text: text.to_owned(),
        must: "a length of time: 30m, 2h",
    })
}

/// `duel=2`
fn size(text: &str) -> Result<QueueMode, ParameterError> {
    let size = text.rsplit_once('=').and_then(|(name, players)| {
        let players_per_match = players.parse().ok().filter(|players| *players > 0)?;
        Some(QueueMode {
            name: name.to_owned(),
            players_per_match,
        })
    });
    size.ok_or_else(|| ParameterError::Value {
        name: "per_match",
        text: text.to_owned(),
        must: "modes and players of one match with commas between them: duel=2,race=8",
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: i64 = 1_772_400_000_000;

    fn parse(kind: Kind, query: &[(&str, &str)]) -> Result<Question, ParameterError> {
        let given: Vec<(String, String)> = query
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        Question::parse(kind, &given, NOW)
    }

    #[test]
    fn questions_have_what_commands_have() {
        let day = parse(
            Kind::Players,
            &[
                ("server", "arena"),
                ("range", "24h"),
                ("by", "mode"),
                ("mode", ""),
            ],
        );
        let Ok(Question::Players {
            scope,
            range,
            metrics,
            by,
        }) = day
        else {
            panic!("{day:?}")
        };
        assert_eq!((scope, by), (Scope::Server("arena".into()), Some(By::Mode)));
        assert_eq!((range.from_unix_ms, range.to_unix_ms), (NOW - 86_400_000, NOW));
        assert_eq!(metrics, ScalingMetric::USUAL);
        let all = parse(Kind::Players, &[("metrics", "tps,cpu_usage")]);
        assert!(
            matches!(all, Ok(Question::Players { scope: Scope::All, metrics, .. }) if metrics.len() == 2)
        );
        let memory = parse(Kind::Memory, &[("server", "a"), ("limit_mib", "2")]);
        assert!(
            matches!(memory, Ok(Question::Memory { limit: Some(limit), .. }) if limit.bytes == 2_097_152.0)
        );
        assert!(matches!(
            parse(Kind::Network, &[]),
            Ok(Question::Network {
                server: None,
                range: None,
                ..
            })
        ));
        assert!(matches!(
            parse(Kind::Mark, &[("server", "a"), ("window", "2h")]),
            Ok(Question::Mark {
                window_ms: 7_200_000,
                ..
            })
        ));
        let queue = parse(Kind::Queue, &[("per_match", "duel=2,a=b=8")]);
        assert!(matches!(queue, Ok(Question::Queue { sizes, .. }) if sizes[1].name == "a=b"));
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_what_is_right() {
        for (kind, query, word) in [
            (Kind::Bots, &[][..], "`server` is missing"),
            (Kind::Bots, &[("server", "")], "`server` is missing"),
            (Kind::Bots, &[("name", "a")], "known are: server, range"),
            (Kind::Bots, &[("server", "a"), ("server", "b")], "twice"),
            (Kind::Actions, &[("server", "a"), ("range", "yesterday")], "24h"),
            (
                Kind::Actions,
                &[("server", "a"), ("range", "0s")],
                "ends before it begins",
            ),
            (
                Kind::Players,
                &[("metrics", "cpu_usge")],
                "did you mean `cpu_usage`?",
            ),
            (Kind::Players, &[("by", "mode")], "`server` is missing"),
            (
                Kind::Players,
                &[("server", "a"), ("by", "team")],
                "mode, map, phase",
            ),
            (Kind::Players, &[("server", "a"), ("mode", "b")], "together"),
            (Kind::Memory, &[("server", "a"), ("limit_mib", "0")], "MiB"),
            (Kind::Network, &[("buckets", "50,0")], "must rise"),
            (Kind::Network, &[("buckets", "a")], "milliseconds"),
            (Kind::Network, &[("regions", "yes")], "true, false"),
            (
                Kind::Netcode,
                &[("server", "a"), ("before", "1h")],
                "`after` is missing",
            ),
            (Kind::Mark, &[("server", "a"), ("window", "0s")], "30m"),
            (Kind::Queue, &[("per_match", "duel")], "duel=2"),
        ] {
            let refused = parse(kind, query).unwrap_err().to_string();
            assert!(refused.contains(word), "{query:?}: {refused}");
        }
    }

    proptest! {
        #[test]
        fn any_query_is_a_question_or_refused(
            kind in prop::sample::select(vec![Kind::Players, Kind::Memory, Kind::Network, Kind::Netcode, Kind::Mark, Kind::Queue]),
            given in prop::collection::vec(
                (
                    prop::sample::select(vec!["server", "mode", "range", "metrics", "by", "limit_mib", "regions",
                        "buckets", "before", "after", "window", "per_match", "x"]),
                    "[0-9a-zTZ:.,= +-]{0,30}",
                ),
                0..5,
            ),
        ) {
            let query: Vec<(&str, &str)> = given.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let Err(refused) = parse(kind, &query) else { return Ok(()) };
            prop_assert!(!refused.to_string().is_empty());
        }
    }
}
