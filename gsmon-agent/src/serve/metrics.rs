//! A snapshot as Prometheus text. Conventional names, base units; what is absent has no series. Addresses, player names
//! and PIDs are never labels.

use std::collections::HashMap;

use prometheus::{
    CounterVec, Encoder, GaugeVec, Opts, Registry, TextEncoder,
    core::{Collector, Desc},
    proto::{Bucket, Histogram, LabelPair, Metric, MetricFamily, MetricType},
};

use crate::world::{
    histogram::TickHistogram,
    snapshot::{DirectionTotals, ServerSnapshot, ServerState, Snapshot, TickMethod},
};

/// Media type of the text.
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// Bounds of tick-time buckets: powers of two from 0.13 ms to 2.1 s.
const TICK_BOUNDS_LOG2: (u32, u32) = (17, 31);

/// Tick times as one Prometheus histogram per server. The crate's own histogram counts observations itself; this one
/// passes on what the model has counted.
struct TickTimes {
    desc: Desc,
    family: MetricFamily,
}

impl TickTimes {
    const NAME: &str = "gsmon_server_tick_duration_seconds";
    const HELP: &str = "Busy wall time of ticks, all since the agent follows the server.";

    fn new<'a>(
        servers: impl Iterator<Item = (&'a str, &'a TickHistogram)>,
    ) -> Result<Self, prometheus::Error> {
        let desc = Desc::new(
            Self::NAME.into(),
            Self::HELP.into(),
            vec!["server".into()],
            HashMap::new(),
        )?;
        let mut family = MetricFamily::default();
        family.set_name(Self::NAME.into());
        family.set_help(Self::HELP.into());
        family.set_field_type(MetricType::HISTOGRAM);
        family.set_metric(servers.map(|(name, times)| Self::metric(name, times)).collect());
        Ok(Self { desc, family })
    }

    fn metric(server: &str, times: &TickHistogram) -> Metric {
        let mut label = LabelPair::default();
        label.set_name("server".into());
        label.set_value(server.into());
        let buckets = times
            .cumulative(TICK_BOUNDS_LOG2.0, TICK_BOUNDS_LOG2.1)
            .into_iter()
            .map(|(bound_ns, count)| {
                let mut bucket = Bucket::default();
                bucket.set_upper_bound(bound_ns as f64 / 1e9);
                bucket.set_cumulative_count(count);
                bucket
            })
            .collect();
        let mut histogram = Histogram::default();
        histogram.set_sample_count(times.count());
        histogram.set_sample_sum(times.sum_ns() as f64 / 1e9);
        histogram.set_bucket(buckets);
        let mut metric = Metric::default();
        metric.set_label(vec![label]);
        metric.set_histogram(histogram);
        metric
    }
}

impl Collector for TickTimes {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        if self.family.get_metric().is_empty() {
            return Vec::new();
        }
        vec![self.family.clone()]
    }
}

/// Encodes a snapshot.
pub fn encode(snapshot: &Snapshot) -> Result<String, prometheus::Error> {
    let page = Page {
        registry: Registry::new(),
    };
    page.servers(snapshot)?;
    page.agent(snapshot)?;
    let mut text = Vec::new();
    TextEncoder::new().encode(&page.registry.gather(), &mut text)?;
    String::from_utf8(text).map_err(|error| prometheus::Error::Msg(error.to_string()))
}

struct Page {
    registry: Registry,
}

impl Page {
    fn counter(&self, name: &str, help: &str, labels: &[&str]) -> Result<CounterVec, prometheus::Error> {
        let family = CounterVec::new(Opts::new(name, help), labels)?;
        self.registry.register(Box::new(family.clone()))?;
        Ok(family)
    }

    fn gauge(&self, name: &str, help: &str, labels: &[&str]) -> Result<GaugeVec, prometheus::Error> {
        let family = GaugeVec::new(Opts::new(name, help), labels)?;
        self.registry.register(Box::new(family.clone()))?;
        Ok(family)
    }

    /// One gauge per server that has the value.
    fn server_gauge(
        &self,
        snapshot: &Snapshot,
        name: &str,
        help: &str,
        value: impl Fn(&ServerSnapshot) -> Option<f64>,
    ) -> Result<(), prometheus::Error> {
        let family = self.gauge(name, help, &["server"])?;
        for server in &snapshot.servers {
            if let Some(value) = value(server) {
                family.with_label_values(&[&server.name]).set(value);
            }
        }
        Ok(())
    }

