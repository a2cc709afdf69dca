//! Looks at each server's memory of the last day every six hours, and hands what is lost to the history as a finding. Not
//! here: what a leak is (`analysis::scaling::find_leak`, whose evaluation tells how often such looks are wrong).

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use crate::{
    analysis::scaling::{LeakReport, LeakVerdict, find_leak},
    history::{
        Detector, History, HistorySource, Resolution, Severity, SourceError, StoredFinding, TimeRange,
        rollup::Span,
    },
    world::snapshot::Snapshot,
};

/// Each server is looked at this often,
const EVERY_MS: i64 = 6 * 3_600_000;
/// and first so long after the agent has begun.
const FIRST_MS: i64 = 600_000;
/// What is looked at.
const RANGE: Duration = Duration::from_secs(86_400);
/// From so much of its memory per hour on a leak is of high severity: a day doubles it.
const HIGH_PER_HOUR: f64 = 0.04;

/// When each server is looked at next.
#[derive(Debug, Default)]
pub struct LeakWatch {
    due: HashMap<String, i64>,
    /// One look at a time, beside the measuring.
    busy: Arc<AtomicBool>,
}

impl LeakWatch {
    /// Begins a look at a server whose turn it is.
    pub fn go_on(&mut self, snapshot: &Snapshot, history: &Arc<History>) {
        if history.on_disk().is_none() {
            return;
        }
        let now_ms = (snapshot.unix_time_seconds * 1e3).round() as i64;
        let followed = |name: &str| snapshot.servers.iter().any(|server| server.name == name);
        self.due.retain(|name, _| followed(name));
        for server in &snapshot.servers {
            let due = self.due.entry(server.name.clone()).or_insert(now_ms + FIRST_MS);
            // The clock was set back.
            *due = (*due).min(now_ms + EVERY_MS);
        }
        let next = self.due.iter_mut().min_by_key(|(_, due)| **due);
        let Some((name, due)) = next.filter(|(_, due)| **due <= now_ms) else {
            return;
        };
        if self.busy.swap(true, Ordering::AcqRel) {
            return;
        }
        *due = now_ms + EVERY_MS;
        let (name, history, busy) = (name.clone(), history.clone(), self.busy.clone());
        let begun = thread::Builder::new().name("gsmon-leaks".into()).spawn(move || {
            match look(&history, &name, now_ms) {
                Ok(Some(finding)) => history.tell_finding(finding),
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(server = %name, "its memory was not looked at for leaks: {error}")
                }
            }
            busy.store(false, Ordering::Release);
        });
        if let Err(error) = begun {
            self.busy.store(false, Ordering::Release);
            tracing::warn!("nobody looks for leaks, since no thread begins: {error}");
        }
    }
}

/// What is lost of a server's memory, if any.
fn look(history: &History, server: &str, now_ms: i64) -> Result<Option<StoredFinding>, SourceError> {
    let range = TimeRange::last(RANGE, now_ms);
    let frames = HistorySource::frames(history, server, range, Resolution::Rolled(Span::Minute))?;
    let Ok(report) = find_leak(&frames, None) else {
        // Too little was measured to tell.
        return Ok(None);
    };
    if report.verdict != LeakVerdict::Leak {
        return Ok(None);
    }
    let lately = TimeRange {
        from_unix_ms: i64::MIN,
        to_unix_ms: now_ms,
    };
    // What the look before has found as well is one finding.
    let known = HistorySource::findings(history, Some(server), lately)?;
    let known = known.into_iter().rev().find(|finding| {
        finding.detector == Detector::MemoryGrowth && now_ms - finding.last_unix_ms < 2 * EVERY_MS
    });
    Ok(Some(StoredFinding {
        server: server.into(),
        unix_ms: known.map_or(now_ms, |known| known.unix_ms),
        last_unix_ms: now_ms,
        detector: Detector::MemoryGrowth,
        severity: match report.relative_per_hour {
            Some(ratio) if ratio >= HIGH_PER_HOUR => Severity::High,
            _ => Severity::Medium,
        },
        says: sentence(&report),
        evidence: serde_json::to_value(&report).unwrap_or_default(),
    }))
}

