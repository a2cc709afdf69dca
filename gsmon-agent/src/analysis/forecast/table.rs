//! Counts from CSV: a header with `time` and `players`, RFC 3339 or seconds since 1970, in any order of columns. Not here:
//! opening files.

use std::io::Read;

use jiff::Timestamp;

/// Why a table is refused.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// It cannot be read as CSV.
    #[error("the file is no CSV: {0}")]
    Csv(#[from] csv::Error),
    /// A column is missing.
    #[error("the header has no column `{0}`: the first line must name `time` and `players`")]
    Column(&'static str),
    /// A field that cannot be meant.
    #[error("line {line}: {message}")]
    Field {
        /// Where, counted from one.
        line: u64,
        /// What is wrong.
        message: String,
    },
    /// No row.
    #[error("the file has no row with a count")]
    Empty,
}

/// Samples (seconds since 1970, count) of a table. A row without a count is a gap.
///
/// # Errors
/// With the line of the first field that is wrong.
pub fn read(source: impl Read) -> Result<Vec<(i64, f64)>, TableError> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(source);
    let header = reader.headers()?.clone();
    let column = |name: &'static str| {
        let found = header
            .iter()
            .position(|field| field.trim_start_matches('\u{feff}').eq_ignore_ascii_case(name));
        found.ok_or(TableError::Column(name))
    };
    let (time, players) = (column("time")?, column("players")?);
    let mut samples = Vec::new();
    for record in reader.records() {
        let record = record?;
        let line = record.position().map_or(0, csv::Position::line);
        let wrong = |message: String| TableError::Field { line, message };
        let text = record.get(time).unwrap_or_default();
        let at = match text.parse::<i64>() {
            Ok(seconds) => Timestamp::from_second(seconds).ok(),
            Err(_) => text.parse::<Timestamp>().ok(),
        };
        let at = at.ok_or_else(|| {
            wrong(format!(
                "`{text}` is no time: write 2026-03-01T20:00:00Z or seconds since 1970"
            ))
        })?;
        let text = record.get(players).unwrap_or_default();
        if text.is_empty() {
            continue;
        }
        match text.parse::<f64>() {
            Ok(count) if count.is_finite() && count >= 0.0 => samples.push((at.as_second(), count)),
            _ => return Err(wrong(format!("`{text}` is no number of players"))),
        }
    }
    match samples.is_empty() {
        true => Err(TableError::Empty),
        false => Ok(samples),
    }
}
