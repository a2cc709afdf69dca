//! Bots: connect, send inputs, receive snapshots, leave. One socket each, one thread for all.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    os::fd::AsFd,
    sync::mpsc::TryRecvError,
    time::{Duration, Instant},
};

use clap::{Args, ValueEnum};
use nix::poll::{PollFd, PollFlags, ppoll};
use serde::{Deserialize, Serialize};

use super::{
    protocol::{Header, INPUT_BYTES, Kind, decode, encode, encode_connect},
    truth::{BotsTruth, Ready, Request, answer, requests},
};

/// Where bots call from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Homes {
    /// All from the address that the route to the server gives them.
    #[default]
    Shared,
    /// Each from an address of its own in 127.0.0.0/8, for servers on loopback.
    Own,
}

/// Names of bots; those who come later have a number behind theirs.
const NAMES: [&str; 16] = [
    "Ada", "Bela", "Cleo", "Dora", "Emil", "Finn", "Greta", "Hugo", "Ines", "Jack", "Kaya", "Levi", "Mona",
    "Nils", "Olga", "Paul",
];

/// Arguments of a group of bots.
#[derive(Clone, Debug, Args)]
pub struct BotsArgs {
    /// Header in front of their datagrams.
    #[arg(long, value_enum, default_value = "quake3")]
    pub header: Header,
    /// Server address.
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    pub address: IpAddr,
    /// Server port.
    #[arg(long)]
    pub port: u16,
    /// How many.
    #[arg(long, default_value_t = 8)]
    pub count: u32,
    /// Inputs per second and bot.
    #[arg(long, default_value_t = 30.0)]
    pub input_hz: f64,
    /// Each bot leaves after so many seconds and comes back with a new socket; 0 for never.
    #[arg(long, default_value_t = 0)]
    pub stay_seconds: u64,
    /// Where they call from.
    #[arg(long, value_enum, default_value = "shared")]
    pub homes: Homes,
    /// Seed of the jitter.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Ends by itself after so many seconds.
    #[arg(long, default_value_t = 600)]
    pub lifetime_seconds: u64,
}

/// Time after which an unanswered connect is repeated.
const CONNECT_AGAIN: Duration = Duration::from_millis(500);

struct Bot {
    name: String,
    socket: UdpSocket,
    accepted: bool,
    next: Instant,
    joined: Instant,
    sequence: u32,
    heard: u32,
}

struct Bots {
    args: BotsArgs,
    server: SocketAddr,
    header_bytes: usize,
    random: u64,
    bots: Vec<Bot>,
    truth: BotsTruth,
    paused: bool,
}

/// Runs bots until their parent or their time says so.
pub fn run(args: BotsArgs) -> std::io::Result<()> {
    let server = SocketAddr::new(args.address, args.port);
    let inbox = requests();
    let end = Instant::now() + Duration::from_secs(args.lifetime_seconds);
    let mut all = Bots {
        server,
        header_bytes: if args.address.is_ipv4() { 28 } else { 48 },
        random: args.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
        bots: Vec::new(),
        truth: BotsTruth::default(),
        paused: false,
        args,
    };
    for number in 0..all.args.count {
        let bot = all.join(number as usize)?;
        all.bots.push(bot);
    }
    answer(&Ready {
        port: 0,
        pid: std::process::id(),
    });
    while Instant::now() < end {
        all.wait();
        all.receive();
        if !all.paused {
            all.send()?;
        }
        match inbox.try_recv() {
            Ok(Request::Quit) | Err(TryRecvError::Disconnected) => break,
            Ok(request) => {
                match request {
                    Request::Pause => all.paused = true,
                    Request::Resume => all.paused = false,
                    _ => {}
                }
                all.truth.connected = all.bots.iter().filter(|bot| bot.accepted).count() as u32;
                answer(&all.truth);
            }
            Err(TryRecvError::Empty) => {}
        }
    }
    for index in 0..all.bots.len() {
        all.say(index, Kind::Leave, 0);
    }
    Ok(())
}

