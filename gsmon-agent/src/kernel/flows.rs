//! Draining flow slots: baselines, idle flows, quarantine, detail slots.
//!
//! A slot's life: a kernel program pops it from the free stack and writes key and generation; here it is noticed by its
//! generation; when idle, its key is deleted (from the slot too: programs remember slots); two drains later (no program
//! can hold it any more) the last counts are read and it goes back to the stack. Counters are never zeroed.

use std::{collections::HashMap, io, time::Duration};

use aya::maps::MapError;
use gsmon_common::{
    flow::{DetailSlot, FlowKey, FlowSlot, PackedTraffic, Traffic},
    hist,
    netcode::layouts::LayoutPlace,
    proto,
};

use super::{
    KernelError, ServerGrowth, ServerSlotId,
    attention::Turn,
    netcode::{LayoutChoices, NetcodeReading, NetcodeTable},
    object::{FreeStack, KernelHash, Object},
    slab::Slab,
};
use crate::config::{NetcodeSampling, TierTimeouts};

/// Slots are scanned in chunks of this size, up to the first chunk that was never used.
const CHUNK: usize = 1024;
/// Drains that a slot waits between the deletion of its key and its return.
const QUARANTINE_DRAINS: u8 = 2;
/// Drains with traffic both ways before a flow gets a detail slot.
const DRAINS_BEFORE_DETAIL: u8 = 2;
/// Drains after which the distributions of a flow are read anew: they are of the flow's whole life and move slowly.
const DETAIL_EVERY: u64 = 16;
/// Flows per server that are reported one by one.
pub const TOP_FLOWS: usize = 64;

// SAFETY: `repr(C)`, 24 bytes, no implicit padding.
unsafe impl aya::Pod for FlowKeyPod {}

/// [`FlowKey`] for aya's maps.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct FlowKeyPod(pub FlowKey);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Free,
    Live,
    Quarantine(u8),
}

#[derive(Clone, Copy)]
struct Baseline {
    generation: u32,
    life: Life,
    key: FlowKey,
    rx: PackedTraffic,
    tx: PackedTraffic,
    /// Since the flow began.
    rx_total: Traffic,
    tx_total: Traffic,
    idle: Duration,
    /// Time since the first drain that saw it.
    age: Duration,
    /// Time since the last drain that saw a packet from it.
    rx_silence: Option<Duration>,
    both_ways: u8,
    detail: u32,
}

impl Default for Baseline {
    fn default() -> Self {
        Self {
            generation: 0,
            life: Life::Free,
            key: FlowKey::default(),
            rx: PackedTraffic::default(),
            tx: PackedTraffic::default(),
            rx_total: Traffic::default(),
            tx_total: Traffic::default(),
            idle: Duration::ZERO,
            age: Duration::ZERO,
            rx_silence: None,
            both_ways: 0,
            detail: 0,
        }
    }
}

/// One flow of the last interval.
#[derive(Clone, Debug)]
pub struct FlowReading {
    /// Who.
    pub key: FlowKey,
    /// Since the flow began.
    pub rx_total: Traffic,
    /// Since the flow began.
    pub tx_total: Traffic,
    /// In the interval.
    pub rx: Traffic,
    /// In the interval.
    pub tx: Traffic,
    /// Distributions, for flows with a detail slot.
    pub detail: Option<DetailReading>,
}

/// A live flow, in few words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SeenFlow {
    /// Who.
    pub key: FlowKey,
    /// Its place in the table.
    pub slot: u32,
    /// Since the flow began.
    pub rx_total: Traffic,
    /// Since the flow began.
    pub tx_total: Traffic,
    /// In the interval.
    pub rx: Traffic,
    /// In the interval.
    pub tx: Traffic,
    /// Time since it was first seen.
    pub age_ms: i64,
    /// Time since an interval that had packets from it; `None` when there was none yet.
    pub rx_silence_ms: Option<u32>,
}

