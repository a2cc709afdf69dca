//! Players' lines in the netcode of published implementations: ENet, KCP, RakNet, QUIC, and Luanti.
//!
//! Loss is planted one way at a time, and both ways at once. Where a format tells loss on the way to the client by what is
//! sent again (ENet, KCP) or by what the client says it misses (RakNet), a lost acknowledgement looks like lost data, or
//! hides it, unless that is taken into account.

use std::{
    any::Any,
    net::{Ipv4Addr, SocketAddr},
    thread,
    time::{Duration, Instant},
};

use gsmon_agent::{
    Game, GameServer, GameServerMonitor,
    config::{Config, NetcodeSetting},
    demo::proxy::{Done, Impairment, Proxy},
    world::network::{KnownBy, LineSnapshot, NetworkSnapshot},
};
use gsmon_common::netcode::layouts::Format;
use gsmon_tests::{
    counted,
    netns::Netns,
    program_or_skip,
    published::{MESSAGE, Peer, Talk, enet, kcp, luanti, quic, raknet},
    root_or_skip, server,
    third_party::inside,
};

const LIMIT: Duration = Duration::from_secs(30);
/// How long loss and jitter are compared.
const COMPARED: Duration = Duration::from_secs(20);
/// Of loss planted in one direction.
const LOSS: f64 = 0.03;
/// Of loss planted in both, up and down: so different that one cannot be taken for the other.
const UP_AND_DOWN: (f64, f64) = (0.01, 0.04);
/// How long that is compared, and by how many players: lost answers are worked out, which takes many.
const COMPARED_BOTH: Duration = Duration::from_secs(40);
const ALIKE_BOTH: usize = 10;
/// What jitter is spread over; less than a tick, so that nothing is overtaken.
const JITTER: Duration = Duration::from_millis(8);
/// Players who share one kind of line: many packets in a short time.
const ALIKE: usize = 5;

/// Round trips by player, milliseconds up and down.
const PLANTED: [(u64, u64); 3] = [(70, 50), (20, 25), (3, 4)];

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn delayed(delay: u64) -> Impairment {
    Impairment {
        delay: ms(delay),
        ..Impairment::default()
    }
}

/// A server, its clients, each behind a relay of its own, and an agent. An agent each: a process is one server to it.
struct Table {
    monitor: GameServerMonitor,
    name: &'static str,
    proxies: Vec<Proxy>,
    _peers: Box<dyn Any>,
}

impl Table {
    fn new(
        name: &'static str,
        server: Peer,
        netcode: NetcodeSetting,
        lines: &[(Impairment, Impairment)],
        counts: fn(&[u8]) -> u64,
        client: impl Fn(usize, SocketAddr) -> Peer,
    ) -> Self {
        let proxies: Vec<Proxy> = lines
            .iter()
            .zip(1_001u64..)
            .map(|((up, down), place)| {
                // Far apart: from small seeds the first numbers are alike.
                let seed = place.wrapping_mul(0x9e37_79b9_7f4a_7c15);
                Proxy::start_counting(server.address(), *up, *down, seed, counts).unwrap()
            })
            .collect();
        let clients: Vec<Peer> = proxies
            .iter()
            .enumerate()
            .map(|(place, proxy)| client(place, proxy.address()))
            .collect();
        let game = GameServer::new(name, Game::Custom)
            .port(server.address().port())
            .netcode(netcode);
        Self {
            monitor: monitor(game),
            name,
            proxies,
            _peers: Box::new((clients, server)),
        }
    }

    fn network(&self, condition: impl Fn(&NetworkSnapshot) -> bool) -> NetworkSnapshot {
        let end = Instant::now() + LIMIT;
        let mut last = None;
        while Instant::now() < end {
            if let Some(snapshot) = self.monitor.snapshot() {
                let server = server(&snapshot, self.name).unwrap();
                let found = server.network.clone().unwrap();
                if condition(&found) {
                    return found;
                }
                last = Some((found, counted(server)));
            }
            thread::sleep(ms(20));
        }
        panic!(
            "{}: nothing of the kind within {LIMIT:?}; relays: {:?}; last: {last:#?}",
            self.name,
            self.done()
        )
    }

