//! `[queue]`: who waits for a match, where that is asked, and how matches are made. Not here: asking (`serve::queue`).

use std::{path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use super::{FieldError, duration};

/// `[queue]`. Changes with a restart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QueueSettings {
    /// A JSON document with the queue, `http://` or `https://`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Where things are in it.
    pub fields: QueueFields,
    /// A Prometheus-compatible server that knows the queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// PromQL whose series are entries of the queue, by their labels `mode` and `region`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// File with a bearer token for `url` or `source`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
    /// File with user:password for them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// Time between two questions, 1 s to 1 h.
    #[serde(with = "duration")]
    pub interval: Duration,
    /// `[[queue.mode]]`
    #[serde(rename = "mode")]
    pub modes: Vec<QueueMode>,
}

/// `[queue.fields]`: JSON pointers (RFC 6901).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QueueFields {
    /// The list of entries.
    pub list: String,
    /// Mode, in an entry.
    pub mode: String,
    /// Region, in an entry.
    pub region: String,
    /// Players who wait, in an entry.
    pub players: String,
}

/// `[[queue.mode]]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueueMode {
    /// Mode.
    pub name: String,
    /// Players of one match.
    pub players_per_match: u32,
}

impl Default for QueueFields {
    fn default() -> Self {
        Self {
            list: "/queue".to_owned(),
            mode: "/mode".to_owned(),
            region: "/region".to_owned(),
            players: "/players".to_owned(),
        }
    }
}

impl Default for QueueSettings {
    fn default() -> Self {
        Self {
            url: None,
            fields: QueueFields::default(),
            source: None,
            query: None,
            token_file: None,
            password_file: None,
            interval: Duration::from_secs(10),
            modes: Vec::new(),
        }
    }
}

impl QueueSettings {
    /// Checks what the types cannot.
    pub(super) fn check(&self) -> Result<(), FieldError> {
        let bad = |message: &str| {
            Err(FieldError::BadQueue {
                message: message.to_owned(),
            })
        };
        if self.source.is_some() != self.query.is_some() {
            return bad("source and query belong together: which server is asked what");
        }
        if self.url.is_some() && self.source.is_some() {
            return bad("a queue is asked in one place: url, or source and query");
        }
        let mut places = [&self.url, &self.source].into_iter().flatten();
        if places.any(|place| !(place.starts_with("http://") || place.starts_with("https://"))) {
            return bad("url and source begin with http:// or https://");
        }
        let asked = self.url.is_some() || self.source.is_some();
        if !asked && (self.token_file.is_some() || self.password_file.is_some()) {
            return bad("token_file and password_file are for url or source");
        }
        if self.token_file.is_some() && self.password_file.is_some() {
            return bad("give token_file or password_file, not both");
        }
        if self.interval < Duration::from_secs(1) || self.interval > Duration::from_secs(3_600) {
            return Err(FieldError::OutOfRange {
                field: "queue.interval".into(),
                value: humantime::format_duration(self.interval).to_string(),
                expected: "1s to 1h",
            });
        }
        let fields = &self.fields;
        for pointer in [&fields.list, &fields.mode, &fields.region, &fields.players] {
            if !pointer.is_empty() && !pointer.starts_with('/') {
                return bad("pointers of [queue.fields] begin with / (RFC 6901)");
            }
        }
        let mut names = std::collections::HashSet::new();
        for mode in &self.modes {
            if mode.name.is_empty() || !names.insert(mode.name.as_str()) {
                return bad("each [[queue.mode]] needs a name of its own");
            }
            if !(1..=100_000).contains(&mode.players_per_match) {
                return bad("players_per_match is 1 to 100000");
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::Config;

    #[test]
    fn a_queue_is_asked_in_one_place_and_what_cannot_be_meant_is_refused() {
        let parse = |text: &str| Config::parse(text, Path::new("gsmon.toml"));
        let config = parse(
            "[queue]\nurl = \"http://mm/queue\"\n[[queue.mode]]\nname = \"duel\"\nplayers_per_match = 2\n",
        )
        .unwrap();
        assert_eq!(config.queue.modes[0].players_per_match, 2);
        for (text, part) in [
            ("source = \"http://p:9090\"", "belong together"),
            (
                "url = \"http://a\"\nsource = \"http://b\"\nquery = \"x\"",
                "one place",
            ),
            ("token_file = \"/x\"", "for url or source"),
            ("url = \"nonsense\"", "begin with http://"),
            ("interval = \"1ms\"", "1s to 1h"),
            ("fields = { list = \"queue\" }", "RFC 6901"),
            ("mode = [{ name = \"a\", players_per_match = 0 }]", "1 to 100000"),
            (
                "mode = [{ name = \"\", players_per_match = 1 }]",
                "name of its own",
            ),
            ("every = \"1s\"", "unknown field"),
        ] {
            let refused = parse(&format!("[queue]\n{text}\n")).unwrap_err().to_string();
            assert!(refused.contains(part), "{text}: {refused}");
        }
    }
}
