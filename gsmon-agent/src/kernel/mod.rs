//! The kernel side: load, attach, offsets from BTF, mapped tables, drain. The only room that knows aya, and the only
//! one with unsafe code.
//!
//! [`Kernel`] is the whole of it: follow processes, say which socket belongs to which server, drain once per interval.
#![allow(
    unsafe_code,
    reason = "memory shared with kernel programs is read through raw pointers"
)]

mod attach;
mod attention;
mod cost;
mod error;
mod flows;
mod logger;
mod netcode;
pub mod netns_cookie;
pub mod object;
mod offsets;
mod ports;
pub mod probes;
mod slab;
mod softirq;
mod tasks;
#[cfg(test)]
pub(crate) mod tcp_info;
mod trial;

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use aya::{
    programs::ProgramType,
    sys::{BpfHelper, is_helper_supported, is_program_supported},
};
use gsmon_common::{
    flow::Traffic,
    record::Record,
    server::{CADENCE_ENTRIES, Cadence, ScopeKind, ServerSlot, interface},
    stat::{STATS, Stat},
};

pub use self::{
    attach::{Attached, CgroupHooks, Tracepoints, remove_leftovers},
    attention::calm_one_in,
    cost::{MapSize, ProgramRun},
    error::KernelError,
    flows::{DetailReading, FlowReading, FlowTable, SeenFlow, ServerFlows, TOP_FLOWS},
    netcode::{LayoutChoice, LayoutChoices, NetcodeReading},
    offsets::{OffsetError, TaskOffsets, VMLINUX_BTF},
    ports::{NetnsPlace, Plan, SocketOwner, mapped},
    probes::{CallCounts, CallSum, ProbeBinding, ProbeError, ProbeReading, ProbeState},
    slab::{Plain, Slab},
    softirq::NetRxCpu,
    tasks::{CountFrom, EndedThread, ServerTasks, ThreadReading},
    trial::{EmptyHooks, EmptyProbe},
};
use self::{
    attach::{Attachment, SoftirqHooks},
    cost::{RunTimeSampler, map_size, program_runs},
    flows::difference,
    logger::KernelLogger,
    object::{KernelArray, KernelHash, Object, ObjectOptions, Records},
    ports::PortTables,
    probes::ProbeTable,
    softirq::Softirqs,
    tasks::TaskTable,
};
use crate::config::{
    InterfaceSettings, Limits, NetRxTime, NetcodeSampling, ProbeSettings, StatsMode, TierTimeouts,
};

/// Index of a server in the kernel's tables; never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServerSlotId(pub u32);

/// One source: which hook is in force and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// `sched`, `fork`, `exec`, `exit`, `flow_ingress`, `flow_egress`, `probe`, `net_rx_softirq`.
    pub name: &'static str,
    /// For example `tp_btf/sched_switch`.
    pub hook: String,
    /// Why this one.
    pub reason: String,
}

/// How to load.
#[derive(Clone, Debug)]
pub struct KernelOptions {
    /// Table sizes.
    pub limits: Limits,
    /// Idle times.
    pub timeouts: TierTimeouts,
    /// Run-time statistics.
    pub run_time: StatsMode,
    /// aya-log messages.
    pub kernel_log: bool,
    /// cgroup v2 root; `None` when the host has none.
    pub cgroup_root: Option<PathBuf>,
    /// Interfaces from the configuration.
    pub interfaces: Vec<InterfaceSettings>,
    /// `kernel.pid_max`.
    pub thread_ids: u32,
    /// Forces what tells sockets apart; by default the best that the kernel has.
    pub scope: Option<ScopeKind>,
    /// Which kind of tracepoint.
    pub tracepoints: Tracepoints,
    /// Which NET_RX softirqs are timed.
    pub net_rx_time: NetRxTime,
    /// Which packets of flows with a wire format are read.
    pub netcode_reading: NetcodeSampling,
    /// Bits of the remote address that the bench programs vary.
    pub bench_flow_mask: u32,
    /// How function probes find their slots.
    pub probe_binding: ProbeBinding,
}

