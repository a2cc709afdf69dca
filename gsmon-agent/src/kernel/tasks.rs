//! Draining task slots: CPU, run-queue wait and switches per server; burst rings for tick detection.
//!
//! Threads that exist when a server is found are put into slots here; those that come later inherit their server in
//! the kernel. A thread that is on a CPU at drain time may not have left it for long (a spinning thread never does):
//! the running ones, at most one per CPU, are read from /proc.

use std::{
    collections::{HashMap, HashSet},
    fs,
};

use gsmon_common::{
    limits,
    sched::{BURST_CLASSES, BURST_ENTRIES, Burst, BurstRing, TaskSlot, TaskState},
};

use super::{
    KernelError, ServerGrowth, ServerSlotId,
    object::{FreeStack, Object, PerCpu},
    slab::Slab,
};

const CHUNK: usize = 256;
/// Burst rings that one server may hold.
const RINGS_PER_SERVER: usize = 4;
/// Share of a server's CPU that earns a thread a burst ring.
const RING_SHARE: f64 = 0.02;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Free,
    Live,
    /// Final counts are read; goes back to the stack at the next drain.
    Ended,
}

#[derive(Clone, Copy)]
struct Baseline {
    generation: u32,
    life: Life,
    server: u32,
    cpu_ns: u64,
    wait_ns: u64,
    voluntary: u64,
    involuntary: u64,
    ring: u32,
    ring_head: u64,
}

impl Default for Baseline {
    fn default() -> Self {
        Self {
            generation: 0,
            life: Life::Free,
            server: 0,
            cpu_ns: 0,
            wait_ns: 0,
            voluntary: 0,
            involuntary: 0,
            ring: 0,
            ring_head: 0,
        }
    }
}

/// What a thread did in the interval.
#[derive(Clone, Debug)]
pub struct ThreadReading {
    /// Thread id.
    pub tid: u32,
    /// Process id.
    pub tgid: u32,
    /// CPU in the interval.
    pub cpu_ns: u64,
    /// Run-queue wait in the interval.
    pub wait_ns: u64,
    /// Bursts in the interval, oldest first; empty without a ring.
    pub bursts: Vec<Burst>,
    /// Bursts that were overwritten before this drain.
    pub bursts_missed: u64,
    slot: u32,
}

/// A thread that ended in the interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndedThread {
    /// Thread id.
    pub tid: u32,
    /// Process id.
    pub tgid: u32,
    /// CPU in the interval.
    pub cpu_ns: u64,
}

/// What a server's threads did in the interval.
#[derive(Clone, Debug, Default)]
pub struct ServerTasks {
    /// CPU.
    pub cpu_ns: u64,
    /// Run-queue wait.
    pub wait_ns: u64,
    /// Voluntary switches.
    pub voluntary: u64,
    /// Involuntary switches.
    pub involuntary: u64,
    /// Live threads.
    pub threads: Vec<ThreadReading>,
    /// Threads that ended.
    pub ended: Vec<EndedThread>,
}

/// From when on what a process uses is its server's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CountFrom {
    /// From when it is found: it was there before anybody looked.
    Now,
    /// From its start: it came while its server was looked for.
    ItsStart,
}

/// What a thread has used since the last drain.
#[derive(Clone, Copy)]
struct SinceDrain {
    cpu_ns: u64,
    wait_ns: u64,
}

/// The task tables.
pub struct TaskTable {
    tasks: Slab<TaskSlot>,
    tid_slots: Slab<u32>,
    rings: Slab<BurstRing>,
    current: PerCpu,
    free: FreeStack,
    baselines: Vec<Baseline>,
    /// What threads had used when they were found, where that counts, until it is taken.
    so_far: HashMap<ServerSlotId, ServerTasks>,
    free_rings: Vec<u32>,
    /// Servers of the last drain: so much room is needed again.
    servers: usize,
    /// Slots in use at the last drain.
    pub used: u64,
    /// Burst rings in use.
    pub rings_used: u64,
    /// Bursts overwritten before they were read.
    pub bursts_missed: u64,
    /// Threads that found no slot when a server was found.
    pub exhausted: u64,
}

