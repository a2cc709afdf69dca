//! One immutable picture of everything, made once per interval and shared by all readers.
//!
//! `None` (JSON `null`) is "not known here", never zero. Totals are monotonic since the agent began to follow the
//! server; rates are of the last interval.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use super::{
    histogram::TickHistogram, net_rx::HostSnapshot, network::NetworkSnapshot, probe::ProbeSnapshot,
    region::Region, remote::TcpPath, server_sockets::SocketsSnapshot, session::GameSnapshot,
};
use crate::{
    config::{Game, Protocol},
    games::{
        log::LogStatistics,
        query::{FailureKind, OwnReason, Reader, schedule::QueryStatistics},
    },
};

/// Everything known at the end of one interval.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Counts snapshots of this agent's life.
    pub sequence: u64,
    /// End of the interval, seconds since the Unix epoch.
    pub unix_time_seconds: f64,
    /// Measured length of the interval.
    pub interval_seconds: f64,
    /// Hooks in force, one line per source.
    pub sources: Vec<SourceReport>,
    /// Servers in the order of the configuration.
    pub servers: Vec<ServerSnapshot>,
    /// The host as a whole.
    pub host: HostSnapshot,
    /// What gsmon itself costs.
    pub agent: AgentCost,
    /// Host-wide counters of what could not be counted as asked, by name (see `gsmon_common::stat`).
    pub losses: Vec<LossCounter>,
}

/// One measurement source: what is in force and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SourceReport {
    /// `sched`, `process`, `flow_ingress`, `flow_egress`, `net_rx_softirq`.
    pub source: String,
    /// Hook in force, for example `tp_btf/sched_switch`, `cgroup_skb/ingress`, `/proc`; `none` when absent.
    pub hook: String,
    /// Why this one.
    pub reason: String,
}

/// A monotonic loss counter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LossCounter {
    /// snake_case.
    pub kind: String,
    /// Total since start.
    pub total: u64,
}

/// Is the server there?
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ServerState {
    /// Configured, not found yet.
    Waiting,
    /// Found and followed.
    Up,
    /// Was up; its processes have ended.
    Gone,
}

/// One game server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServerSnapshot {
    /// Name from the configuration.
    pub name: String,
    /// Game family.
    pub game: Game,
    /// Is it there?
    pub state: ServerState,
    /// Processes, host PIDs.
    pub pids: Vec<u32>,
    /// Times that the server was found with all its processes new.
    pub starts: u64,
    /// Endpoints it listens on.
    pub endpoints: Vec<Endpoint>,
    /// Player limit from the configuration.
    pub max_players: Option<u32>,
    /// Ticks per second that it is meant to do: from the configuration, else where its game has one rate only.
    #[serde(default)]
    pub tick_target_hz: Option<u32>,
    /// Where its packets are counted.
    pub counting: CountingPoints,
    /// Monotonic totals.
    pub totals: ServerTotals,
    /// Rates and gauges of the last interval.
    pub rates: ServerRates,
    /// Tick of the game loop; absent when it cannot be told.
    pub tick: Option<TickSnapshot>,
    /// How often and how evenly it sends; absent when it has no regular cadence.
    pub network_tick: Option<NetworkTickSnapshot>,
    /// Live flows (remote endpoints with traffic both ways).
    pub flows: Option<u64>,
    /// The busiest flows by bytes of the interval, at most 64.
    pub top_flows: Vec<FlowSnapshot>,
    /// Round trips, loss and jitter of its players; absent without a kernel side.
    pub network: Option<NetworkSnapshot>,
    /// Its game sockets: queues, drops, TCP connections; absent until they were read.
    pub sockets: Option<SocketsSnapshot>,
    /// Region that it is in, from the configuration.
    pub region: Option<String>,
    /// Live flows by region, those of which it is known; at most 64 regions, the rest as `other`.
    pub flows_by_region: BTreeMap<Arc<str>, u64>,
    /// Sessions, phases and players.
    pub game_state: GameSnapshot,
    /// Functions that are probed, in the order of the configuration.
    #[serde(default)]
    pub probes: Vec<ProbeSnapshot>,
    /// Processes beside the server that are measured on their own account.
    pub companions: Vec<CompanionSnapshot>,
    /// How it was found; absent for servers of the configuration.
    pub discovered: Option<DiscoveredSnapshot>,
    /// How reading its log goes.
    pub log: Option<LogStatistics>,
    /// How asking it goes.
    pub query: Option<QuerySnapshot>,
}

