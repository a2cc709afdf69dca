//! Memory and players as points of a range, what they remember of players, and the floors among them.
//!
//! Not here: what explains a floor (`explain`), what is made of it (the parent).

use crate::{
    analysis::stats::robust::{quantile, spread},
    history::{Frame, Measure},
};

/// Warm-up: this long after a start, but no more than this share of what is known.
const WARM_UP_HOURS: f64 = 1.0;
const WARM_UP_RATIO: f64 = 0.2;
/// Points that a range is cut into, and windows whose floors are taken.
const POINTS: usize = 720;
const WINDOWS: usize = 72;
/// A sweep gives back at least this share.
const SWEEP_RATIO: f64 = 0.03;
/// Memory after a restart is below this share of what it was.
const RESTART_RATIO: f64 = 0.7;
/// Memory that players took is often given back later: within so many hours.
const LATE_HOURS: [f64; 4] = [0.3, 0.7, 1.5, 3.0];

/// A stretch of time: hours, memory, players.
#[derive(Clone, Copy, Debug)]
pub struct Point {
    /// Since the first frame.
    pub hours: f64,
    /// Memory.
    pub bytes: f64,
    /// Players.
    pub players: f64,
    /// Players of late.
    pub late: [f64; 4],
    /// The same, as if nobody had been there before the first frame.
    pub late_anew: [f64; 4],
    /// The most that were ever there.
    pub most: f64,
}

/// From the last start of the server on. A gap of the agent alone leaves memory where it was.
pub fn since_restart(frames: &[Frame], measure: Measure) -> &[Frame] {
    let mut begin = 0;
    let mut before: Option<f64> = None;
    for (index, frame) in frames.iter().enumerate() {
        let now = frame.get(measure);
        if frame.begins_anew
            && before
                .zip(now)
                .is_some_and(|(before, now)| now < RESTART_RATIO * before)
        {
            begin = index;
        }
        before = now.or(before);
    }
    &frames[begin..]
}

pub fn settled(points: &[Point]) -> &[Point] {
    let whole = points.last().map_or(0.0, |point| point.hours);
    let warm_up = WARM_UP_HOURS.min(whole * WARM_UP_RATIO);
    &points[points.partition_point(|point| point.hours <= warm_up)..]
}

/// Means over short stretches.
pub fn points(frames: &[Frame], measure: Measure) -> Vec<Point> {
    let Some(first) = frames.first() else {
        return Vec::new();
    };
    let whole: f64 = frames.iter().map(|frame| frame.seconds).sum();
    let length = whole / POINTS as f64;
    let mut points = Vec::new();
    let (mut seconds, mut bytes, mut players, mut filled) = (0.0, 0.0, 0.0, 0.0);
    for frame in frames.iter().filter(|frame| frame.seconds > 0.0) {
        filled += frame.seconds;
        if let Some(value) = frame.get(measure).filter(|value| *value > 0.0) {
            seconds += frame.seconds;
            bytes += value * frame.seconds;
            players += frame.get(Measure::Players).unwrap_or(0.0) * frame.seconds;
        }
        if filled < 0.9 * length {
            continue;
        }
        if seconds > 0.0 {
            points.push(Point {
                hours: (frame.unix_ms - first.unix_ms) as f64 / 3.6e6,
                bytes: bytes / seconds,
                players: players / seconds,
                late: [0.0; 4],
                late_anew: [0.0; 4],
                most: 0.0,
            });
        }
        (seconds, bytes, players, filled) = (0.0, 0.0, 0.0, 0.0);
    }
    points.retain(|point| point.bytes.is_finite() && point.players.is_finite() && point.hours.is_finite());
    remember(&mut points);
    points
}

/// What memory remembers of players: those of late, and the most that there were.
fn remember(points: &mut [Point]) {
    let first = points.first().map_or(0.0, |point| point.players);
    let (mut late, mut late_anew, mut most, mut before) = ([first; 4], [0.0f64; 4], 0.0f64, 0.0);
    for point in points {
        let passed = point.hours - before;
        before = point.hours;
        for (index, hours) in LATE_HOURS.into_iter().enumerate() {
            let step = -(-passed / hours).exp_m1();
            late[index] += (point.players - late[index]) * step;
            late_anew[index] += (point.players - late_anew[index]) * step;
        }
        most = most.max(point.players);
        (point.late, point.late_anew, point.most) = (late, late_anew, most);
    }
}

/// Points (the lowest of each) at which a collector has swept: memory fell by a few percent within a few points.
pub fn sweeps(points: &[Point]) -> Vec<usize> {
    let steps: Vec<f64> = points
        .windows(2)
        .map(|pair| pair[1].bytes - pair[0].bytes)
        .collect();
    let noise = spread(&steps).unwrap_or(0.0);
    let mut sweeps = Vec::new();
    let mut index = 1;
    while index < points.len() {
        let mut end = index;
        while end < points.len() && points[end].bytes < points[end - 1].bytes {
            end += 1;
        }
        let (top, bottom) = (points[index - 1].bytes, points[end.max(index) - 1].bytes);
        // What players took with them is no sweep: then memory follows them all the time.
        if end > index && top - bottom > SWEEP_RATIO * top && top - bottom > 6.0 * noise {
            sweeps.push(end - 1);
        }
        index = end.max(index) + 1;
    }
    sweeps
}

/// The least of each window.
pub fn floors(points: &[Point]) -> Vec<Point> {
    points
        .chunks(points.len().div_ceil(WINDOWS).max(1))
        .filter_map(|window| {
            let bytes: Vec<f64> = window.iter().map(|point| point.bytes).collect();
            let players = window.iter().map(|point| point.players).sum::<f64>() / window.len() as f64;
            Some(Point {
                bytes: quantile(&bytes, 0.1)?,
                players,
                ..window[window.len() / 2]
            })
        })
        .collect()
}

/// What is left after sweeps. Small sweeps leave what a large one takes: of neighbours the lowest counts.
pub fn after_sweeps(points: &[Point], sweeps: &[usize]) -> Vec<Point> {
    let group = (sweeps.len() / 12).max(1);
    sweeps
        .chunks(group)
        .filter_map(|group| {
            let lowest = group
                .iter()
                .min_by(|a, b| points[**a].bytes.total_cmp(&points[**b].bytes))?;
            Some(points[*lowest])
        })
        .collect()
}
