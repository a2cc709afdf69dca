//! Whole lives of servers, as games tell them.

use super::*;
use crate::{
    games::event::{PlayerCount, PlayerKind, PlayerRef, TimeSource},
    world::session::{resources::Moment, transitions::LifeKind},
};

/// A server that uses a tenth of a core, one interval per second.
struct Server {
    machine: Machine,
    now_ms: i64,
    life: Life,
    flows: Option<u32>,
}

const START_MS: i64 = 1_000_000;

impl Server {
    fn new(bounds: SessionBounds) -> Self {
        Self {
            machine: Machine::new(bounds, START_MS),
            now_ms: START_MS,
            life: Life {
                starts: 0,
                up: false,
                started_ms: None,
                faulted: false,
                counted_from_start: true,
                ended_ms: None,
            },
            flows: None,
        }
    }

    fn start(mut self) -> Self {
        self.life.starts += 1;
        self.life.up = true;
        self.life.started_ms = Some(self.now_ms);
        self
    }

    /// One interval in which this was said, half-way through it.
    fn hears(&mut self, facts: Vec<Fact>) {
        self.hears_of(None, facts);
    }

    fn hears_of(&mut self, room: Option<&str>, facts: Vec<Fact>) {
        self.hears_from(Witness::Log, room, facts);
    }

    fn hears_from(&mut self, witness: Witness, room: Option<&str>, facts: Vec<Fact>) {
        let events: Vec<GameEvent> = facts
            .into_iter()
            .map(|fact| GameEvent {
                server: "s".into(),
                unix_ms: self.now_ms + 500,
                time: TimeSource::Read,
                witness,
                room: room.map(Into::into),
                fact,
            })
            .collect();
        self.now_ms += 1_000;
        let cpu_ns = (self.now_ms - START_MS) as u64 * 100_000;
        self.machine.advance(&Step {
            moment: Moment {
                unix_ms: self.now_ms,
                totals: Resources {
                    cpu_ns: Some(cpu_ns),
                    ..Resources::default()
                },
                rss_bytes: Some(1_000),
                peak_rss_bytes: None,
            },
            seconds: 1.0,
            events: &events,
            life: self.life,
            flows: self.flows,
            listening: false,
        });
    }

    fn idle(&mut self, seconds: usize) {
        for _ in 0..seconds {
            self.hears(Vec::new());
        }
    }

    fn exits(&mut self, faulted: bool) {
        self.life.up = false;
        self.life.faulted = faulted;
        self.hears(Vec::new());
    }
}

fn joined(slot: u64) -> Fact {
    Fact::PlayerJoined(PlayerRef::in_slot(slot))
}

fn left(slot: u64) -> Fact {
    Fact::PlayerLeft {
        player: PlayerRef::in_slot(slot),
        reason: None,
    }
}

fn begun(map: &str) -> Fact {
    Fact::MatchBegun {
        map: Some(map.into()),
        mode: None,
        id: None,
    }
}

#[test]
fn matches_of_a_quake_server() {
    let mut server = Server::new(SessionBounds::Auto).start();
    // What was used before the first interval ends is not known.
    server.idle(1);
    server.hears(vec![begun("dm1")]);
    server.hears(vec![
        Fact::PlayerConnecting(PlayerRef::in_slot(0)),
        joined(0),
        joined(1),
    ]);
    server.idle(5);
    let machine = &server.machine;
    assert_eq!(machine.bounds(), Bounds::Match);
    assert_eq!(machine.track.phase, Phase::Active);
    let first = machine.track.session.clone().unwrap();
    assert_eq!((first.map.as_deref(), first.players_peak), (Some("dm1"), 2));
    // Intermission, then the next map; everybody begins again.
    server.hears(vec![Fact::Phase(Phase::Ended)]);
    server.hears(vec![
        Fact::MatchEnded { reason: None },
        begun("dm2"),
        joined(0),
        joined(1),
    ]);
    server.idle(4);
    let machine = &server.machine;
    assert_eq!(machine.roster.counters.joins, 2, "nobody joined a second time");
    let [ended] = &machine.ended.iter().collect::<Vec<_>>()[..] else {
        panic!("{:?}", machine.ended)
    };
    assert_eq!((&ended.id, ended.joins), (&first.id, 2));
    // From half-way through the first interval to half-way through the ninth: 8 s at a tenth of a core.
    assert_eq!(ended.used.unwrap().cpu_ns, Some(800_000_000));
    assert_eq!(
        machine.track.session.as_ref().unwrap().map.as_deref(),
        Some("dm2")
    );
    assert_eq!(machine.counters.illegal_steps, 0);
}

