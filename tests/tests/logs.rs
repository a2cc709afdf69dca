//! Logs as servers and their surroundings treat them: a burst across a rotation, real journals through the real
//! journalctl. No privileges needed.

use std::{
    fs::{self, File, OpenOptions},
    io::Write as _,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{
        Arc,
        mpsc::{self, Receiver},
    },
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use gsmon_agent::{
    config::{LogSettings, LogStart},
    games::{
        Fact, GameEvent, Grammar, PlayerRef, Spoken,
        log::{
            LogInputs, LogReader, LogState, LogStatistics, LogTarget, Succession, journal::JournalCommand,
        },
    },
};
use gsmon_tests::program_or_skip;

/// `[game] NAME joined`
struct Joins;

impl Grammar for Joins {
    fn line(&mut self, line: &str, said: &mut Vec<Spoken>) {
        let name = line
            .strip_prefix("[game] ")
            .and_then(|rest| rest.strip_suffix(" joined"));
        if let Some(name) = name {
            said.push(Spoken::new(None, Fact::PlayerJoined(PlayerRef::named(name))));
        }
    }
}

fn target(settings: LogSettings) -> Vec<LogTarget> {
    vec![LogTarget {
        server: "arena".into(),
        settings,
        grammar: Box::new(Joins),
        succession: Succession::Replace,
    }]
}

fn joined(event: &GameEvent) -> Arc<str> {
    match &event.fact {
        Fact::PlayerJoined(player) => player.name.clone().unwrap(),
        fact => panic!("{fact:?}"),
    }
}

fn figures(reader: &LogReader) -> LogStatistics {
    reader
        .statistics()
        .pop()
        .map(|(_, figures)| figures)
        .unwrap_or_default()
}

fn wait_for(reader: &LogReader, what: impl Fn(&LogStatistics) -> bool) -> LogStatistics {
    for _ in 0..6000 {
        let figures = figures(reader);
        if what(&figures) {
            return figures;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("never came: {:?}", figures(reader));
}

const BURST: u32 = 300_000;
const STEPS: u32 = 300;

/// Writes the burst over three seconds; `rotate` after the middle step.
fn write_burst(path: &Path, rotate: impl Fn()) {
    let open = || OpenOptions::new().append(true).create(true).open(path).unwrap();
    let mut file = open();
    let start = Instant::now();
    for step in 0..STEPS {
        let lines: String = (step * BURST / STEPS..(step + 1) * BURST / STEPS)
            .map(|n| format!("[game] player {n} joined\n"))
            .collect();
        file.write_all(lines.as_bytes()).unwrap();
        if step == STEPS / 2 {
            rotate();
            file = open();
        }
        let due = Duration::from_secs(3) * (step + 1) / STEPS;
        thread::sleep(due.saturating_sub(start.elapsed()));
    }
}

fn burst(
    capacity: usize,
    consume: impl Fn(Receiver<GameEvent>) -> u32 + Send + 'static,
) -> (LogStatistics, u32) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("games.log");
    File::create(&path).unwrap();
    let (sink, events) = mpsc::sync_channel(capacity);
    let reader = LogReader::new(sink, &directory.path().join("positions.json")).unwrap();
    let settings = LogSettings {
        file: Some(path.clone()),
        from: LogStart::End,
        ..LogSettings::default()
    };
    reader.set(target(settings)).unwrap();
    wait_for(&reader, |figures| figures.state == LogState::Reading);
    let consumer = thread::spawn(move || consume(events));
    write_burst(&path, || {
        fs::rename(&path, path.with_extension("log.1")).unwrap();
    });
    let figures = wait_for(&reader, |figures| figures.lines == u64::from(BURST));
    drop(reader);
    (figures, consumer.join().unwrap())
}

#[test]
fn a_burst_across_a_rotation_is_digested_without_loss() {
    let (figures, taken) = burst(4096, |events| {
        let mut next = 0;
        for event in events {
            assert_eq!(*joined(&event), format!("player {next}"));
            next += 1;
        }
        next
    });
    assert_eq!(taken, BURST);
    assert_eq!((figures.events, figures.lost), (u64::from(BURST), 0));
    assert_eq!((figures.restarts, figures.overlong, figures.invalid), (1, 0, 0));
}

#[test]
fn what_a_consumer_does_not_take_of_a_burst_is_counted() {
    let (figures, taken) = burst(64, |events| {
        // Long enough for the reader to lose patience.
        thread::sleep(Duration::from_secs(12));
        events.iter().count() as u32
    });
    assert!(figures.lost_state > 0, "{figures:?}");
    assert_eq!(figures.lost, figures.lost_state);
    assert_eq!(figures.events + figures.lost, u64::from(BURST));
    // What still waited when the reader ended had its last chance.
    assert!(u64::from(taken) <= figures.events);
}

/// Writes real journal files with systemd's own tool.
struct Journal {
    directory: PathBuf,
    child: Child,
    input: Option<ChildStdin>,
    boot: String,
    clock: u64,
}

impl Journal {
    fn new(directory: &Path) -> Self {
        let machine = fs::read_to_string("/etc/machine-id").unwrap();
        let directory = directory.join("journal");
        let files = directory.join(machine.trim());
        fs::create_dir_all(&files).unwrap();
        let mut child = Command::new("/lib/systemd/systemd-journal-remote")
            .arg("-o")
            .arg(files.join("system.journal"))
            .arg("-")
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
        Self {
            directory,
            input: child.stdin.take(),
            child,
            boot: boot.trim().replace('-', ""),
            clock: 1000,
        }
    }

    fn command(&self) -> JournalCommand {
        JournalCommand {
            directory: Some(self.directory.clone()),
            ..JournalCommand::default()
        }
    }

    /// In the journal export format, whose binary form takes any message.
    fn entry(&mut self, unit: &str, message: &[u8]) {
        self.clock += 1;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros();
        let mut entry = format!(
            "__REALTIME_TIMESTAMP={now}\n__MONOTONIC_TIMESTAMP={}\n_BOOT_ID={}\n_SYSTEMD_UNIT={unit}\nMESSAGE\n",
            self.clock, self.boot
        )
        .into_bytes();
        entry.extend((message.len() as u64).to_le_bytes());
        entry.extend(message);
        entry.extend(b"\n\n");
        let input = self.input.as_mut().unwrap();
        input.write_all(&entry).unwrap();
        input.flush().unwrap();
    }

    fn join(&mut self, name: &str) {
        self.entry("arena.service", format!("[game] {name} joined").as_bytes());
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// This process's children that follow this journal.
fn followers(directory: &Path) -> Vec<i32> {
    let mut found = Vec::new();
    for task in fs::read_dir("/proc/self/task").unwrap().flatten() {
        let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
        for pid in children.split_whitespace() {
            let command = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            if command.contains("--follow") && command.contains(&*directory.to_string_lossy()) {
                found.extend(pid.parse::<i32>());
            }
        }
    }
    found
}

#[test]
fn a_real_journal_is_followed_through_restarts_of_everything() {
    if !program_or_skip("journalctl", "systemd")
        || !program_or_skip("systemd-journal-remote", "systemd-journal-remote")
    {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let mut journal = Journal::new(directory.path());
    journal.join("old");
    let positions = directory.path().join("positions.json");
    let start = |from: LogStart, command: JournalCommand| {
        let (sink, events) = mpsc::sync_channel(1000);
        let inputs = LogInputs {
            journal: command,
            ..LogInputs::default()
        };
        let reader = LogReader::with_inputs(sink, &positions, inputs).unwrap();
        let settings = LogSettings {
            journald_unit: Some("arena.service".into()),
            from,
            ..LogSettings::default()
        };
        reader.set(target(settings)).unwrap();
        (reader, events)
    };
    let next = |events: &Receiver<GameEvent>| {
        let event = events.recv_timeout(Duration::from_secs(30)).unwrap();
        joined(&event).to_string()
    };

    let (reader, events) = start(LogStart::Beginning, journal.command());
    assert_eq!(next(&events), "old");
    journal.entry("other.service", b"[game] stranger joined");
    // Coloured, and not UTF-8: arrays of bytes in the JSON.
    journal.entry("arena.service", b"\x1b[32m[game] colour\x1b[0m joined");
    journal.entry("arena.service", b"[game] b\xffnary joined");
    journal.entry("arena.service", b"<Eve> hello\n[game] forged joined");
    journal.entry("arena.service", &[b'x'; 200_000]);
    journal.join("after");
    assert_eq!(next(&events), "colour");
    assert_eq!(next(&events), "b\u{fffd}nary");
    assert_eq!(next(&events), "after");
    let figures = wait_for(&reader, |figures| figures.lines == 6);
    assert_eq!((figures.invalid, figures.overlong), (1, 2));
    // It cannot start while the journal has no entry of this boot.
    let starts = figures.restarts;

    // journalctl dies: what comes meanwhile is not lost, nothing comes twice.
    let pids = followers(&journal.directory);
    assert_eq!(pids.len(), 1);
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(pids[0]),
        nix::sys::signal::Signal::SIGKILL,
    )
    .unwrap();
    journal.join("while dead");
    assert_eq!(next(&events), "while dead");
    wait_for(&reader, |figures| {
        figures.restarts == starts + 1 && figures.state == LogState::Reading
    });

    // The agent is restarted.
    drop(reader);
    assert!(followers(&journal.directory).is_empty());
    assert_eq!(events.try_iter().count(), 0);
    for n in 0..100 {
        journal.join(&format!("away {n}"));
    }
    let (_reader, events) = start(LogStart::Saved, journal.command());
    for n in 0..100 {
        assert_eq!(next(&events), format!("away {n}"));
    }
    journal.join("live");
    assert_eq!(next(&events), "live");
    assert_eq!(events.try_iter().count(), 0);
}
