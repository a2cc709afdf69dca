//! What `smooth`, `responsive` and `economical` mean, in numbers. Not here: what follows from them (`plan`, `capacity`,
//! `placement`).

use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How players shall fare.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Experience {
    /// Nearly nobody waits, servers have air.
    Smooth,
    /// Short waits now and then.
    #[default]
    Responsive,
    /// Few servers; waits at peaks.
    Economical,
}

/// The targets behind the word.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Targets {
    /// Demand is served up to this quantile, 0 to 1.
    pub demand_quantile: f64,
    /// Share of a tick's budget that players may fill, 0 to 1.
    pub tick_budget_ratio: f64,
    /// Longest a player may wait for a seat, seconds: servers may be ready so much later than players come.
    pub longest_wait_seconds: f64,
    /// Seats kept free, over the seats that demand takes.
    pub spare_seats_ratio: f64,
    /// Servers kept ready whatever demand says.
    pub least_ready_servers: u32,
    /// Round trip from which on latency costs in the placement, milliseconds.
    pub wanted_rtt_ms: f64,
    /// Longest round trip to which players are sent, milliseconds.
    pub longest_rtt_ms: f64,
}

impl Experience {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Smooth, Self::Responsive, Self::Economical];

    /// The word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Smooth => "smooth",
            Self::Responsive => "responsive",
            Self::Economical => "economical",
        }
    }

    /// What it means.
    pub fn targets(self) -> Targets {
        match self {
            Self::Smooth => Targets {
                demand_quantile: 0.99,
                tick_budget_ratio: 0.7,
                longest_wait_seconds: 5.0,
                spare_seats_ratio: 0.1,
                least_ready_servers: 1,
                wanted_rtt_ms: 40.0,
                longest_rtt_ms: 80.0,
            },
            Self::Responsive => Targets {
                demand_quantile: 0.95,
                tick_budget_ratio: 0.8,
                longest_wait_seconds: 30.0,
                spare_seats_ratio: 0.05,
                least_ready_servers: 1,
                wanted_rtt_ms: 60.0,
                longest_rtt_ms: 120.0,
            },
            Self::Economical => Targets {
                demand_quantile: 0.8,
                tick_budget_ratio: 0.9,
                longest_wait_seconds: 120.0,
                spare_seats_ratio: 0.0,
                least_ready_servers: 0,
                wanted_rtt_ms: 100.0,
                longest_rtt_ms: 200.0,
            },
        }
    }
}

/// No such word.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no experience; there are: smooth, responsive, economical")]
pub struct UnknownExperience(String);

impl FromStr for Experience {
    type Err = UnknownExperience;

    fn from_str(word: &str) -> Result<Self, UnknownExperience> {
        let mut all = Self::ALL.into_iter();
        all.find(|experience| experience.name() == word)
            .ok_or_else(|| UnknownExperience(word.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_back_and_better_ones_ask_for_more() {
        for experience in Experience::ALL {
            assert_eq!(experience.name().parse(), Ok(experience));
        }
        assert!("Smooth ".parse::<Experience>().is_err());
        for pair in Experience::ALL.windows(2) {
            let (better, worse) = (pair[0].targets(), pair[1].targets());
            assert!(better.demand_quantile > worse.demand_quantile);
            assert!(better.tick_budget_ratio < worse.tick_budget_ratio);
            assert!(better.longest_wait_seconds < worse.longest_wait_seconds);
            assert!(better.spare_seats_ratio > worse.spare_seats_ratio);
            assert!(better.longest_rtt_ms < worse.longest_rtt_ms);
        }
    }
}
