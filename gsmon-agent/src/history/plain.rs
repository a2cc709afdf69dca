//! Many frames of one server as one frame of a span: means, sums and largest values without the distributions behind them,
//! in memory of a fixed size per row. The frame is the one that the roll-up of the same frames has.
//!
//! Not here: roll-ups with distributions (`rollup`), reading blocks (`disk::rollups`).

use std::{collections::BTreeMap, sync::Arc};

use super::{
    frame::{Acted, Frame},
    measure::{Measure, Merge},
    rollup::Span,
};
use crate::games::event::Phase;

/// One figure of frames that came together.
#[derive(Clone, Copy, Debug, Default)]
struct Value {
    /// Sum, or the largest of what must not be averaged away.
    value: f64,
    /// Frames that had it.
    count: u32,
}

/// What is known of a row besides its figures.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Setting {
    /// Time that frames cover, seconds.
    pub seconds: f64,
    /// Does a frame in it begin anew?
    pub begins_anew: bool,
    /// Phase of all of them.
    pub phase: Option<Phase>,
    /// Mode of all of them.
    pub mode: Option<Arc<str>>,
    /// Map of all of them.
    pub map: Option<Arc<str>>,
}

#[derive(Debug)]
struct Row {
    setting: Setting,
    acted: BTreeMap<Arc<str>, u32>,
    values: [Value; Measure::COUNT],
}

/// A row that something can be added to, until rows are turned into frames.
#[derive(Clone, Copy, Debug)]
pub struct Place(usize);

/// Rows of one server, by the span that they are of.
#[derive(Debug)]
pub struct PlainRows {
    span: Span,
    /// Rows by the beginning of their span.
    begins: BTreeMap<i64, usize>,
    rows: Vec<Row>,
}

impl PlainRows {
    /// None yet.
    pub fn new(span: Span) -> Self {
        Self {
            span,
            begins: BTreeMap::new(),
            rows: Vec::new(),
        }
    }

    /// The row of an interval with this end, with what is known of that interval; figures are added to it next.
    pub fn place(&mut self, end_unix_ms: i64, setting: Setting) -> Place {
        let next = self.rows.len();
        let place = *self.begins.entry(self.span.begin_of(end_unix_ms)).or_insert(next);
        match self.rows.get_mut(place) {
            Some(row) => {
                let own = &mut row.setting;
                own.seconds += setting.seconds;
                own.begins_anew |= setting.begins_anew;
                if own.phase != setting.phase {
                    own.phase = None;
                }
                if own.mode != setting.mode {
                    own.mode = None;
                }
                if own.map != setting.map {
                    own.map = None;
                }
            }
            None => self.rows.push(Row {
                setting,
                acted: BTreeMap::new(),
                values: [Value::default(); Measure::COUNT],
            }),
        }
        Place(place)
    }

    /// Adds a figure of `count` frames: their sum, or the largest of them, as the measure wants it.
    pub fn add(&mut self, place: Place, measure: Measure, value: f64, count: u32) {
        let Some(row) = self.rows.get_mut(place.0) else {
            return;
        };
        let own = &mut row.values[measure as usize];
        own.value = match (own.count, measure.merge()) {
            (0, _) => value,
            (_, Merge::Largest) => own.value.max(value),
            (_, Merge::Mean | Merge::Sum) => own.value + value,
        };
        own.count = own.count.saturating_add(count);
    }

    /// Adds what players did.
    pub fn act(&mut self, place: Place, action: Arc<str>, times: u32) {
        if let Some(row) = self.rows.get_mut(place.0) {
            let total = row.acted.entry(action).or_default();
            *total = total.saturating_add(times);
        }
    }

    /// Adds a frame.
    pub fn add_frame(&mut self, frame: &Frame) {
        let setting = Setting {
            seconds: frame.seconds,
            begins_anew: frame.begins_anew,
            phase: frame.phase,
            mode: frame.mode.clone(),
            map: frame.map.clone(),
        };
        let place = self.place(frame.unix_ms, setting);
        for acted in frame.acted.iter() {
            self.act(place, acted.action.clone(), acted.times);
        }
        for measure in Measure::ALL {
            if let Some(value) = frame.get(*measure) {
                self.add(place, *measure, value, 1);
            }
        }
    }

    /// Hands over the rows as frames, the oldest first.
    pub fn each_frame(self, take: &mut dyn FnMut(Frame)) {
        let Self { span, begins, rows } = self;
        for (from_unix_ms, place) in begins {
            let Some(row) = rows.get(place) else { continue };
            let setting = &row.setting;
            let mut frame = Frame::new(from_unix_ms + span.ms(), setting.seconds);
            frame.begins_anew = setting.begins_anew;
            frame.phase = setting.phase;
            frame.mode.clone_from(&setting.mode);
            frame.map.clone_from(&setting.map);
            let acted = row.acted.iter().map(|(action, times)| Acted {
                action: action.clone(),
                times: *times,
            });
            frame.acted = acted.collect();
            for (measure, own) in Measure::ALL.iter().zip(&row.values) {
                let value = match measure.merge() {
                    Merge::Mean => own.value / f64::from(own.count.max(1)),
                    Merge::Sum | Merge::Largest => own.value,
                };
                frame.set(*measure, (own.count > 0).then_some(value));
            }
            take(frame);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::history::rollup::{Rollup, roll_frames};

    fn frame() -> impl Strategy<Value = (i64, Frame)> {
        let value = prop::option::of(-3.0..1e5f64);
        let values = prop::collection::vec(value, Measure::COUNT);
        (1..40_000i64, any::<bool>(), 0..3u8, any::<bool>(), values).prop_map(
            |(step, anew, phase, acted, values)| {
                let mut frame = Frame::new(0, step as f64 / 1e3);
                frame.begins_anew = anew;
                frame.phase = [None, Some(Phase::Lobby), Some(Phase::Active)][usize::from(phase)];
                frame.map = anew.then(|| "q3dm17".into());
                if acted {
                    let action = "ctf".into();
                    frame.acted = [Acted { action, times: 2 }].into();
                }
                for (measure, value) in Measure::ALL.iter().zip(values) {
                    frame.set(*measure, value);
                }
                (step, frame)
            },
        )
    }

    proptest! {
        #[test]
        fn rows_are_the_frames_of_roll_ups(told in prop::collection::vec(frame(), 1..30)) {
            for span in [Span::Minute, Span::TenMinutes] {
                let (mut at, mut plain, mut rolled) = (0, PlainRows::new(span), BTreeMap::new());
                for (step, frame) in &told {
                    at += step;
                    let mut frame = frame.clone();
                    frame.unix_ms = at;
                    plain.add_frame(&frame);
                    roll_frames(&mut rolled, [&frame], span);
                }
                let mut frames = Vec::new();
                plain.each_frame(&mut |frame| frames.push(frame));
                let meant: Vec<Frame> = rolled.values().map(Rollup::frame).collect();
                prop_assert_eq!(frames.len(), meant.len());
                for (frame, meant) in frames.iter().zip(&meant) {
                    // Absent figures are NaN inside, which equals nothing.
                    prop_assert_eq!(format!("{frame:?}"), format!("{meant:?}"));
                }
            }
        }
    }
}
