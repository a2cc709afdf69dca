//! Seats that advice would have wanted at each step of the past, knowing nothing of what came later; and a perfect
//! oracle, which knows everything. Not here: the replay.

use super::super::profile::Profile;
use crate::analysis::forecast::{Grid, LEVELS, as_it_went};

/// Seats below which servers are started and above which they are stopped, for each step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SeatWishes {
    /// Start below.
    pub start_below: Vec<f64>,
    /// Stop above.
    pub stop_above: Vec<f64>,
}

/// How far ahead advice looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ahead {
    /// Steps until a server that is ordered now takes players.
    pub warm_up_steps: usize,
    /// Steps beyond that in which a server must not be needed again to be stopped: hysteresis.
    pub hold_steps: usize,
}

/// What the forecast of an hour ahead said at each step.
#[derive(Clone, Debug)]
pub struct HourAhead {
    steps_per_hour: usize,
    said: Vec<Option<[f64; LEVELS.len()]>>,
}

impl HourAhead {
    /// Of players at steps that divide a quarter of an hour. A forecast is known from the end of the quarter on that it was
    /// made after.
    pub fn of(first_unix_ms: i64, step_ms: i64, players: &[f64]) -> Option<Self> {
        const QUARTER_MS: i64 = 900_000;
        let steps = usize::try_from(QUARTER_MS / step_ms.max(1))
            .ok()
            .filter(|steps| *steps > 0)?;
        let samples: Vec<(i64, f64)> = players
            .iter()
            .enumerate()
            .map(|(step, players)| {
                (
                    (first_unix_ms + step as i64 * step_ms).div_euclid(1_000),
                    *players,
                )
            })
            .collect();
        let grid = Grid::of_samples(&samples, QUARTER_MS / 1_000, &jiff::tz::TimeZone::UTC).ok()?;
        let mut said = vec![None; players.len()];
        for (origin, _, quantiles) in as_it_went(&grid, 1) {
            let known_ms = grid.begin_unix_s(origin + 1) * 1_000 - first_unix_ms;
            let from = usize::try_from(known_ms / step_ms).unwrap_or(0).min(said.len());
            let to = (from + steps).min(said.len());
            said[from..to].fill(Some(quantiles));
        }
        Some(Self {
            steps_per_hour: 4 * steps,
            said,
        })
    }

    /// Players so many steps after one, between those of now and those an hour later, as advice goes over from the one to
    /// the other.
    fn join(&self, step: usize, ahead: usize, quantile: f64, own: f64) -> f64 {
        let Some(said) = self.said.get(step).and_then(Option::as_ref) else {
            return own;
        };
        let above = LEVELS.partition_point(|level| *level < quantile);
        let hour = match (above.checked_sub(1), LEVELS.get(above)) {
            (Some(below), Some(level)) => {
                let share = (quantile - LEVELS[below]) / (level - LEVELS[below]);
                said[below] + share * (said[above] - said[below])
            }
            (None, _) => said[0],
            (Some(below), None) => said[below],
        };
        let share = (ahead as f64 / self.steps_per_hour as f64).min(1.0);
        own + share * (hour - own)
    }
}

/// Wishes for each of some quantiles. `players` are those at each step, the profile is of the same steps, and so is the
/// forecast of an hour ahead, where one is to be used.
pub fn wishes(
    profile: &Profile,
    hour: Option<&HourAhead>,
    players: &[f64],
    quantiles: &[f64],
    ahead: Ahead,
) -> Vec<SeatWishes> {
    let until_start = ahead.warm_up_steps + 1;
    let until_stop = until_start + ahead.hold_steps;
    let misses: Vec<Vec<f64>> = quantiles
        .iter()
        .map(|quantile| {
            (0..=until_stop)
                .map(|ahead| profile.miss(*quantile, ahead))
                .collect()
        })
        .collect();
    let mut wishes = vec![SeatWishes::default(); quantiles.len()];
    let mut expected = vec![0.0; until_stop + 1];
    for (step, now) in players.iter().enumerate() {
        let from = profile.origin(step).with_now(*now);
        for (ahead, expected) in expected.iter_mut().enumerate() {
            *expected = profile.expected(&from, ahead);
        }
        for ((wish, misses), quantile) in wishes.iter_mut().zip(&misses).zip(quantiles) {
            let most = |range: std::ops::RangeInclusive<usize>, least: f64| {
                range.fold(least, |most, ahead| {
                    let expected: f64 = expected[ahead];
                    let own = expected + misses[ahead] * (expected + 1.0).sqrt();
                    most.max(hour.map_or(own, |hour| hour.join(step, ahead, *quantile, own)))
                })
            };
            let start = most(0..=until_start, *now);
            wish.start_below.push(start);
            wish.stop_above.push(most(until_start..=until_stop, start));
        }
    }
    wishes
}

/// What will be needed, known before.
pub fn oracle(players: &[f64], ahead: Ahead) -> SeatWishes {
    let until = |steps: usize| -> Vec<f64> {
        (0..players.len())
            .map(|step| {
                let end = (step + steps + 1).min(players.len());
                players[step..end].iter().copied().fold(0.0, f64::max)
            })
            .collect()
    };
    SeatWishes {
        start_below: until(ahead.warm_up_steps + 1),
        stop_above: until(ahead.warm_up_steps + 1),
    }
}
