//! What is done to the file beside writing, one small step after each interval: journal rows become blocks, blocks become
//! roll-ups, what is past its retention goes. No step holds the file for long.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use rusqlite::{Connection, params};

use super::{
    code::{self, CodeError},
    file::{GROUPS, HistoryFile, Unrolled, Waiting},
    rollups,
    samples::{self, JournalRow, Sample},
    schema::HistoryError,
};
use crate::{
    config::HistorySettings,
    history::rollup::{Rollup, Span, roll_frames, roll_rows},
};

/// Length of a block of samples: long enough to pack well, short enough to be in memory for eight servers.
pub const BLOCK_MS: i64 = 600_000;
/// A block that ends an hour is followed by another soon, unless its server has gone: then it waits so long.
const ROLL_ANYWAY_MS: i64 = 900_000;
pub const DAY_MS: i64 = 86_400_000;
/// Blocks of minutes are joined to this length: each ends within a page, and half a page of many small ones is much.
const JOINED_MS: i64 = 6 * 3_600_000;
/// Rows that go at a time.
const AT_ONCE: u32 = 16;
const EVENTS_AT_ONCE: u32 = 256;
/// Free pages before the file is made shorter: 16 MiB; fewer are soon written again.
const MANY_FREE_PAGES: i64 = 8_192;
const FREED_AT_ONCE: i64 = 512;

/// How long everything is kept, milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// Samples, minutes, hours, events of past days, players' lines.
    tiers: [i64; 5],
    events: i64,
    sessions: i64,
}

impl Retention {
    /// From the configuration.
    pub fn of(settings: &HistorySettings) -> Self {
        let ms = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        Self {
            tiers: [
                settings.raw,
                settings.minutes,
                settings.hours,
                settings.events,
                settings.lines,
            ]
            .map(ms),
            events: ms(settings.events),
            sessions: ms(settings.sessions),
        }
    }
}

/// May anything be removed? Not while the clock is in doubt: what it calls old may be new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// Yes.
    Allowed,
    /// Not now.
    Suspended,
}

/// Which block an interval belongs to, by its end.
fn window(unix_ms: i64) -> i64 {
    (unix_ms - 1).div_euclid(BLOCK_MS)
}

/// Row of the journal.
fn journal_id(group: u32, seq: i64) -> i64 {
    seq * i64::from(GROUPS) + i64::from(group)
}

impl HistoryFile {
    /// One step of whatever is due. Says whether there was anything to pack or to roll.
    pub fn step(
        &mut self,
        now_ms: i64,
        retention: &Retention,
        removal: Removal,
    ) -> Result<bool, HistoryError> {
        let path = self.path.clone();
        let sql = HistoryError::sql(&path);
        if let Some(group) = self.packable(now_ms) {
            return self.pack(group).map_err(sql).map(|()| true);
        }
        if let Some((tier, server, blocks)) = self.rollable(now_ms) {
            return self.roll(tier, server, &blocks).map_err(sql).map(|()| true);
        }
        if let Some(server) = self.packable_lines(now_ms) {
            return self.pack_waiting_lines(server).map_err(sql).map(|()| true);
        }
        if removal == Removal::Allowed {
            self.remove_some(now_ms, retention).map_err(sql)?;
        }
        Ok(false)
    }

    /// A group whose oldest rows are of another block than now.
    fn packable(&self, now_ms: i64) -> Option<u32> {
        let of_another = |rows: &VecDeque<Waiting>| {
            rows.front()
                .is_some_and(|row| window(row.unix_ms) != window(now_ms))
        };
        let mut groups = self.journal.iter();
        groups.find(|(_, rows)| of_another(rows)).map(|(group, _)| *group)
    }

