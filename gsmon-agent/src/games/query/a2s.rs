//! Valve's A2S: `A2S_INFO` and `A2S_PLAYER`, with challenge and split answers of Source and GoldSrc.
//!
//! Format: Valve's "Server queries" page; Rust's tags: Facepunch's server-browser documentation. The number of players
//! includes bots (`gameserveritem_t` of the Steamworks SDK). Not covered: bzip2-compressed split answers (used by some
//! pre-2010 servers only), rules.
//!
//! Asked through gamedig first (`super::reader`). What that lacks: a name that is not UTF-8 costs it the list or the whole
//! answer, GoldSrc must be known to it in advance, and it joins parts in the order in which they come.

use std::collections::BTreeMap;

use super::{
    super::event::PlayerRef,
    Listed, QueryAnswer, QueryError,
    wire::{Deadline, Reader, Udp, some},
};

const INFO: &[u8] = b"\xff\xff\xff\xffTSource Engine Query\0";
const PLAYERS: &[u8] = b"\xff\xff\xff\xffU";
/// Challenges that are answered before the server is given up: one is normal, a second after a restart.
const MOST_CHALLENGES: usize = 3;
/// Steam's number of Rust, whose player counts do not fit the fields of the protocol.
pub(super) const RUST: u64 = 252_490;
/// The Ship has three bytes of its own in its information.
const THE_SHIP: u16 = 2_400;
/// Orange Box titles of the first protocol whose split headers lack the size.
const WITHOUT_SIZE: [u16; 4] = [215, 240, 17_550, 17_700];

pub(super) fn ask(udp: &mut Udp, deadline: Deadline) -> Result<QueryAnswer, QueryError> {
    let bytes = request(udp, INFO, Split::Source, deadline)?;
    let info = info(&bytes)?;
    let mut answer = info.answer;
    answer.round_trip = udp.round_trip();
    // Many servers keep their list to themselves: that is no failure, and must not cost the whole time.
    let mut question = PLAYERS.to_vec();
    question.extend_from_slice(&[0xff; 4]);
    let deadline = udp.optional(deadline);
    let list = request(udp, &question, info.split, deadline).and_then(|bytes| players(&bytes));
    answer.players = list
        .ok()
        .and_then(|players| Listed::by_count(players, answer.online));
    Ok(answer)
}

/// How a server splits answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Split {
    Source,
    SourceWithoutSize,
    GoldSrc,
}

/// One question with its challenges; returns the answer from its type byte on.
fn request(udp: &mut Udp, question: &[u8], split: Split, deadline: Deadline) -> Result<Vec<u8>, QueryError> {
    // The challenge goes behind the question, in place of the four bytes of 0xff where there are some.
    let base = question.strip_suffix(&[0xff; 4]).unwrap_or(question);
    let mut question = question.to_vec();
    for _ in 0..MOST_CHALLENGES {
        let mut parts = Parts::default();
        let bytes = udp.ask(&[&question], deadline, |datagram| parts.add(datagram, split))?;
        let Some(challenge) = bytes.strip_prefix(b"A") else {
            return Ok(bytes);
        };
        let challenge = challenge
            .get(..4)
            .ok_or(QueryError::Malformed("a challenge ends early"))?;
        question.truncate(base.len());
        question.extend_from_slice(challenge);
    }
    Err(QueryError::Malformed("challenges without end"))
}

/// Parts of one split answer.
#[derive(Default)]
struct Parts {
    id: Option<u32>,
    parts: BTreeMap<u8, Vec<u8>>,
}

impl Parts {
    /// Takes a datagram; the whole answer from its type byte on once it is there.
    fn add(&mut self, datagram: &[u8], split: Split) -> Result<Option<Vec<u8>>, QueryError> {
        let mut reader = Reader::new(datagram);
        if reader.skip(&[0xff; 4]) {
            return Ok((!reader.is_empty()).then(|| reader.rest().to_vec()));
        }
        if !reader.skip(b"\xfe\xff\xff\xff") {
            return Ok(None);
        }
        let id = reader.u32_le()?;
        let (total, number) = match split {
            Split::GoldSrc => {
                let byte = reader.u8()?;
                (byte & 0x0f, byte >> 4)
            }
            Split::Source | Split::SourceWithoutSize => {
                if id & 0x8000_0000 != 0 {
                    return Err(QueryError::Malformed(
                        "it is compressed, which gsmon does not read",
                    ));
                }
                let counts = (reader.u8()?, reader.u8()?);
                if split == Split::Source {
                    reader.u16_le()?;
                }
                counts
            }
        };
        if number >= total {
            return Err(QueryError::Malformed("a part beyond the last"));
        }
        if self.id.replace(id) != Some(id) {
            self.parts.clear();
        }
        self.parts.insert(number, reader.rest().to_vec());
        if self.parts.len() < usize::from(total) {
            return Ok(None);
        }
        let whole: Vec<u8> = self.parts.values().flatten().copied().collect();
        let whole = whole
            .strip_prefix(&[0xff; 4])
            .map(<[u8]>::to_vec)
            .unwrap_or(whole);
        Ok((!whole.is_empty()).then_some(whole))
    }
}

