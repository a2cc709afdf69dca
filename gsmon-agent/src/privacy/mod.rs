//! What may be written about players: keyed pseudonyms and address prefixes. Beside the world room; whoever writes to
//! disk or hands out history uses it.
//!
//! [`RawIdentity`] has no `Serialize` and shows nothing in `Debug`; [`Pseudonym`] and [`AddressPrefix`] are what gets
//! written. [`IdentityStore`] is the exception that an operator switches on: it keeps identities in one file, for as
//! long as `[privacy] retention` says. `docs/privacy.md` lists every field.
//!
//! The key that the agents of a fleet share is another one, in a file that the configuration names.
//!
//! Files, all 0600, in the state directory: `privacy.key`, `identities.jsonl`, `forgotten.jsonl`, `privacy.lock`.

mod archive;
mod files;
mod forgotten;
mod key;
mod prefix;
mod pseudonym;
mod record;
mod store;
#[cfg(test)]
mod tests;

pub use self::{
    archive::{Archive, Disclosed, DisclosedValue, Erased, Export, Matches, Selector, StoredIdentity},
    files::PrivacyError,
    forgotten::Forgotten,
    key::PseudonymKey,
    prefix::AddressPrefix,
    pseudonym::{BadPseudonym, Pseudonym, RawIdentity},
    store::{IdentityStore, Upkeep},
};

/// Where the agent keeps its files unless told otherwise.
pub const DEFAULT_STATE_DIR: &str = "/var/lib/gsmon";
