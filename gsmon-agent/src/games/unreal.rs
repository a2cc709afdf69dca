//! Unreal Engine 4 and 5 dedicated servers: the log that the engine itself writes, and the lines that Squad adds to it.
//!
//! Covered: `[YYYY.MM.DD-HH.MM.SS:mmm][frame]Category: Verbosity: text`, the same without frame, with elapsed seconds
//! for a date (no time is taken from those), and without prefix (early lines, standard output). The date is UTC; a
//! server started with `-LocalLogTimes` writes its wall clock in the same shape, which the text does not show.
//!
//! | line | said |
//! |---|---|
//! | `Log file open, date` | server starting |
//! | `LogLoad: LoadMap`, `LogWorld: SeamlessTravel to` | phase loading |
//! | `LogWorld: Bringing World X up for play` | match begun on X, phase lobby; worlds of a transition are left out |
//! | `LogNet: .. GameNetDriver .. listening on port` | server ready |
//! | `Match State Changed from A to B` | EnteringMap, WaitingToStart: lobby; InProgress: active; WaitingPostMatch: ended; LeavingMap: loading; Aborted: match ended; a title's own states say nothing |
//! | `AddClientConnection`, `NotifyAcceptingConnection`, `NotifyAcceptedConnection` | player connecting |
//! | `Login request`, Squad `PostLogin` | player known |
//! | `Join succeeded` | player joined |
//! | `UNetConnection::Close`, `RemoveClientConnection` | player left, once, and only who had joined |
//! | Squad `Server Tick Rate` | tick |
//! | `Engine exit requested`, `LogExit: Exiting.`, `Log file closed` | server stopping |
//!
//! Ready is said once per start, by the first of: listening, a world brought up, `Engine is initialized` (the engine
//! brings up its first map before it says that). Titles whose game mode has no match states print none: there, the first
//! join makes the match active. How joins find their address is told in `connections.rs`.
//!
//! Not covered: logs with `LogNet` suppressed (players come from query or flows then), the client's own lines.
//!
//! Forging: the text is looked at from its category on, and names stand at the end of the lines that are used or are
//! followed by fields that are read from the right. Once a line with a date was seen, lines without one are not read, so
//! that a line break inside a chat message forges nothing but `Log file open`, and that only in a title that writes
//! line breaks of players into its log. On servers without an account system (`NULL`) a client states its own id.

use super::{
    event::{Fact, Phase},
    family::StableKey,
    fields::{between, is_word, label, moment, shaped, whole},
    grammar::{Grammar, LineTime, Spoken},
};

mod connections;
mod spelling;
#[cfg(test)]
mod tests;

use self::connections::{Connections, Mention};

/// Platform_id: EOS product user id or SteamID64; address while connected.
pub const IDENTITY: StableKey = StableKey::Address;

// Query: none of the engine's own. Titles on Steam usually answer A2S on a query port of their own (27015 by default).

const DATE: &str = "YYYY.MM.DD-hh.mm.ss:fff";
const OPENED: &str = "MM/DD/YY hh:mm:ss";

/// Reads the log of an Unreal server.
#[derive(Default)]
pub struct Log {
    lifecycle: Lifecycle,
    connections: Connections,
    ready: bool,
    has_states: bool,
    phase: Option<Phase>,
}

/// Starting and stopping, which titles with lines of their own share with the engine.
#[derive(Default)]
pub(super) struct Lifecycle {
    dated: bool,
    stopping: bool,
}

/// What a lifecycle makes of a line.
pub(super) enum Course {
    /// A new process writes from here on.
    Opened,
    /// Nobody should read it further: it says no more, or it is not the engine's.
    Done,
    /// Text for others to read.
    Running,
}

/// A line without its prefix.
#[derive(Clone, Copy)]
pub(super) struct Head<'a> {
    stamp: Option<&'a str>,
    pub(super) frame: Option<u32>,
    pub(super) text: &'a str,
    prefixed: bool,
}

impl Head<'_> {
    /// When the line was written.
    pub(super) fn time(&self) -> Option<LineTime> {
        moment(self.stamp?, DATE).map(LineTime::Utc)
    }
}

/// Takes the prefix off.
pub(super) fn head(line: &str) -> Head<'_> {
    let bare = Head {
        stamp: None,
        frame: None,
        text: line,
        prefixed: false,
    };
    let Some(inner) = line.strip_prefix('[') else {
        return bare;
    };
    let (stamp, rest) = match shaped(inner, DATE) {
        Some((stamp, rest)) => match rest.strip_prefix(']') {
            Some(rest) => (Some(stamp), rest),
            None => return bare,
        },
        // Seconds since the start of the process, as written with `-LogTimes=SinceStart`.
        None => match inner.split_once(']') {
            Some((elapsed, rest))
                if (1..=16).contains(&elapsed.len())
                    && elapsed.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') =>
            {
                (None, rest)
            }
            _ => return bare,
        },
    };
    let framed = rest
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'))
        .and_then(|(frame, text)| Some((whole::<u32>(frame.trim_start_matches(' '))?, text)));
    Head {
        stamp,
        frame: framed.map(|(frame, _)| frame),
        text: framed.map_or(rest, |(_, text)| text),
        prefixed: true,
    }
}

