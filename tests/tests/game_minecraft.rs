//! A Minecraft Java server (flying-squid) with bots (mineflayer): its log through a grammar of the configuration, its
//! player count through the server list ping, its players' connections over TCP.

use std::{
    collections::HashMap,
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use gsmon_agent::{
    Game, GameServer, GameServerMonitor,
    config::{Config, GrammarRule, GrammarSettings, LogSettings, QuerySettings, RuleEvent},
    games::event::Phase,
    world::{
        session::{picture::CountBasis, traffic::FlowMatch, transitions::LifeKind},
        snapshot::{ServerSnapshot, Snapshot},
    },
};
use gsmon_tests::{
    netns::Netns,
    program_or_skip, root_or_skip, serve_queries,
    third_party::{
        CpuWitness, Program, Recorder, assert_cpu_adds_up, in_short, player, playing, says, sessions,
        wait_for,
    },
};
use nix::sys::signal::Signal;

const PORT: u16 = 25_565;
const INTERVAL: Duration = Duration::from_millis(500);
/// Between two pings of the agent.
const ASKED: Duration = Duration::from_secs(2);

/// Where the server and the bots are, installed once; `None` where npm is not.
fn installed() -> Option<PathBuf> {
    if !program_or_skip("node", "nodejs") || !program_or_skip("npm", "npm") {
        return None;
    }
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("minecraft");
    let to = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/minecraft");
    fs::create_dir_all(&to).unwrap();
    for file in ["package.json", "package-lock.json", "server.js", "bots.js"] {
        fs::copy(from.join(file), to.join(file)).unwrap();
    }
    // What was installed last.
    let lock = fs::read(from.join("package-lock.json")).unwrap();
    let installed = to.join("installed");
    if fs::read(&installed).ok().as_ref() != Some(&lock) {
        let words = "ci --omit=dev --no-audit --no-fund --ignore-scripts --loglevel=error";
        let output = Command::new("npm")
            .args(words.split(' '))
            .current_dir(&to)
            .output()
            .unwrap();
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(std::env::var_os("CI").is_none(), "npm ci: {said}");
            eprintln!("skipped: npm ci: {said}");
            return None;
        }
        fs::write(&installed, lock).unwrap();
    }
    Some(to.canonicalize().unwrap())
}

/// `November 23rd 2026, 15:55:14 [INFO]: anna (127.0.0.1) connected`, with colours, a prompt and cursor movements.
fn grammar(with_address: Address) -> GrammarSettings {
    let rule = |event, pattern: &str| GrammarRule {
        event,
        pattern: pattern.into(),
        separator: ", ".into(),
        kind: None,
    };
    let join = match with_address {
        Address::Told => r"(?<name>\w+) \((?<address>[^)]+)\) connected",
        Address::Ignored => r"(?<name>\w+) \([^)]+\) connected",
    };
    GrammarSettings {
        prefix: Some(r"(> )?[A-Z][a-z]+ \d+[a-z]+ \d+, [\d:]+ (\[INFO\]: )?".into()),
        rules: vec![
            rule(RuleEvent::ServerReady, "Server listening on port .*"),
            rule(RuleEvent::ServerStopping, r"Server shutting down\.\.\."),
            rule(RuleEvent::Join, join),
            rule(RuleEvent::Leave, r"(?<name>\w+) disconnected"),
        ],
    }
}

/// Does the grammar take the address that the log tells?
#[derive(Clone, Copy, PartialEq, Eq)]
enum Address {
    Told,
    Ignored,
}

/// The bots' process.
struct Bots {
    child: Child,
    orders: ChildStdin,
    said: mpsc::Receiver<String>,
    /// Endpoints of who has spawned.
    endpoints: HashMap<String, SocketAddr>,
}

impl Bots {
    fn start(netns: &Netns, installed: &Path) -> Self {
        let mut child = Command::new("ip")
            .args(["netns", "exec", &netns.name, "node", "bots.js", &PORT.to_string()])
            .current_dir(installed)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (to, said) = mpsc::channel();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| to.send(line)));
        Self {
            orders: child.stdin.take().unwrap(),
            child,
            said,
            endpoints: HashMap::new(),
        }
    }

    fn order(&mut self, order: &str) {
        writeln!(self.orders, "{order}").unwrap();
    }

    /// Waits for words of a bot, and returns what follows them.
    fn expect(&self, words: &str) -> String {
        let mut heard = Vec::new();
        while let Ok(line) = self.said.recv_timeout(Duration::from_secs(30)) {
            if let Some(rest) = line.strip_prefix(words) {
                return rest.trim().to_owned();
            }
            heard.push(line);
        }
        panic!("no bot said `{words}` but {heard:?}");
    }

    fn join(&mut self, name: &str, address: &str) {
        self.order(&format!("join {name} {address}"));
        let port = self.expect(&format!("spawned {name}"));
        let endpoint = format!("{address}:{port}").parse().unwrap();
        self.endpoints.insert(name.to_owned(), endpoint);
    }
}

