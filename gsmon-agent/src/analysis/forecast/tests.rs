use jiff::tz::TimeZone;
use proptest::prelude::*;

use super::{back_test::back_test, *};

/// Counts of a made-up server: a daily and a weekly wave, and noise that is always the same.
fn made(steps: usize, step_seconds: i64, players: f64) -> Vec<(i64, f64)> {
    let mut state = 7_u64;
    (0..steps as i64)
        .map(|step| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let noise = (state >> 40) as f64 / (1_u64 << 24) as f64 - 0.5;
            let day = (step * step_seconds) as f64 / 86_400.0;
            let wave = 1.0
                + 0.5 * (day * std::f64::consts::TAU).sin()
                + 0.2 * (day / 7.0 * std::f64::consts::TAU).sin();
            (
                step * step_seconds,
                (players * wave * (1.0 + 0.1 * noise)).max(0.0),
            )
        })
        .collect()
}

fn grid(samples: &[(i64, f64)], step_seconds: i64) -> Grid {
    Grid::of_samples(samples, step_seconds, &TimeZone::UTC).unwrap()
}

#[test]
fn nothing_after_the_origin_is_seen() {
    let samples = made(24 * 30, 3_600, 200.0);
    let whole = grid(&samples, 3_600);
    let tested = back_test(&whole, 7, &[1, 6], &[]).unwrap();
    for cut in [24 * 23 + 1, 24 * 24, 24 * 26 + 5, 24 * 28, 24 * 28 + 13] {
        let told = forecast(&grid(&samples[..cut], 3_600), 6, &[]).unwrap();
        let origin = told.origin_unix_s;
        for hours in [1, 6] {
            let then = tested
                .predictions
                .iter()
                .find(|one| one.origin_unix_s == origin && one.hours == hours)
                .unwrap();
            let now = &told.points[hours - 1];
            assert_eq!(then.prediction, now.players);
            // The back-test begins to move levels at every step where it begins to be scored; by the hour it is the same.
            assert_eq!((then.lower, then.upper), (now.low(), now.high()));
        }
    }
}

#[test]
fn seasons_are_found_and_told_with_their_error() {
    let told = forecast(&grid(&made(24 * 28, 3_600, 500.0), 3_600), 24, &[]).unwrap();
    let came = made(24 * 29, 3_600, 500.0);
    for (point, (time, players)) in told.points.iter().zip(&came[24 * 28..]) {
        assert_eq!(point.begin_unix_s, *time);
        assert!((point.players / players - 1.0).abs() < 0.1, "{point:?} {players}");
        assert!(point.error_percent.unwrap() < 10.0 && point.tested > 400);
    }
    assert!(
        told.degraded.is_empty() && told.level_shift_ratio.is_none(),
        "{:?}",
        told.degraded
    );
    assert!((told.parts.iter().map(|part| part.weight_ratio).sum::<f64>() - 1.0).abs() < 0.05);
}

#[test]
fn a_model_that_is_chosen_speaks_alone() {
    let samples = made(24 * 30, 3_600, 500.0);
    let came = made(24 * 31, 3_600, 500.0);
    for model in Model::ALL {
        let told = forecast_by(&grid(&samples, 3_600), 2, &[], Choice::Only(model)).unwrap();
        assert_eq!(told.parts.len(), 1, "{model:?} {:?}", told.parts);
        assert_eq!(told.parts[0].model, model);
        let name = serde_json::to_value(model).unwrap();
        assert_eq!(name.as_str().unwrap().parse::<Model>().unwrap(), model);
    }
    let told = forecast_by(&grid(&samples, 3_600), 12, &[], Choice::Only(Model::Mstl)).unwrap();
    for (point, (_, players)) in told.points.iter().zip(&came[24 * 30..]) {
        assert!((point.players / players - 1.0).abs() < 0.2, "{point:?} {players}");
    }
    // It needs two weeks; before that the others speak.
    let short = grid(&samples[..24 * 9], 3_600);
    let told = forecast_by(&short, 2, &[], Choice::Only(Model::Mstl)).unwrap();
    assert!(told.parts.iter().all(|part| part.model != Model::Mstl));
    let refused = "oracle".parse::<Model>().unwrap_err().to_string();
    assert!(
        refused.contains("oracle") && refused.contains("mstl"),
        "{refused}"
    );
}

#[test]
fn short_history_degrades_by_name() {
    let of = |hours: usize| forecast(&grid(&made(hours, 3_600, 50.0), 3_600), 3, &[]).unwrap();
    assert!(of(5).degraded[0].contains("no season"));
    assert!(of(72).degraded[0].contains("weeks are not"));
    assert!(of(24 * 10).degraded[0].contains("one week"));
    let empty = forecast(&grid(&[], 3_600), 3, &[]);
    assert_eq!(empty.unwrap_err(), ForecastError::NoHistory);
    assert!(forecast(&grid(&made(5, 3_600, 5.0), 3_600), 0, &[]).is_err());
}

#[test]
fn seasons_follow_local_time_over_a_change_of_clocks() {
    let zone = TimeZone::get("Europe/Berlin").expect("the machine has time zones");
    // Clocks went forward on 29 March 2026: 19 h local is 18 h UTC before and 17 h after.
    let begin: i64 = 1_772_323_200; // 2026-03-01T00:00:00Z
    let count = |time: i64| {
        let local = time
            + i64::from(
                zone.to_offset(jiff::Timestamp::from_second(time).unwrap())
                    .seconds(),
            );
        if local.rem_euclid(86_400) / 3_600 == 19 {
            100.0
        } else {
            20.0
        }
    };
    let until = begin + 28 * 86_400 + 12 * 3_600; // Noon of the 29th.
    let samples: Vec<(i64, f64)> = (begin..until)
        .step_by(3_600)
        .map(|time| (time, count(time)))
        .collect();
    let of = |zone: &TimeZone| forecast(&Grid::of_samples(&samples, 3_600, zone).unwrap(), 10, &[]).unwrap();
    let evening = until + 5 * 3_600;
    let at = |told: &Forecast| {
        told.points
            .iter()
            .find(|point| point.begin_unix_s == evening)
            .unwrap()
            .players
    };
    assert!(at(&of(&zone)) > 80.0, "{}", at(&of(&zone)));
    // Without the zone the peak is an hour late.
    assert!(at(&of(&TimeZone::UTC)) < 40.0, "{}", at(&of(&TimeZone::UTC)));
}

