//! Optimal linear prediction: counts in logarithms are taken for a Gaussian process whose covariance is made of a daily and
//! a weekly profile that drift, levels that wander, and noise; a step is said from blocks of steps around the origin and at
//! the same time of earlier days and weeks, weighed as that covariance tells (ordinary kriging). Several covariances are
//! tried beside each other; they were settled on made-up and on real populations, and `blend` finds which fits a series. Not
//! here: weighing them.

use std::{collections::HashMap, f64::consts::PI};

use super::grid::Grid;

/// How alike two times are by how far apart they are.
#[derive(Clone, Copy)]
enum Shape {
    /// Smooth once (Matern 3/2).
    Once,
    /// Smooth (Gaussian).
    Smooth,
}

/// A part of the covariance that comes again every period.
#[derive(Clone, Copy)]
struct Season {
    hours: f64,
    spread: f64,
    width_hours: f64,
    /// Time over which it becomes another.
    memory_days: f64,
    shape: Shape,
}

/// A covariance of logarithms of players.
struct Kernel {
    seasons: &'static [Season],
    /// Levels: how far they go, and over how many hours.
    levels: &'static [(f64, f64)],
    noise: f64,
}

const DAY: f64 = 24.0;
const WEEK: f64 = 168.0;

const fn season(hours: f64, spread: f64, width_hours: f64, memory_days: f64, shape: Shape) -> Season {
    Season {
        hours,
        spread,
        width_hours,
        memory_days,
        shape,
    }
}

const STEADY: [Season; 3] = [
    season(DAY, 0.144, 1.8, 1e5, Shape::Once),
    season(WEEK, 0.09, 1.23, 2_100.0, Shape::Smooth),
    season(WEEK, 0.011_25, 0.03, 25.0, Shape::Smooth),
];

/// Those that are tried, in the order of the models.
const KERNELS: [Kernel; COUNT] = [
    Kernel {
        seasons: &STEADY,
        levels: &[(0.035, 1_750.0), (0.010_5, 38.4), (0.004_8, 2.34)],
        noise: 0.000_13,
    },
    Kernel {
        seasons: &STEADY,
        levels: &[(0.07, 1_750.0), (0.021, 38.4), (0.009_6, 2.34)],
        noise: 0.000_13,
    },
    Kernel {
        seasons: &[
            STEADY[0],
            STEADY[1],
            season(WEEK, 0.022_5, 0.03, 25.0, Shape::Smooth),
        ],
        levels: &[(0.024_5, 1_750.0), (0.007_35, 38.4), (0.003_36, 2.34)],
        noise: 0.000_26,
    },
    Kernel {
        seasons: &[
            season(DAY, 0.262, 3.0, 17_500.0, Shape::Smooth),
            season(WEEK, 0.131, 7.5, 525.0, Shape::Smooth),
            season(WEEK, 0.025, 0.47, 37.5, Shape::Once),
            season(DAY, 0.007_2, 0.79, 0.66, Shape::Smooth),
        ],
        levels: &[(0.08, 121.0), (0.001_5, 60.0), (0.000_35, 0.96)],
        noise: 0.000_22,
    },
    Kernel {
        seasons: &[
            season(DAY, 0.41, 7.5, 70_000.0, Shape::Smooth),
            season(WEEK, 0.040_3, 8.06, 31.5, Shape::Smooth),
            season(WEEK, 0.010_9, 0.98, 28.0, Shape::Smooth),
            season(DAY, 0.003_4, 16.8, 2.4, Shape::Once),
        ],
        levels: &[(0.25, 96.8), (0.006_2, 76.8), (0.003_4, 44.8), (0.000_5, 1.5)],
        noise: 0.000_63,
    },
];

/// How many there are.
pub(super) const COUNT: usize = 5;

/// Days that blocks and targets may lie apart at most.
const MOST_DAYS: usize = 45;

/// Variance of the mean that nothing is known of.
const UNKNOWN: f64 = 4.0;

/// Kept on the diagonal, so that blocks that are nearly the same do not get weights against each other.
const LEAST: f64 = 1e-7;

/// Points at which a long block is looked at.
const POINTS: i64 = 7;

/// Sets of known blocks whose weights are kept.
const MOST_KEPT: usize = 200;

