//! Two OpenArena servers with bots, each in its own namespace: one tells its matches through games.log, one through its
//! console. Sessions, phases, joins and leaves are held against the servers' own answers and words.

use std::{
    collections::BTreeSet,
    fs,
    net::UdpSocket,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use gsmon_agent::{
    Game, GameServer, GameServerMonitor,
    config::{LogSettings, QuerySettings},
    games::{
        event::{KindEvidence, Phase, PlayerKind},
        query::OwnReason,
    },
    world::{
        session::{picture::CountBasis, transitions::LifeKind},
        snapshot::{ReadBy, ServerSnapshot, Snapshot},
    },
};
use gsmon_tests::{
    netns::Netns,
    program_or_skip, root_or_skip, serve_queries, server,
    third_party::{
        CpuWitness, Program, Recorder, assert_cpu_adds_up, eventually, inside, playing, says, sessions,
        wait_for,
    },
};
use nix::sys::signal::Signal;

const PORT: u16 = 27_960;
const INTERVAL: Duration = Duration::from_millis(500);
/// Between two questions of the agent.
const ASKED: Duration = Duration::from_secs(2);

/// Words in front of the arguments; every match lasts a minute (and until somebody leads, which is soon where one shot kills),
/// then 16 s of score screen.
fn words(front: &[&str]) -> Vec<String> {
    let arguments = "+set dedicated 1 +set net_ip 127.0.0.1 +set net_port 27960 +set sv_maxclients 16 +set sv_pure 0 \
        +set g_gametype 0 +set timelimit 1 +set fraglimit 0 +set g_instantgib 1 +set g_spSkill 5 +set bot_enable 1 \
        +set bot_minplayers 3 \
        +set g_log games.log +set g_logsync 1 +set rconpassword secret +set ttycon 0";
    let mut words: Vec<String> = front.iter().map(|word| (*word).to_owned()).collect();
    words.extend(arguments.split_ascii_whitespace().map(str::to_owned));
    for (name, value) in [
        ("m1", "map oa_dm1; set nextmap vstr m2"),
        ("m2", "map oa_dm2; set nextmap vstr m1"),
    ] {
        words.extend(["+set", name, value].map(str::to_owned));
    }
    words.extend(["+vstr", "m1"].map(str::to_owned));
    words
}

fn gathered(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}

/// Sends a packet from `from` and returns what is answered within half a second.
fn ask(netns: &Netns, from: &'static str, packet: String) -> String {
    inside(netns, move || {
        let socket = UdpSocket::bind((from, 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        let bytes = [b"\xff\xff\xff\xff", packet.as_bytes()].concat();
        socket.send_to(&bytes, ("127.0.0.1", PORT)).unwrap();
        let mut answer = String::new();
        let mut buffer = [0; 16_384];
        while let Ok(length) = socket.recv(&mut buffer) {
            answer += &String::from_utf8_lossy(&buffer[..length]);
        }
        answer
    })
    .unwrap()
}

fn rcon(netns: &Netns, command: &str) -> String {
    ask(netns, "127.0.0.3", format!("rcon secret {command}\n"))
}

/// Who is there, by the server's own status; from an address of its own, since answers to one address are rationed.
fn listed(netns: &Netns) -> Vec<String> {
    eventually("an answer to getstatus", Duration::from_secs(20), || {
        let answer = ask(netns, "127.0.0.2", "getstatus\n".to_owned());
        let mut lines = answer.lines();
        lines.next().filter(|first| first.contains("statusResponse"))?;
        let mut names: Vec<String> = lines
            .skip(1)
            .filter_map(|line| Some(line.split('"').nth(1)?.to_owned()))
            .collect();
        names.sort_unstable();
        Some(names)
    })
    .unwrap()
}

/// Waits for a moment when nobody comes or goes for longer than an answer to the agent can be old; then the agent and
/// the server must agree.
fn quiet(monitor: &GameServerMonitor, netns: &Netns, name: &str, expected: usize) -> Arc<Snapshot> {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let before = listed(netns);
        thread::sleep(ASKED + 3 * INTERVAL);
        let snapshot = monitor.snapshot().unwrap();
        let after = listed(netns);
        if before == after && before.len() == expected {
            let server = server(&snapshot, name).unwrap();
            assert_eq!(
                playing(server),
                before,
                "{name}: the roster is the server's own list"
            );
            let counts = server.game_state.player_counts;
            assert_eq!(
                (counts.humans, counts.unknown, counts.bots),
                (Some(0), Some(0), Some(expected as u64)),
                "{name}"
            );
            assert_eq!(
                (counts.by, counts.disagreement),
                (Some(CountBasis::Roster), Some(0))
            );
            return snapshot;
        }
        assert!(
            Instant::now() < end,
            "never quiet with {expected}: {before:?} {after:?}"
        );
    }
}

/// What the log says, read in the plainest way.
struct Told {
    joined_and_left: (u64, u64),
    peak: u64,
}

/// Who begins and is not in has come; who disconnects and is in has left.
fn told(log: &Path) -> Told {
    let text = String::from_utf8_lossy(&fs::read(log).unwrap()).into_owned();
    let mut inside = BTreeSet::new();
    let (mut joins, mut leaves, mut peak) = (0, 0, 0);
    for line in text.lines() {
        if let Some((_, slot)) = line.split_once(" ClientBegin: ") {
            joins += u64::from(inside.insert(slot.to_owned()));
        } else if let Some((_, slot)) = line.split_once(" ClientDisconnect: ") {
            leaves += u64::from(inside.remove(slot));
        }
        peak = peak.max(inside.len() as u64);
    }
    Told {
        joined_and_left: (joins, leaves),
        peak,
    }
}

fn joined_and_left(server: &ServerSnapshot) -> (u64, u64) {
    let counters = server.game_state.counters;
    (counters.joins, counters.leaves)
}

/// The phases of a server, each once per stay.
fn phases(history: &[Arc<Snapshot>], name: &str) -> Vec<Phase> {
    let mut phases: Vec<Phase> = history
        .iter()
        .filter_map(|snapshot| server(snapshot, name).unwrap().game_state.phase)
        .collect();
    phases.dedup();
    phases
}

fn settings(log: LogSettings, netns: &Netns, name: &str) -> GameServer {
    let mut server = GameServer::new(name, Game::Quake3)
        .port(PORT)
        .executable("ioq3ded")
        .netns(netns.path());
    server.log = Some(log);
    server.query = Some(QuerySettings {
        interval: ASKED,
        timeout: Duration::from_secs(1),
        ..QuerySettings::default()
    });
    server
}

fn assert_bots_are_bots(server: &ServerSnapshot, by: KindEvidence) {
    for player in server.game_state.players.iter() {
        assert_eq!(
            (player.kind, player.kind_by),
            (Some(PlayerKind::Bot), Some(by)),
            "{player:?}"
        );
        assert_eq!(player.flow, None, "a bot has no connection");
    }
}

#[test]
fn openarena_matches_bots_and_map_changes_are_seen_exactly() {
    if !root_or_skip() || !program_or_skip("openarena-server", "openarena-server") {
        return;
    }
    let [log_ns, console_ns] = ["oa-log", "oa-con"].map(|label| Netns::new(label).unwrap());
    let homes = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let games_log: [PathBuf; 2] = [0, 1].map(|index| homes[index].path().join(".openarena/baseoa/games.log"));
    let fifo = homes[1].path().join("console");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let state = tempfile::tempdir().unwrap();
    let file = LogSettings {
        file: Some(games_log[0].clone()),
        ..LogSettings::default()
    };
    let pipe = LogSettings {
        fifo: Some(fifo.clone()),
        ..LogSettings::default()
    };
    serve_queries().unwrap();
    let monitor = GameServerMonitor::builder()
        .interval(INTERVAL)
        .state_directory(state.path())
        .add_game_server(settings(file, &log_ns, "log"))
        .add_game_server(settings(pipe, &console_ns, "console"))
        .start()
        .unwrap();
    let recorder = Recorder::new(&monitor);

    let by_log = words(&["/usr/games/openarena-server"]);
    let by_log = Program::start(
        &log_ns,
        homes[0].path(),
        &gathered(&by_log),
        &homes[0].path().join("out"),
    )
    .unwrap();
    let witness = CpuWitness::of(by_log.pid()).unwrap();
    // The shell opens the pipe once the agent reads it.
    let script = format!("exec /usr/games/openarena-server \"$@\" >{} 2>&1", fifo.display());
    let by_console = words(&["sh", "-c", &script, "sh"]);
    let by_console = Program::start_with(
        &console_ns,
        homes[1].path(),
        &gathered(&by_console),
        Stdio::null(),
        Stdio::null(),
    )
    .unwrap();

    // First match: three bots come one after the other, one more is added and one of the four is sent away again.
    let minute = Duration::from_secs(60);
    let snapshot = quiet(&monitor, &log_ns, "log", 3);
    let log = server(&snapshot, "log").unwrap();
    assert_eq!(joined_and_left(log), (3, 0));
    assert_bots_are_bots(log, KindEvidence::Settings);
    // gamedig lists no players of Quake III.
    let query = log.query.as_ref().unwrap();
    assert_eq!(
        (query.read_by, query.read_by_reason),
        (Some(ReadBy::Gsmon), Some(OwnReason::Players))
    );
    let [session] = &log.game_state.sessions[..] else {
        panic!("{:?}", log.game_state.sessions)
    };
    assert_eq!(
        (
            session.map.as_deref(),
            session.phase,
            session.joins,
            session.players
        ),
        (Some("oa_dm1"), Phase::Active, 3, 3)
    );
    assert!(log.game_state.ended_sessions.is_empty(), "loading is no match");
    rcon(&log_ns, "addbot sarge 3");
    // What is printed while a remote command runs goes to its sender: the console does not tell of this bot.
    quiet(&monitor, &console_ns, "console", 3);
    rcon(&console_ns, "addbot grunt 3");
    wait_for(
        &monitor,
        "one more in and one out",
        Duration::from_secs(30),
        |snapshot| {
            let log = joined_and_left(server(snapshot, "log").unwrap());
            let console = joined_and_left(server(snapshot, "console").unwrap());
            log == (4, 1) && console.0 == 4
        },
    )
    .unwrap();
    let snapshot = quiet(&monitor, &log_ns, "log", 3);
    let log = server(&snapshot, "log").unwrap();
    assert_eq!(
        (joined_and_left(log), told(&games_log[0]).joined_and_left),
        ((4, 1), (4, 1))
    );
    assert_eq!(log.game_state.departed_players.len(), 1);

    // Time is up: score screen, map change, second match with the same bots.
    let snapshot = wait_for(&monitor, "the second match", 2 * minute, |snapshot| {
        ["log", "console"].iter().all(|name| {
            let state = &server(snapshot, name).unwrap().game_state;
            state
                .sessions
                .iter()
                .any(|session| session.map.as_deref() == Some("oa_dm2") && session.phase == Phase::Active)
        })
    })
    .unwrap();
    for name in ["log", "console"] {
        let [first] = &server(&snapshot, name).unwrap().game_state.ended_sessions[..] else {
            panic!("one match of {name} has ended")
        };
        let played = first.phase_ms[&Phase::Active];
        let shown = first.phase_ms[&Phase::Ended];
        assert_eq!(first.map.as_deref(), Some("oa_dm1"));
        assert!((15_000..=62_000).contains(&played), "{name} played {played} ms");
        assert!(
            (13_000..=18_000).contains(&shown),
            "{name} showed scores for {shown} ms"
        );
        assert_eq!((first.joins, first.leaves), (4, 1), "{name}");
        // The server counts bots that are still coming: it may send one away before the fourth has begun.
        if name == "log" {
            assert_eq!(u64::from(first.players_peak), told(&games_log[0]).peak);
        } else {
            assert!((3..=4).contains(&first.players_peak), "{}", first.players_peak);
        }
        let steps: Vec<_> = server(&snapshot, name)
            .unwrap()
            .game_state
            .transitions
            .iter()
            .map(|step| (step.from, step.to))
            .collect();
        assert!(
            steps.ends_with(&[(Phase::Active, Phase::Ended), (Phase::Ended, Phase::Active)]),
            "{name}: {steps:?}"
        );
        let second = &server(&snapshot, name).unwrap().game_state.sessions[0];
        assert!(
            second.phase_ms.contains_key(&Phase::Loading),
            "{name}: {second:?}"
        );
    }
    let snapshot = quiet(&monitor, &log_ns, "log", 3);
    let log = server(&snapshot, "log").unwrap();
    assert_eq!(
        joined_and_left(log),
        (4, 1),
        "who stays over a map change joins once"
    );
    assert!(log.game_state.counters.repeated_joins >= 3);
    assert_bots_are_bots(log, KindEvidence::Settings);
    quiet(&monitor, &console_ns, "console", 3);

    // A remote command ends the second match early and sends one bot away; another takes its place.
    let sent_away = listed(&log_ns).remove(0);
    rcon(&log_ns, &format!("kick {sent_away}"));
    rcon(&log_ns, "vstr nextmap");
    wait_for(&monitor, "the third match", Duration::from_secs(40), |snapshot| {
        let log = server(snapshot, "log").unwrap();
        joined_and_left(log) == (5, 2)
            && log
                .game_state
                .sessions
                .iter()
                .any(|session| session.map.as_deref() == Some("oa_dm1") && session.phase == Phase::Active)
    })
    .unwrap();
    let snapshot = quiet(&monitor, &log_ns, "log", 3);
    let log = server(&snapshot, "log").unwrap();
    assert_eq!(
        (joined_and_left(log), told(&games_log[0]).joined_and_left),
        ((5, 2), (5, 2))
    );

    // Every match is a session, and what they used is what the server used.
    let all = sessions(log);
    let maps: Vec<_> = all.iter().map(|session| session.map.as_deref()).collect();
    assert_eq!(maps, [Some("oa_dm1"), Some("oa_dm2"), Some("oa_dm1")]);
    assert_cpu_adds_up(&recorder.until(snapshot.sequence), "log", &witness, INTERVAL);
    let counters = log.game_state.counters;
    assert_eq!(
        (
            counters.sessions,
            counters.crashes,
            counters.illegal_steps,
            counters.unknown_leaves
        ),
        (3, 0, 0, 0)
    );
    for name in ["log", "console"] {
        let [start] = &server(&snapshot, name).unwrap().game_state.starts_and_stops[..] else {
            panic!("{name} has started once")
        };
        assert_eq!(start.kind, LifeKind::WarmUp);
        assert!((100..30_000).contains(&start.took_ms), "{start:?}");
        let cpu_ns = start.used.cpu_ns.unwrap();
        assert!(
            cpu_ns > 50_000_000 && start.peak_rss_bytes.unwrap() > 10 << 20,
            "{start:?}"
        );
    }

    // One is asked to stop, one is killed.
    by_log.end(Signal::SIGTERM, Duration::from_secs(10)).unwrap();
    by_console.end(Signal::SIGKILL, Duration::from_secs(10)).unwrap();
    let snapshot = wait_for(&monitor, "the end", Duration::from_secs(10), |snapshot| {
        ["log", "console"]
            .iter()
            .all(|name| server(snapshot, name).unwrap().game_state.sessions.is_empty())
    })
    .unwrap();
    let last = |name| sessions(server(&snapshot, name).unwrap()).pop().unwrap();
    assert_eq!(last("log").phase, Phase::Ended);
    assert_eq!(last("console").phase, Phase::Crashed);
    assert_eq!(
        server(&snapshot, "console").unwrap().game_state.counters.crashes,
        1
    );
    assert!(playing(server(&snapshot, "console").unwrap()).is_empty());
    says(&games_log[0], "ShutdownGame:", Duration::from_secs(1)).unwrap();

    // A map is loaded faster than a snapshot follows another; a server without anybody is idle before its first bot.
    let history = recorder.until(u64::MAX);
    use Phase::{Active, Ended, Idle, Loading};
    for (name, begun) in [("log", [Idle, Active]), ("console", [Loading, Active])] {
        let seen: Vec<Phase> = phases(&history, name)
            .into_iter()
            .skip_while(|phase| *phase != begun[0])
            .collect();
        assert!(seen.starts_with(&begun), "{name}: {seen:?}");
        let mut rest: Vec<Phase> = seen[1..]
            .iter()
            .copied()
            .filter(|phase| *phase != Loading)
            .collect();
        rest.dedup();
        assert!(rest.starts_with(&[Active, Ended, Active]), "{name}: {seen:?}");
    }
}
