//! Reading and checking a configuration file.

use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use gsmon_common::limits;
use serde::{Deserialize, Serialize};

use super::{
    AdviceSettings, AnnouncedEvent, CustomNetcode, DiscoverySettings, ForecastSettings, GameServer,
    HistorySettings, NetcodeSampling, QueueSettings, RegionSettings, RemoteSettings, check, forecast,
    netcode,
};

/// Durations as `"1s"`, `"500ms"`, `"5m"`.
pub mod duration {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// Reads a duration; the unit is required.
    pub fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(input)?;
        humantime::parse_duration(&text)
            .map_err(|error| D::Error::custom(format!("`{text}` is no duration such as \"1s\": {error}")))
    }

    /// Writes a duration.
    pub fn serialize<S: Serializer>(value: &Duration, output: S) -> Result<S::Ok, S::Error> {
        output.serialize_str(&humantime::format_duration(*value).to_string())
    }
}

/// The whole file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `[agent]`
    pub agent: AgentSettings,
    /// `[api]`
    pub api: ApiSettings,
    /// `[metrics]`
    pub metrics: MetricsSettings,
    /// `[privacy]`
    pub privacy: PrivacySettings,
    /// `[history]`
    pub history: HistorySettings,
    /// `[queue]`
    pub queue: QueueSettings,
    /// `[advice]`
    pub advice: AdviceSettings,
    /// `[forecast]`
    pub forecast: ForecastSettings,
    /// `[[event]]`
    #[serde(rename = "event")]
    pub events: Vec<AnnouncedEvent>,
    /// `[limits]`
    pub limits: Limits,
    /// `[discovery]`
    pub discovery: DiscoverySettings,
    /// `[regions]`
    pub regions: RegionSettings,
    /// `[[interface]]`
    #[serde(rename = "interface")]
    pub interfaces: Vec<InterfaceSettings>,
    /// `[[server]]`
    #[serde(rename = "server")]
    pub servers: Vec<GameServer>,
    /// `[[netcode]]`
    pub netcode: Vec<CustomNetcode>,
}

/// `[agent]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AgentSettings {
    /// Time between snapshots, 100 ms to 60 s.
    #[serde(with = "duration")]
    pub interval: Duration,
    /// Kernel run-time statistics of gsmon's own programs.
    pub kernel_run_time: StatsMode,
    /// Which runs of the NET_RX softirq are timed. Changes with a restart.
    pub net_rx_time: NetRxTime,
    /// Which packets of flows with a wire format are read.
    pub netcode_reading: NetcodeSampling,
    /// Messages from the kernel programs (aya-log) on rare paths.
    pub kernel_log: bool,
    /// Idle times after which slots are freed.
    pub flow_timeouts: TierTimeouts,
}

/// When the kernel's run-time statistics are on. They cost two clock reads per run of every BPF program of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StatsMode {
    /// About one second in sixty.
    Sampled,
    /// Always.
    Always,
    /// Never.
    Off,
}

/// `agent.net_rx_time`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetRxTime {
    /// All are counted, one in 16 is timed.
    Sampled,
    /// All are timed: two clock reads for each.
    Every,
    /// None, and nothing is attached.
    Off,
}

/// `agent.flow_timeouts`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TierTimeouts {
    /// A flow without packets for this long gives back its slot.
    #[serde(with = "duration")]
    pub flow: Duration,
    /// A flow without packets for this long gives back its detail slot.
    #[serde(with = "duration")]
    pub detail: Duration,
}

/// `[api]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ApiSettings {
    /// TCP address of `/metrics` and `/healthz`.
    pub listen: SocketAddr,
    /// Unix socket of everything else.
    pub socket: PathBuf,
    /// Group that may read the socket.
    pub socket_group: String,
    /// `[api.push]`: pushes over TCP, only where this is given. The socket takes them always.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub push: Option<PushSettings>,
    /// `[api.remote]`: what a fleet reads, over TLS and with a token, only where this is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote: Option<RemoteSettings>,
}

