//! Kernel programs through BPF_PROG_TEST_RUN and the kernel's run-time statistics; the drain.

use std::{
    io::{Read, Write},
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use gsmon_agent::{
    config::StatsMode,
    kernel::{Kernel, KernelOptions},
};
use gsmon_tests::{Bench, PORT, options, packet::Spec};

use crate::{Row, netcode};

const REPEAT: u32 = 1_000_000;
const RUNS: usize = 5;
/// 8,192 remote addresses: the last 13 bits, in the byte order of the packet.
const MASK_8192: u32 = 0xff1f_0000;

fn no_statistics() -> KernelOptions {
    KernelOptions {
        run_time: StatsMode::Off,
        ..options()
    }
}

fn best(kernel: &mut Kernel, program: &'static str, packet: &[u8]) -> Result<f64> {
    best_of(kernel, program, packet, REPEAT, RUNS)
}

/// The shortest mean of some runs, nanoseconds per packet.
pub fn best_of(
    kernel: &mut Kernel,
    program: &'static str,
    packet: &[u8],
    repeat: u32,
    runs: usize,
) -> Result<f64> {
    let mut best = f64::MAX;
    for _ in 0..runs {
        best = best.min(kernel.test_run(program, packet, repeat)?.1.as_nanos() as f64);
    }
    Ok(best)
}

/// Nanoseconds per packet.
pub fn packets() -> Result<Vec<Row>> {
    let mut bench = Bench::new(&no_statistics())?;
    let game = Spec::udp().build();
    let back = Spec::udp().back().build();
    let other = Spec {
        server_port: PORT + 1,
        ..Spec::udp()
    }
    .build();
    let kernel = &mut bench.kernel;
    let empty = best(kernel, "empty_cgroup", &game)?;
    let empty_xdp = best(kernel, "empty_xdp", &game)?;
    let mut rows = vec![
        Row::net(
            "one clock read (xdp)",
            best(kernel, "clock_xdp", &game)?,
            empty_xdp,
            None,
            "ns",
        ),
        Row::net(
            "cgroup: not a game socket",
            best(kernel, "flow_cgroup_ingress", &other)?,
            empty,
            Some(15.0),
            "ns",
        ),
        Row::net(
            "xdp: not a game socket",
            best(kernel, "flow_xdp_ingress", &other)?,
            empty_xdp,
            Some(15.0),
            "ns",
        ),
        Row::net(
            "cgroup: candidate",
            best(kernel, "flow_cgroup_ingress", &game)?,
            empty,
            None,
            "ns",
        ),
    ];
    kernel.test_run("flow_cgroup_egress", &back, 1)?;
    rows.push(Row::net(
        "cgroup: one flow, hot tier",
        best(kernel, "flow_cgroup_ingress", &game)?,
        empty,
        Some(75.0),
        "ns",
    ));
    rows.push(Row::net(
        "xdp: one flow, hot tier",
        best(kernel, "flow_xdp_ingress", &game)?,
        empty_xdp,
        Some(75.0),
        "ns",
    ));
    for _ in 0..4 {
        kernel.test_run("flow_cgroup_ingress", &game, 1)?;
        kernel.test_run("flow_cgroup_egress", &back, 1)?;
        kernel.drain();
    }
    rows.push(Row::net(
        "cgroup: one flow, all counters",
        best(kernel, "flow_cgroup_ingress", &game)?,
        empty,
        Some(75.0),
        "ns",
    ));
    rows.push(Row::net(
        "cgroup egress: one flow, all counters",
        best(kernel, "flow_cgroup_egress", &back)?,
        empty,
        Some(75.0),
        "ns",
    ));
    rows.push(Row::net(
        "xdp: one flow, all counters",
        best(kernel, "flow_xdp_ingress", &game)?,
        empty_xdp,
        Some(75.0),
        "ns",
    ));
    let server = bench.server;
    let kernel = &mut bench.kernel;
    rows.extend(netcode::rows(kernel, server)?);
    drop(bench);
    rows.push(live()?);

    let mut bench = Bench::new(&KernelOptions {
        bench_flow_mask: MASK_8192,
        ..no_statistics()
    })?;
    let kernel = &mut bench.kernel;
    // A bare helper call stands for the random number that real packets do not need.
    let random = best(kernel, "random_cgroup", &game)?;
    for program in ["bench_flow_ingress", "bench_flow_egress", "bench_flow_ingress"] {
        let packet = if program == "bench_flow_egress" {
            &back
        } else {
            &game
        };
        kernel.test_run(program, packet, 300_000)?;
    }
    rows.push(Row::net(
        "cgroup: 8,192 random flows, hot tier",
        best(kernel, "bench_flow_ingress", &game)?,
        random,
        None,
        "ns",
    ));
    for _ in 0..4 {
        kernel.test_run("bench_flow_ingress", &game, 300_000)?;
        kernel.test_run("bench_flow_egress", &back, 300_000)?;
        kernel.drain();
    }
    rows.push(Row::net(
        "cgroup: 8,192 random flows, all counters",
        best(kernel, "bench_flow_ingress", &game)?,
        random,
        Some(120.0),
        "ns",
    ));
    Ok(rows)
}

/// Frames a second through the XDP program with all counters, on one core, and that each was counted.
fn live() -> Result<Row> {
    const FRAMES: u32 = 2_000_000;
    let mut bench = Bench::new(&no_statistics())?;
    let (game, back) = (Spec::udp().build(), Spec::udp().back().build());
    let kernel = &mut bench.kernel;
    for _ in 0..4 {
        kernel.test_run("flow_xdp_ingress", &game, 1)?;
        kernel.test_run("flow_cgroup_egress", &back, 1)?;
        kernel.drain();
    }
    let mut fastest = f64::MAX;
    for _ in 0..RUNS {
        fastest = fastest.min(
            kernel
                .live_frames("flow_xdp_ingress", &game, FRAMES)?
                .as_secs_f64(),
        );
        let counted = kernel.drain().servers.remove(&bench.server).unwrap_or_default();
        anyhow::ensure!(
            counted.flows.rx.packets == u64::from(FRAMES),
            "{} of {FRAMES} live frames counted",
            counted.flows.rx.packets
        );
    }
    Ok(Row::net(
        "xdp: live frames, thousands a second on one core, all counted",
        f64::from(FRAMES) / fastest / 1e3,
        0.0,
        None,
        "k/s",
    ))
}

/// Context switches of two threads that throw a byte back and forth.
fn ping_pong(rounds: usize) -> Result<()> {
    let (mut here, mut there) = std::os::unix::net::UnixStream::pair()?;
    let answering = thread::spawn(move || {
        let mut byte = [0u8; 1];
        while there.read_exact(&mut byte).is_ok() && there.write_all(&byte).is_ok() {}
    });
    let mut byte = [0u8; 1];
    for _ in 0..rounds {
        here.write_all(&byte)?;
        here.read_exact(&mut byte)?;
    }
    drop(here);
    let _ = answering.join();
    Ok(())
}

/// Nanoseconds per context switch, by the kernel's own statistics.
pub fn switches() -> Result<Vec<Row>> {
    let mut kernel = Kernel::load(&KernelOptions {
        run_time: StatsMode::Always,
        ..options()
    })?;
    kernel.attach_baseline("empty_sched_switch", "sched_switch")?;
    let server = kernel.add_server()?;
    let mean = |kernel: &mut Kernel, name: &str| -> Result<f64> {
        let read = |kernel: &Kernel| {
            let run = kernel
                .program_runs()
                .into_iter()
                .find(|run| run.program.program == name);
            run.map_or((0, Duration::ZERO), |run| (run.runs, run.time))
        };
        let mut best = f64::MAX;
        for _ in 0..RUNS {
            let before = read(kernel);
            ping_pong(50_000)?;
            let after = read(kernel);
            best = best.min((after.1 - before.1).as_nanos() as f64 / (after.0 - before.0).max(1) as f64);
        }
        Ok(best)
    };
    let empty = mean(&mut kernel, "empty_sched_switch")?;
    let untracked = mean(&mut kernel, "sched_switch")?;
    kernel.follow(std::process::id(), server, gsmon_agent::kernel::CountFrom::Now);
    let tracked = mean(&mut kernel, "sched_switch")?;
    // Drains give the busy thread its burst ring.
    for _ in 0..3 {
        ping_pong(1_000)?;
        kernel.drain();
    }
    let with_ring = mean(&mut kernel, "sched_switch")?;
    Ok(vec![
        Row::net("sched_switch: untracked", untracked, empty, Some(15.0), "ns"),
        Row::net("sched_switch: tracked", tracked, empty, Some(50.0), "ns"),
        Row::net(
            "sched_switch: tracked, bursts kept (main thread only)",
            with_ring,
            empty,
            Some(50.0),
            "ns",
        ),
    ])
}

/// Milliseconds per drain.
pub fn drain() -> Result<Vec<Row>> {
    let mut kernel = Kernel::load(&no_statistics())?;
    let server = kernel.add_server()?;
    let time = |kernel: &mut Kernel| {
        let mut best = f64::MAX;
        for _ in 0..RUNS {
            let start = Instant::now();
            kernel.drain();
            best = best.min(start.elapsed().as_secs_f64() * 1e3);
        }
        best
    };
    let empty = time(&mut kernel);
    kernel.fill_for_bench(server, 65_536)?;
    let moved = kernel
        .drain()
        .servers
        .remove(&server)
        .map_or(0, |delta| delta.flows.live);
    let mut moving = f64::MAX;
    for _ in 0..RUNS {
        kernel.move_for_bench();
        let start = Instant::now();
        kernel.drain();
        moving = moving.min(start.elapsed().as_secs_f64() * 1e3);
    }
    Ok(vec![
        Row::net(
            format!("drain: {moved} live flows, all moved; baseline empty"),
            moving,
            empty,
            Some(5.0),
            "ms",
        ),
        Row::net(
            "drain: 65,536 live flows, idle; baseline empty tables",
            time(&mut kernel),
            empty,
            Some(5.0),
            "ms",
        ),
    ])
}
