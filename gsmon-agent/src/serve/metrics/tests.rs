//! Pages of text, and promtool's opinion of them.

use super::*;
use crate::{
    config::{Game, SessionSeries},
    games::{event::Phase, log::LogStatistics, query::OwnReason},
    world::{
        histogram::TickHistogram,
        net_rx::{NetRxCpuSnapshot, NetRxSnapshot},
        network::{NetworkSnapshot, totals::Quantiles},
        probe::{ProbeMode, ProbeRates, ProbeSnapshot, ProbeTotals, per_tick::TickTimes},
        server_sockets::{NamespaceErrors, SocketsSnapshot, TcpSummary, UdpSocketSnapshot},
        session::{
            ask::tests::{a_session, a_snapshot},
            picture::SessionSnapshot,
        },
        snapshot::{
            CountingPoints, DirectionTotals, DiscoveredSnapshot, LossCounter, NetworkTickSnapshot,
            PacketTotals, QuerySnapshot, ReadBy, ServerRates, ServerState, ServerTotals, TickMethod,
            TickSnapshot,
        },
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
            network: None,
            name: "odd \"name\"\\".into(),
            game: Game::Quake3,
            state: ServerState::Up,
            pids: vec![4242],
            starts: 1,
            endpoints: Vec::new(),
            max_players: full.then_some(16),
            tick_target_hz: None,
            counting: CountingPoints::default(),
            totals: if full { totals } else { ServerTotals::default() },
            rates: ServerRates {
                rss_bytes: full.then_some(1 << 20),
                ..ServerRates::default()
            },
            tick: full.then_some(tick),
            network_tick: full.then_some(NetworkTickSnapshot {
                rate_hz: 20.0,
                jitter_ns: 250_000.0,
                regular_ratio: 0.98,
            }),
            flows: full.then_some(2),
            top_flows: Vec::new(),
            sockets: full.then(sockets),
            region: full.then(|| "eu".into()),
            flows_by_region: if full {
                [("eu".into(), 2)].into()
            } else {
                Default::default()
            },
            game_state: crate::world::session::GameSnapshot::default(),
            companions: Vec::new(),
            probes: if full { vec![probe()] } else { Vec::new() },
            discovered: full.then(|| DiscoveredSnapshot {
                title: "OpenArena".into(),
                confidence: 0.92,
                reasons: Vec::new(),
                container: None,
                managed_by: None,
            }),
            log: full.then(|| LogStatistics {
                lines: 5_000,
                lag_bytes: Some(17),
                ..LogStatistics::default()
            }),
            query: full.then(|| QuerySnapshot {
                answered: 9,
                failed: [("timeout".to_owned(), 2)].into(),
                read_by: Some(ReadBy::Gsmon),
                read_by_reason: Some(OwnReason::Players),
                ..QuerySnapshot::default()
            }),
        }],
        losses: vec![LossCounter {
            kind: "flow_slots_exhausted".into(),
            total: 0,
        }],
        ..Snapshot::default()
    }
}

/// A function of which all is known.
fn probe() -> ProbeSnapshot {
    let mut times = TickHistogram::default();
    times.add(&[100_000; 40]);
    let mut per_tick = TickTimes::default();
    per_tick.add(&[400_000; 10], 5);
    ProbeSnapshot {
        name: "lag".into(),
        function: "Game::Rewind".into(),
        object: None,
        mode: ProbeMode::Sampling,
        reason: Some("more calls than \u{1b}[2J may be timed".into()),
        totals: ProbeTotals {
            calls: 52,
            finished: 40,
            untimed: 9,
            lost: 3,
            times,
            per_tick,
            ticks_left_out: 2,
            ..ProbeTotals::default()
        },
        rates: ProbeRates {
            calls_per_second: Some(52.0),
            calls_per_tick: Some(2.6),
            time_per_tick_ns: Some(4_500_000.0),
            tick_time_p50_ns: Some(4_400_000.0),
            tick_time_p99_ns: Some(5_100_000.0),
            estimated: true,
            ..ProbeRates::default()
        },
        cost_per_call_ns: Some(2_000.0),
        cost_core_ratio: Some(0.000_104),
    }
}

