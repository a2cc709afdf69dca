//! Whatever is said, in whatever order, at whatever time, by whatever clock.

use proptest::prelude::*;

use super::*;
use crate::{
    games::event::{PlayerCount, PlayerRef, TimeSource},
    world::session::{GameInterval, SessionModel, rooms::NamedThreads},
};

const ROOMS: [&str; 3] = ["red", "blue", "green"];
const PHASES: [Phase; 6] = [
    Phase::Idle,
    Phase::Lobby,
    Phase::Loading,
    Phase::Active,
    Phase::Ended,
    Phase::Crashed,
];

/// One interval.
#[derive(Clone, Debug)]
struct Act {
    said: Vec<(Option<usize>, i64, Fact)>,
    cpu_ns: u64,
    /// Milliseconds that it took.
    took_ms: i64,
    /// The clock is set by so much.
    clock_ms: i64,
    life: u8,
    flows: Option<u32>,
    listening: bool,
    /// A reading in the middle of it.
    sampled: bool,
}

fn player() -> impl Strategy<Value = PlayerRef> {
    (0u64..6, 0u8..4).prop_map(|(n, by)| match by {
        0 => PlayerRef::in_slot(n),
        1 => PlayerRef::named(&format!("p{}", n % 3)),
        2 => PlayerRef::identified(&n.to_string()).with_name("p0"),
        _ => PlayerRef::in_slot(n).with_address([192, 0, 2, n as u8].into(), Some(n as u16)),
    })
}

fn fact() -> impl Strategy<Value = Fact> {
    prop_oneof![
        Just(Fact::ServerStarting),
        Just(Fact::ServerReady),
        Just(Fact::ServerStopping),
        Just(Fact::MatchBegun {
            map: Some("m".into()),
            mode: None,
            id: None
        }),
        (0usize..PHASES.len()).prop_map(|phase| Fact::Phase(PHASES[phase])),
        Just(Fact::MatchEnded { reason: None }),
        player().prop_map(Fact::PlayerConnecting),
        player().prop_map(Fact::PlayerKnown),
        player().prop_map(Fact::PlayerJoined),
        player().prop_map(|player| Fact::PlayerLeft { player, reason: None }),
        prop::collection::vec(player(), 0..6).prop_map(Fact::Roster),
        (0u32..4, prop::option::of(0u32..6)).prop_map(|(online, bots)| Fact::PlayerCount(PlayerCount {
            online,
            bots,
            max: None
        })),
        Just(Fact::PlayerAction {
            player: None,
            action: "a".into()
        }),
        Just(Fact::Tick {
            rate_hz: Some(20.0),
            time_ns: None
        }),
        any::<u64>().prop_map(|milliseconds| Fact::Behind { milliseconds }),
    ]
}

/// How long before the end of its interval something is said to have happened.
fn age() -> impl Strategy<Value = i64> {
    prop_oneof![
        8 => 0i64..1_000,
        2 => -5_000i64..200_000,
        1 => any::<i64>(),
    ]
}

