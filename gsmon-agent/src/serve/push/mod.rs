//! `POST /api/v1/events`: the HTTP side of pushes. On the Unix socket whoever may open it may push; over TCP a token
//! is needed, and the listener is one of its own with bounded connections.
//!
//! Every request is bounded in size and time, and answered with what is wrong and where. What a body means is
//! `games::push`; `docs/push.md` is for senders.

mod metrics;
#[cfg(test)]
mod tests;
mod tokens;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use axum::{
    Json, Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub(super) use self::metrics::encode;
pub use self::tokens::{Grant, Scope, TokenBook, TokenError};
use crate::games::push::{MOST_BYTES, ParseError, Problems, PushSink, Pushed, Refused, RefusedFor, parse};

/// When a sender that met a full queue should try again.
const RETRY_AFTER_SECONDS: &str = "2";
/// A refused body is read (and thrown away) up to this size, so that its sender reads the answer instead of a broken
/// connection.
const MOST_DISCARDED: usize = 8 << 20;

/// Limits of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestLimits {
    /// A request may take this long from its head to its answer.
    pub time: Duration,
    /// Bytes of bodies that are received at a time, all senders together.
    pub bytes: usize,
}

impl Default for RequestLimits {
    fn default() -> Self {
        Self {
            time: Duration::from_secs(10),
            bytes: 16 << 20,
        }
    }
}

/// Who may push.
#[derive(Clone, Debug)]
pub enum Access {
    /// Whoever reaches the listener: the file mode of the Unix socket decides.
    Anyone,
    /// Bearers of a token.
    Tokens(Arc<TokenBook>),
}

/// What the transports share.
#[derive(Clone, Debug)]
pub struct PushGate {
    sink: PushSink,
    limits: RequestLimits,
    receiving: Arc<Semaphore>,
    quiet: Arc<Quiet>,
}

impl PushGate {
    /// A gate in front of a queue.
    pub fn new(sink: PushSink, limits: RequestLimits) -> Self {
        Self {
            sink,
            limits,
            receiving: Arc::new(Semaphore::new(limits.bytes)),
            quiet: Arc::default(),
        }
    }

    /// The queue's sending end.
    pub fn sink(&self) -> &PushSink {
        &self.sink
    }

    /// The routes, for one transport.
    pub fn router(&self, access: Access) -> Router {
        let state = Door {
            gate: self.clone(),
            access,
        };
        Router::new()
            .route("/api/v1/events", post(receive))
            .with_state(state)
    }
}

#[derive(Clone)]
struct Door {
    gate: PushGate,
    access: Access,
}

/// Why a request is not taken.
#[derive(Debug)]
enum Denial {
    Unauthorized,
    Forbidden { server: String },
    MediaType,
    TooLarge,
    TooSlow,
    BrokenOff,
    Busy,
    Body(ParseError),
    Queue(Refused),
}

async fn receive(State(door): State<Door>, request: Request) -> Response {
    match door.take(request).await {
        Ok(accepted) => Json(serde_json::json!({ "accepted": accepted })).into_response(),
        Err(denial) => {
            // The queue counts what it refuses itself.
            if !matches!(denial, Denial::Queue(_)) {
                door.gate.sink.refuse(denial.reason());
            }
            if matches!(denial, Denial::Unauthorized) {
                door.gate.quiet.warn();
            }
            denial.into_response()
        }
    }
}

/// A body that has arrived whole, and room for it.
struct Arrived {
    bytes: Vec<u8>,
    scope: Option<Scope>,
    _room: Room,
}

/// A share of the bytes that may be received at a time.
struct Room {
    _all: OwnedSemaphorePermit,
    _own: Option<OwnedSemaphorePermit>,
}

