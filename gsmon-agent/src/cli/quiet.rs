//! `gsmon quiet SERVER` and `gsmon wait-empty SERVER`: when to restart.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use super::{
    Failure, Outcome, SocketArg, print_json, run, runtime,
    source::{Asked, SourceArgs},
    times, unix_ms,
};
use crate::{
    analysis::advice::{
        demand::Group,
        gather::{Hours, Settings, demand_of},
        quiet::{QuietWindow, quietest},
    },
    config::Config,
    history::{Measure, Resolution, TimeRange},
    serve::fetch_snapshot,
    top::harmless::harmless,
};

/// Exit code of `wait-empty` when time is up.
const NOT_IN_TIME: u8 = 3;

#[derive(Debug, clap::Args)]
pub struct QuietArgs {
    /// Server.
    server: String,
    /// How far to look ahead.
    #[arg(long, default_value = "24h", value_parser = humantime::parse_duration)]
    within: Duration,
    /// How long it shall be quiet.
    #[arg(long, default_value = "15m", value_parser = humantime::parse_duration)]
    length: Duration,
    /// History that is learnt from: 24h, 28d, or two times with `..` between them.
    #[arg(long, default_value = "28d", value_parser = times::parse_range)]
    range: TimeRange,
    /// Configuration with [forecast] and [[event]] [default: /etc/gsmon.toml where there is one].
    #[arg(long, short)]
    config: Option<PathBuf>,
    /// One JSON document.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    socket: SocketArg,
}

pub fn run(args: &QuietArgs) -> Outcome {
    const FINE_MS: i64 = 300_000;
    let wrong = |text: &str| Failure::Usage(anyhow::anyhow!("{text}"));
    if args.length.is_zero() || args.length > args.within || args.within > Duration::from_secs(14 * 86_400) {
        return Err(wrong(
            "--length must be longer than nothing and no longer than --within, which is 14d at most",
        ));
    }
    let asked = Asked::of(&args.source, &args.socket)?;
    let frames = asked.frames(&args.server, Some(args.range), Resolution::Fitting)?;
    let hourly = frames.last().is_some_and(|frame| frame.seconds > 600.0);
    let step_ms = if hourly { 3_600_000 } else { FINE_MS };
    let points: Vec<(i64, f64)> = frames
        .iter()
        .filter_map(|frame| Some((frame.unix_ms - 1, frame.get(Measure::Players)?)))
        .collect();
    let ms = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    let mut config = settings(args)?;
    // What is held on this server is held on all that is looked at.
    for event in &mut config.events {
        if event.servers.contains(&args.server) {
            event.servers.clear();
        }
    }
    let calendar = Settings::of(&config).calendar;
    let span = Hours {
        now_unix_ms: unix_ms(),
        ahead: args.within.as_secs_f64() / 3_600.0,
    };
    let group = Group::new(None, region(&asked, &args.server)?.as_deref());
    let mut demand = demand_of(&group, &points, step_ms, &calendar, span)
        .map_err(|why| anyhow::anyhow!("{}: {why}", args.server))?;
    for level in &mut demand.levels {
        level
            .players
            .truncate(usize::try_from(ms(args.within) / FINE_MS).unwrap_or(1).max(1));
    }
    let window = quietest(
        &demand,
        ms(args.length).min(ms(args.within) / FINE_MS * FINE_MS).max(1),
    )
    .ok_or_else(|| anyhow::anyhow!("{}: the forecast is shorter than the window", args.server))?;
    match args.json {
        true => print_json(&window)?,
        false => print!("{}", text(&args.server, &window, demand.basis.words())),
    }
    Ok(ExitCode::SUCCESS)
}

fn settings(args: &QuietArgs) -> Result<Config, Failure> {
    let usual = std::path::Path::new(run::DEFAULT_CONFIG);
    match args.config.as_deref().or_else(|| usual.exists().then_some(usual)) {
        Some(path) => Config::read(path).map_err(|error| Failure::Usage(error.into())),
        None => Ok(Config::default()),
    }
}

/// Where a server is, which decides whose days it has. Only an agent tells.
fn region(asked: &Asked<'_>, server: &str) -> Result<Option<String>, Failure> {
    let Asked::Agent(socket) = asked else {
        return Ok(None);
    };
    let snapshot = runtime()?.block_on(fetch_snapshot(&socket.socket))?;
    let known = snapshot.servers.into_iter().find(|known| known.name == server);
    Ok(known.and_then(|known| known.region))
}

fn text(server: &str, window: &QuietWindow, basis: &str) -> String {
    format!(
        "{}: {} to {}, about {:.1} players, in {:.0} % of cases at most {:.0}\nknown by {basis}\n",
        harmless(server),
        times::date_and_time(window.from_unix_ms),
        times::time_of_day(window.to_unix_ms),
        window.mean_players,
        100.0 * window.quantile,
        window.most_players.ceil()
    )
}

#[derive(Debug, clap::Args)]
pub struct WaitEmptyArgs {
    /// Server.
    server: String,
    /// So many players may be left; bots do not count.
    #[arg(long, default_value_t = 0)]
    max_players: u64,
    /// How long to wait.
    #[arg(long, default_value = "2h", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// Time between two looks, 1s to 5m.
    #[arg(long, default_value = "5s", value_parser = humantime::parse_duration)]
    every: Duration,
    #[command(flatten)]
    socket: SocketArg,
}

pub fn wait_empty(args: &WaitEmptyArgs) -> Outcome {
    if !(Duration::from_secs(1)..=Duration::from_secs(300)).contains(&args.every) {
        return Err(Failure::Usage(anyhow::anyhow!("--every is 1s to 5m")));
    }
    let began_ms = unix_ms();
    let runtime = runtime()?;
    let clock = std::time::Instant::now();
    loop {
        let snapshot = runtime.block_on(fetch_snapshot(&args.socket.socket))?;
        let known = snapshot.servers.iter().find(|server| server.name == args.server);
        let server = known.ok_or_else(|| {
            let names: Vec<&str> = snapshot
                .servers
                .iter()
                .map(|server| server.name.as_str())
                .collect();
            Failure::Usage(anyhow::anyhow!(
                "there is no server called `{}`; there are: {}",
                args.server,
                names.join(", ")
            ))
        })?;
        let counts = &server.game_state.player_counts;
        // Who is not known to be a bot is taken for a human.
        let players = [counts.humans, counts.unknown];
        let down = server.state != crate::world::snapshot::ServerState::Up;
        if !down && players.iter().all(Option::is_none) {
            return Err(Failure::Failed(anyhow::anyhow!(
                "nobody tells how many play on `{}`: give it a log or a query ([server.log], [server.query])",
                args.server
            )));
        }
        let left: u64 = players.iter().flatten().sum();
        if down || left <= args.max_players {
            println!("{}: {left} players", harmless(&args.server));
            return Ok(ExitCode::SUCCESS);
        }
        let rest = args.timeout.saturating_sub(clock.elapsed());
        if rest.is_zero() {
            eprintln!(
                "gsmon: {}: {left} players are still there after {} s",
                harmless(&args.server),
                (unix_ms() - began_ms) / 1_000
            );
            return Ok(ExitCode::from(NOT_IN_TIME));
        }
        std::thread::sleep(args.every.min(rest));
    }
}
