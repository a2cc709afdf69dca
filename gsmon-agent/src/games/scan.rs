//! What the grammars of several families share: dates, addresses, numbers, and the bound on what is kept of a line.
//!
//! Nothing here allocates on a line that says nothing.

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
};

/// Longest name, map or reason that is kept, in bytes. The longest that a game of these families allows is 128.
pub const MAX_TEXT: usize = 256;

/// Keeps a text; what is longer than [`MAX_TEXT`] is cut at a character.
pub fn keep(text: &str) -> Arc<str> {
    text[..text.floor_char_boundary(MAX_TEXT)].into()
}

/// Like [`keep`], for what may be left empty.
pub fn keep_some(text: &str) -> Option<Arc<str>> {
    (!text.is_empty()).then(|| keep(text))
}

/// A whole text of decimal digits.
pub fn number(text: &str) -> Option<u64> {
    radix(text, 10)
}

/// A whole text of digits of this radix, without sign.
pub fn radix(text: &str, radix: u32) -> Option<u64> {
    if text.starts_with('+') {
        return None;
    }
    u64::from_str_radix(text, radix).ok()
}

/// Decimal digits at the front, and what follows them.
pub fn leading_number(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (head, rest) = text.split_at(digits);
    Some((number(head)?, rest))
}

/// `N` decimal digits at `at`.
pub fn digits<const N: usize>(bytes: &[u8], at: usize) -> Option<u32> {
    let field = bytes.get(at..at.checked_add(N)?)?;
    field.iter().try_fold(0u32, |value, byte| {
        byte.is_ascii_digit().then(|| value * 10 + u32::from(byte - b'0'))
    })
}

/// Is this byte here?
pub fn at(bytes: &[u8], place: usize, byte: u8) -> bool {
    bytes.get(place) == Some(&byte)
}

/// A time of day; `HH:MM:SS` at a place in a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeOfDay {
    hour: u32,
    minute: u32,
    second: u32,
}

/// `HH:MM:SS` at `place`.
pub fn time_of_day(bytes: &[u8], place: usize) -> Option<TimeOfDay> {
    if !at(bytes, place + 2, b':') || !at(bytes, place + 5, b':') {
        return None;
    }
    let time = TimeOfDay {
        hour: digits::<2>(bytes, place)?,
        minute: digits::<2>(bytes, place + 3)?,
        second: digits::<2>(bytes, place + 6)?,
    };
    // 60 is a leap second.
    (time.hour < 24 && time.minute < 60 && time.second <= 60).then_some(time)
}

/// A day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Date {
    /// Year of the common era.
    pub year: u32,
    /// 1 to 12.
    pub month: u32,
    /// 1 to 31.
    pub day: u32,
}

/// `YYYY-MM-DD` at `place`.
pub fn iso_date(bytes: &[u8], place: usize) -> Option<Date> {
    if !at(bytes, place + 4, b'-') || !at(bytes, place + 7, b'-') {
        return None;
    }
    Some(Date {
        year: digits::<4>(bytes, place)?,
        month: digits::<2>(bytes, place + 5)?,
        day: digits::<2>(bytes, place + 8)?,
    })
}

/// `YYYY-MM-DD HH:MM:SS` at `place` (19 bytes), in milliseconds since the epoch as if it were UTC.
pub fn iso_date_time(bytes: &[u8], place: usize) -> Option<i64> {
    if !at(bytes, place + 10, b' ') {
        return None;
    }
    epoch_ms(iso_date(bytes, place)?, time_of_day(bytes, place + 11)?, 0)
}

/// Milliseconds since the epoch, as if date and time were UTC; `None` for a day that no month has.
pub fn epoch_ms(date: Date, time: TimeOfDay, milliseconds: u32) -> Option<i64> {
    let Date { year, month, day } = date;
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || !(1970..10_000).contains(&year) {
        return None;
    }
    // Years that begin in March put the leap day last; days since 1970-03-01 of year 0's calendar.
    let year = i64::from(year) - i64::from(month <= 2);
    let month = i64::from((month + 9) % 12);
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + i64::from(day) - 1;
    let seconds = (days - 719_468) * 86_400
        + i64::from(time.hour) * 3600
        + i64::from(time.minute) * 60
        + i64::from(time.second);
    Some(seconds * 1000 + i64::from(milliseconds))
}

