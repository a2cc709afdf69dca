//! Made-up servers for the tests of this room: slow noise, players who come and go, and causes that are planted.

use crate::{
    games::event::Phase,
    history::{Frame, Measure},
};

/// A small random generator whose stream is the same everywhere (splitmix64).
pub struct Noise(u64);

impl Noise {
    pub fn new(seed: u64) -> Self {
        // Mixed first: seeds beside each other must not give one stream, shifted.
        let mut mixed = Self(seed ^ 0x1234_5678_9abc_def1);
        Self(mixed.bits() ^ mixed.bits().rotate_left(32))
    }

    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// 0 to 1.
    pub fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.uniform().max(1e-300).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    pub fn poisson(&mut self, mean: f64) -> u64 {
        let limit = (-mean).exp();
        let (mut count, mut product) = (0, self.uniform());
        while product > limit && count < 10_000 {
            count += 1;
            product *= self.uniform();
        }
        count
    }
}

/// Noise of which each value remembers the one before; its standard deviation is 1.
pub struct Slow {
    at: f64,
    memory: f64,
}

impl Slow {
    pub fn new(memory: f64, noise: &mut Noise) -> Self {
        Self {
            at: noise.normal(),
            memory,
        }
    }

    pub fn next(&mut self, noise: &mut Noise) -> f64 {
        self.at = self.memory * self.at + (1.0 - self.memory * self.memory).sqrt() * noise.normal();
        self.at
    }
}

/// A server that is made up.
#[derive(Clone, Copy, Debug)]
pub struct Made {
    pub frames: usize,
    pub first_unix_ms: i64,
    /// Cores per player.
    pub cpu_per_player: f64,
    /// Factor on bytes to clients.
    pub tx_bytes: f64,
    /// Factor on packets to clients.
    pub tx_packets: f64,
    /// Cores per player and 100 ms of RTT.
    pub lag: f64,
    /// Is what players' networks do measured?
    pub rtt: bool,
    /// Changes of phase per frame.
    pub phase_changes: f64,
}

impl Default for Made {
    fn default() -> Self {
        Self {
            frames: 900,
            first_unix_ms: 1_700_000_000_000,
            cpu_per_player: 0.01,
            tx_bytes: 1.0,
            tx_packets: 1.0,
            lag: 0.0,
            rtt: true,
            phase_changes: 1.0 / 400.0,
        }
    }
}

impl Made {
    /// Frames of one second each.
    pub fn frames(&self, noise: &mut Noise) -> Vec<Frame> {
        let mut slow: Vec<Slow> = [0.7, 0.7, 0.8, 0.95, 0.9, 0.6, 0.6, 0.9, 0.5, 0.8, 0.8]
            .iter()
            .map(|memory| Slow::new(*memory, noise))
            .collect();
        let mut players = 20.0f64;
        let mut phase = Phase::Active;
        let mut frames = Vec::with_capacity(self.frames);
        for index in 0..self.frames {
            let joins = noise.poisson(0.03 * (30.0 - players).max(0.0) / 10.0) as f64;
            let leaves = (noise.poisson(0.03 * players / 20.0) as f64)
                .min(players - 2.0)
                .max(0.0);
            players += joins - leaves;
            let changed = noise.uniform() < self.phase_changes;
            if changed {
                phase = if phase == Phase::Active {
                    Phase::Lobby
                } else {
                    Phase::Active
                };
            }
            let busy = if phase == Phase::Active { 1.0 } else { 0.8 };
            let mut next = |which: usize| slow[which].next(noise);
            let rtt = 60.0 + 12.0 * next(3);
            let own = next(0);
            let load = busy * players * (self.cpu_per_player + self.lag * rtt / 100.0);
            let cpu = (0.05 + load) * (1.0 + 0.06 * own);
            let tick = (1.0 + 40.0 * (0.05 + load) / 2.0) * (1.0 + 0.04 * own + 0.03 * next(1));
            let rx = 30.0 * players * (1.0 + 0.05 * next(2));
            let wire = next(4);
            let tx = 20.0 * players * busy * self.tx_packets * (1.0 + 0.03 * wire);
            let tx_bytes =
                20.0 * players * busy * 140.0 * self.tx_bytes * (1.0 + 0.05 * wire + 0.04 * next(5));
            let wait = (0.01 * (1.0 + 0.4 * next(6))).max(0.0);
            let others = (1.5 + 0.25 * next(7)).max(0.0);
            let processes = (0.5 + 0.15 * next(10)).max(0.0);
            let steal = (0.004 * (1.0 + 0.7 * next(8))).max(0.0);
            let jitter = (4.0 + 0.8 * next(9)).max(0.1);
            let mut frame = Frame::new(self.first_unix_ms + 1_000 * index as i64, 1.0);
            frame.begins_anew = index == 0;
            frame.phase = Some(phase);
            let lost = |noise: &mut Noise, sent: f64| noise.poisson(sent * 0.002) as f64 / sent.max(1.0);
            for (measure, value) in [
                (Measure::CpuCores, cpu),
                (Measure::TickRateHz, 20.0),
                (Measure::TickP50Ms, tick),
                (Measure::TickP99Ms, tick * (1.15 + 0.03 * noise.normal().abs())),
                (Measure::RxPacketsPerSecond, rx),
                (Measure::RxBytesPerSecond, rx * 80.0),
                (Measure::TxPacketsPerSecond, tx),
                (Measure::TxBytesPerSecond, tx_bytes),
                (Measure::Players, players),
                (Measure::Joins, joins),
                (Measure::Leaves, leaves),
                (Measure::PhaseChanges, f64::from(u8::from(changed))),
                (Measure::Actions, noise.poisson(0.15 * players) as f64),
                (Measure::OtherServersCpuCores, others),
                (Measure::OtherProcessesCpuCores, processes),
                (Measure::StealRatio, steal),
                (Measure::RunQueueWaitRatio, wait),
                (Measure::MajorFaultsPerSecond, noise.poisson(0.02) as f64),
            ] {
                frame.set(measure, Some(value));
            }
            if self.rtt {
                frame.set(Measure::RttP50Ms, Some(rtt));
                frame.set(Measure::RttMeanMs, Some(rtt * 1.1));
                frame.set(Measure::JitterMs, Some(jitter));
                frame.set(Measure::LossUpRatio, Some(lost(noise, rx)));
                frame.set(Measure::LossDownRatio, Some(lost(noise, tx)));
                frame.set(Measure::UdpDropsPerSecond, Some(noise.poisson(0.01) as f64));
            }
            frames.push(frame);
        }
        frames
    }
}

/// Adds to a figure.
pub fn add(frame: &mut Frame, measure: Measure, by: f64) {
    let now = frame.get(measure).unwrap_or(0.0);
    frame.set(measure, Some(now + by));
}

/// Multiplies a figure.
pub fn multiply(frame: &mut Frame, measure: Measure, by: f64) {
    let now = frame.get(measure).unwrap_or(0.0);
    frame.set(measure, Some(now * by));
}