/// Everything outside the flows of one direction, in the interval.
#[derive(Clone, Copy, Debug, Default)]
pub struct OutsideDelta {
    /// One direction only.
    pub candidate: Traffic,
    /// No slot.
    pub overflow: Traffic,
    /// Counted by XDP or tc, and let through by the firewall.
    pub delivered: Traffic,
}

/// One server in the interval.
#[derive(Clone, Debug, Default)]
pub struct ServerDelta {
    /// Threads.
    pub tasks: ServerTasks,
    /// Flows.
    pub flows: ServerFlows,
    /// Clients to server, outside flows.
    pub rx: OutsideDelta,
    /// Server to clients, outside flows.
    pub tx: OutsideDelta,
    /// Start times of send batches, CLOCK_MONOTONIC.
    pub batches_ns: Vec<u64>,
    /// Function probes, in the order of the configuration.
    pub probes: Vec<ProbeReading>,
}

/// What a server has done since the last drain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServerGrowth {
    /// CPU.
    pub cpu_ns: u64,
    /// Run-queue wait.
    pub wait_ns: u64,
    /// From clients.
    pub rx: Traffic,
    /// To clients.
    pub tx: Traffic,
}

/// What one drain found.
#[derive(Clone, Debug, Default)]
pub struct KernelDelta {
    /// Servers that did anything.
    pub servers: HashMap<ServerSlotId, ServerDelta>,
    /// Processes that called exec since the last drain.
    pub executed_pids: Vec<u32>,
    /// Tracked processes that ended.
    pub exited_pids: Vec<u32>,
    /// Their wait statuses, in the same order.
    pub exit_statuses: Vec<u32>,
    /// NET_RX softirqs of each CPU since the agent began; `None` where they are not timed.
    pub net_rx: Option<Vec<NetRxCpu>>,
    /// Time the drain took.
    pub drain: Duration,
}

/// Fill of one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableFill {
    /// Name of the map.
    pub name: &'static str,
    /// In use.
    pub used: u64,
}

