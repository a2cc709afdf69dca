//! `[[server.probe]]`: a function of the server that is counted and timed where it runs.

use serde::{Deserialize, Serialize};

/// Probes of one server at most.
pub const MOST_PROBES: usize = 16;

/// A `[[server.probe]]` entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProbeSettings {
    /// Unique per server; becomes the `probe` label of metrics. Lower-case letters, digits and `_`.
    pub name: String,
    /// The function, as the symbol table has it or as it is written in C++ or Rust: `Game::Rewind`. This or `offset`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub symbol: Option<String>,
    /// Address of the function's first instruction as `nm` or a disassembler shows it for the file. This or `symbol`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// File with the function: an absolute path as the server sees it, or the file name of a library that it has
    /// loaded. The server's executable when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    /// Count and time, or only count.
    #[serde(default)]
    pub measure: ProbeMeasure,
    /// So many calls per second are timed at most, 1 to 1000000; those above are only counted.
    #[serde(default = "usual_rate")]
    pub max_calls_per_second: u32,
}

/// `probe.measure`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProbeMeasure {
    /// Calls and their time: a probe at the entry and one at the return.
    #[default]
    Time,
    /// Calls only, for functions through which C++ exceptions pass: nothing at the return.
    Calls,
}

/// Where in the file the function is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ProbePlace {
    /// By name.
    Symbol(String),
    /// By address.
    Address(u64),
}

fn usual_rate() -> u32 {
    10_000
}

impl ProbeSettings {
    /// A probe of a function of the server's executable.
    pub fn new(name: impl Into<String>, place: ProbePlace) -> Self {
        let (symbol, offset) = match place {
            ProbePlace::Symbol(symbol) => (Some(symbol), None),
            ProbePlace::Address(offset) => (None, Some(offset)),
        };
        Self {
            name: name.into(),
            symbol,
            offset,
            object: None,
            measure: ProbeMeasure::Time,
            max_calls_per_second: usual_rate(),
        }
    }

    /// In this file instead of the executable.
    pub fn object(mut self, object: impl Into<String>) -> Self {
        self.object = Some(object.into());
        self
    }

    /// Counts or times.
    pub fn measure(mut self, measure: ProbeMeasure) -> Self {
        self.measure = measure;
        self
    }

    /// Times so many calls per second at most.
    pub fn max_calls_per_second(mut self, calls: u32) -> Self {
        self.max_calls_per_second = calls;
        self
    }

    /// Where the function is; `None` where neither is given, which [`ProbeSettings::check`] refuses.
    pub fn place(&self) -> Option<ProbePlace> {
        match (&self.symbol, self.offset) {
            (Some(symbol), None) => Some(ProbePlace::Symbol(symbol.clone())),
            (None, Some(offset)) => Some(ProbePlace::Address(offset)),
            _ => None,
        }
    }

    /// The function in words.
    pub fn function(&self) -> String {
        match (&self.symbol, self.offset) {
            (Some(symbol), _) => symbol.clone(),
            (None, Some(offset)) => format!("{offset:#x}"),
            (None, None) => String::new(),
        }
    }

    /// What the types cannot say; the error says what is expected.
    pub(super) fn check(&self) -> Result<(), &'static str> {
        let usual = |sign: u8| sign.is_ascii_lowercase() || sign.is_ascii_digit() || sign == b'_';
        if self.name.is_empty() || self.name.len() > 64 || !self.name.bytes().all(usual) {
            return Err("its name must be 1 to 64 lower-case letters, digits and `_`");
        }
        if self.place().is_none() {
            return Err("it needs either symbol or offset");
        }
        if let Some(symbol) = &self.symbol
            && (symbol.is_empty() || symbol.len() > 4_096 || symbol.chars().any(char::is_control))
        {
            return Err("symbol must be the name of a function, at most 4096 bytes");
        }
        if let Some(object) = &self.object
            && (object.is_empty()
                || object.chars().any(char::is_control)
                || (object.contains('/') && !object.starts_with('/')))
        {
            return Err("object must be an absolute path, or a file name without /");
        }
        if !(1..=1_000_000).contains(&self.max_calls_per_second) {
            return Err("max_calls_per_second must be 1 to 1000000");
        }
        Ok(())
    }
}
