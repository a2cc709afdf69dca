//! Function probes of one server over time: readings become totals and rates, and are joined with ticks and players.
//!
//! Times are wall time between entry and return, so they hold what the thread waited for a CPU inside the call. Where
//! not every call is timed, time per second, tick and player is an estimate from those that are, and says so; the
//! distributions per tick ([`per_tick`]) leave such ticks out.

pub mod per_tick;

use serde::{Deserialize, Serialize};

use self::per_tick::{Completeness, PerTick, TickTimes};
use super::{histogram::TickHistogram, tick::TickSpan};
use crate::{
    config::ProbeSettings,
    kernel::{CallCounts, ProbeReading, ProbeState},
};

/// What is done at the calls of a probed function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProbeMode {
    /// Not there yet: the server does not run, or has not loaded the library.
    Waiting,
    /// Every call is timed.
    Timing,
    /// Some are timed, the others counted.
    Sampling,
    /// All are counted, none is timed.
    Counting,
    /// Taken away, since even counting cost too much.
    Detached,
    /// Could not be attached.
    Failed,
}

/// One probed function.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProbeSnapshot {
    /// Name from the configuration.
    pub name: String,
    /// Symbol or address from the configuration.
    pub function: String,
    /// File with the function; the server's executable when absent.
    pub object: Option<String>,
    /// What is in force.
    pub mode: ProbeMode,
    /// Why, where it is not what was asked for.
    pub reason: Option<String>,
    /// Since the agent follows the server.
    pub totals: ProbeTotals,
    /// In the last interval.
    pub rates: ProbeRates,
    /// What one call costs the server more because it is probed, nanoseconds, as measured on this machine.
    pub cost_per_call_ns: Option<f64>,
    /// That times calls per second, as a share of one core.
    pub cost_core_ratio: Option<f64>,
}

/// Monotonic totals. `calls` is `finished + lost + nested + untimed + full` and the calls that run just now.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProbeTotals {
    /// Calls.
    pub calls: u64,
    /// Of them: timed, and returned.
    pub finished: u64,
    /// Of them: inside another call of the same function in the same thread; their time is in that call's.
    pub nested: u64,
    /// Of them: counted and not timed, for the cap.
    pub untimed: u64,
    /// Of them: not timed because the table of calls was full.
    pub full: u64,
    /// Of them: timed and never returned (a longer jump, the end of the thread).
    pub lost: u64,
    /// Times of those that are `finished`.
    pub times: TickHistogram,
    /// Wall time inside the function in each tick of the game loop, all threads together.
    pub per_tick: TickTimes,
    /// The same divided by the players of its interval; ticks without players are in none.
    pub per_tick_and_player: TickTimes,
    /// Ticks in neither: not every call in them was timed, or ticks beside them were missed.
    pub ticks_left_out: u64,
}

/// Rates of the last interval.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProbeRates {
    /// Calls per second.
    pub calls_per_second: Option<f64>,
    /// Median wall time of a call.
    pub time_p50_ns: Option<f64>,
    /// 99th percentile.
    pub time_p99_ns: Option<f64>,
    /// Wall time inside the function per second, in seconds: 1.0 is one thread that is always in it.
    pub time_ratio: Option<f64>,
    /// Calls per tick.
    pub calls_per_tick: Option<f64>,
    /// Wall time inside the function per tick.
    pub time_per_tick_ns: Option<f64>,
    /// Wall time inside the function per second and player, in seconds.
    pub time_ratio_per_player: Option<f64>,
    /// Wall time inside the function per tick and player.
    pub time_per_tick_and_player_ns: Option<f64>,
    /// Median over the ticks that ended, each one's wall time inside the function.
    pub tick_time_p50_ns: Option<f64>,
    /// 99th percentile of that.
    pub tick_time_p99_ns: Option<f64>,
    /// Median over the ticks that ended, each one's wall time inside the function divided by the players.
    pub tick_and_player_time_p50_ns: Option<f64>,
    /// 99th percentile of that.
    pub tick_and_player_time_p99_ns: Option<f64>,
    /// Are `time_ratio` and what follows from it estimates, because not every call was timed?
    pub estimated: bool,
}