/// Quantiles of a detail slot.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct DetailReading {
    /// Median size of packets from the client.
    pub rx_size_p50_bytes: Option<f64>,
    /// Median size of packets to the client.
    pub tx_size_p50_bytes: Option<f64>,
    /// Median inter-arrival time from the client.
    pub rx_inter_arrival_p50_ns: Option<f64>,
    /// 95th percentile of the inter-arrival time from the client.
    pub rx_inter_arrival_p95_ns: Option<f64>,
    /// Median inter-arrival time to the client.
    pub tx_inter_arrival_p50_ns: Option<f64>,
}

/// What a server's flows did.
#[derive(Clone, Debug, Default)]
pub struct ServerFlows {
    /// In the interval, all flows.
    pub rx: Traffic,
    /// In the interval, all flows.
    pub tx: Traffic,
    /// Live flows.
    pub live: u64,
    /// The busiest by bytes.
    pub top: Vec<FlowReading>,
    /// All live ones.
    pub seen: Vec<SeenFlow>,
    /// What the packets of those said that have a layout and were read this time.
    pub netcode: Vec<NetcodeReading>,
}

/// What a drain gathers, by server slot: every flow asks for its server, and a slot is an index.
struct Gathering {
    servers: Vec<Option<ServerFlows>>,
    /// Live flows of the last drain: so much room is needed again.
    live: Vec<usize>,
}

impl Gathering {
    /// For `servers` slots and slot 0.
    fn new(servers: u32) -> Self {
        let len = servers as usize + 1;
        Self {
            servers: std::iter::repeat_with(|| None).take(len).collect(),
            live: vec![0; len],
        }
    }

    /// Slot 0, nobody's, for numbers that no server has.
    fn of(&mut self, server: ServerSlotId) -> &mut ServerFlows {
        let index = server.0 as usize;
        let index = if index < self.servers.len() { index } else { 0 };
        let room = self.live[index] + self.live[index] / 8;
        self.servers[index].get_or_insert_with(|| ServerFlows {
            seen: Vec::with_capacity(room),
            ..ServerFlows::default()
        })
    }

    fn take(&mut self) -> impl Iterator<Item = (ServerSlotId, ServerFlows)> {
        let parts = self.servers.iter_mut().zip(&mut self.live).enumerate();
        parts.filter_map(|(index, (flows, live))| {
            *live = flows.as_ref().map_or(0, |flows| flows.seen.len());
            Some((ServerSlotId(index as u32), flows.take()?))
        })
    }
}

/// The flow tables.
pub struct FlowTable {
    slots: Slab<FlowSlot>,
    details: Slab<DetailSlot>,
    netcode: NetcodeTable,
    keys: KernelHash<FlowKeyPod, u32>,
    free: FreeStack,
    baselines: Vec<Baseline>,
    readings: Vec<DetailReading>,
    gathering: Gathering,
    /// Bytes of the interval and place in the list of flows, of one server at a time.
    busiest: Vec<(u64, u32)>,
    drains: u64,
    free_details: Vec<u32>,
    resting_details: Vec<(u32, u8)>,
    timeouts: TierTimeouts,
    /// Slots in use or in quarantine at the last drain.
    pub used: u64,
    /// Detail slots in use.
    pub details_used: u64,
    /// Flows that asked for a detail slot when none was free.
    pub details_exhausted: u64,
    /// Slots that could not be given back.
    pub returns_failed: u64,
}

impl FlowTable {
    /// Takes the flow maps of `object` and fills the free stack.
    pub fn new(
        object: &mut Object,
        timeouts: TierTimeouts,
        sampling: NetcodeSampling,
    ) -> Result<Self, KernelError> {
        let limits = object.options.limits;
        let slots = object.slab("FLOW_SLOTS", limits.flows + 1)?;
        let details = object.slab("DETAILS", limits.details + 1)?;
        let keys = object.take("FLOWS")?;
        let mut free: FreeStack = object.take("FLOW_FREE")?;
        // Highest first, so that the lowest slots are used first and the used part stays dense.
        for slot in (1..=limits.flows).rev() {
            free.push(slot, 0).map_err(|source| KernelError::Map {
                name: "FLOW_FREE",
                source,
            })?;
        }
        Ok(Self {
            slots,
            details,
            netcode: NetcodeTable::new(object, sampling)?,
            keys,
            free,
            baselines: vec![Baseline::default(); CHUNK],
            readings: Vec::new(),
            gathering: Gathering::new(limits.servers),
            busiest: Vec::new(),
            drains: 0,
            free_details: (1..=limits.details).rev().collect(),
            resting_details: Vec::new(),
            timeouts,
            used: 0,
            details_used: 0,
            details_exhausted: 0,
            returns_failed: 0,
        })
    }