struct ServerBase {
    slot: ServerSlot,
    cadence_head: u64,
    life: ServerLife,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ServerLife {
    Followed,
    /// Drains left until the slot may be given to another server.
    Leaving(u8),
}

/// Drains after which no flow, task or program names a removed server.
const LEAVING_DRAINS: u8 = 5;

/// The loaded and attached kernel side. Dropping it detaches everything.
pub struct Kernel {
    object: Object,
    attachment: Attachment,
    flows: FlowTable,
    tasks: TaskTable,
    ports: PortTables,
    probes: ProbeTable,
    servers: Slab<ServerSlot>,
    cadence: Slab<Cadence>,
    stats: Slab<u64>,
    records: Records,
    local_addresses: KernelHash<[u8; 16], u8>,
    local_recent: KernelArray<[u8; 16]>,
    known_addresses: Vec<[u8; 16]>,
    followed: HashMap<ServerSlotId, ServerBase>,
    free_servers: Vec<ServerSlotId>,
    softirqs: Option<Softirqs>,
    sampler: RunTimeSampler,
    sizes: Vec<MapSize>,
    last_drain: Instant,
    /// Records read between two drains.
    records_read: KernelDelta,
    /// Written at load; held, since a program that is loaded later still names its descriptor.
    interfaces: aya::maps::Array<aya::maps::MapData, u8>,
    _logger: Option<KernelLogger>,
}

/// What tells sockets of one port apart on this kernel: network namespaces where cgroup programs may ask for them.
pub fn best_scope() -> ScopeKind {
    // BPF_FUNC_get_netns_cookie is number 122 of the UAPI's helper list.
    match is_helper_supported(ProgramType::CgroupSkb, BpfHelper::BPF_FUNC_get_netns_cookie) {
        Ok(true) => ScopeKind::Netns,
        _ => ScopeKind::Cgroup,
    }
}

/// Kinds of hooks that gsmon can use, and whether this kernel has them.
pub fn available_hooks() -> Vec<(&'static str, bool)> {
    let has = |kind| is_program_supported(kind).unwrap_or(false);
    vec![
        ("tp_btf", offsets::has_btf_tracepoint("sched_switch")),
        ("tp_btf/softirq", offsets::has_btf_tracepoint("softirq_entry")),
        ("raw_tp", has(ProgramType::RawTracePoint)),
        ("cgroup_skb", has(ProgramType::CgroupSkb)),
        ("xdp", has(ProgramType::Xdp)),
        ("tc", has(ProgramType::SchedClassifier)),
        (
            "attach cookie for function probes",
            is_helper_supported(ProgramType::KProbe, BpfHelper::BPF_FUNC_get_attach_cookie).unwrap_or(false),
        ),
        ("netns cookie in cgroup_skb", best_scope() == ScopeKind::Netns),
    ]
}

fn object_options(options: &KernelOptions) -> ObjectOptions {
    ObjectOptions {
        limits: options.limits,
        thread_ids: options.thread_ids,
        scope: options.scope.unwrap_or_else(best_scope),
        kernel_log: options.kernel_log,
        net_rx_time: options.net_rx_time,
        bench_flow_mask: options.bench_flow_mask,
    }
}

impl Kernel {
    /// Loads the object and attaches the best hooks that this kernel has.
    pub fn load(options: &KernelOptions) -> Result<Self, KernelError> {
        let mut object = Object::load(object_options(options))?;
        let logger = options
            .kernel_log
            .then(|| KernelLogger::start(&mut object))
            .flatten();
        let sizes = object
            .ebpf
            .maps()
            .filter_map(|(name, map)| map_fd(map).map(|(fd, capacity)| map_size(name, capacity, fd)))
            .collect();
        let servers = options.limits.servers;
        let mut kernel = Self {
            flows: FlowTable::new(&mut object, options.timeouts, options.netcode_reading)?,
            tasks: TaskTable::new(&mut object)?,
            ports: PortTables::new(&mut object)?,
            probes: ProbeTable::new(&mut object, options.probe_binding)?,
            servers: object.slab("SERVERS", servers + 1)?,
            cadence: object.slab("CADENCE", servers + 1)?,
            stats: object.slab("STATS", STATS)?,
            records: object.take("RECORDS")?,
            local_addresses: object.take("LOCAL_ADDRS")?,
            local_recent: object.take("LOCAL_RECENT")?,
            interfaces: object.take("INTERFACES")?,
            known_addresses: Vec::new(),
            followed: HashMap::new(),
            free_servers: (1..=servers).rev().map(ServerSlotId).collect(),
            softirqs: None,
            sampler: RunTimeSampler::new(options.run_time),
            sizes,
            last_drain: Instant::now(),
            records_read: KernelDelta::default(),
            _logger: logger,
            attachment: Attachment::default(),
            object,
        };
        let ebpf = &mut kernel.object.ebpf;
        attach::attach_tracepoints(ebpf, options.tracepoints, &mut kernel.attachment)?;
        let cgroup = match &options.cgroup_root {
            Some(root) => {
                attach::attach_cgroup(ebpf, root, &mut kernel.attachment)?;
                CgroupHooks::Attached
            }
            None => CgroupHooks::Absent,
        };
        attach::attach_interfaces(ebpf, &options.interfaces, cgroup, &mut kernel.attachment)?;
        let flags = [
            (&kernel.attachment.ingress_interfaces, interface::INGRESS_COUNTED),
            (&kernel.attachment.egress_interfaces, interface::EGRESS_COUNTED),
        ];
        for (list, flag) in flags {
            for (name, _) in list {
                let index = interface_index(name)?;
                let before = kernel.interfaces.get(&index, 0).unwrap_or(0);
                let link = if has_link_header(name) {
                    0
                } else {
                    interface::NO_LINK_HEADER
                };
                kernel
                    .interfaces
                    .set(index, before | flag | link, 0)
                    .map_err(|source| KernelError::Map {
                        name: "INTERFACES",
                        source,
                    })?;
            }
        }
        let attached = attach::attach_softirq(
            &mut kernel.object.ebpf,
            options.tracepoints,
            options.net_rx_time,
            &mut kernel.attachment,
        );
        if attached == SoftirqHooks::Attached {
            kernel.softirqs = Some(Softirqs::new(&mut kernel.object)?);
        }
        give_back_memory();
        Ok(kernel)
    }

