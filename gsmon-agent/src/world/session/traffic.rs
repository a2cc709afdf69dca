//! Which flow on the wire is whose: by address where a log or query tells it, else by time.
//!
//! Behind a proxy, a relay or source NAT, flows are not players: then nothing is matched. That is configured, or noticed:
//! many identities on one address that has fewer flows. Where nobody names players, the flows themselves are the players.
//!
//! A flow outlives its connection for as long as the kernel side keeps silent flows, and whoever asks the server for its
//! status (server browsers, scanners, the agent itself) has flows too. So a flow is taken for a player's only once packets
//! came over several intervals, and for a new player's only if they came lately.

use std::{
    collections::{HashMap, HashSet},
    net::{IpAddr, Ipv6Addr, SocketAddr},
};

use gsmon_common::flow::{FlowKey, Traffic};
use serde::{Deserialize, Serialize};

use super::roster::{PlayerNumber, Presence, Roster};
use crate::{kernel::SeenFlow, world::session::roster::Player};

/// How a flow was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FlowMatch {
    /// The game told address and port.
    Endpoint,
    /// The game told the address, and one flow has it.
    Address,
    /// It began when the player came, and no other did.
    Time,
    /// The flow itself is all that is known of the player.
    FlowOnly,
}

/// Players on one address from which on it is taken for a proxy.
const PROXY_PLAYERS: usize = 4;
/// A flow may begin so much before or after its player is heard of.
const TIME_WINDOW_MS: i64 = 5_000;

/// Intervals over which packets must come; a question and its answer take milliseconds.
const STEADY_INTERVALS: f64 = 2.0;
/// A flow without packets for so long is what is left of a connection.
const SILENCE_MS: i64 = 5_000;

/// Traffic of one player.
#[derive(Clone, Debug, PartialEq)]
pub struct PlayerTraffic {
    /// How the newest flow was found.
    pub by: FlowMatch,
    /// Its remote endpoint.
    pub remote: SocketAddr,
    /// From the player, all flows of this stay.
    pub rx: Traffic,
    /// To the player.
    pub tx: Traffic,
    /// Rates of the last interval.
    pub rx_packets_per_second: f64,
    /// Bytes per second from the player.
    pub rx_bytes_per_second: f64,
    /// Packets per second to the player.
    pub tx_packets_per_second: f64,
    /// Bytes per second to the player.
    pub tx_bytes_per_second: f64,
    key: FlowKey,
    /// Of flows that have ended.
    done: (Traffic, Traffic),
    /// Of the flow at hand.
    last: (Traffic, Traffic),
}

/// The flows of one server's players.
#[derive(Debug, Default)]
pub struct Matches {
    of: HashMap<PlayerNumber, PlayerTraffic>,
    /// Flows that were a player's, and the packets that had come on them when it left: those are of nobody else.
    left: HashMap<FlowKey, u64>,
    /// Is the server taken to be behind a proxy?
    pub proxied: bool,
}

/// Remote endpoint of a flow.
pub fn remote(key: &FlowKey) -> SocketAddr {
    SocketAddr::new(Ipv6Addr::from(key.remote_addr).to_canonical(), key.remote_port)
}

impl Matches {
    /// Traffic of a player, where a flow was found.
    pub fn of(&self, player: PlayerNumber) -> Option<&PlayerTraffic> {
        self.of.get(&player)
    }

    /// When packets came last on a flow that is nobody's and over which they came for some intervals.
    pub fn steady_until(&self, flow: &SeenFlow, seconds: f64, now_ms: i64) -> Option<i64> {
        let silence_ms = i64::from(flow.rx_silence_ms?);
        let lived_ms = flow.age_ms - silence_ms;
        if (lived_ms as f64) < STEADY_INTERVALS * seconds * 1e3 {
            return None;
        }
        let news = self.left.is_empty() || self.left.get(&flow.key) != Some(&flow.rx_total.packets);
        news.then_some(now_ms - silence_ms)
    }