fn act(rooms: bool) -> impl Strategy<Value = Act> {
    let room =
        (0.0..1.0f64, 0..ROOMS.len()).prop_map(move |(chance, room)| (rooms && chance < 0.6).then_some(room));
    let clock = prop_oneof![20 => Just(0i64), 1 => -10_000_000i64..10_000_000, 1 => -3i64..3];
    (
        prop::collection::vec((room, age(), fact()), 0..6),
        0u64..3_000_000_000,
        1i64..3_000,
        clock,
        0u8..20,
        prop::option::of(0u32..3),
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(
            |(said, cpu_ns, took_ms, clock_ms, life, flows, listening, sampled)| Act {
                said,
                cpu_ns,
                took_ms,
                clock_ms,
                life,
                flows,
                listening,
                sampled,
            },
        )
}

fn bounds() -> impl Strategy<Value = SessionBounds> {
    prop_oneof![
        Just(SessionBounds::Auto),
        Just(SessionBounds::Process),
        Just(SessionBounds::Match),
        Just(SessionBounds::Occupancy),
        Just(SessionBounds::Rooms),
    ]
}

/// A server to which all that happens.
struct World {
    model: SessionModel,
    now_ms: i64,
    cpu_ns: u64,
    life: Life,
}

impl World {
    fn new(bounds: SessionBounds) -> Self {
        let now_ms = 1_700_000_000_000;
        Self {
            model: SessionModel::new(bounds, now_ms),
            now_ms,
            cpu_ns: 0,
            life: Life {
                starts: 0,
                up: false,
                started_ms: None,
                counted_from_start: false,
                ended_ms: None,
                faulted: false,
            },
        }
    }

    fn live(&mut self, act: &Act) {
        let begun_ms = self.now_ms;
        self.now_ms += act.took_ms + act.clock_ms;
        self.life.ended_ms = None;
        match act.life {
            0 => {
                self.life.up = false;
                self.life.faulted = act.cpu_ns.is_multiple_of(2);
                self.life.ended_ms = Some(begun_ms + act.took_ms / 2);
            }
            1..4 => {
                self.life = Life {
                    starts: self.life.starts + 1,
                    up: true,
                    started_ms: Some(self.now_ms - i64::from(act.life) * 400),
                    counted_from_start: act.cpu_ns.is_multiple_of(2),
                    ended_ms: None,
                    faulted: false,
                };
            }
            _ => {}
        }
        if act.sampled {
            self.model.sample(&Moment {
                unix_ms: begun_ms + act.took_ms / 2,
                totals: totals(self.cpu_ns + act.cpu_ns / 3),
                rss_bytes: None,
                peak_rss_bytes: Some(5),
            });
        }
        self.cpu_ns += act.cpu_ns;
        let mut events: Vec<GameEvent> = act
            .said
            .iter()
            .map(|(room, age_ms, fact)| GameEvent {
                server: "s".into(),
                unix_ms: self.now_ms.saturating_sub(*age_ms),
                time: TimeSource::Stated,
                witness: Witness::Log,
                room: room.map(|room| ROOMS[room].into()),
                fact: fact.clone(),
            })
            .collect();
        events.sort_by_key(|event| event.unix_ms);
        let named = NamedThreads {
            cpu_ns: act.cpu_ns / 4,
            alive: u32::from(act.life % 2),
        };
        let threads = match act.life {
            10.. => BTreeMap::from([("red".into(), named)]),
            _ => BTreeMap::new(),
        };
        self.model.advance(&GameInterval {
            unix_ms: self.now_ms,
            seconds: act.took_ms as f64 / 1e3,
            totals: totals(self.cpu_ns),
            rss_bytes: None,
            peak_rss_bytes: None,
            events: &events,
            life: self.life,
            listening: act.listening,
            flows: act.flows.map(|_| &[][..]),
            proxied: false,
            room_threads: &threads,
            remotes: &Default::default(),
        });
    }

    /// All sessions, by room, in the order in which they began.
    fn sessions(&self) -> BTreeMap<Option<Arc<str>>, Vec<&Session>> {
        let machine = self.model.machine();
        let running = machine
            .rooms
            .values()
            .chain([&machine.track])
            .filter_map(|track| track.session.as_ref());
        let mut sessions: BTreeMap<_, Vec<&Session>> = BTreeMap::new();
        for session in machine.ended.iter().chain(running) {
            sessions.entry(session.room.clone()).or_default().push(session);
        }
        sessions
    }
}

fn totals(cpu_ns: u64) -> Resources {
    Resources {
        cpu_ns: Some(cpu_ns),
        ..Resources::default()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn nothing_that_is_said_makes_trouble(bounds in bounds(), acts in prop::collection::vec(act(true), 1..40)) {
        let mut world = World::new(bounds);
        for act in &acts {
            world.live(act);
            let machine = world.model.machine();
            prop_assert!(machine.counters.sessions >= machine.ended.len() as u64);
            let roster = &machine.roster;
            let playing = roster.playing().count() as u32;
            prop_assert_eq!(roster.present(None), playing);
            for room in machine.rooms.keys() {
                let there = roster.playing().filter(|player| player.room.as_ref() == Some(room)).count();
                prop_assert_eq!(roster.present(Some(room)), there as u32);
            }
        }
    }

    #[test]
    fn sessions_of_one_track_do_not_overlap(
        bounds in bounds(),
        mut acts in prop::collection::vec(act(true), 1..40),
    ) {
        // A clock that is set moves what runs, not what has ended.
        acts.iter_mut().for_each(|act| act.clock_ms = 0);
        let mut world = World::new(bounds);
        for act in &acts {
            world.live(act);
        }
        for (room, sessions) in world.sessions() {
            for session in &sessions {
                prop_assert!(session.ended_ms.is_none_or(|ended_ms| ended_ms >= session.begun_ms));
                prop_assert!(session.phase_ms.values().all(|ms| *ms >= 0));
            }
            for pair in sessions.windows(2) {
                prop_assert!(
                    pair[0].ended_ms.is_some_and(|ended_ms| ended_ms <= pair[1].begun_ms),
                    "{:?}: {:?} {:?}", room, pair[0], pair[1]
                );
            }
        }
    }

    #[test]
    fn sessions_use_no_more_than_their_server(
        acts in prop::collection::vec(act(false), 1..40),
        bounds in bounds(),
    ) {
        let mut world = World::new(bounds);
        let mut most = 0;
        for act in &acts {
            world.live(act);
            let machine = world.model.machine();
            let sum: u64 = world
                .sessions()
                .values()
                .flatten()
                .map(|session| machine.used_so_far(session, world.now_ms).cpu_ns.unwrap_or(0))
                .sum();
            // A nanosecond is lost or won where an interval is cut.
            prop_assert!(sum <= world.cpu_ns + 100, "{sum} of {}", world.cpu_ns);
            most = most.max(machine.ended.len());
        }
        prop_assert!(most <= sessions::KEPT_SESSIONS);
    }

    #[test]
    fn rooms_use_no_more_than_their_server(acts in prop::collection::vec(act(true), 1..40)) {
        let mut world = World::new(SessionBounds::Rooms);
        for act in &acts {
            world.live(act);
            let machine = world.model.machine();
            let mut sum = 0;
            for session in world.sessions().values().flatten() {
                let Some(share) = machine.room_share(session) else { continue };
                let cpu_ns = share.used.cpu_ns.unwrap_or(0);
                sum += cpu_ns;
                prop_assert!(share.cpu_low_ns <= cpu_ns + 2_000 && cpu_ns <= share.cpu_high_ns + 2_000, "{share:?}");
            }
            // A nanosecond is lost or won here and there by rounding.
            prop_assert!(sum <= world.cpu_ns + 1_000, "{sum} of {}", world.cpu_ns);
        }
    }
}

#[test]
fn a_clock_that_is_set_moves_everything_with_it() {
    for jump_ms in [-3_600_000i64, 3_600_000, -1, -100_000_000_000] {
        let mut world = World::new(SessionBounds::Match);
        let quiet = |said: Vec<(Option<usize>, i64, Fact)>, clock_ms| Act {
            said,
            cpu_ns: 100_000_000,
            took_ms: 1_000,
            clock_ms,
            life: 4,
            flows: None,
            listening: true,
            sampled: false,
        };
        world.live(&Act {
            life: 2,
            ..quiet(vec![(None, 0, Fact::ServerReady)], 0)
        });
        let begun = Fact::MatchBegun {
            map: None,
            mode: None,
            id: None,
        };
        world.live(&quiet(
            vec![
                (None, 0, begun),
                (None, 0, Fact::Phase(Phase::Loading)),
                (None, 0, Fact::PlayerJoined(PlayerRef::in_slot(1))),
            ],
            0,
        ));
        world.live(&quiet(Vec::new(), 0));
        world.live(&quiet(Vec::new(), jump_ms));
        world.live(&quiet(vec![(None, 0, Fact::Phase(Phase::Active))], 0));
        let machine = world.model.machine();
        let record = machine.track.transitions.records().last().unwrap();
        assert!((record.took_ms - 3_000).abs() <= 1, "{jump_ms}: {record:?}");
        assert_eq!(record.used.cpu_ns.unwrap().div_ceil(1_000_000), 300, "{record:?}");
        let session = machine.track.session.as_ref().unwrap();
        assert!((world.now_ms - session.begun_ms - 3_000).abs() <= 1);
        let player = machine.roster.playing().next().unwrap();
        assert!((world.now_ms - player.joined_ms - 3_000).abs() <= 1);
    }
}

#[test]
fn loading_that_takes_ten_minutes_is_counted_whole() {
    let mut world = World::new(SessionBounds::Process);
    for second in 0..600 {
        world.live(&Act {
            said: Vec::new(),
            cpu_ns: 1_000_000_000,
            took_ms: 1_000,
            clock_ms: 0,
            life: if second == 0 { 1 } else { 4 },
            flows: None,
            listening: false,
            sampled: false,
        });
        world.life.counted_from_start = true;
        if second == 0 {
            world = World::new(SessionBounds::Process);
            world.life.starts = 1;
            world.life.up = true;
            world.life.counted_from_start = true;
            world.life.started_ms = Some(world.now_ms + 100);
        }
    }
    world.live(&Act {
        said: vec![(None, 0, Fact::ServerReady)],
        cpu_ns: 1_000_000_000,
        took_ms: 1_000,
        clock_ms: 0,
        life: 4,
        flows: None,
        listening: false,
        sampled: false,
    });
    let lives = world.model.machine().track.transitions.lives();
    assert_eq!(lives[0].took_ms, 599_900);
    assert_eq!(lives[0].used.cpu_ns, Some(600_000_000_000));
}

/// Thousands of players and rooms take time in proportion, not in its square.
#[test]
fn a_full_house_of_namesakes_is_no_trouble() {
    let start = std::time::Instant::now();
    let mut world = World::new(SessionBounds::Rooms);
    let act = |said| Act {
        said,
        cpu_ns: 1_000,
        took_ms: 1_000,
        clock_ms: 0,
        life: 4,
        flows: None,
        listening: true,
        sampled: false,
    };
    let list = Fact::Roster(vec![PlayerRef::named("x"); 20_000]);
    world.live(&Act {
        life: 1,
        ..act(vec![(None, 0, list.clone())])
    });
    assert_eq!(world.model.machine().roster.present(None), 20_000);
    world.live(&act(vec![(None, 0, list)]));
    let counters = world.model.machine().roster.counters;
    assert_eq!((counters.joins, counters.leaves), (20_000, 0));
    world.live(&act(vec![(None, 0, Fact::Roster(Vec::new()))]));
    assert_eq!(world.model.machine().roster.present(None), 0);
    let joins = (0..20_000u64)
        .map(|n| {
            (
                Some(0),
                0,
                Fact::PlayerJoined(PlayerRef::in_slot(n).with_name("x")),
            )
        })
        .collect();
    world.live(&act(joins));
    assert_eq!(world.model.machine().roster.present(Some(&"red".into())), 20_000);
    // Generous: a debug build on a busy machine.
    assert!(
        start.elapsed() < std::time::Duration::from_secs(20),
        "{:?}",
        start.elapsed()
    );
}
