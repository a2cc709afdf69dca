//! Command lines of Java: which jar or main class runs, and which Minecraft software that is. Clients and launchers are
//! none.

use super::{
    Role,
    argv::{Arg, Arguments, Value, fits},
    base_name,
    place::LogPlace,
    table::{Beside, NameFrom, Naming, Title},
};
use crate::config::{Game, Protocol};

/// What a Java process runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Payload<'a> {
    /// File of `-jar`.
    pub jar: Option<&'a str>,
    /// Main class.
    pub main: Option<&'a str>,
    /// Files of arguments (`@file`).
    pub files: Vec<&'a str>,
    /// Arguments of the program.
    pub arguments: &'a [String],
}

/// JVM options whose value is the next argument.
const WITH_VALUE: [&str; 12] = [
    "-cp",
    "-classpath",
    "--class-path",
    "-p",
    "--module-path",
    "--upgrade-module-path",
    "--add-modules",
    "--add-opens",
    "--add-exports",
    "--add-reads",
    "--patch-module",
    "--source",
];

/// Splits JVM options from what is run.
pub(super) fn payload(arguments: &[String]) -> Payload<'_> {
    let mut found = Payload::default();
    let mut index = 0;
    while let Some(argument) = arguments.get(index) {
        let next = arguments.get(index + 1).map(String::as_str);
        if argument == "-jar" {
            found.jar = next;
            found.arguments = arguments.get(index + 2..).unwrap_or_default();
            return found;
        }
        if argument == "-m" || argument == "--module" {
            found.main = next;
            found.arguments = arguments.get(index + 2..).unwrap_or_default();
            return found;
        }
        if let Some(file) = argument.strip_prefix('@') {
            found.files.push(file);
        } else if WITH_VALUE.contains(&argument.as_str()) {
            index += 1;
        } else if !argument.starts_with('-') {
            // Behind files of arguments the main class is in the file, and this may be an argument of the program.
            if argument.contains('.') || found.files.is_empty() {
                found.main = Some(argument);
                found.arguments = arguments.get(index + 1..).unwrap_or_default();
            } else {
                found.arguments = &arguments[index..];
            }
            return found;
        }
        index += 1;
    }
    found
}

const MINECRAFT: Title = Title {
    game: Game::Minecraft,
    name: "Minecraft",
    role: Role::Server,
    naming: Naming::Own,
    programs: &[],
    paths: &[],
    needs: &[],
    refuses: &[],
    hints: &[Arg::Is("nogui"), Arg::Is("--nogui")],
    beside: Beside::Nothing,
    ports: &[(Protocol::Tcp, 25_565, 25_600)],
    port_arguments: &[Value::Key("--port"), Value::Key("-p")],
    names: &[NameFrom::LevelName],
    logs: &[LogPlace::Cwd("logs/latest.log")],
};

const PROXY: Title = Title {
    role: Role::Proxy,
    hints: &[],
    ports: &[(Protocol::Tcp, 25_565, 25_600)],
    names: &[],
    ..MINECRAFT
};

/// How sure a jar's or class's name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sure {
    /// Named after the software.
    Named,
    /// `server.jar`: anything.
    Vague,
}

struct Row {
    title: Title,
    /// Patterns over the jar's file name, lower case.
    jars: &'static [&'static str],
    /// Main classes; `*` at the end for a package.
    mains: &'static [&'static str],
    /// Patterns over files of arguments.
    files: &'static [&'static str],
}

const fn row(
    name: &'static str,
    base: Title,
    jars: &'static [&'static str],
    mains: &'static [&'static str],
    files: &'static [&'static str],
) -> Row {
    Row {
        title: Title { name, ..base },
        jars,
        mains,
        files,
    }
}

const NUKKIT: Title = Title {
    game: Game::MinecraftBedrock,
    ports: &[(Protocol::Udp, 19_132, 19_160)],
    ..MINECRAFT
};

