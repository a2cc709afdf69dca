//! `GET /api/v1/spikes` and `GET /api/v1/findings`: rows that the history keeps, of one server or of all, with their evidence.

use std::sync::Arc;

use axum::{Json, Router, extract::State, response::IntoResponse, routing::get};
use serde::Serialize;

use super::{Answer, Parameters, REQUEST_TIMEOUT, Refusal, frames::moment, read};
use crate::history::{History, HistorySource, SourceError, TimeRange};

/// Rows in one answer, the newest of more.
const MOST_ROWS: usize = 10_000;

/// The routes; the rows come from the history.
pub fn router(history: Arc<History>) -> Router {
    Router::new()
        .route("/api/v1/spikes", get(spikes))
        .route("/api/v1/findings", get(findings))
        .with_state(history)
}

async fn spikes(State(history): State<Arc<History>>, query: Parameters) -> Answer {
    rows(query, move |server, range| history.spikes(server, range)).await
}

async fn findings(State(history): State<Arc<History>>, query: Parameters) -> Answer {
    rows(query, move |server, range| history.findings(server, range)).await
}

async fn rows<T: Serialize + Send + 'static>(
    query: Parameters,
    find: impl FnOnce(Option<&str>, TimeRange) -> Result<Vec<T>, SourceError> + Send + 'static,
) -> Answer {
    let given = read(query, &["server", "from", "to"])?;
    let (mut server, mut range) = (None, TimeRange::ALL);
    for (name, text) in given.into_iter().filter(|(_, text)| !text.is_empty()) {
        let time = |name: &'static str, text: String| moment(&text).ok_or(Refusal::Moment { name, text });
        match name.as_str() {
            "server" => server = Some(text),
            "from" => range.from_unix_ms = time("from", text)?,
            _ => range.to_unix_ms = time("to", text)?,
        }
    }
    let work = tokio::task::spawn_blocking(move || find(server.as_deref(), range));
    match tokio::time::timeout(REQUEST_TIMEOUT, work).await {
        Ok(Ok(found)) => {
            let mut found = found?;
            found.drain(..found.len().saturating_sub(MOST_ROWS));
            Ok(Json(found).into_response())
        }
        _ => Err(Refusal::Answer),
    }
}
