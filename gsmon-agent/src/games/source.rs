//! Source and GoldSrc engines: Counter-Strike 1.6, Half-Life, Team Fortress 2, CS:GO, CS2 and their relatives.
//!
//! Prefixes: `L MM/DD/YYYY - HH:MM:SS: ` in files (CS2 adds `.mmm`); `MM/DD/YYYY - HH:MM:SS.mmm - ` over HTTP
//! (`logaddress_add_http`); over UDP four 0xFF, then `R` or `S` and a secret, then the file's prefix. Time is the server's
//! own zone.
//!
//! Players are `"name<uid><network id><team>"`, the uid counting connections. Lines are those of the public SDK
//! (`src/game/server/EventLog.cpp`, `tf/tf_eventlog.cpp`) and of the engine.
//!
//! Map changes: the log file is closed and a new one started (or not, with `mp_logfile`-like settings), `Loading map`,
//! `Started map`, and everybody enters again. So `Log file closed` is no end of the server: it is printed at every map change
//! and at `log off`. `server_message: "quit"` is one; GoldSrc's `Server shutdown` also comes with the command `map`, and
//! ends the match.
//!
//! What can be forged: a name may hold `"<>` and imitate a whole player with a verb; so may a chat text and a reason for
//! leaving. A line in which more than one player speaks this way is not taken at all, whichever is the real one. Hence a
//! player with such a name is missing until a query tells. On the console (not in files, not over the network) a server
//! also prints bare chat, `NAME: text`, which can look like any line: follow the file.
//!
//! Not covered: teams, kills, JSON blocks of CS2 (`round_stats`), lines without prefix.

use std::sync::Arc;

use super::{
    Grammar, LineTime, NetcodeLayout, PlayerRef, Spoken, StableKey,
    event::{Fact, KindEvidence, Phase, PlayerKind},
    scan::{Date, address, at, digits, epoch_ms, keep, keep_some, number, time_of_day},
};
use crate::config::QueryProtocol;

/// The Steam id. Bots and LAN clients have none; there, the uid of the connection.
pub const IDENTITY: StableKey = StableKey::PlatformId;
/// Valve's server query.
pub const QUERY: QueryProtocol = QueryProtocol::A2s;
/// Source 1. GoldSrc servers are `goldsrc`, CS2 servers are `steam`: the log does not tell which engine it is.
pub const NETCODE: NetcodeLayout = NetcodeLayout::Source;

/// Reads one server's log.
#[derive(Debug, Default)]
pub struct Log {
    /// A map has started or somebody has played since the last one was left.
    playing: bool,
    /// A map has started and nobody has entered since: rounds of an empty server are no match.
    empty: bool,
    /// CS:GO and CS2 say so; rounds of a warm-up are no match.
    warmup: bool,
    /// The phase that was said last; every round says it again.
    phase: Option<Phase>,
    /// What was given as the reason for the end of the match.
    over: Option<Arc<str>>,
}

impl Grammar for Log {
    fn line(&mut self, line: &str, said: &mut Vec<Spoken>) {
        let Some((stamp, text)) = prefix(line) else {
            return;
        };
        let mut say = |fact| said.push(Spoken::new(time(stamp), fact));
        match text.as_bytes().first() {
            Some(b'"') => {
                if let Some(fact) = player(text) {
                    if matches!(fact, Fact::PlayerJoined(_)) {
                        self.empty = false;
                        self.playing = true;
                    }
                    say(fact);
                }
            }
            Some(b'W') => {
                if let Some(rest) = text.strip_prefix("World triggered \"") {
                    self.world(rest, &mut say);
                }
            }
            Some(b'L') if map(text, "Loading map \"").is_some() => {
                self.leave(&mut say);
                self.turn(Phase::Loading, &mut say);
            }
            Some(b'S') => {
                if let Some(map) = map(text, "Started map \"") {
                    *self = Self {
                        playing: true,
                        empty: true,
                        ..Self::default()
                    };
                    say(Fact::ServerReady);
                    say(Fact::MatchBegun {
                        map: Some(keep(map)),
                        mode: None,
                        id: None,
                    });
                    self.turn(Phase::Lobby, &mut say);
                } else if text == "Server shutdown" {
                    self.leave(&mut say);
                }
            }
            Some(b'G') => {
                if let Some(reason) = text.strip_prefix("Game Over: ") {
                    self.end(reason, &mut say);
                }
            }
            Some(b'M') => {
                if let Some(rest) = text.strip_prefix("MatchStatus: Score: ")
                    && let Some((_, rounds)) = rest.rsplit_once("RoundsPlayed: ")
                {
                    self.warmup = rounds.trim_end() == "-1";
                    if self.warmup {
                        self.turn(Phase::Lobby, &mut say);
                    }
                }
            }
            Some(b's') if text == "server_message: \"quit\"" => say(Fact::ServerStopping),
            _ => {}
        }
    }
}

