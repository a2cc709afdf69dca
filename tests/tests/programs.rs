//! Every flow program on packets of every shape, through BPF_PROG_TEST_RUN on the running kernel.

use std::{
    net::{IpAddr, UdpSocket},
    os::fd::AsFd,
};

use gsmon_agent::{
    config::Protocol,
    kernel::{
        KernelOptions, LayoutChoice, LayoutChoices, NetnsPlace, ServerDelta, SocketOwner,
        netns_cookie::netns_cookie,
    },
};
use gsmon_common::netcode::layouts::Format;
use gsmon_tests::{
    Bench, PORT, options,
    packet::{Shape, Spec},
    root_or_skip,
};

const XDP_PASS: u32 = 2;

fn loss(bench: &Bench, name: &str) -> u64 {
    bench
        .kernel
        .losses()
        .into_iter()
        .find(|(kind, _)| *kind == name)
        .map(|(_, count)| count)
        .unwrap()
}

fn drain(bench: &mut Bench) -> ServerDelta {
    let mut delta = bench.kernel.drain();
    delta.servers.remove(&bench.server).unwrap_or_default()
}

/// Packets and bytes of all kinds in one direction.
fn received(delta: &ServerDelta) -> (u64, u64) {
    (
        delta.flows.rx.packets + delta.rx.candidate.packets + delta.rx.overflow.packets,
        delta.flows.rx.bytes + delta.rx.candidate.bytes + delta.rx.overflow.bytes,
    )
}

const SHAPES: [Shape; 7] = [
    Shape::V4,
    Shape::V4Options(1),
    Shape::V4Options(10),
    Shape::V6,
    Shape::V6Extensions(1),
    Shape::V6Extensions(3),
    Shape::V6FirstFragment,
];

#[test]
fn every_shape_is_counted_once_by_every_ingress_program() {
    if !root_or_skip() {
        return;
    }
    let mut bench = Bench::new(&options()).unwrap();
    for program in ["flow_cgroup_ingress", "flow_xdp_ingress", "flow_tc_ingress"] {
        for shape in SHAPES {
            for protocol in [Spec::udp(), Spec::tcp()] {
                // The cgroup hook sees no link layer, and tags are taken off before it.
                let vlans = if program == "flow_cgroup_ingress" {
                    0..1
                } else {
                    0..3
                };
                for vlans in vlans {
                    let spec = Spec {
                        shape,
                        vlans,
                        ..protocol
                    };
                    bench.kernel.test_run(program, &spec.build(), 5).unwrap();
                    let delta = drain(&mut bench);
                    assert_eq!(received(&delta), (5, 5 * spec.ip_bytes()), "{program} {spec:?}");
                }
            }
        }
    }
}

#[test]
fn other_ports_protocols_and_hosts_are_left_alone() {
    if !root_or_skip() {
        return;
    }
    let mut bench = Bench::new(&options()).unwrap();
    let other_port = Spec {
        server_port: PORT + 1,
        ..Spec::udp()
    };
    let mut icmp = Spec::udp().build();
    icmp[23] = 1;
    let mut elsewhere = Spec::udp().build();
    elsewhere[33] = 99;
    let mut arp = Spec::udp().build();
    arp[12..14].copy_from_slice(&[0x08, 0x06]);
    let not_local = loss(&bench, "not_local");
    for packet in [other_port.build(), icmp, elsewhere, arp] {
        assert_eq!(
            bench.kernel.test_run("flow_xdp_ingress", &packet, 3).unwrap().0,
            XDP_PASS
        );
    }
    assert_eq!(received(&drain(&mut bench)), (0, 0));
    assert_eq!(loss(&bench, "not_local") - not_local, 3);
}

#[test]
fn a_client_on_two_ports_of_a_server_has_two_flows() {
    if !root_or_skip() {
        return;
    }
    let mut bench = Bench::new(&options()).unwrap();
    let cookie = netns_cookie(UdpSocket::bind("127.0.0.1:0").unwrap().as_fd()).ok();
    let sockets = [PORT, PORT + 1].map(|port| SocketOwner {
        server: Some(bench.server),
        protocol: Protocol::Udp,
        address: IpAddr::from([0, 0, 0, 0]),
        port,
        cookie: 0,
        netns_cookie: cookie,
        cgroup_id: Some(1),
        place: NetnsPlace::AgentsOwn,
    });
    bench.kernel.set_sockets(&sockets).unwrap();
    for (server_port, packets) in [(PORT, 3), (PORT + 1, 5)] {
        let there = Spec {
            server_port,
            ..Spec::udp()
        };
        for (program, packet) in [
            ("flow_cgroup_egress", there.back()),
            ("flow_cgroup_ingress", there),
            ("flow_xdp_ingress", there),
        ] {
            bench.kernel.test_run(program, &packet.build(), packets).unwrap();
        }
    }
    let delta = drain(&mut bench);
    let mut found: Vec<(u16, u64)> = delta
        .flows
        .seen
        .iter()
        .map(|flow| (flow.key.local_port, flow.rx.packets))
        .collect();
    found.sort_unstable();
    assert_eq!(found, [(PORT, 6), (PORT + 1, 10)]);
}

