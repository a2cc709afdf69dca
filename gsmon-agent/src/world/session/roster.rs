//! Who is in the game: statements of logs, queries and pushes joined into players.
//!
//! One player is often told in parts (an address here, a name there, an id later). A statement belongs to the player
//! with whom it shares a part and contradicts none: platform id first, then connection number, then address with port,
//! then name. A join that is told again is no second join; a leave of somebody who never came is counted, not guessed.

use std::{
    collections::{BTreeSet, HashMap},
    net::SocketAddr,
    sync::Arc,
};

use crate::games::event::{KindEvidence, PlayerCount, PlayerKind, PlayerRef, Witness};

/// Number of a player on one server, never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PlayerNumber(pub u64);

/// Is a player in the game yet?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// A connection, no more.
    Connecting,
    /// In the game.
    Playing,
}

/// One player.
#[derive(Clone, Debug)]
pub struct Player {
    /// Which.
    pub number: PlayerNumber,
    /// Everything that was said of it.
    pub who: PlayerRef,
    /// In the game?
    pub presence: Presence,
    /// When first heard of.
    pub heard_ms: i64,
    /// When it came into the game.
    pub joined_ms: i64,
    /// Room inside the process.
    pub room: Option<Arc<str>>,
    /// Joined again since the match began.
    confirmed: bool,
    /// Complete lists in a row that lack it.
    absent: u8,
}

/// What a statement changed.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Came into the game.
    Joined(PlayerNumber),
    /// Left the game.
    Left(Box<Departure>),
}

/// Somebody who has left.
#[derive(Clone, Debug, PartialEq)]
pub struct Departure {
    /// Which.
    pub number: PlayerNumber,
    /// Everything that was said of it.
    pub who: PlayerRef,
    /// When it came.
    pub joined_ms: i64,
    /// When it left.
    pub left_ms: i64,
    /// Why, where told.
    pub reason: Option<Arc<str>>,
    /// Room it was in.
    pub room: Option<Arc<str>>,
}

/// Statements that did not fit, since start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RosterCounters {
    /// Players who came.
    pub joins: u64,
    /// Players who left.
    pub leaves: u64,
    /// Joins told again.
    pub repeated_joins: u64,
    /// Leaves of nobody known.
    pub unknown_leaves: u64,
    /// Leaves that were never told and follow from something else (a connection number used again, a complete list).
    pub inferred_leaves: u64,
    /// Players found through a complete list only.
    pub inferred_joins: u64,
    /// Statements left out because the roster was full.
    pub overflow: u64,
}

/// Players on one server at most: beyond it statements are counted, not kept.
const MOST_PLAYERS: usize = 20_000;
/// Complete lists of a query that must lack a player before it is taken to have left: a query is a little late.
const ABSENT_LISTS: u8 = 2;
/// A player who has just joined may be missing in an older list.
const FRESH_MS: i64 = 15_000;
/// After a map change, players who were not told again are gone once this has passed, if anybody was told again.
const CONFIRM_MS: i64 = 60_000;
/// How long leaves that a complete list has anticipated are remembered.
const ANTICIPATED_MS: i64 = 15_000;
/// A connection that never becomes a player is forgotten after this.
const CONNECTING_MS: i64 = 300_000;

/// Of players who share a name, so many are looked at: among more, a name tells nobody.
const NAMESAKES: usize = 64;

/// Players in the game.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counted {
    all: u32,
    bots: u32,
}

/// The players of one server.
#[derive(Debug, Default)]
pub struct Roster {
    players: Vec<Player>,
    by_id: HashMap<Arc<str>, usize>,
    by_slot: HashMap<u64, usize>,
    by_address: HashMap<SocketAddr, usize>,
    by_name: HashMap<Arc<str>, BTreeSet<usize>>,
    by_number: HashMap<PlayerNumber, usize>,
    in_game: Counted,
    in_room: HashMap<Arc<str>, u32>,
    next: u64,
    match_began_ms: Option<i64>,
    /// Names that a complete list has already lacked.
    anticipated: Vec<(Arc<str>, i64)>,
    /// The newest count, its time and who told it.
    pub count: Option<(PlayerCount, i64, Witness)>,
    /// Has any statement said who is there?
    pub speaks: bool,
    /// What did not fit.
    pub counters: RosterCounters,
}

