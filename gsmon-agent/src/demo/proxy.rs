//! A relay that impairs: delay, jitter, loss, reordering and duplication, each way, with what it really did counted.
//!
//! Every client of the relay has a socket of its own towards the server, so that the server sees one remote endpoint for
//! each. Everything is on loopback. Chance is seeded: a run can be repeated.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    io,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    os::fd::AsFd,
    sync::{
        Arc,
        atomic::{
            AtomicBool, AtomicU64,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use nix::{
    poll::{PollFd, PollFlags, ppoll},
    sys::time::TimeSpec,
};

/// What is done to one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Impairment {
    /// Every datagram waits so long.
    pub delay: Duration,
    /// And up to so much longer, evenly spread.
    pub jitter: Duration,
    /// Share that is dropped, 0 to 1.
    pub loss: f64,
    /// Share that waits `hold` longer, so that later ones overtake it.
    pub reorder: f64,
    /// How much longer those wait.
    pub hold: Duration,
    /// Share that is sent twice.
    pub duplicate: f64,
}

/// What was done to one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Datagrams that came.
    pub seen: u64,
    /// Of them, dropped.
    pub dropped: u64,
    /// Of them, sent twice.
    pub duplicated: u64,
    /// Of them, held so that others overtake.
    pub held: u64,
    /// What whoever started the relay counts in those that came.
    pub carried: u64,
    /// And in those that were dropped.
    pub carried_dropped: u64,
}

impl Done {
    /// What came after `before`.
    pub fn since(self, before: Self) -> Self {
        Self {
            seen: self.seen - before.seen,
            dropped: self.dropped - before.dropped,
            duplicated: self.duplicated - before.duplicated,
            held: self.held - before.held,
            carried: self.carried - before.carried,
            carried_dropped: self.carried_dropped - before.carried_dropped,
        }
    }
}

#[derive(Default)]
struct Counters {
    seen: AtomicU64,
    dropped: AtomicU64,
    duplicated: AtomicU64,
    held: AtomicU64,
    carried: AtomicU64,
    carried_dropped: AtomicU64,
}

impl Counters {
    fn read(&self) -> Done {
        Done {
            seen: self.seen.load(Relaxed),
            dropped: self.dropped.load(Relaxed),
            duplicated: self.duplicated.load(Relaxed),
            held: self.held.load(Relaxed),
            carried: self.carried.load(Relaxed),
            carried_dropped: self.carried_dropped.load(Relaxed),
        }
    }
}

#[derive(Default)]
struct Shared {
    ended: AtomicBool,
    up: Counters,
    down: Counters,
}

/// A running relay; it ends when dropped.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// Clients at most.
const CLIENTS: usize = 64;
/// Longest datagram.
const LONGEST: usize = 65_536;

impl Proxy {
    /// Starts a relay to `server` on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// When the port cannot be opened, or no thread started.
    pub fn start(server: SocketAddr, up: Impairment, down: Impairment, seed: u64) -> io::Result<Self> {
        Self::start_counting(server, up, down, seed, |_| 1)
    }

    /// The same, and counts with `counts` what each datagram carries: a datagram may have several numbers, or none.
    ///
    /// # Errors
    /// When the port cannot be opened, or no thread started.
    pub fn start_counting(
        server: SocketAddr,
        up: Impairment,
        down: Impairment,
        seed: u64,
        counts: fn(&[u8]) -> u64,
    ) -> io::Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.set_nonblocking(true)?;
        let address = socket.local_addr()?;
        let shared = Arc::new(Shared::default());
        let relay = Relay {
            socket,
            server,
            clients: Vec::new(),
            of: HashMap::new(),
            waiting: BinaryHeap::new(),
            held: HashMap::new(),
            number: 0,
            random: seed | 1,
            up,
            down,
            counts,
            shared: Arc::clone(&shared),
        };
        let thread = std::thread::Builder::new()
            .name("gsmon-proxy".into())
            .spawn(move || relay.run())?;
        Ok(Self {
            address,
            shared,
            thread: Some(thread),
        })
    }

    /// Where clients connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What was done to datagrams to the server.
    pub fn up(&self) -> Done {
        self.shared.up.read()
    }

    /// What was done to datagrams to clients.
    pub fn down(&self) -> Done {
        self.shared.down.read()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.ended.store(true, Release);
        if let Some(thread) = self.thread.take() {
            // A relay that failed has said why.
            let _ = thread.join();
        }
    }
}

struct Client {
    address: SocketAddr,
    to_server: UdpSocket,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Up,
    Down,
}

struct Relay {
    socket: UdpSocket,
    server: SocketAddr,
    clients: Vec<Client>,
    of: HashMap<SocketAddr, usize>,
    /// When, then in order of arrival.
    waiting: BinaryHeap<Reverse<(Instant, u64)>>,
    held: HashMap<u64, (Way, usize, Vec<u8>)>,
    number: u64,
    random: u64,
    up: Impairment,
    down: Impairment,
    counts: fn(&[u8]) -> u64,
    shared: Arc<Shared>,
}

