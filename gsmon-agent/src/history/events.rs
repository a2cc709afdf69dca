//! What happened, beside the figures: joins, leaves, phases, sessions, actions, starts. Taken from the difference of two
//! snapshots, without names, ids or addresses of players. Not here: keeping it (`disk`).

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use super::{findings::StoredFinding, lines::StoredLine, spikes::StoredSpike};
use crate::{
    games::event::Phase,
    world::{
        session::{
            picture::{GameSnapshot, SessionSnapshot},
            transitions::{LifeRecord, Transition},
        },
        snapshot::{ServerSnapshot, Snapshot},
    },
};

/// A session that runs is written anew this often, so that a crash of the agent loses little of it.
const SESSION_EVERY_MS: i64 = 60_000;

/// Kind of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// Players came.
    Join,
    /// Players left.
    Leave,
    /// The server is in the phase that the word names.
    Phase,
    /// A session has begun; the word is its id.
    SessionBegun,
    /// A session has ended; the word is its id.
    SessionEnded,
    /// Players did what the word names.
    Action,
    /// The process has been started.
    Start,
    /// Somebody marked this time; the word is what they wrote.
    Mark,
    /// The server came back with another executable; the word tells which.
    Update,
}

impl EventKind {
    /// All of them, in the order of their numbers in the file, from 1 on.
    pub const ALL: [Self; 9] = [
        Self::Join,
        Self::Leave,
        Self::Phase,
        Self::SessionBegun,
        Self::SessionEnded,
        Self::Action,
        Self::Start,
        Self::Mark,
        Self::Update,
    ];
}

/// Something that happened on a server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Server.
    pub server: Arc<str>,
    /// When: for joins, leaves and actions the end of the interval.
    pub unix_ms: i64,
    /// What.
    pub kind: EventKind,
    /// What exactly; see the kinds.
    pub word: Option<Arc<str>>,
    /// How often.
    pub times: u32,
}

/// What an interval brought beside its frames, each with its server.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// Events.
    pub events: Vec<Event>,
    /// Sessions that are new, have ended, or were not written for a while.
    pub sessions: Vec<(Arc<str>, SessionSnapshot)>,
    /// Transitions that are new or have changed.
    pub transitions: Vec<(Arc<str>, Transition)>,
    /// Starts and stops that are new.
    pub lives: Vec<(Arc<str>, LifeRecord)>,
    /// Spikes that somebody found.
    pub spikes: Vec<StoredSpike>,
    /// What detectors found.
    pub findings: Vec<StoredFinding>,
    /// Players' lines of minutes that are over.
    pub lines: Vec<StoredLine>,
}

/// What was seen of every server, to tell what is new.
#[derive(Debug, Default)]
pub struct Watcher {
    servers: HashMap<String, Seen>,
}

#[derive(Debug)]
struct Seen {
    name: Arc<str>,
    starts: u64,
    phase: Option<Phase>,
    joins: u64,
    leaves: u64,
    actions: BTreeMap<Arc<str>, u64>,
    /// When each session was written last; `None` once its end was.
    sessions: HashMap<Arc<str>, Option<i64>>,
    ended: Arc<Vec<SessionSnapshot>>,
    transitions: Arc<Vec<Transition>>,
    lives: Arc<Vec<LifeRecord>>,
}

fn joins(game: &GameSnapshot) -> u64 {
    game.counters.joins + game.counters.inferred_joins
}

fn leaves(game: &GameSnapshot) -> u64 {
    game.counters.leaves + game.counters.inferred_leaves
}

impl Watcher {
    /// What is new in a snapshot. Of a server that is seen for the first time only its sessions are.
    pub fn look(&mut self, snapshot: &Snapshot) -> Told {
        let unix_ms = (snapshot.unix_time_seconds * 1e3).round() as i64;
        let mut told = Told::default();
        self.servers
            .retain(|name, _| snapshot.servers.iter().any(|server| server.name == *name));
        for server in &snapshot.servers {
            match self.servers.get_mut(&server.name) {
                Some(seen) => seen.look(server, unix_ms, &mut told),
                None => {
                    let mut seen = Seen::of(server);
                    seen.look_at_sessions(server, unix_ms, &mut told);
                    self.servers.insert(server.name.clone(), seen);
                }
            }
        }
        told
    }
}

impl Seen {
    fn of(server: &ServerSnapshot) -> Self {
        let game = &server.game_state;
        Self {
            name: server.name.as_str().into(),
            starts: server.starts,
            phase: game.phase,
            joins: joins(game),
            leaves: leaves(game),
            actions: game.actions.clone(),
            sessions: HashMap::new(),
            ended: Arc::default(),
            transitions: game.transitions.clone(),
            lives: game.starts_and_stops.clone(),
        }
    }

    fn event(&self, unix_ms: i64, kind: EventKind, word: Option<Arc<str>>, times: u64) -> Event {
        Event {
            server: self.name.clone(),
            unix_ms,
            kind,
            word,
            times: u32::try_from(times).unwrap_or(u32::MAX),
        }
    }

