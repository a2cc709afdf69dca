//! Advice held against a real or made-up population: a replay on small servers, beside Agones' Buffer of every size and a
//! perfect oracle. The population is thinned player by player, not scaled: each player of the large one is kept with the
//! same probability and stays for a time of their own.

use gsmon_agent::analysis::advice::{
    profile::Profile,
    simulate::{
        Outcome, Policy, Rules,
        advised::{Ahead, HourAhead, SeatWishes, oracle, wishes},
        replay,
        visits::{Visit, counts},
    },
};

use super::{Figure, each_seed, made::Noise};

/// Mean stay of a player, minutes; the file does not say it.
const STAY_MINUTES: f64 = 45.0;
/// Minutes in which a server must not be needed again to be stopped.
const HOLD_MINUTES: usize = 10;
/// Quantiles of demand that are tried.
const QUANTILES: [f64; 16] = [
    0.3, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.97, 0.98, 0.99, 0.993, 0.996, 0.998, 0.999, 0.9995,
];
/// Buffers that are tried: more is never needed here.
const MOST_BUFFER: u32 = 24;
/// Unserved player-minutes at which policies are compared.
const UNSERVED: f64 = 0.001;

/// Servers of the grid.
pub const CAPACITIES: [u32; 3] = [10, 20, 64];
/// Warm-ups of the grid, minutes.
pub const WARM_UPS: [u32; 3] = [2, 10, 30];

/// A large population, one value per minute.
#[derive(Clone, Debug)]
pub struct Population {
    /// Time of the first value.
    pub first_unix_ms: i64,
    /// Players.
    pub players: Vec<f64>,
}

/// Why a file is no population.
#[derive(Debug)]
pub struct NoPopulation(pub String);

impl Population {
    /// Reads lines of an RFC 3339 time and a number of players, with a comma between them and one line of names above. Gaps
    /// are filled by straight lines.
    ///
    /// # Errors
    /// With the line that makes no sense.
    pub fn read(text: &str) -> Result<Self, NoPopulation> {
        let mut points: Vec<(i64, f64)> = Vec::new();
        for (index, line) in text.lines().enumerate().skip(1) {
            let wrong = || NoPopulation(format!("line {}: `{line}` is no time and number", index + 1));
            let (time, players) = line.split_once(',').ok_or_else(wrong)?;
            let unix_ms = time
                .parse::<jiff::Timestamp>()
                .map_err(|_| wrong())?
                .as_millisecond();
            let players: f64 = players.trim().parse().map_err(|_| wrong())?;
            if !players.is_finite() || players < 0.0 || points.last().is_some_and(|last| last.0 >= unix_ms) {
                return Err(wrong());
            }
            points.push((unix_ms, players));
        }
        let (Some(first), Some(last)) = (points.first(), points.last().filter(|_| points.len() > 1)) else {
            return Err(NoPopulation(
                "there are no two lines with a time and a number".to_owned(),
            ));
        };
        let minutes = usize::try_from((last.0 - first.0) / 60_000).unwrap_or(0);
        let mut at = 0;
        let mut players = Vec::with_capacity(minutes);
        for minute in 0..minutes {
            let now = first.0 + minute as i64 * 60_000;
            while at + 2 < points.len() && points[at + 1].0 <= now {
                at += 1;
            }
            let (before, after) = (points[at], points[at + 1]);
            let share = (now - before.0) as f64 / (after.0 - before.0) as f64;
            players.push(before.1 + share * (after.1 - before.1));
        }
        Ok(Self {
            first_unix_ms: first.0,
            players,
        })
    }

    /// A made-up one with days and weekends.
    pub fn made(days: usize, mean: f64, seed: u64) -> Self {
        let mut noise = Noise::new(seed);
        let mut level = 0.0;
        let players = (0..days * 1_440).map(|minute| {
            if minute % 60 == 0 {
                level = 0.98 * level + 0.012 * noise.normal();
            }
            let day = (minute as f64 / 1_440.0 * std::f64::consts::TAU).sin();
            let weekend = if minute / 1_440 % 7 >= 5 { 1.15 } else { 1.0 };
            (mean * weekend * (1.0 + 0.35 * day + level)).max(0.0)
        });
        Self {
            first_unix_ms: 1_600_000_000_000,
            players: players.collect(),
        }
    }

