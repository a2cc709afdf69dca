//! Looks for spikes in what was measured lately, and hands them to the history, so that they are known when the samples are
//! gone. Not here: what a spike is (the analysis room).

use std::{collections::HashMap, ops::RangeInclusive};

use crate::{
    analysis::spikes::explain_spikes,
    history::{Frame, History},
    world::snapshot::Snapshot,
};

/// Each server is looked at this often.
const EVERY_MS: i64 = 120_000;
/// A spike may still grow: one that begins later is left for the next time.
const SETTLED_MS: i64 = 20_000;
/// What is looked at: what is usual before the oldest new spike has to be in it.
const FEWEST_FRAMES: f64 = 300.0;
/// Longest that is looked at: the hour in memory.
const MOST_MS: i64 = 3_600_000;

/// When each server was searched last.
#[derive(Debug, Default)]
pub struct SpikeSearch {
    /// Spikes that begin until then have been handed over.
    until: HashMap<String, i64>,
}

impl SpikeSearch {
    /// Searches the servers whose turn it is: of many, a few at a time.
    pub fn go_on(&mut self, snapshot: &Snapshot, history: &History) {
        if history.on_disk().is_none() {
            return;
        }
        let now_ms = (snapshot.unix_time_seconds * 1e3).round() as i64;
        let followed = |name: &str| snapshot.servers.iter().any(|server| server.name == name);
        self.until.retain(|name, _| followed(name));
        let interval_ms = (snapshot.interval_seconds * 1e3).max(1.0);
        let turns = (EVERY_MS as f64 / interval_ms).max(1.0);
        let at_once = (snapshot.servers.len() as f64 / turns).ceil() as usize;
        let mut due: Vec<(i64, &str)> = Vec::new();
        for server in &snapshot.servers {
            // A server that is new has its first spikes ahead of it.
            let until = self.until.entry(server.name.clone()).or_insert(now_ms);
            if *until > now_ms {
                // The clock was set back.
                *until = now_ms;
            }
            if now_ms - *until >= EVERY_MS + SETTLED_MS {
                due.push((*until, &server.name));
            }
        }
        due.sort_unstable();
        for (until, name) in due.into_iter().take(at_once.max(1)) {
            let settled = now_ms - SETTLED_MS;
            let length_ms = (FEWEST_FRAMES * interval_ms) as i64 + (settled - until);
            let from_ms = now_ms - length_ms.min(MOST_MS);
            if let Some(frames) = history.recent_frames(name, from_ms, now_ms) {
                let found = explain_new(&frames, until + 1..=settled);
                history.tell_spikes(found.iter().map(|spike| spike.stored(name)));
            }
            self.until.insert(name.to_owned(), settled);
        }
    }
}

fn explain_new(frames: &[Frame], when: RangeInclusive<i64>) -> Vec<crate::analysis::spikes::Spike> {
    let mut found = explain_spikes(frames);
    found.retain(|spike| when.contains(&spike.unix_ms));
    found
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::{
        config::HistorySettings,
        history::{HistorySource, HostFigures, Measure, TimeRange, disk::HistoryWriter},
        world::{session::ask::tests::a_snapshot, snapshot::ServerState},
    };

    #[test]
    fn every_spike_is_told_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("history.db");
        let writer = HistoryWriter::start(&path, &HistorySettings::default()).unwrap();
        let history = History::written_by(writer);
        let mut search = SpikeSearch::default();
        let mut snapshot = a_snapshot();
        snapshot.interval_seconds = 1.0;
        snapshot.servers[0].state = ServerState::Up;
        let begin_ms = (snapshot.unix_time_seconds * 1e3) as i64;
        let mut meant = Vec::new();
        for second in 1..=900i64 {
            snapshot.unix_time_seconds += 1.0;
            let high = [199, 200, 470, 690].contains(&second);
            if high && second != 200 {
                meant.push(begin_ms + second * 1_000);
            }
            let usual = 0.2 + (second % 9) as f64 / 1_000.0;
            snapshot.servers[0].rates.cpu_cores = Some(if high { 0.9 } else { usual });
            history.record(&snapshot, HostFigures::default());
            search.go_on(&snapshot, &history);
            let end = Instant::now() + Duration::from_secs(60);
            while second % 100 == 0
                && history
                    .on_disk()
                    .is_some_and(|told| told.intervals_written < second as u64)
            {
                assert!(Instant::now() < end, "{:?}", history.on_disk());
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        let spikes = history.spikes(Some("arena one"), TimeRange::ALL).unwrap();
        let told: Vec<i64> = spikes.iter().map(|spike| spike.unix_ms).collect();
        assert_eq!(told, meant);
        assert!(spikes.iter().all(|spike| spike.measure == Measure::CpuCores));
        assert_eq!((spikes[0].seconds, spikes[1].seconds), (2.0, 1.0));
        assert!((spikes[0].peak - 0.9).abs() < 1e-6, "{:?}", spikes[0]);
    }
}
