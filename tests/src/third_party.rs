//! Third-party game servers and their clients: started inside a namespace, watched from outside, ended by pid.

use std::{
    fs::{File, OpenOptions},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, bail};
use gsmon_agent::{
    GameServerMonitor,
    world::{
        session::picture::{PlayerSnapshot, PlayerState, SessionSnapshot},
        snapshot::{ServerSnapshot, Snapshot},
    },
};
use nix::{
    sys::signal::{Signal, kill},
    time::{ClockId, clock_getcpuclockid, clock_gettime},
    unistd::Pid,
};

use crate::netns::Netns;

/// Milliseconds since the Unix epoch.
pub fn unix_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| time.as_millis() as i64)
}

/// Waits until `condition` gives something, at most `limit`.
pub fn eventually<T>(what: &str, limit: Duration, mut condition: impl FnMut() -> Option<T>) -> Result<T> {
    let end = Instant::now() + limit;
    loop {
        if let Some(found) = condition() {
            return Ok(found);
        }
        if Instant::now() >= end {
            bail!("{what}: not within {limit:?}");
        }
        thread::sleep(Duration::from_millis(50));
    }
}

/// Waits until the file holds the text.
pub fn says(path: &Path, text: &str, limit: Duration) -> Result<()> {
    let said = || std::fs::read(path).is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains(text));
    eventually(&format!("`{text}` in {}", path.display()), limit, || {
        said().then_some(())
    })
}

/// A running program; killed when dropped.
#[derive(Debug)]
pub struct Program {
    child: Child,
}

impl Program {
    /// Starts `words` inside the namespace, at home in `home`; all that it prints is appended to `output`.
    pub fn start(netns: &Netns, home: &Path, words: &[&str], output: &Path) -> Result<Self> {
        let output = OpenOptions::new().create(true).append(true).open(output)?;
        Self::start_with(
            netns,
            home,
            words,
            Stdio::from(output.try_clone()?),
            output.into(),
        )
    }

    /// The same, with its output where it is wanted.
    pub fn start_with(
        netns: &Netns,
        home: &Path,
        words: &[&str],
        stdout: Stdio,
        stderr: Stdio,
    ) -> Result<Self> {
        // ip(8) and wrappers in shell replace themselves, so the pid is the program's own.
        let child = Command::new("ip")
            .args(["netns", "exec", &netns.name])
            .args(words)
            .current_dir(home)
            .env("HOME", home)
            .env_remove("CI")
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(stderr)
            .spawn()
            .with_context(|| format!("cannot start {words:?}"))?;
        Ok(Self { child })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal to it alone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill(Pid::from_raw(self.child.id() as i32), signal)?)
    }

    /// Sends a signal and waits for its end.
    pub fn end(mut self, signal: Signal, limit: Duration) -> Result<ExitStatus> {
        self.signal(signal)?;
        eventually(&format!("end after {signal}"), limit, || {
            self.child.try_wait().ok().flatten()
        })
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A screen that nobody sees (Xvfb), for clients that want one, and its name.
pub fn screen(netns: &Netns, home: &Path) -> Result<(Program, String)> {
    let output = home.join("screen");
    let words = "Xvfb -displayfd 1 -screen 0 640x480x24 -nolisten tcp";
    let words: Vec<&str> = words.split(' ').collect();
    let screen = Program::start(netns, home, &words, &output)?;
    let name = eventually("screen", Duration::from_secs(30), || {
        let said = std::fs::read_to_string(&output).ok()?;
        let number: u32 = said.lines().find_map(|line| line.trim().parse().ok())?;
        Some(format!(":{number}"))
    })?;
    Ok((screen, name))
}

/// Runs `work` on a thread inside the namespace.
pub fn inside<T: Send + 'static>(netns: &Netns, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    let path = netns.path();
    let thread = thread::spawn(move || -> Result<T> {
        nix::sched::setns(File::open(path)?, nix::sched::CloneFlags::CLONE_NEWNET)?;
        Ok(work())
    });
    thread.join().ok().context("a thread inside the namespace died")?
}

