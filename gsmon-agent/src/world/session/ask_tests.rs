//! Questions against a server of which everything is known; its picture is also what other rooms test with.

use std::collections::BTreeMap;

use super::*;
use crate::{
    config::Game,
    games::event::{KindEvidence, PlayerKind},
    world::{
        session::{
            Resources,
            picture::{CountBasis, GameCounters, PlayerFlow, PlayerState},
            traffic::FlowMatch,
            transitions::{Durations, LifeKind, RateChange},
        },
        snapshot::{CompanionSnapshot, CountingPoints, PacketTotals, ServerRates, ServerState, ServerTotals},
    },
};

/// A moment in 2033.
pub const NOW_MS: i64 = 2_000_000_000_000;

/// One that has used 3.5 s of CPU and began ten minutes ago.
pub fn a_session(id: &str, phase: Phase) -> SessionSnapshot {
    SessionSnapshot {
        id: id.into(),
        external_id: None,
        room: None,
        map: Some("q3dm17".into()),
        mode: Some("0".into()),
        phase,
        begun_unix_ms: NOW_MS - 600_000,
        ended_unix_ms: matches!(phase, Phase::Ended | Phase::Crashed).then_some(NOW_MS - 60_000),
        players: 3,
        players_peak: 5,
        joins: 7,
        leaves: 4,
        used: Resources {
            cpu_ns: Some(3_500_000_000),
            run_queue_wait_ns: Some(250_000_000),
            rx_packets: Some(1_000),
            rx_bytes: Some(80_000),
            tx_packets: Some(2_000),
            tx_bytes: Some(400_000),
            minor_faults: Some(12),
            major_faults: Some(1),
            disk_read_bytes: None,
            disk_write_bytes: Some(4_096),
            read_calls: Some(9),
            write_calls: Some(8),
        },
        cpu_basis: CpuBasis::Process,
        cpu_interval_ns: None,
        peak_rss_bytes: Some(64 << 20),
        phase_ms: BTreeMap::from([(Phase::Loading, 2_000), (Phase::Active, 538_000)]),
    }
}

/// Somebody who plays, or has left.
pub fn a_player(number: u64, name: &str, kind: PlayerKind, session: &str) -> PlayerSnapshot {
    PlayerSnapshot {
        number,
        name: Some(name.into()),
        platform_id: None,
        address: (kind == PlayerKind::Human).then(|| "192.0.2.7".parse().unwrap()),
        kind: Some(kind),
        kind_by: Some(KindEvidence::Connection),
        state: PlayerState::Playing,
        room: None,
        session: Some(session.into()),
        joined_unix_ms: NOW_MS - 90_000,
        left_unix_ms: None,
        left_reason: None,
        in_game_ms: 90_000,
        region: None,
        flow: (kind == PlayerKind::Human).then(|| PlayerFlow {
            remote: "192.0.2.7:27960".parse().unwrap(),
            by: FlowMatch::Endpoint,
            rx: PacketTotals {
                packets: 900,
                bytes: 72_000,
            },
            tx: PacketTotals {
                packets: 1_800,
                bytes: 360_000,
            },
            rx_packets_per_second: 30.0,
            rx_bytes_per_second: 2_400.0,
            tx_packets_per_second: 20.0,
            tx_bytes_per_second: 9_000.0,
            tcp: None,
        }),
    }
}

/// A name that would clear the screen, if a terminal got to see it.
pub const HOSTILE: &str = "\u{1b}[2Jx\u{202e}\n";

/// Everything that can be known of sessions and players.
pub fn a_game() -> GameSnapshot {
    let mut buckets = [0; 12];
    buckets[5] = 2;
    let durations = Durations {
        buckets,
        count: 3,
        sum_ms: 2_004_000,
    };
    let gone = PlayerSnapshot {
        state: PlayerState::Left,
        left_unix_ms: Some(NOW_MS - 30_000),
        flow: None,
        ..a_player(4, "gone", PlayerKind::Human, "1-1")
    };
    GameSnapshot {
        phase: Some(Phase::Active),
        phase_since_unix_ms: Some(NOW_MS - 538_000),
        sessions: vec![a_session("1-2", Phase::Active)],
        ended_sessions: Arc::new(vec![SessionSnapshot {
            external_id: Some("match 7/8".into()),
            ..a_session("1-1", Phase::Ended)
        }]),
        players: PlayerList::from(vec![
            a_player(1, "Ann", PlayerKind::Human, "1-2"),
            a_player(2, HOSTILE, PlayerKind::Human, "1-2"),
            a_player(3, "Sarge", PlayerKind::Bot, "1-2"),
        ]),
        departed_players: Arc::new(vec![gone]),
        player_counts: PlayerCounts {
            humans: Some(2),
            bots: Some(1),
            unknown: Some(0),
            connecting: Some(1),
            by: Some(CountBasis::Roster),
            disagreement: Some(-1),
            proxied: false,
        },
        transitions: Arc::new(vec![Transition {
            session: Some("1-2".into()),
            from: Phase::Lobby,
            to: Phase::Active,
            began_unix_ms: NOW_MS - 540_000,
            took_ms: 2_000,
            used: Resources {
                cpu_ns: Some(1_200_000_000),
                ..Resources::default()
            },
            change: Some(RateChange {
                cpu_cores: Some(0.25),
                rss_bytes: Some(1_048_576.0),
                ..RateChange::default()
            }),
        }]),
        starts_and_stops: Arc::new(vec![LifeRecord {
            kind: LifeKind::WarmUp,
            began_unix_ms: NOW_MS - 700_000,
            took_ms: 2_200,
            used: Resources::default(),
            peak_rss_bytes: Some(32 << 20),
        }]),
        transition_durations: Arc::new(vec![PhaseDurations {
            from: Phase::Lobby,
            to: Phase::Active,
            durations,
        }]),
        life_durations: vec![LifeDurations {
            kind: LifeKind::WarmUp,
            durations,
        }],
        counters: GameCounters {
            events: 40,
            sessions: 2,
            joins: 7,
            leaves: 4,
            ..GameCounters::default()
        },
        actions: BTreeMap::from([("explosion".into(), 5)]),
    }
}

