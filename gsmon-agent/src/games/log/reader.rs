//! The reading thread and its handle, [`LogReader`].

use std::{
    collections::HashMap,
    io::{self, PipeReader, PipeWriter, Read as _, Write as _},
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, mpsc},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{
    feed::{Desk, Feed, Next, Occasion, TURN_BYTES, lock},
    outbox::{Outbox, Weight},
    positions::{Durability, Positions},
    source::own_stdin,
    statistics::LogStatistics,
    time::Clock,
};
pub use super::{
    feed::{LogTarget, Succession},
    source::LogInputs,
};
use crate::games::{bell::Bell, bounded::EventSink};

/// Files are looked at this often.
const ROUND: Duration = Duration::from_millis(250);
/// While events wait for the consumer, it is asked this often.
const FLUSH: Duration = Duration::from_millis(2);
/// Positions are noted this often (and written more rarely).
const NOTE: Duration = Duration::from_secs(1);
/// At the end, the consumer is given this long to take what waits.
const FAREWELL: Duration = Duration::from_millis(200);

/// Why logs cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LogReaderError {
    /// No thread, or no pipe to wake it.
    #[error("cannot start the log reader: {0}")]
    Start(io::Error),
    /// The thread has ended.
    #[error("the log reader has stopped")]
    Stopped,
}

enum Command {
    Set(Vec<LogTarget>),
    Stop,
}

type Board = Arc<Mutex<Vec<(Arc<str>, Arc<Mutex<LogStatistics>>)>>>;

/// Reads the logs of all servers in one thread. Ends with its handle.
#[derive(Debug)]
pub struct LogReader {
    commands: mpsc::Sender<Command>,
    wake: PipeWriter,
    board: Board,
    thread: Option<JoinHandle<()>>,
}

impl LogReader {
    /// Starts without logs. Events go to `sink`; where reading stands is kept in the file `positions`.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn new(sink: impl EventSink, positions: &Path) -> Result<Self, LogReaderError> {
        Self::with_bell(sink, Bell::default(), positions)
    }

    /// The same; `bell` is rung for events whose moment matters.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn with_bell(sink: impl EventSink, bell: Bell, positions: &Path) -> Result<Self, LogReaderError> {
        let inputs = LogInputs {
            stdin: own_stdin().ok(),
            bell,
            ..LogInputs::default()
        };
        Self::with_inputs(sink, positions, inputs)
    }

    /// The same with something else for standard input and the journal.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn with_inputs(
        sink: impl EventSink,
        positions: &Path,
        inputs: LogInputs,
    ) -> Result<Self, LogReaderError> {
        let (commands, inbox) = mpsc::channel();
        let (woken, wake) = io::pipe().map_err(LogReaderError::Start)?;
        let board = Board::default();
        let worker = Worker {
            inbox,
            woken,
            board: board.clone(),
            inputs,
        };
        let path: PathBuf = positions.to_owned();
        let thread = thread::Builder::new()
            .name("gsmon-logs".into())
            .spawn(move || worker.run(sink, &path))
            .map_err(LogReaderError::Start)?;
        Ok(Self {
            commands,
            wake,
            board,
            thread: Some(thread),
        })
    }

    /// Reads these logs from now on, and no others. A log that is read already goes on where it is; one that is not in the list any more is left, its position kept.
    ///
    /// # Errors
    /// When the thread has ended.
    pub fn set(&self, targets: Vec<LogTarget>) -> Result<(), LogReaderError> {
        self.tell(Command::Set(targets))
    }

    /// How reading goes, server by server.
    pub fn statistics(&self) -> Vec<(Arc<str>, LogStatistics)> {
        lock(&self.board)
            .iter()
            .map(|(server, figures)| (server.clone(), lock(figures).clone()))
            .collect()
    }

    fn tell(&self, command: Command) -> Result<(), LogReaderError> {
        self.commands.send(command).map_err(|_| LogReaderError::Stopped)?;
        (&self.wake).write_all(&[0]).map_err(|_| LogReaderError::Stopped)
    }
}

