//! One agent read over real sockets: honest, wrong, hanging, lying, endless.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::server::TlsStream;

use super::*;
use crate::{
    config::FleetConfig,
    serve::{report::KnownAs, tls::ServerTls},
};

/// What somebody does with a connection after the handshake.
type Deed = fn(TlsStream<TcpStream>) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

/// Somebody with a good certificate who is no agent.
async fn impostor(site: &Site, deed: Deed) -> SocketAddr {
    let tls = ServerTls::load(&site.path("agent.pem"), &site.path("agent.key")).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if let Ok(stream) = tls.acceptor().accept(stream).await {
                tokio::spawn(deed(stream));
            }
        }
    });
    address
}

async fn take_request(stream: &mut TlsStream<TcpStream>) {
    let mut head = Vec::new();
    let mut byte = [0; 1];
    while !head.ends_with(b"\r\n\r\n") && head.len() < 10_000 {
        if stream.read(&mut byte).await.unwrap_or(0) == 0 {
            return;
        }
        head.push(byte[0]);
    }
}

async fn failure(entry: AgentEntry) -> ReadError {
    reader(entry).read().await.unwrap_err()
}

#[tokio::test]
async fn an_honest_agent_is_read_with_a_ca_or_a_pinned_certificate() {
    let site = Site::new(Validity::Good);
    let agent = site.agent(Some(a_snapshot())).await;
    let report = reader(site.entry("a", agent.address)).read().await.unwrap();
    assert_eq!(report.snapshot.servers[0].name, "arena one");
    assert!(report.player_key.is_some());
    assert!(
        report
            .players
            .iter()
            .any(|player| player.known_by == Some(KnownAs::Name))
    );
    let pinned = AgentEntry {
        ca_file: None,
        pinned_certificate_file: Some(site.path("agent.pem")),
        ..site.entry("a", agent.address)
    };
    reader(pinned).read().await.unwrap();
}

#[tokio::test]
async fn whoever_cannot_be_trusted_is_not_asked() {
    let site = Site::new(Validity::Good);
    let other = Site::new(Validity::Good);
    let agent = site.agent(Some(a_snapshot())).await;
    let entry = |change: fn(&mut AgentEntry, &Site)| {
        let mut entry = site.entry("a", agent.address);
        change(&mut entry, &other);
        entry
    };
    for (entry, sort, part) in [
        (
            entry(|entry, other| entry.ca_file = Some(other.path("ca.pem"))),
            "tls",
            "pinned_certificate_file",
        ),
        (
            entry(|entry, other| {
                entry.ca_file = None;
                entry.pinned_certificate_file = Some(other.path("agent.pem"));
            }),
            "tls",
            "another certificate",
        ),
        (
            entry(|entry, _| entry.url = entry.url.replace("127.0.0.1", "localhost")),
            "tls",
            "is not for `localhost`",
        ),
        (
            entry(|entry, other| entry.ca_file = Some(other.path("tokens"))),
            "configuration",
            "BEGIN CERTIFICATE",
        ),
        (
            entry(|entry, other| entry.token_file = other.path("none")),
            "configuration",
            "token_file",
        ),
    ] {
        let error = failure(entry).await;
        assert_eq!(error.sort(), sort, "{error}");
        assert!(error.to_string().contains(part), "{error}");
    }
    let expired = Site::new(Validity::Expired);
    let old = expired.agent(Some(a_snapshot())).await;
    let error = failure(expired.entry("a", old.address)).await;
    assert!(error.to_string().contains("has expired"), "{error}");
}

#[tokio::test]
async fn a_token_is_needed_for_everything_and_can_be_changed_while_running() {
    let site = Site::new(Validity::Good);
    let listener = RemoteListener::bind(&site.remote()).await.unwrap();
    let address = listener.address().unwrap();
    let files = listener.files();
    let (_stop, stopped) = watch::channel(false);
    let cell = Arc::new(SnapshotCell::default());
    tokio::spawn(listener.serve(report_router(cell.clone(), None), stopped));
    let error = reader(site.entry("a", address)).read().await.unwrap_err();
    assert!(matches!(&error, ReadError::Status { status: 503, said } if said.contains("first interval")));
    cell.store(a_snapshot());
    let mine = AgentEntry {
        token_file: site.path("mine"),
        ..site.entry("a", address)
    };
    site.write("mine", "another-another-another-another-another\n");
    let error = failure(mine.clone()).await;
    assert!(matches!(error, ReadError::Unauthorized), "{error}");
    assert!(!error.to_string().contains("another-"));
    site.write("tokens", "another-another-another-another-another\n");
    assert!(files.reload().is_empty());
    reader(mine.clone()).read().await.unwrap();
    // A token for one server only does not read everything: the file is refused, and what was there stays.
    site.write("tokens", &format!("{TOKEN} arena\n"));
    let errors = files.reload();
    assert!(errors[0].to_string().contains("line 1"), "{}", errors[0]);
    reader(mine.clone()).read().await.unwrap();
    site.write("mine", "# nothing\n");
    assert!(matches!(failure(mine).await, ReadError::NoToken { .. }));
}

