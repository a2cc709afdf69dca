//! A JSON document over HTTP, for servers with an endpoint of their own; where things are in it says the configuration.
//!
//! HTTP/1.1 without TLS, to the host that the `url` names and nowhere else: redirects are not followed, proxies not
//! used. A host name is looked up by the system; an address needs no look-up. Not covered: https, passwords.

use std::time::Instant;

use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::{Request, Uri, body::Bytes};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use super::{
    super::event::{KindEvidence, Phase, PlayerKind, PlayerRef},
    Listed, QueryAnswer, QueryError,
    wire::{Deadline, MOST_PLAYERS, some, text},
};
use crate::config::{HttpFields, QuerySettings};

/// A document may be this large.
const MOST_BYTES: usize = 4 << 20;
/// And hold this many values: in memory each takes many times the bytes of the shortest text for one.
const MOST_VALUES: usize = 1 << 18;

pub(super) fn ask(settings: &QuerySettings, deadline: Deadline) -> Result<QueryAnswer, QueryError> {
    let (Some(url), Some(fields)) = (&settings.url, &settings.fields) else {
        return Err(QueryError::Settings(
            "an http query wants query.url and [server.query.fields]".to_owned(),
        ));
    };
    let url: Uri = url
        .parse()
        .map_err(|error| QueryError::Settings(format!("query.url `{url}` is no URL: {error}")))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let start = Instant::now();
    let left = deadline.left()?;
    let result = runtime.block_on(async { tokio::time::timeout(left, get(&url, start)).await });
    // A look-up of a name that hangs is left to itself.
    runtime.shutdown_background();
    let (body, round_trip) = result.map_err(|_| QueryError::Timeout)??;
    let mut answer = read(&json(&body)?, fields)?;
    answer.round_trip = round_trip;
    Ok(answer)
}

async fn get(url: &Uri, start: Instant) -> Result<(Bytes, std::time::Duration), QueryError> {
    let (Some("http"), Some(authority)) = (url.scheme_str(), url.authority()) else {
        return Err(QueryError::Settings(format!(
            "query.url `{url}` must begin with http:// and a host"
        )));
    };
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((host, authority.port_u16().unwrap_or(80))).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(broken)?;
    let connection = tokio::spawn(connection);
    let path = url.path_and_query().map_or("/", |path| path.as_str());
    let host = match authority.port() {
        Some(port) => format!("{}:{port}", authority.host()),
        None => authority.host().to_owned(),
    };
    let request = Request::get(path)
        .header(hyper::header::HOST, host)
        .header(hyper::header::ACCEPT, "application/json")
        .header(hyper::header::USER_AGENT, "gsmon")
        .header(hyper::header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| QueryError::Settings(format!("query.url `{url}`: {error}")))?;
    let response = sender.send_request(request).await.map_err(broken)?;
    let round_trip = start.elapsed();
    if response.status() != hyper::StatusCode::OK {
        return Err(QueryError::Status(response.status().as_u16()));
    }
    let body = Limited::new(response.into_body(), MOST_BYTES)
        .collect()
        .await
        .map_err(|error| {
            if error.is::<LengthLimitError>() {
                QueryError::TooLarge { limit: MOST_BYTES }
            } else {
                QueryError::Malformed("the document ends early")
            }
        })?;
    connection.abort();
    Ok((body.to_bytes(), round_trip))
}

fn broken(_: hyper::Error) -> QueryError {
    QueryError::Malformed("not HTTP")
}

/// Parses JSON of bounded size.
pub(super) fn json(bytes: &[u8]) -> Result<Value, QueryError> {
    // Every value but the first follows one of these.
    let values = bytes
        .iter()
        .filter(|byte| matches!(byte, b',' | b'[' | b'{'))
        .count();
    if bytes.len() > MOST_BYTES || values > MOST_VALUES {
        return Err(QueryError::TooLarge { limit: MOST_BYTES });
    }
    serde_json::from_slice(bytes).map_err(|_| QueryError::Malformed("not JSON"))
}

