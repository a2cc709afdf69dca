//! Where servers log, by arguments and habit.

use std::path::{Component, Path, PathBuf};

use super::{Evidence, argv::Arguments, argv::Value, program::Program};

/// Where a log may be.
#[derive(Clone, Copy, Debug)]
pub(super) enum LogPlace {
    /// An argument says so.
    Argument(&'static [Value]),
    /// Below the working directory.
    Cwd(&'static str),
    /// Below the home directory.
    Home(&'static str),
    /// `games.log` of id Tech 3: home directory of the engine, game directory, `g_log`.
    Quake {
        /// Below the home directory.
        home: &'static str,
        /// Game directory.
        base: &'static str,
    },
    /// `-abslog=FILE`, or `-log=FILE` below `PROJECT/Saved/Logs`.
    UnrealArgument,
    /// `PROJECT/Saved/Logs/PROJECT.log`; the executable is in `PROJECT/Binaries/SYSTEM`.
    UnrealSaved,
}

/// The first place that the process's arguments, directories and variables can tell.
pub(super) fn log(places: &[LogPlace], program: &Program<'_>, evidence: &Evidence) -> Option<PathBuf> {
    places.iter().find_map(|place| one(*place, program, evidence))
}

fn one(place: LogPlace, program: &Program<'_>, evidence: &Evidence) -> Option<PathBuf> {
    let given = Arguments(program.arguments);
    let home = || evidence.environ.get("HOME").map(PathBuf::from);
    match place {
        // `-` is standard output.
        LogPlace::Argument(values) => {
            let file = given.first_value(values).filter(|file| *file != "-")?;
            absolute(Path::new(file), evidence.cwd.as_deref())
        }
        LogPlace::Cwd(file) => absolute(Path::new(file), evidence.cwd.as_deref()),
        LogPlace::Home(file) => absolute(Path::new(file), home().as_deref()),
        LogPlace::Quake { home: own, base } => {
            let cvar = |name| given.value(&Value::Cvar(name));
            let root = match cvar("fs_homepath") {
                Some(path) => PathBuf::from(path),
                None => home()?.join(cvar("com_homepath").unwrap_or(own)),
            };
            let game = cvar("fs_game").or(cvar("com_basegame")).unwrap_or(base);
            let file = cvar("g_log").unwrap_or("games.log");
            absolute(&root.join(game).join(file), evidence.cwd.as_deref())
        }
        LogPlace::UnrealArgument => {
            if let Some(file) = given.value(&Value::Key("-abslog")) {
                return absolute(Path::new(file), evidence.cwd.as_deref());
            }
            // `-log` alone opens a console.
            let given_name = program
                .arguments
                .iter()
                .find_map(|argument| argument.strip_prefix("-log=").or(argument.strip_prefix("-LOG=")))?;
            Some(normal(&project(program)?.join("Saved/Logs").join(given_name)))
        }
        LogPlace::UnrealSaved => {
            let project = project(program)?;
            let name = project.file_name()?.to_str()?;
            Some(project.join(format!("Saved/Logs/{name}.log")))
        }
    }
}

/// `/srv/game/Project` of `/srv/game/Project/Binaries/Linux/Server`.
fn project(program: &Program<'_>) -> Option<PathBuf> {
    let path = Path::new(&program.path);
    let binaries = path.parent()?.parent()?;
    (path.is_absolute() && binaries.file_name()? == "Binaries")
        .then(|| binaries.parent().map(Path::to_owned))
        .flatten()
}

fn absolute(path: &Path, base: Option<&Path>) -> Option<PathBuf> {
    if path.as_os_str().is_empty() {
        return None;
    }
    let whole = if path.is_absolute() {
        path.to_owned()
    } else {
        base.filter(|base| base.is_absolute())?.join(path)
    };
    Some(normal(&whole))
}

/// Without `.` and `..`, by the text alone.
fn normal(path: &Path) -> PathBuf {
    let mut found = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                found.pop();
            }
            Component::CurDir => {}
            other => found.push(other),
        }
    }
    found
}
