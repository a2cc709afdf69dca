//! `gsmon demo`: three real small servers with bots, measured and shown.

use std::{
    os::unix::fs::DirBuilderExt,
    path::PathBuf,
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use super::{Outcome, runtime};
use crate::{
    demo::{Fleet, fleet::demo_members},
    monitor::{GameServerMonitor, Privilege},
    top,
    world::snapshot::{ServerState, Snapshot},
};

#[derive(Debug, clap::Args)]
pub struct DemoArgs {
    /// Servers to start.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=64))]
    servers: u32,
    /// Bots per server.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=256))]
    players: u32,
    /// How long; until `q` or Ctrl-C when not given (15s with --headless).
    #[arg(long, value_parser = humantime::parse_duration)]
    duration: Option<Duration>,
    /// Without the live view: print the last snapshot at the end.
    #[arg(long)]
    headless: bool,
    /// With --headless: one JSON document.
    #[arg(long, requires = "headless")]
    json: bool,
}

pub fn run(args: &DemoArgs) -> Outcome {
    let gsmon = std::env::current_exe()?;
    // The kernel side first: without it there is nothing to show.
    let scratch = Scratch::new()?;
    let monitor = GameServerMonitor::builder()
        .privilege(Privilege::Required)
        .state_directory(&scratch.0)
        .start()?;
    let members = demo_members(args.servers, args.players, &scratch.0);
    let fleet = Fleet::start(&gsmon, &members)?;
    for server in fleet.game_servers() {
        monitor.add_game_server(server)?;
    }
    if !args.headless {
        let limit = args.duration;
        runtime()?.block_on(top::run(top::Source::Cell(monitor.cell()), limit))?;
        return Ok(ExitCode::SUCCESS);
    }
    let end = Instant::now() + args.duration.unwrap_or(Duration::from_secs(15));
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        thread::sleep(left.min(Duration::from_millis(200)));
    }
    let Some(snapshot) = monitor.snapshot() else {
        return Err(anyhow::anyhow!("no snapshot was made: give a longer --duration").into());
    };
    if args.json {
        super::print_json(&*snapshot)?;
    } else {
        print!("{}", top::text::once(&snapshot));
    }
    Ok(if all_measured(&snapshot, args.players) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// A directory for the logs of the servers, removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> std::io::Result<Self> {
        let path = std::env::temp_dir().join(format!("gsmon-demo-{}", std::process::id()));
        // Nobody else may have put something there.
        std::fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Every server was found, worked and talked to all its bots.
fn all_measured(snapshot: &Snapshot, players: u32) -> bool {
    !snapshot.servers.is_empty()
        && snapshot.servers.iter().all(|server| {
            server.state == ServerState::Up
                && server.totals.cpu_ns.is_some_and(|cpu_ns| cpu_ns > 0)
                && server.totals.rx.is_some_and(|rx| rx.all().packets > 0)
                && server.totals.tx.is_some_and(|tx| tx.all().packets > 0)
                && server.flows == Some(u64::from(players))
        })
}
