//! Functions of the servers that are probed.

use super::{
    Page,
    histogram::{Counted, Histograms},
    word,
};
use crate::world::{
    probe::{ProbeMode, ProbeSnapshot},
    snapshot::Snapshot,
};

/// Bounds of call-time buckets: powers of two from 1 us to 1.1 s.
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
            if let Some(ratio) = probe.cost_core_ratio {
                cost.with_label_values(values).set(ratio);
            }
        }
        let timed = all(snapshot)
            .filter(|(_, probe)| probe.totals.finished > 0)
            .map(|(server, probe)| counted(server, probe));
        self.registry.register(Box::new(Histograms::new(
            "gsmon_server_probe_call_duration_seconds",
            "Wall time of the timed calls of a probed function.",
            labels,
            timed,
        )?))
    }
}

fn counted(server: &str, probe: &ProbeSnapshot) -> Counted {
    let times = &probe.totals.times;
    let buckets = times.cumulative(CALL_BOUNDS_LOG2.0, CALL_BOUNDS_LOG2.1);
    Counted {
        labels: vec![server.to_owned(), probe.name.clone()],
        cumulative: buckets
            .into_iter()
            .map(|(bound_ns, count)| (bound_ns as f64 / 1e9, count))
            .collect(),
        count: times.count(),
        sum_seconds: times.sum_ns() as f64 / 1e9,
    }
}
