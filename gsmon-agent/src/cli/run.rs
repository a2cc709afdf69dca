//! `gsmon run`: the agent in the foreground. SIGHUP reloads, SIGTERM and SIGINT detach everything.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

use super::{Failure, Outcome, StateArg, runtime, unix_ms};
use crate::{
    config::{Config, PrivacySettings},
    host::{InstanceError, InstanceLock},
    kernel,
    monitor::{GameServerMonitor, Privilege},
    privacy::IdentityStore,
    serve::{Servers, push::TokenBook},
};

#[derive(Debug, clap::Args)]
pub struct RunArgs {
    /// Configuration file.
    #[arg(long, short)]
    config: PathBuf,
    /// Go on with /proc alone when kernel programs cannot be loaded.
    #[arg(long)]
    allow_unprivileged: bool,
    #[command(flatten)]
    state: StateArg,
}

/// Stored identities past their retention are looked for this often.
const IDENTITY_UPKEEP: Duration = Duration::from_secs(3_600);

pub fn run(args: &RunArgs) -> Outcome {
    let config = Config::read(&args.config).map_err(|error| Failure::Usage(error.into()))?;
    runtime()?.block_on(serve(args, config))
}

async fn serve(args: &RunArgs, config: Config) -> Outcome {
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
    let tokens = servers.push_tokens();
    let (stop, stopped) = watch::channel(false);
    let serving = tokio::spawn(servers.run(monitor.cell(), monitor.push_sink(), stopped));
    let (mut hangup, mut terminate, mut interrupt) = (
        signal(SignalKind::hangup())?,
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    let mut identities = Identities::new(&args.state.state_dir, config.privacy);
    let mut upkeep = tokio::time::interval(IDENTITY_UPKEEP);
    upkeep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut first = monitor.cell().subscribe();
    let mut announced = false;
    loop {
        tokio::select! {
            _ = hangup.recv() => {
                if let Some(config) = reload(args, &monitor) {
                    identities.set(config.privacy);
                }
                reload_tokens(tokens.as_deref());
            }
            _ = upkeep.tick() => identities.upkeep(),
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            changed = first.changed(), if !announced => {
                announced = true;
                if let (Ok(()), Some(snapshot)) = (changed, monitor.snapshot()) {
                    for source in &snapshot.sources {
                        tracing::info!(source = source.source, hook = source.hook, reason = source.reason, "in force");
                    }
                }
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

fn reload(args: &RunArgs, monitor: &GameServerMonitor) -> Option<Config> {
    let result = Config::read(&args.config)
        .map_err(anyhow::Error::from)
        .and_then(|config| {
            monitor.reload(config.clone())?;
            Ok(config)
        });
    match result {
        Ok(config) => {
            tracing::info!("configuration reloaded; [limits], [[interface]] and [api] change with a restart");
            Some(config)
        }
        Err(error) => {
            tracing::error!("the old configuration stays in force: {error:#}");
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

/// The identity store, opened when it can be and looked after hourly. Trouble with it does not end the measuring.
struct Identities<'a> {
    directory: &'a Path,
    settings: PrivacySettings,
    store: Option<IdentityStore>,
}

impl<'a> Identities<'a> {
    /// Nothing is opened before the first upkeep.
    fn new(directory: &'a Path, settings: PrivacySettings) -> Self {
        Self {
            directory,
            settings,
            store: None,
        }
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
