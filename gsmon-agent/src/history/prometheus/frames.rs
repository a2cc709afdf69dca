//! Samples become frames: pure. A frame ends where the agent was scraped and begins at the scrape before it; differences
//! of counters are taken between exactly these. A scrape that is missing is a gap, a counter that fell begins anew.
//!
//! Not here: asking (`mod`), which metric is what (`table`).

use std::{collections::HashMap, sync::Arc};

use super::{
    answer::{Row, Sample},
    table::{self, ACTIONS, Family, How, PHASES, SCENE, STARTS, UP, how, scene_named},
};
use crate::{
    games::event::Phase,
    history::{
        frame::{Acted, Frame},
        measure::Measure,
    },
    world::session::ask::phase_named,
};

/// Scrapes further apart than so many usual distances have a gap between them.
const GAP: f64 = 2.5;

/// Series by metric, each once, however often it was scraped.
#[derive(Debug, Default)]
pub struct Scraped {
    metrics: HashMap<&'static str, Vec<Row>>,
}

impl Scraped {
    /// Sorts rows; what no measure needs is left out.
    pub fn of(rows: Vec<Row>) -> Self {
        let known: HashMap<&str, Family> = table::all().map(|family| (family.metric, family)).collect();
        let mut scraped = Self::default();
        for row in rows {
            let Some(family) = known.get(row.label("__name__")) else {
                continue;
            };
            let of_metric = scraped.metrics.entry(family.metric).or_default();
            let same = |other: &&mut Row| {
                let labels = family.labels.iter().chain(&["server"]);
                labels
                    .into_iter()
                    .all(|label| other.label(label) == row.label(label))
            };
            // Two jobs that scrape one agent: the one that was there more often.
            match of_metric.iter_mut().find(same) {
                Some(other) if other.samples.len() >= row.samples.len() => {}
                Some(other) => *other = row,
                None => of_metric.push(row),
            }
        }
        scraped
    }

    fn series(&self, family: Family) -> impl Iterator<Item = &Row> {
        let rows = self.metrics.get(family.metric).map(Vec::as_slice);
        rows.unwrap_or_default()
            .iter()
            .filter(move |row| match family.only {
                None => true,
                Some((label, values)) => values.contains(&row.label(label)),
            })
    }
}

/// The value of a scrape; infinities and NaN are nobody's measurement.
fn at(samples: &[Sample], unix_ms: i64) -> Option<f64> {
    let index = samples
        .binary_search_by_key(&unix_ms, |sample| sample.unix_ms)
        .ok()?;
    Some(samples[index].value).filter(|value| value.is_finite())
}

/// Adds up what there is.
fn sum(values: impl Iterator<Item = f64>) -> Option<f64> {
    values.fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value))
}

/// Two scrapes of one server with nothing lost between them.
#[derive(Clone, Copy)]
struct Pair {
    before_ms: i64,
    now_ms: i64,
}

/// What of a counter that was not there before is known.
#[derive(Clone, Copy, PartialEq, Eq)]
enum NewSeries {
    /// Nothing: it may have been counting before somebody could see it.
    Unknown,
    /// It began at zero: the agent shows what has happened once only.
    FromZero,
}

impl Pair {
    fn seconds(self) -> f64 {
        (self.now_ms - self.before_ms) as f64 / 1e3
    }

    fn growth(self, row: &Row, new: NewSeries) -> Option<f64> {
        let now = at(&row.samples, self.now_ms)?;
        let before = match (at(&row.samples, self.before_ms), new) {
            (Some(before), _) => before,
            (None, NewSeries::FromZero) => 0.0,
            (None, NewSeries::Unknown) => return None,
        };
        (now >= before).then_some(now - before)
    }

    fn fell(self, row: &Row) -> bool {
        let pair = at(&row.samples, self.before_ms).zip(at(&row.samples, self.now_ms));
        pair.is_some_and(|(before, now)| now < before)
    }
}

