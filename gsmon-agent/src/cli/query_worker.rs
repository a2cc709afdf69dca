//! `gsmon query-worker`: started by the agent itself, see `games::query`.

use std::{path::PathBuf, process::ExitCode};

use super::Outcome;

#[derive(Debug, clap::Args)]
pub(super) struct QueryWorkerArgs {
    /// Network namespace to ask from.
    netns: Option<PathBuf>,
}

pub(super) fn run(args: &QueryWorkerArgs) -> Outcome {
    crate::games::query::serve_worker(args.netns.as_deref())?;
    Ok(ExitCode::SUCCESS)
}
