//! Processes by PID: executable, command line, cgroups, network namespace, parent. Read once per life of a process and
//! again after exec; a process that vanishes while it is read is no error.

use std::{
    collections::{HashMap, HashSet},
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use super::sockets::NetnsId;

/// One process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// Process id.
    pub pid: u32,
    /// Parent.
    pub parent: u32,
    /// Start time in clock ticks since boot: tells a reused PID apart.
    pub start_ticks: u64,
    /// Name, cut to 15 bytes by the kernel.
    pub comm: String,
    /// Executable; absent for kernel threads and without privilege.
    pub executable: Option<PathBuf>,
    /// Arguments joined by one space.
    pub command_line: String,
    /// Cgroup paths of all hierarchies.
    pub cgroups: Vec<String>,
    /// Id (inode) of its cgroup v2 directory.
    pub cgroup_id: Option<u64>,
    /// Network namespace; absent without privilege.
    pub netns: Option<NetnsId>,
}

impl Process {
    /// The systemd unit of its cgroup: the last path component that ends in `.service` or `.scope`.
    pub fn systemd_unit(&self) -> Option<&str> {
        self.cgroups.iter().find_map(|path| {
            path.rsplit('/')
                .find(|part| part.ends_with(".service") || part.ends_with(".scope"))
        })
    }

    /// Is it in `cgroup` or below?
    pub fn in_cgroup(&self, cgroup: &str) -> bool {
        let wanted = cgroup.trim_end_matches('/');
        self.cgroups.iter().any(|path| {
            path.strip_prefix(wanted)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    }

    fn read(pid: u32, cgroup_root: Option<&Path>) -> io::Result<Self> {
        let base = PathBuf::from(format!("/proc/{pid}"));
        let stat = fs::read_to_string(base.join("stat"))?;
        let stat = Stat::parse(&stat).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
        if stat.is_dead() {
            return Err(io::Error::from(io::ErrorKind::NotFound));
        }
        let command_line = fs::read(base.join("cmdline")).unwrap_or_default();
        let cgroups = parse_cgroups(&fs::read_to_string(base.join("cgroup")).unwrap_or_default());
        let unified = cgroups
            .iter()
            .find(|(controllers, _)| controllers.is_empty())
            .map(|(_, path)| path.clone());
        let cgroup_id = cgroup_root.zip(unified).and_then(|(root, path)| {
            fs::metadata(root.join(path.trim_start_matches('/')))
                .ok()
                .map(|directory| directory.ino())
        });
        Ok(Self {
            pid,
            parent: stat.parent,
            start_ticks: stat.start_ticks,
            comm: stat.comm,
            executable: fs::read_link(base.join("exe")).ok(),
            command_line: join_arguments(&command_line),
            cgroups: cgroups.into_iter().map(|(_, path)| path).collect(),
            cgroup_id,
            netns: NetnsId::of(&base.join("ns/net")).ok(),
        })
    }
}

/// What gsmon needs of `/proc/PID/stat` (proc_pid_stat(5)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Field 2, without brackets.
    pub comm: String,
    /// Field 3.
    pub state: u8,
    /// Field 4.
    pub parent: u32,
    /// Field 10.
    pub minor_faults: u64,
    /// Field 12.
    pub major_faults: u64,
    /// Fields 14 and 15, clock ticks.
    pub cpu_ticks: u64,
    /// Field 20.
    pub threads: u32,
    /// Field 22.
    pub start_ticks: u64,
    /// Field 24, pages.
    pub rss_pages: u64,
}

impl Stat {
    /// Reads the line; the name may hold spaces and brackets, so it ends at the last one.
    pub fn parse(line: &str) -> Option<Self> {
        let open = line.find('(')?;
        let close = line.rfind(')')?;
        let comm = line.get(open + 1..close)?.to_owned();
        let mut fields = line.get(close + 1..)?.split_ascii_whitespace();
        let state = *fields.next()?.as_bytes().first()?;
        let mut next = 4;
        // In the order of the line.
        let mut field = |number: usize| {
            let skipped = number - std::mem::replace(&mut next, number + 1);
            fields.nth(skipped)?.parse::<u64>().ok()
        };
        Some(Self {
            comm,
            state,
            parent: u32::try_from(field(4)?).ok()?,
            minor_faults: field(10)?,
            major_faults: field(12)?,
            cpu_ticks: field(14)?.checked_add(field(15)?)?,
            threads: u32::try_from(field(20)?).ok()?,
            start_ticks: field(22)?,
            rss_pages: field(24)?,
        })
    }
}

/// Descriptors of one process that are looked at.
const MOST_DESCRIPTORS: usize = 65_536;

/// Inodes of all sockets that a process holds; `proc` is where procfs is mounted.
pub fn socket_inodes(proc: &Path, pid: u32) -> Vec<u64> {
    let Ok(entries) = fs::read_dir(proc.join(pid.to_string()).join("fd")) else {
        return Vec::new();
    };
    entries
        .flatten()
        .take(MOST_DESCRIPTORS)
        .filter_map(|entry| {
            let target = fs::read_link(entry.path()).ok()?;
            target
                .to_str()?
                .strip_prefix("socket:[")?
                .strip_suffix(']')?
                .parse()
                .ok()
        })
        .collect()
}

impl Stat {
    /// Has it ended, and nobody has waited for it yet? A process whose first thread alone has ended goes on.
    pub fn is_dead(&self) -> bool {
        matches!(self.state, b'Z' | b'X') && self.threads <= 1
    }
}

/// Name of a thread, without its line end.
pub fn thread_name(pid: u32, tid: u32) -> Option<String> {
    let name = fs::read(format!("/proc/{pid}/task/{tid}/comm")).ok()?;
    Some(String::from_utf8_lossy(&name).trim_end_matches('\n').to_owned())
}

/// Clock ticks since boot, suspended time included, as in a process's `starttime`.
pub fn ticks_now() -> Option<u64> {
    let boot = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME).ok()?;
    let seconds = boot.tv_sec() as f64 + boot.tv_nsec() as f64 / 1e9;
    Some((seconds * procfs::ticks_per_second() as f64) as u64)
}

