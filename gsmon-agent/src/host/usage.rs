//! Memory, page faults, disk and threads of a server's processes from /proc, as totals that never fall when a process
//! ends; and, without a kernel side, CPU, run-queue wait and switches from /proc as well.
//!
//! A process that was there before its server was looked for counts from when it was found; one that starts later counts
//! from zero.

use std::{collections::HashMap, fs, time::Instant};

use super::{
    kept::{self, KeptFile},
    process::Stat,
    proportional::Proportional,
};

/// Where scheduling figures come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SchedSource {
    /// Kernel programs: not read here.
    Kernel,
    /// /proc/PID/task: exact for live threads, blind to threads that came and went between two looks.
    Proc,
}

/// What a server used. `None` is "not known", never zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerUsage {
    /// Resident memory now.
    pub rss_bytes: Option<u64>,
    /// Of it: pages of files and shared memory; the rest is anonymous.
    pub rss_file_bytes: Option<u64>,
    /// Of several processes: shared pages counted once, as last read; see [`Proportional`].
    pub pss_bytes: Option<u64>,
    /// Most that was resident at once since the last reading; for several processes, the sum of theirs.
    pub peak_rss_bytes: Option<u64>,
    /// Threads now.
    pub threads: Option<u32>,
    /// Total.
    pub minor_faults: Option<u64>,
    /// Total.
    pub major_faults: Option<u64>,
    /// Total bytes fetched from storage; needs privilege for processes of others.
    pub disk_read_bytes: Option<u64>,
    /// Total bytes sent to storage.
    pub disk_write_bytes: Option<u64>,
    /// Total read calls.
    pub read_calls: Option<u64>,
    /// Total write calls.
    pub write_calls: Option<u64>,
    /// Total; only with [`SchedSource::Proc`].
    pub cpu_ns: Option<u64>,
    /// Total; only with [`SchedSource::Proc`].
    pub run_queue_wait_ns: Option<u64>,
    /// Total; only with [`SchedSource::Proc`].
    pub voluntary_switches: Option<u64>,
    /// Total; only with [`SchedSource::Proc`].
    pub involuntary_switches: Option<u64>,
}

/// Monotonic figures of one process; `None` where they cannot be read.
type Counters = [Option<u64>; 10];

/// What is read of a process at every look.
#[derive(Default)]
struct Files {
    stat: KeptFile,
    statm: KeptFile,
    io: KeptFile,
}

struct Followed {
    files: Files,
    start_ticks: u64,
    last: Counters,
    rss_bytes: u64,
    /// File-backed pages of them.
    file_pages: Option<u64>,
    /// Largest resident memory ever.
    high_water_bytes: u64,
}

/// Totals of one server.
#[derive(Default)]
pub struct UsageTracker {
    processes: HashMap<u32, Followed>,
    totals: Counters,
    proportional: Proportional,
    first_seen_ticks: Option<u64>,
}

/// Memory has moved when so much was paged in, or resident memory differs by so much: only then the high-water mark is
/// read.
const MOVED_BYTES: u64 = 1 << 20;

impl UsageTracker {
    /// Nothing was found up to now, in clock ticks since boot: what starts from now on counts from its start.
    pub fn watching_since(ticks: u64) -> Self {
        Self {
            first_seen_ticks: Some(ticks),
            ..Self::default()
        }
    }

    /// Other processes are looked for from now on: only what starts later counts from its start.
    pub fn watch_anew(&mut self, ticks: u64) {
        self.first_seen_ticks = self.first_seen_ticks.max(Some(ticks));
    }

    /// Does everything that a process used since its start count? Within one tick it cannot be told which came first,
    /// and what was used in a tick weighs little beside a start that is missed.
    pub fn counts_whole(&self, start_ticks: u64) -> bool {
        self.first_seen_ticks.is_some_and(|seen| start_ticks >= seen)
    }

