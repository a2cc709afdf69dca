//! Function probes: attaching them to the processes of a server, reading their slots, keeping their cost within bounds.
//!
//! `target` says which file, `symbols` where in it, `pairs` puts programs there, `cost` measures what they cost,
//! `cap` decides how much of that is worth it, `rings` has what calls took between two sleeps, `reading` is what a drain
//! finds. Not here: what the figures mean (world).

mod cap;
mod cost;
mod error;
mod pairs;
mod reading;
mod rings;
mod symbols;
mod target;

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    os::unix::fs::MetadataExt,
    sync::Arc,
    time::Duration,
};

use aya::Ebpf;
use gsmon_common::{
    limits,
    probe::{CallKey, FIXED_SLOTS, NOT_TIMED, ProbeSlot},
};

pub use self::{
    cap::ProbeState,
    error::ProbeError,
    reading::{CallCounts, ProbeReading},
    rings::CallSum,
};
use self::{
    cap::{Cap, Level},
    cost::FirstInstruction,
    pairs::{Binding, Pair, Pairs},
    rings::{CallRings, SlotSums},
    target::Identity,
};
use super::{KernelError, ServerSlotId, attach::Attached, object::KernelHash, object::Object, slab::Slab};
use crate::config::{ProbeMeasure, ProbeSettings};

/// Functions whose place is remembered.
const MOST_PLACES: usize = 1_024;
/// Drains between two looks for threads that died inside a call.
const SWEEP_EVERY: u32 = 16;

/// How probes find their slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeBinding {
    /// By attach cookie where the kernel has them (5.15), else one pair of programs per slot.
    Best,
    /// One pair of programs per slot, as on older kernels.
    Fixed,
}

/// A probe in one process.
struct Spot {
    pid: u32,
    identity: Identity,
    target: target::Target,
    offset: u64,
    first: FirstInstruction,
    slot: u32,
    pair: Pair,
    base: Box<ProbeSlot>,
}

/// A probe of a server.
struct Probe {
    settings: Arc<ProbeSettings>,
    spots: Vec<Spot>,
    /// Processes without the function, and why.
    refused: HashMap<u32, (Identity, ProbeError)>,
    cap: Cap,
    /// What processes that have ended had counted after the last drain.
    left: CallCounts,
}

/// A function of a file: device, inode, size, time of change, and the place.
type PlaceKey = (u64, u64, u64, i64, crate::config::ProbePlace, ProbeMeasure);

/// All probes.
pub struct ProbeTable {
    slots: Slab<ProbeSlot>,
    /// [`CallKey`] to `gsmon_common::probe::ProbeCall`, as words.
    calls: KernelHash<[u32; 2], [u64; 5]>,
    rings: CallRings,
    free: Vec<u32>,
    servers: HashMap<ServerSlotId, Vec<Probe>>,
    places: HashMap<PlaceKey, (u64, FirstInstruction)>,
    pairs: Pairs,
    drains: u32,
}

impl ProbeTable {
    /// Maps the tables of the object. No program is loaded before the first probe.
    pub fn new(object: &mut Object, binding: ProbeBinding) -> Result<Self, KernelError> {
        let binding = match binding {
            ProbeBinding::Best => Binding::best(),
            ProbeBinding::Fixed => Binding::Fixed,
        };
        let last = match binding {
            Binding::Cookie => limits::PROBES - 1,
            Binding::Fixed => FIXED_SLOTS,
        };
        Ok(Self {
            slots: object.slab("PROBE_SLOTS", limits::PROBES)?,
            calls: object.take("PROBE_CALLS")?,
            rings: CallRings::new(object)?,
            free: (1..=last).rev().collect(),
            servers: HashMap::new(),
            places: HashMap::new(),
            pairs: Pairs::new(binding),
            drains: 0,
        })
    }

