//! Players who come and go, servers that need time to start, and a policy that starts and stops them: what would have
//! happened. Pure: visits in, outcome out. Not here: where visits come from (`visits`), and what advice would have wanted
//! (`advised`).

pub mod advised;
pub mod compare;
pub mod visits;

use serde::{Deserialize, Serialize};

use self::visits::Visit;

/// What holds for servers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rules {
    /// Players that a server holds, at least 1.
    pub seats: u32,
    /// Steps from the order to start to the first player.
    pub warm_up_steps: u32,
    /// Length of a step.
    pub step_seconds: f64,
    /// Servers that always run.
    pub least_servers: u32,
    /// Servers that may run.
    pub most_servers: u32,
}

/// Who decides.
#[derive(Clone, Copy, Debug)]
pub enum Policy<'a> {
    /// Agones' Buffer: so many servers without players, started or starting.
    Buffer(u32),
    /// Seats, for each step.
    Seats {
        /// Servers are started until they have so many seats.
        start_below: &'a [f64],
        /// An empty one is stopped while the others have so many seats without it.
        stop_above: &'a [f64],
    },
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Time that players were there or wanted to be.
    pub wanted_player_minutes: f64,
    /// Of it: without a seat.
    pub unserved_player_minutes: f64,
    /// Time of servers, from the order to start to the end.
    pub server_hours: f64,
    /// Of it: without players, warm-up included.
    pub idle_server_hours: f64,
    /// Starts.
    pub starts: u64,
}

impl Outcome {
    /// Share of the time that players wanted in which they had no seat.
    pub fn unserved_ratio(&self) -> f64 {
        match self.wanted_player_minutes > 0.0 {
            true => self.unserved_player_minutes / self.wanted_player_minutes,
            false => 0.0,
        }
    }

