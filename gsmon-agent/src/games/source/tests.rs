//! Transcripts, forged names and chat, and arbitrary text for the Source grammar.

use proptest::prelude::*;

use super::{
    super::transcript::{assert_silent, read, spoken, time},
    *,
};

#[test]
fn a_tf2_map_with_its_change() {
    let transcript = r#"
L 03/07/2013 - 18:00:20: Log file started (file "logs/L0307000.log") (game "/srv/tf2/tf") (version "5198")
L 03/07/2013 - 18:00:26: Loading map "cp_granary"
L 03/07/2013 - 18:00:26: server cvars start
L 03/07/2013 - 18:00:26: "mp_timelimit" = "30"
L 03/07/2013 - 18:00:27: Started map "cp_granary" (CRC "4f34345d09eff7fc96af9a421e81a4b8")
L 03/07/2013 - 18:00:30: World triggered "Round_Start"
L 03/07/2013 - 18:01:00: "kNiVeY<16><STEAM_0:0:1562053><>" connected, address "74.5.161.201:21979"
L 03/07/2013 - 18:01:01: "kNiVeY<16><STEAM_0:0:1562053><>" STEAM USERID validated
L 03/07/2013 - 18:01:07: "kNiVeY<16><STEAM_0:0:1562053><>" entered the game
L 03/07/2013 - 18:01:08: "Soldier<170><BOT><>" connected, address "none"
L 03/07/2013 - 18:01:08: "Soldier<170><BOT><>" entered the game
L 03/07/2013 - 18:01:09: "kNiVeY<16><STEAM_0:0:1562053><Unassigned>" joined team "Red"
L 03/07/2013 - 18:01:10: World triggered "Round_Start"
L 03/07/2013 - 18:02:00: "kNiVeY<16><STEAM_0:0:1562053><Red>" killed "Soldier<170><BOT><Blue>" with "minigun" (attacker_position "1 2 3")
L 03/07/2013 - 18:02:10: "kNiVeY<16><STEAM_0:0:1562053><Red>" say "gg"
L 03/07/2013 - 18:02:20: "kNiVeY<16><STEAM_0:0:1562053><Red>" changed name to "kNiVeY2"
L 03/07/2013 - 18:03:00: World triggered "Round_Win" (winner "Red")
L 03/07/2013 - 18:03:00: World triggered "Round_Length" (seconds "123.45")
L 03/07/2013 - 18:04:00: World triggered "Round_Start"
L 03/07/2013 - 18:30:00: World triggered "Game_Over" reason "Reached Time Limit"
L 03/07/2013 - 18:30:00: Team "Red" current score "1" with "6" players
L 03/07/2013 - 18:30:10: "Soldier<170><BOT><Blue>" disconnected (reason "Kicked from server")
L 03/07/2013 - 18:30:15: Log file closed
L 03/07/2013 - 18:30:15: Log file started (file "logs/L0307001.log") (game "/srv/tf2/tf") (version "5198")
L 03/07/2013 - 18:30:15: Loading map "cp_badlands"
L 03/07/2013 - 18:30:16: Started map "cp_badlands" (CRC "1")
L 03/07/2013 - 18:30:20: "kNiVeY2<16><STEAM_0:0:1562053><>" entered the game
L 03/07/2013 - 18:31:00: server_message: "quit"
L 03/07/2013 - 18:31:00: Log file closed.
"#;
    assert_eq!(
        read::<Log>(transcript),
        [
            "phase loading",
            "ready",
            "begun cp_granary -",
            "phase lobby",
            "connecting #16 kNiVeY =STEAM_0:0:1562053 @74.5.161.201/21979 human",
            "known #16 kNiVeY =STEAM_0:0:1562053 human",
            "joined #16 kNiVeY =STEAM_0:0:1562053 human",
            "connecting #170 Soldier bot",
            "joined #170 Soldier bot",
            "phase active",
            "known #16 kNiVeY2 =STEAM_0:0:1562053 human",
            "phase ended",
            "left #170 Soldier bot: Kicked from server",
            "ended: Reached Time Limit",
            "phase loading",
            "ready",
            "begun cp_badlands -",
            "phase lobby",
            "joined #16 kNiVeY2 =STEAM_0:0:1562053 human",
            "stopping",
        ]
    );
}

