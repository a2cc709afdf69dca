//! Work inside another network namespace.

use std::{io, path::Path};

use super::QueryError;

/// Runs `work` inside a network namespace, on a thread of its own that ends with it; right here where none is given.
pub(super) fn within<T: Send>(
    netns: Option<&Path>,
    work: impl Fn() -> Result<T, QueryError> + Sync,
) -> Result<T, QueryError> {
    let Some(netns) = netns else {
        return work();
    };
    let cannot = |error: io::Error| {
        QueryError::Settings(format!(
            "cannot ask inside network namespace {}: {error}",
            netns.display()
        ))
    };
    let namespace = std::fs::File::open(netns).map_err(cannot)?;
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("gsmon-query-ns".to_owned())
            .spawn_scoped(scope, || {
                nix::sched::setns(&namespace, nix::sched::CloneFlags::CLONE_NEWNET)
                    .map_err(|error| cannot(error.into()))?;
                work()
            })
            .map_err(cannot)?;
        thread.join().unwrap_or(Err(QueryError::Panicked))
    })
}
