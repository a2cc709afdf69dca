//! The host as /proc, sysfs and sock_diag show it: which processes and sockets make up a server, what they use, and
//! what this machine can do. Needs no kernel programs; without privileges it sees less and says so.
//!
//! Not here: counting packets and exact CPU time (the kernel room), meaning (world).

pub mod autodiscovery;
mod bounded;
pub mod container;
pub mod discovery;
pub mod executable;
pub mod host_cpu;
pub mod instance;
mod kept;
pub mod platform;
pub mod process;
pub mod proportional;
pub mod region_database;
pub mod socket_state;
pub mod socket_watch;
pub mod sockets;
pub mod softnet;
pub mod usage;
mod wanted;

pub use self::{
    autodiscovery::{AutoDiscovery, Candidate},
    discovery::{Discovery, Found, OwnedSocket},
    host_cpu::{HostCpu, HostCpuMeter},
    instance::{InstanceError, InstanceLock},
    platform::Platform,
    process::{Process, ProcessTable, Touched},
    region_database::{RegionError, RegionSources},
    socket_watch::{ServerSockets, SocketWatch, UdpReading, WatchedServer},
    sockets::{BoundSocket, NetnsId, SocketError},
    softnet::SoftnetTable,
    usage::{SchedSource, ServerUsage, UsageTracker},
};
