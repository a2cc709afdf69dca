use proptest::prelude::*;

use super::*;

fn read(lines: &mut Lines, chunks: &[&[u8]]) -> Vec<String> {
    let mut out = Vec::new();
    let mut each = |line: &str| out.push(line.to_owned());
    for chunk in chunks {
        lines.push(chunk, &mut each);
    }
    out
}

fn all(bytes: &[u8]) -> Vec<String> {
    read(&mut Lines::new(LINE_LIMIT), &[bytes])
}

fn utf16(text: &str, encoding: Encoding) -> Vec<u8> {
    text.encode_utf16()
        .flat_map(|unit| match encoding {
            Encoding::Utf16Be => unit.to_be_bytes(),
            _ => unit.to_le_bytes(),
        })
        .collect()
}

#[test]
fn a_line_ends_with_lf_or_crlf_and_waits_for_it() {
    let mut lines = Lines::new(LINE_LIMIT);
    assert_eq!(read(&mut lines, &[b"a\nb\r\n\nc"]), ["a", "b", ""]);
    assert_eq!(lines.unfinished(), 1);
    assert_eq!(read(&mut lines, &[b"d\r", b"\ne"]), ["cd"]);
    let mut last = Vec::new();
    lines.finish(&mut |line: &str| last.push(line.to_owned()));
    assert_eq!(last, ["e"]);
    assert_eq!(lines.unfinished(), 0);
}

#[test]
fn a_carriage_return_inside_a_line_does_not_end_it() {
    assert_eq!(
        all(b"<Eve> hi\r[12:00:00] Bob joined\n"),
        ["<Eve> hi\r[12:00:00] Bob joined"]
    );
}

#[test]
fn clean_lines_are_not_copied() {
    let bytes = b"one\ntwo\n";
    let range = bytes.as_ptr_range();
    let mut inside = 0;
    Lines::new(LINE_LIMIT).push(bytes, &mut |line: &str| {
        inside += usize::from(range.contains(&line.as_ptr()));
    });
    // The first line lies across the bytes that a byte-order mark would take.
    assert_eq!(inside, 1);
}

#[test]
fn an_overlong_line_is_cut_and_counted_and_the_next_one_is_whole() {
    for chunk in [1, 7, 1000] {
        let mut lines = Lines::new(10);
        let text = format!("{}\nnext\n{}\n0123456789\n", "x".repeat(100), "é".repeat(50));
        let chunks: Vec<_> = text.as_bytes().chunks(chunk).collect();
        let read = read(&mut lines, &chunks);
        assert_eq!(read, ["xxxxxxxxxx", "next", "ééééé", "0123456789"]);
        assert_eq!(lines.counts().overlong, 2);
        assert_eq!(lines.counts().invalid, 0);
    }
    let mut lines = Lines::new(11);
    assert_eq!(read(&mut lines, &["é".repeat(50).as_bytes()]), ["ééééé"]);
    assert_eq!(lines.counts().invalid, 0);
}

#[test]
fn a_gigabyte_without_line_end_takes_no_memory() {
    let mut lines = Lines::new(LINE_LIMIT);
    let chunk = vec![b'x'; 1 << 20];
    let mut count = 0;
    for _ in 0..1024 {
        lines.push(&chunk, &mut |_: &str| count += 1);
        assert!(lines.pending.capacity() <= 4 * LINE_LIMIT);
    }
    assert_eq!((count, lines.counts().overlong), (1, 1));
    assert_eq!(read(&mut lines, &[b"\nnext\n"]), ["next"]);
}

#[test]
fn byte_order_marks_are_recognised_however_they_are_split() {
    for (mark, encoding) in MARKS {
        let text = "Grüße 🎮\r\nnext\n";
        let mut bytes = mark.to_vec();
        match encoding {
            Encoding::Utf8 => bytes.extend(text.bytes()),
            _ => bytes.extend(utf16(text, encoding)),
        }
        for size in [1, 2, 3, 5, 1000] {
            let chunks: Vec<_> = bytes.chunks(size).collect();
            let mut lines = Lines::new(LINE_LIMIT);
            assert_eq!(
                read(&mut lines, &chunks),
                ["Grüße 🎮", "next"],
                "{encoding:?} {size}"
            );
            assert_eq!(lines.unfinished(), 0);
            assert_eq!(lines.counts().invalid, 0);
        }
    }
    assert_eq!(all(b"\xef\n"), ["\u{fffd}"]);
    assert_eq!(all(b"\n\n\nx\n"), ["", "", "", "x"]);
}

