//! Demand by a forecast: what `forecast` tells of the hours ahead, joined to what the profile tells of the next minutes, for
//! which no forecast has a horizon. Not here: either of them, and what follows.

use super::{
    demand::{Demand, DemandBasis},
    profile::Profile,
};
use crate::{
    analysis::forecast::{self, Event, Forecast, Grid, MOST_HOURS},
    config::{AnnouncedEvent, FieldError, ForecastSettings},
};

/// Forecasts of a horizon that must have come due before its intervals are known by them.
const ENOUGH: usize = 40;

/// In which local time seasons lie, and what is announced.
#[derive(Clone, Copy, Debug)]
pub struct Calendar<'a> {
    /// `[forecast]`
    pub forecast: &'a ForecastSettings,
    /// `[[event]]`
    pub events: &'a [AnnouncedEvent],
}

impl Calendar<'_> {
    /// Forecasts players (beginning of a step in milliseconds since 1970, mean over it). The step that `now` lies in is not
    /// over yet and is left out.
    ///
    /// # Errors
    /// When there is too little, the words say of what.
    pub fn forecast(
        &self,
        points: &[(i64, f64)],
        step_ms: i64,
        now_unix_ms: i64,
        hours: usize,
        region: Option<&str>,
    ) -> Result<Forecast, CalendarError> {
        let step_seconds = (step_ms / 1_000).max(900);
        let current = now_unix_ms.div_euclid(step_seconds * 1_000);
        let samples: Vec<(i64, f64)> = points
            .iter()
            .map(|(unix_ms, players)| (unix_ms.div_euclid(1_000), *players))
            .filter(|(unix_s, _)| unix_s.div_euclid(step_seconds) < current)
            .collect();
        let grid = Grid::of_samples(&samples, step_seconds, &self.forecast.zone(region)?)?;
        let events = Event::announced(self.events, None, region);
        Ok(forecast::forecast(&grid, hours, &events)?)
    }
}

