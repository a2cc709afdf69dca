//! Client of the agent's Unix socket, for `gsmon top` and every other reading command.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request, body::Bytes};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::UnixStream,
};

use crate::world::snapshot::Snapshot;

/// An answer may take this long.
const TIMEOUT: Duration = Duration::from_secs(5);
/// An answer may take this long where others have to be asked for it.
const PATIENCE: Duration = Duration::from_secs(150);
/// An answer may be this large.
const MOST_BYTES: usize = 256 << 20;

/// Why there is no snapshot.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error("no gsmon agent is running (nobody answers on {path}): start it with `gsmon run --config F`")]
    NoAgent {
        /// Which socket.
        path: PathBuf,
    },
    /// The socket is not for this user.
    #[error("no permission to use {path}: join its group (usermod -aG gsmon USER), or run as root")]
    Permission {
        /// Which socket.
        path: PathBuf,
    },
    /// It took too long.
    #[error("the gsmon agent on {path} did not answer within {seconds} s")]
    Timeout {
        /// Which socket.
        path: PathBuf,
        /// The limit.
        seconds: u64,
    },
    /// There is no such thing, or it cannot be meant.
    #[error("{0}")]
    Refused(String),
    /// It refused.
    #[error("the gsmon agent answered {status}: {body}")]
    Status {
        /// HTTP status.
        status: u16,
        /// What it said.
        body: String,
    },
    /// The connection broke.
    #[error("talking to the gsmon agent: {0}")]
    Transport(String),
    /// The answer makes no sense.
    #[error("the gsmon agent's answer is unreadable ({0}): are agent and command of one version?")]
    Decode(serde_json::Error),
}

/// A path with its query, built from parts that may hold anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    path: String,
    queried: bool,
}

impl Route {
    /// A path below `/api/v1`, part by part.
    pub fn to(parts: &[&str]) -> Self {
        let mut path = "/api/v1".to_owned();
        for part in parts {
            path.push('/');
            encode(part, &mut path);
        }
        Self { path, queried: false }
    }

    /// Adds a parameter.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.path.push(if self.queried { '&' } else { '?' });
        self.queried = true;
        encode(name, &mut self.path);
        self.path.push('=');
        encode(value, &mut self.path);
        self
    }
}

/// Percent-encodes everything but the unreserved characters of RFC 3986.
fn encode(part: &str, out: &mut String) {
    for byte in part.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
}

/// Asks the agent for its newest snapshot.
pub async fn fetch_snapshot(socket: &Path) -> Result<Snapshot, ClientError> {
    fetch(socket, &Route::to(&["snapshot"])).await
}

/// Asks the agent for a document.
pub async fn fetch<T: DeserializeOwned>(socket: &Path, route: &Route) -> Result<T, ClientError> {
    let (status, body) = get_unix(socket, &route.path).await?;
    if status != 200 {
        return Err(refused(status, body));
    }
    serde_json::from_str(&body).map_err(ClientError::Decode)
}

/// As [`fetch`], where whoever answers has to ask others first.
pub async fn fetch_patiently<T: DeserializeOwned>(socket: &Path, route: &Route) -> Result<T, ClientError> {
    let asked = ask_within(PATIENCE, socket, Method::GET, &route.path, &[]);
    let (status, body) = asked.await?;
    if status != 200 {
        return Err(refused(status, body));
    }
    serde_json::from_str(&body).map_err(ClientError::Decode)
}

/// Sends the agent a body, and reads the document that it answers.
pub async fn send<T: DeserializeOwned>(socket: &Path, route: &Route, body: &[u8]) -> Result<T, ClientError> {
    let (status, answer) = ask_unix(socket, Method::POST, &route.path, body).await?;
    if status != 200 {
        return Err(refused(status, answer));
    }
    serde_json::from_str(&answer).map_err(ClientError::Decode)
}

/// What the agent says of a request that it does not answer, in one sentence.
#[derive(serde::Deserialize)]
struct Refused {
    error: String,
}

fn refused(status: u16, body: String) -> ClientError {
    match serde_json::from_str::<Refused>(&body) {
        Ok(Refused { error }) if status < 500 => ClientError::Refused(error),
        Ok(Refused { error }) => ClientError::Status { status, body: error },
        Err(_) => ClientError::Status { status, body },
    }
}

pub(crate) async fn get_unix(socket: &Path, path: &str) -> Result<(u16, String), ClientError> {
    ask_unix(socket, Method::GET, path, &[]).await
}

async fn ask_unix(
    socket: &Path,
    method: Method,
    path: &str,
    body: &[u8],
) -> Result<(u16, String), ClientError> {
    ask_within(TIMEOUT, socket, method, path, body).await
}

async fn ask_within(
    limit: Duration,
    socket: &Path,
    method: Method,
    path: &str,
    body: &[u8],
) -> Result<(u16, String), ClientError> {
    let at = socket.to_owned();
    let stream = UnixStream::connect(socket)
        .await
        .map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied => ClientError::Permission { path: at.clone() },
            _ => ClientError::NoAgent { path: at.clone() },
        })?;
    tokio::time::timeout(limit, ask(stream, method, path, body))
        .await
        .map_err(|_| ClientError::Timeout {
            path: at,
            seconds: limit.as_secs(),
        })?
}

async fn ask<S>(stream: S, method: Method, path: &str, body: &[u8]) -> Result<(u16, String), ClientError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let transport = |error: &dyn std::fmt::Display| ClientError::Transport(error.to_string());
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| transport(&error))?;
    let connection = tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(hyper::header::HOST, "gsmon")
        .body(Full::new(Bytes::copy_from_slice(body)))
        .map_err(|error| transport(&error))?;
    let response = sender
        .send_request(request)
        .await
        .map_err(|error| transport(&error))?;
    let status = response.status().as_u16();
    let body = Limited::new(response.into_body(), MOST_BYTES)
        .collect()
        .await
        .map_err(|error| transport(&error))?;
    connection.abort();
    Ok((status, String::from_utf8_lossy(&body.to_bytes()).into_owned()))
}

#[cfg(test)]
pub(crate) async fn get_tcp(address: std::net::SocketAddr, path: &str) -> Result<(u16, String), ClientError> {
    let stream = tokio::net::TcpStream::connect(address)
        .await
        .map_err(|error| ClientError::Transport(error.to_string()))?;
    ask(stream, Method::GET, path, &[]).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_path_may_hold_anything() {
        let route = Route::to(&["servers", "a/b ?&", "żó"])
            .with("session", "x=1&y")
            .with("n", "1");
        assert_eq!(
            route.path,
            "/api/v1/servers/a%2Fb%20%3F%26/%C5%BC%C3%B3?session=x%3D1%26y&n=1"
        );
    }

    #[test]
    fn a_refusal_is_told_in_the_agents_words() {
        let error = refused(404, r#"{"error":"there is no x","known":[]}"#.into());
        assert_eq!(error.to_string(), "there is no x");
        assert!(refused(404, "not found".into()).to_string().contains("404"));
    }

    #[tokio::test]
    async fn no_agent_is_said_so() {
        let error = fetch_snapshot(Path::new("/nowhere/api.sock")).await.unwrap_err();
        assert!(error.to_string().contains("gsmon run --config"), "{error}");
    }
}
