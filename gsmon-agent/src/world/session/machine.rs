//! The state machine of one server: facts in, sessions and phases out.
//!
//! Where a session begins and ends depends on the engine: one process per match, match events, occupancy (first join to
//! last leave), or rooms inside one process. `auto` begins with the process and goes by better evidence as soon as there
//! is some. Where a game states its phases, only its statements move them; elsewhere players do.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use super::{
    phase,
    resources::{Course, Moment, Resources},
    rooms::{Edge, RoomCourse, RoomShare, RoomTotals},
    roster::{Change, Departure, PlayerNumber, Roster},
    transitions::{LifeKind, Span, Transitions},
};
use crate::{
    config::SessionBounds,
    games::event::{Fact, GameEvent, Phase, Witness},
};

/// Ended sessions and departed players kept per server.
const KEPT_SESSIONS: usize = 64;
const KEPT_DEPARTURES: usize = 256;
/// Rooms followed at once; beyond it events of new rooms are counted, not followed.
const MOST_ROOMS: usize = 1_024;
/// A room without players and words for so long is forgotten.
const ROOM_SILENCE_MS: i64 = 600_000;
/// After a match began, players are taken to play once so much time has passed without a stated phase.
const LOADING_MS: i64 = 2_000;
/// Players may take so long to log in: their flows are there, and the game does not name them yet.
const LOGIN_MS: i64 = 60_000;
/// A server that listens for so long without a word of being ready is taken to have been ready all the time.
const SILENT_READY_MS: i64 = 10_000;
/// A process younger than this when it is found still loads, unless it says otherwise.
const YOUNG_MS: i64 = 30_000;
/// An event that claims to be older happened now: its clock is wrong, or it comes from long ago.
const LATEST_MS: i64 = 120_000;
/// A clock that differs so much from what has passed has been set.
const CLOCK_SET_MS: i64 = 2_000;

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

    /// A clock that has been set, forwards or back (or that went on while the host slept), moves all that is known with
    /// it: what happened ten seconds ago still did.
    fn keep_time(&mut self, now_ms: i64, seconds: f64) {
        let Some(last_ms) = self.last_ms.replace(now_ms) else {
            return;
        };
        self.interval_began_ms = last_ms;
        let off_ms = now_ms
            .saturating_sub(last_ms)
            .saturating_sub((seconds * 1e3) as i64);
        if now_ms >= last_ms && off_ms.saturating_abs() < CLOCK_SET_MS {
            return;
        }
        let later = |ms: &mut i64| *ms = ms.saturating_add(off_ms);
        self.course.shift(off_ms);
        later(&mut self.rooms_gone_ms);
        later(&mut self.interval_began_ms);
        self.roster.shift(off_ms);
        self.room_courses
            .values_mut()
            .for_each(|course| course.shift(off_ms));
        for track in self.rooms.values_mut().chain([&mut self.track]) {
            later(&mut track.phase_since_ms);
            later(&mut track.heard_ms);
            later(&mut track.free_since_ms);
            track.transitions.shift(off_ms);
            if let Some(session) = &mut track.session {
                later(&mut session.begun_ms);
            }
        }
        if let Some(WarmUp::Counted(span)) = &mut self.warming {
            span.shift(off_ms);
        }
        if let Some(span) = &mut self.last_leave {
            span.shift(off_ms);
        }
        if let Some(stated) = &mut self.stated_tick {
            later(&mut stated.at_ms);
        }
        let times = [&mut self.listening_since_ms, &mut self.ready_before_found_ms];
        times.into_iter().flatten().for_each(later);
    }

    /// A process that is new.
    fn process(&mut self, step: &Step<'_>, now_ms: i64) {
        let life = &step.life;
        if !life.up || life.starts == self.starts {
            return;
        }
        let started_ms = life.started_ms.unwrap_or(now_ms).min(now_ms);
        let replaced = self.up;
        if replaced {
            // Between two looks.
            self.gone(life, started_ms.max(self.track.phase_since_ms));
        }
        self.starts = life.starts;
        self.up = true;
        self.stopping = false;
        self.stated_tick = None;
        self.warming = None;
        self.track.phase = Phase::Idle;
        if life.counted_from_start {
            // It was not followed before this interval: what was used until then is its predecessor's.
            let from_ms = started_ms.max(self.interval_began_ms);
            if !replaced {
                self.course.begin_at(from_ms);
            }
            let mut span = Span::counted_from(started_ms, from_ms, &self.course);
            span.note(&step.moment);
            self.warming = Some(WarmUp::Counted(Box::new(span)));
        } else if now_ms - started_ms <= YOUNG_MS {
            self.warming = Some(WarmUp::Begun);
        }
        if self.warming.is_some() {
            self.track.phase = Phase::Loading;
        }
        self.track.phase_since_ms = started_ms;
        self.track.stated = false;
        self.track.had_match = false;
        self.track.tells_matches = false;
        if self.bounds == Bounds::Process {
            self.begin(None, started_ms, None);
        }
        if let Some(ready_ms) = self.ready_before_found_ms.take().filter(|ms| *ms >= started_ms) {
            self.ready(ready_ms);
        }
    }

    /// A server that nobody says is ready: it is when somebody plays, or when it has listened for a while in silence.
    fn serve(&mut self, step: &Step<'_>, now_ms: i64) {
        if !step.listening || !step.life.up {
            self.listening_since_ms = None;
            return;
        }
        let since_ms = *self.listening_since_ms.get_or_insert(now_ms);
        if self.warming.is_none() {
            return;
        }
        if step.flows.is_some_and(|flows| flows > 0) {
            self.ready(now_ms);
        } else if now_ms - since_ms >= SILENT_READY_MS && !self.track.stated {
            self.ready(since_ms);
        }
    }

    /// A process that has ended.
    fn gone(&mut self, life: &Life, now_ms: i64) {
        self.up = false;
        let crashed = life.faulted && !self.stopping;
        if let Some(span) = self.last_leave.take() {
            self.track
                .transitions
                .life(LifeKind::CoolDown, &span, now_ms, &self.course);
        }
        self.warming = None;
        // Whoever leaves now does so because of it, and so does a session that they bound.
        self.crashing = crashed;
        let left = self.roster.clear(now_ms, None);
        self.apply(left, now_ms);
        self.crashing = false;
        self.last_leave = None;
        let names: Vec<Arc<str>> = self.rooms.keys().cloned().collect();
        for room in names {
            self.end(Some(&room), now_ms, crashed);
        }
        let last_ms = self.rooms.values().map(|track| track.free_since_ms).max();
        self.rooms_gone_ms = self.rooms_gone_ms.max(last_ms.unwrap_or(now_ms)).max(now_ms);
        self.rooms.clear();
        let last = if crashed { Phase::Crashed } else { Phase::Idle };
        self.set_phase(None, last, now_ms);
        self.end(None, now_ms, crashed);
        self.occupied = false;
        if self.wanted == SessionBounds::Auto {
            self.bounds = Bounds::Process;
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

    fn starting(&mut self, at_ms: i64) {
        self.stopping = false;
        self.set_phase(None, Phase::Loading, at_ms);
    }

    fn ready(&mut self, at_ms: i64) {
        if !self.up {
            // It spoke before it was found.
            self.ready_before_found_ms = Some(at_ms);
        }
        if let Some(WarmUp::Counted(span)) = &self.warming
            && at_ms < span.since_ms
        {
            // A late word of its predecessor.
            return;
        }
        if let Some(warm_up) = self.warming.take() {
            if let WarmUp::Counted(span) = warm_up {
                self.track
                    .transitions
                    .life(LifeKind::WarmUp, &span, at_ms, &self.course);
            }
            if self.track.phase == Phase::Loading && !self.track.stated {
                self.set_phase(None, Phase::Idle, at_ms);
            }
        }
    }

    fn match_begun(&mut self, room: Option<&Arc<str>>, at_ms: i64, told: [&Option<Arc<str>>; 3]) {
        let [map, mode, id] = told;
        self.match_witnessed(room, at_ms);
        let track = self.track_mut(room);
        let running = track.session.is_some() && track.had_match;
        if running
            && !matches!(
                track.phase,
                Phase::Ended | Phase::Idle | Phase::Loading | Phase::Lobby
            )
        {
            self.counters.missing_steps += 1;
        }
        let track = self.track_mut(room);
        let awaited = track.phase == Phase::Loading
            && track
                .session
                .as_ref()
                .is_some_and(|session| session.awaiting_match);
        if !awaited {
            self.end(room, at_ms, false);
        }
        if room.is_none() {
            self.roster.match_begun(at_ms);
        }
        self.set_phase(room, Phase::Loading, at_ms);
        if !awaited {
            self.begin(room, at_ms, None);
        }
        let track = self.track_mut(room);
        track.had_match = true;
        if let Some(session) = &mut track.session {
            session.awaiting_match = false;
            session.external_id.clone_from(id);
            session.map.clone_from(map);
            session.mode.clone_from(mode);
        }
    }

    fn match_ended(&mut self, room: Option<&Arc<str>>, at_ms: i64) {
        self.match_witnessed(room, at_ms);
        let track = self.track_mut(room);
        track.had_match = true;
        if track.phase != Phase::Ended {
            self.set_phase(room, Phase::Ended, at_ms);
        }
        self.end(room, at_ms, false);
    }

    fn phase_stated(&mut self, room: Option<&Arc<str>>, to: Phase, at_ms: i64) {
        if matches!(to, Phase::Lobby | Phase::Active | Phase::Ended) {
            self.match_witnessed(room, at_ms);
        }
        let track = self.track_mut(room);
        track.stated = true;
        let again = track.phase == Phase::Ended && matches!(to, Phase::Active | Phase::Lobby);
        let match_bound = self.match_bound(room);
        if match_bound && again && self.track_mut(room).session.is_some() {
            // The next round of the same map: its beginning was not told.
            self.counters.missing_steps += 1;
            let kept = self
                .track_mut(room)
                .session
                .as_ref()
                .map(|session| (session.map.clone(), session.mode.clone()));
            self.end(room, at_ms, false);
            self.begin(room, at_ms, None);
            if let (Some(session), Some((map, mode))) = (&mut self.track_mut(room).session, kept) {
                (session.map, session.mode) = (map, mode);
            }
        } else if match_bound && self.track_mut(room).session.is_none() && to != Phase::Idle {
            self.begin(room, at_ms, None);
            if let Some(session) = &mut self.track_mut(room).session {
                session.awaiting_match = to == Phase::Loading;
            }
        }
        self.set_phase(room, to, at_ms);
    }

    /// The game tells matches: sessions go by them from now on.
    fn match_witnessed(&mut self, room: Option<&Arc<str>>, at_ms: i64) {
        let better = matches!(self.bounds, Bounds::Process | Bounds::Occupancy);
        if room.is_none() && self.wanted == SessionBounds::Auto && better {
            self.become_bounded_by(Bounds::Match, at_ms);
        }
    }

    fn match_bound(&self, room: Option<&Arc<str>>) -> bool {
        room.is_some() || self.bounds == Bounds::Match
    }

    fn become_bounded_by(&mut self, bounds: Bounds, at_ms: i64) {
        // What began for lack of better knowledge and saw nobody was no session.
        if self
            .track
            .session
            .as_ref()
            .is_some_and(|session| session.joins == 0)
        {
            self.track.session = None;
            self.counters.sessions -= 1;
        }
        self.end(None, at_ms, false);
        self.bounds = bounds;
    }

    fn track_mut(&mut self, room: Option<&Arc<str>>) -> &mut Track {
        match room {
            None => &mut self.track,
            Some(room) => self.rooms.get_mut(room).unwrap_or(&mut self.track),
        }
    }

    fn begin(&mut self, room: Option<&Arc<str>>, at_ms: i64, external_id: Option<Arc<str>>) {
        self.end(room, at_ms, false);
        let at_ms = at_ms.max(self.track_mut(room).free_since_ms);
        self.track_mut(room).free_since_ms = at_ms;
        self.named += 1;
        self.counters.sessions += 1;
        let session = Session {
            id: format!("{}-{}", at_ms.div_euclid(1_000), self.named).into(),
            external_id,
            room: room.cloned(),
            map: None,
            mode: None,
            begun_ms: at_ms,
            ended_ms: None,
            crashed: false,
            awaiting_match: false,
            nameless: !self.roster.speaks,
            start: self.course.at(at_ms),
            room_start: self
                .room_totals(room, at_ms, Edge::Begin)
                .after(&self.track_mut(room).given),
            used: None,
            room_used: None,
            peak_rss_bytes: None,
            joins: 0,
            leaves: 0,
            players_peak: self.present(room),
            phase_ms: BTreeMap::new(),
        };
        self.track_mut(room).session = Some(session);
    }

    fn end(&mut self, room: Option<&Arc<str>>, at_ms: i64, crashed: bool) {
        let track = self.track_mut(room);
        let (phase, since_ms) = (track.phase, track.phase_since_ms);
        let Some(mut session) = track.session.take() else {
            return;
        };
        if at_ms <= session.begun_ms && session.joins == 0 && !crashed {
            // Begun by what is known better in the same moment (flows, then names): it never was.
            self.counters.sessions -= 1;
            return;
        }
        let at_ms = at_ms.max(session.begun_ms);
        *session.phase_ms.entry(phase).or_default() += (at_ms - since_ms.max(session.begun_ms)).max(0);
        session.ended_ms = Some(at_ms);
        session.crashed = crashed;
        track.free_since_ms = at_ms;
        if room.is_some() {
            let given = self.room_totals(room, at_ms, Edge::End);
            session.room_used = Some(given.since(&session.room_start));
            self.track_mut(room).given = given;
        }
        session.used = Some(match session.room_used {
            Some(share) => share.used,
            None => self.course.at(at_ms).since(&session.start),
        });
        self.counters.crashes += u64::from(crashed);
        if self.ended.len() == KEPT_SESSIONS {
            self.ended.pop_front();
        }
        self.ended.push_back(session);
    }

    fn room_totals(&self, room: Option<&Arc<str>>, at_ms: i64, edge: Edge) -> RoomTotals {
        room.and_then(|room| self.room_courses.get(room))
            .map(|course| course.at(at_ms, edge))
            .unwrap_or_default()
    }

    /// What a session has used.
    pub fn used_so_far(&self, session: &Session, now_ms: i64) -> Resources {
        match (&session.used, self.room_share(session)) {
            (Some(used), _) => *used,
            (None, Some(share)) => share.used,
            (None, None) => self.course.at(now_ms).since(&session.start),
        }
    }

    /// What a session of a room has been given.
    pub fn room_share(&self, session: &Session) -> Option<RoomShare> {
        session.room_used.or_else(|| {
            let course = self.room_courses.get(session.room.as_ref()?)?;
            Some(course.totals().since(&session.room_start))
        })
    }

    fn set_phase(&mut self, room: Option<&Arc<str>>, to: Phase, at_ms: i64) {
        let course = std::mem::take(&mut self.course);
        let track = match room {
            None => &mut self.track,
            Some(room) => match self.rooms.get_mut(room) {
                Some(track) => track,
                None => {
                    self.course = course;
                    return;
                }
            },
        };
        let from = track.phase;
        let at_ms = at_ms.max(track.phase_since_ms);
        let steps: &[Phase] = match phase::judge(from, to) {
            phase::Step::Same => &[],
            phase::Step::Usual => &[to],
            phase::Step::Missing(between) => {
                self.counters.missing_steps += 1;
                &[between, to]
            }
            // A crashed server that is up again is a new one: `process` has said so.
            phase::Step::Illegal => {
                self.counters.illegal_steps += 1;
                &[]
            }
        };
        for to in steps {
            let from = track.phase;
            let id = track.session.as_ref().map(|session| session.id.clone());
            // Those of rooms are not told, and would be many.
            if room.is_none() {
                track.transitions.phase(from, *to, at_ms, id.as_ref(), &course);
            }
            if let Some(session) = &mut track.session {
                let since_ms = track.phase_since_ms.max(session.begun_ms);
                *session.phase_ms.entry(from).or_default() += (at_ms - since_ms).max(0);
            }
            track.phase = *to;
            track.phase_since_ms = at_ms;
        }
        self.course = course;
    }

    /// Players in a room, or on the server; by count or by flows where nobody is named.
    pub fn present(&self, room: Option<&Arc<str>>) -> u32 {
        if room.is_none() && !self.roster.speaks {
            return match self.roster.count {
                Some((count, _, _)) => count.online,
                None => self.flows.unwrap_or(0),
            };
        }
        self.roster.present(room)
    }

    /// People on the server; by count where nobody is named.
    fn people(&self) -> u64 {
        if self.roster.speaks {
            return u64::from(self.roster.people());
        }
        match self.roster.count {
            Some((count, _, _)) => u64::from(count.online.saturating_sub(count.bots.unwrap_or(0))),
            None => u64::from(self.flows.unwrap_or(0)),
        }
    }

    /// Books joins and leaves to the sessions that they happened in.
    fn apply(&mut self, changes: Vec<Change>, at_ms: i64) {
        for change in changes {
            match change {
                Change::Joined(number) => {
                    self.changes.push((number, true));
                    let room = self.roster.get(number).and_then(|player| player.room.clone());
                    self.occupy(at_ms);
                    self.name_session(at_ms);
                    let count = self.present(room.as_ref());
                    let whole = self.present(None);
                    if let Some(session) = &mut self.track.session {
                        session.joins += 1;
                        session.players_peak = session.players_peak.max(whole);
                    }
                    if let Some(session) = room
                        .and_then(|room| self.rooms.get_mut(&room))
                        .and_then(|track| track.session.as_mut())
                    {
                        session.joins += 1;
                        session.players_peak = session.players_peak.max(count);
                    }
                }
                Change::Left(who) => {
                    self.changes.push((who.number, false));
                    if let Some(session) = &mut self.track.session {
                        session.leaves += 1;
                    }
                    let in_room = who.room.as_ref().and_then(|room| self.rooms.get_mut(room));
                    let session = match in_room {
                        Some(track) => {
                            if let Some(session) = &mut track.session {
                                session.leaves += 1;
                            }
                            track.session.as_ref()
                        }
                        None => self.track.session.as_ref(),
                    };
                    let session = session.map(|session| session.id.clone());
                    if self.departed.len() == KEPT_DEPARTURES {
                        self.departed.pop_front();
                    }
                    self.departed.push_back(Departed { who: *who, session });
                }
            }
        }
        // Those who left together all left the session that ends with it.
        self.occupy(at_ms);
    }

    /// The first player is named. The flows that began the session were those of players who were still logging in.
    fn name_session(&mut self, at_ms: i64) {
        let start = self.course.at(at_ms);
        if let Some(session) = &mut self.track.session
            && self.bounds == Bounds::Occupancy
            && std::mem::take(&mut session.nameless)
            && session.joins == 0
            && (0..=LOGIN_MS).contains(&(at_ms - session.begun_ms))
        {
            session.begun_ms = at_ms;
            session.start = start;
            session.phase_ms.clear();
        }
    }

    /// Players move sessions that are bounded by occupancy, and phases that the game does not state.
    fn occupy(&mut self, at_ms: i64) {
        let occupied = self.people() > 0;
        if occupied != self.occupied {
            self.occupied = occupied;
            self.last_leave = (!occupied).then(|| Span::new(at_ms, &self.course));
            if occupied && self.wanted == SessionBounds::Auto && self.bounds == Bounds::Process {
                self.become_bounded_by(Bounds::Occupancy, at_ms);
            }
            if self.bounds == Bounds::Occupancy {
                match occupied {
                    true => self.begin(None, at_ms, None),
                    false => self.end(None, at_ms, self.crashing),
                }
            }
        }
        if self.up && !self.track.stated {
            let to = match (occupied, self.track.phase) {
                (true, Phase::Idle | Phase::Lobby) => Some(Phase::Active),
                (false, Phase::Active | Phase::Lobby) => Some(Phase::Idle),
                _ => None,
            };
            if let Some(to) = to {
                self.set_phase(None, to, at_ms);
            }
        }
    }

    /// What follows when a game says nothing more.
    fn infer(&mut self, now_ms: i64) {
        let loaded = |track: &Track| {
            track.phase == Phase::Loading && !track.stated && now_ms - track.phase_since_ms >= LOADING_MS
        };
        if self.up && loaded(&self.track) && self.warming.is_none() {
            let to = if self.present(None) > 0 {
                Phase::Active
            } else {
                Phase::Idle
            };
            self.set_phase(None, to, now_ms);
        }
        let names: Vec<Arc<str>> = self
            .rooms
            .iter()
            .filter(|(_, track)| loaded(track))
            .map(|(name, _)| name.clone())
            .collect();
        for room in names {
            let to = if self.present(Some(&room)) > 0 {
                Phase::Active
            } else {
                Phase::Lobby
            };
            self.set_phase(Some(&room), to, now_ms);
        }
        self.occupy_rooms(now_ms);
    }

    /// Rooms that nobody bounds by words are bounded by their players.
    fn occupy_rooms(&mut self, now_ms: i64) {
        let names: Vec<(Arc<str>, bool, bool)> = self
            .rooms
            .iter()
            .filter(|(_, track)| !track.had_match)
            .map(|(name, track)| (name.clone(), track.session.is_some(), track.stated))
            .collect();
        for (room, has_session, stated) in names {
            let occupied = self.present(Some(&room)) > 0;
            match (occupied, has_session) {
                (true, false) => {
                    let since_ms = self
                        .roster
                        .playing()
                        .filter(|player| player.room.as_ref() == Some(&room))
                        .map(|player| player.joined_ms)
                        .min()
                        .unwrap_or(now_ms);
                    self.begin(Some(&room), since_ms, None);
                    if !stated {
                        self.set_phase(Some(&room), Phase::Active, since_ms);
                    }
                }
                (false, true) if !stated => {
                    self.set_phase(Some(&room), Phase::Idle, now_ms);
                    self.end(Some(&room), now_ms, false);
                }
                _ => {}
            }
        }
    }

    fn forget_rooms(&mut self, now_ms: i64) {
        let silent: Vec<Arc<str>> = self
            .rooms
            .iter()
            .filter(|(name, track)| {
                now_ms - track.heard_ms >= ROOM_SILENCE_MS && self.present(Some(name)) == 0
            })
            .map(|(name, _)| name.clone())
            .collect();
        for room in silent {
            self.end(Some(&room), now_ms, false);
            self.rooms.remove(&room);
        }
    }

    fn note_players(&mut self) {
        let whole = self.present(None);
        if let Some(session) = &mut self.track.session {
            session.players_peak = session.players_peak.max(whole);
        }
    }
}

#[cfg(test)]
#[path = "machine_properties.rs"]
mod properties;
#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
