//! A forecast and a back-test as text, and predictions as CSV.

use std::{fmt::Write as _, io::Write};

use jiff::{Timestamp, tz::TimeZone};

use crate::{
    analysis::forecast::{
        Forecast, Part,
        back_test::{BackTest, Predicted},
    },
    top::harmless::harmless,
};

/// A table hour by hour.
pub(super) fn forecast(title: &str, told: &Forecast, zone: &TimeZone) -> String {
    let mut text = format!(
        "{}: players, mean over {} min\n",
        harmless(title),
        told.step_seconds / 60
    );
    let _ = writeln!(
        text,
        "{:<18} {:>10} {:>22} {:>10} {:>12}",
        "from", "expected", "90 % interval", "error %", "baseline %"
    );
    for point in &told.points {
        let time = Timestamp::from_second(point.begin_unix_s)
            .map(|time| {
                time.to_zoned_datetime(zone.clone())
                    .strftime("%a %d %b %H:%M")
                    .to_string()
            })
            .unwrap_or_default();
        let _ = writeln!(
            text,
            "{time:<18} {:>10.1} {:>22} {:>10} {:>12}",
            point.players,
            format!("{:.1} to {:.1}", point.low(), point.high()),
            percent(point.error_percent),
            percent(point.baseline_error_percent),
        );
    }
    let peak = told.points.iter().max_by(|a, b| a.players.total_cmp(&b.players));
    let valley = told.points.iter().min_by(|a, b| a.players.total_cmp(&b.players));
    if let (Some(peak), Some(valley)) = (peak, valley) {
        let _ = writeln!(text, "peak in {} h, valley in {} h", peak.hours, valley.hours);
    }
    let _ = writeln!(text, "first hour: {}", parts(&told.parts));
    let _ = writeln!(text, "last hour: {}", parts(&told.parts_last));
    let _ = writeln!(
        text,
        "error: of earlier forecasts of this series, over mean players; baseline: same time last week x current level; {:.1} days of history",
        told.history_days
    );
    for words in &told.degraded {
        let _ = writeln!(text, "note: {}", harmless(words));
    }
    text
}

fn parts(parts: &[Part]) -> String {
    let all: Vec<String> = parts
        .iter()
        .map(|part| {
            format!(
                "{} {:.0} % (error {} %)",
                part.name,
                100.0 * part.weight_ratio,
                percent(part.error_percent)
            )
        })
        .collect();
    all.join(", ")
}

fn percent(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.2}"))
}

/// A table by horizon.
pub(super) fn back_test(tested: &BackTest) -> String {
    let mut text = format!(
        "{:<8} {:>8} {:>9} {:>8} {:>9} {:>24} {:>7} {:>7} {:>9} {:>10} {:>10} {:>8}\n",
        "horizon",
        "MAPE %",
        "baseline",
        "naive",
        "seasonal",
        "ratio (95 %)",
        "WAPE %",
        "MASE",
        "in 90 %",
        "score",
        "baseline",
        "targets"
    );
    for score in &tested.horizons {
        let _ = writeln!(
            text,
            "{:<8} {:>8} {:>9} {:>8} {:>9} {:>24} {:>7.2} {:>7} {:>9.1} {:>10.1} {:>10.1} {:>8}",
            score.horizon,
            percent(score.mape),
            percent(score.baseline_mape),
            percent(score.naive_mape),
            percent(score.seasonal_naive_mape),
            format!(
                "{:.3} ({:.3} to {:.3})",
                score.ratio, score.ratio_low, score.ratio_high
            ),
            score.wape,
            percent(score.mase),
            score.coverage_90,
            score.interval_score,
            score.baseline_interval_score,
            score.targets,
        );
    }
    text.push_str("baseline: same time last week x level of the last hour; naive: last hour; seasonal: same time last week; ratio: error over the baseline's, days resampled; score: of the 90 % interval, less is better, beside the baseline's with intervals of the same kind\n");
    text
}

/// Every forecast of a back-test: origin, horizon, prediction, lower, upper.
pub(super) fn predictions(file: impl Write, predictions: &[Predicted]) -> Result<(), csv::Error> {
    let mut out = csv::Writer::from_writer(file);
    out.write_record(["origin", "horizon", "prediction", "lower", "upper"])?;
    for one in predictions {
        let origin = Timestamp::from_second(one.origin_unix_s)
            .map(|time| time.to_string())
            .unwrap_or_default();
        out.write_record([
            origin,
            format!("{}h", one.hours),
            format!("{:.4}", one.prediction),
            format!("{:.4}", one.lower),
            format!("{:.4}", one.upper),
        ])?;
    }
    out.flush()?;
    Ok(())
}
