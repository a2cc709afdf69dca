//! Many agents as one: an unprivileged process that reads what each agent tells over TLS, keeps the newest of it, and
//! serves all hosts together. Beside `monitor`: where that joins the rooms of one host, this joins hosts.
//!
//! `trust` checks who an agent is, `reader` reads it once, `follow` reads it again and again on a clock of its own,
//! `board` keeps what came of that and how old it is, `view` makes documents of it, `verdict` judges each host,
//! `serve` and `metrics` show them, `desk` answers questions about all hosts, `plan` plans servers of all of them, `agones`
//! answers Agones by that, and `moves` sees who moves from host to host. `source` is the Prometheus-compatible server that has the past of all hosts, and
//! `sourced` puts what it tells beside what agents say. Not here: measuring, history, and whoever plays by name.

pub mod agones;
mod board;
mod desk;
mod follow;
mod metrics;
pub mod moves;
pub mod plan;
mod reader;
mod serve;
pub mod source;
pub mod sourced;
#[cfg(test)]
mod tests;
mod trust;
mod verdict;
pub mod view;

use std::{io, sync::Arc};

use tokio::{sync::watch, task::JoinSet};

pub use self::{
    board::{Board, HostState},
    desk::FleetDesk,
    reader::{AgentReader, Budget, ReadError},
    serve::{FleetServeError, FleetServers},
    source::SourceBoard,
    verdict::Verdict,
};
use crate::config::FleetConfig;

/// What is known of all hosts: from their agents, and from the source of the past.
#[derive(Clone, Debug)]
pub struct Fleet {
    /// From agents.
    pub board: Arc<Board>,
    /// From the source.
    pub source: Arc<SourceBoard>,
    /// What should run.
    pub plans: Arc<plan::PlanBoard>,
    /// Who moved.
    pub moves: Arc<moves::MoveBoard>,
}

impl Fleet {
    /// Of a configuration; nothing is known yet.
    pub fn new(config: &FleetConfig) -> Self {
        Self {
            board: Arc::new(Board::new(config)),
            source: Arc::new(SourceBoard::new(config)),
            plans: Arc::new(plan::PlanBoard::new(config)),
            moves: Arc::new(moves::MoveBoard::new(config)),
        }
    }
}

/// Agents and source being read, by one configuration.
#[derive(Debug)]
pub struct Following {
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Following {
    /// Begins to read.
    pub fn start(config: &FleetConfig, fleet: &Fleet) -> Self {
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        tasks.spawn(plan::follow(config.clone(), fleet.plans.clone(), stopped.clone()));
        tasks.spawn(moves::follow(
            config.fleet.interval,
            fleet.board.clone(),
            fleet.moves.clone(),
            stopped.clone(),
        ));
        let (config, board) = (config.clone(), fleet.board.clone());
        let until = stopped.clone();
        tasks.spawn(async move { follow_all(&config, board, until).await });
        tasks.spawn(source::follow(fleet.source.clone(), stopped));
        Self { stop, tasks }
    }

    /// Ends it, and goes on by another configuration: what is known of agents that are the same stays.
    pub async fn go_on_by(self, config: &FleetConfig, fleet: &Fleet) -> Self {
        self.stop().await;
        fleet.board.adopt(config);
        fleet.source.adopt(config);
        fleet.plans.adopt(config);
        fleet.moves.adopt(config);
        Self::start(config, fleet)
    }

    /// Ends it.
    pub async fn stop(mut self) {
        // Nobody is left when it fails: that is what is wanted.
        let _ = self.stop.send(true);
        while self.tasks.join_next().await.is_some() {}
    }
}

/// Reads all agents of a configuration until `stop` turns true. Each has a task of its own: whatever one of them does,
/// the others are read.
pub async fn follow_all(config: &FleetConfig, board: Arc<Board>, stop: watch::Receiver<bool>) {
    let budget = Budget::default();
    let mut tasks = JoinSet::new();
    for (index, agent) in config.agents.iter().enumerate() {
        let reader = AgentReader::new(agent.clone(), &config.fleet, budget.clone());
        // Spread over the interval, so that they do not all answer at once.
        let share = index as f64 / config.agents.len() as f64;
        tasks.spawn(follow::follow(
            reader,
            index,
            board.clone(),
            follow::Pace {
                interval: config.fleet.interval,
                first: config.fleet.interval.mul_f64(share),
            },
            stop.clone(),
        ));
    }
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended {
            // What it read grows old, and the agent becomes unknown.
            tracing::error!(%error, "an agent is read no more: this is a fault of gsmon");
        }
    }
}

/// Puts this process's open files as high as it may: a connection for each agent and each reader.
pub fn raise_open_files() -> io::Result<u64> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    Ok(hard)
}
