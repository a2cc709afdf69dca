//! One snapshot as plain text, for `gsmon top --once` and `gsmon demo --headless`.

use std::fmt::Write;

use super::{
    columns::{COLUMNS, Column},
    harmless::{harmless, width},
};
use crate::world::snapshot::Snapshot;

/// The table of servers and one line about the agent.
pub fn once(snapshot: &Snapshot) -> String {
    let rows: Vec<Vec<String>> = snapshot
        .servers
        .iter()
        .map(|server| {
            COLUMNS
                .iter()
                .map(|column| harmless(&column.cell(server)).into_owned())
                .collect()
        })
        .collect();
    let widths: Vec<usize> = COLUMNS
        .iter()
        .enumerate()
        .map(|(n, column)| {
            rows.iter()
                .map(|row| width(&row[n]))
                .chain([column.title().len()])
                .max()
                .unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    let mut line = |cells: &[String]| {
        for (n, (cell, most)) in cells.iter().map(String::as_str).zip(&widths).enumerate() {
            let blanks = " ".repeat(most.saturating_sub(width(cell)));
            // Names to the left, numbers to the right.
            match COLUMNS[n].is_words() {
                true => text.extend([cell, &blanks, "  "]),
                false => text.extend([&blanks, cell, "  "]),
            }
        }
        let end = text.trim_end().len();
        text.truncate(end);
        text.push('\n');
    };
    let titles: Vec<String> = COLUMNS
        .iter()
        .map(|column: &Column| column.title().to_owned())
        .collect();
    line(&titles);
    for row in &rows {
        line(row);
    }
    let _ = writeln!(text, "{}", super::view::agent_line(snapshot));
    text
}
