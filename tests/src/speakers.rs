//! Servers and clients that speak the netcode of games for which no implementation can be installed here: written from
//! the formats' descriptions, with a client that answers what it receives at once.
//!
//! Formats with a published implementation are tested against that one instead (`tests/network_published.rs`).

use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    sync::{
        Arc, Mutex,
        atomic::{
            AtomicBool,
            Ordering::{Acquire, Release},
        },
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::Result;

/// What is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaks {
    /// Source 1.
    Source,
    /// Quake II.
    Quake2,
    /// GoldSrc.
    GoldSrc,
    /// Unreal Engine 4.
    Unreal4,
    /// Unreal Engine 5.
    Unreal5,
    /// Unity Transport, the reliable pipeline of Netcode for GameObjects.
    UnityTransport,
    /// RTP-like: sequence and clock of 1/8,000 s from the client, its acknowledgement behind them; a sequence back.
    Rtp,
    /// Quake III: a number in front of a body that tells nothing.
    Quake3,
    /// Numbers that follow no order.
    Scrambled,
}

/// One side's numbers.
#[derive(Clone, Copy, Default)]
struct Numbers {
    next: u32,
    /// Highest that came, and one bit for each number up to it.
    highest: Option<u32>,
    history: u64,
}

impl Numbers {
    fn came(&mut self, number: u32, bits: u32) {
        let Some(highest) = self.highest else {
            self.highest = Some(number);
            self.history = u64::MAX;
            return;
        };
        let unused = 32 - bits;
        let step = (number.wrapping_sub(highest) << unused) as i32 >> unused;
        if step > 0 {
            self.history = if step < 64 { self.history << step | 1 } else { 1 };
            self.highest = Some(number);
        } else if step > -64 {
            self.history |= 1 << -step;
        }
    }
}

impl Speaks {
    /// By the name of the format.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "source" => Self::Source,
            "quake2" => Self::Quake2,
            "goldsrc" => Self::GoldSrc,
            "unreal4" => Self::Unreal4,
            "unreal5" => Self::Unreal5,
            "unity-transport" => Self::UnityTransport,
            "quake3" => Self::Quake3,
            _ => return None,
        })
    }

    fn bits(self) -> u32 {
        match self {
            Self::Unreal4 | Self::Unreal5 => 14,
            Self::UnityTransport | Self::Rtp => 16,
            Self::GoldSrc => 30,
            Self::Quake2 | Self::Quake3 => 31,
            Self::Source | Self::Scrambled => 32,
        }
    }

    fn unreal_start(self) -> u32 {
        if self == Self::Unreal5 { 6 } else { 1 }
    }

    fn write(self, numbers: &Numbers, clock: Duration, from_client: bool) -> Vec<u8> {
        let sequence = numbers.next & (u32::MAX >> (32 - self.bits()));
        let acknowledged = numbers.highest.unwrap_or(0);
        let mut bytes = Vec::new();
        match self {
            Self::Source | Self::Quake2 | Self::GoldSrc => {
                bytes.extend(sequence.to_le_bytes());
                bytes.extend(acknowledged.to_le_bytes());
                if self == Self::Quake2 && from_client {
                    bytes.extend([0, 0]);
                }
                // No flags, and a body.
                bytes.extend([0; 40]);
            }
            Self::Quake3 => {
                bytes.extend(sequence.to_le_bytes());
                bytes.extend([0x5a; 40]);
            }
            Self::Scrambled => {
                let mut word = (u64::from(sequence) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                for _ in 0..5 {
                    word ^= word >> 29;
                    word = word.wrapping_mul(0xbf58_476d_1ce4_e5b9);
                    bytes.extend(word.to_le_bytes());
                }
            }
            Self::Unreal4 | Self::Unreal5 => {
                let start = self.unreal_start();
                let mut bits = u128::from(acknowledged << 4 | sequence << 18) << start;
                bits |= u128::from(numbers.history as u32) << (start + 32);
                let clock = clock.as_millis() % 1_000;
                bits |= (1 | clock << 1) << (start + 64);
                // No frame time, a bunch, the bit that ends it.
                bits |= 1 << (start + 90);
                bytes.extend(&bits.to_le_bytes()[..14]);
            }
            Self::UnityTransport => {
                bytes.extend([1, 1, 2, 3, 4, 5, 6, 7, 8, 3, 0, 8]);
                for word in [0, sequence as u16, acknowledged as u16] {
                    bytes.extend(word.to_le_bytes());
                }
                bytes.extend(numbers.history.to_le_bytes());
                bytes.extend([7; 20]);
            }
            Self::Rtp => {
                bytes.extend([0x80, 0x60]);
                bytes.extend((sequence as u16).to_be_bytes());
                let clock = (clock.as_micros() / 125) as u32;
                bytes.extend(clock.to_be_bytes());
                bytes.extend((acknowledged as u16).to_be_bytes());
                bytes.extend([3; 30]);
            }
        }
        bytes
    }

    fn sequence(self, bytes: &[u8]) -> Option<u32> {
        let word = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        match self {
            Self::Source | Self::Quake2 | Self::Quake3 | Self::GoldSrc | Self::Scrambled => word(0),
            Self::Unreal4 | Self::Unreal5 => {
                let bits = u64::from_le_bytes(bytes.get(..8)?.try_into().ok()?);
                Some((bits >> (self.unreal_start() + 18)) as u32 & 0x3fff)
            }
            Self::UnityTransport => word(14).map(|word| word & 0xffff),
            Self::Rtp => Some(u32::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?))),
        }
    }
}