    /// Makes blocks of a group's oldest rows.
    fn pack(&mut self, group: u32) -> rusqlite::Result<()> {
        let rows = self.journal.entry(group).or_default();
        let Some(first) = rows.front().copied() else {
            return Ok(());
        };
        let due: Vec<Waiting> = rows
            .iter()
            .copied()
            .take_while(|row| window(row.unix_ms) == window(first.unix_ms))
            .collect();
        let transaction = self.connection.unchecked_transaction()?;
        let mut read = transaction.prepare_cached("SELECT samples FROM journal WHERE id = ?1")?;
        let mut servers: BTreeMap<u32, (Vec<i64>, Vec<Sample>)> = BTreeMap::new();
        for row in &due {
            let bytes: Vec<u8> = read.query_row([journal_id(group, row.seq)], |found| found.get(0))?;
            match code::unseal::<JournalRow>(&bytes) {
                Ok(samples) => {
                    for (server, sample) in samples {
                        let (seqs, kept) = servers.entry(server).or_default();
                        seqs.push(row.seq);
                        kept.push(sample);
                    }
                }
                Err(error) => {
                    self.damaged_blocks += 1;
                    tracing::warn!(path = %self.path.display(), "an interval is left out of the history: {error}");
                }
            }
        }
        drop(read);
        let mut made = Vec::new();
        for (server, (seqs, samples)) in servers {
            let mut end = 0;
            // Where the clock was set back, another block begins.
            for part in samples.chunk_by(|one, next| one.unix_ms <= next.unix_ms) {
                end += part.len();
                let seq = seqs[end - 1];
                match samples::pack_block(part, &self.names.dictionary) {
                    Ok(data) => made.push((server, insert_samples(&transaction, server, seq, part, &data)?)),
                    Err(error) => {
                        self.damaged_blocks += 1;
                        tracing::warn!(path = %self.path.display(), "samples cannot be packed: {error}");
                    }
                }
            }
        }
        let mut delete = transaction.prepare_cached("DELETE FROM journal WHERE id = ?1")?;
        for row in &due {
            delete.execute([journal_id(group, row.seq)])?;
        }
        drop(delete);
        transaction.commit()?;
        if let Some(rows) = self.journal.get_mut(&group) {
            rows.drain(..due.len());
        }
        for (server, block) in made {
            self.unrolled.entry((0, server)).or_default().push_back(block);
        }
        Ok(())
    }

    /// Blocks of one hour (of samples) or one day (of minutes) that nothing will be added to.
    fn rollable(&self, now_ms: i64) -> Option<(u8, u32, Vec<Unrolled>)> {
        self.unrolled.iter().find_map(|((tier, server), blocks)| {
            let span_ms = match tier {
                0 => Span::Hour.ms(),
                _ => DAY_MS,
            };
            let span = |block: &Unrolled| (block.to_ms - 1).div_euclid(span_ms);
            let first = blocks.front()?;
            let run: Vec<Unrolled> = blocks
                .iter()
                .copied()
                .take_while(|block| span(block) == span(first))
                .collect();
            let ended_ms = (span(first) + 1) * span_ms;
            // Hours of a day come last by so much.
            let patience = match tier {
                0 => ROLL_ANYWAY_MS,
                _ => 2 * ROLL_ANYWAY_MS,
            };
            let over = run.len() < blocks.len() || now_ms > ended_ms + patience;
            over.then_some((*tier, *server, run))
        })
    }

