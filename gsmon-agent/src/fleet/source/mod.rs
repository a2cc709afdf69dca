//! The Prometheus-compatible server of a fleet: what it last told of each host, how old that is, and which of its
//! instances is which host. `ask` talks to it, `api` serves the past out of it. A source that is silent tells nothing:
//! its figures go when they are too old, as those of an agent do.

pub mod api;
mod ask;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, watch};

pub use self::ask::AskError;
use super::board::HostState;
use crate::config::{FleetConfig, FleetSourceSettings};

/// Questions to the source at a time: an answer is held in memory.
const ASKED_AT_A_TIME: usize = 2;
/// Looks after which what it told is stale, and then unknown.
const STALE_AFTER_LOOKS: u32 = 3;
const UNKNOWN_AFTER_LOOKS: u32 = 6;

/// What a source tells of one server now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ServerFromSource {
    /// Does it run?
    pub up: bool,
    /// CPU over the last three minutes, cores.
    pub cpu_cores: Option<f64>,
    /// Resident memory.
    pub rss_bytes: Option<f64>,
    /// Humans.
    pub humans: Option<f64>,
    /// Ticks per second.
    pub tick_rate_hz: Option<f64>,
}

/// What a source tells of one host now.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HostFromSource {
    /// Since the host was scraped, by the source's own clock, plus the time since the source was asked.
    pub age_seconds: f64,
    /// Servers that run.
    pub servers_up: u64,
    /// CPU of its servers, cores; absent where no server has it, as the next two.
    pub cpu_cores: Option<f64>,
    /// Resident memory of its servers.
    pub rss_bytes: Option<f64>,
    /// Humans on its servers.
    pub humans: Option<f64>,
    /// CPU of its servers in the last half hour, a figure a minute, oldest first; null where nothing was scraped.
    pub cpu_cores_by_minute: Vec<Option<f64>>,
    /// Its servers by name; `GET /api/v1/servers` has them.
    #[serde(skip)]
    pub servers: BTreeMap<String, ServerFromSource>,
}

/// Everything that a source tells at one moment, by instance.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Told {
    instances: BTreeMap<String, HostFromSource>,
}

/// The source at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SourceDocument {
    /// How much is known.
    pub state: HostState,
    /// Since it told something; absent when it is unknown.
    pub age_seconds: Option<f64>,
    /// Why the last look failed, if it did.
    pub error: Option<String>,
    /// Looks that succeeded.
    pub readings: u64,
    /// Looks that failed since the last that did not.
    pub failures_in_a_row: u64,
    /// Instances that belong to no agent of the configuration.
    pub other_instances: Vec<String>,
}

/// The source and what it told of each host of the configuration.
#[derive(Clone, Debug)]
pub struct SourcePicture {
    /// How it is.
    pub document: SourceDocument,
    /// By host; nothing where it is unknown.
    pub hosts: BTreeMap<String, HostFromSource>,
}

/// How an agent may be called by who scrapes it.
#[derive(Clone, Debug)]
struct HostName {
    name: String,
    instance: Option<String>,
    address: Option<String>,
}

/// Keeps what the source told.
#[derive(Debug)]
pub struct SourceBoard {
    gate: Arc<Semaphore>,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    settings: Option<FleetSourceSettings>,
    names: Vec<HostName>,
    told: Option<(Arc<Told>, Instant)>,
    error: Option<String>,
    readings: u64,
    failures_in_a_row: u64,
}

impl SourceBoard {
    /// The source of a configuration, which has told nothing.
    pub fn new(config: &FleetConfig) -> Self {
        let board = Self {
            gate: Arc::new(Semaphore::new(ASKED_AT_A_TIME)),
            kept: Mutex::default(),
        };
        board.adopt(config);
        board
    }

