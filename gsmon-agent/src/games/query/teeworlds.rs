//! Teeworlds 0.6, DDNet and Teeworlds 0.7: server information with everybody in it.
//!
//! Formats: `SendServerInfo` and `CNetBase` of DDNet and Teeworlds 0.7. Both versions are asked at once, since neither
//! answers the other's question: 0.6 with DDNet's extended request (plain 0.6 servers answer it in their old form, of
//! 16 clients at most); 0.7 needs a token first. Spectators count as being in the game. Only 0.7 can mark bots.

use std::{collections::BTreeMap, net::SocketAddr};

use super::{
    super::event::{KindEvidence, PlayerKind, PlayerRef},
    Listed, QueryAnswer, QueryError,
    wire::{self, Deadline, MOST_PLAYERS, Reader, Udp, number, some},
};

const GET_INFO: &[u8] = b"\xff\xff\xff\xffgie3";
const INFO: &[u8] = b"\xff\xff\xff\xffinf3";
const INFO_EXTENDED: &[u8] = b"\xff\xff\xff\xffiext";
const INFO_MORE: &[u8] = b"\xff\xff\xff\xffiex+";
/// 0.7: first byte of a packet of control, and of one outside a connection, version 1.
const CONTROL: u8 = 0x04;
const OUTSIDE: u8 = 0x21;
/// 0.7: the message that asks for and brings a token.
const TOKEN_MESSAGE: u8 = 5;
/// 0.7: a request for a token must be this long, so that it is no amplifier.
const TOKEN_REQUEST_BYTES: usize = 512;
/// Name that servers show for whoever is not in the game yet.
const CONNECTING: &str = "(connecting)";

pub(super) fn ask(address: SocketAddr, deadline: Deadline) -> Result<QueryAnswer, QueryError> {
    let random = wire::random().to_be_bytes();
    let six = Six {
        token: [random[0], random[1], random[2]],
    };
    let seven = Seven {
        token: [random[3], random[4], random[5], random[6]],
    };
    let mut udp = Udp::connect(address)?;
    let first = udp.ask(&[&six.request(), &seven.token_request()], deadline, |datagram| {
        if let Some(token) = seven.token(datagram) {
            return Ok(Some(First::Seven(token)));
        }
        Ok(six.part(datagram)?.and_then(|part| match part {
            Part::First(info) => Some(First::Six(info)),
            Part::More(..) => None,
        }))
    })?;
    match first {
        First::Six(info) => {
            let round_trip = udp.round_trip();
            let mut answer = six.rest(&mut udp, *info, deadline);
            answer.round_trip = round_trip;
            Ok(answer)
        }
        First::Seven(token) => {
            let mut answer = udp.ask(&[&seven.request(token)], deadline, |datagram| {
                seven.info(datagram)
            })?;
            answer.round_trip = udp.round_trip();
            Ok(answer)
        }
    }
}

enum First {
    Six(Box<Info>),
    Seven([u8; 4]),
}

/// Head of an answer and the clients that it lists.
#[derive(Debug, Default, PartialEq)]
struct Info {
    answer: QueryAnswer,
    clients: Vec<PlayerRef>,
}

impl Info {
    fn complete(&self) -> bool {
        self.answer
            .online
            .is_none_or(|online| self.clients.len() >= online as usize)
    }

    fn answer(mut self) -> QueryAnswer {
        self.answer.players = Listed::by_count(self.clients, self.answer.online);
        self.answer
    }
}

/// The 0.6 conversation. Its token is three bytes, of which plain servers return the last.
struct Six {
    token: [u8; 3],
}

enum Part {
    First(Box<Info>),
    More(u32, Vec<PlayerRef>),
}

impl Six {
    fn request(&self) -> Vec<u8> {
        let [high, middle, low] = self.token;
        [&[b'x', b'e', high, middle, 0, 0], GET_INFO, &[low]].concat()
    }

    /// Reads a datagram; `None` when it is none of this question's.
    fn part(&self, datagram: &[u8]) -> Result<Option<Part>, QueryError> {
        let mut reader = Reader::new(datagram);
        if reader.take(6).is_err() {
            return Ok(None);
        }
        let kinds = [INFO, INFO_EXTENDED, INFO_MORE];
        let Some(kind) = kinds.into_iter().find(|kind| reader.skip(kind)) else {
            return Ok(None);
        };
        let token = number::<u32>(reader.until(0)?);
        let [high, middle, low] = self.token.map(u32::from);
        let expected = if kind == INFO {
            low
        } else {
            high << 16 | middle << 8 | low
        };
        if token != Some(expected) {
            return Ok(None);
        }
        if kind == INFO_MORE {
            let part = number(reader.until(0)?).ok_or(QueryError::Malformed("a part without number"))?;
            reader.until(0)?;
            return Ok(Some(Part::More(part, clients(reader, Form::Extended)?)));
        }
        let form = if kind == INFO { Form::Plain } else { Form::Extended };
        info(reader, form).map(|info| Some(Part::First(Box::new(info))))
    }

