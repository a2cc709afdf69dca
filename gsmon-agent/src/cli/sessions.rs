//! `gsmon sessions [SERVER [ID]]`: a client of the running agent.

use std::{fmt::Write, process::ExitCode};

use super::{Failure, Outcome, SocketArg, print_json, runtime, unix_ms};
use crate::{
    games::event::Phase,
    serve::{Route, fetch},
    top::{
        harmless::harmless,
        table::{LINE, Room, TextColumn, table},
        units::{bytes, count, cpu_seconds, duration, number},
    },
    world::session::{
        ask::{self, FoundSession, Metric, SessionResources, SessionState},
        phase,
        picture::SessionSnapshot,
        rooms::CpuBasis,
    },
};

#[derive(Debug, clap::Args)]
pub struct SessionsArgs {
    /// Sessions of this server only.
    server: Option<String>,
    /// Everything about this session.
    #[arg(requires = "server")]
    id: Option<String>,
    /// What to show: cpu, memory, network, disk [default: cpu,memory in a list, all of one session].
    #[arg(long, value_delimiter = ',')]
    metrics: Vec<Metric>,
    /// running, ended or all.
    #[arg(long, default_value = "all", conflicts_with = "id")]
    state: SessionState,
    /// In this phase only: idle, lobby, loading, active, ended, crashed.
    #[arg(long, value_parser = ask::phase_named, conflicts_with = "id")]
    phase: Option<Phase>,
    /// In this room only.
    #[arg(long, conflicts_with = "id")]
    room: Option<String>,
    /// One JSON document.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    socket: SocketArg,
}

pub fn run(args: &SessionsArgs) -> Outcome {
    runtime()?.block_on(async {
        match (&args.server, &args.id) {
            (Some(server), Some(id)) => one(args, server, id).await?,
            _ => list(args).await?,
        }
        Ok(ExitCode::SUCCESS)
    })
}

async fn one(args: &SessionsArgs, server: &str, id: &str) -> Result<(), Failure> {
    let mut route = Route::to(&["servers", server, "sessions", id]);
    if !args.metrics.is_empty() {
        let words: Vec<&str> = args.metrics.iter().map(|metric| metric.name()).collect();
        route = route.with("metrics", &words.join(","));
    }
    let answer: SessionResources = fetch(&args.socket.socket, &route).await?;
    if args.json {
        return print_json(&answer);
    }
    print!("{}", detail_text(&answer, unix_ms()));
    Ok(())
}

async fn list(args: &SessionsArgs) -> Result<(), Failure> {
    let mut route = match &args.server {
        Some(server) => Route::to(&["servers", server, "sessions"]),
        None => Route::to(&["sessions"]),
    };
    route = route.with("state", args.state.name());
    if let Some(phase) = args.phase {
        route = route.with("phase", phase::name(phase));
    }
    if let Some(room) = &args.room {
        route = route.with("room", room);
    }
    let found: Vec<FoundSession> = fetch(&args.socket.socket, &route).await?;
    if args.json {
        return print_json(&found);
    }
    let metrics = match args.metrics.is_empty() {
        true => &[Metric::Cpu, Metric::Memory],
        false => args.metrics.as_slice(),
    };
    print!(
        "{}",
        list_text(&found, args.server.as_deref(), metrics, unix_ms())
    );
    Ok(())
}

/// `~` in front of what is an estimate.
fn estimated(session: &SessionSnapshot, text: String) -> String {
    match session.cpu_is_estimated() {
        true if text != "-" => format!("~{text}"),
        _ => text,
    }
}

fn text_or_dash(text: Option<&str>) -> String {
    text.unwrap_or("-").to_owned()
}

fn age_ms(session: &SessionSnapshot, now_ms: i64) -> i64 {
    session.ended_unix_ms.unwrap_or(now_ms) - session.begun_unix_ms
}

