//! Unity's Server Query Protocol, version 1: a challenge, then server information and players.
//!
//! Format: the protocol page of Unity's Game Server Hosting. Servers need not answer for players; then only counts are
//! known. Not covered: rules, teams, metrics, and answers in more than one packet (the protocol's own servers send one).

use std::{net::SocketAddr, sync::Arc};

use super::{
    super::event::PlayerRef,
    Listed, QueryAnswer, QueryError,
    wire::{Deadline, MOST_PLAYERS, Reader, Udp, some, text},
};

/// Version spoken.
const VERSION: u16 = 1;
/// Parts of an answer that are asked for.
#[derive(Clone, Copy)]
enum Chunk {
    Information = 1,
    Players = 4,
}

pub(super) fn ask(address: SocketAddr, deadline: Deadline) -> Result<QueryAnswer, QueryError> {
    let mut udp = Udp::connect(address)?;
    let token = udp.ask(&[&[0; 5]], deadline, |datagram| {
        let mut reader = Reader::new(datagram);
        reader.skip(&[0]).then(|| reader.array::<4>()).transpose()
    })?;
    let mut answer = question(&mut udp, token, Chunk::Information, deadline, information)?;
    answer.round_trip = udp.round_trip();
    // Whether a server answers for players is its choice.
    let deadline = udp.optional(deadline);
    answer.players = question(&mut udp, token, Chunk::Players, deadline, players)
        .ok()
        .and_then(|players| Listed::by_count(players, answer.online));
    Ok(answer)
}

