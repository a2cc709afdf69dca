//! The state machine of one server: facts in, sessions and phases out.
//!
//! Where a session begins and ends depends on the engine: one process per match, match events, occupancy (first join to
//! last leave), or rooms inside one process. `auto` begins with the process and goes by better evidence as soon as there
//! is some. Where a game states its phases, only its statements move them; elsewhere players do.
//!
//! Here is what the machine knows and in which order it takes in an interval; `lives` has processes, `sessions` sessions
//! and phases, `players` what their coming and going does to both, `clock` a clock that is set.

mod clock;
mod lives;
mod players;
mod sessions;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use super::{
    resources::{Course, Moment, Resources},
    rooms::{RoomCourse, RoomShare, RoomTotals},
    roster::{Departure, PlayerNumber, Roster},
    transitions::{Span, Transitions},
};
use crate::{
    config::SessionBounds,
    games::event::{Fact, GameEvent, Phase, Witness},
};

/// Rooms followed at once; beyond it events of new rooms are counted, not followed.
const MOST_ROOMS: usize = 1_024;
/// An event that claims to be older happened now: its clock is wrong, or it comes from long ago.
const LATEST_MS: i64 = 120_000;

/// How sessions are bounded, once it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bounds {
    /// One process, one session.
    Process,
    /// Match events.
    Match,
    /// First join to last leave.
    Occupancy,
    /// Rooms.
    Rooms,
}

/// The process behind a server, as discovery sees it now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// How often it was found with new processes.
    pub starts: u64,
    /// Is it there?
    pub up: bool,
    /// When its oldest process started.
    pub started_ms: Option<i64>,
    /// Is everything that it has used since its start part of the totals?
    pub counted_from_start: bool,
    /// When its last process ended, where that was seen at once.
    pub ended_ms: Option<i64>,
    /// Did its last process end by a fault (a signal other than the usual ones, or SIGKILL)?
    pub faulted: bool,
}

/// One interval.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// Its end and the totals then.
    pub moment: Moment,
    /// Its length by a clock that nobody sets.
    pub seconds: f64,
    /// What was said, oldest first.
    pub events: &'a [GameEvent],
    /// The process.
    pub life: Life,
    /// Remote endpoints with traffic both ways, where they stand for players.
    pub flows: Option<u32>,
    /// Does it listen on a game port?
    pub listening: bool,
}

/// One session.
#[derive(Clone, Debug)]
pub struct Session {
    /// Unique on this server.
    pub id: Arc<str>,
    /// The engine's own id, where it told one.
    pub external_id: Option<Arc<str>>,
    /// Room inside the process.
    pub room: Option<Arc<str>>,
    /// Map.
    pub map: Option<Arc<str>>,
    /// Mode.
    pub mode: Option<Arc<str>>,
    /// Beginning.
    pub begun_ms: i64,
    /// End.
    pub ended_ms: Option<i64>,
    /// Did it end by a crash?
    pub crashed: bool,
    /// So far only its map is being loaded: the match that will begin is this session.
    awaiting_match: bool,
    /// Flows or a count began it: nobody was named then.
    nameless: bool,
    /// Totals of the server at the beginning.
    start: Resources,
    /// For rooms: what the room had been given at the beginning.
    room_start: RoomTotals,
    /// For an ended session: what it used.
    pub used: Option<Resources>,
    /// For an ended session of a room: what it was given.
    pub room_used: Option<RoomShare>,
    /// Largest resident memory of the server while it ran.
    pub peak_rss_bytes: Option<u64>,
    /// Players who came.
    pub joins: u64,
    /// Players who left.
    pub leaves: u64,
    /// Most at once.
    pub players_peak: u32,
    /// How long it was in each phase so far, milliseconds.
    pub phase_ms: BTreeMap<Phase, i64>,
}

/// A server, or one room of it: its phase, and its session if there is one.
#[derive(Debug)]
pub struct Track {
    /// Phase now.
    pub phase: Phase,
    /// Since when.
    pub phase_since_ms: i64,
    /// Does the game state its phases?
    stated: bool,
    /// Session at hand.
    pub session: Option<Session>,
    /// What changes of phase cost.
    pub transitions: Transitions,
    heard_ms: i64,
    had_match: bool,
    /// No session of it may begin before: one was under way.
    free_since_ms: i64,
    /// What its room had been given when its last session ended.
    given: RoomTotals,
    /// Does the game itself tell when matches begin and end, so that nobody needs to guess it from answers to queries?
    tells_matches: bool,
}

impl Track {
    fn new(at_ms: i64) -> Self {
        Self {
            phase: Phase::Idle,
            phase_since_ms: at_ms,
            stated: false,
            session: None,
            transitions: Transitions::default(),
            heard_ms: at_ms,
            had_match: false,
            free_since_ms: i64::MIN,
            given: RoomTotals::default(),
            tells_matches: false,
        }
    }
}