impl Door {
    async fn take(&self, request: Request) -> Result<usize, Denial> {
        // Only the sender can take long: whoever is told so can be sure that nothing was taken.
        let arrived = tokio::time::timeout(self.gate.limits.time, self.arrive(request))
            .await
            .unwrap_or(Err(Denial::TooSlow))?;
        let sink = self.gate.sink.clone();
        // Reading a mebibyte takes milliseconds: not on the thread that accepts connections.
        tokio::task::spawn_blocking(move || {
            let events = parse(&arrived.bytes, unix_ms()).map_err(Denial::Body)?;
            if let Some(scope) = &arrived.scope {
                check_scope(scope, &events)?;
            }
            sink.offer(events).map_err(Denial::Queue)
        })
        .await
        .unwrap_or(Err(Denial::Busy))
    }

    async fn arrive(&self, request: Request) -> Result<Arrived, Denial> {
        let (head, body) = request.into_parts();
        let grant = match &self.access {
            Access::Anyone => None,
            Access::Tokens(book) => {
                // Nothing of a stranger's body is read.
                let grant = book.grant(head.headers.get(header::AUTHORIZATION));
                Some(grant.ok_or(Denial::Unauthorized)?)
            }
        };
        if !is_plain_json(&head.headers) {
            discard(body).await;
            return Err(Denial::MediaType);
        }
        let announced = head
            .headers
            .get(header::CONTENT_LENGTH)
            .and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
        if announced.is_some_and(|bytes| bytes > MOST_BYTES) {
            discard(body).await;
            return Err(Denial::TooLarge);
        }
        let room = self.reserve(grant.as_ref(), announced.unwrap_or(MOST_BYTES));
        let room = tokio::time::timeout(self.gate.limits.time / 2, room)
            .await
            .unwrap_or(Err(Denial::Busy))?;
        Ok(Arrived {
            bytes: collect(body).await?,
            scope: grant.map(|grant| grant.scope),
            _room: room,
        })
    }

    async fn reserve(&self, grant: Option<&Grant>, bytes: usize) -> Result<Room, Denial> {
        let permits = u32::try_from(bytes.max(1)).map_err(|_| Denial::TooLarge)?;
        let take = |semaphore: Arc<Semaphore>| async move {
            semaphore
                .acquire_many_owned(permits)
                .await
                .map_err(|_| Denial::Busy)
        };
        // The token's own share first: who fills it waits there and not in front of others.
        let own = match grant {
            Some(grant) => Some(take(grant.receiving.clone()).await?),
            None => None,
        };
        Ok(Room {
            _all: take(self.gate.receiving.clone()).await?,
            _own: own,
        })
    }
}

/// A body of at most [`MOST_BYTES`], whatever its head announced.
async fn collect(mut body: Body) -> Result<Vec<u8>, Denial> {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Denial::BrokenOff)?;
        if let Some(data) = frame.data_ref() {
            if bytes.len() + data.len() > MOST_BYTES {
                discard(body).await;
                return Err(Denial::TooLarge);
            }
            bytes.extend_from_slice(data);
        }
    }
    Ok(bytes)
}

async fn discard(mut body: Body) {
    let mut discarded = 0;
    while let Some(Ok(frame)) = body.frame().await {
        discarded += frame.data_ref().map_or(0, |data| data.len());
        if discarded > MOST_DISCARDED {
            return;
        }
    }
}

/// `application/json`, with or without parameters, and not compressed.
fn is_plain_json(headers: &HeaderMap) -> bool {
    let json = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"));
    json && !headers.contains_key(header::CONTENT_ENCODING)
}

fn check_scope(scope: &Scope, events: &[Pushed]) -> Result<(), Denial> {
    match events.iter().find(|pushed| !scope.allows(&pushed.event.server)) {
        Some(pushed) => Err(Denial::Forbidden {
            server: pushed.event.server.to_string(),
        }),
        None => Ok(()),
    }
}

fn unix_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|time| i64::try_from(time.as_millis()).ok())
        .unwrap_or(0)
}