    /// New timeouts after a reload.
    pub fn set_timeouts(&mut self, timeouts: TierTimeouts) {
        self.timeouts = timeouts;
    }

    /// Which packets of flows with a layout are read from now on.
    pub fn set_netcode_sampling(&mut self, sampling: NetcodeSampling) {
        self.netcode.set_sampling(sampling);
    }

    /// Reads every slot that was ever used. `elapsed` is the time since the previous drain; `is_gone` names servers
    /// whose flows are to be dropped.
    pub fn drain(
        &mut self,
        elapsed: Duration,
        is_gone: impl Fn(ServerSlotId) -> bool,
    ) -> HashMap<ServerSlotId, ServerFlows> {
        let mut servers = std::mem::replace(&mut self.gathering, Gathering::new(0));
        self.used = 0;
        self.drains += 1;
        self.netcode.begin_drain(elapsed);
        self.rest_details();
        let mut start = 0;
        while start < self.slots.len() {
            let end = (start + CHUNK).min(self.slots.len());
            if self.baselines.len() < end {
                self.baselines.resize(end, Baseline::default());
            }
            let mut ever_used = false;
            for index in start..end {
                let Some(slot) = self.slots.get(index) else { break };
                if slot.generation == 0 {
                    continue;
                }
                ever_used = true;
                self.drain_slot(index, &slot, elapsed, &is_gone, &mut servers);
            }
            if !ever_used {
                break;
            }
            start = end;
        }
        for flows in servers.servers.iter_mut().flatten() {
            self.pick_top(flows);
        }
        let read = servers.take().collect();
        self.gathering = servers;
        read
    }

    /// How often a value was asked for whose part of a table could not be mapped.
    pub fn refused(&self) -> u64 {
        self.slots.refused() + self.details.refused() + self.netcode.refused()
    }

    /// Flows that are read by a layout.
    pub fn netcode_used(&self) -> u64 {
        self.netcode.used as u64
    }

    /// Of them, those that rest.
    pub fn netcode_resting(&self) -> u64 {
        self.netcode.resting as u64
    }

    /// By which layouts the flows of a server are read from the next drain on.
    pub fn choose_layouts(&mut self, server: ServerSlotId, choices: &LayoutChoices) {
        self.netcode.choose(server.0, choices);
    }

    /// Puts a layout into the table.
    pub fn set_layout(
        &mut self,
        place: LayoutPlace,
        layout: gsmon_common::netcode::Layout,
    ) -> Result<(), KernelError> {
        self.netcode.set_layout(place, layout)
    }

    /// Adds what the flows of some servers have carried since the last drain.
    pub fn peek(&self, servers: &mut HashMap<ServerSlotId, ServerGrowth>) {
        let mut start = 0;
        while start < self.slots.len() {
            let end = (start + CHUNK).min(self.slots.len());
            let mut ever_used = false;
            for index in start..end {
                let Some(slot) = self.slots.get(index) else { break };
                if slot.generation == 0 {
                    continue;
                }
                ever_used = true;
                let base = self.baselines.get(index).copied().unwrap_or_default();
                // A new occupant's key is in its slot; its counts go on where the previous one's ended.
                let key = if base.generation == slot.generation {
                    base.key
                } else {
                    slot.key
                };
                if let Some(growth) = servers.get_mut(&ServerSlotId(u32::from(key.server))) {
                    add(&mut growth.rx, slot.rx.carried.since(base.rx));
                    add(&mut growth.tx, slot.tx.carried.since(base.tx));
                }
            }
            if !ever_used {
                break;
            }
            start = end;
        }
    }