    /// Visits of a population that is this one, each player kept with such a probability that so many are there on average.
    pub fn thinned(&self, mean: f64, noise: &mut Noise) -> Vec<Visit> {
        let whole = self.players.iter().sum::<f64>() / self.players.len().max(1) as f64;
        let kept = (mean / whole.max(1e-9)).min(1.0);
        let leave = 1.0 - (-1.0 / STAY_MINUTES).exp();
        let mut visits = Vec::new();
        let mut before = 0.0;
        for (minute, players) in self.players.iter().enumerate() {
            // Those who must have come for so many to be there although some left.
            let came = (players - before * (1.0 - leave)).max(0.0);
            before = *players;
            for _ in 0..poisson(came * kept, noise) {
                let stay = (noise.uniform().max(1e-300).ln() / (1.0 - leave).ln()).ceil();
                visits.push(Visit {
                    from_step: minute,
                    to_step: minute + stay.max(1.0) as usize,
                });
            }
        }
        visits
    }
}

/// Large means are cut into small ones: the product of uniforms underflows.
fn poisson(mean: f64, noise: &mut Noise) -> u32 {
    let mut left = mean;
    let mut count = 0;
    while left > 0.0 {
        let part = left.min(20.0);
        left -= part;
        let limit = (-part).exp();
        let mut product = noise.uniform();
        while product > limit {
            count += 1;
            product *= noise.uniform();
        }
    }
    count
}

/// A policy and what came of it over all seeds.
#[derive(Clone, Debug)]
pub struct Point {
    /// Its setting: servers, or a quantile.
    pub setting: f64,
    /// Summed over seeds.
    pub outcome: Outcome,
}

/// One cell of the grid.
#[derive(Clone, Debug)]
pub struct Cell {
    /// Seats of a server.
    pub seats: u32,
    /// Minutes.
    pub warm_up: u32,
    /// Buffers from 0 on.
    pub buffers: Vec<Point>,
    /// Advice, by quantile.
    pub advice: Vec<Point>,
    /// Who knows everything.
    pub oracle: Outcome,
}

/// Idle hours of the setting that costs least and serves enough.
pub fn best(points: &[Point]) -> Option<&Point> {
    points
        .iter()
        .filter(|point| point.outcome.unserved_ratio() <= UNSERVED)
        .min_by(|a, b| {
            a.outcome
                .idle_server_hours
                .total_cmp(&b.outcome.idle_server_hours)
        })
}

/// One cell of one seed: seats, warm-up, each buffer, each quantile of advice, the oracle.
type OfSeed = (u32, u32, Vec<Outcome>, Vec<Outcome>, Outcome);

