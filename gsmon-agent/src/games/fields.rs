//! Readers of the small things that log lines are made of: wall clocks, numbers, endpoints, labels.
//!
//! All of them work on bytes, allocate nothing until something is to be kept, and answer `None` instead of failing.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

/// Longest name, id or reason that is kept, in bytes; the rest is cut off.
const LONGEST_LABEL: usize = 512;

/// Keeps a name, id or reason as it is spelled; `None` for an empty one.
pub(super) fn label(text: &str) -> Option<Arc<str>> {
    let kept = &text[..text.floor_char_boundary(LONGEST_LABEL)];
    (!kept.is_empty()).then(|| kept.into())
}

/// Splits `text` where `shape` ends, if it begins with that shape. In a shape, the letters `Y M D h m s f` stand for a
/// digit each; every other character for itself. Shapes are ASCII.
pub(super) fn shaped<'a>(text: &'a str, shape: &str) -> Option<(&'a str, &'a str)> {
    let (head, tail) = text.split_at_checked(shape.len())?;
    let fits = head
        .bytes()
        .zip(shape.bytes())
        .all(|(byte, wanted)| match wanted {
            b'Y' | b'M' | b'D' | b'h' | b'm' | b's' | b'f' => byte.is_ascii_digit(),
            _ => byte == wanted,
        });
    fits.then_some((head, tail))
}