fn list_text(found: &[FoundSession], server: Option<&str>, metrics: &[Metric], now_ms: i64) -> String {
    if found.is_empty() {
        return "no session fits\n".to_owned();
    }
    type CellOf = fn(&FoundSession, i64) -> String;
    let mut columns: Vec<(TextColumn, CellOf)> = Vec::new();
    if server.is_none() {
        columns.push((TextColumn::words("SERVER", Room::Free(20)), |found, _| {
            found.server.to_string()
        }));
    }
    columns.push((TextColumn::words("SESSION", Room::Needed), |found, _| {
        found.session.id.to_string()
    }));
    if found.iter().any(|found| found.session.room.is_some()) {
        columns.push((TextColumn::words("ROOM", Room::Free(16)), |found, _| {
            text_or_dash(found.session.room.as_deref())
        }));
    }
    columns.extend::<[(TextColumn, CellOf); 4]>([
        (TextColumn::words("MAP", Room::Spare(3)), |found, _| {
            // Cut here: a column that can be left out keeps its width.
            crate::top::harmless::fit(found.session.map.as_deref().unwrap_or("-"), 14)
        }),
        (TextColumn::words("PHASE", Room::Spare(0)), |found, _| {
            phase::name(found.session.phase).to_owned()
        }),
        (TextColumn::figures("TIME", Room::Spare(1)), |found, now_ms| {
            duration(Some(age_ms(&found.session, now_ms)))
        }),
        (TextColumn::figures("PLAYERS", Room::Spare(2)), |found, _| {
            let session = &found.session;
            match session.ended_unix_ms {
                None => format!("{}/{}", session.players, session.players_peak),
                Some(_) => format!("-/{}", session.players_peak),
            }
        }),
    ]);
    for metric in Metric::ALL.into_iter().filter(|metric| metrics.contains(metric)) {
        let of_metric: &[(TextColumn, CellOf)] = match metric {
            Metric::Cpu => &[(TextColumn::figures("CPUs", Room::Needed), |found, _| {
                let session = &found.session;
                estimated(session, cpu_seconds(session.used.cpu_ns))
            })],
            Metric::Memory => &[(TextColumn::figures("RSSPEAK", Room::Needed), |found, _| {
                memory(found.session.peak_rss_bytes)
            })],
            Metric::Network => &[
                (TextColumn::figures("NETIN", Room::Needed), |found, _| {
                    memory(found.session.used.rx_bytes)
                }),
                (TextColumn::figures("NETOUT", Room::Needed), |found, _| {
                    memory(found.session.used.tx_bytes)
                }),
            ],
            Metric::Disk => &[
                (TextColumn::figures("READ", Room::Needed), |found, _| {
                    memory(found.session.used.disk_read_bytes)
                }),
                (TextColumn::figures("WRITE", Room::Needed), |found, _| {
                    memory(found.session.used.disk_write_bytes)
                }),
            ],
        };
        columns.extend_from_slice(of_metric);
    }
    let rows: Vec<Vec<String>> = found
        .iter()
        .map(|found| columns.iter().map(|(_, cell)| cell(found, now_ms)).collect())
        .collect();
    let columns: Vec<TextColumn> = columns.iter().map(|(column, _)| *column).collect();
    table(&columns, &rows, LINE)
}

fn memory(value: Option<u64>) -> String {
    bytes(value.map(|value| value as f64))
}

fn detail_text(answer: &SessionResources, now_ms: i64) -> String {
    let session = &answer.of.session;
    let mut text = format!(
        "session {} on {}\n",
        harmless(&session.id),
        harmless(&answer.of.server)
    );
    // Writing to a string cannot fail.
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "  {name:<9} {value}");
    };
    line("phase", phase::name(session.phase).to_owned());
    for (name, value) in [
        ("map", &session.map),
        ("mode", &session.mode),
        ("room", &session.room),
        ("engine id", &session.external_id),
    ] {
        if let Some(value) = value {
            line(name, harmless(value).into_owned());
        }
    }
    let ago = |unix_ms: i64| duration(Some(now_ms - unix_ms));
    let times = match session.ended_unix_ms {
        None => format!("began {} ago, still running", ago(session.begun_unix_ms)),
        Some(ended) => format!(
            "began {} ago, ended {} ago, lasted {}",
            ago(session.begun_unix_ms),
            ago(ended),
            duration(Some(age_ms(session, now_ms)))
        ),
    };
    line("time", times);
    let phases: Vec<String> = session
        .phase_ms
        .iter()
        .map(|(phase, time_ms)| format!("{} {}", phase::name(*phase), duration(Some(*time_ms))))
        .collect();
    if !phases.is_empty() {
        line("phases", phases.join(", "));
    }
    line(
        "players",
        format!(
            "{} now, {} at most, {} joins, {} leaves",
            session.players, session.players_peak, session.joins, session.leaves
        ),
    );
    if let Some(cpu) = &answer.cpu {
        line("cpu", cpu_text(cpu));
        line(
            "",
            format!(
                "{} s runnable but not running",
                number(cpu.run_queue_wait_seconds, 2)
            ),
        );
    }
    if let Some(used) = &answer.memory {
        line(
            "memory",
            format!(
                "{} at most, {} now, growing by {}/s",
                memory(used.peak_resident_bytes),
                memory(used.resident_bytes),
                growth(used.growth_bytes_per_second),
            ),
        );
        line(
            "",
            format!(
                "{} anonymous, {} of files and shared",
                memory(used.anonymous_bytes),
                memory(used.file_bytes)
            ),
        );
        line(
            "",
            format!(
                "page faults {} minor, {} major",
                count(used.minor_faults),
                count(used.major_faults)
            ),
        );
    }
    if let Some(used) = &answer.network {
        let side = |packets, bytes| format!("{} packets, {}", count(packets), memory(bytes));
        line("in", side(used.receive_packets, used.receive_bytes));
        line("out", side(used.transmit_packets, used.transmit_bytes));
    }
    if let Some(used) = &answer.disk {
        let side = |bytes, calls| format!("{} in {} calls", memory(bytes), count(calls));
        line("read", side(used.read_bytes, used.read_calls));
        line("written", side(used.write_bytes, used.write_calls));
    }
    text
}

