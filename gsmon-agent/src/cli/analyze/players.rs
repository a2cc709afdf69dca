//! `gsmon analyze players [SERVER]`: what players cost and how many fit, as text, JSON or a picture.

use std::{fmt::Write, path::PathBuf, process::ExitCode};

use super::{
    super::{
        Failure, Outcome, SocketArg, print_json,
        source::{Asked, SourceArgs},
    },
    players_plot,
    range::{parse_range, shortfall, with_unit},
};
use crate::{
    analysis::scaling::{
        BudgetBasis, By, Capacity, GroupsReport, MetricAnswer, MetricScaling, Players, ScalingMetric,
        ScalingReport, Scope, Shape,
    },
    history::{Frame, Measure, Resolution, TimeRange},
    questions::{Past, PlayersAnswer, answers::series},
    top::harmless::harmless,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Grouping {
    Mode,
    Map,
    Phase,
}

#[derive(Debug, clap::Args)]
pub struct PlayersArgs {
    /// This server only; all together without.
    server: Option<String>,
    /// What was played in this mode only, on any server.
    #[arg(long, conflicts_with = "server")]
    mode: Option<String>,
    /// A length of time up to now (24h, 7d), or two times with `..` between them.
    #[arg(long, default_value = "1h", value_parser = parse_range)]
    range: TimeRange,
    /// Metrics; a wrong one is answered with the right ones.
    #[arg(long, value_delimiter = ',', value_parser = parse_metric)]
    metrics: Vec<ScalingMetric>,
    /// Hold modes, maps or phases against each other; needs SERVER.
    #[arg(long, requires = "server", value_enum)]
    by: Option<Grouping>,
    /// One JSON document.
    #[arg(long)]
    json: bool,
    /// Draw it into this SVG file.
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    socket: SocketArg,
}

fn parse_metric(text: &str) -> Result<ScalingMetric, String> {
    text.parse()
        .map_err(|error: crate::analysis::scaling::UnknownMetric| error.to_string())
}

pub fn run(args: &PlayersArgs) -> Outcome {
    let asked = Asked::of(&args.source, &args.socket)?;
    let all: Vec<(String, Vec<Frame>)> = match &args.server {
        Some(server) => vec![(
            server.clone(),
            asked.frames(server, Some(args.range), Resolution::Fitting)?,
        )],
        None => asked.all_frames(Some(args.range))?,
    };
    let scope = match (&args.server, &args.mode) {
        (Some(server), _) => Scope::Server(server.clone()),
        (None, Some(mode)) => Scope::Mode(mode.clone()),
        (None, None) => Scope::All,
    };
    let metrics = match args.metrics.is_empty() {
        true => ScalingMetric::USUAL.to_vec(),
        false => args.metrics.clone(),
    };
    let by = args.by.map(|by| match by {
        Grouping::Mode => By::Mode,
        Grouping::Map => By::Map,
        Grouping::Phase => By::Phase,
    });
    let answer = PlayersAnswer::of(&all, &scope, &metrics, by)?;
    let frames = all.first().map_or(&[][..], |(_, frames)| frames);
    if let Some(path) = &args.plot {
        let picture = players_plot::svg(&answer.report, &series(&all))?;
        std::fs::write(path, picture)
            .map_err(|error| Failure::Failed(anyhow::anyhow!("cannot write {}: {error}", path.display())))?;
    }
    match args.json {
        true => print_json(&answer)?,
        false => {
            print!("{}", text(&answer));
            if let Some(shortfall) = args.server.as_ref().and_then(|_| shortfall(args.range, frames)) {
                println!("  {shortfall}");
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn text(answer: &PlayersAnswer) -> String {
    let report = &answer.report;
    let mut text = String::new();
    // Writing to a string cannot fail.
    let who = match &report.scope {
        Scope::Server(name) => harmless(name).into_owned(),
        Scope::Mode(mode) => format!("mode {} on {} servers", harmless(mode), report.servers),
        Scope::All => format!("{} servers together", report.servers),
    };
    let _ = writeln!(text, "{who}: {}", headline(report));
    if let Some(reason) = &report.no_capacity {
        let _ = writeln!(text, "  how many players fit cannot be told: {reason}");
    }
    for answer in &report.metrics {
        metric(&mut text, answer);
    }
    for groups in &answer.groups {
        grouped(&mut text, groups);
    }
    if let Some(patterns) = answer
        .patterns
        .as_ref()
        .filter(|patterns| patterns.patterns.len() > 1)
    {
        let _ = writeln!(
            text,
            "  no mode is told here, but {} ways of use can be told apart:",
            patterns.patterns.len()
        );
        for pattern in &patterns.patterns {
            let figures: Vec<String> = pattern
                .per_player
                .iter()
                .map(|(name, value)| format!("{name} {value:.4}"))
                .collect();
            let _ = writeln!(
                text,
                "    {:.0} % of the time, {:.0} players; per player: {}",
                pattern.share_ratio * 100.0,
                pattern.players,
                figures.join(", ")
            );
        }
    }
    text
}

/// What an administrator wants to know first.
fn headline(report: &ScalingReport) -> String {
    let cpu = report
        .metrics
        .iter()
        .find(|answer| answer.metric == ScalingMetric::Stored(Measure::CpuCores))
        .and_then(|answer| answer.scaling.as_ref())
        .map(|scaling| {
            let told = scaling.per_player.scaled(100.0);
            match told.excludes_zero() {
                true => format!(
                    "each adds {:.2} % of a core ({:.2} to {:.2})",
                    told.value, told.low, told.high
                ),
                false => format!(
                    "what each adds to CPU cannot be told from nothing (at most {:.2} % of a core)",
                    told.high
                ),
            }
        });
    match (report.capacity.map(fits), cpu) {
        (Some(fits), Some(cpu)) => format!("{fits}; {cpu}"),
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => "what players cost".to_owned(),
    }
}

fn fits(capacity: Capacity) -> String {
    let budget = capacity.budget;
    let rate = match budget.basis {
        BudgetBasis::Stated => format!("at {:.0} TPS", budget.tick_rate_hz),
        BudgetBasis::Observed => format!(
            "at {:.1} TPS (the rate that it keeps; none is stated)",
            budget.tick_rate_hz
        ),
    };
    match capacity.players {
        Players::About {
            players,
            low,
            high: Some(high),
        } => {
            let (below, above) = (players - low, high - players);
            match (below - above).abs() < 0.5 * below.max(above) {
                true => format!(
                    "{players:.0} ± {:.0} players fit {rate}",
                    below.max(above).max(1.0)
                ),
                false => format!("{players:.0} players fit {rate} ({low:.0} to {high:.0})"),
            }
        }
        Players::About {
            players,
            low,
            high: None,
        } => {
            format!("{players:.0} players fit {rate} (at least {low:.0})")
        }
        Players::Between { low, high, .. } => {
            let high = high.map_or_else(|| "any number".to_owned(), |high| format!("{high:.0}"));
            format!(
                "between {low:.0} and {high} players fit {rate}; ticks took {:.0} % of their time at most so far, beyond is extrapolation",
                capacity.seen_ratio * 100.0
            )
        }
        Players::AtLeast { players } => format!(
            "at least {players:.0} players fit {rate}: so many were there, and ticks took {:.0} % of their time",
            capacity.seen_ratio * 100.0
        ),
    }
}

fn metric(text: &mut String, answer: &MetricAnswer) {
    let Some(scaling) = &answer.scaling else {
        let reason = answer.refused.as_deref().unwrap_or("no answer");
        let _ = writeln!(text, "  {}: {reason}", answer.metric);
        return;
    };
    let _ = writeln!(text, "  {}: {}", answer.metric, scaling.shape.words());
    let _ = writeln!(
        text,
        "    each player adds {} (between {:.0} and {:.0} players)",
        with_unit(answer.metric, scaling.per_player),
        scaling.per_player_between.0,
        scaling.per_player_between.1
    );
    if scaling.shape > Shape::Linear
        && let Some(full) = scaling.per_player_when_full
    {
        let _ = writeln!(
            text,
            "    where there are many ({:.0} to {:.0}) each adds {}",
            scaling.when_full_between.0,
            scaling.when_full_between.1,
            with_unit(answer.metric, full)
        );
    }
    if let Some(knee) = scaling.knee {
        let _ = writeln!(
            text,
            "    knee at {:.0} players ({:.0} to {:.0})",
            knee.value, knee.low, knee.high
        );
    }
    if let Some(base) = scaling.base {
        let _ = writeln!(
            text,
            "    without players {}{}",
            with_unit(answer.metric, base),
            if scaling.base_observed {
                ""
            } else {
                ": extrapolated, so few players were never there"
            }
        );
    }
    let _ = writeln!(text, "    {}", seen(scaling));
}

fn seen(scaling: &MetricScaling) -> String {
    let never: Vec<String> = scaling
        .observed
        .never
        .iter()
        .take(6)
        .map(|(first, last)| format!("{first} to {last}"))
        .collect();
    let never = match never.is_empty() {
        true => String::new(),
        false => format!(", never {}", never.join(", ")),
    };
    format!(
        "seen with {:.0} to {:.0} players{never}; {:.0} s in {} rows ({} outliers left out, {:.0} s of warm-up)",
        scaling.observed.least,
        scaling.observed.most,
        scaling.seconds,
        scaling.rows,
        scaling.residuals.outliers,
        scaling.warm_up_seconds
    )
}

fn grouped(text: &mut String, report: &GroupsReport) {
    let _ = writeln!(text, "  {} by {}:", report.metric, report.by.words());
    for group in &report.groups {
        let told = match (&group.scaling, &group.refused) {
            (Some(scaling), _) => format!(
                "each player adds {}",
                with_unit(report.metric, scaling.per_player)
            ),
            (None, Some(reason)) => reason.clone(),
            (None, None) => "no answer".to_owned(),
        };
        let _ = writeln!(
            text,
            "    {}: {:.0} s with {:.1} players; {told}",
            harmless(&group.name),
            group.seconds,
            group.players
        );
    }
    for one in &report.differences {
        let relative = one
            .relative
            .map_or_else(String::new, |ratio| format!(", {:+.1} %", ratio * 100.0));
        let _ = writeln!(
            text,
            "    {} against {} at {:.0} players: {}{relative}; effect size {:.2}, p {:.3}{}",
            harmless(&one.group),
            harmless(&one.against),
            one.at_players,
            with_unit(report.metric, one.difference),
            one.effect_size,
            one.corrected_p_value,
            if one.significant {
                ""
            } else {
                ": no difference is shown"
            }
        );
    }
    for name in &report.not_compared {
        let _ = writeln!(
            text,
            "    {}: too little of it at as many players as the first had",
            harmless(name)
        );
    }
}
