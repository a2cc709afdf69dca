//! How full sockets are, what they drop, and what TCP knows of its path: exact questions to sock_diag (one socket each)
//! and a narrow dump of established TCP connections; and the error counters of a network namespace.
//!
//! Not here: which sockets are whose ([`super::sockets`], [`super::discovery`]), totals over time
//! ([`super::socket_watch`]).

use std::{
    fs::File,
    io,
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    os::unix::fs::FileExt,
};

use netlink_packet_sock_diag::{
    constants::{AF_INET, AF_INET6},
    inet::{
        ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags,
        nlas::{MemInfo, Nla, TcpInfo},
    },
};

use super::sockets::{Ask, BoundSocket, NetnsHandle, SocketError, nobody, number_of};
use crate::config::Protocol;

/// Memory and drops of a UDP socket, as the kernel keeps them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UdpState {
    /// What waits to be read, bytes of kernel memory (a datagram takes more than its payload).
    pub receive_queue_bytes: u32,
    /// Where the kernel begins to drop (`sk_rcvbuf`: twice what `SO_RCVBUF` was set to).
    pub receive_buffer_bytes: u32,
    /// What was sent and has not left the host.
    pub send_queue_bytes: u32,
    /// Where sending begins to block or fail (`sk_sndbuf`).
    pub send_buffer_bytes: u32,
    /// Datagrams dropped since the socket was made, for want of room or for a wrong checksum. Wraps.
    pub drops: u32,
}

/// One established TCP connection of a server, as the kernel keeps it (`struct tcp_info`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpState {
    /// Local port.
    pub port: u16,
    /// The other end; IPv4-mapped addresses as IPv4.
    pub remote: SocketAddr,
    /// Smoothed round trip, once there was a sample.
    pub rtt_ns: Option<u64>,
    /// Mean deviation of the round trip (`tcpi_rttvar`).
    pub rtt_variation_ns: Option<u64>,
    /// Least round trip of the last minutes (`tcpi_min_rtt`).
    pub min_rtt_ns: Option<u64>,
    /// Segments sent again since the connection began.
    pub retransmits: u32,
    /// Segments sent since the connection began, those sent again included.
    pub segments_sent: u32,
    /// Bytes sent and not acknowledged, or not sent yet.
    pub send_queue_bytes: u32,
    /// Bytes that the server has not read.
    pub receive_queue_bytes: u32,
    /// Kernel memory of what waits to be sent, and where writing begins to block; it grows by itself.
    pub send_memory_bytes: u32,
    /// See [`TcpState::send_memory_bytes`].
    pub send_buffer_bytes: u32,
}

/// Error counters of a network namespace, since it was made. They are of all its sockets, not of one server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProtocolErrors {
    /// UDP sends that failed for want of room in the send buffer (`SndbufErrors`).
    pub udp_send_buffer: u64,
    /// UDP datagrams dropped for want of room in a receive buffer (`RcvbufErrors`).
    pub udp_receive_buffer: u64,
    /// UDP datagrams dropped because the memory of all UDP sockets together was used up (`MemErrors`).
    pub udp_memory: u64,
    /// UDP datagrams with a wrong checksum (`InCsumErrors`).
    pub udp_checksum: u64,
    /// Packets dropped on their way out (`OutDiscards`).
    pub ip_out_discards: u64,
    /// Packets without a route (`OutNoRoutes`).
    pub ip_out_no_routes: u64,
}

impl ProtocolErrors {
    /// What has been added since `before`.
    pub fn since(&self, before: &Self) -> Self {
        self.with(before, u64::saturating_sub)
    }

    /// Both together.
    pub fn plus(&self, more: &Self) -> Self {
        self.with(more, u64::saturating_add)
    }

    fn with(&self, other: &Self, of: fn(u64, u64) -> u64) -> Self {
        Self {
            udp_send_buffer: of(self.udp_send_buffer, other.udp_send_buffer),
            udp_receive_buffer: of(self.udp_receive_buffer, other.udp_receive_buffer),
            udp_memory: of(self.udp_memory, other.udp_memory),
            udp_checksum: of(self.udp_checksum, other.udp_checksum),
            ip_out_discards: of(self.ip_out_discards, other.ip_out_discards),
            ip_out_no_routes: of(self.ip_out_no_routes, other.ip_out_no_routes),
        }
    }
}

