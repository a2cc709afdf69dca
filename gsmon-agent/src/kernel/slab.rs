//! A BPF array mapped into memory (`BPF_F_MMAPABLE`, kernel 5.5): user space reads counters without a system call.
//!
//! Kernel programs write while we read, so every access copies a whole value with volatile reads; a value may be torn
//! between fields, never inside an aligned 64-bit counter on the 64-bit machines that gsmon supports.
//!
//! The kernel puts every page of such a mapping into the process at once, whether it is ever read or not, and the tables
//! are as long as the largest host may need. So address space is set aside for the whole array, and windows of it are
//! mapped when something in them is first asked for.

use std::{
    ffi::c_void,
    io,
    marker::PhantomData,
    num::NonZeroUsize,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    ptr::NonNull,
    sync::atomic::{
        AtomicBool, AtomicU64,
        Ordering::{Acquire, Relaxed, Release},
    },
};

use nix::sys::mman::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};

/// Bytes that are mapped together: a multiple of every page size that Linux has on 64-bit machines.
const WINDOW: usize = 65_536;

/// Types that may be read from and written to memory shared with the kernel.
///
/// # Safety
/// `repr(C)`, valid for every bit pattern, no padding that matters.
pub unsafe trait Plain: Copy {}

// SAFETY: integers and `repr(C)` structs of integers.
unsafe impl Plain for u32 {}
// SAFETY: as above.
unsafe impl Plain for u64 {}
// SAFETY: as above.
unsafe impl Plain for gsmon_common::flow::FlowKey {}
// SAFETY: as above.
unsafe impl Plain for gsmon_common::flow::FlowSlot {}
// SAFETY: as above.
unsafe impl Plain for gsmon_common::flow::DetailSlot {}
// SAFETY: as above.
unsafe impl Plain for gsmon_common::netcode::NetcodeSlot {}
// SAFETY: as above.
unsafe impl Plain for gsmon_common::netcode::NetcodeCounts {}
// SAFETY: as above.
unsafe impl Plain for [u32; gsmon_common::netcode::RTT_BUCKETS] {}
// SAFETY: as above.
unsafe impl Plain for gsmon_common::server::ServerSlot {}
// SAFETY: as above.
unsafe impl Plain for gsmon_common::server::Cadence {}
// SAFETY: as above.
unsafe impl Plain for gsmon_common::sched::TaskSlot {}
// SAFETY: as above.
unsafe impl Plain for gsmon_common::sched::BurstRing {}
// SAFETY: as above.
unsafe impl Plain for gsmon_common::sched::Burst {}
// SAFETY: as above.
unsafe impl Plain for gsmon_common::probe::ProbeSlot {}
// SAFETY: as above.
unsafe impl Plain for gsmon_common::probe::CallRing {}
// SAFETY: as above.
unsafe impl Plain for gsmon_common::probe::CallBatch {}

/// A mapped array of `T`.
#[derive(Debug)]
pub struct Slab<T: Plain> {
    array: OwnedFd,
    base: NonNull<c_void>,
    len: usize,
    stride: usize,
    windows: Box<[AtomicBool]>,
    refused: AtomicU64,
    _values: PhantomData<T>,
}

// SAFETY: the mapping is owned, and all access goes through volatile copies.
unsafe impl<T: Plain> Send for Slab<T> {}
// SAFETY: as above; readers and writers race only as the kernel's own programs do. Two threads that map one window map
// the same pages to the same place.
unsafe impl<T: Plain> Sync for Slab<T> {}