/// What did not fit, since start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MachineCounters {
    /// Steps that cannot be meant, refused.
    pub illegal_steps: u64,
    /// Steps that were never told and had to be put in.
    pub missing_steps: u64,
    /// Sessions begun.
    pub sessions: u64,
    /// Sessions that ended by a crash.
    pub crashes: u64,
    /// Events of rooms beyond the bound.
    pub rooms_refused: u64,
    /// Events taken.
    pub events: u64,
}

/// A statement of the game about itself that overrides what is measured from outside.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StatedTick {
    /// Ticks per second.
    pub rate_hz: Option<f64>,
    /// Busy time of a tick.
    pub time_ns: Option<f64>,
    /// When.
    pub at_ms: i64,
}

/// A player who has left, and the session that was on.
#[derive(Clone, Debug)]
pub struct Departed {
    /// Who.
    pub who: Departure,
    /// Session.
    pub session: Option<Arc<str>>,
}

/// The machine of one server.
#[derive(Debug)]
pub struct Machine {
    wanted: SessionBounds,
    bounds: Bounds,
    /// The server as a whole.
    pub track: Track,
    /// Its rooms.
    pub rooms: BTreeMap<Arc<str>, Track>,
    /// What rooms have been given; threads may carry the name of a room that nobody has spoken of yet.
    pub room_courses: BTreeMap<Arc<str>, RoomCourse>,
    /// Sessions that have ended, oldest first.
    pub ended: VecDeque<Session>,
    /// Players who have left, oldest first.
    pub departed: VecDeque<Departed>,
    /// Players.
    pub roster: Roster,
    /// Who joined and who left in the last step.
    pub changes: Vec<(PlayerNumber, bool)>,
    /// Totals over the last minutes.
    pub course: Course,
    /// What did not fit.
    pub counters: MachineCounters,
    /// What the game says of its own tick.
    pub stated_tick: Option<StatedTick>,
    /// How often the game said that it was behind, and by how much in all.
    pub behind: (u64, u64),
    /// Actions told, by name.
    pub actions: BTreeMap<Arc<str>, u64>,
    starts: u64,
    up: bool,
    stopping: bool,
    crashing: bool,
    warming: Option<WarmUp>,
    last_leave: Option<Span>,
    /// When the process ended whose rooms these were: those of the next one begin later.
    rooms_gone_ms: i64,
    interval_began_ms: i64,
    last_ms: Option<i64>,
    ready_before_found_ms: Option<i64>,
    occupied: bool,
    named: u64,
    flows: Option<u32>,
    listening_since_ms: Option<i64>,
}

/// A process that is not ready yet.
#[derive(Clone, Debug)]
enum WarmUp {
    /// All that it has used is known.
    Counted(Box<Span>),
    /// It had begun before it was found.
    Begun,
}

/// Different actions counted by name at most.
const MOST_ACTIONS: usize = 64;
/// What actions beyond them are counted as.
const OTHER_ACTIONS: &str = "other";

impl Machine {
    /// Nothing is known yet.
    pub fn new(wanted: SessionBounds, now_ms: i64) -> Self {
        Self {
            wanted,
            bounds: match wanted {
                SessionBounds::Auto | SessionBounds::Process => Bounds::Process,
                SessionBounds::Match => Bounds::Match,
                SessionBounds::Occupancy => Bounds::Occupancy,
                SessionBounds::Rooms => Bounds::Rooms,
            },
            track: Track::new(now_ms),
            rooms: BTreeMap::new(),
            room_courses: BTreeMap::new(),
            rooms_gone_ms: i64::MIN,
            interval_began_ms: i64::MIN,
            last_ms: None,
            ready_before_found_ms: None,
            ended: VecDeque::new(),
            departed: VecDeque::new(),
            roster: Roster::default(),
            changes: Vec::new(),
            course: Course::default(),
            counters: MachineCounters::default(),
            stated_tick: None,
            behind: (0, 0),
            actions: BTreeMap::new(),
            starts: 0,
            up: false,
            stopping: false,
            crashing: false,
            warming: None,
            last_leave: None,
            occupied: false,
            named: 0,
            flows: None,
            listening_since_ms: None,
        }
    }

