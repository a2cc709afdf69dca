//! Minecraft Java's server list ping, as every version since 1.7 answers it.
//!
//! Format: the protocol wiki's "Server List Ping" page. Servers list at most twelve players, and plugins put any text
//! there: the list is complete only where it is as long as the count. Not covered: the ping of versions before 1.7.

use std::{net::SocketAddr, sync::Arc, time::Instant};

use serde_json::Value;

use super::{
    super::event::PlayerRef,
    Listed, QueryAnswer, QueryError,
    wire::{Deadline, Reader, Tcp, some, text},
};

/// A status with icon and mod list is some tens of KiB.
const MOST_BYTES: usize = 1 << 20;
/// Depth of nested text components that is followed.
const MOST_DEPTH: usize = 16;

pub(super) fn ask(address: SocketAddr, deadline: Deadline) -> Result<QueryAnswer, QueryError> {
    let mut tcp = Tcp::connect(address, deadline, MOST_BYTES + 16)?;
    let host = address.ip().to_string();
    // Handshake: packet 0, protocol -1 (only asking), address, port, next state 1 (status); then the empty request.
    let mut handshake = vec![0x00, 0xff, 0xff, 0xff, 0xff, 0x0f];
    handshake.extend(u8::try_from(host.len()).ok());
    handshake.extend_from_slice(host.as_bytes());
    handshake.extend_from_slice(&address.port().to_be_bytes());
    handshake.push(0x01);
    let mut packets: Vec<u8> = u8::try_from(handshake.len()).into_iter().collect();
    packets.extend_from_slice(&handshake);
    packets.extend_from_slice(&[0x01, 0x00]);
    let start = Instant::now();
    tcp.write(&packets)?;
    let mut byte = [0];
    tcp.read(&mut byte)?;
    let round_trip = start.elapsed();
    let mut length = VarInt::default();
    while !length.add(byte[0])? {
        tcp.read(&mut byte)?;
    }
    let length =
        usize::try_from(length.value).map_err(|_| QueryError::Malformed("a packet of negative length"))?;
    if length > MOST_BYTES {
        return Err(QueryError::TooLarge { limit: MOST_BYTES });
    }
    let mut packet = vec![0; length];
    tcp.read(&mut packet)?;
    let mut answer = status(&packet)?;
    answer.round_trip = round_trip;
    Ok(answer)
}

/// A number of seven bits per byte, low ones first.
#[derive(Default)]
struct VarInt {
    value: i32,
    shift: u32,
}

impl VarInt {
    /// Takes a byte; true when it was the last.
    fn add(&mut self, byte: u8) -> Result<bool, QueryError> {
        if self.shift >= 35 {
            return Err(QueryError::Malformed("a number without end"));
        }
        self.value |= i32::from(byte & 0x7f).wrapping_shl(self.shift);
        self.shift += 7;
        Ok(byte & 0x80 == 0)
    }

    fn read(reader: &mut Reader<'_>) -> Result<i32, QueryError> {
        let mut number = Self::default();
        while !number.add(reader.u8()?)? {}
        Ok(number.value)
    }
}

/// Reads a status packet.
fn status(packet: &[u8]) -> Result<QueryAnswer, QueryError> {
    let mut reader = Reader::new(packet);
    if VarInt::read(&mut reader)? != 0 {
        return Err(QueryError::Malformed("not a status"));
    }
    let length = usize::try_from(VarInt::read(&mut reader)?)
        .map_err(|_| QueryError::Malformed("a text of negative length"))?;
    let json = super::http::json(reader.take(length)?)?;
    let counts = &json["players"];
    let online = count(&counts["online"]);
    if online.is_none() && json["version"].is_null() {
        return Err(QueryError::Malformed("a status without players and version"));
    }
    let sample = counts["sample"].as_array().map(Vec::as_slice).unwrap_or_default();
    let players = sample.iter().filter_map(|entry| {
        let name = entry["name"].as_str()?;
        Some(PlayerRef {
            platform_id: entry["id"].as_str().and_then(uuid),
            name: some(text(name.as_bytes())),
            ..PlayerRef::default()
        })
    });
    Ok(QueryAnswer {
        name: description(&json["description"]),
        version: json["version"]["name"]
            .as_str()
            .and_then(|name| some(text(name.as_bytes()))),
        players: Listed::by_count(players.collect(), online),
        online,
        max: count(&counts["max"]),
        ..QueryAnswer::default()
    })
}