    /// Looks at the flows of an interval.
    pub fn update(
        &mut self,
        roster: &Roster,
        flows: &[SeenFlow],
        configured_proxy: bool,
        seconds: f64,
        now_ms: i64,
    ) {
        self.proxied = configured_proxy || looks_proxied(roster, flows);
        if roster.players().is_empty() && self.of.is_empty() && self.left.is_empty() {
            return;
        }
        let by_key: HashMap<&FlowKey, &SeenFlow> = flows.iter().map(|flow| (&flow.key, flow)).collect();
        for traffic in self.of.values_mut() {
            traffic.count(by_key.get(&traffic.key).copied(), seconds);
        }
        if self.proxied {
            self.keep(|_| false);
            return;
        }
        self.keep(|number| roster.get(number).is_some());
        self.left.retain(|key, _| by_key.contains_key(key));
        let without_flow: Vec<&Player> = roster
            .players()
            .iter()
            .filter(|player| {
                self.of
                    .get(&player.number)
                    .is_none_or(|traffic| !by_key.contains_key(&traffic.key))
            })
            .collect();
        if without_flow.is_empty() || flows.is_empty() {
            return;
        }
        let candidates = flows.iter().filter(|flow| {
            self.steady_until(flow, seconds, now_ms)
                .is_some_and(|heard_ms| now_ms - heard_ms <= SILENCE_MS)
        });
        let mut free = Free::new(
            flows,
            candidates.collect(),
            self.of.values().map(|traffic| traffic.key),
        );
        for player in &without_flow {
            if let Some((flow, by)) = free.by_address(player) {
                self.assign(player.number, flow, by);
            }
        }
        // By time come those of whom the game tells no address, and only where it is unambiguous.
        let nameless: Vec<&Player> = without_flow
            .into_iter()
            .filter(|player| player.who.address.is_none() && player.presence == Presence::Playing)
            .filter(|player| {
                player
                    .who
                    .kind
                    .is_none_or(|known| known.kind == crate::games::event::PlayerKind::Human)
            })
            .filter(|player| !self.of.contains_key(&player.number))
            .collect();
        let mut heard: Vec<i64> = nameless.iter().map(|player| player.heard_ms).collect();
        heard.sort_unstable();
        for player in &nameless {
            let near = |flow: &&SeenFlow| (now_ms - flow.age_ms - player.heard_ms).abs() <= TIME_WINDOW_MS;
            let from = heard.partition_point(|ms| *ms < player.heard_ms - 2 * TIME_WINDOW_MS);
            let to = heard.partition_point(|ms| *ms <= player.heard_ms + 2 * TIME_WINDOW_MS);
            if to - from == 1
                && let Some(flow) = free.only(near)
            {
                self.assign(player.number, flow, FlowMatch::Time);
            }
        }
    }

    /// Forgets whose flows are whose, but for some players.
    fn keep(&mut self, keeps: impl Fn(PlayerNumber) -> bool) {
        let left = &mut self.left;
        self.of.retain(|number, traffic| {
            let kept = keeps(*number);
            if !kept {
                left.insert(traffic.key, traffic.last.0.packets);
            }
            kept
        });
    }

    fn assign(&mut self, player: PlayerNumber, flow: &SeenFlow, by: FlowMatch) {
        let done = self
            .of
            .get(&player)
            .map(|before| (before.rx, before.tx))
            .unwrap_or_default();
        let mut traffic = PlayerTraffic {
            by,
            remote: remote(&flow.key),
            rx: Traffic::default(),
            tx: Traffic::default(),
            rx_packets_per_second: 0.0,
            rx_bytes_per_second: 0.0,
            tx_packets_per_second: 0.0,
            tx_bytes_per_second: 0.0,
            key: flow.key,
            done,
            last: (Traffic::default(), Traffic::default()),
        };
        traffic.count(Some(flow), 0.0);
        self.of.insert(player, traffic);
    }
}

