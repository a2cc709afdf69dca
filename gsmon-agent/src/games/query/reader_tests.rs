//! Tests of who reads: what the crate reads whole in every protocol, and what becomes of everything else. `boxed/left_out.rs`
//! has the answers that the crate loses.

use proptest::prelude::*;

use super::{
    super::{
        boxed::tests::{css, deadly, pool},
        testing::{Server, asked, asked_first, udp_server},
    },
    *,
};
use crate::config::QueryProtocol;

/// The crate reads it, and it is all that gsmon would have read.
fn whole(protocol: QueryProtocol, serve: impl Fn() -> Server) -> QueryAnswer {
    let asked_first = asked_first(protocol, serve().address, &pool());
    assert_eq!(
        (asked_first.reader, asked_first.lesson),
        (Reader::Gamedig, None),
        "{asked_first:?}"
    );
    let theirs = asked_first.result.unwrap();
    assert!(!theirs.round_trip.is_zero());
    let ours = QueryAnswer {
        round_trip: theirs.round_trip,
        ..asked(protocol, serve().address).unwrap()
    };
    assert_eq!(theirs.facts(None), ours.facts(None));
    assert_eq!(theirs, ours);
    theirs
}

fn names(answer: &QueryAnswer) -> Vec<&str> {
    let players = answer.players.as_ref().map(Listed::players).unwrap_or_default();
    players
        .iter()
        .filter_map(|player| player.name.as_deref())
        .collect()
}

#[test]
fn gamedig_reads_a2s_with_its_challenge() {
    let answer = whole(QueryProtocol::A2s, || udp_server(css(&[b"Ann", b"Bob"])));
    assert_eq!(
        (answer.online, answer.bots, answer.max),
        (Some(2), Some(0), Some(16))
    );
    assert_eq!(names(&answer), ["Ann", "Bob"]);
    assert_eq!(
        (answer.map.as_deref(), answer.version.as_deref()),
        (Some("de_dust"), Some("1.0"))
    );
}

#[test]
fn gamedig_reads_a2s_in_parts_that_come_in_order() {
    let serve = || {
        let mut whole = css(&[b"Ann", b"Bob"]);
        udp_server(move |request| match request {
            [.., 1, 2, 3, 4] => {
                let list = whole(request).concat();
                let (first, second) = list.split_at(11);
                let part = |number: u8, bytes: &[u8]| {
                    [
                        b"\xfe\xff\xff\xff\x07\0\0\0\x02",
                        &[number][..],
                        b"\xe0\x04",
                        bytes,
                    ]
                    .concat()
                };
                vec![part(0, first), part(1, second)]
            }
            other => whole(other),
        })
    };
    assert_eq!(names(&whole(QueryProtocol::A2s, serve)), ["Ann", "Bob"]);
}

#[test]
fn gamedig_reads_what_rust_states_in_tags() {
    let serve = || {
        udp_server(|request| {
            let mut info =
                b"\xff\xff\xff\xffI\x11Rusty\0Procedural Map\0rust\0Rust\0\x4a\xda\x00\x00\x00dl\x00\x012592\0\xb1"
                    .to_vec();
            info.extend_from_slice(&28_015u16.to_le_bytes());
            info.extend_from_slice(&90_071_992_547_409_920u64.to_le_bytes());
            info.extend_from_slice(b"mp600,cp0,ptrak,gmrust\0");
            info.extend_from_slice(&252_490u64.to_le_bytes());
            match request.get(4) {
                Some(b'T') => vec![info],
                _ => vec![b"\xff\xff\xff\xffD\0".to_vec()],
            }
        })
    };
    let answer = whole(QueryProtocol::A2s, serve);
    assert_eq!((answer.online, answer.max), (Some(0), Some(600)));
}

#[test]
fn gamedig_reads_bedrock() {
    let serve = || {
        udp_server(|request| {
            let text = b"MCPE;Server;390;1.14.60;3;10;1;Level;Survival;1;19132;19133;";
            let length = (text.len() as u16).to_be_bytes();
            vec![[&[0x1c], &request[1..9], &[0; 8], &request[9..25], &length, text].concat()]
        })
    };
    let answer = whole(QueryProtocol::MinecraftBedrock, serve);
    assert_eq!(
        (answer.online, answer.mode.as_deref()),
        (Some(3), Some("Survival"))
    );
}

