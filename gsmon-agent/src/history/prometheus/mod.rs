//! A Prometheus-compatible server (Prometheus, Thanos, Mimir, VictoriaMetrics) as the history of many hosts.
//!
//! A server is called `host/server`: the label `instance` as the scraper has it, and its name. Samples of a second or
//! however often it is scraped come whole, with the times of the scrapes, and `frames` makes frames of them; minutes and
//! hours are worked out over there by `query_range`, a question per measure. Events are made of counters (`happened`), sessions of
//! their series (`sessions`), and both say what they lack. What nobody exports is absent: players' own lines, marks, spikes.
//!
//! `table` says which metric is which measure, `web` talks HTTP and TLS, `answer` reads what comes. Not here: what an
//! agent exports (`serve::metrics`).

mod answer;
mod frames;
mod happened;
mod rolled;
mod sessions;
pub mod table;
pub mod web;

use std::{cell::OnceCell, collections::BTreeMap};

pub use self::{
    answer::{AnswerError, Row, Sample, rows},
    web::{Credentials, Web, WebError},
};
use self::{
    frames::Scraped,
    table::{How, how, matcher},
};
use super::{
    events::Event,
    findings::StoredFinding,
    frame::Frame,
    measure::Measure,
    rollup::{Rollup, Span, roll_frames},
    source::{Absent, HistorySource, Resolution, SourceError, StoredSession, TimeRange},
    spikes::StoredSpike,
    store::UnknownServer,
};

/// Samples are fetched for so long at a time: 3,600 scrapes of some 100 series are some 10 MiB.
const CHUNK_MS: i64 = 3_600_000;
/// Before the first frame of a range, the scrape that differences begin at is looked for so far back.
const BEFORE_MS: i64 = 300_000;
/// Longest range of samples.
const LONGEST_RAW_MS: i64 = 48 * 3_600_000;
/// Longest range of roll-ups with quantiles, which are made of samples.
const LONGEST_SKETCHES_MS: i64 = 8 * 86_400_000;
/// Servers that were there within this time are known.
const KNOWN_MS: i64 = 35 * 86_400_000;

/// Why a Prometheus-compatible server does not answer.
#[derive(Debug, thiserror::Error)]
pub enum PrometheusError {
    /// No answer.
    #[error(transparent)]
    Web(#[from] WebError),
    /// An answer that cannot be used.
    #[error("{host}: {error}")]
    Answer {
        /// Who.
        host: String,
        /// What is wrong.
        error: AnswerError,
    },
    /// No thread or descriptor is left.
    #[error("cannot wait for answers: {0}")]
    Runtime(std::io::Error),
    /// Nothing of gsmon is there.
    #[error(
        "{host} has no series gsmon_server_up of the last 35 days: let it scrape the agents' /metrics (README: \"Many hosts\")"
    )]
    NoAgents {
        /// Who.
        host: String,
    },
    /// Several hosts have a server of this name.
    #[error("several hosts have a server `{name}`: say which: {}", .known.join(", "))]
    Ambiguous {
        /// What was asked for.
        name: String,
        /// Names with their hosts.
        known: Vec<String>,
    },
    /// Too much at a time.
    #[error(
        "{days} days of {what} are too much to ask a Prometheus-compatible server for: at most {most} days; {advice}"
    )]
    TooLong {
        /// What was asked for.
        what: &'static str,
        /// Length that was asked for.
        days: i64,
        /// Longest.
        most: i64,
        /// What to do.
        advice: &'static str,
    },
    /// Sessions ran, and nobody exported them.
    #[error(
        "sessions of `{server}` have no series of their own: set sessions = \"on\" under [metrics] of its agent; `history events` has how many began and ended"
    )]
    NoSessionSeries {
        /// Whose.
        server: String,
    },
    /// It is no time series.
    #[error("a Prometheus-compatible server keeps no {0}: ask the agent of that host, or its file")]
    NotKept(&'static str),
}

/// A server on a host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Known {
    instance: String,
    server: String,
}

impl Known {
    fn name(&self) -> String {
        format!("{}/{}", self.instance, self.server)
    }

