//! `gsmon why SERVER`: Markdown for a ticket. A client of the running agent.

use std::{fmt::Write, process::ExitCode};

use super::{
    Failure, Outcome, SocketArg, print_json,
    source::{Asked, SourceArgs},
    times, unix_ms,
};
use crate::{
    analysis::{
        spikes::{Evidence, Spike, SpikeOf},
        why::{Blame, LineFigure, PlayerLine, WhyReport, Window, Worse, why, why_of_kept_spikes},
    },
    history::{Measure, Resolution, TimeRange},
    top::harmless::harmless,
};

#[derive(Debug, clap::Args)]
pub struct WhyArgs {
    /// Server.
    server: String,
    /// Is it this player's own line? By name, platform id or address, as `gsmon players` has them, or by pseudonym.
    #[arg(long)]
    player: Option<String>,
    /// Around this time: 20:14, 2026-03-01T20:14 (local), or RFC 3339 [default: the last ten minutes].
    #[arg(long, value_parser = times::parse_moment)]
    at: Option<i64>,
    /// Around this window: two times with `..` between them, or 20m for the last twenty minutes.
    #[arg(long, value_parser = times::parse_range, conflicts_with = "at")]
    range: Option<TimeRange>,
    /// One JSON document.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    socket: SocketArg,
}

/// Before and after the time that was asked about.
const BEFORE_MS: i64 = 60_000;
const AFTER_MS: i64 = 120_000;
/// What is looked at before a window that memory no longer has, and half of it after.
const AROUND_MS: i64 = 3_600_000;
/// A window this old still has half an hour before it in memory.
const REMEMBERED_MS: i64 = 1_800_000;
/// Without a time.
const LATELY_MS: i64 = 600_000;

pub fn run(args: &WhyArgs) -> Outcome {
    let now = unix_ms();
    let window = match (args.at, args.range) {
        (_, Some(range)) => Window {
            from_unix_ms: range.from_unix_ms,
            to_unix_ms: range.to_unix_ms,
        },
        (Some(at), None) => Window {
            from_unix_ms: at - BEFORE_MS,
            to_unix_ms: at + AFTER_MS,
        },
        (None, None) => Window {
            from_unix_ms: now - LATELY_MS,
            to_unix_ms: now,
        },
    };
    // What is usual is told by the time around it. The last hour comes from memory, with
    // the players' own lines; older lines from the file, by the minute.
    let around = TimeRange {
        from_unix_ms: window.from_unix_ms.saturating_sub(AROUND_MS),
        to_unix_ms: window.to_unix_ms.saturating_add(AROUND_MS / 2),
    };
    let asked = Asked::of(&args.source, &args.socket)?;
    let remembered = matches!(asked, Asked::Agent(_)) && window.from_unix_ms >= now - REMEMBERED_MS;
    let frames = match remembered {
        true => asked.frames(&args.server, None, Resolution::Fitting)?,
        false => match &args.player {
            Some(player) => asked.frames_with_lines(&args.server, around, Resolution::Raw, Some(player))?,
            None => asked.frames(&args.server, Some(around), Resolution::Raw)?,
        },
    };
    let mut report = why(&args.server, &frames, window, args.player.as_deref());
    if report.blame == [Blame::NotKnown] {
        // Samples go before what was found in them.
        let within = TimeRange {
            from_unix_ms: window.from_unix_ms,
            to_unix_ms: window.to_unix_ms,
        };
        let kept = asked.spikes(&args.server, within)?;
        let spikes: Vec<Spike> = kept.iter().filter_map(Spike::of_stored).collect();
        report = why_of_kept_spikes(&args.server, window, spikes);
    }
    if report.blame == [Blame::NotKnown] {
        let kept = match (frames.first(), frames.last()) {
            (Some(first), Some(last)) => format!(
                "there are frames from {} to {}",
                times::date_and_time(first.unix_ms),
                times::date_and_time(last.unix_ms)
            ),
            _ => "there are none around that time".to_owned(),
        };
        return Err(Failure::Failed(anyhow::anyhow!(
            "nothing is known of {} between {} and {}: samples are kept for as long as [history] raw says, and {kept}",
            harmless(&args.server),
            times::date_and_time(window.from_unix_ms),
            times::date_and_time(window.to_unix_ms)
        )));
    }
    match args.json {
        true => print_json(&report)?,
        false => print!("{}", markdown(&report)),
    }
    Ok(ExitCode::SUCCESS)
}

