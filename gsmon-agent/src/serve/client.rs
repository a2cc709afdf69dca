//! Client of the agent's Unix socket, for `gsmon top` and every other reading command.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Request, body::Bytes};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::UnixStream,
};

use crate::world::snapshot::Snapshot;

/// An answer may take this long.
const TIMEOUT: Duration = Duration::from_secs(5);
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

/// Asks the agent for its newest snapshot.
pub async fn fetch_snapshot(socket: &Path) -> Result<Snapshot, ClientError> {
    let path = socket.to_owned();
    let stream = UnixStream::connect(socket)
        .await
        .map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied => ClientError::Permission { path: path.clone() },
            _ => ClientError::NoAgent { path: path.clone() },
        })?;
    let (status, body) = tokio::time::timeout(TIMEOUT, get(stream, "/api/v1/snapshot"))
        .await
        .map_err(|_| ClientError::Timeout {
            path,
            seconds: TIMEOUT.as_secs(),
        })??;
    if status != 200 {
        return Err(ClientError::Status { status, body });
    }
    serde_json::from_str(&body).map_err(ClientError::Decode)
}

async fn get<S>(stream: S, path: &str) -> Result<(u16, String), ClientError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let transport = |error: &dyn std::fmt::Display| ClientError::Transport(error.to_string());
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| transport(&error))?;
    let connection = tokio::spawn(connection);
    let request = Request::get(path)
        .header(hyper::header::HOST, "gsmon")
        .body(Empty::<Bytes>::new())
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
pub(super) async fn get_tcp(address: std::net::SocketAddr, path: &str) -> Result<(u16, String), ClientError> {
    let stream = tokio::net::TcpStream::connect(address)
        .await
        .map_err(|error| ClientError::Transport(error.to_string()))?;
    get(stream, path).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn no_agent_is_said_so() {
        let error = fetch_snapshot(Path::new("/nowhere/api.sock")).await.unwrap_err();
        assert!(error.to_string().contains("gsmon run --config"), "{error}");
    }
}
