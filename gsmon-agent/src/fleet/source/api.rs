//! The past of all hosts, as an agent serves that of one: frames of `host/server`, and the names of these.

use std::{str::FromStr, sync::Arc};

use super::{HostName, SourceBoard, ask, named};
use crate::{
    history::{
        Frame, HistorySource, Mark, Resolution, ServerFrames, SourceError, TimeRange, UnknownServer,
        prometheus::PrometheusSource,
    },
    questions,
};

pub use super::ask::AskError;

/// Frames in one answer, as an agent has it.
const MOST_FRAMES: usize = 20_000;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum PastError {
    /// There is none to ask.
    #[error(
        "this fleet has no source of the past: name a Prometheus-compatible server as `url` under [source] of its configuration"
    )]
    NoSource,
    /// The source.
    #[error("[source]: {0}")]
    Ask(#[from] AskError),
    /// More than an answer holds.
    #[error("more than {MOST_FRAMES} frames: ask for less time, or for resolution=minute or hour")]
    TooMany,
    /// No such server.
    #[error("there is no server called `{name}`")]
    Unknown {
        /// What was asked for.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
}

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Past {
    /// `host/server`; the server alone where one host has it.
    pub server: String,
    /// Of which time.
    pub range: TimeRange,
    /// How fine.
    pub resolution: Resolution,
}

/// Names of all servers, and what the source calls them.
fn names(hosts: &[HostName], told: &[String]) -> Vec<(String, String)> {
    let split: Vec<(&str, &str)> = told.iter().filter_map(|name| name.split_once('/')).collect();
    let mut instances: Vec<&str> = split.iter().map(|(instance, _)| *instance).collect();
    instances.dedup();
    let named = named(hosts, &instances);
    split
        .iter()
        .map(|(instance, server)| {
            let host = named.get(instance).unwrap_or(instance);
            (format!("{host}/{server}"), format!("{instance}/{server}"))
        })
        .collect()
}

/// The past of all hosts, by the names that the fleet has for them.
#[derive(Debug)]
pub struct FleetPast<'a> {
    source: &'a PrometheusSource,
    names: Vec<(String, String)>,
}

impl questions::Past for FleetPast<'_> {
    type Error = SourceError;

    fn servers(&self) -> Result<Vec<String>, SourceError> {
        Ok(self.names.iter().map(|(name, _)| name.clone()).collect())
    }

    fn each_frame(
        &self,
        server: &str,
        range: Option<TimeRange>,
        resolution: Resolution,
        take: &mut dyn FnMut(Frame),
    ) -> Result<(), SourceError> {
        let exact = self.names.iter().find(|(name, _)| name == server);
        // A name without its host is the source's to find, or to refuse where several have it.
        let called = exact.map_or(server, |(_, called)| called.as_str());
        match questions::Past::each_frame(self.source, called, range, resolution, take) {
            Err(SourceError::Unknown(_)) => Err(SourceError::Unknown(UnknownServer {
                name: server.to_owned(),
                known: questions::Past::servers(self)?,
            })),
            told => told,
        }
    }

    fn marks(&self, server: &str) -> Result<Vec<Mark>, SourceError> {
        questions::Past::marks(self.source, server)
    }
}

impl SourceBoard {
    /// Asks the past of all hosts, when it is its turn, on a thread that may wait.
    ///
    /// # Errors
    /// When there is no source, or it does not answer.
    pub async fn past<T: Send + 'static>(
        self: &Arc<Self>,
        question: impl FnOnce(&FleetPast<'_>) -> T + Send + 'static,
    ) -> Result<T, PastError> {
        let settings = self.settings().ok_or(PastError::NoSource)?;
        let hosts = self.kept().names.clone();
        let told = ask::ask(self.gate.clone(), settings, move |source| {
            let names = names(&hosts, &HistorySource::servers(source)?);
            Ok(question(&FleetPast { source, names }))
        });
        Ok(told.await?)
    }

    /// Names of all servers of the last 35 days: `host/server`, the host as in the fleet's configuration where it is there,
    /// else as the source has it.
    ///
    /// # Errors
    /// When there is no source, or it does not answer.
    pub async fn servers(self: &Arc<Self>) -> Result<Vec<String>, PastError> {
        let names = self.past(|past| questions::Past::servers(past)).await?;
        Ok(names.map_err(AskError::from)?)
    }

    /// Frames of a server.
    ///
    /// # Errors
    /// As [`Self::servers`], and when there is no such server, or too much of it.
    pub async fn frames(self: &Arc<Self>, past: Past) -> Result<ServerFrames, PastError> {
        let (asked, mut more) = (past.server.clone(), false);
        let found = self.past(move |of| {
            let mut frames = Vec::new();
            let mut take = |frame| match frames.len() < MOST_FRAMES {
                true => frames.push(frame),
                false => more = true,
            };
            questions::Past::each_frame(of, &past.server, Some(past.range), past.resolution, &mut take)?;
            Ok(if more { None } else { Some(frames) })
        });
        match found.await? {
            Ok(Some(frames)) => Ok(ServerFrames::of(&asked, &frames)),
            Ok(None) => Err(PastError::TooMany),
            Err(SourceError::Unknown(UnknownServer { name, known })) => {
                Err(PastError::Unknown { name, known })
            }
            Err(error) => Err(PastError::Ask(error.into())),
        }
    }
}

/// As the parameter `resolution` has it.
pub fn resolution(word: Option<&str>) -> Option<Resolution> {
    match word {
        None | Some("") => Some(Resolution::Fitting),
        Some(word) => Resolution::from_str(word).ok(),
    }
}

/// Milliseconds since the Unix epoch, or RFC 3339.
pub fn moment(text: &str) -> Option<i64> {
    let parsed = || Some(jiff::Timestamp::from_str(text).ok()?.as_millisecond());
    i64::from_str(text).ok().or_else(parsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_have_the_names_of_their_hosts() {
        let hosts = [HostName {
            name: "a".into(),
            instance: None,
            address: Some("10.0.0.1".into()),
        }];
        let told = ["10.0.0.1:9464/x/y".to_owned(), "b:1/arena".to_owned()];
        let found = names(&hosts, &told);
        assert_eq!(found[0], ("a/x/y".to_owned(), "10.0.0.1:9464/x/y".to_owned()));
        assert_eq!(found[1], ("b:1/arena".to_owned(), "b:1/arena".to_owned()));
    }
}
