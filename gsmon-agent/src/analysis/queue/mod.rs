//! What the matchmaking queue will need: matches, servers, CPU, memory and bandwidth, with intervals, and which running
//! servers can take them.
//!
//! Three answers are worked out and told as one: the best, one in which every server holds as few players as its capacity
//! allows and costs as much, and the opposite. `facts` reads costs and capacity out of frames. Not here: who waits
//! (`games::queue`).

pub mod facts;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::stats::Estimate;
pub use crate::games::queue::Waiting;

/// A number with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Best value.
    pub value: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl From<Estimate> for Interval {
    fn from(estimate: Estimate) -> Self {
        Self {
            value: estimate.value,
            low: estimate.low,
            high: estimate.high,
        }
    }
}

impl Interval {
    /// A number that is exactly known.
    pub fn exact(value: f64) -> Self {
        Self {
            value,
            low: value,
            high: value,
        }
    }

    fn add(self, other: Self) -> Self {
        Self {
            value: self.value + other.value,
            low: self.low + other.low,
            high: self.high + other.high,
        }
    }

    /// Nobody uses less than nothing.
    fn not_negative(self) -> Self {
        Self {
            value: self.value.max(0.0),
            low: self.low.max(0.0),
            high: self.high.max(0.0),
        }
    }
}

/// What a resource costs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Each further player.
    pub per_player: Interval,
    /// A server without players; absent where that cannot be told.
    pub base: Option<Interval>,
}

/// How many players a server holds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Holds {
    /// Best value.
    pub players: f64,
    /// As many are certain.
    pub low: f64,
    /// Not more than so many; absent where no upper end is known.
    pub high: Option<f64>,
}

impl Holds {
    /// A limit that is set.
    pub fn exactly(players: f64) -> Self {
        Self {
            players,
            low: players,
            high: Some(players),
        }
    }
}

/// What is known of a mode.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ModeFacts {
    /// Mode; absent: of all modes together, for those of which nothing else is known.
    pub mode: Option<Arc<str>>,
    /// Players of one match.
    pub players_per_match: Option<u32>,
    /// Players that a server of it holds.
    pub capacity: Option<Holds>,
    /// CPU, cores.
    pub cpu_cores: Option<Cost>,
    /// Resident memory.
    pub memory_bytes: Option<Cost>,
    /// From players.
    pub receive_bytes_per_second: Option<Cost>,
    /// To players.
    pub transmit_bytes_per_second: Option<Cost>,
}

/// A server that runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Running {
    /// Name.
    pub server: String,
    /// Mode that it plays; absent where nobody tells.
    pub mode: Option<Arc<str>>,
    /// Region that it is in; absent where nobody tells.
    pub region: Option<Arc<str>>,
    /// Players on it; absent where nobody tells, and then it takes none.
    pub players: Option<f64>,
    /// Players that it holds; absent: as others of its mode.
    pub capacity: Option<Holds>,
}

/// How sure it is that a server can take players.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fits {
    /// Nobody says that it plays this mode, or that it is in this region.
    Perhaps,
    /// Mode and region are those that are waited for.
    Certainly,
}

/// Players for a running server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Placed {
    /// Which.
    pub server: String,
    /// How many it can take, of those that wait.
    pub players: u32,
    /// How sure that is.
    pub fits: Fits,
}

/// A number of servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Servers {
    /// Best value.
    pub value: u32,
    /// As few may do.
    pub low: u32,
    /// As many may be needed; absent where no upper end is known.
    pub high: Option<u32>,
}

/// What one entry of the queue needs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EntryForecast {
    /// Who waits.
    pub waiting: Waiting,
    /// Matches, the last perhaps not full; absent where nobody says how many players one has.
    pub matches: Option<u32>,
    /// Running servers that can take some, in the best answer; those that only may fit take what is left.
    pub placed: Vec<Placed>,
    /// Players that no running server takes for certain.
    pub left: u32,
    /// Servers to start for them; absent where capacity is not known.
    pub new_servers: Option<Servers>,
    /// What all these players and servers add; a figure that nobody measured is absent.
    pub needs: Needs,
    /// What could not be told, and why.
    pub notes: Vec<String>,
}

