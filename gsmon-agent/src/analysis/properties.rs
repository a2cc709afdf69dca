//! Frames come over a socket from whatever agent answers there: none may make an analysis fail.

use std::sync::Arc;

use proptest::prelude::*;

use super::{
    change::compare_change,
    lag::{Fleet, lag_compensation_cost},
    netcode::compare_netcode,
    network::{Buckets, Regions, network_resource_correlation},
    scaling::{
        By, Limit, Players, ScalingMetric, Scope, actions_and_spikes, analyze_player_scaling, compare_groups,
        cost_of_bots, find_leak, usage_patterns,
    },
    series::Series,
    spikes::explain_spikes,
    why::{Window, why},
};
use crate::{
    games::event::Phase,
    history::{Acted, Frame, Measure, PlayerPoint, ServerFrames},
};

/// Figures that are usual, and such that nobody expects.
fn figure() -> impl Strategy<Value = Option<f64>> {
    prop_oneof![
        4 => (0.0..100.0f64).prop_map(Some),
        1 => Just(None),
        1 => Just(Some(0.0)),
        1 => prop_oneof![Just(f64::NAN), Just(f64::INFINITY), Just(-1.0), Just(1e30), Just(-1e-30)].prop_map(Some),
    ]
}

fn point() -> impl Strategy<Value = PlayerPoint> {
    let part = || figure().prop_map(|value| value.map(|value| value as f32));
    (0..3usize, part(), part(), part(), part()).prop_map(|(who, rtt, jitter, loss, packets)| PlayerPoint {
        player: ["a", "b", "c"][who].into(),
        region: (who > 0).then(|| "EU".into()),
        rtt_ms: rtt,
        jitter_ms: jitter,
        loss_up_ratio: loss,
        loss_down_ratio: loss,
        rx_packets_per_second: packets,
        tx_packets_per_second: packets,
    })
}

fn frame() -> impl Strategy<Value = Frame> {
    (
        -10_000i64..100_000,
        prop_oneof![8 => Just(1.0), 1 => Just(5.0), 1 => Just(0.0)],
        prop::collection::vec(figure(), Measure::COUNT),
        prop::collection::vec(point(), 0..3),
        any::<(bool, bool)>(),
    )
        .prop_map(|(unix_ms, seconds, figures, players, (active, gap))| {
            let mut frame = Frame::new(unix_ms, seconds);
            for (measure, figure) in Measure::ALL.iter().zip(figures) {
                frame.set(*measure, figure);
            }
            frame.phase = active.then_some(Phase::Active);
            frame.begins_anew = gap && unix_ms % 7 == 0;
            frame.players = Arc::from(players);
            frame.mode = active.then(|| if unix_ms % 2 == 0 { "duel" } else { "race" }.into());
            if unix_ms % 3 == 0 {
                frame.acted = [Acted {
                    action: "throw".into(),
                    times: 1,
                }]
                .into();
            }
            frame
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn no_frames_make_an_analysis_fail(frames in prop::collection::vec(frame(), 0..120), at in 0..120usize) {
        let from = frames.get(at).map_or(0, |frame| frame.unix_ms);
        for window in [
            Window { from_unix_ms: from, to_unix_ms: from + 5_000 },
            Window { from_unix_ms: i64::MIN, to_unix_ms: i64::MAX },
        ] {
            let report = why("x", &frames, window, Some("a"));
            prop_assert!(!report.blame.is_empty());
            prop_assert!(serde_json::to_string(&report).is_ok());
        }
        for spike in explain_spikes(&frames) {
            prop_assert!(spike.causes.iter().all(|cause| (0.0..0.05).contains(&cause.p_value)));
        }
        let (before, after) = frames.split_at(at.min(frames.len()));
        for one in compare_netcode(before, after).compared {
            prop_assert!((0.0..=1.0).contains(&one.corrected_p_value));
        }
        for regions in [Regions::Included, Regions::LeftOut] {
            let report = network_resource_correlation(&frames, regions, &Buckets::default());
            prop_assert!(serde_json::to_string(&report).is_ok());
        }
        for fleet in [Fleet::Alike, Fleet::Different] {
            let _ = lag_compensation_cost(&[Series { server: "x", frames: &frames }], fleet);
        }
    }

    #[test]
    fn no_frames_make_the_analysis_of_players_fail_or_tell_what_is_no_number(
        frames in prop::collection::vec(frame(), 0..160),
        players in prop::option::of(0..3usize),
    ) {
        let mut frames = frames;
        if let Some(kind) = players {
            // Constant, two kinds, ever more.
            for (index, frame) in frames.iter_mut().enumerate() {
                frame.set(Measure::Players, Some([5.0, (index % 2) as f64, index as f64][kind]));
                frame.set(Measure::Bots, Some([5.0, (index % 2) as f64, index as f64][kind]));
            }
        }
        let series = [Series { server: "x", frames: &frames }];
        let mut metrics = ScalingMetric::USUAL.to_vec();
        metrics.push(ScalingMetric::MemoryGrowth);
        for scope in [Scope::All, Scope::Server("x".into()), Scope::Mode("duel".into()), Scope::Server("y".into())] {
            let Ok(report) = analyze_player_scaling(&series, &scope, &metrics) else { continue };
            prop_assert_eq!(report.metrics.len(), metrics.len());
            for answer in &report.metrics {
                prop_assert!(answer.scaling.is_some() != answer.refused.is_some());
                if let Some(scaling) = &answer.scaling {
                    let told = scaling.per_player;
                    prop_assert!(told.low <= told.value && told.value <= told.high);
                    prop_assert!(scaling.observed.least <= scaling.observed.most);
                }
            }
            if let Some(Players::About { players, low, high }) = report.capacity.map(|capacity| capacity.players) {
                prop_assert!(low <= players && high.is_none_or(|high| players <= high + 1e-6));
            }
        }
        for metric in metrics {
            for by in [By::Mode, By::Map, By::Phase] {
                if let Ok(report) = compare_groups(&frames, by, metric) {
                    prop_assert!(report.differences.iter().all(|one| (0.0..=1.0).contains(&one.corrected_p_value)));
                }
            }
            if let Ok(report) = cost_of_bots(&frames, metric) {
                prop_assert!(report.per_bot.is_none_or(|bot| bot.value >= 0.0));
                prop_assert!(players != Some(2) || report.per_bot.is_none() || report.per_human.is_none());
            }
        }
        if let Ok(report) = actions_and_spikes(&frames) {
            prop_assert!(report.actions.iter().all(|one| (0.0..=1.0).contains(&one.corrected_p_value)));
        }
        if let Ok(report) = find_leak(&frames, Some(Limit { bytes: 1e9 })) {
            prop_assert!(serde_json::to_string(&report).is_ok());
        }
        let _ = usage_patterns(&frames);
        let (before, after) = frames.split_at(frames.len() / 2);
        let _ = compare_change(before, after);
    }

    #[test]
    fn columns_of_unequal_length_are_survived(
        times in prop::collection::vec(any::<i64>(), 0..5),
        column in prop::collection::vec(any::<Option<f32>>(), 0..9),
        anew in prop::collection::vec(0..9usize, 0..3),
    ) {
        let answer = ServerFrames {
            server: "x".into(),
            seconds: vec![1.0; times.len()],
            unix_ms: times,
            begins_anew: anew,
            columns: [("cpu_cores".to_owned(), column), ("what_is_this".to_owned(), vec![None])].into(),
            ..ServerFrames::default()
        };
        let frames = answer.frames();
        prop_assert_eq!(frames.len(), answer.unix_ms.len());
        let _ = explain_spikes(&frames);
    }
}
