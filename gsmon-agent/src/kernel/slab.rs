//! A BPF array mapped into memory (`BPF_F_MMAPABLE`, kernel 5.5): user space reads counters without a system call.
//!
//! Kernel programs write while we read, so every access copies a whole value with volatile reads; a value may be torn
//! between fields, never inside an aligned 64-bit counter on the 64-bit machines that gsmon supports.

use std::{
    ffi::c_void,
    io,
    marker::PhantomData,
    num::NonZeroUsize,
    os::fd::{AsFd, BorrowedFd},
    ptr::NonNull,
};

use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

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
unsafe impl Plain for gsmon_common::server::ServerSlot {}
// SAFETY: as above.
unsafe impl Plain for gsmon_common::server::Cadence {}
// SAFETY: as above.
unsafe impl Plain for gsmon_common::sched::TaskSlot {}
// SAFETY: as above.
unsafe impl Plain for gsmon_common::sched::BurstRing {}
// SAFETY: as above.
unsafe impl Plain for gsmon_common::sched::Burst {}

/// A mapped array of `T`.
#[derive(Debug)]
pub struct Slab<T: Plain> {
    base: NonNull<c_void>,
    len: usize,
    stride: usize,
    _values: PhantomData<T>,
}

// SAFETY: the mapping is owned, and all access goes through volatile copies.
unsafe impl<T: Plain> Send for Slab<T> {}
// SAFETY: as above; readers and writers race only as the kernel's own programs do.
unsafe impl<T: Plain> Sync for Slab<T> {}

impl<T: Plain> Slab<T> {
    /// Maps `len` values of the array behind `fd`.
    pub fn map(fd: BorrowedFd<'_>, len: u32) -> io::Result<Self> {
        // The kernel rounds the size of array elements up to 8 bytes.
        let stride = size_of::<T>().next_multiple_of(8);
        let bytes = NonZeroUsize::new(stride * len as usize)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "an empty array cannot be mapped"))?;
        // SAFETY: a new shared mapping at an address of the kernel's choice.
        let base = unsafe {
            mmap(
                None,
                bytes,
                ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
                MapFlags::MAP_SHARED,
                fd.as_fd(),
                0,
            )
        }?;
        Ok(Self {
            base,
            len: len as usize,
            stride,
            _values: PhantomData,
        })
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True for no values; such a slab cannot be made.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn at(&self, index: usize) -> Option<*mut T> {
        if index >= self.len {
            return None;
        }
        // SAFETY: inside the mapping, as just checked.
        Some(unsafe { self.base.as_ptr().cast::<u8>().add(index * self.stride).cast() })
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
