//! What is known of each agent, and how old that is. Ages go by this process's monotonic clock from when something new
//! was first received, on top of the age that the agent told; so neither wrong clocks nor an agent that repeats itself
//! make old news fresh.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use super::reader::ReadError;
use crate::{
    config::{AgentEntry, FleetConfig},
    serve::report::AgentReport,
};

/// How much is known of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HostState {
    /// What it said is new.
    Fresh,
    /// What it said is old, and shown with its age.
    Stale,
    /// It has not said anything for too long, or never has: nothing of it is shown as a figure.
    Unknown,
}

impl HostState {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Fresh, Self::Stale, Self::Unknown];

    /// Its word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Stale => "stale",
            Self::Unknown => "unknown",
        }
    }
}

/// Keeps what agents said.
#[derive(Debug)]
pub struct Board {
    kept: Mutex<Kept>,
}

#[derive(Debug)]
struct Kept {
    stale_after: Duration,
    unknown_after: Duration,
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    agent: AgentEntry,
    name: Arc<str>,
    said: Option<Said>,
    /// Servers that it had when it was last heard.
    servers: Arc<[String]>,
    error: Option<Arc<str>>,
    failures_in_a_row: u64,
    readings: u64,
    errors: BTreeMap<&'static str, u64>,
}

impl Entry {
    fn new(agent: &AgentEntry) -> Self {
        Self {
            agent: agent.clone(),
            name: agent.name.as_str().into(),
            said: None,
            servers: Arc::default(),
            error: None,
            failures_in_a_row: 0,
            readings: 0,
            errors: BTreeMap::new(),
        }
    }
}

#[derive(Clone, Debug)]
struct Said {
    report: Arc<AgentReport>,
    /// When it would have been new.
    since: Instant,
    /// What `since` cannot go back by: the clock may not reach so far.
    older_by: Duration,
}

impl Said {
    fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
            .saturating_add(self.older_by)
    }
}

/// One host at one moment.
#[derive(Clone, Debug)]
pub struct HostPicture {
    /// Name from the configuration.
    pub name: Arc<str>,
    /// How much is known.
    pub state: HostState,
    /// Age of what it said; absent when it is unknown.
    pub age: Option<Duration>,
    /// What it said; absent when it is unknown.
    pub report: Option<Arc<AgentReport>>,
    /// Servers that it had when it was last heard.
    pub servers: Arc<[String]>,
    /// Why the last reading failed, if it did.
    pub error: Option<Arc<str>>,
    /// Readings that failed since the last that did not.
    pub failures_in_a_row: u64,
    /// Readings that succeeded.
    pub readings: u64,
    /// Readings that failed, by sort.
    pub errors: BTreeMap<&'static str, u64>,
}

impl Board {
    /// All agents of a configuration, unknown.
    pub fn new(config: &FleetConfig) -> Self {
        Self {
            kept: Mutex::new(Kept {
                stale_after: config.fleet.stale_after,
                unknown_after: config.fleet.unknown_after,
                entries: config.agents.iter().map(Entry::new).collect(),
            }),
        }
    }

    /// Takes a changed configuration. What is known of an agent stays where its entry is the same. Nobody may be reading
    /// agents by the old one any more: they are known by their place.
    pub fn adopt(&self, config: &FleetConfig) {
        let mut kept = self.kept();
        let mut before = std::mem::take(&mut kept.entries);
        let entries =
            config.agents.iter().map(
                |agent| match before.iter().position(|entry| entry.agent == *agent) {
                    Some(index) => before.swap_remove(index),
                    None => Entry::new(agent),
                },
            );
        kept.entries = entries.collect();
        kept.stale_after = config.fleet.stale_after;
        kept.unknown_after = config.fleet.unknown_after;
    }

    /// Notes what came of a reading of agent `index` of the configuration.
    pub fn note(&self, index: usize, outcome: Result<AgentReport, ReadError>, now: Instant) {
        let mut kept = self.kept();
        let Some(entry) = kept.entries.get_mut(index) else {
            return;
        };
        let report = match outcome {
            Ok(report) => report,
            Err(error) => {
                entry.failures_in_a_row += 1;
                *entry.errors.entry(error.sort()).or_default() += 1;
                entry.error = Some(error.to_string().into());
                return;
            }
        };
        entry.readings += 1;
        entry.failures_in_a_row = 0;
        entry.error = None;
        let again = entry.said.as_ref().is_some_and(|said| {
            let before = &said.report.snapshot;
            before.sequence == report.snapshot.sequence
                && before.unix_time_seconds == report.snapshot.unix_time_seconds
        });
        if !again {
            let servers = report.snapshot.servers.iter();
            entry.servers = servers.map(|server| server.name.clone()).collect();
            // What is no age, or beyond any limit, is not to be believed: as old as can be.
            let older_by = Duration::try_from_secs_f64(report.age_seconds).unwrap_or(Duration::MAX);
            entry.said = Some(Said {
                report: Arc::new(report),
                since: now,
                older_by,
            });
        }
    }

    /// All agents at one moment, in the order of the configuration.
    pub fn picture(&self, now: Instant) -> Vec<HostPicture> {
        let mut kept = self.kept();
        let (stale_after, unknown_after) = (kept.stale_after, kept.unknown_after);
        kept.entries
            .iter_mut()
            .map(|entry| {
                let age = entry.said.as_ref().map(|said| said.age(now));
                let state = match age {
                    Some(age) if age <= stale_after => HostState::Fresh,
                    Some(age) if age <= unknown_after => HostState::Stale,
                    _ => HostState::Unknown,
                };
                if state == HostState::Unknown {
                    // It would only be shown by mistake. A repetition of it is as old as it was told to be.
                    entry.said = entry.said.take().filter(|_| entry.failures_in_a_row == 0);
                }
                let known = state != HostState::Unknown;
                HostPicture {
                    name: entry.name.clone(),
                    state,
                    age: age.filter(|_| known),
                    report: entry
                        .said
                        .as_ref()
                        .filter(|_| known)
                        .map(|said| said.report.clone()),
                    servers: entry.servers.clone(),
                    error: entry.error.clone(),
                    failures_in_a_row: entry.failures_in_a_row,
                    readings: entry.readings,
                    errors: entry.errors.clone(),
                }
            })
            .collect()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
