//! Figures by latency bucket and region.
//!
//! What is known of each player (loss, packets) is told of the players of a bucket. What is known of the whole server only
//! (CPU, tick time, overhead) is told of the frames whose median player is in the bucket; beside it stands what one more
//! player of the bucket costs, by regression.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

use super::Regions;
use crate::{
    analysis::stats::{
        Estimate,
        regress::Design,
        robust::{mean_of_series, median},
    },
    history::{Frame, Measure},
};

/// Lower bounds of latency buckets, milliseconds; the last one is open.
#[derive(Clone, Debug, PartialEq)]
pub struct Buckets(Vec<f64>);

/// Why these are no buckets.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum BucketsError {
    /// None, or too many.
    #[error("between 1 and 32 buckets can be told, not {0}")]
    Number(usize),
    /// Not in order.
    #[error("bounds of buckets must rise from 0 or above, as in 0,50,100,200,500")]
    Order,
}

impl Buckets {
    /// From their lower bounds.
    ///
    /// # Errors
    /// When there are none or more than 32, or they do not rise.
    pub fn new(bounds_ms: Vec<f64>) -> Result<Self, BucketsError> {
        if !(1..=32).contains(&bounds_ms.len()) {
            return Err(BucketsError::Number(bounds_ms.len()));
        }
        let rising = bounds_ms.windows(2).all(|pair| pair[0] < pair[1]);
        let meant = bounds_ms.iter().all(|bound| bound.is_finite() && *bound >= 0.0);
        match rising && meant {
            true => Ok(Self(bounds_ms)),
            false => Err(BucketsError::Order),
        }
    }

    /// Index of the bucket of a round trip; `None` below the first.
    fn of(&self, rtt_ms: f64) -> Option<usize> {
        self.0.partition_point(|bound| *bound <= rtt_ms).checked_sub(1)
    }
}

impl Default for Buckets {
    fn default() -> Self {
        Self(vec![0.0, 50.0, 100.0, 200.0, 500.0])
    }
}

/// Figures of the whole server in the frames whose median player is in a bucket.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FrameFigures {
    /// Time in such frames.
    pub seconds: f64,
    /// CPU over players, cores.
    pub cpu_cores_per_player: Option<Estimate>,
    /// Median tick time.
    pub tick_p50_ms: Option<Estimate>,
    /// Packets of both directions over players.
    pub packets_per_player_second: Option<Estimate>,
    /// Lost on the way to the server.
    pub loss_up_ratio: Option<Estimate>,
    /// Lost on the way to the players.
    pub loss_down_ratio: Option<Estimate>,
    /// Softirq and receive time per packet.
    pub overhead_ns_per_packet: Option<Estimate>,
}

/// One bucket, or one region in it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BucketRow {
    /// Lower bound.
    pub from_ms: f64,
    /// Upper bound; absent for the last.
    pub to_ms: Option<f64>,
    /// Region, where told by region; absent also for players whose region is not known.
    pub region: Option<Arc<str>>,
    /// Players at once, mean over the frames in which players are known one by one.
    pub players: Option<f64>,
    /// What one more such player costs, cores, by regression over all buckets.
    pub cores_per_further_player: Option<Estimate>,
    /// Packets of both directions of such a player.
    pub packets_per_player_second: Option<Estimate>,
    /// Of such players.
    pub loss_up_ratio: Option<Estimate>,
    /// Of such players.
    pub loss_down_ratio: Option<Estimate>,
    /// Of the server while its median player was in the bucket; not by region.
    pub server: Option<FrameFigures>,
}

/// Median round trip of a frame.
pub(super) fn round_trip(frame: &Frame) -> Option<f64> {
    frame.get(Measure::RttP50Ms).or_else(|| {
        let all: Vec<f64> = frame
            .players
            .iter()
            .filter_map(|point| point.rtt_ms.map(f64::from))
            .collect();
        median(&all)
    })
}

type Cell = (usize, Option<Arc<str>>);

/// What the players of a cell did in one frame.
#[derive(Default)]
struct InFrame {
    players: f64,
    packets: Vec<f64>,
    loss_up: Vec<f64>,
    loss_down: Vec<f64>,
}

