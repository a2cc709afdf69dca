//! The file: opening it, its tables, bringing an older one up to date, and what can be wrong with it. `docs/history.md`
//! describes every table. Not here: who reads and writes rows.

use std::{
    fs::OpenOptions,
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::code::CodeError;

/// `gsmn`: says in the header of the file whose it is.
const APPLICATION_ID: i32 = 0x6773_6d6e;
/// Others may hold the file for a moment (a check, a checkpoint).
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);
/// What SQLite keeps of the file in memory, KiB.
const CACHE_KIB: i32 = 1_024;

/// Each brings the file from its place in the list to the next version. Never changed once released: appended to.
const MIGRATIONS: [&str; 4] = [
    include_str!("schema_1.sql"),
    include_str!("schema_2.sql"),
    include_str!("schema_3.sql"),
    include_str!("schema_4.sql"),
];

/// The first version that keeps spikes.
pub const WITH_SPIKES: i32 = 2;

/// The first version that keeps players' lines.
pub const WITH_LINES: i32 = 3;

/// The first version that keeps findings.
pub const WITH_FINDINGS: i32 = 4;

/// The version that this gsmon writes.
pub const VERSION: i32 = MIGRATIONS.len() as i32;

/// Why the history on disk cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// SQLite refused.
    #[error("{path}: {source}{}", advice(source))]
    Sql {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
    /// The file or its directory.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Nothing has been written yet, or elsewhere.
    #[error(
        "there is no history at {path}: `gsmon run` writes one, unless [history] write = \"off\"; --config says where"
    )]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// Written by a newer gsmon.
    #[error(
        "{path} has schema version {found}, this gsmon knows up to {VERSION}: use the newer gsmon, or name another file in [history] path"
    )]
    Newer {
        /// Which file.
        path: PathBuf,
        /// Its version.
        found: i32,
    },
    /// Something else.
    #[error("{path} is a database of another program: name another file in [history] path")]
    NotOurs {
        /// Which file.
        path: PathBuf,
    },
    /// A block is damaged.
    #[error("{path}: {source} (gsmon history check says which)")]
    Block {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: CodeError,
    },
}

/// What an error means for going on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// No space.
    Full,
    /// May not be written.
    ReadOnly,
    /// Not what SQLite wrote: moved aside.
    Damaged,
    /// Another process is at it.
    Busy,
    /// Anything else, such as a missing directory.
    Other,
}

fn trouble(error: &rusqlite::Error) -> Trouble {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => Trouble::Full,
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => Trouble::ReadOnly,
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Trouble::Damaged,
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Trouble::Busy,
        _ => Trouble::Other,
    }
}

fn advice(error: &rusqlite::Error) -> &'static str {
    match trouble(error) {
        Trouble::Full => ": make room on that file system",
        Trouble::ReadOnly => ": make it writable for gsmon, or name another file in [history] path",
        Trouble::Damaged => ": the file is damaged",
        Trouble::Busy => ": another process holds it",
        Trouble::Other => "",
    }
}

impl HistoryError {
    /// An error of SQLite on a file.
    pub fn sql(path: &Path) -> impl Fn(rusqlite::Error) -> Self + '_ {
        |source| Self::Sql {
            path: path.to_owned(),
            source,
        }
    }

    /// A block that cannot be read.
    pub fn block(path: &Path) -> impl Fn(CodeError) -> Self + '_ {
        |source| Self::Block {
            path: path.to_owned(),
            source,
        }
    }

    /// What it means for going on.
    pub fn trouble(&self) -> Trouble {
        match self {
            Self::Sql { source, .. } => trouble(source),
            Self::File { source, .. } => match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Trouble::Full,
                io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => Trouble::ReadOnly,
                _ => Trouble::Other,
            },
            Self::Missing { .. } | Self::Newer { .. } | Self::NotOurs { .. } | Self::Block { .. } => {
                Trouble::Other
            }
        }
    }
}

