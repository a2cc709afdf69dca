//! The analyses over the API of a real agent: what a route answers is what the command prints, and what cannot be meant is
//! refused with what is right.

use std::{
    fs,
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant, SystemTime},
};

use gsmon_agent::demo::{
    DemoProcess,
    bots::{BotsArgs, Homes},
    diary::DiaryArgs,
    game_loop::LoopKind,
    lag::LagArgs,
    protocol::Header,
    server::ServerArgs,
};
use gsmon_tests::{gsmon, root_or_skip};
use serde_json::Value;

/// An agent with a private /run, so that it believes to be alone; ends with the test.
struct Agent {
    child: Child,
    directory: tempfile::TempDir,
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Agent {
    fn start(port: u16) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path().display();
        let config = format!(
            "[api]\nlisten = \"127.0.0.1:0\"\nsocket = \"{at}/agent.sock\"\n[history]\nwrite = \"off\"\n\
             [discovery]\nmode = \"off\"\n[[queue.mode]]\nname = \"duel\"\nplayers_per_match = 4\n\
             [[server]]\nname = \"arena\"\ngame = \"demo\"\nport = {port}\nmax_players = 64\n"
        );
        let file = directory.path().join("gsmon.toml");
        fs::write(&file, config).unwrap();
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
            .arg(directory.path())
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, directory }
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("agent.sock")
    }

    fn request(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let Ok(mut stream) = UnixStream::connect(self.socket()) else {
            return (0, Value::Null);
        };
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: gsmon\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        )
        .unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap_or(Value::Null))
    }

    fn get(&self, path: &str) -> (u16, Value) {
        self.request("GET", path, "")
    }

    /// What a command prints, and where that is nothing, what it says.
    fn command(&self, words: &[&str]) -> Result<Value, String> {
        let output = Command::new(gsmon().unwrap())
            .args(words)
            .args(["--json", "--socket"])
            .arg(self.socket())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        serde_json::from_slice(&output.stdout)
            .map_err(|_| String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

fn server(gsmon: &Path) -> DemoProcess {
    let server = ServerArgs {
        kind: LoopKind::Sleeping,
        header: Header::Quake3,
        address: std::net::Ipv4Addr::LOCALHOST.into(),
        port: 0,
        tick_hz: 20.0,
        base_work_us: 500,
        work_per_player_us: 400,
        ticks_per_snapshot: 1,
        max_players: 64,
        lifetime_seconds: 500,
        diary: DiaryArgs::default(),
        lag: LagArgs::default(),
    };
    DemoProcess::server(gsmon, &[], &server).unwrap()
}

fn bots(gsmon: &Path, port: u16, count: u32) -> DemoProcess {
    let bots = BotsArgs {
        header: Header::Quake3,
        address: std::net::Ipv4Addr::LOCALHOST.into(),
        port,
        count,
        input_hz: 30.0,
        stay_seconds: 0,
        homes: Homes::Shared,
        seed: u64::from(count),
        lifetime_seconds: 400,
    };
    DemoProcess::bots(gsmon, &[], &bots).unwrap()
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(120);
    while !done() {
        assert!(Instant::now() < end, "{what} never came to be");
        thread::sleep(Duration::from_millis(300));
    }
}

/// Equal but for the last digits of numbers: the command has its frames through JSON, which has lengths to the millisecond.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => {
            let (a, b) = (a.as_f64().unwrap(), b.as_f64().unwrap());
            (a - b).abs() <= 5e-3 * a.abs().max(b.abs()).max(0.01)
        }
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(name, a)| b.get(name).is_some_and(|b| same(a, b)))
        }
        (a, b) => a == b,
    }
}

fn now() -> jiff::Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    jiff::Timestamp::from_second(since.as_secs() as i64).unwrap()
}

