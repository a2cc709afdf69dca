//! The binary as users meet it: exit codes, messages, signals, leftovers.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use gsmon_agent::demo::{
    DemoProcess,
    bots::{BotsArgs, Homes},
    diary::{DiaryArgs, LogFamily},
    game_loop::LoopKind,
    protocol::Header,
    server::ServerArgs,
};
use gsmon_tests::{gsmon, netns::run, root_or_skip};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

fn gsmon_with(words: &[&str]) -> Output {
    Command::new(gsmon().unwrap())
        .args(words)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A configuration with its own port and socket.
fn config(directory: &Path, port: u16, rest: &str) -> String {
    let path = directory.join("gsmon.toml");
    let socket = directory.join("run/api.sock");
    let history = directory.join("history.db");
    let text = format!(
        "[history]\npath = \"{}\"\nlines = \"0s\"\n[api]\nlisten = \"127.0.0.1:{port}\"\nsocket = \"{}\"\n{rest}",
        history.display(),
        socket.display()
    );
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

struct Agent {
    child: Child,
}

impl Agent {
    /// Another agent of this host (of another checkout's tests, say) is waited for: there is one lock for all.
    fn start(config: &str) -> Self {
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            match Self::try_start(config) {
                Ok(agent) => return agent,
                Err(said) if said.contains("another gsmon agent is running") && Instant::now() < end => {
                    thread::sleep(Duration::from_millis(200));
                }
                Err(said) => panic!("the agent ended before it measured: {said}"),
            }
        }
    }

    /// Or what it said before it ended.
    fn try_start(config: &str) -> Result<Self, String> {
        let mut child = Command::new(gsmon().unwrap())
            .args(["run", "--config", config])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // It says so when it measures; reading on keeps its pipe from filling up.
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let agent = Self { child };
        let end = Instant::now() + Duration::from_secs(20);
        let mut said = String::new();
        loop {
            let Some(line) = lines.next() else {
                return Err(said);
            };
            said += &line.unwrap();
            said.push('\n');
            if said.contains("is measuring") {
                break;
            }
            assert!(Instant::now() < end, "{said}");
        }
        thread::spawn(move || lines.for_each(drop));
        Ok(agent)
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn http(port: u16, path: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: gsmon\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

fn attached() -> usize {
    run("bpftool prog show")
        .unwrap_or_default()
        .matches("name flow_cgroup")
        .count()
}

#[test]
fn a_wrong_configuration_names_file_line_and_remedy_and_exits_with_2() {
    let directory = tempfile::tempdir().unwrap();
    let path = config(
        directory.path(),
        19_464,
        "[[server]]\nname = \"a\"\nport = \"many\"\n",
    );
    let text = std::fs::read_to_string(&path).unwrap();
    let wrong = text.lines().position(|line| line.contains("many")).unwrap();
    let line = format!("line {}:", wrong + 1);
    for words in [["check-config", &path], ["run", "--config"]] {
        let words: Vec<&str> = if words[0] == "run" {
            vec!["run", "--config", &path]
        } else {
            words.to_vec()
        };
        let output = gsmon_with(&words);
        assert_eq!(output.status.code(), Some(2));
        let message = stderr(&output);
        assert!(
            message.contains("gsmon.toml") && message.contains(&line),
            "{message}"
        );
    }
    let output = gsmon_with(&["check-config", "/no/such/file"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("/no/such/file"));
}

#[test]
fn a_damaged_list_of_regions_is_named_with_its_line() {
    let directory = tempfile::tempdir().unwrap();
    let list = directory.path().join("regions.txt");
    std::fs::write(&list, "10.0.0.0/8 lan\n10.0.0.0/80 wide\n").unwrap();
    let path = config(
        directory.path(),
        19_464,
        &format!("[regions]\nfile = \"{}\"\n", list.display()),
    );
    let output = gsmon_with(&["check-config", &path]);
    assert_eq!(output.status.code(), Some(2));
    let message = stderr(&output);
    assert!(
        message.contains("regions.txt: line 2: `10.0.0.0/80`"),
        "{message}"
    );
    std::fs::write(&list, "10.0.0.0/8 lan\n").unwrap();
    assert!(gsmon_with(&["check-config", &path]).status.success());
}

#[test]
fn an_unknown_interface_is_named() {
    if !root_or_skip() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = config(
        directory.path(),
        19_465,
        "[[interface]]\nname = \"nosuch0\"\nxdp = \"native\"\n",
    );
    let output = gsmon_with(&["run", "--config", &path]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("nosuch0"), "{}", stderr(&output));
}

#[test]
fn without_privileges_each_missing_capability_is_named_and_proc_still_works() {
    if !root_or_skip() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    // The file must be readable for the other user as well.
    run(&format!("chmod 755 {}", directory.path().display())).unwrap();
    let copy = directory.path().join("gsmon");
    std::fs::copy(gsmon().unwrap(), &copy).unwrap();
    let as_nobody = |words: &[&str]| {
        Command::new("setpriv")
            .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
            .arg(&copy)
            .args(words)
            .output()
            .unwrap()
    };
    let doctor = as_nobody(&["doctor"]);
    let said = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert_eq!(doctor.status.code(), Some(1));
    for capability in ["CAP_BPF", "CAP_PERFMON", "CAP_NET_ADMIN"] {
        assert!(said.contains(capability), "{said}");
    }
    let demo = as_nobody(&["demo", "--headless", "--duration", "1s"]);
    assert_eq!(demo.status.code(), Some(1));
    assert!(stderr(&demo).contains("CAP_BPF"), "{}", stderr(&demo));
    let path = config(
        directory.path(),
        19_469,
        "[[server]]\nname = \"a\"\nexecutable = \"sleep\"\n",
    );
    run(&format!("chmod 644 {path}")).unwrap();
    let agent = as_nobody(&["run", "--config", &path]);
    assert_eq!(agent.status.code(), Some(1));
    assert!(
        stderr(&agent).contains("CAP_BPF") && !stderr(&agent).contains('\x1b'),
        "{}",
        stderr(&agent)
    );
    let top = as_nobody(&["top", "--once", "--socket", "/nowhere/api.sock"]);
    assert!(
        stderr(&top).contains("no gsmon agent is running"),
        "{}",
        stderr(&top)
    );
}

#[test]
fn the_agent_serves_refuses_a_second_one_reloads_and_leaves_nothing_behind() {
    if !root_or_skip() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let port = 19_466;
    let path = config(directory.path(), port, "[[server]]\nname = \"a\"\nport = 28201\n");
    let before = attached();
    let agent = Agent::start(&path);
    let second = gsmon_with(&["run", "--config", &path]);
    assert_eq!(second.status.code(), Some(1));
    assert!(
        stderr(&second).contains("another gsmon agent is running"),
        "{}",
        stderr(&second)
    );
    // With a socket and a port of its own as well.
    let elsewhere = tempfile::tempdir().unwrap();
    let other = config(elsewhere.path(), port + 30, "");
    let second = gsmon_with(&["run", "--config", &other]);
    assert_eq!(second.status.code(), Some(1));
    assert!(
        stderr(&second).contains("another gsmon agent is running on this host"),
        "{}",
        stderr(&second)
    );
    thread::sleep(Duration::from_millis(1_500));
    let metrics = http(port, "/metrics");
    assert!(
        metrics.starts_with("HTTP/1.1 200") && metrics.contains("gsmon_server_up{server=\"a\"} 0"),
        "{metrics}"
    );
    assert!(http(port, "/api/v1/snapshot").starts_with("HTTP/1.1 404"));
    let socket = directory.path().join("run/api.sock").display().to_string();
    let top = gsmon_with(&["top", "--once", "--json", "--socket", &socket]);
    let snapshot: serde_json::Value = serde_json::from_slice(&top.stdout).unwrap();
    assert_eq!(snapshot["servers"][0]["state"], "waiting");
    assert!(snapshot["servers"][0]["rates"]["cpu_cores"].is_null());

    config(
        directory.path(),
        port,
        "[[server]]\nname = \"a\"\nport = 28201\n[[server]]\nname = \"b\"\nport = 28202\n",
    );
    agent.signal(Signal::SIGHUP);
    thread::sleep(Duration::from_millis(2_500));
    assert!(http(port, "/metrics").contains("gsmon_server_up{server=\"b\"}"));

    agent.signal(Signal::SIGTERM);
    let mut agent = agent;
    assert_eq!(agent.child.wait().unwrap().code(), Some(0));
    assert!(!Path::new(&socket).exists());
    thread::sleep(Duration::from_millis(300));
    assert_eq!(attached(), before, "every program is detached");
}

#[test]
fn after_kill_9_nothing_is_attached_and_the_next_agent_starts() {
    if !root_or_skip() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = config(directory.path(), 19_467, "");
    let before = attached();
    let mut agent = Agent::start(&path);
    agent.signal(Signal::SIGKILL);
    agent.child.wait().unwrap();
    thread::sleep(Duration::from_millis(500));
    assert_eq!(attached(), before);
    assert!(
        directory.path().join("run/api.sock").exists(),
        "the leftover is there"
    );
    let _again = Agent::start(&path);
}

#[test]
fn a_tc_filter_that_a_killed_agent_left_is_removed_at_start() {
    use gsmon_agent::kernel::Kernel;
    if !root_or_skip() {
        return;
    }
    let netns = gsmon_tests::netns::Netns::new("left").unwrap();
    netns
        .connect("gsmonv9", "10.78.9.1/24", "eth0", "10.78.9.2/24")
        .unwrap();
    let filters = || run("tc filter show dev gsmonv9 ingress").unwrap();
    let mut kernel = Kernel::load(&gsmon_tests::options()).unwrap();
    kernel.leave_tc_filter("gsmonv9").unwrap();
    drop(kernel);
    assert!(filters().contains("flow_tc_ingress"), "{}", filters());
    let directory = tempfile::tempdir().unwrap();
    let path = config(directory.path(), 19_468, "");
    let _agent = Agent::start(&path);
    assert!(!filters().contains("flow_tc_ingress"), "{}", filters());
}

#[test]
fn the_doctor_says_what_there_is_what_is_chosen_and_what_it_takes() {
    if !root_or_skip() {
        return;
    }
    let output = gsmon_with(&["doctor", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let chosen: Vec<&str> = report["hooks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|hook| hook["hook"].as_str().unwrap())
        .collect();
    assert!(
        chosen.contains(&"tp_btf/sched_switch") && chosen.contains(&"cgroup_skb/egress"),
        "{chosen:?}"
    );
    let available = report["hooks_available"].as_array().unwrap();
    assert!(
        available.iter().all(|hook| hook["available"] == true),
        "{available:?}"
    );
    assert!(report["table_bytes"].as_u64().unwrap() > 16 << 20);
}

#[test]
fn the_demo_measures_all_its_servers() {
    if !root_or_skip() {
        return;
    }
    let output = gsmon_with(&["demo", "--headless", "--duration", "6s", "--json"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let snapshot: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let servers = snapshot["servers"].as_array().unwrap();
    assert_eq!(servers.len(), 3);
    for (server, family) in servers.iter().zip(["quake3", "source", "luanti"]) {
        let game = &server["game_state"];
        assert_eq!(server["game"], family);
        assert_eq!(game["player_counts"]["humans"], 8, "{game}");
        assert_eq!(game["player_counts"]["by"], "roster");
        assert_eq!(game["phase"], "active", "{game}");
        assert_eq!(game["sessions"].as_array().unwrap().len(), 1, "{game}");
        let session = &game["sessions"][0]["id"];
        let players = game["players"].as_array().unwrap();
        let humans: Vec<_> = players
            .iter()
            .filter(|player| player["kind"] == "human")
            .collect();
        assert_eq!(humans.len(), 8);
        for player in humans {
            assert!(
                player["name"].is_string() && player["session"] == *session,
                "{player}"
            );
            assert!(player["flow"]["rx"]["packets"].as_u64().unwrap() > 0, "{player}");
        }
    }
    assert_eq!(servers[0]["game_state"]["player_counts"]["bots"], 2);
    assert_eq!(servers[0]["game_state"]["sessions"][0]["map"], "q3dm17");
    assert_eq!(servers[1]["game_state"]["sessions"][0]["map"], "cp_granary");
}

#[test]
fn sessions_and_players_of_a_running_agent_are_told() {
    if !root_or_skip() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("games.log");
    let address = "127.0.0.1".parse().unwrap();
    let server = ServerArgs {
        kind: LoopKind::Sleeping,
        header: Header::Quake3,
        address,
        port: 0,
        tick_hz: 30.0,
        base_work_us: 100,
        work_per_player_us: 10,
        ticks_per_snapshot: 1,
        max_players: 64,
        lifetime_seconds: 60,
        lag: gsmon_agent::demo::lag::LagArgs::default(),
        diary: DiaryArgs {
            log: Some(log.clone()),
            log_family: Some(LogFamily::Quake3),
            house_bots: 0,
        },
    };
    let mut server = DemoProcess::server(&gsmon().unwrap(), &[], &server).unwrap();
    let bots = BotsArgs {
        header: Header::Quake3,
        address,
        port: server.ready.port,
        count: 3,
        input_hz: 30.0,
        stay_seconds: 0,
        homes: Homes::Shared,
        seed: 1,
        lifetime_seconds: 60,
    };
    let _bots = DemoProcess::bots(&gsmon().unwrap(), &[], &bots).unwrap();
    let rest = format!(
        "[metrics]\nsessions = \"on\"\n[[server]]\nname = \"arena one\"\ngame = \"quake3\"\nport = {}\n\
         [server.log]\nfile = \"{}\"\nfrom = \"beginning\"\n[server.query]\nprotocol = \"off\"\n",
        server.ready.port,
        log.display()
    );
    let port = 19_469;
    let path = config(directory.path(), port, &rest);
    let _agent = Agent::start(&path);
    thread::sleep(Duration::from_secs(4));
    let socket = directory.path().join("run/api.sock").display().to_string();
    let ask = |words: &[&str]| {
        let output = gsmon_with(&[words, &["--socket", &socket]].concat());
        (
            output.status.code(),
            String::from_utf8(output.stdout.clone()).unwrap(),
            stderr(&output),
        )
    };
    let (code, text, _) = ask(&["sessions"]);
    assert!(
        code == Some(0) && text.contains("arena one") && text.contains("q3dm17"),
        "{text}"
    );
    let (_, text, _) = ask(&["sessions", "arena one", "--state", "running", "--json"]);
    let found: serde_json::Value = serde_json::from_str(&text).unwrap();
    let id = found[0]["id"].as_str().unwrap().to_owned();
    let (_, text, _) = ask(&["sessions", "arena one", &id, "--metrics", "cpu,network", "--json"]);
    let answer: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert!(answer["cpu"]["seconds"].as_f64().unwrap() > 0.0, "{answer}");
    assert!(answer["network"]["receive_packets"].as_u64().unwrap() > 0 && answer.get("disk").is_none());
    let (_, text, _) = ask(&["players", "arena one", &id]);
    assert!(
        text.contains("3 humans") && text.contains("Ada") && !text.contains("127.0.0.1"),
        "{text}"
    );
    let (_, text, _) = ask(&["players", "--addresses"]);
    assert!(text.contains("127.0.0.1:"), "{text}");
    let (code, _, message) = ask(&["sessions", "nobody"]);
    assert!(code == Some(1) && message.contains("arena one"), "{message}");
    let metrics = http(port, "/metrics");
    for line in [
        format!("gsmon_session_players{{server=\"arena one\",session=\"{id}\"}} 3"),
        "gsmon_server_players{kind=\"human\",server=\"arena one\"} 3".to_owned(),
        "gsmon_server_sessions{phase=\"active\",server=\"arena one\"} 1".to_owned(),
    ] {
        assert!(metrics.contains(&line), "{line} in\n{metrics}");
    }
    assert!(!metrics.contains("Ada"));
    assert!(http(port, "/api/v1/sessions").starts_with("HTTP/1.1 404"));
    // The server still tells its own truth.
    assert_eq!(server.ask_server("truth").unwrap().players, 3);
}

#[test]
fn a_foreign_pid_namespace_is_refused() {
    if !root_or_skip() {
        return;
    }
    let output = Command::new("unshare")
        .args(["--pid", "--fork", "--mount-proc"])
        .arg(gsmon().unwrap())
        .args(["demo", "--headless", "--duration", "1s"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("PID namespace"), "{}", stderr(&output));
}
