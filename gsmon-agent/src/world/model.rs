//! One server over time: what the kernel and the host say about it, added up, and its picture for the snapshot.
//!
//! Attribution itself happens below (a thread and a packet carry their server's slot); this is where differences
//! become totals and rates, bursts become ticks, and absent stays absent.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Instant,
};

use gsmon_common::{flow::Traffic, proto};

use super::{
    network::NetworkModel,
    probe::{ProbeInterval, ProbeModel},
    region::Regions,
    remote::RemoteFacts,
    server_sockets::SocketsSnapshot,
    session::{GameInterval, Life, Moment, Resources, SessionModel, rooms::NamedThreads},
    snapshot::{
        CountingPoints, DirectionTotals, Endpoint, FlowDetail, FlowSnapshot, NetworkTickSnapshot,
        PacketTotals, ServerRates, ServerSnapshot, ServerState, ServerTotals, TickMethod, TickSnapshot,
    },
    tick::{
        Detector, Evidence, ThreadWindow, TickEstimate, TickSpan,
        cadence::{CadenceWatch, NetworkTick},
    },
};
use crate::{
    config::{GameServer, Protocol},
    games::{event::GameEvent, netcode::SpokenByPort},
    host::{ServerSockets, ServerUsage},
    kernel::{
        DetailReading, FlowReading, LayoutChoices, OutsideDelta, SeenFlow, ServerDelta, ServerGrowth,
        ServerSlotId,
    },
};

/// A statement of the game about its tick counts for so long.
const STATED_TICK_MS: i64 = 30_000;
/// Growth of memory is told over the last minute.
const GROWTH_MS: i64 = 60_000;

/// A configured server and what is known of it.
pub struct ServerModel {
    /// From the configuration.
    pub spec: GameServer,
    /// Its slot in the kernel's tables, with a kernel side.
    pub slot: Option<ServerSlotId>,
    state: ServerState,
    starts: u64,
    pids: Vec<u32>,
    endpoints: Vec<Endpoint>,
    counting: CountingPoints,
    totals: ServerTotals,
    previous: ServerTotals,
    detector: Detector,
    tick: Option<TickSnapshot>,
    probes: ProbeModel,
    cadence: CadenceWatch,
    network_tick: Option<NetworkTick>,
    sessions: SessionModel,
    network: NetworkModel,
    main: Option<MainProcess>,
    /// Its main process that died of a fault. It may be seen for a while after that, until its parent asks for it.
    faulted: Option<u32>,
    ended_ms: Option<i64>,
    /// New processes whose use so far is not of one interval: it has no rate.
    fresh: bool,
}

/// The oldest process of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MainProcess {
    /// Host PID.
    pub pid: u32,
    /// When it started, milliseconds since the Unix epoch.
    pub started_unix_ms: i64,
    /// Did it start when the agent was there to count from its start?
    pub counted_from_start: bool,
}

/// What one interval brought.
pub struct Interval<'a> {
    /// Measured length.
    pub seconds: f64,
    /// Its end, milliseconds since the Unix epoch.
    pub unix_ms: i64,
    /// What the game said, oldest first.
    pub events: &'a [GameEvent],
    /// Threads that carry the name of a room.
    pub room_threads: &'a BTreeMap<Arc<str>, NamedThreads>,
    /// CLOCK_MONOTONIC at its end.
    pub now_ns: u64,
    /// From the kernel; `None` without a kernel side.
    pub kernel: Option<&'a ServerDelta>,
    /// From /proc.
    pub usage: &'a ServerUsage,
    /// Its game sockets, once they were read.
    pub sockets: Option<&'a ServerSockets>,
    /// What tells regions.
    pub regions: &'a Arc<Regions>,
}

impl ServerModel {
    /// A server that has not been found yet.
    pub fn new(spec: GameServer, unix_ms: i64) -> Self {
        Self {
            sessions: SessionModel::new(spec.session.bounds, unix_ms),
            network: NetworkModel::default(),
            main: None,
            faulted: None,
            ended_ms: None,
            fresh: false,
            spec,
            slot: None,
            state: ServerState::Waiting,
            starts: 0,
            pids: Vec::new(),
            endpoints: Vec::new(),
            counting: CountingPoints::default(),
            totals: ServerTotals::default(),
            previous: ServerTotals::default(),
            detector: Detector::default(),
            tick: None,
            probes: ProbeModel::default(),
            cadence: CadenceWatch::default(),
            network_tick: None,
        }
    }

