//! Tokens of pushes over TCP (RFC 6750 bearer tokens) and what each is for, from a file.
//!
//! A line is `TOKEN [SERVER ...]`; names with spaces, or with `#` in front, go in double quotes, with `\"` and `\\`
//! inside. `#` begins a comment line. Tokens are kept as SHA-256 digests and compared in constant time.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use arc_swap::ArcSwap;
use axum::http::HeaderValue;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::sync::Semaphore;

use crate::{
    games::push::MOST_BYTES,
    serve::secret::{self, SecretError},
};

/// Fewest characters of a token.
const SHORTEST: usize = 32;
/// Most characters of a token.
const LONGEST: usize = 512;
/// Most tokens in a file.
const MOST_TOKENS: usize = 1_000;
/// Largest file.
const MOST_FILE_BYTES: u64 = 1 << 20;
/// Bytes of bodies that are received at a time per token.
const BYTES_PER_TOKEN: usize = 2 * MOST_BYTES;

/// Why a token file was refused. No message repeats a token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// It cannot be read, or others can reach it.
    #[error("the token file: {0}")]
    Secret(#[from] SecretError),
    /// More than a list of tokens.
    #[error("the token file {path} has more than {MOST_TOKENS} tokens")]
    TooLarge {
        /// Which file.
        path: PathBuf,
    },
    /// No tokens.
    #[error("the token file {path} has no tokens: add a line, for example from `openssl rand -hex 32`")]
    Empty {
        /// Which file.
        path: PathBuf,
    },
    /// A line that makes no sense.
    #[error("{path}, line {line}: {problem}")]
    Line {
        /// Which file.
        path: PathBuf,
        /// One-based.
        line: usize,
        /// What is wrong with it.
        problem: LineProblem,
    },
}

/// What is wrong with a line of a token file.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineProblem {
    /// Not of the length or characters of a token.
    #[error("a token has {SHORTEST} to {LONGEST} printable ASCII characters")]
    Token,
    /// The token of another line.
    #[error("the same token as in line {first}")]
    Repeated {
        /// One-based.
        first: usize,
    },
    /// A quoted name without end, or with something glued to it.
    #[error("a name in double quotes ends with one, and a space or nothing follows it")]
    Quotes,
    /// A comment behind a token, or a name that looks like one. Taken as a comment, it could widen a scope.
    #[error("a comment has a line of its own; a server's name that begins with # goes in double quotes")]
    Comment,
    /// A name that no server can have.
    #[error("a server's name has 1 to 128 characters")]
    Name,
}

/// Servers that a token is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All.
    All,
    /// These.
    Servers(Arc<[Box<str>]>),
}

impl Scope {
    /// May its bearer push for this server?
    pub fn allows(&self, server: &str) -> bool {
        match self {
            Self::All => true,
            Self::Servers(names) => names.iter().any(|name| **name == *server),
        }
    }
}

/// What the bearer of a known token may.
#[derive(Clone, Debug)]
pub struct Grant {
    /// For which servers.
    pub scope: Scope,
    /// The token's share of bytes that are received at a time.
    pub(super) receiving: Arc<Semaphore>,
}

struct Entry {
    digest: [u8; 32],
    line: usize,
    grant: Grant,
}

/// The tokens of a file.
pub struct TokenBook {
    path: PathBuf,
    entries: ArcSwap<Vec<Entry>>,
}