/// `[api.push]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PushSettings {
    /// TCP address of `POST /api/v1/events`; nothing else is served there.
    pub listen: SocketAddr,
    /// File with the tokens and what they are for; `docs/push.md` has its format.
    pub token_file: PathBuf,
}

/// `[metrics]`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MetricsSettings {
    /// Series of each running session.
    pub sessions: SessionSeries,
    /// Sessions that have series at most, 1 to 10000; the oldest keep theirs.
    pub most_sessions: u32,
}

/// `metrics.sessions`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SessionSeries {
    /// None.
    #[default]
    Off,
    /// Of sessions that run; they go with the session.
    On,
}

/// `[privacy]`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PrivacySettings {
    /// Keep names, platform ids and addresses of players on disk, so that a pseudonym can be resolved.
    pub store_identities: bool,
    /// How long each of them is kept after it was last seen, one hour to 10 years.
    #[serde(with = "duration")]
    pub retention: Duration,
}

/// `[limits]`: sizes of the kernel tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Flows with a hot slot.
    pub flows: u32,
    /// Flows with a detail slot.
    pub details: u32,
    /// Threads of servers.
    pub threads: u32,
    /// Servers.
    pub servers: u32,
}

/// `[[interface]]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InterfaceSettings {
    /// Device name.
    pub name: String,
    /// How ingress is counted there.
    #[serde(default)]
    pub xdp: XdpMode,
}

/// `interface.xdp`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum XdpMode {
    /// What gsmon holds best: the cgroup hooks, tc where there is no cgroup v2. Never native XDP, since attaching it
    /// resets many network cards and drops every player.
    #[default]
    Auto,
    /// The driver's XDP hook; an error where the driver has none.
    Native,
    /// Generic XDP: works everywhere, costs more than the other hooks.
    Generic,
    /// tc (clsact).
    Tc,
    /// Nothing of gsmon on this interface; the cgroup hooks still count.
    Off,
}

impl Default for AgentSettings {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(1),
            kernel_run_time: StatsMode::Sampled,
            net_rx_time: NetRxTime::Sampled,
            netcode_reading: NetcodeSampling::Sampled,
            kernel_log: false,
            flow_timeouts: TierTimeouts::default(),
        }
    }
}

impl Default for TierTimeouts {
    fn default() -> Self {
        Self {
            flow: Duration::from_secs(60),
            detail: Duration::from_secs(30),
        }
    }
}

impl Default for ApiSettings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 9464)),
            socket: PathBuf::from("/run/gsmon/api.sock"),
            socket_group: "gsmon".into(),
            push: None,
            remote: None,
        }
    }
}

impl Default for PushSettings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 9465)),
            token_file: PathBuf::from("/etc/gsmon/push.token"),
        }
    }
}

impl Default for MetricsSettings {
    fn default() -> Self {
        Self {
            sessions: SessionSeries::Off,
            most_sessions: 200,
        }
    }
}

impl Default for PrivacySettings {
    fn default() -> Self {
        Self {
            store_identities: false,
            retention: Duration::from_secs(7 * 24 * 3_600),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            flows: limits::FLOWS,
            details: limits::DETAILS,
            threads: limits::THREADS,
            servers: limits::SERVERS,
        }
    }
}

/// Why a configuration was refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not TOML, or not of this shape. The message has line, column and what was expected.
    #[error("{path}: {message}")]
    Parse {
        /// Which file.
        path: PathBuf,
        /// The parser's message.
        message: String,
    },
    /// Well-formed, but it cannot be meant.
    #[error("{path}: {source}")]
    Invalid {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        source: FieldError,
    },
}

