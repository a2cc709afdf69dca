//! One request to one web server, with bounds: HTTP/1.1, TLS by rustls with the certificate authorities of the system
//! (`SSL_CERT_FILE` names others), a bearer token or a password from a file. No redirect is followed and no proxy used.
//!
//! Not here: what is asked (`source`), what answers mean (`answer`).

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use base64::Engine;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::{
    Method, Request, StatusCode, Uri,
    body::Bytes,
    header::{self, HeaderValue},
};
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

/// A request may take this long, from the look-up of the name to the last byte.
pub const TIMEOUT: Duration = Duration::from_secs(60);
/// An answer may be this large.
pub const MOST_BYTES: usize = 64 << 20;
/// A file with a token or a password may be this large.
const MOST_SECRET_BYTES: u64 = 4_096;
/// So much of an answer that is no JSON is shown.
const SHOWN: usize = 200;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum WebError {
    /// The address.
    #[error("`{url}` is no address of a web server: {why}")]
    Url {
        /// What was given.
        url: String,
        /// What is wrong.
        why: &'static str,
    },
    /// The file with the token or the password.
    #[error("cannot read the credentials in {path}: {why}")]
    Secret {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// No certificate authorities, or TLS that cannot be set up.
    #[error("TLS cannot be used: {0}")]
    Tls(String),
    /// Nobody there.
    #[error("cannot connect to {host}: {source}; is the address right, and does the server run?")]
    Connect {
        /// Host and port.
        host: String,
        /// Why.
        source: std::io::Error,
    },
    /// The connection broke, or what came is no HTTP.
    #[error("talking to {host}: {why}")]
    Broken {
        /// Host and port.
        host: String,
        /// Why.
        why: String,
    },
    /// It took too long.
    #[error("{host} did not answer within {} s: ask for less time or a coarser resolution", TIMEOUT.as_secs())]
    Timeout {
        /// Host and port.
        host: String,
    },
    /// Too much.
    #[error("the answer of {host} is larger than {} MiB: ask for less time or a coarser resolution", MOST_BYTES >> 20)]
    TooLarge {
        /// Host and port.
        host: String,
    },
    /// Not allowed.
    #[error(
        "{host} answered {status}: name a file with --source-token-file (bearer token) or --source-password-file (user:password), for a queue with token_file or password_file"
    )]
    Denied {
        /// Host and port.
        host: String,
        /// HTTP status.
        status: StatusCode,
    },
    /// Elsewhere.
    #[error("{host} answered {status} and names `{location}`: give that address, redirects are not followed")]
    Elsewhere {
        /// Host and port.
        host: String,
        /// HTTP status.
        status: StatusCode,
        /// Where it points.
        location: String,
    },
    /// It refused.
    #[error("{host} answered {status}: {body}")]
    Status {
        /// Host and port.
        host: String,
        /// HTTP status.
        status: StatusCode,
        /// The beginning of what it said.
        body: String,
    },
}

/// What proves who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Credentials {
    /// Nothing.
    #[default]
    None,
    /// A file with a bearer token.
    TokenFile(PathBuf),
    /// A file with `user:password`.
    PasswordFile(PathBuf),
}

impl Credentials {
    fn header(&self) -> Result<Option<HeaderValue>, WebError> {
        let (path, text) = match self {
            Self::None => return Ok(None),
            Self::TokenFile(path) => (path, format!("Bearer {}", secret(path)?)),
            Self::PasswordFile(path) => {
                let secret = secret(path)?;
                if !secret.contains(':') {
                    return Err(WebError::Secret {
                        path: path.clone(),
                        why: "it must hold user:password".to_owned(),
                    });
                }
                let coded = base64::engine::general_purpose::STANDARD.encode(secret);
                (path, format!("Basic {coded}"))
            }
        };
        let mut value = HeaderValue::from_str(&text).map_err(|_| WebError::Secret {
            path: path.clone(),
            why: "it holds what no header can".to_owned(),
        })?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

/// The first line of a small file.
fn secret(path: &Path) -> Result<String, WebError> {
    use std::io::Read;
    let wrong = |why: String| WebError::Secret {
        path: path.to_owned(),
        why,
    };
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MOST_SECRET_BYTES + 1).read_to_string(&mut text))
        .map_err(|error| wrong(error.to_string()))?;
    let line = text.trim();
    if line.is_empty() || line.len() as u64 > MOST_SECRET_BYTES || line.contains(['\n', '\r']) {
        return Err(wrong("it must hold one line".to_owned()));
    }
    Ok(line.to_owned())
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// A web server and how to talk to it.
#[derive(Clone)]
pub struct Web {
    host: String,
    port: u16,
    /// As the `Host` header has it.
    authority: String,
    /// Before every path that is asked for, without a slash at its end.
    base: String,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    authorization: Option<HeaderValue>,
}

impl std::fmt::Debug for Web {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Web")
            .field("authority", &self.authority)
            .field("base", &self.base)
            .finish_non_exhaustive()
    }
}

