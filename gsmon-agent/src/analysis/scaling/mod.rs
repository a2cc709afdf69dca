//! What players cost: how each figure grows with them, how sure that is, and how many fit.
//!
//! `metric` is what can be asked for, `rows` makes rows of frames, `shape` fits curves, `choose` takes one by what it was not
//! fitted to, `inference` says how well it is known, `capacity` where ticks become too long; `groups` compares modes, maps
//! and phases, `patterns` finds ways of use where no mode is known; `bots` tells bots from people, `actions` holds what players
//! do against spikes, `leak` tells memory that is lost from memory that is used.

mod actions;
mod bots;
mod capacity;
mod choose;
mod groups;
mod inference;
mod leak;
mod metric;
mod patterns;
mod rows;
mod shape;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use self::{
    actions::{ActionLift, ActionsReport, actions_and_spikes},
    bots::{BotsReport, cost_of_bots},
    capacity::{Budget, BudgetBasis, Capacity, Players},
    choose::Tried,
    groups::{By, Difference, Group, GroupsReport, compare_groups},
    leak::{Collector, LeakReport, LeakVerdict, Limit, MemoryBasis, TimeToLimit, find_leak},
    metric::{ScalingMetric, UnknownMetric},
    patterns::{Pattern, PatternsReport, usage_patterns},
    shape::Shape,
};
use self::{
    inference::Known,
    rows::{Rows, playing},
};
use super::{
    series::Series,
    stats::{Estimate, robust::quantile},
};
use crate::history::{Frame, Measure};

/// Whose frames are looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// One server.
    Server(String),
    /// All servers, while they play one mode.
    Mode(String),
    /// All servers together.
    All,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ScalingRefusal {
    /// Nothing at all.
    #[error(
        "no frames lie in this range: the agent was not running, the server was not up, or the range is older than what is kept"
    )]
    Empty,
    /// No such server, or mode.
    #[error("nobody has played {0} in this range")]
    NothingInScope(String),
    /// Players are not known.
    #[error(
        "how many players there are is not known here: give the server a log or a query (docs/configuration.md)"
    )]
    NoPlayers,
    /// The figure is not known.
    #[error("`{metric}` was not measured in this range")]
    NotMeasured {
        /// Which.
        metric: ScalingMetric,
    },
    /// Too short.
    #[error(
        "{seconds:.0} s of measurements make {rows} rows, {needed} are needed at least: take a longer range"
    )]
    TooLittle {
        /// Rows that there are.
        rows: usize,
        /// Seconds that they cover.
        seconds: f64,
        /// Rows that are needed.
        needed: usize,
    },
    /// Nothing to compare.
    #[error(
        "there were {players:.0} players nearly all the time: what one more costs cannot be told before their number changes"
    )]
    ConstantPlayers {
        /// So many.
        players: f64,
    },
    /// Nobody says which players are bots.
    #[error(
        "which players are bots is not known here: a log or a query that tells is needed (docs/configuration.md)"
    )]
    NoBots,
    /// Nobody tells actions.
    #[error(
        "no actions of players are told here: give the server a log whose grammar names them, or push them (docs/push.md)"
    )]
    NoActions,
    /// Nothing to explain.
    #[error(
        "there were {spikes} spikes in this range, {needed} are needed at least to link them to anything"
    )]
    TooFewSpikes {
        /// Spikes that there are.
        spikes: usize,
        /// Spikes that are needed.
        needed: usize,
    },
    /// Memory is not known.
    #[error("memory was not measured in this range")]
    NoMemory,
    /// The figures do not suffice for any curve.
    #[error("no curve can be fitted to `{metric}`: its values cannot be told apart")]
    NoFit {
        /// Which.
        metric: ScalingMetric,
    },
}

/// A stretch of the curve.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct CurvePoint {
    /// Players.
    pub players: f64,
    /// The figure there.
    pub value: Estimate,
}

/// What the curve leaves.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Residuals {
    /// Standard deviation, outliers aside.
    pub standard_deviation: f64,
    /// Rows that are far from all others at their number of players, and were left out.
    pub outliers: usize,
    /// Independent rows that would tell as much: neighbours in time resemble each other.
    pub effective_rows: f64,
}

/// Where players were seen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Observed {
    /// Fewest.
    pub least: f64,
    /// Most.
    pub most: f64,
    /// Numbers of players between these that were never there, first and last of each stretch.
    pub never: Vec<(u64, u64)>,
}

