//! `gsmon forecast`: how many players will come, from the history or from a file of counts, and how well that did.

mod plot;
mod show;

use std::{collections::BTreeMap, fs::File, path::PathBuf, process::ExitCode};

use anyhow::Context;

use super::{
    Failure, Outcome, SocketArg, everywhere,
    fleet::FleetHosts,
    print_json, run, runtime,
    source::{Asked, SourceArgs},
    unix_ms,
};
use crate::{
    analysis::forecast::{Choice, Event, Grid, Model, back_test::back_test_by, counts, forecast_by, table},
    config::Config,
    history::{Frame, Resolution, TimeRange, rollup::Span},
    serve::fetch_snapshot,
    world::snapshot::ServerSnapshot,
};

/// Horizons of a back-test, in hours.
const HORIZONS: [usize; 4] = [1, 3, 6, 24];

#[derive(Debug, clap::Args)]
pub struct ForecastArgs {
    /// Players of this server.
    #[arg(conflicts_with_all = ["mode", "region", "all", "from_csv"])]
    server: Option<String>,
    /// Players of all servers while they play this mode.
    #[arg(long, conflicts_with_all = ["region", "all", "from_csv"])]
    mode: Option<String>,
    /// Players of all servers in this region.
    #[arg(long, conflicts_with_all = ["all"])]
    region: Option<String>,
    /// Players of all servers.
    #[arg(long, conflicts_with = "from_csv")]
    all: bool,
    /// Counts from this file instead of the history: CSV with the columns time and players.
    #[arg(long, value_name = "FILE")]
    from_csv: Option<PathBuf>,
    /// Say how well forecasts of the last days would have done, beside simple ones.
    #[arg(long, requires = "from_csv")]
    backtest: bool,
    /// Days of the back-test.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u16).range(1..=60), requires = "backtest")]
    days: u16,
    /// Write every forecast of the back-test here, as CSV.
    #[arg(long, value_name = "OUT", requires = "backtest")]
    predictions: Option<PathBuf>,
    /// Hours to tell, 1 to 168.
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u16).range(1..=168))]
    hours: u16,
    /// By this model alone where it can say something, such as mstl or last_week [default: all, weighed by how they did].
    #[arg(long)]
    model: Option<Model>,
    /// Draw it here, as SVG.
    #[arg(long, value_name = "FILE", conflicts_with = "backtest")]
    plot: Option<PathBuf>,
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

pub fn run(args: &ForecastArgs) -> Outcome {
    let config = settings(args)?;
    let zone = |region: Option<&str>| {
        config
            .forecast
            .zone(region)
            .map_err(|error| Failure::Usage(error.into()))
    };
    if let Some(path) = &args.from_csv {
        let file = File::open(path)
            .with_context(|| format!("cannot read {}", path.display()))
            .map_err(Failure::Usage)?;
        let samples = table::read(file)
            .with_context(|| path.display().to_string())
            .map_err(Failure::Usage)?;
        let grid = Grid::of_samples(&samples, 900, &zone(args.region.as_deref())?)
            .map_err(|error| Failure::Usage(error.into()))?;
        let events = Event::announced(&config.events, None, args.region.as_deref());
        return if args.backtest {
            tested(args, &grid, &events)
        } else {
            told(args, &grid, &events, &path.display().to_string())
        };
    }
    let named = args.server.is_some() || args.mode.is_some() || args.region.is_some() || args.all;
    if !named {
        return Err(Failure::Usage(anyhow::anyhow!(
            "whose players? Name a server, or give --mode, --region, --all or --from-csv"
        )));
    }
    let asked = Asked::of(&args.source, &args.socket)?;
    let regions = regions(args, &asked)?;
    let region = match (&args.server, &args.region) {
        (Some(server), _) => regions.get(server).cloned().flatten(),
        (None, region) => region.clone(),
    };
    let names: Vec<String> = match (&args.server, &args.region) {
        (Some(server), _) => vec![server.clone()],
        (None, Some(region)) => regions
            .iter()
            .filter(|(_, of)| of.as_ref() == Some(region))
            .map(|(name, _)| name.clone())
            .collect(),
        (None, None) => asked.servers()?,
    };
    if names.is_empty() {
        return Err(anyhow::anyhow!(
            "no server is in region `{}`",
            args.region.as_deref().unwrap_or_default()
        )
        .into());
    }
    let (samples, step_seconds) = counts(args, &asked, &names)?;
    let grid = Grid::of_samples(&samples, step_seconds, &zone(region.as_deref())?)?;
    let events = Event::announced(&config.events, args.server.as_deref(), region.as_deref());
    let title = args
        .server
        .clone()
        .or_else(|| args.mode.as_ref().map(|mode| format!("mode {mode}")));
    let title = title.or_else(|| args.region.as_ref().map(|region| format!("region {region}")));
    told(
        args,
        &grid,
        &events,
        &title.unwrap_or_else(|| "all servers".to_owned()),
    )
}

