//! Two windows of one server, matched for phase and number of players, and how a figure differs between them.
//!
//! A window is cut into blocks long enough that neighbours hardly resemble each other; the effect is what "after" adds to
//! the logarithm of a block's mean once its players and its phase are accounted for. Not here: which figures, and how many
//! of them at once (`netcode`, `change`).

use std::collections::BTreeMap;

use super::stats::{Estimate, regress::Design, robust::autocorrelation};
use crate::{
    games::event::Phase,
    history::{Frame, Measure},
};

/// Blocks that a window is cut into, where it is long enough.
const BLOCKS: usize = 16;
/// A block is no shorter, seconds.
const SHORTEST_BLOCK_SECONDS: f64 = 15.0;
/// With fewer blocks a window says nothing.
const FEWEST_BLOCKS: usize = 8;

/// A frame needs so many seconds of like frames in the other window: eight of a second each, whose lengths are never whole.
const FEWEST_LIKE_SECONDS: f64 = 7.5;
/// Players differ by no more than this factor between like frames; what is left of it the regression accounts for.
const CALIPER: f64 = 1.25;

/// Seconds of a window by phase and number of players.
struct Kinds(BTreeMap<(Option<Phase>, u64), f64>);

impl Kinds {
    fn of(frames: &[Frame]) -> Self {
        let mut seconds: BTreeMap<(Option<Phase>, u64), f64> = BTreeMap::new();
        for frame in frames {
            if let Some(players) = frame.get(Measure::Players) {
                *seconds.entry((frame.phase, players.round() as u64)).or_default() += frame.seconds;
            }
        }
        Self(seconds)
    }

    /// Seconds that are like this frame.
    fn like(&self, frame: &Frame) -> f64 {
        let Some(players) = frame.get(Measure::Players).filter(|players| *players >= 1.0) else {
            return 0.0;
        };
        let (low, high) = (
            (players / CALIPER).ceil() as u64,
            (players * CALIPER).floor() as u64,
        );
        match low <= high {
            true => self
                .0
                .range((frame.phase, low)..=(frame.phase, high))
                .map(|(_, seconds)| seconds)
                .sum(),
            false => 0.0,
        }
    }
}

/// How a figure changed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Change {
    /// Mean of the matched frames before.
    pub before: f64,
    /// Mean of the matched frames after.
    pub after: f64,
    /// Relative change at equal players and phase: 0.1 is ten percent more.
    pub ratio: Estimate,
}

/// A figure of a frame as numerator and denominator: a ratio of means is steadier than a mean of ratios.
type Ratio<'a> = dyn Fn(&Frame) -> Option<(f64, f64)> + 'a;

/// Two windows, as far as each has its like in the other.
#[derive(Clone, Debug)]
pub struct Matched<'a> {
    before: Vec<Vec<&'a Frame>>,
    after: Vec<Vec<&'a Frame>>,
    /// Seconds of the window before, and those of them that found a match.
    pub before_seconds: (f64, f64),
    /// Seconds of the window after, and those of them that found a match.
    pub after_seconds: (f64, f64),
    /// Players before, mean of the matched frames.
    pub before_players: Option<f64>,
    /// Players after.
    pub after_players: Option<f64>,
}

impl<'a> Matched<'a> {
    /// Matches two windows. Frames without players do not take part.
    pub fn of(before: &'a [Frame], after: &'a [Frame]) -> Self {
        let (kinds_before, kinds_after) = (Kinds::of(before), Kinds::of(after));
        let matched = |frames: &'a [Frame], other: &Kinds| -> Vec<&'a Frame> {
            frames
                .iter()
                .filter(|frame| other.like(frame) >= FEWEST_LIKE_SECONDS)
                .collect()
        };
        let (like_before, like_after) = (matched(before, &kinds_after), matched(after, &kinds_before));
        let all = |frames: &[Frame]| frames.iter().map(|frame| frame.seconds).sum::<f64>();
        let of = |frames: &[&Frame]| frames.iter().map(|frame| frame.seconds).sum::<f64>();
        let players = |frames: &[&Frame]| mean_of(frames, &|frame| Some((frame.get(Measure::Players)?, 1.0)));
        Self {
            before_seconds: (all(before), of(&like_before)),
            after_seconds: (all(after), of(&like_after)),
            before_players: players(&like_before),
            after_players: players(&like_after),
            before: blocks(&like_before),
            after: blocks(&like_after),
        }
    }

