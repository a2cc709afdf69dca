//! What is packed beside samples: events of past days and players' lines of past hours become blocks, and lines of players
//! who are to be forgotten go. Small steps, as in `upkeep`. Not here: the bytes (`past`, `lines`).

use std::collections::{BTreeMap, VecDeque};

use rusqlite::{Connection, params};

use super::{
    file::{HistoryFile, Waiting},
    lines::{LineRow, pack_lines, unpack_lines},
    names::Names,
    past::{EventRow, pack_events},
    schema::HistoryError,
    upkeep::{DAY_MS, insert},
};
use crate::{
    history::{lines::StoredLine, rollup::Span},
    privacy::Pseudonym,
};

/// Blocks of events.
pub const EVENTS: u8 = 3;
/// Blocks of players' lines.
pub const LINES: u8 = 4;

/// A day of events is packed so long after its end: what comes late is in it.
const EVENTS_SETTLE_MS: i64 = 3_600_000;
/// Events in one block.
const MOST_EVENTS: usize = 50_000;
/// An hour of lines is packed so long after its end.
const LINES_SETTLE_MS: i64 = 120_000;
/// Rows of lines that wait at most, where the clock does not end their hour.
const MOST_WAITING: usize = 180;

fn hour(unix_ms: i64) -> i64 {
    unix_ms.div_euclid(Span::Hour.ms())
}

/// Writes the lines of one interval; gives back the rows that they became, with their servers.
pub fn write_lines(
    names: &mut Names,
    connection: &Connection,
    seq: i64,
    lines: &[StoredLine],
) -> rusqlite::Result<Vec<(u32, Waiting)>> {
    let mut servers: BTreeMap<u32, Vec<LineRow>> = BTreeMap::new();
    for line in lines {
        let server = names.server_or_new(connection, &line.server)?;
        servers.entry(server).or_default().push(LineRow {
            from_unix_ms: line.from_unix_ms,
            player: line.player,
            also: line.also,
            region: names.word_or_new(connection, line.region.as_ref())?,
            figures: [
                line.rtt_p50_ms,
                line.rtt_p95_ms,
                line.jitter_ms,
                line.loss_up_ratio,
                line.loss_down_ratio,
            ],
        });
    }
    let mut waiting = Vec::with_capacity(servers.len());
    for (server, rows) in servers {
        // Rows of one minute cannot fail to be written as bytes.
        let Ok(data) = pack_lines(&rows) else { continue };
        insert_waiting(connection, (server, seq), &rows, &data)?;
        let unix_ms = rows.iter().map(|row| row.from_unix_ms).min().unwrap_or_default();
        waiting.push((server, Waiting { seq, unix_ms }));
    }
    Ok(waiting)
}

impl HistoryFile {
    /// A server whose oldest waiting lines are of an hour that is over.
    pub(super) fn packable_lines(&self, now_ms: i64) -> Option<u32> {
        let due = |rows: &VecDeque<Waiting>| {
            let first = rows.front()?;
            let ended_ms = (hour(first.unix_ms) + 1) * Span::Hour.ms();
            // An hour that is yet to come is one of a clock that was set back.
            let over = now_ms > ended_ms + LINES_SETTLE_MS || hour(first.unix_ms) > hour(now_ms);
            Some(over || rows.len() > MOST_WAITING)
        };
        let mut servers = self.lines.iter();
        let found = servers.find(|(_, rows)| due(rows).unwrap_or(false));
        found.map(|(server, _)| *server)
    }

