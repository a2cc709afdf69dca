//! The analyses as a library has them: what `gsmon analyze` asks, asked of a running monitor. Frames are read here, and the
//! servers of a question looked at side by side. Not here: what is worked out (the analysis room).

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use super::GameServerMonitor;
use crate::{
    analysis::{
        change::{ChangeReport, compare_change},
        netcode::{NetcodeReport, compare_netcode},
        network::{Buckets, NetworkReport, Regions, network_resource_correlation},
        queue::{
            QueueForecast, Running, Waiting,
            facts::{queue_facts, running},
            predict_for_queue,
        },
        scaling::{
            ActionsReport, BotsReport, By, GroupsReport, LeakReport, Limit, PatternsReport, ScalingMetric,
            ScalingRefusal, ScalingReport, Scope, actions_and_spikes, analyze_player_scaling, compare_groups,
            cost_of_bots, find_leak, usage_patterns,
        },
        series::Series,
        spikes::Spike,
        why::{WhyReport, Window, why, why_of_kept_spikes},
    },
    config::QueueMode,
    history::{Frame, History, HistorySource, Mark, Resolution, SourceError, TimeRange},
    world::session::ask::AskError,
};

/// Most threads of one question: the servers whose host this is come first.
const MOST_THREADS: usize = 4;

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum AnalysisError {
    /// The history cannot be read, or has no such server.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// There is too little to tell anything; the error says what.
    #[error(transparent)]
    Refused(#[from] ScalingRefusal),
    /// There is no snapshot yet.
    #[error(transparent)]
    Ask(#[from] AskError),
}

/// What players who wait will need.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct QueueAnswer {
    /// The forecast.
    pub forecast: QueueForecast,
    /// Modes that were never played in the range: what is said of their costs is that of all modes together.
    pub costs_of_all_modes: Vec<Arc<str>>,
}

/// Questions about what a history has.
#[derive(Clone, Copy, Debug)]
pub struct Analyses<'a> {
    history: &'a History,
}

impl<'a> Analyses<'a> {
    /// About this history.
    pub fn of(history: &'a History) -> Self {
        Self { history }
    }

    fn frames(&self, server: &str, range: TimeRange) -> Result<Vec<Frame>, SourceError> {
        HistorySource::frames(self.history, server, range, Resolution::Fitting)
    }

    /// Asks the same of each server of the history, a few at a time: no more frames are in memory than theirs.
    ///
    /// # Errors
    /// When the frames of one cannot be read.
    pub fn each<T: Send>(
        &self,
        range: TimeRange,
        question: impl Fn(&str, &[Frame]) -> T + Sync,
    ) -> Result<Vec<(String, T)>, SourceError> {
        let servers = self.history.servers()?;
        let next = AtomicUsize::new(0);
        let answers = Mutex::new(Vec::with_capacity(servers.len()));
        let work = || -> Result<(), SourceError> {
            while let Some(server) = servers.get(next.fetch_add(1, Ordering::Relaxed)) {
                let answer = question(server, &self.frames(server, range)?);
                let mut answers = answers.lock().unwrap_or_else(PoisonError::into_inner);
                answers.push((server.clone(), answer));
            }
            Ok(())
        };
        let threads = thread::available_parallelism().map_or(1, |count| count.get().min(MOST_THREADS));
        thread::scope(|scope| {
            let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
            let own = work();
            others.into_iter().fold(own, |all, other| match other.join() {
                Ok(told) => all.and(told),
                Err(panic) => std::panic::resume_unwind(panic),
            })
        })?;
        let mut answers = answers.into_inner().unwrap_or_else(PoisonError::into_inner);
        answers.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(answers)
    }

    fn all_frames(&self, range: TimeRange) -> Result<Vec<(String, Vec<Frame>)>, SourceError> {
        self.each(range, |_, frames| frames.to_vec())
    }

    /// What players cost, and how many fit: `gsmon analyze players`.
    ///
    /// # Errors
    /// When nothing can be read, or nothing can be told of it.
    pub fn player_scaling(
        &self,
        scope: &Scope,
        range: TimeRange,
        metrics: &[ScalingMetric],
    ) -> Result<ScalingReport, AnalysisError> {
        let all = match scope {
            Scope::Server(server) => vec![(server.clone(), self.frames(server, range)?)],
            Scope::Mode(_) | Scope::All => self.all_frames(range)?,
        };
        Ok(analyze_player_scaling(&series(&all), scope, metrics)?)
    }

    /// How modes, maps or phases of a server differ: `gsmon analyze players --by`.
    ///
    /// # Errors
    /// As [`Self::player_scaling`].
    pub fn groups(
        &self,
        server: &str,
        range: TimeRange,
        by: By,
        metric: ScalingMetric,
    ) -> Result<GroupsReport, AnalysisError> {
        Ok(compare_groups(&self.frames(server, range)?, by, metric)?)
    }

    /// Patterns of use where no mode is known.
    ///
    /// # Errors
    /// As [`Self::player_scaling`].
    pub fn patterns(&self, server: &str, range: TimeRange) -> Result<PatternsReport, AnalysisError> {
        Ok(usage_patterns(&self.frames(server, range)?)?)
    }

    /// What a bot costs beside a person: `gsmon analyze bots`.
    ///
    /// # Errors
    /// As [`Self::player_scaling`].
    pub fn bots(
        &self,
        server: &str,
        range: TimeRange,
        metric: ScalingMetric,
    ) -> Result<BotsReport, AnalysisError> {
        Ok(cost_of_bots(&self.frames(server, range)?, metric)?)
    }

