//! One player's line: what its packets said over the last 10 to 20 seconds.
//!
//! The median round trip is what the player feels: it has the time in it that the client takes to answer (a frame, or
//! until it sends next). The minimum is nearer to the network. Both are told, and which is meant.

use gsmon_common::{
    hist,
    netcode::{Layout, NetcodeCounts, Parts, RTT_BUCKETS},
};
use serde::{Deserialize, Serialize};

use crate::kernel::NetcodeReading;

/// Length of one half of the window.
const HALF_MS: i64 = 10_000;
/// Numbers that must follow one another before a line is believed.
const ORDERED_AT_LEAST: u64 = 8;
/// At most one number in so many may be a stray.
const ORDERED_TO_STRAY: u64 = 5;

/// What is known of a line. `None` is "not told by this format, or not seen yet".
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LineSnapshot {
    /// Shortest round trip of the window, nanoseconds.
    pub rtt_min_ns: Option<f64>,
    /// Median round trip, within 3 %.
    pub rtt_p50_ns: Option<f64>,
    /// 95th percentile.
    pub rtt_p95_ns: Option<f64>,
    /// Is the round trip what the game itself tells (a status, a query), and not read from packets? Games tell a mean, with
    /// the client's time to answer in it.
    #[serde(default)]
    pub rtt_stated: bool,
    /// Round trips measured in the window.
    pub rtt_samples: u64,
    /// Share of the time in which its packets are read, where that is not all of it: a calm line rests in between, where
    /// its format is dear to read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_ratio: Option<f64>,
    /// Jitter of what comes from the player (RFC 3550, 6.4.1), nanoseconds.
    pub jitter_ns: Option<f64>,
    /// Is jitter held against the player's own clock? Else against the mean time between its packets.
    pub jitter_by_clock: bool,
    /// Lost on the way to the server.
    pub loss_up_ratio: Option<f64>,
    /// Lost on the way to the player.
    pub loss_down_ratio: Option<f64>,
    /// Came after a later one, on the way to the server.
    pub reordered_ratio: Option<f64>,
    /// Came twice.
    pub repeated_ratio: Option<f64>,
    /// Came more than a period late.
    pub late_ratio: Option<f64>,
    /// Came in a bunch: less than a quarter of a period after the one before.
    pub bunched_ratio: Option<f64>,
}

impl LineSnapshot {
    /// Is anything known?
    pub fn says_something(&self) -> bool {
        self.rtt_p50_ns.is_some() || self.loss_up_ratio.is_some() || self.jitter_ns.is_some()
    }
}

/// What was read of one flow since the last time, as differences.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reading {
    /// Packets that fit the format.
    pub read: u64,
    /// Packets that do not.
    pub unread: u64,
    /// Numbers that the client has used.
    pub up_sent: u64,
    /// Of them, not arrived. A number that comes late makes it less: then it is negative.
    pub up_lost: i64,
    /// Numbered packets to the client, or numbers it reported on.
    pub down_sent: u64,
    /// Of them, lost.
    pub down_lost: i64,
    /// Round trips.
    pub rtt_samples: u64,
    /// Their sum.
    pub rtt_sum_us: u64,
    /// By bucket of `hist::RTT`.
    pub rtt: Vec<(u16, u32)>,
    /// The shortest.
    pub rtt_min_us: Option<u32>,
    /// Acknowledgements of what is not awaited.
    pub unmatched: u64,
    /// Jitter as it is now.
    pub jitter_ns: f64,
    /// Out of order.
    pub reordered: u64,
    /// Twice.
    pub repeated: u64,
    /// Late.
    pub late: u64,
    /// In a bunch.
    pub bunched: u64,
    /// Numbers far from the others, and beginnings anew.
    pub strays: u64,
    /// Turns of the spin bit.
    pub spin_turns: u64,
    /// Of them, chance.
    pub spin_single: u64,
    /// Share of the time in which packets are read; `None` for all.
    pub read_ratio: Option<f64>,
}

