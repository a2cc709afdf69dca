//! Unreal Engine 2 (Unreal Tournament 2003 and 2004, Killing Floor): server information and players.
//!
//! Format: as its public clients agree on. Text begins with a length that only matters for two-byte text; other text ends
//! with a zero byte. A ping of 0 is a bot; rows of number 0 are scores, not players. Lists come in parts without an end
//! mark: they are read until the stated number is there. Not covered: rules and mutators.
//!
//! Asked through gamedig first (`super::reader`). What that lacks: it counts those rows as players and stops before the list
//! is whole, and takes the length for a part of texts of more than 25 characters.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    super::event::{KindEvidence, PlayerKind, PlayerRef},
    Listed, QueryAnswer, QueryError,
    wire::{Deadline, MOST_PLAYERS, Reader, Udp, some, text},
};

pub(super) fn ask(udp: &mut Udp, deadline: Deadline) -> Result<QueryAnswer, QueryError> {
    let mut answer = udp.ask(&[&[0x79, 0, 0, 0, 0]], deadline, |datagram| {
        body(datagram, 0).map(information).transpose()
    })?;
    answer.round_trip = udp.round_trip();
    let online = answer.online.unwrap_or(0);
    let mut players = BTreeMap::new();
    if online > 0 {
        let deadline = udp.optional(deadline);
        // An error here is a list that is not complete.
        let _ = udp.ask(&[&[0x79, 0, 0, 0, 2]], deadline, |datagram| {
            if let Some(reader) = body(datagram, 2) {
                rows(reader, &mut players)?;
            }
            Ok((players.len() >= online as usize).then_some(()))
        });
    }
    let players: Vec<PlayerRef> = players.into_values().collect();
    answer.players = Listed::by_count(players, answer.online);
    if let Some(Listed::Everybody(players)) = &answer.players {
        let bots = players
            .iter()
            .filter(|player| player.kind.is_some_and(|known| known.kind == PlayerKind::Bot));
        answer.bots = u32::try_from(bots.count()).ok();
    }
    Ok(answer)
}

/// The body of an answer of that kind, behind four bytes that vary and the kind.
fn body(datagram: &[u8], kind: u8) -> Option<Reader<'_>> {
    let mut reader = Reader::new(datagram);
    reader.take(4).ok()?;
    reader.skip(&[kind]).then_some(reader)
}

fn information(mut reader: Reader<'_>) -> Result<QueryAnswer, QueryError> {
    reader.u32_le()?;
    string(&mut reader)?;
    reader.u32_le()?;
    reader.u32_le()?;
    let (name, map, mode) = (string(&mut reader)?, string(&mut reader)?, string(&mut reader)?);
    let (online, max) = (reader.u32_le()?, reader.u32_le()?);
    Ok(QueryAnswer {
        name: some(name),
        map: some(map),
        mode: some(mode),
        online: Some(online),
        max: Some(max),
        ..QueryAnswer::default()
    })
}

/// Adds the rows of a part, by their number.
fn rows(mut reader: Reader<'_>, players: &mut BTreeMap<u32, PlayerRef>) -> Result<(), QueryError> {
    while !reader.is_empty() && players.len() < MOST_PLAYERS {
        let id = reader.u32_le()?;
        let name = string(&mut reader)?;
        let ping = reader.u32_le()?;
        reader.take(8)?;
        if id == 0 {
            continue;
        }
        let kind = if ping == 0 {
            PlayerKind::Bot
        } else {
            PlayerKind::Human
        };
        let player = PlayerRef {
            name: some(name),
            ..PlayerRef::default()
        };
        players.insert(id, player.with_kind(kind, KindEvidence::Query));
    }
    Ok(())
}

fn string(reader: &mut Reader<'_>) -> Result<Arc<str>, QueryError> {
    let length = reader.u8()?;
    let plain = if length & 0x80 == 0 {
        if length == 0 {
            return Ok(Arc::from(""));
        }
        // Latin-1: every byte is the character of that number.
        reader.until(0)?.iter().map(|byte| char::from(*byte)).collect()
    } else {
        // Some titles put a 1 here that the length does not count.
        reader.skip(&[1]);
        let units: Vec<u16> = reader
            .take(usize::from(length & 0x7f) * 2)?
            .chunks_exact(2)
            .map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
            .collect();
        String::from_utf16_lossy(&units)
    };
    Ok(text(without_colours(&plain).as_bytes()))
}

/// Takes out colours (escape and three more) and the control characters that texts are spaced with.
fn without_colours(plain: &str) -> String {
    let mut characters = plain.chars();
    let mut kept = String::with_capacity(plain.len());
    while let Some(character) = characters.next() {
        match character {
            '\u{1b}' => drop(characters.by_ref().take(3).count()),
            '\0'..='\u{1a}' => {}
            character => kept.push(character),
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        super::testing::{asked, udp_server},
        *,
    };
    use crate::config::QueryProtocol;

    fn plain(text: &str) -> Vec<u8> {
        [&[text.len() as u8 + 1], text.as_bytes(), &[0]].concat()
    }

    fn row(id: u32, name: &[u8], ping: u32) -> Vec<u8> {
        [&id.to_le_bytes(), name, &ping.to_le_bytes(), &[0; 8]].concat()
    }

    fn respond(request: &[u8]) -> Vec<Vec<u8>> {
        assert_eq!(request[..4], [0x79, 0, 0, 0]);
        match request[4] {
            0 => {
                let mut answer = vec![0x80, 0, 0, 0, 0, 1, 0, 0, 0];
                answer.extend(plain(""));
                answer.extend_from_slice(&7_777u32.to_le_bytes());
                answer.extend_from_slice(&7_778u32.to_le_bytes());
                answer.extend(plain("\u{1b}@@@Red server"));
                answer.extend(plain("DM-Rankin"));
                answer.extend(plain("xDeathMatch"));
                answer.extend_from_slice(&[2, 0, 0, 0, 16, 0, 0, 0]);
                vec![answer]
            }
            2 => {
                // "Ann" in two-byte text with the stray 1, the end counted in.
                let wide = b"\x84\x01A\0n\0n\0\0\0";
                let first = [
                    &[0x80, 0, 0, 0, 2][..],
                    &row(4, wide, 52),
                    &row(0, &plain("Red"), 0),
                ]
                .concat();
                let second = [&[0x80, 0, 0, 0, 2][..], &row(9, &plain("Bot"), 0)].concat();
                vec![first, second]
            }
            _ => Vec::new(),
        }
    }

    #[test]
    fn information_and_players_are_read() {
        let server = udp_server(respond);
        let answer = asked(QueryProtocol::Unreal2, server.address).unwrap();
        assert_eq!(
            (answer.name.as_deref(), answer.map.as_deref()),
            (Some("Red server"), Some("DM-Rankin"))
        );
        assert_eq!(
            (answer.online, answer.max, answer.bots),
            (Some(2), Some(16), Some(1))
        );
        let names = vec![
            PlayerRef::named("Ann").with_kind(PlayerKind::Human, KindEvidence::Query),
            PlayerRef::named("Bot").with_kind(PlayerKind::Bot, KindEvidence::Query),
        ];
        assert_eq!(answer.players, Some(Listed::Everybody(names)));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_readers_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = information(Reader::new(&bytes));
            let _ = rows(Reader::new(&bytes), &mut BTreeMap::new());
        }
    }
}
