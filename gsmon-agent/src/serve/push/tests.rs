//! Real sockets: both transports, wrong tokens, wrong bodies, slow senders.

use std::{net::SocketAddr, os::unix::fs::PermissionsExt, path::PathBuf, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream, UnixStream},
    sync::watch,
    task::JoinHandle,
};

use super::*;
use crate::{
    config::{ApiSettings, MetricsSettings, PushSettings},
    games::{
        Fact,
        push::{PushQueue, QueueLimits, channel},
    },
    serve::{
        Servers,
        listener::{ConnectionLimits, Transport, serve},
    },
};

const ALL: &str = "all-all-all-all-all-all-all-all-all";
const SCOPED: &str = "scoped-scoped-scoped-scoped-scoped-";
const READY: &str = r#"{"server":"arena","type":"server_ready"}"#;

fn token_file(directory: &tempfile::TempDir) -> PathBuf {
    let path = directory.path().join("push.token");
    std::fs::write(&path, format!("{ALL}\n{SCOPED} \"arena 2\"\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path
}

/// All listeners, as the agent has them.
struct Agent {
    directory: tempfile::TempDir,
    queue: PushQueue,
    tokens: Arc<TokenBook>,
    pages: SocketAddr,
    push: SocketAddr,
    stop: watch::Sender<bool>,
    serving: JoinHandle<()>,
}

impl Agent {
    async fn start(limits: QueueLimits) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let settings = ApiSettings {
            listen: "127.0.0.1:0".parse().unwrap(),
            socket: directory.path().join("api.sock"),
            socket_group: "no-such-group".into(),
            push: Some(PushSettings {
                listen: "127.0.0.1:0".parse().unwrap(),
                token_file: token_file(&directory),
            }),
            remote: None,
        };
        let servers = Servers::bind(&settings).await.unwrap();
        let (sink, queue) = channel(limits);
        sink.set_servers(["arena", "arena 2"]);
        let (stop, stopped) = watch::channel(false);
        Self {
            tokens: servers.push_tokens().unwrap(),
            pages: servers.address().unwrap(),
            push: servers.push_address().unwrap().unwrap(),
            serving: tokio::spawn(servers.run(
                Arc::default(),
                Arc::default(),
                sink,
                watch::channel(MetricsSettings::default()).1,
                stopped,
            )),
            directory,
            queue,
            stop,
        }
    }

    async fn unix(&self) -> UnixStream {
        UnixStream::connect(self.directory.path().join("api.sock"))
            .await
            .unwrap()
    }

    async fn tcp(&self) -> TcpStream {
        TcpStream::connect(self.push).await.unwrap()
    }

    fn refused(&self, reason: RefusedFor) -> u64 {
        let counts = self.queue.counts();
        counts
            .refused_requests
            .iter()
            .find(|(known, _)| *known == reason)
            .unwrap()
            .1
    }
}

fn post(headers: &str, body: &str) -> Vec<u8> {
    format!(
        "POST /api/v1/events HTTP/1.1\r\nHost: gsmon\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n{body}",
        body.len()
    )
    .into_bytes()
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\nContent-Type: application/json\r\n")
}

const JSON: &str = "Content-Type: application/json\r\n";

/// Sends bytes and reads until the other side closes: status, head, body.
async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, request: &[u8]) -> (u16, String, String) {
    stream.write_all(request).await.unwrap();
    answer(&mut stream).await
}

async fn answer<S: AsyncRead + Unpin>(stream: &mut S) -> (u16, String, String) {
    let mut bytes = Vec::new();
    tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut bytes))
        .await
        .expect("the connection is closed in time")
        .unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .unwrap_or(0);
    (status, head.to_ascii_lowercase(), body.to_owned())
}

fn json(body: &str) -> serde_json::Value {
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body}"))
}