/// Resources.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Needs {
    /// CPU, cores.
    pub cpu_cores: Option<Interval>,
    /// Resident memory.
    pub memory_bytes: Option<Interval>,
    /// From players.
    pub receive_bytes_per_second: Option<Interval>,
    /// To players.
    pub transmit_bytes_per_second: Option<Interval>,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QueueForecast {
    /// In the order of the queue.
    pub entries: Vec<EntryForecast>,
    /// Players who wait.
    pub players: u64,
    /// All of it; absent where one entry has none. Ends are added up: what is wrong of one entry is wrong of the others too.
    pub needs: Needs,
}

/// Which of the three answers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Case {
    Best,
    Tight,
    Roomy,
}

impl Case {
    fn holds(self, holds: Holds) -> f64 {
        match self {
            Self::Best => holds.players,
            Self::Tight => holds.low,
            Self::Roomy => holds.high.unwrap_or(f64::INFINITY),
        }
        .max(0.0)
    }
}

/// Whole matches of so many players that fit into a room; all of it where matches have no size.
fn whole(room: f64, players_per_match: Option<u32>) -> u32 {
    // A cast from a float ends at the largest number.
    let room = room.max(0.0) as u32;
    match players_per_match {
        Some(size) if size > 0 => room / size * size,
        _ => room,
    }
}

fn facts_of<'a>(modes: &'a [ModeFacts], mode: Option<&Arc<str>>) -> Option<&'a ModeFacts> {
    let exact = modes.iter().find(|facts| facts.mode.as_ref() == mode);
    exact.or_else(|| modes.iter().find(|facts| facts.mode.is_none()))
}

fn fits(entry: &Waiting, server: &Running) -> Option<Fits> {
    let one = |wanted: &Option<Arc<str>>, has: &Option<Arc<str>>| match (wanted, has) {
        (None, _) => Some(Fits::Certainly),
        (Some(wanted), Some(has)) => (wanted == has).then_some(Fits::Certainly),
        (Some(_), None) => Some(Fits::Perhaps),
    };
    Some(one(&entry.mode, &server.mode)?.min(one(&entry.region, &server.region)?))
}

/// Gives an entry's players to servers, the emptiest first, and takes their room away.
fn place(
    entry: &Waiting,
    facts: Option<&ModeFacts>,
    running: &[Running],
    rooms: &mut [f64],
    least: Fits,
) -> Vec<Placed> {
    let size = facts.and_then(|facts| facts.players_per_match);
    let mut order: Vec<(usize, Fits)> = running
        .iter()
        .enumerate()
        .filter_map(|(index, server)| Some((index, fits(entry, server).filter(|fits| *fits >= least)?)))
        .collect();
    order.sort_by(|a, b| b.1.cmp(&a.1).then(rooms[b.0].total_cmp(&rooms[a.0])));
    let mut left = entry.players;
    let mut placed = Vec::new();
    for (index, fits) in order {
        let players = left.min(whole(rooms[index], size));
        if players > 0 {
            rooms[index] -= f64::from(players);
            left -= players;
            placed.push(Placed {
                server: running[index].server.clone(),
                players,
                fits,
            });
        }
    }
    placed
}

fn taken(placed: &[Placed], least: Fits) -> u32 {
    let counted = placed.iter().filter(|placed| placed.fits >= least);
    counted.map(|placed| placed.players).sum()
}

/// Servers for players that are left; `None` where none holds a single match.
fn new_servers(left: u32, facts: &ModeFacts, case: Case) -> Option<u32> {
    let holds = whole(case.holds(facts.capacity?), facts.players_per_match);
    match (left, holds) {
        (0, _) => Some(0),
        (_, 0) => None,
        (left, holds) => Some(left.div_ceil(holds)),
    }
}

fn need(cost: Option<Cost>, players: u32, servers: Option<Servers>) -> Option<Interval> {
    let cost = cost?;
    let count = f64::from(players);
    let each = cost.per_player.not_negative();
    let of_players = Interval {
        value: each.value * count,
        low: each.low * count,
        high: each.high * count,
    };
    let of_servers = match (cost.base, servers) {
        (Some(base), Some(servers)) => {
            let base = base.not_negative();
            Interval {
                value: base.value * f64::from(servers.value),
                low: base.low * f64::from(servers.low),
                high: base.high * f64::from(servers.high.unwrap_or(servers.value)),
            }
        }
        _ => Interval::exact(0.0),
    };
    Some(of_players.add(of_servers))
}

