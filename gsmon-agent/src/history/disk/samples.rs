//! Frames as they lie on disk: a journal row (one interval of some servers, as measured) and a block (one server over some
//! minutes, by column). `docs/history.md` has both layouts. Not here: which rows there are (`writer`, `upkeep`).

use std::{collections::HashMap, sync::Arc};

use serde::{Deserialize, Serialize};

use super::code::{self, CodeError, Ints, LENGTH, Precision};
use crate::{
    games::event::Phase,
    history::{Acted, Frame, Measure},
};

/// A frame whose names are numbers of the file's tables.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// End of the interval.
    pub unix_ms: i64,
    /// Its length.
    pub seconds: f32,
    /// Nothing is known of the time just before it.
    pub begins_anew: bool,
    /// See [`phase_code`].
    pub phase: u8,
    /// Word of the mode, 0 for none.
    pub mode: u32,
    /// Word of the map, 0 for none.
    pub map: u32,
    /// What players did: words with how often.
    pub acted: Vec<(u32, u32)>,
    /// Figures by number of the measure.
    pub values: Vec<(u16, f32)>,
}

/// What the numbers in samples and roll-ups mean.
#[derive(Clone, Debug, Default)]
pub struct Dictionary {
    /// Maps, modes.
    pub words: HashMap<u32, Arc<str>>,
    /// Measures; those of a newer gsmon are left out.
    pub measures: HashMap<u16, Measure>,
}

impl Dictionary {
    /// The word of a number; 0 is none.
    pub fn word(&self, number: u32) -> Option<Arc<str>> {
        self.words.get(&number).cloned()
    }

    /// How exactly a measure is kept. One that this gsmon does not know is never packed by it.
    pub fn precision(&self, measure: u16) -> Option<Precision> {
        self.measures.get(&measure).copied().map(Precision::of)
    }
}

/// The number of a phase; 0 is "not known".
pub fn phase_code(phase: Option<Phase>) -> u8 {
    match phase {
        None => 0,
        Some(Phase::Idle) => 1,
        Some(Phase::Lobby) => 2,
        Some(Phase::Loading) => 3,
        Some(Phase::Active) => 4,
        Some(Phase::Ended) => 5,
        Some(Phase::Crashed) => 6,
    }
}

/// The phase of a number.
pub fn phase_of(code: u8) -> Option<Phase> {
    [
        Phase::Idle,
        Phase::Lobby,
        Phase::Loading,
        Phase::Active,
        Phase::Ended,
        Phase::Crashed,
    ]
    .get(usize::from(code).checked_sub(1)?)
    .copied()
}

impl Sample {
    /// The frame that it was; figures that this gsmon does not know are left out.
    pub fn frame(&self, names: &Dictionary) -> Frame {
        let mut frame = Frame::new(self.unix_ms, round_ms(self.seconds));
        frame.begins_anew = self.begins_anew;
        frame.phase = phase_of(self.phase);
        frame.mode = names.word(self.mode);
        frame.map = names.word(self.map);
        frame.acted = acted(self.acted.iter().copied(), names);
        for (measure, value) in &self.values {
            if let Some(measure) = names.measures.get(measure) {
                frame.set(*measure, Some(f64::from(*value)));
            }
        }
        frame
    }
}

/// Actions of numbers.
pub fn acted(told: impl Iterator<Item = (u32, u32)>, names: &Dictionary) -> Arc<[Acted]> {
    told.filter_map(|(word, times)| {
        Some(Acted {
            action: names.word(word)?,
            times,
        })
    })
    .collect()
}

fn round_ms(seconds: f32) -> f64 {
    (f64::from(seconds) * 1e3).round() / 1e3
}

/// A journal row: samples of one interval with the numbers of their servers.
pub type JournalRow = Vec<(u32, Sample)>;

/// How long a property holds: lengths of runs, of those that have it and those that do not in turn; empty where all do.
type Runs = Vec<u32>;

/// Runs of a row of yes and no.
pub fn runs(marks: impl Iterator<Item = bool>) -> Runs {
    let mut runs = vec![0u32];
    let (mut current, mut any_absent) = (true, false);
    for mark in marks {
        if mark != current {
            runs.push(0);
            current = mark;
        }
        any_absent |= !mark;
        if let Some(last) = runs.last_mut() {
            *last += 1;
        }
    }
    match any_absent {
        true => runs,
        false => Vec::new(),
    }
}

/// Places (of `count`) that have the property.
pub fn places(runs: &Runs, count: usize) -> Result<Vec<usize>, CodeError> {
    if runs.is_empty() {
        return Ok((0..count).collect());
    }
    let (mut places, mut at) = (Vec::new(), 0usize);
    for (index, length) in runs.iter().enumerate() {
        let end = at.saturating_add(*length as usize);
        if end > count {
            return Err(CodeError::Contradiction("a run is too long"));
        }
        if index % 2 == 0 {
            places.extend(at..end);
        }
        at = end;
    }
    Ok(places)
}

