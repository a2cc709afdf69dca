//! The loop itself: drain, look, listen, attribute, publish.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use gsmon_common::netcode::layouts::LayoutPlace;

use super::{
    Command, MonitorError, Privilege, companions::Companions, exits::ExitWatch, found::FoundServers,
    leaks::LeakWatch, moments::Moments, rooms::RoomThreads, spikes::SpikeSearch, updates::Updates,
};
use crate::{
    config::{AgentSettings, Config, CustomNetcode, GameServer, NetRxTime},
    games::{
        event::GameEvent,
        netcode::spoken,
        voices::{self, Reachable, Voices},
    },
    history::{History, HostFigures},
    host::{
        Discovery, HostCpuMeter, NetnsId, OwnedSocket, Platform, ProcessTable, RegionSources, SchedSource,
        SocketWatch, SoftnetTable, Touched, UsageTracker, WatchedServer, platform,
        process::{started_unix_ms, ticks_now},
        socket_watch::History as SocketHistory,
    },
    kernel::{
        CountFrom, Kernel, KernelDelta, KernelOptions, NetnsPlace, ProbeBinding, ServerSlotId, SocketOwner,
        Tracepoints,
    },
    world::{
        cell::SnapshotCell,
        companion::CompanionModel,
        model::{Interval, MainProcess, ServerModel},
        net_rx::{NetRxInterval, NetRxModel},
        region::Regions,
        snapshot::{CountingPoints, Endpoint, QuerySnapshot, ServerSnapshot, Snapshot},
    },
};

/// Intervals between two looks at the threads of processes that are followed already.
const FOLLOW_ALL_EVERY: u64 = 10;

pub(super) struct Engine {
    config: Config,
    pub(super) kernel: Option<Kernel>,
    pub(super) absent_because: Option<String>,
    pub(super) discovery: Discovery,
    found: FoundServers,
    pub(super) models: Vec<ServerModel>,
    companions: Companions,
    pub(super) room_threads: HashMap<String, RoomThreads>,
    pub(super) voices: Voices,
    pub(super) usage: HashMap<String, UsageTracker>,
    pub(super) moments: Moments,
    exits: Option<ExitWatch>,
    own_netns: Option<NetnsId>,
    pub(super) cell: Arc<SnapshotCell>,
    pub(super) history: Arc<History>,
    updates: Updates,
    spikes: SpikeSearch,
    leaks: LeakWatch,
    host_cpu: HostCpuMeter,
    sequence: u64,
    last: Instant,
    pub(super) late_intervals: u64,
    sockets: Vec<SocketOwner>,
    /// Formats of the configuration that the kernel has.
    netcode_in_force: Vec<CustomNetcode>,
    pub(super) socket_watch: SocketWatch,
    softnet: SoftnetTable,
    net_rx: NetRxModel,
    regions: Arc<Regions>,
}

impl Engine {
    pub(super) fn new(
        config: Config,
        privilege: Privilege,
        state_directory: &Path,
        history: History,
    ) -> Result<Self, MonitorError> {
        voices::check(&config.servers)?;
        let regions = read_regions(&config)?;
        let platform = Platform::detect();
        let (kernel, absent_because) = match load_kernel(&config, &platform) {
            Ok(kernel) => (Some(kernel), None),
            Err(error) if privilege == Privilege::Required => return Err(error),
            Err(error) => {
                tracing::warn!("going on with /proc alone: {error}");
                (None, Some(error.to_string().replace("\n ", "")))
            }
        };
        let mut engine = Self {
            discovery: Discovery::new(&[], platform.cgroup_root.clone()),
            found: FoundServers::default(),
            models: Vec::new(),
            companions: Companions::new(&config, unix_ms()),
            room_threads: room_threads(&config),
            voices: Voices::new(state_directory.join("log-positions.json")),
            config,
            kernel,
            absent_because,
            usage: HashMap::new(),
            moments: Moments::default(),
            exits: None,
            own_netns: NetnsId::own().ok(),
            cell: Arc::default(),
            history: Arc::new(history),
            updates: Updates::default(),
            spikes: SpikeSearch::default(),
            leaks: LeakWatch::default(),
            host_cpu: HostCpuMeter::default(),
            sequence: 0,
            last: Instant::now(),
            late_intervals: 0,
            sockets: Vec::new(),
            netcode_in_force: Vec::new(),
            socket_watch: SocketWatch::default(),
            softnet: SoftnetTable::default(),
            net_rx: NetRxModel::default(),
            regions,
        };
        engine.follow()?;
        engine.look(None);
        engine.find();
        Ok(engine)
    }

