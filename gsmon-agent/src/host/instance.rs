//! One agent per host: a lock that ends with the process, whatever kills it.
//!
//! Demo and selftest measure servers of their own for a while and take no lock.

use std::{
    fs::{DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use nix::fcntl::{Flock, FlockArg};

/// Where the lock lies: the agent's runtime directory, the same for every configuration.
pub const LOCK: &str = "/run/gsmon/agent.lock";

/// Why the lock could not be had.
#[derive(Debug, thiserror::Error)]
pub enum InstanceError {
    /// Somebody has it.
    #[error(
        "another gsmon agent is running on this host (it holds {path}): stop it first (systemctl stop gsmon)"
    )]
    Running {
        /// The lock.
        path: PathBuf,
    },
    /// It could not be opened.
    #[error("cannot open the lock {path}: {source}")]
    Open {
        /// The lock.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Held while the agent runs.
#[derive(Debug)]
pub struct InstanceLock {
    _file: Flock<File>,
}

impl InstanceLock {
    /// Takes the lock of this host.
    pub fn take() -> Result<Self, InstanceError> {
        Self::take_at(Path::new(LOCK))
    }

    fn take_at(path: &Path) -> Result<Self, InstanceError> {
        let open = |source| InstanceError::Open {
            path: path.to_owned(),
            source,
        };
        if let Some(parent) = path.parent() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o755)
                .create(parent)
                .map_err(open)?;
        }
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)
            .map_err(open)?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(file) => Ok(Self { _file: file }),
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => Err(InstanceError::Running {
                path: path.to_owned(),
            }),
            Err((_, error)) => Err(open(error.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_had_once_and_free_again_afterwards() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run/agent.lock");
        let held = InstanceLock::take_at(&path).unwrap();
        assert!(matches!(
            InstanceLock::take_at(&path),
            Err(InstanceError::Running { .. })
        ));
        drop(held);
        InstanceLock::take_at(&path).unwrap();
    }
}
