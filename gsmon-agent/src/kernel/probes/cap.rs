//! How much of a probe is worth its cost: pure arithmetic over measured rates.
//!
//! The cap of the configuration bounds how many calls are timed per second. What a probe costs the server at all is
//! bounded here: above it the return is let go (more than half of the cost), and above it still, the whole probe.

use std::time::Duration;

use gsmon_common::probe::{TIME_ALL, TIME_NONE};

use super::cost::PairCost;
use crate::config::{ProbeMeasure, ProbeSettings};

/// Share of one core that a probe may cost the server.
pub const MOST_COST_RATIO: f64 = 0.1;
/// Below this share of the bound a probe goes back to what it was.
const RETURN_RATIO: f64 = 0.5;

/// What is done at a call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Level {
    /// Timed: all calls, or this share of them.
    Timing(f64),
    /// Counted only.
    Counting,
    /// Nothing: the probe is taken away.
    Detached,
}

impl Level {
    /// For the programs.
    pub fn ratio(self) -> u32 {
        match self {
            Level::Timing(share) if share >= 1.0 => TIME_ALL,
            // At least one in 4 billion: zero means something else.
            Level::Timing(share) => ((share * f64::from(u32::MAX)) as u32).max(1),
            Level::Counting | Level::Detached => TIME_NONE,
        }
    }

    /// Is there a probe at the entry?
    pub fn wants_entry(self) -> bool {
        self != Level::Detached
    }

    /// Is there a probe at the return?
    pub fn wants_return(self) -> bool {
        matches!(self, Level::Timing(_))
    }

    /// Cost of one call.
    pub fn cost_ns(self, cost: PairCost) -> f64 {
        match self {
            Level::Timing(_) => cost.pair_ns,
            Level::Counting => cost.entry_ns,
            Level::Detached => 0.0,
        }
    }

    /// Steps that are told when they change.
    pub fn rank(self) -> u8 {
        match self {
            Level::Timing(share) if share >= 1.0 => 0,
            Level::Timing(_) => 1,
            Level::Counting => 2,
            Level::Detached => 3,
        }
    }
}

/// What is in force, and why it is not what was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeState {
    /// In no process yet.
    Waiting {
        /// For what.
        reason: String,
    },
    /// Every call is timed.
    Timing,
    /// Some calls are timed, the others counted.
    Sampling {
        /// Why.
        reason: String,
    },
    /// Calls are counted.
    Counting {
        /// Why, where timing was asked for.
        reason: Option<String>,
    },
    /// Taken away.
    Detached {
        /// Why.
        reason: String,
    },
    /// Could not be attached.
    Failed {
        /// Why, and what to do.
        reason: String,
    },
}

impl ProbeState {
    /// Why it is not what was asked for.
    pub fn reason(&self) -> Option<&str> {
        match self {
            ProbeState::Timing => None,
            ProbeState::Counting { reason } => reason.as_deref(),
            ProbeState::Waiting { reason }
            | ProbeState::Sampling { reason }
            | ProbeState::Detached { reason }
            | ProbeState::Failed { reason } => Some(reason),
        }
    }
}

/// The cap of one probe.
#[derive(Clone, Debug)]
pub struct Cap {
    most_timed_per_second: f64,
    measure: ProbeMeasure,
    level: Level,
    /// Calls per second when the level was last chosen.
    rate: f64,
}

impl Cap {
    /// As configured.
    pub fn new(settings: &ProbeSettings) -> Self {
        Self {
            most_timed_per_second: f64::from(settings.max_calls_per_second),
            measure: settings.measure,
            level: match settings.measure {
                ProbeMeasure::Time => Level::Timing(1.0),
                ProbeMeasure::Calls => Level::Counting,
            },
            rate: 0.0,
        }
    }

    /// What is done now.
    pub fn level(&self) -> Level {
        self.level
    }

    /// Calls that may be timed until the next drain, if it comes as late as the last. Some room is left for a late one:
    /// the share of calls that are timed keeps to the cap.
    pub fn per_interval(&self, elapsed: Duration) -> u64 {
        let seconds = elapsed.as_secs_f64().clamp(0.1, 60.0);
        (self.most_timed_per_second * seconds * 1.25).ceil() as u64
    }

