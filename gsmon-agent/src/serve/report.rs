//! What an agent tells a fleet: its newest snapshot without who plays, and who plays under pseudonyms. Made here and
//! read by `fleet`; names, ids and addresses of players never leave the host this way.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

use crate::{
    games::event::PlayerKind,
    privacy::{Pseudonym, PseudonymKey, RawIdentity},
    world::{
        network::LineSnapshot,
        region::Region,
        session::picture::{PlayerSnapshot, PlayerState},
        snapshot::Snapshot,
    },
};

/// Everything that a fleet reads of an agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AgentReport {
    /// Version of the agent.
    pub version: String,
    /// Age of the snapshot by the agent's own clock, seconds.
    pub age_seconds: f64,
    /// Fingerprint of the key of the pseudonyms; absent without a shared key. Only players under one key can be joined.
    pub player_key: Option<String>,
    /// The newest snapshot; players, departed players, flows and lines are left out of it.
    pub snapshot: Snapshot,
    /// Players that games told of. Those of whom only a flow is known are in the counts of their server alone.
    pub players: Vec<ReportedPlayer>,
}

/// One player on one server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReportedPlayer {
    /// Server.
    pub server: Arc<str>,
    /// Who; absent of bots, without a shared key, and where neither id nor name is known. An address alone does not
    /// make a person: households and carriers share one.
    pub pseudonym: Option<Pseudonym>,
    /// What the pseudonym stands for.
    pub known_by: Option<KnownAs>,
    /// Human or bot.
    pub kind: Option<PlayerKind>,
    /// Connecting, or in the game.
    pub state: PlayerState,
    /// Session.
    pub session: Option<Arc<str>>,
    /// Room inside the process.
    pub room: Option<Arc<str>>,
    /// When first heard of.
    pub joined_unix_ms: i64,
    /// Time in the game.
    pub in_game_ms: i64,
    /// Where it is, if that is known.
    pub region: Option<Region>,
    /// Median round trip of its own line, milliseconds; absent where none was measured.
    #[serde(default)]
    pub rtt_ms: Option<f64>,
    /// Packets lost, the worse of both ways.
    #[serde(default)]
    pub loss_ratio: Option<f64>,
}

/// What a pseudonym stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KnownAs {
    /// An id that outlives a connection.
    PlatformId,
    /// A name, which somebody else may have as well.
    Name,
}

impl AgentReport {
    /// Of a snapshot, at a time since the Unix epoch.
    pub fn of(snapshot: &Snapshot, key: Option<&PseudonymKey>, now: Duration) -> Self {
        let players = snapshot.servers.iter().flat_map(|server| {
            let name: Arc<str> = server.name.as_str().into();
            let lines = server.network.iter().flat_map(|network| network.lines.iter());
            let lines: HashMap<SocketAddr, &LineSnapshot> =
                lines.map(|told| (told.remote, &told.line)).collect();
            server.game_state.players.told().iter().map(move |player| {
                let line = player
                    .flow
                    .as_ref()
                    .and_then(|flow| lines.get(&flow.remote).copied());
                reported(name.clone(), player, line, key)
            })
        });
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            // A clock that was set back makes nothing younger than new.
            age_seconds: (now.as_secs_f64() - snapshot.unix_time_seconds).max(0.0),
            player_key: key.map(PseudonymKey::fingerprint),
            players: players.collect(),
            snapshot: without_players(snapshot),
        }
    }

    /// Of a snapshot, now.
    pub fn now(snapshot: &Snapshot, key: Option<&PseudonymKey>) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self::of(snapshot, key, now)
    }
}

