//! The network as players have it: each player's line (round trip, loss each way, jitter), from what the game's own
//! packets say, and what all lines of a server come to.
//!
//! [`recognition`] finds out which format is spoken on one port of a server, [`line`] adds up what is read of one flow,
//! [`port`] has those of a port, [`model`] all ports, [`totals`] what is read of all of them. Decoding itself is `gsmon_common::netcode`, in the kernel.

pub mod line;
pub mod model;
pub mod port;
pub mod recognition;
pub mod totals;

use std::{collections::HashMap, net::SocketAddr, sync::Arc};

use serde::{Deserialize, Serialize};

use self::totals::Quantiles;
pub use self::{
    line::LineSnapshot,
    model::NetworkModel,
    port::PortNetwork,
    recognition::{KnownBy, NetcodeState, Recognition},
    totals::{NetworkTotals, Spread},
};
use super::session::picture::PlayerSnapshot;
use crate::{
    games::netcode::{Candidate, Spoken},
    host::socket_state::TcpState,
};

/// Lines of a server that are told one by one.
const TOLD_LINES: usize = 256;

/// What is known of the network between a server and its players.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NetworkSnapshot {
    /// Wire format, where it is known. It and the three after it are of the port with the most measured lines, where there
    /// are several.
    pub netcode: Option<String>,
    /// How far reading it has come.
    pub state: NetcodeState,
    /// How the format is known.
    pub known_by: Option<KnownBy>,
    /// How sure, 0 to 1: how many packets fit the format and follow one another.
    pub confidence: Option<f64>,
    /// Lines that are measured.
    pub measured: u64,
    /// Median round trip of the lines: the middle line, and the worst one in twenty.
    pub rtt: Option<Quantiles>,
    /// Jitter of the lines (RFC 3550).
    pub jitter: Option<Quantiles>,
    /// Loss on the way to the server, all lines together, in the last 10 to 20 s.
    pub loss_up_ratio: Option<f64>,
    /// Loss on the way to the players.
    pub loss_down_ratio: Option<f64>,
    /// Since the agent follows the server.
    pub totals: NetworkTotals,
    /// Port by port, where players have been heard.
    #[serde(default)]
    pub ports: Vec<PortNetwork>,
    /// Ports with players beyond those: nothing is read there.
    #[serde(default)]
    pub ports_left_out: u64,
    /// Line by line, at most 256. Shared between snapshots until something new is read.
    pub lines: Arc<Vec<PlayerLine>>,
}

impl NetworkSnapshot {
    /// Adds round trips that the game itself tells of its players (by name, milliseconds), where packets tell none. They
    /// are told of players whose flow is known, and whose name is one player's only.
    pub fn add_stated(&mut self, players: &[PlayerSnapshot], stated: &[(Arc<str>, u16)]) {
        let mut of: HashMap<&str, Option<SocketAddr>> = HashMap::new();
        for player in players {
            let (Some(name), Some(flow)) = (&player.name, &player.flow) else {
                continue;
            };
            of.entry(name)
                .and_modify(|known| *known = None)
                .or_insert(Some(flow.remote));
        }
        let mut added = false;
        for (name, rtt_ms) in stated {
            let Some(Some(remote)) = of.get(&**name).copied() else {
                continue;
            };
            let known = self.lines.iter().position(|line| line.remote == remote);
            if known.is_none() {
                if self.lines.len() >= TOLD_LINES {
                    continue;
                }
                Arc::make_mut(&mut self.lines).push(PlayerLine {
                    remote,
                    port: None,
                    line: LineSnapshot::default(),
                });
                self.measured += 1;
            }
            let place = known.unwrap_or(self.lines.len() - 1);
            let line = &mut Arc::make_mut(&mut self.lines)[place].line;
            if line.rtt_p50_ns.is_none() {
                line.rtt_p50_ns = Some(f64::from(*rtt_ms) * 1e6);
                line.rtt_stated = true;
                added = true;
            }
        }
        if added {
            self.rtt = Quantiles::of(
                self.lines
                    .iter()
                    .filter_map(|line| line.line.rtt_p50_ns)
                    .collect(),
            );
        }
    }