struct Info {
    answer: QueryAnswer,
    split: Split,
}

/// Reads `S2A_INFO`, Source (`I`) or GoldSrc before 2008 (`m`).
fn info(bytes: &[u8]) -> Result<Info, QueryError> {
    let mut reader = Reader::new(bytes);
    match reader.u8()? {
        b'I' => source_info(reader),
        b'm' => goldsrc_info(reader),
        _ => Err(QueryError::Malformed("neither kind of server information")),
    }
}

fn source_info(mut reader: Reader<'_>) -> Result<Info, QueryError> {
    let protocol = reader.u8()?;
    let name = reader.text()?;
    let map = reader.text()?;
    let _folder = reader.until(0)?;
    let mode = reader.text()?;
    let app = reader.u16_le()?;
    let (mut online, mut max, bots) = (
        u32::from(reader.u8()?),
        u32::from(reader.u8()?),
        u32::from(reader.u8()?),
    );
    let [_kind, _system, _password, _vac] = reader.array()?;
    if app == THE_SHIP {
        reader.take(3)?;
    }
    let version = reader.text()?;
    let (keywords, app_id) = extra(reader).unwrap_or_default();
    if app_id == RUST {
        tagged_counts(keywords, &mut online, &mut max);
    }
    let split = match protocol {
        46..=48 => Split::GoldSrc,
        7 if WITHOUT_SIZE.contains(&app) => Split::SourceWithoutSize,
        _ => Split::Source,
    };
    Ok(Info {
        answer: QueryAnswer {
            name: some(name),
            version: some(version),
            map: some(map),
            mode: some(mode),
            online: Some(online),
            bots: Some(bots),
            max: Some(max),
            ..QueryAnswer::default()
        },
        split,
    })
}

/// Counts of Rust from its tags: the fields are bytes, and a full server has more players than that.
pub(super) fn tagged_counts(keywords: &[u8], online: &mut u32, max: &mut u32) {
    for tag in keywords.split(|byte| *byte == b',') {
        let counts = [(&b"cp"[..], &mut *online), (b"mp", &mut *max)];
        for (prefix, count) in counts {
            if let Some(value) = tag.strip_prefix(prefix).and_then(super::wire::number) {
                *count = value;
            }
        }
    }
}

/// Tags and whole application number, behind the version where there are any.
fn extra(mut reader: Reader<'_>) -> Result<(&[u8], u64), QueryError> {
    let flags = reader.u8()?;
    if flags & 0x80 != 0 {
        reader.u16_le()?;
    }
    if flags & 0x10 != 0 {
        reader.u64_le()?;
    }
    if flags & 0x40 != 0 {
        reader.u16_le()?;
        reader.until(0)?;
    }
    let keywords = if flags & 0x20 != 0 { reader.until(0)? } else { &[] };
    let app = if flags & 0x01 != 0 {
        reader.u64_le()? & 0x00ff_ffff
    } else {
        0
    };
    Ok((keywords, app))
}

fn goldsrc_info(mut reader: Reader<'_>) -> Result<Info, QueryError> {
    let _address = reader.until(0)?;
    let name = reader.text()?;
    let map = reader.text()?;
    let _folder = reader.until(0)?;
    let mode = reader.text()?;
    let (online, max) = (reader.u8()?, reader.u8()?);
    let [_protocol, _kind, _system, _password, is_mod] = reader.array()?;
    if is_mod == 1 {
        reader.until(0)?;
        reader.until(0)?;
        // A zero byte, version, size, kind, library.
        reader.take(11)?;
    }
    let [_vac, bots] = reader.array()?;
    Ok(Info {
        answer: QueryAnswer {
            name: some(name),
            map: some(map),
            mode: some(mode),
            online: Some(online.into()),
            bots: Some(bots.into()),
            max: Some(max.into()),
            ..QueryAnswer::default()
        },
        split: Split::GoldSrc,
    })
}

/// Reads `S2A_PLAYER`. Whoever is still connecting has no name yet.
fn players(bytes: &[u8]) -> Result<Vec<PlayerRef>, QueryError> {
    let mut reader = Reader::new(bytes);
    if reader.u8()? != b'D' {
        return Err(QueryError::Malformed("no list of players"));
    }
    let count = reader.u8()?;
    let mut players = Vec::new();
    for _ in 0..count {
        reader.u8()?;
        let name = reader.text()?;
        reader.take(8)?;
        players.push(PlayerRef {
            name: some(name),
            ..PlayerRef::default()
        });
    }
    Ok(players)
}

#[cfg(test)]
#[path = "a2s_tests.rs"]
mod tests;
