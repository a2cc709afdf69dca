//! A server whose ports speak different formats: each port is recognised and read by its own.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use gsmon_agent::{
    Game, GameServer, GameServerMonitor,
    config::{Config, NetcodeSetting},
    demo::proxy::{Impairment, Proxy},
    world::{
        network::{KnownBy, NetcodeState, NetworkSnapshot},
        snapshot::Snapshot,
    },
};
use gsmon_tests::{
    published::{Peer, Talk, enet},
    root_or_skip, server,
    speakers::{self, Running, Speaks},
    wait_for,
};

const LIMIT: Duration = Duration::from_secs(60);
const NAME: &str = "two-ports";

/// A server process; it ends when its input is closed.
struct Speaker {
    child: Child,
    formats: String,
    ports: Vec<u16>,
}

impl Speaker {
    fn start(formats: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_gsmon-speaker"))
            .args(formats)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ports = lines
            .take(formats.len())
            .map(|line| line.unwrap().parse().unwrap())
            .collect();
        Self {
            child,
            formats: formats.join(" "),
            ports,
        }
    }

    fn monitor(&self, server: impl FnOnce(GameServer) -> GameServer) -> GameServerMonitor {
        // Found by its process, all ports of it are game ports.
        let game = GameServer::new(NAME, Game::Custom)
            .executable("gsmon-speaker")
            .command_line(format!("gsmon-speaker {}$", self.formats));
        let mut config = Config {
            servers: vec![server(game)],
            ..Config::default()
        };
        config.agent.interval = ms(500);
        GameServerMonitor::builder().config(config).start().unwrap()
    }
}

impl Drop for Speaker {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// A relay that holds everything back for `one_way` each way.
fn relay(port: u16, one_way: u64, seed: u64) -> Proxy {
    let delayed = Impairment {
        delay: ms(one_way),
        ..Impairment::default()
    };
    Proxy::start(([127, 0, 0, 1], port).into(), delayed, delayed, seed * 7_919).unwrap()
}

fn network(monitor: &GameServerMonitor, condition: impl Fn(&NetworkSnapshot) -> bool) -> NetworkSnapshot {
    let of = |snapshot: &Snapshot| server(snapshot, NAME).unwrap().network.clone().unwrap();
    let found = wait_for(monitor, LIMIT, |snapshot| condition(&of(snapshot))).unwrap();
    of(&found)
}

/// One-way delays of the players on the first and on the second port: none twice.
const PLANTED: [[u64; 2]; 2] = [[5, 40], [15, 90]];

/// Every line of a port has one of the round trips that were planted there, each once.
fn assert_planted(network: &NetworkSnapshot, ports: &[u16]) {
    for (port, planted) in ports.iter().zip(PLANTED) {
        let mut told: Vec<f64> = network
            .lines
            .iter()
            .filter(|line| line.port == Some(*port))
            .map(|line| line.line.rtt_min_ns.unwrap() / 1e6)
            .collect();
        told.sort_unstable_by(f64::total_cmp);
        assert_eq!(told.len(), planted.len(), "port {port}: {network:#?}");
        for (told_ms, one_way) in told.into_iter().zip(planted) {
            let planted_ms = 2.0 * one_way as f64;
            let tolerance_ms = (planted_ms * 0.05).max(2.0);
            assert!(
                (told_ms - planted_ms).abs() <= tolerance_ms,
                "port {port}: {told_ms:.2} ms told, {planted_ms:.2} ms planted"
            );
        }
    }
}

#[test]
fn each_port_is_recognised_by_itself_and_its_players_round_trips_are_told() {
    if !root_or_skip() {
        return;
    }
    let speaker = Speaker::start(&["enet", "unreal5"]);
    let monitor = speaker.monitor(|game| game);
    let [first, second] = speaker.ports[..] else {
        panic!("two ports")
    };
    let relays = [0, 1].map(|place| {
        [
            relay(first, PLANTED[0][place], 10 + place as u64),
            relay(second, PLANTED[1][place], 20 + place as u64),
        ]
    });
    let _enets: Vec<Peer> = relays
        .iter()
        .map(|[relay, _]| enet::client(Talk::Both, relay.address()).unwrap())
        .collect();
    let _unreals: Vec<Running> = relays
        .iter()
        .map(|[_, relay]| speakers::client(Speaks::Unreal5, relay.address()).unwrap())
        .collect();
    network(&monitor, |network| network.measured == 4);
    thread::sleep(Duration::from_secs(3));
    let network = network(&monitor, |network| network.measured == 4);
    let mut ports: Vec<_> = network
        .ports
        .iter()
        .map(|port| (port.port, port.netcode.as_deref(), port.measured))
        .collect();
    ports.sort_unstable_by_key(|(port, ..)| *port != first);
    assert_eq!(ports, [(first, Some("enet"), 2), (second, Some("unreal5"), 2)]);
    for port in &network.ports {
        assert_eq!(port.known_by, Some(KnownBy::Traffic));
        assert!(port.confidence.unwrap() > 0.8, "{port:?}");
    }
    assert_planted(&network, &speaker.ports);
    let [fast, slow] = [0, 1].map(|place| {
        network
            .ports
            .iter()
            .find(|port| port.port == speaker.ports[place])
            .unwrap()
    });
    assert!(fast.rtt.unwrap().p95_ns < slow.rtt.unwrap().p95_ns);
}

#[test]
fn what_is_configured_for_a_port_holds_for_that_port_alone() {
    if !root_or_skip() {
        return;
    }
    let speaker = Speaker::start(&["source", "unity-transport", "goldsrc"]);
    let [first, second, silent] = speaker.ports[..] else {
        panic!("three ports")
    };
    let monitor = speaker.monitor(|game| {
        game.netcode(NetcodeSetting::from("source".to_owned()))
            .netcode_on(second, NetcodeSetting::from("unity-transport".to_owned()))
            .netcode_on(silent, NetcodeSetting::Off)
    });
    let relays = [0, 1].map(|place| {
        [
            relay(first, PLANTED[0][place], 30 + place as u64),
            relay(second, PLANTED[1][place], 40 + place as u64),
        ]
    });
    let _clients: Vec<[Running; 2]> = relays
        .iter()
        .map(|[source, unity]| {
            [
                speakers::client(Speaks::Source, source.address()).unwrap(),
                speakers::client(Speaks::UnityTransport, unity.address()).unwrap(),
            ]
        })
        .collect();
    let _off = speakers::client(Speaks::GoldSrc, ([127, 0, 0, 1], silent).into()).unwrap();
    let all = |network: &NetworkSnapshot| network.measured == 4 && network.ports.len() == 3;
    network(&monitor, all);
    thread::sleep(Duration::from_secs(3));
    let network = network(&monitor, all);
    assert_planted(&network, &speaker.ports);
    let of = |port: u16| {
        let found = network.ports.iter().find(|known| known.port == port).unwrap();
        (found.netcode.as_deref(), found.state, found.known_by)
    };
    let configured = Some(KnownBy::Configuration);
    assert_eq!(of(first), (Some("source"), NetcodeState::Reading, configured));
    assert_eq!(
        of(second),
        (Some("unity-transport"), NetcodeState::Reading, configured)
    );
    assert_eq!(of(silent), (None, NetcodeState::Off, None));
}