    /// Makes one block of a server's oldest waiting lines.
    pub(super) fn pack_waiting_lines(&mut self, server: u32) -> rusqlite::Result<()> {
        let Some(rows) = self.lines.get(&server) else {
            return Ok(());
        };
        let Some(first) = rows.front().copied() else {
            return Ok(());
        };
        let due: Vec<Waiting> = rows
            .iter()
            .copied()
            .take_while(|row| hour(row.unix_ms) == hour(first.unix_ms))
            .take(MOST_WAITING)
            .collect();
        // What lay in rows must not stay behind in pages that are free: it may have to be forgotten.
        self.connection.execute_batch("PRAGMA secure_delete = ON")?;
        let transaction = self.connection.unchecked_transaction()?;
        let mut lines = Vec::new();
        let mut read = transaction.prepare_cached("SELECT data FROM line WHERE server = ?1 AND seq = ?2")?;
        for row in &due {
            let found = read.query_row(params![server, row.seq], |found| found.get::<_, Vec<u8>>(0));
            match found.map(|data| unpack_lines(&data)) {
                Ok(Ok(mut some)) => lines.append(&mut some),
                Ok(Err(error)) => {
                    self.damaged_blocks += 1;
                    tracing::warn!(path = %self.path.display(), "players' lines are left out of the history: {error}");
                }
                // All its lines have been forgotten.
                Err(rusqlite::Error::QueryReturnedNoRows) => {}
                Err(error) => return Err(error),
            }
        }
        drop(read);
        if let (Some(last), false) = (due.last(), lines.is_empty()) {
            match pack_lines(&lines) {
                Ok(data) => insert_lines(&transaction, (server, last.seq), &lines, &data)?,
                Err(error) => {
                    self.damaged_blocks += 1;
                    tracing::warn!(path = %self.path.display(), "players' lines cannot be packed: {error}");
                }
            }
        }
        let mut delete = transaction.prepare_cached("DELETE FROM line WHERE server = ?1 AND seq = ?2")?;
        for row in &due {
            delete.execute(params![server, row.seq])?;
        }
        drop(delete);
        transaction.commit()?;
        self.connection.execute_batch("PRAGMA secure_delete = OFF")?;
        if let Some(rows) = self.lines.get_mut(&server) {
            rows.drain(..due.len());
            if rows.is_empty() {
                self.lines.remove(&server);
            }
        }
        Ok(())
    }

    /// Makes one block of a server's oldest events, once their day has passed. Says whether there was one.
    pub(super) fn pack_past_events(&self, server: u32, now_ms: i64) -> rusqlite::Result<bool> {
        let oldest: Option<i64> = self
            .connection
            .prepare_cached("SELECT min(unix_ms) FROM event WHERE server = ?1")?
            .query_row([server], |row| row.get(0))?;
        let Some(end_ms) = oldest.map(|oldest| (oldest.div_euclid(DAY_MS) + 1) * DAY_MS) else {
            return Ok(false);
        };
        if now_ms < end_ms + EVENTS_SETTLE_MS {
            return Ok(false);
        }
        let transaction = self.connection.unchecked_transaction()?;
        let mut rows: Vec<EventRow> = transaction
            .prepare_cached(
                "SELECT unix_ms, kind, word, times FROM event WHERE server = ?1 AND unix_ms < ?2
                 ORDER BY unix_ms, kind, word LIMIT ?3",
            )?
            .query_map(params![server, end_ms, MOST_EVENTS as i64], |row| {
                Ok(EventRow {
                    unix_ms: row.get(0)?,
                    kind: row.get(1)?,
                    word: row.get(2)?,
                    times: row.get(3)?,
                })
            })?
            .collect::<Result<_, _>>()?;
        if rows.len() == MOST_EVENTS {
            // What has the time of the last one may not all be there.
            let last = rows.last().map_or(0, |row| row.unix_ms);
            rows.retain(|row| row.unix_ms < last);
        }
        let (Some(first), Some(last)) = (rows.first().copied(), rows.last().copied()) else {
            return Ok(false);
        };
        let Ok(data) = pack_events(&rows) else {
            // They stay as they are.
            return Ok(false);
        };
        let seq: i64 = transaction
            .prepare_cached("SELECT coalesce(max(seq), 0) + 1 FROM block WHERE tier = ?1 AND server = ?2")?
            .query_row(params![EVENTS, server], |row| row.get(0))?;
        let times = (first.unix_ms, last.unix_ms);
        insert(
            &transaction,
            (EVENTS, server, seq),
            times,
            rows.len() as i64,
            &data,
        )?;
        transaction
            .prepare_cached("DELETE FROM event WHERE server = ?1 AND unix_ms <= ?2")?
            .execute(params![server, last.unix_ms])?;
        transaction.commit()?;
        Ok(true)
    }

    /// Removes the lines of players up to the moment that each is to be forgotten from, and overwrites their rows. Says
    /// how many there were.
    ///
    /// # Errors
    /// When the file cannot be read or written; what was removed until then is gone.
    pub fn forget(&mut self, players: &BTreeMap<Pseudonym, i64>) -> Result<u64, HistoryError> {
        let path = self.path.clone();
        self.forget_all(players).map_err(HistoryError::sql(&path))
    }