/// How one figure depends on players.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MetricScaling {
    /// Which.
    pub metric: ScalingMetric,
    /// Shape that is taken.
    pub shape: Shape,
    /// All shapes, by what they left of what they were not fitted to.
    pub tried: Vec<Tried>,
    /// What each player adds, on average over the middle eight tenths of what was seen.
    pub per_player: Estimate,
    /// Ends of that stretch.
    pub per_player_between: (f64, f64),
    /// The same where there are many: over the fullest third of the rows, the very fullest aside.
    pub per_player_when_full: Option<Estimate>,
    /// Ends of that stretch.
    pub when_full_between: (f64, f64),
    /// The figure without players.
    pub base: Option<Estimate>,
    /// Was the server ever (nearly) empty? Else the base is an extrapolation.
    pub base_observed: bool,
    /// Players at the knee, of a piecewise shape.
    pub knee: Option<Estimate>,
    /// The curve, where players were seen.
    pub curve: Vec<CurvePoint>,
    /// Where players were seen.
    pub observed: Observed,
    /// What the curve leaves.
    pub residuals: Residuals,
    /// Rows behind it.
    pub rows: usize,
    /// Seconds behind it.
    pub seconds: f64,
    /// Seconds after starts that were left out.
    pub warm_up_seconds: f64,
    /// Starts and gaps in the range.
    pub gaps: usize,
}

/// The answer for one metric, or why there is none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MetricAnswer {
    /// Which.
    pub metric: ScalingMetric,
    /// The answer.
    pub scaling: Option<MetricScaling>,
    /// Why there is none.
    pub refused: Option<String>,
}

/// The whole of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScalingReport {
    /// Whose.
    pub scope: Scope,
    /// Servers behind it.
    pub servers: usize,
    /// Ends of the first and the last frame.
    pub from_unix_ms: i64,
    /// Last.
    pub to_unix_ms: i64,
    /// Metrics in the order that they were asked for.
    pub metrics: Vec<MetricAnswer>,
    /// How many players fit.
    pub capacity: Option<Capacity>,
    /// Why that is not known.
    pub no_capacity: Option<String>,
}

/// Players must differ by so many between the tenth and the ninetieth of a hundred rows.
const LEAST_SPREAD: f64 = 1.0;
/// Points of the curve.
const CURVE: usize = 24;

/// How the metrics of a server, of a mode, or of all servers together depend on players.
///
/// # Errors
/// When nothing in this range can be looked at; a single metric without an answer says so in its place.
pub fn analyze_player_scaling(
    servers: &[Series<'_>],
    scope: &Scope,
    metrics: &[ScalingMetric],
) -> Result<ScalingReport, ScalingRefusal> {
    if servers.iter().all(|server| server.frames.is_empty()) {
        return Err(ScalingRefusal::Empty);
    }
    let taken = |server: &&Series<'_>| match scope {
        Scope::Server(name) => server.server == name,
        _ => true,
    };
    let mut frames: Vec<Frame> = Vec::new();
    let mut count = 0;
    for server in servers.iter().filter(taken) {
        let playing = playing(server.frames);
        let before = frames.len();
        for frame in server.frames {
            let in_mode = match scope {
                Scope::Mode(mode) => frame.mode.as_deref() == Some(mode),
                _ => true,
            };
            if in_mode && playing(frame) {
                let mut frame = frame.clone();
                // No block may reach from one server to the next.
                frame.begins_anew |= frames.len() == before && count > 0;
                frames.push(frame);
            }
        }
        count += usize::from(frames.len() > before);
    }
    if frames.is_empty() {
        return Err(ScalingRefusal::NothingInScope(match scope {
            Scope::Server(name) => format!("on `{name}`"),
            Scope::Mode(mode) => format!("the mode `{mode}`"),
            Scope::All => "on any server".to_owned(),
        }));
    }
    // What is known of tick time tells how many fit as well.
    let mut ticks: Option<TickTime> = None;
    let mut answers = Vec::with_capacity(metrics.len());
    for metric in metrics {
        let scaling = scaling_of(&frames, *metric);
        answers.push(MetricAnswer {
            metric: *metric,
            refused: scaling.as_ref().err().map(ToString::to_string),
            scaling: scaling.as_ref().ok().map(|(scaling, _, _)| scaling.clone()),
        });
        if *metric == TICK_TIME {
            ticks = Some(scaling);
        }
    }
    let (capacity, no_capacity) = match capacity_of(&frames, ticks) {
        Ok(capacity) => (Some(capacity), None),
        Err(reason) => (None, Some(reason)),
    };
    Ok(ScalingReport {
        scope: scope.clone(),
        servers: count,
        from_unix_ms: frames.iter().map(|frame| frame.unix_ms).min().unwrap_or(0),
        to_unix_ms: frames.iter().map(|frame| frame.unix_ms).max().unwrap_or(0),
        metrics: answers,
        capacity,
        no_capacity,
    })
}

