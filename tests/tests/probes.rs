//! Function probes on real processes: the demo server counts and times its lag compensation itself, and the agent is
//! held against that. Threads of this test stand for what a demo server does not do: recursion, lost returns, dead
//! threads, floods of calls.

use std::{
    hint::black_box,
    thread,
    time::{Duration, Instant},
};

use gsmon_agent::{
    GameServerMonitor,
    config::{Game, GameServer, ProbeMeasure, ProbePlace, ProbeSettings, Protocol},
    demo::{
        DemoProcess, bots::BotsArgs, bots::Homes, diary::DiaryArgs, game_loop::LoopKind, game_loop::burn,
        lag::LagArgs, protocol::Header, server::ServerArgs,
    },
    kernel::{CallCounts, Kernel, KernelOptions, ProbeBinding, ProbeReading, ProbeState, ServerSlotId},
    world::{
        probe::{ProbeMode, ProbeSnapshot},
        snapshot::Snapshot,
    },
};
use gsmon_tests::{gsmon, options, program_or_skip, root_or_skip, server, wait_for};

const LIMIT: Duration = Duration::from_secs(60);
const FUNCTION: &str = "demo::lag::compensate_lag";
/// One address for all processes of these tests.
const ADDRESS: [u8; 4] = [127, 0, 0, 1];

fn demo_server(lag: LagArgs) -> DemoProcess {
    let args = ServerArgs {
        kind: LoopKind::Sleeping,
        header: Header::Quake3,
        address: ADDRESS.into(),
        port: 0,
        tick_hz: 20.0,
        base_work_us: 500,
        work_per_player_us: 50,
        ticks_per_snapshot: 1,
        max_players: 16,
        lifetime_seconds: 600,
        diary: DiaryArgs::default(),
        lag,
    };
    DemoProcess::server(&gsmon().unwrap(), &[], &args).unwrap()
}

fn demo_bots(port: u16, count: u32) -> DemoProcess {
    let args = BotsArgs {
        header: Header::Quake3,
        address: ADDRESS.into(),
        port,
        count,
        input_hz: 30.0,
        stay_seconds: 0,
        homes: Homes::Shared,
        seed: 1,
        lifetime_seconds: 600,
    };
    DemoProcess::bots(&gsmon().unwrap(), &[], &args).unwrap()
}

fn entry(process: &DemoProcess, probes: Vec<ProbeSettings>) -> GameServer {
    let mut entry = GameServer::new("demo", Game::Demo)
        .port(process.ready.port)
        .protocol(Protocol::Udp)
        .without_query();
    entry.probes = probes;
    entry
}

fn monitor(entry: GameServer) -> (GameServerMonitor, tempfile::TempDir) {
    let state = tempfile::tempdir().unwrap();
    let monitor = GameServerMonitor::builder()
        .interval(Duration::from_millis(500))
        .state_directory(state.path())
        .add_game_server(entry)
        .start()
        .unwrap();
    (monitor, state)
}

fn probe<'a>(snapshot: &'a Snapshot, name: &str) -> &'a ProbeSnapshot {
    let probes = &server(snapshot, "demo").unwrap().probes;
    probes.iter().find(|probe| probe.name == name).unwrap()
}

fn has_mode(snapshot: &Snapshot, name: &str, mode: ProbeMode) -> bool {
    server(snapshot, "demo").is_ok_and(|server| {
        server
            .probes
            .iter()
            .any(|probe| probe.name == name && probe.mode == mode)
    })
}

