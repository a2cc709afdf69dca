//! Valheim dedicated server, on Steam or with crossplay (PlayFab): `MM/DD/YYYY HH:MM:SS: text` on standard output, the
//! server's wall clock; with BepInEx the same inside `[Info   : Unity Log] `.
//!
//! | line | said |
//! |---|---|
//! | `Valheim version: ..` | server starting |
//! | `Game server connected`; crossplay `Session "S" with join code N .. is active with ..` | server ready, once |
//! | `Got connection SteamID ID`, `Got handshake from client ID` | player connecting, once |
//! | `PlayFab socket with remote ID playfab/P received local Platform ID X` | the account behind a PlayFab connection |
//! | `Got character ZDOID from NAME : A:B` | player joined: A is the session number of his client; the same A again is a respawn, `0:0` a death, both say nothing |
//! | `Closing socket ID`; crossplay `Destroying abandoned non persistent zdo A:B owner A` | player left |
//! | `Player joined server "S" .., now N player(s)`, `Player connection lost ..`, `New session server ..` | player count |
//! | ` Connections N ZDOS:..` (every ten minutes) | player count |
//! | `Game - OnApplicationQuit` | server stopping |
//!
//! The line that names a character does not say whose it is: it is given to the oldest handshake that has no name yet.
//! When two players load at the same time and the later one is faster, their names are swapped; ids, joins and leaves
//! stay right in number. One world per process: no matches, no phases. Not covered: saves, raids, mods' own lines
//! (BepInEx sources other than `Unity Log`).
//!
//! Forging: chat is behind `Console: ` and never read; the name is read up to the last ` : `. A modified client may state
//! the character number of another player; under another name that is a join of its own without number.

use std::{collections::VecDeque, sync::Arc};

use super::{
    event::{Fact, PlayerCount, PlayerRef},
    family::StableKey,
    fields::{label, moment, shaped, whole},
    grammar::{Grammar, LineTime, Spoken},
};

/// Platform_id: SteamID64 or platform_id; slot: session number of the client.
pub const IDENTITY: StableKey = StableKey::PlatformId;

// Query: A2S at the game port + 1. With crossplay the server answers none.

const STAMP: &str = "MM/DD/YYYY hh:mm:ss: ";
const MOST: usize = 256;

/// Reads the log of a Valheim server.
#[derive(Default)]
pub struct Log {
    waiting: VecDeque<Waiting>,
    players: VecDeque<Player>,
    accounts: VecDeque<(Box<str>, Arc<str>)>,
    ready: bool,
    from_start: bool,
}

struct Waiting {
    connection: Box<str>,
    announced: bool,
    shaken: bool,
    refused: bool,
}

struct Player {
    connection: Option<Box<str>>,
    id: Option<Arc<str>>,
    name: Arc<str>,
    owner: Option<i64>,
}

impl Grammar for Log {
    fn line(&mut self, line: &str, said: &mut Vec<Spoken>) {
        let Some((stamp, text)) = unwrapped(line).and_then(|line| shaped(line, STAMP)) else {
            return;
        };
        if let Some(fact) = self.text(text) {
            said.push(Spoken::new(moment(stamp, STAMP).map(LineTime::Local), fact));
        }
    }
}

/// The line inside BepInEx's bracket; `None` for lines of mods.
fn unwrapped(line: &str) -> Option<&str> {
    let Some(inner) = line.strip_prefix('[') else {
        return Some(line);
    };
    let (mark, text) = inner.split_once("] ")?;
    let (_, source) = mark.split_once(':')?;
    (source.trim() == "Unity Log").then_some(text)
}

impl Log {
    fn text(&mut self, text: &str) -> Option<Fact> {
        match text.as_bytes().first()? {
            b'G' => self.got(text),
            b'P' => self.peers(text),
            b'C' => self.closed(text.strip_prefix("Closing socket ")?),
            b'D' => self.abandoned(text.strip_prefix("Destroying abandoned non persistent zdo ")?),
            b' ' => {
                let (online, rest) = text.strip_prefix(" Connections ")?.split_once(' ')?;
                rest.starts_with("ZDOS:").then(|| count(online)).flatten()
            }
            b'N' if text.starts_with("New session server \"") => now(text),
            b'S' if text.starts_with("Session \"") && text.contains(" with join code ") => self.is_ready(),
            b'V' if text.starts_with("Valheim version:") => {
                *self = Self {
                    from_start: true,
                    ..Self::default()
                };
                Some(Fact::ServerStarting)
            }
            _ => None,
        }
    }

    fn is_ready(&mut self) -> Option<Fact> {
        (!std::mem::replace(&mut self.ready, true)).then_some(Fact::ServerReady)
    }

    fn got(&mut self, text: &str) -> Option<Fact> {
        if let Some(character) = text.strip_prefix("Got character ZDOID from ") {
            return self.character(character);
        }
        if let Some(id) = text.strip_prefix("Got handshake from client ") {
            return self.arrives(id, Stage::Handshake);
        }
        if let Some(id) = text.strip_prefix("Got connection SteamID ") {
            return self.arrives(id, Stage::Connection);
        }
        match text {
            "Game server connected" => self.is_ready(),
            "Game - OnApplicationQuit" => Some(Fact::ServerStopping),
            _ => None,
        }
    }