impl Kernel {
    fn covariance(&self, hours: f64) -> f64 {
        let seasons = self.seasons.iter().map(|season| {
            let apart = season.hours / PI * (PI * hours / season.hours).sin().abs() / season.width_hours;
            let alike = match season.shape {
                Shape::Once => (1.0 + 3f64.sqrt() * apart) * (-3f64.sqrt() * apart).exp(),
                Shape::Smooth => (-0.5 * apart * apart).exp(),
            };
            season.spread.powi(2) * (-hours / 24.0 / season.memory_days).exp() * alike
        });
        let levels = self
            .levels
            .iter()
            .map(|(spread, memory)| spread.powi(2) * (-hours / memory).exp());
        seasons.sum::<f64>() + levels.sum::<f64>()
    }
}

/// Covariances by steps apart, for steps of one length.
pub(super) struct Tables([Vec<f64>; COUNT]);

impl Tables {
    /// For a grid's steps.
    pub(super) fn new(grid: &Grid) -> Self {
        let hours = grid.step_seconds() as f64 / 3_600.0;
        Self(KERNELS.each_ref().map(|kernel| {
            let mut table: Vec<f64> = (0..MOST_DAYS * grid.day())
                .map(|steps| kernel.covariance(steps as f64 * hours))
                .collect();
            table[0] += kernel.noise.powi(2);
            table
        }))
    }
}

/// Steps whose mean is looked at, both ends included, beside the target or the origin or so many days before.
#[derive(Clone, Copy, PartialEq)]
struct Block {
    days: usize,
    of_target: bool,
    from: i64,
    to: i64,
}

/// Where a forecast so many steps ahead looks.
fn blocks(ahead: usize, day: usize, hour: usize) -> Vec<Block> {
    let (day_steps, hour) = (day as i64, hour as i64);
    let mut all = Vec::new();
    // Ages in steps, the end left out.
    let levels = |all: &mut Vec<Block>, days: usize, ages: &[(i64, i64)]| {
        for (from, to) in ages.iter().filter(|(from, to)| to > from) {
            all.push(Block {
                days,
                of_target: false,
                from: 1 - to,
                to: -from,
            });
        }
    };
    let around = |all: &mut Vec<Block>, days: usize, steps: i64| {
        all.push(Block {
            days,
            of_target: true,
            from: -steps,
            to: steps,
        });
    };
    let recent = [1, 2, 4, 8, 16, 24, 72, 168].map(|hours| hours * hour);
    levels(&mut all, 0, &[(0, 1), (1, 2), (2, hour)]);
    for pair in recent.windows(2) {
        levels(&mut all, 0, &[(pair[0], pair[1])]);
    }
    let week = ahead.div_ceil(7 * day).max(1);
    for days in (week..week + 4).map(|week| 7 * week) {
        around(&mut all, days, 0);
        around(&mut all, days, hour / 2);
        around(&mut all, days, (3 * hour / 2).max(1));
        levels(
            &mut all,
            days,
            &[(0, 1), (0, hour), (0, 4 * hour), (0, day_steps)],
        );
    }
    let nearest = ahead.div_ceil(day).max(1);
    for days in [nearest, nearest + 1]
        .into_iter()
        .filter(|days| !days.is_multiple_of(7))
    {
        for days in [days, days + 7, days + 14] {
            around(&mut all, days, hour / 2);
            levels(&mut all, days, &[(0, hour)]);
        }
    }
    let mut kept: Vec<Block> = Vec::with_capacity(all.len());
    for block in all {
        let seen = block.base(ahead, day) + block.to <= 0;
        if seen && !kept.contains(&block) {
            kept.push(block);
        }
    }
    kept.truncate(u64::BITS as usize);
    kept
}

impl Block {
    /// Where it lies beside the origin, but for changes of clocks.
    fn base(&self, ahead: usize, day: usize) -> i64 {
        (if self.of_target { ahead as i64 } else { 0 }) - (self.days * day) as i64
    }

    fn steps(&self) -> f64 {
        (self.to - self.from + 1) as f64
    }
}

/// What blocks hold at an origin, and which of them are known.
pub(super) struct Known {
    values: Vec<f64>,
    mask: u64,
}

