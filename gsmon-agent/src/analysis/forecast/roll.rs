//! Goes through a series origin by origin for one horizon, as if each were the present: what every model says, weights from
//! how earlier forecasts turned out, intervals from their errors. Nothing after an origin is looked at before the walk gets
//! there, so that the forecast of the last origin and every back-test are the same walk.

use super::{
    blend::Blend,
    conformal::{Conformal, LEVELS, P05, P95},
    grid::Grid,
    kernels::{Predictor, Tables},
    models::{Choice, Model, says},
    mstl::Mstl,
};

/// What is said at an origin of the step one horizon later.
#[derive(Clone, Debug)]
pub struct Said {
    /// The last step that was seen.
    pub origin: usize,
    /// The step it is about.
    pub target: usize,
    /// Expected players.
    pub players: f64,
    /// Quantiles, in the order of [`LEVELS`].
    pub quantiles: [f64; LEVELS.len()],
    /// What the baseline says; NaN where it cannot.
    pub baseline: f64,
    /// The baseline with intervals of the same kind.
    pub baseline_quantiles: [f64; LEVELS.len()],
    /// What each model says, in the order of [`Model::ALL`].
    pub models: [f64; Model::ALL.len()],
}

/// What a walk comes to.
pub(super) struct Walk {
    /// One per origin from the first that was asked for, where anything can be said.
    pub said: Vec<Said>,
    /// Weights at the last origin.
    pub weights: Vec<(Model, f64)>,
    /// Mean absolute relative error of each model, as weighed at the end.
    pub errors: Vec<(Model, f64)>,
    /// How all earlier forecasts of this horizon turned out.
    pub record: Record,
}

/// How earlier forecasts turned out: sums over those that came due.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Record {
    pub tested: usize,
    pub absolute: f64,
    pub players: f64,
    pub players_both: f64,
    pub blend_absolute: f64,
    pub baseline_absolute: f64,
    pub told: usize,
    pub covered: usize,
}

/// Where the baseline is among the models.
const LAST_WEEK: usize = 5;

/// Where MSTL is.
const MSTL: usize = 8;

/// Where the first kernel is.
const KERNELS: usize = 9;

/// What walks over one series have in common, whatever their horizon.
pub(super) struct Prepared {
    logs: Grid,
    tables: Tables,
    mstl: Mstl,
}

impl Prepared {
    /// Of the series without what is not to be learned from.
    pub(super) fn new(learned: &Grid) -> Self {
        let logs = learned.logs();
        Self {
            tables: Tables::new(learned),
            mstl: Mstl::new(&logs),
            logs,
        }
    }
}

/// Whether the baseline gets intervals of the same kind, to be held against.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum BaselineInterval {
    /// For a back-test.
    Told,
    /// For a forecast.
    Left,
}

struct Open {
    said: [f64; Model::ALL.len()],
    blended: f64,
    quantiles: Option<[f64; LEVELS.len()]>,
    baseline: f64,
    baseline_quantiles: Option<[f64; LEVELS.len()]>,
}

