//! GameSpy 3: a challenge, then settings and fields of players in numbered parts.
//!
//! Format: GameSpy's third query protocol as Battlefield 2, Crysis or Unreal Tournament 3 speak it. A field that a part
//! cuts off continues in the next with its offset. Not covered: teams, and Just Cause 2's own variant.
//!
//! Asked through gamedig first (`super::reader`), which reads a server without players; it lists nobody.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::{
    super::event::PlayerRef,
    Listed, QueryAnswer, QueryError,
    wire::{Deadline, Reader, Udp, number, some, text},
};

/// Part of a session number that every server sends back unchanged.
const SESSION_MASK: u32 = 0x0f0f_0f0f;
/// gamedig's session number.
const GAMEDIGS: [u8; 4] = [0, 0, 0, 1];

pub(super) fn ask(udp: &mut Udp, deadline: Deadline) -> Result<QueryAnswer, QueryError> {
    let session = Session::begin(udp, deadline)?;
    let mut parts = Parts::default();
    let mut answer = udp.ask(
        &[&session.question(&[0xff, 0xff, 0xff, 0x01])],
        deadline,
        |datagram| match session.answer(datagram) {
            Some(reader) => parts.add(reader),
            None => Ok(None),
        },
    )?;
    answer.round_trip = udp.round_trip();
    Ok(answer)
}

/// A session number and the challenge for it; Minecraft's query begins the same way.
pub(super) struct Session {
    id: [u8; 4],
    challenge: Option<[u8; 4]>,
}

impl Session {
    /// Asks for a challenge.
    pub(super) fn begin(udp: &mut Udp, deadline: Deadline) -> Result<Self, QueryError> {
        let id = (u32::from_be_bytes(udp.token(GAMEDIGS)) & SESSION_MASK).to_be_bytes();
        let request = [&[0xfe, 0xfd, 0x09][..], &id].concat();
        let challenge: i64 = udp.ask(&[&request], deadline, |datagram| {
            let mut reader = Reader::new(datagram);
            if !(reader.skip(&[0x09]) && reader.skip(&id)) {
                return Ok(None);
            }
            let text = reader.until(0)?;
            number(text)
                .map(Some)
                .ok_or(QueryError::Malformed("the challenge is no number"))
        })?;
        // A challenge of 0 means that none is wanted. The number is 32 bits, with or without sign.
        let challenge = (challenge != 0).then_some((challenge as u32).to_be_bytes());
        Ok(Self { id, challenge })
    }

    /// A question under this challenge.
    pub(super) fn question(&self, payload: &[u8]) -> Vec<u8> {
        let challenge = self
            .challenge
            .as_ref()
            .map(<[u8; 4]>::as_slice)
            .unwrap_or_default();
        [&[0xfe, 0xfd, 0x00][..], &self.id, challenge, payload].concat()
    }

    /// The body of an answer in this session.
    pub(super) fn answer<'a>(&self, datagram: &'a [u8]) -> Option<Reader<'a>> {
        let mut reader = Reader::new(datagram);
        (reader.skip(&[0x00]) && reader.skip(&self.id)).then_some(reader)
    }
}

/// Parts so far.
#[derive(Default)]
struct Parts {
    parts: BTreeMap<u8, Vec<u8>>,
    last: Option<u8>,
}

impl Parts {
    fn add(&mut self, mut reader: Reader<'_>) -> Result<Option<QueryAnswer>, QueryError> {
        if !reader.skip(b"splitnum\0") {
            return Err(QueryError::Malformed("a part without number"));
        }
        let number = reader.u8()?;
        reader.u8()?;
        if number & 0x80 != 0 {
            self.last = Some(number & 0x7f);
        }
        self.parts.insert(number & 0x7f, reader.rest().to_vec());
        let complete = self
            .last
            .is_some_and(|last| (0..=last).all(|part| self.parts.contains_key(&part)));
        complete.then(|| self.answer()).transpose()
    }