/// Rows of all buckets that anything is known of.
pub(super) fn rows(frames: &[Frame], regions: Regions, buckets: &Buckets) -> Vec<BucketRow> {
    let by_player: Vec<(&Frame, BTreeMap<Cell, InFrame>)> = frames
        .iter()
        .filter(|frame| frame.players.iter().any(|point| point.rtt_ms.is_some()))
        .map(|frame| (frame, cells(frame, regions, buckets)))
        .collect();
    let mut known: BTreeMap<Cell, Vec<&InFrame>> = BTreeMap::new();
    for (_, cells) in &by_player {
        for (cell, in_frame) in cells {
            known.entry(cell.clone()).or_default().push(in_frame);
        }
    }
    let costs = further_players(&by_player, &known.keys().cloned().collect::<Vec<_>>());
    let mut rows: Vec<BucketRow> = Vec::new();
    for index in 0..buckets.0.len() {
        let server = server_figures(frames, index, buckets);
        let row = |region: Option<Arc<str>>, server| BucketRow {
            from_ms: buckets.0[index],
            to_ms: buckets.0.get(index + 1).copied(),
            region,
            players: None,
            cores_per_further_player: None,
            packets_per_player_second: None,
            loss_up_ratio: None,
            loss_down_ratio: None,
            server,
        };
        let before = rows.len();
        for (cell, seen) in known.range((index, None)..(index + 1, None)) {
            let series = |of: fn(&InFrame) -> &Vec<f64>| {
                let means: Vec<f64> = seen
                    .iter()
                    .map(|in_frame| of(in_frame))
                    .filter(|values| !values.is_empty())
                    .map(|values| values.iter().sum::<f64>() / values.len() as f64)
                    .collect();
                mean_of_series(&means)
            };
            // The server's own figures belong to the bucket, not to one of its regions.
            let of_server = (regions == Regions::LeftOut).then(|| server.clone()).flatten();
            rows.push(BucketRow {
                players: Some(
                    seen.iter().map(|in_frame| in_frame.players).sum::<f64>() / by_player.len() as f64,
                ),
                cores_per_further_player: costs.get(cell).copied(),
                packets_per_player_second: series(|in_frame| &in_frame.packets),
                loss_up_ratio: series(|in_frame| &in_frame.loss_up),
                loss_down_ratio: series(|in_frame| &in_frame.loss_down),
                ..row(cell.1.clone(), of_server)
            });
        }
        let told = rows[before..].iter().any(|row| row.server.is_some());
        if server.is_some() && !told {
            rows.insert(before, row(None, server));
        }
    }
    rows
}

fn cells(frame: &Frame, regions: Regions, buckets: &Buckets) -> BTreeMap<Cell, InFrame> {
    let mut cells: BTreeMap<Cell, InFrame> = BTreeMap::new();
    for point in frame.players.iter() {
        let Some(bucket) = point.rtt_ms.and_then(|rtt| buckets.of(f64::from(rtt))) else {
            continue;
        };
        let region = match regions {
            Regions::Included => point.region.clone(),
            Regions::LeftOut => None,
        };
        let cell = cells.entry((bucket, region)).or_default();
        cell.players += 1.0;
        if let (Some(rx), Some(tx)) = (point.rx_packets_per_second, point.tx_packets_per_second) {
            cell.packets.push(f64::from(rx + tx));
        }
        cell.loss_up.extend(point.loss_up_ratio.map(f64::from));
        cell.loss_down.extend(point.loss_down_ratio.map(f64::from));
    }
    cells
}

/// What one more player of each cell costs. Cells whose number of players never changes cannot be told from the server's
/// base.
fn further_players(frames: &[(&Frame, BTreeMap<Cell, InFrame>)], cells: &[Cell]) -> BTreeMap<Cell, Estimate> {
    let count =
        |in_frame: &BTreeMap<Cell, InFrame>, cell: &Cell| in_frame.get(cell).map_or(0.0, |cell| cell.players);
    let used: Vec<&(&Frame, BTreeMap<Cell, InFrame>)> = frames
        .iter()
        .filter(|(frame, _)| frame.get(Measure::CpuCores).is_some())
        .collect();
    let moving: Vec<&Cell> = cells
        .iter()
        .filter(|cell| {
            let first = used.first().map_or(0.0, |(_, in_frame)| count(in_frame, cell));
            used.iter().any(|(_, in_frame)| count(in_frame, cell) != first)
        })
        .collect();
    let mut design = Design::new(moving.len() + 1);
    let mut cpu = Vec::new();
    for (frame, in_frame) in used {
        let row: Vec<f64> = moving.iter().map(|cell| count(in_frame, cell)).collect();
        design.push(&row);
        cpu.extend(frame.get(Measure::CpuCores));
    }
    let Some(fit) = (!moving.is_empty()).then(|| design.fit(&cpu)).flatten() else {
        return BTreeMap::new();
    };
    moving
        .iter()
        .enumerate()
        .filter_map(|(index, cell)| Some(((*cell).clone(), fit.estimate(index + 1)?)))
        .collect()
}

