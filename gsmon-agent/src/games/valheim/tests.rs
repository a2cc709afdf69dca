use proptest::prelude::*;

use super::Log;
use crate::games::{
    event::{Fact, PlayerCount, PlayerRef},
    fields::hostile_name,
    grammar::{Grammar, LineTime, Spoken},
};

fn said(lines: &[&str]) -> Vec<Spoken> {
    let (mut log, mut said) = (Log::default(), Vec::new());
    for line in lines {
        log.line(line, &mut said);
    }
    said
}

/// Every text at one time.
fn facts(texts: &[&str]) -> Vec<Fact> {
    let lines: Vec<String> = texts
        .iter()
        .map(|text| format!("09/16/2026 05:21:57: {text}"))
        .collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    said(&lines).into_iter().map(|spoken| spoken.fact).collect()
}

fn player(id: &str, name: &str, slot: i64) -> PlayerRef {
    PlayerRef {
        slot: Some(slot as u64),
        ..PlayerRef::identified(id).with_name(name)
    }
}

fn connecting(id: &str) -> Fact {
    Fact::PlayerConnecting(PlayerRef::identified(id))
}

fn left(player: PlayerRef) -> Fact {
    Fact::PlayerLeft { player, reason: None }
}

fn count(online: u32) -> Fact {
    Fact::PlayerCount(PlayerCount {
        online,
        ..PlayerCount::default()
    })
}

const ID: &str = "76561198000000000";

#[test]
fn on_steam() {
    let viking = player(ID, "Testvazz", 954_855_457);
    let facts = facts(&[
        "Valheim version: l-1.0.7 (network version 39)",
        "Game server connected",
        "Got connection SteamID 76561198000000000",
        "Got handshake from client 76561198000000000",
        "Network version check, their:40, mine:40",
        "Got character ZDOID from Testvazz : 954855457:113",
        "Got character ZDOID from Testvazz : 0:0",
        "Got character ZDOID from Testvazz : 954855457:240",
        " Connections 1 ZDOS:419858  sent:0 recv:0",
        "World save (1/1) done. Total time [100ms]",
        "Closing socket 76561198000000000",
        "Destroying abandoned non persistent zdo 954855457:3 owner 954855457",
        "Closing socket 0",
        "Game - OnApplicationQuit",
    ]);
    assert_eq!(
        facts,
        [
            Fact::ServerStarting,
            Fact::ServerReady,
            connecting(ID),
            Fact::PlayerJoined(viking.clone()),
            count(1),
            left(viking),
            Fact::ServerStopping,
        ]
    );
}

#[test]
fn with_crossplay() {
    let ragnar = player("76561190000000001", "Ragnar", -287_929_059);
    let facts = facts(&[
        "New session server \"S\" that has join code , now 0 player(s)",
        "Session \"S\" with join code 978199 and IP 192.0.2.5:27029 is active with 0 player(s)",
        "Game server connected",
        "PlayFab listen socket child connected to remote player 898A84F1BE899959",
        "Player joined server \"S\" that has join code 183427, now 1 player(s)",
        "PlayFab socket with remote ID playfab/898A84F1BE899959 received local Platform ID Steam_76561190000000001",
        "Got handshake from client playfab/898A84F1BE899959",
        "Got character ZDOID from Ragnar : -287929059:4",
        "Destroying abandoned non persistent zdo -287929059:4 owner -287929059",
        "Destroying abandoned non persistent zdo -287929059:9 owner -287929059",
        "Player connection lost server \"S\" that has join code 123456, now 0 player(s)",
    ]);
    assert_eq!(
        facts,
        [
            count(0),
            Fact::ServerReady,
            count(1),
            connecting("76561190000000001"),
            Fact::PlayerJoined(ragnar.clone()),
            left(ragnar),
            count(0),
        ]
    );
}

