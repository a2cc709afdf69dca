//! Notices that a server came back with another executable, and marks the moment in the history.

use std::collections::HashMap;

use crate::{
    history::{History, Mark, MarkedBy},
    host::executable::Executable,
    world::snapshot::{ServerState, Snapshot},
};

/// The executable of each server, as of its last start.
#[derive(Debug, Default)]
pub struct Updates {
    known: HashMap<String, (u64, Executable)>,
}

impl Updates {
    /// Looks at servers that were started since the last time.
    pub fn notice(&mut self, snapshot: &Snapshot, history: &History) {
        self.known
            .retain(|name, _| snapshot.servers.iter().any(|server| server.name == *name));
        for server in snapshot
            .servers
            .iter()
            .filter(|server| server.state == ServerState::Up)
        {
            let known = self.known.get(&server.name);
            if known.is_some_and(|(starts, _)| *starts == server.starts) {
                continue;
            }
            // The oldest process is the server; those after it are its children.
            let Some(now) = server.pids.iter().min().and_then(|pid| Executable::of(*pid)) else {
                continue;
            };
            if known.is_some_and(|(_, before)| *before != now) {
                let mark = Mark {
                    unix_ms: (snapshot.unix_time_seconds * 1e3) as i64,
                    text: now.words(),
                    by: MarkedBy::Executable,
                };
                tracing::info!(server = server.name, "came back with another {}", mark.text);
                history.mark(&server.name, mark);
            }
            self.known.insert(server.name.clone(), (server.starts, now));
        }
    }
}
