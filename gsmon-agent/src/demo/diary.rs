//! What a demo server writes down of itself, in the format of a real family: matches, joins and leaves as they happen.
//!
//! Quake III (`games.log` with the userinfo lines of Urban Terror), Source (`L` lines of a log file), Luanti
//! (`debug.txt`). The first two play matches: a map is loaded, played and followed by the score screen; players stay.
//! A Luanti world has no matches. Servers without a log have no matches either and do the same work all the time.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::{self, Write},
    net::SocketAddr,
    path::PathBuf,
    time::{Duration, Instant},
};

use clap::{Args, ValueEnum};
use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use serde::{Deserialize, Serialize};

use crate::config::Game;

/// In whose format a demo server writes its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFamily {
    /// Quake III's games.log.
    Quake3,
    /// Source's log files.
    Source,
    /// Luanti's debug.txt.
    Luanti,
}

impl LogFamily {
    /// The game whose grammar reads it.
    pub fn game(self) -> Game {
        match self {
            LogFamily::Quake3 => Game::Quake3,
            LogFamily::Source => Game::Source,
            LogFamily::Luanti => Game::Luanti,
        }
    }

    fn maps(self) -> &'static [&'static str] {
        match self {
            LogFamily::Quake3 => &["q3dm17", "q3dm6", "q3tourney2"],
            LogFamily::Source => &["cp_granary", "koth_viaduct", "ctf_2fort"],
            LogFamily::Luanti => &[],
        }
    }
}

/// The log of a demo server; without a file there is none.
#[derive(Clone, Debug, Default, Args)]
pub struct DiaryArgs {
    /// Write a log here.
    #[arg(long, requires = "log_family")]
    pub log: Option<PathBuf>,
    /// In this format.
    #[arg(long, value_enum)]
    pub log_family: Option<LogFamily>,
    /// Bots that the server plays itself: they think as much as a player, and have no connection.
    #[arg(long, default_value_t = 0)]
    pub house_bots: u32,
}

/// Loading a map takes so long.
const LOADING: Duration = Duration::from_millis(1_000);
/// Before the match players gather for so long, where the family has such a phase.
const LOBBY: Duration = Duration::from_millis(2_000);
/// A match lasts so long.
const MATCH: Duration = Duration::from_secs(20);
/// The score is shown for so long.
const SCORES: Duration = Duration::from_secs(4);
/// Names of the bots that a server plays itself.
const HOUSE_NAMES: [&str; 4] = ["Sarge", "Major", "Grunt", "Visor"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Loading,
    Lobby,
    Playing,
    Scores,
}

struct Member {
    slot: u32,
    account: u32,
    name: String,
}

/// Writes the log of one server.
pub struct Diary<W = File> {
    family: LogFamily,
    out: W,
    house_bots: u32,
    stage: Stage,
    stage_since: Instant,
    match_since: Instant,
    matches: usize,
    accounts: u32,
    members: BTreeMap<SocketAddr, Member>,
}

impl Diary {
    /// Opens the log that the arguments ask for.
    pub fn open(args: &DiaryArgs, port: u16, now: Instant) -> io::Result<Option<Self>> {
        let (Some(path), Some(family)) = (&args.log, args.log_family) else {
            return Ok(None);
        };
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(Some(Self::new(file, family, args.house_bots, port, now)))
    }
}

impl<W: Write> Diary<W> {
    fn new(out: W, family: LogFamily, house_bots: u32, port: u16, now: Instant) -> Self {
        let mut diary = Self {
            family,
            out,
            house_bots,
            stage: Stage::Playing,
            stage_since: now,
            match_since: now,
            matches: 0,
            accounts: 0,
            members: BTreeMap::new(),
        };
        match family {
            LogFamily::Luanti => {
                diary.bare("-------------\n  Separator\n-------------");
                diary.say(
                    now,
                    &format!("ACTION[Main]: Server for gameid=\"demo\" listening on 127.0.0.1:{port}."),
                );
            }
            LogFamily::Quake3 => diary.load(now),
            LogFamily::Source => {
                diary.say(
                    now,
                    "Log file started (file \"logs/L0000000.log\") (game \"demo\") (version \"1\")",
                );
                diary.load(now);
            }
        }
        diary
    }