/// What a queue needs, given what is known of modes and which servers run. Entries are served in their order.
pub fn predict_for_queue(queue: &[Waiting], modes: &[ModeFacts], running: &[Running]) -> QueueForecast {
    let rooms_of = |case: Case| -> Vec<f64> {
        let room = |server: &Running| {
            let usual = || facts_of(modes, server.mode.as_ref())?.capacity;
            let holds = server.capacity.or_else(usual)?;
            // Infinite room would take everybody in.
            let most = case.holds(holds).min(f64::from(u32::MAX));
            Some((most - server.players?).max(0.0))
        };
        running.iter().map(|server| room(server).unwrap_or(0.0)).collect()
    };
    let mut rooms = [Case::Best, Case::Tight, Case::Roomy].map(rooms_of);
    let entries: Vec<EntryForecast> = queue
        .iter()
        .map(|entry| {
            let facts = facts_of(modes, entry.mode.as_ref());
            let [best, tight, roomy] = &mut rooms;
            let placed = place(entry, facts, running, best, Fits::Perhaps);
            let in_tight = place(entry, facts, running, tight, Fits::Certainly);
            let in_roomy = place(entry, facts, running, roomy, Fits::Perhaps);
            let left = entry.players - taken(&placed, Fits::Certainly);
            forecast(
                entry,
                facts,
                placed,
                [
                    left,
                    entry.players - taken(&in_tight, Fits::Certainly),
                    entry.players - taken(&in_roomy, Fits::Perhaps),
                ],
            )
        })
        .collect();
    let total = |of: fn(&Needs) -> Option<Interval>| {
        let each = entries.iter().map(|entry| of(&entry.needs));
        each.reduce(|a, b| Some(a?.add(b?))).flatten()
    };
    QueueForecast {
        players: queue.iter().map(|entry| u64::from(entry.players)).sum(),
        needs: Needs {
            cpu_cores: total(|needs| needs.cpu_cores),
            memory_bytes: total(|needs| needs.memory_bytes),
            receive_bytes_per_second: total(|needs| needs.receive_bytes_per_second),
            transmit_bytes_per_second: total(|needs| needs.transmit_bytes_per_second),
        },
        entries,
    }
}

/// One entry, with the players that are left in the best, the tight and the roomy case.
fn forecast(
    entry: &Waiting,
    facts: Option<&ModeFacts>,
    placed: Vec<Placed>,
    [left, tight, roomy]: [u32; 3],
) -> EntryForecast {
    let mut notes = Vec::new();
    let nothing = ModeFacts::default();
    let known = facts.unwrap_or(&nothing);
    let size = known.players_per_match.filter(|size| *size > 0);
    if size.is_none() {
        notes.push(
            "how many players a match has is not known: name it as players_per_match in [[queue.mode]]"
                .to_owned(),
        );
    }
    let servers = new_servers(left, known, Case::Best).map(|value| Servers {
        value,
        low: new_servers(roomy, known, Case::Roomy).unwrap_or(0).min(value),
        high: new_servers(tight, known, Case::Tight).map(|high| high.max(value)),
    });
    match (servers, known.capacity) {
        (Some(_), _) => {}
        (None, Some(_)) => notes.push("a server does not hold a single match".to_owned()),
        (None, None) => notes.push(
            "how many players a server holds is not known: give max_players to its [[server]]".to_owned(),
        ),
    }
    if servers.is_some_and(|servers| servers.high.is_none()) {
        notes.push(
            "as few as a server may hold is less than a match: how many servers are needed at most is not known, and the upper ends leave that out".to_owned(),
        );
    }
    let costs = [
        ("CPU", known.cpu_cores),
        ("memory", known.memory_bytes),
        ("bandwidth", known.transmit_bytes_per_second),
    ];
    for (what, cost) in costs {
        match cost {
            None => notes.push(format!("what players cost in {what} is not known yet")),
            Some(cost) if cost.base.is_none() && servers.is_some_and(|servers| servers.value > 0) => {
                notes.push(format!(
                    "what a server without players costs in {what} is not known and left out"
                ));
            }
            Some(_) => {}
        }
    }
    let needs = |cost| need(cost, entry.players, servers);
    EntryForecast {
        waiting: entry.clone(),
        matches: size.map(|size| entry.players.div_ceil(size)),
        placed,
        left,
        new_servers: servers,
        needs: Needs {
            cpu_cores: needs(known.cpu_cores),
            memory_bytes: needs(known.memory_bytes),
            receive_bytes_per_second: needs(known.receive_bytes_per_second),
            transmit_bytes_per_second: needs(known.transmit_bytes_per_second),
        },
        notes,
    }
}

#[cfg(test)]
mod tests;
