//! Finding game servers without configuration: from processes and sockets to named candidates.
//!
//! `update` is cheap to call every interval: a process is read once per life and program (`facts`), its descriptors only
//! when there are sockets whose holder nobody knows (`owners`), and judged again only when its ports change or a query
//! was answered. What a server looks like is in `games::signature`; names are made in `names`.
//!
//! A server is reported once it listens. Wrappers, shells and forwarders are not servers; the process that holds the
//! socket is. Not here: following what was found (`discovery`, by [`Candidate::to_game_server`]) and asking queries.

use std::{
    collections::{HashMap, HashSet},
    hash::{DefaultHasher, Hash, Hasher},
    net::IpAddr,
    path::PathBuf,
    time::{Duration, Instant},
};

use super::{
    container::{ContainerFiles, places},
    process::{Process, ProcessTable},
    sockets::{BoundSocket, NetnsId},
};
use crate::{
    config::{Game, Protocol},
    games::signature::{Evidence, Recognised, recognise, suspect, worth_a_look},
};

mod candidate;
mod facts;
mod names;
mod owners;
#[cfg(test)]
mod tests;

pub use self::candidate::Candidate;
use self::{
    facts::Facts,
    names::{Names, Parts},
    owners::{Interest, Owners, Watched},
};

/// More servers than this on one host are not told apart from an attack on the agent's memory.
const MOST: usize = 4_096;
/// A server that has not bound the port that it states, or has not begun its log, is looked at again every so many
/// updates.
const LOOK_AGAIN_EVERY: u64 = 10;

/// No server loads for longer before it listens; afterwards its descriptors are read less often.
const LOADING: Duration = Duration::from_secs(600);

/// Where things are; another place in tests.
#[derive(Clone, Debug)]
pub struct Roots {
    /// procfs.
    pub proc: PathBuf,
    /// Named network namespaces (ip-netns(8)).
    pub netns: PathBuf,
    /// Files of container runtimes.
    pub containers: ContainerFiles,
}

impl Default for Roots {
    fn default() -> Self {
        Self {
            proc: "/proc".into(),
            netns: "/run/netns".into(),
            containers: ContainerFiles::default(),
        }
    }
}

/// A port that a process holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Held {
    protocol: Protocol,
    port: u16,
    address: IpAddr,
}

struct Verdict {
    recognised: Recognised,
    facts: Facts,
    name: Option<String>,
}

struct Entry {
    start_ticks: u64,
    /// Of executable and command line: exec keeps PID and start time.
    print: u64,
    interest: Interest,
    is_fresh: bool,
    first_seen: Instant,
    held: Vec<Held>,
    answer: Option<Game>,
    needs_verdict: bool,
    verdict: Option<Verdict>,
}

impl Entry {
    fn waits_for_its_port(&self) -> bool {
        self.verdict
            .as_ref()
            .is_some_and(|verdict| verdict.recognised.ports.is_empty())
    }

    fn is_settled(&self) -> bool {
        let has_its_port = !self.held.is_empty() && !self.waits_for_its_port();
        has_its_port || self.first_seen.elapsed() > LOADING
    }

    fn name(&self) -> Option<&str> {
        self.verdict.as_ref()?.name.as_deref()
    }
}

/// The search, with what it remembers between updates.
pub struct AutoDiscovery {
    roots: Roots,
    least_confidence: f64,
    entries: HashMap<u32, Entry>,
    owners: Owners,
    names: Names,
    updates: u64,
    candidates: Vec<Candidate>,
    suspects: Vec<Candidate>,
    /// Servers that were not taken up because there are too many, so far.
    pub refused: u64,
}

impl AutoDiscovery {
    /// Reports servers from `least_confidence` on.
    pub fn new(least_confidence: f64) -> Self {
        Self::with_roots(least_confidence, Roots::default())
    }

    /// The same, elsewhere.
    pub fn with_roots(least_confidence: f64, roots: Roots) -> Self {
        Self {
            roots,
            least_confidence,
            entries: HashMap::new(),
            owners: Owners::default(),
            names: Names::default(),
            updates: 0,
            candidates: Vec::new(),
            suspects: Vec::new(),
            refused: 0,
        }
    }

    /// Looks again, and returns what runs now, by name. `sockets` are those of every namespace that is to be searched
    /// (bound UDP and listening TCP).
    pub fn update(&mut self, processes: &ProcessTable, sockets: &[BoundSocket]) -> &[Candidate] {
        let processes: Vec<&Process> = processes.iter().collect();
        self.update_with(&processes, sockets)
    }

    /// The candidates of the last update.
    pub fn candidates(&self) -> &[Candidate] {
        &self.candidates
    }

    /// Processes that may be servers but are too doubtful: of unknown name on a usual port, or below the least
    /// confidence. An answer to a query ([`Self::confirm`]) makes candidates of them.
    pub fn suspects(&self) -> &[Candidate] {
        &self.suspects
    }