    /// How sessions are bounded now.
    pub fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// Takes in one interval.
    pub fn advance(&mut self, step: &Step<'_>) {
        let now_ms = step.moment.unix_ms;
        self.changes.clear();
        self.keep_time(now_ms, step.seconds);
        self.sample(&step.moment);
        self.process(step, now_ms);
        self.flows = step.flows;
        self.serve(step, now_ms);
        for event in step.events {
            self.counters.events += 1;
            // An event of the future is one of now: the game's clock is ahead.
            let old = now_ms.saturating_sub(event.unix_ms) > LATEST_MS;
            self.hear(event, if old { now_ms } else { event.unix_ms.min(now_ms) });
        }
        if !step.life.up && self.up {
            let ended_ms = step.life.ended_ms.unwrap_or(now_ms).min(now_ms);
            self.gone(&step.life, ended_ms.max(self.track.phase_since_ms));
        }
        let tidied = self.roster.tidy(now_ms);
        self.apply(tidied, now_ms);
        self.infer(now_ms);
        self.occupy(now_ms);
        self.forget_rooms(now_ms);
        self.note_players();
        self.track.transitions.settle(now_ms, &self.course);
    }

    /// Adds totals at a moment, at the end of an interval or in the middle of one.
    pub fn sample(&mut self, moment: &Moment) {
        self.course.push(*moment);
        if let Some(WarmUp::Counted(span)) = &mut self.warming {
            span.note(moment);
        }
        if let Some(span) = &mut self.last_leave {
            span.note(moment);
        }
        let rooms = self.rooms.values_mut().filter_map(|track| track.session.as_mut());
        for session in self.track.session.iter_mut().chain(rooms) {
            session.peak_rss_bytes = session
                .peak_rss_bytes
                .max(moment.rss_bytes)
                .max(moment.peak_rss_bytes);
        }
    }

    fn hear(&mut self, event: &GameEvent, at_ms: i64) {
        let room = event.room.as_ref();
        if let Some(room) = room {
            if !self.rooms.contains_key(room) {
                if self.rooms.len() >= MOST_ROOMS {
                    self.counters.rooms_refused += 1;
                    return;
                }
                let mut track = Track::new(at_ms);
                track.free_since_ms = self.rooms_gone_ms;
                self.rooms.insert(room.clone(), track);
            }
            if self.wanted == SessionBounds::Auto && self.bounds != Bounds::Rooms {
                self.become_bounded_by(Bounds::Rooms, at_ms);
            }
        }
        let track = self.track_mut(room);
        track.heard_ms = at_ms;
        if matches!(event.fact, Fact::MatchBegun { .. } | Fact::MatchEnded { .. }) {
            if event.witness != Witness::Query {
                track.tells_matches = true;
            } else if track.tells_matches {
                // The map change that it noticed is the one that has been told, or is about to be.
                return;
            }
        }
        match &event.fact {
            Fact::ServerStarting => self.starting(at_ms),
            Fact::ServerReady => self.ready(at_ms),
            Fact::ServerStopping => self.stopping = true,
            Fact::MatchBegun { map, mode, id } => self.match_begun(room, at_ms, [map, mode, id]),
            Fact::Phase(phase) => self.phase_stated(room, *phase, at_ms),
            Fact::MatchEnded { .. } => self.match_ended(room, at_ms),
            Fact::PlayerConnecting(who) => {
                let changes = self.roster.connecting(who, at_ms);
                self.apply(changes, at_ms);
            }
            Fact::PlayerKnown(who) => {
                let changes = self.roster.known(who, at_ms);
                self.apply(changes, at_ms);
            }
            Fact::PlayerJoined(who) => {
                self.ready(at_ms);
                let changes = self.roster.joined(who, room, at_ms);
                self.apply(changes, at_ms);
            }
            Fact::PlayerLeft { player, reason } => {
                let changes = self.roster.left(player, reason.as_ref(), at_ms);
                self.apply(changes, at_ms);
            }
            Fact::Roster(list) => {
                let changes = self.roster.complete(list, event.witness, at_ms);
                self.apply(changes, at_ms);
            }
            Fact::PlayerCount(count) => {
                self.roster.counted(*count, event.witness, at_ms);
                if event.witness == Witness::Query {
                    self.ready(at_ms);
                }
            }
            Fact::PlayerAction { action, .. } => self.action(action),
            Fact::Tick { rate_hz, time_ns } => {
                self.stated_tick = Some(StatedTick {
                    rate_hz: *rate_hz,
                    time_ns: *time_ns,
                    at_ms,
                });
            }
            Fact::Behind { milliseconds } => {
                self.behind.0 += 1;
                self.behind.1 = self.behind.1.saturating_add(*milliseconds);
            }
        }
        self.occupy(at_ms);
    }

    fn action(&mut self, action: &Arc<str>) {
        if let Some(count) = self.actions.get_mut(action) {
            *count += 1;
            return;
        }
        // Whoever pushes chooses the names; those beyond the bound are counted together.
        let name = match self.actions.len() < MOST_ACTIONS {
            true => action.clone(),
            false => OTHER_ACTIONS.into(),
        };
        *self.actions.entry(name).or_default() += 1;
    }
}

#[cfg(test)]
#[path = "machine_properties.rs"]
mod properties;
#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
