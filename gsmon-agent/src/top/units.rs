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
}