/// When a process started, milliseconds since the Unix epoch, from its `starttime` (clock ticks since boot, suspended
/// time included).
pub fn started_unix_ms(start_ticks: u64, now_unix_ms: i64) -> Option<i64> {
    let boot = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME).ok()?;
    let up_ms = boot.tv_sec() * 1_000 + boot.tv_nsec() / 1_000_000;
    let started_ms = (start_ticks as f64 * 1e3 / procfs::ticks_per_second() as f64) as i64;
    Some(now_unix_ms - (up_ms - started_ms).max(0))
}

fn join_arguments(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.trim_end_matches('\0').replace('\0', " ")
}

/// (controllers, path) of every line.
fn parse_cgroups(text: &str) -> Vec<(String, String)> {
    text.lines()
        .filter_map(|line| {
            let mut parts = line.splitn(3, ':');
            let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
            Some((controllers.to_owned(), path.to_owned()))
        })
        .collect()
}

/// All processes of the host.
#[derive(Debug, Default)]
pub struct ProcessTable {
    processes: HashMap<u32, Process>,
    cgroup_root: Option<PathBuf>,
    refreshes: u64,
    changes: u64,
}

/// Every so many refreshes everything is read anew: cgroups and namespaces can change without exec.
const FULL_EVERY: u64 = 30;
/// Every so many refreshes the list of processes is read although no followed one ended and none called exec: a process
/// that forks without exec is noticed then, unless a socket of its own gives it away before.
const LIST_EVERY: u64 = 5;

/// What the kernel side saw since the last refresh.
#[derive(Clone, Copy, Debug)]
pub struct Touched<'a> {
    /// Processes of the host that called exec.
    pub executed: &'a [u32],
    /// Followed processes that ended.
    pub exited: &'a [u32],
}

impl ProcessTable {
    /// An empty table; `cgroup_root` is where cgroup v2 is mounted.
    pub fn new(cgroup_root: Option<PathBuf>) -> Self {
        Self {
            processes: HashMap::new(),
            cgroup_root,
            refreshes: 0,
            changes: 0,
        }
    }

