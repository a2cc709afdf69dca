//! What is seen of one group of servers: players over time, what a server holds, how long it takes to start. It can be told
//! by one host and summed over many. Not here: who will come.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    GroupFacts,
    capacity::{HostRoom, ServerSize, server_size},
    demand::Group,
    experience::Targets,
    gather::{Costs, HOUR_MS, Hours, Runs, STEP_MS, SeenServer, Settings, demand_of, players},
    plan::{Bounds, Known, ServerNow, TimeBasis},
};
use crate::{
    analysis::{
        queue::{ModeFacts, facts::mode_facts},
        series::Series,
        stats::robust::quantile,
    },
    config::AdviceSettings,
};

/// Without measurement or configuration.
const ASSUMED_WARM_UP_SECONDS: f64 = 120.0;
const ASSUMED_COOL_DOWN_SECONDS: f64 = 300.0;

/// One group, as it was seen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SeenGroup {
    /// Which.
    pub group: Group,
    /// Time between two points, milliseconds.
    pub step_ms: i64,
    /// Beginning of a step in milliseconds since 1970, and mean players over it. Those that nobody counted are left out.
    pub points: Vec<(i64, f64)>,
    /// What a server holds and takes; absent where nothing tells.
    pub size: Option<ServerSize>,
    /// Why there is no size.
    pub no_size_because: Option<String>,
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
}

impl SeenGroup {
    /// A group of these servers.
    pub fn of(group: Group, servers: &[SeenServer], settings: &AdviceSettings, targets: &Targets) -> Self {
        let (mode, region) = (group.mode.as_deref(), group.region.as_deref());
        let there = || servers.iter().filter(|server| server.region.as_deref() == region);
        let long = there()
            .flat_map(|server| server.frames.last())
            .any(|frame| frame.seconds > 600.0);
        let step_ms = if long { HOUR_MS } else { STEP_MS };
        let setting = settings.group(mode, region);
        let place = settings.region(region);
        let host = HostRoom {
            cores: place.and_then(|place| place.host_cores),
            memory_bytes: place
                .and_then(|place| place.host_memory_gib)
                .map(|gib| gib * 1_073_741_824.0),
            transmit_bytes_per_second: place
                .and_then(|place| place.host_transmit_mbit)
                .map(|mbit| mbit * 125_000.0),
        };
        let series: Vec<Series<'_>> = there()
            .map(|server| Series {
                server: &server.name,
                frames: &server.frames,
            })
            .collect();
        let facts = mode_facts(&series, mode, None, None);
        let of_mode = || there().filter(|server| server.runs == Runs::Yes && server.mode.as_deref() == mode);
        // The smallest limit: every server of the group holds as many.
        let limit = setting
            .and_then(|setting| setting.players_per_server)
            .or_else(|| {
                of_mode()
                    .filter_map(|server| server.most_players)
                    .filter(|most| *most > 0)
                    .min()
            });
        let size = server_size(limit, Some(&facts), &host, targets);
        let known = |configured: Option<std::time::Duration>, seen: Vec<f64>, assumed: f64| {
            match (configured, seen) {
                (Some(time), _) => Known {
                    seconds: time.as_secs_f64(),
                    basis: TimeBasis::Configured,
                },
                // A slow start is as usual as a fast one; the slowest of all is not.
                (None, seen) => quantile(&seen, 0.9).map_or(
                    Known {
                        seconds: assumed,
                        basis: TimeBasis::Assumed,
                    },
                    |seconds| Known {
                        seconds,
                        basis: TimeBasis::Measured,
                    },
                ),
            }
        };
        let all = |of: fn(&SeenServer) -> &Vec<f64>| of_mode().flat_map(of).copied().collect::<Vec<f64>>();
        Self {
            points: players(&group, servers, step_ms),
            step_ms,
            no_size_because: size.as_ref().err().map(ToString::to_string),
            size: size.ok(),
            host,
            transmit_per_player: per_player(&facts),
            servers: of_mode()
                .map(|server| ServerNow {
                    name: server.name.clone(),
                    players: server.players,
                })
                .collect(),
            warm_up: known(
                setting.and_then(|setting| setting.warm_up),
                all(|server| &server.warm_ups),
                ASSUMED_WARM_UP_SECONDS,
            ),
            cool_down: known(
                setting.and_then(|setting| setting.cool_down),
                all(|server| &server.cool_downs),
                ASSUMED_COOL_DOWN_SECONDS,
            ),
            group,
        }
    }

