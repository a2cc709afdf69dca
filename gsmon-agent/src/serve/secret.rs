//! Files with secrets (tokens, private keys): refused where others can read or change them. No message repeats what is
//! in them.

use std::{
    io::{self, Read},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// Why a file with a secret was refused.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// It cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A directory, a pipe, a device.
    #[error("{path} is no regular file")]
    NoFile {
        /// Which file.
        path: PathBuf,
    },
    /// Others can read or change it.
    #[error("{path} is open to others (mode {mode:04o}): chmod 0600 {path}")]
    Open {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Somebody else's.
    #[error("{path} belongs to user {owner}: it must belong to root or to the user of this process")]
    Owner {
        /// Which file.
        path: PathBuf,
        /// Its owner.
        owner: u32,
    },
    /// More than it could need.
    #[error("{path} is larger than {most} bytes")]
    TooLarge {
        /// Which file.
        path: PathBuf,
        /// The limit.
        most: u64,
    },
}

/// Reads a file that only its owner may change, and nobody but its group may read.
pub fn read(path: &Path, most: u64) -> Result<Vec<u8>, SecretError> {
    let read_error = |source| SecretError::Read {
        path: path.to_owned(),
        source,
    };
    // A pipe in the file's place must not hold up the process.
    let file = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
        .map_err(read_error)?;
    // Of the opened file: its name may mean another one by now.
    let metadata = file.metadata().map_err(read_error)?;
    let path = path.to_owned();
    if !metadata.is_file() {
        return Err(SecretError::NoFile { path });
    }
    // A group may read it, nothing else.
    if metadata.mode() & 0o037 != 0 {
        let mode = metadata.mode() & 0o7777;
        return Err(SecretError::Open { path, mode });
    }
    let owner = metadata.uid();
    if owner != 0 && owner != nix::unistd::geteuid().as_raw() {
        return Err(SecretError::Owner { path, owner });
    }
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes).map_err(read_error)?;
    if bytes.len() as u64 > most {
        return Err(SecretError::TooLarge { path, most });
    }
    Ok(bytes)
}