#[test]
fn occupancy_bounds_a_server_that_tells_players_only() {
    let mut server = Server::new(SessionBounds::Auto).start();
    server.hears(vec![Fact::ServerStarting]);
    server.idle(3);
    server.hears(vec![Fact::ServerReady]);
    let starts = server.machine.track.transitions.lives();
    assert_eq!((starts[0].kind, starts[0].took_ms), (LifeKind::WarmUp, 4_500));
    assert_eq!(server.machine.track.phase, Phase::Idle);
    server.hears(vec![joined(1)]);
    server.idle(2);
    server.hears(vec![joined(2)]);
    server.hears(vec![left(1)]);
    assert_eq!(server.machine.track.phase, Phase::Active);
    server.hears(vec![left(2)]);
    let machine = &server.machine;
    assert_eq!(
        (machine.bounds(), machine.track.phase),
        (Bounds::Occupancy, Phase::Idle)
    );
    assert!(machine.track.session.is_none());
    let session = machine.ended.back().unwrap();
    assert_eq!((session.joins, session.leaves, session.players_peak), (2, 2, 2));
    assert_eq!(session.ended_ms.unwrap() - session.begun_ms, 5_000);
    assert_eq!(session.used.unwrap().cpu_ns, Some(500_000_000));
    assert_eq!(session.phase_ms[&Phase::Active], 5_000);
    let phases: Vec<_> = machine
        .track
        .transitions
        .records()
        .iter()
        .map(|record| (record.from, record.to))
        .collect();
    assert_eq!(
        phases,
        [(Phase::Idle, Phase::Active), (Phase::Active, Phase::Idle)]
    );
    server.idle(4);
    server.exits(false);
    let stop = server.machine.track.transitions.lives().last().unwrap();
    assert_eq!((stop.kind, stop.took_ms), (LifeKind::CoolDown, 5_500));
}

#[test]
fn bots_do_not_occupy_a_server() {
    use crate::games::event::KindEvidence;
    let mut server = Server::new(SessionBounds::Occupancy).start();
    let bot = PlayerRef::in_slot(9).with_kind(PlayerKind::Bot, KindEvidence::Identity);
    server.hears(vec![Fact::PlayerJoined(bot)]);
    assert!(server.machine.track.session.is_none());
    server.hears(vec![joined(1)]);
    assert!(server.machine.track.session.is_some());
    server.hears(vec![left(1)]);
    assert!(server.machine.track.session.is_none());
}

#[test]
fn counts_alone_occupy_a_server_whose_players_nobody_names() {
    let mut server = Server::new(SessionBounds::Occupancy).start();
    let count = |online| {
        Fact::PlayerCount(PlayerCount {
            online,
            bots: Some(1),
            max: None,
        })
    };
    server.hears(vec![count(1)]);
    assert!(server.machine.track.session.is_none());
    server.hears(vec![count(3)]);
    assert!(server.machine.track.session.is_some());
    server.hears(vec![count(1)]);
    assert!(server.machine.track.session.is_none());
}

#[test]
fn a_process_that_dies_without_a_word_has_crashed() {
    for (said_goodbye, faulted, crashed) in [(false, true, true), (true, true, false), (false, false, false)]
    {
        for bounds in [
            SessionBounds::Process,
            SessionBounds::Auto,
            SessionBounds::Occupancy,
            SessionBounds::Match,
        ] {
            let mut server = Server::new(bounds).start();
            server.idle(2);
            server.hears(vec![joined(1)]);
            if bounds == SessionBounds::Match {
                server.hears(vec![begun("x")]);
            }
            if said_goodbye {
                server.hears(vec![Fact::ServerStopping]);
            }
            server.exits(faulted);
            let session = server.machine.ended.back().unwrap();
            assert_eq!(session.crashed, crashed);
            assert_eq!(server.machine.roster.players().len(), 0);
            assert_eq!(server.machine.counters.crashes, u64::from(crashed));
            // It comes back: a new session, from loading on.
            let mut server = server.start();
            server.idle(1);
            assert_eq!(server.machine.track.phase, Phase::Loading);
            if bounds == SessionBounds::Process {
                assert!(server.machine.track.session.is_some());
            }
            server.exits(false);
            // Nobody has left this one.
            let lives = server.machine.track.transitions.lives();
            assert!(
                lives.iter().all(|life| life.kind == LifeKind::WarmUp),
                "{lives:?}"
            );
        }
    }
}