    /// Reads the server's processes.
    pub fn update(&mut self, pids: &[u32], source: SchedSource) -> ServerUsage {
        let page_bytes = procfs::page_size();
        let (mut rss_bytes, mut peak_rss_bytes, mut rss_file_bytes, mut threads) = (None, None, None, None);
        let newest = self.first_seen_ticks;
        let mut youngest_now = newest;
        let mut buffer = kept::EMPTY;
        for pid in pids {
            let followed = self.processes.remove(pid);
            let (mut files, known) = match followed {
                Some(mut known) => (std::mem::take(&mut known.files), Some(known)),
                None => (Files::default(), None),
            };
            let Some(stat) = files
                .stat
                .read(*pid, "stat", &mut buffer)
                .and_then(|text| Stat::parse(&text))
            else {
                self.processes.extend(known.map(|known| (*pid, known)));
                continue;
            };
            let rss_now = stat.rss_pages * page_bytes;
            *rss_bytes.get_or_insert(0) += rss_now;
            *threads.get_or_insert(0) += stat.threads;
            // Pages that are neither faulted in nor given back are the same pages.
            let still = known.as_ref().filter(|known| {
                known.rss_bytes == rss_now
                    && known.last[..2] == [Some(stat.minor_faults), Some(stat.major_faults)]
            });
            let pages = match still {
                Some(known) => known.file_pages,
                None => files
                    .statm
                    .read(*pid, "statm", &mut buffer)
                    .and_then(|text| file_pages(&text)),
            };
            if let Some(pages) = pages {
                *rss_file_bytes.get_or_insert(0) += pages * page_bytes;
            }
            let io = files
                .io
                .read(*pid, "io", &mut buffer)
                .and_then(|text| io_counts(&text));
            let now = counters(*pid, &stat, io, source);
            let known = known.filter(|known| known.start_ticks == stat.start_ticks);
            let before = match &known {
                Some(known) => known.last,
                None if self.counts_whole(stat.start_ticks) => [Some(0); 10],
                None => now,
            };
            for (total, (now, before)) in self.totals.iter_mut().zip(now.into_iter().zip(before)) {
                if let (Some(now), Some(before)) = (now, before) {
                    *total = Some(total.unwrap_or(0) + now.saturating_sub(before));
                }
            }
            let from_start = known.is_none() && before == [Some(0); 10];
            let (rss_before, faults_before, mark_before) = match &known {
                Some(known) => (known.rss_bytes, known.last[0], known.high_water_bytes),
                None => (0, Some(0), 0),
            };
            let paged_in = now[0].unwrap_or(0).saturating_sub(faults_before.unwrap_or(0)) * page_bytes;
            let mut high_water_bytes = mark_before;
            if paged_in >= MOVED_BYTES || rss_now.abs_diff(rss_before) >= MOVED_BYTES {
                high_water_bytes = high_water(*pid).unwrap_or(mark_before);
            }
            // A mark that has risen was reached since the last reading.
            let risen = high_water_bytes > mark_before && (known.is_some() || from_start);
            *peak_rss_bytes.get_or_insert(0) += if risen {
                high_water_bytes.max(rss_now)
            } else {
                rss_now
            };
            self.processes.insert(
                *pid,
                Followed {
                    files,
                    start_ticks: stat.start_ticks,
                    last: now,
                    rss_bytes: rss_now,
                    file_pages: pages,
                    high_water_bytes,
                },
            );
            youngest_now = youngest_now.max(Some(stat.start_ticks));
        }
        if newest.is_none() {
            self.first_seen_ticks = youngest_now;
        }
        self.processes.retain(|pid, _| pids.contains(pid));
        let [
            minor,
            major,
            read,
            write,
            read_calls,
            write_calls,
            cpu,
            wait,
            voluntary,
            involuntary,
        ] = self.totals;
        ServerUsage {
            rss_bytes,
            rss_file_bytes,
            pss_bytes: self.proportional.update(pids, Instant::now()),
            peak_rss_bytes,
            threads,
            minor_faults: minor,
            major_faults: major,
            disk_read_bytes: read,
            disk_write_bytes: write,
            read_calls,
            write_calls,
            cpu_ns: cpu,
            run_queue_wait_ns: wait,
            voluntary_switches: voluntary,
            involuntary_switches: involuntary,
        }
    }
}