/// An address with or without port: `1.2.3.4`, `1.2.3.4:5`, `[2001:db8::1]:5`, `2001:db8::1`, and eight unbracketed
/// groups with a port behind them, as old Java prints. A zone (`%eth0`) is dropped.
pub fn address(text: &str) -> Option<(IpAddr, Option<u16>)> {
    // The longest is a bracketed address with zone and port; nothing longer is looked at.
    if text.len() > 80 || text.is_empty() {
        return None;
    }
    if let Some(rest) = text.strip_prefix('[') {
        let (inside, rest) = rest.split_once(']')?;
        let port = match rest.strip_prefix(':') {
            Some(port) => Some(port.parse().ok()?),
            None if rest.is_empty() => None,
            None => return None,
        };
        return Some((IpAddr::V6(v6(inside)?), port));
    }
    let Some((head, tail)) = text.rsplit_once(':') else {
        return Some((IpAddr::V4(text.parse().ok()?), None));
    };
    if !head.contains(':') {
        return Some((IpAddr::V4(head.parse().ok()?), Some(tail.parse().ok()?)));
    }
    if let Some(whole) = v6(text) {
        return Some((IpAddr::V6(whole), None));
    }
    Some((IpAddr::V6(v6(head)?), Some(tail.parse().ok()?)))
}

fn v6(text: &str) -> Option<Ipv6Addr> {
    text.split_once('%')
        .map_or(text, |(address, _zone)| address)
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn dates_count_from_the_epoch() {
        let ms = |text: &str| iso_date_time(text.as_bytes(), 0);
        assert_eq!(ms("1970-01-01 00:00:00"), Some(0));
        assert_eq!(ms("2000-02-29 23:59:59"), Some(951_868_799_000));
        assert_eq!(ms("2024-03-01 00:00:00"), Some(1_709_251_200_000));
        assert_eq!(ms("2026-08-01 12:00:00"), Some(1_785_585_600_000));
        assert_eq!(ms("2026-13-01 12:00:00"), None);
        assert_eq!(ms("2026-08-01 24:00:00"), None);
        assert_eq!(ms("2026-08-0x 12:00:00"), None);
        assert_eq!(ms("2026-08-01 12:00"), None);
    }

    #[test]
    fn addresses_of_every_notation() {
        assert_eq!(address("10.0.0.1:5"), Some((ip("10.0.0.1"), Some(5))));
        assert_eq!(address("10.0.0.1"), Some((ip("10.0.0.1"), None)));
        assert_eq!(address("[2001:db8::1]:5"), Some((ip("2001:db8::1"), Some(5))));
        assert_eq!(address("[::1%0]:5"), Some((ip("::1"), Some(5))));
        assert_eq!(address("[::1]"), Some((ip("::1"), None)));
        assert_eq!(address("2001:db8::1"), Some((ip("2001:db8::1"), None)));
        assert_eq!(address("0:0:0:0:0:0:0:1:54321"), Some((ip("::1"), Some(54321))));
        assert_eq!(address("fe80:0:0:0:0:0:0:1%2:7"), Some((ip("fe80::1"), None)));
        for bad in [
            "none",
            "loopback",
            "",
            "1.2.3",
            "[::1",
            "[::1]5",
            "1.2.3.4:99999",
            ":",
        ] {
            assert_eq!(address(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(text in ".{0,60}", place in 0usize..80) {
            let bytes = text.as_bytes();
            let _ = (address(&text), number(&text), radix(&text, 16), leading_number(&text));
            let _ = (iso_date_time(bytes, place), time_of_day(bytes, place), digits::<4>(bytes, place));
            let _ = keep(&text.repeat(20));
        }

        #[test]
        fn printed_addresses_are_read_back(bits: u128, port: u16) {
            let address6 = IpAddr::V6(bits.into());
            prop_assert_eq!(address(&format!("[{address6}]:{port}")), Some((address6, Some(port))));
            let address4 = IpAddr::V4((bits as u32).into());
            prop_assert_eq!(address(&format!("{address4}:{port}")), Some((address4, Some(port))));
        }
    }
}