/// How a server was found that nobody configured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DiscoveredSnapshot {
    /// Title, for example `Garry's Mod`.
    pub title: String,
    /// How sure that is, 0 to 1.
    pub confidence: f64,
    /// Why.
    pub reasons: Vec<String>,
    /// Its container.
    pub container: Option<String>,
    /// Panel or orchestrator that manages it.
    pub managed_by: Option<String>,
}

/// How asking a server goes, since the agent began to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct QuerySnapshot {
    /// Questions.
    pub asked: u64,
    /// Answers.
    pub answered: u64,
    /// Failures by sort, those that there were.
    pub failed: BTreeMap<String, u64>,
    /// Failures since the last answer.
    pub failed_in_a_row: u32,
    /// Answers that were not taken in time and are lost.
    pub lost: u64,
    /// Round trip of the last answer, seconds.
    pub round_trip_seconds: Option<f64>,
    /// Who read the last answer.
    #[serde(default)]
    pub read_by: Option<ReadBy>,
    /// Why gsmon read it itself, where it did.
    #[serde(default)]
    pub read_by_reason: Option<OwnReason>,
}

/// Who has read an answer to a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReadBy {
    /// The crate gamedig.
    Gamedig,
    /// gsmon's own reader.
    Gsmon,
}

impl ReadBy {
    /// Word for a metric label, the same as in JSON.
    pub fn label(self) -> &'static str {
        match self {
            Self::Gamedig => "gamedig",
            Self::Gsmon => "gsmon",
        }
    }
}

impl From<&QueryStatistics> for QuerySnapshot {
    fn from(statistics: &QueryStatistics) -> Self {
        Self {
            asked: statistics.asked,
            answered: statistics.answered,
            failed: FailureKind::ALL
                .iter()
                .map(|kind| (kind.label().to_owned(), statistics.failed(*kind)))
                .filter(|(_, count)| *count > 0)
                .collect(),
            failed_in_a_row: statistics.failed_in_a_row,
            lost: statistics.lost_reports,
            round_trip_seconds: statistics.round_trip.map(|time| time.as_secs_f64()),
            read_by: statistics.reader.map(|reader| match reader {
                Reader::Gamedig => ReadBy::Gamedig,
                Reader::Gsmon(_) => ReadBy::Gsmon,
            }),
            read_by_reason: statistics.reader.and_then(|reader| match reader {
                Reader::Gamedig => None,
                Reader::Gsmon(reason) => Some(reason),
            }),
        }
    }
}

/// A companion process of a server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CompanionSnapshot {
    /// Name from the configuration.
    pub name: String,
    /// Processes, host PIDs.
    pub pids: Vec<u32>,
    /// Monotonic totals.
    pub totals: ServerTotals,
    /// Rates and gauges of the last interval.
    pub rates: ServerRates,
    /// Its CPU as a share of its own and the server's in the last interval.
    pub cpu_share_ratio: Option<f64>,
    /// Its resident memory as a share of its own and the server's.
    pub rss_share_ratio: Option<f64>,
    /// Its storage bytes as a share of its own and the server's, since start.
    pub disk_share_ratio: Option<f64>,
}

/// A listening socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Endpoint {
    /// Transport.
    pub protocol: Protocol,
    /// Local address.
    pub address: IpAddr,
    /// Local port.
    pub port: u16,
    /// Inode of its network namespace.
    pub netns: u64,
}

/// The one counting point per direction.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CountingPoints {
    /// For example `cgroup_skb/ingress`, `xdp-native/eth0+cgroup_skb/ingress`.
    pub ingress: Option<String>,
    /// For example `cgroup_skb/egress`.
    pub egress: Option<String>,
}

/// Monotonic totals of one server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ServerTotals {
    /// CPU time of all threads, exited ones included.
    pub cpu_ns: Option<u64>,
    /// Time that runnable threads waited for a CPU.
    pub run_queue_wait_ns: Option<u64>,
    /// Voluntary context switches.
    pub voluntary_switches: Option<u64>,
    /// Involuntary context switches.
    pub involuntary_switches: Option<u64>,
    /// Page faults without I/O.
    pub minor_faults: Option<u64>,
    /// Page faults with I/O.
    pub major_faults: Option<u64>,
    /// Bytes fetched from storage.
    pub disk_read_bytes: Option<u64>,
    /// Bytes sent to storage.
    pub disk_write_bytes: Option<u64>,
    /// Read calls (of files, pipes and sockets), those that the page cache answers included.
    pub read_calls: Option<u64>,
    /// Write calls.
    pub write_calls: Option<u64>,
    /// Clients to server.
    pub rx: Option<DirectionTotals>,
    /// Server to clients.
    pub tx: Option<DirectionTotals>,
    /// Ticks seen.
    pub ticks: Option<u64>,
    /// Tick times of those whose beginning and end were seen.
    pub tick_times: Option<TickHistogram>,
}

