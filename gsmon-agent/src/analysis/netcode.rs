//! Did a change of netcode change anything? Two windows of one server, matched for phase and number of players.
//!
//! Each figure is compared as a ratio (`matched`).
//! Figures are many, so that their p values are corrected (Holm): the verdict speaks of those that remain only.

use serde::{Deserialize, Serialize};

use super::{
    matched::Matched,
    stats::{Estimate, holm},
};
use crate::history::{Frame, Measure};

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
/// Compares two windows of one server. Frames without players do not take part.
pub fn compare_netcode(before: &[Frame], after: &[Frame]) -> NetcodeReport {
    let matched = Matched::of(before, after);
    let mut compared = Vec::new();
    let mut not_compared = Vec::new();
    for figure in NetcodeFigure::ALL {
        match matched.compare(|frame| figure.of(frame)) {
            Some(change) => compared.push(Compared {
                figure,
                before: change.before,
                after: change.after,
                change_ratio: change.ratio,
                corrected_p_value: 1.0,
                significant: false,
            }),
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
    NetcodeReport {
        before_seconds: matched.before_seconds,
        after_seconds: matched.after_seconds,
        before_players: matched.before_players,
        after_players: matched.after_players,
        compared,
        not_compared,
        verdict,
    }
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
