//! Players' lines through an impairing relay: what gsmon tells against what the relay really did.

use std::{
    thread,
    time::{Duration, Instant},
};

use gsmon_agent::{
    Game, GameServer, GameServerMonitor,
    config::{Config, NetcodeSetting},
    demo::proxy::{Impairment, Proxy},
    world::{
        network::{KnownBy, LineSnapshot, NetcodeState, NetworkSnapshot},
        snapshot::Snapshot,
    },
};
use gsmon_common::netcode::layouts::Format;
use gsmon_tests::{
    root_or_skip, server,
    speakers::{self, Running, Speaks},
    wait_for,
};

const LIMIT: Duration = Duration::from_secs(60);
const NAME: &str = "arena";

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// A server, its players each behind a relay of its own, and the agent.
struct Setting {
    monitor: GameServerMonitor,
    proxies: Vec<Proxy>,
    server: Running,
    _clients: Vec<Running>,
}

impl Setting {
    fn new(
        speaks: Speaks,
        netcode: NetcodeSetting,
        config: Config,
        lines: &[(Impairment, Impairment)],
    ) -> Self {
        let running = speakers::server(speaks).unwrap();
        let proxies: Vec<Proxy> = lines
            .iter()
            .zip(1..)
            .map(|((up, down), seed)| Proxy::start(running.address, *up, *down, seed * 7_919).unwrap())
            .collect();
        let clients = proxies
            .iter()
            .map(|proxy| speakers::client(speaks, proxy.address()).unwrap())
            .collect();
        let game = GameServer::new(NAME, Game::Custom)
            .port(running.address.port())
            .netcode(netcode);
        let mut config = Config {
            servers: vec![game],
            ..config
        };
        config.agent.interval = ms(500);
        let monitor = GameServerMonitor::builder().config(config).start().unwrap();
        Self {
            monitor,
            proxies,
            server: running,
            _clients: clients,
        }
    }

    fn network(&self, limit: Duration, condition: impl Fn(&NetworkSnapshot) -> bool) -> NetworkSnapshot {
        let of = |snapshot: &Snapshot| server(snapshot, NAME).unwrap().network.clone().unwrap();
        let found = wait_for(&self.monitor, limit, |snapshot| condition(&of(snapshot))).unwrap();
        of(&found)
    }

    /// Waits until all lines are measured, then for some seconds more.
    fn measured(&self, seconds: u64) -> NetworkSnapshot {
        let all = self.proxies.len() as u64;
        self.network(LIMIT, |network| network.measured == all);
        thread::sleep(Duration::from_secs(seconds));
        self.network(LIMIT, |network| network.measured == all)
    }
}

fn delayed(up: u64, down: u64) -> (Impairment, Impairment) {
    let one = |delay| Impairment {
        delay: ms(delay),
        ..Impairment::default()
    };
    (one(up), one(down))
}

fn assert_rtt(line: &LineSnapshot, planted: Duration, what: &str) {
    let told_ms = line.rtt_min_ns.unwrap_or_else(|| panic!("{what}: no round trip")) / 1e6;
    let planted_ms = planted.as_secs_f64() * 1e3;
    let tolerance_ms = (planted_ms * 0.05).max(2.0);
    assert!(
        (told_ms - planted_ms).abs() <= tolerance_ms,
        "{what}: {told_ms:.2} ms told, {planted_ms:.2} ms planted"
    );
}

#[test]
fn every_players_round_trip_is_told() {
    if !root_or_skip() {
        return;
    }
    for (speaks, format) in [
        (Speaks::Source, Format::Source),
        (Speaks::Quake2, Format::Quake2),
        (Speaks::GoldSrc, Format::GoldSrc),
        (Speaks::Unreal4, Format::Unreal4),
        (Speaks::Unreal5, Format::Unreal5),
        (Speaks::UnityTransport, Format::UnityTransport),
    ] {
        let planted = [(2, 3), (20, 25), (60, 40), (150, 170)];
        let lines = planted.map(|(up, down)| delayed(up, down));
        let setting = Setting::new(speaks, NetcodeSetting::Format(format), Config::default(), &lines);
        let network = setting.measured(2);
        // Slowest first.
        for (line, (up, down)) in network.lines.iter().zip(planted.iter().rev()) {
            assert_rtt(&line.line, ms(up + down), &format!("{speaks:?}"));
        }
        assert_eq!(network.known_by, Some(KnownBy::Configuration));
    }
}

