//! `cargo xtask bench`: runs the bench program of the tests package, in release.

use std::process::{Command, ExitCode};

use anyhow::Result;

use crate::root;

#[derive(clap::Args)]
#[command(after_help = "Examples:\n  sudo cargo xtask bench\n  sudo cargo xtask bench -- packets drain")]
pub struct BenchArgs {
    /// Parts to run: packets, switches, drain, echo, agent, history and others; all when none is named.
    #[arg(last = true)]
    program: Vec<String>,
}

pub fn run(args: &BenchArgs) -> Result<ExitCode> {
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
            "gsmon-bench",
            "--",
        ])
        .args(&args.program)
        .status()?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
