//! The agent's loop, and the library's front door: [`GameServerMonitor`].
//!
//! One thread per monitor; every interval: drain the kernel side, look for servers, follow what is new, read /proc,
//! publish one immutable snapshot. Readers never wait for it. Without privileges it goes on with /proc alone.

use std::{
    collections::HashMap,
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use crate::{
    config::{Config, FieldError, GameServer},
    host::{Discovery, NetnsId, OwnedSocket, Platform, SchedSource, Touched, UsageTracker, platform},
    kernel::{
        Kernel, KernelDelta, KernelError, KernelOptions, NetnsPlace, ServerSlotId, SocketOwner, Tracepoints,
    },
    world::{
        cell::SnapshotCell,
        model::{Interval, ServerModel},
        snapshot::{
            AgentCost, CountingPoints, Endpoint, LossCounter, MapFill, ProgramCost, ServerSnapshot, Snapshot,
            SourceReport,
        },
    },
};

/// What to do when kernel programs cannot be loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privilege {
    /// Refuse to start.
    Required,
    /// Go on with /proc and say what is missing.
    Optional,
}

/// Why a monitor could not start or change.
#[derive(Debug, thiserror::Error)]
pub enum MonitorError {
    /// The configuration makes no sense.
    #[error(transparent)]
    Config(#[from] FieldError),
    /// Something that the kernel side needs is missing.
    #[error("the kernel side cannot run:\n  {}", .obstacles.join("\n  "))]
    Obstacles {
        /// One line each, with what to do.
        obstacles: Vec<String>,
    },
    /// The kernel refused.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// No thread.
    #[error("cannot start the measuring thread: {0}")]
    Thread(std::io::Error),
    /// The loop has ended.
    #[error("the monitor has stopped")]
    Stopped,
    /// No such server.
    #[error("there is no server called `{0}`")]
    UnknownServer(String),
}

/// Options of a monitor.
#[derive(Clone, Debug)]
pub struct GameServerMonitorBuilder {
    config: Config,
    privilege: Privilege,
}

impl GameServerMonitorBuilder {
    /// Takes agent settings, limits and servers from a configuration.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Time between snapshots.
    pub fn interval(mut self, interval: Duration) -> Self {
        self.config.agent.interval = interval;
        self
    }

    /// Adds a server.
    pub fn add_game_server(mut self, server: GameServer) -> Self {
        self.config.servers.push(server);
        self
    }

    /// Required by default.
    pub fn privilege(mut self, privilege: Privilege) -> Self {
        self.privilege = privilege;
        self
    }

    /// Loads the kernel side and starts measuring.
    pub fn start(self) -> Result<GameServerMonitor, MonitorError> {
        self.config.check()?;
        let engine = Engine::new(self.config, self.privilege)?;
        let cell = engine.cell.clone();
        let (commands, inbox) = mpsc::channel();
        let thread = thread::Builder::new()
            .name("gsmon-monitor".into())
            .spawn(move || engine.run(&inbox))
            .map_err(MonitorError::Thread)?;
        Ok(GameServerMonitor {
            cell,
            commands,
            thread: Some(thread),
        })
    }
}

enum Command {
    Add(Box<GameServer>, mpsc::Sender<Result<(), MonitorError>>),
    Remove(String, mpsc::Sender<Result<(), MonitorError>>),
    Reload(Box<Config>, mpsc::Sender<Result<(), MonitorError>>),
    Servers(mpsc::Sender<Vec<GameServer>>),
    Stop,
}

/// A running monitor. Dropping it detaches all kernel programs.
///
/// ```no_run
/// use gsmon_agent::{Game, GameServer, GameServerMonitor};
///
/// let monitor = GameServerMonitor::builder()
///     .add_game_server(GameServer::new("minecraft-survival-01", Game::Minecraft).port(25565).max_players(100))
///     .start()?;
/// if let Some(snapshot) = monitor.snapshot() {
///     println!("{} servers", snapshot.servers.len());
/// }
/// # Ok::<(), gsmon_agent::monitor::MonitorError>(())
/// ```
pub struct GameServerMonitor {
    cell: Arc<SnapshotCell>,
    commands: mpsc::Sender<Command>,
    thread: Option<JoinHandle<()>>,
}

impl GameServerMonitor {
    /// A monitor with default settings and no servers yet.
    pub fn builder() -> GameServerMonitorBuilder {
        GameServerMonitorBuilder {
            config: Config::default(),
            privilege: Privilege::Required,
        }
    }

    /// The newest snapshot; `None` in the first interval.
    pub fn snapshot(&self) -> Option<Arc<Snapshot>> {
        self.cell.load()
    }

    /// Where snapshots appear.
    pub fn cell(&self) -> Arc<SnapshotCell> {
        self.cell.clone()
    }

    /// The servers that are looked for.
    pub fn servers(&self) -> Result<Vec<GameServer>, MonitorError> {
        let (reply, answer) = mpsc::channel();
        self.commands
            .send(Command::Servers(reply))
            .map_err(|_| MonitorError::Stopped)?;
        answer.recv().map_err(|_| MonitorError::Stopped)
    }

