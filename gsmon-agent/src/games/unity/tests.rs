use proptest::prelude::*;

use super::Log;
use crate::games::{
    event::{Fact, PlayerRef},
    grammar::Grammar,
};

fn facts(lines: &[&str]) -> Vec<Fact> {
    let (mut log, mut said) = (Log, Vec::new());
    for line in lines {
        log.line(line, &mut said);
    }
    assert!(said.iter().all(|spoken| spoken.time.is_none()));
    said.into_iter().map(|spoken| spoken.fact).collect()
}

fn joined(slot: u64) -> Fact {
    Fact::PlayerJoined(PlayerRef::in_slot(slot))
}

fn left(slot: u64) -> Fact {
    Fact::PlayerLeft {
        player: PlayerRef::in_slot(slot),
        reason: None,
    }
}

#[test]
fn fishnet() {
    assert_eq!(
        facts(&[
            "Local server is starting for Tugboat.",
            "UnityEngine.Debug:Log(Object)",
            "  at FishNet.Managing.Server.ServerManager (at <00000>:0)",
            "Local server is started for Tugboat.",
            "",
            "Remote connection started for Id 0.",
            "Local client is started for Tugboat.",
            "Remote connection stopped for Id 0.",
            "Remote connection started for Id 0.",
            "Local server is stopping for Tugboat.",
            "Local server is stopped for Tugboat.",
        ]),
        [
            Fact::ServerStarting,
            Fact::ServerReady,
            joined(0),
            left(0),
            joined(0),
            Fact::ServerStopping,
            Fact::ServerStopping,
        ]
    );
}

#[test]
fn mirror_with_kcp() {
    assert_eq!(
        facts(&[
            "Server listening on port 7777",
            "[KCP] KcpServerConnection: created with cookie=2839473",
            "[KCP] Server: added connection(-1409817322)",
            "[KCP] Server: OnConnected(-1409817322)",
            "[KCP] KcpServerConnection: received disconnect message",
            "[KCP] Server: OnDisconnected(-1409817322)",
            "KcpServer: OnConnected(12)",
        ]),
        [
            Fact::ServerReady,
            Fact::PlayerConnecting(PlayerRef::in_slot(2_885_149_974)),
            joined(2_885_149_974),
            left(2_885_149_974),
            joined(12),
        ]
    );
}

#[test]
fn netcode_for_game_objects() {
    assert_eq!(
        facts(&[
            "[Netcode] StartServer",
            "[Netcode] Client Connected",
            "[Netcode] Disconnect Event From 3",
            "[Netcode] Shutdown",
        ]),
        [Fact::ServerReady, left(3), Fact::ServerStopping]
    );
}

#[test]
fn only_whole_lines_count() {
    for line in [
        "Chat: Remote connection stopped for Id 0.",
        " Remote connection stopped for Id 0.",
        "\tRemote connection stopped for Id 0.",
        "<Evil> [KCP] Server: OnDisconnected(1)",
        "[Chat] [KCP] Server: OnDisconnected(1)",
        "Remote connection stopped for Id 0. lol",
        "Remote connection stopped for Id 99999999999.",
        "Remote connection stopped for Id +1.",
        "Remote connection stopped for Id .",
        "Remote connection paused for Id 1.",
        "Local server is started for anything I like.",
        "[KCP] Server: OnDisconnected(1) x",
        "[KCP] Server: OnDisconnected(a)",
        "[KCP] Server: Evil(1)",
        "[Netcode] Disconnect Event From -1",
        "[Netcode] Shutdown now",
        "Server listening on port 99999",
    ] {
        assert_eq!(facts(&[line]), [], "{line}");
    }
}

proptest! {
    #[test]
    fn nothing_panics(line in "(\\[KCP\\] Server: |\\[Netcode\\] |Remote connection |Local server is )?\\PC{0,60}") {
        let _ = facts(&[&line]);
    }

    #[test]
    fn every_number_has_its_own_slot(one: i32, other: i32) {
        let slot = |number: i32| facts(&[&format!("[KCP] Server: OnConnected({number})")]);
        prop_assert_eq!(slot(one) == slot(other), one == other);
    }

    #[test]
    fn speech_with_a_name_in_front_says_nothing(name in "[a-z]{1,9}", text in "\\PC{0,60}") {
        prop_assert_eq!(facts(&[&format!("{name}: {text}")]), []);
    }
}
