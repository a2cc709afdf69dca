//! Real sockets, held against what their owner and the kernel's own lists say.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream, UdpSocket},
    os::fd::AsRawFd,
};

use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, bind, setsockopt, socket,
    sockopt::{RcvBuf, ReusePort},
};

use super::*;
use crate::kernel::tcp_info::own_info;

/// Drops of the socket on `port`, as /proc/net/udp has them.
fn kernels_own_drops(port: u16) -> Vec<u32> {
    let mut drops = Vec::new();
    for file in ["/proc/net/udp", "/proc/net/udp6"] {
        let text = std::fs::read_to_string(file).unwrap();
        for line in text.lines().skip(1) {
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            if words[1].ends_with(&format!(":{port:04X}")) {
                drops.push(words[words.len() - 1].parse().unwrap());
            }
        }
    }
    drops
}

fn found(netns: &mut NetnsHandle, port: u16) -> Vec<BoundSocket> {
    let mut found = netns.dump().unwrap();
    found.retain(|socket| socket.protocol == Protocol::Udp && socket.port == port);
    found
}

#[test]
fn drops_of_an_overflowing_socket_are_those_of_the_kernels_own_list() {
    let mut netns = NetnsHandle::own().unwrap();
    for any in ["127.0.0.1:0", "0.0.0.0:0", "[::]:0", "[::1]:0"] {
        let Ok(server) = UdpSocket::bind(any) else {
            continue;
        };
        setsockopt(&server, RcvBuf, &4_096).unwrap();
        let port = server.local_addr().unwrap().port();
        let loopback = if any.starts_with("[::1") {
            "::1"
        } else {
            "127.0.0.1"
        };
        let client = UdpSocket::bind((loopback, 0)).unwrap();
        for _ in 0..500 {
            client.send_to(&[7; 200], (loopback, port)).unwrap();
        }
        let socket = found(&mut netns, port).remove(0);
        let state = netns.udp_state(&socket).unwrap().expect("the socket is there");
        assert_eq!(vec![state.drops], kernels_own_drops(port), "{any}");
        let mut read = 0;
        server.set_nonblocking(true).unwrap();
        while server.recv(&mut [0; 300]).is_ok() {
            read += 1;
        }
        assert_eq!(state.drops + read, 500, "{any}");
        assert!(
            state.receive_queue_bytes > 0 && state.drops > 0,
            "{any}: {state:?}"
        );
        let after = netns.udp_state(&socket).unwrap().unwrap();
        assert_eq!(
            (after.receive_queue_bytes, after.drops),
            (0, state.drops),
            "{any}"
        );
        drop(server);
        assert_eq!(netns.udp_state(&socket).unwrap(), None);
    }
}

#[test]
fn sockets_that_share_a_port_are_told_apart() {
    let shared = |port: u16| -> UdpSocket {
        let fd = socket(
            AddressFamily::Inet,
            SockType::Datagram,
            SockFlag::SOCK_CLOEXEC,
            None,
        )
        .unwrap();
        setsockopt(&fd, ReusePort, &true).unwrap();
        bind(fd.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, port)).unwrap();
        fd.into()
    };
    let first = shared(0);
    let port = first.local_addr().unwrap().port();
    let _others: Vec<UdpSocket> = (0..3).map(|_| shared(port)).collect();
    let mut netns = NetnsHandle::own().unwrap();
    let sockets = found(&mut netns, port);
    assert_eq!(sockets.len(), 4);
    let by_dump = netns.udp_states(port..=port).unwrap();
    for socket in &sockets {
        assert!(by_dump.iter().any(|(cookie, _)| *cookie == socket.cookie));
        // The exact question finds the one that the kernel would choose, and never takes another for it.
        netns.udp_state(socket).unwrap();
    }
    assert_eq!(by_dump.len(), 4);
}

#[test]
fn what_tcp_knows_is_what_the_owner_of_the_socket_reads() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let (mut server, remote) = listener.accept().unwrap();
    let mut byte = [0; 1];
    for _ in 0..50 {
        client.write_all(&[1]).unwrap();
        server.read_exact(&mut byte).unwrap();
        server.write_all(&byte).unwrap();
        client.read_exact(&mut byte).unwrap();
    }
    server.write_all(&[3; 1_000]).unwrap();
    client.write_all(&[3; 70]).unwrap();
    let mut netns = NetnsHandle::own().unwrap();
    // Acknowledgements may be on their way at the first look.
    let agreed = (0..200).any(|_| {
        let before = own_info(&server).unwrap();
        let states = netns.tcp_states(port..=port).unwrap();
        let state = states.iter().find(|state| state.remote == remote).unwrap();
        let after = own_info(&server).unwrap();
        before == after
            && state.rtt_ns == Some(u64::from(before[0]) * 1_000)
            && state.rtt_variation_ns == Some(u64::from(before[1]) * 1_000)
            && state.retransmits == before[2]
            && state.receive_queue_bytes == 70
            && state.min_rtt_ns.is_some_and(|least| least <= 1_000_000_000)
    });
    assert!(agreed, "sock_diag and getsockopt(TCP_INFO) never agreed");
}

#[test]
fn only_connections_on_the_ports_asked_for_are_answered() {
    let listeners: Vec<TcpListener> = (0..3)
        .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
        .collect();
    let clients: Vec<TcpStream> = listeners
        .iter()
        .map(|listener| TcpStream::connect(listener.local_addr().unwrap()).unwrap())
        .collect();
    let mut netns = NetnsHandle::own().unwrap();
    for (listener, client) in listeners.iter().zip(&clients) {
        let port = listener.local_addr().unwrap().port();
        let _accepted = listener.accept().unwrap();
        let states = netns.tcp_states(port..=port).unwrap();
        assert_eq!(states.len(), 1);
        assert_eq!(
            (states[0].port, states[0].remote),
            (port, client.local_addr().unwrap())
        );
    }
}

#[test]
fn error_counters_are_read_and_summed_over_both_families() {
    let errors = NetnsHandle::own().unwrap().protocol_errors();
    assert!(errors.is_some());
    let v4 = "Ip: A OutDiscards OutNoRoutes\nIp: 1 2 3\nUdp: InDatagrams RcvbufErrors SndbufErrors InCsumErrors\nUdp: 9 4 5 6\nUdpLite: SndbufErrors\nUdpLite: 77\n";
    let v6 = "Ip6OutDiscards\t10\nUdp6SndbufErrors 20\n";
    let parsed = parse_errors(v4, v6).unwrap();
    assert_eq!(
        parsed,
        ProtocolErrors {
            udp_send_buffer: 25,
            udp_receive_buffer: 4,
            udp_memory: 0,
            udp_checksum: 6,
            ip_out_discards: 12,
            ip_out_no_routes: 3,
        }
    );
    assert_eq!(parse_errors("Udp: SndbufErrors\nUdp: x\n", ""), None);
    assert_eq!(parsed.since(&parsed), ProtocolErrors::default());
    assert_eq!(parsed.plus(&ProtocolErrors::default()), parsed);
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_reader_of_counters_panic(v4 in "(Udp: [ A-Za-z0-9]{0,40}\n|Ip: [ A-Za-z0-9]{0,40}\n|\\PC{0,30}\n){0,6}", v6 in "\\PC{0,80}") {
        let _ = parse_errors(&v4, &v6);
    }
}
