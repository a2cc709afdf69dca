//! Whole answers, made of frames: what a command prints with `--json`, a route answers and the library hands out. Pure. Not
//! here: getting frames (`past`), the analyses themselves (the analysis room).

use std::sync::Arc;

use serde::Serialize;

use crate::{
    analysis::{
        change::ChangeReport,
        lag::{Fleet, LagCost, lag_compensation_cost},
        network::{Buckets, NetworkReport, Regions, network_resource_correlation},
        queue::{QueueForecast, Running, Waiting, facts::queue_facts, predict_for_queue},
        scaling::{
            BotsReport, By, GroupsReport, PatternsReport, ScalingMetric, ScalingRefusal, ScalingReport,
            Scope, analyze_player_scaling, compare_groups, cost_of_bots, usage_patterns,
        },
        series::Series,
    },
    config::QueueMode,
    history::{Frame, Mark, Measure},
};

/// What players cost, and how many fit: `gsmon analyze players`.
#[derive(Debug, Serialize)]
pub struct PlayersAnswer {
    /// Per metric, and the capacity.
    pub report: ScalingReport,
    /// Modes, maps or phases beside each other, by metric; where that was asked for.
    pub groups: Vec<GroupsReport>,
    /// Ways of use of one server, where no mode is told.
    pub patterns: Option<PatternsReport>,
}

impl PlayersAnswer {
    /// Of all servers that were asked about; groups and patterns are those of the first.
    ///
    /// # Errors
    /// When nothing can be told.
    pub fn of(
        all: &[(String, Vec<Frame>)],
        scope: &Scope,
        metrics: &[ScalingMetric],
        by: Option<By>,
    ) -> Result<Self, ScalingRefusal> {
        let report = analyze_player_scaling(&series(all), scope, metrics)?;
        let frames = all.first().map_or(&[][..], |(_, frames)| frames);
        let groups = match by {
            Some(by) => metrics
                .iter()
                .filter_map(|metric| match compare_groups(frames, by, *metric) {
                    // A metric that nobody measured has said so above already.
                    Err(ScalingRefusal::NotMeasured { .. }) => None,
                    told => Some(told),
                })
                .collect::<Result<Vec<_>, _>>()?,
            None => Vec::new(),
        };
        // Where modes are told there is no need to guess them.
        let told = frames.iter().any(|frame| frame.mode.is_some());
        let patterns = (matches!(scope, Scope::Server(_)) && !told)
            .then(|| usage_patterns(frames).ok())
            .flatten();
        Ok(Self {
            report,
            groups,
            patterns,
        })
    }
}

/// What bots are asked about.
const BOTS_COST: [Measure; 4] = [
    Measure::CpuCores,
    Measure::TickP50Ms,
    Measure::TxBytesPerSecond,
    Measure::RssBytes,
];

/// What a bot costs beside a person, by metric: `gsmon analyze bots`.
///
/// # Errors
/// When nothing can be told of CPU; the others are told where they are known.
pub fn bots(frames: &[Frame]) -> Result<Vec<BotsReport>, ScalingRefusal> {
    let metrics = BOTS_COST.map(ScalingMetric::Stored);
    let mut reports = vec![cost_of_bots(frames, metrics[0])?];
    let others = metrics[1..].iter();
    reports.extend(others.filter_map(|metric| cost_of_bots(frames, *metric).ok()));
    Ok(reports)
}

/// What players' networks do to one server: `gsmon analyze network`.
#[derive(Debug, Serialize)]
pub struct NetworkAnswer {
    /// Server.
    pub server: String,
    /// Buckets, effects and overhead.
    pub report: NetworkReport,
    /// What lag compensation costs, where round trips are measured and move.
    pub lag_compensation: Option<LagCost>,
}

impl NetworkAnswer {
    /// Of one server.
    pub fn of(server: &str, frames: &[Frame], regions: Regions, buckets: &Buckets) -> Self {
        Self {
            server: server.to_owned(),
            report: network_resource_correlation(frames, regions, buckets),
            lag_compensation: lag_compensation_cost(&[Series { server, frames }], Fleet::Different),
        }
    }
}

/// A mark and what changed with it: `gsmon mark`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Marked {
    /// The mark.
    pub mark: Mark,
    /// What changed at equal players.
    pub change: ChangeReport,
}

/// Who waits, and what runs for them.
#[derive(Clone, Debug, Default)]
pub struct QueueFacts {
    /// Who waits.
    pub queue: Vec<Waiting>,
    /// How old that is, where somebody told it earlier.
    pub queue_age_ms: Option<i64>,
    /// Servers that run.
    pub running: Vec<Running>,
    /// Players of one match, by mode.
    pub sizes: Vec<QueueMode>,
    /// Hosts of a fleet that are silent: what runs there is not known.
    pub unknown_hosts: Vec<String>,
}

/// What players who wait will need: `gsmon analyze queue`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct QueueAnswer {
    /// The forecast.
    pub forecast: QueueForecast,
    /// Modes that were never played in the range: what is said of their costs is that of all modes together.
    pub costs_of_all_modes: Vec<Arc<str>>,
    /// How old the queue is.
    pub queue_age_ms: Option<i64>,
    /// Hosts of a fleet that are silent: their servers may run and take players, and count as not there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unknown_hosts: Vec<String>,
}

impl QueueAnswer {
    /// Of a queue, by what all servers were seen to cost.
    pub fn of(facts: QueueFacts, all: &[(String, Vec<Frame>)]) -> Self {
        let (costs, costs_of_all_modes) =
            queue_facts(&facts.queue, &series(all), &facts.running, &facts.sizes);
        Self {
            forecast: predict_for_queue(&facts.queue, &costs, &facts.running),
            costs_of_all_modes,
            queue_age_ms: facts.queue_age_ms,
            unknown_hosts: facts.unknown_hosts,
        }
    }
}

/// Servers as analyses take them.
pub fn series(all: &[(String, Vec<Frame>)]) -> Vec<Series<'_>> {
    let all = all.iter();
    all.map(|(server, frames)| Series { server, frames }).collect()
}
