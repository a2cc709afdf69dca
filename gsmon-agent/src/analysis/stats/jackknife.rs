//! Errors of anything that is made of rows in the order of time: stretches are left out in turn. Holds where rows resemble
//! their neighbours, and where few rows have much weight.

use super::{Estimate, robust::effective_size};

/// Stretches of time, where there are rows enough.
const BLOCKS: usize = 20;
/// Fewer tell nothing.
const FEWEST_BLOCKS: usize = 8;

/// How rows are cut into stretches.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stretches {
    rows: usize,
    count: usize,
    spill: f64,
}

impl Stretches {
    /// Longer than what is left over (`residuals`, row by row) remembers.
    pub fn of(residuals: &[f64]) -> Self {
        let rows = residuals.len();
        let memory = (rows as f64 / effective_size(residuals)).max(1.0);
        let count = ((rows as f64 / (3.0 * memory)) as usize).clamp(FEWEST_BLOCKS, BLOCKS);
        Self {
            rows,
            count,
            // What of a stretch spills over into the next.
            spill: 1.0 + memory * count as f64 / rows.max(1) as f64,
        }
    }

    /// Whatever `without` makes of the rows that it is told to keep, once for each stretch that is left out. `None` where it
    /// cannot be made often enough.
    pub fn each<T>(&self, without: impl Fn(&dyn Fn(usize) -> bool) -> Option<T>) -> Option<Vec<T>> {
        let all: Vec<T> = (0..self.count)
            .filter_map(|block| without(&|row| row * self.count / self.rows.max(1) != block))
            .collect();
        (all.len() >= FEWEST_BLOCKS).then_some(all)
    }

    /// A value with its interval, from what it becomes without each stretch. `further` is variance of another origin.
    pub fn estimate(&self, value: f64, each: &[f64], further: f64) -> Option<Estimate> {
        let count = each.len() as f64;
        let (squares, fourths) = each.iter().fold((0.0, 0.0), |(squares, fourths), each| {
            let square = (each - value).powi(2);
            (squares + square, fourths + square * square)
        });
        let error = (squares * self.spill * (count - 1.0) / count + further).sqrt();
        // Where few stretches decide, fewer degrees of freedom are left.
        let freedom = match fourths > 0.0 {
            true => (3.0 * squares * squares / fourths).clamp(3.0, count - 1.0),
            false => count - 1.0,
        };
        Estimate::from_error(value, error, freedom, self.rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::simulate::{Noise, Slow};

    #[test]
    fn the_mean_of_a_slow_series_is_held_in_about_95_of_100() {
        let mut held = 0;
        for seed in 0..300 {
            let mut noise = Noise::new(seed);
            let mut slow = Slow::new(0.8, &mut noise);
            let values: Vec<f64> = (0..400).map(|_| 3.0 + slow.next(&mut noise)).collect();
            let mean = values.iter().sum::<f64>() / 400.0;
            let rest: Vec<f64> = values.iter().map(|value| value - mean).collect();
            let stretches = Stretches::of(&rest);
            let each = stretches
                .each(|kept| {
                    let kept: Vec<f64> = (0..400).filter(|row| kept(*row)).map(|row| values[row]).collect();
                    super::super::robust::mean(&kept)
                })
                .unwrap();
            let told = stretches.estimate(mean, &each, 0.0).unwrap();
            held += usize::from(told.low <= 3.0 && 3.0 <= told.high);
        }
        assert!((273..=297).contains(&held), "{held} of 300");
    }
}
