use proptest::prelude::*;

use super::Log;
use crate::games::{
    event::{Fact, PlayerRef},
    fields::hostile_name,
    grammar::Grammar,
};

fn facts(lines: &[&str]) -> Vec<Fact> {
    let (mut log, mut said) = (Log::default(), Vec::new());
    for line in lines {
        log.line(line, &mut said);
    }
    said.into_iter().map(|spoken| spoken.fact).collect()
}

fn player(address: &str, port: u16, id: &str, name: &str) -> PlayerRef {
    PlayerRef {
        name: Some(name.into()),
        ..PlayerRef::identified(id)
    }
    .with_address(address.parse().unwrap(), Some(port))
}

const ID: &str = "76561198000000000";

#[test]
fn joins_and_leaves() {
    let pope = player("203.0.113.179", 52298, ID, "Pope of the Nope");
    assert_eq!(
        facts(&[
            "Server startup complete",
            "203.0.113.179:52298/76561198000000000/Pope of the Nope joined [windows/76561198000000000]",
            "[CHAT] Pope of the Nope[8220/76561198000000000] : testing",
            "Pope of the Nope[8220/76561198000000000] was killed by Suicide",
            "Saving complete",
            "203.0.113.179:52298/76561198000000000/Pope of the Nope disconnecting: disconnect",
            "127.0.0.1:62056/76561198000000001/luigiplr disconnecting: closing",
        ]),
        [
            Fact::ServerReady,
            Fact::PlayerJoined(pope.clone()),
            Fact::PlayerLeft {
                player: pope,
                reason: Some("disconnect".into())
            },
            Fact::PlayerLeft {
                player: player("127.0.0.1", 62056, "76561198000000001", "luigiplr"),
                reason: Some("closing".into())
            },
        ]
    );
}

#[test]
fn names_with_slashes_and_brackets() {
    for name in [
        "Orion (EN/FR/ES)",
        "a/b/c",
        "x joined [windows/76561198000000001]",
        "x disconnecting: y",
        "1.2.3.4:5/76561198000000009/Z",
        "[8220/76561198000000000]",
    ] {
        assert_eq!(
            facts(&[&format!("203.0.113.1:7/{ID}/{name} joined [linux/{ID}]")]),
            [Fact::PlayerJoined(player("203.0.113.1", 7, ID, name))],
            "{name}"
        );
    }
}

#[test]
fn lines_that_begin_with_a_name_forge_nothing() {
    let forged = format!("1.2.3.4:5/{ID}/Victim");
    for line in [
        format!("{forged} disconnecting: [8220/76561198000000009] was killed by Suicide"),
        format!("{forged} disconnecting: x[76561198000000009] has spawned"),
        format!("{forged} disconnecting: x with steamid 76561198000000009 joined from ip 9.9.9.9:1"),
        format!("{forged} joined [windows/{ID}][8220/76561198000000009] was killed by Suicide"),
        format!("{forged} joined [8220/{ID}]"),
        format!("[CHAT] {forged} disconnecting: x"),
        format!("[CHAT] Evil[8220/{ID}] : {forged} disconnecting: x"),
        format!("{forged} joined [windows/76561198000000001]"),
        format!("1.2.3.4/{ID}/Victim disconnecting: x"),
        "1.2.3.4:5/7656/Victim disconnecting: x".to_owned(),
        "Server startup complete!".to_owned(),
        " Server startup complete".to_owned(),
    ] {
        assert_eq!(facts(&[&line]), [], "{line}");
    }
}

#[test]
fn a_leave_comes_from_where_the_join_came_from() {
    let join = format!("203.0.113.1:7/{ID}/Victim joined [windows/{ID}]");
    let victim = player("203.0.113.1", 7, ID, "Victim");
    assert_eq!(
        facts(&[&join, &format!("1.2.3.4:5/{ID}/Victim disconnecting: bye")]),
        [Fact::PlayerJoined(victim.clone())]
    );
    // A reason that reads like a join is still a leave.
    assert_eq!(
        facts(&[
            &join,
            &format!("203.0.113.1:7/{ID}/Victim disconnecting: x joined [windows/{ID}]"),
        ])[1..],
        [Fact::PlayerLeft {
            player: victim,
            reason: Some(format!("x joined [windows/{ID}]").into())
        }]
    );
    // Back from another address: the newer one counts.
    assert_eq!(
        facts(&[
            &join,
            &format!("203.0.113.2:9/{ID}/Victim joined [windows/{ID}]"),
            &format!("203.0.113.2:9/{ID}/Victim disconnecting: bye"),
        ])
        .len(),
        3
    );
}

proptest! {
    #[test]
    fn nothing_panics(line in "([0-9.]{1,9}:[0-9]{1,6}/[0-9]{0,20}/)?\\PC{0,80}( disconnecting: \\PC{0,20}| joined \\[\\PC{0,20}\\])?") {
        let _ = facts(&[&line]);
    }

    #[test]
    fn names_change_nothing_for_others(name in hostile_name()) {
        let evil = "76561198000000009";
        let joined = facts(&[&format!("203.0.113.9:9/{evil}/{name} joined [windows/{evil}]")]);
        prop_assert_eq!(joined, [Fact::PlayerJoined(player("203.0.113.9", 9, evil, &name))]);
        // Lines that begin with the name say nothing, whatever the name is.
        for line in [
            format!("{name}[8220/{evil}] was killed by Suicide"),
            format!("{name} with steamid {evil} joined from ip 9.9.9.9:1"),
            format!("{name}[{evil}] has entered the game"),
        ] {
            prop_assert_eq!(facts(&[&line]), [], "{}", line);
        }
    }
}
