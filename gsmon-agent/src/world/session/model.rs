//! Sessions and players of one server over time: the machine fed with each interval, and its picture.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    machine::{Life, Machine, Step},
    picture::{self, GameSnapshot, LifeDurations, PhaseDurations},
    players::{FlowPlayer, PlayerList},
    resources::{Moment, Resources},
    rooms::{self, NamedThreads, RoomCourse, RoomFigures},
    traffic::Matches,
};
use crate::{config::SessionBounds, games::event::GameEvent, kernel::SeenFlow, world::remote::RemoteFacts};

/// Rooms whose totals are kept, those included that threads are named after and nobody has spoken of.
const MOST_COURSES: usize = 2_048;

/// What one interval brought.
#[derive(Clone, Copy, Debug)]
pub struct GameInterval<'a> {
    /// Its end.
    pub unix_ms: i64,
    /// Its length.
    pub seconds: f64,
    /// Totals of the server at its end.
    pub totals: Resources,
    /// Resident memory at its end.
    pub rss_bytes: Option<u64>,
    /// Most that was resident at once in it.
    pub peak_rss_bytes: Option<u64>,
    /// What the game said, oldest first.
    pub events: &'a [GameEvent],
    /// The process.
    pub life: Life,
    /// Does it listen on a game port?
    pub listening: bool,
    /// Live flows; `None` without a kernel side.
    pub flows: Option<&'a [SeenFlow]>,
    /// Does the configuration say that players come through a proxy?
    pub proxied: bool,
    /// Threads that carry the name of a room.
    pub room_threads: &'a BTreeMap<Arc<str>, NamedThreads>,
    /// What is known of remote endpoints beyond their traffic.
    pub remotes: &'a RemoteFacts,
}

/// Sessions, phases and players of one server.
#[derive(Debug)]
pub struct SessionModel {
    machine: Machine,
    matches: Matches,
    previous: Option<(Resources, i64)>,
    last: GameSnapshot,
    /// What the lists of the last picture were made of.
    made_of: (u64, u64, usize, bool),
    /// Starts and stops of the last picture, since the beginning.
    lives: u64,
}

impl SessionModel {
    /// Nothing is known yet.
    pub fn new(bounds: SessionBounds, now_ms: i64) -> Self {
        Self {
            machine: Machine::new(bounds, now_ms),
            matches: Matches::default(),
            previous: None,
            last: GameSnapshot::default(),
            made_of: (0, 0, 0, false),
            lives: 0,
        }
    }

    /// What the game says of its own tick, while that is fresh.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// Adds totals in the middle of an interval: something has just happened whose cost begins or ends there.
    pub fn sample(&mut self, moment: &Moment) {
        self.machine.sample(moment);
    }

    /// Adds what threads that carry the name of a room have used since the last interval.
    pub fn sample_rooms(&mut self, unix_ms: i64, threads: &BTreeMap<Arc<str>, NamedThreads>) {
        let Some((_, since_ms)) = self.previous else {
            return;
        };
        let courses = &mut self.machine.room_courses;
        for name in threads.keys() {
            if !courses.contains_key(name) && courses.len() < MOST_COURSES {
                courses.insert(name.clone(), RoomCourse::new(since_ms));
            }
        }
        for (name, course) in courses {
            course.read_threads(unix_ms, threads.get(name).copied());
        }
    }

    /// Adds an interval and makes the picture.
    pub fn advance(&mut self, interval: &GameInterval<'_>) -> GameSnapshot {
        // Before anything is heard: sessions that end in this interval have used some of it.
        self.share_rooms(interval);
        let steady = interval.flows.map(|flows| self.steady_flows(flows, interval));
        let steady_count = steady.as_ref().map(|steady| steady.len() as u32);
        self.machine.advance(&Step {
            moment: Moment {
                unix_ms: interval.unix_ms,
                totals: interval.totals,
                rss_bytes: interval.rss_bytes,
                peak_rss_bytes: interval.peak_rss_bytes,
            },
            seconds: interval.seconds,
            events: interval.events,
            life: interval.life,
            flows: steady_count.filter(|_| !self.matches.proxied && !interval.proxied),
            listening: interval.listening,
        });
        self.matches.update(
            &self.machine.roster,
            interval.flows.unwrap_or_default(),
            interval.proxied,
            interval.seconds,
            interval.unix_ms,
        );
        self.picture(interval, steady)
    }

    /// Flows that may stand for players, where nobody names any.
    fn steady_flows(&self, flows: &[SeenFlow], interval: &GameInterval<'_>) -> Vec<FlowPlayer> {
        if self.machine.roster.speaks {
            return Vec::new();
        }
        let (seconds, unix_ms) = (interval.seconds, interval.unix_ms);
        let steady = |flow: &&SeenFlow| self.matches.steady_until(flow, seconds, unix_ms).is_some();
        // Nearly all of them are, most of the time.
        let mut players = Vec::with_capacity(flows.len());
        players.extend(flows.iter().filter(steady).map(FlowPlayer::from));
        players.shrink_to_fit();
        players
    }

