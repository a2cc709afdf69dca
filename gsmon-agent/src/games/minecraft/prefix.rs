//! What stands in front of a line, in the five forms that [`super`] lists, and the time in it.

use super::super::{
    LineTime,
    scan::{Date, at, digits, epoch_ms, iso_date_time, time_of_day},
};

/// A prefix, its time not yet computed: most lines need none.
pub(super) enum Stamp<'a> {
    Dateless,
    Iso(&'a [u8]),
    Forge(&'a [u8]),
}

/// Which wordings to expect.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Age {
    /// Before 1.7.
    Old,
    New,
}

impl Stamp<'_> {
    pub(super) fn age(&self) -> Age {
        match self {
            Self::Iso(_) => Age::Old,
            Self::Dateless | Self::Forge(_) => Age::New,
        }
    }

    pub(super) fn time(&self) -> Option<LineTime> {
        match self {
            Self::Dateless => None,
            Self::Iso(line) => iso_date_time(line, 0).map(LineTime::Local),
            Self::Forge(line) => forge_time(line).map(LineTime::Local),
        }
    }
}

/// `[14Jan2024 12:34:56.789]`
fn forge_time(line: &[u8]) -> Option<i64> {
    const MONTHS: &[u8] = b"JanFebMarAprMayJunJulAugSepOctNovDec";
    let month = MONTHS.chunks(3).position(|month| line.get(3..6) == Some(month))?;
    let date = Date {
        year: digits::<4>(line, 6)?,
        month: month as u32 + 1,
        day: digits::<2>(line, 1)?,
    };
    epoch_ms(date, time_of_day(line, 11)?, digits::<3>(line, 20)?)
}

pub(super) fn prefix(line: &str) -> Option<(Stamp<'_>, &str)> {
    let bytes = line.as_bytes();
    if at(bytes, 0, b'[') {
        if at(bytes, 3, b':') {
            time_of_day(bytes, 1)?;
            if at(bytes, 9, b' ') {
                // Paper: the level stands inside.
                let rest = line.get(10..)?;
                let end = rest.find("]: ")?;
                return level(&rest[..end]).then(|| (Stamp::Dateless, &rest[end + 3..]));
            }
            let rest = line.get(9..)?.strip_prefix("] [")?;
            return Some((Stamp::Dateless, after_thread(rest)?));
        }
        if at(bytes, 10, b' ') && at(bytes, 23, b']') {
            let rest = line.get(23..)?.strip_prefix("] [")?;
            return Some((Stamp::Forge(bytes), after_thread(rest)?));
        }
        return None;
    }
    let (stamp, rest) = if at(bytes, 4, b'-') && at(bytes, 10, b' ') {
        (Stamp::Iso(bytes), line.get(19..)?)
    } else {
        time_of_day(bytes, 0)?;
        (Stamp::Dateless, line.get(8..)?)
    };
    let rest = rest.strip_prefix(" [")?;
    let end = rest.find("] ")?;
    level(&rest[..end]).then(|| (stamp, &rest[end + 2..]))
}

/// `INFO`, `WARN`, `WARNING`, `SEVERE`, `ERROR`, ...
fn level(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_uppercase())
}

/// What follows `thread/LEVEL]`, with or without a logger's name.
fn after_thread(rest: &str) -> Option<&str> {
    let end = rest.find(']')?;
    let (thread, rest) = (&rest[..end], &rest[end + 1..]);
    if !thread.contains('/') {
        return None;
    }
    if let Some(text) = rest.strip_prefix(": ") {
        return Some(text);
    }
    let (open, close) = if rest.starts_with(" [") {
        (2, "]: ")
    } else {
        (2, ") ")
    };
    if close == ") " && !rest.starts_with(" (") {
        return None;
    }
    let rest = &rest[open..];
    // Loggers are named by mods, in one word.
    let end = rest.find(close)?;
    (!rest[..end].contains(' ')).then(|| &rest[end + close.len()..])
}
