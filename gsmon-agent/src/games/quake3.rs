//! The Quake III family: ioquake3, OpenArena, Urban Terror, Tremulous, and mods of them.
//!
//! Two places, one text (ioquake3 `code/game/g_main.c`, `g_client.c`): `games.log`, where every line begins with match
//! time (`%3i:%02i `, minutes since the map started), and the console of a dedicated server, where it has none. Neither
//! has a date, so events take the time at which they were read. Tremulous adds address, key and name to connections;
//! Urban Terror logs the whole userinfo, address included.
//!
//! A map change says `ShutdownGame:`, `InitGame:` and then connects and begins every client again. A match that waits for
//! players says `Warmup:`; one that does not says nothing, so it counts as active once somebody has begun and the next
//! line is not `Warmup:`.
//!
//! What chat can forge: `games.log` prints it behind `say: `, `sayteam: `, `tell: `. The console prints it as `NAME^7: text`
//! with the bare name in front, so a line is taken only whole, and a free text in it only without `: `. A name cannot
//! hold `\`, `"` or `;`, which the engine forbids in userinfo.
//!
//! Not covered: player keys (`cl_guid`, OpenArena's `id`): clients state them themselves, and OpenArena tells everybody
//! everybody's. Call of Duty's `J;` lines.

use std::sync::Arc;

use super::{
    Grammar, NetcodeLayout, PlayerRef, Spoken, StableKey,
    event::{Fact, KindEvidence, Phase, PlayerKind},
    scan::{address, keep, keep_some, leading_number},
};
use crate::config::QueryProtocol;

/// The client slot, for one connection: names are free to change and keys are the client's own claim.
pub const IDENTITY: StableKey = StableKey::Slot;
/// `getstatus`: score, ping and name of every client.
pub const QUERY: QueryProtocol = QueryProtocol::Quake3;
/// id Tech 3's own channel.
pub const NETCODE: NetcodeLayout = NetcodeLayout::Quake3;

/// The engine allows 64 clients; derived engines up to 256.
const MAX_SLOT: u64 = 1024;

/// Reads one server's log.
#[derive(Debug, Default)]
pub struct Log {
    play: Play,
    /// What `Exit:` gave as the reason.
    exit: Option<Arc<str>>,
    /// Who was described last. Some mods describe a client before they say that it connects.
    described: Option<PlayerRef>,
}

/// How far the current match is, as far as it has been said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Play {
    /// Nobody has begun yet.
    #[default]
    Waiting,
    /// Somebody has begun; a warm-up would be announced next.
    Begun,
    /// Warm-up, active or over: said.
    Said,
}

impl Grammar for Log {
    fn line(&mut self, line: &str, said: &mut Vec<Spoken>) {
        let text = untimed(line);
        let mut say = |fact| said.push(Spoken::new(None, fact));
        if self.play == Play::Begun && !text.starts_with("Client") {
            self.play = Play::Said;
            if text != "Warmup:" {
                say(Fact::Phase(Phase::Active));
            }
        }
        match text.as_bytes().first() {
            Some(b'C') => {
                if let Some(fact) = text.strip_prefix("Client").and_then(client) {
                    say(self.follow(fact));
                }
            }
            Some(b'I') => {
                if let Some(info) = text.strip_prefix("InitGame: \\") {
                    *self = Self::default();
                    say(Fact::ServerReady);
                    say(Fact::MatchBegun {
                        map: value(info, "mapname").map(keep),
                        mode: value(info, "g_gametype").map(keep),
                        id: None,
                    });
                } else if text.starts_with("InitRound: \\") {
                    self.play = Play::Said;
                    say(Fact::Phase(Phase::Active));
                }
            }
            Some(b'W') if text == "Warmup:" => {
                self.play = Play::Said;
                say(Fact::Phase(Phase::Lobby));
            }
            Some(b'E') => {
                if let Some(reason) = text.strip_prefix("Exit: ")
                    && !reason.contains(':')
                {
                    self.play = Play::Said;
                    self.exit = keep_some(reason);
                    say(Fact::Phase(Phase::Ended));
                }
            }
            Some(b'S') if text == "ShutdownGame:" => {
                self.play = Play::Said;
                say(Fact::MatchEnded {
                    reason: self.exit.take(),
                });
            }
            Some(b'-') => {
                if text == "------ Server Initialization ------" {
                    say(Fact::Phase(Phase::Loading));
                } else if shutdown(text) {
                    say(Fact::ServerStopping);
                }
            }
            _ => {}
        }
    }
}

impl Log {
    /// Remembers what later lines depend on, and fills in what earlier ones said.
    fn follow(&mut self, fact: Fact) -> Fact {
        match fact {
            Fact::PlayerJoined(_) if self.play == Play::Waiting => self.play = Play::Begun,
            Fact::PlayerKnown(ref who) => self.described = Some(who.clone()),
            Fact::PlayerLeft { ref player, .. } => {
                self.described.take_if(|described| described.slot == player.slot);
            }
            Fact::PlayerConnecting(who) if who.name.is_none() => {
                let known = self.described.take_if(|described| described.slot == who.slot);
                return Fact::PlayerConnecting(known.unwrap_or(who));
            }
            _ => {}
        }
        fact
    }
}

