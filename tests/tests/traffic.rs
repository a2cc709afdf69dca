//! Real sockets on loopback and veth pairs: servers that share ports, NAT, XDP, many processes, conservation.

use std::{
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use gsmon_agent::{
    Game, GameServer, GameServerMonitor,
    config::{Config, InterfaceSettings, Protocol, XdpMode},
    demo::{
        DemoProcess, bots::BotsArgs, game_loop::LoopKind, protocol::Header, server::ServerArgs, truth::Wire,
    },
    world::snapshot::{PacketTotals, ServerState},
};
use gsmon_tests::{
    counted, gsmon,
    netns::{Netns, run},
    root_or_skip, server, settled, wait_for,
};

const LIMIT: Duration = Duration::from_secs(15);

fn server_args(address: IpAddr, port: u16) -> ServerArgs {
    ServerArgs {
        kind: LoopKind::Sleeping,
        header: Header::Quake3,
        address,
        port,
        tick_hz: 30.0,
        base_work_us: 100,
        work_per_player_us: 10,
        ticks_per_snapshot: 1,
        max_players: 64,
        lifetime_seconds: 60,
        diary: gsmon_agent::demo::diary::DiaryArgs::default(),
        lag: gsmon_agent::demo::lag::LagArgs::default(),
    }
}

fn bots_args(address: IpAddr, port: u16, count: u32) -> BotsArgs {
    BotsArgs {
        header: Header::Quake3,
        address,
        port,
        count,
        input_hz: 30.0,
        stay_seconds: 0,
        seed: u64::from(port),
        lifetime_seconds: 60,
        homes: gsmon_agent::demo::bots::Homes::Shared,
    }
}

fn monitor(config: Config, servers: Vec<GameServer>) -> GameServerMonitor {
    let mut builder = GameServerMonitor::builder()
        .config(config)
        .interval(Duration::from_millis(250));
    for server in servers {
        builder = builder.add_game_server(server);
    }
    builder.start().unwrap()
}

fn demo_server(name: &str, port: u16) -> GameServer {
    GameServer::new(name, Game::Demo)
        .port(port)
        .protocol(Protocol::Udp)
}

fn up(monitor: &GameServerMonitor, count: usize) {
    wait_for(monitor, LIMIT, |snapshot| {
        snapshot
            .servers
            .iter()
            .filter(|server| server.state == ServerState::Up && !server.endpoints.is_empty())
            .count()
            == count
    })
    .unwrap();
}

/// Pauses both sides and compares what they counted with what the agent counted. `received` is whether the server's
/// side of reception is the truth (true where packets are lost on the way on purpose).
fn compare(
    monitor: &GameServerMonitor,
    name: &str,
    server_process: &mut DemoProcess,
    bots: &mut [&mut DemoProcess],
) {
    for bot in bots.iter_mut() {
        bot.ask_bots("pause").unwrap();
    }
    thread::sleep(Duration::from_millis(300));
    let truth = server_process.ask_server("hold").unwrap();
    let mut sent = Wire::default();
    let mut flows = 0;
    for bot in bots.iter_mut() {
        let truth = bot.ask_bots("truth").unwrap();
        sent.packets += truth.sent.packets;
        sent.bytes += truth.sent.bytes;
        flows += u64::from(truth.sockets);
        assert_eq!(truth.send_failures, 0);
    }
    let snapshot = settled(monitor).unwrap();
    let measured = server(&snapshot, name).unwrap();
    let [rx, tx] = counted(measured);
    assert_eq!(rx, (sent.packets, sent.bytes), "{name}: received");
    assert_eq!(tx, (truth.sent.packets, truth.sent.bytes), "{name}: sent");
    assert_eq!(
        measured.flows,
        Some(flows),
        "{name}: flows, both directions in one"
    );
}

fn play() {
    thread::sleep(Duration::from_secs(2));
}

#[test]
fn two_namespaces_on_one_port_are_kept_apart() {
    if !root_or_skip() {
        return;
    }
    let binary = gsmon().unwrap();
    let local = IpAddr::from([127, 0, 0, 1]);
    let (a, b) = (Netns::new("a").unwrap(), Netns::new("b").unwrap());
    let port = 28_101;
    let mut servers: Vec<DemoProcess> = [&a, &b]
        .iter()
        .map(|netns| DemoProcess::server(&binary, &netns.launcher(), &server_args(local, port)).unwrap())
        .collect();
    let monitor = monitor(
        Config::default(),
        vec![
            demo_server("a", port).netns(a.path()),
            demo_server("b", port).netns(b.path()),
        ],
    );
    up(&monitor, 2);
    let mut bots_a = DemoProcess::bots(&binary, &a.launcher(), &bots_args(local, port, 3)).unwrap();
    let mut bots_b = DemoProcess::bots(&binary, &b.launcher(), &bots_args(local, port, 5)).unwrap();
    play();
    compare(&monitor, "a", &mut servers[0], &mut [&mut bots_a]);
    compare(&monitor, "b", &mut servers[1], &mut [&mut bots_b]);
}

#[test]
fn two_addresses_on_one_port_are_kept_apart() {
    if !root_or_skip() {
        return;
    }
    let binary = gsmon().unwrap();
    let port = 28_102;
    let addresses = [IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2])];
    let mut servers: Vec<DemoProcess> = addresses
        .iter()
        .map(|address| DemoProcess::server(&binary, &[], &server_args(*address, port)).unwrap())
        .collect();
    let monitor = monitor(
        Config::default(),
        vec![
            demo_server("one", port).address(addresses[0]),
            demo_server("two", port).address(addresses[1]),
        ],
    );
    up(&monitor, 2);
    let mut bots: Vec<DemoProcess> = addresses
        .iter()
        .zip([2, 4])
        .map(|(address, count)| DemoProcess::bots(&binary, &[], &bots_args(*address, port, count)).unwrap())
        .collect();
    play();
    let (first, second) = bots.split_at_mut(1);
    compare(&monitor, "one", &mut servers[0], &mut [&mut first[0]]);
    compare(&monitor, "two", &mut servers[1], &mut [&mut second[0]]);
}

