//! Which region players go to and how many servers run there: an optimisation problem, solved exactly. Not here: where
//! players are, what regions cost and how far they are (whoever asks).

use good_lp::{
    Expression, ProblemVariables, ResolutionError, Solution, SolverModel, Variable, constraint,
    default_solver, variable,
};
use serde::{Deserialize, Serialize};

use super::experience::Targets;

/// Sites that are asked for at once: infeasibility is told by going through their subsets.
pub const MOST_SITES: usize = 12;
/// Origins that are asked for at once.
pub const MOST_ORIGINS: usize = 200;

/// Where players come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Region of the players.
    pub region: String,
    /// How many.
    pub players: u32,
}

/// Where servers may run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Site {
    /// Region of the servers.
    pub region: String,
    /// Players that a server holds.
    pub seats: u32,
    /// Servers that may run there.
    pub most_servers: u32,
    /// Of one server for an hour.
    pub server_hour: f64,
    /// Of one player's traffic for an hour.
    pub player_hour: f64,
}

/// Round trip between two regions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Distance {
    /// Of players.
    pub from: String,
    /// Of servers.
    pub to: String,
    /// Milliseconds.
    pub rtt_ms: f64,
}

/// The question.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Question {
    /// Players.
    pub origins: Vec<Origin>,
    /// Servers.
    pub sites: Vec<Site>,
    /// Distances; a pair that is missing is not used, within a region it counts as 0.
    pub distances: Vec<Distance>,
    /// What a millisecond above the wanted round trip is worth for a player and an hour. Absent: 100 ms are worth a player's
    /// share of a server.
    pub penalty_per_ms: Option<f64>,
}

/// Players of one region on servers of another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sent {
    /// From.
    pub from: String,
    /// To.
    pub to: String,
    /// How many.
    pub players: u32,
    /// How far.
    pub rtt_ms: f64,
}

/// Servers of one region.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placed {
    /// Where.
    pub region: String,
    /// How many.
    pub servers: u32,
    /// Players on them.
    pub players: u32,
}

/// The answer: no other costs less.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Placement {
    /// Servers.
    pub placed: Vec<Placed>,
    /// Players.
    pub sent: Vec<Sent>,
    /// Of servers and traffic, for an hour.
    pub cost_per_hour: f64,
    /// What round trips above the wanted ones count for, an hour.
    pub penalty_per_hour: f64,
    /// Mean round trip.
    pub mean_rtt_ms: Option<f64>,
    /// Pairs that were not used because nobody says how far they are.
    pub unknown_distances: Vec<(String, String)>,
}

/// Why there is no placement.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PlacementError {
    /// No sites, or too much.
    #[error(
        "a placement needs 1 to {MOST_SITES} regions with servers and up to {MOST_ORIGINS} with players, not {sites} and {origins}"
    )]
    Size {
        /// Sites.
        sites: usize,
        /// Origins.
        origins: usize,
    },
    /// A figure that cannot be.
    #[error("{what} of `{region}` is {value}: it must be a number and not negative")]
    Figure {
        /// Which.
        what: &'static str,
        /// Where.
        region: String,
        /// How it stands.
        value: f64,
    },
    /// Named twice.
    #[error("`{0}` is named twice")]
    Twice(String),
    /// Nobody is near enough.
    #[error(
        "latency: no region with servers is within {longest_ms} ms of players in `{region}` ({nearest}); ask for another experience, or add a region or its latency"
    )]
    TooFar {
        /// Of the players.
        region: String,
        /// Limit.
        longest_ms: f64,
        /// What is nearest.
        nearest: String,
    },
    /// Not enough servers.
    #[error(
        "capacity: {players} players from {origins} can only go to {sites}, which have {seats} seats with all servers they may run; raise most_servers there, or ask for another experience"
    )]
    TooFew {
        /// Who.
        players: u64,
        /// From where.
        origins: String,
        /// Where to.
        sites: String,
        /// Seats there.
        seats: u64,
    },
    /// The solver gave up.
    #[error("the solver found no answer: {0}")]
    Solver(String),
}

struct Pair {
    origin: usize,
    site: usize,
    rtt_ms: f64,
}

