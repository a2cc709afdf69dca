//! Players' own lines by the minute, under pseudonyms: gathered from snapshots, and given back to frames whose time is no
//! longer in memory. `docs/privacy.md` says what is kept of whom.
//!
//! Not here: the last hour (`points`), the file (`disk::lines`).

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::SocketAddr,
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use super::{
    frame::{Frame, PlayerPoint},
    rollup::Span,
};
use crate::{
    privacy::{Pseudonym, PseudonymKey, RawIdentity, Selector},
    world::{
        network::LineSnapshot,
        session::picture::PlayerSnapshot,
        snapshot::{ServerSnapshot, ServerState, Snapshot},
    },
};

/// Lines are read this often: each reading is of the last 10 to 20 s.
const EVERY_MS: i64 = 5_000;
/// Frames that are longer get no lines: those of a minute say nothing of an hour.
pub const LONGEST_SECONDS: f64 = 60.0;
/// Lines of one server in one minute; of a fuller one, those that came first.
const MOST_LINES: usize = 1_024;

/// The line of one player in one minute. Absent is "not known then".
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredLine {
    /// Server.
    pub server: Arc<str>,
    /// Beginning of the minute.
    pub from_unix_ms: i64,
    /// Whose: of the platform id, else the name, else the address.
    pub player: Pseudonym,
    /// What else they may be found by: the name, where the id was known as well; the same player under the key of a fleet.
    pub also: [Option<Pseudonym>; 2],
    /// Region, where one was known.
    pub region: Option<Arc<str>>,
    /// Median round trip, milliseconds: the median of readings whose medians are those of 10 to 20 s each.
    pub rtt_p50_ms: Option<f32>,
    /// Highest 95th percentile of these readings, milliseconds.
    pub rtt_p95_ms: Option<f32>,
    /// Mean jitter (RFC 3550), milliseconds.
    pub jitter_ms: Option<f32>,
    /// Mean share that was lost on the way to the server.
    pub loss_up_ratio: Option<f32>,
    /// Mean share that was lost on the way to the player.
    pub loss_down_ratio: Option<f32>,
}

impl StoredLine {
    /// All that stands for the player.
    pub fn pseudonyms(&self) -> impl Iterator<Item = Pseudonym> {
        std::iter::once(self.player).chain(self.also.into_iter().flatten())
    }

    fn point(&self, name: Option<&Arc<str>>) -> PlayerPoint {
        PlayerPoint {
            player: name.map_or_else(|| self.player.to_string().into(), Arc::clone),
            region: self.region.clone(),
            rtt_ms: self.rtt_p50_ms,
            jitter_ms: self.jitter_ms,
            loss_up_ratio: self.loss_up_ratio,
            loss_down_ratio: self.loss_down_ratio,
            rx_packets_per_second: None,
            tx_packets_per_second: None,
        }
    }
}

/// Whose line is asked for, and what it is called in the answer.
#[derive(Clone, Debug)]
pub struct AskedPlayer {
    name: Arc<str>,
    pseudonyms: BTreeSet<Pseudonym>,
}

/// Gives frames without players the lines of their minute. The player that is asked for is called as in the question,
/// everybody else by pseudonym.
pub fn attach(frames: &mut [Frame], lines: &[StoredLine], asked: Option<&AskedPlayer>) {
    let mut minutes: BTreeMap<i64, Vec<PlayerPoint>> = BTreeMap::new();
    for line in lines {
        let is_meant = |asked: &&AskedPlayer| line.pseudonyms().any(|one| asked.pseudonyms.contains(&one));
        let name = asked.filter(is_meant);
        let point = line.point(name.map(|asked| &asked.name));
        minutes.entry(line.from_unix_ms).or_default().push(point);
    }
    let minutes: BTreeMap<i64, Arc<[PlayerPoint]>> = minutes
        .into_iter()
        .map(|(at, points)| (at, points.into()))
        .collect();
    for frame in frames
        .iter_mut()
        .filter(|frame| frame.players.is_empty() && frame.seconds <= LONGEST_SECONDS)
    {
        if let Some(points) = minutes.get(&Span::Minute.begin_of(frame.unix_ms)) {
            frame.players = points.clone();
        }
    }
}

/// Makes lines of snapshots.
pub struct LineKeeper {
    keys: LineKeys,
    servers: HashMap<String, Minute>,
}

