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
    /// Not smooth (Ornstein and Uhlenbeck).
    Rough,
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

const STEADY: [Season; 4] = [
    season(DAY, 0.375, 9.4, 1e5, Shape::Once),
    season(WEEK, 0.115, 6.0, 1_280.0, Shape::Smooth),
    season(WEEK, 0.021_5, 0.8, 60.0, Shape::Rough),
    season(DAY, 0.004_2, 1.0, 0.44, Shape::Smooth),
];

/// Those that are tried, in the order of the models.
const KERNELS: [Kernel; COUNT] = [
    Kernel {
        seasons: &STEADY,
        levels: &[(0.054_7, 2_750.0), (0.000_7, 28.8), (0.012_8, 19.5)],
        noise: 0.000_08,
    },
    Kernel {
        seasons: &STEADY,
        levels: &[(0.109, 2_750.0), (0.001_4, 28.8), (0.025_6, 19.5)],
        noise: 0.000_08,
    },
    Kernel {
        seasons: &[
            STEADY[0],
            STEADY[1],
            season(WEEK, 0.043, 0.8, 60.0, Shape::Rough),
            STEADY[3],
        ],
        levels: &[(0.038, 2_750.0), (0.000_5, 28.8), (0.009, 19.5)],
        noise: 0.000_16,
    },
    Kernel {
        seasons: &[
            season(DAY, 0.14, 2.4, 9_000.0, Shape::Smooth),
            season(WEEK, 0.105, 7.5, 420.0, Shape::Once),
            season(WEEK, 0.02, 0.625, 30.0, Shape::Rough),
            season(DAY, 0.001_2, 16.8, 4.0, Shape::Smooth),
        ],
        levels: &[(0.08, 236.0), (0.022_5, 75.0), (0.002, 44.8), (0.005_6, 1.64)],
        noise: 0.000_22,
    },
    Kernel {
        seasons: &[
            season(DAY, 0.547, 7.5, 2e5, Shape::Smooth),
            season(WEEK, 0.050_4, 10.75, 31.5, Shape::Once),
            season(WEEK, 0.017_5, 1.075, 25.7, Shape::Once),
            season(DAY, 0.028_8, 32.8, 3.0, Shape::Smooth),
        ],
        levels: &[(0.336, 106.0), (0.008_8, 120.0), (0.001_2, 12.8), (0.001_7, 4.2)],
        noise: 0.002_8,
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

/// Sets of known blocks whose weights are kept.
const MOST_KEPT: usize = 200;

impl Kernel {
    fn covariance(&self, hours: f64) -> f64 {
        let seasons = self.seasons.iter().map(|season| {
            let apart = season.hours / PI * (PI * hours / season.hours).sin().abs() / season.width_hours;
            let alike = match season.shape {
                Shape::Rough => (-apart).exp(),
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

/// Covariances of one kernel, for steps of one length.
struct Table {
    /// By steps apart: 0, 1 and 2.
    near: [f64; 3],
    /// Its second sum by steps apart, so that the covariance of two blocks' means takes four of them.
    sums: Vec<f64>,
}

/// Those of all kernels.
pub(super) struct Tables([Table; COUNT]);

impl Tables {
    /// For a grid's steps.
    pub(super) fn new(grid: &Grid) -> Self {
        let hours = grid.step_seconds() as f64 / 3_600.0;
        Self(KERNELS.each_ref().map(|kernel| {
            let of = |steps: usize| kernel.covariance(steps as f64 * hours);
            let own = of(0) + kernel.noise.powi(2);
            let mut slope = 0.5 * own;
            let mut sums = vec![0.0, slope];
            for steps in 1..MOST_DAYS * grid.day() {
                slope += of(steps);
                sums.push(sums[steps] + slope);
            }
            Table {
                near: [own, of(1), of(2)],
                sums,
            }
        }))
    }
}

impl Table {
    /// Covariance of the means over two blocks, by their first and last steps.
    fn between(&self, a: (i64, i64), b: (i64, i64)) -> f64 {
        let sum = |apart: i64| self.sums.get(apart.unsigned_abs() as usize).copied();
        let all = [a.1 - b.0 + 1, a.0 - b.0, a.1 - b.1, a.0 - b.1 - 1].map(sum);
        let [Some(first), Some(second), Some(third), Some(fourth)] = all else {
            return 0.0;
        };
        let pairs = (a.1 - a.0 + 1) * (b.1 - b.0 + 1);
        (first - second - third + fourth) / pairs as f64
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
    low: f64,
    high: f64,
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
        let ends: Vec<(i64, i64)> = blocks
            .iter()
            .map(|block| {
                let base = block.base(ahead, day);
                (base + block.from, base + block.to)
            })
            .collect();
        let target = (ahead as i64, ahead as i64);
        let of_kernel = tables
            .0
            .iter()
            .map(|table| OfKernel {
                between: ends
                    .iter()
                    .flat_map(|a| ends.iter().map(move |b| table.between(*a, *b)))
                    .collect(),
                to_target: ends.iter().map(|block| table.between(*block, target)).collect(),
                told: 1.5 * table.near[0] - 2.0 * table.near[1] + 0.5 * table.near[2],
                single: 0.0,
                weights: HashMap::new(),
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
            low: f64::INFINITY,
            high: f64::NEG_INFINITY,
        };
        for (place, block) in self.blocks.iter().enumerate() {
            let beside = if block.of_target { target } else { origin };
            let at = logs.days_before(beside, block.days);
            let (from, to) = (at + block.from, (at + block.to).min(origin as i64) + 1);
            let value = if from < 0 { f64::NAN } else { logs.mean(from, to) };
            if value.is_finite() {
                known.mask |= 1 << place;
                known.values.push(value);
                known.low = known.low.min(value);
                known.high = known.high.max(value);
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
        let weights = match kernel.weights.get(&known.mask) {
            Some(weights) => weights,
            None => {
                let solved = kernel.solve(blocks, known.mask);
                kernel.weights.entry(known.mask).or_insert(solved)
            }
        };
        let said: f64 = weights
            .iter()
            .zip(&known.values)
            .map(|(weight, value)| weight * value)
            .sum();
        // Never far beyond all that was seen.
        (said.clamp(known.low - 1.0, known.high + 1.0).exp() - 1.0).max(0.0)
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
                    let came = wave(grid.begin_unix_s(origin + ahead) / 3_600);
                    assert!((said / came - 1.0).abs() < 0.1, "{kernel} {ahead} {said} {came}");
                    let weights = &predictor.of_kernel[kernel].weights[&known.mask];
                    assert!((weights.iter().sum::<f64>() - 1.0).abs() < 1e-6);
                }
            }
        }
    }
}