    /// One counter per server and value of a second label; those without a value are left out.
    fn server_counters<const N: usize>(
        &self,
        snapshot: &Snapshot,
        name: &str,
        help: &str,
        label: &str,
        values: impl Fn(&ServerSnapshot) -> [(&'static str, Option<f64>); N],
    ) -> Result<(), prometheus::Error> {
        let family = self.counter(name, help, &["server", label])?;
        for server in &snapshot.servers {
            for (kind, value) in values(server) {
                if let Some(value) = value {
                    family.with_label_values(&[&server.name, kind]).inc_by(value);
                }
            }
        }
        Ok(())
    }

    fn server_counter(
        &self,
        snapshot: &Snapshot,
        name: &str,
        help: &str,
        value: impl Fn(&ServerSnapshot) -> Option<f64>,
    ) -> Result<(), prometheus::Error> {
        let family = self.counter(name, help, &["server"])?;
        for server in &snapshot.servers {
            if let Some(value) = value(server) {
                family.with_label_values(&[&server.name]).inc_by(value);
            }
        }
        Ok(())
    }

    fn servers(&self, snapshot: &Snapshot) -> Result<(), prometheus::Error> {
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
        for server in &snapshot.servers {
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
        self.packets(s)?;
        self.ticks(s)
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

    fn ticks(&self, snapshot: &Snapshot) -> Result<(), prometheus::Error> {
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
            "gsmon_server_tick_confidence_ratio",
            "How narrow and complete the evidence for the tick is, 0 to 1.",
            |server| server.tick.as_ref().map(|tick| tick.confidence),
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
            Some((server.name.as_str(), times))
        });
        self.registry.register(Box::new(TickTimes::new(histograms)?))
    }

    fn agent(&self, snapshot: &Snapshot) -> Result<(), prometheus::Error> {
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
            "CPU time of the agent.",
            agent.cpu_seconds,
        )?;
        one(
            "gsmon_agent_resident_memory_bytes",
            "Resident memory of the agent.",
            agent.rss_bytes as f64,
        )?;
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

fn float(value: Option<u64>) -> Option<f64> {
    value.map(|value| value as f64)
}

fn seconds(nanoseconds: Option<u64>) -> Option<f64> {
    nanoseconds.map(|value| value as f64 / 1e9)
}

/// The name that serde gives a plain enum value.
fn word(value: &impl serde::Serialize) -> String {
    serde_json::to_value(value)
        .ok()
        .and_then(|value| value.as_str().map(str::to_owned))
        .unwrap_or_default()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::{
        config::Game,
        world::snapshot::{
            CountingPoints, LossCounter, PacketTotals, ServerRates, ServerTotals, TickSnapshot,
        },
    };

    /// A snapshot with one server; `full` fills what can be absent.
    pub fn sample(full: bool) -> Snapshot {
        let traffic = DirectionTotals {
            flow: PacketTotals {
                packets: 10,
                bytes: 1_000,
            },
            ..DirectionTotals::default()
        };
        let tick = TickSnapshot {
            rate_hz: 20.0,
            time_p50_ns: Some(2e6),
            time_p95_ns: Some(3e6),
            time_p99_ns: Some(4e6),
            method: TickMethod::BurstsAndCadence,
            confidence: 0.9,
            thread: Some(7),
        };
        let mut tick_times = TickHistogram::default();
        tick_times.add(&[2_000_000; 20]);
        let totals = ServerTotals {
            cpu_ns: Some(1_500_000_000),
            rx: Some(traffic),
            tx: Some(traffic),
            ticks: Some(20),
            tick_times: Some(tick_times),
            ..ServerTotals::default()
        };
        Snapshot {
            sequence: 3,
            unix_time_seconds: 1.0,
            interval_seconds: 1.0,
            servers: vec![ServerSnapshot {
                name: "odd \"name\"\\".into(),
                game: Game::Quake3,
                state: ServerState::Up,
                pids: vec![4242],
                starts: 1,
                endpoints: Vec::new(),
                max_players: full.then_some(16),
                counting: CountingPoints::default(),
                totals: if full { totals } else { ServerTotals::default() },
                rates: ServerRates {
                    rss_bytes: full.then_some(1 << 20),
                    ..ServerRates::default()
                },
                tick: full.then_some(tick),
                flows: full.then_some(2),
                top_flows: Vec::new(),
                game_state: crate::world::session::GameSnapshot::default(),
                companions: Vec::new(),
                discovered: None,
                log: None,
                query: None,
            }],
            losses: vec![LossCounter {
                kind: "flow_slots_exhausted".into(),
                total: 0,
            }],
            ..Snapshot::default()
        }
    }

    #[test]
    fn values_come_in_base_units_with_escaped_labels() {
        let text = encode(&sample(true)).unwrap();
        assert!(
            text.contains(r#"gsmon_server_cpu_seconds_total{server="odd \"name\"\\"} 1.5"#),
            "{text}"
        );
        assert!(text.contains(r#"statistic="p50"} 0.002"#) && text.contains("gsmon_server_tick_rate_hertz"));
        assert!(
            text.contains(r#"le="0.002097152"} 20"#) && text.contains(r#"le="0.001048576"} 0"#),
            "{text}"
        );
        assert!(!text.contains("4242"), "no PID in any label");
    }

    #[test]
    fn absent_is_no_series_and_never_zero() {
        let text = encode(&sample(false)).unwrap();
        for family in [
            "cpu_seconds",
            "packets_total",
            "tick_rate",
            "tick_duration",
            "resident_memory_bytes{server",
            "flows{",
            "max_players",
        ] {
            assert!(
                !text.contains(&format!("gsmon_server_{family}")),
                "{family}\n{text}"
            );
        }
        assert!(text.contains("gsmon_server_up"));
    }

    #[test]
    fn promtool_has_no_complaint() {
        use std::{io::Write, process::Stdio};
        let started = std::process::Command::new("promtool")
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = match started {
            Ok(child) => child,
            Err(error) => {
                assert!(
                    std::env::var_os("CI").is_none(),
                    "promtool (Debian package prometheus) is needed: {error}"
                );
                eprintln!("skipped: promtool (Debian package prometheus) is not installed");
                return;
            }
        };
        let text = encode(&sample(true)).unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.trim().is_empty(), "{said}");
    }
}
