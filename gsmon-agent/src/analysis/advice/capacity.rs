//! Players that one server shall hold, and what bounds that: what was set, its tick, or a host. Not here: how costs are
//! told from frames (`scaling`), and servers on hosts (`packing`).

use serde::{Deserialize, Serialize};

use super::experience::Targets;
use crate::analysis::queue::{Cost, Holds, ModeFacts};

/// What a host has for servers. Absent is "not known", and bounds nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HostRoom {
    /// CPU, cores.
    pub cores: Option<f64>,
    /// Memory, bytes.
    pub memory_bytes: Option<f64>,
    /// To players, bytes per second.
    pub transmit_bytes_per_second: Option<f64>,
}

/// What bounds a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BoundBy {
    /// Players that are let in.
    Limit,
    /// Time of a tick.
    Tick,
    /// Cores of a host.
    Cpu,
    /// Memory of a host.
    Memory,
    /// What a host can send.
    Bandwidth,
}

impl BoundBy {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Limit => "players that are let in",
            Self::Tick => "tick time",
            Self::Cpu => "cores of a host",
            Self::Memory => "memory of a host",
            Self::Bandwidth => "bandwidth of a host",
        }
    }
}

/// What a server holds and takes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServerSize {
    /// Players, at least 1.
    pub players: u32,
    /// Why no more.
    pub bound_by: BoundBy,
    /// What it takes of a host when it is full. Absent is "nobody measured it".
    pub takes: HostRoom,
}

/// Why there is no capacity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CapacityError {
    /// Nothing says how many fit.
    #[error(
        "nobody says how many players a server holds: set players_per_server in [[advice.group]] or max_players in [[server]], or let players' costs be measured for longer"
    )]
    Unknown,
    /// Not even one.
    #[error("not one player fits on a server: {0} is used up before")]
    None(&'static str),
}

/// Of a full server, the upper ends of what was measured.
fn taken(cost: Option<Cost>, players: f64) -> Option<f64> {
    let cost = cost?;
    let base = cost.base.map_or(0.0, |base| base.high.max(0.0));
    Some(base + cost.per_player.high.max(0.0) * players)
}

/// Players for whom a host alone has room.
fn fits(cost: Option<Cost>, room: Option<f64>) -> Option<f64> {
    let (cost, room) = (cost?, room?);
    let base = cost.base.map_or(0.0, |base| base.high.max(0.0));
    let each = cost.per_player.high;
    (each > 0.0).then(|| ((room - base) / each).max(0.0))
}

/// How many players a server shall hold. `limit` is how many are let in, `facts` what was measured of its mode (its capacity is
/// what fits in a tick).
///
/// # Errors
/// When nothing tells, or none fits.
pub fn server_size(
    limit: Option<u32>,
    facts: Option<&ModeFacts>,
    host: &HostRoom,
    targets: &Targets,
) -> Result<ServerSize, CapacityError> {
    let tick = facts
        .and_then(|facts| facts.capacity)
        // As many as are certain, and air as is wanted.
        .map(|Holds { low, .. }| low * targets.tick_budget_ratio);
    let bounds = [
        (BoundBy::Limit, limit.map(f64::from)),
        (BoundBy::Tick, tick),
        (
            BoundBy::Cpu,
            facts.and_then(|facts| fits(facts.cpu_cores, host.cores)),
        ),
        (
            BoundBy::Memory,
            facts.and_then(|facts| fits(facts.memory_bytes, host.memory_bytes)),
        ),
        (
            BoundBy::Bandwidth,
            facts.and_then(|facts| fits(facts.transmit_bytes_per_second, host.transmit_bytes_per_second)),
        ),
    ];
    // A host alone does not say how many a server holds: without a limit or a tick nobody has said so.
    if limit.is_none() && tick.is_none() {
        return Err(CapacityError::Unknown);
    }
    let (bound_by, players) = bounds
        .into_iter()
        .filter_map(|(by, players)| Some((by, players?)))
        .min_by(|a, b| a.1.total_cmp(&b.1))
        .ok_or(CapacityError::Unknown)?;
    let players = (players + 1e-9).floor();
    if players < 1.0 {
        return Err(CapacityError::None(bound_by.words()));
    }
    let takes = HostRoom {
        cores: facts.and_then(|facts| taken(facts.cpu_cores, players)),
        memory_bytes: facts.and_then(|facts| taken(facts.memory_bytes, players)),
        transmit_bytes_per_second: facts.and_then(|facts| taken(facts.transmit_bytes_per_second, players)),
    };
    Ok(ServerSize {
        players: players as u32,
        bound_by,
        takes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::{advice::experience::Experience, queue::Interval};

    fn facts() -> ModeFacts {
        ModeFacts {
            capacity: Some(Holds {
                players: 60.0,
                low: 50.0,
                high: None,
            }),
            cpu_cores: Some(Cost {
                per_player: Interval {
                    value: 0.04,
                    low: 0.03,
                    high: 0.05,
                },
                base: Some(Interval::exact(0.5)),
            }),
            ..ModeFacts::default()
        }
    }

    #[test]
    fn the_least_bound_is_named() {
        let targets = Experience::Economical.targets();
        let size = |limit, cores| {
            let host = HostRoom {
                cores,
                ..HostRoom::default()
            };
            server_size(limit, Some(&facts()), &host, &targets).unwrap()
        };
        assert_eq!(
            (size(Some(16), None).players, size(Some(16), None).bound_by),
            (16, BoundBy::Limit)
        );
        assert_eq!(
            (size(None, None).players, size(None, None).bound_by),
            (45, BoundBy::Tick)
        );
        let small = size(Some(64), Some(2.0));
        assert_eq!((small.players, small.bound_by), (30, BoundBy::Cpu));
        assert!((small.takes.cores.unwrap() - 2.0).abs() < 1e-9);
        assert_eq!(small.takes.memory_bytes, None);
    }

    #[test]
    fn nothing_known_and_nothing_that_fits_are_told_apart() {
        let targets = Experience::Smooth.targets();
        let unknown = server_size(None, None, &HostRoom::default(), &targets);
        assert_eq!(unknown, Err(CapacityError::Unknown));
        let host = HostRoom {
            cores: Some(0.4),
            ..HostRoom::default()
        };
        let none = server_size(Some(16), Some(&facts()), &host, &targets).unwrap_err();
        assert!(none.to_string().contains("cores of a host"), "{none}");
    }
}