    fn drain_slot(
        &mut self,
        index: usize,
        slot: &FlowSlot,
        elapsed: Duration,
        is_gone: &impl Fn(ServerSlotId) -> bool,
        servers: &mut Gathering,
    ) {
        let base = &mut self.baselines[index];
        if base.generation != slot.generation {
            // A new occupant: its first counts come on top of the previous one's last.
            base.generation = slot.generation;
            base.life = Life::Live;
            base.key = slot.key;
            base.rx_total = Traffic::default();
            base.tx_total = Traffic::default();
            base.idle = Duration::ZERO;
            base.age = Duration::ZERO;
            base.rx_silence = None;
            base.both_ways = 0;
        } else {
            base.age += elapsed;
        }
        if base.life == Life::Free {
            return;
        }
        self.used += 1;
        let rx = slot.rx.carried.since(base.rx);
        let tx = slot.tx.carried.since(base.tx);
        base.rx = slot.rx.carried;
        base.tx = slot.tx.carried;
        add(&mut base.rx_total, rx);
        add(&mut base.tx_total, tx);
        let server = ServerSlotId(u32::from(base.key.server));
        let flows = servers.of(server);
        add(&mut flows.rx, rx);
        add(&mut flows.tx, tx);
        match base.life {
            Life::Free => {}
            Life::Live => {
                flows.live += 1;
                base.rx_silence = match rx.packets {
                    0 => base.rx_silence.map(|silence| silence + elapsed),
                    _ => Some(Duration::ZERO),
                };
                flows.seen.push(SeenFlow {
                    key: base.key,
                    slot: index as u32,
                    rx_total: base.rx_total,
                    tx_total: base.tx_total,
                    rx,
                    tx,
                    age_ms: base.age.as_millis() as i64,
                    rx_silence_ms: base
                        .rx_silence
                        .map(|silence| u32::try_from(silence.as_millis()).unwrap_or(u32::MAX)),
                });
                let moved = rx.packets + tx.packets > 0;
                base.idle = if moved {
                    Duration::ZERO
                } else {
                    base.idle + elapsed
                };
                if rx.packets > 0 && tx.packets > 0 {
                    base.both_ways = base.both_ways.saturating_add(1);
                }
                let (mut detail, is_udp, key) = (base.detail, base.key.protocol == proto::UDP, base.key);
                if detail == 0 && base.both_ways >= DRAINS_BEFORE_DETAIL && moved {
                    self.give_detail(index);
                    detail = self.baselines[index].detail;
                }
                if detail != 0 && is_udp {
                    if let Some(layout) = self.netcode.change(&key, detail) {
                        self.set_flow_layout(index, detail, layout);
                    } else {
                        match self.netcode.turn(&key, detail, elapsed, rx.packets + tx.packets) {
                            Turn::Read if moved => {
                                if let Some(read) = self.netcode.read(key, detail) {
                                    servers.of(server).netcode.push(read);
                                }
                                // Programs of a flow without a layout look at nothing: a rest costs nothing.
                                if self.netcode.settle(&key, detail) {
                                    self.write_layout(index, 0);
                                }
                            }
                            Turn::Wake => {
                                let number = self.netcode.wake(detail);
                                self.write_layout(index, number);
                            }
                            Turn::Read | Turn::Rest => {}
                        }
                    }
                }
                let base = &mut self.baselines[index];
                if base.detail != 0 && base.idle >= self.timeouts.detail {
                    self.take_detail(index);
                }
                let base = &mut self.baselines[index];
                if base.idle >= self.timeouts.flow || is_gone(server) {
                    // A key that is not there (deleted under us) is as good as deleted.
                    let _ = self.keys.remove(&FlowKeyPod(base.key));
                    // SAFETY: projects a field of the value that `write_field` passes. No program writes the key of a
                    // slot that is not on the free stack.
                    unsafe {
                        self.slots
                            .write_field(index, |slot| &raw mut (*slot).key, FlowKey::default());
                    }
                    base.life = Life::Quarantine(QUARANTINE_DRAINS);
                    self.take_detail(index);
                }
            }
            Life::Quarantine(0) => {
                base.life = Life::Free;
                if self.free.push(index as u32, 0).is_err() {
                    self.returns_failed += 1;
                }
            }
            Life::Quarantine(left) => base.life = Life::Quarantine(left - 1),
        }
    }