impl PlayerTraffic {
    fn count(&mut self, flow: Option<&SeenFlow>, seconds: f64) {
        let (rx, tx) = flow.map_or(self.last, |flow| (flow.rx_total, flow.tx_total));
        let rate = |now: u64, before: u64| {
            if seconds > 0.0 {
                now.saturating_sub(before) as f64 / seconds
            } else {
                0.0
            }
        };
        self.rx_packets_per_second = rate(rx.packets, self.last.0.packets);
        self.rx_bytes_per_second = rate(rx.bytes, self.last.0.bytes);
        self.tx_packets_per_second = rate(tx.packets, self.last.1.packets);
        self.tx_bytes_per_second = rate(tx.bytes, self.last.1.bytes);
        self.last = (rx, tx);
        self.rx = sum(self.done.0, rx);
        self.tx = sum(self.done.1, tx);
    }
}

fn sum(a: Traffic, b: Traffic) -> Traffic {
    Traffic {
        packets: a.packets + b.packets,
        bytes: a.bytes + b.bytes,
    }
}

/// Flows that nobody has yet.
struct Free<'a> {
    by_remote: HashMap<SocketAddr, &'a SeenFlow>,
    by_host: HashMap<IpAddr, Vec<&'a SeenFlow>>,
    taken: HashSet<FlowKey>,
    candidates: Vec<&'a SeenFlow>,
}

impl<'a> Free<'a> {
    fn new(
        flows: &'a [SeenFlow],
        candidates: Vec<&'a SeenFlow>,
        taken: impl Iterator<Item = FlowKey>,
    ) -> Self {
        let mut by_host: HashMap<IpAddr, Vec<&SeenFlow>> = HashMap::new();
        for flow in &candidates {
            by_host.entry(remote(&flow.key).ip()).or_default().push(flow);
        }
        let mut by_remote: HashMap<SocketAddr, &SeenFlow> = HashMap::with_capacity(flows.len());
        for flow in flows {
            // One socket of a client may speak to several ports of the server: it plays where most comes from it.
            by_remote
                .entry(remote(&flow.key))
                .and_modify(|known| {
                    if flow.rx_total.packets > known.rx_total.packets {
                        *known = flow;
                    }
                })
                .or_insert(flow);
        }
        Self {
            by_remote,
            by_host,
            taken: taken.collect(),
            candidates,
        }
    }

    fn by_address(&mut self, player: &Player) -> Option<(&'a SeenFlow, FlowMatch)> {
        let host = player.who.address?;
        let (flow, by) = match player.who.port {
            Some(port) => (
                *self.by_remote.get(&SocketAddr::new(host, port))?,
                FlowMatch::Endpoint,
            ),
            None => {
                let there = self.by_host.get(&host)?.iter().copied();
                let flow = alone(there.filter(|flow| !self.taken.contains(&flow.key)))?;
                (flow, FlowMatch::Address)
            }
        };
        self.taken.insert(flow.key).then_some((flow, by))
    }

    fn only(&mut self, fits: impl Fn(&&SeenFlow) -> bool) -> Option<&'a SeenFlow> {
        let fitting = self
            .candidates
            .iter()
            .copied()
            .filter(|flow| !self.taken.contains(&flow.key))
            .filter(fits);
        let flow = alone(fitting)?;
        self.taken.insert(flow.key);
        Some(flow)
    }
}

/// The only one.
fn alone<T>(mut fitting: impl Iterator<Item = T>) -> Option<T> {
    let first = fitting.next()?;
    fitting.next().is_none().then_some(first)
}

