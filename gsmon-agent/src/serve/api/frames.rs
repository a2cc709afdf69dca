//! `GET /api/v1/frames`: one server by column. Without `from`, the last hour from memory; with it, whatever the history has.

use std::{str::FromStr, sync::Arc};

use axum::{
    Router,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
    routing::get,
};

use super::{Answer, Parameters, REQUEST_TIMEOUT, Refusal, read};
use crate::history::{History, HistorySource, Resolution, ServerFrames, TimeRange};

const PARAMETERS: &[&str] = &["server", "from", "to", "resolution", "player", "lines"];

/// Frames in one answer: five and a half hours of seconds, or two weeks of minutes. An answer is made in memory.
const MOST_FRAMES: usize = 20_000;

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
    let resolution = match value("resolution") {
        None => Resolution::Fitting,
        Some(word) => Resolution::from_str(&word)?,
    };
    let lines = match (value("player"), value("lines").as_deref()) {
        (Some(player), _) => Lines::With(player),
        (None, Some("all")) => Lines::All,
        (None, None) => Lines::LeftOut,
        (None, Some(other)) => return Err(Refusal::Lines(other.to_owned())),
    };
    // Copying and writing an hour takes a while: not on the thread that accepts connections.
    let work = tokio::task::spawn_blocking(move || {
        let frames = match from == i64::MIN && resolution == Resolution::Fitting {
            true => history.frames(&server, from, to)?,
            false => kept(&history, &server, (from, to), resolution, &lines)?,
        };
        serde_json::to_vec(&frames).map_err(|_| Refusal::Answer)
    });
    match tokio::time::timeout(REQUEST_TIMEOUT, work).await {
        Ok(Ok(body)) => {
            Ok::<Response, Refusal>(([(header::CONTENT_TYPE, "application/json")], body?).into_response())
        }
        _ => Err(Refusal::Answer),
    }
}

/// Which of the players' lines that are on disk go with the frames.
enum Lines {
    /// None: most questions are not about them.
    LeftOut,
    /// All, by pseudonym.
    All,
    /// All, and this player is called as in the question.
    With(String),
}

fn kept(
    history: &History,
    server: &str,
    (from_unix_ms, to_unix_ms): (i64, i64),
    resolution: Resolution,
    lines: &Lines,
) -> Result<ServerFrames, Refusal> {
    let range = TimeRange {
        from_unix_ms,
        to_unix_ms,
    };
    let mut frames = Vec::new();
    let mut more = false;
    history.each_frame(
        server,
        range,
        resolution,
        &mut |frame| match frames.len() < MOST_FRAMES {
            true => frames.push(frame),
            false => more = true,
        },
    )?;
    match more {
        true => Err(Refusal::TooMany { most: MOST_FRAMES }),
        false => {
            let player = match lines {
                Lines::LeftOut => return Ok(ServerFrames::of(server, &frames)),
                Lines::All => None,
                Lines::With(player) => Some(player.as_str()),
            };
            history.attach_lines(server, &mut frames, player)?;
            Ok(ServerFrames::of(server, &frames))
        }
    }
}

/// Milliseconds since the Unix epoch, or RFC 3339.
pub(super) fn moment(text: &str) -> Option<i64> {
    i64::from_str(text)
        .ok()
        .or_else(|| Some(jiff::Timestamp::from_str(text).ok()?.as_millisecond()))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::{
        history::HostFigures,
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
        let (_, body) = ask(&format!(
            "/api/v1/frames?server=arena%20one&from={from}&resolution=minute"
        ))
        .await;
        let minutes: ServerFrames = serde_json::from_str(&body).unwrap();
        assert_eq!(minutes.columns["cpu_cores"], [Some(0.5)]);
        assert_eq!(minutes.seconds, [8.0]);
        for (path, status, word) in [
            ("/api/v1/frames", 400, "server"),
            ("/api/v1/frames?server=x", 404, "arena one"),
            ("/api/v1/frames?server=arena%20one&from=noon", 400, "RFC 3339"),
            ("/api/v1/frames?name=x", 400, "server"),
            ("/api/v1/frames?server=arena%20one&resolution=day", 400, "minute"),
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
