//! Correlation of two series once what others explain of both is taken away.

use super::{Estimate, normal_quantile, regress::Design, robust::autocorrelations, two_sided};

/// Lags whose autocorrelation makes two series tell less than their length.
const MOST_LAGS: usize = 40;

/// Correlation of `x` and `y` at equal times, controlled for `controls` (rows beside `x`). The interval is Fisher's, with
/// as many observations as independent ones would tell as much (Bartlett). `None` when either does not move.
pub fn partial_correlation(x: &[f64], y: &[f64], controls: &[Vec<f64>]) -> Option<Estimate> {
    let taken = controls.first().map_or(0, Vec::len);
    let (x, y) = match taken {
        0 => (centred(x), centred(y)),
        _ => {
            let mut design = Design::new(taken + 1);
            controls.iter().for_each(|row| design.push(row));
            match (design.fit_independent(x), design.fit_independent(y)) {
                (Some(x), Some(y)) => (x.residuals, y.residuals),
                // Controls that do not move take nothing away.
                _ => (centred(x), centred(y)),
            }
        }
    };
    let n = x.len();
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let (xx, yy) = (dot(&x, &x), dot(&y, &y));
    let moves = |squares: f64| squares > 1e-18;
    if n < 8 || n != y.len() || !moves(xx) || !moves(yy) {
        return None;
    }
    let r = (dot(&x, &y) / (xx * yy).sqrt()).clamp(-0.999_999, 0.999_999);
    let similar = |values: &[f64]| autocorrelations(values, MOST_LAGS.min(n / 4));
    let together: f64 = similar(&x)
        .into_iter()
        .zip(similar(&y))
        .enumerate()
        .map(|(index, (x, y))| (1.0 - (index + 1) as f64 / n as f64) * x * y)
        .sum();
    let effective = (n as f64 / (1.0 + 2.0 * together.max(0.0))).max(5.0);
    let freedom = (effective - 2.0 - taken as f64).max(1.0);
    let error = 1.0 / (freedom - 1.0).max(1.0).sqrt();
    let margin = normal_quantile(0.5 + super::CONFIDENCE / 2.0) * error;
    let z = r.atanh();
    Some(Estimate {
        value: r,
        low: (z - margin).tanh(),
        high: (z + margin).tanh(),
        p_value: two_sided(r * (freedom / (1.0 - r * r)).sqrt(), freedom)?,
        observations: n,
    })
}

fn centred(values: &[f64]) -> Vec<f64> {
    let mean = super::robust::mean(values).unwrap_or(0.0);
    values.iter().map(|value| value - mean).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::simulate::Noise;

    #[test]
    fn what_comes_from_a_third_goes_when_it_is_controlled_for() {
        let mut noise = Noise::new(7);
        let third: Vec<f64> = (0..500).map(|_| noise.normal()).collect();
        let x: Vec<f64> = third.iter().map(|third| 2.0 * third + noise.normal()).collect();
        let y: Vec<f64> = third.iter().map(|third| 3.0 * third + noise.normal()).collect();
        let raw = partial_correlation(&x, &y, &[]).unwrap();
        let controls: Vec<Vec<f64>> = third.iter().map(|third| vec![*third]).collect();
        let partial = partial_correlation(&x, &y, &controls).unwrap();
        assert!(raw.value > 0.7, "{raw:?}");
        assert!(partial.value.abs() < 0.12 && partial.low < 0.0 && partial.high > 0.0);
    }

    #[test]
    fn slow_series_that_have_nothing_to_do_with_each_other_are_rarely_called_related() {
        let mut related = 0;
        for seed in 0..200 {
            let mut noise = Noise::new(1_000 + seed);
            let slow = |noise: &mut Noise| {
                let mut at = 0.0;
                (0..300)
                    .map(|_| {
                        at = 0.8 * at + noise.normal();
                        at
                    })
                    .collect::<Vec<f64>>()
            };
            let (x, y) = (slow(&mut noise), slow(&mut noise));
            related += usize::from(partial_correlation(&x, &y, &[]).unwrap().p_value < 0.05);
        }
        assert!(related <= 16, "{related} of 200 at 5 %");
    }
}
