//! What running game servers look like: executable, arguments, ports, files beside them, the names they give themselves
//! and where they log. Pure and table driven: [`recognise`] judges [`Evidence`] that somebody else collected.
//!
//! `table` holds one row per title, `java` reads command lines of Java, `program` finds the real program behind
//! interpreters (Wine, box64, ld.so), `argv` looks into arguments, `place` says where logs are.
//!
//! Arguments are looked at one by one, never as one text: what somebody wrote into an argument (`bash -c "srcds_linux"`)
//! is not the program. Not here: reading /proc (host), asking queries, consoles of games without a family in gsmon.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::config::{Game, Protocol};

mod argv;
mod java;
mod place;
mod program;
#[cfg(test)]
mod rows;
mod score;
mod table;
mod titles;
#[cfg(test)]
mod verdicts;

pub use self::{
    program::worth_a_look,
    score::{FIRST_EPHEMERAL, is_usual_port, recognise, suspect},
};

/// What is known of a process.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evidence {
    /// `/proc/PID/exe`; absent without privilege.
    pub executable: Option<PathBuf>,
    /// `/proc/PID/cmdline`, one element per argument, the program's own name first.
    pub arguments: Vec<String>,
    /// `/proc/PID/cwd`.
    pub cwd: Option<PathBuf>,
    /// Bound UDP and listening TCP ports.
    pub listening: Vec<(Protocol, u16)>,
    /// Some variables of the environment.
    pub environ: BTreeMap<String, String>,
    /// A panel or an orchestrator of game servers runs it.
    pub hosted: Option<Hosted>,
    /// What lies beside it.
    pub nearby: Nearby,
    /// How long it has been watched. A young server may not have bound its game port yet.
    pub age: Duration,
    /// Family whose query it answered.
    pub answer: Option<Game>,
}

/// A panel (Pterodactyl, Pelican) or an orchestrator (Agones) says that a game server runs here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hosted {
    /// Name of the panel or orchestrator.
    pub by: &'static str,
    /// Port that was given to the server, where that is said.
    pub port: Option<u16>,
}

/// Facts about files beside a process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Nearby {
    /// `server.properties` in the working directory, if it is Minecraft's.
    pub properties: Option<ServerProperties>,
    /// It is a Unity player: `UnityPlayer.so` is mapped, or a `*_Data` directory lies beside the executable.
    pub unity: bool,
}

/// What matters of Minecraft's `server.properties` (Java and Bedrock edition).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerProperties {
    /// `server-port`.
    pub port: Option<u16>,
    /// `server-name` (Bedrock).
    pub server_name: Option<String>,
    /// `level-name`.
    pub level_name: Option<String>,
}

impl ServerProperties {
    /// Reads the file. `None` when it is some other program's (Kafka has a file of this name).
    pub fn parse(text: &str) -> Option<Self> {
        let value = |wanted: &str| {
            text.lines().find_map(|line| {
                let (key, value) = line.split_once('=')?;
                (key.trim() == wanted).then(|| value.trim())
            })
        };
        let found = Self {
            port: value("server-port")
                .and_then(|port| port.parse().ok())
                .filter(|port| *port != 0),
            server_name: value("server-name").and_then(clean),
            level_name: value("level-name").and_then(clean),
        };
        (found.port.is_some() || found.level_name.is_some()).then_some(found)
    }
}

/// What a process is taken for.
#[derive(Clone, Debug, PartialEq)]
pub struct Recognised {
    /// Family.
    pub game: Game,
    /// Title, for example `Garry's Mod`.
    pub title: &'static str,
    /// A server, or a proxy in front of servers.
    pub role: Role,
    /// Name that the server gives itself (host name, world, session), clean and at most [`NAME_CHARS`] long.
    pub name: Option<String>,
    /// 0 to 1: how likely it is that server; one minus the product of (1 - weight) over the reasons.
    pub confidence: f64,
    /// Why.
    pub reasons: Vec<Reason>,
    /// Usual place of its log, as the process sees it. Nobody has looked whether the file exists.
    pub log: Option<PathBuf>,
    /// Game ports, the main one first; empty while it has not bound the port that it means to use.
    pub ports: Vec<(Protocol, u16)>,
}

/// What a recognised process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Runs the game.
    Server,
    /// Passes players on to servers (Velocity, BungeeCord).
    Proxy,
}

