//! `gsmon history events|sessions`: what happened, out of the file, or with `--source` out of a Prometheus-compatible
//! server, which says what it lacks.

use std::{fmt::Write, process::ExitCode};

use serde::Serialize;

use super::{Failure, Outcome, history::FileArgs, print_json, source::SourceArgs, times};
use crate::{
    history::{
        HistorySource, TimeRange,
        disk::HistoryReader,
        events::{Event, EventKind},
        source::{Absent, StoredSession},
    },
    top::harmless::harmless,
    world::session::phase,
};

#[derive(Debug, clap::Args)]
pub struct HappenedArgs {
    /// This server only.
    server: Option<String>,
    /// 24h, 7d, or two times with `..` between them (local or RFC 3339).
    #[arg(long, default_value = "1h", value_parser = times::parse_range)]
    range: TimeRange,
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    file: FileArgs,
}

/// A list, and what it lacks.
#[derive(Debug, Serialize)]
struct Answer<T> {
    told: Vec<T>,
    /// What whoever was asked never has.
    absent: &'static [Absent],
}

fn open(args: &HappenedArgs) -> Result<Box<dyn HistorySource>, Failure> {
    Ok(match args.source.open()? {
        Some(source) => Box::new(source),
        None => Box::new(HistoryReader::open(&args.file.path()?)?),
    })
}

pub fn events(args: &HappenedArgs) -> Outcome {
    let source = open(args)?;
    let answer = Answer {
        told: source.events(args.server.as_deref(), args.range)?,
        absent: source.absent_events(),
    };
    match args.file.json {
        true => print_json(&answer)?,
        false => print!("{}{}", events_text(&answer.told), absent_text(answer.absent)),
    }
    Ok(ExitCode::SUCCESS)
}

pub fn sessions(args: &HappenedArgs) -> Outcome {
    let source = open(args)?;
    let answer = Answer {
        told: source.sessions(args.server.as_deref(), args.range)?,
        absent: source.absent_sessions(),
    };
    match args.file.json {
        true => print_json(&answer)?,
        false => print!("{}{}", sessions_text(&answer.told), absent_text(answer.absent)),
    }
    Ok(ExitCode::SUCCESS)
}

fn kind(kind: EventKind) -> &'static str {
    match kind {
        EventKind::Join => "joins",
        EventKind::Leave => "leaves",
        EventKind::Phase => "phase",
        EventKind::SessionBegun => "session begun",
        EventKind::SessionEnded => "session ended",
        EventKind::Action => "action",
        EventKind::Start => "start",
        EventKind::Mark => "mark",
        EventKind::Update => "update",
    }
}

fn events_text(events: &[Event]) -> String {
    let mut text = String::new();
    for event in events {
        let times = match event.times {
            1 => String::new(),
            times => format!(" x{times}"),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{}  {}  {}{}{times}",
            times::date_and_time(event.unix_ms),
            harmless(&event.server),
            kind(event.kind),
            event
                .word
                .as_deref()
                .map_or_else(String::new, |word| format!(" {}", harmless(word)))
        );
    }
    if events.is_empty() {
        text.push_str("nothing is known to have happened in this range\n");
    }
    text
}

fn sessions_text(sessions: &[StoredSession]) -> String {
    let mut text = String::new();
    for session in sessions {
        let ended = session
            .ended_unix_ms
            .map_or("runs, or its end was not seen".to_owned(), |ended| {
                format!("to {}", times::date_and_time(ended))
            });
        let words: Vec<String> = [
            session.mode.as_deref(),
            session.map.as_deref(),
            session.phase.map(phase::name),
        ]
        .into_iter()
        .flatten()
        .map(|word| format!("; {}", harmless(word)))
        .collect();
        let cpu = session
            .used
            .cpu_ns
            .map_or_else(String::new, |cpu| format!(", CPU {:.1} s", cpu as f64 / 1e9));
        let _ = writeln!(
            text,
            "{}  {}  {}  {ended}; {} players at most{cpu}{}",
            times::date_and_time(session.begun_unix_ms),
            harmless(&session.server),
            harmless(&session.id),
            session.players_peak,
            words.concat()
        );
    }
    if sessions.is_empty() {
        text.push_str("no session is known of this range\n");
    }
    text
}

fn absent_text(absent: &[Absent]) -> String {
    absent.iter().fold(String::new(), |mut text, absent| {
        let _ = writeln!(text, "not known here: {}: {}", absent.what, absent.why);
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_told_with_what_is_absent() {
        let event = Event {
            server: "h:1/arena".into(),
            unix_ms: 0,
            kind: EventKind::Action,
            word: Some("dig\u{1b}[2J".into()),
            times: 3,
        };
        let text = events_text(&[event]);
        assert!(
            text.contains("h:1/arena  action dig") && text.contains(" x3"),
            "{text}"
        );
        assert!(!text.contains('\u{1b}'), "{text}");
        assert!(events_text(&[]).contains("nothing is known"));
        let absent = [Absent {
            what: "marks",
            why: "they are no metric",
        }];
        assert_eq!(
            absent_text(&absent),
            "not known here: marks: they are no metric\n"
        );
    }
}
