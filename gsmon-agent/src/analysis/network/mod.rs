//! What players' networks do to a server: figures by latency bucket and region (`buckets`), and which of round trip,
//! jitter, loss and packet rate goes with CPU and tick time once the number of players is accounted for (`effects`).
//!
//! A correlation is no proof of a cause: words say "goes with".

mod buckets;
mod effects;

use serde::{Deserialize, Serialize};

pub use self::{
    buckets::{BucketRow, Buckets, BucketsError, FrameFigures},
    effects::{Effect, LagCorrelation},
};
use super::stats::Estimate;
use crate::history::Frame;

/// Are figures told by region as well?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Regions {
    /// Each bucket is split by region.
    Included,
    /// Buckets only.
    LeftOut,
}

/// The whole of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NetworkReport {
    /// Time that the frames cover, seconds.
    pub seconds: f64,
    /// Of it: with round trips measured.
    pub round_trips_seconds: f64,
    /// By latency, and by region where asked for.
    pub buckets: Vec<BucketRow>,
    /// Packet processing (softirq and receive time) per packet: how much more per 100 ms of median round trip, ns.
    pub overhead_ns_per_packet_100_ms: Option<Estimate>,
    /// What goes with CPU and tick time.
    pub effects: Vec<Effect>,
}

/// Looks at one server.
pub fn network_resource_correlation(frames: &[Frame], regions: Regions, buckets: &Buckets) -> NetworkReport {
    let with_round_trips = frames.iter().filter(|frame| {
        buckets::round_trip(frame).is_some() || frame.players.iter().any(|point| point.rtt_ms.is_some())
    });
    NetworkReport {
        seconds: frames.iter().fold(0.0, |sum, frame| sum + frame.seconds),
        round_trips_seconds: with_round_trips.fold(0.0, |sum, frame| sum + frame.seconds),
        buckets: buckets::rows(frames, regions, buckets),
        overhead_ns_per_packet_100_ms: buckets::overhead_by_latency(frames),
        effects: effects::effects(frames),
    }
}
