//! Clients that are far away: two network namespaces joined by TUN devices, and between them a relay in user space that
//! holds every packet back for as long as its client is far, and drops some. (The test kernel has no netem.)

use std::{
    collections::HashMap,
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use tun_rs::{DeviceBuilder, SyncDevice};

use crate::netns::Netns;

/// Where the server is.
pub const SERVER: Ipv4Addr = Ipv4Addr::new(10, 80, 0, 1);
const NETWORK: &str = "10.80.0.0/16";

/// How a client is reached.
#[derive(Clone, Copy, Debug)]
pub struct FarClient {
    /// Its address, in 10.80.0.0/16.
    pub address: Ipv4Addr,
    /// Each way.
    pub delay: Duration,
    /// One data packet from the server in so many is dropped; 0 for none.
    pub drop_every: u64,
}

/// The relay. Its threads end with the process: they wait for packets of namespaces that may be gone.
pub struct Relay {
    dropped: Arc<HashMap<Ipv4Addr, AtomicU64>>,
}

impl Relay {
    /// Makes a TUN device in each namespace and relays between them.
    pub fn start(server: &Netns, far: &Netns, clients: &[FarClient]) -> Result<Self> {
        let near_device = device(server, "gsmonnear")?;
        let far_device = device(far, "gsmonfar")?;
        server.exec(&format!("ip addr add {SERVER} dev gsmonnear"))?;
        for client in clients {
            far.exec(&format!("ip addr add {} dev gsmonfar", client.address))?;
        }
        for (netns, name) in [(server, "gsmonnear"), (far, "gsmonfar")] {
            netns.exec(&format!("ip link set {name} mtu 1400 up"))?;
            netns.exec(&format!("ip route add {NETWORK} dev {name}"))?;
        }
        let dropped: Arc<HashMap<Ipv4Addr, AtomicU64>> = Arc::new(
            clients
                .iter()
                .map(|client| (client.address, AtomicU64::new(0)))
                .collect(),
        );
        let by_address: HashMap<Ipv4Addr, FarClient> =
            clients.iter().map(|client| (client.address, *client)).collect();
        for (from, to, way) in [
            (near_device.clone(), far_device.clone(), Way::ToClient),
            (far_device, near_device, Way::ToServer),
        ] {
            let (by_address, dropped) = (by_address.clone(), dropped.clone());
            relay(from, to, move |packet, sent| {
                let address = packet.get(way.offset()..way.offset() + 4)?;
                let address = Ipv4Addr::from(<[u8; 4]>::try_from(address).ok()?);
                let client = by_address.get(&address)?;
                if way == Way::ToClient && client.drop_every > 0 && carries_data(packet) {
                    let number = sent.entry(address).or_insert(0u64);
                    *number += 1;
                    if number.is_multiple_of(client.drop_every) {
                        dropped[&address].fetch_add(1, Ordering::Relaxed);
                        return None;
                    }
                }
                Some(client.delay)
            });
        }
        Ok(Self { dropped })
    }

    /// Data packets dropped on the way to a client.
    pub fn dropped(&self, client: Ipv4Addr) -> u64 {
        self.dropped[&client].load(Ordering::Relaxed)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    ToClient,
    ToServer,
}

impl Way {
    /// Of the client's address in an IPv4 header.
    fn offset(self) -> usize {
        match self {
            Way::ToClient => 16,
            Way::ToServer => 12,
        }
    }
}

/// Is there more in an IPv4 TCP packet than headers?
fn carries_data(packet: &[u8]) -> bool {
    let ip = usize::from(packet[0] & 15) * 4;
    let tcp = packet.get(ip + 12).map_or(0, |byte| usize::from(byte >> 4) * 4);
    packet.len() > ip + tcp
}

fn device(netns: &Netns, name: &'static str) -> Result<Arc<SyncDevice>> {
    netns
        .inside(move || DeviceBuilder::new().name(name).build_sync())
        .context("a TUN device can be made")
        .map(Arc::new)
}

/// Reads packets and passes each on after the delay that `decide` gives it, in order.
fn relay(
    from: Arc<SyncDevice>,
    to: Arc<SyncDevice>,
    mut decide: impl FnMut(&[u8], &mut HashMap<Ipv4Addr, u64>) -> Option<Duration> + Send + 'static,
) {
    let (waiting, due) = mpsc::channel::<(Instant, Vec<u8>)>();
    thread::spawn(move || {
        let mut buffer = [0; 2_048];
        let mut sent = HashMap::new();
        while let Ok(length) = from.recv(&mut buffer) {
            let packet = &buffer[..length];
            if packet.len() < 20 || packet[0] >> 4 != 4 {
                continue;
            }
            if let Some(delay) = decide(packet, &mut sent)
                && waiting.send((Instant::now() + delay, packet.to_vec())).is_err()
            {
                return;
            }
        }
    });
    thread::spawn(move || {
        // Clients are at different distances: the nearest due comes first.
        let mut held: std::collections::BTreeMap<(Instant, u64), Vec<u8>> = std::collections::BTreeMap::new();
        for number in 0u64.. {
            let next = held.first_key_value().map(|((at, _), _)| *at);
            let wait = next.map_or(Duration::from_secs(3_600), |at| {
                at.saturating_duration_since(Instant::now())
            });
            match due.recv_timeout(wait) {
                Ok((at, packet)) => drop(held.insert((at, number), packet)),
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
            }
            let now = Instant::now();
            while let Some(entry) = held.first_entry().filter(|entry| entry.key().0 <= now) {
                let _ = to.send(&entry.remove());
            }
        }
    });
}
