//! Programs that the agent never attaches: what `cargo xtask bench` subtracts.

use aya_ebpf::{
    bindings::xdp_action::XDP_PASS,
    helpers::{bpf_get_prandom_u32, bpf_ktime_get_ns},
    macros::{btf_tracepoint, cgroup_skb, uprobe, uretprobe, xdp},
    programs::{BtfTracePointContext, ProbeContext, RetProbeContext, SkBuffContext, XdpContext},
};

/// Nothing at all, at the XDP hook.
#[xdp]
pub fn empty_xdp(_: XdpContext) -> u32 {
    XDP_PASS
}

/// One clock read.
#[xdp]
pub fn clock_xdp(_: XdpContext) -> u32 {
    // SAFETY: a helper without arguments.
    if unsafe { bpf_ktime_get_ns() } == 1 {
        1
    } else {
        XDP_PASS
    }
}

/// One random number, which the bench flow programs need beside the flow program.
#[cgroup_skb]
pub fn random_cgroup(_: SkBuffContext) -> i32 {
    // SAFETY: a helper without arguments.
    if unsafe { bpf_get_prandom_u32() } == 1 {
        0
    } else {
        1
    }
}

/// Nothing at all, at the cgroup hook.
#[cgroup_skb]
pub fn empty_cgroup(_: SkBuffContext) -> i32 {
    1
}

/// Nothing at all, at every context switch.
#[btf_tracepoint(function = "sched_switch")]
pub fn empty_sched_switch(_: BtfTracePointContext) -> i32 {
    0
}

/// Nothing at all, at the entry of a function.
#[uprobe]
pub fn empty_uprobe(_: ProbeContext) -> u32 {
    0
}

/// Nothing at all, at its return.
#[uretprobe]
pub fn empty_uretprobe(_: RetProbeContext) -> u32 {
    0
}

/// Nothing at all, at the beginning of every softirq.
#[btf_tracepoint(function = "softirq_entry")]
pub fn empty_softirq_entry(_: BtfTracePointContext) -> i32 {
    0
}

/// Nothing at all, at the end of every softirq.
#[btf_tracepoint(function = "softirq_exit")]
pub fn empty_softirq_exit(_: BtfTracePointContext) -> i32 {
    0
}
