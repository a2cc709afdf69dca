//! How well forecasts would have done: origins at every step of the last days, targets in them, nothing after an origin seen;
//! beside what is said without any model. Not here: the forecasts.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    conformal::{LEVELS, P05, P95},
    events::{Event, ordinary},
    grid::Grid,
    models::Choice,
    roll::{BaselineInterval, Prepared, Said, walk},
};

/// Scores of one horizon. Errors and coverages in percent.
#[derive(Clone, Debug, Serialize)]
pub struct HorizonScore {
    /// `1h`, `3h`.
    pub horizon: String,
    /// Mean absolute error over what came; absent where a target had no player.
    pub mape: Option<f64>,
    /// That of "same time last week x level of the last hour".
    pub baseline_mape: Option<f64>,
    /// Values in the 90 % interval.
    pub coverage_90: f64,
    /// That of what there is now.
    pub naive_mape: Option<f64>,
    /// That of the same time last week.
    pub seasonal_naive_mape: Option<f64>,
    /// Sum of errors over the sum of what came.
    pub wape: f64,
    /// That of the baseline.
    pub baseline_wape: f64,
    /// Mean error over the mean difference to the week before, in the history before the window.
    pub mase: Option<f64>,
    /// Errors over those of the baseline (MAPE, else WAPE).
    pub ratio: f64,
    /// 95 % interval of it, days resampled.
    pub ratio_low: f64,
    /// Its upper end.
    pub ratio_high: f64,
    /// Mean score of the 90 % interval (its width, and 20 times what lies outside), in players.
    pub interval_score: f64,
    /// That of the baseline with conformal intervals of the same kind.
    pub baseline_interval_score: f64,
    /// Its coverage.
    pub baseline_coverage_90: f64,
    /// Targets.
    pub targets: usize,
    /// Days of targets: (error, baseline's error, interval score, baseline's, in the interval, in the baseline's, targets).
    #[serde(skip)]
    pub days: Vec<[f64; 7]>,
}

/// One forecast of a back-test.
#[derive(Clone, Debug, Serialize)]
pub struct Predicted {
    /// Origin: end of the last step that was seen, in seconds since 1970.
    pub origin_unix_s: i64,
    /// Horizon in hours.
    pub hours: usize,
    /// Expected players.
    pub prediction: f64,
    /// Ends of the 90 % interval.
    pub lower: f64,
    /// Upper end.
    pub upper: f64,
    /// What came; NaN in a gap.
    pub came: f64,
}

/// A back-test.
#[derive(Clone, Debug, Serialize)]
pub struct BackTest {
    /// Scores.
    pub horizons: Vec<HorizonScore>,
    /// All forecasts.
    #[serde(skip)]
    pub predictions: Vec<Predicted>,
}

/// Why nothing is scored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BackTestError {
    /// Too little.
    #[error(
        "a back-test over the last {0} days needs a week of counts before them that it can be held against: there are {1} days in all"
    )]
    TooShort(usize, usize),
}

/// Scores forecasts over the last `days` days, origin and target in them.
///
/// # Errors
/// When there is too little before.
pub fn back_test(
    grid: &Grid,
    days: usize,
    hours: &[usize],
    events: &[Event],
) -> Result<BackTest, BackTestError> {
    back_test_by(grid, days, hours, events, Choice::Weighed)
}

/// The same by the models that are chosen.
///
/// # Errors
/// When there is too little before.
pub fn back_test_by(
    grid: &Grid,
    days: usize,
    hours: &[usize],
    events: &[Event],
    choice: Choice,
) -> Result<BackTest, BackTestError> {
    let window = days * grid.day();
    let short = || BackTestError::TooShort(days, grid.len() / grid.day());
    let from = grid
        .len()
        .checked_sub(window)
        .filter(|from| *from >= 7 * grid.day())
        .ok_or_else(short)?;
    let learned = ordinary(grid, events);
    let prepared = Prepared::new(&learned);
    let mut horizons = Vec::new();
    let mut predictions = Vec::new();
    for hour in hours {
        let walk = walk(
            grid,
            &learned,
            &prepared,
            hour * grid.hour(),
            from,
            BaselineInterval::Told,
            choice,
        );
        for said in walk.said.iter().filter(|said| said.target < grid.len()) {
            predictions.push(Predicted {
                origin_unix_s: grid.begin_unix_s(said.origin + 1),
                hours: *hour,
                prediction: said.players,
                lower: said.quantiles[P05],
                upper: said.quantiles[P95],
                came: grid.at(said.target),
            });
        }
        horizons.extend(score(grid, from, *hour, &walk.said));
    }
    match horizons.is_empty() {
        true => Err(short()),
        false => Ok(BackTest {
            horizons,
            predictions,
        }),
    }
}

