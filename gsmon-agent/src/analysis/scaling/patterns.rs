//! Ways in which a server is used, where nobody says which mode is played: stretches of time whose figures per player are
//! alike. A mixture of normal distributions with as many parts as the data bear out (BIC).

use serde::{Deserialize, Serialize};

use super::{ScalingRefusal, rows::playing};
use crate::{
    analysis::stats::{
        regress::Design,
        robust::{effective_size, median, quantile, spread},
    },
    history::{Frame, Measure},
};

/// A way of use.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pattern {
    /// Share of time.
    pub share_ratio: f64,
    /// Median number of players.
    pub players: f64,
    /// Middle of each figure per player, by the name of the figure.
    pub per_player: Vec<(String, f64)>,
    /// When, ends of the stretches, the newest 32.
    pub stretches_unix_ms: Vec<(i64, i64)>,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PatternsReport {
    /// Patterns, the most frequent first; one when nothing can be told apart.
    pub patterns: Vec<Pattern>,
    /// Windows of time behind them.
    pub windows: usize,
    /// Length of a window, seconds.
    pub window_seconds: f64,
}

/// Figures that tell ways of use apart.
const FIGURES: [Measure; 5] = [
    Measure::CpuCores,
    Measure::TxBytesPerSecond,
    Measure::RxPacketsPerSecond,
    Measure::TickP50Ms,
    Measure::TxPacketsPerSecond,
];
/// Patterns at most.
const MOST: usize = 4;
/// Windows at least.
const FEWEST: usize = 24;
/// Rounds of expectation and maximisation.
const ROUNDS: usize = 60;
/// BIC must fall by so much for another part.
const CLEARLY: f64 = 20.0;

struct Window {
    from_unix_ms: i64,
    to_unix_ms: i64,
    players: f64,
    figures: Vec<f64>,
}

/// Looks for ways of use.
///
/// # Errors
/// When players or figures are not known, or the range is too short.
pub fn usage_patterns(frames: &[Frame]) -> Result<PatternsReport, ScalingRefusal> {
    if frames.is_empty() {
        return Err(ScalingRefusal::Empty);
    }
    let known: Vec<Measure> = FIGURES
        .into_iter()
        .filter(|measure| {
            let there = frames
                .iter()
                .filter(|frame| frame.get(*measure).is_some())
                .count();
            2 * there > frames.len()
        })
        .collect();
    if !frames.iter().any(|frame| frame.get(Measure::Players).is_some()) || known.is_empty() {
        return Err(ScalingRefusal::NoPlayers);
    }
    let whole: f64 = frames.iter().map(|frame| frame.seconds).sum();
    let length = (whole / 240.0).max(30.0);
    let windows = windows(frames, &known, length);
    if windows.len() < FEWEST {
        return Err(ScalingRefusal::TooLittle {
            rows: windows.len(),
            seconds: whole,
            needed: FEWEST,
        });
    }
    let points = standardised(&windows);
    let labels = cluster(&points);
    let count = labels.iter().max().map_or(1, |most| most + 1);
    let mut patterns: Vec<Pattern> = (0..count)
        .map(|label| pattern(&windows, &labels, label, &known))
        .filter(|pattern| pattern.share_ratio > 0.0)
        .collect();
    patterns.sort_by(|a, b| b.share_ratio.total_cmp(&a.share_ratio));
    Ok(PatternsReport {
        patterns,
        windows: windows.len(),
        window_seconds: length,
    })
}

