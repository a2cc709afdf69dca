//! Seats that advice would have wanted at each step of the past, knowing nothing of what came later; and a perfect
//! oracle, which knows everything. Not here: the replay.

use super::super::profile::Profile;

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

/// Wishes for each of some quantiles. `players` are those at each step, the profile is of the same steps.
pub fn wishes(profile: &Profile, players: &[f64], quantiles: &[f64], ahead: Ahead) -> Vec<SeatWishes> {
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
        for (wish, misses) in wishes.iter_mut().zip(&misses) {
            let most = |range: std::ops::RangeInclusive<usize>, least: f64| {
                range.fold(least, |most, ahead| {
                    let expected: f64 = expected[ahead];
                    most.max(expected + misses[ahead] * (expected + 1.0).sqrt())
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
