//! What advice costs: a recommendation for 100 servers with four weeks of hourly history, the memory that takes, and an
//! answer to Agones over the fleet's socket.

use std::{
    collections::HashMap,
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use gsmon_agent::{
    analysis::advice::{
        experience::Experience,
        gather::{Costs, Hours, Runs, SeenServer, Settings, gather},
        recommend_scaling,
    },
    config::{Config, FleetConfig, HistorySettings},
    fleet::{
        Fleet, FleetServers,
        plan::{Heard, Plan},
    },
    history::{
        Frame, History, Measure, TimeRange,
        disk::{
            HistoryWriter,
            file::{HistoryFile, Interval},
            upkeep::{Removal, Retention},
        },
    },
    monitor::Analyses,
};

use super::Row;

const SERVERS: usize = 100;
const DAYS: i64 = 28;
const HOUR_MS: i64 = 3_600_000;
const MODES: [&str; 4] = ["duel", "race", "siege", "survival"];
const REGIONS: [&str; 5] = ["eu", "us-east", "us-west", "asia", "sa"];

/// Four weeks of a server whose players come by day and by chance.
fn server(number: usize) -> SeenServer {
    let mut dice = number as u64 + 1;
    let mut noise = move || {
        dice = dice
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (dice >> 33) as f64 / f64::from(1u32 << 31) - 0.5
    };
    let mode = MODES[number % MODES.len()];
    let frames = (0..DAYS * 24).map(|hour| {
        let phase = (hour as f64 / 24.0 + number as f64 / 50.0) * std::f64::consts::TAU;
        let players = (20.0 + 12.0 * phase.sin() + 8.0 * noise()).max(0.0);
        let mut frame = Frame::new((hour + 1) * HOUR_MS, 3_600.0)
            .with(Measure::Players, players)
            .with(Measure::CpuCores, 0.1 + 0.02 * players + 0.01 * noise())
            .with(Measure::RssBytes, 5e8 + 4e6 * players)
            .with(Measure::RxBytesPerSecond, 900.0 * players)
            .with(Measure::TxBytesPerSecond, 6_000.0 * players)
            .with(Measure::TickP50Ms, 2.0 + 0.2 * players)
            .with(Measure::TickP99Ms, 4.0 + 0.4 * players)
            .with(Measure::TickRateHz, 30.0);
        frame.mode = Some(mode.into());
        frame
    });
    SeenServer {
        name: format!("server-{number}"),
        runs: Runs::Yes,
        mode: Some(mode.to_owned()),
        region: Some(REGIONS[number / MODES.len() % REGIONS.len()].to_owned()),
        players: Some(20),
        most_players: Some(40),
        warm_ups: vec![45.0],
        cool_downs: vec![30.0],
        frames: frames.collect(),
    }
}

/// Largest resident memory of this process so far, MiB.
fn peak_mib() -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kib: f64 = line
        .and_then(|line| line.split_whitespace().nth(1))
        .context("the kernel does not tell VmHWM")?
        .parse()?;
    Ok(kib / 1_024.0)
}

/// Writes their hours into a file, as an agent would have.
fn write(path: &Path, servers: &[SeenServer]) -> Result<()> {
    // Nothing is too old to be kept: these are of 1970.
    let retention = Retention::of(&HistorySettings::default());
    let mut file = HistoryFile::open(path)?;
    for hour in 0..(DAYS * 24) as usize {
        let frames = servers.iter();
        let frames: Vec<(Arc<str>, Frame)> = frames
            .map(|server| (server.name.as_str().into(), server.frames[hour].clone()))
            .collect();
        let unix_ms = (hour as i64 + 1) * HOUR_MS;
        let interval = Interval {
            unix_ms,
            frames,
            ..Interval::default()
        };
        file.write([interval].iter())?;
        while file.step(unix_ms, &retention, Removal::Allowed)? {}
    }
    file.close();
    Ok(())
}

