//! Follows one file: from its end, its beginning or a saved position, across rotation, truncation, re-creation, a
//! directory that vanishes and comes back, and a symbolic link that is switched.
//!
//! The path is looked at in every turn. When another file is there, the old one is read to its end first; its last line
//! counts as a line even without line end. The new one is read as soon as something is in it: until then the writer may
//! still be writing to the old one. Truncation shows by a size below what was read, or by other first bytes.
//!
//! What the file system does not allow to see:
//! - What is written and truncated away (`copytruncate`) between two turns. Rotation by renaming loses nothing.
//! - A file that comes to the path and leaves it again between two turns.
//! - A truncation after which the file has at least its former length and the same first bytes.
//! - A second writer that goes on with the old file after the first one has written to the new one.
//! - While the agent does not run: one rotation by renaming within the directory is bridged, no second one, no
//!   compression.

use std::{
    collections::VecDeque,
    fs::{self, FileType, Metadata},
    io,
    os::unix::fs::{DirEntryExt as _, FileTypeExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::{
    lines::{LINE_LIMIT, LineCounts, Lines},
    positions::{FilePosition, Fingerprint},
};
use crate::config::LogStart;

mod followed;

use self::followed::{FileId, Followed, Stamp};

/// Files of one path that wait to be read: more rotations than this while one file is read are not seen.
const QUEUE: usize = 16;
/// A deleted file to which nothing is added is given up after this time, so that its blocks can be freed.
const DELETED_PATIENCE: Duration = Duration::from_secs(60);
/// Entries of a directory that are looked through for a rotated file.
const ENTRIES: usize = 10_000;

/// Why a file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// Not there (yet).
    #[error("{} does not exist; it is read as soon as it does", .path.display())]
    Missing {
        /// As configured.
        path: PathBuf,
    },
    /// Something else than a file.
    #[error("{} is {kind}, not a regular file; name the log itself{hint}", .path.display())]
    NotRegular {
        /// As configured.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
        /// What else to do.
        hint: &'static str,
    },
    /// No permission, bad link, bad disk.
    #[error("cannot read {}: {source}; let the agent's user read it and its directories", .path.display())]
    Unreadable {
        /// As configured.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// What a turn came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// There was nothing new.
    Nothing,
    /// Everything that was there has been read.
    Read,
    /// There is more: take another turn.
    More,
}

#[derive(Clone, Copy, Debug)]
enum Start {
    Configured(LogStart),
    Saved(FilePosition),
    /// The file came while the path was watched: all of it is new.
    New,
}

/// Follows one path.
#[derive(Debug)]
pub struct FileFollower {
    path: PathBuf,
    start: Start,
    /// The first is being read; the last is the one at the path.
    files: VecDeque<Followed>,
    lines: Lines,
    restarts: u64,
}

impl FileFollower {
    /// Reads nothing yet. `saved` is where an earlier run stopped.
    pub fn new(path: &Path, from: LogStart, saved: Option<FilePosition>) -> Self {
        let start = match (from, saved) {
            (LogStart::Saved, Some(position)) => Start::Saved(position),
            _ => Start::Configured(from),
        };
        Self {
            path: path.to_owned(),
            start,
            files: VecDeque::new(),
            lines: Lines::new(LINE_LIMIT),
            restarts: 0,
        }
    }

    /// What went through so far.
    pub fn counts(&self) -> LineCounts {
        self.lines.counts()
    }

    /// Rotations, truncations and re-creations seen.
    pub fn restarts(&self) -> u64 {
        self.restarts
    }

    /// Is there a file?
    pub fn is_open(&self) -> bool {
        !self.files.is_empty()
    }

    /// Bytes that are there and not read; `None` where there is no file.
    pub fn lag(&self) -> Option<u64> {
        let lag = |followed: &Followed| {
            let size = followed
                .file
                .metadata()
                .map_or(followed.offset, |data| data.len());
            size.saturating_sub(followed.offset)
        };
        self.is_open().then(|| self.files.iter().map(lag).sum())
    }

    /// Where reading stands; half a line is not read.
    pub fn position(&self) -> Option<FilePosition> {
        let followed = self.files.front()?;
        Some(FilePosition {
            device: followed.id.device,
            inode: followed.id.inode,
            offset: followed.offset.saturating_sub(self.lines.unfinished()),
            fingerprint: Fingerprint::of(&followed.head),
        })
    }

    /// Looks at the path and reads at most about `budget` bytes through `buffer`.
    ///
    /// # Errors
    /// When there is nothing to read from. What was already open is read nevertheless.
    pub fn turn(
        &mut self,
        now: Instant,
        budget: usize,
        buffer: &mut [u8],
        each: &mut impl FnMut(&str),
    ) -> Result<Progress, FileError> {
        let (seen, problem) = match self.look(now) {
            Ok(seen) => (seen, None),
            Err(error) => (None, Some(error)),
        };
        // To be known before the old file is read: a writer that writes to the new one is done with the old one.
        let superseded = self.files.len() > 2
            || self
                .files
                .get(1)
                .is_some_and(|next| next.file.metadata().is_ok_and(|metadata| metadata.len() > 0));
        if self.files.is_empty() {
            return problem.map_or(Ok(Progress::Nothing), Err);
        }
        let progress = self.read(seen, now, budget, buffer, each).map_err(|source| {
            let path = self.path.clone();
            FileError::Unreadable { path, source }
        })?;
        if progress == Progress::More {
            return Ok(progress);
        }
        if superseded || self.is_given_up(now) {
            self.lines.finish(each);
            self.files.pop_front();
            self.restarts += 1;
            return Ok(if self.files.is_empty() {
                progress
            } else {
                Progress::More
            });
        }
        match problem {
            Some(error) if progress == Progress::Nothing => Err(error),
            _ => Ok(progress),
        }
    }

    /// Takes the file at the path into the queue, if it is not there yet; the state of the file that is being read,
    /// if this shows it.
    fn look(&mut self, now: Instant) -> Result<Option<Metadata>, FileError> {
        if self.files.len() >= QUEUE {
            return Ok(None);
        }
        let at_path = fs::metadata(&self.path);
        let at_path = match (at_path, self.files.back()) {
            (Ok(metadata), Some(last)) if FileId::of(&metadata) == last.id => {
                return Ok((self.files.len() == 1).then_some(metadata));
            }
            (at_path, _) => at_path,
        };
        let opened = at_path.and_then(|metadata| {
            if metadata.is_file() {
                Followed::open(&self.path, now)
            } else {
                // Not opened: that alone has effects on a device.
                Err(io::ErrorKind::InvalidInput.into())
            }
        });
        match opened {
            Ok((followed, metadata)) if metadata.is_file() => {
                if self.files.back().is_none_or(|last| last.id != followed.id) {
                    self.enqueue(followed, &metadata, now)
                        .map_err(|source| FileError::Unreadable {
                            path: self.path.clone(),
                            source,
                        })?;
                }
                Ok(None)
            }
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                if let Start::Configured(_) = self.start {
                    self.start = Start::New;
                }
                Err(FileError::Missing {
                    path: self.path.clone(),
                })
            }
            Err(error) if error.kind() != io::ErrorKind::InvalidInput => Err(FileError::Unreadable {
                path: self.path.clone(),
                source: error,
            }),
            _ => Err(self.not_regular()),
        }
    }

    fn not_regular(&self) -> FileError {
        let kind = fs::metadata(&self.path).ok().map(|metadata| metadata.file_type());
        let is = |test: fn(&FileType) -> bool| kind.as_ref().is_some_and(test);
        let (kind, hint) = if is(FileType::is_dir) {
            ("a directory", "")
        } else if is(FileType::is_fifo) {
            ("a named pipe", " or set `log.fifo` instead of `log.file`")
        } else if is(FileType::is_socket) {
            ("a socket", "")
        } else {
            ("a device or something unreadable", "")
        };
        FileError::NotRegular {
            path: self.path.clone(),
            kind,
            hint,
        }
    }

    fn enqueue(&mut self, mut followed: Followed, metadata: &Metadata, now: Instant) -> io::Result<()> {
        if !self.files.is_empty() {
            // Its turn comes later.
            self.files.push_back(followed);
            return Ok(());
        }
        let offset = match self.start {
            Start::New | Start::Configured(LogStart::Beginning) => 0,
            Start::Configured(LogStart::End | LogStart::Saved) => metadata.len(),
            Start::Saved(position) if followed.is_at(&position, metadata) => position.offset,
            Start::Saved(position) => {
                if let Some(mut rotated) = find_rotated(&self.path, &position, now) {
                    rotated.begin_at(position.offset, &mut self.lines)?;
                    self.start = Start::New;
                    self.files.extend([rotated, followed]);
                    return Ok(());
                }
                0
            }
        };
        followed.begin_at(offset, &mut self.lines)?;
        self.start = Start::New;
        self.files.push_back(followed);
        Ok(())
    }

    /// Reads from the first file of the queue.
    fn read(
        &mut self,
        seen: Option<Metadata>,
        now: Instant,
        budget: usize,
        buffer: &mut [u8],
        each: &mut impl FnMut(&str),
    ) -> io::Result<Progress> {
        let Some(followed) = self.files.front_mut() else {
            return Ok(Progress::Nothing);
        };
        let metadata = match seen {
            Some(metadata) => metadata,
            None => followed.file.metadata()?,
        };
        if followed.is_unchanged(&metadata) {
            return Ok(Progress::Nothing);
        }
        if !followed.check_head()? || metadata.len() < followed.offset {
            self.lines.finish(each);
            followed.offset = 0;
            self.restarts += 1;
        }
        let mut taken = 0;
        followed.stamp = None;
        while taken < budget {
            let length = followed.read(buffer)?;
            let bytes = buffer.get(..length).unwrap_or_default();
            if !bytes.is_empty() {
                followed.last_data = now;
                self.lines.push(bytes, each);
                taken += length;
            }
            if length < buffer.len() {
                followed.stamp = Some(Stamp::of(&metadata));
                return Ok(if taken == 0 {
                    Progress::Nothing
                } else {
                    Progress::Read
                });
            }
            if bytes.iter().all(|byte| *byte == 0) {
                self.lines.skip_hole(followed.skip_hole());
            }
        }
        Ok(Progress::More)
    }

    /// Is the first file deleted, and nothing comes any more?
    fn is_given_up(&self, now: Instant) -> bool {
        self.files.front().is_some_and(|followed| {
            now.duration_since(followed.last_data) > DELETED_PATIENCE
                && followed
                    .file
                    .metadata()
                    .is_ok_and(|metadata| metadata.nlink() == 0)
        })
    }
}

/// The file that stood at `path` when the position was saved, under another name in the same directory.
fn find_rotated(path: &Path, position: &FilePosition, now: Instant) -> Option<Followed> {
    let target = fs::canonicalize(path).ok()?;
    let entries = fs::read_dir(target.parent()?).ok()?;
    let found = entries
        .take(ENTRIES)
        .flatten()
        .find(|entry| entry.ino() == position.inode && entry.file_type().is_ok_and(|kind| kind.is_file()))?;
    let (followed, metadata) = Followed::open(&found.path(), now).ok()?;
    (metadata.is_file() && followed.is_at(position, &metadata)).then_some(followed)
}

#[cfg(test)]
mod tests;