#[test]
fn a_flow_begins_with_traffic_both_ways() {
    if !root_or_skip() {
        return;
    }
    let mut bench = Bench::new(&options()).unwrap();
    let there = Spec::udp();
    bench
        .kernel
        .test_run("flow_cgroup_ingress", &there.build(), 3)
        .unwrap();
    let delta = drain(&mut bench);
    assert_eq!((delta.flows.live, delta.rx.candidate.packets), (0, 3));
    bench
        .kernel
        .test_run("flow_cgroup_egress", &there.back().build(), 2)
        .unwrap();
    bench
        .kernel
        .test_run("flow_cgroup_ingress", &there.build(), 4)
        .unwrap();
    let delta = drain(&mut bench);
    assert_eq!(
        (delta.flows.live, delta.flows.tx.packets, delta.flows.rx.packets),
        (1, 2, 4)
    );
    assert_eq!(delta.flows.top[0].key.remote_port, there.client_port);
    // Another client is another flow; the same one over TCP as well.
    let other = Spec {
        client_port: 40_001,
        ..there
    };
    bench
        .kernel
        .test_run("flow_cgroup_egress", &other.back().build(), 1)
        .unwrap();
    bench
        .kernel
        .test_run("flow_cgroup_ingress", &other.build(), 1)
        .unwrap();
    assert_eq!(drain(&mut bench).flows.live, 2);
}

#[test]
fn a_tcp_handshake_alone_takes_no_slot() {
    if !root_or_skip() {
        return;
    }
    let mut bench = Bench::new(&options()).unwrap();
    let (syn, syn_ack, data) = (0x02, 0x12, 0x18);
    let there = Spec::tcp();
    bench
        .kernel
        .test_run(
            "flow_cgroup_ingress",
            &Spec {
                tcp_flags: syn,
                ..there
            }
            .build(),
            1,
        )
        .unwrap();
    bench
        .kernel
        .test_run(
            "flow_cgroup_egress",
            &Spec {
                tcp_flags: syn_ack,
                ..there.back()
            }
            .build(),
            1,
        )
        .unwrap();
    let delta = drain(&mut bench);
    assert_eq!(
        (
            delta.flows.live,
            delta.rx.candidate.packets,
            delta.tx.candidate.packets
        ),
        (0, 1, 1)
    );
    bench
        .kernel
        .test_run(
            "flow_cgroup_ingress",
            &Spec {
                tcp_flags: data,
                ..there
            }
            .build(),
            1,
        )
        .unwrap();
    assert_eq!(drain(&mut bench).flows.live, 1);
}

#[test]
fn fragments_and_long_extension_chains_are_counted_as_unparsed() {
    if !root_or_skip() {
        return;
    }
    let mut bench = Bench::new(&options()).unwrap();
    let mut fragment = Spec::udp().build();
    fragment[20..22].copy_from_slice(&0x0010u16.to_be_bytes());
    bench.kernel.test_run("flow_xdp_ingress", &fragment, 7).unwrap();
    assert_eq!(loss(&bench, "unparsed_fragment"), 7);
    let chain = Spec {
        shape: Shape::V6Extensions(6),
        ..Spec::udp()
    };
    bench
        .kernel
        .test_run("flow_xdp_ingress", &chain.build(), 2)
        .unwrap();
    assert_eq!(loss(&bench, "unparsed_extension"), 2);
    let mut short = Spec::udp().build();
    short[14] = 0x42;
    bench.kernel.test_run("flow_xdp_ingress", &short, 1).unwrap();
    assert_eq!(loss(&bench, "unparsed_truncated"), 1);
    assert_eq!(received(&drain(&mut bench)), (0, 0));
}