#[test]
fn the_lag_compensation_of_the_demo_server_is_counted_exactly_and_timed_closely() {
    if !root_or_skip() {
        return;
    }
    let mut process = demo_server(LagArgs {
        lag_us_per_100ms: 1_000,
        player_rtt_ms: vec![50, 100, 300],
    });
    let lag = ProbeSettings::new("lag", ProbePlace::Symbol(FUNCTION.into()));
    let counted = ProbeSettings::new("lag_calls", ProbePlace::Symbol("compensate_lag".into()))
        .measure(ProbeMeasure::Calls);
    let (monitor, _state) = monitor(entry(&process, vec![lag, counted]));
    // Nobody plays yet: no call is missed.
    wait_for(&monitor, LIMIT, |snapshot| {
        has_mode(snapshot, "lag", ProbeMode::Timing) && has_mode(snapshot, "lag_calls", ProbeMode::Counting)
    })
    .unwrap();
    let bots = demo_bots(process.ready.port, 3);
    let snapshot = wait_for(&monitor, LIMIT, |snapshot| {
        has_mode(snapshot, "lag", ProbeMode::Timing)
            && probe(snapshot, "lag").totals.calls >= 600
            && probe(snapshot, "lag").rates.time_per_tick_and_player_ns.is_some()
    })
    .unwrap();
    let rates = &probe(&snapshot, "lag").rates;
    // Three players; 450 ms of round trips in all, 1 ms of CPU per 100 ms. An interval may hold a tick more or less,
    // and on a busy machine the calls wait for a CPU.
    let (calls, time_us) = (
        rates.calls_per_tick.unwrap(),
        rates.time_per_tick_ns.unwrap() / 1e3,
    );
    assert!((2.0..4.5).contains(&calls), "{calls} calls per tick");
    assert!(time_us > 3_000.0, "{time_us} us per tick");
    let per_player_us = rates.time_per_tick_and_player_ns.unwrap() / 1e3;
    assert!((per_player_us * 3.0 / time_us - 1.0).abs() < 1e-6);
    assert!(!rates.estimated);
    // While it stands still, every count settles.
    let truth = process.ask_server("hold").unwrap().lag;
    let now = monitor.snapshot().unwrap().sequence;
    let snapshot = wait_for(&monitor, LIMIT, |snapshot| snapshot.sequence >= now + 3).unwrap();
    let seen = probe(&snapshot, "lag");
    assert_eq!(seen.totals.calls, truth.calls);
    assert_eq!(seen.totals.finished, truth.calls);
    assert_eq!(seen.totals.times.count(), truth.calls);
    assert_eq!(
        (
            seen.totals.nested,
            seen.totals.untimed,
            seen.totals.full,
            seen.totals.lost
        ),
        (0, 0, 0, 0)
    );
    assert_eq!(probe(&snapshot, "lag_calls").totals.calls, truth.calls);
    assert_eq!(probe(&snapshot, "lag_calls").totals.finished, 0);
    let time_ns = seen.totals.times.sum_ns() as f64;
    let off = time_ns / truth.time_ns as f64 - 1.0;
    let p50_ns = seen.totals.times.quantile_ns(0.5).unwrap();
    let p50_off = p50_ns / truth.time_p50_ns as f64 - 1.0;
    eprintln!(
        "{} calls, time {:+.2} % off, median {:+.2} %",
        truth.calls,
        off * 100.0,
        p50_off * 100.0
    );
    // The probe sees all that the function sees of itself, and of the two traps the end of one and the beginning of the
    // other; on a busy machine the thread now and then waits for a CPU there. Of the median a bucket is all that is known,
    // and where times lie far apart, that of their neighbour.
    assert!(
        (-0.001..0.05).contains(&off),
        "{time_ns} ns against {} ns",
        truth.time_ns
    );
    assert!(
        (-0.15..0.15).contains(&p50_off),
        "{p50_ns} ns against {} ns",
        truth.time_p50_ns
    );
    assert!(seen.cost_per_call_ns.unwrap() > 0.0);
    // The last tick is not over while the server stands still, unless the work of answering looks like the next; and
    // where a busy machine makes the server late, it begins the next tick without sleeping, and the two look like one.
    let per_tick = &seen.totals.per_tick;
    let known = per_tick.times.count();
    let left_out = seen.totals.ticks_left_out;
    eprintln!(
        "{known} of {} ticks with calls, {} without, {left_out} left out",
        truth.ticks, per_tick.idle
    );
    assert!(
        known + left_out <= truth.ticks + 1,
        "{known} and {left_out} of {}",
        truth.ticks
    );
    assert!(known * 10 >= truth.ticks * 9, "{known} of {}", truth.ticks);
    assert!(per_tick.times.sum_ns() <= seen.totals.times.sum_ns());
    // Of the ticks with calls: the others are not in the server's books.
    let by_player = &seen.totals.per_tick_and_player.times;
    for (what, times, truth) in [
        ("tick", &per_tick.times, truth.tick_time),
        ("tick and player", by_player, truth.tick_and_player_time),
    ] {
        let p50_ns = times.quantile_ns(0.5).unwrap();
        eprintln!("per {what} {p50_ns} ns, in truth {truth:?}");
        // Half a bucket, what the traps add, and on a busy machine some ticks that trade places.
        let bounds = truth.p40_ns as f64 * 0.965..truth.p60_ns as f64 * 1.05;
        assert!(
            bounds.contains(&p50_ns),
            "{p50_ns} ns per {what}, in truth {truth:?}"
        );
    }
    eprintln!("a timed call costs {:.0} ns", seen.cost_per_call_ns.unwrap());
    process.ask_server("resume").unwrap();
    // The server ends: what it had counted stays, and the probe waits for the next.
    drop(bots);
    drop(process);
    let snapshot = wait_for(&monitor, LIMIT, |snapshot| {
        has_mode(snapshot, "lag", ProbeMode::Waiting)
    })
    .unwrap();
    assert!(probe(&snapshot, "lag").totals.calls >= truth.calls);
}

