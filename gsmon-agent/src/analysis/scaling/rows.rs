//! Frames as rows: players and one figure, of about equal length in time, without warm-up, with outliers marked.
//!
//! Not here: what is fitted to them (`shape`).

use super::{ScalingMetric, ScalingRefusal};
use crate::{
    analysis::stats::robust::{median, quantile},
    games::event::Phase,
    history::{Frame, Measure},
};

/// Rows that a range is cut into at most.
const MOST_ROWS: f64 = 900.0;
/// After a start nothing is typical for this long.
const WARM_UP_SECONDS: f64 = 120.0;
/// But no more than this share of what is known since the start is left out.
const WARM_UP_RATIO: f64 = 0.2;
/// Fewer rows are no basis.
const FEWEST_ROWS: usize = 30;
/// Nor is a shorter time.
const FEWEST_SECONDS: f64 = 20.0;
/// Further from what is usual at its players, in standard deviations, a row is an outlier.
const OUTLIER_SIGMAS: f64 = 4.0;
/// Rows by which it is judged what is usual at a number of players.
const FEWEST_ALIKE: usize = 24;

/// One row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row {
    /// End of it.
    pub unix_ms: i64,
    /// Mean number of players.
    pub players: f64,
    /// The figure.
    pub value: f64,
    /// 0 for an outlier, else about 1: the inverse of the variance that is usual at its players.
    pub weight: f64,
    /// Which of the groups that are compared.
    pub group: usize,
}

/// Rows in the order of time, and what was left out of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rows {
    /// Rows.
    pub rows: Vec<Row>,
    /// Seconds that they cover.
    pub seconds: f64,
    /// Seconds left out as warm-up.
    pub warm_up_seconds: f64,
    /// Starts and gaps in the range.
    pub gaps: usize,
}

/// Phases in which a server does what it is there for. Where none is active, all are taken as they come.
pub fn playing(frames: &[Frame]) -> impl Fn(&Frame) -> bool + use<> {
    let active = frames.iter().any(|frame| frame.phase == Some(Phase::Active));
    move |frame| !active || matches!(frame.phase, Some(Phase::Active) | None)
}

/// Sums on their way to a row.
#[derive(Default)]
struct Sum {
    seconds: f64,
    known_seconds: f64,
    players: f64,
    value: f64,
    unix_ms: i64,
    group: usize,
}

impl Sum {
    fn row(self, shortest: f64) -> Option<Row> {
        let row = Row {
            unix_ms: self.unix_ms,
            players: self.players / self.known_seconds,
            value: self.value / self.known_seconds,
            weight: 1.0,
            group: self.group,
        };
        (self.known_seconds >= shortest && row.players.is_finite() && row.value.is_finite()).then_some(row)
    }
}

/// Makes rows of the frames that `group` gives a group.
///
/// # Errors
/// When nobody measured the figure or the players, or there are too few rows.
pub fn rows(
    frames: &[Frame],
    metric: ScalingMetric,
    group: impl Fn(&Frame) -> Option<usize>,
) -> Result<Rows, ScalingRefusal> {
    if frames.is_empty() {
        return Err(ScalingRefusal::Empty);
    }
    if !frames.iter().any(|frame| frame.get(Measure::Players).is_some()) {
        return Err(ScalingRefusal::NoPlayers);
    }
    let measure = match metric {
        ScalingMetric::Stored(measure) => measure,
        ScalingMetric::MemoryGrowth => Measure::RssBytes,
    };
    if !frames.iter().any(|frame| frame.get(measure).is_some()) {
        return Err(ScalingRefusal::NotMeasured { metric });
    }
    let lengths: Vec<f64> = frames.iter().map(|frame| frame.seconds).collect();
    let whole: f64 = lengths
        .iter()
        .copied()
        .filter(|seconds| seconds.is_finite())
        .sum();
    // Nearly all frames are no longer than this; a block is one of them or several.
    let longest = quantile(&lengths, 0.9).unwrap_or(1.0).max(0.05);
    // Growth is a difference: over a shorter time it is nothing but noise.
    let least = if metric == ScalingMetric::MemoryGrowth {
        30.0
    } else {
        0.0
    };
    let block = (whole / MOST_ROWS).max(longest).max(least);
    let mut out = Rows::default();
    let mut begin = 0;
    for end in 1..=frames.len() {
        if end < frames.len() && !frames[end].begins_anew {
            continue;
        }
        let run = &frames[begin..end];
        out.gaps += usize::from(begin > 0);
        let length: f64 = run.iter().map(|frame| frame.seconds).sum();
        // Only what begins anew was just started, or may have been.
        let warm_up = match run[0].begins_anew {
            true => WARM_UP_SECONDS.min(length * WARM_UP_RATIO),
            false => 0.0,
        };
        out.add(run, warm_up, block, metric, measure, &group);
        begin = end;
    }
    if out.rows.len() < FEWEST_ROWS || out.seconds < FEWEST_SECONDS {
        return Err(ScalingRefusal::TooLittle {
            rows: out.rows.len(),
            seconds: out.seconds,
            needed: FEWEST_ROWS,
        });
    }
    Ok(out)
}

