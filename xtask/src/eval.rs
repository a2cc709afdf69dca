//! `cargo xtask eval`: analyses held against made-up servers whose costs are planted, and advice against a population, in
//! release.

use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use crate::root;

#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  cargo xtask eval scaling\n  cargo xtask eval scaling --seeds 200\n  cargo xtask eval advice population.csv --seeds 20 --players 100"
)]
#[command(after_help = "Examples:\n  cargo xtask eval scaling\n  cargo xtask eval scaling --seeds 200\n  cargo xtask eval forecast --seeds 40 --file players.csv")]
    after_help = "Examples:\n  cargo xtask eval scaling\n  cargo xtask eval scaling --seeds 200\n  cargo xtask eval forecast --seeds 40 --file players.csv"
)]
pub struct EvalArgs {
    /// What is held against planted truth.
    subject: Subject,
    /// For advice: CSV with a line of names, then times (RFC 3339) and players.
    file: Option<std::path::PathBuf>,
    /// Seeds per shape, or populations [default: 2000, advice 20].
    #[arg(long)]
    seeds: Option<u64>,
    /// For advice: players on average after thinning.
    #[arg(long, default_value_t = 100)]
    players: u64,
    /// Threads.
    #[arg(long, default_value_t = 2)]
    threads: u64,
    /// A file of counts (columns time and players) for `forecast`.
    #[arg(long)]
    file: Option<std::path::PathBuf>,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Subject {
    /// What players cost, how many fit, modes, leaks.
    Scaling,
    /// Servers started and stopped as advised, beside Agones' Buffer of every size and an oracle.
    Advice,
}

pub fn run(args: &EvalArgs) -> Result<ExitCode> {
    let threads = args.threads.to_string();
    let words: Vec<String> = match args.subject {
        Subject::Scaling => vec!["scaling".into(), args.seeds.unwrap_or(2_000).to_string(), threads],
        Subject::Advice => {
            let file = args
                .file
                .as_ref()
                .context("advice needs a file: cargo xtask eval advice FILE")?;
            let file = std::path::absolute(file)?;
            vec![
                "advice".into(),
                file.display().to_string(),
                args.seeds.unwrap_or(20).to_string(),
                threads,
                args.players.to_string(),
            ]
        }
    /// How many players will come, beside simple forecasts.
    Forecast,
}

pub fn run(args: &EvalArgs) -> Result<ExitCode> {
    let subject = match args.subject {
        Subject::Scaling => "scaling",
        Subject::Forecast => "forecast",
    };
    let status = Command::new("cargo")
        .current_dir(root())
        .args([
            "run",
            "--release",
            "--locked",
            "--quiet",
            "-p",
            "gsmon-tests",
            "--bin",
            "gsmon-eval",
            "--",
        ])
        .args(words)
        .args([subject, &args.seeds.to_string(), &args.threads.to_string()])
        .args(args.file.as_deref().map(std::path::absolute).transpose()?)
        .status()?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
