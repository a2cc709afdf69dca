//! Bots against people: what one more of each costs, by regression whose costs cannot be negative, and what a bot in the
//! place of a person saves or costs.

use serde::{Deserialize, Serialize};

use super::{ScalingMetric, ScalingRefusal, rows::playing};
use crate::{
    analysis::stats::{
        Estimate,
        regress::{Design, Fit},
        robust::{median, spread},
    },
    history::{Frame, Measure},
};

/// The answer for one metric.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BotsReport {
    /// Which.
    pub metric: ScalingMetric,
    /// What one more person adds; absent where people and bots cannot be told apart.
    pub per_human: Option<Estimate>,
    /// What one more bot adds.
    pub per_bot: Option<Estimate>,
    /// What a bot in the place of a person adds; below zero it saves.
    pub bot_for_human: Option<Estimate>,
    /// Correlation of people and bots over time.
    pub correlation: f64,
    /// What is to be known before these numbers are used.
    pub warnings: Vec<String>,
    /// Rows behind it.
    pub rows: usize,
}

/// Correlation from which on people and bots cannot be told apart.
const COLLINEAR: f64 = 0.97;
/// Correlation from which on it is warned.
const NEARLY: f64 = 0.8;
const FEWEST_ROWS: usize = 30;
const MOST_ROWS: f64 = 900.0;
const OUTLIER_SIGMAS: f64 = 4.0;

/// One row: people, bots, figure.
type Row = (f64, f64, f64);

/// Marginal costs of people and bots.
///
/// # Errors
/// When kinds of players or the figure are not known, or neither changes.
pub fn cost_of_bots(frames: &[Frame], metric: ScalingMetric) -> Result<BotsReport, ScalingRefusal> {
    if frames.is_empty() {
        return Err(ScalingRefusal::Empty);
    }
    let ScalingMetric::Stored(measure) = metric else {
        return Err(ScalingRefusal::NotMeasured { metric });
    };
    if !frames.iter().any(|frame| frame.get(measure).is_some()) {
        return Err(ScalingRefusal::NotMeasured { metric });
    }
    if !frames.iter().any(|frame| frame.get(Measure::Bots).is_some()) {
        return Err(ScalingRefusal::NoBots);
    }
    let rows = rows(frames, measure);
    if rows.len() < FEWEST_ROWS {
        return Err(ScalingRefusal::TooLittle {
            rows: rows.len(),
            seconds: frames.iter().map(|frame| frame.seconds).sum(),
            needed: FEWEST_ROWS,
        });
    }
    let moves = |of: fn(&Row) -> f64| {
        let values: Vec<f64> = rows.iter().map(of).collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / values.len() as f64 > 0.05
    };
    let (humans_move, bots_move) = (moves(|row| row.0), moves(|row| row.1));
    if !humans_move && !bots_move {
        let players: Vec<f64> = rows.iter().map(|row| row.0 + row.1).collect();
        return Err(ScalingRefusal::ConstantPlayers {
            players: median(&players).unwrap_or(0.0),
        });
    }
    let mut report = BotsReport {
        metric,
        per_human: None,
        per_bot: None,
        bot_for_human: None,
        correlation: correlation(&rows),
        warnings: Vec::new(),
        rows: rows.len(),
    };
    let people_only: &[Column] = &[|row| row.0];
    let bots_only: &[Column] = &[|row| row.1];
    if !bots_move || !humans_move {
        let (which, columns) = match humans_move {
            true => ("bots", people_only),
            false => ("people", bots_only),
        };
        report.warnings.push(format!(
            "the number of {which} did not change: what one of them costs cannot be told"
        ));
        let cost = robust(&rows, columns)
            .and_then(|fit| fit.estimate(1))
            .map(positive);
        match humans_move {
            true => report.per_human = cost,
            false => report.per_bot = cost,
        }
        return Ok(report);
    }
    if report.correlation.abs() >= COLLINEAR {
        let together = report.correlation > 0.0;
        report.warnings.push(format!(
            "people and bots {}: their costs cannot be told apart (correlation {:.3})",
            if together {
                "came and went together"
            } else {
                "took each other's places all the time"
            },
            report.correlation
        ));
        // Where bots fill what people leave, the difference of the two is what the figure moves by.
        if !together && let Some(fit) = robust(&rows, people_only) {
            report.bot_for_human = fit.estimate(1).map(|estimate| estimate.scaled(-1.0));
        }
        return Ok(report);
    }
    if report.correlation.abs() >= NEARLY {
        report.warnings.push(format!(
            "people and bots {} nearly always (correlation {:.2}): the two costs are known together better than apart",
            if report.correlation > 0.0 { "came and went together" } else { "took each other's places" },
            report.correlation
        ));
    }
    let fit = robust(&rows, &[|row| row.0, |row| row.1]).ok_or(ScalingRefusal::NoFit { metric })?;
    let (mut human, mut bot) = (fit.estimate(1), fit.estimate(2));
    // Non-negative least squares of two columns: whichever is below zero is none, and the other is fitted alone.
    let below = |estimate: Option<Estimate>| estimate.is_some_and(|estimate| estimate.value < 0.0);
    if below(human) && !below(bot) {
        bot = robust(&rows, bots_only).and_then(|fit| fit.estimate(1));
    } else if below(bot) && !below(human) {
        human = robust(&rows, people_only).and_then(|fit| fit.estimate(1));
    }
    for (which, estimate) in [("people", human), ("bots", bot)] {
        if below(estimate) {
            report
                .warnings
                .push(format!("no cost of {which} can be seen: it is told as zero"));
        }
    }
    report.per_human = human.map(positive);
    report.per_bot = bot.map(positive);
    // y = base + human (humans + bots) + (bot - human) bots.
    let swapped = robust(&rows, &[|row| row.0 + row.1, |row| row.1]);
    report.bot_for_human = swapped.and_then(|fit| fit.estimate(2));
    Ok(report)
}

