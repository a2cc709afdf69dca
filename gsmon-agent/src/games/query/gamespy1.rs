//! GameSpy 1: `\status\` and its `\key\value` answers, in numbered parts.
//!
//! Format: GameSpy's query protocol as Unreal, Battlefield 1942 and others speak it. Players are `player_N` (or
//! `playername_N`). Some titles leave stale rows behind the number of players: the list then counts as incomplete.
//!
//! Asked through gamedig first (`super::reader`). What that lacks: names that are not UTF-8 cost it the whole answer, parts
//! out of order what came late, a large row number its life.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{
    super::event::PlayerRef,
    Listed, QueryAnswer, QueryError,
    wire::{Deadline, MOST_PLAYERS, Udp, number, some, text},
};

/// Fields kept of one answer.
const MOST_FIELDS: usize = 16_384;

pub(super) fn ask(udp: &mut Udp, deadline: Deadline) -> Result<QueryAnswer, QueryError> {
    let mut status = Status::default();
    let mut answer = udp.ask(&[b"\\status\\"], deadline, |datagram| {
        Ok(status.add(datagram).then(|| status.answer()))
    })?;
    answer.round_trip = udp.round_trip();
    Ok(answer)
}

/// What the parts said so far.
#[derive(Default)]
struct Status {
    fields: HashMap<String, Vec<u8>>,
    id: Option<Vec<u8>>,
    parts: BTreeSet<u32>,
    last: Option<u32>,
}

impl Status {
    /// Takes a part; true when all are there.
    fn add(&mut self, datagram: &[u8]) -> bool {
        let Some(body) = datagram.strip_prefix(b"\\") else {
            return false;
        };
        let words: Vec<&[u8]> = body.split(|byte| *byte == b'\\').collect();
        let pairs: Vec<(&[u8], &[u8])> = words
            .chunks(2)
            .map(|pair| (pair[0], pair.get(1).copied().unwrap_or_default()))
            .collect();
        let value = |key: &[u8]| {
            pairs
                .iter()
                .find(|(name, _)| *name == key)
                .map(|(_, value)| *value)
        };
        // `queryid` is "question.part"; where a server leaves it out, parts count in the order in which they come.
        let mut id = value(b"queryid")
            .unwrap_or_default()
            .splitn(2, |byte| *byte == b'.');
        let question = id.next().unwrap_or_default().to_vec();
        let part = id.next().and_then(number).unwrap_or_else(|| {
            u32::try_from(self.parts.len())
                .unwrap_or(u32::MAX)
                .saturating_add(1)
        });
        if *self.id.get_or_insert_with(|| question.clone()) != question || !self.parts.insert(part) {
            return false;
        }
        if value(b"final").is_some() {
            self.last = Some(part);
        }
        for (name, value) in pairs {
            if self.fields.len() < MOST_FIELDS && !matches!(name, b"final" | b"queryid") {
                let name = String::from_utf8_lossy(name).to_ascii_lowercase();
                self.fields.insert(name, value.to_vec());
            }
        }
        self.last
            .is_some_and(|last| u32::try_from(self.parts.len()).is_ok_and(|parts| parts >= last))
    }

    fn answer(&self) -> QueryAnswer {
        let field = |name: &str| self.fields.get(name).map(Vec::as_slice);
        let shown = |name: &str| field(name).and_then(|value| some(text(value)));
        let mut names = BTreeMap::new();
        for (key, value) in &self.fields {
            let row = key.strip_prefix("player_").or(key.strip_prefix("playername_"));
            if let Some(row) = row.and_then(|row| row.parse::<u32>().ok())
                && names.len() < MOST_PLAYERS
            {
                names.insert(row, text(value));
            }
        }
        let players: Vec<PlayerRef> = names.into_values().map(|name| PlayerRef::named(&name)).collect();
        let online = field("numplayers")
            .and_then(number)
            .or(u32::try_from(players.len()).ok());
        QueryAnswer {
            name: shown("hostname"),
            version: shown("gamever"),
            map: shown("mapname"),
            mode: shown("gametype"),
            players: Listed::by_count(players, online),
            online,
            max: field("maxplayers").and_then(number),
            ..QueryAnswer::default()
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

    const FIRST: &[u8] =
        b"\\gamename\\ut\\gamever\\451\\hostname\\A server\\mapname\\DM-Deck16][\\gametype\\DeathMatch\\\
        numplayers\\2\\maxplayers\\12\\queryid\\21.1";
    const SECOND: &[u8] = b"\\player_0\\Ann\\frags_0\\3\\ping_0\\ 52\\player_1\\B b\\frags_1\\0\\ping_1\\ 0\\final\\\\queryid\\21.2";

    #[test]
    fn parts_in_any_order_make_one_answer() {
        let server = udp_server(|request| {
            assert_eq!(request, b"\\status\\");
            vec![
                b"garbage".to_vec(),
                SECOND.to_vec(),
                SECOND.to_vec(),
                FIRST.to_vec(),
            ]
        });
        let answer = asked(QueryProtocol::Gamespy1, server.address).unwrap();
        assert_eq!(
            (answer.name.as_deref(), answer.map.as_deref()),
            (Some("A server"), Some("DM-Deck16]["))
        );
        assert_eq!(
            (answer.version.as_deref(), answer.mode.as_deref()),
            (Some("451"), Some("DeathMatch"))
        );
        assert_eq!((answer.online, answer.max), (Some(2), Some(12)));
        let names = vec![PlayerRef::named("Ann"), PlayerRef::named("B b")];
        assert_eq!(answer.players, Some(Listed::Everybody(names)));
    }

    #[test]
    fn absurd_numbers_cost_nothing() {
        let absurd = b"\\hostname\\x\\numplayers\\1\\maxplayers\\4294967295\\player_99999999999\\a\\player_4294967295\\b\\final\\";
        let server = udp_server(|_| vec![absurd.to_vec()]);
        let answer = asked(QueryProtocol::Gamespy1, server.address).unwrap();
        assert_eq!(answer.max, Some(u32::MAX));
        assert_eq!(
            answer.players,
            Some(Listed::Everybody(vec![PlayerRef::named("b")]))
        );
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(parts in prop::collection::vec("[\\\\a-z_.0-9]{0,60}(\\\\final\\\\)?", 0..8), bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let mut status = Status::default();
            for part in parts {
                status.add(part.as_bytes());
            }
            status.add(&bytes);
            status.add(b"");
            let _ = status.answer();
        }
    }
}
