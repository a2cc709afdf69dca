//! A server that does what it is told and says what it cost: for tests that hold the agent against planted truth.
//!
//! One request per line of stdin, one [`Paid`] per line of stdout:
//! `load CPU_MS MIB WRITE_MIB PACKETS` burns, holds and touches memory, writes and syncs, sends; `free` gives the memory
//! back; `room NAME CORES` starts a thread `room-NAME`, `read NAME` tells its CPU, `end NAME` ends it;
//! `serve NAME=PLAYERS,...` works for rooms in one thread, in proportion to players; `companion WORDS` starts a child;
//! `ready`, `cpu`, `abort`.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufRead, Write},
    net::{SocketAddr, UdpSocket},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use clap::Args;
use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use super::{
    game_loop::burn,
    truth::{CpuTruth, Ready, answer},
};

/// Arguments of a planted server.
#[derive(Clone, Debug, Args)]
pub struct PlantedArgs {
    /// A word to be found by in its command line.
    #[arg(long)]
    pub name: String,
    /// A `load` to do before anything else, the socket included.
    #[arg(long, default_value = "")]
    pub load: String,
    /// Where it writes.
    #[arg(long, default_value = "/tmp")]
    pub directory: PathBuf,
    /// Ends by itself after so many seconds.
    #[arg(long, default_value_t = 120)]
    pub lifetime_seconds: u64,
}

/// What something has cost.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Paid {
    /// CPU of the thread or process that did it.
    pub cpu_ns: u64,
    /// Growth of resident memory.
    pub rss_bytes: u64,
    /// Bytes sent to storage, by the kernel's own account.
    pub disk_bytes: u64,
    /// Datagrams sent.
    pub packets: u64,
    /// CPU by room.
    pub rooms: BTreeMap<String, u64>,
    /// Process that was started.
    pub pid: u32,
}

/// Work for one player and tick of `serve`.
const PLAYER_WORK: Duration = Duration::from_micros(300);
const PERIOD: Duration = Duration::from_millis(20);

struct Room {
    stop: Arc<AtomicBool>,
    cpu_ns: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

type Serving = Arc<Mutex<(BTreeMap<String, u64>, BTreeMap<String, u64>)>>;

struct Planted {
    socket: UdpSocket,
    directory: PathBuf,
    held: Vec<Vec<u8>>,
    rooms: BTreeMap<String, Room>,
    serving: Option<Serving>,
    children: Vec<Child>,
}

/// Memory that is really there.
pub fn touched(mib: usize) -> Vec<u8> {
    let mut bytes = vec![0u8; mib << 20];
    for page in bytes.chunks_mut(4_096) {
        page[0] = 1;
    }
    bytes
}

fn thread_cpu_ns() -> u64 {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)
        .map(Duration::from)
        .map_or(0, |time| time.as_nanos() as u64)
}

/// Runs a server until its parent or its time says so.
pub fn run(args: &PlantedArgs) -> std::io::Result<()> {
    let lifetime = Duration::from_secs(args.lifetime_seconds);
    thread::spawn(move || {
        thread::sleep(lifetime);
        std::process::exit(0);
    });
    let mut first = Paid::default();
    let mut held = Vec::new();
    if !args.load.is_empty() {
        first = load(&args.load, &args.directory, None, &mut held)?;
    }
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    answer(&Ready {
        port: socket.local_addr()?.port(),
        pid: std::process::id(),
    });
    let mut server = Planted {
        socket,
        directory: args.directory.clone(),
        held,
        rooms: BTreeMap::new(),
        serving: None,
        children: Vec::new(),
    };
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let paid = match line.trim() {
            "first" => first.clone(),
            line => server.obey(line)?,
        };
        if !answer(&paid) {
            break;
        }
    }
    for child in &mut server.children {
        // Its standard input is closed with this process; it is not waited for.
        drop(child.stdin.take());
    }
    Ok(())
}

/// Does what `load` asks: CPU milliseconds, MiB held, MiB written, packets.
fn load(
    words: &str,
    directory: &Path,
    socket: Option<&UdpSocket>,
    held: &mut Vec<Vec<u8>>,
) -> std::io::Result<Paid> {
    let mut numbers = words.split(' ').map(|word| word.parse::<u64>().unwrap_or(0));
    let mut next = || numbers.next().unwrap_or(0);
    let (cpu_ms, mib, write_mib, packets) = (next(), next(), next(), next());
    let (cpu, disk, rss) = (CpuTruth::read(), written(), resident());
    burn(Duration::from_millis(cpu_ms / 2));
    held.push(touched(mib as usize));
    let mut file = File::create(directory.join(format!("{}.bin", std::process::id())))?;
    for _ in 0..write_mib {
        file.write_all(&[0xa5; 1 << 20])?;
    }
    file.sync_all()?;
    let mut sent = 0;
    if let Some(socket) = socket {
        let mut from = [0; 64];
        if packets > 0 {
            // Whoever is to get them has said so.
            let (_, peer): (usize, SocketAddr) = socket.recv_from(&mut from)?;
            for _ in 0..packets {
                sent += u64::from(socket.send_to(&[7; 200], peer).is_ok());
            }
        }
    }
    burn(Duration::from_millis(cpu_ms - cpu_ms / 2));
    Ok(Paid {
        cpu_ns: CpuTruth::read()
            .schedstat_cpu_ns
            .saturating_sub(cpu.schedstat_cpu_ns),
        rss_bytes: resident().saturating_sub(rss),
        disk_bytes: written().saturating_sub(disk),
        packets: sent,
        ..Paid::default()
    })
}

