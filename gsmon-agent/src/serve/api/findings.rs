//! `GET /api/v1/findings`: what detectors found, of one server or of all, with the evidence.

use std::sync::Arc;

use axum::{Json, Router, extract::State, response::IntoResponse, routing::get};

use super::{Answer, Parameters, REQUEST_TIMEOUT, Refusal, frames::moment, read};
use crate::history::{History, HistorySource, TimeRange};

/// Findings in one answer, the newest of more.
const MOST_FINDINGS: usize = 10_000;

/// The route; findings come from the history.
pub fn router(history: Arc<History>) -> Router {
    Router::new()
        .route("/api/v1/findings", get(findings))
        .with_state(history)
}

async fn findings(State(history): State<Arc<History>>, query: Parameters) -> Answer {
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
    let work = tokio::task::spawn_blocking(move || history.findings(server.as_deref(), range));
    match tokio::time::timeout(REQUEST_TIMEOUT, work).await {
        Ok(Ok(found)) => {
            let mut found = found?;
            found.drain(..found.len().saturating_sub(MOST_FINDINGS));
            Ok(Json(found).into_response())
        }
        _ => Err(Refusal::Answer),
    }
}
