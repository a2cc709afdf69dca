//! The mathematics that the reports need: least squares whose intervals respect autocorrelation, partial correlation,
//! robust location and scale, and corrections for many tests at once. Distributions come from `statrs`.

pub mod jackknife;
pub mod long_run;
pub mod regress;
pub mod relate;
pub mod robust;

use serde::{Deserialize, Serialize};
use statrs::distribution::{Continuous, ContinuousCDF, Normal, StudentsT};

/// Share of intervals that hold the true value.
pub const CONFIDENCE: f64 = 0.95;

/// A number and how well it is known.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// Best value.
    pub value: f64,
    /// Lower end of the 95 % interval.
    pub low: f64,
    /// Upper end of it.
    pub high: f64,
    /// Chance of such a value, or a larger one, were the true one zero.
    pub p_value: f64,
    /// Observations behind it.
    pub observations: usize,
}

impl Estimate {
    /// From a value with its standard error.
    pub fn from_error(value: f64, error: f64, freedom: f64, observations: usize) -> Option<Self> {
        if !value.is_finite() || !error.is_finite() || error < 0.0 {
            return None;
        }
        let margin = error * student_quantile(0.5 + CONFIDENCE / 2.0, freedom)?;
        let p_value = match error > 0.0 {
            true => two_sided(value / error, freedom)?,
            false => f64::from(u8::from(value == 0.0)),
        };
        Some(Self {
            value,
            low: value - margin,
            high: value + margin,
            p_value,
            observations,
        })
    }

    /// The same in another unit.
    pub fn scaled(self, factor: f64) -> Self {
        let (a, b) = (self.low * factor, self.high * factor);
        Self {
            value: self.value * factor,
            low: a.min(b),
            high: a.max(b),
            ..self
        }
    }

    /// Does the interval leave zero out?
    pub fn excludes_zero(&self) -> bool {
        self.low > 0.0 || self.high < 0.0
    }
}

/// Fewer degrees of freedom have tails that no expansion follows.
const EXPANDED_FROM: f64 = 3.0;

/// A quantile of Student's distribution: the expansion around the normal one (Cornish and Fisher), brought to full accuracy
/// by Newton's method. Where the expansion does not hold, by halving intervals, which takes many times as long.
fn student_quantile(share: f64, freedom: f64) -> Option<f64> {
    let freedom = freedom.max(1.0);
    let t = StudentsT::new(0.0, 1.0, freedom).ok()?;
    if freedom < EXPANDED_FROM {
        return Some(t.inverse_cdf(share));
    }
    let z = normal_quantile(share);
    let square = z * z;
    let terms = [
        (square + 1.0) / 4.0,
        ((5.0 * square + 16.0) * square + 3.0) / 96.0,
        (((3.0 * square + 19.0) * square + 17.0) * square - 15.0) / 384.0,
    ];
    let expanded = 1.0 + ((terms[2] / freedom + terms[1]) / freedom + terms[0]) / freedom;
    let mut at = z * expanded;
    for _ in 0..3 {
        at -= (t.cdf(at) - share) / t.pdf(at);
    }
    Some(at)
}

/// Two-sided p value of a t statistic.
pub fn two_sided(t: f64, freedom: f64) -> Option<f64> {
    let distribution = StudentsT::new(0.0, 1.0, freedom.max(1.0)).ok()?;
    Some((2.0 * distribution.cdf(-t.abs())).clamp(0.0, 1.0))
}

/// Quantile of the standard normal distribution.
pub fn normal_quantile(share: f64) -> f64 {
    Normal::standard().inverse_cdf(share)
}

/// Holm's correction: p values that may be held against one threshold, although there were many tests.
pub fn holm(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|a, b| p_values[*a].total_cmp(&p_values[*b]));
    let mut adjusted = vec![1.0; p_values.len()];
    let mut highest = 0.0f64;
    for (rank, index) in order.into_iter().enumerate() {
        let factor = (p_values.len() - rank) as f64;
        highest = highest.max((p_values[index] * factor).min(1.0));
        adjusted[index] = highest;
    }
    adjusted
}

/// Benjamini and Hochberg's correction: of what is below a threshold, at most that share is wrong on average.
pub fn benjamini_hochberg(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|a, b| p_values[*b].total_cmp(&p_values[*a]));
    let mut adjusted = vec![1.0; p_values.len()];
    let mut lowest = 1.0f64;
    for (rank, index) in order.into_iter().enumerate() {
        let factor = p_values.len() as f64 / (p_values.len() - rank) as f64;
        lowest = lowest.min(p_values[index] * factor);
        adjusted[index] = lowest;
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_and_p_values_are_those_of_the_tables() {
        // t with 10 degrees of freedom: 97.5 % at 2.228139.
        let estimate = Estimate::from_error(10.0, 2.0, 10.0, 11).unwrap();
        assert!((estimate.high - 14.456_278).abs() < 1e-4, "{estimate:?}");
        assert!((two_sided(2.228_139, 10.0).unwrap() - 0.05).abs() < 1e-5);
        assert!((normal_quantile(0.975) - 1.959_964).abs() < 1e-5);
        assert!(Estimate::from_error(f64::NAN, 1.0, 5.0, 3).is_none());
        let turned = estimate.scaled(-1.0);
        assert!(turned.low < turned.high && turned.value == -10.0);
    }

    #[test]
    fn quantiles_are_those_that_halving_finds() {
        for freedom in [1.0, 2.0, 3.0, 3.7, 5.0, 10.0, 19.0, 60.5, 400.0] {
            let t = StudentsT::new(0.0, 1.0, freedom).unwrap();
            for share in [0.6, 0.9, 0.975, 0.995] {
                let (told, truth) = (student_quantile(share, freedom).unwrap(), t.inverse_cdf(share));
                assert!(
                    (told / truth - 1.0).abs() < 1e-6,
                    "{told} for {truth}, {freedom} degrees"
                );
            }
        }
    }

    #[test]
    fn benjamini_and_hochberg_are_those_of_the_definition() {
        let adjusted = benjamini_hochberg(&[0.01, 0.04, 0.03, 0.5]);
        for (told, truth) in adjusted.iter().zip([0.04, 0.16 / 3.0, 0.16 / 3.0, 0.5]) {
            assert!((told - truth).abs() < 1e-12, "{adjusted:?}");
        }
        assert!(benjamini_hochberg(&[]).is_empty());
    }

    #[test]
    fn holm_multiplies_the_smallest_by_the_number_of_tests() {
        let adjusted = holm(&[0.04, 0.01, 0.03]);
        assert!((adjusted[1] - 0.03).abs() < 1e-12);
        assert!((adjusted[2] - 0.06).abs() < 1e-12);
        assert!(
            (adjusted[0] - 0.06).abs() < 1e-12,
            "never less than the one before"
        );
    }
}