impl Roster {
    /// All players, connecting ones included.
    pub fn players(&self) -> &[Player] {
        &self.players
    }

    /// Players in the game.
    pub fn playing(&self) -> impl Iterator<Item = &Player> {
        self.players
            .iter()
            .filter(|player| player.presence == Presence::Playing)
    }

    /// One player.
    pub fn get(&self, number: PlayerNumber) -> Option<&Player> {
        self.players.get(*self.by_number.get(&number)?)
    }

    /// How many are in the game, in a room or in all.
    pub fn present(&self, room: Option<&Arc<str>>) -> u32 {
        match room {
            None => self.in_game.all,
            Some(room) => self.in_room.get(room).copied().unwrap_or(0),
        }
    }

    /// How many in the game are not known to be bots.
    pub fn people(&self) -> u32 {
        self.in_game.all - self.in_game.bots
    }

    /// The clock was set: everything happened so much later.
    pub fn shift(&mut self, by_ms: i64) {
        let later = |ms: &mut i64| *ms = ms.saturating_add(by_ms);
        for player in &mut self.players {
            later(&mut player.heard_ms);
            later(&mut player.joined_ms);
        }
        self.match_began_ms.iter_mut().for_each(later);
        self.anticipated.iter_mut().for_each(|(_, ms)| later(ms));
        if let Some((_, ms, _)) = &mut self.count {
            later(ms);
        }
    }

    /// Everybody is gone.
    pub fn clear(&mut self, now_ms: i64, reason: Option<&Arc<str>>) -> Vec<Change> {
        let mut changes = Vec::new();
        while !self.players.is_empty() {
            changes.extend(self.remove(self.players.len() - 1, now_ms, reason.cloned()));
        }
        self.anticipated.clear();
        self.match_began_ms = None;
        changes
    }

    /// A match begins: those who stay may be told again.
    pub fn match_begun(&mut self, now_ms: i64) {
        self.match_began_ms = Some(now_ms);
        for player in &mut self.players {
            player.confirmed = false;
        }
    }

    /// A connection.
    pub fn connecting(&mut self, said: &PlayerRef, now_ms: i64) -> Vec<Change> {
        self.speaks = true;
        let mut changes = Vec::new();
        match self.find(said) {
            Some(index) => self.merge(index, said),
            None => {
                changes.extend(self.make_room(said, now_ms));
                self.insert(said, now_ms, Presence::Connecting);
            }
        }
        changes
    }

    /// More about somebody.
    pub fn known(&mut self, said: &PlayerRef, now_ms: i64) -> Vec<Change> {
        self.connecting(said, now_ms)
    }

    /// In the game.
    pub fn joined(&mut self, said: &PlayerRef, room: Option<&Arc<str>>, now_ms: i64) -> Vec<Change> {
        self.speaks = true;
        let mut changes = Vec::new();
        let index = match self.find(said) {
            Some(index) => {
                self.merge(index, said);
                index
            }
            None => {
                changes.extend(self.make_room(said, now_ms));
                match self.insert(said, now_ms, Presence::Connecting) {
                    Some(index) => index,
                    None => return changes,
                }
            }
        };
        changes.extend(self.enter(index, room, now_ms));
        changes
    }

    /// A player whose place in the list is known is in the game.
    fn enter(&mut self, index: usize, room: Option<&Arc<str>>, now_ms: i64) -> Option<Change> {
        self.unindex(index);
        let player = &mut self.players[index];
        player.confirmed = true;
        player.absent = 0;
        if room.is_some() {
            player.room = room.cloned();
        }
        let change = if player.presence == Presence::Playing {
            self.counters.repeated_joins += 1;
            None
        } else {
            player.presence = Presence::Playing;
            player.joined_ms = now_ms;
            self.counters.joins += 1;
            Some(Change::Joined(player.number))
        };
        self.index(index);
        change
    }

