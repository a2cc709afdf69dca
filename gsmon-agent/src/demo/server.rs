//! A small authoritative game server: UDP, fixed tick rate, work that grows with players.

use std::{
    collections::HashMap,
    io::ErrorKind,
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    os::fd::AsFd,
    sync::mpsc::{Receiver, TryRecvError},
    thread,
    time::{Duration, Instant},
};

use clap::Args;
use nix::poll::{PollFd, PollFlags, ppoll};

use super::{
    diary::{Diary, DiaryArgs},
    game_loop::{LoopKind, Work, burn},
    lag::{LagArgs, LagBooks},
    protocol::{Header, Kind, SNAPSHOT_BYTES, SNAPSHOT_BYTES_PER_PLAYER, decode, encode, name},
    truth::{CpuTruth, Ready, Request, ServerTruth, Wire, answer, requests},
};

/// Arguments of a demo server.
#[derive(Clone, Debug, Args)]
pub struct ServerArgs {
    /// How it waits and works.
    #[arg(long, value_enum, default_value = "sleeping")]
    pub kind: LoopKind,
    /// Header in front of its datagrams.
    #[arg(long, value_enum, default_value = "quake3")]
    pub header: Header,
    /// Address to bind.
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    pub address: IpAddr,
    /// Port to bind; 0 for any.
    #[arg(long, default_value_t = 0)]
    pub port: u16,
    /// Ticks per second.
    #[arg(long, default_value_t = 20.0)]
    pub tick_hz: f64,
    /// CPU work of an empty tick, microseconds.
    #[arg(long, default_value_t = 500)]
    pub base_work_us: u64,
    /// CPU work per player and tick, microseconds.
    #[arg(long, default_value_t = 100)]
    pub work_per_player_us: u64,
    /// A snapshot goes out every so many ticks.
    #[arg(long, default_value_t = 1)]
    pub ticks_per_snapshot: u64,
    /// Players let in.
    #[arg(long, default_value_t = 64)]
    pub max_players: usize,
    /// Ends by itself after so many seconds.
    #[arg(long, default_value_t = 600)]
    pub lifetime_seconds: u64,
    /// Its log.
    #[command(flatten)]
    pub diary: DiaryArgs,
    /// Its lag compensation.
    #[command(flatten)]
    pub lag: LagArgs,
}

/// Work for one packet of a server that wakes for each.
const PACKET_WORK: Duration = Duration::from_micros(6);
/// A player who says nothing for so long is gone.
const PLAYER_TIMEOUT: Duration = Duration::from_secs(5);
/// Datagrams read per wake-up.
const READS_PER_WAKE: usize = 4_096;
/// Tick times kept for percentiles.
const KEPT_TICKS: usize = 100_000;

struct Player {
    last_seen: Instant,
    received: u32,
    rtt: Duration,
}

struct Server {
    args: ServerArgs,
    socket: UdpSocket,
    ip_header_bytes: usize,
    players: HashMap<SocketAddr, Player>,
    diary: Option<Diary>,
    received: Wire,
    sent: Wire,
    send_failures: u64,
    sequence: u32,
    mark: Instant,
    tick_times_ns: Vec<u64>,
    ticks: u64,
    joined: usize,
    lag: LagBooks,
}

/// Runs a server until its parent or its time says so.
pub fn run(args: ServerArgs) -> std::io::Result<()> {
    let socket = UdpSocket::bind((args.address, args.port))?;
    socket.set_nonblocking(true)?;
    let port = socket.local_addr()?.port();
    let diary = Diary::open(&args.diary, port, Instant::now())?;
    let inbox = requests();
    answer(&Ready {
        port,
        pid: std::process::id(),
    });
    let end = Instant::now() + Duration::from_secs(args.lifetime_seconds);
    let mut server = Server {
        ip_header_bytes: if args.address.is_ipv4() { 28 } else { 48 },
        args,
        socket,
        players: HashMap::new(),
        diary,
        received: Wire::default(),
        sent: Wire::default(),
        send_failures: 0,
        sequence: 0,
        mark: Instant::now(),
        tick_times_ns: Vec::new(),
        ticks: 0,
        joined: 0,
        lag: LagBooks::default(),
    };
    server.play(&inbox, end);
    if let Some(diary) = &mut server.diary {
        diary.close(Instant::now());
    }
    Ok(())
}

impl Server {
    fn play(&mut self, inbox: &Receiver<Request>, end: Instant) {
        let period = Duration::from_secs_f64(1.0 / self.args.tick_hz.clamp(0.1, 10_000.0));
        let work = Work::new(self.args.kind);
        let mut next = Instant::now() + period;
        let mut number = 0u64;
        while Instant::now() < end {
            self.wait_until(next);
            let start = Instant::now();
            self.read(Duration::ZERO);
            self.drop_silent(start);
            let players = self.thinking(start);
            work.tick(Duration::from_micros(
                self.args.base_work_us + players * self.args.work_per_player_us,
            ));
            if players > 0 {
                self.look_back();
            }
            number += 1;
            if number.is_multiple_of(self.args.ticks_per_snapshot.max(1)) {
                self.send_snapshots();
            }
            self.ticks += 1;
            if self.tick_times_ns.len() < KEPT_TICKS {
                self.tick_times_ns.push(start.elapsed().as_nanos() as u64);
            }
            next += period;
            if Instant::now() > next + period * 10 {
                next = Instant::now() + period;
            }
            match inbox.try_recv() {
                Ok(Request::Quit) | Err(TryRecvError::Disconnected) => return,
                Ok(Request::Hold) => {
                    answer(&self.truth());
                    if inbox.recv() != Ok(Request::Resume) {
                        return;
                    }
                    self.begin_window();
                    answer(&self.truth());
                    next = Instant::now() + period;
                }
                Ok(Request::Mark) => {
                    // The answer still speaks of the window that ends here.
                    answer(&self.truth());
                    self.begin_window();
                }
                Ok(_) => {
                    answer(&self.truth());
                }
                Err(TryRecvError::Empty) => {}
            }
        }
    }