fn reported(
    server: Arc<str>,
    player: &PlayerSnapshot,
    line: Option<&LineSnapshot>,
    key: Option<&PseudonymKey>,
) -> ReportedPlayer {
    // Bots have the same names everywhere.
    let identity = match (player.kind, &player.platform_id, &player.name) {
        (Some(PlayerKind::Bot), ..) => None,
        (_, Some(id), _) => Some((RawIdentity::PlatformId(id), KnownAs::PlatformId)),
        (_, None, Some(name)) => Some((RawIdentity::Name(name), KnownAs::Name)),
        _ => None,
    };
    let known = key.zip(identity);
    ReportedPlayer {
        server,
        pseudonym: known.map(|(key, (identity, _))| key.pseudonym(&identity)),
        known_by: known.map(|(_, (_, by))| by),
        kind: player.kind,
        state: player.state,
        session: player.session.clone(),
        room: player.room.clone(),
        joined_unix_ms: player.joined_unix_ms,
        in_game_ms: player.in_game_ms,
        region: player.region.clone(),
        rtt_ms: line.and_then(|line| line.rtt_p50_ns).map(|ns| ns / 1e6),
        loss_ratio: line.and_then(|line| {
            let ways = [line.loss_up_ratio, line.loss_down_ratio];
            ways.into_iter().flatten().max_by(f64::total_cmp)
        }),
    }
}

fn without_players(snapshot: &Snapshot) -> Snapshot {
    let mut snapshot = snapshot.clone();
    for server in &mut snapshot.servers {
        server.game_state.players = Default::default();
        server.game_state.departed_players = Default::default();
        server.top_flows.clear();
        if let Some(network) = &mut server.network {
            network.lines = Default::default();
        }
    }
    snapshot
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::session::ask::tests::a_snapshot;

    #[test]
    fn a_report_counts_players_and_names_none() {
        let mut snapshot = a_snapshot();
        let key = PseudonymKey::from_bytes(&[7; 32]);
        let told = snapshot.servers[0].game_state.players.told().to_vec();
        let raw: Vec<String> = told
            .iter()
            .flat_map(|player| [player.name.as_deref(), player.platform_id.as_deref()])
            .flatten()
            .map(str::to_owned)
            .collect();
        assert!(!raw.is_empty(), "the sample has names");
        let mut players = told.clone();
        players[0].kind = Some(PlayerKind::Human);
        players[0].platform_id = Some("76561197960287930".into());
        players[0].address = Some("198.51.100.77".parse().unwrap());
        snapshot.servers[0].game_state.players = players.clone().into_iter().collect();
        snapshot.servers[0].game_state.departed_players = Arc::new(players);
        let report = AgentReport::of(&snapshot, Some(&key), Duration::from_secs(0));
        assert_eq!(report.players.len(), told.len());
        assert_eq!(report.players[0].known_by, Some(KnownAs::PlatformId));
        let text = serde_json::to_string(&report).unwrap();
        for secret in raw
            .iter()
            .map(String::as_str)
            .chain(["76561197960287930", "198.51.100.77"])
        {
            assert!(!text.contains(&format!("\"{secret}")), "{secret} is in {text}");
        }
        let again: AgentReport = serde_json::from_str(&text).unwrap();
        assert_eq!(again, report);
        assert_eq!(
            again.snapshot.servers[0].game_state.player_counts,
            snapshot.servers[0].game_state.player_counts
        );
        let without = AgentReport::of(&snapshot, None, Duration::from_secs(0));
        assert!(without.player_key.is_none());
        assert!(without.players.iter().all(|player| player.pseudonym.is_none()));
    }

    #[test]
    fn bots_have_no_pseudonym_and_age_is_never_negative() {
        let mut snapshot = a_snapshot();
        let mut players = snapshot.servers[0].game_state.players.told().to_vec();
        players[0].kind = Some(PlayerKind::Bot);
        players[0].name = Some("Sarge".into());
        snapshot.servers[0].game_state.players = players.into_iter().collect();
        snapshot.unix_time_seconds = 1_000.0;
        let key = PseudonymKey::from_bytes(&[7; 32]);
        let report = AgentReport::of(&snapshot, Some(&key), Duration::from_secs(1_002));
        assert_eq!(report.players[0].pseudonym, None);
        assert_eq!(report.age_seconds, 2.0);
        assert_eq!(
            AgentReport::of(&snapshot, None, Duration::from_secs(1)).age_seconds,
            0.0
        );
    }
}
