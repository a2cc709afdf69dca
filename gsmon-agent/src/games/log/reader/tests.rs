use std::{
    fs::{self, OpenOptions},
    sync::mpsc::Receiver,
};

use super::*;
use crate::{
    config::{LogSettings, LogStart, Stdin},
    games::{
        Fact, GameEvent, Grammar, LineTime, PlayerRef, Spoken, Witness,
        event::TimeSource,
        log::{LogState, time::now_ms},
    },
};

/// `[MILLISECONDS ]NAME joined`; counts its lines, to show whether it is a new one.
#[derive(Default)]
struct Joins(u64);

impl Grammar for Joins {
    fn line(&mut self, line: &str, said: &mut Vec<Spoken>) {
        self.0 += 1;
        let (time, rest) = match line.split_once(' ') {
            Some((time, rest)) if time.parse::<i64>().is_ok() => (time.parse().ok().map(LineTime::Utc), rest),
            _ => (None, line),
        };
        if let Some(name) = rest.strip_suffix(" joined") {
            let player = PlayerRef::named(name).with_kind_of_test(self.0);
            said.push(Spoken::new(time, Fact::PlayerJoined(player)));
        } else if rest == "tick" {
            let (rate_hz, time_ns) = (Some(20.0), None);
            said.push(Spoken::new(time, Fact::Tick { rate_hz, time_ns }));
        }
    }
}

impl PlayerRef {
    fn with_kind_of_test(mut self, line: u64) -> Self {
        self.slot = Some(line);
        self
    }
}

fn target(server: &str, settings: LogSettings) -> LogTarget {
    LogTarget {
        server: server.into(),
        settings,
        grammar: Box::new(Joins::default()),
        succession: Succession::Replace,
    }
}

fn file(path: &Path, from: LogStart) -> LogSettings {
    LogSettings {
        file: Some(path.to_owned()),
        from,
        ..LogSettings::default()
    }
}

