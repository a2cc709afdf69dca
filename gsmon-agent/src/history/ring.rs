//! The last hour of one server, within bounds: frames of a second for five minutes, of five seconds before that. A column
//! that nobody measures takes no memory.
//!
//! Not here: players' networks (`points`), several servers (`store`).

use std::{collections::VecDeque, sync::Arc};

use super::{
    frame::Frame,
    measure::{Measure, Merge},
    points::Points,
    scenes::{Scenes, merged},
};
use crate::games::event::Phase;

/// Frames of a second that are kept: five minutes.
const FINE: usize = 300;
/// Frames of five seconds that are kept: the rest of the hour.
const COARSE: usize = 660;
const FINE_SECONDS: f64 = 1.0;
const COARSE_SECONDS: f64 = 5.0;
/// How long anything is kept.
const KEPT_MS: i64 = 3_600_000;

/// The last hour of one server.
#[derive(Debug)]
pub struct Ring {
    /// Frames that do not make up a second yet.
    finest: Merged,
    fine: Columns,
    /// Frames that do not make up five seconds yet.
    coarser: Merged,
    coarse: Columns,
    points: Points,
}

impl Default for Ring {
    fn default() -> Self {
        Self {
            finest: Merged::default(),
            fine: Columns::new(FINE + 1),
            coarser: Merged::default(),
            coarse: Columns::new(COARSE + 1),
            points: Points::default(),
        }
    }
}

impl Ring {
    /// Adds a frame, and its players as far as `most_points` rows of them are kept. One that is older than the newest is of a clock that was set back: everything before is forgotten,
    /// since times would no longer say which came first. Gives back the frames of a second that are complete.
    pub fn push(&mut self, frame: &Frame, most_points: usize) -> Vec<Frame> {
        if self
            .newest_unix_ms()
            .is_some_and(|newest| frame.unix_ms <= newest)
        {
            *self = Self::default();
        }
        self.points.push(frame.unix_ms, &frame.players, most_points);
        let complete = self.finest.add(frame, FINE_SECONDS);
        for frame in &complete {
            self.fine.push(frame);
            if self.fine.len() <= FINE {
                continue;
            }
            if let Some(oldest) = self.fine.pop() {
                for frame in self.coarser.add(&oldest, COARSE_SECONDS) {
                    self.coarse.push(&frame);
                }
            }
        }
        let oldest = frame.unix_ms.saturating_sub(KEPT_MS);
        while self.coarse.len() > COARSE || self.coarse.first_unix_ms().is_some_and(|first| first < oldest) {
            self.coarse.pop();
        }
        while self.fine.first_unix_ms().is_some_and(|first| first < oldest) {
            self.fine.pop();
        }
        complete
    }

    /// When the oldest frame begins.
    pub fn oldest_unix_ms(&self) -> Option<i64> {
        let begin = |columns: &Columns| {
            let seconds = f64::from(*columns.seconds.front()?);
            Some(columns.first_unix_ms()? - (seconds * 1e3) as i64)
        };
        begin(&self.coarse).or_else(|| begin(&self.fine))
    }

    fn newest_unix_ms(&self) -> Option<i64> {
        let kept = self.fine.times.back().or(self.coarse.times.back()).copied();
        self.finest.frame.as_ref().map(|frame| frame.unix_ms).or(kept)
    }

    /// Frames that end in a time, oldest first.
    pub fn frames(&self, from_unix_ms: i64, to_unix_ms: i64) -> Vec<Frame> {
        let mut frames = self.without_players(from_unix_ms, to_unix_ms);
        let players = self.points.at(frames.iter().map(|frame| frame.unix_ms));
        for (frame, players) in frames.iter_mut().zip(players) {
            frame.players = players;
        }
        frames
    }

