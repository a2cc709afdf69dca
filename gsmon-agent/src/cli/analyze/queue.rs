//! `gsmon analyze queue`: what the players who wait will need.

use std::{fmt::Write, io::Read, path::PathBuf, process::ExitCode, sync::Arc};

use super::super::{
    Failure, Outcome, SocketArg, everywhere,
    fleet::FleetHosts,
    print_json, run, runtime,
    source::{Asked, SourceArgs, told},
    times, unix_ms,
};
use crate::{
    analysis::queue::{EntryForecast, Fits, Interval, Waiting, facts::running},
    config::{Config, QueueMode},
    games::queue::{MOST_BYTES, parse},
    history::TimeRange,
    questions::{Analyses, QueueAnswer, QueueFacts},
    serve::{QueueTold, Route, fetch, fetch_snapshot},
    top::harmless::harmless,
};

#[derive(Debug, clap::Args)]
pub struct QueueArgs {
    /// Read the queue from this file, - for standard input, instead of asking the agent: {"queue": [{"mode": "duel", "region":
    /// "eu", "players": 12}]}.
    #[arg(long, value_name = "FILE")]
    queue: Option<PathBuf>,
    /// What costs are read out of: 24h, 7d, or two times with `..` between them.
    #[arg(long, default_value = "24h", value_parser = times::parse_range)]
    range: TimeRange,
    /// Players of one match, as in duel=2; may be given several times. Else as [[queue.mode]] says.
    #[arg(long, value_name = "MODE=PLAYERS", value_parser = parse_size)]
    per_match: Vec<QueueMode>,
    /// Configuration with [[queue.mode]] [default: /etc/gsmon.toml where there is one].
    #[arg(long, short)]
    config: Option<PathBuf>,
    /// One JSON document.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    socket: SocketArg,
}

fn parse_size(text: &str) -> Result<QueueMode, String> {
    let size = text.rsplit_once('=').and_then(|(name, players)| {
        let players_per_match = players.parse().ok().filter(|players| *players > 0)?;
        Some(QueueMode {
            name: name.to_owned(),
            players_per_match,
        })
    });
    size.ok_or_else(|| format!("`{text}` must be a mode and a number of players: duel=2"))
}

pub fn run(args: &QueueArgs) -> Outcome {
    let sizes = sizes(args)?;
    let (queue, queue_age_ms) = queue(args)?;
    let asked = Asked::of(&args.source, &args.socket)?;
    let (running, unknown_hosts) = match &asked {
        Asked::Agent(socket) => {
            let snapshot = runtime()?.block_on(fetch_snapshot(&socket.socket))?;
            (snapshot.servers.iter().filter_map(running).collect(), Vec::new())
        }
        Asked::Source(source) => {
            let all = everywhere::servers(source)?;
            (all.running(), all.silent_hosts())
        }
        Asked::Fleet(socket) => {
            let hosts = FleetHosts::ask(socket)?;
            (hosts.running(), hosts.silent())
        }
    };
    let facts = QueueFacts {
        queue,
        queue_age_ms,
        running,
        sizes,
        unknown_hosts,
    };
    let answer = told(Analyses::of(&asked).queue(facts, args.range))?;
    match args.json {
        true => print_json(&answer)?,
        false => print!("{}", text(&answer)),
    }
    Ok(ExitCode::SUCCESS)
}

fn sizes(args: &QueueArgs) -> Result<Vec<QueueMode>, Failure> {
    let usual = std::path::Path::new(run::DEFAULT_CONFIG);
    let path = args.config.as_deref().or_else(|| usual.exists().then_some(usual));
    let config = match path {
        Some(path) => Config::read(path).map_err(|error| Failure::Usage(error.into()))?,
        None => Config::default(),
    };
    Ok(args.per_match.iter().cloned().chain(config.queue.modes).collect())
}

fn queue(args: &QueueArgs) -> Result<(Vec<Waiting>, Option<i64>), Failure> {
    let Some(path) = &args.queue else {
        // The agent of this host is asked, wherever costs are read out of.
        let route = Route::to(&["queue"]);
        let told: QueueTold = runtime()?.block_on(fetch(&args.socket.socket, &route))?;
        return Ok((told.queue, Some(unix_ms() - told.told_unix_ms)));
    };
    let mut body = Vec::new();
    let limit = MOST_BYTES as u64 + 1;
    let read = match path.as_os_str() == "-" {
        true => std::io::stdin().take(limit).read_to_end(&mut body),
        false => std::fs::File::open(path).and_then(|file| file.take(limit).read_to_end(&mut body)),
    };
    read.map_err(|error| anyhow::anyhow!("cannot read {}: {error}", path.display()))?;
    let queue = parse(&body).map_err(|error| Failure::Usage(error.into()))?;
    Ok((queue, None))
}

