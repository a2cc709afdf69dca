//! Questions about the file as such: what is in it, is it sound, can it be smaller. Not here: its content (`reader`).

use std::path::Path;

use rusqlite::{Connection, OpenFlags, params};
use serde::Serialize;

use super::{
    code, lines,
    names::Names,
    packing, past,
    reader::HistoryReader,
    rollups,
    samples::{self, JournalRow},
    schema::{self, HistoryError},
};
use crate::history::{StoredCause, rollup::Span};

/// What is in the file.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HistoryStats {
    /// Version of the schema.
    pub schema_version: i32,
    /// Size of the file.
    pub bytes: u64,
    /// Of it: free, and written again before the file grows.
    pub free_bytes: u64,
    /// Servers of which there is anything.
    pub servers: u64,
    /// Tables, the largest first.
    pub tables: Vec<TableStats>,
}

/// One table, or one tier of blocks.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TableStats {
    /// Its name.
    pub table: String,
    /// Rows.
    pub rows: u64,
    /// Frames in them, of tables that have any.
    pub frames: Option<u64>,
    /// Bytes of their blobs, of tables that have any.
    pub blob_bytes: Option<u64>,
    /// Oldest time in it.
    pub oldest_unix_ms: Option<i64>,
    /// Newest time in it.
    pub newest_unix_ms: Option<i64>,
}

/// What is wrong with the file.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct CheckReport {
    /// Blocks and journal rows that were read.
    pub read: u64,
    /// Frames in them.
    pub frames: u64,
    /// What SQLite says of the file; empty when it is sound.
    pub database: Vec<String>,
    /// Blocks that cannot be read.
    pub blocks: Vec<String>,
}

impl CheckReport {
    /// Nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.database.is_empty() && self.blocks.is_empty()
    }
}

