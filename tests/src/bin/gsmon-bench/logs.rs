//! Reading logs: cost of a line beside plain buffered reading, and of 100 files that are followed.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use gsmon_agent::{
    config::{LogSettings, LogStart},
    games::{
        Fact, Grammar, PlayerRef, Spoken,
        log::{
            LogReader, LogTarget, Succession,
            file::{FileFollower, Progress},
        },
    },
};

use crate::Row;

const LINES: u32 = 1_000_000;
const RUNS: usize = 5;
const FILES: usize = 100;
const LINES_PER_SECOND: u32 = 50;
const WINDOW: Duration = Duration::from_secs(10);

/// Anchored, and mostly silent: what is measured is what surrounds it.
struct Joins {
    lines: u32,
}

impl Grammar for Joins {
    fn line(&mut self, line: &str, said: &mut Vec<Spoken>) {
        self.lines += 1;
        let text = line.get(33..).unwrap_or_default();
        if let Some(name) = text.strip_suffix(" joined the game") {
            said.push(Spoken::new(None, Fact::PlayerJoined(PlayerRef::named(name))));
        }
    }
}

fn line(n: u32) -> String {
    match n % 100 {
        0 => format!("[12:00:00] [Server thread/INFO]: Player{n} joined the game\n"),
        _ => format!(
            "[12:00:00] [Server thread/INFO]: <Player{n}> a chat line that is about as long as they are\n"
        ),
    }
}

/// Nanoseconds per line, the best of some runs.
fn best(mut run: impl FnMut() -> Result<u32>) -> Result<f64> {
    let mut best = f64::INFINITY;
    for _ in 0..RUNS {
        let start = Instant::now();
        let lines = run()?;
        if lines != LINES {
            bail!("{lines} lines instead of {LINES}");
        }
        best = best.min(start.elapsed().as_nanos() as f64 / f64::from(LINES));
    }
    Ok(best)
}

fn throughput(directory: &Path) -> Result<Row> {
    let path = directory.join("games.log");
    let text: String = (0..LINES).map(line).collect();
    fs::write(&path, text)?;
    let baseline = best(|| {
        let mut grammar = Joins { lines: 0 };
        let mut said = Vec::new();
        for line in BufReader::new(File::open(&path)?).lines() {
            grammar.line(&line?, &mut said);
            said.clear();
        }
        Ok(grammar.lines)
    })?;
    let mut buffer = vec![0; 128 * 1024];
    let measured = best(|| {
        let mut grammar = Joins { lines: 0 };
        let mut said = Vec::new();
        let mut follower = FileFollower::new(&path, LogStart::Beginning, None);
        let each = &mut |line: &str| {
            grammar.line(line, &mut said);
            said.clear();
        };
        while follower.turn(Instant::now(), buffer.len(), &mut buffer, each)? != Progress::Nothing {}
        Ok(grammar.lines)
    })?;
    fs::remove_file(&path)?;
    let million = 1000.0 / measured;
    Ok(Row::net(
        format!("log line, follower ({million:.1} M/s) / BufReader::lines"),
        measured,
        baseline,
        None,
        "ns",
    ))
}

/// CPU seconds of the reading thread.
fn reader_cpu() -> Result<f64> {
    for task in fs::read_dir("/proc/self/task")?.flatten() {
        if fs::read_to_string(task.path().join("comm"))?.trim() == "gsmon-logs" {
            let schedstat = fs::read_to_string(task.path().join("schedstat"))?;
            let nanoseconds: f64 = schedstat.split(' ').next().context("no schedstat")?.parse()?;
            return Ok(nanoseconds / 1e9);
        }
    }
    bail!("there is no reading thread")
}

fn percent(work: impl FnOnce() -> Result<()>) -> Result<f64> {
    let (start, before) = (Instant::now(), reader_cpu()?);
    work()?;
    Ok((reader_cpu()? - before) / start.elapsed().as_secs_f64() * 100.0)
}

fn fleet(directory: &Path) -> Result<Vec<Row>> {
    let paths: Vec<PathBuf> = (0..FILES)
        .map(|n| directory.join(format!("server-{n}.log")))
        .collect();
    let mut files = paths
        .iter()
        .map(File::create)
        .collect::<std::io::Result<Vec<_>>>()?;
    let (sink, events) = mpsc::sync_channel(4096);
    let reader = LogReader::new(sink, &directory.join("positions.json"))?;
    let target = |(n, path): (usize, &PathBuf)| LogTarget {
        server: format!("server-{n}").into(),
        settings: LogSettings {
            file: Some(path.clone()),
            from: LogStart::End,
            ..LogSettings::default()
        },
        grammar: Box::new(Joins { lines: 0 }),
        succession: Succession::Replace,
    };
    reader.set(paths.iter().enumerate().map(target).collect())?;
    let consumer = thread::spawn(move || events.iter().count());
    // Until they count as quiet.
    thread::sleep(Duration::from_secs(12));
    let idle = percent(|| {
        thread::sleep(WINDOW);
        Ok(())
    })?;
    let busy = percent(|| {
        let start = Instant::now();
        let steps = LINES_PER_SECOND * WINDOW.as_secs() as u32;
        for step in 0..steps {
            let text = line(step);
            for file in &mut files {
                file.write_all(text.as_bytes())?;
            }
            let due = WINDOW * (step + 1) / steps;
            thread::sleep(due.saturating_sub(start.elapsed()));
        }
        Ok(())
    })?;
    thread::sleep(Duration::from_secs(1));
    let read: u64 = reader.statistics().iter().map(|(_, figures)| figures.lines).sum();
    let written = u64::from(LINES_PER_SECOND) * WINDOW.as_secs() * FILES as u64;
    if read != written {
        bail!("{read} lines read, {written} written");
    }
    drop(reader);
    let _ = consumer.join();
    let row = |what: String, cpu| Row::net(what, cpu, 0.0, Some(0.3), "%core");
    Ok(vec![
        row(format!("{FILES} idle log files: CPU"), idle),
        row(
            format!("{FILES} log files, {LINES_PER_SECOND} lines/s each: CPU"),
            busy,
        ),
    ])
}

/// Nanoseconds per line, and percent of one core.
pub fn run() -> Result<Vec<Row>> {
    let directory = tempfile::tempdir()?;
    let mut rows = vec![throughput(directory.path())?];
    rows.extend(fleet(directory.path())?);
    Ok(rows)
}
