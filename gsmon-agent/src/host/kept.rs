//! Files of procfs that are read again and again, kept open: reading one anew costs several times as much as reading on.
//! A kept file is of one life of one process: when that has ended, it cannot be read any more, whoever has its number.

use std::{
    borrow::Cow,
    fs::File,
    os::{fd::AsRawFd, unix::fs::FileExt},
};

use nix::sys::resource::{Resource, getrlimit};

/// Longer than any of these files.
const LONGEST: usize = 4_096;

/// Where their text is read to.
pub(super) type Buffer = [u8; LONGEST];

/// Room for a text.
pub(super) const EMPTY: Buffer = [0; LONGEST];

/// A file of a process, opened when it is read for the first time.
#[derive(Debug, Default)]
pub(super) struct KeptFile(Option<File>);

impl KeptFile {
    /// The text of `/proc/PID/name`; `None` when it cannot be read.
    pub(super) fn read<'a>(&mut self, pid: u32, name: &str, buffer: &'a mut Buffer) -> Option<Cow<'a, str>> {
        let length = match self.0.as_ref().and_then(|file| whole(file, buffer)) {
            Some(length) => length,
            None => {
                self.0 = None;
                let file = File::open(format!("/proc/{pid}/{name}")).ok()?;
                let length = whole(&file, buffer)?;
                self.0 = Some(file).filter(may_be_kept);
                length
            }
        };
        Some(String::from_utf8_lossy(&buffer[..length]))
    }
}

/// One read has all of it, or it is none of the files that this is for.
fn whole(file: &File, buffer: &mut Buffer) -> Option<usize> {
    file.read_at(buffer, 0)
        .ok()
        .filter(|length| (1..LONGEST).contains(length))
}

/// Descriptors are given out lowest first. Half of what the process may have is left to everything else.
fn may_be_kept(file: &File) -> bool {
    getrlimit(Resource::RLIMIT_NOFILE).is_ok_and(|(soft, _)| (file.as_raw_fd() as u64) < soft / 2)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_kept_file_is_of_one_process_and_tells_what_is_true_now() {
        let mut buffer = EMPTY;
        let mut file = KeptFile::default();
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        // It may not have become `sleep` yet.
        while !file
            .read(child.id(), "stat", &mut buffer)
            .unwrap()
            .contains("(sleep)")
        {
            std::thread::yield_now();
        }
        assert!(file.0.is_some());
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(file.read(child.id(), "stat", &mut buffer), None);
        assert!(file.0.is_none());
        let me = std::process::id();
        let text = file.read(me, "stat", &mut buffer).unwrap();
        assert!(text.starts_with(&format!("{me} (")));
    }
}