impl TaskTable {
    /// Takes the task maps of `object` and fills the free stack.
    pub fn new(object: &mut Object) -> Result<Self, KernelError> {
        let threads = object.options.limits.threads;
        let tasks = object.slab("TASKS", threads + 1)?;
        let tid_slots = object.slab("TID_SLOTS", object.options.thread_ids)?;
        let rings = object.slab("BURSTS", limits::TICK_THREADS)?;
        let current = object.take("CURRENT")?;
        let mut free: FreeStack = object.take("TASK_FREE")?;
        for slot in (1..=threads).rev() {
            free.push(slot, 0).map_err(|source| KernelError::Map {
                name: "TASK_FREE",
                source,
            })?;
        }
        Ok(Self {
            tasks,
            tid_slots,
            rings,
            current,
            free,
            baselines: vec![Baseline::default(); CHUNK],
            so_far: HashMap::new(),
            free_rings: (1..limits::TICK_THREADS).rev().collect(),
            servers: 0,
            used: 0,
            rings_used: 0,
            bursts_missed: 0,
            exhausted: 0,
        })
    }

    /// Follows every thread of `pid` for `server`. Threads that are followed already keep their counts and change
    /// server if need be. Repeats until no new thread shows up, a bounded number of times.
    pub fn follow(&mut self, pid: u32, server: ServerSlotId, from: CountFrom) {
        let known = self.tid_slots.get(pid as usize).is_some_and(|slot| slot != 0);
        for _ in 0..4 {
            let mut found_new = false;
            let Ok(entries) = fs::read_dir(format!("/proc/{pid}/task")) else {
                return;
            };
            for entry in entries.flatten() {
                let Some(tid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
                    continue;
                };
                found_new |= self.follow_thread(pid, tid, server, from);
            }
            if !found_new {
                break;
            }
        }
        if from == CountFrom::ItsStart && !known {
            self.so_far.entry(server).or_default().cpu_ns += ended_threads_cpu(pid);
        }
    }

    /// What threads that were followed since the last call had used since their start.
    pub fn take_so_far(&mut self) -> HashMap<ServerSlotId, ServerTasks> {
        std::mem::take(&mut self.so_far)
    }

    fn follow_thread(&mut self, pid: u32, tid: u32, server: ServerSlotId, from: CountFrom) -> bool {
        let Some(slot) = self.tid_slots.get(tid as usize) else {
            return false;
        };
        if slot != 0 {
            let index = slot as usize;
            // SAFETY: projects a field of the value that the slab passes.
            let now = self
                .tasks
                .read_field(index, |task| unsafe { &raw mut (*task).server });
            if now != Some(server.0) {
                // SAFETY: as above.
                self.tasks
                    .write_field(index, |task| unsafe { &raw mut (*task).server }, server.0);
            }
            return false;
        }
        let Some(before) = ProcThread::read(pid, tid) else {
            return false;
        };
        let Ok(slot) = self.free.pop(0) else {
            self.exhausted += 1;
            return false;
        };
        let index = slot as usize;
        let Some(old) = self.tasks.get(index) else {
            return false;
        };
        let generation = old.generation.wrapping_add(1);
        self.tasks.set(
            index,
            TaskSlot {
                cpu_ns: before.cpu_ns,
                run_queue_wait_ns: before.wait_ns,
                voluntary_switches: before.voluntary,
                involuntary_switches: before.involuntary,
                tid,
                tgid: pid,
                server: server.0,
                generation,
                state: TaskState::Live as u32,
                burst_ring: 0,
                burst_cpu_ns: before.cpu_ns,
                bursts: [0; BURST_CLASSES],
            },
        );
        if from == CountFrom::ItsStart {
            let so_far = self.so_far.entry(server).or_default();
            so_far.cpu_ns += before.cpu_ns;
            so_far.wait_ns += before.wait_ns;
            so_far.voluntary += before.voluntary;
            so_far.involuntary += before.involuntary;
        }
        self.reserve(index);
        self.baselines[index] = Baseline {
            generation,
            life: Life::Live,
            server: server.0,
            cpu_ns: before.cpu_ns,
            wait_ns: before.wait_ns,
            voluntary: before.voluntary,
            involuntary: before.involuntary,
            ring: 0,
            ring_head: 0,
        };
        self.tid_slots.set(tid as usize, slot);
        // It may have ended between the two: then no switch-out will ever come.
        if !std::path::Path::new(&format!("/proc/{pid}/task/{tid}")).exists()
            && self.tid_slots.get(tid as usize) == Some(slot)
        {
            self.tid_slots.set(tid as usize, 0);
            self.end(index);
        }
        true
    }

    /// How often a value was asked for whose part of a table could not be mapped.
    pub fn refused(&self) -> u64 {
        self.tasks.refused() + self.tid_slots.refused() + self.rings.refused()
    }