fn counters(pid: u32, stat: &Stat, io: Option<[u64; 4]>, source: SchedSource) -> Counters {
    let sched = match source {
        SchedSource::Kernel => None,
        SchedSource::Proc => sched_totals(pid),
    };
    let of = |index: usize| sched.map(|sched| sched[index]);
    let io_of = |index: usize| io.map(|io| io[index]);
    [
        Some(stat.minor_faults),
        Some(stat.major_faults),
        io_of(0),
        io_of(1),
        io_of(2),
        io_of(3),
        of(0),
        of(1),
        of(2),
        of(3),
    ]
}

/// Resident pages of files and shared memory: the third field of `/proc/PID/statm`.
fn file_pages(text: &str) -> Option<u64> {
    text.split(' ').nth(2)?.parse().ok()
}

/// Largest resident memory ever: `VmHWM` of `/proc/PID/status`.
fn high_water(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let kib: u64 = text
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?
        .trim()
        .strip_suffix("kB")?
        .trim()
        .parse()
        .ok()?;
    Some(kib * 1024)
}

/// Bytes read and written, calls to read and to write, of `/proc/PID/io`.
fn io_counts(text: &str) -> Option<[u64; 4]> {
    Some([
        field(text, "read_bytes:")?,
        field(text, "write_bytes:")?,
        field(text, "syscr:")?,
        field(text, "syscw:")?,
    ])
}

fn field(text: &str, name: &str) -> Option<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix(name))?
        .trim()
        .parse()
        .ok()
}

/// CPU, wait, voluntary and involuntary switches of all threads.
fn sched_totals(pid: u32) -> Option<[u64; 4]> {
    let mut sums = [0u64; 4];
    for entry in fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten() {
        let task = entry.path();
        let Ok(schedstat) = fs::read_to_string(task.join("schedstat")) else {
            continue;
        };
        let mut parts = schedstat
            .split_ascii_whitespace()
            .filter_map(|part| part.parse::<u64>().ok());
        let status = fs::read_to_string(task.join("status")).unwrap_or_default();
        let now = [
            parts.next(),
            parts.next(),
            field(&status, "voluntary_ctxt_switches:"),
            field(&status, "nonvoluntary_ctxt_switches:"),
        ];
        for (sum, value) in sums.iter_mut().zip(now) {
            *sum += value?;
        }
    }
    Some(sums)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_start_at_zero_and_do_not_fall_when_processes_end() {
        let me = [std::process::id()];
        let mut tracker = UsageTracker::default();
        let first = tracker.update(&me, SchedSource::Proc);
        assert_eq!(first.minor_faults, Some(0));
        assert!(first.rss_bytes.unwrap() > 0 && first.threads.unwrap() > 0);
        let mut sum = 0u64;
        for n in 0..20_000_000u64 {
            sum = sum.wrapping_add(std::hint::black_box(n));
        }
        std::hint::black_box(sum);
        let second = tracker.update(&me, SchedSource::Proc);
        assert!(second.cpu_ns > Some(0));
        let third = tracker.update(&[], SchedSource::Proc);
        assert_eq!(third.cpu_ns, second.cpu_ns);
        assert_eq!(third.rss_bytes, None);
    }

    #[test]
    fn what_starts_while_it_is_looked_for_counts_from_its_start() {
        let pid = std::process::id();
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let start_ticks = Stat::parse(&stat).unwrap().start_ticks;
        let faults = |mut tracker: UsageTracker| tracker.update(&[pid], SchedSource::Kernel).minor_faults;
        for before in [0, 1] {
            assert!(faults(UsageTracker::watching_since(start_ticks - before)) > Some(0));
        }
        assert_eq!(faults(UsageTracker::watching_since(start_ticks + 1)), Some(0));
        let mut changed = UsageTracker::watching_since(start_ticks);
        changed.watch_anew(start_ticks + 1);
        assert_eq!(faults(changed), Some(0));
    }

    #[test]
    fn without_asking_there_is_no_cpu_figure() {
        let usage = UsageTracker::default().update(&[std::process::id()], SchedSource::Kernel);
        assert_eq!(usage.cpu_ns, None);
    }
}
