//! Numbers for people: one style for table, detail pane and plain text. Absent is `-`.

/// `12.3`, or `-`.
pub fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
}

/// Nanoseconds as milliseconds.
pub fn milliseconds(nanoseconds: Option<f64>) -> String {
    number(nanoseconds.map(|value| value / 1e6), 2)
}

/// A share as percent.
pub fn percent(ratio: Option<f64>) -> String {
    number(ratio.map(|value| value * 100.0), 1)
}

/// Bytes with binary prefixes.
pub fn bytes(value: Option<f64>) -> String {
    let Some(mut value) = value else {
        return "-".to_owned();
    };
    for unit in ["B", "K", "M", "G"] {
        if value < 1024.0 {
            return if unit == "B" {
                format!("{value:.0}{unit}")
            } else {
                format!("{value:.1}{unit}")
            };
        }
        value /= 1024.0;
    }
    format!("{value:.1}T")
}

/// Milliseconds as a duration of at most two units: `0.4s`, `12s`, `3m04s`, `2h05m`, `12d03h`.
pub fn duration(milliseconds: Option<i64>) -> String {
    let Some(milliseconds) = milliseconds else {
        return "-".to_owned();
    };
    let milliseconds = milliseconds.max(0);
    let seconds = milliseconds / 1_000;
    match seconds {
        0..10 => format!("{:.1}s", milliseconds as f64 / 1e3),
        10..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h{:02}m", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

/// A large count: `999`, `12.3k`, `4.5M`.
pub fn count(value: Option<u64>) -> String {
    let Some(value) = value else {
        return "-".to_owned();
    };
    let scaled = value as f64;
    match value {
        0..10_000 => value.to_string(),
        10_000..1_000_000 => format!("{:.1}k", scaled / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1}M", scaled / 1e6),
        _ => format!("{:.1}G", scaled / 1e9),
    }
}

/// CPU seconds of so many nanoseconds.
pub fn cpu_seconds(nanoseconds: Option<u64>) -> String {
    number(nanoseconds.map(|ns| ns as f64 / 1e9), 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_is_a_dash() {
        assert_eq!((number(None, 1).as_str(), bytes(None).as_str()), ("-", "-"));
        assert_eq!(bytes(Some(1536.0)), "1.5K");
        assert_eq!(milliseconds(Some(2_500_000.0)), "2.50");
        assert_eq!(percent(Some(0.125)), "12.5");
    }

    #[test]
    fn durations_have_two_units_at_most() {
        for (milliseconds, text) in [
            (400, "0.4s"),
            (12_900, "12s"),
            (184_000, "3m04s"),
            (7_500_000, "2h05m"),
            (1_047_600_000, "12d03h"),
            (-5, "0.0s"),
        ] {
            assert_eq!(duration(Some(milliseconds)), text);
        }
        assert_eq!(duration(None), "-");
        assert_eq!(
            (count(Some(9_999)), count(Some(12_345))),
            ("9999".into(), "12.3k".into())
        );
        assert_eq!(cpu_seconds(Some(3_460_000_000)), "3.5");
    }
}