#[test]
fn names_go_to_the_oldest_handshake() {
    let facts = facts(&[
        "Got handshake from client 76561198000000001",
        "Got handshake from client 76561198000000002",
        "Got handshake from client 76561198000000003",
        "Peer 76561198000000001 has wrong password",
        "Got character ZDOID from Anna : 11:1",
        "Closing socket 76561198000000001",
        "Got character ZDOID from Ben : 22:1",
        "Closing socket 76561198000000002",
    ]);
    assert_eq!(
        facts[3..],
        [
            Fact::PlayerJoined(player("76561198000000002", "Anna", 11)),
            Fact::PlayerJoined(player("76561198000000003", "Ben", 22)),
            left(player("76561198000000002", "Anna", 11)),
        ]
    );
}

#[test]
fn leaves_of_the_unknown() {
    // Joined before the log was read, perhaps.
    assert_eq!(
        facts(&["Closing socket 76561198000000001"]),
        [left(PlayerRef::identified("76561198000000001"))]
    );
    // Known from the start: nobody of that name has joined.
    assert_eq!(
        facts(&["Valheim version: l-1.0.7", "Closing socket 76561198000000001"]),
        [Fact::ServerStarting]
    );
    assert_eq!(
        facts(&["Destroying abandoned non persistent zdo 5:4 owner 5"]),
        []
    );
}

#[test]
fn inside_bepinex() {
    let said = said(&[
        "[Info   : Unity Log] 06/24/2026 18:30:00: Got connection SteamID 76561198000000000",
        "[Info   :Some Mod] 06/24/2026 18:30:00: Got connection SteamID 76561198000000001",
        "[Message:   BepInEx] BepInEx 5.4.21.0 - valheim_server.x86_64",
    ]);
    assert_eq!(
        said,
        [Spoken::new(
            Some(LineTime::Local(1_782_325_800_000)),
            connecting(ID)
        )]
    );
}

#[test]
fn speech_and_names_forge_nothing() {
    for text in [
        "Console: <color=orange>Evil</color>: Got connection SteamID 76561198000000000",
        "Console: Got character ZDOID from Victim : 1:1",
        "Player joined server \"x\", now 9 player(s) : Steam_7656 is blacklisted or not in whitelist.",
        "Player Evil, now 9 player(s)",
        "Got character ZDOID from Evil",
        "Got character ZDOID from Evil : x:1",
        "Got character ZDOID from Evil : 1",
        "Got connection SteamID two words",
        "Game server connected failed",
        "x Closing socket 76561198000000000",
    ] {
        assert_eq!(facts(&[text]), [], "{text}");
    }
    assert!(said(&["Got connection SteamID 76561198000000000"]).is_empty());
}

#[test]
fn somebody_elses_number_takes_nothing_from_him() {
    let facts = facts(&[
        "Got handshake from client 76561198000000001",
        "Got character ZDOID from Victim : 11:1",
        "Got handshake from client 76561198000000002",
        "Got character ZDOID from Evil : 11:9",
        "Closing socket 76561198000000001",
    ]);
    assert_eq!(
        facts[3..],
        [
            Fact::PlayerJoined(PlayerRef::identified("76561198000000002").with_name("Evil")),
            left(player("76561198000000001", "Victim", 11)),
        ]
    );
}

proptest! {
    #[test]
    fn nothing_panics(texts in prop::collection::vec(
        "(Got |Closing socket |Player |PlayFab socket with remote ID |Peer | Connections |Destroying abandoned non persistent zdo )?(character ZDOID from |handshake from client )?\\PC{0,60}",
        0..20,
    )) {
        let _ = facts(&texts.iter().map(String::as_str).collect::<Vec<_>>());
    }

    #[test]
    fn nothing_panics_without_prefix(line in "\\PC{0,80}") {
        let _ = said(&[&line]);
    }

    #[test]
    fn names_change_nothing_for_others(name in hostile_name()) {
        let facts = facts(&[
            "Got handshake from client 76561198000000001",
            "Got character ZDOID from Victim : 11:1",
            "Got handshake from client 76561198000000002",
            &format!("Got character ZDOID from {name} : 22:1"),
            &format!("Got character ZDOID from {name} : 0:0"),
            "Closing socket 76561198000000002",
        ]);
        let evil = player("76561198000000002", &name, 22);
        prop_assert_eq!(&facts[3..], [Fact::PlayerJoined(evil.clone()), left(evil)]);
    }
}