    /// The same without players' networks, which take longest to put together.
    pub fn without_players(&self, from_unix_ms: i64, to_unix_ms: i64) -> Vec<Frame> {
        let mut frames: Vec<Frame> = Vec::new();
        let within = |frame: &Frame| (from_unix_ms..=to_unix_ms).contains(&frame.unix_ms);
        let pending = [self.coarser.frame.as_ref(), self.finest.frame.as_ref()];
        frames.extend(self.coarse.between(from_unix_ms, to_unix_ms));
        frames.extend(pending[0].filter(|frame| within(frame)).cloned());
        frames.extend(self.fine.between(from_unix_ms, to_unix_ms));
        frames.extend(pending[1].filter(|frame| within(frame)).cloned());
        frames
    }

    /// Memory that the figures take.
    pub fn bytes(&self) -> usize {
        self.fine.bytes() + self.coarse.bytes() + self.points.bytes()
    }
}

/// Frames on their way to becoming one.
#[derive(Debug, Default)]
struct Merged {
    frame: Option<Frame>,
    weights: Vec<f64>,
}

impl Merged {
    /// Adds a frame; gives back those that are complete. A gap, or a change of phase, mode or map, begins a new one.
    fn add(&mut self, next: &Frame, seconds: f64) -> Vec<Frame> {
        let mut complete = Vec::new();
        let apart = |frame: &mut Frame| {
            next.begins_anew || frame.phase != next.phase || frame.mode != next.mode || frame.map != next.map
        };
        if self.frame.as_mut().is_some_and(apart) {
            complete.extend(self.frame.take());
        }
        match &mut self.frame {
            None => {
                let weight = |measure: &Measure| next.get(*measure).map_or(0.0, |_| next.seconds);
                self.weights = Measure::ALL.iter().map(weight).collect();
                let mut first = next.clone();
                // Points of players are kept apart.
                first.players = Arc::default();
                self.frame = Some(first);
            }
            Some(frame) => {
                for (measure, weight) in Measure::ALL.iter().zip(&mut self.weights) {
                    let Some(value) = next.get(*measure) else { continue };
                    let merged = match (frame.get(*measure), measure.merge()) {
                        (None, _) => value,
                        (Some(before), Merge::Sum) => before + value,
                        (Some(before), Merge::Largest) => before.max(value),
                        (Some(before), Merge::Mean) => {
                            (before * *weight + value * next.seconds) / (*weight + next.seconds).max(1e-9)
                        }
                    };
                    *weight += next.seconds;
                    frame.set(*measure, Some(merged));
                }
                frame.acted = merged(&frame.acted, &next.acted);
                frame.seconds += next.seconds;
                frame.unix_ms = next.unix_ms;
            }
        }
        // Intervals are never exactly as long as asked for.
        if self
            .frame
            .as_ref()
            .is_some_and(|frame| frame.seconds >= 0.9 * seconds)
        {
            complete.extend(self.frame.take());
        }
        complete
    }
}

/// Frames by column.
#[derive(Debug)]
struct Columns {
    most: usize,
    times: VecDeque<i64>,
    seconds: VecDeque<f32>,
    begins_anew: VecDeque<bool>,
    phases: VecDeque<Option<Phase>>,
    scenes: Scenes,
    figures: Vec<Option<VecDeque<f32>>>,
}

impl Columns {
    /// Room for so many frames.
    fn new(most: usize) -> Self {
        Self {
            most,
            times: VecDeque::new(),
            seconds: VecDeque::new(),
            begins_anew: VecDeque::new(),
            phases: VecDeque::new(),
            scenes: Scenes::default(),
            figures: Vec::new(),
        }
    }

    fn len(&self) -> usize {
        self.times.len()
    }

    fn first_unix_ms(&self) -> Option<i64> {
        self.times.front().copied()
    }

