//! What Minecraft Java's server list ping says, besides numbers: descriptions and ids. The ping itself is the crate's, see
//! `boxed`.
//!
//! Servers list at most twelve players, and plugins put any text there: the list is complete only where it is as long as
//! the count. A status without numbers of players (servers can hide them) is none to the crate.

use std::sync::Arc;

use serde_json::Value;

use super::wire::{some, text};

/// Depth of nested text components that is followed.
const MOST_DEPTH: usize = 16;

/// A UUID as the game writes it; not the one of nobody, which stands for players who do not want to be listed.
pub(super) fn uuid(id: &str) -> Option<Arc<str>> {
    let digits = id.bytes().filter(u8::is_ascii_hexdigit).count();
    let real = id.len() == 36 && digits == 32 && id.bytes().any(|byte| !matches!(byte, b'0' | b'-'));
    real.then(|| id.to_ascii_lowercase().into())
}

/// The plain text of a text component in JSON: a string, or an object with `text` and more components in `extra`. Servers
/// of before 1.7 send plain text, which is taken as it is.
pub(super) fn description(json: &str) -> Option<Arc<str>> {
    match serde_json::from_str(json) {
        Ok(value @ (Value::String(_) | Value::Array(_) | Value::Object(_))) => plain(&value),
        _ => some(text(json.trim().as_bytes())),
    }
}

fn plain(value: &Value) -> Option<Arc<str>> {
    let mut plain = String::new();
    append(value, MOST_DEPTH, &mut plain);
    some(text(plain.trim().as_bytes()))
}

fn append(value: &Value, depth: usize, plain: &mut String) {
    if depth == 0 {
        return;
    }
    match value {
        Value::String(part) => plain.push_str(part),
        Value::Array(parts) => parts.iter().for_each(|part| append(part, depth - 1, plain)),
        Value::Object(_) => {
            append(&value["text"], depth - 1, plain);
            append(&value["extra"], depth - 1, plain);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Write, net::TcpStream};

    use proptest::prelude::*;

    use super::{
        super::{
            super::event::PlayerRef,
            FailureKind, Listed, QueryError,
            testing::{asked, read, tcp_server, write},
        },
        *,
    };
    use crate::config::QueryProtocol;

    /// Example of the protocol wiki, with a second component in the description.
    const STATUS: &str = r#"{"version":{"name":"1.21.5","protocol":770},"players":{"max":100,"online":1,"sample":
        [{"name":"thinkofdeath","id":"4566e69f-c907-48ee-8d71-d7ba5aa00d20"}]},"description":{"text":"Hello, ","extra":
        [{"text":"world!","color":"red"}]},"favicon":"data:image/png;base64,AA==","enforcesSecureChat":false}"#;

    fn var_int(mut value: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while value > 0x7f {
            bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        bytes.push(value as u8);
        bytes
    }

    fn packet(json: &str) -> Vec<u8> {
        let body = [vec![0], var_int(json.len()), json.as_bytes().to_vec()].concat();
        [var_int(body.len()), body].concat()
    }

    /// Serves one status as the game does; true when the client went on to ping.
    fn serve(stream: &mut TcpStream, json: &str) -> bool {
        let length = read(stream, 1).unwrap()[0];
        let handshake = read(stream, length.into()).unwrap();
        assert_eq!(handshake[..6], [0, 0xff, 0xff, 0xff, 0xff, 0x0f]);
        assert_eq!(&handshake[7..16], b"127.0.0.1", "the server's own address");
        assert_eq!((handshake[6], *handshake.last().unwrap()), (9, 1));
        assert_eq!(read(stream, 2).unwrap(), [1, 0]);
        write(stream, &packet(json));
        read(stream, 10).is_some_and(|ping| ping[..2] == [9, 1])
    }

    #[test]
    fn a_server_that_hangs_up_after_the_ping_is_read() {
        let server = tcp_server(|stream| {
            assert!(serve(stream, STATUS));
            write(stream, &[9, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
        });
        let answer = asked(QueryProtocol::Minecraft, server.address).unwrap();
        assert_eq!(answer.name.as_deref(), Some("Hello, world!"));
        assert_eq!(answer.version.as_deref(), Some("1.21.5"));
        assert_eq!(
            (answer.online, answer.max, answer.bots),
            (Some(1), Some(100), None)
        );
        let player = PlayerRef::identified("4566e69f-c907-48ee-8d71-d7ba5aa00d20").with_name("thinkofdeath");
        assert_eq!(answer.players, Some(Listed::Everybody(vec![player])));
        assert!(!answer.round_trip.is_zero());
    }

    #[test]
    fn a_server_that_keeps_the_connection_open_is_read() {
        let server = tcp_server(|stream| {
            serve(stream, STATUS);
            read(stream, 1);
        });
        let answer = asked(QueryProtocol::Minecraft, server.address).unwrap();
        assert_eq!((answer.online, answer.max), (Some(1), Some(100)));
    }

    #[test]
    fn a_sample_is_not_everybody_and_nobody_has_the_id_of_nobody() {
        let ask = |json: String| {
            let server = tcp_server(move |stream| {
                serve(stream, &json);
            });
            asked(QueryProtocol::Minecraft, server.address)
        };
        let answer = ask(STATUS.replace("\"online\":1", "\"online\":40")).unwrap();
        assert!(matches!(answer.players, Some(Listed::Some(_))));
        let hidden = STATUS.replace(
            "4566e69f-c907-48ee-8d71-d7ba5aa00d20",
            "00000000-0000-0000-0000-000000000000",
        );
        let answer = ask(hidden).unwrap();
        assert_eq!(answer.players.unwrap().players()[0].platform_id, None);
        assert!(ask("{}".to_owned()).is_err());
    }

    #[test]
    fn packets_too_long_and_connections_too_short_are_errors() {
        let server = tcp_server(|stream| {
            read(stream, 1);
            let block = [b'x'; 65_536];
            while stream.write_all(&block).is_ok() {}
        });
        assert!(matches!(
            asked(QueryProtocol::Minecraft, server.address),
            Err(QueryError::TooLarge { .. })
        ));
        for short in [&[0x20, 0x00][..], &[0xff; 12], &[]] {
            let server = tcp_server(|stream| write(stream, short));
            let error = asked(QueryProtocol::Minecraft, server.address).unwrap_err();
            assert!(
                matches!(error.kind(), FailureKind::Malformed | FailureKind::Network),
                "{error}"
            );
        }
    }

    #[test]
    fn descriptions_come_in_three_forms() {
        for (json, expected) in [
            ("\"plain\"", Some("plain")),
            ("[{\"text\":\"a\"},\"b\"]", Some("ab")),
            ("before 1.7", Some("before 1.7")),
            ("{}", None),
        ] {
            assert_eq!(description(json).as_deref(), expected, "{json}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_readers_panic(json in "[\\[\\]{}\":,a-z0-9]{0,80}", any in any::<String>()) {
            for text in [&json, &any] {
                let _ = description(text);
                let _ = uuid(text);
            }
        }
    }
}
