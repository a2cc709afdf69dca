//! Holding the agent against the truth: every kind of demo server is run with bots, and what the agent measured is
//! compared with what the processes themselves counted.
//!
//! Both ends of the measuring window are quiet: bots pause, servers stand still, and the agent drains, so that counts
//! can be compared exactly. The servers run in waves, so that two CPUs suffice for all of each: a loop that is kept off
//! its CPU does not know its own tick time either. Wires `demo` to `monitor`; belongs to neither.

use std::{
    path::Path,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use crate::{
    demo::{
        DemoError, Fleet,
        fleet::{Member, Running, selftest_waves},
        game_loop::LoopKind,
        truth::{BotsTruth, ServerTruth},
    },
    monitor::{GameServerMonitor, MonitorError, Privilege},
    world::snapshot::{ServerSnapshot, Snapshot},
};

/// One comparison. Values are in the unit that the name says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// Server and figure.
    pub name: String,
    /// What the processes say; `None` when the agent is expected to say nothing.
    pub expected: Option<f64>,
    /// What the agent says.
    pub measured: Option<f64>,
    /// Largest allowed difference.
    pub tolerance: f64,
    /// Within it?
    pub pass: bool,
}

/// All comparisons.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Every check passed.
    pub pass: bool,
    /// One row each.
    pub checks: Vec<Check>,
    /// Time of all CPUs in interrupts during the window: some kernels charge it to whoever runs.
    pub interrupt_seconds: f64,
    /// Time that the hypervisor gave to others.
    pub steal_seconds: f64,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum SelftestError {
    /// The agent.
    #[error(transparent)]
    Monitor(#[from] MonitorError),
    /// The servers and bots.
    #[error(transparent)]
    Demo(#[from] DemoError),
    /// No snapshot came.
    #[error("the agent made no snapshot within {0:?}")]
    NoSnapshot(Duration),
    /// A server that the monitor was given is not in its snapshot.
    #[error("`{0}` is missing from the agent's snapshot")]
    NotInSnapshot(String),
    /// The bots did not get in.
    #[error("only {connected} of {wanted} bots were let into `{server}`")]
    BotsMissing {
        /// Which server.
        server: String,
        /// Bots inside.
        connected: u32,
        /// Bots started.
        wanted: u32,
    },
}

const INTERVAL: Duration = Duration::from_millis(1_000);
/// Time in which packets on loopback arrive.
const SETTLE: Duration = Duration::from_millis(300);
/// Intervals before the window: servers are found, flows get their detail slots, ticks are searched.
const WARM_UP_INTERVALS: u64 = 5;

struct Quiet {
    snapshot: Arc<Snapshot>,
    truths: Vec<(ServerTruth, BotsTruth)>,
    host: HostTime,
}

/// Runs every wave for `duration` and compares.
pub fn run(gsmon: &Path, duration: Duration) -> Result<Report, SelftestError> {
    let monitor = GameServerMonitor::builder()
        .interval(INTERVAL)
        .privilege(Privilege::Required)
        .start()?;
    let mut report = Report {
        pass: true,
        checks: Vec::new(),
        interrupt_seconds: 0.0,
        steal_seconds: 0.0,
    };
    for members in selftest_waves() {
        let wave = run_wave(gsmon, &monitor, &members, duration)?;
        report.pass &= wave.pass;
        report.checks.extend(wave.checks);
        report.interrupt_seconds += wave.interrupt_seconds;
        report.steal_seconds += wave.steal_seconds;
    }
    Ok(report)
}

fn run_wave(
    gsmon: &Path,
    monitor: &GameServerMonitor,
    members: &[Member],
    duration: Duration,
) -> Result<Report, SelftestError> {
    let mut fleet = Fleet::start(gsmon, members)?;
    for server in fleet.game_servers() {
        monitor.add_game_server(server)?;
    }
    wait_for_snapshots(monitor, WARM_UP_INTERVALS)?;
    for member in &mut fleet.members {
        let truth = member.bots.ask_bots("truth")?;
        if truth.connected < truth.sockets {
            return Err(SelftestError::BotsMissing {
                server: member.name.clone(),
                connected: truth.connected,
                wanted: truth.sockets,
            });
        }
    }
    let before = quiet(monitor, &mut fleet)?;
    resume(&mut fleet)?;
    let seen = watch(monitor, duration);
    let after = quiet(monitor, &mut fleet)?;
    let mut checks = Vec::new();
    for (index, member) in fleet.members.iter().enumerate() {
        compare(index, member, &before, &after, &seen, &mut checks)?;
    }
    for member in &fleet.members {
        monitor.remove_game_server(&member.name)?;
    }
    Ok(Report {
        pass: checks.iter().all(|check| check.pass),
        checks,
        interrupt_seconds: after.host.interrupt_seconds - before.host.interrupt_seconds,
        steal_seconds: after.host.steal_seconds - before.host.steal_seconds,
    })
}

/// Bots pause, servers stand still, the agent has drained since.
fn quiet(monitor: &GameServerMonitor, fleet: &mut Fleet) -> Result<Quiet, SelftestError> {
    for member in &mut fleet.members {
        member.bots.ask_bots("pause")?;
    }
    thread::sleep(SETTLE);
    let mut truths = Vec::new();
    for member in &mut fleet.members {
        truths.push((member.server.ask_server("hold")?, BotsTruth::default()));
    }
    thread::sleep(SETTLE);
    for (member, truth) in fleet.members.iter_mut().zip(&mut truths) {
        truth.1 = member.bots.ask_bots("truth")?;
    }
    let snapshot = wait_for_snapshots(monitor, 2)?;
    Ok(Quiet {
        snapshot,
        truths,
        host: HostTime::read(),
    })
}

fn resume(fleet: &mut Fleet) -> Result<(), SelftestError> {
    for member in &mut fleet.members {
        member.server.ask_server("resume")?;
        member.bots.ask_bots("resume")?;
    }
    Ok(())
}

fn wait_for_snapshots(monitor: &GameServerMonitor, count: u64) -> Result<Arc<Snapshot>, SelftestError> {
    let limit = INTERVAL * (count as u32 + 10);
    let end = Instant::now() + limit;
    let first = monitor.snapshot().map_or(0, |snapshot| snapshot.sequence);
    while Instant::now() < end {
        if let Some(snapshot) = monitor
            .snapshot()
            .filter(|snapshot| snapshot.sequence >= first + count)
        {
            return Ok(snapshot);
        }
        thread::sleep(Duration::from_millis(20));
    }
    Err(SelftestError::NoSnapshot(limit))
}

/// Snapshots of the window whose whole interval lies inside it.
fn watch(monitor: &GameServerMonitor, duration: Duration) -> Vec<Arc<Snapshot>> {
    let end = Instant::now() + duration;
    let mut seen: Vec<Arc<Snapshot>> = Vec::new();
    let first = monitor.snapshot().map_or(0, |snapshot| snapshot.sequence) + 1;
    while Instant::now() < end {
        if let Some(snapshot) = monitor.snapshot() {
            let new = seen.last().is_none_or(|last| last.sequence < snapshot.sequence);
            if new && snapshot.sequence > first {
                seen.push(snapshot);
            }
        }
        thread::sleep(Duration::from_millis(20));
    }
    seen
}

fn compare(
    index: usize,
    member: &Running,
    before: &Quiet,
    after: &Quiet,
    seen: &[Arc<Snapshot>],
    checks: &mut Vec<Check>,
) -> Result<(), SelftestError> {
    let (server_before, bots_before) = &before.truths[index];
    let (server_after, bots_after) = &after.truths[index];
    let then = find(&before.snapshot, &member.name)?;
    let now = find(&after.snapshot, &member.name)?;
    let mut check = |figure: &str, expected: Option<f64>, measured: Option<f64>, tolerance: f64| {
        let pass = match (expected, measured) {
            (Some(expected), Some(measured)) => (expected - measured).abs() <= tolerance,
            (None, None) => true,
            _ => false,
        };
        checks.push(Check {
            name: format!("{} {figure}", member.name),
            expected,
            measured,
            tolerance,
            pass,
        });
    };
    let grown =
        |value: fn(&ServerSnapshot) -> Option<u64>| Some(value(now)?.checked_sub(value(then)?)? as f64);
    let difference = |now: u64, then: u64| Some(now.saturating_sub(then) as f64);

    let received = |server: &ServerSnapshot| server.totals.rx.map(|side| side.all());
    let sent = |server: &ServerSnapshot| server.totals.tx.map(|side| side.all());
    let exact = 0.0;
    check(
        "receive packets",
        difference(bots_after.sent.packets, bots_before.sent.packets),
        received(now)
            .zip(received(then))
            .map(|(now, then)| (now.packets - then.packets) as f64),
        exact,
    );
    check(
        "receive bytes",
        difference(bots_after.sent.bytes, bots_before.sent.bytes),
        received(now)
            .zip(received(then))
            .map(|(now, then)| (now.bytes - then.bytes) as f64),
        exact,
    );
    check(
        "transmit packets",
        difference(server_after.sent.packets, server_before.sent.packets),
        sent(now)
            .zip(sent(then))
            .map(|(now, then)| (now.packets - then.packets) as f64),
        exact,
    );
    check(
        "transmit bytes",
        difference(server_after.sent.bytes, server_before.sent.bytes),
        sent(now)
            .zip(sent(then))
            .map(|(now, then)| (now.bytes - then.bytes) as f64),
        exact,
    );
    check(
        "flows",
        Some(f64::from(bots_after.sockets)),
        now.flows.map(|flows| flows as f64),
        exact,
    );

    let (cpu_before, cpu_after) = (&server_before.cpu, &server_after.cpu);
    let cpu = difference(cpu_after.rusage_cpu_ns, cpu_before.rusage_cpu_ns).map(|ns| ns / 1e6);
    let milliseconds = |value: Option<f64>| value.map(|ns| ns / 1e6);
    check(
        "cpu ms",
        cpu,
        milliseconds(grown(|server| server.totals.cpu_ns)),
        0.005 * cpu.unwrap_or(0.0),
    );
    let wait = difference(cpu_after.run_queue_wait_ns, cpu_before.run_queue_wait_ns).map(|ns| ns / 1e6);
    check(
        "run-queue wait ms",
        wait,
        milliseconds(grown(|server| server.totals.run_queue_wait_ns)),
        // The thread that answers is itself scheduled between the two readings.
        0.01 * wait.unwrap_or(0.0) + 1.0,
    );
    let voluntary = difference(cpu_after.voluntary_switches, cpu_before.voluntary_switches);
    check(
        "voluntary switches",
        voluntary,
        grown(|server| server.totals.voluntary_switches),
        0.005 * voluntary.unwrap_or(0.0) + 4.0,
    );
    let involuntary = difference(cpu_after.involuntary_switches, cpu_before.involuntary_switches);
    check(
        "involuntary switches",
        involuntary,
        grown(|server| server.totals.involuntary_switches),
        0.005 * involuntary.unwrap_or(0.0) + 4.0,
    );

    let rates = seen
        .iter()
        .filter_map(|snapshot| Some(find(snapshot, &member.name).ok()?.tick.as_ref()?.rate_hz));
    let rate = server_after.tick_rate_hz;
    check("tick rate Hz", Some(rate), mean(rates.collect()), 0.01 * rate);
    // From outside, a loop that spins is busy all the time: its tick time cannot be known and must not be claimed.
    let time = (member.kind != LoopKind::Spinning).then_some(server_after.tick_time_p50_ns as f64 / 1e6);
    // All ticks of the window on both sides: the players, and with them the work, change within it.
    let tick_time_p50_ns = now
        .totals
        .tick_times
        .as_ref()
        .and_then(|times| match &then.totals.tick_times {
            Some(before) => times.since(before).quantile_ns(0.5),
            None => times.quantile_ns(0.5),
        });
    check(
        "tick time p50 ms",
        time,
        milliseconds(tick_time_p50_ns),
        0.1 * time.unwrap_or(0.0),
    );
    Ok(())
}

fn find<'a>(snapshot: &'a Snapshot, name: &str) -> Result<&'a ServerSnapshot, SelftestError> {
    let found = snapshot.servers.iter().find(|server| server.name == name);
    found.ok_or_else(|| SelftestError::NotInSnapshot(name.to_owned()))
}

fn mean(values: Vec<f64>) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// Times of /proc/stat (proc_stat(5)), all CPUs.
#[derive(Clone, Copy, Debug, Default)]
struct HostTime {
    interrupt_seconds: f64,
    steal_seconds: f64,
}

impl HostTime {
    fn read() -> Self {
        let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
        let fields: Vec<f64> = text
            .lines()
            .next()
            .unwrap_or_default()
            .split_ascii_whitespace()
            .skip(1)
            .filter_map(|field| field.parse().ok())
            .collect();
        let ticks_per_second = procfs::ticks_per_second() as f64;
        let at = |index: usize| fields.get(index).copied().unwrap_or(0.0) / ticks_per_second;
        // user nice system idle iowait irq softirq steal
        Self {
            interrupt_seconds: at(5) + at(6),
            steal_seconds: at(7),
        }
    }
}
