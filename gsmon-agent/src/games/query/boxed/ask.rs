//! One question through a worker: how the crate asks for what is wanted, the relay between it and the server, and what came
//! of it. Which worker, and what becomes of it, is `pool`'s.

use std::{net::SocketAddr, path::Path, time::Instant};

use gamedig::{
    games::minecraft,
    protocols::{Protocol, types::ProprietaryProtocol},
};

use super::{
    super::{QueryAnswer, QueryError, namespace, wire::Deadline},
    pool::{End, GRACE, Worker},
    relay::{self, Cut, Outside, Relay, Transport},
    speech::{Failure, Question, Reply, Wanted},
};
use crate::config::{QueryProtocol, QuerySettings};

/// One question.
#[derive(Clone, Debug)]
pub(in super::super) struct Ask<'a> {
    pub(in super::super) wanted: Wanted,
    pub(in super::super) address: SocketAddr,
    pub(in super::super) netns: Option<&'a Path>,
}

/// What came of it.
#[derive(Debug)]
pub(in super::super) struct Conversation {
    /// What the crate made of it.
    pub(in super::super) result: Result<QueryAnswer, QueryError>,
    /// The server's datagrams, in order, as far as they can be kept.
    pub(in super::super) heard: Vec<Vec<u8>>,
}

impl Conversation {
    pub(super) fn failed(error: QueryError) -> Self {
        Self {
            result: Err(error),
            heard: Vec::new(),
        }
    }
}

/// One question with its relay. The error is the worker's; the server's is in the conversation.
pub(super) fn converse(
    worker: &mut Worker,
    question: &Ask<'_>,
    deadline: Deadline,
) -> Result<Conversation, End> {
    let prepared = transport(&question.wanted).and_then(|transport| {
        let outside = namespace::within(question.netns, || {
            Outside::connect(transport, question.address, deadline)
        })?;
        let left = deadline.left()?;
        Ok((Relay::new(outside, Instant::now() + left)?, left))
    });
    let (mut relay, left) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => return Ok(Conversation::failed(error)),
    };
    let spoken = Question {
        wanted: question.wanted.clone(),
        address: relay.address,
        host: question.address.ip().to_string(),
        timeout_ms: u64::try_from(left.as_millis()).unwrap_or(u64::MAX),
    };
    let reply = worker.ask(&spoken, &mut relay, Instant::now() + left + GRACE)?;
    let result = match (reply, relay.cut()) {
        (Reply::Answer(reading), _) => {
            let mut answer = QueryAnswer::from(reading);
            answer.round_trip = relay.round_trip().unwrap_or_default();
            Ok(answer)
        }
        (Reply::Failed(Failure::UnknownGame), _) => Err(Failure::UnknownGame.into()),
        (Reply::Failed(_), Some(Cut::Refused)) => Err(QueryError::Refused),
        (Reply::Failed(_), Some(Cut::TooLarge)) => Err(QueryError::TooLarge {
            limit: relay::MOST_BYTES,
        }),
        (Reply::Failed(_), Some(Cut::Flood)) => Err(QueryError::Malformed("datagrams without end")),
        (Reply::Failed(_), Some(Cut::Time)) if relay.round_trip().is_none() => Err(QueryError::Timeout),
        (Reply::Failed(Failure::Timeout), _) if relay.round_trip().is_some() => {
            Err(Failure::Unreadable.into())
        }
        (Reply::Failed(failure), _) => Err(failure.into()),
        (Reply::Ready | Reply::Cannot(_), _) => return Err(End::Died),
    };
    Ok(Conversation {
        result,
        heard: relay.into_heard(),
    })
}

/// What a protocol asks the crate for, where nobody else reads it.
pub(in super::super) fn wanted(protocol: QueryProtocol, settings: &QuerySettings) -> Option<Wanted> {
    match protocol {
        QueryProtocol::Minecraft => Some(Wanted::Game("minecraftjava".to_owned())),
        QueryProtocol::Gamedig => Some(Wanted::Game(settings.game.clone().unwrap_or_default())),
        _ => None,
    }
}

/// How the crate asks; its games of more than one way are left out.
fn transport(wanted: &Wanted) -> Result<Transport, QueryError> {
    let known = wanted.game();
    match known.map(|game| game.protocol) {
        Some(Protocol::Gamespy(_) | Protocol::Quake(_) | Protocol::Valve(_) | Protocol::Unreal2) => {
            Ok(Transport::Udp)
        }
        Some(Protocol::PROPRIETARY(ProprietaryProtocol::Minecraft(Some(minecraft::Server::Bedrock)))) => {
            Ok(Transport::Udp)
        }
        Some(Protocol::PROPRIETARY(ProprietaryProtocol::Minecraft(Some(_)))) => Ok(Transport::Tcp),
        Some(Protocol::PROPRIETARY(ProprietaryProtocol::Minecraft(None) | ProprietaryProtocol::Eco))
        | None => Err(Failure::UnknownGame.into()),
        Some(Protocol::PROPRIETARY(_)) => Ok(Transport::Udp),
    }
}
