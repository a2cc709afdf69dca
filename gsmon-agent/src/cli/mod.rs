//! The command line: one file per subcommand, arguments in, text or JSON out, no logic.
//!
//! Results go to stdout, logs to stderr. Exit codes: 0 fine, 1 failed, 2 wrong use or configuration.

mod analyze;
mod check_config;
mod completions;
mod demo;
mod doctor;
mod everywhere;
mod findings;
mod fleet;
mod forecast;
mod happened;
mod history;
mod mark;
mod network;
mod players;
mod privacy;
mod query_worker;
mod quiet;
mod recommend;
mod run;
mod selftest;
mod sessions;
mod source;
mod times;
mod top;
mod why;

use std::{io::IsTerminal, path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

use crate::demo::{bots::BotsArgs, companion::CompanionArgs, planted::PlantedArgs, server::ServerArgs};

/// Where the agent listens unless told otherwise.
const DEFAULT_SOCKET: &str = "/run/gsmon/api.sock";

#[derive(Debug, Parser)]
#[command(
    name = "gsmon",
    version,
    about = "What every game server on this host costs, measured in the kernel",
    after_help = "Examples:\n  sudo gsmon demo                          three real small servers with bots, live\n  sudo gsmon run --config /etc/gsmon.toml  the agent\n  gsmon top                                the live view of the running agent\n  sudo gsmon selftest                      hold the agent against the truth"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the agent in the foreground.
    #[command(after_help = "Example:\n  sudo gsmon run --config /etc/gsmon.toml")]
    Run(run::RunArgs),
    /// Start small game servers with bots and watch them.
    #[command(
        after_help = "Examples:\n  sudo gsmon demo\n  sudo gsmon demo --headless --duration 15s --json"
    )]
    Demo(demo::DemoArgs),
    /// Live view of the running agent; needs no root.
    #[command(
        after_help = "Examples:\n  gsmon top\n  gsmon top --once\n  gsmon top --once --json | jq .servers[0].rates"
    )]
    Top(top::TopArgs),
    /// Matches, rooms and instances, and what each of them uses.
    #[command(
        after_help = "Examples:\n  gsmon sessions\n  gsmon sessions arena --state running --metrics cpu,network\n  gsmon sessions arena 1767225600-3\n  gsmon sessions arena 1767225600-3 --metrics cpu,memory --json | jq .cpu.seconds"
    )]
    Sessions(sessions::SessionsArgs),
    /// Who plays and who has left.
    #[command(
        after_help = "Examples:\n  gsmon players\n  gsmon players arena\n  gsmon players arena 1767225600-3 --addresses\n  gsmon players arena --json | jq '.[0].counts'"
    )]
    Players(players::PlayersArgs),
    /// Round trip, loss and jitter of each player.
    #[command(
        after_help = "Examples:\n  gsmon network\n  gsmon network arena --addresses\n  gsmon network arena --regions --plot arena.svg\n  gsmon network --json | jq '.[0].network.rtt'"
    )]
    Network(network::NetworkArgs),
    /// Why did it lag? The last minutes, or a time, as Markdown for a ticket.
    #[command(
        after_help = "Examples:\n  gsmon why arena\n  gsmon why arena --at 20:14\n  gsmon why arena --player Ann --at 2026-03-01T20:14 | xclip\n  gsmon why arena --json | jq .blame"
    )]
    Why(why::WhyArgs),
    /// Questions to the last hour: players, bots, actions, memory, network, netcode.
    #[command(
        after_help = "Examples:\n  gsmon analyze players arena\n  gsmon analyze memory arena --limit 8192\n  gsmon analyze network arena --plot arena.svg\n  gsmon analyze netcode arena --before 20:00..20:15 --after 20:20..20:35"
    )]
    Analyze(analyze::AnalyzeArgs),
    /// How many servers, where and when, and what that costs.
    #[command(
        after_help = "Examples:\n  gsmon recommend --forecast-hours 6 --experience smooth --costs\n  gsmon recommend --range 3d --simulate\n  gsmon recommend --placement --experience responsive\n  gsmon recommend --json | jq '.groups[].timetable.changes'"
    )]
    Recommend(recommend::RecommendArgs),
    /// The time to come in which a restart disturbs the fewest.
    #[command(
        after_help = "Examples:\n  gsmon quiet arena\n  gsmon quiet arena --within 48h --length 15m --json"
    )]
    Quiet(quiet::QuietArgs),
    /// Wait until nearly nobody plays. Exit code 0: so it is; 3: not within the timeout; 1: it cannot be told.
    #[command(
        after_help = "Examples:\n  gsmon wait-empty arena --max-players 2 --timeout 2h && systemctl restart arena"
    )]
    WaitEmpty(quiet::WaitEmptyArgs),
    /// What detectors found: memory that is lost.
    #[command(after_help = "Examples:\n  gsmon findings\n  gsmon findings arena --range 7d --json")]
    Findings(findings::FindingsArgs),
    /// How many players will come: the next hours and days, with intervals and how well such forecasts did.
    #[command(
        after_help = "Examples:\n  gsmon forecast arena --hours 24\n  gsmon forecast --region eu --hours 48 --plot eu.svg\n  gsmon forecast --all --json | jq '.points[] | [.begin_unix_s, .players]'\n  gsmon forecast --from-csv players.csv --backtest --predictions out.csv"
    )]
    Forecast(forecast::ForecastArgs),
    /// Mark a change of a server (a plugin, a setting), or see what changed at each mark.
    #[command(
        after_help = "Examples:\n  gsmon mark arena \"plugin X 2.1\"\n  gsmon mark arena\n  gsmon mark arena --window 15m --json"
    )]
    Mark(mark::MarkArgs),
    /// All hosts of a site: reads their agents, serves and shows what they say together. Needs no privileges.
    #[command(
        after_help = "Examples:\n  gsmon fleet --config /etc/gsmon-fleet.toml   the process that reads the agents\n  gsmon fleet top --once\n  gsmon fleet health\n  gsmon fleet servers host-a\n  gsmon fleet players --json | jq '.players | length'"
    )]
    Fleet(fleet::FleetArgs),
    /// Run the demo and hold the agent against what the servers and bots counted themselves.
    #[command(after_help = "Examples:\n  sudo gsmon selftest\n  sudo gsmon selftest --json")]
    Selftest(selftest::SelftestArgs),
    /// Say what this machine can measure, what is missing and how to get it.
    #[command(after_help = "Examples:\n  gsmon doctor\n  sudo gsmon doctor --json")]
    Doctor(doctor::DoctorArgs),
    /// Check a configuration file.
    #[command(after_help = "Example:\n  gsmon check-config /etc/gsmon.toml")]
    CheckConfig(check_config::CheckConfigArgs),
    /// What is kept on disk about a player: see it, hand it over, remove it.
    #[command(
        after_help = "Examples:\n  sudo gsmon privacy show Ann\n  sudo gsmon privacy export 76561197960287930 > ann.json\n  sudo gsmon privacy forget p-1dvvc5qcvy4grxtsw0qe"
    )]
    Privacy(privacy::PrivacyArgs),
    /// What is kept on disk about servers: export it, look at it, check it.
    #[command(
        after_help = "Examples:\n  sudo gsmon history stats\n  sudo gsmon history check\n  sudo gsmon history export --format parquet --range 24h -o day.parquet"
    )]
    History(history::HistoryArgs),
    /// Print shell completions.
    #[command(after_help = "Example:\n  gsmon completions bash > /etc/bash_completion.d/gsmon")]
    Completions(completions::CompletionsArgs),
    #[command(hide = true)]
    QueryWorker,
    #[command(hide = true)]
    DemoServer(ServerArgs),
    #[command(hide = true)]
    DemoBots(BotsArgs),
    #[command(hide = true)]
    DemoPlanted(PlantedArgs),
    #[command(hide = true)]
    DemoCompanion(CompanionArgs),
}

