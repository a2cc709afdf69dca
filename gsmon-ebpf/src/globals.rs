//! Values that the agent sets at load time. They live in read-only data, so the verifier sees constants and removes
//! the branches that are not taken.

macro_rules! globals {
    ($($(#[$doc:meta])* $symbol:ident: $type:ty, $reader:ident;)*) => {
        $(
            $(#[$doc])*
            #[unsafe(no_mangle)]
            static $symbol: $type = 0;

            $(#[$doc])*
            #[inline(always)]
            pub fn $reader() -> $type {
                // SAFETY: a static of this object; volatile, because the agent writes it before load.
                unsafe { core::ptr::read_volatile(&raw const $symbol) }
            }
        )*
    };
}

globals! {
    /// Offset of `task_struct.pid`.
    TASK_PID_OFFSET: u64, task_pid_offset;
    /// Offset of `task_struct.tgid`.
    TASK_TGID_OFFSET: u64, task_tgid_offset;
    /// Offset of `task_struct.__state` (`state` up to 5.13).
    TASK_STATE_OFFSET: u64, task_state_offset;
    /// Offset of `task_struct.se.sum_exec_runtime`.
    TASK_CPU_OFFSET: u64, task_cpu_offset;
    /// Offset of `task_struct.sched_info.run_delay`.
    TASK_RUN_DELAY_OFFSET: u64, task_run_delay_offset;
    /// Offset of `task_struct.nvcsw`.
    TASK_NVCSW_OFFSET: u64, task_nvcsw_offset;
    /// Offset of `task_struct.nivcsw`.
    TASK_NIVCSW_OFFSET: u64, task_nivcsw_offset;
    /// Offset of `task_struct.exit_code`.
    TASK_EXIT_CODE_OFFSET: u64, task_exit_code_offset;
    /// A `gsmon_common::server::ScopeKind`.
    SCOPE_KIND: u32, scope_kind;
    /// Entries of the candidate table minus one (a power of two minus one).
    CANDIDATE_MASK: u32, candidate_mask;
    /// Seed of the candidate hash.
    HASH_SEED: u64, hash_seed;
    /// Bits of the remote address that the bench programs vary; 0 for one flow.
    BENCH_FLOW_MASK: u32, bench_flow_mask;
    /// A `gsmon_common::probe::Registers`.
    REGISTERS: u32, registers;
    /// A run of NET_RX whose number has none of these bits is timed.
    SOFTIRQ_MASK: u32, softirq_mask;
    /// 1 when aya-log messages are wanted.
    KERNEL_LOG: u32, kernel_log;
}
