//! Frames come over a socket from whatever agent answers there: none may make an analysis fail.

use std::sync::Arc;

use proptest::prelude::*;

use super::{
    lag::{Fleet, lag_compensation_cost},
    netcode::compare_netcode,
    network::{Buckets, Regions, network_resource_correlation},
    series::Series,
    spikes::explain_spikes,
    why::{Window, why},
};
use crate::{
    games::event::Phase,
    history::{Frame, Measure, PlayerPoint, ServerFrames},
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