#[test]
fn what_cannot_be_probed_says_what_to_do() {
    if !root_or_skip() {
        return;
    }
    let process = demo_server(LagArgs::default());
    let symbol = |name: &str, symbol: &str| ProbeSettings::new(name, ProbePlace::Symbol(symbol.into()));
    let (monitor, _state) = monitor(entry(
        &process,
        vec![
            symbol("missing", "demo::lag::compensate_lags"),
            symbol("library", "rewind").object("libnothing.so"),
            symbol("foreign", "rewind").object("/etc/passwd"),
            ProbeSettings::new("nowhere", ProbePlace::Address(3)),
            symbol("good", FUNCTION),
        ],
    ));
    let snapshot = wait_for(&monitor, LIMIT, |snapshot| {
        has_mode(snapshot, "good", ProbeMode::Timing)
    })
    .unwrap();
    for (name, mode, words) in [
        ("missing", ProbeMode::Failed, "nm -C"),
        ("library", ProbeMode::Waiting, "has not loaded libnothing.so yet"),
        ("foreign", ProbeMode::Failed, "no ELF file"),
        ("nowhere", ProbeMode::Failed, "0x3 is no code of"),
    ] {
        let seen = probe(&snapshot, name);
        let reason = seen.reason.as_deref().unwrap();
        assert_eq!(seen.mode, mode, "{name}: {reason}");
        assert!(reason.contains(words), "{name}: {reason}");
    }
}

/// A function of this process, at its own slot of a kernel side of its own.
struct Own {
    kernel: Kernel,
    server: ServerSlotId,
    settings: ProbeSettings,
}

impl Own {
    fn new(options: &KernelOptions, settings: ProbeSettings) -> Self {
        let mut kernel = Kernel::load(options).unwrap();
        let server = kernel.add_server().unwrap();
        kernel.set_probes(server, std::slice::from_ref(&settings), &[std::process::id()]);
        let mut own = Self {
            kernel,
            server,
            settings,
        };
        let state = own.read().state;
        assert!(!matches!(state, ProbeState::Failed { .. }), "{state:?}");
        own
    }

