//! What a game says and how to listen: `[server.log]`, `[server.query]`, `[server.session]`, `[server.grammar]` and
//! `[[server.companion]]`.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use super::duration;

/// `[server.log]`: exactly one of `file`, `fifo`, `journald_unit`, `stdin`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogSettings {
    /// A file that the server appends to; rotation, truncation and re-creation are followed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// A named pipe that the server (or a shell) writes to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fifo: Option<PathBuf>,
    /// A systemd unit whose journal is followed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub journald_unit: Option<String>,
    /// The agent's own standard input.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stdin: Option<Stdin>,
    /// Where reading a file or a journal begins.
    pub from: LogStart,
}

/// `log.stdin = "lines"`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stdin {
    /// One line, one statement.
    Lines,
}

/// `log.from`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogStart {
    /// What is written from now on.
    #[default]
    End,
    /// Where the agent stopped reading the last time; the end where it never has.
    Saved,
    /// All of it.
    Beginning,
}

/// `[server.query]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuerySettings {
    /// Protocol; the family's own when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<QueryProtocol>,
    /// Whom to ask; the server's own address and port when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<SocketAddr>,
    /// Time between two questions.
    #[serde(default = "ten_seconds", with = "duration")]
    pub interval: Duration,
    /// Time that an answer may take.
    #[serde(default = "two_seconds", with = "duration")]
    pub timeout: Duration,
    /// File with the console's password, for RCON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// Where to get the document, for `http`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Which game, for `gamedig`: the name that crate gives it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub game: Option<String>,
    /// Where in the document things are, for `http`: JSON pointers (RFC 6901).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fields: Option<HttpFields>,
}

fn ten_seconds() -> Duration {
    Duration::from_secs(10)
}

fn two_seconds() -> Duration {
    Duration::from_secs(2)
}

impl Default for QuerySettings {
    fn default() -> Self {
        Self {
            protocol: None,
            address: None,
            interval: ten_seconds(),
            timeout: two_seconds(),
            password_file: None,
            url: None,
            game: None,
            fields: None,
        }
    }
}

/// `query.protocol`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum QueryProtocol {
    /// Valve's A2S (Source, GoldSrc, ARK, Rust, Valheim, Unity titles on Steam).
    A2s,
    /// Minecraft Java server list ping.
    Minecraft,
    /// Minecraft Bedrock (RakNet unconnected ping).
    MinecraftBedrock,
    /// Minecraft Java GS4 query (`enable-query`): full player list.
    MinecraftQuery,
    /// Quake 1.
    Quake1,
    /// Quake 2.
    Quake2,
    /// Quake III family `getstatus`.
    Quake3,
    /// GameSpy 1.
    Gamespy1,
    /// GameSpy 2.
    Gamespy2,
    /// GameSpy 3.
    Gamespy3,
    /// Unreal 2.
    Unreal2,
    /// Unity Server Query Protocol, version 1.
    Sqp,
    /// Source RCON console: `status`.
    SourceRcon,
    /// Minecraft RCON console: `list`.
    MinecraftRcon,
    /// Teeworlds 0.6/0.7 and DDNet server info.
    Teeworlds,
    /// A JSON document over HTTP.
    Http,
    /// One of the games that the crate gamedig knows, asked in a process of its own.
    Gamedig,
    /// Nobody is asked.
    Off,
}

/// JSON pointers into the document of an HTTP query.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpFields {
    /// Number of players online.
    pub online: Option<String>,
    /// Number of bots among them.
    pub bots: Option<String>,
    /// Player limit.
    pub max: Option<String>,
    /// Map.
    pub map: Option<String>,
    /// Game mode.
    pub mode: Option<String>,
    /// Phase: lobby, loading, active, ended, idle.
    pub phase: Option<String>,
    /// Array of players.
    pub players: Option<String>,
    /// Inside one of `players`: name; empty for the element itself.
    pub player_name: Option<String>,
    /// Inside one of `players`: platform id.
    pub player_id: Option<String>,
    /// Inside one of `players`: true for a bot.
    pub player_bot: Option<String>,
    /// Ticks per second.
    pub tick_rate: Option<String>,
}

/// `[server.session]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SessionSettings {
    /// Where one session ends and the next begins.
    pub bounds: SessionBounds,
    /// Regular expression over thread names; its capture `room` names the room that the thread works for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub room_threads: Option<String>,
}

/// `session.bounds`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SessionBounds {
    /// Matches where the log (or a push) tells them, else occupancy where players are known, else the process.
    #[default]
    Auto,
    /// One process is one session.
    Process,
    /// Match events of log or push.
    Match,
    /// First join to last leave.
    Occupancy,
    /// Rooms inside one process, each its own session.
    Rooms,
}

/// `[[server.companion]]`: a process beside the server (anti-cheat, voice, a sidecar) measured on its own account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Companion {
    /// Unique within the server.
    pub name: String,
    /// Executable: a full path, or a file name without `/`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub executable: Option<String>,
    /// Regular expression over the command line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command_line: Option<String>,
}

/// `[server.grammar]`: the log of a game that gsmon does not know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrammarSettings {
    /// Regular expression for what stands in front of every line; rules begin right after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Tried in order; the first that matches speaks.
    #[serde(rename = "rule")]
    pub rules: Vec<GrammarRule>,
}

/// `[[server.grammar.rule]]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrammarRule {
    /// What a match means.
    pub event: RuleEvent,
    /// Regular expression, anchored at both ends. Named captures: `name`, `id`, `slot`, `address` (ip or ip:port),
    /// `port`, `reason`, `map`, `mode`, `session`, `room`, `phase`, `players` (a list), `count`, `bots`, `max`,
    /// `action`, `rate`, `milliseconds`.
    pub pattern: String,
    /// What separates the names in `players`.
    #[serde(default = "comma")]
    pub separator: String,
    /// Human or bot, where a match shows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<RuleKind>,
}

fn comma() -> String {
    ", ".into()
}

/// `rule.kind`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RuleKind {
    /// A person.
    Human,
    /// A bot.
    Bot,
}

/// `rule.event`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RuleEvent {
    /// The process begins to load.
    ServerStarting,
    /// Players can join.
    ServerReady,
    /// Orderly shutdown.
    ServerStopping,
    /// A match begins to exist.
    MatchBegun,
    /// A phase, by the capture `phase`.
    Phase,
    /// The session is in the lobby.
    Lobby,
    /// Something is being loaded.
    Loading,
    /// The match runs.
    Active,
    /// The match is over, the score is shown.
    Ended,
    /// The match is over.
    MatchEnded,
    /// A connection exists.
    Connecting,
    /// More about a player.
    Known,
    /// A player is in the game.
    Join,
    /// A player has left.
    Leave,
    /// The whole list.
    Roster,
    /// How many.
    Count,
    /// An action that may cost.
    Action,
    /// The game states its tick rate.
    Tick,
    /// The game says that it is behind.
    Behind,
}
