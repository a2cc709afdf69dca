//! What agent and worker say to each other: one JSON document a line, a question, then a reply to it.

use std::{net::SocketAddr, sync::Arc};

use serde::{Deserialize, Serialize};

use super::super::{
    super::event::{KindEvidence, PlayerKind, PlayerRef},
    Listed, QueryAnswer, QueryError,
    wire::{self, MOST_PLAYERS},
};

/// Bytes of a reply, at most.
pub(super) const REPLY_BYTES: usize = 4 << 20;

/// Whom to ask.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Question {
    /// The crate's name of the game.
    pub(super) game: String,
    /// Where the agent listens for the crate.
    pub(super) address: SocketAddr,
    /// Whom the server is to think that the crate asks.
    pub(super) host: String,
    pub(super) timeout_ms: u64,
}

/// What the worker says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Reply {
    /// It has given up its privileges and waits for questions.
    Ready,
    /// It could not, and ends.
    Cannot(String),
    /// The crate has read an answer.
    Answer(Reading),
    /// It has not.
    Failed(Failure),
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Failure {
    Timeout,
    /// The crate makes no sense of it, or says that another game answers.
    Unreadable,
    /// The crate panicked.
    Panicked,
    UnknownGame,
}

/// An answer as the crate reads it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Reading {
    pub(super) name: Option<String>,
    pub(super) version: Option<String>,
    pub(super) map: Option<String>,
    pub(super) mode: Option<String>,
    pub(super) online: u32,
    pub(super) bots: Option<u32>,
    pub(super) max: u32,
    pub(super) players: Option<Vec<Row>>,
}

/// A player.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) id: Option<String>,
    pub(super) kind: Option<RowKind>,
}

/// Human or bot, where the protocol tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum RowKind {
    Human,
    Bot,
}

impl From<Failure> for QueryError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Timeout => Self::Timeout,
            Failure::Unreadable => Self::Malformed("gamedig cannot read it as this game's"),
            Failure::Panicked => Self::Malformed("gamedig panics on it"),
            Failure::UnknownGame => Self::Settings("query.game is no game that gamedig knows".to_owned()),
        }
    }
}

impl From<Reading> for QueryAnswer {
    /// The worker is trusted no more than the server that it read: texts and lists are cut here again.
    fn from(reading: Reading) -> Self {
        let shown = |text: Option<String>| text.and_then(short);
        let players = reading.players.map(|rows| {
            rows.into_iter()
                .take(MOST_PLAYERS)
                .map(|row| {
                    let player = PlayerRef {
                        name: short(row.name),
                        platform_id: row.id.and_then(short),
                        ..PlayerRef::default()
                    };
                    match row.kind {
                        None => player,
                        Some(RowKind::Human) => player.with_kind(PlayerKind::Human, KindEvidence::Query),
                        Some(RowKind::Bot) => player.with_kind(PlayerKind::Bot, KindEvidence::Query),
                    }
                })
                .collect()
        });
        Self {
            name: shown(reading.name),
            version: shown(reading.version),
            map: shown(reading.map),
            mode: shown(reading.mode),
            players: players.and_then(|players| Listed::by_count(players, Some(reading.online))),
            online: Some(reading.online),
            bots: reading.bots,
            max: Some(reading.max),
            ..Self::default()
        }
    }
}

fn short(text: String) -> Option<Arc<str>> {
    wire::some(wire::text(text.as_bytes()))
}