fn question<T>(
    udp: &mut Udp,
    token: [u8; 4],
    chunk: Chunk,
    deadline: Deadline,
    read: impl Fn(Reader<'_>) -> Result<T, QueryError>,
) -> Result<T, QueryError> {
    let mut request = vec![1];
    request.extend_from_slice(&token);
    request.extend_from_slice(&VERSION.to_be_bytes());
    request.push(chunk as u8);
    udp.ask(&[&request], deadline, |datagram| {
        let mut reader = Reader::new(datagram);
        // The token of an answer is the challenge in some servers and a number of its own in others.
        if !reader.skip(&[1]) {
            return Ok(None);
        }
        reader.take(4)?;
        read(packet(reader)?).map(Some)
    })
}

/// The chunk of a packet, from behind the token on.
fn packet(mut reader: Reader<'_>) -> Result<Reader<'_>, QueryError> {
    let _version = reader.u16_be()?;
    let [_current, last] = reader.array()?;
    if last != 0 {
        return Err(QueryError::Malformed(
            "it comes in several packets, which gsmon does not read",
        ));
    }
    let _length = reader.u16_be()?;
    let chunk = reader.u32_be()?;
    let chunk = usize::try_from(chunk).map_err(|_| QueryError::Malformed("a chunk of absurd length"))?;
    reader.take(chunk).map(Reader::new)
}

fn information(mut reader: Reader<'_>) -> Result<QueryAnswer, QueryError> {
    let (online, max) = (reader.u16_be()?, reader.u16_be()?);
    let (name, mode, version, map) = (
        string(&mut reader)?,
        string(&mut reader)?,
        string(&mut reader)?,
        string(&mut reader)?,
    );
    Ok(QueryAnswer {
        name: some(name),
        mode: some(mode),
        version: some(version),
        map: some(map),
        online: Some(online.into()),
        max: Some(max.into()),
        ..QueryAnswer::default()
    })
}

/// Rows of fields that the chunk itself names: `name` is the name, `id` or `playerid` the platform id.
fn players(mut reader: Reader<'_>) -> Result<Vec<PlayerRef>, QueryError> {
    let rows = usize::from(reader.u16_be()?);
    let columns = reader.u8()?;
    let mut fields = Vec::new();
    for _ in 0..columns {
        fields.push((string(&mut reader)?.to_ascii_lowercase(), reader.u8()?));
    }
    let mut players = Vec::new();
    // Rows without fields would take no bytes.
    for _ in 0..if fields.is_empty() {
        0
    } else {
        rows.min(MOST_PLAYERS)
    } {
        let mut player = PlayerRef::default();
        for (name, kind) in &fields {
            let value = match kind {
                0 => Value::Number(reader.u8()?.into()),
                1 => Value::Number(reader.u16_be()?.into()),
                2 => Value::Number(reader.u32_be()?.into()),
                3 => Value::Number(u64::from_be_bytes(reader.array()?)),
                4 => Value::Text(string(&mut reader)?),
                _ => return Err(QueryError::Malformed("a field of unknown type")),
            };
            match name.as_str() {
                "name" => player.name = value.shown(),
                "id" | "playerid" => player.platform_id = value.shown(),
                _ => {}
            }
        }
        players.push(player);
    }
    Ok(players)
}

enum Value {
    Number(u64),
    Text(Arc<str>),
}

impl Value {
    fn shown(self) -> Option<Arc<str>> {
        match self {
            Self::Number(number) => Some(number.to_string().into()),
            Self::Text(text) => some(text),
        }
    }
}

fn string(reader: &mut Reader<'_>) -> Result<Arc<str>, QueryError> {
    let length = reader.u8()?;
    reader.take(length.into()).map(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        super::testing::{asked, udp_server},
        *,
    };
    use crate::config::QueryProtocol;

    /// Examples of the protocol page, whole packets.
    const INFORMATION: &[u8] =
        b"\x01\xc0\x7a\x6c\x3d\x00\x01\x00\x00\x00\x5b\x00\x00\x00\x57\x00\x00\x00\x10\
        \x14UE4 Dedicated Server./Script/ShooterGame.ShooterGame_TeamDeathMatch\x03001\x08Highrise\x1e\x61";
    const PLAYERS: &[u8] = b"\x01\x52\x00\x29\x00\x00\x01\x00\x00\x00\x3e\x00\x00\x00\x3a\x00\x01\x03\
        \x04name\x04\x05score\x02\x08duration\x03\x13Hunters-Computer...\0\0\0\0\0\0\0\0\0\0\0\x51";

    #[test]
    fn published_packets_are_read() {
        let read = |bytes: &'static [u8]| packet(Reader::new(&bytes[5..])).unwrap();
        let answer = information(read(INFORMATION)).unwrap();
        assert_eq!(answer.name.as_deref(), Some("UE4 Dedicated Server"));
        assert_eq!(
            answer.mode.as_deref(),
            Some("/Script/ShooterGame.ShooterGame_TeamDeathMatch")
        );
        assert_eq!(
            (answer.version.as_deref(), answer.map.as_deref()),
            (Some("001"), Some("Highrise"))
        );
        assert_eq!((answer.online, answer.max), (Some(0), Some(16)));
        assert_eq!(
            players(read(PLAYERS)).unwrap(),
            [PlayerRef::named("Hunters-Computer...")]
        );
    }

    fn respond(request: &[u8], with_players: bool) -> Vec<Vec<u8>> {
        match request {
            [0, 0, 0, 0, 0] => vec![b"\x00\x80\x90\x23\x48".to_vec()],
            b"\x01\x80\x90\x23\x48\x00\x01\x01" => {
                let mut one = INFORMATION.to_vec();
                one[16] = 1;
                vec![one]
            }
            b"\x01\x80\x90\x23\x48\x00\x01\x04" if with_players => vec![PLAYERS.to_vec()],
            b"\x01\x80\x90\x23\x48\x00\x01\x04" => Vec::new(),
            _ => panic!("not of the protocol: {request:?}"),
        }
    }

    #[test]
    fn a_server_is_asked_with_its_challenge() {
        let server = udp_server(|request| respond(request, true));
        let answer = asked(QueryProtocol::Sqp, server.address).unwrap();
        let everybody = Listed::Everybody(vec![PlayerRef::named("Hunters-Computer...")]);
        assert_eq!((answer.online, answer.players), (Some(1), Some(everybody)));
        let server = udp_server(|request| respond(request, false));
        let answer = asked(QueryProtocol::Sqp, server.address).unwrap();
        assert_eq!((answer.online, answer.players), (Some(1), None));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_readers_panic(bytes in prop::collection::vec(any::<u8>(), 0..120), fields in prop::collection::vec((0u8..3, 0u8..6), 0..5)) {
            let _ = packet(Reader::new(&bytes));
            let _ = information(Reader::new(&bytes));
            let _ = players(Reader::new(&bytes));
            let mut table = vec![0xff, 0xff, fields.len() as u8];
            for (length, kind) in fields {
                table.push(length);
                table.extend(std::iter::repeat_n(b'x', length.into()));
                table.push(kind);
            }
            table.extend_from_slice(&bytes);
            let _ = players(Reader::new(&table));
        }
    }
}
