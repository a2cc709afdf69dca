//! `softirq_entry` and `softirq_exit`: how long each CPU receives packets. Softirqs of one CPU do not nest, so that CPU
//! alone writes its slot. Every run is counted; every one or one in so many is timed, since the clock is what costs.

use aya_ebpf::{
    helpers::bpf_ktime_get_ns,
    macros::{btf_tracepoint, raw_tracepoint},
    programs::{BtfTracePointContext, RawTracePointContext},
};
use gsmon_common::softirq::NET_RX;

use crate::{globals, maps::SOFTIRQS};

/// `softirq_entry(vec_nr)`.
#[btf_tracepoint(function = "softirq_entry")]
pub fn softirq_entry(ctx: BtfTracePointContext) -> i32 {
    entry(ctx.arg(0));
    0
}

/// `softirq_exit(vec_nr)`.
#[btf_tracepoint(function = "softirq_exit")]
pub fn softirq_exit(ctx: BtfTracePointContext) -> i32 {
    exit(ctx.arg(0));
    0
}

/// The same where BTF tracepoints are missing.
#[raw_tracepoint(tracepoint = "softirq_entry")]
pub fn softirq_entry_raw(ctx: RawTracePointContext) -> i32 {
    entry(ctx.arg(0));
    0
}

/// The same where BTF tracepoints are missing.
#[raw_tracepoint(tracepoint = "softirq_exit")]
pub fn softirq_exit_raw(ctx: RawTracePointContext) -> i32 {
    exit(ctx.arg(0));
    0
}

#[inline(always)]
fn entry(vector: u32) {
    if vector != NET_RX {
        return;
    }
    if let Some(cpu) = SOFTIRQS.get_ptr_mut(0) {
        // SAFETY: non-null map pointer of this CPU.
        unsafe {
            let runs = (*cpu).runs.wrapping_add(1);
            (*cpu).runs = runs;
            if runs as u32 & globals::softirq_mask() == 0 {
                (*cpu).start_ns = bpf_ktime_get_ns();
            }
        }
    }
}

#[inline(always)]
fn exit(vector: u32) {
    if vector != NET_RX {
        return;
    }
    if let Some(cpu) = SOFTIRQS.get_ptr_mut(0) {
        // SAFETY: non-null map pointer of this CPU.
        unsafe {
            let start_ns = (*cpu).start_ns;
            if start_ns != 0 {
                (*cpu).timed_ns = (*cpu)
                    .timed_ns
                    .wrapping_add(bpf_ktime_get_ns().wrapping_sub(start_ns));
                (*cpu).timed_runs = (*cpu).timed_runs.wrapping_add(1);
                (*cpu).start_ns = 0;
            }
        }
    }
}
