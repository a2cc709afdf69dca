//! What the agent says of itself in each snapshot: hooks in force, what was lost, what it costs.

use super::engine::Engine;
use crate::{
    kernel::{Kernel, KernelDelta},
    world::snapshot::{AgentCost, LossCounter, MapFill, ProgramCost, QueryWorkers, SourceReport},
};

impl Engine {
    pub(super) fn sources(&self) -> Vec<SourceReport> {
        let report = |source: &str, hook: &str, reason: &str| SourceReport {
            source: source.to_owned(),
            hook: hook.to_owned(),
            reason: reason.to_owned(),
        };
        match &self.kernel {
            Some(kernel) => kernel
                .sources()
                .iter()
                .map(|source| report(source.name, &source.hook, &source.reason))
                .collect(),
            None => {
                let why = self.absent_because.as_deref().unwrap_or("not asked for");
                vec![
                    report("sched", "/proc", why),
                    report("flow_ingress", "none", why),
                    report("flow_egress", "none", why),
                ]
            }
        }
    }

    pub(super) fn losses(&self) -> Vec<LossCounter> {
        let counter = |(kind, total): (&str, u64)| LossCounter {
            kind: kind.to_owned(),
            total,
        };
        let mut losses: Vec<LossCounter> = self
            .kernel
            .iter()
            .flat_map(|kernel| kernel.losses())
            .map(counter)
            .collect();
        losses.push(counter((
            "network_namespaces_refused",
            self.discovery.namespaces_refused,
        )));
        losses.push(counter(("socket_readings_failed", self.socket_watch.failures)));
        losses
    }

    pub(super) fn cost(&self, delta: Option<&KernelDelta>) -> AgentCost {
        let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF).ok();
        let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
        let rss_pages = std::fs::read_to_string("/proc/self/statm")
            .ok()
            .and_then(|text| text.split(' ').nth(1)?.parse::<u64>().ok());
        let workers = self.voices.query_workers();
        let fills = self.kernel.as_ref().map(Kernel::table_fills).unwrap_or_default();
        AgentCost {
            cpu_seconds: workers.cpu_seconds
                + usage.map_or(0.0, |usage| {
                    seconds(usage.user_time()) + seconds(usage.system_time())
                }),
            rss_bytes: workers.rss_bytes + rss_pages.unwrap_or(0) * procfs::page_size(),
            query_workers: QueryWorkers {
                live: workers.live,
                started: workers.started,
                died: workers.died,
                hung: workers.hung,
                cpu_seconds: workers.cpu_seconds,
                rss_bytes: workers.rss_bytes,
            },
            history: self.history.on_disk(),
            drain_seconds: delta.map_or(0.0, |delta| delta.drain.as_secs_f64()),
            late_intervals: self.late_intervals,
            programs: self
                .kernel
                .iter()
                .flat_map(Kernel::program_runs)
                .map(|run| ProgramCost {
                    name: run.program.program.to_owned(),
                    hook: run.program.hook,
                    sampled_runs: run.runs,
                    sampled_run_seconds: run.time.as_secs_f64(),
                })
                .collect(),
            maps: self
                .kernel
                .iter()
                .flat_map(Kernel::map_sizes)
                .map(|size| MapFill {
                    name: size.name.clone(),
                    used: fills
                        .iter()
                        .find(|fill| fill.name == size.name)
                        .map(|fill| fill.used),
                    capacity: size.capacity,
                    bytes: size.bytes,
                })
                .collect(),
        }
    }
}
