//! Sessions, players and transitions as readers see them: the part of a snapshot that this room fills.
//!
//! Times are milliseconds since the Unix epoch. `None` is "not known here", never zero.

use std::{collections::BTreeMap, net::IpAddr, net::SocketAddr, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{
    machine::{Machine, Session, Track},
    players::PlayerList,
    resources::Resources,
    rooms::CpuBasis,
    roster::{self, Presence},
    traffic::{FlowMatch, Matches},
    transitions::{Durations, LifeKind, LifeRecord, Transition},
};
use crate::{
    games::event::{KindEvidence, Phase, PlayerKind, Witness},
    world::{
        region::Region,
        remote::{RemoteFacts, TcpPath},
        snapshot::PacketTotals,
    },
};

/// Sessions and players of one server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GameSnapshot {
    /// Phase of the server as a whole.
    pub phase: Option<Phase>,
    /// Since when.
    pub phase_since_unix_ms: Option<i64>,
    /// Running sessions.
    pub sessions: Vec<SessionSnapshot>,
    /// Sessions that have ended, the newest 64, oldest first.
    pub ended_sessions: Arc<Vec<SessionSnapshot>>,
    /// Who is connected or in the game.
    pub players: PlayerList,
    /// Who has left, the newest 256, oldest first.
    pub departed_players: Arc<Vec<PlayerSnapshot>>,
    /// How many.
    pub player_counts: PlayerCounts,
    /// Changes of phase, the newest 128, oldest first; those of rooms are left out.
    pub transitions: Arc<Vec<Transition>>,
    /// Starts and stops, the newest 128, oldest first.
    pub starts_and_stops: Arc<Vec<LifeRecord>>,
    /// Durations of transitions since the agent began.
    pub transition_durations: Arc<Vec<PhaseDurations>>,
    /// Durations of starts and stops.
    pub life_durations: Vec<LifeDurations>,
    /// What was told and did not fit.
    pub counters: GameCounters,
    /// Actions of players, by name, since start.
    pub actions: BTreeMap<Arc<str>, u64>,
}

/// Durations of one kind of transition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PhaseDurations {
    /// Settled phase before.
    pub from: Phase,
    /// Settled phase after.
    pub to: Phase,
    /// How long it took.
    pub durations: Durations,
}

/// Durations of starts, or of stops.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LifeDurations {
    /// Which.
    pub kind: LifeKind,
    /// How long it took.
    pub durations: Durations,
}

/// Players, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PlayerCounts {
    /// People in the game.
    pub humans: Option<u64>,
    /// Bots in the game.
    pub bots: Option<u64>,
    /// In the game, and nobody has said whether human or bot.
    pub unknown: Option<u64>,
    /// Connecting.
    pub connecting: Option<u64>,
    /// How these are known.
    pub by: Option<CountBasis>,
    /// Roster less the newest count that log or query told.
    pub disagreement: Option<i64>,
    /// Is the server behind a proxy, so that flows are not players?
    pub proxied: bool,
}

/// How players are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CountBasis {
    /// Names, ids or connections that log, query or push told.
    Roster,
    /// A number that log or query told.
    Count,
    /// Flows on the wire.
    Flows,
}

/// One session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SessionSnapshot {
    /// Unique on this server.
    pub id: Arc<str>,
    /// The engine's own id.
    pub external_id: Option<Arc<str>>,
    /// Room inside the process.
    pub room: Option<Arc<str>>,
    /// Map.
    pub map: Option<Arc<str>>,
    /// Mode.
    pub mode: Option<Arc<str>>,
    /// Phase now, or the last one.
    pub phase: Phase,
    /// Beginning.
    pub begun_unix_ms: i64,
    /// End.
    pub ended_unix_ms: Option<i64>,
    /// Players now.
    pub players: u32,
    /// Most players at once.
    pub players_peak: u32,
    /// Players who came.
    pub joins: u64,
    /// Players who left.
    pub leaves: u64,
    /// Used so far.
    pub used: Resources,
    /// How its CPU is known.
    pub cpu_basis: CpuBasis,
    /// Where it is an estimate: least and most CPU, nanoseconds.
    pub cpu_interval_ns: Option<(u64, u64)>,
    /// Largest resident memory of the process while it ran.
    pub peak_rss_bytes: Option<u64>,
    /// Time in each phase, milliseconds.
    pub phase_ms: BTreeMap<Phase, i64>,
}

impl SessionSnapshot {
    /// Is its CPU an estimate?
    pub fn cpu_is_estimated(&self) -> bool {
        self.cpu_basis == CpuBasis::Shared || self.cpu_interval_ns.is_some()
    }
}

