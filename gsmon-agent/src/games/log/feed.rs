//! One server's log: its source, its grammar, its figures.

use std::{
    os::fd::BorrowedFd,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::{
    file::{FileError, Progress},
    lines::LineCounts,
    outbox::{Fate, Outbox, Weight},
    pipe::{Input, PipeError},
    positions::{Position, Positions},
    source::{LogInputs, Source, source_name, source_of},
    statistics::{LogState, LogStatistics},
    time::{Clock, now_ms},
};
use crate::{
    config::LogSettings,
    games::{GameEvent, Grammar, Spoken, Witness},
};

/// Bytes read from one source before the next one has its turn.
pub const TURN_BYTES: usize = 128 * 1024;
/// A problem of one server is logged at most this often.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(60);
/// Until a source that cannot be read is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// A file to which nothing was added for so long is looked at half as often.
const QUIET: Duration = Duration::from_secs(10);

/// A log to read.
pub struct LogTarget {
    /// Name of the server from the configuration.
    pub server: Arc<str>,
    /// Where its log is.
    pub settings: LogSettings,
    /// How its lines are read.
    pub grammar: Box<dyn Grammar>,
    /// What becomes of the grammar that is at work.
    pub succession: Succession,
}

/// What a reload does with the grammar of a log that is read already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Succession {
    /// It goes on, with what it remembers.
    Keep,
    /// The new one takes over.
    Replace,
}

/// What the reading thread lends to a turn.
pub struct Desk {
    pub outbox: Outbox,
    pub clock: Clock,
    pub buffer: Vec<u8>,
}

/// What a turn tells the thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// There is more right now.
    AtOnce,
    /// At this round or a later one.
    NotBefore(Instant),
}

/// Did a poll say that the source is ready, or is it just time to look?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occasion {
    /// The poll did.
    Ready,
    /// A round.
    Round,
}

pub struct Feed {
    server: Arc<str>,
    settings: LogSettings,
    source: Source,
    grammar: Box<dyn Grammar>,
    said: Vec<Spoken>,
    /// Figures when the source was opened.
    before: LogStatistics,
    figures: LogStatistics,
    published: Arc<Mutex<LogStatistics>>,
    last_complaint: Option<Instant>,
    /// Has the present problem been logged?
    complained: bool,
    pub next: Next,
    last_read: Instant,
    /// Has the position moved since it was last noted?
    moved: bool,
}

impl Feed {
    /// Opens nothing yet.
    pub fn new(target: LogTarget, inputs: &mut LogInputs, positions: &Positions, now: Instant) -> Self {
        let LogTarget {
            server,
            settings,
            grammar,
            ..
        } = target;
        let source = source_of(&server, &settings, inputs, positions);
        Self {
            server,
            settings,
            source,
            grammar,
            said: Vec::new(),
            before: LogStatistics::default(),
            figures: LogStatistics::default(),
            published: Arc::default(),
            last_complaint: None,
            complained: false,
            next: Next::NotBefore(now),
            last_read: now,
            moved: false,
        }
    }

    pub fn server(&self) -> &Arc<str> {
        &self.server
    }

    pub fn published(&self) -> Arc<Mutex<LogStatistics>> {
        self.published.clone()
    }

    /// Takes over a changed configuration: the same source goes on where it is.
    pub fn retarget(
        &mut self,
        target: LogTarget,
        inputs: &mut LogInputs,
        positions: &mut Positions,
        now: Instant,
    ) {
        if target.succession == Succession::Replace {
            self.grammar = target.grammar;
        }
        let same_place = LogSettings {
            from: self.settings.from,
            ..target.settings.clone()
        } == self.settings;
        if same_place && !matches!(self.source, Source::Refused(_)) {
            self.settings = target.settings;
            return;
        }
        self.note_position(positions);
        self.give_back(inputs);
        self.before = self.figures.clone();
        self.source = source_of(&self.server, &target.settings, inputs, positions);
        self.settings = target.settings;
        self.figures.state = LogState::Starting;
        self.figures.lag_bytes = None;
        self.next = Next::NotBefore(now);
        self.publish();
    }

