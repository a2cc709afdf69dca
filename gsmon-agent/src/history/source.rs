//! What the history can be asked, whoever keeps it: the memory and the file of this agent (`recorded`), a file alone
//! (`disk::reader`), or another program behind the same trait. Not here: answers, and the text form of local times (the cli
//! room).

use std::{str::FromStr, sync::Arc, time::Duration};

use super::{
    disk::HistoryError,
    events::Event,
    findings::StoredFinding,
    frame::Frame,
    lines::StoredLine,
    measure::Measure,
    prometheus::PrometheusError,
    rollup::{Figure, Rollup, Span},
    spikes::StoredSpike,
    store::UnknownServer,
};
use crate::{
    games::event::Phase,
    world::session::{resources::Resources, rooms::CpuBasis},
};

/// Why a question is not answered.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// No such server.
    #[error(transparent)]
    Unknown(#[from] UnknownServer),
    /// The file cannot be read.
    #[error("the history cannot be read: {0}")]
    History(#[from] HistoryError),
    /// A Prometheus-compatible server does not answer.
    #[error(transparent)]
    Prometheus(#[from] PrometheusError),
}

/// A time from the first to the last millisecond; an interval belongs to it when it ends in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeRange {
    /// First.
    pub from_unix_ms: i64,
    /// Last.
    pub to_unix_ms: i64,
}

/// Why a text is no range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    /// Nothing that is known.
    #[error(
        "`{0}` is no range: write a duration such as 24h or 7d, or two RFC 3339 times with `..` between them"
    )]
    Text(String),
    /// The wrong way round, or nothing at all.
    #[error("the range `{0}` ends before it begins")]
    Backwards(String),
}

impl TimeRange {
    /// Everything.
    pub const ALL: Self = Self {
        from_unix_ms: i64::MIN,
        to_unix_ms: i64::MAX,
    };

    /// So long until now.
    pub fn last(duration: Duration, now_unix_ms: i64) -> Self {
        let ms = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        Self {
            from_unix_ms: now_unix_ms.saturating_sub(ms),
            to_unix_ms: now_unix_ms,
        }
    }

    /// `24h`, `7d`, or two RFC 3339 times with `..` between them.
    ///
    /// # Errors
    /// With what would have been right.
    pub fn parse(text: &str, now_unix_ms: i64) -> Result<Self, RangeError> {
        let wrong = || RangeError::Text(text.to_owned());
        let range = match text.split_once("..") {
            None => Self::last(
                humantime::parse_duration(text.trim()).map_err(|_| wrong())?,
                now_unix_ms,
            ),
            Some((from, to)) => {
                let time = |text: &str| jiff::Timestamp::from_str(text.trim()).map_err(|_| wrong());
                Self {
                    from_unix_ms: time(from)?.as_millisecond(),
                    to_unix_ms: time(to)?.as_millisecond(),
                }
            }
        };
        match range.from_unix_ms < range.to_unix_ms {
            true => Ok(range),
            false => Err(RangeError::Backwards(text.to_owned())),
        }
    }

    /// Does an interval with this end belong to it?
    pub fn contains(&self, end_unix_ms: i64) -> bool {
        (self.from_unix_ms..=self.to_unix_ms).contains(&end_unix_ms)
    }

    /// Does it have anything of this span?
    pub fn touches(&self, from_unix_ms: i64, to_unix_ms: i64) -> bool {
        from_unix_ms <= self.to_unix_ms && to_unix_ms >= self.from_unix_ms
    }
}

/// How long a frame is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Resolution {
    /// As short as the range allows: samples up to two hours, minutes up to three days, else hours.
    #[default]
    Fitting,
    /// As they were measured, a second or longer.
    Raw,
    /// Roll-ups.
    Rolled(Span),
}

impl FromStr for Resolution {
    type Err = UnknownResolution;

    fn from_str(word: &str) -> Result<Self, UnknownResolution> {
        match word {
            "fitting" => Ok(Self::Fitting),
            "raw" => Ok(Self::Raw),
            "minute" => Ok(Self::Rolled(Span::Minute)),
            "ten_minutes" => Ok(Self::Rolled(Span::TenMinutes)),
            "hour" => Ok(Self::Rolled(Span::Hour)),
            _ => Err(UnknownResolution(word.to_owned())),
        }
    }
}

/// No such resolution.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no resolution; there are: fitting, raw, minute, ten_minutes, hour")]
pub struct UnknownResolution(String);

