//! Kernel programs through BPF_PROG_TEST_RUN and the kernel's run-time statistics; the drain.

use std::{
    io::{Read, Write},
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use gsmon_agent::{
    config::StatsMode,
    kernel::{Kernel, KernelOptions, LayoutChoice, LayoutChoices, ServerSlotId},
};
use gsmon_common::netcode::layouts::Format;
use gsmon_tests::{Bench, PORT, options, packet::Spec};

use crate::Row;

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
    let mut best = f64::MAX;
    for _ in 0..RUNS {
        best = best.min(kernel.test_run(program, packet, REPEAT)?.1.as_nanos() as f64);
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
    let before = best(kernel, "flow_cgroup_ingress", &game)?;
    let before_egress = best(kernel, "flow_cgroup_egress", &back)?;
    for format in [Format::Source, Format::Quake3, Format::Unreal5] {
        kernel.choose_layouts(server, &LayoutChoices::on(PORT, LayoutChoice::One(format.into())));
        for _ in 0..2 {
            kernel.test_run("flow_cgroup_ingress", &game, 1)?;
            kernel.drain();
        }
        // The same packet is made to be the next one before it is read: that is the bench's own cost.
        let prepared = best(kernel, "bench_netcode_prepared", &game)?;
        rows.push(Row::net(
            format!(
                "netcode: {} read, in order, acknowledged; over all counters",
                format.name()
            ),
            best(kernel, "bench_netcode_ingress", &game)?,
            prepared,
            Some(30.0),
            "ns",
        ));
        rows.push(Row::net(
            format!("netcode: {} stamped; over all counters", format.name()),
            best(kernel, "flow_cgroup_egress", &back)?,
            before_egress,
            Some(30.0),
            "ns",
        ));
    }
    rows.extend(teeworlds(kernel, server, [before, before_egress])?);
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

/// Datagrams of Teeworlds 0.7.5: an input, the timing of an input with an empty snapshot behind it, and the same compressed
/// with a whole one.
const TEEWORLDS: [&str; 3] = [
    "100a0123c342174de9f0b251d9c61affe1153700",
    "0004023dbbde0f000415990a1800040f980a02",
    "1004023dbbde0f3ddf34b9a99b6e4a939be782140f5aacffff7fcd56dc00",
];

fn teeworlds(kernel: &mut Kernel, server: ServerSlotId, before: [f64; 2]) -> Result<Vec<Row>> {
    let choice = LayoutChoice::One(Format::Teeworlds.into());
    kernel.choose_layouts(server, &LayoutChoices::on(PORT, choice));
    kernel.drain();
    let mut rows = Vec::new();
    for (hex, (program, what, baseline)) in TEEWORLDS.into_iter().zip([
        ("flow_cgroup_ingress", "input read", before[0]),
        ("flow_cgroup_egress", "snapshot stamped", before[1]),
        ("flow_cgroup_egress", "compressed snapshot stamped", before[1]),
    ]) {
        let payload: Vec<u8> = (0..hex.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&hex[at..at + 2], 16))
            .collect::<Result<_, _>>()?;
        let spec = Spec {
            payload: payload.len(),
            ..Spec::udp()
        };
        let spec = if program == "flow_cgroup_egress" {
            spec.back()
        } else {
            spec
        };
        let mut packet = spec.build();
        let start = packet.len() - payload.len();
        packet[start..].copy_from_slice(&payload);
        kernel.test_run(program, &packet, 1)?;
        kernel.drain();
        rows.push(Row::net(
            format!("netcode: teeworlds {what}; over all counters"),
            best(kernel, program, &packet)?,
            baseline,
            Some(30.0),
            "ns",
        ));
    }
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