/// The moment that a text of that shape states, in milliseconds since the Unix epoch as if it were UTC. Years of two
/// digits are of this century; `None` for dates that do not exist.
pub(super) fn moment(text: &str, shape: &str) -> Option<i64> {
    let (mut year, mut month, mut day) = (0i64, 0i64, 0i64);
    let (mut hour, mut minute, mut second, mut milli) = (0i64, 0i64, 0i64, 0i64);
    for (byte, wanted) in text.bytes().zip(shape.bytes()) {
        let field = match wanted {
            b'Y' => &mut year,
            b'M' => &mut month,
            b'D' => &mut day,
            b'h' => &mut hour,
            b'm' => &mut minute,
            b's' => &mut second,
            b'f' => &mut milli,
            _ => continue,
        };
        *field = *field * 10 + i64::from(byte.wrapping_sub(b'0'));
    }
    if year < 100 {
        year += 2000;
    }
    let exists = (1..=12).contains(&month)
        && (1..=days_in(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 61;
    exists.then(|| {
        let seconds = ((days_since_epoch(year, month, day) * 24 + hour) * 60 + minute) * 60 + second;
        seconds * 1000 + milli
    })
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days between 1970-01-01 and a date of the Gregorian calendar. Counted from March, so that a leap day ends a year.
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year - 719_468
}

/// An address with or without port: `192.0.2.1`, `192.0.2.1:7777`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:7777`.
pub(super) fn endpoint(text: &str) -> Option<(IpAddr, Option<u16>)> {
    if let Ok(socket) = text.parse::<SocketAddr>() {
        return Some((socket.ip().to_canonical(), Some(socket.port())));
    }
    let bare = text
        .strip_prefix('[')
        .and_then(|inner| inner.strip_suffix(']'))
        .unwrap_or(text);
    Some((bare.parse::<IpAddr>().ok()?.to_canonical(), None))
}

/// A decimal number that is the whole text; no sign, no blank.
pub(super) fn whole<T: std::str::FromStr>(text: &str) -> Option<T> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// Is the whole text one word of letters, digits and `_`?
pub(super) fn is_word(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// The text between the first `open` and the next `close` after it.
pub(super) fn between<'a>(text: &'a str, open: &str, close: &str) -> Option<&'a str> {
    let (_, tail) = text.split_once(open)?;
    Some(tail.split_once(close)?.0)
}

/// Names made of pieces of every family's lines, for tests of what a name can forge.
#[cfg(test)]
pub(super) fn hostile_name() -> impl proptest::strategy::Strategy<Value = String> {
    use proptest::prelude::*;
    let pieces = prop::sample::select(vec![
        "Victim",
        "victim",
        " ",
        ": ",
        " : ",
        " : 11:1",
        "/",
        "[",
        "]",
        "(",
        ")",
        " joined this ARK!",
        " left this ARK!",
        " [UniqueNetId:0002aa Platform:None]",
        " joined the server. (User id: steam_1)",
        " left the server. (User id: steam_1, Player id: AB)",
        " joined [windows/76561198000000001]",
        " disconnecting: ",
        "1.2.3.4:5/76561198000000001/",
        " joined the game",
        " left the game",
        " joined (id 1)",
        " left (id 1)",
        " userId: EOS:victim",
        " platform: EOS",
        "RemoteAddr: 192.0.2.1:7, ",
        "LogNet: Join succeeded: ",
        "2026-08-02 13:43:28 [LEAVE] ",
        "Closing socket 76561198000000001",
    ]);
    let piece = prop_oneof![3 => pieces.prop_map(str::to_owned), 1 => "[^\\r\\n?]{1,6}"];
    prop::collection::vec(piece, 1..6).prop_map(|pieces| pieces.concat())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ISO: &str = "YYYY-MM-DD hh:mm:ss";

    #[test]
    fn wall_clocks_become_milliseconds() {
        assert_eq!(moment("1970-01-01 00:00:00", ISO), Some(0));
        assert_eq!(moment("2026-08-02 13:41:39", ISO), Some(1_785_678_099_000));
        assert_eq!(moment("2000-02-29 00:00:00", ISO), Some(951_782_400_000));
        assert_eq!(moment("2023-02-29 00:00:00", ISO), None);
        assert_eq!(moment("2023-13-01 00:00:00", ISO), None);
        assert_eq!(moment("2023-01-01 24:00:00", ISO), None);
        assert_eq!(moment("03/10/26", "MM/DD/YY"), moment("2026-03-10 00:00:00", ISO));
        assert_eq!(
            moment("2026.03.10-00.05.07:001", "YYYY.MM.DD-hh.mm.ss:fff"),
            moment("2026-03-10 00:05:07", ISO).map(|ms| ms + 1)
        );
    }

    #[test]
    fn endpoints_of_every_spelling() {
        let v6: IpAddr = "2001:db8::1".parse().unwrap();
        assert_eq!(endpoint("192.0.2.1"), Some(("192.0.2.1".parse().unwrap(), None)));
        assert_eq!(
            endpoint("192.0.2.1:7777"),
            Some(("192.0.2.1".parse().unwrap(), Some(7777)))
        );
        assert_eq!(endpoint("2001:db8::1"), Some((v6, None)));
        assert_eq!(endpoint("[2001:db8::1]"), Some((v6, None)));
        assert_eq!(endpoint("[2001:db8::1]:7"), Some((v6, Some(7))));
        assert_eq!(
            endpoint("::ffff:192.0.2.1"),
            Some(("192.0.2.1".parse().unwrap(), None))
        );
        for nonsense in [
            "",
            ":",
            "1.2.3",
            "1.2.3.4:",
            "1.2.3.4:70000",
            "[]",
            "76561198000000000:7",
        ] {
            assert_eq!(endpoint(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn labels_are_bounded() {
        assert_eq!(label(""), None);
        let long = "ä".repeat(1000);
        assert!(label(&long).unwrap().len() <= LONGEST_LABEL);
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "\\PC{0,60}") {
            let _ = (endpoint(&text), label(&text), whole::<u64>(&text), moment(&text, ISO));
            if let Some((head, tail)) = shaped(&text, ISO) {
                prop_assert_eq!(head.len() + tail.len(), text.len());
            }
        }

        #[test]
        fn dates_count_up_by_one_day(days in 0i64..60_000) {
            // Walks the calendar with the day count's own inverse property: the next day is one more.
            let (mut year, mut month, mut day) = (1970i64, 1i64, 1i64);
            let mut left = days % 1500;
            while left > 0 {
                left -= 1;
                day += 1;
                if day > days_in(year, month) { day = 1; month += 1; }
                if month > 12 { month = 1; year += 1; }
            }
            prop_assert_eq!(days_since_epoch(year, month, day), days % 1500);
        }
    }
}