/// A cost is not below zero.
fn positive(estimate: Estimate) -> Estimate {
    Estimate {
        value: estimate.value.max(0.0),
        low: estimate.low.max(0.0),
        high: estimate.high.max(0.0),
        ..estimate
    }
}

fn rows(frames: &[Frame], measure: Measure) -> Vec<Row> {
    let playing = playing(frames);
    let whole: f64 = frames.iter().map(|frame| frame.seconds).sum();
    let longest = frames.iter().map(|frame| frame.seconds).fold(0.0, f64::max);
    let block = (whole / MOST_ROWS).max(longest.min(60.0));
    let mut rows = Vec::new();
    let (mut seconds, mut sums) = (0.0, (0.0, 0.0, 0.0));
    for frame in frames
        .iter()
        .filter(|frame| playing(frame) && frame.seconds > 0.0)
    {
        let (Some(players), Some(bots), Some(value)) = (
            frame.get(Measure::Players),
            frame.get(Measure::Bots),
            frame.get(measure),
        ) else {
            continue;
        };
        if frame.begins_anew {
            (seconds, sums) = (0.0, (0.0, 0.0, 0.0));
        }
        // Players of whom nobody says what they are count as people.
        let humans = (players - bots).max(0.0);
        seconds += frame.seconds;
        sums.0 += humans * frame.seconds;
        sums.1 += bots * frame.seconds;
        sums.2 += value * frame.seconds;
        if seconds >= 0.9 * block {
            let row = (sums.0 / seconds, sums.1 / seconds, sums.2 / seconds);
            if row.0.is_finite() && row.1.is_finite() && row.2.is_finite() {
                rows.push(row);
            }
            (seconds, sums) = (0.0, (0.0, 0.0, 0.0));
        }
    }
    rows
}

type Column = fn(&Row) -> f64;

