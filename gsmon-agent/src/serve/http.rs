//! The listeners. TCP serves `/metrics` and `/healthz` only, since any process of the host can reach loopback; the
//! Unix socket (0660, group gsmon) serves the JSON API and takes pushes as well. A second TCP listener, where
//! configured, takes pushes with a token and serves nothing else; a third tells a fleet what is going on, over TLS and
//! with a token (`remote`).

use std::{
    io,
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::{
    net::{TcpListener, UnixListener, UnixStream},
    sync::watch,
};

use super::{
    api::{self, outlook::Outlook},
    listener::{self, ConnectionLimits, Transport},
    metrics,
    push::{self, Access, PushGate, RequestLimits, TokenBook, TokenError},
    queue::{self, QueueBook},
    remote::{self, RemoteError, RemoteFiles, RemoteListener},
};
use crate::{
    config::{ApiSettings, MetricsSettings},
    games::push::PushSink,
    history::History,
    privacy::PseudonymKey,
    world::cell::SnapshotCell,
};

/// Why a listener could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// TCP.
    #[error("cannot listen on {address}: {source}; set another address as `listen` under [api]")]
    Tcp {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// TCP, for pushes.
    #[error("cannot listen on {address}: {source}; set another address as `listen` under [api.push]")]
    Push {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The tokens of pushes.
    #[error(transparent)]
    Tokens(#[from] TokenError),
    /// What a fleet reads.
    #[error("[api.remote]: {0}")]
    Remote(#[from] RemoteError),
    /// Unix socket.
    #[error("cannot listen on {path}: {source}; set another path as `socket` under [api]")]
    Unix {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another agent.
    #[error("another gsmon agent is running: it answers on {path}; stop it first (systemctl stop gsmon)")]
    SecondAgent {
        /// Its socket.
        path: PathBuf,
    },
}

/// All listeners, bound.
pub struct Servers {
    tcp: TcpListener,
    push: Option<(TcpListener, Arc<TokenBook>)>,
    remote: Option<(RemoteListener, Option<PseudonymKey>)>,
    unix: UnixListener,
    socket: PathBuf,
    queue: Arc<QueueBook>,
    further: Router,
    outlook: Option<Arc<dyn Outlook>>,
}

impl std::fmt::Debug for Servers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Servers")
            .field("tcp", &self.tcp)
            .field("socket", &self.socket)
            .finish_non_exhaustive()
    }
}

/// A snapshot older than so many intervals means that the agent hangs.
const STALE_INTERVALS: f64 = 3.0;

impl Servers {
    /// Binds all of them. A socket that nobody answers on is a leftover of a killed agent and is removed.
    pub async fn bind(settings: &ApiSettings) -> Result<Self, ServeError> {
        let path = settings.socket.clone();
        if UnixStream::connect(&path).await.is_ok() {
            return Err(ServeError::SecondAgent { path });
        }
        let tcp = TcpListener::bind(settings.listen)
            .await
            .map_err(|source| ServeError::Tcp {
                address: settings.listen,
                source,
            })?;
        let push = match &settings.push {
            Some(push) => {
                let tokens = TokenBook::load(&push.token_file)?;
                let listener = TcpListener::bind(push.listen)
                    .await
                    .map_err(|source| ServeError::Push {
                        address: push.listen,
                        source,
                    })?;
                if !push.listen.ip().is_loopback() {
                    tracing::warn!(
                        listen = %push.listen,
                        "pushes and their tokens cross the network readable: put TLS in front of it"
                    );
                }
                Some((listener, Arc::new(tokens)))
            }
            None => None,
        };
        let remote = match &settings.remote {
            Some(remote) => {
                let key = remote.shared_key_file.as_deref().map(PseudonymKey::read_shared);
                let key = key.transpose().map_err(RemoteError::from)?;
                Some((RemoteListener::bind(remote).await?, key))
            }
            None => None,
        };
        let unix = bind_socket(&path).map_err(|source| ServeError::Unix {
            path: path.clone(),
            source,
        })?;
        give_to_group(&path, &settings.socket_group);
        Ok(Self {
            tcp,
            push,
            remote,
            unix,
            socket: path,
            queue: Arc::default(),
            further: Router::new(),
            outlook: None,
        })
    }

    /// Lets forecasts and advice be asked for, and has their figures among the metrics.
    pub fn with_outlook(self, outlook: Arc<dyn Outlook>) -> Self {
        Self {
            outlook: Some(outlook),
            ..self
        }
    }

    /// Where TCP listens.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    /// Where TCP takes pushes, where it does.
    pub fn push_address(&self) -> Option<io::Result<SocketAddr>> {
        self.push.as_ref().map(|(listener, _)| listener.local_addr())
    }

    /// Serves further routes on the Unix socket, of rooms that this one does not know.
    pub fn with_routes(mut self, routes: Router) -> Self {
        self.further = self.further.merge(routes);
        self
    }

    /// The matchmaking queue, for whoever asks for it elsewhere.
    pub fn queue(&self) -> Arc<QueueBook> {
        self.queue.clone()
    }

    /// The tokens of pushes over TCP, to read them again.
    pub fn push_tokens(&self) -> Option<Arc<TokenBook>> {
        self.push.as_ref().map(|(_, tokens)| tokens.clone())
    }

    /// Where a fleet reads over TLS, where one may.
    pub fn remote_address(&self) -> Option<io::Result<SocketAddr>> {
        self.remote.as_ref().map(|(listener, _)| listener.address())
    }

    /// Certificate, key and tokens of what a fleet reads, to read them again.
    pub fn remote_files(&self) -> Option<RemoteFiles> {
        self.remote.as_ref().map(|(listener, _)| listener.files())
    }

    /// Serves until `stop` turns true; what is pushed goes into `pushes`, and `metrics` may change meanwhile.
    pub async fn run(
        self,
        cell: Arc<SnapshotCell>,
        history: Arc<History>,
        pushes: PushSink,
        metrics: watch::Receiver<MetricsSettings>,
        stop: watch::Receiver<bool>,
    ) {
        let pages = Pages {
            cell,
            metrics,
            pushes: pushes.clone(),
            scenes: Arc::default(),
            outlook: self.outlook.clone(),
        };
        let gate = PushGate::new(pushes, RequestLimits::default());
        let public = Router::new()
            .route("/metrics", get(metrics_page))
            .route("/healthz", get(health));
        let private = public
            .clone()
            .with_state(pages.clone())
            .merge(api::router(pages.cell.clone()))
            .merge(api::frames::router(history.clone()))
            .merge(api::kept::router(history.clone()))
            .merge(api::marks::router(history))
            .merge(queue::router(self.queue))
            .merge(self.further)
            .merge(gate.router(Access::Anyone));
        let private = match &self.outlook {
            Some(outlook) => private.merge(api::outlook::router(outlook.clone())),
            None => private,
        };
        let public = public.with_state(pages.clone());
        let until = |mut stop: watch::Receiver<bool>| async move {
            // An error means that the sender has gone, which is a stop as well.
            let _ = stop.wait_for(|stop| *stop).await;
        };
        let public_for_fleets = public.clone();
        let tcp = axum::serve(self.tcp, public).with_graceful_shutdown(until(stop.clone()));
        let unix = axum::serve(self.unix, private).with_graceful_shutdown(until(stop.clone()));
        let pushed = async {
            if let Some((listener, tokens)) = self.push {
                let router = gate.router(Access::Tokens(tokens));
                let limits = ConnectionLimits::default();
                listener::serve(listener, Transport::Plain, router, limits, stop.clone()).await;
            }
        };
        let told = async {
            if let Some((listener, key)) = self.remote {
                let router = public_for_fleets.merge(remote::report_router(pages.cell.clone(), key));
                let router = match self.outlook {
                    Some(outlook) => router.merge(api::outlook::fleet_router(outlook)),
                    None => router,
                };
                listener.serve(router, stop.clone()).await;
            }
        };
        let all = async {
            let (tcp, unix, (), ()) = tokio::join!(tcp.into_future(), unix.into_future(), pushed, told);
            for error in [tcp, unix].into_iter().filter_map(Result::err) {
                tracing::error!(%error, "a listener has failed");
            }
        };
        // A client that holds its connection open must not hold up the shutdown.
        let limit = async {
            until(stop.clone()).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        };
        tokio::select! { () = all => {}, () = limit => {} }
        let _ = std::fs::remove_file(&self.socket);
    }
}

/// Binds a Unix socket that its user and group may use, in place of a leftover that nobody answers on.
pub(crate) fn bind_socket(path: &Path) -> io::Result<UnixListener> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    remove_leftover(path)?;
    let socket = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
    Ok(socket)
}

fn remove_leftover(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::FileTypeExt;
    match std::fs::symlink_metadata(path) {
        Ok(file) if file.file_type().is_socket() => std::fs::remove_file(path),
        Ok(_) => Err(io::Error::other("something that is no socket is in the way")),
        Err(_) => Ok(()),
    }
}

fn give_to_group(path: &Path, group: &str) {
    match nix::unistd::Group::from_name(group) {
        Ok(Some(group)) => {
            if let Err(error) = nix::unistd::chown(path, None, Some(group.gid)) {
                tracing::warn!(%error, "the API socket keeps its group");
            }
        }
        _ => tracing::warn!(
            "there is no group `{group}`: only root can use `gsmon top` (groupadd --system {group})"
        ),
    }
}

/// What pages are made of.
#[derive(Clone)]
struct Pages {
    cell: Arc<SnapshotCell>,
    metrics: watch::Receiver<MetricsSettings>,
    pushes: PushSink,
    scenes: Arc<metrics::SceneNames>,
    outlook: Option<Arc<dyn Outlook>>,
}

async fn metrics_page(State(pages): State<Pages>) -> Response {
    let Some(snapshot) = pages.cell.load() else {
        return not_yet();
    };
    let settings = *pages.metrics.borrow();
    let text = metrics::encode(&snapshot, &settings, &pages.scenes)
        .and_then(|text| Ok(text + &push::encode(&pages.pushes.counts())?))
        .and_then(
            |text| match pages.outlook.as_ref().and_then(|outlook| outlook.figures()) {
                Some(figures) => Ok(text + &metrics::encode_outlook(&figures)?),
                None => Ok(text),
            },
        );
    match text {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn health(State(pages): State<Pages>) -> Response {
    let Some(snapshot) = pages.cell.load() else {
        return not_yet();
    };
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |time| time.as_secs_f64());
    let age_seconds = now - snapshot.unix_time_seconds;
    let fresh = age_seconds < STALE_INTERVALS * snapshot.interval_seconds.max(1.0);
    let status = if fresh {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let body = serde_json::json!({ "healthy": fresh, "snapshot_age_seconds": age_seconds });
    (status, Json(body)).into_response()
}

fn not_yet() -> Response {
    (
        StatusCode::SERVICE_UNAVAILABLE,
        "the first interval has not ended yet\n",
    )
        .into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::SessionSeries,
        serve::{client, metrics::tests::sample},
    };

    fn settings(directory: &Path) -> ApiSettings {
        ApiSettings {
            listen: "127.0.0.1:0".parse().unwrap(),
            socket: directory.join("run/api.sock"),
            socket_group: "no-such-group".into(),
            push: None,
            remote: None,
        }
    }

    #[tokio::test]
    async fn tcp_has_metrics_and_health_but_no_api() {
        let directory = tempfile::tempdir().unwrap();
        let settings = settings(directory.path());
        let servers = Servers::bind(&settings).await.unwrap();
        let address = servers.address().unwrap();
        let cell = Arc::new(SnapshotCell::default());
        let (pushes, _queue) = crate::games::push::channel(Default::default());
        let (stop, stopped) = watch::channel(false);
        let (metrics, wanted) = watch::channel(MetricsSettings::default());
        let serving = tokio::spawn(servers.run(cell.clone(), Arc::default(), pushes, wanted, stopped));
        let over_tcp = |path: &'static str| async move { client::get_tcp(address, path).await.unwrap() };
        assert_eq!(over_tcp("/metrics").await.0, 503);
        cell.store(sample(true));
        let (status, body) = over_tcp("/metrics").await;
        assert!(status == 200 && body.contains("gsmon_server_up"));
        assert!(body.contains("gsmon_push_requests_refused_total{reason=\"unknown_server\"} 0"));
        assert_eq!(over_tcp("/api/v1/snapshot").await.0, 404);
        assert_eq!(over_tcp("/api/v1/events").await.0, 404);
        assert_eq!(over_tcp("/api/v1/sessions").await.0, 404);
        assert_eq!(over_tcp("/api/v1/players").await.0, 404);
        let per_session = "gsmon_agent_sessions_without_series";
        assert!(!body.contains(per_session));
        metrics.send_modify(|settings| settings.sessions = SessionSeries::On);
        assert!(
            over_tcp("/metrics").await.1.contains(per_session),
            "settings can change"
        );
        let fetched = client::fetch_snapshot(&settings.socket).await.unwrap();
        assert_eq!(fetched, sample(true));
        assert!(matches!(
            Servers::bind(&settings).await,
            Err(ServeError::SecondAgent { .. })
        ));
        stop.send(true).unwrap();
        serving.await.unwrap();
        assert!(!settings.socket.exists());
    }

    #[tokio::test]
    async fn a_leftover_socket_is_replaced_and_a_file_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let settings = settings(directory.path());
        std::fs::create_dir_all(settings.socket.parent().unwrap()).unwrap();
        drop(std::os::unix::net::UnixListener::bind(&settings.socket).unwrap());
        drop(Servers::bind(&settings).await.unwrap());
        std::fs::remove_file(&settings.socket).unwrap();
        std::fs::write(&settings.socket, "precious").unwrap();
        assert!(matches!(
            Servers::bind(&settings).await,
            Err(ServeError::Unix { .. })
        ));
        assert_eq!(std::fs::read_to_string(&settings.socket).unwrap(), "precious");
    }

    #[tokio::test]
    async fn a_port_in_use_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let settings = ApiSettings {
            listen: taken.local_addr().unwrap(),
            ..settings(directory.path())
        };
        let message = Servers::bind(&settings).await.unwrap_err().to_string();
        assert!(
            message.contains(&settings.listen.to_string()) && message.contains("[api]"),
            "{message}"
        );
    }
}
