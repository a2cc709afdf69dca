//! Reading one agent once: connect, check who it is, ask, and take an answer that is bounded in time, bytes and sense.
//! Nothing that an agent sends is believed to be of any size or shape.

use std::{collections::HashSet, io, sync::Arc, time::Duration};

use http_body_util::{BodyExt, Empty};
use hyper::{
    Request,
    body::{Body, Bytes, Incoming},
    header,
};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::{
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout_at},
};
use tokio_rustls::{TlsConnector, rustls::pki_types::ServerName};

use super::trust;
use crate::{
    analysis::advice::seen::SeenGroup,
    config::{AgentEntry, FieldError, FleetSettings},
    serve::{
        report::AgentReport,
        secret::{self, SecretError},
        tls::TlsError,
    },
};

/// Largest token file.
const MOST_TOKEN_BYTES: u64 = 1 << 16;
/// An answer's head may be this large.
const MOST_HEAD_BYTES: usize = 64 << 10;
/// So much of a refusal is shown.
const SHOWN_CHARACTERS: usize = 200;
/// Answers of all agents together that are held at a time, KiB.
const BUDGET_KIB: usize = 256 << 10;
/// Answers that are taken apart at a time: the rest of the machine is somebody else's.
const PARSED_AT_A_TIME: usize = 2;
/// Servers of a host, players of a host: more is no host but a fault, or malice.
const MOST_SERVERS: usize = 16_384;
const MOST_PLAYERS: usize = 200_000;
/// Characters of a server's name, as the agent's configuration has it.
const MOST_NAME: usize = 128;

/// Why an agent could not be read. No message has a token in it.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The configuration.
    #[error(transparent)]
    Entry(#[from] FieldError),
    /// The token file.
    #[error("token_file: {0}")]
    Token(#[from] SecretError),
    /// Nothing in the token file.
    #[error(
        "token_file: {path} has no token of printable ASCII characters: copy a line of the agent's token_file"
    )]
    NoToken {
        /// Which file.
        path: std::path::PathBuf,
    },
    /// CA or pinned certificate.
    #[error(transparent)]
    Certificates(#[from] TlsError),
    /// Neither CA nor pinned certificate.
    #[error("neither ca_file nor pinned_certificate_file is given")]
    NoTrust,
    /// No connection.
    #[error("cannot connect to {place}: {source}")]
    Connect {
        /// Host and port.
        place: String,
        /// Why.
        source: io::Error,
    },
    /// No trust, or no TLS.
    #[error("TLS: {0}")]
    Tls(String),
    /// Not in time.
    #[error("no answer within {limit:?} (it was {step}): is the agent overloaded, or a firewall in the way?")]
    Timeout {
        /// The limit.
        limit: Duration,
        /// What was being done.
        step: &'static str,
    },
    /// The token is not known there.
    #[error("it does not know the token: compare token_file here with token_file of [api.remote] there")]
    Unauthorized,
    /// Another answer than wanted.
    #[error("it answered {status}: {said}")]
    Status {
        /// HTTP status.
        status: u16,
        /// The beginning of what it said.
        said: String,
    },
    /// Not HTTP, or broken off.
    #[error("it does not speak HTTP as an agent does: {0}")]
    Protocol(String),
    /// Larger than allowed.
    #[error(
        "its answer has more than {most} bytes: raise most_bytes under [fleet] if the host is that large"
    )]
    TooLarge {
        /// The limit.
        most: u64,
    },
    /// Too much at once.
    #[error("too much is being received from all agents at once")]
    Busy,
    /// Not a report.
    #[error("its answer is unreadable ({0}): are agent and fleet of one version?")]
    Unreadable(String),
    /// A report that cannot be true.
    #[error("its answer cannot be true: {0}")]
    Senseless(&'static str),
}

impl ReadError {
    /// Every sort, in a fixed order.
    pub const SORTS: [&str; 10] = [
        "configuration",
        "connect",
        "tls",
        "timeout",
        "unauthorized",
        "status",
        "protocol",
        "too_large",
        "busy",
        "unreadable",
    ];