impl HistoryReader {
    /// Counts what is in the file.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn stats(&self) -> Result<HistoryStats, HistoryError> {
        self.stats_of().map_err(HistoryError::sql(&self.path))
    }

    fn stats_of(&self) -> rusqlite::Result<HistoryStats> {
        let view = self.connection.unchecked_transaction()?;
        let number = |pragma: &str| view.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
        let page = number("page_size")?;
        let mut tables = Vec::new();
        for (tier, name) in [
            (0, "samples"),
            (1, "minutes"),
            (2, "hours"),
            (packing::EVENTS, "events of past days"),
            (packing::LINES, "players' lines"),
        ] {
            let query = "SELECT count(*), sum(frames), sum(length(data)), min(from_ms), max(to_ms) FROM block WHERE tier = ?1";
            tables.push(view.query_row(query, [tier], |row| table(name, row))?);
        }
        for (name, query) in [
            (
                "journal",
                "SELECT count(*), NULL, sum(length(samples)), min(unix_ms), max(unix_ms) FROM journal",
            ),
            (
                "lines of this hour",
                "SELECT count(*), sum(lines), sum(length(data)), min(from_ms), max(from_ms) FROM line",
            ),
            (
                "events",
                "SELECT count(*), NULL, NULL, min(unix_ms), max(unix_ms) FROM event",
            ),
            (
                "sessions",
                "SELECT count(*), NULL, NULL, min(begun_ms), max(seen_ms) FROM session",
            ),
            (
                "transitions",
                "SELECT count(*), NULL, NULL, min(began_ms), max(began_ms) FROM transition",
            ),
            (
                "starts and stops",
                "SELECT count(*), NULL, NULL, min(began_ms), max(began_ms) FROM life",
            ),
            (
                "spikes",
                "SELECT count(*), NULL, NULL, min(began_ms), max(began_ms + lasted_ms) FROM spike",
            ),
            (
                "findings",
                "SELECT count(*), NULL, NULL, min(began_ms), max(last_ms) FROM finding",
            ),
        ] {
            // A file that no newer gsmon has written since.
            let since = match name {
                "spikes" => schema::WITH_SPIKES,
                "findings" => schema::WITH_FINDINGS,
                "lines of this hour" => schema::WITH_LINES,
                _ => 0,
            };
            if number("user_version")? < i64::from(since) {
                continue;
            }
            tables.push(view.query_row(query, [], |row| table(name, row))?);
        }
        let servers = view.query_row("SELECT count(*) FROM server", [], |row| row.get::<_, i64>(0))?;
        Ok(HistoryStats {
            schema_version: number("user_version")? as i32,
            bytes: (number("page_count")? * page) as u64,
            free_bytes: (number("freelist_count")? * page) as u64,
            servers: servers as u64,
            tables,
        })
    }

    /// Reads everything.
    ///
    /// # Errors
    /// When it cannot be read at all.
    pub fn check(&self) -> Result<CheckReport, HistoryError> {
        self.check_all().map_err(HistoryError::sql(&self.path))
    }

    fn check_all(&self) -> rusqlite::Result<CheckReport> {
        let view = self.connection.unchecked_transaction()?;
        let mut report = CheckReport::default();
        let mut told = view.prepare("PRAGMA integrity_check(20)")?;
        let told = told.query_map([], |row| row.get::<_, String>(0))?;
        for line in told {
            let line = line?;
            if line != "ok" {
                report.database.push(line);
            }
        }
        let names = Names::read(&view)?;
        let mut query = view.prepare("SELECT tier, server, seq, frames, data FROM block")?;
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            let (tier, data): (u8, Vec<u8>) = (row.get(0)?, row.get(4)?);
            let names = &names.dictionary;
            let rolled = |span| {
                let (rows, _) = rollups::unpack_sketched(&data, names, span)?;
                Ok(rows.iter().map(|row| i64::from(row.frames)).sum::<i64>())
            };
            let frames = match tier {
                0 => samples::unpack_block(&data, names).map(|frames| frames.len() as i64),
                1 => rolled(Span::Minute),
                packing::EVENTS => past::unpack_events(&data).map(|rows| rows.len() as i64),
                packing::LINES => lines::unpack_lines(&data).map(|rows| rows.len() as i64),
                _ => rolled(Span::Hour),
            };
            let expected: i64 = row.get(3)?;
            let wrong = match frames {
                Ok(frames) if frames == expected => None,
                Ok(frames) => Some(format!("has {frames} frames instead of {expected}")),
                Err(error) => Some(error.to_string()),
            };
            report.read += 1;
            match wrong {
                // Events and lines are no frames.
                None => {
                    report.frames += if tier < packing::EVENTS {
                        expected as u64
                    } else {
                        0
                    }
                }
                Some(wrong) => report.blocks.push(format!(
                    "block of tier {tier}, server {}, number {}: {wrong}",
                    row.get::<_, i64>(1)?,
                    row.get::<_, i64>(2)?
                )),
            }
        }
        let mut query = view.prepare("SELECT id, samples FROM journal")?;
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            report.read += 1;
            match code::unseal::<JournalRow>(&row.get::<_, Vec<u8>>(1)?) {
                Ok(samples) => report.frames += samples.len() as u64,
                Err(error) => report
                    .blocks
                    .push(format!("journal row {}: {error}", row.get::<_, i64>(0)?)),
            }
        }
        let version = schema::version(&view, &self.path).unwrap_or_default();
        if version >= schema::WITH_LINES {
            let mut query = view.prepare("SELECT server, seq, data FROM line")?;
            let mut rows = query.query([])?;
            while let Some(row) = rows.next()? {
                report.read += 1;
                if let Err(error) = lines::unpack_lines(&row.get::<_, Vec<u8>>(2)?) {
                    let (server, seq): (i64, i64) = (row.get(0)?, row.get(1)?);
                    let wrong = format!("lines of server {server}, number {seq}: {error}");
                    report.blocks.push(wrong);
                }
            }
        }
        if version >= schema::WITH_SPIKES {
            let mut query = view.prepare("SELECT server, began_ms, causes, not_measured FROM spike")?;
            let mut rows = query.query([])?;
            while let Some(row) = rows.next()? {
                report.read += 1;
                let (causes, absent): (String, String) = (row.get(2)?, row.get(3)?);
                let wrong = serde_json::from_str::<Vec<StoredCause>>(&causes).err();
                let wrong = wrong.or_else(|| serde_json::from_str::<Vec<String>>(&absent).err());
                if let Some(error) = wrong {
                    let (server, began_ms): (i64, i64) = (row.get(0)?, row.get(1)?);
                    report
                        .blocks
                        .push(format!("spike of server {server} at {began_ms}: {error}"));
                }
            }
        }
        if version >= schema::WITH_FINDINGS {
            let mut query = view.prepare("SELECT server, began_ms, evidence FROM finding")?;
            let mut rows = query.query([])?;
            while let Some(row) = rows.next()? {
                report.read += 1;
                if let Err(error) = serde_json::from_str::<serde_json::Value>(&row.get::<_, String>(2)?) {
                    let (server, began_ms): (i64, i64) = (row.get(0)?, row.get(1)?);
                    report
                        .blocks
                        .push(format!("finding about server {server} at {began_ms}: {error}"));
                }
            }
        }
        Ok(report)
    }
}

fn table(name: &str, row: &rusqlite::Row<'_>) -> rusqlite::Result<TableStats> {
    let count = |index: usize| -> rusqlite::Result<Option<u64>> {
        let number: Option<i64> = row.get(index)?;
        Ok(number.and_then(|number| u64::try_from(number).ok()))
    };
    Ok(TableStats {
        table: name.to_owned(),
        rows: count(0)?.unwrap_or(0),
        frames: count(1)?,
        blob_bytes: count(2)?,
        oldest_unix_ms: row.get(3)?,
        newest_unix_ms: row.get(4)?,
    })
}

/// Writes the file anew without its free space; an agent that writes it waits meanwhile, and keeps what it cannot write for
/// two minutes. Says how many bytes it had and has.
///
/// # Errors
/// When there is no such file, no room for another one beside it, or somebody else holds it.
pub fn vacuum(path: &Path) -> Result<(u64, u64), HistoryError> {
    let file = |source| HistoryError::File {
        path: path.to_owned(),
        source,
    };
    drop(schema::open_to_read(path)?);
    let before = std::fs::metadata(path).map_err(file)?.len();
    let sql = HistoryError::sql(path);
    let connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )
    .map_err(&sql)?;
    connection
        .busy_timeout(std::time::Duration::from_secs(10))
        .map_err(&sql)?;
    connection.execute("VACUUM", params![]).map_err(&sql)?;
    connection
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        .map_err(&sql)?;
    Ok((before, std::fs::metadata(path).map_err(file)?.len()))
}
