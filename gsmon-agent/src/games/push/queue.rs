//! The way of pushed events from the receiving end to the understanding end: bounded in events and bytes, a request
//! whole or not at all, in the order of acceptance. Everything refused is counted.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use super::{
    book::{ServerBook, Stray},
    parse::Pushed,
    read::{Place, Problems, quote},
};
use crate::games::{
    bell::{Bell, matters},
    event::{Fact, GameEvent, PlayerRef},
};

/// How much may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueLimits {
    /// Events.
    pub events: usize,
    /// Bytes that the events take in memory, about. At least [`super::MOST_BYTES`] of JSON fits into sixteen times that.
    pub bytes: usize,
}

impl Default for QueueLimits {
    fn default() -> Self {
        Self {
            events: 65_536,
            bytes: 16 << 20,
        }
    }
}

/// Why a request was not taken.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Servers that are neither configured nor discovered.
    #[error("there is no such server: {0}")]
    UnknownServer(Problems),
    /// Sessions that no push has started, or that are over.
    #[error("there is no such session: {0}")]
    UnknownSession(Problems),
    /// What is waiting has to be taken first; the same request may be sent again.
    #[error("{waiting} events wait already: send this again in a moment")]
    Full {
        /// How many wait.
        waiting: usize,
    },
    /// Nobody takes events.
    #[error("this agent does not take events")]
    Closed,
}

/// Reasons for which requests are refused, for counting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RefusedFor {
    /// Not JSON, or not what the schema says.
    Invalid,
    /// Too many bytes or events.
    TooLarge,
    /// The sender took too long.
    TooSlow,
    /// Not `application/json`.
    MediaType,
    /// No token, or not a known one.
    Unauthorized,
    /// The token is for other servers.
    Forbidden,
    /// No such server.
    UnknownServer,
    /// No such session.
    UnknownSession,
    /// Too much waits or is being received.
    Busy,
    /// Nobody takes events.
    Closed,
}

impl RefusedFor {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Invalid,
        Self::TooLarge,
        Self::TooSlow,
        Self::MediaType,
        Self::Unauthorized,
        Self::Forbidden,
        Self::UnknownServer,
        Self::UnknownSession,
        Self::Busy,
        Self::Closed,
    ];

    /// Name in answers and labels.
    pub fn name(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::TooLarge => "too_large",
            Self::TooSlow => "too_slow",
            Self::MediaType => "media_type",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::UnknownServer => "unknown_server",
            Self::UnknownSession => "unknown_session",
            Self::Busy => "busy",
            Self::Closed => "closed",
        }
    }
}

impl Refused {
    /// The reason, for counting.
    pub fn reason(&self) -> RefusedFor {
        match self {
            Self::UnknownServer(_) => RefusedFor::UnknownServer,
            Self::UnknownSession(_) => RefusedFor::UnknownSession,
            Self::Full { .. } => RefusedFor::Busy,
            Self::Closed => RefusedFor::Closed,
        }
    }
}

/// What has come of pushes since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PushCounts {
    /// Events taken.
    pub accepted_events: u64,
    /// Events of well-formed requests that were turned away since too much waited. Their sender was told to try again.
    pub dropped_events: u64,
    /// Requests refused, by reason.
    pub refused_requests: Vec<(RefusedFor, u64)>,
    /// Events that wait right now.
    pub waiting_events: u64,
}

#[derive(Default)]
struct Shared {
    limits: QueueLimits,
    state: Mutex<State>,
    closed: AtomicBool,
    accepted: AtomicU64,
    dropped: AtomicU64,
    bell: Bell,
    refused: [AtomicU64; RefusedFor::ALL.len()],
}

#[derive(Default)]
struct State {
    servers: HashSet<Arc<str>>,
    books: HashMap<Arc<str>, ServerBook>,
    requests: VecDeque<Vec<GameEvent>>,
    events: usize,
    bytes: usize,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_servers<'a>(&self, names: impl IntoIterator<Item = &'a str>) {
        let mut state = self.state();
        let state = &mut *state;
        let old = std::mem::take(&mut state.servers);
        state.servers = names
            .into_iter()
            .map(|name| old.get(name).cloned().unwrap_or_else(|| name.into()))
            .collect();
        state.books.retain(|name, _| state.servers.contains(name));
    }
}

