//! Totals over readings of real sockets.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream, UdpSocket},
};

use nix::sys::socket::{setsockopt, sockopt::RcvBuf};

use super::*;

fn owned(netns: &mut NetnsHandle, protocol: Protocol, port: u16) -> Vec<OwnedSocket> {
    netns
        .dump()
        .unwrap()
        .into_iter()
        .filter(|socket| (socket.protocol, socket.port) == (protocol, port))
        .map(|socket| OwnedSocket {
            socket,
            pid: None,
            cgroup_id: None,
            netns_cookie: None,
        })
        .collect()
}

fn own() -> (NetnsId, HashMap<NetnsId, NetnsHandle>) {
    let handle = NetnsHandle::own().unwrap();
    let id = handle.id;
    (id, HashMap::from([(id, handle)]))
}

/// A socket that has no room, and how many of the datagrams sent to it were dropped.
fn overflow(client: &UdpSocket, server: &UdpSocket, datagrams: u32) -> u64 {
    server.set_nonblocking(true).unwrap();
    for _ in 0..datagrams {
        client.send_to(&[1; 300], server.local_addr().unwrap()).unwrap();
    }
    let mut read = 0;
    while server.recv(&mut [0; 400]).is_ok() {
        read += 1;
    }
    u64::from(datagrams - read)
}

#[test]
fn drops_add_up_over_sockets_that_come_and_go() {
    let (id, mut namespaces) = own();
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    setsockopt(&server, RcvBuf, &4_096).unwrap();
    let port = server.local_addr().unwrap().port();
    let before = overflow(&client, &server, 200);
    let sockets = owned(namespaces.get_mut(&id).unwrap(), Protocol::Udp, port);
    let mut watch = SocketWatch::default();
    let start = Instant::now();
    let mut read = |watch: &mut SocketWatch, at: u64, sockets: &[OwnedSocket], history| {
        let server = WatchedServer {
            name: "s",
            sockets,
            history,
        };
        watch.read(start + Duration::from_secs(at), &[server], &mut namespaces);
        let read = watch.of("s").unwrap();
        assert_eq!(
            read.udp_drops_by_port.values().sum::<u64>(),
            read.udp_drops.unwrap_or(0)
        );
        read.udp_drops
    };
    // Found in the middle of its life: what it had dropped is not counted.
    assert_eq!(read(&mut watch, 0, &sockets, History::Unknown), Some(0));
    assert!(before > 0);
    let first = overflow(&client, &server, 300);
    // Not due yet.
    assert_eq!(read(&mut watch, 1, &sockets, History::Unknown), Some(0));
    assert_eq!(read(&mut watch, 5, &sockets, History::Unknown), Some(first));
    // Another socket on the same port; the server was followed from its start.
    drop(server);
    let server = UdpSocket::bind(("127.0.0.1", port)).unwrap();
    setsockopt(&server, RcvBuf, &4_096).unwrap();
    let second = overflow(&client, &server, 100);
    let sockets = owned(&mut NetnsHandle::own().unwrap(), Protocol::Udp, port);
    assert_eq!(
        read(&mut watch, 6, &sockets, History::Counts),
        Some(first + second)
    );
    assert_eq!(read(&mut watch, 6, &[], History::Counts), Some(first + second));
    assert_eq!(watch.failures, 0);
}

#[test]
fn connections_are_found_by_their_remote_endpoint() {
    let (id, mut namespaces) = own();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let clients: Vec<TcpStream> = (0..3).map(|_| TcpStream::connect(address).unwrap()).collect();
    let sockets = owned(namespaces.get_mut(&id).unwrap(), Protocol::Tcp, address.port());
    let server = WatchedServer {
        name: "s",
        sockets: &sockets,
        history: History::Unknown,
    };
    let mut watch = SocketWatch::default();
    watch.read(Instant::now(), &[server], &mut namespaces);
    let read = watch.of("s").unwrap();
    for client in &clients {
        let state = read.tcp[&client.local_addr().unwrap()];
        assert_eq!((state.port, state.retransmits), (address.port(), 0));
    }
    assert_eq!((read.tcp.len(), read.udp_drops), (3, None));
    assert!(read.namespace.is_some_and(|(netns, _)| netns == id));
    // Connections that were there before do not count, new ones do.
    assert_eq!(read.tcp_segments, Some(TcpSegments::default()));
    let mut late = TcpStream::connect(address).unwrap();
    late.write_all(b"hello").unwrap();
    let mut answered = Vec::new();
    for _ in 0..4 {
        let (mut accepted, _) = listener.accept().unwrap();
        accepted.write_all(b"welcome").unwrap();
        answered.push(accepted);
    }
    late.read_exact(&mut [0; 7]).unwrap();
    watch.read(Instant::now() + READ_EVERY, &[server], &mut namespaces);
    let read = watch.of("s").unwrap();
    assert_eq!(read.tcp.len(), 4);
    assert!(read.tcp_segments.unwrap().sent > 0);
}

#[test]
fn a_wrapped_counter_goes_on_and_ports_beyond_the_bound_are_summed_up() {
    let mut followed = Followed::default();
    let socket = |port: u16| BoundSocket {
        protocol: Protocol::Udp,
        address: [127, 0, 0, 1].into(),
        port,
        inode: 0,
        cookie: u64::from(port),
        netns: NetnsId(1),
    };
    let drops = |drops| UdpState {
        drops,
        ..UdpState::default()
    };
    let answered = |states| AskedSockets {
        asked: Vec::new(),
        states,
        missed: Vec::new(),
        failures: 0,
    };
    let one = socket(1);
    followed.add_udp(History::Unknown, &answered(vec![(&one, drops(u32::MAX - 1))]));
    followed.add_udp(History::Unknown, &answered(vec![(&one, drops(3))]));
    assert_eq!(followed.sockets.udp_drops, Some(5));
    let many: Vec<BoundSocket> = (1..100).map(socket).collect();
    let states = many.iter().map(|socket| (socket, drops(10))).collect();
    followed.add_udp(History::Counts, &answered(states));
    assert_eq!(followed.sockets.udp_drops, Some(5 + 7 + 98 * 10));
    assert!(followed.sockets.udp_drops_by_port.len() <= MOST_PORTS + 1);
    assert_eq!(followed.sockets.udp_drops_by_port.values().sum::<u64>(), 992);
}
