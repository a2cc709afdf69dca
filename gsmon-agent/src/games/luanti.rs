//! Luanti, formerly Minetest: `debug.txt` and the server's standard error.
//!
//! Format (Luanti `src/log.cpp`, `src/server.cpp`): `YYYY-MM-DD HH:MM:SS: LEVEL[thread]: text`, in the server's time
//! zone. Join, leave and time-out lines end with the whole list of players. Before 5.0 a join takes two lines, the first
//! with the address, the second with the list. A log file begins anew with a line `  Separator`.
//!
//! Why chat cannot forge: a name has only letters, digits, `-` and `_`, and every other line of a player begins with
//! `CHAT: `, or with the name and another verb. Chat with a line break is refused by the server.
//!
//! Not covered: lines of mods, and 0.4 logs that carry no date (`HH:MM:SS: `).

use super::{
    Grammar, LineTime, NetcodeLayout, PlayerRef, Spoken, StableKey,
    event::Fact,
    scan::{address, at, iso_date_time, keep_some},
};
use crate::config::QueryProtocol;

/// Names are accounts with passwords: one name is one player. Addresses are only those of a connection.
pub const IDENTITY: StableKey = StableKey::Name;
/// The server has no query protocol.
pub const QUERY: QueryProtocol = QueryProtocol::Off;
/// Luanti's own reliable UDP.
pub const NETCODE: NetcodeLayout = NetcodeLayout::Luanti;

/// `PLAYERNAME_SIZE` in Luanti's sources.
const MAX_NAME: usize = 20;
/// More names than any server holds (`max_users` is 16 bits wide, hundreds in practice): a longer list is not read.
const MAX_LIST: usize = 4096;

/// Reads one server's log.
#[derive(Debug, Default)]
pub struct Log;

impl Grammar for Log {
    fn line(&mut self, line: &str, said: &mut Vec<Spoken>) {
        if line == "  Separator" {
            said.push(Spoken::new(None, Fact::ServerStarting));
            return;
        }
        let Some((time, text)) = action(line) else {
            return;
        };
        match text.as_bytes().first() {
            Some(b'S') if text == "Server: Shutting down" => {
                said.push(Spoken::new(time, Fact::ServerStopping));
            }
            Some(b'S') if listening(text) => said.push(Spoken::new(time, Fact::ServerReady)),
            _ => player(time, text, said),
        }
    }
}

/// Takes the prefix off an action line; other levels say nothing.
fn action(line: &str) -> Option<(Option<LineTime>, &str)> {
    let bytes = line.as_bytes();
    if !at(bytes, 19, b':') || !at(bytes, 20, b' ') {
        return None;
    }
    let rest = line.get(21..)?.strip_prefix("ACTION[")?;
    let end = rest.find("]: ")?;
    // The time is read only for lines that can speak; it costs more than the prefix.
    Some((Some(LineTime::Local(iso_date_time(bytes, 0)?)), &rest[end + 3..]))
}

fn listening(text: &str) -> bool {
    text.strip_prefix("Server for gameid=\"")
        .and_then(|rest| rest.split_once("\" listening on "))
        .is_some_and(|(_game, place)| !place.is_empty())
}

