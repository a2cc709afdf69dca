//! How much a sum scatters whose parts depend on their neighbours in time: the mean of squared cosine transforms (Lazarus,
//! Lewis, Stock and Watson 2018), with as many degrees of freedom as there are transforms.

/// Cosine transforms 1 to `count` of rows of `width` figures in the order of time, each scaled so that its square estimates
/// the variance of the sum of the rows.
pub fn transforms(rows: &[f64], width: usize, count: usize) -> Vec<f64> {
    let n = rows.len() / width.max(1);
    let mut out = vec![0.0; count * width];
    for (transform, sums) in out.chunks_exact_mut(width.max(1)).enumerate() {
        let step = std::f64::consts::PI * (transform + 1) as f64 / n as f64;
        // cos((t + 1.5) step) from the two before it.
        let (twice, mut before, mut now) = (2.0 * step.cos(), (0.5 * step).cos(), (0.5 * step).cos());
        for row in rows.chunks_exact(width.max(1)) {
            sums.iter_mut()
                .zip(row)
                .for_each(|(sum, value)| *sum += now * value);
            (before, now) = (now, twice * now - before);
        }
        sums.iter_mut().for_each(|sum| *sum *= std::f64::consts::SQRT_2);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transforms_are_those_of_the_definition() {
        let rows: Vec<f64> = (0..40).map(|index| f64::from((index * 13) % 7)).collect();
        let told = transforms(&rows, 2, 5);
        for transform in 1..=5 {
            for column in 0..2 {
                let sum: f64 = (0..20)
                    .map(|t| {
                        let at = std::f64::consts::PI * f64::from(transform) * (f64::from(t) + 0.5) / 20.0;
                        at.cos() * rows[2 * t as usize + column]
                    })
                    .sum();
                let got = told[2 * (transform as usize - 1) + column];
                assert!((got - sum * 2f64.sqrt()).abs() < 1e-9);
            }
        }
    }
}
