//! Processes of the server: one that is new, when it is ready, and its end.

use std::sync::Arc;

use super::{Bounds, Life, Machine, Step, WarmUp};
use crate::{
    config::SessionBounds,
    games::event::Phase,
    world::session::transitions::{LifeKind, Span},
};

/// A server that listens for so long without a word of being ready is taken to have been ready all the time.
const SILENT_READY_MS: i64 = 10_000;
/// A process younger than this when it is found still loads, unless it says otherwise.
const YOUNG_MS: i64 = 30_000;

impl Machine {
    /// A process that is new.
    pub(super) fn process(&mut self, step: &Step<'_>, now_ms: i64) {
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
    pub(super) fn serve(&mut self, step: &Step<'_>, now_ms: i64) {
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
    pub(super) fn gone(&mut self, life: &Life, now_ms: i64) {
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

    pub(super) fn starting(&mut self, at_ms: i64) {
        self.stopping = false;
        self.set_phase(None, Phase::Loading, at_ms);
    }

    pub(super) fn ready(&mut self, at_ms: i64) {
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
}