fn sentence(report: &LeakReport) -> String {
    let mib = |bytes: f64| bytes / f64::from(1 << 20);
    let growth = report.bytes_per_hour.map_or(0.0, |growth| mib(growth.value));
    format!(
        "memory is lost: {growth:.1} MiB an hour, {:.2} % of its {:.0} MiB, over the last {:.1} h at equal players",
        report.relative_per_hour.unwrap_or(0.0) * 100.0,
        mib(report.level_bytes),
        report.hours
    )
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::{
        config::HistorySettings,
        history::{
            Frame, Measure,
            disk::{
                HistoryWriter,
                file::{HistoryFile, Interval},
                upkeep::{Removal, Retention},
            },
        },
        world::session::ask::tests::a_snapshot,
    };

    /// A history of twelve hours by the minute; memory grows by so much of itself an hour.
    fn history(path: &std::path::Path, begin_ms: i64, per_hour: f64) -> Arc<History> {
        let retention = Retention::of(&HistorySettings::default());
        let mut file = HistoryFile::open(path).unwrap();
        for minute in 1..=720i64 {
            let players = 10.0 + (minute % 17) as f64;
            let memory =
                4e8 * (1.0 + per_hour * minute as f64 / 60.0) + 1e6 * players + 2e5 * (minute % 7) as f64;
            let frame = Frame::new(begin_ms + minute * 60_000, 60.0)
                .with(Measure::Players, players)
                .with(Measure::RssBytes, memory + 3e7)
                .with(Measure::RssAnonymousBytes, memory);
            let interval = Interval {
                unix_ms: begin_ms + minute * 60_000,
                frames: vec![("arena one".into(), frame)],
                ..Interval::default()
            };
            file.write([interval].iter()).unwrap();
            while file
                .step(begin_ms + minute * 60_000, &retention, Removal::Allowed)
                .unwrap()
            {}
        }
        file.close();
        Arc::new(History::written_by(
            HistoryWriter::start(path, &HistorySettings::default()).unwrap(),
        ))
    }

    #[test]
    fn a_leak_becomes_one_finding_and_a_stable_server_none() {
        let directory = tempfile::tempdir().unwrap();
        let mut snapshot = a_snapshot();
        let begin_ms = (snapshot.unix_time_seconds * 1e3) as i64;
        let now_ms = begin_ms + 721 * 60_000;
        let stable = history(&directory.path().join("stable.db"), begin_ms, 0.0);
        assert_eq!(look(&stable, "arena one", now_ms).unwrap(), None);
        assert!(look(&stable, "nobody", now_ms).is_err());

        let leaking = history(&directory.path().join("leaking.db"), begin_ms, 0.01);
        let mut watch = LeakWatch::default();
        let end = Instant::now() + Duration::from_secs(60);
        snapshot.unix_time_seconds = now_ms as f64 / 1e3;
        watch.go_on(&snapshot, &leaking);
        assert!(!watch.busy.load(Ordering::Acquire), "it is not due yet");
        snapshot.unix_time_seconds += 600.0;
        // One server after the other, in no order.
        for _ in 0..snapshot.servers.len() {
            watch.go_on(&snapshot, &leaking);
            while watch.busy.load(Ordering::Acquire) {
                assert!(Instant::now() < end, "the look does not end");
                thread::sleep(Duration::from_millis(10));
            }
        }
        // What it has found is written with an interval.
        let mut told = Vec::new();
        while told.is_empty() {
            assert!(Instant::now() < end, "nothing was found");
            snapshot.unix_time_seconds += 1.0;
            leaking.record(&snapshot, crate::history::HostFigures::default());
            thread::sleep(Duration::from_millis(20));
            told = leaking.findings(Some("arena one"), TimeRange::ALL).unwrap();
        }
        assert_eq!((told.len(), told[0].severity), (1, Severity::Medium), "{told:?}");
        assert!(
            told[0].says.starts_with("memory is lost: 3.") || told[0].says.starts_with("memory is lost: 4."),
            "{}",
            told[0].says
        );
        // The seconds since then belong to another process; what was known before them is still the same.
        let again = look(&leaking, "arena one", told[0].last_unix_ms).unwrap();
        assert!(again.is_none_or(|again| again.unix_ms == told[0].unix_ms));
    }
}