fn verdict(blame: Blame) -> &'static str {
    match blame {
        Blame::Server => "the server itself (what the game and its players did)",
        Blame::Host => "a neighbour on the host, or the host itself",
        Blame::NetworkPath => "the network path that players share",
        Blame::PlayersLine => "this player's own line",
        Blame::Unexplained => "the server spiked, and nothing that is measured explains it",
        Blame::Nothing => "nothing out of the ordinary was seen",
        Blame::NotKnown => "nothing is known of this time",
    }
}

/// Names may hold what Markdown takes for layout.
fn cell(text: &str) -> String {
    let mut safe = String::new();
    for sign in harmless(text).chars() {
        if "\\`*_[]<>|#".contains(sign) {
            safe.push('\\');
        }
        safe.push(sign);
    }
    safe
}

fn markdown(report: &WhyReport) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "## {}: {} to {}\n",
        cell(&report.server),
        times::date_and_time(report.from_unix_ms),
        times::date_and_time(report.to_unix_ms)
    );
    let mut blames = report.blame.iter().map(|blame| verdict(*blame));
    let _ = writeln!(text, "**Most likely: {}.**", blames.next().unwrap_or_default());
    for also in blames {
        let _ = writeln!(text, "Also: {also}.");
    }
    let _ = match report.seconds > 0.0 {
        true => writeln!(text, "\n{:.0} s of this window were measured.", report.seconds),
        false => writeln!(
            text,
            "\nThe samples of this time are gone: these are the spikes that were found while they were there. How players' \
             networks were is not known any more."
        ),
    };
    if let Some(player) = &report.player {
        player_part(&mut text, player);
    }
    spikes_part(&mut text, &report.spikes);
    if !report.worse.is_empty() {
        let _ = writeln!(text, "\n### Worse on the network than at other times\n");
        for worse in &report.worse {
            let _ = writeln!(text, "- {}", worse_line(worse));
        }
    }
    let _ = writeln!(
        text,
        "\nA cause is named where its figure is rare at other times (p); that is evidence, no proof."
    );
    text
}

fn figure(measure: Measure, value: f64) -> String {
    let name = measure.name();
    if name.ends_with("_ratio") {
        return format!("{:.2} %", value * 100.0);
    }
    if name.ends_with("_ms") {
        return format!("{value:.1} ms");
    }
    if name.ends_with("_cores") {
        return format!("{value:.3} cores");
    }
    if name.ends_with("_per_second") {
        return format!("{value:.0}/s");
    }
    format!("{value:.0}")
}

fn name(measure: Measure) -> &'static str {
    match measure {
        Measure::RttP50Ms => "round trip",
        Measure::JitterMs => "jitter",
        Measure::LossUpRatio => "loss on the way to the server",
        Measure::LossDownRatio => "loss on the way to players",
        Measure::UdpDropsPerSecond => "datagrams dropped at full sockets",
        other => other.name(),
    }
}

fn worse_line(worse: &Worse) -> String {
    format!(
        "{}: {} (5 s mean; usually {}, 95 % of times below {}; p {})",
        name(worse.measure),
        figure(worse.measure, worse.value),
        figure(worse.measure, worse.usual),
        figure(worse.measure, worse.usual_high),
        chance(worse.p_value)
    )
}

fn chance(p: f64) -> String {
    match p < 0.001 {
        true => "< 0.001".to_owned(),
        false => format!("{p:.3}"),
    }
}

fn spikes_part(text: &mut String, spikes: &[Spike]) {
    if spikes.is_empty() {
        let _ = writeln!(text, "\nNo spike of tick time or CPU.");
        return;
    }
    let _ = writeln!(
        text,
        "\n### Spikes of the server\n\n| time | what | cause | evidence |\n|---|---|---|---|"
    );
    for spike in spikes {
        let what = match spike.of {
            SpikeOf::TickTime => format!("tick time {:.1} ms (usually {:.1})", spike.peak, spike.usual),
            SpikeOf::Cpu => format!("CPU {:.2} cores (usually {:.2})", spike.peak, spike.usual),
        };
        let (cause, evidence) = match spike.causes.split_first() {
            None => (
                "unexplained".to_owned(),
                "nothing that is measured fits".to_owned(),
            ),
            Some((first, rest)) => {
                let mut evidence = evidence_words(first);
                for other in rest.iter().take(2) {
                    let _ = write!(
                        evidence,
                        "; also {}: {}",
                        other.cause.words(),
                        evidence_words(other)
                    );
                }
                (first.cause.words().to_owned(), evidence)
            }
        };
        let time = times::time_of_day(spike.unix_ms);
        let _ = writeln!(
            text,
            "| {time} | {what}, {:.0} s | {cause} | {evidence} |",
            spike.seconds
        );
    }
    let mut absent: Vec<&str> = spikes
        .iter()
        .flat_map(|spike| &spike.not_measured)
        .map(|cause| cause.words())
        .collect();
    absent.sort_unstable();
    absent.dedup();
    if !absent.is_empty() {
        let _ = writeln!(
            text,
            "\nNot measured, or too little of it, so not excluded: {}.",
            absent.join(", ")
        );
    }
}

