//! Round trips of Teeworlds players, by the ticks of snapshots and inputs: the real server and real clients, each behind a
//! relay that holds everything back.
//!
//! A client says with its next input which snapshot came last. Inputs go out by the server's ticks, and snapshots come by
//! them too: how long one waits for the other differs from player to player and stays, so that even the shortest round
//! trip has in it up to a tick, and a part of a frame where frames are longer (a client without a graphics card).

use std::{fs, net::SocketAddr, path::Path, thread, time::Duration};

use gsmon_agent::{
    Game, GameServer, GameServerMonitor,
    demo::proxy::{Impairment, Proxy},
    world::network::{KnownBy, NetworkSnapshot},
};
use gsmon_tests::{
    netns::Netns,
    program_or_skip, root_or_skip, server,
    third_party::{Program, inside, screen},
    wait_for,
};

const PORT: u16 = 8_303;
const NAME: &str = "tee";
const LIMIT: Duration = Duration::from_secs(60);
/// One-way delays of the players, the slowest first as lines are told.
const PLANTED: [u64; 2] = [90, 25];
/// What a client takes to answer, at most, when it is quickest: a tick and a part of a frame.
const QUICKEST_MS: f64 = 35.0;
/// And as a rule, on a busy machine.
const USUAL_MS: f64 = 120.0;

fn start(netns: &Netns, home: &Path, words: &[&str]) -> Program {
    fs::create_dir_all(home).unwrap();
    Program::start(netns, home, words, &home.join("out")).unwrap()
}

/// Starts a client and waits until it plays. One whose answer to its first packet comes while it still loads asks no more,
/// and stays in its menu: then another one is started.
fn play(netns: &Netns, home: &Path, name: &str, words: &[&str], log: &Path) -> Program {
    for attempt in 0..5 {
        let client = start(netns, &home.join(format!("{name}-{attempt}")), words);
        for _ in 0..100 {
            let log = fs::read_to_string(log).unwrap();
            if log
                .lines()
                .any(|line| line.contains("team_join") && line.contains(&format!(":{name}'")))
            {
                return client;
            }
            thread::sleep(Duration::from_millis(200));
        }
    }
    panic!("{name} does not come to play");
}

#[test]
fn round_trips_of_real_teeworlds_clients_are_as_planted() {
    let there = root_or_skip()
        && program_or_skip("teeworlds-server", "teeworlds-server")
        && program_or_skip("teeworlds", "teeworlds")
        && program_or_skip("Xvfb", "xvfb");
    if !there {
        return;
    }
    let netns = Netns::new("tee-rtt").unwrap();
    let home = tempfile::tempdir().unwrap();
    let _server = start(
        &netns,
        &home.path().join("server"),
        &[
            "/usr/games/teeworlds-server",
            "sv_port 8303",
            "sv_map dm1",
            "sv_register 0",
        ],
    );
    let monitor = GameServerMonitor::builder()
        .interval(Duration::from_millis(500))
        .add_game_server(
            GameServer::new(NAME, Game::Teeworlds)
                .port(PORT)
                .executable("teeworlds-server")
                .without_query()
                .netns(netns.path()),
        )
        .start()
        .unwrap();
    let (_screen, display) = screen(&netns, home.path()).unwrap();
    let display = format!("DISPLAY={display}");
    let to = SocketAddr::from(([127, 0, 0, 1], PORT));
    let log = home.path().join("server/out");
    let _playing: Vec<(Program, Proxy)> = PLANTED
        .into_iter()
        .map(|one_way| {
            let delayed = Impairment {
                delay: Duration::from_millis(one_way),
                ..Impairment::default()
            };
            // Whoever makes a relay inside has it inside.
            let relay = inside(&netns, move || {
                Proxy::start(to, delayed, delayed, one_way).unwrap()
            })
            .unwrap();
            let name = format!("p{one_way}");
            let (set_name, connect) = (
                format!("player_name {name}"),
                format!("connect {}", relay.address()),
            );
            let mut words = vec![
                "env",
                &display,
                "SDL_AUDIODRIVER=dummy",
                "LIBGL_ALWAYS_SOFTWARE=1",
            ];
            words.extend(["/usr/games/teeworlds", "snd_enable 0", "gfx_fullscreen 0"]);
            words.extend([
                "gfx_screen_width 320",
                "gfx_screen_height 240",
                &set_name,
                &connect,
            ]);
            (play(&netns, home.path(), &name, &words, &log), relay)
        })
        .collect();
    let network = |condition: &dyn Fn(&NetworkSnapshot) -> bool| {
        let found = wait_for(&monitor, LIMIT, |snapshot| {
            let network = server(snapshot, NAME).unwrap().network.as_ref();
            network.is_some_and(condition)
        });
        server(&found.unwrap(), NAME).unwrap().network.clone().unwrap()
    };
    let all = |network: &NetworkSnapshot| network.measured == PLANTED.len() as u64;
    network(&all);
    thread::sleep(Duration::from_secs(10));
    let network = network(&all);
    assert_eq!(
        (network.netcode.as_deref(), network.known_by),
        (Some("teeworlds"), Some(KnownBy::Game))
    );
    for (line, one_way) in network.lines.iter().zip(PLANTED) {
        let line = &line.line;
        eprintln!("{} ms planted: {line:?}", 2 * one_way);
        let planted_ms = 2.0 * one_way as f64;
        let told_ms = line.rtt_min_ns.unwrap() / 1e6;
        assert!(
            (planted_ms - 2.0..=planted_ms + QUICKEST_MS).contains(&told_ms),
            "{told_ms:.2} ms told, {planted_ms:.2} ms planted"
        );
        let usual_ms = line.rtt_p50_ns.unwrap() / 1e6;
        assert!(
            (told_ms..=planted_ms + USUAL_MS).contains(&usual_ms),
            "{usual_ms:.2} ms"
        );
        // One snapshot at a time is followed, and of a far player one in four round trips.
        assert!(!line.rtt_stated && line.rtt_samples > 5);
        // Nothing numbers what either side sends.
        assert_eq!(
            (line.loss_up_ratio, line.loss_down_ratio, line.jitter_ns),
            (None, None, None)
        );
    }
}