    fn host_matcher(&self) -> String {
        matcher("instance", &self.instance)
    }

    fn server_matcher(&self) -> String {
        matcher("server", &self.server)
    }
}

/// A Prometheus-compatible server. Must not be asked from inside an asynchronous runtime: it has its own.
#[derive(Debug)]
pub struct PrometheusSource {
    web: Web,
    runtime: tokio::runtime::Runtime,
    known: OnceCell<Vec<Known>>,
}

impl PrometheusSource {
    /// At an address such as `http://prometheus:9090` or `https://mimir/prometheus`. Nothing is asked yet.
    ///
    /// # Errors
    /// When that is no address, or the credentials cannot be read.
    pub fn new(url: &str, credentials: &Credentials) -> Result<Self, PrometheusError> {
        Self::through(Web::new(url, credentials)?)
    }

    /// Through a web server whose address and trust are settled. Nothing is asked yet.
    ///
    /// # Errors
    /// When no thread or descriptor is left.
    pub fn through(web: Web) -> Result<Self, PrometheusError> {
        Ok(Self {
            web,
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(PrometheusError::Runtime)?,
            known: OnceCell::new(),
        })
    }

    fn refused(&self, error: AnswerError) -> PrometheusError {
        PrometheusError::Answer {
            host: self.web.name().to_owned(),
            error,
        }
    }

    fn ask(&self, path: &str, form: &[(&str, String)]) -> Result<Vec<Row>, PrometheusError> {
        let body = self.runtime.block_on(self.web.post_form(path, form))?;
        rows(&body).map_err(|error| self.refused(error))
    }

    /// One question at one time.
    ///
    /// # Errors
    /// When it is not answered.
    pub fn instant(&self, query: String, unix_ms: i64) -> Result<Vec<Row>, PrometheusError> {
        self.ask("/api/v1/query", &[("query", query), ("time", seconds(unix_ms))])
    }

    /// One question at every step; each sample stands for the step that ends at its time.
    ///
    /// # Errors
    /// When it is not answered.
    pub fn stepped(
        &self,
        query: String,
        from_ms: i64,
        to_ms: i64,
        step_seconds: i64,
    ) -> Result<Vec<Row>, PrometheusError> {
        self.ask(
            "/api/v1/query_range",
            &[
                ("query", query),
                ("start", seconds(from_ms)),
                ("end", seconds(to_ms)),
                ("step", step_seconds.to_string()),
            ],
        )
    }

    fn known(&self) -> Result<&[Known], PrometheusError> {
        if let Some(known) = self.known.get() {
            return Ok(known);
        }
        let now_ms = now_ms();
        let form = [
            ("match[]", table::UP.metric.to_owned()),
            ("start", seconds(now_ms - KNOWN_MS)),
            ("end", seconds(now_ms)),
        ];
        let body = self
            .runtime
            .block_on(self.web.post_form("/api/v1/series", &form))?;
        let found = answer::labels(&body).map_err(|error| self.refused(error))?;
        let label = |labels: &answer::Labels, name: &str| labels.get(name).cloned().unwrap_or_default();
        let mut known: Vec<Known> = found
            .iter()
            .map(|labels| Known {
                instance: label(labels, "instance"),
                server: label(labels, "server"),
            })
            .collect();
        known.sort_unstable();
        known.dedup();
        if known.is_empty() {
            return Err(PrometheusError::NoAgents {
                host: self.web.name().to_owned(),
            });
        }
        Ok(self.known.get_or_init(|| known))
    }

    /// By `host/server`, or by the name alone where one host has it.
    fn find(&self, name: &str) -> Result<&Known, SourceError> {
        let known = self.known()?;
        if let Some(exact) = known.iter().find(|known| known.name() == name) {
            return Ok(exact);
        }
        let named: Vec<&Known> = known.iter().filter(|known| known.server == name).collect();
        match named.as_slice() {
            [only] => Ok(only),
            [] => Err(SourceError::Unknown(UnknownServer {
                name: name.to_owned(),
                known: known.iter().map(Known::name).collect(),
            })),
            several => Err(PrometheusError::Ambiguous {
                name: name.to_owned(),
                known: several.iter().map(|known| known.name()).collect(),
            }
            .into()),
        }
    }

