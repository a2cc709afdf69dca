//! Spikes of CPU or tick time, and what each of them came from.
//!
//! Every cause that could be meant is a figure of its own. A cause counts for a spike as far as such a value, just before
//! or in the spike, is rare in the frames around it that have no spike: that rarity is a p value, and nothing is
//! named whose value would be there by chance once in 200 moments or oftener (50 for a change of phase). Where nothing is left, the spike is
//! unexplained, and said to be.

use serde::{Deserialize, Serialize};

use super::{
    series::{column, runs},
    stats::robust::{RunningMedian, median, quantile, spread},
};
use crate::history::{Frame, Measure};

/// What rose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SpikeOf {
    /// CPU of the server.
    Cpu,
    /// 99th percentile of tick time.
    TickTime,
}

/// What a spike can come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// More packets from clients than usual.
    PacketBurst,
    /// Packets lost on the way.
    Loss,
    /// Round trips became longer.
    RttStep,
    /// The sockets had no room.
    Drops,
    /// Players came.
    Joins,
    /// Players left.
    Leaves,
    /// The phase changed.
    PhaseChange,
    /// Players did more than usual.
    PlayerActions,
    /// The server waited for a CPU.
    RunQueueWait,
    /// Other servers of this host used more CPU.
    OtherServers,
    /// Anything else on this host used more CPU.
    OtherProcesses,
    /// The hypervisor took the CPU away.
    Steal,
    /// Memory came from storage.
    MajorFaults,
}

/// Whose side a cause is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// What the game and its players did.
    Server,
    /// Others on the host, or the host itself.
    Host,
    /// The path between players and host.
    Network,
}

/// How a value is compared with what is usual.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Compared {
    /// As it is: it counts events.
    Count,
    /// Less what it was just before.
    Rise,
}

impl Cause {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::PacketBurst,
        Self::Loss,
        Self::RttStep,
        Self::Drops,
        Self::Joins,
        Self::Leaves,
        Self::PhaseChange,
        Self::PlayerActions,
        Self::RunQueueWait,
        Self::OtherServers,
        Self::OtherProcesses,
        Self::Steal,
        Self::MajorFaults,
    ];

    /// Whose side it is on.
    pub fn side(self) -> Side {
        match self {
            Self::PacketBurst | Self::Loss | Self::RttStep | Self::Drops => Side::Network,
            Self::Joins | Self::Leaves | Self::PhaseChange | Self::PlayerActions => Side::Server,
            Self::RunQueueWait
            | Self::OtherServers
            | Self::OtherProcesses
            | Self::Steal
            | Self::MajorFaults => Side::Host,
        }
    }

    /// In the words of an administrator.
    pub fn words(self) -> &'static str {
        match self {
            Self::PacketBurst => "a burst of packets from clients",
            Self::Loss => "packets lost on the way",
            Self::RttStep => "a rise of players' round trips",
            Self::Drops => "packets dropped because the server's sockets were full",
            Self::Joins => "players joining",
            Self::Leaves => "players leaving",
            Self::PhaseChange => "a change of phase",
            Self::PlayerActions => "more player actions than usual",
            Self::RunQueueWait => "waiting for a CPU that others used",
            Self::OtherServers => "other servers on this host using more CPU",
            Self::OtherProcesses => "other processes on this host using more CPU",
            Self::Steal => "the hypervisor giving CPU time to other machines",
            Self::MajorFaults => "memory that had to be read from storage",
        }
    }

    /// The figures that show it; several when it can show in either.
    fn measures(self) -> &'static [Measure] {
        match self {
            Self::PacketBurst => &[Measure::RxPacketsPerSecond],
            Self::Loss => &[Measure::LossUpRatio, Measure::LossDownRatio],
            Self::RttStep => &[Measure::RttP50Ms],
            Self::Drops => &[Measure::UdpDropsPerSecond],
            Self::Joins => &[Measure::Joins],
            Self::Leaves => &[Measure::Leaves],
            Self::PhaseChange => &[Measure::PhaseChanges],
            Self::PlayerActions => &[Measure::Actions],
            Self::RunQueueWait => &[Measure::RunQueueWaitRatio],
            Self::OtherServers => &[Measure::OtherServersCpuCores],
            Self::OtherProcesses => &[Measure::OtherProcessesCpuCores],
            Self::Steal => &[Measure::StealRatio],
            Self::MajorFaults => &[Measure::MajorFaultsPerSecond],
        }
    }

    fn compared(self) -> Compared {
        match self {
            Self::PacketBurst
            | Self::RttStep
            | Self::RunQueueWait
            | Self::OtherServers
            | Self::OtherProcesses
            | Self::Steal => Compared::Rise,
            _ => Compared::Count,
        }
    }

    /// Chance from which on a coincidence is not called a cause. A change of phase either is there or is not, so that its
    /// chance is how often phases change: that may be higher, and is no less rare for a lower threshold.
    fn largest_p(self) -> f64 {
        match self {
            Self::PhaseChange => 0.02,
            _ => 0.005,
        }
    }

    /// Waiting delays a tick; it uses no CPU.
    fn can_raise(self, what: SpikeOf) -> bool {
        what == SpikeOf::TickTime || self != Self::RunQueueWait
    }
}