/// One server of which everything is known, and one that is only configured.
pub fn a_snapshot() -> Snapshot {
    let silent = ServerSnapshot {
        network: None,
        name: "silent".into(),
        game: Game::Custom,
        state: ServerState::Waiting,
        pids: Vec::new(),
        starts: 0,
        endpoints: Vec::new(),
        max_players: None,
        tick_target_hz: None,
        counting: CountingPoints::default(),
        totals: ServerTotals::default(),
        rates: ServerRates::default(),
        tick: None,
        network_tick: None,
        flows: None,
        top_flows: Vec::new(),
        sockets: None,
        region: None,
        flows_by_region: BTreeMap::new(),
        game_state: GameSnapshot::default(),
        companions: Vec::new(),
        probes: Vec::new(),
        discovered: None,
        log: None,
        query: None,
    };
    let full = ServerSnapshot {
        name: "arena one".into(),
        game: Game::Quake3,
        state: ServerState::Up,
        totals: ServerTotals {
            cpu_ns: Some(9_000_000_000),
            read_calls: Some(90),
            write_calls: Some(80),
            ..ServerTotals::default()
        },
        rates: ServerRates {
            rss_bytes: Some(60 << 20),
            rss_anonymous_bytes: Some(40 << 20),
            rss_file_bytes: Some(20 << 20),
            rss_growth_bytes_per_second: Some(1_024.0),
            cpu_cores: Some(0.1),
            ..ServerRates::default()
        },
        game_state: a_game(),
        companions: vec![CompanionSnapshot {
            name: "anticheat".into(),
            pids: vec![4343],
            totals: ServerTotals {
                cpu_ns: Some(2_000_000_000),
                disk_read_bytes: Some(10),
                disk_write_bytes: Some(20),
                ..ServerTotals::default()
            },
            rates: ServerRates {
                rss_bytes: Some(8 << 20),
                cpu_cores: Some(0.025),
                ..ServerRates::default()
            },
            cpu_share_ratio: Some(0.2),
            rss_share_ratio: Some(0.12),
            disk_share_ratio: None,
        }],
        ..silent.clone()
    };
    Snapshot {
        sequence: 3,
        unix_time_seconds: NOW_MS as f64 / 1e3,
        interval_seconds: 1.0,
        servers: vec![full, silent],
        ..Snapshot::default()
    }
}

fn ids(found: &[FoundSession]) -> Vec<&str> {
    found.iter().map(|found| &*found.session.id).collect()
}

#[test]
fn only_the_asked_metrics_are_answered() {
    let snapshot = a_snapshot();
    let answer = session_resources(&snapshot, "arena one", "1-2", &[Metric::Cpu, Metric::Disk]).unwrap();
    let cpu = answer.cpu.unwrap();
    assert_eq!((cpu.seconds, cpu.run_queue_wait_seconds), (Some(3.5), Some(0.25)));
    let disk = answer.disk.unwrap();
    assert_eq!((disk.read_bytes, disk.write_bytes), (None, Some(4_096)));
    assert_eq!((answer.memory, answer.network), (None, None));
    let document = serde_json::to_value(&answer).unwrap();
    assert!(document.get("memory").is_none(), "{document}");
    assert_eq!(document["id"], "1-2");
    assert_eq!(document["disk"]["read_bytes"], serde_json::Value::Null);
    assert_eq!(
        serde_json::from_value::<SessionResources>(document).unwrap(),
        answer
    );
}

#[test]
fn what_a_process_has_now_is_said_of_running_sessions_only() {
    let snapshot = a_snapshot();
    let memory = |id| {
        session_resources(&snapshot, "arena one", id, &[Metric::Memory])
            .unwrap()
            .memory
            .unwrap()
    };
    assert_eq!(memory("1-2").resident_bytes, Some(60 << 20));
    assert_eq!(memory("1-2").growth_bytes_per_second, Some(1_024.0));
    assert_eq!(memory("1-1").resident_bytes, None);
    assert_eq!(memory("1-1").peak_resident_bytes, Some(64 << 20));
}

