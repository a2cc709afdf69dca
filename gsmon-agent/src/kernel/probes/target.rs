//! Which file of a process a probe goes to: its executable, a library that it has loaded, a path in its mount
//! namespace. Named through /proc/PID, so that files of containers and files that were replaced since are the ones
//! that the process runs.

use std::{fs, io::Read, path::PathBuf};

use super::error::ProbeError;

/// Longest list of mappings that is read.
const MAPS_BYTES: u64 = 16 << 20;

/// A file of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Path that the agent and the kernel open.
    pub path: PathBuf,
    /// What the administrator knows it as.
    pub shown: String,
}

/// The file that `object` names in a process; its executable for `None`.
pub fn of_process(pid: u32, object: Option<&str>) -> Result<Target, ProbeError> {
    let Some(object) = object else {
        let path = PathBuf::from(format!("/proc/{pid}/exe"));
        let shown = fs::read_link(&path).map_err(|_| ProbeError::Ended)?;
        return Ok(Target {
            shown: without_mark(&shown.display().to_string()).to_owned(),
            path,
        });
    };
    let mut maps = String::new();
    fs::File::open(format!("/proc/{pid}/maps"))
        .and_then(|file| file.take(MAPS_BYTES).read_to_string(&mut maps))
        .map_err(|_| ProbeError::Ended)?;
    if let Some((range, shown)) = mapped(&maps, object) {
        // The list pads low addresses with zeros, the directory does not.
        let bounds: Vec<&str> = range
            .split('-')
            .map(|bound| bound.trim_start_matches('0'))
            .collect();
        let range = bounds.join("-");
        return Ok(Target {
            path: PathBuf::from(format!("/proc/{pid}/map_files/{range}")),
            shown: shown.to_owned(),
        });
    }
    // A path can be probed before it is loaded; of a bare name nobody knows which file it will be.
    let path = PathBuf::from(format!("/proc/{pid}/root{object}"));
    if object.starts_with('/') && path.is_file() {
        return Ok(Target {
            path,
            shown: object.to_owned(),
        });
    }
    Err(ProbeError::NotLoaded {
        object: object.to_owned(),
    })
}

/// Address range and path of the first mapping of a file with this path, or with this name.
fn mapped<'a>(maps: &'a str, object: &str) -> Option<(&'a str, &'a str)> {
    maps.lines().find_map(|line| {
        let range = line.split_ascii_whitespace().next()?;
        let path = without_mark(&line[line.find('/')?..]);
        let matches = if object.starts_with('/') {
            path == object
        } else {
            path.rsplit('/').next() == Some(object)
        };
        matches.then_some((range, path))
    })
}

/// The kernel marks paths whose file was removed.
fn without_mark(path: &str) -> &str {
    path.strip_suffix(" (deleted)").unwrap_or(path)
}

/// Says whether a process is still the one that it was: when it started, and which file it executes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    started_ticks: u64,
    device: u64,
    inode: u64,
}

impl Identity {
    /// Of a process; `None` when it has ended.
    pub fn of(pid: u32) -> Option<Self> {
        use std::os::unix::fs::MetadataExt;
        let executable = fs::metadata(format!("/proc/{pid}/exe")).ok()?;
        let stat = procfs::process::Process::new(i32::try_from(pid).ok()?)
            .and_then(|process| process.stat())
            .ok()?;
        Some(Self {
            started_ticks: stat.starttime,
            device: executable.dev(),
            inode: executable.ino(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAPS: &str = "\
55d0c0000000-55d0c0001000 r--p 00000000 08:01 12 /srv/my game/bin/server
7f0000000000-7f0000010000 r-xp 00001000 08:01 13 /srv/my game/libserver.so (deleted)
7f0000020000-7f0000030000 rw-p 00000000 00:00 0
7fff00000000-7fff00001000 r-xp 00000000 00:00 0 [vdso]
";

    #[test]
    fn libraries_are_found_by_path_and_by_name() {
        let library = Some(("7f0000000000-7f0000010000", "/srv/my game/libserver.so"));
        assert_eq!(mapped(MAPS, "libserver.so"), library);
        assert_eq!(mapped(MAPS, "/srv/my game/libserver.so"), library);
        assert_eq!(mapped(MAPS, "erver.so"), None);
        assert_eq!(mapped(MAPS, "/libserver.so"), None);
    }

    #[test]
    fn the_executable_of_this_process_is_itself() {
        let target = of_process(std::process::id(), None).unwrap();
        assert_eq!(
            target.shown,
            std::env::current_exe().unwrap().display().to_string()
        );
        assert!(Identity::of(std::process::id()).is_some());
    }

    #[test]
    fn what_is_not_loaded_and_who_has_ended_are_told_apart() {
        let message = of_process(std::process::id(), Some("libnothing.so")).unwrap_err();
        assert!(matches!(message, ProbeError::NotLoaded { .. }), "{message}");
        let message = of_process(u32::MAX, None).unwrap_err();
        assert!(matches!(message, ProbeError::Ended), "{message}");
    }
}
