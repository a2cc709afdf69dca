//! Is memory lost? Growth that players, a warm-up, a collector or a cache do not explain.
//!
//! Looked at is the floor: the least memory of each window, once warm-up is over; where a collector runs, what is left after
//! each of its sweeps. A leak is named when the floor rises throughout (each half, or third, alike), by more than
//! noise and players explain, and by enough to matter. What cannot show (memory that never moves) is said to be so.

use serde::{Deserialize, Serialize};

mod explain;
mod points;

use self::{
    explain::{Cause, Explanation, Explanations},
    points::{Point, after_sweeps, floors, points, settled, since_restart, sweeps},
};
use super::ScalingRefusal;
use crate::{
    analysis::stats::{
        Estimate,
        robust::{median, quantile, spread},
    },
    history::{Frame, Measure},
};

/// Which memory was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemoryBasis {
    /// Memory that is no file's: the page cache has no part in it.
    Anonymous,
    /// All resident memory, mapped files included.
    Resident,
}

/// A garbage collector, or another thing that gives memory back in sweeps.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Collector {
    /// Sweeps seen.
    pub sweeps: usize,
    /// Share of memory that a usual sweep gives back.
    pub given_back_ratio: f64,
}

/// What comes out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum LeakVerdict {
    /// Memory is lost.
    Leak,
    /// No growth beyond noise, players and warm-up.
    None,
    /// It cannot be told.
    CannotTell {
        /// Why, and what would help.
        reason: String,
    },
}

/// How much memory there may be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Limit {
    /// Bytes.
    pub bytes: f64,
}

/// When memory is used up, should it go on like this. Hours.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TimeToLimit {
    /// Best value.
    pub hours: f64,
    /// Soonest.
    pub low: f64,
    /// Latest.
    pub high: f64,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LeakReport {
    /// What comes out.
    pub verdict: LeakVerdict,
    /// Which memory was looked at.
    pub basis: MemoryBasis,
    /// Hours behind it: since the last start, warm-up left out.
    pub hours: f64,
    /// Memory now, bytes.
    pub level_bytes: f64,
    /// How the floor grows at equal players, bytes per hour.
    pub bytes_per_hour: Option<Estimate>,
    /// The same over the level: 0.01 is one percent per hour.
    pub relative_per_hour: Option<f64>,
    /// Growth per hour and player, where growth is a leak and players were there.
    pub bytes_per_player_hour: Option<f64>,
    /// Memory that one more player takes.
    pub bytes_per_player: Option<Estimate>,
    /// A collector, where sweeps were seen.
    pub collector: Option<Collector>,
    /// When the limit is reached, where there is a leak and a limit.
    pub time_to_limit: Option<TimeToLimit>,
}

/// Shorter times tell nothing.
const SHORTEST_HOURS: f64 = 0.5;
/// Sweeps that are needed before their floors tell anything.
const FEWEST_SWEEPS: usize = 8;
/// Memory that moves by less than this share does not move.
const STILL_RATIO: f64 = 1e-4;
/// A leak is at least so much per hour, as a share of memory,
const LEAST_PER_HOUR_RATIO: f64 = 0.000_5;
/// and this many standard deviations of the floor's noise,
const LEAST_SIGMAS: f64 = 6.0;
/// with chance at most this often.
const THRESHOLD: f64 = 0.2;
/// The slowest part of the range grows at least by this share of the whole,
const LEAST_PART: f64 = 0.45;
/// halves of a shorter one, thirds of a longer one.
const SHORT_HOURS: f64 = 9.0;
/// Where files are in it, growth that falls off below this share from the first third to the last is a cache that fills.
const STEADY: f64 = 1.0;

/// What is asked of growth before it is called a leak.
struct Asked {
    /// This share of memory over the range; twice as much over a day, within which players do more.
    growth_ratio: f64,
    /// This share of it is left by every explanation that the data allow.
    left_ratio: f64,
    /// Within a day, players moved memory by no more than so many times the growth.
    swing_ratio: f64,
}

/// Where memory follows players, a start and a leak, and nothing else.
const PLAIN: Asked = Asked {
    growth_ratio: 0.017_5,
    left_ratio: 0.3,
    swing_ratio: 3.0,
};

/// Where a collector or files are in it.
const BENT: Asked = Asked {
    growth_ratio: 0.03,
    left_ratio: 0.4,
    swing_ratio: 1.0,
};

