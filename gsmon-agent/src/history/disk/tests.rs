//! The file over hours: what goes in comes out, once, whatever it has become meanwhile.

use std::path::Path;

use super::{
    HistoryReader,
    file::{HistoryFile, Interval},
    upkeep::{Removal, Retention},
};
use crate::{
    config::HistorySettings,
    history::{
        Detector, Frame, HistorySource, Measure, Resolution, Severity, StoredCause, StoredFinding,
        StoredSpike, TimeRange,
        events::{Event, EventKind, Told},
        rollup::Span,
    },
};

/// Ten seconds before an hour and a day begin.
const BEGIN_MS: i64 = 20_000 * 86_400_000 - 10_000;

fn frame(end_ms: i64, second: i64) -> Frame {
    let mut frame = Frame::new(end_ms, 1.0)
        .with(Measure::Players, (second % 100) as f64)
        .with(Measure::TickP99Ms, if second % 50 == 0 { 90.0 } else { 10.0 });
    frame.map = Some(if second % 7_200 < 3_600 { "dust" } else { "aztec" }.into());
    frame
}

fn interval(servers: &[&str], end_ms: i64, second: i64) -> Interval {
    Interval {
        unix_ms: end_ms,
        frames: servers
            .iter()
            .map(|server| ((*server).into(), frame(end_ms, second)))
            .collect(),
        told: Told::default(),
    }
}

fn retention() -> Retention {
    Retention::of(&HistorySettings::default())
}

/// Writes so many seconds, with the steps in between that an agent would make.
fn write(
    file: &mut HistoryFile,
    servers: &[&str],
    from_ms: i64,
    seconds: std::ops::Range<i64>,
    kept: &Retention,
) {
    // Several in one transaction, for the time that tests take: the rows are the same.
    let seconds: Vec<i64> = seconds.collect();
    for some in seconds.chunks(20) {
        let end_ms = |second: i64| from_ms + (second + 1) * 1_000;
        let intervals: Vec<Interval> = some
            .iter()
            .map(|second| interval(servers, end_ms(*second), *second))
            .collect();
        file.write(intervals.iter()).unwrap();
        file.step(end_ms(some[some.len() - 1]), kept, Removal::Allowed)
            .unwrap();
    }
}

fn frames(path: &Path, server: &str, resolution: Resolution) -> Vec<Frame> {
    let reader = HistoryReader::open(path).unwrap();
    reader.frames(server, TimeRange::ALL, resolution).unwrap()
}

#[test]
fn every_second_comes_out_once_from_journal_and_blocks() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history.db");
    let servers = ["arena", "lobby"];
    let mut file = HistoryFile::open(&path).unwrap();
    write(&mut file, &servers, BEGIN_MS, 0..4_000, &retention());
    // As an agent that is started again.
    file.close();
    let mut file = HistoryFile::open(&path).unwrap();
    write(&mut file, &servers, BEGIN_MS, 4_000..9_000, &retention());
    for server in servers {
        let raw = frames(&path, server, Resolution::Raw);
        let ends: Vec<i64> = raw.iter().map(|frame| frame.unix_ms).collect();
        let meant: Vec<i64> = (1..=9_000).map(|second| BEGIN_MS + second * 1_000).collect();
        assert_eq!(ends, meant);
        assert_eq!(raw[77].get(Measure::Players), Some(77.0));
        assert_eq!(raw[5_000].map.as_deref(), Some("aztec"));
        let minutes = frames(&path, server, Resolution::Rolled(Span::Minute));
        let covered: f64 = minutes.iter().map(|frame| frame.seconds).sum();
        assert_eq!(covered, 9_000.0);
        let hours = frames(&path, server, Resolution::Rolled(Span::Hour));
        assert_eq!(
            hours.iter().map(|frame| frame.seconds).collect::<Vec<_>>(),
            [10.0, 3_600.0, 3_600.0, 1_790.0]
        );
    }
    let reader = HistoryReader::open(&path).unwrap();
    let part = TimeRange {
        from_unix_ms: BEGIN_MS + 700_000,
        to_unix_ms: BEGIN_MS + 702_000,
    };
    let raw = reader.frames("arena", part, Resolution::Raw).unwrap();
    assert_eq!(raw.len(), 3);
    let figure = reader
        .figure("arena", TimeRange::ALL, Measure::TickP99Ms)
        .unwrap()
        .unwrap();
    assert_eq!((figure.count, figure.max), (9_000, 90.0));
    let told = [0.5, 0.975, 0.985].map(|share| figure.quantile(share).unwrap());
    assert!(
        (told[0] - 10.0).abs() < 0.3 && (told[1] - 10.0).abs() < 0.3 && (told[2] - 90.0).abs() < 2.7,
        "{told:?}"
    );
    let report = reader.check().unwrap();
    assert!(report.is_sound(), "{report:?}");
    let stats = reader.stats().unwrap();
    let rows = |name: &str| {
        stats
            .tables
            .iter()
            .find(|table| table.table == name)
            .unwrap()
            .rows
    };
    // The hours of the evening before are one day, the rest is not over.
    assert!(
        rows("minutes") >= 4 && rows("hours") >= 2 && rows("journal") < 700,
        "{stats:?}"
    );
    let unknown = reader
        .frames("other", part, Resolution::Raw)
        .unwrap_err()
        .to_string();
    assert!(unknown.contains("arena, lobby"), "{unknown}");
}