static ROWS: &[Row] = &[
    row(
        "Paper",
        MINECRAFT,
        &[
            "paper.jar",
            "paper-*.jar",
            "paperclip*.jar",
            "paper_*.jar",
            "folia*.jar",
            "pufferfish*.jar",
            "leaf-*.jar",
        ],
        &["io.papermc.paperclip.*", "com.destroystokyo.paperclip.*"],
        &[],
    ),
    row("Purpur", MINECRAFT, &["purpur*.jar"], &[], &[]),
    row("Spigot", MINECRAFT, &["spigot*.jar"], &[], &[]),
    row(
        "CraftBukkit",
        MINECRAFT,
        &["craftbukkit*.jar"],
        &["org.bukkit.craftbukkit.*"],
        &[],
    ),
    row(
        "Fabric",
        MINECRAFT,
        &["fabric-server*.jar"],
        &[
            "net.fabricmc.loader.impl.launch.knot.KnotServer",
            "net.fabricmc.loader.launch.knot.KnotServer",
            "net.fabricmc.loader.impl.launch.server.FabricServerLauncher",
            "net.fabricmc.loader.launch.server.FabricServerLauncher",
            "net.fabricmc.installer.ServerLauncher",
        ],
        &[],
    ),
    row(
        "Quilt",
        MINECRAFT,
        &["quilt-server*.jar"],
        &[
            "org.quiltmc.loader.impl.launch.knot.KnotServer",
            "org.quiltmc.loader.impl.launch.server.QuiltServerLauncher",
        ],
        &[],
    ),
    row(
        "NeoForge",
        MINECRAFT,
        &["neoforge-*.jar"],
        &[],
        &[
            "libraries/net/neoforged/*unix_args.txt",
            "libraries/net/neoforged/*win_args.txt",
        ],
    ),
    row(
        "Forge",
        MINECRAFT,
        &["forge-*.jar", "minecraftforge-*.jar"],
        &["net.minecraftforge.server.ServerMain"],
        &[
            "libraries/net/minecraftforge/*unix_args.txt",
            "libraries/net/minecraftforge/*win_args.txt",
        ],
    ),
    row(
        "Velocity",
        PROXY,
        &["velocity*.jar"],
        &["com.velocitypowered.proxy.Velocity"],
        &[],
    ),
    row(
        "BungeeCord",
        PROXY,
        &[
            "bungeecord*.jar",
            "waterfall*.jar",
            "travertine*.jar",
            "flamecord*.jar",
        ],
        &["net.md_5.bungee.Bootstrap", "net.md_5.bungee.BungeeCordLauncher"],
        &[],
    ),
    row(
        "Nukkit",
        NUKKIT,
        &["nukkit*.jar", "powernukkit*.jar"],
        &["cn.nukkit.Nukkit"],
        &[],
    ),
    row(
        "Minecraft",
        MINECRAFT,
        &["minecraft_server*.jar", "minecraft-server*.jar"],
        &[
            "net.minecraft.server.MinecraftServer",
            "net.minecraft.server.Main",
            "net.minecraft.bundler.Main",
        ],
        &[],
    ),
];

/// `server.jar` says nothing alone; with Minecraft's settings beside it and its port it does.
static VAGUE: Row = row(
    "Minecraft",
    MINECRAFT,
    &["server.jar", "server-*.jar", "minecraft.jar"],
    &[],
    &[],
);

/// Which title a Java process runs, by what, and how sure that is. `None` for clients, launchers, installers, others.
pub(super) fn title(payload: &Payload<'_>) -> Option<(&'static Title, String, Sure)> {
    let jar = payload.jar.map(|jar| base_name(jar).to_ascii_lowercase());
    if jar
        .as_ref()
        .is_some_and(|jar| jar.contains("installer") || jar.contains("client"))
    {
        return None;
    }
    for row in ROWS {
        if let Some(jar) = jar
            .as_ref()
            .filter(|jar| row.jars.iter().any(|pattern| fits(pattern, jar)))
        {
            return Some((&row.title, jar.clone(), Sure::Named));
        }
        if let Some(main) = payload
            .main
            .filter(|main| row.mains.iter().any(|pattern| fits(pattern, main)))
        {
            return Some((&row.title, main.to_owned(), Sure::Named));
        }
        let file = payload.files.iter().find(|file| {
            row.files
                .iter()
                .any(|pattern| fits(pattern, file.trim_start_matches("./")))
        });
        if let Some(file) = file {
            return Some((&row.title, (*file).to_owned(), Sure::Named));
        }
    }
    // Older Forge and modern ones without a file of arguments: the launch target tells client from server.
    let target = Arguments(payload.arguments).value(&Value::Key("--launchTarget"));
    if payload.main == Some("cpw.mods.bootstraplauncher.BootstrapLauncher")
        && target.is_some_and(|target| target.ends_with("server"))
    {
        let forge = ROWS.iter().find(|row| row.title.name == "Forge")?;
        return Some((&forge.title, "BootstrapLauncher".into(), Sure::Named));
    }
    let jar = jar.filter(|jar| VAGUE.jars.iter().any(|pattern| fits(pattern, jar)))?;
    Some((&VAGUE.title, jar, Sure::Vague))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_the_machine_are_not_the_program() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let given =
            words("-Xmx4G -cp /a:/b --add-modules ALL -Dx=server.jar net.minecraft.server.Main nogui");
        let found = payload(&given);
        assert_eq!(
            (found.main, found.arguments.len()),
            (Some("net.minecraft.server.Main"), 1)
        );
        let given =
            words("@user_jvm_args.txt @libraries/net/minecraftforge/forge/1.20.1-47.2.0/unix_args.txt nogui");
        let found = payload(&given);
        assert_eq!(
            (found.files.len(), found.main, found.arguments.len()),
            (2, None, 1)
        );
        assert_eq!(title(&found).unwrap().0.name, "Forge");
        for cut in ["-jar", "-cp", "-Xmx1G", "@", "-m"] {
            assert!(title(&payload(&words(cut))).is_none(), "{cut}");
        }
    }
}