impl Resolution {
    /// What a range gets, by the oldest frame of each: samples, minutes, hours.
    pub fn of(self, range: TimeRange, oldest_unix_ms: [Option<i64>; 3], now_unix_ms: i64) -> Self {
        const HOUR_MS: i64 = 3_600_000;
        if self != Self::Fitting {
            return self;
        }
        let oldest = oldest_unix_ms.iter().flatten().min().copied();
        let from = range.from_unix_ms.max(oldest.unwrap_or(range.from_unix_ms));
        let length_ms = range.to_unix_ms.min(now_unix_ms).saturating_sub(from);
        // Those that are not written yet are made of samples.
        let minutes = oldest_unix_ms[..2].iter().flatten().min().copied();
        let finer = [
            (Self::Raw, 2 * HOUR_MS, oldest_unix_ms[0]),
            (Self::Rolled(Span::Minute), 72 * HOUR_MS, minutes),
        ];
        let fits = |longest_ms: i64, oldest: Option<i64>| {
            length_ms <= longest_ms && oldest.is_some_and(|oldest| from >= oldest)
        };
        let mut finer = finer.into_iter();
        finer
            .find(|(_, longest_ms, oldest)| fits(*longest_ms, *oldest))
            .map_or(Self::Rolled(Span::Hour), |(resolution, _, _)| resolution)
    }
}

/// A session as it is kept.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct StoredSession {
    /// Server.
    pub server: Arc<str>,
    /// Unique on this server.
    pub id: String,
    /// The engine's own id.
    pub external_id: Option<String>,
    /// Room inside the process.
    pub room: Option<String>,
    /// Map.
    pub map: Option<Arc<str>>,
    /// Mode.
    pub mode: Option<Arc<str>>,
    /// Last phase.
    pub phase: Option<Phase>,
    /// Beginning.
    pub begun_unix_ms: i64,
    /// End; `None` while it runs, and where the agent was not there to see it.
    pub ended_unix_ms: Option<i64>,
    /// Most players at once.
    pub players_peak: u32,
    /// Players who came.
    pub joins: Option<u64>,
    /// Players who left.
    pub leaves: Option<u64>,
    /// How its CPU is known.
    pub cpu_basis: Option<CpuBasis>,
    /// Used in all.
    pub used: Resources,
    /// Largest resident memory of the process while it ran.
    pub peak_rss_bytes: Option<u64>,
}

/// Something that a source never has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Absent {
    /// What.
    pub what: &'static str,
    /// Why.
    pub why: &'static str,
}

/// Keeps history and answers for it.
pub trait HistorySource {
    /// Servers of which there is anything.
    ///
    /// # Errors
    /// When it cannot be read.
    fn servers(&self) -> Result<Vec<String>, SourceError>;

    /// Hands over the frames of a server in the order in which they were measured; after a clock that was set back their
    /// times begin again, and the first of them begins anew.
    ///
    /// # Errors
    /// When there is no such server, or it cannot be read.
    fn each_frame(
        &self,
        server: &str,
        range: TimeRange,
        resolution: Resolution,
        take: &mut dyn FnMut(Frame),
    ) -> Result<(), SourceError>;

    /// Roll-ups of a server with their sketches, oldest first. Those at the ends may reach beyond the range. Rows of a minute
    /// have no sketches where they come from a file: [`Span::TenMinutes`] is the shortest that has.
    ///
    /// # Errors
    /// As [`Self::each_frame`].
    fn rollups(&self, server: &str, range: TimeRange, span: Span) -> Result<Vec<Rollup>, SourceError>;

    /// What happened on a server, or on all.
    ///
    /// # Errors
    /// As [`Self::each_frame`].
    fn events(&self, server: Option<&str>, range: TimeRange) -> Result<Vec<Event>, SourceError>;

    /// Sessions of a server, or of all, that ran in a time.
    ///
    /// # Errors
    /// As [`Self::each_frame`].
    fn sessions(&self, server: Option<&str>, range: TimeRange) -> Result<Vec<StoredSession>, SourceError>;