/// A cause that fits a spike.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// Which.
    pub cause: Cause,
    /// Whose side it is on.
    pub side: Side,
    /// The figure that shows it.
    pub measure: Measure,
    /// Its value just before or in the spike.
    pub value: f64,
    /// What is usual around it: median of the frames without a spike.
    pub usual: f64,
    /// 5 % and 95 % of those frames.
    pub usual_range: (f64, f64),
    /// Chance that such a value was there without having to do with the spike.
    pub p_value: f64,
    /// How long before the spike it was highest, seconds.
    pub lead_seconds: f64,
    /// Frames that it was held against.
    pub observations: usize,
}

/// One spike.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spike {
    /// What rose.
    pub of: SpikeOf,
    /// End of the first frame of it.
    pub unix_ms: i64,
    /// How long it lasted.
    pub seconds: f64,
    /// Highest value: cores, or milliseconds.
    pub peak: f64,
    /// What was usual before.
    pub usual: f64,
    /// Height above that, in standard deviations of the frames before.
    pub deviations: f64,
    /// Causes that fit, the likeliest first; empty: unexplained.
    pub causes: Vec<Evidence>,
    /// Causes that were not measured, or too little for a judgement, and so are not excluded.
    pub not_measured: Vec<Cause>,
}

impl Spike {
    /// Does nothing that is measured fit?
    pub fn is_unexplained(&self) -> bool {
        self.causes.is_empty()
    }
}

/// Frames that tell what is usual just before.
const BEFORE: usize = 45;
/// Fewer tell nothing.
const FEWEST_BEFORE: usize = 12;
/// A spike is so many standard deviations above what is usual.
const HIGH: f64 = 6.0;
/// And so much above it relatively: an administrator does not ask about less.
const RISE: f64 = 0.25;
impl SpikeOf {
    /// Less than this above what is usual is no spike, however quiet the server: cores, or milliseconds.
    fn least_rise(self) -> f64 {
        match self {
            Self::Cpu => 0.02,
            Self::TickTime => 1.0,
        }
    }
}

/// A cause may come so many frames before its spike.
const LEAD: usize = 2;
/// Frames on either side whose causes a spike is held against.
const AROUND: usize = 450;

/// Finds the spikes of a server and says what each came from, in the order of time.
pub fn explain_spikes(frames: &[Frame]) -> Vec<Spike> {
    let mut spikes: Vec<Spike> = runs(frames).into_iter().flat_map(explain_run).collect();
    spikes.sort_by_key(|spike| spike.unix_ms);
    spikes
}

/// A spike as frames `from..until` of a run.
struct Found {
    of: SpikeOf,
    from: usize,
    until: usize,
    peak: f64,
    usual: f64,
    deviations: f64,
}

