//! The history on disk where things go wrong: agents that are killed, full and read-only file systems, damaged files; and
//! through the command line, with a real agent and a real server.

use std::{
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use gsmon_agent::{
    config::HistorySettings,
    demo::{
        DemoProcess, diary::DiaryArgs, game_loop::LoopKind, lag::LagArgs, protocol::Header,
        server::ServerArgs,
    },
    history::{
        Frame, HistorySource, Measure, Resolution, TimeRange,
        disk::{
            HistoryReader, HistoryWriter,
            file::{HistoryFile, Interval},
            upkeep::{Removal, Retention},
        },
        rollup::Span,
    },
    world::snapshot::{HistorySnapshot, HistoryStatus},
};
use gsmon_tests::{gsmon, root_or_skip};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};

const BEGIN_MS: i64 = 20_000 * 86_400_000;
/// Names the file to the child of the first test.
const CHILD_FILE: &str = "GSMON_TEST_HISTORY_FILE";
const KILLS: u64 = 20;

fn interval(servers: usize, number: i64) -> Interval {
    let end_ms = BEGIN_MS + number * 1_000;
    let frame = || {
        Frame::new(end_ms, 1.0)
            .with(Measure::Players, (number % 1_000) as f64)
            .with(Measure::CpuCores, (number as f64 / 50.0).sin().abs())
    };
    Interval {
        unix_ms: end_ms,
        frames: (0..servers)
            .map(|server| (format!("server-{server}").into(), frame()))
            .collect(),
        ..Interval::default()
    }
}

/// Not a test of its own: the process that the next test kills. It goes on where the file ends.
#[test]
#[ignore = "the process that the next test kills"]
fn child_that_writes_until_it_is_killed() {
    let path = PathBuf::from(std::env::var_os(CHILD_FILE).expect("the test that starts it names a file"));
    let retention = Retention::of(&HistorySettings::default());
    let mut file = HistoryFile::open(&path).unwrap();
    let kept = HistoryReader::open(&path).unwrap();
    let newest = kept.frames("server-0", TimeRange::ALL, Resolution::Raw);
    let newest = newest
        .ok()
        .and_then(|frames| frames.last().map(|frame| frame.unix_ms));
    let first = newest.map_or(1, |newest| (newest - BEGIN_MS) / 1_000 + 1);
    let mut out = std::io::stdout();
    // Bounded: nobody may be left writing for ever.
    for number in first..first + 200_000 {
        file.write([interval(20, number)].iter()).unwrap();
        writeln!(out, "written {number}").unwrap();
        file.step(BEGIN_MS + number * 1_000, &retention, Removal::Allowed)
            .unwrap();
    }
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_killed_writer_loses_nothing_that_was_written_and_damages_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history.db");
    let mut dice = 0x2545_f491_4f6c_dd1d_u64 ^ u64::from(std::process::id());
    let mut written = 0i64;
    for round in 0..KILLS {
        let child = Command::new(std::env::current_exe().unwrap())
            .args([
                "child_that_writes_until_it_is_killed",
                "--exact",
                "--ignored",
                "--nocapture",
            ])
            .env(CHILD_FILE, &path)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut child = Killed(child);
        let out = child.0.stdout.take().unwrap();
        // After so many intervals and a moment more: within a write, a block, a roll-up.
        dice = dice
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let (lines, moment) = ((dice >> 33) % 700 + 1, (dice >> 20) % 3_000);
        let mut told = 0;
        let mut lines_left = lines;
        let mut reader = BufReader::new(out);
        let mut line = String::new();
        while lines_left > 0 && reader.read_line(&mut line).unwrap() > 0 {
            if let Some(number) = line.trim().strip_prefix("written ") {
                told = number.parse().unwrap();
                lines_left -= 1;
            }
            line.clear();
        }
        assert_eq!(lines_left, 0, "the child ended by itself");
        thread::sleep(Duration::from_micros(moment));
        child.0.kill().unwrap();
        child.0.wait().unwrap();
        // What it wrote before it died is in the pipe.
        while reader.read_line(&mut line).unwrap_or(0) > 0 {
            if let Some(number) = line
                .trim()
                .strip_prefix("written ")
                .and_then(|text| text.parse().ok())
            {
                told = number;
            }
            line.clear();
        }
        let reader = HistoryReader::open(&path).unwrap();
        let report = reader.check().unwrap();
        assert!(report.is_sound(), "round {round}: {report:?}");
        for server in ["server-0", "server-19"] {
            let frames = reader.frames(server, TimeRange::ALL, Resolution::Raw).unwrap();
            let numbers: Vec<i64> = frames
                .iter()
                .map(|frame| (frame.unix_ms - BEGIN_MS) / 1_000)
                .collect();
            let all: Vec<i64> = (1..=numbers.len() as i64).collect();
            assert_eq!(numbers, all, "round {round}: one is missing or there twice");
            let newest = numbers.len() as i64;
            // One more may have been written that it could not tell of any more.
            assert!(
                newest == told || newest == told + 1,
                "round {round}: {newest} kept, {told} told"
            );
            written = newest;
        }
        let minutes = reader
            .frames("server-3", TimeRange::ALL, Resolution::Rolled(Span::Minute))
            .unwrap();
        let covered: f64 = minutes.iter().map(|frame| frame.seconds).sum();
        assert_eq!(covered, written as f64);
    }
    assert!(written > 1_200, "{written} intervals: no block was ever made");
}

