//! The network between each server and its players, from what the game's own packets say.

use super::{
    Page,
    histogram::{Counted, Histograms},
    word,
};
use crate::world::{
    network::{
        NetworkSnapshot, Spread,
        totals::{MILLISECONDS, RATIOS},
    },
    snapshot::Snapshot,
};

/// Reads one histogram of a server's network.
type Read = fn(&NetworkSnapshot) -> &Spread;

impl Page {
    pub(super) fn network(&self, snapshot: &Snapshot) -> Result<(), prometheus::Error> {
        self.server_gauge(
            snapshot,
            "gsmon_server_netcode_confidence_ratio",
            "How well the packets fit the format they are read by, 0 to 1.",
            |server| server.network.as_ref()?.confidence,
        )?;
        let info = self.gauge(
            "gsmon_server_netcode_info",
            "Wire format of the players, how it is known, and how far reading has come.",
            &["server", "netcode", "known_by", "state"],
        )?;
        for server in &snapshot.servers {
            let Some(network) = &server.network else { continue };
            let known_by = network.known_by.as_ref().map(word).unwrap_or_default();
            let netcode = network.netcode.as_deref().unwrap_or_default();
            info.with_label_values(&[&server.name, netcode, &known_by, &word(&network.state)])
                .set(1.0);
        }
        self.server_gauge(
            snapshot,
            "gsmon_server_measured_players",
            "Players whose line is measured.",
            |server| {
                let network = server.network.as_ref()?;
                network.netcode.as_ref().map(|_| network.measured as f64)
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
