//! What is known of the modes in a queue, from what players were seen to cost. Not here: how that is told from frames
//! (`scaling`), and what a queue needs of it.

use std::{collections::BTreeSet, sync::Arc};

use super::{Cost, Holds, ModeFacts, Running, Waiting};
use crate::{
    analysis::{
        scaling::{MetricScaling, Players, ScalingMetric, ScalingReport, Scope, analyze_player_scaling},
        series::Series,
        stats::robust::median,
    },
    config::QueueMode,
    history::Measure,
    world::snapshot::{ServerSnapshot, ServerState},
};

const COSTS: [Measure; 4] = [
    Measure::CpuCores,
    Measure::RssBytes,
    Measure::RxBytesPerSecond,
    Measure::TxBytesPerSecond,
];

/// What is known of a mode, or of all modes together. `limit` is how many players its servers let in: where tick time says
/// that fewer fit, so many are held.
pub fn mode_facts(
    servers: &[Series<'_>],
    mode: Option<&str>,
    players_per_match: Option<u32>,
    limit: Option<Holds>,
) -> ModeFacts {
    let scope = mode.map_or(Scope::All, |mode| Scope::Mode(mode.to_owned()));
    // A refusal means that too little was seen: nothing is known then.
    let report = analyze_player_scaling(servers, &scope, &COSTS.map(ScalingMetric::Stored)).ok();
    let cost = |measure: Measure| {
        let metric = ScalingMetric::Stored(measure);
        let answers = report.iter().flat_map(|report| &report.metrics);
        answers
            .filter(|answer| answer.metric == metric)
            .find_map(|answer| answer.scaling.as_ref())
            .map(Cost::from)
    };
    ModeFacts {
        mode: mode.map(Into::into),
        players_per_match,
        capacity: held(limit, report.as_ref()),
        cpu_cores: cost(Measure::CpuCores),
        memory_bytes: cost(Measure::RssBytes),
        receive_bytes_per_second: cost(Measure::RxBytesPerSecond),
        transmit_bytes_per_second: cost(Measure::TxBytesPerSecond),
    }
}

impl From<&MetricScaling> for Cost {
    fn from(scaling: &MetricScaling) -> Self {
        Self {
            per_player: scaling.per_player.into(),
            base: scaling.base.filter(|_| scaling.base_observed).map(Into::into),
        }
    }
}

/// The fewer of those who are let in and those who fit.
fn held(limit: Option<Holds>, report: Option<&ScalingReport>) -> Option<Holds> {
    let Some(capacity) = report.and_then(|report| report.capacity) else {
        return limit;
    };
    let fit = match capacity.players {
        Players::About { players, low, high } => Holds { players, low, high },
        Players::Between { players, low, high } => Holds {
            players: players.unwrap_or(low),
            low,
            high,
        },
        // More may fit: as many as are let in, for all that is known.
        Players::AtLeast { players } => match limit {
            Some(limit) => Holds {
                low: limit.low.min(players),
                ..limit
            },
            None => Holds {
                players,
                low: players,
                high: None,
            },
        },
    };
    let Some(limit) = limit else { return Some(fit) };
    Some(Holds {
        players: fit.players.min(limit.players),
        low: fit.low.min(limit.low),
        high: match (fit.high, limit.high) {
            (Some(fit), Some(limit)) => Some(fit.min(limit)),
            (fit, limit) => fit.or(limit),
        },
    })
}

/// A server of this host that is up.
pub fn running(server: &ServerSnapshot) -> Option<Running> {
    if server.state != ServerState::Up {
        return None;
    }
    let game = &server.game_state;
    let counts = [
        game.player_counts.humans,
        game.player_counts.bots,
        game.player_counts.unknown,
    ];
    let mut modes = game.sessions.iter().map(|session| session.mode.clone());
    let first = modes.next().flatten();
    Some(Running {
        server: server.name.clone(),
        mode: first.filter(|first| modes.all(|mode| mode.as_ref() == Some(first))),
        region: server.region.as_deref().map(Into::into),
        players: counts
            .iter()
            .any(Option::is_some)
            .then(|| counts.iter().flatten().sum::<u64>() as f64),
        capacity: server.max_players.map(|most| Holds::exactly(f64::from(most))),
    })
}

/// How many players servers hold, by their limits.
fn holds<'a>(running: impl Iterator<Item = &'a Running>) -> Option<Holds> {
    let limits: Vec<f64> = running
        .filter_map(|server| Some(server.capacity?.players))
        .collect();
    Some(Holds {
        players: median(&limits)?,
        low: limits.iter().copied().fold(f64::INFINITY, f64::min),
        high: Some(limits.iter().copied().fold(0.0, f64::max)),
    })
}