    fn answer(&self) -> Result<QueryAnswer, QueryError> {
        let mut fields: HashMap<Vec<u8>, Vec<u8>> = HashMap::new();
        let mut names: BTreeMap<usize, Arc<str>> = BTreeMap::new();
        for (number, part) in &self.parts {
            let mut reader = Reader::new(part);
            if *number == 0 {
                while !reader.is_empty() {
                    let name = reader.until(0)?;
                    if name.is_empty() {
                        break;
                    }
                    fields.insert(name.to_vec(), reader.until(0)?.to_vec());
                }
            }
            player_names(reader, &mut names);
        }
        if fields.is_empty() {
            return Err(QueryError::Malformed("no settings"));
        }
        let field = |name: &str| fields.get(name.as_bytes()).map(Vec::as_slice);
        let shown = |name: &str| field(name).and_then(|value| some(text(value)));
        let players: Vec<PlayerRef> = names.into_values().map(|name| PlayerRef::named(&name)).collect();
        let online = field("numplayers")
            .and_then(number)
            .or(u32::try_from(players.len()).ok());
        Ok(QueryAnswer {
            name: shown("hostname"),
            version: shown("gamever"),
            map: shown("mapname"),
            mode: shown("gametype"),
            players: Listed::by_count(players, online),
            online,
            max: field("maxplayers").and_then(number),
            ..QueryAnswer::default()
        })
    }
}

/// Reads fields: name, offset, values up to an empty one. Only `player_` matters here; a cut one is fine.
fn player_names(mut reader: Reader<'_>, names: &mut BTreeMap<usize, Arc<str>>) {
    while let Some(first) = reader.rest().first() {
        // Bytes of 0 to 2 stand between the sections.
        if *first <= 2 {
            reader.skip(&[*first]);
            continue;
        }
        let (Ok(field), Ok(offset)) = (reader.until(0), reader.u8()) else {
            return;
        };
        let mut row = usize::from(offset);
        while let Ok(value) = reader.until(0) {
            if value.is_empty() {
                break;
            }
            if field == b"player_" {
                names.insert(row, text(value));
            }
            row += 1;
        }
        // A value without end is cut off and comes whole in the next part.
        if !reader.rest().contains(&0) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        super::testing::{asked, udp_server},
        *,
    };
    use crate::config::QueryProtocol;

    fn respond(request: &[u8], challenge: &'static [u8]) -> Vec<Vec<u8>> {
        assert_eq!(request[..2], [0xfe, 0xfd]);
        let id = &request[3..7];
        if request[2] == 9 {
            assert_eq!(request.len(), 7);
            return vec![[&[9], id, challenge, b"\0"].concat()];
        }
        if challenge == b"0" {
            assert_eq!(request[7..], [0xff, 0xff, 0xff, 1]);
        } else {
            assert_eq!(
                request[7..],
                [0xff, 0xe7, 0x89, 0x1c, 0xff, 0xff, 0xff, 1],
                "-1603300 as four bytes"
            );
        }
        let first = b"splitnum\0\0\0hostname\0A server\0mapname\0strike\0gametype\0cq\0gamever\x001.5\0numplayers\x003\0maxplayers\x0064\0\0\
            \x01player_\0\0Ann\0Bo";
        let second = b"splitnum\0\x81\0\x01player_\0\x01Bob\0Cy\0\0score_\0\x009\x001\x000\0\0\0\x02team_t\0\0MEC\0US\0\0";
        [&second[..], first]
            .into_iter()
            .map(|body| [&[0], id, body].concat())
            .collect()
    }

    #[test]
    fn parts_are_joined_under_either_kind_of_challenge() {
        for challenge in [&b"-1603300"[..], b"0"] {
            let server = udp_server(move |request| respond(request, challenge));
            let answer = asked(QueryProtocol::Gamespy3, server.address).unwrap();
            assert_eq!(
                (answer.name.as_deref(), answer.map.as_deref()),
                (Some("A server"), Some("strike"))
            );
            assert_eq!((answer.online, answer.max), (Some(3), Some(64)));
            let names = ["Ann", "Bob", "Cy"].map(PlayerRef::named).to_vec();
            assert_eq!(answer.players, Some(Listed::Everybody(names)));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(parts in prop::collection::vec((prop::sample::select(vec![0u8, 1, 2, 0x80, 0x81, 0xff]), prop::collection::vec(prop::sample::select(b"\0\x01\x02player_a".to_vec()), 0..60)), 0..6)) {
            let mut all = Parts::default();
            for (number, bytes) in parts {
                let bytes = [b"splitnum\0", &[number, 0][..], &bytes].concat();
                let _ = all.add(Reader::new(&bytes));
                let _ = all.add(Reader::new(&bytes[..bytes.len() / 2]));
            }
            let _ = all.answer();
        }
    }
}
