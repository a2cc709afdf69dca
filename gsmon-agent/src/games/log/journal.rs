//! Follows the journal of one systemd unit through a `journalctl` child process.
//!
//! Why a child: the file format is compressed, rotated and merged over several files; libsystemd would become a
//! dependency of every build; journalctl is there wherever a journal is. Its JSON is restricted to the message. A cursor
//! after every entry makes a restart of the child (it is started again with a growing delay) or of the agent seamless.
//! The child ends with the agent: when it is stopped here, or by itself when its output is closed.
//!
//! journalctl follows the present boot only, so entries of an earlier one are not read, not even after a saved cursor.
//! Until a first entry has been read there is no position to save.
//!
//! A message is one statement, however many lines it has: only its first line is handed on, so that a line feed in a
//! chat text begins nothing. The rest is counted with the overlong lines.

use std::{
    ffi::OsString,
    io::{self, Read as _},
    os::fd::{AsFd, BorrowedFd},
    path::PathBuf,
    process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use serde::Deserialize;

use super::{
    file::Progress,
    lines::{Cleaner, Encoding, LINE_LIMIT, LineCounts, Lines},
    positions::Cursor,
};
use crate::config::LogStart;

/// An entry as JSON: a byte of a binary message takes up to four characters.
const ENTRY_LIMIT: usize = 5 * LINE_LIMIT;
/// What journalctl complains about, at most.
const COMPLAINT_LIMIT: usize = 1024;
const FIRST_DELAY: Duration = Duration::from_secs(1);
const LONGEST_DELAY: Duration = Duration::from_secs(60);

/// Why a journal cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// There is no journalctl.
    #[error("{} is not there: install systemd's journalctl (package `systemd`), or set `log.file`", .program.display())]
    NoProgram {
        /// What was to be run.
        program: PathBuf,
    },
    /// It cannot be run.
    #[error("cannot run {}: {source}", .program.display())]
    Start {
        /// What was to be run.
        program: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It has ended; it is started again.
    #[error("journalctl for unit {unit} ended ({status}): {complaint}")]
    Ended {
        /// As configured.
        unit: String,
        /// Its exit.
        status: String,
        /// What it wrote to standard error.
        complaint: String,
    },
}

/// How journalctl is run.
#[derive(Clone, Debug)]
pub struct JournalCommand {
    /// Name or path.
    pub program: PathBuf,
    /// Journal files elsewhere than where the host keeps them.
    pub directory: Option<PathBuf>,
}

impl Default for JournalCommand {
    fn default() -> Self {
        Self {
            program: "journalctl".into(),
            directory: None,
        }
    }
}

#[derive(Debug)]
struct Running {
    child: Child,
    output: ChildStdout,
    errors: ChildStderr,
    complaint: Vec<u8>,
    entries: u64,
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Follows one unit.
#[derive(Debug)]
pub struct JournalFollower {
    command: JournalCommand,
    unit: String,
    from: LogStart,
    /// The last entry that was read.
    cursor: Option<Cursor>,
    /// First start, for a child that died before its first entry.
    since: SystemTime,
    running: Option<Running>,
    not_before: Option<Instant>,
    delay: Duration,
    starts: u64,
    frames: Lines,
    cleaner: Cleaner,
    counts: LineCounts,
}

impl JournalFollower {
    /// Starts nothing yet. `saved` is the last entry that an earlier run has read.
    pub fn new(command: JournalCommand, unit: &str, from: LogStart, saved: Option<Cursor>) -> Self {
        Self {
            command,
            unit: unit.to_owned(),
            from,
            cursor: saved.filter(|_| from == LogStart::Saved),
            since: SystemTime::now(),
            running: None,
            not_before: None,
            delay: FIRST_DELAY,
            starts: 0,
            frames: Lines::new(ENTRY_LIMIT),
            cleaner: Cleaner::default(),
            counts: LineCounts::default(),
        }
    }

    /// What went through so far.
    pub fn counts(&self) -> LineCounts {
        let frames = self.frames.counts();
        LineCounts {
            lines: self.counts.lines,
            bytes: self.counts.bytes,
            overlong: self.counts.overlong + frames.overlong,
            invalid: self.counts.invalid + self.cleaner.invalid(),
        }
    }

    /// Starts of journalctl after the first.
    pub fn restarts(&self) -> u64 {
        self.starts.saturating_sub(1)
    }

    /// The last entry that was read.
    pub fn cursor(&self) -> Option<&Cursor> {
        self.cursor.as_ref()
    }

    /// What to wait on; `None` while journalctl does not run: then take a turn now and then.
    pub fn ready_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.running.as_ref()?.output.as_fd())
    }

    /// Starts journalctl if it is time, reads at most about `budget` bytes of it, and hands on every message with the
    /// time at which the journal took it, in milliseconds since the Unix epoch.
    ///
    /// # Errors
    /// When journalctl cannot be started or has ended. It is started again in a later turn.
    pub fn turn(
        &mut self,
        now: Instant,
        budget: usize,
        buffer: &mut [u8],
        each: &mut impl FnMut(i64, &str),
    ) -> Result<Progress, JournalError> {
        let mut running = match self.running.take() {
            Some(running) => running,
            None if self.not_before.is_some_and(|time| now < time) => return Ok(Progress::Nothing),
            None => {
                self.not_before = Some(now + self.delay);
                self.delay = (self.delay * 2).min(LONGEST_DELAY);
                self.start()?
            }
        };
        drain_errors(&mut running.errors, &mut running.complaint);
        let mut taken = 0;
        while taken < budget {
            match running.output.read(buffer) {
                Ok(0) => return Err(self.ended(running)),
                Ok(length) => {
                    taken += length;
                    running.entries += self.read(buffer.get(..length).unwrap_or_default(), each);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if running.entries > 0 {
                        self.delay = FIRST_DELAY;
                    }
                    self.running = Some(running);
                    return Ok(if taken == 0 {
                        Progress::Nothing
                    } else {
                        Progress::Read
                    });
                }
                Err(_) => return Err(self.ended(running)),
            }
        }
        self.running = Some(running);
        Ok(Progress::More)
    }

    fn arguments(&self) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = [
            "--follow",
            "--output=json",
            "--output-fields=MESSAGE",
            // Else messages above 4096 bytes are left out.
            "--all",
            "--quiet",
            "--no-pager",
        ]
        .map(OsString::from)
        .to_vec();
        arguments.push(format!("--unit={}", self.unit).into());
        if let Some(directory) = &self.command.directory {
            let mut argument = OsString::from("--directory=");
            argument.push(directory);
            arguments.push(argument);
        }
        match (&self.cursor, self.from) {
            (Some(cursor), _) => {
                arguments.push("--no-tail".into());
                arguments.push(format!("--after-cursor={}", cursor.as_str()).into());
            }
            (None, LogStart::Beginning) => arguments.push("--no-tail".into()),
            (None, LogStart::End | LogStart::Saved) if self.starts == 0 => arguments.push("--lines=0".into()),
            (None, LogStart::End | LogStart::Saved) => {
                let since = self.since.duration_since(UNIX_EPOCH).unwrap_or_default();
                arguments.push("--no-tail".into());
                arguments.push(format!("--since=@{}.{:06}", since.as_secs(), since.subsec_micros()).into());
            }
        }
        arguments
    }

    fn start(&mut self) -> Result<Running, JournalError> {
        let program = &self.command.program;
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => JournalError::NoProgram {
                program: program.clone(),
            },
            _ => JournalError::Start {
                program: program.clone(),
                source,
            },
        };
        let mut child = Command::new(program)
            .args(self.arguments())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let (Some(output), Some(errors)) = (child.stdout.take(), child.stderr.take()) else {
            let _ = child.kill();
            let _ = child.wait();
            return Err(failed(io::ErrorKind::BrokenPipe.into()));
        };
        let running = Running {
            child,
            output,
            errors,
            complaint: Vec::new(),
            entries: 0,
        };
        let nonblocking = FcntlArg::F_SETFL(OFlag::O_NONBLOCK);
        fcntl(&running.output, nonblocking).map_err(|error| failed(error.into()))?;
        let nonblocking = FcntlArg::F_SETFL(OFlag::O_NONBLOCK);
        fcntl(&running.errors, nonblocking).map_err(|error| failed(error.into()))?;
        self.starts += 1;
        // Half an entry of the child before.
        self.frames.restart();
        Ok(running)
    }

    fn ended(&mut self, mut running: Running) -> JournalError {
        // Its output is closed: whatever else it does is of no use.
        let _ = running.child.kill();
        let status = running.child.wait();
        drain_errors(&mut running.errors, &mut running.complaint);
        let complaint = String::from_utf8_lossy(&running.complaint);
        let complaint = match complaint.trim() {
            "" => "it said nothing".to_owned(),
            said => said.replace(char::is_control, " "),
        };
        JournalError::Ended {
            unit: self.unit.clone(),
            status: status.map_or_else(|error| error.to_string(), |status: ExitStatus| status.to_string()),
            complaint,
        }
    }

    /// Takes in output; entries in it.
    fn read(&mut self, bytes: &[u8], each: &mut impl FnMut(i64, &str)) -> u64 {
        let Self {
            frames,
            cleaner,
            counts,
            cursor,
            ..
        } = self;
        let mut entries = 0;
        frames.push(bytes, &mut |json: &str| {
            let Ok(entry) = serde_json::from_str::<Entry>(json) else {
                counts.invalid += 1;
                return;
            };
            entries += 1;
            if let Ok(next) = Cursor::try_from(entry.cursor) {
                *cursor = Some(next);
            }
            let unix_ms = entry
                .realtime
                .parse::<i64>()
                .map_or_else(|_| super::time::now_ms(), |time| time / 1000);
            entry.message.for_each(&mut |message: &[u8]| {
                counts.bytes += message.len() as u64;
                counts.lines += 1;
                let message = message.strip_suffix(b"\n").unwrap_or(message);
                let line = message.split(|byte| *byte == b'\n').next().unwrap_or_default();
                let line = line.get(..LINE_LIMIT).unwrap_or(line);
                if line.len() < message.len() {
                    counts.overlong += 1;
                }
                each(unix_ms, cleaner.clean(line, Encoding::Utf8));
            });
        });
        entries
    }
}

