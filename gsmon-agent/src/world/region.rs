//! The region of an address: by networks (the longest prefix wins), by a database, else by measured latency. Pure: the
//! files were read by the host room.

use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::{
    config::RegionSettings,
    host::region_database::{RegionDatabase, RegionSources},
};

/// Addresses whose region is remembered.
const REMEMBERED: usize = 65_536;

/// Where somebody is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Region {
    /// Name, from the configuration or the database.
    pub name: Arc<str>,
    /// How that is known.
    pub by: RegionBasis,
}

/// How a region is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RegionBasis {
    /// The configuration names the network of the address.
    Network,
    /// The database has the address.
    Database,
    /// Neither; the round trip falls into a band. Says how far, not where.
    Latency,
}

/// Everything that tells regions.
#[derive(Debug, Default)]
pub struct Regions {
    networks: Networks,
    database: Option<RegionDatabase>,
    latency: Vec<(Option<Duration>, Arc<str>)>,
    /// What was found out about addresses: a database takes microseconds to ask, and snapshots ask for every flow.
    known: Mutex<HashMap<IpAddr, Option<Region>>>,
}

/// Networks by prefix.
#[derive(Debug, Default)]
struct Networks {
    by_network: HashMap<IpNet, Arc<str>>,
    /// Prefix lengths there are, by address family.
    v4_lengths: BTreeSet<u8>,
    v6_lengths: BTreeSet<u8>,
}

impl Networks {
    fn new(list: Vec<(IpNet, Arc<str>)>) -> Self {
        let mut networks = Self::default();
        for (network, name) in list {
            let lengths = match network {
                IpNet::V4(_) => &mut networks.v4_lengths,
                IpNet::V6(_) => &mut networks.v6_lengths,
            };
            lengths.insert(network.prefix_len());
            networks.by_network.insert(network.trunc(), name);
        }
        networks
    }

    /// The name of the longest prefix that has the address.
    fn of(&self, address: IpAddr) -> Option<&Arc<str>> {
        let lengths = match address {
            IpAddr::V4(_) => &self.v4_lengths,
            IpAddr::V6(_) => &self.v6_lengths,
        };
        lengths.iter().rev().find_map(|length| {
            let network = IpNet::new(address, *length).ok()?;
            self.by_network.get(&network.trunc())
        })
    }
}

impl Regions {
    /// From what was configured and read.
    pub fn new(settings: &RegionSettings, sources: RegionSources) -> Self {
        Self {
            networks: Networks::new(sources.networks),
            database: sources.database,
            latency: settings
                .latency
                .iter()
                .map(|band| (band.up_to, Arc::from(band.name.as_str())))
                .collect(),
            known: Mutex::default(),
        }
    }

    /// Do round trips tell regions?
    pub fn asks_latency(&self) -> bool {
        !self.latency.is_empty()
    }

    /// Is there nothing to tell regions by?
    pub fn is_empty(&self) -> bool {
        self.networks.by_network.is_empty() && self.database.is_none() && self.latency.is_empty()
    }

    /// Region of an address, with its round trip where that is measured. `None` where nothing tells it.
    pub fn of(&self, address: IpAddr, rtt_ns: Option<u64>) -> Option<Region> {
        if self.is_empty() {
            return None;
        }
        self.by_address(address.to_canonical())
            .or_else(|| self.by_latency(rtt_ns?))
    }

    fn by_address(&self, address: IpAddr) -> Option<Region> {
        // A thread that panicked while it held this has left a whole map behind.
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(region) = known.get(&address) {
            return region.clone();
        }
        let region = self.look_up(address);
        // Bounded: a flood of addresses makes it begin anew.
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(address, region.clone());
        region
    }

    fn look_up(&self, address: IpAddr) -> Option<Region> {
        if let Some(name) = self.networks.of(address) {
            return Some(Region {
                name: name.clone(),
                by: RegionBasis::Network,
            });
        }
        Some(Region {
            name: self.database.as_ref()?.region(address)?,
            by: RegionBasis::Database,
        })
    }

    fn by_latency(&self, rtt_ns: u64) -> Option<Region> {
        let rtt = Duration::from_nanos(rtt_ns);
        let (_, name) = self
            .latency
            .iter()
            .find(|(up_to, _)| up_to.is_none_or(|up_to| rtt <= up_to))?;
        Some(Region {
            name: name.clone(),
            by: RegionBasis::Latency,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::Config;

    fn regions(text: &str) -> Regions {
        let settings = Config::parse(text, std::path::Path::new("gsmon.toml"))
            .unwrap()
            .regions;
        let sources = RegionSources::load(&settings).unwrap();
        Regions::new(&settings, sources)
    }

    #[test]
    fn the_longest_prefix_wins_then_the_band_of_latency() {
        let regions = regions(
            "[regions.networks]\n\"0.0.0.0/0\" = \"world\"\n\"192.0.2.0/24\" = \"office\"\n\
             \"192.0.2.128/25\" = \"lab\"\n\"2001:db8::/32\" = \"six\"\n\
             [[regions.latency]]\nname = \"near\"\nup_to = \"40ms\"\n[[regions.latency]]\nname = \"far\"\n",
        );
        let of = |address: &str, rtt_ms: Option<u64>| {
            regions
                .of(address.parse().unwrap(), rtt_ms.map(|ms| ms * 1_000_000))
                .map(|region| (region.name.to_string(), region.by))
        };
        let network = |name: &str| Some((name.to_owned(), RegionBasis::Network));
        for _ in 0..2 {
            assert_eq!(of("192.0.2.1", None), network("office"));
            assert_eq!(of("192.0.2.200", Some(1)), network("lab"));
            assert_eq!(of("::ffff:192.0.2.200", None), network("lab"));
            assert_eq!(of("198.51.100.1", None), network("world"));
            assert_eq!(of("2001:db8::1", None), network("six"));
            assert_eq!(of("2001:db9::1", None), None);
        }
        let latency = |name: &str| Some((name.to_owned(), RegionBasis::Latency));
        assert_eq!(of("2001:db9::1", Some(40)), latency("near"));
        assert_eq!(of("2001:db9::1", Some(41)), latency("far"));
        assert_eq!(Regions::default().of([192, 0, 2, 1].into(), Some(1)), None);
    }

    proptest! {
        #[test]
        fn the_answer_is_that_of_a_search_through_all_networks(
            networks in proptest::collection::vec((any::<u32>(), 0u8..=32), 0..60),
            addresses in proptest::collection::vec(any::<u32>(), 1..30),
        ) {
            // Few bits, so that networks overlap.
            let fold = |bits: u32| bits & 0xc003_0003;
            let list: Vec<(IpNet, Arc<str>)> = networks
                .iter()
                .map(|(bits, length)| {
                    let net = IpNet::new(std::net::Ipv4Addr::from(fold(*bits)).into(), *length).unwrap().trunc();
                    (net, Arc::from(net.to_string().as_str()))
                })
                .collect();
            let table = Networks::new(list.clone());
            for bits in addresses {
                let address = IpAddr::from(std::net::Ipv4Addr::from(fold(bits)));
                let slow = list
                    .iter()
                    .filter(|(net, _)| net.contains(&address))
                    .max_by_key(|(net, _)| net.prefix_len())
                    .map(|(_, name)| name);
                prop_assert_eq!(table.of(address), slow);
            }
        }
    }
}