/// What pseudonyms are made with.
pub struct LineKeys {
    /// The key of this host.
    pub own: PseudonymKey,
    /// The key that the agents of a fleet share, where there is one.
    pub shared: Option<PseudonymKey>,
}

/// A connection, and who has it: that may become known, or change, while it lasts.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Who {
    remote: SocketAddr,
    id: Option<Arc<str>>,
    name: Option<Arc<str>>,
}

impl Who {
    /// The strongest thing that is known, then the others: own key, name under it, strongest under that of the fleet. There,
    /// addresses alone stand for nobody.
    fn pseudonyms(&self, keys: &LineKeys) -> (Pseudonym, [Option<Pseudonym>; 2]) {
        let name = self.name.as_deref().map(RawIdentity::Name);
        let id = self.id.as_deref().map(RawIdentity::PlatformId);
        let strongest = id.or(name);
        let own = |identity: RawIdentity<'_>| keys.own.pseudonym(&identity);
        let shared = keys.shared.as_ref().zip(strongest);
        let also = [
            id.and(name).map(own),
            shared.map(|(key, identity)| key.pseudonym(&identity)),
        ];
        let address = RawIdentity::Address(self.remote.ip());
        (own(strongest.unwrap_or(address)), also)
    }
}

#[derive(Debug, Default)]
struct Minute {
    from_unix_ms: i64,
    read_unix_ms: i64,
    lines: HashMap<Who, Readings>,
}

#[derive(Debug, Default)]
struct Readings {
    region: Option<Arc<str>>,
    rtt_p50_ms: Vec<f32>,
    rtt_p95_ms: Option<f32>,
    jitter_ms: Mean,
    loss_up_ratio: Mean,
    loss_down_ratio: Mean,
}

#[derive(Clone, Copy, Debug, Default)]
struct Mean {
    sum: f64,
    count: u32,
}

impl Mean {
    fn add(&mut self, value: Option<f64>) {
        if let Some(value) = value.filter(|value| value.is_finite()) {
            self.sum += value;
            self.count += 1;
        }
    }

    fn get(self) -> Option<f32> {
        (self.count > 0).then(|| (self.sum / f64::from(self.count)) as f32)
    }
}

impl Readings {
    fn add(&mut self, line: &LineSnapshot) {
        let ms = |ns: f64| ns / 1e6;
        self.rtt_p50_ms.extend(
            line.rtt_p50_ns
                .filter(|ns| ns.is_finite())
                .map(|ns| ms(ns) as f32),
        );
        let highest = line
            .rtt_p95_ns
            .filter(|ns| ns.is_finite())
            .map(|ns| ms(ns) as f32);
        self.rtt_p95_ms = match (self.rtt_p95_ms, highest) {
            (Some(before), Some(now)) => Some(before.max(now)),
            (before, now) => before.or(now),
        };
        self.jitter_ms.add(line.jitter_ns.map(ms));
        self.loss_up_ratio.add(line.loss_up_ratio);
        self.loss_down_ratio.add(line.loss_down_ratio);
    }

    fn median(&mut self) -> Option<f32> {
        self.rtt_p50_ms.sort_by(f32::total_cmp);
        let values = &self.rtt_p50_ms;
        let middle = values.len() / 2;
        match values.len() {
            0 => None,
            odd if odd % 2 == 1 => Some(values[middle]),
            _ => Some(f32::midpoint(values[middle - 1], values[middle])),
        }
    }
}

impl std::fmt::Debug for LineKeeper {
    fn fmt(&self, out: &mut std::fmt::Formatter) -> std::fmt::Result {
        // Nothing of the keys.
        out.debug_struct("LineKeeper")
            .field("servers", &self.servers.len())
            .finish_non_exhaustive()
    }
}

impl LineKeeper {
    /// With the keys of pseudonyms.
    pub fn new(keys: LineKeys) -> Self {
        Self {
            keys,
            servers: HashMap::new(),
        }
    }

    /// A player as `gsmon players` has them: by name, platform id or address, or by pseudonym.
    pub fn asked(&self, player: &str) -> AskedPlayer {
        let selector = Selector::new(player);
        let mut pseudonyms = selector.pseudonyms(Some(&self.keys.own));
        pseudonyms.extend(selector.pseudonyms(self.keys.shared.as_ref()));
        AskedPlayer {
            name: player.into(),
            pseudonyms,
        }
    }

