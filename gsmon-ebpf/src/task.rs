//! Reading `task_struct` through the pointer that a tracepoint passes, at offsets from the running kernel's BTF.
//!
//! Two ways: a BTF tracepoint's pointer may be dereferenced (a load; measured at 6 ns less per field than the
//! clock's resolution can show), a raw tracepoint's needs `bpf_probe_read_kernel` (about 70 ns).

use aya_ebpf::helpers::bpf_probe_read_kernel;

use crate::globals;

/// A task as seen by one kind of hook.
pub trait Task: Copy {
    /// Reads a 32-bit field.
    fn u32_at(self, offset: u64) -> u32;
    /// Reads a 64-bit field.
    fn u64_at(self, offset: u64) -> u64;

    /// Thread id in the initial PID namespace.
    #[inline(always)]
    fn tid(self) -> u32 {
        self.u32_at(globals::task_pid_offset())
    }

    /// Process id in the initial PID namespace.
    #[inline(always)]
    fn tgid(self) -> u32 {
        self.u32_at(globals::task_tgid_offset())
    }
}

/// Trusted pointer of a BTF tracepoint.
#[derive(Clone, Copy)]
pub struct BtfTask(pub *const u8);

impl Task for BtfTask {
    #[inline(always)]
    fn u32_at(self, offset: u64) -> u32 {
        // SAFETY: the verifier checks the access against the kernel's BTF; the kernel handles faults.
        unsafe { core::ptr::read_volatile(self.0.add(offset as usize).cast()) }
    }

    #[inline(always)]
    fn u64_at(self, offset: u64) -> u64 {
        // SAFETY: as above.
        unsafe { core::ptr::read_volatile(self.0.add(offset as usize).cast()) }
    }
}

/// Untyped pointer of a raw tracepoint.
#[derive(Clone, Copy)]
pub struct RawTask(pub *const u8);

impl Task for RawTask {
    #[inline(always)]
    fn u32_at(self, offset: u64) -> u32 {
        // SAFETY: the helper checks the address and returns an error for one that cannot be read.
        unsafe { bpf_probe_read_kernel(self.0.wrapping_add(offset as usize).cast()) }.unwrap_or(0)
    }

    #[inline(always)]
    fn u64_at(self, offset: u64) -> u64 {
        // SAFETY: as above.
        unsafe { bpf_probe_read_kernel(self.0.wrapping_add(offset as usize).cast()) }.unwrap_or(0)
    }
}
