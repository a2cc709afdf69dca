//! Lag compensation of a demo server: each tick the world is taken back to where every player saw it, which costs CPU
//! time that grows with the player's round trip. The server counts and times it itself, so that a function probe on
//! [`compensate_lag`] can be held against it. Not here: the loop that calls it (server).

use std::time::{Duration, Instant};

use clap::Args;
use serde::{Deserialize, Serialize};

use super::game_loop::burn;

/// Arguments of the lag compensation.
#[derive(Clone, Debug, Default, Args)]
pub struct LagArgs {
    /// CPU time of lag compensation per player and tick for each 100 ms of the player's round trip, microseconds; 0 for
    /// none.
    #[arg(long, default_value_t = 0)]
    pub lag_us_per_100ms: u64,
    /// Round trips of the players, milliseconds, in the order in which they join; begins again where the list ends.
    /// Without it, no player has any.
    #[arg(long, value_delimiter = ',')]
    pub player_rtt_ms: Vec<u64>,
}

impl LagArgs {
    /// Does it cost anything?
    pub fn is_on(&self) -> bool {
        self.lag_us_per_100ms > 0 && self.player_rtt_ms.iter().any(|rtt| *rtt > 0)
    }

    /// Round trip of the player who joined as number `joined`, from 0.
    pub fn rtt(&self, joined: usize) -> Duration {
        let place = joined % self.player_rtt_ms.len().max(1);
        Duration::from_millis(self.player_rtt_ms.get(place).copied().unwrap_or(0))
    }

    /// CPU time that one player's round trip costs in one tick.
    fn work(&self, rtt: Duration) -> Duration {
        Duration::from_micros(self.lag_us_per_100ms).mul_f64(rtt.as_secs_f64() * 10.0)
    }
}

/// What a server knows of its lag compensation, since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LagTruth {
    /// Calls of [`compensate_lag`].
    pub calls: u64,
    /// Wall time inside them, as the function measures itself.
    pub time_ns: u64,
}

impl LagTruth {
    /// Takes the world back for one player, and books it.
    pub fn compensate(&mut self, args: &LagArgs, rtt: Duration) {
        self.time_ns += compensate_lag(args.work(rtt));
        self.calls += 1;
    }
}

/// Takes the world back to where a player saw it: burns `work` of CPU time. Returns the wall time it took, nanoseconds.
///
/// Never inlined and never merged with another function, so that it can be probed by its name.
#[inline(never)]
pub fn compensate_lag(work: Duration) -> u64 {
    let start = Instant::now();
    burn(std::hint::black_box(work));
    start.elapsed().as_nanos() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_grows_with_the_round_trip() {
        let args = LagArgs {
            lag_us_per_100ms: 40,
            player_rtt_ms: vec![50, 200],
        };
        assert!(args.is_on());
        let works = [0, 1, 2].map(|joined| args.work(args.rtt(joined)));
        assert_eq!(works, [20, 80, 20].map(Duration::from_micros));
    }

    #[test]
    fn without_round_trips_there_is_nothing_to_do() {
        assert!(!LagArgs::default().is_on());
        assert_eq!(LagArgs::default().rtt(3), Duration::ZERO);
    }

    #[test]
    fn every_call_is_booked() {
        let args = LagArgs {
            lag_us_per_100ms: 100,
            player_rtt_ms: vec![100],
        };
        let mut truth = LagTruth::default();
        truth.compensate(&args, args.rtt(0));
        truth.compensate(&args, args.rtt(1));
        assert_eq!(truth.calls, 2);
        assert!(truth.time_ns >= 200_000);
    }
}