#[test]
fn what_was_not_told_is_put_in_and_counted() {
    let mut server = Server::new(SessionBounds::Match).start();
    server.hears(vec![begun("a"), Fact::Phase(Phase::Lobby)]);
    // The score screen comes out of nothing: the match before it is put in.
    server.hears(vec![Fact::Phase(Phase::Ended)]);
    assert_eq!(server.machine.counters.missing_steps, 1);
    let first = server.machine.track.session.clone().unwrap();
    // The next round of the same map, without a word of its beginning.
    server.hears(vec![Fact::Phase(Phase::Active)]);
    let second = server.machine.track.session.clone().unwrap();
    assert_ne!(first.id, second.id);
    assert_eq!(second.map.as_deref(), Some("a"));
    // A new match while the old one still runs.
    server.hears(vec![begun("b")]);
    assert_eq!(server.machine.counters.missing_steps, 3);
    assert_eq!(server.machine.ended.len(), 2);
}

#[test]
fn rooms_have_sessions_of_their_own() {
    let mut server = Server::new(SessionBounds::Auto).start();
    server.hears_of(Some("red"), vec![begun("arena"), joined(1)]);
    server.hears_of(Some("blue"), vec![joined(2)]);
    server.idle(3);
    let machine = &server.machine;
    assert_eq!(machine.bounds(), Bounds::Rooms);
    assert!(
        machine.track.session.is_none(),
        "the process is no session of its own"
    );
    let session = |room: &str| machine.rooms[room].session.clone();
    assert_eq!(session("red").unwrap().map.as_deref(), Some("arena"));
    assert_eq!(session("blue").unwrap().players_peak, 1, "bounded by its players");
    server.hears_of(Some("red"), vec![Fact::MatchEnded { reason: None }]);
    server.hears_of(Some("blue"), vec![left(2)]);
    let rooms: Vec<_> = server
        .machine
        .ended
        .iter()
        .filter_map(|session| session.room.as_deref())
        .collect();
    assert_eq!(rooms, ["red", "blue"]);
}

#[test]
fn a_session_of_a_running_match_survives_events_that_are_late() {
    let mut server = Server::new(SessionBounds::Match).start();
    server.idle(5);
    let late_ms = server.now_ms - 2_000;
    let event = GameEvent {
        server: "s".into(),
        unix_ms: late_ms,
        time: TimeSource::Stated,
        witness: Witness::Log,
        room: None,
        fact: begun("x"),
    };
    server.now_ms += 1_000;
    let cpu_ns = (server.now_ms - START_MS) as u64 * 100_000;
    server.machine.advance(&Step {
        moment: Moment {
            unix_ms: server.now_ms,
            totals: Resources {
                cpu_ns: Some(cpu_ns),
                ..Resources::default()
            },
            rss_bytes: None,
            peak_rss_bytes: None,
        },
        seconds: 1.0,
        events: &[event],
        life: server.life,
        flows: None,
        listening: false,
    });
    let session = server.machine.track.session.as_ref().unwrap();
    let used = server.machine.used_so_far(session, server.now_ms);
    assert_eq!((session.begun_ms, used.cpu_ns), (late_ms, Some(300_000_000)));
}

#[test]
fn flows_stand_for_players_where_nobody_speaks() {
    let mut server = Server::new(SessionBounds::Auto).start();
    let mut step = |flows: u32, seconds: i64| {
        for _ in 0..seconds {
            server.now_ms += 1_000;
            server.machine.advance(&Step {
                moment: Moment {
                    unix_ms: server.now_ms,
                    totals: Resources::default(),
                    rss_bytes: None,
                    peak_rss_bytes: None,
                },
                seconds: 1.0,
                events: &[],
                life: server.life,
                flows: Some(flows),
                listening: true,
            });
        }
        server.machine.track.phase
    };
    assert_eq!(step(0, 3), Phase::Loading);
    assert_eq!(step(0, 10), Phase::Idle, "it has listened long enough");
    assert_eq!(step(5, 2), Phase::Active);
    assert_eq!(step(0, 1), Phase::Idle);
    let session = server.machine.ended.back().unwrap();
    assert_eq!(
        (server.machine.bounds(), session.players_peak),
        (Bounds::Occupancy, 5)
    );
    let starts = server.machine.track.transitions.lives();
    assert_eq!((starts[0].kind, starts[0].took_ms), (LifeKind::WarmUp, 1_000));
}