fn score(grid: &Grid, from: usize, hours: usize, said: &[Said]) -> Option<HorizonScore> {
    let interval = |quantiles: &[f64; LEVELS.len()], came: f64| {
        let (low, high) = (quantiles[P05], quantiles[P95]);
        let score = high - low + 20.0 * ((low - came).max(0.0) + (came - high).max(0.0));
        (score, f64::from(u8::from((low..=high).contains(&came))))
    };
    let due: Vec<(&Said, f64)> = said
        .iter()
        .filter(|said| said.baseline.is_finite())
        .map(|said| (said, grid.at(said.target)))
        .filter(|(_, came)| came.is_finite())
        .collect();
    if due.is_empty() {
        return None;
    }
    let relative = due.iter().all(|(_, came)| *came > 0.0);
    let number = due.len() as f64;
    let mape = |of: &dyn Fn(&Said) -> f64| {
        let errors: Vec<f64> = due
            .iter()
            .map(|(said, came)| 100.0 * (of(said) - came).abs() / came)
            .filter(|error| error.is_finite())
            .collect();
        (relative && !errors.is_empty()).then(|| errors.iter().sum::<f64>() / errors.len() as f64)
    };
    let week = hours.div_ceil(168) * 7;
    let seasonal = |said: &Said| {
        usize::try_from(grid.days_before(said.target, week)).map_or(f64::NAN, |step| grid.at(step))
    };
    let (mut days, mut players, mut absolute, mut baseline_absolute) = (BTreeMap::new(), 0.0, 0.0, 0.0);
    for (said, came) in &due {
        let (error, baseline) = ((said.players - came).abs(), (said.baseline - came).abs());
        players += came;
        absolute += error;
        baseline_absolute += baseline;
        let over = if relative { *came } else { 1.0 };
        let (own, inside) = interval(&said.quantiles, *came);
        let (other, other_inside) = interval(&said.baseline_quantiles, *came);
        let day: &mut [f64; 7] = days
            .entry(grid.begin_unix_s(said.target).div_euclid(86_400))
            .or_insert([0.0; 7]);
        for (sum, value) in day.iter_mut().zip([
            error / over,
            baseline / over,
            own,
            other,
            inside,
            other_inside,
            1.0,
        ]) {
            *sum += value;
        }
    }
    let days: Vec<[f64; 7]> = days.into_values().collect();
    let total = |column: usize| days.iter().map(|day| day[column]).sum::<f64>();
    let (ratio_low, ratio_high) = resampled(&days);
    let steps: Vec<f64> = (0..from)
        .filter_map(|step| {
            Some((grid.at(step) - grid.at(usize::try_from(grid.days_before(step, 7)).ok()?)).abs())
        })
        .filter(|difference| difference.is_finite())
        .collect();
    let scale = steps.iter().sum::<f64>() / steps.len().max(1) as f64;
    Some(HorizonScore {
        horizon: format!("{hours}h"),
        mape: mape(&|said| said.players),
        baseline_mape: mape(&|said| said.baseline),
        coverage_90: 100.0 * total(4) / number,
        naive_mape: mape(&|said| said.models[0]),
        seasonal_naive_mape: mape(&seasonal),
        wape: 100.0 * absolute / players.max(1e-9),
        baseline_wape: 100.0 * baseline_absolute / players.max(1e-9),
        mase: (scale > 0.0).then(|| absolute / number / scale),
        ratio: total(0) / total(1).max(1e-12),
        ratio_low,
        ratio_high,
        interval_score: total(2) / number,
        baseline_interval_score: total(3) / number,
        baseline_coverage_90: 100.0 * total(5) / number,
        targets: due.len(),
        days,
    })
}

/// Bounds of 95 % of the ratio of the first column's sum to the second's, rows drawn anew; the same rows give the same.
pub fn resampled(rows: &[[f64; 7]]) -> (f64, f64) {
    const DRAWS: usize = 2_000;
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as usize
    };
    let mut ratios: Vec<f64> = (0..DRAWS)
        .map(|_| {
            let (mut own, mut other) = (0.0, 0.0);
            for _ in rows {
                let row = rows[next() % rows.len()];
                own += row[0];
                other += row[1];
            }
            own / other.max(1e-12)
        })
        .collect();
    ratios.sort_by(f64::total_cmp);
    (ratios[DRAWS / 40], ratios[DRAWS - 1 - DRAWS / 40])
}
