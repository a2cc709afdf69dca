//! What a query costs in CPU, by gsmon's own reader and through gamedig in its workers: 100 servers that each list 12 players,
//! asked twice a second. One of the names is not UTF-8 where gsmon is to read, which it learns with the first answer. The
//! responder runs here too; what its threads use is taken off.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Result, ensure};
use gsmon_agent::{
    config::{QueryProtocol, QuerySettings},
    games::query::{
        OwnReason, Reader,
        schedule::{Delivery, Queries, QueryTarget},
    },
};
use gsmon_tests::serve_queries;
use nix::sys::resource::{UsageWho, getrusage};

use super::Row;

const SERVERS: usize = 100;
const PLAYERS: u8 = 12;
/// Before counting, so that workers are there; then this long.
const WARM: Duration = Duration::from_secs(2);
const MEASURED: Duration = Duration::from_secs(15);

pub fn run() -> Result<Vec<Row>> {
    serve_queries()?;
    let gsmon = Reader::Gsmon(OwnReason::Players);
    let (a2s, ping) = (QueryProtocol::A2s, QueryProtocol::Minecraft);
    let responder = Responder::start()?;
    let mut rows = Vec::new();
    for (what, protocol, reader, address) in [
        (
            "A2S query by gsmon's own reader",
            a2s,
            gsmon,
            responder.strange_a2s,
        ),
        ("A2S query through gamedig", a2s, Reader::Gamedig, responder.a2s),
        (
            "Minecraft Java query, through gamedig",
            ping,
            Reader::Gamedig,
            responder.minecraft,
        ),
    ] {
        let (cost, memory) = measure(&responder, protocol, reader, address)?;
        rows.push(Row::net(what, cost * 1e3, 0.0, None, "ms CPU"));
        if memory > 0 {
            let mib = memory as f64 / f64::from(1 << 20);
            rows.push(Row::net("  memory of its workers", mib, 0.0, None, "MiB"));
        }
    }
    Ok(rows)
}

/// CPU seconds of one query, and resident bytes of the workers.
fn measure(
    responder: &Responder,
    protocol: QueryProtocol,
    reader: Reader,
    address: SocketAddr,
) -> Result<(f64, u64)> {
    let queries = Queries::new(|_| Delivery::Taken)?;
    let targets = (0..SERVERS).map(|index| QueryTarget {
        server: format!("s{index}").into(),
        protocol,
        address,
        netns: None,
        process: None,
        settings: QuerySettings {
            interval: Duration::from_millis(500),
            ..QuerySettings::default()
        },
    });
    queries.set(targets.collect());
    let now = || -> Result<(f64, u64)> {
        let (mut asked, mut answered) = (0, 0);
        for (_, statistics) in queries.statistics() {
            asked += statistics.asked;
            answered += statistics.answered;
        }
        ensure!(
            answered + SERVERS as u64 >= asked,
            "{answered} of {asked} answered"
        );
        let own = seconds(UsageWho::RUSAGE_SELF)? - responder.cpu_seconds();
        Ok((own + queries.workers().cpu_seconds, answered))
    };
    thread::sleep(WARM);
    let before = now()?;
    thread::sleep(MEASURED);
    let after = now()?;
    let answers = after.1 - before.1;
    ensure!(answers > 0, "nobody answers");
    for (server, statistics) in queries.statistics() {
        ensure!(
            statistics.reader == Some(reader),
            "{server} is read by {:?}",
            statistics.reader
        );
    }
    Ok(((after.0 - before.0) / answers as f64, queries.workers().rss_bytes))
}

fn seconds(who: UsageWho) -> Result<f64> {
    let usage = getrusage(who)?;
    let one = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    Ok(one(usage.user_time()) + one(usage.system_time()))
}

/// All servers, until the process ends.
struct Responder {
    a2s: SocketAddr,
    /// The same with a name that is not UTF-8.
    strange_a2s: SocketAddr,
    minecraft: SocketAddr,
    used_ns: [Arc<AtomicU64>; 3],
}

