//! `gsmon analyze bots SERVER`: what a bot costs beside what a person does.

use std::{fmt::Write, process::ExitCode};

use super::{
    super::{
        Outcome, SocketArg, print_json,
        source::{Asked, SourceArgs, told},
    },
    range::{parse_range, with_unit},
};
use crate::{
    analysis::scaling::BotsReport, history::TimeRange, questions::Analyses, top::harmless::harmless,
};

#[derive(Debug, clap::Args)]
pub struct BotsArgs {
    /// Server.
    server: String,
    /// A length of time up to now (24h, 7d), or two times with `..` between them.
    #[arg(long, default_value = "1h", value_parser = parse_range)]
    range: TimeRange,
    /// One JSON document.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    socket: SocketArg,
}

pub fn run(args: &BotsArgs) -> Outcome {
    let asked = Asked::of(&args.source, &args.socket)?;
    let reports = told(Analyses::of(&asked).bots(&args.server, args.range))?;
    match args.json {
        true => print_json(&reports)?,
        false => print!("{}", text(&args.server, &reports)),
    }
    Ok(ExitCode::SUCCESS)
}

fn text(server: &str, reports: &[BotsReport]) -> String {
    let mut text = String::new();
    for report in reports {
        // Writing to a string cannot fail.
        let _ = match report.bot_for_human {
            Some(swap) if swap.high < 0.0 => writeln!(
                text,
                "{}: a bot in the place of a person saves {} ({})",
                harmless(server),
                with_unit(report.metric, swap.scaled(-1.0)),
                report.metric
            ),
            Some(swap) if swap.low > 0.0 => writeln!(
                text,
                "{}: a bot in the place of a person costs {} more ({})",
                harmless(server),
                with_unit(report.metric, swap),
                report.metric
            ),
            Some(swap) => writeln!(
                text,
                "{}: no difference between a bot and a person is shown: {} ({})",
                harmless(server),
                with_unit(report.metric, swap),
                report.metric
            ),
            None => writeln!(text, "{}: {}", harmless(server), report.metric),
        };
        for (who, cost) in [("person", report.per_human), ("bot", report.per_bot)] {
            if let Some(cost) = cost {
                let _ = writeln!(text, "  each {who} adds {}", with_unit(report.metric, cost));
            }
        }
        for warning in &report.warnings {
            let _ = writeln!(text, "  {warning}");
        }
    }
    text
}
