//! `gsmon recommend`: how many servers, where and when. Asks the agent, a fleet or a Prometheus-compatible server (`seen`);
//! `placement` is where players should go, `words` the text, `plot` the picture. Advice itself is `analysis::advice`.

mod placement;
mod plot;
mod seen;
mod words;

use std::{path::PathBuf, process::ExitCode};

use serde::Serialize;

use self::seen::Seen;
use super::{
    Failure, Outcome, SocketArg, print_json, run, runtime,
    source::{Asked, SourceArgs},
    times, unix_ms,
};
use crate::{
    analysis::advice::{
        GroupFacts, ScalingAdvice,
        demand::Group,
        experience::Experience,
        gather::{self, Costs, Hours, SeenServer, Settings},
        recommend_scaling,
        simulate::{
            Rules,
            advised::Ahead,
            compare::{Comparison, compare},
        },
        waiting,
    },
    config::Config,
    history::TimeRange,
    monitor::figures_of,
    serve::{QueueTold, Route, fetch, metrics::encode_outlook},
};

/// A queue that is older says nothing of those who wait now.
const OLDEST_QUEUE_MS: i64 = 900_000;

#[derive(Debug, clap::Args)]
pub struct RecommendArgs {
    /// Hours to look ahead, 1 to 168.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..=168))]
    forecast_hours: u32,
    /// How players shall fare: smooth, responsive or economical.
    #[arg(long, default_value = "responsive")]
    experience: Experience,
    /// Tell what it costs, by [advice.prices].
    #[arg(long)]
    costs: bool,
    /// Also replay the past: advice, a static buffer and a perfect oracle. Needs frames of minutes: --range up to 3d.
    #[arg(long)]
    simulate: bool,
    /// Which region players who are here now should go to, instead of a timetable.
    #[arg(long, conflicts_with_all = ["costs", "simulate"])]
    placement: bool,
    /// Players who wait in the matchmaking queue come within the next hour, beside whom the forecast expects.
    #[arg(long, conflicts_with = "placement")]
    queue: bool,
    /// Draw demand and seats here, as SVG.
    #[arg(long, value_name = "FILE", conflicts_with = "placement")]
    plot: Option<PathBuf>,
    /// Write recommended servers, forecast and costs as metrics into this file, for node_exporter's textfile collector.
    #[arg(long, value_name = "FILE", conflicts_with = "placement")]
    textfile: Option<PathBuf>,
    /// History that is learnt from: 24h, 28d, or two times with `..` between them.
    #[arg(long, default_value = "28d", value_parser = times::parse_range)]
    range: TimeRange,
    /// Configuration with [advice] [default: /etc/gsmon.toml where there is one].
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

#[derive(Debug, Serialize)]
struct Answer {
    #[serde(flatten)]
    advice: ScalingAdvice,
    /// Replays, where they were asked for.
    simulated: Vec<Simulated>,
    /// Hosts of a fleet that are silent: what runs there is not known.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unknown_hosts: Vec<String>,
    /// Servers that are known, but neither run nor have a history in the range.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    without_trace: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Simulated {
    group: Group,
    /// What would have come of it, or why that cannot be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    comparison: Option<Comparison>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

pub fn run(args: &RecommendArgs) -> Outcome {
    let config = settings(args)?;
    let asked = Asked::of(&args.source, &args.socket)?;
    let all = Seen::by(&asked, args.range)?;
    let costs = if args.costs { Costs::Told } else { Costs::LeftOut };
    let hours = f64::from(args.forecast_hours);
    let span = Hours {
        now_unix_ms: unix_ms(),
        ahead: hours,
    };
    let targets = args.experience.targets();
    let (mut facts, mut left_alone) =
        gather::gather(&all.servers, &Settings::of(&config), span, &targets, costs);
    if args.placement {
        return placement::placed(args, &all, &facts, &config.advice);
    }
    if args.queue {
        let told: QueueTold = runtime()?.block_on(fetch(&args.socket.socket, &Route::to(&["queue"])))?;
        let age_ms = span.now_unix_ms - told.told_unix_ms;
        if age_ms > OLDEST_QUEUE_MS {
            return Err(Failure::Failed(anyhow::anyhow!(
                "the queue was told {} min ago, which says nothing of the next hour: send it again to POST /api/v1/queue",
                age_ms / 60_000
            )));
        }
        left_alone.extend(waiting::add(&mut facts, &told.queue));
    }
    let mut advice = recommend_scaling(&facts, hours, args.experience);
    advice.left_alone.extend(left_alone);
    let simulated = match args.simulate {
        true => facts
            .iter()
            .map(|facts| simulate(facts, &all.servers, args))
            .collect(),
        false => Vec::new(),
    };
    let answer = Answer {
        advice,
        simulated,
        unknown_hosts: all.unknown_hosts,
        without_trace: all.without_trace,
    };
    if let Some(path) = &args.plot {
        let picture = plot::svg(&answer.advice)?;
        std::fs::write(path, picture)
            .map_err(|error| anyhow::anyhow!("cannot write {}: {error}", path.display()))?;
    }
    if let Some(path) = &args.textfile {
        write_metrics(path, &answer.advice)?;
    }
    match args.json {
        true => print_json(&answer)?,
        false => print!("{}", words::text(&answer)),
    }
    Ok(ExitCode::SUCCESS)
}

fn settings(args: &RecommendArgs) -> Result<Config, Failure> {
    let usual = std::path::Path::new(run::DEFAULT_CONFIG);
    let path = args.config.as_deref().or_else(|| usual.exists().then_some(usual));
    match path {
        Some(path) => Config::read(path).map_err(|error| Failure::Usage(error.into())),
        None => Ok(Config::default()),
    }
}

fn simulate(facts: &GroupFacts, servers: &[SeenServer], args: &RecommendArgs) -> Simulated {
    const STEP_MS: i64 = 300_000;
    let group = facts.demand.group.clone();
    let hourly = servers
        .iter()
        .flat_map(|server| server.frames.last())
        .any(|frame| frame.seconds > 600.0);
    let replayed = match hourly {
        true => Err("only hours are kept of so long a range: ask for --range 3d or shorter".to_owned()),
        false => {
            let seen = gather::players(&group, servers, STEP_MS);
            let steps = |seconds: f64| (seconds * 1e3 / STEP_MS as f64).ceil() as usize;
            let ahead = Ahead {
                warm_up_steps: steps(facts.warm_up.seconds),
                hold_steps: steps(facts.cool_down.seconds),
            };
            let rules = Rules {
                seats: facts.size.players,
                warm_up_steps: u32::try_from(ahead.warm_up_steps).unwrap_or(u32::MAX),
                step_seconds: STEP_MS as f64 / 1e3,
                least_servers: facts.bounds.least,
                most_servers: facts.bounds.most,
            };
            let first = seen.first().map_or(0, |point| point.0);
            let players: Vec<f64> = seen.iter().map(|point| point.1).collect();
            let quantile = args.experience.targets().demand_quantile;
            compare(first, STEP_MS, &players, quantile, ahead, &rules).map_err(|error| error.to_string())
        }
    };
    match replayed {
        Ok(comparison) => Simulated {
            group,
            comparison: Some(comparison),
            error: None,
        },
        Err(error) => Simulated {
            group,
            comparison: None,
            error: Some(error),
        },
    }
}

/// Written beside it first, so that nobody reads half a file.
fn write_metrics(path: &std::path::Path, advice: &ScalingAdvice) -> Result<(), Failure> {
    let body = encode_outlook(&figures_of(advice, unix_ms()))?;
    let beside = path.with_extension("new");
    let wrote = std::fs::write(&beside, body).and_then(|()| std::fs::rename(&beside, path));
    wrote.map_err(|error| Failure::Failed(anyhow::anyhow!("cannot write {}: {error}", path.display())))
}