/// A value that cannot be meant.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    /// Two entries of one name.
    #[error("[[server]] {first} and {second} are both called `{name}`: names must be unique")]
    DuplicateName {
        /// The name.
        name: String,
        /// One-based position.
        first: usize,
        /// One-based position.
        second: usize,
    },
    /// Two entries that claim one endpoint.
    #[error(
        "servers `{first}` and `{second}` both claim {endpoint}: give each its own `address` or `netns`, or tell them apart by executable, command line, cgroup or unit"
    )]
    DuplicateEndpoint {
        /// Name.
        first: String,
        /// Name.
        second: String,
        /// Protocol, address, port.
        endpoint: String,
    },
    /// Nothing to find a server by.
    #[error(
        "server `{name}` says nothing to find it by: give port, executable, command_line, cgroup or systemd_unit"
    )]
    NoCriterion {
        /// Name.
        name: String,
    },
    /// An empty or unusable name.
    #[error("[[server]] {position}: the name must have 1 to 128 characters and no control characters")]
    BadName {
        /// One-based position.
        position: usize,
    },
    /// Not a regular expression, or not one that serves its purpose.
    #[error("server `{name}`: {field}: {message}")]
    BadPattern {
        /// Name.
        name: String,
        /// Which setting.
        field: String,
        /// The parser's message.
        message: String,
    },
    /// Out of range.
    #[error("{field} = {value}: must be {expected}")]
    OutOfRange {
        /// Which setting.
        field: String,
        /// What it was.
        value: String,
        /// What it must be.
        expected: &'static str,
    },
    /// Two listeners on one address.
    #[error("{first} and {second} both listen on {address}: give each its own port")]
    SharedListener {
        /// Section.
        first: &'static str,
        /// Section.
        second: &'static str,
        /// The address.
        address: SocketAddr,
    },
    /// Settings that do not go together, or lack one another.
    #[error("server `{name}`: {message}")]
    BadSource {
        /// Name.
        name: String,
        /// What is wrong and what would be right.
        message: String,
    },
    /// A wire format that cannot be meant.
    #[error("[[netcode]] `{name}`: {message}")]
    BadNetcode {
        /// Name.
        name: String,
        /// What is wrong and what would be right.
        message: String,
    },
    /// Regions that cannot be meant.
    #[error("[regions] {message}")]
    BadRegions {
        /// What is wrong and what would be right.
        message: String,
    },
    /// An agent of a fleet that cannot be meant.
    #[error("[[agent]] `{name}`: {message}")]
    BadAgent {
        /// Name, or position.
        name: String,
        /// What is wrong and what would be right.
        message: String,
    },
    /// A listener of a fleet that cannot be meant.
    #[error("[listen.remote] {message}")]
    BadFleetListen {
        /// What is wrong and what would be right.
        message: &'static str,
    },
    /// A fleet's source that cannot be meant.
    #[error("[source] {message}")]
    BadFleetSource {
        /// What is wrong and what would be right.
        message: &'static str,
    },
    /// Advice that cannot be meant.
    #[error("[advice] {message}")]
    BadAdvice {
        /// What is wrong and what would be right.
        message: String,
    },
    /// A queue that cannot be meant.
    #[error("[queue] {message}")]
    BadQueue {
        /// What is wrong and what would be right.
        message: String,
    },
    /// A forecast or an event that cannot be meant.
    #[error("{0}")]
    BadForecast(String),
    /// One interface twice.
    #[error("[[interface]] `{name}` is listed twice")]
    DuplicateInterface {
        /// Name.
        name: String,
    },
}