    /// Takes a changed configuration: another source has told nothing.
    pub fn adopt(&self, config: &FleetConfig) {
        let mut kept = self.kept();
        if kept.settings != config.source {
            *kept = Kept {
                settings: config.source.clone(),
                ..Kept::default()
            };
        }
        let names = config.agents.iter().map(|agent| HostName {
            name: agent.name.clone(),
            instance: agent.instance.clone(),
            address: agent.place().ok().map(|place| place.host),
        });
        kept.names = names.collect();
    }

    /// Where it is, if there is one.
    pub fn settings(&self) -> Option<FleetSourceSettings> {
        self.kept().settings.clone()
    }

    fn note(&self, outcome: Result<Told, AskError>, now: Instant) {
        let mut kept = self.kept();
        match outcome {
            Ok(told) => {
                if kept.failures_in_a_row > 0 {
                    tracing::info!("[source] answers again");
                }
                kept.told = Some((Arc::new(told), now));
                kept.readings += 1;
                (kept.failures_in_a_row, kept.error) = (0, None);
            }
            Err(error) => {
                if kept.failures_in_a_row == 0 {
                    tracing::warn!("[source] cannot be read: {error}");
                }
                kept.failures_in_a_row += 1;
                kept.error = Some(error.to_string());
            }
        }
    }