impl<T: Plain> Slab<T> {
    /// Maps `len` values of the array behind `fd`.
    pub fn map(fd: BorrowedFd<'_>, len: u32) -> io::Result<Self> {
        // The kernel rounds the size of array elements up to 8 bytes.
        let stride = size_of::<T>().next_multiple_of(8);
        let bytes = NonZeroUsize::new(stride * len as usize)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "an empty array cannot be mapped"))?;
        let array = fd.try_clone_to_owned()?;
        // SAFETY: a new mapping at an address of the kernel's choice, which nobody can read or write.
        let base = unsafe {
            mmap_anonymous(
                None,
                bytes,
                ProtFlags::PROT_NONE,
                MapFlags::MAP_PRIVATE | MapFlags::MAP_NORESERVE,
            )
        }?;
        let windows = bytes.get().div_ceil(WINDOW);
        let slab = Self {
            array,
            base,
            len: len as usize,
            stride,
            windows: (0..windows).map(|_| AtomicBool::new(false)).collect(),
            refused: AtomicU64::new(0),
            _values: PhantomData,
        };
        // What cannot be mapped at all is an error now and not a table that seems to be empty.
        slab.map_window(0)?;
        Ok(slab)
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True for no values; such a slab cannot be made.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How often a value was asked for whose part of the array could not be mapped.
    pub fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }

    #[cold]
    fn map_window(&self, window: usize) -> io::Result<()> {
        let start = window * WINDOW;
        let bytes = NonZeroUsize::new(WINDOW.min(self.stride * self.len - start))
            .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        let address = NonZeroUsize::new(self.base.as_ptr() as usize + start);
        // SAFETY: replaces a part of the address space that `map` has set aside. Where another thread has mapped this
        // window already, the same pages take the place of themselves.
        unsafe {
            mmap(
                address,
                bytes,
                ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
                MapFlags::MAP_SHARED | MapFlags::MAP_FIXED,
                self.array.as_fd(),
                start as libc::off_t,
            )
        }?;
        self.windows[window].store(true, Release);
        Ok(())
    }

    fn at(&self, index: usize) -> Option<*mut T> {
        if index >= self.len {
            return None;
        }
        let start = index * self.stride;
        // A value may lie across the border of two windows.
        for window in start / WINDOW..=(start + size_of::<T>() - 1) / WINDOW {
            if !self.windows[window].load(Acquire)
                && let Err(error) = self.map_window(window)
            {
                if self.refused.fetch_add(1, Relaxed) == 0 {
                    tracing::error!(%error, "a part of a kernel table cannot be mapped: what it holds is not counted");
                }
                return None;
            }
        }
        // SAFETY: inside the mapping, as just checked.
        Some(unsafe { self.base.as_ptr().cast::<u8>().add(start).cast() })
    }

    /// Copies a value.
    pub fn get(&self, index: usize) -> Option<T> {
        // SAFETY: a valid, aligned pointer (arrays start at a page, strides keep the alignment); volatile, because
        // the kernel writes.
        self.at(index).map(|value| unsafe { value.read_volatile() })
    }

    /// Overwrites a value that no kernel program uses at the moment.
    pub fn set(&self, index: usize, value: T) {
        if let Some(target) = self.at(index) {
            // SAFETY: as in `get`.
            unsafe { target.write_volatile(value) };
        }
    }

    /// Reads one field, chosen by `select` from a pointer to the value.
    pub fn read_field<F: Plain>(&self, index: usize, select: impl FnOnce(*mut T) -> *mut F) -> Option<F> {
        // SAFETY: `select` projects a field of the value (`&raw mut (*p).field`).
        self.at(index)
            .map(|value| unsafe { select(value).read_volatile() })
    }

    /// Writes one field, chosen by `select` from a pointer to the value.
    pub fn write_field<F: Plain>(&self, index: usize, select: impl FnOnce(*mut T) -> *mut F, field: F) {
        if let Some(value) = self.at(index) {
            // SAFETY: as in `read_field`.
            unsafe { select(value).write_volatile(field) };
        }
    }
}

impl<T: Plain> Drop for Slab<T> {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours and nothing borrows from it. Failure would leak address space, no more.
        let _ = unsafe { munmap(self.base, self.stride * self.len) };
    }
}
