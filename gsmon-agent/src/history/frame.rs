//! One server in one interval, as analysis reads it, and the one place where a snapshot becomes such a frame.
//!
//! A figure that nobody measured is absent, never zero. Not here: keeping frames (`ring`), meaning (the analysis room).

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use super::measure::Measure;
use crate::{
    games::event::Phase,
    world::{
        network::{LineSnapshot, NetworkSnapshot},
        session::picture::{CountBasis, PlayerSnapshot, SessionSnapshot},
        snapshot::{ServerSnapshot, ServerState, Snapshot},
    },
};

/// One server in one interval.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    /// End of the interval.
    pub unix_ms: i64,
    /// Its length.
    pub seconds: f64,
    /// Nothing is known of the time just before it: no difference may reach across.
    pub begins_anew: bool,
    /// Phase of the server.
    pub phase: Option<Phase>,
    /// Mode of the session that runs; of several, where all have the same.
    pub mode: Option<Arc<str>>,
    /// Map of it.
    pub map: Option<Arc<str>>,
    /// What players did in the frame, by the name that the game gave it; their sum is [`Measure::Actions`].
    pub acted: Arc<[Acted]>,
    /// NaN where nobody measured it; f32, since no figure here is known to seven digits.
    values: [f32; Measure::COUNT],
    /// Players whose network is measured.
    pub players: Arc<[PlayerPoint]>,
}

/// How often players did something in one interval.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acted {
    /// The game's name for it.
    pub action: Arc<str>,
    /// Times.
    pub times: u32,
}

/// One player's network in one interval. Absent is "not known here".
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlayerPoint {
    /// Name, else platform id, else remote endpoint.
    pub player: Arc<str>,
    /// Region, where one is known.
    pub region: Option<Arc<str>>,
    /// Median round trip.
    pub rtt_ms: Option<f32>,
    /// Jitter (RFC 3550).
    pub jitter_ms: Option<f32>,
    /// Lost on the way to the server.
    pub loss_up_ratio: Option<f32>,
    /// Lost on the way to the player.
    pub loss_down_ratio: Option<f32>,
    /// Packets from the player.
    pub rx_packets_per_second: Option<f32>,
    /// Packets to the player.
    pub tx_packets_per_second: Option<f32>,
}

impl Frame {
    /// A frame without figures.
    pub fn new(unix_ms: i64, seconds: f64) -> Self {
        Self {
            unix_ms,
            seconds,
            begins_anew: false,
            phase: None,
            mode: None,
            map: None,
            acted: Arc::default(),
            values: [f32::NAN; Measure::COUNT],
            players: Arc::default(),
        }
    }

    /// A figure, where it was measured.
    pub fn get(&self, measure: Measure) -> Option<f64> {
        let value = self.values[measure as usize];
        value.is_finite().then_some(f64::from(value))
    }

    /// Sets a figure, or takes it away.
    pub fn set(&mut self, measure: Measure, value: Option<f64>) {
        self.values[measure as usize] = value.map_or(f32::NAN, |value| value as f32);
    }

    /// Sets a figure.
    pub fn with(mut self, measure: Measure, value: f64) -> Self {
        self.set(measure, Some(value));
        self
    }
}

/// What the host as a whole did in an interval.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct HostFigures {
    /// See [`Measure::StealRatio`].
    pub steal_ratio: Option<f64>,
    /// CPU of everything on this host, in cores.
    pub busy_cores: Option<f64>,
}

/// What must be remembered of a server to take differences.
#[derive(Clone, Debug, PartialEq)]
pub struct Before {
    unix_ms: i64,
    starts: u64,
    phase: Option<Phase>,
    joins: u64,
    leaves: u64,
    actions: BTreeMap<Arc<str>, u64>,
    udp_drops: Option<u64>,
    players: Option<u64>,
    /// Nobody tells who comes and goes.
    only_counted: bool,
}