    /// The next look of the agent, and what the relays had done by then.
    fn next(&self) -> (NetworkSnapshot, [Done; 2]) {
        let sequence = |table: &Self| table.monitor.snapshot().map_or(0, |snapshot| snapshot.sequence);
        let before = sequence(self);
        let end = Instant::now() + LIMIT;
        while sequence(self) == before && Instant::now() < end {
            thread::sleep(ms(1));
        }
        let done = self.done();
        (self.all_measured(), done)
    }

    fn all_measured(&self) -> NetworkSnapshot {
        self.network(|network| network.measured == self.proxies.len() as u64)
    }

    fn done(&self) -> [Done; 2] {
        [Proxy::up, Proxy::down].map(|way| {
            self.proxies
                .iter()
                .map(way)
                .fold(Done::default(), |all, one| Done {
                    seen: all.seen + one.seen,
                    dropped: all.dropped + one.dropped,
                    duplicated: all.duplicated + one.duplicated,
                    held: all.held + one.held,
                    carried: all.carried + one.carried,
                    carried_dropped: all.carried_dropped + one.carried_dropped,
                })
        })
    }
}

fn assert_rtt(line: &LineSnapshot, planted: Duration, acknowledgement: Duration, what: &str) {
    let told_ms = line.rtt_min_ns.unwrap_or_else(|| panic!("{what}: no round trip")) / 1e6;
    let planted_ms = planted.as_secs_f64() * 1e3;
    let tolerance_ms = (planted_ms * 0.05).max(2.0);
    let longest_ms = planted_ms + tolerance_ms + acknowledgement.as_secs_f64() * 1e3;
    assert!(
        (planted_ms - tolerance_ms..=longest_ms).contains(&told_ms),
        "{what}: {told_ms:.2} ms told, {planted_ms:.2} ms planted"
    );
}

fn monitor(game: GameServer) -> GameServerMonitor {
    let mut config = Config {
        servers: vec![game],
        ..Config::default()
    };
    config.agent.interval = ms(500);
    GameServerMonitor::builder().config(config).start().unwrap()
}

fn percent(lost: u64, sent: u64) -> f64 {
    100.0 * lost as f64 / sent as f64
}

fn assert_loss(told: f64, done: Done, planted: f64, what: &str) {
    assert_loss_within(told, done, planted, 0.2, what);
}

fn assert_loss_within(told: f64, done: Done, planted: f64, most_off: f64, what: &str) {
    let dropped = percent(done.carried_dropped, done.carried);
    eprintln!(
        "{what}: {told:.3} % told, {dropped:.3} % of {} numbers dropped, {} of {} datagrams",
        done.carried, done.dropped, done.seen
    );
    assert!(dropped > 100.0 * planted / 2.0, "{what}: {dropped:.3} % dropped");
    assert!(
        (told - dropped).abs() <= most_off,
        "{what}: {told:.3} % told, {dropped:.3} % dropped"
    );
}

/// What an interval's totals tell of loss, percent.
fn told(before: &NetworkSnapshot, after: &NetworkSnapshot) -> [f64; 2] {
    let (before, after) = (&before.totals, &after.totals);
    [
        percent(after.up_lost - before.up_lost, after.up_sent - before.up_sent),
        percent(
            after.down_lost - before.down_lost,
            after.down_sent - before.down_sent,
        ),
    ]
}

/// An implementation with sequence numbers.
struct Implementation {
    format: Format,
    server: fn(Talk) -> anyhow::Result<Peer>,
    client: fn(Talk, SocketAddr) -> anyhow::Result<Peer>,
    /// How long a client takes at most to acknowledge.
    acknowledgement: Duration,
    /// Numbers in a datagram.
    numbers: fn(&[u8]) -> u64,
}