/// Why there is no forecast.
#[derive(Debug, thiserror::Error)]
pub enum CalendarError {
    /// No such time zone.
    #[error(transparent)]
    Zone(#[from] FieldError),
    /// No series.
    #[error(transparent)]
    Grid(#[from] forecast::GridError),
    /// Too little history.
    #[error(transparent)]
    Forecast(#[from] forecast::ForecastError),
}

/// Hours to ask a forecast for, so that it reaches so far from now: its newest step may have ended up to an hour ago, and of
/// a week the last hours may be missing. `None` where it cannot reach.
pub fn hours_to_ask(ahead: f64) -> Option<usize> {
    let hours = ahead.max(0.0).ceil() as usize;
    (hours <= MOST_HOURS).then_some((hours + 2).min(MOST_HOURS))
}

/// Puts a forecast in the place of a profile's demand, from its first hour on; before that it goes over from one to the
/// other. `None` where too few forecasts of any of the hours have come due for their intervals to be known by them: the
/// profile stays then.
pub fn by_forecast(demand: &Demand, profile: &Profile, told: &Forecast) -> Option<Demand> {
    let tried = told.points.iter().all(|point| point.tested >= ENOUGH);
    let middle = |begin_unix_s: i64| (begin_unix_s * 1_000 + told.step_seconds * 500) as f64;
    let (first, last) = (told.points.first()?, told.points.last()?);
    let same_levels = demand.levels.len() == told.levels.len()
        && demand
            .levels
            .iter()
            .zip(&told.levels)
            .all(|(level, quantile)| level.quantile == *quantile);
    if !tried || !same_levels {
        return None;
    }
    let begin = profile.middle_of_last_ms() as f64;
    let (from, to) = (middle(first.begin_unix_s), middle(last.begin_unix_s));
    let mut joined = demand.clone();
    joined.basis = DemandBasis::Forecast;
    for (place, level) in joined.levels.iter_mut().enumerate() {
        let mut after = 0;
        let mut kept = level.players.len();
        for (step, players) in level.players.iter_mut().enumerate() {
            let at = demand.unix_ms(step) as f64;
            if at > to {
                kept = step;
                break;
            }
            while after + 1 < told.points.len() && middle(told.points[after].begin_unix_s) < at {
                after += 1;
            }
            let upper = &told.points[after];
            *players = match after.checked_sub(1) {
                None => {
                    let share = ((at - begin) / (from - begin).max(1.0)).clamp(0.0, 1.0);
                    *players + share * (upper.quantiles[place] - *players)
                }
                Some(before) => {
                    let lower = &told.points[before];
                    let (left, right) = (middle(lower.begin_unix_s), middle(upper.begin_unix_s));
                    let share = (at - left) / (right - left).max(1.0);
                    lower.quantiles[place] + share * (upper.quantiles[place] - lower.quantiles[place])
                }
            };
        }
        level.players.truncate(kept);
    }
    joined.checked().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::{
        advice::{demand::Group, gather::LEVELS},
        simulate::Noise,
    };

    const HOUR_MS: i64 = 3_600_000;

    fn course(hour: f64) -> f64 {
        100.0 + 60.0 * (hour / 24.0 * std::f64::consts::TAU).sin()
    }

    fn history(days: i64) -> Vec<(i64, f64)> {
        let mut dice = Noise::new(5);
        (0..days * 24)
            .map(|hour| {
                (
                    hour * HOUR_MS,
                    (course(hour as f64) + 3.0 * dice.normal()).max(0.0),
                )
            })
            .collect()
    }

    fn demand(days: i64, events: &[AnnouncedEvent]) -> (Demand, Option<Demand>) {
        let points = history(days);
        let settings = ForecastSettings::default();
        let calendar = Calendar {
            forecast: &settings,
            events,
        };
        let told = calendar
            .forecast(&points, HOUR_MS, days * 24 * HOUR_MS, 8, None)
            .unwrap();
        let profile = Profile::of(&points, HOUR_MS).unwrap();
        let own = profile
            .demand(Group::default(), 12, &LEVELS)
            .unwrap()
            .finer(300_000);
        let joined = by_forecast(&own, &profile, &told);
        (own, joined)
    }

    #[test]
    fn a_forecast_takes_the_place_of_the_profile_from_its_first_hour_on() {
        let (own, joined) = demand(21, &[]);
        let joined = joined.unwrap();
        assert_eq!(joined.basis, DemandBasis::Forecast);
        assert_eq!(joined.start_unix_ms, own.start_unix_ms);
        // Now is what the profile has, and nothing is told beyond the last hour of the forecast.
        assert_eq!(joined.at(0.95, 0), own.at(0.95, 0));
        assert_eq!(joined.steps(), 8 * 12 + 1);
        for step in 12..joined.steps() {
            let hour = (joined.unix_ms(step) - HOUR_MS / 2) as f64 / HOUR_MS as f64;
            let truth = course(hour);
            assert!(
                joined.at(0.05, step) - 3.0 < truth && truth < joined.at(0.95, step) + 3.0,
                "{hour}: {truth}"
            );
        }
    }

    #[test]
    fn an_announced_event_changes_demand_and_too_little_history_leaves_the_profile() {
        let at = |hour: i64| jiff::Timestamp::from_second(hour * 3_600).unwrap().to_string();
        let event = AnnouncedEvent {
            name: "cup".into(),
            from: at(21 * 24 + 3),
            to: at(21 * 24 + 8),
            players_ratio: Some(2.0),
            regions: Vec::new(),
            servers: Vec::new(),
        };
        let (_, plain) = demand(21, &[]);
        let (_, cup) = demand(21, &[event]);
        let (plain, cup) = (plain.unwrap(), cup.unwrap());
        let step = 5 * 12;
        assert!((cup.at(0.5, step) / plain.at(0.5, step) - 2.0).abs() < 1e-6);
        assert_eq!(cup.at(0.5, 0), plain.at(0.5, 0));
        assert_eq!(demand(1, &[]).1, None);
    }
}
