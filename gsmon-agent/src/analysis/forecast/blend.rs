//! Weighs models by how they did: those whose weight would have lowered the blend's absolute error get more, each as far as
//! its own regret was sure (polynomial weights, regrets fading over days). Models that say nothing for a time lose nothing
//! by it. Not here: the models.

/// Days over which an error fades.
const KEEP_DAYS: f64 = 7.0;

/// An error counts at most as so many usual ones of the blend.
const MOST: f64 = 5.0;

/// Share of a usual error under which a smaller one weighs less.
const SOFT: f64 = 0.3;

/// Errors of models, and weights from them.
pub(super) struct Blend {
    keep: f64,
    models: Vec<Tried>,
    /// Sum and weight of the blend's own errors.
    usual: (f64, f64),
}

#[derive(Clone, Copy, Default)]
struct Tried {
    regret: f64,
    square: f64,
    absolute: f64,
    weight: f64,
    seen: usize,
}

impl Blend {
    /// Nothing seen yet.
    pub(super) fn new(count: usize, day: usize) -> Self {
        Self {
            keep: 1.0 - 1.0 / (KEEP_DAYS * day as f64),
            models: vec![Tried::default(); count],
            usual: (0.0, 0.0),
        }
    }

    /// Relative errors of one step, NaN where a model said nothing, and that of the blend.
    pub(super) fn learn(&mut self, errors: &[f64], blended: f64) {
        let keep = self.keep;
        for (model, error) in self.models.iter_mut().zip(errors) {
            if error.is_finite() {
                model.absolute = keep * model.absolute + error.abs().min(2.0);
                model.weight = keep * model.weight + 1.0;
                model.seen += 1;
            }
        }
        if !blended.is_finite() {
            return;
        }
        let (sum, weight) = self.usual;
        let usual = if weight > 16.0 {
            (sum / weight).max(1e-9)
        } else {
            1.0
        };
        let most = MOST * usual;
        self.usual = (keep * sum + blended.abs().min(most), keep * weight + 1.0);
        let slope = (blended / (SOFT * usual)).clamp(-1.0, 1.0);
        for (model, error) in self.models.iter_mut().zip(errors) {
            let regret = if error.is_finite() {
                slope * (blended - error).clamp(-most, most)
            } else {
                0.0
            };
            model.regret = keep * model.regret + regret;
            model.square = keep * model.square + regret * regret;
        }
    }

    /// Mean absolute relative error of a model; `None` before it was seen.
    pub(super) fn error(&self, model: usize) -> Option<f64> {
        let model = self.models[model];
        (model.seen > 0).then(|| model.absolute / model.weight)
    }

    /// How often a model said something that came due.
    pub(super) fn seen(&self, model: usize) -> usize {
        self.models[model].seen
    }

    /// Weights of the models that can say something, summing to one; those seen less than `least` times have none, unless
    /// there is no other.
    pub(super) fn weights(&self, can: &[bool], least: usize) -> Vec<f64> {
        let tried = |place: &usize| can[*place] && self.models[*place].seen >= least;
        let mut weights: Vec<f64> = (0..self.models.len())
            .map(|place| match self.models[place] {
                model if tried(&place) => model.regret.max(0.0) / model.square.max(1e-12),
                _ => 0.0,
            })
            .collect();
        let sum: f64 = weights.iter().sum();
        if sum > 0.0 {
            weights.iter_mut().for_each(|weight| *weight /= sum);
            return weights;
        }
        // The best of those that were tried, else the one that looks at most: models are in that order.
        let error = |place: &usize| self.error(*place).unwrap_or(f64::INFINITY);
        let all = 0..self.models.len();
        let one = all
            .clone()
            .filter(tried)
            .min_by(|a, b| error(a).total_cmp(&error(b)))
            .or_else(|| all.rev().find(|place| can[*place]));
        if let Some(one) = one {
            weights[one] = 1.0;
        }
        weights
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_better_model_is_found_and_a_late_one_too() {
        let mut blend = Blend::new(3, 24);
        let mut weights = vec![0.0; 3];
        for step in 0..24 * 20_u32 {
            let off = if step.is_multiple_of(2) { 1.0 } else { -1.0 };
            let late = if step < 24 * 10 { f64::NAN } else { 0.01 * off };
            let errors = [0.2 * off, 0.05 * off, late];
            let can = errors.map(f64::is_finite);
            weights = blend.weights(&can, 12);
            let blended = weights
                .iter()
                .zip(errors)
                .filter(|(weight, _)| **weight > 0.0)
                .map(|(weight, error)| weight * error)
                .sum();
            blend.learn(&errors, blended);
            if step == 24 * 10 - 1 {
                assert!(weights[1] > 0.9, "{weights:?}");
            }
        }
        assert!(weights[2] > 0.8, "{weights:?}");
        assert!((weights.iter().sum::<f64>() - 1.0).abs() < 1e-9);
        assert!((blend.error(1).unwrap() - 0.05).abs() < 1e-9);
        assert_eq!(blend.weights(&[true, false, false], 12), [1.0, 0.0, 0.0]);
        assert_eq!(Blend::new(2, 24).weights(&[true, true], 12), [0.0, 1.0]);
    }
}