/// Least squares twice: what is far off the first time is left out the second.
fn robust(rows: &[Row], columns: &[Column]) -> Option<Fit> {
    let once = |rows: &[&Row]| {
        let mut design = Design::new(columns.len() + 1);
        for row in rows {
            let figures: Vec<f64> = columns.iter().map(|of| of(row)).collect();
            design.push(&figures);
        }
        let y: Vec<f64> = rows.iter().map(|row| row.2).collect();
        design.fit(&y)
    };
    let all: Vec<&Row> = rows.iter().collect();
    let first = once(&all)?;
    let limit = OUTLIER_SIGMAS * spread(&first.residuals)?;
    let kept: Vec<&Row> = all
        .iter()
        .zip(&first.residuals)
        .filter(|(_, off)| limit <= 0.0 || off.abs() <= limit)
        .map(|(row, _)| *row)
        .collect();
    once(&kept)
}

fn correlation(rows: &[Row]) -> f64 {
    let count = rows.len().max(1) as f64;
    let mean = |of: Column| rows.iter().map(of).sum::<f64>() / count;
    let (a, b) = (mean(|row| row.0), mean(|row| row.1));
    let (mut aa, mut bb, mut ab) = (0.0, 0.0, 0.0);
    for row in rows {
        aa += (row.0 - a).powi(2);
        bb += (row.1 - b).powi(2);
        ab += (row.0 - a) * (row.1 - b);
    }
    if aa > 0.0 && bb > 0.0 {
        ab / (aa * bb).sqrt()
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::simulate::{Noise, Slow};

    const CPU: ScalingMetric = ScalingMetric::Stored(Measure::CpuCores);

    fn made(seed: u64, bots_of: impl Fn(f64, &mut Noise) -> f64) -> Vec<Frame> {
        let mut noise = Noise::new(seed);
        let mut slow = Slow::new(0.8, &mut noise);
        let mut wanders = Slow::new(0.99, &mut noise);
        let mut own = Slow::new(0.99, &mut noise);
        (0..1_000)
            .map(|index| {
                let humans = (16.0 + 6.0 * wanders.next(&mut noise)).clamp(0.0, 32.0).round();
                let _ = own.next(&mut noise);
                let bots = bots_of(humans, &mut noise);
                let cost = 0.1 + 0.01 * humans + 0.004 * bots;
                let cpu = cost * (1.0 + 0.05 * slow.next(&mut noise));
                Frame::new(1_700_000_000_000 + index * 5_000, 5.0)
                    .with(Measure::Players, humans + bots)
                    .with(Measure::Bots, bots)
                    .with(Measure::CpuCores, cpu)
            })
            .collect()
    }

    #[test]
    fn people_and_bots_cost_what_was_planted() {
        let mut held = [0; 3];
        for seed in 0..60 {
            let mut level = 8.0;
            let cell = std::cell::RefCell::new(&mut level);
            let frames = made(seed, |_, noise| {
                let mut level = cell.borrow_mut();
                if noise.uniform() < 0.02 {
                    **level = (16.0 * noise.uniform()).round();
                }
                **level
            });
            let report = cost_of_bots(&frames, CPU).unwrap();
            let told = [report.per_human, report.per_bot, report.bot_for_human].map(Option::unwrap);
            for ((held, told), truth) in held.iter_mut().zip(told).zip([0.01, 0.004, -0.006]) {
                assert!((told.value - truth).abs() < 0.003, "{report:?}");
                *held += usize::from(told.low <= truth && truth <= told.high);
            }
        }
        assert!(held.iter().all(|held| *held >= 52), "{held:?} of 60");
    }

    #[test]
    fn where_bots_fill_up_only_the_difference_is_told_and_together_nothing() {
        let filled = cost_of_bots(&made(1, |humans, _| 32.0 - humans), CPU).unwrap();
        assert!(filled.per_human.is_none() && filled.per_bot.is_none());
        let difference = filled.bot_for_human.unwrap();
        assert!((difference.value + 0.006).abs() < 0.002, "{difference:?}");
        assert!(filled.warnings[0].contains("cannot be told apart"));
        let together = cost_of_bots(&made(2, |humans, _| humans), CPU).unwrap();
        assert!(together.per_human.is_none() && together.bot_for_human.is_none());
        let never = cost_of_bots(&made(3, |_, _| 0.0), CPU).unwrap();
        assert!(never.per_human.is_some() && never.per_bot.is_none() && !never.warnings.is_empty());
    }
}