    /// Its sort, for counting.
    pub fn sort(&self) -> &'static str {
        match self {
            Self::Entry(_)
            | Self::Token(_)
            | Self::NoToken { .. }
            | Self::Certificates(_)
            | Self::NoTrust => "configuration",
            Self::Connect { .. } => "connect",
            Self::Tls(_) => "tls",
            Self::Timeout { .. } => "timeout",
            Self::Unauthorized => "unauthorized",
            Self::Status { .. } => "status",
            Self::Protocol(_) => "protocol",
            Self::TooLarge { .. } => "too_large",
            Self::Busy => "busy",
            Self::Unreadable(_) | Self::Senseless(_) => "unreadable",
        }
    }
}

/// What all readers share.
#[derive(Clone, Debug)]
pub struct Budget {
    kib: Arc<Semaphore>,
    parsing: Arc<Semaphore>,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            kib: Arc::new(Semaphore::new(BUDGET_KIB)),
            parsing: Arc::new(Semaphore::new(PARSED_AT_A_TIME)),
        }
    }
}

/// Reads one agent.
#[derive(Clone, Debug)]
pub struct AgentReader {
    agent: AgentEntry,
    limit: Duration,
    most_bytes: u64,
    budget: Budget,
}

/// The end of all steps of a reading.
#[derive(Clone, Copy)]
struct Deadline {
    at: Instant,
    limit: Duration,
}

impl Deadline {
    async fn keep<T>(self, step: &'static str, work: impl Future<Output = T>) -> Result<T, ReadError> {
        timeout_at(self.at, work).await.map_err(|_| ReadError::Timeout {
            limit: self.limit,
            step,
        })
    }
}

impl AgentReader {
    /// For an entry of the configuration.
    pub fn new(agent: AgentEntry, settings: &FleetSettings, budget: Budget) -> Self {
        Self {
            agent,
            limit: settings.timeout,
            most_bytes: settings.most_bytes,
            budget,
        }
    }

    /// Name of the agent.
    pub fn name(&self) -> &str {
        &self.agent.name
    }

    /// Reads it.
    ///
    /// # Errors
    /// Whatever the agent does, within the timeout.
    pub async fn read(&self) -> Result<AgentReport, ReadError> {
        let deadline = self.deadline();
        let body = self.ask("/api/v1/report", deadline).await?;
        let made = |report: AgentReport| check(&report).map(|()| report);
        self.understand(body, deadline, made).await
    }