    /// Takes over another entry of the same name. What is counted goes on; sessions begin anew where their bounds change.
    pub fn respecify(&mut self, spec: GameServer, unix_ms: i64) {
        if spec.session.bounds != self.spec.session.bounds {
            self.sessions = SessionModel::new(spec.session.bounds, unix_ms);
        }
        self.spec = spec;
    }

    /// What its players may speak, from now on.
    pub fn speaks(&mut self, spoken: SpokenByPort) {
        self.network.respecify(spoken);
    }

    /// By which layouts its flows are to be read.
    pub fn layout_choices(&self) -> &LayoutChoices {
        self.network.choices()
    }

    /// A followed process has ended, with this wait status. Call before [`ServerModel::found`].
    pub fn exited(&mut self, pid: u32, status: u32) {
        if self.main.is_some_and(|main| main.pid == pid) {
            self.faulted = is_fault(status).then_some(pid);
        }
    }

    /// The main process has ended just now.
    pub fn ended(&mut self, unix_ms: i64) {
        self.ended_ms = Some(unix_ms);
    }

    /// Its main process.
    pub fn main(&self) -> Option<u32> {
        self.main.map(|main| main.pid)
    }

    /// Has the agent followed its main process from its start?
    pub fn counted_from_start(&self) -> bool {
        self.main.is_some_and(|main| main.counted_from_start)
    }

    /// Would one join or leave decide whether anybody plays?
    pub fn nearly_empty(&self) -> bool {
        self.sessions.machine().roster.people() <= 1
    }

    /// Adds totals in the middle of an interval: what is counted since its beginning, and what /proc says now.
    pub fn sample(&mut self, unix_ms: i64, counted: Option<&ServerGrowth>, usage: &ServerUsage) {
        let mut totals = self.totals.clone();
        match counted {
            Some(counted) => add_growth(&mut totals, counted),
            None => add_proc(&mut totals, usage),
        }
        add_usage(&mut totals, usage);
        self.sessions.sample(&Moment {
            unix_ms,
            totals: Resources::from(&totals),
            rss_bytes: usage.rss_bytes,
            peak_rss_bytes: usage.peak_rss_bytes,
        });
    }

    /// Adds what threads that carry the name of a room have used since the last interval.
    pub fn sample_rooms(&mut self, unix_ms: i64, threads: &BTreeMap<Arc<str>, NamedThreads>) {
        self.sessions.sample_rooms(unix_ms, threads);
    }

    /// Processes and sockets as discovery sees them now.
    pub fn found(
        &mut self,
        pids: &[u32],
        main: Option<MainProcess>,
        endpoints: Vec<Endpoint>,
        counting: CountingPoints,
    ) {
        self.main = main.or(self.main);
        if !pids.is_empty() && !pids.iter().any(|pid| self.pids.contains(pid)) {
            self.starts += 1;
            self.fresh = true;
            self.detector = Detector::default();
            self.tick = None;
            self.network.restart();
            self.cadence = CadenceWatch::default();
            self.network_tick = None;
        }
        self.state = match (pids.is_empty(), self.state) {
            (false, _) => ServerState::Up,
            (true, ServerState::Waiting) => ServerState::Waiting,
            (true, _) => ServerState::Gone,
        };
        self.pids = pids.to_vec();
        self.endpoints = endpoints;
        self.counting = counting;
    }

    /// Its game sockets as of the last look.
    pub fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// Its processes as of the last look.
    pub fn pids(&self) -> &[u32] {
        &self.pids
    }