impl Denial {
    fn reason(&self) -> RefusedFor {
        match self {
            Self::Unauthorized => RefusedFor::Unauthorized,
            Self::Forbidden { .. } => RefusedFor::Forbidden,
            Self::MediaType => RefusedFor::MediaType,
            Self::TooLarge | Self::Body(ParseError::TooLarge { .. } | ParseError::TooManyEvents) => {
                RefusedFor::TooLarge
            }
            Self::TooSlow => RefusedFor::TooSlow,
            Self::BrokenOff | Self::Body(ParseError::NotJson { .. } | ParseError::Invalid(_)) => {
                RefusedFor::Invalid
            }
            Self::Busy => RefusedFor::Busy,
            Self::Queue(refused) => refused.reason(),
        }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden { .. } => StatusCode::FORBIDDEN,
            Self::MediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge | Self::Body(ParseError::TooLarge { .. } | ParseError::TooManyEvents) => {
                StatusCode::PAYLOAD_TOO_LARGE
            }
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::BrokenOff | Self::Body(ParseError::NotJson { .. }) => StatusCode::BAD_REQUEST,
            Self::Body(ParseError::Invalid(_)) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Queue(Refused::UnknownServer(_) | Refused::UnknownSession(_)) => StatusCode::NOT_FOUND,
            Self::Busy | Self::Queue(Refused::Full { .. } | Refused::Closed) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
        }
    }

    fn message(&self) -> String {
        match self {
            Self::Unauthorized => "a token is needed".into(),
            Self::Forbidden { server } => format!("this token is not for the server {server:?}"),
            Self::MediaType => "send Content-Type: application/json, not compressed".into(),
            Self::TooLarge => format!("at most {MOST_BYTES} bytes are taken: send fewer events at a time"),
            Self::TooSlow => "the request took too long".into(),
            Self::BrokenOff => "the body broke off".into(),
            Self::Busy => "too much is being received: send this again in a moment".into(),
            Self::Body(error) => error.to_string(),
            Self::Queue(refused) => refused.to_string(),
        }
    }

    fn problems(&self) -> Option<&Problems> {
        match self {
            Self::Body(ParseError::Invalid(problems))
            | Self::Queue(Refused::UnknownServer(problems) | Refused::UnknownSession(problems)) => {
                Some(problems)
            }
            _ => None,
        }
    }
}

/// What a sender gets that is not taken.
#[derive(serde::Serialize)]
struct Answer<'a> {
    error: &'static str,
    message: String,
    #[serde(flatten)]
    problems: Option<&'a Problems>,
}

impl IntoResponse for Denial {
    fn into_response(self) -> Response {
        let answer = Answer {
            error: self.reason().name(),
            message: self.message(),
            problems: self.problems(),
        };
        let mut response = (self.status(), Json(answer)).into_response();
        let headers = response.headers_mut();
        match self.status() {
            StatusCode::UNAUTHORIZED => {
                headers.insert(
                    header::WWW_AUTHENTICATE,
                    header::HeaderValue::from_static("Bearer"),
                );
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                let value = header::HeaderValue::from_static(RETRY_AFTER_SECONDS);
                headers.insert(header::RETRY_AFTER, value);
            }
            _ => {}
        }
        response
    }
}

/// A warning that strangers can provoke: one in ten seconds, with the number of those in between.
#[derive(Debug, Default)]
struct Quiet(Mutex<QuietState>);

#[derive(Debug, Default)]
struct QuietState {
    last: Option<Instant>,
    unsaid: u64,
}

impl Quiet {
    const EVERY: Duration = Duration::from_secs(10);

    fn warn(&self) {
        if let Some(unsaid) = self.admit(Instant::now()) {
            tracing::warn!(unsaid, "a push without a known token was refused");
        }
    }

    /// How many were left unsaid before this one; `None` where this one is left unsaid as well.
    fn admit(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = |last: Instant| now.saturating_duration_since(last) < Self::EVERY;
        if state.last.is_some_and(recent) {
            state.unsaid += 1;
            return None;
        }
        state.last = Some(now);
        Some(std::mem::take(&mut state.unsaid))
    }
}
