//! How a family's log is read: one line in, what it says out.
//!
//! A grammar is anchored: it takes the family's prefix off the front and looks at the text from there on, so that chat
//! (which always follows something of the game's own) cannot forge an event. It never fails: a line that it does not
//! know says nothing. It may remember what earlier lines said where a family spreads one fact over several lines.

use super::event::{Fact, RoomName};

/// What one line says.
#[derive(Clone, Debug, PartialEq)]
pub struct Spoken {
    /// The line's own time, where it has a whole one.
    pub time: Option<LineTime>,
    /// Room inside the process.
    pub room: Option<RoomName>,
    /// What.
    pub fact: Fact,
}

impl Spoken {
    /// A fact without room.
    pub fn new(time: Option<LineTime>, fact: Fact) -> Self {
        Self {
            time,
            room: None,
            fact,
        }
    }
}

/// A line's own time. Times that are relative or lack a date are left out by grammars: reading time is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineTime {
    /// Milliseconds since the Unix epoch.
    Utc(i64),
    /// Wall clock of the server's time zone, as if it were UTC, in milliseconds since the Unix epoch.
    Local(i64),
}

/// Reads the lines of one server's log.
pub trait Grammar: Send {
    /// Reads one line, without its line end; appends what it says.
    fn line(&mut self, line: &str, said: &mut Vec<Spoken>);
}
