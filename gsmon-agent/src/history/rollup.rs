//! Many frames of one server as one row: count, sum, least, largest and a quantile sketch of every figure. Rows merge
//! exactly. Not here: writing them (`disk::rollups`).

use std::{collections::BTreeMap, sync::Arc};

use super::{
    frame::{Acted, Frame},
    measure::{Measure, Merge},
    sketch::Sketch,
};
use crate::games::event::Phase;

/// Length of a roll-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Span {
    /// One minute.
    Minute,
    /// Ten minutes: the shortest span of which the file keeps sketches.
    TenMinutes,
    /// One hour.
    Hour,
}

impl Span {
    /// The span whose sketches are kept beside rows of this one: a sketch of a minute takes more room than all else of it.
    pub fn of_sketches(self) -> Self {
        match self {
            Self::Minute | Self::TenMinutes => Self::TenMinutes,
            Self::Hour => Self::Hour,
        }
    }

    /// Its length.
    pub fn ms(self) -> i64 {
        match self {
            Self::Minute => 60_000,
            Self::TenMinutes => 600_000,
            Self::Hour => 3_600_000,
        }
    }

    /// When the span begins that an interval with this end belongs to. Spans are those of UTC: no daylight saving moves
    /// them.
    pub fn begin_of(self, end_unix_ms: i64) -> i64 {
        (end_unix_ms - 1).div_euclid(self.ms()) * self.ms()
    }
}

/// One figure over many frames.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// Frames that had it.
    pub count: u32,
    /// Sum of its values.
    pub sum: f64,
    /// Least value.
    pub min: f32,
    /// Largest value.
    pub max: f32,
    /// All values, counted by size; empty where only the others were asked for.
    pub sketch: Sketch,
}

impl Figure {
    fn of(value: f64) -> Self {
        let mut sketch = Sketch::default();
        sketch.add(value);
        Self {
            count: 1,
            sum: value,
            min: value as f32,
            max: value as f32,
            sketch,
        }
    }

    fn add(&mut self, value: f64) {
        self.count = self.count.saturating_add(1);
        self.sum += value;
        self.min = self.min.min(value as f32);
        self.max = self.max.max(value as f32);
        self.sketch.add(value);
    }

    /// Adds the values of another.
    pub fn merge(&mut self, other: &Self) {
        self.count = self.count.saturating_add(other.count);
        self.sum += other.sum;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.sketch.merge(&other.sketch);
    }

    /// Mean over frames.
    pub fn mean(&self) -> f64 {
        self.sum / f64::from(self.count.max(1))
    }

    /// A quantile, within [`super::sketch::ACCURACY_RATIO`] of the true one and never beyond least and largest.
    pub fn quantile(&self, share_ratio: f64) -> Option<f64> {
        let told = self.sketch.quantile(share_ratio)?;
        Some(told.clamp(f64::from(self.min), f64::from(self.max)))
    }
}

/// One server over one span.
#[derive(Clone, Debug, PartialEq)]
pub struct Rollup {
    /// Beginning of the span.
    pub from_unix_ms: i64,
    /// Its length.
    pub span: Span,
    /// Time of the span that frames cover.
    pub seconds: f64,
    /// Frames in it.
    pub frames: u32,
    /// Does a frame in it begin anew?
    pub begins_anew: bool,
    /// Phase, where all frames had the same one.
    pub phase: Option<Phase>,
    /// Mode, where all frames had the same one.
    pub mode: Option<Arc<str>>,
    /// Map, where all frames had the same one.
    pub map: Option<Arc<str>>,
    /// What players did, and how often.
    pub acted: BTreeMap<Arc<str>, u32>,
    /// Figures that at least one frame had.
    pub figures: BTreeMap<Measure, Figure>,
}

impl Rollup {
    /// From a first frame.
    fn of(frame: &Frame, span: Span) -> Self {
        let figures = Measure::ALL
            .iter()
            .filter_map(|measure| Some((*measure, Figure::of(frame.get(*measure)?))))
            .collect();
        Self {
            from_unix_ms: span.begin_of(frame.unix_ms),
            span,
            seconds: frame.seconds,
            frames: 1,
            begins_anew: frame.begins_anew,
            phase: frame.phase,
            mode: frame.mode.clone(),
            map: frame.map.clone(),
            acted: times(frame).collect(),
            figures,
        }
    }

    fn add(&mut self, frame: &Frame) {
        self.seconds += frame.seconds;
        self.frames = self.frames.saturating_add(1);
        self.agree(frame.begins_anew, frame.phase, &frame.mode, &frame.map);
        self.act(times(frame));
        for measure in Measure::ALL {
            let Some(value) = frame.get(*measure) else {
                continue;
            };
            match self.figures.get_mut(measure) {
                Some(figure) => figure.add(value),
                None => drop(self.figures.insert(*measure, Figure::of(value))),
            }
        }
    }

    fn agree(
        &mut self,
        begins_anew: bool,
        phase: Option<Phase>,
        mode: &Option<Arc<str>>,
        map: &Option<Arc<str>>,
    ) {
        self.begins_anew |= begins_anew;
        if self.phase != phase {
            self.phase = None;
        }
        if self.mode != *mode {
            self.mode = None;
        }
        if self.map != *map {
            self.map = None;
        }
    }

