//! The network tick of a real server with a planted jitter, held against when it says that it sent.

use std::{
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use gsmon_agent::{Game, GameServer, GameServerMonitor, config::Protocol};
use gsmon_tests::{root_or_skip, server, wait_for};

const LIMIT: Duration = Duration::from_secs(20);
const PERIOD: Duration = Duration::from_millis(25);
/// Every fourth batch is late by so much.
const LATE: Duration = Duration::from_millis(2);

/// Mean distance of the newest second of gaps from the period, nanoseconds.
fn own_jitter_ns(sent: &[Instant]) -> f64 {
    let newest = &sent[sent.len().saturating_sub(41)..];
    let gaps = newest
        .windows(2)
        .map(|pair| (pair[1] - pair[0]).as_nanos() as f64);
    let period = PERIOD.as_nanos() as f64;
    let off = gaps
        .clone()
        .map(|gap| (gap - (gap / period).round() * period).abs());
    off.sum::<f64>() / gaps.count() as f64
}

#[test]
fn rate_and_jitter_on_the_wire_are_those_of_the_sender() {
    if !root_or_skip() {
        return;
    }
    let game = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = game.local_addr().unwrap().port();
    let clients: Vec<UdpSocket> = (0..4).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
    let targets: Vec<SocketAddr> = clients
        .iter()
        .map(|client| client.local_addr().unwrap())
        .collect();
    let monitor = GameServerMonitor::builder()
        .add_game_server(
            GameServer::new("s", Game::Custom)
                .port(port)
                .protocol(Protocol::Udp),
        )
        .start()
        .unwrap();
    wait_for(&monitor, LIMIT, |snapshot| {
        !snapshot.servers[0].endpoints.is_empty()
    })
    .unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let sent: Arc<Mutex<Vec<Instant>>> = Arc::default();
    let sending = {
        let (stop, sent) = (stop.clone(), sent.clone());
        thread::spawn(move || {
            let start = Instant::now();
            for n in 1u32.. {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let late = if n % 4 == 0 { LATE } else { Duration::ZERO };
                let due = start + PERIOD * n + late;
                thread::sleep(due.saturating_duration_since(Instant::now()));
                sent.lock().unwrap().push(Instant::now());
                for target in &targets {
                    game.send_to(&[3; 100], target).unwrap();
                }
                // What clients send; nobody has to read it.
                for client in &clients {
                    client.send_to(&[4; 40], ("127.0.0.1", port)).unwrap();
                }
            }
        })
    };
    let mut seen = Vec::new();
    let agreed = (0..150).any(|_| {
        thread::sleep(Duration::from_millis(100));
        let snapshot = monitor.snapshot().unwrap();
        let Some(tick) = server(&snapshot, "s").unwrap().network_tick else {
            return false;
        };
        let own_ns = own_jitter_ns(&sent.lock().unwrap());
        seen.push((tick, own_ns));
        // The second of the snapshot is not quite that of the sender's list, and it is a busy machine.
        (tick.rate_hz - 40.0).abs() < 0.8 && (tick.jitter_ns - own_ns).abs() <= 0.1 * own_ns + 50_000.0
    });
    stop.store(true, Ordering::Relaxed);
    sending.join().unwrap();
    assert!(agreed, "{seen:?}");
}
