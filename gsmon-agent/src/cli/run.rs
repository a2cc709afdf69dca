//! `gsmon run`: the agent in the foreground. SIGHUP reloads, SIGTERM and SIGINT detach everything.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

use super::{Failure, Outcome, StateArg, runtime, unix_ms};
use crate::{
    config::{Config, PrivacySettings},
    games::{event::PlayerRef, voices},
    host::{InstanceError, InstanceLock, Platform},
    kernel,
    monitor::{GameServerMonitor, HostOutlook, MonitorError, Privilege},
    privacy::IdentityStore,
    questions,
    serve::{Servers, push::TokenBook, remote::RemoteFiles},
    world::snapshot::Snapshot,
};

#[derive(Debug, clap::Args)]
pub struct RunArgs {
    /// Configuration file; /etc/gsmon.toml when not given, and where there is none either, the defaults: every game
    /// server that is found is measured.
    #[arg(long, short)]
    config: Option<PathBuf>,
    /// Go on with /proc alone when kernel programs cannot be loaded.
    #[arg(long)]
    allow_unprivileged: bool,
    #[command(flatten)]
    state: StateArg,
}

/// Stored identities past their retention are looked for this often.
const IDENTITY_UPKEEP: Duration = Duration::from_secs(3_600);

pub fn run(args: &RunArgs) -> Outcome {
    let config = read(args.config.as_deref()).map_err(Failure::Usage)?;
    runtime()?.block_on(serve(args, config))
}

/// Forecasts and advice for metrics are worked out this often.
const LOOK_AHEAD: Duration = Duration::from_secs(300);

/// Where the configuration is looked for when none is named.
pub(super) const DEFAULT_CONFIG: &str = "/etc/gsmon.toml";

fn read(named: Option<&Path>) -> anyhow::Result<Config> {
    let config = match named {
        Some(path) => Config::read(path)?,
        None if Path::new(DEFAULT_CONFIG).exists() => Config::read(Path::new(DEFAULT_CONFIG))?,
        None => Config::default(),
    };
    voices::check(&config.servers)?;
    Ok(config)
}

async fn serve(args: &RunArgs, config: Config) -> Outcome {
    if !args.allow_unprivileged {
        // Whatever else fails without privileges, this is why.
        let obstacles = Platform::detect().obstacles();
        if !obstacles.is_empty() {
            return Err(MonitorError::Obstacles { obstacles }.into());
        }
    }
    // Listeners first: a second agent is noticed before anything is attached.
    let servers = Servers::bind(&config.api).await?;
    let privilege = if args.allow_unprivileged {
        Privilege::Optional
    } else {
        Privilege::Required
    };
    let lock = match (InstanceLock::take(), privilege) {
        (Ok(lock), _) => Some(lock),
        // Without privileges nothing is attached, and nobody is in the way.
        (Err(InstanceError::Open { .. }), Privilege::Optional) => None,
        (Err(error), _) => return Err(error.into()),
    };
    if lock.is_some() {
        kernel::remove_leftovers();
    }
    let monitor = GameServerMonitor::builder()
        .config(config.clone())
        .privilege(privilege)
        .state_directory(&args.state.state_dir)
        .write_history()
        .start()?;
    tracing::info!(
        servers = config.servers.len(),
        listen = %servers.address()?,
        socket = %config.api.socket.display(),
        "gsmon {} is measuring",
        env!("CARGO_PKG_VERSION")
    );
    if let Some(address) = servers.push_address() {
        tracing::info!(listen = %address?, "pushes are taken over TCP as well");
    }
    if let Some(address) = servers.remote_address() {
        tracing::info!(listen = %address?, "a fleet may read over TLS");
    }
    let desk = monitor.desk(servers.queue(), config.queue.modes.clone());
    let servers = servers.with_routes(questions::serve::router(desk));
    let servers = servers.with_outlook(monitor.outlook());
    let tokens = servers.push_tokens();
    let remote = servers.remote_files();
    let (stop, stopped) = watch::channel(false);
    let (queue, asking) = (servers.queue(), stopped.clone());
    // Ends with `stop`, as the listeners do.
    drop(tokio::spawn(look_ahead(monitor.outlook(), stopped.clone())));
    let (metrics, wanted) = watch::channel(config.metrics);
    let serving = tokio::spawn(servers.run(
        monitor.cell(),
        monitor.history(),
        monitor.push_sink(),
        wanted,
        stopped,
    ));
    let (mut hangup, mut terminate, mut interrupt) = (
        signal(SignalKind::hangup())?,
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    if config.queue.url.is_some() || config.queue.source.is_some() {
        // Ends with `stop`, as the listeners do.
        drop(tokio::spawn(crate::serve::queue::poll(
            config.queue.clone(),
            queue,
            asking,
        )));
    }
    let mut identities = Identities::new(&args.state.state_dir, config.privacy);
    let mut upkeep = tokio::time::interval(IDENTITY_UPKEEP);
    upkeep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut snapshots = monitor.cell().subscribe();
    let mut announced = false;
    loop {
        tokio::select! {
            _ = hangup.recv() => {
                if let Some(config) = reload(args, &monitor) {
                    identities.set(config.privacy);
                    metrics.send_replace(config.metrics);
                }
                reload_tokens(tokens.as_deref());
                reload_remote(remote.as_ref());
            }
            _ = upkeep.tick() => identities.upkeep(),
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            changed = snapshots.changed() => {
                let (Ok(()), Some(snapshot)) = (changed, monitor.snapshot()) else {
                    break;
                };
                if !std::mem::replace(&mut announced, true) {
                    for source in &snapshot.sources {
                        tracing::info!(source = source.source, hook = source.hook, reason = source.reason, "in force");
                    }
                }
                identities.record(&snapshot);
            }
        }
    }
    if identities.store.is_some() {
        identities.upkeep();
    }
    tracing::info!("stopping; all kernel programs are detached");
    // Nobody is left when it fails: that is what is wanted.
    let _ = stop.send(true);
    let _ = serving.await;
    drop(monitor);
    drop(lock);
    Ok(ExitCode::SUCCESS)
}

/// Works out forecasts and advice for metrics, again and again.
async fn look_ahead(outlook: Arc<HostOutlook>, mut stop: watch::Receiver<bool>) {
    // Not while the agent starts.
    let mut every = tokio::time::interval_at(tokio::time::Instant::now() + LOOK_AHEAD / 5, LOOK_AHEAD);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            // An error means that the sender has gone, which is a stop as well.
            _ = stop.wait_for(|stop| *stop) => return,
            _ = every.tick() => {}
        }
        let outlook = outlook.clone();
        if tokio::task::spawn_blocking(move || outlook.refresh())
            .await
            .is_err()
        {
            tracing::error!("forecasts for metrics have failed: this is a fault of gsmon");
        }
    }
}

