//! What the crate loses of answers that ordinary servers give, and that gsmon completes it: the same server is asked by the
//! crate alone, by gsmon's own reader, and as a server is asked of which nothing is known. A test here that fails with a newer
//! crate says that it has got better; docs/architecture.md has the table.

use std::time::Duration;

use super::{
    super::{
        super::event::{PlayerKind, PlayerRef},
        Listed, OwnReason, QueryAnswer, QueryError, Reader,
        testing::{Server, asked, asked_first, udp_server},
        wire::Deadline,
    },
    Ask, Known, Wanted,
    tests::pool,
};
use crate::config::QueryProtocol;

/// What gsmon and the crate make of the same server's answers; a server that is asked for the first time is read by gsmon for
/// this reason, and nothing is lost.
fn both(
    protocol: QueryProtocol,
    reason: OwnReason,
    serve: impl Fn() -> Server,
) -> (QueryAnswer, Result<QueryAnswer, QueryError>) {
    let server = serve();
    let question = Ask {
        wanted: Wanted::Protocol(Known::of(protocol).unwrap()),
        address: server.address,
        netns: None,
    };
    let theirs = pool()
        .ask(&question, Deadline::after(Duration::from_secs(1)))
        .result;
    drop(server);
    let ours = asked(protocol, serve().address).unwrap();
    let first = asked_first(protocol, serve().address, &pool());
    assert_eq!(
        (first.reader, first.lesson),
        (Reader::Gsmon(reason), Some(reason)),
        "{first:?}"
    );
    let first = QueryAnswer {
        round_trip: ours.round_trip,
        ..first.result.unwrap()
    };
    assert_eq!(first, ours);
    (ours, theirs)
}

fn names(answer: &QueryAnswer) -> Vec<&str> {
    let players = answer.players.as_ref().map(Listed::players).unwrap_or_default();
    players
        .iter()
        .filter_map(|player| player.name.as_deref())
        .collect()
}

#[test]
fn a2s_lists_with_a_name_that_is_not_utf_8() {
    let serve = || {
        udp_server(|request| {
            let info = b"\xff\xff\xff\xffI\x11A server\0de_dust\0cstrike\0Source\0\xf0\x00\x02\x10\x00dl\x00\x001.0\0";
            let list = b"\xff\xff\xff\xffD\x02\0Ann\0\0\0\0\0\0\0\0\0\0\xcf\xe5\xf2\xff\0\0\0\0\0\0\0\0\0";
            vec![if request[4] == b'T' {
                info.to_vec()
            } else {
                list.to_vec()
            }]
        })
    };
    let (ours, theirs) = both(QueryProtocol::A2s, OwnReason::Players, serve);
    assert!(matches!(ours.players, Some(Listed::Everybody(ref players)) if players.len() == 2));
    assert_eq!(theirs.unwrap().players, None);
}

#[test]
fn a2s_of_old_goldsrc_which_must_be_known_in_advance() {
    let serve = || {
        udp_server(|request| {
            match request[4] {
            b'T' => vec![b"\xff\xff\xff\xffm127.0.0.1:27015\0Old\0surf\0cstrike\0Counter-Strike\0\x0c\x12\x2fdl\x00\x00\x01\x03".to_vec()],
            _ => Vec::new(),
        }
        })
    };
    let (ours, theirs) = both(QueryProtocol::A2s, OwnReason::Unreadable, serve);
    assert_eq!(
        (ours.online, ours.bots, ours.map.as_deref()),
        (Some(12), Some(3), Some("surf"))
    );
    assert!(theirs.is_err(), "{theirs:?}");
}

#[test]
fn quake_of_which_nobody_is_listed_or_counted() {
    let serve = || {
        udp_server(|request| {
            let status = b"\xff\xff\xff\xffstatusResponse\n\\sv_hostname\\q\\sv_maxclients\\8\\mapname\\q3dm1\n3 48 \"Ann\"\n";
            vec![if request.starts_with(b"\xff\xff\xff\xffgetstatus") {
                status.to_vec()
            } else {
                Vec::new()
            }]
        })
    };
    let (ours, theirs) = both(QueryProtocol::Quake3, OwnReason::Players, serve);
    assert_eq!((ours.online, names(&ours)), (Some(1), vec!["Ann"]));
    assert_eq!(theirs.unwrap().online, Some(0));
}