/// Splits `LogNet: Warning: text` into category and text. Older engines put no blank before the verbosity.
fn category(text: &str) -> Option<(&str, &str)> {
    let colon = text.as_bytes().iter().take(64).position(|&byte| byte == b':')?;
    let (category, rest) = (&text[..colon], &text[colon + 1..]);
    if !category.starts_with("Log") || !is_word(category) {
        return None;
    }
    let rest = rest.strip_prefix(' ').unwrap_or(rest);
    let verbosities = ["Display: ", "Warning: ", "Error: ", "Verbose: ", "Log: "];
    let rest = verbosities
        .iter()
        .find_map(|verbosity| rest.strip_prefix(verbosity))
        .unwrap_or(rest);
    Some((category, rest))
}

impl Lifecycle {
    /// Reads what concerns the process.
    pub(super) fn line(&mut self, head: &Head<'_>, said: &mut Vec<Spoken>) -> Course {
        if let Some(opened) = head.text.strip_prefix("Log file open, ")
            && let Some((stamp, "")) = shaped(opened, OPENED)
        {
            *self = Self::default();
            // Unlike every other time, this one is the wall clock of the server.
            let time = head.time().or(moment(stamp, OPENED).map(LineTime::Local));
            said.push(Spoken::new(time, Fact::ServerStarting));
            return Course::Opened;
        }
        if head.prefixed {
            self.dated = true;
        } else if self.dated {
            return Course::Done;
        }
        if head.text.as_bytes().first() != Some(&b'L') {
            return Course::Running;
        }
        let stops = match category(head.text) {
            Some(("LogExit", text)) => text == "Exiting." || text == "Preparing to exit.",
            Some(("LogCore", text)) => text.starts_with("Engine exit requested"),
            Some(_) => false,
            None => head
                .text
                .strip_prefix("Log file closed, ")
                .is_some_and(|stamp| matches!(shaped(stamp, OPENED), Some((_, "")))),
        };
        if !stops {
            return Course::Running;
        }
        if !self.stopping {
            self.stopping = true;
            said.push(Spoken::new(head.time(), Fact::ServerStopping));
        }
        Course::Done
    }
}

impl Grammar for Log {
    fn line(&mut self, line: &str, said: &mut Vec<Spoken>) {
        let head = head(line);
        match self.lifecycle.line(&head, said) {
            Course::Opened => {
                let lifecycle = std::mem::take(&mut self.lifecycle);
                *self = Self {
                    lifecycle,
                    ..Self::default()
                };
            }
            Course::Done => {}
            Course::Running => {
                if let Some((category, text)) = category(head.text) {
                    self.text(&head, category, text, said);
                }
            }
        }
    }
}

impl Log {
    fn text(&mut self, head: &Head<'_>, category: &str, text: &str, said: &mut Vec<Spoken>) {
        match category {
            "LogNet" => self.net(head, text, said),
            "LogLoad" if text.starts_with("LoadMap: ") => self.enters(Phase::Loading, head, said),
            "LogWorld" => self.world(head, text, said),
            "LogGameMode" | "LogGameState" => self.match_state(head, text, said),
            "LogSquad" => self.squad(head, text, said),
            "LogInit" if text.starts_with("Engine is initialized") => self.is_ready(head, said),
            _ => {}
        }
    }

    fn is_ready(&mut self, head: &Head<'_>, said: &mut Vec<Spoken>) {
        if !self.ready {
            self.ready = true;
            said.push(Spoken::new(head.time(), Fact::ServerReady));
        }
    }

    fn enters(&mut self, phase: Phase, head: &Head<'_>, said: &mut Vec<Spoken>) {
        // Game mode and game state of a title may both print the same change.
        if self.phase.replace(phase) != Some(phase) {
            said.push(Spoken::new(head.time(), Fact::Phase(phase)));
        }
    }