#[test]
fn an_estimate_has_its_interval() {
    let mut snapshot = a_snapshot();
    let session = &mut snapshot.servers[0].game_state.sessions[0];
    session.cpu_basis = CpuBasis::Shared;
    session.cpu_interval_ns = Some((1_000_000_000, 5_000_000_000));
    let answer = session_resources(&snapshot, "arena one", "1-2", &Metric::ALL).unwrap();
    assert_eq!(answer.cpu.unwrap().interval_seconds, Some((1.0, 5.0)));
    assert_eq!(answer.network.unwrap().transmit_bytes, Some(400_000));
}

#[test]
fn what_does_not_exist_is_answered_with_what_does() {
    let snapshot = a_snapshot();
    let error = session_resources(&snapshot, "arena", "1-2", &[]).unwrap_err();
    assert_eq!(error.known(), ["arena one", "silent"]);
    assert!(error.to_string().contains("arena one, silent"), "{error}");
    let error = session_resources(&snapshot, "arena one", "9", &[]).unwrap_err();
    assert_eq!(error.known(), ["1-2", "1-1"]);
    let error = session_players(&snapshot, "silent", "9").unwrap_err();
    assert!(error.to_string().contains("there are no sessions"), "{error}");
    assert!(transitions(&snapshot, "x").is_err() && players(&snapshot, "x").is_err());
    let mut crowd = snapshot;
    crowd.servers = (0..500)
        .map(|n| ServerSnapshot {
            name: format!("server-{n}"),
            ..crowd.servers[1].clone()
        })
        .collect();
    let message = server(&crowd, "x").unwrap_err().to_string();
    assert!(
        message.contains("and 480 more") && message.len() < 500,
        "{message}"
    );
}

#[test]
fn an_engines_own_id_finds_its_session() {
    let snapshot = a_snapshot();
    let answer = session_resources(&snapshot, "arena one", "match 7/8", &[]).unwrap();
    assert_eq!(&*answer.of.session.id, "1-1");
}

#[test]
fn filters_are_combined() {
    let mut snapshot = a_snapshot();
    let rooms = ["red", "blue"].map(|room| SessionSnapshot {
        room: Some(room.into()),
        ..a_session(room, Phase::Lobby)
    });
    snapshot.servers[1].game_state.sessions = rooms.to_vec();
    let find = |filter: SessionFilter| sessions(&snapshot, &filter).unwrap();
    assert_eq!(
        ids(&find(SessionFilter::default())),
        ["1-1", "1-2", "red", "blue"]
    );
    let state = |state| SessionFilter {
        state,
        ..SessionFilter::default()
    };
    assert_eq!(ids(&find(state(SessionState::Ended))), ["1-1"]);
    assert_eq!(ids(&find(state(SessionState::Running))), ["1-2", "red", "blue"]);
    let filter = SessionFilter {
        server: Some("silent".into()),
        phase: Some(Phase::Lobby),
        room: Some("red".into()),
        ..SessionFilter::default()
    };
    let found = find(filter.clone());
    assert_eq!((ids(&found), &*found[0].server), (vec!["red"], "silent"));
    let nobody = SessionFilter {
        phase: Some(Phase::Active),
        ..filter
    };
    assert_eq!(find(nobody), []);
    let unknown = SessionFilter {
        server: Some("x".into()),
        ..SessionFilter::default()
    };
    assert!(sessions(&snapshot, &unknown).is_err());
}

#[test]
fn players_are_those_of_the_server_or_of_one_session() {
    let snapshot = a_snapshot();
    let all = players(&snapshot, "arena one").unwrap();
    assert_eq!((all.players.len(), all.departed.len()), (3, 1));
    let of = session_players(&snapshot, "arena one", "1-1").unwrap();
    assert_eq!((of.players.len(), of.departed.len()), (0, 1));
    assert_eq!(of.counts, all.counts);
    assert_eq!(all_players(&snapshot).len(), 2);
}

#[test]
fn transitions_come_with_their_durations() {
    let snapshot = a_snapshot();
    let answer = transitions(&snapshot, "arena one").unwrap();
    assert_eq!(answer.transitions[0].used.cpu_ns, Some(1_200_000_000));
    assert_eq!(answer.transition_durations[0].durations.count, 3);
    assert_eq!(answer.starts_and_stops[0].took_ms, 2_200);
}

#[test]
fn words_are_checked_against_those_that_there_are() {
    assert_eq!("disk".parse(), Ok(Metric::Disk));
    let message = "gpu".parse::<Metric>().unwrap_err().to_string();
    assert!(
        message.contains("`gpu`") && message.contains("cpu, memory, network, disk"),
        "{message}"
    );
    assert_eq!("ended".parse(), Ok(SessionState::Ended));
    assert!(phase_named("paused").unwrap_err().to_string().contains("lobby"));
}