/// A prefix, its time not yet computed: most lines need none.
#[derive(Clone, Copy)]
struct Stamp<'a> {
    /// `MM/DD/YYYY - HH:MM:SS` and on.
    bytes: &'a [u8],
    milliseconds: u32,
}

fn time(stamp: Stamp<'_>) -> Option<LineTime> {
    let date = Date {
        month: digits::<2>(stamp.bytes, 0)?,
        day: digits::<2>(stamp.bytes, 3)?,
        year: digits::<4>(stamp.bytes, 6)?,
    };
    epoch_ms(date, time_of_day(stamp.bytes, 13)?, stamp.milliseconds).map(LineTime::Local)
}

fn prefix(line: &str) -> Option<(Stamp<'_>, &str)> {
    let line = line.trim_end_matches(['\0', '\n', '\r', ' ']);
    let line = match line.as_bytes().first()? {
        b'L' => line.strip_prefix("L ")?,
        b'0'..=b'9' if at(line.as_bytes(), 2, b'/') => line,
        _ => datagram(line)?,
    };
    let bytes = line.as_bytes();
    // The separators; digits are looked at when the time is needed.
    if !at(bytes, 2, b'/') || !at(bytes, 5, b'/') || bytes.get(10..13)? != b" - " || !at(bytes, 15, b':') {
        return None;
    }
    let (milliseconds, rest) = if at(bytes, 21, b'.') {
        (digits::<3>(bytes, 22)?, line.get(25..)?)
    } else {
        (0, line.get(21..)?)
    };
    let text = rest.strip_prefix(": ").or_else(|| rest.strip_prefix(" - "))?;
    Some((Stamp { bytes, milliseconds }, text))
}

/// What UDP packets have in front: 0xFF bytes (replaced, where the text was made valid UTF-8), `R`, or `S` and a secret.
fn datagram(line: &str) -> Option<&str> {
    let line = line.trim_start_matches(['\0', '\u{fffd}', '\u{ff}']);
    let line = line
        .strip_prefix('R')
        .or_else(|| line.strip_prefix('S'))
        .unwrap_or(line);
    line.trim_start_matches(|sign: char| sign.is_ascii_digit())
        .strip_prefix("L ")
}

/// `Started map "cp_granary" (CRC "4f34...")`
fn map<'a>(text: &'a str, verb: &str) -> Option<&'a str> {
    let (map, rest) = text.strip_prefix(verb)?.split_once('"')?;
    (rest.is_empty() || rest.starts_with(" (CRC ")).then_some(map)
}

impl Log {
    /// `World triggered "X"...`
    fn world(&mut self, rest: &str, say: &mut impl FnMut(Fact)) {
        let Some((event, rest)) = rest.split_once('"') else {
            return;
        };
        match event {
            "Match_Start" => {
                self.warmup = false;
                self.turn(Phase::Active, say);
            }
            "Round_Start" | "Game_Commencing" if !self.warmup && !self.empty => self.turn(Phase::Active, say),
            "Warmup_Start" => {
                self.warmup = true;
                self.turn(Phase::Lobby, say);
            }
            "Warmup_End" => self.warmup = false,
            "Game_Over" => {
                let reason = rest
                    .strip_prefix(" reason \"")
                    .map_or("", |reason| reason.trim_end_matches('"'));
                self.end(reason, say);
            }
            _ => {}
        }
    }

    fn turn(&mut self, phase: Phase, say: &mut impl FnMut(Fact)) {
        self.playing |= phase != Phase::Loading;
        if self.phase != Some(phase) {
            self.phase = Some(phase);
            say(Fact::Phase(phase));
        }
    }

