//! Where reading stopped: one small JSON file, so that a restarted agent goes on where it was.
//!
//! It holds paths, unit names, offsets and hashes; nothing that a log says. A file that is missing, cut off or garbage
//! is the same as none. Sources that have no position (pipes, standard input) are not in it.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

/// Time between two writings.
const SAVE_INTERVAL: Duration = Duration::from_secs(5);
/// A file larger than this is not ours.
const SIZE_LIMIT: u64 = 4 << 20;
/// Positions kept, those of servers that are not configured at present included.
const COUNT_LIMIT: usize = 8192;
/// Bytes at the beginning of a file by which it is recognised.
pub const FINGERPRINT_BYTES: usize = 1024;
/// Journal cursors are about 130 characters long.
const CURSOR_LIMIT: usize = 512;

/// What a file begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// Bytes that the hash is over, at most [`FINGERPRINT_BYTES`].
    pub length: u16,
    /// Their hash (FNV-1a, 64 bits): the same in every version of gsmon, and no text of the log.
    pub hash: u64,
}

impl Fingerprint {
    /// Of a file's first bytes.
    pub fn of(first: &[u8]) -> Self {
        let bytes = first.get(..FINGERPRINT_BYTES).unwrap_or(first);
        let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Self {
            length: bytes.len() as u16,
            hash,
        }
    }

    /// Does a file that begins with `first` begin with this?
    pub fn matches(&self, first: &[u8]) -> bool {
        first
            .get(..usize::from(self.length))
            .is_some_and(|bytes| Self::of(bytes) == *self)
    }
}

/// A place in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilePosition {
    /// Device number.
    pub device: u64,
    /// Inode number.
    pub inode: u64,
    /// Bytes read, up to the end of the last whole line.
    pub offset: u64,
    /// A file with this inode that begins otherwise is another one.
    pub fingerprint: Fingerprint,
}

/// Cursor of a journal entry (`__CURSOR`), known to be well-formed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cursor(String);

/// What is called a cursor is none.
#[derive(Debug, thiserror::Error)]
#[error("this is no journal cursor")]
pub struct NoCursor;

impl Cursor {
    /// As an argument of journalctl.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Cursor {
    type Error = NoCursor;

    fn try_from(text: String) -> Result<Self, NoCursor> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"=;-".contains(&byte);
        if text.is_empty() || text.len() > CURSOR_LIMIT || text.starts_with('-') || !text.bytes().all(allowed)
        {
            return Err(NoCursor);
        }
        Ok(Self(text))
    }
}

impl From<Cursor> for String {
    fn from(cursor: Cursor) -> Self {
        cursor.0
    }
}

/// Where reading stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Position {
    /// In a file.
    File(FilePosition),
    /// In a journal.
    Journal(Cursor),
}

/// A server's position, and in what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Saved {
    /// Path or unit; a position in another source is of no use.
    source: String,
    position: Position,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Document {
    version: u32,
    servers: BTreeMap<String, Saved>,
}

const VERSION: u32 = 1;

/// How much a writing should survive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// An end of the agent.
    Process,
    /// A loss of power as well.
    Power,
}

/// The file and what belongs in it.
#[derive(Debug)]
pub struct Positions {
    path: PathBuf,
    document: Document,
    changed: bool,
    last_save: Option<Instant>,
}

impl Positions {
    /// Reads the file; starts with nothing where there is none or it is garbage.
    pub fn load(path: &Path) -> Self {
        let document = match read(path) {
            Ok(document) if document.version == VERSION && document.servers.len() <= COUNT_LIMIT => document,
            Ok(_) => {
                tracing::warn!(path = %path.display(), "log positions are of another version: starting without them");
                Document::default()
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Document::default(),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "log positions cannot be read: starting without them");
                Document::default()
            }
        };
        Self {
            path: path.to_owned(),
            document,
            changed: false,
            last_save: None,
        }
    }

    /// Where reading of `server`'s log stopped, if that log was `source`.
    pub fn get(&self, server: &str, source: &str) -> Option<&Position> {
        let saved = self.document.servers.get(server)?;
        (saved.source == source).then_some(&saved.position)
    }

    /// Remembers a position.
    pub fn put(&mut self, server: &str, source: &str, position: Position) {
        match self.document.servers.get_mut(server) {
            Some(saved) if saved.source == source && saved.position == position => return,
            Some(saved) if saved.source == source => saved.position = position,
            _ => {
                let source = source.to_owned();
                let saved = Saved { source, position };
                self.document.servers.insert(server.to_owned(), saved);
            }
        }
        self.changed = true;
    }

    /// Forgets servers for which `keep` is false, once there are too many of them.
    pub fn trim(&mut self, keep: impl Fn(&str) -> bool) {
        if self.document.servers.len() > COUNT_LIMIT / 2 {
            self.document.servers.retain(|server, _| keep(server));
            self.changed = true;
        }
    }

    /// Should [`Positions::save`] be called?
    pub fn is_due(&self, now: Instant) -> bool {
        self.changed
            && self
                .last_save
                .is_none_or(|last| now.duration_since(last) >= SAVE_INTERVAL)
    }

    /// Writes the file, whole or not at all, if something has changed.
    ///
    /// # Errors
    /// When the directory cannot be created or written to; the next attempt is due after the usual interval.
    pub fn save(&mut self, now: Instant, durability: Durability) -> io::Result<()> {
        if !self.changed {
            return Ok(());
        }
        self.last_save = Some(now);
        self.document.version = VERSION;
        let text = serde_json::to_vec(&self.document)?;
        if let Some(directory) = self.path.parent().filter(|path| !path.as_os_str().is_empty()) {
            fs::create_dir_all(directory)?;
        }
        let mut name = self.path.file_name().unwrap_or_default().to_owned();
        name.push(".new");
        let temporary = self.path.with_file_name(name);
        // A left-over of an agent that was killed while writing.
        let _ = fs::remove_file(&temporary);
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(&text)?;
        if durability == Durability::Power {
            file.sync_all()?;
        }
        fs::rename(&temporary, &self.path)?;
        self.changed = false;
        Ok(())
    }
}

