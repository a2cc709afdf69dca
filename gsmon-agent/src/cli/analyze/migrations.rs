//! `gsmon analyze migrations`: what moving players did, asked of the running fleet.

use std::{fmt::Write, path::PathBuf, process::ExitCode};

use super::super::{Failure, Outcome, print_json, runtime, times};
use crate::{
    analysis::migration::{Figure, KnownBy, Migration, MigrationReport},
    config::DEFAULT_FLEET_SOCKET,
    serve::{ClientError, Route, fetch},
    top::{
        harmless::harmless,
        table::{LINE, Room, TextColumn, table},
    },
};

#[derive(Debug, clap::Args)]
pub struct MigrationsArgs {
    /// Socket of the running fleet.
    #[arg(long, value_name = "SOCKET", default_value = DEFAULT_FLEET_SOCKET, env = "GSMON_FLEET_SOCKET")]
    fleet: PathBuf,
    /// One JSON document.
    #[arg(long)]
    json: bool,
}

pub fn run(args: &MigrationsArgs) -> Outcome {
    let asked = runtime()?.block_on(fetch::<MigrationReport>(&args.fleet, &Route::to(&["migrations"])));
    let report = asked.map_err(|error| match error {
        ClientError::NoAgent { path } => Failure::Usage(anyhow::anyhow!(
            "no gsmon fleet is running (nobody answers on {}): moves between hosts are seen by `gsmon fleet --config fleet.toml`",
            path.display()
        )),
        error => error.into(),
    })?;
    match args.json {
        true => print_json(&report)?,
        false => print!("{}", text(&report)),
    }
    Ok(ExitCode::SUCCESS)
}

fn text(report: &MigrationReport) -> String {
    if report.migrations.is_empty() {
        return "no player was seen to move between regions\n".to_owned();
    }
    let columns = [
        TextColumn::words("LEFT", Room::Needed),
        TextColumn::words("PLAYER", Room::Needed),
        TextColumn::words("FROM", Room::Free(18)),
        TextColumn::words("TO", Room::Free(18)),
        TextColumn::words("BY", Room::Needed),
        TextColumn::figures("RTT ms", Room::Needed),
        TextColumn::figures("TICK ms", Room::Needed),
        TextColumn::figures("STAYED", Room::Needed),
    ];
    let figure = |migration: &Migration, figure: Figure| {
        let mut all = migration.changed.iter();
        all.find(|changed| changed.figure == figure).map_or_else(
            || "-".to_owned(),
            |changed| format!("{:.1} > {:.1}", changed.before, changed.after),
        )
    };
    let rows: Vec<Vec<String>> = report
        .migrations
        .iter()
        .map(|migration| {
            vec![
                times::date_and_time(migration.left_unix_ms),
                harmless(&migration.player).into_owned(),
                harmless(&migration.from).into_owned(),
                harmless(&migration.to).into_owned(),
                match migration.by {
                    KnownBy::Seen => "seen",
                    KnownBy::Announced => "announced",
                }
                .to_owned(),
                figure(migration, Figure::RttMs),
                figure(migration, Figure::TickMs),
                migration.stayed.to_string(),
            ]
        })
        .collect();
    let mut text = table(&columns, &rows, LINE);
    // Writing to a string cannot fail.
    for summed in &report.summed {
        let _ = writeln!(
            text,
            "{} moves: {:.3} before, {:.3} after; {}",
            summed.migrations, summed.before, summed.after, summed.words
        );
    }
    if report.announced_unseen > 0 {
        let _ = writeln!(text, "announced, and made by nobody: {}", report.announced_unseen);
    }
    text
}
