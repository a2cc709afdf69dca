//! Text from outside made fit for a terminal. Names of players, maps, rooms and modes are whatever somebody chose: they
//! may hold escape sequences, line breaks, marks that turn the direction of writing, or be endlessly long.
//!
//! Everything that is printed or drawn and was not written by gsmon itself goes through here: the live view, the plain
//! text and every table. JSON needs none of it.

use std::borrow::Cow;

use ratatui::text::Span;

/// Does a character steer a terminal, or change how its neighbours look?
fn steers(sign: char) -> bool {
    sign.is_control()
        || matches!(sign,
            // Soft hyphen, Arabic letter mark, Mongolian vowel separator.
            '\u{ad}' | '\u{61c}' | '\u{180e}'
            // Zero width and direction marks, line and paragraph separators, direction overrides.
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            // Invisible operators and direction isolates; interlinear marks; byte order mark; tags.
            | '\u{2060}'..='\u{206f}' | '\u{fff9}'..='\u{fffb}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}

/// The text with everything that steers a terminal written out, as `\n` or `\u{1b}`. Doing it twice changes nothing.
pub fn harmless(text: &str) -> Cow<'_, str> {
    if !text.chars().any(steers) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for sign in text.chars() {
        match sign {
            '\n' => safe.push_str("\\n"),
            '\r' => safe.push_str("\\r"),
            '\t' => safe.push_str("\\t"),
            _ if steers(sign) => safe.extend(sign.escape_unicode()),
            _ => safe.push(sign),
        }
    }
    Cow::Owned(safe)
}

/// Columns that a text takes on a terminal.
pub fn width(text: &str) -> usize {
    Span::raw(text).width()
}

/// Characters without a width of their own that are kept behind one that has: enough for every script in use, too few to
/// draw over the neighbouring lines.
const MOST_MARKS: usize = 4;

/// Harmless, and at most so many columns wide; what is cut off ends in `…`.
pub fn fit(text: &str, columns: usize) -> String {
    // No name needs more of its bytes looked at than this.
    let look_at = columns.saturating_mul(16).saturating_add(64);
    let end = (0..=look_at.min(text.len()))
        .rev()
        .find(|end| text.is_char_boundary(*end))
        .unwrap_or(0);
    let safe = harmless(&text[..end]);
    let (mut kept, mut used, mut marks) = (String::new(), 0, 0);
    let mut buffer = [0u8; 4];
    let mut cut = end < text.len();
    for sign in safe.chars() {
        let wide = width(sign.encode_utf8(&mut buffer));
        if wide == 0 {
            marks += 1;
            if marks > MOST_MARKS {
                continue;
            }
        } else {
            marks = 0;
        }
        if used + wide > columns {
            cut = true;
            break;
        }
        used += wide;
        kept.push(sign);
    }
    if cut && columns > 0 {
        while width(&kept) + 1 > columns {
            kept.pop();
        }
        kept.push('…');
    }
    // Signs next to each other may be wider together than apart.
    while width(&kept) > columns {
        kept.pop();
    }
    kept
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn escapes_are_written_out_and_names_stay_as_they_are() {
        assert_eq!(harmless("\u{1b}[2J\u{9b}1mx\n"), "\\u{1b}[2J\\u{9b}1mx\\n");
        assert_eq!(harmless("a\u{202e}b\u{200b}"), "a\\u{202e}b\\u{200b}");
        for name in ["^1Ann^7", "Żółć", "玩家", "👩 x", "a\\b", ""] {
            assert_eq!(harmless(name), name);
        }
    }

    #[test]
    fn what_is_too_wide_is_cut() {
        assert_eq!(fit("abcdef", 4), "abc…");
        assert_eq!(fit("abcd", 4), "abcd");
        assert_eq!(fit("玩家玩家", 5), "玩家…");
        assert_eq!(fit("abc", 0), "");
        assert_eq!(fit("\u{1b}x", 20), "\\u{1b}x");
        let zalgo = format!("a{}b", "\u{301}".repeat(500));
        assert!(fit(&zalgo, 30).chars().count() <= 7, "{}", fit(&zalgo, 30));
        assert!(fit(&"x".repeat(10_000_000), 30).len() < 40);
    }

    fn any_text() -> impl Strategy<Value = String> {
        prop_oneof![
            any::<String>(),
            prop::collection::vec(
                prop::sample::select(vec![
                    '\u{1b}',
                    '[',
                    ']',
                    '\u{7}',
                    '\u{9b}',
                    '\u{9d}',
                    '\n',
                    '\r',
                    '\0',
                    '\u{7f}',
                    '\u{202e}',
                    '\u{2066}',
                    '\u{200b}',
                    '\u{301}',
                    '玩',
                    '\u{1f469}',
                    '\u{fe0f}',
                    'a',
                    '\u{feff}',
                    '\u{e0041}'
                ]),
                0..80
            )
            .prop_map(|signs| signs.into_iter().collect()),
        ]
    }

    proptest! {
        #[test]
        fn nothing_that_steers_is_left_and_nothing_else_is_touched(text in any_text()) {
            let safe = harmless(&text);
            prop_assert!(!safe.chars().any(steers), "{safe:?}");
            prop_assert!(!safe.chars().any(char::is_control), "{safe:?}");
            prop_assert_eq!(&harmless(&safe), &safe);
            let untouched: String = text.chars().filter(|sign| !steers(*sign)).collect();
            if untouched == text {
                prop_assert_eq!(&*safe, &text);
            }
        }

        #[test]
        fn it_fits(text in any_text(), columns in 0usize..100) {
            let fitted = fit(&text, columns);
            prop_assert!(width(&fitted) <= columns, "{fitted:?}");
            prop_assert!(!fitted.chars().any(steers), "{fitted:?}");
            // What fits is not cut.
            let marks = text.chars().any(|sign| width(sign.encode_utf8(&mut [0; 4])) == 0);
            let whole: usize = harmless(&text).chars().map(|sign| width(sign.encode_utf8(&mut [0; 4]))).sum();
            if !marks && whole <= columns && text.len() <= columns {
                prop_assert_eq!(fitted, harmless(&text).into_owned());
            }
        }
    }
}
