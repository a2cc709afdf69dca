//! Which connection a join belongs to. The engine spreads one player over several lines: an address when the connection
//! is made, name and id at the login, the name alone when the join succeeds, the address again at the end.
//!
//! The rule, strongest first:
//! 1. Lines of one frame belong together: `Join request` (name of the URL) and Squad's `PostLogin` (ids, IP) stand in
//!    the frame of their `Join succeeded`.
//! 2. A login belongs to the only connection that waits for one. While several wait, it belongs to none.
//! 3. A join belongs to the only login of that id or name (the engine cuts names to 20 characters); where no name fits, to
//!    the only login that waits, since a game may rename its players.
//! 4. A join without login belongs to the only connection that waits.
//!
//! Whatever stays ambiguous has no address: a wrong address would give one player the packets of another. Connections
//! count for the rule when the driver has added them, if the log prints that at all, since the lines before it can be
//! provoked from forged addresses. Those that wait too long or are too many are forgotten.

use std::{collections::VecDeque, sync::Arc};

use super::spelling::{account, at, field, on_game_driver, option_name, same_name};
use crate::games::{
    event::PlayerRef,
    fields::{endpoint, label},
};

/// Most players that are remembered.
const MOST: usize = 1024;
/// Most connections that are waited for.
const MOST_WAITING: usize = 256;
/// How long a connection without login is waited for, milliseconds.
const CONNECTION_PATIENCE_MS: i64 = 120_000;
/// How long a join is waited for after the login: clients load the map in between.
const LOGIN_PATIENCE_MS: i64 = 900_000;

/// How a connection is mentioned.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Mention {
    /// Somebody asks for one.
    Accepting,
    /// The driver has one.
    Added,
}

struct Waiting {
    remote: Box<str>,
    added: bool,
    announced: bool,
    claimed: bool,
    since: Option<i64>,
}

struct Login {
    name: Option<Arc<str>>,
    id: Option<Arc<str>>,
    remote: Option<Box<str>>,
    since: Option<i64>,
}

struct Joined {
    remote: Box<str>,
    name: Option<Arc<str>>,
    id: Option<Arc<str>>,
    timed_out: bool,
}

struct Posted {
    frame: Option<u32>,
    address: std::net::IpAddr,
    id: Option<Arc<str>>,
}

/// Connections on their way in, and those of players in the game.
#[derive(Default)]
pub(super) struct Connections {
    waiting: VecDeque<Waiting>,
    logins: VecDeque<Login>,
    joined: VecDeque<Joined>,
    left: VecDeque<Box<str>>,
    prints_added: bool,
    asked: Option<(Option<u32>, Box<str>)>,
    posted: Option<Posted>,
    /// Joins whose connection is one of those that wait, unknown which.
    orphans: usize,
}

impl Connections {
    /// A connection is mentioned; returns who is connecting, once.
    pub(super) fn mentioned(&mut self, remote: &str, how: Mention, now: Option<i64>) -> Option<PlayerRef> {
        if remote.is_empty() || remote.len() > 128 {
            return None;
        }
        self.expire(now);
        let added = how == Mention::Added;
        self.prints_added |= added;
        let announces = added || !self.prints_added;
        if let Some(known) = self.waiting.iter_mut().find(|known| *known.remote == *remote) {
            known.added |= added;
            let first = announces && !known.announced;
            known.announced |= first;
            return first.then(|| at(remote)).flatten();
        }
        if added {
            self.joined.retain(|player| *player.remote != *remote);
        } else if self.joined.iter().any(|player| *player.remote == *remote) {
            return None;
        }
        self.left.retain(|gone| **gone != *remote);
        if self.waiting.len() >= MOST_WAITING {
            // Mere requests make room first: anybody can send them, from any address.
            let request = self.waiting.iter().position(|waiting| !waiting.added);
            self.waiting.remove(request.unwrap_or(0));
        }
        self.waiting.push_back(Waiting {
            remote: remote.into(),
            added,
            announced: announces,
            claimed: false,
            since: now,
        });
        announces.then(|| at(remote)).flatten()
    }