fn explain_run(frames: &[Frame]) -> Vec<Spike> {
    let mut found = find(SpikeOf::TickTime, &column(frames, Measure::TickP99Ms));
    found.extend(find(SpikeOf::Cpu, &column(frames, Measure::CpuCores)));
    // Nearly always: every server is looked at all the time.
    if found.is_empty() {
        return Vec::new();
    }
    // A frame is no measure of what is usual when something is going on in it, or is about to.
    let mut usual = vec![true; frames.len()];
    for spike in &found {
        let end = (spike.until + LEAD).min(frames.len());
        usual[spike.from.saturating_sub(LEAD)..end].fill(false);
    }
    let columns: Vec<CauseColumn> = Cause::ALL
        .into_iter()
        .flat_map(|cause| CauseColumn::all(cause, frames))
        .collect();
    found
        .iter()
        .map(|spike| explain(spike, frames, &columns, &usual))
        .collect()
}

fn find(of: SpikeOf, values: &[f64]) -> Vec<Found> {
    let mut found: Vec<Found> = Vec::new();
    // What is usual leaves earlier spikes out.
    let mut before = RunningMedian::new(BEFORE);
    for (index, value) in values.iter().copied().enumerate() {
        if !value.is_finite() {
            continue;
        }
        let Some(usual) = before
            .get()
            .filter(|usual| value >= usual * (1.0 + RISE) && value >= usual + of.least_rise())
        else {
            before.push(value);
            continue;
        };
        let spread = spread(before.sorted())
            .unwrap_or(0.0)
            .max(0.01 * usual.abs())
            .max(1e-9);
        let deviations = (value - usual) / spread;
        if before.len() < FEWEST_BEFORE || deviations < HIGH {
            before.push(value);
            continue;
        }
        match found.last_mut() {
            Some(last) if last.until == index => {
                last.until = index + 1;
                last.peak = last.peak.max(value);
                last.deviations = last.deviations.max(deviations);
                // What lasts is a new level.
                if last.until - last.from > BEFORE / 2 {
                    before.push(value);
                }
            }
            _ => found.push(Found {
                of,
                from: index,
                until: index + 1,
                peak: value,
                usual,
                deviations,
            }),
        }
    }
    found
}

/// A figure that shows a cause, ready to be compared.
struct CauseColumn {
    cause: Cause,
    measure: Measure,
    /// As compared: as it is, or less what it was just before.
    compared: Vec<f64>,
    raw: Vec<f64>,
}

impl CauseColumn {
    fn all(cause: Cause, frames: &[Frame]) -> impl Iterator<Item = Self> {
        cause.measures().iter().map(move |measure| {
            let raw = column(frames, *measure);
            let compared = match cause.compared() {
                Compared::Count => raw.clone(),
                Compared::Rise => rises(&raw),
            };
            Self {
                cause,
                measure: *measure,
                compared,
                raw,
            }
        })
    }

    /// Highest value in the frames that can have caused a spike which begins at `from`.
    fn highest(&self, from: usize, until: usize) -> Option<(usize, f64)> {
        (from.saturating_sub(LEAD)..until.min(self.compared.len()))
            .map(|index| (index, self.compared[index]))
            .filter(|(_, value)| value.is_finite())
            .max_by(|a, b| a.1.total_cmp(&b.1))
    }
}

/// Each value less the median of those just before it.
fn rises(values: &[f64]) -> Vec<f64> {
    let mut before = RunningMedian::new(BEFORE);
    let rise = |value: f64| {
        let rise = before
            .get()
            .filter(|_| before.len() >= FEWEST_BEFORE)
            .map_or(f64::NAN, |usual| value - usual);
        if value.is_finite() {
            before.push(value);
        }
        rise
    };
    values.iter().copied().map(rise).collect()
}

