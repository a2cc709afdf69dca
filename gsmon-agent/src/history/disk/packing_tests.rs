//! Events of past days and players' lines: what goes in comes out, once, whatever it lies in, and what is forgotten is gone.

use std::{collections::BTreeMap, path::Path};

use super::{
    super::{
        HistoryReader,
        check::vacuum,
        file::{HistoryFile, Interval},
        forgetting::Forgetting,
        upkeep::{Removal, Retention},
    },
    *,
};
use crate::{
    config::HistorySettings,
    history::{
        HistorySource, TimeRange,
        events::{Event, EventKind, Told},
    },
    privacy::{Archive, Matches, PseudonymKey, RawIdentity, Selector},
};

/// The beginning of a day.
const BEGIN_MS: i64 = 20_000 * DAY_MS;
const MINUTE_MS: i64 = 60_000;

fn key() -> PseudonymKey {
    PseudonymKey::from_bytes(&[3; 32])
}

fn named(name: &str) -> Pseudonym {
    key().pseudonym(&RawIdentity::Name(name))
}

fn line(server: &str, minute: i64, name: &str) -> StoredLine {
    StoredLine {
        server: server.into(),
        from_unix_ms: BEGIN_MS + minute * MINUTE_MS,
        player: key().pseudonym(&RawIdentity::PlatformId(name)),
        also: [Some(named(name)), None],
        region: Some("EU".into()),
        rtt_p50_ms: Some(20.0 + (minute % 7) as f32),
        rtt_p95_ms: Some(64.0),
        jitter_ms: None,
        loss_up_ratio: Some(0.0),
        loss_down_ratio: None,
    }
}

fn event(server: &str, minute: i64, kind: EventKind, word: Option<&str>) -> Event {
    Event {
        server: server.into(),
        unix_ms: BEGIN_MS + minute * MINUTE_MS + 500,
        kind,
        word: word.map(Into::into),
        times: 1 + (minute % 3) as u32,
    }
}

/// What a minute brings: lines of the one before, events.
fn minute(at: i64) -> Told {
    let mut told = Told {
        lines: vec![
            line("arena", at - 1, "Ann"),
            line("arena", at - 1, "Bob"),
            line("lobby", at - 1, "Ann"),
        ],
        ..Told::default()
    };
    told.events.push(event("arena", at, EventKind::Join, None));
    if at % 10 == 0 {
        told.events
            .push(event("arena", at, EventKind::Action, Some("throw")));
        told.events
            .push(event("lobby", at, EventKind::Phase, Some("active")));
    }
    told
}

fn retention() -> Retention {
    Retention::of(&HistorySettings::default())
}

fn write(file: &mut HistoryFile, minutes: std::ops::Range<i64>) {
    for at in minutes {
        let interval = Interval {
            unix_ms: BEGIN_MS + at * MINUTE_MS,
            frames: Vec::new(),
            told: minute(at),
        };
        file.write([interval].iter()).unwrap();
        file.step(BEGIN_MS + at * MINUTE_MS, &retention(), Removal::Allowed)
            .unwrap();
    }
}

fn rows(path: &Path, table: &str) -> u64 {
    let stats = HistoryReader::open(path).unwrap().stats().unwrap();
    let found = stats.tables.iter().find(|known| known.table == table).unwrap();
    found.rows
}

fn lines_of(path: &Path, server: &str) -> Vec<StoredLine> {
    let reader = HistoryReader::open(path).unwrap();
    let mut lines = reader.lines(server, TimeRange::ALL).unwrap();
    lines.sort_by_key(|line| (line.from_unix_ms, line.player));
    lines
}

#[test]
fn lines_and_events_come_out_once_from_rows_and_blocks() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history.db");
    let mut file = HistoryFile::open(&path).unwrap();
    write(&mut file, 1..700);
    // As an agent that is started again.
    file.close();
    let mut file = HistoryFile::open(&path).unwrap();
    write(&mut file, 700..1_700);
    assert!(
        rows(&path, "players' lines") >= 2 * 27,
        "an hour of a server is a block"
    );
    assert!(rows(&path, "lines of this hour") < 2 * 64);
    assert_eq!(rows(&path, "events of past days"), 2);
    assert!(rows(&path, "events") < 400);
    let mut meant: Vec<StoredLine> = (1..1_700)
        .flat_map(|at| minute(at).lines)
        .filter(|line| &*line.server == "arena")
        .collect();
    meant.sort_by_key(|line| (line.from_unix_ms, line.player));
    assert_eq!(lines_of(&path, "arena"), meant, "these figures are kept exactly");
    let reader = HistoryReader::open(&path).unwrap();
    let mut meant: Vec<Event> = (1..1_700).flat_map(|at| minute(at).events).collect();
    meant.sort_by(|a, b| (a.unix_ms, &a.server, a.kind).cmp(&(b.unix_ms, &b.server, b.kind)));
    assert_eq!(reader.events(None, TimeRange::ALL).unwrap(), meant);
    let part = TimeRange {
        from_unix_ms: BEGIN_MS + 100 * MINUTE_MS,
        to_unix_ms: BEGIN_MS + 110 * MINUTE_MS,
    };
    // The interval that ends with the first minute belongs to the time as well.
    assert_eq!(
        reader.lines("lobby", part).unwrap().len(),
        11,
        "minutes that the time has anything of"
    );
    let events = reader.events(Some("lobby"), part).unwrap();
    assert_eq!(events.len(), 1, "{events:?}");
    let report = reader.check().unwrap();
    assert!(report.is_sound(), "{report:?}");
}

