//! Reading the file, while an agent may be writing it or with none there. What is not a block or a roll-up yet is made one
//! while reading, so that nothing is missing up to the last interval. Not here: what lies
//! beside frames (`told`), questions about the file as such (`check`).

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use rusqlite::{Connection, params};

use super::{
    code,
    file::{GROUPS, group_of},
    names::Names,
    rollups,
    samples::{self, JournalRow},
    schema::{self, HistoryError},
    told::{finding, numbered, session, spike},
};
use crate::history::{
    Frame, StoredFinding, StoredLine, StoredSpike, UnknownServer,
    events::{Event, EventKind},
    plain::PlainRows,
    rollup::{Rollup, Span, roll_frames, roll_rows},
    source::{HistorySource, Resolution, SourceError, StoredSession, TimeRange},
};

/// The open file.
#[derive(Debug)]
pub struct HistoryReader {
    pub(super) path: PathBuf,
    pub(super) connection: Connection,
}

/// Which blocks: tier, server, after this one, in this time.
#[derive(Clone, Copy)]
pub(super) struct Which {
    pub(super) tier: u8,
    pub(super) server: u32,
    pub(super) after_seq: i64,
    pub(super) range: TimeRange,
}

/// A part of what rows are made of.
enum Part<'a> {
    /// A block of roll-ups of this span.
    Rolled(&'a [u8], Span),
    /// A sample.
    Frame(&'a Frame),
}

impl HistoryReader {
    /// Opens the file.
    ///
    /// # Errors
    /// When there is none, or it is not gsmon's, or cannot be read.
    pub fn open(path: &Path) -> Result<Self, HistoryError> {
        Ok(Self {
            path: path.to_owned(),
            connection: schema::open_to_read(path)?,
        })
    }

    /// Reads with one view of the file: what is written meanwhile is not in it, and nothing is read twice or not at all
    /// because it became part of a block.
    fn read<T>(&self, with: impl FnOnce(&View<'_>) -> Result<T, SourceError>) -> Result<T, SourceError> {
        let sql = HistoryError::sql(&self.path);
        let transaction = self.connection.unchecked_transaction().map_err(&sql)?;
        let names = Names::read(&transaction).map_err(&sql)?;
        with(&View {
            path: &self.path,
            connection: &transaction,
            names: &names,
        })
    }

    /// The oldest frame of a server in samples, minutes and hours.
    ///
    /// # Errors
    /// When there is no such server, or the file cannot be read.
    pub fn oldest(&self, server: &str) -> Result<[Option<i64>; 3], SourceError> {
        self.read(|view| {
            let server = view.server(server)?;
            let mut oldest = [None; 3];
            for (tier, oldest) in (0u8..).zip(&mut oldest) {
                *oldest = view
                    .connection
                    .prepare_cached("SELECT min(from_ms) FROM block WHERE tier = ?1 AND server = ?2")
                    .and_then(|mut query| query.query_row(params![tier, server], |row| row.get(0)))
                    .map_err(view.sql())?;
            }
            if oldest[0].is_none() {
                view.each_waiting(server, 0, TimeRange::ALL, &mut |frame| {
                    oldest[0].get_or_insert(frame.unix_ms - (frame.seconds * 1e3) as i64);
                })?;
            }
            Ok(oldest)
        })
    }

    /// Frames made of roll-ups, for which the sketches need not be read.
    fn each_rolled(
        &self,
        server: &str,
        range: TimeRange,
        span: Span,
        take: &mut dyn FnMut(Frame),
    ) -> Result<(), SourceError> {
        let rows = self.read(|view| view.plain(view.server(server)?, range, span))?;
        rows.each_frame(&mut |frame| {
            if range.touches(frame.unix_ms - span.ms() + 1, frame.unix_ms) {
                take(frame);
            }
        });
        Ok(())
    }
}

/// The file as one question sees it.
pub(super) struct View<'a> {
    pub(super) path: &'a Path,
    pub(super) connection: &'a Connection,
    pub(super) names: &'a Names,
}

impl View<'_> {
    pub(super) fn sql(&self) -> impl Fn(rusqlite::Error) -> HistoryError + '_ {
        HistoryError::sql(self.path)
    }

    fn server(&self, name: &str) -> Result<u32, SourceError> {
        self.names.server(name).ok_or_else(|| {
            let mut known: Vec<String> = self
                .names
                .servers()
                .keys()
                .map(|name| (**name).to_owned())
                .collect();
            known.sort_unstable();
            let name = name.to_owned();
            SourceError::Unknown(UnknownServer { name, known })
        })
    }

    /// Blocks in the order of their writing.
    pub(super) fn each_block(
        &self,
        which: Which,
        take: &mut dyn FnMut(&[u8]) -> Result<(), code::CodeError>,
    ) -> Result<(), HistoryError> {
        let mut query = self
            .connection
            .prepare_cached(
                "SELECT data FROM block WHERE tier = ?1 AND server = ?2 AND seq > ?3 AND to_ms >= ?4 AND from_ms <= ?5
                 ORDER BY seq",
            )
            .map_err(self.sql())?;
        let range = which.range;
        let mut rows = query
            .query(params![
                which.tier,
                which.server,
                which.after_seq,
                range.from_unix_ms,
                range.to_unix_ms
            ])
            .map_err(self.sql())?;
        while let Some(row) = rows.next().map_err(self.sql())? {
            let data = row.get_ref(0).map_err(self.sql())?;
            let data = data.as_blob().map_err(|error| self.sql()(error.into()))?;
            take(data).map_err(HistoryError::block(self.path))?;
        }
        Ok(())
    }

    fn newest_seq(&self, tier: u8, server: u32) -> Result<i64, HistoryError> {
        self.connection
            .prepare_cached("SELECT max(seq) FROM block WHERE tier = ?1 AND server = ?2")
            .and_then(|mut query| query.query_row(params![tier, server], |row| row.get::<_, Option<i64>>(0)))
            .map(Option::unwrap_or_default)
            .map_err(self.sql())
    }

    /// Samples after a number, from blocks and from the journal.
    fn each_sample(
        &self,
        server: u32,
        after_seq: i64,
        range: TimeRange,
        take: &mut dyn FnMut(Frame),
    ) -> Result<(), HistoryError> {
        let which = Which {
            tier: 0,
            server,
            after_seq,
            range,
        };
        self.each_block(which, &mut |data| {
            let frames = samples::unpack_block(data, &self.names.dictionary)?;
            let within = frames.into_iter().filter(|frame| range.contains(frame.unix_ms));
            within.for_each(&mut *take);
            Ok(())
        })?;
        self.each_waiting(server, after_seq, range, take)
    }

    /// Samples that are in no block yet.
    fn each_waiting(
        &self,
        server: u32,
        after_seq: i64,
        range: TimeRange,
        take: &mut dyn FnMut(Frame),
    ) -> Result<(), HistoryError> {
        let mut query = self
            .connection
            .prepare_cached("SELECT samples FROM journal WHERE id >= ?1 AND id % ?2 = ?3 ORDER BY id")
            .map_err(self.sql())?;
        let after = (after_seq + 1).saturating_mul(i64::from(GROUPS));
        let mut rows = query
            .query(params![after, GROUPS, group_of(server)])
            .map_err(self.sql())?;
        while let Some(row) = rows.next().map_err(self.sql())? {
            let data = row.get_ref(0).map_err(self.sql())?;
            let data = data.as_blob().map_err(|error| self.sql()(error.into()))?;
            let samples: JournalRow = code::unseal(data).map_err(HistoryError::block(self.path))?;
            for (of, sample) in samples {
                if of == server && range.contains(sample.unix_ms) {
                    take(sample.frame(&self.names.dictionary));
                }
            }
        }
        Ok(())
    }

    /// Roll-ups, those that are not written yet included.
    fn rolled(&self, server: u32, range: TimeRange, span: Span) -> Result<Vec<Rollup>, SourceError> {
        let names = &self.names.dictionary;
        let mut rows = BTreeMap::new();
        self.each_part(server, range, span, &mut |part| {
            match part {
                Part::Frame(frame) => roll_frames(&mut rows, [frame], span),
                Part::Rolled(data, of) if span == Span::Minute => {
                    roll_rows(&mut rows, &rollups::unpack_rollups(data, names, of)?, span);
                }
                Part::Rolled(data, of) => {
                    let (_, sketched) = rollups::unpack_sketched(data, names, of)?;
                    roll_rows(&mut rows, &sketched, span);
                }
            }
            Ok(())
        })?;
        let touched = |row: &Rollup| range.touches(row.from_unix_ms + 1, row.from_unix_ms + span.ms());
        Ok(rows.into_values().filter(touched).collect())
    }

    /// The same without distributions.
    fn plain(&self, server: u32, range: TimeRange, span: Span) -> Result<PlainRows, SourceError> {
        let mut rows = PlainRows::new(span);
        self.each_part(server, range, span, &mut |part| {
            match part {
                Part::Frame(frame) => rows.add_frame(frame),
                Part::Rolled(data, of) => {
                    rollups::unpack_plain(data, &self.names.dictionary, of, &mut rows)?;
                }
            }
            Ok(())
        })?;
        Ok(rows)
    }

    /// Whatever rows of a span are made of, in the order of its writing: blocks of hours or minutes, then samples that are in
    /// no roll-up yet.
    fn each_part(
        &self,
        server: u32,
        range: TimeRange,
        span: Span,
        take: &mut dyn FnMut(Part<'_>) -> Result<(), code::CodeError>,
    ) -> Result<(), SourceError> {
        let widened = TimeRange {
            from_unix_ms: range.from_unix_ms.saturating_sub(span.ms()),
            to_unix_ms: range.to_unix_ms.saturating_add(span.ms()),
        };
        let last = [self.newest_seq(1, server)?, self.newest_seq(2, server)?];
        let mut which = Which {
            tier: 2,
            server,
            after_seq: 0,
            range: widened,
        };
        if span == Span::Hour {
            self.each_block(which, &mut |data| take(Part::Rolled(data, Span::Hour)))?;
            which.after_seq = last[1];
        }
        which.tier = 1;
        self.each_block(which, &mut |data| take(Part::Rolled(data, Span::Minute)))?;
        let mut failed = Ok(());
        self.each_sample(server, last[0], widened, &mut |frame| {
            if failed.is_ok() {
                failed = take(Part::Frame(&frame));
            }
        })?;
        Ok(failed.map_err(HistoryError::block(self.path))?)
    }
}