    /// Takes a snapshot; gives the lines of minutes that are over.
    pub fn look(&mut self, snapshot: &Snapshot) -> Vec<StoredLine> {
        let now_ms = (snapshot.unix_time_seconds * 1e3).round() as i64;
        let begin = Span::Minute.begin_of(now_ms);
        let mut over = Vec::new();
        let up = |name: &str| {
            let mut servers = snapshot.servers.iter();
            servers.any(|server| server.name == name && server.state == ServerState::Up)
        };
        let keys = &self.keys;
        self.servers.retain(|name, minute| {
            // A minute ends with its server, and with a clock that is set.
            let stays = up(name);
            if !stays || minute.from_unix_ms != begin {
                over.extend(std::mem::take(minute).lines(name, keys));
            }
            stays
        });
        for server in &snapshot.servers {
            if server.state != ServerState::Up || server.network.is_none() {
                continue;
            }
            let minute = match self.servers.get_mut(&server.name) {
                Some(minute) => minute,
                None => self.servers.entry(server.name.clone()).or_default(),
            };
            minute.from_unix_ms = begin;
            // Half a second of tolerance: intervals do not end on the dot.
            if now_ms - minute.read_unix_ms >= EVERY_MS - 500 || now_ms < minute.read_unix_ms {
                minute.read_unix_ms = now_ms;
                minute.read(server);
            }
        }
        over
    }
}

impl Minute {
    fn read(&mut self, server: &ServerSnapshot) {
        let players = server.game_state.players.iter();
        let known: HashMap<SocketAddr, &PlayerSnapshot> = players
            .filter_map(|player| Some((player.flow.as_ref()?.remote, player)))
            .collect();
        let lines = server.network.iter().flat_map(|network| network.lines.iter());
        for told in lines.filter(|told| told.line.says_something()) {
            let player = known.get(&told.remote);
            let who = Who {
                remote: told.remote,
                id: player.and_then(|player| player.platform_id.clone()),
                name: player.and_then(|player| player.name.clone()),
            };
            if self.lines.len() >= MOST_LINES && !self.lines.contains_key(&who) {
                continue;
            }
            let readings = self.lines.entry(who).or_default();
            readings.region =
                player.and_then(|player| player.region.as_ref().map(|region| region.name.clone()));
            readings.add(&told.line);
        }
    }

    fn lines(self, server: &str, keys: &LineKeys) -> Vec<StoredLine> {
        let server: Arc<str> = server.into();
        let lines = self.lines.into_iter();
        let mut lines: Vec<StoredLine> = lines
            .map(|(who, mut readings)| {
                let (player, also) = who.pseudonyms(keys);
                StoredLine {
                    server: server.clone(),
                    from_unix_ms: self.from_unix_ms,
                    player,
                    also,
                    region: readings.region.take(),
                    rtt_p50_ms: readings.median(),
                    rtt_p95_ms: readings.rtt_p95_ms,
                    jitter_ms: readings.jitter_ms.get(),
                    loss_up_ratio: readings.loss_up_ratio.get(),
                    loss_down_ratio: readings.loss_down_ratio.get(),
                }
            })
            .collect();
        lines.sort_by_key(|line| line.player);
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        history::{PlayerPoint, points},
        world::session::ask::tests::a_snapshot,
    };

    fn key(byte: u8) -> PseudonymKey {
        PseudonymKey::from_bytes(&[byte; 32])
    }

    fn keeper() -> LineKeeper {
        LineKeeper::new(LineKeys {
            own: key(1),
            shared: Some(key(2)),
        })
    }

    fn who(id: Option<&str>, name: Option<&str>) -> Who {
        Who {
            remote: "198.51.100.7:4000".parse().unwrap(),
            id: id.map(Into::into),
            name: name.map(Into::into),
        }
    }

