//! The matchmaking queue: `POST /api/v1/queue` takes it, `GET` tells it, and where the configuration says so it is asked
//! from a JSON endpoint or a Prometheus-compatible server. The newest is kept, and nothing of it on disk. On the Unix socket
//! only. Not here: what a queue is (`games::queue`), what it will need (the analysis room).

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use hyper::body::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::{
    config::QueueSettings,
    games::queue::{MOST_BYTES, QueueError, Waiting, check, parse, parse_document},
    history::prometheus::{AnswerError, Credentials, Row, Web, WebError, rows},
};

/// Where a queue is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QueueFrom {
    /// Somebody sent it.
    Push,
    /// It was asked where `[queue] url` says.
    Url,
    /// It was asked with `[queue] query`.
    Query,
}

/// A queue and when it was told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueTold {
    /// Who waits.
    pub queue: Vec<Waiting>,
    /// When it came, milliseconds since the Unix epoch.
    pub told_unix_ms: i64,
    /// From where.
    pub from: QueueFrom,
}

/// The newest queue.
#[derive(Debug, Default)]
pub struct QueueBook {
    newest: Mutex<Option<QueueTold>>,
}

impl QueueBook {
    /// Takes the place of what was there.
    pub fn put(&self, queue: Vec<Waiting>, from: QueueFrom) {
        *self.newest.lock().unwrap_or_else(PoisonError::into_inner) = Some(QueueTold {
            queue,
            told_unix_ms: unix_ms(),
            from,
        });
    }

    /// Why there is none.
    pub const NOBODY: &str =
        "nobody has told a queue: send one to POST /api/v1/queue, or set url or query in [queue]";

