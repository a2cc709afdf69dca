//! The log of a game that gsmon does not know, read by the user's own regular expressions (`[server.grammar]`).
//!
//! The prefix is matched at the start of the line, on its own; rules begin right behind it and must match the whole rest.
//! Rules are tried in order, the first that matches speaks; if a value in it does not parse, that part is left out, and
//! if nothing is left, nothing is said. Lines have no time of their own here: reading time counts.
//!
//! Expressions run on the `regex` crate, whose time is linear in the line whatever the expression is; what they may take
//! in memory is limited. A set of all rules turns away the lines that say nothing in one pass, so many rules cost little.
//!
//! Forging: as anchored as the expressions are. A rule `(?<name>.+) has left` behind an empty prefix also matches chat.

use regex::{Captures, Regex, RegexBuilder, RegexSet, RegexSetBuilder};

use super::grammar::{Grammar, Spoken};
use crate::config::{GrammarSettings, RuleEvent};

mod meaning;
#[cfg(test)]
mod tests;

use self::meaning::Meaning;

// Query: none by itself; any protocol of `[server.query]`, `http` for documents of the game's own.

/// Most rules of a grammar.
pub const MOST_RULES: usize = 256;
/// Longest expression, bytes.
pub const LONGEST_PATTERN: usize = 4096;
/// Most memory that one compiled expression may take, bytes.
const SIZE_LIMIT: usize = 1 << 20;
/// Most memory that the set of all rules may take, bytes; its cache may take as much again.
const SET_LIMIT: usize = 8 << 20;

/// What is wrong with a grammar. Rules count from 1.
#[derive(Debug, thiserror::Error)]
pub enum CustomGrammarError {
    /// No rules.
    #[error("a grammar needs at least one [[server.grammar.rule]]")]
    NoRules,
    /// More than [`MOST_RULES`].
    #[error("a grammar of {0} rules: at most {MOST_RULES} are allowed")]
    TooManyRules(usize),
    /// Longer than [`LONGEST_PATTERN`].
    #[error("{place} is longer than {LONGEST_PATTERN} bytes: split it")]
    TooLong {
        /// Which expression.
        place: Place,
    },
    /// Not a regular expression, or one that takes too much memory.
    #[error("{place} is not usable: {source}")]
    Pattern {
        /// Which expression.
        place: Place,
        /// Why.
        source: Box<regex::Error>,
    },
    /// The rules are too large together.
    #[error("the rules are too large together: {0}")]
    Set(Box<regex::Error>),
    /// A capture that nothing knows.
    #[error("rule {rule}: unknown capture `{capture}`; known are {known}")]
    UnknownCapture {
        /// Which rule.
        rule: usize,
        /// As spelled.
        capture: String,
        /// All of them.
        known: String,
    },
    /// A capture that the event has no use for.
    #[error("rule {rule}: `{event}` cannot use the capture `{capture}`; it uses {usable}")]
    UselessCapture {
        /// Which rule.
        rule: usize,
        /// The rule's event, as in the configuration.
        event: &'static str,
        /// As spelled.
        capture: String,
        /// What the event uses.
        usable: String,
    },
    /// A capture without which the event means nothing.
    #[error("rule {rule}: `{event}` needs {needed}, as in (?<{example}>...)")]
    MissingCapture {
        /// Which rule.
        rule: usize,
        /// The rule's event.
        event: &'static str,
        /// What is needed.
        needed: String,
        /// One of them.
        example: &'static str,
    },
    /// `kind` where no player is spoken of.
    #[error("rule {rule}: `{event}` speaks of no player, so `kind` means nothing there: remove it")]
    UselessKind {
        /// Which rule.
        rule: usize,
        /// The rule's event.
        event: &'static str,
    },
    /// A list needs something between its names.
    #[error("rule {rule}: `separator` is empty: say what stands between two players")]
    EmptySeparator {
        /// Which rule.
        rule: usize,
    },
}

/// Which expression an error is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// `prefix`
    Prefix,
    /// A rule, counted from 1.
    Rule(usize),
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Prefix => f.write_str("the prefix"),
            Self::Rule(rule) => write!(f, "the pattern of rule {rule}"),
        }
    }
}