    /// Lets events and ends of processes wake the loop up through its commands.
    pub(super) fn wake_by(&mut self, commands: &mpsc::Sender<Command>) {
        let ringing = commands.clone();
        self.voices
            .bell()
            .answer_with(move || drop(ringing.send(Command::Bell)));
        let ends = commands.clone();
        match ExitWatch::new(move |pid| {
            let _ = ends.send(Command::Ended(pid));
        }) {
            Ok(watch) => self.exits = Some(watch),
            Err(error) => tracing::warn!(%error, "ends of processes are seen at the end of an interval only"),
        }
        self.watch_exits();
    }

    fn watch_exits(&mut self) {
        if let Some(exits) = &mut self.exits {
            let up = self.models.iter().filter(|model| !model.pids().is_empty());
            exits.watch(up.filter_map(ServerModel::main));
        }
    }

    /// Where scheduling figures come from.
    pub(super) fn sched_source(&self) -> SchedSource {
        match self.kernel {
            Some(_) => SchedSource::Kernel,
            None => SchedSource::Proc,
        }
    }

    pub(super) fn run(mut self, inbox: &mpsc::Receiver<Command>) {
        let mut next = Instant::now() + self.config.agent.interval;
        loop {
            match inbox.recv_timeout(next.saturating_duration_since(Instant::now())) {
                Ok(Command::Stop) | Err(mpsc::RecvTimeoutError::Disconnected) => return,
                Ok(command) => self.obey(command),
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    let interval = self.config.agent.interval;
                    let now = Instant::now();
                    if now.duration_since(next) > interval / 2 {
                        self.late_intervals += 1;
                    }
                    self.interval();
                    // A late interval does not make the following ones hurry.
                    next = (next + interval).max(Instant::now());
                }
            }
        }
    }

    fn obey(&mut self, command: Command) {
        // A caller that has gone away does not need its answer.
        match command {
            Command::Add(server, reply) => {
                let mut config = self.config.clone();
                config.servers.push(*server);
                let _ = reply.send(self.reload(config));
            }
            Command::Remove(name, reply) => {
                let mut config = self.config.clone();
                config.servers.retain(|server| server.name != name);
                let known = config.servers.len() < self.config.servers.len();
                let _ = reply.send(if known {
                    self.reload(config)
                } else {
                    Err(MonitorError::UnknownServer(name))
                });
            }
            Command::Reload(config, reply) => {
                let _ = reply.send(self.reload(*config));
            }
            Command::Servers(reply) => {
                let _ = reply.send(self.config.servers.clone());
            }
            Command::Bell => self.answer_bell(),
            Command::Ended(pid) => self.process_ended(pid),
            Command::Stop => {}
        }
    }

    fn reload(&mut self, config: Config) -> Result<(), MonitorError> {
        config.check()?;
        // What can fail comes first: a configuration is taken over whole or not at all. Files of regions are read anew,
        // since they may have changed while their names have not.
        let regions = read_regions(&config)?;
        self.voices.set_servers(&self.effective(&config))?;
        self.regions = regions;
        if let Some(kernel) = &mut self.kernel {
            kernel.reconfigure(
                config.agent.flow_timeouts,
                config.agent.kernel_run_time,
                config.agent.netcode_reading,
            );
        }
        self.config = Config {
            limits: self.config.limits,
            interfaces: self.config.interfaces.clone(),
            agent: AgentSettings {
                net_rx_time: self.config.agent.net_rx_time,
                ..config.agent
            },
            ..config
        };
        for slot in self.companions.reload(&self.config, unix_ms()) {
            if let Some(kernel) = &mut self.kernel {
                kernel.remove_server(slot);
            }
        }
        self.room_threads = room_threads(&self.config);
        self.follow()?;
        self.look(None);
        Ok(())
    }

    /// What is configured and what was found.
    fn effective(&self, config: &Config) -> Vec<GameServer> {
        config
            .servers
            .iter()
            .chain(self.found.servers())
            .cloned()
            .collect()
    }

    /// Follows what is configured and what was found, and nothing else.
    fn follow(&mut self) -> Result<(), MonitorError> {
        let servers = self.effective(&self.config);
        self.voices.set_servers(&servers)?;
        let mut old: HashMap<String, ServerModel> = self
            .models
            .drain(..)
            .map(|model| (model.spec.name.clone(), model))
            .collect();
        let companions = self.config.servers.iter().flat_map(|server| &server.companions);
        let searched: Vec<GameServer> = servers
            .iter()
            .cloned()
            .chain(companions.map(CompanionModel::search))
            .collect();
        self.models = servers
            .into_iter()
            .map(|spec| match old.remove(&spec.name) {
                Some(mut model) => {
                    if model.spec.netcode != spec.netcode
                        || model.spec.netcode_by_port != spec.netcode_by_port
                        || model.spec.port != spec.port
                        || model.spec.game != spec.game
                        || self.config.netcode != self.netcode_in_force
                    {
                        model.speaks(spoken(&spec, &self.config.netcode));
                    }
                    if model.spec != spec
                        && let (Some(usage), Some(ticks)) = (self.usage.get_mut(&spec.name), ticks_now())
                    {
                        usage.watch_anew(ticks);
                    }
                    model.respecify(spec, unix_ms());
                    model
                }
                None => {
                    let spoken = spoken(&spec, &self.config.netcode);
                    let mut model = ServerModel::new(spec, unix_ms());
                    model.speaks(spoken);
                    model
                }
            })
            .collect();
        if let Some(kernel) = &mut self.kernel
            && self.config.netcode != self.netcode_in_force
        {
            for (index, netcode) in self.config.netcode.iter().enumerate() {
                if let Some(place) = LayoutPlace::custom(index) {
                    kernel.set_layout(place, netcode.layout())?;
                }
            }
        }
        self.netcode_in_force.clone_from(&self.config.netcode);
        for (name, model) in old {
            self.usage.remove(&name);
            if let (Some(kernel), Some(slot)) = (&mut self.kernel, model.slot) {
                kernel.remove_server(slot);
            }
        }
        self.discovery.set_servers(&searched);
        self.give_slots()
    }

    /// Looks for servers that nobody configured.
    fn find(&mut self) {
        if !self.config.discovery.is_on(self.config.servers.len()) && self.found.servers().next().is_none() {
            return;
        }
        let configured: HashSet<u32> = self
            .models
            .iter()
            .take(self.config.servers.len())
            .flat_map(|model| model.pids())
            .copied()
            .collect();
        let sockets: Vec<_> = self.discovery.sockets().cloned().collect();
        let changed = self
            .found
            .update(&self.config, &configured, self.discovery.processes(), &sockets);
        if changed {
            match self.follow() {
                Ok(()) => self.look(None),
                Err(error) => tracing::error!("servers that were found are not followed: {error}"),
            }
        }
    }

    fn give_slots(&mut self) -> Result<(), MonitorError> {
        if let Some(kernel) = &mut self.kernel {
            for model in self.models.iter_mut().filter(|model| model.slot.is_none()) {
                model.slot = Some(kernel.add_server()?);
            }
            for slot in self.companions.slots_wanted() {
                *slot = Some(kernel.add_server()?);
            }
        }
        Ok(())
    }

    /// Finds servers and tells the kernel side whose threads and sockets are whose.
    pub(super) fn look(&mut self, touched: Option<Touched<'_>>) {
        let now_ticks = ticks_now().unwrap_or(u64::MAX);
        let discovered = self.discovery.refresh(touched);
        let everything = touched.is_none() || self.sequence.is_multiple_of(FOLLOW_ALL_EVERY);
        let mut sockets: Vec<SocketOwner> = discovered
            .strangers
            .iter()
            .map(|owned| socket_owner(None, owned, self.own_netns))
            .collect();
        let processes = self.discovery.processes();
        let now_ms = unix_ms();
        let (found_servers, found_companions) = discovered.servers.split_at(self.models.len());
        for (model, found) in self.models.iter_mut().zip(found_servers) {
            let usage = self
                .usage
                .entry(model.spec.name.clone())
                .or_insert_with(|| UsageTracker::watching_since(now_ticks));
            let mut endpoints: Vec<Endpoint> = found
                .sockets
                .iter()
                .map(|owned| Endpoint {
                    protocol: owned.socket.protocol,
                    address: owned.socket.address,
                    port: owned.socket.port,
                    netns: owned.socket.netns.0,
                })
                .collect();
            endpoints.sort_unstable();
            endpoints.dedup();
            let mut counting = CountingPoints::default();
            if let (Some(kernel), Some(slot)) = (&mut self.kernel, model.slot) {
                // Threads of followed processes are followed in the kernel; now and then a look for stragglers.
                for pid in &found.pids {
                    if everything || !model.pids().contains(pid) {
                        kernel.follow(*pid, slot, count_from(usage, processes, *pid));
                    }
                }
                sockets.extend(
                    found
                        .sockets
                        .iter()
                        .map(|owned| socket_owner(Some(slot), owned, self.own_netns)),
                );
                kernel.set_probes(slot, &model.spec.probes, &found.pids);
                if let Some(first) = found.sockets.first() {
                    let (ingress, egress) = kernel.counting_points(place(first.socket.netns, self.own_netns));
                    counting = CountingPoints { ingress, egress };
                }
            }
            let main = found
                .pids
                .iter()
                .filter_map(|pid| processes.get(*pid))
                .min_by_key(|process| (process.start_ticks, process.pid));
            let main = main.and_then(|main| {
                Some(MainProcess {
                    pid: main.pid,
                    started_unix_ms: started_unix_ms(main.start_ticks, now_ms)?,
                    counted_from_start: usage.counts_whole(main.start_ticks),
                })
            });
            model.found(&found.pids, main, endpoints, counting);
        }
        let asked = self
            .models
            .iter()
            .map(|model| (&model.spec, reachable(model, self.own_netns)));
        if let Err(error) = self.voices.ask(asked) {
            tracing::error!("game servers are not asked: {error}");
        }
        let server_pids: Vec<(&str, &[u32])> = self
            .models
            .iter()
            .map(|model| (model.spec.name.as_str(), model.pids()))
            .collect();
        for (slot, owned) in
            self.companions
                .place(found_companions, &server_pids, processes, self.kernel.as_mut())
        {
            sockets.push(socket_owner(Some(slot), &owned, self.own_netns));
        }
        if let Some(kernel) = &mut self.kernel {
            if let Err(error) = kernel.set_local_addresses(&platform::local_addresses()) {
                tracing::warn!(%error, "local addresses are not up to date");
            }
            match kernel.set_sockets(&sockets) {
                Ok(plan) if !plan.ambiguous.is_empty() && sockets != self.sockets => tracing::warn!(
                    sockets = plan.ambiguous.len(),
                    "this kernel cannot tell the servers on one TCP port apart; their packets are not counted (kernel 6.15 can, or one cgroup per server)"
                ),
                Ok(_) => {}
                Err(error) => tracing::error!(%error, "packets of changed servers are not counted"),
            }
        }
        self.sockets = sockets;
    }

    fn interval(&mut self) {
        let now = Instant::now();
        let seconds = now.duration_since(self.last).as_secs_f64();
        self.last = now;
        let mut delta = self.kernel.as_mut().map(Kernel::drain);
        // The interval ends here: what is said from now on is of the next one.
        let ended_ms = unix_ms();
        let events = self.listen();
        if let Some(delta) = &delta {
            for (pid, status) in delta.exited_pids.iter().zip(&delta.exit_statuses) {
                self.models
                    .iter_mut()
                    .for_each(|model| model.exited(*pid, *status));
            }
        }
        self.look(delta.as_ref().map(|delta| Touched {
            executed: &delta.executed_pids,
            exited: &delta.exited_pids,
        }));
        self.find();
        if let (Some(kernel), Some(delta)) = (&mut self.kernel, &mut delta) {
            kernel.add_so_far(delta);
            // Who has ended between the drain and the look is gone: how it ended is known by now.
            let seen = kernel.seen_since_drain();
            for (pid, status) in seen.exited_pids.iter().zip(&seen.exit_statuses) {
                self.models
                    .iter_mut()
                    .for_each(|model| model.exited(*pid, *status));
            }
        }
        self.watch_exits();
        self.read_sockets();
        let mut servers = self.advance(seconds, ended_ms, delta.as_ref(), &events);
        if let Some(kernel) = &mut self.kernel {
            for model in &self.models {
                if let Some(slot) = model.slot {
                    kernel.choose_layouts(slot, model.layout_choices());
                }
            }
        }
        let host = self.net_rx.advance(
            &NetRxInterval {
                seconds,
                cpus: delta.as_ref().and_then(|delta| delta.net_rx.as_deref()),
                estimated: self.config.agent.net_rx_time == NetRxTime::Sampled,
                packets: self.softnet.packets(),
            },
            &mut servers,
        );
        self.sequence += 1;
        let snapshot = Snapshot {
            sequence: self.sequence,
            unix_time_seconds: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0.0, |time| time.as_secs_f64()),
            interval_seconds: seconds,
            sources: self.sources(),
            servers,
            host,
            agent: self.cost(delta.as_ref()),
            losses: self.losses(),
        };
        let host = self.host_cpu.read();
        let host = HostFigures {
            steal_ratio: host.map(|host| host.steal_ratio),
            busy_cores: host.map(|host| host.busy_cores),
        };
        self.history.record(&snapshot, host);
        self.updates.notice(&snapshot, &self.history);
        self.spikes.go_on(&snapshot, &self.history);
        self.leaks.go_on(&snapshot, &self.history);
        self.cell.store(snapshot);
    }

    /// What the game sockets hold and drop, where it is time to ask.
    fn read_sockets(&mut self) {
        let (found, namespaces) = self.discovery.found_and_namespaces();
        // Nothing has been looked for since the servers changed.
        if found.len() < self.models.len() {
            return;
        }
        let servers: Vec<WatchedServer<'_>> = self
            .models
            .iter()
            .zip(found)
            .map(|(model, found)| WatchedServer {
                name: &model.spec.name,
                sockets: &found.sockets,
                history: if model.counted_from_start() {
                    SocketHistory::Counts
                } else {
                    SocketHistory::Unknown
                },
            })
            .collect();
        self.socket_watch.read(Instant::now(), &servers, namespaces);
    }

    fn advance(
        &mut self,
        seconds: f64,
        unix_ms: i64,
        delta: Option<&KernelDelta>,
        events: &HashMap<Arc<str>, Vec<GameEvent>>,
    ) -> Vec<ServerSnapshot> {
        let source = self.sched_source();
        let now_ns = monotonic_ns();
        let nothing = crate::kernel::ServerDelta::default();
        let of_slot = |slot: Option<ServerSlotId>| {
            delta.map(|delta| slot.and_then(|slot| delta.servers.get(&slot)).unwrap_or(&nothing))
        };
        let no_rooms = BTreeMap::new();
        let mut snapshots = Vec::with_capacity(self.models.len());
        for model in &mut self.models {
            let name = model.spec.name.clone();
            let usage = self
                .usage
                .entry(name.clone())
                .or_default()
                .update(model.pids(), source);
            let kernel = of_slot(model.slot);
            let rooms = self
                .room_threads
                .get_mut(&name)
                .zip(kernel)
                .map(|(threads, kernel)| threads.sum(&kernel.tasks));
            snapshots.push(model.advance(&Interval {
                seconds,
                now_ns,
                unix_ms,
                kernel,
                usage: &usage,
                sockets: self.socket_watch.of(&name),
                regions: &self.regions,
                events: events.get(name.as_str()).map_or(&[][..], Vec::as_slice),
                room_threads: rooms.as_ref().unwrap_or(&no_rooms),
            }));
        }
        self.tell_sources(&mut snapshots);
        for (companion, tracker) in self.companions.iter_mut() {
            let Some(server) = snapshots
                .iter_mut()
                .find(|snapshot| snapshot.name == companion.server)
            else {
                continue;
            };
            let usage = tracker.update(companion.measured.pids(), source);
            let interval = Interval {
                seconds,
                now_ns,
                unix_ms,
                kernel: of_slot(companion.measured.slot),
                usage: &usage,
                sockets: None,
                regions: &self.regions,
                events: &[],
                room_threads: &no_rooms,
            };
            let snapshot = companion.advance(&interval, server);
            server.companions.push(snapshot);
        }
        snapshots
    }

    /// How each server was found and how it is listened to.
    fn tell_sources(&mut self, snapshots: &mut [ServerSnapshot]) {
        let logs = self.voices.log_statistics();
        let queries = self.voices.query_statistics();
        for (name, stated) in self.voices.player_round_trips() {
            let server = snapshots.iter_mut().find(|server| *server.name == *name);
            if let Some(server) = server
                && let Some(network) = &mut server.network
            {
                network.add_stated(&server.game_state.players, &stated);
            }
        }
        for snapshot in snapshots {
            let name = snapshot.name.as_str();
            snapshot.log = logs.get(name).cloned();
            snapshot.query = queries.get(name).map(QuerySnapshot::from);
            if snapshot.query.as_ref().is_some_and(|query| query.answered > 0) {
                self.found.confirm(name);
            }
            snapshot.discovered = self.found.about(name).cloned();
        }
    }
}