    #[test]
    fn a_player_is_found_by_whatever_was_known_of_them() {
        let keeper = keeper();
        let found = |who: &Who, asked: &str| {
            let (player, also) = who.pseudonyms(&keeper.keys);
            let asked = keeper.asked(asked).pseudonyms;
            let mut all = std::iter::once(player).chain(also.into_iter().flatten());
            all.any(|one| asked.contains(&one))
        };
        let both = who(Some("7656"), Some("Ann"));
        assert!(found(&both, "Ann") && found(&both, "7656") && !found(&both, "198.51.100.7"));
        let nobody = who(None, None);
        assert!(found(&nobody, "198.51.100.7:4000") && !found(&nobody, "Ann"));
        // As the fleet calls them.
        let shared = key(2).pseudonym(&RawIdentity::PlatformId("7656")).to_string();
        assert!(found(&both, &shared) && !found(&nobody, &shared));
        assert_eq!(nobody.pseudonyms(&keeper.keys).1, [None, None]);
    }

    fn line(rtt_ms: f64) -> LineSnapshot {
        LineSnapshot {
            rtt_p50_ns: Some(rtt_ms * 1e6),
            rtt_p95_ns: Some(rtt_ms * 2e6),
            loss_up_ratio: Some(rtt_ms / 1e4),
            ..LineSnapshot::default()
        }
    }

    #[test]
    fn a_minute_of_readings_becomes_a_line() {
        let mut minute = Minute {
            from_unix_ms: 60_000,
            ..Minute::default()
        };
        let readings = minute.lines.entry(who(None, Some("Ann"))).or_default();
        [30.0, 200.0, 40.0]
            .iter()
            .for_each(|rtt_ms| readings.add(&line(*rtt_ms)));
        let lines = minute.lines("arena", &keeper().keys);
        assert_eq!(lines.len(), 1);
        let told = &lines[0];
        assert_eq!((told.rtt_p50_ms, told.rtt_p95_ms), (Some(40.0), Some(400.0)));
        assert!((told.loss_up_ratio.unwrap() - 0.009).abs() < 1e-6);
        assert_eq!((told.jitter_ms, told.loss_down_ratio), (None, None));
        assert_eq!(told.player, key(1).pseudonym(&RawIdentity::Name("Ann")));
        assert!(!serde_json::to_string(&lines).unwrap().contains("Ann"));
    }

    #[test]
    fn frames_get_the_lines_of_their_minute_and_keep_players_that_they_have() {
        let mut minute = Minute {
            from_unix_ms: 60_000,
            ..Minute::default()
        };
        minute
            .lines
            .entry(who(None, Some("Ann")))
            .or_default()
            .add(&line(30.0));
        minute
            .lines
            .entry(who(None, Some("Bob")))
            .or_default()
            .add(&line(50.0));
        let keeper = keeper();
        let lines = minute.lines("arena", &keeper.keys);
        let mut frames: Vec<Frame> = [60_000, 61_000, 120_000, 121_000]
            .map(|end_ms| Frame::new(end_ms, 1.0))
            .into();
        frames[1].players = [points::tests::point("Eve", 9.0)].into();
        attach(&mut frames, &lines, Some(&keeper.asked("Ann")));
        assert!(frames[0].players.is_empty() && frames[3].players.is_empty());
        assert_eq!(&*frames[1].players[0].player, "Eve");
        let told: Vec<&PlayerPoint> = frames[2].players.iter().collect();
        assert_eq!(told.len(), 2);
        let ann = told.iter().find(|point| &*point.player == "Ann").unwrap();
        assert_eq!(ann.rtt_ms, Some(30.0));
        assert!(
            told.iter().any(|point| point.player.starts_with("p-")),
            "Bob is a pseudonym"
        );
    }

    #[test]
    fn a_server_without_lines_has_none_and_one_that_goes_ends_its_minute() {
        let mut keeper = keeper();
        let mut snapshot = a_snapshot();
        snapshot.servers[0].state = ServerState::Up;
        snapshot.servers[0].network = None;
        assert!(keeper.look(&snapshot).is_empty());
        keeper.servers.insert(
            snapshot.servers[0].name.clone(),
            Minute {
                from_unix_ms: 60_000,
                ..Minute::default()
            },
        );
        let minute = keeper.servers.get_mut(&snapshot.servers[0].name).unwrap();
        minute
            .lines
            .entry(who(None, Some("Ann")))
            .or_default()
            .add(&line(30.0));
        snapshot.servers[0].state = ServerState::Gone;
        let over = keeper.look(&snapshot);
        assert_eq!((over.len(), over[0].from_unix_ms), (1, 60_000));
        assert!(keeper.servers.is_empty());
    }
}