    /// Probes these functions in these processes of a server, and nothing else of it. Returns programs that were
    /// loaded for it.
    pub fn set(
        &mut self,
        ebpf: &mut Ebpf,
        server: ServerSlotId,
        wanted: &[ProbeSettings],
        pids: &[u32],
    ) -> Vec<Attached> {
        if wanted.is_empty() && !self.servers.contains_key(&server) {
            return Vec::new();
        }
        let mut probes = self.servers.remove(&server).unwrap_or_default();
        let mut kept = Vec::with_capacity(wanted.len());
        for settings in wanted {
            let place = probes.iter().position(|probe| *probe.settings == *settings);
            kept.push(match place {
                Some(place) => probes.swap_remove(place),
                None => Probe {
                    settings: Arc::new(settings.clone()),
                    spots: Vec::new(),
                    refused: HashMap::new(),
                    cap: Cap::new(settings),
                    left: CallCounts::default(),
                },
            });
        }
        for mut probe in probes {
            self.leave(ebpf, &mut probe, |_| true);
        }
        let living: HashMap<u32, Identity> = pids
            .iter()
            .filter_map(|pid| Some((*pid, Identity::of(*pid)?)))
            .collect();
        for probe in &mut kept {
            self.leave(ebpf, probe, |spot| living.get(&spot.pid) != Some(&spot.identity));
            probe.refused.retain(|pid, (identity, error)| {
                // What is not loaded yet may be by now.
                living.get(pid) == Some(identity) && !matches!(error, ProbeError::NotLoaded { .. })
            });
            if probe.spots.is_empty() && probe.refused.is_empty() {
                // A server that starts anew has a new chance.
                probe.cap = Cap::new(&probe.settings);
            }
            for (pid, identity) in &living {
                if probe.refused.contains_key(pid) || probe.spots.iter().any(|spot| spot.pid == *pid) {
                    continue;
                }
                match self.enter(ebpf, probe, *pid, *identity) {
                    Ok(spot) => probe.spots.push(spot),
                    Err(error) => {
                        let first = !matches!(error, ProbeError::NotLoaded { .. } | ProbeError::Ended);
                        if first && pids.len() == 1 {
                            tracing::warn!(probe = probe.settings.name, pid, "not probed: {error}");
                        }
                        probe.refused.insert(*pid, (*identity, error));
                    }
                }
            }
        }
        if !kept.is_empty() {
            self.servers.insert(server, kept);
        }
        self.pairs.take_loaded()
    }

    fn enter(
        &mut self,
        ebpf: &mut Ebpf,
        probe: &Probe,
        pid: u32,
        identity: Identity,
    ) -> Result<Spot, ProbeError> {
        let settings = &probe.settings;
        let target = target::of_process(pid, settings.object.as_deref())?;
        let (offset, first) = self.place(&target, settings)?;
        let Some(slot) = self.free.pop() else {
            return Err(match self.pairs.binding() {
                Binding::Cookie => ProbeError::TooMany {
                    limit: limits::PROBES - 1,
                },
                Binding::Fixed => ProbeError::TooManyWithoutCookies { limit: FIXED_SLOTS },
            });
        };
        if self.pairs.cost().is_none() {
            let cost = cost::measure(&mut self.pairs, ebpf, &self.slots, slot);
            self.pairs.set_cost(cost);
        }
        self.forget_calls(slot);
        let mut base = Box::new(self.slots.get(slot as usize).unwrap_or_default());
        base.tgid = pid;
        let spot = Spot {
            pid,
            identity,
            target,
            offset,
            first,
            slot,
            pair: Pair::default(),
            base,
        };
        self.steer(
            slot,
            pid,
            probe.cap.level(),
            probe.cap.per_interval(Duration::from_secs(1)),
        );
        let mut spot = spot;
        match self.pairs.attach(
            ebpf,
            &mut spot.pair,
            &spot.target.path,
            spot.offset,
            pid,
            slot,
            probe.cap.level(),
        ) {
            Ok(()) => Ok(spot),
            Err(error) => {
                self.pairs.detach(ebpf, &mut spot.pair, slot);
                self.steer(slot, 0, Level::Detached, 0);
                self.free.push(slot);
                Err(error)
            }
        }
    }

    /// Where a function is; what was found in a file once is found there again, as long as the file is the same.
    fn place(
        &mut self,
        target: &target::Target,
        settings: &ProbeSettings,
    ) -> Result<(u64, FirstInstruction), ProbeError> {
        let file = File::open(&target.path).map_err(|source| ProbeError::Read {
            object: target.shown.clone(),
            source,
        })?;
        let about = file.metadata().map_err(|source| ProbeError::Read {
            object: target.shown.clone(),
            source,
        })?;
        // The configuration was checked: a probe has a place.
        let place = settings
            .place()
            .unwrap_or(crate::config::ProbePlace::Address(u64::MAX));
        let key = (
            about.dev(),
            about.ino(),
            about.size(),
            about
                .mtime_nsec()
                .wrapping_add(about.mtime().wrapping_mul(1_000_000_000)),
            place,
            settings.measure,
        );
        if let Some(known) = self.places.get(&key) {
            return Ok(*known);
        }
        let read = file.try_clone().map_err(|source| ProbeError::Read {
            object: target.shown.clone(),
            source,
        })?;
        let offset = symbols::resolve(read, &target.shown, &key.4, settings.measure)?;
        let found = (offset, FirstInstruction::at(&file, offset));
        if self.places.len() >= MOST_PLACES {
            self.places.clear();
        }
        self.places.insert(key, found);
        Ok(found)
    }