#[test]
fn events_are_learned_and_outages_are_not() {
    let mut samples = made(24 * 28, 3_600, 100.0);
    let event = |day: i64, players_ratio| Event {
        name: "cup".to_owned(),
        from_unix_s: day * 86_400,
        to_unix_s: (day + 1) * 86_400,
        players_ratio,
    };
    for sample in &mut samples[24 * 21..24 * 22] {
        sample.1 *= 2.0;
    }
    let plain = forecast(&grid(&samples, 3_600), 3, &[event(21, None)]).unwrap();
    let cup = forecast(&grid(&samples, 3_600), 3, &[event(21, None), event(28, None)]).unwrap();
    let ratio = cup.points[2].players / plain.points[2].players;
    assert!((1.8..2.2).contains(&ratio), "{ratio}");
    let told = forecast(&grid(&samples, 3_600), 3, &[event(28, Some(3.0))]).unwrap();
    assert!(told.degraded.is_empty());
    let unknown = forecast(&grid(&samples[..24 * 20], 3_600), 3, &[event(20, None)]).unwrap();
    assert!(unknown.degraded.iter().any(|words| words.contains("cup")));
    // An outage last week is no reason to expect one.
    let mut out = made(24 * 28, 3_600, 100.0);
    for sample in &mut out[24 * 21..24 * 21 + 6] {
        sample.1 = 0.0;
    }
    let usual = forecast(&grid(&made(24 * 28, 3_600, 100.0), 3_600), 3, &[]).unwrap();
    let after = forecast(&grid(&out, 3_600), 3, &[]).unwrap();
    assert!((after.points[1].players / usual.points[1].players - 1.0).abs() < 0.1);
}

#[test]
fn a_shift_of_level_is_told_and_followed() {
    let mut samples = made(24 * 28, 3_600, 100.0);
    for sample in &mut samples[24 * 26..] {
        sample.1 *= 2.0;
    }
    let told = forecast(&grid(&samples, 3_600), 6, &[]).unwrap();
    assert!((1.8..2.2).contains(&told.level_shift_ratio.unwrap()));
    let usual = made(24 * 29, 3_600, 100.0);
    for (point, (_, players)) in told.points.iter().zip(&usual[24 * 28..]) {
        assert!(
            (point.players / (2.0 * players) - 1.0).abs() < 0.2,
            "{point:?} {players}"
        );
    }
}

#[test]
fn tables_are_read_and_what_is_wrong_is_told_with_its_line() {
    let good =
        table::read("players,time\n5,2026-01-01T00:00:00Z\n,2026-01-01T00:05:00Z\n7,1767226200\n".as_bytes());
    assert_eq!(good.unwrap(), [(1_767_225_600, 5.0), (1_767_226_200, 7.0)]);
    for (text, wanted) in [
        (
            "time,players\n2026-01-01T00:00:00Z,5\nyesterday,5\n",
            "line 3: `yesterday`",
        ),
        ("time,players\n2026-01-01T00:00:00Z,-5\n", "line 2: `-5`"),
        ("time,players\n2026-01-01T00:00:00Z,many\n", "line 2: `many`"),
        ("when,players\n", "no column `time`"),
        ("time,players\n", "no row"),
        ("", "no column"),
    ] {
        let refused = table::read(text.as_bytes()).unwrap_err().to_string();
        assert!(refused.contains(wanted), "{refused}");
    }
    assert!(Grid::of_samples(&[(0, 1.0)], 7, &TimeZone::UTC).is_err());
    let far = [(0, 1.0), (4_000_000_000, 1.0)];
    assert!(matches!(
        Grid::of_samples(&far, 900, &TimeZone::UTC),
        Err(GridError::TooLong(_))
    ));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn forecasts_of_any_series_are_ordered_and_never_negative(
        counts in prop::collection::vec(prop_oneof![3 => 0.0..50.0_f64, 1 => Just(f64::NAN), 1 => Just(0.0), 1 => 0.0..1e6_f64], 1..600),
        hours in 1_usize..5,
    ) {
        let samples: Vec<(i64, f64)> = counts.iter().enumerate().map(|(step, count)| (step as i64 * 3_600, *count)).collect();
        match forecast(&grid(&samples, 3_600), hours, &[]) {
            Err(error) => prop_assert_eq!(error, ForecastError::NoHistory),
            Ok(told) => {
                prop_assert_eq!(told.points.len(), hours);
                for point in told.points {
                    prop_assert!(point.players.is_finite() && point.players >= 0.0);
                    prop_assert!(point.quantiles.iter().all(|quantile| quantile.is_finite() && *quantile >= 0.0));
                    prop_assert!(point.quantiles.windows(2).all(|pair| pair[0] <= pair[1]));
                }
            }
        }
    }

    #[test]
    fn any_text_is_a_table_or_refused(text in "(time,players\n)?([0-9TZ:,.-]{0,30}\n){0,5}") {
        if let Ok(samples) = table::read(text.as_bytes()) {
            prop_assert!(samples.iter().all(|(_, count)| *count >= 0.0));
        }
    }
}
