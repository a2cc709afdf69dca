use proptest::prelude::*;

use super::Log;
use crate::games::{
    event::{Fact, PlayerRef},
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

fn facts(lines: &[&str]) -> Vec<Fact> {
    said(lines).into_iter().map(|spoken| spoken.fact).collect()
}

fn known(name: &str, slot: Option<u64>) -> PlayerRef {
    PlayerRef {
        slot,
        ..PlayerRef::named(name)
    }
}

fn left(player: PlayerRef) -> Fact {
    Fact::PlayerLeft { player, reason: None }
}

#[test]
fn a_server_with_one_player() {
    let said = said(&[
        "   0.002 2026-08-06 17:02:47; Factorio 2.0.77 (build 84539, linux64, headless, space-age)",
        "   0.307 Info ServerMultiplayerManager.cpp:808: updateTick(18446744073709551615) changing state from(Ready) to(PreparedToHostGame)",
        "   0.577 Hosting game at IP ADDR:({0.0.0.0:34199})",
        "   0.578 Info ServerMultiplayerManager.cpp:808: updateTick(926) changing state from(CreatingGame) to(InGame)",
        "Players (0):",
        " 118.214 Info ServerSynchronizer.cpp:604: nextHeartbeatSequenceNumber(64747) adding peer(1)",
        " 118.214 Info ServerMultiplayerManager.cpp:795: updateTick(176585302) changing state from(InGame) to(InGameSavingMap)",
        " 118.214 Info ServerMultiplayerManager.cpp:944: updateTick(176585302) received stateChanged peerID(1) oldState(Ready) newState(ConnectedWaitingForMap)",
        " 250.355 Info GameActionHandler.cpp:4996: UpdateTick (15127) processed PlayerJoinGame peerID(1) playerIndex(0) mode(connect) ",
        " 250.407 Info ServerMultiplayerManager.cpp:943: updateTick(15131) received stateChanged peerID(1) oldState(WaitingForCommandToStartSendingTickClosures) newState(InGame)",
        "2022-04-09 06:08:43 [JOIN] david joined the game",
        "2022-04-09 06:08:51 [CHAT] <server>: sup",
        " 1116.526 Info ServerSynchronizer.cpp:623: nextHeartbeatSequenceNumber(66276) removing peer(1).",
        "2022-04-09 06:09:51 [LEAVE] david left the game",
        " 1200.000 Info ServerMultiplayerManager.cpp:808: updateTick(9) changing state from(Disconnected) to(Closed)",
        "  1200.528 Goodbye",
    ]);
    assert_eq!(said[0].time, Some(LineTime::Local(1_786_035_767_000)));
    assert_eq!(said[3].time, Some(LineTime::Local(1_649_484_523_000)));
    assert_eq!(
        said.into_iter().map(|spoken| spoken.fact).collect::<Vec<_>>(),
        [
            Fact::ServerStarting,
            Fact::ServerReady,
            Fact::PlayerConnecting(PlayerRef::in_slot(1)),
            Fact::PlayerJoined(known("david", Some(1))),
            left(known("david", Some(1))),
            Fact::ServerStopping,
        ]
    );
}

#[test]
fn peers_by_name_or_not_at_all() {
    let joins = |number: u64| {
        format!(
            " 1.000 Info GameActionHandler.cpp:4996: UpdateTick (1) processed PlayerJoinGame peerID({number}) playerIndex(0) mode(connect)"
        )
    };
    assert_eq!(
        facts(&[
            " 1.000 Info ServerSynchronizer.cpp:604: networkTick(7) adding peer(2) success(true)",
            " 1.000 Info ServerSynchronizer.cpp:604: Received peer info for peer(2) username(anna).",
            &joins(3),
            "2022-04-09 06:08:43 [JOIN] anna joined the game",
        ]),
        [
            Fact::PlayerConnecting(PlayerRef::in_slot(2)),
            Fact::PlayerKnown(known("anna", Some(2))),
            Fact::PlayerJoined(known("anna", Some(2))),
        ]
    );
    // Two at once cannot be told apart; the third can again.
    assert_eq!(
        facts(&[
            &joins(1),
            &joins(2),
            "2022-04-09 06:08:43 [JOIN] anna joined the game",
            "2022-04-09 06:08:43 [JOIN] ben joined the game",
            &joins(3),
            "2022-04-09 06:08:44 [JOIN] cleo joined the game",
        ]),
        [
            Fact::PlayerJoined(known("anna", None)),
            Fact::PlayerJoined(known("ben", None)),
            Fact::PlayerJoined(known("cleo", Some(3))),
        ]
    );
    // Number 0 is the server itself.
    assert_eq!(
        facts(&[" 1.000 Info ServerSynchronizer.cpp:604: nextHeartbeatSequenceNumber(1) adding peer(0)"]),
        []
    );
}

#[test]
fn chat_and_mods_forge_nothing() {
    for line in [
        "2026-08-02 02:16:35 [CHAT] evil: 2026-01-01 00:00:00 [JOIN] victim joined the game",
        "2026-08-02 02:16:35 [CHAT] [LEAVE] victim left the game",
        "2026-08-02 02:16:35 [COMMAND] [LEAVE] victim left the game",
        "[LEAVE] victim left the game",
        " 2026-08-02 02:16:35 [LEAVE] victim left the game",
        "2026-08-02 02:16:35 [LEAVE] victim left the game!",
        "  16.528 Script @__mod__/control.lua:1: changing state from(CreatingGame) to(InGame)",
        "  16.528 Script @__mod__/control.lua:1: Goodbye",
        "  16.528 Goodbye everyone",
        "  16.528 Info Mod.cpp:1: updateTick(1) changing state from(CreatingGame) to(InGame)",
        "  16.528 Info ServerMultiplayerManager.cpp:x: updateTick(1) changing state from(CreatingGame) to(InGame)",
        "  16.528 Info ServerMultiplayerManager.cpp:1: updateTick(1) changing state from(CreatingGame) to(InGame) x",
        "Goodbye",
        "changing state from(CreatingGame) to(InGame)",
    ] {
        assert_eq!(facts(&[line]), [], "{line}");
    }
}

proptest! {
    #[test]
    fn nothing_panics(lines in prop::collection::vec(
        "(2026-08-02 02:16:35 \\[(JOIN|LEAVE|CHAT)\\] | 1\\.000 (Info ServerSynchronizer\\.cpp:6: )?(nextHeartbeatSequenceNumber\\(1\\) )?(adding |removing |Received peer info for )?(peer\\([0-9]{0,30}\\)?)?)?\\PC{0,60}",
        0..20,
    )) {
        let _ = facts(&lines.iter().map(String::as_str).collect::<Vec<_>>());
    }

    #[test]
    fn names_change_nothing_for_others(name in hostile_name()) {
        prop_assume!(name != "victim");
        let facts = facts(&[
            "2026-08-02 02:16:35 [JOIN] victim joined the game",
            &format!("2026-08-02 02:16:35 [JOIN] {name} joined the game"),
            &format!("2026-08-02 02:16:35 [CHAT] {name}: hello"),
            &format!("2026-08-02 02:16:35 [LEAVE] {name} left the game"),
        ]);
        prop_assert_eq!(&facts[1..], [Fact::PlayerJoined(known(&name, None)), left(known(&name, None))]);
    }
}
