//! `gsmon completions SHELL`

use std::process::ExitCode;

use clap::CommandFactory;

use super::Outcome;

#[derive(Debug, clap::Args)]
pub struct CompletionsArgs {
    /// Which shell.
    shell: clap_complete::Shell,
}

pub fn run(args: &CompletionsArgs) -> Outcome {
    clap_complete::generate(
        args.shell,
        &mut super::Cli::command(),
        "gsmon",
        &mut std::io::stdout(),
    );
    Ok(ExitCode::SUCCESS)
}
