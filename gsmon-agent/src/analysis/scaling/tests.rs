//! Bad input is refused with a reason, good input is told as it was planted. How often intervals hold is `cargo xtask eval`.

use super::*;
use crate::{
    analysis::simulate::{Made, Noise, Slow},
    games::event::Phase,
};

const CPU: ScalingMetric = ScalingMetric::Stored(Measure::CpuCores);

/// Two hours of five seconds each; each player costs a hundredth of a core over a tenth.
fn hours(seed: u64) -> Vec<Frame> {
    let mut noise = Noise::new(seed);
    let (mut slow, mut level) = (Slow::new(0.8, &mut noise), 20.0f64);
    (0..1_440)
        .map(|index| {
            if index % 60 == 0 {
                level = (2.0 + 38.0 * noise.uniform()).round();
            }
            let cpu = (0.1 + 0.01 * level) * (1.0 + 0.05 * slow.next(&mut noise));
            let tick = 1e3 * cpu / 20.0;
            let mut frame = Frame::new(1_700_000_000_000 + index * 5_000, 5.0)
                .with(Measure::Players, level)
                .with(Measure::CpuCores, cpu)
                .with(Measure::TickP50Ms, tick)
                .with(Measure::TickRateHz, 20.0)
                .with(Measure::RssBytes, 1e9 + 1e6 * level);
            frame.begins_anew = index == 0;
            frame.phase = Some(Phase::Active);
            frame
        })
        .collect()
}

fn ask(frames: &[Frame], metrics: &[ScalingMetric]) -> Result<ScalingReport, ScalingRefusal> {
    analyze_player_scaling(
        &[Series { server: "a", frames }],
        &Scope::Server("a".into()),
        metrics,
    )
}

fn refused(frames: &[Frame]) -> String {
    match ask(frames, &[CPU]) {
        Err(refusal) => refusal.to_string(),
        Ok(report) => {
            assert!(report.metrics[0].scaling.is_none());
            report.metrics[0].refused.clone().unwrap()
        }
    }
}

#[test]
fn a_line_is_told_with_its_slope_its_base_and_what_was_never_there() {
    let report = ask(&hours(1), &[CPU, ScalingMetric::Stored(Measure::RssBytes)]).unwrap();
    let cpu = report.metrics[0].scaling.as_ref().unwrap();
    assert_eq!(cpu.shape, Shape::Linear);
    assert!(
        (cpu.per_player.value - 0.01).abs() < 0.001,
        "{:?}",
        cpu.per_player
    );
    assert!(cpu.per_player.low > 0.0 && cpu.curve.len() == CURVE + 1);
    assert_eq!(cpu.tried.len(), Shape::ALL.len());
    assert!(!cpu.observed.never.is_empty() && cpu.warm_up_seconds > 0.0);
    let memory = report.metrics[1].scaling.as_ref().unwrap();
    assert!((memory.per_player.value / 1e6 - 1.0).abs() < 0.01);
}