#[test]
fn servers_behind_dnat_on_the_same_inner_port_are_kept_apart_and_counted_once() {
    if !root_or_skip() {
        return;
    }
    let binary = gsmon().unwrap();
    // client -> router (DNAT of 29001 and 29002) -> two namespaces, each with a server on the same port.
    let router = Netns::new("router").unwrap();
    let client = Netns::new("client").unwrap();
    let (a, b) = (Netns::new("da").unwrap(), Netns::new("db").unwrap());
    for (netns, device, net) in [
        (&client, "vc", "10.77.1"),
        (&a, "va", "10.77.2"),
        (&b, "vb", "10.77.3"),
    ] {
        run(&format!(
            "ip link add {device} netns {} type veth peer name eth0 netns {}",
            router.name, netns.name
        ))
        .unwrap();
        router
            .exec(&format!("ip addr add {net}.1/24 dev {device}"))
            .unwrap();
        router.exec(&format!("ip link set {device} up")).unwrap();
        netns.exec(&format!("ip addr add {net}.2/24 dev eth0")).unwrap();
        netns.exec("ip link set eth0 up").unwrap();
        netns.exec(&format!("ip route add default via {net}.1")).unwrap();
    }
    router.exec("sysctl -q -w net.ipv4.ip_forward=1").unwrap();
    let rules = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(
        rules.path(),
        "table ip nat { chain pre { type nat hook prerouting priority -100;\n\
         udp dport 29001 dnat to 10.77.2.2:28103\n udp dport 29002 dnat to 10.77.3.2:28103\n }\n}\n",
    )
    .unwrap();
    router
        .exec(&format!("nft -f {}", rules.path().display()))
        .unwrap();
    let any = IpAddr::from([0, 0, 0, 0]);
    let port = 28_103;
    let mut servers: Vec<DemoProcess> = [&a, &b]
        .iter()
        .map(|netns| DemoProcess::server(&binary, &netns.launcher(), &server_args(any, port)).unwrap())
        .collect();
    let monitor = monitor(
        Config::default(),
        vec![
            demo_server("a", port).netns(a.path()),
            demo_server("b", port).netns(b.path()),
        ],
    );
    up(&monitor, 2);
    let public = IpAddr::from([10, 77, 1, 1]);
    let mut bots: Vec<DemoProcess> = [(29_001, 3), (29_002, 4)]
        .iter()
        .map(|(port, count)| {
            DemoProcess::bots(&binary, &client.launcher(), &bots_args(public, *port, *count)).unwrap()
        })
        .collect();
    play();
    let (first, second) = bots.split_at_mut(1);
    compare(&monitor, "a", &mut servers[0], &mut [&mut first[0]]);
    compare(&monitor, "b", &mut servers[1], &mut [&mut second[0]]);
}

