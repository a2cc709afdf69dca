//! Everything through which games speak, together: logs, queries and pushes of all servers, drained once per interval.
//!
//! Threads are started when there is something for them: an agent without logs has no log thread.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    sync::{Arc, mpsc::Receiver},
};

use super::{
    bell::Bell,
    bounded::{self, BoundedReceiver, BoundedSender},
    custom::{self, CustomGrammarError},
    event::GameEvent,
    family::family,
    grammar::Grammar,
    log::{LogReader, LogReaderError, LogStatistics, LogTarget, Succession},
    push::{self, PushQueue, PushSink, QueueLimits},
    query::{
        StatedRoundTrips, WorkerStatistics,
        schedule::{Queries, QueryReport, QueryStatistics, QueryTarget, bounded},
        usual, usual_port,
    },
};
use crate::config::{Game, GameServer, GrammarSettings, QueryProtocol, QuerySettings};

/// Events of logs that may wait for an interval to end.
const LOG_EVENTS: usize = 65_536;
/// Answers that may wait.
const ANSWERS: usize = 4_096;

/// Why games cannot be listened to as asked.
#[derive(Debug, thiserror::Error)]
pub enum VoicesError {
    /// A grammar of the configuration.
    #[error("server `{server}`: {source}")]
    Grammar {
        /// Which server.
        server: String,
        /// What is wrong.
        source: CustomGrammarError,
    },
    /// A log without a grammar to read it.
    #[error(
        "server `{server}` has a log but no grammar for it: set `game` to its family, or describe its lines under [server.grammar]"
    )]
    NoGrammar {
        /// Which server.
        server: String,
    },
    /// No thread for logs.
    #[error(transparent)]
    Logs(#[from] LogReaderError),
    /// No threads for queries.
    #[error("cannot start the threads that ask game servers: {0}")]
    Queries(std::io::Error),
}

/// A server as it can be asked right now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reachable {
    /// Local address of its game socket.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// Path of its network namespace, where it is not the agent's own.
    pub netns: Option<PathBuf>,
    /// Its main process, where it is known.
    pub process: Option<u32>,
}

/// The voices of all servers.
pub struct Voices {
    positions: PathBuf,
    logs: Option<LogReader>,
    /// What decides the grammar of each log that is read.
    read_as: HashMap<String, (Game, Option<GrammarSettings>)>,
    spoken: (BoundedSender<GameEvent>, BoundedReceiver<GameEvent>),
    queries: Option<Queries>,
    answers: Option<Receiver<QueryReport>>,
    targets: Vec<QueryTarget>,
    pushes: PushQueue,
    push_sink: PushSink,
    bell: Bell,
}

/// Is every grammar of these servers one that can be read?
pub fn check(servers: &[GameServer]) -> Result<(), VoicesError> {
    servers.iter().try_for_each(|server| grammar(server).map(|_| ()))
}

/// The grammar of a server's log: the configuration's own, else its family's; `None` without a log.
fn grammar(server: &GameServer) -> Result<Option<Box<dyn Grammar>>, VoicesError> {
    if let Some(settings) = &server.grammar {
        let log = custom::Log::new(settings).map_err(|source| VoicesError::Grammar {
            server: server.name.clone(),
            source,
        })?;
        return Ok(Some(Box::new(log)));
    }
    match (family(server.game).grammar, &server.log) {
        (Some(new), Some(_)) => Ok(Some(new())),
        (None, Some(_)) => Err(VoicesError::NoGrammar {
            server: server.name.clone(),
        }),
        (_, None) => Ok(None),
    }
}

impl Voices {
    /// Silence. Where reading of logs stands is kept in the file `positions`.
    pub fn new(positions: PathBuf) -> Self {
        let bell = Bell::default();
        let (push_sink, pushes) = push::channel_with_bell(QueueLimits::default(), bell.clone());
        Self {
            positions,
            logs: None,
            read_as: HashMap::new(),
            spoken: bounded::bounded(LOG_EVENTS),
            queries: None,
            answers: None,
            targets: Vec::new(),
            pushes,
            push_sink,
            bell,
        }
    }

