//! The agent's loop, and the library's front door: [`GameServerMonitor`].
//!
//! One thread per monitor; every interval: drain the kernel side, look for servers, follow what is new, read /proc,
//! publish one immutable snapshot. Readers never wait for it. Without privileges it goes on with /proc alone.

mod analyses;
mod companions;
mod engine;
mod exits;
mod found;
mod leaks;
mod moments;
mod outlook;
mod report;
mod rooms;
mod spikes;
mod updates;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
    time::Duration,
};

pub use self::analyses::AgentDesk;
use self::engine::Engine;
pub use self::{
    engine::kernel_options,
    outlook::{HostOutlook, figures_of},
    spikes::SpikeSearch,
};
pub use crate::questions::{Analyses, AnalysisError, QueueAnswer};
use crate::{
    config::{Config, DiscoveryMode, DiscoverySettings, FieldError, GameServer, HistoryWriting},
    games::{push::PushSink, voices::VoicesError},
    history::{
        History,
        disk::{Forgetting, HistoryWriter},
        lines::LineKeys,
    },
    host::RegionError,
    kernel::KernelError,
    privacy::{Archive, PseudonymKey},
    world::{
        cell::SnapshotCell,
        session::ask::{
            self, AskError, FoundSession, Metric, ServerPlayers, ServerTransitions, SessionFilter,
            SessionResources,
        },
        snapshot::Snapshot,
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
    /// A game cannot be listened to as asked.
    #[error(transparent)]
    Voices(#[from] VoicesError),
    /// Regions cannot be told as asked.
    #[error(transparent)]
    Regions(#[from] RegionError),
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
    state_directory: PathBuf,
    history: WrittenHistory,
}

/// Is history written to disk?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WrittenHistory {
    AsConfigured,
    None,
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

    /// Where it is kept how far logs have been read; /var/lib/gsmon by default.
    pub fn state_directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.state_directory = directory.into();
        self
    }

    /// Writes history to disk as `[history]` of the configuration says; without this, nothing is written.
    pub fn write_history(mut self) -> Self {
        self.history = WrittenHistory::AsConfigured;
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
        let written = match self.history {
            WrittenHistory::AsConfigured => written_history(&self.config, &self.state_directory)?,
            WrittenHistory::None => History::default(),
        };
        let config = self.config.clone();
        let mut engine = Engine::new(self.config, self.privilege, &self.state_directory, written)?;
        let cell = engine.cell.clone();
        let history = engine.history.clone();
        let pushes = engine.voices.push_sink();
        let (commands, inbox) = mpsc::channel();
        engine.wake_by(&commands);
        let thread = thread::Builder::new()
            .name("gsmon-monitor".into())
            .spawn(move || engine.run(&inbox))
            .map_err(MonitorError::Thread)?;
        Ok(GameServerMonitor {
            outlook: Arc::new(HostOutlook::new(cell.clone(), history.clone(), &config)),
            cell,
            history,
            pushes,
            commands,
            thread: Some(thread),
        })
    }
}

fn written_history(config: &Config, state_directory: &Path) -> Result<History, MonitorError> {
    let settings = &config.history;
    if settings.write == HistoryWriting::Off {
        return Ok(History::default());
    }
    let path = settings.file(state_directory);
    let forgetting = Forgetting::of(Archive::new(state_directory));
    let writer =
        HistoryWriter::start_forgetting(&path, settings, forgetting).map_err(MonitorError::Thread)?;
    let history = History::written_by(writer);
    if settings.lines.is_zero() {
        return Ok(history);
    }
    let shared = config.api.remote.as_ref();
    let shared = shared.and_then(|remote| remote.shared_key_file.as_deref());
    let keys = PseudonymKey::load_or_create(state_directory).and_then(|own| {
        let shared = shared.map(PseudonymKey::read_shared).transpose()?;
        Ok(LineKeys { own, shared })
    });
    Ok(match keys {
        Ok(keys) => history.with_lines(keys),
        Err(error) => {
            tracing::error!("players' lines are not written to the history, everything else is: {error}");
            history
        }
    })
}

enum Command {
    Add(Box<GameServer>, mpsc::Sender<Result<(), MonitorError>>),
    Remove(String, mpsc::Sender<Result<(), MonitorError>>),
    Reload(Box<Config>, mpsc::Sender<Result<(), MonitorError>>),
    Servers(mpsc::Sender<Vec<GameServer>>),
    /// Something has been said whose moment matters.
    Bell,
    /// A watched process has ended.
    Ended(u32),
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
    history: Arc<History>,
    outlook: Arc<HostOutlook>,
    pushes: PushSink,
    commands: mpsc::Sender<Command>,
    thread: Option<JoinHandle<()>>,
}

impl GameServerMonitor {
    /// A monitor with default settings and no servers yet; it looks for none of its own accord, unless a configuration
    /// says so.
    pub fn builder() -> GameServerMonitorBuilder {
        GameServerMonitorBuilder {
            config: Config {
                discovery: DiscoverySettings {
                    mode: DiscoveryMode::Off,
                    ..DiscoverySettings::default()
                },
                ..Config::default()
            },
            privilege: Privilege::Required,
            state_directory: crate::privacy::DEFAULT_STATE_DIR.into(),
            history: WrittenHistory::None,
        }
    }

    /// The newest snapshot; `None` in the first interval.
    pub fn snapshot(&self) -> Option<Arc<Snapshot>> {
        self.cell.load()
    }

    /// What one session uses or has used, by its id; only the asked metrics are answered.
    ///
    /// ```no_run
    /// # let monitor = gsmon_agent::GameServerMonitor::builder().start()?;
    /// use gsmon_agent::{Metric, SessionFilter};
    ///
    /// for found in monitor.sessions(&SessionFilter::default())? {
    ///     let used = monitor.session_resources(&found.server, &found.session.id, &[Metric::Cpu, Metric::Memory])?;
    ///     println!("{} {}: {:?} s CPU", found.server, found.session.id, used.cpu.and_then(|cpu| cpu.seconds));
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// When there is no such server or session (the error has those that there are), or no snapshot yet.
    pub fn session_resources(
        &self,
        server: &str,
        session_id: &str,
        metrics: &[Metric],
    ) -> Result<SessionResources, AskError> {
        ask::session_resources(&*self.newest()?, server, session_id, metrics)
    }

    /// Sessions that run, and the newest that have ended.
    ///
    /// # Errors
    /// When the filter names a server that does not exist, or there is no snapshot yet.
    pub fn sessions(&self, filter: &SessionFilter) -> Result<Vec<FoundSession>, AskError> {
        ask::sessions(&*self.newest()?, filter)
    }

    /// Changes of phase of a server, its starts and stops, and what they cost.
    ///
    /// # Errors
    /// When there is no such server, or no snapshot yet.
    pub fn transitions(&self, server: &str) -> Result<ServerTransitions, AskError> {
        ask::transitions(&*self.newest()?, server)
    }

    /// Players of a server: who is there, and who has left.
    ///
    /// # Errors
    /// When there is no such server, or no snapshot yet.
    pub fn players(&self, server: &str) -> Result<ServerPlayers, AskError> {
        ask::players(&*self.newest()?, server)
    }

    fn newest(&self) -> Result<Arc<Snapshot>, AskError> {
        self.snapshot().ok_or(AskError::NotYet)
    }

    /// Where events of engines that call out go in.
    pub fn push_sink(&self) -> PushSink {
        self.pushes.clone()
    }

    /// Where snapshots appear.
    pub fn cell(&self) -> Arc<SnapshotCell> {
        self.cell.clone()
    }

    /// The last hour of every server, and what is on disk.
    pub fn history(&self) -> Arc<History> {
        self.history.clone()
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
        let changed = config.clone();
        self.ask(|reply| Command::Reload(Box::new(config), reply))?;
        self.outlook.adopt(&changed);
        Ok(())
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