impl Before {
    /// Of this interval, for the next.
    pub fn of(snapshot: &Snapshot, server: &ServerSnapshot) -> Self {
        let game = &server.game_state;
        let counts = &game.player_counts;
        let known = [counts.humans, counts.bots, counts.unknown];
        Self {
            players: known
                .iter()
                .any(Option::is_some)
                .then(|| known.into_iter().flatten().sum()),
            only_counted: counts.by != Some(CountBasis::Roster),
            unix_ms: unix_ms(snapshot),
            starts: server.starts,
            phase: game.phase,
            joins: game.counters.joins + game.counters.inferred_joins,
            leaves: game.counters.leaves + game.counters.inferred_leaves,
            actions: game.actions.clone(),
            udp_drops: server
                .sockets
                .as_ref()
                .and_then(|sockets| sockets.udp_receive_drops),
        }
    }
}

fn unix_ms(snapshot: &Snapshot) -> i64 {
    (snapshot.unix_time_seconds * 1e3).round() as i64
}

/// Makes the frame of a server: every figure of a frame comes from here and from nowhere else. `None` when the server is
/// not up.
pub fn frame_of(
    snapshot: &Snapshot,
    server: &ServerSnapshot,
    before: Option<&Before>,
    host: HostFigures,
) -> Option<Frame> {
    if server.state != ServerState::Up {
        return None;
    }
    let now = Before::of(snapshot, server);
    let seconds = snapshot.interval_seconds;
    // A clock that was set or an interval that was slept through is a gap like any other.
    let before = before.filter(|before| {
        let passed_ms = (now.unix_ms - before.unix_ms) as f64;
        before.starts == now.starts && passed_ms > 0.0 && passed_ms < 3.0 * seconds * 1e3 + 500.0
    });
    let mut frame = Frame::new(now.unix_ms, seconds);
    frame.begins_anew = before.is_none();
    frame.phase = now.phase;
    (frame.mode, frame.map) = shared_scene(server);
    frame.acted = before.map_or_else(Arc::default, |before| acted(&before.actions, &now.actions));
    let (rates, counts) = (&server.rates, &server.game_state.player_counts);
    let tick = server.tick.as_ref();
    let network = server.network.as_ref();
    let rtt = network.and_then(|network| network.rtt);
    let ms = |ns: Option<f64>| ns.map(|ns| ns / 1e6);
    let since = |of: fn(&Before) -> u64| before.map(|before| of(&now).saturating_sub(of(before)) as f64);
    // Where players are only counted, who comes and who goes is what the count changes by.
    let change = before
        .filter(|before| before.only_counted && now.only_counted)
        .and_then(|before| Some(now.players? as f64 - before.players? as f64));
    let come_and_gone = |told: Option<f64>, counted: Option<f64>| match (told, counted) {
        (Some(told), Some(counted)) => Some(told.max(counted)),
        (told, _) => told,
    };
    let others: f64 = snapshot
        .servers
        .iter()
        .filter(|other| other.name != server.name)
        .filter_map(|other| other.rates.cpu_cores)
        .sum();
    let bytes = |bytes: Option<u64>| bytes.map(|bytes| bytes as f64);
    for (measure, value) in [
        (Measure::CpuCores, rates.cpu_cores),
        (Measure::RunQueueWaitRatio, rates.run_queue_wait_ratio),
        (Measure::TickRateHz, tick.map(|tick| tick.rate_hz)),
        (Measure::TickTargetHz, server.tick_target_hz.map(f64::from)),
        (Measure::TickP50Ms, ms(tick.and_then(|tick| tick.time_p50_ns))),
        (Measure::TickP99Ms, ms(tick.and_then(|tick| tick.time_p99_ns))),
        (Measure::RxPacketsPerSecond, rates.rx_packets_per_second),
        (Measure::RxBytesPerSecond, rates.rx_bytes_per_second),
        (Measure::TxPacketsPerSecond, rates.tx_packets_per_second),
        (Measure::TxBytesPerSecond, rates.tx_bytes_per_second),
        (Measure::Players, now.players.map(|players| players as f64)),
        (Measure::Bots, counts.bots.map(|bots| bots as f64)),
        (Measure::Humans, counts.humans.map(|humans| humans as f64)),
        (Measure::Joins, come_and_gone(since(|at| at.joins), change)),
        (
            Measure::Leaves,
            come_and_gone(since(|at| at.leaves), change.map(|change| -change)),
        ),
        (Measure::Actions, since(|at| at.actions.values().sum())),
        (
            Measure::PhaseChanges,
            before.map(|before| f64::from(u8::from(before.phase != now.phase))),
        ),
        (
            Measure::OtherServersCpuCores,
            (snapshot.servers.len() > 1).then_some(others),
        ),
        (
            Measure::OtherProcessesCpuCores,
            host.busy_cores.map(|busy| {
                let servers = others + rates.cpu_cores.unwrap_or(0.0);
                (busy - servers).max(0.0)
            }),
        ),
        (Measure::StealRatio, host.steal_ratio),
        (Measure::RssBytes, bytes(rates.rss_bytes)),
        (Measure::RssAnonymousBytes, bytes(rates.rss_anonymous_bytes)),
        (Measure::DiskReadBytesPerSecond, rates.disk_read_bytes_per_second),
        (
            Measure::DiskWriteBytesPerSecond,
            rates.disk_write_bytes_per_second,
        ),
        (Measure::MinorFaultsPerSecond, rates.minor_faults_per_second),
        (Measure::MajorFaultsPerSecond, rates.major_faults_per_second),
        (Measure::RttP50Ms, ms(rtt.map(|rtt| rtt.p50_ns))),
        (
            Measure::RttMeanMs,
            ms(mean_of_lines(network, |line| line.rtt_p50_ns)),
        ),
        (
            Measure::JitterMs,
            ms(mean_of_lines(network, |line| line.jitter_ns)),
        ),
        (
            Measure::LossUpRatio,
            network.and_then(|network| network.loss_up_ratio),
        ),
        (
            Measure::LossDownRatio,
            network.and_then(|network| network.loss_down_ratio),
        ),
        (
            Measure::UdpDropsPerSecond,
            before.and_then(|before| Some(now.udp_drops?.saturating_sub(before.udp_drops?) as f64 / seconds)),
        ),
        (
            Measure::NetworkTickHz,
            server.network_tick.as_ref().map(|tick| tick.rate_hz),
        ),
        (Measure::SoftirqCores, rates.net_rx_cores),
        (
            Measure::LagCompensationCores,
            server
                .probes
                .iter()
                .find(|probe| is_lag_compensation(&probe.name))
                .and_then(|probe| probe.rates.time_ratio),
        ),
    ] {
        frame.set(measure, value);
    }
    frame.players = points(server);
    Some(frame)
}

