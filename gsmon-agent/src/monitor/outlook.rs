//! Forecasts and advice as a library and the API have them: what `gsmon forecast` and `gsmon recommend` ask, asked of a
//! running monitor. History is read here; every few minutes, off the measuring thread, figures for metrics are worked out.
//! Not here: what is worked out (the analysis room).

use std::sync::{Arc, Mutex, PoisonError};

use super::{Analyses, GameServerMonitor};
use crate::{
    analysis::{
        advice::{
            ScalingAdvice,
            experience::Experience,
            gather::{self, Costs, Hours, SeenServer, Settings},
            recommend_scaling,
        },
        forecast::{Event, Forecast, Grid, counts::counts, forecast},
    },
    config::{AdviceSettings, AnnouncedEvent, Config, ForecastSettings},
    history::{Frame, History, HistorySource, Resolution, SourceError, TimeRange, rollup::Span},
    serve::{
        CostsAsked, Outlook, OutlookError, RecommendationAsked, Whose,
        metrics::{GroupFigures, OutlookFigures},
    },
    world::{cell::SnapshotCell, snapshot::Snapshot},
};

/// History that advice and forecasts learn from.
const ADVICE_DAYS: u64 = 28;
const FORECAST_DAYS: u64 = 42;
/// Shorter histories are looked at by the quarter of an hour.
const SHORT_DAYS: u64 = 3;
/// Hours ahead unless told otherwise, and those of metrics.
const USUAL_HOURS: u32 = 6;

/// What of a configuration decides.
#[derive(Clone, Debug, Default)]
struct Decides {
    advice: AdviceSettings,
    forecast: ForecastSettings,
    events: Vec<AnnouncedEvent>,
}

/// Tells what will come on this host.
pub struct HostOutlook {
    cell: Arc<SnapshotCell>,
    history: Arc<History>,
    decides: Mutex<Arc<Decides>>,
    newest: Mutex<Option<Arc<OutlookFigures>>>,
}

impl std::fmt::Debug for HostOutlook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HostOutlook").finish_non_exhaustive()
    }
}

fn now_unix_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

fn days(days: u64, now_unix_ms: i64) -> TimeRange {
    TimeRange::last(std::time::Duration::from_secs(days * 86_400), now_unix_ms)
}

fn unreadable(error: &SourceError) -> OutlookError {
    match error {
        SourceError::Unknown(unknown) => OutlookError::Unknown {
            error: unknown.to_string(),
            known: unknown.known.clone(),
        },
        error => OutlookError::Failed(error.to_string()),
    }
}

fn json(answer: &impl serde::Serialize) -> Result<Vec<u8>, OutlookError> {
    serde_json::to_vec(answer).map_err(|error| OutlookError::Failed(error.to_string()))
}

fn experience(word: Option<&str>) -> Result<Experience, OutlookError> {
    let Some(word) = word else {
        return Ok(Experience::default());
    };
    word.parse()
        .map_err(
            |error: crate::analysis::advice::experience::UnknownExperience| OutlookError::Meant {
                error: error.to_string(),
                known: Experience::ALL.map(|known| known.name().to_owned()).to_vec(),
            },
        )
}

impl HostOutlook {
    pub(super) fn new(cell: Arc<SnapshotCell>, history: Arc<History>, config: &Config) -> Self {
        let outlook = Self {
            cell,
            history,
            decides: Mutex::default(),
            newest: Mutex::default(),
        };
        outlook.adopt(config);
        outlook
    }

    /// Takes a changed configuration.
    pub(super) fn adopt(&self, config: &Config) {
        *self.decides.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(Decides {
            advice: config.advice.clone(),
            forecast: config.forecast.clone(),
            events: config.events.clone(),
        });
    }

