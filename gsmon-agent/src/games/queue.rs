//! Who waits for a match, as a matchmaker tells it: the document of `POST /api/v1/queue`, any other JSON document by
//! pointers, and the bounds of both. Not here: receiving and asking (`serve::queue`), what it will need
//! (`analysis::queue`).

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::config::QueueFields;

/// A document may be this large.
pub const MOST_BYTES: usize = 256 << 10;
/// Entries of a queue at most.
pub const MOST_ENTRIES: usize = 1_024;
/// Players in one entry at most.
pub const MOST_PLAYERS: u32 = 10_000_000;
/// Characters of a name at most.
const MOST_CHARACTERS: usize = 128;

/// Players who wait for a match of one kind in one region.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Waiting {
    /// Mode; absent where it does not matter.
    #[serde(default)]
    pub mode: Option<Arc<str>>,
    /// Region; absent where it does not matter.
    #[serde(default)]
    pub region: Option<Arc<str>>,
    /// How many.
    pub players: u32,
}

/// Why a queue is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueueError {
    /// Too large.
    #[error("a queue has at most {} KiB", MOST_BYTES >> 10)]
    TooLarge,
    /// No such JSON.
    #[error(
        "this is no queue ({0}): send {{\"queue\": [{{\"mode\": \"duel\", \"region\": \"eu\", \"players\": 12}}]}}"
    )]
    Malformed(String),
    /// Too many entries.
    #[error("a queue has at most {MOST_ENTRIES} entries")]
    TooMany,
    /// An entry that cannot be meant.
    #[error("entry {position}: {why}")]
    Entry {
        /// One-based.
        position: usize,
        /// What is wrong.
        why: String,
    },
    /// A pointer that leads nowhere.
    #[error("there is no list at `{0}` of the document: set `list` in [queue.fields]")]
    NoList(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    queue: Vec<Waiting>,
}

/// Reads a pushed queue.
///
/// # Errors
/// With what is wrong and where.
pub fn parse(body: &[u8]) -> Result<Vec<Waiting>, QueueError> {
    if body.len() > MOST_BYTES {
        return Err(QueueError::TooLarge);
    }
    let document: Document =
        serde_json::from_slice(body).map_err(|error| QueueError::Malformed(error.to_string()))?;
    check(document.queue)
}

/// Reads a queue out of somebody's JSON document.
///
/// # Errors
/// As [`parse`].
pub fn parse_document(body: &[u8], fields: &QueueFields) -> Result<Vec<Waiting>, QueueError> {
    if body.len() > MOST_BYTES {
        return Err(QueueError::TooLarge);
    }
    let document: Value =
        serde_json::from_slice(body).map_err(|error| QueueError::Malformed(error.to_string()))?;
    let list = document
        .pointer(&fields.list)
        .and_then(Value::as_array)
        .ok_or_else(|| QueueError::NoList(fields.list.clone()))?;
    if list.len() > MOST_ENTRIES {
        return Err(QueueError::TooMany);
    }
    let read = |(index, entry): (usize, &Value)| {
        let word = |pointer: &str| match entry.pointer(pointer) {
            Some(Value::String(word)) => Some(word.as_str().into()),
            Some(Value::Number(number)) => Some(number.to_string().into()),
            _ => None,
        };
        let players = entry.pointer(&fields.players).and_then(Value::as_u64);
        let players = players.and_then(|players| u32::try_from(players).ok());
        Ok(Waiting {
            mode: word(&fields.mode),
            region: word(&fields.region),
            players: players.ok_or_else(|| QueueError::Entry {
                position: index + 1,
                why: format!("no number of players at `{}`", fields.players),
            })?,
        })
    };
    check(list.iter().enumerate().map(read).collect::<Result<_, _>>()?)
}