fn counters(how: How) -> Vec<Family> {
    match how {
        How::Rate(of) | How::Count(of) => vec![of],
        How::Mean(sum, count, _) => vec![sum, count],
        How::Level(..) | How::Others(_) | How::PhaseChange | How::Absent => Vec::new(),
    }
}

/// The phase that all running sessions are in.
fn phase(scraped: &Scraped, unix_ms: i64) -> Option<Phase> {
    let mut running = scraped
        .series(PHASES)
        .filter(|row| at(&row.samples, unix_ms).is_some_and(|count| count > 0.0));
    let first = running.next()?;
    match running.next() {
        None => phase_named(first.label("phase")).ok(),
        Some(_) => None,
    }
}

/// Frames of one server out of what was scraped of it and of the CPU of its neighbours, those of scrapes after `after_ms`.
pub fn frames(scraped: &Scraped, server: &str, after_ms: i64) -> Vec<Frame> {
    let own = |family: Family| {
        scraped
            .series(family)
            .filter(move |row| row.label("server") == server)
    };
    let Some(up) = own(UP).next() else {
        return Vec::new();
    };
    let distances: Vec<f64> = up
        .samples
        .windows(2)
        .map(|pair| (pair[1].unix_ms - pair[0].unix_ms) as f64)
        .collect();
    // One scrape alone does not say how long it stands for.
    let Some(usual_ms) = median(distances) else {
        return Vec::new();
    };
    let measured: Vec<Family> = Measure::ALL
        .iter()
        .flat_map(|measure| counters(how(*measure)))
        .chain([STARTS])
        .collect();
    let mut frames = Vec::new();
    for (index, sample) in up.samples.iter().enumerate() {
        if sample.value != 1.0 || sample.unix_ms <= after_ms {
            continue;
        }
        let before = index.checked_sub(1).map(|before| up.samples[before]);
        let pair = before
            .filter(|before| before.value == 1.0)
            .map(|before| Pair {
                before_ms: before.unix_ms,
                now_ms: sample.unix_ms,
            })
            .filter(|pair| pair.seconds() > 0.0 && pair.seconds() * 1e3 <= GAP * usual_ms)
            .filter(|pair| own(STARTS).all(|row| pair.growth(row, NewSeries::Unknown) == Some(0.0)))
            .filter(|pair| {
                !measured
                    .iter()
                    .any(|family| own(*family).any(|row| pair.fell(row)))
            });
        let seconds = pair.map_or(usual_ms / 1e3, Pair::seconds);
        let mut frame = Frame::new(sample.unix_ms, seconds);
        frame.begins_anew = pair.is_none();
        frame.phase = phase(scraped, sample.unix_ms);
        let mut scenes = own(SCENE).filter(|row| at(&row.samples, sample.unix_ms) == Some(1.0));
        if let (Some(scene), None) = (scenes.next(), scenes.next()) {
            frame.mode = scene_named(scene.label("mode")).map(Arc::from);
            frame.map = scene_named(scene.label("map")).map(Arc::from);
        }
        for measure in Measure::ALL {
            let value = value(scraped, server, how(*measure), sample.unix_ms, pair, frame.phase);
            frame.set(*measure, value);
        }
        frame.acted = pair.map_or_else(Arc::default, |pair| {
            let acted = own(ACTIONS).filter_map(|row| {
                let times = pair.growth(row, NewSeries::FromZero)?;
                (times > 0.0).then(|| Acted {
                    action: row.label("action").into(),
                    times: times.min(f64::from(u32::MAX)) as u32,
                })
            });
            acted.collect()
        });
        frames.push(frame);
    }
    frames
}

