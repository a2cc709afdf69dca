//! What lag compensation costs: CPU per player and 100 ms of round trip. From the time that a probe measures in the
//! function itself where there is one, else by regression of the server's CPU, which says so: that holds whatever else
//! grows with round trips.

use serde::{Deserialize, Serialize};

use super::{
    series::Series,
    stats::{Estimate, regress::Design},
};
use crate::history::{Frame, Measure};

/// How a cost is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LagBasis {
    /// Time in the function, measured by a probe.
    Probe,
    /// Regression of the server's CPU on players and their round trips.
    Regression,
}

/// Do servers that are looked at together share what a player costs without lag?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fleet {
    /// They run one game with one configuration: differences between servers say something.
    Alike,
    /// Each has its own base: only what changes within a server says something.
    Different,
}

/// What lag compensation costs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LagCost {
    /// How it is known.
    pub basis: LagBasis,
    /// Cores per player and 100 ms of round trip.
    pub cores_per_player_100_ms: Estimate,
    /// The same per tick of the game loop, microseconds; where the tick rate is known.
    pub us_per_player_100_ms_tick: Option<Estimate>,
    /// Share of the servers' CPU that goes to it, at the round trips that there were.
    pub share_of_cpu_ratio: Option<f64>,
    /// Servers looked at.
    pub servers: usize,
}

/// CPU per player and 100 ms of round trip. `None` when round trips or players are not known, or do not move.
pub fn lag_compensation_cost(servers: &[Series<'_>], fleet: Fleet) -> Option<LagCost> {
    by(servers, fleet, LagBasis::Probe).or_else(|| by(servers, fleet, LagBasis::Regression))
}

/// Sum over players of their round trips, in units of 100 ms.
fn lag(frame: &Frame) -> Option<f64> {
    Some(frame.get(Measure::Players)? * frame.get(Measure::RttMeanMs)? / 100.0)
}

fn by(servers: &[Series<'_>], fleet: Fleet, basis: LagBasis) -> Option<LagCost> {
    let cost = match basis {
        LagBasis::Probe => Measure::LagCompensationCores,
        LagBasis::Regression => Measure::CpuCores,
    };
    // (figures, cost), server by server; differences within a server are what its own mean leaves.
    let mut rows: Vec<([f64; 2], f64)> = Vec::new();
    let (mut ticks, mut cpu, mut lags) = ((0.0, 0.0), 0.0, 0.0);
    let mut seen = 0;
    for server in servers {
        let mut own: Vec<([f64; 2], f64)> = Vec::new();
        for frame in server.frames {
            let (Some(lag), Some(players), Some(cost)) =
                (lag(frame), frame.get(Measure::Players), frame.get(cost))
            else {
                continue;
            };
            own.push(([lag, players], cost));
            if let Some(rate) = frame.get(Measure::TickRateHz) {
                ticks = (ticks.0 + rate, ticks.1 + 1.0);
            }
            cpu += frame.get(Measure::CpuCores).unwrap_or(f64::NAN);
            lags += lag;
        }
        if own.is_empty() {
            continue;
        }
        seen += 1;
        if fleet == Fleet::Different {
            let count = own.len() as f64;
            let mean = own.iter().fold(([0.0; 2], 0.0), |(sum, all), (row, cost)| {
                (
                    [sum[0] + row[0] / count, sum[1] + row[1] / count],
                    all + cost / count,
                )
            });
            for (row, cost) in &mut own {
                *row = [row[0] - mean.0[0], row[1] - mean.0[1]];
                *cost -= mean.1;
            }
        }
        rows.extend(own);
    }
    let cost: Vec<f64> = rows.iter().map(|(_, cost)| *cost).collect();
    // A probe sees nothing that players without lag cost, but calls cost something each.
    let slope = |columns: &[usize]| {
        let mut design = Design::new(columns.len() + 1);
        rows.iter().for_each(|(row, _)| {
            let row: Vec<f64> = columns.iter().map(|column| row[*column]).collect();
            design.push(&row);
        });
        design.fit(&cost)?.estimate(1)
    };
    let cores = match basis {
        LagBasis::Probe => slope(&[0, 1]).or_else(|| slope(&[0]))?,
        // Without telling players from lag, what players cost would be called lag.
        LagBasis::Regression => slope(&[0, 1])?,
    };
    Some(LagCost {
        basis,
        cores_per_player_100_ms: cores,
        us_per_player_100_ms_tick: (ticks.1 > 0.0 && ticks.0 > 0.0)
            .then(|| cores.scaled(1e6 * ticks.1 / ticks.0)),
        share_of_cpu_ratio: Some(cores.value * lags / cpu).filter(|share| share.is_finite()),
        servers: seen,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::simulate::{Made, Noise};

    fn made(lag: f64, seed: u64) -> Vec<Frame> {
        Made {
            lag,
            frames: 1_200,
            phase_changes: 0.0,
            ..Made::default()
        }
        .frames(&mut Noise::new(seed))
    }

    fn cost(frames: &[Frame]) -> Option<LagCost> {
        lag_compensation_cost(&[Series { server: "a", frames }], Fleet::Different)
    }

    #[test]
    fn regression_finds_what_was_planted() {
        // The made-up server pays for its median round trip; the mean is a tenth above it.
        let planted = 0.01 / 1.1;
        let mut values = Vec::new();
        let mut held = 0;
        for seed in 0..40 {
            let cost = cost(&made(0.01, seed)).unwrap();
            assert_eq!(cost.basis, LagBasis::Regression);
            let cores = cost.cores_per_player_100_ms;
            values.push(cores.value);
            held += u32::from(cores.low <= planted && planted <= cores.high);
            assert!(cost.us_per_player_100_ms_tick.unwrap().value > 0.0);
        }
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        assert!((mean / planted - 1.0).abs() < 0.1, "{mean} instead of {planted}");
        assert!(held >= 34, "the interval held it in {held} of 40");
    }

    #[test]
    fn no_cost_is_found_where_there_is_none() {
        let cost = cost(&made(0.0, 77)).unwrap().cores_per_player_100_ms;
        assert!(cost.low < 0.0 && cost.high > 0.0, "{cost:?}");
    }

    #[test]
    fn a_probe_is_believed_more_than_a_regression() {
        let mut frames = made(0.01, 5);
        for frame in &mut frames {
            let cores = 0.004 * lag(frame).unwrap();
            frame.set(Measure::LagCompensationCores, Some(cores));
        }
        let cost = cost(&frames).unwrap();
        assert_eq!(cost.basis, LagBasis::Probe);
        assert!((cost.cores_per_player_100_ms.value - 0.004).abs() < 1e-5);
    }

    #[test]
    fn without_round_trips_there_is_no_answer() {
        let frames = Made {
            rtt: false,
            ..Made::default()
        }
        .frames(&mut Noise::new(1));
        assert!(cost(&frames).is_none());
        assert!(cost(&[]).is_none());
    }
}