/// Where a server can be asked, once it is found.
fn reachable(model: &ServerModel, own: Option<NetnsId>) -> Option<Reachable> {
    let wanted = model.spec.port_match();
    let endpoint = model
        .endpoints()
        .iter()
        .find(|endpoint| wanted.is_none_or(|wanted| wanted.port == endpoint.port))?;
    let foreign = own != Some(NetnsId(endpoint.netns));
    let netns = match (foreign, model.pids().first()) {
        (false, _) => None,
        (true, Some(pid)) => Some(PathBuf::from(format!("/proc/{pid}/ns/net"))),
        (true, None) => return None,
    };
    Some(Reachable {
        address: endpoint.address,
        port: endpoint.port,
        netns,
        process: model.main(),
    })
}

fn room_threads(config: &Config) -> HashMap<String, RoomThreads> {
    config
        .servers
        .iter()
        .filter_map(|server| {
            let threads = RoomThreads::new(server.session.room_threads.as_deref()?)?;
            Some((server.name.clone(), threads))
        })
        .collect()
}

fn read_regions(config: &Config) -> Result<Arc<Regions>, MonitorError> {
    let sources = RegionSources::load(&config.regions)?;
    Ok(Arc::new(Regions::new(&config.regions, sources)))
}

/// From when on what a process uses is the server's.
pub(super) fn count_from(usage: &UsageTracker, processes: &ProcessTable, pid: u32) -> CountFrom {
    let whole = processes
        .get(pid)
        .is_some_and(|process| usage.counts_whole(process.start_ticks));
    if whole {
        CountFrom::ItsStart
    } else {
        CountFrom::Now
    }
}

