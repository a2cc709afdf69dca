//! `gsmon analyze ...`: questions to the history, answered with their uncertainty. Clients of the running agent.

mod actions;
mod bots;
mod memory;
mod migrations;
pub mod netcode;
pub mod network;
mod players;
mod players_plot;
mod plot;
mod queue;
mod range;

use super::{Failure, Outcome, SocketArg};
use crate::{
    analysis::stats::Estimate,
    history::{ServerFrames, TimeRange},
    serve::{Route, fetch},
};

#[derive(Debug, clap::Args)]
pub struct AnalyzeArgs {
    #[command(subcommand)]
    question: Question,
}

#[derive(Debug, clap::Subcommand)]
enum Question {
    /// What players' round trips, jitter, loss and packets do to a server.
    #[command(
        after_help = "Examples:\n  gsmon analyze network arena\n  gsmon analyze network arena --regions --buckets 0,40,80,160\n  gsmon analyze network arena --plot arena.svg\n  gsmon analyze network --json | jq '.[].report.effects[].words'"
    )]
    Network(network::NetworkArgs),
    /// Did a change of netcode change anything? Compares two windows.
    #[command(
        after_help = "Examples:\n  gsmon analyze netcode arena --before 20:00..20:15 --after 20:20..20:35\n  gsmon analyze netcode arena --before 2026-03-01T20:00..2026-03-01T20:15 --after 20:20..20:35 --json"
    )]
    Netcode(netcode::NetcodeArgs),
    /// What players cost, and how many fit.
    #[command(
        after_help = "Examples:\n  gsmon analyze players arena --range 24h\n  gsmon analyze players arena --metrics tps,cpu_usage,memory_growth --plot arena.svg\n  gsmon analyze players arena --by mode --json | jq '.groups[].differences'\n  gsmon analyze players --mode duel"
    )]
    Players(players::PlayersArgs),
    /// What a bot costs beside what a person does.
    #[command(
        after_help = "Examples:\n  gsmon analyze bots arena\n  gsmon analyze bots arena --json | jq '.[0].bot_for_human'"
    )]
    Bots(bots::BotsArgs),
    /// Which actions of players spikes come after.
    #[command(
        after_help = "Examples:\n  gsmon analyze actions arena\n  gsmon analyze actions arena --json | jq '.actions[] | select(.significant)'"
    )]
    Actions(actions::ActionsArgs),
    /// Is memory lost, and when is it used up?
    #[command(
        after_help = "Examples:\n  gsmon analyze memory arena --range 24h\n  gsmon analyze memory arena --range 24h --limit 8192"
    )]
    Memory(memory::MemoryArgs),
    /// What moving players between regions did.
    #[command(
        after_help = "Examples:\n  gsmon analyze migrations\n  gsmon analyze migrations --json | jq '.summed[].words'"
    )]
    Migrations(migrations::MigrationsArgs),
    /// What players who wait for a match will need.
    #[command(
        after_help = "Examples:\n  gsmon analyze queue\n  gsmon analyze queue --queue queue.json --per-match duel=2 --range 7d\n  gsmon analyze queue --json | jq '.forecast.entries[].new_servers'"
    )]
    Queue(queue::QueueArgs),
}

pub fn run(args: &AnalyzeArgs) -> Outcome {
    match &args.question {
        Question::Network(args) => network::run(args),
        Question::Netcode(args) => netcode::run(args),
        Question::Players(args) => players::run(args),
        Question::Bots(args) => bots::run(args),
        Question::Actions(args) => actions::run(args),
        Question::Memory(args) => memory::run(args),
        Question::Migrations(args) => migrations::run(args),
        Question::Queue(args) => queue::run(args),
    }
}

/// Where frames of a server are.
pub(in crate::cli) fn frames_route(
    server: &str,
    range: Option<TimeRange>,
    resolution: Option<&str>,
) -> Route {
    let mut route = Route::to(&["frames"]).with("server", server);
    if let Some(range) = range {
        route = route
            .with("from", &range.from_unix_ms.to_string())
            .with("to", &range.to_unix_ms.to_string());
    }
    if let Some(resolution) = resolution {
        route = route.with("resolution", resolution);
    }
    route
}

/// Frames of a server: the last hour where no range is given.
pub(in crate::cli) async fn frames_of(
    socket: &SocketArg,
    server: &str,
    range: Option<TimeRange>,
    resolution: Option<&str>,
) -> Result<ServerFrames, Failure> {
    let route = frames_route(server, range, resolution);
    Ok(fetch(&socket.socket, &route).await?)
}

/// `12.3 (11.8 to 12.9)`, or `-`.
fn told(estimate: Option<Estimate>, factor: f64, digits: usize) -> String {
    match estimate.map(|estimate| estimate.scaled(factor)) {
        Some(estimate) => format!(
            "{:.digits$} ({:.digits$} to {:.digits$})",
            estimate.value, estimate.low, estimate.high
        ),
        None => "-".to_owned(),
    }
}