#[tokio::test]
async fn both_transports_take_events_in_order() {
    let agent = Agent::start(QueueLimits::default()).await;
    let body = r#"[{"server":"arena","type":"server_ready"},
                   {"server":"arena 2","type":"action","action":"explosion","time":1900000000000}]"#;
    let (status, _, said) = exchange(agent.unix().await, &post(JSON, body)).await;
    assert_eq!((status, json(&said)), (200, serde_json::json!({ "accepted": 2 })));
    let with_charset = bearer(ALL).replace("json\r", "json; charset=utf-8\r");
    let (status, _, said) = exchange(agent.tcp().await, &post(&with_charset, READY)).await;
    assert_eq!((status, json(&said)), (200, serde_json::json!({ "accepted": 1 })));
    let events: Vec<_> = agent.queue.drain().collect();
    assert_eq!(events.len(), 3);
    assert_eq!(
        (&*events[0].server, &events[0].fact),
        ("arena", &Fact::ServerReady)
    );
    assert!(matches!(&events[1].fact, Fact::PlayerAction { action, .. } if **action == *"explosion"));
    assert!((events[0].unix_ms - unix_ms()).abs() < 60_000);
    assert_eq!(events[1].unix_ms, 1_900_000_000_000);
    assert_eq!(agent.queue.counts().accepted_events, 3);
    // Chunked, and several requests on one connection.
    let mut stream = agent.tcp().await;
    for _ in 0..3 {
        let request = format!(
            "POST /api/v1/events HTTP/1.1\r\nHost: g\r\n{}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{READY}\r\n0\r\n\r\n",
            bearer(ALL),
            READY.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut some = [0; 512];
        let read = stream.read(&mut some).await.unwrap();
        assert!(
            some[..read].starts_with(b"HTTP/1.1 200"),
            "{}",
            String::from_utf8_lossy(&some[..read])
        );
    }
    assert_eq!(agent.queue.drain().count(), 3);
    agent.stop.send(true).unwrap();
    agent.serving.await.unwrap();
}

#[tokio::test]
async fn tokens_decide_over_tcp() {
    let agent = Agent::start(QueueLimits::default()).await;
    let wrong = [
        JSON.to_owned(),
        bearer("wrong-wrong-wrong-wrong-wrong-wrong-"),
        bearer(&ALL[1..]),
        format!("{JSON}Authorization: Basic {ALL}\r\n"),
    ];
    for headers in &wrong {
        let (status, head, body) = exchange(agent.tcp().await, &post(headers, READY)).await;
        assert_eq!(status, 401, "{headers}");
        assert!(head.contains("www-authenticate: bearer"), "{head}");
        assert_eq!(
            json(&body),
            serde_json::json!({ "error": "unauthorized", "message": "a token is needed" })
        );
    }
    assert_eq!(agent.refused(RefusedFor::Unauthorized), wrong.len() as u64);
    // Out of scope, whether the server exists or not.
    for server in ["arena", "nowhere"] {
        let body = format!(
            r#"[{{"server":"arena 2","type":"server_ready"}},{{"server":"{server}","type":"server_ready"}}]"#
        );
        let (status, _, said) = exchange(agent.tcp().await, &post(&bearer(SCOPED), &body)).await;
        assert_eq!((status, &json(&said)["error"]), (403, &"forbidden".into()));
        assert!(said.contains(server), "{said}");
    }
    assert_eq!(agent.refused(RefusedFor::Forbidden), 2);
    let inside = READY.replace("arena", "arena 2");
    assert_eq!(
        exchange(agent.tcp().await, &post(&bearer(SCOPED), &inside))
            .await
            .0,
        200
    );
    assert_eq!(agent.queue.drain().count(), 1);
    // A token that is taken out of the file is worth nothing after a reload.
    std::fs::write(agent.tokens.path(), format!("{SCOPED}\n")).unwrap();
    agent.tokens.reload().unwrap();
    assert_eq!(
        exchange(agent.tcp().await, &post(&bearer(ALL), READY)).await.0,
        401
    );
    assert_eq!(
        exchange(agent.tcp().await, &post(&bearer(SCOPED), READY)).await.0,
        200
    );
    // Each listener serves its own and nothing else.
    let get =
        |path: &str| format!("GET {path} HTTP/1.1\r\nHost: g\r\nConnection: close\r\n\r\n").into_bytes();
    for path in ["/metrics", "/healthz", "/api/v1/snapshot", "/"] {
        assert_eq!(exchange(agent.tcp().await, &get(path)).await.0, 404, "{path}");
    }
    assert_eq!(exchange(agent.tcp().await, &get("/api/v1/events")).await.0, 405);
    let pages = TcpStream::connect(agent.pages).await.unwrap();
    assert_eq!(exchange(pages, &post(&bearer(SCOPED), READY)).await.0, 404);
}

