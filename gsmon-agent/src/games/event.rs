//! What games say, in one vocabulary. Logs, queries and pushes all become [`GameEvent`]s; the world room decides what
//! they mean for sessions, phases and players.
//!
//! Names, ids and addresses are opaque: they are compared and shown, never interpreted. They live in memory only.

use std::{net::IpAddr, sync::Arc};

use serde::{Deserialize, Serialize};

/// Something that a game said.
#[derive(Clone, Debug, PartialEq)]
pub struct GameEvent {
    /// Name of the server from the configuration.
    pub server: Arc<str>,
    /// When it happened, milliseconds since the Unix epoch.
    pub unix_ms: i64,
    /// How that time is known.
    pub time: TimeSource,
    /// Who says so.
    pub witness: Witness,
    /// Room inside the process; `None` where a process has one session at a time.
    pub room: Option<RoomName>,
    /// What happened.
    pub fact: Fact,
}

/// How the time of an event is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeSource {
    /// The line or the push states it.
    Stated,
    /// It was read then.
    Read,
}

/// Through what a game speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Witness {
    /// Its log.
    Log,
    /// An answer to a query.
    Query,
    /// The engine calls the API.
    Push,
}

/// Name of a room, as the game spells it.
pub type RoomName = Arc<str>;

/// One thing that a game can say.
#[derive(Clone, Debug, PartialEq)]
pub enum Fact {
    /// The process has begun to load.
    ServerStarting,
    /// Players can join from now on.
    ServerReady,
    /// An orderly shutdown has begun.
    ServerStopping,
    /// A match, map or round begins to exist: the roster of the previous one no longer counts.
    MatchBegun {
        /// Map or level, as spelled.
        map: Option<Arc<str>>,
        /// Game mode, as spelled.
        mode: Option<Arc<str>>,
        /// Id that the engine gives it (pushes).
        id: Option<Arc<str>>,
    },
    /// The session (the current one, or the room's) is in this phase now.
    Phase(Phase),
    /// The match is over; what follows is the next one's.
    MatchEnded {
        /// For example `Timelimit hit.`
        reason: Option<Arc<str>>,
    },
    /// A connection exists; its player is not in the game yet.
    PlayerConnecting(PlayerRef),
    /// More is known of a player who is connecting or in the game. Never a join of its own.
    PlayerKnown(PlayerRef),
    /// A player is in the game. Said again after a map change, it is no second join.
    PlayerJoined(PlayerRef),
    /// A player has left.
    PlayerLeft {
        /// Who.
        player: PlayerRef,
        /// For example `timed out`.
        reason: Option<Arc<str>>,
    },
    /// Everybody in the game right now.
    Roster(Vec<PlayerRef>),
    /// How many are in the game right now.
    PlayerCount(PlayerCount),
    /// A player did something that may cost the server (pushes, custom grammars).
    PlayerAction {
        /// Who, where known.
        player: Option<PlayerRef>,
        /// For example `explosion`.
        action: Arc<str>,
    },
    /// The game states its own tick.
    Tick {
        /// Ticks per second.
        rate_hz: Option<f64>,
        /// Busy time of a tick.
        time_ns: Option<f64>,
    },
    /// The game says that it is behind its schedule.
    Behind {
        /// By how much.
        milliseconds: u64,
    },
}

/// Phase of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// The process runs, nobody plays and nothing is being prepared.
    Idle,
    /// Players gather: warm-up, waiting to start.
    Lobby,
    /// A map or a world is being loaded.
    Loading,
    /// The match runs.
    Active,
    /// Over: score screen, intermission.
    Ended,
    /// The process died without saying so.
    Crashed,
}

/// Counts without names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlayerCount {
    /// All, bots included where `bots` is known, else whatever the game counts.
    pub online: u32,
    /// Bots among them.
    pub bots: Option<u32>,
    /// Limit.
    pub max: Option<u32>,
}

/// Who: whatever one statement says of a player. The roster joins statements by any part that they share, strongest
/// first: platform id, slot, address with port, name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PlayerRef {
    /// Id that outlives a connection: UUID, SteamID, EOS id, user id of the engine's account system.
    pub platform_id: Option<Arc<str>>,
    /// Number that the engine gives a connection: client slot, connection id. Meaningless after it has left.
    pub slot: Option<u64>,
    /// Name, raw: colour codes, spaces, anything.
    pub name: Option<Arc<str>>,
    /// Remote address.
    pub address: Option<IpAddr>,
    /// Remote port.
    pub port: Option<u16>,
    /// Human or bot, where this statement shows it.
    pub kind: Option<KnownKind>,
}

/// Human or bot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PlayerKind {
    /// A person's client.
    Human,
    /// Played by the server itself.
    Bot,
}

/// A kind and how it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct KnownKind {
    /// Which.
    pub kind: PlayerKind,
    /// By what.
    pub by: KindEvidence,
}

/// What shows that a player is human or a bot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KindEvidence {
    /// The identity itself says so (`BOT` as network id, an account id of 0).
    Identity,
    /// A field of the player's settings says so (`\skill\` in a userinfo string).
    Settings,
    /// A query lists it as a bot.
    Query,
    /// The engine pushed it.
    Push,
    /// It has (or lacks) a network connection of its own.
    Connection,
}

impl PlayerRef {
    /// Known by name only.
    pub fn named(name: &str) -> Self {
        Self {
            name: Some(name.into()),
            ..Self::default()
        }
    }

    /// Known by connection number only.
    pub fn in_slot(slot: u64) -> Self {
        Self {
            slot: Some(slot),
            ..Self::default()
        }
    }

    /// Known by platform id only.
    pub fn identified(platform_id: &str) -> Self {
        Self {
            platform_id: Some(platform_id.into()),
            ..Self::default()
        }
    }

    /// Adds a name.
    pub fn with_name(mut self, name: &str) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Adds an address; without a port where only the host part is stated.
    pub fn with_address(mut self, address: IpAddr, port: Option<u16>) -> Self {
        self.address = Some(address.to_canonical());
        self.port = port;
        self
    }

    /// Adds human or bot.
    pub fn with_kind(mut self, kind: PlayerKind, by: KindEvidence) -> Self {
        self.kind = Some(KnownKind { kind, by });
        self
    }
}