    /// Both together.
    pub fn and(self, other: Self) -> Self {
        Self {
            wanted_player_minutes: self.wanted_player_minutes + other.wanted_player_minutes,
            unserved_player_minutes: self.unserved_player_minutes + other.unserved_player_minutes,
            server_hours: self.server_hours + other.server_hours,
            idle_server_hours: self.idle_server_hours + other.idle_server_hours,
            starts: self.starts + other.starts,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Server {
    ready_at: usize,
    players: u32,
}

/// Where a visitor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seat {
    Waiting,
    On(usize),
    Gone,
}

/// Replays visits in the steps of `counted`; everything before it only fills the servers. Players go to the fullest server
/// that has room, as Agones' packed allocation does, and wait in line where none has. A server with players is never
/// stopped.
pub fn replay(
    visits: &[Visit],
    counted: std::ops::Range<usize>,
    rules: &Rules,
    policy: Policy<'_>,
) -> Outcome {
    let seats = rules.seats.max(1);
    let mut leaving: Vec<Vec<u32>> = vec![Vec::new(); counted.end];
    let mut coming: Vec<Vec<u32>> = vec![Vec::new(); counted.end];
    // What begins before the replay is there at its start.
    for (id, visit) in visits.iter().enumerate() {
        let id = u32::try_from(id).unwrap_or(u32::MAX);
        if visit.to_step > visit.from_step && visit.from_step < counted.end {
            coming[visit.from_step].push(id);
            if visit.to_step < counted.end {
                leaving[visit.to_step].push(id);
            }
        }
    }
    let mut seat = vec![Seat::Gone; visits.len()];
    let mut servers: Vec<Option<Server>> = Vec::new();
    let mut waiting: std::collections::VecDeque<u32> = std::collections::VecDeque::new();
    let mut outcome = Outcome::default();
    for step in 0..counted.end {
        for id in &leaving[step] {
            if let Seat::On(server) = seat[*id as usize]
                && let Some(server) = servers[server].as_mut()
            {
                server.players -= 1;
            }
            seat[*id as usize] = Seat::Gone;
        }
        waiting.retain(|id| seat[*id as usize] == Seat::Waiting);
        for id in &coming[step] {
            seat[*id as usize] = Seat::Waiting;
            waiting.push_back(*id);
        }
        while let Some(id) = waiting.front() {
            let Some(server) = fullest_with_room(&servers, seats, step) else {
                break;
            };
            seat[*id as usize] = Seat::On(server);
            if let Some(server) = servers[server].as_mut() {
                server.players += 1;
            }
            waiting.pop_front();
        }
        let starts = decide(&mut servers, step, rules, policy);
        if counted.contains(&step) {
            let there = || servers.iter().flatten();
            let seated: u32 = there().map(|server| server.players).sum();
            let (minutes, hours) = (rules.step_seconds / 60.0, rules.step_seconds / 3_600.0);
            outcome.wanted_player_minutes += (f64::from(seated) + waiting.len() as f64) * minutes;
            outcome.unserved_player_minutes += waiting.len() as f64 * minutes;
            outcome.server_hours += there().count() as f64 * hours;
            outcome.idle_server_hours += there().filter(|server| server.players == 0).count() as f64 * hours;
            outcome.starts += starts;
        }
    }
    outcome
}

fn fullest_with_room(servers: &[Option<Server>], seats: u32, step: usize) -> Option<usize> {
    servers
        .iter()
        .enumerate()
        .filter_map(|(index, server)| Some((index, server.as_ref()?)))
        .filter(|(_, server)| server.ready_at <= step && server.players < seats)
        .max_by_key(|(index, server)| (server.players, std::cmp::Reverse(*index)))
        .map(|(index, _)| index)
}

/// Starts and stops; answers how many were started.
fn decide(servers: &mut Vec<Option<Server>>, step: usize, rules: &Rules, policy: Policy<'_>) -> u64 {
    let count = |servers: &[Option<Server>]| servers.iter().flatten().count() as u64;
    let empty = |servers: &[Option<Server>]| {
        let empty = servers.iter().flatten().filter(|server| server.players == 0);
        empty.count() as u64
    };
    let seats = f64::from(rules.seats.max(1));
    let running = count(servers);
    let (least, most) = (u64::from(rules.least_servers), u64::from(rules.most_servers));
    let wanted = match policy {
        Policy::Buffer(ready) => running - empty(servers) + u64::from(ready),
        Policy::Seats {
            start_below,
            stop_above,
        } => {
            let at = |wish: &[f64]| wish.get(step).or(wish.last()).copied().unwrap_or(0.0);
            let needed = |wish: f64| (wish.max(0.0) / seats - 1e-9).ceil().max(0.0) as u64;
            let (up, down) = (needed(at(start_below)), needed(at(stop_above)));
            running.max(up).min(down.max(up))
        }
    };
    let wanted = wanted.clamp(least, most.max(least));
    let mut started = 0;
    for _ in running..wanted {
        started += 1;
        let server = Some(Server {
            ready_at: step + rules.warm_up_steps as usize,
            players: 0,
        });
        match servers.iter().position(Option::is_none) {
            Some(place) => servers[place] = server,
            None => servers.push(server),
        }
    }
    for _ in wanted..running {
        // The one that would be ready last is of the least use.
        let emptied = servers
            .iter()
            .enumerate()
            .filter_map(|(index, server)| Some((index, server.as_ref()?)))
            .filter(|(_, server)| server.players == 0)
            .max_by_key(|(index, server)| (server.ready_at.max(step), *index))
            .map(|(index, _)| index);
        let Some(index) = emptied else { break };
        servers[index] = None;
    }
    started
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rules(seats: u32, warm_up_steps: u32) -> Rules {
        Rules {
            seats,
            warm_up_steps,
            step_seconds: 60.0,
            least_servers: 0,
            most_servers: 1_000,
        }
    }

    fn visits(of: &[(usize, usize)]) -> Vec<Visit> {
        of.iter()
            .map(|(from_step, to_step)| Visit {
                from_step: *from_step,
                to_step: *to_step,
            })
            .collect()
    }

    #[test]
    fn without_a_buffer_the_first_player_is_never_served() {
        let outcome = replay(&visits(&[(10, 20)]), 0..30, &rules(10, 2), Policy::Buffer(0));
        assert_eq!(outcome.unserved_player_minutes, 10.0);
        assert_eq!(outcome.server_hours, 0.0);
    }

    #[test]
    fn a_buffer_costs_what_stands_idle_and_serves_at_once() {
        let outcome = replay(&visits(&[(10, 20)]), 0..30, &rules(10, 2), Policy::Buffer(1));
        assert_eq!(outcome.unserved_player_minutes, 0.0);
        assert_eq!(outcome.wanted_player_minutes, 10.0);
        // One is always ready; ten minutes long another one is played on.
        assert!((outcome.idle_server_hours - 0.5).abs() < 1e-9, "{outcome:?}");
        assert!((outcome.server_hours - 40.0 / 60.0).abs() < 1e-9);
    }

    #[test]
    fn warm_up_makes_players_wait_and_who_knows_before_starts_early() {
        let wish: Vec<f64> = (0..30)
            .map(|step| f64::from(u8::from((10..20).contains(&step))))
            .collect();
        let early: Vec<f64> = (0..30)
            .map(|step| f64::from(u8::from((7..20).contains(&step))))
            .collect();
        let late = replay(
            &visits(&[(10, 20)]),
            0..30,
            &rules(10, 3),
            Policy::Seats {
                start_below: &wish,
                stop_above: &wish,
            },
        );
        assert_eq!(late.unserved_player_minutes, 3.0);
        let known = Policy::Seats {
            start_below: &early,
            stop_above: &early,
        };
        let early = replay(&visits(&[(11, 20)]), 0..30, &rules(10, 3), known);
        assert_eq!(early.unserved_player_minutes, 0.0);
    }

    proptest! {
        #[test]
        fn everybody_is_served_or_counted_and_nobody_is_thrown_out(
            raw in proptest::collection::vec((0usize..60, 1usize..40), 0..80),
            seats in 1u32..8,
            warm_up in 0u32..10,
            buffer in 0u32..4,
        ) {
            let visits: Vec<Visit> = raw.iter().map(|(from, length)| Visit { from_step: *from, to_step: from + length }).collect();
            let outcome = replay(&visits, 0..100, &rules(seats, warm_up), Policy::Buffer(buffer));
            let wanted: usize = visits.iter().map(|visit| visit.to_step - visit.from_step).sum();
            prop_assert!((outcome.wanted_player_minutes - wanted as f64).abs() < 1e-6);
            prop_assert!(outcome.unserved_player_minutes <= outcome.wanted_player_minutes);
            prop_assert!(outcome.idle_server_hours <= outcome.server_hours + 1e-9);
            // Served time fits into the seats of servers that are played on.
            let served = outcome.wanted_player_minutes - outcome.unserved_player_minutes;
            let busy = (outcome.server_hours - outcome.idle_server_hours) * 60.0 * f64::from(seats);
            prop_assert!(served <= busy + 1e-6);
            if buffer == 0 {
                prop_assert_eq!(outcome.server_hours, 0.0);
            }
        }

        #[test]
        fn never_more_servers_than_are_allowed(
            raw in proptest::collection::vec((0usize..40, 1usize..40), 0..60),
            most in 0u32..3,
        ) {
            let visits: Vec<Visit> = raw.iter().map(|(from, length)| Visit { from_step: *from, to_step: from + length }).collect();
            let rules = Rules { most_servers: most, ..rules(2, 1) };
            let outcome = replay(&visits, 0..60, &rules, Policy::Buffer(5));
            prop_assert!(outcome.server_hours <= f64::from(most) + 1e-9);
        }
    }
}
