//! The agent's side of the identity store: sightings collect in memory and are merged into the file now and then. The
//! file is the truth, so that what `gsmon privacy forget` removes does not come back.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    time::Duration,
};

use super::{
    archive::{Archive, Erased, Export, MOST_IDENTITIES, Matches, Selector, StoredIdentity},
    files::{PrivacyError, StateLock},
    forgotten,
    key::PseudonymKey,
    pseudonym::{Pseudonym, RawIdentity},
    record::Record,
};
use crate::{config::PrivacySettings, games::PlayerRef};

/// Keeps identities, where the operator has switched that on.
pub struct IdentityStore {
    archive: Archive,
    key: PseudonymKey,
    retention_ms: i64,
    pending: HashMap<Pseudonym, Record>,
    lost: u64,
}

/// What one round of upkeep came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Upkeep {
    /// Identities in the file now.
    pub kept: usize,
    /// Identities that were removed since nothing of them was seen within the retention.
    pub expired: usize,
    /// Identities that did not fit: the ones seen longest ago, and sightings while memory was full.
    pub lost: u64,
}

impl IdentityStore {
    /// Opens the store of a state directory and removes what is past its retention. `None` where it is switched off;
    /// then a file from when it was on is removed, since nobody would see to its retention.
    pub fn open(
        directory: &Path,
        settings: &PrivacySettings,
        now: i64,
    ) -> Result<Option<Self>, PrivacyError> {
        let archive = Archive::new(directory);
        if !settings.store_identities {
            if archive.discard()? {
                tracing::info!("stored identities of players are removed: [privacy] store_identities is off");
            }
            return Ok(None);
        }
        let mut store = Self {
            key: PseudonymKey::load_or_create(directory)?,
            archive,
            retention_ms: milliseconds(settings.retention),
            pending: HashMap::new(),
            lost: 0,
        };
        store.upkeep(now)?;
        Ok(Some(store))
    }

    /// Notes what a statement says of its player, and gives the pseudonym. Costs a MAC: for joins and changes, and now
    /// and then for whoever still plays, not for every sample. `None` for a player of whom only a slot is known.
    pub fn record(&mut self, player: &PlayerRef, now: i64) -> Option<Pseudonym> {
        let pseudonym = self.key.pseudonym(&RawIdentity::of(player)?);
        if self.pending.len() >= MOST_IDENTITIES && !self.pending.contains_key(&pseudonym) {
            self.lost += 1;
            return Some(pseudonym);
        }
        self.pending
            .entry(pseudonym)
            .or_insert_with(|| Record::new(pseudonym, now))
            .see(player, now);
        Some(pseudonym)
    }

    /// Merges sightings into the file, and removes what is past its retention: to be called every few minutes, and
    /// hourly at least. On an error nothing is lost; the next round tries again.
    pub fn upkeep(&mut self, now: i64) -> Result<Upkeep, PrivacyError> {
        let _lock = StateLock::take(self.archive.directory())?;
        let mut records = self.archive.records()?;
        let gone = forgotten::read(self.archive.directory())?;
        let before = records.clone();
        for record in self.pending.values() {
            let mut record = record.clone();
            let since = record
                .pseudonyms(&self.key)
                .filter_map(|name| gone.get(&name))
                .max()
                .copied();
            if since.is_some_and(|since| !record.forget_until(since)) {
                continue;
            }
            match records.get_mut(&record.pseudonym) {
                Some(known) => known.merge(record),
                None => {
                    records.insert(record.pseudonym, record);
                }
            }
        }
        let all = records.len();
        expire(&mut records, now.saturating_sub(self.retention_ms), now);
        let expired = all - records.len();
        let kept = records.len();
        let mut cut = 0;
        if records != before {
            cut = self.archive.write(records)?;
        }
        self.pending.clear();
        Ok(Upkeep {
            kept: kept - cut,
            expired,
            lost: std::mem::take(&mut self.lost) + cut as u64,
        })
    }

    /// What is held about a player, sightings in memory included.
    pub fn show(&mut self, player: &Selector, now: i64) -> Result<Vec<StoredIdentity>, PrivacyError> {
        self.upkeep(now)?;
        self.archive.show(player)
    }

    /// The same as one document.
    pub fn export(&mut self, player: &Selector, now: i64) -> Result<Export, PrivacyError> {
        self.upkeep(now)?;
        self.archive.export(player, now)
    }

    /// Removes a player, and lists every pseudonym that may stand for them as forgotten.
    pub fn forget(&mut self, player: &Selector, matches: Matches, now: i64) -> Result<Erased, PrivacyError> {
        self.upkeep(now)?;
        self.archive.forget(player, matches, now)
    }
}

impl std::fmt::Debug for IdentityStore {
    fn fmt(&self, out: &mut std::fmt::Formatter) -> std::fmt::Result {
        out.debug_struct("IdentityStore")
            .field("pending", &self.pending.len())
            .finish_non_exhaustive()
    }
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Values not seen after `limit` go, and identities without any values with them.
fn expire(records: &mut BTreeMap<Pseudonym, Record>, limit: i64, now: i64) {
    records.retain(|_, record| {
        record.not_after(now);
        record.keep_after(limit)
    });
}