fn cpu_text(cpu: &ask::CpuUse) -> String {
    let seconds = number(cpu.seconds, 2);
    match (cpu.basis, cpu.interval_seconds) {
        (CpuBasis::Process, _) => format!("{seconds} s, counted for the whole process"),
        (CpuBasis::NamedThreads, None) => format!("{seconds} s, counted for the room's threads"),
        (CpuBasis::NamedThreads, Some((low, high))) => {
            format!("~{seconds} s, cut from the room's threads: {low:.2} to {high:.2} s")
        }
        (CpuBasis::Shared, Some((low, high))) => {
            format!("~{seconds} s, shared by players and traffic: {low:.2} to {high:.2} s")
        }
        (CpuBasis::Shared, None) => format!("~{seconds} s, shared by players and traffic"),
    }
}

fn growth(value: Option<f64>) -> String {
    match value {
        Some(value) if value < 0.0 => format!("-{}", bytes(Some(-value))),
        value => bytes(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        top::harmless::width,
        world::session::ask::{
            SessionFilter, session_resources, sessions,
            tests::{HOSTILE, NOW_MS, a_session, a_snapshot},
        },
    };

    fn fits(text: &str) {
        for line in text.lines() {
            assert!(width(line) <= LINE, "{} columns: {line}", width(line));
        }
        assert!(
            !text.chars().any(|sign| sign.is_control() && sign != '\n'),
            "{text}"
        );
    }

    fn found(session: SessionSnapshot) -> FoundSession {
        FoundSession {
            server: "a server with quite a long name".into(),
            session,
        }
    }

    #[test]
    fn the_list_shows_what_matters() {
        let found = sessions(&a_snapshot(), &SessionFilter::default()).unwrap();
        let text = list_text(&found, None, &[Metric::Cpu, Metric::Memory], NOW_MS);
        for part in [
            "SERVER",
            "arena one",
            "1-2",
            "q3dm17",
            "active",
            "10m00s",
            "3/5",
            "-/5",
            "3.5",
            "64.0M",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        fits(&text);
        assert!(!list_text(&found, Some("arena one"), &[], NOW_MS).contains("SERVER"));
        assert_eq!(list_text(&[], None, &[], NOW_MS), "no session fits\n");
    }

    #[test]
    fn every_choice_of_metrics_fits_a_line_whatever_the_names() {
        let hostile = SessionSnapshot {
            room: Some(HOSTILE.into()),
            map: Some(format!("{HOSTILE}{}", "玩".repeat(100)).into()),
            peak_rss_bytes: Some(1_023 << 30),
            ..a_session("1767225600-12345", Phase::Loading)
        };
        let mut estimate = hostile.clone();
        estimate.cpu_basis = CpuBasis::Shared;
        estimate.used.disk_write_bytes = Some(1_023 << 30);
        let rows = [found(hostile), found(estimate)];
        for metrics in [&[][..], &[Metric::Network], &Metric::ALL] {
            for server in [None, Some("x")] {
                let text = list_text(&rows, server, metrics, NOW_MS);
                fits(&text);
                assert!(text.contains("1767225600-12345"), "{text}");
            }
        }
        let text = list_text(&rows, None, &Metric::ALL, NOW_MS);
        assert!(text.contains("~3.5") && text.contains("1023.0G"), "{text}");
    }

    #[test]
    fn the_detail_has_only_what_was_asked_for() {
        let snapshot = a_snapshot();
        let detail = |metrics: &[Metric]| {
            let answer = session_resources(&snapshot, "arena one", "1-2", metrics).unwrap();
            detail_text(&answer, NOW_MS)
        };
        let text = detail(&[Metric::Cpu]);
        assert!(text.contains("3.50 s, counted for the whole process"), "{text}");
        assert!(!text.contains("memory") && !text.contains("written"), "{text}");
        let text = detail(&Metric::ALL);
        for part in [
            "began 10m00s ago",
            "60.0M now",
            "1000 packets, 78.1K",
            "- in 9 calls",
            "active 8m58s",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        fits(&text);
    }

    #[test]
    fn an_estimate_is_marked_and_has_its_interval() {
        let mut snapshot = a_snapshot();
        let session = &mut snapshot.servers[0].game_state.sessions[0];
        session.cpu_basis = CpuBasis::Shared;
        session.cpu_interval_ns = Some((1_000_000_000, 5_250_000_000));
        session.mode = Some(HOSTILE.into());
        let answer = session_resources(&snapshot, "arena one", "1-2", &[Metric::Cpu]).unwrap();
        let text = detail_text(&answer, NOW_MS);
        assert!(
            text.contains("~3.50 s") && text.contains("1.00 to 5.25 s"),
            "{text}"
        );
        fits(&text);
    }
}
