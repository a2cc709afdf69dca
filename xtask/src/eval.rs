//! `cargo xtask eval`: analyses held against made-up servers whose costs are planted, in release.

use std::process::{Command, ExitCode};

use anyhow::Result;

use crate::root;

#[derive(clap::Args)]
#[command(after_help = "Examples:\n  cargo xtask eval scaling\n  cargo xtask eval scaling --seeds 200")]
pub struct EvalArgs {
    /// What is held against planted truth.
    subject: Subject,
    /// Seeds per shape.
    #[arg(long, default_value_t = 2_000)]
    seeds: u64,
    /// Threads.
    #[arg(long, default_value_t = 2)]
    threads: u64,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Subject {
    /// What players cost, how many fit, modes, leaks.
    Scaling,
}

pub fn run(args: &EvalArgs) -> Result<ExitCode> {
    let subject = match args.subject {
        Subject::Scaling => "scaling",
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
        .args([subject, &args.seeds.to_string(), &args.threads.to_string()])
        .status()?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