    /// Players that cost work in this tick: all of them, but only while a match is on where the server plays matches.
    fn thinking(&mut self, now: Instant) -> u64 {
        let players = self.players.len() as u64;
        match &mut self.diary {
            None => players,
            Some(diary) => {
                diary.tick(now);
                match diary.playing() {
                    true => players + u64::from(self.args.diary.house_bots),
                    false => 0,
                }
            }
        }
    }

    /// Takes the world back for every player.
    fn look_back(&mut self) {
        if self.args.lag.is_on() {
            for player in self.players.values() {
                self.lag.compensate(&self.args.lag, player.rtt);
            }
            self.lag.end_tick(self.players.len() as u64);
        }
    }

    fn begin_window(&mut self) {
        self.mark = Instant::now();
        self.ticks = 0;
        self.tick_times_ns.clear();
    }

    fn wait_until(&mut self, next: Instant) {
        match self.args.kind {
            LoopKind::Spinning => {
                while Instant::now() < next {
                    std::hint::spin_loop();
                }
            }
            LoopKind::Epoll => loop {
                let left = next.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return;
                }
                let readable = {
                    let mut watched = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
                    ppoll(&mut watched, Some(left.into()), None).is_ok_and(|count| count > 0)
                };
                if readable {
                    self.read(PACKET_WORK);
                }
            },
            _ => thread::sleep(next.saturating_duration_since(Instant::now())),
        }
    }

    fn read(&mut self, work_per_packet: Duration) {
        let mut buffer = [0u8; 2_048];
        for _ in 0..READS_PER_WAKE {
            let (length, from) = match self.socket.recv_from(&mut buffer) {
                Ok(received) => received,
                // An ICMP error of a bot that has gone is reported once and means nothing here.
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => continue,
                Err(_) => return,
            };
            self.received.count(length, self.ip_header_bytes);
            if !work_per_packet.is_zero() {
                burn(work_per_packet);
            }
            let Some((kind, sequence)) = decode(self.args.header, &buffer[..length]) else {
                continue;
            };
            match kind {
                Kind::Connect => {
                    if self.players.len() < self.args.max_players || self.players.contains_key(&from) {
                        let player = self.players.entry(from).or_insert_with(|| {
                            self.joined += 1;
                            Player {
                                last_seen: Instant::now(),
                                received: sequence,
                                rtt: self.args.lag.rtt(self.joined - 1),
                            }
                        });
                        player.last_seen = Instant::now();
                        player.received = sequence;
                        if let Some(diary) = &mut self.diary {
                            let called = name(self.args.header, &buffer[..length]);
                            diary.joined(from, called.unwrap_or("nameless"), Instant::now());
                        }
                        self.send(from, Kind::Accept, sequence, 16);
                    }
                }
                Kind::Input => {
                    if let Some(player) = self.players.get_mut(&from) {
                        player.last_seen = Instant::now();
                        player.received = sequence;
                    }
                }
                Kind::Leave => {
                    self.players.remove(&from);
                    if let Some(diary) = &mut self.diary {
                        diary.left(from, Instant::now());
                    }
                }
                Kind::Accept | Kind::Snapshot => {}
            }
        }
    }

    fn drop_silent(&mut self, now: Instant) {
        let diary = &mut self.diary;
        self.players.retain(|address, player| {
            let here = now.duration_since(player.last_seen) < PLAYER_TIMEOUT;
            if let (false, Some(diary)) = (here, diary.as_mut()) {
                diary.left(*address, now);
            }
            here
        });
    }

    fn send_snapshots(&mut self) {
        self.sequence = self.sequence.wrapping_add(1);
        let bytes = SNAPSHOT_BYTES + SNAPSHOT_BYTES_PER_PLAYER * self.players.len();
        let targets: Vec<(SocketAddr, u32)> = self
            .players
            .iter()
            .map(|(address, player)| (*address, player.received))
            .collect();
        for (address, received) in targets {
            self.send(address, Kind::Snapshot, received, bytes);
        }
    }

    fn send(&mut self, to: SocketAddr, kind: Kind, acknowledged: u32, payload_bytes: usize) {
        let datagram = encode(self.args.header, kind, self.sequence, acknowledged, payload_bytes);
        match self.socket.send_to(&datagram, to) {
            Ok(length) => self.sent.count(length, self.ip_header_bytes),
            Err(_) => self.send_failures += 1,
        }
    }

    fn truth(&self) -> ServerTruth {
        let mut times = self.tick_times_ns.clone();
        times.sort_unstable();
        let at = |q: f64| {
            times
                .get(((times.len() as f64 * q) as usize).min(times.len().saturating_sub(1)))
                .copied()
        };
        ServerTruth {
            players: self.players.len() as u32,
            ticks: self.ticks,
            tick_rate_hz: self.ticks as f64 / self.mark.elapsed().as_secs_f64().max(1e-9),
            tick_time_p50_ns: at(0.5).unwrap_or(0),
            tick_time_p95_ns: at(0.95).unwrap_or(0),
            received: self.received,
            sent: self.sent,
            send_failures: self.send_failures,
            lag: self.lag.truth(),
            cpu: CpuTruth::read(),
        }
    }
}
