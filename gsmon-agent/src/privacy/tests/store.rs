//! The identity store and the list of the forgotten.

use std::{path::Path, time::Duration};

use proptest::prelude::*;

use super::{super::*, DAY, HOUR, NOW, mode, set_mode, write_private};
use crate::{config::PrivacySettings, games::PlayerRef};

const ON: PrivacySettings = PrivacySettings {
    store_identities: true,
    retention: Duration::from_secs(7 * 24 * 3_600),
};

fn open(directory: &Path, now: i64) -> IdentityStore {
    IdentityStore::open(directory, &ON, now).unwrap().unwrap()
}

fn ann() -> PlayerRef {
    PlayerRef::identified("7656")
        .with_name("Ann")
        .with_address("192.0.2.7".parse().unwrap(), Some(5000))
}

fn shown(directory: &Path, player: &str) -> Vec<Disclosed> {
    let found = Archive::new(directory).show(&Selector::new(player)).unwrap();
    found.iter().map(StoredIdentity::disclose).collect()
}

fn values(values: &[DisclosedValue]) -> Vec<&str> {
    values.iter().map(|value| value.value.as_str()).collect()
}

#[test]
fn what_is_seen_is_found_by_each_of_its_parts() {
    let state = tempfile::tempdir().unwrap();
    let directory = state.path();
    let mut store = open(directory, NOW);
    let pseudonym = store.record(&ann(), NOW).unwrap();
    let later = PlayerRef::identified("7656")
        .with_name("Ann2")
        .with_address("2001:db8::7".parse().unwrap(), None);
    assert_eq!(store.record(&later, NOW + HOUR), Some(pseudonym));
    assert_eq!(store.record(&PlayerRef::in_slot(3), NOW), None);
    store.record(&PlayerRef::named("Bob"), NOW).unwrap();
    assert!(shown(directory, "Ann").is_empty(), "still in memory");
    let upkeep = store.upkeep(NOW + HOUR).unwrap();
    assert_eq!(
        upkeep,
        Upkeep {
            kept: 2,
            expired: 0,
            lost: 0
        }
    );
    for player in [
        "Ann",
        "Ann2",
        "7656",
        "192.0.2.7",
        "::ffff:192.0.2.7",
        "192.0.2.7:1",
        "[2001:db8::7]:9",
        &pseudonym.to_string(),
    ] {
        let found = shown(directory, player);
        assert_eq!(found.len(), 1, "{player}");
        assert_eq!(found[0].pseudonym, pseudonym);
        assert_eq!(values(&found[0].names), ["Ann", "Ann2"]);
        assert_eq!(values(&found[0].ids), ["7656"]);
        assert_eq!(values(&found[0].addresses), ["192.0.2.7", "2001:db8::7"]);
        assert_eq!(found[0].first_seen, "2030-03-17T17:46:40.000Z");
        assert_eq!(found[0].last_seen, "2030-03-17T18:46:40.000Z");
    }
    for nobody in ["ann", "An", "", "192.0.2.8", "p-00000000000000000000"] {
        assert!(shown(directory, nobody).is_empty(), "{nobody}");
    }
    let file = directory.join("identities.jsonl");
    assert_eq!(
        (mode(&file), mode(&directory.join("privacy.lock"))),
        (0o600, 0o600)
    );
    // Found again by the next agent.
    drop(store);
    let mut store = open(directory, NOW + 2 * HOUR);
    assert_eq!(store.record(&ann(), NOW + 2 * HOUR), Some(pseudonym));
    assert_eq!(
        store.show(&Selector::new("Ann"), NOW + 2 * HOUR).unwrap()[0].pseudonym(),
        pseudonym
    );
    let shown = format!("{store:?} {:?}", store.show(&Selector::new("Ann"), NOW).unwrap());
    assert!(!shown.contains("Ann") && !shown.contains("7656"), "{shown}");
}