fn check(question: &Question) -> Result<(), PlacementError> {
    let (sites, origins) = (question.sites.len(), question.origins.len());
    if !(1..=MOST_SITES).contains(&sites) || origins > MOST_ORIGINS {
        return Err(PlacementError::Size { sites, origins });
    }
    let mut names = std::collections::HashSet::new();
    for site in &question.sites {
        if !names.insert(("site", &site.region)) {
            return Err(PlacementError::Twice(site.region.clone()));
        }
        for (what, value) in [
            ("price of a server", site.server_hour),
            ("price of traffic", site.player_hour),
        ] {
            figure(what, &site.region, value)?;
        }
    }
    for origin in &question.origins {
        if !names.insert(("origin", &origin.region)) {
            return Err(PlacementError::Twice(origin.region.clone()));
        }
    }
    for distance in &question.distances {
        figure("latency", &distance.from, distance.rtt_ms)?;
    }
    if let Some(penalty) = question.penalty_per_ms {
        figure("penalty", "latency", penalty)?;
    }
    Ok(())
}

fn figure(what: &'static str, region: &str, value: f64) -> Result<(), PlacementError> {
    match value.is_finite() && value >= 0.0 {
        true => Ok(()),
        false => Err(PlacementError::Figure {
            what,
            region: region.to_owned(),
            value,
        }),
    }
}

fn distance(question: &Question, from: &str, to: &str) -> Option<f64> {
    let told = question
        .distances
        .iter()
        .find(|told| told.from == from && told.to == to);
    told.map(|told| told.rtt_ms).or((from == to).then_some(0.0))
}

/// What a player at such a distance costs an hour beside the servers.
fn penalty(question: &Question, targets: &Targets, rtt_ms: f64) -> f64 {
    let share = |site: &Site| site.server_hour / f64::from(site.seats.max(1)) / 100.0;
    let usual = question.sites.iter().map(share).fold(0.0, f64::max);
    // Where nothing has a price, distance alone decides.
    let per_ms = question
        .penalty_per_ms
        .unwrap_or(if usual > 0.0 { usual } else { 0.001 });
    per_ms * (rtt_ms - targets.wanted_rtt_ms).max(0.0)
}

/// Finds the placement that costs least, round trips above the wanted ones counted as costs.
///
/// # Errors
/// When there is none, with the constraint that cannot be met.
pub fn place(question: &Question, targets: &Targets) -> Result<Placement, PlacementError> {
    check(question)?;
    let mut pairs = Vec::new();
    let mut unknown_distances = Vec::new();
    for (origin, from) in question.origins.iter().enumerate() {
        for (site, to) in question.sites.iter().enumerate() {
            match distance(question, &from.region, &to.region) {
                Some(rtt_ms) if rtt_ms <= targets.longest_rtt_ms => pairs.push(Pair { origin, site, rtt_ms }),
                Some(_) => {}
                None => unknown_distances.push((from.region.clone(), to.region.clone())),
            }
        }
    }
    feasible(question, targets, &pairs)?;
    let mut variables = ProblemVariables::new();
    let servers: Vec<Variable> = question
        .sites
        .iter()
        .map(|site| variables.add(variable().integer().min(0).max(f64::from(site.most_servers))))
        .collect();
    let sent: Vec<Variable> = pairs.iter().map(|_| variables.add(variable().min(0))).collect();
    let mut cost = Expression::from(0.0);
    for (count, site) in servers.iter().zip(&question.sites) {
        // Of answers that cost the same the one with fewer servers: a tiny price where there is none.
        cost += site.server_hour.max(1e-6) * *count;
    }
    for (players, pair) in sent.iter().zip(&pairs) {
        let each = question.sites[pair.site].player_hour + penalty(question, targets, pair.rtt_ms);
        cost += each * *players;
    }
    let mut model = variables.minimise(cost).using(default_solver);
    for (index, origin) in question.origins.iter().enumerate() {
        let all: Expression = sent_by(&sent, &pairs, |pair| pair.origin == index);
        if origin.players > 0 {
            model = model.with(constraint!(all == f64::from(origin.players)));
        }
    }
    for (index, site) in question.sites.iter().enumerate() {
        let all: Expression = sent_by(&sent, &pairs, |pair| pair.site == index);
        model = model.with(constraint!(all <= f64::from(site.seats) * servers[index]));
        // Implied, and makes the search short: a region that is used at all has a server.
        for (players, pair) in sent.iter().zip(&pairs).filter(|(_, pair)| pair.site == index) {
            let most = f64::from(question.origins[pair.origin].players);
            model = model.with(constraint!(*players <= most * servers[index]));
        }
    }
    let solution = model
        .solve()
        .map_err(|error: ResolutionError| PlacementError::Solver(error.to_string()))?;
    Ok(answer(question, targets, &pairs, unknown_distances, |index| {
        whole(solution.value(sent[index]))
    }))
}

fn sent_by(sent: &[Variable], pairs: &[Pair], wanted: impl Fn(&Pair) -> bool) -> Expression {
    let chosen = sent.iter().zip(pairs).filter(|(_, pair)| wanted(pair));
    chosen.map(|(players, _)| *players).sum()
}

