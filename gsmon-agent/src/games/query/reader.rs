//! Who reads a server's answers: the crate gamedig first, gsmon for what it lacks.
//!
//! Where both know the protocol, the crate asks (in its worker, see [`boxed`]) and reads. The datagrams that it was sent are
//! then read by gsmon's own reader as well: the crate's answer stands where that finds nothing else in them and everybody
//! who is counted is listed. So whatever the crate loses, cuts, mixes up or is made to believe by somebody who guesses its
//! port is noticed, without a list of its weaknesses that every version would change. Where its answer does not stand, gsmon
//! asks in the same round, and goes on to ask this server itself, so that nobody is asked twice each time; [`Memory`] says for
//! how long.
//!
//! How a protocol is read is its own file's matter, when a server is asked that of [`schedule`](super::schedule).

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{
    FailureKind, Listed, QueryAnswer, QueryError, a2s, ask_until, bedrock,
    boxed::{self, Ask, Conversation, Known, Pool, Wanted},
    gamespy1, gamespy2, gamespy3, namespace, quake,
    report::QueryTarget,
    unreal2,
    wire::{Deadline, Udp},
};

/// How long gsmon goes on to ask a server itself before the crate is tried again.
pub(super) const OWN_FOR: Duration = Duration::from_secs(3_600);

/// Who has read an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// The crate gamedig, in a query worker.
    Gamedig,
    /// gsmon's own reader.
    Gsmon(OwnReason),
}

/// Why gsmon has read an answer itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OwnReason {
    /// gamedig does not know the protocol.
    Protocol,
    /// gamedig could not read an answer, or has read what is none.
    Unreadable,
    /// Players or their numbers were missing or wrong in what gamedig read.
    Players,
    /// Name, map, mode or version were missing or wrong in what gamedig read.
    Texts,
    /// The server did not answer gamedig's question, but answers gsmon's.
    Silent,
    /// The process that asks through gamedig died of the answer, hung, or cannot be started.
    Worker,
}

impl OwnReason {
    /// Word for a metric label, the same as in JSON.
    pub fn label(self) -> &'static str {
        match self {
            Self::Protocol => "protocol",
            Self::Unreadable => "unreadable",
            Self::Players => "players",
            Self::Texts => "texts",
            Self::Silent => "silent",
            Self::Worker => "worker",
        }
    }
}

/// What is remembered of a server: whether gsmon asks it itself, why, and until when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Memory(Option<(OwnReason, Instant)>);

impl Memory {
    /// Why gsmon is to ask now, if it is.
    pub(super) fn own(self, now: Instant) -> Option<OwnReason> {
        self.0.filter(|(_, until)| now < *until).map(|(reason, _)| reason)
    }

    /// Takes in what a question has taught.
    pub(super) fn learn(&mut self, reason: OwnReason, now: Instant) {
        self.0 = Some((reason, now + OWN_FOR));
    }
}

/// What came of one question.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) result: Result<QueryAnswer, QueryError>,
    /// Who read the answer, if there is one.
    pub(super) reader: Reader,
    /// Why gsmon asks this server itself from now on, if that was learnt.
    pub(super) lesson: Option<OwnReason>,
}

/// Asks once. `own` is what is remembered of the server.
pub(super) fn ask(target: &QueryTarget, own: Option<OwnReason>, pool: &Pool) -> Asked {
    let deadline = Deadline::after(target.settings.timeout);
    let mut asked = match (
        boxed::wanted(target.protocol, &target.settings),
        Known::of(target.protocol),
        own,
    ) {
        (Some(wanted), _, _) => Asked {
            result: through(wanted, target, deadline, pool).result,
            reader: Reader::Gamedig,
            lesson: None,
        },
        (None, Some(known), None) => first(known, target, deadline, pool),
        (None, _, own) => Asked {
            result: directly(target, deadline),
            reader: Reader::Gsmon(own.unwrap_or(OwnReason::Protocol)),
            lesson: None,
        },
    };
    if let Ok(answer) = &mut asked.result {
        answer.tidy();
    }
    asked
}

fn through(wanted: Wanted, target: &QueryTarget, deadline: Deadline, pool: &Pool) -> Conversation {
    let question = Ask {
        wanted,
        address: target.address,
        netns: target.netns.as_deref(),
    };
    pool.ask(&question, deadline)
}

fn directly(target: &QueryTarget, deadline: Deadline) -> Result<QueryAnswer, QueryError> {
    namespace::within(target.netns.as_deref(), || {
        ask_until(target.protocol, target.address, &target.settings, deadline)
    })
}