/// Takes out what `fields` point at. Pointers that lead nowhere leave their value unknown; all of them, an error.
fn read(document: &Value, fields: &HttpFields) -> Result<QueryAnswer, QueryError> {
    let at = |pointer: &Option<String>| pointer.as_deref().and_then(|pointer| document.pointer(pointer));
    let count = |pointer: &Option<String>| {
        at(pointer)
            .and_then(number)
            .and_then(|count| u32::try_from(count).ok())
    };
    let shown = |pointer: &Option<String>| at(pointer).and_then(word);
    let players: Option<Vec<PlayerRef>> = at(&fields.players).and_then(Value::as_array).map(|list| {
        list.iter()
            .take(MOST_PLAYERS)
            .map(|entry| player(entry, fields))
            .collect()
    });
    let listed = players
        .as_ref()
        .and_then(|players| u32::try_from(players.len()).ok());
    let online = count(&fields.online).or(listed);
    let marked = |players: &[PlayerRef]| {
        let bots = players
            .iter()
            .filter(|player| player.kind.is_some_and(|known| known.kind == PlayerKind::Bot))
            .count();
        let all = players.iter().all(|player| player.kind.is_some());
        all.then(|| u32::try_from(bots).ok()).flatten()
    };
    let bots =
        count(&fields.bots).or_else(|| players.as_deref().filter(|_| listed == online).and_then(marked));
    let answer = QueryAnswer {
        map: shown(&fields.map),
        mode: shown(&fields.mode),
        phase: at(&fields.phase).and_then(Value::as_str).and_then(phase),
        players: players.and_then(|players| Listed::by_count(players, online)),
        online,
        bots,
        max: count(&fields.max),
        tick_rate_hz: at(&fields.tick_rate).and_then(Value::as_f64),
        ..QueryAnswer::default()
    };
    if answer == QueryAnswer::default() {
        return Err(QueryError::Malformed(
            "nothing is where [server.query.fields] points",
        ));
    }
    Ok(answer)
}

/// A whole number, also one written as text.
fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.trim().parse().ok())
}

/// A text or a number, as text.
fn word(value: &Value) -> Option<std::sync::Arc<str>> {
    match value {
        Value::String(word) => some(text(word.as_bytes())),
        Value::Number(number) => some(text(number.to_string().as_bytes())),
        _ => None,
    }
}

fn player(entry: &Value, fields: &HttpFields) -> PlayerRef {
    let at = |pointer: &Option<String>| pointer.as_deref().and_then(|pointer| entry.pointer(pointer));
    let player = PlayerRef {
        name: at(&fields.player_name).and_then(word),
        platform_id: at(&fields.player_id).and_then(word),
        ..PlayerRef::default()
    };
    match at(&fields.player_bot).and_then(Value::as_bool) {
        Some(true) => player.with_kind(PlayerKind::Bot, KindEvidence::Query),
        Some(false) => player.with_kind(PlayerKind::Human, KindEvidence::Query),
        None => player,
    }
}

