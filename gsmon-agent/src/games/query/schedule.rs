//! When which server is asked, and by whom: a few threads, a queue by due time, back-off for who does not answer.
//!
//! A question holds a thread for its timeout at most. Servers that have not answered lately never hold all threads, so
//! they delay those that do by no more than other answering servers take. Reports go to a sink on these threads; a sink
//! must not wait, and says when it could not take a report.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

pub use super::report::{Delivery, QueryReport, QueryStatistics, QueryTarget, bounded};
use super::{
    QueryAnswer, QueryError, StatedRoundTrips, WorkerStatistics,
    boxed::Pool,
    reader::{self, Asked, Memory, OwnReason, Reader},
    wire,
};
use crate::config::QueryProtocol;

/// Threads that ask.
const WORKERS: usize = 4;
/// How many of them may ask servers that have not answered lately.
const WORKERS_FOR_DOUBTFUL: usize = WORKERS - 1;
/// Longest pause between two questions to a server that does not answer, unless its interval is longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// Shortest and longest interval that is kept.
const INTERVALS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(86_400));
/// Servers that are new at one time are asked one after the other.
const STAGGER: Duration = Duration::from_millis(5);
/// How long a shutdown waits for questions under way; they end on their own later and are not reported.
const SHUTDOWN: Duration = Duration::from_millis(800);

/// Asks all servers until it is dropped.
#[derive(Debug)]
pub struct Queries {
    shared: Arc<Shared>,
    pool: Arc<Pool>,
    workers: Vec<JoinHandle<()>>,
}

type Sink = Box<dyn Fn(QueryReport) -> Delivery + Send + Sync>;
type Asker = Box<dyn Fn(&QueryTarget, Option<OwnReason>) -> Asked + Send + Sync>;

struct Shared {
    state: Mutex<State>,
    /// Something is due sooner, or it ends.
    changed: Condvar,
    /// A worker has ended.
    ended: Condvar,
    sink: Sink,
    asker: Asker,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct State {
    servers: HashMap<Arc<str>, Entry>,
    /// Servers that answered the last question, and all others; entries of another generation are stale.
    sound: BinaryHeap<Reverse<Due>>,
    doubtful: BinaryHeap<Reverse<Due>>,
    asking_doubtful: usize,
    generation: u64,
    /// Until when the worker that watches the clock sleeps.
    watched: Option<Instant>,
    workers: usize,
    stopping: bool,
}

#[derive(Debug)]
struct Entry {
    target: Arc<QueryTarget>,
    generation: u64,
    before: Option<QueryAnswer>,
    statistics: QueryStatistics,
    /// Who is to read its answers.
    memory: Memory,
    /// Has it answered the last question?
    sound: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Due {
    at: Instant,
    generation: u64,
    server: Arc<str>,
}

struct Job {
    due: Due,
    target: Arc<QueryTarget>,
    own: Option<OwnReason>,
    doubtful: bool,
}

enum Next {
    Ask(Job),
    WaitUntil(Instant),
    Wait,
}

impl Queries {
    /// Starts the threads; nobody is asked before [`set`](Self::set). Fails where the system has no thread left.
    pub fn new(sink: impl Fn(QueryReport) -> Delivery + Send + Sync + 'static) -> io::Result<Self> {
        Self::with_pool(sink, Pool::new())
    }

    fn with_pool(
        sink: impl Fn(QueryReport) -> Delivery + Send + Sync + 'static,
        pool: Pool,
    ) -> io::Result<Self> {
        let pool = Arc::new(pool);
        let asked = pool.clone();
        Self::start(
            Box::new(sink),
            Box::new(move |target, own| reader::ask(target, own, &asked)),
            pool,
        )
    }