    fn act(&mut self, acted: impl Iterator<Item = (Arc<str>, u32)>) {
        for (action, times) in acted {
            let total = self.acted.entry(action).or_default();
            *total = total.saturating_add(times);
        }
    }

    /// Adds all frames of another, which may be of a shorter span.
    pub fn merge(&mut self, other: &Self) {
        self.seconds += other.seconds;
        self.frames = self.frames.saturating_add(other.frames);
        self.agree(other.begins_anew, other.phase, &other.mode, &other.map);
        self.act(other.acted.iter().map(|(action, times)| (action.clone(), *times)));
        for (measure, figure) in &other.figures {
            match self.figures.get_mut(measure) {
                Some(own) => own.merge(figure),
                None => drop(self.figures.insert(*measure, figure.clone())),
            }
        }
    }

    /// The row as one frame: means of levels, sums of counts, the largest of what must not be averaged away.
    pub fn frame(&self) -> Frame {
        let mut frame = Frame::new(self.from_unix_ms + self.span.ms(), self.seconds);
        frame.begins_anew = self.begins_anew;
        frame.phase = self.phase;
        frame.mode = self.mode.clone();
        frame.map = self.map.clone();
        let acted = self.acted.iter().map(|(action, times)| Acted {
            action: action.clone(),
            times: *times,
        });
        frame.acted = acted.collect();
        for (measure, figure) in &self.figures {
            let value = match measure.merge() {
                Merge::Mean => figure.mean(),
                Merge::Sum => figure.sum,
                Merge::Largest => f64::from(figure.max),
            };
            frame.set(*measure, Some(value));
        }
        frame
    }
}

fn times(frame: &Frame) -> impl Iterator<Item = (Arc<str>, u32)> {
    let acted = frame.acted.iter();
    acted.map(|acted| (acted.action.clone(), acted.times))
}

/// Adds frames to the rows of their spans; `rows` are by beginning.
pub fn roll_frames<'a>(
    rows: &mut BTreeMap<i64, Rollup>,
    frames: impl IntoIterator<Item = &'a Frame>,
    span: Span,
) {
    for frame in frames {
        match rows.get_mut(&span.begin_of(frame.unix_ms)) {
            Some(row) => row.add(frame),
            None => drop(rows.insert(span.begin_of(frame.unix_ms), Rollup::of(frame, span))),
        }
    }
}

/// Adds rows to the rows of a longer span.
pub fn roll_rows<'a>(
    rows: &mut BTreeMap<i64, Rollup>,
    shorter: impl IntoIterator<Item = &'a Rollup>,
    span: Span,
) {
    for row in shorter {
        let from_unix_ms = span.begin_of(row.from_unix_ms + 1);
        match rows.get_mut(&from_unix_ms) {
            Some(own) => own.merge(row),
            None => {
                let mut first = row.clone();
                (first.from_unix_ms, first.span) = (from_unix_ms, span);
                rows.insert(from_unix_ms, first);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A second of an hour in which every 50th tick is slow.
    fn frame(second: i64) -> Frame {
        let mut frame = Frame::new(3_600_000 + second * 1_000, 1.0)
            .with(Measure::CpuCores, second as f64)
            .with(Measure::Joins, 1.0)
            .with(Measure::TickP99Ms, if second % 50 == 0 { 90.0 } else { 10.0 });
        frame.phase = Some(if second <= 60 { Phase::Lobby } else { Phase::Active });
        frame
    }

    fn rolled(seconds: std::ops::RangeInclusive<i64>, span: Span) -> Vec<Rollup> {
        let frames: Vec<Frame> = seconds.map(frame).collect();
        let mut rows = BTreeMap::new();
        roll_frames(&mut rows, &frames, span);
        rows.into_values().collect()
    }

    #[test]
    fn an_hour_of_minutes_is_the_hour_of_its_seconds() {
        let minutes = rolled(1..=3_600, Span::Minute);
        assert_eq!(minutes.len(), 60);
        assert_eq!((minutes[0].from_unix_ms, minutes[0].frames), (3_600_000, 60));
        assert_eq!(minutes[0].phase, Some(Phase::Lobby));
        let mut hours = BTreeMap::new();
        roll_rows(&mut hours, &minutes, Span::Hour);
        let hours: Vec<Rollup> = hours.into_values().collect();
        assert_eq!(hours, rolled(1..=3_600, Span::Hour));
        let hour = &hours[0];
        assert_eq!(hour.phase, None, "an hour of two phases has none");
        let ticks = &hour.figures[&Measure::TickP99Ms];
        assert_eq!((ticks.count, ticks.max), (3_600, 90.0));
        assert!((ticks.quantile(0.99).unwrap() - 90.0).abs() < 2.7);
        assert!((ticks.quantile(0.97).unwrap() - 10.0).abs() < 0.3);
    }

    #[test]
    fn a_row_becomes_a_frame_as_each_figure_wants() {
        let frame = rolled(1..=60, Span::Minute)[0].frame();
        assert_eq!((frame.unix_ms, frame.seconds), (3_660_000, 60.0));
        assert_eq!(frame.get(Measure::CpuCores), Some(30.5));
        assert_eq!(frame.get(Measure::Joins), Some(60.0));
        assert_eq!(frame.get(Measure::TickP99Ms), Some(90.0));
        assert_eq!(frame.get(Measure::RttP50Ms), None);
    }
}