impl Implementation {
    fn table(
        &self,
        name: &'static str,
        talk: Talk,
        netcode: NetcodeSetting,
        lines: &[(Impairment, Impairment)],
    ) -> Table {
        let server = (self.server)(talk).unwrap();
        Table::new(name, server, netcode, lines, self.numbers, |_, to| {
            (self.client)(talk, to).unwrap()
        })
    }

    /// Both sides speak, and both ways drop.
    fn test_both_ways(&self, talk: Talk) {
        let lossy = |loss| Impairment { loss, ..delayed(30) };
        let lines = [(lossy(UP_AND_DOWN.0), lossy(UP_AND_DOWN.1)); ALIKE_BOTH];
        let table = self.table("both", talk, NetcodeSetting::Format(self.format), &lines);
        table.all_measured();
        let (before, relayed_before) = table.next();
        thread::sleep(COMPARED_BOTH);
        let (after, relayed) = table.next();
        let what = format!("{}, {talk:?}", self.format.name());
        let [up, down] = told(&before, &after);
        let [done_up, done_down] = [0, 1].map(|way| relayed[way].since(relayed_before[way]));
        assert_loss(up, done_up, UP_AND_DOWN.0, &format!("{what}, up"));
        // Lost answers are worked out from lost numbers. They go in datagrams of their own: by what more or fewer of those
        // the relay really dropped, what is worked out is off, and nobody could know.
        let answers = percent(
            done_up.dropped.saturating_sub(done_up.carried_dropped),
            done_up.seen.saturating_sub(done_up.carried).max(1),
        );
        let chance = (answers - percent(done_up.carried_dropped, done_up.carried)).abs();
        let most_off = 0.2 + chance.min(0.3);
        assert_loss_within(down, done_down, UP_AND_DOWN.1, most_off, &format!("{what}, down"));
    }

    fn test(&self) {
        let lossy = Impairment {
            loss: LOSS,
            ..delayed(30)
        };
        let lossy_and_late = Impairment {
            jitter: JITTER,
            ..lossy
        };
        let three = PLANTED.map(|(up, down)| (delayed(up), delayed(down)));
        let lines = [(delayed(30), lossy); ALIKE];
        let down = self.table(
            "down",
            Talk::ServerOnly,
            NetcodeSetting::Format(self.format),
            &lines,
        );
        let lines = [(lossy_and_late, delayed(30)); ALIKE];
        let up = self.table(
            "up",
            Talk::ClientsOnly,
            NetcodeSetting::Format(self.format),
            &lines,
        );
        let unknown = self.table("unknown", Talk::Both, NetcodeSetting::Auto, &three);

        let all = [&down, &up];
        for table in all {
            table.all_measured();
        }
        let begun = all.map(Table::next);
        let end = Instant::now() + COMPARED;
        let (mut jitter_ns, mut jitters) = (0.0, 0);
        while Instant::now() < end {
            thread::sleep(ms(250));
            for line in up.all_measured().lines.iter() {
                jitter_ns += line.line.jitter_ns.unwrap_or(0.0);
                jitters += 1;
            }
        }
        let ended = all.map(Table::next);
        let name = self.format.name();
        let [(before, relayed_before), (after, relayed)] = [&begun[0], &ended[0]];
        let [_, told_down] = told(before, after);
        assert_loss(
            told_down,
            relayed[1].since(relayed_before[1]),
            LOSS,
            &format!("{name} down"),
        );
        let [(before, relayed_before), (after, relayed)] = [&begun[1], &ended[1]];
        let [told_up, _] = told(before, after);
        assert_loss(
            told_up,
            relayed[0].since(relayed_before[0]),
            LOSS,
            &format!("{name} up"),
        );

        // Mean difference of two that are evenly spread: a third of what they are spread over.
        let (told_ms, planted_ms) = (
            jitter_ns / f64::from(jitters) / 1e6,
            JITTER.as_secs_f64() * 1e3 / 3.0,
        );
        eprintln!("{name} jitter: {told_ms:.3} ms told, {planted_ms:.3} ms planted");
        if self.format.layout().has_clock() {
            assert!(
                (told_ms - planted_ms).abs() <= 0.1 * planted_ms,
                "{name}: jitter of {told_ms:.3} ms told, {planted_ms:.3} ms planted"
            );
        }

        // Of this one the agent was not told what is spoken.
        let found = unknown.all_measured();
        assert_eq!(found.netcode.as_deref(), Some(name));
        assert_eq!(found.known_by, Some(KnownBy::Traffic));
        assert!(found.confidence.unwrap() > 0.8, "{:?}", found.confidence);
        for (line, (up, down)) in found.lines.iter().zip(PLANTED) {
            eprintln!("{name} {up}+{down}: {:?}", line.line);
            assert_rtt(&line.line, ms(up + down), self.acknowledgement, name);
        }
        // Nothing was dropped there.
        assert!(
            found.loss_up_ratio.unwrap() < 0.002,
            "{name}: {:?}",
            found.loss_up_ratio
        );
        assert!(
            found.loss_down_ratio.unwrap() < 0.002,
            "{name}: {:?}",
            found.loss_down_ratio
        );
    }
}

