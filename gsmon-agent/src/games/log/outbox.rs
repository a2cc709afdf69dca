//! Between the reading thread and the consumer of events: never blocks, and says what it could not keep.
//!
//! While the consumer takes events, what it has no room for waits here, and files and journals are not read on: they
//! keep their lines. When it has taken nothing for a while, reading goes on and events are lost, and counted. Of those,
//! facts that change no state go first.

use std::{
    collections::VecDeque,
    sync::mpsc::TrySendError,
    time::{Duration, Instant},
};

use crate::games::{
    Fact, GameEvent,
    bell::{Bell, matters},
    bounded::EventSink,
};

/// Events that wait.
const ROOM: usize = 16_384;
/// Beyond this many, facts that change no state are dropped.
const STATE_ONLY: usize = ROOM / 2;
/// How long files wait for a consumer that takes nothing.
const PATIENCE: Duration = Duration::from_secs(5);

/// Would losing it leave a wrong picture of sessions, phases or players?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// Yes.
    State,
    /// No: a measurement, or something that a player did.
    Passing,
}

impl Weight {
    /// Of a fact.
    pub fn of(fact: &Fact) -> Self {
        match fact {
            Fact::Tick { .. } | Fact::Behind { .. } | Fact::PlayerAction { .. } => Self::Passing,
            _ => Self::State,
        }
    }
}

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Given to the consumer, or waiting for it.
    Kept,
    /// Dropped.
    Lost(Weight),
}

/// Events on their way.
pub struct Outbox {
    sink: Box<dyn EventSink>,
    waiting: VecDeque<GameEvent>,
    last_taken: Instant,
    bell: Bell,
}

impl Outbox {
    /// Into `sink`; rings for events whose moment matters.
    pub fn new(sink: impl EventSink, bell: Bell, now: Instant) -> Self {
        Self {
            sink: Box::new(sink),
            waiting: VecDeque::new(),
            last_taken: now,
            bell,
        }
    }

    /// Sends one event.
    pub fn push(&mut self, event: GameEvent) -> Fate {
        let event = if self.waiting.is_empty() {
            let rings = matters(&event.fact);
            match self.sink.try_send(event) {
                Ok(()) => {
                    if rings {
                        self.bell.ring();
                    }
                    return Fate::Kept;
                }
                Err(TrySendError::Disconnected(event)) => return Fate::Lost(Weight::of(&event.fact)),
                Err(TrySendError::Full(event)) => event,
            }
        } else {
            event
        };
        let weight = Weight::of(&event.fact);
        let room = match weight {
            Weight::State => ROOM,
            Weight::Passing => STATE_ONLY,
        };
        if self.waiting.len() >= room {
            return Fate::Lost(weight);
        }
        self.waiting.push_back(event);
        Fate::Kept
    }

    /// Sends what waits, as far as there is room.
    pub fn flush(&mut self, now: Instant) {
        if self.waiting.is_empty() {
            self.last_taken = now;
            return;
        }
        while let Some(event) = self.waiting.pop_front() {
            match self.sink.try_send(event) {
                Ok(()) => self.last_taken = now,
                Err(TrySendError::Full(event) | TrySendError::Disconnected(event)) => {
                    self.waiting.push_front(event);
                    return;
                }
            }
        }
        self.waiting.shrink_to(ROOM / 16);
    }

    /// Does anything wait?
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Should sources that keep their lines wait?
    pub fn holds(&self, now: Instant) -> bool {
        !self.waiting.is_empty() && now.duration_since(self.last_taken) < PATIENCE
    }

    /// What waits and will not be sent any more.
    pub fn abandon(&mut self) -> impl Iterator<Item = GameEvent> {
        self.waiting.drain(..)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::games::{Witness, event::TimeSource};

    fn event(fact: Fact) -> GameEvent {
        GameEvent {
            server: "a".into(),
            unix_ms: 0,
            time: TimeSource::Read,
            witness: Witness::Log,
            room: None,
            fact,
        }
    }

    fn action() -> GameEvent {
        event(Fact::Behind { milliseconds: 1 })
    }

    #[test]
    fn order_is_kept_and_state_outlasts_the_rest() {
        let (sink, consumer) = mpsc::sync_channel(1);
        let now = Instant::now();
        let mut outbox = Outbox::new(sink, Bell::default(), now);
        for _ in 0..=STATE_ONLY {
            assert_eq!(outbox.push(action()), Fate::Kept);
        }
        assert_eq!(outbox.push(action()), Fate::Lost(Weight::Passing));
        for _ in STATE_ONLY..ROOM {
            assert_eq!(outbox.push(event(Fact::ServerReady)), Fate::Kept);
        }
        assert_eq!(outbox.push(event(Fact::ServerReady)), Fate::Lost(Weight::State));
        let mut taken = Vec::new();
        while !outbox.is_empty() {
            taken.extend(consumer.try_iter().map(|event| event.fact));
            outbox.flush(now);
        }
        taken.extend(consumer.try_iter().map(|event| event.fact));
        assert_eq!(taken.len(), ROOM + 1);
        assert!(taken.is_sorted_by_key(|fact| *fact == Fact::ServerReady));
    }

    #[test]
    fn files_wait_for_a_consumer_that_takes_something_and_no_longer() {
        let (sink, consumer) = mpsc::sync_channel(1);
        let start = Instant::now();
        let mut outbox = Outbox::new(sink, Bell::default(), start);
        assert!(!outbox.holds(start));
        for _ in 0..3 {
            outbox.push(action());
        }
        assert!(outbox.holds(start));
        let later = start + PATIENCE;
        outbox.flush(later);
        assert!(!outbox.holds(later));
        consumer.recv().unwrap();
        outbox.flush(later);
        assert!(outbox.holds(later));
        drop(consumer);
        outbox.flush(later);
        assert_eq!(outbox.abandon().count(), 1);
        assert_eq!(outbox.push(action()), Fate::Lost(Weight::Passing));
    }
}
