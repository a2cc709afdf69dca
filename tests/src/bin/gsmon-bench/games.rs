//! The session layer on top of the core: 100 servers that log 50 lines per second each, 100 live matches, 10,000
//! players who are known from those logs. The agent is a process of its own, and so are the servers; it runs once
//! without logs for the baseline. Then: how long it takes from a line to the snapshot that shows it.

use std::{
    fs::File,
    io::Write,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use gsmon_agent::demo::{DemoProcess, planted::PlantedArgs};
use gsmon_tests::gsmon;

use crate::{Row, agent::usage};

const SERVERS: usize = 100;
const PLAYERS: usize = 100;
const LINES_PER_SECOND: usize = 50;
const WINDOW: Duration = Duration::from_secs(15);
/// The other benches of the same kind give the agent so long to settle.
const SETTLE: Duration = Duration::from_secs(10);
const RUNS: usize = 3;
const LATENCIES: usize = 12;
/// Every so many lines one is an event: a player leaves, and the next one is somebody else in the same slot.
const EVENT_EVERY: usize = 67;

/// The log of one server, as Quake III writes it.
struct Log {
    file: File,
    said: usize,
}

fn joins(slot: usize, player: usize) -> String {
    format!(
        " 20:34 ClientConnect: {slot}\n \
         20:34 ClientUserinfoChanged: {slot} n\\^1Player^7{player}\\t\\0\\model\\xian/default\\hmodel\\xian/default\\c1\\4\\c2\\5\\hc\\100\\w\\0\\l\\0\\tt\\0\\tl\\0\n \
         20:37 ClientBegin: {slot}\n"
    )
}

impl Log {
    /// A match that runs, with its players.
    fn begin(&mut self) -> Result<()> {
        let mut text = String::from(
            "  0:00 InitGame: \\sv_maxclients\\100\\g_gametype\\0\\mapname\\q3dm17\\version\\ioq3\n",
        );
        for slot in 0..PLAYERS {
            text += &joins(slot, slot);
        }
        self.file.write_all(text.as_bytes())?;
        Ok(())
    }

    /// The next line.
    fn line(&mut self) -> Result<()> {
        let n = self.said;
        self.said += 1;
        let (slot, other) = (n * 7 % PLAYERS, n * 13 % PLAYERS);
        let text = if n.is_multiple_of(EVENT_EVERY) {
            // Three lines of an event are told in one go: their connection is one.
            format!(" 22:10 ClientDisconnect: {slot}\n{}", joins(slot, PLAYERS + n))
        } else {
            match n % 6 {
                0 => {
                    format!(" 21:50 say: ^1Player^7{slot}: well played everybody, that was client {other}\n")
                }
                1 => format!(" 20:40 Item: {slot} weapon_rocketlauncher\n"),
                2 => format!(" 21:51 score: 20  ping: 48  client: {slot} ^1Player^7{slot}\n"),
                _ => format!(
                    " 21:42 Kill: {slot} {other} 7: ^1Player^7{slot} killed ^1Player^7{other} by MOD_ROCKET_SPLASH\n"
                ),
            }
        };
        self.file.write_all(text.as_bytes())?;
        Ok(())
    }
}

struct Agent {
    process: Child,
    socket: std::path::PathBuf,
}

impl Agent {
    fn start(binary: &Path, directory: &Path, servers: &str) -> Result<Self> {
        let (config, socket) = (directory.join("gsmon.toml"), directory.join("api.sock"));
        let head = format!(
            "[api]\nlisten = \"127.0.0.1:0\"\nsocket = \"{}\"\n",
            socket.display()
        );
        std::fs::write(&config, head + servers)?;
        let process = Command::new(binary)
            .args(["run", "--config"])
            .arg(&config)
            .env("GSMON_STATE_DIR", directory)
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Self { process, socket })
    }

    /// Percent of one core and MiB, while `work` is done.
    fn measure(&self, work: impl FnOnce() -> Result<()>) -> Result<(f64, f64)> {
        let begin = Instant::now();
        let before = usage(self.process.id())?;
        work()?;
        let after = usage(self.process.id())?;
        let cpu = (after.0 - before.0) / begin.elapsed().as_secs_f64() * 100.0;
        Ok((cpu, after.1))
    }

    fn snapshot(&self, binary: &Path) -> Result<serde_json::Value> {
        let top = Command::new(binary)
            .args(["top", "--once", "--json", "--socket"])
            .arg(&self.socket)
            .output()?;
        serde_json::from_slice(&top.stdout).context("no snapshot")
    }
}

impl Drop for Agent {
    /// SIGTERM, not SIGKILL: it detaches and removes its socket.
    fn drop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(self.process.id() as i32);
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        let _ = self.process.wait();
    }
}

