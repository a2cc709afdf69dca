//! fork, exec, exit: children and threads of a tracked thread inherit its server before they first run.
//!
//! A thread's slot is released at its last switch-out (see `sched`), not at `sched_process_exit`, so that the CPU it
//! spends in exit is counted.

use aya_ebpf::{
    macros::{btf_tracepoint, raw_tracepoint},
    programs::{BtfTracePointContext, RawTracePointContext},
};
use gsmon_common::{
    record::{Record, RecordKind},
    sched::{BURST_CLASSES, TaskState},
    stat::Stat,
};

use crate::{
    atomic::count,
    globals,
    maps::{TASK_FREE, TASKS, TID_SLOTS, emit},
    task::{BtfTask, RawTask, Task},
};

/// `sched_process_fork(parent, child)`
#[btf_tracepoint(function = "sched_process_fork")]
pub fn process_fork(ctx: BtfTracePointContext) -> i32 {
    forked(BtfTask(ctx.arg(0)), BtfTask(ctx.arg(1)));
    0
}

/// The same where BTF tracepoints are missing.
#[raw_tracepoint(tracepoint = "sched_process_fork")]
pub fn process_fork_raw(ctx: RawTracePointContext) -> i32 {
    forked(RawTask(ctx.arg(0)), RawTask(ctx.arg(1)));
    0
}

/// `sched_process_exec(task, old_pid, bprm)`
#[btf_tracepoint(function = "sched_process_exec")]
pub fn process_exec(ctx: BtfTracePointContext) -> i32 {
    executed(BtfTask(ctx.arg(0)), ctx.arg(1));
    0
}

/// The same where BTF tracepoints are missing.
#[raw_tracepoint(tracepoint = "sched_process_exec")]
pub fn process_exec_raw(ctx: RawTracePointContext) -> i32 {
    executed(RawTask(ctx.arg(0)), ctx.arg(1));
    0
}

/// `sched_process_exit(task)`
#[btf_tracepoint(function = "sched_process_exit")]
pub fn process_exit(ctx: BtfTracePointContext) -> i32 {
    exited(BtfTask(ctx.arg(0)));
    0
}

/// The same where BTF tracepoints are missing.
#[raw_tracepoint(tracepoint = "sched_process_exit")]
pub fn process_exit_raw(ctx: RawTracePointContext) -> i32 {
    exited(RawTask(ctx.arg(0)));
    0
}

/// Server of a tracked thread, 0 for others.
#[inline(always)]
fn server_of(tid: u32) -> u32 {
    let slot = TID_SLOTS.get(tid).copied().unwrap_or(0);
    if slot == 0 {
        return 0;
    }
    TASKS.get(slot).map_or(0, |task| task.server)
}

#[inline(always)]
fn forked<T: Task>(parent: T, child: T) {
    let server = server_of(parent.tid());
    if server == 0 {
        return;
    }
    let tid = child.tid();
    let Some(slot_of) = TID_SLOTS.get_ptr_mut(tid) else {
        count(Stat::ThreadIdTooLarge);
        return;
    };
    let Ok(Some(slot)) = TASK_FREE.pop() else {
        count(Stat::TaskSlotsExhausted);
        return;
    };
    let Some(task) = TASKS.get_ptr_mut(slot) else {
        return;
    };
    // SAFETY: non-null map pointers; the slot came off the free queue, so nobody else writes it, and the child has
    // not run yet.
    unsafe {
        (*task).cpu_ns = 0;
        (*task).run_queue_wait_ns = 0;
        (*task).voluntary_switches = 0;
        (*task).involuntary_switches = 0;
        (*task).tid = tid;
        (*task).tgid = child.tgid();
        (*task).server = server;
        (*task).burst_ring = 0;
        (*task).burst_cpu_ns = 0;
        (*task).bursts = [0; BURST_CLASSES];
        (*task).state = TaskState::Live as u32;
        let generation = core::ptr::read_volatile(&raw const (*task).generation);
        core::ptr::write_volatile(&raw mut (*task).generation, generation.wrapping_add(1));
        *slot_of = slot;
    }
}

#[inline(always)]
fn executed<T: Task>(task: T, old_tid: u64) {
    let tid = task.tid();
    let old_tid = old_tid as u32;
    // A thread other than the leader takes over the leader's id when it calls exec.
    if old_tid != tid
        && let (Some(old), Some(new)) = (TID_SLOTS.get_ptr_mut(old_tid), TID_SLOTS.get_ptr_mut(tid))
    {
        // SAFETY: non-null map pointers; all other threads of the process have ended by now.
        unsafe {
            let slot = *old;
            *old = 0;
            *new = slot;
            if slot != 0
                && let Some(task) = TASKS.get_ptr_mut(slot)
            {
                (*task).tid = tid;
            }
        }
    }
    emit(Record {
        kind: RecordKind::Exec as u32,
        tgid: task.tgid(),
        server: server_of(tid),
        status: 0,
    });
}

#[inline(always)]
fn exited<T: Task>(task: T) {
    let tid = task.tid();
    let server = server_of(tid);
    if server == 0 {
        return;
    }
    let tgid = task.tgid();
    if tid == tgid {
        emit(Record {
            kind: RecordKind::Exit as u32,
            tgid,
            server,
            status: task.u32_at(globals::task_exit_code_offset()),
        });
    }
}