#[tokio::test]
async fn wrong_requests_are_answered_with_what_is_wrong() {
    let agent = Agent::start(QueueLimits {
        events: 2,
        bytes: 1 << 20,
    })
    .await;
    let large = format!("{READY}{}", " ".repeat(MOST_BYTES));
    let many = format!("[{}]", vec![READY; 1_001].join(","));
    let unknown = READY.replace("arena", "nowhere");
    let session = READY.replace("}", r#","session":"m9"}"#);
    let joined = r#"{"server":"arena","type":"player_joined","player":{"slot":"3"}}"#;
    let three = format!("[{READY},{READY},{READY}]");
    let gzip = format!("{JSON}Content-Encoding: gzip\r\n");
    let cases = [
        (JSON, large.as_str(), 413, "too_large", ""),
        (JSON, &many, 413, "too_large", ""),
        (JSON, &unknown, 404, "unknown_server", "/server"),
        (JSON, &session, 404, "unknown_session", "/session"),
        (JSON, joined, 422, "invalid", "/player/slot"),
        (JSON, "{", 400, "invalid", ""),
        (JSON, &three, 503, "busy", ""),
        ("", READY, 415, "media_type", ""),
        ("Content-Type: text/plain\r\n", READY, 415, "media_type", ""),
        (&gzip, READY, 415, "media_type", ""),
    ];
    for (headers, body, status, error, pointer) in cases {
        let over_tcp = post(&format!("Authorization: Bearer {ALL}\r\n{headers}"), body);
        for (answer, transport) in [
            (exchange(agent.unix().await, &post(headers, body)).await, "unix"),
            (exchange(agent.tcp().await, &over_tcp).await, "tcp"),
        ] {
            let (got, head, said) = answer;
            assert_eq!(got, status, "{transport}: {said}");
            let said = json(&said);
            assert_eq!(said["error"], error);
            assert!(
                said["message"]
                    .as_str()
                    .is_some_and(|message| !message.is_empty())
            );
            assert_eq!(head.contains("retry-after: 2"), status == 503, "{head}");
            if !pointer.is_empty() {
                assert_eq!(said["problems"][0]["pointer"], pointer);
                assert_eq!(said["more_problems"], 0);
            }
        }
    }
    for (reason, count) in [
        (RefusedFor::TooLarge, 4),
        (RefusedFor::UnknownServer, 2),
        (RefusedFor::UnknownSession, 2),
        (RefusedFor::Invalid, 4),
        (RefusedFor::Busy, 2),
        (RefusedFor::MediaType, 6),
        (RefusedFor::Unauthorized, 0),
    ] {
        assert_eq!(agent.refused(reason), count, "{reason:?}");
    }
    let counts = agent.queue.counts();
    assert_eq!((counts.accepted_events, counts.dropped_events), (0, 6));
    assert_eq!(agent.queue.drain().count(), 0);
    assert_eq!(exchange(agent.unix().await, &post(JSON, READY)).await.0, 200);
    // A chunked body that never says how large it is.
    let mut endless = format!("POST /api/v1/events HTTP/1.1\r\nHost: g\r\nConnection: close\r\n{JSON}Transfer-Encoding: chunked\r\n\r\n").into_bytes();
    for _ in 0..20 {
        endless.extend_from_slice(b"10000\r\n");
        endless.extend_from_slice(&[b' '; 0x10000]);
        endless.extend_from_slice(b"\r\n");
    }
    endless.extend_from_slice(b"0\r\n\r\n");
    assert_eq!(exchange(agent.unix().await, &endless).await.0, 413);
}

/// A push listener with short limits.
async fn hasty(
    requests: RequestLimits,
    connections: ConnectionLimits,
) -> (SocketAddr, PushQueue, watch::Sender<bool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sink, queue) = channel(QueueLimits::default());
    sink.set_servers(["arena"]);
    let directory = tempfile::tempdir().unwrap();
    let tokens = TokenBook::load(&token_file(&directory)).unwrap();
    let router = PushGate::new(sink, requests).router(Access::Tokens(Arc::new(tokens)));
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(serve(listener, Transport::Plain, router, connections, stopped));
    (address, queue, stop)
}

#[tokio::test]
async fn slow_senders_are_let_go_and_hold_up_nobody() {
    let requests = RequestLimits {
        time: Duration::from_millis(600),
        ..RequestLimits::default()
    };
    let connections = ConnectionLimits {
        connections: 3,
        head: Duration::from_millis(400),
        life: Duration::from_secs(60),
    };
    let (address, queue, _stop) = hasty(requests, connections).await;
    let connect = || async { TcpStream::connect(address).await.unwrap() };
    // One sends nothing, one half a head, one half a body: all places are taken.
    let mut silent = connect().await;
    let mut half_head = connect().await;
    half_head
        .write_all(b"POST /api/v1/events HTTP/1.1\r\nHost")
        .await
        .unwrap();
    let mut half_body = connect().await;
    let request = post(&bearer(ALL), READY);
    half_body.write_all(&request[..request.len() - 5]).await.unwrap();
    let started = Instant::now();
    // The fourth waits for a place, and gets one.
    assert_eq!(exchange(connect().await, &request).await.0, 200);
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
    let (status, _, body) = answer(&mut half_body).await;
    assert_eq!((status, &json(&body)["error"]), (408, &"too_slow".into()));
    assert_ne!(answer(&mut silent).await.0, 200);
    assert_ne!(answer(&mut half_head).await.0, 200);
    assert_eq!(queue.drain().count(), 1);
}

