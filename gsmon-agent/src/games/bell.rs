//! A bell at the door: whoever brings an event whose moment matters (a phase begins, a match ends, the first player
//! comes) rings it, and the agent takes a reading there and then instead of at the end of its interval. Rung again
//! before somebody came, it is silent.

use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use super::event::Fact;

type Answer = Box<dyn Fn() + Send + Sync>;

/// All clones are one bell.
#[derive(Clone, Default)]
pub struct Bell(Arc<Inner>);

#[derive(Default)]
struct Inner {
    rung: AtomicBool,
    answer: OnceLock<Answer>,
}

/// Does it matter to the moment when this happens?
pub fn matters(fact: &Fact) -> bool {
    marks_a_phase(fact) || matches!(fact, Fact::PlayerJoined(_) | Fact::PlayerLeft { .. })
}

/// Does a session, a phase, a start or a stop begin or end with it?
pub fn marks_a_phase(fact: &Fact) -> bool {
    matches!(
        fact,
        Fact::ServerStarting
            | Fact::ServerReady
            | Fact::ServerStopping
            | Fact::MatchBegun { .. }
            | Fact::MatchEnded { .. }
            | Fact::Phase(_)
    )
}

impl Bell {
    /// Says who comes; the first one who does stays.
    pub fn answer_with(&self, answer: impl Fn() + Send + Sync + 'static) {
        let _ = self.0.answer.set(Box::new(answer));
    }

    /// Rings.
    pub fn ring(&self) {
        if let Some(answer) = self.0.answer.get()
            && !self.0.rung.swap(true, Ordering::AcqRel)
        {
            answer();
        }
    }

    /// Somebody has come: it may be rung again. Call before looking at what was brought.
    pub fn answered(&self) {
        self.0.rung.store(false, Ordering::Release);
    }
}

impl fmt::Debug for Bell {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        out.debug_struct("Bell").finish_non_exhaustive()
    }
}
