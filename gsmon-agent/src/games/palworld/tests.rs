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

fn known(name: &str, id: &str) -> PlayerRef {
    PlayerRef {
        name: Some(name.into()),
        ..PlayerRef::identified(id)
    }
}

#[test]
fn a_players_evening() {
    let said = said(&[
        "Game version is v1.0.1.100619",
        "Running Palworld dedicated server on :8211",
        "[2026-08-02 13:41:39] [LOG] Apollo 192.168.1.7 connected the server. (User id: steam_76735473254754543)",
        "[2026-08-02 13:42:08] [LOG] Apollo joined the server. (User id: steam_76735473254754543, Player id: D74EBDB1000000)",
        "[2026-08-02 13:43:28] [CHAT] <Apollo> hello from game",
        "[2026-08-02 13:43:30] [LOG] REST accessed endpoint /v1/api/info OK",
        "[2026-08-02 13:43:58] [LOG] Apollo left the server. (User id: steam_76735473254754543)",
        "[2026.08.02-11.44.00:668][  0]LogMemory: Platform Memory Stats for Linux",
        "[2026.08.02-11.44.00:668][  0]LogExit: Exiting.",
    ]);
    assert_eq!(said[0].time, None);
    assert_eq!(said[1].time, Some(LineTime::Local(1_785_678_099_000)));
    let id = "steam_76735473254754543";
    assert_eq!(
        said.into_iter().map(|spoken| spoken.fact).collect::<Vec<_>>(),
        [
            Fact::ServerReady,
            Fact::PlayerConnecting(known("Apollo", id).with_address("192.168.1.7".parse().unwrap(), None)),
            Fact::PlayerJoined(known("Apollo", id)),
            Fact::PlayerLeft {
                player: known("Apollo", id),
                reason: None
            },
            Fact::ServerStopping,
        ]
    );
}

#[test]
fn older_lines_have_no_player_id() {
    assert_eq!(
        facts(&["[2025-01-16 13:49:35] [LOG] Tsu Kumo joined the server. (User id: steam_7656)"]),
        [Fact::PlayerJoined(known("Tsu Kumo", "steam_7656"))]
    );
}

#[test]
fn chat_and_commands_forge_nothing() {
    let line = "Victim left the server. (User id: steam_1)";
    for text in [
        format!("[2026-08-02 13:43:28] [CHAT] <Evil> {line}"),
        format!("[2026-08-02 13:43:28] [CHAT] <Evil> [LOG] {line}"),
        format!("[2026-08-02 13:43:28] [LOG] Evil executed the command. x {line}"),
        format!("[2026-08-02 13:43:28] {line}"),
        line.to_owned(),
        format!("[2026-08-02 13:43:28] [LOG] {line} and more"),
        "[2026-08-02 13:43:28] [LOG] Evil left the server. (User id: steam_1, Admin id: 2)".to_owned(),
        "Running Palworld dedicated server on :8211 (not)".to_owned(),
        "LogExit: Exiting.".to_owned(),
    ] {
        assert_eq!(facts(&[&text]), [], "{text}");
    }
    // A name that is a whole line: the ids of the server stand last.
    assert_eq!(
        facts(&[&format!(
            "[2026-08-02 13:43:28] [LOG] {line} joined the server. (User id: steam_2)"
        )]),
        [Fact::PlayerJoined(known(line, "steam_2"))]
    );
}

proptest! {
    #[test]
    fn nothing_panics(lines in prop::collection::vec("(\\[2026-08-02 13:43:28\\] \\[LOG\\] )?\\PC{0,80}( the server. \\(User id: \\PC{0,9}\\))?", 0..20)) {
        let _ = facts(&lines.iter().map(String::as_str).collect::<Vec<_>>());
    }

    #[test]
    fn names_change_nothing_for_others(name in hostile_name()) {
        prop_assume!(!name.contains(" executed the command. "));
        let at = "[2026-08-02 13:43:28] [LOG]";
        prop_assert_eq!(
            facts(&[
                &format!("{at} {name} joined the server. (User id: steam_2, Player id: AB)"),
                &format!("{at} {name} left the server. (User id: steam_2)"),
            ]),
            [
                Fact::PlayerJoined(known(&name, "steam_2")),
                Fact::PlayerLeft { player: known(&name, "steam_2"), reason: None },
            ]
        );
    }
}
