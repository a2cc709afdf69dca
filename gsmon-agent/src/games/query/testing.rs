//! Responders on loopback for the tests of this folder. They are written from the published formats; none of them uses
//! an encoder of the code under test.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use super::{
    OwnReason, QueryAnswer, QueryError, ask_until, boxed,
    reader::{self, Asked},
    report::QueryTarget,
    wire::Deadline,
};
use crate::config::{QueryProtocol, QuerySettings};

/// A responder; ends when dropped.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take()
            && let Err(panic) = thread.join()
            && !std::thread::panicking()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

/// Answers every datagram with what `respond` makes of it.
pub(super) fn udp_server(mut respond: impl FnMut(&[u8]) -> Vec<Vec<u8>> + Send + 'static) -> Server {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let address = socket.local_addr().unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    let thread = std::thread::spawn(move || {
        let mut buffer = [0; 2_048];
        while !stopped.load(Ordering::Relaxed) {
            let Ok((length, peer)) = socket.recv_from(&mut buffer) else {
                continue;
            };
            for answer in respond(&buffer[..length]) {
                // A client that has what it wants may be gone already.
                let _ = socket.send_to(&answer, peer);
            }
        }
    });
    Server {
        address,
        stop,
        thread: Some(thread),
    }
}

/// Serves connections one after the other.
pub(super) fn tcp_server(mut serve: impl FnMut(&mut TcpStream) + Send + 'static) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    let thread = std::thread::spawn(move || {
        while !stopped.load(Ordering::Relaxed) {
            let Ok((mut stream, _)) = listener.accept() else {
                std::thread::sleep(Duration::from_millis(2));
                continue;
            };
            stream.set_nonblocking(false).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
            serve(&mut stream);
        }
    });
    Server {
        address,
        stop,
        thread: Some(thread),
    }
}

/// Reads `count` bytes, or none when the client has gone.
pub(super) fn read(stream: &mut TcpStream, count: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0; count];
    stream.read_exact(&mut bytes).ok().map(|()| bytes)
}

/// Writes; a client that has gone is fine.
pub(super) fn write(stream: &mut TcpStream, bytes: &[u8]) {
    let _ = stream.write_all(bytes);
}

/// Settings with a short timeout.
pub(super) fn settings() -> QuerySettings {
    QuerySettings {
        timeout: Duration::from_millis(600),
        ..QuerySettings::default()
    }
}

/// Asks with gsmon's own readers.
pub(super) fn ask(
    protocol: QueryProtocol,
    address: SocketAddr,
    settings: &QuerySettings,
) -> Result<QueryAnswer, QueryError> {
    ask_until(protocol, address, settings, Deadline::after(settings.timeout))
}

/// Asks with a short timeout, as the schedule asks a server that gsmon reads itself, if it can.
pub(super) fn asked(protocol: QueryProtocol, address: SocketAddr) -> Result<QueryAnswer, QueryError> {
    let target = target(protocol, address);
    reader::ask(&target, Some(OwnReason::Players), &boxed::tests::pool()).result
}

/// Asks as the schedule asks a server of which nothing is known, with time enough for a worker to start.
pub(super) fn asked_first(protocol: QueryProtocol, address: SocketAddr, pool: &boxed::Pool) -> Asked {
    let mut target = target(protocol, address);
    target.settings.timeout = Duration::from_secs(4);
    reader::ask(&target, None, pool)
}

fn target(protocol: QueryProtocol, address: SocketAddr) -> QueryTarget {
    QueryTarget {
        server: "asked".into(),
        protocol,
        address,
        netns: None,
        process: None,
        settings: settings(),
    }
}