    /// Looks for one more server from the next interval on.
    pub fn add_game_server(&self, server: GameServer) -> Result<(), MonitorError> {
        self.ask(|reply| Command::Add(Box::new(server), reply))
    }

    /// Stops following a server.
    pub fn remove_game_server(&self, name: &str) -> Result<(), MonitorError> {
        self.ask(|reply| Command::Remove(name.to_owned(), reply))
    }

    /// Takes over a new configuration; servers that stay keep their counters. Table sizes and interfaces need a
    /// restart and keep their values.
    pub fn reload(&self, config: Config) -> Result<(), MonitorError> {
        self.ask(|reply| Command::Reload(Box::new(config), reply))
    }

    fn ask(
        &self,
        command: impl FnOnce(mpsc::Sender<Result<(), MonitorError>>) -> Command,
    ) -> Result<(), MonitorError> {
        let (reply, answer) = mpsc::channel();
        self.commands
            .send(command(reply))
            .map_err(|_| MonitorError::Stopped)?;
        answer.recv().map_err(|_| MonitorError::Stopped)?
    }
}

impl Drop for GameServerMonitor {
    fn drop(&mut self) {
        let _ = self.commands.send(Command::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Intervals between two looks at the threads of processes that are followed already.
const FOLLOW_ALL_EVERY: u64 = 10;

struct Engine {
    config: Config,
    kernel: Option<Kernel>,
    absent_because: Option<String>,
    discovery: Discovery,
    models: Vec<ServerModel>,
    usage: HashMap<String, UsageTracker>,
    own_netns: Option<NetnsId>,
    cell: Arc<SnapshotCell>,
    sequence: u64,
    last: Instant,
    late_intervals: u64,
    sockets: Vec<SocketOwner>,
}

impl Engine {
    fn new(config: Config, privilege: Privilege) -> Result<Self, MonitorError> {
        let platform = Platform::detect();
        let (kernel, absent_because) = match load_kernel(&config, &platform) {
            Ok(kernel) => (Some(kernel), None),
            Err(error) if privilege == Privilege::Required => return Err(error),
            Err(error) => {
                tracing::warn!("going on with /proc alone: {error}");
                (None, Some(error.to_string()))
            }
        };
        let mut engine = Self {
            discovery: Discovery::new(&config.servers, platform.cgroup_root.clone()),
            models: config.servers.iter().cloned().map(ServerModel::new).collect(),
            config,
            kernel,
            absent_because,
            usage: HashMap::new(),
            own_netns: NetnsId::own().ok(),
            cell: Arc::default(),
            sequence: 0,
            last: Instant::now(),
            late_intervals: 0,
            sockets: Vec::new(),
        };
        engine.give_slots()?;
        engine.look(None);
        Ok(engine)
    }

    fn run(mut self, inbox: &mpsc::Receiver<Command>) {
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
            Command::Stop => {}
        }
    }

    fn reload(&mut self, config: Config) -> Result<(), MonitorError> {
        config.check()?;
        let mut old: HashMap<String, ServerModel> = self
            .models
            .drain(..)
            .map(|model| (model.spec.name.clone(), model))
            .collect();
        self.models = config
            .servers
            .iter()
            .map(|spec| match old.remove(&spec.name) {
                Some(mut model) => {
                    model.spec = spec.clone();
                    model
                }
                None => ServerModel::new(spec.clone()),
            })
            .collect();
        for (name, model) in old {
            self.usage.remove(&name);
            if let (Some(kernel), Some(slot)) = (&mut self.kernel, model.slot) {
                kernel.remove_server(slot);
            }
        }
        if let Some(kernel) = &mut self.kernel {
            kernel.reconfigure(config.agent.flow_timeouts, config.agent.kernel_run_time);
        }
        self.config = Config {
            limits: self.config.limits,
            interfaces: self.config.interfaces.clone(),
            ..config
        };
        self.discovery.set_servers(&self.config.servers);
        self.give_slots()?;
        self.look(None);
        Ok(())
    }

    fn give_slots(&mut self) -> Result<(), MonitorError> {
        if let Some(kernel) = &mut self.kernel {
            for model in self.models.iter_mut().filter(|model| model.slot.is_none()) {
                model.slot = Some(kernel.add_server()?);
            }
        }
        Ok(())
    }

    /// Finds servers and tells the kernel side whose threads and sockets are whose.
    fn look(&mut self, touched: Option<Touched<'_>>) {
        let discovered = self.discovery.refresh(touched);
        let everything = touched.is_none() || self.sequence.is_multiple_of(FOLLOW_ALL_EVERY);
        let mut sockets: Vec<SocketOwner> = discovered
            .strangers
            .iter()
            .map(|owned| socket_owner(None, owned, self.own_netns))
            .collect();
        for (model, found) in self.models.iter_mut().zip(&discovered.servers) {
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
                        kernel.follow(*pid, slot);
                    }
                }
                sockets.extend(
                    found
                        .sockets
                        .iter()
                        .map(|owned| socket_owner(Some(slot), owned, self.own_netns)),
                );
                if let Some(first) = found.sockets.first() {
                    let (ingress, egress) = kernel.counting_points(place(first.socket.netns, self.own_netns));
                    counting = CountingPoints { ingress, egress };
                }
            }
            model.found(&found.pids, endpoints, counting);
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
        let delta = self.kernel.as_mut().map(Kernel::drain);
        self.look(delta.as_ref().map(|delta| Touched {
            executed: &delta.executed_pids,
            exited: &delta.exited_pids,
        }));
        let servers = self.advance(seconds, delta.as_ref());
        self.sequence += 1;
        let snapshot = Snapshot {
            sequence: self.sequence,
            unix_time_seconds: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0.0, |time| time.as_secs_f64()),
            interval_seconds: seconds,
            sources: self.sources(),
            servers,
            agent: self.cost(delta.as_ref()),
            losses: self.losses(),
        };
        self.cell.store(snapshot);
    }

