//! Factorio headless server: standard output and `factorio-current.log`.
//!
//! Four shapes of line: seconds since the start with level and source (`   0.578 Info File.cpp:808: text`), seconds alone
//! (`  16.528 Goodbye`), the server's wall clock with a kind (`2026-08-02 02:16:35 [JOIN] text`), and answers to
//! commands without anything in front. Only the third has a time worth keeping.
//!
//! | line | said |
//! |---|---|
//! | `0.002 YYYY-MM-DD HH:MM:SS; Factorio V ..` | server starting |
//! | `changing state from(CreatingGame) to(InGame)` | server ready |
//! | `adding peer(N)`, with or without `success(true)` | player connecting, by peer |
//! | `Received peer info for peer(N) username(X)` | player known |
//! | `[JOIN] NAME joined the game`, `[LEAVE] NAME left the game` | player joined, left |
//! | `changing state from(InGame) to(Disconnected)`, `from(Disconnected) to(Closed)`, `Goodbye` | server stopping |
//!
//! A join is given the number of the peer whose user name it is, else of the only peer whose `PlayerJoinGame` the server
//! has just worked off; with several of those it has none. `removing peer(N)` only frees the number: `[LEAVE]` follows.
//! One world per process: no matches, no phases. Not covered: saves (`InGameSavingMap`), UPS, commands.
//!
//! Forging: chat is `[CHAT]` behind the clock and never read; answers to commands have no prefix and are not read. The
//! sources of engine lines are checked by name. A `log()` of a mod is `Script`, not `Info`.

use super::{
    event::{Fact, PlayerRef},
    family::StableKey,
    fields::{between, label, moment, shaped, whole},
    grammar::{Grammar, LineTime, Spoken},
};

/// Name: Factorio account; slot: peer id while connected.
pub const IDENTITY: StableKey = StableKey::Name;

// Query: none that the server answers; RCON where it is started with `--rcon-port` (`/players online`).

const STAMP: &str = "YYYY-MM-DD hh:mm:ss ";
const OPENED: &str = "YYYY-MM-DD hh:mm:ss; Factorio ";
/// Most peers that are remembered.
const MOST: usize = 4096;

/// Reads the log of a Factorio server.
#[derive(Default)]
pub struct Log {
    peers: Vec<Peer>,
    /// Joins whose peer is one of several, unknown which.
    orphans: usize,
    stopping: bool,
}

struct Peer {
    number: u64,
    name: Option<Box<str>>,
    joining: bool,
}

impl Grammar for Log {
    fn line(&mut self, line: &str, said: &mut Vec<Spoken>) {
        if let Some((stamp, text)) = shaped(line, STAMP) {
            if let Some(fact) = self.console(text) {
                said.push(Spoken::new(moment(stamp, STAMP).map(LineTime::Local), fact));
            }
        } else if let Some(text) = uptime(line) {
            self.engine(text, said);
        }
    }
}

/// The text after `   0.578 `.
fn uptime(line: &str) -> Option<&str> {
    let (seconds, text) = line.trim_start_matches(' ').split_once(' ')?;
    let (whole_seconds, millis) = seconds.split_once('.')?;
    let fits = whole::<u64>(whole_seconds).is_some() && millis.len() == 3 && whole::<u16>(millis).is_some();
    fits.then_some(text)
}

impl Log {
    fn console(&mut self, text: &str) -> Option<Fact> {
        if let Some(name) = text
            .strip_prefix("[JOIN] ")
            .and_then(|text| text.strip_suffix(" joined the game"))
        {
            let slot = self.peer_of(name);
            return Some(Fact::PlayerJoined(PlayerRef {
                name: label(name),
                slot,
                ..PlayerRef::default()
            }));
        }
        let name = text.strip_prefix("[LEAVE] ")?.strip_suffix(" left the game")?;
        let known = self
            .peers
            .iter()
            .position(|peer| peer.name.as_deref() == Some(name));
        let player = PlayerRef {
            name: label(name),
            slot: known.map(|index| self.peers.swap_remove(index).number),
            ..PlayerRef::default()
        };
        Some(Fact::PlayerLeft { player, reason: None })
    }

    fn engine(&mut self, text: &str, said: &mut Vec<Spoken>) {
        if let Some(text) = text.strip_prefix("Info ") {
            if let Some(fact) = self.info(text) {
                said.push(Spoken::new(None, fact));
            }
        } else if text == "Goodbye" {
            said.extend(self.stops().map(|fact| Spoken::new(None, fact)));
        } else if let Some((stamp, _)) = shaped(text, OPENED) {
            *self = Self::default();
            let time = moment(stamp, OPENED).map(LineTime::Local);
            said.push(Spoken::new(time, Fact::ServerStarting));
        }
    }

