//! Lag compensation of a demo server: each tick the world is taken back to where every player saw it, which costs CPU
//! time that grows with the player's round trip. The server counts and times it itself, so that a function probe on
//! [`compensate_lag`] can be held against it. Not here: the loop that calls it (server).

use std::time::{Duration, Instant};

use clap::Args;
use serde::{Deserialize, Serialize};

use super::game_loop::{burn, thread_cpu};

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
    /// CPU time inside them.
    pub cpu_ns: u64,
    /// Median of the wall time per call.
    pub time_p50_ns: u64,
    /// Ticks with such calls.
    pub ticks: u64,
    /// Over those ticks, the time of all their calls.
    pub tick_time: Middle,
    /// The same divided by the players of the tick.
    pub tick_and_player_time: Middle,
}

/// The middle of a distribution: how far its median may move when some values are a little off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Middle {
    /// 40th percentile.
    pub p40_ns: u64,
    /// Median.
    pub p50_ns: u64,
    /// 60th percentile.
    pub p60_ns: u64,
}

impl Middle {
    /// By nearest rank, as for every quantile of the agent; 0 of nothing.
    fn of(times_ns: &[u64]) -> Self {
        let mut times = times_ns.to_vec();
        times.sort_unstable();
        let at = |percent: usize| {
            let rank = (times.len() * percent).div_ceil(100);
            times.get(rank.saturating_sub(1)).copied().unwrap_or(0)
        };
        Self {
            p40_ns: at(40),
            p50_ns: at(50),
            p60_ns: at(60),
        }
    }
}

/// A server's own books of it.
#[derive(Debug, Default)]
pub struct LagBooks {
    calls: u64,
    time_ns: u64,
    cpu_ns: u64,
    times_ns: Vec<u64>,
    tick_ns: u64,
    tick_times_ns: Vec<u64>,
    tick_and_player_times_ns: Vec<u64>,
}

/// Times kept for the median.
const KEPT_TIMES: usize = 1_000_000;

impl LagBooks {
    /// Takes the world back for one player, and books it.
    pub fn compensate(&mut self, args: &LagArgs, rtt: Duration) {
        let cpu_before = thread_cpu();
        let time_ns = compensate_lag(args.work(rtt));
        self.cpu_ns += thread_cpu().saturating_sub(cpu_before).as_nanos() as u64;
        self.time_ns += time_ns;
        self.tick_ns += time_ns;
        self.calls += 1;
        if self.times_ns.len() < KEPT_TIMES {
            self.times_ns.push(time_ns);
        }
    }

    /// Books the tick that all calls since the last one belong to.
    pub fn end_tick(&mut self, players: u64) {
        let time_ns = std::mem::take(&mut self.tick_ns);
        if players > 0 && self.tick_times_ns.len() < KEPT_TIMES {
            self.tick_times_ns.push(time_ns);
            self.tick_and_player_times_ns.push(time_ns / players);
        }
    }

    /// What they say.
    pub fn truth(&self) -> LagTruth {
        LagTruth {
            calls: self.calls,
            time_ns: self.time_ns,
            cpu_ns: self.cpu_ns,
            time_p50_ns: Middle::of(&self.times_ns).p50_ns,
            ticks: self.tick_times_ns.len() as u64,
            tick_time: Middle::of(&self.tick_times_ns),
            tick_and_player_time: Middle::of(&self.tick_and_player_times_ns),
        }
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
        let mut books = LagBooks::default();
        books.compensate(&args, args.rtt(0));
        books.compensate(&args, args.rtt(1));
        books.end_tick(2);
        let truth = books.truth();
        assert_eq!(truth.calls, 2);
        assert!(truth.time_p50_ns >= 100_000 && truth.time_p50_ns <= truth.time_ns / 2);
        assert!(truth.time_ns >= 200_000 && truth.cpu_ns >= 200_000);
        assert_eq!((truth.ticks, truth.tick_time.p50_ns), (1, truth.time_ns));
        assert_eq!(truth.tick_and_player_time.p50_ns, truth.time_ns / 2);
    }
}
