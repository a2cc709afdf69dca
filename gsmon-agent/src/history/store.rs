//! One ring per server, fed by the loop after each snapshot and read by whoever asks; and the answer, by column, as the API
//! has it.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::{Deserialize, Serialize};

use super::{
    disk::{HistoryWriter, file::Interval},
    events::{Event, Watcher},
    findings::StoredFinding,
    frame::{Acted, Before, Frame, HostFigures, PlayerPoint, frame_of},
    lines::{AskedPlayer, LineKeeper, LineKeys},
    marks::{Mark, Marks},
    measure::Measure,
    ring::Ring,
    source::TimeRange,
    spikes::StoredSpike,
};
use crate::{
    games::event::Phase,
    world::snapshot::{HistorySnapshot, Snapshot},
};

/// Rows of players' networks that are kept of all servers together: 20 MiB.
const ALL_POINTS: usize = 400_000;
/// Of one server, however many there are.
const FEWEST_POINTS: usize = 1_000;
/// Of one server, however few there are.
const MOST_POINTS: usize = 65_536;

/// The last hour of every server, and the way to the disk where there is one.
#[derive(Debug, Default)]
pub struct History {
    servers: Mutex<HashMap<String, Kept>>,
    pub(super) disk: Option<Disk>,
    marks: Mutex<Marks>,
}

/// What goes to disk.
#[derive(Debug)]
pub(super) struct Disk {
    pub(super) writer: HistoryWriter,
    watcher: Mutex<Watcher>,
    /// What others told since the last interval.
    told: Mutex<Vec<Event>>,
    spikes: Mutex<Vec<StoredSpike>>,
    findings: Mutex<Vec<StoredFinding>>,
    /// Where players' lines are written.
    lines: Option<Mutex<LineKeeper>>,
}

/// Events that others may tell in one interval; more are left out.
const MOST_TOLD: usize = 1_024;

#[derive(Debug, Default)]
struct Kept {
    ring: Ring,
    before: Option<Before>,
}