/// One player.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlayerSnapshot {
    /// Number on this server; 0 for a flow without a name.
    pub number: u64,
    /// Name, raw.
    pub name: Option<Arc<str>>,
    /// Id that outlives a connection.
    pub platform_id: Option<Arc<str>>,
    /// Address that the game told.
    pub address: Option<IpAddr>,
    /// Human or bot.
    pub kind: Option<PlayerKind>,
    /// How that is known.
    pub kind_by: Option<KindEvidence>,
    /// Connecting, or in the game.
    pub state: PlayerState,
    /// Room inside the process.
    pub room: Option<Arc<str>>,
    /// Session.
    pub session: Option<Arc<str>>,
    /// When first heard of, or the beginning of its flow.
    pub joined_unix_ms: i64,
    /// When it left.
    pub left_unix_ms: Option<i64>,
    /// Why it left, where the game told, as spelled.
    pub left_reason: Option<Arc<str>>,
    /// Time in the game.
    pub in_game_ms: i64,
    /// Where it is, if that is known.
    pub region: Option<Region>,
    /// Its flow on the wire.
    pub flow: Option<PlayerFlow>,
}

/// State of a player.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PlayerState {
    /// Not in the game yet.
    Connecting,
    /// In the game.
    Playing,
    /// Gone.
    Left,
}

/// A player's traffic.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlayerFlow {
    /// Remote endpoint.
    pub remote: SocketAddr,
    /// How it was found.
    pub by: FlowMatch,
    /// From the player.
    pub rx: PacketTotals,
    /// To the player.
    pub tx: PacketTotals,
    /// Packets per second from the player.
    pub rx_packets_per_second: f64,
    /// Bytes per second from the player.
    pub rx_bytes_per_second: f64,
    /// Packets per second to the player.
    pub tx_packets_per_second: f64,
    /// Bytes per second to the player.
    pub tx_bytes_per_second: f64,
    /// Round trip and retransmits as the kernel's TCP knows them; of games over TCP.
    pub tcp: Option<TcpPath>,
}

/// What was told and did not fit, since start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GameCounters {
    /// Events taken.
    pub events: u64,
    /// Sessions begun.
    pub sessions: u64,
    /// Sessions that ended by a crash.
    pub crashes: u64,
    /// Steps between phases that cannot be meant, refused.
    pub illegal_steps: u64,
    /// Steps that were never told and were put in.
    pub missing_steps: u64,
    /// Players who came.
    pub joins: u64,
    /// Players who left.
    pub leaves: u64,
    /// Joins told again.
    pub repeated_joins: u64,
    /// Leaves of nobody known.
    pub unknown_leaves: u64,
    /// Joins that follow from a list.
    pub inferred_joins: u64,
    /// Leaves that follow from something else.
    pub inferred_leaves: u64,
    /// Statements about players beyond the bound.
    pub roster_overflow: u64,
    /// Events of rooms beyond the bound.
    pub rooms_refused: u64,
    /// Times that the game said it was behind.
    pub behind: u64,
    /// By how much in all, milliseconds.
    pub behind_ms: u64,
}

impl From<gsmon_common::flow::Traffic> for PacketTotals {
    fn from(traffic: gsmon_common::flow::Traffic) -> Self {
        Self {
            packets: traffic.packets,
            bytes: traffic.bytes,
        }
    }
}

/// Players as the roster knows them.
pub fn named_players(machine: &Machine, matches: &Matches, remotes: &RemoteFacts, now_ms: i64) -> PlayerList {
    let session_of = |room: Option<&Arc<str>>| {
        room.and_then(|room| machine.rooms.get(room))
            .unwrap_or(&machine.track)
            .session
            .as_ref()
            .map(|session| session.id.clone())
    };
    machine
        .roster
        .players()
        .iter()
        .map(|player| {
            let kind = roster::kind_of(&player.who);
            let playing = player.presence == Presence::Playing;
            PlayerSnapshot {
                number: player.number.0,
                name: player.who.name.clone(),
                platform_id: player.who.platform_id.clone(),
                address: player.who.address,
                kind: kind.map(|(kind, _)| kind),
                kind_by: kind.map(|(_, by)| by),
                state: if playing {
                    PlayerState::Playing
                } else {
                    PlayerState::Connecting
                },
                room: player.room.clone(),
                session: session_of(player.room.as_ref()),
                joined_unix_ms: if playing {
                    player.joined_ms
                } else {
                    player.heard_ms
                },
                left_unix_ms: None,
                left_reason: None,
                in_game_ms: if playing {
                    (now_ms - player.joined_ms).max(0)
                } else {
                    0
                },
                region: remotes.region_of_player(
                    player.who.address,
                    matches.of(player.number).map(|traffic| traffic.remote),
                ),
                flow: matches.of(player.number).map(|traffic| PlayerFlow {
                    remote: traffic.remote,
                    by: traffic.by,
                    rx: traffic.rx.into(),
                    tx: traffic.tx.into(),
                    rx_packets_per_second: traffic.rx_packets_per_second,
                    rx_bytes_per_second: traffic.rx_bytes_per_second,
                    tx_packets_per_second: traffic.tx_packets_per_second,
                    tx_bytes_per_second: traffic.tx_bytes_per_second,
                    tcp: remotes.tcp(traffic.remote),
                }),
            }
        })
        .collect()
}