fn append(path: &Path, text: &str) {
    let mut options = OpenOptions::new();
    let mut file = options.append(true).create(true).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

struct Bench {
    directory: tempfile::TempDir,
    reader: LogReader,
    events: Receiver<GameEvent>,
}

impl Bench {
    fn with(capacity: usize, inputs: LogInputs) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (sink, events) = mpsc::sync_channel(capacity);
        let reader = LogReader::with_inputs(sink, &directory.path().join("positions.json"), inputs).unwrap();
        Self {
            directory,
            reader,
            events,
        }
    }

    fn new() -> Self {
        Self::with(1000, LogInputs::default())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Another reader with the same positions.
    fn restart(&mut self) {
        let (sink, events) = mpsc::sync_channel(1000);
        // The old one is stopped first.
        let idle = LogReader::with_inputs(sink.clone(), &self.path("unused.json"), LogInputs::default());
        drop(std::mem::replace(&mut self.reader, idle.unwrap()));
        let path = self.path("positions.json");
        self.reader = LogReader::with_inputs(sink, &path, LogInputs::default()).unwrap();
        self.events = events;
    }

    fn figures(&self, server: &str) -> LogStatistics {
        let all = self.reader.statistics();
        let found = all.into_iter().find(|(name, _)| &**name == server);
        found.map(|(_, figures)| figures).unwrap_or_default()
    }

    /// Waits at most 20 s.
    fn wait_for(&self, server: &str, what: impl Fn(&LogStatistics) -> bool) -> LogStatistics {
        for _ in 0..2000 {
            let figures = self.figures(server);
            if what(&figures) {
                return figures;
            }
            thread::sleep(Duration::from_millis(10));
        }
        panic!("never came: {:?}", self.figures(server));
    }

    fn set(&self, targets: Vec<LogTarget>) {
        self.reader.set(targets).unwrap();
    }

    fn event(&self) -> GameEvent {
        self.events
            .recv_timeout(Duration::from_secs(20))
            .unwrap_or_else(|error| panic!("{error}: {:?}", self.reader.statistics()))
    }

    fn name(&self) -> String {
        name(&self.event())
    }
}

fn name(event: &GameEvent) -> String {
    match &event.fact {
        Fact::PlayerJoined(player) => player.name.as_deref().unwrap_or_default().to_owned(),
        fact => format!("{fact:?}"),
    }
}

#[test]
fn a_line_becomes_an_event() {
    let bench = Bench::new();
    let path = bench.path("games.log");
    append(&path, "old joined\n");
    bench.set(vec![target("arena", file(&path, LogStart::End))]);
    bench.wait_for("arena", |figures| figures.state == LogState::Reading);
    let before = now_ms();
    append(
        &path,
        &format!("Bob joined\nchat\n{} Eve joined\n", before - 60_000),
    );
    let event = bench.event();
    assert_eq!(
        (&*event.server, event.witness, event.time),
        ("arena", Witness::Log, TimeSource::Read)
    );
    assert_eq!(name(&event), "Bob");
    assert!(event.unix_ms >= before && event.unix_ms <= now_ms());
    let event = bench.event();
    assert_eq!(name(&event), "Eve");
    assert_eq!((event.time, event.unix_ms), (TimeSource::Stated, before - 60_000));
    let figures = bench.wait_for("arena", |figures| figures.lines == 3);
    assert_eq!((figures.events, figures.lost), (2, 0));
    assert_eq!(figures.lag_bytes, Some(0));
    assert_eq!(figures.last_error, None);
}

#[test]
fn a_reload_keeps_the_place_and_takes_the_new_grammar() {
    let bench = Bench::new();
    let (a, b) = (bench.path("a.log"), bench.path("b.log"));
    append(&a, "");
    append(&b, "");
    bench.set(vec![target("a", file(&a, LogStart::End))]);
    bench.wait_for("a", |figures| figures.state == LogState::Reading);
    append(&a, "one joined\n");
    assert_eq!(bench.name(), "one");
    bench.set(vec![
        target("b", file(&b, LogStart::Beginning)),
        target("a", file(&a, LogStart::End)),
    ]);
    append(&a, "two joined\n");
    let event = bench.event();
    assert_eq!(name(&event), "two");
    // The first line that this grammar has seen.
    assert!(matches!(&event.fact, Fact::PlayerJoined(player) if player.slot == Some(1)));
    assert_eq!(bench.wait_for("a", |figures| figures.events == 2).lines, 2);
    bench.set(vec![LogTarget {
        succession: Succession::Keep,
        ..target("a", file(&a, LogStart::End))
    }]);
    append(&a, "again joined\n");
    // The second line that it has seen.
    assert!(matches!(&bench.event().fact, Fact::PlayerJoined(player) if player.slot == Some(2)));
    // The same server with another file: counters go on.
    bench.set(vec![target("a", file(&b, LogStart::Beginning))]);
    append(&b, "three joined\n");
    assert_eq!(bench.name(), "three");
    bench.wait_for("a", |figures| (figures.events, figures.lines) == (4, 4));
    assert_eq!(bench.figures("b"), LogStatistics::default());
}

#[test]
fn a_saved_position_survives_the_reader() {
    let mut bench = Bench::new();
    let path = bench.path("games.log");
    append(&path, "never joined\n");
    let saved = || vec![target("arena", file(&path, LogStart::Saved))];
    bench.set(saved());
    bench.wait_for("arena", |figures| figures.state == LogState::Reading);
    // Even if nothing was read.
    bench.restart();
    append(&path, "one joined\nhalf");
    bench.set(saved());
    assert_eq!(bench.name(), "one");
    bench.restart();
    append(&path, " two joined\n");
    bench.set(saved());
    assert_eq!(bench.name(), "half two");
    // Left by a reload, taken up again.
    bench.set(Vec::new());
    append(&path, "three joined\n");
    bench.set(saved());
    assert_eq!(bench.name(), "three");
}

#[test]
fn what_is_missing_is_waited_for() {
    let bench = Bench::new();
    let (log, fifo) = (bench.path("logs/games.log"), bench.path("fifo"));
    let pipe = LogSettings {
        fifo: Some(fifo.clone()),
        ..LogSettings::default()
    };
    bench.set(vec![
        target("file", file(&log, LogStart::End)),
        target("fifo", pipe),
    ]);
    for server in ["file", "fifo"] {
        let figures = bench.wait_for(server, |figures| figures.state == LogState::Waiting);
        assert!(figures.last_error.unwrap().contains("does not exist"));
    }
    fs::create_dir(bench.path("logs")).unwrap();
    append(&log, "Bob joined\n");
    assert_eq!(bench.name(), "Bob");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    bench.wait_for("fifo", |figures| figures.state == LogState::Reading);
    for round in 0..3 {
        // Opened and closed, as a shell does.
        let mut writer = OpenOptions::new().write(true).open(&fifo).unwrap();
        write!(writer, "writer {round} joined").unwrap();
        drop(writer);
        assert_eq!(bench.name(), format!("writer {round}"));
    }
}

#[test]
fn standard_input_has_one_reader_and_an_end() {
    let (source, mut writer) = io::pipe().unwrap();
    let inputs = LogInputs {
        stdin: Some(source.into()),
        ..LogInputs::default()
    };
    let bench = Bench::with(100, inputs);
    let stdin = || LogSettings {
        stdin: Some(Stdin::Lines),
        ..LogSettings::default()
    };
    bench.set(vec![target("a", stdin()), target("b", stdin())]);
    writer.write_all(b"one joined\n").unwrap();
    assert_eq!(&*bench.event().server, "a");
    let figures = bench.wait_for("b", |figures| figures.state == LogState::Failed);
    assert!(figures.last_error.unwrap().contains("another server"));
    bench.set(vec![target("b", stdin())]);
    writer.write_all(b"two joined\nthree joined").unwrap();
    drop(writer);
    let event = bench.event();
    assert_eq!((&*event.server, name(&event)), ("b", "two".to_owned()));
    assert_eq!(bench.name(), "three");
    bench.wait_for("b", |figures| figures.state == LogState::Ended);
}

#[test]
fn a_source_must_be_named_exactly_once() {
    let bench = Bench::new();
    let path = bench.path("x");
    let both = LogSettings {
        fifo: Some(path.clone()),
        ..file(&path, LogStart::End)
    };
    bench.set(vec![target("none", LogSettings::default()), target("both", both)]);
    for server in ["none", "both"] {
        let figures = bench.wait_for(server, |figures| figures.state == LogState::Failed);
        assert!(figures.last_error.unwrap().contains("exactly one"));
    }
}

#[test]
fn a_slow_consumer_makes_a_file_wait_and_loses_nothing() {
    let bench = Bench::with(100, LogInputs::default());
    let path = bench.path("games.log");
    bench.set(vec![target("arena", file(&path, LogStart::Beginning))]);
    let text: String = (0..30_000).map(|n| format!("p{n} joined\n")).collect();
    append(&path, &text);
    for n in 0..30_000 {
        if n % 1000 == 0 {
            thread::sleep(Duration::from_millis(15));
        }
        assert_eq!(bench.name(), format!("p{n}"));
    }
    let figures = bench.wait_for("arena", |figures| figures.lag_bytes == Some(0));
    assert_eq!((figures.lines, figures.events, figures.lost), (30_000, 30_000, 0));
}

#[test]
fn a_consumer_that_takes_nothing_does_not_stop_a_pipe_and_every_loss_is_counted() {
    let bench = Bench::with(10, LogInputs::default());
    let path = bench.path("fifo");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let pipe = LogSettings {
        fifo: Some(path.clone()),
        ..LogSettings::default()
    };
    bench.set(vec![target("arena", pipe)]);
    bench.wait_for("arena", |figures| figures.state == LogState::Reading);
    let mut writer = OpenOptions::new().write(true).open(&path).unwrap();
    let text = "Bob joined\ntick\n".repeat(20_000);
    writer.write_all(text.as_bytes()).unwrap();
    let figures = bench.wait_for("arena", |figures| figures.lines == 40_000);
    assert_eq!(figures.events + figures.lost, 40_000);
    assert!(figures.lost_state > 0 && figures.lost_state < figures.lost);
    let mut taken = 0;
    while bench.events.recv_timeout(Duration::from_secs(1)).is_ok() {
        taken += 1;
    }
    assert_eq!(taken, figures.events);
}
