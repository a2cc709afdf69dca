use std::{
    fs::{self, File, OpenOptions},
    io::Write as _,
    os::unix::fs::{FileExt as _, symlink},
    path::PathBuf,
};

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

/// A follower and what it has said.
struct Reader {
    follower: FileFollower,
    lines: Vec<String>,
    now: Instant,
}

impl Reader {
    fn new(path: &Path, from: LogStart, saved: Option<FilePosition>) -> Self {
        Self {
            follower: FileFollower::new(path, from, saved),
            lines: Vec::new(),
            now: Instant::now(),
        }
    }

    fn turn(&mut self, budget: usize) -> Result<Progress, FileError> {
        let mut buffer = vec![0; budget.min(4096)];
        let lines = &mut self.lines;
        let each = &mut |line: &str| lines.push(line.to_owned());
        self.follower.turn(self.now, budget, &mut buffer, each)
    }

    /// Turns until nothing comes any more; what came.
    fn drain(&mut self) -> Vec<String> {
        for _ in 0..10_000 {
            if !matches!(self.turn(1 << 20), Ok(Progress::More | Progress::Read)) {
                return std::mem::take(&mut self.lines);
            }
        }
        panic!("a turn always says that there is more");
    }
}

fn place() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("games.log");
    (directory, path)
}

fn append(path: &Path, text: impl AsRef<[u8]>) {
    let mut options = OpenOptions::new();
    let mut file = options.append(true).create(true).open(path).unwrap();
    file.write_all(text.as_ref()).unwrap();
}

fn following(path: &Path, from: LogStart) -> Reader {
    let mut reader = Reader::new(path, from, None);
    let _ = reader.turn(0);
    reader
}

#[test]
fn reading_begins_where_it_should() {
    let (_directory, path) = place();
    append(&path, "old\nhalf");
    let mut end = following(&path, LogStart::End);
    let mut never_saved = following(&path, LogStart::Saved);
    let mut beginning = following(&path, LogStart::Beginning);
    append(&path, " a line\nnew\n");
    // The rest of a line whose beginning was not read says nothing.
    assert_eq!(end.drain(), ["new"]);
    assert_eq!(never_saved.drain(), ["new"]);
    assert_eq!(beginning.drain(), ["old", "half a line", "new"]);
}

#[test]
fn a_file_that_comes_later_is_new_from_its_beginning() {
    let (_directory, path) = place();
    let mut reader = Reader::new(&path, LogStart::End, None);
    assert!(matches!(reader.turn(100), Err(FileError::Missing { .. })));
    append(&path, "first\n");
    assert_eq!(reader.drain(), ["first"]);
}

#[test]
fn half_a_line_waits_for_its_end() {
    let (_directory, path) = place();
    append(&path, "");
    let mut reader = following(&path, LogStart::End);
    append(&path, "ha");
    assert!(reader.drain().is_empty());
    assert_eq!(reader.follower.position().unwrap().offset, 0);
    append(&path, "lf\nx");
    assert_eq!(reader.drain(), ["half"]);
    assert_eq!(reader.follower.position().unwrap().offset, 5);
    assert_eq!(reader.follower.lag(), Some(0));
}

#[test]
fn rotation_loses_nothing() {
    let (directory, path) = place();
    append(&path, "");
    let mut reader = following(&path, LogStart::End);
    let mut writer = OpenOptions::new().append(true).open(&path).unwrap();
    writer.write_all(b"one\n").unwrap();
    fs::rename(&path, directory.path().join("games.log.1")).unwrap();
    File::create(&path).unwrap();
    // The writer has not noticed yet.
    writer.write_all(b"two\n").unwrap();
    assert_eq!(reader.drain(), ["one", "two"]);
    writer.write_all(b"three\nno end").unwrap();
    append(&path, "four\n");
    assert_eq!(reader.drain(), ["three", "no end", "four"]);
    assert_eq!(reader.follower.restarts(), 1);
}

