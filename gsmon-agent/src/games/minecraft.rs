//! Minecraft Java edition: vanilla, Paper and its relatives, Fabric, Forge, and servers before 1.7.
//!
//! Prefixes:
//! - vanilla, log file of all: `[HH:MM:SS] [thread/LEVEL]: `
//! - Paper, Spigot console: `[HH:MM:SS LEVEL]: `
//! - Forge: `[HH:MM:SS] [thread/LEVEL] [logger]: `, in files also `[14Jan2024 12:34:56.789] [thread/LEVEL] [logger]: `
//! - Fabric development builds: `[HH:MM:SS] [thread/LEVEL] (logger) `
//! - before 1.7: `YYYY-MM-DD HH:MM:SS [LEVEL] `, Bukkit's console without the date
//!
//! Joins are taken from `NAME[/IP:PORT] logged in with entity id`, which no plugin hides, as well as from `joined the
//! game` (vanilla prints it after, Paper before). Leaves are taken from `lost connection`, and from `left the game` where
//! that did not come first; who is refused before joining is told apart by its form, `NAME (/IP:PORT) lost connection`.
//!
//! What chat can forge: a vanilla line of a player begins with `<`, `[` (`/say`, `[Not Secure]`, team chat) or `* `
//! (`/me`), none of which begins an event. A chat plugin could print what a player says with nothing but the bare name
//! in front; then a player can say `left the game` of himself, and of nobody else, since an event takes one word of
//! letters, digits and `_.-*+~!` as name, at the very beginning.
//!
//! Not covered: names with spaces or other signs (Floodgate without `replace-spaces`), translated consoles, and the
//! colours that a console prints to a terminal.

mod prefix;

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
};

use self::prefix::{Age, prefix};
use super::{
    Grammar, NetcodeLayout, PlayerRef, Spoken, StableKey,
    event::{Fact, Phase, PlayerCount},
    scan::{address, keep, keep_some, leading_number},
};
use crate::config::QueryProtocol;

/// The UUID, which the log states at every login; it outlives renames. Without it (servers behind a proxy), the name.
pub const IDENTITY: StableKey = StableKey::PlatformId;
/// The server list ping, which every server answers.
pub const QUERY: QueryProtocol = QueryProtocol::Minecraft;
/// TCP, encrypted after login.
pub const NETCODE: NetcodeLayout = NetcodeLayout::Tcp;

/// Names remembered as in the game. More than any server holds; beyond it a refused login is told by address alone.
const MAX_ONLINE: usize = 4096;
/// Names that lost their connection and may still be said to have left.
const MAX_GONE: usize = 64;
/// Longest name: 16 characters, and what Floodgate or a translated name puts around them.
const MAX_NAME: usize = 40;

/// Reads one server's log.
#[derive(Debug, Default)]
pub struct Log {
    /// Who has joined and not left: a refused login in such a name says nothing of him.
    online: HashSet<Arc<str>>,
    /// Who has lost the connection and not been said to leave yet.
    gone: VecDeque<Arc<str>>,
    stage: Stage,
}

/// What a server says twice is passed on once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Unknown,
    Starting,
    Ready,
    Stopping,
}

impl Grammar for Log {
    fn line(&mut self, line: &str, said: &mut Vec<Spoken>) {
        let Some((stamp, text)) = prefix(line) else {
            return;
        };
        let mut say = |fact| {
            said.push(Spoken::new(stamp.time(), fact));
        };
        match text.as_bytes().first() {
            None | Some(b'<' | b'[') => return,
            Some(b'C') if text.starts_with("Can't keep up!") => {
                if let Some(milliseconds) = behind(text) {
                    say(Fact::Behind { milliseconds });
                }
                return;
            }
            Some(b'D') if done(text) => {
                self.stage = Stage::Ready;
                say(Fact::ServerReady);
                return;
            }
            Some(b'P') if text.starts_with("Preparing level \"") => {
                say(Fact::Phase(Phase::Loading));
                return;
            }
            Some(b'S') if let Some(rest) = starting(text) => {
                // The version comes first; a server that dies while it loads says it again.
                if rest.starts_with("version ") || self.stage != Stage::Starting {
                    *self = Self {
                        stage: Stage::Starting,
                        ..Self::default()
                    };
                    say(Fact::ServerStarting);
                }
                return;
            }
            Some(b'S') if text == "Stopping server" || text == "Stopping the server" => {
                if self.stage != Stage::Stopping {
                    self.stage = Stage::Stopping;
                    say(Fact::ServerStopping);
                }
                return;
            }
            Some(b'T') if text.starts_with("There are ") => {
                if let Some((count, roster)) = list(text) {
                    say(Fact::PlayerCount(count));
                    if let Some(roster) = roster {
                        say(Fact::Roster(roster));
                    }
                }
                return;
            }
            Some(b'U') if text.starts_with("UUID of player ") => {
                if let Some(player) = identified(text) {
                    say(Fact::PlayerKnown(player));
                }
                return;
            }
            Some(b'/') => {
                if let Some(fact) = nameless(text) {
                    say(fact);
                }
                return;
            }
            Some(b'c') if text.starts_with("com.mojang.authlib.GameProfile@") => {
                if let Some(fact) = self.profile(text) {
                    say(fact);
                }
                return;
            }
            Some(_) => {}
        }
        if let Some(fact) = self.player(stamp.age(), text) {
            say(fact);
        }
    }
}