#[test]
fn routes_answer_what_commands_print() {
    if !root_or_skip() {
        return;
    }
    let gsmon = gsmon().unwrap();
    let game = server(&gsmon);
    let agent = Agent::start(game.ready.port);
    let begun = now();
    until("the server is found", || {
        agent.get("/api/v1/snapshot").1["servers"][0]["state"] == "up"
    });
    // Players come and go, so that there is something to tell.
    let mut players = Vec::new();
    for count in [2, 3, 1, 4] {
        players.push(bots(&gsmon, game.ready.port, count));
        thread::sleep(Duration::from_secs(12));
        if count == 1 {
            players.remove(0);
        }
    }
    until("there are enough frames", || {
        let (status, told) = agent.get("/api/v1/analyze/players?server=arena&metrics=cpu");
        status == 200 && told["report"]["metrics"][0]["scaling"].is_object()
    });
    // A time that is over: nothing is added to it between two questions.
    let end = now();
    thread::sleep(Duration::from_millis(2_500));
    let range = format!("{begun}..{end}");
    let middle = jiff::Timestamp::from_second((begun.as_second() + end.as_second()) / 2).unwrap();
    let (before, after) = (
        format!("{begun}..{middle}"),
        format!("{}..{end}", middle + jiff::Span::new().seconds(1)),
    );
    let marked = agent.request("POST", "/api/v1/marks?server=arena", "plugin 2");
    assert_eq!(marked.0, 200, "{}", marked.1);
    thread::sleep(Duration::from_secs(4));
    for (path, words) in [
        (
            format!("players?server=arena&range={range}&metrics=cpu,tick_time&by=phase"),
            vec![
                "analyze",
                "players",
                "arena",
                "--range",
                &range,
                "--metrics",
                "cpu,tick_time",
                "--by",
                "phase",
            ],
        ),
        (
            format!("players?range={range}"),
            vec!["analyze", "players", "--range", &range],
        ),
        (
            format!("bots?server=arena&range={range}"),
            vec!["analyze", "bots", "arena", "--range", &range],
        ),
        (
            format!("actions?server=arena&range={range}"),
            vec!["analyze", "actions", "arena", "--range", &range],
        ),
        (
            format!("memory?server=arena&range={range}&limit_mib=512"),
            vec!["analyze", "memory", "arena", "--range", &range, "--limit", "512"],
        ),
        (
            format!("network?range={range}&buckets=0,40&regions=true"),
            vec![
                "analyze",
                "network",
                "--range",
                &range,
                "--buckets",
                "0,40",
                "--regions",
            ],
        ),
        (
            format!("netcode?server=arena&before={before}&after={after}"),
            vec![
                "analyze", "netcode", "arena", "--before", &before, "--after", &after,
            ],
        ),
        (
            "mark?server=arena&window=2s".to_owned(),
            vec!["mark", "arena", "--window", "2s"],
        ),
    ] {
        let (status, told) = agent.get(&format!("/api/v1/analyze/{path}"));
        match agent.command(&words) {
            Ok(printed) => {
                assert_eq!(status, 200, "{path}: {told:#}");
                assert!(same(&told, &printed), "{path}: {told}\nis not\n{printed}");
            }
            // Too little was measured for an answer: both say the same.
            Err(said) => {
                assert_eq!(status, 422, "{path}: {told:#}, {said}");
                assert!(
                    said.contains(told["error"].as_str().unwrap()),
                    "{path}: {told:#}, {said}"
                );
            }
        }
    }

    let queue = r#"{"queue":[{"mode":"duel","players":40}]}"#;
    assert_eq!(
        agent.get("/api/v1/queue/prediction").0,
        404,
        "nobody has told a queue"
    );
    let (status, sent) = agent.request("POST", &format!("/api/v1/queue/prediction?range={range}"), queue);
    assert_eq!(status, 200, "{sent:#}");
    assert_eq!(
        sent["forecast"]["entries"][0]["matches"], 10,
        "by [[queue.mode]]: {sent:#}"
    );
    assert_eq!(agent.request("POST", "/api/v1/queue", queue).0, 200);
    let (status, kept) = agent.get(&format!("/api/v1/queue/prediction?range={range}"));
    assert_eq!(status, 200, "{kept:#}");
    assert_eq!(kept["forecast"]["needs"], sent["forecast"]["needs"]);
    assert!(kept["queue_age_ms"].is_i64(), "{kept:#}");
    let told = ["analyze", "queue", "--range", &range, "--per-match", "duel=4"];
    let printed = agent.command(&told).unwrap();
    assert_eq!(printed["forecast"]["needs"], kept["forecast"]["needs"]);

    for (path, status, word) in [
        ("analyze/playrs", 404, "players"),
        ("analyze/players?server=x", 404, "arena"),
        (
            "analyze/players?metrics=cpu_usge",
            400,
            "did you mean `cpu_usage`?",
        ),
        ("analyze/players?range=yesterday", 400, "24h"),
        ("analyze/bots", 400, "`server` is missing"),
        ("analyze/memory?server=arena&limit=5", 400, "limit_mib"),
        (
            "analyze/players?server=arena&range=2020-01-01T00:00:00Z..2020-01-02T00:00:00Z",
            422,
            "no frames",
        ),
    ] {
        let (told, said) = agent.get(&format!("/api/v1/{path}"));
        assert_eq!(told, status, "{path}: {said:#}");
        assert!(said.to_string().contains(word), "{path}: {said:#}");
    }
}