/// Milliseconds since the Unix epoch.
pub(super) fn unix_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| time.as_millis() as i64)
}

fn load_kernel(config: &Config, platform: &Platform) -> Result<Kernel, MonitorError> {
    let obstacles = platform.obstacles();
    if !obstacles.is_empty() {
        return Err(MonitorError::Obstacles { obstacles });
    }
    Ok(Kernel::load(&kernel_options(config, platform))?)
}

/// How the kernel side is loaded for a configuration on this machine.
pub fn kernel_options(config: &Config, platform: &Platform) -> KernelOptions {
    KernelOptions {
        limits: config.limits,
        timeouts: config.agent.flow_timeouts,
        run_time: config.agent.kernel_run_time,
        kernel_log: config.agent.kernel_log,
        net_rx_time: config.agent.net_rx_time,
        netcode_reading: config.agent.netcode_reading,
        cgroup_root: platform.cgroup_root.clone(),
        interfaces: config.interfaces.clone(),
        thread_ids: platform.pid_max,
        scope: None,
        tracepoints: Tracepoints::Best,
        bench_flow_mask: 0,
        probe_binding: ProbeBinding::Best,
    }
}

fn place(netns: NetnsId, own: Option<NetnsId>) -> NetnsPlace {
    if own == Some(netns) {
        NetnsPlace::AgentsOwn
    } else {
        NetnsPlace::Other
    }
}

fn socket_owner(server: Option<ServerSlotId>, owned: &OwnedSocket, own: Option<NetnsId>) -> SocketOwner {
    SocketOwner {
        server,
        protocol: owned.socket.protocol,
        address: owned.socket.address,
        port: owned.socket.port,
        cookie: owned.socket.cookie,
        netns_cookie: owned.netns_cookie,
        cgroup_id: owned.cgroup_id,
        place: place(owned.socket.netns, own),
    }
}

/// CLOCK_MONOTONIC, the clock of `bpf_ktime_get_ns`.
fn monotonic_ns() -> u64 {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).map_or(0, |time| {
        time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64
    })
}
