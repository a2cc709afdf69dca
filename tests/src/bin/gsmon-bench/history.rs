//! The history on disk: what writing 100 servers takes, how large the file becomes, how long reading takes. The servers are
//! made up: figures that are noisy on real ones are noisy here, by 2 to 15 %, with memory from one second to the next.

use std::{path::Path, sync::LazyLock, time::Instant};

use anyhow::Result;
use gsmon_agent::{
    analysis::{
        network::{Buckets, Regions, network_resource_correlation},
        scaling::{ScalingMetric, Scope, analyze_player_scaling, find_leak},
        series::Series,
    },
    config::HistorySettings,
    games::event::Phase,
    history::{
        Frame, History, HistorySource, Measure, Resolution, StoredLine, TimeRange,
        disk::{
            HistoryReader, HistoryWriter,
            file::{HistoryFile, Interval},
            upkeep::{Removal, Retention},
        },
        events::{Event, EventKind},
        rollup::Span,
    },
    monitor::Analyses,
    privacy::{PseudonymKey, RawIdentity},
};

use crate::{Row, agent::usage};

const SERVERS: usize = 100;
const BEGIN_MS: i64 = 20_000 * 86_400_000;
/// Written second by second: two hours and a half, so that hours are rolled up.
const WRITTEN_SECONDS: i64 = 9_000;
/// A day, and as long until its last hour is rolled up.
const READ_SECONDS: i64 = 86_400 + 1_800;
/// Seconds in one transaction, where only the rows matter.
const BATCH: i64 = 120;
const DAYS: i64 = 35;

/// splitmix64.
pub struct Noise(u64);

impl Noise {
    /// From a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Nearly normal, and cheap: the frames must not cost more than what is measured.
    pub fn normal(&mut self) -> f64 {
        (self.uniform() + self.uniform() + self.uniform() - 1.5) * 2.0
    }
}

/// A server that does not exist.
struct Made {
    name: std::sync::Arc<str>,
    noise: Noise,
    players: f64,
    rss: f64,
    slow: f64,
    /// Of a tick, by one player: every other server has ticks that come near to what they may take, where it takes longest to
    /// tell how many players fit.
    tick_ms_per_player: f64,
}

impl Made {
    fn new(number: usize) -> Self {
        Self {
            name: format!("server-{number}").into(),
            noise: Noise::new(number as u64 * 977 + 1),
            players: 10.0 + (number % 20) as f64,
            rss: 5e8,
            slow: 0.0,
            tick_ms_per_player: if number % 2 == 1 { 1.5 } else { 0.1 },
        }
    }

    /// Its next second; who comes and who leaves.
    fn second(&mut self, end_ms: i64) -> (Frame, u32, u32) {
        let noise = &mut self.noise;
        // Twenty players who stay for twenty minutes come and go once a minute.
        let (joins, leaves) = (noise.uniform() < 1.0 / 60.0, noise.uniform() < 1.0 / 60.0);
        self.players =
            (self.players + f64::from(u8::from(joins)) - f64::from(u8::from(leaves))).clamp(0.0, 60.0);
        if noise.uniform() < 0.1 {
            self.rss += (noise.normal() * 40.0).round() * 4_096.0;
        }
        self.slow = 0.9 * self.slow + 0.44 * noise.normal();
        let (players, tick) = (self.players, self.tick_ms_per_player);
        let busy = 1.0 + 0.1 * self.slow;
        let mut frame = Frame::new(end_ms + (noise.uniform() * 3.0) as i64, 1.0);
        frame.phase = Some(match (end_ms / 1_000) % 900 {
            0..60 => Phase::Lobby,
            60..80 => Phase::Loading,
            _ => Phase::Active,
        });
        frame.map = Some(["dust", "aztec", "inferno"][(end_ms / 900_000 % 3) as usize].into());
        let mut near = |value: f64, ratio: f64| value * busy * (1.0 + ratio * noise.normal());
        let figures = [
            (Measure::CpuCores, near(0.05 + 0.004 * players, 0.05)),
            (Measure::RunQueueWaitRatio, near(0.01, 0.15)),
            (Measure::TickP50Ms, near(2.0 + tick * players, 0.05)),
            (Measure::TickP99Ms, near(4.0 + 1.2 * tick * players, 0.15)),
            (Measure::RxPacketsPerSecond, near(30.0 * players, 0.03).round()),
            (Measure::RxBytesPerSecond, near(2_400.0 * players, 0.05).round()),
            (Measure::TxPacketsPerSecond, near(20.0 * players, 0.03).round()),
            (Measure::TxBytesPerSecond, near(9_000.0 * players, 0.05).round()),
            (Measure::OtherServersCpuCores, near(8.0, 0.02)),
            (Measure::OtherProcessesCpuCores, near(0.3, 0.1)),
            (Measure::MinorFaultsPerSecond, near(20.0, 0.15).round()),
            (Measure::RttP50Ms, near(40.0, 0.03)),
            (Measure::RttMeanMs, near(45.0, 0.03)),
            (Measure::JitterMs, near(2.0, 0.1)),
            (Measure::LossUpRatio, near(0.001, 0.15)),
            (Measure::SoftirqCores, near(0.004, 0.05)),
        ];
        for (measure, value) in figures {
            frame.set(measure, Some(value.max(0.0)));
        }
        for (measure, value) in [
            (Measure::TickRateHz, 20.0 + 0.02 * self.noise.normal()),
            (Measure::NetworkTickHz, 20.0 + 0.05 * self.noise.normal()),
            (Measure::Players, self.players),
            (Measure::Humans, self.players),
            (Measure::TickTargetHz, 20.0),
            (Measure::RssAnonymousBytes, self.rss - 6e7),
            (Measure::DiskReadBytesPerSecond, 0.0),
            (
                Measure::DiskWriteBytesPerSecond,
                if end_ms % 7_000 == 0 { 4_096.0 } else { 0.0 },
            ),
            (Measure::Bots, 0.0),
            (Measure::Joins, f64::from(u8::from(joins))),
            (Measure::Leaves, f64::from(u8::from(leaves))),
            (Measure::PhaseChanges, 0.0),
            (Measure::Actions, 0.0),
            (Measure::StealRatio, 0.0),
            (Measure::RssBytes, self.rss),
            (Measure::MajorFaultsPerSecond, 0.0),
            (Measure::LossDownRatio, 0.0),
            (Measure::UdpDropsPerSecond, 0.0),
        ] {
            frame.set(measure, Some(value));
        }
        (frame, u32::from(joins), u32::from(leaves))
    }
}