#[test]
fn files_that_come_while_another_is_read_wait_in_order() {
    let (directory, path) = place();
    append(&path, "");
    let mut reader = following(&path, LogStart::End);
    for n in 0..5 {
        append(&path, format!("{n}a\n{n}b\n"));
        let _ = reader.turn(1);
        fs::rename(&path, directory.path().join(format!("games.log.{n}"))).unwrap();
    }
    append(&path, "last\n");
    assert_eq!(
        reader.drain(),
        ["0a", "0b", "1a", "1b", "2a", "2b", "3a", "3b", "4a", "4b", "last"]
    );
}

#[test]
fn truncation_starts_over() {
    let (_directory, path) = place();
    append(&path, "");
    let mut reader = following(&path, LogStart::End);
    append(&path, "one\ntwo\n");
    assert_eq!(reader.drain(), ["one", "two"]);
    fs::write(&path, "1\n").unwrap();
    assert_eq!(reader.drain(), ["1"]);
    // As long as before, and longer than before, at once.
    fs::write(&path, "2\n").unwrap();
    assert_eq!(reader.drain(), ["2"]);
    fs::write(&path, "3\n4\n5\n").unwrap();
    assert_eq!(reader.drain(), ["3", "4", "5"]);
    fs::write(&path, "").unwrap();
    assert!(reader.drain().is_empty());
    assert_eq!(reader.follower.restarts(), 4);
}

#[test]
fn a_writer_that_does_not_append_leaves_a_hole_when_truncated() {
    let (_directory, path) = place();
    let mut writer = File::create(&path).unwrap();
    let mut reader = following(&path, LogStart::End);
    writer.write_all(b"one\n").unwrap();
    let far = 64 << 30;
    writer.write_all_at(b"far\n", far).unwrap();
    assert_eq!(reader.drain(), ["one", "far"]);
    OpenOptions::new()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(0)
        .unwrap();
    writer.write_all_at(b"two\n", far + 4).unwrap();
    assert_eq!(reader.drain(), ["two"]);
    let position = reader.follower.position().unwrap();
    assert_eq!(position.offset, far + 8);
}

#[test]
fn a_directory_may_vanish_and_come_back() {
    let (directory, _) = place();
    let logs = directory.path().join("logs");
    let path = logs.join("games.log");
    fs::create_dir(&logs).unwrap();
    append(&path, "");
    let mut reader = following(&path, LogStart::End);
    append(&path, "one\n");
    fs::remove_dir_all(&logs).unwrap();
    assert_eq!(reader.drain(), ["one"]);
    assert!(matches!(reader.turn(100), Err(FileError::Missing { .. })));
    fs::create_dir(&logs).unwrap();
    append(&path, "two\n");
    assert_eq!(reader.drain(), ["two"]);
}

#[test]
fn a_deleted_file_is_given_up_when_it_is_quiet() {
    let (_directory, path) = place();
    let mut writer = File::create(&path).unwrap();
    let mut reader = following(&path, LogStart::End);
    fs::remove_file(&path).unwrap();
    writer.write_all(b"one\ntwo").unwrap();
    assert_eq!(reader.drain(), ["one"]);
    reader.now += DELETED_PATIENCE + Duration::from_secs(1);
    assert_eq!(reader.drain(), ["two"]);
    assert!(reader.follower.files.is_empty());
    append(&path, "three\n");
    assert_eq!(reader.drain(), ["three"]);
}

#[test]
fn a_switched_link_is_a_rotation() {
    let (directory, link) = place();
    let (a, b) = (directory.path().join("a"), directory.path().join("b"));
    append(&a, "old\n");
    symlink(&a, &link).unwrap();
    let mut reader = following(&link, LogStart::End);
    append(&a, "one\n");
    append(&b, "two\n");
    fs::remove_file(&link).unwrap();
    symlink(&b, &link).unwrap();
    assert_eq!(reader.drain(), ["one", "two"]);
}

#[test]
fn what_is_not_a_file_is_refused_by_name() {
    let (directory, path) = place();
    for (path, part) in [
        (directory.path(), "a directory"),
        (Path::new("/dev/null"), "a device"),
    ] {
        let error = following(path, LogStart::End).turn(1).unwrap_err().to_string();
        assert!(
            error.contains(part) && error.contains(&path.display().to_string()),
            "{error}"
        );
    }
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let error = following(&path, LogStart::End).turn(1).unwrap_err().to_string();
    assert!(error.contains("log.fifo"), "{error}");
    fs::remove_file(&path).unwrap();
    symlink(&path, &path).unwrap();
    let error = following(&path, LogStart::End).turn(1).unwrap_err();
    assert!(matches!(error, FileError::Unreadable { .. }), "{error}");
}