impl HistorySource for HistoryReader {
    fn servers(&self) -> Result<Vec<String>, SourceError> {
        self.read(|view| {
            let mut names: Vec<String> = view
                .names
                .servers()
                .keys()
                .map(|name| (**name).to_owned())
                .collect();
            names.sort_unstable();
            Ok(names)
        })
    }

    fn each_frame(
        &self,
        server: &str,
        range: TimeRange,
        resolution: Resolution,
        take: &mut dyn FnMut(Frame),
    ) -> Result<(), SourceError> {
        let resolution = match resolution {
            Resolution::Fitting => resolution.of(
                range,
                self.oldest(server)?,
                jiff::Timestamp::now().as_millisecond(),
            ),
            given => given,
        };
        match resolution {
            Resolution::Rolled(span) => self.each_rolled(server, range, span, take),
            Resolution::Raw | Resolution::Fitting => {
                self.read(|view| Ok(view.each_sample(view.server(server)?, 0, range, take)?))
            }
        }
    }

    fn rollups(&self, server: &str, range: TimeRange, span: Span) -> Result<Vec<Rollup>, SourceError> {
        self.read(|view| view.rolled(view.server(server)?, range, span))
    }

    fn events(&self, server: Option<&str>, range: TimeRange) -> Result<Vec<Event>, SourceError> {
        self.read(|view| {
            let server = server.map(|name| view.server(name)).transpose()?;
            let names: BTreeMap<u32, Arc<str>> = numbered(view.names);
            let mut query = view
                .connection
                .prepare_cached(
                    "SELECT server, unix_ms, kind, word, times FROM event
                     WHERE (?1 IS NULL OR server = ?1) AND unix_ms BETWEEN ?2 AND ?3 ORDER BY unix_ms, server, kind",
                )
                .map_err(view.sql())?;
            let rows = query
                .query_map(params![server, range.from_unix_ms, range.to_unix_ms], |row| {
                    let kind: usize = row.get::<_, u32>(2)? as usize;
                    let known = EventKind::ALL.get(kind.wrapping_sub(1)).copied();
                    let server = names.get(&row.get(0)?).cloned();
                    Ok(known.zip(server).map(|(kind, server)| (kind, server, row.get(1), row.get(3), row.get(4))))
                })
                .map_err(view.sql())?;
            let mut events = view.past_events(server, range, &names)?;
            let packed = events.len();
            for row in rows {
                // Of a newer gsmon, where it is none.
                let Some((kind, server, unix_ms, word, times)) = row.map_err(view.sql())? else {
                    continue;
                };
                events.push(Event {
                    server,
                    unix_ms: unix_ms.map_err(view.sql())?,
                    kind,
                    word: view.names.dictionary.word(word.map_err(view.sql())?),
                    times: times.map_err(view.sql())?,
                });
            }
            if packed > 0 {
                events.sort_by(|a, b| (a.unix_ms, &a.server, a.kind).cmp(&(b.unix_ms, &b.server, b.kind)));
            }
            Ok(events)
        })
    }