impl NetnsHandle {
    /// State of one UDP socket, asked for by address, port and cookie. `None` when it is gone, or when the kernel finds
    /// another one there (sockets that share a port by `SO_REUSEPORT`, or are bound to a device): then
    /// [`NetnsHandle::udp_states`] finds it.
    pub fn udp_state(&mut self, socket: &BoundSocket) -> Result<Option<UdpState>, SocketError> {
        let family = family_of(socket.address);
        let request = InetRequest {
            family,
            protocol: number_of(Protocol::Udp),
            extensions: ExtensionFlags::SKMEMINFO,
            states: StateFlags::all(),
            // The kernel looks the socket up as for a packet that comes in: the source is the other end.
            socket_id: SocketId {
                destination_port: socket.port,
                destination_address: socket.address,
                cookie: socket.cookie.to_ne_bytes(),
                ..nobody(family)
            },
        };
        let mut found = None;
        match self.exchange(request, Ask::One, |response| found = udp_of(response)) {
            Ok(()) => Ok(found),
            Err(SocketError::Netlink(error))
                if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESTALE)) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// States of all UDP sockets on a range of ports, by socket cookie: a dump, which walks over all UDP sockets of the
    /// host.
    pub fn udp_states(&mut self, ports: RangeInclusive<u16>) -> Result<Vec<(u64, UdpState)>, SocketError> {
        let mut found = Vec::new();
        self.dump_range(
            Protocol::Udp,
            StateFlags::all(),
            ExtensionFlags::SKMEMINFO,
            ports,
            |response| {
                let cookie = u64::from_ne_bytes(response.header.socket_id.cookie);
                found.extend(udp_of(response).map(|state| (cookie, state)));
            },
        )?;
        Ok(found)
    }

    /// Established TCP connections whose local port is in `ports`: a dump, which walks over the table of connections.
    pub fn tcp_states(&mut self, ports: RangeInclusive<u16>) -> Result<Vec<TcpState>, SocketError> {
        let mut found = Vec::new();
        self.dump_range(
            Protocol::Tcp,
            StateFlags::ESTABLISHED,
            ExtensionFlags::INFO | ExtensionFlags::SKMEMINFO,
            ports,
            |response| found.extend(tcp_of(response)),
        )?;
        Ok(found)
    }

    /// Error counters of the namespace; `None` where /proc has none.
    pub fn protocol_errors(&self) -> Option<ProtocolErrors> {
        let [v4, v6] = self.protocol_counts.as_ref()?;
        let (v4, v6) = (whole(v4)?, whole(v6).unwrap_or_default());
        parse_errors(&v4, &v6)
    }

    fn dump_range(
        &mut self,
        protocol: Protocol,
        states: StateFlags,
        extensions: ExtensionFlags,
        ports: RangeInclusive<u16>,
        mut answer: impl FnMut(&InetResponse),
    ) -> Result<(), SocketError> {
        let filter = port_filter(&ports);
        for family in [AF_INET, AF_INET6] {
            let request = InetRequest {
                family,
                protocol: number_of(protocol),
                extensions: extensions.clone(),
                states: states.clone(),
                socket_id: nobody(family),
            };
            self.exchange(request, Ask::Dump { filter: &filter }, |response| {
                if ports.contains(&response.header.socket_id.source_port) {
                    answer(response);
                }
            })?;
        }
        Ok(())
    }
}

/// IPv4 also finds IPv6 sockets that take IPv4, but for those bound to any address.
fn family_of(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => AF_INET,
        IpAddr::V6(_) => AF_INET6,
    }
}

/// `INET_DIAG_REQ_BYTECODE` (linux/inet_diag.h): only sockets whose local port lies in the range are answered.
fn port_filter(ports: &RangeInclusive<u16>) -> Vec<u8> {
    const REQ_BYTECODE: u16 = 1;
    const SOURCE_GE: u8 = 2;
    const SOURCE_LE: u8 = 3;
    const LENGTH: u16 = 16;
    // A comparison takes two operations, the second holds the port; a jump to one operation past the end refuses.
    let compare = |code: u8, refuse: u16, port: u16| {
        let mut bytes = vec![code, 8];
        bytes.extend(refuse.to_ne_bytes());
        bytes.extend([0, 0]);
        bytes.extend(port.to_ne_bytes());
        bytes
    };
    let mut filter = Vec::with_capacity(20);
    filter.extend((LENGTH + 4).to_ne_bytes());
    filter.extend(REQ_BYTECODE.to_ne_bytes());
    filter.extend(compare(SOURCE_GE, LENGTH + 4, *ports.start()));
    filter.extend(compare(SOURCE_LE, LENGTH + 4 - 8, *ports.end()));
    filter
}