    /// Of a server whose players come by TCP, what the kernel's TCP knows of their paths: smoothed round trip, the
    /// shortest that it remembers, and the share of segments that were sent again, since the connection began. It takes
    /// an acknowledgement that the client delays for a part of the round trip.
    pub fn or_by_tcp(self, connections: &HashMap<SocketAddr, TcpState>) -> Self {
        if self.state != NetcodeState::Off || connections.is_empty() {
            return self;
        }
        let mut lines: Vec<PlayerLine> = connections
            .values()
            .map(|connection| {
                let ns = |value: Option<u64>| value.map(|value| value as f64);
                let sent = connection.segments_sent;
                PlayerLine {
                    remote: connection.remote,
                    port: None,
                    line: LineSnapshot {
                        rtt_min_ns: ns(connection.min_rtt_ns),
                        rtt_p50_ns: ns(connection.rtt_ns),
                        loss_down_ratio: (sent > 0)
                            .then(|| (f64::from(connection.retransmits) / f64::from(sent)).min(1.0)),
                        ..LineSnapshot::default()
                    },
                }
            })
            .collect();
        let slow = |line: &PlayerLine| line.line.rtt_p50_ns.unwrap_or(-1.0);
        lines.sort_unstable_by(|a, b| slow(b).total_cmp(&slow(a)).then_with(|| a.remote.cmp(&b.remote)));
        let retransmits: u64 = connections.values().map(|one| u64::from(one.retransmits)).sum();
        let sent: u64 = connections.values().map(|one| u64::from(one.segments_sent)).sum();
        let measured = lines.len() as u64;
        let rtt = Quantiles::of(lines.iter().filter_map(|line| line.line.rtt_p50_ns).collect());
        lines.truncate(TOLD_LINES);
        Self {
            netcode: Some("tcp".into()),
            state: NetcodeState::Reading,
            known_by: Some(KnownBy::Kernel),
            measured,
            rtt,
            loss_down_ratio: (sent > 0).then(|| retransmits as f64 / sent as f64),
            lines: Arc::new(lines),
            ..self
        }
    }
}

/// The line of one remote endpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlayerLine {
    /// Whose.
    pub remote: SocketAddr,
    /// The server's port that it plays on; `None` where its packets are not read.
    #[serde(default)]
    pub port: Option<u16>,
    /// What is known of it.
    #[serde(flatten)]
    pub line: LineSnapshot,
}

/// Formats that players may speak.
pub type Candidates = Arc<[Candidate]>;

impl From<&Spoken> for Recognition {
    fn from(spoken: &Spoken) -> Self {
        match spoken {
            Spoken::Off => Self::off(),
            Spoken::Configured(one) => Self::new(KnownBy::Configuration, Arc::from([one.clone()])),
            Spoken::Game(candidates) => Self::new(KnownBy::Game, Arc::clone(candidates)),
            Spoken::Any(candidates) => Self::new(KnownBy::Traffic, Arc::clone(candidates)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{games::event::PlayerKind, world::session::ask::tests::a_player};

    #[test]
    fn what_the_game_tells_stands_in_where_packets_tell_no_round_trip() {
        let named = |number: u64, name: &str| a_player(number, name, PlayerKind::Human, "1");
        let players = [named(1, "Ann"), named(2, "Bob"), named(3, "Bob")];
        let remote = players[0].flow.as_ref().unwrap().remote;
        let read = PlayerLine {
            remote,
            port: Some(27_960),
            line: LineSnapshot {
                loss_up_ratio: Some(0.01),
                ..LineSnapshot::default()
            },
        };
        let mut network = NetworkSnapshot {
            measured: 1,
            lines: Arc::new(vec![read]),
            ..NetworkSnapshot::default()
        };
        // Which of the two is meant cannot be told.
        let stated = [("Ann".into(), 48), ("Bob".into(), 70), ("Nobody".into(), 1)];
        network.add_stated(&players, &stated);
        assert_eq!(network.lines.len(), 1);
        let line = &network.lines[0].line;
        assert_eq!((line.rtt_p50_ns, line.rtt_stated), (Some(48e6), true));
        assert_eq!(line.loss_up_ratio, Some(0.01));
        assert_eq!(network.rtt.unwrap().p50_ns, 48e6);
        // What packets tell is not overruled.
        Arc::make_mut(&mut network.lines)[0].line.rtt_p50_ns = Some(1e6);
        network.add_stated(&players, &stated);
        assert_eq!(network.lines[0].line.rtt_p50_ns, Some(1e6));
    }
}
