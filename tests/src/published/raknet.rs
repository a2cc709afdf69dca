//! RakNet by `rust-raknet`.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use anyhow::Result;
use rust_raknet::{RaknetListener, RaknetSocket, Reliability};
use tokio::time::MissedTickBehavior;

use super::{MESSAGE, Peer, TICK, Talk};

/// What is lost is not sent again, as games do with what is old by then; a resend would be a datagram of its own anyway.
const RELIABILITY: Reliability = Reliability::Unreliable;

/// A client of which no number comes has no line: one that only listens says a word so often.
const KEPT_ALIVE: Duration = Duration::from_millis(200);

async fn speak(socket: Arc<RaknetSocket>, every: Duration) {
    let mut tick = tokio::time::interval(every);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while socket.send(MESSAGE, RELIABILITY).await.is_ok() {
        tick.tick().await;
    }
}

/// A server.
///
/// # Errors
/// When its port cannot be opened.
pub fn server(talk: Talk) -> Result<Peer> {
    Peer::start_async("raknet-server", move |said| {
        Box::pin(async move {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            let mut listener = RaknetListener::bind(&address).await?;
            listener.listen().await;
            said.send(listener.local_addr()?)?;
            loop {
                let socket = Arc::new(listener.accept().await?);
                if talk.by_server() {
                    tokio::spawn(speak(Arc::clone(&socket), TICK));
                }
                tokio::spawn(async move { while socket.recv().await.is_ok() {} });
            }
        })
    })
}

/// A client.
///
/// # Errors
/// When no thread can be started.
pub fn client(talk: Talk, to: SocketAddr) -> Result<Peer> {
    Peer::start_async("raknet-client", move |said| {
        Box::pin(async move {
            said.send(to)?;
            let socket = loop {
                // A datagram of the handshake may be lost, too.
                if let Ok(socket) = RaknetSocket::connect(&to).await {
                    break Arc::new(socket);
                }
            };
            match talk {
                Talk::Both => {}
                Talk::ClientsOnly | Talk::Apart => drop(tokio::spawn(speak(Arc::clone(&socket), TICK))),
                Talk::ServerOnly => drop(tokio::spawn(speak(Arc::clone(&socket), KEPT_ALIVE))),
            }
            while socket.recv().await.is_ok() {
                if talk == Talk::Both && socket.send(MESSAGE, RELIABILITY).await.is_err() {
                    break;
                }
            }
            std::future::pending().await
        })
    })
}
