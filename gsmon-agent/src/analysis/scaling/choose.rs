//! Which shape: the one that tells best what it was not fitted to. Time is cut into blocks, each of which is held out in its
//! turn, so that neighbours in time do not give the answer away; the simplest shape that is not clearly worse is taken.

use serde::{Deserialize, Serialize};

use super::{
    rows::Row,
    shape::{Cell, Grouped, Model, Shape, fit},
};

/// Blocks of time.
const BLOCKS: usize = 40;
/// Blocks are held out in so many groups.
const FOLDS: usize = 8;
/// A simpler shape is taken where it is worse by less than so many standard errors.
const CLEARLY: f64 = 1.5;

/// How a shape did.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tried {
    /// Which.
    pub shape: Shape,
    /// Root mean square of what it left of the rows that it was not fitted to, in the unit of the figure.
    pub held_out_error: f64,
    /// How much more that is than of the best, in standard errors of the difference.
    pub worse_by_errors: f64,
    /// Can it not be told from the best?
    pub plausible: bool,
}

/// Fits all shapes and takes one. `None` when not even the constant can be fitted.
pub fn choose(rows: &[Row], scale: f64) -> Option<(Model, Vec<Tried>)> {
    let blocks = BLOCKS.min(rows.len() / 4).max(FOLDS);
    let block_of = |index: usize| index * blocks / rows.len().max(1);
    let grouped = Grouped::of(rows);
    let training: Vec<Vec<Cell>> = (0..FOLDS)
        .map(|fold| grouped.cells(|index| block_of(index) % FOLDS != fold))
        .collect();
    // (shape, mean squared error of each block, rows weighed as they are when a shape is fitted)
    let mut tried: Vec<(Shape, Vec<f64>)> = Vec::new();
    for shape in Shape::ALL {
        let models: Option<Vec<Model>> = training.iter().map(|cells| fit(shape, cells, scale)).collect();
        let Some(models) = models else { continue };
        let mut errors = vec![(0.0, 0.0); blocks];
        for (index, row) in rows.iter().enumerate() {
            let block = block_of(index);
            let off = row.value - models[block % FOLDS].at(row.players);
            errors[block].0 += row.weight * off * off;
            errors[block].1 += f64::from(u8::from(row.weight > 0.0));
        }
        let means = errors
            .iter()
            .map(|(sum, weight)| if *weight > 0.0 { sum / weight } else { f64::NAN })
            .collect();
        tried.push((shape, means));
    }
    let mean = |errors: &[f64]| {
        let known: Vec<f64> = errors.iter().copied().filter(|error| error.is_finite()).collect();
        known.iter().sum::<f64>() / known.len().max(1) as f64
    };
    let best = tried
        .iter()
        .min_by(|a, b| mean(&a.1).total_cmp(&mean(&b.1)))?
        .1
        .clone();
    let worse_by = |errors: &[f64]| {
        let worse: Vec<f64> = errors
            .iter()
            .zip(&best)
            .map(|(error, best)| error - best)
            .filter(|worse| worse.is_finite())
            .collect();
        let count = worse.len().max(2) as f64;
        let by = worse.iter().sum::<f64>() / count;
        let variance = worse.iter().map(|worse| (worse - by).powi(2)).sum::<f64>() / (count - 1.0);
        let error = (variance / count).sqrt();
        if error > 0.0 { by / error } else { 0.0 }
    };
    let out: Vec<Tried> = tried
        .iter()
        .map(|(shape, errors)| {
            let worse_by_errors = worse_by(errors);
            Tried {
                shape: *shape,
                held_out_error: mean(errors).sqrt(),
                worse_by_errors,
                plausible: worse_by_errors <= CLEARLY,
            }
        })
        .collect();
    let simplest = out
        .iter()
        .filter(|tried| tried.plausible)
        .map(|tried| tried.shape.parameters())
        .min()?;
    let taken = out
        .iter()
        .filter(|tried| tried.plausible && tried.shape.parameters() == simplest)
        .min_by(|a, b| a.held_out_error.total_cmp(&b.held_out_error))?;
    // Among curves, parameters do not decide: the better of them is taken.
    let taken = match taken.shape {
        Shape::Constant | Shape::Linear => taken,
        _ => out
            .iter()
            .filter(|tried| tried.plausible && tried.shape > Shape::Linear)
            .min_by(|a, b| a.held_out_error.total_cmp(&b.held_out_error))?,
    };
    Some((fit(taken.shape, &grouped.all(), scale)?, out))
}