/// By which it is told how many fit.
const TICK_TIME: ScalingMetric = ScalingMetric::Stored(Measure::TickP50Ms);

/// How it depends on players.
type TickTime = Result<(MetricScaling, Known, Rows), ScalingRefusal>;

fn capacity_of(frames: &[Frame], ticks: Option<TickTime>) -> Result<Capacity, String> {
    let budget = capacity::budget(frames)
        .ok_or("how many ticks per second there are to be is not known: set `tick_rate_hz` of the server")?;
    let ticks = ticks.unwrap_or_else(|| scaling_of(frames, TICK_TIME));
    let (scaling, known, rows) = ticks.map_err(|refusal| refusal.to_string())?;
    capacity::capacity(&known, &scaling.tried, &rows.rows, budget)
        .ok_or_else(|| "tick time does not suffice for it".to_owned())
}

/// One metric of frames that belong together.
fn scaling_of(
    frames: &[Frame],
    metric: ScalingMetric,
) -> Result<(MetricScaling, Known, Rows), ScalingRefusal> {
    let mut rows = rows::rows(frames, metric, |_| Some(0))?;
    if !metric.is_bursty() {
        rows.weigh();
    }
    let players = rows.players();
    let at = |share: f64| quantile(&players, share).unwrap_or(0.0);
    let (low, high) = (at(0.1), at(0.9));
    if high - low < LEAST_SPREAD {
        return Err(ScalingRefusal::ConstantPlayers { players: at(0.5) });
    }
    let scale = at(1.0);
    let no_fit = || ScalingRefusal::NoFit { metric };
    let (model, tried) = choose::choose(&rows.rows, scale).ok_or_else(no_fit)?;
    let known = Known::of(model, &tried, &rows.rows).ok_or_else(no_fit)?;
    // That a figure does not depend on players is known to an interval as well: the line's.
    let line = (model.shape == Shape::Constant)
        .then(|| shape::fit(Shape::Linear, &shape::Grouped::of(&rows.rows).all(), scale))
        .flatten()
        .and_then(|line| Known::of(line, &[], &rows.rows));
    let slopes = line.as_ref().unwrap_or(&known);
    let (least, most) = (at(0.0), at(1.0));
    let curve = (0..=CURVE)
        .map(|step| least + (most - least) * step as f64 / CURVE as f64)
        .filter_map(|players| {
            Some(CurvePoint {
                players,
                value: known.at(players)?,
            })
        })
        .collect();
    let scaling = MetricScaling {
        metric,
        shape: model.shape,
        tried,
        per_player: slopes.mean_slope(low, high).ok_or_else(no_fit)?,
        per_player_between: (low, high),
        per_player_when_full: slopes.mean_slope(at(0.67), at(0.95)),
        when_full_between: (at(0.67), at(0.95)),
        base: known.at(0.0),
        base_observed: at(0.05) <= (0.1 * most).max(1.0),
        knee: known.knee(),
        curve,
        observed: Observed {
            least,
            most,
            never: never(&players),
        },
        residuals: Residuals {
            standard_deviation: known.residual,
            outliers: rows.rows.iter().filter(|row| row.weight == 0.0).count(),
            effective_rows: known.effective,
        },
        rows: rows.rows.len(),
        seconds: rows.seconds,
        warm_up_seconds: rows.warm_up_seconds,
        gaps: rows.gaps,
    };
    Ok((scaling, known, rows))
}

/// Stretches of two or more numbers of players that were never there.
fn never(sorted: &[f64]) -> Vec<(u64, u64)> {
    let mut stretches = Vec::new();
    for pair in sorted.windows(2) {
        let (first, last) = (
            (pair[0].floor() + 1.0) as u64,
            (pair[1].ceil() - 1.0).max(0.0) as u64,
        );
        if last > first && stretches.len() < 32 {
            stretches.push((first, last));
        }
    }
    stretches
}