/// What is known of all modes together and of each mode in the queue; the modes that the former must stand in for.
pub fn queue_facts(
    queue: &[Waiting],
    series: &[Series<'_>],
    running: &[Running],
    sizes: &[QueueMode],
) -> (Vec<ModeFacts>, Vec<Arc<str>>) {
    let all = mode_facts(series, None, None, holds(running.iter()));
    let (mut facts, mut stood_in) = (vec![all.clone()], Vec::new());
    let modes: BTreeSet<&Arc<str>> = queue.iter().filter_map(|entry| entry.mode.as_ref()).collect();
    for mode in modes {
        let size = sizes
            .iter()
            .find(|size| *size.name == **mode)
            .map(|size| size.players_per_match);
        let of_mode = |server: &&Running| server.mode.as_ref() == Some(mode);
        let capacity = holds(running.iter().filter(of_mode)).or(all.capacity);
        let own = mode_facts(series, Some(mode), size, capacity);
        let known = own.cpu_cores.is_some() || own.memory_bytes.is_some();
        if known {
            facts.push(own);
        } else {
            stood_in.push(mode.clone());
            facts.push(ModeFacts {
                mode: own.mode,
                players_per_match: size,
                capacity,
                ..all.clone()
            });
        }
    }
    (facts, stood_in)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::queue::predict_for_queue;
    use crate::history::Frame;

    fn frames(mode: &str, from: f64, per_player: f64) -> Vec<Frame> {
        seeded(7, mode, from, per_player)
    }

    /// Minutes of a server on which players come and go; costs scatter.
    fn seeded(seed: u64, mode: &str, from: f64, per_player: f64) -> Vec<Frame> {
        let mut dice = seed;
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
        let race = mode_facts(&servers, Some("race"), None, None).cpu_cores.unwrap();
        assert!((race.per_player.value - 0.01).abs() < 0.0015, "{race:?}");
        assert_eq!(race.base, None, "it was never nearly empty");
        assert_eq!(facts.memory_bytes, None);
        assert_eq!(mode_facts(&servers, Some("x"), None, None).cpu_cores, None);
    }

    #[test]
    fn forecasts_of_planted_queues_hold() {
        let (mut told, mut held, mut error) = (0.0, 0.0, 0.0);
        for seed in 1..=60 {
            let frames = seeded(seed * 7_919, "duel", 0.0, 0.03);
            let series = [Series {
                server: "a",
                frames: &frames,
            }];
            let facts = mode_facts(&series, Some("duel"), Some(2), Some(Holds::exactly(16.0)));
            for players in [3, 16, 41, 100] {
                let queue = [Waiting {
                    mode: Some("duel".into()),
                    region: None,
                    players,
                }];
                let forecast = predict_for_queue(&queue, std::slice::from_ref(&facts), &[]);
                let entry = &forecast.entries[0];
                let servers = players.div_ceil(16);
                assert_eq!(entry.matches, Some(players.div_ceil(2)));
                assert_eq!(entry.new_servers.unwrap().value, servers);
                let truth = 0.1 * f64::from(servers) + 0.03 * f64::from(players);
                let cpu = entry.needs.cpu_cores.unwrap();
                told += 1.0;
                held += f64::from(u8::from(cpu.low <= truth && truth <= cpu.high));
                error += (cpu.value - truth).abs() / truth;
            }
        }
        assert!(held / told >= 0.93, "{held} of {told} intervals hold");
        assert!(error / told <= 0.02, "{} off on the mean", error / told);
    }

    #[test]
    fn as_many_are_held_as_are_let_in_and_fit() {
        // A tick of 20 ms has room for 40 players of half a millisecond each.
        let mut frames = frames("duel", 10.0, 0.01);
        for frame in &mut frames {
            let players = frame.get(Measure::Players).unwrap();
            frame.set(Measure::TickP99Ms, Some(0.5 * players + 2.0));
            frame.set(Measure::TickP50Ms, Some(0.5 * players));
            frame.set(Measure::TickRateHz, Some(50.0));
        }
        let servers = [Series {
            server: "a",
            frames: &frames,
        }];
        let let_in = |most| mode_facts(&servers, Some("duel"), None, Some(Holds::exactly(most)));
        assert_eq!(let_in(16.0).capacity.unwrap().players, 16.0);
        let fit = let_in(400.0).capacity.unwrap();
        assert!(fit.low > 16.0 && fit.low < 60.0, "{fit:?}");
        assert_eq!(mode_facts(&[], None, None, None).capacity, None);
    }

    #[test]
    fn too_little_and_constant_players_tell_nothing() {
        let all = frames("duel", 0.0, 0.03);
        let few = [Series {
            server: "a",
            frames: &all[..10],
        }];
        assert_eq!(mode_facts(&few, None, None, None).cpu_cores, None);
        let constant: Vec<Frame> = all
            .iter()
            .map(|frame| frame.clone().with(Measure::Players, 8.0))
            .collect();
        let constant = [Series {
            server: "a",
            frames: &constant,
        }];
        assert_eq!(mode_facts(&constant, None, None, None).cpu_cores, None);
    }
}