    fn start(sink: Sink, asker: Asker, pool: Arc<Pool>) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            changed: Condvar::new(),
            ended: Condvar::new(),
            sink,
            asker,
        });
        let mut queries = Self {
            shared: shared.clone(),
            pool,
            workers: Vec::new(),
        };
        for _ in 0..WORKERS {
            let shared = shared.clone();
            let worker = std::thread::Builder::new()
                .name("gsmon-query".to_owned())
                .spawn(move || shared.work())?;
            queries.workers.push(worker);
        }
        Ok(queries)
    }

    /// Whom to ask from now on. Servers whose target is as before go on undisturbed, but another process may be read by
    /// another reader; one target per name.
    pub fn set(&self, targets: Vec<QueryTarget>) {
        let mut state = self.shared.lock();
        let mut servers = std::mem::take(&mut state.servers);
        let mut at = Instant::now();
        for target in targets
            .into_iter()
            .filter(|target| target.protocol != QueryProtocol::Off)
        {
            let name = target.server.clone();
            let entry = match servers.remove(&name) {
                Some(entry) if *entry.target == target => entry,
                Some(entry) if entry.target.asks_the_same(&target) => Entry {
                    target: Arc::new(target),
                    memory: Memory::default(),
                    ..entry
                },
                changed => {
                    state.generation += 1;
                    let generation = state.generation;
                    state.doubtful.push(Reverse(Due {
                        at,
                        generation,
                        server: name.clone(),
                    }));
                    at += STAGGER;
                    Entry {
                        target: Arc::new(target),
                        generation,
                        before: None,
                        memory: Memory::default(),
                        statistics: changed.map(|entry| entry.statistics).unwrap_or_default(),
                        sound: false,
                    }
                }
            };
            state.servers.insert(name, entry);
        }
        state.forget_stale();
        self.shared.changed.notify_all();
    }

    /// Counters of all servers that are asked, in no order.
    pub fn statistics(&self) -> Vec<(Arc<str>, QueryStatistics)> {
        let state = self.shared.lock();
        state
            .servers
            .iter()
            .map(|(name, entry)| (name.clone(), entry.statistics))
            .collect()
    }

    /// Round trips of players as the newest answers tell them, by server; of servers that have answered lately.
    pub fn player_round_trips(&self) -> Vec<(Arc<str>, StatedRoundTrips)> {
        let state = self.shared.lock();
        let told = state.servers.iter().filter(|(_, entry)| entry.sound);
        told.filter_map(|(name, entry)| {
            let stated = &entry.before.as_ref()?.player_round_trips;
            (!stated.is_empty()).then(|| (name.clone(), stated.clone()))
        })
        .collect()
    }

    /// How the processes do that ask through gamedig. Ends those that have had nothing to do for a minute.
    pub fn workers(&self) -> WorkerStatistics {
        self.pool.statistics()
    }
}

