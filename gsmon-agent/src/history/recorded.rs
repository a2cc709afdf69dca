//! Memory and file as one: the newest from memory, what is older from the file. Not here: either of them.

use std::collections::BTreeMap;

use super::{
    disk::{HistoryError, HistoryReader},
    events::Event,
    findings::StoredFinding,
    frame::Frame,
    lines::{StoredLine, attach},
    marks::Mark,
    rollup::{Rollup, Span, roll_frames},
    source::{HistorySource, Resolution, SourceError, StoredSession, TimeRange},
    spikes::StoredSpike,
    store::{History, UnknownServer},
};

impl History {
    /// The file, where one is written. One that could not be made yet has nothing that memory has not.
    fn file(&self) -> Result<Option<HistoryReader>, SourceError> {
        let Some(disk) = &self.disk else { return Ok(None) };
        match HistoryReader::open(disk.writer.path()) {
            Ok(file) => Ok(Some(file)),
            Err(HistoryError::Missing { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn unknown(&self, server: &str) -> SourceError {
        SourceError::Unknown(UnknownServer {
            name: server.to_owned(),
            known: self.followed(),
        })
    }
}

impl History {
    /// Marks of a server, the oldest first: the newest from memory, older ones from the file.
    ///
    /// # Errors
    /// When there is no such server, or the file cannot be read.
    pub fn marks(&self, server: &str) -> Result<Vec<Mark>, SourceError> {
        let new = self.new_marks(server)?;
        let mut marks: Vec<Mark> = self
            .events(Some(server), TimeRange::ALL)
            .or_else(|error| match error {
                // Nothing of it has been written yet.
                SourceError::Unknown(_) => Ok(Vec::new()),
                other => Err(other),
            })?
            .iter()
            .filter_map(Mark::of)
            .collect();
        marks.extend(new);
        marks.sort_by(|a, b| (a.unix_ms, &a.text).cmp(&(b.unix_ms, &b.text)));
        marks.dedup();
        Ok(marks)
    }
}

impl History {
    /// Rows that are on disk only. A server of which nothing is written yet has had none.
    fn written<T>(
        &self,
        server: Option<&str>,
        read: impl FnOnce(&HistoryReader) -> Result<Vec<T>, SourceError>,
    ) -> Result<Vec<T>, SourceError> {
        let told = self.file()?.map_or_else(|| Ok(Vec::new()), |file| read(&file));
        match (told, server) {
            (Err(SourceError::Unknown(_)), Some(server)) => {
                match self.followed().iter().any(|known| known == server) {
                    true => Ok(Vec::new()),
                    // The file alone does not know those that are new.
                    false => Err(self.unknown(server)),
                }
            }
            (told, _) => told,
        }
    }

    /// Gives frames whose players are not in memory any more the lines that are kept of their minutes. The player that is
    /// asked for (by name, platform id, address or pseudonym) is called so, all others by pseudonym.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn attach_lines(
        &self,
        server: &str,
        frames: &mut [Frame],
        player: Option<&str>,
    ) -> Result<(), SourceError> {
        let without = || frames.iter().filter(|frame| frame.players.is_empty());
        let times = || without().map(|frame| frame.unix_ms);
        let (Some(first), Some(last)) = (times().min(), times().max()) else {
            return Ok(());
        };
        let range = TimeRange {
            from_unix_ms: first,
            to_unix_ms: last,
        };
        let lines = self.lines(server, range)?;
        let asked = player.and_then(|player| self.asked_player(player));
        attach(frames, &lines, asked.as_ref());
        Ok(())
    }
}

/// Rows of frames that are in memory.
fn rolled(frames: &[Frame], span: Span) -> Vec<Rollup> {
    let mut rows = BTreeMap::new();
    roll_frames(&mut rows, frames, span);
    rows.into_values().collect()
}

impl HistorySource for History {
    fn servers(&self) -> Result<Vec<String>, SourceError> {
        let mut servers = self.followed();
        if let Some(file) = self.file()? {
            servers.extend(file.servers()?);
        }
        servers.sort_unstable();
        servers.dedup();
        Ok(servers)
    }

    fn each_frame(
        &self,
        server: &str,
        range: TimeRange,
        resolution: Resolution,
        take: &mut dyn FnMut(Frame),
    ) -> Result<(), SourceError> {
        let remembered = self.remembered(server, range);
        let oldest = remembered.as_ref().and_then(|(_, oldest)| *oldest);
        let reaches_back = oldest.is_none_or(|oldest| range.from_unix_ms < oldest);
        let rolled_span = match resolution {
            Resolution::Rolled(span) => Some(span),
            Resolution::Raw | Resolution::Fitting => None,
        };
        let file = match rolled_span.is_some() || reaches_back {
            true => self.file()?,
            false => None,
        };
        let Some(file) = file else {
            let (frames, _) = remembered.ok_or_else(|| self.unknown(server))?;
            match rolled_span {
                Some(span) => rolled(&frames, span).iter().map(Rollup::frame).for_each(take),
                None => frames.into_iter().for_each(take),
            }
            return Ok(());
        };
        // A server whose first interval has not been written yet is in memory all the same.
        let kept = match (file.oldest(server), remembered.is_some()) {
            (Err(SourceError::Unknown(_)), true) => [None; 3],
            (Err(SourceError::Unknown(_)), false) => return Err(self.unknown(server)),
            (kept, _) => kept?,
        };
        let now_ms = jiff::Timestamp::now().as_millisecond();
        let resolution = match resolution {
            Resolution::Fitting if kept == [None; 3] => Resolution::Raw,
            given => given.of(range, kept, now_ms),
        };
        if let (Resolution::Rolled(_), true) = (resolution, kept != [None; 3]) {
            return file.each_frame(server, range, resolution, take);
        }
        if kept != [None; 3] {
            let older = TimeRange {
                from_unix_ms: range.from_unix_ms,
                to_unix_ms: range.to_unix_ms.min(oldest.unwrap_or(i64::MAX)),
            };
            file.each_frame(server, older, Resolution::Raw, take)?;
        }
        let frames = remembered.map(|(frames, _)| frames).unwrap_or_default();
        match resolution {
            Resolution::Rolled(span) => rolled(&frames, span).iter().map(Rollup::frame).for_each(take),
            _ => frames.into_iter().for_each(take),
        }
        Ok(())
    }

    fn rollups(&self, server: &str, range: TimeRange, span: Span) -> Result<Vec<Rollup>, SourceError> {
        let told = self.file()?.map(|file| file.rollups(server, range, span));
        match (told, self.remembered(server, range)) {
            (None | Some(Err(SourceError::Unknown(_))), Some((frames, _))) => Ok(rolled(&frames, span)),
            (None | Some(Err(SourceError::Unknown(_))), None) => Err(self.unknown(server)),
            (Some(told), _) => told,
        }
    }

    fn events(&self, server: Option<&str>, range: TimeRange) -> Result<Vec<Event>, SourceError> {
        // Memory has none: without a file there is nothing to tell.
        self.file()?
            .map_or_else(|| Ok(Vec::new()), |file| file.events(server, range))
    }

    fn spikes(&self, server: Option<&str>, range: TimeRange) -> Result<Vec<StoredSpike>, SourceError> {
        self.written(server, |file| file.spikes(server, range))
    }

    fn findings(&self, server: Option<&str>, range: TimeRange) -> Result<Vec<StoredFinding>, SourceError> {
        self.written(server, |file| file.findings(server, range))
    }

    fn lines(&self, server: &str, range: TimeRange) -> Result<Vec<StoredLine>, SourceError> {
        let told = self
            .file()?
            .map_or_else(|| Ok(Vec::new()), |file| file.lines(server, range));
        match told {
            Err(SourceError::Unknown(_)) if self.followed().iter().any(|known| known == server) => {
                Ok(Vec::new())
            }
            told => told,
        }
    }

    fn sessions(&self, server: Option<&str>, range: TimeRange) -> Result<Vec<StoredSession>, SourceError> {
        self.file()?
            .map_or_else(|| Ok(Vec::new()), |file| file.sessions(server, range))
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::{
        config::HistorySettings,
        history::{HostFigures, Measure, disk::HistoryWriter, events::EventKind},
        world::{
            session::ask::tests::{NOW_MS, a_snapshot},
            snapshot::ServerState,
        },
    };

    const SECONDS: usize = 5_000;

    fn mark() -> Event {
        Event {
            server: "arena one".into(),
            unix_ms: NOW_MS,
            kind: EventKind::Mark,
            word: Some("plugin X 2.1".into()),
            times: 1,
        }
    }

    /// A history with more than memory keeps, and when its last second ends.
    fn filled(history: &History) -> i64 {
        let mut snapshot = a_snapshot();
        snapshot.interval_seconds = 1.0;
        snapshot.servers[0].state = ServerState::Up;
        history.tell(mark());
        let end = Instant::now() + Duration::from_secs(120);
        for second in 1..=SECONDS {
            snapshot.unix_time_seconds += 1.0;
            snapshot.servers[0].rates.cpu_cores = Some(second as f64 / 1_000.0);
            history.record(&snapshot, HostFigures::default());
            // Faster than any agent: the queue is given time.
            while second % 100 == 0
                && history
                    .on_disk()
                    .is_some_and(|told| told.intervals_written < second as u64)
            {
                assert!(Instant::now() < end, "{:?}", history.on_disk());
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        (snapshot.unix_time_seconds * 1e3) as i64
    }

    fn covered(frames: &[Frame]) -> f64 {
        frames.iter().map(|frame| frame.seconds).sum()
    }

    #[test]
    fn memory_and_file_answer_as_one() {
        let directory = tempfile::tempdir().unwrap();
        let writer = HistoryWriter::start(&directory.path().join("history.db"), &HistorySettings::default());
        let history = History::written_by(writer.unwrap());
        let end_ms = filled(&history);
        let server = "arena one";
        let ask = |seconds: i64, resolution: Resolution| {
            let range = TimeRange {
                from_unix_ms: end_ms - seconds * 1_000 + 1,
                to_unix_ms: end_ms,
            };
            HistorySource::frames(&history, server, range, resolution).unwrap()
        };
        let all = ask(SECONDS as i64, Resolution::Raw);
        assert!(
            (covered(&all) - SECONDS as f64).abs() < 0.01,
            "{} s",
            covered(&all)
        );
        assert!(all.windows(2).all(|pair| pair[0].unix_ms < pair[1].unix_ms));
        let first = all[0].get(Measure::CpuCores).unwrap();
        assert!(
            all[0].seconds == 1.0 && (first - 0.001).abs() < 2e-6,
            "{:?}",
            all[0]
        );
        // What memory has does not come from disk: five seconds are one frame there.
        let hour = ask(3_000, Resolution::Raw);
        assert!(
            hour.len() < 1_000 && covered(&hour) > 2_990.0,
            "{} frames",
            hour.len()
        );
        let minutes = ask(SECONDS as i64, Resolution::Rolled(Span::Minute));
        assert!((covered(&minutes) - SECONDS as f64).abs() < 0.01);
        assert!((83..=85).contains(&minutes.len()), "{}", minutes.len());
        let figure = history
            .figure(server, TimeRange::ALL, Measure::CpuCores)
            .unwrap()
            .unwrap();
        assert_eq!(figure.count as usize, SECONDS);
        assert!((figure.quantile(0.99).unwrap() - 4.95).abs() < 0.15);
        assert_eq!(history.sessions(Some(server), TimeRange::ALL).unwrap().len(), 2);
        let events = history.events(Some(server), TimeRange::ALL).unwrap();
        let marks: Vec<&Event> = events
            .iter()
            .filter(|event| event.kind == EventKind::Mark)
            .collect();
        assert_eq!(marks, [&mark()]);
        assert_eq!(HistorySource::servers(&history).unwrap(), [server, "silent"]);
        let unknown = history
            .figure("x", TimeRange::ALL, Measure::CpuCores)
            .unwrap_err();
        assert!(unknown.to_string().contains(server), "{unknown}");
    }

    #[test]
    fn without_a_file_memory_answers_all_of_it() {
        let history = History::default();
        filled(&history);
        let frames = HistorySource::frames(
            &history,
            "arena one",
            TimeRange::ALL,
            Resolution::Rolled(Span::Hour),
        );
        assert!((3_590.0..=3_610.0).contains(&covered(&frames.unwrap())));
        let raw = HistorySource::frames(&history, "arena one", TimeRange::ALL, Resolution::Fitting);
        assert!(raw.unwrap().len() > 900);
        assert!(history.events(None, TimeRange::ALL).unwrap().is_empty());
    }
}