    /// Asks what it has seen of each mode and region, with capacities for an experience.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub async fn demand(&self, experience: &str) -> Result<Vec<SeenGroup>, ReadError> {
        let deadline = self.deadline();
        let path = format!("/api/v1/demand?target_player_experience={experience}");
        let body = self.ask(&path, deadline).await?;
        let made = |groups: Vec<SeenGroup>| check_demand(&groups).map(|()| groups);
        self.understand(body, deadline, made).await
    }

    fn deadline(&self) -> Deadline {
        Deadline {
            at: Instant::now() + self.limit,
            limit: self.limit,
        }
    }

    async fn ask(&self, path: &str, deadline: Deadline) -> Result<Received, ReadError> {
        let place = self.agent.place()?;
        let token = self.token()?;
        let tls = TlsConnector::from(trust::client_config(&self.agent)?);
        let name = ServerName::try_from(place.host.clone())
            .map_err(|_| ReadError::Tls(format!("`{}` is no name of a host", place.host)))?;
        let stream = deadline
            .keep(
                "connecting",
                TcpStream::connect((place.host.as_str(), place.port)),
            )
            .await?
            .map_err(|source| ReadError::Connect {
                place: format!("{}:{}", place.host, place.port),
                source,
            })?;
        let stream = deadline
            .keep("in the TLS handshake", tls.connect(name, stream))
            .await?
            .map_err(|error| ReadError::Tls(trust::explain(&error, &place.host)))?;
        let protocol = |error: hyper::Error| ReadError::Protocol(error.to_string());
        let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
            .max_buf_size(MOST_HEAD_BYTES)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(protocol)?;
        // Ends with this reading, however that ends.
        let _connection = AbortOnDrop(tokio::spawn(connection));
        let request = Request::get(path)
            .header(header::HOST, place.host.as_str())
            .header(header::AUTHORIZATION, token)
            .body(Empty::<Bytes>::new())
            .map_err(|error| ReadError::Protocol(error.to_string()))?;
        let response = deadline
            .keep("waiting for the answer", sender.send_request(request))
            .await?
            .map_err(protocol)?;
        let status = response.status().as_u16();
        let body = deadline
            .keep("receiving the answer", self.collect(response.into_body()))
            .await?;
        match status {
            200 => body,
            401 => Err(ReadError::Unauthorized),
            _ => Err(ReadError::Status {
                status,
                said: body.map(|body| beginning(&body.bytes)).unwrap_or_default(),
            }),
        }
    }

    /// `Bearer TOKEN`; the first line of the file that is no comment.
    fn token(&self) -> Result<header::HeaderValue, ReadError> {
        let path = &self.agent.token_file;
        let bytes = secret::read(path, MOST_TOKEN_BYTES)?;
        let none = || ReadError::NoToken { path: path.clone() };
        let text = std::str::from_utf8(&bytes).map_err(|_| none())?;
        let token = text
            .lines()
            .map(str::trim)
            .find(|line| !line.is_empty() && !line.starts_with('#'))
            .and_then(|line| line.split_whitespace().next())
            .filter(|token| token.bytes().all(|byte| byte.is_ascii_graphic()))
            .ok_or_else(none)?;
        let mut value = header::HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| none())?;
        value.set_sensitive(true);
        Ok(value)
    }

    async fn collect(&self, mut body: Incoming) -> Result<Received, ReadError> {
        let too_large = || ReadError::TooLarge {
            most: self.most_bytes,
        };
        if body.size_hint().lower() > self.most_bytes {
            return Err(too_large());
        }
        let mut received = Received {
            bytes: Vec::new(),
            room: None,
        };
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| ReadError::Protocol(error.to_string()))?;
            let Some(data) = frame.data_ref() else { continue };
            if (received.bytes.len() + data.len()) as u64 > self.most_bytes {
                return Err(too_large());
            }
            received.make_room(&self.budget, data.len())?;
            received.bytes.extend_from_slice(data);
        }
        Ok(received)
    }

    async fn understand<T: DeserializeOwned + Send + 'static>(
        &self,
        body: Received,
        deadline: Deadline,
        sense: impl FnOnce(T) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, ReadError> {
        let turn = deadline
            .keep(
                "waiting for its turn here",
                self.budget.parsing.clone().acquire_owned(),
            )
            .await?
            .map_err(|_| ReadError::Busy)?;
        let work = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let told: T = serde_json::from_slice(&body.bytes)
                .map_err(|error| ReadError::Unreadable(place_of(&error)))?;
            sense(told)
        });
        deadline
            .keep("taking the answer apart", work)
            .await?
            .unwrap_or_else(|_| Err(ReadError::Senseless("it made gsmon fail")))
    }
}

/// A body, and room for it.
struct Received {
    bytes: Vec<u8>,
    room: Option<OwnedSemaphorePermit>,
}

impl Received {
    fn make_room(&mut self, budget: &Budget, more: usize) -> Result<(), ReadError> {
        let have = self.room.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let want = (self.bytes.len() + more).div_ceil(1 << 10);
        let missing = u32::try_from(want.saturating_sub(have)).map_err(|_| ReadError::Busy)?;
        if missing == 0 {
            return Ok(());
        }
        let permit = budget
            .kib
            .clone()
            .try_acquire_many_owned(missing)
            .map_err(|_| ReadError::Busy)?;
        match &mut self.room {
            Some(room) => room.merge(permit),
            None => self.room = Some(permit),
        }
        Ok(())
    }
}