/// RFC 3550 jitter as a server's own code sees it: mean over all packets so far, nanoseconds.
#[derive(Clone, Copy, Default)]
struct Seen {
    before: Option<(f64, f64)>,
    jitter_ns: f64,
    sum_ns: f64,
    count: u64,
}

impl Seen {
    fn came(&mut self, sent_ns: f64, now_ns: f64) {
        if let Some((sent, came)) = self.before {
            let off = ((now_ns - came) - (sent_ns - sent)).abs();
            self.jitter_ns += (off - self.jitter_ns) / 16.0;
            self.count += 1;
            // The estimate begins at zero.
            if self.count > 50 {
                self.sum_ns += self.jitter_ns;
            }
        }
        self.before = Some((sent_ns, now_ns));
    }
}

struct Peer {
    numbers: Numbers,
    seen: Seen,
}

#[derive(Default)]
struct Shared {
    ended: AtomicBool,
    peers: Mutex<HashMap<SocketAddr, Peer>>,
}

/// Threads of a server or client; they end when it is dropped.
pub struct Running {
    /// Where it listens.
    pub address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    /// Mean of the jitter that the server's own code saw, over all its peers, nanoseconds.
    pub fn mean_jitter_ns(&self) -> f64 {
        let peers = self.shared.peers.lock().unwrap();
        let (sum, count) = peers.values().map(|peer| &peer.seen).fold((0.0, 0), |all, seen| {
            (all.0 + seen.sum_ns, all.1 + seen.count.saturating_sub(50))
        });
        sum / (count.max(1) as f64)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shared.ended.store(true, Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

const TICK: Duration = Duration::from_millis(33);

/// A server that tells its peers the world every 33 ms.
pub fn server(speaks: Speaks) -> Result<Running> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = socket.local_addr()?;
    let shared = Arc::new(Shared::default());
    let inner = Arc::clone(&shared);
    let thread = std::thread::spawn(move || serve(speaks, &socket, &inner));
    Ok(Running {
        address,
        shared,
        thread: Some(thread),
    })
}

fn serve(speaks: Speaks, socket: &UdpSocket, shared: &Shared) {
    let begun = Instant::now();
    let mut next = begun + TICK;
    let mut buffer = [0; 2_048];
    while !shared.ended.load(Acquire) {
        let now = Instant::now();
        if now >= next {
            next += TICK;
            let mut peers = shared.peers.lock().unwrap();
            for (address, peer) in peers.iter_mut() {
                peer.numbers.next = peer.numbers.next.wrapping_add(1);
                let packet = speaks.write(&peer.numbers, begun.elapsed(), false);
                let _ = socket.send_to(&packet, address);
            }
            continue;
        }
        let wait = (next - now).max(Duration::from_micros(100));
        socket.set_read_timeout(Some(wait)).unwrap();
        let Ok((length, from)) = socket.recv_from(&mut buffer) else {
            continue;
        };
        let mut peers = shared.peers.lock().unwrap();
        let peer = peers.entry(from).or_insert_with(|| Peer {
            numbers: Numbers {
                next: 100,
                ..Numbers::default()
            },
            seen: Seen::default(),
        });
        if let Some(number) = speaks.sequence(&buffer[..length]) {
            peer.numbers.came(number, speaks.bits());
        }
        if speaks == Speaks::Rtp && length > 8 {
            let clock = u32::from_be_bytes([buffer[4], buffer[5], buffer[6], buffer[7]]);
            let now_ns = begun.elapsed().as_nanos() as f64;
            peer.seen.came(f64::from(clock) * 125_000.0, now_ns);
        }
    }
}

/// A client that answers each datagram at once; it says hello until it hears something.
pub fn client(speaks: Speaks, to: SocketAddr) -> Result<Running> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.connect(to)?;
    socket.set_read_timeout(Some(Duration::from_millis(200)))?;
    let address = socket.local_addr()?;
    let shared = Arc::new(Shared::default());
    let inner = Arc::clone(&shared);
    let thread = std::thread::spawn(move || {
        let begun = Instant::now();
        let mut numbers = Numbers {
            next: 7_000,
            ..Numbers::default()
        };
        let mut buffer = [0; 2_048];
        while !inner.ended.load(Acquire) {
            let _ = socket.send(&speaks.write(&numbers, begun.elapsed(), true));
            numbers.next = numbers.next.wrapping_add(1);
            if let Ok(length) = socket.recv(&mut buffer)
                && let Some(number) = speaks.sequence(&buffer[..length])
            {
                numbers.came(number, speaks.bits());
            }
        }
    });
    Ok(Running {
        address,
        shared,
        thread: Some(thread),
    })
}
