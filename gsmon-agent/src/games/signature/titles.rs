//! One row per title. Rows are tried in order, special ones before general ones; the first that is likely enough wins.
//!
//! Facts are from the servers' own documentation: default ports, arguments and log places.

use super::{
    argv::{Arg, Value, fits},
    place::LogPlace,
    table::{
        BASE, BEDROCK, Beside, HLDS, LUANTI, NameFrom, Naming, QUAKE, SRCDS, TEEWORLDS, Title, UNITY, UNREAL,
        source,
    },
};
use crate::config::{Game, Protocol::Udp};

/// Every title but those in Java.
pub(super) const TITLES: &[Title] = &[
    Title {
        game: Game::Demo,
        name: "gsmon demo",
        naming: Naming::Shared,
        programs: &["gsmon"],
        needs: &[&[Arg::First("demo-server")]],
        port_arguments: &[Value::Key("--port")],
        names: &[NameFrom::Argument(Value::Key("--kind"))],
        ..BASE
    },
    // Source and GoldSrc. The mod decides the title.
    source("Team Fortress 2", &[&[Arg::Pair("-game", "tf")]]),
    source("Garry's Mod", &[&[Arg::Pair("-game", "garrysmod")]]),
    source("Counter-Strike Source", &[&[Arg::Pair("-game", "cstrike")]]),
    source("Counter-Strike GO", &[&[Arg::Pair("-game", "csgo")]]),
    source("Left 4 Dead 2", &[&[Arg::Pair("-game", "left4dead2")]]),
    source("Half-Life 2 Deathmatch", &[&[Arg::Pair("-game", "hl2mp")]]),
    source("Day of Defeat Source", &[&[Arg::Pair("-game", "dod")]]),
    source("Source", &[]),
    Title {
        name: "Counter-Strike",
        needs: &[&[Arg::Pair("-game", "cstrike")]],
        ..HLDS
    },
    Title {
        name: "GoldSrc",
        ..HLDS
    },
    Title {
        name: "Counter-Strike 2",
        naming: Naming::Shared,
        programs: &["cs2"],
        needs: &[&[Arg::Is("-dedicated")]],
        ..SRCDS
    },
    // Quake III family.
    Title {
        name: "OpenArena",
        programs: &["oa_ded", "openarena-server", "oaded"],
        logs: &[LogPlace::Quake {
            home: ".openarena",
            base: "baseoa",
        }],
        ..QUAKE
    },
    Title {
        name: "OpenArena",
        programs: &["ioq3ded"],
        needs: &[&[
            Arg::Set("com_basegame", &["baseoa"]),
            Arg::Set("fs_game", &["baseoa"]),
        ]],
        logs: &[LogPlace::Quake {
            home: ".openarena",
            base: "baseoa",
        }],
        ..QUAKE
    },
    Title {
        name: "Urban Terror",
        programs: &[
            "quake3-urt-ded",
            "urbanterror-server",
            "urtded",
            "urbanterror-ded",
        ],
        logs: &[LogPlace::Quake {
            home: ".q3a",
            base: "q3ut4",
        }],
        ..QUAKE
    },
    Title {
        name: "Tremulous",
        programs: &["tremded"],
        ports: &[(Udp, 30_720, 30_740)],
        logs: &[LogPlace::Quake {
            home: ".tremulous",
            base: "base",
        }],
        ..QUAKE
    },
    Title {
        name: "Enemy Territory",
        programs: &["etded", "etlded", "etded.*"],
        logs: &[LogPlace::Quake {
            home: ".etwolf",
            base: "etmain",
        }],
        ..QUAKE
    },
    Title {
        name: "Quake III",
        programs: &["ioq3ded", "q3ded", "quake3ded", "quake3-server", "ioquake3ded"],
        logs: &[LogPlace::Quake {
            home: ".q3a",
            base: "baseq3",
        }],
        ..QUAKE
    },
    Title {
        name: "Quake III",
        naming: Naming::Shared,
        programs: &["ioquake3", "quake3", "openarena"],
        needs: &[&[Arg::Set("dedicated", &["1", "2"])]],
        ..QUAKE
    },
    Title {
        name: "Teeworlds",
        programs: &["teeworlds_srv", "teeworlds-server", "teeworlds-srv"],
        ..TEEWORLDS
    },
    Title {
        name: "DDNet",
        programs: &["ddnet-server", "ddnet_server"],
        ..TEEWORLDS
    },
    Title {
        name: "Luanti",
        programs: &["minetestserver", "luantiserver"],
        logs: &[
            LogPlace::Argument(&[Value::Key("--logfile")]),
            LogPlace::Home(".luanti/debug.txt"),
            LogPlace::Home(".minetest/debug.txt"),
        ],
        ..LUANTI
    },
    Title {
        name: "Luanti",
        naming: Naming::Shared,
        programs: &["minetest", "luanti"],
        needs: &[&[Arg::Is("--server")]],
        logs: &[
            LogPlace::Argument(&[Value::Key("--logfile")]),
            LogPlace::Home(".minetest/debug.txt"),
        ],
        ..LUANTI
    },
    // Bedrock.
    Title {
        name: "Minecraft Bedrock",
        programs: &["bedrock_server", "bedrock_server-*"],
        ..BEDROCK
    },
    Title {
        name: "PocketMine",
        naming: Naming::Shared,
        programs: &["php", "php7*", "php8*"],
        needs: &[&[Arg::Ends("PocketMine-MP.phar"), Arg::Ends("PocketMine.phar")]],
        logs: &[LogPlace::Cwd("server.log")],
        ..BEDROCK
    },
    // Unreal.
    Title {
        game: Game::Ark,
        name: "ARK",
        programs: &["shootergameserver"],
        logs: &[LogPlace::UnrealArgument, LogPlace::UnrealSaved],
        ..UNREAL
    },
    Title {
        game: Game::Ark,
        name: "ARK Ascended",
        programs: &["arkascendedserver"],
        ..UNREAL
    },
    Title {
        game: Game::Palworld,
        name: "Palworld",
        programs: &[
            "palserver-linux-shipping",
            "palserver-linux-test",
            "palserver-win64-shipping*",
        ],
        ports: &[(Udp, 8_211, 8_230)],
        logs: &[LogPlace::UnrealArgument],
        ..UNREAL
    },
    Title {
        name: "Satisfactory",
        programs: &["factoryserver-linux-shipping", "factoryserver-win64-shipping"],
        ..UNREAL
    },
    // It was called so in its first years.
    Title {
        name: "Satisfactory",
        naming: Naming::Family,
        programs: &["unrealserver-linux-shipping"],
        needs: &[&[Arg::First("FactoryGame")]],
        ..UNREAL
    },
    Title {
        name: "Squad",
        programs: &["squadgameserver", "squadgameserver-*"],
        ports: &[(Udp, 7_787, 7_800), (Udp, 7_777, 7_786)],
        ..UNREAL
    },
    Title {
        name: "Unreal",
        naming: Naming::Family,
        programs: &[
            "*server-linux-shipping",
            "*server-linux-test",
            "*server-linux-development",
            "*server-linux-debug*",
            "*server-linuxarm64-shipping",
            "*server-linuxarm64-development",
            "*server-win64-shipping",
            "*server-win64-shipping-cmd",
        ],
        ..UNREAL
    },
    // A Development build has no configuration in its name, but every build has its place.
    Title {
        name: "Unreal",
        naming: Naming::Family,
        programs: &["*server", "*server-cmd"],
        paths: &["/binaries/linux/", "/binaries/linuxarm64/", "\\binaries\\win64\\"],
        ..UNREAL
    },
    // Unity.
    Title {
        game: Game::Valheim,
        name: "Valheim",
        programs: &["valheim_server"],
        ports: &[(Udp, 2_456, 2_480)],
        names: &[
            NameFrom::Argument(Value::Key("-name")),
            NameFrom::Argument(Value::Key("-world")),
        ],
        hints: &[Arg::Is("-world"), Arg::Is("-nographics"), Arg::Is("-batchmode")],
        ..UNITY
    },
    Title {
        game: Game::Rust,
        name: "Rust",
        programs: &["rustdedicated"],
        hints: &[Arg::Begins("+server."), Arg::Is("-batchmode")],
        ports: &[(Udp, 28_015, 28_050)],
        port_arguments: &[Value::Cvar("server.port"), Value::Key("-server.port")],
        names: &[
            NameFrom::Argument(Value::Cvar("server.hostname")),
            NameFrom::Argument(Value::Cvar("server.identity")),
        ],
        ..UNITY
    },
    Title {
        name: "7 Days to Die",
        programs: &["7daystodieserver"],
        ports: &[(Udp, 26_900, 26_930)],
        ..UNITY
    },
    Title {
        name: "V Rising",
        programs: &["vrisingserver"],
        ports: &[(Udp, 9_876, 9_880), (Udp, 27_015, 27_016)],
        ..UNITY
    },
    Title {
        name: "Unturned",
        programs: &["unturned_headless", "unturned_server"],
        ports: &[(Udp, 27_015, 27_050)],
        ..UNITY
    },
    Title {
        game: Game::Factorio,
        name: "Factorio",
        naming: Naming::Shared,
        programs: &["factorio"],
        needs: &[&[Arg::Begins("--start-server")]],
        hints: &[Arg::Is("--server-settings"), Arg::Is("--rcon-port")],
        ports: &[(Udp, 34_197, 34_220)],
        port_arguments: &[Value::Key("--port")],
        names: &[NameFrom::PathArgument(Value::Key("--start-server"))],
        logs: &[LogPlace::Argument(&[Value::Key("--console-log")])],
        ..BASE
    },
    Title {
        name: "Unity",
        naming: Naming::Shared,
        programs: &["*"],
        needs: &[&[Arg::Is("-batchmode")], &[Arg::Is("-nographics")]],
        hints: &[],
        beside: Beside::UnityPlayer,
        ..UNITY
    },
];

/// Could `name` (normalised) be one of the programs?
pub(super) fn names_a_program(name: &str) -> bool {
    TITLES
        .iter()
        .flat_map(|title| title.programs)
        .any(|pattern| *pattern != "*" && fits(pattern, name))
}