    /// Gives rooms what the interval brought, by the players and the traffic of its beginning.
    fn share_rooms(&mut self, interval: &GameInterval<'_>) {
        let now_ms = interval.unix_ms;
        let before = self.previous.replace((interval.totals, now_ms));
        let threads = interval.room_threads;
        if self.machine.rooms.is_empty() && threads.is_empty() {
            self.machine.room_courses.clear();
            return;
        }
        let Some((before, since_ms)) = before else {
            return;
        };
        let mut figures: BTreeMap<Arc<str>, RoomFigures> = BTreeMap::new();
        for (name, track) in &self.machine.rooms {
            if track.session.is_some() || self.machine.present(Some(name)) > 0 {
                figures.insert(name.clone(), RoomFigures::default());
            }
        }
        for player in self.machine.roster.playing() {
            let Some(figures) = player.room.as_ref().and_then(|room| figures.get_mut(room)) else {
                continue;
            };
            figures.players += 1;
            if let Some(traffic) = self.matches.of(player.number) {
                // Rates of the last interval, as whole packets: only their proportion counts.
                figures.packets +=
                    (traffic.rx_packets_per_second + traffic.tx_packets_per_second).round() as u64;
            }
        }
        for (name, threads) in threads {
            // Those of rooms that nobody has spoken of included: what they used is shared among nobody.
            figures.entry(name.clone()).or_default().thread_cpu_ns = Some(threads.cpu_ns);
        }
        let shares = rooms::share(&interval.totals.since(&before), &figures);
        let machine = &mut self.machine;
        machine
            .room_courses
            .retain(|name, _| machine.rooms.contains_key(name) || threads.contains_key(name));
        for name in machine.rooms.keys().chain(threads.keys()) {
            if !machine.room_courses.contains_key(name) {
                if machine.room_courses.len() >= MOST_COURSES {
                    break;
                }
                machine
                    .room_courses
                    .insert(name.clone(), RoomCourse::new(since_ms));
            }
        }
        for (name, course) in &mut machine.room_courses {
            course.push(now_ms, shares.get(name), threads.get(name).copied());
        }
    }

    fn picture(&mut self, interval: &GameInterval<'_>, steady: Option<Vec<FlowPlayer>>) -> GameSnapshot {
        let now_ms = interval.unix_ms;
        let machine = &self.machine;
        let steady_count = steady.as_ref().map(|steady| steady.len() as u32);
        let running = std::iter::once(&machine.track).chain(machine.rooms.values());
        let sessions: Vec<_> = running
            .filter_map(|track| Some((track, track.session.as_ref()?)))
            .map(|(track, session)| picture::session(machine, track, session, now_ms))
            .collect();
        let transitions = &machine.track.transitions;
        let made_of = (
            machine.roster.counters.leaves,
            machine.counters.sessions.saturating_sub(sessions.len() as u64),
            transitions.durations().map(|(_, all)| all.count as usize).sum(),
            transitions
                .records()
                .last()
                .is_some_and(|record| record.change.is_some()),
        );
        let mut next = GameSnapshot {
            phase: interval.life.up.then_some(machine.track.phase),
            phase_since_unix_ms: interval.life.up.then_some(machine.track.phase_since_ms),
            player_counts: picture::counts(machine, &self.matches, steady_count),
            counters: picture::counters(machine),
            actions: machine.actions.clone(),
            life_durations: transitions
                .life_durations()
                .into_iter()
                .map(|(kind, durations)| LifeDurations {
                    kind,
                    durations: *durations,
                })
                .collect(),
            starts_and_stops: self.last.starts_and_stops.clone(),
            ended_sessions: self.last.ended_sessions.clone(),
            departed_players: self.last.departed_players.clone(),
            transitions: self.last.transitions.clone(),
            transition_durations: self.last.transition_durations.clone(),
            sessions,
            players: PlayerList::default(),
        };
        if made_of != self.made_of {
            self.made_of = made_of;
            let ended = machine
                .ended
                .iter()
                .map(|session| picture::session(machine, &machine.track, session, now_ms));
            next.ended_sessions = Arc::new(ended.collect());
            next.departed_players = Arc::new(picture::departed_players(machine, interval.remotes));
            next.transitions = Arc::new(transitions.records().to_vec());
            let durations = transitions
                .durations()
                .map(|((from, to), durations)| PhaseDurations {
                    from,
                    to,
                    durations: *durations,
                });
            next.transition_durations = Arc::new(durations.collect());
        }
        let lives = transitions
            .life_durations()
            .iter()
            .map(|(_, all)| all.count)
            .sum();
        if self.lives != lives {
            self.lives = lives;
            next.starts_and_stops = Arc::new(transitions.lives().to_vec());
        }
        if machine.roster.speaks {
            next.players = picture::named_players(machine, &self.matches, interval.remotes, now_ms);
        } else if !self.matches.proxied {
            let session = machine.track.session.as_ref().map(|session| &session.id);
            let steady = steady.unwrap_or_default();
            next.players = PlayerList::of_flows(steady, session, interval.remotes, interval.seconds, now_ms);
        }
        self.last = next.clone();
        next
    }
}
