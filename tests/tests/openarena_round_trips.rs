//! Round trips of Quake III players: two real OpenArena clients, each behind a relay that holds everything back, and what
//! the server's own status says of them, which gsmon tells as theirs.
//!
//! The status is in whole frames of the server: it notes when a frame was sent and in which frame its acknowledgement
//! came. So what it tells is planted delay plus up to a frame of the client, and up to a frame of the server less.

use std::{fs, net::SocketAddr, path::Path, thread, time::Duration};

use gsmon_agent::{
    Game, GameServer, GameServerMonitor,
    config::{LogSettings, QuerySettings},
    demo::proxy::{Impairment, Proxy},
    world::{
        network::{LineSnapshot, NetcodeState},
        snapshot::ServerSnapshot,
    },
};
use gsmon_tests::{
    netns::Netns,
    program_or_skip, root_or_skip, server,
    third_party::{Program, inside, says, screen},
    wait_for,
};

const PORT: u16 = 27_960;
const NAME: &str = "arena";
const LIMIT: Duration = Duration::from_secs(60);
/// Frames of the server and of a client.
const SERVER_FRAME_MS: f64 = 20.0;
const CLIENT_FRAME_MS: f64 = 40.0;
/// Players and their one-way delays.
const PLANTED: [(&str, u64); 2] = [("Ann", 50), ("Bob", 130)];

fn start(netns: &Netns, home: &Path, program: &str, words: &str) -> Program {
    fs::create_dir_all(home).unwrap();
    let mut all = vec![program];
    all.extend(words.split_ascii_whitespace());
    Program::start(netns, home, &all, &home.join("out")).unwrap()
}

/// The player's line, once the game has told its round trip.
fn stated<'a>(snapshot: &'a ServerSnapshot, name: &str) -> Option<&'a LineSnapshot> {
    let players = &snapshot.game_state.players;
    let player = players
        .iter()
        .find(|player| player.name.as_deref() == Some(name))?;
    let remote = player.flow.as_ref()?.remote;
    let lines = &snapshot.network.as_ref()?.lines;
    let line = &lines.iter().find(|line| line.remote == remote)?.line;
    line.rtt_stated.then_some(line)
}

#[test]
fn round_trips_of_real_players_are_told_as_the_server_knows_them() {
    let there = root_or_skip()
        && program_or_skip("openarena-server", "openarena-server")
        && program_or_skip("openarena", "openarena")
        && program_or_skip("Xvfb", "xvfb");
    if !there {
        return;
    }
    let netns = Netns::new("oa-rtt").unwrap();
    let home = tempfile::tempdir().unwrap();
    let log = home.path().join("server/.openarena/baseoa/games.log");
    let mut game = GameServer::new(NAME, Game::Quake3)
        .port(PORT)
        .executable("ioq3ded")
        .netns(netns.path())
        .query(QuerySettings {
            interval: Duration::from_secs(2),
            timeout: Duration::from_secs(1),
            ..QuerySettings::default()
        });
    game.log = Some(LogSettings {
        file: Some(log.clone()),
        ..LogSettings::default()
    });
    let monitor = GameServerMonitor::builder()
        .interval(Duration::from_millis(500))
        .add_game_server(game)
        .start()
        .unwrap();
    let _server = start(
        &netns,
        &home.path().join("server"),
        "/usr/games/openarena-server",
        "+set dedicated 1 +set net_ip 127.0.0.1 +set net_port 27960 +set sv_maxclients 8 +set sv_pure 0 +set sv_fps 50 \
         +set g_gametype 0 +set g_log games.log +set g_logsync 1 +set ttycon 0 +map oa_dm1",
    );
    says(&log, "InitGame", LIMIT).unwrap();
    let (_screen, display) = screen(&netns, home.path()).unwrap();
    let to = SocketAddr::from(([127, 0, 0, 1], PORT));
    let mut playing = Vec::new();
    for (name, one_way) in PLANTED {
        let delayed = Impairment {
            delay: Duration::from_millis(one_way),
            ..Impairment::default()
        };
        // Whoever makes a relay inside has it inside.
        let relay = inside(&netns, move || {
            Proxy::start(to, delayed, delayed, one_way).unwrap()
        })
        .unwrap();
        let words = format!(
            "DISPLAY={display} SDL_AUDIODRIVER=dummy LIBGL_ALWAYS_SOFTWARE=1 /usr/games/openarena +set s_initsound 0 \
             +set r_mode 0 +set r_fullscreen 0 +set r_picmip 16 +set com_maxfps 25 +set com_introplayed 1 +set rate 25000 \
             +set name {name} +connect {}",
            relay.address()
        );
        let client = start(&netns, &home.path().join(name), "env", &words);
        playing.push((client, relay));
        // One after the other: the log tells no address, so that whose flow is whose is told by time.
        wait_for(&monitor, LIMIT, |snapshot| {
            stated(server(snapshot, NAME).unwrap(), name).is_some()
        })
        .unwrap();
        thread::sleep(Duration::from_secs(10));
    }
    // The status is a mean over the last frames: what it tells while a player comes in is not what is planted.
    let snapshot = wait_for(&monitor, LIMIT, |snapshot| {
        let server = server(snapshot, NAME).unwrap();
        PLANTED.iter().all(|(name, one_way)| {
            stated(server, name).is_some_and(|line| {
                // What packets tell comes beside it.
                let read = line.loss_up_ratio.is_some() && line.jitter_ns.is_some();
                let told_ms = line.rtt_p50_ns.unwrap() / 1e6;
                let planted_ms = 2.0 * *one_way as f64;
                read && (planted_ms - SERVER_FRAME_MS..=planted_ms + CLIENT_FRAME_MS + SERVER_FRAME_MS)
                    .contains(&told_ms)
            })
        })
    })
    .unwrap();
    let server = server(&snapshot, NAME).unwrap();
    let network = server.network.as_ref().unwrap();
    for (name, one_way) in PLANTED {
        let line = stated(server, name).unwrap();
        eprintln!("{name}: {} ms planted, {line:?}", 2 * one_way);
        // Packets tell no round trip; loss and jitter they do.
        assert_eq!((line.rtt_min_ns, line.rtt_samples), (None, 0));
        assert!(line.loss_up_ratio.unwrap() < 0.01, "{line:?}");
    }
    assert_eq!(
        (network.netcode.as_deref(), network.state),
        (Some("quake3"), NetcodeState::Reading)
    );
    let rtt = network.rtt.unwrap();
    assert!(rtt.p50_ns < rtt.p95_ns);
}