/// Messages in a datagram, each of which has a number of its own.
fn messages(datagram: &[u8]) -> u64 {
    let all = datagram.windows(MESSAGE.len());
    all.filter(|bytes| *bytes == MESSAGE).count() as u64
}

const ENET: Implementation = Implementation {
    format: Format::ENet,
    server: enet::server,
    client: enet::client,
    acknowledgement: gsmon_tests::published::POLL,
    numbers: messages,
};

const KCP: Implementation = Implementation {
    format: Format::Kcp,
    server: kcp::server,
    client: kcp::client,
    acknowledgement: gsmon_tests::published::POLL,
    numbers: messages,
};

const RAKNET: Implementation = Implementation {
    format: Format::RakNet,
    server: raknet::server,
    client: raknet::client,
    acknowledgement: Duration::ZERO,
    // However many messages there are in it.
    numbers: |datagram| u64::from(datagram.first().is_some_and(|kind| kind & 0xe0 == 0x80)),
};

#[test]
fn enet_lines_are_as_planted() {
    if root_or_skip() {
        ENET.test();
    }
}

#[test]
fn kcp_lines_are_as_planted() {
    if root_or_skip() {
        KCP.test();
    }
}

#[test]
fn raknet_lines_are_as_planted() {
    if root_or_skip() {
        RAKNET.test();
    }
}

#[test]
fn enet_loss_of_both_ways_at_once_is_told_apart() {
    if root_or_skip() {
        ENET.test_both_ways(Talk::Apart);
    }
}

#[test]
fn enet_loss_of_both_ways_at_once_is_told_apart_where_clients_answer() {
    if root_or_skip() {
        ENET.test_both_ways(Talk::Both);
    }
}

#[test]
fn kcp_loss_of_both_ways_at_once_is_told_apart() {
    if root_or_skip() {
        KCP.test_both_ways(Talk::Apart);
    }
}

#[test]
fn raknet_loss_of_both_ways_at_once_is_told_apart() {
    if root_or_skip() {
        RAKNET.test_both_ways(Talk::Apart);
    }
}

#[test]
fn raknet_loss_of_both_ways_at_once_is_told_apart_where_clients_answer() {
    if root_or_skip() {
        RAKNET.test_both_ways(Talk::Both);
    }
}

/// Every endpoint leaves the spin bit to chance on one of eight connections (quinn; RFC 9000 asks for one of sixteen at
/// least). The seed decides; these are of clients that spin, and of clients that do not.
const SPINNING: [u8; 9] = [0, 2, 3, 4, 7, 8, 9, 10, 12];
const CHANCE: [u8; 3] = [1, 5, 6];
/// The server does likewise: of so many at least something is told.
const QUIC_MEASURED: u64 = 4;

