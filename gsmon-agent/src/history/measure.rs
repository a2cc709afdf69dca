//! What a frame can hold: names, units, and how several frames become one.
//!
//! Not here: where the figures come from (`frame`), how they are kept (`ring`).

use serde::{Deserialize, Serialize};

/// How the figures of several frames become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merge {
    /// Mean over time.
    Mean,
    /// Sum: it counts what happened in the frame.
    Sum,
    /// Largest, so that a spike survives.
    Largest,
}

macro_rules! measures {
    ($($(#[doc = $doc:literal])* $variant:ident = $name:literal, $merge:ident;)*) => {
        /// One figure of a frame. The name carries the unit.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Measure { $($(#[doc = $doc])* $variant,)* }

        impl Measure {
            /// All of them.
            pub const ALL: &'static [Measure] = &[$(Measure::$variant,)*];

            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();

            /// Its name, as the API has it.
            pub fn name(self) -> &'static str {
                match self { $(Measure::$variant => $name,)* }
            }

            /// How several of them become one.
            pub fn merge(self) -> Merge {
                match self { $(Measure::$variant => Merge::$merge,)* }
            }
        }
    };
}

measures! {
    /// CPU of all threads, in cores.
    CpuCores = "cpu_cores", Mean;
    /// Seconds of run-queue wait per second.
    RunQueueWaitRatio = "run_queue_wait_ratio", Mean;
    /// Ticks per second.
    TickRateHz = "tick_rate_hz", Mean;
    /// Median tick time.
    TickP50Ms = "tick_p50_ms", Mean;
    /// 99th percentile of tick time.
    TickP99Ms = "tick_p99_ms", Largest;
    /// Ticks per second that the server is meant to do, from the configuration or its game; a tick may take its inverse.
    TickTargetHz = "tick_target_hz", Mean;
    /// Packets from clients.
    RxPacketsPerSecond = "rx_packets_per_second", Mean;
    /// Bytes from clients.
    RxBytesPerSecond = "rx_bytes_per_second", Mean;
    /// Packets to clients.
    TxPacketsPerSecond = "tx_packets_per_second", Mean;
    /// Bytes to clients.
    TxBytesPerSecond = "tx_bytes_per_second", Mean;
    /// Players of all kinds.
    Players = "players", Mean;
    /// Of them: known to be bots.
    Bots = "bots", Mean;
    /// Of them: known to be people.
    Humans = "humans", Mean;
    /// Players who came.
    Joins = "joins", Sum;
    /// Players who left.
    Leaves = "leaves", Sum;
    /// Changes of the server's phase.
    PhaseChanges = "phase_changes", Sum;
    /// Actions of players that the game told.
    Actions = "actions", Sum;
    /// CPU of all other servers that the agent follows.
    OtherServersCpuCores = "other_servers_cpu_cores", Mean;
    /// CPU of everything on this host that is no server which the agent follows, the agent itself included.
    OtherProcessesCpuCores = "other_processes_cpu_cores", Mean;
    /// CPU time of this machine that the hypervisor gave to others, over all CPU time.
    StealRatio = "steal_ratio", Mean;
    /// Resident memory.
    RssBytes = "rss_bytes", Mean;
    /// Of it: memory that is no file's (heap, stacks), which the server alone can give back.
    RssAnonymousBytes = "rss_anonymous_bytes", Mean;
    /// Read from storage.
    DiskReadBytesPerSecond = "disk_read_bytes_per_second", Mean;
    /// Written to storage.
    DiskWriteBytesPerSecond = "disk_write_bytes_per_second", Mean;
    /// Page faults without I/O.
    MinorFaultsPerSecond = "minor_faults_per_second", Mean;
    /// Page faults with I/O.
    MajorFaultsPerSecond = "major_faults_per_second", Mean;
    /// Median over players of their median RTT.
    RttP50Ms = "rtt_p50_ms", Mean;
    /// Mean over players of their median RTT.
    RttMeanMs = "rtt_mean_ms", Mean;
    /// Mean over players of their jitter (RFC 3550).
    JitterMs = "jitter_ms", Mean;
    /// Packets of clients that never arrived, over those that were sent.
    LossUpRatio = "loss_up_ratio", Mean;
    /// Packets to clients that never arrived, over those that were sent.
    LossDownRatio = "loss_down_ratio", Mean;
    /// Datagrams that the server's sockets had no room for.
    UdpDropsPerSecond = "udp_drops_per_second", Mean;
    /// Network updates per second as seen on the wire.
    NetworkTickHz = "network_tick_hz", Mean;
    /// CPU in NET_RX for packets of this server, in cores.
    SoftirqCores = "softirq_cores", Mean;
    /// Time of its packets between arrival and the server's read, in seconds per second.
    ReceiveRatio = "receive_ratio", Mean;
    /// Time in the lag compensation function that a probe measures, in cores.
    LagCompensationCores = "lag_compensation_cores", Mean;
}

impl Measure {
    /// The measure that a name means.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|measure| measure.name() == name)
    }
}