    fn world(&mut self, head: &Head<'_>, text: &str, said: &mut Vec<Spoken>) {
        if text.starts_with("SeamlessTravel to: ") {
            return self.enters(Phase::Loading, head, said);
        }
        let Some(path) = between(text, "Bringing World ", " up for play") else {
            return;
        };
        let name = path.rsplit(['.', '/']).next().unwrap_or(path);
        let passing =
            path.starts_with("/Temp/") || path.starts_with("/Engine/Transient") || name == "TransitionMap";
        if !text.starts_with("Bringing World ") || passing {
            return;
        }
        self.is_ready(head, said);
        let begun = Fact::MatchBegun {
            map: label(name),
            mode: None,
            id: None,
        };
        said.push(Spoken::new(head.time(), begun));
        self.enters(Phase::Lobby, head, said);
    }

    fn match_state(&mut self, head: &Head<'_>, text: &str, said: &mut Vec<Spoken>) {
        let Some((from, to)) = text
            .strip_prefix("Match State Changed from ")
            .and_then(|states| states.split_once(" to "))
        else {
            return;
        };
        if !is_word(from) || !is_word(to) {
            return;
        }
        self.has_states = true;
        match to {
            "EnteringMap" | "WaitingToStart" => self.enters(Phase::Lobby, head, said),
            "InProgress" => self.enters(Phase::Active, head, said),
            "WaitingPostMatch" => self.enters(Phase::Ended, head, said),
            "LeavingMap" => self.enters(Phase::Loading, head, said),
            "Aborted" => {
                self.phase = None;
                let reason = label("Aborted");
                said.push(Spoken::new(head.time(), Fact::MatchEnded { reason }));
            }
            _ => {}
        }
    }

    fn squad(&mut self, head: &Head<'_>, text: &str, said: &mut Vec<Spoken>) {
        if let Some(rate) = text.strip_prefix("USQGameState: Server Tick Rate: ") {
            let rate = rate
                .parse::<f64>()
                .ok()
                .filter(|rate| rate.is_finite() && *rate > 0.0);
            if rate.is_some() {
                let tick = Fact::Tick {
                    rate_hz: rate,
                    time_ns: None,
                };
                said.push(Spoken::new(head.time(), tick));
            }
        } else if let Some(post) = text.strip_prefix("PostLogin: NewPlayer: ")
            && let Some(player) = self.connections.posted(post, head.frame)
        {
            said.push(Spoken::new(head.time(), Fact::PlayerKnown(player)));
        }
    }

    fn net(&mut self, head: &Head<'_>, text: &str, said: &mut Vec<Spoken>) {
        let fact = if let Some(name) = text.strip_prefix("Join succeeded: ") {
            Some(Fact::PlayerJoined(self.connections.joined(name, head.frame)))
        } else if let Some(url) = text.strip_prefix("Join request: ") {
            self.connections.asks(url, head.frame);
            None
        } else if let Some(request) = text.strip_prefix("Login request: ") {
            self.connections
                .login(request, written(head))
                .map(Fact::PlayerKnown)
        } else if let Some(remote) = text
            .strip_prefix("NotifyAcceptingConnection accepted from: ")
            .or_else(|| text.strip_prefix("Server accepting post-challenge connection from: "))
        {
            self.connections
                .mentioned(remote, Mention::Accepting, written(head))
                .map(Fact::PlayerConnecting)
        } else if let Some(description) = text
            .strip_prefix("AddClientConnection: Added client connection: ")
            .or_else(|| text.strip_prefix("NotifyAcceptedConnection: "))
        {
            spelling::on_game_driver(description)
                .and_then(|remote| self.connections.mentioned(remote, Mention::Added, written(head)))
                .map(Fact::PlayerConnecting)
        } else if let Some(rest) = text.strip_prefix("UNetConnection::Tick: Connection TIMED OUT.") {
            self.connections.timed_out(rest);
            None
        } else if let Some(description) = text
            .strip_prefix("UNetConnection::Close: ")
            .or_else(|| text.strip_prefix("UNetDriver::RemoveClientConnection - Removed address "))
        {
            self.connections
                .closed(description)
                .map(|(player, reason)| Fact::PlayerLeft { player, reason })
        } else {
            let listens = (text.starts_with("GameNetDriver ") || text.starts_with("Name:GameNetDriver "))
                && text
                    .rsplit_once(" listening on port ")
                    .is_some_and(|(_, port)| whole::<u16>(port).is_some());
            if listens {
                self.is_ready(head, said);
            }
            None
        };
        let Some(fact) = fact else {
            return;
        };
        let plays =
            matches!(fact, Fact::PlayerJoined(_)) && !self.has_states && self.phase == Some(Phase::Lobby);
        said.push(Spoken::new(head.time(), fact));
        if plays {
            self.enters(Phase::Active, head, said);
        }
    }
}

/// The line's time in milliseconds, for ageing what waits.
fn written(head: &Head<'_>) -> Option<i64> {
    match head.time()? {
        LineTime::Utc(ms) | LineTime::Local(ms) => Some(ms),
    }
}
