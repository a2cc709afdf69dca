//! Logs that come through a pipe: a named pipe that writers open and close as they like, and the agent's own standard
//! input.
//!
//! A writer to a full pipe waits, and the game with it: pipes are read as soon as something is in them, and made large.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _},
    },
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, fcntl},
};

use super::{
    file::Progress,
    lines::{LINE_LIMIT, LineCounts, Lines},
};

/// Wanted size of a pipe: what Linux allows without privileges.
const PIPE_BYTES: i32 = 1 << 20;

/// Why a pipe cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum PipeError {
    /// Not there (yet).
    #[error("the named pipe {} does not exist; create it: mkfifo {0}", .path.display())]
    Missing {
        /// As configured.
        path: PathBuf,
    },
    /// Something else than a pipe.
    #[error("{} is no named pipe; set `log.file` for a file, or create a pipe with mkfifo", .path.display())]
    NotPipe {
        /// As configured.
        path: PathBuf,
    },
    /// No permission.
    #[error("cannot read the named pipe {}: {source}", .path.display())]
    Unreadable {
        /// As configured.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Standard input.
    #[error("cannot read standard input: {0}")]
    Stdin(io::Error),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writer {
    /// Nobody has the pipe open: it would always be "ready" with an end of input.
    Absent,
    Present,
}

#[derive(Debug)]
struct OpenPipe {
    file: File,
    id: (u64, u64),
    writer: Writer,
}

/// Reads a named pipe.
#[derive(Debug)]
pub struct FifoReader {
    path: PathBuf,
    open: Option<OpenPipe>,
    lines: Lines,
}

impl FifoReader {
    /// Opens nothing yet.
    pub fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            open: None,
            lines: Lines::new(LINE_LIMIT),
        }
    }

    /// What went through so far.
    pub fn counts(&self) -> LineCounts {
        self.lines.counts()
    }

    /// What to wait on; `None` while there is no writer: then [`FifoReader::look`] now and then.
    pub fn ready_fd(&self) -> Option<BorrowedFd<'_>> {
        let open = self.open.as_ref()?;
        (open.writer == Writer::Present).then(|| open.file.as_fd())
    }

    /// Looks at the path: opens the pipe, or a new one in its place once the old one is empty and has no writer.
    ///
    /// # Errors
    /// When there is no pipe to read from.
    pub fn look(
        &mut self,
        budget: usize,
        buffer: &mut [u8],
        each: &mut impl FnMut(&str),
    ) -> Result<(), PipeError> {
        match self.open_new() {
            Ok(None) => Ok(()),
            Ok(Some(new)) => {
                self.turn(budget, buffer, each)?;
                if self
                    .open
                    .as_ref()
                    .is_none_or(|open| open.writer == Writer::Absent)
                {
                    self.open = Some(new);
                }
                Ok(())
            }
            // A pipe that is open goes on even if its name is gone.
            Err(_) if self.open.is_some() => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn open_new(&self) -> Result<Option<OpenPipe>, PipeError> {
        let unreadable = |source: io::Error| {
            let path = self.path.clone();
            match source.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => PipeError::Missing { path },
                _ => PipeError::Unreadable { path, source },
            }
        };
        let not_pipe = || PipeError::NotPipe {
            path: self.path.clone(),
        };
        let metadata = fs::metadata(&self.path).map_err(unreadable)?;
        let id = (metadata.dev(), metadata.ino());
        if self.open.as_ref().is_some_and(|open| open.id == id) {
            return Ok(None);
        }
        if !metadata.file_type().is_fifo() {
            return Err(not_pipe());
        }
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(&self.path)
            .map_err(unreadable)?;
        let metadata = file.metadata().map_err(unreadable)?;
        if !metadata.file_type().is_fifo() {
            return Err(not_pipe());
        }
        // Refused where the user's pipes take too much already; it works with the usual 64 KiB as well.
        let _ = fcntl(&file, FcntlArg::F_SETPIPE_SZ(PIPE_BYTES));
        Ok(Some(OpenPipe {
            file,
            id: (metadata.dev(), metadata.ino()),
            writer: Writer::Absent,
        }))
    }

    /// Reads at most about `budget` bytes through `buffer`. When the last writer has gone, what it left unfinished is a
    /// line.
    ///
    /// # Errors
    /// When the pipe cannot be read.
    pub fn turn(
        &mut self,
        budget: usize,
        buffer: &mut [u8],
        each: &mut impl FnMut(&str),
    ) -> Result<Progress, PipeError> {
        let Some(open) = &mut self.open else {
            return Ok(Progress::Nothing);
        };
        let mut taken = 0;
        while taken < budget {
            match open.file.read(buffer) {
                Ok(0) => {
                    open.writer = Writer::Absent;
                    self.lines.finish(each);
                    return Ok(progress(taken));
                }
                Ok(length) => {
                    open.writer = Writer::Present;
                    taken += length;
                    self.lines.push(buffer.get(..length).unwrap_or_default(), each);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    open.writer = Writer::Present;
                    return Ok(progress(taken));
                }
                Err(source) => {
                    self.open = None;
                    let path = self.path.clone();
                    return Err(PipeError::Unreadable { path, source });
                }
            }
        }
        Ok(Progress::More)
    }
}