fn reload(args: &RunArgs, monitor: &GameServerMonitor) -> Option<Config> {
    let result = read(args.config.as_deref()).and_then(|config| {
        monitor.reload(config.clone())?;
        Ok(config)
    });
    match result {
        Ok(config) => {
            tracing::info!(
                "configuration reloaded; [limits], [[interface]], [history], [queue] and [api] change with a restart"
            );
            Some(config)
        }
        Err(error) => {
            tracing::error!(
                "the old configuration stays in force: {}",
                super::describe(&error)
            );
            None
        }
    }
}

fn reload_tokens(tokens: Option<&TokenBook>) {
    let Some(book) = tokens else {
        return;
    };
    match book.reload() {
        Ok(count) => tracing::info!(tokens = count, file = %book.path().display(), "push tokens reloaded"),
        Err(error) => tracing::error!("the old push tokens stay in force, revoked ones too: {error}"),
    }
}

fn reload_remote(files: Option<&RemoteFiles>) {
    let Some(files) = files else {
        return;
    };
    let errors = files.reload();
    for error in &errors {
        tracing::error!("[api.remote]: what was read before stays in force: {error}");
    }
    if errors.is_empty() {
        tracing::info!("certificate, key and tokens of [api.remote] reloaded");
    }
}

/// The identity store, opened when it can be and looked after hourly. Trouble with it does not end the measuring.
struct Identities<'a> {
    directory: &'a Path,
    settings: PrivacySettings,
    store: Option<IdentityStore>,
    /// Players of the last snapshot, as recorded.
    recorded: HashMap<(String, u64), PlayerRef>,
}

impl<'a> Identities<'a> {
    /// Nothing is opened before the first upkeep.
    fn new(directory: &'a Path, settings: PrivacySettings) -> Self {
        Self {
            directory,
            settings,
            store: None,
            recorded: HashMap::new(),
        }
    }

    /// Records who is new and of whom more is known, where that is switched on.
    fn record(&mut self, snapshot: &Snapshot) {
        let Some(store) = self.store.as_mut().filter(|_| self.settings.store_identities) else {
            return;
        };
        let mut present = HashMap::new();
        for server in &snapshot.servers {
            for player in server
                .game_state
                .players
                .told()
                .iter()
                .filter(|player| player.number != 0)
            {
                let who = PlayerRef {
                    platform_id: player.platform_id.clone(),
                    name: player.name.clone(),
                    address: player.address,
                    ..PlayerRef::default()
                };
                let key = (server.name.clone(), player.number);
                if self.recorded.get(&key) != Some(&who) {
                    store.record(&who, unix_ms());
                }
                present.insert(key, who);
            }
        }
        self.recorded = present;
    }

    fn set(&mut self, settings: PrivacySettings) {
        if settings != self.settings {
            if self.store.is_some() {
                self.upkeep();
            }
            self.settings = settings;
            self.store = None;
            self.upkeep();
        }
    }

    fn upkeep(&mut self) {
        let done = match &mut self.store {
            Some(store) => store.upkeep(unix_ms()).map(|_| ()),
            None => IdentityStore::open(self.directory, &self.settings, unix_ms()).map(|store| {
                self.store = store;
            }),
        };
        if let Err(error) = done {
            tracing::error!("stored identities of players are not looked after: {error}");
        }
    }
}