/// A failure with its exit code.
enum Failure {
    /// It did not work.
    Failed(anyhow::Error),
    /// It was asked wrongly.
    Usage(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// What a subcommand comes to.
type Outcome = Result<ExitCode, Failure>;

/// The whole program.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_env("GSMON_LOG")
                .unwrap_or_else(|_| "gsmon=info,gsmon_agent=info".into()),
        )
        .init();
    // This very program, whatever has become of its file since.
    crate::games::query::worker_program(PathBuf::from("/proc/self/exe"));
    let outcome = match cli.command {
        Command::Run(args) => run::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Top(args) => top::run(&args),
        Command::Sessions(args) => sessions::run(&args),
        Command::Players(args) => players::run(&args),
        Command::Network(args) => network::run(&args),
        Command::Why(args) => why::run(&args),
        Command::Analyze(args) => analyze::run(&args),
        Command::Recommend(args) => recommend::run(&args),
        Command::Quiet(args) => quiet::run(&args),
        Command::WaitEmpty(args) => quiet::wait_empty(&args),
        Command::Findings(args) => findings::run(&args),
        Command::Forecast(args) => forecast::run(&args),
        Command::Mark(args) => mark::run(&args),
        Command::Fleet(args) => fleet::run(&args),
        Command::Selftest(args) => selftest::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::CheckConfig(args) => check_config::run(&args),
        Command::Privacy(args) => privacy::run(&args),
        Command::History(args) => history::run(&args),
        Command::Completions(args) => completions::run(&args),
        Command::QueryWorker => query_worker::run(),
        Command::DemoServer(args) => crate::demo::server::run(args)
            .map(|()| ExitCode::SUCCESS)
            .map_err(Failure::from),
        Command::DemoBots(args) => crate::demo::bots::run(args)
            .map(|()| ExitCode::SUCCESS)
            .map_err(Failure::from),
        Command::DemoPlanted(args) => crate::demo::planted::run(&args)
            .map(|()| ExitCode::SUCCESS)
            .map_err(Failure::from),
        Command::DemoCompanion(args) => crate::demo::companion::run(&args)
            .map(|()| ExitCode::SUCCESS)
            .map_err(Failure::from),
    };
    let (error, code) = match outcome {
        Ok(code) => return code,
        Err(Failure::Failed(error)) => (error, 1),
        Err(Failure::Usage(error)) => (error, 2),
    };
    eprintln!("gsmon: {}", describe(&error));
    ExitCode::from(code)
}

/// An error with its causes, each once: most messages here quote their cause already.
fn describe(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

/// Prints one JSON document.
fn print_json(document: &impl serde::Serialize) -> Result<(), Failure> {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, document)?;
    writeln!(out)?;
    Ok(())
}

/// Now, in milliseconds since the Unix epoch.
fn unix_ms() -> i64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .ok()
        .and_then(|time| i64::try_from(time.as_millis()).ok())
        .unwrap_or(0)
}

/// A runtime for the few things that wait.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
}

/// Where the agent keeps its files.
#[derive(Debug, clap::Args)]
struct StateArg {
    /// Directory with the agent's own files.
    #[arg(long, default_value = crate::privacy::DEFAULT_STATE_DIR, env = "GSMON_STATE_DIR")]
    state_dir: PathBuf,
}

/// The socket to talk to.
#[derive(Clone, Debug, clap::Args)]
struct SocketArg {
    /// Socket of the running agent.
    #[arg(long, default_value = DEFAULT_SOCKET, env = "GSMON_SOCKET")]
    socket: PathBuf,
}
