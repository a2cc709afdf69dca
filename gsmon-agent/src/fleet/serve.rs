//! The fleet's listeners, as an agent has them: `/metrics` and `/healthz` over TCP for whoever reaches it, the API over
//! a Unix socket, and over TLS with a token where that is configured.

use std::{net::SocketAddr, path::PathBuf, time::Instant};

use axum::{
    Json, Router,
    extract::{Query, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::{
    net::{TcpListener, UnixListener, UnixStream},
    sync::watch,
};

use super::{
    Fleet, FleetDesk, agones,
    board::HostPicture,
    metrics, moves,
    source::{
        SourcePicture,
        api::{self, Past, PastError},
    },
    sourced, view,
};
use crate::{
    config::FleetListen,
    questions,
    serve::{
        http::bind_socket,
        listener::{self, ConnectionLimits, Transport},
        metrics::{CONTENT_TYPE, encode_outlook},
        remote::{RemoteError, RemoteFiles, RemoteListener},
    },
};

/// Every route, for whoever asks for another one.
const ROUTES: [&str; 11] = [
    "/agones/v1/fleetautoscaler",
    "/healthz",
    "/metrics",
    "/api/v1/analyze/{actions|bots|mark|memory|netcode|network|players}?server=&range=",
    "/api/v1/fleet",
    "/api/v1/frames?server=&from=&to=&resolution=",
    "/api/v1/frames/servers",
    "/api/v1/migrations",
    "/api/v1/players",
    "/api/v1/queue/prediction?range=&per_match=",
    "/api/v1/servers?host=",
];

/// Why a listener could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum FleetServeError {
    /// TCP.
    #[error("cannot listen on {address}: {source}; set another address as `metrics` under [listen]")]
    Tcp {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// Unix socket.
    #[error("cannot listen on {path}: {source}; set another path as `socket` under [listen]")]
    Socket {
        /// Where.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Another fleet.
    #[error(
        "another gsmon fleet is running: it answers on {path}; stop it first, or set another `socket` under [listen]"
    )]
    Second {
        /// Its socket.
        path: PathBuf,
    },
    /// TLS.
    #[error("[listen.remote]: {0}")]
    Remote(#[from] RemoteError),
}

/// All listeners, bound.
#[derive(Debug)]
pub struct FleetServers {
    tcp: TcpListener,
    unix: UnixListener,
    socket: PathBuf,
    remote: Option<RemoteListener>,
}

impl FleetServers {
    /// Binds all of them.
    ///
    /// # Errors
    /// Names the setting to change.
    pub async fn bind(settings: &FleetListen) -> Result<Self, FleetServeError> {
        let tcp = TcpListener::bind(settings.metrics)
            .await
            .map_err(|source| FleetServeError::Tcp {
                address: settings.metrics,
                source,
            })?;
        let remote = match &settings.remote {
            Some(remote) => Some(RemoteListener::bind(remote).await?),
            None => None,
        };
        let path = settings.socket.clone();
        if UnixStream::connect(&path).await.is_ok() {
            return Err(FleetServeError::Second { path });
        }
        let unix = bind_socket(&path).map_err(|source| FleetServeError::Socket { path, source })?;
        Ok(Self {
            tcp,
            unix,
            socket: settings.socket.clone(),
            remote,
        })
    }

    /// Where `/metrics` is.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    /// Where other hosts read, where they may.
    pub fn remote_address(&self) -> Option<std::io::Result<SocketAddr>> {
        self.remote.as_ref().map(RemoteListener::address)
    }

    /// Certificate, key and tokens for other hosts, to read them again.
    pub fn remote_files(&self) -> Option<RemoteFiles> {
        self.remote.as_ref().map(RemoteListener::files)
    }

    /// Serves until `stop` turns true.
    pub async fn run(self, fleet: Fleet, stop: watch::Receiver<bool>) {
        let public = Router::new()
            .route("/metrics", get(metrics_page))
            .route("/healthz", get(health));
        let private = public
            .clone()
            .route("/api/v1/fleet", get(whole_fleet))
            .route("/api/v1/frames", get(frames))
            .route("/api/v1/frames/servers", get(servers_of_frames))
            .route("/api/v1/servers", get(servers))
            .route("/api/v1/players", get(players))
            .fallback(nothing_there)
            .with_state(fleet.clone())
            .merge(questions::serve::router(FleetDesk::new(fleet.clone())))
            .merge(agones::router(fleet.plans.clone()))
            .merge(moves::router(fleet.board.clone(), fleet.moves.clone()));
        let until = |mut stop: watch::Receiver<bool>| async move {
            let _ = stop.wait_for(|stop| *stop).await;
        };
        let tcp = listener::serve(
            self.tcp,
            Transport::Plain,
            public.with_state(fleet),
            ConnectionLimits::default(),
            stop.clone(),
        );
        let unix = async {
            let serving = axum::serve(self.unix, private.clone());
            tokio::select! {
                ended = serving.into_future() => if let Err(error) = ended {
                    tracing::error!(%error, "a listener has failed");
                },
                () = until(stop.clone()) => {}
            }
        };
        let remote = async {
            if let Some(remote) = self.remote {
                remote.serve(private.clone(), stop.clone()).await;
            }
        };
        tokio::join!(tcp, unix, remote);
        let _ = std::fs::remove_file(&self.socket);
    }
}

/// Makes a document of the picture of now. Thousands of players take a while: not on the thread that accepts
/// connections.
async fn answer(
    fleet: Fleet,
    make: impl FnOnce(&[HostPicture], Option<SourcePicture>) -> Result<Vec<u8>, serde_json::Error>
    + Send
    + 'static,
) -> Response {
    let made = tokio::task::spawn_blocking(move || {
        let now = Instant::now();
        make(&fleet.board.picture(now), fleet.source.picture(now))
    })
    .await;
    match made {
        Ok(Ok(body)) => ([(header::CONTENT_TYPE, "application/json")], body).into_response(),
        _ => refuse(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the answer could not be written",
            &[],
        ),
    }
}

async fn whole_fleet(State(fleet): State<Fleet>) -> Response {
    answer(fleet, |picture, source| {
        serde_json::to_vec(&sourced::fleet(view::fleet(picture), source))
    })
    .await
}

async fn players(State(fleet): State<Fleet>) -> Response {
    answer(fleet, |picture, _| serde_json::to_vec(&view::players(picture))).await
}

/// `?host=`
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct OfHost {
    host: Option<String>,
}

async fn servers(
    State(fleet): State<Fleet>,
    query: Result<Query<OfHost>, axum::extract::rejection::QueryRejection>,
) -> Response {
    let Ok(Query(OfHost { host })) = query else {
        return refuse(
            StatusCode::BAD_REQUEST,
            "only `host` is a parameter here, once",
            &["host"],
        );
    };
    // Empty is not given, so that a form can be sent as it is.
    let Some(host) = host.filter(|host| !host.is_empty()) else {
        return answer(fleet, |picture, source| {
            serde_json::to_vec(&sourced::servers(view::servers(picture), source.as_ref()))
        })
        .await;
    };
    let picture = fleet.board.picture(Instant::now());
    if !picture.iter().any(|known| *known.name == *host) {
        let known: Vec<&str> = picture.iter().map(|known| &*known.name).collect();
        return refuse(
            StatusCode::NOT_FOUND,
            &format!("there is no host called `{host}`"),
            &known,
        );
    }
    answer(fleet, move |picture, source| {
        let one: Vec<HostPicture> = picture
            .iter()
            .filter(|known| *known.name == *host)
            .cloned()
            .collect();
        serde_json::to_vec(&sourced::servers(view::servers(&one), source.as_ref()))
    })
    .await
}

/// `?server=&from=&to=&resolution=`
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct OfServer {
    server: Option<String>,
    from: Option<String>,
    to: Option<String>,
    resolution: Option<String>,
}

/// The last hour where no time is given, as agents have it.
const USUAL_MS: i64 = 3_600_000;

async fn frames(
    State(fleet): State<Fleet>,
    query: Result<Query<OfServer>, axum::extract::rejection::QueryRejection>,
) -> Response {
    const KNOWN: [&str; 4] = ["server", "from", "to", "resolution"];
    let bad = |error: &str, known: &[&str]| refuse(StatusCode::BAD_REQUEST, error, known);
    let Ok(Query(asked)) = query else {
        return bad("only `known` are parameters here, each once", &KNOWN);
    };
    let Some(server) = asked.server.filter(|name| !name.is_empty()) else {
        return bad("the parameter `server` is missing", &["server"]);
    };
    let now_ms = jiff::Timestamp::now().as_millisecond();
    let time = |text: Option<String>, absent: i64| match text.filter(|text| !text.is_empty()) {
        None => Some(absent),
        Some(text) => api::moment(&text),
    };
    let (Some(from_unix_ms), Some(to_unix_ms)) =
        (time(asked.from, now_ms - USUAL_MS), time(asked.to, now_ms))
    else {
        return bad(
            "`from` and `to` must be milliseconds since the Unix epoch, or RFC 3339",
            &["from", "to"],
        );
    };
    let Some(resolution) = api::resolution(asked.resolution.as_deref()) else {
        return bad(
            "there is no such resolution",
            &["fitting", "raw", "minute", "hour"],
        );
    };
    let past = Past {
        server,
        range: crate::history::TimeRange {
            from_unix_ms,
            to_unix_ms,
        },
        resolution,
    };
    match fleet.source.frames(past).await {
        Ok(frames) => Json(frames).into_response(),
        Err(error) => no_past(&error),
    }
}

async fn servers_of_frames(State(fleet): State<Fleet>) -> Response {
    match fleet.source.servers().await {
        Ok(servers) => Json(servers).into_response(),
        Err(error) => no_past(&error),
    }
}

fn no_past(error: &PastError) -> Response {
    let (status, known) = match error {
        PastError::NoSource => (StatusCode::NOT_FOUND, Vec::new()),
        PastError::Unknown { known, .. } => {
            (StatusCode::NOT_FOUND, known.iter().map(String::as_str).collect())
        }
        PastError::TooMany => (StatusCode::BAD_REQUEST, vec!["minute", "hour"]),
        PastError::Ask(_) => (StatusCode::BAD_GATEWAY, Vec::new()),
    };
    refuse(status, &error.to_string(), &known)
}

async fn metrics_page(State(fleet): State<Fleet>) -> Response {
    let now = Instant::now();
    let text = metrics::encode(&fleet.board.picture(now), fleet.source.picture(now).as_ref());
    let text = text.and_then(|text| match fleet.plans.figures() {
        Some(figures) => Ok(text + &encode_outlook(&figures)?),
        None => Ok(text),
    });
    match text {
        Ok(text) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// The fleet answers, and so it is well: silent agents are told in `/metrics` and in the API.
async fn health() -> Response {
    Json(serde_json::json!({ "healthy": true })).into_response()
}

async fn nothing_there() -> Response {
    refuse(
        StatusCode::NOT_FOUND,
        "nothing is served at this path: `known` has what is",
        &ROUTES,
    )
}

fn refuse(status: StatusCode, error: &str, known: &[&str]) -> Response {
    (
        status,
        Json(serde_json::json!({ "error": error, "known": known })),
    )
        .into_response()
}
