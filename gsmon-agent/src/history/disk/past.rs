//! Events of a day that has passed, as they lie on disk: by column, in the order of time. `docs/history.md` has the layout.
//! Not here: which rows there are (`packing`).

use serde::{Deserialize, Serialize};

use super::code::{self, CodeError, Ints};

/// An event whose names are numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventRow {
    /// When.
    pub unix_ms: i64,
    /// See [`super::file::kind_code`].
    pub kind: u8,
    /// Word, 0 for none.
    pub word: u32,
    /// How often.
    pub times: u32,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Block {
    rows: u32,
    first_unix_ms: i64,
    /// From each to the next; the first is 0.
    steps_ms: Ints,
    kinds: Ints,
    words: Ints,
    times: Ints,
}

/// Packs events whose times rise.
pub fn pack_events(rows: &[EventRow]) -> Result<Vec<u8>, CodeError> {
    let first = rows
        .first()
        .ok_or(CodeError::Contradiction("a block without events"))?;
    let mut before = first.unix_ms;
    let mut steps = Vec::with_capacity(rows.len());
    for row in rows {
        let step = i32::try_from(row.unix_ms - before).ok().filter(|step| *step >= 0);
        steps.push(step.ok_or(CodeError::Contradiction("events out of order"))?);
        before = row.unix_ms;
    }
    // Numbers wrap around: they come back as they were.
    let column = |of: fn(&EventRow) -> u32| {
        let numbers: Vec<i32> = rows.iter().map(|row| of(row).cast_signed()).collect();
        code::pack(&numbers)
    };
    code::seal(&Block {
        rows: rows.len() as u32,
        first_unix_ms: first.unix_ms,
        steps_ms: code::pack(&steps)?,
        kinds: column(|row| u32::from(row.kind))?,
        words: column(|row| row.word)?,
        times: column(|row| row.times)?,
    })
}

/// Unpacks events.
pub fn unpack_events(bytes: &[u8]) -> Result<Vec<EventRow>, CodeError> {
    let block: Block = code::unseal(bytes)?;
    let count = block.rows as usize;
    let steps = code::unpack(&block.steps_ms, count)?;
    let kinds = code::unpack(&block.kinds, count)?;
    let words = code::unpack(&block.words, count)?;
    let times = code::unpack(&block.times, count)?;
    let mut at = block.first_unix_ms;
    (0..count)
        .map(|index| {
            at = at.saturating_add(i64::from(steps[index]));
            Ok(EventRow {
                unix_ms: at,
                kind: u8::try_from(kinds[index]).map_err(|_| CodeError::Contradiction("no kind of event"))?,
                word: words[index].cast_unsigned(),
                times: times[index].cast_unsigned(),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn events_come_back(told in prop::collection::vec((0..90_000i64, 0..12u8, any::<u32>(), any::<u32>()), 1..90)) {
            let mut at = 1_700_000_000_000;
            let rows: Vec<EventRow> = told
                .into_iter()
                .map(|(step, kind, word, times)| {
                    at += step;
                    EventRow { unix_ms: at, kind, word, times }
                })
                .collect();
            prop_assert_eq!(unpack_events(&pack_events(&rows).unwrap()).unwrap(), rows);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(unpack_events(&bytes).is_err());
        }
    }
}
