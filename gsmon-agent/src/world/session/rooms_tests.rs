use proptest::prelude::*;

use super::*;

fn delta(cpu_ns: u64) -> Resources {
    Resources {
        cpu_ns: Some(cpu_ns),
        tx_bytes: Some(1_000),
        ..Resources::default()
    }
}

fn room(players: u32, packets: u64, thread_cpu_ns: Option<u64>) -> RoomFigures {
    RoomFigures {
        players,
        packets,
        thread_cpu_ns,
    }
}

#[test]
fn named_threads_are_exact_and_the_rest_is_shared_once() {
    let figures = BTreeMap::from([
        ("a".into(), room(5, 500, Some(700))),
        ("b".into(), room(5, 500, None)),
    ]);
    let shares = share(&delta(1_000), &figures);
    assert_eq!(
        (shares["a"].used.cpu_ns, shares["a"].cpu),
        (Some(700), CpuBasis::NamedThreads)
    );
    assert_eq!(
        (shares["b"].used.cpu_ns, shares["b"].cpu),
        (Some(150), CpuBasis::Shared)
    );
    assert_eq!(shares["a"].used.tx_bytes, Some(500));
}

proptest! {
    #[test]
    fn the_estimate_lies_in_its_interval_and_nothing_is_given_twice(
        rooms in prop::collection::vec((0u32..50, 0u64..10_000), 1..20), cpu in 0u64..10_000_000_000,
    ) {
        let figures: BTreeMap<Arc<str>, RoomFigures> = rooms
            .iter()
            .enumerate()
            .map(|(n, (players, packets))| (n.to_string().into(), room(*players, *packets, None)))
            .collect();
        let shares = share(&delta(cpu), &figures);
        let sum: u64 = shares.values().map(|share| share.used.cpu_ns.unwrap()).sum();
        prop_assert!(sum <= cpu + 20);
        for share in shares.values() {
            let used = share.used.cpu_ns.unwrap();
            prop_assert!(share.cpu_low_ns <= used + 1 && used <= share.cpu_high_ns + 1, "{share:?}");
        }
    }
}

fn named(cpu_ns: u64, alive: u32) -> Option<NamedThreads> {
    Some(NamedThreads { cpu_ns, alive })
}

#[test]
fn a_thread_that_comes_or_goes_in_an_interval_is_of_the_session_that_does_too() {
    let mut course = RoomCourse::new(0);
    course.push(1_000, None, None);
    // It begins after the session has, in the same interval, and ends before it, in the last.
    course.push(2_000, None, named(300, 1));
    course.push(3_000, None, named(1_000, 1));
    course.push(4_000, None, named(500, 0));
    course.push(5_000, None, None);
    let used = course.at(3_900, Edge::End).since(&course.at(1_600, Edge::Begin));
    assert_eq!(
        (used.used.cpu_ns, used.cpu),
        (Some(1_800), CpuBasis::NamedThreads)
    );
    // A thread that goes on is cut.
    let used = course.at(2_500, Edge::End).since(&course.at(1_600, Edge::Begin));
    assert_eq!(used.used.cpu_ns, Some(800));
    // One that lived within an interval.
    let mut course = RoomCourse::new(0);
    course.push(1_000, None, named(70, 0));
    let used = course.at(900, Edge::End).since(&course.at(100, Edge::Begin));
    assert_eq!(used.used.cpu_ns, Some(70));
}

#[test]
fn what_was_guessed_before_a_named_thread_came_does_not_count() {
    let share = share(&delta(1_000), &BTreeMap::from([("a".into(), room(1, 1, None))]));
    let mut course = RoomCourse::new(0);
    let begin = course.at(0, Edge::Begin);
    course.push(1_000, share.get("a"), None);
    let guessed = course.totals().since(&begin);
    assert_eq!(
        (guessed.used.cpu_ns, guessed.cpu),
        (Some(1_000), CpuBasis::Shared)
    );
    assert!(
        guessed.cpu_low_ns <= 500 && guessed.cpu_high_ns == 1_000,
        "{guessed:?}"
    );
    course.push(2_000, None, named(10, 1));
    let exact = course.totals().since(&begin);
    assert_eq!((exact.used.cpu_ns, exact.cpu), (Some(10), CpuBasis::NamedThreads));
}

#[test]
fn a_thread_that_goes_on_is_cut_where_it_was_read_and_otherwise_has_an_interval() {
    // It waits for a core in the first half of each second.
    let mut course = RoomCourse::new(0);
    course.push(1_000, None, named(400, 1));
    course.read_threads(1_500, named(0, 1));
    course.push(2_000, None, named(400_000_000, 1));
    let begin = course.at(1_499, Edge::Begin);
    course.push(3_000, None, named(400_000_000, 1));
    course.read_threads(3_501, named(2_000_000, 1));
    course.push(4_000, None, named(400_000_000, 1));
    let read = course.at(3_500, Edge::End).since(&begin);
    assert_eq!(read.used.cpu_ns.unwrap() / 1_000_000, 801);
    assert_eq!(read.cpu_interval_ns(), None, "{read:?}");
    let guessed = course.at(3_750, Edge::End).since(&begin);
    let (low, high) = guessed.cpu_interval_ns().unwrap();
    assert!((low..=high).contains(&1_000_000_000), "{guessed:?}");
    assert!((low..=high).contains(&guessed.used.cpu_ns.unwrap()));
    // Two readings in one millisecond are one.
    course.read_threads(4_000, named(0, 1));
    assert_eq!(course.totals().named.cpu_ns, 1_200_000_400);
}