#[test]
fn loss_is_told_each_way_as_the_relay_really_dropped() {
    if !root_or_skip() {
        return;
    }
    for (speaks, format, tells_down) in [
        (Speaks::Source, Format::Source, false),
        (Speaks::Unreal5, Format::Unreal5, true),
        (Speaks::UnityTransport, Format::UnityTransport, true),
    ] {
        let one = |loss, reorder| Impairment {
            delay: ms(25),
            loss,
            reorder,
            hold: ms(40),
            duplicate: 0.01,
            ..Impairment::default()
        };
        // Several players make many packets in a short time; all have the same line.
        let lines = [(one(0.02, 0.01), one(0.04, 0.0)); 6];
        let setting = Setting::new(speaks, NetcodeSetting::Format(format), Config::default(), &lines);
        let begun = setting.measured(1);
        let before: Vec<_> = setting
            .proxies
            .iter()
            .map(|proxy| (proxy.up(), proxy.down()))
            .collect();
        thread::sleep(Duration::from_secs(20));
        let done = setting.network(LIMIT, |network| network.totals.up_sent > begun.totals.up_sent);
        let (mut up, mut down) = ((0, 0), (0, 0));
        for (proxy, before) in setting.proxies.iter().zip(&before) {
            let (done_up, done_down) = (proxy.up().since(before.0), proxy.down().since(before.1));
            up = (up.0 + done_up.dropped, up.1 + done_up.seen);
            down = (down.0 + done_down.dropped, down.1 + done_down.seen);
        }
        let percent = |(lost, sent): (u64, u64)| 100.0 * lost as f64 / sent as f64;
        let told_up = percent((
            done.totals.up_lost - begun.totals.up_lost,
            done.totals.up_sent - begun.totals.up_sent,
        ));
        assert!(
            (told_up - percent(up)).abs() <= 0.2,
            "{speaks:?} up: {told_up:.3} % told, {:.3} % dropped",
            percent(up)
        );
        assert!(done.totals.reordered > begun.totals.reordered, "{speaks:?}");
        assert!(done.totals.repeated > begun.totals.repeated, "{speaks:?}");
        if !tells_down {
            assert_eq!(done.loss_down_ratio, None);
            continue;
        }
        let told_down = percent((
            done.totals.down_lost - begun.totals.down_lost,
            done.totals.down_sent - begun.totals.down_sent,
        ));
        assert!(
            (told_down - percent(down)).abs() <= 0.2,
            "{speaks:?} down: {told_down:.3} % told, {:.3} % dropped",
            percent(down)
        );
    }
}

/// A line that loses something is read all the time; calm ones rest in between, and are told all the same.
#[test]
fn a_calm_line_rests_in_between_and_is_told_all_the_time() {
    if !root_or_skip() {
        return;
    }
    let speaks = Speaks::UnityTransport;
    let lossy = |loss| Impairment {
        delay: ms(30),
        loss,
        ..Impairment::default()
    };
    let lines = [
        (lossy(0.0), lossy(0.0)),
        (lossy(0.0), lossy(0.0)),
        (lossy(0.03), lossy(0.0)),
    ];
    let setting = Setting::new(
        speaks,
        NetcodeSetting::Format(Format::UnityTransport),
        Config::default(),
        &lines,
    );
    let loses = |line: &LineSnapshot| line.loss_up_ratio.is_some_and(|loss| loss > 0.005);
    setting.network(LIMIT, |network| {
        network.measured == 3
            && network
                .lines
                .iter()
                .all(|line| loses(&line.line) || line.line.read_ratio.is_some_and(|ratio| ratio < 0.5))
    });
    let read = |network: &NetworkSnapshot| network.totals.packets_read;
    let begun = setting.measured(0);
    let seen = || -> u64 {
        setting
            .proxies
            .iter()
            .map(|proxy| proxy.up().seen + proxy.down().seen)
            .sum()
    };
    let before = seen();
    let end = Instant::now() + ms(25_000);
    while Instant::now() < end {
        // All lines are there whenever one looks, with their round trip; nothing is lost that was not dropped.
        let network = setting.measured(0);
        for line in network.lines.iter() {
            assert_rtt(&line.line, ms(60), "calm");
            assert!(
                loses(&line.line) || line.line.loss_up_ratio == Some(0.0),
                "{line:?}"
            );
        }
        thread::sleep(ms(250));
    }
    let done = setting.measured(0);
    let share = (read(&done) - read(&begun)) as f64 / (seen() - before) as f64;
    // One line is read all the time, the two others a fifth of it, in whole intervals.
    assert!((0.38..0.62).contains(&share), "{share:.3} of the packets read");
}

const RTP: &str = r#"
[[netcode]]
name = "rtp-like"
[netcode.from_client]
where = { offset = 0, bytes = 1, mask = 0xc0, equals = 0x80 }
sequence = { offset = 2, bytes = 2 }
clock = { offset = 4, bytes = 4 }
clock_step = "125us"
acknowledged = { offset = 8, bytes = 2 }
[netcode.to_client]
sequence = { offset = 2, bytes = 2 }
"#;