/// Walks over `learned` (the series without what is not to be learned from), judged by `grid`, and keeps what is said from
/// `keep_from` on.
pub(super) fn walk(
    grid: &Grid,
    learned: &Grid,
    prepared: &Prepared,
    ahead: usize,
    keep_from: usize,
    baseline_interval: BaselineInterval,
    choice: Choice,
) -> Walk {
    let models = Model::ALL;
    let (hour, day) = (grid.hour(), grid.day());
    let logs = &prepared.logs;
    let mut blend = Blend::new(models.len(), day);
    let mut kernels = Predictor::new(&prepared.tables, grid, ahead);
    let mut conformal = Conformal::new(day);
    let mut baseline_conformal = Conformal::new(day);
    let mut record = Record::default();
    let mut open: Vec<Open> = Vec::with_capacity(grid.len());
    let mut kept = Vec::new();
    let mut weights = vec![0.0; models.len()];
    let mut weighed: (Vec<bool>, usize) = (Vec::new(), 0);
    for origin in 0..grid.len() {
        // What was said of this step has come, or not.
        let came = learned.at(origin);
        if let Some(then) = origin.checked_sub(ahead).and_then(|then| open.get(then))
            && came.is_finite()
        {
            let level = came
                .max(0.1 * learned.mean(origin as i64 - day as i64, origin as i64 + 1))
                .max(0.5);
            let errors: Vec<f64> = then.said.iter().map(|said| (said - came) / level).collect();
            blend.learn(&errors, (then.blended - came) / level);
            let of_day = grid.of_day(origin);
            if then.blended.is_finite() {
                record.take(then, came);
                let quantiles = then.quantiles.as_ref().map(<[f64; LEVELS.len()]>::as_slice);
                conformal.learn(origin, of_day, then.blended, quantiles, came);
            }
            if then.baseline.is_finite() && baseline_interval == BaselineInterval::Told {
                let quantiles = then
                    .baseline_quantiles
                    .as_ref()
                    .map(<[f64; LEVELS.len()]>::as_slice);
                baseline_conformal.learn(origin, of_day, then.baseline, quantiles, came);
            }
        }
        kernels.see(logs, origin);
        // Where a week was tried, models without weeks only cost.
        let grown = blend.seen(LAST_WEEK) >= day;
        let mut all = [f64::NAN; Model::ALL.len()];
        for (place, model) in models[..MSTL].iter().enumerate() {
            if !grown || place == 0 || place >= LAST_WEEK || choice == Choice::Only(*model) {
                all[place] = says(*model, learned, origin, ahead);
            }
        }
        all[MSTL] = prepared.mstl.says(logs, origin, ahead);
        if origin >= 7 * day
            && let Some(known) = kernels.look(logs, origin)
        {
            for (kernel, said) in all[KERNELS..].iter_mut().enumerate() {
                *said = kernels.says(kernel, &known);
            }
        }
        let can: Vec<bool> = all
            .iter()
            .enumerate()
            .map(|(place, said)| said.is_finite() && !(grown && place < LAST_WEEK))
            .collect();
        let chosen = models
            .iter()
            .position(|model| choice == Choice::Only(*model))
            .filter(|place| all[*place].is_finite());
        let can: Vec<bool> = match chosen {
            Some(chosen) => (0..models.len()).map(|place| place == chosen).collect(),
            None if can.contains(&true) => can,
            None => all.iter().map(|said| said.is_finite()).collect(),
        };
        if weighed.0 != can || origin >= weighed.1 + hour {
            weights = blend.weights(&can, day / 2);
            weighed = (can, origin);
        }
        let blended = if weights.iter().sum::<f64>() > 0.0 {
            let parts = weights.iter().zip(&all).filter(|(weight, _)| **weight > 0.0);
            parts.map(|(weight, said)| weight * said).sum::<f64>()
        } else {
            f64::NAN
        };
        let target = origin + ahead;
        let of_day = grid.of_day(target);
        let baseline = says(models[LAST_WEEK], grid, origin, ahead);
        // Levels move every other hour, whatever is kept of the walk: quantiles of an origin do not depend on what is asked for.
        let moves = origin.is_multiple_of(2 * hour);
        let tell = origin >= keep_from || moves;
        let quantiles = (tell && blended.is_finite()).then(|| conformal.quantiles(target, of_day, blended));
        let baseline_quantiles =
            (tell && baseline.is_finite() && baseline_interval == BaselineInterval::Told)
                .then(|| baseline_conformal.quantiles(target, of_day, baseline));
        if origin >= keep_from
            && let Some(quantiles) = quantiles
        {
            kept.push(Said {
                origin,
                target,
                players: blended,
                quantiles,
                baseline,
                baseline_quantiles: baseline_quantiles.unwrap_or([f64::NAN; LEVELS.len()]),
                models: all,
            });
        }
        open.push(Open {
            said: all,
            blended,
            quantiles: quantiles.filter(|_| moves),
            baseline,
            baseline_quantiles: baseline_quantiles.filter(|_| moves),
        });
    }
    Walk {
        said: kept,
        weights: models
            .iter()
            .copied()
            .zip(weights)
            .filter(|(_, weight)| *weight > 0.0)
            .collect(),
        errors: models
            .iter()
            .enumerate()
            .filter_map(|(place, model)| Some((*model, blend.error(place)?)))
            .collect(),
        record,
    }
}

impl Record {
    fn take(&mut self, then: &Open, came: f64) {
        let off = (then.blended - came).abs();
        self.tested += 1;
        self.absolute += off;
        self.players += came;
        if then.baseline.is_finite() {
            self.players_both += came;
            self.blend_absolute += off;
            self.baseline_absolute += (then.baseline - came).abs();
        }
        if let Some(quantiles) = then.quantiles {
            self.told += 1;
            self.covered += usize::from((quantiles[P05]..=quantiles[P95]).contains(&came));
        }
    }
}