    /// Takes in an interval with so many calls.
    pub fn update(&mut self, calls: u64, elapsed: Duration, cost: Option<PairCost>) {
        if self.level == Level::Detached {
            // Nothing is seen any more: only a new start or another configuration brings it back.
            return;
        }
        let seconds = elapsed.as_secs_f64();
        if seconds <= 0.0 {
            return;
        }
        self.rate = calls as f64 / seconds;
        let share = |level: Level| cost.map_or(0.0, |cost| self.rate * level.cost_ns(cost) / 1e9);
        let timing = Level::Timing(self.most_timed_per_second / self.rate.max(self.most_timed_per_second));
        let bound = match self.level {
            Level::Timing(_) => MOST_COST_RATIO,
            _ => MOST_COST_RATIO * RETURN_RATIO,
        };
        self.level = if share(Level::Counting) > MOST_COST_RATIO {
            Level::Detached
        } else if self.measure == ProbeMeasure::Calls || share(timing) > bound {
            Level::Counting
        } else {
            timing
        };
    }

    /// In words.
    pub fn state(&self) -> ProbeState {
        let bound = MOST_COST_RATIO * 100.0;
        let rate = self.rate;
        match self.level {
            Level::Timing(share) if share >= 1.0 => ProbeState::Timing,
            Level::Timing(share) => ProbeState::Sampling {
                reason: format!(
                    "{rate:.0} calls per second are above max_calls_per_second = {}: {:.1} % of them are timed",
                    self.most_timed_per_second,
                    share * 100.0
                ),
            },
            Level::Counting => ProbeState::Counting {
                reason: (self.measure == ProbeMeasure::Time).then(|| {
                    format!(
                        "timing {rate:.0} calls per second would cost the server more than {bound:.0} % of a core: they are counted only"
                    )
                }),
            },
            Level::Detached => ProbeState::Detached {
                reason: format!(
                    "counting {rate:.0} calls per second would cost the server more than {bound:.0} % of a core: taken away until the server starts anew; probe a function that is called less often"
                ),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ProbePlace;

    const COST: Option<PairCost> = Some(PairCost {
        entry_ns: 1_000.0,
        pair_ns: 3_000.0,
    });

    fn cap(measure: ProbeMeasure) -> Cap {
        let settings = ProbeSettings::new("p", ProbePlace::Address(1))
            .measure(measure)
            .max_calls_per_second(1_000);
        Cap::new(&settings)
    }

    fn at(cap: &mut Cap, calls_per_second: u64) -> Level {
        cap.update(calls_per_second * 2, Duration::from_secs(2), COST);
        cap.level()
    }

    #[test]
    fn few_calls_are_all_timed_and_many_in_part() {
        let mut cap = cap(ProbeMeasure::Time);
        assert_eq!(at(&mut cap, 900), Level::Timing(1.0));
        assert_eq!(cap.state(), ProbeState::Timing);
        assert_eq!(at(&mut cap, 4_000), Level::Timing(0.25));
        assert!(cap.state().reason().unwrap().contains("25.0 %"));
        assert_eq!(at(&mut cap, 900), Level::Timing(1.0));
    }

    #[test]
    fn what_costs_too_much_is_counted_and_comes_back_when_it_is_cheap() {
        let mut cap = cap(ProbeMeasure::Time);
        assert_eq!(at(&mut cap, 40_000), Level::Counting);
        assert!(cap.state().reason().unwrap().contains("counted only"));
        assert_eq!(at(&mut cap, 30_000), Level::Counting, "not yet");
        assert_eq!(at(&mut cap, 10_000), Level::Timing(0.1));
    }

    #[test]
    fn what_costs_too_much_to_count_is_taken_away_for_good() {
        let mut cap = cap(ProbeMeasure::Calls);
        assert_eq!(at(&mut cap, 90_000), Level::Counting);
        assert_eq!(cap.state(), ProbeState::Counting { reason: None });
        assert_eq!(at(&mut cap, 110_000), Level::Detached);
        assert_eq!(at(&mut cap, 0), Level::Detached);
        assert!(cap.state().reason().unwrap().contains("called less often"));
    }

    #[test]
    fn a_share_is_never_none() {
        assert_eq!(Level::Timing(1.0).ratio(), TIME_ALL);
        assert_eq!(Level::Timing(1e-12).ratio(), 1);
        assert_eq!(Level::Counting.ratio(), TIME_NONE);
    }
}
