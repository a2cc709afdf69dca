//! How well a fitted shape is known: stretches of time are left out in turn, and what follows from the shape is told by how
//! far it then moves, and by how far other shapes differ that the data allow. That holds when rows resemble their neighbours
//! in time, when few of them have much weight, and for parameters that are not linear.

use super::{
    choose::Tried,
    rows::Row,
    shape::{Grouped, Model, Shape, fit},
};
use crate::analysis::stats::{Estimate, jackknife::Stretches, robust::effective_size};

/// A shape with its uncertainty.
#[derive(Clone, Debug)]
pub struct Known {
    /// The shape.
    pub model: Model,
    /// Standard deviation of what it leaves, outliers aside.
    pub residual: f64,
    /// Independent rows that would tell as much.
    pub effective: f64,
    /// Fitted without one stretch of time each.
    without: Vec<Model>,
    stretches: Stretches,
    /// Other shapes that the data allow, with how likely each is beside this one.
    others: Vec<(Model, f64)>,
}

impl Known {
    /// Of the rows that it was fitted to. `None` where they do not tell its parameters apart.
    pub fn of(model: Model, tried: &[Tried], rows: &[Row]) -> Option<Self> {
        let p = model.shape.parameters();
        let residuals: Vec<f64> = rows
            .iter()
            .map(|row| row.weight * (row.value - model.at(row.players)))
            .collect();
        let kept = rows.iter().map(|row| row.weight).sum::<f64>();
        if kept < p as f64 + 8.0 {
            return None;
        }
        let squares: f64 = residuals.iter().map(|residual| residual * residual).sum();
        let effective = effective_size(&residuals);
        let stretches = Stretches::of(&residuals);
        let grouped = Grouped::of(rows);
        let without = stretches.each(|kept| fit(model.shape, &grouped.cells(kept), model.scale()))?;
        let all = grouped.all();
        // A line is taken where no curve is clearly better: how curves differ from it is mostly their own noise.
        let curved = model.shape > Shape::Linear;
        let others = tried
            .iter()
            .filter(|tried| {
                curved && tried.plausible && tried.shape != model.shape && tried.shape > Shape::Linear
            })
            .filter_map(|tried| {
                let likely = (-0.5 * tried.worse_by_errors.powi(2)).exp();
                Some((fit(tried.shape, &all, model.scale())?, likely))
            })
            .collect();
        Some(Self {
            model,
            residual: (squares / (kept - p as f64).max(1.0)).sqrt(),
            effective,
            without,
            stretches,
            others,
        })
    }

    /// Anything that follows from the shape, with its interval.
    pub fn estimate(&self, of: impl Fn(&Model) -> f64) -> Option<Estimate> {
        let value = of(&self.model);
        let each: Vec<f64> = self.without.iter().map(&of).collect();
        // The chosen shape is as likely as 1.
        let likely = 1.0 + self.others.iter().map(|(_, likely)| likely).sum::<f64>();
        let between: f64 = self
            .others
            .iter()
            .map(|(other, weight)| weight / likely * (of(other) - value).powi(2))
            .filter(|square| square.is_finite())
            .sum();
        self.stretches.estimate(value, &each, between)
    }

    /// The figure at so many players.
    pub fn at(&self, players: f64) -> Option<Estimate> {
        self.estimate(|model| model.at(players))
    }

    /// What each player adds between two numbers of players, on average.
    pub fn mean_slope(&self, low: f64, high: f64) -> Option<Estimate> {
        let span = high - low;
        (span > 0.0)
            .then(|| self.estimate(|model| (model.at(high) - model.at(low)) / span))
            .flatten()
    }

    /// Players at the knee.
    pub fn knee(&self) -> Option<Estimate> {
        self.model.knee()?;
        self.estimate(|model| model.knee().unwrap_or(f64::NAN))
    }
}
