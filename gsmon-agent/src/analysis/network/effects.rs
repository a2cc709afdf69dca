//! Which of round trip, jitter, loss and packet rate goes with CPU and tick time, at which delay, and by how much, once the
//! number of players and the phase are accounted for.

use serde::{Deserialize, Serialize};

use crate::{
    analysis::{
        series::runs,
        stats::{Estimate, holm, regress::Design, relate::partial_correlation},
    },
    games::event::Phase,
    history::{Frame, Measure},
};

/// A correlation at one delay.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LagCorrelation {
    /// The network comes so much earlier.
    pub lag_seconds: f64,
    /// Partial correlation, players and phase taken away.
    pub correlation: Estimate,
}

/// What goes with what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Effect {
    /// Figure of the network.
    pub of: Measure,
    /// Figure of the server.
    pub on: Measure,
    /// At each delay.
    pub correlations: Vec<LagCorrelation>,
    /// The delay at which they go together most.
    pub strongest_lag_seconds: f64,
    /// p value there, corrected for all pairs and delays.
    pub corrected_p_value: f64,
    /// More of `of` by `step` goes with so much more of `on`, in its own unit, at that delay.
    pub change_per_step: Option<Estimate>,
    /// The same relative to the mean of `on`.
    pub change_ratio_per_step: Option<Estimate>,
    /// In the unit of `of`.
    pub step: f64,
    /// For an administrator.
    pub words: String,
}

/// Delays, in frames.
const LAGS: [usize; 4] = [0, 1, 2, 5];
/// Fewer frames tell nothing.
const FEWEST: usize = 60;
/// What is said to go together has a corrected p value below this.
const THRESHOLD: f64 = 0.05;

/// How much more of a figure an effect is told for.
#[derive(Clone, Copy)]
enum Step {
    /// In its own unit.
    By(f64),
    /// Of its mean.
    Share(f64),
}

/// What of the network is looked at: figure, step, and how to say it.
const OF: [(Measure, Step, &str); 5] = [
    (
        Measure::RttP50Ms,
        Step::By(10.0),
        "10 ms more of median round trip",
    ),
    (Measure::JitterMs, Step::By(1.0), "1 ms more of jitter"),
    (
        Measure::LossUpRatio,
        Step::By(0.01),
        "1 percentage point more loss on the way to the server",
    ),
    (
        Measure::LossDownRatio,
        Step::By(0.01),
        "1 percentage point more loss on the way to players",
    ),
    (
        Measure::RxPacketsPerSecond,
        Step::Share(0.1),
        "10 % more packets from clients",
    ),
];
const ON: [(Measure, &str); 2] = [(Measure::CpuCores, "CPU"), (Measure::TickP50Ms, "tick time")];

/// A pair at one delay.
#[derive(Clone, Copy)]
struct Tried {
    lag_seconds: f64,
    correlation: Estimate,
    /// More of the one per unit of the other, and the mean that it is relative to.
    slope: Option<(Estimate, f64)>,
    /// Mean of the network's figure.
    mean_of: f64,
}