    /// Gone.
    ///
    /// Of somebody whom nobody has named it does not say who is there: it may be the first line after the agent came in
    /// the middle of a game, while the others are known by their flows alone.
    pub fn left(&mut self, said: &PlayerRef, reason: Option<&Arc<str>>, now_ms: i64) -> Vec<Change> {
        match self.find(said) {
            Some(index) => self.remove(index, now_ms, reason.cloned()),
            None => {
                let anticipated = said.name.as_ref().and_then(|name| {
                    self.anticipated
                        .iter()
                        .position(|(gone, since)| gone == name && now_ms - since <= ANTICIPATED_MS)
                });
                match anticipated {
                    Some(index) => drop(self.anticipated.swap_remove(index)),
                    None => self.counters.unknown_leaves += 1,
                }
                Vec::new()
            }
        }
    }

    /// Everybody who is in the game. A log's list is as of now; a query's is a little late, and says nothing of players
    /// who have just come.
    pub fn complete(&mut self, list: &[PlayerRef], witness: Witness, now_ms: i64) -> Vec<Change> {
        self.speaks = true;
        let mut changes = Vec::new();
        let mut seen = vec![false; self.players.len()];
        let mut unknown = Vec::new();
        let mut next_namesake: HashMap<Arc<str>, usize> = HashMap::new();
        for said in list {
            // Several players may have one name: each entry stands for one of them.
            match self.find_unseen(said, &seen, &mut next_namesake) {
                Some(index) => {
                    seen[index] = true;
                    self.merge(index, said);
                    if self.players[index].presence == Presence::Connecting {
                        self.counters.inferred_joins += 1;
                        changes.extend(self.enter(index, None, now_ms));
                    }
                }
                None => unknown.push(said),
            }
        }
        for index in (0..seen.len()).rev() {
            let player = &mut self.players[index];
            if seen[index] {
                player.absent = 0;
                continue;
            }
            if player.presence == Presence::Connecting {
                continue;
            }
            player.absent = player.absent.saturating_add(1);
            let gone = match witness {
                Witness::Log | Witness::Push => true,
                Witness::Query => player.absent >= ABSENT_LISTS && now_ms - player.joined_ms >= FRESH_MS,
            };
            if gone {
                if let Some(name) = &player.who.name
                    && self.anticipated.len() < MOST_PLAYERS
                {
                    self.anticipated.push((name.clone(), now_ms));
                }
                self.counters.inferred_leaves += 1;
                changes.extend(self.remove(index, now_ms, None));
            }
        }
        self.anticipated
            .retain(|(_, since)| now_ms - since <= ANTICIPATED_MS);
        for said in unknown {
            changes.extend(self.make_room(said, now_ms));
            if let Some(index) = self.insert(said, now_ms, Presence::Connecting) {
                self.counters.inferred_joins += 1;
                changes.extend(self.enter(index, None, now_ms));
            }
        }
        changes
    }

    /// A count.
    pub fn counted(&mut self, count: PlayerCount, witness: Witness, now_ms: i64) {
        self.count = Some((count, now_ms, witness));
    }

    /// Difference between the roster and the newest count; `None` where there is nothing to compare.
    pub fn disagreement(&self) -> Option<i64> {
        let (count, _, _) = self.count?;
        self.speaks
            .then(|| i64::from(self.in_game.all) - i64::from(count.online))
    }

    /// What follows from time alone; call once per interval.
    pub fn tidy(&mut self, now_ms: i64) -> Vec<Change> {
        let mut changes = Vec::new();
        let repeats = self
            .match_began_ms
            .filter(|began| now_ms - began >= CONFIRM_MS)
            .is_some_and(|began| {
                self.playing()
                    .any(|player| player.confirmed && player.joined_ms < began)
            });
        for index in (0..self.players.len()).rev() {
            let player = &self.players[index];
            let stale = match player.presence {
                Presence::Connecting => now_ms - player.heard_ms >= CONNECTING_MS,
                // This game tells everybody again after a map change, and did not tell this one.
                Presence::Playing => repeats && !player.confirmed,
            };
            if stale {
                self.counters.inferred_leaves += u64::from(player.presence == Presence::Playing);
                changes.extend(self.remove(index, now_ms, None));
            }
        }
        if self
            .match_began_ms
            .is_some_and(|began| now_ms - began >= CONFIRM_MS)
        {
            self.match_began_ms = None;
            for player in &mut self.players {
                player.confirmed = true;
            }
        }
        changes
    }

