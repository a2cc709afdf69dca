//! Default bounds of the kernel tables. The agent may load the object with other sizes; these are the tested ones.

/// Hot-tier flow slots (slot 0 is never used).
pub const FLOWS: u32 = 131_072;
/// Lines of the cache of recently seen flows, two flows each: 256 KiB stay in a CPU's cache. A power of two.
pub const RECENT_FLOWS: u32 = 32_768;
/// Detail slots (histograms) for flows with traffic both ways over time.
pub const DETAILS: u32 = 8_192;
/// Threads of tracked servers.
pub const THREADS: u32 = 16_384;
/// Servers.
pub const SERVERS: u32 = 1_024;
/// Threads whose bursts are kept for tick detection.
pub const TICK_THREADS: u32 = 512;
/// Buckets of the candidate table: remote endpoints seen in one direction only. A power of two.
pub const CANDIDATES: u32 = 16_384;
/// Interfaces are told apart by index below this bound; a higher one never gets an XDP program.
pub const IFINDEXES: u32 = 4_096;
/// (scope, address, port) endpoints for ports that more than one server uses.
pub const ENDPOINTS: u32 = 16_384;
/// Places for local addresses by their last byte.
pub const RECENT_LOCAL: u32 = 256;
/// Local addresses of the agent's network namespace, as seen by XDP and tc.
pub const LOCAL_ADDRESSES: u32 = 1_024;
/// Probed functions, each in one process (slot 0 is never used).
pub const PROBES: u32 = 257;
/// Threads inside a probed function, or that have been.
pub const PROBE_CALLS: u32 = 8_192;
/// Rings of what calls took between two sleeps of a thread: one per thread and probed function (ring 0 is never used).
pub const CALL_RINGS: u32 = 257;
/// Ring buffer for rare facts, bytes.
pub const RECORD_RING_BYTES: u32 = 262_144;
