//! Players who will want a seat, as quantiles over time: the one input that advice takes from whoever forecasts. Not here:
//! forecasting; what stands in where there is none is `profile`.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Which players: those of a mode in a region. Absent is "not told apart".
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Group {
    /// Mode.
    pub mode: Option<Arc<str>>,
    /// Region.
    pub region: Option<Arc<str>>,
}

impl Group {
    /// Of a mode and a region.
    pub fn new(mode: Option<&str>, region: Option<&str>) -> Self {
        Self {
            mode: mode.map(Into::into),
            region: region.map(Into::into),
        }
    }

    /// `duel in eu`.
    pub fn words(&self) -> String {
        let mode = self.mode.as_deref().unwrap_or("all modes");
        match &self.region {
            Some(region) => format!("{mode} in {region}"),
            None => mode.to_owned(),
        }
    }
}

/// How demand is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DemandBasis {
    /// A forecast with a model of its own.
    Forecast,
    /// The same times of earlier weeks, at the level of now.
    WeeklyProfile,
    /// The same times of earlier days, at the level of now.
    DailyProfile,
    /// Less than two days of history: as many as now, and as much change as there was.
    Persistence,
}

impl DemandBasis {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Forecast => "a forecast",
            Self::WeeklyProfile => "the same times of earlier weeks, at the level of now",
            Self::DailyProfile => "the same times of earlier days, at the level of now",
            Self::Persistence => "persistence: there is too little history for a daily profile",
        }
    }
}

/// Players at one quantile.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Level {
    /// 0 to 1, both excluded.
    pub quantile: f64,
    /// Players at each step.
    pub players: Vec<f64>,
}

/// Players of a group, from `start_unix_ms` on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Demand {
    /// Of whom.
    pub group: Group,
    /// Time of the first value.
    pub start_unix_ms: i64,
    /// Time between two values.
    pub step_ms: i64,
    /// By growing quantile.
    pub levels: Vec<Level>,
    /// How it is known.
    pub basis: DemandBasis,
}

/// Why a demand is none.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum DemandError {
    /// No levels or no steps.
    #[error("a demand needs at least one quantile level and one step")]
    Empty,
    /// Time stands still.
    #[error("the step of a demand must be longer than nothing")]
    Step,
    /// Not between 0 and 1, or not growing.
    #[error("quantile levels must grow between 0 and 1: {0} does not")]
    Levels(f64),
    /// Of different lengths.
    #[error("every quantile level must have as many steps: {expected}, not {found}")]
    Lengths {
        /// Those of the first.
        expected: usize,
        /// Those of another.
        found: usize,
    },
    /// Negative or no number.
    #[error("{0} is no number of players")]
    Players(f64),
}

impl Demand {
    /// Checks it, and puts quantiles that cross in order.
    ///
    /// # Errors
    /// When it cannot be meant.
    pub fn checked(mut self) -> Result<Self, DemandError> {
        let expected = self.levels.first().map_or(0, |level| level.players.len());
        if expected == 0 {
            return Err(DemandError::Empty);
        }
        if self.step_ms <= 0 {
            return Err(DemandError::Step);
        }
        let mut before = 0.0;
        for level in &self.levels {
            if !(level.quantile > before && level.quantile < 1.0) {
                return Err(DemandError::Levels(level.quantile));
            }
            before = level.quantile;
            if level.players.len() != expected {
                return Err(DemandError::Lengths {
                    expected,
                    found: level.players.len(),
                });
            }
            let wrong = |players: &&f64| !players.is_finite() || **players < 0.0;
            if let Some(players) = level.players.iter().find(wrong) {
                return Err(DemandError::Players(*players));
            }
        }
        for step in 0..expected {
            let mut least = 0.0f64;
            for level in &mut self.levels {
                least = least.max(level.players[step]);
                level.players[step] = least;
            }
        }
        Ok(self)
    }