    /// Detaches from processes, and keeps what they had counted.
    fn leave(&mut self, ebpf: &mut Ebpf, probe: &mut Probe, gone: impl Fn(&Spot) -> bool) {
        let (left, kept) = std::mem::take(&mut probe.spots).into_iter().partition(gone);
        probe.spots = kept;
        let left: Vec<Spot> = left;
        for mut spot in left {
            self.pairs.detach(ebpf, &mut spot.pair, spot.slot);
            let lost = self.forget_calls(spot.slot);
            if let Some(now) = self.slots.get(spot.slot as usize) {
                probe.left.add_growth(&now, &spot.base);
            }
            probe.left.lost += lost;
            self.steer(spot.slot, 0, Level::Detached, 0);
            self.free.push(spot.slot);
        }
    }

    /// Says what the programs shall do in a slot. `more` is how many calls they may time.
    fn steer(&self, slot: u32, tgid: u32, level: Level, more: u64) {
        let slot = slot as usize;
        // SAFETY: each projects a field of the value that the slab passes; programs only read these three.
        unsafe {
            let timed = self
                .slots
                .read_field(slot, |value| &raw mut (*value).timed)
                .unwrap_or(0);
            self.slots.write_field(
                slot,
                |value| &raw mut (*value).timed_limit,
                timed.saturating_add(more),
            );
            self.slots
                .write_field(slot, |value| &raw mut (*value).timed_ratio, level.ratio());
            self.slots.write_field(slot, |value| &raw mut (*value).tgid, tgid);
        }
    }

    /// Removes the calls that threads of a slot are in; returns how many of them were timed.
    fn forget_calls(&mut self, slot: u32) -> u64 {
        self.remove_calls(|key| key.slot == slot).into_values().sum()
    }

    /// Removes calls; returns the timed ones by slot.
    fn remove_calls(&mut self, unwanted: impl Fn(&CallKey) -> bool) -> HashMap<u32, u64> {
        let keys: Vec<CallKey> = self
            .calls
            .keys()
            .take(limits::PROBE_CALLS as usize * 2)
            .filter_map(Result::ok)
            .map(|[tid, slot]| CallKey { tid, slot })
            .filter(|key| unwanted(key))
            .collect();
        let mut timed = HashMap::new();
        for key in keys {
            let words = [key.tid, key.slot];
            let call = self.calls.get(&words, 0);
            let _ = self.calls.remove(&words);
            let Ok([start_ns, _, _, _, ring]) = call else {
                continue;
            };
            if start_ns > NOT_TIMED {
                *timed.entry(key.slot).or_default() += 1;
            }
            // Its lower half, on the machines that gsmon supports.
            self.rings.give_back(ring as u32);
        }
        timed
    }

    /// Calls of threads that died inside them.
    fn sweep(&mut self) -> HashMap<u32, u64> {
        let processes: HashMap<u32, u32> = self
            .servers
            .values()
            .flatten()
            .flat_map(|probe| &probe.spots)
            .map(|spot| (spot.slot, spot.pid))
            .collect();
        self.remove_calls(|key| {
            processes
                .get(&key.slot)
                .is_none_or(|pid| !std::path::Path::new(&format!("/proc/{pid}/task/{}", key.tid)).exists())
        })
    }

    /// Reads what came since the last drain, `elapsed` ago, and keeps every probe within its cap.
    pub fn drain(
        &mut self,
        ebpf: &mut Ebpf,
        elapsed: Duration,
        is_gone: impl Fn(ServerSlotId) -> bool,
    ) -> HashMap<ServerSlotId, Vec<ProbeReading>> {
        let gone: HashSet<ServerSlotId> = self.servers.keys().copied().filter(|id| is_gone(*id)).collect();
        for id in gone {
            self.set(ebpf, id, &[], &[]);
        }
        if self.servers.is_empty() {
            return HashMap::new();
        }
        self.drains = self.drains.wrapping_add(1);
        let mut sums = self.rings.read();
        let mut dead = if self.drains.is_multiple_of(SWEEP_EVERY) {
            self.sweep()
        } else {
            HashMap::new()
        };
        let mut servers = std::mem::take(&mut self.servers);
        let mut readings = HashMap::with_capacity(servers.len());
        for (id, probes) in &mut servers {
            let read = probes
                .iter_mut()
                .map(|probe| self.read(ebpf, probe, elapsed, &mut dead, &mut sums))
                .collect();
            readings.insert(*id, read);
        }
        self.servers = servers;
        readings
    }

