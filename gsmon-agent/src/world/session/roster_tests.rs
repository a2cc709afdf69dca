//! Rosters as games tell them, and anything else.

use proptest::prelude::*;

use super::*;

fn names(roster: &Roster) -> Vec<String> {
    let mut names: Vec<String> = roster
        .playing()
        .map(|player| player.who.name.as_deref().unwrap_or("?").to_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn parts_told_one_after_the_other_are_one_player() {
    let mut roster = Roster::default();
    // As Quake III does.
    roster.connecting(&PlayerRef::in_slot(2), 0);
    roster.known(&PlayerRef::in_slot(2).with_name("^1Zeh"), 10);
    assert_eq!(roster.playing().count(), 0);
    assert!(matches!(
        roster.joined(&PlayerRef::in_slot(2), None, 20)[..],
        [Change::Joined(_)]
    ));
    assert_eq!(names(&roster), ["^1Zeh"]);
    let changes = roster.left(&PlayerRef::in_slot(2), None, 500);
    assert!(
        matches!(&changes[..], [Change::Left(gone)] if gone.joined_ms == 20 && gone.left_ms == 500),
        "{changes:?}"
    );
    // As Minecraft does: id with name, then address with name.
    roster.known(&PlayerRef::identified("069a").with_name("Steve"), 600);
    roster.joined(
        &PlayerRef::named("Steve").with_address([127, 0, 0, 1].into(), Some(54321)),
        None,
        610,
    );
    roster.joined(&PlayerRef::named("Steve"), None, 611);
    assert_eq!(names(&roster), ["Steve"]);
    let steve = &roster.players()[0].who;
    assert!(steve.platform_id.is_some() && steve.port == Some(54321));
    assert_eq!((roster.counters.joins, roster.counters.repeated_joins), (2, 1));
}

#[test]
fn who_is_there_is_said_by_joins_and_lists_not_by_a_leave_of_somebody_unknown() {
    let mut roster = Roster::default();
    assert!(roster.left(&PlayerRef::named("early"), None, 0).is_empty());
    assert!(!roster.speaks && roster.counters.unknown_leaves == 1);
    roster.joined(&PlayerRef::named("late"), None, 10);
    assert!(roster.speaks);
    // That nobody is there is a statement, too.
    let mut empty = Roster::default();
    empty.complete(&[], Witness::Log, 0);
    assert!(empty.speaks);
}

#[test]
fn a_join_repeated_after_a_map_change_is_no_second_join_and_who_is_not_repeated_has_left() {
    let mut roster = Roster::default();
    for slot in 0..3 {
        roster.joined(&PlayerRef::in_slot(slot), None, 0);
    }
    roster.match_begun(10_000);
    for slot in 0..2 {
        roster.connecting(&PlayerRef::in_slot(slot), 11_000);
        assert_eq!(roster.joined(&PlayerRef::in_slot(slot), None, 12_000), []);
    }
    assert!(roster.tidy(30_000).is_empty(), "there is still time");
    assert_eq!(roster.tidy(80_000).len(), 1);
    assert_eq!(roster.playing().count(), 2);
    // A game that does not repeat anybody loses nobody.
    roster.match_begun(100_000);
    assert!(roster.tidy(200_000).is_empty());
    assert_eq!(roster.playing().count(), 2);
}

#[test]
fn a_number_used_again_belongs_to_somebody_new() {
    let mut roster = Roster::default();
    roster.joined(
        &PlayerRef {
            platform_id: Some("a".into()),
            ..PlayerRef::in_slot(4)
        },
        None,
        0,
    );
    let other = PlayerRef {
        platform_id: Some("b".into()),
        ..PlayerRef::in_slot(4)
    };
    let changes = roster.joined(&other, None, 50);
    assert!(
        matches!(&changes[..], [Change::Left(_), Change::Joined(_)]),
        "{changes:?}"
    );
    assert_eq!(roster.counters.inferred_leaves, 1);
}

#[test]
fn one_name_with_two_ids_is_two_players() {
    let mut roster = Roster::default();
    for id in ["1", "2"] {
        roster.joined(&PlayerRef::identified(id).with_name("Bob"), None, 0);
    }
    assert_eq!(names(&roster), ["Bob", "Bob"]);
    // A query that knows names only lists both.
    let list = vec![PlayerRef::named("Bob"), PlayerRef::named("Bob")];
    assert!(roster.complete(&list, Witness::Query, 100_000).is_empty());
    assert!(roster.complete(&list[..1], Witness::Query, 110_000).is_empty());
    assert_eq!(
        roster.complete(&list[..1], Witness::Query, 120_000).len(),
        1,
        "two lists lack one of them"
    );
}

#[test]
fn several_who_leave_at_once_leave_once_each() {
    let mut roster = Roster::default();
    for name in ["alice", "bob", "carol"] {
        roster.joined(&PlayerRef::named(name), None, 0);
    }
    // As Luanti does: the list behind the first leave already lacks the second.
    let mut left = roster.left(&PlayerRef::named("alice"), None, 10).len();
    left += roster
        .complete(&[PlayerRef::named("carol")], Witness::Log, 10)
        .len();
    left += roster.left(&PlayerRef::named("bob"), None, 10).len();
    left += roster
        .complete(&[PlayerRef::named("carol")], Witness::Log, 10)
        .len();
    assert_eq!((left, roster.counters.unknown_leaves), (2, 0));
    assert_eq!(names(&roster), ["carol"]);
    assert!(roster.left(&PlayerRef::named("mallory"), None, 20).is_empty());
    assert_eq!(roster.counters.unknown_leaves, 1);
}

#[test]
fn a_fresh_player_is_not_thrown_out_by_an_older_list() {
    let mut roster = Roster::default();
    roster.joined(&PlayerRef::named("new"), None, 1_000);
    for time in [1_500, 2_500, 3_500] {
        assert!(roster.complete(&[], Witness::Query, time).is_empty());
    }
    assert_eq!(roster.complete(&[], Witness::Query, 20_000).len(), 1);
}

#[test]
fn counts_and_roster_are_compared() {
    let mut roster = Roster::default();
    let count = PlayerCount {
        online: 3,
        bots: None,
        max: None,
    };
    roster.counted(count, Witness::Query, 0);
    assert_eq!(roster.disagreement(), None, "nobody was named yet");
    roster.joined(&PlayerRef::named("a"), None, 0);
    assert_eq!(roster.disagreement(), Some(-2));
}

fn any_ref() -> impl Strategy<Value = PlayerRef> {
    (
        prop::option::of(0u8..4),
        prop::option::of(0u64..4),
        prop::option::of(0u8..4),
        prop::option::of(0u8..3),
        prop::option::of(0u16..3),
    )
        .prop_map(|(id, slot, name, address, port)| PlayerRef {
            platform_id: id.map(|id| id.to_string().into()),
            slot,
            name: name.map(|name| name.to_string().into()),
            address: address.map(|last| [10, 0, 0, last].into()),
            port,
            kind: None,
        })
}

proptest! {
    #[test]
    fn whatever_is_said_joins_minus_leaves_is_who_plays(said in prop::collection::vec((0u8..6, any_ref()), 0..200)) {
        let mut roster = Roster::default();
        let (mut joined, mut left) = (0usize, 0usize);
        for (number, (what, who)) in said.iter().enumerate() {
            let now = number as i64 * 5_000;
            let changes = match what {
                0 => roster.connecting(who, now),
                1 => roster.joined(who, None, now),
                2 => roster.left(who, None, now),
                3 => roster.complete(std::slice::from_ref(who), Witness::Query, now),
                4 => roster.complete(std::slice::from_ref(who), Witness::Log, now),
                _ => {
                    roster.match_begun(now);
                    roster.tidy(now)
                }
            };
            for change in changes {
                match change {
                    Change::Joined(_) => joined += 1,
                    Change::Left(_) => left += 1,
                }
            }
            prop_assert_eq!(joined - left, roster.playing().count());
            prop_assert_eq!(roster.counters.joins as usize, joined);
            prop_assert_eq!(roster.counters.leaves as usize, left);
        }
        for index in 0..roster.players.len() {
            let who = &roster.players[index].who;
            if let Some(id) = &who.platform_id {
                let place = roster.by_id.get(id).copied();
                prop_assert!(place.is_some_and(|place| roster.players[place].who.platform_id.as_ref() == Some(id)));
            }
        }
    }
}
