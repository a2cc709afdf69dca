//! Minutes and hours, worked out by the Prometheus-compatible server: a question per measure and stretch of time. Rates
//! come from `rate`, which begins anew where a counter fell; a step without a scrape is no frame. Counts are rates times the
//! step, so that they are no whole numbers.
//!
//! Not here: samples (`frames`).

use std::{collections::HashMap, sync::Arc};

use super::{
    Known, PrometheusError, PrometheusSource,
    answer::Row,
    no_longer_than,
    table::{self, ACTIONS, How, PHASES, SCENE, STARTS, UP, how, scene_named},
};
use crate::{
    games::event::Phase,
    history::{
        frame::{Acted, Frame},
        measure::Measure,
        rollup::Span,
        source::{SourceError, TimeRange},
    },
    world::session::ask::phase_named,
};

/// Steps in one question: Prometheus refuses more than 11,000.
const MOST_STEPS: i64 = 10_000;
/// Longest ranges of minutes and of hours.
const LONGEST_MS: [i64; 2] = [35 * 86_400_000, 731 * 86_400_000];

/// Values by the end of their step.
type Steps = HashMap<i64, f64>;

fn steps(row: &Row) -> Steps {
    let finite = row.samples.iter().filter(|sample| sample.value.is_finite());
    finite.map(|sample| (sample.unix_ms, sample.value)).collect()
}

/// A stretch of steps that is asked for at a time.
#[derive(Clone, Copy)]
struct Stretch {
    from_ms: i64,
    to_ms: i64,
    step_seconds: i64,
    /// What functions look back over: a step, or more where less than three scrapes are in one.
    window_seconds: i64,
}

impl PrometheusSource {
    /// Hands over a frame per step.
    pub(super) fn rolled(
        &self,
        server: &Known,
        range: TimeRange,
        span: Span,
        take: &mut dyn FnMut(Frame),
    ) -> Result<(), SourceError> {
        let (longest_ms, what, advice) = match span {
            Span::Minute | Span::TenMinutes => (LONGEST_MS[0], "minutes", "ask for hours"),
            Span::Hour => (LONGEST_MS[1], "hours", "ask for less time"),
        };
        no_longer_than(range, longest_ms, what, advice)?;
        // Spans are those of UTC; one belongs to the range when it ends in it.
        let last_ms = range.to_unix_ms.div_euclid(span.ms()) * span.ms();
        let mut from_ms = (range.from_unix_ms + span.ms() - 1).div_euclid(span.ms()) * span.ms();
        let mut newest_ms = None;
        while from_ms <= last_ms {
            let to_ms = (from_ms + (MOST_STEPS - 1) * span.ms()).min(last_ms);
            for frame in self.stretch(server, span, from_ms, to_ms, newest_ms)? {
                newest_ms = Some(frame.unix_ms);
                take(frame);
            }
            from_ms = to_ms + span.ms();
        }
        Ok(())
    }

