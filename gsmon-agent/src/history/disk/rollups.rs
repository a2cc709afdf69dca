//! Roll-ups as they lie on disk: the minutes of an hour, or the hours of a day, of one server by column.
//! Minutes lie without sketches of their own, beside sketches of ten minutes. `docs/history.md` has the layout. Not here: which rows there are (`upkeep`).

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{
    code::{self, CodeError, Ints, Layout, Precision},
    samples::{self, Dictionary, Rare, phase_code, phase_of},
};
use crate::history::{
    Measure,
    measure::Merge,
    plain::{Place, PlainRows, Setting},
    rollup::{Figure, Rollup, Span, roll_rows},
    sketch::{Sketch, key},
};

/// Numbers of words and measures while writing.
pub trait Numbers {
    /// The number of a word; 0 of none.
    fn word(&self, word: Option<&Arc<str>>) -> u32;
    /// The number of a measure.
    fn measure(&self, measure: Measure) -> Option<u16>;
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

/// Packs rows of one server and span, rising; `sketched` are the same frames by the span whose sketches are kept
/// ([`Span::of_sketches`]): of hours the very rows.
pub fn pack_rollups(
    rows: &[Rollup],
    sketched: &[Rollup],
    numbers: &impl Numbers,
) -> Result<Vec<u8>, CodeError> {
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
        for figure in sketched.iter().filter_map(|row| row.figures.get(measure)) {
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
    let layout = match first.span {
        Span::Minute => Layout::TenMinuteSketches,
        Span::TenMinutes | Span::Hour => Layout::First,
    };
    let block = Block {
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
    };
    code::seal_as(layout, &block)
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

/// Unpacks rows, rising, without their sketches.
pub fn unpack_rollups(bytes: &[u8], names: &Dictionary, span: Span) -> Result<Vec<Rollup>, CodeError> {
    let (_, block) = code::unseal_any::<Block>(bytes)?;
    unpack_rows(&block, names, span)
}

/// Unpacks rows, rising, without their sketches, and the same frames by the span whose sketches are kept.
pub fn unpack_sketched(
    bytes: &[u8],
    names: &Dictionary,
    span: Span,
) -> Result<(Vec<Rollup>, Vec<Rollup>), CodeError> {
    let (layout, block) = code::unseal_any::<Block>(bytes)?;
    let rows = unpack_rows(&block, names, span)?;
    let own_sketches = span.of_sketches() == span || layout == Layout::First;
    let mut sketched = match own_sketches {
        true => rows.clone(),
        false => rolled(&rows, span.of_sketches()),
    };
    read_sketches(&block, names, &mut sketched)?;
    if span.of_sketches() != span && own_sketches {
        sketched = rolled(&sketched, span.of_sketches());
    }
    Ok((rows, sketched))
}

/// Rows by a longer span.
pub fn rolled(rows: &[Rollup], span: Span) -> Vec<Rollup> {
    let mut longer = BTreeMap::new();
    roll_rows(&mut longer, rows, span);
    longer.into_values().collect()
}

fn read_sketches(block: &Block, names: &Dictionary, rows: &mut [Rollup]) -> Result<(), CodeError> {
    let ((steps, step_codes), (counts, count_codes)) = (&block.bucket_steps, &block.bucket_counts);
    let mut reader = SketchReader {
        steps: code::unpack(step_codes, *steps as usize)?.into_iter(),
        counts: code::unpack(count_codes, *counts as usize)?.into_iter(),
    };
    for (number, _) in &block.columns {
        let Some(measure) = names.measures.get(number) else {
            // Sketches lie one behind the other: those behind one that is not known cannot be told apart.
            return Ok(());
        };
        for figure in rows.iter_mut().filter_map(|row| row.figures.get_mut(measure)) {
            figure.sketch = reader.next(figure.min, figure.max, figure.count)?;
        }
    }
    Ok(())
}

/// Adds rows of a block to rows that are frames in the end. Only what those need is unpacked: sums with counts, or least and
/// largest.
pub fn unpack_plain(
    bytes: &[u8],
    names: &Dictionary,
    span: Span,
    rows: &mut PlainRows,
) -> Result<(), CodeError> {
    let (_, block) = code::unseal_any::<Block>(bytes)?;
    let count = block.rows as usize;
    let begins = code::unpack(&block.places, count)?;
    let covered = code::unpack(&block.covered_ms, count)?;
    let frames = code::unpack(&block.frames, count)?;
    let phases = samples::each(&block.phases, count)?;
    let modes = samples::each(&block.modes, count)?;
    let maps = samples::each(&block.maps, count)?;
    let mut anew = vec![true; count];
    for place in samples::places(&block.begins_anew, count)? {
        anew[place] = false;
    }
    let places: Vec<Place> = (0..count)
        .map(|index| {
            let begin = block
                .first_from_unix_ms
                .saturating_add(i64::from(begins[index]).saturating_mul(span.ms()));
            let setting = Setting {
                seconds: f64::from(covered[index]) / 1e3,
                begins_anew: anew[index],
                phase: phase_of(phases[index]),
                mode: names.word(modes[index]),
                map: names.word(maps[index]),
            };
            rows.place(begin.saturating_add(1), setting)
        })
        .collect();
    for (index, word, times) in &block.acted {
        let place = places.get(*index as usize);
        let place = place.ok_or(CodeError::Contradiction("an action of no row"))?;
        if let Some(action) = names.word(*word) {
            rows.act(*place, action, *times);
        }
    }
    for (number, column) in &block.columns {
        let Some(measure) = names.measures.get(number).copied() else {
            continue;
        };
        let having = samples::places(&column.present, count)?;
        let precision = Precision::of(measure);
        if measure.merge() == Merge::Largest {
            let mins = code::unpack(&column.mins, having.len())?;
            let widths = code::unpack(&column.widths, having.len())?;
            for ((index, min), width) in having.into_iter().zip(mins).zip(widths) {
                let largest = f64::from(precision.value(min.saturating_add(width)));
                rows.add(places[index], measure, largest, 1);
            }
            continue;
        }
        let missing = code::unpack(&column.missing, having.len())?;
        let sums = code::unpack(&column.sums, having.len())?;
        for ((index, missing), sum) in having.into_iter().zip(missing).zip(sums) {
            let known = (i64::from(frames[index].max(0)) - i64::from(missing)).max(0) as u32;
            let sum = f64::from(precision.of_sum().value(sum));
            rows.add(places[index], measure, sum, known);
        }
    }
    Ok(())
}

fn unpack_rows(block: &Block, names: &Dictionary, span: Span) -> Result<Vec<Rollup>, CodeError> {
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
    for (number, column) in &block.columns {
        let places = samples::places(&column.present, count)?;
        let Some(measure) = names.measures.get(number).copied() else {
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
            let figure = Figure {
                count,
                sum: f64::from(precision.of_sum().value(sums[index])),
                min,
                max,
                sketch: Sketch::default(),
            };
            rows[place].figures.insert(measure, figure);
        }
    }
    Ok(rows)
}

#[cfg(test)]
pub mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::history::{Acted, Frame, disk::samples::tests::dictionary, rollup::roll_frames};

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
            let tens = rolled(&minutes, Span::TenMinutes);
            let bytes = pack_rollups(&minutes, &tens, &Known).unwrap();
            let (again, sketched) = unpack_sketched(&bytes, &dictionary(), Span::Minute).unwrap();
            prop_assert_eq!(again.len(), minutes.len());
            prop_assert_eq!(sketched.len(), tens.len());
            for (row, told) in tens.iter().zip(&sketched) {
                for (measure, figure) in &row.figures {
                    prop_assert_eq!(&told.figures[measure].sketch, &figure.sketch);
                }
            }
            // As schema 1 had it: a sketch of every minute.
            let before = pack_as_before(&minutes, &Known);
            let (rows, sketches) = unpack_sketched(&before, &dictionary(), Span::Minute).unwrap();
            prop_assert_eq!((&rows, &sketches), (&again, &sketched));
            for (row, again) in minutes.iter().zip(&again) {
                for (measure, figure) in &row.figures {
                    let kept = &again.figures[measure];
                    prop_assert_eq!(
                        (kept.count, kept.min, kept.max, kept.sketch.count()),
                        (figure.count, figure.min, figure.max, 0)
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
            prop_assert_eq!(&unpack_rollups(&bytes, &dictionary(), Span::Minute).unwrap(), &again);
            let mut plain = PlainRows::new(Span::Minute);
            unpack_plain(&bytes, &dictionary(), Span::Minute, &mut plain).unwrap();
            let mut read = Vec::new();
            plain.each_frame(&mut |frame| read.push(format!("{frame:?}")));
            let meant: Vec<String> = again.iter().map(|row| format!("{:?}", row.frame())).collect();
            prop_assert_eq!(read, meant);
            let hours = rolled(&sketched, Span::Hour);
            let bytes = pack_rollups(&hours, &hours, &Known).unwrap();
            let (_, told) = unpack_sketched(&bytes, &dictionary(), Span::Hour).unwrap();
            for (row, told) in hours.iter().zip(&told) {
                for (measure, figure) in &row.figures {
                    prop_assert_eq!(&told.figures[measure].sketch, &figure.sketch);
                }
            }
        }
    }

    /// What gsmon wrote before sketches were of ten minutes.
    pub fn pack_as_before(minutes: &[Rollup], numbers: &impl Numbers) -> Vec<u8> {
        let bytes = pack_rollups(minutes, minutes, numbers).unwrap();
        let (_, block) = code::unseal_any::<Block>(&bytes).unwrap();
        code::seal_as(Layout::First, &block).unwrap()
    }
}
