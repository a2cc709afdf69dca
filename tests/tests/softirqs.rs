//! NET_RX softirqs, held against the kernel's own count in /proc/softirqs.

use std::net::UdpSocket;

use gsmon_agent::{
    config::NetRxTime,
    kernel::{Kernel, KernelOptions, NetRxCpu, Tracepoints},
};
use gsmon_common::softirq::SAMPLE_EVERY;
use gsmon_tests::{options, root_or_skip};

/// Runs of NET_RX on all CPUs since boot.
fn kernels_own_runs() -> u64 {
    let text = std::fs::read_to_string("/proc/softirqs").unwrap();
    let line = text
        .lines()
        .find(|line| line.trim_start().starts_with("NET_RX:"))
        .unwrap();
    let counts = line.split_ascii_whitespace().skip(1);
    counts.map(|count| count.parse::<u64>().unwrap()).sum()
}

fn send(datagrams: usize) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for _ in 0..datagrams {
        socket.send_to(&[1; 32], socket.local_addr().unwrap()).unwrap();
    }
}

fn sum(cpus: &[NetRxCpu], of: fn(&NetRxCpu) -> u64) -> u64 {
    cpus.iter().map(of).sum()
}

fn load(net_rx_time: NetRxTime, tracepoints: Tracepoints) -> Kernel {
    Kernel::load(&KernelOptions {
        net_rx_time,
        tracepoints,
        ..options()
    })
    .unwrap()
}

fn net_rx(kernel: &mut Kernel) -> Vec<NetRxCpu> {
    kernel.drain().net_rx.unwrap()
}

#[test]
fn every_run_is_counted_and_every_one_or_one_in_so_many_timed() {
    if !root_or_skip() {
        return;
    }
    for (mode, tracepoints) in [
        (NetRxTime::Every, Tracepoints::Best),
        (NetRxTime::Sampled, Tracepoints::Best),
        (NetRxTime::Every, Tracepoints::Raw),
    ] {
        let mut kernel = load(mode, tracepoints);
        let cpus = net_rx(&mut kernel).len() as u64;
        // The kernel counts a run right before the program does; others use the network too.
        let outer = kernels_own_runs();
        let begin = net_rx(&mut kernel);
        let inner = kernels_own_runs();
        send(20_000);
        let inner = kernels_own_runs() - inner;
        let end = net_rx(&mut kernel);
        let outer = kernels_own_runs() - outer;
        let runs = sum(&end, |cpu| cpu.runs) - sum(&begin, |cpu| cpu.runs);
        assert!(
            inner <= runs && runs <= outer && inner > 1_000,
            "{mode:?} {tracepoints:?}: {inner} <= {runs} <= {outer}"
        );
        let timed = sum(&end, |cpu| cpu.timed_runs) - sum(&begin, |cpu| cpu.timed_runs);
        let every = match mode {
            NetRxTime::Every => 1,
            _ => u64::from(SAMPLE_EVERY),
        };
        // One may be under way on each CPU, and each CPU counts its sixteen for itself.
        assert!(
            timed.abs_diff(runs / every) <= 2 * cpus,
            "{timed} of {runs} timed"
        );
        let time_ns = sum(&end, |cpu| cpu.time_ns) - sum(&begin, |cpu| cpu.time_ns);
        assert!(time_ns > 0);
        let hook = kernel
            .sources()
            .iter()
            .filter(|source| source.name == "net_rx_softirq");
        let hooks: Vec<&str> = hook.map(|source| source.hook.as_str()).collect();
        let kind = match tracepoints {
            Tracepoints::Best => "tp_btf",
            Tracepoints::Raw => "raw_tp",
        };
        assert_eq!(
            hooks,
            [format!("{kind}/softirq_entry"), format!("{kind}/softirq_exit")]
        );
    }
}

#[test]
fn turned_off_nothing_is_attached_and_the_reason_is_named() {
    if !root_or_skip() {
        return;
    }
    let mut kernel = load(NetRxTime::Off, Tracepoints::Best);
    assert_eq!(kernel.drain().net_rx, None);
    let source = kernel
        .sources()
        .iter()
        .find(|source| source.name == "net_rx_softirq")
        .unwrap();
    assert_eq!(source.hook, "none");
    assert!(source.reason.contains("agent.net_rx_time"), "{}", source.reason);
    assert!(
        kernel
            .program_runs()
            .iter()
            .all(|run| !run.program.program.starts_with("softirq"))
    );
}
