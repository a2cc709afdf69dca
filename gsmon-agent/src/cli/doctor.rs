//! `gsmon doctor`: what this machine can measure, what is missing, what the tables take.

use std::process::ExitCode;

use serde::Serialize;

use super::Outcome;
use crate::{
    config::Config,
    host::Platform,
    kernel::{Kernel, TaskOffsets, available_hooks, best_scope},
    monitor::kernel_options,
    serve::fetch_snapshot,
    top::harmless::harmless,
    world::{
        probe::ProbeMode,
        snapshot::{HistorySnapshot, Snapshot},
    },
};

#[derive(Debug, clap::Args)]
pub struct DoctorArgs {
    /// Configuration whose limits and interfaces are tried.
    #[arg(long, short)]
    config: Option<std::path::PathBuf>,
    #[command(flatten)]
    socket: super::SocketArg,
    /// One JSON document.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    kernel: String,
    btf: String,
    task_offsets_found: bool,
    initial_pid_namespace: bool,
    cgroup_v2: Option<String>,
    missing_capabilities: Vec<Missing>,
    socket_scope: Option<String>,
    hooks: Vec<Hook>,
    hooks_available: Vec<Available>,
    counting_points: Vec<CountingPoint>,
    probes: Vec<ProbeReport>,
    interfaces: Vec<InterfaceReport>,
    tables: Vec<Table>,
    table_bytes: u64,
    /// Of the running agent, where it writes one.
    history: Option<HistorySnapshot>,
    problems: Vec<String>,
    can_measure_in_kernel: bool,
}

#[derive(Serialize)]
struct Missing {
    name: String,
    needed_to: String,
}

#[derive(Serialize)]
struct Hook {
    source: String,
    hook: String,
    reason: String,
}

#[derive(Serialize)]
struct Available {
    hook: String,
    available: bool,
}

/// Where the running agent counts a server's packets.
#[derive(Serialize)]
struct CountingPoint {
    server: String,
    ingress: Option<String>,
    egress: Option<String>,
}

/// A function probe of the running agent.
#[derive(Serialize)]
struct ProbeReport {
    server: String,
    probe: String,
    function: String,
    object: Option<String>,
    mode: ProbeMode,
    reason: Option<String>,
    calls_per_second: Option<f64>,
    cost_per_call_ns: Option<f64>,
    cost_core_ratio: Option<f64>,
}

#[derive(Serialize)]
struct InterfaceReport {
    name: String,
    driver: Option<String>,
    lower_devices: Vec<String>,
    xdp: String,
}

#[derive(Serialize)]
struct Table {
    name: String,
    entries: u64,
    bytes: u64,
}

