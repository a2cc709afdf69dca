//! The players of a snapshot. Most readers want their number or nothing at all, so where flows stand for players, what
//! the kernel counted is kept in few words, and pictures of players are made of it when somebody looks at them.

use std::{
    fmt,
    net::{Ipv6Addr, SocketAddr},
    ops::Deref,
    sync::{Arc, OnceLock},
};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{
    picture::{PlayerFlow, PlayerSnapshot, PlayerState},
    traffic::FlowMatch,
};
use crate::{
    games::event::{KindEvidence, PlayerKind},
    kernel::SeenFlow,
    world::{remote::RemoteFacts, snapshot::PacketTotals},
};

/// Players, shared by all who hold the list. It reads as a slice; the first look at the players of flows makes them.
#[derive(Clone)]
pub struct PlayerList(Arc<Source>);

enum Source {
    Made(Vec<PlayerSnapshot>),
    Flows(FlowPlayers),
}

/// Flows that stand for players.
struct FlowPlayers {
    flows: Vec<FlowPlayer>,
    session: Option<Arc<str>>,
    remotes: RemoteFacts,
    seconds: f64,
    unix_ms: i64,
    made: OnceLock<Vec<PlayerSnapshot>>,
}

/// A flow that stands for a player.
#[derive(Debug)]
pub struct FlowPlayer {
    address: [u8; 16],
    port: u16,
    age_ms: i64,
    rx: PacketTotals,
    tx: PacketTotals,
    /// In the interval.
    rx_new: PacketTotals,
    tx_new: PacketTotals,
}

impl PlayerList {
    /// Flows that stand for players where nobody names any; they are in the session of the whole process, if there is
    /// one.
    pub fn of_flows(
        flows: Vec<FlowPlayer>,
        session: Option<&Arc<str>>,
        remotes: &RemoteFacts,
        seconds: f64,
        unix_ms: i64,
    ) -> Self {
        Self(Arc::new(Source::Flows(FlowPlayers {
            flows,
            session: session.cloned(),
            remotes: remotes.clone(),
            seconds,
            unix_ms,
            made: OnceLock::new(),
        })))
    }

    /// How many; makes nothing.
    pub fn len(&self) -> usize {
        match &*self.0 {
            Source::Made(players) => players.len(),
            Source::Flows(of) => of.flows.len(),
        }
    }

    /// Is there nobody?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Those whom the game told of; flows are not among them.
    pub fn told(&self) -> &[PlayerSnapshot] {
        match &*self.0 {
            Source::Made(players) => players,
            Source::Flows(_) => &[],
        }
    }
}

impl From<&SeenFlow> for FlowPlayer {
    fn from(flow: &SeenFlow) -> Self {
        Self {
            address: flow.key.remote_addr,
            port: flow.key.remote_port,
            age_ms: flow.age_ms,
            rx: flow.rx_total.into(),
            tx: flow.tx_total.into(),
            rx_new: flow.rx.into(),
            tx_new: flow.tx.into(),
        }
    }
}

impl FlowPlayers {
    fn picture(&self, flow: &FlowPlayer) -> PlayerSnapshot {
        let remote = SocketAddr::new(Ipv6Addr::from(flow.address).to_canonical(), flow.port);
        let rate = |count: u64| {
            if self.seconds > 0.0 {
                count as f64 / self.seconds
            } else {
                0.0
            }
        };
        PlayerSnapshot {
            number: 0,
            name: None,
            platform_id: None,
            address: Some(remote.ip()),
            kind: Some(PlayerKind::Human),
            kind_by: Some(KindEvidence::Connection),
            state: PlayerState::Playing,
            room: None,
            session: self.session.clone(),
            joined_unix_ms: self.unix_ms - flow.age_ms,
            left_unix_ms: None,
            left_reason: None,
            in_game_ms: flow.age_ms,
            region: self.remotes.region(remote),
            flow: Some(PlayerFlow {
                remote,
                by: FlowMatch::FlowOnly,
                rx: flow.rx,
                tx: flow.tx,
                rx_packets_per_second: rate(flow.rx_new.packets),
                rx_bytes_per_second: rate(flow.rx_new.bytes),
                tx_packets_per_second: rate(flow.tx_new.packets),
                tx_bytes_per_second: rate(flow.tx_new.bytes),
                tcp: self.remotes.tcp(remote),
            }),
        }
    }
}

impl Deref for PlayerList {
    type Target = [PlayerSnapshot];

    fn deref(&self) -> &[PlayerSnapshot] {
        match &*self.0 {
            Source::Made(players) => players,
            Source::Flows(of) => of
                .made
                .get_or_init(|| of.flows.iter().map(|flow| of.picture(flow)).collect()),
        }
    }
}

impl From<Vec<PlayerSnapshot>> for PlayerList {
    fn from(players: Vec<PlayerSnapshot>) -> Self {
        Self(Arc::new(Source::Made(players)))
    }
}

impl FromIterator<PlayerSnapshot> for PlayerList {
    fn from_iter<I: IntoIterator<Item = PlayerSnapshot>>(players: I) -> Self {
        players.into_iter().collect::<Vec<_>>().into()
    }
}

impl Default for PlayerList {
    fn default() -> Self {
        Vec::new().into()
    }
}

impl PartialEq for PlayerList {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || **self == **other
    }
}

impl fmt::Debug for PlayerList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl Serialize for PlayerList {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &*self.0 {
            Source::Made(players) => players.serialize(serializer),
            // One after the other: who writes them down needs no list of them.
            Source::Flows(of) => serializer.collect_seq(of.flows.iter().map(|flow| of.picture(flow))),
        }
    }
}

impl<'de> Deserialize<'de> for PlayerList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::deserialize(deserializer).map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn players_of_flows_are_written_down_as_they_are_read() {
        let flow = SeenFlow {
            age_ms: 5_000,
            rx_total: gsmon_common::flow::Traffic {
                packets: 9,
                bytes: 900,
            },
            ..SeenFlow::default()
        };
        let list = PlayerList::of_flows(
            vec![(&flow).into(), (&flow).into()],
            None,
            &RemoteFacts::default(),
            1.0,
            60_000,
        );
        assert_eq!((list.len(), list.told().len(), list.iter().count()), (2, 0, 2));
        let text = serde_json::to_string(&list).unwrap();
        assert_eq!(text, serde_json::to_string(&list.to_vec()).unwrap());
        assert_eq!(serde_json::from_str::<PlayerList>(&text).unwrap(), list);
    }
}
