//! `GET /api/v1/frames`: the last hour of one server, by column, from memory.

use std::{str::FromStr, sync::Arc};

use axum::{
    Router,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
    routing::get,
};

use super::{Answer, Parameters, REQUEST_TIMEOUT, Refusal, read};
use crate::history::History;

const PARAMETERS: &[&str] = &["server", "from", "to"];

/// The route; the frames come from the history.
pub fn router(history: Arc<History>) -> Router {
    Router::new()
        .route("/api/v1/frames", get(frames))
        .with_state(history)
}

async fn frames(State(history): State<Arc<History>>, query: Parameters) -> Answer {
    let given = read(query, PARAMETERS)?;
    let value = |name: &str| {
        given
            .iter()
            .find(|(given, value)| given == name && !value.is_empty())
            .map(|(_, value)| value.clone())
    };
    let server = value("server").ok_or(Refusal::Missing("server"))?;
    let time = |name: &'static str, absent: i64| match value(name) {
        None => Ok(absent),
        Some(text) => moment(&text).ok_or(Refusal::Moment { name, text }),
    };
    let (from, to) = (time("from", i64::MIN)?, time("to", i64::MAX)?);
    // Copying and writing an hour takes a while: not on the thread that accepts connections.
    let work = tokio::task::spawn_blocking(move || {
        let frames = history.frames(&server, from, to)?;
        serde_json::to_vec(&frames).map_err(|_| Refusal::Answer)
    });
    match tokio::time::timeout(REQUEST_TIMEOUT, work).await {
        Ok(Ok(body)) => {
            Ok::<Response, Refusal>(([(header::CONTENT_TYPE, "application/json")], body?).into_response())
        }
        _ => Err(Refusal::Answer),
    }
}

/// Milliseconds since the Unix epoch, or RFC 3339.
fn moment(text: &str) -> Option<i64> {
    i64::from_str(text)
        .ok()
        .or_else(|| Some(jiff::Timestamp::from_str(text).ok()?.as_millisecond()))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::{
        history::{HostFigures, ServerFrames},
        serve::client,
        world::{
            session::ask::tests::{NOW_MS, a_snapshot},
            snapshot::ServerState,
        },
    };

    #[tokio::test]
    async fn an_hour_is_cut_by_its_times_and_refusals_say_what_there_is() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("api.sock");
        let listener = tokio::net::UnixListener::bind(&socket).unwrap();
        let history = Arc::new(History::default());
        let mut snapshot = a_snapshot();
        snapshot.interval_seconds = 1.0;
        for second in 0..10 {
            snapshot.unix_time_seconds = (NOW_MS / 1_000 + second) as f64;
            snapshot.servers[0].state = ServerState::Up;
            snapshot.servers[0].rates.cpu_cores = Some(0.5);
            history.record(&snapshot, HostFigures::default());
        }
        tokio::spawn(async move { axum::serve(listener, router(history)).await });
        let ask = async |path: &str| client::get_unix(&socket, path).await.unwrap();
        let (status, body) = ask("/api/v1/frames?server=arena%20one&from=&to=").await;
        let all: ServerFrames = serde_json::from_str(&body).unwrap();
        assert_eq!((status, all.unix_ms.len()), (200, 10));
        assert_eq!(all.columns["cpu_cores"][9], Some(0.5));
        let from = NOW_MS + 2_000;
        let to = jiff::Timestamp::from_millisecond(NOW_MS + 5_000).unwrap();
        let (_, body) = ask(&format!("/api/v1/frames?server=arena%20one&from={from}&to={to}")).await;
        let part: ServerFrames = serde_json::from_str(&body).unwrap();
        assert_eq!(part.unix_ms.len(), 4);
        for (path, status, word) in [
            ("/api/v1/frames", 400, "server"),
            ("/api/v1/frames?server=x", 404, "arena one"),
            ("/api/v1/frames?server=arena%20one&from=noon", 400, "RFC 3339"),
            ("/api/v1/frames?name=x", 400, "server"),
        ] {
            let (told, body) = ask(path).await;
            let said: Value = serde_json::from_str(&body).unwrap();
            assert!(
                told == status && said["error"].as_str().unwrap().contains(word),
                "{path}: {body}"
            );
        }
    }
}
