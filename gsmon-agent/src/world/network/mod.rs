//! The network as players have it: each player's line (round trip, loss each way, jitter), from what the game's own
//! packets say, and what all lines of a server come to.
//!
//! [`recognition`] finds out which format a server's players speak, [`line`] adds up what is read of one flow,
//! [`totals`] what is read of all of them. Decoding itself is `gsmon_common::netcode`, in the kernel.

pub mod line;
pub mod recognition;
pub mod totals;

use std::{collections::HashMap, net::SocketAddr, sync::Arc};

use gsmon_common::{flow::FlowKey, netcode::Layout};
use serde::{Deserialize, Serialize};

pub use self::{
    line::LineSnapshot,
    recognition::{KnownBy, NetcodeState, Recognition},
    totals::{NetworkTotals, Spread},
};
use self::{
    line::{Line, Reading},
    totals::Quantiles,
};
use super::session::traffic::remote;
use crate::{
    games::netcode::{Candidate, Spoken},
    kernel::{LayoutChoice, NetcodeReading, SeenFlow},
};

/// Lines of a server that are told one by one.
const TOLD_LINES: usize = 256;
/// A line of which nothing was read for so long is gone.
const LINE_SILENCE_MS: i64 = 30_000;

/// What is known of the network between a server and its players.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NetworkSnapshot {
    /// Wire format, where it is known.
    pub netcode: Option<String>,
    /// How far reading it has come.
    pub state: NetcodeState,
    /// How the format is known.
    pub known_by: Option<KnownBy>,
    /// How sure, 0 to 1: how many packets fit the format and follow one another.
    pub confidence: Option<f64>,
    /// Lines that are measured.
    pub measured: u64,
    /// Median round trip of the lines: the middle line, and the worst one in twenty.
    pub rtt: Option<Quantiles>,
    /// Jitter of the lines (RFC 3550).
    pub jitter: Option<Quantiles>,
    /// Loss on the way to the server, all lines together, in the last 10 to 20 s.
    pub loss_up_ratio: Option<f64>,
    /// Loss on the way to the players.
    pub loss_down_ratio: Option<f64>,
    /// Since the agent follows the server.
    pub totals: NetworkTotals,
    /// Line by line, at most 256.
    pub lines: Vec<PlayerLine>,
}

/// The line of one remote endpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlayerLine {
    /// Whose.
    pub remote: SocketAddr,
    /// What is known of it.
    #[serde(flatten)]
    pub line: LineSnapshot,
}

/// The network of one server over time.
pub struct NetworkModel {
    recognition: Recognition,
    lines: HashMap<FlowKey, Line>,
    totals: NetworkTotals,
}

impl NetworkModel {
    /// For players who may speak one of these formats.
    pub fn new(recognition: Recognition) -> Self {
        Self {
            recognition,
            lines: HashMap::new(),
            totals: NetworkTotals::default(),
        }
    }

    /// By which layouts its flows are to be read.
    pub fn choice(&self) -> &LayoutChoice {
        self.recognition.choice()
    }

    /// Other formats from now on.
    pub fn respecify(&mut self, recognition: Recognition) {
        self.recognition = recognition;
        self.lines.clear();
    }

    /// New processes: what was found out may no longer hold.
    pub fn restart(&mut self) {
        self.recognition.restart();
        self.lines.clear();
    }

    /// Adds an interval.
    pub fn advance(
        &mut self,
        readings: &[NetcodeReading],
        flows: &[SeenFlow],
        now_ms: i64,
    ) -> NetworkSnapshot {
        let udp_flows = flows.iter().filter(|flow| flow.rx.packets > 0).count();
        let before = self.recognition.reading().cloned();
        self.recognition.hear(readings, udp_flows, now_ms);
        let reading = self.recognition.reading();
        if before.as_ref() != reading {
            self.lines.clear();
        }
        if let Some(candidate) = reading {
            for read in readings.iter().filter(|read| read.layout == candidate.place) {
                let reading = Reading::new(read, &candidate.layout);
                let line = self.lines.entry(read.key).or_insert_with(|| Line::new(now_ms));
                line.add(&reading, &candidate.layout, now_ms);
                if line.is_in_order() {
                    self.totals.add(&reading, line.told());
                }
            }
        }
        self.lines
            .retain(|_, line| now_ms - line.read_ms() < LINE_SILENCE_MS);
        self.picture()
    }

    fn picture(&self) -> NetworkSnapshot {
        let mut measured: Vec<(&FlowKey, &Line)> = self
            .lines
            .iter()
            .filter(|(_, line)| line.is_in_order() && line.told().says_something())
            .collect();
        let of = |value: fn(&LineSnapshot) -> Option<f64>| {
            Quantiles::of(
                measured
                    .iter()
                    .filter_map(|(_, line)| value(line.told()))
                    .collect(),
            )
        };
        let ratio = |parts: fn(&Line) -> (u64, u64)| {
            let (lost, sent) = measured
                .iter()
                .map(|(_, line)| parts(line))
                .fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1));
            (sent > 0).then(|| lost as f64 / sent as f64)
        };
        let known = self.recognition.reading();
        let tells = |able: fn(&Layout) -> bool| known.is_some_and(|candidate| able(&candidate.layout));
        let (rtt, jitter) = (of(|line| line.rtt_p50_ns), of(|line| line.jitter_ns));
        let up = tells(Layout::tells_up_loss).then(|| ratio(Line::up)).flatten();
        let down = tells(Layout::tells_down_loss)
            .then(|| ratio(Line::down))
            .flatten();
        let count = measured.len() as u64;
        // The slowest first: those are asked for.
        measured.sort_unstable_by(|(a_key, a), (b_key, b)| {
            let slow = |line: &Line| line.told().rtt_p50_ns.unwrap_or(-1.0);
            slow(b).total_cmp(&slow(a)).then_with(|| {
                (a_key.remote_addr, a_key.remote_port).cmp(&(b_key.remote_addr, b_key.remote_port))
            })
        });
        NetworkSnapshot {
            netcode: known.map(|candidate| candidate.name.to_string()),
            state: self.recognition.state(),
            known_by: known.map(|_| self.recognition.known_by()),
            confidence: self.recognition.confidence(),
            measured: count,
            rtt,
            jitter,
            loss_up_ratio: up,
            loss_down_ratio: down,
            totals: self.totals.clone(),
            lines: measured
                .into_iter()
                .take(TOLD_LINES)
                .map(|(key, line)| PlayerLine {
                    remote: remote(key),
                    line: line.told().clone(),
                })
                .collect(),
        }
    }
}

/// Formats that players may speak.
pub type Candidates = Arc<[Candidate]>;

impl From<Spoken> for Recognition {
    fn from(spoken: Spoken) -> Self {
        match spoken {
            Spoken::Off => Self::off(),
            Spoken::Configured(one) => Self::new(KnownBy::Configuration, Arc::from([*one])),
            Spoken::Game(candidates) => Self::new(KnownBy::Game, candidates),
            Spoken::Any(candidates) => Self::new(KnownBy::Traffic, candidates),
        }
    }
}
