//! The fleet itself as Prometheus text: which agents are heard, how old what they said is, what went wrong. Servers and
//! players are not here: their agents have `/metrics` of their own.

use prometheus::{CounterVec, Encoder, GaugeVec, Opts, Registry, TextEncoder};

use super::{
    board::{HostPicture, HostState},
    reader::ReadError,
    source::SourcePicture,
};

/// All families.
///
/// # Errors
/// When a name or a label is malformed, which no configuration can bring about.
pub fn encode(picture: &[HostPicture], source: Option<&SourcePicture>) -> Result<String, prometheus::Error> {
    let registry = Registry::new();
    let gauge = |name: &str, help: &str, labels: &[&str]| -> Result<GaugeVec, prometheus::Error> {
        let family = GaugeVec::new(Opts::new(name, help), labels)?;
        registry.register(Box::new(family.clone()))?;
        Ok(family)
    };
    let counter = |name: &str, help: &str, labels: &[&str]| -> Result<CounterVec, prometheus::Error> {
        let family = CounterVec::new(Opts::new(name, help), labels)?;
        registry.register(Box::new(family.clone()))?;
        Ok(family)
    };
    gauge("gsmon_fleet_build_info", "Version of the fleet.", &["version"])?
        .with_label_values(&[env!("CARGO_PKG_VERSION")])
        .set(1.0);
    let agents = gauge("gsmon_fleet_agents", "Agents by state.", &["state"])?;
    let states = gauge(
        "gsmon_fleet_agent_state",
        "1 for the state that an agent is in, 0 for the others.",
        &["agent", "state"],
    )?;
    for state in HostState::ALL {
        let count = picture.iter().filter(|host| host.state == state).count();
        agents.with_label_values(&[state.name()]).set(count as f64);
    }
    let age = gauge(
        "gsmon_fleet_agent_age_seconds",
        "Age of what an agent said; absent when it is unknown.",
        &["agent"],
    )?;
    let servers = gauge(
        "gsmon_fleet_agent_servers",
        "Servers of an agent; absent when it is unknown.",
        &["agent"],
    )?;
    let readings = counter(
        "gsmon_fleet_agent_readings_total",
        "Readings of an agent that succeeded.",
        &["agent"],
    )?;
    let errors = counter(
        "gsmon_fleet_agent_reading_errors_total",
        "Readings of an agent that failed, by reason.",
        &["agent", "reason"],
    )?;
    for host in picture {
        for state in HostState::ALL {
            let value = if state == host.state { 1.0 } else { 0.0 };
            states.with_label_values(&[&host.name, state.name()]).set(value);
        }
        if let Some(seconds) = host.age {
            age.with_label_values(&[&*host.name]).set(seconds.as_secs_f64());
        }
        if let Some(report) = &host.report {
            let count = report.snapshot.servers.len() as f64;
            servers.with_label_values(&[&*host.name]).set(count);
        }
        readings
            .with_label_values(&[&*host.name])
            .inc_by(host.readings as f64);
        for sort in ReadError::SORTS {
            let count = host.errors.get(sort).copied().unwrap_or(0);
            errors
                .with_label_values(&[&*host.name, sort])
                .inc_by(count as f64);
        }
    }
    if let Some(source) = source {
        let source = &source.document;
        let states = gauge(
            "gsmon_fleet_source_state",
            "1 for the state that the source of the past is in, 0 for the others.",
            &["state"],
        )?;
        for state in HostState::ALL {
            let value = if state == source.state { 1.0 } else { 0.0 };
            states.with_label_values(&[state.name()]).set(value);
        }
        let age = gauge(
            "gsmon_fleet_source_age_seconds",
            "Since the source told something; absent when it is unknown.",
            &[],
        )?;
        if let Some(seconds) = source.age_seconds {
            age.with_label_values::<&str>(&[]).set(seconds);
        }
        counter(
            "gsmon_fleet_source_readings_total",
            "Looks at the source that succeeded.",
            &[],
        )?
        .with_label_values::<&str>(&[])
        .inc_by(source.readings as f64);
        gauge(
            "gsmon_fleet_source_failures_in_a_row",
            "Looks at the source that failed since the last that did not.",
            &[],
        )?
        .with_label_values::<&str>(&[])
        .set(source.failures_in_a_row as f64);
    }
    let mut text = Vec::new();
    TextEncoder::new().encode(&registry.gather(), &mut text)?;
    String::from_utf8(text).map_err(|error| prometheus::Error::Msg(error.to_string()))
}
