//! Advice as text.

use std::fmt::Write;

use super::{Answer, Simulated};
use crate::{
    analysis::advice::{
        GroupAdvice,
        plan::{Action, TakeAway, TimeBasis},
    },
    cli::times,
    top::harmless::harmless,
};

pub fn text(answer: &Answer) -> String {
    let mut text = String::new();
    for group in &answer.advice.groups {
        group_text(&mut text, group);
    }
    for left in &answer.advice.left_alone {
        let _ = writeln!(
            text,
            "{}: no advice, keep what runs: {}",
            harmless(&left.group.words()),
            harmless(&left.why)
        );
    }
    if answer.advice.groups.is_empty() && answer.advice.left_alone.is_empty() {
        text.push_str(match answer.without_trace.is_empty() {
            true if answer.unknown_hosts.is_empty() => {
                "no servers are known: there is nothing to advise on\n"
            }
            true => "no server of a host that answers is known: there is nothing to advise on\n",
            false => "no server runs or has a history in this range: there is nothing to advise on\n",
        });
    }
    for server in &answer.without_trace {
        let _ = writeln!(
            text,
            "{} is known, but does not run, and has no history in this range",
            harmless(server)
        );
    }
    for host in &answer.unknown_hosts {
        let _ = writeln!(
            text,
            "{} is silent: what runs there is not known, and is in no number of servers",
            harmless(host)
        );
    }
    for simulated in &answer.simulated {
        simulated_text(&mut text, simulated);
    }
    text
}

fn known(basis: TimeBasis) -> &'static str {
    match basis {
        TimeBasis::Measured => "measured",
        TimeBasis::Configured => "configured",
        TimeBasis::Assumed => "assumed",
    }
}

fn group_text(text: &mut String, group: &GroupAdvice) {
    let _ = writeln!(
        text,
        "{}: {} servers run, {} are wanted now; {} players each ({})",
        harmless(&group.group.words()),
        group.running,
        group.wanted_now,
        group.size.players,
        group.size.bound_by.words()
    );
    let _ = writeln!(
        text,
        "  demand by {}; warm-up {:.0} s ({}), cool-down {:.0} s ({})",
        group.basis.words(),
        group.warm_up.seconds,
        known(group.warm_up.basis),
        group.cool_down.seconds,
        known(group.cool_down.basis)
    );
    if let (Some(hosts), Some(least)) = (group.hosts_at_peak, group.hosts_lower_bound) {
        let _ = writeln!(
            text,
            "  at the peak on {hosts} hosts; fewer than {least} cannot do"
        );
    }
    for change in &group.timetable.changes {
        let what = match change.action {
            Action::SpinUp => "start",
            Action::SpinDown => "take away",
        };
        let _ = writeln!(
            text,
            "  {}  {what} {}, then {}: {} (sure: {})",
            times::date_and_time(change.unix_ms),
            change.count,
            change.servers_after,
            change.why,
            change.sure.words()
        );
        for which in &change.which {
            let _ = match which {
                TakeAway::Stop { server } => writeln!(text, "    stop {}", harmless(server)),
                TakeAway::Drain {
                    server,
                    players,
                    fits_elsewhere,
                } => writeln!(
                    text,
                    "    drain {} ({}{})",
                    harmless(server),
                    players.map_or("players unknown".to_owned(), |players| format!(
                        "{players} players"
                    )),
                    if *fits_elsewhere {
                        ", they fit on the others"
                    } else {
                        ""
                    }
                ),
            };
        }
    }
    if group.timetable.changes.is_empty() {
        text.push_str("  nothing to change\n");
    }
    for note in &group.timetable.notes {
        let _ = writeln!(text, "  {note}");
    }
    let Some(costs) = &group.costs else { return };
    let currency = costs
        .currency
        .as_deref()
        .map(|name| format!(" {}", harmless(name)))
        .unwrap_or_default();
    for (name, bill) in [
        ("as advised", costs.plan),
        ("nothing changed", costs.nothing),
        ("for the peak", costs.peak),
    ] {
        let cost = bill
            .cost
            .map_or("cost unknown".to_owned(), |cost| format!("{cost:.2}{currency}"));
        let _ = writeln!(
            text,
            "  {name:<16} {:>8.1} server-hours ({:.1} idle), {:.1} player-hours unserved, {cost}",
            bill.server_hours, bill.idle_server_hours, bill.unserved_player_hours
        );
    }
    for wrong in [costs.too_many, costs.too_few] {
        let _ = writeln!(
            text,
            "  if demand is its {:.0} % quantile: {:.1} server-hours idle, {:.1} player-hours unserved",
            100.0 * wrong.quantile,
            wrong.idle_server_hours,
            wrong.unserved_player_hours
        );
    }
    if !costs.missing.is_empty() {
        let _ = writeln!(
            text,
            "  no price for: {} ([advice.prices])",
            costs.missing.join(", ")
        );
    }
}

fn simulated_text(text: &mut String, simulated: &Simulated) {
    let name = simulated.group.words();
    if let Some(error) = &simulated.error {
        let _ = writeln!(text, "{}: no replay: {error}", harmless(&name));
    }
    let Some(comparison) = &simulated.comparison else {
        return;
    };
    let _ = writeln!(
        text,
        "{}: the last {:.0} h replayed",
        harmless(&name),
        comparison.hours
    );
    for (name, outcome) in [
        ("advice".to_owned(), comparison.advice),
        (format!("buffer of {}", comparison.buffer_size), comparison.buffer),
        ("oracle".to_owned(), comparison.oracle),
    ] {
        let _ = writeln!(
            text,
            "  {name:<16} {:>10.1} player-minutes unserved, {:>8.1} server-hours idle of {:.1}",
            outcome.unserved_player_minutes, outcome.idle_server_hours, outcome.server_hours
        );
    }
    if comparison.buffer_is_better() {
        let _ = writeln!(
            text,
            "  a static buffer of {} would have done better: use that",
            comparison.buffer_size
        );
    }
}
