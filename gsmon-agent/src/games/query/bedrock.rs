//! Minecraft Bedrock: RakNet's unconnected ping and the text in its answer.
//!
//! Format: the "Raknet Protocol" page of the protocol wiki. No list of players exists.
//!
//! Asked through gamedig first (`super::reader`). What that lacks: a mode that is none of five, or a semicolon in the name,
//! costs it the whole answer.

use super::{
    QueryAnswer, QueryError,
    wire::{self, Deadline, Reader, Udp, some, text},
};

/// Every RakNet message outside a connection carries it.
const MAGIC: [u8; 16] = [
    0x00, 0xff, 0xff, 0x00, 0xfe, 0xfe, 0xfe, 0xfe, 0xfd, 0xfd, 0xfd, 0xfd, 0x12, 0x34, 0x56, 0x78,
];
/// The time that gamedig says it is.
const GAMEDIGS: [u8; 8] = [0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88];

pub(super) fn ask(udp: &mut Udp, deadline: Deadline) -> Result<QueryAnswer, QueryError> {
    let time = udp.token(GAMEDIGS);
    let mut ping = vec![0x01];
    ping.extend_from_slice(&time);
    ping.extend_from_slice(&MAGIC);
    ping.extend_from_slice(&[0; 8]);
    let mut answer = udp.ask(&[&ping], deadline, |datagram| pong(datagram, time).transpose())?;
    answer.round_trip = udp.round_trip();
    Ok(answer)
}

/// Reads a pong to the ping of that time; `None` for anything else.
fn pong(datagram: &[u8], time: [u8; 8]) -> Option<Result<QueryAnswer, QueryError>> {
    let mut reader = Reader::new(datagram);
    (reader.skip(&[0x1c]) && reader.skip(&time)).then(|| identity(reader))
}

/// Reads the rest of a pong: the server's number, the magic, the text.
fn identity(mut reader: Reader<'_>) -> Result<QueryAnswer, QueryError> {
    reader.take(8)?;
    if reader.array()? != MAGIC {
        return Err(QueryError::Malformed("not a RakNet pong"));
    }
    let length = usize::from(reader.u16_be()?);
    let fields = fields(reader.take(length)?);
    let field = |index: usize| fields.get(index).map(Vec::as_slice).unwrap_or_default();
    // Edition, name, protocol, version, online, limit, number, level, mode.
    let online = wire::number(field(4)).ok_or(QueryError::Malformed("no number of players"))?;
    Ok(QueryAnswer {
        name: some(text(field(1))),
        version: some(text(field(3))),
        map: some(text(field(7))),
        mode: some(text(field(8))),
        online: Some(online),
        max: wire::number(field(5)),
        ..QueryAnswer::default()
    })
}

/// Splits at semicolons that have no backslash in front.
fn fields(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut fields = vec![Vec::new()];
    let mut bytes = bytes.iter().copied();
    while let Some(byte) = bytes.next() {
        let byte = match byte {
            b';' if fields.len() < 32 => {
                fields.push(Vec::new());
                continue;
            }
            b'\\' => match bytes.next() {
                Some(escaped) => escaped,
                None => break,
            },
            byte => byte,
        };
        if let Some(field) = fields.last_mut() {
            field.push(byte);
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        super::testing::{asked, udp_server},
        *,
    };
    use crate::config::QueryProtocol;

    /// Example of the protocol wiki.
    const TEXT: &[u8] =
        b"MCPE;Dedicated Server;390;1.14.60;3;10;13253860892328930865;Bedrock level;Survival;1;19132;19133;";

    fn respond(request: &[u8], text: &[u8]) -> Vec<Vec<u8>> {
        assert_eq!((request[0], request.len()), (1, 33));
        assert_eq!(request[9..25], MAGIC);
        let mut pong = vec![0x1c];
        pong.extend_from_slice(&request[1..9]);
        pong.extend_from_slice(&13_253_860_892_328_930_865u64.to_be_bytes());
        pong.extend_from_slice(&MAGIC);
        pong.extend_from_slice(&(text.len() as u16).to_be_bytes());
        pong.extend_from_slice(text);
        vec![vec![0x1c; 40], pong]
    }

    #[test]
    fn the_published_text_is_read_and_a_strange_pong_is_passed_over() {
        let server = udp_server(|request| respond(request, TEXT));
        let answer = asked(QueryProtocol::MinecraftBedrock, server.address).unwrap();
        assert_eq!(answer.name.as_deref(), Some("Dedicated Server"));
        assert_eq!(answer.version.as_deref(), Some("1.14.60"));
        assert_eq!(answer.map.as_deref(), Some("Bedrock level"));
        assert_eq!(answer.mode.as_deref(), Some("Survival"));
        assert_eq!(
            (answer.online, answer.max, answer.players),
            (Some(3), Some(10), None)
        );
    }

    #[test]
    fn a_name_may_contain_semicolons_and_old_servers_say_less() {
        let server = udp_server(|request| respond(request, b"MCPE;a\\;b\\\\;390;1.0;0;5"));
        let answer = asked(QueryProtocol::MinecraftBedrock, server.address).unwrap();
        assert_eq!(answer.name.as_deref(), Some("a;b\\"));
        assert_eq!((answer.online, answer.max, answer.map), (Some(0), Some(5), None));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = identity(Reader::new(&bytes));
            let _ = fields(&bytes);
        }
    }
}