impl Relay {
    fn run(mut self) {
        let mut buffer = vec![0; LONGEST];
        while !self.shared.ended.load(Acquire) {
            if let Err(error) = self.step(&mut buffer) {
                tracing::error!(%error, "the relay ends");
                return;
            }
        }
    }

    fn step(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        self.wait()?;
        let now = Instant::now();
        while let Ok((length, from)) = self.socket.recv_from(buffer) {
            if let Some(client) = self.client(from)? {
                self.impair(Way::Up, client, &buffer[..length], now);
            }
        }
        for client in 0..self.clients.len() {
            // A server that has gone answers with an error, which is nobody's.
            while let Ok(length) = self.clients[client].to_server.recv(buffer) {
                self.impair(Way::Down, client, &buffer[..length], now);
            }
        }
        self.send_due();
        Ok(())
    }

    fn wait(&self) -> io::Result<()> {
        let longest = Duration::from_millis(20);
        let wait = self.waiting.peek().map_or(longest, |Reverse((when, _))| {
            when.saturating_duration_since(Instant::now()).min(longest)
        });
        let sockets =
            std::iter::once(&self.socket).chain(self.clients.iter().map(|client| &client.to_server));
        let mut polled: Vec<PollFd<'_>> = sockets
            .map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN))
            .collect();
        match ppoll(&mut polled, Some(TimeSpec::from_duration(wait)), None) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn client(&mut self, address: SocketAddr) -> io::Result<Option<usize>> {
        if let Some(client) = self.of.get(&address) {
            return Ok(Some(*client));
        }
        if self.clients.len() >= CLIENTS {
            return Ok(None);
        }
        let to_server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        to_server.connect(self.server)?;
        to_server.set_nonblocking(true)?;
        self.clients.push(Client { address, to_server });
        self.of.insert(address, self.clients.len() - 1);
        Ok(Some(self.clients.len() - 1))
    }

    /// 0 to 1.
    fn chance(&mut self) -> f64 {
        // xorshift64 (Marsaglia, 2003).
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) as f64 / (1u64 << 53) as f64
    }

    fn impair(&mut self, way: Way, client: usize, datagram: &[u8], now: Instant) {
        let shared = Arc::clone(&self.shared);
        let (impairment, counters) = match way {
            Way::Up => (self.up, &shared.up),
            Way::Down => (self.down, &shared.down),
        };
        let carried = (self.counts)(datagram);
        counters.seen.fetch_add(1, Relaxed);
        counters.carried.fetch_add(carried, Relaxed);
        if self.chance() < impairment.loss {
            counters.carried_dropped.fetch_add(carried, Relaxed);
            counters.dropped.fetch_add(1, Relaxed);
            return;
        }
        let mut due = now + impairment.delay + impairment.jitter.mul_f64(self.chance());
        if self.chance() < impairment.reorder {
            counters.held.fetch_add(1, Relaxed);
            due += impairment.hold;
        }
        self.hold(way, client, datagram, due);
        if self.chance() < impairment.duplicate {
            counters.duplicated.fetch_add(1, Relaxed);
            self.hold(way, client, datagram, due);
        }
    }

    fn hold(&mut self, way: Way, client: usize, datagram: &[u8], due: Instant) {
        self.number += 1;
        self.waiting.push(Reverse((due, self.number)));
        self.held.insert(self.number, (way, client, datagram.to_vec()));
    }

    fn send_due(&mut self) {
        while let Some(Reverse((due, number))) = self.waiting.peek().copied() {
            if due > Instant::now() {
                return;
            }
            self.waiting.pop();
            let Some((way, client, datagram)) = self.held.remove(&number) else {
                continue;
            };
            let client = &self.clients[client];
            // Who does not listen any more misses it.
            let _ = match way {
                Way::Up => client.to_server.send(&datagram),
                Way::Down => self.socket.send_to(&datagram, client.address),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_does_is_what_it_counts() {
        let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        server.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        let up = Impairment {
            delay: Duration::from_millis(20),
            loss: 0.2,
            duplicate: 0.1,
            ..Impairment::default()
        };
        let proxy = Proxy::start(server.local_addr().unwrap(), up, Impairment::default(), 7).unwrap();
        let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        let begun = Instant::now();
        // A socket buffer holds a few hundred.
        for number in 0..200u32 {
            client.send_to(&number.to_le_bytes(), proxy.address()).unwrap();
        }
        let (mut came, mut first, mut buffer) = (0, None, [0; 16]);
        while let Ok((length, from)) = server.recv_from(&mut buffer) {
            assert_eq!(length, 4);
            first.get_or_insert((from, begun.elapsed()));
            came += 1;
        }
        let done = proxy.up();
        assert_eq!((done.seen, done.carried), (200, 200));
        assert_eq!(done.carried_dropped, done.dropped);
        assert!(done.dropped > 15 && done.dropped < 70, "{done:?}");
        assert_eq!(came, done.seen - done.dropped + done.duplicated);
        let (from, after) = first.unwrap();
        assert!(after >= up.delay);
        server.send_to(b"back", from).unwrap();
        assert_eq!(client.recv_from(&mut buffer).unwrap(), (4, proxy.address()));
    }
}
