//! Questions about sessions and players, answered from one snapshot: the library, the API and the command line all ask
//! here. Pure reading; nothing is computed that the snapshot does not have.
//!
//! A question about something that does not exist is answered with what does exist.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{
    GameSnapshot,
    phase::{self, ALL},
    picture::{LifeDurations, PhaseDurations, PlayerCounts, PlayerSnapshot, SessionSnapshot},
    players::PlayerList,
    rooms::CpuBasis,
    transitions::{LifeRecord, Transition},
};
use crate::{
    games::event::Phase,
    world::snapshot::{ServerSnapshot, Snapshot},
};

/// Names listed in a message at most.
const MOST_NAMES: usize = 20;

/// Why a question has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// Too early.
    #[error("the first interval has not ended yet: ask again in a second")]
    NotYet,
    /// No such server.
    #[error("there is no server called `{name}`; there {}", are(.known, "servers"))]
    UnknownServer {
        /// What was asked for.
        name: String,
        /// All servers.
        known: Vec<String>,
    },
    /// No such session.
    #[error("server `{server}` has no session `{id}`; there {}", are(.known, "sessions"))]
    UnknownSession {
        /// The server.
        server: String,
        /// What was asked for.
        id: String,
        /// Its sessions, the newest first.
        known: Vec<String>,
    },
}

impl AskError {
    /// The names that would have been right.
    pub fn known(&self) -> &[String] {
        match self {
            Self::NotYet => &[],
            Self::UnknownServer { known, .. } | Self::UnknownSession { known, .. } => known,
        }
    }
}

/// `are no servers`, `are: a, b and 3 more`.
fn are(known: &[String], what: &str) -> String {
    if known.is_empty() {
        return format!("are no {what}");
    }
    let named = known
        .iter()
        .take(MOST_NAMES)
        .cloned()
        .collect::<Vec<_>>()
        .join(", ");
    match known.len().saturating_sub(MOST_NAMES) {
        0 => format!("are: {named}"),
        more => format!("are: {named} and {more} more"),
    }
}

/// A word that names none of a fixed set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{word}` is no {what}; known are: {known}")]
pub struct UnknownWord {
    /// The word.
    pub word: String,
    /// What it should have been.
    pub what: &'static str,
    /// All that there are.
    pub known: String,
}

/// One kind of resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Metric {
    /// CPU time and waiting for it.
    Cpu,
    /// Resident memory and page faults.
    Memory,
    /// Packets and bytes.
    Network,
    /// Bytes from and to storage, and calls.
    Disk,
}

impl Metric {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Cpu, Self::Memory, Self::Network, Self::Disk];

    /// Its word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Network => "network",
            Self::Disk => "disk",
        }
    }
}

impl FromStr for Metric {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        let found = Self::ALL.into_iter().find(|metric| metric.name() == word);
        found.ok_or_else(|| unknown(word, "metric", Self::ALL.map(Self::name)))
    }
}

/// Sessions by whether they still run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SessionState {
    /// Those that run.
    Running,
    /// Those that have ended.
    Ended,
    /// Both.
    #[default]
    All,
}

impl SessionState {
    /// Its word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Ended => "ended",
            Self::All => "all",
        }
    }
}

impl FromStr for SessionState {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        let all = [Self::Running, Self::Ended, Self::All];
        let found = all.into_iter().find(|state| state.name() == word);
        found.ok_or_else(|| unknown(word, "state", all.map(Self::name)))
    }
}

/// The phase that a word names.
///
/// # Errors
/// Names all phases where it is none.
pub fn phase_named(word: &str) -> Result<Phase, UnknownWord> {
    phase::named(word).ok_or_else(|| unknown(word, "phase", ALL.map(phase::name)))
}

fn unknown<const N: usize>(word: &str, what: &'static str, known: [&str; N]) -> UnknownWord {
    UnknownWord {
        word: word.to_owned(),
        what,
        known: known.join(", "),
    }
}

/// Which sessions are asked for; the default is all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionFilter {
    /// Of this server only.
    pub server: Option<String>,
    /// In this phase only; ended sessions are in `ended` or `crashed`.
    pub phase: Option<Phase>,
    /// Running, ended, or both.
    pub state: SessionState,
    /// In this room only.
    pub room: Option<String>,
}

impl SessionFilter {
    fn fits(&self, session: &SessionSnapshot) -> bool {
        let running = session.ended_unix_ms.is_none();
        let state = match self.state {
            SessionState::Running => running,
            SessionState::Ended => !running,
            SessionState::All => true,
        };
        state
            && self.phase.is_none_or(|phase| phase == session.phase)
            && self
                .room
                .as_deref()
                .is_none_or(|room| session.room.as_deref() == Some(room))
    }
}

/// A session and the server that it is on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FoundSession {
    /// Name of the server.
    pub server: Arc<str>,
    /// The session.
    #[serde(flatten)]
    pub session: SessionSnapshot,
}