    /// Grows whenever a process is added, removed or found to be different.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Brings the table up to date. `touched` is `None` when nobody watched: then everything is read.
    pub fn refresh(&mut self, touched: Option<Touched<'_>>) {
        let full = touched.is_none() || self.refreshes.is_multiple_of(FULL_EVERY);
        let quiet = touched.is_some_and(|touched| touched.executed.is_empty() && touched.exited.is_empty());
        let list = full || !quiet || self.refreshes.is_multiple_of(LIST_EVERY);
        self.refreshes += 1;
        if list {
            let again = touched.map_or_else(HashSet::new, |touched| {
                touched.executed.iter().chain(touched.exited).copied().collect()
            });
            self.read_all(full, &again);
        }
    }

    /// Reads the list of processes now; those that are known are not read again.
    pub fn read_list(&mut self) {
        self.read_all(false, &HashSet::new());
    }

    fn read_all(&mut self, full: bool, again: &HashSet<u32>) {
        let Ok(entries) = fs::read_dir("/proc") else {
            return;
        };
        let mut seen = HashSet::new();
        for entry in entries.flatten() {
            let Some(pid) = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse::<u32>().ok())
            else {
                continue;
            };
            seen.insert(pid);
            if full || again.contains(&pid) || !self.processes.contains_key(&pid) {
                let read = Process::read(pid, self.cgroup_root.as_deref()).ok();
                if self.processes.get(&pid) != read.as_ref() {
                    self.changes += 1;
                }
                match read {
                    Some(process) => {
                        self.processes.insert(pid, process);
                    }
                    None => {
                        self.processes.remove(&pid);
                    }
                }
            }
        }
        let before = self.processes.len();
        self.processes.retain(|pid, _| seen.contains(pid));
        self.changes += u64::from(self.processes.len() != before);
    }

    /// One process.
    pub fn get(&self, pid: u32) -> Option<&Process> {
        self.processes.get(&pid)
    }

    /// All processes, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Process> {
        self.processes.values()
    }

    /// Parent to children.
    pub fn children(&self) -> HashMap<u32, Vec<u32>> {
        let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
        for process in self.iter() {
            children.entry(process.parent).or_default().push(process.pid);
        }
        children
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_known() {
        let mut table = ProcessTable::new(None);
        table.refresh(None);
        let me = table.get(std::process::id()).unwrap();
        assert_eq!(me.executable, std::env::current_exe().ok());
        assert!(me.netns.is_some() && me.start_ticks > 0);
        let now_ms = 1_800_000_000_000;
        let age_ms = now_ms - started_unix_ms(me.start_ticks, now_ms).unwrap();
        assert!((0..600_000).contains(&age_ms), "{age_ms}");
        assert_eq!(
            thread_name(std::process::id(), std::process::id()).as_deref(),
            Some(&me.comm[..])
        );
    }

    #[test]
    fn a_name_may_hold_brackets_and_spaces() {
        let tail = (3..60)
            .map(|n| if n == 3 { "S".into() } else { n.to_string() })
            .collect::<Vec<_>>()
            .join(" ");
        let stat = Stat::parse(&format!("7 (a) b (c)) {tail}")).unwrap();
        assert_eq!(stat.comm, "a) b (c)");
        assert_eq!((stat.parent, stat.threads, stat.start_ticks), (4, 20, 22));
    }

    #[test]
    fn a_process_that_nobody_waits_for_is_gone() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let mut table = ProcessTable::new(None);
        table.refresh(None);
        assert!(table.get(child.id()).is_some());
        child.kill().unwrap();
        while fs::read_to_string(format!("/proc/{}/stat", child.id()))
            .is_ok_and(|stat| !Stat::parse(&stat).unwrap().is_dead())
        {
            std::thread::yield_now();
        }
        table.refresh(Some(Touched {
            executed: &[],
            exited: &[child.id()],
        }));
        assert!(table.get(child.id()).is_none());
        child.wait().unwrap();
    }

    #[test]
    fn units_and_cgroups() {
        let process = Process {
            cgroups: vec!["/system.slice/mc.service/pod".into(), "/".into()],
            ..Process::default()
        };
        assert_eq!(process.systemd_unit(), Some("mc.service"));
        assert!(process.in_cgroup("/system.slice/mc.service") && process.in_cgroup("/system.slice/"));
        assert!(!process.in_cgroup("/system.slice/mc"));
    }

    proptest::proptest! {
        #[test]
        fn garbage_is_no_panic(text in "\\PC{0,300}") {
            let _ = (Stat::parse(&text), parse_cgroups(&text), join_arguments(text.as_bytes()));
        }
    }
}
