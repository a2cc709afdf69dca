//! Networks of players over the last hour, packed: every player a row of 48 bytes, rows the rarer the more players there
//! are.

use std::{collections::VecDeque, sync::Arc};

use super::frame::PlayerPoint;

/// How long anything is kept.
const KEPT_MS: i64 = 3_600_000;
/// Rows of one player are no closer than this.
const LEAST_EVERY_MS: i64 = 5_000;
/// What is known of players holds for so long at most, or one and a half times their distance where that is more.
const HOLDS_MS: i64 = 30_000;

/// Rows of one server.
#[derive(Debug, Default)]
pub struct Points {
    moments: VecDeque<Moment>,
    kept: usize,
}

#[derive(Debug)]
struct Moment {
    unix_ms: i64,
    holds_ms: i64,
    rows: Box<[Row]>,
}

/// Fixed-point figures; the largest value stands for "not known".
#[derive(Clone, Debug)]
struct Row {
    player: Arc<str>,
    region: Option<Arc<str>>,
    rtt: u16,
    jitter: u16,
    loss_up: u16,
    loss_down: u16,
    rx: u16,
    tx: u16,
}

/// Steps per unit: round trips to 3.2 s, jitter to 1.3 s, ratios, packets per second to 6,500.
const RTT: f32 = 20.0;
const JITTER: f32 = 50.0;
const RATIO: f32 = 60_000.0;
const PACKETS: f32 = 10.0;

const UNKNOWN: u16 = u16::MAX;

fn pack(value: Option<f32>, steps: f32) -> u16 {
    match value.filter(|value| value.is_finite()) {
        Some(value) => (value * steps).round().clamp(0.0, f32::from(UNKNOWN - 1)) as u16,
        None => UNKNOWN,
    }
}

fn unpack(packed: u16, steps: f32) -> Option<f32> {
    (packed != UNKNOWN).then_some(f32::from(packed) / steps)
}

impl Row {
    fn of(point: &PlayerPoint) -> Self {
        Self {
            player: point.player.clone(),
            region: point.region.clone(),
            rtt: pack(point.rtt_ms, RTT),
            jitter: pack(point.jitter_ms, JITTER),
            loss_up: pack(point.loss_up_ratio, RATIO),
            loss_down: pack(point.loss_down_ratio, RATIO),
            rx: pack(point.rx_packets_per_second, PACKETS),
            tx: pack(point.tx_packets_per_second, PACKETS),
        }
    }

    fn point(&self) -> PlayerPoint {
        PlayerPoint {
            player: self.player.clone(),
            region: self.region.clone(),
            rtt_ms: unpack(self.rtt, RTT),
            jitter_ms: unpack(self.jitter, JITTER),
            loss_up_ratio: unpack(self.loss_up, RATIO),
            loss_down_ratio: unpack(self.loss_down, RATIO),
            rx_packets_per_second: unpack(self.rx, PACKETS),
            tx_packets_per_second: unpack(self.tx, PACKETS),
        }
    }
}

impl Points {
    /// Adds what is known at a time, unless that is too soon; `most` rows are kept.
    pub fn push(&mut self, unix_ms: i64, players: &[PlayerPoint], most: usize) {
        let measured = |point: &PlayerPoint| point.rtt_ms.is_some() || point.loss_up_ratio.is_some();
        if !players.iter().any(measured) {
            return;
        }
        let count = players.len().min(most);
        // So rare that an hour of them fits.
        let every_ms = (count as i64 * KEPT_MS / most.max(1) as i64).max(LEAST_EVERY_MS);
        let last = self.moments.back().map_or(i64::MIN, |moment| moment.unix_ms);
        // Half a second of tolerance: intervals do not end on the dot.
        if unix_ms < last.saturating_add(every_ms - 500) {
            return;
        }
        self.kept += count;
        self.moments.push_back(Moment {
            unix_ms,
            holds_ms: HOLDS_MS.max(every_ms + every_ms / 2),
            rows: players[..count].iter().map(Row::of).collect(),
        });
        let oldest = unix_ms.saturating_sub(KEPT_MS);
        while self
            .moments
            .front()
            .is_some_and(|moment| moment.unix_ms < oldest || self.kept > most)
        {
            if let Some(gone) = self.moments.pop_front() {
                self.kept -= gone.rows.len();
            }
        }
    }

    /// What is known at each of these times, which rise.
    pub fn at(&self, times: impl Iterator<Item = i64>) -> Vec<Arc<[PlayerPoint]>> {
        let mut moments = self.moments.iter().peekable();
        let mut newest: Option<(&Moment, Arc<[PlayerPoint]>)> = None;
        times
            .map(|time| {
                let mut reached = None;
                while let Some(next) = moments.next_if(|moment| moment.unix_ms <= time) {
                    reached = Some(next);
                }
                if let Some(moment) = reached {
                    newest = Some((moment, moment.rows.iter().map(Row::point).collect()));
                }
                match &newest {
                    Some((moment, points)) if time - moment.unix_ms <= moment.holds_ms => points.clone(),
                    _ => Arc::default(),
                }
            })
            .collect()
    }

    /// Memory that they take, names aside.
    pub fn bytes(&self) -> usize {
        self.moments.capacity() * size_of::<Moment>() + self.kept * size_of::<Row>()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn point(player: &str, rtt_ms: f32) -> PlayerPoint {
        PlayerPoint {
            player: player.into(),
            region: None,
            rtt_ms: Some(rtt_ms),
            jitter_ms: None,
            loss_up_ratio: Some(0.0125),
            loss_down_ratio: None,
            rx_packets_per_second: Some(30.3),
            tx_packets_per_second: None,
        }
    }

    #[test]
    fn packing_keeps_what_matters() {
        let point = point("a", 41.37);
        let again = Row::of(&point).point();
        assert!((again.rtt_ms.unwrap() - 41.37).abs() <= 0.026);
        assert!((again.loss_up_ratio.unwrap() - 0.0125).abs() < 1e-5);
        assert_eq!((again.jitter_ms, again.loss_down_ratio), (None, None));
        assert_eq!(
            unpack(pack(Some(1e9), RTT), RTT).map(|rtt| rtt > 3_000.0),
            Some(true)
        );
        assert_eq!(size_of::<Row>(), 48);
    }

    #[test]
    fn many_players_are_kept_more_rarely_and_still_for_an_hour() {
        let mut points = Points::default();
        let players = vec![point("a", 20.0); 100];
        (0..8_000).for_each(|second| points.push(second * 1_000, &players, 4_000));
        assert!(points.kept <= 4_000);
        let known = points.at((4_500..8_000).map(|second| second * 1_000));
        let with = known.iter().filter(|players| !players.is_empty()).count();
        assert!(with >= 3_450, "{with} of 3,500");
    }
}
