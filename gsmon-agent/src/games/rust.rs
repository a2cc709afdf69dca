//! Rust by Facepunch: what `RustDedicated` writes to its log file and sends over its console. No prefix, no time.
//!
//! | line | said |
//! |---|---|
//! | `Server startup complete` | server ready |
//! | `IP:PORT/STEAMID/NAME joined [os/STEAMID]` | player joined |
//! | `IP:PORT/STEAMID/NAME disconnecting: REASON` | player left |
//!
//! Everything else (chat, kills, saves) says nothing; so do `NAME[n/STEAMID] has entered the game` and
//! `NAME with steamid ..`, since they begin with a name.
//!
//! Forging: lines about players may begin with a name, and a name may begin like an address. Steam's limit of 32
//! characters leaves no room for address, id and `disconnecting: ` in one name, but servers without Steam have no such
//! limit. So: a leave must come from the address that the player joined from, where the join was seen; its reason must
//! not hold what the game puts behind names (`[n/STEAMID]`, ` with steamid `); a join must repeat the id at its very end.
//! What remains: a client that sends ` joined [os/ID]` with its own id as the reason of its own leave is not seen
//! leaving, if gsmon did not see it join.

use std::{collections::HashMap, net::IpAddr};

use super::{
    event::{Fact, PlayerRef},
    family::StableKey,
    fields::{endpoint, label, whole},
    grammar::{Grammar, Spoken},
};

/// Platform_id: SteamID64.
pub const IDENTITY: StableKey = StableKey::PlatformId;

// Query: A2S on the query port (`server.queryport`; older servers: the game port), and RCON over WebSocket
// (`rcon.port`, JSON), which the console protocol of Source does not speak.

/// Most players whose address is remembered.
const MOST: usize = 4096;

/// Reads the log of a Rust server.
#[derive(Default)]
pub struct Log {
    online: HashMap<u64, (IpAddr, u16)>,
}

impl Grammar for Log {
    fn line(&mut self, line: &str, said: &mut Vec<Spoken>) {
        let fact = match line.as_bytes().first() {
            Some(b'0'..=b'9' | b'[') => self.player(line),
            Some(b'S') if line == "Server startup complete" => {
                self.online.clear();
                Some(Fact::ServerReady)
            }
            _ => None,
        };
        said.extend(fact.map(|fact| Spoken::new(None, fact)));
    }
}

impl Log {
    fn player(&mut self, line: &str) -> Option<Fact> {
        let (remote, rest) = line.split_once('/')?;
        let (id, rest) = rest.split_once('/')?;
        let steam = whole::<u64>(id).filter(|_| id.len() == 17)?;
        let (address, port) = endpoint(remote)?;
        let from = (address, port?);
        let player = |name: &str| {
            PlayerRef {
                name: label(name),
                ..PlayerRef::identified(id)
            }
            .with_address(address, port)
        };
        let online = self.online.get(&steam).copied();
        if let Some(name) = joining(rest, id)
            && (online != Some(from) || !rest.contains(" disconnecting: "))
        {
            if self.online.len() < MOST || online.is_some() {
                self.online.insert(steam, from);
            }
            return Some(Fact::PlayerJoined(player(name)));
        }
        let (name, reason) = rest.split_once(" disconnecting: ")?;
        if online.is_some_and(|seen| seen != from) || speaks_of_players(reason) {
            return None;
        }
        self.online.remove(&steam);
        Some(Fact::PlayerLeft {
            player: player(name),
            reason: label(reason),
        })
    }
}

/// The name in `NAME joined [os/ID]`.
fn joining<'a>(rest: &'a str, id: &str) -> Option<&'a str> {
    let (name, mark) = rest.strip_suffix(']')?.rsplit_once(" joined [")?;
    let (system, same) = mark.split_once('/')?;
    let is_system = !system.is_empty() && system.bytes().all(|byte| byte.is_ascii_alphabetic());
    (is_system && same == id).then_some(name)
}

/// Does a text hold what the game writes behind a player's name?
fn speaks_of_players(text: &str) -> bool {
    text.contains(" with steamid ")
        || text.split('[').skip(1).any(|tail| {
            let inner = tail.split(']').next().unwrap_or(tail);
            inner.len() < tail.len()
                && !inner.is_empty()
                && inner.bytes().all(|byte| byte.is_ascii_digit() || byte == b'/')
        })
}

#[cfg(test)]
mod tests;
