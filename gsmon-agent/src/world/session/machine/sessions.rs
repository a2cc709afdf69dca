//! Sessions and phases: how matches and phases that the game tells begin and end them, and what they used.

use std::{collections::BTreeMap, sync::Arc};

use super::{Bounds, Machine, Session, Track};
use crate::{
    config::SessionBounds,
    games::event::Phase,
    world::session::{
        phase,
        resources::Resources,
        rooms::{Edge, RoomShare, RoomTotals},
    },
};

/// Ended sessions kept per server.
pub(super) const KEPT_SESSIONS: usize = 64;

impl Machine {
    pub(super) fn match_begun(&mut self, room: Option<&Arc<str>>, at_ms: i64, told: [&Option<Arc<str>>; 3]) {
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

    pub(super) fn match_ended(&mut self, room: Option<&Arc<str>>, at_ms: i64) {
        self.match_witnessed(room, at_ms);
        let track = self.track_mut(room);
        track.had_match = true;
        if track.phase != Phase::Ended {
            self.set_phase(room, Phase::Ended, at_ms);
        }
        self.end(room, at_ms, false);
    }

    pub(super) fn phase_stated(&mut self, room: Option<&Arc<str>>, to: Phase, at_ms: i64) {
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
    pub(super) fn match_witnessed(&mut self, room: Option<&Arc<str>>, at_ms: i64) {
        let better = matches!(self.bounds, Bounds::Process | Bounds::Occupancy);
        if room.is_none() && self.wanted == SessionBounds::Auto && better {
            self.become_bounded_by(Bounds::Match, at_ms);
        }
    }

    fn match_bound(&self, room: Option<&Arc<str>>) -> bool {
        room.is_some() || self.bounds == Bounds::Match
    }

    pub(super) fn become_bounded_by(&mut self, bounds: Bounds, at_ms: i64) {
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

    pub(super) fn track_mut(&mut self, room: Option<&Arc<str>>) -> &mut Track {
        match room {
            None => &mut self.track,
            Some(room) => self.rooms.get_mut(room).unwrap_or(&mut self.track),
        }
    }

    pub(super) fn begin(&mut self, room: Option<&Arc<str>>, at_ms: i64, external_id: Option<Arc<str>>) {
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

    pub(super) fn end(&mut self, room: Option<&Arc<str>>, at_ms: i64, crashed: bool) {
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

    pub(super) fn set_phase(&mut self, room: Option<&Arc<str>>, to: Phase, at_ms: i64) {
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
}