fn text(answer: &QueueAnswer) -> String {
    let mut text = String::new();
    let forecast = &answer.forecast;
    // Writing to a string cannot fail.
    let age = match answer.queue_age_ms {
        Some(age) if age > 60_000 => format!(" (told {} s ago)", age / 1_000),
        _ => String::new(),
    };
    let _ = writeln!(
        text,
        "{} players wait{age}{}",
        forecast.players,
        needs(&forecast.needs)
    );
    for entry in &forecast.entries {
        entry_text(&mut text, entry);
    }
    if !answer.costs_of_all_modes.is_empty() {
        let modes: Vec<String> = answer
            .costs_of_all_modes
            .iter()
            .map(|mode| harmless(mode).into_owned())
            .collect();
        let _ = writeln!(
            text,
            "costs are those of all modes together, since too little was seen of: {}",
            modes.join(", ")
        );
    }
    for host in &answer.unknown_hosts {
        let _ = writeln!(
            text,
            "{} is silent: servers that may run there and take players are not counted",
            harmless(host)
        );
    }
    text
}

fn entry_text(text: &mut String, entry: &EntryForecast) {
    let name = |word: &Option<Arc<str>>, else_: &str| match word {
        Some(word) => harmless(word).into_owned(),
        None => else_.to_owned(),
    };
    let matches = match entry.matches {
        Some(matches) => format!(", {matches} matches"),
        None => String::new(),
    };
    let servers = match entry.new_servers {
        None => String::new(),
        Some(servers) => match servers.high {
            Some(high) if high == servers.low => format!(", {high} servers to start"),
            Some(high) => format!(", {} servers to start ({} to {high})", servers.value, servers.low),
            None => format!(", {} servers to start ({} or more)", servers.value, servers.low),
        },
    };
    let _ = writeln!(
        text,
        "  {} in {}: {} players{matches}{servers}{}",
        name(&entry.waiting.mode, "any mode"),
        name(&entry.waiting.region, "any region"),
        entry.waiting.players,
        needs(&entry.needs)
    );
    for placed in &entry.placed {
        let sure = match placed.fits {
            Fits::Certainly => "can take",
            Fits::Perhaps => "may fit (its mode or region is not known) and could take",
        };
        let _ = writeln!(text, "    {} {sure} {}", harmless(&placed.server), placed.players);
    }
    for note in &entry.notes {
        let _ = writeln!(text, "    {note}");
    }
}

fn needs(needs: &crate::analysis::queue::Needs) -> String {
    let told = |what: &str, need: Option<Interval>, factor: f64, unit: &str| match need {
        Some(need) => format!(
            "; {what} {:.2} {unit} ({:.2} to {:.2})",
            need.value * factor,
            need.low * factor,
            need.high * factor
        ),
        None => String::new(),
    };
    told("CPU", needs.cpu_cores, 1.0, "cores")
        + &told("memory", needs.memory_bytes, 1.0 / f64::from(1 << 20), "MiB")
        + &told("in", needs.receive_bytes_per_second, 1e-3, "kB/s")
        + &told("out", needs.transmit_bytes_per_second, 1e-3, "kB/s")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        analysis::queue::{Holds, Running},
        history::{Frame, Measure},
    };

    #[test]
    fn a_queue_is_told_with_what_is_known_and_what_is_not() {
        let frames: Vec<Frame> = (0..300i32)
            .map(|minute| {
                let players = f64::from(minute / 20 % 10);
                let mut frame = Frame::new(i64::from(minute) * 60_000, 60.0)
                    .with(Measure::Players, players)
                    .with(
                        Measure::CpuCores,
                        0.1 + 0.02 * players + f64::from(minute % 7) / 1e4,
                    );
                frame.mode = Some("duel".into());
                frame
            })
            .collect();
        let running = vec![Running {
            server: "arena".into(),
            mode: Some("duel".into()),
            region: None,
            players: Some(4.0),
            capacity: Some(Holds::exactly(16.0)),
        }];
        let queue = parse(br#"{"queue":[{"mode":"duel","players":40},{"mode":"race\u007f","players":2}]}"#);
        assert!(queue.is_err(), "control characters are refused");
        let queue =
            parse(br#"{"queue":[{"mode":"duel","players":40},{"mode":"race","region":"eu","players":2}]}"#)
                .unwrap();
        let facts = QueueFacts {
            queue,
            queue_age_ms: Some(90_000),
            running,
            sizes: vec![parse_size("duel=4").unwrap()],
            unknown_hosts: vec!["host-c".into()],
        };
        let answer = QueueAnswer::of(facts, &[("arena".into(), frames)]);
        let words = text(&answer);
        for part in [
            "42 players wait (told 90 s ago)",
            "duel in any region: 40 players, 10 matches, 2 servers to start; CPU 1.0",
            "arena can take 12",
            "race in eu: 2 players, 1 servers to start",
            "players_per_match",
            "too little was seen of: race",
            "host-c is silent",
        ] {
            assert!(words.contains(part), "{part} is not in\n{words}");
        }
        for wrong in ["duel", "duel=0", "duel=many", ""] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
    }
}