fn saved_after(path: &Path, text: &str) -> FilePosition {
    append(path, text);
    let mut reader = following(path, LogStart::Beginning);
    reader.drain();
    reader.follower.position().unwrap()
}

#[test]
fn a_saved_position_goes_on_where_it_was() {
    let (_directory, path) = place();
    let position = saved_after(&path, "one\ntwo\nhalf");
    append(&path, " three\nfour\n");
    let mut reader = Reader::new(&path, LogStart::Saved, Some(position));
    assert_eq!(reader.drain(), ["half three", "four"]);
    // It is only used where it is wanted.
    let mut end = Reader::new(&path, LogStart::End, Some(position));
    assert!(end.drain().is_empty());
}

#[test]
fn a_saved_position_finds_its_rotated_file() {
    let (directory, path) = place();
    let position = saved_after(&path, "one\n");
    append(&path, "two\n");
    fs::rename(&path, directory.path().join("games.log.1")).unwrap();
    append(&path, "three\n");
    let mut reader = Reader::new(&path, LogStart::Saved, Some(position));
    assert_eq!(reader.drain(), ["two", "three"]);
}

#[test]
fn another_file_is_not_resumed_in_the_middle() {
    let (_directory, path) = place();
    let position = saved_after(&path, "one\ntwo\n");
    for text in ["1\n", "1\n2\n3\n4\n5\n", ""] {
        // Same inode, other text.
        fs::write(&path, text).unwrap();
        let mut reader = Reader::new(&path, LogStart::Saved, Some(position));
        let expected: Vec<_> = text.lines().collect();
        assert_eq!(reader.drain(), expected);
    }
}

#[test]
fn utf_16_is_resumed_in_its_own_encoding() {
    let (_directory, path) = place();
    let units = |text: &str| -> Vec<u8> { text.encode_utf16().flat_map(u16::to_le_bytes).collect() };
    append(&path, units("\u{feff}one\r\nhalf"));
    let mut end = following(&path, LogStart::End);
    append(&path, units(" two\r\nthree\r\n"));
    assert_eq!(end.drain(), ["three"]);
    let position = end.follower.position().unwrap();
    append(&path, units("four\r\n"));
    let mut saved = Reader::new(&path, LogStart::Saved, Some(position));
    assert_eq!(saved.drain(), ["four"]);
}

#[derive(Clone, Debug)]
enum Step {
    /// So many bytes of the writer's lines.
    Write(usize),
    /// Rename, and a new file; the writer goes on there with a new line.
    Rotate,
    /// Delete, and a new file.
    Recreate,
    /// Delete; the next writing creates it.
    Vanish,
    /// `copytruncate`.
    Truncate,
    /// One turn with a small budget.
    Turn(usize),
    /// Turns until nothing comes.
    Drain,
    /// Another follower goes on from the position.
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (1usize..60).prop_map(Step::Write),
        1 => (500usize..5000).prop_map(Step::Write),
        2 => Just(Step::Rotate),
        1 => Just(Step::Recreate),
        1 => Just(Step::Vanish),
        2 => Just(Step::Truncate),
        4 => (1usize..200).prop_map(Step::Turn),
        3 => Just(Step::Drain),
        1 => Just(Step::Restart),
    ]
}

/// The writer's side, and what must come of it.
struct Writer {
    directory: TempDir,
    path: PathBuf,
    /// What is still to be written of the present line.
    rest: Vec<u8>,
    next: u32,
    rotated: u32,
    /// Lines whose text is in the present file, and whether they were there at the last drain.
    present: Vec<u32>,
    /// Has the follower had a turn since the present file came to the path?
    seen: bool,
    /// Lines that must be said.
    due: Vec<u32>,
    /// Rotations since the follower had read everything.
    behind: usize,
}

