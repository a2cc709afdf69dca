//! Does the analysis of players recover what was planted, with intervals that hold?

use gsmon_agent::{
    analysis::{
        scaling::{MetricScaling, Players, ScalingMetric, Scope, Shape, analyze_player_scaling},
        series::Series,
        stats::Estimate,
    },
    history::{Frame, Measure},
};

use super::{
    Figure, Strictness, each_seed,
    made::{Cost, Made, Noise},
};

/// One number, and what it should have been.
#[derive(Clone, Copy, Debug)]
struct Held {
    told: Estimate,
    truth: f64,
}

/// One seed.
struct Run {
    shape: Shape,
    held_out_ratio: f64,
    per_player: Held,
    full: Option<Held>,
    base: Option<Held>,
    knee: Option<Held>,
}

fn scaling(frames: &[Frame]) -> Option<MetricScaling> {
    let cpu = ScalingMetric::Stored(Measure::CpuCores);
    let series = [Series { server: "a", frames }];
    let report = analyze_player_scaling(&series, &Scope::All, &[cpu]).ok()?;
    report.metrics.into_iter().next()?.scaling
}

fn run(shape: Shape, seed: u64) -> Option<Run> {
    let cost = Cost::usual(shape);
    let mut frames = Made::usual(cost).frames(&mut Noise::new(seed * 8 + shape as u64));
    // How many fit is another question; without a rate it is not asked.
    for frame in &mut frames {
        frame.set(Measure::TickTargetHz, None);
        frame.set(Measure::TickRateHz, None);
    }
    let scaling = scaling(&frames)?;
    let (low, high) = scaling.per_player_between;
    let error_of = |shape: Shape| {
        scaling
            .tried
            .iter()
            .find(|tried| tried.shape == shape)
            .map_or(f64::NAN, |tried| tried.held_out_error)
    };
    Some(Run {
        shape: scaling.shape,
        held_out_ratio: error_of(scaling.shape) / error_of(shape),
        per_player: Held {
            told: scaling.per_player,
            truth: (cost.at(high) - cost.at(low)) / (high - low),
        },
        full: scaling.per_player_when_full.map(|told| {
            let (low, high) = scaling.when_full_between;
            Held {
                told,
                truth: (cost.at(high) - cost.at(low)) / (high - low),
            }
        }),
        // Elsewhere it is said to be an extrapolation.
        base: scaling.base.filter(|_| scaling.base_observed).map(|told| Held {
            told,
            truth: cost.at(0.0),
        }),
        knee: scaling
            .knee
            .filter(|_| shape == Shape::Piecewise)
            .map(|told| Held {
                told,
                truth: cost.numbers[3],
            }),
    })
}

/// Bias, coverage and width of one number over all seeds.
fn judge(name: &str, held: &[Held], unit: f64, strictness: Strictness, figures: &mut Vec<Figure>) {
    let count = held.len().max(1) as f64;
    let of = |value: &dyn Fn(&Held) -> f64| held.iter().map(value).sum::<f64>() / count;
    let (low, high) = strictness.coverage();
    let bias = of(&|held| (held.told.value - held.truth) / unit_of(held, unit));
    figures.push(Figure::within(
        format!("{name}: bias, relative"),
        bias,
        -0.05,
        0.05,
    ));
    let covered = of(&|held| {
        f64::from(u8::from(
            held.told.low <= held.truth && held.truth <= held.told.high,
        ))
    });
    figures.push(Figure::within(
        format!("{name}: coverage of 95 % intervals"),
        covered,
        low,
        high,
    ));
    let width = of(&|held| (held.told.high - held.told.low) / unit_of(held, unit));
    figures.push(Figure::told(
        format!("{name}: width of the interval, relative"),
        width,
    ));
}

/// Where the truth is zero, a bias is told relative to `unit`.
fn unit_of(held: &Held, unit: f64) -> f64 {
    if held.truth.abs() < 1e-9 {
        unit
    } else {
        held.truth.abs()
    }
}