/// Feeds a writer an interval every now and then until it is as wanted.
fn feed_until(
    writer: &HistoryWriter,
    number: &mut i64,
    what: &str,
    wanted: impl Fn(&HistorySnapshot) -> bool,
) -> HistorySnapshot {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        *number += 1;
        writer.record(interval(20, *number));
        thread::sleep(Duration::from_millis(20));
        let told = writer.snapshot();
        if wanted(&told) {
            return told;
        }
        assert!(Instant::now() < end, "{what}: {told:?}");
    }
}

fn recording(told: &HistorySnapshot) -> bool {
    told.status == HistoryStatus::Recording
}

fn failing(told: &HistorySnapshot) -> bool {
    told.status == HistoryStatus::Failing
}

/// Runs a test on a thread with mounts of its own, which nobody else sees and which go with it.
fn with_own_mounts(test: impl FnOnce() + Send + 'static) {
    let thread = thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_FS).unwrap();
        let nothing = None::<&str>;
        mount(
            nothing,
            "/",
            nothing,
            MsFlags::MS_REC | MsFlags::MS_PRIVATE,
            nothing,
        )
        .unwrap();
        test();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

fn tmpfs(at: &Path, options: &str, flags: MsFlags) {
    mount(Some("tmpfs"), at, Some("tmpfs"), flags, Some(options)).unwrap();
}

#[test]
fn a_full_file_system_is_told_and_writing_resumes_when_there_is_room() {
    if !root_or_skip() {
        return;
    }
    with_own_mounts(|| {
        let directory = tempfile::tempdir().unwrap();
        tmpfs(directory.path(), "size=400k", MsFlags::empty());
        let path = directory.path().join("history.db");
        let writer = HistoryWriter::start(&path, &HistorySettings::default()).unwrap();
        let mut number = 0;
        feed_until(&writer, &mut number, "it never began", recording);
        let told = feed_until(&writer, &mut number, "it never filled up", failing);
        let problem = told.problem.unwrap();
        assert!(problem.contains("make room"), "{problem}");
        // It goes on taking intervals, and keeps some of them.
        feed_until(&writer, &mut number, "none was ever lost", |told| {
            told.intervals_lost > 0
        });
        tmpfs(directory.path(), "size=64m", MsFlags::MS_REMOUNT);
        let told = feed_until(&writer, &mut number, "it never resumed", recording);
        drop(writer);
        let reader = HistoryReader::open(&path).unwrap();
        assert!(reader.check().unwrap().is_sound());
        let frames = reader
            .frames("server-0", TimeRange::ALL, Resolution::Raw)
            .unwrap();
        assert!(frames.windows(2).all(|pair| pair[0].unix_ms < pair[1].unix_ms));
        assert_eq!(frames.len() as i64 + told.intervals_lost as i64, number);
    });
}

#[test]
fn a_read_only_file_system_is_told_and_writing_resumes() {
    if !root_or_skip() {
        return;
    }
    with_own_mounts(|| {
        let directory = tempfile::tempdir().unwrap();
        tmpfs(directory.path(), "size=16m", MsFlags::empty());
        let path = directory.path().join("history.db");
        // There once, and read-only when the agent starts.
        drop(HistoryFile::open(&path).unwrap());
        tmpfs(
            directory.path(),
            "size=16m",
            MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY,
        );
        let writer = HistoryWriter::start(&path, &HistorySettings::default()).unwrap();
        let mut number = 0;
        let told = feed_until(&writer, &mut number, "nothing was told", failing);
        assert!(told.problem.is_some_and(|problem| problem.contains("history.db")));
        tmpfs(directory.path(), "size=16m", MsFlags::MS_REMOUNT);
        feed_until(&writer, &mut number, "it never resumed", recording);
        drop(writer);
        let reader = HistoryReader::open(&path).unwrap();
        assert!(
            reader
                .frames("server-1", TimeRange::ALL, Resolution::Raw)
                .unwrap()
                .len()
                > 1
        );
    });
}

#[test]
fn a_damaged_file_is_moved_aside_and_kept() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history.db");
    std::fs::write(&path, "this was a database once ".repeat(400)).unwrap();
    let writer = HistoryWriter::start(&path, &HistorySettings::default()).unwrap();
    let mut number = 0;
    let told = feed_until(&writer, &mut number, "it never began", recording);
    assert_eq!(told.failures, 1);
    let aside: Vec<PathBuf> = std::fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().contains(".damaged-"))
        .collect();
    assert_eq!(aside.len(), 1, "{aside:?}");
    assert!(
        std::fs::read_to_string(&aside[0])
            .unwrap()
            .starts_with("this was a database")
    );
    // Taken away while it is written: a new one takes its place.
    let away = directory.path().join("away.db");
    std::fs::rename(&path, &away).unwrap();
    feed_until(&writer, &mut number, "no new one was begun", |_| path.exists());
    feed_until(&writer, &mut number, "nothing is in the new one", |_| {
        HistoryReader::open(&path)
            .is_ok_and(|reader| reader.servers().is_ok_and(|servers| !servers.is_empty()))
    });
    drop(writer);
    assert!(HistoryReader::open(&path).unwrap().check().unwrap().is_sound());
}

