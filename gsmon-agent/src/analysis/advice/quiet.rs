//! The quietest time to come: when a restart disturbs the fewest. Not here: who comes (`demand`), restarting.

use serde::{Deserialize, Serialize};

use super::demand::Demand;

/// A stretch of time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct QuietWindow {
    /// Begin.
    pub from_unix_ms: i64,
    /// End.
    pub to_unix_ms: i64,
    /// Mean of the median of players in it.
    pub mean_players: f64,
    /// Most players at the highest quantile that is known.
    pub most_players: f64,
    /// That quantile.
    pub quantile: f64,
}

/// The stretch of such a length with the fewest players, the first of several; `None` where the demand is shorter.
pub fn quietest(demand: &Demand, length_ms: i64) -> Option<QuietWindow> {
    let steps = usize::try_from(length_ms.max(1))
        .ok()?
        .div_ceil(usize::try_from(demand.step_ms).ok()?);
    let quantile = demand.levels.last()?.quantile;
    let windows = (0..demand.steps().checked_sub(steps)? + 1).map(|from| {
        let inside = from..from + steps;
        let mean = inside.clone().map(|step| demand.at(0.5, step)).sum::<f64>() / steps as f64;
        QuietWindow {
            from_unix_ms: demand.unix_ms(from),
            to_unix_ms: demand.unix_ms(from + steps),
            mean_players: mean,
            most_players: inside.map(|step| demand.at(quantile, step)).fold(0.0, f64::max),
            quantile,
        }
    });
    windows.min_by(|a, b| {
        a.mean_players
            .total_cmp(&b.mean_players)
            .then(a.most_players.total_cmp(&b.most_players))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::advice::demand::{DemandBasis, Group, Level};

    #[test]
    fn the_fewest_players_and_then_the_earliest_time_win() {
        let level = |quantile: f64, add: f64| Level {
            quantile,
            players: [5.0, 1.0, 2.0, 1.0, 2.0, 9.0]
                .iter()
                .map(|players| players + add)
                .collect(),
        };
        let demand = Demand {
            group: Group::default(),
            start_unix_ms: 1_000,
            step_ms: 100,
            levels: vec![level(0.5, 0.0), level(0.9, 3.0)],
            basis: DemandBasis::DailyProfile,
        };
        let window = quietest(&demand, 200).unwrap();
        assert_eq!((window.from_unix_ms, window.to_unix_ms), (1_100, 1_300));
        assert_eq!((window.mean_players, window.most_players), (1.5, 5.0));
        assert_eq!(quietest(&demand, 700), None);
    }
}
