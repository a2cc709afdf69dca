//! Tests of A2S, on the examples of Valve's page.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

use proptest::prelude::*;

use super::{
    super::{
        super::event::{KnownKind, PlayerKind},
        testing::{self, asked, udp_server},
    },
    *,
};
use crate::config::QueryProtocol;

/// Example of Valve's page: a Counter-Strike: Source server.
const CSS: &[u8] = b"\xff\xff\xff\xffI\x02game2xs.com Counter-Strike Source #1\0de_dust\0cstrike\0\
    Counter-Strike: Source\0\xf0\x00\x05\x10\x04dl\x00\x001.0.0.22\0";
/// Example of Valve's page: the obsolete GoldSrc form.
const GOLDSRC: &[u8] = b"\xff\xff\xff\xffm77.111.194.110:27015\0FR - VeryGames.net - Deathmatch - only surf_ski - ngR\0\
    surf_ski\0cstrike\0Counter-Strike\0\x0c\x12\x2fdl\x00\x01www.counter-strike.net\0\0\0\x01\x00\x00\x00\x00\x9e\xf7\x0a\x00\x01\x01\x00";
/// Example of Valve's page: two players.
const TWO: &[u8] =
    b"\xff\xff\xff\xffD\x02\x01[D]---->T.N.W<----\0\x0e\x00\x00\x00\xb4\x97\x00\x44\x02Killer !!!\0\x05\x00\x00\x00\x69\x24\xd9\x43";

#[test]
fn published_examples_are_read() {
    let css = info(&CSS[4..]).unwrap();
    assert_eq!(css.split, Split::Source);
    assert_eq!(
        css.answer.name.as_deref(),
        Some("game2xs.com Counter-Strike Source #1")
    );
    assert_eq!(css.answer.map.as_deref(), Some("de_dust"));
    assert_eq!(css.answer.mode.as_deref(), Some("Counter-Strike: Source"));
    assert_eq!(css.answer.version.as_deref(), Some("1.0.0.22"));
    assert_eq!(
        (css.answer.online, css.answer.bots, css.answer.max),
        (Some(5), Some(4), Some(16))
    );
    let goldsrc = info(&GOLDSRC[4..]).unwrap();
    assert_eq!(goldsrc.split, Split::GoldSrc);
    assert_eq!(goldsrc.answer.map.as_deref(), Some("surf_ski"));
    assert_eq!(
        (goldsrc.answer.online, goldsrc.answer.max, goldsrc.answer.bots),
        (Some(12), Some(18), Some(0))
    );
    let names: Vec<_> = players(&TWO[4..])
        .unwrap()
        .into_iter()
        .map(|player| player.name)
        .collect();
    assert_eq!(
        names,
        [Some("[D]---->T.N.W<----".into()), Some("Killer !!!".into())]
    );
}

/// A server that wants a challenge for both questions, with `online` players and `bots` bots.
fn answers(request: &[u8], online: u8, bots: u8, list: &[u8]) -> Vec<Vec<u8>> {
    let challenge = b"\xff\xff\xff\xffA\x0b\xf3\x2a\x7d".to_vec();
    let mut info = CSS.to_vec();
    let counts = info.windows(2).position(|pair| pair == b"\xf0\x00").unwrap() + 2;
    (info[counts], info[counts + 2]) = (online, bots);
    match (request.get(4), request.ends_with(b"\x0b\xf3\x2a\x7d")) {
        (Some(b'T' | b'U'), false) => vec![challenge],
        (Some(b'T'), true) => {
            assert_eq!(request.len(), 29, "question and challenge");
            vec![info]
        }
        (Some(b'U'), true) => vec![list.to_vec()],
        _ => Vec::new(),
    }
}

#[test]
fn a_server_with_challenge_is_asked() {
    let server = udp_server(|request| answers(request, 2, 0, TWO));
    let answer = asked(QueryProtocol::A2s, server.address).unwrap();
    let Some(Listed::Everybody(players)) = answer.players else {
        panic!("{answer:?}");
    };
    assert_eq!(players.len(), 2);
    assert!(matches!(
        players[0].kind,
        Some(KnownKind {
            kind: PlayerKind::Human,
            ..
        })
    ));
    assert!(answer.round_trip > Duration::ZERO && answer.round_trip < Duration::from_secs(1));
}

