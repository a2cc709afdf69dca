//! The agent's side: starts workers where they are needed, asks them, ends those that hang, died or are not used.
//!
//! A worker serves one question at a time, so there are never more than threads that ask. Failures are bounded in
//! time, so that servers that kill workers do not make the agent start processes without end.

use std::{
    collections::VecDeque,
    io::{self, Read, Write},
    net::Shutdown,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use nix::{
    sys::wait::{Id, WaitPidFlag, WaitStatus, waitid},
    unistd::Pid,
};

use super::{
    super::{QueryError, wire::Deadline},
    ask::{Ask, Conversation, converse},
    relay::{Relay, Step},
    speech::{Question, REPLY_BYTES, Reply},
};

/// The program that serves as worker.
static PROGRAM: OnceLock<PathBuf> = OnceLock::new();

/// Says which program is started, with `query-worker` as its argument, to ask through gamedig: it must call
/// [`serve`](super::serve). `gsmon` says itself; a program that uses the library names an installed `gsmon`. The first word
/// counts.
pub fn worker_program(program: PathBuf) {
    let _ = PROGRAM.set(program);
}

/// Questions that one worker answers before another takes its place.
const MOST_QUESTIONS: u32 = 2_000;
/// A worker that has had nothing to do for so long is ended.
const UNUSED: Duration = Duration::from_secs(60);
/// Workers that may fail within [`FAILURES_TIME`] before no other is started for a while.
const MOST_FAILURES: usize = 30;
const FAILURES_TIME: Duration = Duration::from_secs(60);
/// What a worker gets beyond the question's time to say how it went.
pub(super) const GRACE: Duration = Duration::from_millis(500);

/// Counters of all workers, and what those cost that live.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct WorkerStatistics {
    /// Workers that live.
    pub live: u64,
    /// Workers started since the agent's start.
    pub started: u64,
    /// Workers that died on a question.
    pub died: u64,
    /// Workers that did not reply in time and were killed.
    pub hung: u64,
    /// CPU seconds of all of them.
    pub cpu_seconds: f64,
    /// Resident memory of those that live, pages shared with the agent included.
    pub rss_bytes: u64,
}

/// All workers.
#[derive(Debug)]
pub(in super::super) struct Pool {
    /// None: what [`worker_program`] said.
    program: Option<PathBuf>,
    arguments: Vec<String>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    idle: Vec<Worker>,
    /// Processes of those that are asked right now.
    busy: Vec<u32>,
    failures: VecDeque<Instant>,
    ended_cpu_seconds: f64,
    started: u64,
    died: u64,
    hung: u64,
}

#[derive(Debug)]
pub(super) struct Worker {
    child: Child,
    stream: UnixStream,
    questions: u32,
    since: Instant,
}

/// How a worker failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Died,
    Hung,
}

impl Pool {
    /// Workers are what [`worker_program`] said; none is started before it is needed.
    pub(in super::super) fn new() -> Self {
        Self {
            program: None,
            arguments: vec!["query-worker".to_owned()],
            state: Mutex::default(),
        }
    }

    /// Workers are `program`, which must call [`serve`](super::serve).
    #[cfg(test)]
    pub(in super::super) fn of(program: PathBuf, arguments: Vec<String>) -> Self {
        Self {
            program: Some(program),
            arguments,
            state: Mutex::default(),
        }
    }

    /// Asks once.
    pub(in super::super) fn ask(&self, question: &Ask<'_>, deadline: Deadline) -> Conversation {
        let worker = self.program().and_then(|program| self.worker(program, deadline));
        let mut worker = match worker {
            Ok(worker) => worker,
            Err(error) => return Conversation::failed(error),
        };
        match converse(&mut worker, question, deadline) {
            Ok(conversation) => {
                self.give_back(worker);
                conversation
            }
            Err(end) => {
                self.bury(worker, Some(end));
                Conversation::failed(QueryError::Worker(
                    match end {
                        End::Died => "what the server answers made the query worker die; it is replaced",
                        End::Hung => "what the server answers made the query worker hang; it is replaced",
                    }
                    .to_owned(),
                ))
            }
        }
    }

