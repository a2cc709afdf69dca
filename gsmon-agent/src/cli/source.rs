//! `--source URL`: frames from a Prometheus-compatible server instead of the agent or its file. Not here: asking it.

use std::path::PathBuf;

use super::{Failure, SocketArg, analyze::frames_of, runtime, unix_ms};
use crate::{
    history::{
        Frame, HistorySource, Resolution, TimeRange,
        prometheus::{Credentials, PrometheusSource},
        rollup::Span,
    },
    serve::fetch_snapshot,
};

/// Where frames come from.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct SourceArgs {
    /// Ask this Prometheus-compatible server, which scrapes the agents: http://prometheus:9090. A server is called
    /// host:port/server there, or by its name alone where one host has it.
    #[arg(long, value_name = "URL", env = "GSMON_SOURCE")]
    source: Option<String>,
    /// File with a bearer token for it.
    #[arg(long, value_name = "FILE", env = "GSMON_SOURCE_TOKEN_FILE")]
    source_token_file: Option<PathBuf>,
    /// File with user:password for it.
    #[arg(
        long,
        value_name = "FILE",
        env = "GSMON_SOURCE_PASSWORD_FILE",
        conflicts_with = "source_token_file"
    )]
    source_password_file: Option<PathBuf>,
}

impl SourceArgs {
    /// The server, where one is named.
    pub fn open(&self) -> Result<Option<PrometheusSource>, Failure> {
        let credentials = match (&self.source_token_file, &self.source_password_file) {
            (Some(file), _) => Credentials::TokenFile(file.clone()),
            (None, Some(file)) => Credentials::PasswordFile(file.clone()),
            (None, None) => Credentials::None,
        };
        match &self.source {
            Some(url) => PrometheusSource::new(url, &credentials)
                .map(Some)
                .map_err(|error| Failure::Usage(error.into())),
            None if credentials != Credentials::None => Err(Failure::Usage(anyhow::anyhow!(
                "a token or a password is for a server: name it with --source URL"
            ))),
            None => Ok(None),
        }
    }
}

/// Whom a command asks.
pub enum Asked<'a> {
    /// The running agent of this host.
    Agent(&'a SocketArg),
    /// A Prometheus-compatible server.
    Source(Box<PrometheusSource>),
}

impl<'a> Asked<'a> {
    /// The source where one is named, else the agent.
    pub fn of(source: &SourceArgs, socket: &'a SocketArg) -> Result<Self, Failure> {
        Ok(match source.open()? {
            Some(source) => Self::Source(Box::new(source)),
            None => Self::Agent(socket),
        })
    }

    /// Names of all servers.
    pub fn servers(&self) -> Result<Vec<String>, Failure> {
        match self {
            Self::Agent(socket) => {
                let snapshot = runtime()?.block_on(fetch_snapshot(&socket.socket))?;
                Ok(snapshot.servers.into_iter().map(|server| server.name).collect())
            }
            Self::Source(source) => Ok(source.servers()?),
        }
    }

    /// Frames of a server: the last hour where no range is given.
    pub fn frames(
        &self,
        server: &str,
        range: Option<TimeRange>,
        resolution: Resolution,
    ) -> Result<Vec<Frame>, Failure> {
        match self {
            Self::Agent(socket) => {
                let word = match resolution {
                    Resolution::Fitting => None,
                    Resolution::Raw => Some("raw"),
                    Resolution::Rolled(Span::Minute) => Some("minute"),
                    Resolution::Rolled(Span::Hour) => Some("hour"),
                };
                let asked = frames_of(socket, server, range, word);
                Ok(runtime()?.block_on(asked)?.frames())
            }
            Self::Source(source) => {
                let hour = std::time::Duration::from_secs(3_600);
                let range = range.unwrap_or_else(|| TimeRange::last(hour, unix_ms()));
                Ok(source.frames(server, range, resolution)?)
            }
        }
    }
}
