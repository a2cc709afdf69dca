//! A body of `POST /api/v1/events`: one event or an array of them. Everything is checked and every problem has its
//! place; nothing of a body with a problem is used.
//!
//! Events: `server_starting`, `server_ready`, `server_stopping`, `session_started`, `session_ended`, `phase`,
//! `player_connecting`, `player_joined`, `player_left`, `players`, `player_count`, `action`, `tick`.

use std::{fmt, sync::Arc};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer},
};
use serde_json::Value;

use super::read::{Object, Place, Problems, Text, describe, quote, whole};
use crate::games::event::{
    Fact, GameEvent, KindEvidence, Phase, PlayerCount, PlayerKind, PlayerRef, TimeSource, Witness,
};

/// Size limit of a body.
pub const MOST_BYTES: usize = 1 << 20;
/// Limit of the events in a body.
pub const MOST_EVENTS: usize = 1_000;
/// Limit of the players in one list.
const MOST_PLAYERS: usize = 10_000;
/// 2000-01-01 and 2100-01-01. What lies outside is a wrong clock or a wrong unit.
const TIMES_MS: std::ops::Range<i64> = 946_684_800_000..4_102_444_800_000;

/// An event as pushed. Which session is meant is found out when it is queued.
#[derive(Clone, Debug, PartialEq)]
pub struct Pushed {
    /// The event; `room` as the sender states it.
    pub event: GameEvent,
    /// The sender's id of the session that the event belongs to.
    pub session: Option<Arc<str>>,
    /// Position in the array; `None` where the body is one event.
    pub index: Option<usize>,
}

/// Why a body was refused as a whole.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Larger than [`MOST_BYTES`].
    #[error("the body has {bytes} bytes, at most {MOST_BYTES} are taken: send fewer events at a time")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// Not JSON (RFC 8259).
    #[error("the body is not JSON: {message}")]
    NotJson {
        /// The parser's message, with line and column.
        message: String,
    },
    /// More than [`MOST_EVENTS`].
    #[error("the body has more than {MOST_EVENTS} events: send fewer at a time")]
    TooManyEvents,
    /// JSON, but not what the schema says.
    #[error("{0}")]
    Invalid(Problems),
}

/// Reads a body. `received_unix_ms` is the time of events that state none.
pub fn parse(body: &[u8], received_unix_ms: i64) -> Result<Vec<Pushed>, ParseError> {
    if body.len() > MOST_BYTES {
        return Err(ParseError::TooLarge { bytes: body.len() });
    }
    let mut reader = Reader {
        received_unix_ms,
        events: Vec::new(),
        problems: Problems::default(),
        too_many: false,
    };
    let mut json = serde_json::Deserializer::from_slice(body);
    let read = json.deserialize_any(&mut reader).and_then(|()| json.end());
    if reader.too_many {
        return Err(ParseError::TooManyEvents);
    }
    match read {
        Ok(()) => {}
        // JSON, but neither object nor array.
        Err(error) if error.is_data() => {
            reader.problems.add(
                &Place::DOCUMENT,
                "an event (an object) or an array of events",
                error,
            );
        }
        Err(error) => {
            return Err(ParseError::NotJson {
                message: error.to_string(),
            });
        }
    }
    if reader.problems.is_empty() {
        Ok(reader.events)
    } else {
        Err(ParseError::Invalid(reader.problems))
    }
}

/// Takes events one by one, so that never more than one of them is held as a tree.
struct Reader {
    received_unix_ms: i64,
    events: Vec<Pushed>,
    problems: Problems,
    too_many: bool,
}

