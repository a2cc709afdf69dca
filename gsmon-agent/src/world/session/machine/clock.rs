//! Time: what is known moves with a clock that is set.

use super::{Machine, WarmUp};

/// A clock that differs so much from what has passed has been set.
const CLOCK_SET_MS: i64 = 2_000;

impl Machine {
    /// A clock that has been set, forwards or back (or that went on while the host slept), moves all that is known with
    /// it: what happened ten seconds ago still did.
    pub(super) fn keep_time(&mut self, now_ms: i64, seconds: f64) {
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
}