#[test]
fn half_a_mark_at_the_end_is_a_line() {
    let mut lines = Lines::new(LINE_LIMIT);
    assert!(read(&mut lines, &[b"\xef\xbb"]).is_empty());
    let mut last = Vec::new();
    lines.finish(&mut |line: &str| last.push(line.to_owned()));
    assert_eq!(last, ["\u{fffd}"]);
}

#[test]
fn a_code_unit_that_contains_a_line_feed_byte_is_no_line_end() {
    // U+0A0A, and U+0A00 in front of U+000A.
    let bytes = [&[0xff, 0xfe][..], &utf16("\u{a0a}\u{a00}\n", Encoding::Utf16Le)].concat();
    assert_eq!(all(&bytes), ["\u{a0a}\u{a00}"]);
    let bytes = [&[0xfe, 0xff][..], &utf16("\u{a0a}\u{a00}\n", Encoding::Utf16Be)].concat();
    assert_eq!(all(&bytes), ["\u{a0a}\u{a00}"]);
}

#[test]
fn broken_encodings_are_replaced_and_counted() {
    let mut lines = Lines::new(LINE_LIMIT);
    assert_eq!(read(&mut lines, &[b"a\xffb\nok\n"]), ["a\u{fffd}b", "ok"]);
    assert_eq!(lines.counts().invalid, 1);
    let lonely = [0xff, 0xfe, 0x00, 0xd8, b'a', 0, b'\n', 0];
    assert_eq!(all(&lonely), ["\u{fffd}a"]);
}

#[test]
fn nul_is_left_out_even_a_hole_of_it() {
    let mut lines = Lines::new(10);
    let hole = vec![0; 100_000];
    assert_eq!(read(&mut lines, &[&hole, &hole, b"abc\0def\n"]), ["abcdef"]);
    assert_eq!(lines.counts().overlong, 0);
}

#[test]
fn escape_sequences_of_terminals_are_left_out() {
    for (coloured, plain) in [
        (
            "\x1b[32m[12:00:06 INFO]\x1b[0m: Done\x1b[K",
            "[12:00:06 INFO]: Done",
        ),
        ("\x1b[38;2;255;0;0mred\x1b[m", "red"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1b(Bascii\x1b=", "ascii"),
        ("text\r\x1b[K\r", "text"),
        ("end\x1b", "end"),
        ("\x1bé", "é"),
    ] {
        assert_eq!(all(format!("{coloured}\n").as_bytes()), [plain], "{coloured:?}");
    }
}

#[test]
fn a_stray_escape_in_a_name_does_not_hide_what_follows() {
    for name in ["\x1b]Bob", "Bob\x1b[", "Bob\x1b[3", "\x1bPBob", "Bob\x1b"] {
        let line = format!("{name} joined the game\n");
        let read = all(line.as_bytes()).remove(0);
        assert!(read.ends_with(" joined the game"), "{read:?}");
    }
}

proptest! {
    #[test]
    fn chunks_make_no_difference(
        bytes in proptest::collection::vec(
            prop_oneof![Just(b'\n'), Just(b'\r'), Just(0), Just(0x1b), Just(0xff), Just(0xfe), Just(b'['), any::<u8>()],
            0..400,
        ),
        sizes in proptest::collection::vec(1usize..40, 1..20),
        limit in 4usize..60,
    ) {
        let mut whole = Lines::new(limit);
        let mut expected = read(&mut whole, &[&bytes]);
        let mut split = Lines::new(limit);
        let mut got = Vec::new();
        let mut rest = &bytes[..];
        for size in sizes.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (chunk, after) = rest.split_at((*size).min(rest.len()));
            got.extend(read(&mut split, &[chunk]));
            rest = after;
        }
        prop_assert_eq!(whole.unfinished(), split.unfinished());
        whole.finish(&mut |line: &str| expected.push(line.to_owned()));
        split.finish(&mut |line: &str| got.push(line.to_owned()));
        prop_assert_eq!(&got, &expected);
        prop_assert_eq!(whole.counts(), split.counts());
        prop_assert_eq!(whole.counts().lines, expected.len() as u64);
        for line in &got {
            prop_assert!(!line.contains(['\n', '\0', '\x1b']));
            prop_assert!(line.chars().count() <= limit);
        }
    }

    #[test]
    fn text_comes_out_as_it_went_in(
        texts in proptest::collection::vec("[^\\p{C}\u{feff}]{0,40}", 0..20),
        encoding in prop_oneof![Just(Encoding::Utf8), Just(Encoding::Utf16Le), Just(Encoding::Utf16Be)],
    ) {
        let text: String = texts.iter().map(|text| format!("{text}\r\n")).collect();
        let bytes = match encoding {
            Encoding::Utf8 => text.into_bytes(),
            _ => utf16(&format!("\u{feff}{text}"), encoding),
        };
        prop_assert_eq!(all(&bytes), texts);
    }
}
