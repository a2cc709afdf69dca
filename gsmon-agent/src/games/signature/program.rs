//! The real program of a process: its executable, or what an interpreter (Wine, box64, qemu-user, ld.so) runs.

use std::path::Path;

use super::{Evidence, base_name, text_of, titles};

/// A program and what it was given.
#[derive(Clone, Debug)]
pub(super) struct Program<'a> {
    /// File name, lower case, without ending and architecture.
    pub name: String,
    /// File name as it is.
    pub shown: String,
    /// Directory and name as they are.
    pub path: String,
    /// Its arguments.
    pub arguments: &'a [String],
    /// How its name is known.
    pub known: Known,
}

/// How a program's name is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// From the executable.
    Executable,
    /// From the arguments of an interpreter.
    Interpreted,
    /// Only from the process's own first argument, which it can set to anything.
    Claimed,
}

/// What runs programs of another system or processor: its arguments name the program.
const INTERPRETERS: [&str; 12] = [
    "wine",
    "wine64",
    "wine-preloader",
    "wine64-preloader",
    "box64",
    "box86",
    "fexinterpreter",
    "fex",
    "qemu-x86_64",
    "qemu-x86_64-static",
    "qemu-i386",
    "qemu-i386-static",
];

/// Endings of file names that say nothing about the game.
const ENDINGS: [&str; 12] = [
    ".exe", ".x86_64", ".x86-64", ".amd64", ".x64", ".x86", ".i386", ".i686", ".aarch64", ".arm64",
    "_x86_64", "-x86_64",
];

/// Lower case, without ` (deleted)`, `.exe` and the processor.
pub(super) fn normalise(file_name: &str) -> String {
    let mut name = file_name.trim_end_matches(" (deleted)").to_ascii_lowercase();
    // At most one of each kind: `x.x86_64.exe`.
    for _ in 0..2 {
        if let Some(stem) = ENDINGS.iter().find_map(|ending| name.strip_suffix(ending)) {
            name = stem.to_owned();
        }
    }
    name
}

impl<'a> Program<'a> {
    /// `None` when there is nothing to go by.
    pub(super) fn of(evidence: &'a Evidence) -> Option<Self> {
        let rest = evidence.arguments.get(1..).unwrap_or_default();
        let Some(executable) = &evidence.executable else {
            return evidence
                .arguments
                .first()
                .filter(|first| !first.is_empty())
                .map(|first| Self::new(first, rest, Known::Claimed));
        };
        let path = text_of(executable);
        let name = normalise(base_name(&path));
        if name.starts_with("ld-linux") || name.starts_with("ld-musl") || name == "ld.so" {
            return behind_loader(rest);
        }
        if INTERPRETERS.contains(&name.as_str()) {
            return if name.starts_with("wine") {
                behind_wine(&evidence.arguments)
            } else {
                // box64 may be left out of its own arguments (binfmt_misc).
                let at = evidence.arguments.iter().position(|argument| {
                    !argument.starts_with('-')
                        && !INTERPRETERS.contains(&normalise(base_name(argument)).as_str())
                })?;
                Some(Self::new(
                    &evidence.arguments[at],
                    &evidence.arguments[at + 1..],
                    Known::Interpreted,
                ))
            };
        }
        Some(Self::new(&path, rest, Known::Executable))
    }

    fn new(path: &str, arguments: &'a [String], known: Known) -> Self {
        let path = path.trim_end_matches(" (deleted)");
        Self {
            name: normalise(base_name(path)),
            shown: base_name(path).to_owned(),
            path: path.to_owned(),
            arguments,
            known,
        }
    }
}

/// Wine: the first argument that is a Windows program, within what stands in front of the game's own arguments.
fn behind_wine(arguments: &[String]) -> Option<Program<'_>> {
    let at = arguments
        .iter()
        .take(3)
        .position(|argument| argument.to_ascii_lowercase().ends_with(".exe"))?;
    Some(Program::new(
        &arguments[at],
        &arguments[at + 1..],
        Known::Interpreted,
    ))
}

/// `ld-linux-x86-64.so.2 --library-path DIR PROGRAM ARGUMENTS`.
fn behind_loader(mut rest: &[String]) -> Option<Program<'_>> {
    const WITH_VALUE: [&str; 5] = [
        "--library-path",
        "--inhibit-rpath",
        "--audit",
        "--preload",
        "--argv0",
    ];
    while let Some((first, others)) = rest.split_first() {
        if WITH_VALUE.contains(&first.as_str()) {
            rest = others.get(1..).unwrap_or_default();
        } else if first.starts_with("--") {
            rest = others;
        } else {
            return Some(Program::new(first, others, Known::Interpreted));
        }
    }
    None
}

/// Is it worth reading more about a process? Cheap, for every process of the host: `executable` and the arguments
/// joined by spaces, as the process table has them.
pub fn worth_a_look(executable: Option<&Path>, command_line: &str) -> bool {
    let name = match executable {
        Some(path) => path.file_name().map(|name| normalise(&name.to_string_lossy())),
        None => command_line
            .split(' ')
            .next()
            .map(|first| normalise(base_name(first))),
    };
    let Some(name) = name else {
        return false;
    };
    name == "java"
        || name.starts_with("ld-linux")
        || name.starts_with("ld-musl")
        || INTERPRETERS.contains(&name.as_str())
        || titles::names_a_program(&name)
        // Unity servers are called anything.
        || has_ignoring_case(command_line, "-batchmode")
}

fn has_ignoring_case(text: &str, wanted: &str) -> bool {
    text.as_bytes()
        .windows(wanted.len())
        .any(|part| part.eq_ignore_ascii_case(wanted.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_and_endings_are_left_out() {
        for (file, name) in [
            ("valheim_server.x86_64", "valheim_server"),
            ("ArkAscendedServer.exe", "arkascendedserver"),
            ("ioq3ded.x86_64 (deleted)", "ioq3ded"),
            ("7DaysToDieServer.x86_64", "7daystodieserver"),
        ] {
            assert_eq!(normalise(file), name);
        }
    }

    #[test]
    fn interpreters_are_seen_through() {
        let of = |executable: &str, arguments: &[&str]| {
            let evidence = Evidence {
                executable: Some(executable.into()),
                arguments: arguments.iter().map(|word| (*word).to_owned()).collect(),
                ..Evidence::default()
            };
            Program::of(&evidence).map(|program| (program.name, program.arguments.len()))
        };
        assert_eq!(
            of(
                "/opt/wine/bin/wine64-preloader",
                &["Z:\\ark\\ArkAscendedServer.exe", "TheIsland_WP?listen"]
            ),
            Some(("arkascendedserver".into(), 1))
        );
        assert_eq!(of("/usr/bin/wine64-preloader", &["wine", "C:\\a.txt"]), None);
        assert_eq!(
            of(
                "/usr/local/bin/box64",
                &["box64", "./valheim_server.x86_64", "-name", "x"]
            ),
            Some(("valheim_server".into(), 2))
        );
        assert_eq!(
            of(
                "/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2",
                &["ld.so", "--library-path", "/a", "./srcds_linux", "-game", "tf"]
            ),
            Some(("srcds_linux".into(), 2))
        );
        assert_eq!(
            of("/bin/bash", &["bash", "./srcds_run"]),
            Some(("bash".into(), 1))
        );
    }
}
