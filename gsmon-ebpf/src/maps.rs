//! Every map of the object. Sizes are the defaults of `gsmon_common::limits`; the agent may load others.

use aya_ebpf::{
    macros::map,
    maps::{Array, HashMap, PerCpuArray, RingBuf, Stack},
};
use gsmon_common::{
    flow::{Candidate, DetailSlot, FlowKey, FlowSlot, RecentFlows},
    limits,
    netcode::{Layout, NetcodeSlot, layouts, replay::Before},
    probe::{CallKey, CallRing, ProbeCall, ProbeSlot},
    record::Record,
    sched::{BurstRing, TaskSlot},
    server::{Cadence, EndpointKey, PORT_ENTRIES, PortEntry, ServerSlot},
    softirq::NetRx,
    stat::STATS as STAT_COUNT,
};

/// Thread ids that fit the default table; the agent sizes it by `kernel.pid_max`.
const THREAD_IDS: u32 = 4_194_304;
/// `BPF_F_MMAPABLE` (5.5).
const MMAPABLE: u32 = 1 << 10;

/// (protocol, local port) to server, for hooks that see a socket.
#[map]
pub static PORTS: Array<PortEntry> = Array::with_max_entries(PORT_ENTRIES, 0);
/// (protocol, local port) to server in the agent's own network namespace, for XDP and tc.
#[map]
pub static HOST_PORTS: Array<PortEntry> = Array::with_max_entries(PORT_ENTRIES, 0);
/// Endpoints on ports that several servers share.
#[map]
pub static ENDPOINTS: HashMap<EndpointKey, u32> = HashMap::with_max_entries(limits::ENDPOINTS, 0);
/// Local addresses of the agent's own network namespace.
#[map]
pub static LOCAL_ADDRS: HashMap<[u8; 16], u8> = HashMap::with_max_entries(limits::LOCAL_ADDRESSES, 0);
/// Local addresses by their last byte, as far as each byte has one; the rest is found in `LOCAL_ADDRS`.
#[map]
pub static LOCAL_RECENT: Array<[u8; 16]> = Array::with_max_entries(limits::RECENT_LOCAL, 0);
/// Interface index to flags (`gsmon_common::server::interface`).
#[map]
pub static INTERFACES: Array<u8> = Array::with_max_entries(limits::IFINDEXES, 0);

/// Flow key to hot slot.
#[map]
pub static FLOWS: HashMap<FlowKey, u32> = HashMap::with_max_entries(limits::FLOWS, 0);
/// Flows seen last, by a cheap hash of their key.
#[map]
pub static FLOW_RECENT: Array<RecentFlows> = Array::with_max_entries(limits::RECENT_FLOWS, 0);
/// Free hot slots. A stack keeps the slots in use dense, so that a drain reads little.
#[map]
pub static FLOW_FREE: Stack<u32> = Stack::with_max_entries(limits::FLOWS, 0);
/// Hot slots.
#[map]
pub static FLOW_SLOTS: Array<FlowSlot> = Array::with_max_entries(limits::FLOWS, MMAPABLE);
/// Detail slots.
#[map]
pub static DETAILS: Array<DetailSlot> = Array::with_max_entries(limits::DETAILS, MMAPABLE);
/// Netcode slots: one beside each detail slot.
#[map]
pub static NETCODE: Array<NetcodeSlot> = Array::with_max_entries(limits::DETAILS, MMAPABLE);
/// Netcode layouts, those of the configuration among them.
#[map]
pub static LAYOUTS: Array<Layout> = Array::with_max_entries(layouts::LAYOUTS, 0);
/// What a bench puts back.
#[map]
pub static BENCH: Array<Before> = Array::with_max_entries(1, 0);
/// Remote endpoints seen in one direction.
#[map]
pub static CANDIDATES: Array<Candidate> = Array::with_max_entries(limits::CANDIDATES, 0);
/// Per-server counters.
#[map]
pub static SERVERS: Array<ServerSlot> = Array::with_max_entries(limits::SERVERS, MMAPABLE);
/// Per-server send batches.
#[map]
pub static CADENCE: Array<Cadence> = Array::with_max_entries(limits::SERVERS, MMAPABLE);

/// Thread id to task slot; 0 is "not ours".
#[map]
pub static TID_SLOTS: Array<u32> = Array::with_max_entries(THREAD_IDS, MMAPABLE);
/// Thread that runs on each CPU. A thread that never leaves its CPU is found here and read from /proc at drain.
#[map]
pub static CURRENT: PerCpuArray<u32> = PerCpuArray::with_max_entries(1, 0);
/// Task slots.
#[map]
pub static TASKS: Array<TaskSlot> = Array::with_max_entries(limits::THREADS, MMAPABLE);
/// Free task slots.
#[map]
pub static TASK_FREE: Stack<u32> = Stack::with_max_entries(limits::THREADS, 0);
/// Burst rings.
#[map]
pub static BURSTS: Array<BurstRing> = Array::with_max_entries(limits::TICK_THREADS, MMAPABLE);

/// Probed functions.
#[map]
pub static PROBE_SLOTS: Array<ProbeSlot> = Array::with_max_entries(limits::PROBES, MMAPABLE);
/// Calls that threads are in.
#[map]
pub static PROBE_CALLS: HashMap<CallKey, ProbeCall> = HashMap::with_max_entries(limits::PROBE_CALLS, 0);
/// What calls took between two sleeps of a thread.
#[map]
pub static CALL_RINGS: Array<CallRing> = Array::with_max_entries(limits::CALL_RINGS, MMAPABLE);
/// Free rings.
#[map]
pub static CALL_RING_FREE: Stack<u32> = Stack::with_max_entries(limits::CALL_RINGS, 0);
/// NET_RX softirqs of each CPU.
#[map]
pub static SOFTIRQS: PerCpuArray<NetRx> = PerCpuArray::with_max_entries(1, 0);

/// Counters by `gsmon_common::stat::Stat`.
#[map]
pub static STATS: Array<u64> = Array::with_max_entries(STAT_COUNT, MMAPABLE);
/// Rare facts.
#[map]
pub static RECORDS: RingBuf = RingBuf::with_byte_size(limits::RECORD_RING_BYTES, 0);

/// Puts a record into the ring, or counts that it was full.
#[inline(always)]
pub fn emit(record: Record) {
    if RECORDS.output::<Record>(record, 0).is_err() {
        crate::atomic::count(gsmon_common::stat::Stat::RecordDropped);
    }
}
