//! Advice, Agones' Buffer of the best size and a perfect oracle on one group's own past. Not here: reading it.

use serde::{Deserialize, Serialize};

use super::{
    Outcome, Policy, Rules,
    advised::{Ahead, HourAhead, oracle, wishes},
    replay,
    visits::of_counts,
};
use crate::analysis::advice::profile::Profile;

/// Buffers that are tried.
const MOST_BUFFER: u32 = 200;

/// What would have come of each.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// Hours that were replayed; what lies before was only learnt from.
    pub hours: f64,
    /// As advised.
    pub advice: Outcome,
    /// The smallest buffer that leaves no more players without a seat than advice does, or than one in a thousand.
    pub buffer: Outcome,
    /// Its size.
    pub buffer_size: u32,
    /// Knowing everything.
    pub oracle: Outcome,
}

impl Comparison {
    /// A static buffer serves as well and costs less: it is to be preferred then.
    pub fn buffer_is_better(&self) -> bool {
        self.buffer.idle_server_hours < self.advice.idle_server_hours
    }
}

/// Why there is nothing to compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompareError {
    /// Too short.
    #[error("a replay needs at least 12 h of history, of which two fifths are learnt from; there are {0} h")]
    Short(u64),
}

/// Replays players at even steps. The first two fifths are learnt from.
///
/// # Errors
/// When there is too little.
pub fn compare(
    first_unix_ms: i64,
    step_ms: i64,
    players: &[f64],
    quantile: f64,
    ahead: Ahead,
    rules: &Rules,
) -> Result<Comparison, CompareError> {
    let hours = players.len() as f64 * step_ms as f64 / 3.6e6;
    let learnt = players.len() * 2 / 5;
    let short = CompareError::Short(hours as u64);
    if hours < 12.0 {
        return Err(short);
    }
    let profile = Profile::learnt_until(first_unix_ms, step_ms, players, learnt).map_err(|_| short)?;
    let visits = of_counts(players);
    let run = |policy: Policy<'_>| replay(&visits, learnt..players.len(), rules, policy);
    let seats = |wish: &super::advised::SeatWishes| {
        run(Policy::Seats {
            start_below: &wish.start_below,
            stop_above: &wish.stop_above,
        })
    };
    let hour = HourAhead::of(first_unix_ms, step_ms, players);
    let wanted = wishes(&profile, hour.as_ref(), players, &[quantile], ahead);
    let advice = wanted.first().map(seats).unwrap_or_default();
    let enough = advice.unserved_ratio().max(0.001);
    let mut size = 0;
    let mut buffer = run(Policy::Buffer(size));
    while buffer.unserved_ratio() > enough && size < MOST_BUFFER.min(rules.most_servers) {
        size += 1;
        buffer = run(Policy::Buffer(size));
    }
    Ok(Comparison {
        hours: (players.len() - learnt) as f64 * step_ms as f64 / 3.6e6,
        advice,
        buffer,
        buffer_size: size,
        oracle: seats(&oracle(players, ahead)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_three_are_replayed_on_the_same_past() {
        let players: Vec<f64> = (0..4 * 288)
            .map(|step| 50.0 + 40.0 * (f64::from(step) / 288.0 * std::f64::consts::TAU).sin())
            .collect();
        let rules = Rules {
            seats: 10,
            warm_up_steps: 2,
            step_seconds: 300.0,
            least_servers: 0,
            most_servers: 100,
        };
        let ahead = Ahead {
            warm_up_steps: 2,
            hold_steps: 2,
        };
        let found = compare(0, 300_000, &players, 0.95, ahead, &rules).unwrap();
        assert_eq!(found.oracle.unserved_player_minutes, 0.0);
        assert!(found.buffer_size >= 1 && found.buffer.unserved_ratio() <= 0.001);
        assert_eq!(
            found.advice.wanted_player_minutes,
            found.buffer.wanted_player_minutes
        );
        assert!(found.oracle.idle_server_hours <= found.advice.idle_server_hours);
        assert_eq!(
            compare(0, 300_000, &players[..100], 0.95, ahead, &rules),
            Err(CompareError::Short(8))
        );
    }
}
