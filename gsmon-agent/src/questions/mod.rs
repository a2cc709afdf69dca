//! Questions to the past, whoever has it: the one place where commands, routes and the library ask. `past` is whoever has
//! frames, `answers` what is answered, `parse` a question out of the parameters of a route, `serve` the routes. Not here:
//! what is worked out (the analysis room), keeping frames (history), and words for people (cli).

pub mod answers;
pub mod parse;
pub mod past;
pub mod serve;

pub use self::{
    answers::{Marked, NetworkAnswer, PlayersAnswer, QueueAnswer, QueueFacts},
    past::{Bounded, Past},
};
use crate::{
    analysis::{
        change::compare_change,
        netcode::{NetcodeReport, compare_netcode},
        network::{Buckets, Regions},
        scaling::{
            ActionsReport, BotsReport, By, GroupsReport, LeakReport, Limit, PatternsReport, ScalingMetric,
            ScalingRefusal, ScalingReport, Scope, actions_and_spikes, analyze_player_scaling, compare_groups,
            find_leak, usage_patterns,
        },
        spikes::Spike,
        why::{WhyReport, Window, why, why_of_kept_spikes},
    },
    history::{Frame, History, HistorySource, Resolution, SourceError, TimeRange, rollup::Span},
    world::session::ask::AskError,
};