    fn look(&mut self, server: &ServerSnapshot, unix_ms: i64, told: &mut Told) {
        let game = &server.game_state;
        let counted = [
            (EventKind::Start, server.starts.saturating_sub(self.starts)),
            (EventKind::Join, joins(game).saturating_sub(self.joins)),
            (EventKind::Leave, leaves(game).saturating_sub(self.leaves)),
        ];
        for (kind, times) in counted.into_iter().filter(|(_, times)| *times > 0) {
            told.events.push(self.event(unix_ms, kind, None, times));
        }
        if game.phase != self.phase
            && let Some(phase) = game.phase
        {
            let word = crate::world::session::phase::name(phase).into();
            let since = game.phase_since_unix_ms.unwrap_or(unix_ms);
            told.events
                .push(self.event(since, EventKind::Phase, Some(word), 1));
        }
        if game.actions != self.actions {
            for (action, total) in &game.actions {
                let times = total.saturating_sub(self.actions.get(action).copied().unwrap_or(0));
                if times > 0 {
                    told.events
                        .push(self.event(unix_ms, EventKind::Action, Some(action.clone()), times));
                }
            }
            self.actions.clone_from(&game.actions);
        }
        (self.starts, self.phase) = (server.starts, game.phase);
        (self.joins, self.leaves) = (joins(game), leaves(game));
        if !Arc::ptr_eq(&self.transitions, &game.transitions) {
            let new = game
                .transitions
                .iter()
                .filter(|transition| !self.transitions.contains(transition));
            told.transitions
                .extend(new.map(|transition| (self.name.clone(), transition.clone())));
            self.transitions = game.transitions.clone();
        }
        if !Arc::ptr_eq(&self.lives, &game.starts_and_stops) {
            let new = game
                .starts_and_stops
                .iter()
                .filter(|life| !self.lives.contains(life));
            told.lives
                .extend(new.map(|life| (self.name.clone(), life.clone())));
            self.lives = game.starts_and_stops.clone();
        }
        self.look_at_sessions(server, unix_ms, told);
    }

    fn look_at_sessions(&mut self, server: &ServerSnapshot, unix_ms: i64, told: &mut Told) {
        let game = &server.game_state;
        for session in &game.sessions {
            let written = self.sessions.get(&session.id).copied();
            if written.is_none() {
                let id = Some(session.id.clone());
                told.events
                    .push(self.event(session.begun_unix_ms, EventKind::SessionBegun, id, 1));
            }
            // One whose end was told does not run: a clock that was set back makes it due at once.
            let due = |last: i64| !(last..last + SESSION_EVERY_MS).contains(&unix_ms);
            if written.is_none_or(|last| last.is_some_and(due)) {
                self.sessions.insert(session.id.clone(), Some(unix_ms));
                told.sessions.push((self.name.clone(), session.clone()));
            }
        }
        if Arc::ptr_eq(&self.ended, &game.ended_sessions) {
            return;
        }
        for session in game.ended_sessions.iter() {
            if self.sessions.get(&session.id) == Some(&None) {
                continue;
            }
            let id = Some(session.id.clone());
            let at = session.ended_unix_ms.unwrap_or(unix_ms);
            told.events.push(self.event(at, EventKind::SessionEnded, id, 1));
            self.sessions.insert(session.id.clone(), None);
            told.sessions.push((self.name.clone(), session.clone()));
        }
        self.ended = game.ended_sessions.clone();
        let known = |id: &Arc<str>| {
            let mut all = game.sessions.iter().chain(game.ended_sessions.iter());
            all.any(|session| session.id == *id)
        };
        self.sessions.retain(|id, _| known(id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::session::ask::tests::a_snapshot;

    fn kinds(told: &Told) -> Vec<(EventKind, Option<&str>, u32)> {
        let events = told.events.iter();
        events
            .map(|event| (event.kind, event.word.as_deref(), event.times))
            .collect()
    }

    #[test]
    fn differences_become_events_once() {
        let mut watcher = Watcher::default();
        let mut snapshot = a_snapshot();
        let first = watcher.look(&snapshot);
        assert_eq!(first.sessions.len(), 2);
        assert!(first.transitions.is_empty() && first.lives.is_empty());
        assert_eq!(
            kinds(&first),
            [
                (EventKind::SessionBegun, Some("1-2"), 1),
                (EventKind::SessionEnded, Some("1-1"), 1)
            ]
        );
        snapshot.unix_time_seconds += 1.0;
        assert!(kinds(&watcher.look(&snapshot)).is_empty());
        let game = &mut snapshot.servers[0].game_state;
        game.counters.joins += 2;
        game.counters.inferred_leaves += 1;
        game.actions.insert("dig".into(), 7);
        game.phase = Some(Phase::Lobby);
        game.phase_since_unix_ms = Some(5);
        let told = watcher.look(&snapshot);
        assert_eq!(
            kinds(&told),
            [
                (EventKind::Join, None, 2),
                (EventKind::Leave, None, 1),
                (EventKind::Phase, Some("lobby"), 1),
                (EventKind::Action, Some("dig"), 7),
            ]
        );
        assert_eq!(told.events[2].unix_ms, 5);
        assert!(told.sessions.is_empty(), "written a second ago");
        snapshot.unix_time_seconds += 60.0;
        let told = watcher.look(&snapshot);
        assert_eq!((told.sessions.len(), told.events.len()), (1, 0));
    }

    #[test]
    fn a_session_that_ends_is_written_with_its_end() {
        let mut watcher = Watcher::default();
        let mut snapshot = a_snapshot();
        watcher.look(&snapshot);
        let game = &mut snapshot.servers[0].game_state;
        let mut session = game.sessions.remove(0);
        session.ended_unix_ms = Some(9);
        let mut ended = (*game.ended_sessions).clone();
        ended.push(session);
        game.ended_sessions = Arc::new(ended);
        let told = watcher.look(&snapshot);
        assert_eq!(kinds(&told), [(EventKind::SessionEnded, Some("1-2"), 1)]);
        assert_eq!(told.events[0].unix_ms, 9);
        assert_eq!(told.sessions[0].1.ended_unix_ms, Some(9));
        assert!(watcher.look(&snapshot).sessions.is_empty());
    }
}