    /// Hooks in force.
    pub fn sources(&self) -> &[Source] {
        &self.attachment.sources
    }

    /// What tells sockets of one port apart.
    pub fn scope(&self) -> ScopeKind {
        self.object.options.scope
    }

    /// Ingress and egress counting points of a server in words.
    pub fn counting_points(&self, place: NetnsPlace) -> (Option<String>, Option<String>) {
        let point = |hook: &str, list: &[(String, String)]| {
            let cgroup = self
                .attachment
                .programs
                .iter()
                .any(|program| program.hook == hook)
                .then(|| hook.to_owned());
            let mut parts: Vec<String> = match place {
                NetnsPlace::AgentsOwn => list.iter().map(|(_, hook)| hook.clone()).collect(),
                NetnsPlace::Other => Vec::new(),
            };
            parts.extend(cgroup);
            (!parts.is_empty()).then(|| parts.join("+"))
        };
        (
            point("cgroup_skb/ingress", &self.attachment.ingress_interfaces),
            point("cgroup_skb/egress", &self.attachment.egress_interfaces),
        )
    }

    /// Reserves a server slot.
    pub fn add_server(&mut self) -> Result<ServerSlotId, KernelError> {
        let limit = self.object.options.limits.servers;
        let id = self
            .free_servers
            .pop()
            .ok_or(KernelError::TooManyServers { limit })?;
        let index = id.0 as usize;
        let base = ServerBase {
            slot: self.servers.get(index).unwrap_or_default(),
            // SAFETY: projects a field of the value that the slab passes.
            cadence_head: self
                .cadence
                .read_field(index, |value| unsafe { &raw mut (*value).head })
                .unwrap_or(0),
            life: ServerLife::Followed,
        };
        self.followed.insert(id, base);
        Ok(id)
    }

    /// Stops following a server; its slot is free again some drains later.
    pub fn remove_server(&mut self, id: ServerSlotId) {
        if let Some(base) = self.followed.get_mut(&id) {
            base.life = ServerLife::Leaving(LEAVING_DRAINS);
        }
    }

    /// Follows all threads of a process for a server.
    pub fn follow(&mut self, pid: u32, server: ServerSlotId, from: CountFrom) {
        self.tasks.follow(pid, server, from);
    }

    /// Reads what some servers have done since the last drain, and changes nothing.
    pub fn peek(&self, servers: &[ServerSlotId]) -> HashMap<ServerSlotId, ServerGrowth> {
        let mut growth: HashMap<ServerSlotId, ServerGrowth> = servers
            .iter()
            .map(|server| (*server, self.peek_outside(*server)))
            .collect();
        self.tasks.peek(&mut growth);
        self.flows.peek(&mut growth);
        growth
    }

    /// Reads what each thread of a server has used since the last drain, and changes nothing.
    pub fn peek_threads(&self, server: ServerSlotId) -> ServerTasks {
        self.tasks.peek_threads(server)
    }