    fn give_detail(&mut self, index: usize) {
        let Some(detail) = self.free_details.pop() else {
            self.details_exhausted += 1;
            return;
        };
        // SAFETY: all-zero bytes are a valid DetailSlot; nobody writes a detail slot that no flow names.
        self.details.set(detail as usize, unsafe { std::mem::zeroed() });
        self.baselines[index].detail = detail;
        let place = detail as usize;
        if self.readings.len() <= place {
            self.readings.resize(place + 1, DetailReading::default());
        }
        self.readings[place] = DetailReading::default();
        self.details_used += 1;
        // The previous occupant's last packet is no predecessor of this one's first.
        // SAFETY: project fields of the value that `write_field` passes.
        unsafe {
            self.slots
                .write_field(index, |slot| &raw mut (*slot).rx.last_ns, 0u64);
            self.slots
                .write_field(index, |slot| &raw mut (*slot).tx.last_ns, 0u64);
        }
        self.set_detail(index, detail);
    }

    /// A program that still holds the former number writes into a slot that is emptied under it: one packet at most,
    /// which the next one's guards and numbers show to be a stray.
    fn set_flow_layout(&mut self, index: usize, detail: u32, layout: LayoutPlace) {
        self.write_layout(index, 0);
        self.netcode.begin(detail, layout);
        self.write_layout(index, self.netcode.number(layout));
    }

    /// Tells kernel programs by which layout a flow is read; 0 for none.
    fn write_layout(&self, index: usize, number: u32) {
        // SAFETY: project fields of the value that `write_field` passes.
        unsafe {
            self.slots
                .write_field(index, |slot| &raw mut (*slot).rx.layout, number);
            self.slots
                .write_field(index, |slot| &raw mut (*slot).tx.layout, number);
        }
    }

    fn take_detail(&mut self, index: usize) {
        let detail = std::mem::take(&mut self.baselines[index].detail);
        if detail != 0 {
            self.details_used -= 1;
            if self.netcode.reads(detail) {
                self.set_flow_layout(index, detail, LayoutPlace::NONE);
            }
            self.set_detail(index, 0);
            self.resting_details.push((detail, QUARANTINE_DRAINS));
        }
    }

    fn set_detail(&self, index: usize, detail: u32) {
        // SAFETY: project fields of the value that `write_field` passes.
        unsafe {
            self.slots
                .write_field(index, |slot| &raw mut (*slot).rx.detail, detail);
            self.slots
                .write_field(index, |slot| &raw mut (*slot).tx.detail, detail);
        }
    }

    /// Detail slots go back to the free list two drains after the last program could have held them.
    fn rest_details(&mut self) {
        let free = &mut self.free_details;
        self.resting_details.retain_mut(|(detail, left)| {
            if *left == 0 {
                free.push(*detail);
                return false;
            }
            *left -= 1;
            true
        });
    }

    fn pick_top(&mut self, flows: &mut ServerFlows) {
        let mut busiest = std::mem::take(&mut self.busiest);
        busiest.clear();
        let moved = |flow: &SeenFlow| flow.rx.packets + flow.tx.packets > 0;
        let all = flows.seen.iter().zip(0u32..).filter(|(flow, _)| moved(flow));
        busiest.extend(all.map(|(flow, place)| (flow.rx.bytes + flow.tx.bytes, place)));
        if busiest.len() > TOP_FLOWS {
            busiest.select_nth_unstable_by(TOP_FLOWS, |a, b| b.0.cmp(&a.0));
            busiest.truncate(TOP_FLOWS);
        }
        busiest.sort_unstable_by_key(|flow| std::cmp::Reverse(flow.0));
        flows.top = busiest
            .iter()
            .map(|(_, place)| {
                let flow = &flows.seen[*place as usize];
                FlowReading {
                    key: flow.key,
                    rx_total: flow.rx_total,
                    tx_total: flow.tx_total,
                    rx: flow.rx,
                    tx: flow.tx,
                    detail: self.detail(self.baselines[flow.slot as usize].detail),
                }
            })
            .collect();
        self.busiest = busiest;
    }