/// Mode and map that all running sessions have.
pub fn shared_scene(server: &ServerSnapshot) -> (Option<Arc<str>>, Option<Arc<str>>) {
    (
        shared(server, |session| session.mode.as_ref()),
        shared(server, |session| session.map.as_ref()),
    )
}

/// What the running sessions agree on.
fn shared(server: &ServerSnapshot, of: impl Fn(&SessionSnapshot) -> Option<&Arc<str>>) -> Option<Arc<str>> {
    let mut told = server.game_state.sessions.iter().map(of);
    let first = told.next()??;
    told.all(|other| other == Some(first)).then(|| first.clone())
}

/// Actions since a moment, those that happened.
fn acted(before: &BTreeMap<Arc<str>, u64>, now: &BTreeMap<Arc<str>, u64>) -> Arc<[Acted]> {
    now.iter()
        .filter_map(|(action, total)| {
            let times = total.saturating_sub(before.get(action).copied().unwrap_or(0));
            (times > 0).then(|| Acted {
                action: action.clone(),
                times: u32::try_from(times).unwrap_or(u32::MAX),
            })
        })
        .collect()
}

/// Of the probes of a server the one whose name says so.
fn is_lag_compensation(name: &str) -> bool {
    name.to_ascii_lowercase().contains("lag")
}

