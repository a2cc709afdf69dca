//! A series of player counts on regular steps of UTC, with gaps, and where its seasons lie in local time. Not here: models,
//! and where counts come from.

use jiff::{Timestamp, tz::TimeZone};

const DAY_SECONDS: i64 = 86_400;

/// Why counts are no series.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GridError {
    /// A step that does not divide a day, or is no time at all.
    #[error("a step of {0} s does not divide a day: take 900 or 3600")]
    Step(i64),
    /// More steps than memory is spent on.
    #[error(
        "{0} steps are more than the {MOST_STEPS} that a series may have: take a longer step or less history"
    )]
    TooLong(i64),
}

/// Steps that a series may have at most.
pub const MOST_STEPS: i64 = 200_000;

/// Means of player counts over regular steps; NaN where nobody looked.
#[derive(Clone, Debug)]
pub struct Grid {
    /// Number of the first step since 1970 (its beginning over the step).
    first: i64,
    step_seconds: i64,
    values: Vec<f64>,
    zone: TimeZone,
    /// Local time ahead of UTC at the beginning of each step, in steps, beyond the end too.
    ahead: Vec<i32>,
    sums: Vec<f64>,
    counts: Vec<u32>,
}

impl Grid {
    /// Means of samples (seconds since 1970, count) per step, seasons in this time zone. Samples may come in any order; those
    /// that are no number or negative are left out.
    ///
    /// # Errors
    /// When the step does not divide a day, or the series is too long.
    pub fn of_samples(samples: &[(i64, f64)], step_seconds: i64, zone: &TimeZone) -> Result<Self, GridError> {
        if step_seconds < 60 || DAY_SECONDS % step_seconds != 0 {
            return Err(GridError::Step(step_seconds));
        }
        let good = || {
            samples
                .iter()
                .filter(|(_, count)| count.is_finite() && *count >= 0.0)
                .map(|(time, count)| (time.div_euclid(step_seconds), *count))
        };
        let first = good().map(|(step, _)| step).min().unwrap_or(0);
        let last = good().map(|(step, _)| step).max().unwrap_or(-1);
        let length = last - first + 1;
        if length > MOST_STEPS {
            return Err(GridError::TooLong(length));
        }
        let length = usize::try_from(length).unwrap_or(0);
        let mut sums = vec![0.0; length];
        let mut counts = vec![0_u32; length];
        for (step, count) in good() {
            let index = usize::try_from(step - first).unwrap_or(0);
            sums[index] += count;
            counts[index] += 1;
        }
        let values = sums
            .iter()
            .zip(&counts)
            .map(|(sum, count)| {
                if *count > 0 {
                    sum / f64::from(*count)
                } else {
                    f64::NAN
                }
            })
            .collect();
        Ok(Self::of_steps(first, step_seconds, values, zone))
    }

    /// A series whose steps are known; the step must divide a day.
    pub(super) fn of_steps(first: i64, step_seconds: i64, values: Vec<f64>, zone: &TimeZone) -> Self {
        let beyond = usize::try_from(15 * DAY_SECONDS / step_seconds).unwrap_or(0);
        // Offsets change at full quarters of an hour, so that a day whose ends agree need not be looked at closely.
        let ahead = (0..values.len() + beyond)
            .map(|index| {
                let at = (first + index as i64) * step_seconds;
                let offset = Timestamp::from_second(at).map_or(0, |time| zone.to_offset(time).seconds());
                offset / step_seconds as i32
            })
            .collect();
        let mut grid = Self {
            first,
            step_seconds,
            values,
            zone: zone.clone(),
            ahead,
            sums: Vec::new(),
            counts: Vec::new(),
        };
        grid.sum();
        grid
    }

    fn sum(&mut self) {
        self.sums = Vec::with_capacity(self.values.len() + 1);
        self.counts = Vec::with_capacity(self.values.len() + 1);
        let (mut sum, mut count) = (0.0, 0);
        self.sums.push(sum);
        self.counts.push(count);
        for value in &self.values {
            if value.is_finite() {
                sum += value;
                count += 1;
            }
            self.sums.push(sum);
            self.counts.push(count);
        }
    }

    /// The same without what a mask names.
    pub(super) fn without(&self, mask: &[bool]) -> Self {
        let mut grid = self.clone();
        for (value, masked) in grid.values.iter_mut().zip(mask) {
            if *masked {
                *value = f64::NAN;
            }
        }
        grid.sum();
        grid
    }

    /// The logarithms of one more than each mean.
    pub(super) fn logs(&self) -> Self {
        let mut grid = self.clone();
        grid.values.iter_mut().for_each(|value| *value = value.ln_1p());
        grid.sum();
        grid
    }

    /// The first steps alone.
    pub fn until(&self, length: usize) -> Self {
        let length = length.min(self.values.len());
        Self::of_steps(
            self.first,
            self.step_seconds,
            self.values[..length].to_vec(),
            &self.zone,
        )
    }

    /// Steps, gaps among them.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// No step at all?
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Length of a step.
    pub fn step_seconds(&self) -> i64 {
        self.step_seconds
    }

    /// Steps of an hour, one at least.
    pub fn hour(&self) -> usize {
        usize::try_from(3_600 / self.step_seconds).unwrap_or(1).max(1)
    }

    /// Steps of a day.
    pub fn day(&self) -> usize {
        usize::try_from(DAY_SECONDS / self.step_seconds)
            .unwrap_or(1)
            .max(1)
    }

    /// Time zone of its seasons.
    pub fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// Beginning of a step, in seconds since 1970; steps beyond the end have one too.
    pub fn begin_unix_s(&self, index: usize) -> i64 {
        (self.first + index as i64) * self.step_seconds
    }

    /// Mean of a step; NaN where nobody looked.
    pub fn at(&self, index: usize) -> f64 {
        self.values.get(index).copied().unwrap_or(f64::NAN)
    }

    /// All means.
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// Steps with a value.
    pub fn known(&self) -> usize {
        self.counts.last().map_or(0, |count| *count as usize)
    }

    /// Mean of the known steps of `from..to` (signed, cut to the series); NaN where none is known.
    pub(super) fn mean(&self, from: i64, to: i64) -> f64 {
        let length = self.values.len() as i64;
        let (from, to) = (from.clamp(0, length) as usize, to.clamp(0, length) as usize);
        if from >= to {
            return f64::NAN;
        }
        let count = self.counts[to] - self.counts[from];
        if count == 0 {
            return f64::NAN;
        }
        ((self.sums[to] - self.sums[from]) / f64::from(count)).max(0.0)
    }

    /// The step that had the same local time so many days before; it may lie before the series.
    pub(super) fn days_before(&self, index: usize, days: usize) -> i64 {
        let plain = index as i64 - (days * self.day()) as i64;
        let ahead = |at: i64| self.ahead.get(at.max(0) as usize).copied().unwrap_or(0);
        plain + i64::from(ahead(index as i64) - ahead(plain))
    }

    /// Local time of a step as its place in the day.
    pub(super) fn of_day(&self, index: usize) -> usize {
        let ahead = self.ahead.get(index).copied().unwrap_or(0);
        let local = self.first + index as i64 + i64::from(ahead);
        local.rem_euclid(self.day() as i64) as usize
    }
}
