//! How busy the host is, and CPU time that the hypervisor gave to other machines, from /proc/stat.
//!
//! Not here: which server suffered from it (analysis).

use std::fs;

/// CPU of the host between two readings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HostCpu {
    /// Stolen time over all CPU time, 0 to 1.
    pub steal_ratio: f64,
    /// CPU used by anything, in cores.
    pub busy_cores: f64,
}

/// Remembers the counters of the last reading.
#[derive(Debug, Default)]
pub struct HostCpuMeter {
    last: Option<Counters>,
}

/// Clock ticks since boot, of all CPUs together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Counters {
    stolen: u64,
    idle: u64,
    all: u64,
    cpus: u64,
}

impl HostCpuMeter {
    /// What happened since the last reading; `None` at the first one, and where the kernel does not say.
    pub fn read(&mut self) -> Option<HostCpu> {
        self.take(&fs::read_to_string("/proc/stat").ok()?)
    }

    fn take(&mut self, text: &str) -> Option<HostCpu> {
        let now = counters(text)?;
        let before = self.last.replace(now)?;
        let passed = now.all.checked_sub(before.all).filter(|passed| *passed > 0)? as f64;
        // Steal may fall by a little when a machine is moved, and idle time when a CPU goes.
        let stolen = now.stolen.saturating_sub(before.stolen) as f64;
        let idle = now.idle.saturating_sub(before.idle) as f64;
        Some(HostCpu {
            steal_ratio: (stolen / passed).min(1.0),
            busy_cores: ((passed - idle - stolen) / passed).clamp(0.0, 1.0) * now.cpus as f64,
        })
    }
}

/// Guest time is part of user time already.
fn counters(text: &str) -> Option<Counters> {
    let line = text.lines().find(|line| line.starts_with("cpu "))?;
    let ticks: Vec<u64> = line
        .split_ascii_whitespace()
        .skip(1)
        .take(8)
        .map_while(|word| word.parse().ok())
        .collect();
    let of_one = |line: &&str| {
        line.strip_prefix("cpu")
            .is_some_and(|rest| rest.starts_with(|sign: char| sign.is_ascii_digit()))
    };
    Some(Counters {
        stolen: *ticks.get(7)?,
        idle: ticks[3].checked_add(ticks[4])?,
        all: ticks
            .iter()
            .try_fold(0u64, |sum, ticks| sum.checked_add(*ticks))?,
        cpus: text.lines().filter(of_one).count() as u64,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_share_is_of_the_time_between_two_readings() {
        let mut meter = HostCpuMeter::default();
        let text = |user: u64, idle: u64, steal: u64| {
            format!("cpu  {user} 0 50 {idle} 5 0 5 {steal} 30 0\ncpu0 1 2 3\ncpu1 1 2 3\nintr 1\n")
        };
        assert_eq!(meter.take(&text(100, 1_000, 10)), None);
        let told = meter.take(&text(150, 1_040, 20)).unwrap();
        assert_eq!((told.steal_ratio, told.busy_cores), (0.1, 1.0));
        assert_eq!(meter.take(&text(150, 1_040, 20)), None, "no time has passed");
        let fallen = meter.take(&text(150, 1_140, 15)).unwrap();
        assert_eq!((fallen.steal_ratio, fallen.busy_cores), (0.0, 0.0));
        assert_eq!(meter.take("cpu 1 2 3\n"), None, "an old kernel");
    }

    #[test]
    fn this_machine_says_it() {
        let mut meter = HostCpuMeter::default();
        let _ = meter.read();
        assert!(meter.last.is_some());
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in "(cpu )?[0-9 a-z\n]{0,80}") {
            let mut meter = HostCpuMeter::default();
            for text in [&text, "cpu 1 2 3 4 5 6 7 8\n", &text] {
                if let Some(told) = meter.take(text) {
                    prop_assert!((0.0..=1.0).contains(&told.steal_ratio) && told.busy_cores >= 0.0);
                }
            }
        }
    }
}