fn read(path: &Path) -> io::Result<Document> {
    // Without blocking, should a pipe be there.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)?;
    let mut text = Vec::new();
    File::take(file, SIZE_LIMIT + 1).read_to_end(&mut text)?;
    if text.len() as u64 > SIZE_LIMIT {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "too large"));
    }
    Ok(serde_json::from_slice(&text)?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn place(offset: u64) -> Position {
        Position::File(FilePosition {
            device: u64::MAX,
            inode: 7,
            offset,
            fingerprint: Fingerprint::of(b"first"),
        })
    }

    #[test]
    fn positions_survive_and_belong_to_a_source() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state/positions.json");
        let mut positions = Positions::load(&path);
        let now = Instant::now();
        assert!(!positions.is_due(now));
        positions.put("a", "/log", place(5));
        let cursor = Cursor::try_from("s=a;i=1f;b=0".to_owned()).unwrap();
        positions.put("b", "arena.service", Position::Journal(cursor.clone()));
        assert!(positions.is_due(now));
        positions.save(now, Durability::Process).unwrap();
        assert!(!positions.is_due(now + SAVE_INTERVAL));
        positions.put("a", "/log", place(6));
        assert!(!positions.is_due(now + SAVE_INTERVAL / 2));
        assert!(positions.is_due(now + SAVE_INTERVAL));
        positions.save(now, Durability::Power).unwrap();
        let again = Positions::load(&path);
        assert_eq!(again.get("a", "/log"), Some(&place(6)));
        assert_eq!(again.get("b", "arena.service"), Some(&Position::Journal(cursor)));
        assert_eq!(again.get("a", "/other"), None);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_position_that_cannot_be_saved_is_an_error_and_tried_again() {
        let directory = tempfile::tempdir().unwrap();
        let obstacle = directory.path().join("file");
        fs::write(&obstacle, "").unwrap();
        let mut positions = Positions::load(&obstacle.join("positions.json"));
        positions.put("a", "/log", place(5));
        let now = Instant::now();
        positions.save(now, Durability::Process).unwrap_err();
        assert!(!positions.is_due(now));
        assert!(positions.is_due(now + SAVE_INTERVAL));
    }

    #[test]
    fn a_fingerprint_grows_with_its_file() {
        let short = Fingerprint::of(b"abc");
        assert!(short.matches(b"abc") && short.matches(b"abcdef"));
        assert!(!short.matches(b"ab") && !short.matches(b"abd"));
        assert!(Fingerprint::of(b"").matches(b"anything"));
        let long = vec![b'x'; 5000];
        assert!(Fingerprint::of(&long).matches(&long));
        // Published test vector of FNV-1a.
        assert_eq!(Fingerprint::of(b"foobar").hash, 0x8594_4171_f739_67e8);
    }

    #[test]
    fn only_cursors_are_cursors() {
        for text in ["", "--help", "a b", "s=1\n", &"a".repeat(1000)] {
            Cursor::try_from(text.to_owned()).unwrap_err();
        }
    }

    proptest! {
        #[test]
        fn garbage_is_the_same_as_nothing(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
            cut in 0usize..400,
        ) {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("positions.json");
            fs::write(&path, &bytes).unwrap();
            let mut positions = Positions::load(&path);
            prop_assert_eq!(&positions.document, &Document::default());
            positions.put("a", "/log", place(5));
            positions.save(Instant::now(), Durability::Process).unwrap();
            let text = fs::read(&path).unwrap();
            // Cut anywhere but after the last byte.
            let cut = cut % text.len();
            fs::write(&path, &text[..cut]).unwrap();
            prop_assert_eq!(&Positions::load(&path).document, &Document::default());
        }
    }
}