fn progress(taken: usize) -> Progress {
    if taken == 0 {
        Progress::Nothing
    } else {
        Progress::Read
    }
}

/// Is there more to come?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// Perhaps.
    Open,
    /// No.
    Ended,
}

/// Reads standard input, or what else stands in for it. The descriptor is not switched to non-blocking: it is shared
/// with whoever started the agent. So a turn may only be taken when a poll says that there is something.
#[derive(Debug)]
pub struct StdinReader<F> {
    source: F,
    lines: Lines,
    input: Input,
}

impl<F: AsFd> StdinReader<F> {
    /// Reads from `source`.
    pub fn new(source: F) -> Self {
        Self {
            source,
            lines: Lines::new(LINE_LIMIT),
            input: Input::Open,
        }
    }

    /// What went through so far.
    pub fn counts(&self) -> LineCounts {
        self.lines.counts()
    }

    /// Gives the source back.
    pub fn into_source(self) -> F {
        self.source
    }

    /// What to wait on; `None` at the end.
    pub fn ready_fd(&self) -> Option<BorrowedFd<'_>> {
        (self.input == Input::Open).then(|| self.source.as_fd())
    }

    /// Reads once; the source must be ready.
    ///
    /// # Errors
    /// When it cannot be read; it has ended then.
    pub fn turn(&mut self, buffer: &mut [u8], each: &mut impl FnMut(&str)) -> Result<Input, PipeError> {
        if self.input == Input::Ended {
            return Ok(Input::Ended);
        }
        match nix::unistd::read(&self.source, buffer) {
            Ok(0) => {
                self.input = Input::Ended;
                self.lines.finish(each);
            }
            Ok(length) => self.lines.push(buffer.get(..length).unwrap_or_default(), each),
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            Err(error) => {
                self.input = Input::Ended;
                self.lines.finish(each);
                return Err(PipeError::Stdin(error.into()));
            }
        }
        Ok(self.input)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn turn(reader: &mut FifoReader) -> Vec<String> {
        let mut lines = Vec::new();
        let each = &mut |line: &str| lines.push(line.to_owned());
        reader.look(1 << 20, &mut [0; 100], each).unwrap();
        reader.turn(1 << 20, &mut [0; 100], each).unwrap();
        lines
    }

    fn make_pipe(path: &Path) {
        nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    }

    fn write(path: &Path, text: &str) -> File {
        let mut file = OpenOptions::new().write(true).open(path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    #[test]
    fn writers_come_and_go() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("fifo");
        make_pipe(&path);
        let mut reader = FifoReader::new(&path);
        assert!(turn(&mut reader).is_empty());
        assert!(reader.ready_fd().is_none());
        let writer = write(&path, "one\ntw");
        assert_eq!(turn(&mut reader), ["one"]);
        assert!(reader.ready_fd().is_some());
        drop(writer);
        assert_eq!(turn(&mut reader), ["tw"]);
        // No writer: an endless end of input must not be waited on.
        assert!(reader.ready_fd().is_none());
        drop(write(&path, "three\n"));
        assert_eq!(turn(&mut reader), ["three"]);
        assert_eq!(reader.counts().lines, 3);
    }

    #[test]
    fn another_pipe_of_the_same_name_is_taken() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("fifo");
        let mut reader = FifoReader::new(&path);
        let error = reader.look(1, &mut [0; 1], &mut |_: &str| ()).unwrap_err();
        assert!(matches!(error, PipeError::Missing { .. }), "{error}");
        make_pipe(&path);
        turn(&mut reader);
        let writer = write(&path, "one\n");
        fs::remove_file(&path).unwrap();
        make_pipe(&path);
        assert_eq!(turn(&mut reader), ["one"]);
        drop(writer);
        turn(&mut reader);
        turn(&mut reader);
        drop(write(&path, "two\n"));
        assert_eq!(turn(&mut reader), ["two"]);
    }

    #[test]
    fn a_file_is_no_pipe() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, "").unwrap();
        let error = FifoReader::new(&path)
            .look(1, &mut [0; 1], &mut |_: &str| ())
            .unwrap_err();
        assert!(error.to_string().contains("log.file"), "{error}");
    }

    #[test]
    fn the_end_of_input_is_said_once_and_ends_the_last_line() {
        let (source, mut sink) = std::io::pipe().unwrap();
        let mut reader = StdinReader::new(source);
        sink.write_all(b"one\ntwo").unwrap();
        drop(sink);
        let mut lines = Vec::new();
        let mut buffer = [0; 100];
        let each = &mut |line: &str| lines.push(line.to_owned());
        assert_eq!(reader.turn(&mut buffer, each).unwrap(), Input::Open);
        assert!(reader.ready_fd().is_some());
        assert_eq!(reader.turn(&mut buffer, each).unwrap(), Input::Ended);
        assert!(reader.ready_fd().is_none());
        assert_eq!(lines, ["one", "two"]);
    }
}