    fn decides(&self) -> Arc<Decides> {
        self.decides
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn snapshot(&self) -> Result<Arc<Snapshot>, OutlookError> {
        let newest = self.cell.load();
        newest.ok_or_else(|| OutlookError::NotYet("the first interval has not ended yet".to_owned()))
    }

    fn seen(&self, now_unix_ms: i64) -> Result<Vec<SeenServer>, OutlookError> {
        let snapshot = self.snapshot()?;
        let range = days(ADVICE_DAYS, now_unix_ms);
        let frames = Analyses::of(&*self.history)
            .each(range, |_, frames| frames.to_vec())
            .map_err(|error| unreadable(&error))?;
        let mut frames: std::collections::HashMap<String, Vec<Frame>> = frames.into_iter().collect();
        Ok(snapshot
            .servers
            .iter()
            .map(|server| SeenServer {
                frames: frames.remove(&server.name).unwrap_or_default(),
                ..SeenServer::from(server)
            })
            .collect())
    }

    /// How many servers, where and when; see [`recommend_scaling`].
    ///
    /// # Errors
    /// When there is no snapshot yet, or history cannot be read.
    pub fn recommend(
        &self,
        forecast_hours: u32,
        experience: Experience,
        costs: Costs,
    ) -> Result<ScalingAdvice, OutlookError> {
        let hours = f64::from(forecast_hours.clamp(1, 168));
        let now_unix_ms = now_unix_ms();
        let servers = self.seen(now_unix_ms)?;
        let decides = self.decides();
        let span = Hours {
            now_unix_ms,
            ahead: hours,
        };
        let (facts, left) = gather::gather(&servers, &decides.settings(), span, &experience.targets(), costs);
        let mut advice = recommend_scaling(&facts, hours, experience);
        advice.left_alone.extend(left);
        Ok(advice)
    }

    /// Players of the next hours.
    ///
    /// # Errors
    /// When there is no such server, or too little history.
    pub fn forecast_of(&self, whose: &Whose, hours: usize) -> Result<Forecast, OutlookError> {
        let snapshot = self.snapshot()?;
        let known = |of: &dyn Fn(&crate::world::snapshot::ServerSnapshot) -> Option<String>| {
            let mut known: Vec<String> = snapshot.servers.iter().filter_map(of).collect();
            known.sort();
            known.dedup();
            known
        };
        let names: Vec<String> = match whose {
            Whose::Server(name) => vec![name.clone()],
            Whose::Region(region) => snapshot
                .servers
                .iter()
                .filter(|server| server.region.as_ref() == Some(region))
                .map(|server| server.name.clone())
                .collect(),
            Whose::All | Whose::Mode(_) => self.history.servers().map_err(|error| unreadable(&error))?,
        };
        if let (Whose::Region(region), true) = (whose, names.is_empty()) {
            return Err(OutlookError::Unknown {
                error: format!("no server is in region `{region}`"),
                known: known(&|server| server.region.clone()),
            });
        }
        let server = match whose {
            Whose::Server(name) => Some(name.as_str()),
            _ => None,
        };
        let region = match whose {
            Whose::Region(region) => Some(region.clone()),
            Whose::Server(name) => {
                let mut servers = snapshot.servers.iter();
                servers
                    .find(|server| server.name == *name)
                    .and_then(|server| server.region.clone())
            }
            _ => None,
        };
        let mode = match whose {
            Whose::Mode(mode) => Some(mode.as_str()),
            _ => None,
        };
        let now_unix_ms = now_unix_ms();
        let frames = |of_days: u64, span: Span| -> Result<Vec<Vec<Frame>>, OutlookError> {
            let range = days(of_days, now_unix_ms);
            names
                .iter()
                .map(|name| {
                    HistorySource::frames(&*self.history, name, range, Resolution::Rolled(span))
                        .map_err(|error| unreadable(&error))
                })
                .collect()
        };
        let mut all = frames(FORECAST_DAYS, Span::Hour)?;
        let mut step_seconds = 3_600;
        let oldest = all.iter().flatten().map(|frame| frame.unix_ms).min();
        if oldest.is_none_or(|oldest| now_unix_ms - oldest < SHORT_DAYS as i64 * 86_400_000) {
            all = frames(SHORT_DAYS, Span::Minute)?;
            step_seconds = 900;
        }
        if let Some(mode) = mode
            && !all
                .iter()
                .flatten()
                .any(|frame| frame.mode.as_deref() == Some(mode))
        {
            let modes = all.iter().flatten().filter_map(|frame| frame.mode.as_deref());
            let known: std::collections::BTreeSet<&str> = modes.collect();
            return Err(OutlookError::Unknown {
                error: format!("mode `{mode}` was not played in the last {FORECAST_DAYS} days"),
                known: known.into_iter().map(str::to_owned).collect(),
            });
        }
        let samples = counts(all.iter().map(Vec::as_slice), mode, step_seconds, now_unix_ms);
        let decides = self.decides();
        let zone = decides.forecast.zone(region.as_deref());
        let zone = zone.map_err(|error| OutlookError::Failed(error.to_string()))?;
        let grid = Grid::of_samples(&samples, step_seconds, &zone)
            .map_err(|error| OutlookError::Failed(error.to_string()))?;
        let events = Event::announced(&decides.events, server, region.as_deref());
        forecast(&grid, hours, &events).map_err(|error| OutlookError::NotYet(error.to_string()))
    }

    /// Works out the figures of metrics anew. Takes seconds where there is much history.
    pub fn refresh(&self) {
        let figures = self.recommend(USUAL_HOURS, Experience::default(), Costs::Told);
        let newest = match figures {
            Ok(advice) if advice.groups.is_empty() => None,
            Ok(advice) => Some(Arc::new(figures_of(&advice, now_unix_ms()))),
            Err(OutlookError::NotYet(_)) => None,
            Err(error) => {
                tracing::warn!("no recommendation for metrics: {error}");
                None
            }
        };
        *self.newest.lock().unwrap_or_else(PoisonError::into_inner) = newest;
    }
}

impl Decides {
    fn settings(&self) -> Settings<'_> {
        Settings {
            advice: &self.advice,
            calendar: crate::analysis::advice::foreseen::Calendar {
                forecast: &self.forecast,
                events: &self.events,
            },
        }
    }
}

