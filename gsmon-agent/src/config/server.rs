//! What a game server is, for the configuration and for library users: a name, a game, and how it is found.

use std::{collections::BTreeMap, net::IpAddr, path::PathBuf};

use serde::{Deserialize, Serialize};

use super::{
    netcode::{NetcodeSetting, PortKey},
    probe::ProbeSettings,
    sources::{Companion, GrammarSettings, LogSettings, QueryProtocol, QuerySettings, SessionSettings},
};

/// Game family. Says which protocol and port are usual; later: log grammar, query, netcode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Game {
    /// Minecraft Java edition (TCP 25565).
    Minecraft,
    /// Minecraft Bedrock edition (UDP 19132, RakNet).
    MinecraftBedrock,
    /// Source and GoldSrc engines (UDP 27015).
    Source,
    /// Quake III family (UDP 27960).
    Quake3,
    /// Teeworlds and DDNet (UDP 8303).
    Teeworlds,
    /// Luanti, formerly Minetest (UDP 30000).
    Luanti,
    /// Unreal Engine 4 and 5 (UDP 7777).
    Unreal,
    /// ARK: Survival Evolved and Ascended (Unreal, UDP 7777).
    Ark,
    /// Palworld (Unreal, UDP 8211).
    Palworld,
    /// Unity with Mirror, FishNet or Netcode for GameObjects (UDP 7777).
    Unity,
    /// Valheim (Unity, UDP 2456).
    Valheim,
    /// Rust by Facepunch (UDP 28015).
    Rust,
    /// Factorio (UDP 34197).
    Factorio,
    /// The demo server that comes with gsmon.
    Demo,
    /// Anything else.
    Custom,
}

impl Game {
    /// The protocol that the game's players use, when `protocol` is not given.
    pub fn usual_protocol(self) -> Protocol {
        match self {
            Game::Minecraft => Protocol::Tcp,
            _ => Protocol::Udp,
        }
    }

    /// Ticks per second, of games that have one rate only.
    pub fn usual_tick_rate_hz(self) -> Option<u32> {
        match self {
            Game::Minecraft | Game::MinecraftBedrock => Some(20),
            Game::Factorio => Some(60),
            _ => None,
        }
    }
}

/// Transport protocol of a game port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// User Datagram Protocol.
    Udp,
    /// Transmission Control Protocol.
    Tcp,
}

/// A listening port, optionally on one address only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PortMatch {
    /// Local address; `None` for any.
    pub address: Option<IpAddr>,
    /// Local port.
    pub port: u16,
    /// Transport.
    pub protocol: Protocol,
}

/// A `[[server]]` entry. Found by every criterion that is given (they are combined with AND); at least one is needed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GameServer {
    /// Unique name; becomes the `server` label of metrics.
    pub name: String,
    /// Game family.
    #[serde(default = "custom")]
    pub game: Game,
    /// Listening port. Without one, every port that the found processes listen on is a game port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Transport of `port`; the game's usual one when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    /// Local address of `port`, when several servers share the port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// Network namespace of the server, a path such as `/run/netns/arena`, when several servers share address and port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub netns: Option<PathBuf>,
    /// Executable: a full path, or a file name without `/`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub executable: Option<String>,
    /// Regular expression over the command line, arguments joined by one space.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command_line: Option<String>,
    /// Cgroup path as in `/proc/PID/cgroup` (any hierarchy); descendants belong to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<String>,
    /// systemd unit, for example `minecraft.service`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub systemd_unit: Option<String>,
    /// Player limit of the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_players: Option<u32>,
    /// Ticks per second that the server is meant to do; the game's, where it has one rate only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tick_rate_hz: Option<u32>,
    /// Region that the server is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Do players come through a proxy, a relay or source NAT? Then flows are not players.
    #[serde(default)]
    pub proxied: bool,
    /// Wire format of its players, from which round trips, loss and jitter are read.
    #[serde(default, skip_serializing_if = "NetcodeSetting::is_auto")]
    pub netcode: NetcodeSetting,
    /// The same of single ports, where a server speaks several.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub netcode_by_port: BTreeMap<PortKey, NetcodeSetting>,
    /// Log to follow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<LogSettings>,
    /// Query to ask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<QuerySettings>,
    /// Sessions.
    #[serde(default)]
    pub session: SessionSettings,
    /// Grammar of the log, for games that gsmon does not know (`game = "custom"`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grammar: Option<GrammarSettings>,
    /// Processes beside the server that are measured on their own account.
    #[serde(default, rename = "companion", skip_serializing_if = "Vec::is_empty")]
    pub companions: Vec<Companion>,
    /// Functions of the server that are counted and timed.
    #[serde(default, rename = "probe", skip_serializing_if = "Vec::is_empty")]
    pub probes: Vec<ProbeSettings>,
}