    /// Is a match on, so that players cost something?
    pub fn playing(&self) -> bool {
        self.stage == Stage::Playing
    }

    /// Somebody is let in.
    pub fn joined(&mut self, address: SocketAddr, name: &str, now: Instant) {
        if self.members.contains_key(&address) {
            return;
        }
        let taken = |slot| self.members.values().any(|member| member.slot == slot);
        // The server's own bots have the first numbers.
        let slot = (self.house_bots..).find(|slot| !taken(*slot)).unwrap_or(u32::MAX);
        self.accounts += 1;
        let member = Member {
            slot,
            account: 100_000 + self.accounts,
            name: name.to_owned(),
        };
        self.members.insert(address, member);
        match (self.family, self.stage) {
            // Whoever comes while a map is being loaded is in the game with all the others.
            (LogFamily::Quake3, Stage::Loading) => {}
            (LogFamily::Quake3, _) => {
                self.client(address, now);
                self.say(now, "Info: a client has begun");
            }
            (LogFamily::Source, stage) => {
                let Some(token) = self.token(address) else { return };
                self.say(now, &format!("{token} connected, address \"{address}\""));
                if stage != Stage::Loading {
                    self.say(now, &format!("{token} entered the game"));
                }
                if stage == Stage::Playing {
                    self.say(now, "World triggered \"Round_Start\"");
                }
            }
            (LogFamily::Luanti, _) => {
                let list = self.names();
                let host = address.ip();
                self.say(
                    now,
                    &format!("ACTION[Server]: {name} [{host}] joins game. List of players: {list}"),
                );
            }
        }
    }

    /// Somebody is gone.
    pub fn left(&mut self, address: SocketAddr, now: Instant) {
        let token = self.token(address);
        let Some(member) = self.members.remove(&address) else {
            return;
        };
        match self.family {
            LogFamily::Quake3 => self.say(now, &format!("ClientDisconnect: {}", member.slot)),
            LogFamily::Source => {
                let token = token.unwrap_or_default();
                self.say(
                    now,
                    &format!("{token} disconnected (reason \"Disconnect by user.\")"),
                );
            }
            LogFamily::Luanti => {
                let list = self.names();
                self.say(
                    now,
                    &format!(
                        "ACTION[Server]: {} leaves game. List of players: {list}",
                        member.name
                    ),
                );
            }
        }
    }

    /// Time passes; call once per tick.
    pub fn tick(&mut self, now: Instant) {
        if self.family == LogFamily::Luanti {
            return;
        }
        let length = match self.stage {
            Stage::Loading => LOADING,
            Stage::Lobby => LOBBY,
            Stage::Playing => MATCH,
            Stage::Scores => SCORES,
        };
        if now.duration_since(self.stage_since) < length {
            return;
        }
        match self.stage {
            Stage::Loading => self.begin(now),
            Stage::Lobby => {
                self.enter(Stage::Playing, now);
                self.say(now, "World triggered \"Round_Start\"");
            }
            Stage::Playing => self.finish(now),
            Stage::Scores => {
                if self.family == LogFamily::Quake3 {
                    self.say(now, "ShutdownGame:");
                }
                self.load(now);
            }
        }
    }

    /// An orderly end.
    pub fn close(&mut self, now: Instant) {
        match self.family {
            LogFamily::Quake3 => self.say(now, "ShutdownGame:"),
            LogFamily::Source => self.say(now, "server_message: \"quit\""),
            LogFamily::Luanti => self.say(now, "ACTION[Main]: Server: Shutting down"),
        }
    }

    fn enter(&mut self, stage: Stage, now: Instant) {
        self.stage = stage;
        self.stage_since = now;
    }