#[tokio::test]
async fn a_connection_that_lives_too_long_is_closed_between_requests() {
    let connections = ConnectionLimits {
        life: Duration::from_millis(500),
        ..ConnectionLimits::default()
    };
    let (address, queue, _stop) = hasty(RequestLimits::default(), connections).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = String::from_utf8(post(&bearer(ALL), READY))
        .unwrap()
        .replace("Connection: close\r\n", "");
    let started = Instant::now();
    let mut answered = 0;
    while started.elapsed() < Duration::from_secs(10) {
        if stream.write_all(request.as_bytes()).await.is_err() {
            break;
        }
        let mut some = [0; 512];
        match stream.read(&mut some).await {
            Ok(0) | Err(_) => break,
            Ok(read) => assert!(some[..read].starts_with(b"HTTP/1.1 200")),
        }
        answered += 1;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(
        started.elapsed() < Duration::from_secs(5) && answered > 2,
        "{answered}"
    );
    assert_eq!(queue.drain().count(), answered);
}

#[tokio::test]
async fn a_token_cannot_take_all_the_room() {
    let requests = RequestLimits {
        time: Duration::from_secs(4),
        ..RequestLimits::default()
    };
    let (address, _queue, _stop) = hasty(requests, ConnectionLimits::default()).await;
    // Two senders that announce a mebibyte each and do not send it fill the share of their token.
    let mut holding = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let head = format!(
            "POST /api/v1/events HTTP/1.1\r\nHost: g\r\n{}Content-Length: {MOST_BYTES}\r\n\r\n[",
            bearer(ALL)
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        holding.push(stream);
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    let started = Instant::now();
    let same = tokio::spawn(async move {
        let stream = TcpStream::connect(address).await.unwrap();
        exchange(stream, &post(&bearer(ALL), READY)).await
    });
    // The other token is out of scope for this server, which is said at once.
    let stream = TcpStream::connect(address).await.unwrap();
    assert_eq!(exchange(stream, &post(&bearer(SCOPED), READY)).await.0, 403);
    assert!(
        started.elapsed() < Duration::from_secs(1),
        "{:?}",
        started.elapsed()
    );
    let (status, head, _) = same.await.unwrap();
    assert_eq!(status, 503);
    assert!(head.contains("retry-after"), "{head}");
}

#[tokio::test]
async fn without_a_consumer_pushes_are_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sink, queue) = channel(QueueLimits::default());
    sink.set_servers(["arena"]);
    drop(queue);
    let router = PushGate::new(sink, RequestLimits::default()).router(Access::Anyone);
    let (_stop, stopped) = watch::channel(false);
    tokio::spawn(serve(
        listener,
        Transport::Plain,
        router,
        ConnectionLimits::default(),
        stopped,
    ));
    let stream = TcpStream::connect(address).await.unwrap();
    let (status, _, body) = exchange(stream, &post(JSON, READY)).await;
    assert_eq!((status, &json(&body)["error"]), (503, &"closed".into()));
}

#[tokio::test]
async fn a_token_file_that_is_open_to_others_stops_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let token_file = token_file(&directory);
    std::fs::set_permissions(&token_file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let settings = ApiSettings {
        listen: "127.0.0.1:0".parse().unwrap(),
        socket: directory.path().join("api.sock"),
        push: Some(PushSettings {
            listen: "127.0.0.1:0".parse().unwrap(),
            token_file,
        }),
        ..ApiSettings::default()
    };
    let message = Servers::bind(&settings).await.unwrap_err().to_string();
    assert!(
        message.contains("0644") && message.contains("chmod 0600"),
        "{message}"
    );
}

#[test]
fn warnings_that_strangers_provoke_are_few_and_counted() {
    let quiet = Quiet::default();
    let start = Instant::now();
    assert_eq!(quiet.admit(start), Some(0));
    for second in 0..9 {
        assert_eq!(quiet.admit(start + Duration::from_secs(second)), None);
    }
    assert_eq!(quiet.admit(start + Duration::from_secs(10)), Some(9));
}

#[test]
fn counts_become_metrics() {
    let (sink, _queue) = channel(QueueLimits::default());
    sink.refuse(RefusedFor::Unauthorized);
    let text = encode(&sink.counts()).unwrap();
    assert!(
        text.contains("gsmon_push_requests_refused_total{reason=\"unauthorized\"} 1"),
        "{text}"
    );
    assert!(
        text.contains("gsmon_push_events_accepted_total 0") && text.contains("# HELP"),
        "{text}"
    );
}
