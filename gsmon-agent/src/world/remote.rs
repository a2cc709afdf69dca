//! What is known of remote endpoints beyond their traffic: the path as TCP sees it. Flows and players ask here, by
//! their address.

use std::{collections::HashMap, net::SocketAddr, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::host::socket_state::TcpState;

/// The path to one client as the kernel's TCP knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TcpPath {
    /// Smoothed round trip, the client's delayed acknowledgements included.
    pub rtt_ns: Option<u64>,
    /// Mean deviation of the round trip.
    pub rtt_variation_ns: Option<u64>,
    /// Least round trip that the kernel remembers.
    pub min_rtt_ns: Option<u64>,
    /// Segments sent again since the connection began.
    pub retransmits: u64,
    /// Segments sent since the connection began, those sent again included.
    pub segments_sent: u64,
    /// Bytes sent and not acknowledged, or waiting to be sent.
    pub send_queue_bytes: u64,
    /// Bytes that the server has not read.
    pub receive_queue_bytes: u64,
}

impl From<&TcpState> for TcpPath {
    fn from(state: &TcpState) -> Self {
        Self {
            rtt_ns: state.rtt_ns,
            rtt_variation_ns: state.rtt_variation_ns,
            min_rtt_ns: state.min_rtt_ns,
            retransmits: u64::from(state.retransmits),
            segments_sent: u64::from(state.segments_sent),
            send_queue_bytes: u64::from(state.send_queue_bytes),
            receive_queue_bytes: u64::from(state.receive_queue_bytes),
        }
    }
}

/// Everything known of the remote endpoints of one server. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct RemoteFacts {
    tcp: Arc<HashMap<SocketAddr, TcpState>>,
}

impl RemoteFacts {
    /// With the connections of the last reading.
    pub fn new(tcp: Arc<HashMap<SocketAddr, TcpState>>) -> Self {
        Self { tcp }
    }

    /// The path to `remote`, where it is connected by TCP.
    pub fn tcp(&self, remote: SocketAddr) -> Option<TcpPath> {
        self.tcp.get(&remote).map(TcpPath::from)
    }
}