/// Players of one server at once, whose lines are kept.
const PLAYERS: usize = 20;

impl Made {
    /// Lines of the players who are there: each stays for twenty minutes.
    fn minute(&mut self, from_unix_ms: i64) -> Vec<StoredLine> {
        let minute = from_unix_ms / 60_000;
        (0..PLAYERS as i64)
            .map(|place| {
                let visit = (minute + place) / 20 * PLAYERS as i64 + place;
                let id = format!("{}/{visit}", self.name);
                let far = 20.0 + (visit * 37 % 120) as f64;
                let noise = &mut self.noise;
                let mut figure =
                    |value: f64, ratio: f64| Some((value * (1.0 + ratio * noise.normal())).max(0.0) as f32);
                let lossy = visit % 5 == 0;
                StoredLine {
                    server: self.name.clone(),
                    from_unix_ms,
                    player: KEY.pseudonym(&RawIdentity::PlatformId(&id)),
                    also: [Some(KEY.pseudonym(&RawIdentity::Name(&id))), None],
                    region: None,
                    rtt_p50_ms: figure(far, 0.03),
                    rtt_p95_ms: figure(far * 1.4, 0.15),
                    jitter_ms: figure(2.0, 0.2),
                    loss_up_ratio: if lossy { figure(0.004, 0.5) } else { Some(0.0) },
                    loss_down_ratio: if lossy { figure(0.003, 0.5) } else { Some(0.0) },
                }
            })
            .collect()
    }
}

static KEY: LazyLock<PseudonymKey> = LazyLock::new(|| PseudonymKey::from_bytes(&[5; 32]));

fn interval(servers: &mut [Made], end_ms: i64) -> Interval {
    let mut interval = Interval {
        unix_ms: end_ms,
        ..Interval::default()
    };
    for server in servers {
        let (frame, joins, leaves) = server.second(end_ms);
        for (kind, times) in [(EventKind::Join, joins), (EventKind::Leave, leaves)] {
            if times > 0 {
                interval.told.events.push(Event {
                    server: server.name.clone(),
                    unix_ms: end_ms,
                    kind,
                    word: None,
                    times,
                });
            }
        }
        if end_ms % 60_000 == 0 {
            interval.told.lines.extend(server.minute(end_ms - 60_000));
        }
        interval.frames.push((server.name.clone(), frame));
    }
    interval
}

/// CPU time of this thread.
pub fn cpu_seconds() -> Result<f64> {
    cpu_of(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID)
}

/// CPU time of all threads, those that have ended included.
fn process_cpu_seconds() -> Result<f64> {
    cpu_of(nix::time::ClockId::CLOCK_PROCESS_CPUTIME_ID)
}