    /// A candidate or suspect answered the query of `game`. Counts from the next update on.
    pub fn confirm(&mut self, name: &str, game: Game) {
        for entry in self.entries.values_mut() {
            if entry.name() == Some(name) && entry.answer != Some(game) {
                entry.answer = Some(game);
                entry.needs_verdict = true;
            }
        }
    }

    fn update_with(&mut self, processes: &[&Process], sockets: &[BoundSocket]) -> &[Candidate] {
        self.updates += 1;
        let by_pid: HashMap<u32, &Process> =
            processes.iter().map(|process| (process.pid, *process)).collect();
        let mut changed = self.follow(&by_pid);
        let watched: Vec<Watched> = by_pid
            .values()
            .filter_map(|process| {
                let entry = self.entries.get(&process.pid)?;
                Some(Watched {
                    pid: process.pid,
                    start_ticks: process.start_ticks,
                    netns: process.netns,
                    interest: entry.interest,
                    is_fresh: entry.is_fresh,
                    is_settled: entry.is_settled(),
                })
            })
            .collect();
        self.owners.refresh(&self.roots.proc, sockets, watched);
        changed |= self.take_over(sockets);
        changed |= self.judge(&by_pid);
        changed |= self.updates.is_multiple_of(LOOK_AGAIN_EVERY)
            && self
                .candidates
                .iter()
                .any(|candidate| candidate.log.is_none() && candidate.recognised.log.is_some());
        if changed {
            self.name_all(&by_pid);
            self.collect(&by_pid);
        }
        &self.candidates
    }

    /// Brings entries up to date with processes; true when a known server has gone.
    fn follow(&mut self, by_pid: &HashMap<u32, &Process>) -> bool {
        let mut changed = false;
        self.entries.retain(|pid, entry| {
            let lives = by_pid.get(pid).is_some_and(|process| {
                process.start_ticks == entry.start_ticks && print_of(process) == entry.print
            });
            changed |= !lives && entry.verdict.is_some();
            lives
        });
        for process in by_pid.values() {
            self.entries
                .entry(process.pid)
                .and_modify(|entry| entry.is_fresh = false)
                .or_insert_with(|| Entry {
                    start_ticks: process.start_ticks,
                    print: print_of(process),
                    interest: if worth_a_look(process.executable.as_deref(), &process.command_line) {
                        Interest::Promising
                    } else {
                        Interest::Ordinary
                    },
                    is_fresh: true,
                    first_seen: Instant::now(),
                    held: Vec::new(),
                    answer: None,
                    needs_verdict: false,
                    verdict: None,
                });
        }
        changed
    }

    /// Gives every process the sockets that it holds; true when a known server lost its last one.
    fn take_over(&mut self, sockets: &[BoundSocket]) -> bool {
        let mut held: HashMap<u32, Vec<Held>> = HashMap::new();
        for socket in sockets {
            if let Some(pid) = self.owners.holder(socket.inode) {
                held.entry(pid).or_default().push(Held {
                    protocol: socket.protocol,
                    port: socket.port,
                    address: socket.address,
                });
            }
        }
        let mut changed = false;
        for (pid, entry) in &mut self.entries {
            let mut now = held.remove(pid).unwrap_or_default();
            now.sort_unstable();
            if now == entry.held {
                continue;
            }
            entry.held = now;
            if entry.held.is_empty() {
                changed |= entry.verdict.take().is_some();
            } else {
                entry.needs_verdict = true;
            }
        }
        changed
    }

    fn judge(&mut self, by_pid: &HashMap<u32, &Process>) -> bool {
        let again = self.updates.is_multiple_of(LOOK_AGAIN_EVERY);
        let mut changed = false;
        let mut known = self
            .entries
            .values()
            .filter(|entry| entry.verdict.is_some())
            .count();
        for (pid, entry) in &mut self.entries {
            let is_due = entry.needs_verdict || (again && entry.waits_for_its_port());
            if !is_due {
                continue;
            }
            let Some(process) = by_pid.get(pid).filter(|_| *pid != std::process::id()) else {
                continue;
            };
            entry.needs_verdict = false;
            let before = entry.verdict.take();
            let name = before.as_ref().and_then(|verdict| verdict.name.clone());
            known -= usize::from(before.is_some());
            if let Some((recognised, facts)) = examine(&self.roots, process, entry) {
                if known < MOST {
                    known += 1;
                    entry.verdict = Some(Verdict {
                        recognised,
                        facts,
                        name,
                    });
                } else {
                    if self.refused == 0 {
                        tracing::warn!(most = MOST, "too many game servers; further ones are left out");
                    }
                    self.refused += 1;
                }
            }
            changed |= before.is_some() || entry.verdict.is_some();
        }
        changed
    }

