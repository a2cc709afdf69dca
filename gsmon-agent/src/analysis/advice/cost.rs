//! What a number of servers over time costs, beside doing nothing and beside running for the peak; and what being wrong costs
//! both ways. Not here: prices (the configuration), the number of servers (`plan`).

use serde::{Deserialize, Serialize};

use super::{
    capacity::{HostRoom, ServerSize},
    demand::Demand,
    packing::{PackingError, Sort, pack},
};

/// Prices, in one currency. Absent is "not known": nothing is made up for it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Prices {
    /// Name of the currency.
    pub currency: Option<String>,
    /// Of one server for an hour.
    pub server_hour: Option<f64>,
    /// Of one host for an hour.
    pub host_hour: Option<f64>,
    /// Of 10^9 bytes to players.
    pub egress_gb: Option<f64>,
    /// What an hour that a player had no seat is worth.
    pub lost_player_hour: Option<f64>,
}

/// One way to run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Bill {
    /// Server-hours.
    pub server_hours: f64,
    /// Of them: beyond what the median of demand fills.
    pub idle_server_hours: f64,
    /// Host-hours; absent where hosts or what servers take of them are not known.
    pub host_hours: Option<f64>,
    /// Player-hours without a seat if demand is its median.
    pub unserved_player_hours: f64,
    /// Money; absent where the price of servers and of hosts is not known.
    pub cost: Option<f64>,
    /// Of it: servers beyond what the median of demand fills.
    pub idle_cost: Option<f64>,
}

/// If demand is not the median.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WrongBy {
    /// The quantile that demand is then.
    pub quantile: f64,
    /// Server-hours of the plan that nobody fills then.
    pub idle_server_hours: f64,
    /// What they cost.
    pub idle_cost: Option<f64>,
    /// Player-hours without a seat.
    pub unserved_player_hours: f64,
    /// What those are worth, where somebody says so.
    pub lost: Option<f64>,
}

/// Costs over the hours of a plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CostAnalysis {
    /// Currency.
    pub currency: Option<String>,
    /// As advised.
    pub plan: Bill,
    /// What runs now, all the time.
    pub nothing: Bill,
    /// As many as the highest need of the plan, all the time.
    pub peak: Bill,
    /// Bytes to players, the same in all ways; absent where nobody measured them or there is no price.
    pub egress_cost: Option<f64>,
    /// Fewer come: the lowest known quantile.
    pub too_many: WrongBy,
    /// More come: the highest known quantile.
    pub too_few: WrongBy,
    /// Prices that are missing.
    pub missing: Vec<String>,
}

/// What is needed beside the number of servers.
#[derive(Clone, Copy, Debug)]
pub struct Basis<'a> {
    /// Who comes.
    pub demand: &'a Demand,
    /// What a server holds and takes.
    pub size: &'a ServerSize,
    /// What a host has.
    pub host: &'a HostRoom,
    /// Bytes per second to one player.
    pub transmit_per_player: Option<f64>,
    /// Prices.
    pub prices: &'a Prices,
}