fn is_name(text: &str) -> bool {
    (1..=MAX_NAME).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

fn player(time: Option<LineTime>, text: &str, said: &mut Vec<Spoken>) {
    let Some((name, rest)) = text.split_once(' ') else {
        return;
    };
    // The verb decides before the name is looked at: most lines are digging and placing.
    let (who, rest) = if let Some(inside) = rest.strip_prefix('[') {
        let Some((place, rest)) = inside.split_once("] ") else {
            return;
        };
        let Some((address, port)) = address(place) else {
            return;
        };
        (PlayerRef::default().with_address(address, port), rest)
    } else {
        (PlayerRef::default(), rest)
    };
    let (fact, list): (fn(PlayerRef) -> Fact, _) = if let Some(rest) = rest.strip_prefix("joins game.") {
        (Fact::PlayerJoined, rest)
    } else if let Some(rest) = rest.strip_prefix("leaves game.") {
        (|player| Fact::PlayerLeft { player, reason: None }, rest)
    } else if let Some(rest) = rest.strip_prefix("times out.") {
        (
            |player| Fact::PlayerLeft {
                player,
                reason: keep_some("times out"),
            },
            rest,
        )
    } else {
        return;
    };
    if !is_name(name) {
        return;
    }
    let roster = if list.trim_end().is_empty() {
        None
    } else {
        let Some(roster) = list.strip_prefix(" List of players:").and_then(names) else {
            return;
        };
        Some(roster)
    };
    said.push(Spoken::new(time, fact(who.with_name(name))));
    if let Some(roster) = roster {
        said.push(Spoken::new(time, Fact::Roster(roster)));
    }
}

fn names(list: &str) -> Option<Vec<PlayerRef>> {
    list.split_ascii_whitespace()
        .enumerate()
        .map(|(count, name)| (count < MAX_LIST && is_name(name)).then(|| PlayerRef::named(name)))
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        super::transcript::{assert_silent, read, spoken, time},
        *,
    };

    #[test]
    fn a_whole_evening() {
        let transcript = "\
-------------
  Separator
-------------
2026-08-01 19:00:00: ACTION[Main]: World at [/srv/world]
2026-08-01 19:00:00: ACTION[Main]: Server for gameid=\"minetest_game\" listening on 127.0.0.1:30000.
2026-08-01 19:01:00: ACTION[Server]: alice [10.0.0.1] joins game. List of players: alice
2026-08-01 19:01:10: ACTION[Server]: alice digs default:dirt at (1,2,3)
2026-08-01 19:02:00: ACTION[Server]: bob-2 [2001:db8::7] joins game. List of players: alice bob-2
2026-08-01 19:02:05: WARNING[Server]: bob-2 leaves game. List of players: alice
2026-08-01 19:02:30: ACTION[Server]: CHAT: <bob-2> hello
2026-08-01 19:03:00: ACTION[Server]: alice leaves game. List of players: 
2026-08-01 19:03:00: ACTION[Server]: bob-2 times out. List of players:
2026-08-01 19:04:00: ACTION[Main]: Server: Shutting down";
        assert_eq!(
            read::<Log>(transcript),
            [
                "starting",
                "ready",
                "joined alice @10.0.0.1",
                "roster alice",
                "joined bob-2 @2001:db8::7",
                "roster alice bob-2",
                "left alice",
                "roster",
                "left bob-2: times out",
                "roster",
                "stopping",
            ]
        );
    }

    #[test]
    fn old_servers_take_two_lines() {
        let transcript = "\
2019-11-14 19:44:34: ACTION[Server]: Krock [127.0.0.1] joins game. 
2019-11-14 19:44:34: ACTION[Server]: Krock joins game. List of players: Krock ";
        assert_eq!(
            read::<Log>(transcript),
            ["joined Krock @127.0.0.1", "joined Krock", "roster Krock"]
        );
    }

    #[test]
    fn reference_lines() {
        assert_eq!(
            read::<Log>(
                "2023-11-23 14:10:16: ACTION[Server]: ElinetUwu [10.0.0.1] joins game. List of players:"
            ),
            ["joined ElinetUwu @10.0.0.1", "roster"]
        );
        assert_eq!(
            read::<Log>(
                "2023-11-23 14:10:16: ACTION[Main]: Server for gameid=\"x\" listening on [::]:30000."
            ),
            ["ready"]
        );
        assert_silent::<Log>(
            "2023-11-23 14:10:16: ACTION[Server]: Server: bob tried to join from 10.0.0.1, but there is no such user
2023-11-23 14:10:16: ACTION[Main]: World at [/path/world]
2023-11-23 14:10:16: ACTION[Server]: bob attempted to interact with node at (1,2,3)",
        );
    }

    #[test]
    fn times_are_the_servers_own() {
        assert_eq!(
            time::<Log>("1970-01-02 00:00:01: ACTION[Main]: Server: Shutting down"),
            Some(LineTime::Local(86_401_000))
        );
    }

    #[test]
    fn chat_forges_nothing() {
        assert_silent::<Log>(
            "2026-08-01 19:02:30: ACTION[Server]: CHAT: <eve> alice leaves game. List of players: eve
2026-08-01 19:02:30: ACTION[Server]: CHAT: * eve leaves game. List of players: eve
2026-08-01 19:02:30: ACTION[Server]: CHAT: <eve> 2026-08-01 19:02:30: ACTION[Main]: Server: Shutting down
2026-08-01 19:02:30: ACTION[Server]: eve wrote \"alice leaves game. List of players: \" to sign at (1,2,3)
2026-08-01 19:02:30: ACTION[Server]: eve sends Server: Shutting down
2026-08-01 19:02:30: ACTION[Server]: Server: Shutting down soon
2026-08-01 19:02:30: ACTION[Server]: <eve> leaves game. List of players: 
2026-08-01 19:02:30: ACTION[Server]: eve [not an address] joins game. List of players: eve
2026-08-01 19:02:30: ACTION[Server]: eve joins game. List of players: eve <alice>
alice leaves game. List of players: ",
        );
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(line in ".*", tail in ".*") {
            spoken::<Log>(&line);
            spoken::<Log>(&format!("2026-08-01 19:02:30: ACTION[Server]: {line}"));
            spoken::<Log>(&format!("2026-08-01 19:02:30: ACTION[Server]: bob {line} joins game. List of players: {tail}"));
        }

        #[test]
        fn chat_of_any_kind_is_silent(text in ".*") {
            let line = format!("2026-08-01 19:02:30: ACTION[Server]: CHAT: <eve> {}", text.replace('\n', " "));
            prop_assert!(spoken::<Log>(&line).is_empty());
        }

        #[test]
        fn a_name_changes_nothing_for_others(name in "\\PC{1,24}") {
            let line = format!("2026-08-01 19:02:30: ACTION[Server]: {name} [10.0.0.1] joins game. List of players: alice");
            for spoken in spoken::<Log>(&line) {
                match spoken.fact {
                    Fact::PlayerJoined(who) => prop_assert_eq!(who.name.as_deref(), Some(name.as_str())),
                    Fact::Roster(all) => prop_assert_eq!(all, [PlayerRef::named("alice")]),
                    other => prop_assert!(false, "{:?}", other),
                }
            }
        }
    }
}