/// What a session uses, or has used: only what was asked for is there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SessionResources {
    /// The session.
    #[serde(flatten)]
    pub of: FoundSession,
    /// Asked for with [`Metric::Cpu`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<CpuUse>,
    /// Asked for with [`Metric::Memory`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<MemoryUse>,
    /// Asked for with [`Metric::Network`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<NetworkUse>,
    /// Asked for with [`Metric::Disk`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<DiskUse>,
}

/// CPU of a session so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CpuUse {
    /// CPU time, seconds.
    pub seconds: Option<f64>,
    /// How it is known.
    pub basis: CpuBasis,
    /// Where it is an estimate: least and most by any way of sharing, seconds.
    pub interval_seconds: Option<(f64, f64)>,
    /// Runnable but not running, seconds.
    pub run_queue_wait_seconds: Option<f64>,
}

/// Memory of the process while the session ran. A process shared by rooms has one memory: it is not divided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MemoryUse {
    /// Largest resident memory while the session ran.
    pub peak_resident_bytes: Option<u64>,
    /// Resident memory now; running sessions only, as the following three.
    pub resident_bytes: Option<u64>,
    /// Of it: heap and stacks.
    pub anonymous_bytes: Option<u64>,
    /// Of it: pages of files and shared memory.
    pub file_bytes: Option<u64>,
    /// Growth over the last minute.
    pub growth_bytes_per_second: Option<f64>,
    /// Page faults without I/O.
    pub minor_faults: Option<u64>,
    /// Page faults with I/O.
    pub major_faults: Option<u64>,
}

/// Network use of a session so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkUse {
    /// Packets from clients.
    pub receive_packets: Option<u64>,
    /// IP-layer bytes from clients.
    pub receive_bytes: Option<u64>,
    /// Packets to clients.
    pub transmit_packets: Option<u64>,
    /// IP-layer bytes to clients.
    pub transmit_bytes: Option<u64>,
}

/// Disk use of a session so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskUse {
    /// Bytes fetched from storage.
    pub read_bytes: Option<u64>,
    /// Bytes sent to storage.
    pub write_bytes: Option<u64>,
    /// Read calls of files, pipes and sockets, those that the page cache answers included.
    pub read_calls: Option<u64>,
    /// Write calls.
    pub write_calls: Option<u64>,
}

/// Changes of phase of one server, and what they cost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServerTransitions {
    /// Name of the server.
    pub server: Arc<str>,
    /// Phase now.
    pub phase: Option<Phase>,
    /// Since when.
    pub phase_since_unix_ms: Option<i64>,
    /// The newest changes, oldest first.
    pub transitions: Arc<Vec<Transition>>,
    /// Starts and stops, oldest first.
    pub starts_and_stops: Arc<Vec<LifeRecord>>,
    /// Durations of changes since the agent began.
    pub transition_durations: Arc<Vec<PhaseDurations>>,
    /// Durations of starts and stops.
    pub life_durations: Vec<LifeDurations>,
}

/// Players of one server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServerPlayers {
    /// Name of the server.
    pub server: Arc<str>,
    /// How many, and how that is known.
    pub counts: PlayerCounts,
    /// Who is connected or in the game.
    pub players: PlayerList,
    /// Who has left, the newest 256, oldest first.
    pub departed: Arc<Vec<PlayerSnapshot>>,
}

impl fmt::Display for Metric {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

/// A server by name.
///
/// # Errors
/// Where there is none; the error has the names of all.
pub fn server<'a>(snapshot: &'a Snapshot, name: &str) -> Result<&'a ServerSnapshot, AskError> {
    let found = snapshot.servers.iter().find(|server| server.name == name);
    found.ok_or_else(|| AskError::UnknownServer {
        name: name.to_owned(),
        known: snapshot
            .servers
            .iter()
            .map(|server| server.name.clone())
            .collect(),
    })
}

/// Ended sessions, then running ones, each oldest first.
fn all(game: &GameSnapshot) -> impl DoubleEndedIterator<Item = &SessionSnapshot> {
    game.ended_sessions.iter().chain(&game.sessions)
}

fn found(server: &ServerSnapshot, session: &SessionSnapshot) -> FoundSession {
    FoundSession {
        server: server.name.as_str().into(),
        session: session.clone(),
    }
}

/// Sessions that fit, by server in the order of the snapshot, oldest first.
///
/// # Errors
/// When the filter names a server that does not exist.
pub fn sessions(snapshot: &Snapshot, filter: &SessionFilter) -> Result<Vec<FoundSession>, AskError> {
    let servers = match &filter.server {
        Some(name) => std::slice::from_ref(server(snapshot, name)?),
        None => &snapshot.servers,
    };
    let fitting = servers.iter().flat_map(|server| {
        all(&server.game_state)
            .filter(|session| filter.fits(session))
            .map(move |session| found(server, session))
    });
    Ok(fitting.collect())
}

