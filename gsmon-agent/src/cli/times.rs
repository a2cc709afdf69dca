//! Times as people type them: `20:14` and `20:14:30` (the last time it was so late, here), `2026-03-01T20:14`, and RFC 3339.

use std::str::FromStr;

use jiff::{
    Timestamp, ToSpan, ZonedDateTime,
    civil::{DateTime, Time},
    tz::TimeZone,
};

use crate::history::TimeRange;

/// Why a text is no time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimeError {
    /// Nothing that is known.
    #[error("`{0}` is no time: write 20:14, 20:14:30, 2026-03-01T20:14 (local time) or 2026-03-01T20:14:00Z")]
    Time(String),
    /// No two times.
    #[error("`{0}` is no window: write two times with `..` between them, as in 20:00..20:30")]
    Window(String),
    /// Neither a duration nor two times.
    #[error("`{0}` is no range: write a duration such as 24h or 7d, or two times with `..` between them")]
    Range(String),
    /// The wrong way round.
    #[error("the window `{0}` ends before it begins")]
    Backwards(String),
}

/// A time of day, a local time or an RFC 3339 time, in milliseconds since the Unix epoch.
fn moment(text: &str, now: &ZonedDateTime) -> Result<i64, TimeError> {
    let text = text.trim();
    let wrong = || TimeError::Time(text.to_owned());
    if let Ok(exact) = Timestamp::from_str(text) {
        return Ok(exact.as_millisecond());
    }
    let zoned = match Time::from_str(text) {
        Ok(time) if text.contains(':') && !text.contains(['T', '-']) => {
            let today = now
                .date()
                .to_datetime(time)
                .to_zoned_datetime(now.time_zone().clone())
                .map_err(|_| wrong())?;
            match today > *now {
                // Nothing has been measured in the future: the evening before is meant.
                true => today.checked_sub(1.day()).map_err(|_| wrong())?,
                false => today,
            }
        }
        _ => {
            let local = DateTime::from_str(text).map_err(|_| wrong())?;
            local
                .to_zoned_datetime(now.time_zone().clone())
                .map_err(|_| wrong())?
        }
    };
    Ok(zoned.timestamp().as_millisecond())
}

/// A time, held against this machine's clock.
pub fn parse_moment(text: &str) -> Result<i64, TimeError> {
    moment(text, &ZonedDateTime::now())
}

/// First and last millisecond of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// First.
    pub from_unix_ms: i64,
    /// Last.
    pub to_unix_ms: i64,
}

fn span(text: &str, now: &ZonedDateTime) -> Result<Span, TimeError> {
    let (from, to) = text
        .split_once("..")
        .ok_or_else(|| TimeError::Window(text.to_owned()))?;
    let span = Span {
        from_unix_ms: moment(from, now)?,
        to_unix_ms: moment(to, now)?,
    };
    match span.from_unix_ms < span.to_unix_ms {
        true => Ok(span),
        false => Err(TimeError::Backwards(text.to_owned())),
    }
}

/// Two times with `..` between them.
pub fn parse_span(text: &str) -> Result<Span, TimeError> {
    span(text, &ZonedDateTime::now())
}

/// A duration until now (`24h`, `7d`), or two times with `..` between them.
pub fn parse_range(text: &str) -> Result<TimeRange, TimeError> {
    range(text, &ZonedDateTime::now())
}

fn range(text: &str, now: &ZonedDateTime) -> Result<TimeRange, TimeError> {
    match text.contains("..") {
        true => Ok(span(text, now)?.into()),
        false => TimeRange::parse(text, now.timestamp().as_millisecond())
            .map_err(|_| TimeError::Range(text.to_owned())),
    }
}

impl From<Span> for TimeRange {
    fn from(span: Span) -> Self {
        Self {
            from_unix_ms: span.from_unix_ms,
            to_unix_ms: span.to_unix_ms,
        }
    }
}

/// Local time of day.
pub fn time_of_day(unix_ms: i64) -> String {
    formatted(unix_ms, "%H:%M:%S")
}

/// Local date and time with its offset: what a ticket needs.
pub fn date_and_time(unix_ms: i64) -> String {
    formatted(unix_ms, "%Y-%m-%d %H:%M:%S %:z")
}

fn formatted(unix_ms: i64, format: &str) -> String {
    Timestamp::from_millisecond(unix_ms).map_or_else(
        |_| unix_ms.to_string(),
        |time| {
            time.to_zoned_datetime(TimeZone::system())
                .strftime(format)
                .to_string()
        },
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn now() -> ZonedDateTime {
        "2026-03-01T20:30:00[UTC]".parse().unwrap()
    }

    fn told(text: &str) -> String {
        Timestamp::from_millisecond(moment(text, &now()).unwrap())
            .unwrap()
            .to_string()
    }

    #[test]
    fn times_are_understood_as_they_are_typed() {
        for (text, meant) in [
            ("20:14", "2026-03-01T20:14:00Z"),
            ("20:14:30", "2026-03-01T20:14:30Z"),
            ("23:50", "2026-02-28T23:50:00Z"),
            ("2026-02-27T08:00", "2026-02-27T08:00:00Z"),
            ("2026-02-27 08:00", "2026-02-27T08:00:00Z"),
            ("2026-02-27T08:00:00+02:00", "2026-02-27T06:00:00Z"),
        ] {
            assert_eq!(told(text), meant, "{text}");
        }
        for text in ["", "noon", "25:00", "20", "2026-13-01T00:00"] {
            assert!(moment(text, &now()).is_err(), "{text}");
        }
    }

    #[test]
    fn windows_have_two_ends_in_order() {
        let half_hour = span("19:30..20:00", &now()).unwrap();
        assert_eq!(half_hour.to_unix_ms - half_hour.from_unix_ms, 1_800_000);
        assert!(matches!(span("19:30", &now()), Err(TimeError::Window(_))));
        assert!(matches!(
            span("20:00..19:30", &now()),
            Err(TimeError::Backwards(_))
        ));
        let over_midnight = span("23:50..00:10", &now()).unwrap();
        assert_eq!(over_midnight.to_unix_ms - over_midnight.from_unix_ms, 1_200_000);
    }

    #[test]
    fn ranges_are_durations_or_windows() {
        let day = range("24h", &now()).unwrap();
        assert_eq!(day.to_unix_ms, now().timestamp().as_millisecond());
        assert_eq!(day.to_unix_ms - day.from_unix_ms, 86_400_000);
        let half_hour = range("19:30..20:00", &now()).unwrap();
        assert_eq!(half_hour.to_unix_ms - half_hour.from_unix_ms, 1_800_000);
        assert_eq!(range("often", &now()), Err(TimeError::Range("often".into())));
    }

    proptest! {
        #[test]
        fn any_text_is_a_time_or_refused(text in "[0-9TZ:. +-]{0,30}") {
            let _ = span(&text, &now());
            let _ = moment(&text, &now());
        }
    }
}