    fn advance(&mut self, seconds: f64, delta: Option<&KernelDelta>) -> Vec<ServerSnapshot> {
        let source = if delta.is_some() {
            SchedSource::Kernel
        } else {
            SchedSource::Proc
        };
        let now_ns = monotonic_ns();
        let nothing = crate::kernel::ServerDelta::default();
        let mut snapshots = Vec::with_capacity(self.models.len());
        for model in &mut self.models {
            let usage = self
                .usage
                .entry(model.spec.name.clone())
                .or_default()
                .update(model.pids(), source);
            let kernel = delta.map(|delta| {
                model
                    .slot
                    .and_then(|slot: ServerSlotId| delta.servers.get(&slot))
                    .unwrap_or(&nothing)
            });
            snapshots.push(model.advance(&Interval {
                seconds,
                now_ns,
                kernel,
                usage: &usage,
            }));
        }
        snapshots
    }

    fn sources(&self) -> Vec<SourceReport> {
        let report = |source: &str, hook: &str, reason: &str| SourceReport {
            source: source.to_owned(),
            hook: hook.to_owned(),
            reason: reason.to_owned(),
        };
        match &self.kernel {
            Some(kernel) => kernel
                .sources()
                .iter()
                .map(|source| report(source.name, &source.hook, &source.reason))
                .collect(),
            None => {
                let why = self.absent_because.as_deref().unwrap_or("not asked for");
                vec![
                    report("sched", "/proc", why),
                    report("flow_ingress", "none", why),
                    report("flow_egress", "none", why),
                ]
            }
        }
    }

    fn losses(&self) -> Vec<LossCounter> {
        let counter = |(kind, total): (&str, u64)| LossCounter {
            kind: kind.to_owned(),
            total,
        };
        let mut losses: Vec<LossCounter> = self
            .kernel
            .iter()
            .flat_map(|kernel| kernel.losses())
            .map(counter)
            .collect();
        losses.push(counter((
            "network_namespaces_refused",
            self.discovery.namespaces_refused,
        )));
        losses
    }

    fn cost(&self, delta: Option<&KernelDelta>) -> AgentCost {
        let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF).ok();
        let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
        let rss_pages = std::fs::read_to_string("/proc/self/statm")
            .ok()
            .and_then(|text| text.split(' ').nth(1)?.parse::<u64>().ok());
        let fills = self.kernel.as_ref().map(Kernel::table_fills).unwrap_or_default();
        AgentCost {
            cpu_seconds: usage.map_or(0.0, |usage| {
                seconds(usage.user_time()) + seconds(usage.system_time())
            }),
            rss_bytes: rss_pages.unwrap_or(0) * procfs::page_size(),
            drain_seconds: delta.map_or(0.0, |delta| delta.drain.as_secs_f64()),
            late_intervals: self.late_intervals,
            programs: self
                .kernel
                .iter()
                .flat_map(Kernel::program_runs)
                .map(|run| ProgramCost {
                    name: run.program.program.to_owned(),
                    hook: run.program.hook,
                    sampled_runs: run.runs,
                    sampled_run_seconds: run.time.as_secs_f64(),
                })
                .collect(),
            maps: self
                .kernel
                .iter()
                .flat_map(Kernel::map_sizes)
                .map(|size| MapFill {
                    name: size.name.clone(),
                    used: fills
                        .iter()
                        .find(|fill| fill.name == size.name)
                        .map(|fill| fill.used),
                    capacity: size.capacity,
                    bytes: size.bytes,
                })
                .collect(),
        }
    }
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
        cgroup_root: platform.cgroup_root.clone(),
        interfaces: config.interfaces.clone(),
        thread_ids: platform.pid_max,
        scope: None,
        tracepoints: Tracepoints::Best,
        bench_flow_mask: 0,
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