    /// Adds an interval and makes the picture.
    pub fn advance(&mut self, interval: &Interval<'_>) -> ServerSnapshot {
        self.previous = if std::mem::take(&mut self.fresh) {
            ServerTotals::default()
        } else {
            self.totals.clone()
        };
        let new_ticks = match interval.kernel {
            Some(delta) => self.add_kernel(delta, interval),
            None => {
                add_proc(&mut self.totals, interval.usage);
                Vec::new()
            }
        };
        let usage = interval.usage;
        add_usage(&mut self.totals, usage);
        let up = self.state == ServerState::Up;
        let tcp = interval.sockets.map(|sockets| sockets.tcp.clone());
        let network = interval.kernel.map(|delta| {
            self.network
                .advance(&delta.flows.netcode, &delta.flows.seen, interval.unix_ms)
        });
        let mut remotes = RemoteFacts::new(tcp.unwrap_or_default(), interval.regions.clone());
        if interval.regions.asks_latency() {
            remotes = remotes.with_lines(self.network.shortest_rtt_ns());
        }
        let network = network.map(|network| network.or_by_tcp(remotes.connections()));
        let game_state = self.sessions.advance(&GameInterval {
            unix_ms: interval.unix_ms,
            seconds: interval.seconds,
            totals: Resources::from(&self.totals),
            rss_bytes: usage.rss_bytes,
            peak_rss_bytes: usage.peak_rss_bytes,
            events: interval.events,
            life: Life {
                starts: self.starts,
                up,
                started_ms: self.main.map(|main| main.started_unix_ms),
                counted_from_start: self.main.is_some_and(|main| main.counted_from_start),
                ended_ms: self.ended_ms,
                faulted: self.faulted.is_some(),
            },
            listening: !self.endpoints.is_empty(),
            flows: interval.kernel.map(|delta| &delta.flows.seen[..]),
            proxied: self.spec.proxied,
            room_threads: interval.room_threads,
            remotes: &remotes,
        });
        self.ended_ms = None;
        if up {
            let main = self.main.map(|main| main.pid);
            self.faulted.take_if(|faulted| Some(*faulted) != main);
        } else {
            self.tick = None;
            self.network_tick = None;
        }
        let tick = self.stated_tick(interval.unix_ms).or_else(|| self.tick.clone());
        let counts = &game_state.player_counts;
        let probes = self.probes.advance(
            interval.kernel.map_or(&[][..], |delta| &delta.probes),
            &ProbeInterval {
                seconds: interval.seconds,
                now_ns: interval.now_ns,
                ticks: &new_ticks,
                tick_rate_hz: tick.as_ref().map(|tick| tick.rate_hz),
                players: [counts.humans, counts.bots, counts.unknown]
                    .into_iter()
                    .flatten()
                    .reduce(|all, more| all + more),
            },
        );
        ServerSnapshot {
            network,
            probes,
            sockets: interval
                .sockets
                .and_then(|sockets| SocketsSnapshot::of(sockets, Instant::now())),
            region: self.spec.region.clone(),
            flows_by_region: interval
                .kernel
                .map(|delta| remotes.count_by_region(delta.flows.seen.iter().map(remote_of)))
                .unwrap_or_default(),
            game_state,
            companions: Vec::new(),
            discovered: None,
            log: None,
            query: None,
            name: self.spec.name.clone(),
            game: self.spec.game,
            state: self.state,
            pids: self.pids.clone(),
            starts: self.starts,
            endpoints: self.endpoints.clone(),
            max_players: self.spec.max_players,
            tick_target_hz: self.spec.tick_rate_hz.or(self.spec.game.usual_tick_rate_hz()),
            counting: self.counting.clone(),
            totals: self.totals.clone(),
            rates: if up {
                self.rates(interval)
            } else {
                ServerRates::default()
            },
            tick,
            network_tick: self.network_tick.map(|tick| NetworkTickSnapshot {
                rate_hz: tick.rate_hz,
                jitter_ns: tick.jitter_ns,
                regular_ratio: tick.regular_ratio,
            }),
            flows: interval.kernel.map(|delta| delta.flows.live),
            top_flows: interval
                .kernel
                .map(|delta| {
                    delta
                        .flows
                        .top
                        .iter()
                        .map(|flow| flow_snapshot(flow, interval.seconds, &remotes))
                        .collect()
                })
                .unwrap_or_default(),
        }
    }

