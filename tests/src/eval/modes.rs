//! Modes: an A/A comparison finds nothing, a planted difference is found with its size.

use std::sync::Arc;

use gsmon_agent::{
    analysis::scaling::{By, ScalingMetric, Shape, compare_groups, usage_patterns},
    history::{Frame, Measure},
};

use super::{
    Figure, each_seed,
    made::{Cost, Made, Noise},
};

/// Matches of 5 to 15 minutes whose modes are drawn; the second costs `more` times as much more.
fn matches(seed: u64, more: f64) -> Vec<Frame> {
    let mut noise = Noise::new(seed);
    let mut frames = Made::usual(Cost::usual(Shape::Linear)).frames(&mut noise);
    let modes: [Arc<str>; 2] = ["duel".into(), "race".into()];
    let (mut left, mut mode) = (0usize, 0usize);
    for frame in &mut frames {
        if left == 0 {
            left = 60 + (noise.uniform() * 120.0) as usize;
            mode = usize::from(noise.uniform() < 0.5);
        }
        left -= 1;
        frame.mode = Some(modes[mode].clone());
        if mode == 1 {
            frame.set(
                Measure::CpuCores,
                frame.get(Measure::CpuCores).map(|cpu| cpu * (1.0 + more)),
            );
        }
    }
    frames
}

/// A/A, and a difference of 20 %.
pub fn modes(seeds: u64, threads: usize) -> Vec<Figure> {
    let cpu = ScalingMetric::Stored(Measure::CpuCores);
    let compare = |more: f64| {
        each_seed(seeds, threads, |seed| {
            let frames = matches(seed * 4 + 1, more);
            compare_groups(&frames, By::Mode, cpu).ok()
        })
    };
    let share = |count: usize, of: usize| count as f64 / of.max(1) as f64;
    let same = compare(0.0);
    let found = |report: &Option<_>| -> bool {
        let report: &Option<gsmon_agent::analysis::scaling::GroupsReport> = report;
        report
            .as_ref()
            .is_some_and(|report| report.differences.iter().any(|one| one.significant))
    };
    let wrong = same.iter().filter(|report| found(report)).count();
    let told = same
        .iter()
        .flatten()
        .filter(|report| !report.differences.is_empty())
        .count();
    let other = compare(0.2);
    let right = other.iter().filter(|report| found(report)).count();
    let sizes: Vec<f64> = other
        .iter()
        .flatten()
        .flat_map(|report| &report.differences)
        .filter_map(|one| {
            let relative = one.relative?;
            Some(if one.group == "race" {
                relative
            } else {
                1.0 / (1.0 + relative) - 1.0
            })
        })
        .collect();
    let mean = sizes.iter().sum::<f64>() / sizes.len().max(1) as f64;
    let one_pattern = each_seed(seeds.min(200), threads, |seed| {
        patterns(&matches(seed * 4 + 2, 0.0)) == 1
    });
    let two_patterns = each_seed(seeds.min(200), threads, |seed| {
        patterns(&matches(seed * 4 + 3, 1.0)) >= 2
    });
    let yes = |all: &[bool]| share(all.iter().filter(|yes| **yes).count(), all.len());
    vec![
        Figure::within("modes: compared", share(told, same.len()), 0.95, 1.0),
        Figure::within("modes, A/A: significant", share(wrong, told), 0.0, 0.07),
        Figure::within(
            "modes, 20 % more: significant",
            share(right, other.len()),
            0.9,
            1.0,
        ),
        Figure::within("modes, 20 % more: mean size found", mean, 0.19, 0.21),
        Figure::told("patterns, one way of use: one found", yes(&one_pattern)),
        Figure::told(
            "patterns, one twice as costly as the other: told apart",
            yes(&two_patterns),
        ),
    ]
}

fn patterns(frames: &[Frame]) -> usize {
    usage_patterns(frames).map_or(0, |report| report.patterns.len())
}