#[test]
fn a_clock_that_is_set_neither_doubles_nor_drops_anything() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history.db");
    let mut file = HistoryFile::open(&path).unwrap();
    let hour = 3_600_000;
    // Two hours, then back by one, then on by two, and then as after a change to winter: UTC knows none.
    write(&mut file, &["arena"], BEGIN_MS, 0..7_200, &retention());
    write(&mut file, &["arena"], BEGIN_MS + hour, 0..5_400, &retention());
    write(&mut file, &["arena"], BEGIN_MS + 4 * hour, 0..3_000, &retention());
    let raw = frames(&path, "arena", Resolution::Raw);
    assert_eq!(raw.len(), 7_200 + 5_400 + 3_000);
    // In the order in which they were measured.
    assert_eq!(raw[7_199].unix_ms, BEGIN_MS + 2 * hour);
    assert_eq!(raw[7_200].unix_ms, BEGIN_MS + hour + 1_000);
    let minutes = frames(&path, "arena", Resolution::Rolled(Span::Minute));
    assert!(minutes.windows(2).all(|pair| pair[0].unix_ms < pair[1].unix_ms));
    let covered: f64 = minutes.iter().map(|frame| frame.seconds).sum();
    assert_eq!(covered, 15_600.0);
    let twice = minutes.iter().filter(|frame| frame.seconds == 120.0).count();
    assert_eq!(twice, 59, "the hour that was there twice");
    assert!(HistoryReader::open(&path).unwrap().check().unwrap().is_sound());
}

#[test]
fn what_is_past_its_retention_goes_and_its_roll_ups_stay() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history.db");
    let kept = Retention::of(&HistorySettings {
        raw: std::time::Duration::from_secs(7_200),
        ..HistorySettings::default()
    });
    let mut file = HistoryFile::open(&path).unwrap();
    let told = |unix_ms: i64| Event {
        server: "arena".into(),
        unix_ms,
        kind: EventKind::Join,
        word: None,
        times: 1,
    };
    let mut first = interval(&["arena"], BEGIN_MS, 0);
    first.told.events = vec![told(BEGIN_MS - 36 * 86_400_000), told(BEGIN_MS)];
    file.write([first].iter()).unwrap();
    write(&mut file, &["arena"], BEGIN_MS, 0..5 * 3_600, &kept);
    let raw = frames(&path, "arena", Resolution::Raw);
    let oldest = (BEGIN_MS + 5 * 3_600_000 - raw[0].unix_ms) / 1_000;
    assert!((7_200..8_000).contains(&oldest), "{oldest} s");
    let minutes = frames(&path, "arena", Resolution::Rolled(Span::Minute));
    let covered: f64 = minutes.iter().map(|frame| frame.seconds).sum();
    assert_eq!(covered, 5.0 * 3_600.0 + 1.0);
    let reader = HistoryReader::open(&path).unwrap();
    let events = reader.events(Some("arena"), TimeRange::ALL).unwrap();
    assert_eq!(events, [told(BEGIN_MS)]);
    // While the clock is in doubt, nothing goes.
    let before = raw.len();
    for _ in 0..100 {
        file.step(BEGIN_MS + 400 * 86_400_000, &kept, Removal::Suspended)
            .unwrap();
    }
    assert_eq!(frames(&path, "arena", Resolution::Raw).len(), before);
}

