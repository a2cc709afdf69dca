//! Queues by hand, and promises that hold for any.

use proptest::prelude::*;

use super::*;

fn waiting(mode: &str, region: Option<&str>, players: u32) -> Waiting {
    Waiting {
        mode: Some(mode.into()),
        region: region.map(Into::into),
        players,
    }
}

fn between(value: f64, low: f64, high: f64) -> Interval {
    Interval { value, low, high }
}

fn duel() -> ModeFacts {
    ModeFacts {
        mode: Some("duel".into()),
        players_per_match: Some(4),
        capacity: Some(Holds {
            players: 12.0,
            low: 9.0,
            high: Some(17.0),
        }),
        cpu_cores: Some(Cost {
            per_player: between(0.02, 0.01, 0.03),
            base: Some(between(0.1, 0.05, 0.2)),
        }),
        memory_bytes: Some(Cost {
            per_player: between(1e6, 0.5e6, 2e6),
            base: None,
        }),
        ..ModeFacts::default()
    }
}

fn running(server: &str, mode: Option<&str>, region: Option<&str>, players: f64) -> Running {
    Running {
        server: server.into(),
        mode: mode.map(Into::into),
        region: region.map(Into::into),
        players: Some(players),
        capacity: None,
    }
}

#[test]
fn whole_matches_go_to_servers_with_room_and_the_rest_to_new_ones() {
    let servers = [
        running("full", Some("duel"), Some("eu"), 12.0),
        running("half", Some("duel"), Some("eu"), 6.0),
        running("far", Some("duel"), Some("us"), 0.0),
        running("other", Some("race"), Some("eu"), 0.0),
    ];
    let told = predict_for_queue(&[waiting("duel", Some("eu"), 30)], &[duel()], &servers);
    let entry = &told.entries[0];
    assert_eq!(entry.matches, Some(8));
    // Room for six is room for one match of four.
    let placed: Vec<(&str, u32)> = entry
        .placed
        .iter()
        .map(|at| (at.server.as_str(), at.players))
        .collect();
    assert_eq!((placed, entry.left), (vec![("half", 4)], 26));
    // 26 over 12; roomy: 16 a server, `full` and `half` take 4 and 8, 18 left; tight: 8 a server, nothing fits, 30 left.
    let servers = entry.new_servers.unwrap();
    assert_eq!((servers.value, servers.low, servers.high), (3, 2, Some(4)));
    let cpu = entry.needs.cpu_cores.unwrap();
    assert!((cpu.value - 0.9).abs() < 1e-9 && (cpu.low - 0.4).abs() < 1e-9 && (cpu.high - 1.7).abs() < 1e-9);
    let memory = entry.needs.memory_bytes.unwrap();
    assert_eq!((memory.value, memory.high), (30e6, 60e6));
    assert!(
        entry
            .notes
            .iter()
            .any(|note| note.contains("memory") && note.contains("left out"))
    );
    assert_eq!(entry.needs.transmit_bytes_per_second, None);
    assert!(entry.notes.iter().any(|note| note.contains("bandwidth")));
}

#[test]
fn what_is_not_known_is_said_and_not_made_up() {
    let told = predict_for_queue(&[waiting("race", None, 5)], &[], &[running("a", None, None, 0.0)]);
    let entry = &told.entries[0];
    assert_eq!((entry.matches, entry.new_servers, entry.left), (None, None, 5));
    assert_eq!((entry.needs, told.needs), (Needs::default(), Needs::default()));
    assert!(
        entry.placed.is_empty() && entry.notes.len() >= 4,
        "{:?}",
        entry.notes
    );
    // A server of which nobody tells the mode may fit, but is not counted on.
    let told = predict_for_queue(
        &[waiting("duel", None, 8)],
        &[duel()],
        &[
            Running {
                mode: None,
                ..running("a", None, None, 0.0)
            },
            running("b", Some("duel"), None, 12.0),
        ],
    );
    let with_capacity = predict_for_queue(
        &[waiting("duel", None, 8)],
        &[duel()],
        &[Running {
            capacity: Some(Holds::exactly(8.0)),
            ..running("a", None, None, 0.0)
        }],
    );
    assert!(
        told.entries[0].placed.is_empty(),
        "its capacity is not known either"
    );
    let entry = &with_capacity.entries[0];
    assert_eq!(
        (entry.placed[0].fits, entry.placed[0].players, entry.left),
        (Fits::Perhaps, 8, 8)
    );
    let servers = entry.new_servers.unwrap();
    assert_eq!((servers.low, servers.value, servers.high), (0, 1, Some(1)));
    // A match that no server holds.
    let small = ModeFacts {
        capacity: Some(Holds::exactly(3.0)),
        ..duel()
    };
    let told = predict_for_queue(&[waiting("duel", None, 8)], &[small], &[]);
    assert!(
        told.entries[0]
            .notes
            .iter()
            .any(|note| note.contains("single match"))
    );
    let nobody = predict_for_queue(&[], &[duel()], &[]);
    assert_eq!((nobody.players, nobody.entries.len()), (0, 0));
}

