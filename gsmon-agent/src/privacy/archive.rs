//! The files of a state directory, for whoever asks about a player: what is held, a copy of it, and its end. Needs no
//! running agent; where one runs, they take turns.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    time::{Duration, UNIX_EPOCH},
};

use serde::Serialize;

use super::{
    files::{self, PrivacyError, StateLock},
    forgotten::{self, Forgotten},
    key::PseudonymKey,
    pseudonym::{Pseudonym, RawIdentity},
    record::{Record, Value},
};

const FILE: &str = "identities.jsonl";
/// Largest file of identities.
const MOST_BYTES: u64 = 32 << 20;
/// Most identities in it.
pub(super) const MOST_IDENTITIES: usize = 50_000;

/// Who is meant: a name, a platform id, an address (with or without port) or a pseudonym. Text that can be several of
/// them means all of them.
#[derive(Clone)]
pub struct Selector {
    text: String,
    address: Option<IpAddr>,
    pseudonym: Option<Pseudonym>,
}

impl Selector {
    /// Reads what an operator typed.
    pub fn new(text: &str) -> Self {
        let bare = text.parse::<IpAddr>().ok();
        let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
        Self {
            text: text.to_owned(),
            address: bare.or_else(with_port).map(|address| address.to_canonical()),
            pseudonym: text.parse().ok(),
        }
    }

    fn matches(&self, record: &Record, keys: &Keys) -> bool {
        let meant = |pseudonym| {
            pseudonym == record.pseudonym || {
                let shared = keys.shared.iter().flat_map(|key| record.derived(key));
                shared.into_iter().any(|one| one == pseudonym)
            }
        };
        self.pseudonym.is_some_and(meant)
            || record.names.iter().any(|name| name.value == self.text)
            || record.ids.iter().any(|id| id.value == self.text)
            || record
                .addresses
                .iter()
                .any(|address| Some(address.value) == self.address)
    }

    /// The pseudonyms that this player has if it was known by nothing else.
    pub(crate) fn pseudonyms(&self, key: Option<&PseudonymKey>) -> BTreeSet<Pseudonym> {
        let mut pseudonyms = self.named_pseudonyms(key);
        pseudonyms.extend(self.pseudonym);
        pseudonyms
    }

    /// The same, but for one that was typed.
    fn named_pseudonyms(&self, key: Option<&PseudonymKey>) -> BTreeSet<Pseudonym> {
        let mut pseudonyms = BTreeSet::new();
        // Nobody is called by a pseudonym.
        if let (Some(key), None) = (key, self.pseudonym) {
            pseudonyms.insert(key.pseudonym(&RawIdentity::PlatformId(&self.text)));
            pseudonyms.insert(key.pseudonym(&RawIdentity::Name(&self.text)));
            let address = self.address.map(RawIdentity::Address);
            pseudonyms.extend(address.map(|address| key.pseudonym(&address)));
        }
        pseudonyms
    }
}

impl fmt::Debug for Selector {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        out.write_str("Selector(..)")
    }
}

/// What pseudonyms are made with.
struct Keys {
    own: Option<PseudonymKey>,
    shared: Option<PseudonymKey>,
}

/// How many identities may be forgotten at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Matches {
    /// More than one is an error: two players may have one name or one address.
    One,
    /// All of them.
    All,
}

impl Matches {
    /// Pseudonyms shown where too many match.
    pub(super) const SHOWN: usize = 10;
}

/// What is held of one player. Not serialisable; [`Self::disclose`] says that it is meant to be shown.
///
/// ```compile_fail,E0277
/// fn write(identity: &gsmon_agent::privacy::StoredIdentity) {
///     let _ = serde_json::to_string(identity);
/// }
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct StoredIdentity(Record);

impl StoredIdentity {
    /// Its pseudonym.
    pub fn pseudonym(&self) -> Pseudonym {
        self.0.pseudonym
    }

    /// Everything, to be shown to whoever may see it.
    pub fn disclose(&self) -> Disclosed {
        Disclosed {
            pseudonym: self.0.pseudonym,
            first_seen: date(self.0.first_seen),
            last_seen: date(self.0.last_seen()),
            names: disclose(&self.0.names),
            ids: disclose(&self.0.ids),
            addresses: disclose(&self.0.addresses),
        }
    }
}

impl fmt::Debug for StoredIdentity {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        out.debug_tuple("StoredIdentity")
            .field(&self.0.pseudonym)
            .finish()
    }
}