#[test]
fn gamedig_reads_quakes_without_players() {
    let settings = "\\hostname\\q\\maxclients\\8\\mapname\\dm6\\version\\2\\gametype\\ctf\n";
    for (protocol, head) in [
        (QueryProtocol::Quake1, "\u{ff}n"),
        (QueryProtocol::Quake2, "print\n"),
        (QueryProtocol::Quake3, "statusResponse\n"),
    ] {
        let head = head.trim_start_matches('\u{ff}');
        let status = [b"\xff\xff\xff\xff", head.as_bytes(), settings.as_bytes()].concat();
        let answer = whole(protocol, || {
            let status = status.clone();
            udp_server(move |_| vec![status.clone()])
        });
        assert_eq!(
            (answer.online, answer.bots, answer.max),
            (Some(0), Some(0), Some(8))
        );
        assert_eq!(answer.players, Some(Listed::Everybody(Vec::new())));
        assert_eq!(
            (answer.map.as_deref(), answer.mode.as_deref()),
            (Some("dm6"), Some("ctf"))
        );
    }
}

#[test]
fn gamedig_reads_gamespy_1_in_parts() {
    let serve = || {
        udp_server(|_| {
            vec![
                b"\\hostname\\x\\mapname\\m\\gametype\\g\\gamever\\1\\password\\0\\numplayers\\2\\maxplayers\\8\\queryid\\1.1".to_vec(),
                b"\\player_0\\Ann\\frags_0\\1\\ping_0\\5\\player_1\\Bob\\frags_1\\-2\\ping_1\\ 7\\final\\\\queryid\\1.2".to_vec(),
            ]
        })
    };
    let answer = whole(QueryProtocol::Gamespy1, serve);
    assert_eq!((answer.online, names(&answer)), (Some(2), vec!["Ann", "Bob"]));
}

#[test]
fn gamedig_reads_gamespy_2_with_teams() {
    let serve = || {
        udp_server(|request| {
            let settings = b"hostname\0x\0gamever\x001\0mapname\0m\0gametype\0ctf\0password\x000\0numplayers\x001\0maxplayers\x0016\0\0";
            let players = b"\0\x01player_\0score_\0ping_\0team_\0\0Ann\x002\x0052\x001\0";
            let teams = b"\0\x01team_t\0score_t\0\0Red\x003\0";
            let body: Vec<u8> = match request[7..] {
                [0xff, 0, 0] => settings.to_vec(),
                [0, 0xff, 0] => players.to_vec(),
                _ => [&settings[..], players, teams].concat(),
            };
            vec![[&[0], &request[3..7], &body].concat()]
        })
    };
    let answer = whole(QueryProtocol::Gamespy2, serve);
    assert_eq!((answer.online, names(&answer)), (Some(1), vec!["Ann"]));
    assert_eq!(
        (answer.version.as_deref(), answer.mode.as_deref()),
        (Some("1"), Some("ctf"))
    );
}

#[test]
fn gamedig_reads_gamespy_3_without_players() {
    let serve = || {
        udp_server(|request| {
            let id = &request[3..7];
            if request[2] == 9 {
                return vec![[&[9], id, b"-1603300\0"].concat()];
            }
            let body = b"splitnum\0\x80\0hostname\0x\0mapname\0m\0gametype\0g\0gamever\x001\0password\x000\0numplayers\x000\0maxplayers\x0064\0\0";
            vec![[&[0], id, &body[..]].concat()]
        })
    };
    let answer = whole(QueryProtocol::Gamespy3, serve);
    assert_eq!((answer.online, answer.max), (Some(0), Some(64)));
    assert_eq!(answer.players, Some(Listed::Everybody(Vec::new())));
}

