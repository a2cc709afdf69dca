//! A Luanti server with its real clients, who walk, dig and place: one leaves, one is killed, one comes back.

use std::{collections::BTreeMap, fs, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use gsmon_agent::{
    Game, GameServer, GameServerMonitor,
    config::LogSettings,
    games::event::{KindEvidence, Phase, PlayerKind},
    world::{
        session::{picture::PlayerSnapshot, traffic::FlowMatch, transitions::LifeKind},
        snapshot::Snapshot,
    },
};
use gsmon_tests::{
    netns::Netns,
    program_or_skip, root_or_skip, server,
    third_party::{
        CpuWitness, Program, Recorder, assert_cpu_adds_up, eventually, inside, player, playing, says,
        sessions, udp_port_of, unix_ms, wait_for,
    },
};
use nix::sys::signal::Signal;

const PORT: u16 = 30_000;
const INTERVAL: Duration = Duration::from_millis(500);
/// One address for each client: whoever asks an address of the loopback asks from it.
const HOSTS: [&str; 2] = ["10.77.0.1", "10.77.0.2"];

const SERVER: &str = "\
port = 30000
server_announce = false
max_users = 20
default_game = minetest_game
disallow_empty_password = false
debug_log_level = action
creative_mode = true
ipv6_server = false
";

/// `random_input` walks, digs and places.
const CLIENT: &str = "\
video_driver = null
enable_sound = false
fps_max = 10
viewing_range = 20
random_input = true
";

struct Client {
    name: &'static str,
    host: &'static str,
    program: Program,
}

impl Client {
    fn start(netns: &Netns, home: &Path, name: &'static str, host: &'static str) -> Self {
        let home = home.join(name);
        fs::create_dir_all(&home).unwrap();
        fs::write(home.join("client.conf"), CLIENT).unwrap();
        let words = format!(
            "/usr/games/minetest --config client.conf --go --address {host} --port {PORT} --name {name} --password pw --logfile debug.txt"
        );
        let words: Vec<&str> = words.split(' ').collect();
        let program = Program::start(netns, &home, &words, &home.join("out")).unwrap();
        Self { name, host, program }
    }

    /// Where its packets come from.
    fn endpoint(&self, netns: &Netns) -> SocketAddr {
        let pid = self.program.pid();
        let port = eventually("a socket", Duration::from_secs(10), || {
            inside(netns, move || udp_port_of(pid)).unwrap()
        });
        SocketAddr::new(self.host.parse().unwrap(), port.unwrap())
    }
}

fn wait_for_players(monitor: &GameServerMonitor, limit: u64, names: &[&str]) -> Arc<Snapshot> {
    wait_for(monitor, "who plays", Duration::from_secs(limit), |snapshot| {
        playing(&snapshot.servers[0]) == names
    })
    .unwrap()
}

/// The player's flow is the client's own socket, and carries its packets.
fn assert_own_flow(monitor: &GameServerMonitor, client: &Client, endpoint: SocketAddr) {
    let snapshot = wait_for(
        monitor,
        "traffic of its own",
        Duration::from_secs(10),
        |snapshot| {
            player(&snapshot.servers[0], client.name).is_ok_and(|player| {
                player
                    .flow
                    .as_ref()
                    .is_some_and(|flow| flow.rx_packets_per_second > 0.0 && flow.tx_packets_per_second > 0.0)
            })
        },
    )
    .unwrap();
    let player = player(&snapshot.servers[0], client.name).unwrap();
    let flow = player.flow.as_ref().unwrap();
    assert_eq!((flow.remote, flow.by), (endpoint, FlowMatch::Address));
    assert!(flow.rx.packets > 20 && flow.tx.packets > 20, "{flow:?}");
    assert_eq!(
        (player.kind, player.kind_by),
        (Some(PlayerKind::Human), Some(KindEvidence::Connection))
    );
}

#[test]
fn luanti_clients_come_leave_die_and_come_back() {
    if !root_or_skip()
        || !program_or_skip("minetestserver", "minetest-server")
        || !program_or_skip("minetest", "minetest")
    {
        return;
    }
    let netns = Netns::new("luanti").unwrap();
    for host in HOSTS {
        netns.exec(&format!("ip addr add {host}/32 dev lo")).unwrap();
    }
    let home = tempfile::tempdir().unwrap();
    let log = home.path().join("debug.txt");
    fs::write(home.path().join("minetest.conf"), SERVER).unwrap();
    let state = tempfile::tempdir().unwrap();
    let mut spec = GameServer::new("luanti", Game::Luanti)
        .port(PORT)
        .executable("minetestserver")
        .netns(netns.path());
    spec.log = Some(LogSettings {
        file: Some(log.clone()),
        ..LogSettings::default()
    });
    let monitor = GameServerMonitor::builder()
        .interval(INTERVAL)
        .state_directory(state.path())
        .add_game_server(spec)
        .start()
        .unwrap();
    let recorder = Recorder::new(&monitor);
    let words = "/usr/games/minetestserver --config minetest.conf --world world --gameid minetest_game --logfile debug.txt";
    let words: Vec<&str> = words.split(' ').collect();
    let program = Program::start(&netns, home.path(), &words, &home.path().join("out")).unwrap();
    let witness = CpuWitness::of(program.pid()).unwrap();
    says(&log, "listening on", Duration::from_secs(30)).unwrap();

    // Nobody is there: ready, idle, no session yet that saw anybody.
    let snapshot = wait_for(&monitor, "idleness", Duration::from_secs(10), |snapshot| {
        snapshot.servers[0].game_state.phase == Some(Phase::Idle)
    })
    .unwrap();
    let [start] = &snapshot.servers[0].game_state.starts_and_stops[..] else {
        panic!("{:?}", snapshot.servers[0].game_state)
    };
    assert_eq!(start.kind, LifeKind::WarmUp);
    let cpu_ns = start.used.cpu_ns.unwrap();
    assert!(
        cpu_ns > 10_000_000 && start.peak_rss_bytes.unwrap() > 10 << 20,
        "{start:?}"
    );

    let before_first_ms = unix_ms();
    let alice = Client::start(&netns, home.path(), "alice", HOSTS[0]);
    let bob = Client::start(&netns, home.path(), "bob", HOSTS[1]);
    let endpoints = [&alice, &bob].map(|client| client.endpoint(&netns));
    let snapshot = wait_for_players(&monitor, 60, &["alice", "bob"]);
    assert_eq!(snapshot.servers[0].game_state.phase, Some(Phase::Active));
    assert_own_flow(&monitor, &alice, endpoints[0]);
    assert_own_flow(&monitor, &bob, endpoints[1]);

    // One leaves, one dies; who left comes back while the server still waits for the dead one.
    alice
        .program
        .end(Signal::SIGTERM, Duration::from_secs(10))
        .unwrap();
    // A client says once that it leaves, and may end before that is sent: then the server waits for it as for a dead one.
    wait_for_players(&monitor, 60, &["bob"]);
    bob.program.end(Signal::SIGKILL, Duration::from_secs(10)).unwrap();
    let killed_ms = unix_ms();
    let alice = Client::start(&netns, home.path(), "alice", HOSTS[0]);
    let endpoint = alice.endpoint(&netns);
    wait_for_players(&monitor, 25, &["alice", "bob"]);
    assert_own_flow(&monitor, &alice, endpoint);
    wait_for_players(&monitor, 60, &["alice"]);
    alice
        .program
        .end(Signal::SIGTERM, Duration::from_secs(10))
        .unwrap();
    wait_for_players(&monitor, 60, &[]);
    let after_last_ms = unix_ms();
    let snapshot = wait_for(&monitor, "idleness", Duration::from_secs(10), |snapshot| {
        snapshot.servers[0].game_state.phase == Some(Phase::Idle)
    })
    .unwrap();
    let luanti = server(&snapshot, "luanti").unwrap();
    let state = &luanti.game_state;

    // Joins, leaves and reasons, as they were.
    let gone: Vec<(&str, u64)> = state
        .departed_players
        .iter()
        .map(|player| (player.name.as_deref().unwrap(), player.number))
        .collect();
    let names: Vec<&str> = gone.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["alice", "bob", "alice"]);
    let counters = state.counters;
    assert_eq!(
        (counters.joins, counters.leaves, counters.repeated_joins),
        (3, 3, 0)
    );
    assert_eq!(
        (
            counters.inferred_joins,
            counters.inferred_leaves,
            counters.unknown_leaves
        ),
        (0, 0, 0)
    );
    assert_eq!((counters.illegal_steps, counters.missing_steps), (0, 0));
    let reasons: BTreeMap<&str, Vec<Option<&str>>> =
        state
            .departed_players
            .iter()
            .fold(BTreeMap::new(), |mut reasons, player| {
                let of: &mut Vec<_> = reasons.entry(player.name.as_deref().unwrap()).or_default();
                of.push(player.left_reason.as_deref());
                reasons
            });
    assert!(
        reasons["alice"]
            .iter()
            .all(|reason| matches!(reason, None | Some("times out")))
    );
    assert_eq!(reasons["bob"], [Some("times out")]);
    let bob: &PlayerSnapshot = &state.departed_players[1];
    let noticed_after = bob.left_unix_ms.unwrap() - killed_ms;
    // The log has whole seconds.
    assert!(
        (20_000..=40_000).contains(&noticed_after),
        "timed out after {noticed_after} ms"
    );

    // One occupancy from the first join to the last leave.
    let all = sessions(luanti);
    let [session] = &all[..] else { panic!("{all:#?}") };
    assert!(session.begun_unix_ms >= before_first_ms - 1_000);
    assert_eq!(
        session.begun_unix_ms,
        state
            .departed_players
            .iter()
            .map(|player| player.joined_unix_ms)
            .min()
            .unwrap()
    );
    assert_eq!(session.ended_unix_ms, state.departed_players[2].left_unix_ms);
    assert!(session.ended_unix_ms.unwrap() <= after_last_ms);
    assert_eq!((session.joins, session.leaves, session.players_peak), (3, 3, 2));
    assert!(session.used.rx_packets.unwrap() > 100 && session.used.tx_packets.unwrap() > 100);
    assert_cpu_adds_up(&recorder.until(snapshot.sequence), "luanti", &witness, INTERVAL);

    // An orderly stop: from the last leave to the end.
    program.end(Signal::SIGTERM, Duration::from_secs(20)).unwrap();
    let snapshot = wait_for(&monitor, "the end", Duration::from_secs(10), |snapshot| {
        snapshot.servers[0].game_state.starts_and_stops.len() == 2
    })
    .unwrap();
    let state = &snapshot.servers[0].game_state;
    assert_eq!(state.starts_and_stops[1].kind, LifeKind::CoolDown);
    assert_eq!(
        Some(state.starts_and_stops[1].began_unix_ms),
        session.ended_unix_ms
    );
    assert_eq!((state.counters.crashes, state.counters.sessions), (0, 1));
}