/// Sockets with drops, and one TCP connection.
fn sockets() -> SocketsSnapshot {
    SocketsSnapshot {
        age_seconds: 0.0,
        udp: vec![UdpSocketSnapshot {
            local: "127.0.0.1:27960".parse().unwrap(),
            receive_queue_bytes: 50,
            receive_buffer_bytes: 200,
            send_queue_bytes: 0,
            send_buffer_bytes: 100,
            drops: 7,
        }],
        udp_receive_drops: Some(9),
        udp_receive_drops_by_port: [(27_960, 7), (0, 2)].into(),
        tcp: Some(TcpSummary {
            connections: 1,
            rtt_p50_ns: Some(20_000_000),
            rtt_p95_ns: Some(30_000_000),
            segments_sent: 100,
            retransmits: 3,
            send_queue_bytes: 12,
            receive_queue_bytes: 0,
            fullest_send_buffer_ratio: Some(0.5),
        }),
        namespace_errors: Some(NamespaceErrors {
            netns: 4_026_531_840,
            udp_send_buffer: 4,
            udp_receive_buffer: 9,
            udp_memory: 0,
            udp_checksum: 0,
            ip_out_discards: 0,
            ip_out_no_routes: 0,
        }),
    }
}

fn encode(snapshot: &Snapshot, settings: &MetricsSettings) -> Result<String, prometheus::Error> {
    super::encode(snapshot, settings, &SceneNames::default())
}

#[test]
fn a_probe_has_calls_time_and_what_it_costs() {
    let text = encode(&sample(true), &MetricsSettings::default()).unwrap();
    for line in [
        r#"gsmon_server_probe_calls_total{probe="lag",server="odd \"name\"\\"} 52"#,
        r#"gsmon_server_probe_seconds_total{probe="lag",server="odd \"name\"\\"} 0.004"#,
        r#"gsmon_server_probe_calls_without_time_total{kind="lost",probe="lag",server="odd \"name\"\\"} 3"#,
        r#"gsmon_server_probe_call_duration_seconds_count{server="odd \"name\"\\",probe="lag"} 40"#,
        // Ticks without a call took no time.
        r#"gsmon_server_probe_tick_duration_seconds_bucket{server="odd \"name\"\\",probe="lag",le="0.000001024"} 5"#,
        r#"gsmon_server_probe_tick_duration_seconds_count{server="odd \"name\"\\",probe="lag"} 15"#,
        r#"gsmon_server_probe_ticks_left_out_total{probe="lag",server="odd \"name\"\\"} 2"#,
        r#"mode="sampling",probe="lag",server="odd \"name\"\\"} 1"#,
        r#"gsmon_server_probe_cost_ratio{probe="lag",server="odd \"name\"\\"} 0.000104"#,
    ] {
        assert!(text.contains(line), "{line} in\n{text}");
    }
}