/// Makes a queue: the sending end may be cloned, the receiving end is one.
pub fn channel(limits: QueueLimits) -> (PushSink, PushQueue) {
    channel_with_bell(limits, Bell::default())
}

/// The same, with a bell that is rung for events whose moment matters.
pub fn channel_with_bell(limits: QueueLimits, bell: Bell) -> (PushSink, PushQueue) {
    let shared = Arc::new(Shared {
        limits,
        bell,
        ..Shared::default()
    });
    (PushSink(shared.clone()), PushQueue(shared))
}

/// The end that receives requests.
#[derive(Clone)]
pub struct PushSink(Arc<Shared>);

/// The end that understands events. When it is dropped, requests are refused as [`Refused::Closed`].
pub struct PushQueue(Arc<Shared>);

impl PushSink {
    /// Replaces the names of the servers for which events are taken.
    pub fn set_servers<'a>(&self, names: impl IntoIterator<Item = &'a str>) {
        self.0.set_servers(names);
    }

    /// Takes a request whole, or says why not. Either way it is counted.
    pub fn offer(&self, request: Vec<Pushed>) -> Result<usize, Refused> {
        let count = request.len();
        let outcome = self.try_offer(request);
        match &outcome {
            Ok(_) => {
                self.0.accepted.fetch_add(count as u64, Ordering::Relaxed);
            }
            Err(refused) => {
                if matches!(refused, Refused::Full { .. }) {
                    self.0.dropped.fetch_add(count as u64, Ordering::Relaxed);
                }
                self.refuse(refused.reason());
            }
        }
        outcome
    }

    /// Counts a request that was refused before it could be offered.
    pub fn refuse(&self, reason: RefusedFor) {
        self.0.refused[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// What has come of pushes so far.
    pub fn counts(&self) -> PushCounts {
        counts(&self.0)
    }

    fn try_offer(&self, mut request: Vec<Pushed>) -> Result<usize, Refused> {
        if self.0.closed.load(Ordering::Acquire) {
            return Err(Refused::Closed);
        }
        let bytes: usize = request.iter().map(|pushed| weight(&pushed.event)).sum();
        let mut state = self.0.state();
        find_servers(&state.servers, &mut request)?;
        let books = find_sessions(&state.books, &mut request)?;
        if state.events + request.len() > self.0.limits.events
            || state.bytes.saturating_add(bytes) > self.0.limits.bytes
        {
            return Err(Refused::Full {
                waiting: state.events,
            });
        }
        // From here on nothing fails.
        let count = request.len();
        state.books.extend(books);
        if count > 0 {
            state.events += count;
            state.bytes += bytes;
            let events: Vec<GameEvent> = request.into_iter().map(|pushed| pushed.event).collect();
            let rings = events.iter().any(|event| matters(&event.fact));
            state.requests.push_back(events);
            drop(state);
            if rings {
                self.0.bell.ring();
            }
        }
        Ok(count)
    }
}

impl PushQueue {
    /// Takes everything that waits, in the order of acceptance. Never blocks for longer than a request takes to be
    /// put in.
    pub fn drain(&self) -> Drain {
        let mut state = self.0.state();
        state.events = 0;
        state.bytes = 0;
        Drain {
            requests: std::mem::take(&mut state.requests),
            current: Vec::new().into_iter(),
        }
    }

    /// Replaces the names of the servers for which events are taken.
    pub fn set_servers<'a>(&self, names: impl IntoIterator<Item = &'a str>) {
        self.0.set_servers(names);
    }

    /// What has come of pushes so far.
    pub fn counts(&self) -> PushCounts {
        counts(&self.0)
    }
}

impl Drop for PushQueue {
    fn drop(&mut self) {
        self.0.closed.store(true, Ordering::Release);
    }
}

impl fmt::Debug for PushSink {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        out.debug_struct("PushSink").finish_non_exhaustive()
    }
}

impl fmt::Debug for PushQueue {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        out.debug_struct("PushQueue").finish_non_exhaustive()
    }
}

/// Events taken off the queue.
#[derive(Debug)]
pub struct Drain {
    requests: VecDeque<Vec<GameEvent>>,
    current: std::vec::IntoIter<GameEvent>,
}

impl Iterator for Drain {
    type Item = GameEvent;