#[test]
fn gamedig_reads_unreal_2_with_humans_and_bots() {
    let plain = |text: &str| [&[text.len() as u8 + 1], text.as_bytes(), &[0]].concat();
    let row = move |id: u32, name: &str, ping: u32| {
        [&id.to_le_bytes()[..], &plain(name), &ping.to_le_bytes(), &[0; 8]].concat()
    };
    let serve = || {
        udp_server(move |request| {
            if request[4] == 0 {
                let texts = ["Red server", "DM-Rankin", "xDeathMatch"].map(plain).concat();
                let head = [0x80, 0, 0, 0, 0, 1, 0, 0, 0, 0];
                return vec![[&head[..], &[0; 8], &texts, &[2, 0, 0, 0, 16, 0, 0, 0]].concat()];
            }
            let head = &[0x80, 0, 0, 0, 2][..];
            vec![[head, &row(9, "Bot", 0), &row(4, "Ann", 52)].concat()]
        })
    };
    let asked = asked_first(QueryProtocol::Unreal2, serve().address, &pool());
    assert_eq!((asked.reader, asked.lesson), (Reader::Gamedig, None));
    let answer = asked.result.unwrap();
    assert_eq!((answer.online, answer.bots), (Some(2), Some(1)));
    assert_eq!(names(&answer), ["Ann", "Bot"]);
}

#[test]
fn who_is_silent_to_gamedig_only_is_asked_by_gsmon() {
    let server = udp_server(|request| match request {
        b"\xff\xff\xff\xffgetstatus\n" => {
            vec![
                b"\xff\xff\xff\xffstatusResponse\n\\sv_hostname\\q\\sv_maxclients\\8\\mapname\\dm6\n"
                    .to_vec(),
            ]
        }
        _ => Vec::new(),
    });
    let asked = asked_first(QueryProtocol::Quake3, server.address, &pool());
    assert_eq!(asked.result.unwrap().map.as_deref(), Some("dm6"));
    assert_eq!(asked.lesson, Some(OwnReason::Silent));
}

#[test]
fn who_answers_nobody_teaches_nothing() {
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let asked = asked_first(QueryProtocol::A2s, address, &pool());
    assert!(matches!(asked.result, Err(QueryError::Timeout)), "{asked:?}");
    assert_eq!(asked.lesson, None);
    drop(silent);
    let asked = asked_first(QueryProtocol::A2s, address, &pool());
    assert!(matches!(asked.result, Err(QueryError::Refused)), "{asked:?}");
    assert_eq!(asked.lesson, None);
}

#[test]
fn a_worker_that_dies_or_is_not_there_costs_no_answer() {
    let (pool, server) = (pool(), deadly());
    let asked = asked_first(QueryProtocol::Gamespy1, server.address, &pool);
    assert_eq!(asked.result.unwrap().max, Some(1));
    assert_eq!(asked.lesson, Some(OwnReason::Worker));
    assert_eq!(pool.statistics().died, 1);

    let nobody = Pool::of("/nowhere/gsmon".into(), Vec::new());
    let server = udp_server(css(&[b"Ann"]));
    let asked = asked_first(QueryProtocol::A2s, server.address, &nobody);
    assert_eq!(names(&asked.result.unwrap()), ["Ann"]);
    assert_eq!(
        (asked.reader, asked.lesson),
        (Reader::Gsmon(OwnReason::Worker), Some(OwnReason::Worker))
    );
}

#[test]
fn what_gamedig_does_not_know_has_one_reader() {
    let nobody = std::net::UdpSocket::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let asked = asked_first(QueryProtocol::Sqp, nobody, &pool());
    assert_eq!(
        (asked.reader, asked.lesson),
        (Reader::Gsmon(OwnReason::Protocol), None)
    );
}

/// What is judged when the crate has read `theirs` and the server has said `info` and `list` over A2S.
fn judged(theirs: QueryAnswer, online: u8, list: &[u8]) -> Verdict {
    let info = [
        &b"\xff\xff\xff\xffI\x11x\0m\0f\0g\0\xf0\x00"[..],
        &[online, 16, 0],
        b"dl\x00\x001.0\0",
    ]
    .concat();
    let heard = vec![info, [b"\xff\xff\xff\xffD", list].concat()];
    judge(
        Known::A2s,
        Conversation {
            result: Ok(theirs),
            heard,
        },
    )
}

