//! The timetable of one group: when servers are started and stopped, how many, why and how sure. Starts come early by the
//! warm-up, stops late by the cool-down, and a dip that is shorter than both together is sat out. Not here: who comes
//! (`demand`), what a server holds (`capacity`), what it costs (`cost`).

use serde::{Deserialize, Serialize};

use super::{
    capacity::ServerSize,
    demand::{Demand, Within},
    experience::Targets,
};

/// A server that runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServerNow {
    /// Name.
    pub name: String,
    /// Players on it; absent where nobody tells, and then it is taken for occupied.
    pub players: Option<u32>,
}

/// How a time is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeBasis {
    /// Seen.
    Measured,
    /// In the configuration.
    Configured,
    /// Neither: the default.
    Assumed,
}

/// A time and how it is known.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Known {
    /// Seconds.
    pub seconds: f64,
    /// How.
    pub basis: TimeBasis,
}

/// Servers that must and may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bounds {
    /// At least.
    pub least: u32,
    /// At most.
    pub most: u32,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            least: 0,
            most: 10_000,
        }
    }
}

/// All that a plan is made of.
#[derive(Clone, Copy, Debug)]
pub struct PlanInput<'a> {
    /// Who comes.
    pub demand: &'a Demand,
    /// What a server holds.
    pub size: &'a ServerSize,
    /// Servers that run.
    pub servers: &'a [ServerNow],
    /// From the order to the first player.
    pub warm_up: Known,
    /// From the last need to the stop.
    pub cool_down: Known,
    /// Servers that must and may run.
    pub bounds: Bounds,
    /// What is to be reached.
    pub targets: Targets,
}

/// Up or down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Start servers.
    SpinUp,
    /// Take servers away: empty ones stop, others drain.
    SpinDown,
}

/// A server to be taken away.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "do")]
pub enum TakeAway {
    /// Nobody is on it.
    Stop {
        /// Which.
        server: String,
    },
    /// Somebody may be on it: no new players, and a stop when the last has left.
    Drain {
        /// Which.
        server: String,
        /// Players on it, where that is known.
        players: Option<u32>,
        /// They would fit on those that stay.
        fits_elsewhere: bool,
    },
}

/// One line of the timetable.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// When the order is due.
    pub unix_ms: i64,
    /// What.
    pub action: Action,
    /// How many.
    pub count: u32,
    /// Servers after it.
    pub servers_after: u32,
    /// Why.
    pub why: String,
    /// How likely it is that without it there would be too few seats (up), or that with it there are enough (down).
    pub sure: Within,
    /// Which, for what is due now.
    pub which: Vec<TakeAway>,
}

/// The timetable.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Timetable {
    /// Servers at each step of the demand.
    pub servers: Vec<u32>,
    /// What to do.
    pub changes: Vec<Change>,
    /// What could not be followed, and why.
    pub notes: Vec<String>,
}

/// Why there is no plan.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum PlanError {
    /// More must than may run.
    #[error(
        "at least {least} servers must run, but {most} may at most: correct `least` and `most` in [[advice.group]]"
    )]
    Bounds {
        /// Must.
        least: u32,
        /// May.
        most: u32,
    },
    /// No length of time.
    #[error("{0} seconds are no warm-up or cool-down")]
    Time(f64),
}

fn servers_for(players: f64, seats: f64) -> u32 {
    (players / seats - 1e-9).ceil().max(0.0) as u32
}

/// Largest value within so many steps before and after each.
fn spread(values: &[u32], before: usize, after: usize) -> Vec<u32> {
    (0..values.len())
        .map(|at| {
            let window = at.saturating_sub(before)..(at + after + 1).min(values.len());
            values[window].iter().copied().max().unwrap_or(0)
        })
        .collect()
}

/// Makes a plan.
///
/// # Errors
/// When bounds contradict each other.
pub fn plan(input: &PlanInput<'_>) -> Result<Timetable, PlanError> {
    let Bounds { least, most } = input.bounds;
    if least > most {
        return Err(PlanError::Bounds { least, most });
    }
    for time in [input.warm_up.seconds, input.cool_down.seconds] {
        if !(0.0..=7.0 * 86_400.0).contains(&time) {
            return Err(PlanError::Time(time));
        }
    }
    let (demand, targets) = (input.demand, &input.targets);
    let seats = f64::from(input.size.players.max(1));
    let steps_in = |seconds: f64| (seconds * 1e3 / demand.step_ms as f64).ceil() as usize;
    let lead = steps_in((input.warm_up.seconds - targets.longest_wait_seconds).max(0.0));
    let trail = steps_in(input.cool_down.seconds);
    let need: Vec<u32> = (0..demand.steps())
        .map(|step| {
            let players = demand.at(targets.demand_quantile, step) * (1.0 + targets.spare_seats_ratio);
            servers_for(players, seats).max(targets.least_ready_servers)
        })
        .collect();
    let mut notes = Vec::new();
    let highest = need.iter().copied().max().unwrap_or(0);
    if highest > most {
        notes.push(format!(
            "{highest} servers would be needed at the peak, but {most} may run: some players will find no seat"
        ));
    }
    let bounded: Vec<u32> = need.iter().map(|count| (*count).clamp(least, most)).collect();
    let early_and_late = spread(&bounded, trail, lead);
    let running = u32::try_from(input.servers.len()).unwrap_or(u32::MAX);
    let servers = sit_out(&early_and_late, running, lead + trail);
    let mut changes = Vec::new();
    let mut now = running;
    for (step, count) in servers.iter().copied().enumerate() {
        if count != now {
            let until = servers[step..].iter().position(|later| *later != count);
            let until = until.map_or(servers.len(), |length| step + length);
            changes.push(change(input, step, until + lead, now, count));
            now = count;
        }
    }
    Ok(Timetable {
        servers,
        changes,
        notes,
    })
}

