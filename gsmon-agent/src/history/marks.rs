//! Marks: moments from which on a server may behave differently, told by people or seen as a changed executable. In memory,
//! the newest of each server; the file keeps them as events.

use std::collections::{HashMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::events::{Event, EventKind};

/// Marks of one server that are kept.
const MOST: usize = 128;
/// Bytes of a text.
pub const MOST_TEXT: usize = 256;

/// Who set a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MarkedBy {
    /// Somebody told.
    Person,
    /// The server came back with another executable.
    Executable,
}

/// A moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// When.
    pub unix_ms: i64,
    /// What changed.
    pub text: String,
    /// Who says so.
    pub by: MarkedBy,
}

/// Why a text is no mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MarkError {
    /// Nothing, or too much.
    #[error("a mark is a text of 1 to {MOST_TEXT} bytes, not of {0}")]
    Length(usize),
    /// It would drive a terminal.
    #[error("a mark has no control characters")]
    Control,
}

impl Mark {
    /// Somebody's.
    ///
    /// # Errors
    /// When the text is empty, too long, or has control characters.
    pub fn told(unix_ms: i64, text: &str) -> Result<Self, MarkError> {
        let text = text.trim();
        if text.is_empty() || text.len() > MOST_TEXT {
            return Err(MarkError::Length(text.len()));
        }
        if text.chars().any(char::is_control) {
            return Err(MarkError::Control);
        }
        Ok(Self {
            unix_ms,
            text: text.to_owned(),
            by: MarkedBy::Person,
        })
    }
}

impl Mark {
    /// As the file keeps it.
    pub(super) fn event(&self, server: &str) -> Event {
        Event {
            server: server.into(),
            unix_ms: self.unix_ms,
            kind: match self.by {
                MarkedBy::Person => EventKind::Mark,
                MarkedBy::Executable => EventKind::Update,
            },
            word: Some(self.text.as_str().into()),
            times: 1,
        }
    }

    /// As the file has kept it; `None` for events of other kinds.
    pub(super) fn of(event: &Event) -> Option<Self> {
        let by = match event.kind {
            EventKind::Mark => MarkedBy::Person,
            EventKind::Update => MarkedBy::Executable,
            _ => return None,
        };
        Some(Self {
            unix_ms: event.unix_ms,
            text: event.word.as_deref()?.to_owned(),
            by,
        })
    }
}

/// Marks of all servers.
#[derive(Debug, Default)]
pub struct Marks(HashMap<String, VecDeque<Mark>>);

impl Marks {
    /// Adds one.
    pub fn add(&mut self, server: &str, mark: Mark) {
        let marks = self.0.entry(server.to_owned()).or_default();
        if marks.len() == MOST {
            marks.pop_front();
        }
        // The clock may have been set back.
        let place = marks.partition_point(|other| other.unix_ms <= mark.unix_ms);
        marks.insert(place, mark);
    }

    /// Of one server, the oldest first.
    pub fn of(&self, server: &str) -> Vec<Mark> {
        self.0.get(server).into_iter().flatten().cloned().collect()
    }

    /// Forgets servers that are no longer followed.
    pub fn retain(&mut self, followed: impl Fn(&str) -> bool) {
        self.0.retain(|server, _| followed(server));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_kept_in_order_and_bounded_and_texts_are_checked() {
        let mut marks = Marks::default();
        for at in [5, 3, 9] {
            marks.add("a", Mark::told(at, " plugin X 2.1 ").unwrap());
        }
        let times: Vec<i64> = marks.of("a").iter().map(|mark| mark.unix_ms).collect();
        assert_eq!(times, [3, 5, 9]);
        assert_eq!(marks.of("a")[0].text, "plugin X 2.1");
        (0..300).for_each(|at| marks.add("a", Mark::told(at, "x").unwrap()));
        assert_eq!(marks.of("a").len(), MOST);
        assert!(marks.of("b").is_empty());
        assert_eq!(Mark::told(0, "  "), Err(MarkError::Length(0)));
        assert_eq!(Mark::told(0, "a\u{1b}[2J"), Err(MarkError::Control));
        assert!(Mark::told(0, &"x".repeat(300)).is_err());
    }
}