/// One session, by its id; by the engine's own id where no session has that id of its own.
fn session<'a>(server: &'a ServerSnapshot, id: &str) -> Result<&'a SessionSnapshot, AskError> {
    let game = &server.game_state;
    all(game)
        .find(|session| &*session.id == id)
        .or_else(|| {
            all(game)
                .rev()
                .find(|session| session.external_id.as_deref() == Some(id))
        })
        .ok_or_else(|| AskError::UnknownSession {
            server: server.name.clone(),
            id: id.to_owned(),
            known: all(game).rev().map(|session| session.id.to_string()).collect(),
        })
}

/// What one session uses, or has used.
///
/// # Errors
/// When there is no such server or session; the error has those that there are.
pub fn session_resources(
    snapshot: &Snapshot,
    server_name: &str,
    id: &str,
    metrics: &[Metric],
) -> Result<SessionResources, AskError> {
    let server = server(snapshot, server_name)?;
    let session = session(server, id)?;
    let asked = |metric| metrics.contains(&metric);
    let used = &session.used;
    let seconds = |ns: Option<u64>| ns.map(|ns| ns as f64 / 1e9);
    let running = session.ended_unix_ms.is_none();
    let now = &server.rates;
    Ok(SessionResources {
        of: found(server, session),
        cpu: asked(Metric::Cpu).then(|| CpuUse {
            seconds: seconds(used.cpu_ns),
            basis: session.cpu_basis,
            interval_seconds: session
                .cpu_interval_ns
                .map(|(low, high)| (low as f64 / 1e9, high as f64 / 1e9)),
            run_queue_wait_seconds: seconds(used.run_queue_wait_ns),
        }),
        memory: asked(Metric::Memory).then(|| MemoryUse {
            peak_resident_bytes: session.peak_rss_bytes,
            resident_bytes: now.rss_bytes.filter(|_| running),
            anonymous_bytes: now.rss_anonymous_bytes.filter(|_| running),
            file_bytes: now.rss_file_bytes.filter(|_| running),
            growth_bytes_per_second: now.rss_growth_bytes_per_second.filter(|_| running),
            minor_faults: used.minor_faults,
            major_faults: used.major_faults,
        }),
        network: asked(Metric::Network).then_some(NetworkUse {
            receive_packets: used.rx_packets,
            receive_bytes: used.rx_bytes,
            transmit_packets: used.tx_packets,
            transmit_bytes: used.tx_bytes,
        }),
        disk: asked(Metric::Disk).then_some(DiskUse {
            read_bytes: used.disk_read_bytes,
            write_bytes: used.disk_write_bytes,
            read_calls: used.read_calls,
            write_calls: used.write_calls,
        }),
    })
}

/// Changes of phase of one server.
///
/// # Errors
/// When there is no such server.
pub fn transitions(snapshot: &Snapshot, server_name: &str) -> Result<ServerTransitions, AskError> {
    let server = server(snapshot, server_name)?;
    let game = &server.game_state;
    Ok(ServerTransitions {
        server: server.name.as_str().into(),
        phase: game.phase,
        phase_since_unix_ms: game.phase_since_unix_ms,
        transitions: game.transitions.clone(),
        starts_and_stops: game.starts_and_stops.clone(),
        transition_durations: game.transition_durations.clone(),
        life_durations: game.life_durations.clone(),
    })
}

fn players_of(server: &ServerSnapshot) -> ServerPlayers {
    let game = &server.game_state;
    ServerPlayers {
        server: server.name.as_str().into(),
        counts: game.player_counts,
        players: game.players.clone(),
        departed: game.departed_players.clone(),
    }
}

/// Players of one server, running and departed.
///
/// # Errors
/// When there is no such server.
pub fn players(snapshot: &Snapshot, server_name: &str) -> Result<ServerPlayers, AskError> {
    server(snapshot, server_name).map(players_of)
}

/// Players of all servers.
pub fn all_players(snapshot: &Snapshot) -> Vec<ServerPlayers> {
    snapshot.servers.iter().map(players_of).collect()
}

/// Players of one session: who is in it now, and who left during it. Counts remain those of the server.
///
/// # Errors
/// When there is no such server or session.
pub fn session_players(snapshot: &Snapshot, server_name: &str, id: &str) -> Result<ServerPlayers, AskError> {
    let server = server(snapshot, server_name)?;
    let id = &session(server, id)?.id;
    let in_it = |player: &&PlayerSnapshot| player.session.as_ref() == Some(id);
    let all = players_of(server);
    Ok(ServerPlayers {
        players: all.players.iter().filter(in_it).cloned().collect(),
        departed: Arc::new(all.departed.iter().filter(in_it).cloned().collect()),
        ..all
    })
}

#[cfg(test)]
#[path = "ask_tests.rs"]
pub(crate) mod tests;