#[test]
fn softirqs_are_shown_by_cpu() {
    let mut snapshot = sample(true);
    snapshot.host.packets_processed = Some(77);
    snapshot.host.net_rx = Some(NetRxSnapshot {
        estimated: true,
        cpus: vec![
            NetRxCpuSnapshot::default(),
            NetRxCpuSnapshot {
                runs: 160,
                timed_runs: 10,
                time_ns: 1_500_000_000,
            },
        ],
        cores: None,
        ns_per_packet: None,
    });
    snapshot.servers[0].rates.net_rx_share_ratio = Some(0.25);
    let text = encode(&snapshot, &MetricsSettings::default()).unwrap();
    for part in [
        r#"gsmon_host_net_rx_softirq_seconds_total{cpu="1"} 1.5"#,
        r#"gsmon_host_net_rx_softirq_runs_total{cpu="1",kind="timed"} 10"#,
        "gsmon_host_packets_processed_total 77",
        "gsmon_server_net_rx_share_ratio",
        r#"gsmon_server_region_flows{region="eu",server="odd \"name\"\\"} 2"#,
        r#"gsmon_server_region_info{region="eu",server="odd \"name\"\\"} 1"#,
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn sockets_are_shown_by_port_and_the_namespace_by_its_name() {
    let text = encode(&sample(true), &MetricsSettings::default()).unwrap();
    for part in [
        r#"gsmon_server_udp_receive_drops_total{port="27960",server="odd \"name\"\\"} 7"#,
        r#"gsmon_server_udp_receive_drops_total{port="other",server="odd \"name\"\\"} 2"#,
        r#"gsmon_server_socket_queue_bytes{direction="receive",server="odd \"name\"\\"} 50"#,
        r#"gsmon_server_socket_buffer_fill_ratio{direction="transmit",server="odd \"name\"\\"} 0.5"#,
        r#"gsmon_server_namespace_errors_total{kind="udp_send_buffer",server="odd \"name\"\\"} 4"#,
        r#"gsmon_server_tcp_rtt_seconds{server="odd \"name\"\\",statistic="p95"} 0.03"#,
        r#"gsmon_server_tcp_retransmits_total{server="odd \"name\"\\"} 3"#,
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(!text.contains("4026531840"), "no inode in any label");
}

#[test]
fn values_come_in_base_units_with_escaped_labels() {
    let text = encode(&sample(true), &MetricsSettings::default()).unwrap();
    assert!(
        text.contains(r#"gsmon_server_cpu_seconds_total{server="odd \"name\"\\"} 1.5"#),
        "{text}"
    );
    assert!(text.contains(r#"statistic="p50"} 0.002"#) && text.contains("gsmon_server_tick_rate_hertz"));
    assert!(
        text.contains(r#"le="0.002097152"} 20"#) && text.contains(r#"le="0.001048576"} 0"#),
        "{text}"
    );
    assert!(
        text.contains(r#"result="timeout",server="odd \"name\"\\"} 2"#),
        "{text}"
    );
    assert!(text.contains("gsmon_server_log_lag_bytes") && text.contains("discovery_confidence_ratio"));
    assert!(
        text.contains("gsmon_server_network_tick_rate_hertz")
            && text.contains(r#"gsmon_server_network_tick_jitter_seconds{server="odd \"name\"\\"} 0.00025"#),
        "{text}"
    );
    assert!(!text.contains("4242"), "no PID in any label");
}

#[test]
fn absent_is_no_series_and_never_zero() {
    let text = encode(&sample(false), &MetricsSettings::default()).unwrap();
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
    let mut snapshot = sample(true);
    snapshot.servers.extend(a_snapshot().servers);
    snapshot.servers[1].starts = 1;
    let text = encode(&snapshot, &with_sessions(200)).unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.trim().is_empty(), "{said}");
}

fn with_sessions(most_sessions: u32) -> MetricsSettings {
    MetricsSettings {
        sessions: SessionSeries::On,
        most_sessions,
    }
}

fn holds(text: &str, lines: &[&str]) {
    for line in lines {
        assert!(text.lines().any(|one| one == *line), "{line} in\n{text}");
    }
}

#[test]
fn players_sessions_and_phases_have_their_series() {
    let mut snapshot = a_snapshot();
    snapshot.servers[0].starts = 1;
    let text = encode(&snapshot, &MetricsSettings::default()).unwrap();
    holds(
        &text,
        &[
            r#"gsmon_server_players{kind="human",server="arena one"} 2"#,
            r#"gsmon_server_players{kind="bot",server="arena one"} 1"#,
            r#"gsmon_server_players{kind="connecting",server="arena one"} 1"#,
            r#"gsmon_server_player_disagreement{server="arena one"} -1"#,
            r#"gsmon_server_player_events_total{kind="join",server="arena one"} 7"#,
            r#"gsmon_server_sessions{phase="active",server="arena one"} 1"#,
            r#"gsmon_server_sessions{phase="lobby",server="arena one"} 0"#,
            r#"gsmon_server_sessions_total{server="arena one"} 2"#,
            r#"gsmon_server_session_crashes_total{server="arena one"} 0"#,
            r#"gsmon_server_player_actions_total{action="explosion",server="arena one"} 5"#,
            r#"gsmon_server_phase_transition_seconds_bucket{server="arena one",from="lobby",to="active",le="1"} 0"#,
            r#"gsmon_server_phase_transition_seconds_bucket{server="arena one",from="lobby",to="active",le="2.5"} 2"#,
            r#"gsmon_server_phase_transition_seconds_bucket{server="arena one",from="lobby",to="active",le="1800"} 2"#,
            r#"gsmon_server_phase_transition_seconds_bucket{server="arena one",from="lobby",to="active",le="+Inf"} 3"#,
            r#"gsmon_server_warm_up_seconds_sum{server="arena one"} 2004"#,
            r#"gsmon_server_warm_up_seconds_count{server="arena one"} 3"#,
            r#"gsmon_server_resident_memory_part_bytes{kind="anonymous",server="arena one"} 41943040"#,
            r#"gsmon_server_resident_memory_growth_bytes_per_second{server="arena one"} 1024"#,
            r#"gsmon_server_io_calls_total{operation="read",server="arena one"} 90"#,
            r#"gsmon_companion_cpu_seconds_total{companion="anticheat",server="arena one"} 2"#,
            r#"gsmon_companion_cpu_share_ratio{companion="anticheat",server="arena one"} 0.2"#,
            r#"gsmon_companion_disk_bytes_total{companion="anticheat",operation="write",server="arena one"} 20"#,
        ],
    );
    assert!(!text.contains("gsmon_session_"), "off until asked for");
    for private in ["Ann", "Sarge", "192.0.2", "27960", "4343", "\u{1b}"] {
        assert!(!text.contains(private), "{private} in\n{text}");
    }
    for family in ["players{", "sessions{", "sessions_total", "player_events_total"] {
        let line = text
            .lines()
            .find(|line| line.starts_with(&format!("gsmon_server_{family}")) && line.contains("silent"));
        assert_eq!(line, None, "a server that was never there");
    }
}

#[test]
fn series_of_sessions_are_capped_the_oldest_first_and_end_with_the_session() {
    let mut snapshot = a_snapshot();
    let game = &mut snapshot.servers[0].game_state;
    game.sessions = (0..5)
        .map(|n| SessionSnapshot {
            begun_unix_ms: 1_000 - n,
            ..a_session(&format!("s-{n}"), Phase::Active)
        })
        .collect();
    let text = encode(&snapshot, &with_sessions(2)).unwrap();
    holds(
        &text,
        &[
            r#"gsmon_session_cpu_seconds_total{server="arena one",session="s-4"} 3.5"#,
            r#"gsmon_session_network_bytes_total{direction="transmit",server="arena one",session="s-3"} 400000"#,
            r#"gsmon_session_players{server="arena one",session="s-3"} 3"#,
            r#"gsmon_session_cpu_estimated{server="arena one",session="s-3"} 0"#,
            "gsmon_agent_sessions_without_series 3",
        ],
    );
    assert!(
        !text.contains(r#"session="s-2""#) && !text.contains(r#"session="1-1""#),
        "{text}"
    );
    assert!(
        !text.contains(r#"operation="read",server="arena one",session"#),
        "absent stays absent"
    );
    snapshot.servers[0].game_state.sessions.clear();
    let text = encode(&snapshot, &with_sessions(2)).unwrap();
    assert!(!text.contains("session=\""), "{text}");
}

/// Nothing of the table that reads these metrics from a Prometheus-compatible server may be called otherwise here.
#[test]
fn every_metric_and_label_that_is_read_back_is_there() {
    use std::collections::BTreeSet;

    use crate::history::prometheus::table;
    let mut snapshot = sample(true);
    snapshot.servers.extend(a_snapshot().servers);
    for server in &mut snapshot.servers {
        server.starts = 1;
        server.tick_target_hz = Some(20);
        server.totals.run_queue_wait_ns = Some(1);
        server.totals.minor_faults = Some(1);
        server.totals.major_faults = Some(1);
        server.totals.disk_read_bytes = Some(1);
        server.totals.disk_write_bytes = Some(1);
        let counts = &mut server.game_state.player_counts;
        (counts.humans, counts.bots, counts.unknown) = (Some(1), Some(1), Some(1));
    }
    let ms = Some(Quantiles {
        p50_ns: 4e7,
        p95_ns: 9e7,
    });
    let mut network = NetworkSnapshot {
        rtt: ms,
        jitter: ms,
        loss_up_ratio: Some(0.0),
        loss_down_ratio: Some(0.0),
        ..NetworkSnapshot::default()
    };
    network.totals.jitter_ms.count = 1;
    snapshot.servers[0].network = Some(network);
    let text = encode(&snapshot, &MetricsSettings::default()).unwrap();
    let mut seen = BTreeSet::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some((metric, rest)) = line.split_once('{') else {
            continue;
        };
        let labels = rest.rsplit_once('}').unwrap().0;
        seen.insert((metric.to_owned(), labels.to_owned()));
    }
    for family in table::all() {
        let of_metric: Vec<&String> = seen
            .iter()
            .filter(|(metric, _)| metric == family.metric)
            .map(|(_, labels)| labels)
            .collect();
        assert!(!of_metric.is_empty(), "no series {}", family.metric);
        let label = |name: &str| format!("{name}=\"");
        for labels in &of_metric {
            let named = labels.matches("=\"").count();
            assert!(
                labels.contains(&label("server")) && named == 1 + family.labels.len(),
                "{}{{{labels}}} has other labels than the table",
                family.metric
            );
            for name in family.labels {
                assert!(labels.contains(&label(name)), "{}: {name}", family.metric);
            }
        }
        if let Some((name, values)) = family.only {
            for value in values {
                let told = format!("{name}=\"{value}\"");
                assert!(
                    of_metric.iter().any(|labels| labels.contains(&told)),
                    "no series {} with {told}",
                    family.metric
                );
            }
        }
    }
}
