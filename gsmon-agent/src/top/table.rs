//! Tables as plain text that fit a terminal: what is free (names, rooms) gives way first, then the blanks between
//! columns, then whole columns.

use super::harmless::{fit, width};

/// A line has so many columns.
pub const LINE: usize = 80;
/// Blanks between two columns, where there is room.
const GAP: usize = 2;
/// A free text is not made narrower than this.
const NARROWEST: usize = 6;

/// What may be done to a column where there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// Nothing: figures and ids.
    Needed,
    /// It may be narrower: free text, at most so wide where there is room.
    Free(usize),
    /// It may be left out, the highest number first.
    Spare(u8),
}

/// To which side a column's cells lean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lean {
    /// Words.
    Left,
    /// Figures.
    Right,
}

/// A column: heading, side, and what may be done to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextColumn {
    /// Heading.
    pub title: &'static str,
    /// Side.
    pub lean: Lean,
    /// What may be done to it.
    pub room: Room,
}

impl TextColumn {
    /// Words or an id.
    pub const fn words(title: &'static str, room: Room) -> Self {
        Self {
            title,
            lean: Lean::Left,
            room,
        }
    }

    /// Figures.
    pub const fn figures(title: &'static str, room: Room) -> Self {
        Self {
            title,
            lean: Lean::Right,
            room,
        }
    }
}

/// The table, at most `line` columns wide where that is possible; every cell is made harmless.
pub fn table(columns: &[TextColumn], rows: &[Vec<String>], line: usize) -> String {
    let cell = |row: &[String], index: usize| row.get(index).cloned().unwrap_or_default();
    let mut widths: Vec<usize> = columns
        .iter()
        .enumerate()
        .map(|(index, column)| {
            let most = match column.room {
                Room::Free(most) => most,
                _ => line,
            };
            rows.iter()
                .map(|row| width(&fit(&cell(row, index), most)))
                .chain([width(column.title)])
                .max()
                .unwrap_or(0)
        })
        .collect();
    let mut shown: Vec<usize> = (0..columns.len()).collect();
    let mut gap = GAP;
    loop {
        let cells: usize = shown.iter().map(|index| widths[*index]).sum();
        let over = (cells + gap * shown.len().saturating_sub(1)).saturating_sub(line);
        if over == 0 {
            break;
        }
        let widest = shown
            .iter()
            .copied()
            .filter(|index| matches!(columns[*index].room, Room::Free(_)) && widths[*index] > NARROWEST)
            .max_by_key(|index| widths[*index]);
        if let Some(index) = widest {
            widths[index] -= over.min(widths[index] - NARROWEST).clamp(1, 4);
            continue;
        }
        if gap > 1 {
            gap -= 1;
            continue;
        }
        let spare = shown
            .iter()
            .copied()
            .filter_map(|index| match columns[index].room {
                Room::Spare(order) => Some((order, index)),
                _ => None,
            })
            .max();
        match spare {
            Some((_, index)) => shown.retain(|other| *other != index),
            None => break,
        }
    }
    let mut text = String::new();
    let titles: Vec<String> = columns.iter().map(|column| column.title.to_owned()).collect();
    for row in std::iter::once(&titles).chain(rows) {
        let mut written = String::new();
        for (place, index) in shown.iter().enumerate() {
            let cell = fit(&cell(row, *index), widths[*index]);
            let blanks = " ".repeat(widths[*index].saturating_sub(width(&cell)));
            if place > 0 {
                written.push_str(&" ".repeat(gap));
            }
            match columns[*index].lean {
                Lean::Left => written.extend([cell, blanks]),
                Lean::Right => written.extend([blanks, cell]),
            }
        }
        text.push_str(written.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const COLUMNS: [TextColumn; 4] = [
        TextColumn::words("NAME", Room::Free(30)),
        TextColumn::words("MAP", Room::Spare(1)),
        TextColumn::words("MODE", Room::Spare(2)),
        TextColumn::figures("CPU", Room::Needed),
    ];

    fn row(cells: [&str; 4]) -> Vec<String> {
        cells.map(str::to_owned).to_vec()
    }

    #[test]
    fn figures_lean_right_and_words_left() {
        let text = table(
            &COLUMNS,
            &[row(["a", "m", "x", "1.0"]), row(["b", "mm", "y", "10.0"])],
            LINE,
        );
        assert_eq!(
            text,
            "NAME  MAP  MODE   CPU\na     m    x      1.0\nb     mm   y     10.0\n"
        );
    }

    #[test]
    fn names_give_way_first_then_spare_columns() {
        let rows = [row(["a very long name of somebody", "oa_dm1", "ffa", "123.4"])];
        let text = table(&COLUMNS, &rows, 30);
        assert!(text.contains("a very l…  oa_dm1  ffa   123.4"), "{text}");
        let text = table(&COLUMNS, &rows, 25);
        assert!(text.contains("a ver… oa_dm1 ffa  123.4"), "{text}");
        let text = table(&COLUMNS, &rows, 20);
        assert!(
            text.contains("a ver… oa_dm1 123.4") && !text.contains("MODE"),
            "{text}"
        );
        let text = table(&COLUMNS, &rows, 5);
        assert!(text.contains("123.4") && !text.contains("MAP"), "{text}");
    }

    proptest! {
        #[test]
        fn lines_fit_whatever_stands_in_the_cells(
            rows in prop::collection::vec(prop::collection::vec(any::<String>(), 3), 0..6),
            line in 30usize..120,
        ) {
            let rows: Vec<Vec<String>> = rows.into_iter().map(|mut row| { row.push("123456789".into()); row }).collect();
            let text = table(&COLUMNS, &rows, line);
            prop_assert_eq!(text.lines().count(), rows.len() + 1);
            for one in text.lines() {
                prop_assert!(width(one) <= line, "{one:?}");
                prop_assert!(!one.chars().any(char::is_control));
            }
        }
    }
}