fn cpu_of(clock: nix::time::ClockId) -> Result<f64> {
    let time = nix::time::clock_gettime(clock)?;
    Ok(time.tv_sec() as f64 + time.tv_nsec() as f64 / 1e9)
}

fn made(servers: usize) -> Vec<Made> {
    (0..servers).map(Made::new).collect()
}

/// Makes a file in a place of its own and measures with it.
fn with_file(measure: impl FnOnce(&Path, &Retention) -> Result<Vec<Row>>) -> Result<Vec<Row>> {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
    let directory = tempfile::Builder::new().prefix("history-").tempdir_in(target)?;
    let retention = Retention::of(&HistorySettings::default());
    measure(&directory.path().join("history.db"), &retention)
}

fn row(what: &str, measured: f64, target: Option<f64>, unit: &'static str) -> Row {
    Row::net(format!("history, {what}"), measured, 0.0, target, unit)
}

/// Hours of 100 servers, second by second as the agent writes them.
pub fn writing() -> Result<Vec<Row>> {
    with_file(write_hours)
}

fn write_hours(path: &Path, retention: &Retention) -> Result<Vec<Row>> {
    let mut servers = made(SERVERS);
    let mut file = HistoryFile::open(path)?;
    let (mut spent, mut longest) = (0.0, 0.0f64);
    for second in 1..=WRITTEN_SECONDS {
        let end_ms = BEGIN_MS + second * 1_000;
        let interval = interval(&mut servers, end_ms);
        let before = cpu_seconds()?;
        file.write([interval].iter())?;
        file.step(end_ms, retention, Removal::Allowed)?;
        let one = cpu_seconds()? - before;
        spent += one;
        longest = longest.max(one);
    }
    let share = spent / WRITTEN_SECONDS as f64 * 100.0;
    Ok(vec![
        row("writing 100 servers at 1 s: CPU", share, Some(1.0), "%core"),
        row("longest single interval of that: CPU", longest * 1e3, None, "ms"),
    ])
}

/// Writes many seconds in one transaction: the rows are the same as one by one.
fn fill(path: &Path, retention: &Retention, servers: &mut [Made], seconds: i64) -> Result<()> {
    let mut file = HistoryFile::open(path)?;
    for batch in 0..seconds / BATCH {
        let intervals: Vec<Interval> = (1..=BATCH)
            .map(|second| interval(servers, BEGIN_MS + (batch * BATCH + second) * 1_000))
            .collect();
        file.write(intervals.iter())?;
        let now_ms = BEGIN_MS + (batch + 1) * BATCH * 1_000;
        while file.step(now_ms, retention, Removal::Allowed)? {}
    }
    file.close();
    Ok(())
}

/// A day of a quarter of them, which is read once by one, and four times by all.
pub fn reading() -> Result<Vec<Row>> {
    with_file(read_a_day)
}

fn read_a_day(path: &Path, retention: &Retention) -> Result<Vec<Row>> {
    fill(path, retention, &mut made(SERVERS / 4), READ_SECONDS)?;
    let reader = HistoryReader::open(path)?;
    let day = TimeRange {
        from_unix_ms: BEGIN_MS + (READ_SECONDS - 86_400) * 1_000,
        to_unix_ms: BEGIN_MS + READ_SECONDS * 1_000,
    };
    let fastest = |with: &mut dyn FnMut() -> Result<usize>| -> Result<f64> {
        let mut best = f64::INFINITY;
        for _ in 0..5 {
            let begun = Instant::now();
            let frames = with()?;
            anyhow::ensure!(frames > 0, "nothing was read");
            best = best.min(begun.elapsed().as_secs_f64() * 1e3);
        }
        Ok(best)
    };
    let minutes = Resolution::Rolled(Span::Minute);
    let one = fastest(&mut || Ok(reader.frames("server-7", day, minutes)?.len()))?;
    let figure = fastest(&mut || {
        let figure = reader.figure("server-7", day, Measure::TickP99Ms)?;
        Ok(figure.map_or(0, |figure| figure.count as usize))
    })?;
    let raw = fastest(&mut || {
        let mut frames = 0;
        reader.each_frame("server-7", day, Resolution::Raw, &mut |_| frames += 1)?;
        Ok(frames)
    })?;
    let (_, before) = usage(std::process::id())?;
    let all = fastest(&mut || {
        let mut frames = 0;
        for _ in 0..4 {
            for server in reader.servers()? {
                reader.each_frame(&server, day, minutes, &mut |_| frames += 1)?;
            }
        }
        Ok(frames)
    })?;
    let (_, after) = usage(std::process::id())?;
    let mut rows = vec![
        row("24 h of one server by the minute", one, Some(100.0), "ms"),
        row("p99 of 24 h of one server", figure, Some(100.0), "ms"),
        row("24 h of one server by the second", raw, None, "ms"),
        row("24 h of 100 servers by the minute", all, Some(3_000.0), "ms"),
        row(
            "memory that this takes on top",
            (after - before).max(0.0),
            None,
            "MiB",
        ),
    ];
    drop(reader);
    rows.extend(analyses(path, day)?);
    let reader = HistoryReader::open(path)?;
    for table in reader.stats()?.tables.iter().take(2) {
        if let (Some(frames), Some(bytes)) = (table.frames, table.blob_bytes) {
            let per = bytes as f64 / frames.max(1) as f64;
            let what = format!("{}: bytes per server and second", table.table);
            rows.push(row(&what, per, None, "B"));
        }
    }
    Ok(rows)
}

