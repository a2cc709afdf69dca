//! Demand out of history alone: the same times of earlier seasons at the level of now, with quantiles of how far that was
//! off before. Stands in where no forecast is there, and says so by its basis. Not here: models (a forecast's business).

use super::demand::{Demand, DemandBasis, DemandError, Group, Level};
use crate::analysis::stats::normal_quantile;

const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = 1_440 * MINUTE_MS;
/// Seasons that are averaged.
const SEASONS: usize = 4;
/// The profile is smoothed by so much each way: single counts of few players scatter.
const SMOOTH_MS: i64 = 20 * MINUTE_MS;
/// The level of now is that of the last so long.
const LEVEL_MS: i64 = 180 * MINUTE_MS;
/// What is above or below the profile now is so no longer after about this time.
const DECAY_MS: f64 = 90.0 * 60_000.0;
/// Misses are looked at from an origin every so often, over the last so long.
const ORIGIN_MS: i64 = 5 * MINUTE_MS;
const LOOKED_BACK_MS: i64 = 28 * DAY_MS;
/// Fewer misses tell no quantile.
const LEAST_MISSES: usize = 40;
/// How far ahead misses are kept, minutes.
const AHEAD_MINUTES: [i64; 16] = [0, 1, 2, 3, 5, 10, 15, 20, 30, 45, 60, 120, 240, 480, 1_440, 2_880];

/// History of one group on an even grid.
#[derive(Clone, Debug)]
pub struct Profile {
    first_unix_ms: i64,
    step_ms: i64,
    /// Last value before or at each step: what is known there.
    values: Vec<f64>,
    /// Sums and counts before each step, of those that were measured.
    sums: Vec<f64>,
    counts: Vec<u32>,
    basis: DemandBasis,
    season: usize,
    /// For each of the kept horizons, in steps: misses over the root of the players expected, sorted.
    misses: Vec<(usize, Vec<f64>)>,
}

/// Why there is no profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProfileError {
    /// Nothing to start from.
    #[error("no players were counted in the range: let the agent run for a while, or ask for a longer range")]
    NoHistory,
    /// A step that cannot be.
    #[error("the step of a profile must be longer than nothing")]
    Step,
}

impl Profile {
    /// Of points (time, players) in any order.
    ///
    /// # Errors
    /// When there is nothing.
    pub fn of(points: &[(i64, f64)], step_ms: i64) -> Result<Self, ProfileError> {
        if step_ms <= 0 {
            return Err(ProfileError::Step);
        }
        let good = |point: &&(i64, f64)| point.1.is_finite() && point.1 >= 0.0;
        let cell = |unix_ms: i64| unix_ms.div_euclid(step_ms);
        let cells = points.iter().filter(good).map(|point| cell(point.0));
        let (Some(first), Some(last)) = (cells.clone().min(), cells.max()) else {
            return Err(ProfileError::NoHistory);
        };
        // A year of minutes: older ones are no part of a profile, and a wrong clock must not take all memory.
        let first = first.max(last - 365 * DAY_MS / step_ms.min(DAY_MS));
        let length = usize::try_from(last - first + 1).unwrap_or(1);
        let (mut sums, mut counts) = (vec![0.0; length], vec![0u32; length]);
        for (unix_ms, players) in points.iter().filter(good) {
            if let Ok(index) = usize::try_from(cell(*unix_ms) - first)
                && index < length
            {
                sums[index] += players;
                counts[index] += 1;
            }
        }
        let means = sums
            .iter()
            .zip(&counts)
            .map(|(sum, count)| (*count > 0).then(|| sum / f64::from(*count)));
        Ok(Self::on_grid(first * step_ms, step_ms, means, usize::MAX))
    }

