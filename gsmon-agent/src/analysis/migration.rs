//! What moving players did: which stay of a player was followed by another elsewhere, and what became of round trip, loss,
//! tick time and cost, told against the players who stayed where the move began or ended (a difference in differences).
//! Pure. Not here: who is where (the fleet room).

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::stats::{Estimate, robust::mean};

/// Fewer moves tell no interval.
const FEWEST: usize = 3;

/// What is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Figure {
    /// Median round trip, milliseconds.
    RttMs,
    /// Packets lost, the worse of both ways.
    LossRatio,
    /// 99th percentile of the server's tick time, milliseconds.
    TickMs,
    /// The player's share of the price of the server, per hour.
    CostPerHour,
}

impl Figure {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::RttMs, Self::LossRatio, Self::TickMs, Self::CostPerHour];

    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Self::RttMs => "round trip, ms",
            Self::LossRatio => "loss, ratio",
            Self::TickMs => "tick time p99, ms",
            Self::CostPerHour => "cost per player-hour",
        }
    }
}

/// What was measured of a player at a time. Absent is "nobody measured it".
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sample {
    /// When, milliseconds since 1970.
    pub unix_ms: i64,
    /// In the order of [`Figure::ALL`].
    pub figures: [Option<f32>; Figure::ALL.len()],
}

/// A player on a server.
#[derive(Clone, Debug, PartialEq)]
pub struct Stay {
    /// Pseudonym.
    pub player: Arc<str>,
    /// Host and server.
    pub server: Arc<str>,
    /// Where that is.
    pub region: Option<Arc<str>>,
    /// First seen.
    pub from_unix_ms: i64,
    /// Last seen, where it has ended.
    pub to_unix_ms: Option<i64>,
    /// In the order of time.
    pub samples: Vec<Sample>,
}

impl Stay {
    fn mean(&self, figure: usize, from_unix_ms: i64, to_unix_ms: i64) -> Option<f64> {
        let values: Vec<f64> = self
            .samples
            .iter()
            .filter(|sample| (from_unix_ms..=to_unix_ms).contains(&sample.unix_ms))
            .filter_map(|sample| sample.figures[figure].map(f64::from))
            .collect();
        mean(&values)
    }

    fn covers(&self, from_unix_ms: i64, to_unix_ms: i64) -> bool {
        self.from_unix_ms <= from_unix_ms && self.to_unix_ms.is_none_or(|to| to >= to_unix_ms)
    }
}

/// A move that somebody announced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announced {
    /// Pseudonym; absent: whoever moves that way then.
    pub player: Option<Arc<str>>,
    /// Host and server.
    pub from: Arc<str>,
    /// Host and server.
    pub to: Arc<str>,
    /// When, milliseconds since 1970.
    pub unix_ms: i64,
}

/// How moves are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    /// A player who comes elsewhere later than this has not moved but come anew.
    pub within_ms: i64,
    /// A player may come this long before they are seen to have left: agents are read one after the other.
    pub overlap_ms: i64,
    /// So much before and after a move is compared.
    pub around_ms: i64,
}

impl Default for Windows {
    fn default() -> Self {
        Self {
            within_ms: 300_000,
            overlap_ms: 11_000,
            around_ms: 600_000,
        }
    }
}

/// How a move is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KnownBy {
    /// The player left one region and came to another.
    Seen,
    /// It was announced, and seen.
    Announced,
}

/// Two stays of one player, by their places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    /// Before.
    pub from: usize,
    /// After.
    pub to: usize,
    /// How it is known.
    pub by: KnownBy,
}