#[test]
fn a_damaged_block_is_left_out_and_told() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history.db");
    let mut file = HistoryFile::open(&path).unwrap();
    write(&mut file, &["arena"], BEGIN_MS + 10_000, 0..1_900, &retention());
    file.connection
        .execute("UPDATE block SET data = zeroblob(100) WHERE seq = 1200", [])
        .unwrap();
    let reader = HistoryReader::open(&path).unwrap();
    let error = reader
        .frames("arena", TimeRange::ALL, Resolution::Raw)
        .unwrap_err();
    assert!(error.to_string().contains("checksum"), "{error}");
    let report = reader.check().unwrap();
    assert_eq!(report.blocks.len(), 1);
    assert!(report.blocks[0].contains("number 1200"), "{report:?}");
    write(
        &mut file,
        &["arena"],
        BEGIN_MS + 10_000,
        1_900..4_300,
        &retention(),
    );
    assert_eq!(file.damaged_blocks, 1);
    let stats = reader.stats().unwrap();
    assert_eq!(
        stats.tables[1].frames,
        Some(3_000),
        "the hour without the ten minutes"
    );
}

#[test]
fn events_and_sessions_come_back() {
    use crate::{history::events::Watcher, world::session::ask::tests::a_snapshot};
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history.db");
    let mut file = HistoryFile::open(&path).unwrap();
    let snapshot = a_snapshot();
    let interval = Interval {
        unix_ms: 1,
        frames: Vec::new(),
        told: Watcher::default().look(&snapshot),
    };
    file.write([interval].iter()).unwrap();
    let reader = HistoryReader::open(&path).unwrap();
    let sessions = reader.sessions(None, TimeRange::ALL).unwrap();
    let game = &snapshot.servers[0].game_state;
    assert_eq!(sessions.len(), 2);
    let running = sessions.iter().find(|session| session.id == "1-2").unwrap();
    assert_eq!(running.used, game.sessions[0].used);
    assert_eq!((running.ended_unix_ms, &*running.server), (None, "arena one"));
    assert_eq!(running.map, game.sessions[0].map);
    let events = reader.events(Some("arena one"), TimeRange::ALL).unwrap();
    let kinds: Vec<EventKind> = events.iter().map(|event| event.kind).collect();
    assert_eq!(kinds, [EventKind::SessionBegun, EventKind::SessionEnded]);
}

#[test]
fn an_interval_that_fails_leaves_nothing_behind() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history.db");
    let mut file = HistoryFile::open(&path).unwrap();
    write(&mut file, &["arena"], BEGIN_MS, 0..3, &retention());
    file.connection.execute_batch("PRAGMA query_only = 1").unwrap();
    let one = interval(&["arena", "new"], BEGIN_MS + 4_000, 3);
    file.write([one.clone()].iter()).unwrap_err();
    file.connection.execute_batch("PRAGMA query_only = 0").unwrap();
    file.write([one].iter()).unwrap();
    assert_eq!(frames(&path, "arena", Resolution::Raw).len(), 4);
    assert_eq!(frames(&path, "new", Resolution::Raw).len(), 1);
}

/// As gsmon wrote files until schema 1, with a sketch of every minute.
fn of_schema_1(path: &Path) {
    let kept = retention();
    let mut file = HistoryFile::open(path).unwrap();
    write(&mut file, &["arena"], BEGIN_MS + 10_000, 0..9_000, &kept);
    let connection = &file.connection;
    let mut frames: Vec<Frame> = Vec::new();
    let whole = TimeRange {
        from_unix_ms: BEGIN_MS + 10_001,
        to_unix_ms: BEGIN_MS + 10_000 + 3_600_000,
    };
    let reader = HistoryReader::open(path).unwrap();
    reader
        .each_frame("arena", whole, Resolution::Raw, &mut |frame| frames.push(frame))
        .unwrap();
    let mut minutes = std::collections::BTreeMap::new();
    crate::history::rollup::roll_frames(&mut minutes, &frames, Span::Minute);
    let minutes: Vec<_> = minutes.into_values().collect();
    let data = super::rollups::tests::pack_as_before(&minutes, &file.names);
    let changed = connection
        .execute(
            "UPDATE block SET data = ?1 WHERE tier = 1 AND seq = (SELECT min(seq) FROM block WHERE tier = 1)",
            [data],
        )
        .unwrap();
    assert_eq!(changed, 1);
    connection
        .execute_batch("DROP TABLE spike; DROP TABLE line; DROP TABLE finding; PRAGMA user_version = 1;")
        .unwrap();
    file.close();
}