    fn read(&mut self) -> ProbeReading {
        let mut delta = self.kernel.drain();
        let mut probes = delta.servers.remove(&self.server).unwrap().probes;
        assert_eq!(probes.len(), 1);
        probes.remove(0)
    }

    fn look(&mut self) {
        let own = [std::process::id()];
        self.kernel
            .set_probes(self.server, std::slice::from_ref(&self.settings), &own);
    }
}

fn symbol(name: &str) -> ProbeSettings {
    ProbeSettings::new("own", ProbePlace::Symbol(format!("probes::{name}")))
}

#[inline(never)]
fn descend(depth: u32, work: Duration) -> u32 {
    if depth == 0 {
        burn(work);
        return black_box(1);
    }
    black_box(descend(black_box(depth - 1), work)) + 1
}

#[test]
fn of_calls_inside_calls_the_outermost_is_timed() {
    if !root_or_skip() {
        return;
    }
    let mut own = Own::new(&options(), symbol("descend"));
    let work = Duration::from_millis(2);
    let start = Instant::now();
    for _ in 0..10 {
        black_box(descend(black_box(5), work));
    }
    let whole_ns = start.elapsed().as_nanos() as u64;
    let calls = own.read().calls;
    assert_eq!((calls.calls, calls.finished, calls.nested), (60, 10, 50));
    assert_eq!((calls.lost, calls.full, calls.untimed), (0, 0, 0));
    assert!(calls.time_ns >= 20_000_000, "{} ns", calls.time_ns);
    assert!(calls.time_ns <= whole_ns, "{} of {whole_ns} ns", calls.time_ns);
}

#[test]
fn without_attach_cookies_there_is_a_pair_of_programs_per_function() {
    if !root_or_skip() {
        return;
    }
    let old = KernelOptions {
        probe_binding: ProbeBinding::Fixed,
        ..options()
    };
    let mut own = Own::new(&old, symbol("descend"));
    for _ in 0..7 {
        black_box(descend(black_box(2), Duration::ZERO));
    }
    let calls = own.read().calls;
    assert_eq!((calls.calls, calls.finished, calls.nested), (21, 7, 14));
}

#[inline(never)]
fn stay(end: Instant) -> u32 {
    while Instant::now() < end {
        thread::sleep(Duration::from_millis(5));
    }
    black_box(2)
}

#[test]
fn threads_count_together_and_calls_under_way_are_not_lost() {
    if !root_or_skip() {
        return;
    }
    let mut own = Own::new(&options(), symbol("stay"));
    let end = Instant::now() + Duration::from_millis(1_500);
    let threads: Vec<_> = (0..4).map(|_| thread::spawn(move || stay(end))).collect();
    thread::sleep(Duration::from_millis(500));
    let calls = own.read().calls;
    assert_eq!((calls.calls, calls.finished, calls.lost), (4, 0, 0));
    for thread in threads {
        thread.join().unwrap();
    }
    // The next look changes nothing.
    own.look();
    let calls = own.read().calls;
    assert_eq!((calls.calls, calls.finished, calls.lost), (0, 4, 0));
    assert!(calls.time_ns >= 4_000_000_000);
}

/// A process that sleeps in a function of its C library, again and again.
struct Sleeper(std::process::Child);

impl Sleeper {
    fn start() -> Self {
        let script = "while (1) { select(undef, undef, undef, 0.05) }";
        let child = std::process::Command::new("perl").args(["-e", script]).spawn();
        Self(child.unwrap())
    }

    fn end(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        self.end();
    }
}

