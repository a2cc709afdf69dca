//! Which executable a process runs, so that an update is noticed: path, and the file behind it as it was when it started.
//!
//! A file that is replaced while the process runs is another one only once the process is started anew.

use std::{fs, os::unix::fs::MetadataExt, path::PathBuf, time::SystemTime};

/// An executable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Executable {
    /// Where it lay.
    pub path: PathBuf,
    /// Bytes.
    pub size: u64,
    /// Last written.
    pub modified: Option<SystemTime>,
    inode: (u64, u64),
}

impl Executable {
    /// Of a process; `None` when it has gone, or is not ours to look at.
    pub fn of(pid: u32) -> Option<Self> {
        let link = format!("/proc/{pid}/exe");
        // The link leads to the file itself, however it is called by now.
        let metadata = fs::metadata(&link).ok()?;
        Some(Self {
            path: fs::read_link(&link).ok()?,
            size: metadata.len(),
            modified: metadata.modified().ok(),
            inode: (metadata.dev(), metadata.ino()),
        })
    }

    /// What a person is told of it.
    pub fn words(&self) -> String {
        let name = self
            .path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
        let name = name.unwrap_or_else(|| self.path.display().to_string());
        format!(
            "executable {} ({} bytes)",
            name.replace(char::is_control, "?"),
            self.size
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_one_and_a_process_that_is_not_there_has_none() {
        let own = Executable::of(std::process::id()).unwrap();
        assert_eq!(Some(own.path.clone()), std::env::current_exe().ok());
        assert!(own.size > 0 && own.words().contains("bytes"));
        assert_eq!(Executable::of(std::process::id()).as_ref(), Some(&own));
        assert_eq!(Executable::of(u32::MAX), None);
    }
}
