//! `--source URL` and `--fleet`: frames from a Prometheus-compatible server, asked directly or by the fleet, instead of the
//! agent or its file. Not here: asking it.

use std::path::{Path, PathBuf};

use super::{
    Failure, SocketArg,
    analyze::{frames_of, frames_route},
    runtime, unix_ms,
};
use crate::{
    config::DEFAULT_FLEET_SOCKET,
    history::{
        Frame, HistorySource, Mark, Resolution, ServerFrames, SourceError, StoredSpike, TimeRange,
        prometheus::{Credentials, PrometheusError, PrometheusSource},
        rollup::Span,
    },
    questions::{AnalysisError, Past},
    serve::{ClientError, Route, fetch, fetch_patiently, fetch_snapshot},
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
    /// Ask the running `gsmon fleet` of this host, which has such a server as [source]. A server is called host/server.
    #[arg(
        long,
        value_name = "SOCKET",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = DEFAULT_FLEET_SOCKET,
        conflicts_with_all = ["source", "source_token_file", "source_password_file"]
    )]
    fleet: Option<PathBuf>,
}

impl SourceArgs {
    /// The server, where one is named.
    ///
    /// # Errors
    /// When it cannot be meant, or a fleet is named, through which this question cannot be put.
    pub fn open(&self) -> Result<Option<PrometheusSource>, Failure> {
        if self.fleet.is_some() {
            return Err(Failure::Usage(anyhow::anyhow!(
                "this cannot be asked through a fleet: name the Prometheus-compatible server itself with --source URL"
            )));
        }
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
pub(super) enum Asked<'a> {
    /// The running agent of this host.
    Agent(&'a SocketArg),
    /// A Prometheus-compatible server.
    Source(Box<PrometheusSource>),
    /// The running fleet.
    Fleet(PathBuf),
}

impl<'a> Asked<'a> {
    /// The source where one is named, else the agent.
    pub fn of(source: &SourceArgs, socket: &'a SocketArg) -> Result<Self, Failure> {
        if let Some(fleet) = &source.fleet {
            return Ok(Self::Fleet(fleet.clone()));
        }
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
            Self::Source(source) => Ok(HistorySource::servers(&**source)?),
            Self::Fleet(socket) => of_fleet(socket, &Route::to(&["frames", "servers"])),
        }
    }

    /// Spikes of a server that are kept; a Prometheus-compatible server keeps none, so neither does a fleet.
    pub fn spikes(&self, server: &str, range: TimeRange) -> Result<Vec<StoredSpike>, Failure> {
        match self {
            Self::Agent(socket) => {
                let route = Route::to(&["spikes"])
                    .with("server", server)
                    .with("from", &range.from_unix_ms.to_string())
                    .with("to", &range.to_unix_ms.to_string());
                Ok(runtime()?.block_on(fetch(&socket.socket, &route))?)
            }
            Self::Source(_) | Self::Fleet(_) => Ok(Vec::new()),
        }
    }

    /// The same with players' lines, where they are kept: the player that is named is called so in the answer, others by
    /// pseudonym. Of a Prometheus-compatible server, and of a fleet, there are none.
    pub fn frames_with_lines(
        &self,
        server: &str,
        range: TimeRange,
        resolution: Resolution,
        player: Option<&str>,
    ) -> Result<Vec<Frame>, Failure> {
        let Self::Agent(socket) = self else {
            return self.frames(server, Some(range), resolution);
        };
        let route = frames_route(server, Some(range), word(resolution));
        let route = match player {
            Some(player) => route.with("player", player),
            None => route.with("lines", "all"),
        };
        let frames: ServerFrames = runtime()?.block_on(fetch(&socket.socket, &route))?;
        Ok(frames.frames())
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
                let asked = frames_of(socket, server, range, word(resolution));
                Ok(runtime()?.block_on(asked)?.frames())
            }
            Self::Fleet(socket) => {
                let route = frames_route(server, range, word(resolution));
                Ok(of_fleet::<ServerFrames>(socket, &route)?.frames())
            }
            Self::Source(source) => {
                let hour = std::time::Duration::from_secs(3_600);
                let range = range.unwrap_or_else(|| TimeRange::last(hour, unix_ms()));
                Ok(HistorySource::frames(&**source, server, range, resolution)?)
            }
        }
    }
}

impl Past for Asked<'_> {
    type Error = Failure;

    fn servers(&self) -> Result<Vec<String>, Failure> {
        Asked::servers(self)
    }

    fn each_frame(
        &self,
        server: &str,
        range: Option<TimeRange>,
        resolution: Resolution,
        take: &mut dyn FnMut(Frame),
    ) -> Result<(), Failure> {
        let frames = Asked::frames(self, server, range, resolution)?;
        frames.into_iter().for_each(take);
        Ok(())
    }

    fn marks(&self, server: &str) -> Result<Vec<Mark>, Failure> {
        match self {
            Self::Agent(socket) => {
                let route = Route::to(&["marks"]).with("server", server);
                Ok(runtime()?.block_on(fetch(&socket.socket, &route))?)
            }
            Self::Source(source) => Ok(Past::marks(&**source, server)?),
            Self::Fleet(_) => Err(PrometheusError::NotKept("marks").into()),
        }
    }
}

/// An answer, or why a command has none.
pub fn told<T>(answer: Result<T, AnalysisError<Failure>>) -> Result<T, Failure> {
    answer.map_err(|error| match error {
        AnalysisError::Source(failure) => failure,
        AnalysisError::Overlap => Failure::Usage(AnalysisError::<SourceError>::Overlap.into()),
        AnalysisError::Refused(error) => error.into(),
        AnalysisError::Ask(error) => error.into(),
    })
}

fn word(resolution: Resolution) -> Option<&'static str> {
    match resolution {
        Resolution::Fitting => None,
        Resolution::Raw => Some("raw"),
        Resolution::Rolled(Span::Minute) => Some("minute"),
        Resolution::Rolled(Span::TenMinutes) => Some("ten_minutes"),
        Resolution::Rolled(Span::Hour) => Some("hour"),
    }
}

/// What a fleet answers, which has to ask its source first.
pub(super) fn of_fleet<T: serde::de::DeserializeOwned>(socket: &Path, route: &Route) -> Result<T, Failure> {
    let answer = runtime()?.block_on(fetch_patiently(socket, route));
    answer.map_err(|error| match error {
        ClientError::NoAgent { path } => Failure::Usage(anyhow::anyhow!(
            "no gsmon fleet is running (nobody answers on {}): start it with `gsmon fleet --config fleet.toml`",
            path.display()
        )),
        error => error.into(),
    })
}
