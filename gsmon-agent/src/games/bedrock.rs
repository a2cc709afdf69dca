//! Minecraft Bedrock dedicated server (BDS): its standard output, and the same in its log file.
//!
//! Prefixes: `[YYYY-MM-DD HH:MM:SS:mmm LEVEL] ` (since about 1.18), `[YYYY-MM-DD HH:MM:SS LEVEL] ` and `[LEVEL] ` before;
//! each may have `NO LOG FILE! - ` in front. Time is the server's own zone.
//!
//! Lines, as printed by servers from 1.6 to 1.21 and kept in public logs:
//! `Player connected: NAME, xuid: N`, `Player Spawned: NAME xuid: N, pfid: HEX`,
//! `Player disconnected: NAME, xuid: N, pfid: HEX`; the number is empty where the server does not check accounts, and
//! `pfid` is missing in older ones. Servers that print no milliseconds do not print `Player Spawned` either: there, a
//! connection is taken as the join.
//!
//! What chat can forge: nothing. The server prints no chat, and what scripts print begins with `[Scripting]`. Names are
//! taken from the right, since without account checks they can be anything.
//!
//! Not covered: addresses, which BDS does not print (players are matched to flows by time), the names that follow `There
//! are N/M players online:` on a bare line, and other servers (PocketMine, Nukkit, LeviLamina's own prefix).

use super::{
    Grammar, LineTime, NetcodeLayout, PlayerRef, Spoken, StableKey,
    event::{Fact, Phase, PlayerCount},
    scan::{at, digits, iso_date_time, keep, leading_number},
};
use crate::config::QueryProtocol;

/// The XUID, the account's number. Servers with `online-mode=false` state none; there, the name.
pub const IDENTITY: StableKey = StableKey::PlatformId;
/// RakNet's unconnected ping: counts and limits, no names.
pub const QUERY: QueryProtocol = QueryProtocol::MinecraftBedrock;
/// RakNet below an encrypted payload.
pub const NETCODE: NetcodeLayout = NetcodeLayout::RakNet;

/// Reads one server's log.
#[derive(Debug, Default)]
pub struct Log;

/// How finely a line's time is given: it tells old servers from new ones.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Age {
    Seconds,
    Milliseconds,
}

impl Grammar for Log {
    fn line(&mut self, line: &str, said: &mut Vec<Spoken>) {
        let Some((time, age, text)) = prefix(line) else {
            return;
        };
        let fact = match text.as_bytes().first() {
            Some(b'P') => player(age, text),
            Some(b'S') => match text.trim_end() {
                "Starting Server" => Some(Fact::ServerStarting),
                "Server started." => Some(Fact::ServerReady),
                // `Stopping server...` follows a second later.
                "Server stop requested." => Some(Fact::ServerStopping),
                _ => None,
            },
            Some(b'O') if text.starts_with("Opening level '") => Some(Fact::Phase(Phase::Loading)),
            Some(b'T') => count(text).map(Fact::PlayerCount),
            _ => None,
        };
        if let Some(fact) = fact {
            said.push(Spoken::new(time, fact));
        }
    }
}

fn prefix(line: &str) -> Option<(Option<LineTime>, Age, &str)> {
    let line = line.strip_prefix("NO LOG FILE! - ").unwrap_or(line);
    let rest = line.strip_prefix('[')?;
    let bytes = rest.as_bytes();
    let (time, age, rest) = if !bytes.first()?.is_ascii_digit() {
        (None, Age::Seconds, rest)
    } else {
        let time = iso_date_time(bytes, 0)?;
        if at(bytes, 19, b':') {
            let milliseconds = i64::from(digits::<3>(bytes, 20)?);
            (
                Some(time + milliseconds),
                Age::Milliseconds,
                rest.get(23..)?.strip_prefix(' ')?,
            )
        } else {
            (Some(time), Age::Seconds, rest.get(19..)?.strip_prefix(' ')?)
        }
    };
    let end = rest.find("] ")?;
    let level = &rest[..end];
    if level.is_empty() || !level.bytes().all(|byte| byte.is_ascii_uppercase()) {
        return None;
    }
    Some((time.map(LineTime::Local), age, &rest[end + 2..]))
}