    /// Rung when something has been said whose moment matters.
    pub fn bell(&self) -> &Bell {
        &self.bell
    }

    /// Where pushes go in.
    pub fn push_sink(&self) -> PushSink {
        self.push_sink.clone()
    }

    /// Listens to these servers from now on.
    ///
    /// # Errors
    /// When a grammar cannot be read or a thread cannot be started; then nothing has changed.
    pub fn set_servers(&mut self, servers: &[GameServer]) -> Result<(), VoicesError> {
        let mut targets = Vec::new();
        let mut read_as = HashMap::new();
        for server in servers {
            if let (Some(grammar), Some(settings)) = (grammar(server)?, &server.log) {
                let key = (server.game, server.grammar.clone());
                // What a grammar remembers (who is connecting, which match it is) outlives a reload.
                let succession = if self.read_as.get(&server.name) == Some(&key) {
                    Succession::Keep
                } else {
                    Succession::Replace
                };
                targets.push(LogTarget {
                    server: server.name.as_str().into(),
                    settings: settings.clone(),
                    grammar,
                    succession,
                });
                read_as.insert(server.name.clone(), key);
            }
        }
        if self.logs.is_none() && !targets.is_empty() {
            self.logs = Some(LogReader::with_bell(
                self.spoken.0.clone(),
                self.bell.clone(),
                &self.positions,
            )?);
        }
        if let Some(logs) = &self.logs {
            logs.set(targets)?;
        }
        self.read_as = read_as;
        self.pushes
            .set_servers(servers.iter().map(|server| server.name.as_str()));
        Ok(())
    }

    /// Asks these servers from now on; who is not reachable is not asked.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn ask<'a>(
        &mut self,
        servers: impl Iterator<Item = (&'a GameServer, Option<Reachable>)>,
    ) -> Result<(), VoicesError> {
        let targets: Vec<QueryTarget> = servers
            .filter_map(|(server, reachable)| target(server, reachable))
            .collect();
        if targets == self.targets {
            return Ok(());
        }
        if self.queries.is_none() {
            let (sink, answers) = bounded(ANSWERS);
            self.queries = Some(Queries::new(sink).map_err(VoicesError::Queries)?);
            self.answers = Some(answers);
        }
        if let Some(queries) = &self.queries {
            queries.set(targets.clone());
        }
        self.targets = targets;
        Ok(())
    }

    /// What has been said since the last time, in no order.
    pub fn drain(&self) -> Vec<GameEvent> {
        let mut events: Vec<GameEvent> = self.spoken.1.try_iter().take(LOG_EVENTS).collect();
        for report in self.answers.iter().flat_map(Receiver::try_iter).take(ANSWERS) {
            events.extend(report.events());
        }
        events.extend(self.pushes.drain());
        events
    }

    /// How reading logs goes, by server.
    pub fn log_statistics(&self) -> HashMap<Arc<str>, LogStatistics> {
        self.logs.iter().flat_map(LogReader::statistics).collect()
    }

    /// How the processes do that ask for the agent.
    pub fn query_workers(&self) -> WorkerStatistics {
        self.queries.as_ref().map(Queries::workers).unwrap_or_default()
    }

    /// How asking goes, by server.
    pub fn query_statistics(&self) -> HashMap<Arc<str>, QueryStatistics> {
        self.queries.iter().flat_map(Queries::statistics).collect()
    }

    /// Round trips of players as the games tell them, by server, then by name.
    pub fn player_round_trips(&self) -> Vec<(Arc<str>, StatedRoundTrips)> {
        self.queries
            .iter()
            .flat_map(Queries::player_round_trips)
            .collect()
    }
}