#[test]
fn a_full_table_counts_overflow_and_loses_nothing() {
    if !root_or_skip() {
        return;
    }
    let mut small = options();
    small.limits.flows = 1_024;
    let mut bench = Bench::new(&small).unwrap();
    let mut sent = 0;
    for n in 0..1_200u16 {
        let there = Spec {
            client_port: 10_000 + n,
            ..Spec::udp()
        };
        bench
            .kernel
            .test_run("flow_cgroup_egress", &there.back().build(), 1)
            .unwrap();
        bench
            .kernel
            .test_run("flow_cgroup_ingress", &there.build(), 1)
            .unwrap();
        sent += 1;
    }
    let delta = drain(&mut bench);
    assert_eq!(delta.flows.live, 1_024);
    assert_eq!(received(&delta).0, sent);
    assert_eq!(delta.rx.overflow.packets, sent - 1_024);
    assert_eq!(loss(&bench, "flow_slots_exhausted"), sent - 1_024);
}

#[test]
fn garbage_never_stops_a_packet_and_never_counts_twice() {
    if !root_or_skip() {
        return;
    }
    let mut bench = Bench::new(&options()).unwrap();
    let mut state = 0x1234_5678_9abc_def1u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let (mut counted, mut refused) = (0, 0);
    for round in 0..1_500 {
        let shape = SHAPES[random() as usize % SHAPES.len()];
        let mut packet = Spec {
            shape,
            vlans: random() as u8 % 3,
            ..Spec::udp()
        }
        .build();
        for _ in 0..random() % 4 {
            let at = random() as usize % packet.len();
            packet[at] = random() as u8;
        }
        packet.truncate((14 + random() as usize % packet.len()).min(packet.len()).max(34));
        let program = ["flow_xdp_ingress", "flow_tc_ingress"][round % 2];
        // The test run itself refuses to make an skb of some frames; XDP takes them all.
        let verdict = match bench.kernel.test_run(program, &packet, 1) {
            Ok((verdict, _)) => verdict,
            Err(error) if round % 2 == 1 => {
                refused += 1;
                assert!(error.to_string().contains("bpf_prog_test_run"), "{error}");
                continue;
            }
            Err(error) => panic!("{error}: {packet:x?}"),
        };
        assert_eq!(
            verdict,
            if round % 2 == 0 { XDP_PASS } else { u32::MAX },
            "{packet:x?}"
        );
        counted += received(&drain(&mut bench)).0;
    }
    assert!(counted > 0 && counted <= 1_500);
    assert!(refused < 375, "{refused} of 750 were never run");
    assert!(loss(&bench, "unparsed_truncated") > 0);
}

#[test]
fn raw_tracepoints_and_the_cgroup_scope_stand_in_where_better_hooks_are_missing() {
    use gsmon_agent::kernel::{CountFrom, Kernel, KernelOptions, Tracepoints};
    use gsmon_common::server::ScopeKind;
    if !root_or_skip() {
        return;
    }
    let fallback = KernelOptions {
        tracepoints: Tracepoints::Raw,
        scope: Some(ScopeKind::Cgroup),
        ..options()
    };
    let mut kernel = Kernel::load(&fallback).unwrap();
    let sched = kernel
        .sources()
        .iter()
        .find(|source| source.name == "sched")
        .unwrap();
    assert_eq!(sched.hook, "raw_tp/sched_switch");
    assert!(sched.reason.contains("instead of a BTF tracepoint"));
    let server = kernel.add_server().unwrap();
    kernel.follow(std::process::id(), server, CountFrom::Now);
    kernel.drain();
    let schedstat = || -> u64 {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
        text.split(' ').next().unwrap().parse().unwrap()
    };
    // A thread that is forked now inherits its server in the kernel.
    let (cpu_ns, delta) = std::thread::spawn(move || {
        gsmon_agent::demo::game_loop::burn(std::time::Duration::from_millis(80));
        let cpu_ns = schedstat();
        // Asleep, the totals of this thread are stored.
        std::thread::sleep(std::time::Duration::from_millis(50));
        (cpu_ns, kernel.drain())
    })
    .join()
    .unwrap();
    let measured = delta.servers[&server].tasks.cpu_ns;
    assert!(
        measured as f64 >= cpu_ns as f64 * 0.99,
        "{measured} against {cpu_ns}"
    );
}