impl Reading {
    /// Differences of a reading by `layout`.
    pub fn new(read: &NetcodeReading, layout: &Layout) -> Self {
        let (now, before) = (&read.now, &read.before);
        let since = |value: fn(&NetcodeCounts) -> u32| u64::from(value(now).wrapping_sub(value(before)));
        let signed = |value: u64| i64::from(value as u32 as i32);
        let up_sent = since(|counts| counts.up_expected);
        let resent = layout.has(Parts::RESENT);
        let (down_sent, down_lost) = if layout.has(Parts::RECEIVED) {
            (
                since(|counts| counts.down_reported),
                signed(since(|counts| counts.down_missing)),
            )
        } else if layout.has(Parts::REFUSED) {
            (
                since(|counts| counts.down_sent),
                signed(since(|counts| counts.down_missing)),
            )
        } else if resent {
            let again = since(|counts| counts.down_resent).wrapping_sub(since(|counts| counts.down_needless));
            (since(|counts| counts.down_sent), signed(again))
        } else {
            (0, 0)
        };
        Self {
            read: since(|counts| counts.read),
            unread: since(|counts| counts.unread),
            up_sent,
            up_lost: signed(up_sent.wrapping_sub(since(|counts| counts.up_received))),
            down_sent,
            down_lost,
            rtt_samples: since(|counts| counts.rtt_samples),
            rtt_sum_us: now.rtt_sum_us.wrapping_sub(before.rtt_sum_us),
            rtt: read.rtt.clone(),
            rtt_min_us: (now.rtt_min_us > 0).then_some(now.rtt_min_us),
            unmatched: since(|counts| counts.unmatched),
            jitter_ns: f64::from(now.jitter_16ns) / 16.0,
            reordered: since(|counts| counts.up_reordered),
            repeated: since(|counts| counts.up_repeated),
            late: since(|counts| counts.late),
            bunched: since(|counts| counts.bunched),
            strays: since(|counts| counts.up_strays) + since(|counts| counts.up_restarts),
            spin_turns: since(|counts| counts.spin_turns),
            spin_single: since(|counts| counts.spin_single),
            read_ratio: (read.share < 1.0).then_some(read.share),
        }
    }
}

/// Numbers of the client from which on their loss says how many of its answers are lost.
const ANSWERS_AT_LEAST: u64 = 100;
/// Of a line that loses more nothing is worked out.
const MOST_LOST: f64 = 0.5;

#[derive(Clone)]
struct Half {
    began_ms: i64,
    rtt: [u16; RTT_BUCKETS],
    rtt_min_us: Option<u32>,
    sums: Sums,
}

#[derive(Clone, Copy, Default)]
struct Sums {
    up_sent: u64,
    up_lost: i64,
    down_sent: u64,
    down_lost: i64,
    rtt_samples: u64,
    reordered: u64,
    repeated: u64,
    late: u64,
    bunched: u64,
    strays: u64,
    spin_turns: u64,
    spin_single: u64,
}

impl Half {
    fn new(began_ms: i64) -> Self {
        Self {
            began_ms,
            rtt: [0; RTT_BUCKETS],
            rtt_min_us: None,
            sums: Sums::default(),
        }
    }

    fn add(&mut self, read: &Reading) {
        for (bucket, count) in &read.rtt {
            if let Some(sum) = self.rtt.get_mut(usize::from(*bucket)) {
                *sum = sum.saturating_add(u16::try_from(*count).unwrap_or(u16::MAX));
            }
        }
        self.rtt_min_us = match (self.rtt_min_us, read.rtt_min_us.filter(|_| read.rtt_samples > 0)) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        let sums = &mut self.sums;
        sums.up_sent += read.up_sent;
        sums.up_lost += read.up_lost;
        sums.down_sent += read.down_sent;
        sums.down_lost += read.down_lost;
        sums.rtt_samples += read.rtt_samples;
        sums.reordered += read.reordered;
        sums.repeated += read.repeated;
        sums.late += read.late;
        sums.bunched += read.bunched;
        sums.strays += read.strays;
        sums.spin_turns += read.spin_turns;
        sums.spin_single += read.spin_single;
    }
}

/// One line over time.
pub struct Line {
    older: Half,
    newer: Half,
    /// What [`Line::less_lost_answers`] has rounded off.
    rounded: f64,
    jitter_ns: f64,
    read_ms: i64,
    told: LineSnapshot,
    in_order: bool,
}

impl Line {
    /// Nothing read yet.
    pub fn new(now_ms: i64) -> Self {
        Self {
            older: Half::new(now_ms - HALF_MS),
            newer: Half::new(now_ms),
            rounded: 0.0,
            jitter_ns: 0.0,
            read_ms: now_ms,
            told: LineSnapshot::default(),
            in_order: false,
        }
    }

