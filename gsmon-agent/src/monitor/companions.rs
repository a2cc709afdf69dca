//! Companion processes: which process stands beside which server, and what it uses.
//!
//! Several servers may run the same companion. A process that fits is given to the server whose descendant it is, else
//! to the one that shares its cgroup, else to the one that shares its parent; where only one server asks for it, to that
//! one.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::engine::count_from;
use crate::{
    config::{Companion, Config},
    host::{Found, OwnedSocket, Process, ProcessTable, UsageTracker, process::ticks_now},
    kernel::{Kernel, ServerSlotId},
    world::{companion::CompanionModel, snapshot::Endpoint},
};

/// All companions of all servers.
pub struct Companions {
    all: Vec<(CompanionModel, UsageTracker)>,
}

impl Companions {
    /// In the order of the configuration.
    pub fn new(config: &Config, unix_ms: i64) -> Self {
        let now_ticks = ticks_now().unwrap_or(u64::MAX);
        let all = config.servers.iter().flat_map(|server| {
            server.companions.iter().map(move |spec| {
                let model = CompanionModel::new(server, spec.clone(), unix_ms);
                (model, UsageTracker::watching_since(now_ticks))
            })
        });
        Self { all: all.collect() }
    }

    /// Takes over a new configuration; returns the slots of those who are gone.
    pub fn reload(&mut self, config: &Config, unix_ms: i64) -> Vec<ServerSlotId> {
        let mut old = std::mem::take(&mut self.all);
        for (mut model, mut tracker) in Self::new(config, unix_ms).all {
            let known = old
                .iter()
                .position(|(before, _)| before.server == model.server && before.spec == model.spec);
            if let Some(index) = known {
                (model, tracker) = old.swap_remove(index);
            }
            self.all.push((model, tracker));
        }
        old.iter().filter_map(|(model, _)| model.measured.slot).collect()
    }

    /// Those without a slot in the kernel's tables.
    pub fn slots_wanted(&mut self) -> impl Iterator<Item = &mut Option<ServerSlotId>> {
        self.all
            .iter_mut()
            .map(|(model, _)| &mut model.measured.slot)
            .filter(|slot| slot.is_none())
    }

    /// Companions with what their processes use.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&mut CompanionModel, &mut UsageTracker)> {
        self.all.iter_mut().map(|(model, tracker)| (model, tracker))
    }

    /// Gives what discovery found (in the order of the configuration) to the servers that it belongs to, follows it, and
    /// returns its sockets.
    pub fn place(
        &mut self,
        found: &[Found],
        servers: &[(&str, &[u32])],
        processes: &ProcessTable,
        mut kernel: Option<&mut Kernel>,
    ) -> Vec<(ServerSlotId, OwnedSocket)> {
        if self.all.is_empty() {
            return Vec::new();
        }
        // Discovery gives a process to the first who asks; those who ask for the same share what was found.
        let mut pools: BTreeMap<Criteria<'_>, (Vec<usize>, Vec<u32>)> = BTreeMap::new();
        for (index, (model, _)) in self.all.iter().enumerate() {
            let pool = pools.entry(criteria(&model.spec)).or_default();
            pool.0.push(index);
            pool.1
                .extend(found.get(index).into_iter().flat_map(|found| &found.pids));
        }
        let mut owner: HashMap<u32, usize> = HashMap::new();
        for (askers, pids) in pools.into_values() {
            for pid in pids {
                let server_of = |index: usize| {
                    let name = self.all[index].0.server.as_str();
                    servers
                        .iter()
                        .find(|(server, _)| *server == name)
                        .map_or(&[][..], |(_, pids)| pids)
                };
                let chosen = match askers[..] {
                    [only] => Some(only),
                    _ => choose(pid, &askers, server_of, processes),
                };
                if let Some(index) = chosen {
                    owner.insert(pid, index);
                }
            }
        }
        let mut sockets = Vec::new();
        for (index, (model, usage)) in self.all.iter_mut().enumerate() {
            let mut pids: Vec<u32> = owner
                .iter()
                .filter(|(_, at)| **at == index)
                .map(|(pid, _)| *pid)
                .collect();
            pids.sort_unstable();
            let held = found
                .iter()
                .flat_map(|found| &found.sockets)
                .filter(|owned| owned.pid.is_some_and(|pid| pids.contains(&pid)));
            let mut endpoints = Vec::new();
            for owned in held {
                endpoints.push(Endpoint {
                    protocol: owned.socket.protocol,
                    address: owned.socket.address,
                    port: owned.socket.port,
                    netns: owned.socket.netns.0,
                });
                if let Some(slot) = model.measured.slot {
                    sockets.push((slot, owned.clone()));
                }
            }
            if let (Some(kernel), Some(slot)) = (&mut kernel, model.measured.slot) {
                for pid in &pids {
                    kernel.follow(*pid, slot, count_from(usage, processes, *pid));
                }
            }
            model.found(&pids, endpoints);
        }
        sockets
    }
}

/// Executable and command line that a companion is found by.
type Criteria<'a> = (Option<&'a str>, Option<&'a str>);

fn criteria(spec: &Companion) -> Criteria<'_> {
    (spec.executable.as_deref(), spec.command_line.as_deref())
}

fn choose<'a>(
    pid: u32,
    askers: &[usize],
    server_of: impl Fn(usize) -> &'a [u32],
    processes: &ProcessTable,
) -> Option<usize> {
    let process = processes.get(pid)?;
    let only = |fits: &dyn Fn(&Process) -> bool| {
        let mut fitting = askers.iter().filter(|index| {
            server_of(**index)
                .iter()
                .filter_map(|pid| processes.get(*pid))
                .any(fits)
        });
        let first = fitting.next()?;
        fitting.next().is_none().then_some(*first)
    };
    let ancestors = ancestors(process, processes);
    only(&|server| ancestors.contains(&server.pid))
        .or_else(|| only(&|server| server.cgroup_id.is_some() && server.cgroup_id == process.cgroup_id))
        .or_else(|| only(&|server| server.parent == process.parent && process.parent > 1))
}

fn ancestors(process: &Process, processes: &ProcessTable) -> HashSet<u32> {
    let mut seen = HashSet::new();
    let mut at = process.parent;
    while at > 1 && seen.insert(at) {
        at = processes.get(at).map_or(0, |process| process.parent);
    }
    seen
}