/// Holds a queue against the bounds.
///
/// # Errors
/// As [`parse`].
pub fn check(queue: Vec<Waiting>) -> Result<Vec<Waiting>, QueueError> {
    if queue.len() > MOST_ENTRIES {
        return Err(QueueError::TooMany);
    }
    let mut seen = std::collections::HashSet::new();
    for (index, entry) in queue.iter().enumerate() {
        let wrong = |why: String| QueueError::Entry {
            position: index + 1,
            why,
        };
        for (name, word) in [("mode", &entry.mode), ("region", &entry.region)] {
            let Some(word) = word else { continue };
            if word.is_empty() || word.chars().count() > MOST_CHARACTERS || word.contains(char::is_control) {
                return Err(wrong(format!(
                    "a {name} has 1 to {MOST_CHARACTERS} characters and no control characters"
                )));
            }
        }
        if entry.players > MOST_PLAYERS {
            return Err(wrong(format!("at most {MOST_PLAYERS} players")));
        }
        if !seen.insert((&entry.mode, &entry.region)) {
            return Err(wrong("this mode and region are there already".to_owned()));
        }
    }
    Ok(queue)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn refused(body: &str) -> String {
        parse(body.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn a_queue_is_read_and_what_cannot_be_meant_is_told_with_its_place() {
        let told = parse(br#"{"queue":[{"mode":"duel","region":"eu","players":12},{"players":3}]}"#).unwrap();
        assert_eq!((told[0].mode.as_deref(), told[0].players), (Some("duel"), 12));
        assert_eq!((told[1].region.clone(), told[1].players), (None, 3));
        assert!(parse(br#"{"queue":[]}"#).unwrap().is_empty());
        for (body, part) in [
            ("[]", "send {"),
            ("{}", "missing field `queue`"),
            (r#"{"queue":[{"mode":"duel"}]}"#, "players"),
            (r#"{"queue":[{"players":-1}]}"#, "u32"),
            (r#"{"queue":[{"players":1,"skill":2}]}"#, "skill"),
            (r#"{"queue":[{"players":1},{"players":2}]}"#, "entry 2"),
            (r#"{"queue":[{"mode":"","players":1}]}"#, "1 to 128"),
            (r#"{"queue":[{"mode":"a\u0007","players":1}]}"#, "control"),
            (r#"{"queue":[{"players":10000001}]}"#, "at most 10000000"),
        ] {
            assert!(refused(body).contains(part), "{body}: {}", refused(body));
        }
        assert_eq!(parse(&vec![b' '; MOST_BYTES + 1]), Err(QueueError::TooLarge));
        let many: Vec<String> = (0..=MOST_ENTRIES)
            .map(|n| format!(r#"{{"mode":"{n}","players":1}}"#))
            .collect();
        assert!(refused(&format!(r#"{{"queue":[{}]}}"#, many.join(","))).contains("at most 1024"));
    }

    #[test]
    fn pointers_find_a_queue_in_any_document() {
        let fields = QueueFields {
            list: "/pools".to_owned(),
            mode: "/playlist/id".to_owned(),
            region: "/dc".to_owned(),
            players: "/waiting".to_owned(),
        };
        let body = br#"{"pools":[{"playlist":{"id":7},"dc":"eu","waiting":5},{"waiting":1}]}"#;
        let told = parse_document(body, &fields).unwrap();
        assert_eq!(
            (told[0].mode.as_deref(), told[0].region.as_deref()),
            (Some("7"), Some("eu"))
        );
        assert_eq!((told[1].mode.clone(), told[1].players), (None, 1));
        assert!(matches!(
            parse_document(b"{}", &fields),
            Err(QueueError::NoList(_))
        ));
        let none = parse_document(br#"{"pools":[{"waiting":"many"}]}"#, &fields);
        assert!(none.unwrap_err().to_string().contains("/waiting"));
    }

    proptest! {
        #[test]
        fn no_document_makes_the_reader_panic(body in "[\\[\\]{}\":,a-z0-9.-]{0,120}") {
            let _ = parse(body.as_bytes());
            let _ = parse_document(body.as_bytes(), &QueueFields::default());
        }

        #[test]
        fn what_is_taken_keeps_the_bounds(players in prop::collection::vec(0u32..20_000_000, 0..5)) {
            let queue: Vec<Waiting> = players
                .iter()
                .enumerate()
                .map(|(n, players)| Waiting { mode: Some(n.to_string().into()), region: None, players: *players })
                .collect();
            let fits = players.iter().all(|players| *players <= MOST_PLAYERS);
            prop_assert_eq!(check(queue).is_ok(), fits);
        }
    }
}
