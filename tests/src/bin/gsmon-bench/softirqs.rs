//! The pair of programs that times NET_RX softirqs, beside an empty pair, by the kernel's own statistics.

use std::{net::UdpSocket, time::Duration};

use anyhow::Result;
use gsmon_agent::{
    config::{NetRxTime, StatsMode},
    kernel::{Kernel, KernelOptions},
};
use gsmon_tests::options;

use crate::Row;

const RUNS: usize = 5;
const DATAGRAMS: usize = 100_000;

/// Nanoseconds per softirq, entry and exit together. Over loopback nearly all of them are NET_RX, one per datagram.
pub fn run() -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (what, net_rx_time) in [
        ("softirq pair: one NET_RX in 16 timed", NetRxTime::Sampled),
        ("softirq pair: every NET_RX timed", NetRxTime::Every),
    ] {
        let mut kernel = Kernel::load(&KernelOptions {
            run_time: StatsMode::Always,
            net_rx_time,
            ..options()
        })?;
        kernel.attach_baseline("empty_softirq_entry", "softirq_entry")?;
        kernel.attach_baseline("empty_softirq_exit", "softirq_exit")?;
        let mut best = [f64::MAX; 2];
        for _ in 0..RUNS {
            let pairs = [
                ["softirq_entry", "softirq_exit"],
                ["empty_softirq_entry", "empty_softirq_exit"],
            ];
            let before = pairs.map(|pair| pair.map(|name| read(&kernel, name)));
            send()?;
            for ((pair, before), best) in pairs.iter().zip(before).zip(&mut best) {
                let mean: f64 = pair
                    .iter()
                    .zip(before)
                    .map(|(name, (runs, time))| {
                        let after = read(&kernel, name);
                        (after.1 - time).as_nanos() as f64 / (after.0 - runs).max(1) as f64
                    })
                    .sum();
                *best = best.min(mean);
            }
        }
        rows.push(Row::net(what, best[0], best[1], None, "ns"));
    }
    Ok(rows)
}

fn read(kernel: &Kernel, name: &str) -> (u64, Duration) {
    kernel
        .program_runs()
        .into_iter()
        .find(|run| run.program.program == name)
        .map_or((0, Duration::ZERO), |run| (run.runs, run.time))
}

fn send() -> Result<()> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    let target = socket.local_addr()?;
    for _ in 0..DATAGRAMS {
        socket.send_to(&[7; 64], target)?;
    }
    Ok(())
}
