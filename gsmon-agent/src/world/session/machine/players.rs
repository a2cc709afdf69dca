//! What players do to sessions and phases: they come into them and leave them, bound those that nothing else bounds, and
//! tell the phase where the game does not.

use std::sync::Arc;

use super::{Bounds, Departed, Machine, Track};
use crate::{
    config::SessionBounds,
    games::event::Phase,
    world::session::{roster::Change, transitions::Span},
};

/// Departed players kept per server.
const KEPT_DEPARTURES: usize = 256;
/// After a match began, players are taken to play once so much time has passed without a stated phase.
const LOADING_MS: i64 = 2_000;
/// Players may take so long to log in: their flows are there, and the game does not name them yet.
const LOGIN_MS: i64 = 60_000;
/// A room without players and words for so long is forgotten.
const ROOM_SILENCE_MS: i64 = 600_000;

impl Machine {
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
    pub(super) fn people(&self) -> u64 {
        if self.roster.speaks {
            return u64::from(self.roster.people());
        }
        match self.roster.count {
            Some((count, _, _)) => u64::from(count.online.saturating_sub(count.bots.unwrap_or(0))),
            None => u64::from(self.flows.unwrap_or(0)),
        }
    }

    /// Books joins and leaves to the sessions that they happened in.
    pub(super) fn apply(&mut self, changes: Vec<Change>, at_ms: i64) {
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
    pub(super) fn occupy(&mut self, at_ms: i64) {
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
    pub(super) fn infer(&mut self, now_ms: i64) {
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

    pub(super) fn forget_rooms(&mut self, now_ms: i64) {
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

    pub(super) fn note_players(&mut self) {
        let whole = self.present(None);
        if let Some(session) = &mut self.track.session {
            session.players_peak = session.players_peak.max(whole);
        }
    }
}