    fn find(&self, said: &PlayerRef) -> Option<usize> {
        let fits = |index: &usize| !contradicts(&self.players[*index].who, said);
        let by_id = said.platform_id.as_ref().and_then(|id| self.by_id.get(id));
        let by_slot = || said.slot.and_then(|slot| self.by_slot.get(&slot));
        let by_address = || endpoint(said).and_then(|address| self.by_address.get(&address));
        by_id
            .or_else(|| by_slot().filter(|index| fits(index)))
            .or_else(|| by_address().filter(|index| fits(index)))
            .copied()
            .or_else(|| {
                let namesakes = self.by_name.get(said.name.as_ref()?)?;
                namesakes.iter().take(NAMESAKES).copied().find(fits)
            })
            .or_else(|| {
                // An address alone, as some logs print it, names a player only where it is the only one there.
                if said.name.is_some() || said.slot.is_some() || said.platform_id.is_some() {
                    return None;
                }
                let address = said.address?;
                let mut there = (0..self.players.len())
                    .filter(|index| self.players[*index].who.address == Some(address) && fits(index));
                there.next().filter(|_| there.next().is_none())
            })
    }

    fn find_unseen(
        &self,
        said: &PlayerRef,
        seen: &[bool],
        next_namesake: &mut HashMap<Arc<str>, usize>,
    ) -> Option<usize> {
        let found = self.find(said)?;
        if !seen[found] {
            return Some(found);
        }
        let name = said.name.as_ref()?;
        let namesakes = self.by_name.get(name)?;
        let from = next_namesake.entry(name.clone()).or_default();
        while let Some(index) = namesakes.range(*from..).next()
            && seen[*index]
        {
            *from = index + 1;
        }
        namesakes
            .range(*from..)
            .take(NAMESAKES)
            .copied()
            .find(|index| !seen[*index] && !contradicts(&self.players[*index].who, said))
    }

    /// A connection number or an endpoint that is used again belongs to somebody new: its last owner has left.
    fn make_room(&mut self, said: &PlayerRef, now_ms: i64) -> Vec<Change> {
        let owner = said
            .slot
            .and_then(|slot| self.by_slot.get(&slot))
            .or_else(|| endpoint(said).and_then(|address| self.by_address.get(&address)))
            .copied();
        match owner {
            Some(index) => {
                self.counters.inferred_leaves += u64::from(self.players[index].presence == Presence::Playing);
                self.remove(index, now_ms, None)
            }
            None => Vec::new(),
        }
    }

    fn insert(&mut self, said: &PlayerRef, now_ms: i64, presence: Presence) -> Option<usize> {
        if self.players.len() >= MOST_PLAYERS {
            self.counters.overflow += 1;
            return None;
        }
        self.next += 1;
        self.players.push(Player {
            number: PlayerNumber(self.next),
            who: said.clone(),
            presence,
            heard_ms: now_ms,
            joined_ms: now_ms,
            room: None,
            confirmed: true,
            absent: 0,
        });
        let index = self.players.len() - 1;
        self.index(index);
        Some(index)
    }

    fn merge(&mut self, index: usize, said: &PlayerRef) {
        self.unindex(index);
        let who = &mut self.players[index].who;
        let take = |old: &mut Option<Arc<str>>, new: &Option<Arc<str>>| {
            if new.is_some() {
                old.clone_from(new);
            }
        };
        take(&mut who.platform_id, &said.platform_id);
        take(&mut who.name, &said.name);
        who.slot = said.slot.or(who.slot);
        if said.address.is_some() {
            let moved = said.address != who.address;
            who.address = said.address;
            who.port = if moved { said.port } else { said.port.or(who.port) };
        }
        // What the identity says weighs more than what a query thinks.
        if let Some(new) = said.kind
            && who.kind.is_none_or(|old| weight(new.by) >= weight(old.by))
        {
            who.kind = Some(new);
        }
        self.index(index);
    }

    fn remove(&mut self, index: usize, now_ms: i64, reason: Option<Arc<str>>) -> Vec<Change> {
        self.unindex(index);
        let last = self.players.len() - 1;
        if index != last {
            self.unindex(last);
        }
        let player = self.players.swap_remove(index);
        if index != last {
            self.index(index);
        }
        if player.presence == Presence::Connecting {
            return Vec::new();
        }
        self.counters.leaves += 1;
        vec![Change::Left(Box::new(Departure {
            number: player.number,
            who: player.who,
            joined_ms: player.joined_ms,
            left_ms: now_ms.max(player.joined_ms),
            reason,
            room: player.room,
        }))]
    }

