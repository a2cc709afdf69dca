//! The configuration of `gsmon fleet`: which agents it reads, how patient it is with them, and where it serves.

use std::{
    collections::HashSet,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{
    AdviceSettings, AgonesEntry, AnnouncedEvent, ConfigError, FieldError, FleetSourceSettings,
    ForecastSettings, RemoteSettings, ScalingSettings, agones, duration, forecast,
};

/// Agents that one fleet reads at most.
pub const MOST_AGENTS: usize = 1_000;
/// Where an agent is asked when its URL names no port.
pub const DEFAULT_REMOTE_PORT: u16 = 9_467;
/// Where the fleet listens unless told otherwise.
pub const DEFAULT_FLEET_SOCKET: &str = "/run/gsmon-fleet/api.sock";

/// The whole file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FleetConfig {
    /// `[fleet]`
    pub fleet: FleetSettings,
    /// `[listen]`
    pub listen: FleetListen,
    /// `[source]`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<FleetSourceSettings>,
    /// `[advice]`, of which the prices count here.
    pub advice: AdviceSettings,
    /// `[scaling]`
    pub scaling: ScalingSettings,
    /// `[forecast]`
    pub forecast: ForecastSettings,
    /// `[[event]]`
    #[serde(rename = "event", skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<AnnouncedEvent>,
    /// `[[agent]]`
    #[serde(rename = "agent")]
    pub agents: Vec<AgentEntry>,
    /// `[[agones]]`
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub agones: Vec<AgonesEntry>,
}

/// `[fleet]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FleetSettings {
    /// Time between two readings of an agent that answers.
    #[serde(with = "duration")]
    pub interval: Duration,
    /// A reading may take this long, from connecting to its last byte.
    #[serde(with = "duration")]
    pub timeout: Duration,
    /// What an agent said is stale when it is older.
    #[serde(with = "duration")]
    pub stale_after: Duration,
    /// The agent is unknown when what it said is older.
    #[serde(with = "duration")]
    pub unknown_after: Duration,
    /// An answer may have so many bytes.
    pub most_bytes: u64,
}

/// `[listen]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FleetListen {
    /// Unix socket of the API.
    pub socket: PathBuf,
    /// TCP address of `/metrics` and `/healthz`, and nothing else.
    pub metrics: SocketAddr,
    /// The API for other hosts, only where this is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote: Option<RemoteSettings>,
}

/// `[[agent]]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentEntry {
    /// Name of the host, for whoever reads the fleet. What the agent calls itself does not count.
    pub name: String,
    /// `https://host[:port]` of its `[api.remote]`.
    pub url: String,
    /// File with the token to send.
    pub token_file: PathBuf,
    /// Certificates (PEM) of those who may have signed the agent's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// Or the one certificate (PEM) that the agent must show, whoever signed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pinned_certificate_file: Option<PathBuf>,
    /// What the label `instance` of its metrics is in `[source]`; the host of `url` or the name before its port where
    /// absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
}

impl Default for FleetSettings {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(5),
            stale_after: Duration::from_secs(15),
            unknown_after: Duration::from_secs(60),
            most_bytes: 32 << 20,
        }
    }
}

impl Default for FleetListen {
    fn default() -> Self {
        Self {
            socket: PathBuf::from(DEFAULT_FLEET_SOCKET),
            metrics: SocketAddr::from((Ipv4Addr::LOCALHOST, 9_466)),
            remote: None,
        }
    }
}

