//! Routes that answer questions: `GET /api/v1/analyze/{question}` and `GET` and `POST /api/v1/queue/prediction`, of an agent
//! and of a fleet alike. Answers are worked out on threads that may take long, a few at a time, and not for ever. Not
//! here: whose past it is (`monitor`, `fleet`).

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{
        DefaultBodyLimit, Path, Query, State,
        rejection::{BytesRejection, PathRejection, QueryRejection},
    },
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{
    Analyses, AnalysisError, Past, QueueFacts,
    parse::{Kind, ParameterError, Question},
    past::{BoundError, Bounded},
};
use crate::{
    games::queue::{MOST_BYTES, QueueError, Waiting, parse},
    history::{SourceError, prometheus::PrometheusError},
};

/// Questions at a time; more are refused.
const PLACES: usize = 2;
/// Frames in memory for one question: a day of minutes of a hundred servers, some 40 MB.
const MOST_FRAMES: usize = 150_000;
/// Who is refused for want of a place may come again after so many seconds.
const AGAIN_SECONDS: &str = "5";

/// Why a question is not answered, as HTTP has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    status: StatusCode,
    error: String,
    known: Vec<String>,
}

impl Refusal {
    /// With a sentence for who asked.
    pub fn new(status: StatusCode, error: impl ToString) -> Self {
        Self {
            status,
            error: error.to_string(),
            known: Vec::new(),
        }
    }

    /// And with what would have been right.
    pub fn knowing(mut self, known: Vec<String>) -> Self {
        self.known = known;
        self
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = Json(serde_json::json!({ "error": self.error, "known": self.known }));
        let mut response = (self.status, body).into_response();
        if self.status == StatusCode::TOO_MANY_REQUESTS {
            let again = HeaderValue::from_static(AGAIN_SECONDS);
            response.headers_mut().insert(header::RETRY_AFTER, again);
        }
        response
    }
}

impl From<ParameterError> for Refusal {
    fn from(error: ParameterError) -> Self {
        Self::new(StatusCode::BAD_REQUEST, &error).knowing(error.known())
    }
}