fn explain(spike: &Found, frames: &[Frame], columns: &[CauseColumn], usual: &[bool]) -> Spike {
    let mut causes: Vec<Evidence> = Vec::new();
    let mut not_measured = Vec::new();
    for cause in Cause::ALL.into_iter().filter(|cause| cause.can_raise(spike.of)) {
        let shown: Vec<&CauseColumn> = columns.iter().filter(|column| column.cause == cause).collect();
        let tests: Vec<Evidence> = shown
            .iter()
            .filter_map(|column| weigh(spike, column, frames, usual))
            .collect();
        if tests.is_empty() {
            not_measured.push(cause);
            continue;
        }
        let several = tests.len() as f64;
        let best = tests.into_iter().min_by(|a, b| a.p_value.total_cmp(&b.p_value));
        causes.extend(best.map(|best| Evidence {
            p_value: (best.p_value * several).min(1.0),
            ..best
        }));
    }
    causes.retain(|evidence| evidence.p_value < evidence.cause.largest_p());
    causes.sort_by(|a, b| a.p_value.total_cmp(&b.p_value));
    Spike {
        of: spike.of,
        unix_ms: frames[spike.from].unix_ms,
        seconds: frames[spike.from..spike.until]
            .iter()
            .map(|frame| frame.seconds)
            .sum(),
        peak: spike.peak,
        usual: spike.usual,
        deviations: spike.deviations,
        causes,
        not_measured,
    }
}

/// Holds the value at a spike against the same figure wherever nothing was going on.
fn weigh(spike: &Found, column: &CauseColumn, frames: &[Frame], usual: &[bool]) -> Option<Evidence> {
    // A long spike is explained by how it began.
    let until = spike.until.min(spike.from + 2);
    let (at, value) = column.highest(spike.from, until)?;
    let length = until - spike.from;
    let begin = spike.from.saturating_sub(AROUND);
    let end = (spike.from + AROUND).min(usual.len().saturating_sub(length));
    // What goes on after the spike is the same event still.
    let aftermath = spike.from..spike.until + BEFORE;
    let chances: Vec<f64> = (begin..end)
        .filter(|index| usual[*index] && !aftermath.contains(index))
        .filter_map(|index| Some(column.highest(index, index + length)?.1))
        .collect();
    if chances.len() < FEWEST_BEFORE {
        return None;
    }
    let as_high = chances.iter().filter(|chance| **chance >= value).count();
    let mut p_value = (1 + as_high) as f64 / (1 + chances.len()) as f64;
    let largest = chances.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if value > largest {
        // Beyond everything that was seen: a tail that falls as slowly as an exponential one.
        let scale = tail(&chances, column.cause.compared());
        p_value *= (-(value - largest) / scale).exp();
    }
    let plain: Vec<f64> = (begin..end)
        .filter(|index| usual[*index])
        .map(|index| column.raw[index])
        .filter(|value| value.is_finite())
        .collect();
    let usual_value = median(&plain)?;
    if value <= 0.0 || column.raw[at] <= usual_value {
        // Measured, and nothing to see.
        p_value = 1.0;
    }
    evidence(spike, column, frames, at, usual_value, &plain, p_value)
}

fn evidence(
    spike: &Found,
    column: &CauseColumn,
    frames: &[Frame],
    at: usize,
    usual: f64,
    plain: &[f64],
    p_value: f64,
) -> Option<Evidence> {
    Some(Evidence {
        cause: column.cause,
        side: column.cause.side(),
        measure: column.measure,
        value: column.raw[at],
        usual,
        usual_range: (quantile(plain, 0.05)?, quantile(plain, 0.95)?),
        p_value,
        lead_seconds: frames[at.min(spike.from)..spike.from]
            .iter()
            .map(|frame| frame.seconds)
            .sum(),
        observations: plain.len(),
    })
}

/// How fast the tail of a figure falls: mean of what lies above its 90 % quantile, less that.
fn tail(values: &[f64], compared: Compared) -> f64 {
    let high = quantile(values, 0.9).unwrap_or(0.0);
    let above: Vec<f64> = values
        .iter()
        .filter(|value| **value > high)
        .map(|value| value - high)
        .collect();
    let mean = above.iter().sum::<f64>() / above.len().max(1) as f64;
    let spread = spread(values).unwrap_or(0.0) * 0.5;
    let least = match compared {
        // One event more is one event more.
        Compared::Count if values.iter().all(|value| value.fract() == 0.0) => 1.0,
        _ => 1e-3 * values.iter().copied().map(f64::abs).fold(0.0, f64::max),
    };
    mean.max(spread).max(least).max(1e-9)
}

#[cfg(test)]
#[path = "spikes_tests.rs"]
mod tests;
