//! `gsmon recommend --placement`: which region players who are here now should go to.

use std::{fmt::Write, process::ExitCode};

use super::{RecommendArgs, seen::Seen};
use crate::{
    analysis::advice::{
        GroupFacts,
        placement::{self, Distance, Origin, Placement, Question, Site},
    },
    cli::{Failure, Outcome, print_json},
    config::AdviceSettings,
    top::harmless::harmless,
};

/// Players who are here now, by region, and where they would be best.
pub fn placed(args: &RecommendArgs, seen: &Seen, facts: &[GroupFacts], settings: &AdviceSettings) -> Outcome {
    if settings.regions.is_empty() {
        return Err(Failure::Usage(anyhow::anyhow!(
            "a placement needs regions: name them as [[advice.region]] with rtt_ms and prices"
        )));
    }
    let players = seen.players_by_region.as_ref().ok_or_else(|| {
        Failure::Usage(anyhow::anyhow!(
            "where players are is no metric: ask the agent or a fleet for a placement"
        ))
    })?;
    if players.is_empty() {
        return Err(Failure::Failed(anyhow::anyhow!(
            "nobody is here whose region is known: tell regions by [regions]"
        )));
    }
    // Servers of the smallest size: what is known of one region stands in for the others.
    let smallest = facts.iter().map(|facts| facts.size.players).min();
    let mut sites = Vec::new();
    for region in &settings.regions {
        let own = facts
            .iter()
            .filter(|facts| facts.demand.group.region.as_deref() == Some(&*region.name));
        let seats = own
            .map(|facts| facts.size.players)
            .min()
            .or(smallest)
            .ok_or_else(|| {
                Failure::Usage(anyhow::anyhow!(
                    "nobody says how many players a server holds: set players_per_server in [[advice.group]]"
                ))
            })?;
        let prices = settings.prices_in(Some(&region.name));
        let each = facts
            .iter()
            .filter_map(|facts| facts.transmit_per_player)
            .fold(0.0, f64::max);
        sites.push(Site {
            region: region.name.clone(),
            seats,
            most_servers: region.most_servers.unwrap_or(1_000),
            server_hour: prices.server_hour.unwrap_or(0.0),
            player_hour: prices.egress_gb.unwrap_or(0.0) * each * 3_600.0 / 1e9,
        });
    }
    let question = Question {
        origins: players
            .iter()
            .map(|(region, players)| Origin {
                region: region.clone(),
                players: u32::try_from(*players).unwrap_or(u32::MAX),
            })
            .collect(),
        sites,
        distances: settings
            .regions
            .iter()
            .flat_map(|region| {
                region.rtt_ms.iter().map(|(from, rtt_ms)| Distance {
                    from: from.clone(),
                    to: region.name.clone(),
                    rtt_ms: *rtt_ms,
                })
            })
            .collect(),
        penalty_per_ms: None,
    };
    let placement = placement::place(&question, &args.experience.targets())?;
    match args.json {
        true => print_json(&placement)?,
        false => {
            print!("{}", placement_text(&placement));
            for host in &seen.unknown_hosts {
                println!("{} is silent: players there are not counted", harmless(host));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn placement_text(placement: &Placement) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    for placed in &placement.placed {
        let _ = writeln!(
            text,
            "{}: {} servers for {} players",
            harmless(&placed.region),
            placed.servers,
            placed.players
        );
    }
    for sent in &placement.sent {
        let _ = writeln!(
            text,
            "  {} players from {} to {}, {:.0} ms",
            sent.players,
            harmless(&sent.from),
            harmless(&sent.to),
            sent.rtt_ms
        );
    }
    let _ = writeln!(text, "costs {:.2} an hour", placement.cost_per_hour);
    for (from, to) in &placement.unknown_distances {
        let _ = writeln!(
            text,
            "not used, since nobody says how far it is: from {} to {}",
            harmless(from),
            harmless(to)
        );
    }
    text
}