    /// Packets outside flows.
    fn peek_outside(&self, server: ServerSlotId) -> ServerGrowth {
        let (Some(now), Some(base)) = (self.servers.get(server.0 as usize), self.followed.get(&server))
        else {
            return ServerGrowth::default();
        };
        let both = |now, before| {
            let grown = outside(now, before);
            Traffic {
                packets: grown.candidate.packets + grown.overflow.packets,
                bytes: grown.candidate.bytes + grown.overflow.bytes,
            }
        };
        ServerGrowth {
            rx: both(&now.rx, &base.slot.rx),
            tx: both(&now.tx, &base.slot.tx),
            ..ServerGrowth::default()
        }
    }

    /// Adds to a drain what processes that were followed since then had used since their start.
    pub fn add_so_far(&mut self, delta: &mut KernelDelta) {
        for (server, used) in self.tasks.take_so_far() {
            let tasks = &mut delta.servers.entry(server).or_default().tasks;
            tasks.cpu_ns += used.cpu_ns;
            tasks.wait_ns += used.wait_ns;
            tasks.voluntary += used.voluntary;
            tasks.involuntary += used.involuntary;
        }
    }

    /// Says which socket belongs to which server. Strangers on game ports are part of the list.
    pub fn set_sockets(&mut self, sockets: &[SocketOwner]) -> Result<&Plan, KernelError> {
        self.ports.apply(sockets)
    }

    /// Probes these functions in these processes of a server, and no others of it. What does not work is told by the
    /// state of the probe.
    pub fn set_probes(&mut self, server: ServerSlotId, wanted: &[ProbeSettings], pids: &[u32]) {
        let loaded = self.probes.set(&mut self.object.ebpf, server, wanted, pids);
        let (hook, reason) = self.probes.binding();
        let sources = &mut self.attachment.sources;
        if !loaded.is_empty() && sources.iter().all(|source| source.name != "probe") {
            sources.push(Source {
                name: "probe",
                hook: hook.to_owned(),
                reason: reason.to_owned(),
            });
        }
        self.attachment.programs.extend(loaded);
    }

    /// Local addresses of the agent's own network namespace, for XDP and tc.
    pub fn set_local_addresses(&mut self, addresses: &[std::net::IpAddr]) -> Result<(), KernelError> {
        let wanted: Vec<[u8; 16]> = addresses.iter().map(|address| mapped(*address)).collect();
        if wanted == self.known_addresses {
            return Ok(());
        }
        for address in &self.known_addresses {
            if !wanted.contains(address) {
                let _ = self.local_addresses.remove(address);
            }
        }
        for address in &wanted {
            if !self.known_addresses.contains(address) {
                self.local_addresses
                    .insert(address, 1, 0)
                    .map_err(|source| KernelError::Map {
                        name: "LOCAL_ADDRS",
                        source,
                    })?;
            }
        }
        for place in 0..=u8::MAX {
            // What ends in another byte is never found there.
            let nobody = [!place; 16];
            let address = wanted.iter().find(|address| address[15] == place);
            self.local_recent
                .set(u32::from(place), address.unwrap_or(&nobody), 0)
                .map_err(|source| KernelError::Map {
                    name: "LOCAL_RECENT",
                    source,
                })?;
        }
        self.known_addresses = wanted;
        Ok(())
    }

    /// By which layouts the payload of a server's flows is read from the next drain on.
    pub fn choose_layouts(&mut self, server: ServerSlotId, choices: &LayoutChoices) {
        self.flows.choose_layouts(server, choices);
    }

    /// Puts a layout of the configuration into the table.
    pub fn set_layout(
        &mut self,
        place: gsmon_common::netcode::layouts::LayoutPlace,
        layout: gsmon_common::netcode::Layout,
    ) -> Result<(), KernelError> {
        self.flows.set_layout(place, layout)
    }

    /// Settings that may change without a new load.
    pub fn reconfigure(&mut self, timeouts: TierTimeouts, run_time: StatsMode, netcode: NetcodeSampling) {
        self.flows.set_timeouts(timeouts);
        self.flows.set_netcode_sampling(netcode);
        self.sampler.set_mode(run_time);
    }

