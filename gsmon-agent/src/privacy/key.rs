//! The key of pseudonyms: 32 random bytes in `privacy.key`, made once. Whoever has it can tell which pseudonym is whose;
//! without it, pseudonyms of before mean nothing any more.

use std::{fmt, path::Path};

use hmac::{Hmac, Mac, digest::KeyInit};
use sha2::Sha256;

use super::{
    files::{self, PrivacyError, StateLock},
    pseudonym::{Pseudonym, RawIdentity},
};

const FILE: &str = "privacy.key";
const BYTES: usize = 32;
/// More than any file that was once a key.
const MOST_FILE_BYTES: u64 = 4_096;
/// HMAC-SHA256 takes keys as blocks; shorter ones are filled up with zeros (RFC 2104).
const BLOCK: usize = 64;

/// Makes pseudonyms.
#[derive(Clone)]
pub struct PseudonymKey([u8; BLOCK]);

impl PseudonymKey {
    /// Reads the key of a state directory; makes directory and key where there are none.
    pub fn load_or_create(directory: &Path) -> Result<Self, PrivacyError> {
        files::make_directory(directory)?;
        if let Some(key) = Self::load(directory)? {
            return Ok(key);
        }
        let _lock = StateLock::take(directory)?;
        // Somebody else may have been faster.
        if let Some(key) = Self::load(directory)? {
            return Ok(key);
        }
        let mut bytes = [0; BYTES];
        getrandom::fill(&mut bytes).map_err(|error| PrivacyError::Random(error.to_string()))?;
        files::replace(&directory.join(FILE), &bytes)?;
        Ok(Self::from_bytes(&bytes))
    }

    /// Reads the key of a state directory; `None` where there is none.
    pub fn load(directory: &Path) -> Result<Option<Self>, PrivacyError> {
        let path = directory.join(FILE);
        let Some(bytes) = files::read(&path, MOST_FILE_BYTES)? else {
            return Ok(None);
        };
        match <&[u8; BYTES]>::try_from(bytes.as_slice()) {
            Ok(bytes) => Ok(Some(Self::from_bytes(bytes))),
            Err(_) => Err(PrivacyError::BadKey {
                path,
                bytes: bytes.len(),
            }),
        }
    }

    /// Reads the key that the agents of a fleet share. It is never made here: it must be the same on every host.
    ///
    /// # Errors
    /// Where it cannot be read, others can reach it, or it has not 32 bytes.
    pub fn read_shared(path: &Path) -> Result<Self, PrivacyError> {
        let bytes = files::read(path, MOST_FILE_BYTES)?.ok_or_else(|| PrivacyError::NoSharedKey {
            path: path.to_owned(),
        })?;
        let key = <&[u8; BYTES]>::try_from(bytes.as_slice()).map_err(|_| PrivacyError::BadSharedKey {
            path: path.to_owned(),
            bytes: bytes.len(),
        })?;
        Ok(Self::from_bytes(key))
    }

    /// Tells keys apart and gives nothing else away: 64 bits of a MAC over a fixed text, in hexadecimal.
    pub fn fingerprint(&self) -> String {
        let mut mac = <Hmac<Sha256> as KeyInit>::new(&self.0.into());
        mac.update(b"gsmon key fingerprint v1\0");
        let digest = mac.finalize().into_bytes();
        digest[..8].iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// A key from its bytes.
    pub fn from_bytes(bytes: &[u8; BYTES]) -> Self {
        let mut block = [0; BLOCK];
        block[..BYTES].copy_from_slice(bytes);
        Self(block)
    }

    /// The pseudonym of an identity. Kinds of identity do not mix: a name never gets the pseudonym of an id.
    pub fn pseudonym(&self, identity: &RawIdentity) -> Pseudonym {
        let mut mac = <Hmac<Sha256> as KeyInit>::new(&self.0.into());
        mac.update(b"gsmon player v1\0");
        match identity {
            RawIdentity::PlatformId(id) => {
                mac.update(b"i");
                mac.update(id.as_bytes());
            }
            RawIdentity::Name(name) => {
                mac.update(b"n");
                mac.update(name.as_bytes());
            }
            RawIdentity::Address(address) => {
                mac.update(b"a");
                let address = match address {
                    std::net::IpAddr::V4(address) => address.to_ipv6_mapped(),
                    std::net::IpAddr::V6(address) => *address,
                };
                mac.update(&address.octets());
            }
        }
        Pseudonym::from_mac(&mac.finalize().into_bytes().into())
    }
}

impl fmt::Debug for PseudonymKey {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        out.write_str("PseudonymKey(..)")
    }
}