impl std::fmt::Debug for TokenBook {
    fn fmt(&self, out: &mut std::fmt::Formatter) -> std::fmt::Result {
        out.debug_struct("TokenBook")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl TokenBook {
    /// Reads a file.
    pub fn load(path: &Path) -> Result<Self, TokenError> {
        Ok(Self {
            path: path.to_owned(),
            entries: ArcSwap::from_pointee(read(path)?),
        })
    }

    /// Reads the file again; says how many tokens there are. On an error the tokens from before stay in force.
    pub fn reload(&self) -> Result<usize, TokenError> {
        let entries = read(&self.path)?;
        let count = entries.len();
        self.entries.store(Arc::new(entries));
        Ok(count)
    }

    /// The line of the first token that is for certain servers only.
    pub fn first_scoped_line(&self) -> Option<usize> {
        let entries = self.entries.load();
        let scoped = entries.iter().find(|entry| entry.grant.scope != Scope::All);
        scoped.map(|entry| entry.line)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What an `Authorization` header entitles to; `None` for nothing.
    pub fn grant(&self, header: Option<&HeaderValue>) -> Option<Grant> {
        let value = header?.to_str().ok()?;
        let (scheme, token) = value.split_once(' ')?;
        let token = token.trim();
        if !scheme.eq_ignore_ascii_case("bearer") || token.len() > LONGEST {
            return None;
        }
        let digest: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        // All are compared, whichever it is: time says nothing about how much of a token is right.
        let entries = self.entries.load();
        let mut found = None;
        for entry in entries.iter() {
            if bool::from(entry.digest.ct_eq(&digest)) {
                found = Some(entry.grant.clone());
            }
        }
        found
    }
}

fn read(path: &Path) -> Result<Vec<Entry>, TokenError> {
    parse(&secret::read(path, MOST_FILE_BYTES)?, path)
}

fn parse(bytes: &[u8], path: &Path) -> Result<Vec<Entry>, TokenError> {
    let mut entries: Vec<Entry> = Vec::new();
    for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let number = index + 1;
        let wrong = |problem| TokenError::Line {
            path: path.to_owned(),
            line: number,
            problem,
        };
        let line = std::str::from_utf8(line)
            .map_err(|_| wrong(LineProblem::Token))?
            .trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if entries.len() == MOST_TOKENS {
            return Err(TokenError::TooLarge {
                path: path.to_owned(),
            });
        }
        let (token, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        if !(SHORTEST..=LONGEST).contains(&token.len()) || !token.bytes().all(|byte| byte.is_ascii_graphic())
        {
            return Err(wrong(LineProblem::Token));
        }
        let digest: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        if let Some(same) = entries.iter().find(|entry| entry.digest == digest) {
            return Err(wrong(LineProblem::Repeated { first: same.line }));
        }
        let names = names(rest).map_err(wrong)?;
        let scope = if names.is_empty() {
            Scope::All
        } else {
            Scope::Servers(names.into())
        };
        entries.push(Entry {
            digest,
            line: number,
            grant: Grant {
                scope,
                receiving: Arc::new(Semaphore::new(BYTES_PER_TOKEN)),
            },
        });
    }
    if entries.is_empty() {
        return Err(TokenError::Empty {
            path: path.to_owned(),
        });
    }
    Ok(entries)
}

fn names(mut rest: &str) -> Result<Vec<Box<str>>, LineProblem> {
    let mut names = Vec::new();
    loop {
        rest = rest.trim_start();
        let name: String = match rest.strip_prefix('"') {
            Some(quoted) => {
                let (name, after) = unquote(quoted).ok_or(LineProblem::Quotes)?;
                if after.starts_with(|next: char| !next.is_whitespace()) {
                    return Err(LineProblem::Quotes);
                }
                rest = after;
                name
            }
            None if rest.is_empty() => return Ok(names),
            None if rest.starts_with('#') => return Err(LineProblem::Comment),
            None => {
                let (name, after) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
                rest = after;
                name.into()
            }
        };
        if !(1..=128).contains(&name.chars().count()) {
            return Err(LineProblem::Name);
        }
        names.push(name.into());
    }
}

/// What stands before the closing quote, and what comes after it.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut name = String::new();
    let mut characters = text.char_indices();
    while let Some((index, character)) = characters.next() {
        match character {
            '"' => return Some((name, &text[index + 1..])),
            '\\' => match characters.next()?.1 {
                escaped @ ('"' | '\\') => name.push(escaped),
                _ => return None,
            },
            other => name.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

    fn file(text: &[u8], mode: u32) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("push.token");
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        (directory, path)
    }

    fn grant(book: &TokenBook, header: &str) -> Option<Scope> {
        let header = HeaderValue::from_str(header).unwrap();
        book.grant(Some(&header)).map(|grant| grant.scope)
    }

    #[test]
    fn each_token_has_its_scope() {
        let text = format!("# ours\n\n{A}\n  {B} arena \"the \\\"old\\\" one\"  x\\y \"#1\" \n");
        let (_directory, path) = file(text.as_bytes(), 0o600);
        let book = TokenBook::load(&path).unwrap();
        assert_eq!(grant(&book, &format!("Bearer {A}")), Some(Scope::All));
        let scope = grant(&book, &format!("bearer  {B}")).unwrap();
        for name in ["arena", "the \"old\" one", "x\\y", "#1"] {
            assert!(scope.allows(name), "{name}");
        }
        assert!(!scope.allows("Arena") && !scope.allows("the"));
        for wrong in [
            format!("Basic {A}"),
            A.to_owned(),
            format!("Bearer {}", &A[1..]),
            format!("Bearer {A}a"),
            format!("Bearer {A} {B}"),
            "Bearer ".into(),
            format!("Bearer {}", "a".repeat(LONGEST + 1)),
        ] {
            assert_eq!(grant(&book, &wrong), None, "{wrong}");
        }
        assert!(book.grant(None).is_none());
        assert!(!format!("{book:?}").contains("aaaa"));
    }

    #[test]
    fn mistakes_are_named_by_line_and_never_show_a_token() {
        let long = "l".repeat(LONGEST + 1);
        for (text, part) in [
            (String::new(), "no tokens"),
            ("# only\n".into(), "no tokens"),
            (format!("{A}\nshort arena"), "line 2: a token has 32"),
            (format!("{long}\n"), "line 1: a token has 32"),
            (format!("{A}\n{A} arena"), "line 2: the same token as in line 1"),
            (format!("{A} \"arena"), "line 1: a name in double quotes"),
            (format!("{A} \"a\"b"), "line 1: a name in double quotes"),
            (format!("{A} \"\""), "line 1: a server's name"),
            (format!("{A} {}", "n".repeat(129)), "line 1: a server's name"),
            (
                format!("{A} arena # ours"),
                "line 1: a comment has a line of its own",
            ),
            (format!("{A} #arena"), "line 1: a comment has a line of its own"),
            (format!("{A}\u{e9}"), "line 1: a token has 32"),
        ] {
            let (_directory, path) = file(text.as_bytes(), 0o600);
            let message = TokenBook::load(&path).unwrap_err().to_string();
            assert!(message.contains(part), "{text}: {message}");
            assert!(message.contains("push.token") && !message.contains("aaaa") && !message.contains("llll"));
        }
        let many: String = (0..=MOST_TOKENS).map(|index| format!("{index:032}\n")).collect();
        let (_directory, path) = file(many.as_bytes(), 0o600);
        assert!(matches!(TokenBook::load(&path), Err(TokenError::TooLarge { .. })));
    }

    #[test]
    fn a_file_that_others_reach_is_refused() {
        for (mode, fine) in [
            (0o600, true),
            (0o400, true),
            (0o640, true),
            (0o604, false),
            (0o644, false),
            (0o602, false),
            (0o660, false),
        ] {
            let (_directory, path) = file(A.as_bytes(), mode);
            match TokenBook::load(&path) {
                Ok(_) => assert!(fine, "{mode:o}"),
                Err(error) => {
                    assert!(!fine, "{error}");
                    assert!(error.to_string().contains(&format!("{mode:04o}")), "{error}");
                    assert!(error.to_string().contains("chmod 0600"), "{error}");
                }
            }
        }
        let directory = tempfile::tempdir().unwrap();
        assert!(matches!(
            TokenBook::load(directory.path()),
            Err(TokenError::Secret(SecretError::NoFile { .. }))
        ));
        let missing = directory.path().join("none");
        assert!(matches!(
            TokenBook::load(&missing),
            Err(TokenError::Secret(SecretError::Read { .. }))
        ));
        let pipe = directory.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRUSR).unwrap();
        assert!(matches!(
            TokenBook::load(&pipe),
            Err(TokenError::Secret(SecretError::NoFile { .. }))
        ));
    }

    #[test]
    fn a_reload_replaces_tokens_and_a_failed_one_keeps_them() {
        let (_directory, path) = file(A.as_bytes(), 0o600);
        let book = TokenBook::load(&path).unwrap();
        std::fs::write(&path, format!("{B}\n")).unwrap();
        assert_eq!(book.reload().unwrap(), 1);
        assert_eq!(grant(&book, &format!("Bearer {A}")), None);
        assert_eq!(grant(&book, &format!("Bearer {B}")), Some(Scope::All));
        std::fs::write(&path, "short").unwrap();
        book.reload().unwrap_err();
        assert_eq!(grant(&book, &format!("Bearer {B}")), Some(Scope::All));
    }

    proptest::proptest! {
        #[test]
        fn no_file_makes_it_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300)) {
            let _ = parse(&bytes, Path::new("f"));
        }

        #[test]
        fn any_name_survives_quoting(name in "\\PC{1,128}") {
            let quoted = name.replace('\\', "\\\\").replace('"', "\\\"");
            let line = format!("{A} other \"{quoted}\"\n");
            let entries = parse(line.as_bytes(), Path::new("f")).unwrap();
            proptest::prop_assert!(entries[0].grant.scope.allows(&name));
        }
    }
}
