//! When something happened that a line tells: the line's own time, where it can be believed, else when it was read.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use jiff::{
    Timestamp, civil,
    tz::{AmbiguousOffset, TimeZone},
};

use crate::games::{LineTime, event::TimeSource};

/// A line may lie in a writer's buffer for so long.
const LATEST: i64 = 60 * 60 * 1000;
/// A writer's clock may be ahead by so much.
const EARLIEST: i64 = 5 * 60 * 1000;
/// How long the host's time zone is taken for granted.
const ZONE_LIFE: Duration = Duration::from_secs(60);

/// Milliseconds since the Unix epoch, by the host's clock.
pub fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Converts and judges times of lines.
#[derive(Debug)]
pub struct Clock {
    zone: TimeZone,
    looked_up: Instant,
    /// The last answer: most lines of a second say the same.
    last: Option<(civil::DateTime, AmbiguousOffset)>,
}

impl Clock {
    /// With the host's time zone (`TZ`, else `/etc/localtime`).
    pub fn new(now: Instant) -> Self {
        Self::in_zone(TimeZone::system(), now)
    }

    /// With this time zone, until [`Clock::refresh`] finds the host's.
    fn in_zone(zone: TimeZone, now: Instant) -> Self {
        Self {
            zone,
            looked_up: now,
            last: None,
        }
    }

    /// Looks up the host's time zone again, now and then.
    pub fn refresh(&mut self, now: Instant) {
        if now.duration_since(self.looked_up) > ZONE_LIFE {
            *self = Self::new(now);
        }
    }

    /// The time of an event that was read at `read_ms`, and how it is known. A time that a line states is believed from
    /// one hour before it was read to five minutes after. Most logs state whole seconds: such a line was written when it
    /// was read, if that was in its second, else no later than the end of it. So nothing seems to happen before what led
    /// to it, and lines keep their order.
    pub fn judge(&mut self, stated: Option<LineTime>, read_ms: i64) -> (i64, TimeSource) {
        let believed =
            |time: &i64| *time >= read_ms.saturating_sub(LATEST) && *time <= read_ms.saturating_add(EARLIEST);
        let candidates = match stated {
            None => [None, None],
            Some(LineTime::Utc(time)) => [Some(time), None],
            Some(LineTime::Local(time)) => self.local(time),
        };
        // Of an hour that exists twice, the later that is not in the future by far: lines are rarely late.
        match candidates.into_iter().flatten().filter(believed).max() {
            Some(time) if time.rem_euclid(1000) == 0 => {
                let end = time.saturating_add(999);
                (read_ms.clamp(time, end), TimeSource::Stated)
            }
            Some(time) => (time, TimeSource::Stated),
            None => (read_ms, TimeSource::Read),
        }
    }