    /// One, or all.
    fn asked_for(&self, name: Option<&str>) -> Result<Vec<&Known>, SourceError> {
        match name {
            Some(name) => Ok(vec![self.find(name)?]),
            None => Ok(self.known()?.iter().collect()),
        }
    }

    /// Hands over frames of samples, hour by hour.
    fn scraped(
        &self,
        server: &Known,
        range: TimeRange,
        take: &mut dyn FnMut(Frame),
    ) -> Result<(), SourceError> {
        let mut metrics: Vec<&str> = table::all().map(|family| family.metric).collect();
        metrics.sort_unstable();
        metrics.dedup();
        let own = format!(
            "{{__name__=~\"{}\",{},{}}}",
            metrics.join("|"),
            server.host_matcher(),
            server.server_matcher()
        );
        let neighbours = Measure::ALL.iter().find_map(|measure| match how(*measure) {
            How::Others(of) => Some(format!(
                "{}{{{},{}}}",
                of.metric,
                server.host_matcher(),
                server.server_matcher().replacen('=', "!=", 1)
            )),
            _ => None,
        });
        let mut from_ms = range.from_unix_ms;
        let mut newest_ms = from_ms - 1;
        while from_ms < range.to_unix_ms {
            let to_ms = (from_ms + CHUNK_MS).min(range.to_unix_ms);
            let window_seconds = (to_ms - from_ms + BEFORE_MS) / 1_000 + 1;
            let mut rows = self.instant(format!("{own}[{window_seconds}s]"), to_ms)?;
            if let Some(neighbours) = &neighbours {
                rows.extend(self.instant(format!("{neighbours}[{window_seconds}s]"), to_ms)?);
            }
            for frame in frames::frames(&Scraped::of(rows), &server.server, newest_ms) {
                newest_ms = frame.unix_ms;
                take(frame);
            }
            from_ms = to_ms;
        }
        Ok(())
    }
}

fn seconds(unix_ms: i64) -> String {
    format!("{}.{:03}", unix_ms.div_euclid(1_000), unix_ms.rem_euclid(1_000))
}

fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// Nothing has been measured in the future.
fn until_now(range: TimeRange) -> TimeRange {
    TimeRange {
        from_unix_ms: range.from_unix_ms.max(0),
        to_unix_ms: range.to_unix_ms.min(now_ms()),
    }
}

fn no_longer_than(
    range: TimeRange,
    most_ms: i64,
    what: &'static str,
    advice: &'static str,
) -> Result<(), PrometheusError> {
    const DAY_MS: i64 = 86_400_000;
    let length_ms = range.to_unix_ms.saturating_sub(range.from_unix_ms);
    match length_ms > most_ms {
        true => Err(PrometheusError::TooLong {
            what,
            days: length_ms / DAY_MS,
            most: most_ms / DAY_MS,
            advice,
        }),
        false => Ok(()),
    }
}

impl HistorySource for PrometheusSource {
    fn servers(&self) -> Result<Vec<String>, SourceError> {
        Ok(self.known()?.iter().map(Known::name).collect())
    }

    fn each_frame(
        &self,
        server: &str,
        range: TimeRange,
        resolution: Resolution,
        take: &mut dyn FnMut(Frame),
    ) -> Result<(), SourceError> {
        let server = self.find(server)?;
        let range = until_now(range);
        // It says itself from when on it has samples: all three reach back as far as the range.
        let kept = [Some(range.from_unix_ms); 3];
        match resolution.of(range, kept, range.to_unix_ms) {
            Resolution::Rolled(span) => self.rolled(server, range, span, take),
            Resolution::Raw | Resolution::Fitting => {
                no_longer_than(range, LONGEST_RAW_MS, "samples", "ask for minutes or hours")?;
                self.scraped(server, range, take)
            }
        }
    }

