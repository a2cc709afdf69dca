//! Players' lines as rows: the network pane of the live view and `gsmon network`.

use std::{collections::HashMap, net::SocketAddr};

use super::units::{milliseconds, number};
use crate::world::{
    network::{KnownBy, LineSnapshot, NetcodeState, NetworkSnapshot, PlayerLine},
    snapshot::ServerSnapshot,
};

/// Headings of [`line_cells`], after the name.
pub const LINE_HEADINGS: [&str; 8] = [
    "RTTms", "MINms", "P95ms", "JITms", "UP%", "DOWN%", "LATE%", "SAMPLES",
];

/// The figures of a line.
pub fn line_cells(line: &LineSnapshot) -> [String; 8] {
    let percent = |ratio: Option<f64>| number(ratio.map(|ratio| ratio * 100.0), 2);
    [
        milliseconds(line.rtt_p50_ns),
        milliseconds(line.rtt_min_ns),
        milliseconds(line.rtt_p95_ns),
        milliseconds(line.jitter_ns),
        percent(line.loss_up_ratio),
        percent(line.loss_down_ratio),
        percent(line.late_ratio),
        line.rtt_samples.to_string(),
    ]
}

/// Lines with the names of their players, the slowest first; a line that is nobody's by name is told by number.
pub fn named_lines(server: &ServerSnapshot) -> Vec<(String, &PlayerLine)> {
    let Some(network) = &server.network else {
        return Vec::new();
    };
    let names: HashMap<SocketAddr, &str> = server
        .game_state
        .players
        .iter()
        .filter_map(|player| Some((player.flow.as_ref()?.remote, player.name.as_deref()?)))
        .collect();
    network
        .lines
        .iter()
        .zip(1..)
        .map(|(line, place): (_, usize)| {
            let name = names
                .get(&line.remote)
                .map_or_else(|| format!("#{place}"), |name| (*name).to_owned());
            (name, line)
        })
        .collect()
}

/// What is read and how it is known, in one line; port by port where there are several.
pub fn netcode_text(network: Option<&NetworkSnapshot>) -> String {
    let Some(network) = network else {
        return "not measured without the kernel side".to_owned();
    };
    let mut text = if network.ports.len() > 1 && network.known_by != Some(KnownBy::Kernel) {
        let ports = network.ports.iter().map(|port| {
            let told = format_text(
                port.state,
                port.netcode.as_deref(),
                port.known_by,
                port.confidence,
                port.measured,
            );
            format!("port {}: {told}", port.port)
        });
        ports.collect::<Vec<_>>().join("; ")
    } else {
        format_text(
            network.state,
            network.netcode.as_deref(),
            network.known_by,
            network.confidence,
            network.measured,
        )
    };
    if network.ports_left_out > 0 {
        text += &format!("; {} more ports are not read", network.ports_left_out);
    }
    text
}

fn format_text(
    state: NetcodeState,
    netcode: Option<&str>,
    known_by: Option<KnownBy>,
    confidence: Option<f64>,
    measured: u64,
) -> String {
    let sure = confidence.map_or_else(String::new, |sure| format!(", {:.0} % sure", sure * 100.0));
    let known_by = match known_by {
        Some(KnownBy::Configuration) => "as configured",
        Some(KnownBy::Game) => "usual for the game",
        Some(KnownBy::Traffic) => "recognised from the traffic",
        Some(KnownBy::Kernel) => "as the kernel knows its paths",
        None => "",
    };
    match (state, netcode) {
        (NetcodeState::Off, _) => "no netcode to read".to_owned(),
        (NetcodeState::Looking, _) => "looking at the traffic for a format".to_owned(),
        (NetcodeState::Unreadable, Some(name)) => format!("{name} ({known_by}): does not fit the packets"),
        (NetcodeState::Unreadable, None) => "encrypted, or a format that gsmon does not know".to_owned(),
        (NetcodeState::Reading, name) => {
            let name = name.unwrap_or("-");
            format!("{name} ({known_by}{sure}), {measured} lines measured")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::network::PortNetwork;

    #[test]
    fn what_is_not_told_stands_as_a_dash_and_what_is_unreadable_says_so() {
        let cells = line_cells(&LineSnapshot::default());
        assert!(cells[..7].iter().all(|cell| cell == "-"), "{cells:?}");
        let unreadable = NetworkSnapshot {
            state: NetcodeState::Unreadable,
            ..NetworkSnapshot::default()
        };
        assert!(netcode_text(Some(&unreadable)).contains("encrypted"));
        let read = NetworkSnapshot {
            state: NetcodeState::Reading,
            netcode: Some("source".into()),
            known_by: Some(KnownBy::Traffic),
            confidence: Some(0.974),
            measured: 3,
            ..NetworkSnapshot::default()
        };
        assert_eq!(
            netcode_text(Some(&read)),
            "source (recognised from the traffic, 97 % sure), 3 lines measured"
        );
        let port = |port, netcode: Option<&str>, state| PortNetwork {
            port,
            netcode: netcode.map(str::to_owned),
            state,
            known_by: netcode.map(|_| KnownBy::Configuration),
            measured: 2,
            ..PortNetwork::default()
        };
        let several = NetworkSnapshot {
            ports: vec![
                port(7_777, Some("enet"), NetcodeState::Reading),
                port(7_778, None, NetcodeState::Looking),
            ],
            ports_left_out: 1,
            ..read
        };
        assert_eq!(
            netcode_text(Some(&several)),
            "port 7777: enet (as configured), 2 lines measured; port 7778: looking at the traffic for a format; 1 more ports are not read"
        );
    }
}