fn windows(frames: &[Frame], known: &[Measure], length: f64) -> Vec<Window> {
    let playing = playing(frames);
    let mut windows = Vec::new();
    let mut begun: Vec<&Frame> = Vec::new();
    let mut filled = 0.0;
    for frame in frames {
        if frame.begins_anew || !playing(frame) {
            begun.clear();
            filled = 0.0;
        }
        if !playing(frame) || frame.get(Measure::Players).is_none_or(|players| players < 1.0) {
            continue;
        }
        begun.push(frame);
        filled += frame.seconds;
        if filled < 0.95 * length {
            continue;
        }
        let middle = |measure: Measure| {
            let values: Vec<f64> = begun.iter().filter_map(|frame| frame.get(measure)).collect();
            median(&values)
        };
        let players = middle(Measure::Players);
        let figures: Option<Vec<f64>> = known
            .iter()
            // Zero has no logarithm; a server that sends nothing shows by its smallest value.
            .map(|measure| Some((middle(*measure)? / players?.max(1.0)).max(1e-9).ln()))
            .collect();
        if let (Some(players), Some(figures)) = (players, figures) {
            windows.push(Window {
                from_unix_ms: begun[0].unix_ms - (begun[0].seconds * 1e3) as i64,
                to_unix_ms: frame.unix_ms,
                players,
                figures,
            });
        }
        begun.clear();
        filled = 0.0;
    }
    windows
}

/// Each figure with what players explain taken away (a base cost is shared by more of them), in standard deviations.
fn standardised(windows: &[Window]) -> Vec<Vec<f64>> {
    let width = windows[0].figures.len();
    let x: Vec<f64> = windows.iter().map(|window| window.players.ln()).collect();
    let mut columns = Vec::with_capacity(width);
    for column in 0..width {
        let y: Vec<f64> = windows.iter().map(|window| window.figures[column]).collect();
        let rest = without_players(&x, &y);
        let middle = median(&rest).unwrap_or(0.0);
        let wide = quantile(&rest, 0.9).unwrap_or(0.0) - quantile(&rest, 0.1).unwrap_or(0.0);
        let scale = spread(&rest).unwrap_or(0.0).max(wide / 4.0).max(1e-3);
        // Beyond four standard deviations further is no more telling: outliers are no way of use.
        columns.push(
            rest.iter()
                .map(|rest| ((rest - middle) / scale).clamp(-4.0, 4.0))
                .collect::<Vec<f64>>(),
        );
    }
    (0..windows.len())
        .map(|row| columns.iter().map(|column| column[row]).collect())
        .collect()
}

/// What a curve of the logarithm of players leaves.
fn without_players(x: &[f64], y: &[f64]) -> Vec<f64> {
    let fitted = [2usize, 1].into_iter().find_map(|curve| {
        let mut design = Design::new(curve + 1);
        for x in x {
            match curve {
                2 => design.push(&[*x, x * x]),
                _ => design.push(&[*x]),
            }
        }
        design.fit_independent(y)
    });
    fitted.map_or_else(|| y.to_vec(), |fit| fit.residuals)
}

/// A part of the mixture.
#[derive(Clone)]
struct Part {
    share: f64,
    centre: Vec<f64>,
    variance: Vec<f64>,
}

/// A label for each point.
fn cluster(points: &[Vec<f64>]) -> Vec<usize> {
    // Neighbours in time resemble each other: so many windows are as good as fewer independent ones.
    let fewest = (0..points[0].len())
        .map(|column| effective_size(&points.iter().map(|point| point[column]).collect::<Vec<f64>>()))
        .fold(f64::INFINITY, f64::min);
    let independent = (fewest / points.len() as f64).clamp(0.25, 1.0);
    let mut best: Option<(f64, Vec<usize>)> = None;
    for parts in 1..=MOST {
        let Some((likelihood, labels)) = mixture(points, parts) else {
            continue;
        };
        let width = points[0].len();
        let parameters = (parts * (2 * width + 1) - 1) as f64;
        let bic = parameters * (points.len() as f64).ln() - 2.0 * likelihood * independent;
        if best.as_ref().is_none_or(|(known, _)| bic < known - CLEARLY) {
            best = Some((bic, labels));
        }
    }
    best.map_or_else(|| vec![0; points.len()], |(_, labels)| labels)
}

