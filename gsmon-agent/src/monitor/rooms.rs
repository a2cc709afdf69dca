//! Threads that carry the name of a room: which, and what they used. Names are read from /proc once per thread, and now
//! and then again, since a thread may be renamed when it is given to another room.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use regex::Regex;

use crate::{host::process::thread_name, kernel::ServerTasks, world::session::rooms::NamedThreads};

/// Intervals between two readings of a name.
const AGAIN: u64 = 5;
/// A thread is born with its parent's name: in its first intervals the name is read every time that it has run, and what
/// it has used until then is of the room that it is named after at last.
const YOUNG: u64 = 3;

struct Known {
    room: Option<Arc<str>>,
    first: u64,
    read: u64,
    /// Used while young and without a room.
    unsure_ns: u64,
}

/// The rooms of one server's threads.
pub struct RoomThreads {
    pattern: Regex,
    known: HashMap<u32, Known>,
    intervals: u64,
}

impl RoomThreads {
    /// `pattern` has a capture `room`; the configuration has been checked for that.
    pub fn new(pattern: &str) -> Option<Self> {
        Some(Self {
            pattern: Regex::new(pattern).ok()?,
            known: HashMap::new(),
            intervals: 0,
        })
    }

    /// The interval by room.
    pub fn sum(&mut self, tasks: &ServerTasks) -> BTreeMap<Arc<str>, NamedThreads> {
        self.intervals += 1;
        let now = self.intervals;
        let mut rooms: BTreeMap<Arc<str>, NamedThreads> = BTreeMap::new();
        // First those that have ended: their numbers may be in use again.
        for thread in &tasks.ended {
            if let Some(Known { room: Some(room), .. }) = self.known.remove(&thread.tid) {
                rooms.entry(room).or_default().cpu_ns += thread.cpu_ns;
            }
        }
        for thread in &tasks.threads {
            let known = self.known.get(&thread.tid);
            let due = known.is_none_or(|known| {
                now - known.read >= AGAIN || (now - known.first < YOUNG && thread.cpu_ns > 0)
            });
            let read = due
                .then(|| thread_name(thread.tgid, thread.tid))
                .flatten()
                .map(|name| self.room(&name));
            let known = self.known.entry(thread.tid).or_insert(Known {
                room: None,
                first: now,
                read: now,
                unsure_ns: 0,
            });
            if let Some(room) = read {
                known.room = room;
                known.read = now;
            }
            match &known.room {
                Some(room) => {
                    let sum = rooms.entry(room.clone()).or_default();
                    sum.alive += 1;
                    sum.cpu_ns += thread.cpu_ns + std::mem::take(&mut known.unsure_ns);
                }
                None if now - known.first < YOUNG => known.unsure_ns += thread.cpu_ns,
                None => known.unsure_ns = 0,
            }
        }
        let alive: HashSet<u32> = tasks.threads.iter().map(|thread| thread.tid).collect();
        self.known.retain(|tid, _| alive.contains(tid));
        rooms
    }

    /// What has come since the last interval, by room, in the middle of one. Changes nothing.
    pub fn so_far(&self, tasks: &ServerTasks) -> BTreeMap<Arc<str>, NamedThreads> {
        let mut rooms: BTreeMap<Arc<str>, NamedThreads> = BTreeMap::new();
        for thread in &tasks.ended {
            if let Some(Known { room: Some(room), .. }) = self.known.get(&thread.tid) {
                rooms.entry(room.clone()).or_default().cpu_ns += thread.cpu_ns;
            }
        }
        for thread in &tasks.threads {
            let known = self.known.get(&thread.tid);
            let young = known.is_none_or(|known| self.intervals - known.first < YOUNG);
            let room = match known.and_then(|known| known.room.clone()) {
                None if young => thread_name(thread.tgid, thread.tid).and_then(|name| self.room(&name)),
                room => room,
            };
            if let Some(room) = room {
                let sum = rooms.entry(room).or_default();
                sum.alive += 1;
                sum.cpu_ns += thread.cpu_ns + known.map_or(0, |known| known.unsure_ns);
            }
        }
        rooms
    }

    fn room(&self, thread: &str) -> Option<Arc<str>> {
        let captures = self.pattern.captures(thread)?;
        Some(captures.name("room")?.as_str().into())
    }
}