fn evidence_words(evidence: &Evidence) -> String {
    let lead = match evidence.lead_seconds > 0.0 {
        true => format!(", {:.0} s before", evidence.lead_seconds),
        false => String::new(),
    };
    format!(
        "{} {} (usually {}, 90 % within {} to {}{lead}; p {})",
        evidence.measure.name(),
        figure(evidence.measure, evidence.value),
        figure(evidence.measure, evidence.usual),
        figure(evidence.measure, evidence.usual_range.0),
        figure(evidence.measure, evidence.usual_range.1),
        chance(evidence.p_value)
    )
}

fn player_part(text: &mut String, player: &PlayerLine) {
    let _ = writeln!(text, "\n### {}\n", cell(&player.player));
    if player.figures.is_empty() {
        let _ = writeln!(
            text,
            "This player's network was not measured in this window (`gsmon players` has the names that are known), so that \
             their line is not excluded."
        );
        return;
    }
    let _ = writeln!(
        text,
        "| figure | in the window | middle 80 % | at other times | other players | |\n|---|---|---|---|---|---|"
    );
    for line in &player.figures {
        let _ = writeln!(text, "{}", line_row(line));
    }
    if player.others_too {
        let _ = writeln!(
            text,
            "\nThe other players were worse off at that time too: a path that they share."
        );
    }
}

fn line_row(line: &LineFigure) -> String {
    let told = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| figure(line.measure, value));
    let others = match line.others_worse_ratio {
        Some(worse) => format!("{}, {:.0} % of them worse", told(line.others), worse * 100.0),
        None => "-".to_owned(),
    };
    format!(
        "| {} | {} | {} to {} | {} | {others} | {} |",
        name(line.measure),
        told(Some(line.value)),
        told(Some(line.low)),
        told(Some(line.high)),
        told(line.usual),
        if line.bad { "bad" } else { "" }
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Frame, PlayerPoint};

    #[test]
    fn a_ticket_has_verdict_evidence_and_what_was_not_measured() {
        let mut frames: Vec<Frame> = (0..400)
            .map(|second| {
                Frame::new(1_700_000_000_000 + second * 1_000, 1.0)
                    .with(Measure::TickP99Ms, 5.0 + (second % 7) as f64 / 10.0)
                    .with(Measure::Joins, 0.0)
                    .with(Measure::RunQueueWaitRatio, 0.01)
            })
            .collect();
        frames[300].set(Measure::TickP99Ms, Some(30.0));
        frames[300].set(Measure::Joins, Some(6.0));
        frames[290].players = vec![PlayerPoint {
            player: "An|n*".into(),
            region: None,
            rtt_ms: Some(300.0),
            jitter_ms: None,
            loss_up_ratio: None,
            loss_down_ratio: None,
            rx_packets_per_second: None,
            tx_packets_per_second: None,
        }]
        .into();
        let window = Window {
            from_unix_ms: frames[280].unix_ms,
            to_unix_ms: frames[320].unix_ms,
        };
        let text = markdown(&why("arena", &frames, window, Some("An|n*")));
        for part in [
            "**Most likely: this player's own line.**",
            "Also: the server itself",
            "### An\\|n\\*",
            "| round trip | 300.0 ms |",
            "| players joining |",
            "joins 6 (usually 0",
            "Not measured, or too little of it, so not excluded: ",
        ] {
            assert!(text.contains(part), "{part} is not in:\n{text}");
        }
        let quiet = markdown(&why(
            "arena",
            &frames[..200],
            Window {
                from_unix_ms: 0,
                to_unix_ms: i64::MAX,
            },
            None,
        ));
        assert!(
            quiet.contains("nothing out of the ordinary") && quiet.contains("No spike"),
            "{quiet}"
        );
    }
}