fn name(number: usize) -> String {
    let name = NAMES[number % NAMES.len()];
    match number / NAMES.len() {
        0 => name.to_owned(),
        round => format!("{name}-{}", round + 1),
    }
}

impl Bots {
    fn join(&mut self, number: usize) -> std::io::Result<Bot> {
        let local: IpAddr = match (self.args.homes, self.server.is_ipv4()) {
            (Homes::Shared, true) => Ipv4Addr::UNSPECIFIED.into(),
            (Homes::Own, true) => {
                Ipv4Addr::new(127, 0, (number / 250) as u8 + 1, (number % 250) as u8 + 1).into()
            }
            (_, false) => std::net::Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind((local, 0))?;
        socket.connect(self.server)?;
        socket.set_nonblocking(true)?;
        self.truth.sockets += 1;
        let now = Instant::now();
        let delay = Duration::from_millis(self.jitter(100));
        Ok(Bot {
            name: name(number),
            socket,
            accepted: false,
            next: now + delay,
            joined: now,
            sequence: 0,
            heard: 0,
        })
    }

    /// 0 to `below`, xorshift64.
    fn jitter(&mut self, below: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % below.max(1)
    }

    fn wait(&self) {
        let now = Instant::now();
        let soonest = self.bots.iter().map(|bot| bot.next).min().unwrap_or(now);
        // A paused group still looks for requests.
        let left = soonest
            .saturating_duration_since(now)
            .clamp(Duration::from_micros(200), Duration::from_millis(20));
        let left = if self.paused {
            Duration::from_millis(10)
        } else {
            left
        };
        let mut watched: Vec<PollFd<'_>> = self
            .bots
            .iter()
            .map(|bot| PollFd::new(bot.socket.as_fd(), PollFlags::POLLIN))
            .collect();
        let _ = ppoll(&mut watched, Some(left.into()), None);
    }

    fn receive(&mut self) {
        let mut buffer = [0u8; 2_048];
        for bot in &mut self.bots {
            for _ in 0..256 {
                let Ok(length) = bot.socket.recv(&mut buffer) else {
                    break;
                };
                self.truth.received.count(length, self.header_bytes);
                if let Some((kind, sequence)) = decode(self.args.header, &buffer[..length]) {
                    bot.heard = sequence;
                    bot.accepted |= kind == Kind::Accept;
                }
            }
        }
    }

    fn send(&mut self) -> std::io::Result<()> {
        let now = Instant::now();
        let period = Duration::from_secs_f64(1.0 / self.args.input_hz.clamp(0.1, 1_000.0));
        for index in 0..self.bots.len() {
            if self.args.stay_seconds > 0
                && now.duration_since(self.bots[index].joined) > Duration::from_secs(self.args.stay_seconds)
            {
                self.say(index, Kind::Leave, 0);
                let fresh = self.join(index)?;
                self.bots[index] = fresh;
            }
            if self.bots[index].next > now {
                continue;
            }
            if self.bots[index].accepted {
                self.say(index, Kind::Input, INPUT_BYTES);
                let jitter = self.jitter(period.as_micros() as u64 / 5);
                self.bots[index].next = now + period.mul_f64(0.9) + Duration::from_micros(jitter);
            } else {
                self.say(index, Kind::Connect, 0);
                self.bots[index].next = now + CONNECT_AGAIN;
            }
        }
        Ok(())
    }

    fn say(&mut self, index: usize, kind: Kind, payload_bytes: usize) {
        let bot = &mut self.bots[index];
        bot.sequence = bot.sequence.wrapping_add(1);
        let header = self.args.header;
        let datagram = match kind {
            Kind::Connect => encode_connect(header, bot.sequence, bot.heard, &bot.name),
            _ => encode(header, kind, bot.sequence, bot.heard, payload_bytes),
        };
        match bot.socket.send(&datagram) {
            Ok(length) => self.truth.sent.count(length, self.header_bytes),
            Err(_) => self.truth.send_failures += 1,
        }
    }
}