/// Values that change rarely: each with how often it comes in a row.
pub type Rare<T> = Vec<(u32, T)>;

/// Writes values that change rarely.
pub fn rare<T: PartialEq>(values: impl Iterator<Item = T>) -> Rare<T> {
    let mut rare: Rare<T> = Vec::new();
    for value in values {
        match rare.last_mut() {
            Some((times, last)) if *last == value => *times += 1,
            _ => rare.push((1, value)),
        }
    }
    rare
}

/// Reads so many values that change rarely.
pub fn each<T: Copy>(rare: &Rare<T>, count: usize) -> Result<Vec<T>, CodeError> {
    let total: u64 = rare.iter().map(|(times, _)| u64::from(*times)).sum();
    if total != count as u64 {
        return Err(CodeError::Contradiction("a rare value has another length"));
    }
    Ok(rare
        .iter()
        .flat_map(|(times, value)| std::iter::repeat_n(*value, *times as usize))
        .collect())
}

/// A whole column of floats, absent values left out.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Column {
    present: Runs,
    codes: Ints,
}

/// One server over some minutes.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Block {
    samples: u32,
    first_unix_ms: i64,
    /// From each end to the next; the first is 0.
    steps_ms: Ints,
    /// Lengths, less the step where there is one, in milliseconds.
    lengths_ms: Ints,
    /// The length of the first.
    first_seconds: i32,
    begins_anew: Runs,
    phases: Rare<u8>,
    modes: Rare<u32>,
    maps: Rare<u32>,
    /// Place, word and times of what players did.
    acted: Vec<(u32, u32, u32)>,
    columns: Vec<(u16, Column)>,
}

/// Longest interval that a sample can have.
const MOST_MS: i64 = 1 << 30;

/// Packs samples of one server whose times rise.
pub fn pack_block(samples: &[Sample], names: &Dictionary) -> Result<Vec<u8>, CodeError> {
    let first = samples
        .first()
        .ok_or(CodeError::Contradiction("a block without samples"))?;
    let steps: Vec<i32> = std::iter::once(0)
        .chain(
            samples
                .windows(2)
                .map(|pair| (pair[1].unix_ms - pair[0].unix_ms).clamp(0, MOST_MS) as i32),
        )
        .collect();
    let length_ms = |sample: &Sample| {
        (f64::from(sample.seconds) * 1e3)
            .round()
            .clamp(0.0, MOST_MS as f64) as i32
    };
    let lengths: Vec<i32> = samples
        .iter()
        .zip(&steps)
        .map(|(sample, step)| length_ms(sample).saturating_sub(*step))
        .collect();
    let mut by_measure: std::collections::BTreeMap<u16, Vec<Option<f32>>> = std::collections::BTreeMap::new();
    for (index, sample) in samples.iter().enumerate() {
        for (measure, value) in &sample.values {
            let column = by_measure
                .entry(*measure)
                .or_insert_with(|| vec![None; samples.len()]);
            column[index] = Some(*value);
        }
    }
    let mut columns = Vec::with_capacity(by_measure.len());
    for (measure, column) in by_measure {
        // Written by a newer gsmon that is no longer here.
        let Some(precision) = names.precision(measure) else {
            continue;
        };
        let codes: Vec<i32> = column
            .iter()
            .flatten()
            .map(|value| precision.code(*value))
            .collect();
        let present = runs(column.iter().map(Option::is_some));
        let codes = code::pack(&codes)?;
        columns.push((measure, Column { present, codes }));
    }
    code::seal(&Block {
        samples: samples.len() as u32,
        first_unix_ms: first.unix_ms,
        steps_ms: code::pack(&steps)?,
        lengths_ms: code::pack(&lengths)?,
        first_seconds: LENGTH.code(first.seconds),
        begins_anew: runs(samples.iter().map(|sample| !sample.begins_anew)),
        phases: rare(samples.iter().map(|sample| sample.phase)),
        modes: rare(samples.iter().map(|sample| sample.mode)),
        maps: rare(samples.iter().map(|sample| sample.map)),
        acted: (0..)
            .zip(samples)
            .flat_map(|(place, sample)| {
                let acted = sample.acted.iter();
                acted.map(move |(word, times)| (place, *word, *times))
            })
            .collect(),
        columns,
    })
}

