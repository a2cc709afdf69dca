//! The game loop of each server.

use super::{
    Page, float,
    histogram::{Counted, Histograms},
};
use crate::world::{histogram::TickHistogram, snapshot::Snapshot};

/// Bounds of tick-time buckets: powers of two from 0.13 ms to 2.1 s.
const TICK_BOUNDS_LOG2: (u32, u32) = (17, 31);

impl Page {
    pub(super) fn ticks(&self, snapshot: &Snapshot) -> Result<(), prometheus::Error> {
        let s = snapshot;
        self.server_counter(
            s,
            "gsmon_server_ticks_total",
            "Ticks of the game loop seen.",
            |server| float(server.totals.ticks),
        )?;
        self.server_gauge(
            s,
            "gsmon_server_tick_rate_hertz",
            "Ticks per second; absent when it cannot be told.",
            |server| server.tick.as_ref().map(|tick| tick.rate_hz),
        )?;
        self.server_gauge(
            s,
            "gsmon_server_tick_target_hertz",
            "Ticks per second that the server is meant to do, from the configuration or its game.",
            |server| server.tick_target_hz.map(f64::from),
        )?;
        self.server_gauge(
            s,
            "gsmon_server_tick_confidence_ratio",
            "How narrow and complete the evidence for the tick is, 0 to 1.",
            |server| server.tick.as_ref().map(|tick| tick.confidence),
        )?;
        self.server_gauge(
            s,
            "gsmon_server_network_tick_rate_hertz",
            "Send batches per second on the wire; absent when the server sends without a regular cadence.",
            |server| server.network_tick.map(|tick| tick.rate_hz),
        )?;
        self.server_gauge(
            s,
            "gsmon_server_network_tick_jitter_seconds",
            "Mean distance of the gaps between send batches from the nearest whole number of periods, in the last interval.",
            |server| server.network_tick.map(|tick| tick.jitter_ns / 1e9),
        )?;
        let times = self.gauge(
            "gsmon_server_tick_time_seconds",
            "Busy wall time of one tick in the last interval, by statistic (p50, p95, p99).",
            &["server", "statistic"],
        )?;
        for server in &snapshot.servers {
            let Some(tick) = &server.tick else { continue };
            for (name, value) in [
                ("p50", tick.time_p50_ns),
                ("p95", tick.time_p95_ns),
                ("p99", tick.time_p99_ns),
            ] {
                if let Some(value) = value {
                    times.with_label_values(&[&server.name, name]).set(value / 1e9);
                }
            }
        }
        let histograms = snapshot.servers.iter().filter_map(|server| {
            let times = server.totals.tick_times.as_ref()?;
            Some(counted(&server.name, times))
        });
        self.registry.register(Box::new(Histograms::new(
            "gsmon_server_tick_duration_seconds",
            "Busy wall time of ticks, all since the agent follows the server.",
            &["server"],
            histograms,
        )?))
    }
}

fn counted(server: &str, times: &TickHistogram) -> Counted {
    let buckets = times.cumulative(TICK_BOUNDS_LOG2.0, TICK_BOUNDS_LOG2.1);
    Counted {
        labels: vec![server.to_owned()],
        cumulative: buckets
            .into_iter()
            .map(|(bound_ns, count)| (bound_ns as f64 / 1e9, count))
            .collect(),
        count: times.count(),
        sum_seconds: times.sum_ns() as f64 / 1e9,
    }
}
