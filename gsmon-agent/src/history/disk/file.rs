//! The file as its one writer has it: intervals go into the journal. Not here: making blocks of them (`upkeep`), the
//! thread and what it does when something fails (`writer`), reading (`reader`).

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    fs::Metadata,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use rusqlite::{Connection, params};

use super::{
    code,
    names::Names,
    packing,
    rollups::Numbers,
    samples::{JournalRow, Sample, phase_code},
    schema::{self, HistoryError},
};
use crate::history::{
    Frame, Measure,
    events::{Event, EventKind, Told},
};

/// Servers whose samples share journal rows, so that making blocks of them takes little memory at a time.
const GROUP: u32 = 8;
/// Groups; a server beyond them shares the rows of another eight.
pub const GROUPS: u32 = 64;

/// The group of a server.
pub fn group_of(server: u32) -> u32 {
    (server / GROUP) % GROUPS
}

/// What one interval brought.
#[derive(Clone, Debug, Default)]
pub struct Interval {
    /// Its end.
    pub unix_ms: i64,
    /// Frames of a second or longer, with their servers.
    pub frames: Vec<(Arc<str>, Frame)>,
    /// What happened.
    pub told: Told,
}

/// A journal row that waits to become part of blocks.
#[derive(Clone, Copy, Debug)]
pub struct Waiting {
    /// Sequence number of its interval.
    pub seq: i64,
    /// End of its interval.
    pub unix_ms: i64,
}

/// A block that no roll-up contains yet.
#[derive(Clone, Copy, Debug)]
pub struct Unrolled {
    /// Its number.
    pub seq: i64,
    /// End of its last frame.
    pub to_ms: i64,
}

/// The open file.
#[derive(Debug)]
pub struct HistoryFile {
    pub(super) path: PathBuf,
    pub(super) connection: Connection,
    pub(super) names: Names,
    /// Which file on which device.
    identity: (u64, u64),
    next_seq: i64,
    /// By group, oldest first.
    pub(super) journal: BTreeMap<u32, VecDeque<Waiting>>,
    /// Rows of players' lines by server, oldest first.
    pub(super) lines: BTreeMap<u32, VecDeque<Waiting>>,
    /// By tier and server, oldest first.
    pub(super) unrolled: HashMap<(u8, u32), VecDeque<Unrolled>>,
    /// Where retention goes on.
    pub(super) retained: usize,
    /// Blocks that could not be read and were left out of roll-ups.
    pub damaged_blocks: u64,
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

impl HistoryFile {
    /// Opens or makes the file.
    pub fn open(path: &Path) -> Result<Self, HistoryError> {
        let connection = schema::open_to_write(path)?;
        let sql = HistoryError::sql(path);
        let names = Names::read_and_add(&connection).map_err(&sql)?;
        let metadata = std::fs::metadata(path).map_err(|source| HistoryError::File {
            path: path.to_owned(),
            source,
        })?;
        let mut file = Self {
            path: path.to_owned(),
            connection,
            names,
            identity: identity(&metadata),
            next_seq: 1,
            journal: BTreeMap::new(),
            lines: BTreeMap::new(),
            unrolled: HashMap::new(),
            retained: 0,
            damaged_blocks: 0,
        };
        file.take_stock().map_err(&sql)?;
        Ok(file)
    }

    /// What waits to become blocks and roll-ups, and which number comes next.
    fn take_stock(&mut self) -> rusqlite::Result<()> {
        let mut newest = 0;
        let mut rows = self
            .connection
            .prepare("SELECT id, unix_ms FROM journal ORDER BY id")?;
        let mut rows = rows.query([])?;
        while let Some(row) = rows.next()? {
            let (id, unix_ms): (i64, i64) = (row.get(0)?, row.get(1)?);
            let seq = id / i64::from(GROUPS);
            newest = newest.max(seq);
            self.journal
                .entry((id % i64::from(GROUPS)) as u32)
                .or_default()
                .push_back(Waiting { seq, unix_ms });
        }
        let mut rows = self
            .connection
            .prepare("SELECT server, seq, from_ms FROM line ORDER BY seq")?;
        let mut rows = rows.query([])?;
        while let Some(row) = rows.next()? {
            let (server, seq, unix_ms): (u32, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
            newest = newest.max(seq);
            let waiting = self.lines.entry(server).or_default();
            waiting.push_back(Waiting { seq, unix_ms });
        }
        let mut last = self
            .connection
            .prepare("SELECT max(seq) FROM block WHERE tier = ?1 AND server = ?2")?;
        let mut after = self.connection.prepare(
            "SELECT seq, to_ms FROM block WHERE tier = ?1 AND server = ?2 AND seq > ?3 ORDER BY seq",
        )?;
        for server in self.names.servers().values() {
            let newest_of = |tier: u8, last: &mut rusqlite::Statement<'_>| {
                last.query_row(params![tier, server], |row| row.get::<_, Option<i64>>(0))
                    .map(Option::unwrap_or_default)
            };
            newest = newest.max(newest_of(packing::LINES, &mut last)?);
            for tier in [0, 1] {
                newest = newest.max(newest_of(tier, &mut last)?);
                let rolled = newest_of(tier + 1, &mut last)?;
                let found = after.query_map(params![tier, server, rolled], |row| {
                    Ok(Unrolled {
                        seq: row.get(0)?,
                        to_ms: row.get(1)?,
                    })
                })?;
                let found: VecDeque<Unrolled> = found.collect::<Result<_, _>>()?;
                if !found.is_empty() {
                    self.unrolled.insert((tier, *server), found);
                }
            }
        }
        self.next_seq = newest + 1;
        Ok(())
    }

