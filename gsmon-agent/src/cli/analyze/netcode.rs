//! `gsmon analyze netcode SERVER --before T1..T2 --after T3..T4`.

use std::{fmt::Write, process::ExitCode};

use super::super::{
    Outcome, SocketArg, print_json,
    source::{Asked, SourceArgs, told},
    times::{self, Span},
};
use crate::{
    analysis::netcode::{Compared, NetcodeFigure, NetcodeReport, NetcodeVerdict},
    questions::Analyses,
    top::{
        harmless::harmless,
        table::{LINE, Room, TextColumn, table},
    },
};

#[derive(Debug, clap::Args)]
pub struct NetcodeArgs {
    /// Server.
    server: String,
    /// Window before the change, in local time or RFC 3339: 20:00..20:15.
    #[arg(long, value_parser = times::parse_span)]
    before: Span,
    /// Window after it.
    #[arg(long, value_parser = times::parse_span)]
    after: Span,
    /// One JSON document.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    socket: SocketArg,
}

pub fn run(args: &NetcodeArgs) -> Outcome {
    let asked = Asked::of(&args.source, &args.socket)?;
    let report = Analyses::of(&asked).netcode(&args.server, args.before.into(), args.after.into());
    let report = told(report)?;
    match args.json {
        true => print_json(&report)?,
        false => print!("{}", text(&args.server, &report)),
    }
    Ok(ExitCode::SUCCESS)
}

fn text(server: &str, report: &NetcodeReport) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "netcode of {}: matched {:.0} of {:.0} s before, {:.0} of {:.0} s after (equal phase, players within a quarter)",
        harmless(server),
        report.before_seconds.1,
        report.before_seconds.0,
        report.after_seconds.1,
        report.after_seconds.0
    );
    if let (Some(before), Some(after)) = (report.before_players, report.after_players) {
        let _ = writeln!(text, "players: {before:.1} before, {after:.1} after");
    }
    let _ = match report.verdict {
        NetcodeVerdict::Changed => {
            let changed: Vec<&str> = report
                .compared
                .iter()
                .filter(|one| one.significant)
                .map(|one| one.figure.words())
                .collect();
            writeln!(text, "changed: {}", changed.join("; "))
        }
        NetcodeVerdict::NoDifferenceShown => writeln!(
            text,
            "no difference is shown; the intervals say how large one may be"
        ),
        NetcodeVerdict::TooLittle => writeln!(
            text,
            "too few frames of equal phase and players: take longer windows, or such with as many players"
        ),
    };
    if !report.compared.is_empty() {
        let columns = [
            TextColumn::words("FIGURE", Room::Free(34)),
            TextColumn::figures("BEFORE", Room::Needed),
            TextColumn::figures("AFTER", Room::Needed),
            TextColumn::figures("CHANGE%", Room::Needed),
            TextColumn::figures("95%", Room::Needed),
            TextColumn::figures("P", Room::Spare(0)),
        ];
        let rows: Vec<Vec<String>> = report.compared.iter().map(row).collect();
        text.push('\n');
        text += &table(&columns, &rows, LINE + 20);
    }
    let absent: Vec<&str> = report.not_compared.iter().map(|figure| figure.words()).collect();
    if !absent.is_empty() {
        let _ = writeln!(text, "\nnot measured or too little of it: {}", absent.join(", "));
    }
    text
}

fn row(one: &Compared) -> Vec<String> {
    let (factor, digits) = match one.figure {
        NetcodeFigure::LossUpRatio | NetcodeFigure::LossDownRatio => (100.0, 3),
        _ => (1.0, 1),
    };
    let change = one.change_ratio.scaled(100.0);
    vec![
        one.figure.words().to_owned(),
        format!("{:.digits$}", one.before * factor),
        format!("{:.digits$}", one.after * factor),
        format!("{:+.1}{}", change.value, if one.significant { "*" } else { "" }),
        format!("{:+.1} to {:+.1}", change.low, change.high),
        format!("{:.3}", one.corrected_p_value),
    ]
}