#[test]
fn actions_beyond_the_bound_are_counted_together() {
    let mut server = Server::new(SessionBounds::Auto).start();
    let actions = (0..MOST_ACTIONS + 10).map(|n| Fact::PlayerAction {
        player: None,
        action: format!("action-{n}").into(),
    });
    server.hears(actions.collect());
    assert_eq!(server.machine.actions.len(), MOST_ACTIONS + 1);
    assert_eq!(server.machine.actions[OTHER_ACTIONS], 10);
    assert_eq!(
        server.machine.actions.values().sum::<u64>(),
        MOST_ACTIONS as u64 + 10
    );
}

#[test]
fn the_loading_of_a_map_and_the_match_on_it_are_one_session() {
    let mut server = Server::new(SessionBounds::Auto).start();
    let match_on = |map: &str| Fact::MatchBegun {
        map: Some(map.into()),
        mode: None,
        id: None,
    };
    for map in ["cp_granary", "ctf_2fort"] {
        server.hears(vec![Fact::Phase(Phase::Loading)]);
        server.hears(vec![match_on(map), Fact::Phase(Phase::Lobby)]);
        server.hears(vec![
            Fact::PlayerJoined(PlayerRef::named("a")),
            Fact::Phase(Phase::Active),
        ]);
        server.hears(vec![Fact::Phase(Phase::Ended), Fact::MatchEnded { reason: None }]);
    }
    let ended: Vec<_> = server.machine.ended.iter().collect();
    let maps: Vec<_> = ended.iter().map(|session| session.map.as_deref()).collect();
    assert_eq!(maps, [Some("cp_granary"), Some("ctf_2fort")]);
    assert_eq!(server.machine.counters.sessions, 2);
    let last = ended.last().unwrap();
    assert_eq!(last.phase_ms.get(&Phase::Loading), Some(&1_000), "{last:?}");
    assert_eq!(server.machine.counters.missing_steps, 0);
}

#[test]
fn what_flows_began_and_earlier_words_take_back_was_no_session() {
    let mut machine = Machine::new(SessionBounds::Auto, START_MS);
    let life = Life {
        starts: 1,
        up: true,
        started_ms: Some(START_MS),
        counted_from_start: true,
        ended_ms: None,
        faulted: false,
    };
    let mut step = |second: i64, events: &[GameEvent]| {
        machine.advance(&Step {
            moment: Moment {
                unix_ms: START_MS + second * 1_000,
                totals: Resources::default(),
                rss_bytes: None,
                peak_rss_bytes: None,
            },
            seconds: 1.0,
            events,
            life,
            flows: Some(3),
            listening: true,
        });
        (machine.counters.sessions, machine.ended.len())
    };
    assert_eq!(step(1, &[]), (1, 0));
    // Written before the flows were seen, read after it.
    let connecting = GameEvent {
        server: "s".into(),
        unix_ms: START_MS + 500,
        time: TimeSource::Stated,
        witness: Witness::Log,
        room: None,
        fact: Fact::PlayerConnecting(PlayerRef::in_slot(1)),
    };
    assert_eq!(step(2, &[connecting]), (0, 0));
}

/// Who is asked notices a map change a little before or after the log tells it.
#[test]
fn a_map_change_that_a_query_notices_is_no_second_match() {
    let mut server = Server::new(SessionBounds::Auto).start();
    server.hears(vec![begun("dm1"), joined(0), Fact::Phase(Phase::Active)]);
    server.hears_from(Witness::Query, None, vec![begun("dm2")]);
    server.hears(vec![
        Fact::MatchEnded { reason: None },
        begun("dm2"),
        Fact::Phase(Phase::Active),
    ]);
    server.hears_from(Witness::Query, None, vec![begun("dm2")]);
    assert_eq!(server.machine.counters.sessions, 2);
    assert_eq!(server.machine.track.phase, Phase::Active);
    // Where nobody else tells it, the query does.
    let mut quiet = Server::new(SessionBounds::Auto).start();
    quiet.hears_from(Witness::Query, None, vec![begun("dm1")]);
    quiet.hears_from(Witness::Query, None, vec![begun("dm2")]);
    assert_eq!(quiet.machine.counters.sessions, 2);
}