fn chosen(args: &ForecastArgs) -> Choice {
    args.model.map_or(Choice::Weighed, Choice::Only)
}

fn settings(args: &ForecastArgs) -> Result<Config, Failure> {
    let usual = std::path::Path::new(run::DEFAULT_CONFIG);
    match args.config.as_deref().or_else(|| usual.exists().then_some(usual)) {
        Some(path) => Config::read(path).map_err(|error| Failure::Usage(error.into())),
        None => Ok(Config::default()),
    }
}

/// Servers and their regions; those of hosts that are silent are not known, which is said where a region is asked for.
fn regions(args: &ForecastArgs, asked: &Asked<'_>) -> Result<BTreeMap<String, Option<String>>, Failure> {
    let of_agents = |servers: Vec<ServerSnapshot>| {
        let servers = servers.into_iter();
        servers.map(|server| (server.name, server.region)).collect()
    };
    let (regions, silent) = match asked {
        Asked::Agent(socket) => {
            let snapshot = runtime()?.block_on(fetch_snapshot(&socket.socket))?;
            (of_agents(snapshot.servers), Vec::new())
        }
        // Where no region is meant, the past is all that is needed.
        Asked::Source(_) | Asked::Fleet(_) if args.region.is_none() => (BTreeMap::new(), Vec::new()),
        Asked::Fleet(socket) => {
            let hosts = FleetHosts::ask(socket)?;
            let silent = hosts.silent();
            (of_agents(hosts.servers), silent)
        }
        Asked::Source(source) => {
            let all = everywhere::servers(source)?;
            let silent = all.silent_hosts();
            let servers = all.servers.into_iter();
            (
                servers.map(|server| (server.name, server.region)).collect(),
                silent,
            )
        }
    };
    for host in silent {
        tracing::warn!(
            "{host} is silent: in which region its servers are is not known, and they are left out"
        );
    }
    Ok(regions)
}

/// Counts of all these servers together, and the step that fits: quarters of an hour where there are three days at most,
/// hours else. The step that is not over yet is left out.
fn counts(
    args: &ForecastArgs,
    asked: &Asked<'_>,
    names: &[String],
) -> Result<(Vec<(i64, f64)>, i64), Failure> {
    let now_ms = unix_ms();
    let of = |days: u64, span: Span| -> Result<Vec<Vec<Frame>>, Failure> {
        let range = TimeRange::last(std::time::Duration::from_secs(days * 86_400), now_ms);
        names
            .iter()
            .map(|name| asked.frames(name, Some(range), Resolution::Rolled(span)))
            .collect()
    };
    let mut all = of(42, Span::Hour)?;
    let oldest = all.iter().flatten().map(|frame| frame.unix_ms).min();
    let mut step_seconds = 3_600;
    if oldest.is_none_or(|oldest| now_ms - oldest < 3 * 86_400_000) {
        all = of(3, Span::Minute)?;
        step_seconds = 900;
    }
    let frames = all.iter().map(Vec::as_slice);
    Ok((
        counts::counts(frames, args.mode.as_deref(), step_seconds, now_ms),
        step_seconds,
    ))
}

fn told(args: &ForecastArgs, grid: &Grid, events: &[Event], title: &str) -> Outcome {
    let told = forecast_by(grid, usize::from(args.hours), events, chosen(args))?;
    if let Some(path) = &args.plot {
        let picture = plot::svg(title, grid, &told)?;
        std::fs::write(path, picture).with_context(|| format!("cannot write {}", path.display()))?;
    }
    match args.json {
        true => print_json(&told)?,
        false => print!("{}", show::forecast(title, &told, grid.zone())),
    }
    Ok(ExitCode::SUCCESS)
}

fn tested(args: &ForecastArgs, grid: &Grid, events: &[Event]) -> Outcome {
    let tested = back_test_by(grid, usize::from(args.days), &HORIZONS, events, chosen(args))?;
    if let Some(path) = &args.predictions {
        let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        show::predictions(file, &tested.predictions)
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    match args.json {
        true => print_json(&tested)?,
        false => print!("{}", show::back_test(&tested)),
    }
    Ok(ExitCode::SUCCESS)
}