/// Pairs stays: a player who leaves a server in one region and comes to one in another within the window, and announced
/// moves whatever their regions. Each stay begins one move and ends one at most; the nearest in time are paired first.
pub fn pair(stays: &[Stay], announced: &[Announced], windows: Windows) -> Vec<Pair> {
    let mut of: std::collections::BTreeMap<&str, Vec<usize>> = std::collections::BTreeMap::new();
    for (place, stay) in stays.iter().enumerate() {
        of.entry(&stay.player).or_default().push(place);
    }
    let mut candidates: Vec<(i64, Pair)> = Vec::new();
    for places in of.values().filter(|places| places.len() > 1) {
        for from in places {
            let before = &stays[*from];
            let Some(left) = before.to_unix_ms else { continue };
            for to in places.iter().filter(|to| *to != from) {
                let after = &stays[*to];
                let gap = after.from_unix_ms - left;
                if before.server == after.server || !(-windows.overlap_ms..=windows.within_ms).contains(&gap)
                {
                    continue;
                }
                let told = announced.iter().any(|told| {
                    told.from == before.server
                        && told.to == after.server
                        && told.player.as_ref().is_none_or(|player| *player == before.player)
                        && (left - told.unix_ms).abs() <= windows.within_ms
                });
                let other_region =
                    before.region.is_some() && after.region.is_some() && before.region != after.region;
                let by = match (told, other_region) {
                    (true, _) => KnownBy::Announced,
                    (false, true) => KnownBy::Seen,
                    (false, false) => continue,
                };
                let pair = Pair {
                    from: *from,
                    to: *to,
                    by,
                };
                candidates.push((gap.abs(), pair));
            }
        }
    }
    candidates.sort_by_key(|(gap, pair)| (*gap, pair.from, pair.to));
    let (mut left, mut came) = (vec![false; stays.len()], vec![false; stays.len()]);
    let mut pairs: Vec<Pair> = Vec::new();
    for (_, pair) in candidates {
        if !left[pair.from] && !came[pair.to] {
            (left[pair.from], came[pair.to]) = (true, true);
            pairs.push(pair);
        }
    }
    pairs.sort_by_key(|pair| stays[pair.to].from_unix_ms);
    pairs
}

/// One figure of one move.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Changed {
    /// Which.
    pub figure: Figure,
    /// Mean before.
    pub before: f64,
    /// Mean after.
    pub after: f64,
    /// What changed for those who stayed, mean; absent where nobody did.
    pub stayed_change: Option<f64>,
    /// What changed beyond that.
    pub effect: Option<f64>,
}

/// One move.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Migration {
    /// Pseudonym.
    pub player: Arc<str>,
    /// Host and server.
    pub from: Arc<str>,
    /// Host and server.
    pub to: Arc<str>,
    /// Where that was.
    pub from_region: Option<Arc<str>>,
    /// Where this is.
    pub to_region: Option<Arc<str>>,
    /// Last seen there.
    pub left_unix_ms: i64,
    /// First seen here.
    pub came_unix_ms: i64,
    /// How it is known.
    pub by: KnownBy,
    /// Players who stayed meanwhile where the move began or ended.
    pub stayed: usize,
    /// Figures that were measured before and after.
    pub changed: Vec<Changed>,
}

/// One figure of all moves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summed {
    /// Which.
    pub figure: Figure,
    /// Moves of which it is known.
    pub migrations: usize,
    /// Mean before.
    pub before: f64,
    /// Mean after.
    pub after: f64,
    /// Change beyond that of those who stayed, with its 95 % interval; absent of fewer than three moves with such.
    pub effect: Option<Estimate>,
    /// In words.
    pub words: String,
}

/// All moves.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MigrationReport {
    /// Each, the oldest first.
    pub migrations: Vec<Migration>,
    /// Summed.
    pub summed: Vec<Summed>,
    /// Announced moves that nobody was seen to make.
    pub announced_unseen: usize,
}

/// Pairs stays and tells what each move did.
pub fn report(stays: &[Stay], announced: &[Announced], windows: Windows) -> MigrationReport {
    let pairs = pair(stays, announced, windows);
    let moved: Vec<bool> = {
        let mut moved = vec![false; stays.len()];
        for pair in &pairs {
            (moved[pair.from], moved[pair.to]) = (true, true);
        }
        moved
    };
    let migrations: Vec<Migration> = pairs
        .iter()
        .map(|pair| migration(stays, &moved, *pair, windows))
        .collect();
    let unseen = announced.iter().filter(|told| {
        !migrations.iter().any(|seen| {
            seen.from == told.from
                && seen.to == told.to
                && told.player.as_ref().is_none_or(|player| *player == seen.player)
                && (seen.left_unix_ms - told.unix_ms).abs() <= windows.within_ms
        })
    });
    MigrationReport {
        announced_unseen: unseen.count(),
        summed: Figure::ALL
            .into_iter()
            .filter_map(|figure| summed(&migrations, figure))
            .collect(),
        migrations,
    }
}