    fn map(&self) -> &'static str {
        let maps = self.family.maps();
        maps.get(self.matches % maps.len().max(1))
            .copied()
            .unwrap_or_default()
    }

    fn load(&mut self, now: Instant) {
        self.enter(Stage::Loading, now);
        self.match_since = now;
        let map = self.map();
        match self.family {
            LogFamily::Quake3 => self.say(
                now,
                &format!("InitGame: \\sv_hostname\\gsmon demo\\g_gametype\\0\\mapname\\{map}\\timelimit\\1"),
            ),
            _ => self.say(now, &format!("Loading map \"{map}\"")),
        }
    }

    /// The map is there: everybody is in the game again.
    fn begin(&mut self, now: Instant) {
        let map = self.map();
        let addresses: Vec<SocketAddr> = self.members.keys().copied().collect();
        if self.family == LogFamily::Quake3 {
            for slot in 0..self.house_bots {
                let name = HOUSE_NAMES[slot as usize % HOUSE_NAMES.len()];
                self.say(
                    now,
                    &format!("ClientUserinfoChanged: {slot} n\\{name}\\t\\0\\model\\sarge\\skill\\ 2.00"),
                );
                self.say(now, &format!("ClientConnect: {slot}"));
                self.say(now, &format!("ClientBegin: {slot}"));
            }
            for address in addresses {
                self.client(address, now);
            }
            self.say(now, "Info: all clients have begun");
            self.enter(Stage::Playing, now);
            return;
        }
        self.say(now, &format!("Started map \"{map}\" (CRC \"0\")"));
        for slot in 0..self.house_bots {
            let name = HOUSE_NAMES[slot as usize % HOUSE_NAMES.len()];
            self.say(now, &format!("\"{name}<{slot}><BOT><>\" entered the game"));
        }
        for address in addresses {
            if let Some(token) = self.token(address) {
                self.say(now, &format!("{token} entered the game"));
            }
        }
        self.enter(Stage::Lobby, now);
    }

    fn finish(&mut self, now: Instant) {
        match self.family {
            LogFamily::Quake3 => {
                self.say(now, "Exit: Timelimit hit.");
                let scores: Vec<String> = self
                    .members
                    .values()
                    .map(|member| format!("score: 0  ping: 0  client: {} {}", member.slot, member.name))
                    .collect();
                scores.iter().for_each(|score| self.say(now, score));
            }
            _ => self.say(now, "World triggered \"Game_Over\" reason \"Reached Time Limit\""),
        }
        self.matches += 1;
        self.enter(Stage::Scores, now);
    }

    /// The lines of a Quake III client who comes.
    fn client(&mut self, address: SocketAddr, now: Instant) {
        let Some(member) = self.members.get(&address) else {
            return;
        };
        let (slot, name) = (member.slot, member.name.clone());
        self.say(now, &format!("ClientConnect: {slot}"));
        self.say(
            now,
            &format!("ClientUserinfo: {slot} \\ip\\{address}\\name\\{name}\\rate\\25000"),
        );
        self.say(
            now,
            &format!("ClientUserinfoChanged: {slot} n\\{name}\\t\\0\\model\\sarge"),
        );
        self.say(now, &format!("ClientBegin: {slot}"));
    }

    /// A player in Source's spelling.
    fn token(&self, address: SocketAddr) -> Option<String> {
        let member = self.members.get(&address)?;
        Some(format!(
            "\"{}<{}><[U:1:{}]><>\"",
            member.name, member.slot, member.account
        ))
    }

    fn names(&self) -> String {
        let names: Vec<&str> = self.members.values().map(|member| member.name.as_str()).collect();
        names.join(" ")
    }

    /// A line with the prefix of the family.
    fn say(&mut self, now: Instant, text: &str) {
        let line = match self.family {
            LogFamily::Quake3 => {
                let seconds = now.duration_since(self.match_since).as_secs();
                format!("{:3}:{:02} {text}", seconds / 60, seconds % 60)
            }
            LogFamily::Source => {
                let time = local_time().strftime("%m/%d/%Y - %H:%M:%S").to_string();
                format!("L {time}: {text}")
            }
            LogFamily::Luanti => {
                let time = local_time().strftime("%Y-%m-%d %H:%M:%S").to_string();
                format!("{time}: {text}")
            }
        };
        self.bare(&line);
    }

    fn bare(&mut self, line: &str) {
        // A full disk ends no game; the parent sees that nothing comes.
        let _ = self.out.write_all(format!("{line}\n").as_bytes());
    }
}