    /// Is the file at its path still the one that is open?
    pub fn is_in_place(&self) -> bool {
        std::fs::metadata(&self.path).is_ok_and(|metadata| identity(&metadata) == self.identity)
    }

    /// Writes intervals, all or none.
    pub fn write<'a>(&mut self, intervals: impl Iterator<Item = &'a Interval>) -> Result<(), HistoryError> {
        let first_seq = self.next_seq;
        let written = self.write_all(intervals);
        if written.is_err() {
            self.next_seq = first_seq;
            for rows in self.journal.values_mut() {
                rows.retain(|row| row.seq < first_seq);
            }
            for rows in self.lines.values_mut() {
                rows.retain(|row| row.seq < first_seq);
            }
            // Names that were given numbers in there have none.
            if let Ok(names) = Names::read(&self.connection) {
                self.names = names;
            }
        }
        written.map_err(HistoryError::sql(&self.path))
    }

    fn write_all<'a>(&mut self, intervals: impl Iterator<Item = &'a Interval>) -> rusqlite::Result<()> {
        // Dropped without a commit, it is rolled back.
        let transaction = self.connection.unchecked_transaction()?;
        for interval in intervals {
            let seq = self.next_seq;
            self.next_seq += 1;
            let mut groups: BTreeMap<u32, JournalRow> = BTreeMap::new();
            for (server, frame) in &interval.frames {
                let server = self.names.server_or_new(&transaction, server)?;
                let sample = sample(&mut self.names, &transaction, frame)?;
                groups.entry(group_of(server)).or_default().push((server, sample));
            }
            let mut insert = transaction
                .prepare_cached("INSERT INTO journal (id, unix_ms, samples) VALUES (?1, ?2, ?3)")?;
            for (group, row) in groups {
                // Rows of plain numbers cannot fail to be written as bytes.
                let Ok(bytes) = code::seal(&row) else { continue };
                insert.execute(params![
                    seq * i64::from(GROUPS) + i64::from(group),
                    interval.unix_ms,
                    bytes
                ])?;
                self.journal.entry(group).or_default().push_back(Waiting {
                    seq,
                    unix_ms: interval.unix_ms,
                });
            }
            tell(&mut self.names, &transaction, &interval.told)?;
            for (server, row) in
                packing::write_lines(&mut self.names, &transaction, seq, &interval.told.lines)?
            {
                self.lines.entry(server).or_default().push_back(row);
            }
        }
        transaction.commit()
    }

    /// Bytes of the file and what belongs to it.
    pub fn bytes(&self) -> u64 {
        ["", "-wal"]
            .iter()
            .filter_map(|suffix| {
                let mut path = self.path.clone().into_os_string();
                path.push(suffix);
                Some(std::fs::metadata(path).ok()?.len())
            })
            .sum()
    }

    /// Ends without leaving a journal of SQLite's behind.
    pub fn close(self) {
        if let Err((_, error)) = self.connection.close() {
            tracing::debug!(%error, "the history is not closed cleanly; SQLite does that when it is opened next");
        }
    }
}

fn sample(names: &mut Names, connection: &Connection, frame: &Frame) -> rusqlite::Result<Sample> {
    let mut acted = Vec::with_capacity(frame.acted.len());
    for one in frame.acted.iter() {
        let word = names.word_or_new(connection, Some(&one.action))?;
        acted.push((word, one.times));
    }
    let values = Measure::ALL.iter().filter_map(|measure| {
        let value = frame.get(*measure)? as f32;
        Some((names.measure(*measure)?, value))
    });
    let values = values.collect();
    Ok(Sample {
        unix_ms: frame.unix_ms,
        seconds: frame.seconds as f32,
        begins_anew: frame.begins_anew,
        phase: phase_code(frame.phase),
        mode: names.word_or_new(connection, frame.mode.as_ref())?,
        map: names.word_or_new(connection, frame.map.as_ref())?,
        acted,
        values,
    })
}

/// The number of a kind of event.
pub fn kind_code(kind: EventKind) -> u8 {
    let place = EventKind::ALL.iter().position(|known| *known == kind);
    place.map_or(0, |place| place as u8 + 1)
}

