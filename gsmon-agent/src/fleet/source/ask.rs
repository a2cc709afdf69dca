//! Questions to the source, each on a thread that may wait, no more than a few at a time. Not here: what becomes of the
//! answers.

use std::{collections::BTreeMap, sync::Arc};

use tokio::sync::Semaphore;

use super::{HostFromSource, Told};
use crate::{
    config::FleetSourceSettings,
    history::{
        SourceError,
        prometheus::{Credentials, PrometheusError, PrometheusSource, Row, Web},
    },
};

/// Minutes of the short history.
const MINUTES: i64 = 30;

/// Why the source did not answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// It could not be asked, or refused.
    #[error(transparent)]
    Prometheus(#[from] PrometheusError),
    /// What was asked for is not there.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The question ended without an answer.
    #[error("the question was dropped: this is a fault of gsmon")]
    Dropped,
}

/// Asks on a thread of its own, when it is its turn.
pub async fn ask<T: Send + 'static>(
    gate: Arc<Semaphore>,
    settings: FleetSourceSettings,
    question: impl FnOnce(&PrometheusSource) -> Result<T, AskError> + Send + 'static,
) -> Result<T, AskError> {
    let turn = gate.acquire_owned().await.map_err(|_| AskError::Dropped)?;
    let asked = tokio::task::spawn_blocking(move || {
        // Who stops to wait for the answer does not make room before the question ends.
        let _turn = turn;
        question(&open(&settings)?)
    });
    asked.await.map_err(|_| AskError::Dropped)?
}

/// Files of tokens and certificates are read anew each time.
fn open(settings: &FleetSourceSettings) -> Result<PrometheusSource, PrometheusError> {
    let credentials = match (&settings.token_file, &settings.password_file) {
        (Some(file), _) => Credentials::TokenFile(file.clone()),
        (None, Some(file)) => Credentials::PasswordFile(file.clone()),
        (None, None) => Credentials::None,
    };
    let web = Web::trusting(&settings.url, &credentials, settings.ca_file.as_deref())?;
    PrometheusSource::through(web)
}

/// What it has of every host now.
pub async fn look(gate: Arc<Semaphore>, settings: FleetSourceSettings) -> Result<Told, AskError> {
    let now_ms = jiff::Timestamp::now().as_millisecond();
    ask(gate, settings, move |source| {
        let each = |of: &str| source.instant(format!("max by (instance,server) ({of})"), now_ms);
        let mut told = Told::default();
        let ages = "min by (instance) (time() - timestamp(gsmon_server_up))";
        for row in source.instant(ages.to_owned(), now_ms)? {
            let host = told
                .instances
                .entry(row.label("instance").to_owned())
                .or_default();
            host.age_seconds = newest(&row).unwrap_or_default().max(0.0);
        }
        for row in each("gsmon_server_up")? {
            if let Some(host) = told.instances.get_mut(row.label("instance")) {
                let server = host.servers.entry(row.label("server").to_owned()).or_default();
                server.up = newest(&row) == Some(1.0);
            }
        }
        type Field = fn(&mut super::ServerFromSource) -> &mut Option<f64>;
        let fields: [(&str, Field); 4] = [
            ("rate(gsmon_server_cpu_seconds_total[3m])", |server| {
                &mut server.cpu_cores
            }),
            ("gsmon_server_resident_memory_bytes", |server| {
                &mut server.rss_bytes
            }),
            ("gsmon_server_players{kind=\"human\"}", |server| {
                &mut server.humans
            }),
            ("gsmon_server_tick_rate_hertz", |server| &mut server.tick_rate_hz),
        ];
        for (of, field) in fields {
            for row in each(of)? {
                let host = told.instances.get_mut(row.label("instance"));
                let server = host.and_then(|host| host.servers.get_mut(row.label("server")));
                // A server that is gone uses nothing, and its last figures are no news.
                if let Some(server) = server.filter(|server| server.up) {
                    *field(server) = newest(&row);
                }
            }
        }
        let by_minute =
            "sum by (instance) (max by (instance,server) (rate(gsmon_server_cpu_seconds_total[3m])))";
        let end_ms = now_ms.div_euclid(60_000) * 60_000;
        let from_ms = end_ms - (MINUTES - 1) * 60_000;
        let rows = source.stepped(by_minute.to_owned(), from_ms, end_ms, 60)?;
        for row in rows {
            if let Some(host) = told.instances.get_mut(row.label("instance")) {
                host.cpu_cores_by_minute = minutes(&row, from_ms);
            }
        }
        told.instances.values_mut().for_each(add_up);
        Ok(told)
    })
    .await
}

fn newest(row: &Row) -> Option<f64> {
    row.samples
        .last()
        .map(|sample| sample.value)
        .filter(|value| value.is_finite())
}

/// A figure for each minute, where there was one.
fn minutes(row: &Row, from_ms: i64) -> Vec<Option<f64>> {
    let at: BTreeMap<i64, f64> = row
        .samples
        .iter()
        .map(|sample| (sample.unix_ms, sample.value))
        .collect();
    (0..MINUTES)
        .map(|minute| {
            at.get(&(from_ms + minute * 60_000))
                .copied()
                .filter(|value| value.is_finite())
        })
        .collect()
}

fn add_up(host: &mut HostFromSource) {
    let sum = |of: fn(&super::ServerFromSource) -> Option<f64>| {
        let values = host.servers.values().filter_map(of);
        values.fold(None, |sum: Option<f64>, value| Some(sum.unwrap_or(0.0) + value))
    };
    let (cpu, rss, humans) = (
        sum(|server| server.cpu_cores),
        sum(|server| server.rss_bytes),
        sum(|server| server.humans),
    );
    host.servers_up = host.servers.values().filter(|server| server.up).count() as u64;
    (host.cpu_cores, host.rss_bytes, host.humans) = (cpu, rss, humans);
}
