//! Asking game servers: one file per protocol, [`schedule`] for when, [`reader`] for who reads the answer.
//!
//! The crate gamedig comes first, in a child process ([`boxed`]): it alone asks Minecraft Java and every game that gsmon has
//! no reader for; with A2S, Quake, GameSpy, Unreal 2 and Bedrock its answer is taken where it loses no players, counts or
//! texts (`boxed/left_out.rs` shows what it loses), and else gsmon asks itself. What the crate lacks is read here alone: SQP,
//! GS4, consoles, Teeworlds and HTTP. All readers have bounds on datagrams, bytes, list lengths and total time.
//!
//! Blocking code. It runs on the threads of [`schedule::Queries`], never on async ones.
//!
//! Not covered: bzip2-compressed A2S answers, GoldSrc's UDP console, WebRCON, TLS, and anything that needs an account.

mod a2s;
mod answer;
mod bedrock;
mod boxed;
mod gamespy1;
mod gamespy2;
mod gamespy3;
mod gs4;
mod http;
mod minecraft;
mod namespace;
mod quake;
mod rcon;
mod rcon_text;
mod reader;
mod report;
pub mod schedule;
mod sqp;
mod teeworlds;
#[cfg(test)]
mod testing;
mod unreal2;
mod wire;

use std::{io, net::SocketAddr, time::Duration};

pub use self::{
    answer::{Listed, QueryAnswer, StatedRoundTrips},
    boxed::{WorkerStatistics, serve as serve_worker, worker_program},
    reader::{OwnReason, Reader},
};
use crate::config::{Game, QueryProtocol, QuerySettings};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// Nothing came.
    #[error(
        "no answer in time: is the query port right, and the query switched on in the server's settings?"
    )]
    Timeout,
    /// Nobody listens there.
    #[error("refused: nobody listens on that port")]
    Refused,
    /// The network or the system says no.
    #[error("network: {0}")]
    Network(io::Error),
    /// Something answers, but not this protocol.
    #[error("the answer makes no sense ({0}): is it the right protocol and port?")]
    Malformed(&'static str),
    /// More than is read.
    #[error("the answer is larger than {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: usize,
    },
    /// The console refuses the password.
    #[error("the console refuses the password: check password_file")]
    Denied,
    /// An HTTP server says no.
    #[error("HTTP status {0}: check the url (redirects are not followed)")]
    Status(u16),
    /// The settings do not suffice.
    #[error("{0}")]
    Settings(String),
    /// A process that asks for the agent failed, or is not there.
    #[error("{0}")]
    Worker(String),
    /// A bug of gsmon, contained.
    #[error("reading the answer failed inside gsmon: please report this")]
    Panicked,
}

/// Sort of failure, for counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum FailureKind {
    /// [`QueryError::Timeout`].
    Timeout,
    /// [`QueryError::Refused`].
    Refused,
    /// [`QueryError::Network`].
    Network,
    /// [`QueryError::Malformed`] and [`QueryError::TooLarge`].
    Malformed,
    /// [`QueryError::Denied`] and [`QueryError::Status`].
    Denied,
    /// [`QueryError::Settings`].
    Settings,
    /// [`QueryError::Worker`].
    Worker,
    /// [`QueryError::Panicked`].
    Panicked,
}

impl FailureKind {
    /// All, in order.
    pub const ALL: [Self; 8] = [
        Self::Timeout,
        Self::Refused,
        Self::Network,
        Self::Malformed,
        Self::Denied,
        Self::Settings,
        Self::Worker,
        Self::Panicked,
    ];

    /// Word for a metric label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Refused => "refused",
            Self::Network => "network",
            Self::Malformed => "malformed",
            Self::Denied => "denied",
            Self::Settings => "settings",
            Self::Worker => "worker",
            Self::Panicked => "panicked",
        }
    }
}

impl QueryError {
    /// Its sort.
    pub fn kind(&self) -> FailureKind {
        match self {
            Self::Timeout => FailureKind::Timeout,
            Self::Refused => FailureKind::Refused,
            Self::Network(_) => FailureKind::Network,
            Self::Malformed(_) | Self::TooLarge { .. } => FailureKind::Malformed,
            Self::Denied | Self::Status(_) => FailureKind::Denied,
            Self::Settings(_) => FailureKind::Settings,
            Self::Worker(_) => FailureKind::Worker,
            Self::Panicked => FailureKind::Panicked,
        }
    }
}

impl From<io::Error> for QueryError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Self::Timeout,
            io::ErrorKind::UnexpectedEof => Self::Malformed("the connection ended early"),
            _ => Self::Network(error),
        }
    }
}

/// Query protocol that servers of a family answer as they come, if any.
///
/// Unreal and Unity titles have none in common (many on Steam answer [`QueryProtocol::A2s`]); ARK: Survival Ascended,
/// unlike Survival Evolved, answers nobody. Luanti, Factorio and Palworld have no open query protocol.
pub fn usual(game: Game) -> Option<QueryProtocol> {
    match game {
        Game::Minecraft => Some(QueryProtocol::Minecraft),
        Game::MinecraftBedrock => Some(QueryProtocol::MinecraftBedrock),
        Game::Source | Game::Ark | Game::Valheim | Game::Rust => Some(QueryProtocol::A2s),
        Game::Quake3 => Some(QueryProtocol::Quake3),
        Game::Teeworlds => Some(QueryProtocol::Teeworlds),
        Game::Luanti
        | Game::Unreal
        | Game::Palworld
        | Game::Unity
        | Game::Factorio
        | Game::Demo
        | Game::Custom => None,
    }
}