    fn roll(&mut self, tier: u8, server: u32, blocks: &[Unrolled]) -> rusqlite::Result<()> {
        let Some(last) = blocks.last() else {
            return Ok(());
        };
        let transaction = self.connection.unchecked_transaction()?;
        let mut rows = BTreeMap::new();
        let damaged_before = self.damaged_blocks;
        // Minutes stay beside the hours that are made of them, in fewer blocks.
        let joined_of = |block: &Unrolled| (block.to_ms - 1).div_euclid(JOINED_MS);
        let mut joined = Vec::new();
        for part in blocks.chunk_by(|one, next| joined_of(one) == joined_of(next)) {
            let mut minutes = BTreeMap::new();
            let mut sketched = BTreeMap::new();
            let mut read = transaction
                .prepare_cached("SELECT data FROM block WHERE tier = ?1 AND server = ?2 AND seq = ?3")?;
            for block in part {
                let data: Vec<u8> = read.query_row(params![tier, server, block.seq], |row| row.get(0))?;
                if let Err(error) = add(&mut minutes, &mut sketched, tier, &data, &self.names.dictionary) {
                    self.damaged_blocks += 1;
                    tracing::warn!(path = %self.path.display(), "a block is left out of a roll-up: {error}");
                }
            }
            match tier {
                0 => rows.append(&mut minutes),
                _ => roll_rows(&mut rows, sketched.values(), Span::Hour),
            }
            if tier == 1 && part.len() > 1 && self.damaged_blocks == damaged_before {
                let minutes: Vec<Rollup> = minutes.into_values().collect();
                let sketched: Vec<Rollup> = sketched.into_values().collect();
                // What cannot be packed stays as it was.
                if let Ok(data) = rollups::pack_rollups(&minutes, &sketched, &self.names) {
                    joined.push((part, minutes, data));
                }
            }
        }
        let rows: Vec<Rollup> = rows.into_values().collect();
        let mut made = None;
        if let (Some(first), Some(end)) = (rows.first(), rows.last()) {
            let sketched = rollups::rolled(&rows, first.span.of_sketches());
            match rollups::pack_rollups(&rows, &sketched, &self.names) {
                Ok(data) => {
                    insert_rows(&transaction, (tier + 1, server, last.seq), &rows, &data)?;
                    let to_ms = end.from_unix_ms + end.span.ms();
                    made = Some(Unrolled { seq: last.seq, to_ms });
                }
                Err(error) => {
                    self.damaged_blocks += 1;
                    tracing::warn!(path = %self.path.display(), "a roll-up cannot be made: {error}");
                }
            }
        }
        if self.damaged_blocks == damaged_before {
            for (part, minutes, data) in joined {
                replace(&transaction, (tier, server), part, &minutes, &data)?;
            }
        }
        transaction.commit()?;
        if let Some(waiting) = self.unrolled.get_mut(&(tier, server)) {
            waiting.drain(..blocks.len());
            if waiting.is_empty() {
                self.unrolled.remove(&(tier, server));
            }
        }
        if let Some(block) = made.filter(|_| tier == 0) {
            self.unrolled.entry((1, server)).or_default().push_back(block);
        }
        Ok(())
    }

    /// Removes a few rows of one server that are past their retention; each call looks at the next server.
    fn remove_some(&mut self, now_ms: i64, retention: &Retention) -> rusqlite::Result<()> {
        let mut servers: Vec<u32> = self.names.servers().values().copied().collect();
        servers.sort_unstable();
        let Some(server) = servers.get(self.retained % servers.len().max(1)).copied() else {
            return Ok(());
        };
        if self.pack_past_events(server, now_ms)? {
            return Ok(());
        }
        self.retained = self.retained.wrapping_add(1);
        let before = |kept: i64| now_ms.saturating_sub(kept);
        let transaction = self.connection.unchecked_transaction()?;
        for (tier, kept) in (0u8..).zip(retention.tiers) {
            let unrolled = self
                .unrolled
                .get(&(tier, server))
                .and_then(|blocks| blocks.front());
            let end = unrolled.map_or(i64::MAX, |block| block.seq);
            transaction
                .prepare_cached(
                    "DELETE FROM block WHERE tier = ?1 AND server = ?2 AND seq IN (
                       SELECT seq FROM (SELECT seq, to_ms FROM block WHERE tier = ?1 AND server = ?2 AND seq < ?3
                                        ORDER BY seq LIMIT ?4) WHERE to_ms < ?5)",
                )?
                .execute(params![tier, server, end, AT_ONCE, before(kept)])?;
        }
        // Lines that wait are of the last hours: only a clock that was wrong leaves any behind.
        transaction
            .prepare_cached("DELETE FROM line WHERE server = ?1 AND from_ms < ?2")?
            .execute(params![server, before(retention.tiers[4])])?;
        transaction
            .prepare_cached(
                "DELETE FROM event WHERE server = ?1 AND unix_ms <= (
                   SELECT max(unix_ms) FROM (SELECT unix_ms FROM event WHERE server = ?1 AND unix_ms < ?2
                                             ORDER BY unix_ms LIMIT ?3))",
            )?
            .execute(params![server, before(retention.events), EVENTS_AT_ONCE])?;
        for (table, key, time) in [
            ("session", "id", "seen_ms"),
            ("transition", "began_ms", "began_ms"),
            ("life", "began_ms", "began_ms"),
            ("spike", "began_ms", "began_ms"),
            ("finding", "began_ms", "last_ms"),
        ] {
            transaction
                .prepare_cached(&format!(
                    "DELETE FROM {table} WHERE server = ?1 AND {key} IN (
                       SELECT {key} FROM {table} WHERE server = ?1 AND {time} < ?2 LIMIT ?3)"
                ))?
                .execute(params![server, before(retention.sessions), EVENTS_AT_ONCE])?;
        }
        transaction.commit()?;
        // Once around.
        if self.retained.is_multiple_of(servers.len()) {
            self.shorten()?;
        }
        Ok(())
    }

    /// Gives a little of much free space back to the file system.
    fn shorten(&self) -> rusqlite::Result<()> {
        let number = |pragma: &str| {
            self.connection
                .pragma_query_value(None, pragma, |row| row.get::<_, i64>(0))
        };
        let (free, all) = (number("freelist_count")?, number("page_count")?);
        if free > MANY_FREE_PAGES && free > all / 4 {
            self.connection
                .execute_batch(&format!("PRAGMA incremental_vacuum({FREED_AT_ONCE})"))?;
        }
        Ok(())
    }
}

