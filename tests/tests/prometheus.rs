//! Debian's Prometheus scrapes several agents, and the analysis asks it: samples, minutes, names, gaps, the command line.

use std::{
    fs::File,
    io::{Read, Write},
    net::TcpListener,
    os::unix::net::UnixStream,
    path::Path,
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use gsmon_agent::{
    demo::{
        DemoProcess,
        bots::{BotsArgs, Homes},
        diary::DiaryArgs,
        game_loop::LoopKind,
        lag::LagArgs,
        protocol::Header,
        server::ServerArgs,
    },
    history::{
        Frame, HistorySource, Measure, Resolution, TimeRange,
        prometheus::{Credentials, PrometheusSource},
        rollup::Span,
    },
};
use gsmon_tests::{gsmon, program_or_skip, root_or_skip};

/// Players of the servers `arena` of three hosts.
const PLAYERS: [u32; 3] = [2, 4, 6];

struct Killed(Child);

impl Killed {
    fn stop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        self.stop();
    }
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(120);
    while !done() {
        assert!(Instant::now() < end, "{what} within 120 s");
        thread::sleep(Duration::from_millis(300));
    }
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

fn answers(port: u16) -> bool {
    std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
}

fn server() -> ServerArgs {
    ServerArgs {
        kind: LoopKind::Sleeping,
        header: Header::Quake3,
        address: std::net::Ipv4Addr::LOCALHOST.into(),
        port: 0,
        tick_hz: 20.0,
        base_work_us: 500,
        work_per_player_us: 80,
        ticks_per_snapshot: 1,
        max_players: 64,
        lifetime_seconds: 400,
        diary: DiaryArgs::default(),
        lag: LagArgs::default(),
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
        lifetime_seconds: 400,
    }
}

/// An agent that believes to be alone on its host: it has a /run of its own, where its lock lies.
fn agent(directory: &Path, number: usize, listen: u16, games: &[(&str, u16)]) -> Killed {
    let place = directory.join(format!("agent-{number}"));
    std::fs::create_dir_all(&place).unwrap();
    let mut config = format!(
        "[api]\nlisten = \"127.0.0.1:{listen}\"\nsocket = \"{}\"\n[history]\nwrite = \"off\"\n",
        place.join("api.sock").display()
    );
    for (name, port) in games {
        config += &format!(
            "[[server]]\nname = \"{name}\"\ngame = \"quake3\"\nport = {port}\n[server.query]\nprotocol = \"off\"\n"
        );
    }
    let file = place.join("gsmon.toml");
    std::fs::write(&file, config).unwrap();
    let child = Command::new("unshare")
        .args([
            "--mount",
            "sh",
            "-c",
            "mount -t tmpfs tmpfs /run && exec \"$@\"",
            "sh",
        ])
        .arg(gsmon().unwrap().canonicalize().unwrap())
        .args(["run", "--config"])
        .arg(&file)
        .arg("--state-dir")
        .arg(&place)
        .stderr(File::create(place.join("log")).unwrap())
        .spawn()
        .unwrap();
    Killed(child)
}

fn prometheus(directory: &Path, port: u16, agents: &[u16]) -> Killed {
    let targets: Vec<String> = agents.iter().map(|port| format!("'127.0.0.1:{port}'")).collect();
    let config = directory.join("prometheus.yml");
    std::fs::write(
        &config,
        format!(
            "global:\n  scrape_interval: 1s\n  scrape_timeout: 1s\nscrape_configs:\n\
             - job_name: gsmon\n  static_configs:\n  - targets: [{}]\n",
            targets.join(", ")
        ),
    )
    .unwrap();
    let child = Command::new("prometheus")
        .arg(format!("--config.file={}", config.display()))
        .arg(format!(
            "--storage.tsdb.path={}",
            directory.join("tsdb").display()
        ))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .stderr(File::create(directory.join("prometheus.log")).unwrap())
        .spawn()
        .unwrap();
    Killed(child)
}

fn ask(url: &str, words: &[&str]) -> Output {
    Command::new(gsmon().unwrap())
        .args(words)
        .args(["--source", url])
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// Pushes a queue to an agent; its answer.
fn push(socket: &Path, body: &str) -> String {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    write!(
        stream,
        "POST /api/v1/queue HTTP/1.1\r\nHost: gsmon\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn lately() -> TimeRange {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    TimeRange::last(Duration::from_secs(1_800), now.as_millis() as i64)
}

fn mean(frames: &[Frame], measure: Measure) -> Option<f64> {
    let told: Vec<f64> = frames.iter().filter_map(|frame| frame.get(measure)).collect();
    (!told.is_empty()).then(|| told.iter().sum::<f64>() / told.len() as f64)
}

#[test]
fn a_prometheus_that_scrapes_several_agents_is_a_history_of_all_of_them() {
    if !root_or_skip() || !program_or_skip("prometheus", "prometheus") {
        return;
    }
    let binary = gsmon().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let mut games = Vec::new();
    for players in PLAYERS {
        let server = DemoProcess::server(&binary, &[], &server()).unwrap();
        let bots = DemoProcess::bots(&binary, &[], &bots(server.ready.port, players)).unwrap();
        games.push((server, bots));
    }
    // A second server beside the first, whose name no other host has.
    let lobby = DemoProcess::server(&binary, &[], &server()).unwrap();
    let listens: Vec<u16> = PLAYERS.iter().map(|_| free_port()).collect();
    let mut agents: Vec<Killed> = listens
        .iter()
        .enumerate()
        .map(|(number, listen)| {
            let mut servers = vec![("arena", games[number].0.ready.port)];
            if number == 0 {
                servers.push(("lobby", lobby.ready.port));
            }
            agent(directory.path(), number, *listen, &servers)
        })
        .collect();
    let port = free_port();
    let mut scraper = prometheus(directory.path(), port, &listens);
    until("all answer", || {
        answers(port) && listens.iter().all(|listen| answers(*listen))
    });
    let url = format!("http://127.0.0.1:{port}");
    let open = || PrometheusSource::new(&url, &Credentials::None).unwrap();
    let name = |number: usize| format!("127.0.0.1:{}/arena", listens[number]);
    let raw = |name: &str| open().frames(name, lately(), Resolution::Raw).unwrap_or_default();
    until("ten frames with players of each", || {
        (0..PLAYERS.len()).all(|number| {
            let wanted = Some(f64::from(PLAYERS[number]));
            let frames = raw(&name(number));
            frames
                .iter()
                .filter(|frame| frame.get(Measure::Players) == wanted)
                .count()
                >= 10
        })
    });
    let source = open();
    let mut all: Vec<String> = (0..PLAYERS.len()).map(name).collect();
    all.push(format!("127.0.0.1:{}/lobby", listens[0]));
    all.sort_unstable();
    assert_eq!(source.servers().unwrap(), all);
    let ambiguous = source.frames("arena", lately(), Resolution::Raw).unwrap_err();
    assert!(ambiguous.to_string().contains(&name(1)), "{ambiguous}");
    assert!(
        !source
            .frames("lobby", lately(), Resolution::Raw)
            .unwrap()
            .is_empty()
    );

    for (number, players) in PLAYERS.into_iter().enumerate() {
        let frames = raw(&name(number));
        assert!(frames.windows(2).all(|pair| pair[0].unix_ms < pair[1].unix_ms));
        assert!(frames[0].begins_anew && frames[0].get(Measure::CpuCores).is_none());
        let full: Vec<Frame> = frames
            .into_iter()
            .filter(|frame| frame.get(Measure::Players) == Some(f64::from(players)))
            .collect();
        // 20 times a second 0.5 ms and 0.08 ms for each player, and what sockets and wake-ups cost.
        let cores = mean(&full, Measure::CpuCores).unwrap();
        assert!(cores > 0.008 && cores < 1.0, "{cores} cores");
        // 30 packets of each player come in a second.
        let packets = mean(&full, Measure::RxPacketsPerSecond).unwrap() / f64::from(players);
        assert!(
            (15.0..45.0).contains(&packets),
            "{packets} packets per player and second"
        );
        assert!(mean(&full, Measure::RssBytes).unwrap() > 1e6);
        // Nobody measures these here, or nobody exports them.
        for absent in [
            Measure::RttP50Ms,
            Measure::StealRatio,
            Measure::LagCompensationCores,
        ] {
            assert_eq!(mean(&full, absent), None, "{absent:?}");
        }
        // Only the first host has a neighbour.
        assert_eq!(mean(&full, Measure::OtherServersCpuCores).is_some(), number == 0);
    }
    let rows = source.rollups(&name(1), lately(), Span::Minute).unwrap();
    let cores: u32 = rows
        .iter()
        .filter_map(|row| row.figures.get(&Measure::CpuCores))
        .map(|figure| figure.count)
        .sum();
    assert!(cores >= 9, "{rows:?}");
    until("a minute that is over", || {
        let minutes = open().frames(&name(2), lately(), Resolution::Rolled(Span::Minute));
        let told = minutes.unwrap();
        told.iter().any(|frame| frame.get(Measure::CpuCores).is_some())
    });
    let minutes = open()
        .frames(&name(2), lately(), Resolution::Rolled(Span::Minute))
        .unwrap();
    for minute in &minutes {
        assert!(minute.unix_ms % 60_000 == 0 && minute.seconds <= 60.0 && minute.seconds > 0.0);
        // The same time from samples, as far as both know it.
        let samples: Vec<Frame> = raw(&name(2))
            .into_iter()
            .filter(|frame| Span::Minute.begin_of(frame.unix_ms) + 60_000 == minute.unix_ms)
            .collect();
        if let (Some(told), Some(exact)) = (minute.get(Measure::Players), mean(&samples, Measure::Players)) {
            assert!((told - exact).abs() < 0.5, "{told} and {exact} players");
        }
    }

    // Through the command line.
    let csv = ask(
        &url,
        &["history", "export", "--resolution", "raw", "--range", "30m"],
    );
    let table = text(&csv.stdout);
    assert!(csv.status.success(), "{}", text(&csv.stderr));
    assert!(
        all.iter().all(|name| table.contains(&format!("\n{name},"))),
        "{table}"
    );
    let network = ask(&url, &["analyze", "network", "--json"]);
    let told: serde_json::Value = serde_json::from_slice(&network.stdout).unwrap();
    assert_eq!(
        told.as_array().map(Vec::len),
        Some(4),
        "{}",
        text(&network.stderr)
    );
    let why = ask(&url, &["why", &name(2)]);
    assert!(
        text(&why.stdout).contains("**Most likely: "),
        "{}",
        text(&why.stderr)
    );
    let windows = [
        "2001-01-01T00:00Z..2001-01-01T01:00Z",
        "2001-01-02T00:00Z..2001-01-02T01:00Z",
    ];
    let netcode = ask(
        &url,
        &[
            "analyze",
            "netcode",
            &name(0),
            "--before",
            windows[0],
            "--after",
            windows[1],
        ],
    );
    assert!(netcode.status.success(), "{}", text(&netcode.stderr));
    let unknown = ask(&url, &["why", "nobody"]);
    assert!(
        unknown.status.code() == Some(1) && text(&unknown.stderr).contains("/lobby"),
        "{}",
        text(&unknown.stderr)
    );
    let wrong = ask("prometheus:9090", &["why", "arena"]);
    assert_eq!(wrong.status.code(), Some(2), "{}", text(&wrong.stderr));

    // A queue that is pushed to an agent, and one in a file with the servers of all hosts.
    let socket = directory.path().join("agent-0/api.sock");
    let queue = r#"{"queue":[{"mode":"duel","players":7},{"region":"eu","players":3}]}"#;
    assert!(push(&socket, queue).starts_with("HTTP/1.1 200"));
    assert!(push(&socket, r#"{"queue":[{"players":-1}]}"#).starts_with("HTTP/1.1 400"));
    let of_agent = Command::new(gsmon().unwrap())
        .args([
            "analyze",
            "queue",
            "--json",
            "--per-match",
            "duel=2",
            "--range",
            "30m",
            "--socket",
        ])
        .arg(&socket)
        .output()
        .unwrap();
    let told: serde_json::Value = serde_json::from_slice(&of_agent.stdout).unwrap();
    let entries = &told["forecast"]["entries"];
    assert_eq!(told["forecast"]["players"], 10, "{}", text(&of_agent.stderr));
    assert_eq!(
        (&entries[0]["matches"], &entries[1]["matches"]),
        (&4.into(), &serde_json::Value::Null)
    );
    assert!(!entries[1]["notes"].as_array().unwrap().is_empty());
    let file = directory.path().join("queue.json");
    std::fs::write(&file, queue).unwrap();
    let everywhere = ask(
        &url,
        &[
            "analyze",
            "queue",
            "--queue",
            &file.display().to_string(),
            "--range",
            "30m",
        ],
    );
    assert!(
        text(&everywhere.stdout).starts_with("10 players wait"),
        "{}",
        text(&everywhere.stderr)
    );

    // An agent that is gone is a gap, and nothing is made up for it; the others go on.
    let before = raw(&name(1)).len();
    agents[1].stop();
    let others = raw(&name(0)).len();
    until("the others went on", || raw(&name(0)).len() >= others + 8);
    let gone = raw(&name(1));
    assert!(gone.len() <= before + 3, "{before} frames, then {}", gone.len());
    agents[1] = agent(
        directory.path(),
        1,
        listens[1],
        &[("arena", games[1].0.ready.port)],
    );
    until("it is back", || raw(&name(1)).len() >= gone.len() + 5);
    let back = raw(&name(1));
    let anew = &back[gone.len()..];
    assert!(anew[0].begins_anew && anew[0].get(Measure::CpuCores).is_none());
    assert!(
        back.iter()
            .filter_map(|frame| frame.get(Measure::CpuCores))
            .all(|cores| cores >= 0.0)
    );

    scraper.stop();
    let nobody = ask(&url, &["why", "arena"]);
    assert!(
        nobody.status.code() == Some(1) && text(&nobody.stderr).contains("cannot connect"),
        "{}",
        text(&nobody.stderr)
    );
}

/// `secret`, by bcrypt.
const PASSWORD_HASH: &str = "$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW";

#[test]
fn certificates_and_passwords_are_checked() {
    if !program_or_skip("prometheus", "prometheus") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let shown = |name: &str| at(name).display().to_string();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(at("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(at("key.pem"), made.signing_key.serialize_pem()).unwrap();
    std::fs::write(at("right"), "ann:secret\n").unwrap();
    std::fs::write(at("wrong"), "ann:guess\n").unwrap();
    std::fs::write(at("prometheus.yml"), "global: {}\n").unwrap();
    std::fs::write(
        at("web.yml"),
        format!(
            "tls_server_config:\n  cert_file: {}\n  key_file: {}\nbasic_auth_users:\n  ann: {PASSWORD_HASH}\n",
            shown("cert.pem"),
            shown("key.pem")
        ),
    )
    .unwrap();
    let port = free_port();
    let _server = Killed(
        Command::new("prometheus")
            .arg(format!("--config.file={}", shown("prometheus.yml")))
            .arg(format!("--web.config.file={}", shown("web.yml")))
            .arg(format!("--storage.tsdb.path={}", shown("tsdb")))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stderr(File::create(at("prometheus.log")).unwrap())
            .spawn()
            .unwrap(),
    );
    until("it answers", || answers(port));
    let url = format!("https://localhost:{port}");
    let said = |words: &[&str], authorities: &str| {
        let output = Command::new(gsmon().unwrap())
            .args(["history", "export", "--source", &url])
            .args(words)
            .env("SSL_CERT_FILE", authorities)
            .env_remove("SSL_CERT_DIR")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(!output.status.success());
        text(&output.stderr)
    };
    let (right, wrong) = (shown("right"), shown("wrong"));
    let mut told = String::new();
    until("it is ready", || {
        told = said(&["--source-password-file", &right], &shown("cert.pem"));
        told.contains("has no series gsmon_server_up")
    });
    let denied = said(&["--source-password-file", &wrong], &shown("cert.pem"));
    assert!(
        denied.contains("401") && denied.contains("--source-password-file"),
        "{denied}"
    );
    let nobody = said(&[], &shown("cert.pem"));
    assert!(nobody.contains("401"), "{nobody}");
    // Another authority than the one that signed.
    let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(at("other.pem"), other.cert.pem()).unwrap();
    let unknown = said(&["--source-password-file", &right], &shown("other.pem"));
    assert!(unknown.contains("certificate"), "{unknown}");
    let none = said(&["--source-password-file", &right], &shown("prometheus.yml"));
    assert!(none.contains("ca-certificates"), "{none}");
}