fn value(
    scraped: &Scraped,
    server: &str,
    how: How,
    now_ms: i64,
    pair: Option<Pair>,
    now_phase: Option<Phase>,
) -> Option<f64> {
    let own = |family: Family| {
        scraped
            .series(family)
            .filter(move |row| row.label("server") == server)
    };
    let growth = |family: Family, new: NewSeries| {
        let pair = pair?;
        sum(own(family).filter_map(|row| pair.growth(row, new)))
    };
    match how {
        How::Level(of, factor) => {
            let level = sum(own(of).filter_map(|row| at(&row.samples, now_ms)))?;
            Some(level * factor)
        }
        How::Rate(of) => Some(growth(of, NewSeries::Unknown)? / pair?.seconds()),
        How::Count(of) => growth(of, NewSeries::FromZero),
        How::Mean(of, count, factor) => {
            let count = growth(count, NewSeries::Unknown).filter(|count| *count > 0.0)?;
            Some(growth(of, NewSeries::Unknown)? / count * factor)
        }
        How::Others(of) => {
            let pair = pair?;
            let others = scraped.series(of).filter(|row| row.label("server") != server);
            // One whose counter began anew is not known for this moment; the others are.
            let grown = sum(others.filter_map(|row| pair.growth(row, NewSeries::Unknown)))?;
            Some(grown / pair.seconds())
        }
        How::PhaseChange => {
            let before = phase(scraped, pair?.before_ms)?;
            Some(f64::from(u8::from(before != now_phase?)))
        }
        How::Absent => None,
    }
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn row(metric: &str, labels: &[(&str, &str)], samples: &[(i64, f64)]) -> Row {
        let labels = labels
            .iter()
            .chain(&[("__name__", metric)])
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let samples = samples
            .iter()
            .map(|(second, value)| Sample {
                unix_ms: second * 1_000,
                value: *value,
            })
            .collect();
        Row { labels, samples }
    }

    fn own(metric: &str, samples: &[(i64, f64)]) -> Row {
        row(metric, &[("server", "a")], samples)
    }

    const UP_5: [(i64, f64); 5] = [(0, 1.0), (10, 1.0), (20, 1.0), (30, 1.0), (40, 1.0)];

    #[test]
    fn mode_and_map_are_those_of_the_one_series_that_is_there() {
        let scene = |mode: &'static str, map: &'static str| [("server", "a"), ("mode", mode), ("map", map)];
        let scraped = Scraped::of(vec![
            own("gsmon_server_up", &UP_5),
            row(
                "gsmon_server_scene_info",
                &scene("duel", "q3dm17"),
                &[(0, 1.0), (10, 1.0), (30, 1.0)],
            ),
            row(
                "gsmon_server_scene_info",
                &scene("ctf", "other"),
                &[(20, 1.0), (30, 1.0)],
            ),
        ]);
        let told: Vec<_> = frames(&scraped, "a", -1)
            .iter()
            .map(|frame| {
                (
                    frame.mode.as_deref().map(str::to_owned),
                    frame.map.as_deref().map(str::to_owned),
                )
            })
            .collect();
        let duel = (Some("duel".to_owned()), Some("q3dm17".to_owned()));
        let ctf = (Some("ctf".to_owned()), None);
        assert_eq!(told, [duel.clone(), duel, ctf, (None, None), (None, None)]);
    }

    #[test]
    fn counters_are_differences_between_scrapes_and_gauges_are_levels() {
        let kind = |kind: &'static str| [("server", "a"), ("kind", kind)];
        let scraped = Scraped::of(vec![
            own("gsmon_server_up", &UP_5),
            own(
                "gsmon_server_cpu_seconds_total",
                &[(0, 5.0), (10, 6.0), (20, 8.0), (30, 8.0), (40, 9.0)],
            ),
            row("gsmon_server_players", &kind("human"), &[(10, 4.0), (20, 5.0)]),
            row("gsmon_server_players", &kind("bot"), &[(20, 2.0)]),
            row("gsmon_server_players", &kind("connecting"), &[(20, 9.0)]),
            row(
                "gsmon_server_player_events_total",
                &kind("join"),
                &[(0, 1.0), (10, 3.0)],
            ),
            row(
                "gsmon_server_player_events_total",
                &kind("inferred_join"),
                &[(10, 1.0)],
            ),
            row(
                "gsmon_server_tick_time_seconds",
                &[("server", "a"), ("statistic", "p99")],
                &[(10, 0.02)],
            ),
            row(
                "gsmon_server_player_actions_total",
                &[("server", "a"), ("action", "jump")],
                &[(20, 3.0)],
            ),
            row(
                "gsmon_server_cpu_seconds_total",
                &[("server", "b")],
                &[(0, 0.0), (10, 5.0)],
            ),
            own("gsmon_server_jitter_seconds_sum", &[(0, 0.1), (10, 0.3)]),
            own("gsmon_server_jitter_seconds_count", &[(0, 10.0), (10, 60.0)]),
            own("something_else", &[(0, 1.0)]),
        ]);
        let frames = frames(&scraped, "a", i64::MIN);
        assert_eq!(frames.len(), 5);
        assert!(frames[0].begins_anew && frames[0].get(Measure::CpuCores).is_none());
        let of = |index: usize, measure| {
            let value: Option<f64> = frames[index].get(measure);
            value.map(|value| (value * 1e4).round() / 1e4)
        };
        assert_eq!((frames[1].seconds, frames[1].begins_anew), (10.0, false));
        assert_eq!(of(1, Measure::CpuCores), Some(0.1));
        assert_eq!(of(3, Measure::CpuCores), Some(0.0));
        assert_eq!((of(1, Measure::Players), of(1, Measure::Bots)), (Some(4.0), None));
        assert_eq!(
            (of(2, Measure::Players), of(2, Measure::Bots)),
            (Some(7.0), Some(2.0))
        );
        assert_eq!(of(1, Measure::Joins), Some(3.0));
        assert_eq!(of(1, Measure::TickP99Ms), Some(20.0));
        assert_eq!(of(1, Measure::OtherServersCpuCores), Some(0.5));
        assert_eq!(of(2, Measure::OtherServersCpuCores), None);
        assert_eq!(of(1, Measure::JitterMs), Some(4.0));
        assert_eq!(
            (of(2, Measure::Actions), frames[2].acted[0].times),
            (Some(3.0), 3)
        );
        assert_eq!(of(1, Measure::RttP50Ms), None);
        let later = super::frames(&scraped, "a", 20_000);
        assert_eq!(later.len(), 2);
        assert!(
            !later[0].begins_anew,
            "the scrape before the range tells differences"
        );
    }

    #[test]
    fn gaps_restarts_and_counters_that_fell_begin_anew() {
        let up = [
            (0, 1.0),
            (10, 1.0),
            (20, 1.0),
            (80, 1.0),
            (90, 0.0),
            (100, 1.0),
            (110, 1.0),
            (120, 1.0),
        ];
        let cpu: Vec<(i64, f64)> = up.iter().map(|(t, _)| (*t, *t as f64)).collect();
        let mut fallen = cpu.clone();
        fallen[7].1 = 1.0;
        let starts: Vec<(i64, f64)> = up
            .iter()
            .map(|(t, _)| (*t, if *t < 110 { 1.0 } else { 2.0 }))
            .collect();
        let scraped = Scraped::of(vec![
            own("gsmon_server_up", &up),
            own("gsmon_server_cpu_seconds_total", &fallen),
            own("gsmon_server_starts_total", &starts),
        ]);
        let frames = frames(&scraped, "a", i64::MIN);
        let told: Vec<(i64, bool)> = frames
            .iter()
            .map(|frame| (frame.unix_ms / 1_000, frame.begins_anew))
            .collect();
        let anew = [
            (0, true),
            (10, false),
            (20, false),
            (80, true),
            (100, true),
            (110, true),
            (120, true),
        ];
        assert_eq!(told, anew);
        for frame in &frames {
            assert_eq!(frame.get(Measure::CpuCores).is_none(), frame.begins_anew);
        }
    }

    #[test]
    fn an_agent_that_two_jobs_scrape_is_counted_once_and_a_single_scrape_is_no_frame() {
        let cpu = [(0, 0.0), (10, 10.0)];
        let job = |job: &'static str, metric: &str, samples: &[(i64, f64)]| {
            row(metric, &[("server", "a"), ("job", job)], samples)
        };
        let scraped = Scraped::of(vec![
            job("x", "gsmon_server_up", &UP_5),
            job("y", "gsmon_server_up", &UP_5[..1]),
            job("x", "gsmon_server_cpu_seconds_total", &cpu),
            job("y", "gsmon_server_cpu_seconds_total", &cpu),
        ]);
        assert_eq!(
            frames(&scraped, "a", i64::MIN)[1].get(Measure::CpuCores),
            Some(1.0)
        );
        let single = Scraped::of(vec![own("gsmon_server_up", &UP_5[..1])]);
        assert!(frames(&single, "a", i64::MIN).is_empty());
        assert!(frames(&single, "b", i64::MIN).is_empty());
    }

    #[test]
    fn a_phase_is_told_where_all_sessions_share_it() {
        let phase = |phase: &'static str, samples: &[(i64, f64)]| {
            row(
                "gsmon_server_sessions",
                &[("server", "a"), ("phase", phase)],
                samples,
            )
        };
        let scraped = Scraped::of(vec![
            own("gsmon_server_up", &UP_5),
            phase("lobby", &[(0, 1.0), (10, 1.0), (20, 0.0), (30, 1.0)]),
            phase("active", &[(0, 0.0), (10, 0.0), (20, 1.0), (30, 2.0)]),
        ]);
        let frames = frames(&scraped, "a", i64::MIN);
        let told: Vec<Option<Phase>> = frames.iter().map(|frame| frame.phase).collect();
        assert_eq!(
            told,
            [
                Some(Phase::Lobby),
                Some(Phase::Lobby),
                Some(Phase::Active),
                None,
                None
            ]
        );
        let changes: Vec<Option<f64>> = frames
            .iter()
            .map(|frame| frame.get(Measure::PhaseChanges))
            .collect();
        assert_eq!(changes, [None, Some(0.0), Some(1.0), None, None]);
    }

    proptest! {
        /// However scrapes come and counters fall: no rate below zero, times rise, and growth is never invented.
        #[test]
        fn growth_is_never_invented(
            steps in prop::collection::vec((1i64..40, 0.0..50.0f64, prop::bool::weighted(0.1), prop::bool::weighted(0.9)), 2..60),
        ) {
            let (mut time, mut counter, mut grown) = (0, 0.0, 0.0);
            let (mut up, mut cpu) = (Vec::new(), Vec::new());
            for (distance, growth, reset, is_up) in steps {
                time += distance;
                if reset { counter = 0.0 } else { counter += growth; grown += growth }
                up.push((time, f64::from(u8::from(is_up))));
                cpu.push((time, counter));
            }
            let scraped = Scraped::of(vec![
                own("gsmon_server_up", &up),
                own("gsmon_server_cpu_seconds_total", &cpu),
            ]);
            let frames = frames(&scraped, "a", i64::MIN);
            prop_assert!(frames.windows(2).all(|pair| pair[0].unix_ms < pair[1].unix_ms));
            let mut told = 0.0;
            for frame in &frames {
                prop_assert!(frame.seconds > 0.0);
                let cores = frame.get(Measure::CpuCores);
                prop_assert!(cores.is_none() || !frame.begins_anew);
                prop_assert!(cores.is_none_or(|cores| cores >= 0.0));
                told += cores.unwrap_or(0.0) * frame.seconds;
            }
            prop_assert!(told <= grown * 1.000_01 + 1e-3, "{told} of {grown}");
        }
    }
}
