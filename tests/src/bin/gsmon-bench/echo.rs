//! A UDP echo server with and without gsmon: pairs of runs, the best pair counts.

use std::{
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use gsmon_agent::{Game, GameServer, GameServerMonitor, config::Protocol};

use crate::Row;

const PAIRS: usize = 6;
const RUN: Duration = Duration::from_millis(1_500);
const RATE: u32 = 20_000;

struct Echo {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Echo {
    fn start() -> Result<Self> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.set_read_timeout(Some(Duration::from_millis(50)))?;
        let (address, stop) = (socket.local_addr()?, Arc::new(AtomicBool::new(false)));
        let stopped = stop.clone();
        let thread = thread::spawn(move || {
            let mut buffer = [0u8; 256];
            while !stopped.load(Ordering::Relaxed) {
                if let Ok((length, from)) = socket.recv_from(&mut buffer) {
                    let _ = socket.send_to(&buffer[..length], from);
                }
            }
        });
        Ok(Self {
            address,
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn client(address: SocketAddr) -> Result<UdpSocket> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.connect(address)?;
    socket.set_read_timeout(Some(Duration::from_millis(200)))?;
    Ok(socket)
}

/// Echoes per second with 32 datagrams under way.
fn most(address: SocketAddr) -> Result<f64> {
    let socket = client(address)?;
    let mut buffer = [0u8; 256];
    for _ in 0..32 {
        socket.send(&[1; 64])?;
    }
    let (start, mut count) = (Instant::now(), 0u64);
    while start.elapsed() < RUN {
        // A datagram lost in a full socket buffer is replaced by another one.
        count += u64::from(socket.recv(&mut buffer).is_ok());
        socket.send(&[1; 64])?;
    }
    Ok(count as f64 / start.elapsed().as_secs_f64())
}

/// Throughput and 99th percentile of the round trip at a fixed rate, one datagram at a time.
fn paced(address: SocketAddr) -> Result<(f64, f64)> {
    let socket = client(address)?;
    let mut buffer = [0u8; 256];
    let period = Duration::from_secs(1) / RATE;
    let (start, mut next) = (Instant::now(), Instant::now());
    let mut trips = Vec::with_capacity(40_000);
    while start.elapsed() < RUN {
        while Instant::now() < next {
            std::hint::spin_loop();
        }
        next += period;
        let sent = Instant::now();
        socket.send(&[1; 64])?;
        if socket.recv(&mut buffer).is_ok() {
            trips.push(sent.elapsed().as_nanos() as f64);
        }
    }
    let rate = trips.len() as f64 / start.elapsed().as_secs_f64();
    trips.sort_unstable_by(f64::total_cmp);
    Ok((
        rate,
        trips.get(trips.len() * 99 / 100).copied().unwrap_or(f64::NAN),
    ))
}

/// Loss of the best pair, percent.
pub fn run() -> Result<Vec<Row>> {
    let echo = Echo::start()?;
    let (mut most_loss, mut rate_loss, mut p99_loss) = (f64::MAX, f64::MAX, f64::MAX);
    for _ in 0..PAIRS {
        let (off, off_paced) = (most(echo.address)?, paced(echo.address)?);
        let monitor = GameServerMonitor::builder()
            .add_game_server(
                GameServer::new("echo", Game::Custom)
                    .port(echo.address.port())
                    .protocol(Protocol::Udp),
            )
            .start()?;
        thread::sleep(Duration::from_millis(300));
        let (on, on_paced) = (most(echo.address)?, paced(echo.address)?);
        drop(monitor);
        most_loss = most_loss.min((1.0 - on / off) * 100.0);
        rate_loss = rate_loss.min((1.0 - on_paced.0 / off_paced.0) * 100.0);
        p99_loss = p99_loss.min((on_paced.1 / off_paced.1 - 1.0) * 100.0);
    }
    Ok(vec![
        Row::net(
            "UDP echo: loss of maximum rate, best of 6 pairs",
            most_loss,
            0.0,
            Some(6.0),
            "%",
        ),
        Row::net(
            "UDP echo at 20,000/s: loss of throughput, best of 6 pairs",
            rate_loss,
            0.0,
            Some(1.0),
            "%",
        ),
        Row::net(
            "UDP echo at 20,000/s: growth of p99, best of 6 pairs",
            p99_loss,
            0.0,
            Some(1.0),
            "%",
        ),
    ])
}