    fn end(&self, index: usize) {
        // SAFETY: projects a field of the value that the slab passes.
        self.tasks.write_field(
            index,
            |task| unsafe { &raw mut (*task).state },
            TaskState::Dead as u32,
        );
    }

    fn reserve(&mut self, index: usize) {
        if index >= self.baselines.len() {
            self.baselines
                .resize((index + 1).next_multiple_of(CHUNK), Baseline::default());
        }
    }

    /// Reads every slot that was ever used. `is_gone` names servers that are no longer followed.
    pub fn drain(&mut self, is_gone: impl Fn(ServerSlotId) -> bool) -> HashMap<ServerSlotId, ServerTasks> {
        let running = self.running();
        let mut servers: HashMap<ServerSlotId, ServerTasks> = HashMap::with_capacity(self.servers);
        self.used = 0;
        let mut start = 0;
        while start < self.tasks.len() {
            let end = (start + CHUNK).min(self.tasks.len());
            self.reserve(end - 1);
            let mut ever_used = false;
            for index in start..end {
                let Some(task) = self.tasks.get(index) else { break };
                if task.generation == 0 {
                    continue;
                }
                ever_used = true;
                self.drain_slot(index, task, &running, &is_gone, &mut servers);
            }
            if !ever_used {
                break;
            }
            start = end;
        }
        for tasks in servers.values_mut() {
            self.share_rings(tasks);
        }
        self.servers = servers.len();
        servers
    }

    /// Adds what the threads of some servers have used since the last drain.
    pub fn peek(&self, servers: &mut HashMap<ServerSlotId, ServerGrowth>) {
        for (server, used) in &self.so_far {
            if let Some(growth) = servers.get_mut(server) {
                growth.cpu_ns += used.cpu_ns;
                growth.wait_ns += used.wait_ns;
            }
        }
        let wanted: HashSet<ServerSlotId> = servers.keys().copied().collect();
        self.each_since_drain(
            |server| wanted.contains(&server),
            |task, used| {
                if let Some(growth) = servers.get_mut(&ServerSlotId(task.server)) {
                    growth.cpu_ns += used.cpu_ns;
                    growth.wait_ns += used.wait_ns;
                }
            },
        );
    }

    /// What each thread of a server has used since the last drain, without its bursts.
    pub fn peek_threads(&self, server: ServerSlotId) -> ServerTasks {
        let mut tasks = ServerTasks::default();
        self.each_since_drain(
            |of| of == server,
            |task, used| {
                let (tid, tgid, cpu_ns) = (task.tid, task.tgid, used.cpu_ns);
                tasks.cpu_ns += cpu_ns;
                tasks.wait_ns += used.wait_ns;
                if task.state != TaskState::Live as u32 {
                    tasks.ended.push(EndedThread { tid, tgid, cpu_ns });
                    return;
                }
                tasks.threads.push(ThreadReading {
                    tid,
                    tgid,
                    cpu_ns,
                    wait_ns: used.wait_ns,
                    bursts: Vec::new(),
                    bursts_missed: 0,
                    slot: 0,
                });
            },
        );
        tasks
    }

    /// Hands over every thread of the servers that are wanted, and what it has used since the last drain.
    fn each_since_drain(
        &self,
        wanted: impl Fn(ServerSlotId) -> bool,
        mut take: impl FnMut(&TaskSlot, SinceDrain),
    ) {
        let running = self.running();
        let mut start = 0;
        while start < self.tasks.len() {
            let end = (start + CHUNK).min(self.tasks.len());
            let mut ever_used = false;
            for index in start..end {
                let Some(mut task) = self.tasks.get(index) else {
                    break;
                };
                if task.generation == 0 {
                    continue;
                }
                ever_used = true;
                let base = self.baselines.get(index).copied().unwrap_or_default();
                let new = base.generation != task.generation;
                if (!new && base.life != Life::Live) || !wanted(ServerSlotId(task.server)) {
                    continue;
                }
                let (cpu_before, wait_before) = if new { (0, 0) } else { (base.cpu_ns, base.wait_ns) };
                refresh_running(&mut task, &running);
                let used = SinceDrain {
                    cpu_ns: task.cpu_ns.saturating_sub(cpu_before),
                    wait_ns: task.run_queue_wait_ns.saturating_sub(wait_before),
                };
                take(&task, used);
            }
            if !ever_used {
                break;
            }
            start = end;
        }
    }