#[test]
fn every_value_has_its_own_retention() {
    let state = tempfile::tempdir().unwrap();
    let directory = state.path();
    let mut store = open(directory, NOW);
    store.record(&ann(), NOW);
    store.record(&PlayerRef::named("Bob"), NOW);
    store.upkeep(NOW).unwrap();
    // Ann plays on, from elsewhere.
    let moved = PlayerRef::identified("7656")
        .with_name("Ann")
        .with_address("198.51.100.1".parse().unwrap(), None);
    store.record(&moved, NOW + 5 * DAY);
    assert_eq!(store.upkeep(NOW + 7 * DAY - 1).unwrap().kept, 2);
    assert_eq!(
        store.upkeep(NOW + 7 * DAY).unwrap(),
        Upkeep {
            kept: 1,
            expired: 1,
            lost: 0
        }
    );
    let found = shown(directory, "Ann");
    assert_eq!(
        values(&found[0].addresses),
        ["198.51.100.1"],
        "the old address is gone"
    );
    let text = std::fs::read_to_string(directory.join("identities.jsonl")).unwrap();
    assert!(!text.contains("Bob") && !text.contains("192.0.2.7"), "{text}");
    // At the start as well; and an empty store is no file.
    drop(store);
    open(directory, NOW + 12 * DAY);
    assert!(!directory.join("identities.jsonl").exists());
}

#[test]
fn a_clock_that_was_ahead_keeps_nothing_longer() {
    let state = tempfile::tempdir().unwrap();
    let directory = state.path();
    let mut store = open(directory, NOW);
    store.record(&ann(), NOW + 1_000 * DAY);
    store.upkeep(NOW).unwrap();
    assert_eq!(shown(directory, "Ann")[0].last_seen, "2030-03-17T17:46:40.000Z");
    assert_eq!(store.upkeep(NOW + 7 * DAY).unwrap().kept, 0);
}

#[test]
fn switched_off_nothing_is_kept_or_left() {
    let state = tempfile::tempdir().unwrap();
    let directory = state.path().join("gsmon");
    let off = PrivacySettings::default();
    assert!(IdentityStore::open(&directory, &off, NOW).unwrap().is_none());
    assert!(!directory.exists(), "nothing is made");
    let mut store = open(&directory, NOW);
    store.record(&ann(), NOW);
    store.upkeep(NOW).unwrap();
    // What a crash leaves behind goes as well.
    let unfinished = directory.join("identities.new");
    write_private(&unfinished, b"{}");
    assert!(IdentityStore::open(&directory, &off, NOW).unwrap().is_none());
    assert!(!directory.join("identities.jsonl").exists() && !unfinished.exists());
    assert!(
        directory.join("privacy.key").exists(),
        "pseudonyms stay what they are"
    );
}

#[test]
fn the_forgotten_do_not_come_back_from_memory() {
    let state = tempfile::tempdir().unwrap();
    let directory = state.path();
    let mut store = open(directory, NOW);
    let pseudonym = store.record(&ann(), NOW).unwrap();
    store.upkeep(NOW).unwrap();
    store.record(&ann(), NOW + 10);
    // The command line, beside the running agent.
    let archive = Archive::new(directory);
    let erased = archive
        .forget(&Selector::new("Ann"), Matches::One, NOW + 20)
        .unwrap();
    assert_eq!(erased.identities_removed, [pseudonym]);
    let key = PseudonymKey::load(directory).unwrap().unwrap();
    for identity in [
        RawIdentity::PlatformId("7656"),
        RawIdentity::Name("Ann"),
        RawIdentity::Address("192.0.2.7".parse().unwrap()),
    ] {
        assert!(
            erased.pseudonyms_forgotten.contains(&key.pseudonym(&identity)),
            "{identity:?}"
        );
    }
    assert_eq!(store.upkeep(NOW + 30).unwrap().kept, 0);
    assert!(shown(directory, "7656").is_empty());
    // Who plays on is seen anew, and with nothing of before.
    let now = PlayerRef::identified("7656").with_name("New");
    store.record(&ann(), NOW + 15);
    store.record(&now, NOW + 40);
    store.upkeep(NOW + 50).unwrap();
    let found = shown(directory, "7656");
    assert_eq!(values(&found[0].names), ["New"]);
    assert!(found[0].addresses.is_empty());
    assert_eq!(found[0].first_seen, found[0].names[0].first_seen);
    // One who never reached the file is forgotten all the same, by a part that is not its pseudonym.
    let bob = PlayerRef::identified("8").with_name("Bob");
    store.record(&bob, NOW + 60);
    let erased = archive
        .forget(&Selector::new("Bob"), Matches::One, NOW + 70)
        .unwrap();
    assert!(erased.identities_removed.is_empty() && erased.pseudonyms_forgotten.len() == 2);
    store.upkeep(NOW + 80).unwrap();
    assert!(shown(directory, "8").is_empty() && shown(directory, "Bob").is_empty());
    // The library's way asks memory as well.
    store.record(&bob, NOW + 90);
    let erased = store
        .forget(&Selector::new("Bob"), Matches::One, NOW + 100)
        .unwrap();
    assert_eq!(erased.identities_removed.len(), 1);
}

