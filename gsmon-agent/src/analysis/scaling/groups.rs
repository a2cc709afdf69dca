//! Modes, maps or phases of a server held against each other: what each costs, and how much they differ at equal players.
//!
//! One regression holds all groups: the curve of players, what a group adds to it, and what it adds per player. So many
//! differences are looked at together that their p values are corrected (Holm).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    MetricScaling, ScalingMetric, ScalingRefusal,
    rows::{Row, Rows, playing, rows},
    scaling_of,
};
use crate::{
    analysis::stats::{
        Estimate, holm,
        jackknife::Stretches,
        regress::{Design, Fit},
        robust::{mean, median},
    },
    history::Frame,
    world::session::phase,
};

/// What groups are made by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum By {
    /// Mode of the session.
    Mode,
    /// Its map.
    Map,
    /// Phase of the server.
    Phase,
}

impl By {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Mode => "mode",
            Self::Map => "map",
            Self::Phase => "phase",
        }
    }

    fn of(self, frame: &Frame) -> Option<String> {
        match self {
            Self::Mode => frame.mode.as_deref().map(str::to_owned),
            Self::Map => frame.map.as_deref().map(str::to_owned),
            Self::Phase => frame.phase.map(|phase| phase::name(phase).to_owned()),
        }
    }
}

/// One group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// Seconds.
    pub seconds: f64,
    /// Mean number of players.
    pub players: f64,
    /// How the figure depends on players within it.
    pub scaling: Option<MetricScaling>,
    /// Why that is not known.
    pub refused: Option<String>,
}

/// A group held against the one that there is most of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// The group.
    pub group: String,
    /// Held against.
    pub against: String,
    /// How much more the figure is at `at_players`.
    pub difference: Estimate,
    /// Players at which it is told: as many as both had.
    pub at_players: f64,
    /// The difference over the figure of the other: 0.1 is ten percent more.
    pub relative: Option<f64>,
    /// The difference in standard deviations of what players do not explain (Cohen's d).
    pub effect_size: f64,
    /// How much more each player adds.
    pub per_player: Option<Estimate>,
    /// Smaller of both p values, corrected for all that were looked at.
    pub corrected_p_value: f64,
    /// Does it remain after that?
    pub significant: bool,
}

/// Groups of one metric.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GroupsReport {
    /// Which.
    pub metric: ScalingMetric,
    /// By what.
    pub by: By,
    /// Groups, the one that there is most of first.
    pub groups: Vec<Group>,
    /// Differences from the first.
    pub differences: Vec<Difference>,
    /// Groups that could not be held against the first: too little of them at equal players.
    pub not_compared: Vec<String>,
}

/// A group needs so many rows to be told.
const FEWEST_ROWS: usize = 30;
/// Groups at most: each has a curve of its own.
const MOST_GROUPS: usize = 12;
/// Corrected p values below this count.
const THRESHOLD: f64 = 0.05;

/// Holds the groups of one server against each other.
///
/// # Errors
/// When nothing can be looked at, or no group has a name.
pub fn compare_groups(
    frames: &[Frame],
    by: By,
    metric: ScalingMetric,
) -> Result<GroupsReport, ScalingRefusal> {
    let playing = playing(frames);
    let taken = |frame: &Frame| by == By::Phase || playing(frame);
    let mut seconds: BTreeMap<String, f64> = BTreeMap::new();
    for frame in frames.iter().filter(|frame| taken(frame)) {
        if let Some(name) = by.of(frame) {
            *seconds.entry(name).or_default() += frame.seconds;
        }
    }
    let mut names: Vec<(String, f64)> = seconds.into_iter().collect();
    names.sort_by(|a, b| b.1.total_cmp(&a.1));
    names.truncate(MOST_GROUPS);
    if names.is_empty() {
        return Err(match frames.is_empty() {
            true => ScalingRefusal::Empty,
            false => ScalingRefusal::NothingInScope(format!("anything whose {} is known", by.words())),
        });
    }
    let number = |frame: &Frame| -> Option<usize> {
        let name = taken(frame).then(|| by.of(frame)).flatten()?;
        names.iter().position(|(known, _)| *known == name)
    };
    let mut all = rows(frames, metric, number)?;
    if !metric.is_bursty() {
        mark_within_groups(&mut all, names.len());
    }
    let groups: Vec<Group> = names
        .iter()
        .enumerate()
        .map(|(index, (name, seconds))| {
            let own: Vec<Frame> = own_frames(frames, |frame| number(frame) == Some(index));
            let scaling = scaling_of(&own, metric).map(|(scaling, _, _)| scaling);
            let players: Vec<f64> = group(&all, index).map(|row| row.players).collect();
            Group {
                name: name.clone(),
                seconds: *seconds,
                players: mean(&players).unwrap_or(0.0),
                refused: scaling.as_ref().err().map(ToString::to_string),
                scaling: scaling.ok(),
            }
        })
        .collect();
    let mut differences = Vec::new();
    let mut not_compared = Vec::new();
    for (index, (name, _)) in names.iter().enumerate().skip(1) {
        match difference(&all, index) {
            Some(found) => differences.push(Difference {
                group: name.clone(),
                against: names[0].0.clone(),
                ..found
            }),
            None => not_compared.push(name.clone()),
        }
    }
    let p_values: Vec<f64> = differences
        .iter()
        .flat_map(|one: &Difference| {
            let slope = one.per_player.map_or(1.0, |slope| slope.p_value);
            [one.difference.p_value, slope]
        })
        .collect();
    for (one, corrected) in differences.iter_mut().zip(holm(&p_values).chunks_exact(2)) {
        one.corrected_p_value = corrected[0].min(corrected[1]);
        one.significant = one.corrected_p_value < THRESHOLD;
    }
    Ok(GroupsReport {
        metric,
        by,
        groups,
        differences,
        not_compared,
    })
}

