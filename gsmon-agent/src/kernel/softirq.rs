//! Reading what the softirq programs count: runs of NET_RX per CPU, and their time, extrapolated where only one in so
//! many is timed.

use gsmon_common::softirq::NetRx;

use super::{
    KernelError,
    object::{KernelPerCpu, Object},
};
use crate::config::NetRxTime;

/// [`NetRx`] for aya's maps.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct NetRxPod(NetRx);
// SAFETY: `repr(C)`, four u64, no padding.
unsafe impl aya::Pod for NetRxPod {}

/// NET_RX softirqs of one CPU since the agent began to count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetRxCpu {
    /// Runs.
    pub runs: u64,
    /// Those of them that were timed.
    pub timed_runs: u64,
    /// Wall time of all of them; from the timed ones where not all were.
    pub time_ns: u64,
}

/// The table and what is known of each CPU.
pub struct Softirqs {
    table: KernelPerCpu<NetRxPod>,
    mode: NetRxTime,
    cpus: Vec<Cpu>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Cpu {
    before: NetRx,
    total: NetRxCpu,
    /// Runs that no timed one has stood for yet.
    waiting: u64,
}

impl Softirqs {
    /// Takes the table of `object`.
    pub fn new(object: &mut Object) -> Result<Self, KernelError> {
        Ok(Self {
            table: object.take("SOFTIRQS")?,
            mode: object.options.net_rx_time,
            cpus: Vec::new(),
        })
    }

    /// Totals of all CPUs; `None` where the kernel refuses to say.
    pub fn read(&mut self) -> Option<Vec<NetRxCpu>> {
        let values = self.table.get(&0, 0).ok()?;
        self.cpus.resize_with(values.len(), Cpu::default);
        for (cpu, value) in self.cpus.iter_mut().zip(values.iter()) {
            cpu.add(value.0, self.mode);
        }
        Some(self.cpus.iter().map(|cpu| cpu.total).collect())
    }
}

impl Cpu {
    fn add(&mut self, now: NetRx, mode: NetRxTime) {
        let runs = now.runs.wrapping_sub(self.before.runs);
        let timed_runs = now.timed_runs.wrapping_sub(self.before.timed_runs);
        let timed_ns = now.timed_ns.wrapping_sub(self.before.timed_ns);
        self.before = now;
        self.total.runs += runs;
        self.total.timed_runs += timed_runs;
        self.waiting += runs;
        if timed_runs == 0 {
            return;
        }
        // Where every run is timed there is nothing to extrapolate, and one may be under way.
        self.total.time_ns += match mode {
            NetRxTime::Every => timed_ns,
            NetRxTime::Sampled | NetRxTime::Off => {
                (u128::from(timed_ns) * u128::from(self.waiting) / u128::from(timed_runs)) as u64
            }
        };
        self.waiting = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(runs: u64, timed_runs: u64, timed_ns: u64) -> NetRx {
        NetRx {
            runs,
            timed_runs,
            timed_ns,
            start_ns: 0,
        }
    }

    #[test]
    fn what_is_timed_stands_for_what_is_not() {
        let mut cpu = Cpu::default();
        cpu.add(at(32, 2, 2_000), NetRxTime::Sampled);
        assert_eq!(cpu.total.time_ns, 32_000);
        // Too few to be timed: they wait for one that is.
        cpu.add(at(40, 2, 2_000), NetRxTime::Sampled);
        assert_eq!(cpu.total.time_ns, 32_000);
        cpu.add(at(48, 3, 3_500), NetRxTime::Sampled);
        assert_eq!(cpu.total.time_ns, 32_000 + 16 * 1_500);
        assert_eq!((cpu.total.runs, cpu.total.timed_runs), (48, 3));
    }

    #[test]
    fn where_all_are_timed_the_sum_is_theirs() {
        let mut cpu = Cpu::default();
        cpu.add(at(10, 9, 900), NetRxTime::Every);
        cpu.add(at(12, 12, 1_300), NetRxTime::Every);
        assert_eq!((cpu.total.time_ns, cpu.total.timed_runs), (1_300, 12));
    }
}
