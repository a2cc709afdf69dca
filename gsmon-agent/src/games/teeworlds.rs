//! Teeworlds 0.6 and 0.7, and DDNet and other mods of 0.6.
//!
//! Prefixes:
//! - 0.6: `[hex][system]: `, Unix time in hexadecimal
//! - 0.7, late 0.6: `[YYYY-MM-DD HH:MM:SS][system]: `, the server's time zone
//! - DDNet: `YYYY-MM-DD HH:MM:SS L system: `, L one of E W I D T
//!
//! Lines are those of `src/engine/server/server.cpp` and `src/game/server/gamecontroller.cpp`. How much is printed depends
//! on `console_output_level`: at the default, `player has entered the game` and `leave player`; one level up, `client
//! dropped` (with the reason, before `leave`) and the map's checksums; at debug, names (`team_join`) and rounds. Whoever
//! leaves is said to leave once. 0.6 prints client ids of joins in hexadecimal, all others in decimal.
//!
//! What chat can forge: nothing. It has its own system (`chat`), and lines of `server` and `game` begin with words of the
//! server's own. Names stand between a number with colon and the last quote.
//!
//! Not covered: dummies and bots of mods (they have no connection and print nothing here), teams, name changes.

use std::{collections::HashSet, sync::Arc};

use super::{
    Grammar, LineTime, NetcodeLayout, PlayerRef, Spoken, StableKey,
    event::{Fact, Phase},
    scan::{address, at, iso_date_time, keep, keep_some, leading_number, number, radix},
};
use crate::config::QueryProtocol;

/// The client id, for one connection: there are no accounts, and names are free to change.
pub const IDENTITY: StableKey = StableKey::Slot;
/// Server info with the list of players.
pub const QUERY: QueryProtocol = QueryProtocol::Teeworlds;
/// Teeworlds' own channel.
pub const NETCODE: NetcodeLayout = NetcodeLayout::Teeworlds;

/// The most that any mod holds is 128.
const MAX_SLOT: u64 = 1024;

/// Reads one server's log.
#[derive(Debug, Default)]
pub struct Log {
    /// Who was said to leave and has not come back: the second line for the same leave is silent.
    gone: HashSet<u64>,
    /// The map that was said to begin, until the last line about its loading.
    map: Option<Arc<str>>,
    radix: Radix,
}

/// How client ids of joins are printed, where the prefix does not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Radix {
    #[default]
    Decimal,
    /// The server has called itself 0.6.
    Hexadecimal,
}

/// Which of the three prefixes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    Hex,
    Bracketed,
    Ddnet,
}

enum System {
    Server,
    Game,
}

impl Grammar for Log {
    fn line(&mut self, line: &str, said: &mut Vec<Spoken>) {
        let Some((style, system, text)) = prefix(line) else {
            return;
        };
        let mut say = |fact| said.push(Spoken::new(time(style, line), fact));
        match system {
            System::Server => self.server(style, text, &mut say),
            System::Game => self.game(text, &mut say),
        }
    }
}

fn prefix(line: &str) -> Option<(Style, System, &str)> {
    let bytes = line.as_bytes();
    let (style, rest) = if at(bytes, 0, b'[') {
        if at(bytes, 20, b']') {
            (Style::Bracketed, line.get(21..)?)
        } else {
            (Style::Hex, line.get(line.find(']')? + 1..)?)
        }
    } else {
        if !at(bytes, 19, b' ')
            || !at(bytes, 21, b' ')
            || !matches!(bytes[20], b'E' | b'W' | b'I' | b'D' | b'T')
        {
            return None;
        }
        (Style::Ddnet, line.get(22..)?)
    };
    let (server, game) = match style {
        Style::Ddnet => ("server: ", "game: "),
        Style::Hex | Style::Bracketed => ("[server]: ", "[game]: "),
    };
    if let Some(text) = rest.strip_prefix(server) {
        return Some((style, System::Server, text));
    }
    Some((style, System::Game, rest.strip_prefix(game)?))
}

/// Computed only for lines that speak.
fn time(style: Style, line: &str) -> Option<LineTime> {
    match style {
        Style::Hex => {
            let seconds = radix(line.get(1..line.find(']')?)?, 16)?;
            Some(LineTime::Utc(i64::from(u32::try_from(seconds).ok()?) * 1000))
        }
        Style::Bracketed => iso_date_time(line.as_bytes(), 1).map(LineTime::Local),
        Style::Ddnet => iso_date_time(line.as_bytes(), 0).map(LineTime::Local),
    }
}

impl Log {
    fn server(&mut self, style: Style, text: &str, say: &mut impl FnMut(Fact)) {
        match text.as_bytes().first() {
            Some(b'p') => {
                if let Some(rest) = text.strip_prefix("player has entered the game. ") {
                    if let Some((slot, who)) = self.connection(style, rest) {
                        self.gone.remove(&slot);
                        say(Fact::PlayerJoined(who));
                    }
                } else if let Some(rest) = text.strip_prefix("player is ready. ")
                    && let Some((slot, who)) = self.connection(style, rest)
                {
                    self.gone.remove(&slot);
                    say(Fact::PlayerConnecting(who));
                }
            }
            Some(b'c') => {
                if let Some((slot, who, reason)) = text.strip_prefix("client dropped. ").and_then(dropped)
                    && self.gone.insert(slot)
                {
                    say(Fact::PlayerLeft {
                        player: who,
                        reason: keep_some(reason),
                    });
                }
            }
            Some(b'm') => {
                if let Some((map, last)) = loaded(text) {
                    if self.map.as_deref() != Some(map) {
                        self.begin(map, say);
                    }
                    if last == LastLine::Yes {
                        self.map = None;
                    }
                }
            }
            Some(b's') if text == "starting..." => {
                *self = Self::default();
                say(Fact::ServerStarting);
            }
            Some(b's') if text.starts_with("server name is '") => say(Fact::ServerReady),
            Some(b'v') if text.starts_with("version 0.6 ") => self.radix = Radix::Hexadecimal,
            _ => {}
        }
    }

