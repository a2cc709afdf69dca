//! Forecasts held against the baseline on made-up populations, and on a file of counts where one is named: as it is, mixed
//! with itself at other hours, and thinned to small servers. Each series counts alike; days are resampled.

use std::{collections::BTreeMap, fs::File, path::Path};

use anyhow::{Context, Result};
use gsmon_agent::analysis::forecast::{
    Grid,
    back_test::{BackTest, HorizonScore, back_test, resampled},
    table,
};
use jiff::tz::TimeZone;

use super::{Figure, each_seed};

const HORIZONS: [usize; 4] = [1, 3, 6, 24];
const STEP_SECONDS: i64 = 900;
const WEEK: usize = 672;

/// Largest ratio to the baseline's error that is promised, per horizon.
const PROMISED: [f64; 4] = [1.0, 0.95, 0.95, 0.90];

struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678_9abc_def1)
    }

    /// Between 0 and 1, both left out.
    fn even(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        (-2.0 * self.even().ln()).sqrt() * (std::f64::consts::TAU * self.even()).cos()
    }

    /// A Poisson count; beyond 60 the normal one of the same mean and variance, rounded.
    fn poisson(&mut self, mean: f64) -> f64 {
        if mean > 60.0 {
            return (mean + mean.sqrt() * self.normal()).round().max(0.0);
        }
        let (mut product, mut count, least) = (self.even(), 0.0, (-mean).exp());
        while product > least && count < 1_000.0 {
            product *= self.even();
            count += 1.0;
        }
        count
    }
}

/// Five weeks of a made-up server: days and weeks of its own shape, a level that wanders, counts.
fn made(seed: u64) -> Vec<(i64, f64)> {
    let mut dice = Dice::new(seed);
    let players = [4.0, 12.0, 40.0, 200.0, 3_000.0][seed as usize % 5];
    let weekly = if seed.is_multiple_of(3) {
        0.0
    } else {
        0.15 + 0.2 * dice.even()
    };
    let (swing, second, phase) = (0.3 + 0.5 * dice.even(), 0.2 * dice.even(), dice.even());
    let (back, stir) = (0.997, 0.01 + 0.02 * dice.even());
    let mut level = 0.0;
    (0..5 * WEEK as i64)
        .flat_map(|step| {
            let day = step as f64 / 96.0;
            let turn = std::f64::consts::TAU * (day + phase);
            let weekend = if (day as i64 % 7) >= 5 { weekly } else { 0.0 };
            level = back * level + stir * dice.normal();
            let mean = players * (swing * turn.sin() + second * (2.0 * turn).sin() + weekend + level).exp();
            let begin = step * STEP_SECONDS;
            [0, 300, 600].map(|offset| (begin + offset, dice.poisson(mean)))
        })
        .collect()
}

/// A population of which each player is on this server with the same small chance: nearly Poisson.
fn thinned(samples: &[(i64, f64)], players: f64, seed: u64) -> Vec<(i64, f64)> {
    let mut dice = Dice::new(seed);
    let mean = samples.iter().map(|(_, count)| count).sum::<f64>() / samples.len().max(1) as f64;
    samples
        .iter()
        .map(|(time, count)| (*time, dice.poisson(count / mean * players)))
        .collect()
}

/// A population of two regions, the second so many hours behind with this share of the players.
fn mixed(samples: &[(i64, f64)], hours: i64, share: f64) -> Vec<(i64, f64)> {
    const SAMPLE_SECONDS: i64 = 300;
    let at: BTreeMap<i64, f64> = samples
        .iter()
        .map(|(time, count)| (time.div_euclid(SAMPLE_SECONDS), *count))
        .collect();
    samples
        .iter()
        .filter_map(|(time, count)| {
            let other = at.get(&(time.div_euclid(SAMPLE_SECONDS) - hours * 3_600 / SAMPLE_SECONDS))?;
            Some((*time, (1.0 - share) * count + share * other))
        })
        .collect()
}

/// Weeks held out of each series.
const WEEKS: u64 = 3;

/// Mean players up to which a series is judged by WAPE and MASE.
const SMALL: f64 = 100.0;

struct Run {
    small: bool,
    of_file: bool,
    tested: BackTest,
}