impl Config {
    /// Reads and checks a file.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(&text, path)
    }

    /// Checks the text of a file; `path` is for messages.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let config: Self = toml::from_str(text).map_err(|error| {
            let position = error.span().map(|span| {
                let before = &text[..span.start.min(text.len())];
                let line = before.matches('\n').count() + 1;
                format!("line {line}: ")
            });
            ConfigError::Parse {
                path: path.to_owned(),
                message: format!("{}{}", position.unwrap_or_default(), error.message()),
            }
        })?;
        config.check().map_err(|source| ConfigError::Invalid {
            path: path.to_owned(),
            source,
        })?;
        Ok(config)
    }

    /// Checks what the types cannot.
    pub fn check(&self) -> Result<(), FieldError> {
        self.check_ranges()?;
        self.discovery.check()?;
        self.history.check()?;
        self.queue.check()?;
        self.advice.check()?;
        self.forecast.check()?;
        forecast::check(&self.events)?;
        netcode::check(&self.netcode, &self.servers)?;
        self.regions.check()?;
        let mut names = HashMap::new();
        for (index, server) in self.servers.iter().enumerate() {
            check::server(server, index + 1)?;
            if let Some(first) = names.insert(server.name.as_str(), index + 1) {
                return Err(FieldError::DuplicateName {
                    name: server.name.clone(),
                    first,
                    second: index + 1,
                });
            }
        }
        for (index, server) in self.servers.iter().enumerate() {
            for other in &self.servers[index + 1..] {
                check::endpoints(server, other)?;
            }
        }
        let mut interfaces = std::collections::HashSet::new();
        for interface in &self.interfaces {
            if !interfaces.insert(interface.name.as_str()) {
                return Err(FieldError::DuplicateInterface {
                    name: interface.name.clone(),
                });
            }
        }
        Ok(())
    }

    fn check_ranges(&self) -> Result<(), FieldError> {
        let out_of_range = |field: &str, value: String, expected| FieldError::OutOfRange {
            field: field.into(),
            value,
            expected,
        };
        let interval = self.agent.interval;
        if interval < Duration::from_millis(100) || interval > Duration::from_secs(60) {
            return Err(out_of_range(
                "agent.interval",
                humantime::format_duration(interval).to_string(),
                "100ms to 60s",
            ));
        }
        let limits = [
            (
                "limits.flows",
                self.limits.flows,
                1_024,
                4_194_304,
                "1024 to 4194304",
            ),
            ("limits.details", self.limits.details, 16, 262_144, "16 to 262144"),
            (
                "limits.threads",
                self.limits.threads,
                64,
                1_048_576,
                "64 to 1048576",
            ),
            ("limits.servers", self.limits.servers, 1, 16_384, "1 to 16384"),
            (
                "metrics.most_sessions",
                self.metrics.most_sessions,
                1,
                10_000,
                "1 to 10000",
            ),
        ];
        for (field, value, low, high, expected) in limits {
            if value < low || value > high {
                return Err(out_of_range(field, value.to_string(), expected));
            }
        }
        if self.servers.len() > self.limits.servers as usize {
            return Err(out_of_range(
                "limits.servers",
                self.limits.servers.to_string(),
                "at least the number of [[server]] entries",
            ));
        }
        let timeouts = self.agent.flow_timeouts;
        for (field, value) in [("flow", timeouts.flow), ("detail", timeouts.detail)] {
            if value < Duration::from_secs(1) || value > Duration::from_secs(3_600) {
                return Err(out_of_range(
                    &format!("agent.flow_timeouts.{field}"),
                    humantime::format_duration(value).to_string(),
                    "1s to 1h",
                ));
            }
        }
        let retention = self.privacy.retention;
        if retention < Duration::from_secs(3_600) || retention > Duration::from_secs(3_660 * 24 * 3_600) {
            return Err(out_of_range(
                "privacy.retention",
                humantime::format_duration(retention).to_string(),
                "1h to 10years",
            ));
        }
        let listeners = [
            ("[api]", Some(self.api.listen)),
            ("[api.push]", self.api.push.as_ref().map(|push| push.listen)),
            (
                "[api.remote]",
                self.api.remote.as_ref().map(|remote| remote.listen),
            ),
        ];
        for (index, (second, address)) in listeners.iter().enumerate() {
            // Port 0 is a free one each time.
            let Some(address) = address.filter(|address| address.port() != 0) else {
                continue;
            };
            if let Some((first, _)) = listeners[..index]
                .iter()
                .find(|(_, other)| *other == Some(address))
            {
                return Err(FieldError::SharedListener {
                    first,
                    second,
                    address,
                });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, ConfigError> {
        Config::parse(text, Path::new("gsmon.toml"))
    }

    fn refused(text: &str) -> String {
        parse(text).unwrap_err().to_string()
    }

    #[test]
    fn an_empty_file_is_the_defaults() {
        assert_eq!(parse("").unwrap(), Config::default());
    }

    #[test]
    fn the_defaults_survive_a_round_trip() {
        let mut config = Config::default();
        config.servers.push(
            GameServer::new("a", super::super::Game::Minecraft)
                .port(25565)
                .max_players(100),
        );
        let text = toml::to_string(&config).unwrap();
        assert_eq!(parse(&text).unwrap(), config);
    }

    #[test]
    fn a_message_names_file_line_and_what_was_expected() {
        let message = refused("[agent]\ninterval = \"1s\"\n\n[[server]]\nname = \"a\"\nport = \"x\"\n");
        assert!(
            message.contains("gsmon.toml") && message.contains("line 6"),
            "{message}"
        );
        assert!(message.contains("expected u16"), "{message}");
        let message = refused("[agent]\nintervall = \"1s\"\n");
        assert!(
            message.contains("line 2") && message.contains("unknown field `intervall`"),
            "{message}"
        );
        let message = refused("[agent]\ninterval = \"fast\"\n");
        assert!(message.contains("`fast` is no duration"), "{message}");
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let server = |extra: &str| format!("[[server]]\nname = \"a\"\n{extra}\n");
        for (text, part) in [
            (server(""), "says nothing to find it by"),
            (server("port = 0"), "1 to 65535"),
            (server("command_line = \"(\""), "no regular expression"),
            (format!("{0}{0}", server("port = 1")), "both called `a`"),
            (
                server("port = 1") + "[[server]]\nname = \"b\"\nport = 1\naddress = \"127.0.0.1\"",
                "both claim",
            ),
            ("[agent]\ninterval = \"1ms\"".into(), "100ms to 60s"),
            ("[limits]\nflows = 1".into(), "1024"),
            (
                "[[interface]]\nname = \"lo\"\n[[interface]]\nname = \"lo\"".into(),
                "listed twice",
            ),
            ("[[server]]\nname = \"\"\nport = 1".into(), "1 to 128 characters"),
            ("[api.push]\nlisten = \"127.0.0.1:9464\"".into(), "its own port"),
            ("[privacy]\nretention = \"1m\"".into(), "1h to 10years"),
            ("[metrics]\nmost_sessions = 0".into(), "1 to 10000"),
            ("[metrics]\nsessions = \"some\"".into(), "`off` or `on`"),
        ] {
            let message = refused(&text);
            assert!(message.contains(part), "{text}: {message}");
        }
    }

    #[test]
    fn pushes_over_tcp_and_stored_identities_are_off_until_asked_for() {
        let config = parse("").unwrap();
        assert_eq!(config.api.push, None);
        assert!(!config.privacy.store_identities);
        let text = "[api.push]\n[privacy]\nstore_identities = true\nretention = \"36h\"\n";
        let config = parse(text).unwrap();
        assert_eq!(config.api.push, Some(PushSettings::default()));
        assert_eq!(config.privacy.retention, Duration::from_secs(36 * 3_600));
        assert_eq!(parse(&toml::to_string(&config).unwrap()).unwrap(), config);
    }

    #[test]
    fn one_port_is_shared_where_something_tells_servers_apart() {
        for extra in [
            "address = \"127.0.0.2\"",
            "protocol = \"tcp\"",
            "netns = \"/run/netns/b\"\naddress = \"127.0.0.1\"",
            "command_line = \"b\"",
        ] {
            let text = format!(
                "[[server]]\nname = \"a\"\nport = 1\naddress = \"127.0.0.1\"\n[[server]]\nname = \"b\"\nport = 1\n{extra}\n"
            );
            parse(&text).unwrap();
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "\\PC{0,200}") {
            let _ = parse(&text);
        }
    }
}
