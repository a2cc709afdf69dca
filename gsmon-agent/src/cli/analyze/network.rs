//! `gsmon analyze network [SERVER]`: buckets, effects, overhead and lag compensation, as text, JSON or a picture.
//! [`run`] takes nothing but its arguments, so that another command can show the same.

use std::{fmt::Write, path::PathBuf, process::ExitCode};

use super::{
    super::{
        Failure, Outcome, SocketArg, print_json,
        source::{Asked, SourceArgs},
        times,
    },
    plot, told,
};
use crate::{
    analysis::{
        lag::{LagBasis, LagCost},
        network::{BucketRow, Buckets, Regions},
    },
    history::{Resolution, TimeRange},
    questions::NetworkAnswer,
    top::{
        harmless::harmless,
        table::{LINE, Room, TextColumn, table},
    },
};

/// Lower bounds of latency buckets where none are given.
pub const USUAL_BUCKETS_MS: [f64; 5] = [0.0, 50.0, 100.0, 200.0, 500.0];

#[derive(Debug, clap::Args)]
pub struct NetworkArgs {
    /// This server only.
    pub server: Option<String>,
    /// 24h, 7d, or two times with `..` between them [default: the last hour]. Players' own round trips are known
    /// for as long as `[history] lines` says, by the minute: a range of hours has no latency buckets.
    #[arg(long, value_parser = times::parse_range)]
    pub range: Option<TimeRange>,
    /// By region as well.
    #[arg(long)]
    pub regions: bool,
    /// Lower bounds of latency buckets, ms.
    #[arg(long, value_delimiter = ',', default_values_t = USUAL_BUCKETS_MS)]
    pub buckets: Vec<f64>,
    /// One JSON document.
    #[arg(long)]
    pub json: bool,
    /// Draw it into this SVG file; needs SERVER.
    #[arg(long, requires = "server", value_name = "FILE")]
    pub plot: Option<PathBuf>,
    #[command(flatten)]
    pub source: SourceArgs,
    #[command(flatten)]
    pub socket: SocketArg,
}

/// Asks the agent, and shows the answer.
pub fn run(args: &NetworkArgs) -> Outcome {
    let buckets = Buckets::new(args.buckets.clone()).map_err(|error| Failure::Usage(error.into()))?;
    let regions = match args.regions {
        true => Regions::Included,
        false => Regions::LeftOut,
    };
    let asked = Asked::of(&args.source, &args.socket)?;
    let servers = match &args.server {
        Some(server) => vec![server.clone()],
        None => asked.servers()?,
    };
    let mut all = Vec::with_capacity(servers.len());
    for server in servers {
        let frames = match args.range {
            Some(range) => asked.frames_with_lines(&server, range, Resolution::Fitting, None)?,
            None => asked.frames(&server, None, Resolution::Fitting)?,
        };
        all.push((server, frames));
    }
    let answers: Vec<NetworkAnswer> = all
        .iter()
        .map(|(server, frames)| NetworkAnswer::of(server, frames, regions, &buckets))
        .collect();
    if let (Some(path), Some(answer), Some((_, frames))) = (&args.plot, answers.first(), all.first()) {
        let picture = plot::svg(&answer.server, frames, &answer.report)?;
        std::fs::write(path, picture)
            .map_err(|error| anyhow::anyhow!("cannot write {}: {error}", path.display()))?;
    }
    match args.json {
        true => print_json(&answers)?,
        false => answers.iter().for_each(|answer| print!("{}", text(answer))),
    }
    Ok(ExitCode::SUCCESS)
}

fn text(answer: &NetworkAnswer) -> String {
    let report = &answer.report;
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "{}: {:.0} s of frames, {:.0} s of them with round trips",
        harmless(&answer.server),
        report.seconds,
        report.round_trips_seconds
    );
    if report.buckets.is_empty() {
        let _ = writeln!(
            text,
            "  no player's round trip is measured here, so there are no latency buckets"
        );
    } else {
        text += &buckets_table(&report.buckets);
    }
    if report.effects.is_empty() {
        let _ = writeln!(
            text,
            "  fewer than 60 frames with packets and a number of players that keeps: no links can be looked for"
        );
    }
    for effect in &report.effects {
        let _ = writeln!(text, "  {}", effect.words);
    }
    match report.overhead_ns_per_packet_100_ms {
        Some(overhead) => {
            let _ = writeln!(
                text,
                "  packet processing per packet: {} ns more per 100 ms of round trip",
                told(Some(overhead), 1.0, 0)
            );
        }
        None => {
            let _ = writeln!(
                text,
                "  packet processing time is not measured, or round trips are not"
            );
        }
    }
    match &answer.lag_compensation {
        Some(cost) => text += &lag_words(cost),
        None => {
            let _ = writeln!(
                text,
                "  lag compensation: round trips are not measured, or do not move"
            );
        }
    }
    text
}