#[test]
fn the_detail_tier_knows_sizes_and_gaps() {
    use std::time::{Duration, Instant};
    if !root_or_skip() {
        return;
    }
    let mut bench = Bench::new(&options()).unwrap();
    let there = Spec {
        payload: 400,
        ..Spec::udp()
    };
    let back = Spec {
        payload: 1_100,
        ..there.back()
    };
    // Traffic both ways over a few drains earns a detail slot.
    for _ in 0..4 {
        bench
            .kernel
            .test_run("flow_cgroup_ingress", &there.build(), 1)
            .unwrap();
        bench
            .kernel
            .test_run("flow_cgroup_egress", &back.build(), 1)
            .unwrap();
        drain(&mut bench);
    }
    let mut gaps = Vec::new();
    let mut last = None;
    for _ in 0..40 {
        bench
            .kernel
            .test_run("flow_cgroup_ingress", &there.build(), 1)
            .unwrap();
        let now = Instant::now();
        gaps.extend(last.replace(now).map(|last| (now - last).as_nanos() as f64));
        bench
            .kernel
            .test_run("flow_cgroup_egress", &back.build(), 1)
            .unwrap();
        std::thread::sleep(Duration::from_millis(20));
    }
    // Distributions are read once in a few drains.
    let mut detail = None;
    for _ in 0..17 {
        bench
            .kernel
            .test_run("flow_cgroup_ingress", &there.build(), 1)
            .unwrap();
        detail = drain(&mut bench).flows.top[0].detail.or(detail);
    }
    let detail = detail.expect("the flow has a detail slot");
    let near = |measured: Option<f64>, expected: f64| {
        let measured = measured.unwrap();
        assert!(
            (measured / expected - 1.0).abs() <= 0.13,
            "{measured} against {expected}"
        );
    };
    near(detail.rx_size_p50_bytes, there.ip_bytes() as f64);
    near(detail.tx_size_p50_bytes, back.ip_bytes() as f64);
    gaps.sort_unstable_by(f64::total_cmp);
    // Between two neighbours of the median: test runs take their own time.
    let (low, high) = (gaps[gaps.len() / 4], gaps[gaps.len() * 3 / 4]);
    let gap = detail.rx_inter_arrival_p50_ns.unwrap();
    assert!(
        gap >= low * 0.87 && gap <= high * 1.13,
        "{gap} not in {low} to {high}"
    );
}

#[test]
fn a_flood_of_random_sources_takes_no_players_slot_and_is_counted() {
    if !root_or_skip() {
        return;
    }
    const FLOOD: u32 = 1_000_000;
    let mut bench = Bench::new(&KernelOptions {
        // Every packet of the flood comes from another address.
        bench_flow_mask: u32::MAX,
        ..options()
    })
    .unwrap();
    let format = Format::Source;
    bench.kernel.choose_layouts(
        bench.server,
        &LayoutChoices::on(PORT, LayoutChoice::One(format.into())),
    );
    let (game, back) = (Spec::udp().build(), Spec::udp().back().build());
    let play = |bench: &mut Bench| {
        bench.kernel.test_run("flow_cgroup_ingress", &game, 1).unwrap();
        bench.kernel.test_run("flow_cgroup_egress", &back, 1).unwrap();
    };
    for _ in 0..5 {
        play(&mut bench);
        drain(&mut bench);
    }
    let created = loss(&bench, "flow_created");
    for _ in 0..3 {
        bench.kernel.test_run("bench_flow_ingress", &game, FLOOD).unwrap();
        play(&mut bench);
        let delta = drain(&mut bench);
        // The player's flow is the only one, and counts on; so does what its packets say.
        assert_eq!((delta.flows.live, delta.flows.rx.packets), (1, 1));
        assert_eq!(delta.rx.candidate.packets, u64::from(FLOOD));
        let read = &delta.flows.netcode[0];
        assert_eq!(
            read.now.read + read.now.unread - read.before.read - read.before.unread,
            2
        );
    }
    assert_eq!(loss(&bench, "flow_created"), created);
    assert_eq!(loss(&bench, "flow_slots_exhausted"), 0);
}

#[test]
fn every_live_frame_is_counted() {
    if !root_or_skip() {
        return;
    }
    const FRAMES: u32 = 1_000_000;
    let mut bench = Bench::new(&options()).unwrap();
    let (game, back) = (Spec::udp().build(), Spec::udp().back().build());
    for _ in 0..4 {
        bench.kernel.test_run("flow_xdp_ingress", &game, 1).unwrap();
        bench.kernel.test_run("flow_cgroup_egress", &back, 1).unwrap();
        drain(&mut bench);
    }
    bench
        .kernel
        .live_frames("flow_xdp_ingress", &game, FRAMES)
        .unwrap();
    let delta = drain(&mut bench);
    let ip_bytes = Spec::udp().ip_bytes();
    assert_eq!(delta.flows.rx.packets, u64::from(FRAMES));
    assert_eq!(delta.flows.rx.bytes, u64::from(FRAMES) * ip_bytes);
}