/// A reason to take a process for a game server. Reasons are independent of each other: each alone could mislead.
#[derive(Clone, Debug, PartialEq)]
pub enum Reason {
    /// The executable has a name that only this server has.
    OwnProgram(String),
    /// The executable (or the jar's main program) is named as servers of this engine are.
    FamilyProgram(String),
    /// The executable is used by the client and others too.
    SharedProgram(String),
    /// There is only the process's own word for what it runs.
    ClaimedProgram(String),
    /// The jar or the main class is this server's.
    Payload(String),
    /// The arguments make a server of it.
    ServerArgument(String),
    /// The arguments are usual for it.
    UsualArgument(String),
    /// It listens on the port that its arguments or settings state.
    StatedPort(Protocol, u16),
    /// It listens on the game's usual port.
    UsualPort(Protocol, u16),
    /// A file beside it.
    File(&'static str),
    /// A panel or orchestrator started it as a game server.
    Hosted(&'static str),
    /// It answered this family's query.
    Answer(Game),
}

impl Reason {
    /// What this reason alone is worth, 0 to 1: roughly, of processes of which it holds on hosts that run game
    /// servers, the share that are that server. Judgement, not measurement.
    pub fn weight(&self) -> f64 {
        match self {
            Reason::Answer(_) => 0.9,
            Reason::OwnProgram(_) | Reason::Payload(_) => 0.7,
            Reason::FamilyProgram(_) => 0.62,
            Reason::Hosted(_) => 0.5,
            Reason::ServerArgument(_) => 0.45,
            Reason::ClaimedProgram(_) => 0.4,
            Reason::SharedProgram(_) | Reason::StatedPort(..) => 0.35,
            Reason::UsualPort(..) | Reason::File(_) => 0.3,
            Reason::UsualArgument(_) => 0.25,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let transport = |protocol: &Protocol| match protocol {
            Protocol::Udp => "UDP",
            Protocol::Tcp => "TCP",
        };
        match self {
            Reason::OwnProgram(name) => write!(formatter, "executable {name}"),
            Reason::FamilyProgram(name) => write!(formatter, "executable {name}, named like a server"),
            Reason::SharedProgram(name) => write!(formatter, "executable {name}, which the client has too"),
            Reason::ClaimedProgram(name) => write!(formatter, "calls itself {name}"),
            Reason::Payload(name) => write!(formatter, "runs {name}"),
            Reason::ServerArgument(argument) => write!(formatter, "server argument {argument}"),
            Reason::UsualArgument(argument) => write!(formatter, "argument {argument}"),
            Reason::StatedPort(protocol, port) => {
                write!(
                    formatter,
                    "listens on its stated {} port {port}",
                    transport(protocol)
                )
            }
            Reason::UsualPort(protocol, port) => {
                write!(
                    formatter,
                    "listens on the usual {} port {port}",
                    transport(protocol)
                )
            }
            Reason::File(name) => write!(formatter, "{name} beside it"),
            Reason::Hosted(by) => write!(formatter, "started by {by}"),
            Reason::Answer(game) => write!(formatter, "answers the query of {game:?}"),
        }
    }
}

/// Confidence below which [`recognise`] says nothing.
pub const LEAST_SAID: f64 = 0.5;

/// Longest name that is taken over from a server, in characters.
pub const NAME_CHARS: usize = 64;

/// A name from outside, fit to be shown: no control characters, no invisible or direction-changing ones, trimmed, at
/// most [`NAME_CHARS`] long. `None` when nothing is left.
pub fn clean(text: &str) -> Option<String> {
    let shown: String = text
        .chars()
        .filter(|letter| !letter.is_control() && !is_invisible(*letter))
        // Bounded before trimming: the text may be long.
        .take(NAME_CHARS * 4)
        .collect();
    let cut: String = shown.trim().chars().take(NAME_CHARS).collect();
    let cut = cut.trim_end();
    (!cut.is_empty()).then(|| cut.to_owned())
}

/// Zero-width, direction and tag characters (Unicode category Cf, and the line separators).
fn is_invisible(letter: char) -> bool {
    matches!(letter,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Last component of a path, for programs of Windows as well.
fn base_name(path: &str) -> &str {
    path.rsplit(['/', '\\']).next().unwrap_or(path)
}

/// Path to text, whatever bytes it has.
fn text_of(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cleaned() {
        assert_eq!(
            clean("  My \u{1b}[31mServer\u{202e}\0 "),
            Some("My [31mServer".into())
        );
        assert_eq!(clean("\u{200b}\n\t"), None);
        assert_eq!(clean(&"ä".repeat(100)).unwrap().chars().count(), NAME_CHARS);
    }

    #[test]
    fn properties_of_others_are_not_minecrafts() {
        let text = "#Minecraft server properties\nserver-port=25570\nmotd=Hi\nlevel-name=world\n";
        let found = ServerProperties::parse(text).unwrap();
        assert_eq!(
            (found.port, found.level_name.as_deref()),
            (Some(25_570), Some("world"))
        );
        assert_eq!(
            ServerProperties::parse("broker.id=0\nlisteners=PLAINTEXT://:9092\n"),
            None
        );
    }

    proptest::proptest! {
        #[test]
        fn any_name_comes_out_clean(text in "\\PC{0,300}|[\\x00-\\x1f\u{202e}a ]{0,200}") {
            if let Some(name) = clean(&text) {
                proptest::prop_assert!((1..=NAME_CHARS).contains(&name.chars().count()));
                proptest::prop_assert!(!name.chars().any(|letter| letter.is_control() || is_invisible(letter)));
                proptest::prop_assert_eq!(clean(&name), Some(name.clone()));
            }
        }

        #[test]
        fn any_properties_are_no_panic(text in "(server-port=|level-name=|[ -~]|\\n){0,60}") {
            let _ = ServerProperties::parse(&text);
        }
    }
}
