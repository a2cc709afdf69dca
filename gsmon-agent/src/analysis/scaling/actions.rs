//! Which actions of players go with spikes: how many more spikes follow an action than would by chance, per action.
//!
//! Chance is what comes out when an action's times are shifted within the five minutes around them: so what changes slowly
//! (players, phases) is the same on both sides. Actions are many, so the share of wrong findings is bounded (Benjamini and
//! Hochberg).

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

use super::ScalingRefusal;
use crate::{
    analysis::{
        series::runs,
        spikes::{SpikeOf, explain_spikes},
        stats::benjamini_hochberg,
    },
    history::Frame,
};

/// An action and the spikes after it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ActionLift {
    /// The game's name for it.
    pub action: Arc<str>,
    /// Times that it happened.
    pub times: u64,
    /// Spikes that began in the five seconds after it, or in the same frame.
    pub spikes: usize,
    /// How many there would be by chance.
    pub expected: f64,
    /// The first over the second.
    pub lift: Option<f64>,
    /// Chance of as many, or more, were there no link.
    pub p_value: f64,
    /// The same, corrected for all actions: of those below 0.05, at most one in twenty is wrong on average.
    pub corrected_p_value: f64,
    /// Does it remain?
    pub significant: bool,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ActionsReport {
    /// Spikes of either kind in the range.
    pub spikes: usize,
    /// Actions, the smallest p value first.
    pub actions: Vec<ActionLift>,
    /// Actions that were too rare to be told.
    pub too_rare: Vec<Arc<str>>,
}

/// A spike counts as after an action within this time.
const AFTER_SECONDS: f64 = 5.0;
/// Within this time an action may be shifted.
const BLOCK_SECONDS: f64 = 300.0;
/// Shifts drawn.
const SHIFTS: usize = 4_999;
/// Fewer spikes are no basis.
const FEWEST_SPIKES: usize = 5;
/// Nor are fewer frames with the action.
const FEWEST_TIMES: usize = 5;
const THRESHOLD: f64 = 0.05;

/// Holds actions against spikes of CPU and tick time.
///
/// # Errors
/// When there are no frames, no actions, or hardly a spike.
pub fn actions_and_spikes(frames: &[Frame]) -> Result<ActionsReport, ScalingRefusal> {
    if frames.is_empty() {
        return Err(ScalingRefusal::Empty);
    }
    let mut totals: BTreeMap<Arc<str>, (u64, usize)> = BTreeMap::new();
    for acted in frames.iter().flat_map(|frame| frame.acted.iter()) {
        let total = totals.entry(acted.action.clone()).or_default();
        total.0 += u64::from(acted.times);
        total.1 += 1;
    }
    if totals.is_empty() {
        return Err(ScalingRefusal::NoActions);
    }
    let mut starts: Vec<i64> = explain_spikes(frames)
        .iter()
        // A spike of both is one.
        .filter(|spike| matches!(spike.of, SpikeOf::Cpu | SpikeOf::TickTime))
        .map(|spike| spike.unix_ms)
        .collect();
    starts.sort_unstable();
    starts.dedup_by(|later, earlier| *later - *earlier <= 2_000);
    if starts.len() < FEWEST_SPIKES {
        return Err(ScalingRefusal::TooFewSpikes {
            spikes: starts.len(),
            needed: FEWEST_SPIKES,
        });
    }
    let blocks = blocks(frames, &starts);
    let (known, rare): (Vec<_>, Vec<_>) = totals.into_iter().partition(|(_, total)| total.1 >= FEWEST_TIMES);
    let mut actions: Vec<ActionLift> = known
        .into_iter()
        .map(|(action, (times, _))| lift(&blocks, action, times))
        .collect();
    let p_values: Vec<f64> = actions.iter().map(|action| action.p_value).collect();
    for (action, corrected) in actions.iter_mut().zip(benjamini_hochberg(&p_values)) {
        action.corrected_p_value = corrected;
        action.significant = corrected < THRESHOLD;
    }
    actions.sort_by(|a, b| {
        a.p_value
            .total_cmp(&b.p_value)
            .then_with(|| a.action.cmp(&b.action))
    });
    Ok(ActionsReport {
        spikes: starts.len(),
        actions,
        too_rare: rare.into_iter().map(|(action, _)| action).collect(),
    })
}

/// A few minutes without a gap.
struct Block<'a> {
    frames: &'a [Frame],
    /// Frames in which a spike begins.
    spikes: Vec<usize>,
    /// Frames before a spike that still count, that of the spike included.
    reach: usize,
}

