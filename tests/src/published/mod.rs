//! Servers and clients on published implementations of game netcode: ENet, KCP, RakNet, QUIC. What travels, and when, is
//! decided here; every byte of it is written by the implementation. Of Luanti the game itself is run.
//!
//! Formats without an implementation that can be installed are in `speakers`.

pub mod enet;
pub mod kcp;
pub mod luanti;
pub mod quic;
pub mod raknet;

use std::{
    future::Future,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{
            AtomicBool,
            Ordering::{Acquire, Release},
        },
        mpsc,
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context, Result};

/// Who speaks. Who does not speak only acknowledges, so that every datagram of the other side carries a number and a
/// relay's count of datagrams is a count of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Talk {
    /// The server every [`TICK`], and each client answers each message at once.
    Both,
    /// The server and the clients every [`TICK`], each on its own.
    Apart,
    /// The server alone.
    ServerOnly,
    /// Clients alone.
    ClientsOnly,
}

impl Talk {
    /// Does the server send on its own?
    pub fn by_server(self) -> bool {
        self != Self::ClientsOnly
    }

    /// Do clients send on their own?
    pub fn by_clients(self) -> bool {
        matches!(self, Self::ClientsOnly | Self::Apart)
    }
}

/// How often somebody speaks.
pub const TICK: Duration = Duration::from_millis(10);
/// How often a client looks for what has come: what an implementation that is polled adds to a round trip at most.
pub const POLL: Duration = Duration::from_millis(1);
/// What is said.
pub const MESSAGE: &[u8] = b"\xfethe world as it is";

/// A server or client in a thread of its own; it ends when dropped.
pub struct Peer {
    address: SocketAddr,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Peer {
    /// A thread that runs `run` until it is told to end.
    ///
    /// # Errors
    /// When no thread can be started.
    fn start(
        name: &str,
        address: SocketAddr,
        run: impl FnOnce(&AtomicBool) + Send + 'static,
    ) -> Result<Self> {
        let ended = Arc::new(AtomicBool::new(false));
        let inner = Arc::clone(&ended);
        let thread = std::thread::Builder::new()
            .name(name.into())
            .spawn(move || run(&inner))?;
        Ok(Self {
            address,
            ended,
            thread: Some(thread),
        })
    }

    /// A thread with a runtime of its own. `run` says where it listens, then goes on until it is dropped.
    ///
    /// # Errors
    /// When no thread can be started, or `run` says no address.
    fn start_async<F>(name: &str, run: F) -> Result<Self>
    where
        F: FnOnce(mpsc::Sender<SocketAddr>) -> Pin<Box<dyn Future<Output = Result<()>>>> + Send + 'static,
    {
        let (said, says) = mpsc::channel();
        let mut peer = Self::start(name, SocketAddr::from(([0; 4], 0)), move |ended| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                tokio::select! {
                    done = run(said) => done.unwrap(),
                    () = told(ended) => {}
                }
            });
            // Tasks that wait for peers who have gone are not waited for.
            runtime.shutdown_timeout(Duration::from_millis(100));
        })?;
        peer.address = says
            .recv_timeout(Duration::from_secs(10))
            .context("the peer did not start")?;
        Ok(peer)
    }

    /// Where a server listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.ended.store(true, Release);
        if let Some(thread) = self.thread.take() {
            // One that failed has said why.
            let _ = thread.join();
        }
    }
}

async fn told(ended: &AtomicBool) {
    while !ended.load(Acquire) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
