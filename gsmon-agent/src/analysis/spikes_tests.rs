//! Planted causes are found, and nothing is found where nothing was planted.

use super::*;
use crate::analysis::simulate::{Made, Noise, add, multiply};

/// How large what is planted is beside what is usual.
fn plant(cause: Cause, frames: &mut [Frame], at: usize, noise: &mut Noise) {
    let size = 1.0 + 0.5 * noise.uniform();
    let frame = &mut frames[at];
    match cause {
        Cause::PacketBurst => {
            multiply(frame, Measure::RxPacketsPerSecond, 1.0 + 0.6 * size);
            multiply(frame, Measure::RxBytesPerSecond, 1.0 + 0.6 * size);
        }
        Cause::Loss => add(frame, Measure::LossUpRatio, 0.06 * size),
        Cause::RttStep => (at..frames.len().min(at + 20)).for_each(|index| {
            add(&mut frames[index], Measure::RttP50Ms, 70.0 * size);
        }),
        Cause::Drops => add(frame, Measure::UdpDropsPerSecond, (20.0 * size).round()),
        Cause::Joins => add(frame, Measure::Joins, (4.0 * size).round()),
        Cause::Leaves => add(frame, Measure::Leaves, (4.0 * size).round()),
        Cause::PhaseChange => add(frame, Measure::PhaseChanges, 1.0),
        Cause::PlayerActions => add(frame, Measure::Actions, (18.0 * size).round()),
        // Whom others keep waiting sees that others use CPU.
        Cause::RunQueueWait => {
            add(frame, Measure::RunQueueWaitRatio, 0.12 * size);
            add(frame, Measure::OtherServersCpuCores, 0.3 * size);
        }
        Cause::OtherServers => {
            add(frame, Measure::OtherServersCpuCores, 2.0 * size);
            add(frame, Measure::RunQueueWaitRatio, 0.01 * size);
        }
        Cause::OtherProcesses => {
            add(frame, Measure::OtherProcessesCpuCores, 1.2 * size);
            add(frame, Measure::RunQueueWaitRatio, 0.01 * size);
        }
        Cause::Steal => add(frame, Measure::StealRatio, 0.06 * size),
        Cause::MajorFaults => add(frame, Measure::MajorFaultsPerSecond, (12.0 * size).round()),
    }
}

/// A spike of a second or two, of a size that players notice.
fn rise(frames: &mut [Frame], at: usize, noise: &mut Noise) {
    let by = 1.6 + noise.uniform();
    let length = 1 + usize::from(noise.uniform() < 0.3);
    for frame in &mut frames[at..at + length] {
        multiply(frame, Measure::TickP99Ms, by);
        multiply(frame, Measure::CpuCores, 1.0 + 0.5 * (by - 1.0));
    }
}

/// The spike of tick time that was made at a frame.
fn explained(frames: &[Frame], at: usize) -> Option<Spike> {
    explain_spikes(frames)
        .into_iter()
        .find(|spike| spike.of == SpikeOf::TickTime && spike.unix_ms == frames[at].unix_ms)
}

#[test]
fn the_planted_cause_comes_first_in_nine_of_ten_spikes_of_every_kind() {
    let (mut found, mut all) = (0, 0);
    let mut missed = std::collections::BTreeMap::<Cause, u32>::new();
    for seed in 0..208u64 {
        let cause = Cause::ALL[(seed % 13) as usize];
        let mut noise = Noise::new(10_000 + seed);
        let mut frames = Made {
            frames: 620,
            ..Made::default()
        }
        .frames(&mut noise);
        let at = 80 + (noise.bits() % 500) as usize;
        // What causes it comes with it, or a frame before.
        let lead = usize::from(noise.uniform() < 0.3);
        plant(cause, &mut frames, at - lead, &mut noise);
        rise(&mut frames, at, &mut noise);
        all += 1;
        match explained(&frames, at) {
            Some(spike) if spike.causes.first().is_some_and(|first| first.cause == cause) => found += 1,
            _ => *missed.entry(cause).or_default() += 1,
        }
    }
    println!("planted cause first: {found} of {all}; missed {missed:?}");
    assert!(
        found * 10 >= all * 9,
        "{found} of {all}; missed by cause: {missed:?}"
    );
    assert!(
        missed.values().all(|missed| *missed <= 4),
        "no kind may be the one that is missed: {missed:?}"
    );
}

#[test]
fn spikes_without_a_cause_are_called_unexplained() {
    let (mut unexplained, mut all) = (0, 0);
    for seed in 0..200 {
        let mut noise = Noise::new(20_000 + seed);
        let mut frames = Made {
            frames: 620,
            ..Made::default()
        }
        .frames(&mut noise);
        let at = 80 + (noise.bits() % 500) as usize;
        rise(&mut frames, at, &mut noise);
        all += 1;
        unexplained += u32::from(explained(&frames, at).is_some_and(|spike| spike.is_unexplained()));
    }
    println!("unexplained: {unexplained} of {all}");
    assert!(unexplained * 10 >= all * 9, "{unexplained} of {all}");
}

#[test]
fn several_spikes_of_one_cause_do_not_hide_each_other() {
    let mut noise = Noise::new(5);
    let mut frames = Made::default().frames(&mut noise);
    for at in [100, 250, 400, 550, 700] {
        plant(Cause::Joins, &mut frames, at, &mut noise);
        rise(&mut frames, at, &mut noise);
    }
    for at in [100, 250, 400, 550, 700] {
        let spike = explained(&frames, at).unwrap();
        assert_eq!(spike.causes[0].cause, Cause::Joins);
        assert!(spike.causes[0].value > spike.causes[0].usual_range.1);
    }
}

#[test]
fn quiet_servers_have_hardly_any_spikes_and_short_ones_none() {
    let spikes: usize = (0..20)
        .map(|seed| explain_spikes(&Made::default().frames(&mut Noise::new(seed))).len())
        .sum();
    assert!(spikes <= 20, "{spikes} spikes in five hours without any");
    assert!(explain_spikes(&[]).is_empty());
    assert!(explain_spikes(&Made::default().frames(&mut Noise::new(1))[..5]).is_empty());
}

#[test]
fn what_is_not_measured_is_said_and_never_named() {
    let mut noise = Noise::new(3);
    let mut frames = Made {
        rtt: false,
        ..Made::default()
    }
    .frames(&mut noise);
    rise(&mut frames, 300, &mut noise);
    let spike = explained(&frames, 300).unwrap();
    assert!(spike.not_measured.contains(&Cause::RttStep) && spike.not_measured.contains(&Cause::Loss));
    assert!(
        spike
            .causes
            .iter()
            .all(|evidence| evidence.cause != Cause::RttStep)
    );
}