fn migration(stays: &[Stay], moved: &[bool], pair: Pair, windows: Windows) -> Migration {
    let (before, after) = (&stays[pair.from], &stays[pair.to]);
    let left = before.to_unix_ms.unwrap_or(after.from_unix_ms);
    let came = after.from_unix_ms;
    let (first, last) = (left - windows.around_ms, came + windows.around_ms);
    // The last half of either window at least: who came a minute before is no stayer.
    let stayed: Vec<&Stay> = stays
        .iter()
        .zip(moved)
        .filter(|(stay, moved)| {
            !**moved
                && stay.player != before.player
                && (stay.server == before.server || stay.server == after.server)
                && stay.covers(left - windows.around_ms / 2, came)
                && stay.to_unix_ms.is_none_or(|to| to > came)
        })
        .map(|(stay, _)| stay)
        .collect();
    let changed = Figure::ALL.into_iter().enumerate().filter_map(|(place, figure)| {
        let (was, is) = (before.mean(place, first, left)?, after.mean(place, came, last)?);
        let others: Vec<f64> = stayed
            .iter()
            .filter_map(|stay| Some(stay.mean(place, came, last)? - stay.mean(place, first, left)?))
            .collect();
        let stayed_change = mean(&others);
        Some(Changed {
            figure,
            before: was,
            after: is,
            stayed_change,
            effect: stayed_change.map(|stayed| is - was - stayed),
        })
    });
    Migration {
        changed: changed.collect(),
        player: before.player.clone(),
        from: before.server.clone(),
        to: after.server.clone(),
        from_region: before.region.clone(),
        to_region: after.region.clone(),
        left_unix_ms: left,
        came_unix_ms: came,
        by: pair.by,
        stayed: stayed.len(),
    }
}

