//! The network of one server over time: its ports, each with a format and lines of its own, and what they come to.

use std::{collections::HashMap, net::SocketAddr, sync::Arc};

use gsmon_common::{flow::FlowKey, proto};

use super::{
    NetworkSnapshot, PlayerLine, TOLD_LINES,
    line::{Line, LineSnapshot},
    port::{Losses, PortModel, PortNetwork, ratio},
    recognition::{NetcodeState, Recognition},
    totals::{NetworkTotals, Quantiles},
};
use crate::{
    games::netcode::SpokenByPort,
    kernel::{LayoutChoices, NetcodeReading, SeenFlow},
    world::session::traffic::remote,
};

/// Ports of a server that are read. Servers have a few; beyond these, those where players came first are read.
const PORTS: usize = 16;
/// A picture without news is as old as this at most.
const PICTURE_MS: i64 = 5_000;

/// The network of one server over time.
#[derive(Default)]
pub struct NetworkModel {
    spoken: SpokenByPort,
    /// Where players have been heard, in order.
    ports: Vec<PortModel>,
    choices: LayoutChoices,
    ports_left_out: u64,
    totals: NetworkTotals,
    picture: NetworkSnapshot,
    /// When the picture was made; `None` where it does not hold any more.
    pictured_ms: Option<i64>,
}

impl NetworkModel {
    /// For players who may speak this.
    pub fn new(spoken: SpokenByPort) -> Self {
        Self {
            spoken,
            ..Self::default()
        }
    }

    /// By which layouts its flows are to be read.
    pub fn choices(&self) -> &LayoutChoices {
        &self.choices
    }

    /// Other formats from now on.
    pub fn respecify(&mut self, spoken: SpokenByPort) {
        self.spoken = spoken;
        self.restart();
    }

    /// New processes: what was found out may no longer hold.
    pub fn restart(&mut self) {
        self.ports.clear();
        self.choices = LayoutChoices::default();
        self.pictured_ms = None;
    }

    /// Shortest round trip of each measured line.
    pub fn shortest_rtt_ns(&self) -> HashMap<SocketAddr, u64> {
        let mut shortest = HashMap::new();
        for (key, line) in self.ports.iter().flat_map(PortModel::in_order) {
            if let Some(rtt_ns) = line.told().rtt_min_ns {
                let known = shortest.entry(remote(key)).or_insert(rtt_ns as u64);
                *known = (*known).min(rtt_ns as u64);
            }
        }
        shortest
    }

    /// Adds an interval.
    pub fn advance(
        &mut self,
        readings: &[NetcodeReading],
        flows: &[SeenFlow],
        now_ms: i64,
    ) -> NetworkSnapshot {
        let mut news = self.hear_of(flows);
        for port in &mut self.ports {
            news |= port.hear(readings, &mut self.totals, now_ms);
            self.choices.set(port.port, port.recognition().choice());
        }
        let holds = |pictured_ms: i64| (0..PICTURE_MS).contains(&(now_ms - pictured_ms));
        if news || !readings.is_empty() || !self.pictured_ms.is_some_and(holds) {
            for port in &mut self.ports {
                port.forget_silent(now_ms);
            }
            self.picture = self.draw();
            self.pictured_ms = Some(now_ms);
        }
        self.picture.clone()
    }

    /// Counts the flows of each port. Is there another port?
    fn hear_of(&mut self, flows: &[SeenFlow]) -> bool {
        for port in &mut self.ports {
            port.flows = 0;
        }
        let mut left_out: Vec<u16> = Vec::new();
        let mut fresh = false;
        // Flows of one port mostly stand together.
        let mut place = 0;
        for flow in flows {
            if flow.rx.packets == 0 || flow.key.protocol != proto::UDP {
                continue;
            }
            let port = flow.key.local_port;
            if self.ports.get(place).is_none_or(|known| known.port != port) {
                place = match self.ports.binary_search_by_key(&port, |known| known.port) {
                    Ok(found) => found,
                    Err(_) if self.ports.len() >= PORTS && !self.make_room() => {
                        if !left_out.contains(&port) {
                            left_out.push(port);
                        }
                        continue;
                    }
                    Err(_) => {
                        fresh = true;
                        let at = self.ports.partition_point(|known| known.port < port);
                        let recognition = Recognition::from(self.spoken.on(port));
                        self.ports.insert(at, PortModel::new(port, recognition));
                        at
                    }
                };
            }
            self.ports[place].flows += 1;
        }
        self.ports_left_out = left_out.len() as u64;
        fresh
    }

