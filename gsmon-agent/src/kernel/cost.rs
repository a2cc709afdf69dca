//! What the kernel side costs: run count and run time of gsmon's own programs, kernel memory of its maps.
//!
//! Run-time statistics cost two clock reads per run of every BPF program on the host, so they are sampled: on for about
//! one second in sixty, through a `BPF_ENABLE_STATS` fd (5.8) that ends with the process.

use std::{
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use aya::{
    Ebpf,
    sys::{Stats, enable_stats},
};

use super::attach::Attached;
use crate::config::StatsMode;

/// Length of the cycle and of its sampled part.
const CYCLE: Duration = Duration::from_secs(60);
const SAMPLE: Duration = Duration::from_secs(1);

/// Runs and run time of one program while statistics were on.
#[derive(Clone, Debug, PartialEq)]
pub struct ProgramRun {
    /// Which.
    pub program: Attached,
    /// Runs.
    pub runs: u64,
    /// Run time.
    pub time: Duration,
}

/// Size of one map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapSize {
    /// Name in the object.
    pub name: String,
    /// Entries.
    pub capacity: u64,
    /// Kernel memory (`memlock` of the map's fdinfo).
    pub bytes: u64,
}

/// Switches statistics on and off.
pub struct RunTimeSampler {
    mode: StatsMode,
    started: Instant,
    enabled: Option<OwnedFd>,
}

impl RunTimeSampler {
    /// Starts with a sample, so that the first minute has figures.
    pub fn new(mode: StatsMode) -> Self {
        let mut sampler = Self {
            mode,
            started: Instant::now(),
            enabled: None,
        };
        sampler.tick(sampler.started);
        sampler
    }

    /// Call once per interval.
    pub fn tick(&mut self, now: Instant) {
        let phase =
            Duration::from_nanos((now.duration_since(self.started).as_nanos() % CYCLE.as_nanos()) as u64);
        let wanted = match self.mode {
            StatsMode::Always => true,
            StatsMode::Off => false,
            StatsMode::Sampled => phase < SAMPLE,
        };
        match (wanted, self.enabled.is_some()) {
            (true, false) => match enable_stats(Stats::RunTime) {
                Ok(fd) => self.enabled = Some(fd),
                Err(error) => {
                    tracing::warn!(%error, "run-time statistics are not available");
                    self.mode = StatsMode::Off;
                }
            },
            (false, true) => self.enabled = None,
            _ => {}
        }
    }

    /// Changes the mode after a reload.
    pub fn set_mode(&mut self, mode: StatsMode) {
        self.mode = mode;
    }
}

/// Reads the kernel's statistics of the attached programs.
pub fn program_runs(ebpf: &Ebpf, attached: &[Attached]) -> Vec<ProgramRun> {
    let mut seen = std::collections::HashSet::new();
    attached
        .iter()
        .filter(|attached| seen.insert(attached.program))
        .filter_map(|attached| {
            let info = ebpf.program(attached.program)?.info().ok()?;
            Some(ProgramRun {
                program: attached.clone(),
                runs: info.run_count(),
                time: info.run_time(),
            })
        })
        .collect()
}

/// Reads size and kernel memory of a map from its fdinfo.
pub fn map_size(name: &str, capacity: u64, fd: i32) -> MapSize {
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).unwrap_or_default();
    let bytes = text
        .lines()
        .find_map(|line| line.strip_prefix("memlock:"))
        .and_then(|value| value.trim().parse().ok())
        .unwrap_or(0);
    MapSize {
        name: name.to_owned(),
        capacity,
        bytes,
    }
}