/// The crate first, for half of the time: a server that is silent until then is asked again, by gsmon.
fn first(known: Known, target: &QueryTarget, deadline: Deadline, pool: &Pool) -> Asked {
    let conversation = through(Wanted::Protocol(known), target, deadline.half(), pool);
    let (reason, otherwise) = match judge(known, conversation) {
        Verdict::Stands(result) => {
            return Asked {
                result,
                reader: Reader::Gamedig,
                lesson: None,
            };
        }
        Verdict::Lacks(reason, otherwise) => (reason, otherwise),
    };
    let result = match deadline.left() {
        Ok(_) => directly(target, deadline).or_else(|error| otherwise.map_err(|_| error)),
        // A worker that hangs takes all the time there is.
        Err(_) => otherwise,
    };
    // A server that kills workers is not asked through one again, whether or not it answers.
    let lesson = (result.is_ok() || reason == OwnReason::Worker).then_some(reason);
    Asked {
        result,
        reader: Reader::Gsmon(reason),
        lesson,
    }
}

enum Verdict {
    /// The crate's result is the result.
    Stands(Result<QueryAnswer, QueryError>),
    /// gsmon is to ask; if it hears nothing, this is the result.
    Lacks(OwnReason, Result<QueryAnswer, QueryError>),
}

fn judge(known: Known, conversation: Conversation) -> Verdict {
    let mut theirs = match conversation.result {
        Ok(answer) => answer,
        Err(error) => {
            let reason = match error.kind() {
                // Nobody would hear another question either.
                FailureKind::Refused | FailureKind::Network => return Verdict::Stands(Err(error)),
                FailureKind::Timeout => OwnReason::Silent,
                FailureKind::Malformed | FailureKind::Denied | FailureKind::Panicked => OwnReason::Unreadable,
                FailureKind::Settings | FailureKind::Worker => OwnReason::Worker,
            };
            return Verdict::Lacks(reason, Err(error));
        }
    };
    theirs.tidy();
    match heard(known, conversation.heard) {
        Ok(mut ours) => {
            ours.tidy();
            ours.round_trip = theirs.round_trip;
            match lacks(known, &theirs, &ours) {
                None => Verdict::Stands(Ok(theirs)),
                Some(reason) => Verdict::Lacks(reason, Ok(ours)),
            }
        }
        Err(error) => Verdict::Lacks(OwnReason::Unreadable, Err(error)),
    }
}

/// gsmon's own reading of a conversation with a server.
pub(super) fn own(known: Known, udp: &mut Udp, deadline: Deadline) -> Result<QueryAnswer, QueryError> {
    match known {
        Known::A2s => a2s::ask(udp, deadline),
        Known::Bedrock => bedrock::ask(udp, deadline),
        Known::Quake1 => quake::ask(quake::Dialect::One, udp, deadline),
        Known::Quake2 => quake::ask(quake::Dialect::Two, udp, deadline),
        Known::Quake3 => quake::ask(quake::Dialect::Three, udp, deadline),
        Known::Gamespy1 => gamespy1::ask(udp, deadline),
        Known::Gamespy2 => gamespy2::ask(udp, deadline),
        Known::Gamespy3 => gamespy3::ask(udp, deadline),
        Known::Unreal2 => unreal2::ask(udp, deadline),
    }
}

/// gsmon's own reading of what a server has answered to the crate.
fn heard(known: Known, datagrams: Vec<Vec<u8>>) -> Result<QueryAnswer, QueryError> {
    let mut udp = Udp::heard(datagrams);
    // Nobody waits for anything.
    let deadline = Deadline::after(Duration::ZERO);
    match known {
        Known::Gamespy2 => gamespy2::heard(&mut udp, deadline),
        known => own(known, &mut udp, deadline),
    }
}

/// What the crate's answer lacks, next to gsmon's from the same datagrams.
fn lacks(known: Known, theirs: &QueryAnswer, ours: &QueryAnswer) -> Option<OwnReason> {
    let counts = |answer: &QueryAnswer| (answer.online, answer.bots, answer.max);
    let whole = !known.lists_players()
        || theirs.online == Some(0)
        || matches!(theirs.players, Some(Listed::Everybody(_)));
    if !whole
        || counts(theirs) != counts(ours)
        || !same_list(theirs.players.as_ref(), ours.players.as_ref())
        || theirs.player_round_trips != ours.player_round_trips
    {
        return Some(OwnReason::Players);
    }
    let texts = |answer: &QueryAnswer| {
        let QueryAnswer {
            name,
            version,
            map,
            mode,
            ..
        } = answer.clone();
        [name, version, map, mode]
    };
    (texts(theirs) != texts(ours)).then_some(OwnReason::Texts)
}

/// Are the same players listed, in whatever order?
fn same_list(theirs: Option<&Listed>, ours: Option<&Listed>) -> bool {
    let sorted = |listed: &Listed| {
        let mut players = listed.players().to_vec();
        players.sort_by(|a, b| (&a.name, &a.platform_id).cmp(&(&b.name, &b.platform_id)));
        players
    };
    match (theirs, ours) {
        (None, None) => true,
        (Some(theirs), Some(ours)) => {
            std::mem::discriminant(theirs) == std::mem::discriminant(ours) && sorted(theirs) == sorted(ours)
        }
        _ => false,
    }
}

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;