#[tokio::test]
async fn what_is_no_agent_is_told_apart() {
    let site = Site::new(Validity::Good);
    let garbage = impostor(&site, |mut stream| {
        Box::pin(async move {
            take_request(&mut stream).await;
            let _ = stream.write_all(&[0xff; 5_000]).await;
            let _ = stream.shutdown().await;
        })
    });
    let endless_head = impostor(&site, |mut stream| {
        Box::pin(async move {
            take_request(&mut stream).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n").await;
            while stream
                .write_all(b"X-More: aaaaaaaaaaaaaaaaaaaaaaaaa\r\n")
                .await
                .is_ok()
            {}
        })
    });
    let huge = impostor(&site, |mut stream| {
        Box::pin(async move {
            take_request(&mut stream).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
            while stream.write_all(&[b' '; 16_384]).await.is_ok() {}
        })
    });
    let announced = impostor(&site, |mut stream| {
        Box::pin(async move {
            take_request(&mut stream).await;
            let head = b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n";
            let _ = stream.write_all(head).await;
            let _ = stream.read(&mut [0; 1]).await;
        })
    });
    let no_report = impostor(&site, |mut stream| {
        Box::pin(async move {
            take_request(&mut stream).await;
            let said = b"HTTP/1.1 200 OK\r\nContent-Length: 18\r\n\r\n{\"secret\": \"value\"}";
            let _ = stream.write_all(said).await;
            let _ = stream.read(&mut [0; 1]).await;
        })
    });
    let broken_off = impostor(&site, |mut stream| {
        Box::pin(async move {
            take_request(&mut stream).await;
            let _ = stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
                .await;
        })
    });
    for (address, sort) in [
        (garbage.await, "protocol"),
        (endless_head.await, "protocol"),
        (huge.await, "too_large"),
        (announced.await, "too_large"),
        (no_report.await, "unreadable"),
        (broken_off.await, "protocol"),
    ] {
        let error = failure(site.entry("a", address)).await;
        assert_eq!(error.sort(), sort, "{error}");
        assert!(ReadError::SORTS.contains(&error.sort()));
        assert!(!error.to_string().contains("value"), "{error}");
    }
}

#[tokio::test]
async fn who_hangs_at_any_step_is_given_up() {
    let site = Site::new(Validity::Good);
    // Its queue takes connections, and nobody ever serves them.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let no_answer = impostor(&site, |mut stream| {
        Box::pin(async move {
            take_request(&mut stream).await;
            let _ = stream.read(&mut [0; 1]).await;
        })
    });
    let drips = impostor(&site, |mut stream| {
        Box::pin(async move {
            take_request(&mut stream).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
            while stream.write_all(b" ").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
    });
    for (address, at) in [
        (silent.local_addr().unwrap(), "handshake"),
        (no_answer.await, "waiting for the answer"),
        (drips.await, "receiving"),
    ] {
        let error = failure(site.entry("a", address)).await;
        assert!(
            matches!(&error, ReadError::Timeout { step, .. } if step.contains(at)),
            "{error}"
        );
    }
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = free.local_addr().unwrap();
    drop(free);
    assert_eq!(failure(site.entry("a", nobody)).await.sort(), "connect");
}

#[tokio::test]
async fn one_that_hangs_and_one_that_lies_keep_nobody_else_from_being_read() {
    let site = Site::new(Validity::Good);
    let honest = site.agent(Some(a_snapshot())).await;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let huge = impostor(&site, |mut stream| {
        Box::pin(async move {
            take_request(&mut stream).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
            while stream.write_all(&[b'['; 16_384]).await.is_ok() {}
        })
    })
    .await;
    let config = FleetConfig {
        fleet: FleetSettings {
            interval: Duration::from_millis(50),
            ..settings()
        },
        agents: vec![
            site.entry("silent", silent.local_addr().unwrap()),
            site.entry("huge", huge),
            site.entry("honest", honest.address),
        ],
        ..FleetConfig::default()
    };
    let board = Arc::new(Board::new(&config));
    let (stop, stopped) = watch::channel(false);
    let following = {
        let (config, board) = (config.clone(), board.clone());
        tokio::spawn(async move { follow_all(&config, board, stopped).await })
    };
    let mut picture = Vec::new();
    // Far more often than it should take.
    for _ in 0..400 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        picture = board.picture(std::time::Instant::now());
        if picture[2].readings >= 5 && picture[0].failures_in_a_row >= 1 && picture[1].failures_in_a_row >= 1
        {
            break;
        }
    }
    assert!(
        picture[2].readings >= 5 && picture[2].errors.is_empty(),
        "{:?}",
        picture[2]
    );
    assert!(picture[0].errors["timeout"] >= 1 && picture[0].readings == 0);
    assert!(picture[1].errors["too_large"] >= 1 && picture[1].readings == 0);
    stop.send(true).unwrap();
    following.await.unwrap();
}
