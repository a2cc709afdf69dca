//! Regions of real flows and their players, and what a reload makes of a file that has changed or is damaged.

use std::{
    net::{SocketAddr, UdpSocket},
    path::Path,
    thread,
    time::Duration,
};

use gsmon_agent::{
    GameServerMonitor,
    config::Config,
    world::{region::RegionBasis, snapshot::ServerSnapshot},
};
use gsmon_tests::{root_or_skip, server, wait_for};

const LIMIT: Duration = Duration::from_secs(20);

fn config(file: &Path, port: u16) -> Config {
    let text = format!(
        "[agent]\ninterval = \"250ms\"\n[regions]\nfile = \"{}\"\n[regions.networks]\n\"127.0.0.3\" = \"inline\"\n\
         [[server]]\nname = \"s\"\nport = {port}\nprotocol = \"udp\"\nregion = \"home\"\n",
        file.display()
    );
    Config::parse(&text, Path::new("gsmon.toml")).unwrap()
}

/// The region of each remote address, as flows and as players have it.
fn seen(server: &ServerSnapshot) -> Vec<(String, Option<String>)> {
    let mut seen: Vec<_> = server
        .top_flows
        .iter()
        .map(|flow| {
            let region = flow.region.as_ref();
            assert!(region.is_none_or(|region| region.by == RegionBasis::Network));
            let name = region.map(|region| region.name.to_string());
            (flow.remote.ip().to_string(), name)
        })
        .collect();
    seen.sort();
    for player in server.game_state.players.iter() {
        let at = (
            player.address.unwrap().to_string(),
            player.region.as_ref().map(|region| region.name.to_string()),
        );
        assert!(seen.contains(&at), "{at:?} in {seen:?}");
    }
    seen
}

#[test]
fn flows_and_players_have_the_region_of_the_longest_prefix_and_a_reload_changes_it() {
    if !root_or_skip() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("regions.txt");
    std::fs::write(
        &file,
        "127.0.0.0/8 loop\n127.0.0.2 second\n127.0.0.3 overridden\n",
    )
    .unwrap();
    let game = UdpSocket::bind("0.0.0.0:0").unwrap();
    let port = game.local_addr().unwrap().port();
    let target = SocketAddr::from(([127, 0, 0, 1], port));
    game.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let clients: Vec<UdpSocket> = (1..=3)
        .map(|n| UdpSocket::bind(SocketAddr::from(([127, 0, 0, n], 0))).unwrap())
        .collect();
    let exchange = || {
        for client in &clients {
            client.send_to(b"hello", target).unwrap();
            let (length, from) = game.recv_from(&mut [0; 16]).unwrap();
            game.send_to(&[0; 16][..length], from).unwrap();
        }
    };
    let monitor = GameServerMonitor::builder()
        .config(config(&file, port))
        .start()
        .unwrap();
    wait_for(&monitor, LIMIT, |snapshot| {
        !snapshot.servers[0].endpoints.is_empty()
    })
    .unwrap();
    let expect = |regions: [&str; 3]| {
        let wanted: Vec<_> = (1..=3)
            .zip(regions)
            .map(|(n, name)| (format!("127.0.0.{n}"), Some(name.to_owned())))
            .collect();
        for _ in 0..200 {
            exchange();
            thread::sleep(Duration::from_millis(50));
            let snapshot = monitor.snapshot().unwrap();
            let measured = server(&snapshot, "s").unwrap();
            if measured.top_flows.len() == 3 && seen(measured) == wanted {
                assert_eq!(measured.flows_by_region.values().sum::<u64>(), 3);
                assert_eq!(measured.region.as_deref(), Some("home"));
                return;
            }
        }
        panic!("{wanted:?} were never seen: {:?}", monitor.snapshot());
    };
    expect(["loop", "second", "inline"]);
    std::fs::write(&file, "127.0.0.0/8 elsewhere\n").unwrap();
    monitor.reload(config(&file, port)).unwrap();
    expect(["elsewhere", "elsewhere", "inline"]);
    // A damaged file is refused, and what was in force stays.
    std::fs::write(&file, "127.0.0.0/8 elsewhere\n127.0.0/8 x\n").unwrap();
    let message = monitor.reload(config(&file, port)).unwrap_err().to_string();
    assert!(
        message.contains("regions.txt: line 2: `127.0.0/8` is no network"),
        "{message}"
    );
    expect(["elsewhere", "elsewhere", "inline"]);
}
