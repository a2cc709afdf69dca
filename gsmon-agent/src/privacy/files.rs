//! Files that are the agent's own: refused where others can reach them, replaced whole, changed by one at a time.

use std::{
    fs::{DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use nix::fcntl::{Flock, FlockArg};

use super::archive::Matches;

/// Why something about players could not be read or written. No message repeats who it is about.
#[derive(Debug, thiserror::Error)]
pub enum PrivacyError {
    /// It cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It cannot be written.
    #[error("cannot write {path}: {source}")]
    Write {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A directory, a pipe, a device.
    #[error("{path} is no regular file: move it away")]
    NoFile {
        /// Which file.
        path: PathBuf,
    },
    /// Others can reach it.
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
    /// Not what gsmon writes.
    #[error(
        "{path} is not what gsmon wrote ({bytes} bytes instead of 32): restore it from a backup, or remove it and begin with new pseudonyms"
    )]
    BadKey {
        /// Which file.
        path: PathBuf,
        /// How many bytes it has.
        bytes: usize,
    },
    /// No key where agents of a fleet should have theirs.
    #[error(
        "there is no shared key at {path}: make one (umask 077; head -c 32 /dev/urandom > {path}) and copy it to every agent of the fleet"
    )]
    NoSharedKey {
        /// Which file.
        path: PathBuf,
    },
    /// Not a shared key.
    #[error(
        "{path} has {bytes} bytes, the key that the agents of a fleet share has 32: make it with head -c 32 /dev/urandom and copy it to every agent"
    )]
    BadSharedKey {
        /// Which file.
        path: PathBuf,
        /// How many bytes it has.
        bytes: usize,
    },
    /// Not what gsmon writes.
    #[error(
        "{path}, line {line}: not what gsmon wrote ({message}): restore the file from a backup, or remove it"
    )]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// One-based.
        line: usize,
        /// What the parser says of its place; never its content.
        message: String,
    },
    /// Larger than gsmon lets it grow.
    #[error("{path} is larger than {most} bytes, which gsmon never writes: remove it")]
    TooLarge {
        /// Which file.
        path: PathBuf,
        /// The limit.
        most: u64,
    },
    /// Somebody holds the lock.
    #[error("another process has been changing {path} for {seconds} s: try again")]
    Locked {
        /// The lock.
        path: PathBuf,
        /// How long this one waited.
        seconds: u64,
    },
    /// No randomness.
    #[error("no random bytes from the kernel: {0}")]
    Random(String),
    /// More than one identity is meant.
    #[error(
        "{count} identities match; name one by its pseudonym, or forget all of them (--all): {pseudonyms}"
    )]
    Ambiguous {
        /// How many.
        count: usize,
        /// The first of them.
        pseudonyms: String,
    },
    /// The list of the forgotten is full.
    #[error("{path} has {most} entries, no more fit")]
    ForgottenFull {
        /// Which file.
        path: PathBuf,
        /// The limit.
        most: usize,
    },
}

impl PrivacyError {
    /// More than one matches where [`Matches::One`] is wanted.
    pub(super) fn ambiguous<'a>(pseudonyms: impl ExactSizeIterator<Item = &'a super::Pseudonym>) -> Self {
        let count = pseudonyms.len();
        let first: Vec<String> = pseudonyms.take(Matches::SHOWN).map(ToString::to_string).collect();
        Self::Ambiguous {
            count,
            pseudonyms: first.join(", "),
        }
    }
}

/// Makes a directory that only its owner may enter, where there is none.
pub(super) fn make_directory(path: &Path) -> Result<(), PrivacyError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| PrivacyError::Write {
            path: path.to_owned(),
            source,
        })
}

/// Reads a file that others must not reach; `None` where there is none.
pub(super) fn read(path: &Path, most: u64) -> Result<Option<Vec<u8>>, PrivacyError> {
    let wrong = |source| PrivacyError::Read {
        path: path.to_owned(),
        source,
    };
    // A link or a pipe in the file's place is somebody else's doing.
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path);
    let file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(wrong(error)),
    };
    let metadata = file.metadata().map_err(wrong)?;
    let path = path.to_owned();
    if !metadata.is_file() {
        return Err(PrivacyError::NoFile { path });
    }
    if metadata.mode() & 0o077 != 0 {
        let mode = metadata.mode() & 0o7777;
        return Err(PrivacyError::Open { path, mode });
    }
    let owner = metadata.uid();
    if owner != 0 && owner != nix::unistd::geteuid().as_raw() {
        return Err(PrivacyError::Owner { path, owner });
    }
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes).map_err(wrong)?;
    if bytes.len() as u64 > most {
        return Err(PrivacyError::TooLarge { path, most });
    }
    Ok(Some(bytes))
}