    /// The same, but how far predictions were off is learnt from the steps before `learnt_until` alone: for replays, in which
    /// what comes later must not be known.
    ///
    /// # Errors
    /// When there is nothing.
    pub fn learnt_until(
        first_unix_ms: i64,
        step_ms: i64,
        players: &[f64],
        learnt_until: usize,
    ) -> Result<Self, ProfileError> {
        if players.is_empty() {
            return Err(ProfileError::NoHistory);
        }
        if step_ms <= 0 {
            return Err(ProfileError::Step);
        }
        let means = players.iter().map(|players| Some(*players));
        Ok(Self::on_grid(first_unix_ms, step_ms, means, learnt_until))
    }

    fn on_grid(
        first_unix_ms: i64,
        step_ms: i64,
        means: impl Iterator<Item = Option<f64>>,
        learnt_until: usize,
    ) -> Self {
        let (mut values, mut sums, mut counts) = (Vec::new(), vec![0.0], vec![0u32]);
        let mut last = 0.0;
        for mean in means {
            let known = mean.unwrap_or(0.0);
            last = mean.unwrap_or(last);
            values.push(last);
            sums.push(sums[sums.len() - 1] + known);
            counts.push(counts[counts.len() - 1] + u32::from(mean.is_some()));
        }
        let there = i64::from(counts[counts.len() - 1]) * step_ms;
        let length_ms = values.len() as i64 * step_ms;
        let (basis, season_ms) = match (length_ms, there) {
            (length, there) if length >= 8 * DAY_MS && there >= 4 * DAY_MS => {
                (DemandBasis::WeeklyProfile, 7 * DAY_MS)
            }
            (length, there) if length >= 2 * DAY_MS && there >= DAY_MS => (DemandBasis::DailyProfile, DAY_MS),
            _ => (DemandBasis::Persistence, 0),
        };
        let mut profile = Self {
            first_unix_ms,
            step_ms,
            values,
            sums,
            counts,
            basis,
            season: usize::try_from(season_ms / step_ms).unwrap_or(0),
            misses: Vec::new(),
        };
        profile.misses = profile.look_at_misses(learnt_until);
        profile
    }

    /// How demand is known.
    pub fn basis(&self) -> DemandBasis {
        self.basis
    }

    /// Time of the last value.
    pub fn last_unix_ms(&self) -> i64 {
        self.first_unix_ms + self.step_ms * (self.values.len() as i64 - 1)
    }

    /// The middle of the last step: a value is the mean of its step, and so that of the middle.
    pub fn middle_of_last_ms(&self) -> i64 {
        self.last_unix_ms() + self.step_ms / 2
    }

    fn steps_of(&self, ms: i64) -> usize {
        usize::try_from(ms / self.step_ms).unwrap_or(0)
    }

    /// Mean of what was measured from a step up to before another.
    fn mean(&self, from: usize, to: usize) -> Option<f64> {
        let to = to.min(self.values.len());
        let from = from.min(to);
        let count = self.counts[to] - self.counts[from];
        (count > 0).then(|| (self.sums[to] - self.sums[from]) / f64::from(count))
    }

    /// Mean over earlier seasons of what was measured in a window that ends before `to`, seen from `origin`.
    fn seasonal(&self, from: usize, to: usize, origin: usize) -> Option<f64> {
        if self.season == 0 {
            return None;
        }
        let (mut sum, mut count) = (0.0, 0.0);
        let first = (to.saturating_sub(origin + 1)).div_ceil(self.season).max(1);
        for ago in first..first + SEASONS {
            let back = ago * self.season;
            let Some(from) = from.checked_sub(back) else { break };
            if let Some(mean) = self.mean(from, to - back) {
                sum += mean;
                count += 1.0;
            }
        }
        (count > 0.0).then(|| sum / count)
    }

    fn smooth(&self, at: usize, origin: usize) -> Option<f64> {
        let half = self.steps_of(SMOOTH_MS);
        self.seasonal(at.saturating_sub(half), at + half + 1, origin)
    }

