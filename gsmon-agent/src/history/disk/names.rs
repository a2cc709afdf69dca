//! Numbers of servers, words and measures, as the file has them. Not here: anything that bears them.

use std::{collections::HashMap, sync::Arc};

use rusqlite::{Connection, params};

use super::{rollups::Numbers, samples::Dictionary};
use crate::history::Measure;

/// Different words (maps, modes, actions) that are kept; what comes on top has none. Games name some hundreds.
const MOST_WORDS: usize = 65_536;

/// All names, both ways.
#[derive(Debug, Default)]
pub struct Names {
    servers: HashMap<Arc<str>, u32>,
    words: HashMap<Arc<str>, u32>,
    measures: HashMap<Measure, u16>,
    /// The way back.
    pub dictionary: Dictionary,
}

impl Names {
    /// Reads them, and gives every measure that this gsmon knows a number.
    pub fn read_and_add(connection: &Connection) -> rusqlite::Result<Self> {
        let mut add = connection.prepare("INSERT OR IGNORE INTO measure (name) VALUES (?1)")?;
        for measure in Measure::ALL {
            add.execute([measure.name()])?;
        }
        Self::read(connection)
    }

    /// Reads them.
    pub fn read(connection: &Connection) -> rusqlite::Result<Self> {
        let mut names = Self::default();
        for (number, name) in rows(connection, "SELECT id, name FROM server")? {
            names.servers.insert(name.into(), number);
        }
        for (number, text) in rows(connection, "SELECT id, text FROM word")? {
            let text: Arc<str> = text.into();
            names.words.insert(text.clone(), number);
            names.dictionary.words.insert(number, text);
        }
        for (number, name) in rows(connection, "SELECT id, name FROM measure")? {
            if let (Some(measure), Ok(number)) = (Measure::named(&name), u16::try_from(number)) {
                names.measures.insert(measure, number);
                names.dictionary.measures.insert(number, measure);
            }
        }
        Ok(names)
    }

    /// Servers with their numbers.
    pub fn servers(&self) -> &HashMap<Arc<str>, u32> {
        &self.servers
    }

    /// The number of a server that is known already.
    pub fn server(&self, name: &str) -> Option<u32> {
        self.servers.get(name).copied()
    }

    /// The number of a server, a new one for a new server.
    pub fn server_or_new(&mut self, connection: &Connection, name: &str) -> rusqlite::Result<u32> {
        if let Some(number) = self.servers.get(name) {
            return Ok(*number);
        }
        let number = connection
            .prepare_cached(
                "INSERT INTO server (name) VALUES (?1) ON CONFLICT DO UPDATE SET name = name RETURNING id",
            )?
            .query_row(params![name], |row| row.get(0))?;
        self.servers.insert(name.into(), number);
        Ok(number)
    }

    /// The number of a word, a new one for a new word; 0 for none, and for what there is no room for.
    pub fn word_or_new(&mut self, connection: &Connection, word: Option<&Arc<str>>) -> rusqlite::Result<u32> {
        let Some(word) = word else { return Ok(0) };
        if let Some(number) = self.words.get(word) {
            return Ok(*number);
        }
        if self.words.len() >= MOST_WORDS {
            return Ok(0);
        }
        let number = connection
            .prepare_cached(
                "INSERT INTO word (text) VALUES (?1) ON CONFLICT DO UPDATE SET text = text RETURNING id",
            )?
            .query_row(params![&**word], |row| row.get(0))?;
        self.words.insert(word.clone(), number);
        self.dictionary.words.insert(number, word.clone());
        Ok(number)
    }
}

impl Numbers for Names {
    fn word(&self, word: Option<&Arc<str>>) -> u32 {
        word.and_then(|word| self.words.get(word)).copied().unwrap_or(0)
    }

    fn measure(&self, measure: Measure) -> Option<u16> {
        self.measures.get(&measure).copied()
    }
}

fn rows(connection: &Connection, query: &str) -> rusqlite::Result<Vec<(u32, String)>> {
    let mut statement = connection.prepare(query)?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    rows.collect()
}