/// Scores of `seeds` made-up servers, and of the file as it is, mixed and thinned, three weeks held out of each.
///
/// # Errors
/// When the file cannot be read.
pub fn forecasts(seeds: u64, threads: usize, file: Option<&Path>) -> Result<Vec<Figure>> {
    let mut series: Vec<Vec<(i64, f64)>> = (0..seeds).map(made).collect();
    if let Some(path) = file {
        let open = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
        let samples = table::read(open).with_context(|| path.display().to_string())?;
        for (seed, players) in [5.0, 15.0, 50.0, 200.0, 1_000.0]
            .into_iter()
            .cycle()
            .take(15)
            .enumerate()
        {
            series.push(thinned(&samples, players, seed as u64 + 1_000_000));
        }
        for (hours, share) in [(3, 0.3), (6, 0.5), (8, 0.4), (12, 0.3)] {
            series.push(mixed(&samples, hours, share));
        }
        series.push(samples);
    }
    let last = series.len() as u64 - 1;
    let runs: Vec<Run> = each_seed(series.len() as u64 * WEEKS, threads, |run| {
        let samples = &series[(run / WEEKS) as usize];
        let grid = Grid::of_samples(samples, STEP_SECONDS, &TimeZone::UTC).ok()?;
        let end = grid.len().checked_sub((run % WEEKS) as usize * WEEK)?;
        let mean = samples.iter().map(|(_, count)| count).sum::<f64>() / samples.len().max(1) as f64;
        Some(Run {
            small: mean < SMALL,
            of_file: file.is_some() && run / WEEKS == last,
            tested: back_test(&grid.until(end), 7, &HORIZONS, &[]).ok()?,
        })
    })
    .into_iter()
    .flatten()
    .collect();
    let mut figures = vec![Figure::told("series", series.len() as f64)];
    pooled(&runs, &mut figures);
    for (place, hours) in HORIZONS.iter().enumerate() {
        let all = |of: &dyn Fn(&Run) -> bool, value: &dyn Fn(&HorizonScore) -> Option<f64>| {
            let scores = runs
                .iter()
                .filter(|run| of(run))
                .filter_map(|run| value(run.tested.horizons.get(place)?));
            let values: Vec<f64> = scores.collect();
            (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
        };
        let small = |run: &Run| run.small;
        let of_file = |run: &Run| run.of_file;
        for (name, value) in [
            ("small ones: MASE", all(&small, &|score| score.mase)),
            (
                "small ones: WAPE, percent",
                all(&small, &|score| Some(score.wape)),
            ),
            (
                "small ones: WAPE of the baseline",
                all(&small, &|score| Some(score.baseline_wape)),
            ),
            ("the file: MAPE, percent", all(&of_file, &|score| score.mape)),
            (
                "the file: MAPE of the baseline",
                all(&of_file, &|score| score.baseline_mape),
            ),
        ] {
            if let Some(value) = value {
                figures.push(Figure::told(format!("{hours} h: {name}"), value));
            }
        }
    }
    Ok(figures)
}

/// Ratios to the baseline and coverage over all series.
fn pooled(runs: &[Run], figures: &mut Vec<Figure>) {
    figures.push(Figure::told("series times weeks", runs.len() as f64));
    let mut covered = [0.0; 2];
    for (place, hours) in HORIZONS.iter().enumerate() {
        let mut rows: Vec<[f64; 7]> = Vec::new();
        for score in runs.iter().flat_map(|run| &run.tested.horizons) {
            if score.horizon != format!("{hours}h") {
                continue;
            }
            let of = |column: usize| score.days.iter().map(|day| day[column]).sum::<f64>().max(1e-9);
            let (error, interval) = (of(1), of(3));
            for day in &score.days {
                rows.push([
                    day[0] / error,
                    day[1] / error,
                    day[2] / interval,
                    day[3] / interval,
                    day[4],
                    day[5],
                    day[6],
                ]);
            }
        }
        let total = |column: usize| rows.iter().map(|row| row[column]).sum::<f64>();
        let (low, high) = resampled(&rows);
        let name = |what: &str| format!("{hours} h: {what}");
        figures.push(Figure::within(
            name("error over the baseline's"),
            total(0) / total(1),
            0.0,
            PROMISED[place],
        ));
        figures.push(Figure::told(name("  lower bound (95 %, days resampled)"), low));
        figures.push(Figure::told(name("  upper bound"), high));
        figures.push(Figure::within(
            name("interval score over the baseline's"),
            total(2) / total(3),
            0.0,
            1.0,
        ));
        figures.push(Figure::told(name("in the 90 % interval"), total(4) / total(6)));
        covered[0] += total(4);
        covered[1] += total(6);
    }
    figures.push(Figure::within(
        "all: in the 90 % interval",
        covered[0] / covered[1].max(1.0),
        0.88,
        0.92,
    ));
}