    /// Lets go of a port where nobody plays any more.
    fn make_room(&mut self) -> bool {
        let idle = |port: &PortModel| port.flows == 0 && port.in_order().next().is_none();
        let Some(found) = self.ports.iter().position(idle) else {
            return false;
        };
        self.ports.remove(found);
        let ports = &self.ports;
        self.choices
            .retain(|port| ports.iter().any(|known| known.port == port));
        true
    }

    fn draw(&self) -> NetworkSnapshot {
        let mut measured: Vec<(&FlowKey, &Line)> = self.ports.iter().flat_map(PortModel::measured).collect();
        let of = |value: fn(&LineSnapshot) -> Option<f64>| {
            Quantiles::of(
                measured
                    .iter()
                    .filter_map(|(_, line)| value(line.told()))
                    .collect(),
            )
        };
        let (rtt, jitter) = (of(|line| line.rtt_p50_ns), of(|line| line.jitter_ns));
        let losses = self
            .ports
            .iter()
            .map(PortModel::losses)
            .fold(Losses::default(), |all, one| Losses {
                up: (all.up.0 + one.up.0, all.up.1 + one.up.1),
                down: (all.down.0 + one.down.0, all.down.1 + one.down.1),
            });
        let count = measured.len() as u64;
        // The slowest first: those are asked for.
        measured.sort_unstable_by(|(a_key, a), (b_key, b)| {
            let slow = |line: &Line| line.told().rtt_p50_ns.unwrap_or(-1.0);
            let name = |key: &FlowKey| (key.remote_addr, key.remote_port, key.local_port);
            slow(b)
                .total_cmp(&slow(a))
                .then_with(|| name(a_key).cmp(&name(b_key)))
        });
        let ports: Vec<PortNetwork> = self.ports.iter().map(PortModel::draw).collect();
        // The first of equal ones.
        let weight = |port: &&PortNetwork| (port.measured, port.state != NetcodeState::Off);
        let main = ports.iter().rev().max_by_key(weight).cloned();
        let main =
            main.unwrap_or_else(|| PortModel::new(0, Recognition::from(self.spoken.at_first())).draw());
        NetworkSnapshot {
            netcode: main.netcode,
            state: main.state,
            known_by: main.known_by,
            confidence: main.confidence,
            measured: count,
            rtt,
            jitter,
            loss_up_ratio: ratio(losses.up),
            loss_down_ratio: ratio(losses.down),
            totals: self.totals.clone(),
            ports,
            ports_left_out: self.ports_left_out,
            lines: Arc::new(
                measured
                    .into_iter()
                    .take(TOLD_LINES)
                    .map(|(key, line)| PlayerLine {
                        remote: remote(key),
                        port: Some(key.local_port),
                        line: line.told().clone(),
                    })
                    .collect(),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{Game, GameServer},
        games::netcode::spoken,
        kernel::LayoutChoice,
    };

    fn flow(port: u16, packets: u64) -> SeenFlow {
        let key = FlowKey {
            server: 1,
            local_port: port,
            remote_port: 40_000,
            protocol: proto::UDP,
            ..FlowKey::default()
        };
        let mut flow = SeenFlow {
            key,
            ..SeenFlow::default()
        };
        flow.rx.packets = packets;
        flow
    }

    #[test]
    fn ports_are_looked_at_one_by_one_and_beyond_sixteen_of_them_not_at_all() {
        let server = GameServer::new("a", Game::Custom).executable("x");
        let mut model = NetworkModel::new(spoken(&server, &[]));
        let first = model.advance(&[], &[], 0);
        assert_eq!((first.state, first.ports.len()), (NetcodeState::Looking, 0));
        let flows: Vec<SeenFlow> = (1..=18).rev().map(|port| flow(port, 1)).collect();
        let network = model.advance(&[], &flows, 1_000);
        let ports: Vec<u16> = network.ports.iter().map(|port| port.port).collect();
        assert_eq!(ports, (3..=18).collect::<Vec<u16>>());
        assert_eq!(network.ports_left_out, 2);
        let choice = |model: &NetworkModel, port| model.choices().of(port).clone();
        assert!(matches!(choice(&model, 18), LayoutChoice::Trial(_)));
        assert_eq!(choice(&model, 1), LayoutChoice::Off);
        // Where nobody plays any more there is room for another port; its choice goes with it.
        let flows: Vec<SeenFlow> = (1..=18).map(|port| flow(port, u64::from(port != 18))).collect();
        let network = model.advance(&[], &flows, 2_000);
        assert_eq!(network.ports.len(), 16);
        assert_eq!(network.ports_left_out, 1);
        assert_eq!(choice(&model, 18), LayoutChoice::Off);
        assert!(matches!(choice(&model, 1), LayoutChoice::Trial(_)));
    }
}