impl From<SourceError> for Refusal {
    fn from(error: SourceError) -> Self {
        let known = match &error {
            SourceError::Unknown(error) => error.known.clone(),
            SourceError::Prometheus(PrometheusError::Ambiguous { known, .. }) => known.clone(),
            _ => Vec::new(),
        };
        let status = match &error {
            SourceError::Unknown(_) | SourceError::Prometheus(PrometheusError::Ambiguous { .. }) => {
                StatusCode::NOT_FOUND
            }
            SourceError::Prometheus(PrometheusError::TooLong { .. }) => StatusCode::BAD_REQUEST,
            SourceError::Prometheus(PrometheusError::NotKept(_)) => StatusCode::UNPROCESSABLE_ENTITY,
            SourceError::Prometheus(_) => StatusCode::BAD_GATEWAY,
            SourceError::History(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, &error).knowing(known)
    }
}

impl<E: Into<Refusal> + std::fmt::Display> From<BoundError<E>> for Refusal {
    fn from(error: BoundError<E>) -> Self {
        match error {
            BoundError::TooLate => Self::new(StatusCode::SERVICE_UNAVAILABLE, error),
            BoundError::TooMany(_) => Self::new(StatusCode::BAD_REQUEST, error),
            BoundError::Past(error) => error.into(),
        }
    }
}

impl<E: Into<Refusal>> From<AnalysisError<E>> for Refusal {
    fn from(error: AnalysisError<E>) -> Self {
        match error {
            AnalysisError::Source(error) => error.into(),
            // The question is right; what was measured does not answer it.
            AnalysisError::Refused(error) => Self::new(StatusCode::UNPROCESSABLE_ENTITY, error),
            AnalysisError::Overlap => {
                Self::new(StatusCode::BAD_REQUEST, AnalysisError::<SourceError>::Overlap)
            }
            AnalysisError::Ask(error) => Self::new(StatusCode::SERVICE_UNAVAILABLE, error),
        }
    }
}

/// A question on its way to whoever answers it.
#[derive(Debug)]
pub struct Asked {
    /// What is asked.
    pub question: Question,
    /// The queue that was sent with it.
    pub queue: Option<Vec<Waiting>>,
    /// Nobody waits for the answer after this.
    pub until: Instant,
}

impl Asked {
    /// The answer as JSON, out of a past; what a queue needs is put together only for a question about one.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn of<P>(
        self,
        past: &P,
        queue: impl FnOnce(Option<Vec<Waiting>>) -> Result<QueueFacts, Refusal>,
    ) -> Result<Vec<u8>, Refusal>
    where
        P: Past,
        P::Error: Into<Refusal> + std::fmt::Display,
    {
        let bounded = Bounded::new(past, self.until, MOST_FRAMES);
        let ask = Analyses::of(&bounded);
        match self.question {
            Question::Players {
                scope,
                range,
                metrics,
                by,
            } => json(&ask.players(&scope, range, &metrics, by)?),
            Question::Bots { server, range } => json(&ask.bots(&server, range)?),
            Question::Actions { server, range } => json(&ask.actions(&server, range)?),
            Question::Memory { server, range, limit } => json(&ask.leak(&server, range, limit)?),
            Question::Network {
                server,
                range,
                regions,
                buckets,
            } => json(&ask.network(server.as_deref(), range, regions, &buckets)?),
            Question::Netcode {
                server,
                before,
                after,
            } => json(&ask.netcode(&server, before, after)?),
            Question::Mark { server, window_ms } => json(&ask.changes(&server, window_ms)?),
            Question::Queue { range, mut sizes } => {
                let mut facts = queue(self.queue)?;
                sizes.append(&mut facts.sizes);
                facts.sizes = sizes;
                json(&ask.queue(facts, range)?)
            }
        }
    }
}

fn json(answer: &impl Serialize) -> Result<Vec<u8>, Refusal> {
    serde_json::to_vec(answer).map_err(|_| {
        Refusal::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the answer could not be written",
        )
    })
}

/// An answer to come.
pub type Answering = Pin<Box<dyn Future<Output = Result<Vec<u8>, Refusal>> + Send>>;

/// Whoever answers.
pub trait Desk: Send + Sync + 'static {
    /// Works the answer out on a thread that may wait. The place is free again when it is dropped: not before the work ends,
    /// even where nobody waits for it any more.
    fn answer(self: Arc<Self>, asked: Asked, place: OwnedSemaphorePermit) -> Answering;

    /// So long an answer may take.
    fn patience(&self) -> Duration;
}

struct Counter<D> {
    desk: Arc<D>,
    places: Arc<Semaphore>,
}

impl<D> Clone for Counter<D> {
    fn clone(&self) -> Self {
        Self {
            desk: self.desk.clone(),
            places: self.places.clone(),
        }
    }
}

/// The routes; whoever sits at the desk answers.
pub fn router<D: Desk>(desk: D) -> Router {
    Router::new()
        .route("/api/v1/analyze/{question}", get(analyze::<D>))
        .route(
            "/api/v1/queue/prediction",
            get(predict::<D>).post(predict_sent::<D>),
        )
        // One more than may be: what is too large is told so by its reader.
        .layer(DefaultBodyLimit::max(MOST_BYTES + 1))
        .with_state(Counter {
            desk: Arc::new(desk),
            places: Arc::new(Semaphore::new(PLACES)),
        })
}

type Parameters = Result<Query<Vec<(String, String)>>, QueryRejection>;