fn count(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|count| count.try_into().ok())
}

/// A UUID as the game writes it; not the one of nobody, which stands for players who do not want to be listed.
fn uuid(id: &str) -> Option<Arc<str>> {
    let digits = id.bytes().filter(u8::is_ascii_hexdigit).count();
    let real = id.len() == 36 && digits == 32 && id.bytes().any(|byte| !matches!(byte, b'0' | b'-'));
    real.then(|| id.to_ascii_lowercase().into())
}

/// A text component: a string, or an object with `text` and more components in `extra`.
fn description(value: &Value) -> Option<Arc<str>> {
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
    use proptest::prelude::*;

    use super::{
        super::testing::{asked, read, tcp_server, write},
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

    #[test]
    fn a_server_that_keeps_the_connection_open_is_read() {
        let server = tcp_server(|stream| {
            let length = read(stream, 1).unwrap()[0];
            let handshake = read(stream, length.into()).unwrap();
            assert_eq!(handshake[..6], [0, 0xff, 0xff, 0xff, 0xff, 0x0f]);
            assert_eq!(&handshake[7..16], b"127.0.0.1");
            assert_eq!((handshake[6], *handshake.last().unwrap()), (9, 1));
            assert_eq!(read(stream, 2).unwrap(), [1, 0]);
            write(stream, &packet(STATUS));
            // Waits for a ping, as the game does.
            read(stream, 1);
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
    }

    #[test]
    fn a_sample_is_not_everybody_and_nobody_has_the_id_of_nobody() {
        let fewer = STATUS.replace("\"online\":1", "\"online\":40");
        let answer = status(&packet(&fewer)[2..]).unwrap();
        assert!(matches!(answer.players, Some(Listed::Some(_))));
        let hidden = STATUS.replace(
            "4566e69f-c907-48ee-8d71-d7ba5aa00d20",
            "00000000-0000-0000-0000-000000000000",
        );
        let answer = status(&packet(&hidden)[2..]).unwrap();
        assert_eq!(answer.players.unwrap().players()[0].platform_id, None);
        assert!(status(&packet("{}")[1..]).is_err());
    }

    #[test]
    fn packets_too_long_and_connections_too_short_are_errors() {
        let server = tcp_server(|stream| write(stream, &[0xff, 0xff, 0xff, 0x7f]));
        assert!(matches!(
            asked(QueryProtocol::Minecraft, server.address),
            Err(QueryError::TooLarge { .. })
        ));
        let server = tcp_server(|stream| write(stream, &[0x20, 0x00]));
        let error = asked(QueryProtocol::Minecraft, server.address).unwrap_err();
        assert!(
            matches!(error, QueryError::Malformed(_) | QueryError::Network(_)),
            "{error}"
        );
        let server = tcp_server(|stream| write(stream, &[0xff; 12]));
        let error = asked(QueryProtocol::Minecraft, server.address).unwrap_err();
        assert!(
            matches!(error, QueryError::Malformed(_) | QueryError::Network(_)),
            "{error}"
        );
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = status(&bytes);
            let _ = status(&[&[0][..], &bytes].concat());
        }

        #[test]
        fn no_json_makes_the_reader_panic(json in "[\\[\\]{}\":,a-z0-9]{0,80}") {
            let _ = status(&packet(&json)[1..]);
        }
    }
}