/// Monotonic packet totals of one direction. The whole is `flow + candidate + overflow`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectionTotals {
    /// In flows.
    pub flow: PacketTotals,
    /// Remote endpoints without traffic both ways.
    pub candidate: PacketTotals,
    /// Both ways, but no slot was free.
    pub overflow: PacketTotals,
    /// Where XDP or tc counts: what the firewall let through, seen at the cgroup hook.
    pub delivered: Option<PacketTotals>,
}

/// UDP datagrams or TCP segments, and IP-layer bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PacketTotals {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

impl DirectionTotals {
    /// Flow, candidate and overflow together.
    pub fn all(&self) -> PacketTotals {
        let parts = [self.flow, self.candidate, self.overflow];
        PacketTotals {
            packets: parts.iter().map(|part| part.packets).sum(),
            bytes: parts.iter().map(|part| part.bytes).sum(),
        }
    }
}

/// Rates and gauges of one server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ServerRates {
    /// CPU in cores (1.0 is one core fully used).
    pub cpu_cores: Option<f64>,
    /// Seconds of run-queue wait per second.
    pub run_queue_wait_ratio: Option<f64>,
    /// Voluntary context switches per second.
    pub voluntary_switches_per_second: Option<f64>,
    /// Involuntary context switches per second.
    pub involuntary_switches_per_second: Option<f64>,
    /// Live threads.
    pub threads: Option<u32>,
    /// Resident memory of all processes.
    pub rss_bytes: Option<u64>,
    /// Of it: anonymous (heap, stacks).
    pub rss_anonymous_bytes: Option<u64>,
    /// Of it: pages of files and shared memory.
    pub rss_file_bytes: Option<u64>,
    /// Memory of several processes with shared pages counted once, as last read (once a minute at most); absent for a single one.
    #[serde(default)]
    pub pss_bytes: Option<u64>,
    /// Growth of resident memory over the last minute, bytes per second.
    pub rss_growth_bytes_per_second: Option<f64>,
    /// Minor page faults per second.
    pub minor_faults_per_second: Option<f64>,
    /// Major page faults per second.
    pub major_faults_per_second: Option<f64>,
    /// Storage reads.
    pub disk_read_bytes_per_second: Option<f64>,
    /// Storage writes.
    pub disk_write_bytes_per_second: Option<f64>,
    /// Clients to server.
    pub rx_packets_per_second: Option<f64>,
    /// Clients to server.
    pub rx_bytes_per_second: Option<f64>,
    /// Server to clients.
    pub tx_packets_per_second: Option<f64>,
    /// Server to clients.
    pub tx_bytes_per_second: Option<f64>,
    /// Packets from its clients among all that the host's network stack processed.
    pub net_rx_share_ratio: Option<f64>,
    /// That share of the time in NET_RX softirqs, in cores: an estimate.
    pub net_rx_cores: Option<f64>,
}

/// How the tick was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TickMethod {
    /// Bursts of one thread between sleeps.
    SchedulerBursts,
    /// Batches of packets that the server sends; says nothing of tick time.
    SendCadence,
    /// Both, in agreement.
    BurstsAndCadence,
    /// The game says so itself (log, query or push).
    Stated,
}

/// Tick of a game loop, over the last interval (or the last few, for slow ticks).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TickSnapshot {
    /// Ticks per second.
    pub rate_hz: f64,
    /// Median tick time (busy wall time of one tick); absent where only the cadence is known.
    pub time_p50_ns: Option<f64>,
    /// 95th percentile.
    pub time_p95_ns: Option<f64>,
    /// 99th percentile.
    pub time_p99_ns: Option<f64>,
    /// How it was found.
    pub method: TickMethod,
    /// 0 to 1: how narrow and how complete the evidence is.
    pub confidence: f64,
    /// Thread of the loop, where known.
    pub thread: Option<u32>,
}

/// Send cadence on the wire, over the last interval (or the last four seconds, for slow ones), from when the server
/// began to send to its clients each time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct NetworkTickSnapshot {
    /// Send batches per second; one that is left out does not lower it.
    pub rate_hz: f64,
    /// Mean distance of the gaps between batches from the nearest whole number of periods.
    pub jitter_ns: f64,
    /// Share of gaps that are whole periods within 10 %: how far to trust it.
    pub regular_ratio: f64,
}