    /// Starting points of a prediction: how the profile is scaled, and how far now is from it.
    pub fn origin(&self, origin: usize) -> Origin {
        let now = self.values[origin.min(self.values.len() - 1)];
        let level = self.steps_of(LEVEL_MS).max(1);
        let from = (origin + 1).saturating_sub(level);
        let scale = match (
            self.mean(from, origin + 1),
            self.seasonal(from, origin + 1, origin),
        ) {
            (Some(recent), Some(before)) if before > 0.0 => Some((recent / before).clamp(0.2, 5.0)),
            _ => None,
        };
        let scaled = scale.and_then(|scale| Some((scale, self.smooth(origin, origin)? * scale)));
        Origin { origin, now, scaled }
    }

    /// Expected players so many steps after an origin; looks at nothing after it.
    pub fn expected(&self, from: &Origin, ahead: usize) -> f64 {
        let Some((scale, profile_now)) = from.scaled else {
            return from.now;
        };
        let Some(profile) = self.smooth(from.origin + ahead, from.origin) else {
            return from.now;
        };
        let decay = (-(ahead as f64) * self.step_ms as f64 / DECAY_MS).exp();
        (profile * scale + (from.now - profile_now) * decay).max(0.0)
    }

    fn look_at_misses(&self, learnt_until: usize) -> Vec<(usize, Vec<f64>)> {
        let end = learnt_until.min(self.values.len());
        let every = self.steps_of(ORIGIN_MS).max(1);
        let mut ahead: Vec<usize> = AHEAD_MINUTES
            .iter()
            .map(|minutes| self.steps_of(minutes * MINUTE_MS))
            .collect();
        ahead.dedup();
        let begin = end.saturating_sub(self.steps_of(LOOKED_BACK_MS));
        let begin = begin.max(if self.season > 0 {
            self.season + self.steps_of(LEVEL_MS)
        } else {
            0
        });
        let mut misses: Vec<(usize, Vec<f64>)> = ahead.iter().map(|ahead| (*ahead, Vec::new())).collect();
        for origin in (begin..end).step_by(every) {
            let from = self.origin(origin);
            for (ahead, found) in &mut misses {
                let target = origin + *ahead;
                if target >= end || self.mean(target, target + 1).is_none() {
                    continue;
                }
                let expected = self.expected(&from, *ahead);
                found.push((self.values[target] - expected) / (expected + 1.0).sqrt());
            }
        }
        for (_, found) in &mut misses {
            found.sort_by(f64::total_cmp);
        }
        misses
    }

    /// Quantile of misses, over the root of the players expected plus one, so many steps ahead. Where too few were seen:
    /// as players come and go by chance alone (Poisson).
    pub fn miss(&self, quantile: f64, ahead: usize) -> f64 {
        let told = |found: &[f64]| match found.len() {
            few if few < LEAST_MISSES => normal_quantile(quantile.clamp(1e-6, 1.0 - 1e-6)),
            _ => quantile_of_sorted(found, quantile),
        };
        let above = self.misses.partition_point(|(kept, _)| *kept < ahead);
        let Some((upper, found)) = self.misses.get(above) else {
            return self.misses.last().map_or(0.0, |(_, found)| told(found));
        };
        match above.checked_sub(1).and_then(|below| self.misses.get(below)) {
            Some((lower, below)) if *upper > ahead => {
                let share = (ahead - lower) as f64 / (upper - lower) as f64;
                told(below) + share * (told(found) - told(below))
            }
            _ => told(found),
        }
    }

    /// Demand from the last value on, so many steps.
    ///
    /// # Errors
    /// When the levels make no sense.
    pub fn demand(&self, group: Group, steps: usize, levels: &[f64]) -> Result<Demand, DemandError> {
        let last = self.values.len() - 1;
        let from = self.origin(last);
        let expected: Vec<f64> = (0..steps).map(|ahead| self.expected(&from, ahead)).collect();
        let levels = levels.iter().map(|quantile| Level {
            quantile: *quantile,
            players: expected
                .iter()
                .enumerate()
                .map(|(ahead, expected)| {
                    // Where nobody was ever seen nobody is foreseen.
                    let miss = self.miss(*quantile, ahead) * (expected + 1.0).sqrt();
                    (expected + miss).max(0.0)
                })
                .collect(),
        });
        Demand {
            group,
            start_unix_ms: self.middle_of_last_ms(),
            step_ms: self.step_ms,
            levels: levels.collect(),
            basis: self.basis,
        }
        .checked()
    }
}