/// Many identities on one address, and fewer flows than identities there.
fn looks_proxied(roster: &Roster, flows: &[SeenFlow]) -> bool {
    let mut players: HashMap<IpAddr, usize> = HashMap::new();
    for address in roster.playing().filter_map(|player| player.who.address) {
        *players.entry(address).or_default() += 1;
    }
    players.iter().any(|(address, count)| {
        *count >= PROXY_PLAYERS
            && flows
                .iter()
                .filter(|flow| remote(&flow.key).ip() == *address)
                .count()
                < *count
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::games::event::PlayerRef;

    fn flow(last: u8, port: u16, packets: u64, age_ms: i64) -> SeenFlow {
        let mut key = FlowKey {
            server: 1,
            remote_port: port,
            protocol: 17,
            ..FlowKey::default()
        };
        key.remote_addr = std::net::Ipv4Addr::new(192, 0, 2, last).to_ipv6_mapped().octets();
        let traffic = Traffic {
            packets,
            bytes: packets * 100,
        };
        SeenFlow {
            key,
            rx_total: traffic,
            tx_total: traffic,
            rx: traffic,
            tx: traffic,
            age_ms,
            rx_silence_ms: Some(0),
            ..SeenFlow::default()
        }
    }

    fn look(matches: &mut Matches, roster: &Roster, flows: &[SeenFlow], seconds: f64, now_ms: i64) {
        matches.update(roster, flows, false, seconds, now_ms);
    }

    fn at(last: u8, port: Option<u16>, name: &str) -> PlayerRef {
        PlayerRef::named(name).with_address([192, 0, 2, last].into(), port)
    }

    #[test]
    fn a_flow_without_a_name_plays_in_the_session_of_the_process() {
        let session: std::sync::Arc<str> = "1-1".into();
        let flows = vec![(&flow(7, 1_000, 10, 5_000)).into()];
        let players = super::super::players::PlayerList::of_flows(
            flows,
            Some(&session),
            &Default::default(),
            1.0,
            60_000,
        );
        assert_eq!(players[0].session, Some(session));
        assert_eq!(players[0].joined_unix_ms, 55_000);
    }

    fn number(roster: &Roster, name: &str) -> PlayerNumber {
        roster
            .playing()
            .find(|player| player.who.name.as_deref() == Some(name))
            .unwrap()
            .number
    }

    #[test]
    fn endpoint_then_address_then_time() {
        let mut roster = Roster::default();
        roster.joined(&at(1, Some(40), "endpoint"), None, 0);
        roster.joined(&at(2, None, "address"), None, 0);
        roster.joined(&at(3, None, "two flows there"), None, 0);
        roster.joined(&PlayerRef::named("time"), None, 60_000);
        let flows = [
            flow(1, 40, 10, 70_000),
            flow(1, 41, 10, 70_000),
            flow(2, 9, 20, 70_000),
            flow(3, 1, 1, 70_000),
            flow(3, 2, 1, 70_000),
            flow(9, 9, 30, 9_000),
        ];
        let mut matches = Matches::default();
        look(&mut matches, &roster, &flows, 1.0, 70_000);
        let by = |name| {
            matches
                .of(number(&roster, name))
                .map(|traffic| (traffic.by, traffic.rx.packets))
        };
        assert_eq!(by("endpoint"), Some((FlowMatch::Endpoint, 10)));
        assert_eq!(by("address"), Some((FlowMatch::Address, 20)));
        assert_eq!(by("two flows there"), None, "a guess would be worth nothing");
        assert_eq!(by("time"), Some((FlowMatch::Time, 30)));
    }

    #[test]
    fn a_reconnect_adds_up() {
        let mut roster = Roster::default();
        roster.joined(&at(1, None, "a"), None, 0);
        let mut matches = Matches::default();
        look(&mut matches, &roster, &[flow(1, 40, 10, 9_000)], 1.0, 1_000);
        look(&mut matches, &roster, &[flow(1, 40, 14, 11_000)], 2.0, 3_000);
        let traffic = matches.of(number(&roster, "a")).unwrap();
        assert_eq!((traffic.rx.packets, traffic.rx_packets_per_second), (14, 2.0));
        look(&mut matches, &roster, &[flow(1, 77, 5, 2_000)], 1.0, 4_000);
        assert_eq!(matches.of(number(&roster, "a")).unwrap().rx.packets, 19);
    }

    /// A flow without packets in this interval, nor in any that was looked at.
    fn silent(flow: SeenFlow) -> SeenFlow {
        SeenFlow {
            rx: Traffic::default(),
            tx: Traffic::default(),
            rx_silence_ms: None,
            ..flow
        }
    }

    #[test]
    fn what_is_left_of_a_players_flow_is_nobodys_until_packets_come_again() {
        let mut roster = Roster::default();
        let who = at(1, None, "a");
        roster.joined(&who, None, 0);
        let mut matches = Matches::default();
        look(&mut matches, &roster, &[flow(1, 40, 10, 9_000)], 1.0, 10_000);
        assert!(matches.of(PlayerNumber(1)).is_some());
        // Its last packets come in the interval in which it leaves; then it is back, and the flow still stands.
        let mut left = flow(1, 40, 12, 10_000);
        roster.left(&who, None, 11_000);
        roster.joined(&who, None, 11_000);
        look(&mut matches, &roster, &[left], 1.0, 11_000);
        assert_eq!(matches.of(PlayerNumber(2)), None);
        left.rx_silence_ms = Some(1_000);
        look(&mut matches, &roster, &[left], 1.0, 12_000);
        assert_eq!(matches.of(PlayerNumber(2)), None);
        look(&mut matches, &roster, &[flow(1, 40, 13, 12_000)], 1.0, 13_000);
        assert_eq!(
            matches.of(PlayerNumber(2)).map(|traffic| traffic.rx.packets),
            Some(13)
        );
    }

    #[test]
    fn flows_of_the_past_and_questions_are_not_players() {
        let mut roster = Roster::default();
        roster.joined(&at(1, None, "back again"), None, 0);
        roster.joined(&PlayerRef::named("time"), None, 60_000);
        let mut matches = Matches::default();
        // Only what is left of the last connection.
        let mut flows = vec![silent(flow(1, 40, 10, 50_000))];
        look(&mut matches, &roster, &flows, 1.0, 60_000);
        assert_eq!(matches.of(PlayerNumber(1)), None);
        // The new connection, and a monitoring system that asks from the same host.
        flows.extend([flow(1, 41, 7, 3_000), flow(1, 42, 1, 300)]);
        // Two who asked when the other player came, and that player's own.
        flows.extend([
            silent(flow(8, 1, 1, 2_000)),
            flow(8, 2, 1, 900),
            flow(9, 9, 30, 4_000),
            flow(8, 3, 1, 1_100),
        ]);
        look(&mut matches, &roster, &flows, 1.0, 63_000);
        let by = |number| {
            let traffic = matches.of(PlayerNumber(number)).unwrap();
            (traffic.by, traffic.remote.port())
        };
        assert_eq!(by(1), (FlowMatch::Address, 41));
        assert_eq!(by(2), (FlowMatch::Time, 9));
    }

    #[test]
    fn many_on_one_address_with_fewer_flows_are_behind_a_proxy() {
        let mut roster = Roster::default();
        for n in 0..5u16 {
            roster.joined(&at(1, Some(1_000 + n), &n.to_string()), None, 0);
        }
        let mut matches = Matches::default();
        look(
            &mut matches,
            &roster,
            &[flow(1, 1_000, 10, 0), flow(1, 7, 1, 0)],
            1.0,
            0,
        );
        assert!(matches.proxied && matches.of(PlayerNumber(1)).is_none());
        // A household behind NAT has a flow each.
        let flows: Vec<SeenFlow> = (0..5).map(|n| flow(1, 1_000 + n, 10, 0)).collect();
        look(&mut matches, &roster, &flows, 1.0, 0);
        assert!(!matches.proxied && matches.of(PlayerNumber(5)).is_some());
    }
}
