//! The live model: servers, attribution of kernel and host deltas to them, tick detection, snapshots.

pub mod cell;
pub mod companion;
pub mod histogram;
pub mod model;
pub mod net_rx;
pub mod network;
pub mod probe;
pub mod region;
pub mod remote;
pub mod server_sockets;
pub mod session;
pub mod snapshot;
pub mod tick;