#[test]
fn a_list_that_disagrees_or_stays_away_is_not_everybody() {
    let server = udp_server(|request| answers(request, 5, 4, TWO));
    let answer = asked(QueryProtocol::A2s, server.address).unwrap();
    assert!(matches!(answer.players, Some(Listed::Some(ref players)) if players.len() == 2));
    let start = Instant::now();
    let server = udp_server(|request| {
        if request[4] == b'U' {
            Vec::new()
        } else {
            answers(request, 5, 4, TWO)
        }
    });
    let answer = asked(QueryProtocol::A2s, server.address).unwrap();
    assert_eq!(
        (answer.players, answer.online, answer.bots),
        (None, Some(5), Some(4))
    );
    assert!(
        start.elapsed() < testing::settings().timeout / 2,
        "silence costs little"
    );
}

#[test]
fn challenges_without_end_are_given_up_at_once() {
    let server = udp_server(|_| vec![b"\xff\xff\xff\xffA\x01\x02\x03\x04".to_vec()]);
    let error = asked(QueryProtocol::A2s, server.address).unwrap_err();
    assert!(
        matches!(error, QueryError::Malformed("challenges without end")),
        "{error}"
    );
}

#[test]
fn split_answers_are_joined_in_any_order() {
    let part = |number: u8, bytes: &[u8]| {
        let mut part = b"\xfe\xff\xff\xff\x07\x00\x00\x00\x02".to_vec();
        part.push(number);
        part.extend_from_slice(&1_248u16.to_le_bytes());
        part.extend_from_slice(bytes);
        part
    };
    let server = udp_server(move |request| match request[4] {
        b'U' => vec![part(1, &TWO[20..]), part(1, &TWO[20..]), part(0, &TWO[..20])],
        _ => answers(request, 2, 0, TWO),
    });
    let answer = asked(QueryProtocol::A2s, server.address).unwrap();
    assert!(matches!(answer.players, Some(Listed::Everybody(ref players)) if players.len() == 2));
    let mut goldsrc = Parts::default();
    let first = [b"\xfe\xff\xff\xff\x09\x00\x00\x00\x02", &TWO[..9]].concat();
    let second = [b"\xfe\xff\xff\xff\x09\x00\x00\x00\x12", &TWO[9..]].concat();
    assert_eq!(goldsrc.add(&second, Split::GoldSrc).unwrap(), None);
    assert_eq!(
        goldsrc.add(&first, Split::GoldSrc).unwrap().as_deref(),
        Some(&TWO[4..])
    );
}

#[test]
fn rust_states_large_counts_in_its_tags() {
    let mut bytes = b"I\x11Rusty\0Procedural Map\0rust\0Rust\0\x4a\xda\xff\xff\x00dl\x00\x012592\0".to_vec();
    bytes.push(0xb1);
    bytes.extend_from_slice(&28_015u16.to_le_bytes());
    bytes.extend_from_slice(&90_071_992_547_409_920u64.to_le_bytes());
    bytes.extend_from_slice(b"mp600,cp412,ptrak,qp3,v2592,born1700000000,gmrust\0");
    bytes.extend_from_slice(&252_490u64.to_le_bytes());
    let answer = info(&bytes).unwrap().answer;
    assert_eq!((answer.online, answer.max), (Some(412), Some(600)));
}

#[test]
fn silence_is_asked_twice_and_then_a_timeout() {
    let (sender, receiver) = std::sync::mpsc::channel();
    let server = udp_server(move |_| {
        sender.send(()).unwrap();
        Vec::new()
    });
    let error = asked(QueryProtocol::A2s, server.address).unwrap_err();
    assert!(matches!(error, QueryError::Timeout));
    assert_eq!(receiver.try_iter().count(), 2);
}

#[test]
fn a_question_that_got_lost_is_repeated() {
    let seen = Cell::new(0);
    let server = udp_server(move |request| {
        seen.set(seen.get() + 1);
        if seen.get() == 1 {
            Vec::new()
        } else {
            answers(request, 2, 0, TWO)
        }
    });
    assert!(asked(QueryProtocol::A2s, server.address).is_ok());
}

proptest! {
    #[test]
    fn no_bytes_make_the_readers_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), kind in prop::sample::select(vec![&b"I"[..], b"m", b"D", b"", b"\xfe\xff\xff\xff"])) {
        let bytes = [kind, &bytes].concat();
        let _ = info(&bytes);
        let _ = players(&bytes);
        for split in [Split::Source, Split::SourceWithoutSize, Split::GoldSrc] {
            let mut parts = Parts::default();
            let _ = parts.add(&bytes, split);
        }
    }

    #[test]
    fn a_cut_answer_is_refused_not_guessed(cut in 1..CSS.len() - 5) {
        prop_assert!(info(&CSS[4..4 + cut]).is_err());
    }
}