    fn game(&mut self, text: &str, say: &mut impl FnMut(Fact)) {
        match text.as_bytes().first() {
            Some(b't') => {
                if let Some(rest) = text.strip_prefix("team_join player='")
                    && let Some(place) = rest.rfind("' ")
                    && (rest[place + 2..].starts_with("team=") || rest[place + 2..].starts_with("m_Team="))
                    && let Some((slot, who)) = named(&rest[..place])
                {
                    self.gone.remove(&slot);
                    say(Fact::PlayerKnown(who));
                }
            }
            Some(b'l') => {
                if let Some(rest) = text.strip_prefix("leave player='")
                    && let Some((slot, player)) = rest.strip_suffix('\'').and_then(named)
                    && self.gone.insert(slot)
                {
                    say(Fact::PlayerLeft { player, reason: None });
                }
            }
            Some(b's')
                if text.starts_with("start match type='") || text.starts_with("start round type='") =>
            {
                say(Fact::Phase(Phase::Active));
            }
            Some(b'r') => {
                if let Some(map) = text.strip_prefix("rotating map to ") {
                    say(Fact::MatchEnded { reason: None });
                    say(Fact::Phase(Phase::Loading));
                    self.begin(map, say);
                }
            }
            _ => {}
        }
    }

    /// Everybody enters again on the new map.
    fn begin(&mut self, map: &str, say: &mut impl FnMut(Fact)) {
        let map = keep(map);
        self.map = Some(Arc::clone(&map));
        say(Fact::MatchBegun {
            map: Some(map),
            mode: None,
            id: None,
        });
    }

    /// `ClientID=3 addr=1.2.3.4:5`, `ClientId=3 addr=<{1.2.3.4:5}> sixup=0`
    fn connection(&self, style: Style, text: &str) -> Option<(u64, PlayerRef)> {
        let (key, rest) = text.split_once('=')?;
        let (id, rest) = rest.split_once(' ')?;
        let place = place(rest.strip_prefix("addr=")?)?;
        // `ClientId` and marked addresses are DDNet's, which never prints hexadecimal.
        let hexadecimal = key == "ClientID"
            && !rest.starts_with("addr=<{")
            && match style {
                Style::Hex => true,
                Style::Bracketed => {
                    self.radix == Radix::Hexadecimal || id.bytes().any(|byte| byte.is_ascii_alphabetic())
                }
                Style::Ddnet => false,
            };
        if !matches!(key, "ClientID" | "ClientId") {
            return None;
        }
        let slot = radix(id, if hexadecimal { 16 } else { 10 }).filter(|slot| *slot <= MAX_SLOT)?;
        Some((slot, located(PlayerRef::in_slot(slot), place)))
    }
}

/// The address at the front, without its marks.
fn place(text: &str) -> Option<&str> {
    match text.strip_prefix("<{") {
        Some(marked) => Some(marked.split_once("}>")?.0),
        None => text.split(' ').next(),
    }
}

fn located(who: PlayerRef, place: &str) -> PlayerRef {
    match address(place) {
        Some((address, port)) => who.with_address(address, port),
        None => who,
    }
}

/// `cid=1 addr=1.2.3.4:5 reason='...'`
fn dropped(text: &str) -> Option<(u64, PlayerRef, &str)> {
    let (id, rest) = text.strip_prefix("cid=")?.split_once(' ')?;
    let slot = number(id).filter(|slot| *slot <= MAX_SLOT)?;
    let (_, reason) = rest.split_once(" reason='")?;
    let place = place(rest.strip_prefix("addr=")?)?;
    Some((
        slot,
        located(PlayerRef::in_slot(slot), place),
        reason.strip_suffix('\'')?,
    ))
}

/// `0:nameless tee`
fn named(text: &str) -> Option<(u64, PlayerRef)> {
    let (slot, rest) = leading_number(text)?;
    let name = rest.strip_prefix(':').filter(|_| slot <= MAX_SLOT)?;
    Some((
        slot,
        PlayerRef {
            name: keep_some(name),
            ..PlayerRef::in_slot(slot)
        },
    ))
}

/// Is this the last line about the loading of a map?
#[derive(Clone, Copy, PartialEq, Eq)]
enum LastLine {
    Yes,
    No,
}

/// `maps/dm1.map sha256 is ...`, which 0.6 does not print, then `maps/dm1.map crc is ...`
fn loaded(text: &str) -> Option<(&str, LastLine)> {
    let (map, rest) = text.strip_prefix("maps/")?.rsplit_once(".map ")?;
    if rest.starts_with("crc is ") {
        return Some((map, LastLine::Yes));
    }
    rest.starts_with("sha256 is ").then_some((map, LastLine::No))
}

#[cfg(test)]
mod tests;