#[test]
fn a_cs2_match_over_http() {
    let transcript = r#"
11/02/2023 - 20:00:00.000 - Loading map "de_mirage"
11/02/2023 - 20:00:01.000 - Started map "de_mirage"
11/02/2023 - 20:00:05.120 - "Jagger<0><[U:1:1363214]><>" connected, address "172.17.0.1:45612"
11/02/2023 - 20:00:07.120 - "Jagger<0><[U:1:1363214]><>" entered the game
11/02/2023 - 20:00:07.200 - "Gary<6><BOT><>" connected, address ""
11/02/2023 - 20:00:07.200 - "Gary<6><BOT>" switched from team <Unassigned> to <TERRORIST>
11/02/2023 - 20:00:08.000 - World triggered "Warmup_Start"
11/02/2023 - 20:00:08.000 - World triggered "Game_Commencing"
11/02/2023 - 20:00:08.100 - World triggered "Round_Start"
11/02/2023 - 20:00:08.100 - MatchStatus: Score: 0:0 on map "de_mirage" RoundsPlayed: -1
11/02/2023 - 20:05:00.000 - World triggered "Match_Start" on "de_mirage"
11/02/2023 - 20:05:00.000 - MatchStatus: Score: 0:0 on map "de_mirage" RoundsPlayed: 0
11/02/2023 - 20:05:00.000 - Starting Freeze period
11/02/2023 - 20:05:15.000 - World triggered "Round_Start"
11/02/2023 - 20:07:00.000 - World triggered "Round_End"
11/02/2023 - 20:07:00.100 - JSON_BEGIN{
11/02/2023 - 20:07:00.100 - "name": "round_stats",
11/02/2023 - 20:07:00.100 - "players" : {
11/02/2023 - 20:07:00.100 - }}JSON_END
11/02/2023 - 20:50:00.000 - Game Over: competitive mg_active de_mirage score 16:12 after 45 min
11/02/2023 - 20:50:30.000 - "Jagger<0><[U:1:1363214]><CT>" disconnected (reason "NETWORK_DISCONNECT_EXITING")
11/02/2023 - 20:51:00.000 - Loading map "de_nuke"
"#;
    assert_eq!(
        read::<Log>(transcript),
        [
            "phase loading",
            "ready",
            "begun de_mirage -",
            "phase lobby",
            "connecting #0 Jagger =[U:1:1363214] @172.17.0.1/45612 human",
            "joined #0 Jagger =[U:1:1363214] human",
            "connecting #6 Gary bot",
            "phase active",
            "phase ended",
            "left #0 Jagger =[U:1:1363214] human: NETWORK_DISCONNECT_EXITING",
            "ended: competitive mg_active de_mirage score 16:12 after 45 min",
            "phase loading",
        ]
    );
}

#[test]
fn counter_strike_1_6() {
    let transcript = r#"
L 08/04/2011 - 18:42:48: Log file started (file "logs/L0804008.log") (game "cstrike") (version "48/1.1.2.6/Stdio/4883")
L 08/04/2011 - 18:42:50: Loading map "de_dust2"
L 08/04/2011 - 18:42:50: Started map "de_dust2" (CRC "-446407886")
L 08/04/2011 - 18:42:56: World triggered "Round_Start"
L 08/04/2011 - 18:43:00: "Player<1><STEAM_ID_LAN><>" connected, address "loopback:27005"
L 08/04/2011 - 18:43:01: "Player<1><STEAM_ID_LAN><>" entered the game
L 08/04/2011 - 18:43:05: World triggered "Game_Commencing" (CT "0") (T "0")
L 08/04/2011 - 18:44:00: "Player<1><STEAM_ID_LAN><CT>" disconnected
L 08/04/2011 - 18:45:00: Server shutdown
L 08/04/2011 - 18:45:00: Log file closed
"#;
    assert_eq!(
        read::<Log>(transcript),
        [
            "phase loading",
            "ready",
            "begun de_dust2 -",
            "phase lobby",
            "connecting #1 Player",
            "joined #1 Player",
            "phase active",
            "left #1 Player",
            "ended",
        ]
    );
}