    /// What is known of it; nothing where there is no source.
    pub fn picture(&self, now: Instant) -> Option<SourcePicture> {
        let mut kept = self.kept();
        let interval = kept.settings.as_ref()?.interval;
        let age = kept
            .told
            .as_ref()
            .map(|(_, at)| now.saturating_duration_since(*at));
        let state = match age {
            Some(age) if age <= STALE_AFTER_LOOKS * interval => HostState::Fresh,
            Some(age) if age <= UNKNOWN_AFTER_LOOKS * interval => HostState::Stale,
            _ => HostState::Unknown,
        };
        if state == HostState::Unknown {
            // It would only be shown by mistake.
            kept.told = None;
        }
        let (mut hosts, mut other_instances) = (BTreeMap::new(), Vec::new());
        if let Some(((told, _), age)) = kept.told.as_ref().zip(age) {
            let instances: Vec<&str> = told.instances.keys().map(String::as_str).collect();
            let named = named(&kept.names, &instances);
            for (instance, of) in &told.instances {
                match named.get(instance.as_str()) {
                    Some(host) => {
                        let mut of = of.clone();
                        of.age_seconds += age.as_secs_f64();
                        hosts.insert((*host).to_owned(), of);
                    }
                    None => other_instances.push(instance.clone()),
                }
            }
        }
        Some(SourcePicture {
            document: SourceDocument {
                state,
                age_seconds: age
                    .filter(|_| state != HostState::Unknown)
                    .map(|age| age.as_secs_f64()),
                error: kept.error.clone(),
                readings: kept.readings,
                failures_in_a_row: kept.failures_in_a_row,
                other_instances,
            },
            hosts,
        })
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Which instance is which host: the one that the configuration names; else the only one with the name of the host, or the
/// host of its URL, before the port. One that may be several hosts is none of them.
fn named<'a>(names: &'a [HostName], instances: &[&'a str]) -> BTreeMap<&'a str, &'a str> {
    let mut found: BTreeMap<&str, &str> = BTreeMap::new();
    let mut doubtful = Vec::new();
    let mut take = |instance: &'a str, host: &'a str| {
        if found.insert(instance, host).is_some() {
            doubtful.push(instance);
        }
    };
    for host in names {
        if let Some(told) = &host.instance {
            if let Some(instance) = instances.iter().find(|instance| *instance == told) {
                take(instance, &host.name);
            }
            continue;
        }
        let fits = |instance: &&&str| {
            let address = without_port(instance);
            address == host.name || Some(address) == host.address.as_deref()
        };
        let mut fitting = instances.iter().filter(fits);
        if let (Some(only), None) = (fitting.next(), fitting.next()) {
            take(only, &host.name);
        }
    }
    for instance in doubtful {
        found.remove(instance);
    }
    found
}

/// `[2001:db8::1]:9464` is `2001:db8::1`, `a:9464` is `a`, `a` is `a`.
fn without_port(instance: &str) -> &str {
    let port = |text: &str| text.chars().all(|sign| sign.is_ascii_digit());
    let host = match instance.rsplit_once(':') {
        Some((host, rest)) if port(rest) && (!host.contains(':') || host.ends_with(']')) => host,
        _ => instance,
    };
    host.trim_start_matches('[').trim_end_matches(']')
}

/// Looks at the source again and again until `stop` turns true; nothing where there is none.
pub async fn follow(board: Arc<SourceBoard>, mut stop: watch::Receiver<bool>) {
    let Some(settings) = board.settings() else { return };
    let interval = settings.interval;
    loop {
        let look = ask::look(board.gate.clone(), settings.clone());
        let outcome = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            outcome = look => outcome,
        };
        board.note(outcome, Instant::now());
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(interval.max(Duration::from_secs(1))) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str, instance: Option<&str>, address: &str) -> HostName {
        HostName {
            name: name.into(),
            instance: instance.map(str::to_owned),
            address: Some(address.into()),
        }
    }

    #[test]
    fn instances_are_hosts_where_there_is_no_doubt() {
        let names = [
            host("a", None, "10.0.0.1"),
            host("b", Some("b.example:1"), "10.0.0.2"),
            host("c", None, "10.0.0.3"),
            host("d", None, "10.0.0.4"),
            host("e", None, "10.0.0.4"),
            host("f", None, "2001:db8::1"),
        ];
        let instances = [
            "10.0.0.1:9464",
            "b.example:1",
            "10.0.0.2:9464",
            "c:9464",
            "10.0.0.3:9464",
            "10.0.0.4:9464",
            "[2001:db8::1]:9464",
        ];
        let found = named(&names, &instances);
        let wanted = [
            ("10.0.0.1:9464", "a"),
            ("[2001:db8::1]:9464", "f"),
            ("b.example:1", "b"),
        ];
        assert_eq!(found, BTreeMap::from(wanted));
        for (instance, host) in [("a", "a"), ("::1", "::1"), ("a:b", "a:b"), ("a:1", "a"), ("", "")] {
            assert_eq!(without_port(instance), host);
        }
    }

    #[test]
    fn what_a_source_told_grows_old_and_goes() {
        let mut config = crate::fleet::tests::fleet_of(&["a"]);
        config.agents[0].instance = Some("x:1".into());
        assert!(SourceBoard::new(&config).picture(Instant::now()).is_none());
        config.source = toml::from_str("url = \"http://localhost:1\"\ninterval = \"10s\"").unwrap();
        let board = SourceBoard::new(&config);
        let start = Instant::now();
        let picture = board.picture(start).unwrap();
        assert!(picture.hosts.is_empty() && picture.document.state == HostState::Unknown);
        let mut told = Told::default();
        let of = HostFromSource {
            age_seconds: 1.0,
            cpu_cores: Some(0.5),
            ..HostFromSource::default()
        };
        told.instances.insert("x:1".into(), of);
        told.instances.insert("y:1".into(), HostFromSource::default());
        board.note(Ok(told), start);
        let at = |seconds| board.picture(start + Duration::from_secs(seconds)).unwrap();
        let picture = at(20);
        assert_eq!(picture.hosts["a"].cpu_cores, Some(0.5));
        assert_eq!(
            (picture.hosts["a"].age_seconds, picture.document.state),
            (21.0, HostState::Fresh)
        );
        assert_eq!(picture.document.other_instances, ["y:1"]);
        assert_eq!(at(40).document.state, HostState::Stale);
        let picture = at(61);
        assert!(picture.hosts.is_empty() && picture.document.age_seconds.is_none());
        // It does not come back when a clock is asked for an earlier time.
        assert!(at(20).hosts.is_empty());
        config.source = None;
        board.adopt(&config);
        assert!(board.picture(start).is_none());
    }
}