/// What an interval of a server's calls is joined with.
#[derive(Clone, Copy, Debug)]
pub struct ProbeInterval<'a> {
    /// Its length.
    pub seconds: f64,
    /// CLOCK_MONOTONIC at its end.
    pub now_ns: u64,
    /// Ticks of the game loop that are over since the last one.
    pub ticks: &'a [TickSpan],
    /// Ticks per second, where they can be told.
    pub tick_rate_hz: Option<f64>,
    /// Players in the game, where they are known.
    pub players: Option<u64>,
}

/// The probes of a server.
#[derive(Default)]
pub struct ProbeModel {
    probes: Vec<Known>,
}

struct Known {
    settings: ProbeSettings,
    totals: ProbeTotals,
    per_tick: PerTick,
}

impl ProbeModel {
    /// Adds an interval and makes the picture. Totals stay with a probe as long as its function is the same.
    pub fn advance(&mut self, readings: &[ProbeReading], interval: &ProbeInterval<'_>) -> Vec<ProbeSnapshot> {
        let mut old = std::mem::take(&mut self.probes);
        let mut snapshots = Vec::with_capacity(readings.len());
        for reading in readings {
            let settings = &*reading.settings;
            let same = |known: &Known| {
                known.settings.name == settings.name
                    && known.settings.place() == settings.place()
                    && known.settings.object == settings.object
            };
            let mut known = match old.iter().position(same) {
                Some(place) => old.swap_remove(place),
                None => Known {
                    settings: settings.clone(),
                    totals: ProbeTotals::default(),
                    per_tick: PerTick::default(),
                },
            };
            known.totals.add(&reading.calls);
            let (mode, reason) = told(&reading.state);
            let ticks = known.add_ticks(reading, mode, interval);
            // Where nobody looks, there is no rate, not even zero.
            let looks = matches!(
                mode,
                ProbeMode::Timing | ProbeMode::Sampling | ProbeMode::Counting
            );
            let rates = match looks || reading.calls.calls > 0 {
                true => ProbeRates {
                    tick_time_p50_ns: ticks.all.quantile_ns(0.5),
                    tick_time_p99_ns: ticks.all.quantile_ns(0.99),
                    tick_and_player_time_p50_ns: ticks.by_player.quantile_ns(0.5),
                    tick_and_player_time_p99_ns: ticks.by_player.quantile_ns(0.99),
                    ..rates(&reading.calls, interval)
                },
                false => ProbeRates::default(),
            };
            let cost = reading
                .cost_per_call_ns
                .filter(|_| !matches!(mode, ProbeMode::Waiting | ProbeMode::Failed));
            snapshots.push(ProbeSnapshot {
                name: settings.name.clone(),
                function: settings.function(),
                object: settings.object.clone(),
                mode,
                reason,
                totals: known.totals.clone(),
                cost_core_ratio: cost
                    .zip(rates.calls_per_second)
                    .map(|(cost_ns, calls)| cost_ns * calls / 1e9),
                cost_per_call_ns: cost,
                rates,
            });
            self.probes.push(known);
        }
        snapshots
    }
}

/// Ticks that an interval made known.
#[derive(Default)]
struct NewTicks {
    all: TickTimes,
    by_player: TickTimes,
}

