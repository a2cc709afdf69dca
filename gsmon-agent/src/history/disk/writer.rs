//! The thread that writes the history, and what it does when it cannot: it says so once, goes on without, keeps the newest
//! intervals for a while, and tries again. A damaged file is moved aside, never deleted. Not here: the file (`file`).

use std::{
    collections::VecDeque,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use super::{
    file::{HistoryFile, Interval},
    forgetting::Forgetting,
    schema::{HistoryError, Trouble},
    upkeep::{Removal, Retention},
};
use crate::{
    config::HistorySettings,
    world::snapshot::{HistorySnapshot, HistoryStatus},
};

/// Intervals between the loop and this thread.
const QUEUE: usize = 256;
/// Intervals that are kept while the file cannot be written; older ones are lost.
const MOST_PENDING: usize = 120;
/// Between two attempts while it cannot be written.
const RETRY: Duration = Duration::from_secs(10);
/// Somebody else may hold the file for so many intervals before that counts as trouble.
const PATIENCE: usize = 30;
/// How often it is looked whether the file is still in its place.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// A clock that steps by more than this is in doubt for so long.
const STEP_MS: i64 = 60_000;
const DOUBT: Duration = Duration::from_secs(3_600);

enum Message {
    Interval(Box<Interval>),
    Stop,
}

/// Handle of the writing thread.
#[derive(Debug)]
pub struct HistoryWriter {
    inbox: SyncSender<Message>,
    told: Arc<Mutex<HistorySnapshot>>,
    path: PathBuf,
    thread: Option<JoinHandle<()>>,
}

impl HistoryWriter {
    /// Starts the thread. A file that cannot be opened is no error here: it is tried again.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub fn start(path: &Path, settings: &HistorySettings) -> io::Result<Self> {
        Self::start_forgetting(path, settings, Forgetting::default())
    }

    /// The same, and it lets go of players who are on the list of the forgotten.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_forgetting(
        path: &Path,
        settings: &HistorySettings,
        forgetting: Forgetting,
    ) -> io::Result<Self> {
        let (inbox, messages) = mpsc::sync_channel(QUEUE);
        let told = Arc::new(Mutex::new(HistorySnapshot::waiting(path)));
        let thread = Thread {
            path: path.to_owned(),
            retention: Retention::of(settings),
            told: told.clone(),
            file: None,
            pending: VecDeque::new(),
            retry_at: Instant::now(),
            look_at: Instant::now() + LOOK_EVERY,
            clock: Clock::default(),
            forgetting,
        };
        let thread = thread::Builder::new()
            .name("gsmon-history".into())
            .spawn(move || thread.run(&messages))?;
        Ok(Self {
            inbox,
            told,
            path: path.to_owned(),
            thread: Some(thread),
        })
    }

    /// Hands over an interval; never waits. What there is no room for is counted as lost.
    pub fn record(&self, interval: Interval) {
        let full = self.inbox.try_send(Message::Interval(Box::new(interval)));
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = full {
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            told.intervals_lost += 1;
        }
    }

    /// How it goes.
    pub fn snapshot(&self) -> HistorySnapshot {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for HistoryWriter {
    fn drop(&mut self) {
        let _ = self.inbox.send(Message::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Wall clock against the one that nobody sets.
#[derive(Debug, Default)]
struct Clock {
    offset_ms: Option<i64>,
    doubted: Option<Instant>,
}

impl Clock {
    fn read(&mut self, wall_ms: i64, steady: Duration) -> Removal {
        let offset = wall_ms - steady.as_millis() as i64;
        let before = self.offset_ms.replace(offset);
        if before.is_some_and(|before| (offset - before).abs() > STEP_MS) {
            tracing::warn!("the clock was set: nothing is removed from the history for an hour");
            self.doubted = Some(Instant::now());
        }
        match self.doubted {
            Some(since) if since.elapsed() < DOUBT => Removal::Suspended,
            _ => Removal::Allowed,
        }
    }
}

struct Thread {
    path: PathBuf,
    retention: Retention,
    told: Arc<Mutex<HistorySnapshot>>,
    file: Option<HistoryFile>,
    pending: VecDeque<Interval>,
    retry_at: Instant,
    look_at: Instant,
    clock: Clock,
    forgetting: Forgetting,
}

impl Thread {
    fn run(mut self, messages: &Receiver<Message>) {
        let begun = Instant::now();
        loop {
            match messages.recv_timeout(Duration::from_secs(1)) {
                Ok(Message::Interval(interval)) => {
                    let removal = self.clock.read(interval.unix_ms, begun.elapsed());
                    let now_ms = interval.unix_ms;
                    self.keep(*interval);
                    // All that has come meanwhile goes into one transaction.
                    while let Ok(message) = messages.try_recv() {
                        match message {
                            Message::Interval(interval) => self.keep(*interval),
                            Message::Stop => return self.stop(),
                        }
                    }
                    self.advance(now_ms, removal);
                }
                Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => return self.stop(),
                Err(RecvTimeoutError::Timeout) => {}
            }
            self.tell(|told| told.cpu_seconds = thread_cpu_seconds());
        }
    }

    fn stop(mut self) {
        self.retry_at = Instant::now();
        self.flush();
        if let Some(file) = self.file.take() {
            file.close();
        }
    }

    fn tell(&self, with: impl FnOnce(&mut HistorySnapshot)) {
        with(&mut self.told.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn keep(&mut self, interval: Interval) {
        self.pending.push_back(interval);
        if self.pending.len() > MOST_PENDING {
            self.pending.pop_front();
            self.tell(|told| told.intervals_lost += 1);
        }
    }

    fn advance(&mut self, now_ms: i64, removal: Removal) {
        if Instant::now() >= self.look_at {
            self.look_at = Instant::now() + LOOK_EVERY;
            if self.file.as_ref().is_some_and(|file| !file.is_in_place()) {
                tracing::warn!(path = %self.path.display(), "the history has been moved or removed: a new one is begun");
                self.file = None;
            }
        }
        if !self.flush() {
            return;
        }
        let Some(file) = &mut self.file else { return };
        match file.step(now_ms, &self.retention, removal) {
            Ok(_) => {
                self.forgetting.go_on(file, now_ms);
                let (bytes, damaged) = (file.bytes(), file.damaged_blocks);
                self.succeeded(bytes, damaged);
            }
            Err(error) => self.failed(&error),
        }
    }

    /// Writes what is pending. Says whether nothing is pending any more.
    fn flush(&mut self) -> bool {
        if self.pending.is_empty() {
            return self.file.is_some();
        }
        if Instant::now() < self.retry_at {
            return false;
        }
        let written = match &mut self.file {
            Some(file) => file.write(self.pending.iter()),
            None => HistoryFile::open(&self.path)
                .and_then(|file| self.file.insert(file).write(self.pending.iter())),
        };
        if let Err(error) = written {
            self.failed(&error);
            return false;
        }
        let samples: usize = self.pending.iter().map(|interval| interval.frames.len()).sum();
        let intervals = self.pending.len();
        self.pending.clear();
        self.tell(|told| {
            told.intervals_written += intervals as u64;
            told.samples_written += samples as u64;
        });
        true
    }

    fn succeeded(&self, bytes: u64, damaged_blocks: u64) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.status == HistoryStatus::Failing {
            tracing::info!(path = %self.path.display(), lost = told.intervals_lost, "the history is written again");
        }
        told.status = HistoryStatus::Recording;
        told.problem = None;
        told.bytes = bytes;
        told.damaged_blocks = damaged_blocks;
    }

    fn failed(&mut self, error: &HistoryError) {
        let trouble = error.trouble();
        if trouble == Trouble::Busy && self.pending.len() < PATIENCE {
            return;
        }
        self.retry_at = Instant::now() + RETRY;
        let mut text = error.to_string();
        match trouble {
            Trouble::Full | Trouble::Busy => {}
            Trouble::Damaged => {
                self.file = None;
                text = match move_aside(&self.path) {
                    Ok(aside) => {
                        // A new one can be begun at once.
                        self.retry_at = Instant::now();
                        format!(
                            "{text}; it was moved to {}, and a new one is begun",
                            aside.display()
                        )
                    }
                    Err(error) => format!("{text}; it cannot be moved aside: {error}"),
                };
            }
            Trouble::ReadOnly | Trouble::Other => self.file = None,
        }
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.problem.as_deref() != Some(&text) {
            tracing::error!("the history is not written, measuring goes on: {text}");
        }
        told.status = HistoryStatus::Failing;
        told.failures += 1;
        told.problem = Some(text);
    }
}

/// Gives the file, and what SQLite has beside it, another name. Nothing is removed.
fn move_aside(path: &Path) -> io::Result<PathBuf> {
    let seconds = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| time.as_secs());
    let name = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    let mut number = 0;
    let aside = loop {
        let aside = format!(".damaged-{seconds}-{number}");
        if !name(&aside).exists() {
            break aside;
        }
        number += 1;
    };
    for suffix in ["-wal", "-shm", ""] {
        match std::fs::rename(name(suffix), name(&format!("{aside}{suffix}"))) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(name(&aside))
}

/// CPU time of this thread.
fn thread_cpu_seconds() -> f64 {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID)
        .map_or(0.0, |time| time.tv_sec() as f64 + time.tv_nsec() as f64 / 1e9)
}
