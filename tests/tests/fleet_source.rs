//! A fleet with a Prometheus-compatible server as its source: Debian's Prometheus and Debian's VictoriaMetrics, each with
//! an agent that they scrape. The fleet itself cannot read that agent, so that all it knows of the host is the source's:
//! marked, in no sum, gone when the source is. And a configuration that changes while the fleet runs.

use std::{
    fs,
    io::Write,
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use gsmon_agent::{
    demo::{
        DemoProcess, diary::DiaryArgs, game_loop::LoopKind, lag::LagArgs, protocol::Header,
        server::ServerArgs,
    },
    history::{
        HistorySource, Measure, Resolution, TimeRange,
        events::EventKind,
        prometheus::{Credentials, PrometheusSource},
        rollup::Span,
    },
};
use gsmon_tests::{gsmon, program_or_skip, root_or_skip};
use serde_json::Value;

struct Running(Child);

impl Running {
    fn stop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A store of metrics that Debian has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Store {
    Prometheus,
    VictoriaMetrics,
}

impl Store {
    fn program(self) -> &'static str {
        match self {
            Self::Prometheus => "prometheus",
            Self::VictoriaMetrics => "victoria-metrics",
        }
    }

    fn start(self, directory: &Path, port: u16, agent: u16) -> Running {
        let config = directory.join("scrape.yml");
        fs::write(
            &config,
            format!(
                "global:\n  scrape_interval: 1s\n  scrape_timeout: 1s\nscrape_configs:\n\
                 - job_name: gsmon\n  static_configs:\n  - targets: ['127.0.0.1:{agent}']\n"
            ),
        )
        .unwrap();
        let data = directory.join("store");
        let mut command = Command::new(self.program());
        match self {
            Self::Prometheus => command
                .arg(format!("--config.file={}", config.display()))
                .arg(format!("--storage.tsdb.path={}", data.display()))
                .arg(format!("--web.listen-address=127.0.0.1:{port}")),
            // It hides the newest half minute from questions unless told otherwise.
            Self::VictoriaMetrics => command
                .arg(format!("-promscrape.config={}", config.display()))
                .arg(format!("-storageDataPath={}", data.display()))
                .arg(format!("-httpListenAddr=127.0.0.1:{port}"))
                .arg("-search.latencyOffset=1s"),
        };
        let log = fs::File::create(directory.join("store.log")).unwrap();
        let child = command.stdout(Stdio::null()).stderr(log).spawn();
        Running(child.unwrap())
    }
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(150);
    while !done() {
        assert!(Instant::now() < end, "{what} never came to be");
        thread::sleep(Duration::from_millis(300));
    }
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn game() -> DemoProcess {
    let server = ServerArgs {
        kind: LoopKind::Sleeping,
        header: Header::Quake3,
        address: std::net::Ipv4Addr::LOCALHOST.into(),
        port: 0,
        tick_hz: 20.0,
        base_work_us: 500,
        work_per_player_us: 80,
        ticks_per_snapshot: 1,
        max_players: 64,
        lifetime_seconds: 500,
        diary: DiaryArgs::default(),
        lag: LagArgs::default(),
    };
    DemoProcess::server(&gsmon().unwrap(), &[], &server).unwrap()
}

/// An agent that believes to be alone on its host; its server's log says which match runs.
fn agent(directory: &Path, listen: u16, game: u16) -> Running {
    let at = directory.display();
    fs::write(directory.join("game.log"), "begin duel on dm6\n").unwrap();
    let config = format!(
        "[api]\nlisten = \"127.0.0.1:{listen}\"\nsocket = \"{at}/agent.sock\"\n[history]\nwrite = \"off\"\n\
         [metrics]\nsessions = \"on\"\n[[server]]\nname = \"arena\"\ngame = \"custom\"\nport = {game}\n\
         [server.log]\nfile = \"{at}/game.log\"\nfrom = \"beginning\"\n\
         [[server.grammar.rule]]\nevent = \"match-begun\"\npattern = 'begin (?<mode>\\S+) on (?<map>\\S+)'\n"
    );
    let file = directory.join("gsmon.toml");
    fs::write(&file, config).unwrap();
    let log = fs::File::create(directory.join("agent.log")).unwrap();
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
        .arg(directory)
        .stderr(log)
        .spawn();
    Running(child.unwrap())
}

/// The fleet and how it is asked.
struct Fleet {
    directory: PathBuf,
    store: u16,
    metrics: u16,
}

impl Fleet {
    fn configure(&self, agents: &[(&str, Option<&str>)], more: &str) {
        let at = self.directory.display();
        let mut text = format!(
            "[fleet]\ninterval = \"1s\"\nstale_after = \"3s\"\nunknown_after = \"5s\"\n\
             [listen]\nsocket = \"{at}/fleet.sock\"\nmetrics = \"127.0.0.1:{}\"\n\
             [source]\nurl = \"http://127.0.0.1:{}\"\ninterval = \"1s\"\n{more}",
            self.metrics, self.store
        );
        for (name, instance) in agents {
            // Nobody listens on port 1.
            text += &format!(
                "[[agent]]\nname = \"{name}\"\nurl = \"https://127.0.0.9:1\"\ntoken_file = \"{at}/token\"\nca_file = \"{at}/ca.pem\"\n"
            );
            if let Some(instance) = instance {
                text += &format!("instance = \"{instance}\"\n");
            }
        }
        let new = self.directory.join("fleet.new");
        fs::write(&new, text).unwrap();
        fs::rename(new, self.directory.join("fleet.toml")).unwrap();
    }

    fn start(&self) -> Running {
        let log = fs::File::create(self.directory.join("fleet.log")).unwrap();
        let child = Command::new(gsmon().unwrap())
            .args(["fleet", "--config"])
            .arg(self.directory.join("fleet.toml"))
            .stderr(log)
            .spawn();
        Running(child.unwrap())
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.join("fleet.log")).unwrap()
    }

    fn ask(&self, words: &[&str]) -> Output {
        let mut command = Command::new(gsmon().unwrap());
        command.args(words).stdin(Stdio::null());
        let socket = self.directory.join("fleet.sock");
        match words[0] {
            "fleet" => command.arg("--socket").arg(socket),
            _ => command.arg(format!("--fleet={}", socket.display())),
        };
        command.output().unwrap()
    }

    fn top(&self) -> Value {
        let output = self.ask(&["fleet", "top", "--once", "--json"]);
        serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn lately() -> TimeRange {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    TimeRange::last(Duration::from_secs(900), now.as_millis() as i64)
}

/// The match that ended and the one that began are told, and so is what metrics do not have.
fn what_happened(url: &str) {
    let source = PrometheusSource::new(url, &Credentials::None).unwrap();
    until("one session has ended and another begun", || {
        let events = source.events(Some("arena"), lately()).unwrap();
        let any = |kind| events.iter().any(|event| event.kind == kind);
        any(EventKind::SessionBegun) && any(EventKind::SessionEnded)
    });
    let sessions = source.sessions(Some("arena"), lately()).unwrap();
    assert_eq!(sessions.len(), 2, "{sessions:?}");
    assert!(
        sessions[0].ended_unix_ms.is_some() && sessions[1].ended_unix_ms.is_none(),
        "{sessions:?}"
    );
    assert!(
        sessions[1].begun_unix_ms >= sessions[0].ended_unix_ms.unwrap(),
        "{sessions:?}"
    );
    assert!(sessions[0].used.cpu_ns.is_some_and(|cpu| cpu > 0), "{sessions:?}");
    assert_eq!(sessions[0].joins, None, "nobody exports that");
    let told = Command::new(gsmon().unwrap())
        .args([
            "history", "events", "arena", "--range", "15m", "--json", "--source", url,
        ])
        .output()
        .unwrap();
    let told: Value = serde_json::from_slice(&told.stdout).unwrap();
    assert!(told["told"].to_string().contains("session_ended"), "{told:#}");
    assert!(told["absent"].to_string().contains("marks"), "{told:#}");
}

fn a_fleet_over(store: Store) {
    if !root_or_skip() || !program_or_skip(store.program(), store.program()) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let game = game();
    let (listen, port) = (free_port(), free_port());
    let _agent = agent(directory.path(), listen, game.ready.port);
    let mut scraper = store.start(directory.path(), port, listen);
    until("the store answers", || {
        TcpStream::connect(("127.0.0.1", port)).is_ok()
    });
    let fleet = Fleet {
        directory: directory.path().to_owned(),
        store: port,
        metrics: free_port(),
    };
    let instance = format!("127.0.0.1:{listen}");
    fleet.configure(&[("a", Some(&instance))], "");
    let _fleet = fleet.start();
    until("the source tells of the host", || {
        fleet.top()["agents"][0]["from_source"]["cpu_cores"].is_number()
    });

    // The agent is silent: the source's figures stand beside, and in no sum.
    let told = fleet.top();
    let host = &told["agents"][0];
    assert_eq!(
        (&host["state"], &told["totals"]["of_hosts"]),
        (&"unknown".into(), &0.into())
    );
    assert!(
        host["totals"].is_null() && told["totals"]["cpu_cores"].is_null(),
        "{told:#}"
    );
    assert_eq!(host["from_source"]["servers_up"], 1, "{told:#}");
    assert!(
        host["from_source"]["rss_bytes"].as_f64().unwrap() > 1e6,
        "{told:#}"
    );
    assert_eq!(told["source"]["state"], "fresh");
    let table = text(&fleet.ask(&["fleet", "top", "--once"]).stdout);
    assert!(table.contains("~1"), "{table}");
    let health = fleet.ask(&["fleet", "health"]);
    assert!(
        text(&health.stdout).contains("[source]: answers"),
        "{}",
        text(&health.stdout)
    );

    // The past of all hosts, under their names.
    until("frames have mode and map", || {
        let url = format!("http://127.0.0.1:{port}");
        let source = PrometheusSource::new(&url, &Credentials::None).unwrap();
        let frames = source
            .frames("arena", lately(), Resolution::Raw)
            .unwrap_or_default();
        let scenes = frames.iter().filter(|frame| {
            frame.mode.as_deref() == Some("duel")
                && frame.map.as_deref() == Some("dm6")
                && frame.get(Measure::CpuCores).is_some()
        });
        scenes.count() >= 5
    });
    until("minutes have mode and map", || {
        let url = format!("http://127.0.0.1:{port}");
        let source = PrometheusSource::new(&url, &Credentials::None).unwrap();
        let minutes = source.frames("arena", lately(), Resolution::Rolled(Span::Minute));
        minutes.unwrap_or_default().iter().any(|frame| {
            frame.mode.as_deref() == Some("duel")
                && frame.map.as_deref() == Some("dm6")
                && frame.get(Measure::RssBytes).is_some()
        })
    });
    let network = fleet.ask(&["analyze", "network", "a/arena", "--json"]);
    let said: Value = serde_json::from_slice(&network.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", text(&network.stderr)));
    assert!(said.to_string().contains("a/arena"), "{said:#}");
    let nobody = fleet.ask(&["analyze", "memory", "b/arena", "--range", "10m"]);
    assert!(!nobody.status.success());
    assert!(
        text(&nobody.stderr).contains("b/arena"),
        "{}",
        text(&nobody.stderr)
    );

    // A changed file is taken without a restart, a broken one is refused.
    fleet.configure(&[("a", Some(&instance)), ("b", None)], "");
    until("there are two hosts", || {
        fleet.top()["agents"].as_array().is_some_and(|all| all.len() == 2)
    });
    fleet.configure(&[("a", Some(&instance))], "speed = 1\n");
    until("it is refused", || {
        fleet.log().contains("the old configuration stays in force")
    });
    assert!(fleet.log().contains("unknown field"), "{}", fleet.log());
    assert_eq!(fleet.top()["agents"].as_array().unwrap().len(), 2);
    let mut log = fs::OpenOptions::new()
        .append(true)
        .open(directory.path().join("game.log"))
        .unwrap();
    writeln!(log, "begin ctf on q3ctf1").unwrap();
    fleet.configure(&[("a", Some(&instance))], "");
    until("there is one host again", || {
        fleet.top()["agents"].as_array().is_some_and(|all| all.len() == 1)
    });

    what_happened(&format!("http://127.0.0.1:{port}"));

    // Without a source nothing is made up.
    scraper.stop();
    until("the source is unknown", || {
        fleet.top()["source"]["state"] == "unknown"
    });
    let told = fleet.top();
    assert!(told["agents"][0]["from_source"].is_null(), "{told:#}");
    let table = text(&fleet.ask(&["fleet", "top", "--once"]).stdout);
    assert!(
        !table.contains('~') && table.contains("the source is unknown"),
        "{table}"
    );
    let failed = fleet.ask(&["analyze", "memory", "a/arena", "--range", "10m"]);
    assert!(
        text(&failed.stderr).contains("[source]"),
        "{}",
        text(&failed.stderr)
    );
}

#[test]
fn a_fleet_has_the_past_from_prometheus_and_reloads() {
    a_fleet_over(Store::Prometheus);
}

#[test]
fn a_fleet_has_the_past_from_victoria_metrics_and_reloads() {
    a_fleet_over(Store::VictoriaMetrics);
}