/// A pair at all delays.
struct Pair {
    of: (Measure, Step, &'static str),
    on: (Measure, &'static str),
    tried: Vec<Tried>,
}

/// All pairs that are measured.
pub(super) fn effects(frames: &[Frame]) -> Vec<Effect> {
    let runs = alike(frames);
    let mut pairs = Vec::new();
    for of in OF {
        for on in ON {
            let tried: Vec<Tried> = LAGS
                .iter()
                .filter_map(|lag| at_lag(&runs, of.0, on.0, *lag))
                .collect();
            if !tried.is_empty() {
                pairs.push(Pair { of, on, tried });
            }
        }
    }
    let p_values: Vec<f64> = pairs
        .iter()
        .flat_map(|pair| pair.tried.iter().map(|tried| tried.correlation.p_value))
        .collect();
    let mut corrected = holm(&p_values).into_iter();
    pairs
        .iter()
        .filter_map(|pair| {
            let p_values: Vec<f64> = corrected.by_ref().take(pair.tried.len()).collect();
            effect(pair, &p_values)
        })
        .collect()
}

fn effect(pair: &Pair, corrected: &[f64]) -> Option<Effect> {
    let (of, step, more) = pair.of;
    let (on, name) = pair.on;
    let strength = |tried: &Tried| tried.correlation.value.abs();
    let (best, corrected_p_value) = pair
        .tried
        .iter()
        .zip(corrected)
        .max_by(|a, b| strength(a.0).total_cmp(&strength(b.0)))?;
    let step = match step {
        Step::By(step) => step,
        Step::Share(share) => share * best.mean_of,
    };
    let ratio = best
        .slope
        .filter(|(_, mean)| *mean > 0.0)
        .map(|(slope, mean)| slope.scaled(step / mean));
    Some(Effect {
        of,
        on,
        correlations: pair
            .tried
            .iter()
            .map(|tried| LagCorrelation {
                lag_seconds: tried.lag_seconds,
                correlation: tried.correlation,
            })
            .collect(),
        strongest_lag_seconds: best.lag_seconds,
        corrected_p_value: *corrected_p_value,
        change_per_step: best.slope.map(|(slope, _)| slope.scaled(step)),
        change_ratio_per_step: ratio,
        step,
        words: words(
            more,
            name,
            best.lag_seconds,
            &best.correlation,
            ratio,
            *corrected_p_value,
        ),
    })
}

fn words(more: &str, name: &str, lag: f64, r: &Estimate, ratio: Option<Estimate>, p: f64) -> String {
    let Some(ratio) = ratio.filter(|ratio| p < THRESHOLD && ratio.excludes_zero()) else {
        return format!(
            "no link shown between {more} and {name} (r {:.2}, {:.2} to {:.2})",
            r.value, r.low, r.high
        );
    };
    let later = match lag > 0.0 {
        true => format!(", {lag:.0} s later"),
        false => String::new(),
    };
    format!(
        "{more} goes with {:+.1} % {name}{later} (95 %: {:+.1} to {:+.1}), players held equal",
        ratio.value * 100.0,
        ratio.low * 100.0,
        ratio.high * 100.0
    )
}

/// The runs of the frame length that most frames have: a delay of one frame must mean one thing.
fn alike(frames: &[Frame]) -> Vec<&[Frame]> {
    let runs = runs(frames);
    let length =
        |run: &&[Frame]| run.iter().map(|frame| frame.seconds).sum::<f64>() / run.len().max(1) as f64;
    let near = |a: f64, b: f64| (a / b.max(1e-9)).ln().abs() < 0.7;
    let most = runs
        .iter()
        .map(|run| {
            let own = length(run);
            let like: usize = runs
                .iter()
                .filter(|run| near(length(run), own))
                .map(|run| run.len())
                .sum();
            (like, own)
        })
        .max_by_key(|(like, _)| *like);
    match most {
        Some((_, own)) => runs.into_iter().filter(|run| near(length(run), own)).collect(),
        None => Vec::new(),
    }
}

/// Correlation, and slope with the mean of `on`, where the network comes `lag` frames earlier.
fn at_lag(runs: &[&[Frame]], of: Measure, on: Measure, lag: usize) -> Option<Tried> {
    let (mut x, mut y, mut controls) = (Vec::new(), Vec::new(), Vec::new());
    let mut seconds = 0.0;
    for run in runs {
        let settled = settled(run);
        for index in (lag..run.len()).filter(|index| settled[*index]) {
            let (cause, effect) = (&run[index - lag], &run[index]);
            if let (Some(of), Some(on), Some(players)) =
                (cause.get(of), effect.get(on), effect.get(Measure::Players))
            {
                x.push(of);
                y.push(on);
                let active = f64::from(u8::from(effect.phase == Some(Phase::Active)));
                controls.push(vec![players, active]);
                seconds += effect.seconds;
            }
        }
    }
    if x.len() < FEWEST {
        return None;
    }
    let controls = moving(&controls);
    let correlation = partial_correlation(&x, &y, &controls)?;
    let mut design = Design::new(controls.first().map_or(0, Vec::len) + 2);
    for (x, controls) in x.iter().zip(&controls) {
        let mut row = vec![*x];
        row.extend(controls);
        design.push(&row);
    }
    let mean = y.iter().sum::<f64>() / y.len() as f64;
    let slope = design
        .fit(&y)
        .and_then(|fit| fit.estimate(1))
        .map(|slope| (slope, mean));
    Some(Tried {
        lag_seconds: seconds / x.len() as f64 * lag as f64,
        correlation,
        slope,
        mean_of: x.iter().sum::<f64>() / x.len() as f64,
    })
}

/// Frames on either side over which the number of players is compared.
const NEAR: usize = 5;
/// It counts as settled when it differs by no more.
const SETTLED_RATIO: f64 = 0.1;

/// Frames in which the number of players is settled. A player costs packets at once and is counted seconds later, which
/// would look as if packets and CPU went together at equal players.
fn settled(run: &[Frame]) -> Vec<bool> {
    let players = |index: usize| run[index].get(Measure::Players);
    (0..run.len())
        .map(|index| {
            let (Some(before), Some(after)) = (
                players(index.saturating_sub(NEAR)),
                players((index + NEAR).min(run.len() - 1)),
            ) else {
                return false;
            };
            (after - before).abs() <= SETTLED_RATIO * before.max(1.0)
        })
        .collect()
}

/// Controls without the columns that never change.
fn moving(rows: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let columns: Vec<usize> = (0..rows.first().map_or(0, Vec::len))
        .filter(|column| rows.iter().any(|row| row[*column] != rows[0][*column]))
        .collect();
    rows.iter()
        .map(|row| columns.iter().map(|column| row[*column]).collect())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::simulate::{Made, Noise, add};

    fn find(effects: &[Effect], of: Measure, on: Measure) -> &Effect {
        effects
            .iter()
            .find(|effect| effect.of == of && effect.on == on)
            .unwrap()
    }

    #[test]
    fn a_planted_effect_is_found_at_its_delay_with_its_size() {
        let mut frames = Made {
            cpu_per_player: 0.01,
            phase_changes: 0.0,
            ..Made::default()
        }
        .frames(&mut Noise::new(11));
        // Each ms of jitter costs 10 ms of CPU, two seconds later.
        let jitter: Vec<f64> = frames
            .iter()
            .map(|frame| frame.get(Measure::JitterMs).unwrap())
            .collect();
        for index in 2..frames.len() {
            add(&mut frames[index], Measure::CpuCores, 0.01 * jitter[index - 2]);
        }
        let effects = effects(&frames);
        let effect = find(&effects, Measure::JitterMs, Measure::CpuCores);
        assert_eq!(effect.strongest_lag_seconds, 2.0);
        let change = effect.change_per_step.unwrap();
        assert!((change.value - 0.01).abs() < 0.003, "{change:?}");
        assert!(
            effect.corrected_p_value < 0.05 && effect.words.contains("goes with +"),
            "{}",
            effect.words
        );
    }

    #[test]
    fn where_nothing_was_planted_hardly_anything_is_said() {
        let mut said = 0;
        let runs = 24;
        for seed in 0..runs {
            let made = Made {
                frames: 600,
                ..Made::default()
            };
            let frames = made.frames(&mut Noise::new(600 + seed));
            said +=
                u64::from(effects(&frames).iter().any(|effect| {
                    effect.of != Measure::RxPacketsPerSecond && effect.corrected_p_value < 0.05
                }));
        }
        assert!(said <= 3, "{said} of {runs}");
    }

    #[test]
    fn players_alone_make_no_effect_of_their_packets() {
        let mut said = 0;
        for seed in 0..20 {
            let made = Made {
                frames: 600,
                phase_changes: 0.0,
                ..Made::default()
            };
            let frames = made.frames(&mut Noise::new(900 + seed));
            let effects = effects(&frames);
            let effect = find(&effects, Measure::RxPacketsPerSecond, Measure::CpuCores);
            said += u32::from(effect.corrected_p_value < 0.05);
        }
        assert!(
            said <= 2,
            "{said} of 20: packets grow with players, and so does CPU"
        );
    }
}
