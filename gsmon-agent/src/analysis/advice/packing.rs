//! Servers on hosts: first fit, the largest first, over several resources; and how few hosts could do at best. Not here:
//! what a server takes (`capacity`).

use serde::{Deserialize, Serialize};

use super::capacity::HostRoom;

/// Servers of one sort.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sort {
    /// How many.
    pub count: u32,
    /// What each takes.
    pub takes: HostRoom,
}

/// Servers on hosts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Packing {
    /// For each host: how many servers of each sort, in the order of the sorts.
    pub hosts: Vec<Vec<u32>>,
    /// With fewer hosts it cannot be done.
    pub lower_bound: u32,
}

/// Why servers are on no host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PackingError {
    /// One alone is too much.
    #[error("a server takes more {0} than a whole host has")]
    TooLarge(&'static str),
    /// More than is reasonable to answer for.
    #[error("more than 100000 servers are to be put on hosts: ask for fewer")]
    TooMany,
}

const MOST_SERVERS: u64 = 100_000;

/// Shares of a host, one for each resource; what is not known takes nothing.
fn shares(takes: &HostRoom, host: &HostRoom) -> Result<[f64; 3], PackingError> {
    let share = |takes: Option<f64>, has: Option<f64>, name| match (takes, has) {
        (Some(takes), Some(has)) if takes > has * (1.0 + 1e-9) || has <= 0.0 => {
            Err(PackingError::TooLarge(name))
        }
        (Some(takes), Some(has)) => Ok((takes / has).max(0.0)),
        _ => Ok(0.0),
    };
    Ok([
        share(takes.cores, host.cores, "CPU")?,
        share(takes.memory_bytes, host.memory_bytes, "memory")?,
        share(
            takes.transmit_bytes_per_second,
            host.transmit_bytes_per_second,
            "bandwidth",
        )?,
    ])
}

/// Puts servers on hosts of one kind.
///
/// # Errors
/// When one of them fits on no host.
pub fn pack(sorts: &[Sort], host: &HostRoom) -> Result<Packing, PackingError> {
    if sorts.iter().map(|sort| u64::from(sort.count)).sum::<u64>() > MOST_SERVERS {
        return Err(PackingError::TooMany);
    }
    let mut all: Vec<(usize, [f64; 3])> = Vec::new();
    for (index, sort) in sorts.iter().enumerate().filter(|(_, sort)| sort.count > 0) {
        let shares = shares(&sort.takes, host)?;
        all.extend(std::iter::repeat_n((index, shares), sort.count as usize));
    }
    let largest = |shares: &[f64; 3]| shares.iter().copied().fold(0.0, f64::max);
    all.sort_by(|a, b| largest(&b.1).total_cmp(&largest(&a.1)).then(a.0.cmp(&b.0)));
    let mut lower = 0.0f64;
    for resource in 0..3 {
        lower = lower.max(all.iter().map(|(_, shares)| shares[resource]).sum());
    }
    let mut hosts: Vec<(Vec<u32>, [f64; 3])> = Vec::new();
    // Servers of one sort follow one another: hosts that had no room for the last have none for the next.
    let mut first = (usize::MAX, 0);
    for (index, shares) in &all {
        let from = if first.0 == *index { first.1 } else { 0 };
        let room = |used: &[f64; 3]| (0..3).all(|of| used[of] + shares[of] <= 1.0 + 1e-9);
        let place = (from..hosts.len()).find(|host| room(&hosts[*host].1));
        let place = place.unwrap_or_else(|| {
            hosts.push((vec![0; sorts.len()], [0.0; 3]));
            hosts.len() - 1
        });
        first = (*index, place);
        hosts[place].0[*index] += 1;
        for (used, share) in hosts[place].1.iter_mut().zip(shares) {
            *used += share;
        }
    }
    let least = u32::from(!all.is_empty());
    Ok(Packing {
        hosts: hosts.into_iter().map(|(servers, _)| servers).collect(),
        lower_bound: ((lower - 1e-9).ceil() as u32).max(least),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn room(cores: f64, memory_bytes: f64) -> HostRoom {
        HostRoom {
            cores: Some(cores),
            memory_bytes: Some(memory_bytes),
            transmit_bytes_per_second: None,
        }
    }

    #[test]
    fn what_fits_nowhere_is_named() {
        let sort = Sort {
            count: 1,
            takes: room(1.0, 5.0),
        };
        let error = pack(&[sort], &room(4.0, 4.0)).unwrap_err();
        assert_eq!(error, PackingError::TooLarge("memory"));
        assert_eq!(
            pack(&[Sort { count: 0, ..sort }], &room(4.0, 4.0))
                .unwrap()
                .hosts
                .len(),
            0
        );
    }

    proptest! {
        #[test]
        fn no_host_is_overfull_none_is_lost_and_the_bound_holds(
            sorts in proptest::collection::vec((0u32..12, 0.01..1.0f64, 0.01..1.0f64), 1..5),
        ) {
            let host = room(1.0, 1.0);
            let sorts: Vec<Sort> = sorts.into_iter().map(|(count, cores, memory)| Sort { count, takes: room(cores, memory) }).collect();
            let packing = pack(&sorts, &host).unwrap();
            for servers in &packing.hosts {
                let used: f64 = servers.iter().zip(&sorts).map(|(count, sort)| f64::from(*count) * sort.takes.cores.unwrap()).sum();
                let memory: f64 = servers.iter().zip(&sorts).map(|(count, sort)| f64::from(*count) * sort.takes.memory_bytes.unwrap()).sum();
                prop_assert!(used <= 1.0 + 1e-6 && memory <= 1.0 + 1e-6);
            }
            for (index, sort) in sorts.iter().enumerate() {
                prop_assert_eq!(packing.hosts.iter().map(|servers| servers[index]).sum::<u32>(), sort.count);
            }
            let hosts = packing.hosts.len() as u32;
            prop_assert!(packing.lower_bound <= hosts);
            // Two hosts beside each other cannot both be less than half full in every resource.
            prop_assert!(hosts <= 4 * packing.lower_bound + 1);
        }
    }
}