/// `Done (44.552s)! ...`; some locales write a comma, old servers nanoseconds.
fn done(text: &str) -> bool {
    text.strip_prefix("Done (")
        .and_then(|rest| rest.split_once(")!"))
        .is_some_and(|(time, _)| {
            time.starts_with(|first: char| first.is_ascii_digit())
                && time
                    .bytes()
                    .all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b',' | b's' | b'n'))
        })
}

/// `Starting minecraft server version 1.21.4`, then `Starting Minecraft server on *:25565`: what follows `server `.
fn starting(text: &str) -> Option<&str> {
    text.strip_prefix("Starting minecraft server ")
        .or_else(|| text.strip_prefix("Starting Minecraft server "))
        .filter(|rest| rest.starts_with("on ") || rest.starts_with("version "))
}

/// Both wordings: `... Running 2861ms or 57 ticks behind`, `... Running 2000ms behind, skipping 40 tick(s)`.
fn behind(text: &str) -> Option<u64> {
    let (_, rest) = text.split_once("overloaded? Running ")?;
    let (milliseconds, rest) = leading_number(rest)?;
    (rest.starts_with("ms or ") || rest.starts_with("ms behind")).then_some(milliseconds)
}

/// One word that can be a name; signs that chat formats put around names are refused.
fn is_name(text: &str) -> bool {
    let mut word = false;
    text.len() <= MAX_NAME
        && text.chars().all(|sign| {
            let letter = sign.is_alphanumeric() || sign == '_';
            word |= letter;
            letter || matches!(sign, '.' | '-' | '*' | '+' | '~' | '!')
        })
        && word
}

/// `UUID of player Steve is 069a79f4-44e9-4726-a5be-fca90e38aaf5`
fn identified(text: &str) -> Option<PlayerRef> {
    let (name, id) = text.strip_prefix("UUID of player ")?.split_once(" is ")?;
    let id = id.trim_end();
    let hex = id.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    (is_name(name) && hex && matches!(id.len(), 32 | 36)).then(|| PlayerRef::identified(id).with_name(name))
}

/// `There are 2 of a max of 20 players online: Alex, Steve`; the names only where there are as many as it says.
fn list(text: &str) -> Option<(PlayerCount, Option<Vec<PlayerRef>>)> {
    let (online, rest) = leading_number(text.strip_prefix("There are ")?)?;
    let rest = rest
        .strip_prefix(" of a max of ")
        .or_else(|| rest.strip_prefix(" of a max "))
        .or_else(|| rest.strip_prefix('/'))?;
    let (max, rest) = leading_number(rest)?;
    let names = rest.strip_prefix(" players online:")?.trim();
    let count = PlayerCount {
        online: u32::try_from(online).ok()?,
        bots: None,
        max: u32::try_from(max).ok(),
    };
    let roster: Vec<_> = names
        .split(", ")
        .filter(|name| is_name(name))
        .take(MAX_ONLINE)
        .map(PlayerRef::named)
        .collect();
    Some((count, (roster.len() as u64 == online).then_some(roster)))
}

/// An address as Java prints it: `/1.2.3.4:5`, `host/1.2.3.4:5`, `/[0:0:0:0:0:0:0:1]:5`; `local` and hidden ones give
/// none. Anything else belongs to a name with brackets and is refused.
fn with_java_address(player: PlayerRef, text: &str) -> Option<PlayerRef> {
    if matches!(text, "local" | "IP hidden" | "<ip address withheld>") {
        return Some(player);
    }
    let (host, rest) = text.split_once('/')?;
    let host_sign = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    // Some mods mask digits.
    let address_sign =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b':' | b'[' | b']' | b'%' | b'*');
    if !host.bytes().all(host_sign) || !rest.bytes().all(address_sign) {
        return None;
    }
    Some(match address(rest) {
        Some((address, port)) => player.with_address(address, port),
        None => player,
    })
}

