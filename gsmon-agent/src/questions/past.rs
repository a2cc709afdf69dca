//! Whoever has frames: the history of this agent, a Prometheus-compatible server, or (in the cli room) either of them across
//! a socket; and a bound on how much of it one question may take.

use std::{
    cell::Cell,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Instant,
};

use crate::history::{
    Frame, History, HistorySource, Mark, Resolution, SourceError, TimeRange,
    prometheus::{PrometheusError, PrometheusSource},
};

/// Frames of each server with its name.
pub type ServersFrames = Vec<(String, Vec<Frame>)>;

/// Whoever has frames and marks of servers.
pub trait Past {
    /// Why there are none.
    type Error;

    /// Names of all servers.
    ///
    /// # Errors
    /// When it cannot be read.
    fn servers(&self) -> Result<Vec<String>, Self::Error>;

    /// Hands over frames of a server, oldest first: the last hour where no range is given.
    ///
    /// # Errors
    /// When there is no such server, or it cannot be read.
    fn each_frame(
        &self,
        server: &str,
        range: Option<TimeRange>,
        resolution: Resolution,
        take: &mut dyn FnMut(Frame),
    ) -> Result<(), Self::Error>;

    /// Marks of a server, oldest first.
    ///
    /// # Errors
    /// As [`Self::each_frame`].
    fn marks(&self, server: &str) -> Result<Vec<Mark>, Self::Error>;

    /// All frames of a server at once.
    ///
    /// # Errors
    /// As [`Self::each_frame`].
    fn frames(
        &self,
        server: &str,
        range: Option<TimeRange>,
        resolution: Resolution,
    ) -> Result<Vec<Frame>, Self::Error> {
        let mut frames = Vec::new();
        self.each_frame(server, range, resolution, &mut |frame| frames.push(frame))?;
        Ok(frames)
    }

    /// Gives frames of a server players' own lines, where they are kept of a time that is in memory no more.
    ///
    /// # Errors
    /// As [`Self::each_frame`].
    fn give_lines(&self, _server: &str, _frames: &mut [Frame]) -> Result<(), Self::Error> {
        Ok(())
    }

    /// All frames of all servers.
    ///
    /// # Errors
    /// As [`Self::each_frame`].
    fn all_frames(&self, range: Option<TimeRange>) -> Result<ServersFrames, Self::Error> {
        let mut all = Vec::new();
        for server in self.servers()? {
            let frames = self.frames(&server, range, Resolution::Fitting)?;
            all.push((server, frames));
        }
        Ok(all)
    }
}

impl Past for History {
    type Error = SourceError;

    fn servers(&self) -> Result<Vec<String>, SourceError> {
        HistorySource::servers(self)
    }

    fn each_frame(
        &self,
        server: &str,
        range: Option<TimeRange>,
        resolution: Resolution,
        take: &mut dyn FnMut(Frame),
    ) -> Result<(), SourceError> {
        match range {
            Some(range) => HistorySource::each_frame(self, server, range, resolution, take),
            // From memory, with players' own lines.
            None => {
                let hour = History::frames(self, server, i64::MIN, i64::MAX)?;
                hour.frames().into_iter().for_each(take);
                Ok(())
            }
        }
    }

    fn give_lines(&self, server: &str, frames: &mut [Frame]) -> Result<(), SourceError> {
        self.attach_lines(server, frames, None)
    }

    fn marks(&self, server: &str) -> Result<Vec<Mark>, SourceError> {
        History::marks(self, server)
    }

    fn all_frames(&self, range: Option<TimeRange>) -> Result<ServersFrames, SourceError> {
        each(self, |server| self.frames_of(server, range))?
            .into_iter()
            .map(|(server, frames)| Ok((server, frames?)))
            .collect()
    }
}

impl History {
    fn frames_of(&self, server: &str, range: Option<TimeRange>) -> Result<Vec<Frame>, SourceError> {
        Past::frames(self, server, range, Resolution::Fitting)
    }
}

/// Most threads of one question: the servers whose host this is come first.
const MOST_THREADS: usize = 4;

/// Asks the same of each server of the history, a few at a time: no more is in memory than theirs.
///
/// # Errors
/// When the servers cannot be read.
pub fn each<T: Send>(
    history: &History,
    question: impl Fn(&str) -> T + Sync,
) -> Result<Vec<(String, T)>, SourceError> {
    let servers = HistorySource::servers(history)?;
    let next = AtomicUsize::new(0);
    let answers = Mutex::new(Vec::with_capacity(servers.len()));
    let work = || {
        while let Some(server) = servers.get(next.fetch_add(1, Ordering::Relaxed)) {
            let answer = question(server);
            let mut answers = answers.lock().unwrap_or_else(PoisonError::into_inner);
            answers.push((server.clone(), answer));
        }
    };
    let threads = thread::available_parallelism().map_or(1, |count| count.get().min(MOST_THREADS));
    thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        work();
        for other in others {
            if let Err(panic) = other.join() {
                std::panic::resume_unwind(panic);
            }
        }
    });
    let mut answers = answers.into_inner().unwrap_or_else(PoisonError::into_inner);
    answers.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(answers)
}

impl Past for PrometheusSource {
    type Error = SourceError;

    fn servers(&self) -> Result<Vec<String>, SourceError> {
        HistorySource::servers(self)
    }

