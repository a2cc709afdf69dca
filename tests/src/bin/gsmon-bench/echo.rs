//! A UDP echo server without gsmon, with empty programs at the same cgroup hooks, and with gsmon: the median of paired
//! runs, their quartiles and the best pair.

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
use gsmon_agent::{Game, GameServer, GameServerMonitor, config::Protocol, kernel::EmptyHooks};
use gsmon_tests::options;

use crate::Row;

const ROUNDS: usize = 15;
const RUN: Duration = Duration::from_millis(1_000);
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

/// One run of each kind.
struct Pass {
    most: f64,
    paced: f64,
    p99_ns: f64,
}

fn pass(address: SocketAddr) -> Result<Pass> {
    let most = most(address)?;
    let (paced, p99_ns) = paced(address)?;
    Ok(Pass { most, paced, p99_ns })
}

fn watched_pass(address: SocketAddr) -> Result<Pass> {
    let _monitor = GameServerMonitor::builder()
        .add_game_server(
            GameServer::new("echo", Game::Custom)
                .port(address.port())
                .protocol(Protocol::Udp),
        )
        .start()?;
    thread::sleep(Duration::from_millis(300));
    pass(address)
}

/// What the hooks alone cost, whoever uses them: nothing of gsmon runs.
fn empty_pass(address: SocketAddr) -> Result<Pass> {
    let _hooks = EmptyHooks::attach(&options())?;
    pass(address)
}

/// Percent, of all pairs: a single pair says more about the machine than about gsmon.
fn row(what: &str, mut losses: Vec<f64>, target: Option<f64>) -> Row {
    losses.sort_unstable_by(f64::total_cmp);
    let at = |share: f64| losses[((losses.len() - 1) as f64 * share).round() as usize];
    let (best, low, median, high) = (at(0.0), at(0.25), at(0.5), at(0.75));
    Row::net(
        format!("UDP echo{what}; quartiles {low:.1} {high:.1}, best {best:.1}"),
        median,
        0.0,
        target,
        "%",
    )
}

type Run = fn(SocketAddr) -> Result<Pass>;

/// Medians of the losses against the run without anything in the same round.
pub fn run() -> Result<Vec<Row>> {
    const KINDS: [Run; 3] = [pass, empty_pass, watched_pass];
    let echo = Echo::start()?;
    let (mut empty, mut most, mut paced, mut p99) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        // In turn first, so that a machine that warms up or slows down favours no side.
        let mut passes = [None, None, None];
        for turn in 0..KINDS.len() {
            let kind = (round + turn) % KINDS.len();
            passes[kind] = Some(KINDS[kind](echo.address)?);
        }
        let [Some(off), Some(hooks), Some(on)] = passes else {
            continue;
        };
        empty.push((1.0 - hooks.most / off.most) * 100.0);
        most.push((1.0 - on.most / off.most) * 100.0);
        paced.push((1.0 - on.paced / off.paced) * 100.0);
        p99.push((on.p99_ns / off.p99_ns - 1.0) * 100.0);
    }
    Ok(vec![
        row(": loss of maximum rate to empty programs", empty, None),
        row(": loss of maximum rate", most, Some(6.0)),
        row(" at 20,000/s: loss of throughput", paced, Some(1.0)),
        row(" at 20,000/s: growth of p99", p99, Some(1.0)),
    ])
}