/// Where a prediction starts.
#[derive(Clone, Copy, Debug)]
pub struct Origin {
    origin: usize,
    now: f64,
    scaled: Option<(f64, f64)>,
}

impl Origin {
    /// The same with another number of players now.
    pub fn with_now(self, now: f64) -> Self {
        Self { now, ..self }
    }
}

/// Of sorted values, by linear interpolation.
fn quantile_of_sorted(sorted: &[f64], share: f64) -> f64 {
    let at = share.clamp(0.0, 1.0) * (sorted.len().saturating_sub(1)) as f64;
    let (low, high) = (at.floor() as usize, at.ceil() as usize);
    let value = |index: usize| sorted.get(index).copied().unwrap_or(0.0);
    value(low) + (value(high) - value(low)) * (at - at.floor())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::simulate::Noise;

    const STEP: i64 = 5 * MINUTE_MS;

    fn day(minute: f64) -> f64 {
        100.0 + 60.0 * (minute / 1_440.0 * std::f64::consts::TAU).sin()
    }

    fn history(days: i64, noise: f64) -> Vec<(i64, f64)> {
        let mut dice = Noise::new(3);
        (0..days * 288)
            .map(|step| {
                let players = day(step as f64 * 5.0) + noise * dice.normal();
                (step * STEP, players.max(0.0))
            })
            .collect()
    }

    #[test]
    fn history_decides_what_is_known() {
        let basis = |days| Profile::of(&history(days, 1.0), STEP).unwrap().basis();
        assert_eq!(basis(1), DemandBasis::Persistence);
        assert_eq!(basis(3), DemandBasis::DailyProfile);
        assert_eq!(basis(9), DemandBasis::WeeklyProfile);
        assert_eq!(Profile::of(&[], STEP).unwrap_err(), ProfileError::NoHistory);
        assert_eq!(
            Profile::of(&[(0, f64::NAN), (1, -4.0)], STEP).unwrap_err(),
            ProfileError::NoHistory
        );
        assert_eq!(Profile::of(&[(0, 1.0)], 0).unwrap_err(), ProfileError::Step);
    }

    #[test]
    fn a_daily_course_is_foreseen_with_quantiles_around_it() {
        let profile = Profile::of(&history(14, 4.0), STEP).unwrap();
        let demand = profile.demand(Group::default(), 72, &[0.05, 0.5, 0.95]).unwrap();
        let mut within = 0;
        for step in 0..72 {
            let truth = day((14 * 1_440) as f64 + (step as f64 - 1.0) * 5.0);
            assert!((demand.at(0.5, step) - truth).abs() < 8.0, "{step}: {truth}");
            within += u32::from(demand.at(0.05, step) < truth && truth < demand.at(0.95, step));
        }
        assert!(within >= 70, "{within}");
        assert!(demand.at(0.95, 30) - demand.at(0.05, 30) < 25.0);
    }

    #[test]
    fn nothing_after_the_origin_is_looked_at() {
        let whole = history(20, 4.0);
        let cut = Profile::of(&whole[..15 * 288], STEP).unwrap();
        let whole = Profile::of(&whole, STEP).unwrap();
        let origin = 15 * 288 - 1;
        for ahead in 0..600 {
            assert_eq!(
                cut.expected(&cut.origin(origin), ahead),
                whole.expected(&whole.origin(origin), ahead)
            );
        }
    }

    #[test]
    fn an_empty_server_is_not_foreseen_to_fill_by_itself() {
        let empty: Vec<(i64, f64)> = (0..14 * 288).map(|step| (step * STEP, 0.0)).collect();
        let demand = Profile::of(&empty, STEP)
            .unwrap()
            .demand(Group::default(), 12, &[0.5, 0.99])
            .unwrap();
        assert!(
            demand
                .levels
                .iter()
                .all(|level| level.players.iter().all(|players| *players == 0.0))
        );
    }
}