/// Host and port of an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentPlace {
    /// Name or address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl AgentEntry {
    /// Where it is.
    ///
    /// # Errors
    /// Says what is wrong with the URL.
    pub fn place(&self) -> Result<AgentPlace, FieldError> {
        let wrong = |message: &str| FieldError::BadAgent {
            name: self.name.clone(),
            message: format!("url = \"{}\": {message}", self.url),
        };
        let rest = self
            .url
            .strip_prefix("https://")
            .ok_or_else(|| wrong("it must begin with https:// (agents are read over TLS only)"))?;
        let authority: hyper::http::uri::Authority = rest
            .strip_suffix('/')
            .unwrap_or(rest)
            .parse()
            .map_err(|_| wrong("expected https://host or https://host:port, without a path"))?;
        if authority.as_str().contains('@') {
            return Err(wrong("no user belongs there: the token comes from token_file"));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let port = match authority.port() {
            Some(port) => port.as_u16(),
            None if authority.as_str().ends_with(':')
                || authority.as_str().len() != authority.host().len() =>
            {
                return Err(wrong("the port must be 1 to 65535"));
            }
            None => DEFAULT_REMOTE_PORT,
        };
        if host.is_empty() || port == 0 {
            return Err(wrong("host or port is missing"));
        }
        Ok(AgentPlace {
            host: host.to_owned(),
            port,
        })
    }

    fn check(&self, position: usize) -> Result<(), FieldError> {
        let length = self.name.chars().count();
        if length == 0 || length > 128 || self.name.chars().any(char::is_control) {
            return Err(FieldError::BadAgent {
                name: position.to_string(),
                message: "the name must have 1 to 128 characters and no control characters".into(),
            });
        }
        if self.ca_file.is_some() == self.pinned_certificate_file.is_some() {
            return Err(FieldError::BadAgent {
                name: self.name.clone(),
                message: "give ca_file (who signed its certificate), or pinned_certificate_file (the certificate itself), not both".into(),
            });
        }
        self.place().map(|_| ())
    }
}

