//! Which executable a process runs, so that an update is noticed: path, and the file behind it as it was when it started;
//! with Java, the file of `-jar` as well, since that is what is replaced there.
//!
//! A file that is replaced while the process runs is another one only once the process is started anew.

use std::{
    ffi::OsStr,
    fs::{self, File, Metadata},
    io::Read,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
    time::SystemTime,
};

/// So much of a command line is looked at.
const MOST_ARGUMENTS: u64 = 64 << 10;

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
    /// What `java -jar` was started with.
    jar: Option<Box<Executable>>,
}

impl Executable {
    /// Of a process; `None` when it has gone, or is not ours to look at.
    pub fn of(pid: u32) -> Option<Self> {
        let link = format!("/proc/{pid}/exe");
        // The link leads to the file itself, however it is called by now.
        let metadata = fs::metadata(&link).ok()?;
        let mut found = Self::behind(fs::read_link(&link).ok()?, &metadata);
        if found.path.file_name() == Some(OsStr::new("java")) {
            found.jar = jar_of(pid).map(Box::new);
        }
        Some(found)
    }

    fn behind(path: PathBuf, metadata: &Metadata) -> Self {
        Self {
            path,
            size: metadata.len(),
            modified: metadata.modified().ok(),
            inode: (metadata.dev(), metadata.ino()),
            jar: None,
        }
    }

    /// What a person is told of it.
    pub fn words(&self) -> String {
        if let Some(jar) = &self.jar {
            return jar.words();
        }
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

/// The file of `-jar` of a process, as the process itself sees it: in its own root and working directory.
fn jar_of(pid: u32) -> Option<Executable> {
    let mut line = Vec::new();
    let file = File::open(format!("/proc/{pid}/cmdline")).ok()?;
    file.take(MOST_ARGUMENTS).read_to_end(&mut line).ok()?;
    let jar = Path::new(OsStr::from_bytes(jar_argument(&line)?));
    let seen = match jar.strip_prefix("/") {
        Ok(below) => PathBuf::from(format!("/proc/{pid}/root")).join(below),
        Err(_) => PathBuf::from(format!("/proc/{pid}/cwd")).join(jar),
    };
    let metadata = fs::metadata(seen).ok().filter(Metadata::is_file)?;
    Some(Executable::behind(jar.to_owned(), &metadata))
}

/// What follows the first `-jar` of a command line whose arguments end with zeros.
fn jar_argument(line: &[u8]) -> Option<&[u8]> {
    let mut arguments = line.split(|byte| *byte == 0).skip(1);
    arguments.find(|argument| *argument == b"-jar")?;
    arguments.next().filter(|jar| !jar.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jar_is_what_follows_its_option() {
        let jar = |line: &[u8]| jar_argument(line).map(<[u8]>::to_vec);
        assert_eq!(
            jar(b"java\0-Xmx2G\0-jar\0paper.jar\0nogui\0"),
            Some(b"paper.jar".to_vec())
        );
        for none in [
            &b""[..],
            b"java\0",
            b"java\0-jar\0",
            b"-jar\0x.jar\0",
            b"java\0-cp\0x.jar\0Main\0",
        ] {
            assert_eq!(jar(none), None);
        }
    }

    /// A program called `java`, which a JVM need not be for this.
    struct Java(std::process::Child);

    impl Java {
        fn start(directory: &Path) -> Self {
            let program = directory.join("java");
            if !program.exists() {
                fs::copy("/bin/sh", &program).unwrap();
            }
            // The shell reads its standard input, which stays open and silent.
            let child = std::process::Command::new(program)
                .args(["-s", "--", "-jar", "server.jar"])
                .current_dir(directory)
                .stdin(std::process::Stdio::piped())
                .spawn();
            let started = Self(child.unwrap());
            // Who starts a process hears of it before its command line is there.
            for _ in 0..1_000 {
                let line = fs::read(format!("/proc/{}/cmdline", started.0.id())).unwrap();
                if line.ends_with(b"server.jar\0") {
                    return started;
                }
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            panic!("it never began");
        }
    }

    impl Drop for Java {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn another_jar_makes_another_executable() {
        let directory = tempfile::tempdir().unwrap();
        let jar = directory.path().join("server.jar");
        fs::write(&jar, "one").unwrap();
        let process = Java::start(directory.path());
        let first = Executable::of(process.0.id()).unwrap();
        assert_eq!(first.words(), "executable server.jar (3 bytes)");
        assert_eq!(Executable::of(process.0.id()), Some(first.clone()));
        fs::write(directory.path().join("new"), "another").unwrap();
        fs::rename(directory.path().join("new"), &jar).unwrap();
        let again = Java::start(directory.path());
        let second = Executable::of(again.0.id()).unwrap();
        assert_ne!(first, second);
        assert_eq!(second.words(), "executable server.jar (7 bytes)");
    }

    #[test]
    fn this_process_has_one_and_a_process_that_is_not_there_has_none() {
        let own = Executable::of(std::process::id()).unwrap();
        assert_eq!(Some(own.path.clone()), std::env::current_exe().ok());
        assert!(own.size > 0 && own.words().contains("bytes"));
        assert_eq!(Executable::of(std::process::id()).as_ref(), Some(&own));
        assert_eq!(Executable::of(u32::MAX), None);
    }
}
