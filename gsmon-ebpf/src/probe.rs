//! Function probes: a uprobe at a function's entry and a uretprobe at its return, in the process of a game server.
//!
//! A call and its return are matched by the stack pointer, not by counting depth: a return belongs to the outermost
//! call exactly when it comes from as high on the stack, and an entry from as high or higher says that the call before
//! it was left without a return. The slot comes with the attach cookie; kernels without have one pair per slot.
//!
//! What calls took is added up between two sleeps of their thread as well: which of these sums are one tick is decided
//! in user space, where ticks are found.

use aya_ebpf::{
    EbpfContext,
    helpers::{bpf_get_attach_cookie, bpf_get_current_pid_tgid, bpf_get_prandom_u32, bpf_ktime_get_ns},
    macros::{uprobe, uretprobe},
    programs::{ProbeContext, RetProbeContext},
};
use gsmon_common::{
    hist,
    probe::{
        CALL_BATCHES, CALL_BUCKETS, CallBatch, CallKey, CallRing, NOT_TIMED, ProbeCall, ProbeSlot, Registers,
        SLEEPS_UNKNOWN, TIME_ALL, TIME_NONE,
    },
};

use crate::{
    atomic::{add_u32, add_u64},
    globals,
    maps::{CALL_RING_FREE, CALL_RINGS, PROBE_CALLS, PROBE_SLOTS, TASKS, TID_SLOTS},
};

/// Entry of a probed function; its slot is the attach cookie.
#[uprobe]
pub fn probe_entry(ctx: ProbeContext) -> u32 {
    // SAFETY: the helper takes the program's own context.
    entered(unsafe { bpf_get_attach_cookie(ctx.as_ptr()) } as u32, &ctx);
    0
}

/// Return of a probed function.
#[uretprobe]
pub fn probe_return(ctx: RetProbeContext) -> u32 {
    // SAFETY: the helper takes the program's own context.
    returned(unsafe { bpf_get_attach_cookie(ctx.as_ptr()) } as u32, &ctx);
    0
}

macro_rules! fixed {
    ($($slot:literal: $entry:ident, $return:ident;)*) => {
        $(
            /// Entry of the function of one slot, on kernels without attach cookies.
            #[uprobe]
            pub fn $entry(ctx: ProbeContext) -> u32 {
                entered($slot, &ctx);
                0
            }

            /// Its return.
            #[uretprobe]
            pub fn $return(ctx: RetProbeContext) -> u32 {
                returned($slot, &ctx);
                0
            }
        )*
    };
}

// `gsmon_common::probe::FIXED_SLOTS` pairs.
fixed! {
    1: probe_entry_1, probe_return_1;
    2: probe_entry_2, probe_return_2;
    3: probe_entry_3, probe_return_3;
    4: probe_entry_4, probe_return_4;
    5: probe_entry_5, probe_return_5;
    6: probe_entry_6, probe_return_6;
    7: probe_entry_7, probe_return_7;
    8: probe_entry_8, probe_return_8;
}

#[inline(always)]
fn entered<C: EbpfContext>(index: u32, ctx: &C) {
    let Some((slot, key)) = own(index) else { return };
    // SAFETY: `own` gives a pointer to a live map value.
    unsafe {
        add_u64(&raw mut (*slot).calls, 1);
        let ratio = core::ptr::read_volatile(&raw const (*slot).timed_ratio);
        if ratio == TIME_NONE {
            return;
        }
        let stack = stack_pointer(ctx);
        let call = PROBE_CALLS.get_ptr_mut(key);
        if let Some(call) = call
            && (*call).start_ns != 0
        {
            if stack < (*call).stack {
                add_u64(&raw mut (*slot).nested, 1);
                return;
            }
            if (*call).start_ns != NOT_TIMED {
                add_u64(&raw mut (*slot).lost, 1);
            }
        }
        let timed = core::ptr::read_volatile(&raw const (*slot).timed);
        let limit = core::ptr::read_volatile(&raw const (*slot).timed_limit);
        let wanted = timed < limit && (ratio == TIME_ALL || bpf_get_prandom_u32() <= ratio);
        let sleeps = if wanted { sleeps(key.tid) } else { SLEEPS_UNKNOWN };
        let start_ns = if wanted { bpf_ktime_get_ns() } else { NOT_TIMED };
        if let Some(call) = call {
            (*call).stack = stack;
            (*call).sleeps = sleeps;
            (*call).start_ns = start_ns;
        } else {
            let call = ProbeCall {
                start_ns,
                stack,
                sleeps,
                batch_sleeps: SLEEPS_UNKNOWN,
                ring: 0,
                pad: 0,
            };
            if PROBE_CALLS.insert(key, call, 0).is_err() {
                add_u64(&raw mut (*slot).full, 1);
                return;
            }
        }
        let counter = if wanted {
            &raw mut (*slot).timed
        } else {
            &raw mut (*slot).untimed
        };
        add_u64(counter, 1);
    }
}

#[inline(always)]
fn returned<C: EbpfContext>(index: u32, ctx: &C) {
    let Some((slot, key)) = own(index) else { return };
    let Some(call) = PROBE_CALLS.get_ptr_mut(key) else {
        return;
    };
    // SAFETY: both point to live map values; only this thread writes its call.
    unsafe {
        let start_ns = (*call).start_ns;
        if start_ns == 0 || stack_pointer(ctx) < (*call).stack + return_lies_above() {
            return;
        }
        (*call).start_ns = 0;
        if start_ns == NOT_TIMED {
            return;
        }
        let time_ns = bpf_ktime_get_ns().wrapping_sub(start_ns);
        add_u64(&raw mut (*slot).finished, 1);
        add_u64(&raw mut (*slot).time_ns, time_ns);
        count(slot, hist::TICK.index(time_ns));
        if !batch(call, &key, start_ns, time_ns) {
            add_u64(&raw mut (*slot).unbatched, 1);
        }
    }
}

