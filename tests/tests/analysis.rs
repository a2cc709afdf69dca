//! The analysis against real processes whose costs were planted, and its commands against a real agent.

use std::{
    net::Ipv4Addr,
    path::Path,
    process::{Child, Command, Output, Stdio},
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use gsmon_agent::{
    GameServer, GameServerMonitor,
    analysis::{
        lag::{Fleet, LagBasis, lag_compensation_cost},
        scaling::{ScalingMetric, Scope, analyze_player_scaling},
        series::Series,
    },
    config::{Game, NetcodeSetting},
    demo::{
        DemoProcess,
        bots::{BotsArgs, Homes},
        diary::DiaryArgs,
        game_loop::LoopKind,
        lag::{LagArgs, LagTruth},
        protocol::Header,
        proxy::{Impairment, Proxy},
        server::ServerArgs,
    },
    history::{Frame, Measure},
};
use gsmon_common::netcode::layouts::Format;
use gsmon_tests::{gsmon, root_or_skip, wait_for};

/// CPU per player, tick and 100 ms of round trip, microseconds.
const PLANTED_US: u64 = 250;

/// Fleets take turns: two at once are more than two CPUs can serve in time, and a tick that is left out costs nothing.
static FLEETS: Mutex<()> = Mutex::new(());

/// Players and the round trip of their line, milliseconds.
type Group = (u32, u64);

/// The groups of each server: neither players nor round trips follow from the other.
const FLEET: [&[Group]; 6] = [
    &[(4, 40)],
    &[(4, 260)],
    &[(9, 20)],
    &[(9, 180)],
    &[(3, 50), (3, 250)],
    &[(12, 100)],
];

fn server(header: Header, lag: LagArgs) -> ServerArgs {
    ServerArgs {
        kind: LoopKind::Sleeping,
        header,
        address: Ipv4Addr::LOCALHOST.into(),
        port: 0,
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

fn bots(header: Header, port: u16, count: u32) -> BotsArgs {
    BotsArgs {
        header,
        address: Ipv4Addr::LOCALHOST.into(),
        port,
        count,
        input_hz: 30.0,
        stay_seconds: 0,
        homes: Homes::Shared,
        seed: u64::from(port),
        lifetime_seconds: 300,
    }
}

fn players(groups: &[Group]) -> u32 {
    groups.iter().map(|(players, _)| players).sum()
}

/// Sum over players of their round trips, milliseconds.
fn lag_ms(groups: &[Group]) -> f64 {
    let sums = groups
        .iter()
        .map(|(players, rtt)| f64::from(*players) * *rtt as f64);
    sums.sum()
}

/// A server whose players are as far away as it thinks.
struct Far {
    server: DemoProcess,
    _bots: Vec<DemoProcess>,
    _lines: Vec<Proxy>,
}

impl Far {
    fn start(gsmon: &Path, groups: &[Group]) -> Self {
        let lag = LagArgs {
            lag_us_per_100ms: PLANTED_US,
            player_rtt_ms: groups
                .iter()
                .flat_map(|(players, rtt)| std::iter::repeat_n(*rtt, *players as usize))
                .collect(),
        };
        let mut server = DemoProcess::server(gsmon, &[], &server(Header::Source, lag)).unwrap();
        let address = (Ipv4Addr::LOCALHOST, server.ready.port).into();
        let (mut all_bots, mut lines, mut joined) = (Vec::new(), Vec::new(), 0);
        for (players, rtt) in groups {
            let one_way = Impairment {
                delay: Duration::from_millis(*rtt) / 2,
                ..Impairment::default()
            };
            let line = Proxy::start(address, one_way, one_way, u64::from(joined) + 1).unwrap();
            let bots = bots(Header::Source, line.address().port(), *players);
            all_bots.push(DemoProcess::bots(gsmon, &[], &bots).unwrap());
            lines.push(line);
            // The server knows its players' round trips by the order in which they come.
            joined += players;
            let end = Instant::now() + Duration::from_secs(60);
            while server.ask_server("truth").unwrap().players < joined {
                assert!(Instant::now() < end, "{joined} players have not come");
                thread::sleep(Duration::from_millis(50));
            }
        }
        Self {
            server,
            _bots: all_bots,
            _lines: lines,
        }
    }
}

#[test]
fn regression_recovers_the_planted_cost_of_lag_compensation_within_a_tenth() {
    if !root_or_skip() {
        return;
    }
    let _alone = FLEETS.lock().unwrap_or_else(PoisonError::into_inner);
    let gsmon = gsmon().unwrap();
    let mut builder = GameServerMonitor::builder().interval(Duration::from_millis(500));
    let mut fleet = Vec::new();
    for (number, groups) in FLEET.into_iter().enumerate() {
        let far = Far::start(&gsmon, groups);
        let entry = GameServer::new(format!("fleet-{number}"), Game::Demo)
            .port(far.server.ready.port)
            .netcode(NetcodeSetting::Format(Format::Source));
        builder = builder.add_game_server(entry);
        fleet.push(far);
    }
    let monitor = builder.start().unwrap();
    wait_for(&monitor, Duration::from_secs(60), |snapshot| {
        snapshot.servers.iter().zip(FLEET).all(|(server, groups)| {
            let all = u64::from(players(groups));
            server.game_state.player_counts.humans == Some(all)
                && server.tick.is_some()
                && server
                    .network
                    .as_ref()
                    .is_some_and(|network| network.measured == all)
        })
    })
    .unwrap();
    let lag = |far: &mut Far| far.server.ask_server("truth").unwrap().lag;
    let before: Vec<LagTruth> = fleet.iter_mut().map(lag).collect();
    let begin = monitor.snapshot().unwrap();
    wait_for(&monitor, Duration::from_secs(90), |snapshot| {
        snapshot.sequence >= begin.sequence + 60
    })
    .unwrap();
    // What the servers really paid, per call and 100 ms: each call takes one player's round trip back.
    let (mut paid_us, mut taken_back) = (0.0, 0.0);
    for ((far, before), groups) in fleet.iter_mut().zip(&before).zip(FLEET) {
        let now = lag(far);
        let ticks = (now.calls - before.calls) as f64 / f64::from(players(groups));
        paid_us += (now.cpu_ns - before.cpu_ns) as f64 / 1e3;
        taken_back += ticks * lag_ms(groups) / 100.0;
    }
    let truth_us = paid_us / taken_back;
    let from = (begin.unix_time_seconds * 1e3) as i64;
    let frames: Vec<(String, Vec<Frame>)> = FLEET
        .into_iter()
        .enumerate()
        .map(|(number, groups)| {
            let name = format!("fleet-{number}");
            let frames = monitor.history().frames(&name, from, i64::MAX).unwrap().frames();
            // All of it is measured: CPU, ticks, players, round trips.
            let round_trips: Vec<f64> = frames
                .iter()
                .filter_map(|frame| frame.get(Measure::RttMeanMs))
                .collect();
            assert!(round_trips.len() >= 20, "{name}: {} frames", round_trips.len());
            let told_ms = round_trips.iter().sum::<f64>() / round_trips.len() as f64;
            let planted_ms = lag_ms(groups) / f64::from(players(groups));
            println!("{name}: {told_ms:.1} ms told, {planted_ms:.1} ms planted");
            // A bot answers with its next input, up to 33 ms later.
            assert!((-2.0..60.0).contains(&(told_ms - planted_ms)), "{name}");
            (name, frames)
        })
        .collect();
    let series: Vec<Series<'_>> = frames
        .iter()
        .map(|(server, frames)| Series { server, frames })
        .collect();
    let cost = lag_compensation_cost(&series, Fleet::Alike).unwrap();
    assert_eq!((cost.basis, cost.servers), (LagBasis::Regression, FLEET.len()));
    let told = cost.us_per_player_100_ms_tick.unwrap();
    println!("{told:?}, {truth_us:.1} us by the servers' own books, {PLANTED_US} us planted");
    assert!((truth_us / PLANTED_US as f64 - 1.0).abs() < 0.05, "{truth_us} us");
    let ratio = told.value / truth_us;
    assert!((0.9..=1.1).contains(&ratio), "{told:?} instead of {truth_us} us");
    // Within each server players do not change: without the fleet there is nothing to be told.
    for (server, frames) in &frames {
        let alone = [Series { server, frames }];
        assert!(lag_compensation_cost(&alone, Fleet::Alike).is_none());
    }
}

/// CPU per player and tick, microseconds, where it is to be recovered.
const WORK_US: u64 = 500;

#[test]
fn the_live_pipeline_recovers_the_planted_cost_of_a_player_within_a_tenth() {
    if !root_or_skip() {
        return;
    }
    let _alone = FLEETS.lock().unwrap_or_else(PoisonError::into_inner);
    let gsmon = gsmon().unwrap();
    let mut builder = GameServerMonitor::builder().interval(Duration::from_millis(500));
    let mut processes = Vec::new();
    let fleet: [u32; 5] = [2, 5, 8, 11, 14];
    for (number, players) in fleet.into_iter().enumerate() {
        let args = ServerArgs {
            work_per_player_us: WORK_US,
            // What a player costs beside that: a few datagrams.
            ticks_per_snapshot: 4,
            ..server(Header::Quake3, LagArgs::default())
        };
        let server = DemoProcess::server(&gsmon, &[], &args).unwrap();
        let port = server.ready.port;
        let quiet = BotsArgs {
            input_hz: 10.0,
            ..bots(Header::Quake3, port, players)
        };
        let bots = DemoProcess::bots(&gsmon, &[], &quiet).unwrap();
        builder = builder.add_game_server(GameServer::new(format!("fleet-{number}"), Game::Demo).port(port));
        processes.push((server, bots));
    }
    let monitor = builder.start().unwrap();
    wait_for(&monitor, Duration::from_secs(60), |snapshot| {
        snapshot.servers.iter().zip(fleet).all(|(server, players)| {
            server.game_state.player_counts.humans == Some(u64::from(players)) && server.tick.is_some()
        })
    })
    .unwrap();
    let begin = monitor.snapshot().unwrap();
    wait_for(&monitor, Duration::from_secs(90), |snapshot| {
        snapshot.sequence >= begin.sequence + 50
    })
    .unwrap();
    let from = (begin.unix_time_seconds * 1e3) as i64;
    let frames: Vec<(String, Vec<Frame>)> = (0..fleet.len())
        .map(|number| {
            let name = format!("fleet-{number}");
            let frames = monitor.history().frames(&name, from, i64::MAX).unwrap().frames();
            (name, frames)
        })
        .collect();
    let series: Vec<Series<'_>> = frames
        .iter()
        .map(|(server, frames)| Series { server, frames })
        .collect();
    let metrics = [Measure::CpuCores, Measure::TickP50Ms].map(ScalingMetric::Stored);
    let report = analyze_player_scaling(&series, &Scope::All, &metrics).unwrap();
    assert_eq!(report.servers, fleet.len());
    // Cores per player at 20 ticks per second, and milliseconds of a tick.
    for (answer, planted) in report
        .metrics
        .iter()
        .zip([WORK_US as f64 * 20e-6, WORK_US as f64 / 1e3])
    {
        println!("{answer:?}");
        let told = answer.scaling.as_ref().unwrap().per_player;
        let ratio = told.value / planted;
        if answer.metric == metrics[0] {
            assert!((0.9..=1.1).contains(&ratio), "{told:?} instead of {planted}");
        } else {
            // Where CPUs are short, ticks are waited for as well: only that it is no less is sure.
            assert!(ratio > 0.9, "{told:?} instead of {planted}");
        }
    }
    // Within one server nothing moved: nothing is told of it.
    let alone = analyze_player_scaling(&series, &Scope::Server("fleet-2".into()), &metrics).unwrap();
    assert!(
        alone.metrics.iter().all(|answer| answer.scaling.is_none()),
        "{alone:?}"
    );
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
    let server = DemoProcess::server(&gsmon, &[], &server(Header::Quake3, LagArgs::default())).unwrap();
    let port = server.ready.port;
    let _bots = DemoProcess::bots(&gsmon, &[], &bots(Header::Quake3, port, 4)).unwrap();
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
    // The very first interval has no figure that is a difference.
    let refused = loop {
        let players = ask(&["analyze", "players", "arena", "--json"]);
        let document: serde_json::Value = serde_json::from_slice(&players.stdout).unwrap();
        assert_eq!(document["report"]["scope"]["server"], "arena");
        let refused = document["report"]["metrics"][0]["refused"].as_str().unwrap();
        if !refused.contains("was not measured") {
            break refused.to_owned();
        }
        assert!(Instant::now() < end, "{refused}");
        thread::sleep(Duration::from_millis(200));
    };
    assert!(
        refused.contains("rows") || refused.contains("nearly all the time"),
        "{refused}"
    );
    let memory = ask(&["analyze", "memory", "arena"]);
    assert!(
        String::from_utf8_lossy(&memory.stdout).contains("cannot be told"),
        "{}",
        said(&memory)
    );
    for (words, missing) in [
        (
            ["analyze", "actions", "arena"],
            "no actions of players are told here",
        ),
        (["mark", "lobby", "plugin X 2.1"], "there are: arena"),
        (["mark", "arena", " "], "1 to 256 bytes"),
    ] {
        let refused = ask(&words);
        assert!(
            refused.status.code() == Some(1) && said(&refused).contains(missing),
            "{words:?}: {}",
            said(&refused)
        );
    }
    assert!(ask(&["mark", "arena", "plugin X 2.1"]).status.success());
    let marks: serde_json::Value = serde_json::from_slice(&ask(&["mark", "arena", "--json"]).stdout).unwrap();
    assert_eq!(
        (&marks[0]["mark"]["text"], &marks[0]["mark"]["by"]),
        (&"plugin X 2.1".into(), &"person".into())
    );
    let unknown = ask(&["why", "lobby"]);
    assert!(
        unknown.status.code() == Some(1) && said(&unknown).contains("there are: arena"),
        "{}",
        said(&unknown)
    );
    let early = ask(&["why", "arena", "--at", "2001-01-01T00:00:00Z"]);
    assert!(
        early.status.code() == Some(1) && said(&early).contains("samples are kept for as long as"),
        "{}",
        said(&early)
    );
    let windows = ["2001-01-01T00:00Z", "10:00..11:00"];
    let wrong = ask(&["analyze", "players", "arena", "--metrics", "cpu_usge"]);
    assert!(
        said(&wrong).contains("did you mean `cpu_usage`"),
        "{}",
        said(&wrong)
    );
    for words in [
        ["analyze", "network", "arena", "--buckets", "100,50"].as_slice(),
        &["analyze", "players", "arena", "--metrics", "cpu_usge"],
        &["analyze", "players", "arena", "--range", "yesterday"],
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