    fn push(&mut self, frame: &Frame) {
        self.figures.resize_with(Measure::COUNT, || None);
        for (measure, column) in Measure::ALL.iter().zip(&mut self.figures) {
            let value = frame.get(*measure);
            match column {
                Some(column) => column.push_back(value.map_or(f32::NAN, |value| value as f32)),
                None => {
                    if let Some(value) = value {
                        let mut begun = VecDeque::with_capacity(self.most);
                        begun.extend(std::iter::repeat_n(f32::NAN, self.times.len()));
                        begun.push_back(value as f32);
                        *column = Some(begun);
                    }
                }
            }
        }
        self.times.push_back(frame.unix_ms);
        self.seconds.push_back(frame.seconds as f32);
        self.begins_anew.push_back(frame.begins_anew);
        self.phases.push_back(frame.phase);
        self.scenes.push(frame);
    }

    fn pop(&mut self) -> Option<Frame> {
        let frame = self.get(0)?;
        self.times.pop_front();
        self.seconds.pop_front();
        self.begins_anew.pop_front();
        self.phases.pop_front();
        self.scenes.pop();
        for column in self.figures.iter_mut().flatten() {
            column.pop_front();
        }
        Some(frame)
    }

    fn get(&self, index: usize) -> Option<Frame> {
        let mut frame = Frame::new(*self.times.get(index)?, f64::from(*self.seconds.get(index)?));
        frame.begins_anew = *self.begins_anew.get(index)?;
        frame.phase = *self.phases.get(index)?;
        self.scenes.fill(index, &mut frame);
        for (measure, column) in Measure::ALL.iter().zip(&self.figures) {
            let value = column.as_ref().and_then(|column| column.get(index)).copied();
            frame.set(*measure, value.filter(|value| value.is_finite()).map(f64::from));
        }
        Some(frame)
    }

    /// Frames that end in a time; their times rise.
    fn between(&self, from_unix_ms: i64, to_unix_ms: i64) -> impl Iterator<Item = Frame> {
        let from = self.times.partition_point(|time| *time < from_unix_ms);
        let until = self.times.partition_point(|time| *time <= to_unix_ms);
        (from..until).filter_map(|index| self.get(index))
    }

    fn bytes(&self) -> usize {
        let figures: usize = self
            .figures
            .iter()
            .flatten()
            .map(|column| column.capacity() * size_of::<f32>())
            .sum();
        let each = size_of::<i64>() + size_of::<f32>() + size_of::<bool>() + size_of::<Option<Phase>>();
        figures + self.times.capacity() * each + self.scenes.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Acted, points::tests::point};

    fn frame(second: i64) -> Frame {
        Frame::new(1_700_000_000_000 + 1_000 * second, 1.0)
            .with(Measure::CpuCores, second as f64)
            .with(Measure::Joins, 1.0)
            .with(Measure::TickP99Ms, if second % 5 == 2 { 50.0 } else { 10.0 })
    }

    fn hours(frames: i64) -> Ring {
        let mut ring = Ring::default();
        (0..frames).for_each(|second| drop(ring.push(&frame(second), 4_000)));
        ring
    }

    #[test]
    fn an_hour_is_kept_older_frames_coarser_and_no_more() {
        let ring = hours(10_000);
        let frames = ring.frames(i64::MIN, i64::MAX);
        let seconds: f64 = frames.iter().map(|frame| frame.seconds).sum();
        assert!((3_590.0..=3_610.0).contains(&seconds), "{seconds} s");
        assert!(frames.windows(2).all(|pair| pair[0].unix_ms < pair[1].unix_ms));
        let (first, last) = (&frames[0], &frames[frames.len() - 1]);
        assert_eq!(first.seconds, 5.0);
        assert_eq!(first.get(Measure::Joins), Some(5.0), "counts add up");
        assert_eq!(first.get(Measure::TickP99Ms), Some(50.0), "spikes survive");
        let end = (first.unix_ms - 1_700_000_000_000) as f64 / 1e3;
        assert_eq!(first.get(Measure::CpuCores), Some(end - 2.0), "levels are means");
        assert_eq!((last.seconds, last.get(Measure::CpuCores)), (1.0, Some(9_999.0)));
        assert_eq!(last.get(Measure::RttP50Ms), None);
    }