    fn peers(&mut self, text: &str) -> Option<Fact> {
        if text.starts_with("Player joined server \"") || text.starts_with("Player connection lost server \"")
        {
            return now(text);
        }
        if let Some(rest) = text.strip_prefix("PlayFab socket with remote ID ") {
            let (connection, account) = rest.split_once(" received local Platform ID ")?;
            let account = label(account.strip_prefix("Steam_").unwrap_or(account)).filter(|id| is_id(id))?;
            self.accounts.retain(|(known, _)| **known != *connection);
            push(&mut self.accounts, (connection.into(), account));
        } else if let Some(rest) = text.strip_prefix("Peer ") {
            let (connection, why) = rest.split_once(" has ")?;
            let refused = why.starts_with("wrong password") || why.starts_with("incompatible version");
            for waiting in self.waiting.iter_mut().filter(|_| refused) {
                waiting.refused |= *waiting.connection == *connection;
            }
        }
        None
    }

    fn arrives(&mut self, connection: &str, stage: Stage) -> Option<Fact> {
        if !is_id(connection) || connection == "0" {
            return None;
        }
        // Whoever was refused tries again on a connection of the same name.
        self.waiting
            .retain(|waiting| !waiting.refused || *waiting.connection != *connection);
        let known = self
            .waiting
            .iter()
            .position(|waiting| *waiting.connection == *connection);
        let index = known.unwrap_or_else(|| {
            push(
                &mut self.waiting,
                Waiting {
                    connection: connection.into(),
                    announced: false,
                    shaken: false,
                    refused: false,
                },
            );
            self.waiting.len() - 1
        });
        let id = self.account(connection);
        let waiting = self.waiting.get_mut(index)?;
        waiting.shaken |= stage == Stage::Handshake;
        if std::mem::replace(&mut waiting.announced, true) {
            return None;
        }
        Some(Fact::PlayerConnecting(PlayerRef::identified(&id?)))
    }

    fn character(&mut self, character: &str) -> Option<Fact> {
        let (name, zdo) = character.rsplit_once(" : ")?;
        let (owner, number) = zdo.split_once(':')?;
        let (owner, _) = (signed(owner)?, signed(number)?);
        if owner == 0 {
            return None;
        }
        let taken = self.players.iter().find(|player| player.owner == Some(owner));
        if taken.is_some_and(|player| *player.name == *name) {
            return None;
        }
        let owner = taken.is_none().then_some(owner);
        let open = |waiting: &Waiting| !waiting.refused;
        let oldest = self
            .waiting
            .iter()
            .position(|waiting| waiting.shaken && open(waiting))
            .or_else(|| self.waiting.iter().position(open));
        let connection = oldest
            .and_then(|index| self.waiting.remove(index))
            .map(|waiting| waiting.connection);
        let id = connection
            .as_deref()
            .and_then(|connection| self.account(connection));
        let name = label(name)?;
        let player = PlayerRef {
            platform_id: id.clone(),
            slot: owner.map(i64::cast_unsigned),
            name: Some(name.clone()),
            ..PlayerRef::default()
        };
        push(
            &mut self.players,
            Player {
                connection,
                id,
                name,
                owner,
            },
        );
        Some(Fact::PlayerJoined(player))
    }

    fn closed(&mut self, connection: &str) -> Option<Fact> {
        if !is_id(connection) || connection == "0" {
            return None;
        }
        let known = self
            .players
            .iter()
            .position(|player| player.connection.as_deref() == Some(connection));
        if let Some(index) = known {
            return self.leaves(index);
        }
        let waited = self
            .waiting
            .iter()
            .any(|waiting| *waiting.connection == *connection);
        self.waiting.retain(|waiting| *waiting.connection != *connection);
        // Whoever is not known of a server that is known from its start has never joined.
        if waited || self.from_start {
            return None;
        }
        let player = PlayerRef::identified(&self.account(connection)?);
        Some(Fact::PlayerLeft { player, reason: None })
    }

    fn abandoned(&mut self, zdo: &str) -> Option<Fact> {
        let (_, owner) = zdo.split_once(" owner ")?;
        let owner = signed(owner)?;
        let index = self
            .players
            .iter()
            .position(|player| player.owner == Some(owner))?;
        self.leaves(index)
    }

    fn leaves(&mut self, index: usize) -> Option<Fact> {
        let player = self.players.remove(index)?;
        let player = PlayerRef {
            platform_id: player.id,
            slot: player.owner.map(i64::cast_unsigned),
            name: Some(player.name),
            ..PlayerRef::default()
        };
        Some(Fact::PlayerLeft { player, reason: None })
    }

    /// The account behind a connection: a SteamID is its own.
    fn account(&self, connection: &str) -> Option<Arc<str>> {
        let known = self.accounts.iter().find(|(known, _)| **known == *connection);
        match known {
            Some((_, account)) => Some(account.clone()),
            None => label(connection.strip_prefix("playfab/").unwrap_or(connection)),
        }
    }
}

/// How far a connection is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Connection,
    Handshake,
}

/// `.., now N player(s)` at the end of a line.
fn now(text: &str) -> Option<Fact> {
    count(text.strip_suffix(" player(s)")?.rsplit_once(", now ")?.1)
}

fn count(number: &str) -> Option<Fact> {
    let online = whole::<u32>(number)?;
    Some(Fact::PlayerCount(PlayerCount {
        online,
        ..PlayerCount::default()
    }))
}

fn signed(number: &str) -> Option<i64> {
    let digits = number.strip_prefix('-').unwrap_or(number);
    whole::<u64>(digits)?;
    number.parse().ok()
}

fn is_id(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_/-|".contains(&byte))
}

fn push<T>(queue: &mut VecDeque<T>, item: T) {
    if queue.len() >= MOST {
        queue.pop_front();
    }
    queue.push_back(item);
}

#[cfg(test)]
mod tests;