#[test]
fn the_list_of_the_forgotten_serves_whoever_keeps_rows() {
    let state = tempfile::tempdir().unwrap();
    let directory = state.path();
    let archive = Archive::new(directory);
    // Without a key nobody ever had a pseudonym.
    let erased = archive.forget(&Selector::new("Ann"), Matches::One, NOW).unwrap();
    assert!(erased.pseudonyms_forgotten.is_empty() && archive.forgotten().unwrap().is_empty());
    PseudonymKey::load_or_create(directory).unwrap();
    archive.forget(&Selector::new("Ann"), Matches::One, NOW).unwrap();
    let first = archive.forgotten().unwrap();
    assert_eq!(first.len(), 2, "as a name and as an id");
    assert!(first.iter().all(|entry| entry.unix_ms == NOW));
    assert_eq!(mode(&directory.join("forgotten.jsonl")), 0o600);
    // Forgotten again while rows of the first time are being removed: that entry stays.
    let again = archive
        .forget(
            &Selector::new(&first[0].pseudonym.to_string()),
            Matches::One,
            NOW + 1,
        )
        .unwrap();
    assert_eq!(again.pseudonyms_forgotten, [first[0].pseudonym]);
    archive.erased_everywhere(&first).unwrap();
    let left = archive.forgotten().unwrap();
    assert_eq!(
        left,
        [Forgotten {
            pseudonym: first[0].pseudonym,
            unix_ms: NOW + 1
        }]
    );
}

#[test]
fn two_with_one_name_are_not_both_forgotten_by_mistake() {
    let state = tempfile::tempdir().unwrap();
    let directory = state.path();
    let mut store = open(directory, NOW);
    let one = store
        .record(&PlayerRef::identified("1").with_name("Steve"), NOW)
        .unwrap();
    let two = store
        .record(&PlayerRef::identified("2").with_name("Steve"), NOW)
        .unwrap();
    store.upkeep(NOW).unwrap();
    let archive = Archive::new(directory);
    let steve = Selector::new("Steve");
    let message = archive.forget(&steve, Matches::One, NOW).unwrap_err().to_string();
    assert!(
        message.contains(&one.to_string()) && message.contains(&two.to_string()) && message.contains("--all"),
        "{message}"
    );
    assert!(!message.contains("Steve"));
    assert_eq!(shown(directory, "Steve").len(), 2);
    assert!(archive.forgotten().unwrap().is_empty());
    archive
        .forget(&Selector::new(&one.to_string()), Matches::One, NOW)
        .unwrap();
    assert_eq!(shown(directory, "Steve")[0].pseudonym, two);
    store.record(&PlayerRef::identified("1").with_name("Steve"), NOW + 1);
    store.upkeep(NOW + 1).unwrap();
    let erased = archive.forget(&steve, Matches::All, NOW + 2).unwrap();
    assert_eq!(erased.identities_removed.len(), 2);
}

#[test]
fn an_export_has_everything_and_says_what_it_is() {
    let state = tempfile::tempdir().unwrap();
    let directory = state.path();
    let mut store = open(directory, NOW);
    let pseudonym = store.record(&ann(), NOW).unwrap();
    Archive::new(directory)
        .forget(&Selector::new("Ann"), Matches::One, NOW - 1)
        .unwrap();
    let export = store.export(&Selector::new("Ann"), NOW).unwrap();
    let json = serde_json::to_value(&export).unwrap();
    assert_eq!(json["format"], "gsmon privacy export 1");
    assert_eq!(json["created"], "2030-03-17T17:46:40.000Z");
    assert_eq!(json["identities"][0]["pseudonym"], pseudonym.to_string());
    assert_eq!(json["identities"][0]["names"][0]["value"], "Ann");
    assert_eq!(json["forgotten"].as_array().unwrap().len(), 2);
    assert!(export.pseudonyms.contains(&pseudonym) && export.pseudonyms.len() >= 3);
}