    /// The same with shorter steps: straight lines between values.
    pub fn finer(&self, step_ms: i64) -> Self {
        if step_ms <= 0 || step_ms >= self.step_ms {
            return self.clone();
        }
        let last = self.unix_ms(self.steps().saturating_sub(1)) - self.start_unix_ms;
        let steps = last / step_ms;
        let at = |players: &[f64], step: i64| {
            let exact = (step * step_ms) as f64 / self.step_ms as f64;
            let value = |index: f64| players.get(index as usize).copied().unwrap_or(0.0);
            let (before, after) = (value(exact.floor()), value(exact.ceil()));
            before + (after - before) * (exact - exact.floor())
        };
        let levels = self.levels.iter().map(|level| Level {
            quantile: level.quantile,
            players: (0..=steps).map(|step| at(&level.players, step)).collect(),
        });
        Self {
            group: self.group.clone(),
            start_unix_ms: self.start_unix_ms,
            step_ms,
            levels: levels.collect(),
            basis: self.basis,
        }
    }

    /// The same from a time on; `None` where it does not reach so far.
    pub fn since(mut self, unix_ms: i64) -> Option<Self> {
        let past = unix_ms.saturating_sub(self.start_unix_ms).max(0) / self.step_ms;
        let past = usize::try_from(past).ok().filter(|past| *past < self.steps())?;
        self.start_unix_ms = self.unix_ms(past);
        for level in &mut self.levels {
            level.players.drain(..past);
        }
        Some(self)
    }

    /// Steps.
    pub fn steps(&self) -> usize {
        self.levels.first().map_or(0, |level| level.players.len())
    }

    /// Time of a step.
    pub fn unix_ms(&self, step: usize) -> i64 {
        self.start_unix_ms.saturating_add(
            self.step_ms
                .saturating_mul(i64::try_from(step).unwrap_or(i64::MAX)),
        )
    }

    /// Players at a quantile and a step; between two levels by a straight line, beyond them the outermost.
    pub fn at(&self, quantile: f64, step: usize) -> f64 {
        let value = |level: &Level| level.players.get(step).copied().unwrap_or(0.0);
        let above = self.levels.partition_point(|level| level.quantile < quantile);
        let Some(upper) = self.levels.get(above) else {
            return self.levels.last().map_or(0.0, value);
        };
        let Some(lower) = above.checked_sub(1).and_then(|below| self.levels.get(below)) else {
            return value(upper);
        };
        let share = (quantile - lower.quantile) / (upper.quantile - lower.quantile);
        value(lower) + share * (value(upper) - value(lower))
    }

    /// How likely it is that no more than so many come at a step: between the levels that are known, by a straight line.
    /// `None` is "less than the lowest level" or "more than the highest".
    pub fn probability_within(&self, players: f64, step: usize) -> Within {
        let value = |level: &Level| level.players.get(step).copied().unwrap_or(0.0);
        let Some(first) = self.levels.first() else {
            return Within::Below(1.0);
        };
        if players < value(first) {
            return Within::Below(first.quantile);
        }
        let last_within = self.levels.partition_point(|level| value(level) <= players);
        let lower = &self.levels[last_within - 1];
        let Some(upper) = self.levels.get(last_within) else {
            return Within::Above(lower.quantile);
        };
        let share = (players - value(lower)) / (value(upper) - value(lower));
        Within::About(lower.quantile + share * (upper.quantile - lower.quantile))
    }
}

/// A probability, as far as the known levels tell it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is", content = "probability")]
pub enum Within {
    /// Less than this.
    Below(f64),
    /// About this.
    About(f64),
    /// This or more.
    Above(f64),
}

impl Within {
    /// The bound or the value.
    pub fn probability(self) -> f64 {
        match self {
            Self::Below(p) | Self::About(p) | Self::Above(p) => p,
        }
    }

    /// Of the opposite.
    pub fn opposite(self) -> Self {
        match self {
            Self::Below(p) => Self::Above(1.0 - p),
            Self::About(p) => Self::About(1.0 - p),
            Self::Above(p) => Self::Below(1.0 - p),
        }
    }

