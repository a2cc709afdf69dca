//! Intervals from what a forecast was off by: quantiles of past errors over the usual size of an error at that many
//! players, those of the same time of day weighing most, and levels that move until as many values lie outside as should.
//! Not here: the forecast itself.

use std::collections::VecDeque;

use crate::analysis::stats::normal_quantile;

/// The quantiles that are told.
pub const LEVELS: [f64; 9] = [0.05, 0.1, 0.25, 0.5, 0.75, 0.8, 0.9, 0.95, 0.99];

/// Places of the ends of the 90 % interval in it.
pub const P05: usize = 0;
/// Its upper end.
pub const P95: usize = 7;

/// Days of errors that are kept.
const KEPT_DAYS: usize = 14;

/// Age from which an error weighs no less: those that are kept, and the longest horizon.
const MOST_AGE_DAYS: usize = KEPT_DAYS + 8;

/// How far a level moves for one value on the wrong side.
const PACE: f64 = 0.02;

/// Errors before quantiles come from them alone; with fewer, a Poisson count whose mean may be off by [`UNTRIED_RATIO`]
/// holds them apart.
pub(super) const ENOUGH: usize = 40;

/// How far a forecast is taken to be off that was hardly tried yet: an assumption, told where it is in force.
pub(super) const UNTRIED_RATIO: f64 = 0.25;

/// Errors of one horizon.
pub(super) struct Conformal {
    day: usize,
    /// Steps and errors, the oldest first.
    kept: VecDeque<(usize, f64)>,
    /// The same by size, with their time of day.
    sorted: Vec<(f64, usize, usize)>,
    /// Weights by steps of a day apart, and by age in steps.
    near: Vec<f64>,
    fresh: Vec<f64>,
    moved: [f64; LEVELS.len()],
}

/// The usual size of an error at so many players: that of a Poisson count, and 5 % of them.
fn usual(players: f64) -> f64 {
    (players.max(0.25) + (0.05 * players).powi(2)).sqrt()
}

impl Conformal {
    /// No errors yet.
    pub(super) fn new(day: usize) -> Self {
        let days = |steps: usize| steps as f64 / day as f64;
        Self {
            day,
            kept: VecDeque::new(),
            sorted: Vec::new(),
            near: (0..=day)
                .map(|apart| 0.1 + (-0.5 * (days(apart.min(day - apart)) * 24.0 / 2.5).powi(2)).exp())
                .collect(),
            fresh: (0..=MOST_AGE_DAYS * day)
                .map(|age| (-days(age) / 10.0).exp())
                .collect(),
            moved: [0.0; LEVELS.len()],
        }
    }

    /// What came of a forecast for a step: its error, and which quantiles it lay above.
    pub(super) fn learn(
        &mut self,
        step: usize,
        of_day: usize,
        said: f64,
        quantiles: Option<&[f64]>,
        came: f64,
    ) {
        let error = (came - said) / usual(said);
        self.kept.push_back((step, error));
        let at = self.place(error, step);
        self.sorted.insert(at, (error, step, of_day));
        while let Some((first, error)) = self.kept.front().copied()
            && first + KEPT_DAYS * self.day < step
        {
            self.kept.pop_front();
            let at = self.place(error, first);
            self.sorted.remove(at);
        }
        let Some(quantiles) = quantiles else { return };
        for (index, level) in LEVELS.iter().enumerate() {
            // A count that equals its quantile lies half below.
            let below = match came.total_cmp(&quantiles[index]) {
                std::cmp::Ordering::Less => 1.0,
                std::cmp::Ordering::Equal => *level,
                std::cmp::Ordering::Greater => 0.0,
            };
            let room = 0.8 * level.min(1.0 - level);
            self.moved[index] = (self.moved[index] + PACE * (level - below)).clamp(-room, room);
        }
    }

    /// Where an error stands, or would, among those sorted.
    fn place(&self, error: f64, step: usize) -> usize {
        self.sorted
            .partition_point(|(other, then, _)| other.total_cmp(&error).then(then.cmp(&step)).is_lt())
    }

    /// Quantiles of a step for which this was said, in the order of [`LEVELS`], never negative.
    pub(super) fn quantiles(&self, step: usize, of_day: usize, said: f64) -> [f64; LEVELS.len()] {
        let errors: Vec<(f64, f64)> = self
            .sorted
            .iter()
            .map(|(error, then, place)| {
                let age = step.saturating_sub(*then).min(self.fresh.len() - 1);
                let apart = place.abs_diff(of_day).min(self.day);
                (*error, self.near[apart] * self.fresh[age])
            })
            .collect();
        let total: f64 = errors.iter().map(|(_, weight)| weight).sum();
        let scale = usual(said);
        let mut all = [0.0; LEVELS.len()];
        let mut index = 0;
        let mut below = 0.0;
        for (place, level) in LEVELS.iter().enumerate() {
            let wanted = (level + self.moved[place]) * total;
            while index + 1 < errors.len() && below + errors[index].1 < wanted {
                below += errors[index].1;
                index += 1;
            }
            let learned = errors
                .get(index)
                .map_or(f64::NAN, |(error, _)| said + error * scale);
            let quantile = if self.kept.len() >= ENOUGH && learned.is_finite() {
                learned
            } else if *level < 0.5 {
                untried(said, *level).min(learned)
            } else {
                untried(said, *level).max(learned)
            };
            all[place] = quantile.max(0.0);
        }
        for place in 1..all.len() {
            all[place] = all[place].max(all[place - 1]);
        }
        all
    }
}

/// About the quantile of a Poisson count (Wilson and Hilferty) whose mean is known within [`UNTRIED_RATIO`].
fn untried(mean: f64, level: f64) -> f64 {
    let z = normal_quantile(level);
    let shape = mean.max(0.05) + if level < 0.5 { 0.0 } else { 1.0 };
    let root = 1.0 - 1.0 / (9.0 * shape) + z / (3.0 * shape.sqrt());
    let count = shape * root.max(0.0).powi(3);
    let both = ((count - mean).powi(2) + (z * UNTRIED_RATIO * mean).powi(2)).sqrt();
    (mean
        + if level < 0.5 {
            -both
        } else {
            both * f64::from(u8::from(level > 0.5))
        })
    .max(0.0)
}
