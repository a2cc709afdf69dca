//! Minecraft Java's query (`enable-query`), the "full stat": everybody by name.
//!
//! Format: the protocol wiki's "Query" page. The handshake is GameSpy 3's; the rest is Minecraft's own. Texts are
//! Latin-1 on old servers, so anything but ASCII may show replaced.

use std::{collections::HashMap, net::SocketAddr};

use super::{
    super::event::PlayerRef,
    Listed, QueryAnswer, QueryError,
    gamespy3::Session,
    wire::{Deadline, MOST_PLAYERS, Reader, Udp, number, some, text},
};

pub(super) fn ask(address: SocketAddr, deadline: Deadline) -> Result<QueryAnswer, QueryError> {
    let mut udp = Udp::connect(address)?;
    let session = Session::begin(&mut udp, deadline)?;
    // Four more bytes of any value ask for the full form.
    let mut answer = udp.ask(&[&session.question(&[0; 4])], deadline, |datagram| {
        session.answer(datagram).map(stat).transpose()
    })?;
    answer.round_trip = udp.round_trip();
    Ok(answer)
}

/// Reads a full stat from its padding on.
fn stat(mut reader: Reader<'_>) -> Result<QueryAnswer, QueryError> {
    // "splitnum", 0, 128, 0.
    reader.take(11)?;
    let mut fields = HashMap::new();
    loop {
        let name = reader.until(0)?;
        if name.is_empty() {
            break;
        }
        fields.insert(name, reader.until(0)?);
    }
    // 1, "player_", 0, 0.
    reader.take(10)?;
    let mut players = Vec::new();
    while players.len() < MOST_PLAYERS {
        let name = reader.text()?;
        if name.is_empty() {
            break;
        }
        players.push(PlayerRef {
            name: Some(name),
            ..PlayerRef::default()
        });
    }
    let field = |name: &str| fields.get(name.as_bytes()).copied();
    let shown = |name: &str| field(name).and_then(|value| some(text(value)));
    let online = field("numplayers").and_then(number);
    Ok(QueryAnswer {
        name: shown("hostname"),
        version: shown("version"),
        map: shown("map"),
        mode: shown("gametype"),
        players: Listed::by_count(players, online),
        online,
        max: field("maxplayers").and_then(number),
        ..QueryAnswer::default()
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        super::testing::{asked, udp_server},
        *,
    };
    use crate::config::QueryProtocol;

    /// Example of the protocol wiki, from the padding on.
    const STAT: &[u8] = b"splitnum\0\x80\0hostname\0A Minecraft Server\0gametype\0SMP\0game_id\0MINECRAFT\0version\0Beta 1.9 Prerelease 4\0\
        plugins\0\0map\0world\0numplayers\x002\0maxplayers\x0020\0hostport\x0025565\0hostip\x00127.0.0.1\0\0\x01player_\0\0barneygale\0Vivalahelvig\0\0";

    #[test]
    fn the_published_exchange_works() {
        let server = udp_server(|request| {
            let id = &request[3..7];
            assert!(
                id.iter().all(|byte| byte & 0xf0 == 0),
                "the game clears these bits"
            );
            match request[2] {
                // The challenge of the published example.
                9 => vec![[&[9], id, b"9513307\0"].concat()],
                _ => {
                    assert_eq!(request[7..], [0x00, 0x91, 0x29, 0x5b, 0, 0, 0, 0]);
                    vec![[&[0], id, STAT].concat()]
                }
            }
        });
        let answer = asked(QueryProtocol::MinecraftQuery, server.address).unwrap();
        assert_eq!(answer.name.as_deref(), Some("A Minecraft Server"));
        assert_eq!(answer.version.as_deref(), Some("Beta 1.9 Prerelease 4"));
        assert_eq!(
            (answer.map.as_deref(), answer.mode.as_deref()),
            (Some("world"), Some("SMP"))
        );
        assert_eq!((answer.online, answer.max), (Some(2), Some(20)));
        let names = vec![PlayerRef::named("barneygale"), PlayerRef::named("Vivalahelvig")];
        assert_eq!(answer.players, Some(Listed::Everybody(names)));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), cut in 0..STAT.len()) {
            let _ = stat(Reader::new(&bytes));
            let _ = stat(Reader::new(&STAT[..cut]));
        }
    }
}