    /// The moments at which the host's clocks show this.
    fn local(&mut self, shown: i64) -> [Option<i64>; 2] {
        let Ok(as_utc) = Timestamp::from_millisecond(shown) else {
            return [None, None];
        };
        let second = Timestamp::from_second(shown.div_euclid(1000)).unwrap_or(as_utc);
        let civil = TimeZone::UTC.to_datetime(second);
        let offset = match self.last {
            Some((last, offset)) if last == civil => offset,
            _ => self.zone.to_ambiguous_timestamp(civil).offset(),
        };
        self.last = Some((civil, offset));
        let at = |offset: jiff::tz::Offset| Some(shown - i64::from(offset.seconds()) * 1000);
        match offset {
            AmbiguousOffset::Unambiguous { offset } => [at(offset), None],
            AmbiguousOffset::Fold { before, after } => [at(before), at(after)],
            // Clocks never showed it: a writer that has not noticed the change.
            AmbiguousOffset::Gap { before, .. } => [at(before), None],
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: i64 = 1_790_000_000_000;

    fn clock(zone: &str) -> Clock {
        // POSIX notation: no time zone database is needed.
        Clock::in_zone(TimeZone::posix(zone).unwrap(), Instant::now())
    }

    fn berlin() -> Clock {
        clock("CET-1CEST,M3.5.0,M10.5.0/3")
    }

    fn shown(text: &str) -> i64 {
        let civil: civil::DateTime = text.parse().unwrap();
        TimeZone::UTC.to_timestamp(civil).unwrap().as_millisecond()
    }

    #[test]
    fn a_stated_time_is_believed_within_its_bounds() {
        let mut clock = clock("UTC0");
        for (stated, expected) in [
            (Some(NOW - 63_001), (NOW - 63_001, TimeSource::Stated)),
            (Some(NOW - LATEST + 1), (NOW - LATEST + 1, TimeSource::Stated)),
            (Some(NOW - LATEST - 1), (NOW, TimeSource::Read)),
            (Some(NOW + EARLIEST - 1), (NOW + EARLIEST - 1, TimeSource::Stated)),
            (Some(NOW + EARLIEST + 1), (NOW, TimeSource::Read)),
            (None, (NOW, TimeSource::Read)),
        ] {
            assert_eq!(clock.judge(stated.map(LineTime::Utc), NOW), expected);
            assert_eq!(clock.judge(stated.map(LineTime::Local), NOW), expected);
        }
    }

    #[test]
    fn a_whole_second_is_no_moment() {
        let mut clock = clock("UTC0");
        for (read, expected) in [
            // Read within the second, after it, and by a clock that is behind the writer's.
            (NOW + 340, NOW + 340),
            (NOW + 999, NOW + 999),
            (NOW + 1_200, NOW + 999),
            (NOW + 60_000, NOW + 999),
            (NOW - 200, NOW),
        ] {
            let judged = clock.judge(Some(LineTime::Utc(NOW)), read);
            assert_eq!(judged, (expected, TimeSource::Stated));
        }
    }

    #[test]
    fn local_times_follow_the_zone_through_the_year() {
        let mut clock = berlin();
        for (local, utc) in [
            ("2026-01-15T12:00:00.250", "2026-01-15T11:00:00.250"),
            ("2026-07-15T12:00:00.001", "2026-07-15T10:00:00.001"),
            // Clocks go from 02:00 to 03:00.
            ("2026-03-29T01:59:59.999", "2026-03-29T00:59:59.999"),
            ("2026-03-29T03:00:00.001", "2026-03-29T01:00:00.001"),
            ("2026-03-29T02:30:00.500", "2026-03-29T01:30:00.500"),
        ] {
            let read = shown(utc) + 100;
            let expected = (shown(utc), TimeSource::Stated);
            assert_eq!(
                clock.judge(Some(LineTime::Local(shown(local))), read),
                expected,
                "{local}"
            );
        }
    }

    #[test]
    fn an_hour_that_exists_twice_is_told_by_the_reading_time() {
        let mut clock = berlin();
        let stated = Some(LineTime::Local(shown("2026-10-25T02:30:00.250")));
        for utc in ["2026-10-25T00:30:00.250", "2026-10-25T01:30:00.250"] {
            let read = shown(utc) + 2000;
            assert_eq!(
                clock.judge(stated, read),
                (shown(utc), TimeSource::Stated),
                "{utc}"
            );
        }
    }

    #[test]
    fn a_wrong_zone_is_not_believed() {
        // The server runs in UTC, in a container of a host that does not.
        let stated = Some(LineTime::Local(NOW - 500));
        assert_eq!(clock("XXX-2").judge(stated, NOW), (NOW, TimeSource::Read));
        assert_eq!(clock("XXX3").judge(stated, NOW), (NOW, TimeSource::Read));
    }

    proptest! {
        #[test]
        fn no_time_makes_trouble(stated in any::<i64>(), near in -10_000_000i64..10_000_000, read in any::<i64>()) {
            let mut clock = berlin();
            for stated in [stated, read.saturating_add(near)] {
                for stated in [LineTime::Utc(stated), LineTime::Local(stated)] {
                    let (time, source) = clock.judge(Some(stated), read);
                    prop_assert!(source == TimeSource::Stated || time == read);
                    prop_assert!(time.abs_diff(read) <= LATEST as u64);
                }
            }
        }
    }
}