fn blocks<'a>(frames: &'a [Frame], starts: &[i64]) -> Vec<Block<'a>> {
    let mut blocks = Vec::new();
    for run in runs(frames) {
        let seconds = (run.iter().map(|frame| frame.seconds).sum::<f64>() / run.len() as f64).max(0.05);
        let length = ((BLOCK_SECONDS / seconds).round() as usize).max(8);
        for frames in run.chunks(length).filter(|frames| frames.len() >= 8) {
            let spikes = frames
                .iter()
                .enumerate()
                .filter(|(_, frame)| starts.binary_search(&frame.unix_ms).is_ok())
                .map(|(index, _)| index)
                .collect();
            blocks.push(Block {
                frames,
                spikes,
                reach: (AFTER_SECONDS / seconds).ceil() as usize + 1,
            });
        }
    }
    blocks
}

fn lift(blocks: &[Block<'_>], action: Arc<str>, times: u64) -> ActionLift {
    // Of each block: spikes after the action, for each shift of the action.
    let shifted: Vec<Vec<u32>> = blocks
        .iter()
        .filter(|block| !block.spikes.is_empty())
        .map(|block| {
            let there: Vec<bool> = block
                .frames
                .iter()
                .map(|frame| frame.acted.iter().any(|acted| acted.action == action))
                .collect();
            let n = there.len();
            (0..n)
                .map(|shift| {
                    let hit = |spike: &&usize| {
                        // Near the edge the block closes to a ring, in the true order as in the shifted ones.
                        (0..block.reach.min(n)).any(|back| there[(**spike + 2 * n - back - shift) % n])
                    };
                    block.spikes.iter().filter(hit).count() as u32
                })
                .collect()
        })
        .collect();
    let spikes: u32 = shifted.iter().map(|block| block[0]).sum();
    let expected: f64 = shifted
        .iter()
        .map(|block| block.iter().map(|count| f64::from(*count)).sum::<f64>() / block.len() as f64)
        .sum();
    let mut draw = Draw(0x9e37_79b9_7f4a_7c15);
    let as_many = (0..SHIFTS)
        .filter(|_| {
            let sum: u32 = shifted.iter().map(|block| block[draw.below(block.len())]).sum();
            sum >= spikes
        })
        .count();
    ActionLift {
        action,
        times,
        spikes: spikes as usize,
        expected,
        lift: (expected > 0.0).then(|| f64::from(spikes) / expected),
        p_value: (as_many + 1) as f64 / (SHIFTS + 1) as f64,
        corrected_p_value: 1.0,
        significant: false,
    }
}

/// The same draws each time: a report does not depend on when it is made.
struct Draw(u64);

impl Draw {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound.max(1) as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        analysis::simulate::{Made, Noise, multiply},
        history::{Acted, Measure},
    };

    fn made(seed: u64, guilty: bool) -> Vec<Frame> {
        let mut noise = Noise::new(seed);
        let mut frames = Made {
            frames: 1_800,
            ..Made::default()
        }
        .frames(&mut noise);
        let act = |frame: &mut Frame, action: &str| {
            let mut acted = frame.acted.to_vec();
            acted.push(Acted {
                action: action.into(),
                times: 1,
            });
            frame.acted = acted.into();
        };
        for index in 1..frames.len() - 2 {
            for (action, rate) in [("chat", 0.1), ("jump", 0.3), ("build", 0.05)] {
                if noise.uniform() < rate {
                    act(&mut frames[index], action);
                }
            }
            let explodes = noise.uniform() < 0.012;
            if explodes {
                act(&mut frames[index], "explode");
            }
            if (guilty && explodes) || noise.uniform() < 0.006 {
                multiply(&mut frames[index + 1], Measure::TickP99Ms, 6.0);
                multiply(&mut frames[index + 1], Measure::CpuCores, 3.0);
            }
        }
        frames
    }

    #[test]
    fn the_guilty_action_is_named_and_no_other() {
        let report = actions_and_spikes(&made(5, true)).unwrap();
        let named: Vec<&str> = report
            .actions
            .iter()
            .filter(|action| action.significant)
            .map(|action| &*action.action)
            .collect();
        assert_eq!(named, ["explode"], "{report:?}");
        assert!(report.actions[0].lift.unwrap() > 3.0);
    }

    #[test]
    fn innocent_actions_are_rarely_named() {
        let named = (0..40)
            .filter_map(|seed| actions_and_spikes(&made(100 + seed, false)).ok())
            .filter(|report| report.actions.iter().any(|action| action.significant))
            .count();
        assert!(named <= 5, "{named} of 40");
    }

    #[test]
    fn without_actions_or_spikes_there_is_no_answer() {
        assert_eq!(actions_and_spikes(&[]), Err(ScalingRefusal::Empty));
        let quiet = Made::default().frames(&mut Noise::new(3));
        assert_eq!(actions_and_spikes(&quiet), Err(ScalingRefusal::NoActions));
    }
}
