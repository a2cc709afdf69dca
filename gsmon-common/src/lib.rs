//! What gsmon's kernel programs and its agent both speak: keys, slots, counters, histograms, records.
//!
//! Everything here is `repr(C)`, free of padding that is not named, and size-asserted, because the same bytes are
//! written by BPF programs and read by the agent through mmap. No allocation, no I/O, no policy.
#![no_std]

#[cfg(test)]
extern crate std;

pub mod flow;
pub mod hist;
pub mod limits;
pub mod netcode;
pub mod probe;
pub mod record;
pub mod sched;
pub mod server;
pub mod softirq;
pub mod stat;

/// IANA protocol numbers that gsmon follows.
pub mod proto {
    /// Transmission Control Protocol.
    pub const TCP: u8 = 6;
    /// User Datagram Protocol.
    pub const UDP: u8 = 17;
}
