//! What a worker gives up before it hears the first question: its user, every capability, and most of its resources.
//!
//! It keeps the agent's network namespace, to reach the relay on loopback, and reading what everybody may read. The agent's
//! environment and files do not reach it: it is started with neither.

use nix::{
    sys::{
        prctl,
        resource::{Resource, setrlimit},
    },
    unistd::{Gid, Uid, geteuid, setgroups, setresgid, setresuid},
};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};

/// Nobody, by the number that every Linux distribution agrees on.
const NOBODY: u32 = 65_534;
/// Heap and stacks. The agent itself promises to stay below twice of it.
const DATA_BYTES: u64 = 64 << 20;
/// Everything mapped: the program, and what the allocator reserves without using it.
const MAPPED_BYTES: u64 = 2 << 30;
/// CPU of one worker's life; a worker that is not stuck is replaced long before.
const CPU_SECONDS: u64 = 60;
/// A question needs six files.
const FILES: u64 = 32;

/// Why a worker does not start.
#[derive(Debug, thiserror::Error)]
#[error("cannot give up {what}: {errno}")]
pub(super) struct ConfineError {
    what: &'static str,
    errno: std::io::Error,
}

/// Gives up everything. Fails rather than keeps something.
pub(super) fn confine() -> Result<(), ConfineError> {
    let limits = [
        (Resource::RLIMIT_DATA, DATA_BYTES),
        (Resource::RLIMIT_AS, MAPPED_BYTES),
        (Resource::RLIMIT_CPU, CPU_SECONDS),
        (Resource::RLIMIT_NOFILE, FILES),
        (Resource::RLIMIT_FSIZE, 0),
        (Resource::RLIMIT_CORE, 0),
    ];
    for (resource, limit) in limits {
        setrlimit(resource, limit, limit).map_err(|errno| kept("resources", errno))?;
    }
    if geteuid().is_root() {
        let (user, group) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
        setgroups(&[]).map_err(|errno| kept("groups", errno))?;
        setresgid(group, group, group).map_err(|errno| kept("the group", errno))?;
        setresuid(user, user, user).map_err(|errno| kept("the user", errno))?;
    }
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, none).map_err(|errno| ConfineError {
        what: "capabilities",
        errno: errno.into(),
    })?;
    prctl::set_no_new_privs().map_err(|errno| kept("new privileges", errno))?;
    prctl::set_dumpable(false).map_err(|errno| kept("being read by others", errno))
}

fn kept(what: &'static str, errno: nix::Error) -> ConfineError {
    ConfineError {
        what,
        errno: errno.into(),
    }
}