impl Disk {
    fn told(&self) -> MutexGuard<'_, Vec<Event>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn spikes(&self) -> MutexGuard<'_, Vec<StoredSpike>> {
        self.spikes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn findings(&self) -> MutexGuard<'_, Vec<StoredFinding>> {
        self.findings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl History {
    /// Keeps an event that no snapshot has, such as a mark; it is written with the next interval. Where nothing is written to
    /// disk, it is kept nowhere.
    pub fn tell(&self, event: Event) {
        if let Some(disk) = &self.disk {
            let mut told = disk.told();
            if told.len() < MOST_TOLD {
                told.push(event);
            }
        }
    }

    /// Keeps spikes that somebody found; they are written with the next interval, or nowhere where nothing is written.
    pub fn tell_spikes(&self, spikes: impl IntoIterator<Item = StoredSpike>) {
        if let Some(disk) = &self.disk {
            let mut told = disk.spikes();
            let room = MOST_TOLD.saturating_sub(told.len());
            told.extend(spikes.into_iter().take(room));
        }
    }

    /// Keeps a finding; it is written with the next interval, or nowhere where nothing is written.
    pub fn tell_finding(&self, finding: StoredFinding) {
        if let Some(disk) = &self.disk {
            let mut told = disk.findings();
            if told.len() < MOST_TOLD {
                told.push(finding);
            }
        }
    }

    /// Frames of a server that are in memory and end in a time, without players' networks, for whoever looks at them within
    /// the agent.
    pub fn recent_frames(&self, server: &str, from_unix_ms: i64, to_unix_ms: i64) -> Option<Vec<Frame>> {
        let servers = self.lock();
        let ring = &servers.get(server)?.ring;
        Some(ring.without_players(from_unix_ms, to_unix_ms))
    }

    /// In memory and on disk.
    pub fn written_by(writer: HistoryWriter) -> Self {
        Self {
            servers: Mutex::default(),
            marks: Mutex::default(),
            disk: Some(Disk {
                writer,
                watcher: Mutex::default(),
                told: Mutex::default(),
                spikes: Mutex::default(),
                findings: Mutex::default(),
                lines: None,
            }),
        }
    }

    /// The same, with players' lines under pseudonyms of these keys.
    pub fn with_lines(mut self, keys: LineKeys) -> Self {
        if let Some(disk) = &mut self.disk {
            disk.lines = Some(Mutex::new(LineKeeper::new(keys)));
        }
        self
    }

    /// A player whose line is asked for, by name, platform id, address or pseudonym; `None` where no lines are written.
    pub fn asked_player(&self, player: &str) -> Option<AskedPlayer> {
        let keeper = self.disk.as_ref()?.lines.as_ref()?;
        let keeper = keeper.lock().unwrap_or_else(PoisonError::into_inner);
        Some(keeper.asked(player))
    }

    /// How the history on disk goes; `None` where none is written.
    pub fn on_disk(&self) -> Option<HistorySnapshot> {
        self.disk.as_ref().map(|disk| disk.writer.snapshot())
    }

    /// Adds an interval. Servers that are no longer followed are forgotten; one that is gone keeps its hour.
    pub fn record(&self, snapshot: &Snapshot, host: HostFigures) {
        let most_points = (ALL_POINTS / snapshot.servers.len().max(1)).clamp(FEWEST_POINTS, MOST_POINTS);
        let mut complete: Vec<(Arc<str>, Frame)> = Vec::new();
        let mut servers = self.lock();
        let followed = |name: &str| snapshot.servers.iter().any(|server| server.name == name);
        servers.retain(|name, _| followed(name));
        self.locked_marks().retain(followed);
        for server in &snapshot.servers {
            let kept = match servers.get_mut(&server.name) {
                Some(kept) => kept,
                None => servers.entry(server.name.clone()).or_default(),
            };
            let frame = frame_of(snapshot, server, kept.before.as_ref(), host);
            kept.before = frame.as_ref().map(|_| Before::of(snapshot, server));
            if let Some(frame) = &frame {
                let frames = kept.ring.push(frame, most_points);
                if self.disk.is_some() && !frames.is_empty() {
                    let name: Arc<str> = server.name.as_str().into();
                    complete.extend(frames.into_iter().map(|frame| (name.clone(), frame)));
                }
            }
        }
        drop(servers);
        if let Some(disk) = &self.disk {
            let mut told = disk
                .watcher
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .look(snapshot);
            told.events.append(&mut disk.told());
            told.spikes.append(&mut disk.spikes());
            told.findings.append(&mut disk.findings());
            if let Some(keeper) = &disk.lines {
                let mut keeper = keeper.lock().unwrap_or_else(PoisonError::into_inner);
                told.lines = keeper.look(snapshot);
            }
            disk.writer.record(Interval {
                unix_ms: (snapshot.unix_time_seconds * 1e3).round() as i64,
                frames: complete,
                told,
            });
        }
    }

    /// Frames of a server in memory, and when the oldest of all begins; `None` when it is not followed.
    pub(super) fn remembered(&self, server: &str, range: TimeRange) -> Option<(Vec<Frame>, Option<i64>)> {
        let servers = self.lock();
        let ring = &servers.get(server)?.ring;
        let frames = ring.frames(range.from_unix_ms, range.to_unix_ms);
        Some((frames, ring.oldest_unix_ms()))
    }

    /// Servers that are followed.
    pub(super) fn followed(&self) -> Vec<String> {
        let mut names: Vec<String> = self.lock().keys().cloned().collect();
        names.sort_unstable();
        names
    }

    /// Frames of a server that end in a time.
    ///
    /// # Errors
    /// With the servers that there are, when this is none of them.
    pub fn frames(
        &self,
        server: &str,
        from_unix_ms: i64,
        to_unix_ms: i64,
    ) -> Result<ServerFrames, UnknownServer> {
        let servers = self.lock();
        let kept = servers.get(server).ok_or_else(|| unknown(server, &servers))?;
        let frames = kept.ring.frames(from_unix_ms, to_unix_ms);
        drop(servers);
        Ok(ServerFrames::of(server, &frames))
    }

    /// Marks a moment of a server.
    pub fn mark(&self, server: &str, mark: Mark) {
        self.tell(mark.event(server));
        self.locked_marks().add(server, mark);
    }

    /// Marks of a server since the agent's start, the oldest first.
    ///
    /// # Errors
    /// With the servers that there are, when this is none of them.
    pub fn new_marks(&self, server: &str) -> Result<Vec<Mark>, UnknownServer> {
        let servers = self.lock();
        match servers.contains_key(server) {
            true => Ok(self.locked_marks().of(server)),
            false => Err(unknown(server, &servers)),
        }
    }

    /// Memory that the figures take, names of players aside.
    pub fn bytes(&self) -> usize {
        self.lock().values().map(|kept| kept.ring.bytes()).sum()
    }

    fn locked_marks(&self) -> MutexGuard<'_, Marks> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // Nothing in here is left half done by a panic elsewhere.
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Kept>> {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unknown(name: &str, servers: &HashMap<String, Kept>) -> UnknownServer {
    let mut known: Vec<String> = servers.keys().cloned().collect();
    known.sort_unstable();
    UnknownServer {
        name: name.to_owned(),
        known,
    }
}

/// There is no such server.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("there is no server called `{name}`; there are: {}", if .known.is_empty() { "none".to_owned() } else { .known.join(", ") })]
pub struct UnknownServer {
    /// What was asked for.
    pub name: String,
    /// What there is.
    pub known: Vec<String>,
}

/// Frames of one server by column. A column that nobody measured is left out; `null` in a column is "not known here".
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ServerFrames {
    /// Server.
    pub server: String,
    /// Ends of the intervals.
    pub unix_ms: Vec<i64>,
    /// Their lengths.
    pub seconds: Vec<f64>,
    /// Frames (by index) of whose time just before nothing is known.
    pub begins_anew: Vec<usize>,
    /// Phases.
    pub phase: Vec<Option<Phase>>,
    /// Modes and maps, where one is known.
    #[serde(default)]
    pub scenes: Vec<Scene>,
    /// What players did.
    #[serde(default)]
    pub acted: Vec<ActedAt>,
    /// Figures by name.
    pub columns: BTreeMap<String, Vec<Option<f32>>>,
    /// Networks of players.
    pub players: Vec<PlayersAt>,
}

/// Mode and map from one frame on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scene {
    /// Index of the first frame.
    pub frame: usize,
    /// How many frames it holds for.
    pub frames: usize,
    /// Mode.
    pub mode: Option<Arc<str>>,
    /// Map.
    pub map: Option<Arc<str>>,
}

/// What players did in one frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActedAt {
    /// Index of the frame.
    pub frame: usize,
    /// Actions.
    pub actions: Arc<[Acted]>,
}

/// Networks of players from one frame on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlayersAt {
    /// Index of the first frame.
    pub frame: usize,
    /// How many frames it holds for.
    pub frames: usize,
    /// Players.
    pub points: Arc<[PlayerPoint]>,
}

impl ServerFrames {
    /// From frames.
    pub fn of(server: &str, frames: &[Frame]) -> Self {
        let mut columns = BTreeMap::new();
        for measure in Measure::ALL {
            let column: Vec<Option<f32>> = frames
                .iter()
                .map(|frame| frame.get(*measure).map(|value| value as f32))
                .collect();
            if column.iter().any(Option::is_some) {
                columns.insert(measure.name().to_owned(), column);
            }
        }
        let mut players: Vec<PlayersAt> = Vec::new();
        for (index, frame) in frames
            .iter()
            .enumerate()
            .filter(|(_, frame)| !frame.players.is_empty())
        {
            match players.last_mut() {
                Some(last)
                    if last.frame + last.frames == index && Arc::ptr_eq(&last.points, &frame.players) =>
                {
                    last.frames += 1;
                }
                _ => players.push(PlayersAt {
                    frame: index,
                    frames: 1,
                    points: frame.players.clone(),
                }),
            }
        }
        Self {
            server: server.to_owned(),
            unix_ms: frames.iter().map(|frame| frame.unix_ms).collect(),
            seconds: frames
                .iter()
                .map(|frame| (frame.seconds * 1e3).round() / 1e3)
                .collect(),
            begins_anew: (0..frames.len())
                .filter(|index| frames[*index].begins_anew)
                .collect(),
            phase: frames.iter().map(|frame| frame.phase).collect(),
            scenes: scenes(frames),
            acted: frames
                .iter()
                .enumerate()
                .filter(|(_, frame)| !frame.acted.is_empty())
                .map(|(frame, of)| ActedAt {
                    frame,
                    actions: of.acted.clone(),
                })
                .collect(),
            columns,
            players,
        }
    }