impl Basis<'_> {
    fn step_hours(&self) -> f64 {
        self.demand.step_ms as f64 / 3.6e6
    }

    fn hosts(&self, servers: u32) -> Result<Option<f64>, PackingError> {
        let (takes, host) = (&self.size.takes, self.host);
        let known = [
            (takes.cores, host.cores),
            (takes.memory_bytes, host.memory_bytes),
            (takes.transmit_bytes_per_second, host.transmit_bytes_per_second),
        ];
        if known.iter().all(|(takes, has)| takes.is_none() || has.is_none()) {
            return Ok(None);
        }
        let sort = Sort {
            count: servers,
            takes: *takes,
        };
        Ok(Some(pack(&[sort], host)?.hosts.len() as f64))
    }

    /// Server-hours that players at a quantile do not fill, and player-hours that have no seat.
    fn misfit(&self, servers: &[u32], quantile: f64) -> (f64, f64) {
        let seats = f64::from(self.size.players);
        let (mut idle, mut unserved) = (0.0, 0.0);
        for (step, running) in servers.iter().enumerate() {
            let players = self.demand.at(quantile, step);
            idle += (f64::from(*running) - (players / seats).ceil()).max(0.0);
            unserved += (players - f64::from(*running) * seats).max(0.0);
        }
        (idle * self.step_hours(), unserved * self.step_hours())
    }

    fn bill(&self, servers: &[u32]) -> Result<Bill, PackingError> {
        let server_hours = servers.iter().map(|count| f64::from(*count)).sum::<f64>() * self.step_hours();
        let (idle_server_hours, unserved_player_hours) = self.misfit(servers, 0.5);
        let mut hosts = std::collections::HashMap::new();
        let mut host_hours = Some(0.0);
        for count in servers {
            let known = match hosts.get(count) {
                Some(known) => *known,
                None => {
                    let found = self.hosts(*count)?;
                    hosts.insert(*count, found);
                    found
                }
            };
            host_hours = host_hours
                .zip(known)
                .map(|(sum, hosts)| sum + hosts * self.step_hours());
        }
        let by_server = self.prices.server_hour.map(|price| price * server_hours);
        let by_host = self
            .prices
            .host_hour
            .zip(host_hours)
            .map(|(price, hours)| price * hours);
        let cost = match (by_server, by_host) {
            (None, None) => None,
            (servers, hosts) => Some(servers.unwrap_or(0.0) + hosts.unwrap_or(0.0)),
        };
        let idle_cost = cost
            .filter(|_| server_hours > 0.0)
            .map(|cost| cost * idle_server_hours / server_hours);
        Ok(Bill {
            server_hours,
            idle_server_hours,
            host_hours,
            unserved_player_hours,
            cost,
            idle_cost,
        })
    }
}

/// Costs of a plan: servers at each step of the demand.
///
/// # Errors
/// When a server fits on no host.
pub fn analyze(basis: &Basis<'_>, servers: &[u32], running_now: u32) -> Result<CostAnalysis, PackingError> {
    let plan = basis.bill(servers)?;
    let most = servers.iter().copied().max().unwrap_or(0);
    let same = |count: u32| vec![count; servers.len()];
    let per_server_hour = plan
        .cost
        .filter(|_| plan.server_hours > 0.0)
        .map(|cost| cost / plan.server_hours);
    let wrong = |quantile: f64| {
        let (idle_server_hours, unserved_player_hours) = basis.misfit(servers, quantile);
        WrongBy {
            quantile,
            idle_server_hours,
            idle_cost: per_server_hour.map(|price| price * idle_server_hours),
            unserved_player_hours,
            lost: basis
                .prices
                .lost_player_hour
                .map(|worth| worth * unserved_player_hours),
        }
    };
    let levels = &basis.demand.levels;
    let egress_bytes = basis.transmit_per_player.map(|each| {
        let players: f64 = (0..servers.len()).map(|step| basis.demand.at(0.5, step)).sum();
        players * each * basis.step_hours() * 3_600.0
    });
    let mut missing = Vec::new();
    if basis.prices.server_hour.is_none() && basis.prices.host_hour.is_none() {
        missing.push("server_hour or host_hour".to_owned());
    }
    if basis.prices.egress_gb.is_none() {
        missing.push("egress_gb".to_owned());
    }
    Ok(CostAnalysis {
        currency: basis.prices.currency.clone(),
        plan,
        nothing: basis.bill(&same(running_now))?,
        peak: basis.bill(&same(most))?,
        egress_cost: egress_bytes
            .zip(basis.prices.egress_gb)
            .map(|(bytes, price)| bytes / 1e9 * price),
        too_many: wrong(levels.first().map_or(0.5, |level| level.quantile)),
        too_few: wrong(levels.last().map_or(0.5, |level| level.quantile)),
        missing,
    })
}
