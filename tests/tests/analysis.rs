//! The analysis against real processes whose costs were planted, and its commands against a real agent.

use std::{
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use gsmon_agent::{
    GameServer, GameServerMonitor,
    analysis::{
        lag::{Fleet, LagBasis, lag_compensation_cost},
        series::Series,
    },
    config::Game,
    demo::{
        DemoProcess,
        bots::{BotsArgs, Homes},
        diary::DiaryArgs,
        game_loop::LoopKind,
        lag::LagArgs,
        protocol::Header,
        server::ServerArgs,
    },
    history::{Frame, Measure},
};
use gsmon_tests::{gsmon, root_or_skip, wait_for};

/// CPU per player, tick and 100 ms of round trip, microseconds.
const PLANTED_US: u64 = 250;

/// Players of a server and their round trips: neither follows from the other.
const FLEET: [(u32, &[u64]); 6] = [
    (4, &[40]),
    (4, &[260]),
    (9, &[20]),
    (9, &[180]),
    (6, &[50, 250]),
    (12, &[100]),
];

fn server(port: u16, lag: LagArgs) -> ServerArgs {
    ServerArgs {
        kind: LoopKind::Sleeping,
        header: Header::Quake3,
        address: std::net::Ipv4Addr::LOCALHOST.into(),
        port,
        tick_hz: 20.0,
        base_work_us: 400,
        work_per_player_us: 80,
        ticks_per_snapshot: 1,
        max_players: 64,
        lifetime_seconds: 300,
        diary: DiaryArgs::default(),
        lag,
    }
}

fn bots(port: u16, count: u32) -> BotsArgs {
    BotsArgs {
        header: Header::Quake3,
        address: std::net::Ipv4Addr::LOCALHOST.into(),
        port,
        count,
        input_hz: 30.0,
        stay_seconds: 0,
        homes: Homes::Shared,
        seed: u64::from(port),
        lifetime_seconds: 300,
    }
}

/// What nobody measures yet is taken from what was planted: round trips.
fn with_round_trips(frames: Vec<Frame>, players: u32, round_trips: &[u64]) -> Vec<Frame> {
    let of = |joined: u32| round_trips[joined as usize % round_trips.len()] as f64;
    let mean = (0..players).map(of).sum::<f64>() / f64::from(players);
    frames
        .into_iter()
        .filter(|frame| frame.get(Measure::Players) == Some(f64::from(players)))
        .map(|frame| frame.with(Measure::RttMeanMs, mean))
        .collect()
}

#[test]
fn regression_recovers_the_planted_cost_of_lag_compensation_within_a_tenth() {
    if !root_or_skip() {
        return;
    }
    let gsmon = gsmon().unwrap();
    let mut builder = GameServerMonitor::builder().interval(Duration::from_millis(500));
    let mut processes = Vec::new();
    for (number, (players, round_trips)) in FLEET.into_iter().enumerate() {
        let lag = LagArgs {
            lag_us_per_100ms: PLANTED_US,
            player_rtt_ms: round_trips.to_vec(),
        };
        let server = DemoProcess::server(&gsmon, &[], &server(0, lag)).unwrap();
        let port = server.ready.port;
        let bots = DemoProcess::bots(&gsmon, &[], &bots(port, players)).unwrap();
        builder = builder.add_game_server(GameServer::new(format!("fleet-{number}"), Game::Demo).port(port));
        processes.push((server, bots));
    }
    let monitor = builder.start().unwrap();
    wait_for(&monitor, Duration::from_secs(60), |snapshot| {
        snapshot.servers.iter().zip(FLEET).all(|(server, (players, _))| {
            server.game_state.player_counts.humans == Some(u64::from(players)) && server.tick.is_some()
        })
    })
    .unwrap();
    let begin = monitor.snapshot().unwrap();
    wait_for(&monitor, Duration::from_secs(60), |snapshot| {
        snapshot.sequence >= begin.sequence + 40
    })
    .unwrap();
    let from = (begin.unix_time_seconds * 1e3) as i64;
    let frames: Vec<(String, Vec<Frame>)> = FLEET
        .into_iter()
        .enumerate()
        .map(|(number, (players, round_trips))| {
            let name = format!("fleet-{number}");
            let seen = monitor.history().frames(&name, from, i64::MAX).unwrap().frames();
            let known = with_round_trips(seen, players, round_trips);
            assert!(known.len() >= 10, "{name}: {} frames", known.len());
            (name, known)
        })
        .collect();
    let series: Vec<Series<'_>> = frames
        .iter()
        .map(|(server, frames)| Series { server, frames })
        .collect();
    let cost = lag_compensation_cost(&series, Fleet::Alike).unwrap();
    println!("{cost:?}");
    assert_eq!((cost.basis, cost.servers), (LagBasis::Regression, FLEET.len()));
    let told = cost.us_per_player_100_ms_tick.unwrap();
    let ratio = told.value / PLANTED_US as f64;
    assert!(
        (0.9..=1.1).contains(&ratio),
        "{told:?} instead of {PLANTED_US} us"
    );
    // Within each server nothing moved: without the fleet there is nothing to be told.
    for (server, frames) in &frames {
        let alone = [Series { server, frames }];
        assert!(lag_compensation_cost(&alone, Fleet::Alike).is_none());
    }
}

struct Agent(Child);

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_commands_answer_from_a_running_agent_and_say_what_is_missing() {
    if !root_or_skip() {
        return;
    }
    let gsmon = gsmon().unwrap();
    let server = DemoProcess::server(&gsmon, &[], &server(0, LagArgs::default())).unwrap();
    let port = server.ready.port;
    let _bots = DemoProcess::bots(&gsmon, &[], &bots(port, 4)).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("api.sock").display().to_string();
    let config = directory.path().join("gsmon.toml");
    std::fs::write(
        &config,
        format!(
            "[agent]\ninterval = \"200ms\"\n[api]\nlisten = \"127.0.0.1:0\"\nsocket = \"{socket}\"\n\
             [[server]]\nname = \"arena\"\ngame = \"quake3\"\nport = {port}\n[server.query]\nprotocol = \"off\"\n"
        ),
    )
    .unwrap();
    let ask = |words: &[&str]| -> Output {
        Command::new(&gsmon)
            .args(words)
            .args(["--socket", &socket])
            .stdin(Stdio::null())
            .output()
            .unwrap()
    };
    let said = |output: &Output| String::from_utf8_lossy(&output.stderr).into_owned();
    let nobody = ask(&["why", "arena"]);
    assert!(
        nobody.status.code() == Some(1) && said(&nobody).contains("gsmon run --config"),
        "{}",
        said(&nobody)
    );
    // There is one agent per host: one that another test runs is waited for.
    let end = Instant::now() + Duration::from_secs(120);
    let mut agent = None;
    let answered = loop {
        let running = agent
            .as_mut()
            .is_some_and(|agent: &mut Agent| matches!(agent.0.try_wait(), Ok(None)));
        if !running {
            let child = Command::new(&gsmon)
                .args(["run", "--config", &config.display().to_string()])
                .arg("--state-dir")
                .arg(directory.path())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            agent = Some(Agent(child));
        }
        let output = ask(&["why", "arena"]);
        if output.status.success() {
            break output;
        }
        assert!(Instant::now() < end, "{}", said(&output));
        thread::sleep(Duration::from_millis(300));
    };
    let ticket = String::from_utf8(answered.stdout).unwrap();
    assert!(
        ticket.contains("## arena: ") && ticket.contains("**Most likely: "),
        "{ticket}"
    );
    let picture = directory.path().join("arena.svg").display().to_string();
    let network = ask(&["analyze", "network", "arena", "--json", "--plot", &picture]);
    let document: serde_json::Value = serde_json::from_slice(&network.stdout).unwrap();
    assert_eq!(document[0]["server"], "arena");
    assert!(
        document[0]["lag_compensation"].is_null(),
        "nobody measures round trips here"
    );
    assert!(std::fs::read_to_string(&picture).unwrap().starts_with("<svg"));
    let unknown = ask(&["why", "lobby"]);
    assert!(
        unknown.status.code() == Some(1) && said(&unknown).contains("there are: arena"),
        "{}",
        said(&unknown)
    );
    let early = ask(&["why", "arena", "--at", "2001-01-01T00:00:00Z"]);
    assert!(
        early.status.code() == Some(1) && said(&early).contains("keeps one hour"),
        "{}",
        said(&early)
    );
    let windows = ["2001-01-01T00:00Z", "10:00..11:00"];
    for words in [
        ["analyze", "network", "arena", "--buckets", "100,50"].as_slice(),
        &[
            "analyze", "netcode", "arena", "--before", windows[1], "--after", windows[1],
        ],
        &[
            "analyze", "netcode", "arena", "--before", windows[0], "--after", windows[1],
        ],
    ] {
        let refused = ask(words);
        assert_eq!(refused.status.code(), Some(2), "{words:?}: {}", said(&refused));
    }
}