    /// Waits for the parts behind the first.
    fn rest(&self, udp: &mut Udp, info: Info, deadline: Deadline) -> QueryAnswer {
        let mut more = BTreeMap::new();
        let listed = info.clients.len();
        let wanted = info.answer.online.unwrap_or(0) as usize;
        if !info.complete() {
            // An error here is a list that is not complete.
            let deadline = udp.optional(deadline);
            let _ = udp.ask(&[], deadline, |datagram| {
                if let Some(Part::More(number, clients)) = self.part(datagram)? {
                    more.insert(number, clients);
                }
                let all = listed + more.values().map(Vec::len).sum::<usize>();
                Ok((all >= wanted).then_some(()))
            });
        }
        let mut info = info;
        info.clients.extend(more.into_values().flatten());
        info.answer()
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Form {
    Plain,
    Extended,
}

fn info(mut reader: Reader<'_>, form: Form) -> Result<Info, QueryError> {
    let (version, name, map) = (reader.text()?, reader.text()?, reader.text()?);
    if form == Form::Extended {
        // Checksum and size of the map.
        reader.until(0)?;
        reader.until(0)?;
    }
    let mode = reader.text()?;
    let mut next = || -> Result<u32, QueryError> {
        number(reader.until(0)?).ok_or(QueryError::Malformed("a count is no number"))
    };
    let (_flags, _players, _most_players, online, max) = (next()?, next()?, next()?, next()?, next()?);
    if form == Form::Extended {
        reader.until(0)?;
    }
    Ok(Info {
        answer: QueryAnswer {
            name: some(name),
            version: some(version),
            map: some(map),
            mode: some(mode),
            online: Some(online),
            max: Some(max),
            ..QueryAnswer::default()
        },
        clients: clients(reader, form)?,
    })
}

/// Name, clan, country, score, whether it plays; and room for more in the extended form.
fn clients(mut reader: Reader<'_>, form: Form) -> Result<Vec<PlayerRef>, QueryError> {
    let mut clients = Vec::new();
    while !reader.is_empty() && clients.len() < MOST_PLAYERS {
        let client = client(&mut reader)?;
        for _ in 0..if form == Form::Extended { 5 } else { 4 } {
            reader.until(0)?;
        }
        clients.push(client);
    }
    Ok(clients)
}

/// A client by its name; nameless while it is connecting.
fn client(reader: &mut Reader<'_>) -> Result<PlayerRef, QueryError> {
    let name = reader.text()?;
    Ok(PlayerRef {
        name: some(name).filter(|name| &**name != CONNECTING),
        ..PlayerRef::default()
    })
}

/// The 0.7 conversation. The token proves to each side that the other is where it says.
struct Seven {
    token: [u8; 4],
}

impl Seven {
    fn token_request(&self) -> Vec<u8> {
        // Head: control, no acknowledgement, no chunks, no token known yet.
        let mut request = vec![CONTROL, 0, 0, 0xff, 0xff, 0xff, 0xff, TOKEN_MESSAGE];
        request.extend_from_slice(&self.token);
        request.resize(7 + TOKEN_REQUEST_BYTES, 0);
        request
    }

    /// The server's token, from its answer to the request.
    fn token(&self, datagram: &[u8]) -> Option<[u8; 4]> {
        let mut reader = Reader::new(datagram);
        let control = reader.u8().ok()? & 0xfc == CONTROL;
        reader.take(2).ok()?;
        let ours = reader.skip(&self.token) && reader.skip(&[TOKEN_MESSAGE]);
        if control && ours {
            reader.array().ok()
        } else {
            None
        }
    }

    fn request(&self, server: [u8; 4]) -> Vec<u8> {
        // The browser's own token is a packed number; below 64 it is one byte.
        [
            &[OUTSIDE],
            &server[..],
            &self.token,
            GET_INFO,
            &[self.token[0] & 0x3f],
        ]
        .concat()
    }

    fn info(&self, datagram: &[u8]) -> Result<Option<QueryAnswer>, QueryError> {
        let mut reader = Reader::new(datagram);
        if !(reader.skip(&[OUTSIDE]) && reader.skip(&self.token)) {
            return Ok(None);
        }
        reader.take(4)?;
        if !reader.skip(INFO) || packed(&mut reader)? != i64::from(self.token[0] & 0x3f) {
            return Ok(None);
        }
        let (version, name) = (reader.text()?, reader.text()?);
        let _host = reader.until(0)?;
        let (map, mode) = (reader.text()?, reader.text()?);
        let _flags_and_skill = (packed(&mut reader)?, packed(&mut reader)?);
        let _players_and_most = (packed(&mut reader)?, packed(&mut reader)?);
        let (online, max) = (count(&mut reader)?, count(&mut reader)?);
        let mut bots = 0;
        let mut clients = Vec::new();
        while !reader.is_empty() && clients.len() < MOST_PLAYERS {
            let client = client(&mut reader)?;
            let _clan = reader.until(0)?;
            let _country_and_score = (packed(&mut reader)?, packed(&mut reader)?);
            // 1 watches, 2 is a bot.
            clients.push(if packed(&mut reader)? & 2 != 0 {
                bots += 1;
                client.with_kind(PlayerKind::Bot, KindEvidence::Query)
            } else {
                client
            });
        }
        let answer = QueryAnswer {
            name: some(name),
            version: some(version),
            map: some(map),
            mode: some(mode),
            online: Some(online),
            bots: (bots > 0).then_some(bots),
            max: Some(max),
            ..QueryAnswer::default()
        };
        Ok(Some(Info { answer, clients }.answer()))
    }
}

/// A packed number: six bits with sign and continuation, then seven at a time.
fn packed(reader: &mut Reader<'_>) -> Result<i64, QueryError> {
    let first = reader.u8()?;
    let mut value = i64::from(first & 0x3f);
    let (mut more, mut shift) = (first & 0x80 != 0, 6);
    while more {
        if shift > 27 {
            return Err(QueryError::Malformed("a number without end"));
        }
        let byte = reader.u8()?;
        value |= i64::from(byte & 0x7f) << shift;
        more = byte & 0x80 != 0;
        shift += 7;
    }
    Ok(if first & 0x40 != 0 { !value } else { value })
}

fn count(reader: &mut Reader<'_>) -> Result<u32, QueryError> {
    u32::try_from(packed(reader)?).map_err(|_| QueryError::Malformed("a negative count"))
}

#[cfg(test)]
#[path = "teeworlds_tests.rs"]
mod tests;
