//! Those who wait in the matchmaking queue, as demand of the next hour: they come as soon as there is a seat, whatever a
//! forecast of who comes otherwise says. Not here: the queue, and what its matches cost (`queue`).

use super::{GroupFacts, LeftAlone, demand::Group};
use crate::analysis::queue::Waiting;

/// As long as those who wait now are taken to want a seat.
const HOUR_MS: i64 = 3_600_000;

/// Adds players who wait to the demand of the group that they wait for; where they name no mode or region, to the busiest
/// that fits. Answers those whom no group fits.
pub fn add(groups: &mut [GroupFacts], queue: &[Waiting]) -> Vec<LeftAlone> {
    // By the forecast alone: who waits for one group makes it no busier than another.
    let busy: Vec<f64> = groups.iter().map(|facts| facts.demand.at(0.5, 0)).collect();
    let mut homeless = Vec::new();
    for entry in queue.iter().filter(|entry| entry.players > 0) {
        let (mode, region) = (entry.mode.as_deref(), entry.region.as_deref());
        let fits = |group: &Group| {
            (mode.is_none() || group.mode.as_deref() == mode)
                && (region.is_none() || group.region.as_deref() == region)
        };
        let busiest = groups
            .iter_mut()
            .zip(&busy)
            .filter(|(facts, _)| fits(&facts.demand.group))
            .max_by(|a, b| a.1.total_cmp(b.1));
        let Some((facts, _)) = busiest else {
            homeless.push(LeftAlone {
                group: Group::new(mode, region),
                why: format!(
                    "{} players wait in the queue, and no server is known that plays it",
                    entry.players
                ),
            });
            continue;
        };
        let demand = &mut facts.demand;
        let steps = usize::try_from(HOUR_MS / demand.step_ms.max(1))
            .unwrap_or(0)
            .max(1);
        for level in &mut demand.levels {
            for players in level.players.iter_mut().take(steps) {
                *players += f64::from(entry.players);
            }
        }
    }
    homeless
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::advice::{
        capacity::{BoundBy, HostRoom, ServerSize},
        demand::{Demand, DemandBasis, Level},
        experience::Experience,
        plan::{Bounds, Known, TimeBasis},
        recommend_scaling,
    };

    fn facts(mode: &str, region: &str, players: f64) -> GroupFacts {
        let known = Known {
            seconds: 60.0,
            basis: TimeBasis::Configured,
        };
        GroupFacts {
            demand: Demand {
                group: Group::new(Some(mode), Some(region)),
                start_unix_ms: 0,
                step_ms: 300_000,
                levels: vec![Level {
                    quantile: 0.95,
                    players: vec![players; 24],
                }],
                basis: DemandBasis::Forecast,
            },
            size: ServerSize {
                players: 10,
                bound_by: BoundBy::Limit,
                takes: HostRoom::default(),
            },
            host: HostRoom::default(),
            transmit_per_player: None,
            servers: Vec::new(),
            warm_up: known,
            cool_down: known,
            bounds: Bounds::default(),
            prices: None,
        }
    }

    fn waiting(mode: Option<&str>, region: Option<&str>, players: u32) -> Waiting {
        Waiting {
            mode: mode.map(Into::into),
            region: region.map(Into::into),
            players,
        }
    }

    #[test]
    fn who_waits_needs_servers_of_the_next_hour_and_no_others() {
        let mut groups = [
            facts("duel", "eu", 5.0),
            facts("duel", "us", 15.0),
            facts("race", "eu", 1.0),
        ];
        let queue = [
            waiting(Some("duel"), Some("eu"), 20),
            waiting(Some("duel"), None, 10),
            waiting(None, None, 0),
            waiting(Some("siege"), None, 4),
        ];
        let homeless = add(&mut groups, &queue);
        assert_eq!(homeless.len(), 1);
        assert!(homeless[0].why.contains("4 players wait"), "{homeless:?}");
        let at = |group: usize, step: usize| groups[group].demand.at(0.95, step);
        assert_eq!((at(0, 0), at(0, 11), at(0, 12)), (25.0, 25.0, 5.0));
        assert_eq!((at(1, 0), at(1, 12), at(2, 0)), (25.0, 15.0, 1.0));
        let advice = recommend_scaling(&groups, 2.0, Experience::Economical);
        let servers = |group: usize| &advice.groups[group].timetable.servers;
        assert_eq!((servers(0)[0], servers(0)[20]), (3, 1));
        assert_eq!(servers(2)[0], 1);
    }
}
