//! The simple seasonal models: each says from steps up to an origin what a later step will be. Not here: weighing them
//! (`blend`), MSTL (`mstl`) and linear prediction (`kernels`).

use std::str::FromStr;

use serde::{Deserialize, de::IntoDeserializer};

use super::grid::Grid;

/// A model by what it looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Model {
    /// What was there in the last hour.
    Persistence,
    /// The mean of the last day.
    MeanOfDay,
    /// The same time yesterday at the level of the last hour.
    Yesterday,
    /// The same time of several days at the level of the last hour.
    Days,
    /// The daily profile of a week at the level of the last day.
    DailyProfile,
    /// The same time last week at the level of the last hour: the baseline.
    LastWeek,
    /// The same time of up to four weeks at the level of the last day.
    WeeksDayLevel,
    /// The same time of up to four weeks, at a level between that of the last hour and that of the last week.
    WeeksDamped,
    /// Seasons by LOESS and exponential smoothing (`augurs`).
    Mstl,
    /// Optimal linear prediction (`kernels`, in its order) where weeks resemble each other.
    KernelSteady,
    /// The same, where the level moves twice as far.
    KernelMoving,
    /// The same, where the level moves less and single times come again.
    KernelSharp,
    /// The same, where the level wanders over days.
    KernelMixed,
    /// The same, where the level wanders far.
    KernelWandering,
}

impl Model {
    /// All, those that need least first.
    pub const ALL: [Self; 14] = [
        Self::Persistence,
        Self::MeanOfDay,
        Self::Yesterday,
        Self::Days,
        Self::DailyProfile,
        Self::LastWeek,
        Self::WeeksDayLevel,
        Self::WeeksDamped,
        Self::Mstl,
        Self::KernelSteady,
        Self::KernelMoving,
        Self::KernelSharp,
        Self::KernelMixed,
        Self::KernelWandering,
    ];

    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Persistence => "last hour",
            Self::MeanOfDay => "mean of the last day",
            Self::Yesterday => "same time yesterday",
            Self::Days => "same time of past days",
            Self::DailyProfile => "daily profile",
            Self::LastWeek => "same time last week x level of the last hour",
            Self::WeeksDayLevel => "same time of past weeks x level of the last day",
            Self::WeeksDamped => "same time of past weeks x damped level",
            Self::Mstl => "MSTL with ETS (augurs)",
            Self::KernelSteady => "linear prediction, steady weeks",
            Self::KernelMoving => "linear prediction, moving level",
            Self::KernelSharp => "linear prediction, sharp weeks",
            Self::KernelMixed => "linear prediction, level of days",
            Self::KernelWandering => "linear prediction, wandering level",
        }
    }

    /// How many days back its seasons reach, where it has any.
    pub fn season_days(self) -> Option<usize> {
        match self {
            Self::Persistence | Self::MeanOfDay => None,
            Self::Yesterday | Self::Days | Self::DailyProfile => Some(1),
            _ => Some(7),
        }
    }
}

impl FromStr for Model {
    type Err = serde::de::value::Error;

    /// By its name in JSON; the error names all.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::deserialize(text.into_deserializer())
    }
}

/// Which models may speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// All, weighed by how they did.
    #[default]
    Weighed,
    /// One alone, wherever it can say something; all where it cannot.
    Only(Model),
}

/// Added to both sides of a ratio, in players: a level is not told by one player who comes or goes.
const LEVEL_PLAYERS: f64 = 0.5;

/// Weight of each older season beside the one after it.
const OLDER: f64 = 0.6;

struct Seasons {
    /// Days between seasons.
    days: usize,
    /// How many are looked at.
    most: usize,
    /// Steps on each side that its profile is the mean of.
    around: i64,
    /// Steps that tell the level.
    window: i64,
    /// Steps of a second, longer level, and its share.
    long: Option<(i64, f64)>,
}

/// What a simple model says at an origin (the last step it may see) of a later step; NaN where it cannot. The others
/// say nothing here.
pub(super) fn says(model: Model, grid: &Grid, origin: usize, ahead: usize) -> f64 {
    let (hour, day) = (grid.hour() as i64, grid.day() as i64);
    let smooth = (hour / 4).max(i64::from(hour > 1));
    let of = |days, most, around, window| Seasons {
        days,
        most,
        around,
        window,
        long: None,
    };
    let at = origin as i64 + 1;
    let seasons = match model {
        Model::Persistence => return grid.mean(at - hour, at),
        Model::MeanOfDay => return grid.mean(at - day, at),
        Model::Yesterday => of(1, 1, 0, hour),
        Model::Days => of(1, 3, smooth, hour),
        Model::DailyProfile => of(1, 7, 2 * smooth, day),
        Model::LastWeek => of(7, 1, 0, hour),
        Model::WeeksDayLevel => of(7, 4, smooth, day),
        Model::WeeksDamped => Seasons {
            long: Some((7 * day, 0.5)),
            ..of(7, 4, smooth, 2 * hour)
        },
        _ => return f64::NAN,
    };
    seasonal(&seasons, grid, origin, ahead)
}

fn seasonal(seasons: &Seasons, grid: &Grid, origin: usize, ahead: usize) -> f64 {
    let target = origin + ahead;
    let nearest = ahead.div_ceil(seasons.days * grid.day()).max(1);
    let at = origin as i64 + 1;
    let (mut sum, mut weights, mut weight) = (0.0, 0.0, 1.0);
    for number in nearest..nearest + seasons.most {
        let days = number * seasons.days;
        let then = grid.days_before(target, days);
        let shift = origin as i64 - grid.days_before(origin, days);
        let profile = grid.mean(then - seasons.around, (then + seasons.around + 1).min(at));
        let level = |window: i64| {
            let now = grid.mean(at - window, at);
            let past = grid.mean(at - window - shift, at - shift);
            ((now + LEVEL_PLAYERS) / (past + LEVEL_PLAYERS)).clamp(0.05, 20.0)
        };
        let ratio = match seasons.long {
            None => level(seasons.window),
            Some((long, share)) => level(seasons.window).powf(1.0 - share) * level(long).powf(share),
        };
        let said = profile * ratio;
        if said.is_finite() {
            sum += weight * said;
            weights += weight;
        }
        weight *= OLDER;
    }
    if weights > 0.0 { sum / weights } else { f64::NAN }
}
