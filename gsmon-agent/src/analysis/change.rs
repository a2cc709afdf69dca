//! Did an update of the server (a plugin, an executable, a setting) change what it costs? Two windows, matched for phase and
//! number of players; figures are many, so that their p values are corrected (Holm).

use serde::{Deserialize, Serialize};

use super::{
    matched::Matched,
    stats::{Estimate, holm},
};
use crate::history::{Frame, Measure};

/// Figures that an update may change.
pub const FIGURES: [Measure; 9] = [
    Measure::CpuCores,
    Measure::TickP50Ms,
    Measure::TickP99Ms,
    Measure::TickRateHz,
    Measure::RssBytes,
    Measure::TxBytesPerSecond,
    Measure::RxBytesPerSecond,
    Measure::DiskWriteBytesPerSecond,
    Measure::MinorFaultsPerSecond,
];

/// One figure, before and after.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Changed {
    /// Which.
    pub measure: Measure,
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
pub struct ChangeReport {
    /// Seconds of the window before, and those of them that found a match.
    pub before_seconds: (f64, f64),
    /// Seconds of the window after, and those of them that found a match.
    pub after_seconds: (f64, f64),
    /// Players before, mean of the matched frames.
    pub before_players: Option<f64>,
    /// Players after.
    pub after_players: Option<f64>,
    /// Figures that could be compared; none where too few frames of like phase and players are there.
    pub compared: Vec<Changed>,
    /// Figures that nobody measured, or that did not suffice.
    pub not_compared: Vec<Measure>,
}

const THRESHOLD: f64 = 0.05;

/// Compares two windows of one server. Frames without players do not take part.
pub fn compare_change(before: &[Frame], after: &[Frame]) -> ChangeReport {
    let matched = Matched::of(before, after);
    let mut compared = Vec::new();
    let mut not_compared = Vec::new();
    for measure in FIGURES {
        match matched.compare(|frame| Some((frame.get(measure)?, 1.0))) {
            Some(change) => compared.push(Changed {
                measure,
                before: change.before,
                after: change.after,
                change_ratio: change.ratio,
                corrected_p_value: 1.0,
                significant: false,
            }),
            None => not_compared.push(measure),
        }
    }
    let p_values: Vec<f64> = compared.iter().map(|one| one.change_ratio.p_value).collect();
    for (one, corrected) in compared.iter_mut().zip(holm(&p_values)) {
        one.corrected_p_value = corrected;
        one.significant = corrected < THRESHOLD;
    }
    ChangeReport {
        before_seconds: matched.before_seconds,
        after_seconds: matched.after_seconds,
        before_players: matched.before_players,
        after_players: matched.after_players,
        compared,
        not_compared,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::simulate::{Made, Noise};

    fn two(seed: u64, after: Made) -> ChangeReport {
        let mut noise = Noise::new(seed);
        let before = Made::default().frames(&mut noise);
        compare_change(&before, &after.frames(&mut noise))
    }

    #[test]
    fn a_costlier_update_shows_with_its_size_and_only_where_it_costs() {
        let costlier = Made {
            cpu_per_player: 0.014,
            ..Made::default()
        };
        let mut found = 0;
        for seed in 0..10 {
            let report = two(seed, costlier);
            let of = |measure| report.compared.iter().find(|one| one.measure == measure).unwrap();
            let cpu = of(Measure::CpuCores);
            // 0.05 + 0.014 n over 0.05 + 0.01 n at about 20 players.
            assert!((cpu.change_ratio.value - 0.32).abs() < 0.1, "{cpu:?}");
            found += u32::from(cpu.significant && !of(Measure::TxBytesPerSecond).significant);
        }
        assert!(found >= 8, "{found} of 10");
    }

    #[test]
    fn an_update_that_changes_nothing_is_rarely_blamed() {
        let blamed = (0..30)
            .filter(|seed| {
                two(100 + seed, Made::default())
                    .compared
                    .iter()
                    .any(|one| one.significant)
            })
            .count();
        assert!(blamed <= 4, "{blamed} of 30");
    }

    #[test]
    fn windows_without_likes_are_not_compared() {
        assert!(compare_change(&[], &[]).compared.is_empty());
    }
}