/// From here on a range has a day in it, warm-up left out.
const WHOLE_DAY_HOURS: f64 = 20.0;
/// Looks for a leak in the frames of one server.
///
/// # Errors
/// When there are none, or memory was not measured.
pub fn find_leak(frames: &[Frame], limit: Option<Limit>) -> Result<LeakReport, ScalingRefusal> {
    if frames.is_empty() {
        return Err(ScalingRefusal::Empty);
    }
    let known = |measure| frames.iter().filter(|frame| frame.get(measure).is_some()).count();
    let basis = match known(Measure::RssAnonymousBytes) * 5 >= frames.len() * 4 {
        true => MemoryBasis::Anonymous,
        false => MemoryBasis::Resident,
    };
    let measure = match basis {
        MemoryBasis::Anonymous => Measure::RssAnonymousBytes,
        MemoryBasis::Resident => Measure::RssBytes,
    };
    if known(measure) == 0 {
        return Err(ScalingRefusal::NoMemory);
    }
    let frames = since_restart(frames, measure);
    let whole = points(frames, measure);
    let points = settled(&whole);
    let hours = match (points.first(), points.last()) {
        (Some(first), Some(last)) => last.hours - first.hours,
        _ => 0.0,
    };
    let level = points.last().map_or(0.0, |point| point.bytes);
    let mut report = LeakReport {
        verdict: LeakVerdict::None,
        basis,
        hours,
        level_bytes: level,
        bytes_per_hour: None,
        relative_per_hour: None,
        bytes_per_player_hour: None,
        bytes_per_player: None,
        collector: None,
        time_to_limit: None,
    };
    if hours < SHORTEST_HOURS || points.len() < 40 || level <= 0.0 {
        report.verdict = cannot(format!(
            "{hours:.1} h since the last start (warm-up left out) are too short, at least {SHORTEST_HOURS} h are needed"
        ));
        return Ok(report);
    }
    let bytes: Vec<f64> = points.iter().map(|point| point.bytes).collect();
    let range = quantile(&bytes, 1.0).unwrap_or(0.0) - quantile(&bytes, 0.0).unwrap_or(0.0);
    if range <= STILL_RATIO * level {
        report.verdict = cannot(
            "memory does not move at all: a heap that was touched in advance looks like this, and growth inside it cannot be \
             seen from outside; ask the runtime (for Java: jstat, or the collector's log)"
                .to_owned(),
        );
        return Ok(report);
    }
    let sweeps = sweeps(points);
    let floors = match sweeps.len() {
        0 | 1 => floors(points),
        few if few < FEWEST_SWEEPS => {
            report.collector = Some(collector(points, &sweeps));
            report.verdict = cannot(format!(
                "memory is given back in sweeps, of which {few} were seen; {FEWEST_SWEEPS} are needed to tell what is left after them"
            ));
            return Ok(report);
        }
        _ => {
            report.collector = Some(collector(points, &sweeps));
            after_sweeps(points, &sweeps)
        }
    };
    judge(&floors, &mut report);
    if let (LeakVerdict::Leak, Some(limit), Some(growth)) = (&report.verdict, limit, report.bytes_per_hour) {
        let left = (limit.bytes - level).max(0.0);
        report.time_to_limit = (growth.low > 0.0).then(|| TimeToLimit {
            hours: left / growth.value,
            low: left / growth.high,
            high: left / growth.low,
        });
    }
    Ok(report)
}

fn cannot(reason: String) -> LeakVerdict {
    LeakVerdict::CannotTell { reason }
}

fn collector(points: &[Point], sweeps: &[usize]) -> Collector {
    let given: Vec<f64> = sweeps
        .iter()
        .map(|at| {
            let top = points[at.saturating_sub(3)..*at]
                .iter()
                .map(|point| point.bytes)
                .fold(0.0, f64::max);
            1.0 - points[*at].bytes / top.max(1.0)
        })
        .collect();
    Collector {
        sweeps: sweeps.len(),
        given_back_ratio: median(&given).unwrap_or(0.0),
    }
}