/// Opens the file for the writer; makes it, and brings an older one up to date.
pub fn open_to_write(path: &Path) -> Result<Connection, HistoryError> {
    let file = |source| HistoryError::File {
        path: path.to_owned(),
        source,
    };
    if let Some(directory) = path
        .parent()
        .filter(|directory| !directory.as_os_str().is_empty())
    {
        std::fs::create_dir_all(directory).map_err(file)?;
    }
    // SQLite gives its other files the mode of this one.
    let made = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path);
    drop(made.map_err(file)?);
    let sql = HistoryError::sql(path);
    let mut connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )
    .map_err(&sql)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(&sql)?;
    let found = version(&connection, path)?;
    if found == 0 {
        // Only an empty file takes these.
        connection
            .execute_batch("PRAGMA page_size = 2048; PRAGMA auto_vacuum = INCREMENTAL;")
            .map_err(&sql)?;
    }
    // A crash of the machine may cost the newest seconds, never the file; a crash of the agent costs nothing.
    connection
        .execute_batch(&format!(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA cache_size = -{CACHE_KIB};
             PRAGMA journal_size_limit = 8388608; PRAGMA temp_store = MEMORY;"
        ))
        .map_err(&sql)?;
    for (index, migration) in MIGRATIONS.iter().enumerate().skip(found as usize) {
        let step = connection.transaction().map_err(&sql)?;
        step.execute_batch(migration).map_err(&sql)?;
        step.pragma_update(None, "application_id", APPLICATION_ID)
            .map_err(&sql)?;
        step.pragma_update(None, "user_version", index as i32 + 1)
            .map_err(&sql)?;
        step.commit().map_err(&sql)?;
    }
    Ok(connection)
}

/// Opens the file for a reader, while an agent may be writing.
pub fn open_to_read(path: &Path) -> Result<Connection, HistoryError> {
    let sql = HistoryError::sql(path);
    if !path.exists() {
        return Err(HistoryError::Missing {
            path: path.to_owned(),
        });
    }
    let connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )
    .map_err(&sql)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(&sql)?;
    connection
        .execute_batch(&format!("PRAGMA cache_size = -{CACHE_KIB};"))
        .map_err(&sql)?;
    match version(&connection, path)? {
        // Made a moment ago: the writer has not got to its tables yet.
        0 => Err(HistoryError::NotOurs {
            path: path.to_owned(),
        }),
        _ => Ok(connection),
    }
}

/// The schema's version; 0 of an empty file.
pub fn version(connection: &Connection, path: &Path) -> Result<i32, HistoryError> {
    let sql = HistoryError::sql(path);
    let number = |pragma: &str| connection.pragma_query_value(None, pragma, |row| row.get::<_, i32>(0));
    let found = number("user_version").map_err(&sql)?;
    let tables: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(&sql)?;
    let ours = number("application_id").map_err(&sql)? == APPLICATION_ID;
    if (tables > 0 || found > 0) && !ours {
        return Err(HistoryError::NotOurs {
            path: path.to_owned(),
        });
    }
    match found {
        0..=VERSION => Ok(found),
        _ => Err(HistoryError::Newer {
            path: path.to_owned(),
            found,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_made_once_and_opened_again() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("deeper/history.db");
        drop(open_to_write(&path).unwrap());
        let connection = open_to_write(&path).unwrap();
        assert_eq!(version(&connection, &path).unwrap(), VERSION);
        let mode = path.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        open_to_read(&path).unwrap();
        connection.pragma_update(None, "user_version", 99).unwrap();
        let message = open_to_read(&path).unwrap_err().to_string();
        assert!(
            message.contains("schema version 99") && message.contains("newer"),
            "{message}"
        );
    }

    #[test]
    fn files_of_others_are_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let other = directory.path().join("other.db");
        Connection::open(&other)
            .unwrap()
            .execute_batch("CREATE TABLE theirs(x)")
            .unwrap();
        assert!(matches!(
            open_to_write(&other).unwrap_err(),
            HistoryError::NotOurs { .. }
        ));
        let text = directory.path().join("text");
        std::fs::write(
            &text,
            "not a database at all, but long enough to be looked at".repeat(99),
        )
        .unwrap();
        assert_eq!(open_to_write(&text).unwrap_err().trouble(), Trouble::Damaged);
        let missing = open_to_read(&directory.path().join("none")).unwrap_err();
        assert_eq!(missing.trouble(), Trouble::Other);
    }
}