/// All rows.
pub fn run() -> Result<Vec<Row>> {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
    let directory = tempfile::Builder::new().prefix("advice-").tempdir_in(target)?;
    let path = directory.path().join("history.db");
    let mut servers: Vec<SeenServer> = (0..SERVERS).map(server).collect();
    write(&path, &servers)?;
    let history = History::written_by(HistoryWriter::start(&path, &HistorySettings::default())?);
    // What ran before in this process is not advice's.
    std::fs::write("/proc/self/clear_refs", "5").context("cannot begin to count memory anew")?;
    let range = TimeRange {
        from_unix_ms: 0,
        to_unix_ms: DAYS * 24 * HOUR_MS,
    };
    let config = Config::default();
    let hours = Hours {
        now_unix_ms: DAYS * 24 * HOUR_MS,
        ahead: 6.0,
    };
    let mut seconds = f64::INFINITY;
    for _ in 0..3 {
        let begin = Instant::now();
        let mut read: HashMap<String, Vec<Frame>> = Analyses::of(&history)
            .each(range, |_, frames| frames.to_vec())?
            .into_iter()
            .collect();
        for server in &mut servers {
            server.frames = read.remove(&server.name).unwrap_or_default();
            ensure!(
                server.frames.len() >= (DAYS * 24 - 1) as usize,
                "{} hours were kept",
                server.frames.len()
            );
        }
        let targets = Experience::Responsive.targets();
        let (facts, left) = gather(&servers, &Settings::of(&config), hours, &targets, Costs::Told);
        let advice = recommend_scaling(&facts, hours.ahead, Experience::Responsive);
        seconds = seconds.min(begin.elapsed().as_secs_f64());
        ensure!(left.is_empty() && advice.groups.len() == MODES.len() * REGIONS.len());
    }
    let memory = peak_mib()?;
    drop(servers);
    Ok(vec![
        Row::net(
            format!("recommend, {SERVERS} servers, {DAYS} days of hours, read from disk"),
            seconds,
            0.0,
            Some(1.0),
            "s",
        ),
        Row::net(
            "the same: memory, history included",
            memory,
            0.0,
            Some(200.0),
            "MiB",
        ),
        Row::net(
            "answer to Agones over a socket, slowest of 500",
            webhook()?.as_secs_f64() * 1e3,
            0.0,
            Some(50.0),
            "ms",
        ),
    ])
}

fn webhook() -> Result<Duration> {
    let directory = tempfile::tempdir()?;
    let socket = directory.path().join("api.sock");
    let text = format!(
        "[listen]\nsocket = {socket:?}\nmetrics = \"127.0.0.1:0\"\n[[agent]]\nname = \"a\"\nurl = \"https://a\"\ntoken_file = \"/t\"\nca_file = \"/c\"\n[[agones]]\nfleet = \"duel\"\nmaximum = 50\n"
    );
    let config = FleetConfig::parse(&text, Path::new("fleet.toml"))?;
    let fleet = Fleet::new(&config);
    let now = jiff::Timestamp::now().as_millisecond();
    // A day of plans.
    for number in (0..288).rev() {
        let made_unix_ms = now - number * 300_000;
        let plan = Plan {
            made_unix_ms,
            start_unix_ms: made_unix_ms,
            step_ms: 300_000,
            servers: vec![7; 24],
            least_ready: 1,
            heard: Heard::All,
        };
        fleet.plans.put(&config.agones[0], Ok(plan));
    }
    let runtime = tokio::runtime::Runtime::new()?;
    let servers = runtime.block_on(FleetServers::bind(&config.listen))?;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let serving = runtime.spawn(servers.run(fleet, stopped));
    let body = r#"{"request":{"uid":"1","name":"duel","namespace":"games","status":{"replicas":12,"readyReplicas":9,"reservedReplicas":0,"allocatedReplicas":3}},"response":null}"#;
    let request = format!(
        "POST /agones/v1/fleetautoscaler HTTP/1.1\r\nHost: f\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let mut slowest = Duration::ZERO;
    for _ in 0..500 {
        let begin = Instant::now();
        let mut stream = UnixStream::connect(&socket)?;
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        slowest = slowest.max(begin.elapsed());
        ensure!(answer.contains("\"replicas\":7"), "{answer}");
    }
    let _ = stop.send(true);
    runtime.block_on(serving)?;
    Ok(slowest)
}