fn summed(migrations: &[Migration], figure: Figure) -> Option<Summed> {
    let changed: Vec<&Changed> = migrations
        .iter()
        .flat_map(|migration| &migration.changed)
        .filter(|changed| changed.figure == figure)
        .collect();
    let of =
        |value: fn(&Changed) -> f64| mean(&changed.iter().map(|changed| value(changed)).collect::<Vec<_>>());
    let (before, after) = (of(|changed| changed.before)?, of(|changed| changed.after)?);
    let effects: Vec<f64> = changed.iter().filter_map(|changed| changed.effect).collect();
    let effect = mean(&effects)
        .filter(|_| effects.len() >= FEWEST)
        .and_then(|value| {
            let count = effects.len() as f64;
            let spread = effects.iter().map(|effect| (effect - value).powi(2)).sum::<f64>() / (count - 1.0);
            Estimate::from_error(value, (spread / count).sqrt(), count - 1.0, effects.len())
        });
    let words = match effect {
        None => format!(
            "{}: too few moves beside players who stayed to tell what they did",
            figure.words()
        ),
        Some(effect) if effect.excludes_zero() => format!(
            "{}: moves made it {} by {:.3} ({:.3} to {:.3}) beside those who stayed",
            figure.words(),
            if effect.value < 0.0 { "better" } else { "worse" },
            effect.value.abs(),
            effect.low.abs().min(effect.high.abs()),
            effect.low.abs().max(effect.high.abs()),
        ),
        Some(effect) => format!(
            "{}: no change beside those who stayed can be told ({:.3} to {:.3})",
            figure.words(),
            effect.low,
            effect.high
        ),
    };
    Some(Summed {
        figure,
        migrations: changed.len(),
        before,
        after,
        effect,
        words,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::analysis::simulate::Noise;

    const MINUTE_MS: i64 = 60_000;

    fn stay(player: &str, server: &str, region: &str, minutes: std::ops::Range<i64>, open: bool) -> Stay {
        Stay {
            player: player.into(),
            server: server.into(),
            region: Some(region.into()),
            from_unix_ms: minutes.start * MINUTE_MS,
            to_unix_ms: (!open).then_some(minutes.end * MINUTE_MS),
            samples: Vec::new(),
        }
    }

    fn ends(stays: &[Stay], announced: &[Announced]) -> Vec<(usize, usize, KnownBy)> {
        let pairs = pair(stays, announced, Windows::default());
        pairs.iter().map(|pair| (pair.from, pair.to, pair.by)).collect()
    }

    #[test]
    fn moves_are_paired_and_what_is_none_is_not() {
        let stays = [
            stay("ann", "a/x", "eu", 0..10, false),
            stay("ann", "b/x", "us", 12..30, true),
            // On two servers at once.
            stay("bob", "a/x", "eu", 0..30, true),
            stay("bob", "b/x", "us", 5..30, true),
            // In one region.
            stay("cid", "a/x", "eu", 0..10, false),
            stay("cid", "a/y", "eu", 11..30, true),
            // Too late.
            stay("dan", "a/x", "eu", 0..10, false),
            stay("dan", "b/x", "us", 16..30, true),
            // There and back.
            stay("eve", "a/x", "eu", 0..10, false),
            stay("eve", "b/x", "us", 11..12, false),
            stay("eve", "a/x", "eu", 13..30, true),
        ];
        let seen = KnownBy::Seen;
        assert_eq!(ends(&stays, &[]), [(8, 9, seen), (0, 1, seen), (9, 10, seen)]);
        let announced = [Announced {
            player: Some("cid".into()),
            from: "a/x".into(),
            to: "a/y".into(),
            unix_ms: 9 * MINUTE_MS,
        }];
        let told = ends(&stays, &announced);
        assert_eq!(told.len(), 4);
        assert!(told.contains(&(4, 5, KnownBy::Announced)));
        let other = [Announced {
            player: Some("zoe".into()),
            ..announced[0].clone()
        }];
        assert_eq!(ends(&stays, &other).len(), 3);
        assert_eq!(report(&stays, &other, Windows::default()).announced_unseen, 1);
    }

    /// Ten players who move at minute 20 and ten who stay; everybody's round trip rises by 10 ms then, that of who moves
    /// falls by 30 ms beside it.
    #[test]
    fn an_effect_is_told_beside_what_changed_for_those_who_stayed() {
        let mut dice = Noise::new(11);
        let mut stays = Vec::new();
        let mut with = |mut stay: Stay, level: f64| {
            let end = stay.to_unix_ms.unwrap_or(40 * MINUTE_MS);
            for unix_ms in (stay.from_unix_ms..=end).step_by(30_000) {
                let late = if unix_ms >= 20 * MINUTE_MS { 10.0 } else { 0.0 };
                let rtt = level + late + dice.normal();
                stay.samples.push(Sample {
                    unix_ms,
                    figures: [Some(rtt as f32), None, Some(5.0), None],
                });
            }
            stays.push(stay);
        };
        for number in 0..10 {
            let (moves, stays) = (format!("m{number}"), format!("s{number}"));
            with(stay(&moves, "a/x", "eu", 0..20, false), 80.0);
            with(stay(&moves, "b/x", "us", 21..40, true), 50.0);
            let home = if number % 2 == 0 { "a/x" } else { "b/x" };
            with(stay(&stays, home, "eu", 0..40, true), 60.0);
        }
        let report = report(&stays, &[], Windows::default());
        assert_eq!(report.migrations.len(), 10);
        assert!(report.migrations.iter().all(|migration| migration.stayed == 10));
        let rtt = &report.summed[0];
        let effect = rtt.effect.unwrap();
        assert!((effect.value + 30.0).abs() < 1.0, "{effect:?}");
        assert!(
            effect.low < -30.0 + 0.8 && effect.high > -30.0 - 0.8,
            "{effect:?}"
        );
        assert!((rtt.after - rtt.before + 20.0).abs() < 1.0, "{rtt:?}");
        assert!(rtt.words.contains("better"), "{}", rtt.words);
        // Loss was never measured: it is not told.
        assert!(
            report
                .summed
                .iter()
                .all(|summed| summed.figure != Figure::LossRatio)
        );
    }

    proptest! {
        #[test]
        fn each_stay_begins_and_ends_one_move_at_most(
            rows in proptest::collection::vec((0u8..4, 0u8..4, 0i64..60, 0i64..20, any::<bool>()), 0..40),
        ) {
            let stays: Vec<Stay> = rows
                .iter()
                .map(|(player, server, from, length, open)| {
                    let (server, region) = (format!("h/{server}"), format!("r{}", server % 3));
                    stay(&player.to_string(), &server, &region, *from..from + length, *open)
                })
                .collect();
            let pairs = pair(&stays, &[], Windows::default());
            let mut from: Vec<usize> = pairs.iter().map(|pair| pair.from).collect();
            let mut to: Vec<usize> = pairs.iter().map(|pair| pair.to).collect();
            let count = pairs.len();
            from.sort_unstable();
            from.dedup();
            to.sort_unstable();
            to.dedup();
            prop_assert_eq!((from.len(), to.len()), (count, count));
            for pair in pairs {
                prop_assert_eq!(&stays[pair.from].player, &stays[pair.to].player);
                prop_assert_ne!(&stays[pair.from].region, &stays[pair.to].region);
            }
        }
    }
}
