//! `gsmon fleet --config F`: reads agents and serves all hosts. `gsmon fleet top|health|servers|players`: clients of it.

mod show;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

use super::{Failure, Outcome, runtime};
use crate::{
    config::{DEFAULT_FLEET_SOCKET, FleetConfig},
    fleet::{Board, FleetServers, follow_all, raise_open_files},
    serve::remote::RemoteFiles,
};

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct FleetArgs {
    /// Configuration file of the fleet.
    #[arg(long, short)]
    config: Option<PathBuf>,
    /// Only check the configuration.
    #[arg(long, requires = "config")]
    check: bool,
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// One line per host with its verdict, and what all of them come to, again and again.
    Top(show::TopArgs),
    /// One line per host with verdict and reason; exit code 0 ok, 1 warning, 2 critical, 3 unknown.
    Health(show::ShowArgs),
    /// Servers of all hosts.
    Servers(show::ShowArgs),
    /// Players of all hosts, each once, by pseudonym.
    Players(show::ShowArgs),
}

/// The socket of the fleet.
#[derive(Clone, Debug, clap::Args)]
pub struct FleetSocketArg {
    /// Socket of the running fleet.
    #[arg(long, default_value = DEFAULT_FLEET_SOCKET, env = "GSMON_FLEET_SOCKET")]
    socket: PathBuf,
}

pub fn run(args: &FleetArgs) -> Outcome {
    match (&args.action, &args.config) {
        (Some(Action::Top(args)), _) => show::top(args),
        (Some(Action::Health(args)), _) => show::health(args),
        (Some(Action::Servers(args)), _) => show::servers(args),
        (Some(Action::Players(args)), _) => show::players(args),
        (None, Some(path)) => {
            let config = FleetConfig::read(path).map_err(|error| Failure::Usage(error.into()))?;
            if args.check {
                println!("{} is fine: {} agents", path.display(), config.agents.len());
                return Ok(ExitCode::SUCCESS);
            }
            runtime()?.block_on(serve(path, config))
        }
        (None, None) => Err(Failure::Usage(anyhow::anyhow!(
            "name the configuration: gsmon fleet --config fleet.toml"
        ))),
    }
}

async fn serve(path: &Path, config: FleetConfig) -> Outcome {
    if let Err(error) = raise_open_files() {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
    let servers = FleetServers::bind(&config.listen).await?;
    let board = Arc::new(Board::new(&config));
    let files = servers.remote_files();
    tracing::info!(
        agents = config.agents.len(),
        socket = %config.listen.socket.display(),
        metrics = %servers.address()?,
        "gsmon fleet {} reads its agents",
        env!("CARGO_PKG_VERSION")
    );
    if let Some(address) = servers.remote_address() {
        tracing::info!(listen = %address?, "other hosts may read over TLS");
    }
    let (stop, stopped) = watch::channel(false);
    let serving = tokio::spawn(servers.run(board.clone(), stopped.clone()));
    let following = {
        let config = config.clone();
        tokio::spawn(async move { follow_all(&config, board, stopped).await })
    };
    let (mut hangup, mut terminate, mut interrupt) = (
        signal(SignalKind::hangup())?,
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    loop {
        tokio::select! {
            _ = hangup.recv() => reload(path, &config, files.as_ref()),
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    tracing::info!("stopping");
    // Nobody is left when it fails: that is what is wanted.
    let _ = stop.send(true);
    let _ = serving.await;
    let _ = following.await;
    Ok(ExitCode::SUCCESS)
}

/// Tokens and certificates of agents are read anew for each reading; those of the own listener now.
fn reload(path: &Path, config: &FleetConfig, files: Option<&RemoteFiles>) {
    match FleetConfig::read(path) {
        Ok(read) if read != *config => {
            tracing::warn!(
                "a changed configuration of the fleet needs a restart: the old one stays in force"
            );
        }
        Ok(_) => {}
        Err(error) => tracing::error!("the old configuration stays in force: {error}"),
    }
    for error in files.map(RemoteFiles::reload).unwrap_or_default() {
        tracing::error!("[listen.remote]: what was read before stays in force: {error}");
    }
}