    /// The frames again, for the analysis.
    pub fn frames(&self) -> Vec<Frame> {
        let mut frames: Vec<Frame> = self
            .unix_ms
            .iter()
            .zip(&self.seconds)
            .map(|(unix_ms, seconds)| Frame::new(*unix_ms, *seconds))
            .collect();
        for (frame, phase) in frames.iter_mut().zip(&self.phase) {
            frame.phase = *phase;
        }
        for index in &self.begins_anew {
            if let Some(frame) = frames.get_mut(*index) {
                frame.begins_anew = true;
            }
        }
        for scene in &self.scenes {
            for frame in frames.iter_mut().skip(scene.frame).take(scene.frames) {
                frame.mode.clone_from(&scene.mode);
                frame.map.clone_from(&scene.map);
            }
        }
        for at in &self.acted {
            if let Some(frame) = frames.get_mut(at.frame) {
                frame.acted = at.actions.clone();
            }
        }
        for (name, column) in &self.columns {
            // A newer agent may have columns that this program does not know.
            let Some(measure) = Measure::named(name) else {
                continue;
            };
            for (frame, value) in frames.iter_mut().zip(column) {
                frame.set(measure, value.map(f64::from));
            }
        }
        for at in &self.players {
            for frame in frames.iter_mut().skip(at.frame).take(at.frames) {
                frame.players = at.points.clone();
            }
        }
        frames
    }
}

/// Runs of frames of one mode and map; frames without either have none.
fn scenes(frames: &[Frame]) -> Vec<Scene> {
    let mut scenes: Vec<Scene> = Vec::new();
    for (index, frame) in frames.iter().enumerate() {
        match scenes.last_mut() {
            _ if frame.mode.is_none() && frame.map.is_none() => {}
            Some(last)
                if last.frame + last.frames == index && last.mode == frame.mode && last.map == frame.map =>
            {
                last.frames += 1;
            }
            _ => scenes.push(Scene {
                frame: index,
                frames: 1,
                mode: frame.mode.clone(),
                map: frame.map.clone(),
            }),
        }
    }
    scenes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::{session::ask::tests::a_snapshot, snapshot::ServerState};

    #[test]
    fn every_server_that_is_up_has_frames_and_they_survive_json() {
        let history = History::default();
        let mut snapshot = a_snapshot();
        snapshot.interval_seconds = 1.0;
        for second in 0..20 {
            snapshot.unix_time_seconds += 1.0;
            snapshot.servers[0].state = ServerState::Up;
            snapshot.servers[0].rates.cpu_cores = Some(f64::from(second) / 10.0);
            snapshot.servers[1].state = ServerState::Waiting;
            if second == 7 {
                let actions = &mut snapshot.servers[0].game_state.actions;
                actions.insert("throw".into(), 4);
            }
            history.record(
                &snapshot,
                HostFigures {
                    steal_ratio: Some(0.0),
                    busy_cores: None,
                },
            );
        }
        let name = snapshot.servers[0].name.clone();
        let answer = history.frames(&name, i64::MIN, i64::MAX).unwrap();
        assert_eq!(answer.unix_ms.len(), 20);
        assert_eq!(answer.begins_anew, [0]);
        assert_eq!(answer.columns["steal_ratio"][3], Some(0.0));
        assert!(!answer.columns.contains_key("rtt_p50_ms"));
        assert_eq!((answer.acted.len(), answer.acted[0].frame), (1, 7));
        assert_eq!((answer.scenes.len(), answer.scenes[0].frames), (1, 20));
        assert!(answer.scenes[0].map.is_some());
        let text = serde_json::to_string(&answer).unwrap();
        let again: ServerFrames = serde_json::from_str(&text).unwrap();
        assert_eq!(ServerFrames::of(&name, &again.frames()), answer);
        assert!(
            history
                .frames(&snapshot.servers[1].name, i64::MIN, i64::MAX)
                .unwrap()
                .unix_ms
                .is_empty()
        );
        let newest = *answer.unix_ms.last().unwrap();
        assert_eq!(
            history
                .frames(&name, newest - 4_000, newest)
                .unwrap()
                .unix_ms
                .len(),
            5
        );
        let unknown = history.frames("x", 0, 1).unwrap_err();
        assert_eq!(unknown.known.len(), 2);
        snapshot.servers.truncate(1);
        history.record(&snapshot, HostFigures::default());
        assert_eq!(history.frames("x", 0, 1).unwrap_err().known, [name]);
    }
}
