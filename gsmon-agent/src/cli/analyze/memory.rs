//! `gsmon analyze memory SERVER`: is memory lost, how fast, and when is it used up?

use std::{fmt::Write, process::ExitCode};

use super::{
    super::{
        Outcome, SocketArg, print_json,
        source::{Asked, SourceArgs, told},
    },
    range::parse_range,
};
use crate::{
    analysis::scaling::{LeakReport, LeakVerdict, Limit, MemoryBasis},
    history::TimeRange,
    questions::Analyses,
    top::{harmless::harmless, units::bytes},
};

#[derive(Debug, clap::Args)]
pub struct MemoryArgs {
    /// Server.
    server: String,
    /// A length of time up to now (24h, 7d), or two times with `..` between them.
    #[arg(long, default_value = "1h", value_parser = parse_range)]
    range: TimeRange,
    /// How much memory it may use, MiB: then it is told when that is used up.
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// One JSON document.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    socket: SocketArg,
}

pub fn run(args: &MemoryArgs) -> Outcome {
    let asked = Asked::of(&args.source, &args.socket)?;
    let limit = args.limit.map(|mib| Limit {
        bytes: mib as f64 * f64::from(1 << 20),
    });
    let report = told(Analyses::of(&asked).leak(&args.server, args.range, limit))?;
    match args.json {
        true => print_json(&report)?,
        false => print!("{}", text(&args.server, &report)),
    }
    Ok(ExitCode::SUCCESS)
}

fn text(server: &str, report: &LeakReport) -> String {
    let mut text = String::new();
    let mib = |bytes: f64| bytes / f64::from(1 << 20);
    let growth = report.bytes_per_hour.map(|growth| {
        format!(
            "{:.1} MiB/h ({:.1} to {:.1})",
            mib(growth.value),
            mib(growth.low),
            mib(growth.high)
        )
    });
    // Writing to a string cannot fail.
    let _ = match (&report.verdict, growth) {
        (LeakVerdict::Leak, Some(growth)) => writeln!(
            text,
            "{}: memory is lost, {growth}, {:.2} % of it per hour",
            harmless(server),
            report.relative_per_hour.unwrap_or(0.0) * 100.0
        ),
        (LeakVerdict::None, Some(growth)) => writeln!(
            text,
            "{}: no leak is seen; growth at equal players {growth}",
            harmless(server)
        ),
        (LeakVerdict::CannotTell { reason }, _) => {
            writeln!(
                text,
                "{}: whether memory is lost cannot be told: {reason}",
                harmless(server)
            )
        }
        (_, None) => writeln!(text, "{}: no leak is seen", harmless(server)),
    };
    if let Some(time) = &report.time_to_limit {
        let _ = writeln!(
            text,
            "  the limit is reached in {:.1} h ({:.1} to {:.1}), should it go on like this",
            time.hours, time.low, time.high
        );
    }
    if let Some(each) = report.bytes_per_player_hour {
        let _ = writeln!(text, "  {:.3} MiB per player and hour", mib(each));
    }
    if let Some(each) = report.bytes_per_player {
        let _ = writeln!(
            text,
            "  each player takes {:.2} MiB ({:.2} to {:.2})",
            mib(each.value),
            mib(each.low),
            mib(each.high)
        );
    }
    if let Some(collector) = &report.collector {
        let _ = writeln!(
            text,
            "  memory is given back in sweeps: {} were seen, {:.0} % each",
            collector.sweeps,
            collector.given_back_ratio * 100.0
        );
    }
    let basis = match report.basis {
        MemoryBasis::Anonymous => "memory that is no file's",
        MemoryBasis::Resident => "resident memory, files included",
    };
    let _ = writeln!(
        text,
        "  looked at {basis} over {:.1} h since the last start, warm-up left out; {} now",
        report.hours,
        bytes(Some(report.level_bytes))
    );
    text
}