#[test]
fn every_prefix() {
    for prefix in [
        "L 03/29/2014 - 10:00:00: ",
        "L 03/29/2014 - 10:00:00.250: ",
        "03/29/2014 - 10:00:00.250 - ",
        "03/29/2014 - 10:00:00: ",
        "1234567L 03/29/2014 - 10:00:00: ",
        "\u{fffd}\u{fffd}\u{fffd}\u{fffd}RL 03/29/2014 - 10:00:00: ",
        "\u{fffd}\u{fffd}\u{fffd}\u{fffd}S1234567L 03/29/2014 - 10:00:00: ",
        "\0\u{ff}\u{ff}\u{ff}\u{ff}RL 03/29/2014 - 10:00:00: ",
    ] {
        let line = format!("{prefix}server_message: \"quit\"\0");
        assert_eq!(read::<Log>(&line), ["stopping"], "{line}");
        let Some(LineTime::Local(ms)) = time::<Log>(&line) else {
            panic!("{line}")
        };
        let expected = 1_396_087_200_000 + if prefix.contains(".250") { 250 } else { 0 };
        assert_eq!(ms, expected, "{line}");
    }
}

#[test]
fn attaching_in_the_middle() {
    let transcript = r#"
L 06/21/2024 - 17:20:01: World triggered "Round_Start"
L 06/21/2024 - 17:20:02: Loading map "cs_office"
"#;
    assert_eq!(
        read::<Log>(transcript),
        ["phase active", "ended", "phase loading"]
    );
}

#[test]
fn odd_names_are_still_whole() {
    assert_eq!(
        read::<Log>(
            r#"
L 06/21/2024 - 17:20:01: "a<b>"c" <2><x><y> : <><4><STEAM_1:0:7><>" connected, address "10.0.0.1:27005"
L 06/21/2024 - 17:20:01: "<><5><[U:1:8]><>" entered the game
L 06/21/2024 - 17:20:01: "" connected, address "<6><[U:1:9]><>" entered the game
L 06/21/2024 - 17:20:01: "<7><[U:1:10]><>" changed name to "x" entered the game"
"#
        ),
        [
            r#"connecting #4 a<b>"c" <2><x><y> : <> =STEAM_1:0:7 @10.0.0.1/27005 human"#,
            "joined #5 <> =[U:1:8] human",
            r#"joined #6 " connected, address " =[U:1:9] human"#,
            r#"known #7 x" entered the game =[U:1:10] human"#,
        ]
    );
}

