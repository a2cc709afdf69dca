//! Unity dedicated servers built on Mirror with KCP, FishNet, or Netcode for GameObjects: their own lines, which differ
//! so much that one grammar reads all three. Unity writes messages as they are: no prefix, no time.
//!
//! | line | said |
//! |---|---|
//! | Mirror `Server listening on port N` | server ready |
//! | Mirror `[KCP] Server: added connection(N)` | player connecting |
//! | Mirror `[KCP] Server: OnConnected(N)`, `OnDisconnected(N)` (older: `KcpServer: ..`) | player joined, left |
//! | FishNet `Local server is starting/started/stopping/stopped for TRANSPORT.` | server starting, ready, stopping |
//! | FishNet `Remote connection started/stopped for Id N.` | player joined, left |
//! | Netcode `[Netcode] StartServer`, `StartHost`, `Shutdown` | server ready, stopping |
//! | Netcode `[Netcode] Disconnect Event From N` | player left |
//!
//! Players are connections here: a name, an account or an address is for the game to print (custom grammar) or to push.
//! Netcode prints connections at its log level Developer only, and there no number when one is made: `Client Connected`
//! says nothing, its joins come from flows. FishNet hands a number out again once it is free.
//! Indented lines are stack traces and never read.
//!
//! Forging: with no prefix there is nothing to hold on to. A game that logs chat with nothing in front of it lets a
//! player write any of these lines. Where that is so, `game = "custom"` with a grammar of the game's own is the remedy.

use super::{
    event::{Fact, PlayerRef},
    family::StableKey,
    fields::{is_word, whole},
    grammar::{Grammar, Spoken},
};

/// Slot: connection id while connected; nothing outlives a connection.
pub const IDENTITY: StableKey = StableKey::Slot;

// Query: Unity's Server Query Protocol (SQP), where the game serves it; titles on Steam may answer A2S.

/// Reads the log of a Unity server.
#[derive(Default)]
pub struct Log;

impl Grammar for Log {
    fn line(&mut self, line: &str, said: &mut Vec<Spoken>) {
        let fact = match line.as_bytes().first() {
            Some(b'[') => bracketed(line),
            Some(b'R') => line.strip_prefix("Remote connection ").and_then(fishnet_remote),
            Some(b'L') => line.strip_prefix("Local server is ").and_then(fishnet_local),
            Some(b'K') => line.strip_prefix("KcpServer: ").and_then(kcp),
            Some(b'S') => line
                .strip_prefix("Server listening on port ")
                .and_then(whole::<u16>)
                .map(|_| Fact::ServerReady),
            _ => None,
        };
        said.extend(fact.map(|fact| Spoken::new(None, fact)));
    }
}

fn bracketed(line: &str) -> Option<Fact> {
    if let Some(text) = line.strip_prefix("[KCP] Server: ") {
        return kcp(text);
    }
    match line.strip_prefix("[Netcode] ")? {
        "StartServer" | "StartHost" => Some(Fact::ServerReady),
        "Shutdown" => Some(Fact::ServerStopping),
        text => {
            let client = text
                .strip_prefix("Disconnect Event From ")
                .and_then(whole::<u64>)?;
            Some(left(client))
        }
    }
}

fn kcp(text: &str) -> Option<Fact> {
    let (event, number) = text.strip_suffix(')')?.split_once('(')?;
    let slot = signed(number)?;
    match event {
        "added connection" => Some(Fact::PlayerConnecting(PlayerRef::in_slot(slot))),
        "OnConnected" => Some(Fact::PlayerJoined(PlayerRef::in_slot(slot))),
        "OnDisconnected" => Some(left(slot)),
        _ => None,
    }
}

fn fishnet_remote(text: &str) -> Option<Fact> {
    let (event, number) = text.strip_suffix('.')?.split_once(" for Id ")?;
    let slot = signed(number)?;
    match event {
        "started" => Some(Fact::PlayerJoined(PlayerRef::in_slot(slot))),
        "stopped" => Some(left(slot)),
        _ => None,
    }
}

fn fishnet_local(text: &str) -> Option<Fact> {
    let (event, transport) = text.strip_suffix('.')?.split_once(" for ")?;
    if !is_word(transport) {
        return None;
    }
    match event {
        "starting" => Some(Fact::ServerStarting),
        "started" => Some(Fact::ServerReady),
        "stopping" | "stopped" => Some(Fact::ServerStopping),
        _ => None,
    }
}

fn left(slot: u64) -> Fact {
    Fact::PlayerLeft {
        player: PlayerRef::in_slot(slot),
        reason: None,
    }
}

/// Connection numbers are signed 32-bit integers; KCP takes the hash of an address, so half of them are negative. The
/// same bits without a sign are the slot.
fn signed(number: &str) -> Option<u64> {
    if number.starts_with('+') {
        return None;
    }
    number
        .parse::<i32>()
        .ok()
        .map(|number| u64::from(number.cast_unsigned()))
}

#[cfg(test)]
mod tests;