/// Reads a log by the user's rules.
pub struct Log {
    prefix: Option<Regex>,
    any: RegexSet,
    rules: Vec<(Regex, Meaning)>,
}

/// Says whether a grammar is usable, for checks of a configuration.
///
/// # Errors
/// As [`Log::new`].
pub fn check(settings: &GrammarSettings) -> Result<(), CustomGrammarError> {
    Log::new(settings).map(drop)
}

impl Log {
    /// Compiles a grammar.
    ///
    /// # Errors
    /// When an expression does not compile, or a rule captures what its event cannot use.
    pub fn new(settings: &GrammarSettings) -> Result<Self, CustomGrammarError> {
        if settings.rules.is_empty() {
            return Err(CustomGrammarError::NoRules);
        }
        if settings.rules.len() > MOST_RULES {
            return Err(CustomGrammarError::TooManyRules(settings.rules.len()));
        }
        let prefix = match &settings.prefix {
            Some(prefix) => Some(compile(prefix, Place::Prefix, "")?),
            None => None,
        };
        let mut rules = Vec::with_capacity(settings.rules.len());
        for (index, rule) in settings.rules.iter().enumerate() {
            let regex = compile(&rule.pattern, Place::Rule(index + 1), r"\z")?;
            let meaning = Meaning::of(rule, index + 1, &regex)?;
            rules.push((regex, meaning));
        }
        let any = RegexSetBuilder::new(rules.iter().map(|(regex, _)| regex.as_str()))
            .size_limit(SET_LIMIT)
            .dfa_size_limit(SET_LIMIT)
            .build()
            .map_err(|error| CustomGrammarError::Set(Box::new(error)))?;
        Ok(Self { prefix, any, rules })
    }

    fn first_match<'a>(&self, text: &'a str) -> Option<(Captures<'a>, &Meaning)> {
        let index = self.any.matches(text).iter().next()?;
        let (regex, meaning) = self.rules.get(index)?;
        Some((regex.captures(text)?, meaning))
    }
}

/// Compiles a user's expression between anchors. It must be one by itself, so that it cannot step out of the group that
/// the anchors are put around.
fn compile(pattern: &str, place: Place, end: &str) -> Result<Regex, CustomGrammarError> {
    if pattern.len() > LONGEST_PATTERN {
        return Err(CustomGrammarError::TooLong { place });
    }
    let build = |pattern: &str| {
        RegexBuilder::new(pattern)
            .size_limit(SIZE_LIMIT)
            .dfa_size_limit(SIZE_LIMIT)
            .nest_limit(64)
            .build()
            .map_err(|error| CustomGrammarError::Pattern {
                place,
                source: Box::new(error),
            })
    };
    build(pattern)?;
    build(&format!(r"\A(?:{pattern}){end}"))
}

impl Grammar for Log {
    fn line(&mut self, line: &str, said: &mut Vec<Spoken>) {
        let text = match &self.prefix {
            Some(prefix) => match prefix.find(line) {
                Some(found) => &line[found.end()..],
                None => return,
            },
            None => line,
        };
        // Cheaper than `matches`, which builds a list; most lines end here.
        if !self.any.is_match(text) {
            return;
        }
        if let Some((captures, meaning)) = self.first_match(text) {
            said.extend(meaning.spoken(&captures));
        }
    }
}

/// How an event is spelled in the configuration.
fn spelled(event: RuleEvent) -> &'static str {
    match event {
        RuleEvent::ServerStarting => "server-starting",
        RuleEvent::ServerReady => "server-ready",
        RuleEvent::ServerStopping => "server-stopping",
        RuleEvent::MatchBegun => "match-begun",
        RuleEvent::Phase => "phase",
        RuleEvent::Lobby => "lobby",
        RuleEvent::Loading => "loading",
        RuleEvent::Active => "active",
        RuleEvent::Ended => "ended",
        RuleEvent::MatchEnded => "match-ended",
        RuleEvent::Connecting => "connecting",
        RuleEvent::Known => "known",
        RuleEvent::Join => "join",
        RuleEvent::Leave => "leave",
        RuleEvent::Roster => "roster",
        RuleEvent::Count => "count",
        RuleEvent::Action => "action",
        RuleEvent::Tick => "tick",
        RuleEvent::Behind => "behind",
    }
}
