//! The network as players have it: each player's line (round trip, loss each way, jitter), from what the game's own
//! packets say, and what all lines of a server come to.
//!
//! [`recognition`] finds out which format a server's players speak, [`line`] adds up what is read of one flow,
//! [`totals`] what is read of all of them. Decoding itself is `gsmon_common::netcode`, in the kernel.

pub mod line;
pub mod recognition;
pub mod totals;

use std::{collections::HashMap, net::SocketAddr, sync::Arc};

use gsmon_common::{flow::FlowKey, netcode::Layout};
use serde::{Deserialize, Serialize};

pub use self::{
    line::LineSnapshot,
    recognition::{KnownBy, NetcodeState, Recognition},
    totals::{NetworkTotals, Spread},
};
use self::{
    line::{Line, Reading},
    totals::Quantiles,
};
use super::session::{picture::PlayerSnapshot, traffic::remote};
use crate::{
    games::netcode::{Candidate, Spoken},
    host::socket_state::TcpState,
    kernel::{LayoutChoice, NetcodeReading, SeenFlow},
};

/// Lines of a server that are told one by one.
const TOLD_LINES: usize = 256;
/// A line of which nothing was read for so long is gone.
const LINE_SILENCE_MS: i64 = 30_000;

/// What is known of the network between a server and its players.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NetworkSnapshot {
    /// Wire format, where it is known.
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
    /// What is known of it.
    #[serde(flatten)]
    pub line: LineSnapshot,
}

/// The network of one server over time.
pub struct NetworkModel {
    recognition: Recognition,
    lines: HashMap<FlowKey, Line>,
    totals: NetworkTotals,
    picture: NetworkSnapshot,
    /// When the picture was made.
    pictured_ms: i64,
}

/// A picture without news is as old as this at most.
const PICTURE_MS: i64 = 5_000;

impl NetworkModel {
    /// For players who may speak one of these formats.
    pub fn new(recognition: Recognition) -> Self {
        Self {
            recognition,
            lines: HashMap::new(),
            totals: NetworkTotals::default(),
            picture: NetworkSnapshot::default(),
            pictured_ms: 0,
        }
    }

    /// By which layouts its flows are to be read.
    pub fn choice(&self) -> &LayoutChoice {
        self.recognition.choice()
    }

    /// Other formats from now on.
    pub fn respecify(&mut self, recognition: Recognition) {
        self.recognition = recognition;
        self.forget();
    }

    /// New processes: what was found out may no longer hold.
    pub fn restart(&mut self) {
        self.recognition.restart();
        self.forget();
    }

    fn forget(&mut self) {
        self.lines.clear();
        self.pictured_ms = 0;
    }

    /// Shortest round trip of each measured line.
    pub fn shortest_rtt_ns(&self) -> HashMap<SocketAddr, u64> {
        self.lines
            .iter()
            .filter(|(_, line)| line.is_in_order())
            .filter_map(|(key, line)| Some((remote(key), line.told().rtt_min_ns? as u64)))
            .collect()
    }

    /// Adds an interval.
    pub fn advance(
        &mut self,
        readings: &[NetcodeReading],
        flows: &[SeenFlow],
        now_ms: i64,
    ) -> NetworkSnapshot {
        let udp_flows = flows.iter().filter(|flow| flow.rx.packets > 0).count();
        let before = self.recognition.reading().cloned();
        self.recognition.hear(readings, udp_flows, now_ms);
        let reading = self.recognition.reading();
        if before.as_ref() != reading {
            self.lines.clear();
        }
        if let Some(candidate) = reading {
            for read in readings.iter().filter(|read| read.layout == candidate.place) {
                let reading = Reading::new(read, &candidate.layout);
                let line = self.lines.entry(read.key).or_insert_with(|| Line::new(now_ms));
                line.add(&reading, &candidate.layout, now_ms);
                if line.is_in_order() {
                    self.totals.add(&reading, line.told());
                }
            }
        }
        let unchanged = readings.is_empty()
            && self.picture.state == self.recognition.state()
            && (0..PICTURE_MS).contains(&(now_ms - self.pictured_ms));
        if !unchanged {
            self.lines
                .retain(|_, line| now_ms - line.read_ms() < LINE_SILENCE_MS);
            self.picture = self.draw();
            self.pictured_ms = now_ms;
        }
        self.picture.clone()
    }

    fn draw(&self) -> NetworkSnapshot {
        let mut measured: Vec<(&FlowKey, &Line)> = self
            .lines
            .iter()
            .filter(|(_, line)| line.is_in_order() && line.told().says_something())
            .collect();
        let of = |value: fn(&LineSnapshot) -> Option<f64>| {
            Quantiles::of(
                measured
                    .iter()
                    .filter_map(|(_, line)| value(line.told()))
                    .collect(),
            )
        };
        let ratio = |parts: fn(&Line) -> (u64, u64)| {
            let (lost, sent) = measured
                .iter()
                .map(|(_, line)| parts(line))
                .fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1));
            (sent > 0).then(|| lost as f64 / sent as f64)
        };
        let known = self.recognition.reading();
        let tells = |able: fn(&Layout) -> bool| known.is_some_and(|candidate| able(&candidate.layout));
        let (rtt, jitter) = (of(|line| line.rtt_p50_ns), of(|line| line.jitter_ns));
        let up = tells(Layout::tells_up_loss).then(|| ratio(Line::up)).flatten();
        let down = tells(Layout::tells_down_loss)
            .then(|| ratio(Line::down))
            .flatten();
        let count = measured.len() as u64;
        // The slowest first: those are asked for.
        measured.sort_unstable_by(|(a_key, a), (b_key, b)| {
            let slow = |line: &Line| line.told().rtt_p50_ns.unwrap_or(-1.0);
            slow(b).total_cmp(&slow(a)).then_with(|| {
                (a_key.remote_addr, a_key.remote_port).cmp(&(b_key.remote_addr, b_key.remote_port))
            })
        });
        NetworkSnapshot {
            netcode: known.map(|candidate| candidate.name.to_string()),
            state: self.recognition.state(),
            known_by: known.map(|_| self.recognition.known_by()),
            confidence: self.recognition.confidence(),
            measured: count,
            rtt,
            jitter,
            loss_up_ratio: up,
            loss_down_ratio: down,
            totals: self.totals.clone(),
            lines: Arc::new(
                measured
                    .into_iter()
                    .take(TOLD_LINES)
                    .map(|(key, line)| PlayerLine {
                        remote: remote(key),
                        line: line.told().clone(),
                    })
                    .collect(),
            ),
        }
    }
}

/// Formats that players may speak.
pub type Candidates = Arc<[Candidate]>;

impl From<Spoken> for Recognition {
    fn from(spoken: Spoken) -> Self {
        match spoken {
            Spoken::Off => Self::off(),
            Spoken::Configured(one) => Self::new(KnownBy::Configuration, Arc::from([one])),
            Spoken::Game(candidates) => Self::new(KnownBy::Game, candidates),
            Spoken::Any(candidates) => Self::new(KnownBy::Traffic, candidates),
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
