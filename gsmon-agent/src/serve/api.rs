//! The reading part of the JSON API: sessions, players and transitions, answered from the newest snapshot; `frames`
//! answers from the history. Mounted on the Unix socket only. `docs/api.md` lists every route and shape.
//!
//! What does not exist is answered with 404, what cannot be meant with 400, both with a JSON object that has `error` (a
//! sentence) and `known` (what would have been right).

pub mod frames;
pub mod kept;
pub mod marks;
pub mod outlook;

use std::{str::FromStr, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{Path, Query, State, rejection::PathRejection, rejection::QueryRejection},
    http::{StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde::Serialize;

use crate::{
    history::{
        MarkError, SourceError, UnknownServer, disk::HistoryError, prometheus::PrometheusError,
        source::UnknownResolution,
    },
    world::{
        cell::SnapshotCell,
        session::ask::{self, AskError, Metric, SessionFilter, SessionState, UnknownWord},
        snapshot::Snapshot,
    },
};

/// A request may take this long.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Every route of the socket, for whoever asks for another one.
const ROUTES: [&str; 20] = [
    "/healthz",
    "/metrics",
    "/api/v1/analyze/{actions|bots|mark|memory|netcode|network|players}?server=&range=",
    "/api/v1/demand?target_player_experience=",
    "/api/v1/events",
    "/api/v1/findings?server=&from=&to=",
    "/api/v1/forecast?server=&mode=&region=&hours=",
    "/api/v1/frames?server=&from=&to=&resolution=",
    "/api/v1/marks?server=",
    "/api/v1/players",
    "/api/v1/queue",
    "/api/v1/queue/prediction?range=&per_match=",
    "/api/v1/recommendation?forecast_hours=&target_player_experience=&include_cost_analysis=",
    "/api/v1/servers/{name}/players?session=",
    "/api/v1/servers/{name}/sessions?state=&phase=&room=",
    "/api/v1/servers/{name}/sessions/{id}?metrics=",
    "/api/v1/servers/{name}/transitions",
    "/api/v1/sessions?server=&state=&phase=&room=",
    "/api/v1/snapshot",
    "/api/v1/spikes?server=&from=&to=",
];

/// The routes; the snapshots come from the cell.
pub fn router(cell: Arc<SnapshotCell>) -> Router {
    Router::new()
        .route("/api/v1/snapshot", get(snapshot))
        .route("/api/v1/sessions", get(sessions))
        .route("/api/v1/players", get(players))
        .route("/api/v1/servers/{name}/sessions", get(server_sessions))
        .route("/api/v1/servers/{name}/sessions/{id}", get(session))
        .route("/api/v1/servers/{name}/transitions", get(transitions))
        .route("/api/v1/servers/{name}/players", get(server_players))
        .fallback(nothing_there)
        .with_state(cell)
}

/// Why a request is refused.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error(transparent)]
    Ask(#[from] AskError),
    #[error(transparent)]
    Word(#[from] UnknownWord),
    #[error("`{name}` is no parameter here; known are: {}", list(.known))]
    Parameter {
        name: String,
        known: &'static [&'static str],
    },
    #[error(transparent)]
    Frames(#[from] UnknownServer),
    #[error(transparent)]
    History(#[from] HistoryError),
    #[error(transparent)]
    Prometheus(#[from] PrometheusError),
    #[error(transparent)]
    Resolution(#[from] UnknownResolution),
    #[error("`{0}` as `lines` is nothing that is known: it can be all")]
    Lines(String),
    #[error("more than {most} frames: ask for less time, or for resolution=minute or hour")]
    TooMany { most: usize },
    #[error(transparent)]
    Mark(#[from] MarkError),
    #[error("the text of a mark must be UTF-8")]
    NoText,
    #[error("the parameter `{0}` is missing")]
    Missing(&'static str),
    #[error("`{text}` as `{name}` is no time: give milliseconds since the Unix epoch, or RFC 3339")]
    Moment { name: &'static str, text: String },
    #[error("the parameter `{0}` is given twice")]
    Twice(String),
    #[error("the query cannot be read: {0}")]
    Query(#[from] QueryRejection),
    #[error("the path cannot be read: {0}")]
    Path(#[from] PathRejection),
    #[error("nothing is served at this path: `known` has what is")]
    Nowhere,
    #[error("the answer could not be written")]
    Answer,
}

impl From<SourceError> for Refusal {
    fn from(error: SourceError) -> Self {
        match error {
            SourceError::Unknown(error) => Self::Frames(error),
            SourceError::History(error) => Self::History(error),
            SourceError::Prometheus(error) => Self::Prometheus(error),
        }
    }
}

fn list(known: &[&str]) -> String {
    if known.is_empty() {
        "none".to_owned()
    } else {
        known.join(", ")
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = match &self {
            Self::Ask(AskError::NotYet) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Ask(_) | Self::Frames(_) | Self::Nowhere => StatusCode::NOT_FOUND,
            Self::Answer | Self::History(_) | Self::Prometheus(_) => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::BAD_REQUEST,
        };
        let known: Vec<&str> = match &self {
            Self::Ask(error) => error.known().iter().map(String::as_str).collect(),
            Self::Frames(error) => error.known.iter().map(String::as_str).collect(),
            Self::Missing(name) => vec![name],
            Self::Resolution(_) => vec!["fitting", "raw", "minute", "ten_minutes", "hour"],
            Self::Word(error) => error.known.split(", ").collect(),
            Self::Parameter { known, .. } => known.to_vec(),
            Self::Nowhere => ROUTES.to_vec(),
            _ => Vec::new(),
        };
        let body = serde_json::json!({ "error": self.to_string(), "known": known });
        (status, Json(body)).into_response()
    }
}

type Answer = Result<Response, Refusal>;
type Parameters = Result<Query<Vec<(String, String)>>, QueryRejection>;
type Cell = State<Arc<SnapshotCell>>;

/// The parameters of a query, of which only `known` may be there, each once.
fn read(query: Parameters, known: &'static [&'static str]) -> Result<Vec<(String, String)>, Refusal> {
    let Query(given) = query?;
    for (index, (name, _)) in given.iter().enumerate() {
        if !known.contains(&name.as_str()) {
            return Err(Refusal::Parameter {
                name: name.clone(),
                known,
            });
        }
        if given[..index].iter().any(|(earlier, _)| earlier == name) {
            return Err(Refusal::Twice(name.clone()));
        }
    }
    Ok(given)
}

fn filter(given: Vec<(String, String)>) -> Result<SessionFilter, Refusal> {
    let mut filter = SessionFilter::default();
    // Empty is not given, so that a form can be sent as it is.
    for (name, value) in given.into_iter().filter(|(_, value)| !value.is_empty()) {
        match name.as_str() {
            "server" => filter.server = Some(value),
            "room" => filter.room = Some(value),
            "state" => filter.state = SessionState::from_str(&value)?,
            _ => filter.phase = Some(ask::phase_named(&value)?),
        }
    }
    Ok(filter)
}

/// Reads the newest snapshot and writes the answer. Serialising thousands of players takes a while: not on the thread
/// that accepts connections.
async fn answer<T: Serialize + Send + 'static>(
    cell: Arc<SnapshotCell>,
    read: impl FnOnce(&Snapshot) -> Result<T, AskError> + Send + 'static,
) -> Answer {
    let snapshot = cell.load().ok_or(AskError::NotYet)?;
    let work = tokio::task::spawn_blocking(move || {
        let found = read(&snapshot)?;
        serde_json::to_vec(&found).map_err(|_| Refusal::Answer)
    });
    match tokio::time::timeout(REQUEST_TIMEOUT, work).await {
        Ok(Ok(body)) => Ok(([(header::CONTENT_TYPE, "application/json")], body?).into_response()),
        _ => Err(Refusal::Answer),
    }
}

async fn snapshot(State(cell): Cell) -> Answer {
    let snapshot = cell.load().ok_or(AskError::NotYet)?;
    answer(cell, move |_| Ok(SharedSnapshot(snapshot))).await
}

/// A snapshot that is written without being copied.
struct SharedSnapshot(Arc<Snapshot>);

impl Serialize for SharedSnapshot {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

async fn sessions(State(cell): Cell, query: Parameters) -> Answer {
    let filter = filter(read(query, &["server", "state", "phase", "room"])?)?;
    answer(cell, move |snapshot| ask::sessions(snapshot, &filter)).await
}

async fn server_sessions(
    State(cell): Cell,
    path: Result<Path<String>, PathRejection>,
    query: Parameters,
) -> Answer {
    let Path(server) = path?;
    let filter = SessionFilter {
        server: Some(server),
        ..filter(read(query, &["state", "phase", "room"])?)?
    };
    answer(cell, move |snapshot| ask::sessions(snapshot, &filter)).await
}

async fn session(
    State(cell): Cell,
    path: Result<Path<(String, String)>, PathRejection>,
    query: Parameters,
) -> Answer {
    let Path((server, id)) = path?;
    let given = read(query, &["metrics"])?;
    let metrics = match given.first().map(|(_, value)| value.as_str()) {
        None | Some("") => Metric::ALL.to_vec(),
        Some(words) => words.split(',').map(Metric::from_str).collect::<Result<_, _>>()?,
    };
    answer(cell, move |snapshot| {
        ask::session_resources(snapshot, &server, &id, &metrics)
    })
    .await
}

async fn transitions(
    State(cell): Cell,
    path: Result<Path<String>, PathRejection>,
    query: Parameters,
) -> Answer {
    let Path(server) = path?;
    read(query, &[])?;
    answer(cell, move |snapshot| ask::transitions(snapshot, &server)).await
}

async fn players(State(cell): Cell, query: Parameters) -> Answer {
    read(query, &[])?;
    answer(cell, |snapshot| Ok(ask::all_players(snapshot))).await
}

async fn server_players(
    State(cell): Cell,
    path: Result<Path<String>, PathRejection>,
    query: Parameters,
) -> Answer {
    let Path(server) = path?;
    let given = read(query, &["session"])?;
    let session = given.into_iter().map(|(_, id)| id).find(|id| !id.is_empty());
    answer(cell, move |snapshot| match &session {
        Some(id) => ask::session_players(snapshot, &server, id),
        None => ask::players(snapshot, &server),
    })
    .await
}

async fn nothing_there(uri: Uri) -> Refusal {
    tracing::debug!(path = uri.path(), "asked for what is not there");
    Refusal::Nowhere
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::{
        serve::client,
        world::session::ask::{FoundSession, ServerPlayers, SessionResources, tests::a_snapshot},
    };

    /// The router on a socket of its own.
    struct Served {
        socket: std::path::PathBuf,
        _directory: tempfile::TempDir,
    }

    impl Served {
        fn start(snapshot: Option<Snapshot>) -> Self {
            let directory = tempfile::tempdir().unwrap();
            let socket = directory.path().join("api.sock");
            let listener = tokio::net::UnixListener::bind(&socket).unwrap();
            let cell = Arc::new(SnapshotCell::default());
            if let Some(snapshot) = snapshot {
                cell.store(snapshot);
            }
            tokio::spawn(async move { axum::serve(listener, router(cell)).await });
            Self {
                socket,
                _directory: directory,
            }
        }

        async fn get(&self, path: &str) -> (u16, String) {
            client::get_unix(&self.socket, path).await.unwrap()
        }

        async fn refused(&self, path: &str) -> (u16, Vec<String>) {
            let (status, body) = self.get(path).await;
            let body: Value = serde_json::from_str(&body).unwrap();
            assert!(!body["error"].as_str().unwrap().is_empty());
            let known = body["known"].as_array().unwrap();
            (
                status,
                known
                    .iter()
                    .map(|word| word.as_str().unwrap().to_owned())
                    .collect(),
            )
        }

        async fn sessions(&self, path: &str) -> Vec<String> {
            let (status, body) = self.get(path).await;
            assert_eq!(status, 200, "{path}: {body}");
            let found: Vec<FoundSession> = serde_json::from_str(&body).unwrap();
            found.iter().map(|found| found.session.id.to_string()).collect()
        }
    }

    #[tokio::test]
    async fn sessions_are_listed_by_server_state_and_phase() {
        let served = Served::start(Some(a_snapshot()));
        for (path, ids) in [
            ("/api/v1/sessions", vec!["1-1", "1-2"]),
            ("/api/v1/sessions?state=running", vec!["1-2"]),
            ("/api/v1/sessions?server=arena%20one&state=ended", vec!["1-1"]),
            ("/api/v1/sessions?phase=active&state=", vec!["1-2"]),
            ("/api/v1/sessions?room=none", vec![]),
            ("/api/v1/servers/arena%20one/sessions?phase=ended", vec!["1-1"]),
            ("/api/v1/servers/silent/sessions", vec![]),
        ] {
            assert_eq!(served.sessions(path).await, ids, "{path}");
        }
    }

    #[tokio::test]
    async fn a_session_has_the_metrics_that_are_asked_for() {
        let served = Served::start(Some(a_snapshot()));
        let (_, body) = served
            .get("/api/v1/servers/arena%20one/sessions/1-2?metrics=cpu,memory")
            .await;
        let answer: SessionResources = serde_json::from_str(&body).unwrap();
        assert_eq!(answer.cpu.unwrap().seconds, Some(3.5));
        assert!(answer.memory.is_some() && answer.network.is_none() && answer.disk.is_none());
        let (_, body) = served
            .get("/api/v1/servers/arena%20one/sessions/match%207%2F8")
            .await;
        let answer: SessionResources = serde_json::from_str(&body).unwrap();
        assert!(answer.disk.is_some() && &*answer.of.session.id == "1-1");
    }

    #[tokio::test]
    async fn players_and_transitions_are_those_of_the_server() {
        let served = Served::start(Some(a_snapshot()));
        let (_, body) = served
            .get("/api/v1/servers/arena%20one/players?session=1-1")
            .await;
        let answer: ServerPlayers = serde_json::from_str(&body).unwrap();
        assert_eq!((answer.players.len(), answer.departed.len()), (0, 1));
        let (_, body) = served.get("/api/v1/players").await;
        let all: Vec<ServerPlayers> = serde_json::from_str(&body).unwrap();
        assert_eq!(all[0].players.len(), 3);
        let (status, body) = served.get("/api/v1/servers/arena%20one/transitions").await;
        let answer: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(status, 200);
        assert_eq!(answer["transitions"][0]["took_ms"], 2_000);
    }

    #[tokio::test]
    async fn refusals_say_what_there_is() {
        let served = Served::start(Some(a_snapshot()));
        let servers = ["arena one", "silent"].map(str::to_owned).to_vec();
        for path in [
            "/api/v1/sessions?server=x",
            "/api/v1/servers/x/sessions",
            "/api/v1/servers/x/sessions/1",
            "/api/v1/servers/x/transitions",
            "/api/v1/servers/x/players",
        ] {
            assert_eq!(served.refused(path).await, (404, servers.clone()), "{path}");
        }
        let (status, known) = served.refused("/api/v1/servers/arena%20one/sessions/9").await;
        assert_eq!((status, known), (404, vec!["1-2".to_owned(), "1-1".to_owned()]));
        let (status, known) = served.refused("/api/v1/nothing").await;
        assert!(status == 404 && known.len() == ROUTES.len());
        for (path, word) in [
            ("/api/v1/sessions?state=dead", "running"),
            ("/api/v1/sessions?phase=Active", "active"),
            ("/api/v1/sessions?servers=x", "server"),
            (
                "/api/v1/servers/arena%20one/sessions/1-2?metrics=cpu,gpu",
                "memory",
            ),
        ] {
            let (status, known) = served.refused(path).await;
            assert!(
                status == 400 && known.iter().any(|known| known == word),
                "{path}: {known:?}"
            );
        }
        assert_eq!(
            served.refused("/api/v1/sessions?state=all&state=ended").await.0,
            400
        );
        assert_eq!(served.refused("/api/v1/servers/%ff/sessions").await.0, 400);
        assert_eq!(served.refused("/api/v1/players?x=1").await.0, 400);
    }

    #[tokio::test]
    async fn before_the_first_interval_there_is_no_answer_yet() {
        let served = Served::start(None);
        for path in ["/api/v1/snapshot", "/api/v1/sessions", "/api/v1/players"] {
            assert_eq!(served.get(path).await.0, 503, "{path}");
        }
    }
}