/// Adds a block of a tier to minutes; one of minutes to what is sketched of them as well.
fn add(
    minutes: &mut BTreeMap<i64, Rollup>,
    sketched: &mut BTreeMap<i64, Rollup>,
    tier: u8,
    data: &[u8],
    names: &samples::Dictionary,
) -> Result<(), CodeError> {
    match tier {
        0 => roll_frames(minutes, &samples::unpack_block(data, names)?, Span::Minute),
        _ => {
            let (rows, of_sketches) = rollups::unpack_sketched(data, names, Span::Minute)?;
            roll_rows(minutes, &rows, Span::Minute);
            roll_rows(sketched, &of_sketches, Span::Minute.of_sketches());
        }
    }
    Ok(())
}

/// Puts one block in the place of several. It has the number of the last, so that it stays known what is rolled up.
fn replace(
    connection: &Connection,
    (tier, server): (u8, u32),
    blocks: &[Unrolled],
    rows: &[Rollup],
    data: &[u8],
) -> rusqlite::Result<()> {
    let mut delete =
        connection.prepare_cached("DELETE FROM block WHERE tier = ?1 AND server = ?2 AND seq = ?3")?;
    for block in blocks {
        delete.execute(params![tier, server, block.seq])?;
    }
    match blocks.last() {
        Some(last) => insert_rows(connection, (tier, server, last.seq), rows, data),
        None => Ok(()),
    }
}

fn insert_rows(
    connection: &Connection,
    key: (u8, u32, i64),
    rows: &[Rollup],
    data: &[u8],
) -> rusqlite::Result<()> {
    let (Some(first), Some(end)) = (rows.first(), rows.last()) else {
        return Ok(());
    };
    let times = (first.from_unix_ms, end.from_unix_ms + end.span.ms());
    let frames: i64 = rows.iter().map(|row| i64::from(row.frames)).sum();
    insert(connection, key, times, frames, data)
}

fn insert_samples(
    connection: &Connection,
    server: u32,
    seq: i64,
    samples: &[Sample],
    data: &[u8],
) -> rusqlite::Result<Unrolled> {
    let begin = |sample: &Sample| sample.unix_ms - (f64::from(sample.seconds) * 1e3) as i64;
    let to_ms = samples.last().map_or(0, |sample| sample.unix_ms);
    let from_ms = samples.first().map_or(to_ms, begin);
    insert(
        connection,
        (0, server, seq),
        (from_ms, to_ms),
        samples.len() as i64,
        data,
    )?;
    Ok(Unrolled { seq, to_ms })
}

/// Inserts a block.
pub fn insert(
    connection: &Connection,
    (tier, server, seq): (u8, u32, i64),
    (from_ms, to_ms): (i64, i64),
    frames: i64,
    data: &[u8],
) -> rusqlite::Result<()> {
    connection
        .prepare_cached("INSERT INTO block VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?
        .execute(params![tier, server, seq, from_ms, to_ms, frames, data])
        .map(drop)
}