fn memory_of(response: &InetResponse) -> Option<&MemInfo> {
    response.nlas.iter().find_map(|nla| match nla {
        Nla::MemInfo(memory) => Some(memory),
        _ => None,
    })
}

fn udp_of(response: &InetResponse) -> Option<UdpState> {
    let memory = memory_of(response)?;
    Some(UdpState {
        receive_queue_bytes: response.header.recv_queue,
        receive_buffer_bytes: memory.receive_queue_max,
        send_queue_bytes: memory.bottom_send_queues,
        send_buffer_bytes: memory.send_queue_max,
        drops: memory.drops,
    })
}

fn tcp_of(response: &InetResponse) -> Option<TcpState> {
    let info: &TcpInfo = response.nlas.iter().find_map(|nla| match nla {
        Nla::TcpInfo(info) => Some(info),
        _ => None,
    })?;
    let memory = memory_of(response);
    let id = &response.header.socket_id;
    let sampled = (info.rtt != 0).then_some(());
    Some(TcpState {
        port: id.source_port,
        remote: SocketAddr::new(id.destination_address.to_canonical(), id.destination_port),
        rtt_ns: sampled.map(|()| u64::from(info.rtt) * 1_000),
        rtt_variation_ns: sampled.map(|()| u64::from(info.rttvar) * 1_000),
        // All ones until there is a sample.
        min_rtt_ns: (info.min_rtt != u32::MAX).then(|| u64::from(info.min_rtt) * 1_000),
        retransmits: info.total_retrans,
        segments_sent: info.segs_out,
        send_queue_bytes: response.header.send_queue,
        receive_queue_bytes: response.header.recv_queue,
        send_memory_bytes: memory.map_or(0, |memory| memory.send_queue),
        send_buffer_bytes: memory.map_or(0, |memory| memory.send_queue_max),
    })
}

/// The whole of a small file of procfs.
fn whole(file: &File) -> Option<String> {
    let mut text = Vec::new();
    let mut buffer = [0; 8_192];
    // Bounded: none of these files has more than some KiB.
    for _ in 0..16 {
        match file.read_at(&mut buffer, text.len() as u64) {
            Ok(0) => break,
            Ok(length) => text.extend_from_slice(&buffer[..length]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
    String::from_utf8(text).ok()
}

/// `/proc/net/snmp` (a line of names, a line of values, both led by the protocol) and `/proc/net/snmp6` (a name and a
/// value per line).
fn parse_errors(v4: &str, v6: &str) -> Option<ProtocolErrors> {
    let of = |prefix: &str, name: &str| -> Option<u64> {
        let mut lines = v4.lines().filter_map(|line| line.strip_prefix(prefix));
        let position = lines
            .next()?
            .split_ascii_whitespace()
            .position(|word| word == name)?;
        lines.next()?.split_ascii_whitespace().nth(position)?.parse().ok()
    };
    let of6 = |name: &str| -> u64 {
        v6.lines()
            .find_map(|line| {
                let mut words = line.split_ascii_whitespace();
                (words.next()? == name).then(|| words.next()?.parse().ok())?
            })
            .unwrap_or(0)
    };
    let both = |prefix, name: &str, name6: &str| Some(of(prefix, name)?.saturating_add(of6(name6)));
    Some(ProtocolErrors {
        udp_send_buffer: both("Udp:", "SndbufErrors", "Udp6SndbufErrors")?,
        udp_receive_buffer: both("Udp:", "RcvbufErrors", "Udp6RcvbufErrors")?,
        // Kernels before 5.15 have no such column, and nothing was counted.
        udp_memory: both("Udp:", "MemErrors", "Udp6MemErrors").unwrap_or(0),
        udp_checksum: both("Udp:", "InCsumErrors", "Udp6InCsumErrors")?,
        ip_out_discards: both("Ip:", "OutDiscards", "Ip6OutDiscards")?,
        ip_out_no_routes: both("Ip:", "OutNoRoutes", "Ip6OutNoRoutes")?,
    })
}

#[cfg(test)]
#[path = "socket_state_tests.rs"]
mod tests;