    /// Reads all counters since the previous drain.
    pub fn drain(&mut self) -> KernelDelta {
        let start = Instant::now();
        let elapsed = start.duration_since(self.last_drain);
        self.last_drain = start;
        self.sampler.tick(start);
        let mut delta = std::mem::take(&mut self.records_read);
        self.read_records(&mut delta);
        delta.servers.reserve(self.followed.len());
        let followed = &self.followed;
        let is_gone = |id: ServerSlotId| {
            followed
                .get(&id)
                .is_none_or(|base| base.life != ServerLife::Followed)
        };
        for (id, tasks) in self.tasks.drain(is_gone) {
            delta.servers.entry(id).or_default().tasks = tasks;
        }
        for (id, flows) in self.flows.drain(elapsed, is_gone) {
            delta.servers.entry(id).or_default().flows = flows;
        }
        for (id, probes) in self.probes.drain(&mut self.object.ebpf, elapsed, is_gone) {
            delta.servers.entry(id).or_default().probes = probes;
        }
        self.drain_servers(&mut delta);
        delta.net_rx = self.softirqs.as_mut().and_then(Softirqs::read);
        delta.drain = start.elapsed();
        delta
    }

    fn drain_servers(&mut self, delta: &mut KernelDelta) {
        let mut left = Vec::new();
        for (id, base) in &mut self.followed {
            let index = id.0 as usize;
            let Some(now) = self.servers.get(index) else {
                continue;
            };
            let server = delta.servers.entry(*id).or_default();
            server.rx = outside(&now.rx, &base.slot.rx);
            server.tx = outside(&now.tx, &base.slot.tx);
            base.slot = now;
            server.batches_ns = read_cadence(&self.cadence, index, &mut base.cadence_head);
            match &mut base.life {
                ServerLife::Followed => {}
                ServerLife::Leaving(0) => left.push(*id),
                ServerLife::Leaving(drains) => *drains -= 1,
            }
        }
        for id in left {
            self.followed.remove(&id);
            self.free_servers.push(id);
        }
    }

    /// Which processes have called exec or ended since the last drain; the next drain tells it too.
    pub fn seen_since_drain(&mut self) -> &KernelDelta {
        let mut read = std::mem::take(&mut self.records_read);
        self.read_records(&mut read);
        self.records_read = read;
        &self.records_read
    }

    fn read_records(&mut self, delta: &mut KernelDelta) {
        // Bounded: one drain reads at most what the ring can hold.
        for _ in 0..65_536 {
            let Some(item) = self.records.next() else { break };
            if item.len() < size_of::<Record>() {
                continue;
            }
            // SAFETY: the length was checked; Record is four u32, valid for all bytes; unaligned read.
            let record: Record = unsafe { std::ptr::read_unaligned(item.as_ptr().cast()) };
            match record.kind {
                1 => delta.executed_pids.push(record.tgid),
                2 => {
                    delta.exited_pids.push(record.tgid);
                    delta.exit_statuses.push(record.status);
                }
                _ => {}
            }
        }
    }

    /// Host-wide loss counters, those of the kernel programs and those of the drain.
    pub fn losses(&self) -> Vec<(&'static str, u64)> {
        let mut losses: Vec<_> = Stat::ALL
            .iter()
            .map(|stat| (stat.name(), self.stats.get(*stat as usize).unwrap_or(0)))
            .collect();
        losses.push(("detail_slots_exhausted", self.flows.details_exhausted));
        losses.push(("flow_slot_returns_failed", self.flows.returns_failed));
        losses.push(("tick_bursts_overwritten", self.tasks.bursts_missed));
        losses.push(("task_slots_exhausted_at_discovery", self.tasks.exhausted));
        losses.push((
            "table_reads_refused",
            self.flows.refused()
                + self.tasks.refused()
                + self.servers.refused()
                + self.probes.refused()
                + self.cadence.refused()
                + self.stats.refused(),
        ));
        losses
    }

