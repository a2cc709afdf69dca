//! gsmon itself: its cost, its losses, its kernel programs and tables.

use super::Page;
use crate::world::snapshot::Snapshot;

impl Page {
    pub(super) fn agent(&self, snapshot: &Snapshot) -> Result<(), prometheus::Error> {
        let agent = &snapshot.agent;
        let one = |name: &str, help: &str, value: f64| -> Result<(), prometheus::Error> {
            self.gauge(name, help, &[])?
                .with_label_values::<&str>(&[])
                .set(value);
            Ok(())
        };
        let total = |name: &str, help: &str, value: f64| -> Result<(), prometheus::Error> {
            self.counter(name, help, &[])?
                .with_label_values::<&str>(&[])
                .inc_by(value);
            Ok(())
        };
        self.gauge("gsmon_build_info", "Version of the agent.", &["version"])?
            .with_label_values(&[env!("CARGO_PKG_VERSION")])
            .set(1.0);
        total(
            "gsmon_agent_cpu_seconds_total",
            "CPU time of the agent, its query workers included.",
            agent.cpu_seconds,
        )?;
        one(
            "gsmon_agent_resident_memory_bytes",
            "Resident memory of the agent, its query workers included.",
            agent.rss_bytes as f64,
        )?;
        let workers = &agent.query_workers;
        one(
            "gsmon_agent_query_workers",
            "Processes that ask servers through gamedig and live.",
            workers.live as f64,
        )?;
        total(
            "gsmon_agent_query_workers_started_total",
            "Processes started to ask servers through gamedig.",
            workers.started as f64,
        )?;
        let failed = self.counter(
            "gsmon_agent_query_workers_failed_total",
            "Such processes that died on an answer or hung and were killed.",
            &["reason"],
        )?;
        for (reason, count) in [("died", workers.died), ("hung", workers.hung)] {
            failed.with_label_values(&[reason]).inc_by(count as f64);
        }
        one(
            "gsmon_agent_drain_seconds",
            "Time of the last drain of the kernel tables.",
            agent.drain_seconds,
        )?;
        one(
            "gsmon_agent_interval_seconds",
            "Measured length of the last interval.",
            snapshot.interval_seconds,
        )?;
        total(
            "gsmon_agent_late_intervals_total",
            "Intervals that began late by more than half their length.",
            agent.late_intervals as f64,
        )?;
        total(
            "gsmon_agent_snapshots_total",
            "Snapshots made.",
            snapshot.sequence as f64,
        )?;
        let sources = self.gauge(
            "gsmon_agent_source_info",
            "Hook in force for each source.",
            &["source", "hook"],
        )?;
        for source in &snapshot.sources {
            sources
                .with_label_values(&[&source.source, &source.hook])
                .set(1.0);
        }
        let losses = self.counter(
            "gsmon_agent_losses_total",
            "What could not be counted as asked, and what was refused, by kind.",
            &["kind"],
        )?;
        for loss in &snapshot.losses {
            losses.with_label_values(&[&loss.kind]).inc_by(loss.total as f64);
        }
        let labels = &["program", "hook"];
        let runs = self.counter(
            "gsmon_kernel_program_sampled_runs_total",
            "Runs of each kernel program while run-time statistics were on.",
            labels,
        )?;
        let time = self.counter(
            "gsmon_kernel_program_sampled_run_seconds_total",
            "Run time of each kernel program while run-time statistics were on.",
            labels,
        )?;
        for program in &agent.programs {
            let values: &[&str] = &[&program.name, &program.hook];
            runs.with_label_values(values).inc_by(program.sampled_runs as f64);
            time.with_label_values(values).inc_by(program.sampled_run_seconds);
        }
        self.maps(snapshot)
    }

    fn maps(&self, snapshot: &Snapshot) -> Result<(), prometheus::Error> {
        let capacity = self.gauge(
            "gsmon_kernel_map_capacity",
            "Entries that a kernel table holds.",
            &["map"],
        )?;
        let used = self.gauge(
            "gsmon_kernel_map_used",
            "Entries of a kernel table in use, where known.",
            &["map"],
        )?;
        let bytes = self.gauge("gsmon_kernel_map_bytes", "Kernel memory of a table.", &["map"])?;
        for map in &snapshot.agent.maps {
            capacity.with_label_values(&[&map.name]).set(map.capacity as f64);
            bytes.with_label_values(&[&map.name]).set(map.bytes as f64);
            if let Some(in_use) = map.used {
                used.with_label_values(&[&map.name]).set(in_use as f64);
            }
        }
        Ok(())
    }
}