#[test]
fn capacity_is_a_number_only_where_ticks_came_near_their_budget() {
    let frames = |factor: f64| -> Vec<Frame> {
        let mut frames = hours(2);
        for frame in &mut frames {
            let tick = frame.get(Measure::TickP50Ms).unwrap() * factor;
            frame.set(Measure::TickP50Ms, Some(tick));
        }
        frames
    };
    // 50 ms are reached where 50 * factor * (0.1 + 0.01 n) = 50.
    let capacity = |factor| ask(&frames(factor), &[]).unwrap().capacity.unwrap();
    let near = capacity(2.0);
    assert_eq!(near.budget.basis, BudgetBasis::Observed);
    match near.players {
        Players::About { players, low, high } => {
            assert!(
                (players - 40.0).abs() < 2.0 && low < players && high.unwrap() > players,
                "{near:?}"
            );
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(capacity(1.4).players, Players::Between { low, .. } if low < 61.5));
    assert!(matches!(capacity(0.3).players, Players::AtLeast { players } if players <= 40.0));
}

#[test]
fn what_cannot_be_told_is_refused_with_a_reason() {
    assert!(refused(&[]).contains("no frames"));
    assert!(refused(&hours(3)[..20]).contains("rows"));
    let constant: Vec<Frame> = hours(4)
        .into_iter()
        .map(|frame| frame.with(Measure::Players, 7.0))
        .collect();
    assert!(refused(&constant).contains("there were 7 players"));
    let without = |measure| -> Vec<Frame> {
        let mut frames = hours(5);
        frames.iter_mut().for_each(|frame| frame.set(measure, None));
        frames
    };
    assert!(refused(&without(Measure::Players)).contains("log or a query"));
    assert!(refused(&without(Measure::CpuCores)).contains("not measured"));
    let unlike = ask(&hours(6), &[CPU]).unwrap();
    assert_eq!(unlike.servers, 1);
    let series = hours(6);
    let nobody = analyze_player_scaling(
        &[Series {
            server: "a",
            frames: &series,
        }],
        &Scope::Mode("duel".into()),
        &[CPU],
    );
    assert!(nobody.unwrap_err().to_string().contains("`duel`"));
    let unknown_rate = ask(&without(Measure::TickRateHz), &[]).unwrap();
    assert!(unknown_rate.no_capacity.unwrap().contains("tick_rate_hz"));
}

#[test]
fn gaps_restarts_and_single_bad_figures_do_not_change_the_answer() {
    let mut frames = hours(7);
    frames.drain(400..520);
    frames[400].begins_anew = true;
    for index in [30, 500, 900] {
        frames[index].set(Measure::CpuCores, Some(f64::NAN));
        frames[index + 1].set(Measure::CpuCores, Some(50.0));
    }
    let report = ask(&frames, &[CPU]).unwrap();
    let cpu = report.metrics[0].scaling.as_ref().unwrap();
    assert!(
        (cpu.per_player.value - 0.01).abs() < 0.001,
        "{:?}",
        cpu.per_player
    );
    assert!(
        cpu.gaps == 1 && cpu.residuals.outliers >= 3,
        "{:?}",
        cpu.residuals
    );
}

#[test]
fn modes_are_held_against_each_other_at_equal_players() {
    let mut frames = hours(8);
    for (index, frame) in frames.iter_mut().enumerate() {
        let race = (index / 30) % 2 == 1;
        frame.mode = Some(if race { "race" } else { "duel" }.into());
        if race {
            frame.set(
                Measure::CpuCores,
                frame.get(Measure::CpuCores).map(|cpu| cpu * 1.5),
            );
        }
    }
    let report = compare_groups(&frames, By::Mode, CPU).unwrap();
    assert_eq!(report.groups.len(), 2);
    let one = &report.differences[0];
    let more = if one.group == "race" { 0.5 } else { -1.0 / 3.0 };
    assert!(
        one.significant && (one.relative.unwrap() - more).abs() < 0.05,
        "{one:?}"
    );
    assert!(compare_groups(&frames, By::Map, CPU).is_err());
    let patterns = usage_patterns(&frames).unwrap();
    assert!(patterns.patterns.len() >= 2, "{patterns:?}");
}

/// Six hours of minutes: level, growth per hour over the level.
fn memory(growth: f64, still: bool, seed: u64) -> Vec<Frame> {
    let mut noise = Noise::new(seed);
    (0..360)
        .map(|minute| {
            let players = (10.0 + 6.0 * (minute as f64 / 17.0).sin()).round();
            let grown = 1e9 * (1.0 + growth * minute as f64 / 60.0 + 0.002 * noise.normal()) + 3e6 * players;
            let mut frame = Frame::new(1_700_000_000_000 + minute * 60_000, 60.0)
                .with(Measure::Players, players)
                .with(Measure::RssAnonymousBytes, if still { 4e9 } else { grown });
            frame.begins_anew = minute == 0;
            frame
        })
        .collect()
}

#[test]
fn a_leak_is_told_with_its_rate_and_when_memory_ends() {
    let report = find_leak(&memory(0.02, false, 1), Some(Limit { bytes: 2e9 })).unwrap();
    assert_eq!(report.verdict, LeakVerdict::Leak);
    let rate = report.bytes_per_hour.unwrap();
    assert!((rate.value / 2e7 - 1.0).abs() < 0.15, "{rate:?}");
    let each = report.bytes_per_player.unwrap();
    assert!((each.value / 3e6 - 1.0).abs() < 0.3, "{each:?}");
    let time = report.time_to_limit.unwrap();
    assert!(time.low <= time.hours && time.hours <= time.high && time.hours > 20.0);
    assert_eq!(
        find_leak(&memory(0.0, false, 2), None).unwrap().verdict,
        LeakVerdict::None
    );
}

#[test]
fn memory_that_never_moves_or_was_seen_too_shortly_cannot_be_told() {
    for frames in [memory(0.02, true, 3), memory(0.02, false, 4)[..20].to_vec()] {
        let report = find_leak(&frames, None).unwrap();
        assert!(
            matches!(report.verdict, LeakVerdict::CannotTell { .. }),
            "{report:?}"
        );
    }
    assert_eq!(find_leak(&[], None), Err(ScalingRefusal::Empty));
    assert_eq!(
        find_leak(&Made::default().frames(&mut Noise::new(1)), None),
        Err(ScalingRefusal::NoMemory)
    );
}

#[test]
fn after_a_restart_memory_begins_anew() {
    let mut frames = memory(0.0, false, 5);
    let mut second = memory(0.0, false, 6);
    for frame in &mut frames {
        frame.set(
            Measure::RssAnonymousBytes,
            frame.get(Measure::RssAnonymousBytes).map(|bytes| bytes * 3.0),
        );
    }
    second.iter_mut().for_each(|frame| frame.unix_ms += 360 * 60_000);
    frames.extend(second);
    let report = find_leak(&frames, None).unwrap();
    assert_eq!(report.verdict, LeakVerdict::None);
    assert!((report.hours - 4.8).abs() < 0.3, "{}", report.hours);
}
