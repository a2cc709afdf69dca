//! How many players will come: expected values and quantiles for the next hours and days, with the model they are from, how
//! well that did on this very series, and what it could not do.
//!
//! `grid` is a series on regular steps with its local time; `models` are simple seasonal ones, `mstl` those of the crate
//! `augurs`, and `kernels` optimal linear prediction; `blend` weighs them by how they did; `conformal` makes intervals of past errors; `events` takes out what is no
//! ordinary week; `roll` goes through a series as if each origin were the present; `back_test` scores that; `table` reads
//! counts from CSV, `counts` makes them of frames. Not here: where those come from, and a clock.

pub mod back_test;
mod blend;
mod conformal;
pub mod counts;
mod events;
mod grid;
mod kernels;
mod models;
mod mstl;
mod roll;
pub mod table;
#[cfg(test)]
mod tests;

use serde::Serialize;

pub use conformal::LEVELS;
pub use events::Event;
pub use grid::{Grid, GridError};
pub use models::{Choice, Model};

/// Hours that can be told at most.
pub const MOST_HOURS: usize = 168;

/// Why nothing is told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ForecastError {
    /// No count at all.
    #[error(
        "there is no count of players yet: a forecast needs an hour of history at least, and a week to be good"
    )]
    NoHistory,
    /// Too far, or not at all.
    #[error("{0} hours cannot be told: ask for 1 to {MOST_HOURS}")]
    Hours(usize),
}

/// What is expected of one step.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Point {
    /// Beginning of the step, in seconds since 1970.
    pub begin_unix_s: i64,
    /// Hours ahead.
    pub hours: usize,
    /// Expected players.
    pub players: f64,
    /// Quantiles of players, at the levels of the forecast; never negative, never falling.
    pub quantiles: [f64; LEVELS.len()],
    /// Earlier forecasts of this horizon: mean absolute error over mean players, in percent, of those that the baseline had
    /// too where there are any; absent before any came due.
    pub error_percent: Option<f64>,
    /// The same of "same time last week x current level", over the forecasts where both are.
    pub baseline_error_percent: Option<f64>,
    /// Earlier values that lay in the 90 % interval, in percent.
    pub covered_90_percent: Option<f64>,
    /// How many earlier forecasts that is.
    pub tested: usize,
}

impl Point {
    /// Lower end of the 90 % interval.
    pub fn low(&self) -> f64 {
        self.quantiles[conformal::P05]
    }

    /// Upper end.
    pub fn high(&self) -> f64 {
        self.quantiles[conformal::P95]
    }
}

/// A model's part.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Part {
    /// Which.
    pub model: Model,
    /// In words.
    pub name: &'static str,
    /// Its weight.
    pub weight_ratio: f64,
    /// Its mean absolute relative error, newer ones weighing more, in percent.
    pub error_percent: Option<f64>,
}

/// Players of the next hours.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Forecast {
    /// End of the last step that was seen, in seconds since 1970.
    pub origin_unix_s: i64,
    /// Length of a step: each value is a mean over one.
    pub step_seconds: i64,
    /// Levels of the quantiles.
    pub levels: [f64; LEVELS.len()],
    /// Hour by hour.
    pub points: Vec<Point>,
    /// What the first hour is made of, the largest part first.
    pub parts: Vec<Part>,
    /// What the last hour is made of.
    pub parts_last: Vec<Part>,
    /// History that was there, gaps left out.
    pub history_days: f64,
    /// Players of the last day over those a week before, where they shifted.
    pub level_shift_ratio: Option<f64>,
    /// What could not be done as well as it should, and why.
    pub degraded: Vec<String>,
}

/// Players of the next hours, from the steps of a series and from announced events.
///
/// # Errors
/// When there is no count, or so many hours cannot be told.
pub fn forecast(grid: &Grid, hours: usize, events: &[Event]) -> Result<Forecast, ForecastError> {
    forecast_by(grid, hours, events, Choice::Weighed)
}