fn custom() -> Game {
    Game::Custom
}

impl GameServer {
    /// A server of `game` called `name`. Add at least one way to find it.
    pub fn new(name: impl Into<String>, game: Game) -> Self {
        Self {
            name: name.into(),
            game,
            port: None,
            protocol: None,
            address: None,
            netns: None,
            executable: None,
            command_line: None,
            cgroup: None,
            systemd_unit: None,
            max_players: None,
            tick_rate_hz: None,
            region: None,
            proxied: false,
            netcode: NetcodeSetting::Auto,
            netcode_by_port: BTreeMap::new(),
            log: None,
            query: None,
            session: SessionSettings::default(),
            grammar: None,
            companions: Vec::new(),
            probes: Vec::new(),
        }
    }

    /// Found by listening port.
    pub fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// Transport of the port, where it is not the game's usual one.
    pub fn protocol(mut self, protocol: Protocol) -> Self {
        self.protocol = Some(protocol);
        self
    }

    /// Only the socket bound to this address.
    pub fn address(mut self, address: IpAddr) -> Self {
        self.address = Some(address);
        self
    }

    /// Only in this network namespace.
    pub fn netns(mut self, path: impl Into<PathBuf>) -> Self {
        self.netns = Some(path.into());
        self
    }

    /// Found by executable.
    pub fn executable(mut self, executable: impl Into<String>) -> Self {
        self.executable = Some(executable.into());
        self
    }

    /// Found by a regular expression over the command line.
    pub fn command_line(mut self, pattern: impl Into<String>) -> Self {
        self.command_line = Some(pattern.into());
        self
    }

    /// Found by cgroup path.
    pub fn cgroup(mut self, path: impl Into<String>) -> Self {
        self.cgroup = Some(path.into());
        self
    }

    /// Found by systemd unit.
    pub fn systemd_unit(mut self, unit: impl Into<String>) -> Self {
        self.systemd_unit = Some(unit.into());
        self
    }

    /// Player limit.
    pub fn max_players(mut self, max_players: u32) -> Self {
        self.max_players = Some(max_players);
        self
    }

    /// Ticks per second that it is meant to do.
    pub fn tick_rate_hz(mut self, tick_rate_hz: u32) -> Self {
        self.tick_rate_hz = Some(tick_rate_hz);
        self
    }

    /// Its players speak this.
    pub fn netcode(mut self, netcode: NetcodeSetting) -> Self {
        self.netcode = netcode;
        self
    }

    /// Its players speak this on one of its ports.
    pub fn netcode_on(mut self, port: u16, netcode: NetcodeSetting) -> Self {
        self.netcode_by_port.insert(PortKey(port), netcode);
        self
    }

    /// Region that it is in.
    pub fn region(mut self, region: impl Into<String>) -> Self {
        self.region = Some(region.into());
        self
    }

    /// Its log is this file.
    pub fn log_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.log = Some(LogSettings {
            file: Some(file.into()),
            ..LogSettings::default()
        });
        self
    }

    /// Asked like this.
    pub fn query(mut self, settings: QuerySettings) -> Self {
        self.query = Some(settings);
        self
    }

    /// Never asked, not even as is usual for its game.
    pub fn without_query(self) -> Self {
        self.query(QuerySettings {
            protocol: Some(QueryProtocol::Off),
            ..QuerySettings::default()
        })
    }

    /// Probes one of its functions.
    pub fn probe(mut self, probe: ProbeSettings) -> Self {
        self.probes.push(probe);
        self
    }

    /// The port to look for, with the game's usual protocol filled in.
    pub fn port_match(&self) -> Option<PortMatch> {
        self.port.map(|port| PortMatch {
            address: self.address,
            port,
            protocol: self.protocol.unwrap_or_else(|| self.game.usual_protocol()),
        })
    }
}
