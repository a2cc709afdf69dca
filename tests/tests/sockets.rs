//! What game sockets drop and hold, held against the kernel's own lists and against what the sender saw: sockets that
//! overflow in a network namespace of their own, sends that fail, TCP connections.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    process::{Child, Command},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use gsmon_agent::{
    Game, GameServer, GameServerMonitor,
    config::Protocol,
    host::{NetnsId, socket_watch::READ_EVERY},
    world::snapshot::{FlowSnapshot, ServerSnapshot, Snapshot},
};
use gsmon_tests::{
    far::{FarClient, Relay, SERVER},
    netns::{Netns, run},
    root_or_skip, server, wait_for,
};
use nix::sys::socket::{
    setsockopt,
    sockopt::{RcvBuf, SndBuf},
};

const LIMIT: Duration = Duration::from_secs(20);

/// A process that lives in a namespace, so that the namespace is looked at. Ends when dropped.
struct Resident(Child);

impl Resident {
    fn of(netns: &Netns) -> Self {
        let [ip, words @ ..] = &netns.launcher()[..] else {
            unreachable!("a launcher has words")
        };
        Self(
            Command::new(ip)
                .args(words)
                .args(["sleep", "60"])
                .spawn()
                .unwrap(),
        )
    }
}

impl Drop for Resident {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Its process is this one, which lives outside the namespace of its socket.
fn udp_server(name: &str, port: u16) -> GameServer {
    GameServer::new(name, Game::Custom)
        .port(port)
        .protocol(Protocol::Udp)
}

fn start(servers: Vec<GameServer>) -> GameServerMonitor {
    let mut builder = GameServerMonitor::builder().interval(Duration::from_millis(250));
    for server in servers {
        builder = builder.add_game_server(server);
    }
    builder.start().unwrap()
}

fn holds(snapshot: &Snapshot, name: &str, condition: impl Fn(&ServerSnapshot) -> bool) -> bool {
    server(snapshot, name).is_ok_and(condition)
}

fn udp_was_read(server: &ServerSnapshot) -> bool {
    server
        .sockets
        .as_ref()
        .is_some_and(|sockets| !sockets.udp.is_empty())
}

/// Waits until all servers have been read, and read again after what happened just now.
fn read_again(monitor: &GameServerMonitor) {
    thread::sleep(READ_EVERY);
    let sequence = monitor.snapshot().unwrap().sequence;
    wait_for(monitor, LIMIT, |snapshot| snapshot.sequence > sequence + 4).unwrap();
}

/// Drops of the socket on `port`, as /proc/net/udp of the namespace has them.
fn kernels_own_drops(netns: &Netns, port: u16) -> u64 {
    let text = netns.exec("cat /proc/net/udp").unwrap();
    let line = text
        .lines()
        .find(|line| line.contains(&format!(":{port:04X} 00000000:0000")))
        .unwrap();
    line.split_ascii_whitespace().last().unwrap().parse().unwrap()
}

#[test]
fn a_receive_buffer_that_overflows_in_a_namespace_is_counted_to_the_datagram() {
    if !root_or_skip() {
        return;
    }
    const PORT: u16 = 28_201;
    let (a, b) = (Netns::new("dropa").unwrap(), Netns::new("dropb").unwrap());
    let _residents = [Resident::of(&a), Resident::of(&b)];
    // One server with a socket in each of two namespaces, on one port; only the first overflows.
    let sockets = [(&a, "127.0.0.1"), (&b, "0.0.0.0")].map(|(netns, address)| {
        netns.inside(|| {
            let socket = UdpSocket::bind((address, PORT)).unwrap();
            setsockopt(&socket, RcvBuf, &8_192).unwrap();
            socket.set_nonblocking(true).unwrap();
            socket
        })
    });
    let client = a.inside(|| UdpSocket::bind("127.0.0.1:0").unwrap());
    let overflow = |datagrams: u32| {
        for _ in 0..datagrams {
            client.send_to(&[5; 400], ("127.0.0.1", PORT)).unwrap();
        }
    };
    // What was dropped before anybody looked is nobody's.
    overflow(100);
    let before = kernels_own_drops(&a, PORT);
    assert!(before > 0);
    let monitor = start(vec![udp_server("s", PORT)]);
    wait_for(&monitor, LIMIT, |snapshot| {
        holds(snapshot, "s", |server| {
            server
                .sockets
                .as_ref()
                .is_some_and(|sockets| sockets.udp.len() == 2)
        })
    })
    .unwrap();
    overflow(777);
    let held = kernels_own_drops(&a, PORT) - before;
    read_again(&monitor);
    let snapshot = monitor.snapshot().unwrap();
    let read = server(&snapshot, "s").unwrap().sockets.clone().unwrap();
    assert_eq!(read.udp_receive_drops, Some(held), "{read:?}");
    assert_eq!(read.udp_receive_drops_by_port, [(PORT, held)].into());
    let of = |address: &str| {
        *read
            .udp
            .iter()
            .find(|socket| socket.local.ip().to_string() == address)
            .unwrap()
    };
    let (full, idle) = (of("127.0.0.1"), of("0.0.0.0"));
    assert_eq!((full.drops, idle.drops), (held, 0));
    assert!(full.receive_queue_bytes > 0 && full.receive_buffer_bytes >= 8_192);
    assert_eq!(idle.receive_queue_bytes, 0);
    // The namespace's own counter tells the same, since nobody else is in there.
    let errors = read.namespace_errors.unwrap();
    let in_a = NetnsId::of(a.path().as_ref()).unwrap() == NetnsId(errors.netns);
    assert_eq!(errors.udp_receive_buffer, if in_a { held } else { 0 });
    let mut delivered = 0;
    while sockets[0].recv(&mut [0; 500]).is_ok() {
        delivered += 1;
    }
    assert_eq!(before + held + delivered, 877);
    assert!(
        snapshot
            .losses
            .iter()
            .all(|loss| loss.kind != "socket_readings_failed" || loss.total == 0)
    );
}

#[test]
fn sends_that_fail_behind_a_slow_link_are_counted_and_the_queue_shows() {
    if !root_or_skip() {
        return;
    }
    const PORT: u16 = 28_202;
    let (game, far) = (Netns::new("send").unwrap(), Netns::new("far").unwrap());
    run(&format!(
        "ip link add eth0 netns {} type veth peer name eth0 netns {}",
        game.name, far.name
    ))
    .unwrap();
    for (netns, address) in [(&game, "10.79.1.1/24"), (&far, "10.79.1.2/24")] {
        netns.exec(&format!("ip addr add {address} dev eth0")).unwrap();
        netns.exec("ip link set eth0 up").unwrap();
    }
    game.exec("tc qdisc add dev eth0 root tbf rate 16kbit burst 3000 limit 1000000")
        .unwrap();
    let _resident = Resident::of(&game);
    let socket = game.inside(|| UdpSocket::bind(("10.79.1.1", PORT)).unwrap());
    setsockopt(&socket, SndBuf, &8_192).unwrap();
    socket.set_nonblocking(true).unwrap();
    let monitor = start(vec![udp_server("s", PORT)]);
    wait_for(&monitor, LIMIT, |snapshot| holds(snapshot, "s", udp_was_read)).unwrap();
    // The far side's hardware address must be known, or what is sent waits for it elsewhere.
    let target: SocketAddr = "10.79.1.2:9".parse().unwrap();
    socket.send_to(&[0; 10], target).unwrap();
    thread::sleep(Duration::from_millis(300));
    let mut refused = 0;
    for _ in 0..300 {
        refused += u64::from(socket.send_to(&[1; 500], target).is_err());
    }
    assert!(refused > 0);
    read_again(&monitor);
    let snapshot = monitor.snapshot().unwrap();
    let read = server(&snapshot, "s").unwrap().sockets.clone().unwrap();
    assert_eq!(
        read.namespace_errors.unwrap().udp_send_buffer,
        refused,
        "{read:?}"
    );
    assert!(read.udp[0].send_buffer_bytes >= 8_192);
    assert_eq!(read.udp_receive_drops, Some(0));
}

#[test]
fn every_tcp_client_has_its_own_path_and_the_kernels_retransmits() {
    if !root_or_skip() {
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let monitor = start(vec![
        GameServer::new("tcp", Game::Minecraft)
            .port(address.port())
            .without_query(),
    ]);
    wait_for(&monitor, LIMIT, |snapshot| {
        holds(snapshot, "tcp", |server| server.sockets.is_some())
    })
    .unwrap();
    let mut pairs: Vec<(TcpStream, TcpStream)> = (0..3)
        .map(|_| {
            let client = TcpStream::connect(address).unwrap();
            (client, listener.accept().unwrap().0)
        })
        .collect();
    let exchange = |pairs: &mut Vec<(TcpStream, TcpStream)>| {
        let mut buffer = [0; 400];
        for (client, server) in pairs {
            client.write_all(&[1; 40]).unwrap();
            server.read_exact(&mut buffer[..40]).unwrap();
            server.write_all(&[2; 400]).unwrap();
            client.read_exact(&mut buffer).unwrap();
        }
    };
    let clients: Vec<SocketAddr> = pairs
        .iter()
        .map(|(client, _)| client.local_addr().unwrap())
        .collect();
    let mut snapshot = None;
    // As players do, they go on sending.
    for _ in 0..100 {
        exchange(&mut pairs);
        thread::sleep(Duration::from_millis(100));
        snapshot = monitor.snapshot().filter(|snapshot| {
            holds(snapshot, "tcp", |server| {
                server.top_flows.len() == 3 && server.top_flows.iter().all(|flow| flow.tcp.is_some())
            })
        });
        if snapshot.is_some() {
            break;
        }
    }
    let snapshot = snapshot.expect("every flow has the path of its connection");
    let measured = server(&snapshot, "tcp").unwrap();
    for client in &clients {
        let flow = measured
            .top_flows
            .iter()
            .find(|flow| flow.remote == *client)
            .unwrap();
        let path = flow.tcp.unwrap();
        assert!(
            path.rtt_ns.is_some() && path.min_rtt_ns <= path.rtt_ns,
            "{path:?}"
        );
        assert!(path.segments_sent > 0 && path.retransmits == 0);
        let player = measured
            .game_state
            .players
            .iter()
            .filter_map(|player| player.flow.as_ref())
            .find(|flow| flow.remote == *client);
        if let Some(player) = player {
            assert_eq!(player.tcp, flow.tcp);
        }
    }
    let tcp = measured.sockets.as_ref().unwrap().tcp.unwrap();
    assert_eq!((tcp.connections, tcp.retransmits), (3, 0));
    assert!(tcp.rtt_p50_ns.is_some() && tcp.rtt_p50_ns <= tcp.rtt_p95_ns);
}

#[test]
fn the_distance_of_each_tcp_client_and_what_the_way_loses_are_seen() {
    if !root_or_skip() {
        return;
    }
    const PORT: u16 = 28_204;
    let (game, far) = (Netns::new("near").unwrap(), Netns::new("away").unwrap());
    let clients = [(2, 15, 0), (3, 60, 0), (4, 25, 7)].map(|(last, delay_ms, drop_every)| FarClient {
        address: [10, 80, 0, last].into(),
        delay: Duration::from_millis(delay_ms),
        drop_every,
    });
    let relay = Relay::start(&game, &far, &clients).unwrap();
    let _resident = Resident::of(&game);
    let listener = game.inside(|| TcpListener::bind((SERVER, PORT)).unwrap());
    let monitor = start(vec![
        GameServer::new("tcp", Game::Minecraft).port(PORT).without_query(),
    ]);
    wait_for(&monitor, LIMIT, |snapshot| {
        holds(snapshot, "tcp", |server| !server.endpoints.is_empty())
    })
    .unwrap();
    // Servers answer what comes; clients ask again and again, as players do.
    let answering = thread::spawn(move || {
        let streams: Vec<_> = (0..3).map(|_| listener.accept().unwrap().0).collect();
        for mut stream in streams {
            thread::spawn(move || {
                let mut buffer = [0; 40];
                while stream.read_exact(&mut buffer).is_ok() && stream.write_all(&[2; 400]).is_ok() {}
            });
        }
        listener
    });
    let stop = Arc::new(AtomicBool::new(false));
    let playing: Vec<_> = clients
        .iter()
        .map(|client| {
            let address = client.address;
            let mut stream = far.inside(|| {
                let socket = nix::sys::socket::socket(
                    nix::sys::socket::AddressFamily::Inet,
                    nix::sys::socket::SockType::Stream,
                    nix::sys::socket::SockFlag::SOCK_CLOEXEC,
                    None,
                )
                .unwrap();
                use std::os::fd::AsRawFd;
                let [a, b, c, d] = address.octets();
                let own = nix::sys::socket::SockaddrIn::new(a, b, c, d, 0);
                nix::sys::socket::bind(socket.as_raw_fd(), &own).unwrap();
                let [a, b, c, d] = SERVER.octets();
                let to = nix::sys::socket::SockaddrIn::new(a, b, c, d, PORT);
                nix::sys::socket::connect(socket.as_raw_fd(), &to).unwrap();
                TcpStream::from(socket)
            });
            let remote = stream.local_addr().unwrap();
            let stop = stop.clone();
            let thread = thread::spawn(move || {
                let mut buffer = [0; 400];
                // Bounded, should nobody stop it.
                for _ in 0..2_000 {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    stream.write_all(&[1; 40]).unwrap();
                    stream.read_exact(&mut buffer).unwrap();
                    thread::sleep(Duration::from_millis(20));
                }
                stream
            });
            (client, remote, thread)
        })
        .collect();
    let _listener = answering.join().unwrap();
    let seen = wait_for(&monitor, Duration::from_secs(60), |snapshot| {
        holds(snapshot, "tcp", |server| {
            let long = |flow: &FlowSnapshot| flow.tcp.is_some_and(|path| path.segments_sent >= 60);
            server.top_flows.len() == 3 && server.top_flows.iter().all(long)
        })
    });
    stop.store(true, Ordering::Relaxed);
    let mut remotes = Vec::new();
    let mut still_open = Vec::new();
    for (client, remote, thread) in playing {
        still_open.push(thread.join().unwrap());
        remotes.push((client, remote));
    }
    let snapshot = seen.unwrap();
    let measured = server(&snapshot, "tcp").unwrap();
    for (client, remote) in remotes {
        let flow = measured
            .top_flows
            .iter()
            .find(|flow| flow.remote == remote)
            .unwrap();
        let path = flow.tcp.unwrap();
        let planted_ns = 2.0 * client.delay.as_nanos() as f64;
        let least_ns = path.min_rtt_ns.unwrap() as f64;
        assert!(
            least_ns >= planted_ns && least_ns - planted_ns <= f64::max(2e6, 0.05 * planted_ns),
            "{least_ns} for {planted_ns}"
        );
        assert!(path.rtt_ns.unwrap() as f64 >= planted_ns);
        if client.drop_every > 0 {
            // One in seven of what carried data; the reading may be five seconds older than the relay's count.
            assert!(
                path.retransmits > 0 && path.retransmits * 4 < path.segments_sent,
                "{path:?}"
            );
        }
    }

    // When nothing is under way any more, everything that was dropped has been sent again, and is in the totals.
    read_again(&monitor);
    let snapshot = monitor.snapshot().unwrap();
    let tcp = server(&snapshot, "tcp")
        .unwrap()
        .sockets
        .as_ref()
        .unwrap()
        .tcp
        .unwrap();
    let dropped: u64 = clients.iter().map(|client| relay.dropped(client.address)).sum();
    assert!(dropped > 0 && tcp.retransmits >= dropped, "{tcp:?} for {dropped}");
}