    fn program(&self) -> Result<&Path, QueryError> {
        let program = self.program.as_ref().or(PROGRAM.get());
        program.map(PathBuf::as_path).ok_or_else(|| {
            QueryError::Settings(
                "this program has not said which program asks through gamedig (games::query::worker_program)"
                    .to_owned(),
            )
        })
    }

    /// Counters, and what workers cost. Ends those that nobody uses.
    pub(in super::super) fn statistics(&self) -> WorkerStatistics {
        let unused = self.lock().take_unused(Instant::now());
        for worker in unused {
            self.bury(worker, None);
        }
        let state = self.lock();
        let pids = state.idle.iter().map(|worker| worker.child.id());
        let pids: Vec<u32> = pids.chain(state.busy.iter().copied()).collect();
        let costs = pids.iter().filter_map(|pid| cost(*pid));
        let (cpu_seconds, rss_bytes) = costs.fold((state.ended_cpu_seconds, 0), |sum, one| {
            (sum.0 + one.0, sum.1 + one.1)
        });
        WorkerStatistics {
            live: pids.len() as u64,
            started: state.started,
            died: state.died,
            hung: state.hung,
            cpu_seconds,
            rss_bytes,
        }
    }

    /// Processes of the workers that wait.
    #[cfg(test)]
    pub(super) fn pids(&self) -> Vec<u32> {
        self.lock().idle.iter().map(|worker| worker.child.id()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A worker that waits in this namespace, or a new one.
    fn worker(&self, program: &Path, deadline: Deadline) -> Result<Worker, QueryError> {
        let now = Instant::now();
        let mut state = self.lock();
        let ended = state.take_unused(now);
        let found = state.idle.pop();
        if let Some(worker) = &found {
            state.busy.push(worker.child.id());
        } else {
            while state
                .failures
                .front()
                .is_some_and(|failure| now.duration_since(*failure) > FAILURES_TIME)
            {
                state.failures.pop_front();
            }
            if state.failures.len() >= MOST_FAILURES {
                drop(state);
                ended.into_iter().for_each(|worker| self.bury(worker, None));
                return Err(QueryError::Worker(format!(
                    "{MOST_FAILURES} query workers failed within a minute, so none is started for now: a server's answers \
                     kill them; see gsmon_server_queries_total{{result=\"worker\"}}"
                )));
            }
            state.started += 1;
        }
        drop(state);
        ended.into_iter().for_each(|worker| self.bury(worker, None));
        match found {
            Some(worker) => Ok(worker),
            None => self.start(program, deadline),
        }
    }

    fn start(&self, program: &Path, deadline: Deadline) -> Result<Worker, QueryError> {
        let cannot = |error: io::Error| QueryError::Worker(format!("cannot start a query worker: {error}"));
        let (ours, theirs) = UnixStream::pair().map_err(cannot)?;
        let child = Command::new(program)
            .args(&self.arguments)
            .env_clear()
            .current_dir("/")
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(cannot)?;
        self.lock().busy.push(child.id());
        let mut worker = Worker {
            child,
            stream: ours,
            questions: 0,
            since: Instant::now(),
        };
        let end = Instant::now() + deadline.left().unwrap_or_default() + GRACE;
        match worker.greeting(end) {
            Ok(Reply::Ready) => Ok(worker),
            Ok(Reply::Cannot(why)) => {
                self.bury(worker, None);
                Err(QueryError::Settings(format!(
                    "the query worker {why}: the agent needs CAP_SETUID, CAP_SETGID and CAP_KILL, or no privilege at all"
                )))
            }
            Ok(_) => {
                self.bury(worker, Some(End::Died));
                Err(QueryError::Worker(
                    "the query worker speaks out of turn".to_owned(),
                ))
            }
            Err(end) => {
                self.bury(worker, Some(end));
                Err(QueryError::Worker("the query worker does not start".to_owned()))
            }
        }
    }

    fn give_back(&self, mut worker: Worker) {
        if worker.questions >= MOST_QUESTIONS {
            return self.bury(worker, None);
        }
        worker.since = Instant::now();
        let mut state = self.lock();
        state.busy.retain(|pid| *pid != worker.child.id());
        state.idle.push(worker);
    }

    /// Kills, reads what it cost, and reaps.
    fn bury(&self, mut worker: Worker, end: Option<End>) {
        let pid = worker.child.id();
        // It ends by itself when the agent hangs up, unless it cannot.
        let _ = worker.stream.shutdown(Shutdown::Both);
        let killed = worker.child.kill();
        let dead = await_death(pid);
        let cpu_seconds = cost(pid).map_or(0.0, |(cpu_seconds, _)| cpu_seconds);
        let mut state = self.lock();
        state.busy.retain(|busy| *busy != pid);
        state.ended_cpu_seconds += cpu_seconds;
        match end {
            Some(End::Died) => state.died += 1,
            Some(End::Hung) => state.hung += 1,
            None => {}
        }
        if end.is_some() {
            state.failures.push_back(Instant::now());
        }
        drop(state);
        match (dead, killed) {
            (true, _) => {
                let _ = worker.child.wait();
            }
            (false, killed) => tracing::error!(
                pid,
                error = killed.err().map(tracing::field::display),
                "a query worker does not end: the agent needs CAP_KILL to kill it"
            ),
        }
    }
}

/// Waits for a process to be dead; it stays to be reaped, so that its times can still be read. False after a second.
fn await_death(pid: u32) -> bool {
    let Ok(pid) = i32::try_from(pid) else {
        return false;
    };
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT | WaitPidFlag::WNOHANG;
    for _ in 0..500 {
        match waitid(Id::Pid(Pid::from_raw(pid)), flags) {
            Ok(WaitStatus::StillAlive) | Err(nix::Error::EINTR) => {}
            _ => return true,
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    false
}

impl Drop for Pool {
    fn drop(&mut self) {
        let idle = std::mem::take(&mut self.lock().idle);
        for worker in idle {
            self.bury(worker, None);
        }
    }
}

impl State {
    fn take_unused(&mut self, now: Instant) -> Vec<Worker> {
        self.idle
            .extract_if(.., |worker| now.duration_since(worker.since) > UNUSED)
            .collect()
    }
}

impl Worker {
    /// Puts a question, and carries its bytes until the reply is there, `end` at most.
    pub(super) fn ask(&mut self, question: &Question, relay: &mut Relay, end: Instant) -> Result<Reply, End> {
        self.questions += 1;
        let mut line = serde_json::to_vec(question).map_err(|_| End::Died)?;
        line.push(b'\n');
        self.stream.write_all(&line).map_err(|_| End::Died)?;
        let mut reply = Vec::new();
        while Instant::now() < end {
            match relay.step(self.stream.as_fd(), end) {
                Ok(Step::Carried) => {}
                Ok(Step::Worker) => {
                    if let Some(reply) = self.read(&mut reply)? {
                        return Ok(reply);
                    }
                }
                Err(_) => break,
            }
        }
        Err(End::Hung)
    }

    /// The first word of a new worker.
    fn greeting(&mut self, end: Instant) -> Result<Reply, End> {
        let mut reply = Vec::new();
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(End::Hung);
            }
            self.stream.set_read_timeout(Some(left)).map_err(|_| End::Died)?;
            if let Some(reply) = self.read(&mut reply)? {
                return Ok(reply);
            }
        }
    }

    /// Reads what is there; the reply once its line is whole.
    fn read(&mut self, line: &mut Vec<u8>) -> Result<Option<Reply>, End> {
        let mut buffer = [0; 16_384];
        match self.stream.read(&mut buffer) {
            Ok(0) => return Err(End::Died),
            Ok(length) => line.extend_from_slice(&buffer[..length]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(End::Hung),
            Err(_) => return Err(End::Died),
        }
        if line.last() == Some(&b'\n') {
            return serde_json::from_slice(line).map(Some).map_err(|_| End::Died);
        }
        if line.len() > REPLY_BYTES {
            return Err(End::Died);
        }
        Ok(None)
    }
}

/// CPU seconds and resident bytes of a process; of a dead one that is not reaped, the seconds.
fn cost(pid: u32) -> Option<(f64, u64)> {
    let stat = procfs::process::Process::new(i32::try_from(pid).ok()?)
        .ok()?
        .stat()
        .ok()?;
    let ticks = (stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64;
    Some((ticks, stat.rss * procfs::page_size()))
}