/// Replaces a file whole: whoever reads sees the old one or the new one, also after a power cut. Under the lock.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<(), PrivacyError> {
    let write = || -> io::Result<()> {
        let new = unfinished(path);
        remove_file(&new)?;
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&new, path)?;
        sync_directory_of(path)
    };
    write().map_err(|source| PrivacyError::Write {
        path: path.to_owned(),
        source,
    })
}

/// What a replacement is called until it is whole. A crash leaves it behind.
fn unfinished(path: &Path) -> PathBuf {
    path.with_extension("new")
}

/// Is there a file, or what a crash has left of one?
pub(super) fn exists(path: &Path) -> bool {
    [path, &unfinished(path)]
        .iter()
        .any(|path| std::fs::symlink_metadata(path).is_ok())
}

/// Removes a file and what a crash has left of it, if there is any. Under the lock.
pub(super) fn remove(path: &Path) -> Result<(), PrivacyError> {
    remove_file(&unfinished(path))
        .and_then(|()| remove_file(path))
        .and_then(|()| sync_directory_of(path))
        .map_err(|source| PrivacyError::Write {
            path: path.to_owned(),
            source,
        })
}

fn remove_file(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn sync_directory_of(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

/// The right to change files of a state directory: agent and command line take turns.
pub(super) struct StateLock {
    _lock: Flock<File>,
}

impl StateLock {
    /// A change takes milliseconds.
    const PATIENCE: Duration = Duration::from_secs(5);

    /// Waits for it.
    pub fn take(directory: &Path) -> Result<Self, PrivacyError> {
        let path = directory.join("privacy.lock");
        let wrong = |source| PrivacyError::Write {
            path: path.clone(),
            source,
        };
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&path)
            .map_err(wrong)?;
        let started = Instant::now();
        loop {
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(lock) => return Ok(Self { _lock: lock }),
                Err((_, error)) if error != nix::errno::Errno::EWOULDBLOCK => {
                    return Err(wrong(error.into()));
                }
                Err(_) if started.elapsed() > Self::PATIENCE => {
                    return Err(PrivacyError::Locked {
                        path,
                        seconds: Self::PATIENCE.as_secs(),
                    });
                }
                Err((same, _)) => file = same,
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Reads a file of lines of JSON.
pub(super) fn read_lines<T: serde::de::DeserializeOwned>(
    path: &Path,
    most: u64,
) -> Result<Vec<T>, PrivacyError> {
    let bytes = read(path, most)?.unwrap_or_default();
    bytes
        .split(|byte| *byte == b'\n')
        .enumerate()
        .filter(|(_, line)| !line.is_empty())
        .map(|(index, line)| {
            serde_json::from_slice(line).map_err(|error| PrivacyError::Damaged {
                path: path.to_owned(),
                line: index + 1,
                // The parser's own words may repeat content.
                message: format!("column {}", error.column()),
            })
        })
        .collect()
}

/// Writes a file of lines of JSON: as many as fit into `most`. Says how many were left out.
pub(super) fn replace_lines<'a, T: serde::Serialize + 'a>(
    path: &Path,
    lines: impl ExactSizeIterator<Item = &'a T>,
    most: u64,
) -> Result<usize, PrivacyError> {
    let mut bytes = Vec::new();
    let all = lines.len();
    let mut written = 0;
    for line in lines {
        let before = bytes.len();
        serde_json::to_writer(&mut bytes, line).map_err(|error| PrivacyError::Write {
            path: path.to_owned(),
            source: error.into(),
        })?;
        bytes.push(b'\n');
        if bytes.len() as u64 > most {
            bytes.truncate(before);
            break;
        }
        written += 1;
    }
    replace(path, &bytes)?;
    Ok(all - written)
}