/// Mean over lines; only the slowest lines of a very full server are told one by one, and their mean is not that of all.
fn mean_of_lines(network: Option<&NetworkSnapshot>, of: fn(&LineSnapshot) -> Option<f64>) -> Option<f64> {
    let network = network.filter(|network| network.lines.len() as u64 >= network.measured)?;
    let values: Vec<f64> = network.lines.iter().filter_map(|line| of(&line.line)).collect();
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// Networks of players, by the best name that is known of each.
fn points(server: &ServerSnapshot) -> Arc<[PlayerPoint]> {
    let lines = server.network.iter().flat_map(|network| network.lines.iter());
    let mut lines = lines.peekable();
    if lines.peek().is_none() {
        return Arc::default();
    }
    let players = server.game_state.players.iter();
    let known: HashMap<SocketAddr, &PlayerSnapshot> = players
        .filter_map(|player| Some((player.flow.as_ref()?.remote, player)))
        .collect();
    let ms = |ns: Option<f64>| ns.map(|ns| (ns / 1e6) as f32);
    let ratio = |ratio: Option<f64>| ratio.map(|ratio| ratio as f32);
    lines
        .map(|told| {
            let player = known.get(&told.remote);
            let flow = player.and_then(|player| player.flow.as_ref());
            let name = player.and_then(|player| player.name.clone().or_else(|| player.platform_id.clone()));
            PlayerPoint {
                player: name.unwrap_or_else(|| told.remote.to_string().into()),
                region: player
                    .and_then(|player| player.region.as_ref())
                    .map(|region| region.name.clone()),
                rtt_ms: ms(told.line.rtt_p50_ns),
                jitter_ms: ms(told.line.jitter_ns),
                loss_up_ratio: ratio(told.line.loss_up_ratio),
                loss_down_ratio: ratio(told.line.loss_down_ratio),
                rx_packets_per_second: flow.map(|flow| flow.rx_packets_per_second as f32),
                tx_packets_per_second: flow.map(|flow| flow.tx_packets_per_second as f32),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::session::ask::tests::a_snapshot;

    #[test]
    fn a_frame_has_what_was_measured_and_differences_only_where_there_is_a_before() {
        let mut first = a_snapshot();
        first.interval_seconds = 1.0;
        first.servers[0].state = ServerState::Up;
        first.servers[0].rates.cpu_cores = Some(0.25);
        first.servers[1].rates.cpu_cores = Some(0.5);
        let frame = frame_of(&first, &first.servers[0], None, HostFigures::default()).unwrap();
        assert!(frame.begins_anew);
        assert_eq!(frame.get(Measure::CpuCores), Some(0.25));
        assert_eq!(frame.get(Measure::OtherServersCpuCores), Some(0.5));
        assert_eq!(frame.get(Measure::Joins), None);
        assert_eq!(frame.get(Measure::RttP50Ms), None);
        let before = Before::of(&first, &first.servers[0]);
        let mut second = first.clone();
        second.unix_time_seconds += 1.0;
        second.servers[0].game_state.counters.joins += 3;
        second.servers[0].game_state.actions.insert("throw".into(), 5);
        second.servers[0].rates.disk_write_bytes_per_second = Some(4_096.0);
        second.servers[0].tick_target_hz = Some(20);
        let host = HostFigures {
            steal_ratio: Some(0.02),
            busy_cores: Some(1.0),
        };
        let frame = frame_of(&second, &second.servers[0], Some(&before), host).unwrap();
        assert!(!frame.begins_anew);
        assert_eq!(frame.get(Measure::Joins), Some(3.0));
        let throw = Acted {
            action: "throw".into(),
            times: 5,
        };
        assert_eq!(*frame.acted, [throw]);
        assert_eq!(frame.get(Measure::Actions), Some(5.0));
        assert_eq!(frame.get(Measure::DiskWriteBytesPerSecond), Some(4_096.0));
        assert_eq!(frame.get(Measure::TickTargetHz), Some(20.0));
        let running = &second.servers[0].game_state.sessions;
        assert_eq!(running.len(), 1);
        assert!(frame.map.is_some() && frame.map == running[0].map);
        assert_eq!(frame.mode, running[0].mode);
        assert_eq!(frame.get(Measure::OtherProcessesCpuCores), Some(0.25));
        assert!((frame.get(Measure::StealRatio).unwrap() - 0.02).abs() < 1e-6);
        second.servers[0].starts += 1;
        let anew = frame_of(&second, &second.servers[0], Some(&before), host).unwrap();
        assert!(anew.begins_anew && anew.get(Measure::Joins).is_none());
        second.servers[0].state = ServerState::Gone;
        assert_eq!(frame_of(&second, &second.servers[0], Some(&before), host), None);
    }

    #[test]
    fn names_of_measures_are_their_words_in_json() {
        for measure in Measure::ALL {
            assert_eq!(serde_json::to_value(measure).unwrap(), measure.name());
            assert_eq!(Measure::named(measure.name()), Some(*measure));
        }
    }
}
