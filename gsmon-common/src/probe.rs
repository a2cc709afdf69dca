//! Function probes: one slot per probed function and process, the call that a thread is in, and what its last calls took
//! between two of its sleeps.

use crate::hist;

/// Buckets of a slot's histogram, in the layout [`hist::TICK`]: calls of 1 us to 8.6 s. Shorter calls go to the first
/// bucket; a probe costs about as much as they take.
pub const CALL_BUCKETS: usize = hist::TICK.buckets();
/// Kernels without attach cookies (before 5.15) have one pair of programs per slot: so many.
pub const FIXED_SLOTS: u32 = 8;
/// [`ProbeSlot::timed_ratio`] for every call.
pub const TIME_ALL: u32 = u32::MAX;
/// [`ProbeSlot::timed_ratio`] for none: calls are counted and nothing is kept of them.
pub const TIME_NONE: u32 = 0;
/// [`ProbeCall::start_ns`] of a call that is not timed.
pub const NOT_TIMED: u64 = 1;

/// How the registers of a probed thread lie in memory. A global of the kernel object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Registers {
    /// `struct pt_regs` of x86-64. A call pushes its return address.
    X86_64 = 0,
    /// `struct user_pt_regs` of arm64. A call pushes nothing.
    Arm64 = 1,
    /// `struct user_regs_struct` of riscv64. A call pushes nothing.
    Riscv64 = 2,
}

/// A probed function in one process. Counters are monotonic. `calls` is `timed + nested + untimed + full`, and `timed`
/// is `finished + lost` and what runs just now.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
pub struct ProbeSlot {
    /// Process, host PID; 0 for a slot that is nobody's. Written by the agent, as the next two.
    pub tgid: u32,
    /// Share of the calls that are timed, of `u32::MAX`.
    pub timed_ratio: u32,
    /// No call is timed any more where `timed` has come this far.
    pub timed_limit: u64,
    /// Finished calls that are in no [`CallRing`]: none was free, or the scheduler's programs do not follow the thread.
    pub unbatched: u64,
    /// Zero.
    pub pad: [u64; 5],
    /// Calls seen.
    pub calls: u64,
    /// Of them: timed, from entry to return.
    pub timed: u64,
    /// Of them: inside another call of the same function in the same thread.
    pub nested: u64,
    /// Of them: counted only, for the rate cap.
    pub untimed: u64,
    /// Of them: the table of calls was full.
    pub full: u64,
    /// Timed calls that never returned: left by a longer jump, or their thread died.
    pub lost: u64,
    /// Timed calls that returned.
    pub finished: u64,
    /// Wall time of those.
    pub time_ns: u64,
    /// The same by [`hist::TICK`].
    pub buckets: [u32; CALL_BUCKETS],
}

impl Default for ProbeSlot {
    fn default() -> Self {
        Self {
            tgid: 0,
            timed_ratio: TIME_NONE,
            timed_limit: 0,
            unbatched: 0,
            pad: [0; 5],
            calls: 0,
            timed: 0,
            nested: 0,
            untimed: 0,
            full: 0,
            lost: 0,
            finished: 0,
            time_ns: 0,
            buckets: [0; CALL_BUCKETS],
        }
    }
}

/// Whose call.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct CallKey {
    /// Thread, in the initial PID namespace.
    pub tid: u32,
    /// Probe slot.
    pub slot: u32,
}

/// The outermost call that a thread is in.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ProbeCall {
    /// CLOCK_MONOTONIC at its entry; 0 for no call, [`NOT_TIMED`] for one that is only remembered.
    pub start_ns: u64,
    /// Stack pointer at its entry. Stacks grow downwards: calls inside it come from below.
    pub stack: u64,
    /// How often the thread had gone to sleep at its entry; [`SLEEPS_UNKNOWN`] where nobody counts that.
    pub sleeps: u64,
    /// The same for the newest batch of the thread's ring.
    pub batch_sleeps: u64,
    /// The thread's [`CallRing`] for this slot; 0 for none.
    pub ring: u32,
    /// Zero.
    pub pad: u32,
}

/// [`ProbeCall::sleeps`] of a thread that the scheduler's programs do not follow.
pub const SLEEPS_UNKNOWN: u64 = u64::MAX;

/// Batches kept per ring. A power of two, so that a mask bounds the position.
pub const CALL_BATCHES: usize = 512;

/// Calls of one function that one thread finished between two of its sleeps, by where they began: no more than a tick of
/// a game loop, whose ticks end in a sleep.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CallBatch {
    /// CLOCK_MONOTONIC at the entry of the first.
    pub start_ns: u64,
    /// Wall time of all, clamped.
    pub time_ns: u32,
    /// How many, clamped.
    pub calls: u32,
}

/// The last batches of one thread in one slot, newest at `head - 1` modulo the length; that one may still grow.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
pub struct CallRing {
    /// Batches ever written.
    pub head: u64,
    /// Probe slot; 0 for a ring that is nobody's.
    pub slot: u32,
    /// Thread, in the initial PID namespace.
    pub tid: u32,
    /// Zero.
    pub pad: [u64; 6],
    /// The batches.
    pub batches: [CallBatch; CALL_BATCHES],
}

const _: () = assert!(size_of::<ProbeSlot>() == 128 + 4 * CALL_BUCKETS);
const _: () = assert!(size_of::<CallKey>() == 8);
const _: () = assert!(size_of::<ProbeCall>() == 40);
const _: () = assert!(size_of::<CallBatch>() == 16);
const _: () = assert!(size_of::<CallRing>() == 64 + 16 * CALL_BATCHES);
