//! What a session uses: monotonic quantities of a server, their course over the last minutes, and what lies between two
//! moments of it.
//!
//! Totals are known at the end of each interval; between two of them they are taken to grow evenly. So an event that is
//! told late (a log read a little later, a query's answer) still cuts where it happened.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::world::snapshot::{DirectionTotals, ServerTotals};

macro_rules! resources {
    ($($(#[$doc:meta])* $field:ident,)*) => {
        /// Monotonic quantities, or what came of them in some time. `None` is "not known", never zero.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        pub struct Resources {
            $($(#[$doc])* pub $field: Option<u64>,)*
        }

        impl Resources {
            /// Combines field by field, where both are known.
            fn combine(&self, other: &Self, with: impl Fn(u64, u64) -> u64) -> Self {
                Self { $($field: self.$field.zip(other.$field).map(|(a, b)| with(a, b)),)* }
            }

            /// What has been added since `before`: what was not known then was nothing.
            pub fn grown_since(&self, before: &Self) -> Self {
                Self { $($field: self.$field.map(|now| now.saturating_sub(before.$field.unwrap_or(0))),)* }
            }

            /// Fills in zero where `known` is known: nothing was used until then.
            fn or_nothing(&self, known: &Self) -> Self {
                Self { $($field: self.$field.or(known.$field.map(|_| 0)),)* }
            }

            /// Changes every known field.
            pub fn map(&self, with: impl Fn(u64) -> u64) -> Self {
                Self { $($field: self.$field.map(&with),)* }
            }

            /// Adds in place; what was not known before is what is added.
            pub fn add(&mut self, more: &Self) {
                $(if let Some(more) = more.$field {
                    self.$field = Some(self.$field.unwrap_or(0).saturating_add(more));
                })*
            }
        }
    };
}

resources! {
    /// CPU time.
    cpu_ns,
    /// Time that runnable threads waited for a CPU.
    run_queue_wait_ns,
    /// Packets from clients.
    rx_packets,
    /// IP-layer bytes from clients.
    rx_bytes,
    /// Packets to clients.
    tx_packets,
    /// IP-layer bytes to clients.
    tx_bytes,
    /// Page faults without I/O.
    minor_faults,
    /// Page faults with I/O.
    major_faults,
    /// Bytes fetched from storage.
    disk_read_bytes,
    /// Bytes sent to storage.
    disk_write_bytes,
    /// Read calls, those that the page cache answers included.
    read_calls,
    /// Write calls.
    write_calls,
}

impl Resources {
    /// What came since `before`.
    pub fn since(&self, before: &Self) -> Self {
        self.combine(before, u64::saturating_sub)
    }

    /// A share of it.
    pub fn share(&self, part: f64) -> Self {
        let part = part.clamp(0.0, 1.0);
        self.map(|value| (value as f64 * part).round() as u64)
    }
}

impl From<&ServerTotals> for Resources {
    fn from(totals: &ServerTotals) -> Self {
        let packets = |side: Option<DirectionTotals>| side.map(|side| side.all().packets);
        let bytes = |side: Option<DirectionTotals>| side.map(|side| side.all().bytes);
        Self {
            cpu_ns: totals.cpu_ns,
            run_queue_wait_ns: totals.run_queue_wait_ns,
            rx_packets: packets(totals.rx),
            rx_bytes: bytes(totals.rx),
            tx_packets: packets(totals.tx),
            tx_bytes: bytes(totals.tx),
            minor_faults: totals.minor_faults,
            major_faults: totals.major_faults,
            disk_read_bytes: totals.disk_read_bytes,
            disk_write_bytes: totals.disk_write_bytes,
            read_calls: totals.read_calls,
            write_calls: totals.write_calls,
        }
    }
}

/// One moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moment {
    /// Milliseconds since the Unix epoch.
    pub unix_ms: i64,
    /// Totals.
    pub totals: Resources,
    /// Resident memory.
    pub rss_bytes: Option<u64>,
    /// Largest resident memory since the moment before.
    pub peak_rss_bytes: Option<u64>,
}

/// How long the course is kept: events are not told later than this.
const KEPT_MS: i64 = 120_000;
/// Moments kept at most.
const KEPT: usize = 1_300;

/// Totals over the last minutes.
#[derive(Debug, Default)]
pub struct Course {
    moments: VecDeque<Moment>,
}

impl Course {
    /// Adds the end of an interval. A clock that was set back begins anew: nothing can be told about times that
    /// happened twice.
    pub fn push(&mut self, moment: Moment) {
        while self
            .moments
            .back()
            .is_some_and(|last| last.unix_ms == moment.unix_ms)
        {
            self.moments.pop_back();
        }
        if self
            .moments
            .back()
            .is_some_and(|last| last.unix_ms > moment.unix_ms)
        {
            self.moments.clear();
        }
        self.moments.push_back(moment);
        let oldest_ms = moment.unix_ms - KEPT_MS;
        while self.moments.len() > KEPT
            || self
                .moments
                .front()
                .is_some_and(|first| first.unix_ms < oldest_ms)
        {
            self.moments.pop_front();
        }
    }

    /// The clock was set: everything happened so much later.
    pub fn shift(&mut self, by_ms: i64) {
        for moment in &mut self.moments {
            moment.unix_ms = moment.unix_ms.saturating_add(by_ms);
        }
    }

    /// A process began then: from the moment before that one until then nothing was used.
    pub fn begin_at(&mut self, unix_ms: i64) {
        let place = self.moments.partition_point(|moment| moment.unix_ms < unix_ms);
        let (Some(next), Some(newest)) = (self.moments.get(place), self.moments.back()) else {
            return;
        };
        if next.unix_ms == unix_ms {
            return;
        }
        let before = place.checked_sub(1).map(|index| self.moments[index]);
        let origin = Moment {
            unix_ms,
            totals: before
                .map(|before| before.totals)
                .unwrap_or_default()
                .or_nothing(&newest.totals),
            rss_bytes: before.and_then(|before| before.rss_bytes),
            peak_rss_bytes: None,
        };
        self.moments.insert(place, origin);
    }

    /// All moments, oldest first.
    pub fn moments(&self) -> impl Iterator<Item = &Moment> {
        self.moments.iter()
    }

    /// Totals at a time; before the first and after the last moment theirs.
    pub fn at(&self, unix_ms: i64) -> Resources {
        let after = self.moments.partition_point(|moment| moment.unix_ms < unix_ms);
        let next = self.moments.get(after);
        let previous = after.checked_sub(1).and_then(|index| self.moments.get(index));
        match (previous, next) {
            (None, None) => Resources::default(),
            (None, Some(one)) | (Some(one), None) => one.totals,
            (Some(_), Some(next)) if next.unix_ms == unix_ms => next.totals,
            (Some(previous), Some(next)) => {
                let whole = (next.unix_ms - previous.unix_ms) as f64;
                let part = (unix_ms - previous.unix_ms) as f64 / whole;
                let grown = next.totals.since(&previous.totals).share(part);
                previous.totals.combine(&grown, u64::saturating_add)
            }
        }
    }

    /// Used between two times.
    pub fn between(&self, from_ms: i64, to_ms: i64) -> Resources {
        self.at(to_ms).since(&self.at(from_ms))
    }

    /// Resident memory at the last moment up to a time.
    pub fn rss_before(&self, unix_ms: i64) -> Option<u64> {
        let after = self.moments.partition_point(|moment| moment.unix_ms <= unix_ms);
        self.moments
            .get(after.saturating_sub(1))
            .and_then(|moment| moment.rss_bytes)
    }

    /// Resident memory at the first moment from a time on.
    pub fn rss_at(&self, unix_ms: i64) -> Option<u64> {
        let after = self.moments.partition_point(|moment| moment.unix_ms < unix_ms);
        self.moments
            .get(after)
            .or_else(|| self.moments.back())
            .and_then(|moment| moment.rss_bytes)
    }

    /// Largest resident memory between two times; the next that was looked at, where there was no look between them.
    pub fn peak_rss(&self, from_ms: i64, to_ms: i64) -> Option<u64> {
        self.moments
            .iter()
            .filter(|moment| moment.unix_ms >= from_ms && moment.unix_ms <= to_ms)
            .filter_map(|moment| moment.peak_rss_bytes.max(moment.rss_bytes))
            .max()
            .or_else(|| self.rss_at(to_ms))
    }

    /// Growth of resident memory over the last `over_ms`, bytes per second: the slope of the least-squares line.
    pub fn rss_growth(&self, over_ms: i64) -> Option<f64> {
        let last = self.moments.back()?.unix_ms;
        let points: Vec<(f64, f64)> = self
            .moments
            .iter()
            .filter(|moment| moment.unix_ms >= last - over_ms)
            .filter_map(|moment| Some(((moment.unix_ms - last) as f64 / 1e3, moment.rss_bytes? as f64)))
            .collect();
        if points.len() < 5 {
            return None;
        }
        let count = points.len() as f64;
        let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
        let (mean_x, mean_y) = (mean(|point| point.0), mean(|point| point.1));
        let spread: f64 = points.iter().map(|point| (point.0 - mean_x).powi(2)).sum();
        let joint: f64 = points
            .iter()
            .map(|point| (point.0 - mean_x) * (point.1 - mean_y))
            .sum();
        (spread > 0.0).then(|| joint / spread)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn moment(unix_ms: i64, cpu_ns: u64) -> Moment {
        Moment {
            unix_ms,
            totals: Resources {
                cpu_ns: Some(cpu_ns),
                ..Resources::default()
            },
            rss_bytes: Some(cpu_ns),
            peak_rss_bytes: None,
        }
    }

    #[test]
    fn between_two_moments_growth_is_even() {
        let mut course = Course::default();
        for (ms, cpu) in [(1_000, 100), (2_000, 300), (3_000, 300)] {
            course.push(moment(ms, cpu));
        }
        assert_eq!(course.at(1_500).cpu_ns, Some(200));
        assert_eq!(course.at(0).cpu_ns, Some(100));
        assert_eq!(course.at(9_000).cpu_ns, Some(300));
        assert_eq!(course.between(1_250, 2_500).cpu_ns, Some(150));
        assert_eq!(
            course.between(1_250, 2_500).disk_read_bytes,
            None,
            "unknown stays unknown"
        );
        assert_eq!(course.peak_rss(1_500, 3_000), Some(300));
    }

    #[test]
    fn a_clock_set_back_begins_anew() {
        let mut course = Course::default();
        course.push(moment(5_000, 100));
        course.push(moment(4_000, 200));
        assert_eq!(course.between(4_000, 5_000).cpu_ns, Some(0));
        assert_eq!(course.at(4_500).cpu_ns, Some(200));
    }

    #[test]
    fn before_a_process_began_it_used_nothing() {
        let disk = |unix_ms, written: Option<u64>| Moment {
            totals: Resources {
                disk_write_bytes: written,
                ..Resources::default()
            },
            ..moment(unix_ms, 0)
        };
        // Nothing is known of a process that is not there; and the first interval may be that of its beginning.
        for earlier in [vec![disk(1_000, None)], Vec::new()] {
            let mut course = Course::default();
            earlier.into_iter().for_each(|moment| course.push(moment));
            course.push(disk(2_000, Some(700)));
            course.begin_at(1_600);
            course.push(disk(3_000, Some(900)));
            assert_eq!(course.at(1_600).disk_write_bytes, Some(0));
            assert_eq!(course.between(1_600, 2_500).disk_write_bytes, Some(800));
        }
    }

    #[test]
    fn growth_is_a_slope() {
        let mut course = Course::default();
        for second in 0..20 {
            course.push(moment(second * 1_000, 1_000 + 50 * second as u64));
        }
        assert!((course.rss_growth(60_000).unwrap() - 50.0).abs() < 1e-6);
        assert_eq!(Course::default().rss_growth(60_000), None);
    }

    proptest! {
        #[test]
        fn parts_add_up(cuts in prop::collection::vec(0i64..60_000, 0..20), steps in prop::collection::vec(0u64..1_000_000, 61)) {
            let mut course = Course::default();
            let mut total = 0;
            for (second, step) in steps.iter().enumerate() {
                total += step;
                course.push(moment(second as i64 * 1_000, total));
            }
            let mut cuts = cuts;
            cuts.extend([0, 60_000]);
            cuts.sort_unstable();
            let parts: u64 = cuts.windows(2).map(|pair| course.between(pair[0], pair[1]).cpu_ns.unwrap()).sum();
            let whole = course.between(0, 60_000).cpu_ns.unwrap();
            prop_assert_eq!(parts, whole);
        }
    }
}