impl Known {
    fn add_ticks(
        &mut self,
        reading: &ProbeReading,
        mode: ProbeMode,
        interval: &ProbeInterval<'_>,
    ) -> NewTicks {
        let mut new = NewTicks::default();
        // What is not timed has no time per tick, and no tick misses it.
        if !matches!(mode, ProbeMode::Timing | ProbeMode::Sampling) {
            self.per_tick = PerTick::default();
            return new;
        }
        let calls = &reading.calls;
        let completeness = match calls.untimed + calls.full + calls.unbatched {
            0 => Completeness::Whole,
            _ => Completeness::Partial,
        };
        let closed = self
            .per_tick
            .advance(&reading.by_sleep, completeness, interval.ticks, interval.now_ns);
        new.all.add(&closed.times_ns, closed.idle);
        self.totals.per_tick.add(&closed.times_ns, closed.idle);
        self.totals.ticks_left_out += closed.left_out;
        if let Some(players) = interval.players.filter(|players| *players > 0) {
            let shares: Vec<u64> = closed.times_ns.iter().map(|time_ns| time_ns / players).collect();
            new.by_player.add(&shares, closed.idle);
            self.totals.per_tick_and_player.add(&shares, closed.idle);
        }
        new
    }
}

impl ProbeTotals {
    fn add(&mut self, calls: &CallCounts) {
        self.calls += calls.calls;
        self.finished += calls.finished;
        self.nested += calls.nested;
        self.untimed += calls.untimed;
        self.full += calls.full;
        self.lost += calls.lost;
        self.times.add_counts(&calls.buckets, calls.time_ns);
    }
}

fn told(state: &ProbeState) -> (ProbeMode, Option<String>) {
    let mode = match state {
        ProbeState::Waiting { .. } => ProbeMode::Waiting,
        ProbeState::Timing => ProbeMode::Timing,
        ProbeState::Sampling { .. } => ProbeMode::Sampling,
        ProbeState::Counting { .. } => ProbeMode::Counting,
        ProbeState::Detached { .. } => ProbeMode::Detached,
        ProbeState::Failed { .. } => ProbeMode::Failed,
    };
    (mode, state.reason().map(str::to_owned))
}