#[test]
fn native_xdp_and_tc_on_a_veth_count_ingress_once() {
    if !root_or_skip() {
        return;
    }
    let binary = gsmon().unwrap();
    let client = Netns::new("xdp").unwrap();
    client
        .connect("gsmonv0", "10.78.1.1/24", "eth0", "10.78.1.2/24")
        .unwrap();
    let address = IpAddr::from([10, 78, 1, 1]);
    for (port, mode, hook) in [
        (28_104, XdpMode::Native, "xdp-native/gsmonv0"),
        (28_105, XdpMode::Tc, "tc-ingress/gsmonv0"),
    ] {
        let mut process = DemoProcess::server(&binary, &[], &server_args(address, port)).unwrap();
        let config = Config {
            interfaces: vec![InterfaceSettings {
                name: "gsmonv0".into(),
                xdp: mode,
            }],
            ..Config::default()
        };
        let monitor = monitor(config, vec![demo_server("host", port)]);
        up(&monitor, 1);
        let mut bots = DemoProcess::bots(&binary, &client.launcher(), &bots_args(address, port, 3)).unwrap();
        play();
        compare(&monitor, "host", &mut process, &mut [&mut bots]);
        let snapshot = settled(&monitor).unwrap();
        let host = server(&snapshot, "host").unwrap();
        assert!(
            host.counting.ingress.as_deref().unwrap().contains(hook),
            "{:?}",
            host.counting
        );
        let rx = host.totals.rx.unwrap();
        // Nothing was dropped by a firewall: what came in was delivered, and was not counted a second time.
        assert_eq!(rx.delivered.unwrap(), rx.all());
    }
}

#[test]
fn a_foreign_xdp_program_is_left_alone() {
    if !root_or_skip() {
        return;
    }
    let client = Netns::new("fx").unwrap();
    client
        .connect("gsmonv1", "10.78.2.1/24", "eth0", "10.78.2.2/24")
        .unwrap();
    let config = || Config {
        interfaces: vec![InterfaceSettings {
            name: "gsmonv1".into(),
            xdp: XdpMode::Native,
        }],
        ..Config::default()
    };
    // Another agent's program is as foreign as any.
    let first = GameServerMonitor::builder().config(config()).start().unwrap();
    let before = run("ip -d link show gsmonv1").unwrap();
    assert!(before.contains("prog/xdp"), "{before}");
    let message = GameServerMonitor::builder()
        .config(config())
        .start()
        .err()
        .unwrap()
        .to_string();
    assert!(
        message.contains("gsmonv1") && message.contains("left alone"),
        "{message}"
    );
    assert_eq!(run("ip -d link show gsmonv1").unwrap(), before);
    drop(first);
    assert!(
        !run("ip -d link show gsmonv1").unwrap().contains("prog/xdp"),
        "nothing stays attached"
    );
}