#[test]
fn a_file_of_schema_1_is_read_as_it_is_and_brought_up_to_date() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history.db");
    of_schema_1(&path);
    let look = || {
        let reader = HistoryReader::open(&path).unwrap();
        let figure = reader.figure("arena", TimeRange::ALL, Measure::TickP99Ms);
        let figure = figure.unwrap().unwrap();
        assert_eq!((figure.count, figure.sketch.count()), (9_000, 9_000));
        assert!((figure.quantile(0.985).unwrap() - 90.0).abs() < 2.7);
        assert!(reader.check().unwrap().is_sound());
        let spikes = reader.spikes(None, TimeRange::ALL).unwrap();
        assert!(reader.lines("arena", TimeRange::ALL).unwrap().is_empty());
        (reader.stats().unwrap(), spikes.len())
    };
    let (stats, spikes) = look();
    assert_eq!((stats.schema_version, spikes), (1, 0));
    let mut file = HistoryFile::open(&path).unwrap();
    let mut next = interval(&["arena"], BEGIN_MS + 10_000 + 9_001_000, 9_001);
    next.frames.clear();
    next.told.spikes.push(a_spike(BEGIN_MS));
    file.write([next].iter()).unwrap();
    let (stats, spikes) = look();
    assert_eq!((stats.schema_version, spikes), (4, 1));
    // A day on, what is from before is in hours and in fewer blocks of minutes.
    write(
        &mut file,
        &["arena"],
        BEGIN_MS + 86_410_000,
        0..7_200,
        &retention(),
    );
    let reader = HistoryReader::open(&path).unwrap();
    let figure = reader.figure("arena", TimeRange::ALL, Measure::TickP99Ms);
    let figure = figure.unwrap().unwrap();
    assert_eq!((figure.count, figure.sketch.count()), (16_200, 16_200));
    assert!(reader.check().unwrap().is_sound());
}

fn a_spike(unix_ms: i64) -> StoredSpike {
    StoredSpike {
        server: "arena".into(),
        unix_ms,
        measure: Measure::TickP99Ms,
        seconds: 2.5,
        peak: 80.5,
        usual: 10.25,
        deviations: 44.0,
        causes: vec![StoredCause {
            cause: "joins".into(),
            measure: Measure::Joins,
            value: 6.0,
            usual: 0.0,
            usual_range: (0.0, 1.0),
            p_value: 0.000_1,
            lead_seconds: 1.0,
            observations: 280,
        }],
        not_measured: vec!["steal".into()],
    }
}

#[test]
fn spikes_come_back_once_and_go_with_the_sessions() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history.db");
    let mut file = HistoryFile::open(&path).unwrap();
    let mut first = interval(&["arena", "lobby"], BEGIN_MS, 0);
    let old = a_spike(BEGIN_MS - 731 * 86_400_000);
    first.told.spikes = vec![a_spike(BEGIN_MS), old, a_spike(BEGIN_MS)];
    file.write([first].iter()).unwrap();
    let reader = HistoryReader::open(&path).unwrap();
    assert_eq!(reader.spikes(None, TimeRange::ALL).unwrap().len(), 2);
    for second in 1..5 {
        file.step(BEGIN_MS + second * 1_000, &retention(), Removal::Allowed)
            .unwrap();
    }
    assert_eq!(
        reader.spikes(Some("arena"), TimeRange::ALL).unwrap(),
        [a_spike(BEGIN_MS)]
    );
    assert!(reader.spikes(Some("lobby"), TimeRange::ALL).unwrap().is_empty());
    assert!(reader.spikes(Some("other"), TimeRange::ALL).is_err());
    assert!(reader.check().unwrap().is_sound());
    file.connection
        .execute("UPDATE spike SET causes = '['", [])
        .unwrap();
    assert!(!reader.check().unwrap().is_sound());
}

