//! The listener for other hosts: TLS, a token for everything, reading only. What is served behind it is the caller's:
//! an agent's report, or the API of a fleet.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{Request, State},
    http::{HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use base64::Engine as _;
use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
};

use super::{
    listener::{self, ConnectionLimits, Transport},
    push::{TokenBook, TokenError},
    report::AgentReport,
    tls::{ServerTls, TlsError},
};
use crate::{
    config::RemoteSettings,
    privacy::{PrivacyError, PseudonymKey},
    world::cell::SnapshotCell,
};

/// Reports that are made at a time: each is a copy of everything.
const REPORTS_AT_A_TIME: usize = 2;
/// A report may wait and be made for this long.
const REPORT_TIMEOUT: Duration = Duration::from_secs(10);
/// Limits of the listener.
const LIMITS: ConnectionLimits = ConnectionLimits {
    connections: 64,
    head: Duration::from_secs(5),
    life: Duration::from_secs(60),
};

/// Why the listener could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// The address.
    #[error("cannot listen on {address}: {source}; set another address as `listen` of the remote listener")]
    Bind {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// Certificate or key.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The tokens.
    #[error(transparent)]
    Tokens(#[from] TokenError),
    /// A token that is not for all servers.
    #[error(
        "{path}, line {line}: a token for reading is for everything on this host: write no servers behind it, and keep tokens for pushes in their own file"
    )]
    Scoped {
        /// Which file.
        path: std::path::PathBuf,
        /// One-based.
        line: usize,
    },
    /// The shared key.
    #[error("shared_key_file: {0}")]
    SharedKey(#[from] PrivacyError),
}

/// A listener, bound.
#[derive(Debug)]
pub struct RemoteListener {
    listener: TcpListener,
    files: RemoteFiles,
}

/// The files of a listener, to read them again.
#[derive(Clone, Debug)]
pub struct RemoteFiles {
    tls: Arc<ServerTls>,
    tokens: Arc<TokenBook>,
}

impl RemoteFiles {
    /// Reads certificate, key and tokens again; what cannot be read stays as it was.
    pub fn reload(&self) -> Vec<RemoteError> {
        let mut errors = Vec::new();
        if let Err(error) = self.tls.reload() {
            errors.push(error.into());
        }
        match self.tokens.reload_unscoped() {
            Ok(()) => {}
            Err(error) => errors.push(error),
        }
        errors
    }
}

impl TokenBook {
    fn load_unscoped(path: &std::path::Path) -> Result<Self, RemoteError> {
        let book = Self::load(path)?;
        book.refuse_scopes()?;
        Ok(book)
    }

    fn reload_unscoped(&self) -> Result<(), RemoteError> {
        // Looked at apart, so that a file that is refused leaves the tokens as they were.
        Self::load_unscoped(self.path())?;
        self.reload()?;
        self.refuse_scopes()
    }

    fn refuse_scopes(&self) -> Result<(), RemoteError> {
        match self.first_scoped_line() {
            Some(line) => Err(RemoteError::Scoped {
                path: self.path().to_owned(),
                line,
            }),
            None => Ok(()),
        }
    }
}

impl RemoteListener {
    /// Reads its files and listens.
    ///
    /// # Errors
    /// Where a file is not as it must be, or the address cannot be had.
    pub async fn bind(settings: &RemoteSettings) -> Result<Self, RemoteError> {
        let tls = ServerTls::load(&settings.certificate_file, &settings.key_file)?;
        let tokens = TokenBook::load_unscoped(&settings.token_file)?;
        let listener = TcpListener::bind(settings.listen)
            .await
            .map_err(|source| RemoteError::Bind {
                address: settings.listen,
                source,
            })?;
        Ok(Self {
            listener,
            files: RemoteFiles {
                tls: Arc::new(tls),
                tokens: Arc::new(tokens),
            },
        })
    }

    /// Where it listens.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Its files.
    pub fn files(&self) -> RemoteFiles {
        self.files.clone()
    }

    /// Serves `router` to bearers of a token until `stop` turns true.
    pub async fn serve(self, router: Router, stop: watch::Receiver<bool>) {
        let router = router.layer(middleware::from_fn_with_state(self.files.tokens.clone(), check));
        listener::serve(
            self.listener,
            Transport::Tls(self.files.tls),
            router,
            LIMITS,
            stop,
        )
        .await;
    }
}

async fn check(State(tokens): State<Arc<TokenBook>>, request: Request, next: Next) -> Response {
    let sent = request.headers().get(header::AUTHORIZATION);
    if tokens.grant(sent).is_some() || tokens.grant(as_password(sent).as_ref()).is_some() {
        return next.run(request).await;
    }
    let body =
        serde_json::json!({ "error": "a token is needed: send Authorization: Bearer TOKEN", "known": [] });
    let mut response = (StatusCode::UNAUTHORIZED, Json(body)).into_response();
    let scheme = HeaderValue::from_static("Bearer");
    response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
    response
}

/// The token where it came as the password of a URL (`https://anybody:TOKEN@host`), for callers that can send no other
/// header: Agones is one.
fn as_password(sent: Option<&HeaderValue>) -> Option<HeaderValue> {
    let (scheme, word) = sent?.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let told = base64::engine::general_purpose::STANDARD
        .decode(word.trim())
        .ok()?;
    let (_, token) = std::str::from_utf8(&told).ok()?.split_once(':')?;
    let mut value = HeaderValue::from_str(&format!("Bearer {token}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// What reports are made of.
#[derive(Clone)]
struct Reports {
    cell: Arc<SnapshotCell>,
    key: Option<Arc<PseudonymKey>>,
    places: Arc<Semaphore>,
}

/// The route of an agent's report.
pub fn report_router(cell: Arc<SnapshotCell>, key: Option<PseudonymKey>) -> Router {
    Router::new()
        .route("/api/v1/report", get(report))
        .with_state(Reports {
            cell,
            key: key.map(Arc::new),
            places: Arc::new(Semaphore::new(REPORTS_AT_A_TIME)),
        })
}

async fn report(State(reports): State<Reports>) -> Response {
    let make = async {
        let place = reports.places.acquire_owned().await.ok()?;
        let snapshot = reports.cell.load();
        let made = tokio::task::spawn_blocking(move || {
            let _place = place;
            snapshot.map(|snapshot| serde_json::to_vec(&AgentReport::now(&snapshot, reports.key.as_deref())))
        });
        made.await.ok()
    };
    match tokio::time::timeout(REPORT_TIMEOUT, make).await {
        Ok(Some(Some(Ok(body)))) => ([(header::CONTENT_TYPE, "application/json")], body).into_response(),
        Ok(Some(None)) => refuse(
            StatusCode::SERVICE_UNAVAILABLE,
            "the first interval has not ended yet",
        ),
        Err(_) => refuse(StatusCode::SERVICE_UNAVAILABLE, "too many ask at once: try again"),
        Ok(_) => refuse(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the answer could not be written",
        ),
    }
}

fn refuse(status: StatusCode, error: &str) -> Response {
    (status, Json(serde_json::json!({ "error": error, "known": [] }))).into_response()
}