    fn read(
        &mut self,
        ebpf: &mut Ebpf,
        probe: &mut Probe,
        elapsed: Duration,
        dead: &mut HashMap<u32, u64>,
        sums: &mut HashMap<u32, SlotSums>,
    ) -> ProbeReading {
        let mut calls = std::mem::take(&mut probe.left);
        let mut by_sleep = Vec::new();
        for spot in &mut probe.spots {
            let Some(now) = self.slots.get(spot.slot as usize) else {
                continue;
            };
            let mut grown = CallCounts::default();
            grown.add_growth(&now, &spot.base);
            grown.lost += dead.remove(&spot.slot).unwrap_or(0);
            let new = sums.remove(&spot.slot).unwrap_or_default();
            grown.unbatched += new.overwritten;
            by_sleep.extend(new.sums);
            calls.add(&grown);
            *spot.base = now;
        }
        let first = probe.spots.first().map(|spot| spot.first);
        let cost = first.and_then(|first| self.pairs.cost()?.of(first));
        let before = probe.cap.level();
        let cost_per_call_ns = cost.map(|cost| before.cost_ns(cost));
        if !probe.spots.is_empty() {
            probe.cap.update(calls.calls, elapsed, cost);
        }
        let level = probe.cap.level();
        let more = probe.cap.per_interval(elapsed);
        let mut failed = None;
        for spot in &mut probe.spots {
            let (path, offset, pid, slot) = (&spot.target.path, spot.offset, spot.pid, spot.slot);
            let fewer = before.wants_return() && !level.wants_return();
            if fewer {
                // Nothing more may begin that waits for a return.
                self.steer(slot, pid, level, more);
            }
            let changed = self
                .pairs
                .attach(ebpf, &mut spot.pair, path, offset, pid, slot, level);
            failed = changed.err().or(failed);
            if fewer {
                probe.left.lost += self.forget_calls(slot);
            } else {
                self.steer(slot, pid, level, more);
            }
        }
        if level != before && level.rank() != before.rank() {
            tracing::warn!(
                probe = probe.settings.name,
                "function probe: {}",
                probe.cap.state().reason().unwrap_or("every call is timed again")
            );
        }
        let state = match (failed, probe.spots.is_empty()) {
            (Some(error), _) => ProbeState::Failed {
                reason: error.to_string(),
            },
            (None, false) => probe.cap.state(),
            (None, true) => refusal(&probe.refused),
        };
        ProbeReading {
            settings: probe.settings.clone(),
            state,
            calls,
            by_sleep,
            cost_per_call_ns,
        }
    }

    /// Slots in use.
    pub fn used(&self) -> u64 {
        let spots = self
            .servers
            .values()
            .flatten()
            .map(|probe| probe.spots.len() as u64);
        spots.sum()
    }

    /// How often a value was asked for whose part of the table could not be mapped.
    pub fn refused(&self) -> u64 {
        self.slots.refused() + self.rings.refused()
    }

    /// Rings of calls in use.
    pub fn rings_used(&self) -> u64 {
        self.rings.used()
    }

    /// How slots are found, in words.
    pub fn binding(&self) -> (&'static str, &'static str) {
        self.pairs.binding().words()
    }
}

/// Empty programs at the place of a probe, for benches.
pub(super) fn attach_empty(ebpf: &mut Ebpf, probe: &ProbeSettings, pid: u32) -> Result<(), ProbeError> {
    let target = target::of_process(pid, probe.object.as_deref())?;
    let file = File::open(&target.path).map_err(|source| ProbeError::Read {
        object: target.shown.clone(),
        source,
    })?;
    let place = probe
        .place()
        .unwrap_or(crate::config::ProbePlace::Address(u64::MAX));
    let offset = symbols::resolve(file, &target.shown, &place, probe.measure)?;
    pairs::attach_empty(ebpf, &target.path, offset, pid, probe.measure)
}

/// Why a probe is in no process.
fn refusal(refused: &HashMap<u32, (Identity, ProbeError)>) -> ProbeState {
    let lasting = refused
        .values()
        .map(|(_, error)| error)
        .find(|error| !matches!(error, ProbeError::NotLoaded { .. } | ProbeError::Ended));
    match (lasting, refused.values().next()) {
        (Some(error), _) => ProbeState::Failed {
            reason: error.to_string(),
        },
        (None, Some((_, error))) => ProbeState::Waiting {
            reason: error.to_string(),
        },
        (None, None) => ProbeState::Waiting {
            reason: "the server does not run".into(),
        },
    }
}