    /// Names those that have a port and no name yet, oldest first.
    fn name_all(&mut self, by_pid: &HashMap<u32, &Process>) {
        let mut live: HashSet<String> = self
            .entries
            .values()
            .filter_map(|entry| entry.name().map(str::to_owned))
            .collect();
        let mut nameless: Vec<(u64, u32)> = self
            .entries
            .iter()
            .filter(|(_, entry)| {
                entry
                    .verdict
                    .as_ref()
                    .is_some_and(|verdict| verdict.name.is_none() && !verdict.recognised.ports.is_empty())
            })
            .map(|(pid, entry)| (entry.start_ticks, *pid))
            .collect();
        nameless.sort_unstable();
        for (_, pid) in nameless {
            let (Some(process), Some(entry)) = (by_pid.get(&pid), self.entries.get_mut(&pid)) else {
                continue;
            };
            let Some(verdict) = entry.verdict.as_mut() else {
                continue;
            };
            let Some((protocol, port)) = verdict.recognised.ports.first().copied() else {
                continue;
            };
            let name = self.names.assign(
                &Parts {
                    recognised: &verdict.recognised,
                    port,
                    address: address_of(&entry.held, protocol, port),
                    container: verdict.facts.container.as_ref(),
                    hosting: verdict.facts.hosting.as_ref(),
                    place: candidate::place(&self.roots.netns, process),
                    cwd: verdict.facts.cwd.as_deref(),
                },
                &live,
            );
            live.insert(name.clone());
            verdict.name = Some(name);
        }
    }

    fn collect(&mut self, by_pid: &HashMap<u32, &Process>) {
        let mut users: HashMap<(Option<NetnsId>, Protocol, u16), u32> = HashMap::new();
        for (pid, entry) in &self.entries {
            let main = entry
                .verdict
                .as_ref()
                .and_then(|verdict| verdict.recognised.ports.first());
            if let (Some((protocol, port)), Some(process)) = (main, by_pid.get(pid)) {
                *users.entry((process.netns, *protocol, *port)).or_default() += 1;
            }
        }
        self.candidates.clear();
        self.suspects.clear();
        for (pid, entry) in &self.entries {
            let (Some(verdict), Some(process)) = (&entry.verdict, by_pid.get(pid)) else {
                continue;
            };
            let (Some(name), Some((protocol, port))) = (&verdict.name, verdict.recognised.ports.first())
            else {
                continue;
            };
            let is_shared = users
                .get(&(process.netns, *protocol, *port))
                .is_some_and(|users| *users > 1);
            let candidate = Candidate {
                pid: *pid,
                start_ticks: entry.start_ticks,
                name: name.clone(),
                recognised: verdict.recognised.clone(),
                container: verdict.facts.container.clone(),
                hosting: verdict.facts.hosting.clone(),
                executable: process.executable.clone(),
                netns: candidate::netns_path(&self.roots, process),
                address: is_shared
                    .then(|| address_of(&entry.held, *protocol, *port))
                    .flatten(),
                log: verdict
                    .recognised
                    .log
                    .as_deref()
                    .and_then(|log| facts::readable_log(&self.roots.proc, *pid, log)),
            };
            if verdict.recognised.confidence >= self.least_confidence {
                self.candidates.push(candidate);
            } else {
                self.suspects.push(candidate);
            }
        }
        for list in [&mut self.candidates, &mut self.suspects] {
            list.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        }
    }
}

/// Reads what a verdict needs and gives it.
fn examine(roots: &Roots, process: &Process, entry: &Entry) -> Option<(Recognised, Facts)> {
    if entry.held.is_empty() {
        return None;
    }
    let listening: Vec<(Protocol, u16)> = entry.held.iter().map(|held| (held.protocol, held.port)).collect();
    let age: Duration = entry.first_seen.elapsed();
    let bare = Evidence {
        executable: process.executable.clone(),
        listening,
        age,
        answer: entry.answer,
        ..Evidence::default()
    };
    // Without a known name only a host of game servers or a usual port make it worth reading more.
    if entry.interest == Interest::Ordinary && places(&process.cgroups).is_empty() && suspect(&bare).is_none()
    {
        return None;
    }
    let facts = Facts::read(roots, process);
    let evidence = facts.evidence(bare);
    let found = recognise(&evidence).or_else(|| suspect(&evidence))?;
    Some((found, facts))
}

fn print_of(process: &Process) -> u64 {
    let mut hasher = DefaultHasher::new();
    (&process.executable, &process.command_line).hash(&mut hasher);
    hasher.finish()
}

/// The one address that the port is bound to; `None` for any or several.
fn address_of(held: &[Held], protocol: Protocol, port: u16) -> Option<IpAddr> {
    let mut addresses = held
        .iter()
        .filter(|held| held.protocol == protocol && held.port == port)
        .map(|held| held.address);
    let first = addresses.next()?;
    (!first.is_unspecified() && addresses.next().is_none()).then_some(first)
}