    /// Standard input can be given to another server.
    pub fn give_back(&mut self, inputs: &mut LogInputs) {
        let source = std::mem::replace(&mut self.source, Source::Refused(String::new()));
        if let Source::Stdin(reader) = source {
            inputs.stdin = Some(reader.into_source());
        }
    }

    /// Does it read what only one can read?
    pub fn holds_stdin(&self) -> bool {
        matches!(self.source, Source::Stdin(_))
    }

    /// What to wait on beside the rounds.
    pub fn ready_fd(&self) -> Option<BorrowedFd<'_>> {
        match &self.source {
            Source::Fifo(reader) => reader.ready_fd(),
            Source::Stdin(reader) => reader.ready_fd(),
            Source::Journal(follower) => follower.ready_fd(),
            Source::File(_) | Source::Refused(_) => None,
        }
    }

    /// Does the source keep what is not read? Not pipes: whoever writes to them waits.
    pub fn can_wait(&self) -> bool {
        matches!(self.source, Source::File(_) | Source::Journal(_))
    }

    /// Reads what is there, up to [`TURN_BYTES`]. Rounds are `round` apart.
    pub fn turn(&mut self, now: Instant, round: Duration, occasion: Occasion, desk: &mut Desk) {
        let read_ms = now_ms();
        let Desk {
            outbox,
            clock,
            buffer,
        } = desk;
        let Self {
            source,
            grammar,
            said,
            server,
            figures,
            ..
        } = self;
        let mut tell = |read_ms: i64, line: &str| {
            grammar.line(line, said);
            for Spoken { time, room, fact } in said.drain(..) {
                let (unix_ms, time) = clock.judge(time, read_ms);
                let event = GameEvent {
                    server: server.clone(),
                    unix_ms,
                    time,
                    witness: Witness::Log,
                    room,
                    fact,
                };
                match outbox.push(event) {
                    Fate::Kept => figures.events += 1,
                    Fate::Lost(weight) => count_lost(figures, weight),
                }
            }
        };
        let each = &mut |line: &str| tell(read_ms, line);
        let outcome = match source {
            Source::File(follower) => {
                follower
                    .turn(now, TURN_BYTES, buffer, each)
                    .map_err(|error| match error {
                        FileError::Missing { .. } => (LogState::Waiting, error.to_string()),
                        _ => (LogState::Failed, error.to_string()),
                    })
            }
            Source::Fifo(reader) => {
                let looked = match occasion {
                    Occasion::Ready => Ok(()),
                    Occasion::Round => reader.look(TURN_BYTES, buffer, each),
                };
                looked
                    .and_then(|()| reader.turn(TURN_BYTES, buffer, each))
                    .map_err(|error| match error {
                        PipeError::Missing { .. } => (LogState::Waiting, error.to_string()),
                        _ => (LogState::Failed, error.to_string()),
                    })
            }
            Source::Stdin(reader) => match (occasion, reader.ready_fd().is_some()) {
                (Occasion::Round, true) => Ok(Progress::Nothing),
                (_, false) => return,
                (Occasion::Ready, true) => match reader.turn(buffer, each) {
                    Ok(Input::Open) => Ok(Progress::Read),
                    Ok(Input::Ended) => {
                        tracing::info!(server = &**server, "standard input has ended");
                        figures.state = LogState::Ended;
                        return self.finish_turn(Progress::Read, now, RETRY);
                    }
                    Err(error) => Err((LogState::Failed, error.to_string())),
                },
            },
            Source::Journal(follower) => follower
                .turn(now, TURN_BYTES, buffer, &mut tell)
                .map_err(|error| (LogState::Failed, error.to_string())),
            Source::Refused(reason) => Err((LogState::Failed, reason.clone())),
        };
        match outcome {
            Ok(progress) => {
                // While journalctl waits to be started again, nothing has become better.
                let resting = matches!(source, Source::Journal(follower) if follower.ready_fd().is_none());
                if !resting {
                    figures.state = LogState::Reading;
                    self.complained = false;
                }
                self.finish_turn(progress, now, round);
            }
            Err((state, message)) => {
                self.complain(state, &message, now);
                let pause = if state == LogState::Waiting { round } else { RETRY };
                // Something may have been read nevertheless.
                self.finish_turn(Progress::Read, now, pause);
            }
        }
    }

    fn finish_turn(&mut self, progress: Progress, now: Instant, pause: Duration) {
        if progress != Progress::Nothing {
            self.last_read = now;
        }
        let quiet = now.duration_since(self.last_read) > QUIET;
        let pause = if quiet && self.can_wait() {
            2 * pause
        } else {
            pause
        };
        self.next = match progress {
            Progress::More => Next::AtOnce,
            // A little earlier, for a round that is a little early.
            Progress::Nothing | Progress::Read => Next::NotBefore(now + pause - pause / 4),
        };
        let state_changed = lock(&self.published).state != self.figures.state;
        self.moved |= progress != Progress::Nothing || state_changed;
        if progress != Progress::Nothing || state_changed {
            let (counts, restarts) = self.source_counts();
            self.figures.take_over(&self.before, counts, restarts);
            self.figures.lag_bytes = match (&self.source, progress) {
                (Source::File(follower), Progress::More) => follower.lag(),
                // All that was there has been read.
                (Source::File(follower), _) => follower.is_open().then_some(0),
                _ => None,
            };
            lock(&self.published).clone_from(&self.figures);
        }
    }

    fn source_counts(&self) -> (LineCounts, u64) {
        match &self.source {
            Source::File(follower) => (follower.counts(), follower.restarts()),
            Source::Fifo(reader) => (reader.counts(), 0),
            Source::Stdin(reader) => (reader.counts(), 0),
            Source::Journal(follower) => (follower.counts(), follower.restarts()),
            Source::Refused(_) => (LineCounts::default(), 0),
        }
    }

    /// Makes the figures readable, the lag as it is now.
    pub fn publish(&mut self) {
        if let Source::File(follower) = &self.source {
            self.figures.lag_bytes = follower.lag();
        }
        lock(&self.published).clone_from(&self.figures);
    }

    /// An event of this server was dropped after all.
    pub fn lose(&mut self, weight: Weight) {
        self.figures.events = self.figures.events.saturating_sub(1);
        count_lost(&mut self.figures, weight);
        self.publish();
    }

    fn complain(&mut self, state: LogState, message: &str, now: Instant) {
        self.figures.state = state;
        if self.figures.last_error.as_deref() != Some(message) {
            self.figures.last_error = Some(message.into());
            self.complained = false;
        }
        let recent = |last: Instant| now.duration_since(last) < COMPLAINT_INTERVAL;
        if self.complained || self.last_complaint.is_some_and(recent) {
            return;
        }
        self.complained = true;
        self.last_complaint = Some(now);
        if state == LogState::Waiting {
            tracing::info!(server = &*self.server, "log: {message}");
        } else {
            tracing::warn!(server = &*self.server, "log: {message}");
        }
    }

    /// Tells where reading stands, if it has moved.
    pub fn note_position(&mut self, positions: &mut Positions) {
        if !std::mem::take(&mut self.moved) {
            return;
        }
        let position = match &self.source {
            Source::File(follower) => follower.position().map(Position::File),
            Source::Journal(follower) => follower.cursor().cloned().map(Position::Journal),
            _ => None,
        };
        if let Some(position) = position {
            positions.put(&self.server, &source_name(&self.settings), position);
        }
    }
}

fn count_lost(figures: &mut LogStatistics, weight: Weight) {
    figures.lost += 1;
    if weight == Weight::State {
        figures.lost_state += 1;
    }
}

pub fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Figures are whole after every assignment.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
