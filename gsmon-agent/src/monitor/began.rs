//! When the agent began to look: processes that start later count from their start, however late they are found.

use crate::{host::Process, kernel::CountFrom};

/// That moment.
#[derive(Clone, Copy, Debug)]
pub struct Beginning {
    /// Clock ticks since boot, as in `/proc/PID/stat`.
    pub ticks: u64,
}

impl Beginning {
    /// Now.
    pub fn now() -> Self {
        let up = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME)
            .map(std::time::Duration::from)
            .unwrap_or_default();
        Self {
            ticks: (up.as_secs_f64() * procfs::ticks_per_second() as f64) as u64,
        }
    }

    /// From when on a process counts.
    pub fn count_from(self, process: Option<&Process>) -> CountFrom {
        match process {
            Some(process) if process.start_ticks >= self.ticks => CountFrom::Start,
            _ => CountFrom::Now,
        }
    }
}
