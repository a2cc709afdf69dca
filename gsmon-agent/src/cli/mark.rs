//! `gsmon mark SERVER [TEXT]`: sets a mark; without a text, shows the marks and what changed at each.

use std::{fmt::Write, process::ExitCode, time::Duration};

use super::{
    Outcome, SocketArg, print_json, runtime,
    source::{Asked, told},
    times,
};
use crate::{
    history::{Mark, MarkedBy},
    questions::{Analyses, Marked},
    serve::{Route, send},
    top::{
        harmless::harmless,
        table::{LINE, Room, TextColumn, table},
    },
};

#[derive(Debug, clap::Args)]
pub struct MarkArgs {
    /// Server.
    server: String,
    /// What changed; without it, marks are shown with what changed at each.
    text: Option<String>,
    /// How long before and after a mark is looked at, up to the next mark.
    #[arg(long, default_value = "30m", value_parser = humantime::parse_duration)]
    window: Duration,
    /// One JSON document.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    socket: SocketArg,
}

pub fn run(args: &MarkArgs) -> Outcome {
    if let Some(text) = &args.text {
        let route = Route::to(&["marks"]).with("server", &args.server);
        let mark: Mark = runtime()?.block_on(send(&args.socket.socket, &route, text.as_bytes()))?;
        match args.json {
            true => print_json(&mark)?,
            false => println!(
                "marked {} at {}: `gsmon mark {}` shows what changed, as soon as enough has been measured",
                harmless(&args.server),
                times::time_of_day(mark.unix_ms),
                harmless(&args.server)
            ),
        }
        return Ok(ExitCode::SUCCESS);
    }
    let window_ms = i64::try_from(args.window.as_millis()).unwrap_or(i64::MAX);
    let asked = Asked::Agent(&args.socket);
    let answers = told(Analyses::of(&asked).changes(&args.server, window_ms))?;
    match args.json {
        true => print_json(&answers)?,
        false if answers.is_empty() => println!("no marks of {}", harmless(&args.server)),
        false => answers.iter().for_each(|answer| print!("{}", text(answer))),
    }
    Ok(ExitCode::SUCCESS)
}

fn text(marked: &Marked) -> String {
    let mut text = String::new();
    let change = &marked.change;
    let by = match marked.mark.by {
        MarkedBy::Person => "",
        MarkedBy::Executable => " (changed by itself)",
    };
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "{}  {}{by}",
        times::date_and_time(marked.mark.unix_ms),
        harmless(&marked.mark.text)
    );
    if change.compared.is_empty() {
        let _ = writeln!(
            text,
            "  too few frames of equal phase and players: {:.0} of {:.0} s before and {:.0} of {:.0} s after found their like",
            change.before_seconds.1, change.before_seconds.0, change.after_seconds.1, change.after_seconds.0
        );
        return text;
    }
    let changed: Vec<String> = change
        .compared
        .iter()
        .filter(|one| one.significant)
        .map(|one| format!("{} {:+.1} %", one.measure.name(), one.change_ratio.value * 100.0))
        .collect();
    let _ = match changed.is_empty() {
        true => writeln!(
            text,
            "  no difference is shown; the intervals say how large one may be"
        ),
        false => writeln!(text, "  changed at equal players: {}", changed.join(", ")),
    };
    let columns = [
        TextColumn::words("FIGURE", Room::Free(28)),
        TextColumn::figures("BEFORE", Room::Needed),
        TextColumn::figures("AFTER", Room::Needed),
        TextColumn::figures("CHANGE%", Room::Needed),
        TextColumn::figures("95%", Room::Needed),
    ];
    let rows: Vec<Vec<String>> = change
        .compared
        .iter()
        .map(|one| {
            let ratio = one.change_ratio.scaled(100.0);
            vec![
                one.measure.name().to_owned(),
                format!("{:.3}", one.before),
                format!("{:.3}", one.after),
                format!("{:+.1}{}", ratio.value, if one.significant { "*" } else { "" }),
                format!("{:+.1} to {:+.1}", ratio.low, ratio.high),
            ]
        })
        .collect();
    text += &table(&columns, &rows, LINE);
    text
}
