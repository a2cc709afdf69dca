//! `GET /api/v1/spikes`: spikes that the history keeps, of one server or of all, with what each came from.

use std::sync::Arc;

use axum::{Json, Router, extract::State, response::IntoResponse, routing::get};

use super::{Answer, Parameters, REQUEST_TIMEOUT, Refusal, frames::moment, read};
use crate::history::{History, HistorySource, TimeRange};

/// Spikes in one answer, the newest of more.
const MOST_SPIKES: usize = 10_000;

/// The route; the spikes come from the history.
pub fn router(history: Arc<History>) -> Router {
    Router::new()
        .route("/api/v1/spikes", get(spikes))
        .with_state(history)
}

async fn spikes(State(history): State<Arc<History>>, query: Parameters) -> Answer {
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
    let work = tokio::task::spawn_blocking(move || history.spikes(server.as_deref(), range));
    match tokio::time::timeout(REQUEST_TIMEOUT, work).await {
        Ok(Ok(found)) => {
            let mut found = found?;
            found.drain(..found.len().saturating_sub(MOST_SPIKES));
            Ok(Json(found).into_response())
        }
        _ => Err(Refusal::Answer),
    }
}
