//! One port of a server: the format that is spoken there, and the lines of those who speak it.
//!
//! Not here: what all ports come to ([`super::model`]).

use std::collections::HashMap;

use gsmon_common::{flow::FlowKey, netcode::Layout};
use serde::{Deserialize, Serialize};

use super::{
    line::{Line, LineSnapshot, Reading},
    recognition::{KnownBy, NetcodeState, Recognition},
    totals::{NetworkTotals, Quantiles},
};
use crate::kernel::NetcodeReading;

/// A line of which nothing was read for so long is gone.
const LINE_SILENCE_MS: i64 = 30_000;

/// What is known of the network between one port of a server and who plays there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PortNetwork {
    /// Local UDP port.
    pub port: u16,
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
}

/// Lost and sent, each way, of lines whose format tells it.
#[derive(Clone, Copy, Default)]
pub(super) struct Losses {
    pub up: (u64, u64),
    pub down: (u64, u64),
}

/// Share that is lost.
pub(super) fn ratio((lost, sent): (u64, u64)) -> Option<f64> {
    (sent > 0).then(|| lost as f64 / sent as f64)
}

/// One port over time.
pub(super) struct PortModel {
    pub port: u16,
    recognition: Recognition,
    lines: HashMap<FlowKey, Line>,
    /// Flows there in the interval at hand from which something came.
    pub flows: usize,
}

impl PortModel {
    pub fn new(port: u16, recognition: Recognition) -> Self {
        Self {
            port,
            recognition,
            lines: HashMap::new(),
            flows: 0,
        }
    }

    pub fn recognition(&self) -> &Recognition {
        &self.recognition
    }

    /// Adds what was read there in an interval, of all readings of the server. Has it got further, or become sure of
    /// something else?
    pub fn hear(&mut self, readings: &[NetcodeReading], totals: &mut NetworkTotals, now_ms: i64) -> bool {
        let port = self.port;
        let mine = || readings.iter().filter(move |read| read.key.local_port == port);
        let before = (self.recognition.state(), self.recognition.reading().cloned());
        self.recognition.hear(mine(), self.flows, now_ms);
        let reading = self.recognition.reading();
        if before.1.as_ref() != reading {
            self.lines.clear();
        }
        if let Some(candidate) = reading {
            for read in mine().filter(|read| read.layout == candidate.place) {
                let line = self.lines.entry(read.key).or_insert_with(|| Line::new(now_ms));
                let reading =
                    line.less_lost_answers(Reading::new(read, &candidate.layout), &candidate.layout);
                line.add(&reading, &candidate.layout, now_ms);
                if line.is_in_order() {
                    totals.add(&reading, line.told());
                }
            }
        }
        before.0 != self.recognition.state() || before.1.as_ref() != self.recognition.reading()
    }

    /// Forgets lines of which nothing was read for long.
    pub fn forget_silent(&mut self, now_ms: i64) {
        self.lines
            .retain(|_, line| now_ms - line.read_ms() < LINE_SILENCE_MS);
    }

    /// Lines whose numbers follow one another.
    pub fn in_order(&self) -> impl Iterator<Item = (&FlowKey, &Line)> {
        self.lines.iter().filter(|(_, line)| line.is_in_order())
    }

    /// Lines that tell something.
    pub fn measured(&self) -> impl Iterator<Item = (&FlowKey, &Line)> {
        self.in_order().filter(|(_, line)| line.told().says_something())
    }

    /// What is lost on all measured lines together.
    pub fn losses(&self) -> Losses {
        let tells = |able: fn(&Layout) -> bool| {
            self.recognition
                .reading()
                .is_some_and(|candidate| able(&candidate.layout))
        };
        let sum = |parts: fn(&Line) -> (u64, u64)| {
            self.measured()
                .map(|(_, line)| parts(line))
                .fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1))
        };
        Losses {
            up: if tells(Layout::tells_up_loss) {
                sum(Line::up)
            } else {
                (0, 0)
            },
            down: if tells(Layout::tells_down_loss) {
                sum(Line::down)
            } else {
                (0, 0)
            },
        }
    }

    /// What it comes to.
    pub fn draw(&self) -> PortNetwork {
        let of = |value: fn(&LineSnapshot) -> Option<f64>| {
            Quantiles::of(
                self.measured()
                    .filter_map(|(_, line)| value(line.told()))
                    .collect(),
            )
        };
        let losses = self.losses();
        let known = self.recognition.reading();
        PortNetwork {
            port: self.port,
            netcode: known.map(|candidate| candidate.name.to_string()),
            state: self.recognition.state(),
            known_by: known.map(|_| self.recognition.known_by()),
            confidence: self.recognition.confidence(),
            measured: self.measured().count() as u64,
            rtt: of(|line| line.rtt_p50_ns),
            jitter: of(|line| line.jitter_ns),
            loss_up_ratio: ratio(losses.up),
            loss_down_ratio: ratio(losses.down),
        }
    }
}