    fn lines(&self, server: &str, range: TimeRange) -> Result<Vec<StoredLine>, SourceError> {
        self.read(|view| {
            let number = view.server(server)?;
            // Written by an older gsmon, and by no newer one since.
            if schema::version(view.connection, &self.path)? < schema::WITH_LINES {
                return Ok(Vec::new());
            }
            let mut lines = Vec::new();
            view.each_lines(number, range, &mut |row| {
                let [rtt_p50_ms, rtt_p95_ms, jitter_ms, loss_up_ratio, loss_down_ratio] = row.figures;
                lines.push(StoredLine {
                    server: server.into(),
                    from_unix_ms: row.from_unix_ms,
                    player: row.player,
                    also: row.also,
                    region: view.names.dictionary.word(row.region),
                    rtt_p50_ms,
                    rtt_p95_ms,
                    jitter_ms,
                    loss_up_ratio,
                    loss_down_ratio,
                });
            })?;
            Ok(lines)
        })
    }

    fn spikes(&self, server: Option<&str>, range: TimeRange) -> Result<Vec<StoredSpike>, SourceError> {
        self.read(|view| {
            let server = server.map(|name| view.server(name)).transpose()?;
            // Written by an older gsmon, and by no newer one since.
            if schema::version(view.connection, &self.path)? < schema::WITH_SPIKES {
                return Ok(Vec::new());
            }
            let names = numbered(view.names);
            let mut query = view
                .connection
                .prepare_cached(
                    "SELECT server, began_ms, measure, lasted_ms, peak, usual, deviations, causes, not_measured FROM spike
                     WHERE (?1 IS NULL OR server = ?1) AND began_ms BETWEEN ?2 AND ?3 ORDER BY began_ms, server, measure",
                )
                .map_err(view.sql())?;
            let rows = query
                .query_map(params![server, range.from_unix_ms, range.to_unix_ms], |row| {
                    spike(row, &names, view.names)
                })
                .map_err(view.sql())?;
            let spikes: Vec<Option<StoredSpike>> = rows.collect::<Result<_, _>>().map_err(view.sql())?;
            Ok(spikes.into_iter().flatten().collect())
        })
    }