    /// What the game itself says overrides what is seen from outside, while it is fresh.
    fn stated_tick(&self, unix_ms: i64) -> Option<TickSnapshot> {
        let stated = self.sessions.machine().stated_tick?;
        if self.state != ServerState::Up || unix_ms - stated.at_ms > STATED_TICK_MS {
            return None;
        }
        let measured = self.tick.as_ref();
        Some(TickSnapshot {
            rate_hz: stated.rate_hz.or_else(|| measured.map(|tick| tick.rate_hz))?,
            time_p50_ns: stated
                .time_ns
                .or_else(|| measured.and_then(|tick| tick.time_p50_ns)),
            time_p95_ns: measured.and_then(|tick| tick.time_p95_ns),
            time_p99_ns: measured.and_then(|tick| tick.time_p99_ns),
            method: TickMethod::Stated,
            confidence: 1.0,
            thread: measured.and_then(|tick| tick.thread),
        })
    }

    /// Returns the ticks that are over since the last interval.
    fn add_kernel(&mut self, delta: &ServerDelta, interval: &Interval<'_>) -> Vec<TickSpan> {
        let totals = &mut self.totals;
        let add = |total: &mut Option<u64>, more| *total = Some(total.unwrap_or(0) + more);
        add(&mut totals.cpu_ns, delta.tasks.cpu_ns);
        add(&mut totals.run_queue_wait_ns, delta.tasks.wait_ns);
        add(&mut totals.voluntary_switches, delta.tasks.voluntary);
        add(&mut totals.involuntary_switches, delta.tasks.involuntary);
        add_direction(&mut totals.rx, delta.flows.rx, &delta.rx);
        add_direction(&mut totals.tx, delta.flows.tx, &delta.tx);
        let windows: Vec<ThreadWindow<'_>> = delta
            .tasks
            .threads
            .iter()
            .filter(|thread| thread.cpu_ns > 0)
            .map(|thread| ThreadWindow {
                tid: thread.tid,
                bursts: &thread.bursts,
                missed: thread.bursts_missed,
                cpu_ns: thread.cpu_ns,
                wait_ns: thread.wait_ns,
                interval_ns: (interval.seconds * 1e9) as u64,
            })
            .collect();
        let mut estimate = self.detector.update(
            interval.now_ns,
            &Evidence {
                threads: &windows,
                batches: &delta.batches_ns,
            },
        );
        let mut new_ticks = Vec::new();
        if let Some(estimate) = &mut estimate {
            new_ticks = std::mem::take(&mut estimate.new_ticks);
            add(&mut self.totals.ticks, estimate.ticks);
            if !estimate.new_tick_times_ns.is_empty() {
                let times = self.totals.tick_times.get_or_insert_default();
                times.add(&estimate.new_tick_times_ns);
            }
        }
        self.tick = estimate.map(tick_snapshot);
        self.network_tick = self.cadence.update(interval.now_ns, &delta.batches_ns);
        new_ticks
    }

    fn rates(&self, interval: &Interval<'_>) -> ServerRates {
        let seconds = interval.seconds;
        let rate = |now: Option<u64>, before: Option<u64>| {
            // The first interval of a total has no rate.
            (seconds > 0.0).then_some(())?;
            Some(now?.saturating_sub(before?) as f64 / seconds)
        };
        let (now, before) = (&self.totals, &self.previous);
        let nanoseconds = |now, before| rate(now, before).map(|rate| rate / 1e9);
        let packets = |side: Option<DirectionTotals>| side.map(|side| side.all().packets);
        let bytes = |side: Option<DirectionTotals>| side.map(|side| side.all().bytes);
        ServerRates {
            cpu_cores: nanoseconds(now.cpu_ns, before.cpu_ns),
            run_queue_wait_ratio: nanoseconds(now.run_queue_wait_ns, before.run_queue_wait_ns),
            voluntary_switches_per_second: rate(now.voluntary_switches, before.voluntary_switches),
            involuntary_switches_per_second: rate(now.involuntary_switches, before.involuntary_switches),
            threads: interval.usage.threads,
            rss_bytes: interval.usage.rss_bytes,
            rss_anonymous_bytes: interval
                .usage
                .rss_bytes
                .zip(interval.usage.rss_file_bytes)
                .map(|(all, file)| all.saturating_sub(file)),
            rss_file_bytes: interval.usage.rss_file_bytes,
            pss_bytes: interval.usage.pss_bytes,
            rss_growth_bytes_per_second: self.sessions.machine().course.rss_growth(GROWTH_MS),
            minor_faults_per_second: rate(now.minor_faults, before.minor_faults),
            major_faults_per_second: rate(now.major_faults, before.major_faults),
            disk_read_bytes_per_second: rate(now.disk_read_bytes, before.disk_read_bytes),
            disk_write_bytes_per_second: rate(now.disk_write_bytes, before.disk_write_bytes),
            rx_packets_per_second: rate(packets(now.rx), packets(before.rx)),
            rx_bytes_per_second: rate(bytes(now.rx), bytes(before.rx)),
            tx_packets_per_second: rate(packets(now.tx), packets(before.tx)),
            tx_bytes_per_second: rate(bytes(now.tx), bytes(before.tx)),
            // Shared out over all servers (`net_rx`).
            net_rx_share_ratio: None,
            net_rx_cores: None,
        }
    }
}