async fn analyze<D: Desk>(
    State(counter): State<Counter<D>>,
    path: Result<Path<String>, PathRejection>,
    query: Parameters,
) -> Result<Response, Refusal> {
    let bad = |error: PathRejection| Refusal::new(StatusCode::BAD_REQUEST, error);
    let Path(word) = path.map_err(bad)?;
    let kind = Kind::named(&word).ok_or_else(|| {
        let known = Kind::ROUTES.iter().map(|(word, _)| (*word).to_owned()).collect();
        Refusal::new(
            StatusCode::NOT_FOUND,
            format!("there is no analysis called `{word}`"),
        )
        .knowing(known)
    })?;
    counter.answer(kind, query, None).await
}

async fn predict<D: Desk>(State(counter): State<Counter<D>>, query: Parameters) -> Result<Response, Refusal> {
    counter.answer(Kind::Queue, query, None).await
}

async fn predict_sent<D: Desk>(
    State(counter): State<Counter<D>>,
    query: Parameters,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Refusal> {
    let too_large = || Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, QueueError::TooLarge);
    let body = body.map_err(|_| too_large())?;
    let queue = parse(&body).map_err(|error| match error {
        QueueError::TooLarge => too_large(),
        error => Refusal::new(StatusCode::BAD_REQUEST, error),
    })?;
    counter.answer(Kind::Queue, query, Some(queue)).await
}

impl<D: Desk> Counter<D> {
    async fn answer(
        self,
        kind: Kind,
        query: Parameters,
        queue: Option<Vec<Waiting>>,
    ) -> Result<Response, Refusal> {
        let Query(given) = query.map_err(|error| Refusal::new(StatusCode::BAD_REQUEST, error))?;
        let now_ms = jiff::Timestamp::now().as_millisecond();
        let question = Question::parse(kind, &given, now_ms)?;
        let place = self.places.try_acquire_owned().map_err(|_| {
            let error = format!("{PLACES} questions are being answered already: ask again in a moment");
            Refusal::new(StatusCode::TOO_MANY_REQUESTS, error)
        })?;
        let patience = self.desk.patience();
        let asked = Asked {
            question,
            queue,
            until: Instant::now() + patience,
        };
        match tokio::time::timeout(patience, self.desk.answer(asked, place)).await {
            Ok(body) => Ok(([(header::CONTENT_TYPE, "application/json")], body?).into_response()),
            Err(_) => Err(Refusal::new(
                StatusCode::SERVICE_UNAVAILABLE,
                format!(
                    "no answer within {} s: ask for less time, or for one server",
                    patience.as_secs()
                ),
            )),
        }
    }
}