fn an_interval() -> impl Strategy<Value = Interval> {
    (-1.0..10.0f64, 0.0..5.0f64, 0.0..5.0f64)
        .prop_map(|(value, down, up)| between(value, value - down, value + up))
}

fn some_facts(mode: Option<&'static str>) -> impl Strategy<Value = ModeFacts> {
    let cost = (an_interval(), prop::option::of(an_interval()));
    let holds = (0.0..40.0f64, 0.0..20.0f64, prop::option::of(0.0..20.0f64));
    (
        prop::option::of(0u32..12),
        prop::option::of(holds),
        prop::option::of(cost),
    )
        .prop_map(move |(size, holds, cost)| ModeFacts {
            mode: mode.map(Into::into),
            players_per_match: size,
            capacity: holds.map(|(players, down, up)| Holds {
                players,
                low: (players - down).max(0.0),
                high: up.map(|up| players + up),
            }),
            cpu_cores: cost.map(|(per_player, base)| Cost { per_player, base }),
            ..ModeFacts::default()
        })
}

const MODES: [Option<&str>; 3] = [None, Some("a"), Some("b")];
const REGIONS: [Option<&str>; 3] = [None, Some("eu"), Some("us")];

proptest! {
    #[test]
    fn rooms_are_given_once_and_intervals_hold_their_value(
        facts in (some_facts(None), some_facts(Some("a")), some_facts(Some("b"))),
        queue in prop::collection::vec((0usize..3, 0usize..3, 0u32..200), 0..6),
        servers in prop::collection::vec((0usize..3, 0usize..3, prop::option::of(0.0..40.0f64), prop::option::of(0.0..50.0f64)), 0..8),
    ) {
        let facts = [facts.0, facts.1, facts.2];
        let queue: Vec<Waiting> = queue
            .into_iter()
            .map(|(mode, region, players)| Waiting {
                mode: MODES[mode].map(Into::into),
                region: REGIONS[region].map(Into::into),
                players,
            })
            .collect();
        let servers: Vec<Running> = servers
            .into_iter()
            .enumerate()
            .map(|(number, (mode, region, players, most))| Running {
                server: number.to_string(),
                mode: MODES[mode].map(Into::into),
                region: REGIONS[region].map(Into::into),
                players,
                capacity: most.map(Holds::exactly),
            })
            .collect();
        let told = predict_for_queue(&queue, &facts, &servers);
        for server in &servers {
            let given: u32 = told.entries.iter().flat_map(|entry| &entry.placed)
                .filter(|placed| placed.server == server.server).map(|placed| placed.players).sum();
            let usual = || facts_of(&facts, server.mode.as_ref())?.capacity;
            let room = server.capacity.or_else(usual)
                .zip(server.players)
                .map_or(0.0, |(holds, players)| (holds.players - players).max(0.0));
            prop_assert!(f64::from(given) <= room, "{given} into {room}");
        }
        for entry in &told.entries {
            let certain: u32 = entry.placed.iter().filter(|at| at.fits == Fits::Certainly).map(|at| at.players).sum();
            let all: u32 = entry.placed.iter().map(|at| at.players).sum();
            prop_assert!(all <= entry.waiting.players && certain + entry.left == entry.waiting.players);
            for placed in &entry.placed {
                let server = &servers[placed.server.parse::<usize>().unwrap()];
                let is = |wanted: &Option<Arc<str>>, has: &Option<Arc<str>>| wanted.is_none() || has.is_none() || wanted == has;
                prop_assert!(is(&entry.waiting.mode, &server.mode) && is(&entry.waiting.region, &server.region));
            }
            if let Some(new) = entry.new_servers {
                prop_assert!(new.low <= new.value && new.high.is_none_or(|high| high >= new.value));
                prop_assert!(entry.left > 0 || new.value == 0);
            }
            if let Some(cpu) = entry.needs.cpu_cores {
                prop_assert!(0.0 <= cpu.low && cpu.low <= cpu.value + 1e-9 && cpu.value <= cpu.high + 1e-9, "{cpu:?}");
            }
        }
    }
}