fn judge(floors: &[Point], report: &mut LeakReport) {
    let level = report.level_bytes;
    let y: Vec<f64> = floors.iter().map(|floor| floor.bytes / level).collect();
    // What files and collectors do is no straight line: what is cut off from it may be what bends.
    let plain = report.basis == MemoryBasis::Anonymous && report.collector.is_none();
    let all = if plain {
        Explanations::likely(floors, &y)
    } else {
        Explanations::any(floors, &y)
    };
    let Some(all) = all else {
        report.verdict = cannot("too little of memory is known".to_owned());
        return;
    };
    let Explanation { causes, fit } = &all.best;
    let Some(slope) = fit.estimate(1) else { return };
    report.bytes_per_hour = Some(slope.scaled(level));
    report.relative_per_hour = Some(slope.value);
    report.bytes_per_player = causes
        .iter()
        .position(|cause| *cause == Cause::Players)
        .and_then(|at| fit.estimate(at + 2))
        .map(|estimate| estimate.scaled(level));
    // What is left once players are accounted for, growth included.
    let rest: Vec<(f64, f64)> = floors
        .iter()
        .zip(&fit.residuals)
        .map(|(floor, residual)| (floor.hours, residual + slope.value * floor.hours))
        .collect();
    let span = report.hours.max(1e-6);
    let growth = slope.value * span;
    let noise = spread(&fit.residuals).unwrap_or(0.0);
    // Parts that are too short are nothing but noise.
    let parts = if report.hours < SHORT_HOURS { 2 } else { 3 };
    let steepnesses: Vec<f64> = rest
        .chunks(rest.len().div_ceil(parts).max(1))
        .map(steepness)
        .collect();
    // Players who become more all the time explain growth as well as time does.
    let raw = steepness(
        &floors
            .iter()
            .zip(&y)
            .map(|(floor, y)| (floor.hours, *y))
            .collect::<Vec<_>>(),
    );
    let times: Vec<(f64, f64)> = floors.iter().map(|floor| (floor.players, floor.hours)).collect();
    let confounded = correlation(&times).abs() > 0.9;
    // Sweeps leave more or less behind: few of them rise together by chance.
    let sigmas = if report.collector.is_some() {
        2.0 * LEAST_SIGMAS
    } else {
        LEAST_SIGMAS
    };
    let asked = if plain { PLAIN } else { BENT };
    let grows = growth > asked.growth_ratio * (1.0 + (report.hours / 24.0).min(1.0))
        && slope.value > LEAST_PER_HOUR_RATIO
        && growth > sigmas * noise
        && slope.p_value < THRESHOLD
        && all.least_slope > asked.left_ratio * slope.value
        && steepnesses.iter().all(|part| *part > LEAST_PART * slope.value);
    if confounded && raw * span > BENT.growth_ratio {
        report.verdict = cannot(
            "players became more (or fewer) all the time, and memory with them: take a range in which their number goes up and down"
                .to_owned(),
        );
        return;
    }
    // What players did to memory within a part of a day outweighs the growth: how they did it exactly decides then.
    let by_players: Vec<f64> = floors
        .iter()
        .map(|floor| {
            causes
                .iter()
                .zip(&fit.coefficients[2..])
                .map(|(cause, each)| cause.at(floor) * each)
                .sum()
        })
        .collect();
    let swing = quantile(&by_players, 0.95).unwrap_or(0.0) - quantile(&by_players, 0.05).unwrap_or(0.0);
    if grows && report.hours < WHOLE_DAY_HOURS && swing > asked.swing_ratio * growth {
        report.verdict = cannot(
            "memory grows, but players moved it by more than that in this time: take a range of a day or longer".to_owned(),
        );
        return;
    }
    let steady = report.basis == MemoryBasis::Anonymous
        || (report.hours >= SHORT_HOURS
            && matches!(steepnesses[..], [first, .., last] if last >= STEADY * first));
    if grows && !steady {
        report.verdict = cannot(
            "memory grows, and how much of it are files is not known: a cache that fills looks like this; take a \
             later range"
                .to_owned(),
        );
        return;
    }
    if grows {
        report.verdict = LeakVerdict::Leak;
        let players = floors.iter().map(|floor| floor.players).sum::<f64>() / floors.len() as f64;
        report.bytes_per_player_hour = (players >= 0.5).then(|| slope.value * level / players);
    }
}

/// Median of the slopes between all pairs (Theil and Sen).
fn steepness(points: &[(f64, f64)]) -> f64 {
    let mut slopes = Vec::new();
    for (index, a) in points.iter().enumerate() {
        for b in &points[index + 1..] {
            if b.0 > a.0 {
                slopes.push((b.1 - a.1) / (b.0 - a.0));
            }
        }
    }
    median(&slopes).unwrap_or(0.0)
}

fn correlation(points: &[(f64, f64)]) -> f64 {
    let count = points.len().max(1) as f64;
    let (a, b) = points
        .iter()
        .fold((0.0, 0.0), |(a, b), (x, y)| (a + x / count, b + y / count));
    let (mut aa, mut bb, mut ab) = (0.0, 0.0, 0.0);
    for (x, y) in points {
        aa += (x - a).powi(2);
        bb += (y - b).powi(2);
        ab += (x - a) * (y - b);
    }
    if aa > 1e-9 && bb > 0.0 {
        ab / (aa * bb).sqrt()
    } else {
        0.0
    }
}