impl Web {
    /// From `http://host[:port][/path]` or `https://...`.
    ///
    /// # Errors
    /// When that is no such address, the credentials cannot be read, or TLS cannot be set up.
    pub fn new(url: &str, credentials: &Credentials) -> Result<Self, WebError> {
        Self::trusting(url, credentials, None)
    }

    /// As [`Self::new`]; with a file of certificates (PEM), only who is signed by one of them is trusted.
    ///
    /// # Errors
    /// As [`Self::new`], and when the file has no certificates.
    pub fn trusting(
        url: &str,
        credentials: &Credentials,
        authorities: Option<&Path>,
    ) -> Result<Self, WebError> {
        let wrong = |why| WebError::Url {
            // What stands before an @ may be a password.
            url: url.rsplit('@').next().unwrap_or_default().to_owned(),
            why,
        };
        let uri: Uri = url
            .parse()
            .map_err(|_| wrong("write http://host:port or https://host"))?;
        let authority = uri
            .authority()
            .ok_or_else(|| wrong("write http://host:port or https://host"))?;
        if authority.as_str().contains('@') {
            return Err(wrong(
                "credentials in it would show in the list of processes: put them into a file",
            ));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let (tls, usual_port) = match uri.scheme_str() {
            Some("http") => (None, 80),
            Some("https") => {
                let name = ServerName::try_from(host.to_owned())
                    .map_err(|_| wrong("its host is no name that a certificate can have"))?;
                (Some((tls(authorities)?, name)), 443)
            }
            _ => return Err(wrong("it must begin with http:// or https://")),
        };
        if uri.query().is_some() {
            return Err(wrong("leave out everything from the ? on"));
        }
        let authorization = credentials.header()?;
        let loopback = host == "localhost"
            || host
                .parse::<std::net::IpAddr>()
                .is_ok_and(|address| address.is_loopback());
        if authorization.is_some() && tls.is_none() && !loopback {
            // A queue is asked for every few seconds.
            static TOLD: std::sync::Once = std::sync::Once::new();
            TOLD.call_once(|| {
                tracing::warn!(%host, "the credentials cross the network readable: use https");
            });
        }
        Ok(Self {
            host: host.to_owned(),
            port: authority.port_u16().unwrap_or(usual_port),
            authority: authority.as_str().to_owned(),
            base: uri.path().trim_end_matches('/').to_owned(),
            tls,
            authorization,
        })
    }

    /// Host and port, for messages.
    pub fn name(&self) -> &str {
        &self.authority
    }

    /// Sends a form to a path below the base; the body of an answer with status 200, or of a refusal in JSON.
    ///
    /// # Errors
    /// When there is no such answer.
    pub async fn post_form(&self, path: &str, form: &[(&str, String)]) -> Result<Bytes, WebError> {
        let body = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(form)
            .finish();
        self.send(Method::POST, &format!("{}{path}", self.base), body)
            .await
    }

    /// Fetches the base itself.
    ///
    /// # Errors
    /// As [`Self::post_form`].
    pub async fn get(&self) -> Result<Bytes, WebError> {
        let path = match self.base.as_str() {
            "" => "/",
            base => base,
        };
        self.send(Method::GET, path, String::new()).await
    }

    async fn send(&self, method: Method, path: &str, body: String) -> Result<Bytes, WebError> {
        let whole = self.exchange(method, path, body);
        tokio::time::timeout(TIMEOUT, whole).await.unwrap_or_else(|_| {
            Err(WebError::Timeout {
                host: self.authority.clone(),
            })
        })
    }

    async fn connect(&self) -> Result<Box<dyn Stream>, WebError> {
        let cannot = |source| WebError::Connect {
            host: self.authority.clone(),
            source,
        };
        let stream = TcpStream::connect((self.host.as_str(), self.port))
            .await
            .map_err(cannot)?;
        Ok(match &self.tls {
            None => Box::new(stream),
            Some((config, name)) => {
                let connector = TlsConnector::from(config.clone());
                Box::new(connector.connect(name.clone(), stream).await.map_err(cannot)?)
            }
        })
    }

    async fn exchange(&self, method: Method, path: &str, body: String) -> Result<Bytes, WebError> {
        let host = || self.authority.clone();
        let broken = |error: &dyn std::fmt::Display| WebError::Broken {
            host: host(),
            why: error.to_string(),
        };
        let stream = self.connect().await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| broken(&error))?;
        let connection = tokio::spawn(connection);
        let mut request = Request::builder()
            .method(method.clone())
            .uri(path)
            .header(header::HOST, &self.authority)
            .header(header::ACCEPT, "application/json")
            .header(header::USER_AGENT, "gsmon")
            .header(header::CONNECTION, "close");
        let asks = method == Method::POST;
        if asks {
            request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        }
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let request = request
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| broken(&error))?;
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| broken(&error))?;
        let status = response.status();
        let location = response
            .headers()
            .get(header::LOCATION)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        let body = Limited::new(response.into_body(), MOST_BYTES)
            .collect()
            .await
            .map_err(|error| match error.is::<LengthLimitError>() {
                true => WebError::TooLarge { host: host() },
                false => broken(&error),
            })?
            .to_bytes();
        connection.abort();
        match (status, location) {
            (StatusCode::OK, _) => Ok(body),
            (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, _) => {
                Err(WebError::Denied { host: host(), status })
            }
            (status, Some(location)) if status.is_redirection() => Err(WebError::Elsewhere {
                host: host(),
                status,
                location,
            }),
            // A question that is refused is explained in JSON.
            _ if asks && body.starts_with(b"{") => Ok(body),
            _ => Err(WebError::Status {
                host: host(),
                status,
                body: String::from_utf8_lossy(&body)
                    .trim()
                    .chars()
                    .filter(|sign| !sign.is_control())
                    .take(SHOWN)
                    .collect(),
            }),
        }
    }
}