/// An identity in the open. Times are RFC 3339.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Disclosed {
    /// Its pseudonym.
    pub pseudonym: Pseudonym,
    /// When it was seen first.
    pub first_seen: String,
    /// When it was seen last.
    pub last_seen: String,
    /// Names.
    pub names: Vec<DisclosedValue>,
    /// Platform ids.
    pub ids: Vec<DisclosedValue>,
    /// Addresses.
    pub addresses: Vec<DisclosedValue>,
}

/// A name, id or address in the open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DisclosedValue {
    /// The value.
    pub value: String,
    /// When it was seen first.
    pub first_seen: String,
    /// When it was seen last.
    pub last_seen: String,
}

fn disclose<T: ToString>(values: &[Value<T>]) -> Vec<DisclosedValue> {
    values
        .iter()
        .map(|value| DisclosedValue {
            value: value.value.to_string(),
            first_seen: date(value.first_seen),
            last_seen: date(value.last_seen),
        })
        .collect()
}

/// RFC 3339; what lies outside of its years is shown as their ends.
fn date(unix_ms: i64) -> String {
    const LAST_MS: u64 = 253_402_300_799_000;
    let since = Duration::from_millis(u64::try_from(unix_ms).unwrap_or(0).min(LAST_MS));
    humantime::format_rfc3339_millis(UNIX_EPOCH + since).to_string()
}

/// Everything that gsmon holds on disk about a player, for handing over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Export {
    /// What this document is.
    pub format: &'static str,
    /// When it was made, RFC 3339.
    pub created: String,
    /// Who was asked for.
    pub player: String,
    /// The pseudonyms that stand for this player wherever no identity is stored.
    pub pseudonyms: Vec<Pseudonym>,
    /// What the identity store holds.
    pub identities: Vec<Disclosed>,
    /// What was forgotten before.
    pub forgotten: Vec<Forgotten>,
}

/// What forgetting came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Erased {
    /// Identities that were removed from the store.
    pub identities_removed: Vec<Pseudonym>,
    /// Pseudonyms whose rows are to go from now on.
    pub pseudonyms_forgotten: Vec<Pseudonym>,
    /// Those of them that the player has on every host of the fleet.
    pub of_the_fleet: Vec<Pseudonym>,
}

/// The files.
#[derive(Clone, Debug)]
pub struct Archive {
    directory: PathBuf,
    shared: Option<PseudonymKey>,
}