/// All shapes, so many seeds each.
pub fn shapes(seeds: u64, threads: usize, strictness: Strictness) -> Vec<Figure> {
    let mut figures = Vec::new();
    for shape in Shape::ALL {
        let mut runs: Vec<Run> = each_seed(seeds, threads, |seed| run(shape, seed))
            .into_iter()
            .flatten()
            .collect();
        let name = format!("{shape:?}").to_lowercase();
        let share = |count: usize| count as f64 / seeds.max(1) as f64;
        figures.push(Figure::within(
            format!("{name}: answered"),
            share(runs.len()),
            0.999,
            1.0,
        ));
        for other in Shape::ALL {
            let taken = runs.iter().filter(|run| run.shape == other).count();
            if taken > 0 {
                figures.push(Figure::told(
                    format!("{name}: taken for {other:?}").to_lowercase(),
                    share(taken),
                ));
            }
        }
        let ratio = runs.iter().map(|run| run.held_out_ratio).sum::<f64>() / runs.len().max(1) as f64;
        // A choice that leaves much more than the planted shape does would be a wrong one.
        figures.push(Figure::within(
            format!("{name}: held-out error over that of the planted shape"),
            ratio,
            0.9,
            1.05,
        ));
        let per_player: Vec<Held> = runs.iter().map(|run| run.per_player).collect();
        judge(
            &format!("{name}: per player"),
            &per_player,
            0.01,
            strictness,
            &mut figures,
        );
        let all = |of: fn(&Run) -> Option<Held>| -> Vec<Held> { runs.iter().filter_map(of).collect() };
        judge(
            &format!("{name}: per player when full"),
            &all(|run| run.full),
            0.01,
            strictness,
            &mut figures,
        );
        if shape == Shape::Piecewise {
            judge(
                &format!("{name}: knee"),
                &all(|run| run.knee),
                1.0,
                strictness,
                &mut figures,
            );
        }
        // One server in four is ever nearly empty: of the base about as many are told only if more are made; and at length only.
        if strictness == Strictness::Promised {
            let more = each_seed(3 * seeds, threads, |seed| run(shape, seeds + seed));
            runs.extend(more.into_iter().flatten());
            let bases: Vec<Held> = runs.iter().filter_map(|run| run.base).collect();
            judge(&format!("{name}: base"), &bases, 0.01, strictness, &mut figures);
        }
    }
    figures
}

/// How far the budget was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Near,
    Half,
    Far,
}

/// Capacity, where tick time was seen up to different shares of its budget.
pub fn capacity(seeds: u64, threads: usize, strictness: Strictness) -> Vec<Figure> {
    let mut figures = Vec::new();
    let (least, _) = strictness.coverage();
    for shape in [Shape::Linear, Shape::Quadratic, Shape::Piecewise] {
        for seen in [Seen::Near, Seen::Half, Seen::Far] {
            let cost = Cost::usual(shape);
            let ratio = match seen {
                Seen::Near => 0.85,
                Seen::Half => 0.62,
                Seen::Far => 0.3,
            };
            let made = Made {
                tick_ms_per_core: ratio * 50.0 / cost.at(56.0),
                ..Made::usual(cost)
            };
            // Where tick time reaches 50 ms, by halving.
            let (mut low, mut high) = (0.0, 2_000.0);
            for _ in 0..60 {
                let middle = f64::midpoint(low, high);
                match cost.at(middle) * made.tick_ms_per_core < 50.0 {
                    true => low = middle,
                    false => high = middle,
                }
            }
            let truth = low;
            let answers = each_seed(seeds, threads, |seed| {
                let frames = made.frames(&mut Noise::new(seed * 32 + 7 + shape as u64));
                let series = [Series {
                    server: "a",
                    frames: &frames,
                }];
                let report = analyze_player_scaling(&series, &Scope::All, &[]).ok()?;
                report.capacity.map(|capacity| capacity.players)
            });
            let name = format!("capacity, {shape:?}, seen up to {:.0} %", ratio * 100.0).to_lowercase();
            let (mut off, mut numbers, mut held, mut all) = (0.0, 0.0, 0.0, 0.0);
            for answer in answers.into_iter().flatten() {
                all += 1.0;
                let inside =
                    |low: f64, high: Option<f64>| low <= truth && high.is_none_or(|high| truth <= high);
                held += f64::from(u8::from(match answer {
                    Players::About { players, low, high } => {
                        numbers += 1.0;
                        off += (players / truth - 1.0).abs();
                        inside(low, high)
                    }
                    Players::Between { low, high, .. } => inside(low, high),
                    Players::AtLeast { players } => players <= truth,
                }));
            }
            figures.push(Figure::within(
                format!("{name}: interval or bound holds"),
                held / all,
                least,
                1.0,
            ));
            figures.push(Figure::told(
                format!("{name}: share answered with a number"),
                numbers / all,
            ));
            if seen == Seen::Near && numbers > 0.0 {
                figures.push(Figure::within(
                    format!("{name}: mean distance, relative"),
                    off / numbers,
                    0.0,
                    0.05,
                ));
            }
        }
    }
    figures
}