    /// `Login request: ?Name=X?.. userId: ID platform: P`.
    pub(super) fn login(&mut self, request: &str, now: Option<i64>) -> Option<PlayerRef> {
        self.expire(now);
        // The options are the client's own text: the engine's fields are the last of their name.
        let (options, id) = match request.rsplit_once(" userId: ") {
            Some((options, tail)) => (options, account(tail.split(" platform: ").next().unwrap_or(tail))),
            None => (request, None),
        };
        let name = option_name(options).and_then(label);
        if name.is_none() && id.is_none() {
            return None;
        }
        // The same account again: its earlier attempt is over, unless no other connection waits.
        let earlier = self
            .logins
            .iter()
            .position(|login| id.is_some() && login.id == id);
        let earlier = earlier.and_then(|index| self.logins.remove(index)?.remote);
        let remote = match self.free().count() {
            0 => earlier.clone(),
            1 => self.only_free(),
            _ => None,
        };
        if earlier.is_some() && earlier != remote {
            self.waiting
                .retain(|waiting| earlier.as_ref() != Some(&waiting.remote));
        }
        if let Some(waiting) = self
            .waiting
            .iter_mut()
            .find(|waiting| remote.as_ref() == Some(&waiting.remote))
        {
            waiting.claimed = true;
        }
        let player = PlayerRef {
            name: name.clone(),
            ..remote.as_deref().and_then(at).unwrap_or_default()
        };
        let player = PlayerRef {
            platform_id: id.clone().or(player.platform_id),
            ..player
        };
        push(
            &mut self.logins,
            Login {
                name,
                id,
                remote,
                since: now,
            },
        );
        Some(player)
    }

    /// `Join request: /Game/Map?Name=X?..`
    pub(super) fn asks(&mut self, url: &str, frame: Option<u32>) {
        self.asked = option_name(url).map(|name| (frame, name.into()));
    }

    /// Squad: `CLASS PATH (IP: a | Online IDs: EOS: x steam: y)`.
    pub(super) fn posted(&mut self, post: &str, frame: Option<u32>) -> Option<PlayerRef> {
        let (controller, ids) = post.strip_suffix(')')?.rsplit_once(" (IP: ")?;
        if controller.split(' ').count() != 2 || controller.contains('(') {
            return None;
        }
        let (ip, ids) = ids.split_once(" | Online IDs: ")?;
        let (address, _) = endpoint(ip)?;
        // Pairs of platform and id. The EOS id is what the engine's own lines carry, so it goes before the others.
        let words: Vec<&str> = ids.split(' ').take(16).collect();
        let mut id = None;
        for pair in words.chunks(2) {
            let [platform, value] = pair else {
                return None;
            };
            let platform = platform.strip_suffix(':')?;
            if platform == "EOS" || id.is_none() {
                id = account(value);
            }
        }
        let port = self.port_at(address);
        self.posted = Some(Posted {
            frame,
            address,
            id: id.clone(),
        });
        Some(PlayerRef {
            platform_id: id,
            address: Some(address),
            port,
            ..PlayerRef::default()
        })
    }

    /// `Join succeeded: NAME`
    pub(super) fn joined(&mut self, name: &str, frame: Option<u32>) -> PlayerRef {
        let asked = self
            .asked
            .take()
            .filter(|(at, _)| *at == frame)
            .map(|(_, asked)| asked);
        let posted = self.posted.take().filter(|posted| posted.frame == frame);
        let login = self
            .login_of(name, asked.as_deref(), posted.as_ref())
            .and_then(|index| self.logins.remove(index));
        let posted_remote = posted.as_ref().and_then(|posted| {
            let mut there = self
                .waiting
                .iter()
                .filter(|waiting| endpoint(&waiting.remote).is_some_and(|(ip, _)| ip == posted.address));
            match (there.next(), there.next()) {
                (Some(only), None) => Some(only.remote.clone()),
                _ => None,
            }
        });
        let remote = match &login {
            Some(login) => login.remote.clone().or(posted_remote),
            None => posted_remote.or_else(|| self.only_free()),
        };
        let id = login
            .as_ref()
            .and_then(|login| login.id.clone())
            .or_else(|| posted.as_ref().and_then(|posted| posted.id.clone()));
        let name = label(name).or_else(|| login.as_ref().and_then(|login| login.name.clone()));
        let mut player = remote.as_deref().and_then(at).unwrap_or_default();
        player.name = name.clone();
        player.platform_id = id.clone().or(player.platform_id);
        if player.address.is_none() {
            player.address = posted.map(|posted| posted.address);
        }
        match remote {
            Some(remote) => {
                self.waiting.retain(|waiting| waiting.remote != remote);
                self.joined.retain(|other| other.remote != remote);
                let joined = Joined {
                    remote,
                    name,
                    id,
                    timed_out: false,
                };
                push(&mut self.joined, joined);
            }
            None => self.orphan(),
        }
        player
    }

    /// `UNetConnection::Tick: Connection TIMED OUT.`
    pub(super) fn timed_out(&mut self, description: &str) {
        if let Some(remote) = field(description, "RemoteAddr: ")
            && let Some(player) = self.joined.iter_mut().find(|player| *player.remote == *remote)
        {
            player.timed_out = true;
        }
    }