fn read_as(name: &str, online: u32, players: &[&str]) -> QueryAnswer {
    let players = players
        .iter()
        .map(|name| super::super::super::event::PlayerRef::named(name))
        .collect();
    QueryAnswer {
        name: Some(name.into()),
        version: Some("1.0".into()),
        map: Some("m".into()),
        mode: Some("g".into()),
        online: Some(online),
        bots: Some(0),
        max: Some(16),
        players: Listed::by_count(players, Some(online)),
        round_trip: Duration::from_millis(1),
        ..QueryAnswer::default()
    }
}

#[test]
fn an_answer_that_the_server_never_gave_does_not_stand() {
    let list = b"\x01\0Ann\0\0\0\0\0\0\0\0\0";
    let reason = |theirs| match judged(theirs, 1, list) {
        Verdict::Stands(_) => None,
        Verdict::Lacks(reason, otherwise) => {
            assert_eq!(names(&otherwise.unwrap()), ["Ann"]);
            Some(reason)
        }
    };
    assert_eq!(reason(read_as("x", 1, &["Ann"])), None);
    assert_eq!(reason(read_as("y", 1, &["Ann"])), Some(OwnReason::Texts));
    assert_eq!(reason(read_as("x", 1, &["Eve"])), Some(OwnReason::Players));
    assert_eq!(reason(read_as("x", 2, &["Ann", "Eve"])), Some(OwnReason::Players));
    assert_eq!(reason(read_as("x", 1, &[])), Some(OwnReason::Players));
}

#[test]
fn a_list_shorter_than_the_count_does_not_stand_even_where_nothing_else_was_heard() {
    let verdict = judged(read_as("x", 2, &["Ann"]), 2, b"\x01\0Ann\0\0\0\0\0\0\0\0\0");
    assert!(matches!(verdict, Verdict::Lacks(OwnReason::Players, Ok(_))));
}

#[test]
fn a_reading_of_nothing_does_not_stand() {
    let conversation = Conversation {
        result: Ok(read_as("x", 0, &[])),
        heard: Vec::new(),
    };
    assert!(matches!(
        judge(Known::A2s, conversation),
        Verdict::Lacks(OwnReason::Unreadable, Err(_))
    ));
}

const ALL: [Known; 9] = [
    Known::A2s,
    Known::Bedrock,
    Known::Quake1,
    Known::Quake2,
    Known::Quake3,
    Known::Gamespy1,
    Known::Gamespy2,
    Known::Gamespy3,
    Known::Unreal2,
];

proptest! {
    #[test]
    fn nothing_that_was_heard_makes_a_reader_panic_or_wait(datagrams in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..100), 0..70), head in prop::sample::select(vec![&b"\xff\xff\xff\xffI"[..], b"\xff\xff\xff\xffD", b"\xff\xff\xff\xffA", b"\xfe\xff\xff\xff", b"\\", b"\0\0\0\0\x01", b"\x09\0\0\0\x01", b"\x80\0\0\0\0", b""])) {
        let datagrams: Vec<Vec<u8>> = datagrams.iter().map(|datagram| [head, datagram].concat()).collect();
        for known in ALL {
            let _ = heard(known, datagrams.clone());
        }
    }

    #[test]
    fn the_order_of_a_list_does_not_matter_but_who_is_in_it(names in prop::collection::vec("[a-c]{0,2}", 1..8), turn in 0usize..8) {
        let online = names.len() as u32;
        let list = |names: &[String]| {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            read_as("x", online, &names)
        };
        let mut turned = names.clone();
        turned.rotate_left(turn % names.len());
        prop_assert_eq!(lacks(Known::A2s, &list(&turned), &list(&names)), None);
        turned[0].push('d');
        prop_assert_eq!(lacks(Known::A2s, &list(&turned), &list(&names)), Some(OwnReason::Players));
    }
}
