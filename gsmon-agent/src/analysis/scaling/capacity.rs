//! How many players fit: where tick time reaches what a tick may take.
//!
//! Where tick time was seen near its budget the answer is a number with an interval. Where it was seen up to half of it only,
//! the interval is that of all shapes that the data allow. Below that there is no answer but "at least so many".

use serde::{Deserialize, Serialize};

use super::{
    choose::Tried,
    inference::Known,
    rows::Row,
    shape::{Grouped, fit},
};
use crate::{
    analysis::stats::robust::quantile,
    history::{Frame, Measure},
};

/// How the budget of a tick is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BudgetBasis {
    /// The configuration or the game says how many ticks there are to be.
    Stated,
    /// The server keeps one rate nearly always: that is taken for the one it is meant to keep.
    Observed,
}

/// What a tick may take.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Budget {
    /// Ticks per second.
    pub tick_rate_hz: f64,
    /// Time of one.
    pub tick_ms: f64,
    /// How it is known.
    pub basis: BudgetBasis,
}

/// How many players fit.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "known", rename_all = "snake_case")]
pub enum Players {
    /// So many; tick time was seen near its budget, or beyond.
    About {
        /// Best value.
        players: f64,
        /// Lower end of the 95 % interval.
        low: f64,
        /// Upper end, where there is one.
        high: Option<f64>,
    },
    /// Somewhere in an interval: it lies beyond what was seen, and depends on how the curve goes on.
    Between {
        /// By the chosen shape.
        players: Option<f64>,
        /// Lower end over all shapes that the data allow.
        low: f64,
        /// Upper end, where there is one.
        high: Option<f64>,
    },
    /// As many were seen with ticks in time; how many more fit cannot be told from that.
    AtLeast {
        /// So many.
        players: f64,
    },
}

/// The answer.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Capacity {
    /// What a tick may take.
    pub budget: Budget,
    /// Highest tick time on the fitted curve where players were seen, over the budget.
    pub seen_ratio: f64,
    /// How many players.
    pub players: Players,
}

/// Share of time in which the rate must be within 2 % of one value to be taken for the one that is meant.
const KEPT: f64 = 0.5;
/// Tick time must be seen up to this share of the budget for a number.
const NEAR: f64 = 0.8;
/// And up to this share for an interval.
const FAR: f64 = 0.5;
/// How far a curve is followed beyond the most players that were seen.
const REACH: f64 = 8.0;
/// Points on the way.
const STEPS: usize = 400;

/// What a tick may take; `None` where no rate is stated and none is kept.
pub fn budget(frames: &[Frame]) -> Option<Budget> {
    let stated = frames
        .iter()
        .rev()
        .find_map(|frame| frame.get(Measure::TickTargetHz));
    let of = |tick_rate_hz: f64, basis| {
        (tick_rate_hz > 0.0).then(|| Budget {
            tick_rate_hz,
            tick_ms: 1e3 / tick_rate_hz,
            basis,
        })
    };
    if let Some(rate) = stated {
        return of(rate, BudgetBasis::Stated);
    }
    let rates: Vec<f64> = frames
        .iter()
        .filter_map(|frame| frame.get(Measure::TickRateHz))
        .collect();
    if rates.len() < 20 {
        return None;
    }
    // An overloaded server is slower than it is meant to be, never faster.
    let upper = quantile(&rates, 0.75)?;
    let kept = rates
        .iter()
        .filter(|rate| (*rate / upper - 1.0).abs() < 0.02)
        .count();
    (kept as f64 >= KEPT * rates.len() as f64)
        .then(|| of(upper, BudgetBasis::Observed))
        .flatten()
}

/// Where the curve of tick time (milliseconds) reaches its budget.
pub fn capacity(known: &Known, tried: &[Tried], rows: &[Row], budget: Budget) -> Option<Capacity> {
    let players: Vec<f64> = rows.iter().map(|row| row.players).collect();
    // Single rows at the edge are no evidence of how the server does there.
    let (least, most) = (quantile(&players, 0.005)?, quantile(&players, 0.995)?);
    let seen_ratio = highest(known, least, most) / budget.tick_ms;
    let own = crossing(known, most, budget.tick_ms);
    let answer = if seen_ratio >= NEAR {
        // Close by, curves that cannot be told apart still differ a little.
        let all = all_plausible(known, tried, rows, most, budget.tick_ms);
        match own.at {
            Some(players) => Players::About {
                players,
                low: all.low.min(players),
                high: all.high,
            },
            None => Players::Between {
                players: None,
                low: all.low,
                high: all.high,
            },
        }
    } else if seen_ratio >= FAR {
        let all = all_plausible(known, tried, rows, most, budget.tick_ms);
        Players::Between {
            players: own.at,
            low: all.low,
            high: all.high,
        }
    } else {
        Players::AtLeast {
            players: most.floor(),
        }
    };
    Some(Capacity {
        budget,
        seen_ratio,
        players: answer,
    })
}

fn highest(known: &Known, least: f64, most: f64) -> f64 {
    (0..=20)
        .map(|step| known.model.at(least + (most - least) * f64::from(step) / 20.0))
        .fold(f64::NEG_INFINITY, f64::max)
}

/// Where a curve and the ends of its band reach the budget.
#[derive(Clone, Copy)]
struct Crossing {
    at: Option<f64>,
    low: f64,
    high: Option<f64>,
}

fn crossing(known: &Known, most: f64, budget_ms: f64) -> Crossing {
    let step = most.max(1.0) * REACH / STEPS as f64;
    let first = |of: &dyn Fn(f64) -> f64| -> Option<f64> {
        let mut before = of(0.0);
        if before >= budget_ms {
            return Some(0.0);
        }
        for index in 1..=STEPS {
            let players = index as f64 * step;
            let now = of(players);
            if now >= budget_ms {
                return Some(players - step * (now - budget_ms) / (now - before).max(1e-12));
            }
            before = now;
        }
        None
    };
    let band = |players: f64| known.at(players);
    let low = first(&|players| band(players).map_or(f64::NAN, |at| at.high));
    Crossing {
        at: first(&|players| known.model.at(players)),
        low: low.unwrap_or(most * REACH),
        high: first(&|players| band(players).map_or(f64::NAN, |at| at.low)),
    }
}

/// The interval of all shapes that the data allow.
fn all_plausible(known: &Known, tried: &[Tried], rows: &[Row], most: f64, budget_ms: f64) -> Crossing {
    let mut all = crossing(known, most, budget_ms);
    let cells = Grouped::of(rows).all();
    for tried in tried
        .iter()
        .filter(|tried| tried.plausible && tried.shape != known.model.shape)
    {
        let other =
            fit(tried.shape, &cells, known.model.scale()).and_then(|model| Known::of(model, &[], rows));
        let Some(other) = other else { continue };
        let other = crossing(&other, most, budget_ms);
        all.low = all.low.min(other.low);
        all.high = all.high.zip(other.high).map(|(a, b)| a.max(b));
    }
    all
}
