//! What /proc tells of one process beyond the process table. Everything is bounded; of the environment only the
//! variables of [`ENVIRON`] are kept.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use super::{
    super::{
        bounded::{read_regular, read_start},
        container::{Container, ENVIRON, Hosting, hosting},
        process::Process,
    },
    Roots,
};
use crate::games::signature::{Evidence, Hosted, Nearby, ServerProperties};

/// Bytes of arguments and number of them that are looked at.
const ARGUMENT_BYTES: u64 = 64 << 10;
const MOST_ARGUMENTS: usize = 4_096;
/// Bytes of environment that are searched.
const ENVIRON_BYTES: u64 = 256 << 10;
/// Longest value of a variable that is kept.
const VALUE_BYTES: usize = 1_024;
/// Bytes of memory maps that are searched for the Unity player, which is mapped early.
const MAPS_BYTES: u64 = 1 << 20;
/// Longest `server.properties`.
const PROPERTIES_BYTES: u64 = 64 << 10;

/// Facts about a process.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    pub arguments: Vec<String>,
    pub cwd: Option<PathBuf>,
    pub environ: BTreeMap<String, String>,
    pub container: Option<Container>,
    pub hosting: Option<Hosting>,
    pub nearby: Nearby,
}

impl Facts {
    pub(super) fn read(roots: &Roots, process: &Process) -> Self {
        let base = roots.proc.join(process.pid.to_string());
        let arguments =
            split_arguments(&read_start(&base.join("cmdline"), ARGUMENT_BYTES).unwrap_or_default());
        let environ = pick_variables(&read_start(&base.join("environ"), ENVIRON_BYTES).unwrap_or_default());
        let container = roots.containers.container(&process.cgroups);
        let hosting = hosting(container.as_ref(), &environ);
        // Through the link the file is found in the process's own mount namespace.
        let properties = read_regular(&base.join("cwd/server.properties"), PROPERTIES_BYTES)
            .and_then(|bytes| ServerProperties::parse(&String::from_utf8_lossy(&bytes)));
        let unity = arguments
            .iter()
            .any(|argument| argument.eq_ignore_ascii_case("-batchmode"))
            && is_unity(&base, process.executable.as_deref());
        Self {
            cwd: fs::read_link(base.join("cwd")).ok(),
            arguments,
            environ,
            container,
            hosting,
            nearby: Nearby { properties, unity },
        }
    }

    /// Completes `bare`.
    pub(super) fn evidence(&self, bare: Evidence) -> Evidence {
        Evidence {
            arguments: self.arguments.clone(),
            cwd: self.cwd.clone(),
            environ: self.environ.clone(),
            hosted: self.hosting.as_ref().map(|hosting| Hosted {
                by: hosting.manager.as_str(),
                port: hosting.port,
            }),
            nearby: self.nearby.clone(),
            ..bare
        }
    }
}

/// `/proc/PID/cmdline`: arguments end with NUL.
pub(super) fn split_arguments(bytes: &[u8]) -> Vec<String> {
    let bytes = bytes.strip_suffix(&[0]).unwrap_or(bytes);
    if bytes.is_empty() {
        return Vec::new();
    }
    bytes
        .split(|byte| *byte == 0)
        .take(MOST_ARGUMENTS)
        .map(|argument| String::from_utf8_lossy(argument).into_owned())
        .collect()
}

/// The variables of [`ENVIRON`] in `/proc/PID/environ`.
pub(super) fn pick_variables(bytes: &[u8]) -> BTreeMap<String, String> {
    bytes
        .split(|byte| *byte == 0)
        .filter_map(|entry| {
            let (name, value) = std::str::from_utf8(entry).ok()?.split_once('=')?;
            let is_wanted = ENVIRON.contains(&name) && value.len() <= VALUE_BYTES;
            is_wanted.then(|| (name.to_owned(), value.to_owned()))
        })
        .collect()
}

/// A `*_Data` directory beside the executable, or the player's library in memory.
fn is_unity(base: &Path, executable: Option<&Path>) -> bool {
    let beside = executable.and_then(|path| {
        let name = path.file_name()?.to_str()?;
        let stem = name
            .strip_suffix(".x86_64")
            .or(name.strip_suffix(".x86"))
            .unwrap_or(name);
        let data = path.parent()?.join(format!("{stem}_Data"));
        let inside = base.join("root").join(data.strip_prefix("/").ok()?);
        fs::symlink_metadata(inside).ok().map(|found| found.is_dir())
    });
    beside == Some(true)
        || read_start(&base.join("maps"), MAPS_BYTES)
            .is_some_and(|maps| maps.windows(15).any(|part| part == b"/UnityPlayer.so"))
}

/// The path under which the agent reads a log that the process knows as `log`: the same, or through `/proc/PID/root`
/// where the process sees other files. `None` when there is no such file, or when it is not the process's own: else
/// anybody could make the agent read any file by naming it so.
pub(super) fn readable_log(proc: &Path, pid: u32, log: &Path) -> Option<PathBuf> {
    let base = proc.join(pid.to_string());
    let inside = base.join("root").join(log.strip_prefix("/").ok()?);
    let found = fs::metadata(&inside).ok()?;
    if !found.is_file() || found.uid() != effective_uid(&base)? {
        return None;
    }
    let is_same = fs::metadata(log).is_ok_and(|here| (here.dev(), here.ino()) == (found.dev(), found.ino()));
    Some(if is_same { log.to_owned() } else { inside })
}

/// Second number of `Uid:` in `/proc/PID/status`. The owner of the directory will not do: it is root for processes that
/// forbid dumps.
fn effective_uid(base: &Path) -> Option<u32> {
    let status = read_start(&base.join("status"), 64 << 10)?;
    let status = String::from_utf8_lossy(&status);
    let numbers = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    numbers.split_ascii_whitespace().nth(1)?.parse().ok()
}
