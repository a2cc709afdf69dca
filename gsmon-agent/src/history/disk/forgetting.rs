//! Lets go of players' lines once `gsmon privacy forget` has put their pseudonyms on the list of the forgotten. Not here: the
//! list (the privacy room), which rows go (`packing`).

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::file::HistoryFile;
use crate::privacy::{Archive, Forgotten, Pseudonym};

/// Between two looks at the list.
const EVERY: Duration = Duration::from_secs(10);
/// Lines of before the moment may still be written for so long: a minute that is not over, intervals that wait.
const WRITTEN_LATE_MS: i64 = 300_000;
/// Then an entry is taken off the list: identities in memory, which are merged hourly at least, have met it as well.
const MET_BY_ALL_MS: i64 = 7_200_000;

/// Whose lines are to go, and whether they have gone.
#[derive(Debug, Default)]
pub struct Forgetting {
    archive: Option<Archive>,
    look_at: Option<Instant>,
    /// Entries that were dealt with, and at what time.
    done: BTreeMap<Pseudonym, (i64, i64)>,
    trouble: Option<String>,
}

impl Forgetting {
    /// By the list of this directory.
    pub fn of(archive: Archive) -> Self {
        Self {
            archive: Some(archive),
            ..Self::default()
        }
    }

    /// Looks at the list now and then. Trouble with it is logged once.
    pub(super) fn go_on(&mut self, file: &mut HistoryFile, now_ms: i64) {
        let now = Instant::now();
        let Some(archive) = self
            .archive
            .as_ref()
            .filter(|_| self.look_at.is_none_or(|at| now >= at))
        else {
            return;
        };
        self.look_at = Some(now + EVERY);
        let trouble = look(archive, &mut self.done, file, now_ms).err();
        if trouble.is_some() && trouble != self.trouble {
            let text = trouble.as_deref().unwrap_or_default();
            tracing::error!("players who are to be forgotten are still in the history: {text}");
        }
        self.trouble = trouble;
    }
}

fn look(
    archive: &Archive,
    done: &mut BTreeMap<Pseudonym, (i64, i64)>,
    file: &mut HistoryFile,
    now_ms: i64,
) -> Result<(), String> {
    let list = archive.forgotten().map_err(|error| error.to_string())?;
    let settled = |entry: &Forgotten, at: i64| at >= entry.unix_ms.saturating_add(WRITTEN_LATE_MS);
    let due = |entry: &&Forgotten| match done.get(&entry.pseudonym) {
        Some((moment, at)) if *moment == entry.unix_ms => !settled(entry, *at) && settled(entry, now_ms),
        _ => true,
    };
    let due: BTreeMap<Pseudonym, i64> = list
        .iter()
        .filter(due)
        .map(|entry| (entry.pseudonym, entry.unix_ms))
        .collect();
    if !due.is_empty() {
        let gone = file.forget(&due).map_err(|error| error.to_string())?;
        tracing::info!(
            lines = gone,
            "lines of players who are to be forgotten were removed from the history"
        );
        done.extend(due.into_iter().map(|(player, moment)| (player, (moment, now_ms))));
    }
    let met = |entry: &&Forgotten| {
        let old = now_ms >= entry.unix_ms.saturating_add(MET_BY_ALL_MS);
        let told = done.get(&entry.pseudonym);
        old && told.is_some_and(|(moment, at)| *moment == entry.unix_ms && settled(entry, *at))
    };
    let met: Vec<Forgotten> = list.iter().filter(met).copied().collect();
    if !met.is_empty() {
        archive
            .erased_everywhere(&met)
            .map_err(|error| error.to_string())?;
        done.retain(|player, _| !met.iter().any(|entry| entry.pseudonym == *player));
    }
    Ok(())
}