fn tls(authorities: Option<&Path>) -> Result<Arc<ClientConfig>, WebError> {
    let mut roots = RootCertStore::empty();
    let certificates = match authorities {
        None => rustls_native_certs::load_native_certs().certs,
        Some(path) => {
            let unread = |why: &dyn std::fmt::Display| {
                WebError::Tls(format!(
                    "cannot read the certificates in {}: {why}",
                    path.display()
                ))
            };
            CertificateDer::pem_file_iter(path)
                .and_then(Iterator::collect::<Result<Vec<_>, _>>)
                .map_err(|error| unread(&error))?
        }
    };
    let (added, _) = roots.add_parsable_certificates(certificates);
    if let (0, Some(path)) = (added, authorities) {
        return Err(WebError::Tls(format!(
            "there is no certificate of an authority in {}: it must be PEM",
            path.display()
        )));
    }
    if added == 0 {
        return Err(WebError::Tls(
            "no certificate authorities are installed: install the package ca-certificates, or name a file in SSL_CERT_FILE"
                .to_owned(),
        ));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| WebError::Tls(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    /// Answers one request with `response`, and says what was asked.
    fn once(response: &'static [u8]) -> (String, std::thread::JoinHandle<String>) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/base/", listener.local_addr().unwrap());
        let asked = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            let (mut request, mut bytes) = (Vec::new(), [0u8; 1_024]);
            while !request.ends_with(b"end") {
                let read = stream.read(&mut bytes).unwrap_or(0);
                if read == 0 {
                    break;
                }
                request.extend_from_slice(&bytes[..read]);
            }
            stream.write_all(response).unwrap();
            String::from_utf8(request).unwrap()
        });
        (url, asked)
    }

    fn ask(response: &'static [u8], credentials: &Credentials) -> (Result<Bytes, WebError>, String) {
        let (url, asked) = once(response);
        let web = Web::new(&url, credentials).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let form = [("query", "up{a=\"b\"} end".to_owned())];
        let answer = runtime.block_on(web.post_form("/api", &form));
        (answer, asked.join().unwrap())
    }

    #[test]
    fn a_form_is_sent_with_its_credentials_below_the_base() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "ann:secret\n").unwrap();
        let (answer, asked) = ask(
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
            &Credentials::PasswordFile(file.path().to_owned()),
        );
        assert_eq!(answer.unwrap(), "{}");
        let lower = asked.to_ascii_lowercase();
        assert!(asked.starts_with("POST /base/api HTTP/1.1\r\n"), "{asked}");
        assert!(lower.contains("authorization: basic yw5uonnly3jlda=="), "{asked}");
        assert!(asked.ends_with("query=up%7Ba%3D%22b%22%7D+end"), "{asked}");
    }

    #[test]
    fn whatever_else_comes_says_what_to_do() {
        let of = |response| ask(response, &Credentials::None).0.unwrap_err().to_string();
        assert!(of(b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n").contains("--source-token-file"));
        assert!(
            of(b"HTTP/1.1 302 Found\r\nLocation: https://other/\r\nContent-Length: 0\r\n\r\n")
                .contains("https://other/")
        );
        assert!(of(b"HTTP/1.1 502 Bad\r\nContent-Length: 4\r\n\r\n\x1boh!").contains("502 Bad Gateway: oh!"));
        assert!(of(b"SSH-2.0-x\r\n\r\n").contains("talking to"));
        let refused = ask(
            b"HTTP/1.1 422 No\r\nContent-Length: 2\r\n\r\n{}",
            &Credentials::None,
        );
        assert_eq!(refused.0.unwrap(), "{}");
    }

    #[test]
    fn addresses_and_credentials_are_checked() {
        for url in ["", "prometheus:9090", "ftp://a", "http://", "http://a?b", "/x"] {
            assert!(
                matches!(Web::new(url, &Credentials::None), Err(WebError::Url { .. })),
                "{url}"
            );
        }
        let told = Web::new("http://ann:secret@a", &Credentials::None)
            .unwrap_err()
            .to_string();
        assert!(!told.contains("secret") && told.contains("file"), "{told}");
        let missing = Credentials::TokenFile("/nowhere/token".into());
        let told = Web::new("http://localhost", &missing).unwrap_err().to_string();
        assert!(told.contains("/nowhere/token"), "{told}");
        let web = Web::new("http://[::1]:9090/x/", &Credentials::None).unwrap();
        assert_eq!(
            (web.host.as_str(), web.port, web.base.as_str()),
            ("::1", 9090, "/x")
        );
    }
}