/// With whole servers the flow of whole players is whole but for rounding in the solver.
fn whole(value: f64) -> u32 {
    value.round().max(0.0) as u32
}

fn answer(
    question: &Question,
    targets: &Targets,
    pairs: &[Pair],
    unknown_distances: Vec<(String, String)>,
    players_of: impl Fn(usize) -> u32,
) -> Placement {
    let mut on = vec![0u32; question.sites.len()];
    let (mut cost, mut penalties, mut rtt, mut all) = (0.0, 0.0, 0.0, 0.0);
    let mut sent = Vec::new();
    for (index, pair) in pairs.iter().enumerate() {
        let players = players_of(index);
        if players == 0 {
            continue;
        }
        on[pair.site] += players;
        let count = f64::from(players);
        cost += count * question.sites[pair.site].player_hour;
        penalties += count * penalty(question, targets, pair.rtt_ms);
        rtt += count * pair.rtt_ms;
        all += count;
        sent.push(Sent {
            from: question.origins[pair.origin].region.clone(),
            to: question.sites[pair.site].region.clone(),
            players,
            rtt_ms: pair.rtt_ms,
        });
    }
    let placed = question.sites.iter().zip(&on).map(|(site, players)| Placed {
        region: site.region.clone(),
        servers: players.div_ceil(site.seats.max(1)),
        players: *players,
    });
    let placed: Vec<Placed> = placed.collect();
    let servers = placed.iter().zip(&question.sites);
    cost += servers
        .map(|(placed, site)| f64::from(placed.servers) * site.server_hour)
        .sum::<f64>();
    Placement {
        placed,
        sent,
        cost_per_hour: cost,
        penalty_per_hour: penalties,
        mean_rtt_ms: (all > 0.0).then(|| rtt / all),
        unknown_distances,
    }
}

/// Names the constraint that cannot be met: for every choice of sites, those who can go nowhere else must fit there.
fn feasible(question: &Question, targets: &Targets, pairs: &[Pair]) -> Result<(), PlacementError> {
    let mut reach = vec![0u32; question.origins.len()];
    for pair in pairs {
        reach[pair.origin] |= 1 << pair.site;
    }
    for (origin, reach) in question.origins.iter().zip(&reach) {
        if *reach == 0 && origin.players > 0 {
            return Err(PlacementError::TooFar {
                region: origin.region.clone(),
                longest_ms: targets.longest_rtt_ms,
                nearest: nearest(question, &origin.region),
            });
        }
    }
    let mut worst: Option<(u32, u64, u64)> = None;
    for chosen in 1u32..1 << question.sites.len() {
        let seats: u64 = question
            .sites
            .iter()
            .enumerate()
            .filter(|(index, _)| chosen >> index & 1 == 1)
            .map(|(_, site)| u64::from(site.seats) * u64::from(site.most_servers))
            .sum();
        let bound = question
            .origins
            .iter()
            .zip(&reach)
            .filter(|(_, reach)| **reach & !chosen == 0);
        let players: u64 = bound.map(|(origin, _)| u64::from(origin.players)).sum();
        // The smallest choice says most clearly what is missing.
        let smaller = worst.is_none_or(|(before, _, _)| chosen.count_ones() < before.count_ones());
        if players > seats && smaller {
            worst = Some((chosen, players, seats));
        }
    }
    let Some((chosen, players, seats)) = worst else {
        return Ok(());
    };
    let names = |names: Vec<&str>| names.join(", ");
    Err(PlacementError::TooFew {
        players,
        seats,
        origins: names(
            question
                .origins
                .iter()
                .zip(&reach)
                .filter(|(origin, reach)| **reach & !chosen == 0 && origin.players > 0)
                .map(|(origin, _)| origin.region.as_str())
                .collect(),
        ),
        sites: names(
            question
                .sites
                .iter()
                .enumerate()
                .filter(|(index, _)| chosen >> index & 1 == 1)
                .map(|(_, site)| site.region.as_str())
                .collect(),
        ),
    })
}

