//! `gsmon query-worker`: started by the agent itself, see `games::query`.

use std::process::ExitCode;

use super::Outcome;

pub(super) fn run() -> Outcome {
    crate::games::query::serve_worker()?;
    Ok(ExitCode::SUCCESS)
}