#[test]
fn a_start_costs_what_was_used_since_then() {
    let mut server = Server::new(SessionBounds::Auto);
    server.idle(5);
    // It started 400 ms ago and is found at the end of this interval, in which all was used that the totals grew by.
    server.life = Life {
        starts: 1,
        up: true,
        started_ms: Some(server.now_ms + 600),
        counted_from_start: true,
        ended_ms: None,
        faulted: false,
    };
    server.idle(1);
    server.hears(vec![Fact::ServerReady]);
    let [record] = server.machine.track.transitions.lives() else {
        panic!()
    };
    assert_eq!((record.took_ms, record.peak_rss_bytes), (900, Some(1_000)));
    // The whole of the first interval, and half of the second.
    assert_eq!(record.used.cpu_ns, Some(150_000_000));
}

#[test]
fn what_a_start_used_before_anything_was_counted_is_not_known() {
    let mut server = Server::new(SessionBounds::Auto);
    server.idle(2);
    let started_ms = server.now_ms + 100;
    // It is ready, and found two intervals later.
    server.hears(vec![Fact::ServerReady]);
    server.idle(1);
    server = server.start();
    server.life.started_ms = Some(started_ms);
    server.idle(1);
    let [record] = server.machine.track.transitions.lives() else {
        panic!()
    };
    assert_eq!((record.took_ms, record.used.cpu_ns), (400, None));
}

#[test]
fn a_late_word_of_the_process_before_makes_nobody_ready() {
    let mut server = Server::new(SessionBounds::Auto).start();
    server.hears(vec![Fact::ServerReady]);
    server.idle(2);
    // Somebody joins; then another process takes its place, all in one interval.
    server.life.starts += 1;
    server.life.started_ms = Some(server.now_ms + 800);
    server.hears(vec![joined(0)]);
    assert_eq!(server.machine.track.transitions.lives().len(), 1);
    server.hears(vec![Fact::ServerReady]);
    let lives = server.machine.track.transitions.lives();
    assert_eq!((lives.len(), lives[1].took_ms), (2, 700));
}

#[test]
fn an_occupied_server_that_is_killed_has_crashed() {
    let mut server = Server::new(SessionBounds::Auto).start();
    server.hears(vec![joined(0), joined(1)]);
    server.exits(true);
    let machine = &server.machine;
    let [session] = &machine.ended.iter().collect::<Vec<_>>()[..] else {
        panic!()
    };
    assert_eq!((session.crashed, session.leaves), (true, 2));
    assert_eq!(
        (machine.counters.crashes, machine.track.phase),
        (1, Phase::Crashed)
    );
    // Nobody was on the next one: it has no last leave to cool down from.
    server = server.start();
    server.idle(2);
    server.exits(false);
    assert_eq!(server.machine.counters.crashes, 1);
    let lives = server.machine.track.transitions.lives();
    assert!(
        lives.iter().all(|life| life.kind != LifeKind::CoolDown),
        "{lives:?}"
    );
}

#[test]
fn players_who_log_in_are_flows_before_they_have_names() {
    let mut server = Server::new(SessionBounds::Auto).start();
    server.hears(vec![Fact::ServerReady]);
    server.flows = Some(2);
    server.idle(3);
    let flows = server.machine.track.session.clone().unwrap();
    assert_eq!(flows.begun_ms, START_MS + 2_000);
    server.hears(vec![joined(0)]);
    let named = server.machine.track.session.clone().unwrap();
    assert_eq!(
        (named.id, named.begun_ms, named.joins),
        (flows.id, START_MS + 4_500, 1)
    );
    server.hears(vec![joined(1)]);
    server.hears(vec![left(0), left(1)]);
    let [ended] = &server.machine.ended.iter().collect::<Vec<_>>()[..] else {
        panic!()
    };
    assert_eq!(
        (ended.begun_ms, ended.ended_ms),
        (START_MS + 4_500, Some(START_MS + 6_500))
    );
    // A tenth of a core.
    assert_eq!(ended.used.and_then(|used| used.cpu_ns), Some(200_000_000));
    assert_eq!(server.machine.counters.sessions, 1);
}
