//! `cargo xtask eval`: analyses held against made-up servers whose costs are planted, and forecasts and advice against populations, in
//! release.

use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use crate::root;

#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  cargo xtask eval scaling\n  cargo xtask eval scaling --seeds 200\n  cargo xtask eval forecast players.csv\n  cargo xtask eval advice population.csv --seeds 20 --players 100"
)]
pub struct EvalArgs {
    /// What is held against planted truth.
    subject: Subject,
    /// For advice, and if wanted for forecast: CSV with a line of names, then times (RFC 3339) and players.
    file: Option<std::path::PathBuf>,
    /// Seeds per shape, or populations [default: scaling 2000, forecast 100, advice 20].
    #[arg(long)]
    seeds: Option<u64>,
    /// For advice: players on average after thinning.
    #[arg(long, default_value_t = 100)]
    players: u64,
    /// Threads.
    #[arg(long, default_value_t = 2)]
    threads: u64,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Subject {
    /// What players cost, how many fit, modes, leaks.
    Scaling,
    /// How many players will come, beside simple forecasts.
    Forecast,
    /// Servers started and stopped as advised, beside Agones' Buffer of every size and an oracle.
    Advice,
}

pub fn run(args: &EvalArgs) -> Result<ExitCode> {
    let file = args.file.as_deref().map(std::path::absolute).transpose()?;
    let file = file.map(|file| file.display().to_string());
    let threads = args.threads.to_string();
    let seeds = |usual: u64| args.seeds.unwrap_or(usual).to_string();
    let mut words: Vec<String> = Vec::new();
    match args.subject {
        Subject::Scaling => words.extend(["scaling".into(), seeds(2_000), threads]),
        Subject::Forecast => {
            words.extend(["forecast".into(), seeds(100), threads]);
            words.extend(file);
        }
        Subject::Advice => {
            let file = file.context("advice needs a file: cargo xtask eval advice FILE")?;
            words.extend([
                "advice".into(),
                file,
                seeds(20),
                threads,
                args.players.to_string(),
            ]);
        }
    }
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
        .status()?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