/// What the kernel's own CPU clock of a process says, sampled while it runs.
#[derive(Debug)]
pub struct CpuWitness {
    samples: Arc<Mutex<Vec<(i64, u64)>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Time between two samples.
const WITNESS_INTERVAL: Duration = Duration::from_millis(10);

impl CpuWitness {
    /// Watches a process until it ends.
    pub fn of(pid: u32) -> Result<Self> {
        let clock = clock_getcpuclockid(Pid::from_raw(pid as i32))?;
        let samples = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let (to, stopped) = (samples.clone(), stop.clone());
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let Some(sample) = sample(clock) else { return };
                if let Ok(mut samples) = to.lock() {
                    samples.push(sample);
                }
                thread::sleep(WITNESS_INTERVAL);
            }
        });
        Ok(Self {
            samples,
            stop,
            thread: Some(thread),
        })
    }

    /// CPU of the process up to a moment, nanoseconds.
    pub fn at(&self, unix_ms: i64) -> f64 {
        let samples = self.samples.lock().expect("no sampling thread panics");
        let after = samples.partition_point(|(at, _)| *at < unix_ms);
        match (
            after.checked_sub(1).map(|index| samples[index]),
            samples.get(after),
        ) {
            (Some((from, low)), Some((to, high))) => {
                let part = (unix_ms - from) as f64 / (to - from).max(1) as f64;
                low as f64 + part * (high - low) as f64
            }
            (Some((_, cpu)), None) => cpu as f64,
            // Before the first look: it ran from 0.
            (None, first) => first.map_or(0.0, |(_, cpu)| *cpu as f64),
        }
    }

    /// CPU between two moments, nanoseconds.
    pub fn between(&self, from_ms: i64, to_ms: i64) -> f64 {
        self.at(to_ms) - self.at(from_ms)
    }
}

fn sample(clock: ClockId) -> Option<(i64, u64)> {
    let time = clock_gettime(clock).ok()?;
    Some((
        unix_ms(),
        time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64,
    ))
}

impl Drop for CpuWitness {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Keeps every snapshot of a monitor.
#[derive(Debug)]
pub struct Recorder {
    kept: Arc<Mutex<Vec<Arc<Snapshot>>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Recorder {
    /// From now on.
    pub fn new(monitor: &GameServerMonitor) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let kept = Arc::new(Mutex::new(Vec::<Arc<Snapshot>>::new()));
        let (cell, stopped, to) = (monitor.cell(), stop.clone(), kept.clone());
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                if let Some(snapshot) = cell.load()
                    && let Ok(mut kept) = to.lock()
                    && kept.last().is_none_or(|last| last.sequence < snapshot.sequence)
                {
                    kept.push(snapshot);
                }
                thread::sleep(Duration::from_millis(20));
            }
        });
        Self {
            kept,
            stop,
            thread: Some(thread),
        }
    }

    /// Everything up to now, of which a snapshot of this sequence is the last.
    pub fn until(&self, sequence: u64) -> Vec<Arc<Snapshot>> {
        let mut kept = self.kept.lock().expect("no recording thread panics").clone();
        kept.retain(|snapshot| snapshot.sequence <= sequence);
        kept
    }
}

/// Waits for a snapshot in which `condition` holds; says in few words what was there instead.
pub fn wait_for(
    monitor: &GameServerMonitor,
    what: &str,
    limit: Duration,
    condition: impl Fn(&Snapshot) -> bool,
) -> Result<Arc<Snapshot>> {
    let found = eventually(what, limit, || {
        monitor.snapshot().filter(|snapshot| condition(snapshot))
    });
    found.with_context(|| {
        let snapshot = monitor.snapshot();
        let servers = snapshot.iter().flat_map(|snapshot| &snapshot.servers);
        servers.map(in_short).collect::<Vec<_>>().join("\n")
    })
}

/// What matters of a server, in a few lines.
pub fn in_short(server: &ServerSnapshot) -> String {
    let state = &server.game_state;
    let mut text = format!(
        "{} {:?} {:?}: {:?} {:?}\n  {:?}\n",
        server.name,
        server.state,
        state.phase,
        playing(server),
        state.player_counts,
        state.counters
    );
    for session in sessions(server) {
        text += &format!(
            "  session {} {:?} {:?} {}..{:?} +{} -{} {:?}\n",
            session.id,
            session.map,
            session.phase,
            session.begun_unix_ms,
            session.ended_unix_ms,
            session.joins,
            session.leaves,
            session.phase_ms
        );
    }
    for player in state.players.iter().chain(state.departed_players.iter()) {
        text += &format!(
            "  player {} {:?} {:?} {:?} {:?} {:?}\n",
            player.number, player.name, player.address, player.state, player.left_reason, player.flow
        );
    }
    for flow in &server.top_flows {
        text += &format!("  flow {} {} {}\n", flow.remote, flow.rx.packets, flow.tx.packets);
    }
    text
}

