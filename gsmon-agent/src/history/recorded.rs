//! Memory and file as one: the newest from memory, what is older from the file. Not here: either of them.

use std::collections::BTreeMap;

use super::{
    disk::HistoryReader,
    events::Event,
    frame::Frame,
    rollup::{Rollup, Span, roll_frames},
    source::{HistorySource, Resolution, SourceError, StoredSession, TimeRange},
    store::{History, UnknownServer},
};

impl History {
    /// The file, where one is written.
    fn file(&self) -> Result<Option<HistoryReader>, SourceError> {
        let open = |disk: &super::store::Disk| HistoryReader::open(disk.writer.path());
        Ok(self.disk.as_ref().map(open).transpose()?)
    }

    fn unknown(&self, server: &str) -> SourceError {
        SourceError::Unknown(UnknownServer {
            name: server.to_owned(),
            known: self.followed(),
        })
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

    fn sessions(&self, server: Option<&str>, range: TimeRange) -> Result<Vec<StoredSession>, SourceError> {
        self.file()?
            .map_or_else(|| Ok(Vec::new()), |file| file.sessions(server, range))
    }
}