/// Whom to ask how: the configuration's words first, then what is usual for the game at the address where it was found.
fn target(server: &GameServer, reachable: Option<Reachable>) -> Option<QueryTarget> {
    let settings = server.query.clone().unwrap_or_default();
    let protocol = settings.protocol.or_else(|| usual(server.game))?;
    if protocol == QueryProtocol::Off {
        return None;
    }
    let process = reachable.as_ref().and_then(|reachable| reachable.process);
    let (address, netns) = match (settings.address, protocol) {
        (Some(address), _) => (address, None),
        // The document has an address of its own.
        (None, QueryProtocol::Http) => (SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), None),
        (None, _) => {
            let reachable = reachable?;
            let host = match reachable.address {
                IpAddr::V4(any) if any.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
                IpAddr::V6(any) if any.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
                one => one,
            };
            let port = usual_port(server.game, reachable.port);
            (SocketAddr::new(host, port), reachable.netns)
        }
    };
    Some(QueryTarget {
        server: server.name.as_str().into(),
        protocol,
        address,
        netns,
        process,
        settings: QuerySettings {
            protocol: Some(protocol),
            ..settings
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{GrammarRule, LogSettings, RuleEvent};

    fn reachable(address: &str) -> Option<Reachable> {
        Some(Reachable {
            address: address.parse().unwrap(),
            port: 2456,
            netns: None,
            process: None,
        })
    }

    #[test]
    fn servers_are_asked_where_they_listen_as_their_game_is_asked() {
        let valheim = GameServer::new("v", Game::Valheim);
        let asked = target(&valheim, reachable("0.0.0.0")).unwrap();
        assert_eq!(asked.address, "127.0.0.1:2457".parse().unwrap());
        assert_eq!(asked.protocol, QueryProtocol::A2s);
        let asked = target(&valheim, reachable("::")).unwrap();
        assert_eq!(asked.address, "[::1]:2457".parse().unwrap());
        assert_eq!(target(&valheim, None), None, "not there yet");
        assert_eq!(target(&GameServer::new("d", Game::Demo), reachable("::")), None);
        let mut off = GameServer::new("q", Game::Quake3);
        off.query = Some(QuerySettings {
            protocol: Some(QueryProtocol::Off),
            ..QuerySettings::default()
        });
        assert_eq!(target(&off, reachable("::")), None);
    }

    #[test]
    fn a_log_that_nothing_can_read_is_said_so() {
        let mut server = GameServer::new("odd", Game::Custom);
        server.log = Some(LogSettings {
            file: Some("/tmp/x.log".into()),
            ..LogSettings::default()
        });
        let message = check(std::slice::from_ref(&server)).unwrap_err().to_string();
        assert!(
            message.contains("odd") && message.contains("[server.grammar]"),
            "{message}"
        );
        server.grammar = Some(GrammarSettings {
            prefix: None,
            rules: vec![GrammarRule {
                event: RuleEvent::Join,
                pattern: "(?<name>.+) joined (".into(),
                separator: ", ".into(),
                kind: None,
            }],
        });
        let message = check(std::slice::from_ref(&server)).unwrap_err().to_string();
        assert!(message.contains("odd") && message.contains("rule 1"), "{message}");
    }

    #[test]
    fn a_line_in_a_log_becomes_an_event() {
        use std::{io::Write, time::Duration};
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("server.log");
        let mut file = std::fs::File::create(&path).unwrap();
        let mut server = GameServer::new("mc", Game::Minecraft);
        server.log = Some(LogSettings {
            file: Some(path),
            ..LogSettings::default()
        });
        let mut voices = Voices::new(directory.path().join("positions.json"));
        voices.set_servers(std::slice::from_ref(&server)).unwrap();
        let mut heard = Vec::new();
        for round in 0..100 {
            if round == 5 {
                writeln!(file, "[12:00:00] [Server thread/INFO]: Steve joined the game").unwrap();
            }
            heard.extend(voices.drain());
            if !heard.is_empty() {
                break;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        assert_eq!(&*heard[0].server, "mc");
        assert!(matches!(heard[0].fact, super::super::Fact::PlayerJoined(_)));
        assert!(voices.log_statistics()["mc"].lines >= 1);
    }
}