/// Runs the grid; learning ends after two fifths of the time, what comes after is counted.
pub fn grid(
    population: &Population,
    mean: f64,
    seeds: u64,
    threads: usize,
    capacities: &[u32],
    warm_ups: &[u32],
) -> Vec<Cell> {
    let steps = population.players.len();
    let learnt = steps * 2 / 5;
    let of_seed = |seed: u64| -> Vec<OfSeed> {
        let visits = population.thinned(mean, &mut Noise::new(seed));
        let players = counts(&visits, steps);
        let Ok(profile) = Profile::learnt_until(population.first_unix_ms, 60_000, &players, learnt) else {
            return Vec::new();
        };
        let hour = HourAhead::of(population.first_unix_ms, 60_000, &players);
        let mut cells = Vec::new();
        for warm_up in warm_ups {
            let ahead = Ahead {
                warm_up_steps: *warm_up as usize,
                hold_steps: HOLD_MINUTES,
            };
            let wanted = wishes(&profile, hour.as_ref(), &players, &QUANTILES, ahead);
            let known = oracle(&players, ahead);
            for seats in capacities {
                let rules = Rules {
                    seats: *seats,
                    warm_up_steps: *warm_up,
                    step_seconds: 60.0,
                    least_servers: 0,
                    most_servers: 10_000,
                };
                let run = |policy: Policy<'_>| replay(&visits, learnt..steps, &rules, policy);
                let by = |wish: &SeatWishes| {
                    run(Policy::Seats {
                        start_below: &wish.start_below,
                        stop_above: &wish.stop_above,
                    })
                };
                let mut buffers: Vec<Outcome> = Vec::new();
                for ready in 0..=MOST_BUFFER {
                    let outcome = run(Policy::Buffer(ready));
                    buffers.push(outcome);
                    // Larger ones cost more and cannot serve more; what is left of the list is filled below.
                    if outcome.unserved_player_minutes == 0.0 {
                        break;
                    }
                }
                while let (true, Some(last)) =
                    (buffers.len() <= MOST_BUFFER as usize, buffers.last().copied())
                {
                    // One more server stands idle all the time.
                    let hours = (steps - learnt) as f64 / 60.0;
                    buffers.push(Outcome {
                        idle_server_hours: last.idle_server_hours + hours,
                        server_hours: last.server_hours + hours,
                        ..last
                    });
                }
                let advice = wanted.iter().map(by).collect();
                cells.push((*seats, *warm_up, buffers, advice, by(&known)));
            }
        }
        cells
    };
    let mut cells: Vec<Cell> = Vec::new();
    for seed in each_seed(seeds, threads, of_seed) {
        for (index, (seats, warm_up, buffers, advice, oracle)) in seed.into_iter().enumerate() {
            if cells.len() <= index {
                let points = |settings: Vec<f64>| {
                    let none = Outcome::default();
                    let point = |setting| Point {
                        setting,
                        outcome: none,
                    };
                    settings.into_iter().map(point).collect()
                };
                cells.push(Cell {
                    seats,
                    warm_up,
                    buffers: points((0..=MOST_BUFFER).map(f64::from).collect()),
                    advice: points(QUANTILES.to_vec()),
                    oracle: Outcome::default(),
                });
            }
            let cell = &mut cells[index];
            for (point, outcome) in cell.buffers.iter_mut().zip(buffers) {
                point.outcome = point.outcome.and(outcome);
            }
            for (point, outcome) in cell.advice.iter_mut().zip(advice) {
                point.outcome = point.outcome.and(outcome);
            }
            cell.oracle = cell.oracle.and(oracle);
        }
    }
    cells
}

/// The frontier of a cell, as text.
pub fn frontier(cell: &Cell) -> String {
    use std::fmt::Write;
    let mut text = format!("\n{} seats, {} min of warm-up\n", cell.seats, cell.warm_up);
    let mut line = |who: &str, setting: f64, outcome: &Outcome| {
        let _ = writeln!(
            text,
            "  {who:<8} {setting:>7}   unserved {:>9.4} %   idle {:>10.1} h   servers {:>10.1} h",
            100.0 * outcome.unserved_ratio(),
            outcome.idle_server_hours,
            outcome.server_hours
        );
    };
    for point in &cell.buffers {
        line("buffer", point.setting, &point.outcome);
        if point.outcome.unserved_ratio() < UNSERVED / 100.0 {
            break;
        }
    }
    for point in &cell.advice {
        line("advice", point.setting, &point.outcome);
    }
    line("oracle", 1.0, &cell.oracle);
    text
}

/// What is asked of the grid: idle hours of advice over those of the best buffer, where both serve enough.
pub fn figures(cells: &[Cell]) -> Vec<Figure> {
    let mut figures = Vec::new();
    for cell in cells {
        let name = format!(
            "idle hours over buffer's: {} seats, {} min",
            cell.seats, cell.warm_up
        );
        let (Some(buffer), Some(advice)) = (best(&cell.buffers), best(&cell.advice)) else {
            figures.push(Figure::within(name, f64::INFINITY, 0.0, 1.02));
            continue;
        };
        let most = if (cell.seats, cell.warm_up) == (20, 30) {
            0.75
        } else {
            1.02
        };
        let ratio = advice.outcome.idle_server_hours / buffer.outcome.idle_server_hours.max(1e-9);
        figures.push(Figure::within(name, ratio, 0.0, most));
    }
    figures
}
