//! Regression on changes: the logarithm of what a step will be over what there is now, from what the same hours did in past
//! weeks and yesterday, how far this week is from the last ones, and which way that moves. Learned online by ridge
//! regression towards "as in past weeks". Not here: the simple models.

use super::grid::Grid;

const FEATURES: usize = 10;

/// Learns for one horizon.
pub(super) struct Direct {
    smooth: bool,
    ahead: usize,
    gram: [[f64; FEATURES]; FEATURES],
    moments: [f64; FEATURES],
    weights: [f64; FEATURES],
    learned: usize,
    since: usize,
}

/// What the weights are before anything is learned: the mean of past weeks, whose level moves back a little.
const PRIOR: [f64; FEATURES] = [0.6, 0.25, 0.1, 0.05, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];

/// How strongly the weights are held to it, in squares of a relative change.
const HOLD: f64 = 0.5;

/// Weight of what was learned a step before.
const KEEP: f64 = 0.9997;

impl Direct {
    /// Nothing learned yet.
    pub(super) fn new(ahead: usize, smooth: bool) -> Self {
        Self {
            smooth,
            ahead,
            gram: [[0.0; FEATURES]; FEATURES],
            moments: [0.0; FEATURES],
            weights: PRIOR,
            learned: 0,
            since: 0,
        }
    }

    /// What it looks at, and the logarithm of the level now; `None` before there is a week.
    pub(super) fn look(&self, grid: &Grid, origin: usize) -> Option<([f64; FEATURES], f64)> {
        let (hour, day) = (grid.hour() as i64, grid.day() as i64);
        let around = if self.smooth { (hour / 2).max(1) } else { 0 };
        let at = origin as i64 + 1;
        let target = origin + self.ahead;
        let log = |from: i64, to: i64| (grid.mean(from, to) + 1.0).ln();
        let level = |shift: i64| log(at - hour - shift, at - shift);
        let now = level(0);
        let then = |days: usize| {
            let step = grid.days_before(target, days);
            log(step - around, (step + around + 1).min(at))
        };
        let back = |days: usize| origin as i64 - grid.days_before(origin, days);
        let days = self.ahead.div_ceil(day as usize).max(1);
        let weeks = days.div_ceil(7);
        let change = |number: usize| {
            let days = 7 * (weeks + number);
            then(days) - level(back(days))
        };
        let newest = change(0);
        if !newest.is_finite() || !now.is_finite() {
            return None;
        }
        let known = |value: f64, instead: f64| if value.is_finite() { value } else { instead };
        let week = back(7 * weeks);
        let deviation = now - level(week);
        let over_day = log(at - day, at) - log(at - day - week, at - week);
        let over_week = log(at - 7 * day, at) - log(at - 14 * day, at - 7 * day);
        let before = level(hour) - log(at - 2 * hour - week, at - hour - week);
        let yesterday = then(days) - then(days + 7 * weeks);
        let second = known(change(1), newest);
        let third = known(change(2), second);
        let row = [
            newest,
            second,
            third,
            known(change(3), third),
            known(then(days) - level(back(days)), newest),
            known(deviation, 0.0),
            known(over_day - deviation, 0.0),
            known(deviation - before, 0.0),
            known(yesterday - deviation, 0.0),
            known(over_week - deviation, 0.0),
        ];
        Some((row, now))
    }

    /// What it says of the step.
    pub(super) fn says(&self, row: &[f64; FEATURES], now: f64) -> f64 {
        let change: f64 = row.iter().zip(&self.weights).map(|(a, b)| a * b).sum();
        ((now + change.clamp(-4.0, 4.0)).exp() - 1.0).max(0.0)
    }

    /// A row whose outcome is known.
    pub(super) fn learn(&mut self, row: &[f64; FEATURES], now: f64, came: f64) {
        let change = (came + 1.0).ln() - now;
        // What one odd step says is not to turn everything.
        let off = change - row.iter().zip(&PRIOR).map(|(a, b)| a * b).sum::<f64>();
        let weight = 1.0 / (1.0 + (off / 0.3).powi(2));
        for a in 0..FEATURES {
            self.moments[a] = KEEP * self.moments[a] + weight * row[a] * off;
            for b in 0..FEATURES {
                self.gram[a][b] = KEEP * self.gram[a][b] + weight * row[a] * row[b];
            }
        }
        self.learned += 1;
        self.since += 1;
    }

    /// Works the weights out anew, where enough has come in since.
    pub(super) fn refresh(&mut self, every: usize) {
        if self.since < every {
            return;
        }
        self.since = 0;
        let mut left: Vec<Vec<f64>> = self.gram.iter().map(|row| row.to_vec()).collect();
        for (index, row) in left.iter_mut().enumerate() {
            row[index] += HOLD;
        }
        if let Some(solved) = super::blend::solve(left, self.moments.to_vec()) {
            for (index, weight) in self.weights.iter_mut().enumerate() {
                *weight = PRIOR[index] + solved[index];
            }
        }
    }
}