#[test]
fn nothing_is_forged() {
    assert_silent::<Log>(
        r#"
L 06/21/2024 - 17:20:01: "Eve<5><STEAM_1:0:5><CT>" say "World triggered "Match_Start""
L 06/21/2024 - 17:20:01: "Eve<5><STEAM_1:0:5><CT>" say "<2><STEAM_1:0:2><>" connected, address "1.2.3.4:5"
L 06/21/2024 - 17:20:01: "Eve<5><STEAM_1:0:5><CT>" say_team "Bob<2><STEAM_1:0:2><CT>" disconnected (reason "x")
L 06/21/2024 - 17:20:01: "Eve<5><STEAM_1:0:5><CT>" say "Bob<2><STEAM_1:0:2><CT>" entered the game
L 06/21/2024 - 17:20:01: "Eve<5><STEAM_1:0:5><CT>" say "x" disconnected (reason "y")
L 06/21/2024 - 17:20:01: "Eve<5><STEAM_1:0:5><CT>" disconnected (reason "x" "Bob<2><STEAM_1:0:2><CT>" disconnected (reason "y")
L 06/21/2024 - 17:20:01: "Bob<2><STEAM_1:0:2><CT>" disconnected (reason "<5><STEAM_1:0:5><CT>" entered the game
L 06/21/2024 - 17:20:01: "Bob<2><STEAM_1:0:2><CT>" entered the game<5><STEAM_1:0:5><>" connected, address "1.2.3.4:5"
L 06/21/2024 - 17:20:01: "Bob<2><STEAM_1:0:2><CT>" changed name to "<5><STEAM_1:0:5><>" connected, address "1.2.3.4:5"
L 06/21/2024 - 17:20:01: "Console<0><Console><Console>" say "Game Over: x"
L 06/21/2024 - 17:20:01: rcon from "1.2.3.4:5": command "say Loading map "x""
L 06/21/2024 - 17:20:01: "sv_hostname" = "Started map "x""
L 06/21/2024 - 17:20:01: Loading map "x" for Eve
L 06/21/2024 - 17:20:01: server_message: "quit" x
L 06/21/2024 - 17:20:01: Log file closed
L 06/21/2024 - 17:20:01 Loading map "x"
Eve: L 06/21/2024 - 17:20:01: Loading map "x"
Loading map "x""#,
    );
}

/// Verbs of a line as the server writes it, and what they may become.
const VERBS: [&str; 5] = [
    "entered the game",
    "STEAM USERID validated",
    "connected, address \"1.2.3.4:5\"",
    "disconnected (reason \"bye\")",
    "changed name to \"new\"",
];

/// Names that hold pieces of the format, and anything else.
fn name() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("\"".to_owned()),
        Just("<2><STEAM_1:0:2><CT>\" ".to_owned()),
        Just("<2><BOT><>".to_owned()),
        Just("entered the game".to_owned()),
        Just("connected, address \"".to_owned()),
        Just("disconnected (reason \"".to_owned()),
        Just("say \"".to_owned()),
        "\\PC{0,6}",
    ];
    prop::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

fn slot_of(fact: &Fact) -> Option<u64> {
    match fact {
        Fact::PlayerConnecting(who) | Fact::PlayerKnown(who) | Fact::PlayerJoined(who) => who.slot,
        Fact::PlayerLeft { player, .. } => player.slot,
        _ => None,
    }
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(line in ".*", head in "[LRS0-9 \u{fffd}]{0,8}") {
        spoken::<Log>(&line);
        spoken::<Log>(&format!("{head}{line}"));
        for text in ["", "\"", "\"a<1><BOT><>\" ", "World triggered \"", "Started map \"", "MatchStatus: Score: "] {
            spoken::<Log>(&format!("L 06/21/2024 - 17:20:01: {text}{line}"));
        }
    }

    #[test]
    fn a_name_changes_nothing_for_others(name in name(), verb in 0..VERBS.len()) {
        let line = format!("L 06/21/2024 - 17:20:01: \"{name}<7><STEAM_1:0:7><CT>\" {}", VERBS[verb]);
        for spoken in spoken::<Log>(&line) {
            prop_assert_eq!(slot_of(&spoken.fact), Some(7), "{}", line);
        }
    }

    #[test]
    fn a_speaker_or_a_reason_changes_nothing_for_others(text in name()) {
        for line in [
            format!("L 06/21/2024 - 17:20:01: \"Eve<7><STEAM_1:0:7><CT>\" say \"{text}\""),
            format!("L 06/21/2024 - 17:20:01: \"Eve<7><STEAM_1:0:7><CT>\" say_team \"{text}\" (dead)"),
            format!("L 06/21/2024 - 17:20:01: \"Eve<7><STEAM_1:0:7><CT>\" say {text}"),
        ] {
            prop_assert!(spoken::<Log>(&line).is_empty(), "{}", line);
        }
        let line = format!("L 06/21/2024 - 17:20:01: \"Eve<7><STEAM_1:0:7><CT>\" disconnected (reason \"{text}\")");
        for spoken in spoken::<Log>(&line) {
            prop_assert_eq!(slot_of(&spoken.fact), Some(7), "{}", line);
        }
    }

    #[test]
    fn plain_names_are_always_heard(name in "[^<>\"\\pC]{1,31}") {
        let line = format!("L 06/21/2024 - 17:20:01: \"{name}<7><STEAM_1:0:7><>\" entered the game");
        let said = spoken::<Log>(&line);
        prop_assert_eq!(said.len(), 1);
        prop_assert!(matches!(&said[0].fact, Fact::PlayerJoined(who) if who.name.as_deref() == Some(name.as_str())));
    }
}