#[test]
fn the_store_is_bounded() {
    let state = tempfile::tempdir().unwrap();
    let directory = state.path();
    let mut store = open(directory, NOW);
    for index in 0..50_010_i64 {
        store.record(&PlayerRef::identified(&index.to_string()), NOW + index);
    }
    let upkeep = store.upkeep(NOW + DAY).unwrap();
    assert_eq!((upkeep.kept, upkeep.lost), (50_000, 10), "memory was full");
    for index in 0..5_i64 {
        store.record(&PlayerRef::named(&format!("late {index}")), NOW + DAY + index);
    }
    let upkeep = store.upkeep(NOW + DAY + 10).unwrap();
    assert_eq!(
        (upkeep.kept, upkeep.lost),
        (50_000, 5),
        "the ones seen longest ago go"
    );
    let text = std::fs::read_to_string(directory.join("identities.jsonl")).unwrap();
    let has = |value: &str| text.contains(&format!("\"value\":\"{value}\""));
    assert!(has("late 0") && has("late 4") && has("5") && !has("0") && !has("4"));
    // One who changes names all the time, with names of any length.
    for index in 0..100_i64 {
        let player = PlayerRef::identified("n").with_name(&format!("{index} {}", "\u{1}".repeat(10_000)));
        store.record(&player, NOW + DAY + index);
    }
    store.upkeep(NOW + DAY + 200).unwrap();
    let found = shown(directory, "n");
    assert_eq!(found[0].names.len(), 16);
    assert!(
        found[0]
            .names
            .iter()
            .all(|name| name.value.chars().count() == 256)
    );
    assert!(
        found[0].names.iter().any(|name| name.value.starts_with("99 ")),
        "the last ones"
    );
}

#[test]
fn broken_and_open_files_are_refused_and_stay() {
    let state = tempfile::tempdir().unwrap();
    let directory = state.path();
    let mut store = open(directory, NOW);
    store.record(&ann(), NOW);
    store.upkeep(NOW).unwrap();
    let file = directory.join("identities.jsonl");
    let good = std::fs::read(&file).unwrap();
    set_mode(&file, 0o644);
    let message = store.upkeep(NOW).unwrap_err().to_string();
    assert!(message.contains("0644"), "{message}");
    let mut broken = good.clone();
    broken.extend_from_slice(b"{\"pseudonym\":\"Ann of 192.0.2.7\"}\n");
    write_private(&file, &broken);
    store.record(&PlayerRef::named("Bob"), NOW);
    let message = store.upkeep(NOW).unwrap_err().to_string();
    assert!(
        message.contains("line 2") && message.contains("identities.jsonl"),
        "{message}"
    );
    assert!(
        !message.contains("Ann"),
        "content does not reach a log: {message}"
    );
    assert_eq!(std::fs::read(&file).unwrap(), broken);
    // Mended, and what came meanwhile is still there.
    write_private(&file, &good);
    assert_eq!(store.upkeep(NOW).unwrap().kept, 2);
    write_private(&directory.join("forgotten.jsonl"), b"[]");
    assert!(
        store
            .upkeep(NOW)
            .unwrap_err()
            .to_string()
            .contains("forgotten.jsonl")
    );
}

