//! The live model: servers, attribution of kernel and host deltas to them, tick detection, snapshots.

pub mod snapshot;
