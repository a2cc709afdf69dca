//! CPU time that the hypervisor gave to other machines, from /proc/stat.
//!
//! Not here: which server suffered from it (analysis).

use std::fs;

/// Remembers the counters of the last reading.
#[derive(Debug, Default)]
pub struct StealMeter {
    last: Option<(u64, u64)>,
}

impl StealMeter {
    /// Stolen time over all CPU time since the last reading, 0 to 1; `None` at the first one, and where the kernel does not
    /// say.
    pub fn read(&mut self) -> Option<f64> {
        self.take(&fs::read_to_string("/proc/stat").ok()?)
    }

    fn take(&mut self, text: &str) -> Option<f64> {
        let now = counters(text)?;
        let (stolen, all) = self.last.replace(now)?;
        let passed = now.1.checked_sub(all).filter(|passed| *passed > 0)?;
        // The counter may fall by a little when a machine is moved.
        Some((now.0.saturating_sub(stolen) as f64 / passed as f64).min(1.0))
    }
}

/// Steal, and everything, in clock ticks. Guest time is part of user time already.
fn counters(text: &str) -> Option<(u64, u64)> {
    let line = text.lines().find(|line| line.starts_with("cpu "))?;
    let ticks: Vec<u64> = line
        .split_ascii_whitespace()
        .skip(1)
        .take(8)
        .map_while(|word| word.parse().ok())
        .collect();
    let all = ticks
        .iter()
        .try_fold(0u64, |sum, ticks| sum.checked_add(*ticks))?;
    Some((*ticks.get(7)?, all))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_share_is_of_the_time_between_two_readings() {
        let mut meter = StealMeter::default();
        let text = |steal: u64, idle: u64| format!("cpu  100 0 50 {idle} 5 0 5 {steal} 30 0\ncpu0 1 2 3\n");
        assert_eq!(meter.take(&text(10, 1_000)), None);
        assert_eq!(meter.take(&text(20, 1_090)), Some(0.1));
        assert_eq!(meter.take(&text(20, 1_090)), None, "no time has passed");
        assert_eq!(meter.take(&text(15, 1_190)), Some(0.0), "it fell");
        assert_eq!(meter.take("cpu 1 2 3\n"), None, "an old kernel");
    }

    #[test]
    fn this_machine_says_it() {
        let mut meter = StealMeter::default();
        let _ = meter.read();
        assert!(meter.last.is_some());
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in "(cpu )?[0-9 a-z\n]{0,80}") {
            let mut meter = StealMeter::default();
            for text in [&text, "cpu 1 2 3 4 5 6 7 8\n", &text] {
                if let Some(share) = meter.take(text) {
                    prop_assert!((0.0..=1.0).contains(&share));
                }
            }
        }
    }
}