impl Responder {
    fn start() -> Result<Self> {
        let used_ns = [Arc::default(), Arc::default(), Arc::default()];
        let udp = UdpSocket::bind("127.0.0.1:0")?;
        let a2s = udp.local_addr()?;
        let used = Arc::clone(&used_ns[0]);
        thread::spawn(move || serve_a2s(&udp, b"Player", &used));
        let udp = UdpSocket::bind("127.0.0.1:0")?;
        let strange_a2s = udp.local_addr()?;
        let used = Arc::clone(&used_ns[2]);
        thread::spawn(move || serve_a2s(&udp, b"\xcf\xe5\xf2\xff", &used));
        let tcp = TcpListener::bind("127.0.0.1:0")?;
        let minecraft = tcp.local_addr()?;
        let used = Arc::clone(&used_ns[1]);
        thread::spawn(move || serve_minecraft(&tcp, &used));
        Ok(Self {
            a2s,
            strange_a2s,
            minecraft,
            used_ns,
        })
    }

    fn cpu_seconds(&self) -> f64 {
        let used = self.used_ns.iter().map(|used| used.load(Ordering::Relaxed));
        used.sum::<u64>() as f64 / 1e9
    }
}

fn count(used: &AtomicU64) {
    let seconds = seconds(UsageWho::RUSAGE_THREAD).unwrap_or_default();
    used.store((seconds * 1e9) as u64, Ordering::Relaxed);
}

fn serve_a2s(socket: &UdpSocket, name: &[u8], used: &AtomicU64) {
    let info = [
        &b"\xff\xff\xff\xffI\x11A server\0de_dust\0cstrike\0Counter-Strike: Source\0\xf0\x00"[..],
        &[PLAYERS, 16, 0],
        b"dl\x00\x001.0\0",
    ]
    .concat();
    let mut list = vec![0xff, 0xff, 0xff, 0xff, b'D', PLAYERS];
    for player in 0..PLAYERS {
        list.push(0);
        list.extend_from_slice(name);
        list.extend_from_slice(format!(" {player}\0\0\0\0\0\0\0\0\0").as_bytes());
    }
    let mut buffer = [0; 2_048];
    while let Ok((_, peer)) = socket.recv_from(&mut buffer) {
        let answer = if buffer[4] == b'T' { &info } else { &list };
        let _ = socket.send_to(answer, peer);
        count(used);
    }
}

fn serve_minecraft(listener: &TcpListener, used: &AtomicU64) {
    let sample: Vec<_> = (0..PLAYERS)
        .map(|player| {
            let id = format!("4566e69f-c907-48ee-8d71-d7ba5aa00d{player:02}");
            serde_json::json!({ "name": format!("Player{player}"), "id": id })
        })
        .collect();
    let status = serde_json::json!({
        "version": { "name": "1.21.5", "protocol": 770 },
        "players": { "max": 100, "online": PLAYERS, "sample": sample },
        "description": { "text": "A server" },
        "favicon": format!("data:image/png;base64,{}", "A".repeat(4_000)),
    })
    .to_string();
    let var_int = |value: usize| [(value & 0x7f | 0x80) as u8, (value >> 7) as u8];
    let body = [&[0], &var_int(status.len())[..], status.as_bytes()].concat();
    let packet = [&var_int(body.len())[..], &body].concat();
    for stream in listener.incoming() {
        let Ok(mut stream) = stream else { continue };
        let _ = stream.set_read_timeout(Some(Duration::from_secs(1)));
        // Handshake, request, then a ping of ten bytes that is answered by itself.
        let mut length = [0];
        let mut rest = [0; 256];
        if stream.read_exact(&mut length).is_ok()
            && stream.read_exact(&mut rest[..usize::from(length[0]) + 2]).is_ok()
            && stream.write_all(&packet).is_ok()
            && stream.read_exact(&mut rest[..10]).is_ok()
        {
            let _ = stream.write_all(&rest[..10]);
        }
        drop(stream);
        count(used);
    }
}
