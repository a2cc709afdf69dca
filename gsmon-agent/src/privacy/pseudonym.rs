//! Pseudonyms: HMAC-SHA256 (RFC 2104) of what identifies a player, under a key that never leaves the host.

use std::{fmt, net::IpAddr, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use crate::games::PlayerRef;

/// What identifies a player. Not serialisable and not shown by `Debug`, so that it is not written by accident.
///
/// ```compile_fail,E0277
/// let identity = gsmon_agent::privacy::RawIdentity::Name("Ann");
/// serde_json::to_string(&identity);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum RawIdentity<'a> {
    /// Id that outlives a connection.
    PlatformId(&'a str),
    /// Name, raw.
    Name(&'a str),
    /// Remote address.
    Address(IpAddr),
}

impl<'a> RawIdentity<'a> {
    /// The strongest thing that is known of a player: platform id, else name, else address. A slot identifies nobody.
    pub fn of(player: &'a PlayerRef) -> Option<Self> {
        let id = player.platform_id.as_deref().map(Self::PlatformId);
        let name = || player.name.as_deref().map(Self::Name);
        let address = || player.address.map(Self::Address);
        id.or_else(name).or_else(address)
    }
}

impl fmt::Debug for RawIdentity<'_> {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        out.write_str(match self {
            Self::PlatformId(_) => "PlatformId(..)",
            Self::Name(_) => "Name(..)",
            Self::Address(_) => "Address(..)",
        })
    }
}

/// Stands for a player wherever something is written: 100 bits, the same as long as the key is the same, and no way
/// back without the key. Written `p-` and 20 characters.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pseudonym(u128);

/// Characters of a pseudonym: no i, l, o, u, which are misread.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// Characters after `p-`, five bits each.
const LENGTH: usize = 20;

/// Not a pseudonym.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a pseudonym is p- and {LENGTH} of the characters 0-9 a-z without i, l, o, u")]
pub struct BadPseudonym;

impl Pseudonym {
    /// Its 100 bits, for whoever writes many.
    pub fn to_bytes(self) -> [u8; 13] {
        let [_, _, _, bytes @ ..] = self.0.to_be_bytes();
        bytes
    }

    /// From what [`Self::to_bytes`] gave; more than 100 bits are cut off.
    pub fn from_bytes(bytes: [u8; 13]) -> Self {
        let bits = bytes.iter().fold(0, |bits, byte| bits << 8 | u128::from(*byte));
        Self(bits & ((1 << 100) - 1))
    }

    /// The first 100 bits of a MAC.
    pub(super) fn from_mac(mac: &[u8; 32]) -> Self {
        let first = mac[..13]
            .iter()
            .fold(0, |bits, byte| bits << 8 | u128::from(*byte));
        Self(first >> 4)
    }
}

impl fmt::Display for Pseudonym {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        let mut text = [0; LENGTH];
        for (index, character) in text.iter_mut().rev().enumerate() {
            *character = ALPHABET[(self.0 >> (5 * index)) as usize & 31];
        }
        out.write_str("p-")?;
        text.iter()
            .try_for_each(|character| write!(out, "{}", char::from(*character)))
    }
}

impl fmt::Debug for Pseudonym {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl FromStr for Pseudonym {
    type Err = BadPseudonym;

    fn from_str(text: &str) -> Result<Self, BadPseudonym> {
        let digits = text.strip_prefix("p-").ok_or(BadPseudonym)?;
        if digits.len() != LENGTH {
            return Err(BadPseudonym);
        }
        digits.bytes().try_fold(Self(0), |bits, digit| {
            let value = ALPHABET
                .iter()
                .position(|known| *known == digit)
                .ok_or(BadPseudonym)?;
            Ok(Self(bits.0 << 5 | value as u128))
        })
    }
}

impl Serialize for Pseudonym {
    fn serialize<S: Serializer>(&self, output: S) -> Result<S::Ok, S::Error> {
        output.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Pseudonym {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        String::deserialize(input)?.parse().map_err(D::Error::custom)
    }
}
