//! Costs that are planted and known: phases, starts and stops, companions, crashes. Rooms are in `planted_rooms`.
//!
//! A server does what it is told and says what the kernel's own books say it cost; the agent is held against that.

use std::{
    fs,
    net::UdpSocket,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use gsmon_agent::{
    GameServerMonitor,
    config::{Companion, GrammarRule, GrammarSettings, LogSettings, RuleEvent},
    demo::{DemoProcess, companion::CompanionArgs, planted::Paid},
    games::event::Phase,
    world::{
        session::transitions::{LifeKind, LifeRecord, Transition},
        snapshot::{CompanionSnapshot, ServerSnapshot, ServerState},
    },
};
use gsmon_tests::{
    gsmon,
    planted::{LIMIT, World, arguments, directory, entry, monitor, near, planted, tell, unix_ms, up},
    root_or_skip, server, settled, wait_for,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// What a load is to cost: CPU milliseconds, MiB held, MiB written, datagrams.
#[derive(Clone, Copy)]
struct Load(u64, u64, u64, u64);

impl Load {
    fn words(self) -> String {
        format!("{} {} {} {}", self.0, self.1, self.2, self.3)
    }
}

fn transition(server: &ServerSnapshot, from: Phase, to: Phase, at_ms: i64) -> Option<&Transition> {
    server
        .game_state
        .transitions
        .iter()
        .find(|record| (record.from, record.to) == (from, to) && record.began_unix_ms >= at_ms - 1_000)
}

fn check_transition(record: &Transition, paid: &Paid, took_ms: i64, what: &str) {
    near(
        &format!("{what}: time"),
        record.took_ms as f64,
        took_ms as f64,
        0.1,
    );
    let cpu_ns = record.used.cpu_ns.unwrap();
    near(&format!("{what}: CPU"), cpu_ns as f64, paid.cpu_ns as f64, 0.1);
    let disk = record.used.disk_write_bytes.unwrap();
    near(&format!("{what}: disk"), disk as f64, paid.disk_bytes as f64, 0.1);
    let packets = record.used.tx_packets.unwrap();
    near(
        &format!("{what}: packets"),
        packets as f64,
        paid.packets as f64,
        0.1,
    );
    let bytes = record.used.tx_bytes.unwrap();
    near(
        &format!("{what}: bytes"),
        bytes as f64,
        (paid.packets * 228) as f64,
        0.1,
    );
}

fn check_memory(record: &Transition, paid: &Paid, what: &str) {
    let rss = record.change.unwrap().rss_bytes.unwrap();
    near(&format!("{what}: memory"), rss, paid.rss_bytes as f64, 0.1);
}

/// Tells through `say`, loads in between, and checks the record.
fn transitions_cost_what_was_planted(
    name: &str,
    world: &mut World,
    monitor: &GameServerMonitor,
    loads: &[Load],
    say: &mut dyn FnMut(&GameServerMonitor, Phase),
) {
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut checked = Vec::new();
    for (n, load) in loads.iter().enumerate() {
        say(monitor, Phase::Lobby);
        // Not in step with intervals.
        thread::sleep(Duration::from_millis(2_100 + 370 * n as u64));
        peer.send_to(b"here", ("127.0.0.1", world.process.ready.port))
            .unwrap();
        let at_ms = unix_ms();
        let begin = Instant::now();
        say(monitor, Phase::Loading);
        let paid = world.process.tell(&format!("load {}", load.words())).unwrap();
        let took_ms = begin.elapsed().as_millis() as i64;
        say(monitor, Phase::Active);
        let what = format!("{name} {n}");
        let snapshot = wait_for(monitor, LIMIT, |snapshot| {
            let server = server(snapshot, name).unwrap();
            transition(server, Phase::Lobby, Phase::Active, at_ms)
                .is_some_and(|record| record.change.is_some())
        })
        .unwrap();
        let record = transition(
            server(&snapshot, name).unwrap(),
            Phase::Lobby,
            Phase::Active,
            at_ms,
        )
        .unwrap();
        checked.push((what, record.clone(), paid, took_ms));
        world.process.tell("free").unwrap();
    }
    for (what, record, paid, took_ms) in &checked {
        check_transition(record, paid, *took_ms, what);
        check_memory(record, paid, what);
    }
}

const LOADS: [Load; 4] = [
    Load(700, 64, 16, 300),
    Load(300, 160, 40, 1_000),
    Load(1_500, 96, 8, 5_000),
    Load(2_200, 250, 80, 100),
];

#[test]
fn transitions_told_by_push_cost_what_was_planted() {
    if !root_or_skip() {
        return;
    }
    let mut world = planted("phases");
    let monitor = monitor(1_000, vec![entry("phases")]);
    up(&monitor, &["phases"]);
    transitions_cost_what_was_planted("phases", &mut world, &monitor, &LOADS, &mut |monitor, phase| {
        let phase = format!("{phase:?}").to_lowercase();
        tell(
            monitor,
            "phases",
            &format!("\"type\":\"phase\",\"phase\":\"{phase}\""),
        );
    });
}

#[test]
fn transitions_told_by_a_log_cost_what_was_planted() {
    if !root_or_skip() {
        return;
    }
    let mut world = planted("phases-log");
    let log = world.directory.path().join("server.log");
    let mut file = fs::File::create(&log).unwrap();
    let mut entry = entry("phases-log");
    entry.log = Some(LogSettings {
        file: Some(log),
        ..LogSettings::default()
    });
    entry.grammar = Some(GrammarSettings {
        prefix: None,
        rules: vec![GrammarRule {
            event: RuleEvent::Phase,
            pattern: "phase (?<phase>.+)".into(),
            separator: ", ".into(),
            kind: None,
        }],
    });
    let monitor = monitor(1_000, vec![entry]);
    up(&monitor, &["phases-log"]);
    // Lines are read four times a second: what is told must be long against that.
    let loads = [Load(4_000, 96, 32, 800), Load(5_000, 128, 64, 2_000)];
    transitions_cost_what_was_planted("phases-log", &mut world, &monitor, &loads, &mut |_, phase| {
        use std::io::Write;
        let phase = format!("{phase:?}").to_lowercase();
        writeln!(file, "phase {phase}").unwrap();
        // What it does next, it does when the line has been read.
        thread::sleep(Duration::from_millis(300));
    });
}

fn life(server: &ServerSnapshot, kind: LifeKind) -> Option<LifeRecord> {
    let lives = &server.game_state.starts_and_stops;
    lives.iter().rev().find(|record| record.kind == kind).cloned()
}

#[test]
fn starts_and_stops_cost_what_was_planted() {
    if !root_or_skip() {
        return;
    }
    let names = ["life-0", "life-1", "life-2"];
    let monitor = monitor(1_000, names.iter().map(|name| entry(name)).collect());
    for (name, load) in names.iter().zip([
        Load(900, 80, 24, 0),
        Load(2_600, 200, 60, 0),
        Load(400, 40, 12, 0),
    ]) {
        let directory = directory();
        let begun = Instant::now();
        let arguments = arguments(name, &load.words(), directory.path());
        let mut process = DemoProcess::planted(&gsmon().unwrap(), &[], &arguments).unwrap();
        tell(&monitor, name, "\"type\":\"server_ready\"");
        let took_ms = begun.elapsed().as_millis() as f64;
        let first = process.tell("first").unwrap();
        // Everything since its start, loading of the program included.
        let all = process.tell("cpu").unwrap();
        let snapshot = wait_for(&monitor, LIMIT, |snapshot| {
            life(server(snapshot, name).unwrap(), LifeKind::WarmUp).is_some()
        })
        .unwrap();
        let record = life(server(&snapshot, name).unwrap(), LifeKind::WarmUp).unwrap();
        near(
            &format!("{name}: warm-up time"),
            record.took_ms as f64,
            took_ms,
            0.1,
        );
        near(
            &format!("{name}: warm-up CPU"),
            record.used.cpu_ns.unwrap() as f64,
            all.cpu_ns as f64,
            0.1,
        );
        near(
            &format!("{name}: warm-up disk"),
            record.used.disk_write_bytes.unwrap() as f64,
            first.disk_bytes as f64,
            0.1,
        );
        near(
            &format!("{name}: warm-up peak memory"),
            record.peak_rss_bytes.unwrap() as f64,
            all.rss_bytes as f64,
            0.1,
        );
        // Somebody comes and goes; then it puts things in order and ends.
        tell(
            &monitor,
            name,
            "\"type\":\"player_joined\",\"player\":{\"slot\":1}",
        );
        thread::sleep(Duration::from_millis(2_300));
        process.tell("free").unwrap();
        let before = process.tell("cpu").unwrap();
        let left = Instant::now();
        tell(&monitor, name, "\"type\":\"player_left\",\"player\":{\"slot\":1}");
        let paid = process.tell(&format!("load {} 64 16 0", load.0)).unwrap();
        // The last figures of a process that is gone are those of its last reading.
        settled(&monitor).unwrap();
        let after = process.tell("cpu").unwrap();
        drop(process);
        let took_ms = left.elapsed().as_millis() as f64;
        let snapshot = wait_for(&monitor, LIMIT, |snapshot| {
            life(server(snapshot, name).unwrap(), LifeKind::CoolDown).is_some()
        })
        .unwrap();
        let record = life(server(&snapshot, name).unwrap(), LifeKind::CoolDown).unwrap();
        near(
            &format!("{name}: cool-down time"),
            record.took_ms as f64,
            took_ms,
            0.1,
        );
        let cpu_ns = after.cpu_ns - before.cpu_ns;
        near(
            &format!("{name}: cool-down CPU"),
            record.used.cpu_ns.unwrap() as f64,
            cpu_ns as f64,
            0.1,
        );
        near(
            &format!("{name}: cool-down disk"),
            record.used.disk_write_bytes.unwrap() as f64,
            paid.disk_bytes as f64,
            0.1,
        );
        near(
            &format!("{name}: cool-down peak memory"),
            record.peak_rss_bytes.unwrap() as f64,
            after.rss_bytes as f64,
            0.1,
        );
    }
}

/// A cgroup of its own, gone when dropped.
struct Cgroup(PathBuf);

impl Cgroup {
    fn new(label: &str) -> Option<Self> {
        let mounts = fs::read_to_string("/proc/mounts").unwrap();
        let root = mounts.lines().find_map(|line| {
            let mut words = line.split(' ').skip(1);
            let (path, kind) = (words.next()?, words.next()?);
            (kind == "cgroup2").then(|| PathBuf::from(path))
        })?;
        let path = root.join(format!("gsmon-{label}-{}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Some(Self(path))
    }

    fn take(&self, pid: u32) {
        fs::write(self.0.join("cgroup.procs"), pid.to_string()).unwrap();
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        for _ in 0..50 {
            if fs::remove_dir(&self.0).is_ok() {
                return;
            }
            thread::sleep(Duration::from_millis(50));
        }
    }
}

fn companion_of<'a>(server: &'a ServerSnapshot, name: &str) -> &'a CompanionSnapshot {
    server
        .companions
        .iter()
        .find(|companion| companion.name == name)
        .unwrap()
}

#[test]
fn companions_are_told_apart_and_have_their_share() {
    if !root_or_skip() {
        return;
    }
    let Some(group) = Cgroup::new("planted") else {
        eprintln!("skipped: no cgroup v2");
        return;
    };
    let binary = gsmon().unwrap();
    let (mut first, mut second) = (planted("guarded-a"), planted("guarded-b"));
    let guard = |tag: &str| Companion {
        name: "guard".into(),
        executable: None,
        command_line: Some(format!("demo-companion --tag {tag} ")),
    };
    // One is found by its own executable.
    let own = first.directory.path().join("voice-server");
    fs::hard_link(&binary, &own)
        .or_else(|_| fs::copy(&binary, &own).map(drop))
        .unwrap();
    let entries = ["guarded-a", "guarded-b"].map(|name| {
        let mut entry = entry(name);
        entry.companions = vec![guard("anticheat")];
        if name == "guarded-a" {
            entry.companions.push(Companion {
                name: "voice".into(),
                executable: Some("voice-server".into()),
                command_line: None,
            });
        }
        entry
    });
    let monitor = monitor(1_000, entries.into());
    up(&monitor, &["guarded-a", "guarded-b"]);
    let writes = first.directory.path().to_owned();
    let arguments = |tag: &str, cores: f64, mib: usize, write_mib: usize| CompanionArgs {
        tag: tag.into(),
        cores,
        mib,
        write_mib,
        directory: writes.clone(),
        lifetime_seconds: 120,
    };
    // A child of its server.
    let words = |args: &CompanionArgs| {
        let words: Vec<String> = args
            .words()
            .iter()
            .map(|(name, value)| format!("{name} {value}"))
            .collect();
        format!("demo-companion {}", words.join(" "))
    };
    let child = words(&arguments("anticheat", 0.10, 40, 2));
    let child = first
        .process
        .tell(&format!("companion {} {child}", binary.display()))
        .unwrap();
    let voice = words(&arguments("talk", 0.05, 20, 0));
    let voice = first
        .process
        .tell(&format!("companion {} {voice}", own.display()))
        .unwrap();
    // Not a child: in the same cgroup.
    group.take(second.process.ready.pid);
    let mut beside = DemoProcess::companion(&binary, &[], &arguments("anticheat", 0.15, 80, 3)).unwrap();
    group.take(beside.ready.pid);
    first.process.tell("room a 0.30").unwrap();
    first.process.tell("load 0 100 30 0").unwrap();
    second.process.tell("room b 0.20").unwrap();
    second.process.tell("load 0 50 20 0").unwrap();
    let found = |snapshot: &gsmon_agent::world::snapshot::Snapshot| {
        let pids = |server_name: &str, name: &str| {
            companion_of(server(snapshot, server_name).unwrap(), name)
                .pids
                .clone()
        };
        (
            pids("guarded-a", "guard"),
            pids("guarded-a", "voice"),
            pids("guarded-b", "guard"),
        )
    };
    let expected = (vec![child.pid], vec![voice.pid], vec![beside.ready.pid]);
    // Cgroups are read again every tenth interval.
    wait_for(&monitor, Duration::from_secs(30), |snapshot| {
        found(snapshot) == expected
    })
    .unwrap();
    let shares = |snapshot: &gsmon_agent::world::snapshot::Snapshot, server_name: &str, name: &str| {
        let companion = companion_of(server(snapshot, server_name).unwrap(), name);
        [
            companion.cpu_share_ratio,
            companion.rss_share_ratio,
            companion.disk_share_ratio,
        ]
        .map(Option::unwrap_or_default)
    };
    let servers = [
        ("guarded-a", "guard", child.pid),
        ("guarded-a", "voice", voice.pid),
        ("guarded-b", "guard", beside.ready.pid),
    ];
    settled(&monitor).unwrap();
    // Shares of CPU are of an interval: their mean over some, held against the mean of what was planted in each.
    let mut cpu = [(0.0, 0.0); 3];
    let server_pids = [first.process.ready.pid, second.process.ready.pid];
    let owner = |server_name: &str| usize::from(server_name == "guarded-b");
    let read = || {
        let companions: Vec<Books> = servers.iter().map(|(_, _, pid)| Books::read(*pid)).collect();
        (companions, server_pids.map(Books::read))
    };
    let (mut before, mut after) = (read(), read());
    let mut snapshot = monitor.snapshot().unwrap();
    let intervals = 8;
    for _ in 0..intervals {
        let now = snapshot.sequence;
        snapshot = wait_for(&monitor, LIMIT, |snapshot| snapshot.sequence > now).unwrap();
        (before, after) = (after, read());
        for (n, (server_name, name, _)) in servers.into_iter().enumerate() {
            let own = owner(server_name);
            let grown = (after.0[n].cpu_ns - before.0[n].cpu_ns) as f64;
            let whole = grown + (after.1[own].cpu_ns - before.1[own].cpu_ns) as f64;
            cpu[n].0 += shares(&snapshot, server_name, name)[0] / f64::from(intervals);
            cpu[n].1 += grown / whole / f64::from(intervals);
        }
    }
    assert_eq!(found(&snapshot), expected);
    for (n, (server_name, name, _)) in servers.into_iter().enumerate() {
        let own = owner(server_name);
        let close = |what: &str, measured: f64, planted: f64| {
            println!("{server_name}/{name}: share of {what} measured {measured:.4}, planted {planted:.4}");
            assert!(
                (measured - planted).abs() <= 0.02,
                "{server_name}/{name}: {what} {measured}, planted {planted}"
            );
        };
        close("CPU", cpu[n].0, cpu[n].1);
        let [_, rss, disk] = shares(&snapshot, server_name, name);
        let share = |of: fn(&Books) -> u64, (companions, servers): &(Vec<Books>, [Books; 2])| {
            let (one, other) = (of(&companions[n]), of(&servers[own]));
            one as f64 / (one + other) as f64
        };
        close("memory", rss, share(|books| books.rss_bytes, &after));
        // It writes a few MiB at a time: the newest may have come after the interval's end.
        let [least, most] = [&before, &after].map(|read| share(|books| books.disk_bytes, read));
        close("disk", disk, disk.clamp(least, most));
    }
    let _ = beside.tell("cpu");
    drop(beside);
    drop(second);
}

/// The kernel's own books of a process, children left out.
#[derive(Clone, Copy)]
struct Books {
    cpu_ns: u64,
    rss_bytes: u64,
    disk_bytes: u64,
}

impl Books {
    fn read(pid: u32) -> Self {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
        let schedstat = |path: PathBuf| fs::read_to_string(path.join("schedstat")).unwrap();
        let cpu_ns = tasks
            .map(|task| {
                schedstat(task.path())
                    .split(' ')
                    .next()
                    .unwrap()
                    .parse::<u64>()
                    .unwrap()
            })
            .sum();
        let statm = fs::read_to_string(format!("/proc/{pid}/statm")).unwrap();
        let pages: u64 = statm.split(' ').nth(1).unwrap().parse().unwrap();
        let io = fs::read_to_string(format!("/proc/{pid}/io")).unwrap();
        let field = |name: &str| -> u64 {
            io.lines()
                .find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
                .unwrap()
        };
        Self {
            cpu_ns,
            rss_bytes: pages * 4_096,
            disk_bytes: field("read_bytes:") + field("write_bytes:"),
        }
    }
}

#[test]
fn a_crash_is_one_and_an_orderly_end_is_none() {
    if !root_or_skip() {
        return;
    }
    let names = ["end-abort", "end-segv", "end-kill", "end-term", "end-exit"];
    let mut worlds: Vec<World> = names.iter().map(|name| planted(name)).collect();
    let monitor = monitor(250, names.iter().map(|name| entry(name)).collect());
    up(&monitor, &names);
    for name in names {
        tell(
            &monitor,
            name,
            "\"type\":\"player_joined\",\"player\":{\"slot\":1}",
        );
    }
    thread::sleep(Duration::from_secs(1));
    let send = |world: &World, signal| kill(Pid::from_raw(world.process.ready.pid as i32), signal).unwrap();
    // Its end leaves no answer.
    let _ = worlds[0].process.tell("abort");
    // The first one is caught by the runtime's own handler, which lets the second pass.
    send(&worlds[1], Signal::SIGSEGV);
    thread::sleep(Duration::from_millis(50));
    let _ = kill(Pid::from_raw(worlds[1].process.ready.pid as i32), Signal::SIGSEGV);
    send(&worlds[2], Signal::SIGKILL);
    send(&worlds[3], Signal::SIGTERM);
    for world in &mut worlds[..4] {
        world.process.wait().unwrap();
    }
    drop(worlds.pop());
    let snapshot = wait_for(&monitor, LIMIT, |snapshot| {
        names
            .iter()
            .all(|name| server(snapshot, name).unwrap().state == ServerState::Gone)
    })
    .unwrap();
    for (name, crashed) in names.into_iter().zip([true, true, true, false, false]) {
        let state = &server(&snapshot, name).unwrap().game_state;
        let session = state
            .ended_sessions
            .last()
            .unwrap_or_else(|| panic!("{name}: no session ended"));
        let phase = if crashed { Phase::Crashed } else { Phase::Ended };
        assert_eq!(session.phase, phase, "{name}");
        assert_eq!(state.counters.crashes, u64::from(crashed), "{name}");
        assert!(state.sessions.is_empty() && state.players.is_empty(), "{name}");
        // The end is told to the moment, not to the interval.
        assert!(session.ended_unix_ms.is_some());
    }
}