fn rates(calls: &CallCounts, interval: &ProbeInterval<'_>) -> ProbeRates {
    if interval.seconds <= 0.0 {
        return ProbeRates::default();
    }
    let calls_per_second = calls.calls as f64 / interval.seconds;
    let mut times = TickHistogram::default();
    times.add_counts(&calls.buckets, calls.time_ns);
    // Calls that were not timed take as long as those that were, as far as anybody knows. Lost ones are left out: what
    // is between their entry and nowhere is no time of the function.
    let missing = calls.untimed + calls.full;
    let seconds = match (calls.calls, calls.finished) {
        (0, _) => Some(0.0),
        (_, 0) => None,
        (_, finished) => {
            let mean_ns = calls.time_ns as f64 / finished as f64;
            Some((calls.time_ns as f64 + mean_ns * missing as f64) / 1e9)
        }
    };
    let time_ratio = seconds.map(|seconds| seconds / interval.seconds);
    let tick_rate = interval.tick_rate_hz.filter(|rate| *rate > 0.0);
    let players = interval
        .players
        .filter(|players| *players > 0)
        .map(|players| players as f64);
    let time_per_tick_ns = time_ratio.zip(tick_rate).map(|(ratio, rate)| ratio * 1e9 / rate);
    ProbeRates {
        calls_per_second: Some(calls_per_second),
        time_p50_ns: times.quantile_ns(0.5),
        time_p99_ns: times.quantile_ns(0.99),
        time_ratio,
        calls_per_tick: tick_rate.map(|rate| calls_per_second / rate),
        time_per_tick_ns,
        time_ratio_per_player: time_ratio.zip(players).map(|(ratio, players)| ratio / players),
        time_per_tick_and_player_ns: time_per_tick_ns
            .zip(players)
            .map(|(time, players)| time / players),
        estimated: missing > 0,
        ..ProbeRates::default()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use gsmon_common::hist;

    use super::*;
    use crate::config::ProbePlace;

    const INTERVAL: ProbeInterval<'_> = ProbeInterval {
        seconds: 2.0,
        now_ns: 2_000_000_000,
        ticks: &[],
        tick_rate_hz: Some(20.0),
        players: Some(4),
    };

    fn reading(calls: u64, finished: u64, time_ns: u64) -> ProbeReading {
        let mut counts = CallCounts {
            calls,
            finished,
            untimed: calls - finished,
            time_ns,
            ..CallCounts::default()
        };
        if let Some(mean) = time_ns.checked_div(finished) {
            counts.buckets[hist::TICK.index(mean)] = finished;
        }
        ProbeReading {
            settings: Arc::new(ProbeSettings::new("lag", ProbePlace::Symbol("f".into()))),
            state: ProbeState::Timing,
            calls: counts,
            by_sleep: Vec::new(),
            cost_per_call_ns: Some(2_000.0),
        }
    }

    #[test]
    fn calls_are_joined_with_ticks_and_players() {
        let mut model = ProbeModel::default();
        let seen = &model.advance(&[reading(160, 160, 16_000_000)], &INTERVAL)[0];
        let rates = &seen.rates;
        assert_eq!(rates.calls_per_second, Some(80.0));
        assert_eq!(rates.calls_per_tick, Some(4.0));
        assert!((rates.time_ratio.unwrap() - 0.008).abs() < 1e-12);
        assert!((rates.time_per_tick_ns.unwrap() - 400_000.0).abs() < 1e-6);
        assert!((rates.time_per_tick_and_player_ns.unwrap() - 100_000.0).abs() < 1e-6);
        assert!((rates.time_p50_ns.unwrap() / 100_000.0 - 1.0).abs() < 0.035);
        assert!(!rates.estimated);
        assert!((seen.cost_core_ratio.unwrap() - 160e-6).abs() < 1e-12);
    }

    #[test]
    fn calls_that_are_not_timed_are_estimated_and_none_is_absent() {
        let mut model = ProbeModel::default();
        let seen = &model.advance(&[reading(160, 40, 4_000_000)], &INTERVAL)[0];
        assert!(seen.rates.estimated);
        assert!((seen.rates.time_ratio.unwrap() - 0.008).abs() < 1e-12);
        let seen = &model.advance(&[reading(160, 0, 0)], &INTERVAL)[0];
        assert_eq!(seen.rates.time_ratio, None);
        assert_eq!(seen.rates.time_p50_ns, None);
        let seen = &model.advance(&[reading(0, 0, 0)], &INTERVAL)[0];
        assert_eq!(seen.rates.time_ratio, Some(0.0));
        assert_eq!((seen.totals.calls, seen.totals.finished), (320, 40));
    }

    #[test]
    fn what_cannot_be_told_of_ticks_and_players_is_absent() {
        let alone = ProbeInterval {
            tick_rate_hz: None,
            players: Some(0),
            ..INTERVAL
        };
        let rates = rates(&reading(10, 10, 1_000).calls, &alone);
        assert_eq!((rates.calls_per_tick, rates.time_per_tick_ns), (None, None));
        assert_eq!(rates.time_ratio_per_player, None);
        assert!(rates.time_ratio.is_some());
    }

    #[test]
    fn a_probe_that_is_not_there_has_no_rates() {
        let mut model = ProbeModel::default();
        let mut gone = reading(0, 0, 0);
        gone.state = ProbeState::Failed {
            reason: "no such function".into(),
        };
        let seen = &model.advance(&[gone], &INTERVAL)[0];
        assert_eq!(seen.rates, ProbeRates::default());
        assert_eq!((seen.cost_per_call_ns, seen.cost_core_ratio), (None, None));
        assert_eq!(seen.reason.as_deref(), Some("no such function"));
    }

    #[test]
    fn another_function_begins_anew() {
        let mut model = ProbeModel::default();
        model.advance(&[reading(10, 10, 1_000)], &INTERVAL);
        let mut other = reading(5, 5, 500);
        other.settings = Arc::new(ProbeSettings::new("lag", ProbePlace::Address(7)));
        assert_eq!(model.advance(&[other], &INTERVAL)[0].totals.calls, 5);
    }
}
