//! Where a log comes from, out of its settings.

use std::{fmt::Display, io, os::fd::OwnedFd};

use super::{
    file::FileFollower,
    journal::{JournalCommand, JournalFollower},
    pipe::{FifoReader, StdinReader},
    positions::{Position, Positions},
};
use crate::{
    config::{LogSettings, Stdin},
    games::bell::Bell,
};

/// Where logs come from that are not named by a path.
#[derive(Debug, Default)]
pub struct LogInputs {
    /// Stands in for the process's standard input.
    pub stdin: Option<OwnedFd>,
    /// How journals are read.
    pub journal: JournalCommand,
    /// Rung for events whose moment matters.
    pub bell: Bell,
}

/// A source, opened or not.
pub enum Source {
    File(FileFollower),
    Fifo(FifoReader),
    Stdin(StdinReader<OwnedFd>),
    Journal(Box<JournalFollower>),
    /// Cannot be read, for a reason that does not go away.
    Refused(String),
}

/// Of what a saved position is.
pub fn source_name(settings: &LogSettings) -> String {
    match settings {
        LogSettings { file: Some(path), .. } => format!("file:{}", path.display()),
        LogSettings {
            journald_unit: Some(unit),
            ..
        } => format!("journal:{unit}"),
        _ => String::new(),
    }
}

/// Opens nothing yet.
pub fn source_of(
    server: &str,
    settings: &LogSettings,
    inputs: &mut LogInputs,
    positions: &Positions,
) -> Source {
    let saved = positions.get(server, &source_name(settings));
    let refused = |reason: &dyn Display| Source::Refused(reason.to_string());
    match settings {
        LogSettings {
            file: Some(path),
            fifo: None,
            journald_unit: None,
            stdin: None,
            from,
        } => {
            let saved = match saved {
                Some(Position::File(position)) => Some(*position),
                _ => None,
            };
            Source::File(FileFollower::new(path, *from, saved))
        }
        LogSettings {
            file: None,
            fifo: Some(path),
            journald_unit: None,
            stdin: None,
            ..
        } => Source::Fifo(FifoReader::new(path)),
        LogSettings {
            file: None,
            fifo: None,
            journald_unit: Some(unit),
            stdin: None,
            from,
        } => {
            let saved = match saved {
                Some(Position::Journal(cursor)) => Some(cursor.clone()),
                _ => None,
            };
            let follower = JournalFollower::new(inputs.journal.clone(), unit, *from, saved);
            Source::Journal(Box::new(follower))
        }
        LogSettings {
            file: None,
            fifo: None,
            journald_unit: None,
            stdin: Some(Stdin::Lines),
            ..
        } => match inputs.stdin.take() {
            Some(stdin) => Source::Stdin(StdinReader::new(stdin)),
            None => refused(&"standard input is the log of another server, or is not there"),
        },
        _ => refused(&"set exactly one of log.file, log.fifo, log.journald_unit, log.stdin"),
    }
}

/// A descriptor of the process's standard input.
pub fn own_stdin() -> io::Result<OwnedFd> {
    use std::os::fd::AsFd as _;
    io::stdin().as_fd().try_clone_to_owned()
}