#[test]
fn what_is_past_its_retention_goes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history.db");
    let mut file = HistoryFile::open(&path).unwrap();
    write(&mut file, 1..1_600);
    let step = |file: &mut HistoryFile, hours: i64| {
        let now_ms = BEGIN_MS + hours * 60 * MINUTE_MS;
        for _ in 0..400 {
            file.step(now_ms, &retention(), Removal::Allowed).unwrap();
        }
    };
    step(&mut file, 24 + 48);
    let oldest = lines_of(&path, "arena")[0].from_unix_ms;
    assert!(
        (BEGIN_MS + 23 * 60 * MINUTE_MS..=BEGIN_MS + 24 * 60 * MINUTE_MS).contains(&oldest),
        "an hour of lines goes when all of it is too old: {}",
        (oldest - BEGIN_MS) / MINUTE_MS
    );
    step(&mut file, 35 * 24 + 50);
    assert!(lines_of(&path, "arena").is_empty());
    let reader = HistoryReader::open(&path).unwrap();
    assert!(reader.events(None, TimeRange::ALL).unwrap().is_empty());
}

#[test]
fn who_is_forgotten_is_gone_up_to_that_moment_and_nobody_else() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history.db");
    let mut file = HistoryFile::open(&path).unwrap();
    write(&mut file, 1..300);
    let moment = BEGIN_MS + 290 * MINUTE_MS + 1;
    // By name, although the rows are of the platform id.
    let gone = file.forget(&BTreeMap::from([(named("Ann"), moment)])).unwrap();
    assert_eq!(gone, 2 * 291);
    let left = lines_of(&path, "arena");
    let ann: Vec<i64> = left
        .iter()
        .filter(|line| line.also[0] == Some(named("Ann")))
        .map(|line| (line.from_unix_ms - BEGIN_MS) / MINUTE_MS)
        .collect();
    assert_eq!(ann, (291..299).collect::<Vec<i64>>());
    assert_eq!(left.len(), 299 + ann.len(), "Bob's are all there");
    // The bytes are gone as well once the file has no unused parts: eight minutes are left on two servers.
    drop(file);
    vacuum(&path).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let player = key().pseudonym(&RawIdentity::PlatformId("Ann")).to_bytes();
    let reader = HistoryReader::open(&path).unwrap();
    let lobby = reader.lines("lobby", TimeRange::ALL).unwrap();
    assert_eq!(lobby.len(), 8);
    let found = bytes
        .windows(player.len())
        .filter(|window| *window == player)
        .count();
    assert_eq!(found, 2 * 8);
    assert!(reader.check().unwrap().is_sound());
}

#[test]
fn the_list_of_the_forgotten_is_seen_to_and_emptied() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history.db");
    let mut file = HistoryFile::open(&path).unwrap();
    write(&mut file, 1..100);
    PseudonymKey::load_or_create(directory.path()).unwrap();
    let archive = Archive::new(directory.path());
    let moment = BEGIN_MS + 99 * MINUTE_MS;
    // The pseudonym itself: this directory has another key than the lines above.
    let selector = Selector::new(&named("Ann").to_string());
    archive.forget(&selector, Matches::One, moment).unwrap();
    let mut forgetting = Forgetting::of(archive.clone());
    forgetting.go_on(&mut file, moment + 1);
    assert_eq!(lines_of(&path, "arena").len(), 99);
    assert_eq!(archive.forgotten().unwrap().len(), 1);
    // A minute that was being written then.
    let late = Interval {
        unix_ms: moment + MINUTE_MS,
        frames: Vec::new(),
        told: minute(99),
    };
    file.write([late].iter()).unwrap();
    let mut again = Forgetting::of(archive.clone());
    again.go_on(&mut file, moment + 10 * MINUTE_MS);
    assert_eq!(
        lines_of(&path, "arena").len(),
        100,
        "Ann is gone, Bob was written twice"
    );
    let mut last = Forgetting::of(archive.clone());
    last.go_on(&mut file, moment + 180 * MINUTE_MS);
    assert!(archive.forgotten().unwrap().is_empty());
}