impl<'de> Visitor<'de> for &mut Reader {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter) -> fmt::Result {
        out.write_str("an event (an object) or an array of events")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        let mut index = 0;
        while let Some(value) = elements.next_element::<Value>()? {
            if index == MOST_EVENTS {
                self.too_many = true;
                return Err(serde::de::Error::custom("too many events"));
            }
            self.event(&value, &Place::DOCUMENT.element(index), Some(index));
            index += 1;
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<(), A::Error> {
        let value = Value::deserialize(MapAccessDeserializer::new(fields))?;
        self.event(&value, &Place::DOCUMENT, None);
        Ok(())
    }
}

/// Fields that every event may have.
const COMMON: [&str; 5] = ["type", "server", "time", "room", "session"];

#[derive(Clone, Copy)]
enum Type {
    ServerStarting,
    ServerReady,
    ServerStopping,
    SessionStarted,
    SessionEnded,
    Phase,
    PlayerConnecting,
    PlayerJoined,
    PlayerLeft,
    Players,
    PlayerCount,
    Action,
    Tick,
}

/// Name, type, fields beside the common ones.
const TYPES: [(&str, Type, &[&str]); 13] = [
    ("server_starting", Type::ServerStarting, &[]),
    ("server_ready", Type::ServerReady, &[]),
    ("server_stopping", Type::ServerStopping, &[]),
    ("session_started", Type::SessionStarted, &["map", "mode"]),
    ("session_ended", Type::SessionEnded, &["reason"]),
    ("phase", Type::Phase, &["phase"]),
    ("player_connecting", Type::PlayerConnecting, &["player"]),
    ("player_joined", Type::PlayerJoined, &["player"]),
    ("player_left", Type::PlayerLeft, &["player", "reason"]),
    ("players", Type::Players, &["players"]),
    ("player_count", Type::PlayerCount, &["online", "bots", "max"]),
    ("action", Type::Action, &["action", "player"]),
    ("tick", Type::Tick, &["rate_hz", "time_ms"]),
];

/// `crashed` is not among them: whoever crashes does not say so.
const PHASES: [(&str, Phase); 5] = [
    ("idle", Phase::Idle),
    ("lobby", Phase::Lobby),
    ("loading", Phase::Loading),
    ("active", Phase::Active),
    ("ended", Phase::Ended),
];

impl Reader {
    fn event(&mut self, value: &Value, place: &Place, index: Option<usize>) {
        let problems = &mut self.problems;
        let Value::Object(fields) = value else {
            problems.add(place, "an event (an object)", describe(value));
            return;
        };
        // Which fields are known depends on the type: without one nothing else can be judged.
        let spelled = fields.get("type");
        let known = spelled
            .and_then(Value::as_str)
            .and_then(|name| TYPES.iter().find(|(known, ..)| *known == name));
        let Some((_, kind, own)) = known else {
            let names = TYPES.map(|(name, ..)| name).join(", ");
            let found = spelled.map_or("nothing".into(), describe);
            problems.add(&place.field("type"), format_args!("one of {names}"), found);
            return;
        };
        let allowed = [&COMMON, *own].concat();
        let Some(object) = Object::new(value, place, &allowed, problems) else {
            return;
        };
        let server = object.needed_text("server", Text::Word, problems);
        let stated = stated_time(&object, problems);
        let room = object.text("room", Text::Word, problems);
        let session = object.text("session", Text::Word, problems);
        let fact = fact(*kind, &object, session.clone(), problems);
        // Where one is absent, a problem says why.
        if let (Some(server), Some(fact)) = (server, fact) {
            self.events.push(Pushed {
                event: GameEvent {
                    server,
                    unix_ms: stated.unwrap_or(self.received_unix_ms),
                    time: stated.map_or(TimeSource::Read, |_| TimeSource::Stated),
                    witness: Witness::Push,
                    room,
                    fact,
                },
                session,
                index,
            });
        }
    }
}

fn fact(kind: Type, object: &Object, session: Option<Arc<str>>, problems: &mut Problems) -> Option<Fact> {
    Some(match kind {
        Type::ServerStarting => Fact::ServerStarting,
        Type::ServerReady => Fact::ServerReady,
        Type::ServerStopping => Fact::ServerStopping,
        Type::SessionStarted => Fact::MatchBegun {
            map: object.text("map", Text::Word, problems),
            mode: object.text("mode", Text::Word, problems),
            id: session,
        },
        Type::SessionEnded => Fact::MatchEnded {
            reason: object.text("reason", Text::Free, problems),
        },
        Type::Phase => Fact::Phase(phase(object, problems)?),
        Type::PlayerConnecting => Fact::PlayerConnecting(needed_player(object, problems)?),
        Type::PlayerJoined => Fact::PlayerJoined(needed_player(object, problems)?),
        Type::PlayerLeft => {
            let reason = object.text("reason", Text::Free, problems);
            Fact::PlayerLeft {
                player: needed_player(object, problems)?,
                reason,
            }
        }
        Type::Players => Fact::Roster(players(object, problems)?),
        Type::PlayerCount => Fact::PlayerCount(count(object, problems)?),
        Type::Action => {
            let player = object
                .get("player")
                .and_then(|value| player(value, &object.place.field("player"), problems));
            Fact::PlayerAction {
                player,
                action: object.needed_text("action", Text::Word, problems)?,
            }
        }
        Type::Tick => {
            if object.get("rate_hz").is_none() && object.get("time_ms").is_none() {
                problems.add(object.place, "`rate_hz` or `time_ms`", "neither");
            }
            let time_ms = object.positive("time_ms", 3_600_000.0, problems);
            Fact::Tick {
                rate_hz: object.positive("rate_hz", 1_000_000.0, problems),
                time_ns: time_ms.map(|time| time * 1e6),
            }
        }
    })
}

/// When the event says that it happened.
fn stated_time(object: &Object, problems: &mut Problems) -> Option<i64> {
    let value = object.get("time")?;
    let unix_ms = match value {
        Value::String(text) => text
            .parse::<jiff::Timestamp>()
            .ok()
            .map(jiff::Timestamp::as_millisecond),
        other => whole(other).and_then(|number| i64::try_from(number).ok()),
    };
    let sensible = unix_ms.filter(|time| TIMES_MS.contains(time));
    if sensible.is_none() {
        let expected = "RFC 3339 such as \"2031-05-06T07:08:09.123Z\", or milliseconds since 1970 (UTC), between 2000 and 2100";
        object.wrong("time", expected, value, problems);
    }
    sensible
}

fn phase(object: &Object, problems: &mut Problems) -> Option<Phase> {
    let expected = || format!("one of {}", PHASES.map(|(name, _)| name).join(", "));
    let Some(value) = object.get("phase") else {
        object.missing("phase", expected(), problems);
        return None;
    };
    let phase = value.as_str().and_then(|name| {
        PHASES
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, phase)| *phase)
    });
    if phase.is_none() {
        object.wrong("phase", expected(), value, problems);
    }
    phase
}