/// One remote endpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FlowSnapshot {
    /// Remote address and port.
    pub remote: SocketAddr,
    /// Transport.
    pub protocol: Protocol,
    /// Totals since the flow began.
    pub rx: PacketTotals,
    /// Totals since the flow began.
    pub tx: PacketTotals,
    /// Clients to server, last interval.
    pub rx_packets_per_second: f64,
    /// Clients to server, last interval.
    pub rx_bytes_per_second: f64,
    /// Server to clients, last interval.
    pub tx_packets_per_second: f64,
    /// Server to clients, last interval.
    pub tx_bytes_per_second: f64,
    /// Median packet size and inter-arrival, from the detail tier.
    pub detail: Option<FlowDetail>,
    /// Round trip and retransmits as the kernel's TCP knows them; of TCP flows.
    pub tcp: Option<TcpPath>,
    /// Where it is, if that is known.
    pub region: Option<Region>,
}

/// From the detail tier, over the life of the flow's detail slot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FlowDetail {
    /// Median size of packets from the client.
    pub rx_size_p50_bytes: Option<f64>,
    /// Median size of packets to the client.
    pub tx_size_p50_bytes: Option<f64>,
    /// Median time between packets from the client.
    pub rx_inter_arrival_p50_ns: Option<f64>,
    /// 95th percentile of the time between packets from the client.
    pub rx_inter_arrival_p95_ns: Option<f64>,
    /// Median time between packets to the client.
    pub tx_inter_arrival_p50_ns: Option<f64>,
}

/// What gsmon itself costs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AgentCost {
    /// CPU seconds of the agent since its start, its query workers included.
    pub cpu_seconds: f64,
    /// Resident memory of the agent, mapped kernel tables and its query workers included.
    pub rss_bytes: u64,
    /// Time of the last drain of the kernel tables.
    pub drain_seconds: f64,
    /// Intervals that ended late by more than half their length.
    pub late_intervals: u64,
    /// Processes that ask servers through gamedig.
    #[serde(default)]
    pub query_workers: QueryWorkers,
    /// The history on disk; `None` where none is written.
    #[serde(default)]
    pub history: Option<HistorySnapshot>,
    /// Per kernel program.
    pub programs: Vec<ProgramCost>,
    /// Per kernel table.
    pub maps: Vec<MapFill>,
}

/// How the history on disk goes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HistorySnapshot {
    /// The file.
    pub path: PathBuf,
    /// Is it written?
    pub status: HistoryStatus,
    /// What is wrong, while it fails.
    pub problem: Option<String>,
    /// Times that it failed since the agent's start.
    pub failures: u64,
    /// Intervals that were written.
    pub intervals_written: u64,
    /// Intervals that were lost.
    pub intervals_lost: u64,
    /// Samples that were written: one server, one second or interval.
    pub samples_written: u64,
    /// Blocks that could not be read again.
    pub damaged_blocks: u64,
    /// Size of the file and of SQLite's journal beside it.
    pub bytes: u64,
    /// CPU seconds of the thread that writes it.
    pub cpu_seconds: f64,
}

/// Is the history written?
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HistoryStatus {
    /// Nothing has been written yet.
    Waiting,
    /// Yes.
    Recording,
    /// No; `problem` says why.
    Failing,
}

impl HistorySnapshot {
    /// Before the first interval.
    pub fn waiting(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            status: HistoryStatus::Waiting,
            problem: None,
            failures: 0,
            intervals_written: 0,
            intervals_lost: 0,
            samples_written: 0,
            damaged_blocks: 0,
            bytes: 0,
            cpu_seconds: 0.0,
        }
    }
}

/// Processes that ask servers for the agent; their cost is part of the agent's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct QueryWorkers {
    /// Those that live.
    pub live: u64,
    /// Started since the agent's start.
    pub started: u64,
    /// Died on what a server answered.
    pub died: u64,
    /// Did not reply in time and were killed.
    pub hung: u64,
    /// CPU seconds of all of them, ended ones included.
    pub cpu_seconds: f64,
    /// Resident memory of those that live; pages shared with the agent count twice.
    pub rss_bytes: u64,
}

/// One kernel program.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProgramCost {
    /// Program name.
    pub name: String,
    /// Hook it is attached to.
    pub hook: String,
    /// Runs while statistics were on.
    pub sampled_runs: u64,
    /// Run time while statistics were on, seconds.
    pub sampled_run_seconds: f64,
}

/// One kernel table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MapFill {
    /// Table name.
    pub name: String,
    /// Entries in use, where known.
    pub used: Option<u64>,
    /// Entries.
    pub capacity: u64,
    /// Bytes of kernel memory.
    pub bytes: u64,
}