    fn each_frame(
        &self,
        server: &str,
        range: Option<TimeRange>,
        resolution: Resolution,
        take: &mut dyn FnMut(Frame),
    ) -> Result<(), SourceError> {
        let now_ms = jiff::Timestamp::now().as_millisecond();
        let hour = std::time::Duration::from_secs(3_600);
        let range = range.unwrap_or_else(|| TimeRange::last(hour, now_ms));
        HistorySource::each_frame(self, server, range, resolution, take)
    }

    fn marks(&self, _: &str) -> Result<Vec<Mark>, SourceError> {
        Err(PrometheusError::NotKept("marks").into())
    }
}

/// Why a bounded question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum BoundError<E> {
    /// It has taken too long already.
    #[error("this takes too long: ask for less time, or for one server")]
    TooLate,
    /// It would take more memory than a question may.
    #[error("more than {0} frames: ask for less time, or for one server")]
    TooMany(usize),
    /// Whoever has the frames says why.
    #[error(transparent)]
    Past(E),
}

/// As much of a past as one question may have: so many frames, until some time. One server after the other, since the
/// servers whose host this is come first.
#[derive(Debug)]
pub struct Bounded<'a, P> {
    past: &'a P,
    until: Instant,
    most: usize,
    left: Cell<usize>,
}

impl<'a, P: Past> Bounded<'a, P> {
    /// Of this past.
    pub fn new(past: &'a P, until: Instant, most_frames: usize) -> Self {
        Self {
            past,
            until,
            most: most_frames,
            left: Cell::new(most_frames),
        }
    }

    fn in_time(&self) -> Result<(), BoundError<P::Error>> {
        match Instant::now() < self.until {
            true => Ok(()),
            false => Err(BoundError::TooLate),
        }
    }
}

impl<P: Past> Past for Bounded<'_, P> {
    type Error = BoundError<P::Error>;

    fn servers(&self) -> Result<Vec<String>, Self::Error> {
        self.in_time()?;
        self.past.servers().map_err(BoundError::Past)
    }

    fn each_frame(
        &self,
        server: &str,
        range: Option<TimeRange>,
        resolution: Resolution,
        take: &mut dyn FnMut(Frame),
    ) -> Result<(), Self::Error> {
        self.in_time()?;
        let mut more = false;
        let mut bounded = |frame| match self.left.get().checked_sub(1) {
            Some(left) => {
                self.left.set(left);
                take(frame);
            }
            None => more = true,
        };
        let read = self.past.each_frame(server, range, resolution, &mut bounded);
        read.map_err(BoundError::Past)?;
        match more {
            true => Err(BoundError::TooMany(self.most)),
            false => self.in_time(),
        }
    }

    fn give_lines(&self, server: &str, frames: &mut [Frame]) -> Result<(), Self::Error> {
        self.in_time()?;
        self.past.give_lines(server, frames).map_err(BoundError::Past)
    }

    fn marks(&self, server: &str) -> Result<Vec<Mark>, Self::Error> {
        self.in_time()?;
        self.past.marks(server).map_err(BoundError::Past)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use super::*;
    use crate::history::{Measure, UnknownServer};

    /// Servers whose players cost 0.02 cores each, a frame a minute.
    pub struct Made {
        pub servers: Vec<&'static str>,
        pub minutes: i64,
    }

    impl Past for Made {
        type Error = SourceError;

        fn servers(&self) -> Result<Vec<String>, SourceError> {
            Ok(self.servers.iter().map(|name| (*name).to_owned()).collect())
        }

        fn each_frame(
            &self,
            server: &str,
            _: Option<TimeRange>,
            _: Resolution,
            take: &mut dyn FnMut(Frame),
        ) -> Result<(), SourceError> {
            if !self.servers.contains(&server) {
                return Err(UnknownServer {
                    name: server.to_owned(),
                    known: Past::servers(self)?,
                }
                .into());
            }
            for minute in 0..self.minutes {
                let players = (minute / 20 % 10) as f64;
                let mut frame = Frame::new((minute + 1) * 60_000, 60.0)
                    .with(Measure::Players, players)
                    .with(Measure::RssBytes, 1e8 + (minute % 5) as f64 * 1e5)
                    .with(
                        Measure::CpuCores,
                        0.1 + 0.02 * players + (minute % 7) as f64 / 1e4,
                    );
                frame.mode = Some("duel".into());
                take(frame);
            }
            Ok(())
        }

        fn marks(&self, _: &str) -> Result<Vec<Mark>, SourceError> {
            Ok(vec![Mark::told(150 * 60_000, "plugin 2").unwrap()])
        }
    }

    #[test]
    fn a_question_has_so_many_frames_and_so_long() {
        let made = Made {
            servers: vec!["arena", "lobby"],
            minutes: 300,
        };
        let later = Instant::now() + Duration::from_secs(600);
        let all = Bounded::new(&made, later, 600).all_frames(None).unwrap();
        assert_eq!(all.iter().map(|(_, frames)| frames.len()).sum::<usize>(), 600);
        let refused = Bounded::new(&made, later, 599).all_frames(None).unwrap_err();
        assert!(matches!(refused, BoundError::TooMany(599)), "{refused}");
        let late = Bounded::new(&made, Instant::now(), 600);
        assert!(matches!(late.servers().unwrap_err(), BoundError::TooLate));
        let unknown = Bounded::new(&made, later, 600).frames("x", None, Resolution::Raw);
        assert!(matches!(
            unknown.unwrap_err(),
            BoundError::Past(SourceError::Unknown(_))
        ));
    }
}