fn server_figures(frames: &[Frame], bucket: usize, buckets: &Buckets) -> Option<FrameFigures> {
    let inside: Vec<&Frame> = frames
        .iter()
        .filter(|frame| round_trip(frame).and_then(|rtt| buckets.of(rtt)) == Some(bucket))
        .collect();
    if inside.is_empty() {
        return None;
    }
    let series = |of: fn(&Frame) -> Option<f64>| {
        let values: Vec<f64> = inside.iter().filter_map(|frame| of(frame)).collect();
        mean_of_series(&values)
    };
    Some(FrameFigures {
        seconds: inside.iter().map(|frame| frame.seconds).sum(),
        cpu_cores_per_player: series(|frame| Some(frame.get(Measure::CpuCores)? / players(frame)?)),
        tick_p50_ms: series(|frame| frame.get(Measure::TickP50Ms)),
        packets_per_player_second: series(|frame| Some(packets(frame)? / players(frame)?)),
        loss_up_ratio: series(|frame| frame.get(Measure::LossUpRatio)),
        loss_down_ratio: series(|frame| frame.get(Measure::LossDownRatio)),
        overhead_ns_per_packet: series(overhead),
    })
}

fn players(frame: &Frame) -> Option<f64> {
    frame.get(Measure::Players).filter(|players| *players > 0.0)
}

fn packets(frame: &Frame) -> Option<f64> {
    Some(frame.get(Measure::RxPacketsPerSecond)? + frame.get(Measure::TxPacketsPerSecond)?)
}

/// Softirq and receive time per packet, nanoseconds; either alone where the other is not measured.
fn overhead(frame: &Frame) -> Option<f64> {
    let parts = [frame.get(Measure::SoftirqCores), frame.get(Measure::ReceiveRatio)];
    let received = frame
        .get(Measure::RxPacketsPerSecond)
        .filter(|packets| *packets > 0.0)?;
    parts
        .iter()
        .any(Option::is_some)
        .then(|| parts.into_iter().flatten().sum::<f64>() * 1e9 / received)
}

