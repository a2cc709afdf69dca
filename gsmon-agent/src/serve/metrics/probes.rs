//! Functions of the servers that are probed.

use super::{
    Page,
    histogram::{Counted, Histograms},
    word,
};
use crate::world::{
    histogram::TickHistogram,
    probe::{ProbeMode, ProbeSnapshot, per_tick::TickTimes},
    snapshot::Snapshot,
};

/// Bounds of the buckets of all times: powers of two from 1 us to 1.1 s.
const CALL_BOUNDS_LOG2: (u32, u32) = (10, 30);

/// One probe and the name of its server.
fn all(snapshot: &Snapshot) -> impl Iterator<Item = (&str, &ProbeSnapshot)> {
    snapshot
        .servers
        .iter()
        .flat_map(|server| server.probes.iter().map(|probe| (server.name.as_str(), probe)))
}

impl Page {
    pub(super) fn probes(&self, snapshot: &Snapshot) -> Result<(), prometheus::Error> {
        let labels = &["server", "probe"];
        let calls = self.counter(
            "gsmon_server_probe_calls_total",
            "Calls of a probed function.",
            labels,
        )?;
        let seconds = self.counter(
            "gsmon_server_probe_seconds_total",
            "Wall time of the timed calls of a probed function.",
            labels,
        )?;
        let apart = self.counter(
            "gsmon_server_probe_calls_without_time_total",
            "Calls of a probed function without a time of their own: nested in another, untimed for the cap, full table, lost return.",
            &["server", "probe", "kind"],
        )?;
        let left_out = self.counter(
            "gsmon_server_probe_ticks_left_out_total",
            "Ticks without a time of a probed function: not every call in them was timed, or ticks beside them were missed.",
            labels,
        )?;
        let mode = self.gauge(
            "gsmon_server_probe_mode_info",
            "What is done at the calls of a probed function.",
            &["server", "probe", "mode"],
        )?;
        let cost = self.gauge(
            "gsmon_server_probe_cost_ratio",
            "What probing costs the server, as a share of one core: calls per second times the measured cost of one.",
            labels,
        )?;
        for (server, probe) in all(snapshot) {
            let values = &[server, probe.name.as_str()];
            let totals = &probe.totals;
            mode.with_label_values(&[server, &probe.name, &word(&probe.mode)])
                .set(1.0);
            // Where nothing was ever seen, nothing is known.
            if matches!(probe.mode, ProbeMode::Waiting | ProbeMode::Failed) && totals.calls == 0 {
                continue;
            }
            calls.with_label_values(values).inc_by(totals.calls as f64);
            seconds
                .with_label_values(values)
                .inc_by(totals.times.sum_ns() as f64 / 1e9);
            for (kind, count) in [
                ("nested", totals.nested),
                ("untimed", totals.untimed),
                ("full", totals.full),
                ("lost", totals.lost),
            ] {
                apart
                    .with_label_values(&[server, &probe.name, kind])
                    .inc_by(count as f64);
            }
            left_out
                .with_label_values(values)
                .inc_by(totals.ticks_left_out as f64);
            if let Some(ratio) = probe.cost_core_ratio {
                cost.with_label_values(values).set(ratio);
            }
        }
        self.call_times(snapshot, labels)?;
        self.tick_times(
            snapshot,
            labels,
            "gsmon_server_probe_tick_duration_seconds",
            "Wall time inside a probed function in each tick of the game loop, all threads together.",
            |probe| &probe.totals.per_tick,
        )?;
        self.tick_times(
            snapshot,
            labels,
            "gsmon_server_probe_tick_and_player_duration_seconds",
            "Wall time inside a probed function in each tick of the game loop, divided by the players of its interval.",
            |probe| &probe.totals.per_tick_and_player,
        )
    }

    fn call_times(&self, snapshot: &Snapshot, labels: &[&str]) -> Result<(), prometheus::Error> {
        let timed = all(snapshot)
            .filter(|(_, probe)| probe.totals.finished > 0)
            .map(|(server, probe)| counted(server, probe, &probe.totals.times, 0));
        self.registry.register(Box::new(Histograms::new(
            "gsmon_server_probe_call_duration_seconds",
            "Wall time of the timed calls of a probed function.",
            labels,
            timed,
        )?))
    }

    fn tick_times(
        &self,
        snapshot: &Snapshot,
        labels: &[&str],
        name: &str,
        help: &str,
        of: impl Fn(&ProbeSnapshot) -> &TickTimes,
    ) -> Result<(), prometheus::Error> {
        let known = all(snapshot)
            .filter(|(_, probe)| of(probe).count() > 0)
            .map(|(server, probe)| counted(server, probe, &of(probe).times, of(probe).idle));
        self.registry
            .register(Box::new(Histograms::new(name, help, labels, known)?))
    }
}

/// `zeros` are counted in every bucket.
fn counted(server: &str, probe: &ProbeSnapshot, times: &TickHistogram, zeros: u64) -> Counted {
    let buckets = times.cumulative(CALL_BOUNDS_LOG2.0, CALL_BOUNDS_LOG2.1);
    Counted {
        labels: vec![server.to_owned(), probe.name.clone()],
        cumulative: buckets
            .into_iter()
            .map(|(bound_ns, count)| (bound_ns as f64 / 1e9, count + zeros))
            .collect(),
        count: times.count() + zeros,
        sum_seconds: times.sum_ns() as f64 / 1e9,
    }
}