fn nearest(question: &Question, from: &str) -> String {
    let known = question
        .sites
        .iter()
        .filter_map(|site| Some((distance(question, from, &site.region)?, &site.region)));
    known.min_by(|a, b| a.0.total_cmp(&b.0)).map_or_else(
        || "no latency from there is known".to_owned(),
        |(rtt_ms, region)| format!("`{region}` is nearest with {rtt_ms} ms"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::{advice::experience::Experience, simulate::Noise};

    fn targets() -> Targets {
        Experience::Responsive.targets()
    }

    fn case(noise: &mut Noise) -> Question {
        let mut upto = |most: u64| noise.bits() % most;
        let origins = (0..3).map(|index| Origin {
            region: format!("o{index}"),
            players: upto(5) as u32,
        });
        let origins: Vec<Origin> = origins.collect();
        let sites = (0..3).map(|index| Site {
            region: format!("s{index}"),
            seats: 1 + upto(4) as u32,
            most_servers: upto(4) as u32,
            server_hour: upto(8) as f64 / 4.0,
            player_hour: upto(3) as f64 / 10.0,
        });
        let sites: Vec<Site> = sites.collect();
        let mut distances = Vec::new();
        for from in 0..3 {
            for to in 0..3 {
                distances.push(Distance {
                    from: format!("o{from}"),
                    to: format!("s{to}"),
                    rtt_ms: 20.0 + upto(120) as f64,
                });
            }
        }
        Question {
            origins,
            sites,
            distances,
            penalty_per_ms: Some(0.01),
        }
    }

    /// Every way to send players.
    fn brute_force(question: &Question) -> Option<f64> {
        let ways = |players: u32| {
            let mut ways = Vec::new();
            for first in 0..=players {
                for second in 0..=players - first {
                    ways.push([first, second, players - first - second]);
                }
            }
            ways
        };
        let mut best: Option<f64> = None;
        for a in ways(question.origins[0].players) {
            for b in ways(question.origins[1].players) {
                for c in ways(question.origins[2].players) {
                    let mut cost = 0.0;
                    let mut possible = true;
                    for (index, site) in question.sites.iter().enumerate() {
                        let players = a[index] + b[index] + c[index];
                        let servers = players.div_ceil(site.seats);
                        possible &= servers <= site.most_servers;
                        cost += f64::from(servers) * site.server_hour + f64::from(players) * site.player_hour;
                        for (from, sent) in [a, b, c].iter().enumerate() {
                            let rtt = question.distances[from * 3 + index].rtt_ms;
                            possible &= sent[index] == 0 || rtt <= targets().longest_rtt_ms;
                            cost += f64::from(sent[index]) * penalty(question, &targets(), rtt);
                        }
                    }
                    if possible {
                        best = Some(best.map_or(cost, |best: f64| best.min(cost)));
                    }
                }
            }
        }
        best
    }

    #[test]
    fn it_equals_brute_force_on_a_hundred_small_cases_and_as_many_that_cannot_be() {
        let mut noise = Noise::new(11);
        let (mut solved, mut refused) = (0, 0);
        while solved < 100 {
            let question = case(&mut noise);
            match (place(&question, &targets()), brute_force(&question)) {
                (Ok(placement), Some(best)) => {
                    let found = placement.cost_per_hour + placement.penalty_per_hour;
                    assert!((found - best).abs() < 1e-4, "{found} for {best}: {question:?}");
                    let sent: u32 = placement.sent.iter().map(|sent| sent.players).sum();
                    assert_eq!(
                        sent,
                        question.origins.iter().map(|origin| origin.players).sum::<u32>()
                    );
                    solved += 1;
                }
                (Err(PlacementError::TooFar { .. } | PlacementError::TooFew { .. }), None) => refused += 1,
                (found, best) => panic!("{found:?} for {best:?}: {question:?}"),
            }
        }
        assert!(refused > 10, "{refused}");
    }

    #[test]
    fn what_cannot_be_met_is_named() {
        let mut question = Question {
            origins: vec![Origin {
                region: "eu".into(),
                players: 50,
            }],
            sites: vec![Site {
                region: "us".into(),
                seats: 10,
                most_servers: 4,
                server_hour: 1.0,
                player_hour: 0.0,
            }],
            distances: vec![Distance {
                from: "eu".into(),
                to: "us".into(),
                rtt_ms: 90.0,
            }],
            penalty_per_ms: None,
        };
        let told = |question: &Question, experience: Experience| {
            place(question, &experience.targets()).unwrap_err().to_string()
        };
        let far = told(&question, Experience::Smooth);
        assert!(
            far.contains("latency") && far.contains("`us` is nearest with 90 ms"),
            "{far}"
        );
        let few = told(&question, Experience::Responsive);
        assert!(
            few.contains("capacity") && few.contains("50 players from eu") && few.contains("40 seats"),
            "{few}"
        );
        question.distances.clear();
        assert!(told(&question, Experience::Smooth).contains("no latency from there is known"));
        question.sites[0].server_hour = f64::NAN;
        assert!(told(&question, Experience::Smooth).contains("price of a server"));
        question.sites.clear();
        assert!(told(&question, Experience::Smooth).contains("needs 1 to"));
    }
}
