//! Rare facts that travel through the ring buffer, one fixed-size record each.

/// What happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum RecordKind {
    /// A process of the host called exec: discovery looks at it.
    Exec = 1,
    /// The last thread of a tracked process ended.
    Exit = 2,
}

/// One record.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// A [`RecordKind`].
    pub kind: u32,
    /// Thread group id.
    pub tgid: u32,
    /// Server slot; 0 when the process is not tracked.
    pub server: u32,
    /// For an exit: the wait status (`task_struct.exit_code`: signal in the low 7 bits, exit code above 8). Else zero.
    pub status: u32,
}

const _: () = assert!(size_of::<Record>() == 16);
