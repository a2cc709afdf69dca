//! The game sockets of each server: queues, drops, TCP connections, errors of the namespace around them.

use super::{Page, float, seconds};
use crate::world::{server_sockets::Direction, snapshot::Snapshot};

const DIRECTIONS: [(&str, Direction); 2] =
    [("receive", Direction::Receive), ("transmit", Direction::Transmit)];

impl Page {
    pub(super) fn sockets(&self, snapshot: &Snapshot) -> Result<(), prometheus::Error> {
        let drops = self.counter(
            "gsmon_server_udp_receive_drops_total",
            "Datagrams that the server's UDP sockets dropped for want of room in the receive buffer (or for a wrong checksum), by local port; port is other beyond the first 32.",
            &["server", "port"],
        )?;
        let queues = self.gauge(
            "gsmon_server_socket_queue_bytes",
            "Bytes in the queues of the server's game sockets at the last reading (every 5 s).",
            &["server", "direction"],
        )?;
        let fill = self.gauge(
            "gsmon_server_socket_buffer_fill_ratio",
            "How full the fullest buffer of the server's game sockets was at the last reading; the kernel drops, or sending blocks, at 1.",
            &["server", "direction"],
        )?;
        let errors = self.counter(
            "gsmon_server_namespace_errors_total",
            "Errors of the whole network namespace that the server lives in, of every process there: not to be added up over servers.",
            &["server", "kind"],
        )?;
        for server in &snapshot.servers {
            let Some(sockets) = &server.sockets else { continue };
            for (port, count) in &sockets.udp_receive_drops_by_port {
                let port = match port {
                    0 => "other".to_owned(),
                    port => port.to_string(),
                };
                drops
                    .with_label_values(&[&server.name, &port])
                    .inc_by(*count as f64);
            }
            for (name, direction) in DIRECTIONS {
                let labels: &[&str] = &[&server.name, name];
                if let Some(bytes) = sockets.queue_bytes(direction) {
                    queues.with_label_values(labels).set(bytes as f64);
                }
                if let Some(ratio) = sockets.fullest_ratio(direction) {
                    fill.with_label_values(labels).set(ratio);
                }
            }
            let Some(counted) = &sockets.namespace_errors else {
                continue;
            };
            for (kind, count) in [
                ("udp_send_buffer", counted.udp_send_buffer),
                ("udp_receive_buffer", counted.udp_receive_buffer),
                ("udp_memory", counted.udp_memory),
                ("udp_checksum", counted.udp_checksum),
                ("ip_out_discards", counted.ip_out_discards),
                ("ip_out_no_routes", counted.ip_out_no_routes),
            ] {
                errors
                    .with_label_values(&[server.name.as_str(), kind])
                    .inc_by(count as f64);
            }
        }
        self.tcp(snapshot)
    }

    fn tcp(&self, s: &Snapshot) -> Result<(), prometheus::Error> {
        let rtt = self.gauge(
            "gsmon_server_tcp_rtt_seconds",
            "Smoothed round trips of the server's TCP connections as the kernel knows them, over connections (p50, p95).",
            &["server", "statistic"],
        )?;
        for server in &s.servers {
            let Some(tcp) = server.sockets.as_ref().and_then(|sockets| sockets.tcp) else {
                continue;
            };
            for (name, value) in [("p50", tcp.rtt_p50_ns), ("p95", tcp.rtt_p95_ns)] {
                if let Some(value) = seconds(value) {
                    rtt.with_label_values(&[server.name.as_str(), name]).set(value);
                }
            }
        }
        self.server_gauge(
            s,
            "gsmon_server_tcp_connections",
            "Established TCP connections on game ports.",
            |server| float(server.sockets.as_ref()?.tcp.map(|tcp| tcp.connections)),
        )?;
        self.server_counter(
            s,
            "gsmon_server_tcp_segments_sent_total",
            "TCP segments sent on game ports, those sent again included.",
            |server| float(server.sockets.as_ref()?.tcp.map(|tcp| tcp.segments_sent)),
        )?;
        self.server_counter(
            s,
            "gsmon_server_tcp_retransmits_total",
            "TCP segments sent again on game ports.",
            |server| float(server.sockets.as_ref()?.tcp.map(|tcp| tcp.retransmits)),
        )
    }
}