    /// `about 93 %`, `99 % or more`.
    pub fn words(self) -> String {
        let percent = (self.probability() * 1_000.0).round() / 10.0;
        match self {
            Self::Below(_) => format!("less than {percent} %"),
            Self::About(_) => format!("about {percent} %"),
            Self::Above(_) => format!("{percent} % or more"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn demand(levels: &[(f64, &[f64])]) -> Demand {
        Demand {
            group: Group::new(Some("duel"), Some("eu")),
            start_unix_ms: 0,
            step_ms: 60_000,
            levels: levels
                .iter()
                .map(|(quantile, players)| Level {
                    quantile: *quantile,
                    players: players.to_vec(),
                })
                .collect(),
            basis: DemandBasis::Forecast,
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused_by_name() {
        for (levels, part) in [
            (vec![], "at least one"),
            (vec![(0.5, &[][..])], "at least one"),
            (vec![(0.5, &[1.0][..]), (0.5, &[1.0])], "must grow"),
            (vec![(1.0, &[1.0][..])], "must grow"),
            (vec![(f64::NAN, &[1.0][..])], "must grow"),
            (vec![(0.5, &[1.0][..]), (0.9, &[1.0, 2.0])], "as many steps"),
            (vec![(0.5, &[-1.0][..])], "no number of players"),
            (vec![(0.5, &[f64::NAN][..])], "no number of players"),
        ] {
            let error = demand(&levels).checked().unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
        let mut still = demand(&[(0.5, &[1.0])]);
        still.step_ms = 0;
        assert_eq!(still.checked(), Err(DemandError::Step));
    }

    #[test]
    fn quantiles_are_read_between_levels_and_held_beyond() {
        let demand = demand(&[(0.1, &[10.0]), (0.5, &[20.0]), (0.9, &[40.0])])
            .checked()
            .unwrap();
        assert_eq!(demand.at(0.5, 0), 20.0);
        assert!((demand.at(0.7, 0) - 30.0).abs() < 1e-9);
        assert_eq!((demand.at(0.01, 0), demand.at(0.999, 0)), (10.0, 40.0));
        assert_eq!(demand.probability_within(5.0, 0), Within::Below(0.1));
        assert_eq!(demand.probability_within(50.0, 0), Within::Above(0.9));
        assert_eq!(
            demand.probability_within(30.0, 0).opposite().words(),
            "about 30 %"
        );
    }

    #[test]
    fn what_is_past_is_left_out() {
        let whole = demand(&[(0.5, &[0.0, 30.0, 60.0])]);
        let later = whole.clone().since(130_000).unwrap();
        assert_eq!((later.start_unix_ms, later.steps()), (120_000, 1));
        assert_eq!(whole.clone().since(-5).unwrap(), whole);
        assert_eq!(whole.since(180_000), None);
    }

    #[test]
    fn finer_steps_lie_on_straight_lines() {
        let finer = demand(&[(0.5, &[0.0, 30.0, 60.0])]).finer(20_000);
        assert_eq!(finer.levels[0].players, [0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0]);
    }

    proptest! {
        #[test]
        fn levels_never_cross_after_the_check(
            rows in proptest::collection::vec(proptest::collection::vec(0.0..1e4f64, 5), 1..6),
            quantiles in proptest::collection::vec(0.0..1.0f64, 2),
        ) {
            let count = rows.len() as f64;
            let levels: Vec<(f64, &[f64])> = rows
                .iter()
                .enumerate()
                .map(|(index, row)| ((index as f64 + 1.0) / (count + 1.0), &row[..]))
                .collect();
            let demand = demand(&levels).checked().unwrap();
            let (low, high) = (quantiles[0].min(quantiles[1]), quantiles[0].max(quantiles[1]));
            for step in 0..5 {
                prop_assert!(demand.at(low, step) <= demand.at(high, step) + 1e-9);
                let at = demand.at(high, step);
                prop_assert!(demand.probability_within(at + 1e-6, step).probability() >= high.min(demand.levels.last().unwrap().quantile) - 1e-6);
            }
        }
    }
}