    /// Which actions of players spikes come after: `gsmon analyze actions`.
    ///
    /// # Errors
    /// As [`Self::player_scaling`].
    pub fn actions(&self, server: &str, range: TimeRange) -> Result<ActionsReport, AnalysisError> {
        Ok(actions_and_spikes(&self.frames(server, range)?)?)
    }

    /// Is memory lost: `gsmon analyze memory`.
    ///
    /// # Errors
    /// As [`Self::player_scaling`].
    pub fn leak(
        &self,
        server: &str,
        range: TimeRange,
        limit: Option<Limit>,
    ) -> Result<LeakReport, AnalysisError> {
        Ok(find_leak(&self.frames(server, range)?, limit)?)
    }

    /// What players' networks do to a server: `gsmon analyze network`.
    ///
    /// # Errors
    /// When nothing can be read.
    pub fn network(
        &self,
        server: &str,
        range: TimeRange,
        regions: Regions,
        buckets: &Buckets,
    ) -> Result<NetworkReport, AnalysisError> {
        let frames = self.frames(server, range)?;
        Ok(network_resource_correlation(&frames, regions, buckets))
    }

    /// Did a change of netcode change anything: `gsmon analyze netcode`.
    ///
    /// # Errors
    /// When nothing can be read.
    pub fn netcode(
        &self,
        server: &str,
        before: TimeRange,
        after: TimeRange,
    ) -> Result<NetcodeReport, AnalysisError> {
        let (before, after) = (self.frames(server, before)?, self.frames(server, after)?);
        Ok(compare_netcode(&before, &after))
    }

    /// What changed with each mark of a server, as far as `window_ms` and the marks beside it: `gsmon mark`.
    ///
    /// # Errors
    /// When nothing can be read.
    pub fn changes(&self, server: &str, window_ms: i64) -> Result<Vec<(Mark, ChangeReport)>, AnalysisError> {
        let marks = self.history.marks(server)?;
        let mut changes = Vec::with_capacity(marks.len());
        for (index, mark) in marks.iter().enumerate() {
            let earlier = index.checked_sub(1).map(|before| marks[before].unix_ms);
            let later = marks.get(index + 1).map(|next| next.unix_ms);
            let from = mark.unix_ms.saturating_sub(window_ms);
            let to = mark.unix_ms.saturating_add(window_ms);
            let range = TimeRange {
                from_unix_ms: earlier.map_or(from, |earlier| from.max(earlier.saturating_add(1))),
                to_unix_ms: later.map_or(to, |later| to.min(later)),
            };
            let (before, after): (Vec<Frame>, Vec<Frame>) = self
                .frames(server, range)?
                .into_iter()
                .partition(|frame| frame.unix_ms <= mark.unix_ms);
            changes.push((mark.clone(), compare_change(&before, &after)));
        }
        Ok(changes)
    }

    /// Why a window was bad: `gsmon why`. Where samples are gone, by the spikes that were found in their time.
    ///
    /// # Errors
    /// When nothing can be read.
    pub fn why(
        &self,
        server: &str,
        window: Window,
        player: Option<&str>,
    ) -> Result<WhyReport, AnalysisError> {
        const AROUND_MS: i64 = 3_600_000;
        let around = TimeRange {
            from_unix_ms: window.from_unix_ms.saturating_sub(AROUND_MS),
            to_unix_ms: window.to_unix_ms.saturating_add(AROUND_MS / 2),
        };
        let frames = HistorySource::frames(self.history, server, around, Resolution::Raw)?;
        let report = why(server, &frames, window, player);
        if report.seconds > 0.0 {
            return Ok(report);
        }
        let within = TimeRange {
            from_unix_ms: window.from_unix_ms,
            to_unix_ms: window.to_unix_ms,
        };
        let kept = self.history.spikes(Some(server), within)?;
        let spikes: Vec<Spike> = kept.iter().filter_map(Spike::of_stored).collect();
        Ok(why_of_kept_spikes(server, window, spikes))
    }

    /// What players who wait will need of servers, of which some run: `gsmon analyze queue`.
    ///
    /// # Errors
    /// When nothing can be read.
    pub fn queue(
        &self,
        queue: &[Waiting],
        running: &[Running],
        sizes: &[QueueMode],
        range: TimeRange,
    ) -> Result<QueueAnswer, AnalysisError> {
        let all = self.all_frames(range)?;
        let (facts, costs_of_all_modes) = queue_facts(queue, &series(&all), running, sizes);
        Ok(QueueAnswer {
            forecast: predict_for_queue(queue, &facts, running),
            costs_of_all_modes,
        })
    }
}

fn series(all: &[(String, Vec<Frame>)]) -> Vec<Series<'_>> {
    let all = all.iter();
    all.map(|(server, frames)| Series { server, frames }).collect()
}

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
    /// let history = monitor.history();
    /// let report = gsmon_agent::monitor::Analyses::of(&history).player_scaling(&scope, day, &ScalingMetric::USUAL)?;
    /// println!("{:?}", report.capacity);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn analyses(&self) -> Analyses<'_> {
        Analyses::of(&self.history)
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
        let running: Vec<Running> = snapshot.servers.iter().filter_map(running).collect();
        self.analyses().queue(queue, &running, sizes, range)
    }
}