/// How much more packet processing takes per packet as round trips grow.
pub(super) fn overhead_by_latency(frames: &[Frame]) -> Option<Estimate> {
    let mut design = Design::new(3);
    let mut alone = Design::new(2);
    let mut y = Vec::new();
    for frame in frames {
        if let (Some(rtt), Some(overhead), Some(players)) =
            (round_trip(frame), overhead(frame), players(frame))
        {
            design.push(&[rtt / 100.0, players]);
            alone.push(&[rtt / 100.0]);
            y.push(overhead);
        }
    }
    design.fit(&y).or_else(|| alone.fit(&y))?.estimate(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        analysis::{
            network::network_resource_correlation,
            simulate::{Made, Noise},
        },
        history::PlayerPoint,
    };

    fn point(region: &str, rtt_ms: f32, loss: f32) -> PlayerPoint {
        PlayerPoint {
            player: "p".into(),
            region: Some(region.into()),
            rtt_ms: Some(rtt_ms),
            jitter_ms: Some(2.0),
            loss_up_ratio: Some(loss),
            loss_down_ratio: None,
            rx_packets_per_second: Some(30.0),
            tx_packets_per_second: Some(20.0),
        }
    }

    /// Near players cost 10 ms of CPU per second each, far ones 15; far ones lose packets.
    fn fleet(seed: u64) -> Vec<Frame> {
        let mut noise = Noise::new(seed);
        let (mut near, mut far) = (8.0, 5.0);
        (0..600)
            .map(|second| {
                if noise.uniform() < 0.1 {
                    near = (near + f64::from(noise.uniform() > 0.5) * 2.0 - 1.0f64).clamp(1.0, 20.0);
                }
                if noise.uniform() < 0.1 {
                    far = (far + f64::from(noise.uniform() > 0.5) * 2.0 - 1.0f64).clamp(1.0, 20.0);
                }
                let mut players = vec![point("EU", 30.0, 0.0); near as usize];
                players.extend(vec![point("NA", 120.0, 0.02); far as usize]);
                let cpu = 0.05 + 0.010 * near + 0.015 * far + 0.002 * noise.normal();
                let mut frame = Frame::new(second * 1_000, 1.0)
                    .with(Measure::CpuCores, cpu)
                    .with(Measure::Players, near + far)
                    .with(Measure::RxPacketsPerSecond, 30.0 * (near + far))
                    .with(Measure::TxPacketsPerSecond, 20.0 * (near + far))
                    .with(Measure::SoftirqCores, 1e-9 * 2_000.0 * 30.0 * (near + far));
                frame.players = players.into();
                frame
            })
            .collect()
    }

    #[test]
    fn buckets_tell_players_their_cost_and_their_loss() {
        let report = network_resource_correlation(&fleet(3), Regions::Included, &Buckets::default());
        let of = |region: &str| {
            report
                .buckets
                .iter()
                .find(|row| row.region.as_deref() == Some(region))
                .unwrap()
        };
        let (near, far) = (of("EU"), of("NA"));
        assert_eq!((near.from_ms, near.to_ms), (0.0, Some(50.0)));
        assert_eq!((far.from_ms, far.to_ms), (100.0, Some(200.0)));
        for (row, cost) in [(near, 0.010), (far, 0.015)] {
            let told = row.cores_per_further_player.unwrap();
            assert!(
                (told.value / cost - 1.0).abs() < 0.1,
                "{told:?} instead of {cost}"
            );
            assert!((row.packets_per_player_second.unwrap().value - 50.0).abs() < 1e-3);
        }
        assert!((far.loss_up_ratio.unwrap().value - 0.02).abs() < 1e-6);
        assert_eq!(far.loss_down_ratio, None, "nobody measured it");
        let server = report.buckets.iter().find_map(|row| row.server.as_ref()).unwrap();
        assert!((server.overhead_ns_per_packet.unwrap().value - 2_000.0).abs() < 1.0);
        assert_eq!(report.round_trips_seconds, 600.0);
    }

    #[test]
    fn overhead_that_grows_with_round_trips_is_found() {
        let mut noise = Noise::new(4);
        let mut frames = Made::default().frames(&mut noise);
        for frame in &mut frames {
            let rtt = frame.get(Measure::RttP50Ms).unwrap();
            let ns = 1_500.0 + 4.0 * rtt + 50.0 * noise.normal();
            let cores = ns * 1e-9 * frame.get(Measure::RxPacketsPerSecond).unwrap();
            frame.set(Measure::SoftirqCores, Some(cores));
        }
        let told = overhead_by_latency(&frames).unwrap();
        assert!(
            (told.value - 400.0).abs() < 40.0 && told.excludes_zero(),
            "{told:?}"
        );
        assert_eq!(overhead_by_latency(&Made::default().frames(&mut noise)), None);
    }

    #[test]
    fn without_round_trips_there_are_no_buckets() {
        let frames = Made {
            rtt: false,
            ..Made::default()
        }
        .frames(&mut Noise::new(1));
        let report = network_resource_correlation(&frames, Regions::LeftOut, &Buckets::default());
        assert!(report.buckets.is_empty() && report.round_trips_seconds == 0.0);
    }

    #[test]
    fn bounds_must_rise() {
        assert_eq!(Buckets::new(vec![]), Err(BucketsError::Number(0)));
        assert_eq!(Buckets::new(vec![0.0, 100.0, 50.0]), Err(BucketsError::Order));
        assert_eq!(Buckets::new(vec![f64::NAN]), Err(BucketsError::Order));
        let buckets = Buckets::default();
        assert_eq!(
            [0.0, 49.9, 50.0, 9e9].map(|rtt| buckets.of(rtt)),
            [Some(0), Some(0), Some(1), Some(4)]
        );
        assert_eq!(Buckets::new(vec![20.0]).unwrap().of(10.0), None);
    }
}