#[test]
fn jitter_of_a_format_of_the_users_own_is_what_the_server_itself_sees() {
    if !root_or_skip() {
        return;
    }
    let config = Config::parse(RTP, std::path::Path::new("t.toml")).unwrap();
    let line = |jitter| {
        let up = Impairment {
            delay: ms(15),
            jitter: ms(jitter),
            ..Impairment::default()
        };
        (up, delayed(0, 20).1)
    };
    let custom = NetcodeSetting::Custom("rtp-like".into());
    let setting = Setting::new(Speaks::Rtp, custom, config, &[line(12), line(12), line(12)]);
    setting.measured(2);
    let end = Instant::now() + Duration::from_secs(20);
    let (mut told, mut count) = (0.0, 0);
    while Instant::now() < end {
        let network = setting.network(LIMIT, |_| true);
        for line in network.lines.iter() {
            told += line.line.jitter_ns.unwrap();
            count += 1;
        }
        thread::sleep(ms(250));
    }
    let (told, seen) = (told / f64::from(count), setting.server.mean_jitter_ns());
    assert!(
        (told - seen).abs() <= 0.1 * seen,
        "{told:.0} ns told, {seen:.0} ns seen by the server"
    );
    let network = setting.network(LIMIT, |_| true);
    assert_rtt(&network.lines[0].line, ms(35), "rtp-like");
    assert!(network.lines[0].line.jitter_by_clock);
}

#[test]
fn a_format_is_recognised_from_the_traffic_and_said_how_sure() {
    if !root_or_skip() {
        return;
    }
    for (speaks, names) in [
        (Speaks::Source, &["source"][..]),
        (Speaks::Unreal5, &["unreal5"]),
        (Speaks::UnityTransport, &["unity-transport"]),
        // Without a reliable message the bits that tell them apart are never set.
        (Speaks::Quake2, &["quake2", "source", "goldsrc"]),
    ] {
        let lines = [delayed(10, 10), delayed(20, 20), delayed(5, 30)];
        let setting = Setting::new(speaks, NetcodeSetting::Auto, Config::default(), &lines);
        let network = setting.network(LIMIT, |network| network.measured == 3);
        let name = network.netcode.as_deref().unwrap();
        assert!(names.contains(&name), "{speaks:?} recognised as {name}");
        assert_eq!(network.known_by, Some(KnownBy::Traffic));
        assert!(network.confidence.unwrap() > 0.8, "{:?}", network.confidence);
        assert_rtt(&network.lines[0].line, ms(40), name);
    }
}

#[test]
fn quake3_is_recognised_and_tells_loss_to_the_server_and_no_round_trip() {
    if !root_or_skip() {
        return;
    }
    let up = Impairment {
        delay: ms(20),
        loss: 0.03,
        ..Impairment::default()
    };
    let lines = [(up, delayed(0, 20).1); 6];
    let setting = Setting::new(Speaks::Quake3, NetcodeSetting::Auto, Config::default(), &lines);
    let begun = setting.measured(1);
    assert_eq!(begun.netcode.as_deref(), Some("quake3"));
    let before: Vec<_> = setting.proxies.iter().map(Proxy::up).collect();
    thread::sleep(Duration::from_secs(15));
    let done = setting.network(LIMIT, |network| network.totals.up_sent > begun.totals.up_sent);
    let (mut dropped, mut seen) = (0, 0);
    for (proxy, before) in setting.proxies.iter().zip(before) {
        let since = proxy.up().since(before);
        (dropped, seen) = (dropped + since.dropped, seen + since.seen);
    }
    let percent = |lost: u64, sent: u64| 100.0 * lost as f64 / sent as f64;
    let told = percent(
        done.totals.up_lost - begun.totals.up_lost,
        done.totals.up_sent - begun.totals.up_sent,
    );
    let planted = percent(dropped, seen);
    assert!(
        (told - planted).abs() <= 0.2,
        "{told:.3} % told, {planted:.3} % dropped"
    );
    assert_eq!((done.rtt, done.loss_down_ratio), (None, None));
    assert!(done.jitter.is_some());
}

#[test]
fn scrambled_numbers_have_no_round_trip_and_no_loss() {
    if !root_or_skip() {
        return;
    }
    let lines = [delayed(10, 10), delayed(20, 20), delayed(5, 30)];
    let setting = Setting::new(Speaks::Scrambled, NetcodeSetting::Auto, Config::default(), &lines);
    let network = setting.network(LIMIT, |network| network.state == NetcodeState::Unreadable);
    assert_eq!((network.netcode, network.measured, network.rtt), (None, 0, None));
    drop(setting);
    // Nor where somebody insists on a format.
    let netcode = NetcodeSetting::Format(Format::Source);
    let setting = Setting::new(Speaks::Scrambled, netcode, Config::default(), &lines);
    let network = setting.network(LIMIT, |network| network.state == NetcodeState::Unreadable);
    assert_eq!((network.measured, network.rtt), (0, None));
    assert_eq!((network.loss_up_ratio, network.loss_down_ratio), (None, None));
    assert!(network.confidence.unwrap() < 0.35);
}
