//! Tests of the Teeworlds conversations.

use proptest::prelude::*;

use super::{
    super::testing::{asked, udp_server},
    *,
};
use crate::config::QueryProtocol;

/// Three bytes of token of an extended request, as one number, and the plain one.
fn tokens(request: &[u8]) -> Option<(u32, u8)> {
    let own = request.starts_with(b"xe") && request[4..14] == *b"\0\0\xff\xff\xff\xffgie3";
    (own && request.len() == 15).then(|| {
        let [a, b, c] = [request[2], request[3], request[14]].map(u32::from);
        (a << 16 | b << 8 | c, request[14])
    })
}

fn answer(kind: &[u8], words: &[&str]) -> Vec<u8> {
    let mut bytes = [&[0xff; 10], kind].concat();
    for word in words {
        bytes.extend_from_slice(word.as_bytes());
        bytes.push(0);
    }
    bytes
}

#[test]
fn ddnet_answers_in_parts() {
    let server = udp_server(|request| {
        let Some((token, _)) = tokens(request) else {
            return Vec::new();
        };
        let (token, stale) = (token.to_string(), (token ^ 1).to_string());
        let head = [
            "DDrace",
            "My server",
            "Kobra 4",
            "-1215214",
            "123456",
            "DDraceNetwork",
            "0",
            "2",
            "63",
            "3",
            "64",
            "",
        ];
        let first = [
            &[token.as_str()][..],
            &head,
            &["nameless tee", "clan", "-1", "-9999", "1", ""],
        ]
        .concat();
        let more = [
            &token, "1", "", "Ann", "", "276", "-61", "1", "", "Bob", "", "-1", "-9999", "0", "",
        ];
        vec![
            answer(b"iext", &[stale.as_str(), "x"]),
            answer(b"iext", &first),
            answer(b"iex+", &more),
        ]
    });
    let answer = asked(QueryProtocol::Teeworlds, server.address).unwrap();
    assert_eq!(
        (answer.name.as_deref(), answer.map.as_deref()),
        (Some("My server"), Some("Kobra 4"))
    );
    assert_eq!(
        (answer.mode.as_deref(), answer.version.as_deref()),
        (Some("DDraceNetwork"), Some("DDrace"))
    );
    assert_eq!(
        (answer.online, answer.max, answer.bots),
        (Some(3), Some(64), None)
    );
    let names = ["nameless tee", "Ann", "Bob"].map(PlayerRef::named).to_vec();
    assert_eq!(answer.players, Some(Listed::Everybody(names)));
}

#[test]
fn plain_0_6_answers_and_a_list_held_back_is_no_list() {
    for (online, expected) in [("1", true), ("5", false)] {
        let server = udp_server(move |request| {
            let Some((_, token)) = tokens(request) else {
                return Vec::new();
            };
            let words = [
                &token.to_string(),
                "0.6.5",
                "plain",
                "dm1",
                "DM",
                "0",
                "1",
                "8",
                online,
                "8",
                "Ann",
                "",
                "-1",
                "7",
                "1",
            ];
            vec![answer(b"inf3", &words)]
        });
        let answer = asked(QueryProtocol::Teeworlds, server.address).unwrap();
        assert_eq!((answer.map.as_deref(), answer.max), (Some("dm1"), Some(8)));
        assert_eq!(matches!(answer.players, Some(Listed::Everybody(_))), expected);
    }
}

#[test]
fn a_0_7_server_wants_its_token() {
    const THEIRS: [u8; 4] = [9, 8, 7, 6];
    let server = udp_server(|request| {
        if request.len() == 519 && request[..8] == [4, 0, 0, 0xff, 0xff, 0xff, 0xff, 5] {
            return vec![[&[4, 0, 0], &request[8..12], &[5], &THEIRS].concat()];
        }
        if request.len() != 18 || request[0] != 0x21 || request[1..5] != THEIRS {
            return Vec::new();
        }
        assert_eq!(&request[9..17], b"\xff\xff\xff\xffgie3");
        let mut body = [
            &[0x21],
            &request[5..9],
            &THEIRS,
            b"\xff\xff\xff\xffinf3",
            &request[17..],
        ]
        .concat();
        body.extend_from_slice(b"0.7.5\0A server\0\0dm1\0DM\0");
        // Flags 0, skill 1, 2 of 16 players, 2 of 66 clients (66 = 2 + 64 is packed in two bytes).
        body.extend_from_slice(&[0, 1, 2, 16, 2, 0x82, 0x01]);
        // Country -1 is 0x40; score 300 = 44 + 4 * 64; the second is a bot.
        body.extend_from_slice(b"Ann\0\0\x40\xac\x04\x00Bob\0clan\0\x40\x00\x02");
        vec![body]
    });
    let answer = asked(QueryProtocol::Teeworlds, server.address).unwrap();
    assert_eq!(
        (answer.name.as_deref(), answer.version.as_deref()),
        (Some("A server"), Some("0.7.5"))
    );
    assert_eq!(
        (answer.online, answer.max, answer.bots),
        (Some(2), Some(66), Some(1))
    );
    let bot = PlayerRef::named("Bob").with_kind(PlayerKind::Bot, KindEvidence::Query);
    assert_eq!(
        answer.players,
        Some(Listed::Everybody(vec![PlayerRef::named("Ann"), bot]))
    );
}

proptest! {
    #[test]
    fn no_bytes_make_the_readers_panic(bytes in prop::collection::vec(any::<u8>(), 0..120), words in "[a-z0-9-]{0,3}(\\x00[a-z0-9-]{0,3}){0,30}") {
        let (six, seven) = (Six { token: [0; 3] }, Seven { token: [0; 4] });
        for kind in [INFO, INFO_EXTENDED, INFO_MORE] {
            let _ = six.part(&[&[0xff; 6], kind, b"0\0", &bytes].concat());
            let _ = six.part(&[&[0xff; 6], kind, b"0\0", words.as_bytes()].concat());
        }
        let _ = six.part(&bytes);
        let _ = seven.token(&bytes);
        let _ = seven.info(&bytes);
        let _ = seven.info(&[&[OUTSIDE, 0, 0, 0, 0, 1, 2, 3, 4], INFO, &[0], &bytes].concat());
        let _ = packed(&mut Reader::new(&bytes));
    }
}