struct AbortOnDrop<T>(tokio::task::JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What is wrong and where, without a word of the document: it may be anything.
fn place_of(error: &serde_json::Error) -> String {
    let what = match error.classify() {
        serde_json::error::Category::Io => "it cannot be read",
        serde_json::error::Category::Syntax => "it is no JSON",
        serde_json::error::Category::Data => "a field is missing or of another sort",
        serde_json::error::Category::Eof => "it breaks off",
    };
    format!("{what}, at line {}, column {}", error.line(), error.column())
}

fn beginning(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(4 * SHOWN_CHARACTERS)]);
    text.chars()
        .take(SHOWN_CHARACTERS)
        .map(|sign| if sign.is_control() { ' ' } else { sign })
        .collect()
}

/// What no agent says.
fn check(report: &AgentReport) -> Result<(), ReadError> {
    let snapshot = &report.snapshot;
    if !report.age_seconds.is_finite() || report.age_seconds < 0.0 || !snapshot.unix_time_seconds.is_finite()
    {
        return Err(ReadError::Senseless("its times are no times"));
    }
    if snapshot.servers.len() > MOST_SERVERS || report.players.len() > MOST_PLAYERS {
        return Err(ReadError::Senseless(
            "it has more servers or players than a host can have",
        ));
    }
    let mut names = HashSet::new();
    for server in &snapshot.servers {
        if server.name.chars().count() > MOST_NAME {
            return Err(ReadError::Senseless("the name of a server is too long"));
        }
        if !names.insert(server.name.as_str()) {
            return Err(ReadError::Senseless("two servers have one name"));
        }
    }
    if report
        .players
        .iter()
        .any(|player| !names.contains(&*player.server))
    {
        return Err(ReadError::Senseless("a player is on a server that is not there"));
    }
    if report.version.len() > MOST_NAME
        || report
            .player_key
            .as_ref()
            .is_some_and(|key| key.len() > MOST_NAME)
    {
        return Err(ReadError::Senseless("its version or key is too long"));
    }
    Ok(())
}

/// What no agent has seen.
fn check_demand(groups: &[SeenGroup]) -> Result<(), ReadError> {
    const MOST_GROUPS: usize = 10_000;
    const MOST_POINTS: usize = 500_000;
    const LATEST_MS: i64 = 10_000 * 366 * 86_400_000;
    let points = groups.iter().map(|group| group.points.len()).sum::<usize>();
    let servers = groups.iter().map(|group| group.servers.len()).sum::<usize>();
    if groups.len() > MOST_GROUPS || points > MOST_POINTS || servers > MOST_SERVERS {
        return Err(ReadError::Senseless("it has seen more than a host can have"));
    }
    for group in groups {
        if !(60_000..=86_400_000).contains(&group.step_ms) {
            return Err(ReadError::Senseless("its steps are no steps"));
        }
        let good = |(at, players): &(i64, f64)| {
            (0..LATEST_MS).contains(at) && players.is_finite() && (0.0..1e9).contains(players)
        };
        if !group.points.iter().all(good) {
            return Err(ReadError::Senseless("its counts of players are none"));
        }
        let known = [group.warm_up.seconds, group.cool_down.seconds];
        if known
            .iter()
            .any(|seconds| !(0.0..=7.0 * 86_400.0).contains(seconds))
            || group.size.is_some_and(|size| size.players == 0)
        {
            return Err(ReadError::Senseless("its servers hold nobody, or never start"));
        }
        let names = group.servers.iter().map(|server| server.name.as_str());
        let words = [group.group.mode.as_deref(), group.group.region.as_deref()];
        if names
            .chain(words.into_iter().flatten())
            .any(|word| word.chars().count() > MOST_NAME)
        {
            return Err(ReadError::Senseless("a name is too long"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod properties {
    use super::*;

    proptest::proptest! {
        #[test]
        fn no_answer_makes_it_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..400)) {
            let _ = beginning(&bytes);
            if let Ok(report) = serde_json::from_slice::<AgentReport>(&bytes) {
                let _ = check(&report);
            }
            if let Ok(groups) = serde_json::from_slice::<Vec<SeenGroup>>(&bytes) {
                let _ = check_demand(&groups);
            }
        }
    }
}
