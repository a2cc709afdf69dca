//! Host-wide counters of everything that a kernel program could not do as asked, and of what it refused to guess.

/// Index into the statistics array.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Stat {
    /// A flow was entitled to a slot and none was free.
    FlowSlotsExhausted = 0,
    /// The flow hash refused an insert although slots were free (bucket busy or out of memory).
    FlowInsertFailed = 1,
    /// Two CPUs created one flow at once; the loser gave its slot back.
    FlowInsertRaced = 2,
    /// A slot could not be given back to its queue. It is found again by the agent's audit.
    SlotReturnFailed = 3,
    /// A thread of a tracked server found no task slot; its CPU is read from /proc until one is free.
    TaskSlotsExhausted = 4,
    /// The record ring was full.
    RecordDropped = 5,
    /// IP header cut short or of an impossible length.
    UnparsedTruncated = 6,
    /// Fragment without ports (not the first of its datagram).
    UnparsedFragment = 7,
    /// IPv6 extension headers beyond the bound of the walk.
    UnparsedExtension = 8,
    /// XDP or tc saw a game port on an address that is not this host's: forwarded traffic, left to other hooks.
    NotLocal = 9,
    /// A candidate bucket was taken over by another remote endpoint.
    CandidateReplaced = 10,
    /// Flows created.
    FlowCreated = 11,
    /// A thread id beyond the size of the thread table.
    ThreadIdTooLarge = 12,
    /// Bytes in packets of the three unparsed kinds.
    UnparsedBytes = 13,
}

/// Number of counters.
pub const STATS: u32 = 14;

impl Stat {
    /// All counters, in index order.
    pub const ALL: [Stat; STATS as usize] = [
        Stat::FlowSlotsExhausted,
        Stat::FlowInsertFailed,
        Stat::FlowInsertRaced,
        Stat::SlotReturnFailed,
        Stat::TaskSlotsExhausted,
        Stat::RecordDropped,
        Stat::UnparsedTruncated,
        Stat::UnparsedFragment,
        Stat::UnparsedExtension,
        Stat::NotLocal,
        Stat::CandidateReplaced,
        Stat::FlowCreated,
        Stat::ThreadIdTooLarge,
        Stat::UnparsedBytes,
    ];

    /// snake_case name, as exported.
    pub const fn name(self) -> &'static str {
        match self {
            Stat::FlowSlotsExhausted => "flow_slots_exhausted",
            Stat::FlowInsertFailed => "flow_insert_failed",
            Stat::FlowInsertRaced => "flow_insert_raced",
            Stat::SlotReturnFailed => "slot_return_failed",
            Stat::TaskSlotsExhausted => "task_slots_exhausted",
            Stat::RecordDropped => "record_dropped",
            Stat::UnparsedTruncated => "unparsed_truncated",
            Stat::UnparsedFragment => "unparsed_fragment",
            Stat::UnparsedExtension => "unparsed_extension",
            Stat::NotLocal => "not_local",
            Stat::CandidateReplaced => "candidate_replaced",
            Stat::FlowCreated => "flow_created",
            Stat::ThreadIdTooLarge => "thread_id_too_large",
            Stat::UnparsedBytes => "unparsed_bytes",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_in_index_order() {
        for (index, stat) in Stat::ALL.iter().enumerate() {
            assert_eq!(*stat as usize, index);
        }
    }
}