    fn forget_all(&mut self, players: &BTreeMap<Pseudonym, i64>) -> rusqlite::Result<u64> {
        let Some(newest) = players.values().max().copied() else {
            return Ok(0);
        };
        self.connection.execute_batch("PRAGMA secure_delete = ON")?;
        let mut servers: Vec<u32> = self.names.servers().values().copied().collect();
        servers.sort_unstable();
        let mut gone = 0;
        for server in servers {
            let transaction = self.connection.unchecked_transaction()?;
            for of in [Of::Waiting, Of::Packed] {
                gone += forget_in(&transaction, of, server, newest, players)?;
            }
            transaction.commit()?;
        }
        self.connection.execute_batch("PRAGMA secure_delete = OFF")?;
        if gone > 0 {
            // Where a reader is in the way, the next checkpoint does it.
            self.connection
                .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        }
        Ok(gone)
    }
}

/// Where lines lie.
#[derive(Clone, Copy)]
enum Of {
    /// In the table of their own.
    Waiting,
    /// In blocks.
    Packed,
}

impl Of {
    fn find(self) -> &'static str {
        match self {
            Self::Waiting => "SELECT seq, data FROM line WHERE server = ?1 AND from_ms <= ?2",
            Self::Packed => "SELECT seq, data FROM block WHERE tier = 4 AND server = ?1 AND from_ms <= ?2",
        }
    }

    fn delete(self) -> &'static str {
        match self {
            Self::Waiting => "DELETE FROM line WHERE server = ?1 AND seq = ?2",
            Self::Packed => "DELETE FROM block WHERE tier = 4 AND server = ?1 AND seq = ?2",
        }
    }
}

fn forget_in(
    connection: &Connection,
    of: Of,
    server: u32,
    newest_ms: i64,
    players: &BTreeMap<Pseudonym, i64>,
) -> rusqlite::Result<u64> {
    let found: Vec<(i64, Vec<u8>)> = connection
        .prepare_cached(of.find())?
        .query_map(params![server, newest_ms], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    let mut gone = 0;
    for (seq, data) in found {
        // One that cannot be read may be theirs: it goes as well.
        let lines = unpack_lines(&data).unwrap_or_default();
        let forgotten = |row: &LineRow| {
            let mut untils = row.pseudonyms().filter_map(|one| players.get(&one));
            untils.any(|until| row.from_unix_ms <= *until)
        };
        let kept: Vec<LineRow> = lines.iter().filter(|row| !forgotten(row)).cloned().collect();
        if kept.len() == lines.len() && !lines.is_empty() {
            continue;
        }
        gone += (lines.len() - kept.len()) as u64;
        connection
            .prepare_cached(of.delete())?
            .execute(params![server, seq])?;
        if let Ok(data) = pack_lines(&kept) {
            match of {
                Of::Packed => insert_lines(connection, (server, seq), &kept, &data)?,
                Of::Waiting => insert_waiting(connection, (server, seq), &kept, &data)?,
            }
        }
    }
    Ok(gone)
}

fn insert_waiting(
    connection: &Connection,
    (server, seq): (u32, i64),
    lines: &[LineRow],
    data: &[u8],
) -> rusqlite::Result<()> {
    let from_ms = lines.iter().map(|row| row.from_unix_ms).min();
    connection
        .prepare_cached("INSERT INTO line (server, seq, from_ms, lines, data) VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute(params![server, seq, from_ms, lines.len() as i64, data])
        .map(drop)
}

fn insert_lines(
    connection: &Connection,
    (server, seq): (u32, i64),
    lines: &[LineRow],
    data: &[u8],
) -> rusqlite::Result<()> {
    let begins = || lines.iter().map(|row| row.from_unix_ms);
    let (Some(first), Some(last)) = (begins().min(), begins().max()) else {
        return Ok(());
    };
    let times = (first, last + Span::Minute.ms());
    insert(connection, (LINES, server, seq), times, lines.len() as i64, data)
}

#[cfg(test)]
#[path = "packing_tests.rs"]
mod tests;