impl Drop for Bots {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spec(netns: &Netns, log: &Path, with_address: Address) -> GameServer {
    let mut server = GameServer::new("minecraft", Game::Minecraft)
        .port(PORT)
        .netns(netns.path())
        .max_players(20);
    server.log = Some(LogSettings {
        file: Some(log.to_owned()),
        ..LogSettings::default()
    });
    server.grammar = Some(grammar(with_address));
    server.query = Some(QuerySettings {
        interval: ASKED,
        timeout: Duration::from_secs(1),
        ..QuerySettings::default()
    });
    server
}

/// Waits until these play, and until the server's own count, asked after that, is the same.
fn quiet(monitor: &GameServerMonitor, names: &[&str]) -> Arc<Snapshot> {
    wait_for(
        monitor,
        &format!("{names:?}"),
        Duration::from_secs(20),
        |snapshot| playing(&snapshot.servers[0]) == names,
    )
    .unwrap();
    thread::sleep(ASKED + 3 * INTERVAL);
    let snapshot = monitor.snapshot().unwrap();
    let server = &snapshot.servers[0];
    assert_eq!(playing(server), names);
    let counts = server.game_state.player_counts;
    assert_eq!(
        (counts.by, counts.disagreement),
        (Some(CountBasis::Roster), Some(0))
    );
    snapshot
}

/// Whoever has a flow has his own; returns who has and how it was found.
fn flows(server: &ServerSnapshot, bots: &Bots) -> HashMap<String, FlowMatch> {
    let mut found = HashMap::new();
    for player in server.game_state.players.iter() {
        let name = player.name.as_deref().unwrap();
        if let Some(flow) = &player.flow {
            assert_eq!(flow.remote, bots.endpoints[name], "{name}: {}", in_short(server));
            assert!(flow.rx.packets > 0 && flow.tx.packets > 0);
            found.insert(name.to_owned(), flow.by);
        }
    }
    found
}

fn joined_and_left(server: &ServerSnapshot) -> (u64, u64) {
    let counters = server.game_state.counters;
    assert_eq!((counters.unknown_leaves, counters.illegal_steps), (0, 0));
    (counters.joins, counters.leaves)
}

fn lives(server: &ServerSnapshot) -> Vec<LifeKind> {
    let records = server.game_state.starts_and_stops.iter();
    records.map(|record| record.kind).collect()
}

#[test]
fn minecraft_bots_come_are_kicked_and_outlive_a_restart_and_a_crash() {
    if !root_or_skip() {
        return;
    }
    let Some(installed) = installed() else { return };
    let netns = Netns::new("minecraft").unwrap();
    let home = tempfile::tempdir().unwrap();
    fs::create_dir(home.path().join("logs")).unwrap();
    let log = home.path().join("console.log");
    let state = tempfile::tempdir().unwrap();
    serve_queries().unwrap();
    let monitor = GameServerMonitor::builder()
        .interval(INTERVAL)
        .state_directory(state.path())
        .add_game_server(spec(&netns, &log, Address::Told))
        .start()
        .unwrap();
    let recorder = Recorder::new(&monitor);
    let script = installed.join("server.js");
    let words = ["node", script.to_str().unwrap(), &PORT.to_string()].map(str::to_owned);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let start = || Program::start(&netns, home.path(), &words, &log).unwrap();
    let program = start();
    let witness = CpuWitness::of(program.pid()).unwrap();
    says(&log, "Server listening", Duration::from_secs(30)).unwrap();
    let mut bots = Bots::start(&netns, &installed);

    // Two at addresses of their own, two more at the address from which the agent asks.
    bots.join("anna", "127.0.0.2");
    bots.join("ben", "127.0.0.3");
    let snapshot = quiet(&monitor, &["anna", "ben"]);
    let server = &snapshot.servers[0];
    assert_eq!(
        (joined_and_left(server), server.game_state.phase),
        ((2, 0), Some(Phase::Active))
    );
    let matched = flows(server, &bots);
    for name in ["anna", "ben"] {
        assert_eq!(
            matched.get(name),
            Some(&FlowMatch::Address),
            "{}",
            in_short(server)
        );
    }
    let [start_record] = &server.game_state.starts_and_stops[..] else {
        panic!("{:?}", server.game_state.starts_and_stops)
    };
    assert_eq!(start_record.kind, LifeKind::WarmUp);
    let ready_cpu = witness.at(start_record.began_unix_ms + start_record.took_ms);
    let told_cpu = start_record.used.cpu_ns.unwrap() as f64;
    eprintln!(
        "warm-up {} ms, {told_cpu} ns of {ready_cpu} ns",
        start_record.took_ms
    );
    assert!((300..20_000).contains(&start_record.took_ms), "{start_record:?}");
    assert!(start_record.peak_rss_bytes.unwrap() > 40 << 20);
    // Use is taken to be even between two looks.
    let error = (told_cpu - ready_cpu).abs();
    assert!(
        error <= 0.1 * ready_cpu + INTERVAL.as_nanos() as f64,
        "{start_record:?} {ready_cpu}"
    );
    bots.join("carl", "127.0.0.1");
    bots.join("dora", "127.0.0.1");
    // Chat is not an event.
    bots.order("say anna ben disconnected");
    bots.order("say anna eve (127.0.0.9) connected");
    says(&log, "<anna> eve (127.0.0.9) connected", Duration::from_secs(10)).unwrap();
    let snapshot = quiet(&monitor, &["anna", "ben", "carl", "dora"]);
    assert_eq!(joined_and_left(&snapshot.servers[0]), (4, 0));
    eprintln!("matched: {:?}", flows(&snapshot.servers[0], &bots));

    // One leaves, one is kicked, and the one who left comes back.
    bots.order("quit anna");
    bots.expect("ended anna");
    bots.order("say carl /kick ben out");
    bots.expect("ended ben");
    let snapshot = quiet(&monitor, &["carl", "dora"]);
    assert_eq!(joined_and_left(&snapshot.servers[0]), (4, 2));
    bots.join("anna", "127.0.0.2");
    let snapshot = quiet(&monitor, &["anna", "carl", "dora"]);
    let server = &snapshot.servers[0];
    assert_eq!(joined_and_left(server), (5, 2));
    let matched = flows(server, &bots);
    assert_eq!(
        matched.get("anna"),
        Some(&FlowMatch::Address),
        "{}",
        in_short(server)
    );
    assert!(player(server, "anna").unwrap().flow.as_ref().unwrap().rx.packets > 0);

    // Everybody leaves: the session was from the first to the last.
    for name in ["anna", "carl", "dora"] {
        bots.order(&format!("quit {name}"));
        bots.expect(&format!("ended {name}"));
    }
    let snapshot = quiet(&monitor, &[]);
    let server = &snapshot.servers[0];
    let all = sessions(server);
    let [session] = &all[..] else {
        panic!("{}", in_short(server))
    };
    assert_eq!((session.joins, session.leaves, session.players_peak), (5, 5, 4));
    assert_eq!(
        (session.phase, server.game_state.phase),
        (Phase::Ended, Some(Phase::Idle))
    );
    assert_cpu_adds_up(
        &recorder.until(snapshot.sequence),
        "minecraft",
        &witness,
        INTERVAL,
    );

    // A restart: cool-down, a second start, a second warm-up. From now on the log tells no addresses.
    program.end(Signal::SIGTERM, Duration::from_secs(10)).unwrap();
    wait_for(
        &monitor,
        "the end of the first server",
        Duration::from_secs(10),
        |snapshot| lives(&snapshot.servers[0]) == [LifeKind::WarmUp, LifeKind::CoolDown],
    )
    .unwrap();
    let mut config = Config {
        servers: vec![spec(&netns, &log, Address::Ignored)],
        ..Config::default()
    };
    config.agent.interval = INTERVAL;
    monitor.reload(config).unwrap();
    drop(witness);
    let program = start();
    let snapshot = wait_for(&monitor, "a second start", Duration::from_secs(30), |snapshot| {
        lives(&snapshot.servers[0]) == [LifeKind::WarmUp, LifeKind::CoolDown, LifeKind::WarmUp]
    })
    .unwrap();
    assert_eq!(snapshot.servers[0].starts, 2);
    bots.join("emil", "127.0.0.1");
    let snapshot = quiet(&monitor, &["emil"]);
    let matched = flows(&snapshot.servers[0], &bots);
    assert_eq!(
        matched.get("emil"),
        Some(&FlowMatch::Time),
        "{}",
        in_short(&snapshot.servers[0])
    );

    // A crash with a player on.
    program.end(Signal::SIGKILL, Duration::from_secs(10)).unwrap();
    bots.expect("ended emil");
    let snapshot = wait_for(&monitor, "the crash", Duration::from_secs(10), |snapshot| {
        snapshot.servers[0].game_state.counters.crashes == 1
    })
    .unwrap();
    let server = &snapshot.servers[0];
    let last = sessions(server).pop().unwrap();
    assert_eq!((last.phase, last.joins, last.leaves), (Phase::Crashed, 1, 1));
    assert!(playing(server).is_empty());
}
