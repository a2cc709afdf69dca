//! How many servers, where and when, and what that costs. Pure: demand, facts and prices in, advice out.
//!
//! `experience` says what is to be reached, `demand` is who will come, `profile` what stands in for a
//! forecast, `foreseen` a forecast in its place, `capacity` what a
//! server holds, `seen` is what one or many hosts tell of a group, `gather` puts together what is known of each group, `packing` puts servers on hosts, `plan` makes the timetable, `cost` the bill, `placement` says which region
//! players go to, `quiet` when a restart disturbs the fewest, `waiting` adds those who queue; `simulate` replays the past. Not here: forecasting, reading history, telling anybody.

pub mod capacity;
pub mod cost;
pub mod demand;
pub mod experience;
pub mod foreseen;
pub mod gather;
pub mod packing;
pub mod placement;
pub mod plan;
pub mod profile;
pub mod quiet;
pub mod seen;
pub mod simulate;
pub mod waiting;

use serde::{Deserialize, Serialize};

use self::{
    capacity::{HostRoom, ServerSize},
    cost::{CostAnalysis, Prices},
    demand::{Demand, DemandBasis, Group},
    experience::{Experience, Targets},
    packing::PackingError,
    plan::{Bounds, Known, PlanError, PlanInput, ServerNow, Timetable},
};

/// What is known of one group.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupFacts {
    /// Who comes.
    pub demand: Demand,
    /// What a server holds and takes.
    pub size: ServerSize,
    /// What a host there has.
    pub host: HostRoom,
    /// Bytes per second to one player, where that was measured.
    pub transmit_per_player: Option<f64>,
    /// Servers that run.
    pub servers: Vec<ServerNow>,
    /// From the order to the first player.
    pub warm_up: Known,
    /// From the last need to the stop.
    pub cool_down: Known,
    /// Servers that must and may run.
    pub bounds: Bounds,
    /// Prices there; costs are told where they are asked for.
    pub prices: Option<Prices>,
}

/// Advice for one group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GroupAdvice {
    /// Of whom.
    pub group: Group,
    /// How demand is known.
    pub basis: DemandBasis,
    /// What a server holds.
    pub size: ServerSize,
    /// From the order to the first player.
    pub warm_up: Known,
    /// From the last need to the stop.
    pub cool_down: Known,
    /// Servers that run.
    pub running: u32,
    /// Servers that are wanted now.
    pub wanted_now: u32,
    /// Who comes.
    pub demand: Demand,
    /// When what is done.
    pub timetable: Timetable,
    /// Hosts for the highest number of servers, where it is known what these take.
    pub hosts_at_peak: Option<u32>,
    /// With fewer hosts it cannot be done.
    pub hosts_lower_bound: Option<u32>,
    /// What it costs.
    pub costs: Option<CostAnalysis>,
}

/// Advice for all groups.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScalingAdvice {
    /// What is to be reached.
    pub experience: Experience,
    /// In numbers.
    pub targets: Targets,
    /// Groups.
    pub groups: Vec<GroupAdvice>,
    /// Groups of which nothing is said, and why: what runs there stays.
    pub left_alone: Vec<LeftAlone>,
}

/// A group without advice.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LeftAlone {
    /// Which.
    pub group: Group,
    /// Why.
    pub why: String,
}

/// Why a group gets no advice.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum AdviceError {
    /// No plan.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// Servers fit on no host.
    #[error(transparent)]
    Packing(#[from] PackingError),
}

/// Advice for the hours to come. Demand that reaches further is cut. Costs are told of groups that have prices.
pub fn recommend_scaling(
    groups: &[GroupFacts],
    forecast_hours: f64,
    experience: Experience,
) -> ScalingAdvice {
    let targets = experience.targets();
    let mut advice = ScalingAdvice {
        experience,
        targets,
        groups: Vec::new(),
        left_alone: Vec::new(),
    };
    for facts in groups {
        match of_group(facts, forecast_hours, targets) {
            Ok(group) => advice.groups.push(group),
            Err(error) => advice.left_alone.push(LeftAlone {
                group: facts.demand.group.clone(),
                why: error.to_string(),
            }),
        }
    }
    advice
}

fn of_group(facts: &GroupFacts, forecast_hours: f64, targets: Targets) -> Result<GroupAdvice, AdviceError> {
    let mut demand = facts.demand.clone();
    let steps = (forecast_hours.max(0.0) * 3.6e6 / demand.step_ms as f64)
        .ceil()
        .max(1.0) as usize;
    for level in &mut demand.levels {
        level.players.truncate(steps);
    }
    let timetable = plan::plan(&PlanInput {
        demand: &demand,
        size: &facts.size,
        servers: &facts.servers,
        warm_up: facts.warm_up,
        cool_down: facts.cool_down,
        bounds: facts.bounds,
        targets,
    })?;
    let running = u32::try_from(facts.servers.len()).unwrap_or(u32::MAX);
    let peak = timetable.servers.iter().copied().max().unwrap_or(0);
    let known = |takes: Option<f64>, has: Option<f64>| takes.is_some() && has.is_some();
    let (takes, host) = (&facts.size.takes, &facts.host);
    let hosts = known(takes.cores, host.cores)
        || known(takes.memory_bytes, host.memory_bytes)
        || known(takes.transmit_bytes_per_second, host.transmit_bytes_per_second);
    let packing = match hosts {
        true => {
            let sort = packing::Sort {
                count: peak,
                takes: *takes,
            };
            Some(packing::pack(&[sort], host)?)
        }
        false => None,
    };
    let costs = match &facts.prices {
        Some(prices) => Some(cost::analyze(
            &cost::Basis {
                demand: &demand,
                size: &facts.size,
                host,
                transmit_per_player: facts.transmit_per_player,
                prices,
            },
            &timetable.servers,
            running,
        )?),
        None => None,
    };
    Ok(GroupAdvice {
        group: demand.group.clone(),
        basis: demand.basis,
        size: facts.size,
        warm_up: facts.warm_up,
        cool_down: facts.cool_down,
        running,
        wanted_now: timetable.servers.first().copied().unwrap_or(running),
        demand,
        timetable,
        hosts_at_peak: packing
            .as_ref()
            .map(|packing| u32::try_from(packing.hosts.len()).unwrap_or(u32::MAX)),
        hosts_lower_bound: packing.as_ref().map(|packing| packing.lower_bound),
        costs,
    })
}