/// All kernels for one horizon.
pub(super) struct Predictor {
    ahead: usize,
    blocks: Vec<Block>,
    of_kernel: Vec<OfKernel>,
    /// Sum and number of how far steps lie from the middle of their neighbours.
    rough: (f64, usize),
}

struct OfKernel {
    between: Vec<f64>,
    to_target: Vec<f64>,
    /// Mean square that the kernel alone tells of a step beside the middle of its neighbours.
    told: f64,
    /// Variance of a single step beyond that: few players are noise.
    single: f64,
    weights: HashMap<u64, Vec<f64>>,
}

impl Predictor {
    /// For steps so far ahead.
    pub(super) fn new(tables: &Tables, grid: &Grid, ahead: usize) -> Self {
        let day = grid.day();
        let blocks = blocks(ahead, day, grid.hour());
        let points: Vec<Vec<i64>> = blocks
            .iter()
            .map(|block| {
                let (base, length) = (block.base(ahead, day), block.to - block.from);
                let points = (length + 1).min(POINTS);
                (0..points)
                    .map(|point| base + block.from + point * length / (points - 1).max(1))
                    .collect()
            })
            .collect();
        let of_kernel = tables
            .0
            .iter()
            .map(|table| {
                let at = |apart: i64| table.get(apart.unsigned_abs() as usize).copied().unwrap_or(0.0);
                let number = blocks.len();
                let mut between = vec![0.0; number * number];
                for (a, of_a) in points.iter().enumerate() {
                    for (b, of_b) in points[..=a].iter().enumerate() {
                        let sum: f64 = of_a
                            .iter()
                            .flat_map(|a| of_b.iter().map(move |b| at(a - b)))
                            .sum();
                        let mean = sum / (of_a.len() * of_b.len()) as f64;
                        between[a * number + b] = mean;
                        between[b * number + a] = mean;
                    }
                }
                let to_target = points
                    .iter()
                    .map(|of| of.iter().map(|point| at(point - ahead as i64)).sum::<f64>() / of.len() as f64)
                    .collect();
                OfKernel {
                    between,
                    to_target,
                    told: 1.5 * at(0) - 2.0 * at(1) + 0.5 * at(2),
                    single: 0.0,
                    weights: HashMap::new(),
                }
            })
            .collect();
        Self {
            ahead,
            blocks,
            of_kernel,
            rough: (0.0, 0),
        }
    }

    /// Sees a step of the logarithms, and once a day how noisy single ones are.
    pub(super) fn see(&mut self, logs: &Grid, origin: usize) {
        let Some(before) = origin.checked_sub(2) else {
            return;
        };
        let off = (logs.at(origin - 1) - 0.5 * (logs.at(origin) + logs.at(before))).abs();
        if off.is_finite() {
            // An outage is no noise.
            let (sum, number) = self.rough;
            let most = if number > 16 {
                4.0 * sum / number as f64
            } else {
                1.0
            };
            self.rough = (sum + off.min(most), number + 1);
        }
        if origin.is_multiple_of(logs.day()) && self.rough.1 > 0 {
            let square = PI / 2.0 * (self.rough.0 / self.rough.1 as f64).powi(2);
            for kernel in &mut self.of_kernel {
                let single = ((square - kernel.told) / 1.5).max(0.0);
                if (single - kernel.single).abs() > 0.2 * kernel.single {
                    kernel.single = single;
                    kernel.weights.clear();
                }
            }
        }
    }

    /// What its blocks hold; `None` where nothing is known.
    pub(super) fn look(&self, logs: &Grid, origin: usize) -> Option<Known> {
        let target = origin + self.ahead;
        let mut known = Known {
            values: Vec::with_capacity(self.blocks.len()),
            mask: 0,
        };
        for (place, block) in self.blocks.iter().enumerate() {
            let beside = if block.of_target { target } else { origin };
            let at = logs.days_before(beside, block.days);
            let (from, to) = (at + block.from, (at + block.to).min(origin as i64) + 1);
            let value = if from < 0 { f64::NAN } else { logs.mean(from, to) };
            if value.is_finite() {
                known.mask |= 1 << place;
                known.values.push(value);
            }
        }
        (known.mask != 0).then_some(known)
    }

