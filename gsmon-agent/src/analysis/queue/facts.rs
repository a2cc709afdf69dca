//! What players and servers of a mode cost, out of frames: a line through players and cost, with intervals that respect
//! autocorrelation. Not here: what a queue needs of it.

use super::{Cost, Holds, ModeFacts};
use crate::{
    analysis::{
        series::Series,
        stats::{Estimate, regress::Design},
    },
    history::Measure,
};

/// Frames that a cost needs.
const LEAST_ROWS: usize = 60;
/// Players must differ by so many between the fewest and the most that were seen.
const LEAST_SPREAD: f64 = 2.0;
/// A server counts as seen (nearly) empty where it had at most this share of the most players.
const NEARLY_EMPTY_RATIO: f64 = 0.2;

/// What is known of a mode, or of all modes together.
pub fn mode_facts(
    servers: &[Series<'_>],
    mode: Option<&str>,
    players_per_match: Option<u32>,
    capacity: Option<Holds>,
) -> ModeFacts {
    let of = |measure| cost(servers, mode, measure);
    ModeFacts {
        mode: mode.map(Into::into),
        players_per_match,
        capacity,
        cpu_cores: of(Measure::CpuCores),
        memory_bytes: of(Measure::RssBytes),
        receive_bytes_per_second: of(Measure::RxBytesPerSecond),
        transmit_bytes_per_second: of(Measure::TxBytesPerSecond),
    }
}

/// What each player adds; `None` where too little was seen, or players hardly moved.
pub fn cost(servers: &[Series<'_>], mode: Option<&str>, measure: Measure) -> Option<Cost> {
    let mut design = Design::new(2);
    let mut costs = Vec::new();
    let (mut fewest, mut most) = (f64::INFINITY, f64::NEG_INFINITY);
    for frame in servers.iter().flat_map(|server| server.frames) {
        if mode.is_some() && frame.mode.as_deref() != mode {
            continue;
        }
        let (Some(players), Some(cost)) = (frame.get(Measure::Players), frame.get(measure)) else {
            continue;
        };
        (fewest, most) = (fewest.min(players), most.max(players));
        design.push(&[players]);
        costs.push(cost);
    }
    if costs.len() < LEAST_ROWS || most - fewest < LEAST_SPREAD {
        return None;
    }
    let fit = design.fit(&costs)?;
    let seen_empty = fewest <= NEARLY_EMPTY_RATIO * most;
    let base: Option<Estimate> = seen_empty.then(|| fit.estimate(0)).flatten();
    Some(Cost {
        per_player: fit.estimate(1)?.into(),
        base: base.map(Into::into),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Frame;

    /// Minutes of a server on which players come and go; costs scatter.
    fn frames(mode: &str, from: f64, per_player: f64) -> Vec<Frame> {
        let mut dice = 7u64;
        let mut noise = || {
            dice = dice
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (dice >> 33) as f64 / f64::from(1u32 << 31) - 0.5
        };
        (0..600)
            .map(|minute| {
                let players = (from + 10.0 + 10.0 * (f64::from(minute) / 30.0).sin()).round();
                let cores = 0.1 + per_player * players + 0.02 * noise();
                let mut frame = Frame::new(i64::from(minute) * 60_000, 60.0)
                    .with(Measure::Players, players)
                    .with(Measure::CpuCores, cores);
                frame.mode = Some(mode.into());
                frame
            })
            .collect()
    }

    #[test]
    fn planted_costs_are_recovered_by_mode() {
        let (duel, race) = (frames("duel", 0.0, 0.03), frames("race", 30.0, 0.01));
        let servers = [
            Series {
                server: "a",
                frames: &duel,
            },
            Series {
                server: "b",
                frames: &race,
            },
        ];
        let facts = mode_facts(&servers, Some("duel"), Some(2), None);
        let cpu = facts.cpu_cores.unwrap();
        assert!((cpu.per_player.value - 0.03).abs() < 0.0015, "{cpu:?}");
        assert!(
            cpu.per_player.low <= 0.03 && 0.03 <= cpu.per_player.high,
            "{cpu:?}"
        );
        assert!((cpu.base.unwrap().value - 0.1).abs() < 0.02, "{cpu:?}");
        let race = cost(&servers, Some("race"), Measure::CpuCores).unwrap();
        assert!((race.per_player.value - 0.01).abs() < 0.0015, "{race:?}");
        assert_eq!(race.base, None, "it was never nearly empty");
        assert_eq!(
            (facts.memory_bytes, cost(&servers, Some("x"), Measure::CpuCores)),
            (None, None)
        );
    }

    #[test]
    fn too_little_and_constant_players_tell_nothing() {
        let all = frames("duel", 0.0, 0.03);
        let few = [Series {
            server: "a",
            frames: &all[..LEAST_ROWS - 1],
        }];
        assert_eq!(cost(&few, None, Measure::CpuCores), None);
        let constant: Vec<Frame> = all
            .iter()
            .map(|frame| frame.clone().with(Measure::Players, 8.0))
            .collect();
        let constant = [Series {
            server: "a",
            frames: &constant,
        }];
        assert_eq!(cost(&constant, None, Measure::CpuCores), None);
    }
}
