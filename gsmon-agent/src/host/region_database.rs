//! The user's files that say where addresses are: a list of networks, and a database in MaxMind's format. Read as a
//! whole at start and at a reload; a damaged file is an error then, and never a wrong answer later.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use ipnet::IpNet;
use maxminddb::{PathElement, Reader};

use crate::config::{FieldError, NetworkListError, RegionSettings, check_region_name, parse_networks};

/// Records of a database that are looked through for one with a name.
const PROBED: usize = 10_000;
/// A list of networks may have so many bytes.
const LONGEST_LIST: u64 = 64 << 20;

/// Why regions cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum RegionError {
    /// The configuration makes no sense.
    #[error(transparent)]
    Settings(#[from] FieldError),
    /// A file could not be read.
    #[error("[regions] cannot read {path}: {source}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A list that makes no sense.
    #[error("[regions] {path}: {source}")]
    List {
        /// Which file.
        path: PathBuf,
        /// Line and message.
        source: NetworkListError,
    },
    /// No database, or a damaged one.
    #[error("[regions] {path} is no usable MaxMind database: {message}")]
    Database {
        /// Which file.
        path: PathBuf,
        /// The reader's message.
        message: String,
    },
    /// A database without what is looked for.
    #[error(
        "[regions] {path} ({kind}) has nothing at database_path = {wanted:?} in its first records: name where the region is in a record"
    )]
    NothingThere {
        /// Which file.
        path: PathBuf,
        /// What it says it is.
        kind: String,
        /// What was looked for.
        wanted: Vec<String>,
    },
}

/// What the files and the configuration say.
#[derive(Debug, Default)]
pub struct RegionSources {
    /// Networks and their regions, those of the configuration last: they override the file.
    pub networks: Vec<(IpNet, Arc<str>)>,
    /// The database.
    pub database: Option<RegionDatabase>,
}

impl RegionSources {
    /// Reads the files.
    ///
    /// # Errors
    /// When a file cannot be read or is damaged, with its name and, for a list, the line.
    pub fn load(settings: &RegionSettings) -> Result<Self, RegionError> {
        let mut networks = Vec::new();
        if let Some(path) = &settings.file {
            let text = read_list(path)?;
            networks = parse_networks(&text).map_err(|source| RegionError::List {
                path: path.clone(),
                source,
            })?;
        }
        networks.extend(settings.inline_networks()?);
        let database = settings
            .database
            .as_deref()
            .map(|path| RegionDatabase::open(path, &settings.database_path))
            .transpose()?;
        Ok(Self {
            networks: networks
                .into_iter()
                .map(|(network, name)| (network, name.into()))
                .collect(),
            database,
        })
    }
}

fn read_list(path: &Path) -> Result<String, RegionError> {
    let refuse = |source| RegionError::Read {
        path: path.to_owned(),
        source,
    };
    let length = std::fs::metadata(path).map_err(refuse)?.len();
    if length > LONGEST_LIST {
        return Err(refuse(std::io::Error::other(format!(
            "{length} bytes are more than the {LONGEST_LIST} that a list may have"
        ))));
    }
    let bytes = std::fs::read(path).map_err(refuse)?;
    String::from_utf8(bytes).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        RegionError::List {
            path: path.to_owned(),
            source: NetworkListError::Line {
                line: before.iter().filter(|byte| **byte == b'\n').count() + 1,
                message: "not UTF-8 text".into(),
            },
        }
    })
}

/// A database, in memory.
pub struct RegionDatabase {
    reader: Reader<Vec<u8>>,
    path: Vec<String>,
}

impl std::fmt::Debug for RegionDatabase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RegionDatabase")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl RegionDatabase {
    /// Reads and verifies a file; `wanted` is where the region is in a record.
    fn open(path: &Path, wanted: &[String]) -> Result<Self, RegionError> {
        let broken = |message: String| RegionError::Database {
            path: path.to_owned(),
            message,
        };
        let bytes = std::fs::read(path).map_err(|source| RegionError::Read {
            path: path.to_owned(),
            source,
        })?;
        let reader = Reader::from_source(bytes).map_err(|error| broken(error.to_string()))?;
        reader.verify().map_err(|error| broken(error.to_string()))?;
        let database = Self {
            reader,
            path: wanted.to_vec(),
        };
        let records = database
            .reader
            .networks(Default::default())
            .map_err(|error| broken(error.to_string()))?;
        let found = records
            .take(PROBED)
            .flatten()
            .any(|record| database.name(&record).is_some());
        if found {
            Ok(database)
        } else {
            Err(RegionError::NothingThere {
                path: path.to_owned(),
                kind: database.reader.metadata().database_type.clone(),
                wanted: wanted.to_vec(),
            })
        }
    }

    /// Region of an address; `None` where the database has none.
    pub fn region(&self, address: IpAddr) -> Option<Arc<str>> {
        let record = self.reader.lookup(address).ok()?;
        self.name(&record).map(Arc::from)
    }

    /// Text or a number; a record may lack it.
    fn name(&self, record: &maxminddb::LookupResult<'_, Vec<u8>>) -> Option<String> {
        let path: Vec<PathElement<'_>> = self
            .path
            .iter()
            .map(|part| part.parse().map_or(PathElement::Key(part), PathElement::Index))
            .collect();
        let name = match record.decode_path::<serde_json::Value>(&path).ok()?? {
            serde_json::Value::String(text) => text,
            serde_json::Value::Number(number) => number.to_string(),
            _ => return None,
        };
        check_region_name(&name).is_ok().then_some(name)
    }
}

#[cfg(test)]
#[path = "region_database_tests.rs"]
pub(crate) mod tests;
