//! Threads of tracked servers: the kernel's own totals as stored at switch-out, and their bursts.

/// Burst classes: log2 of a burst's CPU time, from below 2 us (class 0) to 32 ms and more (class 15).
pub const BURST_CLASSES: usize = 16;

/// Class of a burst of `cpu_ns`.
#[inline(always)]
pub const fn burst_class(cpu_ns: u64) -> usize {
    let class = crate::hist::log2(cpu_ns >> 10) as usize;
    if class >= BURST_CLASSES {
        BURST_CLASSES - 1
    } else {
        class
    }
}

/// Life of a task slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum TaskState {
    /// Nobody's.
    Free = 0,
    /// Its thread lives.
    Live = 1,
    /// Its thread was switched out for the last time; the totals are final.
    Dead = 2,
}

/// One tracked thread. Totals are absolute values of the kernel, so storing them is idempotent.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
pub struct TaskSlot {
    /// `task_struct.se.sum_exec_runtime` at the last switch-out.
    pub cpu_ns: u64,
    /// `task_struct.sched_info.run_delay` at the last switch-out.
    pub run_queue_wait_ns: u64,
    /// `task_struct.nvcsw` at the last switch-out.
    pub voluntary_switches: u64,
    /// `task_struct.nivcsw` at the last switch-out.
    pub involuntary_switches: u64,
    /// Thread id in the initial PID namespace.
    pub tid: u32,
    /// Thread group id (process).
    pub tgid: u32,
    /// Server slot.
    pub server: u32,
    /// Counts occupants of this slot.
    pub generation: u32,
    /// A [`TaskState`].
    pub state: u32,
    /// Burst ring, written by the agent; 0 for none.
    pub burst_ring: u32,
    /// CPU total at the last voluntary switch: where the current burst began.
    pub burst_cpu_ns: u64,
    /// Bursts (CPU between two voluntary switches) per class.
    pub bursts: [u32; BURST_CLASSES],
}

/// Bursts kept per ring. A power of two, so that a mask bounds the position.
pub const BURST_ENTRIES: usize = 512;

/// CPU that a thread used between two sleeps.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Burst {
    /// CLOCK_MONOTONIC when the thread went to sleep.
    pub end_ns: u64,
    /// CPU time of the burst, clamped.
    pub cpu_ns: u32,
    /// Run-queue wait inside the burst, clamped: after the thread first ran. Wall time of a burst is CPU plus wait.
    pub wait_ns: u32,
    /// Run-queue wait before the thread first ran, clamped. When it became ready says when its timer or its packet woke
    /// it, however busy the CPUs were.
    pub ready_wait_ns: u32,
    /// Zero.
    pub pad: u32,
}

/// Ring of the last bursts of one thread, newest at `head - 1` modulo the length.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
pub struct BurstRing {
    /// Bursts ever written.
    pub head: u64,
    /// Run-queue wait total when the burst at hand first ran.
    pub wait_total_ns: u64,
    /// What the burst at hand waited before it first ran.
    pub ready_wait_ns: u64,
    /// The bursts.
    pub bursts: [Burst; BURST_ENTRIES],
}

const _: () = assert!(size_of::<TaskSlot>() == 128);
const _: () = assert!(size_of::<Burst>() == 24);
const _: () = assert!(size_of::<BurstRing>() == 12_288 + 64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn burst_classes_are_powers_of_two_of_a_microsecond() {
        assert_eq!(burst_class(0), 0);
        assert_eq!(burst_class(1_500), 0);
        assert_eq!(burst_class(2_100), 1);
        assert_eq!(burst_class(1 << 20), 10);
        assert_eq!(burst_class(u64::MAX), 15);
    }
}
