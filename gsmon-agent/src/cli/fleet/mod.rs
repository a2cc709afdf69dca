//! `gsmon fleet --config F`: reads agents and serves all hosts. `gsmon fleet top|health|servers|players`: clients of it.

mod hosts;
mod show;

use std::{
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, SystemTime},
};

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

pub use self::hosts::FleetHosts;
use super::{Failure, Outcome, runtime};
use crate::{
    config::{DEFAULT_FLEET_SOCKET, FleetConfig},
    fleet::{Fleet, FleetServers, Following, raise_open_files},
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
    /// Live view: one line per host with its verdict, and what all of them come to.
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

async fn serve(path: &Path, mut config: FleetConfig) -> Outcome {
    if let Err(error) = raise_open_files() {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
    let servers = FleetServers::bind(&config.listen).await?;
    let fleet = Fleet::new(&config);
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
    let serving = tokio::spawn(servers.run(fleet.clone(), stopped));
    let mut following = Following::start(&config, &fleet);
    let mut watched = Watched::new(path);
    let mut look = tokio::time::interval(LOOK);
    let (mut hangup, mut terminate, mut interrupt) = (
        signal(SignalKind::hangup())?,
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    loop {
        tokio::select! {
            _ = hangup.recv() => {
                for error in files.as_ref().map(RemoteFiles::reload).unwrap_or_default() {
                    tracing::error!("[listen.remote]: what was read before stays in force: {error}");
                }
            }
            _ = look.tick() => if !watched.changed() { continue },
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
        if let Some(changed) = changed(path, &config) {
            tracing::info!(
                agents = changed.agents.len(),
                "a changed configuration is in force"
            );
            following = following.go_on_by(&changed, &fleet).await;
            config = changed;
        }
    }
    tracing::info!("stopping");
    // Nobody is left when it fails: that is what is wanted.
    let _ = stop.send(true);
    let _ = serving.await;
    following.stop().await;
    Ok(ExitCode::SUCCESS)
}

/// The configuration where it has changed and can be taken without a restart. Tokens and certificates of agents are read
/// anew for each reading anyway.
fn changed(path: &Path, config: &FleetConfig) -> Option<FleetConfig> {
    match FleetConfig::read(path) {
        Err(error) => {
            tracing::error!("the old configuration stays in force: {error}");
            None
        }
        Ok(read) if read == *config => None,
        Ok(read) if read.listen != config.listen => {
            tracing::error!("the old configuration stays in force: a changed [listen] needs a restart");
            None
        }
        Ok(read) => Some(read),
    }
}

/// Between two looks whether the file of the configuration has changed.
const LOOK: Duration = Duration::from_secs(2);

/// What of a file changes when it is written or replaced.
type Trace = Option<(u64, u64, u64, SystemTime)>;

/// A file whose changes are noticed.
struct Watched {
    path: PathBuf,
    taken: Trace,
    last: Trace,
}

impl Watched {
    fn new(path: &Path) -> Self {
        let now = trace(path);
        Self {
            path: path.to_owned(),
            taken: now,
            last: now,
        }
    }

    /// Has it changed since it was last said to have, and come to rest? Who is still writing is waited for.
    fn changed(&mut self) -> bool {
        let now = trace(&self.path);
        let rests = now == std::mem::replace(&mut self.last, now);
        if !rests || now == self.taken {
            return false;
        }
        self.taken = now;
        true
    }
}

fn trace(path: &Path) -> Trace {
    let metadata = std::fs::metadata(path).ok()?;
    let modified = metadata.modified().ok()?;
    Some((metadata.dev(), metadata.ino(), metadata.len(), modified))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_changed_once_it_rests() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("fleet.toml");
        std::fs::write(&path, "a").unwrap();
        let mut watched = Watched::new(&path);
        assert!(!watched.changed());
        std::fs::write(&path, "ab").unwrap();
        assert!(!watched.changed(), "it may still be written");
        assert!(watched.changed());
        assert!(!watched.changed());
        // Replaced, as editors and configuration management do.
        std::fs::write(directory.path().join("new"), "cd").unwrap();
        std::fs::rename(directory.path().join("new"), &path).unwrap();
        assert!(!watched.changed() && watched.changed());
        std::fs::remove_file(&path).unwrap();
        assert!(!watched.changed() && watched.changed() && !watched.changed());
    }
}