fn player(age: Age, text: &str) -> Option<Fact> {
    let rest = text.strip_prefix("Player ")?;
    if let Some(rest) = rest.strip_prefix("connected: ") {
        let who = identity(rest, ", xuid:")?;
        return Some(match age {
            Age::Seconds => Fact::PlayerJoined(who),
            Age::Milliseconds => Fact::PlayerConnecting(who),
        });
    }
    if let Some(rest) = rest.strip_prefix("Spawned: ") {
        return Some(Fact::PlayerJoined(identity(rest, " xuid:")?));
    }
    let rest = rest.strip_prefix("disconnected: ")?;
    Some(Fact::PlayerLeft {
        player: identity(rest, ", xuid:")?,
        reason: None,
    })
}

/// `NAME<key> N[, pfid: HEX]`, from the right: the last key is the server's own.
fn identity(text: &str, key: &str) -> Option<PlayerRef> {
    let place = text.rfind(key)?;
    let (name, rest) = (&text[..place], text[place + key.len()..].trim());
    let xuid = match rest.split_once(',') {
        None => rest,
        Some((xuid, pfid)) => {
            let pfid = pfid.trim_start().strip_prefix("pfid:")?.trim_start();
            pfid.bytes()
                .all(|byte| byte.is_ascii_hexdigit())
                .then_some(xuid.trim_end())?
        }
    };
    if name.is_empty() || !xuid.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let who = PlayerRef {
        name: Some(keep(name)),
        ..PlayerRef::default()
    };
    Some(if xuid.is_empty() {
        who
    } else {
        PlayerRef {
            platform_id: Some(keep(xuid)),
            ..who
        }
    })
}

