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

fn left(player: PlayerRef) -> Fact {
    Fact::PlayerLeft { player, reason: None }
}

const UTC: i64 = 1_785_187_523_191;

#[test]
fn ascended_from_start_to_stop() {
    let id = "0002dbe9ab20413e9b8e7e1562b76868";
    let said = said(&[
        "Log file open, 07/27/26 21:00:00",
        "[2026.07.27-21.00.06:750][  0]ARK Version: 88.25",
        "[2026.07.27-21.02.22:000][  0]Server: \"Guppy's Collectibles Ragnarok\" has successfully started!",
        "[2026.07.27-21.02.45:000][  0]Server has completed startup and is now advertising for join (10.95GB Mem)",
        "[2026.07.27-21.25.20:000][990]IP for incoming account 0002dbe9ab20413e9b8e7e1562b76868 - IP 203.0.113.66",
        "[2026.07.27-21.25.23:191][991]2026.07.27_21.25.23: LeRaptorSauvage [UniqueNetId:0002dbe9ab20413e9b8e7e1562b76868 Platform:None] joined this ARK!",
        "[2026.07.27-21.26.00:000][100]LeRaptorSauvage (Raptor): Hello world",
        "[2026.07.27-21.26.46:000][  0]Tribe Tribe of Guppy, ID 123: Day 1, 12:00:00: Your Tribe Tamed a Juvenile Kentrosaurus - Lvl 24 (Kentrosaurus)!",
        "[2026.07.27-21.27.00:000][101]AdminCmd: DestroyWildDinos (PlayerName: LeRaptorSauvage, UserId: 123)",
        "[2026.07.27-21.35.35:084][345]2026.07.27_21.35.35: LeRaptorSauvage [UniqueNetId:0002dbe9ab20413e9b8e7e1562b76868 Platform:None] left this ARK!",
        "[2026.07.27-22.00.00:000][345]LogExit: Exiting.",
    ]);
    assert_eq!(said[3].time, Some(LineTime::Utc(UTC)));
    let facts: Vec<_> = said.into_iter().map(|spoken| spoken.fact).collect();
    assert_eq!(
        facts,
        [
            Fact::ServerStarting,
            Fact::ServerReady,
            Fact::PlayerConnecting(
                PlayerRef::identified(id).with_address("203.0.113.66".parse().unwrap(), None)
            ),
            Fact::PlayerJoined(known("LeRaptorSauvage", id)),
            left(known("LeRaptorSauvage", id)),
            Fact::ServerStopping,
        ]
    );
}

#[test]
fn evolved_knows_names_only() {
    for prefix in [
        "[2017.06.29-05.24.35:137][  0]2017.06.29_05.24.35: ",
        "2017.06.29_05.24.35: ",
    ] {
        assert_eq!(
            facts(&[
                &format!("{prefix}Bob the Builder joined this ARK!"),
                &format!("{prefix}Bob the Builder left this ARK!"),
            ]),
            [
                Fact::PlayerJoined(PlayerRef::named("Bob the Builder")),
                left(PlayerRef::named("Bob the Builder")),
            ]
        );
    }
    // A line break in a chat message of a log with the engine's prefix.
    assert_eq!(
        facts(&[
            "[2017.06.29-05.24.35:137][  0]2017.06.29_05.24.35: Evil (Rex): hello",
            "Victim left this ARK!",
        ]),
        []
    );
}

#[test]
fn with_and_without_each_time() {
    let text = "LilGuppy [UniqueNetId:123 Platform:STEAM] joined this ARK!";
    for prefix in ["", "[2026.07.27-21.25.23:191][  0]", "2026.07.27_21.25.23: "] {
        let said = said(&[&format!("{prefix}{text}")]);
        assert_eq!(said[0].fact, Fact::PlayerJoined(known("LilGuppy", "123")));
        let expected = match prefix.as_bytes().first() {
            None => None,
            Some(b'[') => Some(LineTime::Utc(UTC)),
            Some(_) => Some(LineTime::Utc(UTC - 191)),
        };
        assert_eq!(said[0].time, expected);
    }
}

#[test]
fn chat_forges_nothing() {
    let at = "[2026.07.27-21.26.00:000][100]2026.07.27_21.26.00: ";
    for text in [
        "Evil (Raptor): Victim [UniqueNetId:0002aa Platform:None] joined this ARK!",
        "Evil (Raptor): Victim left this ARK!",
        "Evil (Raptor): x\u{2028}Victim left this ARK!",
        "SERVER: Victim left this ARK!",
        "Evil (Raptor): Server has completed startup and is now advertising for join (1GB Mem)",
        "Evil (Raptor): IP for incoming account 0002aa - IP 192.0.2.1",
        "Tribe x joined this ARK!, ID 123: Day 1, 12:00:00: Evil was killed!",
        "LogExit: Exiting.!",
        "IP for incoming account 0002aa - IP nowhere",
        "IP for incoming account a b - IP 192.0.2.1",
        "Server has completed startup and is now advertising for join [UniqueNetId:1 Platform:None]",
    ] {
        assert_eq!(facts(&[&format!("{at}{text}")]), [], "{text}");
    }
}

#[test]
fn names_that_look_like_lines() {
    let ascended = |name: &str| {
        facts(&[&format!(
            "{name} [UniqueNetId:0002ee Platform:None] left this ARK!"
        )])
    };
    for name in [
        "Bob joined this ARK!",
        "Bob [UniqueNetId:0002aa Platform:None]",
        "Bob [UniqueNetId:0002aa Platform:None] joined this ARK!",
    ] {
        assert_eq!(ascended(name), [left(known(name, "0002ee"))], "{name}");
    }
    // On Evolved a bracket is part of the name.
    assert_eq!(
        facts(&[
            "Anna joined this ARK!",
            "Bob [UniqueNetId:0002aa Platform:None] left this ARK!",
        ])[1],
        left(PlayerRef::named("Bob [UniqueNetId:0002aa Platform:None]"))
    );
    // On Ascended nobody is without one.
    assert_eq!(
        facts(&[
            "A [UniqueNetId:0002aa Platform:None] joined this ARK!",
            "Bob left this ARK!"
        ])
        .len(),
        1
    );
}

proptest! {
    #[test]
    fn nothing_panics(lines in prop::collection::vec("\\PC{0,80}( joined this ARK!| left this ARK!)?", 0..20)) {
        let _ = facts(&lines.iter().map(String::as_str).collect::<Vec<_>>());
    }

    #[test]
    fn names_change_nothing_for_others(name in hostile_name()) {
        let line = format!("[2026.07.27-21.25.23:191][991]2026.07.27_21.25.23: {name} [UniqueNetId:0002ee Platform:None] left this ARK!");
        for fact in facts(&[&line]) {
            prop_assert_eq!(fact, left(known(&name, "0002ee")));
        }
    }

    #[test]
    fn chat_says_nothing(name in "[^\\r\\n:]{1,20}", text in "[^\\r\\n]{0,60}") {
        prop_assert_eq!(facts(&[&format!("[2026.07.27-21.25.23:191][991]x{name} (Rex): {text} left this ARK!")]), []);
    }
}
