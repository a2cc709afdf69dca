//! What agent and worker say to each other: one JSON document a line, a question, then a reply to it.

use std::{net::SocketAddr, sync::Arc};

use gamedig::{
    ExtraRequestSettings, Game,
    games::minecraft,
    protocols::{
        Protocol, gamespy::GameSpyVersion, quake::QuakeVersion, types::ProprietaryProtocol, valve::Engine,
    },
};
use serde::{Deserialize, Serialize};

use super::super::{
    super::event::{KindEvidence, PlayerKind, PlayerRef},
    Listed, QueryAnswer, QueryError,
    wire::{self, MOST_PLAYERS},
};
use crate::config::QueryProtocol;

/// Bytes of a reply, at most.
pub(super) const REPLY_BYTES: usize = 4 << 20;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in super::super) enum Wanted {
    /// One game, by the crate's name of it.
    Game(String),
    /// Whatever answers this protocol.
    Protocol(Known),
}

/// A protocol that both the crate and gsmon can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in super::super) enum Known {
    A2s,
    Bedrock,
    Quake1,
    Quake2,
    Quake3,
    Gamespy1,
    Gamespy2,
    Gamespy3,
    Unreal2,
}

impl Known {
    /// The protocol of a configuration, if it is one of these.
    pub(in super::super) fn of(protocol: QueryProtocol) -> Option<Self> {
        Some(match protocol {
            QueryProtocol::A2s => Self::A2s,
            QueryProtocol::MinecraftBedrock => Self::Bedrock,
            QueryProtocol::Quake1 => Self::Quake1,
            QueryProtocol::Quake2 => Self::Quake2,
            QueryProtocol::Quake3 => Self::Quake3,
            QueryProtocol::Gamespy1 => Self::Gamespy1,
            QueryProtocol::Gamespy2 => Self::Gamespy2,
            QueryProtocol::Gamespy3 => Self::Gamespy3,
            QueryProtocol::Unreal2 => Self::Unreal2,
            QueryProtocol::Minecraft
            | QueryProtocol::MinecraftQuery
            | QueryProtocol::Sqp
            | QueryProtocol::SourceRcon
            | QueryProtocol::MinecraftRcon
            | QueryProtocol::Teeworlds
            | QueryProtocol::Http
            | QueryProtocol::Gamedig
            | QueryProtocol::Off => return None,
        })
    }

    /// The same in the crate's words: no game in particular.
    pub(super) fn protocol(self) -> Protocol {
        match self {
            Self::A2s => Protocol::Valve(Engine::Source(None)),
            Self::Bedrock => {
                Protocol::PROPRIETARY(ProprietaryProtocol::Minecraft(Some(minecraft::Server::Bedrock)))
            }
            Self::Quake1 => Protocol::Quake(QuakeVersion::One),
            Self::Quake2 => Protocol::Quake(QuakeVersion::Two),
            Self::Quake3 => Protocol::Quake(QuakeVersion::Three),
            Self::Gamespy1 => Protocol::Gamespy(GameSpyVersion::One),
            Self::Gamespy2 => Protocol::Gamespy(GameSpyVersion::Two),
            Self::Gamespy3 => Protocol::Gamespy(GameSpyVersion::Three),
            Self::Unreal2 => Protocol::Unreal2,
        }
    }

    /// Does the protocol list players at all?
    pub(in super::super) fn lists_players(self) -> bool {
        self != Self::Bedrock
    }
}

impl Wanted {
    /// How the crate asks for it; none where it does not know the game.
    pub(super) fn game(&self) -> Option<Game> {
        match self {
            Self::Game(name) => gamedig::GAMES.get(name).cloned(),
            Self::Protocol(known) => Some(Game {
                name: "",
                default_port: 0,
                protocol: known.protocol(),
                request_settings: ExtraRequestSettings::default().set_check_app_id(false),
            }),
        }
    }
}

/// Whom to ask.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Question {
    pub(super) wanted: Wanted,
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