#[test]
fn a_library_is_probed_and_a_call_whose_thread_dies_is_lost_and_told() {
    if !root_or_skip() || !program_or_skip("perl", "perl-base") {
        return;
    }
    let mut sleeper = Sleeper::start();
    let mut kernel = Kernel::load(&options()).unwrap();
    let server = kernel.add_server().unwrap();
    let in_libc =
        |symbol: &str| ProbeSettings::new("own", ProbePlace::Symbol(symbol.into())).object("libc.so.6");
    let select = in_libc("select");
    // Not before the library is there.
    let mut calls = CallCounts::default();
    let end = Instant::now() + LIMIT;
    while calls.finished < 5 {
        assert!(Instant::now() < end, "{calls:?}");
        kernel.set_probes(server, std::slice::from_ref(&select), &[sleeper.0.id()]);
        let reading = kernel.drain().servers.remove(&server).unwrap().probes.remove(0);
        assert!(!matches!(reading.state, ProbeState::Failed { .. }), "{reading:?}");
        calls.calls += reading.calls.calls;
        calls.finished += reading.calls.finished;
        assert_eq!(reading.calls.lost, 0);
        thread::sleep(Duration::from_millis(20));
    }
    sleeper.end();
    kernel.set_probes(server, std::slice::from_ref(&select), &[]);
    let reading = kernel.drain().servers.remove(&server).unwrap().probes.remove(0);
    assert!(matches!(reading.state, ProbeState::Waiting { .. }), "{reading:?}");
    calls.calls += reading.calls.calls;
    calls.finished += reading.calls.finished;
    // It was in the call, unless it was killed in the moment between two.
    assert!(reading.calls.lost <= 1);
    assert_eq!(calls.calls, calls.finished + reading.calls.lost, "{reading:?}");
    // Debian's library has no symbol table, only what it exports.
    let next = Sleeper::start();
    let missing = in_libc("lag_compensation");
    let state = loop {
        kernel.set_probes(server, std::slice::from_ref(&missing), &[next.0.id()]);
        let reading = kernel.drain().servers.remove(&server).unwrap().probes.remove(0);
        match reading.state {
            ProbeState::Waiting { .. } if Instant::now() < end => thread::sleep(Duration::from_millis(10)),
            state => break state,
        }
    };
    let reason = state.reason().unwrap();
    assert!(matches!(state, ProbeState::Failed { .. }), "{state:?}");
    assert!(reason.contains("offset"), "{reason}");
}

#[inline(never)]
fn tiny(n: u64) -> u64 {
    black_box(n) + 1
}

#[test]
fn a_flood_of_calls_is_timed_in_part_then_counted_then_left_alone() {
    if !root_or_skip() {
        return;
    }
    let mut own = Own::new(&options(), symbol("tiny").max_calls_per_second(200));
    let paced = |calls: u64, pause: Duration| {
        for n in 0..calls {
            black_box(tiny(n));
            thread::sleep(pause);
        }
    };
    paced(500, Duration::from_micros(500));
    let calls = own.read().calls;
    assert_eq!(calls.calls, 500);
    assert_eq!(calls.finished + calls.untimed, 500, "{calls:?}");
    paced(500, Duration::from_micros(500));
    let reading = own.read();
    assert!(
        matches!(reading.state, ProbeState::Sampling { .. }),
        "{:?}",
        reading.state
    );
    assert_eq!(reading.calls.calls, 500);
    assert!(reading.calls.untimed > 250, "{:?}", reading.calls);
    // As fast as it goes: by now even counting is too much.
    let end = Instant::now() + LIMIT;
    let mut told = Vec::new();
    while Instant::now() < end {
        let until = Instant::now() + Duration::from_millis(200);
        let mut made = 0;
        while Instant::now() < until {
            made += 1;
            black_box(tiny(made));
        }
        let reading = own.read();
        told.push(reading.state.clone());
        if matches!(reading.state, ProbeState::Detached { .. }) {
            break;
        }
        assert_eq!(reading.calls.calls, made);
    }
    assert!(
        matches!(told.last(), Some(ProbeState::Detached { .. })),
        "{told:?}"
    );
    for n in 0..1_000 {
        black_box(tiny(n));
    }
    assert_eq!(own.read().calls.calls, 0);
}