/// Did a process die of a fault? `status` is the kernel's wait status: a signal in the low seven bits, an exit code
/// above the eighth. The usual ways to ask a server to stop (HUP, INT, TERM, and their exit codes in shells and Java)
/// are none.
fn is_fault(status: u32) -> bool {
    !matches!(
        (status & 0x7f, status >> 8 & 0xff),
        (0, 0 | 129 | 130 | 143) | (1 | 2 | 15, _)
    )
}

fn add_growth(totals: &mut ServerTotals, growth: &ServerGrowth) {
    let add = |total: &mut Option<u64>, more| *total = Some(total.unwrap_or(0) + more);
    add(&mut totals.cpu_ns, growth.cpu_ns);
    add(&mut totals.run_queue_wait_ns, growth.wait_ns);
    add_packets(&mut totals.rx.get_or_insert_default().flow, growth.rx);
    add_packets(&mut totals.tx.get_or_insert_default().flow, growth.tx);
}

fn add_proc(totals: &mut ServerTotals, usage: &ServerUsage) {
    totals.cpu_ns = usage.cpu_ns;
    totals.run_queue_wait_ns = usage.run_queue_wait_ns;
    totals.voluntary_switches = usage.voluntary_switches;
    totals.involuntary_switches = usage.involuntary_switches;
}

fn add_usage(totals: &mut ServerTotals, usage: &ServerUsage) {
    totals.minor_faults = usage.minor_faults;
    totals.major_faults = usage.major_faults;
    totals.disk_read_bytes = usage.disk_read_bytes;
    totals.disk_write_bytes = usage.disk_write_bytes;
    totals.read_calls = usage.read_calls;
    totals.write_calls = usage.write_calls;
}

fn add_direction(total: &mut Option<DirectionTotals>, flow: Traffic, outside: &OutsideDelta) {
    let total = total.get_or_insert_default();
    add_packets(&mut total.flow, flow);
    add_packets(&mut total.candidate, outside.candidate);
    add_packets(&mut total.overflow, outside.overflow);
    if outside.delivered.packets > 0 || total.delivered.is_some() {
        add_packets(total.delivered.get_or_insert_default(), outside.delivered);
    }
}

fn add_packets(total: &mut PacketTotals, more: Traffic) {
    total.packets += more.packets;
    total.bytes += more.bytes;
}

fn packets(traffic: Traffic) -> PacketTotals {
    PacketTotals {
        packets: traffic.packets,
        bytes: traffic.bytes,
    }
}

fn tick_snapshot(mut estimate: TickEstimate) -> TickSnapshot {
    estimate.tick_times_ns.sort_unstable();
    let times = &estimate.tick_times_ns;
    // Nearest rank.
    let quantile = |q: f64| {
        let rank = (q * times.len() as f64).ceil() as usize;
        times.get(rank.max(1) - 1).map(|time| *time as f64)
    };
    TickSnapshot {
        rate_hz: estimate.rate_hz,
        time_p50_ns: quantile(0.5),
        time_p95_ns: quantile(0.95),
        time_p99_ns: quantile(0.99),
        method: estimate.method,
        confidence: estimate.confidence,
        thread: estimate.thread,
    }
}

