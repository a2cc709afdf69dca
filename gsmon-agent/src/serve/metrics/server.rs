//! What each server uses: CPU, memory, disk, packets.

use super::{Page, float, seconds, word};
use crate::world::snapshot::{DirectionTotals, ServerState, Snapshot, TickMethod};

impl Page {
    pub(super) fn servers(&self, snapshot: &Snapshot) -> Result<(), prometheus::Error> {
        let info = self.gauge(
            "gsmon_server_info",
            "Game family of each configured server.",
            &["server", "game"],
        )?;
        let tick_info = self.gauge(
            "gsmon_server_tick_source_info",
            "How the tick of each server is known at the moment.",
            &["server", "method"],
        )?;
        let region = self.gauge(
            "gsmon_server_region_info",
            "Region that each server is in, where the configuration says so.",
            &["server", "region"],
        )?;
        let flows = self.gauge(
            "gsmon_server_region_flows",
            "Remote endpoints with traffic both ways by region, those of which it is known; other beyond 64 regions.",
            &["server", "region"],
        )?;
        for server in &snapshot.servers {
            if let Some(name) = &server.region {
                region.with_label_values(&[&server.name, name]).set(1.0);
            }
            for (name, count) in &server.flows_by_region {
                flows
                    .with_label_values(&[server.name.as_str(), name])
                    .set(*count as f64);
            }
            let game = word(&server.game);
            info.with_label_values(&[&server.name, &game]).set(1.0);
            if let Some(tick) = &server.tick {
                let method = match tick.method {
                    TickMethod::SchedulerBursts => "scheduler_bursts",
                    TickMethod::SendCadence => "send_cadence",
                    TickMethod::BurstsAndCadence => "bursts_and_cadence",
                    TickMethod::Stated => "stated",
                };
                tick_info.with_label_values(&[&server.name, method]).set(1.0);
            }
        }
        let s = snapshot;
        self.server_gauge(
            s,
            "gsmon_server_up",
            "1 while processes of the server are found, else 0.",
            |server| Some(if server.state == ServerState::Up { 1.0 } else { 0.0 }),
        )?;
        self.server_counter(
            s,
            "gsmon_server_starts_total",
            "Times the server was found with new processes.",
            |server| Some(server.starts as f64),
        )?;
        self.server_counter(
            s,
            "gsmon_server_cpu_seconds_total",
            "CPU time of all threads of the server.",
            |server| seconds(server.totals.cpu_ns),
        )?;
        self.server_counter(
            s,
            "gsmon_server_run_queue_wait_seconds_total",
            "Time that runnable threads of the server waited for a CPU.",
            |server| seconds(server.totals.run_queue_wait_ns),
        )?;
        self.server_counters(
            s,
            "gsmon_server_context_switches_total",
            "Context switches of the server's threads.",
            "kind",
            |server| {
                [
                    ("voluntary", float(server.totals.voluntary_switches)),
                    ("involuntary", float(server.totals.involuntary_switches)),
                ]
            },
        )?;
        self.server_counters(
            s,
            "gsmon_server_page_faults_total",
            "Page faults of the server.",
            "kind",
            |server| {
                [
                    ("minor", float(server.totals.minor_faults)),
                    ("major", float(server.totals.major_faults)),
                ]
            },
        )?;
        self.server_counters(
            s,
            "gsmon_server_disk_bytes_total",
            "Bytes that the server fetched from or sent to storage.",
            "operation",
            |server| {
                [
                    ("read", float(server.totals.disk_read_bytes)),
                    ("write", float(server.totals.disk_write_bytes)),
                ]
            },
        )?;
        self.server_gauge(
            s,
            "gsmon_server_threads",
            "Live threads of the server.",
            |server| server.rates.threads.map(f64::from),
        )?;
        self.server_gauge(
            s,
            "gsmon_server_resident_memory_bytes",
            "Resident memory of the server.",
            |server| float(server.rates.rss_bytes),
        )?;
        self.server_gauge(
            s,
            "gsmon_server_flows",
            "Remote endpoints with traffic both ways.",
            |server| float(server.flows),
        )?;
        self.server_gauge(
            s,
            "gsmon_server_max_players",
            "Player limit from the configuration.",
            |server| server.max_players.map(f64::from),
        )?;
        self.memory(s)?;
        self.server_counters(
            s,
            "gsmon_server_io_calls_total",
            "Read and write calls of the server (files, pipes and sockets), those that the page cache answers included.",
            "operation",
            |server| {
                [
                    ("read", float(server.totals.read_calls)),
                    ("write", float(server.totals.write_calls)),
                ]
            },
        )?;
        self.packets(s)
    }

    fn memory(&self, snapshot: &Snapshot) -> Result<(), prometheus::Error> {
        self.server_gauge(
            snapshot,
            "gsmon_server_proportional_memory_bytes",
            "Memory of a server of several processes, shared pages counted once, as last read: once a minute at most.",
            |server| float(server.rates.pss_bytes),
        )?;
        let parts = self.gauge(
            "gsmon_server_resident_memory_part_bytes",
            "Resident memory of the server by kind: anonymous (heap, stacks), file (files and shared memory).",
            &["server", "kind"],
        )?;
        for server in &snapshot.servers {
            for (kind, bytes) in [
                ("anonymous", server.rates.rss_anonymous_bytes),
                ("file", server.rates.rss_file_bytes),
            ] {
                if let Some(bytes) = bytes {
                    parts.with_label_values(&[&server.name, kind]).set(bytes as f64);
                }
            }
        }
        self.server_gauge(
            snapshot,
            "gsmon_server_resident_memory_growth_bytes_per_second",
            "Growth of the server's resident memory over the last minute.",
            |server| server.rates.rss_growth_bytes_per_second,
        )
    }

    fn packets(&self, snapshot: &Snapshot) -> Result<(), prometheus::Error> {
        let labels = &["server", "direction", "kind"];
        let packets = self.counter(
            "gsmon_server_packets_total",
            "UDP datagrams and TCP segments on game ports; kind is flow, candidate (no traffic both ways yet) or overflow (no slot free).",
            labels,
        )?;
        let bytes = self.counter(
            "gsmon_server_network_bytes_total",
            "IP-layer bytes on game ports, kinds as for packets.",
            labels,
        )?;
        let delivered = self.counter(
            "gsmon_server_delivered_packets_total",
            "Packets that passed the firewall, where XDP or tc counts before it.",
            &["server", "direction"],
        )?;
        for server in &snapshot.servers {
            let sides: [(&str, &Option<DirectionTotals>); 2] =
                [("receive", &server.totals.rx), ("transmit", &server.totals.tx)];
            for (direction, totals) in sides {
                let Some(totals) = totals else { continue };
                let kinds = [
                    ("flow", totals.flow),
                    ("candidate", totals.candidate),
                    ("overflow", totals.overflow),
                ];
                for (kind, total) in kinds {
                    let values: &[&str] = &[&server.name, direction, kind];
                    packets.with_label_values(values).inc_by(total.packets as f64);
                    bytes.with_label_values(values).inc_by(total.bytes as f64);
                }
                if let Some(passed) = totals.delivered {
                    delivered
                        .with_label_values(&[&server.name, direction])
                        .inc_by(passed.packets as f64);
                }
            }
        }
        Ok(())
    }
}
