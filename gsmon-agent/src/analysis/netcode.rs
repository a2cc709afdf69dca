//! Did a change of netcode change anything? Two windows of one server, matched for phase and number of players.
//!
//! Each figure is compared as a ratio. A window is cut into blocks long enough that neighbours hardly resemble each other;
//! the effect is what "after" adds to the logarithm of a block's mean once its players and its phase are accounted for.
//! Figures are many, so that their p values are corrected (Holm): the verdict speaks of those that remain only.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::stats::{Estimate, holm, regress::Design, robust::autocorrelation};
use crate::{
    games::event::Phase,
    history::{Frame, Measure},
};

/// A figure that two windows are compared by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NetcodeFigure {
    /// Bytes to clients per player and second.
    TxBytesPerPlayerSecond,
    /// Bytes from clients per player and second.
    RxBytesPerPlayerSecond,
    /// Packets to clients per player and second: the update cadence that a player sees.
    TxPacketsPerPlayerSecond,
    /// Packets from clients per player and second.
    RxPacketsPerPlayerSecond,
    /// Bytes to clients per player and tick.
    TxBytesPerPlayerTick,
    /// Packets to clients per player and tick.
    TxPacketsPerPlayerTick,
    /// CPU of the server per packet of either direction, nanoseconds.
    CpuNsPerPacket,
    /// Network updates per second on the wire.
    UpdateCadenceHz,
    /// Lost on the way to the server.
    LossUpRatio,
    /// Lost on the way to the players.
    LossDownRatio,
    /// Median round trip, milliseconds.
    RttMs,
    /// Jitter, milliseconds.
    JitterMs,
}

impl NetcodeFigure {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::TxBytesPerPlayerSecond,
        Self::RxBytesPerPlayerSecond,
        Self::TxPacketsPerPlayerSecond,
        Self::RxPacketsPerPlayerSecond,
        Self::TxBytesPerPlayerTick,
        Self::TxPacketsPerPlayerTick,
        Self::CpuNsPerPacket,
        Self::UpdateCadenceHz,
        Self::LossUpRatio,
        Self::LossDownRatio,
        Self::RttMs,
        Self::JitterMs,
    ];

    /// In the words of an administrator.
    pub fn words(self) -> &'static str {
        match self {
            Self::TxBytesPerPlayerSecond => "bytes to each player per second",
            Self::RxBytesPerPlayerSecond => "bytes from each player per second",
            Self::TxPacketsPerPlayerSecond => "packets to each player per second",
            Self::RxPacketsPerPlayerSecond => "packets from each player per second",
            Self::TxBytesPerPlayerTick => "bytes to each player per tick",
            Self::TxPacketsPerPlayerTick => "packets to each player per tick",
            Self::CpuNsPerPacket => "CPU per packet, ns",
            Self::UpdateCadenceHz => "updates per second on the wire",
            Self::LossUpRatio => "loss on the way to the server",
            Self::LossDownRatio => "loss on the way to players",
            Self::RttMs => "median round trip, ms",
            Self::JitterMs => "jitter, ms",
        }
    }

    /// As numerator and denominator of a frame: a ratio of means is steadier than a mean of ratios.
    fn of(self, frame: &Frame) -> Option<(f64, f64)> {
        let players = frame.get(Measure::Players)?;
        let get = |measure| frame.get(measure);
        let pair = match self {
            Self::TxBytesPerPlayerSecond => (get(Measure::TxBytesPerSecond)?, players),
            Self::RxBytesPerPlayerSecond => (get(Measure::RxBytesPerSecond)?, players),
            Self::TxPacketsPerPlayerSecond => (get(Measure::TxPacketsPerSecond)?, players),
            Self::RxPacketsPerPlayerSecond => (get(Measure::RxPacketsPerSecond)?, players),
            Self::TxBytesPerPlayerTick => (
                get(Measure::TxBytesPerSecond)?,
                players * get(Measure::TickRateHz)?,
            ),
            Self::TxPacketsPerPlayerTick => (
                get(Measure::TxPacketsPerSecond)?,
                players * get(Measure::TickRateHz)?,
            ),
            Self::CpuNsPerPacket => (
                get(Measure::CpuCores)? * 1e9,
                get(Measure::TxPacketsPerSecond)? + get(Measure::RxPacketsPerSecond)?,
            ),
            Self::UpdateCadenceHz => (get(Measure::NetworkTickHz)?, 1.0),
            Self::LossUpRatio => (get(Measure::LossUpRatio)?, 1.0),
            Self::LossDownRatio => (get(Measure::LossDownRatio)?, 1.0),
            Self::RttMs => (get(Measure::RttP50Ms)?, 1.0),
            Self::JitterMs => (get(Measure::JitterMs)?, 1.0),
        };
        (pair.1 > 0.0).then_some(pair)
    }
}