#[test]
fn gamespy_1_whose_names_are_latin_1() {
    let serve = || {
        udp_server(|_| {
            vec![b"\\hostname\\x\\mapname\\m\\gametype\\g\\gamever\\1\\password\\0\\numplayers\\1\\maxplayers\\8\\player_0\\J\xfcrgen\\frags_0\\1\\ping_0\\5\\final\\\\queryid\\1.1".to_vec()]
        })
    };
    let (ours, theirs) = both(QueryProtocol::Gamespy1, OwnReason::Unreadable, serve);
    assert_eq!((ours.online, ours.max), (Some(1), Some(8)));
    assert!(theirs.is_err(), "{theirs:?}");
}

#[test]
fn gamespy_2_with_a_score_below_zero() {
    let serve = || {
        udp_server(|request| {
            let settings = b"hostname\0x\0mapname\0m\0password\x000\0numplayers\x001\0maxplayers\x0016\0\0\0";
            let players = b"\0\x01player_\0score_\0ping_\0team_\0\0Ann\x00-2\x0052\x001\0";
            let teams = b"\0\x00";
            let body: Vec<u8> = match request[7..] {
                [0xff, 0, 0] => settings.to_vec(),
                [0, 0xff, 0] => players.to_vec(),
                _ => [&settings[..settings.len() - 1], players, teams].concat(),
            };
            vec![[&[0], &request[3..7], &body].concat()]
        })
    };
    let (ours, theirs) = both(QueryProtocol::Gamespy2, OwnReason::Unreadable, serve);
    assert_eq!((ours.online, names(&ours)), (Some(1), vec!["Ann"]));
    assert!(theirs.is_err(), "{theirs:?}");
}

#[test]
fn gamespy_3_of_which_nobody_is_listed() {
    let serve = || {
        udp_server(|request| {
            let id = &request[3..7];
            if request[2] == 9 {
                return vec![[&[9], id, b"0\0"].concat()];
            }
            let body = b"splitnum\0\x80\0hostname\0x\0mapname\0m\0gametype\0g\0gamever\x001\0password\x000\0numplayers\x001\0maxplayers\x0064\0\0\
                \x01player_\0\0Ann\0\0score_\0\x009\0\0";
            vec![[&[0], id, &body[..]].concat()]
        })
    };
    let (ours, theirs) = both(QueryProtocol::Gamespy3, OwnReason::Players, serve);
    assert_eq!((ours.online, names(&ours)), (Some(1), vec!["Ann"]));
    assert_eq!(theirs.unwrap().players, None);
}

#[test]
fn unreal_2_whose_teams_count_as_players() {
    let plain = |text: &str| [&[text.len() as u8 + 1], text.as_bytes(), &[0]].concat();
    let row = move |id: u32, name: &str, ping: u32| {
        [&id.to_le_bytes()[..], &plain(name), &ping.to_le_bytes(), &[0; 8]].concat()
    };
    let serve = || {
        udp_server(move |request| {
            if request[4] == 0 {
                let mut info = vec![0x80, 0, 0, 0, 0, 1, 0, 0, 0, 0];
                info.extend_from_slice(&[0; 8]);
                for text in ["Red server", "DM-Rankin", "xTeamGame"] {
                    info.extend(plain(text));
                }
                info.extend_from_slice(&[2, 0, 0, 0, 16, 0, 0, 0]);
                return vec![info];
            }
            let head = &[0x80, 0, 0, 0, 2][..];
            vec![
                [head, &row(4, "Ann", 52), &row(0, "Red", 0)].concat(),
                [head, &row(9, "Bot", 0)].concat(),
            ]
        })
    };
    let (ours, theirs) = both(QueryProtocol::Unreal2, OwnReason::Players, serve);
    assert_eq!((ours.bots, names(&ours)), (Some(1), vec!["Ann", "Bot"]));
    let kind = |player: &PlayerRef| player.kind.map(|known| known.kind);
    let Some(Listed::Everybody(players)) = &ours.players else {
        panic!("{ours:?}");
    };
    assert_eq!(kind(&players[1]), Some(PlayerKind::Bot));
    let theirs = theirs.unwrap();
    assert_eq!((theirs.bots, names(&theirs)), (None, vec!["Ann"]));
}

#[test]
fn bedrock_in_a_mode_that_the_crate_does_not_know_or_with_a_semicolon_in_its_name() {
    bedrock(
        "MCPE;Server;390;1.14.60;3;10;1;Level;Default;1;19132;19133;",
        "Default",
    );
    bedrock(
        "MCPE;a\\;b;390;1.14.60;3;10;1;Level;Survival;1;19132;19133;",
        "Survival",
    );
}

