//! ARK: Survival Evolved and Survival Ascended (`ShooterGame.log`): Unreal's prefix, lines of the game's own without
//! category.
//!
//! | line | said |
//! |---|---|
//! | `Log file open, date`; `Engine exit requested`, `LogExit`, `Log file closed` | server starting; stopping (as in `unreal.rs`) |
//! | `Server has completed startup and is now advertising for join` | server ready |
//! | `IP for incoming account ID - IP A` (Ascended) | player connecting |
//! | `NAME [UniqueNetId:ID Platform:P] joined this ARK!`, `.. left this ARK!` (Ascended) | player joined, left |
//! | `NAME joined this ARK!`, `NAME left this ARK!` (Evolved) | the same, by name |
//!
//! The time in front of a text (`2026.07.27_21.25.23: `) is UTC as well; it counts where the prefix is missing. The world
//! of a server never changes while it runs, so there are no matches and no phases. Not covered: localised builds,
//! tribe logs, chat, `gamelog` of the console.
//!
//! Forging: a chat line is `NAME (CHARACTER): text` and may end like a join, so a text that holds `: ` in front of its
//! end is speech. The price is that a player whose own name holds `: ` is not seen here. On Evolved, names can end like
//! Ascended's id; from the first line without an id on they are taken as the names that they are. What remains: an
//! Evolved player with such a name who is the first to join since gsmon reads the log states an id of his choosing.

use super::{
    event::{Fact, PlayerRef},
    family::StableKey,
    fields::{endpoint, label, moment, shaped},
    grammar::{Grammar, LineTime, Spoken},
    unreal::{self, Course, Lifecycle},
};

/// Platform_id: EOS product user id (Ascended); name (Evolved).
pub const IDENTITY: StableKey = StableKey::PlatformId;

// Query: A2S on the query port, 27015 by default. Ascended shows its players through EOS and RCON (`ListPlayers`) only.

const INNER: &str = "YYYY.MM.DD_hh.mm.ss: ";

/// Reads the log of an ARK server.
#[derive(Default)]
pub struct Log {
    lifecycle: Lifecycle,
    edition: Edition,
}

/// Which game writes, as far as its lines have shown.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Edition {
    #[default]
    Unknown,
    Evolved,
    Ascended,
}

impl Grammar for Log {
    fn line(&mut self, line: &str, said: &mut Vec<Spoken>) {
        let head = unreal::head(line);
        match self.lifecycle.line(&head, said) {
            Course::Running => {}
            Course::Opened => {
                self.edition = Edition::Unknown;
                return;
            }
            Course::Done => return,
        }
        let (inner, text) = match shaped(head.text, INNER) {
            Some((stamp, text)) => (Some(stamp), text),
            None => (None, head.text),
        };
        let Some(fact) = self.text(text) else {
            return;
        };
        let stated = || moment(inner?, INNER).map(LineTime::Utc);
        said.push(Spoken::new(head.time().or_else(stated), fact));
    }
}

impl Log {
    fn text(&mut self, text: &str) -> Option<Fact> {
        if text.ends_with(" this ARK!") {
            if let Some(who) = text.strip_suffix(" joined this ARK!") {
                return self.player(who).map(Fact::PlayerJoined);
            }
            let player = self.player(text.strip_suffix(" left this ARK!")?)?;
            return Some(Fact::PlayerLeft { player, reason: None });
        }
        if let Some(memory) =
            text.strip_prefix("Server has completed startup and is now advertising for join")
        {
            let whole = memory.is_empty() || (memory.starts_with(" (") && memory.ends_with(" Mem)"));
            return whole.then_some(Fact::ServerReady);
        }
        let (id, ip) = text
            .strip_prefix("IP for incoming account ")?
            .split_once(" - IP ")?;
        let (address, port) = endpoint(ip)?;
        if !is_account(id) {
            return None;
        }
        self.edition = Edition::Ascended;
        Some(Fact::PlayerConnecting(
            PlayerRef::identified(id).with_address(address, port),
        ))
    }

    fn player(&mut self, who: &str) -> Option<PlayerRef> {
        if who.contains(": ") {
            return None;
        }
        let marked = who
            .strip_suffix(']')
            .and_then(|who| who.rsplit_once(" [UniqueNetId:"))
            .and_then(|(name, mark)| Some((name, mark.split_once(" Platform:")?)))
            .filter(|(_, (id, platform))| is_account(id) && is_account(platform));
        match (marked, self.edition) {
            (Some((name, (id, _))), Edition::Unknown | Edition::Ascended) => {
                self.edition = Edition::Ascended;
                Some(PlayerRef {
                    name: label(name),
                    ..PlayerRef::identified(id)
                })
            }
            (_, Edition::Unknown | Edition::Evolved) => {
                self.edition = Edition::Evolved;
                label(who).map(|name| PlayerRef::named(&name))
            }
            // Ascended marks every player; an unmarked line is something else that ends like one.
            (None, Edition::Ascended) => None,
        }
    }
}

/// One word of what ids and platforms are made of.
fn is_account(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_|-:".contains(&byte))
}

#[cfg(test)]
mod tests;