impl Rows {
    fn add(
        &mut self,
        run: &[Frame],
        warm_up: f64,
        block: f64,
        metric: ScalingMetric,
        measure: Measure,
        group: &impl Fn(&Frame) -> Option<usize>,
    ) {
        let mut passed = 0.0;
        let mut sum: Option<Sum> = None;
        let mut before: Option<(i64, f64)> = None;
        for frame in run.iter().filter(|frame| frame.seconds > 0.0) {
            passed += frame.seconds;
            if passed <= warm_up {
                self.warm_up_seconds += frame.seconds;
                continue;
            }
            let Some(group) = group(frame) else {
                self.close(sum.take(), block, metric, &mut before);
                before = None;
                continue;
            };
            if sum.as_ref().is_some_and(|sum| sum.group != group) {
                self.close(sum.take(), block, metric, &mut before);
                before = None;
            }
            let into = sum.get_or_insert_with(|| Sum {
                group,
                ..Sum::default()
            });
            into.seconds += frame.seconds;
            into.unix_ms = frame.unix_ms;
            if let (Some(players), Some(value)) = (frame.get(Measure::Players), frame.get(measure)) {
                into.known_seconds += frame.seconds;
                into.players += players * frame.seconds;
                into.value += value * frame.seconds;
            }
            if into.seconds >= 0.9 * block {
                self.close(sum.take(), block, metric, &mut before);
            }
        }
        self.close(sum, block, metric, &mut before);
    }

    fn close(
        &mut self,
        sum: Option<Sum>,
        block: f64,
        metric: ScalingMetric,
        before: &mut Option<(i64, f64)>,
    ) {
        let Some(sum) = sum else { return };
        let seconds = sum.known_seconds;
        let Some(mut row) = sum.row(0.45 * block) else {
            return;
        };
        if metric == ScalingMetric::MemoryGrowth {
            let earlier = before.replace((row.unix_ms, row.value));
            let Some((unix_ms, value)) = earlier else { return };
            let hours = (row.unix_ms - unix_ms) as f64 / 3.6e6;
            if hours <= 0.0 {
                return;
            }
            row.value = (row.value - value) / hours;
        }
        self.seconds += seconds;
        self.rows.push(row);
    }

