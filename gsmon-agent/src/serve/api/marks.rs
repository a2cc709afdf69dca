//! `GET /api/v1/marks?server=` and `POST /api/v1/marks?server=`, whose body is the text of a mark.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    response::IntoResponse,
    routing::get,
};

use super::{Answer, Parameters, REQUEST_TIMEOUT, Refusal, read};
use crate::history::{History, Mark, UnknownServer};

/// Bytes of a body; more is no mark.
const MOST_BODY: usize = 4_096;

/// The routes; marks are kept by the history.
pub fn router(history: Arc<History>) -> Router {
    Router::new()
        .route("/api/v1/marks", get(marks).post(mark))
        .layer(DefaultBodyLimit::max(MOST_BODY))
        .with_state(history)
}

fn server(query: Parameters) -> Result<String, Refusal> {
    let given = read(query, &["server"])?;
    let server = given
        .into_iter()
        .map(|(_, value)| value)
        .find(|value| !value.is_empty());
    server.ok_or(Refusal::Missing("server"))
}

async fn marks(State(history): State<Arc<History>>, query: Parameters) -> Answer {
    let server = server(query)?;
    // Older ones are on disk.
    let work = tokio::task::spawn_blocking(move || history.marks(&server));
    match tokio::time::timeout(REQUEST_TIMEOUT, work).await {
        Ok(Ok(marks)) => Ok(Json(marks?).into_response()),
        _ => Err(Refusal::Answer),
    }
}

async fn mark(State(history): State<Arc<History>>, query: Parameters, body: Bytes) -> Answer {
    let server = server(query)?;
    let text = std::str::from_utf8(&body).map_err(|_| Refusal::NoText)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let unix_ms = now.map_or(0, |time| i64::try_from(time.as_millis()).unwrap_or(i64::MAX));
    let mark = Mark::told(unix_ms, text)?;
    // Refuses servers that there are not.
    history
        .new_marks(&server)
        .map_err(|error: UnknownServer| Refusal::from(error))?;
    history.mark(&server, mark.clone());
    Ok(Json(mark).into_response())
}
