//! Whoever answers questions about all hosts: out of the source's past, and of what agents say that runs. Not here: the
//! questions (`questions`), how the source is asked (`source`).

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::http::StatusCode;
use tokio::sync::OwnedSemaphorePermit;

use super::{
    Fleet,
    board::HostPicture,
    source::{AskError, api::PastError},
};
use crate::{
    analysis::queue::{Running, Waiting, facts::running},
    questions::{
        QueueFacts,
        serve::{Answering, Asked, Desk, Refusal},
    },
};

/// Answers about all hosts.
#[derive(Clone, Debug)]
pub struct FleetDesk {
    fleet: Fleet,
}

impl FleetDesk {
    /// Of this fleet.
    pub fn new(fleet: Fleet) -> Self {
        Self { fleet }
    }
}

impl Desk for FleetDesk {
    fn answer(self: Arc<Self>, asked: Asked, place: OwnedSemaphorePermit) -> Answering {
        Box::pin(async move {
            let board = self.fleet.board.clone();
            let told = self.fleet.source.past(move |past| {
                let _place = place;
                asked.of(past, |sent| queue_facts(sent, &board.picture(Instant::now())))
            });
            match told.await {
                Ok(answer) => answer,
                Err(PastError::NoSource) => Err(Refusal::new(StatusCode::NOT_FOUND, PastError::NoSource)),
                Err(PastError::Ask(AskError::Source(error))) => Err(error.into()),
                Err(error) => Err(Refusal::new(StatusCode::BAD_GATEWAY, error)),
            }
        })
    }

    /// No longer than a connection over TLS lives.
    fn patience(&self) -> Duration {
        Duration::from_secs(60)
    }
}

/// What runs on the hosts that are known; the others are named.
fn queue_facts(sent: Option<Vec<Waiting>>, picture: &[HostPicture]) -> Result<QueueFacts, Refusal> {
    let queue = sent.ok_or_else(|| {
        let error = "a fleet is told no queue: send one, POST /api/v1/queue/prediction";
        Refusal::new(StatusCode::NOT_FOUND, error)
    })?;
    let mut facts = QueueFacts {
        queue,
        ..QueueFacts::default()
    };
    for host in picture {
        match &host.report {
            Some(report) => {
                let up = report.snapshot.servers.iter().filter_map(running);
                facts.running.extend(up.map(|server| Running {
                    server: format!("{}/{}", host.name, server.server),
                    ..server
                }));
            }
            None => facts.unknown_hosts.push(host.name.to_string()),
        }
    }
    Ok(facts)
}
