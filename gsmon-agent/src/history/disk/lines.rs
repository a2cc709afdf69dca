//! Players' lines as they lie on disk: the lines of one server over some minutes, by player and column. `docs/history.md` has
//! the layout. Not here: which rows there are (`packing`).

use serde::{Deserialize, Serialize};

use super::{
    code::{self, CodeError, Ints, LINE},
    samples,
};
use crate::{history::rollup::Span, privacy::Pseudonym};

/// Figures of a line, in the order of their columns: round trip p50 and p95, jitter (milliseconds), loss up and down.
pub const FIGURES: usize = 5;

/// A line whose names are numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct LineRow {
    /// Beginning of its minute.
    pub from_unix_ms: i64,
    /// Whose.
    pub player: Pseudonym,
    /// What else stands for them.
    pub also: [Option<Pseudonym>; 2],
    /// Word of the region, 0 for none.
    pub region: u32,
    /// Figures, where known.
    pub figures: [Option<f32>; FIGURES],
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Block {
    rows: u32,
    first_unix_ms: i64,
    /// Players with what else stands for them, the word of their region and how many rows each has.
    players: Vec<(Bits, [Option<Bits>; 2], u32, u32)>,
    /// Minutes since the first.
    minutes: Ints,
    /// Rows that have it, and its codes.
    columns: Vec<(Vec<u32>, Ints)>,
}

/// A pseudonym in 13 bytes.
type Bits = [u8; 13];

fn whose(row: &LineRow) -> (Pseudonym, [Option<Pseudonym>; 2], u32) {
    (row.player, row.also, row.region)
}

impl LineRow {
    /// All that stands for the player.
    pub fn pseudonyms(&self) -> impl Iterator<Item = Pseudonym> {
        std::iter::once(self.player).chain(self.also.into_iter().flatten())
    }
}

/// Packs lines; they come back by player, and of each in the order of time.
pub fn pack_lines(rows: &[LineRow]) -> Result<Vec<u8>, CodeError> {
    let mut rows: Vec<&LineRow> = rows.iter().collect();
    rows.sort_by_key(|row| (whose(row), row.from_unix_ms));
    let first = rows
        .iter()
        .map(|row| row.from_unix_ms)
        .min()
        .ok_or(CodeError::Contradiction("a block without lines"))?;
    let mut players = Vec::new();
    for same in rows.chunk_by(|one, next| whose(one) == whose(next)) {
        let (player, also, region) = whose(same[0]);
        let also = also.map(|also| also.map(Pseudonym::to_bytes));
        players.push((player.to_bytes(), also, region, same.len() as u32));
    }
    let minute = |row: &&LineRow| {
        let minutes = (row.from_unix_ms - first) / Span::Minute.ms();
        i32::try_from(minutes).map_err(|_| CodeError::Contradiction("lines of years"))
    };
    let minutes: Vec<i32> = rows.iter().map(minute).collect::<Result<_, _>>()?;
    let mut columns = Vec::with_capacity(FIGURES);
    for figure in 0..FIGURES {
        let present = samples::runs(rows.iter().map(|row| row.figures[figure].is_some()));
        let known = rows.iter().filter_map(|row| row.figures[figure]);
        let codes: Vec<i32> = known.map(|value| LINE.code(value)).collect();
        columns.push((present, code::pack(&codes)?));
    }
    code::seal(&Block {
        rows: rows.len() as u32,
        first_unix_ms: first,
        players,
        minutes: code::pack(&minutes)?,
        columns,
    })
}

/// Unpacks lines.
pub fn unpack_lines(bytes: &[u8]) -> Result<Vec<LineRow>, CodeError> {
    let block: Block = code::unseal(bytes)?;
    let count = block.rows as usize;
    let told: u64 = block.players.iter().map(|(.., rows)| u64::from(*rows)).sum();
    if told != count as u64 {
        return Err(CodeError::Contradiction("players with another number of lines"));
    }
    let minutes = code::unpack(&block.minutes, count)?;
    let mut rows = Vec::with_capacity(count);
    let whose = block.players.iter().flat_map(|(player, also, region, rows)| {
        std::iter::repeat_n((*player, *also, *region), *rows as usize)
    });
    for ((player, also, region), minute) in whose.zip(minutes) {
        let after = i64::from(minute).saturating_mul(Span::Minute.ms());
        rows.push(LineRow {
            from_unix_ms: block.first_unix_ms.saturating_add(after),
            player: Pseudonym::from_bytes(player),
            also: also.map(|also| also.map(Pseudonym::from_bytes)),
            region,
            figures: [None; FIGURES],
        });
    }
    for (figure, (present, codes)) in block.columns.iter().enumerate().take(FIGURES) {
        let places = samples::places(present, count)?;
        let codes = code::unpack(codes, places.len())?;
        for (place, code) in places.into_iter().zip(codes) {
            rows[place].figures[figure] = Some(LINE.value(code));
        }
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn row() -> impl Strategy<Value = LineRow> {
        let value = || prop::option::of(prop_oneof![Just(0.0f32), 1e-4..900.0f32]);
        let figures = [(); FIGURES].map(|()| value());
        (0..90i64, 0..5u8, 0..3u32, figures).prop_map(|(minute, player, region, figures)| LineRow {
            from_unix_ms: 1_700_000_040_000 + minute * 60_000,
            player: Pseudonym::from_bytes([player; 13]),
            also: [
                (player > 2).then(|| Pseudonym::from_bytes([player + 9; 13])),
                None,
            ],
            region,
            figures,
        })
    }

    proptest! {
        #[test]
        fn lines_come_back(rows in prop::collection::vec(row(), 1..80)) {
            let again = unpack_lines(&pack_lines(&rows).unwrap()).unwrap();
            let mut meant = rows;
            meant.sort_by_key(|row| (whose(row), row.from_unix_ms));
            prop_assert_eq!(again.len(), meant.len());
            for (row, meant) in again.iter().zip(&meant) {
                prop_assert_eq!(
                    (row.from_unix_ms, whose(row)),
                    (meant.from_unix_ms, whose(meant))
                );
                for (value, meant) in row.figures.iter().zip(&meant.figures) {
                    prop_assert_eq!(value.is_some(), meant.is_some());
                    if let (Some(value), Some(meant)) = (value, meant) {
                        prop_assert!((value - meant).abs() <= meant * 0.008, "{} for {}", value, meant);
                    }
                }
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(unpack_lines(&bytes).is_err());
        }
    }
}