    /// Takes lost answers out of a reading's loss on the way to the client. Where an answer is given once, a packet whose
    /// acknowledgement is lost is sent again and looks lost, and one whose refusal is lost looks as if it had come. How
    /// many answers are lost is known from the client's own numbers, which go the same way.
    pub fn less_lost_answers(&mut self, read: Reading, layout: &Layout) -> Reading {
        let all = self.all();
        let sent = all.up_sent + read.up_sent;
        if layout.said_once == 0 || sent < ANSWERS_AT_LEAST || read.down_sent == 0 {
            return read;
        }
        let lost = (all.up_lost + read.up_lost).max(0) as f64 / sent as f64;
        if lost > MOST_LOST {
            return read;
        }
        let answered = 1.0 - lost;
        let (down_sent, down_lost) = (read.down_sent as f64, read.down_lost as f64);
        let exact = match layout.has(Parts::REFUSED) {
            true => down_lost / answered,
            false => down_sent - (down_sent - down_lost) / answered,
        };
        let wanted = exact + self.rounded;
        self.rounded = wanted - wanted.round();
        Reading {
            down_lost: wanted.round() as i64,
            ..read
        }
    }

    /// Adds a reading.
    pub fn add(&mut self, read: &Reading, layout: &Layout, now_ms: i64) {
        if now_ms - self.newer.began_ms >= HALF_MS {
            let newer = Half::new(now_ms);
            self.older = std::mem::replace(&mut self.newer, newer);
        }
        self.newer.add(read);
        self.jitter_ns = read.jitter_ns;
        self.read_ms = now_ms;
        let all = self.all();
        self.in_order = match (layout.tells_up_loss(), layout.has(Parts::SPIN)) {
            // A client that sends nothing reliable uses no numbers: what it acknowledges must do.
            (true, _) if has_resent_numbers(layout) && all.up_sent < ORDERED_AT_LEAST => {
                all.rtt_samples >= ORDERED_AT_LEAST && all.strays * ORDERED_TO_STRAY <= all.rtt_samples
            }
            (true, _) => all.up_sent >= ORDERED_AT_LEAST && all.strays * ORDERED_TO_STRAY <= all.up_sent,
            (false, true) => all.spin_turns > 0 && all.spin_single * 4 <= all.spin_turns,
            (false, false) => all.rtt_samples > 0,
        };
        self.told = LineSnapshot {
            read_ratio: read.read_ratio,
            ..self.tell(layout, &all)
        };
    }

    fn all(&self) -> Sums {
        let (a, b) = (&self.older.sums, &self.newer.sums);
        Sums {
            up_sent: a.up_sent + b.up_sent,
            up_lost: a.up_lost + b.up_lost,
            down_sent: a.down_sent + b.down_sent,
            down_lost: a.down_lost + b.down_lost,
            rtt_samples: a.rtt_samples + b.rtt_samples,
            reordered: a.reordered + b.reordered,
            repeated: a.repeated + b.repeated,
            late: a.late + b.late,
            bunched: a.bunched + b.bunched,
            strays: a.strays + b.strays,
            spin_turns: a.spin_turns + b.spin_turns,
            spin_single: a.spin_single + b.spin_single,
        }
    }

    fn tell(&self, layout: &Layout, all: &Sums) -> LineSnapshot {
        let ratio = |part: i64, whole: u64| (whole > 0).then(|| (part.max(0) as f64 / whole as f64).min(1.0));
        let up = |part: i64| ratio(part, all.up_sent).filter(|_| layout.tells_up_loss());
        let mut counts = [0u32; RTT_BUCKETS];
        for (bucket, count) in counts.iter_mut().enumerate() {
            *count = u32::from(self.older.rtt[bucket]) + u32::from(self.newer.rtt[bucket]);
        }
        let min_us = match (self.older.rtt_min_us, self.newer.rtt_min_us) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        let min_ns = min_us.map(|min| f64::from(min) * 1e3);
        // What is shorter than the histogram begins is in its first bucket.
        let quantile = |q: f64| {
            let found = hist::quantile(&hist::RTT, &counts, q)?;
            let shortest = hist::RTT.bounds(0).1 as f64;
            Some(if found < shortest {
                found.min(shortest / 2.0)
            } else {
                found
            })
        };
        let timed = layout.has_clock() || (layout.tells_up_loss() && !has_resent_numbers(layout));
        LineSnapshot {
            rtt_min_ns: min_ns,
            rtt_p50_ns: quantile(0.5).map(|p50| min_ns.map_or(p50, |min| p50.max(min))),
            rtt_p95_ns: quantile(0.95).map(|p95| min_ns.map_or(p95, |min| p95.max(min))),
            rtt_stated: false,
            rtt_samples: all.rtt_samples,
            read_ratio: None,
            jitter_ns: (timed && self.jitter_ns > 0.0).then_some(self.jitter_ns),
            jitter_by_clock: layout.has_clock(),
            loss_up_ratio: up(all.up_lost),
            loss_down_ratio: ratio(all.down_lost, all.down_sent).filter(|_| layout.tells_down_loss()),
            reordered_ratio: up(all.reordered as i64),
            repeated_ratio: up(all.repeated as i64),
            late_ratio: up(all.late as i64).filter(|_| timed),
            bunched_ratio: up(all.bunched as i64).filter(|_| timed),
        }
    }