/// Takes match time off, where there is one, and trailing blanks (`Warmup: ` of some mods).
fn untimed(line: &str) -> &str {
    let line = line.trim_end();
    let rest = line.trim_start_matches(' ');
    let timed = || {
        let (_minutes, rest) = leading_number(rest)?;
        let bytes = rest.as_bytes();
        let seconds = bytes.first() == Some(&b':')
            && bytes.get(1)?.is_ascii_digit()
            && bytes.get(2)?.is_ascii_digit()
            && bytes.get(3) == Some(&b' ');
        seconds.then(|| rest[4..].trim_start_matches(' '))
    };
    // A digit in front is rare on a console; a blank is the log's padding.
    if rest.as_bytes().first().is_some_and(u8::is_ascii_digit) {
        return timed().unwrap_or(rest);
    }
    rest
}

/// The value of a key in `k\v\k\v`.
fn value<'a>(info: &'a str, key: &str) -> Option<&'a str> {
    let mut parts = info.split('\\');
    while let (Some(name), Some(value)) = (parts.next(), parts.next()) {
        if name == key {
            return Some(value);
        }
    }
    None
}

fn slot(text: &str) -> Option<(PlayerRef, &str)> {
    let (slot, rest) = leading_number(text)?;
    (slot <= MAX_SLOT).then(|| (PlayerRef::in_slot(slot), rest))
}

/// What follows `Client`.
fn client(text: &str) -> Option<Fact> {
    if let Some(rest) = text.strip_prefix("Begin: ") {
        let (who, rest) = slot(rest)?;
        return rest.is_empty().then_some(Fact::PlayerJoined(who));
    }
    if let Some(rest) = text.strip_prefix("Connect: ") {
        return Some(Fact::PlayerConnecting(connection(rest)?));
    }
    if let Some(rest) = text.strip_prefix("Disconnect: ") {
        return Some(Fact::PlayerLeft {
            player: connection(rest)?,
            reason: None,
        });
    }
    if let Some(rest) = text.strip_prefix("UserinfoChanged: ") {
        let (who, rest) = slot(rest)?;
        let info = rest.strip_prefix(" n\\")?;
        let (name, info) = info.split_once('\\')?;
        let who = PlayerRef {
            name: keep_some(name),
            ..who
        };
        // Only the server writes this string, and only for its bots with a skill.
        return Some(Fact::PlayerKnown(match value(info, "skill") {
            Some(_) => who.with_kind(PlayerKind::Bot, KindEvidence::Settings),
            None => who,
        }));
    }
    if let Some(rest) = text.strip_prefix("Userinfo: ") {
        let (who, rest) = slot(rest)?;
        return Some(Fact::PlayerKnown(userinfo(who, rest.strip_prefix(" \\")?)));
    }
    if let Some(rest) = text.strip_prefix("Rename: ") {
        let (who, rest) = slot(rest)?;
        let (_, rest) = rest.split_once("\" -> \"")?;
        return Some(Fact::PlayerKnown(named(who, rest)?));
    }
    None
}

/// Urban Terror: name and address of a userinfo string, where the server itself has put the address.
fn userinfo(who: PlayerRef, info: &str) -> PlayerRef {
    let who = PlayerRef {
        name: value(info, "name").and_then(keep_some),
        ..who
    };
    match value(info, "ip").and_then(address) {
        Some((address, port)) => who.with_address(address, port),
        None => who,
    }
}

/// `2`, or Tremulous' `2 [1.2.3.4] (KEY) "name"`.
fn connection(text: &str) -> Option<PlayerRef> {
    let (who, rest) = slot(text)?;
    if rest.is_empty() {
        return Some(who);
    }
    let (place, rest) = rest.strip_prefix(" [")?.split_once("] (")?;
    let (_key, rest) = rest.split_once(") \"")?;
    let who = match address(place) {
        Some((address, port)) => who.with_address(address, port),
        None => who,
    };
    named(who, rest)
}

/// A name up to its closing quote; names hold none. The colour that later versions put behind it is not part of it.
fn named(who: PlayerRef, text: &str) -> Option<PlayerRef> {
    let (name, _) = text.split_once('"')?;
    Some(PlayerRef {
        name: keep_some(name.strip_suffix("^7").unwrap_or(name)),
        ..who
    })
}

/// `----- Server Shutdown -----`, `----- Server Shutdown (Server quit) -----`
fn shutdown(text: &str) -> bool {
    text.strip_prefix("----- Server Shutdown ")
        .and_then(|rest| rest.strip_suffix("-----"))
        .is_some_and(|reason| {
            reason.is_empty() || (reason.starts_with('(') && reason.ends_with(") ") && !reason.contains(':'))
        })
}

#[cfg(test)]
mod tests;