/// Frames of a group; where others lay between them, time is broken.
fn own_frames(frames: &[Frame], of: impl Fn(&Frame) -> bool) -> Vec<Frame> {
    let mut own: Vec<Frame> = Vec::new();
    for frame in frames.iter().filter(|frame| of(frame)) {
        own.push(frame.clone());
    }
    own
}

fn group(rows: &Rows, index: usize) -> impl Iterator<Item = &Row> {
    rows.rows.iter().filter(move |row| row.group == index)
}

/// What is usual differs between groups: outliers are judged within each.
fn mark_within_groups(all: &mut Rows, groups: usize) {
    for index in 0..groups {
        let mut own = Rows {
            rows: group(all, index).copied().collect(),
            ..Rows::default()
        };
        own.weigh();
        let marked = own.rows.into_iter();
        let places = all.rows.iter_mut().filter(|row| row.group == index);
        places
            .zip(marked)
            .for_each(|(row, marked)| row.weight = marked.weight);
    }
}

/// The curve of players, what the group adds to it, and what it adds per player.
fn fit_of(taken: &[&Row], kept: &[usize], group: usize, centre: f64, curve: usize) -> Option<Fit> {
    let mut design = Design::new(match curve {
        3 => 5,
        2 => 4,
        _ => 2,
    });
    let mut y = Vec::with_capacity(kept.len());
    for row in kept.iter().map(|row| taken[*row]) {
        let (x, own) = (row.players - centre, f64::from(u8::from(row.group == group)));
        match curve {
            3 => design.push(&[own, own * x, x, x * x]),
            2 => design.push(&[own, own * x, x]),
            _ => design.push(&[own]),
        }
        y.push(row.value);
    }
    design.fit_independent(&y)
}

/// The group against the first, names left open.
fn difference(all: &Rows, index: usize) -> Option<Difference> {
    // Only where both had about as many players: elsewhere a difference would be an extrapolation.
    let range = |of: usize| {
        let players: Vec<f64> = group(all, of).map(|row| row.players).collect();
        let end = |share| crate::analysis::stats::robust::quantile(&players, share);
        Some((end(0.02)?, end(0.98)?))
    };
    let (own, other) = (range(index)?, range(0)?);
    let (low, high) = (own.0.max(other.0) - 0.5, own.1.min(other.1) + 0.5);
    let taken: Vec<&Row> = all
        .rows
        .iter()
        .filter(|row| row.weight > 0.0 && (row.group == 0 || row.group == index))
        .filter(|row| (low..=high).contains(&row.players))
        .collect();
    let own: Vec<f64> = taken
        .iter()
        .filter(|row| row.group == index)
        .map(|row| row.players)
        .collect();
    if own.len() < FEWEST_ROWS || taken.len() - own.len() < FEWEST_ROWS {
        return None;
    }
    let centre = median(&own)?;
    let y: Vec<f64> = taken.iter().map(|row| row.value).collect();
    // Players may not move; then only levels are compared.
    let fitted = [3usize, 2, 0].into_iter().find_map(|curve| {
        let all: Vec<usize> = (0..taken.len()).collect();
        let fit = fit_of(&taken, &all, index, centre, curve)?;
        let stretches = Stretches::of(&fit.residuals);
        let each = stretches.each(|kept| {
            let kept: Vec<usize> = (0..taken.len()).filter(|row| kept(*row)).collect();
            Some(fit_of(&taken, &kept, index, centre, curve)?.coefficients)
        })?;
        let estimate = |column: usize| {
            let each: Vec<f64> = each.iter().map(|coefficients| coefficients[column]).collect();
            stretches.estimate(fit.coefficients[column], &each, 0.0)
        };
        let slope = if curve > 0 { estimate(2) } else { None };
        Some((estimate(1)?, slope, fit))
    });
    let (difference, per_player, fit) = fitted?;
    let freedom = (y.len() as f64 - 5.0).max(1.0);
    let scatter = (fit.residuals.iter().map(|off| off * off).sum::<f64>() / freedom).sqrt();
    let level = fit.coefficients[0];
    Some(Difference {
        group: String::new(),
        against: String::new(),
        difference,
        at_players: centre,
        relative: (level.abs() > 1e-12).then(|| difference.value / level),
        effect_size: difference.value / scatter.max(1e-12),
        per_player,
        corrected_p_value: 1.0,
        significant: false,
    })
}
