//! What has come of pushes, as Prometheus text.

use prometheus::{Encoder, IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder};

use crate::games::push::PushCounts;

/// The families of pushes.
pub fn encode(counts: &PushCounts) -> Result<String, prometheus::Error> {
    let registry = Registry::new();
    let counter = |name: &str, help: &str, value: u64| -> Result<(), prometheus::Error> {
        let counter = IntCounter::new(name, help)?;
        counter.inc_by(value);
        registry.register(Box::new(counter))
    };
    counter(
        "gsmon_push_events_accepted_total",
        "Events that engines pushed and gsmon took.",
        counts.accepted_events,
    )?;
    counter(
        "gsmon_push_events_dropped_total",
        "Pushed events turned away since too many waited; their sender was told to try again.",
        counts.dropped_events,
    )?;
    let waiting = IntGauge::new(
        "gsmon_push_events_waiting",
        "Pushed events that have not been taken over yet.",
    )?;
    waiting.set(counts.waiting_events.try_into().unwrap_or(i64::MAX));
    registry.register(Box::new(waiting))?;
    let refused = IntCounterVec::new(
        Opts::new(
            "gsmon_push_requests_refused_total",
            "Requests to push that were refused, by reason.",
        ),
        &["reason"],
    )?;
    for (reason, count) in &counts.refused_requests {
        refused.with_label_values(&[reason.name()]).inc_by(*count);
    }
    registry.register(Box::new(refused))?;
    let mut text = Vec::new();
    TextEncoder::new().encode(&registry.gather(), &mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}