/// Names of those in the game, sorted.
pub fn playing(server: &ServerSnapshot) -> Vec<String> {
    let mut names: Vec<String> = server
        .game_state
        .players
        .iter()
        .filter(|player| player.state == PlayerState::Playing)
        .map(|player| player.name.as_deref().unwrap_or("?").to_owned())
        .collect();
    names.sort_unstable();
    names
}

/// A player in the game, by name.
pub fn player<'a>(server: &'a ServerSnapshot, name: &str) -> Result<&'a PlayerSnapshot> {
    server
        .game_state
        .players
        .iter()
        .find(|player| player.name.as_deref() == Some(name))
        .with_context(|| format!("no player {name} in {:?}", server.game_state.players))
}

/// All sessions of a server, oldest first.
pub fn sessions(server: &ServerSnapshot) -> Vec<SessionSnapshot> {
    let state = &server.game_state;
    state
        .ended_sessions
        .iter()
        .chain(&state.sessions)
        .cloned()
        .collect()
}

/// Holds the CPU of all sessions against the process's own clock.
///
/// What the sessions used and what lies between them (by that clock) must be what the agent says that the server used, and
/// that must be what the process used by its own clock since it started: within 1 % each. A session alone must be right
/// within 1 % and what was used in the intervals that hold its beginning and its end, since use is taken to be even where
/// nothing was read.
pub fn assert_cpu_adds_up(history: &[Arc<Snapshot>], name: &str, witness: &CpuWitness, interval: Duration) {
    let of = |snapshot: &Arc<Snapshot>| {
        snapshot
            .servers
            .iter()
            .find(|server| server.name == name)
            .cloned()
    };
    let last = history.last().expect("a snapshot");
    let now_ms = (last.unix_time_seconds * 1e3) as i64;
    let server = of(last).expect("the server");
    let sessions = sessions(&server);
    let (mut used, mut between, mut ended_at) = (0.0, 0.0, 0.0);
    let interval_ms = interval.as_millis() as i64;
    for session in &sessions {
        let (from_ms, to_ms) = (session.begun_unix_ms, session.ended_unix_ms.unwrap_or(now_ms));
        // Sessions are cut in the middle of intervals: only the server's own clock tells what lies between them.
        between += witness.at(from_ms) - ended_at;
        ended_at = witness.at(to_ms);
        let cpu_ns = session.used.cpu_ns.expect("CPU is measured") as f64;
        used += cpu_ns;
        let truth = witness.between(from_ms, to_ms);
        let uneven = [from_ms, to_ms].map(|at_ms| witness.between(at_ms - interval_ms, at_ms + interval_ms));
        let slack = 0.01 * truth + uneven[0] + uneven[1];
        assert!(
            (cpu_ns - truth).abs() <= slack,
            "{session:?}: {truth} ns and {slack} ns of slack"
        );
    }
    between += witness.at(now_ms) - ended_at;
    let total = server.totals.cpu_ns.expect("CPU is measured") as f64;
    let truth = witness.at(now_ms);
    eprintln!(
        "{name}: {} sessions used {:.3} s CPU, {:.3} s lie between them; the server used {:.3} s, its clock says {:.3} s",
        sessions.len(),
        used / 1e9,
        between / 1e9,
        total / 1e9,
        truth / 1e9
    );
    let error = [(used + between) / total - 1.0, total / truth - 1.0];
    assert!(error.iter().all(|error| error.abs() <= 0.01), "off by {error:?}");
}

/// Local port of a UDP socket of a process; call it inside the process's namespace.
pub fn udp_port_of(pid: u32) -> Option<u16> {
    let inodes: Vec<String> = std::fs::read_dir(format!("/proc/{pid}/fd"))
        .ok()?
        .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
        .filter_map(|link| {
            let inode = link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?;
            Some(inode.to_owned())
        })
        .collect();
    let table = std::fs::read_to_string(format!("/proc/{pid}/net/udp")).ok()?;
    table.lines().skip(1).find_map(|line| {
        let columns: Vec<&str> = line.split_ascii_whitespace().collect();
        inodes
            .iter()
            .find(|inode| columns.get(9) == Some(&inode.as_str()))?;
        u16::from_str_radix(columns.get(1)?.split_once(':')?.1, 16).ok()
    })
}
