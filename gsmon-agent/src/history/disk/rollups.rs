//! Roll-ups as they lie on disk: the minutes of an hour, or the hours of a day, of one server by column.
//! `docs/history.md` has the layout. Not here: which rows there are (`upkeep`).

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    code::{self, CodeError, Ints, Precision},
    samples::{self, Dictionary, Rare, phase_code, phase_of},
};
use crate::history::{
    Measure,
    rollup::{Figure, Rollup, Span},
    sketch::{Sketch, key},
};

/// Numbers of words and measures while writing.
pub trait Numbers {
    /// The number of a word; 0 of none.
    fn word(&self, word: Option<&Arc<str>>) -> u32;
    /// The number of a measure.
    fn measure(&self, measure: Measure) -> Option<u16>;
}

/// Is the distribution of values wanted as well?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sketches {
    /// Yes.
    Read,
    /// Counts, sums, least and largest are enough.
    Skip,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Column {
    present: Vec<u32>,
    /// Frames of the row that did not have it.
    missing: Ints,
    sums: Ints,
    mins: Ints,
    /// Codes of the largest less those of the least.
    widths: Ints,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Block {
    rows: u32,
    first_from_unix_ms: i64,
    /// Beginnings in spans since the first.
    places: Ints,
    /// Time covered, milliseconds.
    covered_ms: Ints,
    frames: Ints,
    begins_anew: Vec<u32>,
    phases: Rare<u8>,
    modes: Rare<u32>,
    maps: Rare<u32>,
    /// Place, word and times of what players did.
    acted: Vec<(u32, u32, u32)>,
    columns: Vec<(u16, Column)>,
    /// Buckets of all sketches, but for the first of each (it is that of the least value), as steps from the one before.
    /// The last is that of the largest value.
    bucket_steps: (u32, Ints),
    /// How many values they have, but for the last of each, which has the rest.
    bucket_counts: (u32, Ints),
}

/// Packs rows of one server and span, rising.
pub fn pack_rollups(rows: &[Rollup], numbers: &impl Numbers) -> Result<Vec<u8>, CodeError> {
    let first = rows
        .first()
        .ok_or(CodeError::Contradiction("a block without rows"))?;
    let place = |row: &Rollup| ((row.from_unix_ms - first.from_unix_ms) / first.span.ms()) as i32;
    let ints = |values: &mut dyn Iterator<Item = i32>| code::pack(&values.collect::<Vec<i32>>());
    let (mut steps, mut counts) = (Vec::new(), Vec::new());
    let mut columns = Vec::new();
    for measure in Measure::ALL {
        let Some(number) = numbers.measure(*measure) else {
            continue;
        };
        let having: Vec<(&Rollup, &Figure)> = rows
            .iter()
            .filter_map(|row| Some((row, row.figures.get(measure)?)))
            .collect();
        if having.is_empty() {
            continue;
        }
        let precision = Precision::of(*measure);
        let figures = || having.iter().map(|(_, figure)| *figure);
        for figure in figures() {
            write_sketch(figure, &mut steps, &mut counts)?;
        }
        let column = Column {
            present: samples::runs(rows.iter().map(|row| row.figures.contains_key(measure))),
            missing: ints(
                &mut having
                    .iter()
                    .map(|(row, figure)| row.frames as i32 - figure.count as i32),
            )?,
            sums: ints(&mut figures().map(|figure| precision.of_sum().code(figure.sum as f32)))?,
            mins: ints(&mut figures().map(|figure| precision.code(figure.min)))?,
            widths: ints(
                &mut figures().map(|figure| precision.code(figure.max) - precision.code(figure.min)),
            )?,
        };
        columns.push((number, column));
    }
    let rare_word = |word: &dyn Fn(&Rollup) -> Option<&Arc<str>>| {
        let words: Vec<u32> = rows.iter().map(|row| numbers.word(word(row))).collect();
        samples::rare(words.into_iter())
    };
    code::seal(&Block {
        rows: rows.len() as u32,
        first_from_unix_ms: first.from_unix_ms,
        places: ints(&mut rows.iter().map(place))?,
        covered_ms: ints(&mut rows.iter().map(|row| (row.seconds * 1e3).round() as i32))?,
        frames: ints(&mut rows.iter().map(|row| row.frames as i32))?,
        begins_anew: samples::runs(rows.iter().map(|row| !row.begins_anew)),
        phases: samples::rare(rows.iter().map(|row| phase_code(row.phase))),
        modes: rare_word(&|row| row.mode.as_ref()),
        maps: rare_word(&|row| row.map.as_ref()),
        acted: (0..)
            .zip(rows)
            .flat_map(|(place, row)| {
                let acted = row.acted.iter();
                acted.map(move |(action, times)| (place, numbers.word(Some(action)), *times))
            })
            .collect(),
        columns,
        bucket_steps: (steps.len() as u32, code::pack(&steps)?),
        bucket_counts: (counts.len() as u32, code::pack(&counts)?),
    })
}

fn write_sketch(figure: &Figure, steps: &mut Vec<i32>, counts: &mut Vec<i32>) -> Result<(), CodeError> {
    let buckets = figure.sketch.buckets();
    let ends = [buckets.first(), buckets.last()].map(|end| end.map(|(key, _)| *key));
    let meant = [figure.min, figure.max].map(|end| Some(key(f64::from(end))));
    if ends != meant || figure.sketch.count() != u64::from(figure.count) {
        return Err(CodeError::Contradiction("a sketch of other values"));
    }
    for pair in buckets.windows(2) {
        steps.push(i32::from(pair[1].0) - i32::from(pair[0].0));
        counts.push(pair[0].1 as i32);
    }
    Ok(())
}

/// Reads sketches one after the other.
struct SketchReader {
    steps: std::vec::IntoIter<i32>,
    counts: std::vec::IntoIter<i32>,
}

impl SketchReader {
    fn next(&mut self, min: f32, max: f32, count: u32) -> Result<Sketch, CodeError> {
        let (mut at, end) = (key(f64::from(min)), key(f64::from(max)));
        let wrong = || CodeError::Contradiction("a sketch does not end");
        let mut buckets = Vec::new();
        let mut left = count;
        while at < end {
            let step = self.steps.next().filter(|step| *step > 0).ok_or_else(wrong)?;
            let within = self.counts.next().and_then(|count| u32::try_from(count).ok());
            let within = within.filter(|within| *within < left).ok_or_else(wrong)?;
            buckets.push((at, within));
            left -= within;
            at = i16::try_from(i32::from(at).saturating_add(step)).map_err(|_| wrong())?;
        }
        if at != end {
            return Err(wrong());
        }
        buckets.push((at, left));
        Ok(Sketch::of(buckets))
    }
}

/// Unpacks rows, rising.
pub fn unpack_rollups(
    bytes: &[u8],
    names: &Dictionary,
    span: Span,
    sketches: Sketches,
) -> Result<Vec<Rollup>, CodeError> {
    let block: Block = code::unseal(bytes)?;
    let count = block.rows as usize;
    let begins = code::unpack(&block.places, count)?;
    let covered = code::unpack(&block.covered_ms, count)?;
    let frames = code::unpack(&block.frames, count)?;
    let phases = samples::each(&block.phases, count)?;
    let modes = samples::each(&block.modes, count)?;
    let maps = samples::each(&block.maps, count)?;
    let mut rows: Vec<Rollup> = (0..count)
        .map(|index| Rollup {
            from_unix_ms: block
                .first_from_unix_ms
                .saturating_add(i64::from(begins[index]).saturating_mul(span.ms())),
            span,
            seconds: f64::from(covered[index]) / 1e3,
            frames: frames[index].max(0) as u32,
            begins_anew: true,
            phase: phase_of(phases[index]),
            mode: names.word(modes[index]),
            map: names.word(maps[index]),
            acted: Default::default(),
            figures: Default::default(),
        })
        .collect();
    for place in samples::places(&block.begins_anew, count)? {
        rows[place].begins_anew = false;
    }
    for (place, word, times) in &block.acted {
        let row = rows.get_mut(*place as usize);
        let row = row.ok_or(CodeError::Contradiction("an action of no row"))?;
        if let Some(action) = names.word(*word) {
            row.acted.insert(action, *times);
        }
    }
    let mut reader = match sketches {
        Sketches::Skip => None,
        Sketches::Read => {
            let ((steps, step_codes), (counts, count_codes)) = (&block.bucket_steps, &block.bucket_counts);
            Some(SketchReader {
                steps: code::unpack(step_codes, *steps as usize)?.into_iter(),
                counts: code::unpack(count_codes, *counts as usize)?.into_iter(),
            })
        }
    };
    for (number, column) in &block.columns {
        let places = samples::places(&column.present, count)?;
        let Some(measure) = names.measures.get(number).copied() else {
            // Sketches lie one behind the other: those behind one that is not known cannot be told apart.
            reader = None;
            continue;
        };
        let precision = Precision::of(measure);
        let missing = code::unpack(&column.missing, places.len())?;
        let sums = code::unpack(&column.sums, places.len())?;
        let mins = code::unpack(&column.mins, places.len())?;
        let widths = code::unpack(&column.widths, places.len())?;
        for (index, place) in places.into_iter().enumerate() {
            let (min, max) = (
                precision.value(mins[index]),
                precision.value(mins[index].saturating_add(widths[index])),
            );
            let count = (i64::from(rows[place].frames) - i64::from(missing[index])).max(0) as u32;
            let sketch = match &mut reader {
                Some(reader) => reader.next(min, max, count)?,
                None => Sketch::default(),
            };
            let figure = Figure {
                count,
                sum: f64::from(precision.of_sum().value(sums[index])),
                min,
                max,
                sketch,
            };
            rows[place].figures.insert(measure, figure);
        }
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::history::{
        Acted, Frame,
        disk::samples::tests::dictionary,
        rollup::{roll_frames, roll_rows},
    };

    struct Known;

    impl Numbers for Known {
        fn word(&self, word: Option<&Arc<str>>) -> u32 {
            match word.map(|word| &**word) {
                Some("q3dm17") => 1,
                Some("ctf") => 2,
                _ => 0,
            }
        }

        fn measure(&self, measure: Measure) -> Option<u16> {
            let place = Measure::ALL.iter().position(|known| *known == measure)?;
            Some(place as u16 + 1)
        }
    }

    /// As they come from blocks: cut to their precision.
    fn cut(measure: Measure, value: f32) -> f64 {
        let precision = Precision::of(measure);
        f64::from(precision.value(precision.code(value)))
    }

    fn frames() -> impl Strategy<Value = Vec<Frame>> {
        let value = prop_oneof![Just(0.0f32), Just(20.0f32), 0.0..1e5f32, -3.0..3.0f32];
        let frame = (
            1..90i64,
            any::<bool>(),
            prop::option::of(value.clone()),
            prop::option::of(value),
        );
        prop::collection::vec(frame, 1..60).prop_map(|told| {
            let mut at = 3_600_000;
            told.into_iter()
                .map(|(step, anew, cpu, players)| {
                    at += step * 1_000;
                    let mut frame = Frame::new(at, 1.0);
                    frame.begins_anew = anew;
                    frame.map = anew.then(|| "q3dm17".into());
                    if anew {
                        let action = "ctf".into();
                        frame.acted = [Acted { action, times: 2 }].into();
                    }
                    for (measure, value) in [(Measure::CpuCores, cpu), (Measure::Players, players)] {
                        frame.set(measure, value.map(|value| cut(measure, value)));
                    }
                    frame
                })
                .collect()
        })
    }

    proptest! {
        #[test]
        fn rows_come_back_and_their_sketches_exactly(frames in frames()) {
            let mut minutes = BTreeMap::new();
            roll_frames(&mut minutes, &frames, Span::Minute);
            let minutes: Vec<Rollup> = minutes.into_values().collect();
            let bytes = pack_rollups(&minutes, &Known).unwrap();
            let again = unpack_rollups(&bytes, &dictionary(), Span::Minute, Sketches::Read).unwrap();
            prop_assert_eq!(again.len(), minutes.len());
            for (row, again) in minutes.iter().zip(&again) {
                for (measure, figure) in &row.figures {
                    let kept = &again.figures[measure];
                    prop_assert_eq!(
                        (kept.count, kept.min, kept.max, &kept.sketch),
                        (figure.count, figure.min, figure.max, &figure.sketch)
                    );
                    prop_assert!((kept.sum - figure.sum).abs() <= figure.sum.abs() * 1.3e-4 + 1e-9);
                }
                let rest = |row: &Rollup| {
                    let mut row = row.clone();
                    row.figures.clear();
                    row
                };
                prop_assert_eq!(rest(row), rest(again));
            }
            let plain = unpack_rollups(&bytes, &dictionary(), Span::Minute, Sketches::Skip).unwrap();
            prop_assert!(plain.iter().flat_map(|row| row.figures.values()).all(|figure| figure.sketch.count() == 0));
            let mut hours = BTreeMap::new();
            roll_rows(&mut hours, &again, Span::Hour);
            let hours: Vec<Rollup> = hours.into_values().collect();
            prop_assert!(pack_rollups(&hours, &Known).is_ok());
        }
    }
}
