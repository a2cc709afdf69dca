//! Readings in the middle of an interval, at moments that matter: a phase begins, a match ends, the last player leaves,
//! a process exits. Without them, what such a moment cuts in two could only be divided evenly over the interval.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use super::engine::{Engine, unix_ms};
use crate::{
    games::{
        bell,
        event::{Fact, GameEvent},
    },
    host::Touched,
    kernel::{ServerSlotId, ServerTasks},
};

/// Events that wait for the end of an interval; beyond it they wait where they come from.
const MOST_HEARD: usize = 65_536;
/// Readings in one interval: events that come in crowds share what there is.
const MOST_READINGS: u32 = 20;
/// A reading in which so much time passes (the agent had to wait for a core) is taken again, a few times at most: nobody
/// can tell when in that time it was true.
const SLOW_READING_MS: i64 = 2;
const READING_ATTEMPTS: u32 = 4;
/// Looks for processes in one interval, because a server speaks that has not been found yet.
const MOST_LOOKS: u32 = 2;

/// What has come in since the last interval.
#[derive(Default)]
pub struct Moments {
    heard: Vec<GameEvent>,
    readings: u32,
    looks: u32,
}

/// Does only a server that runs say so, with its start behind it?
fn shows_life(fact: &Fact) -> bool {
    matches!(
        fact,
        Fact::ServerReady | Fact::MatchBegun { .. } | Fact::Phase(_) | Fact::PlayerJoined(_)
    )
}

impl Engine {
    /// Somebody has rung: takes the events in and reads the servers whose moment it is.
    pub(super) fn answer_bell(&mut self) {
        self.voices.bell().answered();
        if self.moments.heard.len() >= MOST_HEARD {
            return;
        }
        let fresh = self.voices.drain();
        let mut wanted: BTreeSet<Arc<str>> = BTreeSet::new();
        for event in &fresh {
            let decides = bell::marks_a_phase(&event.fact)
                || matches!(event.fact, Fact::PlayerJoined(_) | Fact::PlayerLeft { .. })
                    && self
                        .models
                        .iter()
                        .any(|model| *model.spec.name == *event.server && model.nearly_empty());
            if decides && !wanted.contains(&event.server) {
                wanted.insert(event.server.clone());
            }
        }
        let is_up = |name: &str| {
            let model = self.models.iter().find(|model| model.spec.name == name);
            model.is_none_or(|model| !model.pids().is_empty())
        };
        let unfound = fresh
            .iter()
            .any(|event| shows_life(&event.fact) && !is_up(&event.server));
        self.moments.heard.extend(fresh);
        if unfound && self.moments.looks < MOST_LOOKS {
            self.moments.looks += 1;
            self.look_now();
        }
        let wanted: Vec<usize> = (0..self.models.len())
            .filter(|index| wanted.contains(self.models[*index].spec.name.as_str()))
            .collect();
        self.read_now(&wanted);
    }

    /// A server has begun, loaded and become ready within one interval: it is looked for now, to be read now.
    fn look_now(&mut self) {
        let seen = self.kernel.as_mut().map(|kernel| {
            let seen = kernel.seen_since_drain();
            (seen.executed_pids.clone(), seen.exited_pids.clone())
        });
        self.look(
            seen.as_ref()
                .map(|(executed, exited)| Touched { executed, exited }),
        );
    }

    /// A followed process has ended just now.
    pub(super) fn process_ended(&mut self, pid: u32) {
        let now_ms = unix_ms();
        let ended: Vec<usize> = (0..self.models.len())
            .filter(|index| self.models[*index].main() == Some(pid))
            .collect();
        for index in &ended {
            self.models[*index].ended(now_ms);
        }
        self.read_now(&ended);
    }

    fn read_now(&mut self, models: &[usize]) {
        if models.is_empty() || self.moments.readings >= MOST_READINGS {
            return;
        }
        self.moments.readings += 1;
        let slots: Vec<ServerSlotId> = models
            .iter()
            .filter_map(|index| self.models[*index].slot)
            .collect();
        let mut counted;
        let mut threads: HashMap<usize, ServerTasks>;
        let mut now_ms;
        let mut attempts = 0;
        loop {
            let begun_ms = unix_ms();
            counted = self.kernel.as_ref().map(|kernel| kernel.peek(&slots));
            threads = self.threads_now(models);
            now_ms = unix_ms();
            attempts += 1;
            if now_ms - begun_ms <= SLOW_READING_MS || attempts == READING_ATTEMPTS {
                break;
            }
        }
        let source = self.sched_source();
        for index in models {
            let model = &mut self.models[*index];
            // One that has not been found yet (and may have been running for a while) cannot be read: to say that it
            // has used nothing would be wrong.
            if model.pids().is_empty() {
                continue;
            }
            let tracker = self.usage.entry(model.spec.name.clone()).or_default();
            let usage = tracker.update(model.pids(), source);
            let counted = counted
                .as_ref()
                .and_then(|counted| model.slot.and_then(|slot| counted.get(&slot)));
            model.sample(now_ms, counted, &usage);
            if let Some((rooms, threads)) = self.room_threads.get(&model.spec.name).zip(threads.get(index)) {
                model.sample_rooms(now_ms, &rooms.so_far(threads));
            }
        }
    }

    /// Threads of those whose threads carry the names of rooms.
    fn threads_now(&self, models: &[usize]) -> HashMap<usize, ServerTasks> {
        let Some(kernel) = &self.kernel else {
            return HashMap::new();
        };
        models
            .iter()
            .filter(|index| self.room_threads.contains_key(&self.models[**index].spec.name))
            .filter_map(|index| Some((*index, kernel.peek_threads(self.models[*index].slot?))))
            .collect()
    }

    /// What the games have said since the last interval, by server.
    pub(super) fn listen(&mut self) -> HashMap<Arc<str>, Vec<GameEvent>> {
        (self.moments.readings, self.moments.looks) = (0, 0);
        let mut events: HashMap<Arc<str>, Vec<GameEvent>> = HashMap::new();
        let heard = std::mem::take(&mut self.moments.heard);
        for event in heard.into_iter().chain(self.voices.drain()) {
            events.entry(event.server.clone()).or_default().push(event);
        }
        for events in events.values_mut() {
            // Stable: what one witness said in one millisecond keeps its order.
            events.sort_by_key(|event| event.unix_ms);
        }
        events
    }
}
