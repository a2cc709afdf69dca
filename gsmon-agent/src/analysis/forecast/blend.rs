//! Weighs models by how they did: weights that would have had the least squared error, none negative, held to those by each
//! model's own error. Not here: the models.

/// Weight of what was seen a step before.
const KEEP_DAYS: f64 = 7.0;

/// Share of the mean squared error by which weights are held to the simple ones.
const HOLD: f64 = 0.3;

/// Mean squared error, over that of the best, from which a model is left out.
const WORST: f64 = 2.0;

/// Errors of models, and weights from them.
pub(super) struct Blend {
    count: usize,
    keep: f64,
    products: Vec<f64>,
    pair_weights: Vec<f64>,
    absolute: Vec<f64>,
    seen: Vec<usize>,
}

impl Blend {
    /// Nothing seen yet.
    pub(super) fn new(count: usize, day: usize) -> Self {
        Self {
            count,
            keep: 1.0 - 1.0 / (KEEP_DAYS * day as f64),
            products: vec![0.0; count * count],
            pair_weights: vec![0.0; count * count],
            absolute: vec![0.0; count],
            seen: vec![0; count],
        }
    }

    /// Relative errors of one step; NaN where a model said nothing.
    pub(super) fn learn(&mut self, errors: &[f64]) {
        let clipped: Vec<f64> = errors
            .iter()
            .enumerate()
            .map(|(model, error)| {
                let usual = self.absolute[model] / self.pair_weights[model * self.count + model].max(1e-9);
                let most = if self.seen[model] < 16 {
                    2.0
                } else {
                    6.0 * usual + 1e-6
                };
                error.clamp(-most, most)
            })
            .collect();
        for a in 0..self.count {
            if !clipped[a].is_finite() {
                continue;
            }
            self.seen[a] += 1;
            self.absolute[a] = self.keep * self.absolute[a] + clipped[a].abs();
            for b in 0..self.count {
                if clipped[b].is_finite() {
                    let at = a * self.count + b;
                    self.products[at] = self.keep * self.products[at] + clipped[a] * clipped[b];
                    self.pair_weights[at] = self.keep * self.pair_weights[at] + 1.0;
                }
            }
        }
    }

    /// Mean absolute relative error of a model; `None` before it was seen.
    pub(super) fn error(&self, model: usize) -> Option<f64> {
        (self.seen[model] > 0).then(|| self.absolute[model] / self.pair_weights[model * self.count + model])
    }

    /// Weights of the models that can say something, summing to one; those seen less than `least` times have none, unless
    /// there is no other.
    pub(super) fn weights(&self, can: &[bool], least: usize) -> Vec<f64> {
        let mut weights = vec![0.0; self.count];
        let mut active: Vec<usize> = (0..self.count)
            .filter(|model| can[*model] && self.seen[*model] >= least)
            .collect();
        if active.is_empty() {
            // The one that looks at most without having been tried: models are in that order.
            if let Some(last) = (0..self.count).rev().find(|model| can[*model]) {
                weights[last] = 1.0;
            }
            return weights;
        }
        let mean = |a: usize, b: usize| {
            let at = a * self.count + b;
            self.products[at] / self.pair_weights[at].max(1e-9)
        };
        let best = active
            .iter()
            .map(|a| mean(*a, *a))
            .fold(f64::INFINITY, f64::min)
            .max(1e-12);
        // Those that are far worse only cost.
        active.retain(|a| mean(*a, *a) <= WORST * best);
        let simple: Vec<f64> = active
            .iter()
            .map(|a| (best / mean(*a, *a).max(1e-12)).powi(3))
            .collect();
        let total: f64 = simple.iter().sum();
        let mut prior: Vec<f64> = simple.iter().map(|weight| weight / total).collect();
        while active.len() > 1 {
            let hold = HOLD * best * active.len() as f64;
            let size = active.len() + 1;
            let mut left = vec![vec![0.0; size]; size];
            let mut right = vec![0.0; size];
            for (row, a) in active.iter().enumerate() {
                for (column, b) in active.iter().enumerate() {
                    left[row][column] = mean(*a, *b);
                }
                left[row][row] += hold;
                left[row][size - 1] = best;
                left[size - 1][row] = best;
                right[row] = hold * prior[row];
            }
            right[size - 1] = best;
            let Some(solved) = solve(left, right) else { break };
            let worst = (0..active.len())
                .min_by(|a, b| solved[*a].total_cmp(&solved[*b]))
                .unwrap_or(0);
            if solved[worst] >= 0.0 {
                let sum: f64 = solved[..active.len()].iter().sum();
                for (index, model) in active.iter().enumerate() {
                    weights[*model] = solved[index] / sum;
                }
                return weights;
            }
            active.remove(worst);
            prior.remove(worst);
            let total: f64 = prior.iter().sum::<f64>().max(1e-12);
            prior.iter_mut().for_each(|weight| *weight /= total);
        }
        for (index, model) in active.iter().enumerate() {
            weights[*model] = prior[index];
        }
        weights
    }
}

/// Solves a small system of equations by elimination; `None` where it has no one answer.
pub(super) fn solve(mut left: Vec<Vec<f64>>, mut right: Vec<f64>) -> Option<Vec<f64>> {
    let size = right.len();
    for column in 0..size {
        let pivot =
            (column..size).max_by(|a, b| left[*a][column].abs().total_cmp(&left[*b][column].abs()))?;
        if left[pivot][column].abs() < 1e-14 {
            return None;
        }
        left.swap(column, pivot);
        right.swap(column, pivot);
        let (above, below) = left.split_at_mut(column + 1);
        let top = &above[column];
        for (offset, row) in below.iter_mut().enumerate() {
            let factor = row[column] / top[column];
            if factor != 0.0 {
                for (value, from) in row[column..].iter_mut().zip(&top[column..]) {
                    *value -= factor * from;
                }
                right[column + 1 + offset] -= factor * right[column];
            }
        }
    }
    for column in (0..size).rev() {
        let sum: f64 = (column + 1..size)
            .map(|other| left[column][other] * right[other])
            .sum();
        right[column] = (right[column] - sum) / left[column][column];
    }
    right.iter().all(|value| value.is_finite()).then_some(right)
}