    #[test]
    fn memory_stays_small_and_columns_that_nobody_measures_take_none() {
        let bytes = hours(10_000).bytes();
        println!("{bytes} B with three columns");
        assert!(bytes < 64 << 10, "{bytes} B with three columns");
        let mut ring = Ring::default();
        for second in 0..10_000 {
            let mut full = frame(second);
            Measure::ALL
                .iter()
                .for_each(|measure| full.set(*measure, Some(1.0)));
            full.players = vec![point("somebody", 40.0); 100].into();
            ring.push(&full, 4_000);
        }
        let (figures, points) = (ring.fine.bytes() + ring.coarse.bytes(), ring.points.bytes());
        println!("{figures} B of figures and {points} B of points with everything");
        assert!(
            ring.bytes() < 360 << 10,
            "{} B with everything and 100 players",
            ring.bytes()
        );
    }

    #[test]
    fn players_points_hold_for_a_while_and_no_longer() {
        let mut ring = Ring::default();
        for second in 0..100 {
            let mut frame = frame(second);
            if second < 20 {
                frame.players = vec![point("a", second as f32)].into();
            }
            ring.push(&frame, 4_000);
        }
        let frames = ring.frames(i64::MIN, i64::MAX);
        let rtt = |index: usize| frames[index].players.first().and_then(|point| point.rtt_ms);
        assert_eq!(
            [rtt(3), rtt(7), rtt(30), rtt(60)],
            [Some(0.0), Some(5.0), Some(15.0), None]
        );
    }

    #[test]
    fn modes_maps_and_actions_stay_with_their_frames() {
        let mut ring = Ring::default();
        for second in 0..2_000 {
            let mut frame = frame(second);
            frame.mode = Some(if second < 1_501 { "duel" } else { "race" }.into());
            frame.map = (second % 1_000 > 500).then(|| "dust".into());
            if second % 3 == 0 {
                let throw = |times| Acted {
                    action: "throw".into(),
                    times,
                };
                frame.acted = [throw(2)].into();
            }
            ring.push(&frame, 4_000);
        }
        let frames = ring.frames(i64::MIN, i64::MAX);
        let mut throws = 0;
        for frame in &frames {
            let second = (frame.unix_ms - 1_700_000_000_000) / 1_000;
            assert_eq!(frame.mode.as_deref() == Some("duel"), second < 1_501, "{second}");
            assert_eq!(frame.map.is_some(), second % 1_000 > 500, "{second}");
            throws += frame.acted.iter().map(|acted| acted.times).sum::<u32>();
        }
        assert_eq!(throws, 2 * 667, "none is lost while frames are merged");
        let mut short = Ring::default();
        (0..9_000).for_each(|second| drop(short.push(&frame(second), 4_000)));
        assert!(short.coarse.scenes.bytes() < 1_024);
    }

    #[test]
    fn gaps_and_phases_are_not_merged_away_and_a_clock_set_back_begins_anew() {
        let mut ring = Ring::default();
        for tenth in 0..20 {
            let mut frame = Frame::new(1_000 + 100 * tenth, 0.1).with(Measure::CpuCores, 1.0);
            frame.begins_anew = tenth == 13;
            frame.phase = Some(if tenth < 5 { Phase::Lobby } else { Phase::Active });
            ring.push(&frame, 4_000);
        }
        let frames = ring.frames(i64::MIN, i64::MAX);
        let shape: Vec<(i64, bool, Option<Phase>)> = frames
            .iter()
            .map(|frame| (frame.unix_ms, frame.begins_anew, frame.phase))
            .collect();
        assert_eq!(
            shape,
            [
                (1_400, false, Some(Phase::Lobby)),
                (2_200, false, Some(Phase::Active)),
                (2_900, true, Some(Phase::Active)),
            ]
        );
        ring.push(&Frame::new(500, 0.1), 4_000);
        assert_eq!(ring.frames(i64::MIN, i64::MAX).len(), 1);
    }
}
