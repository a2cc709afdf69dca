//! Seasons by LOESS (MSTL) and what is left by exponential smoothing (ETS), from the crate `augurs`, on hourly means of
//! logarithms. Fits cost milliseconds, so there is one a week; between fits its path is brought to the level of now. Not
//! here: weighing it.

use augurs_core::{Fit, Predict};
use augurs_ets::AutoETS;
use augurs_mstl::MSTLModel;

use super::grid::Grid;

/// Days before the first fit: two weeks make a season of a week.
const FIRST_DAYS: usize = 14;

/// Days between fits.
const EVERY_DAYS: usize = 7;

/// Days that a fit looks at.
const LOOKS_DAYS: usize = 28;

/// Hours of what is left without seasons that exponential smoothing looks at.
const SMOOTH_HOURS: usize = 72;

/// Hours that a fit tells: until the next, and a week beyond.
const TELLS_HOURS: usize = 24 * (EVERY_DAYS + 7) + 2;

/// Hours that tell the level.
const LEVEL_HOURS: i64 = 3;

/// Fits of a series, each made of the steps before it alone.
pub(super) struct Mstl {
    /// First step after each fit, and logarithms of players by hours from there.
    fits: Vec<(usize, Vec<f64>)>,
}

impl Mstl {
    /// Fits over the logarithms of a series.
    pub(super) fn new(logs: &Grid) -> Self {
        let day = logs.day();
        let fits = (FIRST_DAYS..)
            .step_by(EVERY_DAYS)
            .map(|days| days * day)
            .take_while(|from| *from <= logs.len() && logs.step_seconds() <= 3_600)
            .filter_map(|from| Some((from, fit(logs, from)?)))
            .collect();
        Self { fits }
    }

    /// Players that it says of a step; NaN before the first fit.
    pub(super) fn says(&self, logs: &Grid, origin: usize, ahead: usize) -> f64 {
        let Some((from, path)) = self.fits.iter().rev().find(|(from, _)| *from <= origin + 1) else {
            return f64::NAN;
        };
        let hour = logs.hour();
        let target = logs_step(logs, origin + ahead, *from);
        let told = |step: i64| {
            // Means of hours lie at their middles.
            let at = ((step - *from as i64) as f64 + 0.5) / hour as f64 - 0.5;
            let at = at.clamp(0.0, (path.len() - 2) as f64);
            let place = at as usize;
            let share = (at - place as f64).min(1.0);
            path[place] * (1.0 - share) + path[place + 1] * share
        };
        let end = origin as i64 + 1;
        let begin = (end - LEVEL_HOURS * hour as i64).max(*from as i64);
        let off = if begin < end {
            let known: Vec<f64> = (begin..end)
                .filter_map(|step| {
                    let value = logs.at(usize::try_from(step).ok()?);
                    value.is_finite().then(|| value - told(step))
                })
                .collect();
            known.iter().sum::<f64>() / known.len().max(1) as f64
        } else {
            0.0
        };
        ((told(target) + off.clamp(-3.0, 3.0)).clamp(-1.0, 20.0).exp() - 1.0).max(0.0)
    }
}

/// The step whose local time the fit told, where clocks changed between.
fn logs_step(logs: &Grid, step: usize, from: usize) -> i64 {
    let day = logs.day();
    let days = (step.saturating_sub(from) / day + 1).min(EVERY_DAYS + 8);
    logs.days_before(step, days) + (days * day) as i64
}

fn fit(logs: &Grid, from: usize) -> Option<Vec<f64>> {
    let hour = logs.hour();
    let hours = (from / hour).min(24 * LOOKS_DAYS);
    let mut series: Vec<f64> = Vec::with_capacity(hours);
    for index in 0..hours {
        let begin = from - (hours - index) * hour;
        let mut value = logs.mean(begin as i64, (begin + hour) as i64);
        // A gap is as a week before, else as a day, else as the hour before it.
        for back in [168, 24, 1] {
            if !value.is_finite() {
                value = index.checked_sub(back).map_or(f64::NAN, |then| series[then]);
            }
        }
        series.push(if value.is_finite() { value } else { 0.0 });
    }
    let seasons = MSTLModel::naive(vec![24, 168]).fit(&series).ok()?;
    let mut path = seasons.predict(TELLS_HOURS, None).ok()?.point;
    let parts = seasons.fit();
    let left: Vec<f64> = parts
        .trend()
        .iter()
        .zip(parts.remainder())
        .map(|(trend, rest)| f64::from(trend + rest))
        .collect();
    let recent = &left[left.len().saturating_sub(SMOOTH_HOURS)..];
    let smooth = AutoETS::new(1, "AZN")
        .ok()
        .and_then(|ets| ets.fit(recent).ok())
        .and_then(|fitted| fitted.predict(TELLS_HOURS, None).ok());
    if let (Some(smooth), Some(last)) = (smooth, left.last()) {
        for (told, level) in path.iter_mut().zip(smooth.point) {
            // A trend is not followed for ever.
            *told += (level - last).clamp(-0.5, 0.5);
        }
    }
    path.iter().all(|value| value.is_finite()).then_some(path)
}
