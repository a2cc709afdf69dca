//! A snapshot as Prometheus text, one file per subject. Conventional names, base units; what is absent has no series.
//! Addresses, player names and PIDs are never labels.
//!
//! `server` what a server uses, `sockets` what its sockets hold and drop, `ticks` its game loop, `network` its players'
//! lines, `games` its sessions, phases and players, `scenes` its mode and map, `voices` how it is listened to, `companions` the processes beside it,
//! `probes` its probed functions, `sessions` the series of each session (off by default), `host` the machine, `agent` gsmon
//! itself, `outlook` what will come; `histogram` passes on histograms that the model has counted.

mod agent;
mod companions;
mod games;
mod histogram;
mod history;
mod host;
mod network;
mod outlook;
mod probes;
mod scenes;
mod server;
mod sessions;
mod sockets;
mod ticks;
mod voices;

pub use self::{
    outlook::{GroupFigures, OutlookFigures, encode as encode_outlook},
    scenes::SceneNames,
};
use prometheus::{CounterVec, Encoder, GaugeVec, Opts, Registry, TextEncoder};

use crate::{
    config::MetricsSettings,
    world::snapshot::{ServerSnapshot, Snapshot},
};

/// Media type of the text.
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// Encodes a snapshot; modes and maps have the labels that they had before.
///
/// # Errors
/// When a name or a label is malformed, which no configuration can bring about.
pub fn encode(
    snapshot: &Snapshot,
    settings: &MetricsSettings,
    scenes: &SceneNames,
) -> Result<String, prometheus::Error> {
    let page = Page {
        registry: Registry::new(),
    };
    page.servers(snapshot)?;
    page.sockets(snapshot)?;
    page.ticks(snapshot)?;
    page.network(snapshot)?;
    page.games(snapshot)?;
    page.scenes(snapshot, scenes)?;
    page.voices(snapshot)?;
    page.companions(snapshot)?;
    page.probes(snapshot)?;
    page.sessions(snapshot, settings)?;
    page.host(snapshot)?;
    page.agent(snapshot)?;
    page.history(snapshot)?;
    let mut text = Vec::new();
    TextEncoder::new().encode(&page.registry.gather(), &mut text)?;
    String::from_utf8(text).map_err(|error| prometheus::Error::Msg(error.to_string()))
}

struct Page {
    registry: Registry,
}

impl Page {
    fn counter(&self, name: &str, help: &str, labels: &[&str]) -> Result<CounterVec, prometheus::Error> {
        let family = CounterVec::new(Opts::new(name, help), labels)?;
        self.registry.register(Box::new(family.clone()))?;
        Ok(family)
    }

    fn gauge(&self, name: &str, help: &str, labels: &[&str]) -> Result<GaugeVec, prometheus::Error> {
        let family = GaugeVec::new(Opts::new(name, help), labels)?;
        self.registry.register(Box::new(family.clone()))?;
        Ok(family)
    }

    /// One gauge per server that has the value.
    fn server_gauge(
        &self,
        snapshot: &Snapshot,
        name: &str,
        help: &str,
        value: impl Fn(&ServerSnapshot) -> Option<f64>,
    ) -> Result<(), prometheus::Error> {
        let family = self.gauge(name, help, &["server"])?;
        for server in &snapshot.servers {
            if let Some(value) = value(server) {
                family.with_label_values(&[&server.name]).set(value);
            }
        }
        Ok(())
    }

    /// One counter per server and value of a second label; those without a value are left out.
    fn server_counters<const N: usize>(
        &self,
        snapshot: &Snapshot,
        name: &str,
        help: &str,
        label: &str,
        values: impl Fn(&ServerSnapshot) -> [(&'static str, Option<f64>); N],
    ) -> Result<(), prometheus::Error> {
        let family = self.counter(name, help, &["server", label])?;
        for server in &snapshot.servers {
            for (kind, value) in values(server) {
                if let Some(value) = value {
                    family.with_label_values(&[&server.name, kind]).inc_by(value);
                }
            }
        }
        Ok(())
    }

    fn server_counter(
        &self,
        snapshot: &Snapshot,
        name: &str,
        help: &str,
        value: impl Fn(&ServerSnapshot) -> Option<f64>,
    ) -> Result<(), prometheus::Error> {
        let family = self.counter(name, help, &["server"])?;
        for server in &snapshot.servers {
            if let Some(value) = value(server) {
                family.with_label_values(&[&server.name]).inc_by(value);
            }
        }
        Ok(())
    }
}

fn float(value: Option<u64>) -> Option<f64> {
    value.map(|value| value as f64)
}

fn seconds(nanoseconds: Option<u64>) -> Option<f64> {
    nanoseconds.map(|value| value as f64 / 1e9)
}

/// The name that serde gives a plain enum value.
fn word(value: &impl serde::Serialize) -> String {
    serde_json::to_value(value)
        .ok()
        .and_then(|value| value.as_str().map(str::to_owned))
        .unwrap_or_default()
}

#[cfg(test)]
pub(crate) mod tests;