/// A day of one server and of 100 (four times 25), read and looked at as the library does: what players cost, whether memory
/// is lost, what players' networks do.
fn analyses(path: &Path, day: TimeRange) -> Result<Vec<Row>> {
    let history = History::written_by(HistoryWriter::start(path, &HistorySettings::default())?);
    let analyses = Analyses::of(&history);
    let look = |server: &str, frames: &[Frame]| -> Result<()> {
        let series = [Series { server, frames }];
        let scope = Scope::Server(server.to_owned());
        analyze_player_scaling(&series, &scope, &ScalingMetric::USUAL)?;
        find_leak(frames, None)?;
        network_resource_correlation(frames, Regions::LeftOut, &Buckets::default());
        Ok(())
    };
    let begun = |work: &mut dyn FnMut() -> Result<()>| -> Result<f64> {
        let mut best = f64::INFINITY;
        for _ in 0..3 {
            let begun = Instant::now();
            work()?;
            best = best.min(begun.elapsed().as_secs_f64() * 1e3);
        }
        Ok(best)
    };
    let server = "server-7";
    let scope = Scope::Server(server.to_owned());
    let (regions, buckets) = (Regions::LeftOut, Buckets::default());
    let scaling = begun(&mut || {
        analyses.player_scaling(&scope, day, &ScalingMetric::USUAL)?;
        Ok(())
    })?;
    let leak = begun(&mut || Ok(analyses.leak(server, day, None).map(drop)?))?;
    let network = begun(&mut || {
        Ok(analyses
            .network(Some(server), Some(day), regions, &buckets)
            .map(drop)?)
    })?;
    let (_, before) = usage(std::process::id())?;
    let mut all_cpu = f64::INFINITY;
    let all = begun(&mut || {
        let before = process_cpu_seconds()?;
        for _ in 0..4 {
            for (_, told) in analyses.each(day, look)? {
                told?;
            }
        }
        all_cpu = all_cpu.min((process_cpu_seconds()? - before) * 1e3);
        Ok(())
    })?;
    let (_, after) = usage(std::process::id())?;
    let together = begun(&mut || {
        analyses.player_scaling(&Scope::All, day, &ScalingMetric::USUAL)?;
        Ok(())
    })?;
    Ok(vec![
        row(
            "24 h of one server: what players cost",
            scaling,
            Some(100.0),
            "ms",
        ),
        row("24 h of one server: leaks", leak, Some(100.0), "ms"),
        row("24 h of one server: networks", network, Some(100.0), "ms"),
        row("24 h of 100 servers: all three of each", all, Some(3_000.0), "ms"),
        row("the same, CPU of all threads", all_cpu, None, "ms"),
        row(
            "memory that this takes on top",
            (after - before).max(0.0),
            None,
            "MiB",
        ),
        row(
            "24 h of 25 servers as one: what players cost",
            together,
            None,
            "ms",
        ),
    ])
}

/// Thirty-five days of one server with all of its retention, times 100; and how much of it each kind of block is.
pub fn size() -> Result<Vec<Row>> {
    with_file(fill_weeks)
}

fn fill_weeks(path: &Path, retention: &Retention) -> Result<Vec<Row>> {
    fill(path, retention, &mut made(1), DAYS * 86_400)?;
    let stats = HistoryReader::open(path)?.stats()?;
    let gibibytes = |bytes: u64| bytes as f64 * SERVERS as f64 / f64::from(1 << 30);
    let whole = gibibytes(stats.bytes - stats.free_bytes);
    let mut rows = vec![row("file of 100 servers after 35 days", whole, Some(1.0), "GiB")];
    for table in &stats.tables {
        if let Some(bytes) = table.blob_bytes {
            let what = format!("of it {}", table.table);
            rows.push(row(&what, gibibytes(bytes), None, "GiB"));
        }
    }
    Ok(rows)
}