    fn end(&mut self, reason: &str, say: &mut impl FnMut(Fact)) {
        self.over = keep_some(reason);
        self.turn(Phase::Ended, say);
    }

    /// The map is left, and with it the match.
    fn leave(&mut self, say: &mut impl FnMut(Fact)) {
        if self.playing {
            say(Fact::MatchEnded {
                reason: self.over.take(),
            });
        }
        *self = Self {
            phase: self.phase,
            ..Self::default()
        };
    }
}

/// `name<uid><network id><team>`
struct Token<'a> {
    name: &'a str,
    uid: u64,
    network: &'a str,
}

/// A token from the right: whatever the name holds, the last three brackets are the server's own.
fn token(text: &str) -> Option<Token<'_>> {
    let (rest, _team) = text.strip_suffix('>')?.rsplit_once('<')?;
    let (rest, network) = rest.strip_suffix('>')?.rsplit_once('<')?;
    let (name, uid) = rest.strip_suffix('>')?.rsplit_once('<')?;
    let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':' | b'[' | b']' | b'-');
    if !network.bytes().all(known) {
        return None;
    }
    Some(Token {
        name,
        uid: number(uid)?,
        network,
    })
}

/// The first player of a line, and what follows with the closing quote.
fn speaker(text: &str) -> Option<(Token<'_>, &str)> {
    text.match_indices(">\" ")
        .find_map(|(place, _)| Some((token(&text[..=place])?, &text[place + 3..])))
}

impl Token<'_> {
    fn who(&self) -> PlayerRef {
        let who = PlayerRef {
            name: keep_some(self.name),
            ..PlayerRef::in_slot(self.uid)
        };
        // An account of number 0 is nobody's; CS2 writes bots so in places.
        match self.network {
            "BOT" => who.with_kind(PlayerKind::Bot, KindEvidence::Identity),
            "[U:1:0]" => who.with_kind(PlayerKind::Bot, KindEvidence::Identity),
            id if is_steam_id(id) => PlayerRef {
                platform_id: Some(keep(id)),
                ..who.with_kind(PlayerKind::Human, KindEvidence::Identity)
            },
            // STEAM_ID_PENDING, STEAM_ID_LAN, HLTV, UNKNOWN: nothing that tells one from another.
            _ => who,
        }
    }
}

/// `STEAM_1:0:1234` or `[U:1:1234]`.
fn is_steam_id(text: &str) -> bool {
    text.strip_prefix("STEAM_")
        .is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
        || (text.starts_with("[U:") && text.ends_with(']'))
}

/// Lines that begin with a player.
fn player(text: &str) -> Option<Fact> {
    let (token, verb) = speaker(text.strip_prefix('"')?)?;
    let fact = match verb.as_bytes().first()? {
        b'e' if verb == "entered the game" => Fact::PlayerJoined(token.who()),
        b'S' if verb == "STEAM USERID validated" => Fact::PlayerKnown(token.who()),
        b'd' if verb == "disconnected" => Fact::PlayerLeft {
            player: token.who(),
            reason: None,
        },
        b'd' => Fact::PlayerLeft {
            reason: keep_some(
                verb.strip_prefix("disconnected (reason \"")?
                    .strip_suffix("\")")?,
            ),
            player: token.who(),
        },
        b'c' if verb.starts_with("connected, address \"") => {
            let place = verb.strip_prefix("connected, address \"")?.strip_suffix('"')?;
            // `none`, `loopback`, `loopback:27005` and nothing at all are no addresses.
            Fact::PlayerConnecting(match address(place) {
                Some((address, port)) => token.who().with_address(address, port),
                None if place.contains('"') => return None,
                None => token.who(),
            })
        }
        b'c' => Fact::PlayerKnown(PlayerRef {
            name: keep_some(verb.strip_prefix("changed name to \"")?.strip_suffix('"')?),
            ..token.who()
        }),
        _ => return None,
    };
    // A second player who does something: a name, a reason or a text imitates one. Nobody can say which.
    speaker(verb).is_none().then_some(fact)
}

#[cfg(test)]
mod tests;