fn ask(words: &[&str]) -> Output {
    Command::new(gsmon().unwrap())
        .args(words)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn the_command_line_reads_what_a_killed_agent_has_written() {
    if !root_or_skip() {
        return;
    }
    let binary = gsmon().unwrap();
    let directory = tempfile::tempdir().unwrap();
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
        lifetime_seconds: 300,
        diary: DiaryArgs::default(),
        lag: LagArgs::default(),
    };
    let server = DemoProcess::server(&binary, &[], &server).unwrap();
    let file = directory.path().join("history.db").display().to_string();
    let socket = directory.path().join("api.sock").display().to_string();
    let config = directory.path().join("gsmon.toml");
    std::fs::write(
        &config,
        format!(
            "[history]\npath = \"{file}\"\nlines = \"0s\"\n[api]\nlisten = \"127.0.0.1:0\"\nsocket = \"{socket}\"\n\
             [[server]]\nname = \"arena\"\nport = {}\n",
            server.ready.port
        ),
    )
    .unwrap();
    let start = || {
        Command::new(&binary)
            .args(["run", "--config", &config.display().to_string(), "--state-dir"])
            .arg(directory.path())
            .stderr(Stdio::null())
            .spawn()
            .map(Killed)
            .unwrap()
    };
    let frames = || {
        let reader = HistoryReader::open(Path::new(&file)).ok()?;
        reader.frames("arena", TimeRange::ALL, Resolution::Raw).ok()
    };
    // Another agent of this host is waited for: there is one at a time.
    let run_until = |most: usize| {
        let end = Instant::now() + Duration::from_secs(90);
        let mut agent = start();
        while frames().map_or(0, |frames| frames.len()) < most {
            if !matches!(agent.0.try_wait(), Ok(None)) {
                agent = start();
            }
            assert!(Instant::now() < end, "the agent has written too little");
            thread::sleep(Duration::from_millis(300));
        }
        agent
    };
    drop(run_until(5));
    let kept = frames().unwrap().len();
    let agent = run_until(kept + 5);
    let all = frames().unwrap();
    assert!(
        all.iter().filter(|frame| frame.begins_anew).count() >= 2,
        "two agents"
    );
    assert!(
        all.iter()
            .any(|frame| frame.get(Measure::CpuCores).is_some_and(|cores| cores > 0.0))
    );
    let checked = ask(&["history", "check", "--file", &file]);
    assert!(
        checked.status.success() && text(&checked.stdout).contains("sound"),
        "{checked:?}"
    );
    let stats = ask(&["history", "stats", "--file", &file, "--json"]);
    let stats: serde_json::Value = serde_json::from_slice(&stats.stdout).unwrap();
    assert_eq!(stats["servers"], 1);
    let csv = ask(&[
        "history",
        "export",
        "--file",
        &file,
        "--range",
        "1h",
        "--resolution",
        "raw",
    ]);
    let rows = text(&csv.stdout);
    assert!(
        rows.starts_with("server,unix_ms,") && rows.lines().count() > kept,
        "{rows}"
    );
    let parquet = directory.path().join("frames.parquet");
    let exported = ask(&[
        "history",
        "export",
        "--file",
        &file,
        "--format",
        "parquet",
        "-o",
        &parquet.display().to_string(),
    ]);
    assert!(exported.status.success(), "{exported:?}");
    let bytes = std::fs::read(&parquet).unwrap();
    assert!(bytes.starts_with(b"PAR1") && bytes.ends_with(b"PAR1"));
    let unknown = ask(&["history", "export", "--file", &file, "--server", "lobby"]);
    assert!(text(&unknown.stderr).contains("there are: arena"), "{unknown:?}");
    let missing = ask(&["history", "stats", "--file", "/nowhere/history.db"]);
    assert_eq!(missing.status.code(), Some(1), "{missing:?}");
    // The running agent answers from both.
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let network = ask(&[
            "analyze", "network", "arena", "--range", "2h", "--json", "--socket", &socket,
        ]);
        let seconds = serde_json::from_slice::<serde_json::Value>(&network.stdout)
            .ok()
            .and_then(|told| told[0]["report"]["seconds"].as_f64());
        if seconds.is_some_and(|seconds| seconds > kept as f64) {
            break;
        }
        assert!(Instant::now() < end, "{network:?}");
        thread::sleep(Duration::from_millis(300));
    }
    let vacuumed = ask(&["history", "vacuum", "--file", &file]);
    assert!(vacuumed.status.success(), "{vacuumed:?}");
    drop(agent);
}