    /// What is known of it.
    pub fn told(&self) -> &LineSnapshot {
        &self.told
    }

    /// Do its numbers follow one another? What is scrambled has no line.
    pub fn is_in_order(&self) -> bool {
        self.in_order
    }

    /// When something was read last.
    pub fn read_ms(&self) -> i64 {
        self.read_ms
    }

    /// Lost and sent on the way to the server.
    pub fn up(&self) -> (u64, u64) {
        let all = self.all();
        (all.up_lost.max(0) as u64, all.up_sent)
    }

    /// Lost and sent on the way to the player.
    pub fn down(&self) -> (u64, u64) {
        let all = self.all();
        (all.down_lost.max(0) as u64, all.down_sent)
    }
}

/// Numbers of what is sent when there is something to say, and again when it is lost, have no period.
pub(super) fn has_resent_numbers(layout: &Layout) -> bool {
    layout
        .rx
        .whole
        .iter()
        .chain(&layout.rx.each)
        .filter(|case| case.parts & Parts::SEQUENCE != 0)
        .all(|case| case.parts & Parts::RESENT != 0)
}

#[cfg(test)]
mod tests {
    use gsmon_common::netcode::layouts::Format;

    use super::*;

    /// What a second of a line looks like where a share of packets is lost each way.
    fn second(format: Format, up: f64, down: f64) -> Reading {
        let sent = 10_000.0;
        let down_lost = match format {
            Format::RakNet => sent * down * (1.0 - up),
            // Sent again where the packet or its acknowledgement is lost.
            _ => sent * (1.0 - (1.0 - up) * (1.0 - down)),
        };
        Reading {
            up_sent: sent as u64,
            up_lost: (sent * up) as i64,
            down_sent: sent as u64,
            down_lost: down_lost as i64,
            ..Reading::default()
        }
    }

    #[test]
    fn lost_answers_are_no_loss_on_the_way_to_the_client() {
        for format in [Format::ENet, Format::Luanti, Format::RakNet] {
            let layout = format.layout();
            let mut line = Line::new(0);
            let (mut sent, mut lost) = (0, 0);
            for seconds in 1..=10 {
                let read = line.less_lost_answers(second(format, 0.1, 0.05), &layout);
                line.add(&read, &layout, seconds * 1_000);
                sent += read.down_sent;
                lost += read.down_lost;
            }
            let told = lost as f64 / sent as f64;
            assert!((told - 0.05).abs() < 0.001, "{format:?}: {told}");
        }
    }

    #[test]
    fn nothing_is_worked_out_where_nothing_is_known_of_answers() {
        let silent = Reading {
            up_sent: 0,
            up_lost: 0,
            ..second(Format::ENet, 0.1, 0.05)
        };
        let mut line = Line::new(0);
        let told = line.less_lost_answers(silent.clone(), &Format::ENet.layout());
        assert_eq!(told, silent);
        // Its acknowledgements are repeated by the next ones.
        let read = second(Format::Kcp, 0.1, 0.05);
        assert_eq!(line.less_lost_answers(read.clone(), &Format::Kcp.layout()), read);
        // A line that loses nearly everything.
        let read = second(Format::ENet, 0.8, 0.05);
        assert_eq!(line.less_lost_answers(read.clone(), &Format::ENet.layout()), read);
    }
}