impl Drop for Queries {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.stopping = true;
        self.shared.changed.notify_all();
        let end = Instant::now() + SHUTDOWN;
        while state.workers > 0 {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                // They hold nothing but their socket, and end at their timeout.
                return;
            }
            state = self
                .shared
                .ended
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        drop(state);
        for worker in self.workers.drain(..) {
            let _ = worker.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        let mut state = self.lock();
        state.workers += 1;
        while !state.stopping {
            match state.next(Instant::now()) {
                Next::Ask(job) => {
                    // Somebody else watches the clock now.
                    self.changed.notify_one();
                    drop(state);
                    let asked = catch_unwind(AssertUnwindSafe(|| (self.asker)(&job.target, job.own)))
                        .unwrap_or(Asked {
                            result: Err(QueryError::Panicked),
                            reader: Reader::Gsmon(OwnReason::Protocol),
                            lesson: None,
                        });
                    state = self.lock();
                    if let Some(report) = state.settle(&job, asked, Instant::now()) {
                        drop(state);
                        let server = report.server.clone();
                        let delivery = catch_unwind(AssertUnwindSafe(|| (self.sink)(report)));
                        state = self.lock();
                        if !matches!(delivery, Ok(Delivery::Taken)) {
                            state.lost(&server);
                        }
                    }
                }
                Next::WaitUntil(at) if state.watched.is_none_or(|until| at < until) => {
                    state.watched = Some(at);
                    let left = at.saturating_duration_since(Instant::now());
                    state = self
                        .changed
                        .wait_timeout(state, left)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0;
                    if state.watched == Some(at) {
                        state.watched = None;
                    }
                }
                Next::WaitUntil(_) | Next::Wait => {
                    state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
        state.workers -= 1;
        self.ended.notify_all();
    }
}

impl State {
    fn current(&self, due: &Due) -> bool {
        self.servers
            .get(&due.server)
            .is_some_and(|entry| entry.generation == due.generation)
    }

    /// Drops queue entries of servers that are gone or changed.
    fn forget_stale(&mut self) {
        for doubtful in [false, true] {
            let queue = if doubtful {
                &mut self.doubtful
            } else {
                &mut self.sound
            };
            let mut kept = std::mem::take(queue);
            kept.retain(|Reverse(due)| self.current(due));
            *(if doubtful {
                &mut self.doubtful
            } else {
                &mut self.sound
            }) = kept;
        }
    }

    fn next(&mut self, now: Instant) -> Next {
        let first = |queue: &BinaryHeap<Reverse<Due>>| queue.peek().map(|Reverse(due)| due.at);
        let sound = first(&self.sound);
        let doubtful = first(&self.doubtful).filter(|_| self.asking_doubtful < WORKERS_FOR_DOUBTFUL);
        let (at, is_doubtful) = match (sound, doubtful) {
            (Some(sound), Some(doubtful)) if doubtful < sound => (doubtful, true),
            (Some(sound), _) => (sound, false),
            (None, Some(doubtful)) => (doubtful, true),
            (None, None) => return Next::Wait,
        };
        if at > now {
            return Next::WaitUntil(at);
        }
        let queue = if is_doubtful {
            &mut self.doubtful
        } else {
            &mut self.sound
        };
        let Some(Reverse(due)) = queue.pop() else {
            return Next::Wait;
        };
        let Some(entry) = self.servers.get_mut(&due.server) else {
            return Next::WaitUntil(now);
        };
        entry.statistics.asked += 1;
        if is_doubtful {
            self.asking_doubtful += 1;
        }
        Next::Ask(Job {
            target: entry.target.clone(),
            own: entry.memory.own(now),
            due,
            doubtful: is_doubtful,
        })
    }

    /// Counts, plans the next question, and makes the report; none when nobody wants it any more.
    fn settle(&mut self, job: &Job, asked: Asked, now: Instant) -> Option<QueryReport> {
        if job.doubtful {
            self.asking_doubtful -= 1;
        }
        if self.stopping || !self.current(&job.due) {
            return None;
        }
        let entry = self.servers.get_mut(&job.due.server)?;
        let interval = entry.target.settings.interval.clamp(INTERVALS.0, INTERVALS.1);
        let Asked {
            result,
            reader,
            lesson,
        } = asked;
        // What another process has taught says nothing about this one.
        if entry.target.process == job.target.process
            && let Some(reason) = lesson
        {
            tracing::debug!(server = %job.due.server, reason = reason.label(), "gsmon reads this server itself for an hour");
            entry.memory.learn(reason, now);
        }
        let statistics = &mut entry.statistics;
        let was_sound = entry.sound;
        entry.sound = result.is_ok();
        let (at, facts) = match &result {
            Ok(answer) => {
                statistics.answered += 1;
                statistics.reader = Some(reader);
                // Some of what gamedig asks is not timed.
                statistics.round_trip = Some(answer.round_trip).filter(|time| !time.is_zero());
                if statistics.failed_in_a_row > 0 {
                    tracing::info!(server = %job.due.server, "the server answers queries again");
                }
                statistics.failed_in_a_row = 0;
                let facts = answer.facts(entry.before.as_ref());
                entry.before = Some(answer.clone());
                // From due time to due time, so that the interval does not drift.
                let at = job.due.at + interval;
                (if at > now { at } else { now + interval }, facts)
            }
            Err(error) => {
                statistics.failed[error.kind() as usize] += 1;
                statistics.failed_in_a_row = statistics.failed_in_a_row.saturating_add(1);
                if was_sound || statistics.failed_in_a_row == 1 {
                    tracing::warn!(server = %job.due.server, %error, "the server does not answer queries");
                }
                (
                    now + pause(interval, statistics.failed_in_a_row, wire::random()),
                    Vec::new(),
                )
            }
        };
        let queue = if entry.sound {
            &mut self.sound
        } else {
            &mut self.doubtful
        };
        queue.push(Reverse(Due {
            at,
            ..job.due.clone()
        }));
        Some(QueryReport {
            server: job.due.server.clone(),
            unix_ms: unix_ms(),
            result,
            facts,
        })
    }

    fn lost(&mut self, server: &str) {
        if let Some(entry) = self.servers.get_mut(server) {
            entry.statistics.lost_reports += 1;
        }
    }
}

/// Pause after so many failures in a row: the interval, then twice as long each time, a tenth more or less by chance.
fn pause(interval: Duration, failures: u32, random: u64) -> Duration {
    let doubled = interval.saturating_mul(1u32 << failures.saturating_sub(1).min(20));
    let percent = 90 + (random % 21) as u32;
    (doubled.min(LONGEST_PAUSE) * percent / 100)
        .min(LONGEST_PAUSE)
        .max(interval)
}

fn unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;
