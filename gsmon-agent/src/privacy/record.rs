//! One line of the identity store: a pseudonym, and the names, ids and addresses that were seen with it. Every value has
//! its own times, since an address of last month must not live on because its player still plays.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{
    key::PseudonymKey,
    pseudonym::{Pseudonym, RawIdentity},
};
use crate::games::PlayerRef;

/// Names and addresses kept per identity: the last ones.
const MOST_VALUES: usize = 16;
/// Characters kept of a name or id.
const MOST_CHARACTERS: usize = 256;

/// What the file has of one player. Serialisable for the file only: it does not leave this room.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    pub pseudonym: Pseudonym,
    pub first_seen: i64,
    #[serde(default)]
    pub names: Vec<Value<String>>,
    #[serde(default)]
    pub ids: Vec<Value<String>>,
    #[serde(default)]
    pub addresses: Vec<Value<IpAddr>>,
}

/// A value and when it was seen, milliseconds since the Unix epoch.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Value<T> {
    pub value: T,
    pub first_seen: i64,
    pub last_seen: i64,
}

impl Record {
    /// A record without values.
    pub fn new(pseudonym: Pseudonym, now: i64) -> Self {
        Self {
            pseudonym,
            first_seen: now,
            names: Vec::new(),
            ids: Vec::new(),
            addresses: Vec::new(),
        }
    }

    /// Adds what a statement says of its player.
    pub fn see(&mut self, player: &PlayerRef, now: i64) {
        let cut = |text: &str| text.chars().take(MOST_CHARACTERS).collect::<String>();
        if let Some(name) = &player.name {
            see(&mut self.names, cut(name), now);
        }
        if let Some(id) = &player.platform_id {
            see(&mut self.ids, cut(id), now);
        }
        if let Some(address) = player.address {
            see(&mut self.addresses, address.to_canonical(), now);
        }
    }

    /// Takes over what another record of the same player knows.
    pub fn merge(&mut self, other: Self) {
        self.first_seen = self.first_seen.min(other.first_seen);
        merge(&mut self.names, other.names);
        merge(&mut self.ids, other.ids);
        merge(&mut self.addresses, other.addresses);
    }

    /// Keeps the values that were seen after `limit`. Says whether any are left.
    pub fn keep_after(&mut self, limit: i64) -> bool {
        self.names.retain(|value| value.last_seen > limit);
        self.ids.retain(|value| value.last_seen > limit);
        self.addresses.retain(|value| value.last_seen > limit);
        !(self.names.is_empty() && self.ids.is_empty() && self.addresses.is_empty())
    }

    /// Drops everything from up to `moment`, times too. Says whether any values are left.
    pub fn forget_until(&mut self, moment: i64) -> bool {
        let left = self.keep_after(moment);
        // Of a value from both sides of the moment only its last sighting is known to be after it.
        for (first, last) in self.times_mut().filter(|(first, _)| **first <= moment) {
            *first = *last;
        }
        let first = self.times_mut().map(|(first, _)| *first).min();
        self.first_seen = first.unwrap_or(moment);
        left
    }

    /// Times in the future are a clock that was wrong: they must not make a value live longer.
    pub fn not_after(&mut self, now: i64) {
        self.first_seen = self.first_seen.min(now);
        for (first, last) in self.times_mut() {
            *first = (*first).min(now);
            *last = (*last).min(now);
        }
    }

    fn times_mut(&mut self) -> impl Iterator<Item = (&mut i64, &mut i64)> {
        let names = self
            .names
            .iter_mut()
            .map(|value| (&mut value.first_seen, &mut value.last_seen));
        let ids = self
            .ids
            .iter_mut()
            .map(|value| (&mut value.first_seen, &mut value.last_seen));
        let addresses = self
            .addresses
            .iter_mut()
            .map(|value| (&mut value.first_seen, &mut value.last_seen));
        names.chain(ids).chain(addresses)
    }

    /// When anything of it was seen last.
    pub fn last_seen(&self) -> i64 {
        let names = self.names.iter().map(|value| value.last_seen);
        let ids = self.ids.iter().map(|value| value.last_seen);
        let addresses = self.addresses.iter().map(|value| value.last_seen);
        names.chain(ids).chain(addresses).max().unwrap_or(self.first_seen)
    }

    /// All pseudonyms under which its player may stand somewhere, its own included.
    pub fn pseudonyms<'a>(&'a self, key: &'a PseudonymKey) -> impl Iterator<Item = Pseudonym> + 'a {
        std::iter::once(self.pseudonym).chain(self.derived(key))
    }

    /// Those that a key makes of its names, ids and addresses.
    pub fn derived<'a>(&'a self, key: &'a PseudonymKey) -> impl Iterator<Item = Pseudonym> + 'a {
        let names = self.names.iter().map(|value| RawIdentity::Name(&value.value));
        let ids = self.ids.iter().map(|value| RawIdentity::PlatformId(&value.value));
        let addresses = self
            .addresses
            .iter()
            .map(|value| RawIdentity::Address(value.value));
        let identities = names.chain(ids).chain(addresses);
        identities.map(|identity| key.pseudonym(&identity))
    }
}

fn see<T: PartialEq>(values: &mut Vec<Value<T>>, value: T, now: i64) {
    merge(
        values,
        vec![Value {
            value,
            first_seen: now,
            last_seen: now,
        }],
    );
}

fn merge<T: PartialEq>(values: &mut Vec<Value<T>>, others: Vec<Value<T>>) {
    for other in others {
        match values.iter_mut().find(|known| known.value == other.value) {
            Some(known) => {
                known.first_seen = known.first_seen.min(other.first_seen);
                known.last_seen = known.last_seen.max(other.last_seen);
            }
            None => values.push(other),
        }
        if values.len() > MOST_VALUES {
            let oldest = values
                .iter()
                .enumerate()
                .min_by_key(|(_, value)| value.last_seen)
                .map(|(index, _)| index);
            if let Some(oldest) = oldest {
                values.remove(oldest);
            }
        }
    }
}
