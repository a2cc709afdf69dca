//! `sched_switch`: when a tracked thread leaves a CPU, the kernel's own totals are stored in its slot.
//!
//! Storing totals instead of adding differences is idempotent and free of races: a thread leaves one CPU at a time,
//! under its run queue's lock. A voluntary switch ends a burst; only then is the clock read, and only for the few
//! threads whose bursts the agent wants for tick detection.

use aya_ebpf::{
    helpers::bpf_ktime_get_ns,
    macros::{btf_tracepoint, raw_tracepoint},
    programs::{BtfTracePointContext, RawTracePointContext},
};
use gsmon_common::sched::{BURST_ENTRIES, Burst, BurstRing, TaskSlot, TaskState, burst_class};

use crate::{
    globals,
    maps::{BURSTS, CURRENT, TASKS, TID_SLOTS},
    task::{BtfTask, RawTask, Task},
};

/// `TASK_DEAD` of include/linux/sched.h, unchanged since 4.14.
const TASK_DEAD: u32 = 0x80;

/// `sched_switch(preempt, prev, next[, prev_state])`, kernel 5.5 and later.
#[btf_tracepoint(function = "sched_switch")]
pub fn sched_switch(ctx: BtfTracePointContext) -> i32 {
    switched_out(BtfTask(ctx.arg(1)), BtfTask(ctx.arg(2)));
    0
}

/// The same where BTF tracepoints are missing.
#[raw_tracepoint(tracepoint = "sched_switch")]
pub fn sched_switch_raw(ctx: RawTracePointContext) -> i32 {
    switched_out(RawTask(ctx.arg(1)), RawTask(ctx.arg(2)));
    0
}

#[inline(always)]
fn switched_out<T: Task>(prev: T, next: T) {
    if let Some(current) = CURRENT.get_ptr_mut(0) {
        // SAFETY: non-null map pointer of this CPU.
        unsafe { *current = next.tid() };
    }
    let tid = prev.tid();
    let Some(slot_of) = TID_SLOTS.get_ptr_mut(tid) else {
        return;
    };
    // SAFETY: non-null map pointer; aligned u32.
    let slot = unsafe { *slot_of };
    if slot == 0 {
        return;
    }
    let Some(task) = TASKS.get_ptr_mut(slot) else {
        return;
    };
    // SAFETY: non-null map pointer. Only this CPU writes the slot of a thread that is being switched out.
    unsafe {
        let cpu_ns = prev.u64_at(globals::task_cpu_offset());
        let wait_ns = prev.u64_at(globals::task_run_delay_offset());
        let voluntary = prev.u64_at(globals::task_nvcsw_offset());
        let slept = voluntary != (*task).voluntary_switches;
        if (*task).burst_ring != 0 && (*task).cpu_ns == (*task).burst_cpu_ns {
            begin_burst((*task).burst_ring, wait_ns);
        }
        (*task).cpu_ns = cpu_ns;
        (*task).run_queue_wait_ns = wait_ns;
        (*task).voluntary_switches = voluntary;
        (*task).involuntary_switches = prev.u64_at(globals::task_nivcsw_offset());
        if slept {
            end_burst(task, cpu_ns, wait_ns);
        }
        if prev.u32_at(globals::task_state_offset()) & TASK_DEAD != 0 {
            *slot_of = 0;
            (*task).state = TaskState::Dead as u32;
        }
    }
}

/// The first switch-out since the thread woke: what it has waited so far, it waited before it ran, which is no part of
/// the burst (a game that times its own tick does not see it either). It is kept apart: it tells when the thread woke.
#[inline(always)]
fn begin_burst(ring: u32, wait_ns: u64) {
    if let Some(ring) = BURSTS.get_ptr_mut(ring) {
        // SAFETY: non-null map pointer; a ring belongs to one thread.
        unsafe {
            (*ring).ready_wait_ns = wait_ns.wrapping_sub((*ring).wait_total_ns);
            (*ring).wait_total_ns = wait_ns;
        }
    }
}

/// # Safety
/// `task` points to the slot of the thread being switched out.
#[inline(always)]
unsafe fn end_burst(task: *mut TaskSlot, cpu_ns: u64, wait_ns: u64) {
    // SAFETY: by contract; the class is masked to the array's length.
    let (burst_ns, ring) = unsafe {
        let burst_ns = cpu_ns.wrapping_sub((*task).burst_cpu_ns);
        (*task).burst_cpu_ns = cpu_ns;
        let class = burst_class(burst_ns) & 15;
        let bucket = (&raw mut (*task).bursts).cast::<u32>().add(class);
        *bucket = (*bucket).wrapping_add(1);
        (burst_ns, (*task).burst_ring)
    };
    if ring != 0
        && let Some(ring) = BURSTS.get_ptr_mut(ring)
    {
        // SAFETY: non-null map pointer; a ring belongs to one thread.
        unsafe { record_burst(ring, burst_ns, wait_ns) };
    }
}

/// # Safety
/// `ring` points to the ring of the thread being switched out.
#[inline(always)]
unsafe fn record_burst(ring: *mut BurstRing, burst_ns: u64, wait_ns: u64) {
    // SAFETY: by contract; the position is masked to the length of the ring.
    unsafe {
        let now_ns = bpf_ktime_get_ns();
        let head = (*ring).head;
        let position = head as usize & (BURST_ENTRIES - 1);
        let waited = wait_ns.wrapping_sub((*ring).wait_total_ns);
        (*ring).wait_total_ns = wait_ns;
        let entry = (&raw mut (*ring).bursts).cast::<Burst>().add(position);
        (*entry).end_ns = now_ns;
        (*entry).cpu_ns = clamp(burst_ns);
        (*entry).wait_ns = clamp(waited);
        (*entry).ready_wait_ns = clamp((*ring).ready_wait_ns);
        (*ring).ready_wait_ns = 0;
        core::ptr::write_volatile(&raw mut (*ring).head, head + 1);
    }
}

#[inline(always)]
fn clamp(value: u64) -> u32 {
    if value > u32::MAX as u64 {
        u32::MAX
    } else {
        value as u32
    }
}