#[test]
fn quic_round_trips_are_told_by_the_spin_bit_where_it_spins() {
    if !root_or_skip() {
        return;
    }
    let identity = quic::Identity::new().unwrap();
    // All different, so that a told one names its line.
    let seeds = [&SPINNING[..], &CHANCE].concat();
    let planted: Vec<(u64, u64)> = (0..seeds.len() as u64)
        .map(|place| (4 + 6 * place, 3 + 7 * place))
        .collect();
    let lines: Vec<(Impairment, Impairment)> = planted
        .iter()
        .map(|(up, down)| (delayed(*up), delayed(*down)))
        .collect();
    let server = identity.server(2).unwrap();
    let table = Table::new(
        "quic",
        server,
        NetcodeSetting::Auto,
        &lines,
        |_| 1,
        |place, to| identity.client(to, seeds[place]).unwrap(),
    );
    table.network(|network| network.measured >= QUIC_MEASURED);
    thread::sleep(Duration::from_secs(5));
    let found = table.network(|network| network.measured >= QUIC_MEASURED);
    assert_eq!(found.netcode.as_deref(), Some(Format::Quic.name()));
    assert_eq!(found.known_by, Some(KnownBy::Traffic));
    eprintln!("quic: {} of {} spin", found.measured, seeds.len());
    let mut left = planted;
    // Of those that leave it to chance nothing is told.
    left.truncate(SPINNING.len());
    for line in found.lines.iter() {
        let line = &line.line;
        let told_ms = line.rtt_min_ns.unwrap() / 1e6;
        let off = |(up, down): &(u64, u64)| ((up + down) as f64 - told_ms).abs();
        let (nearest, _) = left
            .iter()
            .enumerate()
            .min_by(|(_, a), (_, b)| off(a).total_cmp(&off(b)))
            .unwrap();
        let (up, down) = left.swap_remove(nearest);
        eprintln!("quic {up}+{down}: {line:?}");
        assert_rtt(line, ms(up + down), quic::TICK, "quic");
        assert_eq!(
            (line.loss_up_ratio, line.loss_down_ratio, line.jitter_ns),
            (None, None, None)
        );
    }
}

/// The game itself. How much it says, and how much of that is reliable, is its own business: loss is not compared.
#[test]
fn luanti_round_trips_are_as_planted() {
    if !root_or_skip()
        || !program_or_skip("minetestserver", "minetest-server")
        || !program_or_skip("minetest", "minetest")
    {
        return;
    }
    let planted = [(60, 50), (15, 20)];
    let netns = Netns::new("published").unwrap();
    let home = tempfile::tempdir().unwrap();
    let server = luanti::server(&netns, home.path()).unwrap();
    let to = SocketAddr::from((Ipv4Addr::LOCALHOST, luanti::PORT));
    // Whoever makes a relay inside has it inside.
    let proxies: Vec<Proxy> = inside(&netns, move || {
        planted
            .map(|(up, down)| Proxy::start(to, delayed(up), delayed(down), 1).unwrap())
            .into()
    })
    .unwrap();
    let clients: Vec<_> = ["alice", "bob"]
        .into_iter()
        .zip(&proxies)
        .map(|(name, proxy)| luanti::client(&netns, home.path(), name, proxy.address()).unwrap())
        .collect();
    let game = GameServer::new("luanti", Game::Custom)
        .port(luanti::PORT)
        .executable("minetestserver")
        .netns(netns.path())
        .netcode(NetcodeSetting::Auto);
    let table = Table {
        monitor: monitor(game),
        name: "luanti",
        proxies,
        _peers: Box::new((clients, server)),
    };
    table.all_measured();
    thread::sleep(Duration::from_secs(5));
    let found = table.all_measured();
    assert_eq!(found.netcode.as_deref(), Some(Format::Luanti.name()));
    assert_eq!(found.known_by, Some(KnownBy::Traffic));
    for (line, (up, down)) in found.lines.iter().zip(planted) {
        eprintln!("luanti {up}+{down}: {:?}", line.line);
        assert_rtt(&line.line, ms(up + down), Duration::ZERO, "luanti");
    }
}
