//! `gsmon selftest`

use std::{process::ExitCode, time::Duration};

use super::Outcome;
use crate::selftest::{self, Report};

#[derive(Debug, clap::Args)]
pub struct SelftestArgs {
    /// How long the servers are measured, at least 5s.
    #[arg(long, default_value = "8s", value_parser = humantime::parse_duration)]
    duration: Duration,
    /// One JSON document.
    #[arg(long)]
    json: bool,
}

pub fn run(args: &SelftestArgs) -> Outcome {
    let gsmon = std::env::current_exe()?;
    let report = selftest::run(&gsmon, args.duration.max(Duration::from_secs(5)))?;
    if args.json {
        super::print_json(&report)?;
    } else {
        print(&report);
    }
    Ok(if report.pass {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn print(report: &Report) {
    println!(
        "{:<34} {:>16} {:>16} {:>12}",
        "CHECK", "EXPECTED", "MEASURED", "TOLERANCE"
    );
    let number =
        |value: Option<f64>| value.map_or_else(|| "absent".to_owned(), |value| format!("{value:.3}"));
    for check in &report.checks {
        println!(
            "{:<34} {:>16} {:>16} {:>12}  {}",
            check.name,
            number(check.expected),
            number(check.measured),
            format!("{:.3}", check.tolerance),
            if check.pass { "ok" } else { "MISS" }
        );
    }
    println!(
        "host in the meantime: {:.3} s in interrupts, {:.3} s stolen by the hypervisor",
        report.interrupt_seconds, report.steal_seconds
    );
    let missed = report.checks.iter().filter(|check| !check.pass).count();
    println!("{} checks, {missed} missed", report.checks.len());
}