fn tell(names: &mut Names, connection: &Connection, told: &Told) -> rusqlite::Result<()> {
    let mut insert = connection.prepare_cached(
        "INSERT INTO event (server, unix_ms, kind, word, times) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT DO UPDATE SET times = times + excluded.times",
    )?;
    for Event {
        server,
        unix_ms,
        kind,
        word,
        times,
    } in &told.events
    {
        let server = names.server_or_new(connection, server)?;
        // Ids of sessions are no words that come again: the sessions have a table of their own.
        let word = match kind {
            EventKind::SessionBegun | EventKind::SessionEnded => 0,
            _ => names.word_or_new(connection, word.as_ref())?,
        };
        insert.execute(params![server, unix_ms, kind_code(*kind), word, times])?;
    }
    drop(insert);
    let mut insert = connection.prepare_cached(
        "INSERT OR REPLACE INTO session VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17,
         ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25, ?26, ?27)",
    )?;
    for (server, session) in &told.sessions {
        let server = names.server_or_new(connection, server)?;
        let (map, mode) = (
            names.word_or_new(connection, session.map.as_ref())?,
            names.word_or_new(connection, session.mode.as_ref())?,
        );
        let used = &session.used;
        let lasted: i64 = session.phase_ms.values().sum();
        let seen_ms = session.ended_unix_ms.unwrap_or(session.begun_unix_ms + lasted);
        insert.execute(params![
            server,
            &*session.id,
            session.external_id.as_deref(),
            session.room.as_deref(),
            map,
            mode,
            phase_code(Some(session.phase)),
            session.begun_unix_ms,
            session.ended_unix_ms,
            seen_ms,
            session.players_peak,
            whole(Some(session.joins)),
            whole(Some(session.leaves)),
            word_of(&session.cpu_basis),
            whole(used.cpu_ns),
            whole(used.run_queue_wait_ns),
            whole(used.rx_packets),
            whole(used.rx_bytes),
            whole(used.tx_packets),
            whole(used.tx_bytes),
            whole(used.minor_faults),
            whole(used.major_faults),
            whole(used.disk_read_bytes),
            whole(used.disk_write_bytes),
            whole(used.read_calls),
            whole(used.write_calls),
            whole(session.peak_rss_bytes),
        ])?;
    }
    drop(insert);
    let mut insert = connection.prepare_cached(
        "INSERT OR REPLACE INTO transition VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
    )?;
    for (server, transition) in &told.transitions {
        let change = transition.change.unwrap_or_default();
        insert.execute(params![
            names.server_or_new(connection, server)?,
            transition.began_unix_ms,
            phase_code(Some(transition.from)),
            phase_code(Some(transition.to)),
            transition.took_ms,
            transition.session.as_deref(),
            whole(transition.used.cpu_ns),
            whole(transition.used.rx_bytes),
            whole(transition.used.tx_bytes),
            change.cpu_cores,
            change.rss_bytes,
        ])?;
    }
    drop(insert);
    let mut insert =
        connection.prepare_cached("INSERT OR REPLACE INTO life VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
    for (server, life) in &told.lives {
        insert.execute(params![
            names.server_or_new(connection, server)?,
            life.began_unix_ms,
            word_of(&life.kind),
            life.took_ms,
            whole(life.used.cpu_ns),
            whole(life.peak_rss_bytes),
        ])?;
    }
    drop(insert);
    let mut insert = connection
        .prepare_cached("INSERT OR REPLACE INTO spike VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)")?;
    for spike in &told.spikes {
        let json = |value: serde_json::Result<String>| value.unwrap_or_else(|_| "[]".to_owned());
        insert.execute(params![
            names.server_or_new(connection, &spike.server)?,
            spike.unix_ms,
            names.measure(spike.measure),
            (spike.seconds * 1e3).round() as i64,
            spike.peak,
            spike.usual,
            spike.deviations,
            json(serde_json::to_string(&spike.causes)),
            json(serde_json::to_string(&spike.not_measured)),
        ])?;
    }
    drop(insert);
    let mut insert =
        connection.prepare_cached("INSERT OR REPLACE INTO finding VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?;
    for finding in &told.findings {
        insert.execute(params![
            names.server_or_new(connection, &finding.server)?,
            finding.unix_ms,
            finding.detector.name(),
            finding.last_unix_ms,
            finding.severity.name(),
            finding.says,
            finding.evidence.to_string(),
        ])?;
    }
    Ok(())
}

/// SQLite's numbers have a sign; nothing here counts beyond them.
fn whole(number: Option<u64>) -> Option<i64> {
    number.map(|number| i64::try_from(number).unwrap_or(i64::MAX))
}

/// The word that JSON has for a value.
fn word_of(value: &impl serde::Serialize) -> String {
    let json = serde_json::to_value(value).ok();
    json.and_then(|json| json.as_str().map(str::to_owned))
        .unwrap_or_default()
}