    /// The same of several hosts as one: players are summed on the longest of their steps, a server holds as many as the
    /// smallest does, and starts take as long as the slowest known. `None` where there are none.
    pub fn joined(group: Group, parts: &[Self]) -> Option<Self> {
        let step_ms = parts
            .iter()
            .map(|part| part.step_ms)
            .max()
            .filter(|step| *step > 0)?;
        let mut sums: BTreeMap<i64, f64> = BTreeMap::new();
        for part in parts {
            let mut own: BTreeMap<i64, (f64, f64)> = BTreeMap::new();
            for (at, players) in &part.points {
                let cell = own.entry(at.div_euclid(step_ms) * step_ms).or_default();
                cell.0 += players;
                cell.1 += 1.0;
            }
            for (at, (players, count)) in own {
                *sums.entry(at).or_default() += players / count;
            }
        }
        let smallest = parts.iter().filter_map(|part| part.size);
        let size = smallest.min_by_key(|size| size.players);
        // What was measured counts before what is only assumed.
        let slowest = |of: fn(&Self) -> Known| {
            parts.iter().map(of).max_by(|a, b| {
                let known = |one: &Known| one.basis != TimeBasis::Assumed;
                known(a).cmp(&known(b)).then(a.seconds.total_cmp(&b.seconds))
            })
        };
        let first = parts.first()?;
        Some(Self {
            group,
            step_ms,
            points: sums.into_iter().collect(),
            size,
            no_size_because: parts
                .iter()
                .find_map(|part| part.no_size_because.clone())
                .filter(|_| size.is_none()),
            host: first.host,
            transmit_per_player: parts
                .iter()
                .filter_map(|part| part.transmit_per_player)
                .max_by(f64::total_cmp),
            servers: parts.iter().flat_map(|part| part.servers.clone()).collect(),
            warm_up: slowest(|part| part.warm_up)?,
            cool_down: slowest(|part| part.cool_down)?,
        })
    }

    /// All that a plan is made of.
    ///
    /// # Errors
    /// When something is not known, in words.
    pub fn facts(self, settings: &Settings<'_>, hours: Hours, costs: Costs) -> Result<GroupFacts, String> {
        let demand = demand_of(&self.group, &self.points, self.step_ms, &settings.calendar, hours)?;
        let size = self.size.ok_or_else(|| {
            let why = self.no_size_because.clone();
            why.unwrap_or_else(|| super::capacity::CapacityError::Unknown.to_string())
        })?;
        let (mode, region) = (self.group.mode.as_deref(), self.group.region.as_deref());
        let setting = settings.advice.group(mode, region);
        Ok(GroupFacts {
            demand,
            size,
            host: self.host,
            transmit_per_player: self.transmit_per_player,
            bounds: setting.map_or_else(Bounds::default, |setting| Bounds {
                least: setting.least,
                most: setting.most,
            }),
            prices: (costs == Costs::Told).then(|| settings.advice.prices_in(region).into()),
            servers: self.servers,
            warm_up: self.warm_up,
            cool_down: self.cool_down,
        })
    }
}

fn per_player(facts: &ModeFacts) -> Option<f64> {
    facts
        .transmit_bytes_per_second
        .map(|cost| cost.per_player.value.max(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::advice::capacity::BoundBy;

    #[test]
    fn hosts_are_summed_on_the_longest_step_and_the_smallest_server_counts() {
        let part =
            |step_ms: i64, points: Vec<(i64, f64)>, size: Option<u32>, warm_up: f64, basis| SeenGroup {
                group: Group::new(Some("duel"), None),
                step_ms,
                points,
                size: size.map(|players| ServerSize {
                    players,
                    bound_by: BoundBy::Limit,
                    takes: HostRoom::default(),
                }),
                no_size_because: size.is_none().then(|| "nobody told".to_owned()),
                host: HostRoom::default(),
                transmit_per_player: None,
                servers: vec![ServerNow {
                    name: "a".into(),
                    players: Some(1),
                }],
                warm_up: Known {
                    seconds: warm_up,
                    basis,
                },
                cool_down: Known { seconds: 1.0, basis },
            };
        let hourly = part(
            HOUR_MS,
            vec![(0, 10.0), (HOUR_MS, 20.0)],
            Some(30),
            50.0,
            TimeBasis::Measured,
        );
        let fine = part(
            STEP_MS,
            vec![(0, 1.0), (STEP_MS, 3.0), (HOUR_MS, 5.0)],
            Some(20),
            120.0,
            TimeBasis::Assumed,
        );
        let group = Group::new(Some("duel"), None);
        let joined = SeenGroup::joined(group.clone(), &[hourly, fine.clone()]).unwrap();
        assert_eq!(joined.points, [(0, 12.0), (HOUR_MS, 25.0)]);
        assert_eq!(joined.size.unwrap().players, 20);
        assert_eq!((joined.servers.len(), joined.warm_up.seconds), (2, 50.0));
        assert_eq!(SeenGroup::joined(group.clone(), &[]), None);
        let nameless = SeenGroup {
            size: None,
            no_size_because: Some("nobody told".into()),
            ..fine
        };
        let joined = SeenGroup::joined(group, &[nameless]).unwrap();
        assert_eq!(joined.no_size_because.as_deref(), Some("nobody told"));
    }
}