/// Now, in the host's time zone, as both families write it.
fn local_time() -> DateTime {
    TimeZone::system().to_datetime(Timestamp::now())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::games::{Fact, Grammar, Spoken, family::family};

    const PORTS: [u16; 2] = [50_001, 50_002];

    fn player(n: usize) -> SocketAddr {
        SocketAddr::from(([127, 0, 1, n as u8 + 1], PORTS[n]))
    }

    /// A match and a half, in which one comes before it and one leaves during the second; what its family hears of it.
    fn evening(of: LogFamily) -> Vec<String> {
        let start = Instant::now();
        let mut diary = Diary::new(Vec::new(), of, 1, 27_960, start);
        for second in 0..=40 {
            let now = start + Duration::from_secs(second);
            match second {
                0 => diary.joined(player(0), "Ada", now),
                9 => diary.joined(player(1), "Bela", now),
                10 => diary.joined(player(1), "Bela", now),
                38 => diary.left(player(1), now),
                40 => diary.close(now),
                _ => {}
            }
            diary.tick(now);
        }
        let text = String::from_utf8(diary.out).unwrap();
        let mut grammar: Box<dyn Grammar> = family(of.game()).grammar.unwrap()();
        let mut said: Vec<Spoken> = Vec::new();
        text.lines().for_each(|line| grammar.line(line, &mut said));
        said.into_iter()
            .filter_map(|spoken| match spoken.fact {
                Fact::ServerReady => Some("ready".to_owned()),
                Fact::MatchBegun { map, .. } => Some(format!("match {}", map.unwrap())),
                Fact::Phase(phase) => Some(format!("{phase:?}").to_lowercase()),
                Fact::MatchEnded { .. } => Some("over".to_owned()),
                Fact::PlayerJoined(who) => Some(match who.name {
                    Some(name) => format!("{name} joins"),
                    None => format!("{} joins", who.slot.unwrap()),
                }),
                Fact::PlayerLeft { player, .. } => Some(match player.name {
                    Some(name) => format!("{name} leaves"),
                    None => format!("{} leaves", player.slot.unwrap()),
                }),
                Fact::ServerStopping => Some("stopping".to_owned()),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn quake3_hears_matches_joins_and_leaves_as_they_happen() {
        assert_eq!(
            evening(LogFamily::Quake3),
            [
                "ready",
                "match q3dm17",
                "0 joins",
                "1 joins",
                "active",
                "2 joins",
                "ended",
                "over",
                "ready",
                "match q3dm6",
                "0 joins",
                "1 joins",
                "2 joins",
                "active",
                "2 leaves",
                "over"
            ]
        );
    }

    #[test]
    fn source_hears_matches_joins_and_leaves_as_they_happen() {
        assert_eq!(
            evening(LogFamily::Source),
            [
                "loading",
                "ready",
                "match cp_granary",
                "lobby",
                "Sarge joins",
                "Ada joins",
                "active",
                "Bela joins",
                "ended",
                "over",
                "loading",
                "ready",
                "match koth_viaduct",
                "lobby",
                "Sarge joins",
                "Ada joins",
                "Bela joins",
                "active",
                "Bela leaves",
                "stopping"
            ]
        );
    }

    #[test]
    fn luanti_hears_joins_and_leaves() {
        assert_eq!(
            evening(LogFamily::Luanti),
            ["ready", "Ada joins", "Bela joins", "Bela leaves", "stopping"]
        );
    }
}