    /// Threads on a CPU right now, as far as sched_switch has seen.
    fn running(&self) -> Vec<u32> {
        self.current
            .get(&0, 0)
            .map(|values| values.iter().copied().filter(|tid| *tid != 0).collect())
            .unwrap_or_default()
    }

    fn drain_slot(
        &mut self,
        index: usize,
        mut task: TaskSlot,
        running: &[u32],
        is_gone: &impl Fn(ServerSlotId) -> bool,
        servers: &mut HashMap<ServerSlotId, ServerTasks>,
    ) {
        if self.baselines[index].generation != task.generation {
            // A thread that was forked from a followed one: its totals began at zero.
            let ring = self.baselines[index].ring;
            self.release_ring(ring);
            self.baselines[index] = Baseline {
                generation: task.generation,
                life: Life::Live,
                server: task.server,
                ..Baseline::default()
            };
        }
        match self.baselines[index].life {
            Life::Free => return,
            Life::Ended => {
                self.baselines[index].life = Life::Free;
                if self.free.push(index as u32, 0).is_err() {
                    tracing::warn!("a task slot could not be given back");
                }
                return;
            }
            Life::Live => {}
        }
        self.used += 1;
        let alive = task.state == TaskState::Live as u32;
        refresh_running(&mut task, running);
        let base = &mut self.baselines[index];
        let cpu_ns = task.cpu_ns.saturating_sub(base.cpu_ns);
        let tasks = servers.entry(ServerSlotId(task.server)).or_default();
        tasks.cpu_ns += cpu_ns;
        let wait_ns = task.run_queue_wait_ns.saturating_sub(base.wait_ns);
        tasks.wait_ns += wait_ns;
        tasks.voluntary += task.voluntary_switches.saturating_sub(base.voluntary);
        tasks.involuntary += task.involuntary_switches.saturating_sub(base.involuntary);
        base.cpu_ns = base.cpu_ns.max(task.cpu_ns);
        base.wait_ns = base.wait_ns.max(task.run_queue_wait_ns);
        base.voluntary = base.voluntary.max(task.voluntary_switches);
        base.involuntary = base.involuntary.max(task.involuntary_switches);
        base.server = task.server;
        if !alive {
            tasks.ended.push(EndedThread {
                tid: task.tid,
                tgid: task.tgid,
                cpu_ns,
            });
            base.life = Life::Ended;
            let ring = std::mem::take(&mut base.ring);
            self.release_ring(ring);
            return;
        }
        if is_gone(ServerSlotId(task.server)) {
            if self.tid_slots.get(task.tid as usize) == Some(index as u32) {
                self.tid_slots.set(task.tid as usize, 0);
            }
            self.end(index);
            return;
        }
        let (bursts, bursts_missed) = self.read_ring(index);
        servers
            .entry(ServerSlotId(task.server))
            .or_default()
            .threads
            .push(ThreadReading {
                tid: task.tid,
                tgid: task.tgid,
                cpu_ns,
                wait_ns,
                bursts,
                bursts_missed,
                slot: index as u32,
            });
    }

    fn read_ring(&mut self, index: usize) -> (Vec<Burst>, u64) {
        let base = &mut self.baselines[index];
        let ring = base.ring as usize;
        if ring == 0 {
            return (Vec::new(), 0);
        }
        // SAFETY: projects a field of the value that the slab passes.
        let Some(head) = self
            .rings
            .read_field(ring, |ring| unsafe { &raw mut (*ring).head })
        else {
            return (Vec::new(), 0);
        };
        let new = head.saturating_sub(base.ring_head);
        // The oldest entry may be overwritten while it is read: leave a little room.
        let readable = new.min(BURST_ENTRIES as u64 - 8);
        let missed = new - readable;
        let mut bursts = Vec::with_capacity(readable as usize);
        for number in head - readable..head {
            let position = (number % BURST_ENTRIES as u64) as usize;
            // SAFETY: projects an element inside the array of the value that the slab passes.
            let burst = self.rings.read_field(ring, |ring| unsafe {
                (&raw mut (*ring).bursts).cast::<Burst>().add(position)
            });
            bursts.extend(burst);
        }
        base.ring_head = head;
        self.bursts_missed += missed;
        (bursts, missed)
    }

