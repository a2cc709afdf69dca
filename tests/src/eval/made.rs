//! Made-up servers: players who come and go, noise that remembers, outliers, a slow start, phases, a restart.

use gsmon_agent::{
    analysis::scaling::Shape,
    games::event::Phase,
    history::{Frame, Measure},
};

/// A small random generator whose stream is the same everywhere (splitmix64).
pub struct Noise(u64);

impl Noise {
    /// Seeds beside each other give streams that have nothing in common.
    pub fn new(seed: u64) -> Self {
        let mut mixed = Self(seed ^ 0x5851_f42d_4c95_7f2d);
        Self(mixed.bits() ^ mixed.bits().rotate_left(29))
    }

    /// 64 random bits.
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

    /// Normal, mean 0, standard deviation 1.
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.uniform().max(1e-300).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }
}

/// What one server costs.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// Shape.
    pub shape: Shape,
    /// Up to three numbers and a bend.
    pub numbers: [f64; 4],
}

impl Cost {
    /// Cores of one of each shape.
    pub fn usual(shape: Shape) -> Self {
        let numbers = match shape {
            Shape::Constant => [0.3, 0.0, 0.0, 0.0],
            Shape::Linear => [0.1, 0.01, 0.0, 0.0],
            Shape::Saturating => [0.1, 0.6, 0.0, 22.0],
            Shape::Quadratic => [0.1, 0.004, 0.000_15, 0.0],
            Shape::Piecewise => [0.1, 0.005, 0.015, 32.0],
        };
        Self { shape, numbers }
    }

    /// Cost at so many players.
    pub fn at(&self, players: f64) -> f64 {
        let [a, b, c, bend] = self.numbers;
        match self.shape {
            Shape::Constant => a,
            Shape::Linear => a + b * players,
            Shape::Saturating => a + b * (1.0 - (-players / bend).exp()),
            Shape::Quadratic => a + b * players + c * players * players,
            Shape::Piecewise => a + b * players + c * (players - bend).max(0.0),
        }
    }
}

/// How a server is made up.
#[derive(Clone, Copy, Debug)]
pub struct Made {
    /// Frames.
    pub frames: usize,
    /// Length of one.
    pub seconds: f64,
    /// Most players.
    pub most: f64,
    /// What they cost, in cores.
    pub cost: Cost,
    /// Tick time per core, ms.
    pub tick_ms_per_core: f64,
    /// Ticks per second.
    pub tick_hz: f64,
    /// Share of frames that are far off.
    pub outliers: f64,
    /// Noise relative to the cost: what remembers, and what does not.
    pub noise: (f64, f64),
    /// How much of the remembering noise remains after a frame.
    pub memory: f64,
}

impl Made {
    /// Four hours of a server.
    pub fn usual(cost: Cost) -> Self {
        Self {
            frames: 2_880,
            seconds: 5.0,
            most: 60.0,
            cost,
            tick_ms_per_core: 45.0,
            tick_hz: 20.0,
            outliers: 0.01,
            noise: (0.05, 0.03),
            memory: 0.8,
        }
    }

    /// Its frames.
    pub fn frames(&self, noise: &mut Noise) -> Vec<Frame> {
        let mut frames = Vec::with_capacity(self.frames);
        let mut players = (self.most * (0.2 + 0.5 * noise.uniform())).round();
        // How popular it is wanders slowly.
        let mut wanted = players;
        let mut slow = noise.normal();
        let mut tick_slow = noise.normal();
        let restart = (noise.uniform() < 0.3)
            .then(|| self.frames / 3 + (noise.uniform() * self.frames as f64 / 3.0) as usize);
        let (mut age, mut lobby) = (0.0, 0usize);
        for index in 0..self.frames {
            let anew = index == 0 || restart == Some(index);
            if anew {
                age = 0.0;
            }
            age += self.seconds;
            if noise.uniform() < self.seconds / 400.0 {
                wanted = self.most * (0.05 + 0.95 * noise.uniform());
            }
            let moves = (0.02 * self.seconds * (wanted - players)
                + 0.25 * self.seconds.sqrt() * noise.normal())
            .round();
            players = (players + moves).clamp(0.0, self.most);
            if lobby == 0 && noise.uniform() < self.seconds / 600.0 {
                lobby = (60.0 / self.seconds) as usize;
            }
            let in_lobby = lobby > 0;
            lobby = lobby.saturating_sub(1);
            let step = |slow: &mut f64, noise: &mut Noise| {
                *slow = self.memory * *slow + (1.0 - self.memory * self.memory).sqrt() * noise.normal();
                *slow
            };
            let own = 1.0 + self.noise.0 * step(&mut slow, noise) + self.noise.1 * noise.normal();
            let warm = 1.0 + 0.8 * (-age / 30.0).exp();
            let outlier = if noise.uniform() < self.outliers {
                1.5 + 2.0 * noise.uniform()
            } else {
                1.0
            };
            let cost = self.cost.at(players) * if in_lobby { 0.6 } else { 1.0 };
            let tick = cost
                * self.tick_ms_per_core
                * (1.0 + self.noise.0 * step(&mut tick_slow, noise) + self.noise.1 * noise.normal());
            let mut frame = Frame::new(
                1_700_000_000_000 + (index as f64 * self.seconds * 1e3) as i64,
                self.seconds,
            )
            .with(Measure::Players, players)
            .with(Measure::CpuCores, cost * own * warm * outlier)
            .with(Measure::TickP50Ms, tick * warm * outlier)
            .with(Measure::TickRateHz, self.tick_hz.min(1e3 / tick.max(1e-3)))
            .with(Measure::TickTargetHz, self.tick_hz);
            frame.begins_anew = anew;
            frame.phase = Some(if in_lobby { Phase::Lobby } else { Phase::Active });
            frames.push(frame);
        }
        frames
    }
}