fn left(player: PlayerRef, reason: &str) -> Fact {
    Fact::PlayerLeft {
        player,
        reason: keep_some(reason),
    }
}

/// What stands between parentheses in front of `lost connection`, and the reason behind it.
fn refused(rest: &str) -> Option<(&str, &str)> {
    rest.strip_prefix(" (")?.split_once(") lost connection: ")
}

/// `/1.2.3.4:5 lost connection: ...`: nobody yet.
fn nameless(text: &str) -> Option<Fact> {
    let (place, rest) = text.split_once(' ')?;
    let player = with_java_address(PlayerRef::default(), place)?;
    player.address?;
    Some(left(player, rest.strip_prefix("lost connection: ")?))
}

impl Log {
    /// Lines that begin with a name.
    fn player(&mut self, age: Age, text: &str) -> Option<Fact> {
        let end = text.find([' ', '['])?;
        let (name, rest) = text.split_at(end);
        let bytes = rest.as_bytes();
        // Which verb, by one byte, before the name is looked at.
        match (bytes.first()?, bytes.get(1)?) {
            (b'[', _) => self.logged_in(name, &rest[1..]),
            // Before 1.3; later a name could end in this blank.
            (b' ', b'[') if age == Age::Old => self.logged_in(name, &rest[2..]),
            (b' ', b'j') if rest == " joined the game" => self.joined(name),
            (b' ', b'l') if rest == " left the game" => self.left(name),
            (b' ', b'l') => {
                let reason = rest.strip_prefix(" lost connection: ")?;
                self.lost(name, reason)
            }
            (b' ', b'(') => {
                if rest.starts_with(" (formerly known as ") && rest.ends_with(") joined the game") {
                    return self.joined(name);
                }
                let (place, reason) = refused(rest)?;
                self.refused(name, place, reason)
            }
            _ => None,
        }
    }

    fn enter(&mut self, name: &str) {
        self.gone.retain(|gone| **gone != *name);
        if self.online.len() < MAX_ONLINE {
            self.online.insert(name.into());
        }
    }

    fn logged_in(&mut self, name: &str, rest: &str) -> Option<Fact> {
        let (place, id) = rest.split_once("] logged in with entity id ")?;
        if !is_name(name) || !id.starts_with(|first: char| first.is_ascii_digit() || first == '-') {
            return None;
        }
        let player = with_java_address(PlayerRef::named(name), place)?;
        self.enter(name);
        Some(Fact::PlayerJoined(player))
    }

    fn joined(&mut self, name: &str) -> Option<Fact> {
        is_name(name).then(|| {
            self.enter(name);
            Fact::PlayerJoined(PlayerRef::named(name))
        })
    }

    fn left(&mut self, name: &str) -> Option<Fact> {
        if !is_name(name) {
            return None;
        }
        self.online.remove(name);
        if let Some(place) = self.gone.iter().position(|gone| **gone == *name) {
            self.gone.remove(place);
            return None;
        }
        Some(left(PlayerRef::named(name), ""))
    }

    fn lost(&mut self, name: &str, reason: &str) -> Option<Fact> {
        if !is_name(name) {
            return None;
        }
        self.online.remove(name);
        self.gone.retain(|gone| **gone != *name);
        if self.gone.len() == MAX_GONE {
            self.gone.pop_front();
        }
        self.gone.push_back(keep(name));
        Some(left(PlayerRef::named(name), reason))
    }

    /// Someone who never got in. The name is only a claim: while its owner plays, the address alone is told.
    fn refused(&self, name: &str, place: &str, reason: &str) -> Option<Fact> {
        if !is_name(name) {
            return None;
        }
        let claimed = self.online.contains(name) || self.online.len() >= MAX_ONLINE;
        let player = with_java_address(PlayerRef::default(), place)?;
        if claimed {
            player.address?;
            return Some(left(player, reason));
        }
        Some(left(player.with_name(name), reason))
    }

    /// `com.mojang.authlib.GameProfile@1f[id=<null>,name=Steve,properties={},legacy=false] (/1.2.3.4:5) lost connection: ...`
    fn profile(&self, text: &str) -> Option<Fact> {
        let (_, rest) = text.split_once(",name=")?;
        let (name, rest) = rest.split_once(",properties=")?;
        let (_, rest) = rest.split_once(']')?;
        let (place, reason) = refused(rest)?;
        self.refused(name, place, reason)
    }
}

#[cfg(test)]
mod tests;
