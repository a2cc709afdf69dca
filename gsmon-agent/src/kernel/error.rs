//! Why the kernel side is not there, in words that say what to do.

use std::path::PathBuf;

use super::OffsetError;

/// Why the kernel side is not there.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// No usable BTF.
    #[error(transparent)]
    Offsets(#[from] OffsetError),
    /// The object was refused.
    #[error("the kernel refused gsmon's object: {source}")]
    Load {
        /// aya's error.
        source: Box<aya::EbpfError>,
    },
    /// A program was refused or could not be attached.
    #[error("kernel program {name}: {source}")]
    Program {
        /// Which.
        name: &'static str,
        /// aya's error.
        source: Box<aya::programs::ProgramError>,
    },
    /// XDP could not be attached.
    #[error(
        "cannot attach {mode} to {interface}: {source}; set `xdp = \"auto\"` for this interface and the cgroup hooks count"
    )]
    Xdp {
        /// Device.
        interface: String,
        /// What was asked for.
        mode: String,
        /// aya's error.
        source: Box<aya::programs::ProgramError>,
    },
    /// Somebody else's XDP program is there.
    #[error(
        "{interface} already runs an XDP program that is not gsmon's; it is left alone: set `xdp = \"auto\"` for this interface and the cgroup hooks count"
    )]
    ForeignXdp {
        /// Device.
        interface: String,
    },
    /// No such device.
    #[error("[[interface]] {name}: this host has no such network interface")]
    UnknownInterface {
        /// Device.
        name: String,
    },
    /// cgroup v2 root.
    #[error("cannot open the cgroup v2 root {path}: {source}")]
    Cgroup {
        /// Where.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A map operation failed.
    #[error("kernel map {name}: {source}")]
    Map {
        /// Which.
        name: &'static str,
        /// aya's error.
        source: aya::maps::MapError,
    },
    /// A map could not be mapped into memory.
    #[error("cannot map kernel table {name} into memory: {source} (kernel 5.5 or later is needed)")]
    Mmap {
        /// Which.
        name: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// The embedded object lacks a map.
    #[error("the embedded kernel object has no map {name}: it does not belong to this agent")]
    MissingMap {
        /// Which.
        name: &'static str,
    },
    /// The embedded object lacks a program.
    #[error("the embedded kernel object has no program {name}: it does not belong to this agent")]
    MissingProgram {
        /// Which.
        name: &'static str,
    },
    /// More servers than the table holds.
    #[error("more than {limit} servers: raise limits.servers")]
    TooManyServers {
        /// Table size.
        limit: u32,
    },
}