    /// The newest, where there ever was one.
    pub fn newest(&self) -> Option<QueueTold> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// The routes.
pub(super) fn router(book: Arc<QueueBook>) -> Router {
    Router::new()
        .route("/api/v1/queue", get(tell).post(take))
        // One more than may be: what is too large is told so by its reader.
        .layer(DefaultBodyLimit::max(MOST_BYTES + 1))
        .with_state(book)
}

fn refused(status: StatusCode, error: &str) -> Response {
    let known: [&str; 0] = [];
    (
        status,
        Json(serde_json::json!({ "error": error, "known": known })),
    )
        .into_response()
}

async fn tell(State(book): State<Arc<QueueBook>>) -> Response {
    match book.newest() {
        Some(told) => Json(told).into_response(),
        None => refused(StatusCode::NOT_FOUND, QueueBook::NOBODY),
    }
}

async fn take(
    State(book): State<Arc<QueueBook>>,
    body: Result<Bytes, axum::extract::rejection::BytesRejection>,
) -> Response {
    let Ok(body) = body else {
        return refused(StatusCode::PAYLOAD_TOO_LARGE, &QueueError::TooLarge.to_string());
    };
    match parse(&body) {
        Ok(queue) => {
            let entries = queue.len();
            book.put(queue, QueueFrom::Push);
            Json(serde_json::json!({ "accepted": entries })).into_response()
        }
        Err(error @ QueueError::TooLarge) => refused(StatusCode::PAYLOAD_TOO_LARGE, &error.to_string()),
        Err(error) => refused(StatusCode::BAD_REQUEST, &error.to_string()),
    }
}

/// Why a queue could not be asked for.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// No answer.
    #[error(transparent)]
    Web(#[from] WebError),
    /// An answer of a Prometheus-compatible server that cannot be used.
    #[error(transparent)]
    Answer(#[from] AnswerError),
    /// No queue.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// A series that counts no players.
    #[error("[queue] query: a value of {0} is no number of players")]
    Value(f64),
}

/// Asks for the queue once where the settings say; `None` where they name nobody.
///
/// # Errors
/// When there is no answer, or it is no queue.
pub async fn ask(settings: &QueueSettings) -> Result<Option<(Vec<Waiting>, QueueFrom)>, AskError> {
    let credentials = match (&settings.token_file, &settings.password_file) {
        (Some(file), _) => Credentials::TokenFile(file.clone()),
        (None, Some(file)) => Credentials::PasswordFile(file.clone()),
        (None, None) => Credentials::None,
    };
    if let Some(url) = &settings.url {
        let body = Web::new(url, &credentials)?.get().await?;
        return Ok(Some((parse_document(&body, &settings.fields)?, QueueFrom::Url)));
    }
    if let (Some(source), Some(query)) = (&settings.source, &settings.query) {
        let web = Web::new(source, &credentials)?;
        let body = web
            .post_form("/api/v1/query", &[("query", query.clone())])
            .await?;
        return Ok(Some((of_series(&rows(&body)?)?, QueueFrom::Query)));
    }
    Ok(None)
}

/// Entries of the queue from series with the labels `mode` and `region`.
fn of_series(rows: &[Row]) -> Result<Vec<Waiting>, AskError> {
    let word = |row: &Row, name: &str| {
        Some(row.label(name))
            .filter(|word| !word.is_empty())
            .map(Into::into)
    };
    let mut queue = Vec::with_capacity(rows.len());
    for row in rows {
        let Some(sample) = row.samples.last() else {
            continue;
        };
        if !(0.0..=f64::from(u32::MAX)).contains(&sample.value) {
            return Err(AskError::Value(sample.value));
        }
        queue.push(Waiting {
            mode: word(row, "mode"),
            region: word(row, "region"),
            players: sample.value.round() as u32,
        });
    }
    Ok(check(queue)?)
}

/// Asks again and again until `stop` turns true; trouble is told when it begins and when it ends.
pub async fn poll(settings: QueueSettings, book: Arc<QueueBook>, mut stop: watch::Receiver<bool>) {
    let mut every = tokio::time::interval(settings.interval);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut trouble = None;
    loop {
        tokio::select! {
            // An error means that the sender has gone, which is a stop as well.
            _ = stop.wait_for(|stop| *stop) => return,
            _ = every.tick() => {}
        }
        let asked = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            asked = ask(&settings) => asked,
        };
        match asked {
            Ok(None) => return,
            Ok(Some((queue, from))) => {
                book.put(queue, from);
                if trouble.take().is_some() {
                    tracing::info!("the matchmaking queue is told again");
                }
            }
            Err(error) => {
                let error = error.to_string();
                if trouble.as_ref() != Some(&error) {
                    tracing::warn!("the matchmaking queue is not told: {error}");
                }
                trouble = Some(error);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use axum::{body::Body, http::Request};
    use http_body_util::BodyExt;
    use hyper_util::rt::TokioIo;

    use super::*;
    use crate::history::prometheus::Sample;

    /// Sends a request to the routes over a pipe in memory.
    async fn send(book: &Arc<QueueBook>, method: &str, body: &str) -> (u16, serde_json::Value) {
        let (near, far) = tokio::io::duplex(1 << 20);
        let service = hyper_util::service::TowerToHyperService::new(router(book.clone()));
        let serving = tokio::spawn(
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(far), service),
        );
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(near))
            .await
            .unwrap();
        let connection = tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri("/api/v1/queue")
            .header("host", "gsmon")
            .body(Body::from(body.to_owned()))
            .unwrap();
        let response = sender.send_request(request).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        connection.abort();
        serving.abort();
        (status, serde_json::from_slice(&body).unwrap())
    }

    #[tokio::test]
    async fn the_newest_queue_is_kept_and_what_is_none_changes_nothing() {
        let book = Arc::new(QueueBook::default());
        let (status, told) = send(&book, "GET", "").await;
        assert!(status == 404 && told["error"].as_str().unwrap().contains("POST /api/v1/queue"));
        let (status, told) = send(&book, "POST", r#"{"queue":[{"mode":"duel","players":3}]}"#).await;
        assert_eq!((status, &told["accepted"]), (200, &1.into()));
        let (status, told) = send(&book, "POST", r#"{"queue":[{"players":"many"}]}"#).await;
        assert!(
            status == 400 && told["error"].as_str().unwrap().contains("invalid type"),
            "{told}"
        );
        assert_eq!(send(&book, "POST", &" ".repeat(MOST_BYTES + 1)).await.0, 413);
        assert_eq!(send(&book, "POST", &" ".repeat(MOST_BYTES + 2)).await.0, 413);
        let (status, told) = send(&book, "GET", "").await;
        assert_eq!(
            (status, &told["queue"][0]["players"], &told["from"]),
            (200, &3.into(), &"push".into())
        );
        assert!(told["told_unix_ms"].as_i64().unwrap() > 1_600_000_000_000);
        send(&book, "POST", r#"{"queue":[]}"#).await;
        assert_eq!(book.newest().unwrap().queue, []);
    }

    #[test]
    fn series_are_entries_by_their_labels() {
        let row = |mode: &str, value: f64| Row {
            labels: BTreeMap::from([
                ("mode".to_owned(), mode.to_owned()),
                ("job".to_owned(), "x".to_owned()),
            ]),
            samples: vec![Sample { unix_ms: 0, value }],
        };
        let told = of_series(&[row("duel", 12.0), row("", 3.4)]).unwrap();
        assert_eq!((told[0].mode.as_deref(), told[0].players), (Some("duel"), 12));
        assert_eq!((told[1].mode.clone(), told[1].players), (None, 3));
        for value in [-1.0, f64::NAN, f64::INFINITY] {
            assert!(matches!(
                of_series(&[row("duel", value)]),
                Err(AskError::Value(_))
            ));
        }
        assert!(matches!(
            of_series(&[row("a", 1.0), row("a", 1.0)]),
            Err(AskError::Queue(_))
        ));
    }

    #[tokio::test]
    async fn where_nobody_is_named_nobody_is_asked_and_trouble_is_told() {
        assert!(ask(&QueueSettings::default()).await.unwrap().is_none());
        let nobody = QueueSettings {
            url: Some("http://127.0.0.1:1/queue".to_owned()),
            ..QueueSettings::default()
        };
        let error = ask(&nobody).await.unwrap_err().to_string();
        assert!(error.contains("cannot connect to 127.0.0.1:1"), "{error}");
    }

    #[tokio::test]
    async fn a_queue_is_asked_from_a_document_and_with_a_query() {
        use axum::routing::post;
        let document = r#"{"pools":[{"mode":"duel","players":4}]}"#;
        let vector = r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{"mode":"race"},"value":[1,"6"]}]}}"#;
        let routes = Router::new()
            .route("/pools", get(move || async move { document }))
            .route("/api/v1/query", post(move || async move { vector }));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = format!("http://{}", listener.local_addr().unwrap());
        let serving = tokio::spawn(axum::serve(listener, routes).into_future());
        let mut by_url = QueueSettings {
            url: Some(format!("{host}/pools")),
            ..QueueSettings::default()
        };
        assert!(matches!(
            ask(&by_url).await,
            Err(AskError::Queue(QueueError::NoList(_)))
        ));
        by_url.fields.list = "/pools".to_owned();
        let by_query = QueueSettings {
            source: Some(host),
            query: Some("waiting".to_owned()),
            ..QueueSettings::default()
        };
        for (settings, mode, players, from) in [
            (by_url, "duel", 4, QueueFrom::Url),
            (by_query, "race", 6, QueueFrom::Query),
        ] {
            let book = Arc::new(QueueBook::default());
            let (stop, stopped) = watch::channel(false);
            let polling = tokio::spawn(poll(settings, book.clone(), stopped));
            let told = async {
                while book.newest().is_none() {
                    tokio::time::sleep(std::time::Duration::from_millis(10)).await;
                }
            };
            tokio::time::timeout(std::time::Duration::from_secs(30), told)
                .await
                .unwrap();
            stop.send(true).unwrap();
            polling.await.unwrap();
            let told = book.newest().unwrap();
            assert_eq!(
                (told.queue[0].mode.as_deref(), told.queue[0].players),
                (Some(mode), players)
            );
            assert_eq!(told.from, from);
        }
        serving.abort();
    }
}
