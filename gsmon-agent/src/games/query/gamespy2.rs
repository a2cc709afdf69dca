//! GameSpy 2: settings, then players as a table.
//!
//! Format: GameSpy's second query protocol (`fe fd 00`, four bytes that come back, three bytes that ask for settings,
//! players and teams). Not covered: teams.
//!
//! Asked through gamedig first (`super::reader`), which asks for everything at once. What that lacks: a score below zero,
//! no password or no teams cost it the whole answer.

use std::collections::HashMap;

use super::{
    super::event::PlayerRef,
    Listed, QueryAnswer, QueryError,
    wire::{Deadline, Reader, Udp, number, some, text},
};

/// What gamedig lets servers send back.
const GAMEDIGS: [u8; 4] = [0, 0, 0, 1];
/// Columns of a table, at most; known titles have about ten.
const MOST_COLUMNS: usize = 64;

pub(super) fn ask(udp: &mut Udp, deadline: Deadline) -> Result<QueryAnswer, QueryError> {
    let mut answer = question(udp, [0xff, 0x00, 0x00], deadline, settings)?;
    answer.round_trip = udp.round_trip();
    let deadline = udp.optional(deadline);
    let players = question(udp, [0x00, 0xff, 0x00], deadline, players).ok();
    Ok(joined(answer, players))
}

/// Reads the one datagram that answers gamedig's question: settings, and players right behind them.
pub(super) fn heard(udp: &mut Udp, deadline: Deadline) -> Result<QueryAnswer, QueryError> {
    question(udp, [0xff; 3], deadline, |reader| {
        let answer = settings(reader)?;
        let players = players(reader).ok();
        Ok(joined(answer, players))
    })
}

fn joined(mut answer: QueryAnswer, players: Option<Vec<PlayerRef>>) -> QueryAnswer {
    if answer.online.is_none() {
        answer.online = players
            .as_ref()
            .and_then(|players| u32::try_from(players.len()).ok());
    }
    answer.players = players.and_then(|players| Listed::by_count(players, answer.online));
    answer
}

fn question<T>(
    udp: &mut Udp,
    parts: [u8; 3],
    deadline: Deadline,
    read: impl Fn(&mut Reader<'_>) -> Result<T, QueryError>,
) -> Result<T, QueryError> {
    let id = udp.token(GAMEDIGS);
    let request = [&[0xfe, 0xfd, 0x00][..], &id, &parts].concat();
    udp.ask(&[&request], deadline, |datagram| {
        let mut reader = Reader::new(datagram);
        (reader.skip(&[0]) && reader.skip(&id))
            .then(|| read(&mut reader))
            .transpose()
    })
}

fn settings(reader: &mut Reader<'_>) -> Result<QueryAnswer, QueryError> {
    let mut fields = HashMap::new();
    while !reader.is_empty() {
        let name = reader.until(0)?;
        if name.is_empty() {
            break;
        }
        fields.insert(name, reader.until(0)?);
    }
    if fields.is_empty() {
        return Err(QueryError::Malformed("no settings"));
    }
    let field = |name: &str| fields.get(name.as_bytes()).copied();
    let shown = |name: &str| field(name).and_then(|value| some(text(value)));
    Ok(QueryAnswer {
        name: shown("hostname"),
        version: shown("gamever"),
        map: shown("mapname"),
        mode: shown("gametype"),
        online: field("numplayers").and_then(number),
        max: field("maxplayers").and_then(number),
        ..QueryAnswer::default()
    })
}

fn players(reader: &mut Reader<'_>) -> Result<Vec<PlayerRef>, QueryError> {
    reader.u8()?;
    let rows = reader.u8()?;
    let mut columns = Vec::new();
    loop {
        if columns.len() > MOST_COLUMNS {
            return Err(QueryError::Malformed("a table of too many columns"));
        }
        match reader.until(0) {
            Ok(b"") => break,
            Ok(column) => columns.push(column),
            // Nobody is there: some servers leave the table out.
            Err(_) if rows == 0 => return Ok(Vec::new()),
            Err(error) => return Err(error),
        }
    }
    let mut players = Vec::new();
    for _ in 0..rows {
        let mut player = PlayerRef::default();
        for column in &columns {
            let value = reader.text()?;
            if matches!(*column, b"player_" | b"player") {
                player.name = some(value);
            }
        }
        players.push(player);
    }
    Ok(players)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        super::testing::{asked, udp_server},
        *,
    };
    use crate::config::QueryProtocol;

    fn respond(request: &[u8]) -> Vec<Vec<u8>> {
        assert_eq!((&request[..3], request.len()), (&[0xfe, 0xfd, 0x00][..], 10));
        let body: &[u8] = match request[7..] {
            [0xff, 0, 0] => b"hostname\0A server\0gamever\x001.2\0mapname\0berlin\0gametype\0ctf\0numplayers\x002\0maxplayers\x0016\0\0\0",
            _ => b"\0\x02player_\0score_\0ping_\0team_\0\0Ann\x003\x0052\x001\0Bob\x00-1\x000\x002\0",
        };
        vec![vec![0; 30], [&[0], &request[3..7], body].concat()]
    }

    #[test]
    fn settings_and_table_are_read() {
        let server = udp_server(respond);
        let answer = asked(QueryProtocol::Gamespy2, server.address).unwrap();
        assert_eq!(
            (answer.name.as_deref(), answer.map.as_deref()),
            (Some("A server"), Some("berlin"))
        );
        assert_eq!(
            (answer.online, answer.max, answer.mode.as_deref()),
            (Some(2), Some(16), Some("ctf"))
        );
        let names = vec![PlayerRef::named("Ann"), PlayerRef::named("Bob")];
        assert_eq!(answer.players, Some(Listed::Everybody(names)));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_readers_panic(bytes in prop::collection::vec(0u8..4, 0..300), any in prop::collection::vec(any::<u8>(), 0..100)) {
            for bytes in [&bytes, &any] {
                let mut reader = Reader::new(bytes);
                let _ = settings(&mut reader);
                let _ = players(&mut reader);
                let _ = players(&mut Reader::new(bytes));
            }
        }
    }
}