    fn rollups(&self, server: &str, range: TimeRange, span: Span) -> Result<Vec<Rollup>, SourceError> {
        let server = self.find(server)?;
        let range = until_now(range);
        no_longer_than(
            range,
            LONGEST_SKETCHES_MS,
            "quantiles",
            "they are made of samples: ask for less time",
        )?;
        let mut rows = BTreeMap::new();
        self.scraped(server, range, &mut |frame| roll_frames(&mut rows, [&frame], span))?;
        Ok(rows.into_values().collect())
    }

    fn spikes(&self, _: Option<&str>, _: TimeRange) -> Result<Vec<StoredSpike>, SourceError> {
        Err(PrometheusError::NotKept("spikes").into())
    }

    fn findings(&self, _: Option<&str>, _: TimeRange) -> Result<Vec<StoredFinding>, SourceError> {
        Err(PrometheusError::NotKept("findings").into())
    }

    fn events(&self, server: Option<&str>, range: TimeRange) -> Result<Vec<Event>, SourceError> {
        let range = until_now(range);
        let mut events = Vec::new();
        for server in self.asked_for(server)? {
            events.extend(self.happened(server, range)?);
        }
        events.sort_by(|a, b| (a.unix_ms, &a.server).cmp(&(b.unix_ms, &b.server)));
        Ok(events)
    }

    fn sessions(&self, server: Option<&str>, range: TimeRange) -> Result<Vec<StoredSession>, SourceError> {
        let range = until_now(range);
        let mut sessions = Vec::new();
        for server in self.asked_for(server)? {
            sessions.extend(self.ran(server, range)?);
        }
        sessions.sort_by(|a, b| (a.begun_unix_ms, &a.server).cmp(&(b.begun_unix_ms, &b.server)));
        Ok(sessions)
    }

    fn absent_events(&self) -> &'static [Absent] {
        happened::ABSENT_EVENTS
    }

    fn absent_sessions(&self) -> &'static [Absent] {
        sessions::ABSENT_SESSIONS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(known: &[(&str, &str)]) -> PrometheusSource {
        let source = PrometheusSource::new("http://127.0.0.1:1", &Credentials::None).unwrap();
        let known = known.iter().map(|(instance, server)| Known {
            instance: (*instance).to_owned(),
            server: (*server).to_owned(),
        });
        source.known.set(known.collect()).unwrap();
        source
    }

    #[test]
    fn servers_are_named_with_their_host_and_found_by_what_is_unique() {
        let source = with(&[("a:1", "arena"), ("a:1", "lobby"), ("b:1", "arena")]);
        assert_eq!(source.servers().unwrap(), ["a:1/arena", "a:1/lobby", "b:1/arena"]);
        assert_eq!(source.find("b:1/arena").unwrap().instance, "b:1");
        assert_eq!(source.find("lobby").unwrap().instance, "a:1");
        let told = source.find("arena").unwrap_err().to_string();
        assert!(told.contains("a:1/arena, b:1/arena"), "{told}");
        let told = source.find("x").unwrap_err().to_string();
        assert!(told.contains("there are: a:1/arena"), "{told}");
    }

    #[test]
    fn what_it_does_not_have_is_refused_with_what_to_do() {
        let source = with(&[("a:1", "arena")]);
        let refused = |resolution| {
            let error = source.frames("arena", TimeRange::ALL, resolution).unwrap_err();
            error.to_string()
        };
        assert!(refused(Resolution::Raw).contains("minutes or hours"));
        assert!(refused(Resolution::Rolled(Span::Minute)).contains("at most"));
        assert!(source.rollups("arena", TimeRange::ALL, Span::Hour).is_err());
        assert!(source.events(None, TimeRange::ALL).is_err());
        assert!(source.sessions(None, TimeRange::ALL).is_err());
        let last = TimeRange::last(std::time::Duration::from_secs(60), now_ms());
        let nobody = source.frames("arena", last, Resolution::Raw).unwrap_err();
        assert!(
            nobody.to_string().contains("cannot connect to 127.0.0.1:1"),
            "{nobody}"
        );
    }

    #[test]
    fn times_are_written_to_the_millisecond() {
        assert_eq!(seconds(1_700_000_000_007), "1700000000.007");
        assert_eq!(seconds(0), "0.000");
    }
}
