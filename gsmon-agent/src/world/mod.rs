//! The live model: servers, attribution of kernel and host deltas to them, tick detection, snapshots.

pub mod cell;
pub mod histogram;
pub mod model;
pub mod snapshot;
pub mod tick;