    /// How a figure changed; `None` where there is too little of it, or it is zero.
    pub fn compare(&self, of: impl Fn(&Frame) -> Option<(f64, f64)>) -> Option<Change> {
        let summary = |blocks: &[Vec<&Frame>]| -> Vec<Block> {
            blocks.iter().filter_map(|block| summarise(&of, block)).collect()
        };
        let (first, second) = (summary(&self.before), summary(&self.after));
        if first.len() < FEWEST_BLOCKS || second.len() < FEWEST_BLOCKS {
            return None;
        }
        let all: Vec<(&Block, f64)> = first
            .iter()
            .map(|block| (block, 0.0))
            .chain(second.iter().map(|block| (block, 1.0)))
            .collect();
        let y: Vec<f64> = all.iter().map(|(block, _)| block.log_figure).collect();
        // Controls that do not move are left out; the fit refuses them.
        let controls: [&[Control]; 4] = [
            &[|block| block.log_players, |block| block.active_ratio],
            &[|block| block.log_players],
            &[|block| block.active_ratio],
            &[],
        ];
        let (fit, taken) = controls.iter().find_map(|controls| {
            let mut design = Design::new(controls.len() + 2);
            for (block, after) in &all {
                let mut row = vec![*after];
                row.extend(controls.iter().map(|of| of(block)));
                design.push(&row);
            }
            Some((design.fit_independent(&y)?, controls.len() + 2))
        })?;
        // Blocks that still resemble their neighbours say less than their number; of few blocks, too small a resemblance is
        // read (Kendall's correction).
        let read = autocorrelation(&fit.residuals, 1);
        let resemblance = (read + (1.0 + 3.0 * read.max(0.0)) / all.len() as f64).clamp(0.0, 0.9);
        let inflation = ((1.0 + resemblance) / (1.0 - resemblance)).sqrt();
        let freedom = (all.len() as f64 * (1.0 - resemblance) / (1.0 + resemblance) - taken as f64).max(3.0);
        let log = Estimate::from_error(fit.coefficients[1], fit.errors[1] * inflation, freedom, all.len())?;
        let mean = |blocks: &[Vec<&Frame>]| {
            let frames: Vec<&Frame> = blocks.iter().flatten().copied().collect();
            mean_of(&frames, &of)
        };
        Some(Change {
            before: mean(&self.before)?,
            after: mean(&self.after)?,
            ratio: Estimate {
                value: log.value.exp_m1(),
                low: log.low.exp_m1(),
                high: log.high.exp_m1(),
                ..log
            },
        })
    }
}

/// Frames beside each other, of about one length of time.
fn blocks<'a>(frames: &[&'a Frame]) -> Vec<Vec<&'a Frame>> {
    let whole: f64 = frames.iter().map(|frame| frame.seconds).sum();
    let length = (whole / BLOCKS as f64).max(SHORTEST_BLOCK_SECONDS);
    let mut blocks: Vec<Vec<&Frame>> = Vec::new();
    let mut filled = f64::INFINITY;
    for frame in frames {
        // Half a frame of tolerance: lengths of frames do not come out even.
        if filled + frame.seconds / 2.0 > length {
            blocks.push(Vec::new());
            filled = 0.0;
        }
        if let Some(block) = blocks.last_mut() {
            block.push(frame);
        }
        filled += frame.seconds;
    }
    // A short rest would weigh as much as a whole block.
    if blocks.len() > 1 && filled < length / 2.0 {
        blocks.pop();
    }
    blocks
}

fn mean_of(frames: &[&Frame], of: &Ratio<'_>) -> Option<f64> {
    let mut sums = (0.0, 0.0);
    for frame in frames {
        if let Some((above, below)) = of(frame) {
            sums.0 += above * frame.seconds;
            sums.1 += below * frame.seconds;
        }
    }
    (sums.1 > 0.0).then(|| sums.0 / sums.1)
}

/// What is accounted for.
type Control = fn(&Block) -> f64;

/// A block: the figure, the players, and the share of its most frequent phase's frames.
struct Block {
    log_figure: f64,
    log_players: f64,
    active_ratio: f64,
}

fn summarise(of: &Ratio<'_>, block: &[&Frame]) -> Option<Block> {
    let value = mean_of(block, of)?;
    let players = mean_of(block, &|frame| Some((frame.get(Measure::Players)?, 1.0)))?;
    let active = block
        .iter()
        .filter(|frame| frame.phase == Some(Phase::Active))
        .count();
    Some(Block {
        // A figure that is zero in a block (loss) has no logarithm; such a figure is compared on none.
        log_figure: (value > 0.0).then(|| value.ln())?,
        log_players: players.max(1e-3).ln(),
        active_ratio: active as f64 / block.len().max(1) as f64,
    })
}