/// Unpacks a block into frames, oldest first.
pub fn unpack_block(bytes: &[u8], names: &Dictionary) -> Result<Vec<Frame>, CodeError> {
    let block: Block = code::unseal(bytes)?;
    let count = block.samples as usize;
    let steps = code::unpack(&block.steps_ms, count)?;
    let lengths = code::unpack(&block.lengths_ms, count)?;
    let phases = each(&block.phases, count)?;
    let modes = each(&block.modes, count)?;
    let maps = each(&block.maps, count)?;
    let mut unix_ms = block.first_unix_ms;
    let mut frames = Vec::with_capacity(count);
    for index in 0..count {
        unix_ms = unix_ms.saturating_add(i64::from(steps[index]));
        let length_ms = i64::from(steps[index]) + i64::from(lengths[index]);
        let seconds = match index {
            0 => round_ms(LENGTH.value(block.first_seconds)),
            _ => length_ms as f64 / 1e3,
        };
        let mut frame = Frame::new(unix_ms, seconds);
        frame.begins_anew = true;
        frame.phase = phase_of(phases[index]);
        frame.mode = names.word(modes[index]);
        frame.map = names.word(maps[index]);
        frames.push(frame);
    }
    for place in places(&block.begins_anew, count)? {
        frames[place].begins_anew = false;
    }
    for same in block.acted.chunk_by(|one, next| one.0 == next.0) {
        let frame = frames.get_mut(same[0].0 as usize);
        let frame = frame.ok_or(CodeError::Contradiction("an action of no sample"))?;
        frame.acted = acted(same.iter().map(|(_, word, times)| (*word, *times)), names);
    }
    for (measure, column) in &block.columns {
        let Some(known) = names.measures.get(measure) else {
            continue;
        };
        let precision = Precision::of(*known);
        let places = places(&column.present, count)?;
        let codes = code::unpack(&column.codes, places.len())?;
        for (place, code) in places.into_iter().zip(codes) {
            frames[place].set(*known, Some(f64::from(precision.value(code))));
        }
    }
    Ok(frames)
}

#[cfg(test)]
pub mod tests {
    use proptest::prelude::*;

    use super::*;

    /// All measures and two words.
    pub fn dictionary() -> Dictionary {
        let words = [(1, "q3dm17".into()), (2, "ctf".into())];
        Dictionary {
            words: words.into_iter().collect(),
            measures: (1..).zip(Measure::ALL.iter().copied()).collect(),
        }
    }

    fn sample() -> impl Strategy<Value = (i64, Sample)> {
        let value = prop_oneof![Just(0.0f32), 0.0..1e6f32, -5.0..5.0f32];
        let values = prop::collection::btree_map(1..=Measure::COUNT as u16, value, 0..6);
        let acted = prop::collection::vec((1..3u32, 1..9u32), 0..2);
        (
            1..2_000i64,
            0.5..2.0f32,
            any::<bool>(),
            0..7u8,
            0..3u32,
            0..3u32,
            acted,
            values,
        )
            .prop_map(|(step, seconds, begins_anew, phase, mode, map, acted, values)| {
                let sample = Sample {
                    unix_ms: 0,
                    seconds,
                    begins_anew,
                    phase,
                    mode,
                    map,
                    acted,
                    values: values.into_iter().collect(),
                };
                (step, sample)
            })
    }

    proptest! {
        #[test]
        fn blocks_come_back_within_their_precision(told in prop::collection::vec(sample(), 1..80)) {
            let names = dictionary();
            let mut at = 1_700_000_000_000;
            let samples: Vec<Sample> = told
                .into_iter()
                .map(|(step, mut sample)| {
                    at += step;
                    sample.unix_ms = at;
                    sample
                })
                .collect();
            let bytes = pack_block(&samples, &names).unwrap();
            let frames = unpack_block(&bytes, &names).unwrap();
            prop_assert_eq!(frames.len(), samples.len());
            for (sample, frame) in samples.iter().zip(&frames) {
                let exact = sample.frame(&names);
                prop_assert_eq!(
                    (frame.unix_ms, frame.begins_anew, frame.phase, &frame.mode, &frame.map, &frame.acted),
                    (exact.unix_ms, exact.begins_anew, exact.phase, &exact.mode, &exact.map, &exact.acted)
                );
                prop_assert!((frame.seconds - exact.seconds).abs() < 0.0011);
                for measure in Measure::ALL {
                    match (frame.get(*measure), exact.get(*measure)) {
                        (Some(kept), Some(told)) => prop_assert!((kept - told).abs() <= told.abs() * 0.002),
                        (kept, told) => prop_assert_eq!(kept, told),
                    }
                }
            }
        }

        #[test]
        fn any_marks_come_back(marks in prop::collection::vec(any::<bool>(), 0..50)) {
            let told = places(&runs(marks.iter().copied()), marks.len()).unwrap();
            let meant: Vec<usize> = (0..marks.len()).filter(|index| marks[*index]).collect();
            prop_assert_eq!(told, meant);
        }
    }

    #[test]
    fn a_run_beyond_the_end_is_refused() {
        assert!(places(&vec![3, 1, 2], 5).is_err());
        assert!(each(&vec![(3, 1u8)], 5).is_err());
        assert!(each(&vec![(u32::MAX, 1u8), (u32::MAX, 2)], 5).is_err());
    }

    #[test]
    fn phases_have_numbers_of_their_own() {
        for code in 0..7 {
            assert_eq!(phase_code(phase_of(code)), code);
        }
        assert_eq!(phase_of(200), None);
    }
}