    fn info(&mut self, text: &str) -> Option<Fact> {
        let (source, text) = text.split_once(".cpp:")?;
        let (number, text) = text.split_once(": ")?;
        whole::<u32>(number)?;
        match source {
            "ServerMultiplayerManager" => {
                if let Some((_, states)) = text.split_once(" changing state from(") {
                    return match states {
                        "CreatingGame) to(InGame)" => Some(Fact::ServerReady),
                        "InGame) to(Disconnected)"
                        | "InGame) to(DisconnectScheduled)"
                        | "Disconnected) to(Closed)" => self.stops(),
                        _ => None,
                    };
                }
                self.peer_line(text)
            }
            "ServerSynchronizer" | "ServerRouter" | "GameActionHandler" => self.peer_line(text),
            _ => None,
        }
    }

    fn peer_line(&mut self, text: &str) -> Option<Fact> {
        if let Some(info) = text.strip_prefix("Received peer info for peer(") {
            let (number, name) = info.split_once(") username(")?;
            let (number, name) = (
                whole(number)?,
                name.strip_suffix('.').unwrap_or(name).strip_suffix(')')?,
            );
            let peer = self.peer(number)?;
            peer.name = Some(name.into());
            return Some(Fact::PlayerKnown(PlayerRef {
                name: label(name),
                ..PlayerRef::in_slot(number)
            }));
        }
        // `tick(N) ..` in front: fields of numbers only, so nothing of a player's stands before what is looked for.
        let mut words = text.split(' ').skip_while(|word| {
            word.split_once('(').is_some_and(|(field, _)| {
                matches!(field, "networkTick" | "mapTick" | "nextHeartbeatSequenceNumber")
            })
        });
        match words.next()? {
            "adding" => {
                let number = between(words.next()?, "peer(", ")").and_then(whole)?;
                match words.next() {
                    None | Some("success(true)") => {}
                    Some(_) => return None,
                }
                self.peers.retain(|peer| peer.number != number);
                self.peer(number)?;
                Some(Fact::PlayerConnecting(PlayerRef::in_slot(number)))
            }
            "removing" => {
                let number: u64 = between(words.next()?, "peer(", ")").and_then(whole)?;
                // A named peer is still needed for its `[LEAVE]`.
                self.peers
                    .retain(|peer| peer.number != number || peer.name.is_some());
                None
            }
            _ => {
                let joins = between(text, " processed PlayerJoinGame peerID(", ")")
                    .filter(|_| text.trim_end().ends_with("mode(connect)"))
                    .or_else(|| {
                        between(text, " received stateChanged peerID(", ")")
                            .filter(|_| text.ends_with("newState(InGame)"))
                    });
                let peer = self.peer(joins.and_then(whole)?)?;
                peer.joining = peer.name.is_none();
                None
            }
        }
    }

    /// The entry of a peer, made where there is none. Number 0 is the server itself.
    fn peer(&mut self, number: u64) -> Option<&mut Peer> {
        if number == 0 {
            return None;
        }
        let index = match self.peers.iter().position(|peer| peer.number == number) {
            Some(index) => index,
            None if self.peers.len() >= MOST => return None,
            None => {
                self.peers.push(Peer {
                    number,
                    name: None,
                    joining: false,
                });
                self.peers.len() - 1
            }
        };
        self.peers.get_mut(index)
    }

    /// The peer that a name joins as.
    fn peer_of(&mut self, name: &str) -> Option<u64> {
        if let Some(peer) = self.peers.iter().find(|peer| peer.name.as_deref() == Some(name)) {
            return Some(peer.number);
        }
        let mut nameless = self.peers.iter_mut().filter(|peer| peer.joining);
        let only = match (nameless.next(), nameless.next()) {
            (Some(only), None) => only,
            (None, _) => return None,
            _ => {
                // When all of them have joined, none of them is waited for any more.
                self.orphans += 1;
                if self.orphans >= self.peers.iter().filter(|peer| peer.joining).count() {
                    self.orphans = 0;
                    self.peers.iter_mut().for_each(|peer| peer.joining = false);
                }
                return None;
            }
        };
        only.joining = false;
        only.name = Some(name.into());
        Some(only.number)
    }

    fn stops(&mut self) -> Option<Fact> {
        (!std::mem::replace(&mut self.stopping, true)).then_some(Fact::ServerStopping)
    }
}

#[cfg(test)]
mod tests;
