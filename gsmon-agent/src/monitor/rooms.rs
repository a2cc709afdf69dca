//! Threads that carry the name of a room: which, and what they used. Names are read from /proc once per thread, and now
//! and then again, since a thread may be renamed when it is given to another room.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use regex::Regex;

use crate::{host::process::thread_name, kernel::ServerTasks};

/// Intervals between two readings of a name.
const AGAIN: u64 = 5;

/// The rooms of one server's threads.
pub struct RoomThreads {
    pattern: Regex,
    known: HashMap<u32, (Option<Arc<str>>, u64)>,
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

    /// CPU of the interval by room.
    pub fn sum(&mut self, tasks: &ServerTasks) -> BTreeMap<Arc<str>, u64> {
        self.intervals += 1;
        let mut rooms: BTreeMap<Arc<str>, u64> = BTreeMap::new();
        for thread in &tasks.threads {
            let due = self
                .known
                .get(&thread.tid)
                .is_none_or(|(_, read)| self.intervals - read >= AGAIN);
            if due {
                let room = thread_name(thread.tgid, thread.tid).and_then(|name| self.room(&name));
                self.known.insert(thread.tid, (room, self.intervals));
            }
            if let Some((Some(room), _)) = self.known.get(&thread.tid) {
                *rooms.entry(room.clone()).or_default() += thread.cpu_ns;
            }
        }
        for thread in &tasks.ended {
            if let Some((Some(room), _)) = self.known.remove(&thread.tid) {
                *rooms.entry(room).or_default() += thread.cpu_ns;
            }
        }
        let alive: std::collections::HashSet<u32> = tasks.threads.iter().map(|thread| thread.tid).collect();
        self.known.retain(|tid, _| alive.contains(tid));
        rooms
    }

    fn room(&self, thread: &str) -> Option<Arc<str>> {
        let captures = self.pattern.captures(thread)?;
        Some(captures.name("room")?.as_str().into())
    }
}