    /// Gives rings to the threads of a server that do its work: main threads and those with a share of the CPU.
    fn share_rings(&mut self, tasks: &mut ServerTasks) {
        let held = tasks
            .threads
            .iter()
            .filter(|thread| self.baselines[thread.slot as usize].ring != 0)
            .count();
        if held >= RINGS_PER_SERVER {
            return;
        }
        let whole = tasks.cpu_ns as f64;
        let mut wanting: Vec<&ThreadReading> = tasks
            .threads
            .iter()
            .filter(|thread| self.baselines[thread.slot as usize].ring == 0)
            .filter(|thread| thread.tid == thread.tgid || thread.cpu_ns as f64 > RING_SHARE * whole)
            .filter(|thread| thread.cpu_ns > 0)
            .collect();
        wanting.sort_unstable_by_key(|thread| std::cmp::Reverse(thread.cpu_ns));
        let slots: Vec<u32> = wanting.iter().map(|thread| thread.slot).collect();
        for (slot, held) in slots.into_iter().zip(held..) {
            // The last quarter is kept for servers that have none yet.
            let scarce = self.free_rings.len() < limits::TICK_THREADS as usize / 4;
            if held >= RINGS_PER_SERVER || (scarce && held > 0) {
                return;
            }
            let Some(ring) = self.free_rings.pop() else { return };
            self.give_ring(slot as usize, ring);
        }
    }

    fn give_ring(&mut self, index: usize, ring: u32) {
        let at = ring as usize;
        // SAFETY: projects fields of the values that the slabs pass; nobody writes a ring that no thread names.
        unsafe {
            let wait = self
                .tasks
                .read_field(index, |task| &raw mut (*task).run_queue_wait_ns)
                .unwrap_or(0);
            self.rings
                .write_field(at, |ring| &raw mut (*ring).wait_total_ns, wait);
            let head = self
                .rings
                .read_field(at, |ring| &raw mut (*ring).head)
                .unwrap_or(0);
            self.baselines[index].ring = ring;
            self.baselines[index].ring_head = head;
            self.tasks
                .write_field(index, |task| &raw mut (*task).burst_ring, ring);
        }
        self.rings_used += 1;
    }

    fn release_ring(&mut self, ring: u32) {
        if ring != 0 {
            self.rings_used -= 1;
            self.free_rings.push(ring);
        }
    }
}

/// A thread that runs has not been switched out for a while.
fn refresh_running(task: &mut TaskSlot, running: &[u32]) {
    if task.state == TaskState::Live as u32
        && running.contains(&task.tid)
        && let Some((cpu_ns, wait_ns)) = ProcThread::read_schedstat(task.tgid, task.tid)
    {
        task.cpu_ns = task.cpu_ns.max(cpu_ns);
        task.run_queue_wait_ns = task.run_queue_wait_ns.max(wait_ns);
    }
}

/// CPU of the threads of a process that have ended: what the process has used beyond what its threads have. The process
/// counts in clock ticks, so that a few of them mean nothing.
fn ended_threads_cpu(pid: u32) -> u64 {
    let total = i32::try_from(pid)
        .ok()
        .and_then(|pid| procfs::process::Process::new(pid).ok()?.stat().ok())
        .map_or(0, |stat| stat.utime + stat.stime);
    let tick_ns = 1_000_000_000 / procfs::ticks_per_second().max(1);
    let living: u64 = fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|tid| ProcThread::read_schedstat(pid, tid))
        .map(|(cpu_ns, _)| cpu_ns)
        .sum();
    let ended = (total * tick_ns).saturating_sub(living);
    if ended > 3 * tick_ns { ended } else { 0 }
}

/// Totals of a thread from /proc.
struct ProcThread {
    cpu_ns: u64,
    wait_ns: u64,
    voluntary: u64,
    involuntary: u64,
}

impl ProcThread {
    fn read(pid: u32, tid: u32) -> Option<Self> {
        let (cpu_ns, wait_ns) = Self::read_schedstat(pid, tid)?;
        let status = fs::read_to_string(format!("/proc/{pid}/task/{tid}/status")).ok()?;
        let field = |name: &str| {
            status
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .and_then(|value| value.trim().parse().ok())
        };
        Some(Self {
            cpu_ns,
            wait_ns,
            voluntary: field("voluntary_ctxt_switches:")?,
            involuntary: field("nonvoluntary_ctxt_switches:")?,
        })
    }

    /// CPU and run-queue wait.
    fn read_schedstat(pid: u32, tid: u32) -> Option<(u64, u64)> {
        let text = fs::read_to_string(format!("/proc/{pid}/task/{tid}/schedstat")).ok()?;
        let mut fields = text.split_ascii_whitespace().map(|field| field.parse().ok());
        Some((fields.next()??, fields.next()??))
    }
}
