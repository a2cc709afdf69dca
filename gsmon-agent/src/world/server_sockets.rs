//! The game sockets of one server as readers see them: how full they are, what they drop, how its TCP connections do.
//!
//! `None` is "not known here", never zero. Queues and buffers are of the moment of the reading (every five seconds);
//! totals are monotonic since the agent began to follow the server.

use std::{collections::BTreeMap, net::SocketAddr, time::Instant};

use serde::{Deserialize, Serialize};

use crate::host::{ServerSockets, UdpReading, socket_state::TcpState};

/// Sockets of one server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SocketsSnapshot {
    /// How long ago they were read.
    pub age_seconds: f64,
    /// UDP sockets.
    pub udp: Vec<UdpSocketSnapshot>,
    /// Datagrams that its UDP sockets dropped, those of ended sockets included.
    pub udp_receive_drops: Option<u64>,
    /// The same by local port; at most 32 ports, the rest under 0.
    pub udp_receive_drops_by_port: BTreeMap<u16, u64>,
    /// Its TCP connections.
    pub tcp: Option<TcpSummary>,
    /// Errors of the whole network namespace that it lives in: of every process there, not of the server alone.
    pub namespace_errors: Option<NamespaceErrors>,
}

/// One UDP socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UdpSocketSnapshot {
    /// Local address and port.
    pub local: SocketAddr,
    /// What waits to be read, bytes of kernel memory.
    pub receive_queue_bytes: u64,
    /// Where the kernel begins to drop.
    pub receive_buffer_bytes: u64,
    /// What was sent and has not left the host.
    pub send_queue_bytes: u64,
    /// Where sending begins to block or fail.
    pub send_buffer_bytes: u64,
    /// Datagrams dropped: no room, or a wrong checksum.
    pub drops: u64,
}

/// TCP connections of one server.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TcpSummary {
    /// Established ones.
    pub connections: u64,
    /// Median of their smoothed round trips.
    pub rtt_p50_ns: Option<u64>,
    /// 95th percentile of their smoothed round trips.
    pub rtt_p95_ns: Option<u64>,
    /// Segments sent, those sent again included.
    pub segments_sent: u64,
    /// Segments sent again.
    pub retransmits: u64,
    /// Bytes sent and not acknowledged, or waiting to be sent, of all of them.
    pub send_queue_bytes: u64,
    /// Bytes that the server has not read.
    pub receive_queue_bytes: u64,
    /// The fullest send buffer of them, 0 to 1 and somewhat more.
    pub fullest_send_buffer_ratio: Option<f64>,
}

/// Errors of a network namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamespaceErrors {
    /// Inode of the namespace.
    pub netns: u64,
    /// UDP sends that failed for want of room in the send buffer.
    pub udp_send_buffer: u64,
    /// UDP datagrams dropped for want of room in a receive buffer.
    pub udp_receive_buffer: u64,
    /// UDP datagrams dropped because all UDP sockets of the host together have used up their memory.
    pub udp_memory: u64,
    /// UDP datagrams with a wrong checksum.
    pub udp_checksum: u64,
    /// Packets dropped on their way out.
    pub ip_out_discards: u64,
    /// Packets without a route.
    pub ip_out_no_routes: u64,
}

impl SocketsSnapshot {
    /// Makes the picture; `None` before the first reading.
    pub fn of(sockets: &ServerSockets, now: Instant) -> Option<Self> {
        Some(Self {
            age_seconds: now.saturating_duration_since(sockets.read_at?).as_secs_f64(),
            udp: sockets.udp.iter().map(UdpSocketSnapshot::from).collect(),
            udp_receive_drops: sockets.udp_drops,
            udp_receive_drops_by_port: sockets.udp_drops_by_port.clone(),
            tcp: tcp(sockets),
            namespace_errors: sockets.namespace.map(|(netns, errors)| NamespaceErrors {
                netns: netns.0,
                udp_send_buffer: errors.udp_send_buffer,
                udp_receive_buffer: errors.udp_receive_buffer,
                udp_memory: errors.udp_memory,
                udp_checksum: errors.udp_checksum,
                ip_out_discards: errors.ip_out_discards,
                ip_out_no_routes: errors.ip_out_no_routes,
            }),
        })
    }

    /// Bytes in all queues of one direction; `None` without sockets.
    pub fn queue_bytes(&self, direction: Direction) -> Option<u64> {
        let udp = self.udp.iter().map(|socket| match direction {
            Direction::Receive => socket.receive_queue_bytes,
            Direction::Transmit => socket.send_queue_bytes,
        });
        let tcp = self.tcp.iter().map(|tcp| match direction {
            Direction::Receive => tcp.receive_queue_bytes,
            Direction::Transmit => tcp.send_queue_bytes,
        });
        udp.chain(tcp).reduce(u64::saturating_add)
    }