    fn next(&mut self) -> Option<GameEvent> {
        loop {
            if let Some(event) = self.current.next() {
                return Some(event);
            }
            self.current = self.requests.pop_front()?.into_iter();
        }
    }
}

fn counts(shared: &Shared) -> PushCounts {
    PushCounts {
        accepted_events: shared.accepted.load(Ordering::Relaxed),
        dropped_events: shared.dropped.load(Ordering::Relaxed),
        refused_requests: RefusedFor::ALL
            .iter()
            .map(|reason| (*reason, shared.refused[*reason as usize].load(Ordering::Relaxed)))
            .collect(),
        waiting_events: shared.state().events as u64,
    }
}

/// Names the place of a field of an event.
fn at(pushed: &Pushed, field: &str, say: impl FnOnce(&Place)) {
    let document = Place::DOCUMENT;
    match pushed.index {
        Some(index) => say(&document.element(index).field(field)),
        None => say(&document.field(field)),
    }
}

/// Checks the servers, and lets all events of one share its name's memory.
fn find_servers(known: &HashSet<Arc<str>>, request: &mut [Pushed]) -> Result<(), Refused> {
    let mut problems = Problems::default();
    for pushed in request {
        match known.get(&pushed.event.server) {
            Some(name) => pushed.event.server = name.clone(),
            None => at(pushed, "server", |place| {
                let expected = "the name of a server that is configured";
                problems.add(place, expected, quote(&pushed.event.server));
            }),
        }
    }
    if problems.is_empty() {
        Ok(())
    } else {
        Err(Refused::UnknownServer(problems))
    }
}

/// Works on copies, so that a refused request leaves no trace.
fn find_sessions(
    books: &HashMap<Arc<str>, ServerBook>,
    request: &mut [Pushed],
) -> Result<HashMap<Arc<str>, ServerBook>, Refused> {
    let mut changed: HashMap<Arc<str>, ServerBook> = HashMap::new();
    let mut problems = Problems::default();
    for pushed in request.iter_mut().filter(|pushed| ServerBook::concerns(pushed)) {
        let server = &pushed.event.server;
        let book = changed
            .entry(server.clone())
            .or_insert_with(|| books.get(server).cloned().unwrap_or_default());
        let Err(stray) = book.take(pushed) else {
            continue;
        };
        match stray {
            Stray::NoSuchSession => at(pushed, "session", |place| {
                let expected = "a session that session_started has opened and nothing has ended (start it again, then repeat this)";
                let found = quote(pushed.session.as_deref().unwrap_or_default());
                problems.add(place, expected, found);
            }),
            Stray::OtherRoom(room) => at(pushed, "room", |place| {
                let expected = match room {
                    Some(room) => format!("the session's room, {}", quote(&room)),
                    None => "no room: the session was started without one".into(),
                };
                problems.add(
                    place,
                    expected,
                    quote(pushed.event.room.as_deref().unwrap_or_default()),
                );
            }),
        }
    }
    if problems.is_empty() {
        Ok(changed)
    } else {
        Err(Refused::UnknownSession(problems))
    }
}

/// Bytes of an event in memory, about.
fn weight(event: &GameEvent) -> usize {
    // Two counters stand in front of every shared string.
    let text = |text: &Option<Arc<str>>| text.as_ref().map_or(0, |text| text.len() + 16);
    let player = |player: &PlayerRef| text(&player.platform_id) + text(&player.name);
    let fact = match &event.fact {
        Fact::MatchBegun { map, mode, id } => text(map) + text(mode) + text(id),
        Fact::MatchEnded { reason } => text(reason),
        Fact::PlayerConnecting(who) | Fact::PlayerKnown(who) | Fact::PlayerJoined(who) => player(who),
        Fact::PlayerLeft { player: who, reason } => player(who) + text(reason),
        Fact::Roster(players) => players
            .iter()
            .map(|who| size_of::<PlayerRef>() + player(who))
            .sum(),
        Fact::PlayerAction { player: who, action } => who.as_ref().map_or(0, player) + action.len() + 16,
        Fact::ServerStarting
        | Fact::ServerReady
        | Fact::ServerStopping
        | Fact::Phase(_)
        | Fact::PlayerCount(_)
        | Fact::Tick { .. }
        | Fact::Behind { .. } => 0,
    };
    size_of::<GameEvent>() + text(&event.room) + fact
}