/// Fills dips that are no longer than so many steps. What runs now was needed just before.
fn sit_out(servers: &[u32], running: u32, longest: usize) -> Vec<u32> {
    // Of every stretch that is a step longer than what is sat out the highest: a longer dip has a stretch of its own.
    let highest: Vec<u32> = (0..servers.len() + longest)
        .map(|end| {
            let inside = end.saturating_sub(longest).min(servers.len())..(end + 1).min(servers.len());
            let before = if end < longest { running } else { 0 };
            servers[inside].iter().copied().fold(before, u32::max)
        })
        .collect();
    (0..servers.len())
        .map(|at| highest[at..=at + longest].iter().copied().min().unwrap_or(0))
        .collect()
}

fn change(input: &PlanInput<'_>, step: usize, until: usize, before: u32, after: u32) -> Change {
    let (demand, quantile) = (input.demand, input.targets.demand_quantile);
    let seats = f64::from(input.size.players.max(1));
    let until = until.clamp(step + 1, demand.steps());
    let fullest = (step..until)
        .max_by(|a, b| demand.at(quantile, *a).total_cmp(&demand.at(quantile, *b)))
        .unwrap_or(step);
    let players = demand.at(quantile, fullest);
    let percent = (quantile * 1_000.0).round() / 10.0;
    let minutes = (demand.unix_ms(fullest) - demand.unix_ms(step)) / 60_000;
    let comes = format!(
        "in {percent} % of cases at most {:.0} players come within {minutes} min",
        players.ceil()
    );
    let held = format!(
        "{} seats each, bound by {}",
        input.size.players,
        input.size.bound_by.words()
    );
    let within = |count: u32| demand.probability_within(f64::from(count) * seats, fullest);
    match after > before {
        true => Change {
            unix_ms: demand.unix_ms(step),
            action: Action::SpinUp,
            count: after - before,
            servers_after: after,
            why: format!(
                "{comes}; {before} servers have {:.0} seats ({held}); ordered {:.0} s before, as long as a start takes",
                f64::from(before) * seats,
                input.warm_up.seconds
            ),
            sure: within(before).opposite(),
            which: Vec::new(),
        },
        false => Change {
            unix_ms: demand.unix_ms(step),
            action: Action::SpinDown,
            count: before - after,
            servers_after: after,
            why: format!(
                "{comes}; {after} servers have {:.0} seats ({held}), and more are not needed again soon",
                f64::from(after) * seats
            ),
            sure: within(after),
            which: match step {
                0 => take_away(input.servers, (before - after) as usize, input.size.players),
                _ => Vec::new(),
            },
        },
    }
}