fn written() -> u64 {
    let text = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
    text.lines()
        .find_map(|line| line.strip_prefix("write_bytes: ")?.parse().ok())
        .unwrap_or(0)
}

fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: Option<u64> = text.split(' ').nth(1).and_then(|pages| pages.parse().ok());
    pages.unwrap_or(0) * procfs::page_size()
}

impl Planted {
    fn obey(&mut self, line: &str) -> std::io::Result<Paid> {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        match verb {
            "load" => load(rest, &self.directory, Some(&self.socket), &mut self.held),
            "free" => {
                self.held.clear();
                Ok(Paid::default())
            }
            "room" => self.room(rest),
            "read" | "end" => Ok(self.room_cpu(verb, rest)),
            "serve" => Ok(self.serve(rest)),
            "companion" => self.companion(rest),
            "abort" => std::process::abort(),
            _ => Ok(Paid {
                cpu_ns: CpuTruth::read().schedstat_cpu_ns,
                rss_bytes: resident(),
                disk_bytes: written(),
                ..Paid::default()
            }),
        }
    }

    fn room(&mut self, words: &str) -> std::io::Result<Paid> {
        let (name, cores) = words.split_once(' ').unwrap_or((words, "0.1"));
        let cores: f64 = cores.parse().unwrap_or(0.1);
        let (stop, cpu_ns) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stops, counts) = (stop.clone(), cpu_ns.clone());
        let thread = thread::Builder::new()
            .name(format!("room-{name}"))
            .spawn(move || {
                let mut next = Instant::now();
                while !stops.load(Ordering::Relaxed) {
                    burn(PERIOD.mul_f64(cores.clamp(0.0, 1.0)));
                    counts.store(thread_cpu_ns(), Ordering::Relaxed);
                    next += PERIOD;
                    thread::sleep(next.saturating_duration_since(Instant::now()));
                }
                counts.store(thread_cpu_ns(), Ordering::Relaxed);
            })?;
        self.rooms.insert(name.to_owned(), Room { stop, cpu_ns, thread });
        Ok(Paid::default())
    }

    fn room_cpu(&mut self, verb: &str, name: &str) -> Paid {
        let cpu = |room: &Room| room.cpu_ns.load(Ordering::Relaxed);
        let cpu_ns = match verb {
            "end" => self.rooms.remove(name).map(|room| {
                room.stop.store(true, Ordering::Relaxed);
                let counted = room.cpu_ns.clone();
                let _ = room.thread.join();
                counted.load(Ordering::Relaxed)
            }),
            _ => self.rooms.get(name).map(cpu),
        };
        Paid {
            cpu_ns: cpu_ns.unwrap_or(0),
            ..Paid::default()
        }
    }

    /// One thread for all rooms; tells what each has cost so far. Without words, nothing changes.
    fn serve(&mut self, words: &str) -> Paid {
        let serving = self.serving.get_or_insert_with(|| {
            let serving = Serving::default();
            let theirs = serving.clone();
            thread::spawn(move || work_for_all(&theirs));
            serving
        });
        let mut state = serving.lock().unwrap_or_else(PoisonError::into_inner);
        if !words.is_empty() {
            state.0 = words
                .split(',')
                .filter_map(|word| {
                    let (name, players) = word.split_once('=')?;
                    Some((name.to_owned(), players.parse().ok()?))
                })
                .collect();
        }
        Paid {
            rooms: state.1.clone(),
            ..Paid::default()
        }
    }

    fn companion(&mut self, words: &str) -> std::io::Result<Paid> {
        let (program, words) = words.split_once(' ').unwrap_or((words, ""));
        let child = Command::new(program)
            .args(words.split(' ').filter(|word| !word.is_empty()))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()?;
        let pid = child.id();
        self.children.push(child);
        Ok(Paid {
            pid,
            ..Paid::default()
        })
    }
}

fn work_for_all(serving: &Serving) {
    let mut next = Instant::now();
    loop {
        let wanted = serving.lock().unwrap_or_else(PoisonError::into_inner).0.clone();
        for (room, players) in wanted {
            let before = thread_cpu_ns();
            burn(PLAYER_WORK * players as u32);
            let used = thread_cpu_ns() - before;
            let mut state = serving.lock().unwrap_or_else(PoisonError::into_inner);
            *state.1.entry(room).or_default() += used;
        }
        next += PERIOD;
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
}
