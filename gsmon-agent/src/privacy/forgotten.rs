//! The list of the forgotten (`forgotten.jsonl`): pseudonyms whose rows have to go wherever they are kept, and since
//! when. What happened after that moment is new.

use std::{collections::BTreeMap, path::Path};

use serde::{Deserialize, Serialize};

use super::{
    files::{self, PrivacyError},
    pseudonym::Pseudonym,
};

const FILE: &str = "forgotten.jsonl";
/// Most entries.
pub(super) const MOST: usize = 100_000;
/// Above what so many entries take.
const MOST_BYTES: u64 = 16 << 20;

/// A pseudonym that was forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Forgotten {
    /// Whose.
    pub pseudonym: Pseudonym,
    /// When, milliseconds since the Unix epoch: everything up to then is to go.
    pub unix_ms: i64,
}

/// All of them.
pub(super) fn read(directory: &Path) -> Result<BTreeMap<Pseudonym, i64>, PrivacyError> {
    let lines: Vec<Forgotten> = files::read_lines(&directory.join(FILE), MOST_BYTES)?;
    Ok(lines
        .into_iter()
        .map(|line| (line.pseudonym, line.unix_ms))
        .collect())
}

/// Replaces the list. Under the lock.
pub(super) fn write(directory: &Path, forgotten: &BTreeMap<Pseudonym, i64>) -> Result<(), PrivacyError> {
    let path = directory.join(FILE);
    if forgotten.len() > MOST {
        return Err(PrivacyError::ForgottenFull { path, most: MOST });
    }
    let lines: Vec<Forgotten> = forgotten
        .iter()
        .map(|(pseudonym, unix_ms)| Forgotten {
            pseudonym: *pseudonym,
            unix_ms: *unix_ms,
        })
        .collect();
    files::replace_lines(&path, lines.iter(), MOST_BYTES).map(|_| ())
}