/// The emptiest first; those whose players nobody knows last.
fn take_away(servers: &[ServerNow], count: usize, seats: u32) -> Vec<TakeAway> {
    let mut emptiest: Vec<&ServerNow> = servers.iter().collect();
    emptiest.sort_by_key(|server| (server.players.unwrap_or(u32::MAX), server.name.as_str()));
    let (away, stay) = emptiest.split_at(count.min(emptiest.len()));
    let mut free: u64 = stay
        .iter()
        .filter_map(|server| Some(u64::from(seats.saturating_sub(server.players?))))
        .sum();
    away.iter()
        .map(|server| match server.players {
            Some(0) => TakeAway::Stop {
                server: server.name.clone(),
            },
            players => {
                let moved = players.map(u64::from).filter(|players| *players <= free);
                free -= moved.unwrap_or(0);
                TakeAway::Drain {
                    server: server.name.clone(),
                    players,
                    fits_elsewhere: moved.is_some(),
                }
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::analysis::advice::{
        capacity::{BoundBy, HostRoom},
        demand::{DemandBasis, Group, Level},
        experience::Experience,
    };

    const STEP_MS: i64 = 300_000;

    fn demand(players: &[f64]) -> Demand {
        let level = |quantile: f64, factor: f64| Level {
            quantile,
            players: players.iter().map(|players| players * factor).collect(),
        };
        Demand {
            group: Group::default(),
            start_unix_ms: 0,
            step_ms: STEP_MS,
            levels: vec![
                level(0.1, 0.8),
                level(0.5, 1.0),
                level(0.95, 1.2),
                level(0.99, 1.3),
            ],
            basis: DemandBasis::Forecast,
        }
    }

    fn size(players: u32) -> ServerSize {
        ServerSize {
            players,
            bound_by: BoundBy::Limit,
            takes: HostRoom::default(),
        }
    }

    fn servers(players: &[Option<u32>]) -> Vec<ServerNow> {
        let named = players.iter().enumerate();
        named
            .map(|(index, players)| ServerNow {
                name: format!("s{index}"),
                players: *players,
            })
            .collect()
    }

    fn minutes(minutes: f64) -> Known {
        Known {
            seconds: minutes * 60.0,
            basis: TimeBasis::Configured,
        }
    }

    fn planned(
        players: &[f64],
        running: &[ServerNow],
        bounds: Bounds,
        warm_up: f64,
        cool_down: f64,
    ) -> Timetable {
        plan(&PlanInput {
            demand: &demand(players),
            size: &size(10),
            servers: running,
            warm_up: minutes(warm_up),
            cool_down: minutes(cool_down),
            bounds,
            targets: Experience::Responsive.targets(),
        })
        .unwrap()
    }

    #[test]
    fn servers_start_early_by_the_warm_up_and_stop_late_by_the_cool_down() {
        let mut players = vec![8.0; 60];
        players[20..30].fill(80.0);
        let table = planned(
            &players,
            &servers(&[Some(8), Some(0)]),
            Bounds::default(),
            10.0,
            15.0,
        );
        let told: Vec<(i64, Action, u32)> = table
            .changes
            .iter()
            .map(|change| (change.unix_ms / STEP_MS, change.action, change.servers_after))
            .collect();
        // 8 * 1.2 * 1.05 players need two servers, 80 * 1.2 * 1.05 need eleven; a wait of 30 s is taken from the warm-up.
        assert_eq!(told, [(18, Action::SpinUp, 11), (33, Action::SpinDown, 2)]);
        assert!(
            table.changes[0].sure.probability() >= 0.9,
            "{:?}",
            table.changes[0].sure
        );
        assert!(table.changes[0].why.contains("97 players") || table.changes[0].why.contains("96 players"));
    }

    #[test]
    fn occupied_servers_drain_and_empty_ones_stop() {
        let running = servers(&[Some(9), None, Some(0), Some(1)]);
        let table = planned(&[5.0; 20], &running, Bounds::default(), 5.0, 5.0);
        let change = &table.changes[0];
        assert_eq!(
            (change.unix_ms, change.action, change.count),
            (0, Action::SpinDown, 3)
        );
        let drain = |server: &str, players, fits_elsewhere| TakeAway::Drain {
            server: server.into(),
            players,
            fits_elsewhere,
        };
        assert_eq!(change.which[0], TakeAway::Stop { server: "s2".into() });
        assert_eq!(change.which[1], drain("s3", Some(1), false));
        assert_eq!(change.which[2], drain("s0", Some(9), false));
    }

    #[test]
    fn bounds_hold_and_what_they_cost_is_said() {
        let bounds = Bounds { least: 2, most: 3 };
        let mut players = vec![1.0; 30];
        players[10..20].fill(90.0);
        let table = planned(&players, &servers(&[Some(1), Some(0)]), bounds, 5.0, 5.0);
        assert_eq!(table.servers.iter().min(), Some(&2));
        assert_eq!(table.servers.iter().max(), Some(&3));
        assert!(table.notes[0].contains("3 may run"), "{:?}", table.notes);
        let input = demand(&players);
        let wrong = plan(&PlanInput {
            demand: &input,
            size: &size(10),
            servers: &[],
            warm_up: minutes(1.0),
            cool_down: minutes(1.0),
            bounds: Bounds { least: 4, most: 3 },
            targets: Experience::Smooth.targets(),
        });
        assert_eq!(wrong, Err(PlanError::Bounds { least: 4, most: 3 }));
    }

    proptest! {
        #[test]
        fn seats_are_there_when_they_are_needed_and_nothing_flaps(
            players in proptest::collection::vec(0.0..200.0f64, 1..80),
            running in 0usize..20,
            warm_up in 0.0..40.0f64,
            cool_down in 0.0..40.0f64,
        ) {
            let table = planned(&players, &servers(&vec![Some(1); running]), Bounds::default(), warm_up, cool_down);
            let targets = Experience::Responsive.targets();
            for (step, count) in table.servers.iter().enumerate() {
                let need = (players[step] * 1.2 * (1.0 + targets.spare_seats_ratio) / 10.0 - 1e-9).ceil();
                prop_assert!(f64::from(*count) >= need, "{step}: {count} of {need}");
            }
            // After a stop no start for at least the warm-up and the cool-down.
            let least = ((warm_up - 0.5).max(0.0) + cool_down) * 60_000.0;
            for pair in table.changes.windows(2) {
                if pair[0].action == Action::SpinDown && pair[1].action == Action::SpinUp {
                    prop_assert!((pair[1].unix_ms - pair[0].unix_ms) as f64 >= least - STEP_MS as f64);
                }
            }
            let sum = table.changes.iter().fold(running as i64, |sum, change| match change.action {
                Action::SpinUp => sum + i64::from(change.count),
                Action::SpinDown => sum - i64::from(change.count),
            });
            prop_assert_eq!(sum, i64::from(*table.servers.last().unwrap()));
        }
    }
}
