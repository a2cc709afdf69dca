//! Small reads of files that others can write: at most so many bytes, only regular files, never through a symbolic link
//! in the last component, never waiting on a pipe.

use std::{
    fs::OpenOptions,
    io::Read,
    os::unix::fs::{FileTypeExt, OpenOptionsExt},
    path::Path,
};

/// Reads a regular file; `None` when it is absent, something else, or longer than `limit` bytes.
pub(crate) fn read_regular(path: &Path, limit: u64) -> Option<Vec<u8>> {
    let bytes = read_start(path, limit.saturating_add(1))?;
    (bytes.len() as u64 <= limit).then_some(bytes)
}

/// Reads the first `limit` bytes of a regular file (files of procfs are regular ones).
pub(crate) fn read_start(path: &Path, limit: u64) -> Option<Vec<u8>> {
    let file = OpenOptions::new()
        .read(true)
        // Without O_NONBLOCK opening a named pipe waits for its other end.
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)
        .ok()?;
    let kind = file.metadata().ok()?.file_type();
    if !kind.is_file() || kind.is_fifo() {
        return None;
    }
    let mut bytes = Vec::new();
    file.take(limit).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_short_regular_files_are_read() {
        let place = tempfile::tempdir().unwrap();
        let path = |name: &str| place.path().join(name);
        std::fs::write(path("file"), b"12345").unwrap();
        std::os::unix::fs::symlink(path("file"), path("link")).unwrap();
        nix::unistd::mkfifo(&path("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(read_regular(&path("file"), 5), Some(b"12345".to_vec()));
        assert_eq!(read_regular(&path("file"), 4), None);
        assert_eq!(read_start(&path("file"), 4), Some(b"1234".to_vec()));
        for other in ["link", "pipe", "absent", "."] {
            assert_eq!(read_start(&path(other), 5), None, "{other}");
        }
    }
}