/// `There are 1/10 players online:`
fn count(text: &str) -> Option<PlayerCount> {
    let (online, rest) = leading_number(text.strip_prefix("There are ")?)?;
    let (max, rest) = leading_number(rest.strip_prefix('/')?)?;
    rest.starts_with(" players online:").then_some(PlayerCount {
        online: u32::try_from(online).ok()?,
        bots: None,
        max: u32::try_from(max).ok(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        super::transcript::{assert_silent, read, spoken, time},
        *,
    };

    #[test]
    fn a_whole_session() {
        let transcript = "\
NO LOG FILE! - setting up server logging...
NO LOG FILE! - [2024-04-01 20:49:00:000 INFO] Starting Server
NO LOG FILE! - [2024-04-01 20:49:00:001 INFO] Version: 1.20.73.01
[2024-04-01 20:49:01:000 INFO] Level Name: Bedrock level
[2024-04-01 20:49:01:000 INFO] Game mode: 0 Survival
[2024-04-01 20:49:01:500 INFO] Opening level 'worlds/Bedrock level/db'
[2024-04-01 20:49:02:000 INFO] IPv4 supported, port: 19132: Used for gameplay and LAN discovery
[2024-04-01 20:49:03:000 INFO] Server started.
[2024-04-01 20:50:26:198 INFO] Player connected: Sirherobrine, xuid: 2535413418839840
[2024-04-01 20:50:27:000 INFO] Player PartyIdUpdate:  pfid: 94BDCFBEDC749828, partyid: , isLeader: false
[2024-04-01 20:50:31:386 INFO] Player Spawned: Sirherobrine xuid: 2535413418839840
[2024-04-01 21:46:11:691 INFO] Player connected: nod dd, xuid:
[2024-04-01 21:46:16:637 INFO] Player Spawned: nod dd xuid: , pfid: c31902da495f4549
[2024-04-01 21:46:20:000 INFO] There are 2/10 players online:
Sirherobrine, nod dd
[2024-04-01 21:47:00:000 INFO] Running AutoCompaction...
[2024-04-01 21:48:00:000 INFO] Player disconnected: nod dd, xuid: , pfid: c31902da495f4549
[2024-04-01 21:49:00:000 INFO] Player disconnected: Sirherobrine, xuid: 2535413418839840, pfid: a12ab345678c9d01
[2024-04-01 21:50:00:000 INFO] Server stop requested.
[2024-04-01 21:50:01:000 INFO] Stopping server...
[2024-04-01 21:50:02:000 INFO] Quit correctly";
        assert_eq!(
            read::<Log>(transcript),
            [
                "starting",
                "phase loading",
                "ready",
                "connecting Sirherobrine =2535413418839840",
                "joined Sirherobrine =2535413418839840",
                "connecting nod dd",
                "joined nod dd",
                "count 2 of Some(10)",
                "left nod dd",
                "left Sirherobrine =2535413418839840",
                "stopping",
            ]
        );
    }

    #[test]
    fn old_servers_join_at_once() {
        assert_eq!(
            read::<Log>(
                "\
[2019-05-16 23:19:45 INFO] Server started.
[2019-05-16 23:20:00 INFO] Player connected: Foxer191, xuid: 2535428717109723
[INFO] Player disconnected: Foxer191, xuid: 2535428717109723"
            ),
            [
                "ready",
                "joined Foxer191 =2535428717109723",
                "left Foxer191 =2535428717109723"
            ]
        );
    }

    #[test]
    fn times_are_the_servers_own() {
        assert_eq!(
            time::<Log>("[1970-01-02 00:00:00:250 INFO] Server started."),
            Some(LineTime::Local(86_400_250))
        );
        assert_eq!(
            time::<Log>("[1970-01-02 00:00:00 INFO] Server started."),
            Some(LineTime::Local(86_400_000))
        );
        assert_eq!(time::<Log>("[INFO] Server started."), None);
    }

    #[test]
    fn names_are_taken_from_the_right() {
        assert_eq!(
            read::<Log>(
                "\
[2024-04-01 20:50:26:198 INFO] Player connected: Steve, xuid: 11, xuid: 22
[2024-04-01 20:50:26:198 INFO] Player Spawned: Player connected: Steve, xuid: 11 xuid: 22, pfid: ab
[2024-04-01 20:50:26:198 INFO] Player disconnected: Steve, xuid: 11, pfid: ff, xuid: "
            ),
            [
                "connecting Steve, xuid: 11 =22",
                "joined Player connected: Steve, xuid: 11 =22",
                "left Steve, xuid: 11, pfid: ff",
            ]
        );
    }

    #[test]
    fn scripts_forge_nothing() {
        assert_silent::<Log>(
            "\
[2024-04-01 20:50:26:198 WARN] [Scripting] Player disconnected: Steve, xuid: 11
[2024-04-01 20:50:26:198 INFO] <Steve> Player connected: Fake, xuid: 1
[2024-04-01 20:50:26:198 INFO] Steve: Server stop requested.
[2024-04-01 20:50:26:198 INFO] Player connected: Steve
[2024-04-01 20:50:26:198 INFO] Player connected: Steve, xuid: x
[2024-04-01 20:50:26:198 INFO] Player disconnected: Steve, xuid: 1, pfid: z
[2024-04-01 20:50:26:198 INFO] Server started with some other wording
[2024-04-01 20:50:26:198] Server started.
Player connected: Steve, xuid: 11",
        );
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(line in ".*") {
            spoken::<Log>(&line);
            spoken::<Log>(&format!("[2024-04-01 20:50:26:198 {line}"));
            spoken::<Log>(&format!("[2024-04-01 20:50:26:198 INFO] Player {line}"));
        }

        #[test]
        fn a_name_changes_nothing_for_others(name in "\\PC{1,40}", suffix in "(, xuid: 7, pfid: ab)?") {
            let name = name + &suffix;
            for (verb, key, tail) in [("connected", ",", ""), ("Spawned", "", ", pfid: c3"), ("disconnected", ",", ", pfid: c3")] {
                let line = format!("[2024-04-01 20:50:26:198 INFO] Player {verb}: {name}{key} xuid: 99{tail}");
                let said = spoken::<Log>(&line);
                prop_assert_eq!(said.len(), 1);
                let who = match (&said[0].fact, verb) {
                    (Fact::PlayerConnecting(who), "connected") => who,
                    (Fact::PlayerJoined(who), "Spawned") => who,
                    (Fact::PlayerLeft { player, .. }, "disconnected") => player,
                    (other, _) => return Err(TestCaseError::fail(format!("{other:?}"))),
                };
                prop_assert_eq!(who.name.as_deref(), Some(name.as_str()));
                prop_assert_eq!(who.platform_id.as_deref(), Some("99"));
            }
        }
    }
}