/// Windows of netcode that are longer are compared by the minute: two hours of seconds have told what they can.
const LONGEST_RAW_MS: i64 = 7_200_000;

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum AnalysisError<E = SourceError> {
    /// The past cannot be read, or has no such server.
    #[error(transparent)]
    Source(E),
    /// There is too little to tell anything; the error says what.
    #[error(transparent)]
    Refused(#[from] ScalingRefusal),
    /// A frame cannot be both before and after.
    #[error("the two windows overlap: a frame cannot be both before and after")]
    Overlap,
    /// There is no snapshot yet.
    #[error(transparent)]
    Ask(#[from] AskError),
}

/// Questions about what was measured.
#[derive(Debug)]
pub struct Analyses<'a, P = History> {
    past: &'a P,
}

impl<P> Clone for Analyses<'_, P> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P> Copy for Analyses<'_, P> {}

impl<'a, P: Past> Analyses<'a, P> {
    /// About this past.
    pub fn of(past: &'a P) -> Self {
        Self { past }
    }

    fn frames(&self, server: &str, range: TimeRange) -> Result<Vec<Frame>, AnalysisError<P::Error>> {
        let frames = self.past.frames(server, Some(range), Resolution::Fitting);
        frames.map_err(AnalysisError::Source)
    }

    fn in_scope(
        &self,
        scope: &Scope,
        range: TimeRange,
    ) -> Result<past::ServersFrames, AnalysisError<P::Error>> {
        match scope {
            Scope::Server(server) => Ok(vec![(server.clone(), self.frames(server, range)?)]),
            Scope::Mode(_) | Scope::All => self.past.all_frames(Some(range)).map_err(AnalysisError::Source),
        }
    }

    /// What players cost, and how many fit, with groups and patterns: `gsmon analyze players`.
    ///
    /// # Errors
    /// When nothing can be read, or nothing can be told of it.
    pub fn players(
        &self,
        scope: &Scope,
        range: TimeRange,
        metrics: &[ScalingMetric],
        by: Option<By>,
    ) -> Result<PlayersAnswer, AnalysisError<P::Error>> {
        Ok(PlayersAnswer::of(
            &self.in_scope(scope, range)?,
            scope,
            metrics,
            by,
        )?)
    }

    /// What players cost, and how many fit.
    ///
    /// # Errors
    /// As [`Self::players`].
    pub fn player_scaling(
        &self,
        scope: &Scope,
        range: TimeRange,
        metrics: &[ScalingMetric],
    ) -> Result<ScalingReport, AnalysisError<P::Error>> {
        let all = self.in_scope(scope, range)?;
        Ok(analyze_player_scaling(&answers::series(&all), scope, metrics)?)
    }

    /// How modes, maps or phases of a server differ: `gsmon analyze players --by`.
    ///
    /// # Errors
    /// As [`Self::players`].
    pub fn groups(
        &self,
        server: &str,
        range: TimeRange,
        by: By,
        metric: ScalingMetric,
    ) -> Result<GroupsReport, AnalysisError<P::Error>> {
        Ok(compare_groups(&self.frames(server, range)?, by, metric)?)
    }

    /// Patterns of use where no mode is known.
    ///
    /// # Errors
    /// As [`Self::players`].
    pub fn patterns(
        &self,
        server: &str,
        range: TimeRange,
    ) -> Result<PatternsReport, AnalysisError<P::Error>> {
        Ok(usage_patterns(&self.frames(server, range)?)?)
    }

    /// What a bot costs beside a person, by metric: `gsmon analyze bots`.
    ///
    /// # Errors
    /// As [`Self::players`].
    pub fn bots(&self, server: &str, range: TimeRange) -> Result<Vec<BotsReport>, AnalysisError<P::Error>> {
        Ok(answers::bots(&self.frames(server, range)?)?)
    }

    /// Which actions of players spikes come after: `gsmon analyze actions`.
    ///
    /// # Errors
    /// As [`Self::players`].
    pub fn actions(&self, server: &str, range: TimeRange) -> Result<ActionsReport, AnalysisError<P::Error>> {
        Ok(actions_and_spikes(&self.frames(server, range)?)?)
    }

    /// Is memory lost: `gsmon analyze memory`.
    ///
    /// # Errors
    /// As [`Self::players`].
    pub fn leak(
        &self,
        server: &str,
        range: TimeRange,
        limit: Option<Limit>,
    ) -> Result<LeakReport, AnalysisError<P::Error>> {
        Ok(find_leak(&self.frames(server, range)?, limit)?)
    }

    /// What players' networks do to a server, or to each of all: `gsmon analyze network`. Without a range, the last hour.
    ///
    /// # Errors
    /// When nothing can be read.
    pub fn network(
        &self,
        server: Option<&str>,
        range: Option<TimeRange>,
        regions: Regions,
        buckets: &Buckets,
    ) -> Result<Vec<NetworkAnswer>, AnalysisError<P::Error>> {
        let servers = match server {
            Some(server) => vec![server.to_owned()],
            None => self.past.servers().map_err(AnalysisError::Source)?,
        };
        let mut told = Vec::with_capacity(servers.len());
        for server in servers {
            let frames = self.past.frames(&server, range, Resolution::Fitting);
            let mut frames = frames.map_err(AnalysisError::Source)?;
            let lines = self.past.give_lines(&server, &mut frames);
            lines.map_err(AnalysisError::Source)?;
            told.push(NetworkAnswer::of(&server, &frames, regions, buckets));
        }
        Ok(told)
    }

    /// Did a change of netcode change anything: `gsmon analyze netcode`. Second by second where both windows are short and
    /// still have their samples, else minute by minute: figures of unequal frames would differ for that reason alone.
    ///
    /// # Errors
    /// When the windows overlap, or nothing can be read.
    pub fn netcode(
        &self,
        server: &str,
        before: TimeRange,
        after: TimeRange,
    ) -> Result<NetcodeReport, AnalysisError<P::Error>> {
        const MINUTES: Resolution = Resolution::Rolled(Span::Minute);
        if before.touches(after.from_unix_ms, after.to_unix_ms) {
            return Err(AnalysisError::Overlap);
        }
        let long = |range: TimeRange| range.to_unix_ms.saturating_sub(range.from_unix_ms) > LONGEST_RAW_MS;
        let resolutions: &[Resolution] = match long(before) || long(after) {
            true => &[MINUTES],
            false => &[Resolution::Raw, MINUTES],
        };
        let mut found = (Vec::new(), Vec::new());
        for resolution in resolutions {
            let ask = |range| {
                let frames = self.past.frames(server, Some(range), *resolution);
                frames.map_err(AnalysisError::Source)
            };
            found = (ask(before)?, ask(after)?);
            if !found.0.is_empty() && !found.1.is_empty() {
                break;
            }
        }
        Ok(compare_netcode(&found.0, &found.1))
    }

    /// What changed with each mark of a server, as far as `window_ms` and the marks beside it: `gsmon mark`.
    ///
    /// # Errors
    /// When nothing can be read.
    pub fn changes(&self, server: &str, window_ms: i64) -> Result<Vec<Marked>, AnalysisError<P::Error>> {
        let marks = self.past.marks(server).map_err(AnalysisError::Source)?;
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
            changes.push(Marked {
                mark: mark.clone(),
                change: compare_change(&before, &after),
            });
        }
        Ok(changes)
    }

    /// What players who wait will need of servers, of which some run: `gsmon analyze queue`.
    ///
    /// # Errors
    /// When nothing can be read.
    pub fn queue(&self, facts: QueueFacts, range: TimeRange) -> Result<QueueAnswer, AnalysisError<P::Error>> {
        let all = self.past.all_frames(Some(range)).map_err(AnalysisError::Source)?;
        Ok(QueueAnswer::of(facts, &all))
    }
}

