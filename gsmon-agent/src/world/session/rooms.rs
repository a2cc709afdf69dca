//! Rooms inside one process: what each used.
//!
//! CPU is exact where threads carry the names of rooms. Everything else is shared by players and by traffic, whose mean
//! is the estimate; the least and the most of these two and of an even share are its interval.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

use super::resources::Resources;

/// What is known of a room in an interval.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RoomFigures {
    /// Players in it.
    pub players: u32,
    /// Packets of its players, both ways.
    pub packets: u64,
    /// CPU of the threads that carry its name; `None` when there are none.
    pub thread_cpu_ns: Option<u64>,
}

/// What a room is given.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RoomShare {
    /// The estimate.
    pub used: Resources,
    /// How its CPU is known.
    pub cpu: CpuBasis,
    /// Least CPU by any way of sharing.
    pub cpu_low_ns: u64,
    /// Most CPU by any way of sharing.
    pub cpu_high_ns: u64,
}

/// How a session's CPU is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CpuBasis {
    /// The kernel's own count of the whole process.
    #[default]
    Process,
    /// The kernel's own count of the threads that carry the room's name.
    NamedThreads,
    /// A share of the process by players and traffic: an estimate.
    Shared,
}

/// Shares what a process used in an interval among its rooms.
pub fn share(delta: &Resources, figures: &BTreeMap<Arc<str>, RoomFigures>) -> BTreeMap<Arc<str>, RoomShare> {
    let count = figures.len().max(1) as f64;
    let players: f64 = figures.values().map(|room| f64::from(room.players)).sum();
    let packets: f64 = figures.values().map(|room| room.packets as f64).sum();
    // What named threads used is not shared a second time.
    let named: u64 = figures.values().filter_map(|room| room.thread_cpu_ns).sum();
    let shared_cpu = delta.cpu_ns.unwrap_or(0).saturating_sub(named) as f64;
    figures
        .iter()
        .map(|(name, room)| {
            let even = 1.0 / count;
            let part = |value: f64, whole: f64| if whole > 0.0 { value / whole } else { even };
            let parts = [
                part(f64::from(room.players), players),
                part(room.packets as f64, packets),
                even,
            ];
            let mean = (parts[0] + parts[1]) / 2.0;
            let low = parts.iter().copied().fold(f64::INFINITY, f64::min);
            let high = parts.iter().copied().fold(0.0, f64::max);
            let mut used = delta.share(mean);
            let (cpu, cpu_low_ns, cpu_high_ns) = match room.thread_cpu_ns {
                Some(exact) => {
                    used.cpu_ns = Some(exact);
                    (CpuBasis::NamedThreads, exact, exact)
                }
                None => {
                    used.cpu_ns = delta.cpu_ns.map(|_| (shared_cpu * mean) as u64);
                    (
                        CpuBasis::Shared,
                        (shared_cpu * low) as u64,
                        (shared_cpu * high) as u64,
                    )
                }
            };
            let share = RoomShare {
                used,
                cpu,
                cpu_low_ns,
                cpu_high_ns,
            };
            (name.clone(), share)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn delta(cpu_ns: u64) -> Resources {
        Resources {
            cpu_ns: Some(cpu_ns),
            tx_bytes: Some(1_000),
            ..Resources::default()
        }
    }

    fn room(players: u32, packets: u64, thread_cpu_ns: Option<u64>) -> RoomFigures {
        RoomFigures {
            players,
            packets,
            thread_cpu_ns,
        }
    }

    #[test]
    fn named_threads_are_exact_and_the_rest_is_shared_once() {
        let figures = BTreeMap::from([
            ("a".into(), room(5, 500, Some(700))),
            ("b".into(), room(5, 500, None)),
        ]);
        let shares = share(&delta(1_000), &figures);
        assert_eq!(
            (shares["a"].used.cpu_ns, shares["a"].cpu),
            (Some(700), CpuBasis::NamedThreads)
        );
        assert_eq!(
            (shares["b"].used.cpu_ns, shares["b"].cpu),
            (Some(150), CpuBasis::Shared)
        );
        assert_eq!(shares["a"].used.tx_bytes, Some(500));
    }

    proptest! {
        #[test]
        fn the_estimate_lies_in_its_interval_and_nothing_is_given_twice(
            rooms in prop::collection::vec((0u32..50, 0u64..10_000), 1..20), cpu in 0u64..10_000_000_000,
        ) {
            let figures: BTreeMap<Arc<str>, RoomFigures> = rooms
                .iter()
                .enumerate()
                .map(|(n, (players, packets))| (n.to_string().into(), room(*players, *packets, None)))
                .collect();
            let shares = share(&delta(cpu), &figures);
            let sum: u64 = shares.values().map(|share| share.used.cpu_ns.unwrap()).sum();
            prop_assert!(sum <= cpu + 20);
            for share in shares.values() {
                let used = share.used.cpu_ns.unwrap();
                prop_assert!(share.cpu_low_ns <= used + 1 && used <= share.cpu_high_ns + 1, "{share:?}");
            }
        }
    }
}
