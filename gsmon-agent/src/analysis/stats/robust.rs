//! Location, scale and autocorrelation of one series, and the mean of a series whose values depend on each other.

use std::collections::VecDeque;

use super::Estimate;

/// Median absolute deviation to standard deviation, of a normal distribution.
const MAD_TO_SIGMA: f64 = 1.482_602_2;

/// Middle value; `None` of nothing.
pub fn median(values: &[f64]) -> Option<f64> {
    quantile(values, 0.5)
}

/// Quantile by linear interpolation; `None` of nothing.
pub fn quantile(values: &[f64], share: f64) -> Option<f64> {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
    if sorted.is_empty() {
        return None;
    }
    let at = share.clamp(0.0, 1.0) * (sorted.len() - 1) as f64;
    let (_, low, rest) = sorted.select_nth_unstable_by(at.floor() as usize, f64::total_cmp);
    let low = *low;
    let high = rest.iter().copied().fold(f64::INFINITY, f64::min);
    let part = at - at.floor();
    Some(if part > 0.0 {
        low + (high - low) * part
    } else {
        low
    })
}

/// Standard deviation as the median absolute deviation tells it.
pub fn spread(values: &[f64]) -> Option<f64> {
    let middle = median(values)?;
    let off: Vec<f64> = values.iter().map(|value| (value - middle).abs()).collect();
    Some(median(&off)? * MAD_TO_SIGMA)
}

/// Median of the newest values of a series, kept up to date value by value.
#[derive(Clone, Debug)]
pub struct RunningMedian {
    sorted: Vec<f64>,
    newest: VecDeque<f64>,
    kept: usize,
}

impl RunningMedian {
    /// Of so many values.
    pub fn new(kept: usize) -> Self {
        Self {
            sorted: Vec::with_capacity(kept + 1),
            newest: VecDeque::with_capacity(kept + 1),
            kept,
        }
    }

    /// Adds a value, and forgets the oldest when there are too many.
    pub fn push(&mut self, value: f64) {
        let place = self.sorted.partition_point(|other| *other < value);
        self.sorted.insert(place, value);
        self.newest.push_back(value);
        if self.newest.len() > self.kept
            && let Some(oldest) = self.newest.pop_front()
        {
            let place = self.sorted.partition_point(|other| *other < oldest);
            self.sorted.remove(place.min(self.sorted.len() - 1));
        }
    }

    /// Values kept.
    pub fn len(&self) -> usize {
        self.sorted.len()
    }

    /// None yet?
    pub fn is_empty(&self) -> bool {
        self.sorted.is_empty()
    }

    /// The values kept, smallest first.
    pub fn sorted(&self) -> &[f64] {
        &self.sorted
    }

    /// Their median; `None` of nothing.
    pub fn get(&self) -> Option<f64> {
        let middle = self.sorted.len() / 2;
        match self.sorted.len() {
            0 => None,
            odd if odd % 2 == 1 => Some(self.sorted[middle]),
            _ => Some((self.sorted[middle - 1] + self.sorted[middle]) / 2.0),
        }
    }
}

/// Arithmetic mean; `None` of nothing.
pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// Autocorrelation at a lag; 0 where it cannot be told.
pub fn autocorrelation(values: &[f64], lag: usize) -> f64 {
    let Some(mean) = mean(values) else { return 0.0 };
    let variance: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    if variance <= 0.0 || lag >= values.len() {
        return 0.0;
    }
    let shared: f64 = values[lag..]
        .iter()
        .zip(values)
        .map(|(later, earlier)| (later - mean) * (earlier - mean))
        .sum();
    shared / variance
}

/// Autocorrelations at lags 1 up to, and without, a lag.
pub fn autocorrelations(values: &[f64], until: usize) -> Vec<f64> {
    let mean = mean(values).unwrap_or(0.0);
    let off: Vec<f64> = values.iter().map(|value| value - mean).collect();
    let variance: f64 = off.iter().map(|off| off * off).sum();
    if variance <= 0.0 {
        return vec![0.0; until.saturating_sub(1)];
    }
    (1..until.min(off.len()))
        .map(|lag| {
            off[lag..]
                .iter()
                .zip(&off)
                .map(|(later, earlier)| later * earlier)
                .sum::<f64>()
                / variance
        })
        .collect()
}

/// Autocorrelations beyond which nothing is added up.
const MOST_LAGS: usize = 60;

/// Independent values that would tell as much as these do: Geyer's initial positive sequence.
pub fn effective_size(values: &[f64]) -> f64 {
    let size = values.len() as f64;
    let mean = mean(values).unwrap_or(0.0);
    let off: Vec<f64> = values.iter().map(|value| value - mean).collect();
    let variance: f64 = off.iter().map(|off| off * off).sum();
    let at = |lag: usize| -> f64 {
        let pairs = off.iter().skip(lag).zip(&off);
        pairs.map(|(later, earlier)| later * earlier).sum::<f64>() / variance
    };
    let mut sum = 0.0;
    let until = if variance > 0.0 {
        MOST_LAGS.min(values.len() / 2)
    } else {
        0
    };
    for lag in (1..until).step_by(2) {
        let pair = at(lag) + at(lag + 1);
        if pair <= 0.0 {
            break;
        }
        sum += pair;
    }
    (size / (1.0 + 2.0 * sum)).clamp(1.0, size.max(1.0))
}

/// Mean of a series whose values may depend on each other; `None` of fewer than three.
pub fn mean_of_series(values: &[f64]) -> Option<Estimate> {
    let size = values.len();
    if size < 3 {
        return None;
    }
    let mean = mean(values)?;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (size - 1) as f64;
    let effective = effective_size(values);
    Estimate::from_error(mean, (variance / effective).sqrt(), effective - 1.0, size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_spreads_shrug_off_outliers() {
        assert_eq!(median(&[3.0, 1.0, 1000.0, 2.0]), Some(2.5));
        assert_eq!(quantile(&[1.0, 2.0, 3.0, 4.0, 5.0], 0.25), Some(2.0));
        assert_eq!(median(&[]), None);
        let spread = spread(&[1.0, 2.0, 3.0, 4.0, 1e9]).unwrap();
        assert!((spread - MAD_TO_SIGMA).abs() < 1e-9);
    }

    #[test]
    fn a_running_median_is_that_of_the_newest() {
        let values: Vec<f64> = (0..200).map(|index| f64::from((index * 37) % 23)).collect();
        let mut running = RunningMedian::new(7);
        for (index, value) in values.iter().enumerate() {
            running.push(*value);
            assert_eq!(
                running.get(),
                median(&values[(index + 1).saturating_sub(7)..=index])
            );
        }
        assert_eq!(running.len(), 7);
    }

    #[test]
    fn slow_series_tell_less_than_their_length() {
        let slow: Vec<f64> = (0..400)
            .map(|index| (f64::from(index / 20) * 1.7).sin())
            .collect();
        let fast: Vec<f64> = (0..400)
            .map(|index| f64::from((index * 7_919 + 13) % 101))
            .collect();
        assert!(effective_size(&slow) < 80.0);
        assert!(effective_size(&fast) > 200.0);
    }
}