fn flow_snapshot(flow: &FlowReading, seconds: f64, remotes: &RemoteFacts) -> FlowSnapshot {
    let per_second = |count: u64| {
        if seconds > 0.0 {
            count as f64 / seconds
        } else {
            0.0
        }
    };
    let remote = SocketAddr::new(remote_address(flow.key.remote_addr), flow.key.remote_port);
    let protocol = if flow.key.protocol == proto::TCP {
        Protocol::Tcp
    } else {
        Protocol::Udp
    };
    FlowSnapshot {
        remote,
        protocol,
        tcp: (protocol == Protocol::Tcp).then(|| remotes.tcp(remote)).flatten(),
        region: remotes.region(remote),
        rx: packets(flow.rx_total),
        tx: packets(flow.tx_total),
        rx_packets_per_second: per_second(flow.rx.packets),
        rx_bytes_per_second: per_second(flow.rx.bytes),
        tx_packets_per_second: per_second(flow.tx.packets),
        tx_bytes_per_second: per_second(flow.tx.bytes),
        detail: flow.detail.map(flow_detail),
    }
}

fn flow_detail(detail: DetailReading) -> FlowDetail {
    FlowDetail {
        rx_size_p50_bytes: detail.rx_size_p50_bytes,
        tx_size_p50_bytes: detail.tx_size_p50_bytes,
        rx_inter_arrival_p50_ns: detail.rx_inter_arrival_p50_ns,
        rx_inter_arrival_p95_ns: detail.rx_inter_arrival_p95_ns,
        tx_inter_arrival_p50_ns: detail.tx_inter_arrival_p50_ns,
    }
}

fn remote_of(flow: &SeenFlow) -> SocketAddr {
    SocketAddr::new(remote_address(flow.key.remote_addr), flow.key.remote_port)
}

fn remote_address(octets: [u8; 16]) -> IpAddr {
    Ipv6Addr::from(octets).to_canonical()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::Game, games::event::Phase};

    fn found(model: &mut ServerModel, pid: Option<u32>, started_unix_ms: i64) {
        let main = pid.map(|pid| MainProcess {
            pid,
            started_unix_ms,
            counted_from_start: true,
        });
        let pids: Vec<u32> = pid.into_iter().collect();
        model.found(&pids, main, Vec::new(), CountingPoints::default());
    }

    fn advance(model: &mut ServerModel, unix_ms: i64) -> ServerSnapshot {
        model.advance(&Interval {
            seconds: 1.0,
            unix_ms,
            events: &[],
            room_threads: &BTreeMap::new(),
            now_ns: 0,
            kernel: None,
            usage: &ServerUsage::default(),
            sockets: None,
            regions: &Arc::default(),
        })
    }

    #[test]
    fn a_killed_process_that_nobody_has_asked_for_yet_has_crashed_all_the_same() {
        const KILLED: u32 = 9;
        let mut model = ServerModel::new(GameServer::new("s", Game::Custom), 0);
        found(&mut model, Some(7), 500);
        advance(&mut model, 1_000);
        model.exited(7, KILLED);
        // A zombie.
        found(&mut model, Some(7), 500);
        advance(&mut model, 2_000);
        found(&mut model, None, 0);
        let gone = advance(&mut model, 3_000);
        assert_eq!(gone.game_state.counters.crashes, 1);
        assert_eq!(gone.game_state.ended_sessions[0].phase, Phase::Crashed);
        // The next one ends in order.
        found(&mut model, Some(8), 3_500);
        advance(&mut model, 4_000);
        model.exited(8, 0);
        found(&mut model, None, 0);
        assert_eq!(advance(&mut model, 5_000).game_state.counters.crashes, 1);
        // Replaced between two looks.
        found(&mut model, Some(9), 5_500);
        advance(&mut model, 6_000);
        model.exited(9, KILLED);
        found(&mut model, Some(10), 6_500);
        assert_eq!(advance(&mut model, 7_000).game_state.counters.crashes, 2);
        found(&mut model, None, 0);
        assert_eq!(advance(&mut model, 8_000).game_state.counters.crashes, 2);
    }
}
