//! Relaxed atomic adds whose old value is not used: the kernel's plain `BPF_ATOMIC | BPF_ADD`, present on every
//! kernel that gsmon supports (fetching atomics need 5.12).

use core::intrinsics::{AtomicOrdering, atomic_xadd};

use gsmon_common::{
    flow::{PackedTraffic, Traffic},
    stat::Stat,
};

use crate::maps::STATS;

/// Adds to a counter that other CPUs add to as well.
///
/// # Safety
/// `counter` points to a live map value.
#[inline(always)]
pub unsafe fn add_u64(counter: *mut u64, value: u64) {
    // SAFETY: by contract of this function.
    unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(counter, value) };
}

/// Adds to a 32-bit counter that other CPUs add to as well.
///
/// # Safety
/// `counter` points to a live map value.
#[inline(always)]
pub unsafe fn add_u32(counter: *mut u32, value: u32) {
    // SAFETY: by contract of this function.
    unsafe { atomic_xadd::<u32, u32, { AtomicOrdering::Relaxed }>(counter, value) };
}

/// Adds packets and bytes.
///
/// # Safety
/// `traffic` points into a live map value.
#[inline(always)]
pub unsafe fn add_traffic(traffic: *mut Traffic, packets: u64, bytes: u64) {
    // SAFETY: by contract of this function; the fields lie inside the value.
    unsafe {
        add_u64(&raw mut (*traffic).packets, packets);
        add_u64(&raw mut (*traffic).bytes, bytes);
    }
}

/// Adds packets and bytes in one go.
///
/// # Safety
/// `carried` points into a live map value.
#[inline(always)]
pub unsafe fn add_packed(carried: *mut PackedTraffic, packets: u64, bytes: u64) {
    // SAFETY: by contract of this function; the type is a transparent u64.
    unsafe { add_u64(carried.cast(), PackedTraffic::new(packets, bytes).0) };
}

/// Counts one occurrence of `stat`; returns the count before, for rate-limited logging (racy).
#[inline(always)]
pub fn count(stat: Stat) -> u64 {
    add(stat, 1)
}

/// Adds to `stat`; returns the value before (racy).
#[inline(always)]
pub fn add(stat: Stat, value: u64) -> u64 {
    match STATS.get_ptr_mut(stat as u32) {
        // SAFETY: the pointer comes from the map and is non-null.
        Some(counter) => unsafe {
            let before = core::ptr::read_volatile(counter);
            add_u64(counter, value);
            before
        },
        None => 0,
    }
}