/// Writes at the pace of 50 lines per second and server.
fn write_for(logs: &mut [Log], time: Duration) -> Result<()> {
    let begin = Instant::now();
    let steps = LINES_PER_SECOND * time.as_millis() as usize / 1_000;
    for step in 0..steps {
        for log in logs.iter_mut() {
            log.line()?;
        }
        let due = time * (step as u32 + 1) / steps as u32;
        thread::sleep(due.saturating_sub(begin.elapsed()));
    }
    Ok(())
}

fn entries(directory: &Path, with_logs: WithLogs) -> String {
    (0..SERVERS)
        .map(|n| {
            let log = match with_logs {
                WithLogs::No => String::new(),
                WithLogs::Yes => format!("log.file = \"{}\"\n", log_path(directory, n).display()),
            };
            format!(
                "[[server]]\nname = \"s{n}\"\ngame = \"quake3\"\ncommand_line = \"demo-planted --name s{n} \"\nquery.protocol = \"off\"\n{log}"
            )
        })
        .collect()
}

#[derive(Clone, Copy)]
enum WithLogs {
    No,
    Yes,
}

fn log_path(directory: &Path, n: usize) -> std::path::PathBuf {
    directory.join(format!("s{n}.log"))
}

/// From a line to the snapshot that shows it, milliseconds: the worst of some.
fn latency(agent: &Agent, binary: &Path, logs: &mut [Log]) -> Result<f64> {
    let mut worst: f64 = 0.0;
    for n in 0..LATENCIES {
        let map = format!("latency{n}");
        let begin = Instant::now();
        writeln!(logs[n].file, "  0:00 InitGame: \\g_gametype\\0\\mapname\\{map}")?;
        loop {
            let snapshot = agent.snapshot(binary)?;
            let seen = begin.elapsed();
            if snapshot["servers"][n]["game_state"]["sessions"][0]["map"] == map.as_str() {
                worst = worst.max(seen.as_secs_f64() * 1e3);
                break;
            }
            if seen > Duration::from_secs(10) {
                bail!("a line is not in any snapshot after 10 s");
            }
            thread::sleep(Duration::from_millis(20));
        }
        // Not in step with intervals.
        thread::sleep(Duration::from_millis(90 * n as u64));
    }
    Ok(worst)
}

/// Percent of one core, MiB, milliseconds.
pub fn run() -> Result<Vec<Row>> {
    let binary = gsmon()?;
    let scratch = tempfile::tempdir()?;
    let directory = scratch.path();
    let mut servers = Vec::new();
    for n in 0..SERVERS {
        let args = PlantedArgs {
            name: format!("s{n}"),
            load: String::new(),
            directory: directory.to_owned(),
            lifetime_seconds: 900,
        };
        servers.push(DemoProcess::planted(&binary, &[], &args)?);
    }
    let mut baseline = (f64::INFINITY, f64::INFINITY);
    let mut gross = (f64::INFINITY, f64::INFINITY);
    let mut worst_ms = f64::INFINITY;
    let (mut sessions, mut players) = (0, 0);
    for _ in 0..RUNS {
        let mut logs = (0..SERVERS)
            .map(|n| {
                Ok(Log {
                    file: File::create(log_path(directory, n))?,
                    said: n,
                })
            })
            .collect::<Result<Vec<_>>>()?;
        let agent = Agent::start(&binary, directory, &entries(directory, WithLogs::No))?;
        thread::sleep(SETTLE);
        let (cpu, rss) = agent.measure(|| {
            // The same is written, and nobody reads it.
            write_for(&mut logs, WINDOW)
        })?;
        baseline = (baseline.0.min(cpu), baseline.1.min(rss));
        drop(agent);
        let agent = Agent::start(&binary, directory, &entries(directory, WithLogs::Yes))?;
        thread::sleep(SETTLE / 2);
        for log in &mut logs {
            log.begin()?;
        }
        write_for(&mut logs, SETTLE / 2)?;
        let (cpu, rss) = agent.measure(|| write_for(&mut logs, WINDOW))?;
        gross = (gross.0.min(cpu), gross.1.min(rss));
        let snapshot = agent.snapshot(&binary)?;
        let list = snapshot["servers"].as_array().context("no servers")?;
        let count = |field: &str| -> usize {
            list.iter()
                .filter_map(|server| server["game_state"][field].as_array())
                .map(Vec::len)
                .sum()
        };
        (sessions, players) = (count("sessions"), count("players"));
        if sessions != SERVERS || players != SERVERS * PLAYERS {
            bail!("{sessions} sessions and {players} players are seen");
        }
        worst_ms = worst_ms.min(latency(&agent, &binary, &mut logs)?);
    }
    Ok(vec![
        Row::net(
            format!("games: {sessions} sessions, {players} players, 5,000 lines/s: CPU"),
            gross.0,
            baseline.0,
            Some(3.0),
            "%core",
        ),
        Row::net("games: resident memory", gross.1, baseline.1, Some(128.0), "MiB"),
        Row::net(
            format!("games: line to snapshot, worst of {LATENCIES}, 1 s interval"),
            worst_ms,
            0.0,
            Some(2_000.0),
            "ms",
        ),
    ])
}