impl FleetConfig {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// With file, line and what was expected.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(&text, path)
    }

    /// Checks the text of a file; `path` is for messages.
    ///
    /// # Errors
    /// As of [`Self::read`].
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let config: Self = toml::from_str(text).map_err(|error| ConfigError::Parse {
            path: path.to_owned(),
            message: error.to_string(),
        })?;
        config.check().map_err(|source| ConfigError::Invalid {
            path: path.to_owned(),
            source,
        })?;
        Ok(config)
    }

    fn check(&self) -> Result<(), FieldError> {
        let fleet = &self.fleet;
        let out_of_range = |field: &str, value: String, expected| FieldError::OutOfRange {
            field: format!("fleet.{field}"),
            value,
            expected,
        };
        let second = Duration::from_secs(1);
        for (field, value, low, high, expected) in [
            ("interval", fleet.interval, second, 300 * second, "1s to 5m"),
            ("timeout", fleet.timeout, second / 10, 60 * second, "100ms to 1m"),
            (
                "stale_after",
                fleet.stale_after,
                2 * fleet.interval,
                3_600 * second,
                "at least twice fleet.interval, at most 1h",
            ),
            (
                "unknown_after",
                fleet.unknown_after,
                fleet.stale_after,
                86_400 * second,
                "at least fleet.stale_after, at most 1day",
            ),
        ] {
            if value < low || value > high {
                let value = humantime::format_duration(value).to_string();
                return Err(out_of_range(field, value, expected));
            }
        }
        if !((64 << 10)..=(256 << 20)).contains(&fleet.most_bytes) {
            let value = fleet.most_bytes.to_string();
            return Err(out_of_range("most_bytes", value, "65536 to 268435456"));
        }
        if self.agents.is_empty() || self.agents.len() > MOST_AGENTS {
            return Err(FieldError::OutOfRange {
                field: "number of [[agent]] entries".into(),
                value: self.agents.len().to_string(),
                expected: "1 to 1000",
            });
        }
        let mut names = HashSet::new();
        for (index, agent) in self.agents.iter().enumerate() {
            agent.check(index + 1)?;
            if !names.insert(agent.name.as_str()) {
                return Err(FieldError::BadAgent {
                    name: agent.name.clone(),
                    message: "two entries have this name: names must be unique".into(),
                });
            }
        }
        if let Some(source) = &self.source {
            source.check()?;
        }
        self.advice.check()?;
        agones::check(&self.scaling, &self.agones)?;
        self.forecast.check()?;
        forecast::check(&self.events)?;
        match &self.listen.remote {
            Some(remote) if remote.listen == self.listen.metrics && remote.listen.port() != 0 => {
                Err(FieldError::BadFleetListen {
                    message: "listen and [listen] metrics are one address: give each its own port",
                })
            }
            Some(remote) if remote.shared_key_file.is_some() => Err(FieldError::BadFleetListen {
                message: "shared_key_file belongs to the agents: a fleet reads pseudonyms and never makes them",
            }),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGENT: &str =
        "[[agent]]\nname = \"a\"\nurl = \"https://a.example:9467\"\ntoken_file = \"/t\"\nca_file = \"/c\"\n";

    fn parse(text: &str) -> Result<FleetConfig, ConfigError> {
        FleetConfig::parse(text, Path::new("fleet.toml"))
    }

    fn place(url: &str) -> Result<AgentPlace, FieldError> {
        let entry = AgentEntry {
            url: url.into(),
            ..parse(AGENT).unwrap().agents.remove(0)
        };
        entry.place()
    }

    #[test]
    fn an_agent_is_all_it_needs() {
        let config = parse(AGENT).unwrap();
        assert_eq!(config.fleet, FleetSettings::default());
        assert_eq!(config.listen, FleetListen::default());
        assert_eq!(config.agents[0].place().unwrap().host, "a.example");
    }

    #[test]
    fn a_url_names_host_and_port() {
        for (url, host, port) in [
            ("https://a", "a", DEFAULT_REMOTE_PORT),
            ("https://a.example:1/", "a.example", 1),
            ("https://192.0.2.1:443", "192.0.2.1", 443),
            ("https://[2001:db8::1]:9", "2001:db8::1", 9),
            ("https://[2001:db8::1]", "2001:db8::1", DEFAULT_REMOTE_PORT),
        ] {
            let found = place(url).unwrap();
            assert_eq!((found.host.as_str(), found.port), (host, port), "{url}");
        }
        for url in [
            "http://a",
            "a:1",
            "https://",
            "https://a:0",
            "https://a:66000",
            "https://a:",
            "https://a/x",
            "https://me:secret@a",
            "https://a b",
        ] {
            assert!(place(url).is_err(), "{url}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_named() {
        let remote = "[listen.remote]\nlisten = \"0.0.0.0:1\"\ncertificate_file = \"/c\"\nkey_file = \"/k\"\ntoken_file = \"/t\"\n";
        for (text, part) in [
            (String::new(), "[[agent]]"),
            (format!("{AGENT}{AGENT}"), "names must be unique"),
            (AGENT.replace("ca_file = \"/c\"\n", ""), "pinned_certificate_file"),
            (format!("{AGENT}pinned_certificate_file = \"/c\"\n"), "not both"),
            (AGENT.replace("https", "http"), "TLS only"),
            (AGENT.replace("name = \"a\"", "name = \"\""), "1 to 128"),
            (format!("[fleet]\ninterval = \"1ms\"\n{AGENT}"), "1s to 5m"),
            (
                format!("[fleet]\nstale_after = \"6s\"\n{AGENT}"),
                "twice fleet.interval",
            ),
            (
                format!("[fleet]\nunknown_after = \"10s\"\n{AGENT}"),
                "fleet.stale_after",
            ),
            (format!("[fleet]\nmost_bytes = 1\n{AGENT}"), "65536"),
            (
                format!("{remote}shared_key_file = \"/s\"\n{AGENT}"),
                "belongs to the agents",
            ),
            (
                format!("[listen]\nmetrics = \"0.0.0.0:1\"\n{remote}{AGENT}"),
                "its own port",
            ),
            (format!("[source]\nurl = \"ftp://a\"\n{AGENT}"), "[source] url"),
            (
                format!("[source]\nurl = \"http://a\"\nca_file = \"/c\"\n{AGENT}"),
                "https:// only",
            ),
            (
                format!("[source]\nurl = \"http://a\"\ninterval = \"1ms\"\n{AGENT}"),
                "1s to 5m",
            ),
            (format!("[fleet]\nspeed = 1\n{AGENT}"), "unknown field"),
        ] {
            let message = parse(&text).unwrap_err().to_string();
            assert!(
                message.contains(part) && message.contains("fleet.toml"),
                "{message}"
            );
        }
        assert!(parse(&format!("{remote}{AGENT}")).is_ok());
    }

    proptest::proptest! {
        #[test]
        fn no_url_makes_it_panic(url in "(https://)?\\PC{0,40}") {
            let _ = place(&url);
        }
    }
}
