//! Processes beside the servers, measured on their own account.

use super::{Page, float, seconds};
use crate::world::snapshot::{CompanionSnapshot, Snapshot};

/// One companion and the name of its server.
fn all(snapshot: &Snapshot) -> impl Iterator<Item = (&str, &CompanionSnapshot)> {
    snapshot
        .servers
        .iter()
        .flat_map(|server| server.companions.iter().map(|one| (server.name.as_str(), one)))
}

impl Page {
    pub(super) fn companions(&self, snapshot: &Snapshot) -> Result<(), prometheus::Error> {
        let labels = &["server", "companion"];
        let cpu = self.counter(
            "gsmon_companion_cpu_seconds_total",
            "CPU time of the processes of a companion.",
            labels,
        )?;
        let memory = self.gauge(
            "gsmon_companion_resident_memory_bytes",
            "Resident memory of a companion.",
            labels,
        )?;
        let share = self.gauge(
            "gsmon_companion_cpu_share_ratio",
            "CPU of a companion as a share of its own and its server's, in the last interval.",
            labels,
        )?;
        let disk = self.counter(
            "gsmon_companion_disk_bytes_total",
            "Bytes that a companion fetched from or sent to storage.",
            &["server", "companion", "operation"],
        )?;
        for (server, one) in all(snapshot) {
            let values = &[server, one.name.as_str()];
            if let Some(used) = seconds(one.totals.cpu_ns) {
                cpu.with_label_values(values).inc_by(used);
            }
            if let Some(bytes) = float(one.rates.rss_bytes) {
                memory.with_label_values(values).set(bytes);
            }
            if let Some(ratio) = one.cpu_share_ratio {
                share.with_label_values(values).set(ratio);
            }
            for (operation, bytes) in [
                ("read", one.totals.disk_read_bytes),
                ("write", one.totals.disk_write_bytes),
            ] {
                if let Some(bytes) = float(bytes) {
                    disk.with_label_values(&[server, one.name.as_str(), operation])
                        .inc_by(bytes);
                }
            }
        }
        Ok(())
    }
}
