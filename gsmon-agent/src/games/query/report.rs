//! What goes into the schedule and what comes out: targets, reports, counters.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, mpsc},
    time::Duration,
};

use super::{
    super::event::{Fact, GameEvent, TimeSource, Witness},
    FailureKind, QueryAnswer, QueryError, Reader,
};
use crate::config::{QueryProtocol, QuerySettings};

/// A server that is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryTarget {
    /// Its name in the configuration.
    pub server: Arc<str>,
    /// How.
    pub protocol: QueryProtocol,
    /// Where; of no meaning to [`QueryProtocol::Http`].
    pub address: SocketAddr,
    /// Network namespace to ask from, where it is not the agent's own.
    pub netns: Option<PathBuf>,
    /// The process that answers there, where it is known: another one may answer otherwise.
    pub process: Option<u32>,
    /// Interval, timeout, password, document.
    pub settings: QuerySettings,
}

impl QueryTarget {
    /// Is it the same question to the same place, whoever answers there now?
    pub(super) fn asks_the_same(&self, other: &Self) -> bool {
        let Self {
            server,
            protocol,
            address,
            netns,
            process: _,
            settings,
        } = self;
        (server, protocol, address, netns, settings)
            == (
                &other.server,
                &other.protocol,
                &other.address,
                &other.netns,
                &other.settings,
            )
    }
}

/// What came of one question.
#[derive(Debug)]
pub struct QueryReport {
    /// Name of the server.
    pub server: Arc<str>,
    /// When the answer was there, or the question was given up; milliseconds since the Unix epoch.
    pub unix_ms: i64,
    /// The answer.
    pub result: Result<QueryAnswer, QueryError>,
    /// What it says, see [`QueryAnswer::facts`].
    pub facts: Vec<Fact>,
}

impl QueryReport {
    /// The facts as events.
    pub fn events(&self) -> impl Iterator<Item = GameEvent> {
        self.facts.iter().map(|fact| GameEvent {
            server: self.server.clone(),
            unix_ms: self.unix_ms,
            time: TimeSource::Read,
            witness: Witness::Query,
            room: None,
            fact: fact.clone(),
        })
    }
}

/// What became of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// It is where it should be.
    Taken,
    /// There was no room for it.
    Lost,
}

/// A sink that is a channel of bounded length.
pub fn bounded(
    capacity: usize,
) -> (
    impl Fn(QueryReport) -> Delivery + Send + Sync,
    mpsc::Receiver<QueryReport>,
) {
    let (sender, receiver) = mpsc::sync_channel(capacity);
    let sink = move |report| match sender.try_send(report) {
        Ok(()) => Delivery::Taken,
        Err(_) => Delivery::Lost,
    };
    (sink, receiver)
}

/// Counters of one server; they survive a change of its settings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueryStatistics {
    /// Questions.
    pub asked: u64,
    /// Answers.
    pub answered: u64,
    pub(super) failed: [u64; FailureKind::ALL.len()],
    /// Reports that the sink had no room for.
    pub lost_reports: u64,
    /// Failures since the last answer.
    pub failed_in_a_row: u32,
    /// Round trip of the last answer.
    pub round_trip: Option<Duration>,
    /// Who read the last answer.
    pub reader: Option<Reader>,
}

impl QueryStatistics {
    /// Failures of one sort.
    pub fn failed(&self, kind: FailureKind) -> u64 {
        self.failed[kind as usize]
    }
}