fn count(object: &Object, problems: &mut Problems) -> Option<PlayerCount> {
    if object.get("online").is_none() {
        object.missing("online", "the number of players, bots included", problems);
    }
    let online = object.count("online", problems);
    let bots = object.count("bots", problems);
    let max = object.count("max", problems);
    let online = online?;
    if let Some(bots) = bots.filter(|bots| *bots > online) {
        let expected = format_args!("at most `online` ({online})");
        problems.add(&object.place.field("bots"), expected, bots);
    }
    Some(PlayerCount { online, bots, max })
}

fn players(object: &Object, problems: &mut Problems) -> Option<Vec<PlayerRef>> {
    let expected = format_args!("an array of at most {MOST_PLAYERS} players");
    let Some(value) = object.get("players") else {
        object.missing("players", expected, problems);
        return None;
    };
    let Some(list) = value.as_array().filter(|list| list.len() <= MOST_PLAYERS) else {
        object.wrong("players", expected, value, problems);
        return None;
    };
    let place = object.place.field("players");
    // One that cannot be read leaves a problem, and then nothing of the request is used.
    let read = list
        .iter()
        .enumerate()
        .filter_map(|(index, value)| player(value, &place.element(index), problems));
    Some(read.collect())
}

fn needed_player(object: &Object, problems: &mut Problems) -> Option<PlayerRef> {
    match object.get("player") {
        Some(value) => player(value, &object.place.field("player"), problems),
        None => {
            object.missing("player", "an object with id, name, slot or address", problems);
            None
        }
    }
}

fn player(value: &Value, place: &Place, problems: &mut Problems) -> Option<PlayerRef> {
    let allowed = ["id", "name", "slot", "address", "kind"];
    let object = Object::new(value, place, &allowed, problems)?;
    if allowed[..4].iter().all(|name| object.get(name).is_none()) {
        problems.add(place, "at least one of id, name, slot, address", "none of them");
        return None;
    }
    let mut player = PlayerRef {
        platform_id: object.text("id", Text::Word, problems),
        slot: object.exact("slot", problems),
        name: object.text("name", Text::Free, problems),
        ..PlayerRef::default()
    };
    if let Some((address, port)) = object.address("address", problems) {
        player = player.with_address(address, port);
    }
    match object.get("kind").map(|kind| (kind, kind.as_str())) {
        None => {}
        Some((_, Some("human"))) => player = player.with_kind(PlayerKind::Human, KindEvidence::Push),
        Some((_, Some("bot"))) => player = player.with_kind(PlayerKind::Bot, KindEvidence::Push),
        Some((_, Some(other))) => {
            problems.add(&place.field("kind"), "human or bot", quote(other));
        }
        Some((other, None)) => problems.add(&place.field("kind"), "human or bot", describe(other)),
    }
    Some(player)
}
