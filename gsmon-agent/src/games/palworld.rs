//! Palworld dedicated server: what it prints, `[YYYY-MM-DD HH:MM:SS] [LOG] text`. The time is the server's wall clock.
//! Lines that the engine adds when asked to (`-log`) count for stopping only.
//!
//! | line | said |
//! |---|---|
//! | `Running Palworld dedicated server on :8211` | server ready |
//! | `NAME IP connected the server. (User id: U)` | player connecting |
//! | `NAME joined the server. (User id: U, Player id: P)`, older without player id | player joined |
//! | `NAME left the server. (User id: U)` | player left |
//!
//! The server may hold lines back for a minute when it writes to a pipe, which is why the time in the line matters. One
//! world per process: no matches, no phases. Not covered: chat, commands.
//!
//! Forging: chat is `[CHAT]` and never read. In `[LOG]` lines the ids stand at the end, written by the server, and are
//! read from there; the last ids count. `NAME executed the command. text` ends with a player's text and is left out, and
//! with it whoever has ` executed the command. ` in his name.

use super::{
    event::{Fact, PlayerRef},
    family::StableKey,
    fields::{endpoint, label, moment, shaped, whole},
    grammar::{Grammar, LineTime, Spoken},
    unreal::{self, Lifecycle},
};

/// Platform_id: user id with its platform, as in steam_76561198000000000.
pub const IDENTITY: StableKey = StableKey::PlatformId;

// Query: the REST API (`RESTAPIEnabled=True`, port 8212, JSON at /v1/api/players and /v1/api/metrics, basic
// authentication). Of the usual query protocols it answers none.

const STAMP: &str = "[YYYY-MM-DD hh:mm:ss] [";

/// Reads the log of a Palworld server.
#[derive(Default)]
pub struct Log {
    lifecycle: Lifecycle,
}

impl Grammar for Log {
    fn line(&mut self, line: &str, said: &mut Vec<Spoken>) {
        let Some((stamp, rest)) = shaped(line, STAMP) else {
            self.unstamped(line, said);
            return;
        };
        if let Some(fact) = rest.strip_prefix("LOG] ").and_then(player) {
            said.push(Spoken::new(moment(stamp, STAMP).map(LineTime::Local), fact));
        }
    }
}

impl Log {
    fn unstamped(&mut self, line: &str, said: &mut Vec<Spoken>) {
        if let Some(port) = line.strip_prefix("Running Palworld dedicated server on :") {
            if whole::<u16>(port).is_some() {
                said.push(Spoken::new(None, Fact::ServerReady));
            }
            return;
        }
        // Only with the engine's prefix: what stands at the start of a line could be a line break in somebody's chat.
        if line.starts_with('[') {
            self.lifecycle.line(&unreal::head(line), said);
        }
    }
}

fn player(text: &str) -> Option<Fact> {
    let (who, ids) = text.strip_suffix(')')?.rsplit_once(" the server. (User id: ")?;
    if who.contains(" executed the command. ") {
        return None;
    }
    let user = match ids.split_once(", ") {
        Some((user, rest)) => {
            rest.strip_prefix("Player id: ").filter(|id| is_id(id))?;
            user
        }
        None => ids,
    };
    if !is_id(user) {
        return None;
    }
    let (who, verb) = who.rsplit_once(' ')?;
    let known = |name: &str| PlayerRef {
        name: label(name),
        ..PlayerRef::identified(user)
    };
    match verb {
        "joined" => Some(Fact::PlayerJoined(known(who))),
        "left" => Some(Fact::PlayerLeft {
            player: known(who),
            reason: None,
        }),
        "connected" => {
            let (name, ip) = who.rsplit_once(' ')?;
            Some(Fact::PlayerConnecting(match endpoint(ip) {
                Some((address, port)) => known(name).with_address(address, port),
                None => known(who),
            }))
        }
        _ => None,
    }
}

/// One word, as ids are.
fn is_id(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !b"(),".contains(&byte))
}

#[cfg(test)]
mod tests;