impl Analyses<'_, History> {
    /// Asks the same of each server of the history, a few at a time: no more frames are in memory than theirs.
    ///
    /// # Errors
    /// When the frames of one cannot be read.
    pub fn each<T: Send>(
        &self,
        range: TimeRange,
        question: impl Fn(&str, &[Frame]) -> T + Sync,
    ) -> Result<Vec<(String, T)>, SourceError> {
        past::each(self.past, |server| {
            let frames = Past::frames(self.past, server, Some(range), Resolution::Fitting)?;
            Ok::<T, SourceError>(question(server, &frames))
        })?
        .into_iter()
        .map(|(server, answer)| Ok((server, answer?)))
        .collect()
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
        let frames = Past::frames(self.past, server, Some(around), Resolution::Raw);
        let mut frames = frames.map_err(AnalysisError::Source)?;
        if player.is_some() {
            let attached = self.past.attach_lines(server, &mut frames, player);
            attached.map_err(AnalysisError::Source)?;
        }
        let report = why(server, &frames, window, player);
        if report.seconds > 0.0 {
            return Ok(report);
        }
        let within = TimeRange {
            from_unix_ms: window.from_unix_ms,
            to_unix_ms: window.to_unix_ms,
        };
        let kept = self.past.spikes(Some(server), within);
        let kept = kept.map_err(AnalysisError::Source)?;
        let spikes: Vec<Spike> = kept.iter().filter_map(Spike::of_stored).collect();
        Ok(why_of_kept_spikes(server, window, spikes))
    }
}

#[cfg(test)]
mod tests {
    use super::{past::tests::Made, *};

    #[test]
    fn windows_that_overlap_are_refused() {
        let made = Made {
            servers: vec!["arena"],
            minutes: 300,
        };
        let window = |from: i64, to: i64| TimeRange {
            from_unix_ms: from,
            to_unix_ms: to,
        };
        let analyses = Analyses::of(&made);
        for (before, after) in [
            (window(0, 9), window(9, 20)),
            (window(5, 9), window(0, 5)),
            (window(0, 9), window(2, 3)),
        ] {
            let refused = analyses.netcode("arena", before, after).unwrap_err();
            assert!(matches!(refused, AnalysisError::Overlap));
        }
        assert!(analyses.netcode("arena", window(0, 9), window(10, 20)).is_ok());
    }

    #[test]
    fn costs_that_were_planted_are_found_on_one_server_and_on_all() {
        let made = Made {
            servers: vec!["arena", "lobby"],
            minutes: 300,
        };
        let day = TimeRange {
            from_unix_ms: 0,
            to_unix_ms: 86_400_000,
        };
        let cpu = ["cpu".parse().unwrap()];
        for scope in [
            Scope::All,
            Scope::Server("lobby".into()),
            Scope::Mode("duel".into()),
        ] {
            let answer = Analyses::of(&made).players(&scope, day, &cpu, None).unwrap();
            let scaling = answer.report.metrics[0].scaling.as_ref().unwrap();
            assert!(
                (scaling.per_player.value - 0.02).abs() < 1e-3,
                "{:?}",
                scaling.per_player
            );
        }
        let nobody = Analyses::of(&made).players(&Scope::Mode("race".into()), day, &cpu, None);
        assert!(matches!(nobody, Err(AnalysisError::Refused(_))));
    }
}
