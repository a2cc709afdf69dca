//! One open file: what it is, how far it has been read, whether it is still the same.

use std::{
    fs::{File, Metadata, OpenOptions},
    io,
    os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::Path,
    time::{Duration, Instant, SystemTime},
};

use crate::games::log::{
    lines::{Encoding, Lines},
    positions::{FINGERPRINT_BYTES, FilePosition},
};

/// A file with a younger change is checked for truncation even where size and time have not moved: kernels before 6.13
/// count file times in steps of a scheduler tick.
const TIME_STEP: Duration = Duration::from_millis(500);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileId {
    pub device: u64,
    pub inode: u64,
}

impl FileId {
    pub fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
        }
    }
}

/// Size and time of the last change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    size: u64,
    seconds: i64,
    nanoseconds: i64,
}

impl Stamp {
    pub fn of(metadata: &Metadata) -> Self {
        Self {
            size: metadata.len(),
            seconds: metadata.mtime(),
            nanoseconds: metadata.mtime_nsec(),
        }
    }
}

#[derive(Debug)]
pub struct Followed {
    pub file: File,
    pub id: FileId,
    pub offset: u64,
    /// Its first bytes, at most [`FINGERPRINT_BYTES`].
    pub head: Vec<u8>,
    /// At the last turn that read everything.
    pub stamp: Option<Stamp>,
    pub last_data: Instant,
}

impl Followed {
    /// Opens without blocking; the caller looks whether it is a file.
    pub fn open(path: &Path, now: Instant) -> io::Result<(Self, Metadata)> {
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
            .open(path)?;
        let metadata = file.metadata()?;
        let mut followed = Self {
            file,
            id: FileId::of(&metadata),
            offset: 0,
            head: Vec::new(),
            stamp: None,
            last_data: now,
        };
        if metadata.is_file() {
            followed.check_head()?;
        }
        Ok((followed, metadata))
    }

    /// Does it still begin as it did? Takes over what has come to the first bytes.
    pub fn check_head(&mut self) -> io::Result<bool> {
        let mut head = [0; FINGERPRINT_BYTES];
        let length = read_at(&self.file, &mut head, 0)?;
        let head = head.get(..length).unwrap_or_default();
        let same = head.starts_with(&self.head);
        if !same || head.len() > self.head.len() {
            self.head = head.to_vec();
        }
        Ok(same)
    }

    /// Sets the place to go on, and tells `lines`.
    pub fn begin_at(&mut self, offset: u64, lines: &mut Lines) -> io::Result<()> {
        if offset == 0 {
            self.offset = 0;
            lines.restart();
            return Ok(());
        }
        let encoding = Encoding::of(&self.head);
        let unit = encoding.unit() as u64;
        self.offset = offset / unit * unit;
        let mut before = [0; 2];
        let before = before.get_mut(..encoding.unit()).unwrap_or_default();
        let length = read_at(&self.file, before, self.offset.saturating_sub(unit))?;
        if length == before.len() && encoding.ends_line(before) {
            lines.resume(encoding);
        } else {
            lines.resume_inside(encoding);
        }
        Ok(())
    }

    /// Is it as it was when everything had been read?
    pub fn is_unchanged(&self, metadata: &Metadata) -> bool {
        let age = metadata.modified().ok().map(age_of);
        self.stamp == Some(Stamp::of(metadata)) && age.is_some_and(|age| age > TIME_STEP)
    }

    /// Is this the file of the position, and not truncated since?
    pub fn is_at(&self, position: &FilePosition, metadata: &Metadata) -> bool {
        let id = FileId {
            device: position.device,
            inode: position.inode,
        };
        self.id == id && position.offset <= metadata.len() && position.fingerprint.matches(&self.head)
    }

    /// Reads on.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = read_at(&self.file, buffer, self.offset)?;
        self.offset += length as u64;
        Ok(length)
    }

    /// Goes on behind the hole that it stands in; the hole's length.
    pub fn skip_hole(&mut self) -> u64 {
        let data = i64::try_from(self.offset)
            .ok()
            .and_then(|from| nix::unistd::lseek(&self.file, from, nix::unistd::Whence::SeekData).ok())
            .and_then(|data| u64::try_from(data).ok());
        let hole = data.unwrap_or_default().saturating_sub(self.offset);
        self.offset += hole;
        hole
    }
}

/// A read that is not interrupted.
fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    loop {
        match file.read_at(buffer, offset) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

fn age_of(time: SystemTime) -> Duration {
    // A time in the future says nothing: as if it were now.
    SystemTime::now().duration_since(time).unwrap_or_default()
}
