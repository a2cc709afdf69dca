//! What is not as always: announced events and holidays, and outages that the counts show. Neither is learned from as if
//! it were an ordinary week. Not here: reading the configuration.

use super::grid::Grid;
use crate::config::AnnouncedEvent;

/// An announced time that is unlike others: a tournament, a holiday, a release.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Its name; occurrences of one name teach what the next will be.
    pub name: String,
    /// Beginning, in seconds since 1970.
    pub from_unix_s: i64,
    /// End.
    pub to_unix_s: i64,
    /// Players beside what is usual, where it is known; else it is learned.
    pub players_ratio: Option<f64>,
}

impl Event {
    /// Those of the configuration by which a server or a region is touched. Times that cannot be read, which the
    /// configuration refuses, are left out.
    pub fn announced(events: &[AnnouncedEvent], server: Option<&str>, region: Option<&str>) -> Vec<Self> {
        let held = |names: &[String], name: Option<&str>| {
            names.is_empty() || name.is_some_and(|name| names.iter().any(|one| one == name))
        };
        events
            .iter()
            .filter(|event| held(&event.servers, server) && held(&event.regions, region))
            .filter_map(|event| {
                let (from_unix_s, to_unix_s) = event.span_unix_s()?;
                Some(Self {
                    name: event.name.clone(),
                    from_unix_s,
                    to_unix_s,
                    players_ratio: event.players_ratio,
                })
            })
            .collect()
    }

    fn holds(&self, time: i64) -> bool {
        (self.from_unix_s..self.to_unix_s).contains(&time)
    }
}

/// A count under this share of both yesterday's and last week's is an outage, not a quiet hour.
const OUTAGE_RATIO: f64 = 0.3;

/// Players under which nothing is called an outage.
const OUTAGE_PLAYERS: f64 = 10.0;

/// The series without events and outages. What lasts longer than a day is no outage but how it is now.
pub(super) fn ordinary(grid: &Grid, events: &[Event]) -> Grid {
    let mut run = 0;
    let mask: Vec<bool> = (0..grid.len())
        .map(|step| {
            let then = |days: usize| {
                let step = grid.days_before(step, days);
                grid.mean(step - 1, step + 2)
            };
            let usual = match (then(1), then(7)) {
                (day, week) if day.is_finite() && week.is_finite() => day.min(week),
                (day, _) => day,
            };
            let out = usual >= OUTAGE_PLAYERS && grid.at(step) < OUTAGE_RATIO * usual;
            run = if out { run + 1 } else { 0 };
            let begin = grid.begin_unix_s(step);
            (out && run <= grid.day()) || events.iter().any(|event| event.holds(begin))
        })
        .collect();
    if mask.iter().any(|masked| *masked) {
        grid.without(&mask)
    } else {
        grid.clone()
    }
}

/// What a step is beside an ordinary one, by the events it lies in: as told, else as earlier events of that name were
/// beside the week before; with the names of events of which neither is known.
pub(super) fn effect(grid: &Grid, events: &[Event], time_unix_s: i64) -> (f64, Vec<String>) {
    let mut ratio = 1.0;
    let mut unknown = Vec::new();
    for event in events.iter().filter(|event| event.holds(time_unix_s)) {
        match event.players_ratio.or_else(|| learned(grid, events, &event.name)) {
            Some(known) => ratio *= known,
            None => unknown.push(event.name.clone()),
        }
    }
    (ratio, unknown)
}

fn learned(grid: &Grid, events: &[Event], name: &str) -> Option<f64> {
    let (mut came, mut usual) = (0.0, 0.0);
    for step in 0..grid.len() {
        let begin = grid.begin_unix_s(step);
        if !events
            .iter()
            .any(|event| event.name == name && event.holds(begin))
        {
            continue;
        }
        let before = usize::try_from(grid.days_before(step, 7)).map_or(f64::NAN, |before| grid.at(before));
        if grid.at(step).is_finite() && before.is_finite() {
            came += grid.at(step);
            usual += before;
        }
    }
    (usual > 0.0).then(|| (came / usual).clamp(0.05, 20.0))
}

/// Players of the last day over those of the same day a week before, where that is more than such ratios usually move:
/// a release, or a game that loses its players.
pub(super) fn level_shift(grid: &Grid) -> Option<f64> {
    let (day, length) = (grid.day() as i64, grid.len() as i64);
    let ratio = |back: i64| {
        let end = length - back * day;
        let now = grid.mean(end - day, end);
        let past = grid.mean(end - 8 * day, end - 7 * day);
        ((now + 0.5) / (past + 0.5)).ln()
    };
    let now = ratio(0);
    let before: Vec<f64> = (2..10).map(ratio).filter(|ratio| ratio.is_finite()).collect();
    let usual = crate::analysis::stats::robust::spread(&before)
        .unwrap_or(0.1)
        .max(0.05);
    (now.is_finite() && now.abs() > 0.2 && now.abs() > 4.0 * usual).then(|| now.exp())
}