    /// Run count and time of the attached programs while statistics were on.
    pub fn program_runs(&self) -> Vec<ProgramRun> {
        program_runs(&self.object.ebpf, &self.attachment.programs)
    }

    /// Size of every map.
    pub fn map_sizes(&self) -> &[MapSize] {
        &self.sizes
    }

    /// Tables whose fill is known.
    pub fn table_fills(&self) -> Vec<TableFill> {
        vec![
            TableFill {
                name: "FLOW_SLOTS",
                used: self.flows.used,
            },
            TableFill {
                name: "FLOWS",
                used: self.flows.used,
            },
            TableFill {
                name: "DETAILS",
                used: self.flows.details_used,
            },
            TableFill {
                name: "NETCODE",
                used: self.flows.netcode_used(),
            },
            TableFill {
                name: "TASKS",
                used: self.tasks.used,
            },
            TableFill {
                name: "BURSTS",
                used: self.tasks.rings_used,
            },
            TableFill {
                name: "PROBE_SLOTS",
                used: self.probes.used(),
            },
            TableFill {
                name: "CALL_RINGS",
                used: self.probes.rings_used(),
            },
            TableFill {
                name: "SERVERS",
                used: self.followed.len() as u64,
            },
        ]
    }
}

/// Parsing the kernel's BTF takes tens of MiB for a moment; glibc would keep them.
fn give_back_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes no pointers and may be called at any time.
    unsafe {
        libc::malloc_trim(0);
    }
}

fn outside(
    now: &gsmon_common::server::ServerDirection,
    before: &gsmon_common::server::ServerDirection,
) -> OutsideDelta {
    OutsideDelta {
        candidate: difference(now.candidate, before.candidate),
        overflow: difference(now.overflow, before.overflow),
        delivered: difference(now.delivered, before.delivered),
    }
}

fn read_cadence(cadence: &Slab<Cadence>, index: usize, last_head: &mut u64) -> Vec<u64> {
    // SAFETY: projects a field of the value that the slab passes.
    let Some(head) = cadence.read_field(index, |value| unsafe { &raw mut (*value).head }) else {
        return Vec::new();
    };
    let readable = head.saturating_sub(*last_head).min(CADENCE_ENTRIES as u64 - 1);
    *last_head = head;
    let mut batches = Vec::with_capacity(readable as usize);
    for number in head - readable..head {
        let position = (number % CADENCE_ENTRIES as u64) as usize;
        // SAFETY: projects an element inside the array of the value that the slab passes.
        let start = cadence.read_field(index, |value| unsafe {
            (&raw mut (*value).start_ns).cast::<u64>().add(position)
        });
        batches.extend(start);
    }
    batches
}

fn map_fd(map: &aya::maps::Map) -> Option<(i32, u64)> {
    use std::os::fd::{AsFd, AsRawFd};

    use aya::maps::Map;
    let data = match map {
        Map::Array(data)
        | Map::HashMap(data)
        | Map::PerCpuArray(data)
        | Map::RingBuf(data)
        | Map::Stack(data) => data,
        _ => return None,
    };
    let capacity = data.info().ok()?.max_entries();
    Some((data.fd().as_fd().as_raw_fd(), u64::from(capacity)))
}

fn interface_index(name: &str) -> Result<u32, KernelError> {
    std::fs::read_to_string(Path::new("/sys/class/net").join(name).join("ifindex"))
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .ok_or_else(|| KernelError::UnknownInterface {
            name: name.to_owned(),
        })
}

/// `ARPHRD_ETHER` and `ARPHRD_LOOPBACK` have an Ethernet header.
fn has_link_header(name: &str) -> bool {
    std::fs::read_to_string(Path::new("/sys/class/net").join(name).join("type"))
        .is_ok_and(|text| matches!(text.trim(), "1" | "772"))
}