/// Players who have left.
pub fn departed_players(machine: &Machine, remotes: &RemoteFacts) -> Vec<PlayerSnapshot> {
    machine
        .departed
        .iter()
        .map(|gone| {
            let kind = roster::kind_of(&gone.who.who);
            PlayerSnapshot {
                number: gone.who.number.0,
                name: gone.who.who.name.clone(),
                platform_id: gone.who.who.platform_id.clone(),
                address: gone.who.who.address,
                kind: kind.map(|(kind, _)| kind),
                kind_by: kind.map(|(_, by)| by),
                state: PlayerState::Left,
                room: gone.who.room.clone(),
                session: gone.session.clone(),
                joined_unix_ms: gone.who.joined_ms,
                left_unix_ms: Some(gone.who.left_ms),
                left_reason: gone.who.reason.clone(),
                in_game_ms: gone.who.left_ms - gone.who.joined_ms,
                region: remotes.region_of_player(gone.who.who.address, None),
                flow: None,
            }
        })
        .collect()
}

/// One session.
pub fn session(machine: &Machine, track: &Track, session: &Session, now_ms: i64) -> SessionSnapshot {
    let running = session.ended_ms.is_none();
    let mut phase_ms = session.phase_ms.clone();
    if running {
        *phase_ms.entry(track.phase).or_default() +=
            (now_ms - track.phase_since_ms.max(session.begun_ms)).max(0);
    }
    let players = machine.present(session.room.as_ref());
    let share = machine.room_share(session);
    SessionSnapshot {
        id: session.id.clone(),
        external_id: session.external_id.clone(),
        room: session.room.clone(),
        map: session.map.clone(),
        mode: session.mode.clone(),
        phase: match (running, session.crashed) {
            (true, _) => track.phase,
            (false, true) => Phase::Crashed,
            (false, false) => Phase::Ended,
        },
        begun_unix_ms: session.begun_ms,
        ended_unix_ms: session.ended_ms,
        players: if running { players } else { 0 },
        players_peak: session.players_peak,
        joins: session.joins,
        leaves: session.leaves,
        used: machine.used_so_far(session, now_ms),
        cpu_basis: share.map(|share| share.cpu).unwrap_or_default(),
        cpu_interval_ns: share.and_then(|share| share.cpu_interval_ns()),
        peak_rss_bytes: session.peak_rss_bytes,
        phase_ms,
    }
}

/// Counts of players, by the best that is known; `flows` may stand for players where nobody names any.
pub fn counts(machine: &Machine, matches: &Matches, flows: Option<u32>) -> PlayerCounts {
    let roster = &machine.roster;
    let base = PlayerCounts {
        disagreement: roster.disagreement(),
        proxied: matches.proxied,
        ..PlayerCounts::default()
    };
    if roster.speaks {
        let count = |wanted: Option<PlayerKind>| {
            roster
                .playing()
                .filter(|player| roster::kind_of(&player.who).map(|(kind, _)| kind) == wanted)
                .count() as u64
        };
        let connecting = roster
            .players()
            .iter()
            .filter(|player| player.presence == Presence::Connecting)
            .count() as u64;
        return PlayerCounts {
            humans: Some(count(Some(PlayerKind::Human))),
            bots: Some(count(Some(PlayerKind::Bot))),
            unknown: Some(count(None)),
            connecting: Some(connecting),
            by: Some(CountBasis::Roster),
            ..base
        };
    }
    if let Some((count, _, Witness::Query | Witness::Log | Witness::Push)) = roster.count {
        let bots = count.bots.map(u64::from);
        let online = u64::from(count.online);
        return PlayerCounts {
            humans: bots.map(|bots| online.saturating_sub(bots)),
            bots,
            unknown: bots.is_none().then_some(online),
            by: Some(CountBasis::Count),
            ..base
        };
    }
    match flows {
        Some(flows) if !matches.proxied => PlayerCounts {
            humans: Some(u64::from(flows)),
            by: Some(CountBasis::Flows),
            ..base
        },
        _ => base,
    }
}

/// Counters of machine and roster.
pub fn counters(machine: &Machine) -> GameCounters {
    let (steps, roster) = (machine.counters, machine.roster.counters);
    GameCounters {
        events: steps.events,
        sessions: steps.sessions,
        crashes: steps.crashes,
        illegal_steps: steps.illegal_steps,
        missing_steps: steps.missing_steps,
        joins: roster.joins,
        leaves: roster.leaves,
        repeated_joins: roster.repeated_joins,
        unknown_leaves: roster.unknown_leaves,
        inferred_joins: roster.inferred_joins,
        inferred_leaves: roster.inferred_leaves,
        roster_overflow: roster.overflow,
        rooms_refused: steps.rooms_refused,
        behind: machine.behind.0,
        behind_ms: machine.behind.1,
    }
}
