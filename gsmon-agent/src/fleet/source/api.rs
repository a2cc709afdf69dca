//! The past of all hosts, as an agent serves that of one: frames of `host/server`, and the names of these.

use std::{str::FromStr, sync::Arc};

use super::{HostName, SourceBoard, ask, named};
use crate::history::{HistorySource, Resolution, ServerFrames, SourceError, TimeRange};

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

impl SourceBoard {
    /// Names of all servers of the last 35 days: `host/server`, the host as in the fleet's configuration where it is there,
    /// else as the source has it.
    ///
    /// # Errors
    /// When there is no source, or it does not answer.
    pub async fn servers(self: &Arc<Self>) -> Result<Vec<String>, PastError> {
        let settings = self.settings().ok_or(PastError::NoSource)?;
        let hosts = self.kept().names.clone();
        let told = ask::ask(self.gate.clone(), settings, |source| Ok(source.servers()?)).await?;
        Ok(names(&hosts, &told).into_iter().map(|(name, _)| name).collect())
    }

    /// Frames of a server.
    ///
    /// # Errors
    /// As [`Self::servers`], and when there is no such server, or too much of it.
    pub async fn frames(self: &Arc<Self>, past: Past) -> Result<ServerFrames, PastError> {
        let settings = self.settings().ok_or(PastError::NoSource)?;
        let hosts = self.kept().names.clone();
        let (asked, mut more) = (past.server.clone(), false);
        let found =
            ask::ask(self.gate.clone(), settings, move |source| {
                let names = names(&hosts, &source.servers()?);
                let exact = names.iter().find(|(name, _)| *name == past.server);
                let known = || names.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
                // A name without its host is the source's to find, or to refuse where several have it.
                let called = exact.map_or(past.server.as_str(), |(_, called)| called.as_str());
                let mut frames = Vec::new();
                let read = source.each_frame(called, past.range, past.resolution, &mut |frame| match frames
                    .len()
                    < MOST_FRAMES
                {
                    true => frames.push(frame),
                    false => more = true,
                });
                match read {
                    Err(SourceError::Unknown(_)) => Ok(Err(PastError::Unknown {
                        name: past.server.clone(),
                        known: known(),
                    })),
                    Err(error) => Err(error.into()),
                    Ok(()) if more => Ok(Err(PastError::TooMany)),
                    Ok(()) => Ok(Ok(frames)),
                }
            })
            .await??;
        Ok(ServerFrames::of(&asked, &found))
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