    /// The description of a connection that is gone, or what follows `Removed address `.
    pub(super) fn closed(&mut self, description: &str) -> Option<(PlayerRef, Option<Arc<str>>)> {
        let removed = description
            .split_once(" from MappedClientConnections")
            .map(|(remote, _)| remote);
        let remote = match field(description, "RemoteAddr: ") {
            Some(_) => on_game_driver(description)?,
            None => removed.unwrap_or(description).trim(),
        };
        let had_controller = field(description, ", PC: ").is_some_and(|controller| controller != "NULL");
        let id = field(description, "UniqueId: ").and_then(account);
        let known = self.joined.iter().position(|player| *player.remote == *remote);
        let known = known.and_then(|index| self.joined.remove(index));
        if known.is_none() {
            let waited = self.waiting.iter().any(|waiting| *waiting.remote == *remote);
            self.waiting.retain(|waiting| *waiting.remote != *remote);
            self.logins
                .retain(|login| login.remote.as_deref() != Some(remote));
            if waited && had_controller {
                self.orphans = self.orphans.saturating_sub(1);
            }
            let already = self.left.iter().any(|gone| **gone == *remote);
            if already || !had_controller {
                return None;
            }
        }
        let place = at(remote).unwrap_or_default();
        let (name, known_id, timed_out) = match known {
            Some(player) => (player.name, player.id, player.timed_out),
            None => (None, None, false),
        };
        push(&mut self.left, remote.into());
        let player = PlayerRef {
            name,
            platform_id: known_id.or(id).or(place.platform_id.clone()),
            ..place
        };
        Some((player, timed_out.then(|| "timed out".into())))
    }

    fn login_of(&self, name: &str, asked: Option<&str>, posted: Option<&Posted>) -> Option<usize> {
        let only = |fits: &dyn Fn(&Login) -> bool| {
            let mut found = self.logins.iter().enumerate().filter(|(_, login)| fits(login));
            match (found.next(), found.next()) {
                (Some((index, _)), None) => Ok(Some(index)),
                (Some(_), Some(_)) => Err(()),
                (None, _) => Ok(None),
            }
        };
        let by_id = |login: &Login| posted.is_some_and(|posted| posted.id.is_some() && posted.id == login.id);
        let called =
            |wanted: &str, login: &Login| login.name.as_deref().is_some_and(|own| same_name(own, wanted));
        let by_request = |login: &Login| asked.is_some_and(|asked| called(asked, login));
        let by_name = |login: &Login| called(name, login);
        let not_another = |login: &Login| {
            let stated = posted.and_then(|posted| posted.id.as_ref());
            stated.is_none() || login.id.is_none() || login.id.as_ref() == stated
        };
        for fits in [
            &by_id as &dyn Fn(&Login) -> bool,
            &by_request,
            &by_name,
            &not_another,
        ] {
            match only(fits) {
                Ok(Some(index)) => return Some(index),
                Ok(None) => {}
                Err(()) => return None,
            }
        }
        None
    }

    /// The only connection that waits and is claimed by no login.
    fn only_free(&self) -> Option<Box<str>> {
        let mut free = self.free();
        match (free.next(), free.next()) {
            (Some(only), None) => Some(only.remote.clone()),
            _ => None,
        }
    }

    fn free(&self) -> impl Iterator<Item = &Waiting> {
        self.waiting
            .iter()
            .filter(|waiting| !waiting.claimed && (waiting.added || !self.prints_added))
    }

    /// The port at an address that only one connection has.
    fn port_at(&self, address: std::net::IpAddr) -> Option<u16> {
        let mut there = self
            .waiting
            .iter()
            .filter_map(|waiting| endpoint(&waiting.remote))
            .filter(|(ip, _)| *ip == address);
        match (there.next(), there.next()) {
            (Some((_, port)), None) => port,
            _ => None,
        }
    }

    /// Somebody has joined, unknown on which connection. When as many have as connections wait, all of those are taken.
    fn orphan(&mut self) {
        self.orphans += 1;
        if self.free().count() > self.orphans {
            return;
        }
        self.orphans = 0;
        let prints_added = self.prints_added;
        let (taken, waiting) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(|waiting| !waiting.claimed && (waiting.added || !prints_added));
        self.waiting = waiting;
        let taken: VecDeque<Waiting> = taken;
        for waiting in taken {
            let joined = Joined {
                remote: waiting.remote,
                name: None,
                id: None,
                timed_out: false,
            };
            push(&mut self.joined, joined);
        }
    }

    fn expire(&mut self, now: Option<i64>) {
        let Some(now) = now else {
            return;
        };
        let old = |since: Option<i64>, patience: i64| {
            since.is_some_and(|since| now.saturating_sub(since) > patience)
        };
        while let Some(first) = self.logins.front()
            && old(first.since, LOGIN_PATIENCE_MS)
        {
            if let Some(remote) = &first.remote {
                self.waiting.retain(|waiting| waiting.remote != *remote);
            }
            self.logins.pop_front();
        }
        self.waiting
            .retain(|waiting| waiting.claimed || !old(waiting.since, CONNECTION_PATIENCE_MS));
    }
}

fn push<T>(queue: &mut VecDeque<T>, item: T) {
    if queue.len() >= MOST {
        queue.pop_front();
    }
    queue.push_back(item);
}