/// Advice as metrics have it.
pub fn figures_of(advice: &ScalingAdvice, told_unix_ms: i64) -> OutlookFigures {
    let word = |word: &Option<Arc<str>>| word.as_deref().unwrap_or_default().to_owned();
    let groups = advice.groups.iter().map(|group| {
        let demand = &group.demand;
        let hour = usize::try_from(3_600_000 / demand.step_ms.max(1)).unwrap_or(0);
        let hour = hour.min(demand.steps().saturating_sub(1));
        GroupFigures {
            mode: word(&group.group.mode),
            region: word(&group.group.region),
            servers: group.wanted_now,
            capacity_players: group.size.players,
            cost: group.costs.as_ref().and_then(|costs| costs.plan.cost),
            players_in_an_hour: demand
                .levels
                .iter()
                .filter_map(|level| Some((level.quantile, *level.players.get(hour)?)))
                .collect(),
        }
    });
    OutlookFigures {
        told_unix_s: told_unix_ms as f64 / 1e3,
        groups: groups.collect(),
    }
}

impl Outlook for HostOutlook {
    fn forecast(&self, whose: &Whose, hours: usize) -> Result<Vec<u8>, OutlookError> {
        json(&self.forecast_of(whose, hours)?)
    }

    fn recommendation(&self, asked: &RecommendationAsked) -> Result<Vec<u8>, OutlookError> {
        let experience = experience(asked.target_player_experience.as_deref())?;
        let costs = match asked.costs {
            CostsAsked::Yes => Costs::Told,
            CostsAsked::No => Costs::LeftOut,
        };
        json(&self.recommend(asked.forecast_hours.unwrap_or(USUAL_HOURS), experience, costs)?)
    }

    fn demand(&self, word: Option<&str>) -> Result<Vec<u8>, OutlookError> {
        let targets = experience(word)?.targets();
        let servers = self.seen(now_unix_ms())?;
        json(&gather::see(&servers, &self.decides().advice, &targets))
    }

    fn figures(&self) -> Option<Arc<OutlookFigures>> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl GameServerMonitor {
    /// Who tells what will come on this host.
    pub fn outlook(&self) -> Arc<HostOutlook> {
        self.outlook.clone()
    }

    /// How many servers of which mode should run where and when: `gsmon recommend`.
    ///
    /// ```no_run
    /// # let monitor = gsmon_agent::GameServerMonitor::builder().start()?;
    /// use gsmon_agent::analysis::advice::{experience::Experience, gather::Costs};
    ///
    /// let advice = monitor.recommend_scaling(6, Experience::Smooth, Costs::Told)?;
    /// for group in &advice.groups {
    ///     println!("{}: {} servers now", group.group.words(), group.wanted_now);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// When there is no snapshot yet, or history cannot be read. A group of which too little is known is no error: it is
    /// left alone, with the reason.
    pub fn recommend_scaling(
        &self,
        forecast_hours: u32,
        target_player_experience: Experience,
        include_cost_analysis: Costs,
    ) -> Result<ScalingAdvice, OutlookError> {
        self.outlook
            .recommend(forecast_hours, target_player_experience, include_cost_analysis)
    }

    /// How many players will come: `gsmon forecast`.
    ///
    /// # Errors
    /// When there is no such server, mode or region, or too little history.
    pub fn forecast(&self, whose: &Whose, hours: usize) -> Result<Forecast, OutlookError> {
        self.outlook.forecast_of(whose, hours)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::session::ask::tests::a_snapshot;

    #[test]
    fn without_history_what_runs_is_left_alone_with_the_reason() {
        let cell = Arc::new(SnapshotCell::default());
        let outlook = HostOutlook::new(cell.clone(), Arc::default(), &Config::default());
        let early = outlook.recommend(6, Experience::Smooth, Costs::Told).unwrap_err();
        assert!(matches!(early, OutlookError::NotYet(_)), "{early}");
        cell.store(a_snapshot());
        let advice = outlook.recommend(6, Experience::Smooth, Costs::Told).unwrap();
        assert!(advice.groups.is_empty());
        assert!(
            advice
                .left_alone
                .iter()
                .all(|left| left.why.contains("no players"))
        );
        outlook.refresh();
        assert_eq!(outlook.figures(), None);
        let nowhere = Whose::Region("moon".into());
        let error = outlook.forecast_of(&nowhere, 6).unwrap_err();
        assert!(matches!(error, OutlookError::Unknown { .. }), "{error}");
        let none = outlook.forecast_of(&Whose::All, 6).unwrap_err();
        assert!(matches!(none, OutlookError::NotYet(_)), "{none}");
        let word = outlook.demand(Some("perfect")).unwrap_err();
        assert!(
            matches!(&word, OutlookError::Meant { known, .. } if known.len() == 3),
            "{word}"
        );
    }
}