    fn detail(&mut self, detail: u32) -> Option<DetailReading> {
        if detail == 0 {
            return None;
        }
        let known = self.readings.get_mut(detail as usize)?;
        let due = (self.drains + u64::from(detail)).is_multiple_of(DETAIL_EVERY);
        if due || *known == DetailReading::default() {
            let slot = self.details.get(detail as usize)?;
            let size = |counts: &[u32], q| hist::quantile(&hist::SIZE, counts, q);
            // What lies in the last bucket is longer than can be told.
            let (longest_ns, _) = hist::INTER_ARRIVAL.bounds(hist::INTER_ARRIVAL.buckets() - 1);
            let gap = |counts: &[u32], q| {
                hist::quantile(&hist::INTER_ARRIVAL, counts, q).filter(|gap_ns| *gap_ns < longest_ns as f64)
            };
            *known = DetailReading {
                rx_size_p50_bytes: size(&slot.rx.size, 0.5),
                tx_size_p50_bytes: size(&slot.tx.size, 0.5),
                rx_inter_arrival_p50_ns: gap(&slot.rx.inter_arrival, 0.5),
                rx_inter_arrival_p95_ns: gap(&slot.rx.inter_arrival, 0.95),
                tx_inter_arrival_p50_ns: gap(&slot.tx.inter_arrival, 0.5),
            };
        }
        Some(*known)
    }

    /// Adds a packet each way to every flow that was filled in, as if kernel programs had: for the drain bench.
    #[doc(hidden)]
    pub fn move_for_bench(&mut self) {
        for index in 1..self.slots.len() {
            let Some(mut value) = self.slots.get(index).filter(|slot| slot.generation != 0) else {
                return;
            };
            for side in [&mut value.rx, &mut value.tx] {
                side.carried = side.carried.plus(1, 100);
            }
            self.slots.set(index, value);
        }
    }

    /// Puts `count` made-up flows of `server` into the tables, as if kernel programs had: for the drain bench.
    #[doc(hidden)]
    pub fn fill_for_bench(&mut self, server: ServerSlotId, count: u32) -> Result<(), KernelError> {
        for n in 1..=count {
            let slot = self.free.pop(0).map_err(|source| KernelError::Map {
                name: "FLOW_FREE",
                source,
            })?;
            let mut key = FlowKey {
                server: server.0 as u16,
                protocol: 17,
                remote_port: 1,
                ..FlowKey::default()
            };
            key.remote_addr[12..].copy_from_slice(&n.to_be_bytes());
            let mut value = self.slots.get(slot as usize).ok_or(KernelError::Mmap {
                name: "FLOW_SLOTS",
                source: io::Error::from(io::ErrorKind::NotFound),
            })?;
            value.key = key;
            value.generation += 1;
            value.rx.carried = value.rx.carried.plus(u64::from(n), 100 * u64::from(n));
            value.tx.carried = value.rx.carried;
            self.slots.set(slot as usize, value);
            self.keys
                .insert(FlowKeyPod(key), slot, 0)
                .map_err(|source: MapError| KernelError::Map {
                    name: "FLOWS",
                    source,
                })?;
        }
        Ok(())
    }
}

/// `now - before`, wrapping.
pub fn difference(now: Traffic, before: Traffic) -> Traffic {
    Traffic {
        packets: now.packets.wrapping_sub(before.packets),
        bytes: now.bytes.wrapping_sub(before.bytes),
    }
}

/// Adds in place.
pub fn add(total: &mut Traffic, more: Traffic) {
    total.packets += more.packets;
    total.bytes += more.bytes;
}
