//! Time that a CPU spends in NET_RX softirqs: receiving packets, from the device's queue to the socket's.

/// `NET_RX_SOFTIRQ` of include/linux/interrupt.h, unchanged since 2.6.
pub const NET_RX: u32 = 3;

/// One run of this many is timed when sampling. A power of two.
pub const SAMPLE_EVERY: u32 = 16;

/// NET_RX softirqs of one CPU since the programs were attached. Only that CPU writes it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetRx {
    /// Runs begun.
    pub runs: u64,
    /// Those of them that were timed and have ended.
    pub timed_runs: u64,
    /// Wall time of the timed ones.
    pub timed_ns: u64,
    /// CLOCK_MONOTONIC when the timed run at hand began; 0 for none.
    pub start_ns: u64,
}

const _: () = assert!(size_of::<NetRx>() == 32);
const _: () = assert!(SAMPLE_EVERY.is_power_of_two());