/// Takes what is there of standard error, so that the child does not wait for a reader; keeps the beginning.
fn drain_errors(errors: &mut ChildStderr, complaint: &mut Vec<u8>) {
    let mut buffer = [0; COMPLAINT_LIMIT];
    for _ in 0..64 {
        match errors.read(&mut buffer) {
            Ok(length) if length > 0 => {
                let room = COMPLAINT_LIMIT.saturating_sub(complaint.len());
                complaint.extend_from_slice(buffer.get(..length.min(room)).unwrap_or_default());
            }
            _ => return,
        }
    }
}

/// systemd.journal-fields(7), and "JSON" in the description of the journal export formats.
#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "__CURSOR")]
    cursor: String,
    /// Microseconds since the Unix epoch.
    #[serde(rename = "__REALTIME_TIMESTAMP")]
    realtime: String,
    #[serde(rename = "MESSAGE", default)]
    message: Message,
}

#[derive(Default, Deserialize)]
#[serde(untagged)]
enum Message {
    Text(String),
    /// Not UTF-8, or with control characters.
    Bytes(Vec<u8>),
    /// The field is there several times.
    Several(Vec<Message>),
    #[default]
    Absent,
}

impl Message {
    fn for_each(&self, each: &mut dyn FnMut(&[u8])) {
        match self {
            Self::Text(text) => each(text.as_bytes()),
            Self::Bytes(bytes) => each(bytes),
            Self::Several(messages) => messages.iter().for_each(|message| message.for_each(each)),
            Self::Absent => {}
        }
    }
}

#[cfg(test)]
mod tests;