    /// What its events never have; nothing where they have all.
    fn absent_events(&self) -> &'static [Absent] {
        &[]
    }

    /// What its sessions never have; nothing where they have all.
    fn absent_sessions(&self) -> &'static [Absent] {
        &[]
    }

    /// Spikes of a server, or of all, that began in a time, the oldest first.
    ///
    /// # Errors
    /// As [`Self::each_frame`].
    fn spikes(&self, server: Option<&str>, range: TimeRange) -> Result<Vec<StoredSpike>, SourceError>;

    /// What detectors found of a server, or of all, that began or was found again in a time, the oldest first.
    ///
    /// # Errors
    /// As [`Self::each_frame`].
    fn findings(&self, server: Option<&str>, range: TimeRange) -> Result<Vec<StoredFinding>, SourceError>;

    /// Players' lines of the minutes of a time, in no particular order. None where none are kept.
    ///
    /// # Errors
    /// As [`Self::each_frame`].
    fn lines(&self, server: &str, range: TimeRange) -> Result<Vec<StoredLine>, SourceError> {
        let _ = (server, range);
        Ok(Vec::new())
    }

    /// All frames at once: only for ranges and resolutions whose frames fit into memory.
    ///
    /// # Errors
    /// As [`Self::each_frame`].
    fn frames(
        &self,
        server: &str,
        range: TimeRange,
        resolution: Resolution,
    ) -> Result<Vec<Frame>, SourceError> {
        let mut frames = Vec::new();
        self.each_frame(server, range, resolution, &mut |frame| frames.push(frame))?;
        Ok(frames)
    }

    /// One figure over a whole range, quantiles included; `None` where nobody measured it.
    ///
    /// # Errors
    /// As [`Self::each_frame`].
    fn figure(
        &self,
        server: &str,
        range: TimeRange,
        measure: Measure,
    ) -> Result<Option<Figure>, SourceError> {
        let hours = range.to_unix_ms.saturating_sub(range.from_unix_ms) > 3 * 86_400_000;
        let span = if hours { Span::Hour } else { Span::TenMinutes };
        let mut whole: Option<Figure> = None;
        for row in self.rollups(server, range, span)? {
            match (row.figures.get(&measure), &mut whole) {
                (Some(figure), Some(whole)) => whole.merge(figure),
                (Some(figure), None) => whole = Some(figure.clone()),
                (None, _) => {}
            }
        }
        Ok(whole)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: i64 = 1_772_400_000_000;
    const HOUR: i64 = 3_600_000;

    #[test]
    fn ranges_are_durations_or_pairs_of_times() {
        let last = TimeRange::parse("24h", NOW).unwrap();
        assert_eq!((last.from_unix_ms, last.to_unix_ms), (NOW - 24 * HOUR, NOW));
        assert_eq!(
            TimeRange::parse("7d", NOW).unwrap().from_unix_ms,
            NOW - 168 * HOUR
        );
        // The night in which clocks in Berlin go from 2 to 3: an hour that is written as two is one.
        let night = TimeRange::parse("2026-03-29T01:30:00+01:00..2026-03-29T03:30:00+02:00", NOW).unwrap();
        assert_eq!(night.to_unix_ms - night.from_unix_ms, HOUR);
        for text in ["", "..", "yesterday", "12", "2026-03-01T00:00:00..", "-3h"] {
            assert!(TimeRange::parse(text, NOW).is_err(), "{text}");
        }
        let backwards = TimeRange::parse("2026-03-02T00:00:00Z..2026-03-01T00:00:00Z", NOW);
        assert!(matches!(backwards, Err(RangeError::Backwards(_))));
        assert!(TimeRange::parse("0s", NOW).is_err());
    }

    #[test]
    fn a_range_gets_frames_that_fit() {
        let kept = [
            Some(NOW - 48 * HOUR),
            Some(NOW - 840 * HOUR),
            Some(NOW - 9_000 * HOUR),
        ];
        let fitting = |from_hours: i64, to_hours: i64, kept: [Option<i64>; 3]| {
            let range = TimeRange {
                from_unix_ms: NOW - from_hours * HOUR,
                to_unix_ms: NOW - to_hours * HOUR,
            };
            Resolution::Fitting.of(range, kept, NOW)
        };
        assert_eq!(fitting(1, 0, kept), Resolution::Raw);
        assert_eq!(fitting(24, 0, kept), Resolution::Rolled(Span::Minute));
        assert_eq!(fitting(100, 99, kept), Resolution::Rolled(Span::Minute));
        assert_eq!(fitting(24 * 30, 0, kept), Resolution::Rolled(Span::Hour));
        assert_eq!(fitting(2_001, 2_000, kept), Resolution::Rolled(Span::Hour));
        // An agent that has run for an hour.
        let young = [Some(NOW - HOUR), None, None];
        assert_eq!(fitting(24, 0, young), Resolution::Raw);
        assert_eq!(Resolution::Raw.of(TimeRange::ALL, kept, NOW), Resolution::Raw);
    }

    proptest! {
        #[test]
        fn any_text_is_a_range_or_refused(text in "[0-9a-zTZ:. +-]{0,40}") {
            if let Ok(range) = TimeRange::parse(&text, NOW) {
                prop_assert!(range.from_unix_ms < range.to_unix_ms);
            }
        }
    }
}
