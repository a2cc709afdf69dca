//! What a function probe costs the thread that calls the function, beside empty programs at the same place, and how much
//! longer a call looks than it is.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use anyhow::Result;
use gsmon_agent::{
    config::{ProbeMeasure, ProbePlace, ProbeSettings, StatsMode},
    demo::lag::compensate_lag,
    kernel::{EmptyProbe, Kernel, KernelOptions, ServerSlotId},
};
use gsmon_tests::options;

use crate::Row;

const CALLS: u32 = 20_000;
const RUNS: usize = 7;
/// Calls of a known length: so many, this long, after this pause.
const LONG_CALLS: u32 = 200;
const WORK: Duration = Duration::from_micros(100);

/// Its first instruction is one that the kernel lets the thread step over, ...
#[inline(never)]
fn stepped(n: u32) -> u32 {
    n.wrapping_mul(3)
}

/// ... and its first is a push, which the kernel carries out.
#[inline(never)]
fn emulated(n: u32) -> u32 {
    stepped(black_box(n)).wrapping_add(n)
}

/// Nanoseconds per call, the fastest run.
fn per_call(function: fn(u32) -> u32) -> f64 {
    let function = black_box(function);
    (0..RUNS)
        .map(|_| {
            let start = Instant::now();
            for n in 0..CALLS {
                black_box(function(black_box(n)));
            }
            start.elapsed().as_nanos() as f64 / f64::from(CALLS)
        })
        .fold(f64::MAX, f64::min)
}

fn probe(function: &str, measure: ProbeMeasure) -> ProbeSettings {
    ProbeSettings::new("bench", ProbePlace::Symbol(function.into()))
        .measure(measure)
        .max_calls_per_second(1_000_000)
}

fn no_statistics() -> KernelOptions {
    KernelOptions {
        run_time: StatsMode::Off,
        ..options()
    }
}

fn attached(probe: &ProbeSettings) -> Result<(Kernel, ServerSlotId)> {
    let mut kernel = Kernel::load(&no_statistics())?;
    let server = kernel.add_server()?;
    kernel.set_probes(server, std::slice::from_ref(probe), &[std::process::id()]);
    Ok((kernel, server))
}

/// By how many nanoseconds the median of timed calls is longer than what the function measures itself.
fn bias(pause: Duration) -> Result<(f64, f64)> {
    let (mut kernel, server) = attached(&probe("demo::lag::compensate_lag", ProbeMeasure::Time))?;
    let mut beyond = Vec::new();
    let mut own = Vec::new();
    kernel.drain();
    for _ in 0..LONG_CALLS {
        std::thread::sleep(pause);
        let inside_ns = compensate_lag(WORK) as f64;
        let delta = kernel.drain();
        let reading = &delta.servers[&server].probes[0];
        anyhow::ensure!(reading.calls.finished == 1, "{:?}", reading);
        beyond.push(reading.calls.time_ns as f64);
        own.push(inside_ns);
    }
    let median = |values: &mut Vec<f64>| {
        values.sort_unstable_by(f64::total_cmp);
        values[values.len() / 2]
    };
    Ok((median(&mut beyond), median(&mut own)))
}

/// One function: empty programs at it, and gsmon's.
fn costs(name: &str, function: fn(u32) -> u32, rows: &mut Vec<Row>) -> Result<()> {
    let probe = |measure| probe(&format!("gsmon_bench::probes::{name}"), measure);
    let bare = per_call(function);
    let empty = |measure| -> Result<f64> {
        let _attached = EmptyProbe::attach(&no_statistics(), &probe(measure), std::process::id())?;
        Ok(per_call(function))
    };
    let gsmon = |measure| -> Result<f64> {
        let (_kernel, _) = attached(&probe(measure))?;
        Ok(per_call(function))
    };
    let (empty_entry, counted) = (empty(ProbeMeasure::Calls)?, gsmon(ProbeMeasure::Calls)?);
    let (empty_pair, timed) = (empty(ProbeMeasure::Time)?, gsmon(ProbeMeasure::Time)?);
    for (what, measured, baseline) in [
        ("empty uprobe", empty_entry, bare),
        ("empty pair", empty_pair, bare),
        ("counted", counted, bare),
        ("timed", timed, bare),
        ("counted, over an empty uprobe", counted, empty_entry),
        ("timed, over an empty pair", timed, empty_pair),
    ] {
        rows.push(Row::net(
            format!("probe at {name} function: {what}"),
            measured,
            baseline,
            None,
            "ns",
        ));
    }
    Ok(())
}

/// Nanoseconds per call.
pub fn run() -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    costs("emulated", emulated, &mut rows)?;
    costs("stepped", stepped, &mut rows)?;
    for (what, pause) in [
        ("probe: a 100 us call is seen longer by", Duration::ZERO),
        ("probe: the same after 20 ms of sleep", Duration::from_millis(20)),
    ] {
        let (seen, own) = bias(pause)?;
        rows.push(Row::net(what, seen, own, None, "ns"));
    }
    Ok(rows)
}