fn mixture(points: &[Vec<f64>], parts: usize) -> Option<(f64, Vec<usize>)> {
    let width = points[0].len();
    // Each part begins at the point that is furthest from those before it, the first at the middle.
    let mut centres: Vec<Vec<f64>> = vec![vec![0.0; width]];
    if parts > 1 {
        centres.clear();
        let far = |centres: &[Vec<f64>]| {
            points.iter().max_by(|a, b| {
                let near = |p: &[f64]| {
                    centres
                        .iter()
                        .map(|c| distance(c, p))
                        .fold(f64::INFINITY, f64::min)
                };
                near(a).total_cmp(&near(b))
            })
        };
        centres.push(far(&[vec![0.0; width]])?.clone());
        while centres.len() < parts {
            let next = far(&centres)?.clone();
            centres.push(next);
        }
    }
    let mut mix: Vec<Part> = centres
        .into_iter()
        .map(|centre| Part {
            share: 1.0 / parts as f64,
            centre,
            variance: vec![1.0; width],
        })
        .collect();
    let mut likelihood = f64::NEG_INFINITY;
    let mut weights = vec![vec![0.0; parts]; points.len()];
    for _ in 0..ROUNDS {
        let mut now = 0.0;
        for (point, weights) in points.iter().zip(&mut weights) {
            let logs: Vec<f64> = mix
                .iter()
                .map(|part| part.share.max(1e-12).ln() + density(part, point))
                .collect();
            let top = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = logs.iter().map(|log| (log - top).exp()).sum();
            now += top + sum.ln();
            weights
                .iter_mut()
                .zip(&logs)
                .for_each(|(weight, log)| *weight = (log - top).exp() / sum);
        }
        for (index, part) in mix.iter_mut().enumerate() {
            let all: f64 = weights.iter().map(|weights| weights[index]).sum();
            part.share = all / points.len() as f64;
            for column in 0..width {
                let of = |value: &dyn Fn(&[f64]) -> f64| {
                    let sum: f64 = points
                        .iter()
                        .zip(&weights)
                        .map(|(p, w)| w[index] * value(p))
                        .sum();
                    sum / all.max(1e-9)
                };
                let centre = of(&|p| p[column]);
                part.centre[column] = centre;
                // No part may shrink to a point.
                part.variance[column] = of(&|p| (p[column] - centre).powi(2)).max(0.05);
            }
        }
        let done = (now - likelihood).abs() < 1e-6 * now.abs().max(1.0);
        likelihood = now;
        if done {
            break;
        }
    }
    // A part of a few windows is no way of use.
    if mix.iter().any(|part| part.share * (points.len() as f64) < 5.0) {
        return None;
    }
    let labels = weights
        .iter()
        .map(|weights| {
            let best = weights.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
            best.map_or(0, |(index, _)| index)
        })
        .collect();
    likelihood.is_finite().then_some((likelihood, labels))
}

fn distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum()
}

fn density(part: &Part, point: &[f64]) -> f64 {
    let each = part.centre.iter().zip(&part.variance).zip(point);
    each.map(|((centre, variance), x)| {
        -0.5 * ((x - centre).powi(2) / variance + (std::f64::consts::TAU * variance).ln())
    })
    .sum()
}

fn pattern(windows: &[Window], labels: &[usize], label: usize, known: &[Measure]) -> Pattern {
    let own: Vec<&Window> = windows
        .iter()
        .zip(labels)
        .filter(|(_, of)| **of == label)
        .map(|(window, _)| window)
        .collect();
    let mut stretches: Vec<(i64, i64)> = Vec::new();
    for window in &own {
        match stretches.last_mut() {
            Some(last) if last.1 >= window.from_unix_ms - 2_000 => last.1 = window.to_unix_ms,
            _ => stretches.push((window.from_unix_ms, window.to_unix_ms)),
        }
    }
    let newest = stretches.split_off(stretches.len().saturating_sub(32));
    let middle = |of: &dyn Fn(&Window) -> f64| {
        let values: Vec<f64> = own.iter().map(|window| of(window)).collect();
        median(&values).unwrap_or(f64::NAN)
    };
    Pattern {
        share_ratio: own.len() as f64 / windows.len() as f64,
        players: middle(&|window| window.players),
        per_player: known
            .iter()
            .enumerate()
            .map(|(column, measure)| {
                (
                    measure.name().to_owned(),
                    middle(&|window| window.figures[column]).exp(),
                )
            })
            .collect(),
        stretches_unix_ms: newest,
    }
}