    /// Players that a kernel says will be there.
    pub(super) fn says(&mut self, kernel: usize, known: &Known) -> f64 {
        let blocks = &self.blocks;
        let Some(kernel) = self.of_kernel.get_mut(kernel) else {
            return f64::NAN;
        };
        if kernel.weights.len() > MOST_KEPT {
            kernel.weights.clear();
        }
        if !kernel.weights.contains_key(&known.mask) {
            let solved = kernel.solve(blocks, known.mask);
            kernel.weights.insert(known.mask, solved);
        }
        let said: f64 = kernel.weights[&known.mask]
            .iter()
            .zip(&known.values)
            .map(|(weight, value)| weight * value)
            .sum();
        let (low, high) = known
            .values
            .iter()
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
                (low.min(*value), high.max(*value))
            });
        // Never far beyond all that was seen.
        (said.clamp(low - 1.0, high + 1.0).exp() - 1.0).max(0.0)
    }
}

impl OfKernel {
    /// Weights of known blocks, summing to one.
    fn solve(&self, blocks: &[Block], mask: u64) -> Vec<f64> {
        let places: Vec<usize> = (0..blocks.len()).filter(|place| mask >> place & 1 == 1).collect();
        let (number, all) = (places.len(), blocks.len());
        let mut root = vec![0.0; number * number];
        for a in 0..number {
            for b in 0..=a {
                let mut value = self.between[places[a] * all + places[b]] + UNKNOWN;
                if a == b {
                    value += LEAST + self.single / blocks[places[a]].steps();
                }
                let (of_a, of_b) = (
                    &root[a * number..a * number + b],
                    &root[b * number..b * number + b],
                );
                value -= of_a.iter().zip(of_b).map(|(a, b)| a * b).sum::<f64>();
                root[a * number + b] = if a == b {
                    value.max(1e-12).sqrt()
                } else {
                    value / root[b * number + b]
                };
            }
        }
        let solved = |mut right: Vec<f64>| {
            for a in 0..number {
                let sum: f64 = (0..a).map(|b| root[a * number + b] * right[b]).sum();
                right[a] = (right[a] - sum) / root[a * number + a];
            }
            for a in (0..number).rev() {
                let sum: f64 = (a + 1..number).map(|b| root[b * number + a] * right[b]).sum();
                right[a] = (right[a] - sum) / root[a * number + a];
            }
            right
        };
        let mut weights = solved(
            places
                .iter()
                .map(|place| self.to_target[*place] + UNKNOWN)
                .collect(),
        );
        let even = solved(vec![1.0; number]);
        let missing = (1.0 - weights.iter().sum::<f64>()) / even.iter().sum::<f64>();
        for (weight, even) in weights.iter_mut().zip(even) {
            *weight += missing * even;
        }
        weights
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;

    #[test]
    fn a_wave_that_comes_every_day_is_told_with_and_without_gaps() {
        let wave = |step: i64| 300.0 * (1.5 + (step as f64 / 24.0 * std::f64::consts::TAU).sin());
        let whole: Vec<(i64, f64)> = (0..24 * 28)
            .map(|step| (step * 3_600, wave(step).round()))
            .collect();
        let holes: Vec<(i64, f64)> = whole
            .iter()
            .copied()
            .filter(|(time, _)| time / 3_600 % 11 > 2)
            .collect();
        for samples in [whole, holes] {
            let grid = Grid::of_samples(&samples, 3_600, &TimeZone::UTC).unwrap();
            let (logs, tables) = (grid.logs(), Tables::new(&grid));
            for ahead in [1, 6, 24, 168] {
                let mut predictor = Predictor::new(&tables, &grid, ahead);
                let origin = grid.len() - 1;
                let known = predictor.look(&logs, origin).unwrap();
                for kernel in 0..COUNT {
                    let said = predictor.says(kernel, &known);
                    let came = wave((origin + ahead) as i64);
                    assert!((said / came - 1.0).abs() < 0.05, "{kernel} {ahead} {said} {came}");
                    let weights = &predictor.of_kernel[kernel].weights[&known.mask];
                    assert!((weights.iter().sum::<f64>() - 1.0).abs() < 1e-6);
                }
            }
        }
    }
}
