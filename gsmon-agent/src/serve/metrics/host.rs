//! The host as a whole: what receiving packets costs it, and each server's share.

use super::Page;
use crate::world::snapshot::Snapshot;

impl Page {
    pub(super) fn host(&self, snapshot: &Snapshot) -> Result<(), prometheus::Error> {
        let time = self.counter(
            "gsmon_host_net_rx_softirq_seconds_total",
            "Time in NET_RX softirqs (receiving packets) by CPU, since the agent began; from the runs that were timed.",
            &["cpu"],
        )?;
        let runs = self.counter(
            "gsmon_host_net_rx_softirq_runs_total",
            "Runs of the NET_RX softirq by CPU: all, and those that were timed.",
            &["cpu", "kind"],
        )?;
        if let Some(net_rx) = &snapshot.host.net_rx {
            for (number, cpu) in net_rx.cpus.iter().enumerate() {
                let number = number.to_string();
                time.with_label_values(&[&number])
                    .inc_by(cpu.time_ns as f64 / 1e9);
                for (kind, count) in [("all", cpu.runs), ("timed", cpu.timed_runs)] {
                    runs.with_label_values(&[number.as_str(), kind])
                        .inc_by(count as f64);
                }
            }
        }
        let packets = self.counter(
            "gsmon_host_packets_processed_total",
            "Packets that the host's network stack has processed, once per device that hands them up, all namespaces together.",
            &[],
        )?;
        if let Some(count) = snapshot.host.packets_processed {
            packets.with_label_values::<&str>(&[]).inc_by(count as f64);
        }
        self.server_gauge(
            snapshot,
            "gsmon_server_net_rx_share_ratio",
            "Packets from the server's clients among all that the host's network stack processed in the last interval: an estimate of its share of the time in NET_RX softirqs.",
            |server| server.rates.net_rx_share_ratio,
        )
    }
}
