//! Serving HTTP/1 to strangers, with TLS or without: so many connections, so long for a handshake and for a head, so long
//! for a connection.

use std::{sync::Arc, time::Duration};

use axum::{Router, serve::Listener};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::{Semaphore, watch},
    time::timeout,
};

use super::tls::ServerTls;

/// Limits of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// Connections at a time; more wait in the kernel's queue.
    pub connections: usize,
    /// A request's head may take this long, and a connection may stay idle this long.
    pub head: Duration,
    /// A connection may live this long.
    pub life: Duration,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            connections: 256,
            head: Duration::from_secs(5),
            life: Duration::from_secs(300),
        }
    }
}

/// A request under way when its connection has lived long enough, or the agent stops, may take so much longer.
const LAST_REQUEST: Duration = Duration::from_secs(11);
/// More than any head that makes sense here.
const HEAD_BYTES: usize = 16 << 10;

/// How a connection is spoken on.
#[derive(Clone, Debug)]
pub enum Transport {
    /// As it is.
    Plain,
    /// Through TLS.
    Tls(Arc<ServerTls>),
}

/// Serves until `stop` turns true. Connections end soon after.
pub async fn serve(
    mut listener: TcpListener,
    transport: Transport,
    router: Router,
    limits: ConnectionLimits,
    mut stop: watch::Receiver<bool>,
) {
    let places = Arc::new(Semaphore::new(limits.connections));
    loop {
        let accept = async {
            // Never closed; if it were, nobody could be served.
            let place = places.clone().acquire_owned().await.ok()?;
            let (stream, _) = Listener::accept(&mut listener).await;
            Some((place, stream))
        };
        let (place, stream) = tokio::select! {
            // An error means that the sender has gone, which is a stop as well.
            _ = stop.wait_for(|stop| *stop) => return,
            accepted = accept => match accepted {
                Some(accepted) => accepted,
                None => return,
            },
        };
        let (router, stop, transport) = (router.clone(), stop.clone(), transport.clone());
        tokio::spawn(async move {
            let _place = place;
            match transport {
                Transport::Plain => converse(stream, router, limits, stop).await,
                Transport::Tls(tls) => {
                    // Who fails here is no client of ours; it can be anybody, and as often as it likes.
                    if let Ok(Ok(stream)) = timeout(limits.head, tls.acceptor().accept(stream)).await {
                        converse(stream, router, limits, stop).await;
                    }
                }
            }
        });
    }
}

async fn converse<S>(stream: S, router: Router, limits: ConnectionLimits, mut stop: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = TowerToHyperService::new(router);
    let mut connection = std::pin::pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.head)
            .max_buf_size(HEAD_BYTES)
            .serve_connection(TokioIo::new(stream), service)
    );
    // How a connection ends is the client's affair: errors say nothing about this side.
    tokio::select! {
        ended = timeout(limits.life, connection.as_mut()) => {
            if ended.is_ok() {
                return;
            }
        }
        _ = stop.wait_for(|stop| *stop) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = timeout(LAST_REQUEST, connection).await;
}