fn bedrock(text: &'static str, mode: &str) {
    let serve = || {
        udp_server(move |request| {
            let text = text.as_bytes();
            let magic = &request[9..25];
            let length = (text.len() as u16).to_be_bytes();
            vec![[&[0x1c], &request[1..9], &[0; 8], magic, &length, text].concat()]
        })
    };
    let (ours, theirs) = both(QueryProtocol::MinecraftBedrock, OwnReason::Unreadable, serve);
    assert_eq!((ours.online, ours.mode.as_deref()), (Some(3), Some(mode)));
    assert!(theirs.is_err(), "{theirs:?}");
}

#[test]
fn unreal_2_whose_name_is_longer_than_25_characters() {
    let plain = |text: &str| [&[text.len() as u8 + 1], text.as_bytes(), &[0]].concat();
    for (name, read) in [
        ("Twenty-six characters long", "nty-six characters long"),
        (
            "A name of somewhat more characters",
            "#A name of somewhat more characters",
        ),
    ] {
        let serve = || {
            let texts = [name, "DM-Rankin", "xDeathMatch"].map(plain).concat();
            udp_server(move |request| {
                let head = [0x80, 0, 0, 0, request[4], 1, 0, 0, 0, 0];
                match request[4] {
                    0 => vec![[&head[..], &[0; 8], &texts, &[0, 0, 0, 0, 16, 0, 0, 0]].concat()],
                    _ => Vec::new(),
                }
            })
        };
        let (ours, theirs) = both(QueryProtocol::Unreal2, OwnReason::Texts, serve);
        assert_eq!(ours.name.as_deref(), Some(name));
        assert_eq!(theirs.unwrap().name.as_deref(), Some(read));
    }
}

#[test]
fn quake_without_players_whose_settings_are_longer_than_the_crate_reads() {
    let serve = || {
        let rules = "x".repeat(1_100);
        let status = format!(
            "statusResponse\n\\sv_hostname\\q\\sv_maxclients\\8\\mapname\\dm6\\rules\\{rules}\\g_gametype\\4\n"
        );
        let status = [b"\xff\xff\xff\xff", status.as_bytes()].concat();
        udp_server(move |_| vec![status.clone()])
    };
    let (ours, theirs) = both(QueryProtocol::Quake3, OwnReason::Unreadable, serve);
    assert_eq!((ours.online, ours.mode.as_deref()), (Some(0), Some("4")));
    assert!(theirs.is_err(), "{theirs:?}");
}

#[test]
fn gamespy_1_whose_parts_come_out_of_order() {
    let serve = || {
        udp_server(|_| {
            vec![
                b"\\hostname\\x\\mapname\\m\\gametype\\g\\gamever\\1\\password\\0\\numplayers\\1\\maxplayers\\8\\final\\\\queryid\\1.2".to_vec(),
                b"\\player_0\\Ann\\frags_0\\1\\ping_0\\5\\queryid\\1.1".to_vec(),
            ]
        })
    };
    let (ours, theirs) = both(QueryProtocol::Gamespy1, OwnReason::Players, serve);
    assert_eq!(names(&ours), ["Ann"]);
    assert_eq!(theirs.unwrap().players, None);
}

#[test]
fn a2s_whose_parts_come_out_of_order() {
    let serve = || {
        udp_server(|request| {
            let info = b"\xff\xff\xff\xffI\x11x\0m\0cstrike\0Source\0\xf1\x00\x02\x10\x00dl\x00\x001.0\0";
            let list = b"\xff\xff\xff\xffD\x02\0Ann\0\0\0\0\0\0\0\0\0\x01Bob\0\0\0\0\0\0\0\0\0";
            let part = |number: u8, bytes: &[u8]| {
                [
                    b"\xfe\xff\xff\xff\x07\0\0\0\x02",
                    &[number][..],
                    b"\xe0\x04",
                    bytes,
                ]
                .concat()
            };
            match request[4] {
                b'T' => vec![info.to_vec()],
                _ => vec![part(1, &list[12..]), part(0, &list[..12])],
            }
        })
    };
    let (ours, theirs) = both(QueryProtocol::A2s, OwnReason::Players, serve);
    assert_eq!(names(&ours), ["Ann", "Bob"]);
    assert_ne!(theirs.unwrap().players, ours.players);
}