    fn findings(&self, server: Option<&str>, range: TimeRange) -> Result<Vec<StoredFinding>, SourceError> {
        self.read(|view| {
            let server = server.map(|name| view.server(name)).transpose()?;
            if schema::version(view.connection, &self.path)? < schema::WITH_FINDINGS {
                return Ok(Vec::new());
            }
            let names = numbered(view.names);
            let mut query = view
                .connection
                .prepare_cached(
                    "SELECT server, began_ms, detector, last_ms, severity, says, evidence FROM finding
                     WHERE (?1 IS NULL OR server = ?1) AND last_ms >= ?2 AND began_ms <= ?3
                     ORDER BY began_ms, server, detector",
                )
                .map_err(view.sql())?;
            let rows = query
                .query_map(params![server, range.from_unix_ms, range.to_unix_ms], |row| {
                    finding(row, &names)
                })
                .map_err(view.sql())?;
            let found: Vec<Option<StoredFinding>> = rows.collect::<Result<_, _>>().map_err(view.sql())?;
            Ok(found.into_iter().flatten().collect())
        })
    }

    fn sessions(&self, server: Option<&str>, range: TimeRange) -> Result<Vec<StoredSession>, SourceError> {
        self.read(|view| {
            let server = server.map(|name| view.server(name)).transpose()?;
            let names = numbered(view.names);
            let mut query = view
                .connection
                .prepare_cached(
                    "SELECT * FROM session WHERE (?1 IS NULL OR server = ?1) AND seen_ms >= ?2 AND begun_ms <= ?3
                     ORDER BY begun_ms, server, id",
                )
                .map_err(view.sql())?;
            let rows = query
                .query_map(params![server, range.from_unix_ms, range.to_unix_ms], |row| {
                    session(row, &names, view.names)
                })
                .map_err(view.sql())?;
            Ok(rows.collect::<Result<_, _>>().map_err(view.sql())?)
        })
    }
}
