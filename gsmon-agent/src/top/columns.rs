//! The columns of the table of servers, for the live view and for plain text.

use super::{
    harmless::harmless,
    units::{bytes, milliseconds, number, percent},
};
use crate::{
    games::event::Phase,
    world::{
        session::{phase, picture::PlayerCounts},
        snapshot::{ServerSnapshot, ServerState},
    },
};

/// A column of the table of servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// Name.
    Name,
    /// waiting, up, gone.
    State,
    /// Percent of one core.
    Cpu,
    /// Hertz.
    Tick,
    /// Median tick time, milliseconds.
    TickP50,
    /// 99th percentile.
    TickP99,
    /// People and bots.
    Players,
    /// Phase of the session.
    Phase,
    /// Live flows.
    Flows,
    /// Packets in per second.
    PacketsIn,
    /// Packets out per second.
    PacketsOut,
    /// Resident memory.
    Memory,
    /// Run-queue wait, percent of one core.
    Wait,
    /// Live threads.
    Threads,
    /// Bytes in per second.
    BytesIn,
    /// Bytes out per second.
    BytesOut,
}

/// All columns; narrow terminals drop them from the right.
pub const COLUMNS: [Column; 16] = [
    Column::Name,
    Column::State,
    Column::Cpu,
    Column::Tick,
    Column::TickP50,
    Column::TickP99,
    Column::Players,
    Column::Phase,
    Column::Flows,
    Column::PacketsIn,
    Column::PacketsOut,
    Column::Memory,
    Column::Wait,
    Column::Threads,
    Column::BytesIn,
    Column::BytesOut,
];

impl Column {
    /// Heading.
    pub fn title(self) -> &'static str {
        match self {
            Column::Name => "SERVER",
            Column::State => "STATE",
            Column::Cpu => "CPU%",
            Column::Tick => "HZ",
            Column::TickP50 => "P50ms",
            Column::TickP99 => "P99ms",
            Column::Players => "PLAYERS",
            Column::Phase => "PHASE",
            Column::Flows => "FLOWS",
            Column::PacketsIn => "IN/s",
            Column::PacketsOut => "OUT/s",
            Column::Memory => "MEM",
            Column::Wait => "WAIT%",
            Column::Threads => "THR",
            Column::BytesIn => "INB/s",
            Column::BytesOut => "OUTB/s",
        }
    }

    /// Width in the live view.
    pub fn width(self) -> u16 {
        match self {
            Column::Name => 18,
            Column::State
            | Column::Players
            | Column::Phase
            | Column::Memory
            | Column::PacketsOut
            | Column::BytesIn
            | Column::BytesOut => 7,
            _ => 6,
        }
    }

    /// What stands in the table.
    pub fn cell(self, server: &ServerSnapshot) -> String {
        let rates = &server.rates;
        match self {
            Column::Name => harmless(&server.name).into_owned(),
            Column::State => match server.state {
                ServerState::Waiting => "waiting",
                ServerState::Up => "up",
                ServerState::Gone => "gone",
            }
            .to_owned(),
            Column::Cpu => percent(rates.cpu_cores),
            Column::Tick => number(self.value(server), 1),
            Column::TickP50 | Column::TickP99 => milliseconds(self.value(server)),
            Column::Players => players(&server.game_state.player_counts),
            Column::Phase => phase_cell(server.game_state.phase),
            Column::Flows => number(self.value(server), 0),
            Column::PacketsIn | Column::PacketsOut | Column::Threads => number(self.value(server), 0),
            Column::Memory | Column::BytesIn | Column::BytesOut => bytes(self.value(server)),
            Column::Wait => percent(rates.run_queue_wait_ratio),
        }
    }

    /// What the table is sorted by; absent sorts last.
    pub fn value(self, server: &ServerSnapshot) -> Option<f64> {
        let rates = &server.rates;
        let tick = server.tick.as_ref();
        match self {
            Column::Name | Column::State | Column::Phase => None,
            Column::Cpu => rates.cpu_cores,
            Column::Tick => tick.map(|tick| tick.rate_hz),
            Column::TickP50 => tick.and_then(|tick| tick.time_p50_ns),
            Column::TickP99 => tick.and_then(|tick| tick.time_p99_ns),
            Column::Players => {
                let counts = &server.game_state.player_counts;
                let known = [counts.humans, counts.bots, counts.unknown];
                let known = known.into_iter().flatten().reduce(|sum, more| sum + more);
                known.map(|players| players as f64)
            }
            Column::Flows => server.flows.map(|flows| flows as f64),
            Column::PacketsIn => rates.rx_packets_per_second,
            Column::PacketsOut => rates.tx_packets_per_second,
            Column::Memory => rates.rss_bytes.map(|bytes| bytes as f64),
            Column::Wait => rates.run_queue_wait_ratio,
            Column::Threads => rates.threads.map(f64::from),
            Column::BytesIn => rates.rx_bytes_per_second,
            Column::BytesOut => rates.tx_bytes_per_second,
        }
    }
}

impl Column {
    /// Is it words, which lean to the left?
    pub fn is_words(self) -> bool {
        matches!(self, Column::Name | Column::State | Column::Phase)
    }
}

/// `8`, or `3+5b` where there are bots; who is not known to be either counts as a person.
pub fn players(counts: &PlayerCounts) -> String {
    let people = match (counts.humans, counts.unknown) {
        (None, None) => None,
        (humans, unknown) => Some(humans.unwrap_or(0) + unknown.unwrap_or(0)),
    };
    match (people, counts.bots) {
        (None, None) => "-".to_owned(),
        (people, None | Some(0)) => people.unwrap_or(0).to_string(),
        (people, Some(bots)) => format!("{}+{bots}b", people.unwrap_or(0)),
    }
}

/// The word for a phase, `-` for none.
pub fn phase_cell(phase: Option<Phase>) -> String {
    phase.map_or("-", phase::name).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn players_are_people_and_bots() {
        let counts = |humans, bots, unknown| {
            players(&PlayerCounts {
                humans,
                bots,
                unknown,
                ..PlayerCounts::default()
            })
        };
        assert_eq!(counts(None, None, None), "-");
        assert_eq!(counts(Some(8), None, None), "8");
        assert_eq!(counts(Some(3), Some(5), Some(0)), "3+5b");
        assert_eq!(counts(Some(0), Some(0), Some(2)), "2");
        assert_eq!(counts(None, Some(2), None), "0+2b");
    }
}
