//! What the questions about players share: a range, frames within it, numbers as text.

use std::time::Duration;

use super::super::{times, unix_ms};
use crate::{
    analysis::{scaling::ScalingMetric, stats::Estimate},
    history::{Frame, TimeRange},
};

/// `24h`, `7d`, `90m`: the time before now; or two times with `..` between them.
pub fn parse_range(text: &str) -> Result<TimeRange, String> {
    if text.contains("..") {
        let span = times::parse_span(text).map_err(|error| error.to_string())?;
        return Ok(TimeRange {
            from_unix_ms: span.from_unix_ms,
            to_unix_ms: span.to_unix_ms,
        });
    }
    let wrong = || format!("`{text}` is no range: write 24h, 7d, 90m, or two times with `..` between them");
    let length = humantime::parse_duration(text).map_err(|_| wrong())?;
    if length < Duration::from_secs(1) {
        return Err(format!("the range `{text}` is empty"));
    }
    let now = unix_ms();
    let length = i64::try_from(length.as_millis()).map_err(|_| wrong())?;
    Ok(TimeRange {
        from_unix_ms: now.saturating_sub(length),
        to_unix_ms: now,
    })
}

/// Says so where there is much less than was asked for.
pub fn shortfall(range: TimeRange, frames: &[Frame]) -> Option<String> {
    let asked = (range.to_unix_ms - range.from_unix_ms) as f64 / 3.6e6;
    let there = frames.iter().map(|frame| frame.seconds).sum::<f64>() / 3_600.0;
    (there < 0.9 * asked).then(|| format!("{there:.1} h of the {asked:.1} h that were asked for are there"))
}

/// `0.90 (0.85 to 0.95) % of a core`.
pub fn with_unit(metric: ScalingMetric, estimate: Estimate) -> String {
    let (factor, unit) = metric.unit();
    let told = estimate.scaled(factor);
    let digits = digits(told.high - told.low);
    format!(
        "{:.digits$} ({:.digits$} to {:.digits$}) {unit}",
        told.value, told.low, told.high
    )
}

/// Digits after the point that an interval of this width leaves sense to.
fn digits(width: f64) -> usize {
    match width {
        wide if wide >= 20.0 => 0,
        wide if wide >= 2.0 => 1,
        wide if wide >= 0.2 => 2,
        wide if wide >= 0.02 => 3,
        _ => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_lengths_or_two_times() {
        let day = parse_range("24h").unwrap();
        assert_eq!(day.to_unix_ms - day.from_unix_ms, 86_400_000);
        assert!(parse_range("7d").is_ok() && parse_range("2026-01-01T10:00..2026-01-01T11:00").is_ok());
        for wrong in ["", "yesterday", "0s", "24", "11:00"] {
            assert!(parse_range(wrong).is_err(), "{wrong}");
        }
    }
}