    /// Gives outliers no weight: rows that are far from the others at about their number of players. How far is usual is
    /// judged there as well, since noise grows with load; rows where it is small weigh more.
    pub fn weigh(&mut self) {
        let mut order: Vec<usize> = (0..self.rows.len()).collect();
        order.sort_by(|a, b| self.rows[*a].players.total_cmp(&self.rows[*b].players));
        let bins = (self.rows.len() / FEWEST_ALIKE).clamp(1, 10);
        let mut centres: Vec<(f64, f64, f64)> = Vec::with_capacity(bins);
        for bin in order.chunks(self.rows.len().div_ceil(bins).max(1)) {
            let of = |value: fn(&Row) -> f64| -> Vec<f64> {
                bin.iter().map(|at| value(&self.rows[*at])).collect()
            };
            let (players, values) = (of(|row| row.players), of(|row| row.value));
            let (Some(players), Some(middle)) = (median(&players), median(&values)) else {
                continue;
            };
            centres.push((players, middle, 0.0));
        }
        // A slope within a bin is no scatter: deviations are taken from the line between the bins.
        let mut off: Vec<f64> = self
            .rows
            .iter()
            .map(|row| row.value - between(&centres, row.players, |centre| centre.1))
            .collect();
        for (bin, centre) in order
            .chunks(self.rows.len().div_ceil(bins).max(1))
            .zip(&mut centres)
        {
            let here: Vec<f64> = bin.iter().map(|at| off[*at]).collect();
            let middle = median(&here).unwrap_or(0.0);
            let apart: Vec<f64> = here.iter().map(|off| (off - middle).abs()).collect();
            centre.2 = median(&apart).unwrap_or(0.0) * 1.482_602_2;
        }
        let scatter = Scatter::of(&centres);
        for (row, off) in self.rows.iter_mut().zip(&mut off) {
            let sigma = between(&centres, row.players, |centre| centre.2);
            // Where more than half of the rows are equal there is no scatter to judge by.
            let outlier = sigma > 0.0 && off.abs() > OUTLIER_SIGMAS * sigma;
            row.weight = if outlier { 0.0 } else { scatter.weight(row.players) };
        }
    }

    /// Players, sorted.
    pub fn players(&self) -> Vec<f64> {
        let mut players: Vec<f64> = self.rows.iter().map(|row| row.players).collect();
        players.sort_by(f64::total_cmp);
        players
    }
}

/// How scatter grows with players: a line through that of the bins.
struct Scatter {
    typical: f64,
    at_zero: f64,
    per_player: f64,
}

impl Scatter {
    fn of(centres: &[(f64, f64, f64)]) -> Self {
        let count = centres.len().max(1) as f64;
        let mean = |of: fn(&(f64, f64, f64)) -> f64| centres.iter().map(of).sum::<f64>() / count;
        let (x, typical) = (mean(|centre| centre.0), mean(|centre| centre.2));
        let (mut above, mut below) = (0.0, 0.0);
        for centre in centres {
            above += (centre.0 - x) * (centre.2 - typical);
            below += (centre.0 - x).powi(2);
        }
        let per_player = if below > 0.0 { above / below } else { 0.0 };
        Self {
            typical,
            at_zero: typical - per_player * x,
            per_player,
        }
    }

    /// Inverse of the variance, about 1; no row weighs more than ten times another.
    fn weight(&self, players: f64) -> f64 {
        if self.typical <= 0.0 {
            return 1.0;
        }
        let sigma = (self.at_zero + self.per_player * players) / self.typical;
        sigma.clamp(0.4, 2.5).powi(-2)
    }
}

/// Linear interpolation between the centres of bins, and on from the outermost two.
fn between(centres: &[(f64, f64, f64)], at: f64, of: impl Fn(&(f64, f64, f64)) -> f64) -> f64 {
    let (Some(first), Some(last)) = (centres.first(), centres.last()) else {
        return 0.0;
    };
    if centres.len() == 1 || last.0 <= first.0 {
        return of(first);
    }
    let next = centres
        .partition_point(|centre| centre.0 < at)
        .clamp(1, centres.len() - 1);
    let (left, right) = (&centres[next - 1], &centres[next]);
    let width = right.0 - left.0;
    if width <= 0.0 {
        return f64::midpoint(of(left), of(right));
    }
    // A scatter must not be extrapolated below zero, nor a level far away.
    let part = ((at - left.0) / width).clamp(-0.5, 1.5);
    of(left) + (of(right) - of(left)) * part
}