impl Writer {
    fn text(n: u32) -> String {
        format!("{n:06}:{};", "x".repeat((n as usize * 7919) % 40))
    }

    fn write(&mut self, mut bytes: usize) {
        if !self.path.exists() {
            self.seen = false;
        }
        let mut out = Vec::new();
        while bytes > 0 {
            if self.rest.is_empty() {
                self.rest = (Self::text(self.next) + "\n").into_bytes();
                self.next += 1;
            }
            let some: Vec<u8> = self.rest.drain(..bytes.min(self.rest.len())).collect();
            bytes -= some.len();
            // With its last visible character a line counts: the line end may be missing at a file's end.
            if some.contains(&b';') {
                self.present.push(self.next - 1);
            }
            out.extend(some);
        }
        append(&self.path, out);
    }

    /// The present file will not be written to any more.
    fn leave(&mut self) {
        self.rest.clear();
        let lines = std::mem::take(&mut self.present);
        if self.seen {
            self.due.extend(lines);
        }
        self.behind += 1;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    /// Everything is said once and in order, except what the file system hides: files that came and went unseen, and
    /// what was truncated unread.
    #[test]
    fn no_line_is_lost_or_doubled(steps in proptest::collection::vec(step(), 1..80)) {
        let (directory, path) = place();
        append(&path, "");
        let mut reader = following(&path, LogStart::End);
        let mut writer = Writer {
            directory, path, rest: Vec::new(), next: 0, rotated: 0, present: Vec::new(), seen: true, due: Vec::new(), behind: 0,
        };
        let mut said = Vec::new();
        for step in steps.into_iter().chain([Step::Drain]) {
            match step {
                Step::Write(bytes) => writer.write(bytes),
                Step::Rotate | Step::Recreate | Step::Vanish if writer.behind + 2 >= QUEUE || !writer.path.exists() => {}
                Step::Rotate => {
                    writer.leave();
                    writer.rotated += 1;
                    let old = writer.directory.path().join(format!("games.log.{}", writer.rotated));
                    fs::rename(&writer.path, old).unwrap();
                    append(&writer.path, "");
                    writer.seen = false;
                }
                Step::Recreate => {
                    writer.leave();
                    fs::remove_file(&writer.path).unwrap();
                    append(&writer.path, "");
                    writer.seen = false;
                }
                Step::Vanish => {
                    writer.leave();
                    fs::remove_file(&writer.path).unwrap();
                }
                Step::Truncate => if writer.path.exists() {
                    // Nothing in it is due any more; what was read before has been said.
                    writer.rest.clear();
                    writer.present.clear();
                    OpenOptions::new().write(true).open(&writer.path).unwrap().set_len(0).unwrap();
                },
                Step::Turn(budget) => {
                    let _ = reader.turn(budget);
                    writer.seen = true;
                    said.append(&mut reader.lines);
                }
                Step::Drain => {
                    said.extend(reader.drain());
                    writer.seen = true;
                    // A superseded file is left when there is something in the new one.
                    if fs::metadata(&writer.path).is_ok_and(|metadata| metadata.len() > 0) {
                        writer.behind = 0;
                        let mut lines = writer.present.clone();
                        if writer.rest == b"\n" {
                            lines.pop();
                        }
                        writer.due.extend(&lines);
                        writer.present.retain(|line| !lines.contains(line));
                        for line in writer.due.drain(..) {
                            prop_assert!(said.contains(&Writer::text(line)), "line {} is lost", line);
                        }
                    }
                }
                Step::Restart => {
                    let position = reader.follower.position();
                    if let (0, Some(position), true) = (writer.behind, position, writer.path.exists()) {
                        reader = Reader::new(&writer.path, LogStart::Saved, Some(position));
                        let _ = reader.turn(1);
                        said.append(&mut reader.lines);
                    }
                }
            }
        }
        let whole: Vec<u32> = said
            .iter()
            .filter(|line| line.ends_with(';'))
            .map(|line| {
                let n = line[..6].parse().unwrap();
                assert_eq!(line, &Writer::text(n));
                n
            })
            .collect();
        prop_assert!(whole.is_sorted_by(|a, b| a < b), "doubled or out of order: {:?}", whole);
    }
}