/// One figure, before and after.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Compared {
    /// Which.
    pub figure: NetcodeFigure,
    /// Mean of the matched frames before.
    pub before: f64,
    /// Mean of the matched frames after.
    pub after: f64,
    /// Relative change at equal players and phase: 0.1 is ten percent more.
    pub change_ratio: Estimate,
    /// Its p value corrected for all the figures.
    pub corrected_p_value: f64,
    /// Does it remain after that?
    pub significant: bool,
}

/// The comparison.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NetcodeReport {
    /// Seconds of the window before, and those of them that found a match.
    pub before_seconds: (f64, f64),
    /// Seconds of the window after, and those of them that found a match.
    pub after_seconds: (f64, f64),
    /// Players before, mean of the matched frames.
    pub before_players: Option<f64>,
    /// Players after.
    pub after_players: Option<f64>,
    /// Figures that could be compared.
    pub compared: Vec<Compared>,
    /// Figures that nobody measured, or that did not suffice.
    pub not_compared: Vec<NetcodeFigure>,
    /// What comes out.
    pub verdict: NetcodeVerdict,
}

/// What comes out of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NetcodeVerdict {
    /// At least one figure changed more than chance does.
    Changed,
    /// None did; small changes may have escaped.
    NoDifferenceShown,
    /// Too few frames of like phase and players.
    TooLittle,
}

/// Corrected p values below this count.
const THRESHOLD: f64 = 0.05;
/// Blocks that a window is cut into, where it is long enough.
const BLOCKS: usize = 16;
/// A block is no shorter, seconds.
const SHORTEST_BLOCK_SECONDS: f64 = 15.0;
/// With fewer blocks a window says nothing.
const FEWEST_BLOCKS: usize = 8;

/// A frame needs so many seconds of like frames in the other window.
const FEWEST_LIKE_SECONDS: f64 = 8.0;
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