/// Work on a thread of its own that may wait; it keeps its place until it ends.
pub async fn on_a_thread(
    place: OwnedSemaphorePermit,
    work: impl FnOnce() -> Result<Vec<u8>, Refusal> + Send + 'static,
) -> Result<Vec<u8>, Refusal> {
    let done = tokio::task::spawn_blocking(move || {
        let _place = place;
        work()
    });
    done.await.map_err(|_| {
        let error = "the question was dropped: this is a fault of gsmon";
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error)
    })?
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, channel};

    use serde_json::Value;

    use super::*;
    use crate::{
        questions::past::tests::Made,
        serve::{Route, client},
    };

    /// Answers about made servers, once it is let.
    struct Slow {
        gate: std::sync::Mutex<Receiver<()>>,
        patience: Duration,
    }

    impl Desk for Slow {
        fn answer(self: Arc<Self>, asked: Asked, place: OwnedSemaphorePermit) -> Answering {
            Box::pin(on_a_thread(place, move || {
                let gate = self.gate.lock().unwrap();
                gate.recv_timeout(Duration::from_secs(60)).unwrap();
                let made = Made {
                    servers: vec!["arena"],
                    minutes: 300,
                };
                asked.of(&made, |queue| {
                    Ok(QueueFacts {
                        queue: queue.unwrap_or_default(),
                        ..QueueFacts::default()
                    })
                })
            }))
        }

        fn patience(&self) -> Duration {
            self.patience
        }
    }

    struct Served {
        socket: std::path::PathBuf,
        open: std::sync::mpsc::Sender<()>,
        _directory: tempfile::TempDir,
    }

    impl Served {
        fn start(patience: Duration) -> Self {
            let directory = tempfile::tempdir().unwrap();
            let socket = directory.path().join("api.sock");
            let listener = tokio::net::UnixListener::bind(&socket).unwrap();
            let (open, gate) = channel();
            let desk = Slow {
                gate: gate.into(),
                patience,
            };
            tokio::spawn(async move { axum::serve(listener, router(desk)).await });
            Self {
                socket,
                open,
                _directory: directory,
            }
        }

        async fn get(&self, path: &str) -> (u16, Value) {
            let (status, body) = client::get_unix(&self.socket, path).await.unwrap();
            (status, serde_json::from_str(&body).unwrap())
        }
    }

    #[tokio::test]
    async fn answers_come_and_refusals_say_what_is_right() {
        let served = Served::start(Duration::from_secs(60));
        for _ in 0..20 {
            served.open.send(()).unwrap();
        }
        let (status, players) = served
            .get("/api/v1/analyze/players?server=arena&metrics=cpu")
            .await;
        assert_eq!(status, 200, "{players}");
        let cost = &players["report"]["metrics"][0]["scaling"]["per_player"]["value"];
        assert!((cost.as_f64().unwrap() - 0.02).abs() < 1e-3, "{cost}");
        for (path, status, known) in [
            ("/api/v1/analyze/playrs", 404, "players"),
            ("/api/v1/analyze/players?server=x", 404, "arena"),
            ("/api/v1/analyze/players?metrics=cpu_usge", 400, "cpu_usage"),
            ("/api/v1/analyze/bots", 400, "server"),
        ] {
            let (told, body) = served.get(path).await;
            assert_eq!(told, status, "{path}: {body}");
            let words = body["known"].as_array().unwrap();
            assert!(words.iter().any(|word| word == known), "{path}: {body}");
        }
        for (path, status, word) in [
            ("/api/v1/analyze/players?range=1", 400, "no range"),
            ("/api/v1/analyze/bots?server=arena", 422, "bots is not known"),
            ("/api/v1/analyze/actions?server=arena", 422, "no actions"),
            (
                "/api/v1/analyze/netcode?server=arena&before=2h&after=1h",
                400,
                "overlap",
            ),
        ] {
            let (told, body) = served.get(path).await;
            assert_eq!(told, status, "{path}: {body}");
            assert!(body["error"].as_str().unwrap().contains(word), "{path}: {body}");
        }
        let route = Route::to(&["queue", "prediction"]).with("per_match", "duel=4");
        let queue = br#"{"queue":[{"mode":"duel","players":40}]}"#;
        let answer: Value = client::send(&served.socket, &route, queue).await.unwrap();
        assert_eq!(answer["forecast"]["entries"][0]["matches"], 10.0, "{answer}");
        let refused = client::send::<Value>(&served.socket, &route, b"{}")
            .await
            .unwrap_err();
        assert!(refused.to_string().contains("queue"), "{refused}");
    }

    #[tokio::test]
    async fn so_many_are_answered_at_a_time_and_none_for_ever() {
        let served = Arc::new(Served::start(Duration::from_secs(60)));
        let path = "/api/v1/analyze/memory?server=arena";
        let mut asked = tokio::task::JoinSet::new();
        for _ in 0..=PLACES {
            let served = served.clone();
            asked.spawn(async move { served.get(path).await.0 });
        }
        // Nobody is let through yet: the one that has an answer is the one without a place.
        assert_eq!(asked.join_next().await.unwrap().unwrap(), 429);
        for _ in 0..PLACES {
            served.open.send(()).unwrap();
        }
        for status in asked.join_all().await {
            assert_eq!(status, 200);
        }
        let hasty = Served::start(Duration::from_millis(50));
        let (status, body) = hasty.get(path).await;
        assert_eq!(status, 503, "{body}");
        assert!(body["error"].as_str().unwrap().contains("less time"), "{body}");
        hasty.open.send(()).unwrap();
    }
}
