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

/// What is read and how it is known, in one line.
pub fn netcode_text(network: Option<&NetworkSnapshot>) -> String {
    let Some(network) = network else {
        return "not measured without the kernel side".to_owned();
    };
    let sure = network
        .confidence
        .map_or_else(String::new, |sure| format!(", {:.0} % sure", sure * 100.0));
    let known_by = match network.known_by {
        Some(KnownBy::Configuration) => "as configured",
        Some(KnownBy::Game) => "usual for the game",
        Some(KnownBy::Traffic) => "recognised from the traffic",
        Some(KnownBy::Kernel) => "as the kernel knows its paths",
        None => "",
    };
    match (network.state, &network.netcode) {
        (NetcodeState::Off, _) => "no netcode to read".to_owned(),
        (NetcodeState::Looking, _) => "looking at the traffic for a format".to_owned(),
        (NetcodeState::Unreadable, Some(name)) => format!("{name} ({known_by}): does not fit the packets"),
        (NetcodeState::Unreadable, None) => "encrypted, or a format that gsmon does not know".to_owned(),
        (NetcodeState::Reading, name) => {
            let name = name.as_deref().unwrap_or("-");
            format!("{name} ({known_by}{sure}), {} lines measured", network.measured)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    }
}