/// Port that is asked when none is configured, from the port that is played on.
///
/// Valheim answers one above. Rust answers one above the higher of game and console port, which is two above the game
/// port as shipped (28015, console 28016, query 28017). ARK answers on 27015 wherever it is played. Everything else
/// answers where it is played; a console listens wherever its settings say.
pub fn usual_port(game: Game, game_port: u16) -> u16 {
    match game {
        Game::Valheim => game_port.saturating_add(1),
        Game::Rust => game_port.saturating_add(2),
        Game::Ark => 27_015,
        _ => game_port,
    }
}

/// Asks once with gsmon's own readers; takes until `deadline` at most, look-up of a host name of `http` included.
fn ask_until(
    protocol: QueryProtocol,
    address: SocketAddr,
    settings: &QuerySettings,
    deadline: wire::Deadline,
) -> Result<QueryAnswer, QueryError> {
    if let Some(known) = boxed::Known::of(protocol) {
        return reader::own(known, &mut wire::Udp::connect(address)?, deadline);
    }
    match protocol {
        QueryProtocol::MinecraftQuery => gs4::ask(address, deadline),
        QueryProtocol::Sqp => sqp::ask(address, deadline),
        QueryProtocol::SourceRcon => rcon::ask(rcon::Dialect::Source, address, settings, deadline),
        QueryProtocol::MinecraftRcon => rcon::ask(rcon::Dialect::Minecraft, address, settings, deadline),
        QueryProtocol::Teeworlds => teeworlds::ask(address, deadline),
        QueryProtocol::Http => http::ask(settings, deadline),
        QueryProtocol::Off => Err(QueryError::Settings(
            "query.protocol is off: nobody is asked".to_owned(),
        )),
        QueryProtocol::Minecraft
        | QueryProtocol::Gamedig
        | QueryProtocol::A2s
        | QueryProtocol::MinecraftBedrock
        | QueryProtocol::Quake1
        | QueryProtocol::Quake2
        | QueryProtocol::Quake3
        | QueryProtocol::Gamespy1
        | QueryProtocol::Gamespy2
        | QueryProtocol::Gamespy3
        | QueryProtocol::Unreal2 => Err(QueryError::Settings(
            "this is asked through a query worker only".to_owned(),
        )),
    }
}

/// Shortest and longest time that one question may take.
const TIMEOUTS: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(30));

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use proptest::prelude::*;

    use super::{testing::udp_server, *};

    #[test]
    fn usual_ports_are_near_the_game_port() {
        assert_eq!(usual_port(Game::Valheim, 2_456), 2_457);
        assert_eq!(usual_port(Game::Rust, 28_015), 28_017);
        assert_eq!(usual_port(Game::Ark, 7_777), 27_015);
        assert_eq!(usual_port(Game::Quake3, 27_961), 27_961);
        assert_eq!(usual_port(Game::Valheim, u16::MAX), u16::MAX);
        assert_eq!(usual(Game::Source), Some(QueryProtocol::A2s));
        assert_eq!(usual(Game::Luanti), None);
    }

    #[test]
    fn off_asks_nobody() {
        let error = testing::asked(QueryProtocol::Off, "127.0.0.1:1".parse().unwrap()).unwrap_err();
        assert_eq!(error.kind(), FailureKind::Settings);
    }

    const UDP: [QueryProtocol; 10] = [
        QueryProtocol::A2s,
        QueryProtocol::MinecraftBedrock,
        QueryProtocol::MinecraftQuery,
        QueryProtocol::Quake1,
        QueryProtocol::Quake3,
        QueryProtocol::Gamespy1,
        QueryProtocol::Gamespy2,
        QueryProtocol::Gamespy3,
        QueryProtocol::Sqp,
        QueryProtocol::Teeworlds,
    ];

    proptest! {
            #![proptest_config(ProptestConfig::with_cases(40))]
            #[test]
            fn a_server_of_garbage_costs_the_timeout_at_most(index in 0..UDP.len(), garbage in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 0..4), echo in 0usize..12) {
                // Garbage behind the first bytes of the question gets past the first checks more often.
                let server = udp_server(move |request| {
                    let head = &request[..request.len().min(echo)];
                    garbage.iter().flat_map(|bytes| [bytes.clone(), [head, bytes].concat()]).collect()
                });
                let settings = QuerySettings { timeout: Duration::from_millis(40), ..QuerySettings::default() };
                let start = Instant::now();
                let _ = testing::ask(UDP[index], server.address, &settings);
                prop_assert!(start.elapsed() < Duration::from_secs(1));
            }

            #[test]
            fn a_flood_is_given_up(index in 0..UDP.len()) {
                let server = udp_server(|_| vec![b"\xff".to_vec(); 200]);
                let error = testing::asked(UDP[index], server.address).unwrap_err();
    prop_assert!(matches!(error, QueryError::Malformed("datagrams without end")), "{:?}: {}", UDP[index], error);
            }
        }
}
