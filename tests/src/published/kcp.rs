//! KCP by the crate `kcp`.

use std::{
    collections::HashMap,
    io::{self, Write},
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    sync::{Arc, atomic::Ordering::Acquire},
    thread,
    time::Instant,
};

use anyhow::Result;
use kcp::Kcp;

use super::{MESSAGE, POLL, Peer, TICK, Talk};

/// Where a conversation's datagrams go.
struct To {
    socket: Arc<UdpSocket>,
    address: SocketAddr,
}

impl Write for To {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.send_to(bytes, self.address)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

const CONVERSATION: u32 = 0x1122_3344;
/// A window for a second of messages.
const WINDOW: u16 = 256;

fn conversation(socket: &Arc<UdpSocket>, address: SocketAddr) -> Kcp<To> {
    let socket = Arc::clone(socket);
    let mut kcp = Kcp::new(CONVERSATION, To { socket, address });
    // As games have it: resent after two later acknowledgements, no congestion window; but a resend waits 100 ms at
    // least, so that a busy machine is not taken for loss.
    kcp.set_nodelay(false, 10, 2, true);
    kcp.set_wndsize(WINDOW, WINDOW);
    kcp
}

fn socket() -> Result<(Arc<UdpSocket>, SocketAddr)> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.set_nonblocking(true)?;
    let address = socket.local_addr()?;
    Ok((Arc::new(socket), address))
}

fn drain(kcp: &mut Kcp<To>, buffer: &mut [u8]) -> usize {
    let mut came = 0;
    while kcp.recv(buffer).is_ok() {
        came += 1;
    }
    came
}

/// A server that flushes every tick.
///
/// # Errors
/// When its port cannot be opened.
pub fn server(talk: Talk) -> Result<Peer> {
    let (socket, address) = socket()?;
    Peer::start("kcp-server", address, move |ended| {
        let begun = Instant::now();
        let mut peers: HashMap<SocketAddr, Kcp<To>> = HashMap::new();
        let mut buffer = [0; 2_048];
        let mut next = begun;
        while !ended.load(Acquire) {
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                let kcp = peers.entry(from).or_insert_with(|| conversation(&socket, from));
                kcp.input(&buffer[..length]).unwrap();
            }
            let now_ms = begun.elapsed().as_millis() as u32;
            for kcp in peers.values_mut() {
                drain(kcp, &mut buffer);
                if talk.by_server() && kcp.wait_snd() < usize::from(WINDOW) {
                    kcp.send(MESSAGE).unwrap();
                }
                kcp.update(now_ms).unwrap();
                kcp.flush().unwrap();
            }
            next += TICK;
            thread::sleep(next.saturating_duration_since(Instant::now()));
        }
    })
}

/// A client that looks at its socket every [`POLL`], and flushes at once when something came.
///
/// # Errors
/// When its port cannot be opened.
pub fn client(talk: Talk, to: SocketAddr) -> Result<Peer> {
    let (socket, address) = socket()?;
    Peer::start("kcp-client", address, move |ended| {
        let begun = Instant::now();
        let mut kcp = conversation(&socket, to);
        let mut buffer = [0; 2_048];
        // Who says nothing is not known.
        kcp.send(MESSAGE).unwrap();
        let mut next = begun;
        while !ended.load(Acquire) {
            kcp.update(begun.elapsed().as_millis() as u32).unwrap();
            let mut something = false;
            while let Ok((length, _)) = socket.recv_from(&mut buffer) {
                kcp.input(&buffer[..length]).unwrap();
                something = true;
            }
            let came = drain(&mut kcp, &mut buffer);
            let mut say = if talk == Talk::Both { came } else { 0 };
            if talk.by_clients() && Instant::now() >= next {
                next += TICK;
                say = 1;
            }
            for _ in 0..say {
                if kcp.wait_snd() < usize::from(WINDOW) {
                    kcp.send(MESSAGE).unwrap();
                }
            }
            if something || say > 0 {
                kcp.flush().unwrap();
            }
            thread::sleep(POLL);
        }
    })
}
