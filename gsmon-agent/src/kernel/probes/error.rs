//! Why a function is not probed, in words that say what to do.

use std::io;

use aya::programs::ProgramError;

/// Names shown where a symbol is not found or means several functions.
pub const NAMES_SHOWN: usize = 5;

/// Why a function is not probed.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The library is not there (yet).
    #[error("the server has not loaded {object} yet")]
    NotLoaded {
        /// From the configuration.
        object: String,
    },
    /// The file cannot be read.
    #[error("cannot read {object}: {source}")]
    Read {
        /// Which file.
        object: String,
        /// Why.
        source: io::Error,
    },
    /// No ELF file, or a broken one.
    #[error("{object} is no ELF file that can be read: {message}")]
    NoElf {
        /// Which file.
        object: String,
        /// The reader's words.
        message: String,
    },
    /// Go moves its stacks.
    #[error(
        "{object} is a Go program: Go moves its stacks, and a probe at the return of a function would crash it; set measure = \"calls\""
    )]
    Go {
        /// Which file.
        object: String,
    },
    /// No symbols at all.
    #[error(
        "{object} is stripped and exports no function `{symbol}`: give offset (the address of the function as nm shows it for the build that has symbols), or install that build"
    )]
    Stripped {
        /// Which file.
        object: String,
        /// From the configuration.
        symbol: String,
    },
    /// Symbols, but not this one.
    #[error(
        "{object} has no function `{symbol}`{}: give the name as nm -C shows it, or offset",
        like(names)
    )]
    NoSymbol {
        /// Which file.
        object: String,
        /// From the configuration.
        symbol: String,
        /// Similar names, a few.
        names: Vec<String>,
    },
    /// More than one function.
    #[error(
        "`{symbol}` means {count} functions of {object}: give one of their names as nm shows them ({})",
        names.join(", ")
    )]
    Ambiguous {
        /// Which file.
        object: String,
        /// From the configuration.
        symbol: String,
        /// How many.
        count: usize,
        /// A few of them.
        names: Vec<String>,
    },
    /// Not in code.
    #[error(
        "{address:#x} is no code of {object}: give the address as nm shows it, which is between {ranges} there"
    )]
    NoCode {
        /// Which file.
        object: String,
        /// From the configuration.
        address: u64,
        /// Code of the file.
        ranges: String,
    },
    /// The process is gone.
    #[error("the process has ended")]
    Ended,
    /// Table full.
    #[error("more than {limit} probed functions on this host: remove some [[server.probe]] entries")]
    TooMany {
        /// Table size.
        limit: u32,
    },
    /// Without attach cookies.
    #[error(
        "more than {limit} probed functions: kernels before 5.15 have no attach cookies, and gsmon has {limit} pairs of programs for them"
    )]
    TooManyWithoutCookies {
        /// Pairs.
        limit: u32,
    },
    /// The kernel's word.
    #[error(
        "the kernel does not take the probe: {}; check that the place is the first instruction of a function, and that the agent has CAP_SYS_ADMIN or CAP_PERFMON and CAP_BPF",
        chain(source)
    )]
    Refused {
        /// aya's error.
        source: Box<ProgramError>,
    },
    /// The embedded object lacks a program.
    #[error("the embedded kernel object has no program {name}: it does not belong to this agent")]
    MissingProgram {
        /// Which.
        name: &'static str,
    },
}

fn like(names: &[String]) -> String {
    if names.is_empty() {
        String::new()
    } else {
        format!(" (it has {})", names.join(", "))
    }
}

/// An error and its causes: aya keeps the kernel's word in the last one.
fn chain(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        words.push_str(": ");
        words.push_str(&error.to_string());
        cause = error.source();
    }
    words
}