/// The same by the models that are chosen.
///
/// # Errors
/// When there is no count, or so many hours cannot be told.
pub fn forecast_by(
    grid: &Grid,
    hours: usize,
    events: &[Event],
    choice: Choice,
) -> Result<Forecast, ForecastError> {
    if !(1..=MOST_HOURS).contains(&hours) {
        return Err(ForecastError::Hours(hours));
    }
    if grid.known() == 0 {
        return Err(ForecastError::NoHistory);
    }
    let learned = events::ordinary(grid, events);
    let learned = if learned.known() == 0 {
        grid.clone()
    } else {
        learned
    };
    let last = grid.len() - 1;
    let mut points = Vec::with_capacity(hours);
    let mut parts = Vec::new();
    let mut parts_last = Vec::new();
    let mut unknown: Vec<String> = Vec::new();
    let mut untried = None;
    let walks = walks(grid, &learned, hours, last, choice);
    for (hour, walk) in (1..=hours).zip(&walks) {
        let (said, quantiles) = match walk.said.last() {
            Some(said) => (said.players, said.quantiles),
            // Nothing in the last day: what there was before, in all.
            None => {
                let mean = grid.mean(0, grid.len() as i64);
                (
                    mean,
                    conformal::Conformal::new(grid.day()).quantiles(last, 0, mean),
                )
            }
        };
        let begin_unix_s = grid.begin_unix_s(last + hour * grid.hour());
        let (ratio, names) = events::effect(grid, events, begin_unix_s);
        unknown.extend(
            names
                .into_iter()
                .filter(|name| !unknown.contains(name))
                .collect::<Vec<_>>(),
        );
        let record = walk.record;
        if record.tested < conformal::ENOUGH && untried.is_none() {
            untried = Some(hour);
        }
        let percent = |part: f64, whole: f64| (whole > 0.0).then(|| 100.0 * part / whole);
        // Beside the baseline, over the same targets: there is none in the first week.
        let error_percent = percent(record.blend_absolute, record.players_both)
            .or_else(|| percent(record.absolute, record.players));
        points.push(Point {
            begin_unix_s,
            hours: hour,
            players: said * ratio,
            quantiles: quantiles.map(|quantile| quantile * ratio),
            error_percent,
            baseline_error_percent: percent(record.baseline_absolute, record.players_both),
            covered_90_percent: percent(record.covered as f64, record.told as f64),
            tested: record.tested,
        });
        if hour == 1 {
            parts = told(walk);
        }
        if hour == hours {
            parts_last = told(walk);
        }
    }
    let history_days = grid.known() as f64 / grid.day() as f64;
    let level_shift_ratio = events::level_shift(&learned);
    let mut degraded = shortcomings(grid, history_days, untried);
    degraded.extend(unknown.iter().map(|name| {
        format!("event `{name}`: what it does to players is not known yet; set players_ratio, or it is learned when it is over")
    }));
    if let Some(ratio) = level_shift_ratio {
        degraded.push(format!(
            "players shifted to {ratio:.2} of the week before: older weeks are used at the new level, and intervals are those of calmer times"
        ));
    }
    Ok(Forecast {
        origin_unix_s: grid.begin_unix_s(last + 1),
        step_seconds: grid.step_seconds(),
        levels: LEVELS,
        points,
        parts,
        parts_last,
        history_days,
        level_shift_ratio,
        degraded,
    })
}

/// What was said at every step of a series of the step `hours` later, as if each were the present: its place, that of what
/// it is about, and the quantiles. Nothing after a step is known at it.
pub fn as_it_went(grid: &Grid, hours: usize) -> Vec<(usize, usize, [f64; LEVELS.len()])> {
    let learned = events::ordinary(grid, &[]);
    let prepared = roll::Prepared::new(&learned);
    let ahead = hours * grid.hour();
    let left = roll::BaselineInterval::Left;
    let walk = roll::walk(grid, &learned, &prepared, ahead, 0, left, Choice::Weighed);
    let said = walk.said.iter();
    said.map(|said| (said.origin, said.target, said.quantiles))
        .collect()
}

/// Walks of all hours, on as many threads as there are cores.
fn walks(grid: &Grid, learned: &Grid, hours: usize, last: usize, choice: Choice) -> Vec<roll::Walk> {
    let prepared = roll::Prepared::new(learned);
    let of = |hour: usize| {
        let ahead = hour * grid.hour();
        roll::walk(
            grid,
            learned,
            &prepared,
            ahead,
            last,
            roll::BaselineInterval::Left,
            choice,
        )
    };
    let threads = std::thread::available_parallelism().map_or(1, |cores| cores.get().min(hours));
    let mut all: Vec<(usize, roll::Walk)> = std::thread::scope(|scope| {
        let of = &of;
        let others: Vec<_> = (2..=threads)
            .map(|first| {
                scope.spawn(move || {
                    let hours = (first..=hours).step_by(threads);
                    hours.map(|hour| (hour, of(hour))).collect::<Vec<_>>()
                })
            })
            .collect();
        let mut all: Vec<_> = (1..=hours)
            .step_by(threads)
            .map(|hour| (hour, of(hour)))
            .collect();
        for other in others {
            all.extend(
                other
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            );
        }
        all
    });
    all.sort_by_key(|(hour, _)| *hour);
    all.into_iter().map(|(_, walk)| walk).collect()
}

fn told(walk: &roll::Walk) -> Vec<Part> {
    let mut parts: Vec<Part> = walk
        .weights
        .iter()
        .filter(|(_, weight)| *weight >= 0.005)
        .map(|(model, weight)| Part {
            model: *model,
            name: model.words(),
            weight_ratio: *weight,
            error_percent: walk
                .errors
                .iter()
                .find(|(other, _)| other == model)
                .map(|(_, error)| 100.0 * error),
        })
        .collect();
    parts.sort_by(|a, b| b.weight_ratio.total_cmp(&a.weight_ratio));
    parts
}

fn shortcomings(grid: &Grid, history_days: f64, untried: Option<usize>) -> Vec<String> {
    let mut all = Vec::new();
    if history_days < 1.0 {
        all.push(format!(
            "{:.1} hours of history: no season is known, what is there now is held to stay",
            history_days * 24.0
        ));
    } else if history_days < 7.2 {
        all.push(format!(
            "{history_days:.1} days of history: days are known, weeks are not"
        ));
    } else if history_days < 14.0 {
        all.push(format!(
            "{history_days:.1} days of history: one week stands for all"
        ));
    }
    let gaps = 1.0 - grid.known() as f64 / grid.len().max(1) as f64;
    if gaps > 0.1 {
        all.push(format!("{:.0} % of the steps have no count", 100.0 * gaps));
    }
    if let Some(hour) = untried {
        all.push(format!(
            "from {hour} h on fewer than {} forecasts came due: intervals assume that one is off by {:.0} %",
            conformal::ENOUGH,
            100.0 * conformal::UNTRIED_RATIO
        ));
    }
    all
}