/// How often a thread has gone to sleep, as far as the scheduler's programs follow it.
#[inline(always)]
fn sleeps(tid: u32) -> u64 {
    let Some(slot) = TID_SLOTS.get_ptr(tid) else {
        return SLEEPS_UNKNOWN;
    };
    // SAFETY: non-null map pointer; aligned u32.
    let slot = unsafe { core::ptr::read_volatile(slot) };
    if slot == 0 {
        return SLEEPS_UNKNOWN;
    }
    match TASKS.get_ptr(slot) {
        // SAFETY: non-null map pointer. The thread at hand runs: nobody writes its count.
        Some(task) => unsafe { core::ptr::read_volatile(&raw const (*task).voluntary_switches) },
        None => SLEEPS_UNKNOWN,
    }
}

/// Adds a call to what its thread has finished since it last slept. Says whether there was a place for it.
///
/// # Safety
/// `call` points to a live map value, the call of the thread at hand.
#[inline(always)]
unsafe fn batch(call: *mut ProbeCall, key: &CallKey, start_ns: u64, time_ns: u64) -> bool {
    // SAFETY: by contract; only this thread writes its call and its ring, positions are masked to the ring's length.
    unsafe {
        let sleeps = (*call).sleeps;
        if sleeps == SLEEPS_UNKNOWN {
            return false;
        }
        let mut index = (*call).ring;
        let fresh = index == 0;
        if fresh {
            match CALL_RING_FREE.pop() {
                Ok(Some(free)) => index = free,
                _ => return false,
            }
        }
        let Some(ring) = CALL_RINGS.get_ptr_mut(index) else {
            return false;
        };
        if fresh {
            (*call).ring = index;
            (*call).batch_sleeps = SLEEPS_UNKNOWN;
            (*ring).tid = key.tid;
            core::ptr::write_volatile(&raw mut (*ring).slot, key.slot);
        }
        let head = (*ring).head;
        if (*call).batch_sleeps == sleeps {
            let newest = batch_at(ring, head.wrapping_sub(1));
            (*newest).time_ns = clamp((*newest).time_ns as u64 + clamp(time_ns) as u64);
            (*newest).calls = clamp((*newest).calls as u64 + 1);
        } else {
            (*call).batch_sleeps = sleeps;
            let next = batch_at(ring, head);
            (*next).start_ns = start_ns;
            (*next).time_ns = clamp(time_ns);
            (*next).calls = 1;
            core::ptr::write_volatile(&raw mut (*ring).head, head + 1);
        }
    }
    true
}

/// # Safety
/// `ring` points to a live map value.
#[inline(always)]
unsafe fn batch_at(ring: *mut CallRing, number: u64) -> *mut CallBatch {
    let position = number as usize & (CALL_BATCHES - 1);
    // SAFETY: by contract; the position is masked to the length of the ring.
    unsafe { (&raw mut (*ring).batches).cast::<CallBatch>().add(position) }
}

#[inline(always)]
fn clamp(value: u64) -> u32 {
    if value > u32::MAX as u64 {
        u32::MAX
    } else {
        value as u32
    }
}

/// Adds one to a bucket.
///
/// # Safety
/// `slot` points to a live map value.
#[inline(always)]
unsafe fn count(slot: *mut ProbeSlot, bucket: usize) {
    if bucket < CALL_BUCKETS {
        // SAFETY: by contract; the place was checked.
        unsafe { add_u32((&raw mut (*slot).buckets).cast::<u32>().add(bucket), 1) };
    }
}

/// The slot, where the process at hand is the slot's: kernels before 6.12 run a return program for every process that
/// returns from the function, not only for the one that was asked for.
#[inline(always)]
fn own(index: u32) -> Option<(*mut ProbeSlot, CallKey)> {
    let slot = PROBE_SLOTS.get_ptr_mut(index)?;
    let pid_tgid = bpf_get_current_pid_tgid();
    // SAFETY: non-null map pointer.
    let tgid = unsafe { core::ptr::read_volatile(&raw const (*slot).tgid) };
    if (pid_tgid >> 32) as u32 != tgid {
        return None;
    }
    let tid = pid_tgid as u32;
    Some((slot, CallKey { tid, slot: index }))
}

/// By how much at least a return comes from above its entry: a call of x86 pushes the return address, which the return
/// has taken off again.
#[inline(always)]
fn return_lies_above() -> u64 {
    (globals::registers() == Registers::X86_64 as u32) as u64
}

/// Stack pointer of the probed thread. Registers are the context of the program: the verifier wants their offsets in
/// the instruction itself.
#[inline(always)]
fn stack_pointer<C: EbpfContext>(ctx: &C) -> u64 {
    let regs = ctx.as_ptr();
    let stack: u64;
    // SAFETY: reads one 64-bit register from the program's own context, which the verifier checks.
    unsafe {
        if globals::registers() == Registers::X86_64 as u32 {
            core::arch::asm!("{0} = *(u64 *)({1} + 152)", out(reg) stack, in(reg) regs);
        } else if globals::registers() == Registers::Arm64 as u32 {
            core::arch::asm!("{0} = *(u64 *)({1} + 248)", out(reg) stack, in(reg) regs);
        } else {
            core::arch::asm!("{0} = *(u64 *)({1} + 16)", out(reg) stack, in(reg) regs);
        }
    }
    stack
}
