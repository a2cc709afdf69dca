//! `gsmon analyze actions SERVER`: which actions of players spikes come after.

use std::{fmt::Write, process::ExitCode};

use super::{
    super::{
        Outcome, SocketArg, print_json,
        source::{Asked, SourceArgs, told},
    },
    range::parse_range,
};
use crate::{
    analysis::scaling::ActionsReport,
    history::TimeRange,
    questions::Analyses,
    top::{
        harmless::harmless,
        table::{LINE, Room, TextColumn, table},
    },
};

#[derive(Debug, clap::Args)]
pub struct ActionsArgs {
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

pub fn run(args: &ActionsArgs) -> Outcome {
    let asked = Asked::of(&args.source, &args.socket)?;
    let report = told(Analyses::of(&asked).actions(&args.server, args.range))?;
    match args.json {
        true => print_json(&report)?,
        false => print!("{}", text(&args.server, &report)),
    }
    Ok(ExitCode::SUCCESS)
}

fn text(server: &str, report: &ActionsReport) -> String {
    let mut text = String::new();
    let guilty: Vec<String> = report
        .actions
        .iter()
        .filter(|action| action.significant)
        .map(|action| {
            let lift = action
                .lift
                .map_or_else(|| "many".to_owned(), |lift| format!("{lift:.1}"));
            format!(
                "`{}` ({lift} times as many as by chance)",
                harmless(&action.action)
            )
        })
        .collect();
    // Writing to a string cannot fail.
    let _ = match guilty.is_empty() {
        true => writeln!(
            text,
            "{}: none of {} actions is linked to the {} spikes",
            harmless(server),
            report.actions.len(),
            report.spikes
        ),
        false => writeln!(
            text,
            "{}: spikes come after {}",
            harmless(server),
            guilty.join(", ")
        ),
    };
    let columns = [
        TextColumn::words("ACTION", Room::Free(24)),
        TextColumn::figures("TIMES", Room::Needed),
        TextColumn::figures("SPIKES", Room::Needed),
        TextColumn::figures("BY CHANCE", Room::Needed),
        TextColumn::figures("LIFT", Room::Needed),
        TextColumn::figures("P", Room::Needed),
        TextColumn::figures("CORRECTED", Room::Needed),
    ];
    let rows: Vec<Vec<String>> = report
        .actions
        .iter()
        .map(|action| {
            vec![
                harmless(&action.action).into_owned(),
                action.times.to_string(),
                action.spikes.to_string(),
                format!("{:.1}", action.expected),
                action
                    .lift
                    .map_or_else(|| "-".to_owned(), |lift| format!("{lift:.2}")),
                format!("{:.4}", action.p_value),
                format!(
                    "{:.4}{}",
                    action.corrected_p_value,
                    if action.significant { "*" } else { "" }
                ),
            ]
        })
        .collect();
    if !rows.is_empty() {
        text += &table(&columns, &rows, LINE);
    }
    if !report.too_rare.is_empty() {
        let rare: Vec<_> = report.too_rare.iter().map(|action| harmless(action)).collect();
        let _ = writeln!(text, "too rare to be told: {}", rare.join(", "));
    }
    text
}