#[test]
fn tcp_connections_are_flows_with_exact_bytes() {
    if !root_or_skip() {
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let monitor = monitor(
        Config::default(),
        vec![
            GameServer::new("tcp", Game::Minecraft)
                .port(address.port())
                .without_query(),
        ],
    );
    up(&monitor, 1);
    // An independent total: the kernel's own firewall counters for this port.
    let table = format!("gsmon_test_{}", std::process::id());
    let rules = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(
        rules.path(),
        format!(
            "table inet {table} {{\n counter in {{ }}\n counter out {{ }}\n\
             chain i {{\n type filter hook input priority 0;\n tcp dport {0} counter name in\n }}\n\
             chain o {{\n type filter hook output priority 0;\n tcp sport {0} counter name out\n }}\n}}\n",
            address.port()
        ),
    )
    .unwrap();
    run(&format!("nft -f {}", rules.path().display())).unwrap();
    let clients: Vec<_> = (0..3)
        .map(|_| {
            thread::spawn(move || {
                use std::io::{Read, Write};
                let mut stream = TcpStream::connect(address).unwrap();
                let mut buffer = [0u8; 4_096];
                for _ in 0..200 {
                    stream.write_all(&[1; 900]).unwrap();
                    stream.read_exact(&mut buffer).unwrap();
                }
            })
        })
        .collect();
    let servers: Vec<_> = (0..3)
        .map(|_| {
            let (mut stream, _) = listener.accept().unwrap();
            thread::spawn(move || {
                use std::io::{Read, Write};
                let mut buffer = [0u8; 900];
                while stream.read_exact(&mut buffer).is_ok() && stream.write_all(&[2; 4_096]).is_ok() {}
            })
        })
        .collect();
    for thread in clients.into_iter().chain(servers) {
        thread.join().unwrap();
    }
    thread::sleep(Duration::from_millis(300));
    let snapshot = settled(&monitor).unwrap();
    let truth = run(&format!("nft list table inet {table}")).unwrap();
    run(&format!("nft delete table inet {table}")).unwrap();
    let truth: Vec<u64> = truth
        .lines()
        .filter_map(|line| {
            line.trim()
                .strip_prefix("packets ")?
                .split(" bytes ")
                .nth(1)?
                .parse()
                .ok()
        })
        .collect();
    let [rx, tx] = counted(server(&snapshot, "tcp").unwrap());
    // On loopback nothing is segmented, so both see the same aggregates; gsmon adds the headers that a wire would
    // carry. Payload is what can be compared exactly: 3 connections of 200 exchanges.
    assert!(rx.1 >= truth[0] && tx.1 >= truth[1], "{rx:?} {tx:?} {truth:?}");
    assert!(rx.1 >= 3 * 200 * 900 && tx.1 >= 3 * 200 * 4_096);
    assert!(
        rx.1 - truth[0] <= rx.0 * 60 && tx.1 - truth[1] <= tx.0 * 60,
        "{rx:?} {tx:?} {truth:?}"
    );
    assert_eq!(server(&snapshot, "tcp").unwrap().flows, Some(3));
}

#[test]
fn everything_is_conserved_under_churn_far_beyond_the_table() {
    if !root_or_skip() {
        return;
    }
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    let mut config = Config::default();
    config.limits.flows = 1_024;
    config.agent.flow_timeouts.flow = Duration::from_secs(1);
    config.agent.flow_timeouts.detail = Duration::from_secs(1);
    let monitor = monitor(config, vec![demo_server("churn", port)]);
    up(&monitor, 1);
    // The server answers every datagram from two threads at once: two CPUs on one key.
    let stop = Arc::new(AtomicBool::new(false));
    socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let answering: Vec<_> = (0..2)
        .map(|_| {
            let (socket, stop) = (socket.try_clone().unwrap(), stop.clone());
            thread::spawn(move || {
                let mut answered = 0u64;
                let mut buffer = [0u8; 64];
                while !stop.load(Ordering::Relaxed) {
                    if let Ok((length, from)) = socket.recv_from(&mut buffer) {
                        answered += u64::from(socket.send_to(&buffer[..length], from).is_ok());
                    }
                }
                answered
            })
        })
        .collect();
    let target = SocketAddr::from(([127, 0, 0, 1], port));
    // Ten times the table, each from its own socket, in two senders; every tenth key is used by both at once.
    let shared = Arc::new(UdpSocket::bind("127.0.0.1:0").unwrap());
    let sending: Vec<_> = (0..2)
        .map(|_| {
            let shared = shared.clone();
            thread::spawn(move || {
                let mut sent = 0u64;
                for n in 0..5_120 {
                    let fresh = UdpSocket::bind("127.0.0.1:0").unwrap();
                    for _ in 0..3 {
                        sent += u64::from(fresh.send_to(&[7; 32], target).is_ok());
                    }
                    if n % 10 == 0 {
                        sent += u64::from(shared.send_to(&[8; 32], target).is_ok());
                    }
                    if n % 64 == 0 {
                        thread::sleep(Duration::from_millis(20));
                    }
                }
                sent
            })
        })
        .collect();
    let sent: u64 = sending.into_iter().map(|thread| thread.join().unwrap()).sum();
    thread::sleep(Duration::from_millis(500));
    stop.store(true, Ordering::Relaxed);
    let answered: u64 = answering.into_iter().map(|thread| thread.join().unwrap()).sum();
    let snapshot = settled(&monitor).unwrap();
    let churn = server(&snapshot, "churn").unwrap();
    let (rx, tx) = (churn.totals.rx.unwrap(), churn.totals.tx.unwrap());
    let whole = |packets: u64| PacketTotals {
        packets,
        bytes: packets * 60,
    };
    assert_eq!(rx.all(), whole(sent), "{rx:?}");
    assert_eq!(tx.all(), whole(answered), "{tx:?}");
    assert!(
        rx.candidate.packets > 0 && rx.overflow.packets > 0 && rx.flow.packets > 0,
        "{rx:?}"
    );
    // Idle flows give their slots back.
    wait_for(&monitor, LIMIT, |snapshot| {
        snapshot
            .agent
            .maps
            .iter()
            .any(|map| map.name == "FLOW_SLOTS" && map.used == Some(0))
    })
    .unwrap();
}

#[test]
fn five_thousand_short_processes_lose_no_cpu() {
    if !root_or_skip() {
        return;
    }
    // A shell that waits for a word, then runs 5,000 processes one after the other, then tells its children's CPU.
    let script = "read go; i=0; while [ $i -lt 5000 ]; do /bin/true; i=$((i+1)); done; cut -d' ' -f16,17 /proc/$$/stat; \
                  times; read end";
    let mut shell = Command::new("/bin/sh")
        .args(["-c", script, "gsmon-test-forks"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let monitor = monitor(
        Config::default(),
        vec![GameServer::new("forks", Game::Custom).command_line("gsmon-test-forks")],
    );
    wait_for(&monitor, LIMIT, |snapshot| {
        snapshot.servers[0].pids.contains(&shell.id())
    })
    .unwrap();
    let schedstat = |pid: u32| -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap();
        text.split(' ').next().unwrap().parse().unwrap()
    };
    let start = settled(&monitor).unwrap();
    let own_before = schedstat(shell.id());
    use std::io::{BufRead, BufReader, Write};
    shell.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
    let mut lines = BufReader::new(shell.stdout.take().unwrap()).lines();
    let ended = Instant::now();
    lines.next().unwrap().unwrap();
    lines.next().unwrap().unwrap();
    let children = lines.next().unwrap().unwrap();
    assert!(ended.elapsed() < Duration::from_secs(120));
    let own_ns = schedstat(shell.id()) - own_before;
    let snapshot = settled(&monitor).unwrap();
    shell.stdin.as_mut().unwrap().write_all(b"end\n").unwrap();
    shell.wait().unwrap();
    // `times` prints minutes and seconds, user then system, of the children: RUSAGE_CHILDREN.
    let seconds = |text: &str| {
        let (minutes, seconds) = text.trim_end_matches('s').split_once('m').unwrap();
        minutes.parse::<f64>().unwrap() * 60.0 + seconds.parse::<f64>().unwrap()
    };
    let expected: f64 = children.split_ascii_whitespace().map(seconds).sum();
    let total =
        |snapshot: &gsmon_agent::world::snapshot::Snapshot| snapshot.servers[0].totals.cpu_ns.unwrap();
    let measured = (total(&snapshot) - total(&start) - own_ns) as f64 / 1e9;
    eprintln!("children: {expected:.3} s by getrusage, {measured:.3} s by gsmon");
    assert!(
        (measured - expected).abs() <= 0.005 * expected,
        "{measured} against {expected}"
    );
}

#[test]
fn a_server_that_restarts_is_picked_up_and_its_totals_go_on() {
    if !root_or_skip() {
        return;
    }
    let binary = gsmon().unwrap();
    let local = IpAddr::from([127, 0, 0, 1]);
    let port = 28_106;
    let monitor = monitor(Config::default(), vec![demo_server("again", port)]);
    let snapshot = settled(&monitor).unwrap();
    assert_eq!(snapshot.servers[0].state, ServerState::Waiting);
    assert_eq!(snapshot.servers[0].tick, None);
    let first = DemoProcess::server(&binary, &[], &server_args(local, port)).unwrap();
    up(&monitor, 1);
    let before = settled(&monitor).unwrap();
    drop(first);
    wait_for(&monitor, LIMIT, |snapshot| {
        snapshot.servers[0].state == ServerState::Gone
    })
    .unwrap();
    let _second = DemoProcess::server(&binary, &[], &server_args(local, port)).unwrap();
    let after = wait_for(&monitor, LIMIT, |snapshot| snapshot.servers[0].starts == 2).unwrap();
    assert!(after.servers[0].totals.cpu_ns >= before.servers[0].totals.cpu_ns);
    monitor.remove_game_server("again").unwrap();
    assert!(monitor.servers().unwrap().is_empty());
    assert!(monitor.remove_game_server("again").is_err());
}