#[test]
fn changes_take_turns() {
    let state = tempfile::tempdir().unwrap();
    let directory = state.path().to_owned();
    let mut store = open(&directory, NOW);
    for index in 0..20 {
        store.record(&PlayerRef::named(&format!("player {index}")), NOW);
    }
    store.upkeep(NOW).unwrap();
    let forgetting: Vec<_> = (0..4)
        .map(|thread| {
            let archive = Archive::new(&directory);
            std::thread::spawn(move || {
                for index in (thread..20).step_by(4) {
                    let player = Selector::new(&format!("player {index}"));
                    archive.forget(&player, Matches::One, NOW + 1).unwrap();
                }
            })
        })
        .collect();
    for thread in forgetting {
        thread.join().unwrap();
    }
    assert!(!directory.join("identities.jsonl").exists());
    assert_eq!(
        Archive::new(&directory).forgotten().unwrap().len(),
        40,
        "no entry overwrites another"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_file_makes_it_panic(
        key in prop::option::of(prop::collection::vec(any::<u8>(), 0..40)),
        identities in garbage(),
        forgotten in garbage(),
        player in ".{0,30}",
    ) {
        let state = tempfile::tempdir().unwrap();
        for (name, bytes) in [("privacy.key", key), ("identities.jsonl", Some(identities)), ("forgotten.jsonl", Some(forgotten))] {
            if let Some(bytes) = bytes {
                write_private(&state.path().join(name), &bytes);
            }
        }
        let archive = Archive::new(state.path());
        let player = Selector::new(&player);
        let _ = archive.show(&player).map(|found| found.iter().map(StoredIdentity::disclose).count());
        let _ = archive.export(&player, NOW);
        let _ = archive.forget(&player, Matches::All, NOW);
        let _ = archive.forgotten().map(|entries| archive.erased_everywhere(&entries));
        if let Ok(Some(mut store)) = IdentityStore::open(state.path(), &ON, NOW) {
            store.record(&ann(), NOW);
            let _ = store.upkeep(i64::MAX);
            let _ = store.upkeep(i64::MIN);
        }
    }

    #[test]
    fn what_is_seen_is_found(name in ".{1,60}", id in "[0-9A-Za-z:-]{1,40}", address in any::<std::net::IpAddr>()) {
        let state = tempfile::tempdir().unwrap();
        let mut store = open(state.path(), NOW);
        let player = PlayerRef::identified(&id).with_name(&name).with_address(address, None);
        let pseudonym = store.record(&player, NOW).unwrap();
        store.upkeep(NOW).unwrap();
        for text in [name, id, address.to_string(), pseudonym.to_string()] {
            let found = shown(state.path(), &text);
            prop_assert_eq!(found.len(), 1);
            prop_assert_eq!(found[0].pseudonym, pseudonym);
        }
    }
}

/// Bytes, and lines that look right in parts.
fn garbage() -> impl Strategy<Value = Vec<u8>> {
    let number = prop_oneof![any::<i64>(), Just(i64::MIN), Just(i64::MAX), Just(NOW)];
    let line = (number.clone(), number, "[0-9a-z]{20}", ".{0,10}").prop_map(|(first, last, pseudonym, name)| {
        let value = serde_json::json!({"value": name, "first_seen": first, "last_seen": last});
        serde_json::json!({"pseudonym": format!("p-{pseudonym}").replace(['i', 'l', 'o', 'u'], "0"), "first_seen": first, "names": [value]})
            .to_string()
            .into_bytes()
    });
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..200),
        prop::collection::vec(line, 0..4).prop_map(|lines| lines.join(&b'\n')),
    ]
}

#[test]
fn a_player_of_a_fleet_is_forgotten_on_its_hosts_by_one_pseudonym() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let shared = PseudonymKey::from_bytes(&[9; 32]);
    for state in [&here, &there] {
        let mut store = open(state.path(), NOW);
        store.record(&ann(), NOW).unwrap();
        store.record(&PlayerRef::named("Bob"), NOW).unwrap();
        store.upkeep(NOW).unwrap();
    }
    let archive = |state: &tempfile::TempDir| Archive::new(state.path()).with_shared(shared.clone());
    let erased = archive(&here)
        .forget(&Selector::new("Ann"), Matches::One, NOW + HOUR)
        .unwrap();
    // As the fleet has them: by platform id.
    let of_fleet = shared.pseudonym(&RawIdentity::PlatformId("7656"));
    assert!(erased.of_the_fleet.contains(&of_fleet), "{erased:?}");
    assert!(erased.pseudonyms_forgotten.contains(&of_fleet));
    let typed = Selector::new(&of_fleet.to_string());
    assert_eq!(archive(&there).show(&typed).unwrap().len(), 1);
    let erased = archive(&there).forget(&typed, Matches::One, NOW + HOUR).unwrap();
    assert_eq!(erased.identities_removed.len(), 1);
    let own = PseudonymKey::load(there.path()).unwrap().unwrap();
    for identity in [RawIdentity::PlatformId("7656"), RawIdentity::Name("Ann")] {
        assert!(erased.pseudonyms_forgotten.contains(&own.pseudonym(&identity)));
    }
    assert!(erased.pseudonyms_forgotten.contains(&of_fleet));
    assert!(shown(there.path(), "Ann").is_empty() && shown(there.path(), "Bob").len() == 1);
    // Who has no shared key takes it for a pseudonym of this host, and finds nobody.
    let none = Archive::new(here.path()).show(&typed).unwrap();
    assert!(none.is_empty());
}
