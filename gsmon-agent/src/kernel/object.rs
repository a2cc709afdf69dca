//! The kernel object: embedded bytes, load-time settings, programs by name. Everything that names a program or a map
//! of the object goes through here.

use std::os::fd::{AsFd, BorrowedFd};

use aya::{
    Ebpf, EbpfLoader, include_bytes_aligned,
    maps::{Array, HashMap as BpfHashMap, Map, MapData, PerCpuArray, RingBuf, Stack},
};
use gsmon_common::{limits, probe::Registers, server::ScopeKind, softirq::SAMPLE_EVERY};

use super::{
    KernelError,
    offsets::TaskOffsets,
    slab::{Plain, Slab},
};
use crate::config::{Limits, NetRxTime};

/// The committed object, built by `cargo xtask ebpf`.
static OBJECT: &[u8] = include_bytes_aligned!("gsmon.bpf.o");

/// What is decided before load.
#[derive(Clone, Debug)]
pub struct ObjectOptions {
    /// Table sizes.
    pub limits: Limits,
    /// Largest thread id plus one (`kernel.pid_max`).
    pub thread_ids: u32,
    /// What tells sockets of one port apart.
    pub scope: ScopeKind,
    /// Messages through aya-log.
    pub kernel_log: bool,
    /// Which NET_RX softirqs are timed.
    pub net_rx_time: NetRxTime,
    /// Bits of the remote address that the bench programs vary.
    pub bench_flow_mask: u32,
}

/// The loaded object: maps exist, no program runs yet.
pub struct Object {
    /// aya's handle.
    pub ebpf: Ebpf,
    /// As loaded.
    pub options: ObjectOptions,
}

impl Object {
    /// Creates the maps and relocates the programs.
    pub fn load(options: ObjectOptions) -> Result<Self, KernelError> {
        let offsets = TaskOffsets::of_running_kernel()?;
        let seed = seed();
        let scope = options.scope as u32;
        let candidate_mask = limits::CANDIDATES - 1;
        let registers = registers() as u32;
        let kernel_log = u32::from(options.kernel_log);
        let softirq_mask = match options.net_rx_time {
            NetRxTime::Every => 0,
            NetRxTime::Sampled | NetRxTime::Off => SAMPLE_EVERY - 1,
        };
        // Slot 0 of every table means "none".
        let flows = options.limits.flows + 1;
        let threads = options.limits.threads + 1;
        let servers = options.limits.servers + 1;
        let mut loader = EbpfLoader::new();
        loader
            .override_global("TASK_PID_OFFSET", &offsets.pid, true)
            .override_global("TASK_TGID_OFFSET", &offsets.tgid, true)
            .override_global("TASK_STATE_OFFSET", &offsets.state, true)
            .override_global("TASK_CPU_OFFSET", &offsets.cpu, true)
            .override_global("TASK_RUN_DELAY_OFFSET", &offsets.run_delay, true)
            .override_global("TASK_NVCSW_OFFSET", &offsets.nvcsw, true)
            .override_global("TASK_NIVCSW_OFFSET", &offsets.nivcsw, true)
            .override_global("TASK_EXIT_CODE_OFFSET", &offsets.exit_code, true)
            .override_global("SCOPE_KIND", &scope, true)
            .override_global("CANDIDATE_MASK", &candidate_mask, true)
            .override_global("HASH_SEED", &seed, true)
            .override_global("BENCH_FLOW_MASK", &options.bench_flow_mask, true)
            .override_global("REGISTERS", &registers, true)
            .override_global("KERNEL_LOG", &kernel_log, true)
            .override_global("SOFTIRQ_MASK", &softirq_mask, true)
            // The kernel rounds a hash's buckets up to a power of two: no entry more than can be used.
            .map_max_entries("FLOWS", options.limits.flows)
            .map_max_entries("FLOW_FREE", options.limits.flows)
            .map_max_entries("FLOW_SLOTS", flows)
            .map_max_entries("DETAILS", options.limits.details + 1)
            .map_max_entries("NETCODE", options.limits.details + 1)
            .map_max_entries("SERVERS", servers)
            .map_max_entries("CADENCE", servers)
            .map_max_entries("TASKS", threads)
            .map_max_entries("TASK_FREE", options.limits.threads)
            .map_max_entries("TID_SLOTS", options.thread_ids);
        let ebpf = loader.load(OBJECT).map_err(|source| KernelError::Load {
            source: Box::new(source),
        })?;
        Ok(Self { ebpf, options })
    }

    fn map(&self, name: &'static str) -> Result<&Map, KernelError> {
        self.ebpf.map(name).ok_or(KernelError::MissingMap { name })
    }

    /// File descriptor of an array.
    fn array_fd(&self, name: &'static str) -> Result<BorrowedFd<'_>, KernelError> {
        match self.map(name)? {
            Map::Array(data) => Ok(data.fd().as_fd()),
            _ => Err(KernelError::MissingMap { name }),
        }
    }

    /// Maps an array of `len` values into memory.
    pub fn slab<T: Plain>(&self, name: &'static str, len: u32) -> Result<Slab<T>, KernelError> {
        Slab::map(self.array_fd(name)?, len).map_err(|source| KernelError::Mmap { name, source })
    }

    /// Takes a map out of the object.
    pub fn take<M: TryFrom<Map, Error = aya::maps::MapError>>(
        &mut self,
        name: &'static str,
    ) -> Result<M, KernelError> {
        let map = self.ebpf.take_map(name).ok_or(KernelError::MissingMap { name })?;
        M::try_from(map).map_err(|source| KernelError::Map { name, source })
    }
}

/// A hash map of the object.
pub type KernelHash<K, V> = BpfHashMap<MapData, K, V>;
/// An array of the object that is not mapped.
pub type KernelArray<V> = Array<MapData, V>;
/// A stack of free slots.
pub type FreeStack = Stack<MapData, u32>;
/// One value per CPU.
pub type PerCpu = PerCpuArray<MapData, u32>;
/// One value of any kind per CPU.
pub type KernelPerCpu<V> = PerCpuArray<MapData, V>;
/// The ring of rare facts.
pub type Records = RingBuf<MapData>;

/// How this machine lays registers out.
fn registers() -> Registers {
    if cfg!(target_arch = "aarch64") {
        Registers::Arm64
    } else if cfg!(target_arch = "riscv64") {
        Registers::Riscv64
    } else {
        Registers::X86_64
    }
}

/// A seed that senders cannot guess.
fn seed() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new()
        .build_hasher()
        .finish()
}
