//! `gsmon run`: the agent in the foreground. SIGHUP reloads, SIGTERM and SIGINT detach everything.

use std::{path::PathBuf, process::ExitCode};

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

use super::{Failure, Outcome, runtime};
use crate::{
    config::Config,
    games::push::{self, PushSink, QueueLimits},
    host::{InstanceError, InstanceLock},
    kernel,
    monitor::{GameServerMonitor, Privilege},
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
}

pub fn run(args: &RunArgs) -> Outcome {
    let config = Config::read(&args.config).map_err(|error| Failure::Usage(error.into()))?;
    runtime()?.block_on(serve(args, config))
}

async fn serve(args: &RunArgs, config: Config) -> Outcome {
    let (pushes, queue) = push::channel(QueueLimits::default());
    // Nothing of this agent understands events: pushes are answered with 503 `closed` instead of vanishing.
    drop(queue);
    pushes.set_servers(config.servers.iter().map(|server| server.name.as_str()));
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
    let serving = tokio::spawn(servers.run(monitor.cell(), pushes.clone(), stopped));
    let (mut hangup, mut terminate, mut interrupt) = (
        signal(SignalKind::hangup())?,
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    let mut first = monitor.cell().subscribe();
    let mut announced = false;
    loop {
        tokio::select! {
            _ = hangup.recv() => {
                reload(args, &monitor, &pushes);
                reload_tokens(tokens.as_deref());
            }
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
    tracing::info!("stopping; all kernel programs are detached");
    // Nobody is left when it fails: that is what is wanted.
    let _ = stop.send(true);
    let _ = serving.await;
    drop(monitor);
    drop(lock);
    Ok(ExitCode::SUCCESS)
}

fn reload(args: &RunArgs, monitor: &GameServerMonitor, pushes: &PushSink) {
    let result = Config::read(&args.config)
        .map_err(anyhow::Error::from)
        .and_then(|config| {
            monitor.reload(config.clone())?;
            pushes.set_servers(config.servers.iter().map(|server| server.name.as_str()));
            Ok(())
        });
    match result {
        Ok(()) => {
            tracing::info!("configuration reloaded; [limits], [[interface]] and [api] change with a restart")
        }
        Err(error) => tracing::error!("the old configuration stays in force: {error:#}"),
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
