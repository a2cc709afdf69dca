//! `cargo xtask bench`: runs the bench program of the tests package, in release.

use std::process::{Command, ExitCode};

use anyhow::Result;

use crate::root;

#[derive(clap::Args)]
#[command(after_help = "Example:\n  sudo cargo xtask bench")]
pub struct BenchArgs {
    /// Handed to the bench program.
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