    /// How full the fullest buffer of one direction is. Receive buffers of TCP are left out: the sender stops before
    /// they are full.
    pub fn fullest_ratio(&self, direction: Direction) -> Option<f64> {
        let udp = self.udp.iter().filter_map(|socket| match direction {
            Direction::Receive => ratio(socket.receive_queue_bytes, socket.receive_buffer_bytes),
            Direction::Transmit => ratio(socket.send_queue_bytes, socket.send_buffer_bytes),
        });
        let tcp = match direction {
            Direction::Receive => None,
            Direction::Transmit => self.tcp.and_then(|tcp| tcp.fullest_send_buffer_ratio),
        };
        udp.chain(tcp).reduce(f64::max)
    }
}

/// Of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Clients to server.
    Receive,
    /// Server to clients.
    Transmit,
}

impl From<&UdpReading> for UdpSocketSnapshot {
    fn from(reading: &UdpReading) -> Self {
        let state = &reading.state;
        Self {
            local: reading.local,
            receive_queue_bytes: u64::from(state.receive_queue_bytes),
            receive_buffer_bytes: u64::from(state.receive_buffer_bytes),
            send_queue_bytes: u64::from(state.send_queue_bytes),
            send_buffer_bytes: u64::from(state.send_buffer_bytes),
            drops: reading.drops,
        }
    }
}

fn tcp(sockets: &ServerSockets) -> Option<TcpSummary> {
    let segments = sockets.tcp_segments?;
    let states = || sockets.tcp.values();
    let mut round_trips: Vec<u64> = states().filter_map(|state| state.rtt_ns).collect();
    round_trips.sort_unstable();
    // Nearest rank.
    let quantile = |q: f64| {
        let rank = (q * round_trips.len() as f64).ceil() as usize;
        round_trips.get(rank.max(1) - 1).copied()
    };
    let sum = |of: fn(&TcpState) -> u32| states().map(|state| u64::from(of(state))).sum();
    Some(TcpSummary {
        connections: sockets.tcp.len() as u64,
        rtt_p50_ns: quantile(0.5),
        rtt_p95_ns: quantile(0.95),
        segments_sent: segments.sent,
        retransmits: segments.sent_again,
        send_queue_bytes: sum(|state| state.send_queue_bytes),
        receive_queue_bytes: sum(|state| state.receive_queue_bytes),
        fullest_send_buffer_ratio: states()
            .filter_map(|state| {
                ratio(
                    u64::from(state.send_memory_bytes),
                    u64::from(state.send_buffer_bytes),
                )
            })
            .reduce(f64::max),
    })
}

fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::host::socket_state::UdpState;

    #[test]
    fn before_the_first_reading_there_is_no_picture() {
        assert_eq!(
            SocketsSnapshot::of(&ServerSockets::default(), Instant::now()),
            None
        );
    }

    #[test]
    fn the_fullest_buffer_counts_and_queues_add_up() {
        let udp = |queue, buffer| UdpReading {
            local: "127.0.0.1:1".parse().unwrap(),
            state: UdpState {
                receive_queue_bytes: queue,
                receive_buffer_bytes: buffer,
                ..UdpState::default()
            },
            drops: 0,
        };
        let tcp = |port: u16, rtt_ns| TcpState {
            port: 2,
            remote: ([192, 0, 2, 1], port).into(),
            rtt_ns,
            rtt_variation_ns: None,
            min_rtt_ns: None,
            retransmits: 0,
            segments_sent: 0,
            send_queue_bytes: 7,
            receive_queue_bytes: 0,
            send_memory_bytes: 50,
            send_buffer_bytes: 100,
        };
        let states = [tcp(1, Some(10)), tcp(2, Some(30)), tcp(3, None)];
        let now = Instant::now();
        let sockets = ServerSockets {
            read_at: Some(now),
            udp: vec![udp(10, 100), udp(90, 100), udp(5, 0)],
            tcp: Arc::new(states.map(|state| (state.remote, state)).into()),
            tcp_segments: Some(Default::default()),
            ..ServerSockets::default()
        };
        let picture = SocketsSnapshot::of(&sockets, now).unwrap();
        assert_eq!(picture.fullest_ratio(Direction::Receive), Some(0.9));
        assert_eq!(picture.fullest_ratio(Direction::Transmit), Some(0.5));
        assert_eq!(picture.queue_bytes(Direction::Receive), Some(105));
        assert_eq!(picture.queue_bytes(Direction::Transmit), Some(21));
        let tcp = picture.tcp.unwrap();
        assert_eq!(
            (tcp.rtt_p50_ns, tcp.rtt_p95_ns, tcp.connections),
            (Some(10), Some(30), 3)
        );
    }
}
