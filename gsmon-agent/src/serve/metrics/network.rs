//! The network between each server and its players, from what the game's own packets say.

use super::{
    Page,
    histogram::{Counted, Histograms},
    word,
};
use crate::world::{
    network::{
        KnownBy, NetworkSnapshot, Spread,
        totals::{MILLISECONDS, RATIOS},
    },
    snapshot::Snapshot,
};

/// Reads one histogram of a server's network.
type Read = fn(&NetworkSnapshot) -> &Spread;

impl Page {
    /// What is read by which format, port by port; before anybody was heard, and of TCP, without a port.
    fn netcode(&self, snapshot: &Snapshot) -> Result<(), prometheus::Error> {
        let confidence = self.gauge(
            "gsmon_server_netcode_confidence_ratio",
            "How well the packets on a port fit the format they are read by, 0 to 1.",
            &["server", "port"],
        )?;
        let info = self.gauge(
            "gsmon_server_netcode_info",
            "Wire format of the players on a port, how it is known, and how far reading has come.",
            &["server", "port", "netcode", "known_by", "state"],
        )?;
        for server in &snapshot.servers {
            let Some(network) = &server.network else { continue };
            let one = |port: &str, netcode: &Option<String>, known_by: &Option<KnownBy>, state, sure| {
                let known_by = known_by.as_ref().map(word).unwrap_or_default();
                let netcode = netcode.as_deref().unwrap_or_default();
                info.with_label_values(&[&server.name, port, netcode, &known_by, &word(state)])
                    .set(1.0);
                if let Some(sure) = sure {
                    confidence
                        .with_label_values(&[server.name.as_str(), port])
                        .set(sure);
                }
            };
            for port in &network.ports {
                let name = port.port.to_string();
                one(&name, &port.netcode, &port.known_by, &port.state, port.confidence);
            }
            if network.ports.is_empty() || network.known_by == Some(KnownBy::Kernel) {
                one(
                    "",
                    &network.netcode,
                    &network.known_by,
                    &network.state,
                    network.confidence,
                );
            }
        }
        Ok(())
    }

    pub(super) fn network(&self, snapshot: &Snapshot) -> Result<(), prometheus::Error> {
        self.netcode(snapshot)?;
        self.server_gauge(
            snapshot,
            "gsmon_server_netcode_ports_left_out",
            "Ports with players on which nothing is read: 16 ports of a server are.",
            |server| Some(server.network.as_ref()?.ports_left_out as f64),
        )?;
        self.server_gauge(
            snapshot,
            "gsmon_server_measured_players",
            "Players whose line is measured.",
            |server| {
                let network = server.network.as_ref()?;
                network.netcode.as_ref().map(|_| network.measured as f64)
            },
        )?;
        self.server_gauge(
            snapshot,
            "gsmon_server_sampled_players",
            "Of them, those whose calm line is read a part of the time only (netcode_reading = \"always\" reads all of it).",
            |server| {
                let network = server.network.as_ref()?;
                let sampled = network.lines.iter().filter(|line| line.line.read_ratio.is_some());
                network.netcode.as_ref().map(|_| sampled.count() as f64)
            },
        )?;
        let rtt = self.gauge(
            "gsmon_server_player_rtt_seconds",
            "Median round trip of a player, of the middle player (p50) and of the worst one in twenty (p95).",
            &["server", "statistic"],
        )?;
        let loss = self.gauge(
            "gsmon_server_loss_ratio",
            "Loss over the last 10 to 20 s by direction (up: to the server); absent where the format does not tell it.",
            &["server", "direction"],
        )?;
        for server in &snapshot.servers {
            let Some(network) = &server.network else { continue };
            if let Some(quantiles) = network.rtt {
                for (statistic, value) in [("p50", quantiles.p50_ns), ("p95", quantiles.p95_ns)] {
                    rtt.with_label_values(&[server.name.as_str(), statistic])
                        .set(value / 1e9);
                }
            }
            for (direction, value) in [("up", network.loss_up_ratio), ("down", network.loss_down_ratio)] {
                if let Some(value) = value {
                    loss.with_label_values(&[server.name.as_str(), direction])
                        .set(value);
                }
            }
        }
        // What was never read has no series.
        let total = |value: fn(&NetworkSnapshot) -> u64| {
            move |network: Option<&NetworkSnapshot>| {
                network
                    .filter(|network| network.totals.packets_read > 0)
                    .map(|network| value(network) as f64)
            }
        };
        self.server_counters(
            snapshot,
            "gsmon_server_numbered_packets_total",
            "Packets that the players' netcode numbers, by direction (up: to the server).",
            "direction",
            |server| {
                let network = server.network.as_ref();
                [
                    ("up", total(|network| network.totals.up_sent)(network)),
                    ("down", total(|network| network.totals.down_sent)(network)),
                ]
            },
        )?;
        self.server_counters(
            snapshot,
            "gsmon_server_lost_packets_total",
            "Of them, lost.",
            "direction",
            |server| {
                let network = server.network.as_ref();
                [
                    ("up", total(|network| network.totals.up_lost)(network)),
                    ("down", total(|network| network.totals.down_lost)(network)),
                ]
            },
        )?;
        self.server_counters(
            snapshot,
            "gsmon_server_netcode_packets_total",
            "Packets of measured players by what came of reading them.",
            "outcome",
            |server| {
                let network = server.network.as_ref();
                [
                    ("read", total(|network| network.totals.packets_read)(network)),
                    ("unread", total(|network| network.totals.packets_unread)(network)),
                    ("reordered", total(|network| network.totals.reordered)(network)),
                    ("repeated", total(|network| network.totals.repeated)(network)),
                    (
                        "acknowledgement_unmatched",
                        total(|network| network.totals.acknowledgements_unmatched)(network),
                    ),
                ]
            },
        )?;
        let families: [(&str, &str, &[f64; 14], f64, Read); 4] = [
            (
                "gsmon_server_rtt_seconds",
                "Every round trip of every player.",
                &MILLISECONDS,
                1e3,
                |network| &network.totals.rtt_ms,
            ),
            (
                "gsmon_server_jitter_seconds",
                "Jitter of each player's line (RFC 3550), once per reading.",
                &MILLISECONDS,
                1e3,
                |network| &network.totals.jitter_ms,
            ),
            (
                "gsmon_server_loss_up_ratio",
                "Loss of each player's line on the way to the server, once per reading.",
                &RATIOS,
                1.0,
                |network| &network.totals.loss_up,
            ),
            (
                "gsmon_server_loss_down_ratio",
                "Loss of each player's line on the way to the player, once per reading.",
                &RATIOS,
                1.0,
                |network| &network.totals.loss_down,
            ),
        ];
        for (name, help, bounds, divisor, read) in families {
            let counted = snapshot.servers.iter().filter_map(|server| {
                let spread = read(server.network.as_ref()?);
                (spread.count > 0).then(|| Counted {
                    labels: vec![server.name.clone()],
                    cumulative: spread
                        .cumulative(bounds)
                        .map(|(bound, count)| (bound / divisor, count))
                        .collect(),
                    count: spread.count,
                    sum_seconds: spread.sum / divisor,
                })
            });
            let family = Histograms::new(name, help, &["server"], counted)?;
            self.registry.register(Box::new(family))?;
        }
        Ok(())
    }
}