pub fn run(args: &DoctorArgs) -> Outcome {
    let config = match &args.config {
        Some(path) => Config::read(path).map_err(|error| super::Failure::Usage(error.into()))?,
        None => Config::default(),
    };
    let mut report = examine(&config);
    // An agent that does not run, or not for this user, is no problem of this machine.
    if let Ok(snapshot) = super::runtime()?.block_on(fetch_snapshot(&args.socket.socket)) {
        report.probes = probes(&snapshot);
        report.history = snapshot.agent.history.clone();
        report.counting_points = snapshot
            .servers
            .into_iter()
            .map(|server| CountingPoint {
                server: server.name,
                ingress: server.counting.ingress,
                egress: server.counting.egress,
            })
            .collect();
    }
    if args.json {
        super::print_json(&report)?;
    } else {
        print(&report);
    }
    Ok(if report.can_measure_in_kernel {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn examine(config: &Config) -> Report {
    let platform = Platform::detect();
    let mut problems = platform.obstacles();
    let mut hooks = Vec::new();
    let mut tables = Vec::new();
    let mut scope = None;
    // The real thing, loaded and dropped again: the only test that proves anything.
    if problems.is_empty() {
        scope = Some(format!("{:?}", best_scope()).to_lowercase());
        match Kernel::load(&kernel_options(config, &platform)) {
            Ok(kernel) => {
                hooks = kernel
                    .sources()
                    .iter()
                    .map(|source| Hook {
                        source: source.name.to_owned(),
                        hook: source.hook.clone(),
                        reason: source.reason.clone(),
                    })
                    .collect();
                tables = kernel
                    .map_sizes()
                    .iter()
                    .map(|size| Table {
                        name: size.name.clone(),
                        entries: size.capacity,
                        bytes: size.bytes,
                    })
                    .collect();
                tables.sort_unstable_by_key(|table| std::cmp::Reverse(table.bytes));
            }
            Err(error) => problems.push(error.to_string()),
        }
    }
    let mode = |name: &str| {
        config
            .interfaces
            .iter()
            .find(|interface| interface.name == name)
            .map(|interface| interface.xdp)
            .unwrap_or_default()
    };
    Report {
        btf: if std::path::Path::new(crate::kernel::VMLINUX_BTF).exists() {
            "present".into()
        } else {
            "missing".into()
        },
        task_offsets_found: TaskOffsets::of_running_kernel().is_ok(),
        initial_pid_namespace: platform.initial_pid_namespace,
        cgroup_v2: platform
            .cgroup_root
            .as_ref()
            .map(|path| path.display().to_string()),
        missing_capabilities: platform
            .missing_capabilities()
            .into_iter()
            .map(|(name, purpose)| Missing {
                name: name.to_owned(),
                needed_to: purpose.to_owned(),
            })
            .collect(),
        socket_scope: scope,
        interfaces: platform
            .interfaces
            .iter()
            .map(|interface| InterfaceReport {
                name: interface.name.clone(),
                driver: interface.driver.clone(),
                lower_devices: interface.lower.clone(),
                xdp: format!("{:?}", mode(&interface.name)).to_lowercase(),
            })
            .collect(),
        kernel: platform.kernel_release,
        table_bytes: tables.iter().map(|table| table.bytes).sum(),
        can_measure_in_kernel: problems.is_empty(),
        hooks_available: available_hooks()
            .into_iter()
            .map(|(hook, available)| Available {
                hook: hook.to_owned(),
                available,
            })
            .collect(),
        counting_points: Vec::new(),
        probes: Vec::new(),
        history: None,
        hooks,
        tables,
        problems,
    }
}

fn probes(snapshot: &Snapshot) -> Vec<ProbeReport> {
    let all = snapshot
        .servers
        .iter()
        .flat_map(|server| server.probes.iter().map(move |probe| (server, probe)));
    all.map(|(server, probe)| ProbeReport {
        server: server.name.clone(),
        probe: probe.name.clone(),
        function: probe.function.clone(),
        object: probe.object.clone(),
        mode: probe.mode,
        reason: probe.reason.clone(),
        calls_per_second: probe.rates.calls_per_second,
        cost_per_call_ns: probe.cost_per_call_ns,
        cost_core_ratio: probe.cost_core_ratio,
    })
    .collect()
}

fn print_probes(probes: &[ProbeReport]) {
    println!("functions that the running agent probes");
    for probe in probes {
        let mode = format!("{:?}", probe.mode).to_lowercase();
        let cost = match (
            probe.cost_per_call_ns,
            probe.calls_per_second,
            probe.cost_core_ratio,
        ) {
            (Some(cost_ns), Some(calls), Some(ratio)) => format!(
                "{cost_ns:.0} ns a call (measured here), {calls:.0} calls/s: {:.2} % of a core",
                ratio * 100.0
            ),
            _ => "costs nothing now".to_owned(),
        };
        println!(
            "  {:<24}  {:<16}  {:<9}  {cost}  {}",
            probe.server,
            probe.probe,
            mode,
            harmless(probe.reason.as_deref().unwrap_or_default())
        );
    }
}

fn print_history(history: &HistorySnapshot) {
    println!(
        "history           {} ({}), {:.1} MiB, {} intervals lost",
        history.path.display(),
        format!("{:?}", history.status).to_lowercase(),
        mebibytes(history.bytes),
        history.intervals_lost
    );
    if let Some(problem) = &history.problem {
        println!("  problem         {}", harmless(problem));
    }
}

fn print(report: &Report) {
    let yes = |value: bool| if value { "yes" } else { "no" };
    println!("kernel            {}", report.kernel);
    println!(
        "BTF               {}, task fields found: {}",
        report.btf,
        yes(report.task_offsets_found)
    );
    println!(
        "PID namespace     {}",
        if report.initial_pid_namespace {
            "the host's"
        } else {
            "foreign"
        }
    );
    println!(
        "cgroup v2         {}",
        report
            .cgroup_v2
            .as_deref()
            .unwrap_or("not mounted: tc must count instead")
    );
    if let Some(scope) = &report.socket_scope {
        println!("sockets by        {scope}");
    }
    let available: Vec<String> = report
        .hooks_available
        .iter()
        .map(|hook| format!("{} {}", hook.hook, yes(hook.available)))
        .collect();
    println!("hooks there are   {}", available.join(", "));
    println!("hooks chosen");
    for hook in &report.hooks {
        println!("  {:<14}  {:<28}  {}", hook.source, hook.hook, hook.reason);
    }
    if !report.counting_points.is_empty() {
        println!("servers of the running agent are counted at");
        for point in &report.counting_points {
            let words = |point: &Option<String>| point.clone().unwrap_or_else(|| "nowhere yet".to_owned());
            println!(
                "  {:<24}  in {}, out {}",
                point.server,
                words(&point.ingress),
                words(&point.egress)
            );
        }
    }
    if !report.probes.is_empty() {
        print_probes(&report.probes);
    }
    if let Some(history) = &report.history {
        print_history(history);
    }
    println!("interfaces");
    for interface in &report.interfaces {
        println!(
            "  {:<14}  driver {:<12}  xdp {}",
            interface.name,
            interface.driver.as_deref().unwrap_or("-"),
            interface.xdp
        );
    }
    println!("kernel tables     {:.1} MiB", mebibytes(report.table_bytes));
    for table in report.tables.iter().filter(|table| table.bytes >= 1 << 20) {
        println!(
            "  {:<14}  {:>8} entries  {:>6.1} MiB",
            table.name,
            table.entries,
            mebibytes(table.bytes)
        );
    }
    for missing in &report.missing_capabilities {
        println!("missing           {} ({})", missing.name, missing.needed_to);
    }
    for problem in &report.problems {
        println!("problem           {problem}");
    }
    if report.can_measure_in_kernel {
        println!("gsmon can measure in this kernel.");
    } else {
        println!(
            "gsmon cannot measure in this kernel as it is; `gsmon run --allow-unprivileged` shows what /proc has."
        );
    }
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / (1 << 20) as f64
}