    fn index(&mut self, index: usize) {
        let player = &self.players[index];
        let who = player.who.clone();
        self.by_number.insert(player.number, index);
        if let Some(name) = &who.name {
            self.by_name.entry(name.clone()).or_default().insert(index);
        }
        if player.presence == Presence::Playing {
            self.in_game.all += 1;
            self.in_game.bots += u32::from(is_bot(&who));
            if let Some(room) = &player.room {
                *self.in_room.entry(room.clone()).or_default() += 1;
            }
        }
        // What somebody else had is this player's now: nobody shares an id, a number or an endpoint.
        if let Some(id) = who.platform_id
            && let Some(other) = self.by_id.insert(id, index)
            && other != index
        {
            self.players[other].who.platform_id = None;
        }
        if let Some(slot) = who.slot
            && let Some(other) = self.by_slot.insert(slot, index)
            && other != index
        {
            self.players[other].who.slot = None;
        }
        if let (Some(address), Some(port)) = (who.address, who.port)
            && let Some(other) = self.by_address.insert(SocketAddr::new(address, port), index)
            && other != index
        {
            self.players[other].who.port = None;
        }
    }

    fn unindex(&mut self, index: usize) {
        let player = &self.players[index];
        let who = &player.who;
        self.by_number.remove(&player.number);
        if let Some(name) = &who.name
            && let Some(namesakes) = self.by_name.get_mut(name)
        {
            namesakes.remove(&index);
            if namesakes.is_empty() {
                self.by_name.remove(name);
            }
        }
        if player.presence == Presence::Playing {
            self.in_game.all -= 1;
            self.in_game.bots -= u32::from(is_bot(who));
            if let Some(room) = &player.room
                && let Some(count) = self.in_room.get_mut(room)
            {
                *count -= 1;
                if *count == 0 {
                    self.in_room.remove(room);
                }
            }
        }
        if let Some(id) = &who.platform_id
            && self.by_id.get(id) == Some(&index)
        {
            self.by_id.remove(id);
        }
        if let Some(slot) = who.slot
            && self.by_slot.get(&slot) == Some(&index)
        {
            self.by_slot.remove(&slot);
        }
        if let Some(address) = endpoint(who)
            && self.by_address.get(&address) == Some(&index)
        {
            self.by_address.remove(&address);
        }
    }
}

fn is_bot(who: &PlayerRef) -> bool {
    who.kind.map(|known| known.kind) == Some(PlayerKind::Bot)
}

fn endpoint(who: &PlayerRef) -> Option<SocketAddr> {
    Some(SocketAddr::new(who.address?, who.port?))
}

/// Cannot both be of one player: a stronger part differs.
fn contradicts(known: &PlayerRef, said: &PlayerRef) -> bool {
    let differ = |a: &Option<Arc<str>>, b: &Option<Arc<str>>| matches!((a, b), (Some(a), Some(b)) if a != b);
    if differ(&known.platform_id, &said.platform_id) {
        return true;
    }
    if known.platform_id.is_some() && known.platform_id == said.platform_id {
        return false;
    }
    let slots_differ = matches!((known.slot, said.slot), (Some(a), Some(b)) if a != b);
    if slots_differ {
        return true;
    }
    if known.slot.is_some() && known.slot == said.slot {
        return false;
    }
    matches!((endpoint(known), endpoint(said)), (Some(a), Some(b)) if a != b)
}

fn weight(by: KindEvidence) -> u8 {
    match by {
        KindEvidence::Connection => 0,
        KindEvidence::Query => 1,
        KindEvidence::Settings => 2,
        KindEvidence::Push => 3,
        KindEvidence::Identity => 4,
    }
}

/// Human or bot, as far as it is known; a player with a connection of its own is a person.
pub fn kind_of(who: &PlayerRef) -> Option<(PlayerKind, KindEvidence)> {
    who.kind
        .map(|known| (known.kind, known.by))
        .or_else(|| who.address.map(|_| (PlayerKind::Human, KindEvidence::Connection)))
}

#[cfg(test)]
#[path = "roster_tests.rs"]
mod tests;