fn lag_words(cost: &LagCost) -> String {
    let basis = match cost.basis {
        LagBasis::Probe => "measured by its probe",
        LagBasis::Regression => "by regression: whatever grows with round trips is in it",
    };
    let tick = match cost.us_per_player_100_ms_tick {
        Some(tick) => format!(", {} us per tick", told(Some(tick), 1.0, 1)),
        None => String::new(),
    };
    let share = match cost.share_of_cpu_ratio {
        Some(share) => format!(", {:.0} % of the server's CPU", share * 100.0),
        None => String::new(),
    };
    format!(
        "  lag compensation costs {} ms of CPU per second for each player and 100 ms of round trip{tick}{share} ({basis})\n",
        told(Some(cost.cores_per_player_100_ms), 1e3, 3)
    )
}

fn buckets_table(rows: &[BucketRow]) -> String {
    let mut columns = vec![TextColumn::figures("RTTms", Room::Needed)];
    let regions = rows.iter().any(|row| row.region.is_some());
    if regions {
        columns.push(TextColumn::words("REGION", Room::Free(16)));
    }
    columns.extend([
        TextColumn::figures("PLAYERS", Room::Needed),
        TextColumn::figures("CPUms/s PER FURTHER PLAYER", Room::Needed),
        TextColumn::figures("CPUms/s PER PLAYER", Room::Needed),
        TextColumn::figures("TICKms", Room::Needed),
        TextColumn::figures("PKT/s", Room::Needed),
        TextColumn::figures("LOSSUP%", Room::Needed),
        TextColumn::figures("LOSSDN%", Room::Needed),
        TextColumn::figures("NS/PKT", Room::Needed),
    ]);
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            let server = row.server.as_ref();
            let range = match row.to_ms {
                Some(to) => format!("{}-{to}", row.from_ms),
                None => format!("{}+", row.from_ms),
            };
            let mut cells = vec![range];
            if regions {
                cells.push(row.region.as_deref().unwrap_or("-").to_owned());
            }
            let or = |own, of_server: fn(&_) -> _| match own {
                Some(own) => Some(own),
                None => server.and_then(of_server),
            };
            cells.extend([
                row.players
                    .map_or_else(|| "-".to_owned(), |players| format!("{players:.1}")),
                told(row.cores_per_further_player, 1e3, 2),
                told(server.and_then(|server| server.cpu_cores_per_player), 1e3, 2),
                told(server.and_then(|server| server.tick_p50_ms), 1.0, 2),
                told(
                    or(
                        row.packets_per_player_second,
                        |server: &crate::analysis::network::FrameFigures| server.packets_per_player_second,
                    ),
                    1.0,
                    0,
                ),
                told(or(row.loss_up_ratio, |server| server.loss_up_ratio), 100.0, 2),
                told(or(row.loss_down_ratio, |server| server.loss_down_ratio), 100.0, 2),
                told(server.and_then(|server| server.overhead_ns_per_packet), 1.0, 0),
            ]);
            cells
        })
        .collect();
    // Columns of which nothing is known would push the others off the line.
    let known: Vec<usize> = (0..columns.len())
        .filter(|index| *index == 0 || cells.iter().any(|row| row[*index] != "-"))
        .collect();
    let columns: Vec<TextColumn> = known.iter().map(|index| columns[*index]).collect();
    let cells: Vec<Vec<String>> = cells
        .iter()
        .map(|row| known.iter().map(|index| row[*index].clone()).collect())
        .collect();
    table(&columns, &cells, 2 * LINE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Frame, Measure};

    fn frames(round_trips: bool) -> Vec<Frame> {
        (0..300)
            .map(|second| {
                let players = 8.0 + (second / 30 % 3) as f64;
                let mut frame = Frame::new(second * 1_000, 1.0)
                    .with(
                        Measure::CpuCores,
                        0.05 + 0.01 * players + (second % 5) as f64 / 1e3,
                    )
                    .with(Measure::TickP50Ms, 2.0 + (second % 7) as f64 / 10.0)
                    .with(Measure::TickRateHz, 20.0)
                    .with(Measure::Players, players)
                    .with(Measure::RxPacketsPerSecond, 30.0 * players + (second % 11) as f64)
                    .with(Measure::TxPacketsPerSecond, 20.0 * players);
                if round_trips {
                    let rtt = 40.0 + 20.0 * (second as f64 / 9.0).sin();
                    frame = frame.with(Measure::RttP50Ms, rtt).with(Measure::RttMeanMs, rtt);
                }
                frame
            })
            .collect()
    }

    fn answer(frames: &[Frame]) -> NetworkAnswer {
        NetworkAnswer::of("arena", frames, Regions::LeftOut, &Buckets::default())
    }

    #[test]
    fn text_and_picture_have_what_is_known_and_say_what_is_not() {
        let known = frames(true);
        let with = answer(&known);
        let words = text(&with);
        for part in [
            "0-50",
            "50-100",
            "lag compensation costs",
            "by regression",
            "round trip and CPU",
        ] {
            assert!(words.contains(part), "{part} is not in\n{words}");
        }
        assert!(!words.contains("LOSSUP%"), "{words}");
        let picture = plot::svg("arena <1>", &known, &with.report).unwrap();
        assert!(
            picture.starts_with("<svg") && picture.contains("round trip") && !picture.contains("arena <1>")
        );
        let without = text(&answer(&frames(false)));
        assert!(
            without.contains("no player's round trip is measured"),
            "{without}"
        );
        plot::svg("arena", &frames(false), &answer(&frames(false)).report).unwrap();
        plot::svg("arena", &[], &answer(&[]).report).unwrap();
    }
}
