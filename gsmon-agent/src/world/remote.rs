//! What is known of remote endpoints beyond their traffic: the path as TCP sees it, and the region. Flows and players
//! ask here, by their address.

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use super::region::{Region, Regions};
use crate::host::socket_state::TcpState;

/// Regions of one server that are counted apart; the rest is summed up as [`OTHER_REGIONS`].
pub const MOST_REGIONS: usize = 64;
/// See [`MOST_REGIONS`].
pub const OTHER_REGIONS: &str = "other";

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
    /// Shortest round trips that the game's own packets tell.
    lines: Arc<HashMap<SocketAddr, u64>>,
    regions: Arc<Regions>,
}

impl RemoteFacts {
    /// With the connections of the last reading, and what tells regions.
    pub fn new(tcp: Arc<HashMap<SocketAddr, TcpState>>, regions: Arc<Regions>) -> Self {
        Self {
            tcp,
            lines: Arc::default(),
            regions,
        }
    }

    /// With the round trips that the game's own packets tell, nanoseconds.
    pub fn with_lines(self, lines: HashMap<SocketAddr, u64>) -> Self {
        Self {
            lines: Arc::new(lines),
            ..self
        }
    }

    /// All TCP connections.
    pub fn connections(&self) -> &HashMap<SocketAddr, TcpState> {
        &self.tcp
    }

    /// The path to `remote`, where it is connected by TCP.
    pub fn tcp(&self, remote: SocketAddr) -> Option<TcpPath> {
        self.tcp.get(&remote).map(TcpPath::from)
    }

    /// Region of a remote endpoint.
    pub fn region(&self, remote: SocketAddr) -> Option<Region> {
        self.regions.of(remote.ip(), self.rtt_ns(remote))
    }

    /// Region of a player: of the address that the game told (behind a proxy the flow's is the proxy's), else of the
    /// flow.
    pub fn region_of_player(&self, told: Option<IpAddr>, flow: Option<SocketAddr>) -> Option<Region> {
        let rtt_ns = flow.and_then(|flow| self.rtt_ns(flow));
        let address = told.or(flow.map(|flow| flow.ip()))?;
        self.regions.of(address, rtt_ns)
    }

    fn rtt_ns(&self, remote: SocketAddr) -> Option<u64> {
        match self.tcp.get(&remote) {
            Some(connection) => connection.rtt_ns,
            None => self.lines.get(&remote).copied(),
        }
    }

    /// How many of these endpoints are in each region; those of which nothing is known are left out.
    pub fn count_by_region(&self, remotes: impl Iterator<Item = SocketAddr>) -> BTreeMap<Arc<str>, u64> {
        let mut counts = BTreeMap::new();
        if self.regions.is_empty() {
            return counts;
        }
        for region in remotes.filter_map(|remote| self.region(remote)) {
            let known = counts.contains_key(&region.name) || counts.len() < MOST_REGIONS;
            let name = if known { region.name } else { OTHER_REGIONS.into() };
            *counts.entry(name).or_default() += 1;
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::RegionSettings, host::RegionSources, world::region::RegionBasis};

    #[test]
    fn regions_beyond_the_bound_are_summed_up_and_latency_comes_from_tcp() {
        let remote = |n: u8| SocketAddr::from(([192, 0, 2, n], 1_000));
        let settings = RegionSettings {
            networks: (0..200u8)
                .map(|n| (format!("192.0.2.{n}"), format!("region {n}")))
                .collect(),
            latency: vec![crate::config::LatencyBand {
                name: "anywhere".into(),
                up_to: None,
            }],
            ..RegionSettings::default()
        };
        let regions = Regions::new(&settings, RegionSources::load(&settings).unwrap());
        let state = TcpState {
            port: 1,
            remote: remote(201),
            rtt_ns: Some(1_000),
            rtt_variation_ns: None,
            min_rtt_ns: None,
            retransmits: 0,
            segments_sent: 0,
            send_queue_bytes: 0,
            receive_queue_bytes: 0,
            send_memory_bytes: 0,
            send_buffer_bytes: 0,
        };
        let tcp = HashMap::from([(state.remote, state)]);
        let facts = RemoteFacts::new(Arc::new(tcp), Arc::new(regions));
        let counts = facts.count_by_region((0..=255).map(remote));
        assert_eq!(counts.len(), MOST_REGIONS + 1);
        assert_eq!(counts.values().sum::<u64>(), 201);
        assert_eq!(facts.region(remote(201)).unwrap().by, RegionBasis::Latency);
        assert_eq!(facts.region(remote(202)), None);
        let told = facts.region_of_player(Some([192, 0, 2, 7].into()), Some(remote(8)));
        assert_eq!(&*told.unwrap().name, "region 7");
    }
}
