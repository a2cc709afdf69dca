//! What the demo processes know about themselves, and the line protocol in which a parent asks: `truth`, `mark`,
//! `pause`, `hold`, `resume` on stdin, one JSON document per line on stdout. End of stdin ends the process.

use std::{
    fs,
    io::{BufRead, Write},
    sync::mpsc,
    thread,
};

use nix::sys::resource::{UsageWho, getrusage};
use serde::{Deserialize, Serialize};

use super::lag::LagTruth;

/// First line of every demo process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// Port of a server; 0 for bots.
    pub port: u16,
    /// Process id.
    pub pid: u32,
}

/// Datagrams and IP-layer bytes that one side sent or received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wire {
    /// Datagrams.
    pub packets: u64,
    /// Payload plus 28 (IPv4) or 48 (IPv6) each.
    pub bytes: u64,
}

impl Wire {
    /// Adds one datagram.
    pub fn count(&mut self, payload_bytes: usize, header_bytes: usize) {
        self.packets += 1;
        self.bytes += (payload_bytes + header_bytes) as u64;
    }
}

/// CPU figures of a process, from the kernel's own books.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuTruth {
    /// getrusage, user and system.
    pub rusage_cpu_ns: u64,
    /// Sum over threads of /proc/self/task/TID/schedstat, first field.
    pub schedstat_cpu_ns: u64,
    /// Second field.
    pub run_queue_wait_ns: u64,
    /// Sum over threads of /proc/self/task/TID/status.
    pub voluntary_switches: u64,
    /// Sum over threads.
    pub involuntary_switches: u64,
}

impl CpuTruth {
    /// Reads this process.
    pub fn read() -> Self {
        let mut truth = Self::default();
        if let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) {
            let ns =
                |time: nix::sys::time::TimeVal| (time.tv_sec() * 1_000_000 + time.tv_usec()) as u64 * 1_000;
            truth.rusage_cpu_ns = ns(usage.user_time()) + ns(usage.system_time());
        }
        for task in fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
            let schedstat = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
            let mut fields = schedstat
                .split_ascii_whitespace()
                .filter_map(|field| field.parse::<u64>().ok());
            truth.schedstat_cpu_ns += fields.next().unwrap_or(0);
            truth.run_queue_wait_ns += fields.next().unwrap_or(0);
            let status = fs::read_to_string(task.path().join("status")).unwrap_or_default();
            for line in status.lines() {
                let number = |rest: &str| rest.trim().parse::<u64>().unwrap_or(0);
                if let Some(rest) = line.strip_prefix("voluntary_ctxt_switches:") {
                    truth.voluntary_switches += number(rest);
                } else if let Some(rest) = line.strip_prefix("nonvoluntary_ctxt_switches:") {
                    truth.involuntary_switches += number(rest);
                }
            }
        }
        truth
    }
}

/// What a server says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ServerTruth {
    /// Players now.
    pub players: u32,
    /// Ticks since the last mark.
    pub ticks: u64,
    /// Ticks per second since the last mark.
    pub tick_rate_hz: f64,
    /// Median wall time of a tick since the last mark, waits inside it included.
    pub tick_time_p50_ns: u64,
    /// 95th percentile.
    pub tick_time_p95_ns: u64,
    /// Since start.
    pub received: Wire,
    /// Since start.
    pub sent: Wire,
    /// Datagrams that the kernel would not take.
    pub send_failures: u64,
    /// Lag compensation, since start.
    pub lag: LagTruth,
    /// Since start.
    pub cpu: CpuTruth,
}

/// What the bots say.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BotsTruth {
    /// Bots that were let in.
    pub connected: u32,
    /// Sockets used so far: one flow each.
    pub sockets: u32,
    /// Since start.
    pub received: Wire,
    /// Since start.
    pub sent: Wire,
    /// Datagrams that the kernel would not take.
    pub send_failures: u64,
}

/// A request of the parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Tell the truth.
    Truth,
    /// Begin a new measuring window, then tell the truth.
    Mark,
    /// Bots: send nothing more, then tell the truth.
    Pause,
    /// Servers: tell the truth, then stand still until `resume`, so that every count settles.
    Hold,
    /// Go on, in a new measuring window, then tell the truth.
    Resume,
    /// End.
    Quit,
}

/// Reads requests on a thread that sleeps in `read`.
pub fn requests() -> mpsc::Receiver<Request> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let request = match line.as_deref().map(str::trim) {
                Ok("truth") => Request::Truth,
                Ok("mark") => Request::Mark,
                Ok("pause") => Request::Pause,
                Ok("hold") => Request::Hold,
                Ok("resume") => Request::Resume,
                _ => break,
            };
            if sender.send(request).is_err() {
                return;
            }
        }
        // The parent has gone or asked: either way it is over.
        let _ = sender.send(Request::Quit);
    });
    receiver
}

/// Answers on stdout; false when nobody reads any more.
pub fn answer(document: &impl Serialize) -> bool {
    let Ok(line) = serde_json::to_string(document) else {
        return false;
    };
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).is_ok()
}
