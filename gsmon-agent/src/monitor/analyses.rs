//! The analyses as a library has them, asked of a running monitor, and whoever answers for it over the API. Not here:
//! questions (`questions`), and what is worked out (the analysis room).

use std::{sync::Arc, time::Duration};

use axum::http::StatusCode;
use tokio::sync::OwnedSemaphorePermit;

use super::GameServerMonitor;
use crate::{
    analysis::{
        queue::{Running, Waiting, facts::running},
        scaling::{ScalingMetric, ScalingReport, Scope},
    },
    config::QueueMode,
    history::{History, SourceError, TimeRange},
    questions::{
        Analyses, AnalysisError, QueueAnswer, QueueFacts,
        serve::{Answering, Asked, Desk, Refusal, on_a_thread},
    },
    serve::QueueBook,
    world::{cell::SnapshotCell, session::ask::AskError},
};

impl GameServerMonitor {
    /// Questions about what was measured: what players cost, whether memory is lost, why it lagged.
    ///
    /// ```no_run
    /// # let monitor = gsmon_agent::GameServerMonitor::builder().start()?;
    /// use std::time::Duration;
    /// use gsmon_agent::{analysis::scaling::{ScalingMetric, Scope}, history::TimeRange};
    ///
    /// let day = TimeRange::last(Duration::from_secs(86_400), jiff::Timestamp::now().as_millisecond());
    /// let scope = Scope::Server("arena".to_owned());
    /// let report = monitor.analyses().player_scaling(&scope, day, &ScalingMetric::USUAL)?;
    /// println!("{:?}", report.capacity);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn analyses(&self) -> Analyses<'_> {
        Analyses::of(&*self.history)
    }

    /// See [`Analyses::player_scaling`].
    ///
    /// # Errors
    /// As there.
    pub fn analyze_player_scaling(
        &self,
        scope: &Scope,
        range: TimeRange,
        metrics: &[ScalingMetric],
    ) -> Result<ScalingReport, AnalysisError> {
        self.analyses().player_scaling(scope, range, metrics)
    }

    /// What a queue needs beside the servers that run now; see [`Analyses::queue`].
    ///
    /// # Errors
    /// When there is no snapshot yet, or nothing can be read.
    pub fn predict_for_queue(
        &self,
        queue: &[Waiting],
        sizes: &[QueueMode],
        range: TimeRange,
    ) -> Result<QueueAnswer, AnalysisError> {
        let snapshot = self.newest()?;
        let facts = QueueFacts {
            queue: queue.to_vec(),
            running: snapshot.servers.iter().filter_map(running).collect(),
            sizes: sizes.to_vec(),
            ..QueueFacts::default()
        };
        self.analyses().queue(facts, range)
    }

    /// Who answers questions over the API of this host: [`crate::questions::serve::router`] makes routes of it.
    pub fn desk(&self, queue: Arc<QueueBook>, sizes: Vec<QueueMode>) -> AgentDesk {
        AgentDesk {
            history: self.history(),
            cell: self.cell(),
            queue,
            sizes,
        }
    }
}

/// Answers about this host.
#[derive(Debug)]
pub struct AgentDesk {
    history: Arc<History>,
    cell: Arc<SnapshotCell>,
    queue: Arc<QueueBook>,
    sizes: Vec<QueueMode>,
}

impl AgentDesk {
    fn queue_facts(&self, sent: Option<Vec<Waiting>>) -> Result<QueueFacts, Refusal> {
        let (queue, queue_age_ms) = match sent {
            Some(queue) => (queue, None),
            None => {
                let told = self.queue.newest();
                let told = told.ok_or_else(|| Refusal::new(StatusCode::NOT_FOUND, QueueBook::NOBODY))?;
                let now_ms = jiff::Timestamp::now().as_millisecond();
                (told.queue, Some(now_ms - told.told_unix_ms))
            }
        };
        let snapshot = self.cell.load();
        let snapshot = snapshot.ok_or(AnalysisError::<SourceError>::Ask(AskError::NotYet))?;
        let running: Vec<Running> = snapshot.servers.iter().filter_map(running).collect();
        Ok(QueueFacts {
            queue,
            queue_age_ms,
            running,
            sizes: self.sizes.clone(),
            unknown_hosts: Vec::new(),
        })
    }
}

impl Desk for AgentDesk {
    fn answer(self: Arc<Self>, asked: Asked, place: OwnedSemaphorePermit) -> Answering {
        Box::pin(on_a_thread(place, move || {
            asked.of(&*self.history, |sent| self.queue_facts(sent))
        }))
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(30)
    }
}
