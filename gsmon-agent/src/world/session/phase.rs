//! Which phase may follow which, and what is done about the rest.
//!
//! A session goes lobby -> loading -> active -> ended; it may skip what a game does not have. What cannot be meant (a
//! crashed session that goes on) is refused and counted. What is missing (a new match while the old one still runs) is
//! put in and counted.

use crate::games::event::Phase;

/// Every phase, in the order in which a session goes through them.
pub const ALL: [Phase; 6] = [
    Phase::Idle,
    Phase::Lobby,
    Phase::Loading,
    Phase::Active,
    Phase::Ended,
    Phase::Crashed,
];

/// The word for a phase, as JSON, labels and tables have it.
pub fn name(phase: Phase) -> &'static str {
    match phase {
        Phase::Idle => "idle",
        Phase::Lobby => "lobby",
        Phase::Loading => "loading",
        Phase::Active => "active",
        Phase::Ended => "ended",
        Phase::Crashed => "crashed",
    }
}

/// The phase that a word names.
pub fn named(word: &str) -> Option<Phase> {
    ALL.into_iter().find(|phase| name(*phase) == word)
}

/// What is to be thought of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing changes.
    Same,
    /// As games do it.
    Usual,
    /// Possible, but a phase in between was not told.
    Missing(Phase),
    /// Not possible: the session stays as it is.
    Illegal,
}

/// Judges a step.
pub fn judge(from: Phase, to: Phase) -> Step {
    use Phase::{Active, Crashed, Ended, Idle, Loading, Lobby};
    match (from, to) {
        _ if from == to => Step::Same,
        (Crashed, _) => Step::Illegal,
        (_, Crashed) => Step::Usual,
        // A score screen without a match before it.
        (Idle | Lobby | Loading, Ended) => Step::Missing(Active),
        (Idle, Lobby | Loading | Active)
        | (Lobby, Idle | Loading | Active)
        | (Loading, Idle | Lobby | Active)
        | (Active, Idle | Lobby | Loading | Ended)
        | (Ended, Idle | Lobby | Loading | Active) => Step::Usual,
        _ => Step::Illegal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_the_json_documents() {
        for phase in ALL {
            assert_eq!(serde_json::to_value(phase).unwrap().as_str(), Some(name(phase)));
            assert_eq!(named(name(phase)), Some(phase));
        }
        assert_eq!(named("Active"), None);
    }

    #[test]
    fn the_usual_course_is_usual_and_crashed_is_final() {
        for pair in [Phase::Lobby, Phase::Loading, Phase::Active, Phase::Ended].windows(2) {
            assert_eq!(judge(pair[0], pair[1]), Step::Usual);
        }
        for phase in ALL {
            let expected = if phase == Phase::Crashed {
                Step::Same
            } else {
                Step::Illegal
            };
            assert_eq!(judge(Phase::Crashed, phase), expected);
        }
        assert_eq!(judge(Phase::Lobby, Phase::Ended), Step::Missing(Phase::Active));
    }

    #[test]
    fn a_missing_phase_is_itself_reachable() {
        for from in ALL {
            for to in ALL {
                if let Step::Missing(between) = judge(from, to) {
                    assert_eq!(judge(from, between), Step::Usual);
                    assert_eq!(judge(between, to), Step::Usual);
                }
            }
        }
    }
}