impl Drop for LogReader {
    /// Ends the thread; positions are on the disk afterwards.
    fn drop(&mut self) {
        let _ = self.tell(Command::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Worker {
    inbox: mpsc::Receiver<Command>,
    woken: PipeReader,
    board: Board,
    inputs: LogInputs,
}

/// Which feeds a poll found ready.
struct Polled {
    woken: bool,
    ready: Vec<bool>,
}

impl Worker {
    fn run(mut self, sink: impl EventSink, path: &Path) {
        let start = Instant::now();
        let mut positions = Positions::load(path);
        let mut feeds: Vec<Feed> = Vec::new();
        let mut desk = Desk {
            outbox: Outbox::new(sink, self.inputs.bell.clone(), start),
            clock: Clock::new(start),
            buffer: vec![0; TURN_BYTES],
        };
        let mut round = start;
        let mut noted = start;
        loop {
            let polled = self.wait(&feeds, &desk.outbox, round);
            let now = Instant::now();
            desk.outbox.flush(now);
            if polled.woken && !self.obey(&mut feeds, &mut positions, now) {
                break;
            }
            let is_round = now >= round;
            if is_round {
                round = now + ROUND;
                desk.clock.refresh(now);
            }
            for (index, feed) in feeds.iter_mut().enumerate() {
                let due = match feed.next {
                    Next::AtOnce => true,
                    Next::NotBefore(time) => is_round && time <= now,
                };
                let ready = polled.ready.get(index) == Some(&true);
                if !due && !ready {
                    continue;
                }
                if feed.can_wait() && desk.outbox.holds(now) {
                    if is_round {
                        feed.publish();
                    }
                    continue;
                }
                let occasion = if ready { Occasion::Ready } else { Occasion::Round };
                feed.turn(now, ROUND, occasion, &mut desk);
            }
            if now.duration_since(noted) >= NOTE {
                noted = now;
                for feed in &mut feeds {
                    feed.note_position(&mut positions);
                }
                if positions.is_due(now) {
                    save(&mut positions, now, Durability::Process);
                }
            }
        }
        self.say_farewell(&mut feeds, &mut desk);
        for feed in &mut feeds {
            feed.note_position(&mut positions);
        }
        save(&mut positions, Instant::now(), Durability::Power);
    }

    /// Until a source is ready, a command comes, or the next round.
    fn wait(&self, feeds: &[Feed], outbox: &Outbox, round: Instant) -> Polled {
        let now = Instant::now();
        let holds = outbox.holds(now);
        let at_once = |feed: &Feed| feed.next == Next::AtOnce && !(holds && feed.can_wait());
        let mut timeout = round.saturating_duration_since(now);
        if !outbox.is_empty() {
            timeout = timeout.min(FLUSH);
        }
        if feeds.iter().any(at_once) {
            timeout = Duration::ZERO;
        }
        let waited: Vec<usize> = (0..feeds.len())
            .filter(|index| {
                feeds
                    .get(*index)
                    .is_some_and(|feed| feed.ready_fd().is_some() && !(holds && feed.can_wait()))
            })
            .collect();
        let mut descriptors = vec![PollFd::new(self.woken.as_fd(), PollFlags::POLLIN)];
        descriptors.extend(
            waited
                .iter()
                .filter_map(|index| feeds.get(*index)?.ready_fd())
                .map(|fd| PollFd::new(fd, PollFlags::POLLIN)),
        );
        // Rounded up, so that a round is not waited for in zero milliseconds.
        let milliseconds = timeout.as_micros().div_ceil(1000);
        let timeout = u16::try_from(milliseconds).map_or(PollTimeout::MAX, PollTimeout::from);
        if poll(&mut descriptors, timeout).is_err() {
            // Interrupted, or out of memory: the round comes nevertheless.
            for descriptor in &mut descriptors {
                *descriptor = PollFd::new(self.woken.as_fd(), PollFlags::empty());
            }
        }
        let mut answers = descriptors
            .iter()
            .map(|descriptor| descriptor.any().unwrap_or(false));
        let woken = answers.next().unwrap_or(false);
        let mut ready = vec![false; feeds.len()];
        for (index, answer) in waited.into_iter().zip(answers) {
            if let Some(entry) = ready.get_mut(index) {
                *entry = answer;
            }
        }
        Polled { woken, ready }
    }

    /// Follows commands; false to stop.
    fn obey(&mut self, feeds: &mut Vec<Feed>, positions: &mut Positions, now: Instant) -> bool {
        let mut bytes = [0; 64];
        if !matches!(self.woken.read(&mut bytes), Ok(length) if length > 0) {
            return false;
        }
        while let Ok(command) = self.inbox.try_recv() {
            match command {
                Command::Stop => return false,
                Command::Set(targets) => self.set(targets, feeds, positions, now),
            }
        }
        true
    }

    fn set(
        &mut self,
        targets: Vec<LogTarget>,
        feeds: &mut Vec<Feed>,
        positions: &mut Positions,
        now: Instant,
    ) {
        let wanted: HashMap<Arc<str>, bool> = targets
            .iter()
            .map(|target| (target.server.clone(), target.settings.stdin.is_some()))
            .collect();
        let mut old = HashMap::new();
        for mut feed in feeds.drain(..) {
            feed.note_position(positions);
            match wanted.get(feed.server()) {
                // Standard input is given back first, should another server want it.
                Some(false) if feed.holds_stdin() => {
                    feed.give_back(&mut self.inputs);
                    old.insert(feed.server().clone(), feed);
                }
                Some(_) => {
                    old.insert(feed.server().clone(), feed);
                }
                None => feed.give_back(&mut self.inputs),
            }
        }
        for target in targets {
            let feed = match old.remove(&target.server) {
                Some(mut feed) => {
                    feed.retarget(target, &mut self.inputs, positions, now);
                    feed
                }
                None => Feed::new(target, &mut self.inputs, positions, now),
            };
            feeds.push(feed);
        }
        positions.trim(|server| feeds.iter().any(|feed| &**feed.server() == server));
        *lock(&self.board) = feeds
            .iter()
            .map(|feed| (feed.server().clone(), feed.published()))
            .collect();
    }

    /// Gives the consumer a last chance; counts what it leaves.
    fn say_farewell(&self, feeds: &mut [Feed], desk: &mut Desk) {
        let start = Instant::now();
        while !desk.outbox.is_empty() && start.elapsed() < FAREWELL {
            desk.outbox.flush(Instant::now());
            thread::sleep(Duration::from_millis(5));
        }
        let mut left = 0;
        for event in desk.outbox.abandon() {
            left += 1;
            if let Some(feed) = feeds.iter_mut().find(|feed| *feed.server() == event.server) {
                feed.lose(Weight::of(&event.fact));
            }
        }
        if left > 0 {
            tracing::warn!(events = left, "the consumer of log events left some of them");
        }
    }
}

fn save(positions: &mut Positions, now: Instant, durability: Durability) {
    if let Err(error) = positions.save(now, durability) {
        tracing::warn!(%error, "log positions cannot be saved: after a restart reading begins at the end");
    }
}

#[cfg(test)]
mod tests;
