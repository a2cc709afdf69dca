//! One snapshot as plain text, for `gsmon top --once` and `gsmon demo --headless`.

use std::fmt::Write;

use super::view::{COLUMNS, Column};
use crate::world::snapshot::Snapshot;

/// The table of servers and one line about the agent.
pub fn once(snapshot: &Snapshot) -> String {
    let rows: Vec<Vec<String>> = snapshot
        .servers
        .iter()
        .map(|server| COLUMNS.iter().map(|column| column.cell(server)).collect())
        .collect();
    let widths: Vec<usize> = COLUMNS
        .iter()
        .enumerate()
        .map(|(n, column)| {
            rows.iter()
                .map(|row| row[n].chars().count())
                .chain([column.title().len()])
                .max()
                .unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    let mut line = |cells: &[String]| {
        for (n, (cell, width)) in cells.iter().zip(&widths).enumerate() {
            // Names to the left, numbers to the right. Writing to a string cannot fail.
            let _ = if n < 2 {
                write!(text, "{cell:<width$}  ")
            } else {
                write!(text, "{cell:>width$}  ")
            };
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