/// Compares two windows of one server. Frames without players do not take part.
pub fn compare_netcode(before: &[Frame], after: &[Frame]) -> NetcodeReport {
    let length = |frames: &[&Frame]| frames.iter().map(|frame| frame.seconds).sum::<f64>();
    let (kinds_before, kinds_after) = (Kinds::of(before), Kinds::of(after));
    let matched = |frames: &'_ [Frame], other: &Kinds| -> Vec<usize> {
        (0..frames.len())
            .filter(|index| other.like(&frames[*index]) >= FEWEST_LIKE_SECONDS)
            .collect()
    };
    let matched_before: Vec<&Frame> = matched(before, &kinds_after)
        .into_iter()
        .map(|index| &before[index])
        .collect();
    let matched_after: Vec<&Frame> = matched(after, &kinds_before)
        .into_iter()
        .map(|index| &after[index])
        .collect();
    let (blocks_before, blocks_after) = (blocks(&matched_before), blocks(&matched_after));
    let mut compared = Vec::new();
    let mut not_compared = Vec::new();
    for figure in NetcodeFigure::ALL {
        match compare(figure, &blocks_before, &blocks_after) {
            Some(one) => compared.push(one),
            None => not_compared.push(figure),
        }
    }
    let p_values: Vec<f64> = compared.iter().map(|one| one.change_ratio.p_value).collect();
    for (one, corrected) in compared.iter_mut().zip(holm(&p_values)) {
        one.corrected_p_value = corrected;
        one.significant = corrected < THRESHOLD;
    }
    let verdict = match &compared[..] {
        [] => NetcodeVerdict::TooLittle,
        some if some.iter().any(|one| one.significant) => NetcodeVerdict::Changed,
        _ => NetcodeVerdict::NoDifferenceShown,
    };
    let players = |frames: &[&Frame]| mean_of(frames, |frame| Some((frame.get(Measure::Players)?, 1.0)));
    NetcodeReport {
        before_seconds: (
            length(&before.iter().collect::<Vec<_>>()),
            length(&matched_before),
        ),
        after_seconds: (length(&after.iter().collect::<Vec<_>>()), length(&matched_after)),
        before_players: players(&matched_before),
        after_players: players(&matched_after),
        compared,
        not_compared,
        verdict,
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

fn mean_of(frames: &[&Frame], of: impl Fn(&Frame) -> Option<(f64, f64)>) -> Option<f64> {
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

fn summarise(figure: NetcodeFigure, block: &[&Frame]) -> Option<Block> {
    let value = mean_of(block, |frame| figure.of(frame))?;
    let players = mean_of(block, |frame| Some((frame.get(Measure::Players)?, 1.0)))?;
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

fn compare(figure: NetcodeFigure, before: &[Vec<&Frame>], after: &[Vec<&Frame>]) -> Option<Compared> {
    let summary = |blocks: &[Vec<&Frame>]| -> Vec<Block> {
        blocks
            .iter()
            .filter_map(|block| summarise(figure, block))
            .collect()
    };
    let (first, second) = (summary(before), summary(after));
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
    let flat = |blocks: &[Vec<&Frame>]| -> Vec<Frame> {
        blocks.iter().flatten().map(|frame| (*frame).clone()).collect()
    };
    let mean = |blocks: &[Vec<&Frame>]| {
        let frames = flat(blocks);
        mean_of(&frames.iter().collect::<Vec<_>>(), |frame| figure.of(frame))
    };
    Some(Compared {
        figure,
        before: mean(before)?,
        after: mean(after)?,
        change_ratio: Estimate {
            value: log.value.exp_m1(),
            low: log.low.exp_m1(),
            high: log.high.exp_m1(),
            ..log
        },
        corrected_p_value: 1.0,
        significant: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::simulate::{Made, Noise};

    fn two(seed: u64, before: Made, after: Made) -> NetcodeReport {
        let mut noise = Noise::new(seed);
        let first = before.frames(&mut noise);
        let second = after.frames(&mut noise);
        compare_netcode(&first, &second)
    }

    fn window() -> Made {
        Made {
            frames: 600,
            ..Made::default()
        }
    }

    #[test]
    fn two_windows_of_one_netcode_are_rarely_called_different() {
        let runs = 600;
        let (mut different, mut too_little) = (0, 0);
        for seed in 0..runs {
            let report = two(30_000 + seed, window(), window());
            too_little += u32::from(report.verdict == NetcodeVerdict::TooLittle);
            different += u32::from(report.verdict == NetcodeVerdict::Changed);
        }
        println!("A/A: {different} of {runs} called different, {too_little} too little");
        assert!(different * 100 <= 7 * runs as u32, "{different} of {runs}");
        assert!(
            too_little <= 30,
            "{too_little} of {runs} found too little that is alike"
        );
    }

    #[test]
    fn ten_percent_more_is_found_with_its_size() {
        let runs = 100;
        let (mut found, mut held) = (0, 0);
        for seed in 0..runs {
            let after = Made {
                tx_bytes: 1.1,
                ..window()
            };
            let report = two(40_000 + seed, window(), after);
            let Some(bytes) = report
                .compared
                .iter()
                .find(|one| one.figure == NetcodeFigure::TxBytesPerPlayerSecond)
            else {
                continue;
            };
            found += u32::from(bytes.significant && bytes.change_ratio.value > 0.0);
            held += u32::from(bytes.change_ratio.low <= 0.1 && 0.1 <= bytes.change_ratio.high);
        }
        println!("10 %: found {found}, interval held {held} of {runs}");
        assert!(found * 100 >= 80 * runs as u32, "found {found} of {runs}");
        assert!(
            held * 100 >= 85 * runs as u32,
            "the interval held it in {held} of {runs}"
        );
    }

    #[test]
    fn more_players_alone_are_no_change() {
        let mut noise = Noise::new(9);
        let few = window().frames(&mut noise);
        let mut many = window().frames(&mut noise);
        for frame in &mut many {
            for measure in [
                Measure::Players,
                Measure::TxBytesPerSecond,
                Measure::TxPacketsPerSecond,
                Measure::RxBytesPerSecond,
                Measure::RxPacketsPerSecond,
            ] {
                let value = frame.get(measure).unwrap() * 4.0;
                frame.set(measure, Some(value));
            }
        }
        let report = compare_netcode(&few, &many);
        assert_eq!(
            report.verdict,
            NetcodeVerdict::TooLittle,
            "no frame finds one of like players"
        );
        assert_eq!(report.before_seconds.1, 0.0);
    }

    #[test]
    fn what_is_not_there_is_not_compared() {
        let report = compare_netcode(&[], &[]);
        assert_eq!(report.verdict, NetcodeVerdict::TooLittle);
        assert_eq!(report.not_compared.len(), NetcodeFigure::ALL.len());
        let without = Made {
            rtt: false,
            ..window()
        };
        let report = two(1, without, without);
        assert!(report.not_compared.contains(&NetcodeFigure::RttMs));
        assert!(
            report
                .compared
                .iter()
                .all(|one| one.figure != NetcodeFigure::RttMs)
        );
    }
}