fn phase(word: &str) -> Option<Phase> {
    Some(match word.trim().to_ascii_lowercase().as_str() {
        "idle" => Phase::Idle,
        "lobby" => Phase::Lobby,
        "loading" => Phase::Loading,
        "active" => Phase::Active,
        "ended" => Phase::Ended,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use proptest::prelude::*;

    use super::{
        super::testing::{Server, ask, read as read_bytes, settings, tcp_server, write},
        *,
    };
    use crate::config::QueryProtocol;

    fn fields() -> HttpFields {
        let some = |pointer: &str| Some(pointer.to_owned());
        HttpFields {
            online: some("/counts/online"),
            bots: some("/counts/bots"),
            max: some("/counts/max"),
            map: some("/map"),
            mode: some("/mode"),
            phase: some("/state"),
            players: some("/players"),
            player_name: some("/name"),
            player_id: some("/ids/0"),
            player_bot: some("/bot"),
            tick_rate: some("/a~1b/hz"),
        }
    }

    fn server(response: impl Fn(&str) -> Vec<u8> + Send + 'static) -> Server {
        tcp_server(move |stream| {
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let Some(byte) = read_bytes(stream, 1) else { return };
                request.extend_from_slice(&byte);
            }
            write(stream, &response(&String::from_utf8(request).unwrap()));
        })
    }

    fn get(address: SocketAddr, fields: HttpFields) -> Result<QueryAnswer, QueryError> {
        let settings = QuerySettings {
            url: Some(format!("http://{address}/status?full=1")),
            fields: Some(fields),
            ..settings()
        };
        ask(QueryProtocol::Http, address, &settings)
    }

    fn ok(body: &str) -> Vec<u8> {
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
    }

    const DOCUMENT: &str = r#"{"counts":{"online":2,"bots":1,"max":"32"},"map":"arena","mode":3,"state":"Active","a/b":{"hz":59.9},
        "players":[{"name":"Ann","ids":[76561197960287930],"bot":false},{"name":"Bot 1","ids":[],"bot":true}]}"#;

    #[test]
    fn pointers_find_everything() {
        let server = server(|request| {
            assert!(
                request.starts_with("GET /status?full=1 HTTP/1.1\r\n"),
                "{request}"
            );
            assert!(
                request.to_ascii_lowercase().contains("\r\nhost: 127.0.0.1:"),
                "{request}"
            );
            ok(DOCUMENT)
        });
        let answer = get(server.address, fields()).unwrap();
        assert_eq!(
            (answer.online, answer.bots, answer.max),
            (Some(2), Some(1), Some(32))
        );
        assert_eq!(
            (answer.map.as_deref(), answer.mode.as_deref()),
            (Some("arena"), Some("3"))
        );
        assert_eq!(
            (answer.phase, answer.tick_rate_hz),
            (Some(Phase::Active), Some(59.9))
        );
        let players = vec![
            PlayerRef::identified("76561197960287930")
                .with_name("Ann")
                .with_kind(PlayerKind::Human, KindEvidence::Query),
            PlayerRef::named("Bot 1").with_kind(PlayerKind::Bot, KindEvidence::Query),
        ];
        assert_eq!(answer.players, Some(Listed::Everybody(players)));
        assert!(!answer.round_trip.is_zero());
    }

    #[test]
    fn an_array_of_names_is_enough() {
        let fields = HttpFields {
            players: Some("/online".to_owned()),
            player_name: Some(String::new()),
            ..HttpFields::default()
        };
        let answer = read(&serde_json::json!({"online": ["a", "b"]}), &fields).unwrap();
        let names = vec![PlayerRef::named("a"), PlayerRef::named("b")];
        assert_eq!(
            (answer.online, answer.players),
            (Some(2), Some(Listed::Everybody(names)))
        );
    }

    #[test]
    fn whatever_else_comes_is_an_error() {
        let of = |response: Vec<u8>| {
            let server = server(move |_| response.clone());
            get(server.address, fields()).unwrap_err()
        };
        let redirect = b"HTTP/1.1 302 Found\r\nLocation: http://192.0.2.1/\r\nContent-Length: 0\r\n\r\n";
        assert!(matches!(of(redirect.to_vec()), QueryError::Status(302)));
        assert!(matches!(of(ok("[1, 2")), QueryError::Malformed("not JSON")));
        assert!(matches!(of(ok("{}")), QueryError::Malformed(_)));
        assert!(matches!(
            of(b"SSH-2.0-x\r\n".to_vec()),
            QueryError::Malformed("not HTTP")
        ));
        let early = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}".to_vec();
        assert!(matches!(of(early), QueryError::Malformed(_)));
        let large = format!("\"{}\"", "x".repeat(MOST_BYTES));
        assert!(matches!(of(ok(&large)), QueryError::TooLarge { .. }));
        assert!(matches!(
            of(ok(&format!("[{}0]", "0,".repeat(MOST_VALUES)))),
            QueryError::TooLarge { .. }
        ));
        assert!(matches!(
            of(ok(&"[".repeat(10_000))),
            QueryError::Malformed("not JSON")
        ));
    }

    #[test]
    fn a_slow_server_costs_the_timeout_and_no_more() {
        let server = tcp_server(|stream| drop(read_bytes(stream, 1_000_000)));
        let start = Instant::now();
        assert!(matches!(get(server.address, fields()), Err(QueryError::Timeout)));
        assert!(start.elapsed() < settings().timeout * 2);
    }

    #[test]
    fn settings_that_do_not_suffice_are_told() {
        let nowhere: SocketAddr = "127.0.0.1:1".parse().unwrap();
        assert!(matches!(
            ask(QueryProtocol::Http, nowhere, &settings()),
            Err(QueryError::Settings(_))
        ));
        for url in ["https://127.0.0.1/", "/status", "ht tp://"] {
            let settings = QuerySettings {
                url: Some(url.to_owned()),
                fields: Some(fields()),
                ..settings()
            };
            let error = ask(QueryProtocol::Http, nowhere, &settings).unwrap_err();
            assert!(matches!(error, QueryError::Settings(_)), "{url}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_document_makes_the_reader_panic(text in "[\\[\\]{}\":,a-z0-9.-]{0,80}", pointer in "(/[a-z0-9~]{0,3}){0,3}") {
            let fields = HttpFields { online: Some(pointer.clone()), players: Some(pointer.clone()), player_name: Some(pointer), ..fields() };
            if let Ok(document) = json(text.as_bytes()) {
                let _ = read(&document, &fields);
            }
        }
    }
}