impl Archive {
    /// The files of a directory. Nothing is read or made.
    pub fn new(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            shared: None,
        }
    }

    /// The same, where the agents of a fleet share a key: players are then found by their pseudonym under it, and forgotten
    /// under it as well.
    pub fn with_shared(self, key: PseudonymKey) -> Self {
        Self {
            shared: Some(key),
            ..self
        }
    }

    fn keys(&self) -> Result<Keys, PrivacyError> {
        Ok(Keys {
            own: PseudonymKey::load(&self.directory)?,
            shared: self.shared.clone(),
        })
    }

    /// What is held about a player.
    pub fn show(&self, player: &Selector) -> Result<Vec<StoredIdentity>, PrivacyError> {
        let (records, keys) = (self.records()?, self.keys()?);
        Ok(records
            .into_values()
            .filter(|record| player.matches(record, &keys))
            .map(StoredIdentity)
            .collect())
    }

    /// The same, with everything else on disk that has to do with the player, as one document.
    pub fn export(&self, player: &Selector, now: i64) -> Result<Export, PrivacyError> {
        let keys = self.keys()?;
        let identities = self.show(player)?;
        let mut pseudonyms = player.pseudonyms(keys.own.as_ref());
        pseudonyms.extend(player.pseudonyms(keys.shared.as_ref()));
        for identity in &identities {
            pseudonyms.insert(identity.pseudonym());
            for key in keys.own.iter().chain(&keys.shared) {
                pseudonyms.extend(identity.0.derived(key));
            }
        }
        let forgotten = self.forgotten()?;
        Ok(Export {
            format: "gsmon privacy export 1",
            created: date(now),
            player: player.text.clone(),
            identities: identities.iter().map(StoredIdentity::disclose).collect(),
            forgotten: forgotten
                .into_iter()
                .filter(|entry| pseudonyms.contains(&entry.pseudonym))
                .collect(),
            pseudonyms: pseudonyms.into_iter().collect(),
        })
    }

    /// Removes a player from the store, and lists every pseudonym that may stand for them as forgotten.
    pub fn forget(&self, player: &Selector, matches: Matches, now: i64) -> Result<Erased, PrivacyError> {
        let _lock = StateLock::take(&self.directory)?;
        let keys = self.keys()?;
        let mut records = self.records()?;
        let found: Vec<Pseudonym> = records
            .values()
            .filter(|record| player.matches(record, &keys))
            .map(|record| record.pseudonym)
            .collect();
        if found.len() > 1 && matches == Matches::One {
            return Err(PrivacyError::ambiguous(found.iter()));
        }
        let mut pseudonyms = player.pseudonyms(keys.own.as_ref());
        let mut of_the_fleet = match keys.shared {
            Some(_) => player.named_pseudonyms(keys.shared.as_ref()),
            None => BTreeSet::new(),
        };
        for record in found.iter().filter_map(|pseudonym| records.remove(pseudonym)) {
            pseudonyms.insert(record.pseudonym);
            pseudonyms.extend(keys.own.iter().flat_map(|key| record.derived(key)));
            of_the_fleet.extend(keys.shared.iter().flat_map(|key| record.derived(key)));
        }
        pseudonyms.extend(&of_the_fleet);
        // The list first: if writing stops in between, forgetting again finishes it.
        if !pseudonyms.is_empty() {
            let mut forgotten = forgotten::read(&self.directory)?;
            forgotten.extend(pseudonyms.iter().map(|pseudonym| (*pseudonym, now)));
            forgotten::write(&self.directory, &forgotten)?;
        }
        if !found.is_empty() {
            self.write(records)?;
        }
        Ok(Erased {
            identities_removed: found,
            pseudonyms_forgotten: pseudonyms.into_iter().collect(),
            of_the_fleet: of_the_fleet.into_iter().collect(),
        })
    }

    /// Pseudonyms whose rows have to go, for whoever keeps rows.
    pub fn forgotten(&self) -> Result<Vec<Forgotten>, PrivacyError> {
        let entries = forgotten::read(&self.directory)?;
        Ok(entries
            .into_iter()
            .map(|(pseudonym, unix_ms)| Forgotten { pseudonym, unix_ms })
            .collect())
    }

    /// Takes entries off the list whose rows are gone everywhere. One that was forgotten again meanwhile stays.
    pub fn erased_everywhere(&self, done: &[Forgotten]) -> Result<(), PrivacyError> {
        let _lock = StateLock::take(&self.directory)?;
        let mut entries = forgotten::read(&self.directory)?;
        for entry in done {
            if entries.get(&entry.pseudonym) == Some(&entry.unix_ms) {
                entries.remove(&entry.pseudonym);
            }
        }
        forgotten::write(&self.directory, &entries)
    }

    /// Removes the stored identities, all of them. Says whether there were any.
    pub fn discard(&self) -> Result<bool, PrivacyError> {
        let path = self.directory.join(FILE);
        if !files::exists(&path) {
            return Ok(false);
        }
        let _lock = StateLock::take(&self.directory)?;
        files::remove(&path)?;
        Ok(true)
    }

    pub(super) fn records(&self) -> Result<BTreeMap<Pseudonym, Record>, PrivacyError> {
        let lines: Vec<Record> = files::read_lines(&self.directory.join(FILE), MOST_BYTES)?;
        let mut records: BTreeMap<Pseudonym, Record> = BTreeMap::new();
        for record in lines {
            match records.get_mut(&record.pseudonym) {
                Some(known) => known.merge(record),
                None => {
                    records.insert(record.pseudonym, record);
                }
            }
        }
        Ok(records)
    }

    /// Replaces the file, the identities seen last first; says how many did not fit. Under the lock.
    pub(super) fn write(&self, records: BTreeMap<Pseudonym, Record>) -> Result<usize, PrivacyError> {
        let path = self.directory.join(FILE);
        let mut lines: Vec<Record> = records.into_values().collect();
        if lines.is_empty() {
            files::remove(&path)?;
            return Ok(0);
        }
        lines.sort_by_key(|record| std::cmp::Reverse(record.last_seen()));
        let fit = lines.len().min(MOST_IDENTITIES);
        let cut = files::replace_lines(&path, lines[..fit].iter(), MOST_BYTES)?;
        Ok(lines.len() - fit + cut)
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }
}
