//! What receiving packets costs the host, and each server's share of it: time in NET_RX softirqs, shared out by packets.
//! Pure: readings in, pictures out.
//!
//! The share is an estimate, and at the low end: the stack processes a packet for a container several times (device,
//! bridge, veth), while it counts once as the server's; and a packet counts as much as any other, however long it took.

use serde::{Deserialize, Serialize};

use super::snapshot::ServerSnapshot;
use crate::kernel::NetRxCpu;

/// The host as a whole.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HostSnapshot {
    /// Packets that its network stack has processed since the agent began, all namespaces together.
    pub packets_processed: Option<u64>,
    /// The same per second in the last interval.
    pub packets_per_second: Option<f64>,
    /// Time in NET_RX softirqs; absent where it is not measured (`sources` says why).
    pub net_rx: Option<NetRxSnapshot>,
}

/// NET_RX softirqs since the agent began.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NetRxSnapshot {
    /// Is the time of runs that were not timed estimated from those that were?
    pub estimated: bool,
    /// By CPU number.
    pub cpus: Vec<NetRxCpuSnapshot>,
    /// CPUs busy with it in the last interval (1.0 is one CPU all the time).
    pub cores: Option<f64>,
    /// Time per packet processed in the last interval.
    pub ns_per_packet: Option<f64>,
}

/// One CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetRxCpuSnapshot {
    /// Runs of the softirq; one run processes up to a few hundred packets.
    pub runs: u64,
    /// Those of them that were timed.
    pub timed_runs: u64,
    /// Wall time of all runs.
    pub time_ns: u64,
}

/// What one interval brought.
#[derive(Clone, Copy, Debug)]
pub struct NetRxInterval<'a> {
    /// Measured length.
    pub seconds: f64,
    /// Softirqs of each CPU since the agent began.
    pub cpus: Option<&'a [NetRxCpu]>,
    /// Is only a part of them timed?
    pub estimated: bool,
    /// Packets processed since the agent began.
    pub packets: Option<u64>,
}

/// Differences between intervals.
#[derive(Debug, Default)]
pub struct NetRxModel {
    time_ns: Option<u64>,
    packets: Option<u64>,
}

impl NetRxModel {
    /// Makes the picture of the host, and gives each server its share.
    pub fn advance(&mut self, interval: &NetRxInterval<'_>, servers: &mut [ServerSnapshot]) -> HostSnapshot {
        let time_ns: Option<u64> = interval.cpus.map(|cpus| cpus.iter().map(|cpu| cpu.time_ns).sum());
        let grown = |now: Option<u64>, before: Option<u64>| Some(now?.saturating_sub(before?) as f64);
        let new_ns = grown(time_ns, self.time_ns);
        let new_packets = grown(interval.packets, self.packets);
        (self.time_ns, self.packets) = (time_ns, interval.packets);
        let whole = (interval.seconds > 0.0).then_some(interval.seconds);
        let packets_per_second = new_packets.zip(whole).map(|(packets, seconds)| packets / seconds);
        let cores = new_ns.zip(whole).map(|(ns, seconds)| ns / 1e9 / seconds);
        for server in servers {
            let rates = &mut server.rates;
            rates.net_rx_share_ratio = share(rates.rx_packets_per_second, packets_per_second);
            rates.net_rx_cores = cores
                .zip(rates.net_rx_share_ratio)
                .map(|(cores, share)| cores * share);
        }
        HostSnapshot {
            packets_processed: interval.packets,
            packets_per_second,
            net_rx: interval.cpus.map(|cpus| NetRxSnapshot {
                estimated: interval.estimated,
                cpus: cpus.iter().map(NetRxCpuSnapshot::from).collect(),
                cores,
                ns_per_packet: new_ns
                    .zip(new_packets)
                    .and_then(|(ns, packets)| (packets > 0.0).then(|| ns / packets)),
            }),
        }
    }
}

/// A server's packets among all. Segments of aggregated TCP count one by one as the server's and once as the host's, so
/// that it could be more than everything.
fn share(server: Option<f64>, host: Option<f64>) -> Option<f64> {
    let host = host.filter(|host| *host > 0.0)?;
    Some((server? / host).min(1.0))
}

impl From<&NetRxCpu> for NetRxCpuSnapshot {
    fn from(cpu: &NetRxCpu) -> Self {
        Self {
            runs: cpu.runs,
            timed_runs: cpu.timed_runs,
            time_ns: cpu.time_ns,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::session::ask::tests::a_snapshot;

    #[test]
    fn time_is_shared_out_by_packets_and_absent_stays_absent() {
        let mut servers = a_snapshot().servers;
        servers[0].rates.rx_packets_per_second = Some(250.0);
        servers[1].rates.rx_packets_per_second = None;
        let mut model = NetRxModel::default();
        let mut at = |time_ns: Option<u64>, packets, servers: &mut [ServerSnapshot]| {
            let cpus = time_ns.map(|time_ns| {
                vec![
                    NetRxCpu {
                        time_ns,
                        ..NetRxCpu::default()
                    };
                    2
                ]
            });
            model.advance(
                &NetRxInterval {
                    seconds: 2.0,
                    cpus: cpus.as_deref(),
                    estimated: false,
                    packets,
                },
                servers,
            )
        };
        let first = at(Some(1_000), Some(100), &mut servers);
        assert_eq!(
            (first.packets_per_second, servers[0].rates.net_rx_cores),
            (None, None)
        );
        let second = at(Some(100_001_000), Some(2_100), &mut servers);
        let net_rx = second.net_rx.unwrap();
        assert_eq!(second.packets_per_second, Some(1_000.0));
        assert_eq!((net_rx.cores, net_rx.ns_per_packet), (Some(0.1), Some(100_000.0)));
        assert_eq!(servers[0].rates.net_rx_share_ratio, Some(0.25));
        assert_eq!(servers[0].rates.net_rx_cores, Some(0.025));
        assert_eq!(servers[1].rates.net_rx_share_ratio, None);
        let third = at(None, Some(2_101), &mut servers);
        assert!(third.net_rx.is_none());
        // More segments than packets: all of it, and no more.
        assert_eq!(servers[0].rates.net_rx_share_ratio, Some(1.0));
        assert_eq!(servers[0].rates.net_rx_cores, None);
    }
}