#[test]
fn a_finding_that_is_found_again_keeps_its_row_and_goes_with_the_sessions() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history.db");
    let mut file = HistoryFile::open(&path).unwrap();
    let finding = |unix_ms: i64, last_unix_ms: i64| StoredFinding {
        server: "arena".into(),
        unix_ms,
        last_unix_ms,
        detector: Detector::MemoryGrowth,
        severity: Severity::High,
        says: "memory is lost".into(),
        evidence: serde_json::json!({"hours": 12.0}),
    };
    let mut first = interval(&["arena", "lobby"], BEGIN_MS, 0);
    let old = BEGIN_MS - 731 * 86_400_000;
    let again = finding(BEGIN_MS, BEGIN_MS + 3_600_000);
    first.told.findings = vec![finding(BEGIN_MS, BEGIN_MS), finding(old, old), again.clone()];
    file.write([first].iter()).unwrap();
    let reader = HistoryReader::open(&path).unwrap();
    assert_eq!(reader.findings(None, TimeRange::ALL).unwrap().len(), 2);
    for second in 1..5 {
        file.step(BEGIN_MS + second * 1_000, &retention(), Removal::Allowed)
            .unwrap();
    }
    let of_arena = reader.findings(Some("arena"), TimeRange::ALL).unwrap();
    assert_eq!(of_arena, std::slice::from_ref(&again));
    // It is there in all the time in which it was found.
    let later = TimeRange {
        from_unix_ms: BEGIN_MS + 60_000,
        to_unix_ms: BEGIN_MS + 120_000,
    };
    assert_eq!(reader.findings(None, later).unwrap(), [again]);
    assert!(reader.findings(Some("lobby"), TimeRange::ALL).unwrap().is_empty());
    assert!(reader.findings(Some("other"), TimeRange::ALL).is_err());
    assert!(reader.check().unwrap().is_sound());
    file.connection
        .execute("UPDATE finding SET evidence = '['", [])
        .unwrap();
    assert!(!reader.check().unwrap().is_sound());
    // Of a detector that is not known yet nothing is told.
    file.connection
        .execute("UPDATE finding SET detector = 'later'", [])
        .unwrap();
    assert!(reader.findings(None, TimeRange::ALL).unwrap().is_empty());
}

#[test]
fn minutes_of_a_day_are_joined_and_nothing_is_lost() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history.db");
    let mut file = HistoryFile::open(&path).unwrap();
    // Intervals of ten seconds: what becomes of a day is the same, and reading and writing it takes a tenth.
    const LENGTH_MS: i64 = 10_000;
    for minute in 0..25 * 60 {
        let intervals: Vec<Interval> = (1..=6)
            .map(|place| minute * 6 + place)
            .map(|place| {
                let end_ms = BEGIN_MS + 10_000 + place * LENGTH_MS;
                let mut interval = interval(&["arena"], end_ms, place);
                interval.frames[0].1.seconds = 10.0;
                interval
            })
            .collect();
        file.write(intervals.iter()).unwrap();
        file.step(intervals[5].unix_ms, &retention(), Removal::Allowed)
            .unwrap();
    }
    let reader = HistoryReader::open(&path).unwrap();
    let stats = reader.stats().unwrap();
    let table = |name: &str| stats.tables.iter().find(|table| table.table == name).unwrap();
    assert_eq!(table("hours").frames, Some(8_640));
    // Four of six hours, and the first of the next day at most.
    assert!((4..=5).contains(&table("minutes").rows), "{stats:?}");
    let minutes = frames(&path, "arena", Resolution::Rolled(Span::Minute));
    assert_eq!(minutes.len(), 1_500);
    assert!(minutes.iter().all(|minute| minute.seconds == 60.0));
    let tens = reader.rollups("arena", TimeRange::ALL, Span::TenMinutes).unwrap();
    assert_eq!(tens.len(), 150);
    for ten in &tens {
        let figure = &ten.figures[&Measure::TickP99Ms];
        assert_eq!((figure.count, figure.sketch.count()), (60, 60));
    }
    assert!(reader.check().unwrap().is_sound());
}