    fn stretch(
        &self,
        server: &Known,
        span: Span,
        from_ms: i64,
        to_ms: i64,
        newest_ms: Option<i64>,
    ) -> Result<Vec<Frame>, PrometheusError> {
        let step_seconds = span.ms() / 1_000;
        let mut stretch = Stretch {
            from_ms,
            to_ms,
            step_seconds,
            window_seconds: step_seconds,
        };
        let (host, own) = (server.host_matcher(), server.server_matcher());
        let both = format!("{host},{own}");
        let one = |query: String, stretch: Stretch| -> Result<Steps, PrometheusError> {
            Ok(self.over(query, stretch)?.first().map(steps).unwrap_or_default())
        };
        // Scrapes that found the server there.
        let there = one(UP.each("sum_over_time", &both, step_seconds), stretch)?;
        let densest = there.iter().max_by(|a, b| a.1.total_cmp(b.1).then(a.0.cmp(b.0)));
        let Some((at_ms, most)) = densest.filter(|(_, most)| **most >= 1.0) else {
            return Ok(Vec::new());
        };
        let interval_seconds = self.interval(&both, *at_ms, step_seconds)?;
        if *most < 3.0 {
            stretch.window_seconds = (4.0 * interval_seconds).ceil() as i64;
        }
        let starts = one(STARTS.each("changes", &both, stretch.window_seconds), stretch)?;
        let phases = self.phases(&both, stretch)?;
        let modes = self.shared_label(&["mode"], &both, stretch)?;
        let maps = self.shared_label(&["map"], &both, stretch)?;
        let mut measured: Vec<(Measure, Steps)> = Vec::new();
        for measure in Measure::ALL {
            let Some(query) = table::promql(*measure, &host, &own, stretch.window_seconds) else {
                continue;
            };
            measured.push((*measure, one(query, stretch)?));
        }
        let acted = self.over(ACTIONS.each("rate", &both, stretch.window_seconds), stretch)?;
        let acted: Vec<(Arc<str>, Steps)> = acted
            .iter()
            .map(|row| (row.label("action").into(), steps(row)))
            .collect();
        let mut ends: Vec<i64> = there
            .iter()
            .filter(|(_, scrapes)| **scrapes >= 1.0)
            .map(|(end_ms, _)| *end_ms)
            .collect();
        ends.sort_unstable();
        let mut frames = Vec::with_capacity(ends.len());
        let mut before_ms = newest_ms;
        for end_ms in ends {
            let seconds = (there[&end_ms] * interval_seconds).min(step_seconds as f64);
            let mut frame = Frame::new(end_ms, seconds);
            let follows = before_ms == Some(end_ms - span.ms());
            frame.begins_anew = !follows || starts.get(&end_ms).is_some_and(|changes| *changes > 0.0);
            frame.phase = phases.get(&end_ms).copied();
            frame.mode = modes.get(&end_ms).cloned();
            frame.map = maps.get(&end_ms).cloned();
            for (measure, steps) in &measured {
                let factor = match how(*measure) {
                    How::Count(_) => seconds,
                    _ => 1.0,
                };
                frame.set(*measure, steps.get(&end_ms).map(|value| value * factor));
            }
            let acted = acted.iter().filter_map(|(action, steps)| {
                let times = (steps.get(&end_ms)? * seconds).round();
                (times >= 1.0).then(|| Acted {
                    action: action.clone(),
                    times: times.min(f64::from(u32::MAX)) as u32,
                })
            });
            frame.acted = acted.collect();
            before_ms = Some(end_ms);
            frames.push(frame);
        }
        Ok(frames)
    }

    fn over(&self, query: String, stretch: Stretch) -> Result<Vec<Row>, PrometheusError> {
        self.stepped(query, stretch.from_ms, stretch.to_ms, stretch.step_seconds)
    }

    /// Time between two scrapes, from those of one step.
    fn interval(&self, matchers: &str, at_ms: i64, step_seconds: i64) -> Result<f64, PrometheusError> {
        let query = format!("{}{{{matchers}}}[{step_seconds}s]", UP.metric);
        let rows = self.instant(query, at_ms)?;
        let longest = rows.iter().max_by_key(|row| row.samples.len());
        let samples = longest.map(|row| row.samples.as_slice()).unwrap_or_default();
        let told = match samples {
            [first, .., last] => (last.unix_ms - first.unix_ms) as f64 / 1e3 / (samples.len() - 1) as f64,
            _ => step_seconds as f64,
        };
        Ok(told.max(1e-3))
    }

    /// Phases of the steps in which all sessions had the same one.
    fn phases(&self, matchers: &str, stretch: Stretch) -> Result<HashMap<i64, Phase>, PrometheusError> {
        let mut running: HashMap<i64, Vec<Phase>> = HashMap::new();
        for row in self.over(
            PHASES.each("max_over_time", matchers, stretch.step_seconds),
            stretch,
        )? {
            let Ok(phase) = phase_named(row.label("phase")) else {
                continue;
            };
            for (end_ms, count) in steps(&row) {
                if count > 0.0 {
                    running.entry(end_ms).or_default().push(phase);
                }
            }
        }
        let shared = running
            .into_iter()
            .filter_map(|(end_ms, phases)| (phases.len() == 1).then(|| (end_ms, phases[0])));
        Ok(shared.collect())
    }

    /// Modes, or maps, of the steps in which there was only one.
    fn shared_label(
        &self,
        label: &'static [&'static str; 1],
        matchers: &str,
        stretch: Stretch,
    ) -> Result<HashMap<i64, Arc<str>>, PrometheusError> {
        let query = SCENE
            .by(label)
            .each("max_over_time", matchers, stretch.step_seconds);
        let mut there: HashMap<i64, Vec<Arc<str>>> = HashMap::new();
        for row in self.over(query, stretch)? {
            let name: Arc<str> = row.label(label[0]).into();
            for (end_ms, _) in steps(&row).into_iter().filter(|(_, value)| *value > 0.0) {
                there.entry(end_ms).or_default().push(name.clone());
            }
        }
        let shared = there
            .into_iter()
            .filter_map(|(end_ms, names)| match names.as_slice() {
                [only] => scene_named(only).map(|_| (end_ms, only.clone())),
                _ => None,
            });
        Ok(shared.collect())
    }
}
